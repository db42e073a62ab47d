"""第 6 章的习题：损失与权重"""
import numpy as np
import torch

from ...gaussian import diffusion_tables
from ...likelihood import discretized_gaussian_nll
from ...schedules import alphas_cumprod, make_beta_schedule
from . import Choice, Code, Mistake, Number


def weighted_loss(weights, t, model_out, target):
    per_sample = ((model_out - target) ** 2).flatten(1).mean(1)
    return (weights[t] * per_sample).mean()


def loss_cases():
    generator = torch.Generator().manual_seed(0)

    def case(t, *shape):
        return torch.tensor([4.0, 1.0, 0.5, 0.1]), torch.tensor(t), *torch.randn(2, *shape, generator=generator)

    # 第一组的批量与宽度相同：权重忘了变形，也能悄悄广播过去
    return [case([3, 0, 0], 3, 1, 2, 3), case([1, 2], 2, 5)]


def squares(model_out, target):
    return (model_out - target) ** 2


def eps_weights(betas, v):
    return diffusion_tables(betas, v, "eps")["lvlb_weights"][1:]


def beta_cases():
    return [(np.array([0.1, 0.2, 0.4, 0.7]), 0.0), (np.array([0.1, 0.2, 0.4, 0.7]), 1.0), (make_beta_schedule("cosine", 6), 0.3)]


def weighing(formula, mix=lambda v, tilde, beta: (1 - v) * tilde + v * beta):
    """formula(β, σ², α, ᾱ) 是一种错的权重，mix 是混合方差的办法"""
    def function(betas, v):
        cumprod, previous = alphas_cumprod(betas)
        tilde = betas * (1 - previous) / (1 - cumprod)
        values = betas, mix(v, tilde, betas), 1 - betas, cumprod
        return formula(*(value[1:] for value in values))

    return function


def right_weight(beta, variance, alpha, bar):
    return beta**2 / (2 * variance * alpha * (1 - bar))


def pixel_nll(x, mean, sigma, levels):
    return discretized_gaussian_nll(x, mean, 2 * float(np.log(sigma)), levels)


def pixel_cases():
    def case(x, mean, *rest):
        return torch.tensor(x, dtype=torch.float64), torch.tensor(mean, dtype=torch.float64), *rest

    # 最后一组离得很远，两边都有：在均值右侧的要翻到左尾才减得出来，左侧的不能翻
    return [case([-1.0, 0.0, 0.5, 1.0], [-0.8, 0.1, 0.3, 0.6], 0.4, 5), case([-1.0, 0.6, 1.0], [-1.3, 0.5, 1.2], 0.1, 11),
            case([0.5, 1.0, -0.5], [-0.5, -0.3, 0.5], 0.05, 17)]


def normal_cdf(z):
    return 0.5 * torch.erfc(-z / 2**0.5)


def never(lower):
    return torch.zeros_like(lower, dtype=torch.bool)


def cell(half=lambda levels: 1 / (levels - 1), open_ends=True, flip=lambda lower: lower > 0, floor=0.0):
    """改动格子的半宽、两端或相减的办法，得到一种错的写法"""
    def function(x, mean, sigma, levels):
        width = half(levels)
        upper, lower = (x - mean + width) / sigma, (x - mean - width) / sigma
        if open_ends:
            upper = torch.where(x > 1 - 1e-6, torch.inf, upper)
            lower = torch.where(x < -1 + 1e-6, -torch.inf, lower)
        turned = flip(lower)
        upper, lower = torch.where(turned, -lower, upper), torch.where(turned, -upper, lower)
        return -torch.log((normal_cdf(upper) - normal_cdf(lower)).clamp(min=floor))

    return function


def density(x, mean, sigma, levels):
    return -torch.distributions.Normal(mean, sigma).log_prob(x)


