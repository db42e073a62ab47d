"""第 8 章的习题：U-Net 与条件"""
import torch

from ...unet import UNet, attend, timestep_embedding
from . import Choice, Code, Mistake, Number


def embed(t, dim):
    return timestep_embedding(t, dim)


def step_cases():
    return [(torch.tensor([0, 1, 5, 40]), 8), (torch.tensor([3, 20]), 6)]


def embedding(frequency=lambda i, half: 10000.0 ** (-i / half), join=lambda cos, sin: torch.cat([cos, sin], -1)):
    """改动频率或拼法，得到一种错的写法"""
    def function(t, dim):
        half = dim // 2
        angles = t[:, None] * frequency(torch.arange(half).float(), half)
        return join(angles.cos(), angles.sin())

    return function


def entries(width, mult, blocks):
    """真的造一个 U-Net（不占内存），看上行各段第一层的入口"""
    with torch.device("meta"):
        network = UNet(1, width, 1, num_res_blocks=blocks, channel_mult=mult, attention_resolutions=())
    return [stage[0].in_layers[0].num_channels for stage in network.output_blocks]


def stacking(take=lambda stored: stored.pop(), previous=lambda channels, own: channels, order=reversed, extra=1):
    """改动存取的一处，得到一种错的写法"""
    def function(width, mult, blocks):
        channels, stored, found = width, [width], []
        for level, m in enumerate(mult):
            channels = width * m
            stored += [channels] * (blocks + (level < len(mult) - 1))
        for m in order(mult):
            for _ in range(blocks + extra):
                found.append(previous(channels, width * m) + take(stored))
                channels = width * m
        return found

    return function


def entry_cases():
    return [(16, (1, 2), 1), (32, (1, 2, 4), 2), (8, (1, 3, 2), 1)]


def split(qkv):
    """(B, 3C, H, W) → 三个 (B, HW, C)"""
    return qkv.flatten(2).transpose(1, 2).chunk(3, dim=-1)


def self_attention(qkv):
    return attend(*split(qkv), num_heads=1).transpose(1, 2).reshape(shape_of(qkv))


def shape_of(qkv):
    return len(qkv), -1, *qkv.shape[2:]


def qkv_cases():
    # 高与宽、通道数与像素数都不同，轴弄错了就现形
    generator = torch.Generator().manual_seed(1)
    return [(2 * torch.randn(2, 12, 2, 3, generator=generator),), (torch.randn(1, 6, 3, 1, generator=generator),)]


def attending(score=lambda q, k: q @ k.transpose(1, 2), scale=lambda q: q.shape[-1] ** 0.5, axis=-1,
              back=lambda h, shape: h.transpose(1, 2).reshape(shape), parts=split):
    """改动注意力的一处，得到一种错的写法"""
    def function(qkv):
        q, k, v = parts(qkv)
        return back((score(q, k) / scale(q)).softmax(axis) @ v, shape_of(qkv))

    return function


def interleaved(qkv):
    """把 3C 个通道看成 C 组、每组三个"""
    tokens = qkv.flatten(2).transpose(1, 2)
    return tokens[..., 0::3], tokens[..., 1::3], tokens[..., 2::3]


