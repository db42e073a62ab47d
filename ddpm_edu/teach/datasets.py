"""训练两章用的数据：磁盘上有真的就用真的，没有就用内置的替身，别处的代码一个字也不用改"""
from pathlib import Path

from ..data import CIFAR10DataModule, DigitsDataModule, MNISTDataModule, PhotoPatchesDataModule
from ..data.transfer import intact


def on_disk(module):
    """要下载的数据是不是已经齐了；只看磁盘，不联网"""
    return all(intact(Path(module.root).expanduser() / module.folder / file.name, file) for file in module.files)


def mnist_or_stand_in(root="data", **kwargs):
    """root 里有 MNIST 就用它，否则用放大到 28×28 的内置数字；返回 (数据模块, 一句话)"""
    real = MNISTDataModule(root, **kwargs)
    if on_disk(real):
        return real, "MNIST：6 万张训练图"
    return DigitsDataModule(image_size=28, **kwargs), "替身：内置的 1 797 张数字，放大到 28×28"


def cifar10_or_stand_in(root="data", **kwargs):
    """root 里有 CIFAR-10 就用它，否则用两张照片切成的图块；返回 (数据模块, 一句话)"""
    real = CIFAR10DataModule(root, **kwargs)
    if on_disk(real):
        return real, "CIFAR-10：5 万张训练图"
    return PhotoPatchesDataModule(**kwargs), "替身：两张照片切成的 32×32 图块"