EXERCISES = (
    Code("06.1", 1, "加权的均方误差", weighted_loss, loss_cases, (
        Mistake("权重要先乘到各个样本自己的误差上，再求平均。样本之间的差别没有了：你先把误差平均成了一个数，"
                "或者误差的形状是 (B, 1)，与 (B,) 相乘成了 (B, B)。",
                lambda weights, t, a, b: (weights[t] * squares(a, b).mean()).mean()),
        Mistake("weights[t] 的形状是 (B,)，直接乘上去会对着最后一维广播。批量恰好等于宽度时也不报错，权重却给错了对象。",
                lambda weights, t, a, b: (weights[t] * squares(a, b)).mean()),
        Mistake("你在第 1、2、3 维上求平均，输入不是四维就出错；参考实现也错在这里。用 flatten(1)。",
                lambda weights, t, a, b: (weights[t] * squares(a, b).mean(dim=(1, 2, 3))).mean()),
        Mistake("每个样本内要求平均，你求了和；损失会随像素的个数变大。", lambda weights, t, a, b: (weights[t] * squares(a, b).flatten(1).sum(1)).mean()),
        Mistake("权重没有用上：每个样本要乘 weights[t]。", lambda weights, t, a, b: squares(a, b).mean()),
        Mistake("VLB 讲的是平方误差，你用了绝对值；参考实现的 l1 也错在这里。",
                lambda weights, t, a, b: (weights[t] * (a - b).abs().flatten(1).mean(1)).mean()),
        Mistake("除以的是 B，不是权重之和：权重本来就不必加起来等于 1。",
                lambda weights, t, a, b: (weights[t] * squares(a, b).flatten(1).mean(1)).sum() / weights[t].sum()),
    ), "p_losses 里的 loss_vlb 就是它。", "先得到每个样本的平均误差，形状 (B,)；再乘权重；最后对这一批求平均。"),
    Code("06.2", 2, "任意 v_posterior 的权重", eps_weights, beta_cases, (
        Mistake("分母里的是 σ²，不是 σ：高斯的对数密度里除以的是方差。",
                weighing(lambda beta, variance, alpha, bar: right_weight(beta, variance**0.5, alpha, bar))),
        Mistake("混合的是方差，不是标准差：σ² = (1-v)·β̃ + v·β。",
                weighing(right_weight, lambda v, tilde, beta: ((1 - v) * tilde**0.5 + v * beta**0.5) ** 2)),
        Mistake("v 放反了：v=0 是 β̃，v=1 是 β。", weighing(right_weight, lambda v, tilde, beta: v * tilde + (1 - v) * beta)),
        Mistake("你没有用到 v：σ² 一直取了 β̃。", weighing(right_weight, lambda v, tilde, beta: tilde)),
        Mistake("这是 x0 的权重；误差换算到 ε 上，还要除以信噪比。",
                weighing(lambda beta, variance, alpha, bar: right_weight(beta, variance, alpha, bar) * bar / (1 - bar))),
        Mistake("分母里的 α 是单步的 α_t = 1-β_t，你用了连乘的 ᾱ_t。",
                weighing(lambda beta, variance, alpha, bar: right_weight(beta, variance, bar, bar))),
        Mistake("分母里还有单步的 α_t：c₁² 里的 ᾱ_{t-1}，除以换算成 ε 时的 ᾱ_t，剩下 1/α_t。",
                weighing(lambda beta, variance, alpha, bar: right_weight(beta, variance, alpha, bar) * alpha)),
        Mistake("少了二分之一：KL 里的平方项是除以 2σ²。", weighing(lambda *values: 2 * right_weight(*values))),
        Mistake("分子是 β 的平方：它来自 c₁²。", weighing(lambda beta, *values: right_weight(beta, *values) / beta)),
    ), "论文的式 (12)，加上任意的方差。v=1 时化简成 β/(2α(1-ᾱ))。", "先写出 β̃，再混合出 σ²，最后代第 3 节的公式；第 0 步不要。"),
    Code("06.3", 3, "一格的概率", pixel_nll, pixel_cases, (
        Mistake("相邻两级相隔 2/(levels-1)，你把它当成了半宽：格子互相重叠，概率之和约为 2。", cell(half=lambda levels: 2 / (levels - 1))),
        Mistake("两端隔着 levels-1 格，不是 levels 格：半宽是 1/(levels-1)。", cell(half=lambda levels: 1 / levels)),
        Mistake("两端的格子要开到无穷，否则所有格子的概率之和不到 1。", cell(open_ends=False)),
        Mistake("离得远时，两个都接近 1 的数相减，得到 0，取对数成了无穷。"
                "把右尾翻到左尾再减：Φ(u)-Φ(l) = Φ(-l)-Φ(-u)；左尾要用 erfc 算，torch.special.ndtr 在那里也不准。", cell(flip=never)),
        Mistake("你把所有的格子都翻了：左尾翻到右边，减出来又是 0。只翻整格都在均值右侧的（lower > 0），逐个判断。",
                cell(flip=lambda lower: ~never(lower))),
        Mistake("clamp 只是拿一个常数顶替了真正的概率；离得远时，要把右尾翻到左尾再减，才减得出来。", cell(flip=never, floor=1e-12)),
        Mistake("2/(levels-1) 是整格的宽，半宽是 1/(levels-1)；你又多除了一次 2。", cell(half=lambda levels: 0.5 / (levels - 1))),
        Mistake("两端要开到无穷；离得远时，还要把右尾翻到左尾再减。", cell(open_ends=False, flip=never)),
        Mistake("你用了密度。一格的概率是密度在这一格里的面积，要用分布函数 Φ 相减。", density),
    ), "程序包里的 discretized_gaussian_nll 还多走一步：在对数里相减，离得再远也不下溢。",
         "先写 upper 与 lower，再处理两端，再处理右尾。", rtol=1e-6),
    Choice("06.4", 2, "像素有几级", "D", {
        "A": "levels 只出现在 L_0 里；中间各步的 KL 比较的是两个高斯，与像素有几级无关。",
        "B": "级数多，格子就窄，落进一格的概率只会变小，L_0 变大。",
        "C": "就是同一批图。255 不是 16 的倍数，这些像素多半不在 256 级的位置上；概率还分给了永远不会出现的值。",
    }, "17 级时 L_0 几乎为 0，换成 256 级约 1.2 比特：多付的全是“指明落在哪个窄格里”的钱，而答案只有 17 种。"),
    Number("06.5", 3, "方差换成 β̃", 0.685941, {
        0.473874: "漏了第 0 步：那里的方差从 β_0 换成了 β̃_1，也要付代价。",
        0.475458: "单位是 nats，还要除以 ln 2。",
        0.328464: "漏了第 0 步，单位也还是 nats。",
        0.352649: "你把 kl_constants 加了起来：它量的是 σ² 取 β、真实的方差是 β̃ 时的代价；这里正好反过来。",
        2.733037: "这是下界本身，题目问的是高出熵多少。",
        1.371882: "少了二分之一。",
        0.685410: "漏了起点的代价 L_T：链只走到 ᾱ 很小，没有走到 0，它约 5·10⁻⁴。",
    }, "去噪器完美，也要付“方差说错了”的代价：每一步是 ½(r-1-ln r)，r 是真实的方差与所用的方差之比，即 β_t/β̃_t。",
           "仿照第 6 节：写出 v=0 时每一步 KL 的平均、L_0 与 L_T，加起来，再减去熵。", rtol=1e-4),
)
