"""第 1 章的习题：从零实现"""
import torch

from . import Choice, Code, Mistake, Number


def pair_of(seed, count=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, generator=generator), torch.randn(count, 2, generator=generator)


def start_from_noise(x_t, noise, bar):
    bar = bar[:, None]
    return (x_t - (1 - bar).sqrt() * noise) / bar.sqrt()


def noise_cases():
    return [(*pair_of(0), torch.tensor([0.9, 0.5, 0.2, 0.05])), (*pair_of(1, 2), torch.tensor([0.36, 0.64]))]


def starting(cos=lambda a: a.sqrt(), sin=lambda a: (1 - a).sqrt(), sign=-1, divide=True):
    """改动一处，得到一种错的写法"""
    def function(x_t, noise, bar):
        bar = bar[:, None]
        return (x_t + sign * sin(bar) * noise) / (cos(bar) if divide else 1)

    return function


def network(x_t, t):
    """批改用的网络：回答里既有 x_t 也有 t"""
    return 0.5 * x_t + 0.01 * t[:, None]


def batch_loss(network, x0, t, noise, alpha_bar):
    a = alpha_bar[t][:, None]
    return (network(a.sqrt() * x0 + (1 - a).sqrt() * noise, t) - noise).square().mean()


def batch_cases():
    alpha_bar = torch.cumprod(1 - torch.linspace(0.01, 0.3, 20), 0)
    return [(network, *pair_of(2)[:1], torch.tensor([0, 5, 12, 19]), pair_of(3)[0], alpha_bar)]


def lossy(noised=lambda a, x0, noise: a.sqrt() * x0 + (1 - a).sqrt() * noise, target=lambda x0, noise: noise,
          reduce=lambda error: error.square().mean(), pick=lambda alpha_bar, t: alpha_bar[t]):
    def function(network, x0, t, noise, alpha_bar):
        x_t = noised(pick(alpha_bar, t)[:, None], x0, noise)
        return reduce(network(x_t, t) - target(x0, noise))

    return function


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
    Code("01.1", 1, "从噪声换回原来的点", start_from_noise, noise_cases, (
        Mistake("噪声要减掉，不是再加上去。", starting(sign=1)),
        Mistake("系数要开平方：√ᾱ_t 与 √(1-ᾱ_t)。", starting(cos=lambda a: a, sin=lambda a: 1 - a)),
        Mistake("减掉噪声之后，还要除以 √ᾱ_t：加噪时点缩小过。", starting(divide=False)),
        Mistake("√(1-ᾱ_t) 不是 1-√ᾱ_t：两个系数的平方和要等于 1。", starting(sin=lambda a: 1 - a.sqrt())),
    ), "加噪的公式倒过来就是它。t 很大时除以一个很小的数，噪声猜错一点就放大许多倍：第 5 章细讲。", "先让 noise 全为 0，看缩放对不对。"),
    Code("01.2", 2, "训练的一批", batch_loss, batch_cases, (
        Mistake("目标是噪声，不是原来的点。", lossy(target=lambda x0, noise: x0)),
        Mistake("系数要开平方：√ᾱ_t·x₀ + √(1-ᾱ_t)·ε。", lossy(noised=lambda a, x0, noise: a * x0 + (1 - a) * noise)),
        Mistake("先平方，再平均；先平均的话，正负的误差互相抵消。", lossy(reduce=lambda error: error.mean().square())),
        Mistake("误差要取平方，这里取的是绝对值。", lossy(reduce=lambda error: error.abs().mean())),
        Mistake("对所有的点、两个坐标求平均，不是求和：损失不该随批的大小变。", lossy(reduce=lambda error: error.square().sum())),
        Mistake("网络要看带噪的点；这里给它看的是原来的点。", lossy(noised=lambda a, x0, noise: x0)),
    ), "整个训练就是反复算它、求梯度、走一步。", "先造 x_t，再问网络，再与 noise 比。"),
    Code("01.3", 3, "不用训练的去噪器", ideal_start, ideal_cases, (
        Mistake("比较之前，数据点要先乘 √ᾱ：加噪时它们缩小过。", averaging(shrink=lambda bar: 1.0)),
        Mistake("指数里要除以 2(1-ᾱ)，那是噪声的方差的两倍。", averaging(width=lambda bar: 1.0)),
        Mistake("指数里漏了 2：高斯密度是 exp(-d²/(2σ²))。", averaging(width=lambda bar: 1 - bar)),
        Mistake("权重要归一化，加起来等于 1；用 softmax。", averaging(weigh=lambda score: score.exp())),
        Mistake("这是最近的那一个点。最好的猜测是加权平均，不是挑一个。",
                averaging(weigh=lambda score: torch.nn.functional.one_hot(score.argmax(1), score.shape[1]).float())),
        Mistake("softmax 要沿数据点的那一维（第 1 维）做，每个 x_t 的权重加起来是 1。", averaging(weigh=lambda score: score.softmax(0))),
    ), "拿它采样，走完得到的正好是训练数据里的点：它把数据背下来了。网络背不下来，才造得出新的。", "先看权重：每一行加起来是不是 1？"),
    Choice("01.4", 1, "损失能降到多低", "B", {
        "A": "猜得出的只有平均。把一份 x_t 拆回 (x₀, ε)，答案本来就不止一个。",
        "C": "梯度吵，会让训练慢一些、抖一些，不会留下一个降不下去的底。",
        "D": "数据要多少有多少，就没有过拟合。",
    }, "这个底是数据与噪声表决定的，与网络无关。所以损失的大小说明不了样本的好坏。"),
    Number("01.5", 2, "照抄的代价", 0.8, {
        0.64: "这是原来的点留下的部分，0.64 × 1；噪声的那一部分也有误差。",
        0.16: "噪声的系数是 0.6，与 1 差 0.4，平方得 0.16；还要加上原来的点留下的部分。",
        0.36: "0.36 是 x_t 里噪声的方差；问的是 x_t - ε 的方差。",
        1.64: "噪声与 x_t 里的噪声是同一份，要先相减：0.6ε - ε = -0.4ε。",
    }, "x_t - ε = 0.8·x₀ - 0.4·ε，方差是 0.64 + 0.16 = 0.8。t 越大照抄越便宜：ᾱ → 0 时它趋于 0。", "写出 x_t - ε，把 x₀ 与 ε 的系数分别平方。"),
)
