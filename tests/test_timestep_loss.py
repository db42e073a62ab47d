"""按 t 四段的验证损失：在知道答案的网络上对上闭式，看一眼不改变训练"""
import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ddpm_edu import make_beta_schedule
from ddpm_edu.data.base import ImageDataModule, ImageDataset
from ddpm_edu.teach.laboratory import gaussian_ddpm
from ddpm_edu.training.timestep_loss import TimestepLoss, quarters, spread

from .conftest import randomize, tiny_ddpm, tiny_unet
from .test_training import QUIET, FewDigits, fingerprint, fit, model_for_training, straight  # noqa: F401

NAMES = [f"val/loss_q{k}" for k in (1, 2, 3, 4)]


class GaussianImages(ImageDataModule):
    """N(0, 0.2²) 的 16×16 图，不会超出 [-1, 1]"""

    image_size, channels = 16, 1

    def setup(self, stage=None):
        x = 0.2 * torch.randn(96, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        data = ImageDataset(x.clamp(-1, 1), torch.zeros(96, dtype=torch.int64))
        self.splits = {"train": data, "val": data, "test": data}


def validate(model, data, callback, trainer=None, **kwargs):
    trainer = trainer or pl.Trainer(**QUIET, enable_checkpointing=False, callbacks=[callback], **kwargs)
    return trainer.validate(model, data, verbose=False)[0], trainer


@pytest.mark.parametrize("T", [1, 2, 3, 4, 10, 1000])
def test_the_quarters_are_a_partition_and_t_is_spread_evenly_inside(T):
    assert [t for start, stop in quarters(T) for t in range(start, stop)] == list(range(T))
    for start, stop in quarters(T):
        assert stop - start in (T // 4, T // 4 + 1)
        if start < stop:
            t = spread(start, stop, 64)
            counts = torch.bincount(t - start, minlength=stop - start)
            assert t.dtype == torch.int64 and t.min() >= start and t.max() < stop
            # 64 个步号落在每个 t 上的次数至多差 1
            assert counts.max() - counts.min() <= 1
    assert spread(0, 5, 5).tolist() == [0, 1, 2, 3, 4] and spread(10, 20, 2).tolist() == [12, 17]


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_the_four_numbers_match_the_closed_form(parameterization):
    betas = make_beta_schedule("cosine", 40)
    model = gaussian_ddpm(betas, mean=0.0, std=0.2, parameterization=parameterization)
    model.image_size = 16
    got, _ = validate(model, GaussianImages(batch_size=64), TimestepLoss())
    a, s2 = np.cumprod(1 - betas), 0.04
    D = a * s2 + 1 - a
    error = {"eps": a * s2 / D, "x0": s2 * (1 - a) / D, "v": s2 / D}[parameterization]
    want = [error[spread(10 * k, 10 * k + 10, 64).numpy()].mean() for k in range(4)]
    # 64×256 个像素，平方误差的相对标准误约 1.1%，取 5 倍
    np.testing.assert_allclose([got[name] for name in NAMES], want, rtol=0.055)
    # 移半段就差得远，所以段分错了必被发现
    other = [error[[min(39, t + 5) for t in spread(10 * k, 10 * k + 10, 64).tolist()]].mean() for k in range(4)]
    assert not np.allclose(other, want, rtol=0.11)


def test_looking_by_quarter_does_not_change_training(straight, tmp_path):  # noqa: F811
    model = model_for_training()
    callback = TimestepLoss()
    trainer = fit(model, 13, tmp_path, callbacks=[callback], val_check_interval=4, num_sanity_val_steps=1)
    assert fingerprint(model) == straight[0]
    assert set(NAMES) | {f"{name}_ema" for name in NAMES} <= set(trainer.logged_metrics)


def test_both_weights_and_every_validation_use_the_same_t_noise_and_images():
    model, callback = model_for_training(), TimestepLoss(num_samples=5)
    first, trainer = validate(model, FewDigits(batch_size=50), callback)
    # 影子就是原权重，两组数必须逐位相等
    assert all(first[name] == first[f"{name}_ema"] for name in NAMES)
    assert first == validate(model, FewDigits(batch_size=50), callback)[0]
    assert len(callback._held[0]) == 5
    held = next(iter(FewDigits(batch_size=50).val_dataloader()))["image"][:5]
    assert torch.equal(callback._held[0], held)
    # 后来的批次换了样子，用的仍是见到的第一批
    callback.on_validation_batch_end(None, model, None, {"image": torch.zeros(9, 1, 8, 8)}, 0)
    assert torch.equal(callback._held[0], held)
    randomize(model.model)
    after = validate(model, FewDigits(batch_size=50), callback)[0]
    for name in NAMES:
        assert after[name] != first[name] and after[f"{name}_ema"] == first[f"{name}_ema"]


def test_all_quarters_share_one_noise(monkeypatch):
    model, seen = tiny_ddpm(use_ema=False), []
    original = model.p_losses

    def spy(x, t, noise=None, **kwargs):
        if noise is not None:
            seen.append((noise.clone(), t))
        return original(x, t, noise, **kwargs)

    monkeypatch.setattr(model, "p_losses", spy)
    found, _ = validate(model, FewDigits(), TimestepLoss())
    assert len(seen) == 4 and all(torch.equal(noise, seen[0][0]) for noise, _ in seen)
    assert not any(name.endswith("_ema") for name in found)


def test_conditions_and_learned_logvar_are_fine():
    model = tiny_ddpm(tiny_unet(num_classes=10), conditioning_key="adm", learn_logvar=True, logvar_init=1.0)
    randomize(model.model)
    found, _ = validate(model, FewDigits(), TimestepLoss(num_samples=16))
    assert all(np.isfinite(found[name]) for name in NAMES)
    # logvar 只是权重，不该进来
    with torch.no_grad():
        model.logvar.fill_(-3.0)
    again, _ = validate(model, FewDigits(), TimestepLoss(num_samples=16))
    assert [again[name] for name in NAMES] == [found[name] for name in NAMES]


def test_short_chains_log_only_the_quarters_they_have():
    found, _ = validate(tiny_ddpm(timesteps=2, use_ema=False), FewDigits(), TimestepLoss())
    assert [name for name in NAMES if name in found] == ["val/loss_q2", "val/loss_q4"]


@pytest.mark.parametrize("bad", [0, 65, 2.5, True])
def test_bad_sample_counts_are_named(bad):
    with pytest.raises((ValueError, TypeError), match="num_samples"):
        TimestepLoss(bad)
