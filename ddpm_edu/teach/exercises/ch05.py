"""第 5 章的习题：参数化"""
import math

import torch

from . import Choice, Code, Mistake, Number


def v_from_eps(x_t, eps, bar):
    return (eps - (1 - bar).sqrt() * x_t) / bar.sqrt()


def pair_of(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def batch_cases():
    # ᾱ 每个样本各有各的；第二组不是四维
    return [(*pair_of((3, 1, 2, 3), 0), torch.tensor([0.9, 0.5, 0.1]).reshape(3, 1, 1, 1)), (*pair_of((2, 4), 1), torch.tensor([[0.7], [0.2]]))]


def mixing(over=lambda a: a.sqrt(), by=lambda a: (1 - a).sqrt(), sign=1):
    """改动换算的一处，得到一种错的写法"""
    return lambda x_t, eps, bar: (eps - sign * by(bar) * x_t) / over(bar)


def merged_v(x_t, x_s, bar_t, bar_s, angle=lambda a: math.acos(a**0.5), formula=lambda x_t, x_s, d: (math.cos(d) * x_t - x_s) / math.sin(d)):
    return formula(x_t, x_s, angle(bar_t) - angle(bar_s))


def step_cases():
    return [(*pair_of((2, 1, 2, 3), 2), 0.3, 0.5), (*pair_of((4,), 3), 0.4, 0.95)]


def merging(**changes):
    return lambda x_t, x_s, bar_t, bar_s: merged_v(x_t, x_s, bar_t, bar_s, **changes)


def unit_target(x_start, noise, bar, s, skip=lambda a, s: a.sqrt() * s**2 / (a * s**2 + 1 - a),
               scale=lambda a, s: s * ((1 - a) / (a * s**2 + 1 - a)).sqrt()):
    x_t = bar.sqrt() * x_start + (1 - bar).sqrt() * noise
    return (x_start - skip(bar, s) * x_t) / scale(bar, s)


def unit_cases():
    return [(*case, s) for case, s in zip(batch_cases(), (0.5, 2.0))]


def targeting(**changes):
    return lambda x_start, noise, bar, s: unit_target(x_start, noise, bar, s, **changes)


EXERCISES = (
    Code("05.1", 1, "由 ε 换成 v", v_from_eps, batch_cases, (
        Mistake("移项时正负号错了：ε = sin φ·x_t + cos φ·v，解出 v 要先减去 sin φ·x_t。", mixing(sign=-1)),
        Mistake("忘了除以 cos φ = √ᾱ_t。", mixing(over=torch.ones_like)),
        Mistake("这是乘以 √ᾱ_t；ε = sin φ·x_t + cos φ·v 里，v 的系数是 √ᾱ_t，解出来要除以它。", mixing(over=lambda a: 1 / a.sqrt())),
        Mistake("两个系数都要开平方：cos φ = √ᾱ_t，sin φ = √(1-ᾱ_t)。", mixing(lambda a: a, lambda a: 1 - a)),
        Mistake("cos 与 sin 用反了：√ᾱ_t 是 cos，√(1-ᾱ_t) 是 sin。", mixing(lambda a: (1 - a).sqrt(), lambda a: a.sqrt())),
        Mistake("你把 x_t 当成了 x₀：v = √ᾱ·ε - √(1-ᾱ)·x₀，而这里只有 x_t。",
                lambda x_t, eps, bar: bar.sqrt() * eps - (1 - bar).sqrt() * x_t),
    ), "ε 的误差换到 v 上，要除以 cos φ。第 4 节里 eps 吃亏，就吃亏在这个除法上。",
         "由 ε = sin φ·x_t + cos φ·v 解出 v；或者先换出 x₀，再用 v 的定义。"),
    Code("05.2", 2, "两步并作一步", merged_v, step_cases, (
        Mistake("差一个负号：x_s = cos δ·x_t - sin δ·v，移项得 sin δ·v = cos δ·x_t - x_s。",
                merging(formula=lambda x_t, x_s, d: (x_s - math.cos(d) * x_t) / math.sin(d))),
        Mistake("忘了除以 sin δ。", merging(formula=lambda x_t, x_s, d: math.cos(d) * x_t - x_s)),
        Mistake("这是变化率的近似 (x_t - x_s)/δ，转得少时才准；题目要的是恰好落在 x_s 上。",
                merging(formula=lambda x_t, x_s, d: (x_t - x_s) / d)),
        Mistake("你对 ᾱ 本身取了反余弦；角是由 cos φ = √ᾱ 定的，先开平方。", merging(angle=math.acos)),
        Mistake("这是学生在 x_s 处的 v；题目问的是在 x_t 处。", merging(formula=lambda x_t, x_s, d: (x_t - math.cos(d) * x_s) / math.sin(d))),
        Mistake("转角要两个角相减；你用了 φ_t，那是一步走到 x₀。",
                lambda x_t, x_s, bar_t, bar_s: (bar_t**0.5 * x_t - x_s) / (1 - bar_t) ** 0.5),
    ), "渐进蒸馏 (progressive distillation) 就这样把步数一次次减半，v 这个目标就出自那篇论文。",
         "从第 4 节的 x_s = cos δ·x_t - sin δ·v 解出 v，δ = φ_t - φ_s。"),
    Code("05.3", 3, "处处一样难的目标", unit_target, unit_cases, (
        Mistake("除以了方差：要除以剩余的标准差，也就是 s²(1-ᾱ)/D 的平方根。", targeting(scale=lambda a, s: s**2 * (1 - a) / (a * s**2 + 1 - a))),
        Mistake("没有减去 k·x_t：x_t 已经说明的部分要先拿掉。", targeting(skip=lambda a, s: 0.0)),
        Mistake("减的是 √ᾱ·x_t，只有 s = 1 时 k 才等于 √ᾱ；一般的 k = √ᾱ·s²/D。", targeting(skip=lambda a, s: a.sqrt())),
        Mistake("k 里少了 s²：k = √ᾱ·s²/D。", targeting(skip=lambda a, s: a.sqrt() / (a * s**2 + 1 - a))),
        Mistake("减对了，但没有除以剩余的标准差，不同的 t 还是大小不一。", targeting(scale=lambda a, s: 1.0)),
        Mistake("这是 v：它的剩余误差是 s²/D，仍随 t 变。照题目的式子，先拿掉 k·x_t。",
                lambda x_start, noise, bar, s: bar.sqrt() * noise - (1 - bar).sqrt() * x_start),
        Mistake("k 忘了除以 D：k = √ᾱ·s²/D。", targeting(skip=lambda a, s: a.sqrt() * s**2)),
    ), "x_t 已知，y 与 -v·√D/s 只差 x_t 的一个倍数；s = 1 时 k = √ᾱ、D = 1，y 就是 -v。"
        "EDM（Karras 等 2022）的网络预测的就是它。", "依次写出 x_t、D、k，再写目标。"),
    Number("05.4", 1, "第一步要猜得多准", 9.8565e-6, {
        0.2: "这是 v 的误差。eps 的倍数比 v 的大，多除了一个 cos φ_t，所以允许的误差要小。",
        3.168e-4: "你用 0.2 除以 631，这样 x_s 错 0.2；可是 v 错 0.2 时，x_s 只错 0.2·sin δ。",
        6.223e-3: "这是 x_s 错多少，还要换回 ε̂：除以 eps 的倍数 sin δ/cos φ_t。",
        4.858e-10: "cos φ_t 是 √ᾱ_t，你乘的是 ᾱ_t 本身，还要开平方。",
        4058: "方向反了：ε̂ 的误差换到 v̂ 上要除以 cos φ_t，所以允许的误差要乘以 cos φ_t。",
    }, "sin δ 约掉了，只剩 0.2·cos φ_t，约 1×10⁻⁵。第 5 节月牙上的 eps 网络错 0.062，大了六千多倍。",
           "两种倍数只差除以 cos φ_t：让 ε̂ 的误差乘 sin δ/cos φ_t，等于 0.2·sin δ。", rtol=5e-3),
    Choice("05.5", 2, "终点是纯噪声", "B", {
        "A": "eps 在这里最没用：x_t 就是 ε，照抄即可，与 x₀ 毫无关系；换成 x̂₀ 还要除以 √ᾱ = 0。",
        "C": "eps 不行：由 ε 换成 x̂₀ 要除以 √ᾱ，这里是 0。",
        "D": "x0 也可以：它直接问原图，不做除法。猜不准没关系，给出的是平均图。",
    }, "ᾱ = 0 时 v = -x₀，问的就是原图。所以把终点改成纯噪声的做法，都要配 v 或 x0。"),
)
