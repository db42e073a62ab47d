"""网页里活的面板：把 notebook 里的那几块面板写成描述（assets/panels-data.js），计算由 assets/ 里的 JavaScript 来做

每块面板的 compute 在 JavaScript 里有一个孪生的函数（panel_compute.js、pictures.js），别的（控件、坐标轴、图例、颜色）都取自面板自己的描述
图来自训练好的网络的三块（samples、eta、guidance）仍是静态的图：预先算好的样本太大，又写不成公式
"""
import base64
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ...gaussian import GaussianDiffusion
from ...schedules import make_beta_schedule
from ...teach.books import NOTEBOOKS
from ...teach.datasets import handwriting
from ...teach.panels import (
    beta_panel,
    chain_panel,
    ema_panel,
    forward_panel,
    lr_panel,
    parameterization_panel,
    posterior_panel,
    weights_panel,
)
from ...teach.panels.beta import PAPER_NAMES
from ...teach.panels.ema import DRAWN, NOISE
from ...teach.panels.lr import SPAN

STILL = ("samples_panel", "guidance_panel")


@cache
def live_panels():
    """与 notebook 里参数相同的面板：{函数名: (面板, 计算时另要的数)}；图都要画一遍才知道刻度，几秒，所以只造一次"""
    images = handwriting(NOTEBOOKS.parent / "data")[0]
    betas = make_beta_schedule("sqrt_linear", 1000)
    return {
        "beta_panel": (beta_panel(), {"names": PAPER_NAMES}),
        "forward_panel": forward(images.roll(-3, 0)),
        "posterior_panel": (posterior_panel(betas), {"betas": packed(betas, "f8")}),
        "chain_panel": (chain_panel(), {}),
        "parameterization_panel": parameterization(images[3:67]),
        "weights_panel": (weights_panel(), {}),
        "ema_panel": (ema_panel(), {"jitter": packed(NOISE, "f8"), "drawn": packed(DRAWN, "i4")}),
        "lr_panel": (lr_panel(), {"span": SPAN, "shown": SPAN + 101}),
    }


def forward(images):
    """第 3 章的加噪面板；噪声由网页照种子生成"""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    pixels = ((images + 1) * 127.5).round().to(torch.uint8)
    return (forward_panel(GaussianDiffusion(), images, noise),
            {"pixels": packed(pixels.numpy(), "u1"), "side": images.shape[-1], "seed": 0, "schedule": "linear", "T": 1000})


def parameterization(images):
    """第 5 章的参数化面板；噪声是双精度抽的，只用第一张，随描述带着"""
    noise = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start, noise = images[:1].float(), noise[:1].float()
    return (parameterization_panel(GaussianDiffusion(beta_schedule="cosine"), start, noise),
            {"start": packed(start.numpy(), "f4"), "noise": packed(noise.numpy(), "f4"), "schedule": "cosine", "T": 1000})


def packed(values, kind):
    """一串数 → {kind, base64}，网页里还原成同样类型的数组；kind：f8、f4、i4、u1"""
    data = np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()
    return {"kind": kind, "base64": base64.b64encode(data).decode()}


def write_panels(folder, live=None):
    """写出 <folder>/assets/panels-data.js：ddpm.panels = {函数名: 面板的描述}；返回写好的路径。live 不写就是 live_panels()"""
    target = Path(folder) / "assets" / "panels-data.js"
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptions = {name: {**panel.describe(), "extra": extra} for name, (panel, extra) in (live or live_panels()).items()}
    text = json.dumps(descriptions, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    target.write_text(f"(globalThis.ddpm = globalThis.ddpm || {{}}).panels = {text};\n", encoding="utf-8")
    return target
