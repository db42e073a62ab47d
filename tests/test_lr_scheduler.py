import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpm_edu import LambdaLinearScheduler, LambdaWarmUpCosineScheduler, LambdaWarmUpCosineScheduler2
from ddpm_edu.optim import make_scheduler


def test_cosine_hits_its_breakpoints():
    f = LambdaWarmUpCosineScheduler(100, 0.1, 1.0, 0.01, 1100)
    assert f(0) == 0.01 and f(50) == pytest.approx(0.505) and f(100) == pytest.approx(1.0)
    assert f(600) == pytest.approx(0.55) and f(1100) == 0.1 and f(10**9) == 0.1


@pytest.mark.parametrize("cls", [LambdaWarmUpCosineScheduler2, LambdaLinearScheduler])
def test_cycles_restart_at_the_boundary_and_end_at_f_min(cls):
    f = cls([10, 0], [0.1, 0.0], [1.0, 0.5], [0.0, 0.2], [110, 50])
    assert f(0) == 0.0 and f(10) == pytest.approx(1.0) and f(60) == pytest.approx(0.55)
    # 边界那一步已经属于新周期：没有热身，一开始就是 f_max
    assert f(110) == pytest.approx(0.5)
    assert f(160) == 0.0 and f(10**12) == 0.0


def test_linear_is_continuous_at_the_end_of_warm_up():
    f = LambdaLinearScheduler([100], [0.0], [1.0], [0.0], [1100])
    values = [f(n) for n in range(1101)]
    assert np.abs(np.diff(values)).max() <= 0.01 + 1e-12
    assert f(600) == pytest.approx(0.5)


@pytest.mark.parametrize("cls", [LambdaWarmUpCosineScheduler2, LambdaLinearScheduler])
def test_warm_up_as_long_as_the_cycle_is_defined_everywhere(cls):
    f = cls([10], [0.1], [1.0], [0.0], [10])
    assert f(5) == 0.5 and f(10) == 1.0 and math.isfinite(f(100))


def test_float_cycle_lengths_from_old_configs_are_accepted():
    assert LambdaLinearScheduler([10000], [1.0], [1.0], [1e-6], [10000000000000.0])(20000) == 1.0


@given(st.integers(0, 50), st.integers(0, 200), st.integers(0, 400))
def test_every_scheduler_stays_between_its_bounds(W, extra, n):
    length = max(1, W + extra)
    schedulers = [LambdaWarmUpCosineScheduler(W, 0.1, 1.0, 0.2, length)]
    schedulers += [cls([W], [0.1], [1.0], [0.2], [length]) for cls in (LambdaWarmUpCosineScheduler2, LambdaLinearScheduler)]
    for f in schedulers:
        value = f(n)
        assert type(value) is float and 0.1 - 1e-12 <= value <= 1 + 1e-12


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: LambdaWarmUpCosineScheduler(10, 0, 1, 0, 5), "max_decay_steps"),
        (lambda: LambdaWarmUpCosineScheduler(-1, 0, 1, 0, 5), "warm_up_steps"),
        (lambda: LambdaWarmUpCosineScheduler(1, float("nan"), 1, 0, 5), "lr_min"),
        (lambda: LambdaLinearScheduler([1, 2], [0], [1], [0], [5]), "长度"),
        (lambda: LambdaLinearScheduler([9], [0], [1], [0], [5]), "warm_up_steps"),
        (lambda: LambdaLinearScheduler([], [], [], [], []), "warm_up_steps"),
        (lambda: LambdaLinearScheduler("1", [0], [1], [0], [5]), "warm_up_steps"),
        (lambda: LambdaLinearScheduler([1], [0], [1], [0], [2.5]), "cycle_lengths"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises((ValueError, TypeError), match=name):
        call()


def test_verbosity_interval_logs_the_multiplier(caplog):
    f = LambdaWarmUpCosineScheduler(0, 0, 1, 0, 10, verbosity_interval=5)
    with caplog.at_level("INFO", "ddpm_edu"):
        [f(n) for n in range(10)]
    assert len(caplog.records) == 2


def test_a_recipe_without_target_is_shown_a_scheduler_not_a_network():
    with pytest.raises(ValueError, match=r'例如 \{"target": "ddpm_edu.LambdaLinearScheduler"'):
        make_scheduler({"params": {}}, None)
