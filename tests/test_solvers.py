"""二阶的采样器：误差随步数降的快慢、与 diffusers 逐数相等、ᾱ = 0 也能走"""
import math

import numpy as np
import pytest
import torch

from ddpm_edu import load_pretrained, make_beta_schedule
from ddpm_edu.sampling import SPACINGS, spaced_timesteps
from ddpm_edu.solvers import half_log_snr, velocity
from ddpm_edu.teach.laboratory import gaussian_ddpm

from .conftest import randomize, tiny_ddpm, tiny_unet

MEAN, STD = 0.3, 0.5
Z = torch.tensor([-2.0, -0.5, 1.0, 2.0], dtype=torch.float64).reshape(4, 1, 1, 1)


def exact_end(model, z, first):
    """N(m, s²) 的数据上，概率流 ODE 把 z 从 ᾱ_T 送到 ᾱ_first，再猜一次 x0；都是闭式"""
    start, end = (float(model.exact_table("alphas_cumprod")[t]) for t in (-1, first))
    spread = [keep * STD**2 + 1 - keep for keep in (start, end)]
    x = end**0.5 * MEAN + (z - start**0.5 * MEAN) * (spread[1] / spread[0]) ** 0.5
    return MEAN + end**0.5 * STD**2 / spread[1] * (x - end**0.5 * MEAN)


def slope(sampler, schedule, spacing, counts=(80, 160, 320)):
    """误差的对数对步数的对数的斜率，变号"""
    model, errors = gaussian_ddpm(make_beta_schedule(schedule, 1000), MEAN, STD, parameterization="v"), []
    for steps in counts:
        got = model.p_sample_loop(Z.shape, sampler=sampler, steps=steps, spacing=spacing, x_T=Z, progress=False)
        errors.append(float((got - exact_end(model, Z, spaced_timesteps(1000, steps, spacing)[0])).abs().max()))
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("heun", 2), ("dpmpp", 2)])
def test_the_error_falls_with_the_order_of_the_solver(sampler, order, schedule):
    """步数加倍，DDIM 的误差减半，Heun 与 DPM-Solver++(2M) 的减到四分之一"""
    assert slope(sampler, schedule, "linspace") == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("sampler", ["heun", "dpmpp"])
def test_a_constant_guess_needs_no_correction(sampler):
    """猜测从头到尾不变时，DDIM 已是精确的：DPM-Solver++ 的修正是 0；Heun 用弦代替弧，差的与步长的平方成正比"""
    model, gaps = gaussian_ddpm(make_beta_schedule("cosine", 1000), MEAN, 0.0, parameterization="x0"), []
    for steps in (10, 20):
        run = [model.p_sample_loop(Z.shape, sampler=name, steps=steps, spacing="trailing", x_T=Z, progress=False, return_intermediates=True)[1]
               for name in ("ddim", sampler)]
        gaps.append(max(float((one - two).abs().max()) for one, two in zip(*run)))
    assert gaps[1] < 0.3 * gaps[0] if sampler == "heun" else max(gaps) < 1e-9


def test_v_is_the_speed_along_the_arc_and_lambda_is_half_the_log_snr():
    x_start, noise, angle = torch.tensor(0.7).double(), torch.tensor(-1.3).double(), 0.9

    def at(phi):
        return math.cos(phi) * x_start + math.sin(phi) * noise

    speed = (at(angle + 1e-5) - at(angle - 1e-5)) / 2e-5
    torch.testing.assert_close(velocity(at(angle), x_start, math.cos(angle) ** 2), speed, rtol=0, atol=1e-9)
    assert half_log_snr(0.8) == pytest.approx(0.5 * math.log(4)) and half_log_snr(0.0) == -math.inf


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_dpmpp_is_the_multistep_solver_of_diffusers(schedule, spacing):
    diffusers = pytest.importorskip("diffusers")
    model = randomize(tiny_ddpm(parameterization="v", timesteps=1000, beta_schedule=schedule, clip_denoised=False))
    peer = diffusers.DPMSolverMultistepScheduler(
        1000, trained_betas=model.exact_table("betas").numpy(), prediction_type="v_prediction", timestep_spacing="linspace",
        final_sigmas_type="zero", lower_order_final=True, algorithm_type="dpmsolver++", solver_order=2)
    steps, x = 12, torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    got = model.sample(2, sampler="dpmpp", steps=steps, spacing=spacing, x_T=x, progress=False)
    peer.set_timesteps(timesteps=spaced_timesteps(1000, steps, spacing)[::-1].tolist())
    with torch.no_grad():
        for t in peer.timesteps:
            x = peer.step(model.apply_model(x, t.repeat(2)), t, x).prev_sample
    torch.testing.assert_close(got, x, rtol=0, atol=1e-5 * float(x.abs().max()))


@pytest.mark.parametrize("sampler", ["heun", "dpmpp"])
def test_the_second_order_samplers_guide_and_clip_like_the_first(sampler):
    model = randomize(tiny_ddpm(tiny_unet(num_classes=4), conditioning_key="adm"))
    seen, predict = [], model.predict_start

    def watched(x, t, clip_denoised=True, **kwargs):
        seen.append((int(t[0]), clip_denoised, kwargs["guidance_scale"], kwargs["cond"]["c_adm"].tolist()))
        return predict(x, t, clip_denoised, **kwargs)

    model.predict_start = watched
    model.sample(2, sampler=sampler, steps=3, cond=torch.tensor([3, 1]), guidance_scale=2.5, progress=False)
    assert {call[1:3] for call in seen} == {(True, 2.5)} and {tuple(call[3]) for call in seen} == {(3, 1)}
    # Heun 在每一处，先为上一步猜一次，再为下一步猜一次
    first, second, third = spaced_timesteps(model.num_timesteps, 3, "trailing")[::-1]
    assert [call[0] for call in seen] == ([first, second, second, third, third] if sampler == "heun" else [first, second, third])


@pytest.mark.parametrize("sampler", ["heun", "dpmpp"])
def test_no_noise_is_drawn_and_its_knobs_are_refused(sampler):
    model = tiny_ddpm()
    x_T = torch.randn(2, 1, 8, 8)
    one, two = (model.sample(2, sampler=sampler, steps=4, x_T=x_T, progress=False, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal(one, two)
    for knob in ({"eta": 0.5}, {"v_posterior": 0.5}):
        with pytest.raises(ValueError, match=f"{next(iter(knob))}.*{sampler} 不加噪声"):
            model.sample(2, sampler=sampler, progress=False, **knob)


def test_few_steps_of_the_second_order_stay_near_the_many_steps_of_the_first():
    """随包的网络：同一个起点，离 DDIM 走 200 步的终点，走 20 步的 DPM-Solver++ 与调用 19 次的 Heun 都比 20 步的 DDIM 近"""
    model, x_T = load_pretrained("digits"), torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    run = {name: model.sample(64, sampler=name.split()[0], steps=int(name.split()[1]), x_T=x_T, progress=False)
           for name in ("ddim 200", "ddim 20", "dpmpp 20", "heun 10")}
    far = {name: float((x - run["ddim 200"]).square().mean()) for name, x in run.items()}
    assert max(far["dpmpp 20"], far["heun 10"]) < 0.8 * far["ddim 20"], far
