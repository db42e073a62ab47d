"""第 7 章的习题：采样"""
import torch

from ...sampling import ddim_step
from . import Choice, Code, Mistake, Number


def network(x, t, label):
    """代替网络：看 x、t 和类别，-1 是“无条件”"""
    shape = -1, *[1] * (x.ndim - 1)
    return torch.tanh(x) * (1 + 0.01 * t.reshape(shape)) + 0.3 * (label.reshape(shape) + 1)


def guiding(combine=lambda c, u, w: u + w * (c - u), null=-1):
    def function(network, x, t, label, w):
        conditional, unconditional = network(x, t, label), network(x, t, torch.full_like(label, null))
        return combine(conditional, unconditional, w)

    return function


def guidance_cases():
    generator = torch.Generator().manual_seed(0)
    return [(network, torch.randn(3, 1, 2, 2, generator=generator), torch.tensor([9, 5, 0]), torch.tensor([3, 0, 7]), w) for w in (3.0, 0.5)]


def ddim(x_t, eps, a_t, a_s, eta, z):
    a, b, sigma = ddim_step(a_t, a_s, eta)
    return a * (x_t - (1 - a_t) ** 0.5 * eps) / a_t**0.5 + b * x_t + sigma * z


def step_cases():
    x_t, eps, z = torch.randn(3, 2, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    return [(x_t, eps, *numbers, z) for numbers in ((0.3, 0.6, 0.0), (0.3, 0.4, 1.0), (0.8, 0.95, 0.5))]


def sigma_of(a_t, a_s, eta):
    return ddim_step(a_t, a_s, eta)[2]


def stepping(start=lambda x, e, a: (x - (1 - a) ** 0.5 * e) / a**0.5, sigma=sigma_of, spread=lambda a_t, a_s, s: (1 - a_s - s**2) ** 0.5,
             scale=lambda a_t, a_s: a_s**0.5, noise=lambda s, z: s * z):
    """改动公式的一处，得到一种错的写法"""
    def function(x_t, eps, a_t, a_s, eta, z):
        s = sigma(a_t, a_s, eta)
        return scale(a_t, a_s) * start(x_t, eps, a_t) + spread(a_t, a_s, s) * eps + noise(s, z)

    return function


def noise_to_signal(a):
    return ((1 - a) / a) ** 0.5


def euler(x_t, eps, a_t, a_s):
    return a_s**0.5 * (x_t / a_t**0.5 + (noise_to_signal(a_s) - noise_to_signal(a_t)) * eps)


def heun(eps_of, x_t, a_t, a_s):
    first = eps_of(x_t, a_t)
    return euler(x_t, (first + eps_of(euler(x_t, first, a_t, a_s), a_s)) / 2, a_t, a_s)


def two_groups(x, a):
    """代替网络：数据是 ±1 两个点时的最优猜测，用 ᾱ 代替 t"""
    return (x - a**0.5 * torch.tanh(a**0.5 * x / (1 - a))) / (1 - a) ** 0.5


def heun_cases():
    x_t = torch.randn(2, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    return [(two_groups, x_t, a_t, a_s) for a_t, a_s in ((0.3, 0.6), (0.1, 0.5), (0.6, 0.9))]


def heuning(second, average=lambda first, then: (first + then) / 2):
    """second(eps_of, x_t, 走到的点, a_t, a_s) 是第二次猜测"""
    def function(eps_of, x_t, a_t, a_s):
        first = eps_of(x_t, a_t)
        return euler(x_t, average(first, second(eps_of, x_t, euler(x_t, first, a_t, a_s), a_t, a_s)), a_t, a_s)

    return function


def right_second(eps_of, x_t, reached, a_t, a_s):
    return eps_of(reached, a_s)


def goes_on_from_the_reached_point(eps_of, x_t, a_t, a_s):
    first = eps_of(x_t, a_t)
    reached = euler(x_t, first, a_t, a_s)
    return euler(reached, (first + eps_of(reached, a_s)) / 2, a_t, a_s)


def half_updated(eps_of, x_t, a_t, a_s):
    first = eps_of(x_t, a_t)
    x_recon = (x_t - (1 - a_t) ** 0.5 * first) / a_t**0.5
    return a_s**0.5 * x_recon + (1 - a_s) ** 0.5 * (first + eps_of(euler(x_t, first, a_t, a_s), a_s)) / 2


def unscaled(eps_of, x_t, a_t, a_s):
    def plain(eps):
        return x_t + (noise_to_signal(a_s) - noise_to_signal(a_t)) * eps

    first = eps_of(x_t, a_t)
    return plain((first + eps_of(plain(first), a_s)) / 2)


EXERCISES = (
    Code("07.1", 1, "引导", guiding(), guidance_cases, (
        Mistake("起点应当是无条件的输出：w=0 时要恰好等于它。你从有条件的出发，等于把 w 加了 1。", guiding(lambda c, u, w: c + w * (c - u))),
        Mistake("有条件与无条件放反了：放大的方向是从无条件走向有条件。", guiding(lambda c, u, w: c + w * (u - c))),
        Mistake("“无条件”的类别是 -1；你用了 0，那是真的一类，数字 0。", guiding(null=0)),
        Mistake("少了无条件那一份：差放大之后，要加回无条件的输出。", guiding(lambda c, u, w: w * (c - u))),
        Mistake("系数之和应当是 1：w 与 1-w，不是 w 与 1。", guiding(lambda c, u, w: u + w * c)),
        Mistake("w 没有用上：这是不加引导的输出。", guiding(lambda c, u, w: c)),
    ), "guided_output 就是它；w=1 时无条件的部分约掉，所以那时只算一次网络。", "w=0 应当得到无条件的输出，w=1 应当得到有条件的。"),
    Code("07.2", 2, "DDIM 的一步", ddim, step_cases, (
        Mistake("方向那一项的系数要扣掉 σ²：√(1-ᾱ_s-σ²)，否则掺了新噪声之后，方差就超过 1-ᾱ_s 了。",
                stepping(spread=lambda a_t, a_s, s: (1 - a_s) ** 0.5)),
        Mistake("方向那一项是要走到的那一步：用 ᾱ_s，你用了 ᾱ_t。", stepping(spread=lambda a_t, a_s, s: (1 - a_t - s**2) ** 0.5)),
        Mistake("x̂₀ 前面的系数是 √ᾱ_s，你用了 √ᾱ_t：图的份额没有变，等于没走。", stepping(scale=lambda a_t, a_s: a_t**0.5)),
        Mistake("换算 x̂₀ 时忘了除以 √ᾱ_t。", stepping(start=lambda x, e, a: x - (1 - a) ** 0.5 * e)),
        Mistake("σ 忘了乘 η：η=0 时应当一点噪声也不掺。", stepping(sigma=lambda a_t, a_s, eta: sigma_of(a_t, a_s, 1.0))),
        Mistake("σ² 是短链的 β̃，你用的 1-ᾱ_t/ᾱ_s 是短链的 β；还要乘 (1-ᾱ_s)/(1-ᾱ_t)。",
                stepping(sigma=lambda a_t, a_s, eta: eta * (1 - a_t / a_s) ** 0.5)),
        Mistake("你算的是 σ²：乘在 z 上的、从 1-ᾱ_s 里平方之后扣掉的，都是开过平方的 σ。",
                stepping(sigma=lambda a_t, a_s, eta: sigma_of(a_t, a_s, eta) ** 2)),
        Mistake("新噪声 σz 没有加。", stepping(noise=lambda s, z: 0.0)),
    ), "把 ε̂ 写成 x_t 与 x̂₀，合并同类项，就是 ddim_step 的三个数。",
        "先由 x_t 与 ε̂ 换算出 x̂₀，再算 σ，最后把三项加起来。得到复数时，多半是根号里的 ᾱ_t 与 ᾱ_s 放反了。"),
    Code("07.3", 3, "多看一眼再走", heun, heun_cases, (
        Mistake("你只走了欧拉法的一步：还要在走到的地方再猜一次，两次的猜测取平均。", lambda eps_of, x_t, a_t, a_s: euler(x_t, eps_of(x_t, a_t), a_t, a_s)),
        Mistake("第二次猜测要换成 ᾱ_s：走到的地方，噪声是那一步的。", heuning(lambda eps_of, x, reached, a_t, a_s: eps_of(reached, a_t))),
        Mistake("第二次猜测要在走到的点上，你还站在 x_t。", heuning(lambda eps_of, x, reached, a_t, a_s: eps_of(x, a_s))),
        Mistake("你只用了第二次的猜测；要与第一次的取平均。", heuning(right_second, lambda first, then: then)),
        Mistake("两次的猜测加起来之后，忘了除以 2。", heuning(right_second, lambda first, then: first + then)),
        Mistake("x̂₀ 也要用平均的猜测重新换算；你只换了 ε̂ 那一项，两者不再对应同一个 x_t。", half_updated),
        Mistake("走到的点只是用来猜第二次的；真正的一步还要从 x_t 出发，你从走到的点又走了一步。", goes_on_from_the_reached_point),
        Mistake("走直线的是 x/√ᾱ，不是 x：先除以 √ᾱ_t，走完再乘 √ᾱ_s。", unscaled),
    ), "误差从与步数成反比，变成与步数的平方成反比；代价是每步算两次网络。最后一步 ᾱ_s=1，第二次没法猜，照旧走直线。",
         "分三步：用欧拉法走到一个点；在那里猜第二次；从 x_t 出发，用平均的猜测重走。"),
    Choice("07.4", 1, "五步里的噪声", "B", {
        "A": "最后一步的 ᾱ_s = 1，σ = 0，什么也不掺。",
        "C": "代入真的 x_0 时，任何 η 都保住 q(x_s|x_0)，第 2 节证明过。",
        "D": "反过来：步子越大，ᾱ_t/ᾱ_s 越小，σ 越大。",
    }, "走一步，少掉的方差正比于 a²（第 3 节）；5 步时，中间两步 η=1 的 a² 约是 η=0 的两倍，高斯例子里方差只剩真值的 0.37，η=0 还有 0.45。"),
    Number("07.5", 2, "引导三倍", 0.1, {
        0.25: "引导之后，分布变窄了。",
        0.08333: "只把 p(x|c) 乘了三次方，还要除以 p(x) 的平方：p(x)·p(c|x)³ = p(x|c)³/p(x)²。",
        0.076923: "你把 p(x|c) 当成了 p(c|x)，p(x) 就多乘了三次；先除掉它。",
        10: "这是方差的倒数（精度）。",
        0.316228: "这是标准差，题目问方差。",
        1.2: "这是均值，题目问方差。",
    }, "精度是 3×4-2×1 = 10，均值是 1.2。照引导的猜测（η=0，步子无限小）走到底，却得到均值 1.5、方差 0.25³ ≈ 0.016：它给的是方向，不是保证，这里更集中。",
           "把三个高斯的对数密度写成 x 的二次式，只看 x² 前面的系数。"),
)
