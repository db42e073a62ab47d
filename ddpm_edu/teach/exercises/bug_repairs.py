"""第 16 章的修复题；批改用与 tests/ 相同的神谕：闭式、黄金值、恒等式，或逐位的比较"""
import math

import numpy as np
import torch
from torch import nn

from ...gaussian import diffusion_tables
from ...lr_scheduler import LambdaLinearScheduler
from ...schedules import make_beta_schedule, rescale_linear_range
from ..bugs import formulas, training
from . import Code, Mistake
from .bug_loading_repairs import LOADING

# ---- 病例 1–3：噪声表、方差、权重 ----


def rescaled(timesteps):
    return make_beta_schedule("linear", timesteps, *rescale_linear_range(timesteps))


def scaling(low, high):
    """两端的 √β 乘上的倍数，写成 s = 1000/T 的函数"""
    return lambda T: np.linspace(1e-2 * low(1000 / T), 2e-2**0.5 * high(1000 / T), T) ** 2


def variance_table(betas):
    return torch.tensor(1 - np.cumprod(1 - betas), dtype=torch.float32)


def rounded_first(betas):
    return 1 - torch.tensor(np.cumprod(1 - betas), dtype=torch.float32)


def product_in_float32(betas):
    return (1 - torch.cumprod(torch.tensor(1 - betas, dtype=torch.float32), 0).double()).float()


def snr(betas):
    bar = np.cumprod(1 - betas)
    return bar / (1 - bar)


def true_x0_weights(betas):
    return diffusion_tables(betas, 0.0, "x0")["lvlb_weights"][1:]


def popular_fix(betas):
    bar = np.cumprod(1 - betas)
    return (0.5 * np.sqrt(bar) / (2 * (1 - bar)))[1:]


# ---- 病例 4、8、9：坏数、目标、截断 ----

def all_finite(weights):
    return bool(torch.isfinite(weights).all())


def weight_cases():
    tables = [1.0, 2.0], [1.0, math.nan], [math.inf, 2.0], [1.0, -math.inf], [math.nan] * 2, [math.nan, math.inf], [0.0, 3.0]
    return [(torch.tensor(table),) for table in tables]


def start_from(v=lambda a, x, v: a**0.5 * x - (1 - a) ** 0.5 * v, unknown=ValueError):
    def function(parameterization, model_out, x_t, bar):
        if parameterization == "v":
            return v(bar, x_t, model_out)
        if parameterization in ("eps", "x0"):
            return formulas.predict_start(parameterization, model_out, x_t, bar)
        if unknown:
            raise unknown(parameterization)
        return model_out

    return function


def start_cases():
    x = torch.tensor([0.5, -1.2, 0.9])
    return [(name, torch.tensor([0.3, 0.8, -0.4]), x, 0.36) for name in ("eps", "x0", "v", "epsilon")]


def clip_cases():
    return [(torch.tensor([-3.0, -0.5, 0.0, 0.7, 2.0]),)]


# ---- 病例 14：离开时换回来 ----

class Work:
    """在影子的权重下做的事：看一眼此刻的权重，或者出错"""

    def __init__(self, tensors, fails):
        self.tensors, self.fails = list(tensors), fails

    def __call__(self):
        if self.fails:
            raise ZeroDivisionError("里面出了错")
        return tuple(tensor.clone() for tensor in self.tensors)

    def __repr__(self):
        return "出错的 work" if self.fails else "work"


def scope_cases():
    def case(fails):
        weights = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}
        return weights, {"a": torch.tensor([5.0, 6.0]), "b": torch.tensor([7.0])}, Work(weights.values(), fails)

    return [case(False), case(True)]


def copy_in(weights, shadow):
    for name, tensor in weights.items():
        tensor.copy_(shadow[name])


def run_with_ema(weights, shadow, work):
    backup = {name: tensor.clone() for name, tensor in weights.items()}
    copy_in(weights, shadow)
    try:
        return work()
    finally:
        copy_in(weights, backup)


