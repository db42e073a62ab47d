"""第 2 章的习题：噪声表"""
import numpy as np
import torch

from ...gaussian import diffusion_tables
from ...schedules import alphas_cumprod, make_beta_schedule
from . import Choice, Code, Mistake, Number


def snr(betas):
    cumprod, _ = alphas_cumprod(betas)
    return cumprod / (1 - cumprod)


def beta_cases():
    return [(np.array([0.1, 0.2, 0.4, 0.7]),), (make_beta_schedule("cosine", 6),)]


def shifted_snr(betas):
    _, previous = alphas_cumprod(betas)
    with np.errstate(divide="ignore"):
        return previous / (1 - previous)


def betas_from(bars):
    return 1 - bars / np.append(1.0, bars[:-1])


def bar_cases():
    return [(np.array([0.9, 0.7, 0.5, 0.3, 0.1]),), (alphas_cumprod(make_beta_schedule("cosine", 4))[0],), (np.array([0.9, 0.0004]),)]


def noise_table(betas):
    return torch.from_numpy(diffusion_tables(betas)["sqrt_one_minus_alphas_cumprod"]).float()


def all_in_float32(betas):
    return (1 - torch.cumprod(1 - torch.tensor(betas, dtype=torch.float32), 0)).sqrt()


def rounded_too_early(betas):
    return (1 - torch.from_numpy(np.cumprod(1 - betas)).float()).sqrt()


EXERCISES = (
    Code("02.1", 1, "信噪比", snr, beta_cases, (
        Mistake("你用了单步的 α_t，这里要的是 ᾱ_t：信噪比看的是从头走到第 t 步，要连乘。", lambda betas: (1 - betas) / betas),
        Mistake("信噪比是两个系数的平方之比，你没有平方：ᾱ_t 就是系数 √ᾱ_t 的平方，不必再开方。", lambda betas: np.sqrt(snr(betas))),
        Mistake("连乘的是 α = 1-β，你连乘了 β。", lambda betas: np.cumprod(betas) / (1 - np.cumprod(betas))),
        Mistake("错了一格：你用了 ᾱ_{t-1}，所以第 0 项除以了零。", shifted_snr),
        Mistake("放反了：信号在上，噪声在下。", lambda betas: 1 / snr(betas)),
    ), "它逐项下降：每走一步，信息只会更少。"),
    Code("02.2", 2, "由 ᾱ 反推 β", betas_from, bar_cases, (
        Mistake("1-ᾱ_t 是走到第 t 步掺入的全部噪声；β_t 只是这一步的，要用相邻两项之比。", lambda bars: 1 - bars),
        Mistake("少了第 0 项：约定 ᾱ_{-1} = 1，所以 β_0 = 1-ᾱ_0。", lambda bars: 1 - bars[1:] / bars[:-1]),
        Mistake("约定 ᾱ_{-1} = 1，你补在前面的却是 ᾱ_0，于是 β_0 成了 0。", lambda bars: 1 - bars / np.append(bars[0], bars[:-1])),
        Mistake("β 不必截断：题目给的 ᾱ 是多少，β 就是多少。", lambda bars: np.minimum(betas_from(bars), 0.999)),
        Mistake("除反了：α_t = ᾱ_t / ᾱ_{t-1}，后一项除以前一项；β 不会是负数。", lambda bars: 1 - np.append(1.0, bars[:-1]) / bars),
        Mistake("ᾱ 是连乘不是连加，所以要相除，不是相减。", lambda bars: np.append(1.0, bars[:-1]) - bars),
        Mistake("这是 α_t；还差一步 β_t = 1-α_t。", lambda bars: bars / np.append(1.0, bars[:-1])),
    ), "任何下降的 ᾱ 都能变成噪声表，交给 given_betas；cosine 就是这样设计的。",
         "第 0 项单独看：β_0 = 1-ᾱ_0；后面的每一项，α_t 是相邻两个 ᾱ 之比。"),
    Code("02.3", 3, "不丢精度的表", noise_table, lambda: [(make_beta_schedule("linear", 1000),)], (
        Mistake("ᾱ 舍入得太早：float32 的 ᾱ_0 与 1 太近，再去减，相对误差就有万分之几。先减，最后才舍入。", rounded_too_early),
        Mistake("全程用 float32，连乘与相减都在丢精度。先用 float64 算完，最后才舍入一次。", all_in_float32),
        Mistake("忘了开平方：1-ᾱ_t 是方差，乘在噪声上的是 √(1-ᾱ_t)。",
                lambda betas: torch.from_numpy(1 - np.cumprod(1 - betas)).float()),
        Mistake("这是单步的 √β_t；要的是走到第 t 步为止的 √(1-ᾱ_t)。", lambda betas: torch.from_numpy(np.sqrt(betas)).float()),
        Mistake("这是原图的系数 √ᾱ_t；要的是噪声的系数。", lambda betas: torch.from_numpy(np.cumprod(1 - betas)).sqrt().float()),
    ), "先算完，最后才舍入一次；register_schedule 建表就是这样做的。",
         "公式若是对的，就看精度：第 7 节说哪一步要用 float64？", rtol=1e-6),
    Choice("02.4", 2, "T=10 时，乘 1000/T 为什么失灵", "C", {
        "A": "linspace 取得很准；不截断的话，十个点的总和有 7.5。看看上端乘 100 以后是多少。",
        "B": "β_0 = 0.01，第一步以后幅度还剩 √0.99，超过 99%。",
        "D": "β 不小的时候，ln(1-β) 比 -β 低得多：最后一步单独就把幅度乘上 0.03，走到头只剩 0.35%，掺得够了。",
    }, "Σβ ≈ -ln ᾱ 只在每个 β 都很小时成立。终点其实合格（幅度剩 0.35%）；不合格的是第三条：ᾱ 还有 6% 时，就迈了 β=0.81 的一步。"),
    Number("02.5", 3, "bfloat16 里的 ᾱ", 16, {
        2: "这是 float16 的答案：它有 11 位有效数字，bfloat16 只有 8 位。",
        15: "第 15 步还是 1，题目问的是第一个不是 1 的。",
        17: "数多了一个：t 从 0 数起。",
        261: "你先把 β 或 α 换成了 bfloat16 再连乘，1-β 一开始就舍入成 1。题目是先用 float64 算好 ᾱ，再换。",
    }, "前 16 步（t = 0 到 15）的 1-ᾱ 全成了 0，噪声凭空消失。float16 只丢 2 步，因为它在 1 附近更密。",
           "把 ᾱ 的张量用 .bfloat16() 转换，再找第一个不等于 1 的下标。"),
)
