"""第 4 章的习题：后验与 v_posterior"""
import numpy as np
import torch

from ...gaussian import diffusion_tables
from ...schedules import make_beta_schedule
from ..laboratory import chain_moments
from . import Choice, Code, Mistake, Number


def coefficients(betas):
    tables = diffusion_tables(betas)
    return tuple(tables[name] for name in ("posterior_mean_coef1", "posterior_mean_coef2", "posterior_variance"))


def beta_cases():
    return [(np.array([0.1, 0.2, 0.4, 0.7]),), (make_beta_schedule("cosine", 6),)]


def computing(start=1.0, c1=lambda b, a, p: b * np.sqrt(p) / (1 - a), c2=lambda b, a, p: np.sqrt(1 - b) * (1 - p) / (1 - a),
              variance=lambda b, a, p: b * (1 - p) / (1 - a)):
    """改动三个公式之一，或者 ᾱ_{-1} 的约定，得到一种错的写法"""
    def function(betas):
        bar = np.cumprod(1 - betas)
        prev = np.append(start, bar[:-1])
        return tuple(formula(betas, bar, prev) for formula in (c1, c2, variance))

    return function


def step(mean, variance, t, noise):
    return walking()(mean, variance, t, noise)


def walking(spread=lambda variance: variance.sqrt(), keep=lambda t: t > 0, shape=lambda x: (-1, *[1] * (x.ndim - 1))):
    def function(mean, variance, t, noise):
        sigma = spread(variance) * keep(t)
        return mean + sigma.reshape(shape(mean)) * noise

    return function


def step_cases():
    generator = torch.Generator().manual_seed(0)

    def case(t, *shape):
        mean, noise = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
        return mean, torch.linspace(0.2, 0.5, len(t)), torch.tensor(t), noise

    # v_posterior=1 时 t=0 的方差不是 0；第一组的批量与宽度相同，第三组整批都在 t=0
    return [case([0, 7, 1], 3, 1, 2, 3), case([4, 0], 2, 3), case([0], 1, 1, 2, 2)]


def final_variance(betas, std, v):
    return chain_moments(betas, 0.0, std, v)[1]


def chaining(start=lambda D: 1.0, gain=lambda k, c1, c2: c1 * k + c2, power=2, mix=lambda v, low, high: (1 - v) * low + v * high,
             last=0.0, steps=lambda T: reversed(range(T))):
    """改动递推的一处，得到一种错的写法"""
    def function(betas, std, v):
        c1, c2, tilde = coefficients(betas)
        bar = np.cumprod(1 - betas)
        D = bar * std**2 + 1 - bar
        g = gain(np.sqrt(bar) * std**2 / D, c1, c2)
        noise = mix(v, tilde, betas)
        noise[0] *= last
        V = start(D)
        for t in steps(len(betas)):
            V = g[t] ** power * V + noise[t]
        return V

    return function


def chain_cases():
    return [(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), 0.5, 0.3), (make_beta_schedule("cosine", 8), 0.8, 1.0)]


