"""应读者的要求，从公开的仓库取一份原文件：固定在某一次提交，摘要对得上才算，走 data/download.py 的镜像与续传"""
from dataclasses import dataclass

from ..data.download import fetch
from ..data.transfer import RemoteFile
from ..teach.books import NOTEBOOKS

FOLDER = NOTEBOOKS.parent / "build" / "original" / "download"
# 前面的是源头，后面几个是公共的镜像，国内多半连得上
MIRRORS = ("https://raw.githubusercontent.com/{repository}/{commit}/{folder}", "https://cdn.jsdelivr.net/gh/{repository}@{commit}/{folder}",
           "https://fastly.jsdelivr.net/gh/{repository}@{commit}/{folder}", "https://gcore.jsdelivr.net/gh/{repository}@{commit}/{folder}")
DIFFUSION, MODULES = "ldm/models/diffusion", "ldm/modules"


@dataclass(frozen=True)
class Source:
    """一个仓库的某一次提交；files 是 (目录, RemoteFile)"""

    title: str
    repository: str
    commit: str
    files: tuple


SOURCES = {
    "ldm": Source("latent-diffusion", "CompVis/latent-diffusion", "a506df5756472e2ebaf9078affdde2c4f1502cd4", (
        (DIFFUSION, RemoteFile("ddpm.py", "e5c085c54758952a13540fb69e9b7a6dccb46ae420c6bb2c589c51afab64013e", 67425)),
        (DIFFUSION, RemoteFile("ddim.py", "3086330c774355809af6c4ce02220a01811187a01a7d0be5cc914c4ac07e4a48", 10908)),
        (MODULES, RemoteFile("ema.py", "96cf170a9d7b49c846990694a0abef039e2046d934d37f7a219015ccc0da4e1b", 2982)),
        ("ldm", RemoteFile("lr_scheduler.py", "6af592fcfcf975dde43bea71c8f0fc58b9949f5a9a381d6a819b21eee82104f6", 3882)),
    )),
    "sd1": Source("Stable Diffusion 1", "CompVis/stable-diffusion", "21f890f9da3cfbeaba8e2ac3c425ee9e998d5229", (
        (DIFFUSION, RemoteFile("ddpm.py", "e5c085c54758952a13540fb69e9b7a6dccb46ae420c6bb2c589c51afab64013e", 67425)),
        (DIFFUSION, RemoteFile("ddim.py", "c1665d2cc47e729a8856545e003fd46964852e46f34dd066bd4659d8112d2fb4", 12797)),
        (MODULES, RemoteFile("ema.py", "96cf170a9d7b49c846990694a0abef039e2046d934d37f7a219015ccc0da4e1b", 2982)),
        ("ldm", RemoteFile("lr_scheduler.py", "6af592fcfcf975dde43bea71c8f0fc58b9949f5a9a381d6a819b21eee82104f6", 3882)),
    )),
    "sd2": Source("Stable Diffusion 2", "Stability-AI/stablediffusion", "cf1d67a6fd5ea1aa600c4df58e5b47da45f6bdbf", (
        (DIFFUSION, RemoteFile("ddpm.py", "664b56b38fd1f28a8290c62dca6fc3137a58c29a4873e201b613daed9fc51dc9", 88698)),
        (DIFFUSION, RemoteFile("ddim.py", "8a2d6f85fcef7473bca50b8d8fcd75e28fc5565fb5ae1402a5321be7f5c3ec33", 17344)),
        (MODULES, RemoteFile("ema.py", "cc389d4353c8ee790199093bddf70ab2ffb03d8587028940d35974fc6351f2eb", 3110)),
    )),
}


def download(name, folder=None, mirrors=MIRRORS, progress=True):
    """取一个仓库的几个文件；返回它们的路径。取不到时 DataUnavailableError，写明试过的地址"""
    source = SOURCES[name]
    target = (folder or FOLDER) / name
    return [fetch(target, file, [mirror.format(repository=source.repository, commit=source.commit, folder=place) for mirror in mirrors],
                  progress=progress, substitute="对照表（第 17 章附三）") for place, file in source.files]
