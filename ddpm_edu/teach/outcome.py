"""运行学生的函数，整理返回值，与应得的值比较：出什么错都不外漏"""
import contextlib
import dis
import linecache
import random
import reprlib
import traceback
import warnings
from dataclasses import dataclass

import numpy as np
import torch

from ..randomness import isolated_rng

# 函数体只有 ... 或 pass 时，字节码里只有这几种指令
IDLE = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 120


class Unreadable(TypeError):
    """返回值没法比较"""


@dataclass(frozen=True)
class Outcome:
    """函数在一组参数上的结果：返回值或错误，以及它改动了第几个参数"""

    value: object = None
    error: BaseException | None = None
    mutated: tuple = ()


@contextlib.contextmanager
def contained():
    """里面怎样摆弄随机数、求导开关和默认类型，都不影响外面；里面的随机数每次相同"""
    states, dtype, grad = (random.getstate(), np.random.get_state()), torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        with isolated_rng("exercise"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            random.seed(0)
            np.random.seed(0)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)


def outcomes(function, exercise):
    """函数在每组参数上的 Outcome；停止键照常停下，别的错误都收进 Outcome"""
    return [_outcome(function, i, exercise) for i in range(len(exercise.cases()))]


def _outcome(function, i, exercise):
    with contained():
        args, untouched = exercise.cases()[i], exercise.cases()[i]
        value = error = None
        try:
            value = readable(function(*args), exercise.observe)
        except KeyboardInterrupt:
            raise
        # sys.exit() 之类也不许带走整个 notebook
        except BaseException as caught:
            error = caught
    # 出错的路上改动了参数，也要算
    return Outcome(value, error, tuple(k for k, pair in enumerate(zip(args, untouched)) if _changed(*pair)))


def _changed(after, before):
    try:
        return difference(canonical(after), canonical(before), rtol=0) is not None
    except Exception:
        return False


def is_blank(function, outcome):
    """还没动手：函数体只有 ... 或 pass，或者 raise NotImplementedError"""
    if outcome.error is not None:
        # PyTorch 自己也抛这种错，但总带着话
        return type(outcome.error) is NotImplementedError and not outcome.error.args
    code = getattr(function, "__code__", None)
    idle = code is not None and {instruction.opname for instruction in dis.get_instructions(code)} <= IDLE
    return idle and (outcome.value is None or outcome.value is ...)


def readable(value, observe):
    """返回值 → 比得出的东西；None 与 ... 原样

    异常 : 不认识的类型，或者 observe 不认得它时 Unreadable
    """
    if value is None or value is ...:
        return value
    try:
        return canonical(observe(value))
    except Exception:
        raise Unreadable(f"返回了 {type(value).__name__}，没法比较；看清题目要返回什么") from None


def canonical(value):
    """只留下张量、数、字符串、None 和它们组成的元组、字典；别的 TypeError"""
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor).to_dense().cpu().clone()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return tuple(canonical(item) for item in value)
    if isinstance(value, dict):
        return {str(key): canonical(item) for key, item in value.items()}
    if value is None or value is ... or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(type(value).__name__)


