"""后验方差的三块面板：σ² 是 β 的几倍、高斯数据上整条链的方差、训练好的模型在同一份噪声下的样本"""
import functools

import numpy as np
import torch

from ...gaussian import diffusion_tables
from ...progress import progress_bar
from ...sampling import ancestral_step, spaced_timesteps
from ...schedules import make_beta_schedule
from ..figures import GRAY, framed_grid
from ..laboratory import ancestral, walk
from ..panel import Panel, choice, slider
from ..plot import STYLES, Axis, Plot

# 每步用 v* 的线又粗又灰，垫在别的线底下：与 v=1 重合时两条都看得见
UNDER = (GRAY, "-", 5.0)
# 样本的方差随步数怎样变，画这几处
STEPS = (5, 10, 20, 50, 100, 200, 500, 1000)
V_CHOICES = (0.0, 0.25, 0.5, 0.75, 1.0)


def posterior_data(betas, v, steps=None):
    """→ (σ² 与 β̃ 各是 β 的几倍, 一句话)；只走 steps 步时，β 是大步的；t=0 的 β̃ 为 0，不画"""
    kept = spaced_timesteps(len(betas), len(betas) if steps is None else steps)
    if len(kept) < len(betas):
        cumprod = np.cumprod(1 - betas)[kept]
        betas = 1 - cumprod / np.append(1.0, cumprod[:-1])
    data = {name: (kept[1:], diffusion_tables(betas, value)["posterior_variance"][1:] / betas[1:])
            for name, value in (("ratio_v", v), ("ratio", 0.0))}
    # 步数少时，把走到的几步画成点
    data["marks"] = data["ratio_v"] if len(kept) <= 20 else ((), ())
    return data, f"v = {v:.2f}，走 {len(kept)} 步：t={kept[1]} 处 β̃/β = {data['ratio'][1][0]:.3f}，σ²/β = {data['ratio_v'][1][0]:.3f}"


def posterior_panel(betas):
    """σ² 是 β 的几倍；横轴取对数，才看得清走满时 t 小处的差别；v=1 处处是 1，不画"""
    T = len(betas)
    plot = Plot([Axis("步号 $t$", r"$\sigma_t^2\,/\,\beta_t$", (1, T), (0, 1.02), xscale="log", legend="lower left", dots=("marks",),
                      curves={"ratio_v": "你选的 $v$", "ratio": r"$v=0$（$\tilde\beta_t/\beta_t$）", "marks": ""},
                      styles=(STYLES[0], STYLES[2]))], width=7.0, height=2.3)
    every = [T // fewer for fewer in (1, 10, 100) if T // fewer >= 5]
    return Panel(plot, lambda v, steps: posterior_data(betas, v, steps), sheet=[{"v": 0.5, "steps": count} for count in (every[0], every[-1])],
                 v=slider(0.5, 0.0, 1.0, 0.05, "v_posterior"), steps=choice(every, T, "走几步"))


def each_best(std):
    """每一步各用自己最优的 v = s²/D 的祖先采样，供 walk 用；s 是数据的标准差"""
    return lambda cumprod_t, cumprod_s: ancestral_step(cumprod_t, cumprod_s, std**2 / (cumprod_t * std**2 + 1 - cumprod_t))


@functools.lru_cache(256)
def end_ratios(v, std, schedule):
    """走 STEPS 那么多步，样本的方差各是真值的几倍；几毫秒，记下来，拖别的控件时不再算"""
    levels = np.cumprod(1 - make_beta_schedule(schedule, 1000))
    return [walk(levels[spaced_timesteps(1000, count)], ancestral(v), std=std)[1][0] / std**2 for count in STEPS]


def chain_data(v, std, steps, schedule):
    """→ (途中 x_t 的方差是真值的几倍，样本的又是几倍, 一句话)；从一千步的表里抽 steps 步走，样本的那几条画各种步数"""
    kept = spaced_timesteps(1000, steps)
    cumprod = np.cumprod(1 - make_beta_schedule(schedule, 1000))[kept]
    truth = np.append(std**2, cumprod * std**2 + 1 - cumprod)
    walks = {"v": ancestral(v), "zero": ancestral(0.0), "one": ancestral(1.0), "best": each_best(std)}
    ratios = {name: walk(cumprod, step, std=std)[1] / truth for name, step in walks.items()}
    data = {name: (kept, ratio[1:]) for name, ratio in ratios.items()}
    data |= {f"end_{name}": (STEPS, end_ratios(value, std, schedule)) for name, value in (("v", v), ("zero", 0.0), ("one", 1.0))}
    return data, (f"数据 x₀ ~ N(0, {std:.2f}²)，走 {steps} 步：v = {v:.2f} 时样本的方差是真值的 {ratios['v'][0]:.2f} 倍，"
                  f"每步用最优的 v 时 {ratios['best'][0]:.2f} 倍")


def chain_panel():
    ends = Axis("走的步数", "样本的方差 / 真值", (5, 1000), (0, 4.4), xscale="log", xticks=STEPS,
                curves={"end_v": "", "end_one": "", "end_zero": ""}, styles=STYLES[:3])
    plot = Plot([Axis("步号 $t$（采样从右往左）", "方差 / 真实的方差", (0, 999), (0, 2.4), legend="upper right",
                      curves={"v": "你选的 $v$", "one": "$v=1$", "zero": "$v=0$", "best": "每步用 $v^*_t$"}, styles=(*STYLES[:3], UNDER))],
                [ends], width=7.0, height=4.8)
    return Panel(
        plot, chain_data, sheet=[{"v": 0.4, "std": 0.2, "steps": 10}],
        v=slider(0.5, 0.0, 1.0, 0.05, "v_posterior"), std=slider(0.2, 0.02, 1.0, 0.02, "数据的标准差"),
        steps=choice([5, 10, 20, 50, 200], 10, "走几步"), schedule=choice(["cosine", "linear"], "cosine", "噪声表"),
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
    """每组上面一排是 v=0，下面一排是选的 v；grids 由 posterior_grids 事先算好，拖动时不必等"""
    rows, columns = next(iter(grids.values())).shape
    plot = Plot([Axis(image="grid", rows=dict.fromkeys(("upper", "lower"), "$v=0.25$"))], width=7.0, height=12.6 * rows / columns + 0.1)
    steps = sorted({count for count, _ in grids})
    return Panel(plot, lambda v, steps: ({"grid": np.concatenate([grids[steps, 0.0], grids[steps, v]]), "upper": "$v=0$", "lower": f"$v={v:g}$"},
                                         f"走 {steps} 步，上面 v = 0，下面 v = {v:.2f}；噪声是同一份"),
                 sheet=[{"steps": count} for count in steps], v=slider(1.0, 0.0, 1.0, 0.25, "v_posterior"), steps=choice(steps, steps[1], "步数"))
