"""采样：三个数一步，一个循环；教的那一步，就是采样时走的那一步"""
import functools

import jedi
import numpy as np
import pytest
import torch

from benchmarks.trips import TRIPS, make_model, visited
from ddpm_edu import conditioning, persistence, sampling
from ddpm_edu.gaussian import GaussianDiffusion
from ddpm_edu.sampling import SAMPLERS, Sampler, ancestral_step, ddim_step

from .conftest import randomize, tiny_ddpm, tiny_unet

STEPS = {"v=0": ancestral_step, "eta=0": ddim_step, "eta=0.4": functools.partial(ddim_step, eta=0.4), "eta=1": functools.partial(ddim_step, eta=1.0)}
PAIRS = [(t, s) for t in (1e-5, 0.2, 0.7, 0.999) for s in (1e-3, 0.3, 0.9, 0.9999, 1.0) if t < s]


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize(("cumprod_t", "cumprod_s"), PAIRS)
def test_a_step_from_the_true_image_lands_on_the_marginal(step, cumprod_t, cumprod_s):
    """猜得全对 (x̂₀ = x₀) 时，x_s 正好服从 N(√ᾱ_s·x₀, 1-ᾱ_s)；几次四则运算，误差是 float64 的几十个 ulp"""
    a, b, sigma = step(cumprod_t, cumprod_s)
    assert a + b * cumprod_t**0.5 == pytest.approx(cumprod_s**0.5, abs=1e-13)
    assert b**2 * (1 - cumprod_t) + sigma**2 == pytest.approx(1 - cumprod_s, abs=1e-13)


@pytest.mark.parametrize("v", [0.0, 0.3, 1.0])
def test_the_step_to_the_neighbour_is_the_posterior_of_the_tables(v):
    model = GaussianDiffusion(100, "cosine", v_posterior=v)
    table = {name: model.exact_table(name).numpy() for name in model.exact_table_names()}
    cumprod = np.append(table["alphas_cumprod"], 1.0)  # 下标 -1 是 ᾱ = 1
    a, b, sigma = np.array([ancestral_step(cumprod[t], cumprod[t - 1], v) for t in range(100)]).T
    np.testing.assert_allclose(a, table["posterior_mean_coef1"], rtol=1e-12)
    np.testing.assert_allclose(b, table["posterior_mean_coef2"], rtol=1e-12)
    # 走到 x₀ 时不加噪声
    np.testing.assert_allclose(sigma, np.append(0.0, table["posterior_variance"][1:] ** 0.5), rtol=1e-12)


def test_ddim_with_eta_one_is_ancestral_with_v_zero():
    for pair in PAIRS:
        np.testing.assert_allclose(ddim_step(*pair, 1.0), ancestral_step(*pair, 0.0), rtol=0, atol=1e-12)


def test_the_steps_walked_are_even_and_hold_both_ends():
    for steps in (2, 3, 7, 50, 999, 1000):
        for spacing, first in (("linspace", 0), ("trailing", round(1000 / steps) - 1)):
            kept = sampling.spaced_timesteps(1000, steps, spacing)
            assert kept[0] == first and kept[-1] == 999 and len(kept) == steps
            # 取整最多差半步，所以相邻两步的间隔至多差 1
            assert np.ptp(np.diff(kept)) <= 1 and (np.diff(kept) > 0).all()
    assert list(sampling.spaced_timesteps(1000, 1)) == list(sampling.spaced_timesteps(1000, 1, "trailing")) == [999]
    with pytest.raises(ValueError, match="spacing.*leading"):
        sampling.spaced_timesteps(1000, 10, "leading")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_step_that_is_taught_is_the_step_that_samples(sampler, monkeypatch):
    """sample → p_sample_loop → p_sample → p_mean_variance → predict_start，每一步各一次；换掉 p_mean_variance，结果就跟着变"""
    model, counts = tiny_ddpm(), {}

    def count(name, method, *args, **kwargs):
        counts[name] = counts.get(name, 0) + 1
        return method(*args, **kwargs)

    for name in ("p_sample_loop", "p_sample", "p_mean_variance", "predict_start"):
        monkeypatch.setattr(model, name, functools.partial(count, name, getattr(model, name)))
    model.sample(2, sampler=sampler, steps=3, progress=False)
    # Heun 在走到的 x_s 处再猜一次，最后一步不必
    assert counts == {"p_sample_loop": 1, "p_sample": 3, "p_mean_variance": 3, "predict_start": 5 if sampler == "heun" else 3}

    seven = torch.full((2, 1, 8, 8), 7.0)
    monkeypatch.setattr(model, "p_mean_variance", lambda *args, **kwargs: (seven, None, torch.tensor(0.0), seven))
    assert torch.equal(model.sample(2, sampler=sampler, steps=3, progress=False), seven)


