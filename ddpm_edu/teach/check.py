"""check：用数值证明一句话"""
import torch


def check(claim, got, want, atol):
    """got 与 want 处处相差不超过 atol 时印出 ✓，否则 AssertionError

    只印容差，不印误差本身：误差随机器而变，容差不变
    """
    got = torch.as_tensor(got, dtype=torch.float64)
    want = torch.as_tensor(want, dtype=torch.float64)
    gap = (got - want).abs().max()
    # NaN 与任何数比较都为假，所以写成“不小于等于”
    if not gap <= atol:
        raise AssertionError(f"{claim}：最大相差 {gap:.3g}，超过 {atol:g}")
    print(f"✓ {claim}（误差 ≤ {atol:g}）")
