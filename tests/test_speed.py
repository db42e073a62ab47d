"""加速的开关只改快慢，不改结果"""
import functools

import pytest
import torch

from ddpm_edu import DigitsDataModule
from ddpm_edu.speed import SpeedUp

from .conftest import tiny_ddpm
from .test_training import fit


def model_for_training():
    # 没有 dropout：掩码按内存的次序抽，换了排布就不是同一份
    torch.manual_seed(0)
    return tiny_ddpm(learning_rate=1e-3, ema_decay=0.9)


@pytest.mark.parametrize("setting", [{"channels_last": True}, {"compile": True}])
def test_a_speed_up_gives_the_same_weights_and_the_same_keys(setting, tmp_path, monkeypatch):
    # 只捕捉计算图、不生成代码：后者在 CPU 上要几分钟，改变的只是舍入
    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(torch.nn.Module.compile, backend="eager"))
    plain, fast = model_for_training(), model_for_training()
    fit(plain, 3, tmp_path, data=DigitsDataModule(batch_size=64))
    trainer = fit(fast, 3, tmp_path, data=DigitsDataModule(batch_size=64), callbacks=[SpeedUp(**setting)])
    assert not torch.equal(plain.state_dict()["model_ema.num_updates"], torch.tensor(0))
    for (name, p), (other, q) in zip(plain.state_dict().items(), fast.state_dict().items(), strict=True):
        assert name == other and torch.allclose(p, q, atol=1e-4), name
    trainer.save_checkpoint(tmp_path / "fast.ckpt")
    again = model_for_training()
    again.init_from_ckpt(tmp_path / "fast.ckpt")
    assert all(torch.equal(p, q) for p, q in zip(again.parameters(), fast.parameters()))


def test_channels_last_reaches_weights_and_shadow_and_compile_reaches_the_network():
    model = model_for_training()
    SpeedUp(channels_last=True, compile=True).setup(None, model, "fit")
    for module in (model.model, model.model_ema):
        kernels = [p for p in module.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
        assert kernels and all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    assert model.model.diffusion_model._compiled_call_impl is not None


def test_without_a_flag_nothing_is_touched():
    model = model_for_training()
    SpeedUp().setup(None, model, "fit")
    assert model.model.diffusion_model._compiled_call_impl is None
    assert all(p.is_contiguous() for p in model.model.parameters())


@pytest.mark.parametrize("name", ["channels_last", "compile"])
def test_flags_are_true_or_false(name):
    with pytest.raises(TypeError, match=name):
        SpeedUp(**{name: "true"})
