"""DDPM 的构造、损失、采样、入口：每个参数都真的起作用"""
import math
import re
import warnings

import pytest
import torch
from torch import nn

from ddpm_edu import DDPM

from .conftest import one_level_unet, randomize, tiny_ddpm, tiny_unet

T0 = torch.tensor([0, 10, 30, 49])


def losses_of(model, images, t=T0, **kwargs):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    randomize(model.model)
    return model.p_losses(images, t, noise, **kwargs)


# ---- 损失 ----


def test_loss_dict_has_the_contract_keys_and_prefix_follows_the_mode(images):
    model = tiny_ddpm()
    assert set(losses_of(model, images)[1]) == {"train/loss_simple", "train/loss_vlb", "train/loss"}
    assert set(losses_of(model.eval(), images)[1]) == {"val/loss_simple", "val/loss_vlb", "val/loss"}
    assert set(model(images)[1]) == {"val/loss_simple", "val/loss_vlb", "val/loss"}


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
@pytest.mark.parametrize("loss_type", ["l1", "l2"])
def test_losses_are_what_the_formulas_say(images, parameterization, loss_type):
    model = tiny_ddpm(parameterization=parameterization, loss_type=loss_type, original_elbo_weight=0.3, l_simple_weight=0.7)
    loss, logged = losses_of(model, images)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    x_t = model.q_sample(images, T0, noise)
    target = {"eps": noise, "x0": images, "v": model.get_v(images, noise, T0)}[parameterization]
    gap = model.model(x_t, T0) - target
    simple = (gap.abs() if loss_type == "l1" else gap**2).mean()
    vlb = (model.lvlb_weights[T0] * (gap**2).mean((1, 2, 3))).mean()
    torch.testing.assert_close(logged["train/loss_simple"], simple.detach())
    torch.testing.assert_close(logged["train/loss_vlb"], vlb.detach())
    torch.testing.assert_close(loss, 0.7 * simple + 0.3 * vlb)
    torch.testing.assert_close(model.get_loss(gap, gap * 0, mean=False), gap.abs() if loss_type == "l1" else gap**2)


@pytest.mark.parametrize("learn", [True, False])
def test_logvar_enters_the_loss_with_or_without_learning(images, learn):
    model = tiny_ddpm(learn_logvar=learn, logvar_init=0.4)
    loss, logged = losses_of(model, images)
    torch.testing.assert_close(loss, logged["train/loss_simple"] * math.exp(-0.4) + 0.4)
    assert isinstance(model.logvar, nn.Parameter) == learn and "logvar" in model.state_dict()
    if learn:
        loss.backward()
        assert (model.logvar.grad[T0] != 0).all() and model.logvar.grad.count_nonzero() == 4


