"""高斯数据上一切都有精确答案：去噪链必须一分不差"""
import math

import numpy as np
import pytest
import torch

from ddpm_edu import make_beta_schedule
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.likelihood import bits_per_dim, discretized_gaussian_nll, kl_constants, vlb_terms
from ddpm_edu.sampling import spaced_timesteps
from ddpm_edu.solvers import velocity
from ddpm_edu.teach.brightness import fit_brightness, flat
from ddpm_edu.teach.laboratory import Memorizer, ancestral, chain_gains, chain_moments, ddim_chain_variance, flow_end, gaussian_ddpm, ideal_start

BETAS = make_beta_schedule("linear", 50, 1e-3, 0.25)


@pytest.mark.parametrize(
    ("schedule", "T", "want"),
    [("linear", 10, (0.665016, 0.675846, 0.686676)), ("linear", 1000, (0.247766, 0.249116, 0.250466)),
     ("cosine", 10, (0.151054, 0.211621, 0.272189))],
)
def test_chain_variance_matches_golden_values(schedule, T, want):
    got = [chain_moments(make_beta_schedule(schedule, T), 0.3, 0.5, v)[1] for v in (0.0, 0.5, 1.0)]
    # 黄金值给了六位小数
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
@pytest.mark.parametrize("v", [0.0, 0.5, 1.0])
def test_impulse_response_of_every_single_step(parameterization, v):
    """每一步给定 x_t 与噪声，结果应正好是 g·x + h + σ·z；t=0 时噪声不起作用"""
    model = gaussian_ddpm(BETAS, v=v, parameterization=parameterization)
    g, h, variance = chain_gains(np.cumprod(1 - BETAS), ancestral(v), 0.3, 0.5)
    for t in range(len(BETAS)):
        for x, z in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-2.0, 3.0)):
            x_t = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
            got = model.p_sample(x_t, torch.tensor([t]), clip_denoised=False, noise=torch.full_like(x_t, z))
            assert float(got) == pytest.approx(g[t] * x + h[t] + math.sqrt(variance[t]) * z, abs=1e-11)


