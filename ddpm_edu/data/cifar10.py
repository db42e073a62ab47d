"""CIFAR-10：50 000 + 10 000 张 32×32 彩色图（Krizhevsky 2009）"""
import pickle
import tarfile
from pathlib import Path

import numpy as np
import torch

from ..checks import check_bool
from .base import ImageDataModule, ImageDataset
from .download import fetch

MIRRORS = ("https://dataset.bj.bcebos.com/cifar", "https://www.cs.toronto.edu/~kriz")
ARCHIVE, MD5 = "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


def read_batches(archive, names):
    """从压缩包里直接读出几个批次，不解压到磁盘；只在摘要核对之后调用（里面是 pickle）"""
    images, labels = [], []
    with tarfile.open(archive) as tar:
        for name in names:
            batch = pickle.load(tar.extractfile(f"cifar-10-batches-py/{name}"), encoding="bytes")
            images.append(np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32))
            labels.extend(batch[b"labels"])
    return torch.from_numpy(np.concatenate(images)), torch.tensor(labels, dtype=torch.int64)


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10；训练集最后 5 000 张作验证集，训练时左右翻转

    root   : 数据目录；压缩包已在 root/cifar10/ 里时不联网
    mirror : 自己的镜像网址，最先尝试；flip：是否翻转
    """

    image_size, channels, num_classes, val_size = 32, 3, 10, 5000

    def __init__(self, root="data", batch_size=128, num_workers=0, seed=0, mirror=None, flip=True):
        super().__init__(batch_size, num_workers, seed)
        self.root, self.mirror, self.flip = root, mirror, check_bool("flip", flip)

    def prepare_data(self):
        fetch(Path(self.root) / "cifar10", ARCHIVE, MD5, MIRRORS, self.mirror)

    def setup(self, stage=None):
        archive = fetch(Path(self.root) / "cifar10", ARCHIVE, MD5, MIRRORS, self.mirror)
        images, labels = read_batches(archive, BATCHES["train"])
        held = min(self.val_size, len(images) // 5)
        self.splits = {
            "train": ImageDataset(images[:-held], labels[:-held], flip=self.flip),
            "val": ImageDataset(images[-held:], labels[-held:]),
            "test": ImageDataset(*read_batches(archive, BATCHES["test"])),
        }
