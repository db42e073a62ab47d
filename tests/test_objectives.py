"""简化损失的权重 min-SNR，与终点是纯噪声的噪声表"""
import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, DigitsDataModule
from ddpm_edu.gaussian import GaussianDiffusion

from .conftest import randomize, tiny_ddpm


@pytest.mark.parametrize("gamma", [0.5, 5.0])
@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_min_snr_is_the_same_weight_on_the_error_of_x0(parameterization, gamma):
    """三种目标：乘上权重的误差，都等于 min(SNR, γ) 乘 x0 的误差"""
    model = randomize(tiny_ddpm(parameterization=parameterization, snr_gamma=gamma, clip_denoised=False))
    x, t, noise = torch.randn(4, 1, 8, 8).clamp(-1, 1), torch.tensor([0, 10, 30, 49]), torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        found = model.predict_start(model.q_sample(x, t, noise), t, clip_denoised=False)
        bar = model.exact_table("alphas_cumprod")[t].float()
        want = ((bar / (1 - bar)).clamp(max=gamma) * (found - x).square().flatten(1).mean(1)).mean()
        loss, losses = model.p_losses(x, t, noise)
    # 由 ε 换回 x0 会放大舍入误差
    assert float(loss) == pytest.approx(float(want), rel=2e-3)
    assert float(losses["train/loss_simple"]) != pytest.approx(float(loss), rel=1e-2)


def test_the_weights_survive_half_precision():
    model = tiny_ddpm(parameterization="x0", linear_start=1e-6, snr_gamma=1e6)
    before = model.simple_weights.clone()
    assert torch.equal(model.half().simple_weights, before) and torch.equal(model.float().simple_weights, before)


def test_without_gamma_nothing_is_weighted_and_nothing_is_saved():
    model = tiny_ddpm()
    assert torch.equal(model.simple_weights, torch.ones(50)) and "simple_weights" not in model.state_dict()
    assert "simple_weights" not in tiny_ddpm(snr_gamma=5.0).state_dict()


@pytest.mark.parametrize(("given", "words"), [
    ({"snr_gamma": 0.0}, "snr_gamma.*0"), ({"snr_gamma": "5"}, "snr_gamma"), ({"snr_gamma": 1e-300}, "snr_gamma.*0.001"),
    ({"snr_gamma": float("nan")}, "snr_gamma"),
    ({"parameterization": "v", "rescale_betas_zero_snr": True, "snr_gamma": 5.0}, "snr_gamma.*学不到那一步"),
    ({"rescale_betas_zero_snr": True}, "parameterization.*v 或 x0.*换不回 x0"), ({"rescale_betas_zero_snr": 1}, "rescale_betas_zero_snr"),
    ({"given_betas": [0.1] * 49 + [1.0]}, "parameterization.*v 或 x0"),
])
def test_bad_arguments_are_named(given, words):
    with pytest.raises((ValueError, TypeError), match=words):
        tiny_ddpm(**given)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("parameterization", ["x0", "v"])
@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "heun", "dpmpp"])
def test_a_chain_that_ends_in_pure_noise_trains_and_samples(parameterization, sampler):
    model = randomize(tiny_ddpm(parameterization=parameterization, rescale_betas_zero_snr=True))
    x, last = torch.randn(2, 1, 8, 8).clamp(-1, 1), torch.tensor([49, 49])
    noise = torch.randn_like(x)
    assert torch.equal(model.q_sample(x, last, noise), noise)
    loss, _ = model.p_losses(x, last, noise)
    assert loss.isfinite()
    for steps in (2, 7):
        assert model.sample(2, sampler=sampler, steps=steps, progress=False).isfinite().all()
    again = tiny_ddpm(**{name: model.hparams[name] for name in ("parameterization", "rescale_betas_zero_snr")})
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.betas, model.betas)


def test_a_chain_that_ends_in_pure_noise_is_saved_and_resumed(tmp_path):
    trainer = {"max_steps": 2, "logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    model = tiny_ddpm(parameterization="v", rescale_betas_zero_snr=True)
    first = pl.Trainer(**trainer)
    first.fit(model, DigitsDataModule(batch_size=32))
    first.save_checkpoint(tmp_path / "a.ckpt")
    again = DDPM.load_from_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(again.betas, model.betas) and float(again.alphas_cumprod[-1]) == 0
    pl.Trainer(**{**trainer, "max_steps": 3}).fit(again, DigitsDataModule(batch_size=32), ckpt_path=tmp_path / "a.ckpt")
    assert again.batches_seen == 3


def test_the_step_that_holds_no_picture_cannot_be_undone_from_noise():
    diffusion, x = GaussianDiffusion(10, parameterization="v", rescale_betas_zero_snr=True), torch.zeros(2, 1, 2, 2)
    with pytest.raises(ValueError, match="小于 9 的步号.*换不回 x0"):
        diffusion.predict_start_from_noise(x, torch.tensor([3, 9]), x)
    assert diffusion.predict_start_from_noise(x, torch.tensor([3, 8]), x).isfinite().all()
    tables = {name: diffusion.exact_table(name) for name in diffusion.exact_table_names()}
    odd = {name for name, table in tables.items() if not np.isfinite(table.numpy()).all()}
    assert odd == {"sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"}
