"""在真的 GPU 上：python course.py test -m gpu；没有 GPU 时跳过"""
import pytest
import torch

from ddpm_edu import DDPM, DigitsDataModule
from ddpm_edu.configs.recipes import digits_model_config

from .conftest import randomize, tiny_ddpm

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="这台机器没有可用的 CUDA GPU")]


def gpu_trainer(**kwargs):
    import pytorch_lightning as pl

    return pl.Trainer(accelerator="gpu", devices=1, max_epochs=-1, logger=False, enable_progress_bar=False,
                      enable_model_summary=False, limit_val_batches=0, **kwargs)


def test_loss_and_samples_agree_with_the_cpu(images, monkeypatch):
    # 显卡上的卷积默认用 TF32，只有三四位有效数字（H100 上损失差 1.5e-4）；关掉它，才看得出别的差别
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = randomize(tiny_ddpm(clip_denoised=True))
    t, noise = torch.tensor([0, 3, 20, 49]), torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    here, _ = model.p_losses(images, t, noise)
    start = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    sample = model.sample(2, sampler="ddim", steps=5, x_T=start, progress=False)
    model.cuda()
    there, _ = model.p_losses(images.cuda(), t.cuda(), noise.cuda())
    # 两种设备的卷积各有次序，float32
    assert torch.allclose(here, there.cpu(), rtol=1e-4)
    moved = model.sample(2, sampler="ddim", steps=5, x_T=start, progress=False)
    # 打乱过的网络把舍入放大，走了 5 步
    assert moved.is_cuda and torch.allclose(moved.cpu(), sample, atol=5e-3)


def test_inpainting_takes_images_from_the_cpu(images):
    from ddpm_edu.editing import inpaint

    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    filled = inpaint(randomize(tiny_ddpm()).cuda(), images, mask, steps=3, repeats=2, generator=torch.Generator().manual_seed(0), progress=False)
    assert filled.is_cuda and torch.equal(filled.cpu()[..., :4], images[..., :4])


def test_the_same_generator_gives_the_same_start_on_both_devices():
    model = tiny_ddpm()
    here, there = (m.starting_noise((2, 1, 8, 8), None, torch.Generator().manual_seed(5)).cpu() for m in (model, tiny_ddpm().cuda()))
    assert torch.equal(here, there)


def test_bf16_training_converges_on_digits_with_a_float32_shadow():
    from ddpm_edu.evaluation.metrics import DigitsFrechet

    torch.manual_seed(0)
    model = DDPM(**digits_model_config(600))
    gpu_trainer(max_steps=600, precision="bf16-mixed", gradient_clip_val=1.0, enable_checkpointing=False).fit(
        model, DigitsDataModule(batch_size=64))
    assert all(shadow.dtype == torch.float32 for shadow in model.model_ema.shadow.values())
    with model.cuda().ema_scope():
        samples = model.sample(512, sampler="ddim", steps=25, generator=torch.Generator().manual_seed(0), progress=False)
    # 0 附近是真图，八百多是噪声；认得出的在 60 以下
    assert DigitsFrechet()(samples.cpu()) < 80


def test_a_gpu_checkpoint_loads_on_the_cpu_and_resumes(tmp_path):
    torch.manual_seed(0)
    model = DDPM(**digits_model_config(20, width=8))
    trainer = gpu_trainer(max_steps=10, default_root_dir=tmp_path)
    trainer.fit(model, DigitsDataModule(batch_size=64))
    trainer.save_checkpoint(tmp_path / "gpu.ckpt")
    loaded = DDPM.load_from_checkpoint(tmp_path / "gpu.ckpt")
    assert next(loaded.parameters()).device.type == "cpu"
    again = DDPM(**digits_model_config(20, width=8))
    gpu_trainer(max_steps=20, default_root_dir=tmp_path).fit(again, DigitsDataModule(batch_size=64), ckpt_path=tmp_path / "gpu.ckpt")
    assert again.global_step == 20 and int(again.model_ema.num_updates) == 20


def test_compiling_computes_the_same_step(images):
    from ddpm_edu.training.speed import SpeedUp

    t, noise = torch.tensor([0, 3, 20, 49], device="cuda"), torch.randn(4, 1, 8, 8, device="cuda")
    losses = []
    for speed in (SpeedUp(), SpeedUp(compile=True)):
        model = randomize(tiny_ddpm()).cuda()
        speed.setup(None, model, "fit")
        loss, _ = model.p_losses(images.cuda(), t, noise)
        loss.backward()
        losses.append((loss.detach(), next(model.model.parameters()).grad))
    # 编译会换次序；梯度里正负相消，所以更松
    assert torch.allclose(losses[0][0], losses[1][0], rtol=1e-3) and torch.allclose(losses[0][1], losses[1][1], rtol=1e-2, atol=1e-3)
