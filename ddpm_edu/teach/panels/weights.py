"""损失权重的两块面板：三种目标的 VLB 权重与参考实现的差别；learn_logvar 的最优点"""
import numpy as np

from ...gaussian import diffusion_tables
from ...schedules import make_beta_schedule
from ..panel import Panel, choice, slider
from ..plot import Axis, Plot

T = 1000


def reference_weights(betas, v, parameterization):
    """参考实现的权重；eps 的公式本来对，但第 0 步被第 1 步覆盖"""
    tables = diffusion_tables(betas, v)
    cumprod = tables["alphas_cumprod"]
    with np.errstate(divide="ignore"):
        weights = {
            "eps": betas**2 / (2 * tables["posterior_variance"] * (1 - betas) * (1 - cumprod)),
            "x0": 0.5 * np.sqrt(cumprod) / (2 - cumprod),
            "v": np.ones_like(betas),
        }[parameterization]
    weights[0] = weights[1]
    return weights


def popular_fix(betas):
    """网上流行的“修正”：把 x0 公式里的 2 - ᾱ 读成 2(1 - ᾱ)，仍然不对"""
    cumprod = np.cumprod(1 - betas)
    return 0.5 * np.sqrt(cumprod) / (2 * (1 - cumprod))


def weights_data(parameterization, v, schedule, l_simple, elbo):
    """→ (真实的、参考实现的、流行修正的权重；混合之后的总权重, 一句话)"""
    betas = make_beta_schedule(schedule, T)
    true = diffusion_tables(betas, v, parameterization)["lvlb_weights"]
    wrong, t = reference_weights(betas, v, parameterization), np.arange(1, T + 1)
    data = {
        "true": (t, true), "reference": (t, wrong), "mixed": (t, l_simple + elbo * true),
        "popular": (t, popular_fix(betas)) if parameterization == "x0" else ([], []),
    }
    zero = "，处处为 0，构造函数会拒绝" if l_simple == elbo == 0 else ""
    ratios = f"参考实现偏到真值的 {wrong[1] / true[1]:.3g} 倍（t=1）与 {wrong[-1] / true[-1]:.3g} 倍（t=999）"
    return data, f"{parameterization}，v = {v:.2f}：{ratios}；混合权重 {l_simple:g} + {elbo:g}·w_t{zero}"


def weights_panel():
    wide = {"xlim": (1, T), "xscale": "log", "yscale": "log", "legend": "lower left"}
    plot = Plot([
        Axis("$t+1$", "权重 $w_t$", ylim=(1e-9, 1e5), curves={"true": "正确的", "reference": "参考实现", "popular": "流行的修法"},
             **wide),
        Axis("$t+1$", r"混合的权重 $w_s + w_e\,w_t$", ylim=(1e-5, 1e5), curves={"mixed": ""}, **wide),
    ])
    return Panel(
        plot, weights_data, parameterization=choice(["eps", "x0", "v"], "x0", "参数化"),
        v=slider(0.0, 0.0, 1.0, 0.05, "v_posterior"), schedule=choice(["linear", "cosine"], "linear", "噪声表"),
        l_simple=slider(1.0, 0.0, 2.0, 0.1, "l_simple_weight"), elbo=slider(0.0, 0.0, 1.0, 0.05, "original_elbo_weight"),
    )


def logvar_data(mse):
    """→ (损失随 s 的变化、最低点, 一句话)"""
    s = np.linspace(-6, 2, 200)
    best = np.log(mse)
    note = f"mse = {mse:.3f}：最低点在 s = ln mse = {best:.2f}，那里的损失是 1 + ln mse = {1 + best:.2f}"
    return {"loss": (s, mse * np.exp(-s) + s), "best": ((best,), (1 + best,))}, note


def logvar_panel():
    plot = Plot([Axis("$s$", r"损失 $\mathrm{mse}\cdot e^{-s}+s$", (-6, 2), (-5, 12), dots=("best",),
                      curves={"best": "", "loss": ""})], width=6.0)
    return Panel(plot, logvar_data, mse=slider(0.1, 0.01, 1.0, 0.01, "mse"))
