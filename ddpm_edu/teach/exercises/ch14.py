"""第 14 章的习题：训练 CIFAR-10"""
import torch

from . import Choice, Code, Mistake


def multiplications(channels, height, width):
    return counting()(channels, height, width)


def size_cases():
    return [(8, 4, 6), (16, 3, 3), (4, 8, 8), (128, 32, 32)]


def counting(projections=4, products=2, positions=lambda height, width: height * width, kernel=1):
    """1×1 卷积做几次，矩阵乘做几次；改动一处，得到一种错的数法"""
    def function(channels, height, width):
        n = positions(height, width)
        return projections * kernel * channels**2 * n + products * channels * n**2

    return function


def parameters(channels, height, width):
    return 4 * channels**2


def combining(weigh=lambda n: n, total=sum):
    """各卡的梯度乘上 weigh(张数) 加起来，再除以 total(那些权重)"""
    def function(gradients, counts):
        weights = [weigh(n) for n in counts]
        return sum(w * g for w, g in zip(weights, gradients)) / total(weights)

    return function


def card_cases():
    generator = torch.Generator().manual_seed(0)
    return [([torch.randn(2, 3, generator=generator) for _ in counts], counts) for counts in ([32, 8], [4, 4, 1], [5, 5, 5, 5])]


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
    Code("14.1", 2, "注意力的乘法", multiplications, size_cases, (
        Mistake("这是参数的个数；同一个 1×1 卷积要在每个位置上各用一遍。", parameters),
        Mistake("只数了四个 1×1 卷积：q 与 k、权重与 v 的两次矩阵乘也是乘法，各要 位置数² × 通道 次。", counting(products=0)),
        Mistake("只数了两次矩阵乘：q、k、v 与最后的输出还各有一个 1×1 卷积。", counting(projections=0)),
        Mistake("矩阵乘有两次：先是 q 与 k，再是权重与 v。", counting(products=1)),
        Mistake("q、k、v 是三个不同的卷积，要各数一次。", counting(projections=2)),
        Mistake("漏了最后的一个 1×1 卷积。", counting(projections=3)),
        Mistake("位置数是高乘宽；注意力让每个位置看所有的位置，不是只看一行。", counting(positions=lambda height, width: height)),
        Mistake("位置数是高乘宽，不是高加宽。", counting(positions=lambda height, width: height + width)),
        Mistake("卷积核是 1×1 的，不用再乘 9。", counting(kernel=9)),
    ), "16×16、256 通道约 1 亿次，三分之一在矩阵乘上；32×32、128 通道是 3.4 亿次，八成在矩阵乘上，因为它随位置数的平方涨。"
       "所以论文只把注意力放在小的特征图上：第 3 节的图里，它占全部乘法的 8%，这样的矩阵乘约占 3%。",
         "位置数记作 n：一个 1×1 卷积是 n × 通道²，一次矩阵乘是 n² × 通道。"),
    Code("14.2", 1, "几张卡的批不一样大", combining(), card_cases, (
        Mistake("你取了普通的平均：批小的卡，每张图就占得多了。要按张数加权。", combining(weigh=lambda n: 1)),
        Mistake("加权之后要除以总的张数，不是除以卡数。", combining(total=len)),
        Mistake("加权之后还要除以总的张数，否则学习率就变大了。", combining(total=lambda weights: 1)),
        Mistake("你把各卡的梯度加了起来，既没有加权，也没有除：各卡给的是平均损失的梯度。", combining(weigh=lambda n: 1, total=lambda weights: 1)),
        Mistake("权重用反了：张数多的卡应当占得多。", combining(weigh=lambda n: 1 / n)),
        Mistake("各卡给的是平均损失的梯度，先乘回自己的张数，再除以总数；你只除了总数。",
                lambda gradients, counts: sum(gradients) / sum(counts)),
    ), "DDP 与梯度累积都只取普通的平均，所以各小批要一样大，两者才与一大批相同。", "各卡的平均乘以张数是总和；总和加起来，再除以总张数。"),
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
    Choice("14.4", 1, "造一份坏样本", "C", {
        "A": "颜色都在，可是块与块接不上，大的形状也没有了。网络看局部的花纹，也看它们摆在哪里，倒数第二层的特征会变。",
        "B": "像素一个不少，只是换了位置；可是网络没有学过倒着的图，同样的花纹摆在别处，特征就变了。",
        "D": "每一张都是真图，可是距离比的是一批图的均值与协方差：十张图的协方差，与几千张的差得远。",
    }, "C 的距离与原样的真图一个数也不差，因为公式里没有类别。八个种子，各 400 张：原样与 C 都是 1.2 ± 0.2，B 是 18.4 ± 0.8，A 是 28.4 ± 0.3，"
       "D 是 34 ± 3。换成认出率，C 只有 1.1 ± 0.1%，D 却有 86 ± 4%，与原样的 85.2 ± 0.8% 分不开。两个指标各有看不见的一面，要配着用。"),
    Choice("14.5", 2, "换成 float16", "B", {
        "A": "float16 最大约 65504，损失在 1 上下，离得很远。",
        "C": "有效数字多，只对大小适中的数有好处；float16 最小到 6×10⁻⁸，比它小的成了 0。数一数梯度里 0 的比例。",
        "D": "位数一样，分法不同：bf16 是 8 位指数、8 位有效的二进制数字，float16 是 5 位指数、11 位。",
    }, "换八批图来量：11 ± 1% 的数成了 0，方向只偏 0.5 度，bf16 偏 15 ± 2 度。"
       "权重本来就是 float16，这里占了便宜；把低位填上再量，是 4.3 ± 0.6 度对 12.7 ± 2.4 度。"
       "成了 0 的那些本来就小，对方向影响不大；网络更大、梯度更小时就不一定了。先把损失乘大，求出梯度再除回去，它们就不会成 0，"
       "precision=\"16-mixed\" 里的 GradScaler 做的就是这件事。"),
)