def without_finally(weights, shadow, work):
    backup = {name: tensor.clone() for name, tensor in weights.items()}
    copy_in(weights, shadow)
    result = work()
    copy_in(weights, backup)
    return result


def only_on_error(weights, shadow, work):
    backup = {name: tensor.clone() for name, tensor in weights.items()}
    copy_in(weights, shadow)
    try:
        return work()
    except Exception:
        copy_in(weights, backup)
        raise


def backup_without_clone(weights, shadow, work):
    backup = dict(weights)
    copy_in(weights, shadow)
    try:
        return work()
    finally:
        copy_in(weights, backup)


def rebound(weights, shadow, work):
    backup = dict(weights)
    weights.update(shadow)
    try:
        return work()
    finally:
        weights.update(backup)


def swallowing(weights, shadow, work):
    try:
        return run_with_ema(weights, shadow, work)
    except ZeroDivisionError:
        return None


# ---- 病例 15、17：学习率、权重衰减 ----

def multiplier(n, warm_up, length, start, low, high):
    return LambdaLinearScheduler([warm_up], [low], [high], [start], [length])(n) if n < length else low


def falling(fall, start=None, last=True):
    def function(n, warm_up, length, f_start, low, high):
        if n < warm_up:
            f_start = f_start if start is None else start
            return f_start + (high - f_start) * n / warm_up
        return low if last and n >= length else fall(n, warm_up, length, low, high)

    return function


def straight(n, W, L, low, high):
    return low + (high - low) * (L - n) / (L - W)


def bent(n, W, L, low, high):
    return low + (high - low) * (1 + math.cos(math.pi * (n - W) / (L - W))) / 2


def multiplier_cases():
    long = [(n, 100, 1000, 0.1, 0.01, 1.0) for n in (0, 50, 99, 100, 101, 550, 999, 1000, 5000)]
    return [*long, (0, 0, 10, 0.5, 0.0, 1.0), (5, 0, 10, 0.5, 0.0, 1.0), (10, 10, 10, 0.5, 0.2, 1.0)]


def decayed(rule):
    """要衰减的参数名，按字母次序"""
    return lambda model: sorted(name for name, p in model.named_parameters() if rule(name, p))


def decay_cases():
    named = nn.ModuleDict({"conv": nn.Conv2d(1, 4, 3), "norm": nn.GroupNorm(2, 4), "out": nn.Linear(4, 2), "old": nn.Linear(2, 2)})
    named.register_parameter("logvar", nn.Parameter(torch.zeros(5)))
    named["old"].requires_grad_(False)
    return [(named,), (nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.GroupNorm(2, 4)),)]


