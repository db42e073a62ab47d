"""逐行读懂 DDPM：一个可以读、可以训练、可以验证的扩散模型

名字都是惰性的：import ddpm_edu 本身不加载 torch，
用到数学时才加载 torch，用到 DDPM 时才加载 Lightning
"""
import sys
from importlib import import_module

from . import moved  # noqa: F401

__version__ = "0.1.0"

_HOME = {
    "DDPM": "ddpm",
    "GaussianDiffusion": "gaussian",
    "make_beta_schedule": "schedules",
    "UNet": "unet",
    "DiffusionWrapper": "conditioning",
    "LitEma": "ema",
    "LambdaWarmUpCosineScheduler": "lr_scheduler",
    "LambdaWarmUpCosineScheduler2": "lr_scheduler",
    "LambdaLinearScheduler": "lr_scheduler",
    "count_params": "parameters",
    "instantiate_from_config": "config",
    "DigitsDataModule": "data",
    "MNISTDataModule": "data",
    "FashionMNISTDataModule": "data",
    "CIFAR10DataModule": "data",
    "ImageFolderDataModule": "data",
    "PhotoPatchesDataModule": "data",
    "load_pretrained": "pretrained",
    "AutoencoderKL": "latent.autoencoder",
    "WordEmbedder": "latent.words",
    "LatentDiffusion": "latent.diffusion",
}
__all__ = list(_HOME)

# 由 python -m ddpm_edu… 起的进程：这时要跑的模块还没有导入
if sys.argv[:1] == ["-m"]:
    import_module(".cli.console", __name__).use_utf8()


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"ddpm_edu 里没有 {name!r}；有的是 {', '.join(_HOME)}")
    try:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"这个 Python 里没有 {error.name}（{sys.executable}）；在 JupyterLab 里右上角换成课程的内核，"
                                  "或者重新运行 python course.py lab，它会补装缺的包", name=error.name) from None
    except UnicodeEncodeError:
        raise ImportError(f"{sys.executable} 或课程的路径里有中文，而系统的编码是 ASCII，torch 装不进来；设环境变量 PYTHONUTF8=1 再运行") from None
    except RuntimeError as error:
        if "torchvision" not in str(error):
            raise
        raise ImportError(f"环境里的 torchvision 与 torch 不配（{error}）；这门课不用它，运行 python -m pip uninstall -y torchvision 再试") from None


def __dir__():
    return sorted({*globals(), *_HOME})
