"""scikit-learn 自带的 1 797 张真实手写数字，8×8 灰度，不用联网

来源 : Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits（UCI），随 scikit-learn 发布
"""
import numpy as np
import torch

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


class DigitsDataModule(ImageDataModule):
    """内置的真实数字：1 297 张训练、250 张验证、250 张测试，划分固定，标签保留"""

    image_size, channels, num_classes = 8, 1, 10
    levels = 17

    def setup(self, stage=None):
        self.splits = {name: self.make_dataset(x, y) for name, (x, y) in load_digits_split().items()}
