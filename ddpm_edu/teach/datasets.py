"""课程用的数据：磁盘上有真的就用真的，没有就用替身，别处的代码一个字也不用改"""
import logging
import threading
from pathlib import Path

import numpy as np
import torch

from ..data import CIFAR10DataModule, DigitsDataModule, ImageFolderDataModule, MNISTDataModule, PhotoPatchesDataModule
from ..data.cifar10 import CLASSES
from ..data.download import DataUnavailableError
from ..pretrained import HERE

log = logging.getLogger("ddpm_edu")


def mnist_or_stand_in(root="data", download=0, **kwargs):
    """root 里有 MNIST 就用它，否则用放大到 28×28 的内置数字；返回 (数据模块, 一句话)

    download : 没有时至多花这么多秒去下载（约 12 MB）；到时没有下完，就先用替身，下载在后台接着走
    """
    real = MNISTDataModule(root, **kwargs)
    if real.on_disk() or (download and arrives(real, download)):
        return real, "MNIST：5.5 万张训练，5 千张验证，1 万张测试"
    return DigitsDataModule(image_size=28, **kwargs), "替身：内置的 1 797 张数字，放大到 28×28"


def arrives(module, seconds):
    """seconds 秒之内能不能下完；下不完的在后台接着下，Python 退出时一并停"""
    done = []

    def fetch():
        try:
            module.prepare_data()
            done.append(True)
        except DataUnavailableError as error:
            log.info("%s", error)

    worker = threading.Thread(target=fetch, daemon=True)
    worker.start()
    worker.join(seconds)
    return bool(done)


def cifar10_or_stand_in(root="data", **kwargs):
    """root 里有 CIFAR-10 就用它，否则用两张照片切成的图块；返回 (数据模块, 一句话)

    官方的文件之外，也认按类别摆成文件夹的那种：root/cifar10/train/airplane/……
    """
    real = CIFAR10DataModule(root, **kwargs)
    if real.on_disk():
        return real, "CIFAR-10：4.5 万张训练，5 千张验证，1 万张测试"
    tree = Path(root) / "cifar10" / "train"
    if all((tree / name).is_dir() for name in CLASSES):
        pictures = ImageFolderDataModule(tree, image_size=32, classes=True, flip=True, in_memory=False, **kwargs)
        return pictures, f"CIFAR-10：按类别摆成文件夹的 {len(pictures.names)} 张图"
    return PhotoPatchesDataModule(**kwargs), "替身：两张照片切成的 32×32 图块"


def handwriting(root="../data"):
    """一百张 28×28 的手写数字，0 到 9 轮流：(图 (100, 1, 28, 28)，[-1, 1]，标签 (100,))

    root 里有 MNIST 时取测试集里每类的前十张；没有时用随包的 mnist 模型画的一百张（README 开头的那张图）
    """
    real = MNISTDataModule(root)
    if not real.on_disk():
        return drawn_by("mnist"), torch.arange(10).repeat(10)
    test = real.dataset("test")
    order = torch.stack([(test.labels == digit).nonzero()[:10, 0] for digit in range(10)], 1).flatten()
    batch = test[order]
    return batch["image"], batch["label"]


def drawn_by(name):
    """随包的模型画的图 (N, C, H, W)，[-1, 1]，每行十张，0 到 9 类轮流；取自 pretrained/NAME.png，NAME 是模型的名字时 N 是 100"""
    from PIL import Image

    grid = torch.from_numpy(np.array(Image.open(HERE / f"{name}.png"))).float() / 127.5 - 1
    # 格子之间、四周各有一像素的缝
    side = (grid.shape[1] - 1) // 10
    cells = grid[1:, 1:].reshape(-1, side, 10, side, grid[0, 0].numel())[:, :-1, :, :-1]
    return cells.permute(0, 2, 4, 1, 3).flatten(0, 1).contiguous()
