"""第 11 章的习题：指数滑动平均"""
import copy

import torch
from torch import nn

from . import Choice, Code, Mistake, Number


def ema_step(shadow, theta, decay, n):
    return averaging()(shadow, theta, decay, n)


def averaging(used=lambda decay, n: min(decay, (1 + n) / (10 + n)), mix=lambda s, theta, d: d * s + (1 - d) * theta):
    return lambda shadow, theta, decay, n: mix(shadow, theta, used(decay, n))


def step_cases():
    shadow, theta = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, 1.0, 0.0])
    return [(shadow.clone(), theta.clone(), decay, n) for decay, n in ((0.9999, 1), (0.9, 1000), (0.99, 20), (0.9999, 1000))]


def shares(decays):
    """照更新式走一遍，权重换成单位矩阵的各行：影子里就是各自的占比"""
    start, *thetas = torch.eye(len(decays) + 1, dtype=decays.dtype)
    for d, theta in zip(decays, thetas):
        start = d * start + (1 - d) * theta
    return start


def decay_cases():
    n = torch.arange(1, 6, dtype=torch.float64)
    return [((1 + n) / (10 + n),), (torch.tensor([0.5, 0.9, 0.8]),)]


def sharing(first=1.0, own=0, cumulate=lambda d: d.flip(0).cumprod(0).flip(0), new=lambda d: 1 - d):
    """own=1 时把自己那一步的衰减也乘了进去"""
    def function(decays):
        after = torch.cat([cumulate(decays), torch.ones(1, dtype=decays.dtype)])
        start = after[:1] * first
        return torch.cat([start, new(decays) * after[1 - own:len(after) - own]])

    return function


class Net(nn.Sequential):
    """带 BatchNorm 的小网络；优化器手里是它最初的参数，复制品的 address 与 id 不符"""

    def __init__(self, name, value):
        super().__init__(nn.Linear(2, 1), nn.BatchNorm1d(1))
        for tensor in self.state_dict().values():
            tensor.fill_(value)
        self[1].num_batches_tracked.zero_()
        self.name, self.address = name, id(self)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=1.0)

    def __repr__(self):
        return "一个网络"


def swap(model, shadow):
    return swapping(exchange)(model, shadow)


def swap_cases():
    return [(Net("model", a), Net("shadow", b)) for a, b in ((1.0, 5.0), (-2.0, 0.5))]


def floats(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items() if tensor.is_floating_point()}


def after_swapping(pair):
    """对调之后两边各是什么；优化器再走一步，两边又是什么"""
    model, shadow = pair
    seen = {"返回的": [net.name if net.address == id(net) else f"{net.name} 的复制品" for net in pair]}
    seen |= {"网络": floats(model), "影子": floats(shadow)}
    for group in model.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    model.optimizer.step()
    return seen | {"训练一步之后的网络": floats(model), "训练一步之后的影子": floats(shadow)}


def swapping(action, tensors=lambda module: module.state_dict().values()):
    """对每一对张量做 action"""
    def function(model, shadow):
        with torch.no_grad():
            for a, b in zip(tensors(model), tensors(shadow)):
                action(a, b)
        return model, shadow

    return function


def exchange(a, b):
    kept = a.clone()
    a.copy_(b)
    b.copy_(kept)


def share_storage(a, b):
    kept = a.clone()
    a.data = b.data
    b.copy_(kept)


def replace_parameters(model, shadow):
    for a, b in zip(model, shadow):
        for name, own in list(a.named_parameters()):
            other = getattr(b, name)
            setattr(a, name, other)
            setattr(b, name, own)
        for own, other in zip(a.buffers(), b.buffers()):
            exchange(own, other)
    return model, shadow


def assign_new(model, shadow):
    kept, other = ({name: tensor.clone() for name, tensor in net.state_dict().items()} for net in (model, shadow))
    model.load_state_dict(other, assign=True)
    shadow.load_state_dict(kept, assign=True)
    return model, shadow


