"""证明一句话：check 比较两个数，check_raises 证明某个错误会被拦住"""
import torch


def check(claim, got, want, atol=0.0):
    """got 与 want 处处相差不超过 atol 时印出 ✓，否则 AssertionError

    只印容差，不印误差本身：误差随机器而变，容差不变。want 为 True 或 False 时只印 ✓
    """
    got = torch.as_tensor(got, dtype=torch.float64)
    expected = torch.as_tensor(want, dtype=torch.float64)
    if expected.ndim and got.shape != expected.shape:
        raise AssertionError(f"{claim}：形状不同，{tuple(got.shape)} 与 {tuple(expected.shape)}")
    gap = (got - expected).abs().max()
    # NaN 与任何数比较都为假，所以写成“不小于等于”
    if not gap <= atol:
        if isinstance(want, bool):
            raise AssertionError(f"{claim}：不成立")
        numbers = f"应为 {expected:.6g}，得到 {got:.6g}，" if got.ndim == 0 else ""
        raise AssertionError(f"{claim}：{numbers}最大相差 {gap:.3g}，超过 {atol:g}")
    tolerance = f"（误差 ≤ {atol:g}）" if atol else "（完全相等）"
    print(f"✓ {claim}" if isinstance(want, bool) else f"✓ {claim}{tolerance}")


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
