"""第 17 章的习题：从 DDPM 到 latent-diffusion"""
import torch

from . import Choice, Code, Mistake


def scale_factor(z):
    return float(1 / z.std())


def latent_cases():
    generator = torch.Generator().manual_seed(0)
    widths = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    return [(2.0 + widths * torch.randn(5, 2, 3, 4, generator=generator),), (0.2 * torch.randn(40, 2, 2, 2, generator=generator) - 1.0,)]


def encode_latent(moments, a, noise):
    mean, logvar = moments.chunk(2, dim=1)
    return a * (mean + (0.5 * logvar).exp() * noise)


def moment_cases():
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(2, 2 * C, 3, 4, generator=generator), a, torch.randn(2, C, 3, 4, generator=generator)) for C, a in ((2, 0.5), (1, 0.18215))]


def halves(moments):
    return moments.chunk(2, dim=1)


def break_even(pixel, latent, coder, images):
    return breaking_even()(pixel, latent, coder, images)


def breaking_even(saved=lambda p, q, images: p[0] - q[0] + images * (p[1] - q[1]), count=lambda coder, saved: coder // saved + 1, never=0):
    """改动一处，得到一种错的写法；saved 是每个模型省下的，count 是几个才回本"""
    def function(pixel, latent, coder, images):
        each = saved(pixel, latent, images)
        return count(coder, each) if each > 0 or never is None else never

    return function


def charged_every_time(pixel, latent, coder, images):
    """每个模型都付一遍自编码器"""
    return int(coder + latent[0] + images * latent[1] < pixel[0] + images * pixel[1])


def budgets():
    """第 6 节的账（训练的乘 3，算上反向），不画图与各画一千张；恰好打平的；只有画图才省的；怎样都不省的；画图才省，却不画的"""
    return [((7099200, 740), (5130240, 259), 3985200, 0), ((7099200, 740), (5130240, 259), 3985200, 1000), ((60, 5), (30, 3), 100, 10),
            ((100, 9), (120, 4), 700, 10), ((50, 2), (60, 3), 100, 5), ((60, 50), (70, 20), 100, 0)]


EXERCISES = (
    Code("17.1", 1, "尺度因子", scale_factor, latent_cases, (
        Mistake("这是标准差；要乘上去让它变成 1，得取倒数。", lambda z: z.std()),
        Mistake("除以方差会除过头：潜变量要除以标准差，标准差才变成 1。", lambda z: 1 / z.var()),
        Mistake("只要一个数，你给了每个通道一个；原文件把整批压平了再算。", lambda z: 1 / z.std((0, 2, 3))),
        Mistake("你用的是均方根，里面混进了均值；标准差要先减去均值。", lambda z: 1 / z.square().mean().sqrt()),
        Mistake("这是把最大值压到 1；一个离群的数就能改变它，用标准差才稳。", lambda z: 1 / z.abs().max()),
        Mistake("先对每张图求标准差再平均，漏掉了图与图之间的差别；要整批一起算。", lambda z: 1 / z.flatten(1).std(1).mean()),
    ), "它只用第一批算一次，之后再也不动；忘了存它，检查点就解不出图。", "乘上它之后，整批潜变量的标准差应当是 1。", rtol=1e-2),
    Code("17.2", 2, "交给扩散的潜变量", encode_latent, moment_cases, (
        Mistake("后一半是对数方差 ln σ²，要先取指数再开方，也就是 exp(ln σ² / 2)。", lambda m, a, n: a * (halves(m)[0] + halves(m)[1] * n)),
        Mistake("exp(ln σ²) 是方差；标准差还要开方，也就是 exp(ln σ² / 2)。", lambda m, a, n: a * (halves(m)[0] + halves(m)[1].exp() * n)),
        Mistake("系数 a 也要乘到噪声那一项上：整个潜变量一起放缩。", lambda m, a, n: a * halves(m)[0] + (0.5 * halves(m)[1]).exp() * n),
        Mistake("编码时是乘 a；除以 a 是解码之前的事。", lambda m, a, n: (halves(m)[0] + (0.5 * halves(m)[1]).exp() * n) / a),
        Mistake("忘了乘系数 a：潜变量还是原来的大小。", lambda m, a, n: halves(m)[0] + (0.5 * halves(m)[1]).exp() * n),
        Mistake("这只是均值；还要加上标准差乘噪声，才是从分布里抽的一个样本。", lambda m, a, n: a * halves(m)[0]),
        Mistake("前一半通道是均值，后一半才是对数方差，你取反了。", lambda m, a, n: a * (halves(m)[1] + (0.5 * halves(m)[0]).exp() * n)),
    ), "原文件的 get_first_stage_encoding 做的就是这一行。", "先用 chunk 把通道分成两半，σ = exp(ln σ² / 2)。"),
    Code("17.3", 3, "练几个才回本", break_even, budgets, (
        Mistake("恰好打平时还没有更少：题目要严格小于，要再多练一个。", breaking_even(count=lambda coder, saved: -(-coder // saved))),
        Mistake("商不是整数时，取整之后还没有回本，要再多练一个。", breaking_even(count=lambda coder, saved: coder // saved)),
        Mistake("漏掉了画图省下的：每个模型还要画 images 张。", breaking_even(saved=lambda p, q, images: p[0] - q[0])),
        Mistake("画图省下的只算了一张，每个模型要画 images 张。", breaking_even(saved=lambda p, q, images: p[0] - q[0] + p[1] - q[1])),
        Mistake("每个模型反而多花时，练多少个都回不了本，要返回 0。", breaking_even(never=None)),
        Mistake("自编码器只付一次，你让每个模型都付了一遍。", charged_every_time),
        Mistake("个数要是整数：商取整之后再加 1。", breaking_even(count=lambda coder, saved: coder / saved)),
    ), "第 6 节的账，若当作一样好，不画图要练 3 个才回本；每个模型再画一千张，2 个就够了。",
        "先算每个模型省下多少，训练的与画图的都算；再看 coder 要几份这样的省才抵得过。"),
    Choice("17.4", 1, "照抄系数", "C", {
        "A": "加的噪声大小没有变，数却小了，信噪比就小了：它正比于标准差的平方。",
        "B": "这是忘了乘系数的样子，标准差还是 1.6。乘了 0.18215，只剩 0.29。",
        "D": "这是标准差本来就是 1 时照抄的样子。这里是 1.6，乘完是 0.29。",
    }, "1.6 × 0.18215 = 0.29，信噪比只有该有的十二分之一，不到第 170 步就降到 1；系数要按自己的潜变量量出来。"),
    Choice("17.5", 2, "忘了除回来", "B", {
        "A": "解码器是冻结的，它只见过原来大小的潜变量；忽然小了五倍多，它不会自己适应。",
        "C": "潜变量的方向没有变，只是都短了；图会变暗，不会成为噪声。",
        "D": "那是潜变量太大的样子，例如多除了一次。这里是少除一次，潜变量太小。",
    }, "乘与除要成对：编码之后乘，解码之前除。自己接采样器时最容易漏掉后一半。"),
)