REPAIRS = (
    Code("16.1b", 2, "修好：短链也走到头", rescaled, lambda: [(1000,), (100,), (60,)], (
        Mistake("这还是原来的表：T=100 时 √ᾱ 只降到 0.70。步数少了几倍，每步的 β 就该大几倍。", formulas.make_betas),
        Mistake("倍数反了：步数越少，每一步要掺的噪声越多，是 1000/T，不是 T/1000。", scaling(lambda s: s**-0.5, lambda s: s**-0.5)),
        Mistake("你把 1000/T 乘在了 √β 上，平方之后成了 (1000/T)²；要乘在 β 上，或者在 √β 上乘它的平方根。", scaling(lambda s: s, lambda s: s)),
        Mistake("两端都要放大，你只放大了终点。", scaling(lambda s: 1.0, lambda s: s**0.5)),
        Mistake("linear 是 √β 均匀地变，不是 β 均匀地变：先对 √β 取等距的点，再平方。",
                lambda T: np.linspace(1e-4 * 1000 / T, 2e-2 * 1000 / T, T)),
    ), "√ᾱ 在终点又回到 0.03 上下。课程里的 rescale_linear_range 做的就是这件事。", "T=1000 时应当与原来的表相同。"),
    Code("16.2b", 2, "修好：一次舍入的方差", variance_table, lambda: [(np.linspace(1e-5, 1e-4, 5),), (np.linspace(3e-6, 2e-5, 8),)], (
        Mistake("你先把 ᾱ 舍入成 float32，再用 1 去减：两个几乎相等的数相减，误差放大了几千倍；之后再换成 float64 也找不回来。先减，再舍入。", rounded_first),
        Mistake("连乘已经在 float32 里做了：betas 是 float64，连乘与相减都留在 float64。", product_in_float32),
        Mistake("结果要换成 float32：缓冲区存的是它，最后舍入一次。", lambda betas: torch.tensor(1 - np.cumprod(1 - betas))),
        Mistake("这是 ᾱ，不是 1-ᾱ。", lambda betas: torch.tensor(np.cumprod(1 - betas), dtype=torch.float32)),
        Mistake("这是单步的 β，不是 1-ᾱ：方差要从头连乘到第 t 步。", lambda betas: torch.tensor(betas, dtype=torch.float32)),
    ), "float64 里算，末了舍入一次，相对误差不超过 6e-8。", "注意次序：连乘、相减、舍入。", rtol=1e-6),
    Code("16.3b", 3, "修好：首尾相消的权重", true_x0_weights, lambda: [(make_beta_schedule("linear", 1000),), (make_beta_schedule("cosine", 50),)], (
        Mistake("还是原来的公式：它在 t=1 处差了五千倍。从 KL 的系数 c₁²/(2σ²) 推。", lambda betas: formulas.x0_weights(betas)[1:]),
        Mistake("把分母改成 2(1-ᾱ) 是流行的修法，也不对：t=1 处差两倍，t=999 处差九百倍。", popular_fix),
        Mistake("这是目标为 ε 时的权重，还差一个信噪比：w_x0 = SNR·w_ε。", lambda betas: diffusion_tables(betas, 0.0, "eps")["lvlb_weights"][1:]),
        Mistake("少了二分之一：KL 里的平方误差除以 2σ²。", lambda betas: 2 * true_x0_weights(betas)),
        Mistake("符号反了：信噪比随 t 下降，权重是正的，是前一步减这一步。", lambda betas: -true_x0_weights(betas)),
        Mistake("多了一项：只要 t ≥ 1 的 T-1 个，第 0 步是解码项。", lambda betas: diffusion_tables(betas, 0.0, "x0")["lvlb_weights"]),
    ), "权重就是信噪比降幅的一半，所以加起来首尾相消。", "把 c₁ 与后验的方差代进 c₁²/(2σ²)，化简之后只剩相邻两步的信噪比。"),
    Code("16.4b", 1, "修好：查坏数", all_finite, weight_cases, (
        Mistake("这还是“全是 NaN 才拦”。一个 NaN 就足以毁掉整份权重。", formulas.is_usable),
        Mistake("无穷漏过去了：isnan 只认 NaN，isfinite 两样都认。", lambda w: not bool(torch.isnan(w).any())),
        Mistake("any 与 all 弄反了：有一个好数就放行，等于没查。", lambda w: bool(torch.isfinite(w).any())),
        Mistake("NaN 漏过去了：isinf 不认 NaN。", lambda w: not bool(torch.isinf(w).any())),
        Mistake("结论反了：能用时应当为真。", lambda w: not bool(torch.isfinite(w).all())),
    ), "要求“每一个都有限”，就是 isfinite(…).all()。"),
    Code("16.8b", 2, "修好：三种目标", start_from(), start_cases, (
        Mistake("v 的符号反了：x₀ = √ᾱ·x_t - √(1-ᾱ)·v。拿 v 的定义代进去验一验。", start_from(lambda a, x, v: a**0.5 * x + (1 - a) ** 0.5 * v)),
        Mistake("两个系数放反了：√ᾱ 乘 x_t，√(1-ᾱ) 乘 v。", start_from(lambda a, x, v: (1 - a) ** 0.5 * x - a**0.5 * v)),
        Mistake("这是由 v 换算的 ε，不是 x₀。", start_from(lambda a, x, v: (1 - a) ** 0.5 * x + a**0.5 * v)),
        Mistake("你把 v 当成了 ε 去换算。", start_from(lambda a, x, v: (x - (1 - a) ** 0.5 * v) / a**0.5)),
        Mistake("不认识的名字要当场 raise ValueError；放它过去，错误会在别处冒出来。", start_from(unknown=None)),
        Mistake("v 还是没有分支，程序照样停在没有赋值的变量上。", formulas.predict_start),
    ), "三种换算齐了，不认识的名字也在门口拦下。"),
    Code("16.9b", 1, "修好：截断不伤输入", lambda x_recon: x_recon.clamp(-1, 1), clip_cases, (
        Mistake("结尾带下划线的 clamp_ 就地改动了网络的输出；用 clamp，它返回新的张量。", lambda x_recon: x_recon.clamp_(-1, 1)),
        Mistake("像素在 [-1, 1]，你截到了 [0, 1]，暗的一半全没了。", lambda x_recon: x_recon.clamp(0, 1)),
        Mistake("只截了上端，下端也要截。", lambda x_recon: x_recon.clamp(max=1)),
        Mistake("tanh 连范围里面的值也改了；截断只动范围以外的。", torch.tanh),
    ), "别人给的张量只读不写，这类错就不会有。"),
    Code("16.14b", 3, "修好：无论怎样离开", run_with_ema, scope_cases, (
        Mistake("离开之后还是影子：要么没有换回来，要么备份里存的是同一批张量，copy_ 之后它也变成了影子（备份要 clone）。", backup_without_clone),
        Mistake("work() 出错时，后面的恢复没有执行，权重停在影子上；用 try … finally。", without_finally),
        Mistake("只在出错时换回来，正常返回时忘了；写在 finally 里，两种都管到。", only_on_error),
        Mistake("你换了字典里的张量，没有换张量里的数：优化器和网络手里还是旧的那一批。用 copy_。", rebound),
        Mistake("错误被吞掉了：换回权重之后，要让它照样抛出去。finally 不必写 except。", swallowing),
    ), "return、异常、停止键，finally 都拦得住；原来的权重逐位回来。", "先备份，再抄影子，然后 try … finally。"),
    Code("16.15b", 2, "修好：接得上的直线", multiplier, multiplier_cases, (
        Mistake("这还是原来的公式：从 length 起算，到热身终点已经降了一截。降的那一段只有 length - warm_up 步。", training.linear_multiplier),
        Mistake("过了 length 还在往下降，乘数变成负的，等于让权重往回走；到头之后停在 low。", falling(straight, last=False)),
        Mistake("降的那一段除以 length，到 length 时还没降到 low。",
                falling(lambda n, W, L, low, high: high + (low - high) * (n - W) / L)),
        Mistake("热身从 0 开始了，应当从 start 开始。", falling(straight, start=0.0)),
        Mistake("这是余弦，题目要直线。", falling(bent)),
    ), "在热身的终点接得上，到头之后有定义。", "写出两端的值检查：n = warm_up 时是 high，n ≥ length 时是 low。"),
    Code("16.17b", 2, "修好：谁该衰减", decayed(lambda name, p: p.requires_grad and p.ndim >= 2), decay_cases, (
        Mistake("只避开了偏置：归一化的缩放系数也叫 weight，却不该往 0 拉。看维数，不要看名字。",
                decayed(lambda name, p: p.requires_grad and not name.endswith("bias"))),
        Mistake("名字靠不住：归一化层在 Sequential 里叫 1.weight，logvar 也不带 norm。矩阵与卷积核是二维以上的，按维数分。",
                decayed(lambda name, p: p.requires_grad and not name.endswith("bias") and "norm" not in name)),
        Mistake("冻结的参数不交给优化器：requires_grad 为假的要去掉。", decayed(lambda name, p: p.ndim >= 2)),
        Mistake("反了：你列的是不该衰减的。", decayed(lambda name, p: p.requires_grad and p.ndim < 2)),
        Mistake("你把全部参数都列上了，与原来一样。", decayed(lambda name, p: True)),
    ), "一维的参数（偏置、归一化、logvar）不衰减，这也是 make_optimizer 的规矩。", "返回名字的列表，按字母次序。"),
    *LOADING,
)
