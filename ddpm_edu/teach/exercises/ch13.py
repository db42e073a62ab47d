"""第 13 章的习题：训练 MNIST"""
import torch

from ...images import to_uint8
from ...schedules import make_beta_schedule
from ...training.timestep_loss import quarters
from . import Choice, Code, Mistake


def pixel_cases():
    levels = torch.arange(0, 256, 5, dtype=torch.float32) / 127.5 - 1
    return [(torch.tensor([-1.3, -0.999, 0.0, 0.3, 1.2]),), (levels.reshape(1, 1, 4, 13),)]


def wrapped(x):
    # 浮点直接换成 uint8 时，出界怎么办随机器而定；整数总是绕回去
    return x.int().to(torch.uint8)


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
    Code("13.1", 1, "变回像素", to_uint8, pixel_cases, (
        Mistake("没有四舍五入：换成整数时直接丢掉小数部分，k/127.5-1 舍入之后略小一点，就变成了 k-1。",
                lambda x: ((x.clamp(-1, 1) + 1) * 127.5).to(torch.uint8)),
        Mistake("没有截断：网络的输出会略微出界，换成 uint8 时绕到另一头，白点成了黑点。", lambda x: wrapped(((x + 1) * 127.5).round())),
        Mistake("没有截断，也没有四舍五入。", lambda x: wrapped((x + 1) * 127.5)),
        Mistake("一格是 2/255，所以乘 127.5；你乘了 128，就对不上原来的整数了。", lambda x: ((x + 1) * 128).round().clamp(0, 255).to(torch.uint8)),
        Mistake("你把输入当成了 [0, 1]；这里是 [-1, 1]，先加 1。", lambda x: (x * 255).round().clamp(0, 255).to(torch.uint8)),
        Mistake("你截到了 [0, 1]，暗的一半全成了中灰；应当截到 [-1, 1]。", lambda x: ((x.clamp(0, 1) + 1) * 127.5).round().to(torch.uint8)),
        Mistake("数对了，但还是浮点；最后换成 torch.uint8。", lambda x: ((x.clamp(-1, 1) + 1) * 127.5).round()),
    ), "256 个值来回换算一遍，分毫不差；images.py 存图时就这样做。", "截断、平移、放大、四舍五入、换类型，一样也不能少。"),
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
    Choice("13.4", 2, "换成 eps", "C", {
        "A": "t 大时 x_t 几乎就是 ε，照抄都能猜对，q₄ 不难。",
        "B": "正好反过来：t 小时噪声只有一点点，混在笔画里，最难分。",
        "D": "差得很远：同一个网络，ε 的误差是 v 的误差乘上 ᾱ_t，而 ᾱ 从 1 一路降到 0。",
    }, "同一个猜测，ε 的平方误差恰好是 v 的 ᾱ_t 倍，所以 q₁ 几乎不变，越往后压得越低。损失低不等于猜得好：x₀ 的误差没有变。"),
    Choice("13.5", 1, "换了种子再续训", "C", {
        "A": "检查点不核对种子：它不影响模型的形状。",
        "B": "权重、动量、学习率确实都接上了，但第 4 步抽的 t 与噪声要用种子来定。",
        "D": "起点是检查点里的权重，不是从头来；换的只是之后的随机数。",
    }, "随机数由种子、用途、批号、进程号定，种子不在检查点里。要逐位接上，构造参数就得原样写。"),
)
