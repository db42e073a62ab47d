"""第 16 章里公式与训练的修复题；批改用与 tests/ 相同的标准答案：闭式、黄金值、恒等式，或逐位的比较"""
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ...ema import LitEma
from ...gaussian import diffusion_tables
from ...lr_scheduler import LambdaLinearScheduler
from ...schedules import make_beta_schedule, rescale_linear_range
from ..bugs import formulas, training
from . import Code, Mistake
from .bug_loading_repairs import LOADING

# ---- 公式：噪声表、方差、权重、目标、截断 ----


def rescaled(timesteps):
    return make_beta_schedule("linear", timesteps, *rescale_linear_range(timesteps))


def scaling(low, high):
    """两端的 √β 乘上的倍数，写成 s = 1000/T 的函数"""
    return lambda T: np.linspace(1e-2 * low(1000 / T), 2e-2**0.5 * high(1000 / T), T) ** 2


def variance_table(betas):
    return torch.tensor(1 - np.cumprod(1 - betas), dtype=torch.float16)


def product_in_half(betas):
    product, table = torch.tensor(1.0, dtype=torch.float16), []
    for alpha in torch.tensor(1 - betas, dtype=torch.float16):
        product = product * alpha
        table.append(1 - product.double())
    return torch.stack(table).half()


def true_x0_weights(betas):
    return diffusion_tables(betas, 0.0, "x0")["lvlb_weights"][1:]


def bracketed(betas):
    bar = np.cumprod(1 - betas)
    return (0.5 * np.sqrt(bar) / (2 * (1 - bar)))[1:]


def start_from(v=lambda a, x, v: a**0.5 * x - (1 - a) ** 0.5 * v, unknown=ValueError):
    def function(parameterization, model_out, x_t, bar):
        if parameterization == "v":
            return v(bar, x_t, model_out)
        if parameterization in ("eps", "x0"):
            return formulas.predict_start(parameterization, model_out, x_t, bar)
        if unknown:
            raise unknown(parameterization)
        return formulas.predict_start("eps", model_out, x_t, bar)

    return function


def start_cases():
    x = torch.tensor([0.5, -1.2, 0.9])
    return [(name, torch.tensor([0.3, 0.8, -0.4]), x, 0.36) for name in ("eps", "x0", "v", "epsilon")]


def clip_cases():
    return [(torch.tensor([-3.0, -0.5, 0.0, 0.7, 2.0]),)]


# ---- 训练：验证、EMA、作用域、学习率 ----

class Scale(nn.Module):
    """一个数乘上去的网络"""

    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x):
        return self.scale * x


def seeded_validation(reverse=False, twice=False, seeded=True):
    """定了种子的验证；参数是几种写错的办法"""
    @torch.no_grad()
    def function(model, images, seed):
        source = torch.Generator().manual_seed(seed if seeded else 7)
        draws = [lambda: torch.rand(len(images), 1, 1, 1, generator=source), lambda: torch.randn(images.shape, generator=source)]
        if reverse:
            noise, level = draws[1](), draws[0]()
        else:
            level = draws[0]()
            source = source.manual_seed(seed) if twice else source
            noise = draws[1]()
        noisy = (1 - level).sqrt() * images + level.sqrt() * noise
        return F.mse_loss(model(noisy), noise).item()

    return function


@torch.no_grad()
def unseeded_validation(model, images, seed):
    return training.validate(model, images)


def validation_cases():
    images = torch.linspace(-1, 1, 64).reshape(4, 1, 4, 4)
    return [(Scale(scale), images, seed) for scale in (0.5, 0.7) for seed in (0, 3)]


def training_with(tick):
    """训练一遍；tick(第几批, 满没满) 说 EMA 何时更新：before、after 或不更新"""
    def function(model, ema, batches, accumulate):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for i, (x, y) in enumerate(batches):
            (F.mse_loss(model(x), y) / accumulate).backward()
            full = (i + 1) % accumulate == 0
            when = tick(i + 1 == len(batches), full)
            if when == "before":
                ema(model)
            if full:
                optimizer.step()
                optimizer.zero_grad()
            if when == "after":
                ema(model)
        return ema

    return function


def training_cases():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        batches = [(torch.randn(8, 2), torch.randn(8, 1)) for _ in range(8)]
        models = [nn.Linear(2, 1) for _ in range(2)]
    return [(model, LitEma(model, decay=0.9), batches, accumulate) for model, accumulate in zip(models, (1, 4))]


def look_at_ema(ema):
    return {"更新的次数": int(ema.num_updates), **{name: shadow.detach() for name, shadow in ema.shadow.items()}}


def next_shadow(shadow, weight, decay):
    return torch.lerp(shadow, weight.float(), 1 - decay)


def shadow_cases():
    shadow, weight = torch.tensor([0.0, 1.0, -0.5]), torch.tensor([1.0, 0.3, 2.0])
    return [(shadow.clone(), weight.to(dtype), decay) for dtype in (torch.float32, torch.bfloat16) for decay in (0.9, 0.9999)]


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