EXERCISES = (
    Code("11.1", 1, "更新一次影子", ema_step, step_cases, (
        Mistake("d 与 1-d 用反了：旧的影子占 d，新的权重只占 1-d。", averaging(mix=lambda s, theta, d: (1 - d) * s + d * theta)),
        Mistake("没有热身：真正用到的是 min(decay, (1+n)/(10+n))。", averaging(lambda decay, n: decay)),
        Mistake("两者要取小的，你取了大的；热身是让衰减从小的开始。", averaging(lambda decay, n: max(decay, (1 + n) / (10 + n)))),
        Mistake("n 从 1 数起，已经是这一次更新的序号；你又加了 1。", averaging(lambda decay, n: min(decay, (2 + n) / (11 + n)))),
        Mistake("n 从 1 数起，不要减 1。", averaging(lambda decay, n: min(decay, n / (9 + n)))),
        Mistake("热身过后要停在 decay，不能让 (1+n)/(10+n) 一直升下去。", averaging(lambda decay, n: (1 + n) / (10 + n))),
    ), "n=1 时只有 2/11，影子一步就靠近了八成，初值很快就忘了。", "先看 n=1：用到的衰减是 2/11。"),
    Code("11.2", 2, "谁占多少", shares, decay_cases, (
        Mistake("第 k 个权重进来时占 1-d_k，此后每次更新才乘 d；你把它自己的 d_k 也乘了进去。", sharing(own=1)),
        Mistake("次序反了：一个权重进来之后，乘的是它后面的那些 d，不是前面的。",
                sharing(cumulate=lambda d: torch.cat([d.prod()[None], d.cumprod(0)[:-1]]))),
        Mistake("漏了初值：它的占比是全部 d 的乘积，放在最前面。", lambda decays: sharing()(decays)[1:]),
        Mistake("初值的占比不是 0：它是全部 d 的乘积。", sharing(first=0.0)),
        Mistake("衰减每次不同，不能拿最后一个 d 当常数用。", lambda decays: shares(torch.full_like(decays, float(decays[-1])))),
        Mistake("权重进来时占的是 1-d_k，不是 d_k。", sharing(new=lambda d: d)),
    ), "占比加起来是 1，所以影子总在从前的权重之间。"
       "d_n=(1+n)/(2+n) 时，每个权重各占一份，初值占两份，一份是 1/(N+2)。", "占比加起来应是 1；先试只更新一次，应是 d 与 1-d。",
         observe=lambda value: torch.as_tensor(value).double()),
    Code("11.3", 3, "对调", swap, swap_cases, (
        Mistake("两边都成了影子：网络原来的权重没有留住。state_dict 给的张量与网络共用存储，抄之前先 clone 一份。",
                swapping(lambda a, b: a.copy_(b))),
        Mistake("什么也没有变：a, b = b, a 只换了变量名的指向，没有动张量。就地抄要用 copy_。", swapping(lambda a, b: None)),
        Mistake("缓冲区没有对调：BatchNorm 的均值与方差也要平均，所以也要换。只看 parameters() 就漏了。",
                swapping(exchange, lambda module: module.parameters())),
        Mistake("你把两边的 Parameter 换了主人：优化器手里还是原来的那些，再训练一步，更新的就是影子。要换的是里面的数，不是对象。", replace_parameters),
        Mistake("你给网络换上了新的 Parameter（assign=True 或重新赋值）：优化器手里还是旧的，再训练一步，网络不动。要换的是里面的数，用 copy_。", assign_new),
        Mistake("两边共用了一份存储：改一边，另一边也跟着变。用 copy_ 抄数，不要让 .data 指向同一处。",
                swapping(share_storage, lambda module: [*module.parameters(), *module.buffers()])),
        Mistake("你只把两个变量的次序对调了：优化器与别处拿着的那个 model，权重没有变。", lambda model, shadow: (shadow, model)),
        Mistake("你返回的是两个复制品，原来的两个网络没有变；优化器手里的还是旧的。",
                lambda model, shadow: (copy.deepcopy(shadow), copy.deepcopy(model))),
        Mistake("抄反了一边：网络没有换上影子，两边都成了网络的权重。", swapping(lambda a, b: b.copy_(a))),
    ), "再对调一次就换回来了。store、copy_to、restore 三步走，多用一份内存，但影子始终不动，中途出错也不怕。",
         "就地改参数，要放在 torch.no_grad() 里；返回 (model, shadow)；state_dict().values() 里参数与缓冲区都有。", observe=after_swapping),
    Number("11.4", 2, "一批变成四倍的图", 0.9999**4, {
        0.9999: "一步顶从前的四步，影子忘掉初值却还要同样多的步数，也就是四倍的图。",
        0.9999**0.25: "方向反了：步数少了，一步要忘得更多，衰减要更小。",
        0.9999 / 4: "衰减不能除以 4。从前走四步，旧的影子乘了四次 d。",
    }, "从前四步乘 d 四次，如今一步就要乘 d⁴，约 0.9996：半衰期从 6931 步缩到 1733 步，看过的图一样多。梯度累积 4 批也是这样。",
           "看过同样多的图，旧的影子从前乘了几次 d，如今乘了几次？", rtol=1e-6),
    Choice("11.5", 3, "学习率减半", "C", {
        "A": "方差之比不是 1/4：把第 3 节的比值用在新的 φ=0.95 上，再乘上权重的方差。",
        "B": "影子与权重之比也变了：抖动的相关系数由 0.9 升到 0.95，记得更久，平均时抵消得更少。",
        "D": "第 3 节的公式给的是影子与权重之比，比值确实变大到 1.37 倍；权重自己的抖动却小到 0.70 倍，两样要乘起来。",
    }, "学习率小了，抖得轻，每次抖动却记得更久，平均时抵消得少，两样几乎相消。平均得比抖动的记忆长得多时，影子的方差近于 (1-d)/(1+d)，与学习率无关。"),
)
