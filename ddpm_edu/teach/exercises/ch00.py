"""第 0 章的习题：像素、损失、采样的循环"""
import torch

from ...images import to_uint8
from . import Choice, Code, Mistake, Number


def pixel_cases():
    return [(torch.tensor([[[[-1.0, -0.2, 0.301], [0.5, 1.0, 0.999]]]]),), (torch.tensor([-1.3, 1.4, 0.25]),)]


def pixels(formula):
    return lambda x: formula(x).to(torch.uint8)


def loss_cases():
    generator = torch.Generator().manual_seed(0)
    return [tuple(torch.randn(shape, generator=generator) for _ in range(2)) for shape in ((3, 2, 4, 5), (2, 7), (4, 1, 1, 3))]


def sample_loss(pred, target):
    return (pred - target).square().flatten(1).mean(1)


def two_values(x, bar):
    """代替网络：像素只有 ±1 两种时，最好的猜测"""
    return torch.tanh(bar**0.5 * x / (1 - bar))


def sampling_cases():
    x = torch.randn(2, 1, 2, 3, generator=torch.Generator().manual_seed(1))
    return [(x, two_values, [0.05, 0.2, 0.5, 0.9]), (x, two_values, [0.1, 0.6]), (x, two_values, [0.3])]


def sampling(mix=lambda x_recon, noise, after: after**0.5 * x_recon + (1 - after) ** 0.5 * noise,
             split=lambda x, x_recon, bar, first: (x - bar**0.5 * x_recon) / (1 - bar) ** 0.5, last=lambda x, x_recon: x_recon):
    """改动循环的一处，得到一种错的写法"""
    def function(x, guess, bars):
        first = x
        for bar, after in zip(bars, bars[1:]):
            x_recon = guess(x, bar)
            x = mix(x_recon, split(x, x_recon, bar, first), after)
        return last(x, guess(x, bars[-1]))

    return function


EXERCISES = (
    Code("00.1", 1, "变回像素", to_uint8, pixel_cases, (
        Mistake("超出 [-1, 1] 的先要截断：uint8 装不下的数会从另一头绕回来，白变成黑。", pixels(lambda x: ((x + 1) * 127.5).round().to(torch.int64) % 256)),
        Mistake("转成整数会丢掉小数部分，整张图偏暗半级；先四舍五入。", pixels(lambda x: (x.clamp(-1, 1) + 1) * 127.5)),
        Mistake("这样得到 0 到 2，再乘 255 就满出来了；乘 127.5，或先除以 2。", pixels(lambda x: ((x.clamp(-1, 1) + 1) * 255).round().to(torch.int64) % 256)),
        Mistake("你把 [-1, 1] 当成了 [0, 1]：一半的像素是负的，都成了黑。", pixels(lambda x: (x.clamp(0, 1) * 255).round())),
        Mistake("数值对了，类型还是浮点；图像文件要 uint8。", lambda x: ((x.clamp(-1, 1) + 1) * 127.5).round()),
    ), "网络的输出可以略微超出范围，存图之前总要截断。", "-1 对应 0，1 对应 255，中间是直线。"),
    Code("00.2", 2, "每个样本的损失", sample_loss, loss_cases, (
        Mistake("你把批也平均掉了，只剩一个数；第一维要留着。", lambda pred, target: (pred - target).square().mean()),
        Mistake("求和会随图像变大而变大；这里要的是平均。", lambda pred, target: (pred - target).square().flatten(1).sum(1)),
        Mistake("这是绝对值的平均（L1），不是平方的平均。", lambda pred, target: (pred - target).abs().flatten(1).mean(1)),
        Mistake("多开了一次方：均方误差不开方。", lambda pred, target: (pred - target).square().flatten(1).mean(1).sqrt()),
        Mistake("你把维数写死成了四维；输入可以是二维，平均除第一维外的所有维。", lambda pred, target: (pred - target).square().mean((1, 2, 3))),
    ), "留着第一维，才能看清哪些 t 难、哪些 t 容易（第 6 章）。", "先逐元素求差的平方，再把第一维以外的都平均掉。"),
    Code("00.3", 3, "从噪声走到图", sampling(), sampling_cases, (
        Mistake("你只在开头猜了一次；每退一步，都要看着新的 x 重新猜。", lambda x, guess, bars: guess(x, bars[0])),
        Mistake("混进去的噪声是起点的那一份；要的是此刻猜到的，由此刻的 x 与猜测反解出来。", sampling(split=lambda x, x_recon, bar, first: first)),
        Mistake("反解噪声时忘了除以它的系数。", sampling(split=lambda x, x_recon, bar, first: x - bar**0.5 * x_recon)),
        Mistake("系数要开平方：图的是 √ᾱ，噪声的是 √(1-ᾱ)。", sampling(mix=lambda x_recon, noise, after: after * x_recon + (1 - after) * noise)),
        Mistake("你少走了最后一步：在最后一个 ᾱ 处还要猜一次，返回那次的猜测。", sampling(last=lambda x, x_recon: x)),
    ), "这就是 DDIM。祖先采样只多一样：混合时少放些猜到的噪声，补一份新抽的（第 7 章）。", "每一步三件事：猜原图，反解噪声，用下一个系数重新混合。"),
    Choice("00.4", 1, "损失不动了", "B", {
        "A": "图还在变好，说明网络还在学，梯度没有消失；损失不动，是因为能再降的本来就只有一点点。",
        "C": "数据没有用完一说：每张图每一轮都配上新的 t 与新的噪声。",
        "D": "EMA 只是把权重平滑，它不改变训练的损失。",
    }, "损失里大部分是 x_t 里没有的信息：同一张 x_t 对得上许多张原图，谁也猜不出。样本的好坏藏在剩下的一点点里，所以要另用 Fréchet 距离来量（第 15 章）。"),
    Number("00.5", 2, "省了几倍", 10, {
        20: "引导时每一步要算两次：告诉网络画几，猜一遍；不告诉，再猜一遍。两遍拼在一批里，也是两次。",
        1000: "这是甲要算的次数；题目问的是比值。",
        100: "这是乙要算的次数；题目问的是比值。",
        0.1: "反了：问的是甲是乙的几倍。",
    }, "采样的时间几乎全花在网络上：步数少几倍，就快几倍；引导要猜两遍，又慢一倍。", "先数每走一步网络算几次，再乘步数。不必乘张数：问的是每张图。"),
)