def test_learned_logvar_converges_to_the_log_of_the_error(images):
    model = tiny_ddpm(one_level_unet(), learn_logvar=True)
    randomize(model.model).requires_grad_(False)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    optimizer = torch.optim.Adam([model.logvar], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        model.p_losses(images, T0, noise)[0].backward()
        optimizer.step()
    error = ((model.model(model.q_sample(images, T0, noise), T0) - noise) ** 2).mean((1, 2, 3))
    # 300 步之后离最小值还差的一点
    torch.testing.assert_close(model.logvar[T0].detach(), error.log(), rtol=0, atol=1e-3)


def test_loss_works_for_any_number_of_dimensions():
    model = tiny_ddpm()
    assert model.get_loss(torch.ones(2, 3), torch.zeros(2, 3)) == 1


def test_clipping_never_touches_the_network_output(images):
    model = tiny_ddpm(parameterization="x0")
    kept = {}
    model.model = CaptureWrapper(kept)
    recon = model.predict_start(images, T0, clip_denoised=True)
    assert recon.max() == 1 and kept["out"].max() == 5


class CaptureWrapper(nn.Module):
    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def forward(self, x, t):
        self.kept["out"] = torch.full_like(x, 5.0)
        return self.kept["out"]


@pytest.mark.parametrize("sampling", ["uniform", "stratified"])
def test_t_is_uniform_over_every_step(sampling):
    model = tiny_ddpm(t_sampling=sampling)
    t = model.draw_t(torch.zeros(50_000, 1), torch.Generator().manual_seed(0))
    counts = torch.bincount(t, minlength=50)
    # 每格期望 1 000，标准差约 31；分层时几乎不波动
    assert (counts - 1000).abs().max() < (150 if sampling == "uniform" else 5)
    batch = model.draw_t(torch.zeros(50, 1), torch.Generator().manual_seed(0))
    if sampling == "stratified":
        assert torch.equal(batch.sort()[0], torch.arange(50)) and not torch.equal(batch, torch.arange(50))


# ---- 构造参数 ----

def test_defaults_and_order_are_the_contract():
    import inspect

    parameters = inspect.signature(DDPM).parameters
    assert list(parameters)[:27] == (
        "unet_config timesteps beta_schedule loss_type ckpt_path ignore_keys load_only_unet monitor use_ema first_stage_key "
        "image_size channels log_every_t clip_denoised linear_start linear_end cosine_s given_betas original_elbo_weight "
        "v_posterior l_simple_weight conditioning_key parameterization scheduler_config use_positional_encodings "
        "learn_logvar logvar_init").split()
    defaults = [p.default for p in list(parameters.values())[1:27]]
    assert defaults == [1000, "linear", "l2", None, (), False, "val/loss", True, "image", 256, 3, 100, True, 1e-4, 2e-2, 8e-3,
                        None, 0.0, 0.0, 1.0, None, "eps", None, False, False, 0.0]
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[27:])


def test_given_betas_accept_list_array_and_tensor_and_decide_the_length():
    import numpy as np

    for betas in ([0.1, 0.2], np.array([0.1, 0.2]), torch.tensor([0.1, 0.2], dtype=torch.float64)):
        model = tiny_ddpm(timesteps=1000, given_betas=betas)
        assert model.num_timesteps == model.hparams["timesteps"] == 2 and model.hparams["given_betas"] == [0.1, 0.2]
        assert float(model.betas[1]) == pytest.approx(0.2)


def test_short_linear_chain_and_hopeless_eps_schedule_warn():
    with pytest.warns(UserWarning, match="linear_start=0.001"):
        DDPM(tiny_unet(), timesteps=100, image_size=8, channels=1)
    with pytest.warns(UserWarning, match="舍入误差"):
        DDPM(tiny_unet(), beta_schedule="sqrt", image_size=8, channels=1)


def test_hyper_parameters_and_config_are_not_mutated():
    config = tiny_unet()
    before = repr(config)
    model = tiny_ddpm(config)
    model.hparams["unet_config"]["params"].clear()
    assert repr(config) == before


def test_positional_encodings_reach_the_network(images):
    model = tiny_ddpm(tiny_unet(in_channels=3), use_positional_encodings=True)
    seen = {}
    model.model.register_forward_pre_hook(lambda module, args: seen.update(x=args[0]))
    losses_of(model, images)
    x_channel, y_channel = seen["x"][0, 1], seen["x"][0, 2]
    assert torch.equal(x_channel[0], torch.linspace(-1, 1, 8)) and torch.equal(y_channel[:, 0], torch.linspace(-1, 1, 8))
    assert (x_channel == x_channel[0]).all() and (y_channel.T == y_channel[:, 0]).all()
    assert model.sample(2, steps=3, progress=False).shape == (2, 1, 8, 8)


# ---- 入口 ----


def test_chw_and_hwc_are_told_apart_by_shape(images):
    model = tiny_ddpm()
    assert torch.equal(model.get_input({"image": images}, "image"), images)
    assert torch.equal(model.get_input({"image": images.permute(0, 2, 3, 1)}, "image"), images)


