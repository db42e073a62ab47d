"""第 12 章的习题：学习率调度器"""
import math

from ...config import instantiate_from_config
from ...lr_scheduler import LambdaWarmUpCosineScheduler, LambdaWarmUpCosineScheduler2, LRLambda
from . import Choice, Code, Mistake, Number


def multiplier(n, W, L, f_start, f_max, f_min):
    return LambdaWarmUpCosineScheduler(W, f_min, f_max, f_start, L)(n)


def step_cases():
    # 走过总长之后，余弦若不停下会升回去；最后两组没有热身
    shape = (10, 50, 0.1, 1.0, 0.2)
    return [(n, *shape) for n in (0, 4, 10, 20, 45, 50, 75)] + [(n, 0, 20, 0.0, 2.0, 0.0) for n in (0, 5)]


def curving(warm=lambda n, W, start, top: start + (top - start) * n / W, progress=lambda n, W, L: (n - W) / (L - W),
            wave=lambda u: 0.5 * (1 + math.cos(math.pi * u)), end=True):
    """改动三段之一，得到一种错的写法"""
    def function(n, W, L, f_start, f_max, f_min):
        if n < W:
            return warm(n, W, f_start, f_max)
        if end and n >= L:
            return f_min
        return f_min + (f_max - f_min) * wave(progress(n, W, L))

    return function


def locate(n, cycle_lengths):
    lengths = list(cycle_lengths)
    f = LambdaWarmUpCosineScheduler2([0] * len(lengths), [0] * len(lengths), [1] * len(lengths), [0] * len(lengths), lengths)
    cycle = f.find_in_interval(n)
    return cycle, min(n - f.cum_cycles[cycle], lengths[cycle])


def cycle_cases():
    return [(n, [10, 20, 5]) for n in (0, 9, 10, 29, 30, 35, 60)] + [(n, [7]) for n in (6, 7)]


def locating(belongs=lambda n, length: n < length, after=lambda n, last, lengths: (last, lengths[last])):
    def function(n, cycle_lengths):
        for cycle, length in enumerate(cycle_lengths):
            if belongs(n, length):
                return cycle, n
            n -= length
        last = len(cycle_lengths) - 1
        return after(n, last, cycle_lengths)

    return function


def counting(n, cycle_lengths):
    """没有减去前面的周期"""
    return locate(n, cycle_lengths)[0], min(n, sum(cycle_lengths))


def warm_cosine(W, L, f_start=0.01, f_max=1.0, f_min=0.1):
    return {"target": "ddpm_edu.LambdaWarmUpCosineScheduler",
            "params": {"warm_up_steps": W, "lr_min": f_min, "lr_max": f_max, "lr_start": f_start, "max_decay_steps": L}}


def recipe(samples, batch_size, accumulate, epochs, warm_up_epochs):
    return planning()(samples, batch_size, accumulate, epochs, warm_up_epochs)


def planning(per_epoch=lambda s, b, a: math.ceil(math.ceil(s / b) / a), warm=lambda per, w: per * w, total=lambda per, e, w: per * e, **shape):
    """改动步数的算法或乘数，得到一种错的写法"""
    def function(samples, batch_size, accumulate, epochs, warm_up_epochs):
        steps = per_epoch(samples, batch_size, accumulate)
        return warm_cosine(warm(steps, warm_up_epochs), total(steps, epochs, warm_up_epochs), **shape)

    return function


def curve_of(recipe):
    """按配方造出调度器，取它在若干步上的乘数；写法不同而曲线相同的配方一样算对"""
    steps = {f"第 {n} 步的乘数": n for n in range(0, 400, 3)}
    try:
        scheduler = instantiate_from_config(recipe, kinds=(LRLambda,), name="scheduler_config")
    except (TypeError, ValueError) as error:
        return {"调度器": f"造不出：{error}", **dict.fromkeys(steps)}
    return {"调度器": "造得出", **{label: scheduler(n) for label, n in steps.items()}}


def plan_cases():
    # 两组都除不尽：最后一批不满，最后一组累积也不满
    return [(1000, 30, 4, 20, 2), (100, 16, 2, 10, 1)]


