"""把一个文件夹或一个 zip 里的图读成同样大小的张量；规则写在 decode 里"""
import io
import logging
import os
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from ..checks import fail

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
# 也是图，可是 Pillow 自己打不开
FOREIGN = (".heic", ".heif", ".avif", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".nef", ".arw")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
LARGEST = 1 << 28  # 单位：字节；一张图不会有这么大
log = logging.getLogger("ddpm_edu")


class UnusablePicture(ValueError):
    """这张图用不了：打不开，太小，或者大得不像图"""


class Pictures:
    """root 之下的图：文件夹（任何深度）或 zip，不解压到磁盘

    names : 各张图在 root 里的路径，用 / 隔开，按字典序；zip 里的图都在同一个文件夹之下时，从那里算起，与压缩之前的文件夹相同
    left_out : 没有算在内的文件，一种一句话
    异常  : root 不存在、zip 打不开、一张图也没有时 ValueError
    """

    def __init__(self, root):
        self.root = Path(root).expanduser().absolute()
        self._zip = self._pid = None
        self._top, self.left_out = "", []
        if not self.root.exists():
            fail("root", "存在的文件夹或 zip", str(root))
        try:
            found = self._in_folder() if self.root.is_dir() else self._archive().namelist()
        except (zipfile.BadZipFile, OSError) as error:
            fail("root", "文件夹，或完好的 zip", str(root), "不是 zip，或者没有传完" if isinstance(error, zipfile.BadZipFile) else str(error))
        found = [name for name in found if not is_hidden(name)]
        self._leave_out([name for name in found if name.lower().endswith(FOREIGN)], "的格式不认，跳过；要用就先转成 JPEG 或 PNG")
        names = [name for name in found if name.lower().endswith(SUFFIXES)]
        outside = {name for name in names if name.startswith("/") or ".." in PurePosixPath(name).parts}
        self._leave_out(sorted(outside), "的路径指到外面去，不看")
        self.names = sorted(set(names) - outside)
        if self.root.is_file() and len(tops := {name.partition("/")[0] for name in self.names}) == 1 and "/" in self.names[0]:
            self._top = f"{tops.pop()}/"
            self.names = [name.removeprefix(self._top) for name in self.names]
        if not self.names:
            fail("root", f"含有图的文件夹或 zip（{' '.join(SUFFIXES)}）", str(root), "里面一张图也没有")

    def _leave_out(self, names, why):
        if names:
            self.left_out.append(f"{self.root} 里有 {len(names)} 个文件{why}：{'、'.join(names[:3])}{'……' if len(names) > 3 else ''}")

    def _in_folder(self):
        # 不跟着目录的符号链接走，转圈的也就不怕
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            yield from (Path(folder, file).relative_to(self.root).as_posix() for file in files)

    def _archive(self):
        # 各个进程各开各的：fork 来的共用一个读到哪里的位置
        if self._pid != os.getpid():
            self._zip, self._pid = zipfile.ZipFile(self.root), os.getpid()
        return self._zip

    def __getstate__(self):
        return {**vars(self), "_zip": None, "_pid": None}

    def read(self, name):
        """一张图的文件内容（字节）；读不出、大得不像图的 UnusablePicture"""
        try:
            if self.root.is_dir():
                size, content = os.path.getsize(self.root / name), open(self.root / name, "rb")
            else:
                inside = self._top + name
                size, content = self._archive().getinfo(inside).file_size, self._archive().open(inside)
            with content:
                if size > LARGEST:
                    raise UnusablePicture(f"有 {size / 2**20:.0f} MB，不像一张图")
                return content.read(LARGEST)
        except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            # zip 加了密码时是 RuntimeError
            raise UnusablePicture(f"读不出来（{error}）") from None


def is_hidden(name):
    """隐藏文件，与 macOS 打包时添的"""
    parts = PurePosixPath(name).parts
    return not parts or "__MACOSX" in parts or parts[-1].startswith(".")


def decode(content, size, channels):
    """文件内容 → (channels, 高, 宽) uint8

    照 EXIF 转正；动图取第一帧；16 位的取高 8 位；透明处衬白（要 2 或 4 个通道时留着透明度）；CMYK、调色板换成要的通道数
    缩放到刚好盖住 (高, 宽)，再裁去两边多出来的；有一边不到要的一半，就太小了
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    height, width = size
    try:
        image = eight_bits(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    except UnidentifiedImageError:
        raise UnusablePicture("打不开（不是图，或者开头坏了）") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnusablePicture(f"打不开（{type(error).__name__}：{' '.join(str(error).split())[:80]}）") from None
    if 2 * image.width < width or 2 * image.height < height:
        raise UnusablePicture(f"只有 {image.width}×{image.height}，不到 {width}×{height} 的一半")
    if image.has_transparency_data and channels in (1, 3):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = ImageOps.fit(image.convert(MODES[channels]), (width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.uint8).reshape(height, width, channels)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def eight_bits(image):
    """16 位的灰度（I;16、I）→ 8 位；32 位浮点的不知道范围，不认"""
    if image.mode == "F":
        raise ValueError("像素是浮点数，不知道多少算白")
    if not image.mode.startswith("I"):
        return image
    from PIL import Image

    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


class StreamedImages:
    """像 (N, C, H, W) 的 uint8 张量一样用序号取，取到哪张才读哪张；读不出的换成后面同一类的一张，说一句

    names : 在 pictures 里的名字；labels：(N,) int64
    """

    ndim = 4

    def __init__(self, pictures, names, labels, size, channels):
        self.pictures, self.names, self.labels, self.size, self.channels = pictures, names, labels, size, channels
        self._warned = set()

    @property
    def shape(self):
        return torch.Size([len(self.names), self.channels, *self.size])

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return torch.stack([self._one(int(i)) for i in index]) if len(index) else torch.empty(0, *self.shape[1:], dtype=torch.uint8)

    def _one(self, first):
        after = ((first + k) % len(self) for k in range(len(self)))
        for i in (i for i in after if self.labels[i] == self.labels[first]):
            try:
                return decode(self.pictures.read(self.names[i]), self.size, self.channels)
            except UnusablePicture as error:
                if i not in self._warned:
                    log.warning("%s 用不了，换成后面的一张：%s", self.names[i], error)
                self._warned.add(i)
        fail("root", "至少有一张能用的图", str(self.pictures.root))
