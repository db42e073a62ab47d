"""学习率调度器：步数 → 乘数。乘的是优化器的基础学习率，不是学习率本身

名字沿用参考实现的 lr_min / f_min 等，但它们都是乘数
"""
import bisect
import itertools
import logging
import math
import numbers

from .checks import check_float, check_int, fail

log = logging.getLogger("ddpm_edu")


class LRLambda:
    """步数 → 乘数的可调用对象；自己写的调度器继承它并实现 schedule(n)"""

    def schedule(self, n):
        raise NotImplementedError

    def __call__(self, n):
        return self.schedule(n)


class LambdaWarmUpCosineScheduler(LRLambda):
    """线性热身到 lr_max，再按余弦降到 lr_min，此后不变

    warm_up_steps   : W ≥ 0，单位：优化步
    max_decay_steps : L ≥ W，从这一步起恒为 lr_min
    """

    def __init__(self, warm_up_steps, lr_min, lr_max, lr_start, max_decay_steps, verbosity_interval=0):
        self.warm_up_steps = check_int("warm_up_steps", warm_up_steps, 0)
        self.max_decay_steps = check_int("max_decay_steps", max_decay_steps, max(1, self.warm_up_steps),
                                         advice="衰减终点不能早于热身终点")
        self.lr_min = check_float("lr_min", lr_min, 0)
        self.lr_max = check_float("lr_max", lr_max, 0)
        self.lr_start = check_float("lr_start", lr_start, 0)
        self.verbosity_interval = check_int("verbosity_interval", verbosity_interval, 0)
        self.last_lr = self.lr_start

    def schedule(self, n):
        W, L = self.warm_up_steps, self.max_decay_steps
        if n < W:
            self.last_lr = self.lr_start + (self.lr_max - self.lr_start) * n / W
        elif n >= L:
            self.last_lr = self.lr_min
        else:
            cosine = math.cos(math.pi * (n - W) / (L - W))
            self.last_lr = self.lr_min + 0.5 * (self.lr_max - self.lr_min) * (1 + cosine)
        log_multiplier(self.verbosity_interval, n, self.last_lr)
        return self.last_lr


class _CyclicLambda(LRLambda):
    """多个周期首尾相接；每个参数一周期给一个值。最后一个周期过后停在终值"""

    def __init__(self, warm_up_steps, f_min, f_max, f_start, cycle_lengths, verbosity_interval=0):
        columns = {"warm_up_steps": warm_up_steps, "f_min": f_min, "f_max": f_max, "f_start": f_start,
                   "cycle_lengths": cycle_lengths}
        columns = {name: _as_list(name, value) for name, value in columns.items()}
        sizes = {name: len(values) for name, values in columns.items()}
        if len(set(sizes.values())) != 1:
            fail("各参数的长度", "彼此相同（每个周期一个值）", sizes)
        # 原配置里常见 1.0e13 这样的浮点写法，只要是整数值就接受
        self.cycle_lengths = [check_int("cycle_lengths", _whole(c), 1) for c in columns["cycle_lengths"]]
        self.warm_up_steps = [
            check_int("warm_up_steps", _whole(w), 0, c, "热身不能比周期长")
            for w, c in zip(columns["warm_up_steps"], self.cycle_lengths)
        ]
        self.f_min = [check_float("f_min", f, 0) for f in columns["f_min"]]
        self.f_max = [check_float("f_max", f, 0) for f in columns["f_max"]]
        self.f_start = [check_float("f_start", f, 0) for f in columns["f_start"]]
        self.cum_cycles = [0, *itertools.accumulate(self.cycle_lengths)]
        self.verbosity_interval = check_int("verbosity_interval", verbosity_interval, 0)
        self.last_f = self.f_start[0]

    def find_in_interval(self, n):
        """第 n 步属于第几个周期；边界那一步属于新周期，末尾之后算最后一个周期"""
        return min(bisect.bisect_right(self.cum_cycles, n) - 1, len(self.cycle_lengths) - 1)

    def schedule(self, n):
        cycle = self.find_in_interval(n)
        step = min(n - self.cum_cycles[cycle], self.cycle_lengths[cycle])
        W = self.warm_up_steps[cycle]
        if step < W:
            self.last_f = self.f_start[cycle] + (self.f_max[cycle] - self.f_start[cycle]) * step / W
        else:
            # 热身占满整个周期时没有衰减段，停在 f_max
            span = self.cycle_lengths[cycle] - W
            progress = (step - W) / span if span else 0.0
            self.last_f = self.decay(self.f_min[cycle], self.f_max[cycle], progress)
        log_multiplier(self.verbosity_interval, n, self.last_f)
        return self.last_f

    def decay(self, f_min, f_max, progress):
        raise NotImplementedError


class LambdaWarmUpCosineScheduler2(_CyclicLambda):
    """多周期：线性热身到 f_max，再按余弦降到 f_min

    每个参数都是列表，一个周期一个值；只有一个周期时也可以直接给数
    """

    def decay(self, f_min, f_max, progress):
        return f_min + 0.5 * (f_max - f_min) * (1 + math.cos(math.pi * progress))


class LambdaLinearScheduler(_CyclicLambda):
    """多周期：线性热身到 f_max，再线性降到 f_min；在热身终点连续"""

    def decay(self, f_min, f_max, progress):
        return f_max + (f_min - f_max) * progress


def log_multiplier(interval, n, multiplier):
    """每 interval 步记一行日志；0 表示不记"""
    if interval and n % interval == 0:
        log.info("第 %d 步，学习率乘数 %.6g", n, multiplier)


def _as_list(name, value):
    if isinstance(value, numbers.Real):
        return [value]
    if isinstance(value, str) or not hasattr(value, "__iter__") or not len(value):
        fail(name, "数或非空列表（每个周期一个值）", value, error=TypeError)
    return list(value)


def _whole(value):
    return int(value) if isinstance(value, float) and value.is_integer() else value