@pytest.mark.parametrize("steps", [None, 7])
@pytest.mark.parametrize("v", [0.0, 1.0])
def test_whole_chain_is_linear_with_the_known_gain(steps, v, monkeypatch):
    """除起点外噪声全为 0 时，整条链（满步或抽步）是一个线性函数"""
    model = gaussian_ddpm(BETAS, v=v)
    kept = spaced_timesteps(50, steps or 50)
    g, h, _ = chain_gains(np.cumprod(1 - BETAS)[kept], ancestral(v), 0.3, 0.5)
    start = torch.tensor([-1.5, 0.0, 2.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    monkeypatch.setattr("ddpm_edu.sampling.randn_like", lambda x, generator: torch.zeros_like(x))
    got = model.p_sample_loop((3, 1, 1, 1), steps=steps, x_T=start, progress=False)
    want = start.clone()
    for t in range(len(kept) - 1, -1, -1):
        want = g[t] * want + h[t]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize("v", [0.0, 1.0])
def test_sampled_moments_match_the_closed_form(v):
    """蒙特卡罗：N = 1e5、20 步的链，均值与方差的 z 值都在 5 以内（v 取错另一端会到 71 以上，差 0.1 会到 7 以上）"""
    betas = make_beta_schedule("linear", 20, 1e-3, 0.6)
    model = gaussian_ddpm(betas, v=v)
    N = 100_000
    generator = torch.Generator().manual_seed(0)
    x = model.p_sample_loop((N, 1, 1, 1), generator=generator, progress=False).flatten()
    mean, variance = chain_moments(betas, 0.3, 0.5, v)
    assert abs(float(x.mean()) - mean) < 5 * math.sqrt(variance / N)
    assert abs(float(x.var()) - variance) < 5 * variance * math.sqrt(2 / N)


def test_v_zero_is_exact_for_point_mass_and_v_one_for_unit_gaussian():
    betas = make_beta_schedule("cosine", 20)
    # 最后一步不加噪声，方差正好少掉那一步的 β_0
    assert chain_moments(betas, 0.0, 1.0, 1.0)[1] == pytest.approx(1 - betas[0], abs=1e-12)
    assert chain_moments(betas, 0.3, 0.0, 0.0)[1] == pytest.approx(0.0, abs=1e-12)


def test_ddim_with_eta_one_is_ancestral_sampling_with_v_zero():
    model = gaussian_ddpm(BETAS)
    kwargs = dict(steps=10, progress=False, x_T=torch.randn(5, 1, 1, 1, dtype=torch.float64))
    ancestral = model.p_sample_loop((5, 1, 1, 1), generator=torch.Generator().manual_seed(3), **kwargs)
    ddim = model.p_sample_loop((5, 1, 1, 1), sampler="ddim", eta=1.0, generator=torch.Generator().manual_seed(3), **kwargs)
    torch.testing.assert_close(ancestral, ddim, rtol=0, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_variance_at_the_end_of_a_ddim_chain_agrees_with_sampling(eta):
    betas = make_beta_schedule("cosine", 1000)
    perfect = gaussian_ddpm(betas, mean=0.0, std=0.5)
    x = perfect.p_sample_loop((20_000, 1, 1, 1), sampler="ddim", steps=5, eta=eta, generator=torch.Generator().manual_seed(0), progress=False)
    # 2 万个样本的方差，相对标准误 1 %
    assert ddim_chain_variance(betas, 0.5, 5, eta) == pytest.approx(float(x.var()) / 0.25, abs=0.02)


def test_ddim_maps_the_quantiles_of_gaussian_data():
    """eta=0 且步数足够多时，N(0, 1) 的 z 应被送到 m + s·z"""
    model = gaussian_ddpm(make_beta_schedule("linear", 1000))
    z = torch.tensor([-2.0, -0.5, 0.0, 1.0, 2.0], dtype=torch.float64).reshape(5, 1, 1, 1)
    got = model.p_sample_loop((5, 1, 1, 1), sampler="ddim", steps=1000, x_T=z, progress=False)
    # 1000 步的欧拉法还差的，与步长成正比
    torch.testing.assert_close(got, 0.3 + 0.5 * z, rtol=0, atol=0.02)


@pytest.mark.parametrize(("schedule", "T"), [("linear", 1000), ("cosine", 1000), ("linear", 20), ("sqrt_linear", 3), ("cosine", 1)])
def test_unit_gaussian_data_costs_exactly_half_log2_two_pi_e(schedule, T):
    """误差的期望有闭式，所以整条下界不必抽样就能算出"""
    betas = make_beta_schedule(schedule, T)
    tables = diffusion_tables(betas, 1.0, "x0")
    error = 1 - tables["alphas_cumprod"]
    nats = 0.5 * (math.log(2 * math.pi) + tables["posterior_log_variance_clipped"][0])
    nats += (kl_constants(betas, 1.0) + tables["lvlb_weights"] * error).sum()
    # L_T：E x0² = 1 时，½(ᾱ·1 - ᾱ - ln(1-ᾱ))
    nats += -0.5 * math.log1p(-tables["alphas_cumprod"][-1])
    assert nats / math.log(2) == pytest.approx(2.047095585180641, abs=1e-9)


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_bits_per_dim_of_unit_gaussian_data(parameterization, amount):
    """同一个事实，由真正的 bits_per_dim 抽样得出"""
    model = gaussian_ddpm(BETAS, mean=0.0, std=1.0, v=1.0, parameterization=parameterization)
    N = amount(50_000, 200_000)
    x = torch.randn(N, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bits = bits_per_dim(model, x, decoder="gaussian", generator=torch.Generator().manual_seed(1))
    # 标准误约 0.008（--full 为 0.004），取 5 倍
    assert float(bits.mean()) == pytest.approx(2.047095585180641, abs=5 * float(bits.std()) / N**0.5)
    assert float(bits.std()) / N**0.5 < 0.01


def test_vlb_terms_have_one_column_per_step_and_one_for_the_prior():
    model = gaussian_ddpm(BETAS, mean=0.0, std=0.5)
    terms = vlb_terms(model, torch.zeros(2, 1, 1, 1, dtype=torch.float64))
    assert terms.shape == (2, 51)
    cumprod = np.prod(1 - BETAS)
    assert float(terms[0, -1]) == pytest.approx(0.5 * (-cumprod - math.log(1 - cumprod)), rel=1e-9)


def test_the_bin_probability_is_the_difference_of_two_normal_cdfs():
    # x = 101/127.5 - 1、μ = -0.2、σ = 0.05，由 math.erf 直接算
    x, cdf = 101 / 127.5 - 1, lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2)))
    want = cdf((x + 0.2 + 1 / 255) / 0.05) - cdf((x + 0.2 - 1 / 255) / 0.05)
    got = discretized_gaussian_nll(torch.tensor(x).double(), torch.tensor(-0.2).double(), 2 * math.log(0.05))
    assert math.exp(-got) == pytest.approx(want, rel=1e-6)


def test_the_decoder_is_as_accurate_in_the_right_tail_as_in_the_left():
    x = 2 * torch.arange(256, dtype=torch.float64) / 255 - 1
    for log_variance in (-12.0, -4.0):
        nll = discretized_gaussian_nll(x, torch.full_like(x, 0.3), log_variance)
        torch.testing.assert_close(discretized_gaussian_nll(-x, torch.full_like(x, -0.3), log_variance), nll, rtol=1e-9, atol=0)


@pytest.mark.parametrize("log_variance", [-12.0, -4.0, 0.0])
@pytest.mark.parametrize("mean", [-1.3, 0.0, 0.999])
@pytest.mark.parametrize("levels", [17, 256])
def test_the_bins_of_the_decoder_sum_to_one(mean, log_variance, levels):
    x = 2 * torch.arange(levels, dtype=torch.float64) / (levels - 1) - 1
    p = torch.exp(-discretized_gaussian_nll(x, torch.full_like(x, mean), log_variance, levels))
    assert float(p.sum()) == pytest.approx(1.0, abs=1e-9)
    assert torch.isfinite(p).all()


def test_the_ideal_start_weighs_every_point_by_its_likelihood():
    data, bar = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]]), 0.64
    x = torch.tensor([[1.2, 0.3], [-0.4, 2.0]])
    weight = torch.exp(-(x[:, None] - 0.8 * data).square().sum(-1) / (2 * 0.36))
    torch.testing.assert_close(ideal_start(x, data, bar), weight @ data / weight.sum(1, keepdim=True))
    # 噪声极大时是全体的平均，极小时是最近的一点
    torch.testing.assert_close(ideal_start(x, data, 1e-9)[0], data.mean(0), atol=1e-3, rtol=0)
    torch.testing.assert_close(ideal_start(x, data, 1 - 1e-4), data[[1, 2]])


