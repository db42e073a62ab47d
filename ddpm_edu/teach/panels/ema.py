"""EMA 面板：有效衰减、半衰期，以及它在一条抖动的轨迹上落后多少"""
import math

import numpy as np

from ..panel import Panel, choice, slider, toggle
from ..plot import STYLES, Axis, Plot

STEPS = np.arange(1, 2001)
DRAWN = np.arange(0, 2000, 10)  # 权重每 10 步画一点，免得糊成一片
NOISE = np.random.default_rng(0).standard_normal(len(STEPS))


def ema_data(decay, warm_up, noise):
    """→ (每一步靠近的比例、轨迹与它的 EMA, 一句话)；轨迹从 1 走到 0，再加上抖动"""
    decays = np.minimum(decay, (1 + STEPS) / (10 + STEPS)) if warm_up else np.full(len(STEPS), decay)
    weight = np.exp(-STEPS / 300) + noise * NOISE
    constant = np.full(len(STEPS), decay)
    data = {"step": (STEPS, 1 - decays), "limit": (STEPS, 1 - constant), "shadow": (STEPS, follow(weight, decays)),
            "fixed": (STEPS, follow(weight, constant)), "weight": (STEPS[DRAWN], weight[DRAWN])}
    half_life = math.log(0.5) / math.log(decay)
    reached = int((decays >= decay).argmax()) + 1 if (decays >= decay).any() else None
    if not warm_up:
        acting = f"没有热身，{len(STEPS)} 步之后初值还占 {decays.prod():.0%}"
    elif reached:
        acting = f"热身到第 {reached - 1} 步为止"
    else:
        acting = "2 000 步之内它一直没有起作用，管用的是热身公式"
    return data, f"decay = {decay}：半衰期 {half_life:.0f} 步；{acting}"


def follow(weight, decays):
    shadow, current = np.empty(len(STEPS)), 1.0
    for i, (value, d) in enumerate(zip(weight, decays)):
        current += (1 - d) * (value - current)
        shadow[i] = current
    return shadow


def ema_panel():
    plot = Plot([
        Axis("步 $n$", "", (1, 2000), (5e-5, 1.5), "log", "log", legend="upper right", title="每一步向权重靠近的比例",
             curves={"step": "$1-d_n$", "limit": "不热身，$1-d$"}, styles=STYLES[::2]),  # 橙色只给权重
        Axis("步 $n$", "", (0, 2000), (-0.6, 1.7), legend="upper right", title="权重与它的影子",
             curves={"shadow": "影子 $s_n$", "weight": r"权重 $\theta_n$", "fixed": "影子，不热身"}),
    ], width=7.4, height=2.9)
    return Panel(plot, ema_data, sheet=[{"decay": 0.9999, "warm_up": True}, {"decay": 0.9, "warm_up": True}],
                 decay=choice([0.9, 0.99, 0.999, 0.9999], 0.9999, "ema_decay"),
                 warm_up=toggle(True, "热身公式（use_num_updates）"), noise=slider(0.15, 0.0, 0.3, 0.05, "抖动的大小"))
