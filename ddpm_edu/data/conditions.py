"""由图像和标签算出的条件：超分辨率、补全、一句两个词的“提示”（独热向量，或词号）；都是纯函数，不用随机数

数据模块的 conditions=("masked",) 会让每个 batch 多一个同名的键，DDPM 用 cond_key="masked" 取它
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..checks import check_choice, fail

# 墨量的两个门槛，把 DigitsDataModule 的图大致三等分；别的数据集不保证均匀
INK_THRESHOLDS = (0.2886, 0.3218)
SIDES = ("left", "right", "top", "bottom")


def low_resolution(image):
    """低分辨率的样子：2×2 取平均，再按最近邻放回原来的大小

    image : (B, C, H, W)，H、W 为偶数；返回同形状
    """
    if image.ndim != 4 or image.shape[-1] % 2 or image.shape[-2] % 2:
        fail("image", "边长为偶数的 (B, C, H, W) 张量", tuple(image.shape))
    return F.interpolate(F.avg_pool2d(image, 2), scale_factor=2, mode="nearest")


def masked(image, side):
    """擦去一半的图：擦掉的像素为 0，末尾多一个通道，1 表示已知、0 表示未知

    image : (B, C, H, W)；side：(B,) int64，SIDES 里的序号，擦去的是那一边
    返回  : (B, C+1, H, W)
    """
    if side.shape != image.shape[:1] or side.is_floating_point() or not bool(((side >= 0) & (side < len(SIDES))).all()):
        fail("side", f"形状 ({len(image)},)、值在 0..{len(SIDES) - 1} 的整数张量", side)
    height, width = image.shape[-2:]
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    erased = torch.stack([column < width // 2, column >= width // 2, row < height // 2, row >= height // 2])
    known = (~erased.to(image.device)[side, None]).to(image.dtype)
    return torch.cat([image * known, known], dim=1)


def ink_level(image):
    """墨量分三级：(B, C, H, W)，[-1, 1] → (B,) int64，0 少、1 中、2 多"""
    ink = (image.flatten(1).mean(1) + 1) / 2
    return torch.bucketize(ink, torch.tensor(INK_THRESHOLDS, dtype=ink.dtype, device=ink.device))


def prompt(image, label, num_classes):
    """给交叉注意力的一句话：第一个词是类别，第二个词是墨量，都是独热向量

    image : (B, C, H, W)，[-1, 1]；label：(B,) int64，0..num_classes-1
    返回  : (B, 2, num_classes + 3)，前 num_classes 列属于类别，后 3 列属于墨量
    """
    words = torch.stack([label, num_classes + ink_level(image)], dim=1)
    return F.one_hot(words, num_classes + len(INK_THRESHOLDS) + 1).to(image.dtype)


# 笔画宽（像素）的两个门槛，把 MNIST 的训练图大致三等分，每个数字各自也是；别的数据集不保证均匀
STROKE_THRESHOLDS = (1.78, 2.21)


def stroke_level(image):
    """笔画粗细分三级：(B, C, H, W)，[-1, 1] → (B,) int64，0 细、1 中、2 粗；笔画宽约是两倍的墨量除以轮廓的长"""
    ink = (image + 1) / 2
    outline = ink.diff(dim=-1).abs().flatten(1).sum(1) + ink.diff(dim=-2).abs().flatten(1).sum(1)
    width = 2 * ink.flatten(1).sum(1) / outline.clamp(min=1e-6)
    return torch.bucketize(width, torch.tensor(STROKE_THRESHOLDS, dtype=ink.dtype, device=ink.device))


def words(image, label, index, num_classes):
    """给 WordEmbedder 的一句话：类别与笔画粗细的词号；序号是 4 的倍数的样本不说粗细，模型才学得会只听类别

    image : (B, C, H, W)，[-1, 1]；label：(B,) int64，0..num_classes-1；index：样本序号
    返回  : (B, 2) int64，类别是 1..num_classes，粗细是 num_classes + 1..num_classes + 3，没有说的是 0
    """
    stroke = num_classes + 1 + stroke_level(image)
    return torch.stack([label + 1, torch.where(index % 4 == 0, 0, stroke)], dim=1)


# 名字 → 由 (图像, 标签, 样本序号, 类别数) 算出条件
CONDITIONS = {
    "low_resolution": lambda image, label, index, num_classes: low_resolution(image),
    "masked": lambda image, label, index, num_classes: masked(image, index % len(SIDES)),
    "prompt": lambda image, label, index, num_classes: prompt(image, label, num_classes),
    "words": words,
}


def check_conditions(names):
    """names 须是 CONDITIONS 里的名字的列表或元组"""
    if isinstance(names, str) or not isinstance(names, Sequence):
        fail("conditions", "名字的列表", names, '只有一个时写 ["名字"]', TypeError)
    return tuple(check_choice("conditions 里的名字", name, tuple(CONDITIONS)) for name in names)
