"""第 3 章的习题：加噪过程"""
import torch

from ...gaussian import GaussianDiffusion
from . import Choice, Code, Mistake, Number

BETAS = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4]


def add_noise(betas, x_start, t, noise):
    return GaussianDiffusion(given_betas=betas).q_sample(x_start, t, noise)


def noising_cases():
    generator = torch.Generator().manual_seed(0)

    def case(t, *shape):
        return torch.tensor(BETAS), torch.randn(shape, generator=generator), torch.tensor(t), torch.randn(shape, generator=generator)

    # 第一组的批量与宽度相同：系数忘了变形，也能悄悄广播过去
    return [case([5, 0, 2], 3, 1, 1, 3), case([1, 3], 2, 4)]


def noising(signal=lambda a: a.sqrt(), spread=lambda a: (1 - a).sqrt(), table=lambda betas: torch.cumprod(1 - betas, 0),
            shape=lambda x: (-1, *[1] * (x.ndim - 1))):
    """改动公式的一处，得到一种错的写法"""
    def function(betas, x_start, t, noise):
        a = table(betas)[t].reshape(shape(x_start))
        return signal(a) * x_start + spread(a) * noise

    return function


def jump(betas, s, t):
    product = float(torch.prod(1 - betas[s + 1:t + 1]))
    return product**0.5, 1 - product


def jumping(product, coefficient=lambda a: a**0.5):
    def function(betas, s, t):
        a = product(betas, s, t)
        return coefficient(a), 1 - a

    return function


def pair_cases():
    return [(torch.tensor(BETAS, dtype=torch.float64), s, t) for s, t in ((1, 4), (1, 5), (2, 3))]


def bars(betas, s, t):
    cumprod = torch.cumprod(1 - betas, 0)
    return float(cumprod[s]), float(cumprod[t])


def covariance(betas, s, t):
    return jump(betas, s, t)[0] * (1 - bars(betas, s, t)[0])


def covarying(formula):
    return lambda betas, s, t: formula(*bars(betas, s, t))


def wrong_variance(betas, s, t):
    a_s, a_t = bars(betas, s, t)
    return (a_t / a_s) ** 0.5, a_s - a_t