# ---- 采样 ----


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
@pytest.mark.parametrize("kwargs", [{}, {"steps": 7}, {"sampler": "ddim", "steps": 5}, {"sampler": "ddim", "eta": 1.0}])
def test_every_parameterization_samples_with_every_sampler(parameterization, kwargs):
    model = tiny_ddpm(one_level_unet(), parameterization=parameterization, timesteps=20)
    randomize(model.model)
    x, steps = model.sample(3, return_intermediates=True, progress=False, **kwargs)
    assert x.shape == (3, 1, 8, 8) and torch.isfinite(x).all() and torch.equal(steps[-1], x)
    again = [model.sample(2, generator=torch.Generator().manual_seed(1), progress=False, **kwargs) for _ in range(2)]
    assert torch.equal(*again)


def test_v_posterior_and_clip_and_log_every_t_change_sampling():
    def sample(**params):
        model = tiny_ddpm(one_level_unet(), timesteps=20, **params)
        randomize(model.model)
        return model.sample(2, generator=torch.Generator().manual_seed(1), progress=False, return_intermediates=True)

    base = sample()
    assert not torch.equal(sample(v_posterior=1.0)[0], base[0])
    model = tiny_ddpm(one_level_unet(), timesteps=20)
    randomize(model.model)
    one = model.sample(2, generator=torch.Generator().manual_seed(1), progress=False, v_posterior=1.0)
    # 一个从表里取系数，一个由 ᾱ 算出：float32 的舍入走了 20 步
    torch.testing.assert_close(one, sample(v_posterior=1.0)[0], rtol=1e-4, atol=1e-4)
    assert not torch.equal(sample(clip_denoised=False)[0], base[0])
    # 首项是 x_T，然后每 log_every_t 步一张，另加最早的一步
    assert len(base[1]) == 3 and len(sample(log_every_t=5)[1]) == 1 + 5 and len(sample(log_every_t=1)[1]) == 21


def test_no_noise_at_step_zero_and_repeat_noise_shares_it(images):
    model = tiny_ddpm()
    randomize(model.model)
    zero = torch.zeros(4, dtype=torch.long)
    assert torch.equal(model.p_sample(images, zero), model.p_sample(images, zero))
    same = images[:1].expand(4, -1, -1, -1)
    out = model.p_sample(same, zero + 10, repeat_noise=True)
    torch.testing.assert_close(out[0], out[3])
    assert not torch.allclose(*model.p_sample(same, zero + 10)[:2])


def test_p_mean_variance_is_the_posterior_with_the_prediction(images):
    model = tiny_ddpm(v_posterior=0.5)
    randomize(model.model)
    recon = model.predict_start(images, T0)
    for got, want in zip(model.p_mean_variance(images, T0, True), model.q_posterior(recon, images, T0)):
        assert torch.equal(got, want)


def test_ddim_goes_in_the_direction_of_the_clipped_prediction():
    """截断 x0_hat 之后，x_i 里的 ε_hat 是由它和 x_t 重算的"""
    model, seen = tiny_ddpm(parameterization="x0"), []
    randomize(model.model)
    model.sample(4, sampler="ddim", steps=2, progress=False, callback=lambda t, x, x_recon: seen.append((t, x, x_recon)))
    (t, x_t, x_recon), (i, x_i, _) = seen
    a, b = model.exact_table("alphas_cumprod")[[t, i]].tolist()
    assert x_recon.abs().max() == 1
    torch.testing.assert_close(x_i, b**0.5 * x_recon + (1 - b)**0.5 * (x_t - a**0.5 * x_recon) / (1 - a)**0.5)


def test_sampling_turns_dropout_off_and_puts_the_mode_back():
    model = tiny_ddpm(tiny_unet(dropout=0.9)).train()
    randomize(model.model)
    model.model.diffusion_model.middle_block.eval()
    g = [model.p_sample_loop((1, 1, 8, 8), steps=4, generator=torch.Generator().manual_seed(0), progress=False) for _ in range(2)]
    assert torch.equal(*g)
    assert model.training and not model.model.diffusion_model.middle_block.training


