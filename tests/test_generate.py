"""成批生成、GIF 与补全"""
import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import make_beta_schedule
from ddpm_edu.editing import inpaint
from ddpm_edu.generate import generate
from ddpm_edu.images import make_grid, save_gif, save_grid, to_pil
from ddpm_edu.teach.laboratory import ancestral, chain_gains, gaussian_ddpm

from .conftest import randomize, tiny_ddpm, tiny_unet


@pytest.fixture(scope="module")
def model():
    return randomize(tiny_ddpm()).eval()


def test_how_samples_are_batched_does_not_change_them(model):
    whole, _ = generate(model, 7, batch_size=7, seed=3, steps=4, progress=False)
    parts, _ = generate(model, 7, batch_size=3, seed=3, steps=4, progress=False)
    other, _ = generate(model, 7, batch_size=7, seed=4, steps=4, progress=False)
    assert torch.allclose(whole, parts, atol=1e-5) and not torch.allclose(whole, other, atol=1e-2)


def test_frames_run_from_the_start_to_the_samples(model):
    images, frames = generate(model, 3, batch_size=2, seed=0, steps=10, num_frames=4, progress=False)
    start = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert len(frames) == 5 and torch.equal(frames[0], start) and torch.equal(frames[-1], images)
    assert generate(model, 1, steps=2, progress=False)[1] == []
    assert len(generate(model, 1, steps=2, num_frames=40, progress=False)[1]) == 3


def test_every_sample_keeps_its_own_condition():
    model = randomize(tiny_ddpm(tiny_unet(num_classes=3), conditioning_key="adm")).eval()
    labels = torch.tensor([0, 1, 2, 0, 1])
    together, _ = generate(model, 5, batch_size=2, cond=labels, steps=3, progress=False)
    shuffled, _ = generate(model, 5, batch_size=2, cond=labels.roll(1), steps=3, progress=False)
    alone, _ = generate(model, 5, batch_size=5, cond={"c_adm": labels}, steps=3, progress=False)
    assert torch.allclose(together, alone, atol=1e-5) and not torch.allclose(together, shuffled, atol=1e-3)


def test_ema_weights_are_used_unless_told_otherwise(model):
    moved = randomize(tiny_ddpm(), seed=1)
    with torch.no_grad():
        for shadow in moved.model_ema.shadow.values():
            shadow.add_(0.1)
    ema, raw = (generate(moved, 2, steps=2, use_ema=use, progress=False)[0] for use in (True, False))
    with moved.ema_scope():
        inside, _ = generate(moved, 2, steps=2, use_ema=False, progress=False)
    assert torch.equal(ema, inside) and not torch.allclose(ema, raw, atol=1e-3)


def test_a_gif_has_every_frame_and_lingers_on_the_last(tmp_path):
    frames = [torch.full((2, 1, 4, 4), value) for value in (-1.0, 0.0, 1.0)]
    with Image.open(save_gif(frames, tmp_path / "子目录" / "a.gif", scale=2, frame_ms=50)) as gif:
        assert gif.n_frames == 3 and gif.size == (19, 10)
        durations = []
        for i in range(3):
            gif.seek(i)
            durations.append(gif.info["duration"])
    assert durations == [50, 50, 1050]
    with pytest.raises(ValueError, match="两帧"):
        save_gif(frames[:1], tmp_path / "b.gif")


# ---- 补全 ----

def test_known_pixels_come_back_untouched_and_the_rest_is_filled(model, images):
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :3] = 1
    for repeats in (1, 3):
        filled = inpaint(model, images, mask, steps=5, repeats=repeats, generator=torch.Generator().manual_seed(0), progress=False)
        assert torch.equal(filled[..., :3], images[..., :3])
        # 遮住的像素写什么都一样：它们没有被看过
        hidden = torch.where(mask.bool(), images, torch.zeros(()))
        again = inpaint(model, hidden, mask, steps=5, repeats=repeats, generator=torch.Generator().manual_seed(0), progress=False)
        assert torch.equal(filled, again)


