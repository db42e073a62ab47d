"""第 18 章的习题：DDPM 之后"""
import math

import torch

from . import Choice, Code, Mistake, Number


def score(x_t, v, bar):
    return -x_t - (bar / (1 - bar)).sqrt() * v


def pair_of(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def score_cases():
    # 末一组的 ᾱ 有一个是 0：终点就是纯噪声
    return [(*pair_of((3, 1, 2, 3), 0), torch.tensor([0.9, 0.5, 0.1]).reshape(3, 1, 1, 1)), (*pair_of((2, 4), 1), torch.tensor([[0.7], [0.0]]))]


def flow_to_v(length=lambda u: math.hypot(1 - u, u), formula=lambda x, w, u, r: r * w - (2 * u - 1) * x / r):
    """改动换算的一处，得到一种错的写法"""
    return lambda x_u, w, u: formula(x_u, w, u, length(u))


v_from_flow = flow_to_v()


def flow_cases():
    return [(*pair_of((2, 1, 2, 3), 2), 0.3), (*pair_of((4,), 3), 0.9)]


def ending(of=lambda bar: bar.sqrt(), power=2, shift=lambda r: r - r[-1], scale=lambda r: r[0] / (r[0] - r[-1]),
           before=lambda bar: torch.cat([torch.ones_like(bar[:1]), bar[:-1]])):
    def function(betas):
        root = of(torch.cumprod(1 - betas, 0))
        bar = (shift(root) * scale(root)) ** power
        return 1 - bar / before(bar)

    return function


zero_terminal = ending()


def table_cases():
    return [(torch.linspace(0.01, 0.2, 12),), (torch.linspace(0.02, 0.05, 5).double(),)]


EXERCISES = (
    Code("18.1", 1, "由 v 换成得分", score, score_cases, (
        Mistake("两项都是负的：-x_t - √(ᾱ/(1-ᾱ))·v；你的 v 这一项差一个负号。", lambda x, v, a: -x + (a / (1 - a)).sqrt() * v),
        Mistake("系数颠倒了：v̂ = -√((1-ᾱ)/ᾱ)(x + 得分)，解出得分时要乘它的倒数。", lambda x, v, a: -x - ((1 - a) / a).sqrt() * v),
        Mistake("系数要开平方：√(ᾱ/(1-ᾱ))，不是 ᾱ/(1-ᾱ)。", lambda x, v, a: -x - a / (1 - a) * v),
        Mistake("漏了 -x_t 这一项。", lambda x, v, a: -(a / (1 - a)).sqrt() * v),
        Mistake("这是 -ε̂；得分是 -ε̂/√(1-ᾱ)，还要除以 √(1-ᾱ)。", lambda x, v, a: -((1 - a).sqrt() * x + a.sqrt() * v)),
        Mistake("这是 x̂₀；得分是 (√ᾱ·x̂₀ - x_t)/(1-ᾱ)，还差一步。", lambda x, v, a: a.sqrt() * x - (1 - a).sqrt() * v),
    ), "ᾱ = 0 时得分就是 -x_t，标准高斯的得分；不必除以 √ᾱ，所以 v 在终点也换得出。",
         "先由 x_t 与 v 写出 ε̂，再除以 -√(1-ᾱ)；或者由第 1 节的 v̂ = -√((1-ᾱ)/ᾱ)(x_t + 得分) 解出得分。"),
    Code("18.2", 2, "由直路的速度换成 v", v_from_flow, flow_cases, (
        Mistake("x_u 还要除以 r：x_φ = x_u/r。", flow_to_v(formula=lambda x, w, u, r: r * w - (2 * u - 1) * x)),
        Mistake("w 没有乘 r：w = ((2u-1)·x_φ + v)/r，先两边乘 r。", flow_to_v(formula=lambda x, w, u, r: w - (2 * u - 1) * x / r)),
        Mistake("移项时正负号错了：v = r·w - (2u-1)·x_φ。", flow_to_v(formula=lambda x, w, u, r: r * w + (2 * u - 1) * x / r)),
        Mistake("r 忘了开平方：r = √((1-u)²+u²)。", flow_to_v(length=lambda u: (1 - u) ** 2 + u**2)),
        Mistake("漏了长度的变化：x_u 一边转，一边伸缩，(2u-1)·x_φ 那一项要减掉。", flow_to_v(formula=lambda x, w, u, r: r * w)),
        Mistake("这是反过来的换算：由 v 求直路的速度。", flow_to_v(formula=lambda x, w, u, r: ((2 * u - 1) * x / r + w) / r)),
    ), "所以公开的流匹配模型也能交给 heun 与 dpmpp：换的只是坐标。",
         "由 as_flow 的式子 w = ((2u-1)·x_φ + v)/r 解出 v，x_φ = x_u/r。"),
    Code("18.3", 3, "终点归零", zero_terminal, table_cases, (
        Mistake("只平移了，第一步也变了；再乘 root[0]/(root[0]-root[-1])。", ending(scale=lambda r: 1.0)),
        Mistake("平移伸缩的是 √ᾱ，你用了 ᾱ。", ending(of=lambda bar: bar, power=1)),
        Mistake("伸缩之后还是 √ᾱ，要平方才是 ᾱ。", ending(power=1)),
        Mistake("返回的是 α；β = 1-α。", lambda betas: 1 - zero_terminal(betas)),
        Mistake("返回的是 ᾱ；还要除以前一个，再由 1 减去。", lambda betas: torch.cumprod(1 - zero_terminal(betas), 0)),
        Mistake("只把末步改成 1，别的没有动：终点处 ᾱ 会突然掉下去，而不是整条曲线一起伸缩。",
                lambda betas: torch.cat([betas[:-1], torch.ones_like(betas[:1])])),
    ), "末步的 β 恰是 1：那一步把原图全部抹掉。diffusers 里同名的选项也是这样算的。",
         "先算 √ᾱ（连乘再开平方），减末值，乘一个数使第一个不变；平方之后，相邻的比是 α。"),
    Number("18.4", 1, "从哪一步起不再截断", 242, {
        261: "这是 cosine 的；题目换成了 linear。",
        241: "差一步：t=241 的信噪比还不小于 5。",
        418: "这是信噪比第一次小于 1 的步号；这里要与 γ = 5 比。",
        117: "你比的是两个系数之比 √ᾱ/√(1-ᾱ)；信噪比是它的平方。",
        130: "这是 sqrt_linear（论文的线性）的；这里的 linear 对 √β 线性。",
    }, "linear 有两成四的步号被截断，cosine 有两成六：两张表的低噪声处差不多长。",
           "信噪比是 ᾱ/(1-ᾱ)，(比 < 5).argmax() 给出第一个。", rtol=1e-6),
    Choice("18.5", 2, "不许再练", "C", {
        "A": "走法只换 a 与 b，网络一个字也不用改；第 3 节的 mnist 就是这样走的。",
        "B": "as_flow 把 v̂ 换成直路的速度，不用再练；从 linear 的终点 u = 0.97 走起，经过的噪声大小它都练过。",
        "D": "得分是 -x_t - √(ᾱ/(1-ᾱ))·v̂，一行就换成（习题 18.1）。",
    }, "改了噪声表，终点处 ᾱ = 0，那样的 x_t 网络从没有见过；每一步的 ᾱ 也都变了，要重练或接着练。"),
)
