"""损失权重的面板：三种目标推导出的权重，与总损失里混合之后的权重"""
import numpy as np

from ...gaussian import diffusion_tables
from ...objectives import OBJECTIVES
from ...schedules import make_beta_schedule
from ..figures import BLUE, GRAY, INK
from ..panel import Panel, choice, slider
from ..plot import Axis, Plot

T = 1000


def weights_data(parameterization, v, schedule, l_simple, elbo):
    """→ ({eps, x0, v: 推导出的权重, mixed: 混合之后累计占几成, peak: 其中最重的一步, one: 全取 1}, 一句话)"""
    betas, t = make_beta_schedule(schedule, T), np.arange(1, T + 1)
    derived = {name: diffusion_tables(betas, v, name)["lvlb_weights"] for name in OBJECTIVES}
    chosen = derived[parameterization]
    mixed = l_simple + elbo * chosen
    running, share, heaviest = mixed.cumsum() / (mixed.sum() or 1.0), effective_share(mixed), mixed.argmax()
    data = {**{name: (t, weights) for name, weights in derived.items()}, "mixed": (t, running), "one": (t, t / T),
            "peak": ([t[heaviest]] * 2, [running[heaviest - 1] if heaviest else 0.0, running[heaviest]])}
    said = "处处为 0，构造函数会拒绝" if l_simple == elbo == 0 else f"最重的一步占 {mixed.max() / mixed.sum():.1%}，有效样本 {share:.1%}"
    return data, (f"{parameterization}，v_posterior = {v:.2f}：推导出的权重，最大的是最小的 {chosen.max() / chosen.min():.2g} 倍；"
                  f"总损失里的权重是 {l_simple:g} + {elbo:g}·w_t，{said}")


def effective_share(weights):
    """一批里有几成样本顶用：(Σw)²/(TΣw²)；全相等时是 1，全压在一步上时是 1/T，全为 0 时记 0"""
    return float(weights.sum() ** 2 / (len(weights) * (weights**2).sum())) if weights.any() else 0.0


def weights_panel():
    wide = {"xlim": (0.9, 1.1 * T), "xscale": "log", "xticks": (1, 10, 30, 100, 1000)}
    plot = Plot([
        Axis("$t+1$", "推导出的权重 $w_t$", ylim=(1e-7, 1e5), yscale="log", curves={"eps": "eps", "x0": "x0", "v": "v"}, legend="lower left", **wide),
        Axis("$t+1$", "总损失里的权重，从头累计", ylim=(0, 1.02), legend="upper left", styles=((INK, "-", 4.0), (BLUE, "-", 2.0), (GRAY, "-", 1.5)),
             curves={"peak": "最重的一步", "mixed": "选中的目标", "one": "全取 1"}, **wide),
    ])
    return Panel(
        plot, weights_data, sheet=[{"schedule": name} for name in ("sqrt_linear", "cosine")],
        parameterization=choice(["eps", "x0", "v"], "eps", "参数化"), v=slider(0.0, 0.0, 1.0, 0.05, "v_posterior"),
        schedule=choice(["sqrt_linear", "linear", "cosine"], "sqrt_linear", "噪声表"),
        l_simple=slider(0.0, 0.0, 2.0, 0.1, "l_simple_weight"), elbo=slider(1.0, 0.0, 1.0, 0.05, "original_elbo_weight"),
    )