EXERCISES = (
    Code("12.1", 1, "热身加余弦", multiplier, step_cases, (
        Mistake("余弦段要从热身的终点算起：走了几成是 (n-W)/(L-W)，你用了 n/L，热身终点会跳一下。", curving(progress=lambda n, W, L: n / L)),
        Mistake("分母应是衰减段的长度 L-W，你用了 L，到不了底。", curving(progress=lambda n, W, L: (n - W) / L)),
        Mistake("走过 L 之后要停在 f_min；余弦会升回去。", curving(end=False)),
        Mistake("热身要从 f_start 升起，你从 0 升起了。", curving(lambda n, W, start, top: top * n / W)),
        Mistake("升起的是 f_max 与 f_start 之差；你加了整个 f_max，热身终点会冒过头。", curving(lambda n, W, start, top: start + top * n / W)),
        Mistake("余弦前面是加号：刚过热身时在顶上，然后降下来；你从底上升起了。", curving(wave=lambda u: 0.5 * (1 - math.cos(math.pi * u)))),
        Mistake("漏了系数 ½：1+cos 从 2 降到 0，要减半才是从 1 到 0。", curving(wave=lambda u: 1 + math.cos(math.pi * u))),
        Mistake("你写的是直线；余弦要两头平、中间陡。", curving(wave=lambda u: 1 - u)),
    ), "三段在 W 与 L 处都接得上。"),
    Code("12.2", 2, "第几个周期的第几步", locate, cycle_cases, (
        Mistake("边界那一步属于新周期的第 0 步，你算在旧周期里了；参考实现也是这样。", locating(lambda n, length: n <= length)),
        Mistake("走完之后没有答案：最后一个周期过后，要停在它的末尾。参考实现正是在这里返回 None，接着 TypeError。",
                locating(after=lambda n, last, lengths: None)),
        Mistake("走完之后步数还在涨；要停在最后一个周期的长度上。", locating(after=lambda n, last, lengths: (last, n + lengths[last]))),
        Mistake("走完之后要停在最后一个周期的末尾，步数等于它的长度，而不是长度减 1：那一步乘数才到底。",
                locating(after=lambda n, last, lengths: (last, lengths[last] - 1))),
        Mistake("走完之后又多出了一个周期；周期的序号最大是个数减 1。", locating(after=lambda n, last, lengths: (last + 1, 0))),
        Mistake("周期内的步数没有从 0 数起：要减去前面那些周期的长度。", counting),
    ), "find_in_interval 用二分查找做同一件事。", "先试边界：lengths=[10, 20, 5] 时，n=9、10、35 各是多少？"),
    Code("12.3", 3, "以轮计的配方", recipe, plan_cases, (
        Mistake("没有计入梯度累积：调度器数的是优化步，几批才走一步。", planning(lambda s, b, a: math.ceil(s / b))),
        Mistake("一轮的末尾，累积不满一组也更新一次；除法要向上取整，你舍去了。", planning(lambda s, b, a: math.ceil(s / b) // a)),
        Mistake("最后一批不满也算一批；样本数除以 batch 大小，要向上取整。", planning(lambda s, b, a: math.ceil(s // b / a))),
        Mistake("热身写成了轮数：warm_up_steps 的单位是优化步，要乘每轮的步数。", planning(warm=lambda per, w: w)),
        Mistake("两处都写成了轮数：配方里的单位都是优化步，要乘每轮的步数。", planning(warm=lambda per, w: w, total=lambda per, e, w: e)),
        Mistake("总长不要减去热身：max_decay_steps 从第 0 步数起，是降到底的那一步。", planning(total=lambda per, e, w: per * (e - w))),
        Mistake("总长不要再加热身：max_decay_steps 从第 0 步数起，已经包含热身。", planning(total=lambda per, e, w: per * (e + w))),
        Mistake("你填的是学习率；lr_max 这些都是乘数，要乘上 learning_rate=2e-4。", planning(f_start=2e-6, f_max=2e-4, f_min=2e-5)),
    ), "换了 batch 大小、累积的批数，轮数不变，这份配方自己会跟上。",
         "先算每轮有几批，再算每轮走几个优化步；target 写 ddpm_edu.LambdaWarmUpCosineScheduler。", observe=curve_of),
    Number("12.4", 2, "此刻的学习率", 1.73640e-4, {
        0.868198: "这是乘数；学习率还要乘 learning_rate。",
        1.55e-4: "这是直线衰减的值；余弦在前四分之一降得慢。",
        1.70711e-4: "你把 f_min 当成了 0。",
        1.57025e-4: "余弦段从 W 算起：走了 (n-W)/(L-W)，不是 n/L。",
        1.78437e-4: "分母是 L-W，不是 L。",
    }, "走过四分之一，余弦降了 13 %，直线要降 22.5 %：余弦两头平、中间陡。",
           "先求走了几成，再代入余弦段的公式，最后乘 learning_rate。"),
    Choice("12.5", 3, "忘了写 interval", "A", {
        "B": "走得完热身要更新 1000 次；按轮更新，20 轮只更新 20 次，离峰值还远。",
        "C": "不会报错：按轮更新也是合法的写法，Lightning 默认就是它。这才麻烦。",
        "D": "热身从 f_start 起步，不从峰值起步；没走到的步，乘数不会提前生效。",
    }, "学习率每轮才变一次，最多到峰值的 2 %。损失降得极慢，看上去像网络太小。所以 configure_optimizers 写明 interval=\"step\"。"),
)
