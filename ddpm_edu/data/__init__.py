"""数据：每个 batch 都是 {"image": (B, C, H, W) 于 [-1, 1]，"label": (B,) int64}，可另加由图像算出的条件（conditions.py）"""
from .cifar10 import CIFAR10DataModule
from .digits import DigitsDataModule
from .folder import ImageFolderDataModule
from .mnist import FashionMNISTDataModule, MNISTDataModule
from .photos import PhotoPatchesDataModule

__all__ = ["CIFAR10DataModule", "DigitsDataModule", "FashionMNISTDataModule", "ImageFolderDataModule", "MNISTDataModule",
           "PhotoPatchesDataModule"]
