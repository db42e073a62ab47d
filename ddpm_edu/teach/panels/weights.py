"""损失权重的面板：三种目标推导出的权重，与总损失里混合之后的权重"""
import numpy as np

from ...gaussian import diffusion_tables
from ...objectives import OBJECTIVES
from ...schedules import make_beta_schedule
from ..panel import Panel, choice, slider
from ..plot import Axis, Plot

T = 1000


def weights_data(parameterization, v, schedule, l_simple, elbo):
    """→ ({eps, x0, v: 推导出的权重, mixed: 混合之后的, one: 全取 1}, 一句话)"""
    betas, t = make_beta_schedule(schedule, T), np.arange(1, T + 1)
    derived = {name: diffusion_tables(betas, v, name)["lvlb_weights"] for name in OBJECTIVES}
    chosen = derived[parameterization]
    data = {**{name: (t, weights) for name, weights in derived.items()}, "mixed": (t, l_simple + elbo * chosen), "one": (t, np.ones(T))}
    zero = "，处处为 0，构造函数会拒绝" if l_simple == elbo == 0 else ""
    return data, (f"{parameterization}，v_posterior = {v:.2f}：推导出的权重，最大的是最小的 {chosen.max() / chosen.min():.2g} 倍；"
                  f"总损失里的权重是 {l_simple:g} + {elbo:g}·w_t{zero}")


def weights_panel():
    wide = {"xlim": (1, T), "xscale": "log", "yscale": "log", "legend": "lower left"}
    plot = Plot([
        Axis("$t+1$", "推导出的权重 $w_t$", ylim=(1e-4, 1e5), curves={"eps": "eps", "x0": "x0", "v": "v"}, **wide),
        Axis("$t+1$", "总损失里的权重", ylim=(1e-4, 1e5), curves={"mixed": r"$w_s + w_e\,w_t$", "one": "全取 1"}, **wide),
    ])
    return Panel(
        plot, weights_data, sheet=[{"parameterization": name} for name in OBJECTIVES], parameterization=choice(["eps", "x0", "v"], "eps", "参数化"),
        v=slider(0.0, 0.0, 1.0, 0.05, "v_posterior"), schedule=choice(["linear", "cosine"], "linear", "噪声表"),
        l_simple=slider(0.0, 0.0, 2.0, 0.1, "l_simple_weight"), elbo=slider(1.0, 0.0, 1.0, 0.05, "original_elbo_weight"),
    )