EXERCISES = (
    Code("08.1", 1, "时间嵌入", embed, step_cases, (
        Mistake("正弦与余弦的次序反了：前一半是余弦，后一半是正弦。", embedding(join=lambda cos, sin: torch.cat([sin, cos], -1))),
        Mistake("正弦与余弦交错着排了；这里是前一半全是余弦，后一半全是正弦。", embedding(join=lambda cos, sin: torch.stack([cos, sin], -1).flatten(1))),
        Mistake("指数的分母应是 d/2，你用了 d，频率降得太慢。", embedding(lambda i, half: 10000.0 ** (-i / (2 * half)))),
        Mistake("指数的分母是 d/2，你用了 d/2-1：那是 DDPM 原来的代码的写法，最低的频率正好是 1/10000。",
                embedding(lambda i, half: 10000.0 ** (-i / (half - 1)))),
        Mistake("指数少了负号：频率从 1 降下去，不是升上去。", embedding(lambda i, half: 10000.0 ** (i / half))),
        Mistake("频率要等比排列，指数是 -i/(d/2)；你把它们等差排了。", embedding(lambda i, half: 1 - i / half)),
        Mistake("指数里少除了 d/2，后面的频率小得等于 0，嵌入几乎不随 t 变。", embedding(lambda i, half: 10000.0 ** -i)),
    ), "第 0 对分量每步转 1 弧度，最后一对转一圈要几万步。", "先看形状 (B, dim)，再看 t=0：余弦全是 1，正弦全是 0。", rtol=1e-3),
    Code("08.2", 2, "上行的入口有几个通道", entries, entry_cases, (
        Mistake("取的次序反了：最后存的最先取，边长才对得上。", stacking(lambda stored: stored.pop(0))),
        Mistake("漏了前一段的输出：入口是它与跳跃连接两边之和。", stacking(previous=lambda channels, own: 0)),
        Mistake("每层的第一个残差块，前一段还是下面一层的通道数；放大不改通道数。", stacking(previous=lambda channels, own: own)),
        Mistake("上行从最下面一层往上走，channel_mult 要倒着用。", stacking(order=iter)),
        Mistake("上行每层有 num_res_blocks + 1 个残差块：缩小的输出（最上层是最前面的卷积）也要有人接。", stacking(extra=0)),
    ), "存下几份，上行就有几个残差块：后存的先取，两边的边长总是相同。", "先列出下行存了哪几份、各有几个通道，再从后往前一份一份地取。"),
    Code("08.3", 3, "像素之间的注意力", self_attention, qkv_cases, (
        Mistake("忘了除以 √C：通道越多，内积越大，softmax 就只看一个像素。", attending(scale=lambda q: 1.0)),
        Mistake("除以的是 √C，不是 C：C 个独立的乘积相加，标准差是 √C。", attending(scale=lambda q: q.shape[-1])),
        Mistake("除以的应是通道数的平方根，你用了像素数。", attending(scale=lambda q: q.shape[1] ** 0.5)),
        Mistake("softmax 的方向错了：每个查询的权重在所有键上加起来是 1，也就是沿最后一维。", attending(axis=1)),
        Mistake("查询与键对调了：分数的第 i 行应是第 i 个像素的查询与所有的键。", attending(lambda q, k: k @ q.transpose(1, 2))),
        Mistake("变回图的形状之前，要先把通道换到像素前面；直接 reshape，数据就串了位。", attending(back=lambda h, shape: h.reshape(shape))),
        Mistake("3C 个通道依次是 C 个查询、C 个键、C 个值；你每三个通道取了一个。", attending(parts=interleaved)),
    ), "这就是融合实现算的东西，只是它不把 HW×HW 的权重整个存下来。",
         "先把 qkv 变成三个 (B, HW, C)，逐步看形状：分数应是 (B, HW, HW)。"),
    Number("08.4", 2, "数一个残差块", 16608, {
        16064: "漏了旁边的 1×1 卷积：通道数变了，输入要先换算才能相加。",
        16480: "漏了偏置：三个卷积与一个全连接，每个输出通道都有一个。",
        16512: "漏了两个 GroupNorm：每个通道有一个乘的、一个加的。",
        14528: "漏了时间嵌入的那一层：64 个数变成 32 个。",
        12000: "第二个卷积的输入已经是 32 个通道，不是 16 个。",
    }, "两个 3×3 的卷积占了大半；通道数加倍，它们的参数变成四倍。",
           "逐层写：GroupNorm 2C，3×3 卷积 9·进·出＋出，全连接 进·出＋出，1×1 卷积 进·出＋出。", rtol=1e-6),
    Choice("08.5", 3, "图大了，还用不用告诉它 t", "C", {
        "A": "要猜的像素多了，可用的像素也多了：噪声的强弱只是一个数，由全部像素一起估。",
        "B": "t 是一个数，估它的却是全部像素：像素越多，估得越准。",
        "D": "像素是 48 倍，误差却按平方根走。",
    }, "d 个像素估计噪声的强弱，相对误差约 1/√(2d)：d=64 时是 9%，d=3072 时是 1.3%，小到 1/√48。单从这一项看，图越大，t 越是多余。"),
)
