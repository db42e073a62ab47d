"""学习率面板：三个 λ 调度器的乘数曲线，圆点是各周期的 0、W，末尾的 L"""
import numpy as np

from ...lr_scheduler import LambdaLinearScheduler, LambdaWarmUpCosineScheduler, LambdaWarmUpCosineScheduler2
from ..panel import Panel, choice, int_slider, slider
from ..plot import Axis, Plot

SPAN = 1000
KINDS = {cls.__name__: cls for cls in (LambdaWarmUpCosineScheduler2, LambdaLinearScheduler, LambdaWarmUpCosineScheduler)}


def build(kind, warm_up, f_start, f_max, f_min, cycles):
    """按名字造一个调度器；多周期的把 SPAN 步平分，每个周期的热身一样长"""
    if KINDS[kind] is LambdaWarmUpCosineScheduler:
        return LambdaWarmUpCosineScheduler(warm_up, f_min, f_max, f_start, SPAN)
    length = SPAN // cycles
    return KINDS[kind](*([value] * cycles for value in (min(warm_up, length), f_min, f_max, f_start, length)))


def lr_data(kind, warm_up, f_start, f_max, f_min, cycles):
    """→ (乘数与转折点, 一句话)"""
    scheduler = build(kind, warm_up, f_start, f_max, f_min, cycles)
    n = np.arange(SPAN + 101)
    single = KINDS[kind] is LambdaWarmUpCosineScheduler
    count = 1 if single else cycles
    length = SPAN // count
    breaks = sorted({k * length + offset for k in range(count) for offset in (0, min(warm_up, length))} | {count * length})
    data = {"multiplier": (n, [scheduler(int(i)) for i in n]), "breaks": (breaks, [scheduler(i) for i in breaks])}
    alone = "；这个类只有一个周期" if single and cycles > 1 else ""
    return data, f"转折点：第 {'、'.join(map(str, breaks))} 步{alone}"


def lr_panel():
    plot = Plot([
        Axis("步 $n$", "乘数 $f(n)$", (0, SPAN + 100), (-0.02, 1.15), dots=("breaks",),
             curves={"multiplier": "", "breaks": "各周期的 0、$W$，末尾的 $L$"}),  # 曲线的名字就是纵轴；图例在 1 之上，遮不到曲线
    ], width=4.6, height=2.8)
    return Panel(
        plot, lr_data, sheet=[{"kind": kind} for kind in list(KINDS)[:2]], across=True,  # 第三个只有一个周期，第 3 节画过
        kind=choice(list(KINDS), "LambdaWarmUpCosineScheduler2", "调度器"), warm_up=int_slider(50, 0, 500, "热身步数", 10),
        f_start=slider(0.01, 0.0, 1.0, 0.01, "起点"), f_max=slider(1.0, 0.1, 1.0, 0.05, "最高"),
        f_min=slider(0.1, 0.0, 1.0, 0.05, "最低"), cycles=int_slider(2, 1, 4, "周期数"),
    )
