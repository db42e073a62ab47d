import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpm_edu import make_beta_schedule
from ddpm_edu.gaussian import GaussianDiffusion, diffusion_tables
from ddpm_edu.likelihood import kl_constants
from ddpm_edu.schedules import SCHEDULES

# w_eps, w_x0, w_v；行：t = 0, 1, 10, 100, 500；列：v = 0, 0.5, 1
WEIGHTS = {
    "eps": [(0.98715, 0.66383, 0.50005), (0.5133, 0.3392, 0.2533), (0.05703, 0.05395, 0.05120),
            (0.009477, 0.009391, 0.009306), (0.004330, 0.004324, 0.004318)],
    "x0": [(9870.5, 6637.6, 5000), (2533, 1674, 1250), (45.54, 43.09, 40.88), (0.3193, 0.3164, 0.3135),
           (0.002145, 0.002142, 0.002139)],
    "v": [(0.98705, 0.66376, 0.5), (0.5132, 0.3391, 0.2533), (0.05696, 0.05389, 0.05113),
          (0.009204, 0.009120, 0.009038), (0.001435, 0.001433, 0.001430)],
}


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_vlb_weights_match_golden_values(parameterization):
    columns = [diffusion_tables(make_beta_schedule("linear", 1000), v, parameterization)["lvlb_weights"] for v in (0, 0.5, 1)]
    got = np.stack(columns, 1)[[0, 1, 10, 100, 500]]
    # 黄金值只给到 4~5 位有效数字
    np.testing.assert_allclose(got, WEIGHTS[parameterization], rtol=4e-4)


@pytest.mark.parametrize(("schedule", "total"), [("linear", 4999.49963), ("cosine", 12110.66358)])
def test_x0_weights_telescope(schedule, total):
    tables = diffusion_tables(make_beta_schedule(schedule, 1000), 0.0, "x0")
    snr = tables["alphas_cumprod"] / (1 - tables["alphas_cumprod"])
    np.testing.assert_allclose(tables["lvlb_weights"][1:], 0.5 * (snr[:-1] - snr[1:]), rtol=1e-7)
    assert tables["lvlb_weights"][1:].sum() == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_eps_weights_at_v_one_have_the_closed_form(schedule):
    tables = diffusion_tables(make_beta_schedule(schedule, 200), 1.0, "eps")
    beta, cumprod = tables["betas"], tables["alphas_cumprod"]
    np.testing.assert_allclose(tables["lvlb_weights"], beta / (2 * (1 - beta) * (1 - cumprod)), rtol=1e-9)


@pytest.mark.parametrize("v", [0.0, 0.3, 1.0])
def test_weighted_loss_is_the_same_for_all_three_targets(v):
    betas, g = make_beta_schedule("cosine", 40), torch.Generator().manual_seed(1)
    x, noise, guess = torch.randn(3, 40, 3, dtype=torch.float64, generator=g)
    t, losses = torch.arange(40), []
    for name in ("eps", "x0", "v"):
        d = GaussianDiffusion(given_betas=betas, v_posterior=v, parameterization=name).double()
        x_t = d.q_sample(x, t, noise)
        target = d.objective.target(d, x, noise, t)
        # 同一个 x̂0 猜测，换算成各自的输出
        eps = d.predict_noise_from_start(x_t, t, guess)
        out = {"eps": eps, "x0": guess, "v": d.get_v(guess, eps, t)}[name]
        losses.append(d.lvlb_weights[:, None] * (target - out) ** 2)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(losses[1], losses[2], rtol=1e-8, atol=1e-10)


def test_kl_constants_vanish_at_v_zero_and_match_the_direct_formula():
    betas = make_beta_schedule("linear", 100)
    assert np.abs(kl_constants(betas, 0.0)).max() < 1e-15
    tables = diffusion_tables(betas, 1.0)
    tilde = betas * (1 - tables["alphas_cumprod_prev"]) / (1 - tables["alphas_cumprod"])
    want = 0.5 * (np.log(betas[1:] / tilde[1:]) + tilde[1:] / betas[1:] - 1)
    np.testing.assert_allclose(kl_constants(betas, 1.0)[1:], want, rtol=1e-9)


