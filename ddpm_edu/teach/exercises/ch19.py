"""第 19 章的习题：论文里的图"""
import math

import torch

from . import Choice, Code, Mistake, Number


def either_way(signal=lambda bar: bar**0.5, spread=lambda bar: (1 - bar) ** 0.5, swap=False):
    """改动一处，得到一种错的写法"""
    def function(x, guess, here, there):
        if swap:
            here, there = there, here
        noise = (x - signal(here) * guess) / spread(here)
        return signal(there) * guess + spread(there) * noise

    return function


ddim_either_way = either_way()


def forgetful(x, guess, here, there):
    return there**0.5 * guess + (1 - there) ** 0.5 * x


def step_cases():
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randn(2, 3, 1, 2, 2, generator=generator) for _ in range(2)]
    return [(*pairs[0], 0.3, 0.8), (*pairs[1], 0.9, 0.2)]


def bits_paid(terms):
    return (terms.sum() - terms.cumsum(0)[:-1]) / math.log(2)


def term_cases():
    return [(torch.tensor([0.5, 0.4, 0.2, 0.1, 0.05]),), (torch.tensor([0.1, 1.0, 0.3]).double(),)]


def decide(large, small, quantile):
    return deciding()(large, small, quantile)


def standard_error(large, small):
    return (large - small).std() / len(large) ** 0.5


def deciding(spread=standard_error, factor=lambda quantile: quantile, otherwise="看不出", negative="不成立", sign=1):
    """改动一处，得到一种错的写法；spread 是差的标准误，factor 是区间的一半等于几个标准误"""
    def function(large, small, quantile):
        mean, margin = sign * float((large - small).mean()), factor(quantile) * float(spread(large, small))
        return "成立" if mean > margin else negative if mean < -margin else otherwise

    return function


def unpaired(large, small):
    return ((large.var() + small.var()) / len(large)) ** 0.5


def seed_cases():
    """两边起伏相同而差很稳；全在零以下；差不到一个标准误；过了一个标准误，碰到零；刚好碰到零"""
    changes = ([2.0, 2.0, 3.0, 1.0], [-1.0, -1.1, -1.2], [0.2, -0.5, 0.6], [1.0, -0.5, 2.0, 0.3], [0.65, 1.0, 1.6])
    levels = torch.tensor([10.0, 20.0, 30.0, 40.0])
    return [(levels[:len(change)] + torch.tensor(change), levels[:len(change)].clone(), {3: 4.30, 4: 3.18}[len(change)]) for change in changes]


EXERCISES = (
    Code("19.1", 2, "两头都能走的一步", ddim_either_way, step_cases, (
        Mistake("出发处与到达处的 ᾱ 用反了：先由 here 求出噪声，再掺到 there。", either_way(swap=True)),
        Mistake("x0_hat 的系数是 √ᾱ，不是 ᾱ。", either_way(signal=lambda bar: bar)),
        Mistake("噪声的系数是 √(1-ᾱ)，不是 1-ᾱ。", either_way(spread=lambda bar: 1 - bar)),
        Mistake("x 里还有原图的那一份：先减去 √ᾱ·x0_hat，再除以 √(1-ᾱ)，才是噪声。", forgetful),
    ), "去噪与加噪是同一个式子，所以样本能还原成起点：表 2 量的就是这样走一来一回的误差。",
         "先由 x 与 guess 求出 ε_hat，再照 there 的 ᾱ 掺回去。"),
    Code("19.2", 2, "收到第 t 步时已付多少比特", bits_paid, term_cases, (
        Mistake("单位还是 nats；除以 ln 2 才是比特。", lambda terms: terms.sum() - terms.cumsum(0)[:-1]),
        Mistake("多算了一步：收到 x_t 时，第 t 步的 L_t 还没有付。", lambda terms: terms.flip(0).cumsum(0).flip(0)[:-1] / math.log(2)),
        Mistake("方向反了：从 x_T 收起，先付的是 L_T。", lambda terms: terms.cumsum(0)[:-1] / math.log(2)),
        Mistake("漏了 L_T：收到 x_T 也要付。", lambda terms: (terms[:-1].sum() - terms[:-1].cumsum(0)) / math.log(2)),
    ), "第 0 项再加 L_0，就是整条下界。", "第 t 项是 terms 里下标大于 t 的各项之和，除以 ln 2。"),
    Code("19.3", 3, "判一条结论", decide, seed_cases, (
        Mistake("你分别求了两边的标准误再合起来；要先逐个种子相减，再求差的标准误，两边共有的起伏才会抵消。", deciding(spread=unpaired)),
        Mistake("这是差的标准差；平均的标准误还要除以 √n。", deciding(spread=lambda large, small: (large - small).std())),
        Mistake("标准差要除以 n-1 再开方：种子少，差一点就会判错。",
                deciding(spread=lambda large, small: (large - small).std(unbiased=False) / len(large) ** 0.5)),
        Mistake("你只看一个标准误；区间的一半是 quantile 个标准误。", deciding(factor=lambda quantile: 1)),
        Mistake("你只看平均的正负，没有看区间碰不碰得到零。", deciding(factor=lambda quantile: 0)),
        Mistake("区间碰到零，次序定不下来：看不出，不是不成立。", deciding(otherwise="不成立")),
        Mistake("区间全在零以下，是 large 反而小：不成立，不是看不出。", deciding(negative="看不出")),
        Mistake("减反了：结论是 large 比 small 大，要用 large 减 small。", deciding(sign=-1)),
    ), "同样的几行，可以拿去判自己的任何一条“甲比乙好”。", "先逐个种子相减，求差的平均与标准误，再看 平均 ± quantile 个标准误 碰不碰得到零。"),
    Number("19.4", 1, "换算引导强度", 1.3, {
        0.3: "我们的 1 才是不引导；论文的 0 是不引导。",
        0.7: "有条件的那一项的系数是 1+w，不是 1-w。",
        -0.3: "无条件的那一项才带负号；s 是有条件那一项的系数。",
    }, "两种写法都叫引导强度，抄参数时要先问不引导写的是几。", "把 (1+w)·有 - w·无 写成 无 + s·(有 - 无)，求 s。"),
    Choice("19.5", 2, "能说什么", "C", {
        "A": "名字相同，特征不同：一个是 32 维的小分类器，一个是 2048 维的 Inception。",
        "B": "张数只是一样；特征与真图还是不同。",
        "D": "距离不与维数成正比，要看特征的方差与相关；没有这样的换算。",
    }, "要与论文比，就用同一份 Inception 的权重：命令行的 --inception，见 91 的“为什么我的 FID 对不上”。"),
)
