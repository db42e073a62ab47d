"""第 13 章的习题：训练 MNIST"""
import torch

from ...schedules import make_beta_schedule
from . import Choice, Code, Mistake


def pair_of(gap=lambda a, b: a - b, spread=lambda a, b: (a - b).std(), divide=lambda count: count**0.5):
    """平均的差与它的标准误；改动一处，得到一种错的写法"""
    def function(a, b):
        return torch.stack([gap(a, b).mean(), spread(a, b) / divide(len(a))])

    return function


def pair_cases():
    generator = torch.Generator().manual_seed(0)
    # 图有难有易，两种去噪器一起高一起低，差得不多，有正有负
    hard = 0.2 + 0.1 * torch.rand(40, generator=generator)
    return [(hard[:count] + 0.01 + 0.02 * torch.randn(count, generator=generator), hard[:count]) for count in (5, 40)]


def trusting_of(lost=lambda w, bar: (1 - w * bar**0.5) ** 2, leaked=lambda w, bar: w**2 * (1 - bar), scale=lambda bar: 1 - bar, size=lambda power: power):
    """丢掉的信号与漏进来的噪声，两份误差；改动一处，得到一种错的写法"""
    def function(weight, power, bar):
        return (lost(weight, bar) * size(power) + leaked(weight, bar)) / scale(bar)

    return function


def trusting_cases():
    generator = torch.Generator().manual_seed(0)
    return [(*torch.rand(2, 6, generator=generator), bar) for bar in (0.9, 0.5, 0.04)]


def lonely_of(formula=lambda bar, s2: s2 / (bar * s2 + 1 - bar), variance=lambda x: x.var(0, correction=0), table=lambda betas: torch.cumprod(1 - betas, 0)):
    """像素各有方差 s²，对像素平均；改动一处，得到一种错的写法"""
    def function(images, betas):
        return formula(table(betas)[:, None], variance(images.flatten(1))[None]).mean(1)

    return function


def lonely_cases():
    generator = torch.Generator().manual_seed(0)
    # 各像素的均值与方差都不同，有一个从来不变
    spread, center = torch.tensor([[0.0, 0.1, 0.3], [0.5, 0.8, 1.0]]), torch.tensor([[-1.0, -0.9, -0.5], [0.0, 0.3, 0.1]])
    images = center + spread * torch.randn(5, 1, 2, 3, generator=generator)
    return [(images.double(), torch.from_numpy(make_beta_schedule("cosine", 8))), (images.double(), torch.tensor([0.1, 0.4], dtype=torch.float64))]


