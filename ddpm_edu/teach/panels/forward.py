"""加噪面板：拖动 t，看一张真实的数字怎样变成噪声，它的像素值怎样走向 N(0, 1)"""
import math

import numpy as np
import torch

from ..panel import Panel, int_slider
from ..plot import Axis, Plot

# -1 与 1 各在一格的正中：背景的黑不被劈成两格
EDGES = np.linspace(-4.05, 4.05, 82)
CENTERS = (EDGES[1:] + EDGES[:-1]) / 2
NORMAL = np.exp(-CENTERS**2 / 2) / math.sqrt(2 * math.pi)


def forward_data(diffusion, images, noise, t, index=0):
    """→ ({image, histogram, normal}, 一句话)；直方图用全部图像的像素，密度归一

    images, noise : (N, 1, H, W)
    """
    x_t = diffusion.q_sample(images, torch.full((len(images),), t), noise)
    density, _ = np.histogram(x_t.clamp(-4, 4).numpy(), EDGES, density=True)
    signal = float(diffusion.exact_table("sqrt_alphas_cumprod")[t])
    note = f"t = {t}：x_t = {signal:.3f}·x₀ + {math.sqrt(1 - signal**2):.3f}·ε；全部像素的方差 {float(x_t.var()):.1f}"
    return {"image": x_t[index, 0].numpy(), "histogram": (CENTERS, density), "normal": (CENTERS, NORMAL)}, note


def forward_panel(diffusion, images, noise):
    plot = Plot([
        Axis(image="image", title="$x_t$"),
        Axis("像素值", "密度", (-4, 4), (0, 1.2), legend="upper right",
             curves={"histogram": "$x_t$", "normal": r"$\mathcal{N}(0,1)$"}),
    ], width=5.4, height=2.4, ratios=(1, 1.8))
    # 直方图画成台阶，不把格心连成斜线：窄的峰照样窄
    plot.artists["histogram"].set_drawstyle("steps-mid")
    last = diffusion.num_timesteps - 1
    return Panel(plot, lambda t, index: forward_data(diffusion, images, noise, t, index), sheet=[{"t": round(k * last)} for k in (0, 0.15, 0.27, 1)],
                 across=2, t=int_slider(0, 0, last, "步号 t"), index=int_slider(0, 0, 9, "第几张图"))
