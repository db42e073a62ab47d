"""第 15 章的习题：评估"""
import numpy as np
import torch

from ...evaluation.metrics import frechet_distance
from . import Choice, Code, Mistake, Number


def compare(a, b):
    """平均差、配对的标准误、不配对的标准误"""
    return comparing()(a, b)


def comparing(sign=1, ddof=1, paired=lambda gap, a, b, n, ddof: gap.std(ddof=ddof) / n**0.5,
              apart=lambda gap, a, b, n, ddof: ((a.var(ddof=ddof) + b.var(ddof=ddof)) / n) ** 0.5):
    """改动一处，得到一种错的写法"""
    def function(a, b):
        gap = a - b
        return sign * gap.mean(), paired(gap, a, b, len(a), ddof), apart(gap, a, b, len(a), ddof)

    return function


def bits_cases():
    rng = np.random.default_rng(0)

    def case(n):
        hard = 3 + 0.4 * rng.standard_normal(n)
        return hard + 0.05 * rng.standard_normal(n), 0.9 * hard + 0.1 * rng.standard_normal(n)

    return [case(5), case(12)]


def radius(points, k):
    return torch.cdist(points, points).kthvalue(k + 1, dim=1).values


def precision_recall(samples, real, k):
    return covering()(samples, real, k)


def covering(skip=lambda k: k, inside_real=lambda gap, own, other: (gap <= other).any(1), inside_samples=lambda gap, own, other: (gap <= own[:, None]).any(0),
             swap=False):
    """改动一处，得到一种错的写法；gap 是 (样本, 真图)，own 是样本的半径，other 是真图的"""
    def function(samples, real, k):
        gap, own, other = torch.cdist(samples, real), radius(samples, skip(k)), radius(real, skip(k))
        found = inside_real(gap, own, other).double().mean(), inside_samples(gap, own, other).double().mean()
        return found[::-1] if swap else found

    return function


def cloud_cases():
    generator = torch.Generator().manual_seed(2)

    def case(n, m, d, k):
        samples, real = (torch.randn(size, d, generator=generator, dtype=torch.float64) for size in (n, m))
        return 0.8 * samples + 0.6, real, k

    return [case(12, 9, 2, 1), case(8, 14, 3, 2)]


def feature_cases():
    generator = torch.Generator().manual_seed(1)

    def case(n, m, d):
        x, y = (torch.randn(k, d, generator=generator, dtype=torch.float64) for k in (n, m))
        mix = torch.randn(d, d, generator=generator, dtype=torch.float64)
        return x, 0.5 + y @ mix

    # 最后一组只有一个特征：torch.cov 这时返回一个数
    return [case(7, 9, 3), case(12, 6, 2), case(5, 8, 1)]


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def cross(a, b):
    return torch.linalg.eigvalsh(root(a) @ b @ root(a)).clamp(min=0).sqrt().sum()


def frechet(gap=lambda difference: difference.square().sum(), shared=lambda a, b: 2 * cross(a, b), correction=1):
    def function(x, y):
        a, b = (torch.cov(z.T, correction=correction).reshape(z.shape[1], -1) for z in (x, y))
        return gap(x.mean(0) - y.mean(0)) + a.trace() + b.trace() - shared(a, b)

    return function


def without_reshape(x, y):
    a, b = torch.cov(x.T), torch.cov(y.T)
    return (x.mean(0) - y.mean(0)).square().sum() + a.trace() + b.trace() - 2 * torch.linalg.eigvals(a @ b).sqrt().real.sum()


