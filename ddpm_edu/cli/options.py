"""sample 与 evaluate 共用的几样：解析器、读模型、选设备、按名字造数据"""
import argparse
import inspect
import logging
from pathlib import Path

import torch

from ..checks import fail
from ..config import import_named
from ..files.checkpoint import load_checkpoint, newest_last
from ..pretrained import NAMES as PRETRAINED
from ..pretrained import load_pretrained
from .errors import ChineseErrors

log = logging.getLogger("ddpm_edu")
DATA = {
    "digits": "DigitsDataModule",
    "mnist": "MNISTDataModule",
    "fashion_mnist": "FashionMNISTDataModule",
    "cifar10": "CIFAR10DataModule",
    "photos": "PhotoPatchesDataModule",
}
DATA_HELP = f"用哪份数据的测试划分：{' / '.join(DATA)}，或自己的图的文件夹、zip"
DEVICES = ("auto", "cpu", "cuda", "mps")
CKPT_HELP = f"检查点文件，训练写的文件夹（如 runs/mnist，取里面最近的 last.ckpt），或随包模型的名字（{' / '.join(PRETRAINED)}）"


def add_ckpt(parser):
    parser.add_argument("--ckpt", required=True, help=CKPT_HELP)
    parser.add_argument("--import", dest="modules", action="append", default=[], metavar="MODULE",
                        help="检查点里的网络是自己写的时，先导入它所在的模块；可以写几次")


class Parser(ChineseErrors, argparse.ArgumentParser):
    """出错时只说一句中文"""


def load_model(name, modules=()):
    """随包模型的名字，或检查点文件；modules 是用户要先导入的模块"""
    for module in modules:
        import_named(module, "--import", module)
    if name in PRETRAINED and not Path(name).exists():
        return load_pretrained(name)
    path = newest_in(name) if Path(name).is_dir() else name
    return class_of(load_checkpoint(path), path).load_from_checkpoint(path)


def class_of(checkpoint, path):
    """检查点是哪一类模型存的，看它记下的超参数：有 first_stage_config 的是 LatentDiffusion；自编码器画不出新的图，ValueError"""
    from .. import DDPM, LatentDiffusion

    saved = checkpoint.get("hyper_parameters") or {}
    if "embed_dim" in saved:
        fail("--ckpt", "会生成的模型", str(path), "这是自编码器；用它练潜空间的模型：python -m ddpm_edu fit --config mnist-latent")
    return LatentDiffusion if "first_stage_config" in saved else DDPM


def newest_in(folder):
    """文件夹里最近存下的 last.ckpt"""
    if (newest := newest_last(folder)) is None:
        fail("--ckpt", "检查点文件，或里面有 last.ckpt 的文件夹", str(folder))
    log.warning("--ckpt %s：用的是 %s", folder, newest.as_posix())
    return newest


def pick_device(name):
    """--device → 设备名；auto 先看 NVIDIA 的 GPU，再看 Apple 的"""
    ready = [device for device, found in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()), ("cpu", True)) if found]
    if name not in ("auto", *ready):
        fail("--device", f"这台机器可用的 {' / '.join(ready)} 之一", name, "不知道有什么时写 auto")
    return ready[0] if name == "auto" else name


def make_data(name, root, model):
    """按名字造数据模块，内置的数据随依赖安装，不用 root；不是名字的，当作自己的图的文件夹或 zip，读成 model 要的大小"""
    import ddpm_edu

    conditions, pixels = condition_names(model), model.pixel_stage
    if name not in DATA:
        if not Path(name).exists():
            fail("--data", f" {' / '.join(DATA)} 之一，或存在的文件夹、zip", name)
        classes = "c_adm" in model.cond_keys or "words" in conditions
        return ddpm_edu.ImageFolderDataModule(name, pixels.image_size, pixels.channels, classes=classes, conditions=conditions)
    module = getattr(ddpm_edu, DATA[name])
    place = {"root": root} if "root" in inspect.signature(module).parameters else {}
    return module(**place, conditions=conditions)


def condition_names(model):
    """模型要的条件里，得由数据模块另算的那几个"""
    return [key for key in model.cond_keys.values() if key != "label"]
