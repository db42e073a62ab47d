"""scikit-learn 自带的 1 797 张真实手写数字，8×8 灰度，不用联网

来源 : Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits（UCI），随 scikit-learn 发布
"""
import numpy as np
import torch
import torch.nn.functional as F

from ..checks import check_choice
from ..images import to_uint8
from .base import ImageDataModule

SPLIT_SIZES = {"train": 1297, "val": 250, "test": 250}


def load_digits_split():
    """固定的划分：{"train": (images, labels), ...}，images 为 (N, 1, 8, 8) float32，[-1, 1]"""
    # 导入 scikit-learn 要两秒多，用到时才导入
    from sklearn.datasets import load_digits

    raw = load_digits()
    # 原数据按书写者排列，先打乱再切；RandomState 的结果不随版本变
    order = np.random.RandomState(0).permutation(len(raw.target))
    images = torch.from_numpy(raw.images[order] / 8 - 1).float()[:, None]
    labels = torch.from_numpy(raw.target[order]).long()
    sizes = list(SPLIT_SIZES.values())
    return {
        name: (x, y) for name, x, y in zip(SPLIT_SIZES, images.split(sizes), labels.split(sizes))
    }


def like_mnist(images):
    """(N, 1, 8, 8) 浮点 → (N, 1, 28, 28) uint8：放大到 20×20，四周留 4 个像素的黑边，舍入成 256 级，与 MNIST 相同"""
    return to_uint8(F.pad(F.interpolate(images, size=20, mode="bilinear"), (4, 4, 4, 4), value=-1.0))


class DigitsDataModule(ImageDataModule):
    """内置的真实数字：1 297 张训练、250 张验证、250 张测试，划分固定，标签保留

    image_size : 8（原样）或 28（放大成 MNIST 的大小；取不到 MNIST 时的替身，结果不能与它相比）
    """

    image_size, channels, num_classes = 8, 1, 10
    levels = 17  # 原数据只有 0..16 这 17 级；放大之后是 256 级

    def __init__(self, batch_size=64, num_workers=0, seed=0, conditions=(), image_size=8):
        super().__init__(batch_size, num_workers, seed, conditions)
        if check_choice("image_size", image_size, (8, 28)) == 28:
            self.image_size, self.levels = 28, ImageDataModule.levels

    def setup(self, stage=None):
        enlarge = like_mnist if self.image_size == 28 else lambda images: images
        self.splits = {name: self.make_dataset(enlarge(x), y) for name, (x, y) in load_digits_split().items()}