EXERCISES = (
    Code("15.1", 1, "配对", compare, bits_cases, (
        Mistake("平均差的符号反了：要 a - b。", comparing(sign=-1)),
        Mistake("样本标准差要除以 N-1；NumPy 默认除以 N，写 ddof=1。", comparing(ddof=0)),
        Mistake("配对的那个还是标准差；平均数的标准误要再除以 √N。", comparing(paired=lambda gap, a, b, n, ddof: gap.std(ddof=ddof))),
        Mistake("配对的标准误除以了 N；要除以 √N。", comparing(paired=lambda gap, a, b, n, ddof: gap.std(ddof=ddof) / n)),
        Mistake("配对的标准误没有配对：先逐图相减，再求差的标准差。",
                comparing(paired=lambda gap, a, b, n, ddof: ((a.var(ddof=ddof) + b.var(ddof=ddof)) / n) ** 0.5)),
        Mistake("不配对时，两个标准误不能直接相加；方差相加，再开方。",
                comparing(apart=lambda gap, a, b, n, ddof: (a.std(ddof=ddof) + b.std(ddof=ddof)) / n**0.5)),
        Mistake("不配对时，两个模型各有各的误差，你只算了 a 的。", comparing(apart=lambda gap, a, b, n, ddof: a.std(ddof=ddof) / n**0.5)),
        Mistake("不配对的标准误少开了一次方：那是方差。", comparing(apart=lambda gap, a, b, n, ddof: (a.var(ddof=ddof) + b.var(ddof=ddof)) / n)),
    ), "图的难易两边相同，一减就没了，所以配对的标准误小得多。", "先求 gap = a - b；配对看 gap 的标准差，不配对看 a 与 b 各自的方差。"),
    Code("15.2", 2, "精确率与召回率", precision_recall, cloud_cases, (
        Mistake("近邻里算上了自己：离自己最近的总是自己，距离 0，所以要取第 k+1 小的。", covering(skip=lambda k: k - 1)),
        Mistake("两个数放反了：先精确率（样本落在真图附近），后召回率。", covering(swap=True)),
        Mistake("精确率里的半径是真图的，你用了样本自己的。", covering(inside_real=lambda gap, own, other: (gap <= own[:, None]).any(1))),
        Mistake("召回率里的半径是样本的，你用了真图的（那是另一个指标，叫覆盖率）。",
                covering(inside_samples=lambda gap, own, other: (gap <= other).any(0))),
        Mistake("只看了最近的那张真图；别的真图离得远些，半径却可能更大，要看有没有任何一张盖得住。",
                covering(inside_real=lambda gap, own, other: gap.amin(1) <= other[gap.argmin(1)])),
        Mistake("要问的是“有没有”盖得住，用 any；你对全部的点对求了平均。",
                covering(inside_real=lambda gap, own, other: gap <= other, inside_samples=lambda gap, own, other: gap <= own[:, None])),
        Mistake("要被任何一张真图盖住就算，用 any；你要求被全部的盖住，用了 all。", covering(inside_real=lambda gap, own, other: (gap <= other).all(1))),
    ), "造错看精确率，漏掉看召回率；只背一张图、反复念，精确率可以是 1。",
         "先求三张距离表：样本到真图、真图到真图、样本到样本；后两张的第 k+1 小的数就是半径。"),
    Code("15.3", 3, "自己的 Fréchet 距离", frechet_distance, feature_cases, (
        Mistake("交叉项前面有 2，你写了 1。", frechet(shared=cross)),
        Mistake("开方要开整个矩阵的方，不能逐个元素开；Σ₁Σ₂ 的特征值开方求和就是它的迹。",
                frechet(shared=lambda a, b: 2 * (a @ b).sqrt().trace())),
        Mistake("先各自开方再相乘，与先相乘再开方不同，除非两个协方差可以交换；这样算出的距离偏大。",
                frechet(shared=lambda a, b: 2 * (root(a) @ root(b)).trace())),
        Mistake("你只用了对角线上的方差，特征之间的相关丢了。",
                frechet(shared=lambda a, b: 2 * (a.diagonal() * b.diagonal()).sqrt().sum())),
        Mistake("没有开方：交叉项是 (Σ₁Σ₂)^½ 的迹，不是 Σ₁Σ₂ 的迹。", frechet(shared=lambda a, b: 2 * (a @ b).trace())),
        Mistake("均值之差要用长度的平方，你用了长度。", frechet(gap=lambda difference: difference.square().sum().sqrt())),
        Mistake("均值之差那一项漏了；同样形状的两堆点，挪开一段也是有距离的。", frechet(gap=lambda difference: 0.0)),
        Mistake("协方差除以了 N；这里要除以 N-1，torch.cov 默认就是。", frechet(correction=0)),
        Mistake("只有一个特征时，torch.cov 返回一个数，不是 1×1 的矩阵；用 reshape(d, d) 变回来。", without_reshape),
        Mistake("均值之差要对各维求和，你求了平均。", frechet(gap=lambda difference: difference.square().mean())),
    ), "FID 就是它，只是特征来自 Inception 网络。",
         "三部分分开算：均值之差的平方，两个迹，交叉项；一维时应退回 (σ₁-σ₂)²。eigvals 给出复数，取实部，截到 0，再开方。"),
    Choice("15.4", 1, "掺了几张抄来的", "C", {
        "A": "中位数只看中间的那张，少量的抄袭动不了它：量过八个种子，只从 2.06 变到 2.03。",
        "B": "掺进真图，Fréchet 距离不会露馅，反倒变好：八个种子，从 28.4 降到 26.8（相差 1.6 ± 0.6）。",
        "D": "bits/dim 考的是模型，用的是没见过的真图；样本换掉几张，它一点也不动。",
    }, "八个种子，近得可疑的从 0.1% 变成 5.1%，正是换掉的那五十张。查抄袭要看最近的那一端，不看中间。"),
    Number("15.5", 2, "不配对要几张图", 9112.5, {
        52: "这是配对时要的张数；不配对，图的难易不会相减掉。",
        4556.25: "两个模型各有各的误差，差的方差是两份之和；你只算了一份。",
        1012.5: "这样只有一倍标准误；要三倍，张数是它的九倍。",
        18225: "题目问每批几张，不是两批合计。",
        95.46: "还差一步平方：N 才是 (3 × 0.45√2 / 0.02) 的平方。",
    }, "五十二张对九千张，差了一百七十多倍；而且 digits 的测试图一共只有 250 张。",
           "不配对时，差的标准误是 √(2 × 0.45² / N)；令 0.02 等于它的三倍。"),
)
