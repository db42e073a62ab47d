"""第 14 章的习题：训练 CIFAR-10"""
import torch
from torch import nn

from . import Choice, Code, Mistake, Number


def multiplications(conv, height, width):
    out = conv(torch.zeros(1, conv.in_channels, height, width))
    return out[0].numel() * conv.weight[0].numel()


def conv_cases():
    return [(nn.Conv2d(3, 8, 3, padding=1), 4, 6), (nn.Conv2d(4, 6, 3, stride=2, padding=1), 7, 5), (nn.Conv2d(8, 4, 1), 3, 3),
            (nn.Conv2d(2, 3, 3), 5, 6)]


def counting(per_output=lambda conv: conv.weight[0].numel(), channels=lambda conv: conv.out_channels, size=None):
    """每个输出要乘几次 × 有几个输出；改动一处，得到一种错的数法"""
    def function(conv, height, width):
        rows, columns = [size(conv, n) for n in (height, width)] if size else conv(torch.zeros(1, conv.in_channels, height, width)).shape[-2:]
        return rows * columns * channels(conv) * per_output(conv)

    return function


def parameters(conv, height, width):
    return sum(p.numel() for p in conv.parameters())


def norm_of(gradients):
    return torch.cat([g.flatten() for g in gradients]).norm()


def clipping(norm=norm_of, factor=lambda norm, limit: (limit / norm).clamp(max=1)):
    def function(gradients, max_norm):
        scale = factor(norm(gradients), max_norm)
        return [g * scale for g in gradients]

    return function


def gradient_cases():
    generator = torch.Generator().manual_seed(0)
    small, large = 0.1 * torch.randn(2, 3, generator=generator), 3 * torch.randn(4, generator=generator)
    # 超过、没有超过、只有一个张量大
    return [([large, large.flip(0) + 1], 1.0), ([small, small[0]], 1.0), ([small, large], 2.0)]


def clip_each(gradients, max_norm):
    return [clipping()([g], max_norm)[0] for g in gradients]


def clip_values(gradients, max_norm):
    return [g.clamp(-max_norm, max_norm) for g in gradients]


def to_bfloat16(x):
    return x.bfloat16().float()


def rounding(rule=torch.round, bits=8):
    """留 bits 位有效数字；rule 是怎样取整"""
    def function(x):
        mantissa, exponent = torch.frexp(x)
        return torch.ldexp(rule(mantissa * 2**bits), exponent - bits)

    return function


def away_from_zero(x):
    return x.sign() * (x.abs() + 0.5).floor()


def float_cases():
    # 第一组有恰好在正中间的，要取偶数
    return [(torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 0.0, 1.0001]),), (torch.tensor([3.14159, -0.1, 1e30, 1e-20, 65519.0]),),
            (torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),)]


