"""损失权重的面板：三种目标推导出的权重，与总损失里混合之后的权重"""
import numpy as np

from ...gaussian import diffusion_tables
from ...objectives import OBJECTIVES
from ...schedules import make_beta_schedule
from ..figures import GRAY
from ..panel import Panel, choice, last_sentence, slider
from ..plot import STYLES, Axis, Plot

T = 1000


def weights_data(v, schedule, l_simple, elbo):
    """→ ({eps, x0, v: 推导出的权重, mixed_eps 等: 混合之后累计占几成, peaks: 各自最重的一步, one: 全取 1}, 一句话)"""
    betas, t = make_beta_schedule(schedule, T), np.arange(1, T + 1)
    derived = {name: diffusion_tables(betas, v, name)["lvlb_weights"] for name in OBJECTIVES}
    mixed = {name: l_simple + elbo * chosen for name, chosen in derived.items()}
    running = {name: weights.cumsum() / (weights.sum() or 1.0) for name, weights in mixed.items()}
    heaviest = {name: int(weights.argmax()) for name, weights in mixed.items()}
    data = {**{name: (t, weights) for name, weights in derived.items()}, **{f"mixed_{name}": (t, share) for name, share in running.items()},
            "one": (t, t / T), "peaks": ([step + 1 for step in heaviest.values()], [running[name][step] for name, step in heaviest.items()])}
    if l_simple == elbo == 0:
        return data, "处处为 0，构造函数会拒绝"
    said = "；".join(f"{name} 是 t={step}，占 {mixed[name][step] / mixed[name].sum():.0%}" for name, step in heaviest.items())
    return data, f"总损失里的权重是 {l_simple:g} + {elbo:g}·w_t。最重的一步：{said}"


def effective_share(weights):
    """一批里有几成样本顶用：(Σw)²/(TΣw²)；全相等时是 1，全压在一步上时是 1/T，全为 0 时记 0"""
    return float(weights.sum() ** 2 / (len(weights) * (weights**2).sum())) if weights.any() else 0.0


def weights_panel():
    wide = {"xlim": (0.9, 1.1 * T), "xscale": "log", "xticks": (1, 10, 30, 100, 1000)}
    names, gray = {name: name for name in OBJECTIVES}, (GRAY, "-", 1.5)
    plot = Plot([
        Axis("$t+1$", "推导出的权重 $w_t$", ylim=(1e-7, 1e5), yscale="log", curves=names, legend="lower left", **wide),
        Axis("$t+1$", "从头累计，占几成", ylim=(0, 1.02), title="灰线：全取 1　　点：最重的一步", dots=("peaks",), styles=(*STYLES[:len(names)], gray),
             curves={**{f"mixed_{name}": "" for name in names}, "one": "", "peaks": ""}, **wide),
    ])
    return Panel(
        plot, weights_data, sheet=[{"schedule": name} for name in ("sqrt_linear", "cosine")], aside=last_sentence,
        v=slider(0.0, 0.0, 1.0, 0.05, "v_posterior"), schedule=choice(["sqrt_linear", "linear", "cosine"], "sqrt_linear", "噪声表"),
        l_simple=slider(0.0, 0.0, 2.0, 0.1, "l_simple_weight"), elbo=slider(1.0, 0.0, 1.0, 0.05, "original_elbo_weight"),
    )