def test_posterior_variance_interpolates_linearly_between_beta_tilde_and_beta():
    betas = make_beta_schedule("sqrt_linear", 1000)
    low, mid, high = (diffusion_tables(betas, v)["posterior_variance"] for v in (0.0, 0.25, 1.0))
    np.testing.assert_allclose(high, betas, rtol=1e-15)
    np.testing.assert_allclose(mid, 0.75 * low + 0.25 * high, rtol=1e-14)
    # 黄金值只有三位小数
    np.testing.assert_allclose((low / betas)[[1, 2, 5, 10, 50]], [0.455, 0.611, 0.778, 0.864, 0.965], atol=6e-4)


def test_log_variance_at_step_zero_uses_the_next_step():
    tables = diffusion_tables(make_beta_schedule("linear", 1000), 0.0)
    assert tables["posterior_variance"][0] == 0
    assert tables["posterior_log_variance_clipped"][0] == pytest.approx(math.log(tables["posterior_variance"][1]))


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
@pytest.mark.parametrize("v", [0.0, 1.0])
def test_a_single_step_chain_has_finite_tables(parameterization, v):
    tables = diffusion_tables(np.array([0.3]), v, parameterization)
    assert all(np.isfinite(table).all() for table in tables.values())


@pytest.mark.parametrize(
    "kwargs", [dict(linear_start=1e-20), dict(given_betas=[1e-20, 0.1, 0.2]), dict(linear_end=0.999),
               dict(beta_schedule="sqrt", linear_end=0.1), dict(beta_schedule="cosine", cosine_s=1e300)])
def test_tables_with_a_single_nan_or_inf_are_refused(kwargs):
    with pytest.raises(ValueError, match="linear_start|cosine_s"):
        GaussianDiffusion(**kwargs)


def test_calls_with_integers_or_other_shapes_are_named():
    d, t, x = GaussianDiffusion(), torch.tensor([1, 2]), torch.zeros(2, 3)
    for call in (d.predict_start_from_noise, d.predict_noise_from_start, d.predict_start_from_z_and_v, d.predict_eps_from_z_and_v):
        with pytest.raises(ValueError, match="x_t.*形状"):
            call(x, t, torch.zeros(2, 1))
        with pytest.raises(TypeError, match="浮点"):
            call(x, t, x.long())
    with pytest.raises(ValueError, match="形状"):
        d.get_v(x, torch.zeros(2, 1), t)
    with pytest.raises(ValueError, match="形状"):
        d.q_posterior(torch.zeros(2, 1), x, t)
    for call in (lambda: d.q_sample(x.byte(), t), lambda: d.q_sample(x, t, 3), lambda: d.q_mean_variance(x.long(), t)):
        with pytest.raises(TypeError, match="浮点"):
            call()


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["linear", "cosine"]), st.integers(0, 999), st.integers(0, 10**6), st.floats(0.01, 100))
def test_conversions_close_in_float32(schedule, step, seed, scale):
    d = GaussianDiffusion(beta_schedule=schedule)
    x, noise = scale * torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(seed))
    t = torch.tensor([step])
    x_t, v = d.q_sample(x, t, noise), d.get_v(x, noise, t)
    unit, a = 2.0**-24, float(d.exact_table("alphas_cumprod")[step])
    size = max(1.0, *(float(z.abs().max()) for z in (x, noise, x_t, v)))
    loose = 8 * unit * size / a**0.5
    tight = 8 * unit * size / (1 - a) ** 0.5
    assert (d.predict_start_from_noise(x_t, t, noise) - x).abs().max() <= loose
    assert (d.predict_start_from_z_and_v(x_t, t, v) - x).abs().max() <= 8 * unit * size
    assert (d.predict_eps_from_z_and_v(x_t, t, v) - noise).abs().max() <= 8 * unit * size
    assert (d.predict_noise_from_start(x_t, t, x) - noise).abs().max() <= tight
    # 三种表示绕一圈
    eps = d.predict_noise_from_start(x_t, t, x)
    back = d.predict_start_from_z_and_v(x_t, t, d.get_v(x, eps, t))
    assert (back - x).abs().max() <= loose + tight
    # float32 的四个平方，大小同 size²
    torch.testing.assert_close(v**2 + x_t**2, noise**2 + x**2, rtol=1e-4, atol=1e-4 * size**2)


def test_q_sample_equals_t_single_steps_in_distribution():
    betas = make_beta_schedule("linear", 30, 1e-3, 0.2)
    d = GaussianDiffusion(given_betas=betas).double()
    mean, variance = 1.0, 0.0
    for t, beta in enumerate(betas):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        got_mean, got_variance, got_log = d.q_mean_variance(torch.ones(1, 1, dtype=torch.float64), torch.tensor([t]))
        assert float(got_mean) == pytest.approx(mean, rel=1e-12)
        assert float(got_variance) == pytest.approx(variance, rel=1e-12)
        assert float(got_log) == pytest.approx(math.log(variance), rel=1e-10)


