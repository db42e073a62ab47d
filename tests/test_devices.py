"""没有 float64 的设备（Apple 的 GPU）：训练、采样、评估、装权重都走得通；--device 不可用时说清楚"""
import sys

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn

from ddpm_edu import DigitsDataModule
from ddpm_edu.editing import inpaint
from ddpm_edu.evaluation.fid import inception_fid
from ddpm_edu.evaluation.report import evaluate
from ddpm_edu.likelihood import vlb_terms
from ddpm_edu.training.timestep_loss import TimestepLoss

from .conftest import one_level_unet, randomize, tiny_ddpm, tiny_unet
from .no_float64 import DEVICE, READS, Moved, no_float64


class Accelerator(CPUAccelerator):
    def setup_device(self, device):
        pass


@pytest.fixture
def model():
    with no_float64():
        yield randomize(tiny_ddpm(timesteps=6, beta_schedule="cosine")).to(DEVICE)


def test_the_stand_in_refuses_float64_and_mixed_devices(images):
    with no_float64():
        moved = images.to(DEVICE)
        assert isinstance(moved, Moved) and torch.equal((moved * 2).cpu(), images * 2)
        for wrong in (lambda: moved.double(), lambda: images.double().to(DEVICE), lambda: images.double().to(DEVICE, torch.float32),
                      lambda: torch.zeros(2, device=DEVICE, dtype=torch.float64), lambda: moved + images):
            with pytest.raises((TypeError, RuntimeError)):
                wrong()


def test_every_sampler_runs_without_float64(model, images):
    for how in (dict(sampler="ancestral"), dict(sampler="ancestral", steps=3, v_posterior=0.5), dict(sampler="ddim", steps=3, eta=0.5)):
        assert isinstance(model.sample(2, progress=False, **how), Moved)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    assert inpaint(model, images, mask, steps=3, progress=False).device == DEVICE
    assert model.log_images({"image": images.to(DEVICE)}, N=2)["samples"].shape == (2, 1, 8, 8)


def test_evaluation_gives_the_numbers_of_the_cpu(model, images):
    here, there = (evaluate(one, DigitsDataModule(), max_images=2, num_samples=4, steps=2, progress=False) for one in (
        randomize(tiny_ddpm(timesteps=6, beta_schedule="cosine")), model))
    # 同样的 float32，只是先后搬了一次
    assert there == pytest.approx(here, rel=1e-5)
    assert vlb_terms(model, images.to(DEVICE), progress=False).dtype == torch.float64
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)).to(DEVICE)

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, pixels):
            return self.network(pixels.float())

    # 与自己的距离：协方差开方的舍入，torchmetrics 用 float64
    assert inception_fid(images, images, Inception(), progress=False) == pytest.approx(0, abs=1e-3)


def train(model, data, folder, *callbacks, **kwargs):
    options = dict(logger=False, enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0, default_root_dir=folder)
    trainer = pl.Trainer(strategy=SingleDeviceStrategy(DEVICE, Accelerator()), callbacks=list(callbacks), **options, **kwargs)
    trainer.fit(model, data)
    return trainer


@pytest.fixture
def fused(monkeypatch):
    """AdamW 的融合版本认得 mps，不认得替身的名字"""
    monkeypatch.setattr(sys.modules[torch.optim.Optimizer.__module__], "_get_fused_kernels_supported_devices", lambda: [DEVICE.type])


def test_training_and_loading_weights_need_no_float64(tmp_path, fused):
    small = one_level_unet(attention_resolutions=[1])
    with no_float64():
        model, again = (tiny_ddpm(small, timesteps=6, beta_schedule="cosine", learn_logvar=True) for _ in range(2))
        seen = []
        watch = pl.callbacks.LambdaCallback(on_train_batch_end=lambda trainer, module, *rest: seen.append(module.betas.device))
        train(model, DigitsDataModule(batch_size=8), tmp_path, TimestepLoss(), watch, max_steps=2, val_check_interval=2, limit_val_batches=1)
        assert seen == [DEVICE, DEVICE]
        # 训练完 Lightning 把模型搬回 CPU
        model.to(DEVICE)
        again.to(DEVICE).load_state_dict(model.state_dict())


def test_a_training_step_reads_the_device_once(tmp_path, fused):
    """坏梯度要在更新之前停，只有这一次非等不可"""
    counts = []
    watch = pl.callbacks.LambdaCallback(on_train_batch_start=lambda *_: READS.clear(), on_train_batch_end=lambda *_: counts.append(len(READS)))
    with no_float64():
        train(tiny_ddpm(tiny_unet(num_classes=10), timesteps=6, beta_schedule="cosine", conditioning_key="adm"), DigitsDataModule(batch_size=8),
              tmp_path, watch, max_steps=3, limit_val_batches=0, enable_checkpointing=False)
    assert counts == [1, 1, 1]


def test_a_sampling_step_reads_nothing_from_the_device(model):
    def reads(steps):
        READS.clear()
        model.sample(2, sampler="ancestral", steps=steps, progress=False)
        return len(READS)

    assert reads(5) == reads(2)


def test_pixels_out_of_range_are_named_before_they_reach_the_device(tmp_path, fused):
    bad = torch.utils.data.DataLoader([{"image": torch.full((1, 8, 8), 255.0)}] * 4, batch_size=4)
    with no_float64(), pytest.raises(ValueError, match="127.5"):
        train(tiny_ddpm(timesteps=6, beta_schedule="cosine"), bad, tmp_path, max_steps=1)


def test_a_device_that_is_not_there_is_named(monkeypatch):
    from ddpm_edu.cli.options import pick_device

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device 应为这台机器可用的 cpu 之一，得到 'mps'"):
        pick_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert (pick_device("auto"), pick_device("mps"), pick_device("cpu")) == ("mps", "mps", "cpu")