EXERCISES = (
    Code("04.1", 1, "后验的三张表", coefficients, beta_cases, (
        Mistake("β̃_t 的分子是 1-ᾱ_{t-1}，不是 1-ᾱ_t；你的两个约掉了，只剩 β_t。", computing(variance=lambda b, a, p: b)),
        Mistake("约定 ᾱ_{-1} = 1，不是 0：走零步，原图还在。这样 t=0 处才有 c₁ = 1、c₂ = 0。", computing(start=0.0)),
        Mistake("c₁ 里要用 √ᾱ_{t-1}，你用了 √ᾱ_t，错了一格。", computing(c1=lambda b, a, p: b * np.sqrt(a) / (1 - a))),
        Mistake("c₁ 里的 ᾱ_{t-1} 要开平方。", computing(c1=lambda b, a, p: b * p / (1 - a))),
        Mistake("c₂ 里的是单步的 √α_t，你用了连乘的 √ᾱ_t。", computing(c2=lambda b, a, p: np.sqrt(a) * (1 - p) / (1 - a))),
        Mistake("c₂ 里的 α_t 要开平方。", computing(c2=lambda b, a, p: (1 - b) * (1 - p) / (1 - a))),
        Mistake("第三张表要的是方差 β̃_t，你又开了平方。", computing(variance=lambda b, a, p: np.sqrt(b * (1 - p) / (1 - a)))),
    ), "t=0 处是 1、0、0：最后一步直接输出 x₀。", "先看 t=0 处是不是 1、0、0，再逐张核对公式。"),
    Code("04.2", 2, "去噪的一步", step, step_cases, (
        Mistake("t=0 的样本也加了噪声；那已经是最终的图。", walking(keep=lambda t: torch.ones_like(t))),
        Mistake("噪声要乘标准差，你乘了方差；variance 要开平方。", walking(lambda variance: variance)),
        Mistake("整批一起判断不行：每个样本各有各的 t，只有 t=0 的那些不加噪声。你这样写，批里有一个 t=0，别的也不加了。",
                walking(keep=lambda t: (t > 0).all())),
        Mistake("整批一起判断不行：每个样本各有各的 t。你这样写，只要有一个 t>0，t=0 的也加上了噪声。", walking(keep=lambda t: (t > 0).any())),
        Mistake("整批一起判断不行：你只看了第一个样本的 t，每个样本各有各的。", walking(keep=lambda t: t[0] > 0)),
        Mistake("σ 没有变形成 (B, 1, …, 1)。批量恰好等于宽度时，它会悄悄乘到横轴上去。", walking(shape=lambda x: -1)),
        Mistake("你把 σ 的形状写死成了四维；维数要取自 mean.ndim。", walking(shape=lambda x: (-1, 1, 1, 1))),
        Mistake("t=1 也没有加噪声；只有 t=0 例外。", walking(keep=lambda t: t > 1)),
    ), "一批里混着不同的 t，也是对的。", "先看不对的那个样本的 t：t=0 的应当等于 mean，其余的是 mean 加上 √variance 倍的 noise。"),
    Code("04.3", 3, "整条链的方差", final_variance, chain_cases, (
        Mistake("最后一步（t=0）不加噪声，方括号里的条件漏了。", chaining(last=1.0)),
        Mistake("增益要平方：随机变量乘 g，方差乘 g²。", chaining(power=1)),
        Mistake("起点抽自 N(0, 1)，V 从 1 开始；你从 D 开始了，采样时并不知道数据的标准差。", chaining(start=lambda D: D[-1])),
        Mistake("g 里漏了 c₂：x_t 自己在后验的均值里也有一份。", chaining(gain=lambda k, c1, c2: c1 * k)),
        Mistake("g 里漏了 k：x̂₀ 是 x_t 的 k 倍，不是 x_t 自己。", chaining(gain=lambda k, c1, c2: c1 + c2)),
        Mistake("混合的是方差，不是标准差；先混合，后平方不行。", chaining(mix=lambda v, low, high: ((1 - v) * np.sqrt(low) + v * np.sqrt(high)) ** 2)),
        Mistake("v 用反了：v=0 是 β̃_t，v=1 是 β_t。", chaining(mix=lambda v, low, high: v * low + (1 - v) * high)),
        Mistake("你没有用到 v：σ² 一直取了 β̃。", chaining(mix=lambda v, low, high: low)),
        Mistake("走反了：采样从 t = T-1 走到 0，循环要倒过来。", chaining(steps=range)),
    ), "步数越多，它越接近 σ_x²；步数少时偏多少，由 v 与 σ_x 决定。",
         "先核对 k：k = √ᾱ·σ_x²/D，D = ᾱσ_x²+1-ᾱ 是 x_t 的方差。再用 T=2 的表手算一遍：V = g₀²(g₁² + σ₁²)。"),
    Choice("04.4", 2, "混合对数方差", "B", {
        "A": "几何平均不会超过算术平均；两个数差得越多，它小得越多。",
        "C": "大小与 t 无关：每一步比的都是同样两个数的几何平均与算术平均。",
        "D": "只有 β̃ = β 时才相等；t=1 处 β̃ 不到 β 的一半。",
    }, "对数的线性混合是加权的几何平均，总不大于加权的算术平均。t=0 处更要当心：ln 0 是负无穷，所以要截断。"),
    Number("04.5", 3, "差别只在 t 小处", 99, {
        100: "数多了一个：1-ᾱ_t 走了 t+1 步，约为 (t+1)β；1-ᾱ_{t-1} 约为 tβ。",
        98: "98/99 是 0.98990，还差一点。",
        167: "这是第 5 节论文的表的结果；这里的 β 是常数，先推出比值随 t 的公式。",
        50: "你多开了一次平方：比的是方差，不是标准差。",
        10: "10/11 才 0.91；要 t/(t+1) ≥ 0.99。",
    }, "比值约为 t/(t+1)：与 β 无关，也与 T 无关。所以 β 很小的长链上，v_posterior 的作用集中在 t 小的那一百步。",
           "β 很小时 1-ᾱ_t ≈ (t+1)β，把它代进 β̃_t/β_t。", rtol=1e-6),
)