def test_posterior_is_the_product_of_two_gaussians():
    betas = make_beta_schedule("cosine", 20)
    d = GaussianDiffusion(given_betas=betas).double()
    cumprod = np.cumprod(1 - betas)
    x0, x_t = (torch.full((1, 1), value, dtype=torch.float64) for value in (0.7, -0.4))
    for t in range(1, 20):
        prior_mean, prior_var = math.sqrt(cumprod[t - 1]) * 0.7, 1 - cumprod[t - 1]
        precision = 1 / prior_var + (1 - betas[t]) / betas[t]
        want = (prior_mean / prior_var + math.sqrt(1 - betas[t]) * -0.4 / betas[t]) / precision
        mean, variance, log_variance = d.q_posterior(x0, x_t, torch.tensor([t]))
        assert float(mean) == pytest.approx(want, rel=1e-10)
        assert float(variance) == pytest.approx(1 / precision, rel=1e-10)
        assert float(log_variance) == pytest.approx(-math.log(precision), rel=1e-10)


def test_q_variance_at_step_zero_keeps_float32_accuracy():
    d = GaussianDiffusion()
    _, variance, _ = d.q_mean_variance(torch.zeros(1, 1), torch.tensor([0]))
    exact = 1 - float(d.exact_table("alphas_cumprod")[0])
    # 用 float32 的 1-ᾱ 来算，这里会差万分之一
    assert float(variance) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("move", ["half", "bfloat16", "double"])
def test_precision_moves_leave_the_tables_exact(move):
    d = getattr(GaussianDiffusion(), move)()
    fresh = GaussianDiffusion()
    for name in fresh.exact_table_names():
        got, exact = getattr(d, name), fresh.exact_table(name)
        if move == "double":
            assert torch.equal(got, exact)
        else:
            assert got.dtype == torch.float32 and torch.equal(got, exact.float())
    assert torch.equal(d.half().float().betas, fresh.betas)


def test_half_precision_input_keeps_its_dtype():
    d = GaussianDiffusion()
    x = torch.randn(2, 3).bfloat16()
    assert d.q_sample(x, torch.tensor([0, 999])).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "t", [torch.tensor([0.5, 0.5]), torch.tensor([0, 1000]), torch.tensor([-1, 0]), torch.tensor([0]), 3, torch.tensor([[0, 1]])]
)
def test_bad_t_is_named_in_every_method(t):
    d, x = GaussianDiffusion(), torch.zeros(2, 3)
    for call in (d.q_sample, d.q_mean_variance):
        with pytest.raises((ValueError, TypeError), match="t "):
            call(x, t)
    for call in (d.predict_start_from_noise, d.predict_start_from_z_and_v, d.predict_eps_from_z_and_v):
        with pytest.raises((ValueError, TypeError), match="t "):
            call(x, t, x)


def test_noise_of_another_shape_is_an_error():
    with pytest.raises(ValueError, match="noise"):
        GaussianDiffusion().q_sample(torch.zeros(2, 3), torch.tensor([0, 1]), torch.zeros(2, 4))


@pytest.mark.parametrize("v", [-1, 1.01, float("nan"), "0.5", True])
def test_v_posterior_outside_the_unit_interval_is_an_error(v):
    with pytest.raises((ValueError, TypeError), match="v_posterior"):
        GaussianDiffusion(v_posterior=v)


def test_loading_another_schedule_is_an_error_that_says_both():
    with pytest.raises(RuntimeError, match="T=100.*T=50"):
        GaussianDiffusion(50).load_state_dict(GaussianDiffusion(100).state_dict())
    with pytest.raises(RuntimeError, match="噪声表不一致"):
        GaussianDiffusion(100).load_state_dict(GaussianDiffusion(100, "cosine").state_dict())
    GaussianDiffusion(100, v_posterior=1.0).load_state_dict(GaussianDiffusion(100).state_dict())


def test_schedule_can_be_registered_again():
    d = GaussianDiffusion(100)
    d.register_schedule(beta_schedule="cosine", timesteps=30)
    assert d.num_timesteps == 30 and d.betas.shape == (30,)