REPAIRS = (
    Code("16.1b", 2, "动手修", rescaled, lambda: [(1000,), (100,), (60,)], (
        Mistake("这还是原来的表：T=100 时 √ᾱ 只降到 0.70。步数少了几倍，每步的 β 就该大几倍。", formulas.make_betas),
        Mistake("倍数反了：步数越少，每一步要掺的噪声越多，是 1000/T，不是 T/1000。", scaling(lambda s: s**-0.5, lambda s: s**-0.5)),
        Mistake("你把 1000/T 乘在了 √β 上，平方之后成了 (1000/T)²；要乘在 β 上，或者在 √β 上乘它的平方根。", scaling(lambda s: s, lambda s: s)),
        Mistake("两端都要放大，你只放大了终点。", scaling(lambda s: 1.0, lambda s: s**0.5)),
        Mistake("linear 是 √β 均匀地变，不是 β 均匀地变：先对 √β 取等距的点，再平方。",
                lambda T: np.linspace(1e-4 * 1000 / T, 2e-2 * 1000 / T, T)),
    ), "√ᾱ 在终点又回到 0.03 上下。课程里的 rescale_linear_range 做的就是这件事。", "T=1000 时应当与原来的表相同。"),
    Code("16.11b", 3, "动手修", true_x0_weights, lambda: [(make_beta_schedule("linear", 1000),), (make_beta_schedule("cosine", 50),)], (
        Mistake("还是原来的公式：它在 t=1 处差了五千倍。从 KL 的系数 c₁²/(2σ²) 推。", lambda betas: formulas.x0_weights(betas)[1:]),
        Mistake("把分母改成 2(1-ᾱ) 也不对：t=1 处是正确值的一半，t=100 处是 27 倍，t=999 处是九百倍。", bracketed),
        Mistake("这是目标为 ε 时的权重，还差一个信噪比：w_x0 = SNR·w_ε。", lambda betas: diffusion_tables(betas, 0.0, "eps")["lvlb_weights"][1:]),
        Mistake("少了二分之一：KL 里的平方误差除以 2σ²。", lambda betas: 2 * true_x0_weights(betas)),
        Mistake("符号反了：信噪比随 t 下降，权重是正的，是前一步减这一步。", lambda betas: -true_x0_weights(betas)),
        Mistake("多了一项：只要 t ≥ 1 的 T-1 个，第 0 步是解码项。", lambda betas: diffusion_tables(betas, 0.0, "x0")["lvlb_weights"]),
    ), "权重就是信噪比降幅的一半，所以加起来首尾相消。", "把 c₁ 与后验的方差代进 c₁²/(2σ²)，化简之后只剩相邻两步的信噪比。"),
    Code("16.2b", 2, "动手修", start_from(), start_cases, (
        Mistake("v 的符号反了：x₀ = √ᾱ·x_t - √(1-ᾱ)·v。拿 v 的定义代进去验一验。", start_from(lambda a, x, v: a**0.5 * x + (1 - a) ** 0.5 * v)),
        Mistake("两个系数放反了：√ᾱ 乘 x_t，√(1-ᾱ) 乘 v。", start_from(lambda a, x, v: (1 - a) ** 0.5 * x - a**0.5 * v)),
        Mistake("这是由 v 换算的 ε，不是 x₀。", start_from(lambda a, x, v: (1 - a) ** 0.5 * x + a**0.5 * v)),
        Mistake("你把 v 当成了 ε 去换算，和病例里一样。", start_from(lambda a, x, v: (x - (1 - a) ** 0.5 * v) / a**0.5)),
        Mistake("不认识的名字要当场 raise ValueError；放它过去，错误会在别处冒出来。", start_from(unknown=None)),
        Mistake("v 还是没有分支，不认识的名字也还是当成 ε。", formulas.predict_start),
    ), "三种换算齐了，不认识的名字当场报错。"),
    Code("16.12b", 1, "动手修", lambda x_recon: x_recon.clamp(-1, 1), clip_cases, (
        Mistake("结尾带下划线的 clamp_ 就地改动了网络的输出；用 clamp，它返回新的张量。", lambda x_recon: x_recon.clamp_(-1, 1)),
        Mistake("像素在 [-1, 1]，你截到了 [0, 1]，暗的一半全没了。", lambda x_recon: x_recon.clamp(0, 1)),
        Mistake("只截了上端，下端也要截。", lambda x_recon: x_recon.clamp(max=1)),
        Mistake("tanh 连范围里面的值也改了；截断只动范围以外的。", torch.tanh),
    ), "别人给的张量只读不写，这类错就不会有。"),
    Code("16.10b", 3, "动手修", run_with_ema, scope_cases, (
        Mistake("离开之后还是影子：要么没有换回来，要么备份里存的是同一批张量，copy_ 之后它也变成了影子（备份要 clone）。", backup_without_clone),
        Mistake("work() 出错时，后面的恢复没有执行，权重停在影子上；用 try … finally。", without_finally),
        Mistake("只在出错时换回来，正常返回时忘了；写在 finally 里，两种都管到。", only_on_error),
        Mistake("你换了字典里的张量，没有换张量里的数：优化器和网络手里还是旧的那一批。用 copy_。", rebound),
        Mistake("错误被吞掉了：换回权重之后，要让它照样抛出去。finally 不必写 except。", swallowing),
    ), "return、异常、停止键，finally 都拦得住；原来的权重逐位回来。", "先备份，再抄影子，然后 try … finally。"),
    Code("16.9b", 2, "动手修", multiplier, multiplier_cases, (
        Mistake("这还是原来的公式：从 length 起算，到热身终点已经降了一截。降的那一段只有 length - warm_up 步。", training.linear_multiplier),
        Mistake("过了 length 还在往下降，乘数变成负的，等于让权重往回走；到头之后停在 low。", falling(straight, last=False)),
        Mistake("降的那一段除以 length，到 length 时还没降到 low。",
                falling(lambda n, W, L, low, high: high + (low - high) * (n - W) / L)),
        Mistake("热身从 0 开始了，应当从 start 开始。", falling(straight, start=0.0)),
        Mistake("这是余弦，题目要直线。", falling(bent)),
    ), "在热身的终点接得上，到头之后有定义。", "写出两端的值检查：n = warm_up 时是 high，n ≥ length 时是 low。"),
    Code("16.3b", 2, "动手修", variance_table, lambda: [(make_beta_schedule("linear", 1000)[:40],), (np.linspace(2e-4, 4e-3, 12),)], (
        Mistake("你先把 ᾱ 舍入成 float16，再用 1 去减，头几步就成了 0；之后再换类型也找不回来。先减，再舍入。",
                lambda betas: formulas.noise_variances(betas, torch.float16)),
        Mistake("连乘已经在 float16 里做了：betas 是 float64，连乘与相减都留在 float64。", product_in_half),
        Mistake("结果要换成 float16：题目要的是半精度的表，最后舍入一次。", lambda betas: torch.tensor(1 - np.cumprod(1 - betas))),
        Mistake("这是 ᾱ，不是 1-ᾱ。", lambda betas: torch.tensor(np.cumprod(1 - betas), dtype=torch.float16)),
        Mistake("这是单步的 β，不是 1-ᾱ：方差要从头连乘到第 t 步。", lambda betas: torch.tensor(betas, dtype=torch.float16)),
    ), "float64 里算，最后舍入一次，相对误差不超过 0.05%。", "注意次序：连乘、相减、舍入。", rtol=2e-3),
    Code("16.6b", 2, "动手修", seeded_validation(), validation_cases, (
        Mistake("还是没有定种子：每次调用各抽各的。", unseeded_validation),
        Mistake("先抽 level，再抽 noise；次序反了，数就不同。", seeded_validation(reverse=True)),
        Mistake("level 与 noise 用了同一个种子各抽一次，两者就不独立了：一个生成器，先后抽两次。", seeded_validation(twice=True)),
        Mistake("种子写死了，不管 seed 是几都一样。", seeded_validation(seeded=False)),
    ), "同一个 seed，两份权重看到同样的 t 与噪声，差别就只来自权重。", "generator = torch.Generator().manual_seed(seed)，交给 torch.rand 与 torch.randn。"),
    Code("16.7b", 2, "动手修", training_with(lambda last, full: "after" if full else None), training_cases, (
        Mistake("EMA 还是每一批更新一次；它应当跟着优化器，放进 if 里面。", training_with(lambda last, full: "after")),
        Mistake("EMA 更新在优化器之前，影子看到的是上一次的权重。", training_with(lambda last, full: "before" if full else None)),
        Mistake("只在末尾更新了一次；权重每更新一次，影子就要更新一次。", training_with(lambda last, full: "after" if last else None)),
    ), "权重更新几次，影子就更新几次。", observe=look_at_ema),
    Code("16.8b", 2, "动手修", next_shadow, shadow_cases, (
        Mistake("影子降成了权重的类型：bf16 只有 8 位有效数字（二进制），小的更新一加就被舍掉。把权重升成 float32，不要把影子降下来。",
                lambda shadow, weight, decay: torch.lerp(shadow.type_as(weight), weight, 1 - decay)),
        Mistake("算完再升回 float32 也晚了，中间已经舍入过。",
                lambda shadow, weight, decay: torch.lerp(shadow.type_as(weight), weight, 1 - decay).float()),
        Mistake("系数反了：权重占 1-decay，影子占 decay。", lambda shadow, weight, decay: torch.lerp(shadow, weight.float(), decay)),
        Mistake("影子没有变：更新的结果要返回。", lambda shadow, weight, decay: shadow),
    ), "影子一直是 float32，权重先升上来再平均。"),
    *LOADING,
)
