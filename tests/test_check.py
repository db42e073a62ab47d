"""课堂上的断言：说的话与得到的数都印出来，不成立就停"""
import pytest
import torch

from ddpm_edu.teach import check, check_order, check_raises


@pytest.mark.filterwarnings("error")
def test_check_prints_what_it_found_and_fails_on_a_wrong_or_nan_value(capsys):
    check("一加一", 1 + 1, 2)
    check("三分之一", 1 / 3, 0.33333333, atol=1e-6)
    check("容差宽的", 1 / 3, 0.3, atol=0.05)
    check("没有了", 1e-17, 0, atol=1e-12)
    check("很小的数", 2.5e-9, 2.5000001e-9, rtol=1e-6)
    check("三个数", torch.ones(3), torch.ones(3), atol=1e-6)
    check("双精度的恒等式", 1 / 3, 1 / 3, atol=1e-12)
    check("很大的整数", 35746307, 35746307)
    check("都是一", torch.ones(2, 2), 1)
    check("带着梯度的", torch.ones(1, requires_grad=True).sum(), 1, atol=1e-6)
    check("是真的", torch.tensor(True), True)
    assert capsys.readouterr().out.splitlines() == [
        "✓ 一加一：2（完全相等）", "✓ 三分之一：0.3333（误差 ≤ 1e-06）", "✓ 容差宽的：0.3 ± 0.05 之内", "✓ 没有了（误差 ≤ 1e-12）",
        "✓ 很小的数：2.5e-09（相对误差 ≤ 1e-06）",
        "✓ 三个数（3 个数，误差 ≤ 1e-06）", "✓ 双精度的恒等式：0.333333（误差 ≤ 1e-12）",
        "✓ 很大的整数：35746307（完全相等）", "✓ 都是一（4 个数，完全相等）",
        "✓ 带着梯度的：1（误差 ≤ 1e-06）", "✓ 是真的"]
    for wrong in (2.1, float("nan"), False):
        with pytest.raises(AssertionError, match="一加一"):
            check("一加一", wrong, 2, atol=0.05)
    with pytest.raises(AssertionError, match="两个数：最大相差 0.1"):
        check("两个数", torch.tensor([1.0, 20.0]), torch.tensor([1.1, 20.0]), rtol=0.05)
    with pytest.raises(AssertionError, match="形状"):
        check("不许悄悄广播", torch.ones(3), torch.ones(3, 3))


def test_check_order_prints_the_numbers_from_small_to_large(capsys):
    check_order("后面的大", 1 / 3, torch.tensor(0.5), 12345.6)
    check_order("双精度分得清", 1 - 1e-12, 1.0)
    check_order("两位", -2.0, 0.123, 5e13, digits=2)
    assert capsys.readouterr().out == "✓ 后面的大：0.333 < 0.5 < 12346\n✓ 双精度分得清：1 < 1\n✓ 两位：-2 < 0.12 < 5e+13\n"
    for wrong in ((2, 1), (1, 1), (0, float("nan")), (0, 2, 1)):
        with pytest.raises(AssertionError, match="反了：.* 不成立"):
            check_order("反了", *wrong)


def test_check_raises_wants_the_error_and_its_words(capsys):
    def bad():
        raise ValueError("timesteps 应为正整数")

    check_raises("拦得住", bad, "timesteps")
    check_raises("自带的错误只印类型", lambda: {}["x"], "x")
    assert capsys.readouterr().out == "✓ 拦得住\n  ValueError: timesteps 应为正整数\n✓ 自带的错误只印类型\n  KeyError\n"
    with pytest.raises(AssertionError, match="没有报错"):
        check_raises("说法", lambda: None, "x")
    with pytest.raises(AssertionError, match="错误里没有"):
        check_raises("说法", bad, "linear_end")