def test_the_memorizer_answers_with_the_ideal_start_as_v():
    """每张图用自己的那一步；由 v 换回的 x0 就是 ideal_start"""
    images, bars = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0.9, 0.5, 0.1])
    x, t = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 1, 0])
    v = Memorizer(images, bars)(x, t)
    for one, step, got in zip(x, t, v):
        bar = float(bars[step])
        start = ideal_start(one.reshape(1, -1), images.flatten(1), bar).view(1, 2, 2)
        torch.testing.assert_close(bar**0.5 * one - (1 - bar) ** 0.5 * got, start, rtol=1e-4, atol=1e-5)


def test_the_flow_moves_at_the_best_guess_of_v():
    """flow_end 对角度的导数，正是最优去噪器给出的速度；起点与终点相同时不动"""
    x, angle, mean, std = torch.tensor([-1.5, 0.2, 2.0]).double(), 0.9, 0.3, 0.5
    here = math.cos(angle) ** 2
    D = here * std**2 + 1 - here
    x_recon = mean + here**0.5 * std**2 / D * (x - here**0.5 * mean)
    after, before = (flow_end(x, here, math.cos(angle + step) ** 2, mean, std) for step in (1e-5, -1e-5))
    torch.testing.assert_close((after - before) / 2e-5, velocity(x, x_recon, here), rtol=0, atol=1e-8)
    assert torch.equal(flow_end(x, here, here, mean, std), x)


def test_the_brightness_network_fits_both_tables():
    """改过与没改的表都配得上，终点处也算得出"""
    for zero in (False, True):
        model = fit_brightness(zero, steps=1)
        assert float(model.exact_table("alphas_cumprod")[-1]) == 0 if zero else float(model.exact_table("alphas_cumprod")[-1]) > 0
        assert model.apply_model(flat(8), torch.full((8,), 999)).shape == (8, 1, 1, 1)
