"""证明一句话：check 比较两个数，check_order 比大小，check_raises 证明某个错误会被拦住"""
from itertools import pairwise

import torch


def check(claim, got, want, atol=0.0, rtol=0.0):
    """got 与 want 处处相差不超过 atol（rtol 是相对于 want 的）时印出 ✓ 与得到的数，否则 AssertionError

    误差本身随机器而变，不印；数印四位，容差极小的印六位，容差比四位还宽的印 want 与容差。want 为 True 或 False 时只印 ✓
    """
    got = torch.as_tensor(got, dtype=torch.float64).detach()
    expected = torch.as_tensor(want, dtype=torch.float64)
    if expected.ndim and got.shape != expected.shape:
        raise AssertionError(f"{claim}：形状不同，{tuple(got.shape)} 与 {tuple(expected.shape)}")
    gap, limit = (got - expected).abs(), atol + rtol * expected.abs()
    # NaN 与任何数比较都为假，所以写成“不小于等于”
    if not (gap <= limit).all():
        if isinstance(want, bool):
            raise AssertionError(f"{claim}：不成立")
        numbers = f"应为 {expected:.6g}，得到 {got:.6g}，" if got.ndim == 0 else ""
        raise AssertionError(f"{claim}：{numbers}最大相差 {gap.max():.3g}，超过 {limit.max():.3g}")
    within = f"误差 ≤ {atol:g}" if atol else f"相对误差 ≤ {rtol:g}" if rtol else "完全相等"
    print(f"✓ {claim}" if isinstance(want, bool) else f"✓ {claim}{found(got, expected, limit, within)}")


def found(got, expected, limit, within):
    """印在说法后面的：一个数，还是多少个数，误差多大"""
    if got.numel() > 1:
        return f"（{got.numel()} 个数，{within}）"
    if limit > 1e-4 * expected.abs():
        return f"（{within}）" if expected.abs() <= limit else f"：{rounded(expected, 4)} ± {rounded(limit, 2)} 之内"
    return f"：{rounded(got, 6 if limit <= 1e-9 * expected.abs() else 4)}（{within}）"


def rounded(number, digits):
    """印 digits 位有效数字；整数与整数部分照写，太大的才写成 10 的幂"""
    number = float(number)
    whole = number.is_integer() or abs(number) >= 10**digits
    return f"{number:.0f}" if whole and abs(number) < 1e9 else f"{number:.{digits}g}"


def check_order(claim, *values, digits=3):
    """几个数从小到大时印出 ✓ 与这几个数，否则 AssertionError；digits 是印几位有效数字"""
    numbers = [float(torch.as_tensor(value, dtype=torch.float64).detach()) for value in values]
    chain = " < ".join(rounded(number, digits) for number in numbers)
    if not all(a < b for a, b in pairwise(numbers)):
        raise AssertionError(f"{claim}：{chain} 不成立")
    print(f"✓ {claim}：{chain}")


def check_raises(claim, call, fragment):
    """call() 抛出的错误里含有 fragment 时印出 ✓ 和那条错误，否则 AssertionError"""
    try:
        call()
    except Exception as error:
        if fragment not in str(error):
            raise AssertionError(f"{claim}：错误里没有 {fragment!r}，而是 {error!r}") from error
        # Python 自带的错误，各版本的写法不同，只印类型
        message = "" if str(error).isascii() else f": {error}"
        print(f"✓ {claim}\n  {type(error).__name__}{message}")
    else:
        raise AssertionError(f"{claim}：没有报错")