def test_a_new_sampler_is_one_function_and_one_entry(monkeypatch):
    model = randomize(tiny_ddpm())
    monkeypatch.setitem(SAMPLERS, "mine", Sampler(lambda t, s, eta: ddim_step(t, s, eta), "eta", 9))
    frames = []
    mine = model.sample(2, sampler="mine", eta=0.5, generator=torch.Generator().manual_seed(0), progress=False,
                        callback=lambda *args: frames.append(args))
    assert len(frames) == 9
    torch.testing.assert_close(mine, model.sample(2, sampler="ddim", steps=9, eta=0.5, generator=torch.Generator().manual_seed(0), progress=False))
    with pytest.raises(ValueError, match="v_posterior.*mine"):
        model.sample(2, sampler="mine", v_posterior=0.5, progress=False)


def test_conditions_are_prepared_once_not_at_every_step(monkeypatch):
    model, seen = tiny_ddpm(tiny_unet(num_classes=4), conditioning_key="adm"), []
    joined = conditioning.joined
    monkeypatch.setattr(conditioning, "joined", lambda *args: seen.append(args) or joined(*args))
    model.sample(2, steps=5, cond=torch.tensor([0, 1]), guidance_scale=2.0, progress=False)
    assert len(seen) == 1


@pytest.mark.parametrize(("scale", "expected"), [(1.0, [3]), (0.0, [6]), (2.5, [6])])
@pytest.mark.parametrize("sampler", ["ancestral", "dpmpp"])
def test_guidance_calls_the_network_once_a_step_with_both_halves(sampler, scale, expected):
    """有、无条件的两份拼成一批：一次调用，发核、进出每一层都只有一趟"""
    model, sizes = randomize(tiny_ddpm(tiny_unet(num_classes=4), conditioning_key="adm")), []
    model.model.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    model.sample(3, sampler=sampler, steps=4, cond=torch.tensor([0, 1, 3]), guidance_scale=scale, progress=False)
    assert sizes == 4 * expected


def test_a_new_kind_of_condition_is_one_entry(monkeypatch):
    """“无条件”用什么值、怎样进网络，都只看 KINDS"""
    monkeypatch.setitem(conditioning.KINDS, "c_time", conditioning.Kind("time", argument="when", attribute=None, null=5))
    monkeypatch.setitem(conditioning.CONDITIONS, "time", ("c_time",))
    wrapper = conditioning.DiffusionWrapper({"target": f"{__name__}.Clock"}, "time")
    cond = conditioning.as_condition(torch.ones(2, 3), "time", 2)
    assert conditioning.condition_keys("time", None) == {"c_time": "time"}
    assert torch.equal(wrapper(torch.zeros(2, 1), None, **cond), torch.ones(2, 3))
    assert torch.equal(wrapper(torch.zeros(2, 1), None, **conditioning.null_condition(cond)), torch.full((2, 3), 5.0))
    assert torch.equal(conditioning.drop_condition(cond, 1.0)["c_time"], torch.full((2, 3), 5.0))


class Clock(torch.nn.Module):
    def forward(self, x, t, when):
        return when


def test_the_trips_are_short():
    """一批走到损失、采样两步，要经过的函数与文件：读代码的人要翻的就是这些"""
    trips = {name: visited(trip, make_model(), {"image": torch.zeros(4, 1, 8, 8)}) for name, trip in TRIPS.items()}
    counts = {name: (calls.total(), len({file for file, _ in calls})) for name, calls in trips.items()}
    limits = {"一批 → 损失": (22, 5), "DDIM 两步": (50, 8), "祖先采样两步": (50, 8)}
    assert all(count <= limit for name in limits for count, limit in zip(counts[name], limits[name])), counts


def test_an_editor_finds_what_stands_behind_self():
    """类的父类写在文件里，名字都有处可查：“转到定义”（jedi）找得到"""
    lost = []
    for module in (sampling, persistence):
        script = jedi.Script(path=module.__file__)
        lines = open(module.__file__, encoding="utf-8").read().splitlines()
        for row, line in enumerate(lines, 1):
            for column in [i + 5 for i in range(len(line)) if line.startswith("self.", i) and not line[i - 1].isalnum()]:
                if not script.goto(row, column, follow_imports=True):
                    lost.append(line[column:].split("(")[0])
    assert not lost
