"""要下载的数据集的公共部分：取齐文件，读成张量，切出验证集"""
import logging
import os
from pathlib import Path

from ..checks import check_bool, fail
from .base import ImageDataModule
from .download import check_mirror, existing, fetch

log = logging.getLogger("ddpm_edu")


class RemoteDataModule(ImageDataModule):
    """子类给出 folder、mirrors、files，并在 read(*paths) 里读成 (训练图, 训练标签), (测试图, 测试标签)

    root     : 数据目录；文件已在 root/folder 或 elsewhere 里且摘要对得上时不联网，目录可以是只读的
    mirror   : 自己的镜像网址，最先尝试；不给时看环境变量 DDPM_EDU_MIRROR；progress：是否显示进度条
    """

    # 数字和衣物翻转之后就不像原来的东西了，默认不翻
    flip, val_size, substitute = False, 5000, "DigitsDataModule"
    elsewhere = (".",)  # 还可以在 root 下的这些地方找现成的

    def __init__(self, root="data", batch_size=128, num_workers=0, seed=0, mirror=None, conditions=(), progress=True):
        super().__init__(batch_size, num_workers, seed, conditions)
        if not isinstance(root, (str, os.PathLike)):
            fail("root", "目录的路径", root, error=TypeError)
        self.root, self.mirror, self.progress = root, check_mirror("mirror", mirror), check_bool("progress", progress)
        self._found = []  # 用了哪几个文件

    def prepare_data(self):
        self.paths()

    def on_disk(self):
        """文件是不是已经齐了；只看磁盘，不联网"""
        return all(existing(file, (self.home, *self._places())) for file in self.files)

    def paths(self):
        """全部文件的路径，没有的先下载"""
        return self.announced([fetch(self.home, file, self.mirrors, self.mirror, self.progress, substitute=self.substitute,
                                     elsewhere=self._places()) for file in self.files])

    def _places(self):
        return [self.home.parent / place for place in self.elsewhere]

    @property
    def home(self):
        """下载的文件放在这里"""
        return Path(self.root).expanduser().absolute() / self.folder

    def announced(self, found):
        """found；其中有不是下载来的，第一次说一句"""
        others = {path if path.is_dir() else path.parent for path in {*found} - {self.home / file.name for file in self.files}}
        if others and self._found != found:
            log.warning("%s 用的是 %s 里现成的文件，内容核对过", type(self).__name__, "、".join(map(str, sorted(others))))
        self._found = found
        return found

    def setup(self, stage=None):
        (images, labels), test = self.read(*self.paths())
        held = min(self.val_size, len(images) // 5)
        self.splits = {
            "train": self.make_dataset(images[:-held], labels[:-held], flip=self.flip),
            "val": self.make_dataset(images[-held:], labels[-held:]),
            "test": self.make_dataset(*test),
        }
