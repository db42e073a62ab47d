"""第 1 章的月牙与小网络：抽得出、猜得动、量得准"""
import numpy as np
import torch

from ddpm_edu import DDPM, make_beta_schedule
from ddpm_edu.teach.moons import arcs, astray, exact_denoiser, misses, moons, train_moons, watershed


def test_the_moons_are_standard_sized_and_the_seed_decides_them():
    points, label = moons(2000, seed=0)
    assert torch.equal(points, moons(2000, seed=0)[0]) and not torch.equal(points, moons(2000, seed=1)[0])
    assert points.mean(0).abs().max() < 0.05 and (points.std(0) - 1).abs().max() < 0.05
    # 上弯在上
    assert points[label == 0, 1].mean() > 0.5 > -0.5 > points[label == 1, 1].mean()


def test_the_network_is_a_unet_of_one_pixel_and_sees_the_step():
    config = {"target": "ddpm_edu.teach.moons.MoonDenoiser"}
    model = DDPM(config, image_size=1, channels=2, use_ema=False)
    x = moons(8, seed=0)[0][..., None, None]
    early, late = (model.apply_model(x, torch.full((8,), t)) for t in (10, 900))
    assert early.shape == x.shape and not torch.allclose(early, late)
    model(x)[0].backward()
    assert all(p.grad.abs().max() > 0 for p in model.model.parameters())


def test_misses_count_wrong_places_and_empty_places():
    real = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert misses(torch.tensor([[0.05, 0.0]]), real) == (0.0, 0.5)
    assert astray(torch.tensor([[0.0, 0.05], [5.0, 5.0]]), real).tolist() == [False, True]
    assert misses(torch.tensor([[0.0, 0.05], [1.05, 0.0], [5.0, 5.0], [0.0, 0.2]]), real) == (0.5, 0.0)


def test_the_exact_denoiser_is_the_mean_of_the_noises_that_may_have_led_here():
    """四十万个点各加一份噪声，落在同一小块里的噪声的平均，就是那里的猜测"""
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    generator, t = torch.Generator().manual_seed(0), 150
    noise = torch.randn(400_000, 2, generator=generator)
    x_t = alpha_bar[t].sqrt() * moons(400_000, seed=3)[0] + (1 - alpha_bar[t]).sqrt() * noise
    guess = exact_denoiser(alpha_bar)
    for place in ([0.0, 0.0], [1.0, -0.8], [-1.0, 0.5], [0.6, 1.2]):
        near = (x_t - torch.tensor(place)).abs().amax(1) < 0.1
        difference = (noise[near] - guess(x_t[near], torch.full((int(near.sum()),), t))).double()
        assert near.sum() > 500
        assert (difference.mean(0).abs() < 4 * difference.std(0) / near.sum() ** 0.5).all()


def test_the_watershed_is_as_far_from_one_moon_as_from_the_other():
    """在分水岭的两侧正负相反，在中线上就是到另一弯的距离；中线照第 t 步缩小"""
    alpha_bar = torch.tensor([1.0, 0.25])
    lean, (upper, lower) = watershed(alpha_bar), arcs()
    now, later = torch.zeros(200, dtype=torch.long), torch.ones(200, dtype=torch.long)
    assert (lean(upper, now) < 0).all() and (lean(lower, now) > 0).all()
    # 点到自己的距离，cdist 算出来约是 3e-4，不是 0
    assert torch.allclose(lean(lower, now), torch.cdist(lower, upper).min(1).values, atol=1e-3)
    assert torch.allclose(lean(lower / 2, later), lean(lower, now) / 2, atol=1e-3)
    # 两弯绕中心转半圈就互换，所以中心在分水岭上
    assert lean(torch.zeros(1, 2), now[:1]).abs() < 1e-3


def test_training_takes_any_schedule_quietly_and_lands_where_the_data_are(recwarn):
    """终点还留着原图的表不警告；种子定下结果"""
    betas, points = np.full(10, 0.05), moons(1000, seed=0)[0]
    made = train_moons(betas, points, seed=1, steps=30, count=50)
    assert made.shape == (50, 2) and torch.equal(made, train_moons(betas, points, seed=1, steps=30, count=50))
    assert not torch.equal(made, train_moons(betas, points, seed=2, steps=30, count=50))
    assert not recwarn.list
    moved = train_moons(make_beta_schedule("cosine", 20), points + 3, steps=300, count=200).mean(0)
    assert ((moved - 3).abs() < 0.7).all()
