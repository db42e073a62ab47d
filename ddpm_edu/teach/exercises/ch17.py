"""第 17 章的习题：从 DDPM 到 latent-diffusion"""
import torch
import torch.nn.functional as F

from . import Choice, Code, Mistake


def scale_factor(z):
    return float(1 / z.std())


def latent_cases():
    generator = torch.Generator().manual_seed(0)
    widths = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    return [(2.0 + widths * torch.randn(5, 2, 3, 4, generator=generator),), (0.2 * torch.randn(40, 2, 2, 2, generator=generator) - 1.0,)]


def encode_latent(moments, a, noise):
    mean, logvar = moments.chunk(2, dim=1)
    return a * (mean + (0.5 * logvar).exp() * noise)


def moment_cases():
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(2, 2 * C, 3, 4, generator=generator), a, torch.randn(2, C, 3, 4, generator=generator)) for C, a in ((2, 0.5), (1, 0.18215))]


def halves(moments):
    return moments.chunk(2, dim=1)


def corners(size, k, stride):
    return enumerate((y, x) for y in range(0, size[0] - k + 1, stride) for x in range(0, size[1] - k + 1, stride))


def overwrite(patches, weight, size, stride):
    """后来的块盖掉先来的"""
    B, C, k, _, _ = patches.shape
    image = torch.zeros(B, C, *size, dtype=patches.dtype)
    for i, (y, x) in corners(size, k, stride):
        image[:, :, y:y + k, x:x + k] = patches[..., i]
    return image


def stitch(patches, weight, size, stride):
    return stitching()(patches, weight, size, stride)


def stitching(value=lambda weight: weight, share=lambda weight: weight, divide=lambda total, share: total / share):
    """逐块相加，不用 fold；改动一处，得到一种错的写法"""
    def function(patches, weight, size, stride):
        B, C, k, _, _ = patches.shape
        total, shares = torch.zeros(B, C, *size, dtype=patches.dtype), torch.zeros(size, dtype=patches.dtype)
        for i, (y, x) in corners(size, k, stride):
            total[:, :, y:y + k, x:x + k] += patches[..., i] * value(weight)
            shares[y:y + k, x:x + k] += share(weight)
        return divide(total, shares)

    return function


def patch_cases():
    generator = torch.Generator().manual_seed(0)
    weight = torch.tensor([1.0, 2.0, 3.0, 1.5])
    weight = weight[:, None] * weight.flip(0)

    def case(B, C, size, stride):
        image = torch.randn(B, C, *size, generator=generator)
        patches = F.unfold(image, 4, stride=stride)
        # 每一块各加一点，重叠处各块说法不同
        patches = patches + 0.3 * torch.randn(patches.shape, generator=generator)
        return patches.view(B, C, 4, 4, -1), weight.clone(), size, stride

    return [case(2, 3, (6, 8), 2), case(1, 1, (4, 7), 1)]


ONE = torch.ones_like

EXERCISES = (
    Code("17.1", 1, "尺度因子", scale_factor, latent_cases, (
        Mistake("这是标准差；要乘上去让它变成 1，得取倒数。", lambda z: z.std()),
        Mistake("除以方差会除过头：潜变量要除以标准差，标准差才变成 1。", lambda z: 1 / z.var()),
        Mistake("只要一个数，你给了每个通道一个；原文件把整批压平了再算。", lambda z: 1 / z.std((0, 2, 3))),
        Mistake("你用的是均方根，里面混进了均值；标准差要先减去均值。", lambda z: 1 / z.square().mean().sqrt()),
        Mistake("这是把最大值压到 1；一个离群的数就能改变它，用标准差才稳。", lambda z: 1 / z.abs().max()),
        Mistake("先对每张图求标准差再平均，漏掉了图与图之间的差别；要整批一起算。", lambda z: 1 / z.flatten(1).std(1).mean()),
    ), "它只用第一批算一次，之后再也不动；忘了存它，检查点就解不出图。", "乘上它之后，整批潜变量的标准差应当是 1。", rtol=1e-2),
    Code("17.2", 2, "KL 型编码器的潜变量", encode_latent, moment_cases, (
        Mistake("后一半是对数方差 ln σ²，要先取指数再开方，也就是 exp(ln σ² / 2)。", lambda m, a, n: a * (halves(m)[0] + halves(m)[1] * n)),
        Mistake("exp(ln σ²) 是方差；标准差还要开方，也就是 exp(ln σ² / 2)。", lambda m, a, n: a * (halves(m)[0] + halves(m)[1].exp() * n)),
        Mistake("系数 a 也要乘到噪声那一项上：整个潜变量一起放缩。", lambda m, a, n: a * halves(m)[0] + (0.5 * halves(m)[1]).exp() * n),
        Mistake("编码时是乘 a；除以 a 是解码之前的事。", lambda m, a, n: (halves(m)[0] + (0.5 * halves(m)[1]).exp() * n) / a),
        Mistake("忘了乘系数 a：潜变量还是原来的大小。", lambda m, a, n: halves(m)[0] + (0.5 * halves(m)[1]).exp() * n),
        Mistake("这只是均值；还要加上标准差乘噪声，才是从分布里抽的一个样本。", lambda m, a, n: a * halves(m)[0]),
        Mistake("前一半通道是均值，后一半才是对数方差，你取反了。", lambda m, a, n: a * (halves(m)[1] + (0.5 * halves(m)[0]).exp() * n)),
    ), "原文件的 get_first_stage_encoding 做的就是这一行。", "先用 chunk 把通道分成两半，σ = exp(ln σ² / 2)。"),
    Code("17.3", 3, "把重叠的块拼回去", stitch, patch_cases, (
        Mistake("没有除以权重之和：重叠的地方加了几遍，会更亮。", stitching(divide=lambda total, share: total)),
        Mistake("分子乘了权重，分母却数了几块：要除以落在这个像素上的权重之和。", stitching(share=ONE)),
        Mistake("分母是权重之和，分子却没有乘权重。", stitching(value=ONE)),
        Mistake("你把各块等权平均了，weight 没有用上。", stitching(value=ONE, share=ONE)),
        Mistake("每个像素要除以自己的权重之和，你除了一个统一的数。", stitching(divide=lambda total, share: total / share.max())),
        Mistake("后来的块盖掉了先来的块；重叠处要加权平均，不是覆盖。", overwrite),
    ), "权重在块的中心大、边上小，接缝就看不出来。", "F.fold 做的是相加：块乘权重之后 fold 一次，权重自己 fold 一次，相除。"),
    Choice("17.4", 1, "照抄系数", "C", {
        "A": "加的噪声大小没有变，数却小了，信噪比就小了：它正比于标准差的平方。",
        "B": "这是忘了乘系数的样子，标准差还是 1.6。乘了 0.18215，只剩 0.29。",
        "D": "这是标准差本来就是 1 时照抄的样子。这里是 1.6，乘完是 0.29。",
    }, "1.6 × 0.18215 = 0.29，信噪比只有该有的十二分之一，不到第 170 步就降到 1；系数要按自己的潜变量量出来。"),
    Choice("17.5", 2, "忘了除回来", "B", {
        "A": "解码器是冻结的，它只见过原来大小的潜变量；忽然小了五倍多，它不会自己适应。",
        "C": "潜变量的方向没有变，只是都短了；图会变暗，不会成为噪声。",
        "D": "那是潜变量太大的样子，例如多除了一次。这里是少除一次，潜变量太小。",
    }, "乘与除要成对：编码之后乘，解码之前除。自己接采样器时最容易漏掉后一半。"),
)