def difference(got, want, rtol):
    """got 与 want 相同时 None，否则一句话说清差在哪里；容差是 rtol 乘元素本身，再加 rtol 的百分之一乘最大的元素"""
    if isinstance(want, torch.Tensor):
        return _tensor_difference(got, want, rtol)
    if isinstance(want, tuple) and isinstance(got, torch.Tensor) and got.ndim:
        got = tuple(got)
    if isinstance(want, tuple) and isinstance(got, tuple) and len(got) != len(want):
        return f"应有 {len(want)} 项，你的有 {len(got)} 项"
    if isinstance(want, dict) and isinstance(got, dict) and set(got) != set(want):
        extra, missing = sorted(set(got) - set(want)), sorted(set(want) - set(got))
        return "；".join(f"{what} {SHORT.repr(keys)}" for what, keys in (("多了", extra), ("少了", missing)) if keys)
    if isinstance(want, (tuple, dict)) and type(got) is type(want):
        labels = [(f"第 {i + 1} 项", i) for i in range(len(want))] if isinstance(want, tuple) else [(f"{key!r} 一项", key) for key in want]
        gaps = ((label, difference(got[key], want[key], rtol)) for label, key in labels)
        return next((f"{label}：{gap}" for label, gap in gaps if gap), None)
    if _is_number(want) and isinstance(got, torch.Tensor) and got.is_complex():
        return "应为实数，你的是复数；虚部是 0 的话，取 .real"
    if _is_number(want) and (_is_number(got) or isinstance(got, torch.Tensor) and got.dtype != torch.bool and not got.is_complex()):
        return _tensor_difference(torch.as_tensor(got, dtype=torch.float64), torch.tensor(want, dtype=torch.float64), rtol)
    if isinstance(want, bool) and isinstance(got, torch.Tensor) and got.dtype == torch.bool and got.ndim == 0:
        got = bool(got)
    return None if type(got) is type(want) and got == want else f"应为 {show(want)}，你的是 {show(got)}"


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _tensor_difference(got, want, rtol):
    if isinstance(got, tuple) or _is_number(got):
        try:
            got = torch.tensor(got, dtype=want.dtype)
        except (TypeError, ValueError, RuntimeError):
            return f"应为形状 {tuple(want.shape)} 的张量或数组，你的是 {show(got)}"
    if not isinstance(got, torch.Tensor):
        return f"应为形状 {tuple(want.shape)} 的张量或数组，你的是 {show(got)}"
    if got.shape != want.shape:
        return f"形状应为 {tuple(want.shape)}，你的是 {tuple(got.shape)}"
    if got.is_complex():
        return "应为实数，你的是复数；虚部是 0 的话，取 .real"
    a, b = got.double(), want.double()
    size = b[b.isfinite()].abs().max() if b.isfinite().any() else 0.0
    # b 无穷时容差也是无穷，不能算近
    close = (a == b) | (a.isnan() & b.isnan()) | b.isfinite() & ((a - b).abs() <= rtol * b.abs() + 0.01 * rtol * size)
    if not close.all():
        # NaN 与无穷最该先看
        gap = torch.where(close, -1.0, (a - b).abs().nan_to_num(nan=torch.inf, posinf=torch.inf))
        place = np.unravel_index(int(gap.argmax()), gap.shape)
        where = f"下标 {[int(i) for i in place]} 处" if gap.ndim else ""
        return f"{where}应为 {b[place].item():.6g}，你的是 {a[place].item():.6g}"
    return None if got.dtype == want.dtype else f"数值对了，但 dtype 应为 {_dtype(want)}，你的是 {_dtype(got)}"


def _dtype(tensor):
    return str(tensor.dtype).removeprefix("torch.")


def show(value):
    """一个参数或返回值的简短写法；大的张量只写形状"""
    kind = "数组" if isinstance(value, np.ndarray) else "张量"
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, torch.Tensor):
        small = value.numel() <= 6 and value.ndim <= 1
        return "[" * value.ndim + ", ".join(f"{x:.4g}" for x in value.reshape(-1).tolist()) + "]" * value.ndim if small else (
            f"形状 {tuple(value.shape)} 的{kind}")
    return SHORT.repr(value)


def explain_error(error, function):
    """一句话：哪一行抛出了什么"""
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, RecursionError):
        return "函数不停地调用自己，没有尽头"
    code = getattr(function, "__code__", None)
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if code and frame.f_code.co_filename == code.co_filename]
    text = linecache.getline(code.co_filename, lines[-1]).strip() if lines else ""
    place = f"运行到 {text} 这一行" if text else "运行" if lines else "调用"
    try:
        message = str(error).strip().partition("\n")[0][:200]
    except Exception:
        message = ""
    return f"{place}时出错：{type(error).__name__}" + (f": {message}" if message else "")
