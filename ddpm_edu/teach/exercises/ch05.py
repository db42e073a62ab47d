"""第 5 章的习题：参数化"""
import torch

from ...sampling import ddim_step
from . import Choice, Code, Mistake, Number


def from_v(x_t, v, bar):
    cos, sin = bar.sqrt(), (1 - bar).sqrt()
    return cos * x_t - sin * v, sin * x_t + cos * v


def pair_of(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def batch_cases():
    # ᾱ 每个样本各有各的；第二组不是四维
    return [(*pair_of((3, 1, 2, 3), 0), torch.tensor([0.9, 0.5, 0.1]).reshape(3, 1, 1, 1)), (*pair_of((2, 4), 1), torch.tensor([[0.7], [0.2]]))]


def turning(cos=lambda a: a.sqrt(), sin=lambda a: (1 - a).sqrt(), order=lambda x0, eps: (x0, eps), sign=1):
    """改动旋转的一处，得到一种错的写法"""
    return lambda x_t, v, bar: order(cos(bar) * x_t - sign * sin(bar) * v, sign * sin(bar) * x_t + cos(bar) * v)


def rotate(x_t, v, bar_t, bar_prev):
    a, b, _ = ddim_step(bar_t, bar_prev)
    return a * from_v(x_t, v, torch.tensor(bar_t))[0] + b * x_t


def step_cases():
    return [(*pair_of((2, 1, 2, 3), 2), 0.3, 0.5), (*pair_of((4,), 3), 0.9, 1.0)]


def mixing(formula):
    """由 x₀、ε、x_t 与两个 ᾱ 拼出一步"""
    def function(x_t, v, bar_t, bar_prev):
        return formula(*from_v(x_t, v, torch.tensor(bar_t)), x_t, bar_t, bar_prev)

    return function


def by_angle(angle=lambda a: torch.tensor(a).sqrt().acos(), sign=1):
    def function(x_t, v, bar_t, bar_prev):
        delta = angle(bar_t) - angle(bar_prev)
        return delta.cos() * x_t - sign * delta.sin() * v

    return function


def edm_target(x_start, noise, bar, s, skip=lambda a, s: a.sqrt() * s**2 / (a * s**2 + 1 - a),
               scale=lambda a, s: s * ((1 - a) / (a * s**2 + 1 - a)).sqrt()):
    x_t = bar.sqrt() * x_start + (1 - bar).sqrt() * noise
    return (x_start - skip(bar, s) * x_t) / scale(bar, s)


def edm_cases():
    return [(*case, s) for case, s in zip(batch_cases(), (0.5, 2.0))]


def targeting(**changes):
    return lambda x_start, noise, bar, s: edm_target(x_start, noise, bar, s, **changes)


EXERCISES = (
    Code("05.1", 1, "由 v 换回 x₀ 与 ε", from_v, batch_cases, (
        Mistake("转反了方向：这是由 (x₀, ε) 造 (x_t, v) 的那次旋转。换回来要反着转，两处正负号都要换。", turning(sign=-1)),
        Mistake("两个系数都要开平方：cos φ = √ᾱ_t，sin φ = √(1-ᾱ_t)。", turning(lambda a: a, lambda a: 1 - a)),
        Mistake("次序反了：先 x₀，后 ε。", turning(order=lambda x0, eps: (eps, x0))),
        Mistake("cos 与 sin 用反了：√ᾱ_t 是 cos，√(1-ᾱ_t) 是 sin。", turning(lambda a: (1 - a).sqrt(), lambda a: a.sqrt())),
        Mistake("sin φ 是 √(1-ᾱ_t)，不是 1-√ᾱ_t：平方和要等于 1。", turning(sin=lambda a: 1 - a.sqrt())),
    ), "没有一处除法，所以误差从不放大。", "先只看第一项 x₀ 对不对，再看 ε。"),
    Code("05.2", 2, "转回一个角", rotate, step_cases, (
        Mistake("转错了方向：去噪是让角度变小，从 φ_t 转回到更小的角。", by_angle(sign=-1)),
        Mistake("转过头了：你一直转到了 φ = 0，那是 x̂₀；只要转到 ᾱ_prev 对应的角。", mixing(lambda x0, eps, x_t, a, b: x0)),
        Mistake("ε 的系数还是原来那一步的 √(1-ᾱ_t)；到了新的一步，要用 √(1-ᾱ_prev)。",
                mixing(lambda x0, eps, x_t, a, b: b**0.5 * x0 + (1 - a) ** 0.5 * eps)),
        Mistake("两个系数都要开平方：√ᾱ_prev 与 √(1-ᾱ_prev)。", mixing(lambda x0, eps, x_t, a, b: b * x0 + (1 - b) * eps)),
        Mistake("你对 ᾱ 本身取了反余弦；角是由 cos φ = √ᾱ 定的，先开平方。", by_angle(lambda a: torch.tensor(a).acos())),
        Mistake("只按比例放大 x_t 不够，噪声也一起放大了。先由 v 分出 x₀ 与 ε，再用新的系数合起来。",
                mixing(lambda x0, eps, x_t, a, b: (b / a) ** 0.5 * x_t)),
    ), "这就是 DDIM 不掺噪声的一步：x 在圆上转回一个角。", "先换回 x₀ 与 ε（上一题），再用 ᾱ_prev 的两个系数合起来。"),
    Code("05.3", 3, "处处一样难的目标", edm_target, edm_cases, (
        Mistake("除以了方差：要除以剩余的标准差，也就是 s²(1-ᾱ)/D 的平方根。", targeting(scale=lambda a, s: s**2 * (1 - a) / (a * s**2 + 1 - a))),
        Mistake("没有减去 k·x_t：x_t 已经说明的部分要先拿掉。", targeting(skip=lambda a, s: 0.0)),
        Mistake("减的是 √ᾱ·x_t，只有 s = 1 时 k 才等于 √ᾱ；一般的 k = √ᾱ·s²/D。", targeting(skip=lambda a, s: a.sqrt())),
        Mistake("k 里少了 s²：k = √ᾱ·s²/D。", targeting(skip=lambda a, s: a.sqrt() / (a * s**2 + 1 - a))),
        Mistake("减对了，但没有除以剩余的标准差，不同的 t 还是大小不一。", targeting(scale=lambda a, s: 1.0)),
        Mistake("这是 v：它的剩余误差是 s²/D，仍随 t 变。照题目的式子，先拿掉 k·x_t。",
                lambda x_start, noise, bar, s: bar.sqrt() * noise - (1 - bar).sqrt() * x_start),
        Mistake("k 忘了除以 D：k = √ᾱ·s²/D。", targeting(skip=lambda a, s: a.sqrt() * s**2)),
    ), "它等于 -v·√D/s 再加上 x_t 的一个倍数：与 v 只差一个因子。EDM 的网络预测的就是它。", "依次写出 x_t、D、k，再写目标。"),
    Number("05.4", 1, "转过 45°", 418, {
        1.0: "这是那时的信噪比，说对了；题目要的是 t。",
        316: "你解的是 ᾱ_t = cos 45°；cos φ_t 是 √ᾱ_t，要先开平方。",
        546: "这是 √ᾱ_t 降到 ½ 的地方，转过了 60°；45° 的余弦是 √½。",
        293: "这是 √(1-ᾱ_t) 升到 ½ 的地方，只转过 30°；45° 的正弦是 √½。",
        417: "差一点：t=417 时 ᾱ 还在 ½ 以上，没有转到 45°。",
        419: "数多了一个：t=418 已经转过了 45°；t 从 0 数起。",
        259: "你用的是 sqrt_linear；开头的 diffusion 是默认的 linear。",
    }, "此时 ᾱ = ½，信噪比是 1：原图与噪声各占一半。还没走到一半的步数，信号就已经让位给噪声。",
           "cos 45° = √ᾱ_t；第一个不小于 45° 的 t，用 diffusion.alphas_cumprod 找。", rtol=1e-6),
    Choice("05.5", 2, "终点是纯噪声", "B", {
        "A": "eps 在这里最没用：x_t 就是 ε，照抄即可，与 x₀ 毫无关系；换成 x̂₀ 还要除以 √ᾱ = 0。",
        "C": "eps 不行：由 ε 换成 x̂₀ 要除以 √ᾱ，这里是 0。",
        "D": "x0 也可以：它直接问原图，不做除法。猜不准没关系，给出的是平均图。",
    }, "ᾱ = 0 时 v = -x₀，问的就是原图。所以把终点改成纯噪声的做法，都要配 v 或 x0。"),
)
