"""第 1 章的习题：从零实现"""
import torch

from . import Choice, Code, Mistake, Number


def pair_of(seed, count=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, generator=generator), torch.randn(count, 2, generator=generator)


def merged_noise(x0, beta, noises):
    x, bar = x0, (1 - beta).prod()
    for b, noise in zip(beta, noises):
        x = (1 - b).sqrt() * x + b.sqrt() * noise
    return (x - bar.sqrt() * x0) / (1 - bar).sqrt()


def noise_cases():
    def case(seed, steps, count):
        x0, noise = pair_of(seed, count * steps)
        return x0[:count], torch.linspace(0.02, 0.3, steps), noise.reshape(steps, count, 2)

    return [case(0, 5, 4), case(1, 3, 2)]


def merging(step=lambda b, x, noise: (1 - b).sqrt() * x + b.sqrt() * noise, total=lambda beta: (1 - beta).prod(),
            back=lambda x, x0, bar: (x - bar.sqrt() * x0) / (1 - bar).sqrt()):
    """改动一处，得到一种错的写法"""
    def function(x0, beta, noises):
        x = x0
        for b, noise in zip(beta, noises):
            x = step(b, x, noise)
        return back(x, x0, total(beta))

    return function


def gaussian_noise(x_t, bar, m, v):
    return (1 - bar) ** 0.5 / (bar * v + 1 - bar) * (x_t - bar**0.5 * m)


def gaussian_cases():
    return [(pair_of(2, 5)[0][:, 0], 0.64, 1.5, 0.25), (pair_of(3, 3)[1][:, 1], 0.1, -2.0, 3.0)]


def straight(centre=lambda bar, m: bar**0.5 * m, slope=lambda bar, v: (1 - bar) ** 0.5 / (bar * v + 1 - bar)):
    return lambda x_t, bar, m, v: slope(bar, v) * (x_t - centre(bar, m))


def ideal_start(x_t, data, bar):
    distance = (x_t[:, None] - bar**0.5 * data).square().sum(-1)
    return (-distance / (2 * (1 - bar))).softmax(1) @ data


def ideal_cases():
    return [(pair_of(4)[0], torch.cat(pair_of(5, 6)), 0.8), (pair_of(6)[0], torch.cat(pair_of(7, 3)), 0.2)]


def averaging(shrink=lambda bar: bar**0.5, width=lambda bar: 2 * (1 - bar), weigh=lambda score: score.softmax(1)):
    def function(x_t, data, bar):
        distance = (x_t[:, None] - shrink(bar) * data).square().sum(-1)
        return weigh(-distance / width(bar)) @ data

    return function


