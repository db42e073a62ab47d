"""CIFAR-10：50 000 + 10 000 张 32×32 彩色图（Krizhevsky 2009）"""
import pickle
import tarfile

import numpy as np
import torch

from ..checks import check_bool
from .remote import RemoteDataModule
from .transfer import RemoteFile

TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCHES = ("test_batch",)


def read_batches(archive, names):
    """从压缩包里直接读出几个批次，不解压到磁盘；只在摘要核对之后调用（里面是 pickle）"""
    images, labels = [], []
    with tarfile.open(archive) as tar:
        for name in names:
            batch = pickle.load(tar.extractfile(f"cifar-10-batches-py/{name}"), encoding="bytes")
            images.append(np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32))
            labels.extend(batch[b"labels"])
    return torch.from_numpy(np.concatenate(images)), torch.tensor(labels, dtype=torch.int64)


class CIFAR10DataModule(RemoteDataModule):
    """CIFAR-10；训练集最后 5 000 张作验证集

    flip : 训练时是否左右翻转；其余参数见 RemoteDataModule
    """

    image_size, channels, num_classes, folder = 32, 3, 10, "cifar10"
    substitute = "PhotoPatchesDataModule（彩色图块）或 DigitsDataModule"
    mirrors = ("https://dataset.bj.bcebos.com/cifar", "https://www.cs.toronto.edu/~kriz")
    files = (RemoteFile("cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce", 170498071),)

    def __init__(self, root="data", batch_size=128, num_workers=0, seed=0, mirror=None, flip=True, conditions=(), progress=True):
        super().__init__(root, batch_size, num_workers, seed, mirror, conditions, progress)
        self.flip = check_bool("flip", flip)

    def read(self, archive):
        return read_batches(archive, TRAIN_BATCHES), read_batches(archive, TEST_BATCHES)
