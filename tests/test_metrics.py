import json
import math
from importlib.resources import files

import pytest
import torch

from ddpm_edu import load_pretrained
from ddpm_edu.metrics import DigitsFrechet, frechet_distance
from ddpm_edu.pretrained import pretrained_card


def gaussian(mean, scale, N=200_000, seed=0):
    return torch.randn(N, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * torch.tensor(scale) + torch.tensor(mean)


def test_frechet_distance_of_two_gaussians_has_a_closed_form():
    got = frechet_distance(gaussian([0.0, 0.0], [1.0, 2.0]), gaussian([3.0, 0.0], [2.0, 2.0], seed=1))
    # ‖Δμ‖² + Σ(σ1-σ2)² = 9 + 1；抽样误差约 0.03
    assert got == pytest.approx(10.0, abs=0.1)
    x = gaussian([0.0, 1.0], [1.0, 3.0], 500)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-6)
    a = math.pi / 6
    turn = torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=torch.float64)
    assert frechet_distance(x @ turn, gaussian([0.0, 1.0], [1.0, 3.0], 400, 1) @ turn) == pytest.approx(
        frechet_distance(x, gaussian([0.0, 1.0], [1.0, 3.0], 400, 1)), rel=1e-6)


@pytest.mark.parametrize("shapes", [((1, 2), (5, 2)), ((5, 2), (5, 3)), ((5,), (5, 2))])
def test_bad_features_are_named(shapes):
    with pytest.raises(ValueError, match="特征"):
        frechet_distance(*(torch.zeros(s) for s in shapes))


def test_shipped_classifier_is_accurate_and_orders_real_and_noise():
    from ddpm_edu.data.digits import load_digits_split

    score = DigitsFrechet()
    split = load_digits_split()
    x, y = (torch.cat(z) for z in zip(split["val"], split["test"]))
    assert (score.classifier(x).argmax(1) == y).float().mean() > 0.98
    assert score.features(x).shape == (500, 32) and score(x) == pytest.approx(0, abs=1e-3)
    assert score.floor() < 15 < 200 < score.ceiling()


def test_shipped_model_matches_its_card_and_is_small():
    card, model, score = pretrained_card(), load_pretrained(), DigitsFrechet()
    assert (files("ddpm_edu") / "pretrained" / "digits.safetensors").stat().st_size <= 5 * 2**20
    samples = model.sample(1024, sampler="ddim", steps=50, generator=torch.Generator().manual_seed(0), progress=False)
    # 线程数不同，末位会不同，样本随之略变
    assert score(samples) == pytest.approx(card["quality"]["frechet_ddim_50"], rel=0.1)
    assert score(samples) < 3 * card["quality"]["real_vs_real_floor"]
    assert {"command", "seed", "max_steps", "batch_size"} <= card["recipe"].keys()
    assert json.dumps(card)
    with pytest.raises(ValueError, match="digits"):
        load_pretrained("digit")
