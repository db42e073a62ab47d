"""采样的两块面板：DDIM 的 eta 与步数、引导的强度，图事先算好，拖动时不必等"""
import torch

from ...generate import generate
from ...progress import progress_bar
from ...schedules import make_beta_schedule
from ..figures import framed_grid
from ..laboratory import ddim_chain_variance
from ..panel import Panel, choice, slider
from ..plot import Axis, Plot

ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS = (2, 3, 5, 10, 20, 50)
SCALES = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)


def eta_grids(model, steps=STEPS, cond=None, num_samples=10):
    """同一批起点下各个 (步数, eta) 的 DDIM 样本：{(步数, eta): (H, W) 图像}，每行五张"""
    return {
        (count, eta): framed_grid(generate(model, num_samples, seed=4, steps=count, eta=eta, cond=cond)[0], 5)[0][0].numpy()
        for count, eta in progress_bar([(count, eta) for count in steps for eta in ETAS], title="各组设定", unit="组")
    }


def eta_data(grids, std, eta, steps):
    """→ ({grid: 样本, eta / zero / one: (步数, 高斯数据上样本的方差与真值之比), here}, 一句话)"""
    betas = make_beta_schedule("cosine", 1000)
    counts = sorted({count for count, _ in grids})
    data = {
        name: (counts, [ddim_chain_variance(betas, std, count, value) for count in counts])
        for name, value in (("eta", eta), ("zero", 0.0), ("one", 1.0))
    }
    ratio = ddim_chain_variance(betas, std, steps, eta)
    data |= {"grid": grids[steps, eta], "here": ((steps,), (ratio,))}
    return data, f"走 {steps} 步，eta = {eta:.2f}：高斯数据上，样本的方差是真值的 {ratio:.2f} 倍"


def eta_panel(grids, std=0.5):
    counts = sorted({count for count, _ in grids})
    plot = Plot([
        Axis(image="grid", title="训练好的网络：样本"),
        Axis("步数", "样本的方差是真值的几倍", (counts[0] / 1.2, counts[-1] * 1.2), (0, 1.1), "log", dots=("here",), legend="lower right",
             curves={"here": "", "eta": r"滑块上的 $\eta$", "zero": r"$\eta=0$", "one": r"$\eta=1$"}, xticks=tuple(counts),
             title="高斯数据与最优的猜测（1 是完美）"),
    ], width=9.0, ratios=(1.5, 1))
    return Panel(plot, lambda eta, steps: eta_data(grids, std, eta, steps),
                 sheet=[{"eta": eta} for eta in (0.0, 1.0)], eta=slider(0.5, 0.0, 1.0, 0.25, "eta"),
                 steps=choice(counts, counts[len(counts) // 2], "步数"))


def guidance_grids(model, scales=SCALES, per_class=4, steps=20):
    """同一批起点下各个引导强度的样本，一列一个类别：{强度: (10 * per_class, C, H, W)}"""
    labels = torch.arange(10).repeat(per_class)
    return {
        scale: generate(model, len(labels), seed=2, cond=labels, guidance_scale=scale, steps=steps)[0]
        for scale in progress_bar(scales, title="各组设定", unit="组")
    }


def guidance_panel(samples, classifier, spread):
    """samples 由 guidance_grids 算好，上方是类别；一句话里有认得出的比例，与 spread（{强度: 散布}）是 w=1 时的几倍"""
    scales = sorted(samples)
    labels = torch.arange(len(samples[scales[0]])) % 10
    right = {scale: float((classifier(samples[scale].clamp(-1, 1)).argmax(1) == labels).double().mean()) for scale in scales}

    def compute(scale):
        return ({"grid": framed_grid(samples[scale], 10)[0][0].numpy()},
                f"引导强度 w = {scale:g}：认得出 {right[scale]:.0%}，散布是 w = 1 时的 {spread[scale] / spread[1.0]:.2f} 倍")

    plot = Plot([Axis(image="grid", columns=tuple("0123456789"))], width=5.2, height=2.3)
    return Panel(plot, compute, sheet=[{"scale": scale} for scale in scales], scale=choice(scales, scales[1], "引导强度 w"))