EXERCISES = (
    Code("13.1", 1, "逐张相减", pair_of(), pair_cases, (
        Mistake("标准误要由逐张的差来算。你把两边的方差加了起来，那是两批不同的图才用的；同一张图，两边一起高一起低，这份起伏本可以减掉。",
                pair_of(spread=lambda a, b: (a.var() + b.var()) ** 0.5)),
        Mistake("这是差的标准差，说的是一张图；平均数的标准误还要除以 √N。", pair_of(divide=lambda count: 1)),
        Mistake("你除以了 N；独立的起伏平均之后，只小到 1/√N。", pair_of(divide=lambda count: count)),
        Mistake("反了：题目要 a 减 b。", pair_of(gap=lambda a, b: b - a)),
        Mistake("符号丢了：差要保留正负，才知道谁高。", pair_of(gap=lambda a, b: (a - b).abs())),
        Mistake("样本标准差除以 N-1 再开方，torch 默认就是；你除以了 N。", pair_of(spread=lambda a, b: (a - b).std(correction=0))),
        Mistake("那是方差；标准误要用标准差，先开平方。", pair_of(spread=lambda a, b: (a - b).var())),
    ), "第 7 节的 q₄，逐张相减的标准误约 0.002，各算各的约 0.006：图与图之间难易不同，这份起伏两边都有，一减就没有了。",
         "先得到 (N,) 的差，再求它的平均与标准差。"),
    Code("13.2", 2, "信几分", trusting_of(), trusting_cases, (
        Mistake("这是 x̂₀ 的误差；换算到 v 上，还要除以 1-ᾱ。", trusting_of(scale=lambda bar: 1)),
        Mistake("误差的平方要除以 1-ᾱ；你除以了它的平方根。", trusting_of(scale=lambda bar: (1 - bar) ** 0.5)),
        Mistake("x_t 里的信号是 √ᾱ x₀，乘了权重之后是 weight·√ᾱ；你少了 √ᾱ。", trusting_of(lost=lambda w, bar: (1 - w) ** 2)),
        Mistake("信号的系数是 √ᾱ，你乘成了 ᾱ。", trusting_of(lost=lambda w, bar: (1 - w * bar) ** 2)),
        Mistake("丢掉的那一份也要平方：(1 - weight·√ᾱ)²。", trusting_of(lost=lambda w, bar: 1 - w * bar**0.5)),
        Mistake("漏进来的噪声是 weight·√(1-ᾱ)·ε，平方之后是 weight²(1-ᾱ)；你的权重没有平方。", trusting_of(leaked=lambda w, bar: w * (1 - bar))),
        Mistake("漏进来的噪声是 weight·√(1-ᾱ)·ε，平方之后是 weight²(1-ᾱ)；你的 1-ᾱ 多了一个根号。", trusting_of(leaked=lambda w, bar: w**2 * (1 - bar) ** 0.5)),
        Mistake("你忘了漏进来的噪声。", trusting_of(leaked=lambda w, bar: 0)),
        Mistake("power 已经是 x₀ 的平方，不用再平方。", trusting_of(size=lambda power: power**2)),
    ), "权重大，丢的少而漏的多；权重小，正好相反。两份之和最小的那个权重，就是线性滤波用的。",
         "写出 x̂₀ - x₀：一项乘 x₀，一项乘 ε；ε 与 x₀ 无关，各自平方再相加。"),
    Code("13.3", 3, "不看邻居的线性滤波的误差", lonely_of(), lonely_cases, (
        Mistake("每个像素有自己的方差：中间的笔画变化大，角上几乎不变。你把所有像素混在一起算了一个。",
                lonely_of(variance=lambda x: x.var(correction=0).expand(1))),
        Mistake("先代公式，再对像素平均；你先把方差平均了，公式不是一次函数，次序不能换。",
                lonely_of(variance=lambda x: x.var(0, correction=0).mean().expand(1))),
        Mistake("这是 ε 的误差 ᾱs²/D；目标是 v 时，误差是 s²/D。", lonely_of(lambda bar, s2: bar * s2 / (bar * s2 + 1 - bar))),
        Mistake("这是 x₀ 的误差；换算到 v 上，还要除以 1-ᾱ。", lonely_of(lambda bar, s2: (1 - bar) * s2 / (bar * s2 + 1 - bar))),
        Mistake("s² 是方差，你代了标准差。", lonely_of(variance=lambda x: x.std(0, correction=0))),
        Mistake("方差要先减去这个像素的均值；你用了平方的平均，背景的 -1 就成了“变化”。", lonely_of(variance=lambda x: x.square().mean(0))),
        Mistake("题目要除以 N，torch 默认除以 N-1；写 correction=0。", lonely_of(variance=lambda x: x.var(0))),
        Mistake("你用了单步的 α_t，这里要的是连乘 ᾱ_t。", lonely_of(table=lambda betas: 1 - betas)),
    ), "网络看得见邻居，所以能比它低。在 8×8 的数字上，随课程的模型把 q₁ 从 0.69 降到 0.31，q₄ 只从 0.30 降到 0.29：噪声小的时候，邻居最管用。",
         "先算每个像素的 s²，形状 (像素数,)；再与 ᾱ 拼成 (T, 像素数) 的表。"),
    Choice("13.4", 2, "三份记录", "B", {
        "A": "及格不等于练够：甲重练之后，前三段又降了两三成。乙的学习率还没有降下来，此时不及格不说明什么。",
        "C": "乙的学习率还是峰值的六成，损失平了、不及格都不作数：第 8 节的 375 步，走到第 75 步也四段都不及格，练完时前两段都及格了。",
        "D": "甲的前三段还在降，q₄ 也降了三个标准误以上。丙的 q₂ 加了一倍的步数一点没有降，别的段都在降，不像是步数不够。",
    }, "先看学习率，再看及格线，再看加了步数还降不降。丙的 q₂ 不如一个公式，加了步数又不降，再加也没有用；照经验，先查那一段的 t，例如时间嵌入或噪声表。"),
    Choice("13.5", 1, "高了三个标准误", "C", {
        "A": "这个标准误只算了采样的运气。第 8 节的 375 步从头练八遍，强度 2 时认得出的从 53% 到 87%：训练的运气可以大得多。",
        "B": "采样种子再多，± 再小，量的还是同一个模型；训练只有一遍，训练的运气还是没有算进去。",
        "D": "换了指标，训练还是只有一遍；何况 Fréchet 距离量一次，连采样的运气也没有算。",
    }, "± 旁边要写清楚，是谁与谁之间的：采样种子之间、训练之间、图与图之间，各答各的问题。375 步的八次训练，认得出的标准差约 11 个百分点。"),
)
