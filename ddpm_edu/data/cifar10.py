"""CIFAR-10：50 000 + 10 000 张 32×32 彩色图（Krizhevsky 2009）"""
import hashlib
import logging
import pickle
import tarfile

import numpy as np
import torch

from ..checks import check_bool
from .remote import RemoteDataModule
from .transfer import RemoteFile

FOLDER = "cifar-10-batches-py"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
log = logging.getLogger("ddpm_edu")
# 解开之后各个文件的 MD5（随 torchvision 公布的）
BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def unpacked(folder):
    """folder 里解开的六个文件 {名字: 内容}，摘要都核对过；没有这个目录时 None，缺了、坏了的说一句"""
    if not folder.is_dir():
        return None
    found = {name: (folder / name).read_bytes() for name in BATCHES if (folder / name).is_file()}
    bad = [name for name, digest in BATCHES.items() if hashlib.md5(found.get(name, b"")).hexdigest() != digest]
    if bad:
        log.warning("%s 里缺了，或者与官方的不同：%s；不用这个目录", folder, "、".join(bad))
    return None if bad else found


def from_archive(path):
    """压缩包里的六个文件 {名字: 内容}，不解压到磁盘"""
    with tarfile.open(path) as tar:
        return {name: tar.extractfile(f"{FOLDER}/{name}").read() for name in BATCHES}


def read_batches(contents):
    """几个文件的内容 → (N, 3, 32, 32) uint8 与 (N,) int64；里面是 pickle，所以只在摘要核对之后调用"""
    images, labels = [], []
    for content in contents:
        batch = pickle.loads(content, encoding="bytes")
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

    def on_disk(self):
        return self._folder() is not None or super().on_disk()

    def paths(self):
        """解开的 cifar-10-batches-py 有一份完好的就用它，否则是压缩包"""
        good = self._folder()
        return super().paths() if good is None else self.announced([good])

    def _folder(self):
        return next((folder for folder in (self.home / FOLDER, self.home.parent / FOLDER) if unpacked(folder)), None)

    def read(self, source):
        contents = unpacked(source) if source.is_dir() else from_archive(source)
        *train, test = contents.values()
        return read_batches(train), read_batches([test])