EXERCISES = (
    Code("03.1", 1, "一步加噪", add_noise, noising_cases, (
        Mistake("两个系数都要开平方：ᾱ_t 与 1-ᾱ_t 是方差，乘在图和噪声上的是它们的平方根。", noising(lambda a: a, lambda a: 1 - a)),
        Mistake("你用了单步的 α_t，这里要的是连乘 ᾱ_t：从 x₀ 到 x_t 走了 t+1 步。", noising(table=lambda betas: 1 - betas)),
        Mistake("你用了 β_t，这里要的是 ᾱ_t：先由 α = 1-β 连乘。", noising(table=lambda betas: betas)),
        Mistake("两个系数放反了：√ᾱ_t 乘原图，√(1-ᾱ_t) 乘噪声。", noising(lambda a: (1 - a).sqrt(), lambda a: a.sqrt())),
        Mistake("噪声的系数是 √(1-ᾱ_t)，不是 1-√ᾱ_t：相加得 1 的是方差，不是系数。", noising(spread=lambda a: 1 - a.sqrt())),
        Mistake("系数没有变形成 (B, 1, …, 1)。批量恰好等于宽度时，它会悄悄乘到横轴上去，也不报错。", noising(shape=lambda x: -1)),
        Mistake("你把系数的形状写死成了四维；输入不一定是图像，维数要取自 x_start.ndim。", noising(shape=lambda x: (-1, 1, 1, 1))),
    ), "这就是 q_sample 的全部数学。", "第 1 节的闭式有两项，先分别算出来看看。"),
    Code("03.2", 2, "从中途再走一段", jump, pair_cases, (
        Mistake("你从 x₀ 出发了：走到 x_s 以前的那些 α 已经在 x_s 里，不该再乘一遍。", jumping(lambda betas, s, t: bars(betas, s, t)[1])),
        Mistake("系数要开平方：每一步乘的是 √α。", jumping(lambda betas, s, t: jump(betas, s, t)[0] ** 2, lambda a: a)),
        Mistake("方差不是 ᾱ_s-ᾱ_t。照第 1 节，一步的形状不变：方差是 1 减去 α 的乘积。", wrong_variance),
        Mistake("多乘了 α_s：x_s 已经走过第 s 步，乘积从 s+1 起。", jumping(lambda betas, s, t: float(torch.prod(1 - betas[s:t + 1])))),
        Mistake("少乘了 α_t：切片 betas[s+1:t] 不含第 t 个。", jumping(lambda betas, s, t: float(torch.prod(1 - betas[s + 1:t])))),
    ), "x_t 只由 x_s 与 s 之后的噪声决定，与怎样走到 x_s 无关。这正是马尔可夫链。", "返回两个数：先系数，后方差。"),
    Code("03.3", 3, "同一条链上的两点", covariance, pair_cases, (
        Mistake("还要乘 x_s 自己的方差：Cov(x_s, c·x_s) = c·Var(x_s)。", covarying(lambda a_s, a_t: (a_t / a_s) ** 0.5)),
        Mistake("乘错了方差：两点共有的是走到 x_s 为止的噪声，方差是 1-ᾱ_s，不是 1-ᾱ_t。", covarying(lambda a_s, a_t: (a_t / a_s) ** 0.5 * (1 - a_t))),
        Mistake("从 s 到 t 的系数是 √(ᾱ_t/ᾱ_s)，你用的 √ᾱ_t 是从 x₀ 出发的。", covarying(lambda a_s, a_t: a_t**0.5 * (1 - a_s))),
        Mistake("系数忘了开平方：x_t 里 x_s 的系数是 √(ᾱ_t/ᾱ_s)。", covarying(lambda a_s, a_t: a_t / a_s * (1 - a_s))),
        Mistake("这是两个标准差之积，只有 x_s 与 x_t 完全相关时才对；s 之后新掺的噪声与 x_s 无关。",
                covarying(lambda a_s, a_t: ((1 - a_s) * (1 - a_t)) ** 0.5)),
        Mistake("两点不独立：x_t 是由 x_s 走出来的，里面带着 x_s 的噪声。", covarying(lambda a_s, a_t: 0.0)),
    ), "s = t 时它退回方差 1-ᾱ_t；s 与 t 隔得越远，越接近 0。", "把 x_t 写成 x_s 的倍数加上新的噪声，再求协方差。"),
    Number("03.4", 1, "放大到多大才要紧", 86, {
        85: "85×85×3 还差一点：f 是 49.6%，题目问第一次过一半。",
        149: "漏了颜色：一张图有三个通道，N = 3×边长²。",
        148: "漏了颜色：一张图有三个通道，N = 3×边长²；还要往上取整。",
        21976: "这是 N，一张图有几个数；题目问的是边长，N = 3×边长²。",
        22: "你把 s² 当成了 1，那是“认不认得出全黑”的那把尺；这里要乘这批图的方差 s²。",
        43: "公式里是 s 的平方，不是 s。",
    }, "f 过一半，就是 ᾱNs² 超过 1-ᾱ，N 约两万二，86×86×3 就够了。f 只由 ᾱN 与 s 决定，所以边长加倍，√ᾱ 要减半，f 才不变：换了分辨率，噪声表也该跟着换。",
       "f 过一半，就是 ᾱNs² 大于 1-ᾱ：先解出 N，再由 N = 3×边长² 求边长，往上取整。"),
    Choice("03.5", 3, "像素换成 [0, 1]", "D", {
        "A": "差距是变小了，可是别的也变了：x₀ 的方差成了几分之一？每一步的噪声却没有变。",
        "B": "中心确实挪了，但公式里只有平方 x₀²：原来是 -1 的黑，换算后是 0，平方从 1 降到 0。",
        "C": "公式里有 x₀²，换了范围，x₀² 的平均就变了；用 images 算一算。",
    }, "差距约为 ½ᾱ·E[x₀²]，八成的像素从 -1 变成 0，E[x₀²] 从 0.92 降到 0.10。可是 x₀ 的方差也缩成四分之一，噪声不变，"
       "每一步图与噪声的方差之比都降到四分之一，相当于换了一张更快的表，不是白赚的。"),
)
