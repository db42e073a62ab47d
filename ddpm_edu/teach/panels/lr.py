"""学习率面板：三个 λ 调度器的曲线与转折点，旁边是参考实现在热身终点跳一下的样子"""
import numpy as np

from ...lr_scheduler import LambdaLinearScheduler, LambdaWarmUpCosineScheduler, LambdaWarmUpCosineScheduler2
from ..panel import Panel, choice, int_slider, slider
from ..plot import Axis, Plot

SPAN = 1000


def build(kind, warm_up, f_start, f_max, f_min, cycles):
    """按名字造一个调度器；多周期的把 SPAN 步平分，每个周期的热身一样长"""
    if kind == "LambdaWarmUpCosineScheduler":
        return LambdaWarmUpCosineScheduler(warm_up, f_min, f_max, f_start, SPAN)
    cls = {"LambdaWarmUpCosineScheduler2": LambdaWarmUpCosineScheduler2, "LambdaLinearScheduler": LambdaLinearScheduler}[kind]
    length = SPAN // cycles
    return cls(*([value] * cycles for value in (min(warm_up, length), f_min, f_max, f_start, length)))


def linear_reference(n, warm_up, f_start, f_max, f_min, length):
    """参考实现的线性衰减：热身之后从周期的头算起，于是在热身终点跳下来"""
    if n < warm_up:
        return f_start + (f_max - f_start) * n / warm_up
    return f_min + (f_max - f_min) * (length - n) / length


def lr_data(kind, warm_up, f_start, f_max, f_min, cycles):
    """→ (乘数、转折点、参考实现的曲线, 一句话)"""
    scheduler = build(kind, warm_up, f_start, f_max, f_min, cycles)
    n = np.arange(SPAN + 101)
    length = SPAN if kind == "LambdaWarmUpCosineScheduler" else SPAN // cycles
    count = 1 if length == SPAN else cycles
    breaks = sorted({k * length + offset for k in range(count) for offset in (0, min(warm_up, length))} | {count * length})
    data = {"multiplier": (n, [scheduler(int(i)) for i in n]), "breaks": (breaks, [scheduler(i) for i in breaks])}
    wrong = kind == "LambdaLinearScheduler" and count == 1
    data["reference"] = (n[:SPAN], [linear_reference(int(i), warm_up, f_start, f_max, f_min, SPAN) for i in n[:SPAN]]) if wrong else ([], [])
    jump = f"；虚线是参考实现，在第 {warm_up} 步跳下来" if wrong and warm_up else ""
    return data, f"转折点：{'、'.join(map(str, breaks))}{jump}"


def lr_panel():
    plot = Plot([
        Axis("步 $n$", "乘数 $f(n)$", (0, SPAN + 100), (-0.02, 1.1), dots=("breaks",),
             curves={"multiplier": "", "reference": "", "breaks": ""}),
    ], width=7.0)
    kinds = ["LambdaWarmUpCosineScheduler", "LambdaWarmUpCosineScheduler2", "LambdaLinearScheduler"]
    return Panel(
        plot, lr_data, kind=choice(kinds, kinds[2], "调度器"), warm_up=int_slider(100, 0, 500, "热身步数", 10),
        f_start=slider(0.0, 0.0, 1.0, 0.05, "起点"), f_max=slider(1.0, 0.1, 1.0, 0.05, "最高"),
        f_min=slider(0.1, 0.0, 1.0, 0.05, "最低"), cycles=int_slider(1, 1, 4, "周期数"),
    )
