"""β 面板：噪声表 × T × 两端的 β × cosine_s → β_t、ᾱ_t、信噪比"""
import re

import numpy as np

from ...schedules import SCHEDULES, alphas_cumprod, make_beta_schedule, rescale_linear_range
from ..figures import BLUE, GRAY
from ..panel import Panel, choice, int_slider, log_slider, slider
from ..plot import Axis, Plot

PAPER_NAMES = {
    "linear": "√β 等距；diffusers 叫 scaled_linear，DDPM 论文没有用过",
    "sqrt_linear": "β 等距；这才是 DDPM 论文的 linear，diffusers 也叫 linear",
    "sqrt": "√ 套在等距的数外面；别处没有通用的名字",
    "cosine": "ᾱ 按余弦平方下降；Improved DDPM 提出，diffusers 叫 squaredcos_cap_v2",
}


LOOKS = ((BLUE, "-", 2.0), (GRAY, "--", 1.5))


def curves(betas):
    """β → {曲线的名字: (t/T, 值)}"""
    cumprod, _ = alphas_cumprod(betas)
    u = np.arange(len(betas)) / len(betas)
    return {"beta": (u, betas), "alpha_bar": (u, cumprod), "snr": (u, np.maximum(cumprod, 1e-300) / (1 - cumprod))}


def beta_data(schedule, T, linear_start, linear_end, cosine_s):
    """→ ({beta, alpha_bar, snr: (t/T, 值)}, 一句话)；两端写反时按小的在前"""
    low, high = sorted((linear_start, linear_end))
    betas = make_beta_schedule(schedule, T, low, high, cosine_s)
    data = curves(betas)
    return data, describe(schedule, T, low, high, data["alpha_bar"][1][-1] ** 0.5)


def describe(schedule, T, linear_start, linear_end, leftover):
    """名字的来历，以及走到头还剩多少原图"""
    idle = "linear_start、linear_end 不" if schedule == "cosine" else "cosine_s 不"
    text = f"<b>{schedule}</b>：{PAPER_NAMES[schedule]}（{idle}起作用）。走完 T={T} 步，原图的幅度还剩 √ᾱ = {leftover:.2g}。"
    if leftover <= 0.1:
        return text
    text += f"<b>{'T 太短' if T < 1000 else '噪声太少'}：</b>走到头还看得见原图，从 N(0, I) 开始采样就错了。"
    if T < 1000 and schedule in ("linear", "sqrt_linear"):
        start, end = rescale_linear_range(T, linear_start, linear_end)
        return f"{text}把两端乘上 1000/T（{start:.3g} 与 {end:.3g}），或改用 cosine。"
    return f"{text}把 linear_end 调大，或改用 cosine。"


def still_words(note):
    """describe 的一句话 → 静态图上写的：剩多少，写成百分数；太多，就说怎样改"""
    left = f"。走完以后，原图的幅度还剩 {100 * float(re.search('√ᾱ = ([-+.0-9e]*[0-9])', note)[1]):.2g}%"
    warned = re.search("<b>([^<]+)：</b>走到头.*采样就错了。(.*)。", note)
    return f"{left}。{warned[1]}：{warned[2]}" if warned else left


def beta_panel():
    plot = Plot([
        Axis("$t/T$", r"$\beta_t$", ylim=(1e-5, 1.5), yscale="log", curves={"beta": "这张表", "beta_reference": "linear，T=1000"}, legend="lower right",
             styles=LOOKS),
        Axis("$t/T$", r"$\bar\alpha_t$", ylim=(-0.02, 1.02), curves={"alpha_bar": "", "alpha_bar_reference": ""}, styles=LOOKS),
        Axis("$t/T$", "信噪比", ylim=(1e-5, 1e5), yscale="log", curves={"snr": "", "snr_reference": ""}, styles=LOOKS),
    ])
    # 每十步取一点，拖动时重画得快
    plot.update(**{f"{name}_reference": (u[::10], values[::10]) for name, (u, values) in curves(make_beta_schedule("linear", 1000)).items()})
    return Panel(
        plot, beta_data, sheet=[
            {"schedule": "linear", "T": 100},
            {"schedule": "linear", "T": 100, "linear_start": 1e-3, "linear_end": 0.2}, {"schedule": "cosine", "T": 100}],
        aside=still_words,
        schedule=choice(list(SCHEDULES), "linear", "噪声表"), T=int_slider(100, 10, 2000, "步数 T", 10),
        linear_start=log_slider(1e-4, -5, -1, "linear_start"), linear_end=log_slider(2e-2, -3, -0.1, "linear_end"),
        cosine_s=slider(0.008, 0.0, 0.1, 0.002, "cosine_s", ".3f"),
    )
