"""第 10 章的习题：训练的一步，可复现、可续、可比"""
import torch
from torch import nn

from . import Choice, Code, Mistake, Number


class Small(nn.Module):
    """各种参数都有一个：卷积、归一化、嵌入、冻结的、logvar"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.GroupNorm(1, 2)
        self.label_embed = nn.Embedding(3, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.logvar = nn.Parameter(torch.zeros(4))


def grouping(decays, counts=lambda p: p.requires_grad):
    """decays(名字, 参数) 是一种错的分法"""
    def function(model):
        pairs = [(name, p) for name, p in model.named_parameters() if counts(p)]
        return [n for n, p in pairs if decays(n, p)], [n for n, p in pairs if not decays(n, p)]

    return function


def is_matrix(name, parameter):
    return parameter.ndim >= 2


def one_update(model, optimizer, parts):
    optimizer.zero_grad()
    for part in parts:
        (model(part).square().mean() / len(parts)).backward()
    optimizer.step()
    return model


def update_cases():
    def case(*sizes):
        generator = torch.Generator().manual_seed(len(sizes))
        model = nn.Linear(3, 2)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
                # 上一步留下的梯度
                p.grad = torch.ones_like(p)
        parts = [torch.randn(size, 3, generator=generator) for size in sizes]
        return model, torch.optim.SGD(model.parameters(), lr=0.1), parts

    return [case(4, 4, 4), case(2, 2)]


def updating(divide=True, clear_first=True, clear_each=False, step_each=False):
    def function(model, optimizer, parts):
        if clear_first:
            optimizer.zero_grad()
        for part in parts:
            if clear_each:
                optimizer.zero_grad()
            loss = model(part).square().mean()
            (loss / len(parts) if divide else loss).backward()
            if step_each:
                optimizer.step()
        if not step_each:
            optimizer.step()
        return model

    return function


def weights_of(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def with_seed(function, seed):
    def wrapped():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return function()

    return wrapped


def draw_three():
    return torch.randn(3)


def draw_and_fail():
    raise ValueError(f"抽到 {torch.rand(()):.3f} 就出错")


def random_behaviour(function):
    """调用两次，看返回值、出错时的话，以及每次之后的全局随机数"""
    seen = {}
    for time in ("第一次", "第二次"):
        torch.rand(2)
        try:
            seen[f"{time}调用的结果"] = function()
        except ValueError as error:
            seen[f"{time}调用的结果"] = str(error)
        seen[f"{time}调用之后的全局随机数"] = torch.rand(2)
    return seen


def only_seeds(function, seed):
    def wrapped():
        torch.manual_seed(seed)
        return function()

    return wrapped


def seeds_once(function, seed):
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    result = function()
    torch.set_rng_state(state)
    return lambda: result


def seeds_outside(function, seed):
    torch.manual_seed(seed)
    return function


def restores(save, restore):
    def make(function, seed):
        def wrapped():
            before = save()
            torch.manual_seed(seed)
            result = function()
            restore(before)
            return result

        return wrapped

    return make


def restores_the_state_at_creation(function, seed):
    state = torch.get_rng_state()

    def wrapped():
        torch.manual_seed(seed)
        try:
            return function()
        finally:
            torch.set_rng_state(state)

    return wrapped


def own_generator(function, seed):
    def wrapped():
        torch.Generator().manual_seed(seed)
        return function()

    return wrapped


EXERCISES = (
    Code("10.1", 1, "谁该衰减", grouping(is_matrix), lambda: [(Small(),)], (
        Mistake("你按名字里有没有 bias 来分，归一化的缩放（norm.weight）与 logvar 就混进了衰减的一组。看维数，不看名字。",
                grouping(lambda name, p: "bias" not in name)),
        Mistake("你按名字是不是以 weight 结尾来分；归一化的缩放也叫 weight，却是一维的。看维数。", grouping(lambda name, p: name.endswith("weight"))),
        Mistake("冻结的参数（requires_grad=False）也收进来了；优化器只管要求梯度的。", grouping(is_matrix, lambda p: True)),
        Mistake("两组放反了：先是要衰减的，后是不衰减的。", grouping(lambda name, p: not is_matrix(name, p))),
        Mistake("维数的界限不对：嵌入与全连接层的权重是二维的，也是矩阵，要衰减。", grouping(lambda name, p: p.ndim > 2)),
        Mistake("全都衰减了；一维的参数不该被拉向 0。", grouping(lambda name, p: True)),
    ), "make_optimizer 就是这样分的，只多了一行 AdamW。", "返回两个列表，里面是参数的名字，次序同 named_parameters()。"),
    Code("10.2", 2, "梯度累积", one_update, update_cases, (
        Mistake("没有除以份数：攒起来的是各份梯度之和，等于把学习率乘了份数倍。", updating(divide=False)),
        Mistake("开头没有清零：上一步留下的梯度也算了进来。", updating(clear_first=False)),
        Mistake("开头没有清零，也没有除以份数。", updating(clear_first=False, divide=False)),
        Mistake("只剩下最后一份的梯度：清零只在开头做一次，backward 要在循环里、每份一次。", updating(clear_each=True)),
        Mistake("每一份都走一步，那就不是累积了：题目要一共只走一步。", updating(step_each=True)),
        Mistake("每一份都清零、都走一步，这是份数那么多步的普通训练。", updating(clear_each=True, step_each=True)),
        Mistake("每一份都清零、都走一步，还没有除以份数：这就是普通的训练，走了好几步。", updating(clear_each=True, step_each=True, divide=False)),
    ), "accumulate_grad_batches=N 就是这样做的：显存只装一份，走的却是 N 份的一步。", "清零一次，每份各 backward 一次，最后走一步。",
         observe=weights_of),
    Code("10.3", 3, "不惊动别人的随机数", with_seed, lambda: [(draw_three, 7), (draw_and_fail, 8)], (
        Mistake("播了种却没有恢复：之后别处抽的随机数全被你改了。", only_seeds),
        Mistake("你在包装的时候就调用了 function；应当返回一个新函数，调用它时才播种、才执行。", seeds_once),
        Mistake("你在包装的时候播种；调用时早已不是那个状态，而且全局的随机数也被改了。", seeds_outside),
        Mistake("出错时没有恢复：把恢复写进 finally，或者用 torch.random.fork_rng。", restores(torch.get_rng_state, torch.set_rng_state)),
        Mistake("你用 initial_seed 重新播种，那会退回到序列的开头；要恢复的是走到一半的状态，用 get_rng_state 与 set_rng_state。",
                restores(torch.initial_seed, torch.manual_seed)),
        Mistake("状态要在每次调用时记下；你记的是包装那一刻的，调用之后全局的随机数倒退回去了。", restores_the_state_at_creation),
        Mistake("function 抽到的数没有受 seed 影响：每次调用它之前，播种的要是全局的随机数；自己的 Generator 管不到它。", own_generator),
    ), "isolated_rng 就是它，另外管着 GPU 的状态。", "核对三件事：两次调用结果相同；调用之后全局的随机数接着走；function 出错时也一样。",
         observe=random_behaviour),
    Choice("10.4", 1, "忘了进程的编号", "C", {
        "A": "数据不同，梯度就不同；相同的只是 t 与噪声。",
        "B": "各卡的梯度先平均再更新，走的是同一步，权重不会分叉。",
        "D": "期望没有变，变的是方差：一共只抽了 16 份 t 与噪声，不是 64 份，平均之后抖得更厉害。",
    }, "梯度仍然无偏，只是等于少抽了四分之三的 t 与噪声。所以键里要有进程的编号。"),
    Number("10.5", 2, "分层抽样的好处", 16, {
        4: "√B 多除了一次：两种抽法求平均时都除以 √B，比的时候约掉。",
        64: "√B 多乘了一次：两种抽法求平均时都除以 √B，比的时候约掉。",
        256: "这是方差之比，题目问标准差。",
        1: "均值相同，标准差不同：分层抽样时，每个样本只能在自己那一段里动。",
        0.0625: "倒过来了：题目问 uniform 是 stratified 的几倍。",
    }, "uniform 是 T/√12/√B，stratified 是 (T/B)/√12/√B，相差 B 倍。批越大，好处越大。", "每段宽 T/B，段内均匀分布的标准差是宽度除以 √12。"),
)
