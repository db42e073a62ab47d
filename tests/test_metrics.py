import functools
import json
import math
from importlib.resources import files

import pytest
import torch
from torch import nn

from ddpm_edu import DigitsDataModule, load_pretrained
from ddpm_edu.data.base import ImageDataModule, ImageDataset, random_images
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.classifier import SmallClassifier, train_classifier
from ddpm_edu.evaluation.fid import inception_fid, inception_kid
from ddpm_edu.evaluation.metrics import DigitsFrechet, FrechetDistance, frechet_distance, frechet_for
from ddpm_edu.generate import generate
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
    score = DigitsFrechet()
    split = load_digits_split()
    x, y = (torch.cat(z) for z in zip(split["val"], split["test"]))
    assert (score.classifier(x).argmax(1) == y).float().mean() > 0.98
    # 特征是 float32，与自己的距离是几个相近的大数之差
    assert score.features(x).shape == (500, 32) and score(x) == pytest.approx(0, abs=1e-3)
    # 课程与 README 里写着的数
    assert score.floor() == pytest.approx(10.2662, abs=1e-3) and score.ceiling() == pytest.approx(865.52, abs=0.05)
    assert score.train.shape == (1297, 1, 8, 8) and torch.equal(score.real, x)


def test_shipped_model_matches_its_card_and_is_small(amount):
    card, model, score = pretrained_card(), load_pretrained(), DigitsFrechet()
    assert (files("ddpm_edu") / "pretrained" / "digits.safetensors").stat().st_size <= 5 * 2**20
    # 平时少采几张、少走几步，距离约 29；权重都大一成就到 53
    (count, steps), quality = amount((256, 10), (1000, 50)), card["quality"]
    distance = score(generate(model, count, steps=steps, batch_size=100, use_ema=False, seed=0, progress=False)[0])
    if count == 1000:
        # 线程数不同，末位会不同，样本随之略变
        assert distance == pytest.approx(quality["ddim_50"]["frechet"]["each"][0], rel=0.1)
    floor = quality["frechet_floor"]["mean"]
    assert distance < 4 * floor and quality["ddim_50"]["frechet"]["mean"] < 2.5 * floor
    assert {"command", "seed", "max_steps", "batch_size"} <= card["recipe"].keys()
    assert json.dumps(card)
    with pytest.raises(ValueError, match="digits"):
        load_pretrained("digit")


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.4


def test_frechet_distance_works_on_any_images_and_compares_with_the_real_ones():
    torch.manual_seed(0)
    classifier, real = SmallClassifier(12, 3, 5).eval(), noise(60, 3, 12, 12).clamp(-1, 1)
    score = FrechetDistance(classifier, real)
    samples = noise(50, 3, 12, 12, seed=1) + 0.3
    with torch.no_grad():
        want = frechet_distance(classifier.features(samples.clamp(-1, 1)), classifier.features(real))
    assert score(samples) == pytest.approx(want, rel=1e-6) and score(real) == pytest.approx(0, abs=1e-6)
    assert score.floor(samples) == score(samples) and score.ceiling() > score(samples) > 0
    assert FrechetDistance(classifier, real, samples).floor() == score(samples)
    with pytest.raises(ValueError, match="train"):
        score.floor()
    for bad in (samples[:, :1], samples[..., :8], samples[0], samples * float("nan")):
        with pytest.raises(ValueError, match="images"):
            score(bad)


def test_each_data_module_gets_its_own_distance(tmp_path, monkeypatch):
    # 只问是哪一份数据的分类器，练得好不好由 test_classifier.py 看
    monkeypatch.setattr("ddpm_edu.evaluation.classifier.train_classifier", functools.partial(train_classifier, epochs=1))

    class Plain(ImageDataModule):
        image_size, channels, num_classes = 6, 1, 2

        def setup(self, stage=None):
            x = noise(90, 1, 6, 6).clamp(-1, 1)
            self.splits = {n: ImageDataset(x[i::3], (x[i::3].mean((1, 2, 3)) > 0).long()) for i, n in enumerate(("train", "val", "test"))}

    class Unlabelled(Plain):
        num_classes = None

    assert isinstance(frechet_for(DigitsDataModule()), DigitsFrechet)
    assert frechet_for(Unlabelled()) is None
    module = Plain()
    score = frechet_for(module, tmp_path / "c.ckpt", progress=False)
    assert len(score.real) == len(score.train) == 30 and (tmp_path / "c.ckpt").exists()
    # 真图来自测试划分
    torch.testing.assert_close(score.real.sort(0).values, module.splits["test"].images.sort(0).values)
    assert frechet_for(module, tmp_path / "c.ckpt").floor() == score.floor()
    few = random_images(module.splits["test"], 7)["image"]
    assert torch.equal(few, random_images(module.splits["test"], 7)["image"]) and not torch.equal(few, module.splits["test"].images[:7])


