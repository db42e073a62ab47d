"""第 15 章的习题：评估"""
import math

import numpy as np
import torch

from ...evaluation.metrics import frechet_distance
from ...gaussian import GaussianDiffusion, diffusion_tables
from ...likelihood import prior_kl
from . import Choice, Code, Mistake, Number

BETAS = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4]


def prior_bits(betas, x_start):
    return prior_kl(GaussianDiffusion(given_betas=betas), x_start) / math.log(2)


def prior_cases():
    generator = torch.Generator().manual_seed(0)
    return [(torch.tensor(BETAS).double(), torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in ((3, 1, 2, 4), (2, 5))]


def prior(formula=lambda a, x: 0.5 * (a * x**2 - a - torch.log(1 - a)), reduce=lambda kl: kl.flatten(1).mean(1),
          table=lambda betas: torch.prod(1 - betas), bits=True):
    """改动公式的一处，得到一种错的写法"""
    return lambda betas, x_start: reduce(formula(table(betas), x_start)) / (math.log(2) if bits else 1)


def variances(tilde, betas, v):
    return (1 - v) * tilde + v * betas


def change_v(tilde, betas, kl, v):
    ratio = variances(tilde, betas, v) / tilde
    return 0.5 * (np.log(ratio) + 1 / ratio - 1) + kl / ratio


def kl_cases():
    betas = np.array(BETAS)
    tilde = diffusion_tables(betas)["posterior_variance"]
    return [(tilde[1:], betas[1:], np.linspace(0.3, 0.1, 5), v) for v in (0.3, 1.0)]


def changing(constant=lambda ratio: 0.5 * (np.log(ratio) + 1 / ratio - 1), scale=lambda ratio: 1 / ratio, mix=variances):
    def function(tilde, betas, kl, v):
        ratio = mix(tilde, betas, v) / tilde
        return constant(ratio) + kl * scale(ratio)

    return function


def feature_cases():
    generator = torch.Generator().manual_seed(1)

    def case(n, m, d):
        x, y = (torch.randn(k, d, generator=generator, dtype=torch.float64) for k in (n, m))
        mix = torch.randn(d, d, generator=generator, dtype=torch.float64)
        return x, 0.5 + y @ mix

    # 最后一组只有一个特征：torch.cov 这时返回一个数
    return [case(7, 9, 3), case(12, 6, 2), case(5, 8, 1)]


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def cross(a, b):
    return torch.linalg.eigvalsh(root(a) @ b @ root(a)).clamp(min=0).sqrt().sum()


def frechet(gap=lambda difference: difference.square().sum(), shared=lambda a, b: 2 * cross(a, b), correction=1):
    def function(x, y):
        a, b = (torch.cov(z.T, correction=correction).reshape(z.shape[1], -1) for z in (x, y))
        return gap(x.mean(0) - y.mean(0)) + a.trace() + b.trace() - shared(a, b)

    return function


def without_reshape(x, y):
    a, b = torch.cov(x.T), torch.cov(y.T)
    return (x.mean(0) - y.mean(0)).square().sum() + a.trace() + b.trace() - 2 * torch.linalg.eigvals(a @ b).sqrt().real.sum()


EXERCISES = (
    Code("15.1", 1, "起点的代价", prior_bits, prior_cases, (
        Mistake("这是 nats；要换成比特，除以 ln 2。", prior(bits=False)),
        Mistake("乘反了：1 nat 是 1/ln 2 个比特，要除以 ln 2。", prior(lambda a, x: 0.5 * (a * x**2 - a - torch.log(1 - a)) * math.log(2) ** 2)),
        Mistake("每一维要求平均，你求了和；bits/dim 里的 dim 就是这个意思。", prior(reduce=lambda kl: kl.flatten(1).sum(1))),
        Mistake("每张图自己一个数，不要对整批求平均：只在第 0 维以后的各维上平均。", prior(reduce=lambda kl: kl.mean())),
        Mistake("均值是 √ᾱ·x₀，它的平方是 ᾱ·x₀²；你多平方了一次 ᾱ，或者少开了一次方。",
                prior(lambda a, x: 0.5 * (a**2 * x**2 - a - torch.log(1 - a)))),
        Mistake("少了二分之一：高斯的 KL 整个要乘 ½。", prior(lambda a, x: a * x**2 - a - torch.log(1 - a))),
        Mistake("ln(1-ᾱ) 前面是负号：KL 不会是负数。", prior(lambda a, x: 0.5 * (a * x**2 - a + torch.log(1 - a)))),
        Mistake("方差的那部分丢了：还有 -ᾱ - ln(1-ᾱ)，起点的方差不是 1。", prior(lambda a, x: 0.5 * a * x**2)),
        Mistake("KL 的方向反了：对 q(x_T|x_0) 求期望，标准高斯在后面。",
                prior(lambda a, x: 0.5 * ((1 + a * x**2) / (1 - a) - 1 + torch.log(1 - a)))),
        Mistake("你用了最后一步自己的 α；终点要看从头连乘的 ᾱ。", prior(table=lambda betas: 1 - betas[-1])),
    ), "链走到头时 ᾱ 接近 0，它就接近 0：起点抽自标准高斯，几乎没有代价。", "先写两个高斯之间的 KL，再代入均值 √ᾱ·x₀、方差 1-ᾱ。"),
    Code("15.2", 2, "换一个 v，不必重跑", change_v, kl_cases, (
        Mistake("只换了权重，还差只与方差有关的常数：½[ln(σ²/β̃) + β̃/σ² - 1]。", changing(constant=lambda ratio: 0.0)),
        Mistake("加上了常数，误差那部分却没有改：权重与 1/σ² 成正比，kl 要乘 β̃/σ²。", changing(scale=lambda ratio: 1.0)),
        Mistake("比例反了：σ² 变大，同样的误差罚得更轻，kl 要乘 β̃/σ²。", changing(scale=lambda ratio: ratio)),
        Mistake("v 线性混合的是方差，你混合了标准差。",
                changing(mix=lambda tilde, betas, v: ((1 - v) * tilde**0.5 + v * betas**0.5) ** 2)),
        Mistake("v 线性混合的是方差，你混合了对数方差（那是 Improved DDPM 的做法）。",
                changing(mix=lambda tilde, betas, v: tilde ** (1 - v) * betas**v)),
        Mistake("v 的两端放反了：v=0 是 β̃，v=1 是 β。", changing(mix=lambda tilde, betas, v: v * tilde + (1 - v) * betas)),
        Mistake("常数也有二分之一：½[ln(σ²/β̃) + β̃/σ² - 1]。", changing(constant=lambda ratio: np.log(ratio) + 1 / ratio - 1)),
        Mistake("常数里漏了 -1：σ² = β̃ 时它应当是 0。", changing(constant=lambda ratio: 0.5 * (np.log(ratio) + 1 / ratio))),
    ), "误差与 v 无关，所以一次测量就能画出整条曲线。", "v=0 时 kl = 均值之差的平方/(2β̃)；先把它求出来，再代入新的 σ²。"),
    Code("15.3", 3, "自己的 Fréchet 距离", frechet_distance, feature_cases, (
        Mistake("交叉项前面有 2，你写了 1。", frechet(shared=cross)),
        Mistake("开方要开整个矩阵的方，不能逐个元素开；Σ₁Σ₂ 的特征值开方求和就是它的迹。",
                frechet(shared=lambda a, b: 2 * (a @ b).sqrt().trace())),
        Mistake("先各自开方再相乘，与先相乘再开方不同，除非两个协方差可以交换；这样算出的距离偏大。",
                frechet(shared=lambda a, b: 2 * (root(a) @ root(b)).trace())),
        Mistake("你只用了对角线上的方差，特征之间的相关丢了。",
                frechet(shared=lambda a, b: 2 * (a.diagonal() * b.diagonal()).sqrt().sum())),
        Mistake("没有开方：交叉项是 (Σ₁Σ₂)^½ 的迹，不是 Σ₁Σ₂ 的迹。", frechet(shared=lambda a, b: 2 * (a @ b).trace())),
        Mistake("均值之差要用长度的平方，你用了长度。", frechet(gap=lambda difference: difference.square().sum().sqrt())),
        Mistake("均值之差那一项漏了；同样形状的两堆点，挪开一段也是有距离的。", frechet(gap=lambda difference: 0.0)),
        Mistake("协方差除以了 N；这里要除以 N-1，torch.cov 默认就是。", frechet(correction=0)),
        Mistake("只有一个特征时，torch.cov 返回一个数，不是 1×1 的矩阵；用 reshape(d, d) 变回来。", without_reshape),
        Mistake("均值之差要对各维求和，你求了平均。", frechet(gap=lambda difference: difference.square().mean())),
    ), "FID 就是它，只是特征来自 Inception 网络。",
         "三部分分开算：均值之差的平方，两个迹，交叉项；一维时应退回 (σ₁-σ₂)²。eigvals 给出复数，取实部，截到 0，再开方。"),
    Choice("15.4", 1, "收到一个模型", "C", {
        "A": "背了训练集，训练损失会远低于留出损失，样本离训练图也会比测试图近得多。",
        "B": "Fréchet 距离离纯噪声（866）很远，样本离训练图也与真的测试图一样近。",
        "D": "bits/dim 与样本的好坏是两回事：直方图逐个像素独立地抽，画出来只是一片杂点。",
    }, "几把尺子要合着读：训练与留出差不多、离训练图不近，说明没有背；bits/dim 多半输在它不知道像素只有 17 级（第 3 节）。"),
    Number("15.5", 2, "不能再少的比特", 1.0471, {
        2.0471: "这是 s = 1 的熵；数据窄了一半，熵也要少。",
        0.0471: "熵里是 log₂ s，不是 log₂ s²：s = 0.5 只少 1 比特。",
        1.5471: "少了 ½ 比特？熵是 ½log₂(2πe·s²)，s² = 0.25，少的是 ½·log₂ 4 = 1。",
        0.7258: "这是 nats；题目要 bits，除以 ln 2。",
        1.0482: "这是 v=1 时的下界；σ² 还要取得再好一点，才到底。",
        1.7256: "这是 v=0 时的下界；σ² 取得太小了。",
        3.0471: "方向反了：数据越窄，需要的比特越少。",
    }, "完美的模型付的是数据的熵加起点的代价，后者只有 10⁻⁷；与噪声表几乎无关。",
           "第 6 节：L 等于数据的熵加上 KL(q(x_T)‖p(x_T))。", rtol=1e-4),
)
