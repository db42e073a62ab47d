"""每一种条件方式都真的训练、真的采样：条件进得了网络，也改变得了样本"""
import pytest
import torch

from ddpm_edu import DDPM, DigitsDataModule
from ddpm_edu.conditioning import CONDITIONS
from ddpm_edu.configs.recipes import DIGITS_CONDITIONS, conditional_digits_config
from ddpm_edu.generate import generate

from .conftest import tiny_ddpm, tiny_unet
from .test_training import FewDigits, fit

COMBINATIONS = {
    "adm": ["label"], "concat": ["low_resolution"], "crossattn": ["prompt"], "hybrid": ["masked", "prompt"],
    "hybrid-adm": ["masked", "prompt", "label"], "crossattn-adm": ["prompt", "label"],
}


def data_for(names, **kwargs):
    return FewDigits(16, conditions=[name for name in names if name != "label"], **kwargs)


@pytest.mark.parametrize(("key", "names"), COMBINATIONS.items(), ids=list(COMBINATIONS))
def test_every_conditioning_mode_trains_and_samples_with_guidance(key, names, tmp_path):
    torch.manual_seed(0)
    model = DDPM(**{**conditional_digits_config(names, max_steps=6, width=8), "timesteps": 20})
    assert model.conditioning_key == key
    data = data_for(names)
    fit(model, 6, tmp_path, data=data, limit_val_batches=0)
    batch = next(iter(data.test_dataloader()))
    cond = {kind: value[:4] for kind, value in model.get_condition(batch).items()}
    plain, _ = generate(model, 4, cond=cond, steps=4, use_ema=False, progress=False)
    guided, _ = generate(model, 4, cond=cond, steps=4, use_ema=False, guidance_scale=3.0, progress=False)
    assert plain.shape == (4, 1, 8, 8) and not torch.allclose(plain, guided, atol=1e-4)
    for kind in cond:
        # 每一种条件都各自起作用
        swapped = {**cond, kind: cond[kind].flip(0)}
        assert not torch.allclose(plain, generate(model, 4, cond=swapped, steps=4, use_ema=False, progress=False)[0], atol=1e-5), kind


def test_all_modes_are_covered():
    assert {None, *COMBINATIONS} == set(CONDITIONS)
    used = {name for names in COMBINATIONS.values() for name in names}
    assert used == set(DIGITS_CONDITIONS)


def test_validation_and_log_images_take_the_condition_from_the_batch(tmp_path):
    from ddpm_edu.training.callbacks import SampleGrid

    torch.manual_seed(0)
    model = DDPM(**{**conditional_digits_config(["masked", "prompt"], max_steps=2, width=8), "timesteps": 10})
    # 默认的 50 步多于 T=10
    grid = SampleGrid(every_n_steps=2, num_samples=4, dirpath=tmp_path / "samples")
    trainer = fit(model, 2, tmp_path, data=data_for(["masked", "prompt"]), callbacks=[grid], limit_val_batches=1, val_check_interval=2)
    assert "val/loss_ema" in trainer.callback_metrics
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        "step-000001-denoise.png", "step-000001.png", "step-000002-denoise.png", "step-000002.png"]


def test_an_unknown_condition_is_named():
    with pytest.raises(ValueError, match="prompt"):
        conditional_digits_config(["promt"])


def test_a_class_out_of_range_is_named_before_it_reaches_the_device(tmp_path):
    model = tiny_ddpm(tiny_unet(num_classes=3), conditioning_key="adm")

    class Wide(DigitsDataModule):
        """标签 0..9，模型只有 3 类"""

    with pytest.raises(ValueError, match=r"batch\['label'\] 应为 -1..2 的类别"):
        fit(model, 1, tmp_path, data=Wide(), limit_val_batches=0)
    batch = {"image": torch.zeros(1, 1, 8, 8), "label": torch.zeros(1, dtype=torch.int64, device="meta")}
    assert model.on_before_batch_transfer(batch, 0) is batch  # 已经在设备上的不看：看一眼要等
    for call in (lambda cond: model.sample(2, cond=cond, steps=2, progress=False), lambda cond: generate(model, 2, cond=cond, progress=False)):
        with pytest.raises(ValueError, match=r"cond\['c_adm'\] 应为 -1..2 的类别"):
            call(torch.tensor([0, 3]))