@pytest.mark.parametrize("repeats", [1, 3])
def test_independent_pixels_are_filled_as_if_nothing_were_known(repeats):
    # 像素互相独立，已知的不提供信息：补出来的均值与方差由整条链的递推给出，退回一步就是再加一次噪声
    betas = make_beta_schedule("cosine", 10)
    model = gaussian_ddpm(betas, mean=0.3, std=0.5)
    known, mask = torch.full((20_000, 1, 1, 1), 0.9, dtype=torch.float64), torch.zeros(1, 1, 1, 1)
    filled = inpaint(model, known, mask, steps=10, repeats=repeats, generator=torch.Generator().manual_seed(0), progress=False)
    gains, shifts, noise = chain_gains(np.cumprod(1 - betas), ancestral(0.0), 0.3, 0.5)
    mean, variance = 0.0, 1.0
    for i in range(9, -1, -1):
        for again in range(repeats if i else 1):
            if again:
                mean, variance = (1 - betas[i]) ** 0.5 * mean, (1 - betas[i]) * variance + betas[i]
            mean, variance = gains[i] * mean + shifts[i], gains[i] ** 2 * variance + noise[i]
    assert abs(filled.mean() - mean) < 0.01 and abs(filled.var() - variance) < 0.006


def test_inpainting_takes_the_condition_and_the_guidance(images):
    model = tiny_ddpm(unet=tiny_unet(num_classes=3), conditioning_key="adm", timesteps=5)
    randomize(model.model.diffusion_model)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :3] = 1

    def filled(label, **kwargs):
        cond = torch.full((len(images),), label)
        return inpaint(model, images, mask, steps=5, cond=cond, generator=torch.Generator().manual_seed(0), progress=False, **kwargs)

    assert torch.equal(filled(1)[..., :3], images[..., :3])
    assert not torch.equal(filled(1), filled(2)) and not torch.equal(filled(1), filled(1, guidance_scale=3.0))
    # 强度 0：条件不起作用
    torch.testing.assert_close(filled(1, guidance_scale=0.0), filled(-1))
    with pytest.raises(ValueError, match="cond"):
        inpaint(model, images, mask, steps=5)


@pytest.mark.parametrize("mask", [torch.full((1, 1, 8, 8), 0.5), torch.ones(8, 8), None,
                                  torch.ones(4, 1, 4, 4), torch.ones(3, 1, 8, 8), torch.ones(4, 2, 8, 8)])
def test_a_mask_fits_the_images_and_holds_only_zeros_and_ones(model, images, mask):
    with pytest.raises(ValueError, match="mask"):
        inpaint(model, images, mask, steps=2)


def test_inpainting_walks_at_most_t_steps_and_never_reads_unknown_pixels(images):
    model, holes = tiny_ddpm(timesteps=5), images.clone()
    holes[..., 4:] = float("nan")
    mask = torch.ones(1, 1, 8, 8, dtype=torch.uint8)
    mask[..., 4:] = 0
    filled = inpaint(model, holes, mask, generator=torch.Generator().manual_seed(0), progress=False)
    assert filled.isfinite().all() and torch.equal(filled[..., :4], images[..., :4])
    holes[..., 0] = float("nan")
    with pytest.raises(ValueError, match="known"):
        inpaint(model, holes, mask, progress=False)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_other_numbers_of_channels_are_shown_side_by_side_in_grey(channels, tmp_path):
    images = torch.rand(3, channels, 8, 8) * 2 - 1
    shown = make_grid(images, padding=0)
    assert torch.equal(shown[0], torch.cat([torch.cat(list(image), dim=1) for image in images], dim=1))
    assert to_pil(images[0]).size == (8 * channels, 8) and to_pil(images[0]).mode == "L"
    assert Image.open(save_grid(images, tmp_path / "a.png")).mode == "L" and save_gif([images, -images], tmp_path / "a.gif").exists()
    model = tiny_ddpm(tiny_unet(in_channels=channels, out_channels=channels), channels=channels)
    assert model.log_images({"image": images}, N=2, n_row=1, steps=2, progress=False)["denoise_row"].shape[0] == 1