def test_guidance_moves_from_unconditional_to_conditional(images):
    model = tiny_ddpm(tiny_unet(num_classes=3), conditioning_key="adm", cond_drop_prob=0.5)
    randomize(model.model)
    cond = {"c_adm": torch.tensor([0, 1, 2, 0])}
    conditional = model.guided_output(images, T0, cond, 1.0)
    unconditional = model.guided_output(images, T0, {"c_adm": torch.full((4,), -1)}, 1.0)
    got = model.guided_output(images, T0, cond, 3.0)
    torch.testing.assert_close(got, unconditional + 3 * (conditional - unconditional))
    assert model.sample(4, cond=cond["c_adm"], guidance_scale=2.0, steps=3, progress=False).shape == images.shape


CONDITIONED = {
    "concat": (tiny_unet(in_channels=3), {"concat": torch.rand(4, 2, 8, 8)}),
    "crossattn": (tiny_unet(context_dim=5), {"context": torch.rand(4, 3, 5)}),
    "adm": (tiny_unet(num_classes=3), {"label": torch.tensor([0, 1, 2, 0])}),
    "hybrid": (tiny_unet(in_channels=2, context_dim=5), {"concat": torch.rand(4, 1, 8, 8), "context": torch.rand(4, 3, 5)}),
    "hybrid-adm": (tiny_unet(in_channels=2, context_dim=5, num_classes=3),
                   {"concat": torch.rand(4, 1, 8, 8), "context": torch.rand(4, 3, 5), "label": torch.tensor([0, 1, 2, 0])}),
    "crossattn-adm": (tiny_unet(context_dim=5, num_classes=3), {"context": torch.rand(4, 3, 5), "label": torch.tensor([0, 1, 2, 0])}),
}


@pytest.mark.parametrize("key", CONDITIONED)
def test_conditions_are_passed_in_training_and_sampling(key, images):
    unet, extra = CONDITIONED[key]
    model = tiny_ddpm(unet, conditioning_key=key)
    randomize(model.model)

    def loss_and_samples(conditions):
        cond = model.get_condition(conditions)
        g = [torch.Generator().manual_seed(0) for _ in range(2)]
        return model(images, cond=cond, generator=g[0])[0], model.sample(4, cond=cond, steps=3, generator=g[1], progress=False)

    loss, samples = loss_and_samples(extra)
    for name in extra:
        other_loss, other_samples = loss_and_samples({**extra, name: extra[name].roll(1, 0)})
        assert not torch.equal(other_loss, loss) and not torch.allclose(other_samples, samples)
    model.shared_step({"image": images, **extra})[0].backward()
    assert model.log_images({"image": images, **extra}, N=2, n_row=1, steps=2, progress=False)["samples"].shape[0] == 2
    with pytest.raises(ValueError, match="batch"):
        model.shared_step({"image": images})


def test_conditions_are_dropped_in_training_only(images):
    model = tiny_ddpm(tiny_unet(num_classes=3), conditioning_key="adm", cond_drop_prob=1.0)
    randomize(model.model)

    def loss(label):
        torch.manual_seed(0)
        return model.shared_step({"image": images, "label": torch.full((4,), label)})[0]

    assert torch.equal(loss(0), loss(1))
    model.eval()
    assert not torch.equal(loss(0), loss(1))


def test_log_images_gives_rows_of_equal_length_without_touching_training(images):
    model = tiny_ddpm(log_every_t=10).train()
    randomize(model.model)
    state = torch.get_rng_state()
    log = model.log_images({"image": images}, N=3, n_row=2, progress=False)
    assert set(log) == {"inputs", "diffusion_row", "samples", "denoise_row"}
    assert log["diffusion_row"].shape == log["denoise_row"].shape and log["samples"].shape == (3, 1, 8, 8)
    assert all(v.abs().max() <= 1 for v in log.values()) and model.training
    assert torch.equal(torch.get_rng_state(), state)
    again = model.log_images({"image": images}, N=3, progress=False)
    assert torch.equal(again["samples"], log["samples"])
    assert set(model.log_images({"image": images}, sample=False)) == {"inputs", "diffusion_row"}
    assert set(model.log_images({"image": images}, return_keys=["inputs"], sample=False)) == {"inputs"}
    with pytest.raises(ValueError, match="return_keys"):
        model.log_images({"image": images}, return_keys=["sample"])


