"""小分类器：各种尺寸都能用，训练可复现，缓存要么完整要么报错"""
import logging
from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from ddpm_edu import DigitsDataModule
from ddpm_edu.data.base import ImageDataModule, ImageDataset
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.classifier import ResidualClassifier, SmallClassifier, cached_classifier, load_classifier, train_classifier
from ddpm_edu.files.checkpoint import CheckpointError

GOLDEN = [[-3.904382, -8.214583, 4.336142], [15.826841, -4.743645, 4.412965]]


class BigDigits(ImageDataModule):
    """放大到 16×16 的数字，uint8，各划分只取一部分"""

    image_size, channels, num_classes = 16, 1, 10

    def setup(self, stage=None):
        self.splits = {}
        for name, (x, y) in load_digits_split().items():
            pixels = ((F.interpolate(x[:640], size=16, mode="bilinear") + 1) * 127.5).round().to(torch.uint8)
            self.splits[name] = ImageDataset(pixels, y[:640])


class OtherDigits(BigDigits):
    pass


def same(a, b):
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def trained():
    return train_classifier(BigDigits(), epochs=6, progress=False)


@pytest.mark.parametrize(("network", "image_size", "channels", "num_classes"), [
    (SmallClassifier, 8, 1, 10), (SmallClassifier, 28, 1, 10), (SmallClassifier, 32, 3, 100), (SmallClassifier, 9, 1, 2),
    (ResidualClassifier, 32, 3, 10), (ResidualClassifier, 8, 1, 2)])
def test_the_classifier_takes_any_size(network, image_size, channels, num_classes):
    classifier = network(image_size, channels, num_classes)
    x = torch.randn(3, channels, image_size, image_size)
    assert classifier(x).shape == (3, num_classes) and classifier.features(x).shape == (3, 32)


def test_the_shipped_file_still_loads_with_the_same_features():
    classifier = load_classifier()
    shipped = load_file(str(files("ddpm_edu") / "pretrained" / "digits_classifier.safetensors"))
    assert all(torch.equal(value, shipped[name]) for name, value in classifier.state_dict().items())
    # 推广之前的网络在前两张验证图上的头三个特征
    features = classifier.features(load_digits_split()["val"][0][:2])[:, :3]
    torch.testing.assert_close(features, torch.tensor(GOLDEN), rtol=1e-4, atol=1e-4)


def test_training_learns_and_is_reproducible(trained):
    classifier, accuracy = trained
    # 十类，瞎猜是 0.1；640 张图练 6 轮
    assert accuracy > 0.8 and not classifier.training and not any(p.requires_grad for p in classifier.parameters())
    before = torch.random.get_rng_state()
    once, other = (train_classifier(BigDigits(), epochs=1, seed=seed, progress=False)[0] for seed in (3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert same(once, train_classifier(BigDigits(), epochs=1, seed=3, progress=False)[0]) and not same(once, other)


def test_the_residual_classifier_learns_too():
    classifier, accuracy = train_classifier(BigDigits(), epochs=2, progress=False, network=ResidualClassifier)
    assert type(classifier) is ResidualClassifier and accuracy > 0.6 and not classifier.training


def test_accuracy_is_measured_on_held_out_images(trained):
    classifier, accuracy = trained
    module = BigDigits()
    module.setup()
    right = [int((classifier(d.images / 127.5 - 1).argmax(1) == d.labels).sum()) for d in (module.splits["val"], module.splits["test"])]
    assert accuracy == pytest.approx(sum(right) / 500)


def test_training_leaves_the_data_stream_where_it_was():
    module = DigitsDataModule(batch_size=64)
    batches = iter(module.train_dataloader())
    next(batches)
    position = module.state_dict()
    train_classifier(module, epochs=1, progress=False)
    assert module.state_dict() == position and position["position"] == 1


def test_the_cache_is_trained_once_then_only_read(trained, tmp_path, monkeypatch, caplog):
    calls = []
    monkeypatch.setattr("ddpm_edu.evaluation.classifier.train_classifier", lambda *args, **kwargs: calls.append(1) or trained)
    cache = tmp_path / "新 目录" / "c.ckpt"
    with caplog.at_level(logging.INFO, "ddpm_edu"):
        first = cached_classifier(BigDigits(), cache)
    assert f"{100 * trained[1]:.2f}%" in caplog.text
    second = cached_classifier(BigDigits(), cache)
    assert calls == [1] and same(first, second) and not second.training
    assert [p.name for p in cache.parent.iterdir()] == ["c.ckpt"]
    with pytest.raises(ValueError, match="cache.*OtherDigits"):
        cached_classifier(OtherDigits(), cache)
    cached_classifier(OtherDigits())
    assert calls == [1, 1]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign"])
def test_a_damaged_cache_is_noticed(damage, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("ddpm_edu.evaluation.classifier.train_classifier", lambda *args, **kwargs: trained)
    cache = tmp_path / "c.ckpt"
    cached_classifier(BigDigits(), cache)
    raw = bytearray(cache.read_bytes())
    if damage == "flip":
        raw[-5] ^= 1
    shipped = (files("ddpm_edu") / "pretrained" / "digits_classifier.safetensors").read_bytes()
    cache.write_bytes({"flip": raw, "cut": raw[:-9], "empty": b"", "foreign": shipped}[damage])
    with pytest.raises(CheckpointError, match="c.ckpt.*重新训练"):
        cached_classifier(BigDigits(), cache)


def test_bad_requests_are_named(tmp_path):
    class NoLabels(BigDigits):
        num_classes = None

    with pytest.raises(ValueError, match="NoLabels"):
        train_classifier(NoLabels())
    with pytest.raises(ValueError, match="epochs"):
        train_classifier(BigDigits(), epochs=0)
    with pytest.raises(ValueError, match="cache"):
        cached_classifier(BigDigits(), tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="num_classes"):
        SmallClassifier(num_classes=1)
