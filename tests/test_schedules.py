import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpm_edu import make_beta_schedule
from ddpm_edu.sampling import spaced_timesteps
from ddpm_edu.schedules import (
    SCHEDULES,
    alphas_cumprod,
    check_betas,
    rescale_linear_range,
    rescale_zero_terminal_snr,
)

GOLDEN = {
    "linear": (0.9999, 0.333187767356, 7.33412459581e-4),
    "sqrt_linear": (0.9999, 0.0785872428818, 4.03582976538e-5),
    "sqrt": (0.99, 6.11913209533e-16, 3.22e-44),
    "cosine": (0.999958715775, 0.493843590441, 2.42876690703e-9),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_alphas_cumprod_match_golden_values(name):
    cumprod, _ = alphas_cumprod(make_beta_schedule(name, 1000))
    # 黄金值给到 12 位；sqrt 的末项只给了 3 位
    np.testing.assert_allclose(cumprod[[0, 499]], GOLDEN[name][:2], rtol=1e-11)
    np.testing.assert_allclose(cumprod[999], GOLDEN[name][2], rtol=2e-3 if name == "sqrt" else 1e-11)


def test_linear_is_linear_in_the_square_root_and_sqrt_linear_is_linear_in_beta():
    np.testing.assert_allclose(np.diff(np.sqrt(make_beta_schedule("linear", 50)), 2), 0, atol=1e-15)
    np.testing.assert_allclose(np.diff(make_beta_schedule("sqrt_linear", 50), 2), 0, atol=1e-15)
    np.testing.assert_allclose(make_beta_schedule("sqrt", 50) ** 2, make_beta_schedule("sqrt_linear", 50), rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SCHEDULES), st.integers(1, 2000))
def test_every_schedule_stays_inside_the_open_unit_interval(name, T):
    betas = make_beta_schedule(name, T)
    assert betas.shape == (T,) and betas.dtype == np.float64
    assert (betas > 0).all() and (betas < 1).all()


def test_rescaled_range_restores_the_end_of_a_short_chain():
    start, end = rescale_linear_range(100)
    short = alphas_cumprod(make_beta_schedule("linear", 100))[0][-1]
    fixed = alphas_cumprod(make_beta_schedule("linear", 100, start, end))[0][-1]
    # 课程里写着 0.696
    assert short**0.5 == pytest.approx(0.696, abs=1e-3)
    assert fixed**0.5 < 0.03


@pytest.mark.parametrize("betas", [[0.1, 0.2], (0.1, 0.2), np.array([0.1, 0.2])])
def test_given_betas_accept_any_sequence(betas):
    np.testing.assert_array_equal(check_betas(betas), [0.1, 0.2])


@pytest.mark.parametrize("betas", [[], [[0.1]], [0.1, float("nan")], [0.0], [1.0, 0.5], [0.5, 1.1], [-0.1], "ab", 3, [0.1, float("inf")]])
def test_bad_given_betas_are_named(betas):
    with pytest.raises(ValueError, match="given_betas"):
        check_betas(betas)


@pytest.mark.parametrize(
    ("kwargs", "name"),
    [
        (dict(schedule="linaer", n_timestep=10), "beta_schedule.*linear"),
        (dict(schedule="linear", n_timestep=0), "timesteps"),
        (dict(schedule="linear", n_timestep=2.5), "timesteps"),
        (dict(schedule="linear", n_timestep=True), "timesteps"),
        (dict(schedule="linear", n_timestep=10, linear_start=0.0), "linear_start"),
        (dict(schedule="linear", n_timestep=10, linear_start=0.5), "linear_start"),
        (dict(schedule="linear", n_timestep=10, linear_end=1.0), "linear_end"),
        (dict(schedule="cosine", n_timestep=10, cosine_s=-1e-3), "cosine_s"),
        (dict(schedule="cosine", n_timestep=10, cosine_s=float("nan")), "cosine_s"),
    ],
)
def test_bad_schedule_arguments_are_named(kwargs, name):
    with pytest.raises((ValueError, TypeError), match=name):
        make_beta_schedule(**kwargs)


def test_only_the_last_beta_may_be_one():
    np.testing.assert_array_equal(check_betas([0.1, 1.0]), [0.1, 1.0])


@pytest.mark.parametrize("name", SCHEDULES)
def test_rescaling_ends_in_pure_noise_and_keeps_the_first_step(name):
    before = make_beta_schedule(name, 1000)
    after = rescale_zero_terminal_snr(before)
    roots = [np.sqrt(alphas_cumprod(betas)[0]) for betas in (before, after)]
    assert roots[1][-1] == 0 and after[-1] == 1 and (after[:-1] < 1).all() and (after > 0).all()
    assert roots[1][0] == pytest.approx(roots[0][0], rel=1e-12)
    # √ᾱ 只是平移、伸缩：相邻之差的比处处相同
    ratio = np.diff(roots[1]) / np.diff(roots[0])
    np.testing.assert_allclose(ratio[np.abs(np.diff(roots[0])) > 1e-6], ratio[0], rtol=1e-6)
    with pytest.raises(ValueError, match="timesteps.*至少 2"):
        rescale_zero_terminal_snr(before[:1])


def test_too_many_sampling_steps_is_an_error():
    with pytest.raises(ValueError, match="steps"):
        spaced_timesteps(10, 11)
