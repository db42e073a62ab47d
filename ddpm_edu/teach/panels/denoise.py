"""去噪面板：拖动走到第几步，看 x_t 与此刻的猜测 x̂0"""
import torch

from ..figures import framed_grid
from ..panel import Panel, int_slider
from ..plot import Axis, Plot


def record(model, num_samples=8, steps=50, seed=1, **kwargs):
    """走一遍采样，记下每一步：[(t, x_t, x̂0), ...]，末项的 x_t 是最终样本"""
    trace = []
    samples = model.sample(num_samples, steps=steps, generator=torch.Generator().manual_seed(seed),
                           callback=lambda t, x_t, x_recon: trace.append((t, x_t, x_recon)), **kwargs)
    return [*trace, (-1, samples, samples)]


def denoise_data(trace, step):
    """→ ({x_t, x_recon: 图像, change: (步, 猜测离最终样本多远), here}, 一句话)"""
    t, x_t, x_recon = trace[step]
    final = trace[-1][1]
    distance = [float((recon - final).pow(2).mean().sqrt()) for _, _, recon in trace]
    data = {
        "x_t": framed_grid(x_t, 4)[0][0].numpy(), "x_recon": framed_grid(x_recon, 4)[0][0].numpy(),
        "change": (range(len(trace)), distance), "here": ((step,), (distance[step],)),
    }
    place = "走完了" if t < 0 else f"第 {step} 步，t = {t}"
    return data, f"{place}：猜测 x̂₀ 与最终样本的均方根差 {distance[step]:.2f}"


def denoise_panel(trace):
    last = len(trace) - 1
    top = 1.1 * max(denoise_data(trace, 0)[0]["change"][1])
    plot = Plot([
        Axis(image="x_t", title="此刻的 $x_t$"), Axis(image="x_recon", title=r"此刻的猜测 $\hat x_0$"),
        Axis("走到第几步", "猜测与最终样本的均方根差", (0, last), (0, top), dots=("here",),
             curves={"here": "", "change": ""}),
    ])
    return Panel(plot, lambda step: denoise_data(trace, step), sheet=[{"step": k * last // 4} for k in (0, 1, 2, 4)],
                 step=int_slider(last // 2, 0, last, "走到第几步"))
