"""采样的面板：引导的强度，图事先算好，拖动时不必等"""
import torch

from ...generate import generate
from ...progress import progress_bar
from ..figures import framed_grid
from ..panel import Panel, choice
from ..plot import Axis, Plot

SCALES = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)


def guidance_grids(model, scales=SCALES, per_class=4, steps=20):
    """同一批起点下各个引导强度的样本，一列一个类别：{强度: (10 * per_class, C, H, W)}"""
    labels = torch.arange(10).repeat(per_class)
    return {
        scale: generate(model, len(labels), seed=2, cond=labels, guidance_scale=scale, steps=steps)[0]
        for scale in progress_bar(scales, title="各组设定", unit="组")
    }


def guidance_panel(samples, classifier, spread):
    """samples 由 guidance_grids 算好，上方是类别；一句话里有认得出的比例，与 spread（{强度: 散布}）是 w=1 时的几倍；静态图从上到下：最小的 w、1 与最大的 w"""
    scales = sorted(samples)
    labels = torch.arange(len(samples[scales[0]])) % 10
    right = {scale: float((classifier(samples[scale].clamp(-1, 1)).argmax(1) == labels).double().mean()) for scale in scales}

    def compute(scale):
        return ({"grid": framed_grid(samples[scale], 10)[0][0].numpy()},
                f"引导强度 w = {scale:g}：认得出 {right[scale]:.0%}，散布是 w = 1 时的 {spread[scale] / spread[1.0]:.2f} 倍")

    plot = Plot([Axis(image="grid", columns=tuple("0123456789"))], width=4.4, height=1.95)
    return Panel(plot, compute, sheet=[{"scale": scale} for scale in sorted({scales[0], 1.0, scales[-1]})],
                 aside=lambda note: "　" + note.split("：")[1], scale=choice(scales, scales[1], "引导强度 w"))
