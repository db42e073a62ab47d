"""两种大小的大作业：网络、数据、训练的时限、评分的张数"""
from dataclasses import dataclass, field
from functools import lru_cache

import torch

from ...checks import check_choice, fail
from ...data import DigitsDataModule, MNISTDataModule
from ...unet import UNet

CALLS = (1, 2, 4, 8)
TIMESTEPS = 1000


@dataclass(frozen=True)
class Task:
    """name：数据也叫这个名字；unet：给定的网络；steps、limit：练几步，至多几秒；count：一个种子画几张"""

    name: str
    title: str
    unet: dict = field(hash=False)
    size: int
    batch: int
    steps: int
    limit: int
    learning_rate: float
    count: int

    @property
    def shape(self):
        return 1, self.size, self.size

    def network(self):
        """没有练过的网络（eval 模式）"""
        return UNet(in_channels=1, out_channels=1, **self.unet).eval()


# 与随包的模型形状不同：它们的权重装不进来
TASKS = {
    "digits": Task("digits", "8×8 的数字，笔记本电脑上十分钟", dict(model_channels=16, num_res_blocks=1, channel_mult=[1, 2], attention_resolutions=[]),
                   size=8, batch=64, steps=6000, limit=600, learning_rate=4e-3, count=500),
    "mnist": Task("mnist", "28×28 的 MNIST，两个核的笔记本电脑上一小时",
                  dict(model_channels=32, num_res_blocks=1, channel_mult=[1, 2], attention_resolutions=[], patch_size=2),
                  size=28, batch=64, steps=6000, limit=3600, learning_rate=2e-3, count=500),
}


def task_named(name):
    return TASKS[check_choice("大作业", name, tuple(TASKS))]


@lru_cache(maxsize=2)
def pictures(name, root="data"):
    """这份数据的图：{"train", "held"}，各 (N, 1, H, W)，[-1, 1]；held 没有练过，评分用

    异常 : MNIST 不在 root 里又下不到时 DataUnavailableError
    """
    data = DigitsDataModule() if name == "digits" else MNISTDataModule(root, progress=False)
    held = ("val", "test") if name == "digits" else ("test",)
    return {"train": data.dataset("train")[:]["image"], "held": torch.cat([data.dataset(split)[:]["image"] for split in held])}


def check_table(table):
    """学生的噪声表：(T,)，各在 (0, 1) 里，走到头几乎只剩噪声；返回 float64 的张量

    异常 : 不合规则时 ValueError，写明哪一条
    """
    try:
        found = torch.as_tensor(table).detach().double().cpu()
    except (TypeError, ValueError, RuntimeError):
        fail("betas 的返回值", f" {TIMESTEPS} 个数", type(table).__name__)
    if found.shape != (TIMESTEPS,):
        fail("betas 的返回值", f"形状 ({TIMESTEPS},)", tuple(found.shape))
    if not (found.isfinite().all() and (found > 0).all() and (found <= 1).all()):
        fail("betas 的返回值", "都在 (0, 1] 里的有限的数", f"{float(found.min()):.3g} 到 {float(found.max()):.3g}")
    left = float((1 - found).cumprod(0)[-1].sqrt())
    if left > 0.1:
        fail("betas 走到头的 √ᾱ", "不超过 0.1，原图看不出来了", round(left, 3), "β 再大一些")
    return found
