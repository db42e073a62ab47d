"""第 0 章的习题：像素、损失、距离"""
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


def distance_cases():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(40, generator=generator), 2 * torch.randn(30, generator=generator) + 1), (torch.arange(5.0), torch.arange(5.0) + 3)]


def distance(a, b):
    return float((a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2)


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
    Code("00.3", 3, "一维的 Fréchet 距离", distance, distance_cases, (
        Mistake("第二项是标准差之差的平方，你用了方差。", lambda a, b: float((a.mean() - b.mean()) ** 2 + (a.var() - b.var()) ** 2)),
        Mistake("两个差都要平方，你用了绝对值。", lambda a, b: float((a.mean() - b.mean()).abs() + (a.std() - b.std()).abs())),
        Mistake("只比均值不够：一堆一模一样的图，均值也可以恰好对。", lambda a, b: float((a.mean() - b.mean()) ** 2)),
        Mistake("不必再开方：Fréchet 距离习惯上报告平方的值。", lambda a, b: distance(a, b) ** 0.5),
        Mistake("标准差要用样本的估计（除以 n-1），和 torch.std 的默认一样。",
                lambda a, b: float((a.mean() - b.mean()) ** 2 + (a.std(unbiased=False) - b.std(unbiased=False)) ** 2)),
    ), "均值管“像不像”，标准差管“够不够多样”。许多维时，标准差换成协方差矩阵的平方根（第 15 章）。", "两项相加：均值之差的平方，标准差之差的平方。"),
    Choice("00.4", 1, "损失不动了", "B", {
        "A": "图还在变好，说明网络还在学，梯度没有消失；损失不动，是因为能再降的本来就只有一点点。",
        "C": "数据没有用完一说：每张图每一轮都配上新的 t 与新的噪声。",
        "D": "EMA 只是把权重平滑，它不改变训练的损失。",
    }, "损失里大部分是 x_t 里没有的信息：同一张 x_t 对得上许多张原图，谁也猜不出。样本的好坏藏在剩下的一点点里，所以要另用 Fréchet 距离来量（第 15 章）。"),
    Number("00.5", 2, "省了几倍", 20, {
        1000: "这是祖先采样调用网络的次数；题目问的是比值。",
        50: "这是 DDIM 调用网络的次数；题目问的是比值。",
        15.625: "不用再乘张数：两种采样的每一步都是一批 64 张一起算。",
        0.05: "反了：问的是祖先采样是 DDIM 的几倍。",
    }, "采样的时间几乎全花在网络上，步数少几倍，就快几倍。", "每走一步调用一次网络。"),
)
