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


def pair_distance(groups):
    return (2 * groups.var(1)).mean().sqrt()


def group_cases():
    generator = torch.Generator().manual_seed(3)
    return [(torch.randn(3, 4, 5, generator=generator) * torch.tensor([1.0, 2.0, 0.5]).reshape(3, 1, 1),), (torch.rand(2, 3, 2, generator=generator).double(),)]


EXERCISES = (
    Code("19.1", 2, "两头都能走的一步", ddim_either_way, step_cases, (
        Mistake("出发处与到达处的 ᾱ 用反了：先由 here 求出噪声，再掺到 there。", either_way(swap=True)),
        Mistake("x0_hat 的系数是 √ᾱ，不是 ᾱ。", either_way(signal=lambda bar: bar)),
        Mistake("噪声的系数是 √(1-ᾱ)，不是 1-ᾱ。", either_way(spread=lambda bar: 1 - bar)),
        Mistake("x 里还有原图的那一份：先减去 √ᾱ·x0_hat，再除以 √(1-ᾱ)，才是噪声。", forgetful),
    ), "去噪与加噪是同一个式子，所以样本能还原成起点：表 2 量的就是这样走一来一回的误差。",
         "先由 x 与 guess 求出 ε_hat，再照 there 的 ᾱ 掺回去。"),
    Code("19.2", 2, "收到第 t 步时付了多少", bits_paid, term_cases, (
        Mistake("单位还是 nats；除以 ln 2 才是比特。", lambda terms: terms.sum() - terms.cumsum(0)[:-1]),
        Mistake("多算了一步：收到 x_t 时，第 t 步的 L_t 还没有付。", lambda terms: terms.flip(0).cumsum(0).flip(0)[:-1] / math.log(2)),
        Mistake("方向反了：从 x_T 收起，先付的是 L_T。", lambda terms: terms.cumsum(0)[:-1] / math.log(2)),
        Mistake("漏了 L_T：收到 x_T 也要付。", lambda terms: (terms[:-1].sum() - terms[:-1].cumsum(0)) / math.log(2)),
    ), "第 0 项再加 L_0，就是整条下界。", "第 t 项是 terms 里下标大于 t 的各项之和，除以 ln 2。"),
    Code("19.3", 3, "两两相差", pair_distance, group_cases, (
        Mistake("自己与自己的差是 0，不该算进平均：除以 k(k-1) 对，不是 k² 对。", lambda groups: (2 * groups.var(1, unbiased=False)).mean().sqrt()),
        Mistake("这是各离组平均多远；两个样本之差的方差是它的两倍。", lambda groups: groups.var(1).mean().sqrt()),
        Mistake("忘了开方：问的是均方根，不是均方。", lambda groups: (2 * groups.var(1)).mean()),
        Mistake("先对各组开方再平均了；要先平均，最后开方。", lambda groups: (2 * groups.var(1)).mean(1).sqrt().mean()),
        Mistake("把不同组的样本也比了；只比同一组里的。", lambda groups: (2 * groups.flatten(0, 1).var(0)).mean().sqrt()),
    ), "不必真的两两相减：独立的两个样本之差，方差是各自的两倍，一次 var 就够。", "样本方差（除以 k-1）乘二，恰是两两之差的平方的平均。"),
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
