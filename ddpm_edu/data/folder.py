"""自己的图：一个文件夹，或一个 zip"""
import hashlib
import logging
import math
import os
from concurrent.futures import ThreadPoolExecutor

import torch

from ..checks import check_bool, check_choice, check_size, fail
from ..gaussian import sides
from ..progress import progress_bar
from .base import ImageDataModule
from .pictures import MODES, Pictures, StreamedImages, UnusablePicture, decode

# 解码之后不超过这么多字节，就全放在内存里
CACHE = 2 << 30
# 名字的摘要落在 [0, 1) 的哪一段：各占九成、半成、半成
SHARES = {"val": (0.0, 0.05), "test": (0.05, 0.1), "train": (0.1, 1.0)}
log = logging.getLogger("ddpm_edu")


class ImageFolderDataModule(ImageDataModule):
    """自己的图：文件夹或 zip，任何深度，PNG、JPEG、WebP、BMP、TIFF、GIF；怎样变成同样的大小见 pictures.decode

    root       : 文件夹或 zip 的路径
    image_size : 边长，或 (高, 宽)；channels：1 灰度、2 灰度与透明度、3 彩色、4 彩色与透明度
    classes    : 为真时，root 下第一层的文件夹就是类别，按名字排；名字在 class_names 里
    flip       : 训练时是否左右翻转
    in_memory  : 解码一遍全放在内存里，还是随用随读；None 时看放不放得下（CACHE）
    分法只看图在 root 里的路径：添了图、换了机器，原来的图还在原来的划分里（图少得有一份空着时，从训练的里面匀一张）
    全放在内存里时，用不了的图跳过，{名字: 原因} 在 skipped 里；随用随读时，用不了的换成后面同一类的一张
    异常       : 没有这个目录、一张图也没有、能用的图太少、只有一类时 ValueError
    """

    num_classes = None

    def __init__(self, root, image_size=64, channels=3, batch_size=64, num_workers=0, seed=0, classes=False, flip=False,
                 in_memory=None, conditions=()):
        super().__init__(batch_size, num_workers, seed, conditions)
        if not isinstance(root, (str, os.PathLike)):
            fail("root", "文件夹或 zip 的路径", root, "命令行写 --data.root 路径", error=TypeError)
        self.image_size = check_size("image_size", image_size)
        self.channels = check_choice("channels", channels, tuple(MODES))
        self.flip, self.skipped = check_bool("flip", flip), {}
        self.pictures = Pictures(root)
        self.in_memory = in_memory if in_memory is None else check_bool("in_memory", in_memory)
        self.names = self.pictures.names
        self.class_names = self._classes() if check_bool("classes", classes) else None
        self.num_classes = len(self.class_names) if classes else None

    def _classes(self):
        """第一层文件夹的名字，排好序"""
        classes = sorted({name.partition("/")[0] for name in self.names if "/" in name})
        if len(classes) < 2:
            fail("root", "至少有两个子文件夹（一类一个）的文件夹或 zip", str(self.pictures.root),
                 f"找到 {classes}；不分类别就写 classes=False，命令行用 --config folder")
        if loose := [name for name in self.names if "/" not in name]:
            self.pictures.left_out.append(f"{len(loose)} 张图不在子文件夹里，没有类别，跳过：{'、'.join(loose[:5])}{'……' if len(loose) > 5 else ''}")
            self.names = [name for name in self.names if "/" in name]
        return classes

    @property
    def identity(self):
        return f"{type(self).__name__} {hashlib.sha256(repr(self.names).encode('utf-8', 'backslashreplace')).hexdigest()[:16]}"

    def setup(self, stage=None):
        if self.splits:
            return
        for sentence in self.pictures.left_out:
            log.warning("%s", sentence)
        size = sides(self.image_size)
        fits = len(self.names) * self.channels * math.prod(size) <= CACHE
        in_memory = fits if self.in_memory is None else self.in_memory
        pixels = self._decode_all(size) if in_memory else {}
        used = [name for name in self.names if name not in self.skipped]
        used_classes = {name.partition("/")[0] for name in used}
        if empty := [name for name in self.class_names or () if name not in used_classes]:
            log.warning("这几类里没有一张能用的图，网络学不会它们：%s", "、".join(empty))
        for title, part in split(used).items():
            labels = torch.tensor([self._label(name) for name in part])
            images = torch.stack([pixels[name] for name in part]) if in_memory else StreamedImages(self.pictures, part, labels, size, self.channels)
            self.splits[title] = self.make_dataset(images, labels, flip=self.flip and title == "train")

    def _label(self, name):
        return self.class_names.index(name.partition("/")[0]) if self.class_names else 0

    def _decode_all(self, size):
        """{名字: 像素}；用不了的记进 skipped，说一句"""
        def one(name):
            try:
                return decode(self.pictures.read(name), size, self.channels)
            except UnusablePicture as error:
                return str(error)

        with ThreadPoolExecutor() as pool, progress_bar(self.names, None, "读图") as bar:
            found = dict(zip(bar, pool.map(one, self.names)))
        self.skipped = {name: reason for name, reason in found.items() if isinstance(reason, str)}
        if self.skipped:
            few = "；".join(f"{name} {reason}" for name, reason in list(self.skipped.items())[:5])
            log.warning("%d 张图里有 %d 张用不了，跳过（全部在 skipped 里）：%s", len(found), len(self.skipped), few)
        return {name: pixels for name, pixels in found.items() if name not in self.skipped}


def split(names):
    """{划分: 名字}，只由路径决定；图太少、哪一份空着时，从训练的里面匀一张

    异常 : 不到 3 张时 ValueError
    """
    if len(names) < 3:
        fail("能用的图", "至少 3 张（训练、验证、测试各一张）", len(names))
    places = {name: int(hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12], 16) / 16**12 for name in names}
    found = {title: [name for name in names if low <= places[name] < high] for title, (low, high) in SHARES.items()}
    for title in found:
        if not found[title]:
            most = max(found.values(), key=len)
            found[title].append(most.pop(most.index(min(most, key=places.get))))
    return found
