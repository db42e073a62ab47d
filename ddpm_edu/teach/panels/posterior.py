"""后验方差的三块面板：σ² 的曲线、高斯数据上整条链的方差、训练好的模型在同一份噪声下的样本"""
import numpy as np
import torch

from ...gaussian import diffusion_tables
from ...progress import progress_bar
from ...schedules import make_beta_schedule, rescale_linear_range
from ..figures import framed_grid
from ..laboratory import chain_variances
from ..panel import Panel, choice, slider
from ..plot import Axis, Plot

V_CHOICES = (0.0, 0.25, 0.5, 0.75, 1.0)


def posterior_data(betas, v):
    """→ (σ² 与两端、它们与 β 之比, 一句话)；t=0 的 β̃ 为 0，不画"""
    tilde = diffusion_tables(betas, 0.0)["posterior_variance"][1:]
    t, sigma2 = np.arange(1, len(betas)), diffusion_tables(betas, v)["posterior_variance"][1:]
    data = {
        "tilde": (t, tilde), "beta": (t, betas[1:]), "sigma2": (t, sigma2),
        "ratio": (t, tilde / betas[1:]), "ratio_v": (t, sigma2 / betas[1:]), "ratio_one": (t, np.ones(len(t))),
    }
    return data, f"v = {v:.2f}：t=1 处 β̃/β = {data['ratio'][1][0]:.3f}，σ²/β = {data['ratio_v'][1][0]:.3f}"


def posterior_panel(betas):
    T, low = len(betas), diffusion_tables(betas, 0.0)["posterior_variance"][1]
    plot = Plot(
        [Axis("步号 $t$", "方差", (1, T - 1), (low / 2, min(1.0, 10 * betas.max())), "log", "log", legend="upper left",
              curves={"sigma2": r"$\sigma_t^2$（你选的 $v$）", "beta": r"$\beta_t$（$v=1$）", "tilde": r"$\tilde\beta_t$（$v=0$）"}),
         Axis("步号 $t$", r"与 $\beta_t$ 之比", (1, T - 1), (0.4, 1.02), "log", legend="lower right",
              curves={"ratio_v": r"$\sigma_t^2/\beta_t$", "ratio_one": r"$\beta_t/\beta_t$", "ratio": r"$\tilde\beta_t/\beta_t$"})],
    )
    return Panel(plot, lambda v: posterior_data(betas, v), v=slider(0.5, 0.0, 1.0, 0.05, "v_posterior"))


def chain_data(v, std, T, schedule):
    """→ (采样链的方差与真实边缘方差之比随 t 的变化，最左端是最终样本, 最终样本的方差之比, 一句话)"""
    betas = make_beta_schedule(schedule, T, *rescale_linear_range(T))
    u = np.arange(T) / T
    settings = {"v": v, "zero": 0.0, "one": 1.0}
    data = {name: (u, chain_variances(betas, std, value)[:-1]) for name, value in settings.items()}
    ends = [chain_variances(betas, std, value)[0] for value in np.linspace(0, 1, 21)]
    data |= {"end": (np.linspace(0, 1, 21), ends), "here": ((v,), (chain_variances(betas, std, v)[0],)), "true": (u, np.ones(T))}
    return data, f"数据 x₀ ~ N(0, {std:.2f}²)，走 {T} 步：v = {v:.2f} 时样本的方差是真值的 {data['here'][1][0]:.2f} 倍"


def chain_panel():
    plot = Plot([
        Axis("$(t+1)/T$（最左端是最终样本）", "途中的方差是真值的几倍", ylim=(0, 3), legend="upper right",
             curves={"v": "你选的 $v$", "one": "$v=1$", "zero": "$v=0$", "true": "真值"}),
        Axis("$v$", "最终样本的方差是真值的几倍", (-0.03, 1.03), (0, 3), dots=("here",),
             curves={"here": "", "end": ""}),
    ], width=8.5)
    return Panel(
        plot, chain_data,
        v=slider(0.5, 0.0, 1.0, 0.05, "v_posterior"), std=slider(0.2, 0.02, 1.0, 0.02, "数据的标准差"),
        T=choice([5, 10, 20, 50, 200], 10, "步数 T"), schedule=choice(["cosine", "linear"], "cosine", "噪声表"),
    )


def posterior_grids(model, steps=(5, 10, 20), num_samples=32, cond=None):
    """同一份噪声下各个 (步数, v) 的样本：{(步数, v): (H, W) 图像}"""
    grids = {}
    for count, v in progress_bar([(count, v) for count in steps for v in V_CHOICES], title="各组设定", unit="组"):
        generator = torch.Generator().manual_seed(4)
        samples = model.sample(num_samples, steps=count, v_posterior=v, cond=cond, generator=generator)
        grids[count, v] = framed_grid(samples, 8 if cond is None else 10)[0][0].numpy()
    return grids


def samples_panel(grids):
    """上半是 v=0，下半是选的 v；grids 由 posterior_grids 事先算好，拖动时不必等"""
    rows, columns = next(iter(grids.values())).shape
    plot = Plot([Axis(image="grid", title="上半：$v=0$　　下半：你选的 $v$")], width=7.0, height=14.0 * rows / columns + 0.3)
    steps = sorted({count for count, _ in grids})
    return Panel(plot, lambda v, steps: ({"grid": np.concatenate([grids[steps, 0.0], grids[steps, v]])},
                                         f"走 {steps} 步，上半 v = 0，下半 v = {v:.2f}；噪声是同一份"),
                 v=slider(1.0, 0.0, 1.0, 0.25, "v_posterior"), steps=choice(steps, steps[1], "步数"))