def test_labels_of_any_integer_type_mean_the_same(images):
    model = tiny_ddpm(tiny_unet(num_classes=3), conditioning_key="adm", cond_drop_prob=0.5)
    randomize(model.model)

    def loss_and_samples(dtype):
        label, generator = torch.tensor([0, 1, 2, 0]).to(dtype), torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        loss = model.shared_step({"image": images, "label": label})[0]
        return loss, model.sample(4, cond=label, steps=2, guidance_scale=2.0, generator=generator, progress=False)

    loss, samples = loss_and_samples(torch.int64)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        other_loss, other_samples = loss_and_samples(dtype)
        assert torch.equal(other_loss, loss) and torch.equal(other_samples, samples), dtype
    for dtype in (torch.bool, torch.float32, torch.complex64):
        with pytest.raises(ValueError, match=f"整数张量.*{dtype}.*long"):
            loss_and_samples(dtype)


def test_a_generator_of_another_device_draws_t_and_the_dropped_conditions(monkeypatch):
    from ddpm_edu.conditioning import drop_condition

    real = torch.rand

    def strict(count, device, generator):
        assert torch.device(device) == generator.device, "GPU 上不收 CPU 的 generator"
        return real(count, device=device, generator=generator)

    monkeypatch.setattr(torch, "rand", strict)
    # meta 设备代替 GPU
    x, labels = torch.empty(4, 1, 8, 8, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta")
    for t_sampling in ("uniform", "stratified"):
        assert tiny_ddpm(t_sampling=t_sampling).draw_t(x, torch.Generator()).is_meta
    assert drop_condition({"c_adm": labels}, 0.5, torch.Generator())["c_adm"].is_meta


def test_the_schedule_of_a_model_is_fixed_when_it_is_built():
    model = tiny_ddpm(timesteps=1000, given_betas=[0.1] * 50)
    assert model.num_timesteps == model.hparams.timesteps == len(model.logvar) == 50
    with pytest.raises(RuntimeError, match="register_schedule.*timesteps"):
        model.register_schedule(timesteps=100)
    assert model.num_timesteps == len(model.betas) == len(model.logvar) == 50


def warned(**kwargs):
    """构造时关于噪声不够的那句提醒；没有就是空的"""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        DDPM(tiny_unet(), image_size=8, channels=1, **kwargs)
    return "".join(str(w.message) for w in caught if "加噪到最后仍留着原图" in str(w.message))


@pytest.mark.parametrize("settings", [dict(timesteps=50), dict(timesteps=1), dict(timesteps=3), dict(linear_end=2e-4), dict(given_betas=[0.001] * 50),
                                      dict(timesteps=50, beta_schedule="sqrt_linear"), dict(timesteps=4, beta_schedule="sqrt")], ids=str)
def test_every_advice_about_the_schedule_cures_it(settings):
    advice = warned(**settings)
    ends = re.search(r"linear_start=([\d.e-]+), linear_end=([\d.e-]+)", advice)
    cures = [dict(linear_start=float(ends[1]), linear_end=float(ends[2]))] if ends else []
    cures += [dict(beta_schedule="cosine")] if "cosine" in advice else []
    if "given_betas" in settings:
        total = float(re.search(r"加大到 (\d+)", advice)[1])
        cures += [dict(given_betas=[total / 50] * 50)]
    assert advice and cures and not any(warned(**{**settings, **cure}) for cure in cures)
