"""两张照片切成的 32×32 彩色图块：取不到 CIFAR-10 时的替身，不用联网

照片随 scikit-learn 发布；它们只够把彩色的流程跑通，训练的结果不能与 CIFAR-10 上的相比
"""
import logging

import torch

from ..checks import check_bool
from .base import ImageDataModule

# 随附的说明把两张都写成 danielbuechele，但 flower.jpg 的原址在 vultilion 名下，这里以原址为准
ATTRIBUTION = (
    "china.jpg：danielbuechele，https://www.flickr.com/photos/danielbuechele/6061409035；"
    "flower.jpg：vultilion，https://www.flickr.com/photos/vultilion/6056698931；"
    "许可均为 CC BY 2.0（https://creativecommons.org/licenses/by/2.0/），图块有裁切与缩小"
)
SIZE = 32
# 各取一段竖条（左、右，单位像素）和步长；边界是偶数，缩小时不会跨界
REGIONS = {"train": (0, 448, 8), "val": (448, 544, 16), "test": (544, 640, 16)}
log = logging.getLogger("ddpm_edu")


def load_photos():
    """两张照片 (427, 640, 3) uint8，依次是 china.jpg、flower.jpg"""
    from sklearn.datasets import load_sample_images

    return [torch.tensor(image) for image in load_sample_images().images]


def half_size(photo):
    """(H, W, 3) uint8 → (H//2, W//2, 3) uint8，2×2 取平均"""
    rows, columns = photo.shape[0] // 2, photo.shape[1] // 2
    blocks = photo[:2 * rows, :2 * columns].int().reshape(rows, 2, columns, 2, 3)
    return ((blocks.sum((1, 3)) + 2) // 4).to(torch.uint8)


def cut(photo, stride):
    """(H, W, 3) → (N, 3, SIZE, SIZE)，按步长逐行切"""
    patches = photo.permute(2, 0, 1).unfold(1, SIZE, stride).unfold(2, SIZE, stride)
    return patches.permute(1, 2, 0, 3, 4).reshape(-1, 3, SIZE, SIZE)


def photo_patches(split):
    """(images, labels)：(N, 3, 32, 32) uint8 与 (N,) int64；每张照片切原大和缩小一半的两份"""
    left, right, stride = REGIONS[split]
    images, labels = [], []
    for label, photo in enumerate(load_photos()):
        strip = photo[:, left:right]
        patches = torch.cat([cut(strip, stride), cut(half_size(strip), stride)])
        images.append(patches)
        labels.append(torch.full((len(patches),), label))
    return torch.cat(images), torch.cat(labels)


class PhotoPatchesDataModule(ImageDataModule):
    """照片图块，标签是出自哪张照片；CIFAR-10 的替身，结果不能与它相比

    训练、验证、测试取自照片里互不重叠的竖条，没有一个像素是共用的
    flip : 训练时是否左右翻转；出处与许可见 ATTRIBUTION
    """

    image_size, channels, num_classes = SIZE, 3, 2

    def __init__(self, batch_size=128, num_workers=0, seed=0, flip=True, conditions=()):
        super().__init__(batch_size, num_workers, seed, conditions)
        self.flip = check_bool("flip", flip)
        log.warning("PhotoPatchesDataModule 是 CIFAR-10 的替身，只有两张照片；结果不能当作 CIFAR-10 的结果")

    def setup(self, stage=None):
        self.splits = {
            name: self.make_dataset(*photo_patches(name), flip=self.flip and name == "train") for name in REGIONS
        }