EXERCISES = (
    Code("14.1", 1, "一层卷积的乘法", multiplications, conv_cases, (
        Mistake("这是参数的个数；同一个卷积核要在每个输出位置上各用一遍。", parameters),
        Mistake("步长是 2 时，输出的边长减半；要数的是输出的位置，你用了输入的边长。",
                counting(size=lambda conv, n: n)),
        Mistake("输出的边长不只是除以步长：两边补了零，卷积核自己也占地方，(边长 + 2·补零 - k) // 步长 + 1。",
                counting(size=lambda conv, n: n // conv.stride[0])),
        Mistake("卷积核有 k×k 个位置，你只乘了一个 k。", counting(lambda conv: conv.in_channels * conv.kernel_size[0])),
        Mistake("漏了卷积核的大小：每个输出要看 k×k 个位置。", counting(lambda conv: conv.in_channels)),
        Mistake("漏了输入通道：每个输出要把所有输入通道都乘一遍。", counting(lambda conv: conv.weight[0, 0].numel())),
        Mistake("漏了输出通道：每个输出通道各有一个卷积核。", counting(channels=lambda conv: 1)),
        Mistake("偏置是加上去的，不是乘法。", counting(lambda conv: conv.weight[0].numel() + 1)),
    ), "第 4 节的 60 亿次，就是这样一层层加起来的。", "输出的像素数 × 输出通道 × 输入通道 × k×k。"),
    Code("14.2", 2, "裁剪梯度", clipping(), gradient_cases, (
        Mistake("你给每个张量各自裁剪，方向就变了；范数要把所有张量合在一起算。", clip_each),
        Mistake("你把每个数截到了范围里，那叫按值裁剪，会改变方向；这里要整体按比例缩小。", clip_values),
        Mistake("范数没有超过上限时应当原样返回；你把小的梯度放大了。", clipping(factor=lambda norm, limit: limit / norm)),
        Mistake("合在一起的范数，是平方加起来再开方，不是各个范数之和。", clipping(lambda gs: sum(g.norm() for g in gs))),
        Mistake("范数忘了开方：比例是上限除以范数，不是除以范数的平方。", clipping(lambda gs: norm_of(gs) ** 2)),
        Mistake("你按最大的那个数来缩；题目要的是 2-范数。", clipping(lambda gs: torch.cat([g.flatten() for g in gs]).abs().max())),
        Mistake("没有裁剪：超过上限时要缩小。", clipping(factor=lambda norm, limit: 1.0)),
    ), "方向不变，只限制步子的长短；坏批次再坏，也只走一步的长度。", "把所有张量摊平、接成一个长向量，它的长度就是要比的范数。"),
    Code("14.3", 3, "亲手舍入成 bf16", to_bfloat16, float_cases, (
        Mistake("你丢掉了多余的位；要舍入到最近的，否则平均偏小。", rounding(torch.trunc)),
        Mistake("floor 对负数是往更小的方向走；要舍入到最近的。", rounding(torch.floor)),
        Mistake("恰好在正中间时要取偶数：1+2⁻⁸ 应当回到 1。总往大处进，加起来会偏大；torch.round 就是取偶数的。", rounding(away_from_zero)),
        Mistake("恰好在正中间时要取偶数；floor(x + 0.5) 总往上进。", rounding(lambda x: (x + 0.5).floor())),
        Mistake("少留了一位：存下的是 7 位，开头的 1 不用存，所以有效位是 8 位。", rounding(bits=7)),
        Mistake("多留了一位：frexp 给出的 m 在 [0.5, 1) 里，最高位已经是 1，乘 2⁸ 就有 8 位。", rounding(bits=9)),
        Mistake("这是 float16：有效位是 11 位，10³⁰ 也装不下。", lambda x: x.half().float()),
        Mistake("这是 float16 的位数，bf16 只有 8 位。", rounding(bits=11)),
        Mistake("你留了小数点后 8 位；有效位要从最高位数起，跟着数的大小走，所以先用 frexp 取出指数。", lambda x: (x * 256).round() / 256),
    ), "相邻两个数相差千分之 4 到 8，所以 1 + 0.0001 还是 1。它的指数与 32 位一样宽，这是它胜过 float16 的地方。",
         "x = m·2^e，把 m 换成 8 位的整数再换回去。", rtol=1e-6),
    Number("14.4", 1, "看了几遍", 1024, {
        2048: "批不再是 128：4 张卡 × 每张 8 × 累积 2 = 64。",
        512: "漏了累积：max_steps 数的是优化步，每步要先攒两批。",
        256: "漏了卡数：batch_size 是每张卡的批。",
        128: "卡数与累积都漏了：一个优化步用掉 4 × 8 × 2 张。",
        64: "这是有效的批大小，还要换算成遍数。",
    }, "只有论文的一半。要与论文相同，把 batch_size 改成 16，或者多累积一倍。", "先算一个优化步用掉几张图，再乘步数，除以 5 万。"),
    Choice("14.5", 2, "换成 float16", "B", {
        "A": "float16 最大约 65504，损失在 1 上下，离得很远。",
        "C": "有效数字多，只对大小适中的数有好处；float16 最小到 6×10⁻⁸，比它小的成了 0。数一数梯度里 0 的比例。",
        "D": "位数一样，分法不同：bf16 是 8 位指数、8 位有效数字，float16 是 5 位指数、11 位有效数字。",
    }, "成了 0 的那些本来就小，对方向影响不大；网络更大、梯度更小时就不一定了。先把损失乘大，求出梯度再除回去，它们就不会成 0，"
       "precision=\"16-mixed\" 里的 GradScaler 做的就是这件事。"),
)