EXERCISES = (
    Code("01.1", 1, "许多份噪声合成一份", merged_noise, noise_cases, (
        Mistake("走一步的系数要开平方：√(1-β)·x + √β·ε。", merging(step=lambda b, x, noise: (1 - b) * x + b * noise)),
        Mistake("反解时系数要开平方：√ᾱ 与 √(1-ᾱ)。", merging(back=lambda x, x0, bar: (x - bar * x0) / (1 - bar))),
        Mistake("减掉 √ᾱ·x₀ 之后，还要除以噪声的系数 √(1-ᾱ)。", merging(back=lambda x, x0, bar: x - bar.sqrt() * x0)),
        Mistake("这是走到的点；问的是合成的那份噪声，要从第二个公式里反解。", merging(back=lambda x, x0, bar: x)),
        Mistake("ᾱ 是全部 1-β 的连乘，不是最后一步的 1-β。", merging(total=lambda beta: 1 - beta[-1])),
        Mistake("噪声不是简单地平均：每掺一份之后，前面的还要跟着缩小。", lambda x0, beta, noises: noises.mean(0)),
        Mistake("每一步掺的是各自的 noises[t]，你每一步都用了第一份。",
                lambda x0, beta, noises: merged_noise(x0, beta, noises[:1].expand_as(noises))),
    ), "各份都是标准高斯，合成的这一份也是：方差加起来正好是 1-ᾱ。所以训练时不必一步步走，抽一份就够。", "先一步步走到底，再由第二个公式反解出噪声。"),
    Code("01.2", 2, "高斯数据的最好猜测", gaussian_noise, gaussian_cases, (
        Mistake("均值也缩小了：x_t 的均值是 √ᾱ·m，先减掉它。", straight(centre=lambda bar, m: m)),
        Mistake("忘了减去 x_t 的均值 √ᾱ·m。", straight(centre=lambda bar, m: 0.0)),
        Mistake("分母是 x_t 的方差，不是标准差。", straight(slope=lambda bar, v: ((1 - bar) / (bar * v + 1 - bar)) ** 0.5)),
        Mistake("你把数据的方差当成了 1；x_t 的方差是 ᾱv + 1-ᾱ。", straight(slope=lambda bar, v: (1 - bar) ** 0.5)),
        Mistake("分子是 ε 与 x_t 的协方差：噪声在 x_t 里乘了 √(1-ᾱ)，不是 1-ᾱ。", straight(slope=lambda bar, v: (1 - bar) / (bar * v + 1 - bar))),
        Mistake("v 已经是方差，不用再平方。", straight(slope=lambda bar, v: (1 - bar) ** 0.5 / (bar * v**2 + 1 - bar))),
        Mistake("你把 x_t 的零头全当成了噪声：数据本身也有起伏，占去一部分。", straight(slope=lambda bar, v: (1 - bar) ** -0.5)),
    ), "v=1、m=0 时 k=√(1-ᾱ)，t 大时接近 1，几乎就是照抄。月牙的最好猜测，是许多个这样的一次式按可能性加权：半圆上的每一点各是一个 m。",
        "k 是 ε 与 x_t 的协方差，除以 x_t 的方差。"),
    Code("01.3", 3, "不用训练的去噪器", ideal_start, ideal_cases, (
        Mistake("比较之前，数据点要先乘 √ᾱ：加噪时它们缩小过。", averaging(shrink=lambda bar: 1.0)),
        Mistake("指数里要除以 2(1-ᾱ)，那是噪声的方差的两倍。", averaging(width=lambda bar: 1.0)),
        Mistake("指数里漏了 2：高斯密度是 exp(-d²/(2σ²))。", averaging(width=lambda bar: 1 - bar)),
        Mistake("权重要归一化，加起来等于 1；用 softmax。", averaging(weigh=lambda score: score.exp())),
        Mistake("这是最近的那一个点。最好的猜测是加权平均，不是挑一个。",
                averaging(weigh=lambda score: torch.nn.functional.one_hot(score.argmax(1), score.shape[1]).float())),
        Mistake("softmax 要沿数据点的那一维（第 1 维）做，每个 x_t 的权重加起来是 1。", averaging(weigh=lambda score: score.softmax(0))),
    ), "拿它走一百步，造出来的点到最近的训练点，中位数不到 0.005；网络造的是 0.017，没有见过的真点是 0.018。它把训练的点背下来了，网络没有。",
        "先看权重：每一行加起来是不是 1？"),
    Choice("01.4", 1, "与真的点一样", "B", {
        "A": "这两个数只看附近有没有点。训练的点本来就是真的点，原样交回来，是 0.6% 与 11.2%。",
        "C": "五百个点盖不住每个角落，真的点自己也漏掉 11.5%。",
        "D": "月牙的边上点稀，真的点自己也有 0.8% 附近没有别的真点。",
    }, "要再量一个数：造出来的点到最近的训练点有多远，与没有见过的真点比。练习 01.3 的去噪器就会在这里露馅。"),
    Number("01.5", 2, "照抄的代价", 0.8, {
        0.64: "这是原来的点留下的部分，0.64 × 1；噪声的那一部分也有误差。",
        0.16: "噪声的系数是 0.6，与 1 差 0.4，平方得 0.16；还要加上原来的点留下的部分。",
        0.36: "0.36 是 x_t 里噪声的方差；问的是 x_t - ε 的方差。",
        1.64: "噪声与 x_t 里的噪声是同一份，要先相减：0.6ε - ε = -0.4ε。",
    }, "x_t - ε = 0.8·x₀ - 0.4·ε，方差是 0.64 + 0.16 = 0.8。t 越大照抄越便宜：ᾱ → 0 时它趋于 0。", "写出 x_t - ε，把 x₀ 与 ε 的系数分别平方。"),
)
