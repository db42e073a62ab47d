"""入口检查：每条错误都说清名字、规则、实得和怎么办

检查一律用 if + raise，不用 assert，所以在 python -O 下照样有效
"""
import difflib
import functools
import inspect
import math
import numbers


def fail(name, rule, got, advice="", error=ValueError):
    raise error(f"{name} 应为{rule}，得到 {got!r}" + (f"；{advice}" if advice else ""))


def check_choice(name, value, choices):
    """value 须是 choices 之一；拼错时给出最接近的写法"""
    if value in choices:
        return value
    near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1)
    fail(name, " " + " / ".join(str(c) for c in choices) + " 之一", value, f"你是想写 {near[0]!r} 吗？" if near else "")


def check_int(name, value, low, high=math.inf, advice=""):
    """整数，low ≤ value ≤ high；True/False 不算整数"""
    rule = f" ≥ {low} 的整数" if high == math.inf else f" {low}..{high} 的整数"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        fail(name, rule, value, advice, TypeError if not isinstance(value, numbers.Real) else ValueError)
    if not low <= value <= high:
        fail(name, rule, value, advice)
    return int(value)


def check_float(name, value, low=-math.inf, high=math.inf, open_low=False, open_high=False, advice=""):
    """有限的实数；open_low / open_high 为真时不含端点"""
    left = "(" if open_low or low == -math.inf else "["
    right = ")" if open_high or high == math.inf else "]"
    rule = f" {left}{low}, {high}{right} 内的数"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        fail(name, rule, value, advice, TypeError)
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (math.isfinite(value) and above and below):
        fail(name, rule, value, advice)
    return float(value)


def check_betas(name, value):
    """AdamW 的两个动量系数，各在 [0, 1)"""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        fail(name, "两个数", value)
    return tuple(check_float(name, b, 0, 1, open_high=True) for b in value)


def check_size(name, value):
    """图的边长：正整数，或 (高, 宽)；高宽相等的写成一个整数"""
    if not isinstance(value, (list, tuple)):
        return check_int(name, value, 1, advice="不是正方形的写 (高, 宽)")
    if len(value) != 2:
        fail(name, "一个整数，或 (高, 宽)", value)
    height, width = (check_int(name, side, 1) for side in value)
    return height if height == width else (height, width)


def check_bool(name, value):
    if not isinstance(value, bool):
        fail(name, " True 或 False", value, "字符串不会被当成布尔值", TypeError)
    return value


def check_str(name, value):
    if not isinstance(value, str) or not value:
        fail(name, "非空字符串", value, error=TypeError)
    return value


def suggest_keywords(init):
    """装饰 __init__：遇到不认识的关键字时，指出最接近的那个"""
    known = [n for n, p in inspect.signature(init).parameters.items() if n != "self"]

    @functools.wraps(init)
    def wrapper(self, *args, **kwargs):
        for name in kwargs:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"你是想写 {near[0]} 吗？" if near else f"可用的有 {', '.join(known)}"
                raise TypeError(f"{type(self).__name__} 没有参数 {name}={kwargs[name]!r}；{hint}")
        return init(self, *args, **kwargs)

    return wrapper


class class_only(classmethod):
    """只在类上调用的 classmethod：它返回新的对象，在对象上调用多半以为改的是手里这个"""

    def __get__(self, instance, owner=None):
        method = super().__get__(instance, owner)
        if instance is None:
            return method

        @functools.wraps(method)
        def refuse(*args, **kwargs):
            fail(f"{method.__name__}", f"在类上调用，如 model = {owner.__name__}.{method.__name__}(...)", "对象上的调用",
                 "它返回新的对象，不改手里这个", TypeError)

        return refuse
