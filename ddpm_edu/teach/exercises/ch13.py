"""第 13 章的习题：训练 MNIST"""
import torch

from ...schedules import make_beta_schedule
from ...training.timestep_loss import quarters
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


def means(losses, t, num_timesteps):
    return torch.stack([losses[(t >= start) & (t < stop)].mean() for start, stop in quarters(num_timesteps)])


def quarter_cases():
    generator = torch.Generator().manual_seed(0)

    def case(t, num_timesteps):
        return torch.rand(len(t), generator=generator), torch.tensor(t), num_timesteps

    return [case([9, 2, 5, 0, 6, 3, 7, 8, 1, 4, 4, 2], 10), case([700, 3, 250, 999, 499, 500, 749, 750, 249, 12], 1000)]


def cutting(edges, closed=False, average=torch.mean):
    """edges(T) 给出各段的（起, 止）；closed 时两端都含"""
    def function(losses, t, num_timesteps):
        parts = [losses[(t >= start) & ((t <= stop) if closed else (t < stop))] for start, stop in edges(num_timesteps)]
        return torch.stack([average(part) for part in parts])

    return function


def by_order(losses, t, num_timesteps):
    return torch.stack([part.mean() for part in losses.tensor_split(4)])


def by_sorted_order(losses, t, num_timesteps):
    return by_order(losses[t.argsort(stable=True)], t, num_timesteps)


def by_all(losses, t, num_timesteps):
    return cutting(quarters, average=torch.sum)(losses, t, num_timesteps) / len(losses)


def by_ratio(losses, t, num_timesteps):
    number = t * 4 // num_timesteps
    return torch.stack([losses[number == k].mean() for k in range(4)])


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
    ), "第 5 节的 q₄，逐张相减的标准误约 0.002，各算各的约 0.006：图与图之间难易不同，这份起伏两边都有，一减就没有了。",
         "先得到 (N,) 的差，再求它的平均与标准差。"),
    Code("13.2", 2, "分四段看损失", means, quarter_cases, (
        Mistake("你按样本在批里的次序切成四段；要按它的 t 来分。", by_order),
        Mistake("你按 t 排序之后平均切成四份；要按 T 的四等分来切，各段的样本数可以不同。", by_sorted_order),
        Mistake("T 不能被 4 整除时，T//4*k 会把余数全丢掉，最后几步哪一段也不算；先乘再除：T*k//4。",
                cutting(lambda T: [(T // 4 * k, T // 4 * (k + 1)) for k in range(4)])),
        Mistake("t*4//T 与题目的边界差一点：T=10 时，第 0 段应止于 ⌊10/4⌋ = 2，不含 2。", by_ratio),
        Mistake("止的那一端不含，否则边界上的样本算了两次。", cutting(quarters, closed=True)),
        Mistake("要除以这一段自己的样本数，你除以了全体的。", by_all),
        Mistake("你求了和；样本多的一段就显得难。要求平均。", cutting(quarters, average=torch.sum)),
    ), "TimestepLoss 更进一步：每一段都铺满样本，而且 t 与噪声固定。", "用布尔的掩码挑出一段，再求平均。"),
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
        "C": "乙的学习率还是峰值的六成，损失平了、不及格都不作数：本章的小样在第 75 步也四段都不及格。",
        "D": "甲只有 q₄ 到头了，前三段还在降。丙的 q₂ 加了一倍的步数一点没有降，别的段都在降，再加步数也没有用。",
    }, "先看学习率，再看及格线，再看加了步数还降不降。丙的 q₂ 不如一个公式，加了步数又不降，多半是那一段的 t 上有错，例如时间嵌入或噪声表。"),
    Choice("13.5", 1, "换了种子再续训", "C", {
        "A": "检查点不核对种子：它不影响模型的形状。",
        "B": "权重、动量、学习率确实都接上了，但第 4 步抽的 t 与噪声要用种子来定。",
        "D": "起点是检查点里的权重，不是从头来；换的只是之后的随机数。",
    }, "随机数由种子、用途、批号、进程号定，种子不在检查点里。要逐位接上，构造参数就得原样写。"),
)