class StandIn(nn.Module):
    """代替 Inception 的小网络：uint8 (B, 3, H, W) → (B, 6)"""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 6), nn.Dropout(0.5))
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return self.body(x.float() / 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_fid_is_the_frechet_distance_of_the_users_features(channels):
    network = StandIn()
    samples, real = noise(40, channels, 4, 4) + 0.2, noise(50, channels, 4, 4, seed=1)
    got = inception_fid(samples, real, network, batch_size=16, progress=False)
    assert network.training and all(x.dtype == torch.uint8 and x.shape[1] == 3 and len(x) <= 16 for x in network.seen)
    # 逐像素自己换算：[-1, 1] → 0..255
    features = [network.eval().body(((x.clamp(-1, 1) + 1) * 127.5).round().expand(-1, 3, -1, -1) / 255).detach() for x in (samples, real)]
    assert got == pytest.approx(frechet_distance(*features), rel=1e-4) and got > 0.01
    assert inception_fid(samples, samples, network, progress=False) == pytest.approx(0, abs=1e-6)


def test_kid_is_the_unbiased_mmd_of_the_users_features():
    network = StandIn()
    samples, real = noise(40, 3, 4, 4) + 0.2, noise(50, 3, 4, 4, seed=1)
    got, se = inception_kid(samples, real[:40], network, batch_size=16, blocks=2, progress=False)
    x, y = (network.eval().body(((x.clamp(-1, 1) + 1) * 127.5).round() / 255).detach().double() for x in (samples, real[:40]))

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mmd(x, y):
        return float(sum((kernel(z, z).sum() - kernel(z, z).trace()) / (20 * 19) for z in (x, y)) - 2 * kernel(x, y).mean())

    one, two = mmd(x[:20], y[:20]), mmd(x[20:], y[20:])
    assert got == pytest.approx((one + two) / 2, rel=1e-4) and se == pytest.approx(abs(one - two) / 2, rel=1e-3)


def test_kid_does_not_grow_when_there_are_few_images_and_takes_no_random_numbers():
    """同一个分布的两批图：FID 随张数少而偏大，KID 的平均在 0 的标准误之内"""
    network = Wrong(lambda x: x.flatten(1)[:, :6].double() / 50)
    values = torch.tensor([inception_kid(noise(20, 3, 4, 4, seed=k), noise(20, 3, 4, 4, seed=100 + k), network, blocks=2, progress=False)[0]
                           for k in range(60)])
    assert abs(float(values.mean())) < 3 * float(values.std()) / 60**0.5
    state = torch.get_rng_state()
    one, two = (inception_kid(noise(30, 3, 4, 4), noise(43, 3, 4, 4, seed=1), network, progress=False) for _ in range(2))
    assert one == two and torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="blocks.*每份至少两张图"):
        inception_kid(noise(5, 3, 4, 4), noise(9, 3, 4, 4), network, progress=False)


def test_half_precision_features_do_not_overflow():
    network = Wrong(lambda x: x.flatten(1)[:, :6].half())
    # 全黑对全白：6·255²，超过半精度的上限 65504
    assert inception_fid(-torch.ones(9, 3, 4, 4), torch.ones(9, 3, 4, 4), network, progress=False) == pytest.approx(6 * 255**2)


def test_fid_without_weights_says_what_is_missing_why_and_what_to_use_meanwhile():
    x = noise(4, 3, 4, 4)
    with pytest.raises(ValueError, match=r"inception.*uint8.*\(N, 2048\).*不随包发布.*bits/dim.*frechet_for"):
        inception_fid(x, x)


class Wrong(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(inception="inception.pt"), "inception.*不打开文件"),
        (dict(inception=Wrong(lambda x: (x,))), "inception 的输出.*tuple"),
        (dict(inception=Wrong(lambda x: x.float())), "inception 的输出"),
        (dict(inception=Wrong(lambda x: x.flatten(1))), "inception 的输出"),
        (dict(inception=Wrong(lambda x: x.flatten(1).float() * float("nan"))), "NaN"),
        (dict(inception=Wrong(lambda x: x.flatten(1)[:, :len(x)].float())), "inception 的输出"),
        (dict(samples=noise(4, 2, 4, 4)), "samples"),
        (dict(real=noise(1, 3, 4, 4)), "real.*2"),
        (dict(samples=torch.zeros(4, 3, 4, 4, dtype=torch.uint8)), "samples.*浮点"),
        (dict(batch_size=0), "batch_size"),
    ],
)
def test_bad_fid_requests_are_named(arguments, words):
    good = dict(samples=noise(4, 3, 4, 4), real=noise(5, 3, 4, 4), inception=StandIn(), progress=False)
    with pytest.raises((ValueError, TypeError), match=words):
        inception_fid(**{**good, **arguments})


def test_fid_with_too_few_images_warns(caplog):
    # 6 张图的协方差，秩至多是 5
    inception_fid(noise(6, 3, 4, 4), noise(40, 3, 4, 4), StandIn(), progress=False)
    assert "特征维数 6" in caplog.text
    caplog.clear()
    inception_fid(noise(7, 3, 4, 4), noise(40, 3, 4, 4), StandIn(), progress=False)
    assert caplog.text == ""
