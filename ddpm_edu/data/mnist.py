"""MNIST：60 000 + 10 000 张 28×28 灰度数字（LeCun 1998）"""
import gzip
from pathlib import Path

import numpy as np
import torch

from ..checks import fail
from .base import ImageDataModule, ImageDataset
from .download import fetch

MIRRORS = (
    "https://dataset.bj.bcebos.com/mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
FILES = {
    "train": (("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
              ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432")),
    "test": (("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
             ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c")),
}


def read_idx(path):
    """读 gzip 压缩的 IDX 文件；头部与长度对不上时 ValueError"""
    data = gzip.decompress(Path(path).read_bytes())
    ndim = data[3] if len(data) >= 4 and data[:3] == b"\x00\x00\x08" else None
    if ndim not in (1, 3):
        fail(str(path), "uint8 的 IDX 文件", data[:4], "文件头不对，请重新下载")
    shape = np.frombuffer(data, ">i4", ndim, 4)
    pixels = np.frombuffer(data, np.uint8, offset=4 + 4 * ndim)
    if pixels.size != int(np.prod(shape)):
        fail(str(path), f"含 {int(np.prod(shape))} 个字节的 IDX 文件", pixels.size, "文件不完整，请重新下载")
    return torch.from_numpy(pixels.reshape(shape).copy())


class MNISTDataModule(ImageDataModule):
    """MNIST；训练集最后 5 000 张作验证集，不做增广

    root   : 数据目录；四个文件已在 root/mnist/ 里时不联网
    mirror : 自己的镜像网址，最先尝试
    """

    image_size, channels, num_classes, val_size = 28, 1, 10, 5000

    def __init__(self, root="data", batch_size=128, num_workers=0, seed=0, mirror=None):
        super().__init__(batch_size, num_workers, seed)
        self.root, self.mirror = root, mirror

    def _fetch(self, split):
        return [fetch(Path(self.root) / "mnist", name, md5, MIRRORS, self.mirror) for name, md5 in FILES[split]]

    def prepare_data(self):
        for split in FILES:
            self._fetch(split)

    def setup(self, stage=None):
        raw = {split: [read_idx(path) for path in self._fetch(split)] for split in FILES}
        data = {split: (images[:, None], labels.long()) for split, (images, labels) in raw.items()}
        images, labels = data["train"]
        held = min(self.val_size, len(images) // 5)
        self.splits = {
            "train": ImageDataset(images[:-held], labels[:-held]),
            "val": ImageDataset(images[-held:], labels[-held:]),
            "test": ImageDataset(*data["test"]),
        }
