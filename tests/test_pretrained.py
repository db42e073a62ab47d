"""随包的 mnist、fashion、cifar10：大小、卡片里的质量、画的图认得出；分类器；课程用的图"""
import logging
from pathlib import Path

import pytest
import torch

from ddpm_edu import DigitsDataModule, MNISTDataModule, load_pretrained, pretrained
from ddpm_edu.authoring.quality import averaged, gaussian_images, neighbours
from ddpm_edu.data.base import ImageDataset
from ddpm_edu.evaluation.classifier import cached_classifier, load_classifier
from ddpm_edu.evaluation.metrics import nearest_distances, recognised
from ddpm_edu.files.checkpoint import CheckpointError
from ddpm_edu.teach.datasets import arrives, drawn_by, handwriting, mnist_or_stand_in

from .test_remote_data import serve, small_files  # noqa: F401

ROOT = Path(__file__).parents[1]
REAL = ("mnist", "fashion", "cifar10")
LABELS = torch.arange(100) % 10


def test_everything_shipped_stays_small():
    sizes = {path.name: path.stat().st_size for path in pretrained.HERE.iterdir()}
    assert max(sizes.values()) <= 8 * 2**20 and sum(sizes.values()) <= 25 * 2**20


@pytest.mark.parametrize(("name", "times", "share"), [("mnist", 3, 0.98), ("fashion", 4, 0.9)])
def test_the_card_tells_what_was_measured(name, times, share):
    """目标：Fréchet 距离不超过真图对真图的几倍，分类器认得出的比例"""
    card = pretrained.pretrained_card(name)
    quality, best = card["quality"], card["quality"]["guidance_2"]
    assert len(best["frechet"]["each"]) >= 8 and best["frechet"] == averaged(best["frechet"]["each"])
    assert best["frechet"]["mean"] <= times * quality["frechet_floor"]["mean"] < quality["frechet_noise"] / 10
    assert best["recognised"]["mean"] >= share and quality["guidance_1"]["recognised"]["mean"] < best["recognised"]["mean"]
    assert quality["neighbours"]["closer_than_1_percent_of_test"] < 0.1
    # 练到头的模型，每一段 t 都胜过线性滤波
    assert all(ours < linear for ours, linear in zip(quality["loss_by_quarter"]["model"], quality["loss_by_quarter"]["wiener"]))
    assert {"command", "seed", "max_steps", "batch_size", "images_seen"} <= card["recipe"].keys()


def test_the_card_of_cifar10_compares_with_noise_and_blur():
    """小网络画不到照片，Fréchet 距离不到糊的高斯的一半"""
    card = pretrained.pretrained_card("cifar10")
    quality, best = card["quality"], card["quality"]["guidance_2"]
    assert len(best["frechet"]["each"]) >= 8 and quality["frechet_floor"]["mean"] < best["frechet"]["mean"] < quality["gaussian"]["frechet"]["mean"] / 2
    assert quality["guidance_1"]["frechet"]["mean"] < quality["gaussian"]["frechet"]["mean"] < quality["frechet_noise"] / 4
    assert len(best["by_class"]) == 10 and sum(best["by_class"]) / 10 == pytest.approx(best["recognised"]["mean"], abs=1e-3)
    assert all(ours < linear for ours, linear in zip(quality["loss_by_quarter"]["model"], quality["loss_by_quarter"]["wiener"]))
    assert quality["neighbours"]["closer_than_1_percent_of_test"] < 0.1
    assert len(drawn_by("cifar10_growth")) == 10 * len(card["growth"]) and card["growth"] == sorted(card["growth"])


def test_blurred_pictures_have_the_mean_and_the_spread_of_each_class():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 2
    # 第 0 类暗，几乎不变；第 1 类亮，左右两半一起变
    brightness = torch.where(labels == 0, -0.5, 0.3) + torch.where(labels == 0, 0.01, 0.2) * torch.randn(600, generator=g)
    pixels = brightness[:, None, None, None].expand(-1, 3, 4, 4).contiguous()
    drawn = gaussian_images(ImageDataset(pixels, labels), torch.arange(400) % 2, 1)
    dark, light = drawn[::2], drawn[1::2]
    assert drawn.shape == (400, 3, 4, 4) and abs(float(dark.mean()) + 0.5) < 0.01 and abs(float(light.mean()) - 0.3) < 0.05
    assert 0.008 < float(dark[:, 0, 0, 0].std()) < 0.012 and 0.16 < float(light[:, 0, 0, 0].std()) < 0.24
    assert torch.corrcoef(light.flatten(1).T).min() > 0.99


def test_the_readme_quotes_the_cards():
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/quality.md"))
    for name in REAL:
        quality = pretrained.pretrained_card(name)["quality"]
        rows = [quality["frechet_floor"], *(quality[way]["frechet"] for way in ("guidance_1", "guidance_2"))]
        assert all(f"{row['mean']:.1f} ± {row['se']:.1f}" in text for row in rows), name
        shares = [quality[way]["recognised"] for way in ("guidance_1", "guidance_2")]
        assert all(f"{100 * row['mean']:.1f} ± {100 * row['se']:.1f} %" in text for row in shares), name
    digits = pretrained.pretrained_card("digits")["quality"]
    assert all(f"{row['mean']:.1f} ± {row['se']:.1f}" in text for row in (digits["ddim_50"]["frechet"], digits["frechet_floor"]))


@pytest.mark.parametrize("name", REAL)
def test_the_sheet_beside_the_model_is_its_own_work_and_shows_what_was_asked_for(name):
    sheet, model = drawn_by(name), load_pretrained(name)
    assert all(p.dtype == torch.float32 for p in model.parameters()) and not model.training
    assert sheet.shape == (100, model.channels, model.image_size, model.image_size) and sheet.min() == -1 and sheet.max() == 1
    assert recognised(load_classifier(name), sheet, LABELS)["recognised"] >= {"cifar10": 0.5}.get(name, 0.85)
    # 头两张，照卡片的办法还画得出来；PNG 只有 256 级，别的机器舍入也不同
    start = torch.randn(sheet.shape, generator=torch.Generator().manual_seed(0))[:2]
    again = model.sample(2, sampler="ddim", steps=50, cond=LABELS[:2], guidance_scale=2.0, x_T=start)
    assert (again.clamp(-1, 1) - sheet[:2]).abs().mean() < 0.02


def test_recognised_counts_what_the_classifier_says():
    classifier = load_classifier()
    images, labels = DigitsDataModule().dataset("test")[:100].values()
    found = recognised(classifier, images, labels)
    odds = classifier(images).softmax(1)
    right = odds.argmax(1) == labels
    assert found == {"recognised": float(right.double().mean()), "sure": float((right & (odds.amax(1) > 0.9)).double().mean())}
    assert recognised(classifier, images, (labels + 1) % 10)["recognised"] < 0.05


def test_the_nearest_training_image_gives_a_copy_away():
    g = torch.Generator().manual_seed(0)
    train, fresh = (torch.rand(count, 1, 6, 6, generator=g) * 2 - 1 for count in (300, 50))
    wanted = torch.stack([(train - image).flatten(1).norm(dim=1).min() for image in fresh])
    torch.testing.assert_close(nearest_distances(fresh, train), wanted, atol=1e-3, rtol=0)
    dataset = ImageDataset(train, torch.zeros(300, dtype=torch.long))
    copied, honest = neighbours(train[:50], fresh, dataset), neighbours(torch.rand(50, 1, 6, 6, generator=g) * 2 - 1, fresh, dataset)
    assert copied["closer_than_1_percent_of_test"] == 1 and copied["median"] < 0.01
    assert honest["closer_than_1_percent_of_test"] < 0.2 and 0.8 < honest["median"] / honest["median_of_test"] < 1.2


def test_mean_and_standard_error():
    found = averaged([1.0, 2.0, 3.0, 6.0])
    assert found["mean"] == 3.0 and found["se"] == pytest.approx((14 / 3) ** 0.5 / 2, abs=1e-4) and found["each"] == [1.0, 2.0, 3.0, 6.0]


def test_a_shipped_classifier_is_used_for_its_own_data_only(monkeypatch):
    monkeypatch.setattr("ddpm_edu.evaluation.classifier.train_classifier", lambda *args, **kwargs: pytest.fail("又训练了一个"))
    assert cached_classifier(MNISTDataModule()).image_size == 28 and cached_classifier(DigitsDataModule()).image_size == 8
    with pytest.raises(BaseException, match="又训练了一个"):
        cached_classifier(DigitsDataModule(image_size=28))
    with pytest.raises(ValueError, match="name.*mnist"):
        load_classifier("minst")


def test_a_damaged_classifier_is_noticed(tmp_path, monkeypatch):
    for path in pretrained.HERE.glob("*classifier*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((tmp_path / "mnist_classifier.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "mnist_classifier.safetensors").write_bytes(content)
    monkeypatch.setattr(pretrained, "HERE", tmp_path)
    with pytest.raises(CheckpointError, match="mnist_classifier.*已损坏"):
        load_classifier("mnist")


def test_handwriting_is_real_where_mnist_lies_on_the_disk(serve, server, tmp_path):  # noqa: F811
    images, labels = handwriting(tmp_path / "没有")
    assert torch.equal(images, drawn_by("mnist")) and torch.equal(labels, LABELS) and not (tmp_path / "没有").exists()
    serve(MNISTDataModule, small_files(MNISTDataModule))
    real = MNISTDataModule(tmp_path, progress=False)
    real.prepare_data()
    # 换成别处常见的放法：torchvision 的 MNIST/raw
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "mnist").rename(tmp_path / "MNIST/raw")
    assert real.on_disk() and type(mnist_or_stand_in(tmp_path)[0]) is MNISTDataModule


def test_real_handwriting_is_the_first_ten_of_every_class(monkeypatch):
    labels = torch.randint(10, (300,), generator=torch.Generator().manual_seed(0))
    pixels = (torch.arange(300) % 256).to(torch.uint8).view(300, 1, 1, 1).expand(-1, 1, 28, 28)
    monkeypatch.setattr(MNISTDataModule, "on_disk", lambda self: True)
    monkeypatch.setattr(MNISTDataModule, "dataset", lambda self, split: {"test": ImageDataset(pixels, labels)}[split])
    images, shown = handwriting("哪里都行")
    assert images.shape == (100, 1, 28, 28) and torch.equal(shown, LABELS)
    for digit in range(10):
        wanted = pixels[labels == digit][:10].float() / 127.5 - 1
        assert torch.equal(images[digit::10], wanted)


def test_a_short_download_is_waited_for_and_a_slow_one_is_not(serve, server, tmp_path, caplog):  # noqa: F811
    serve(MNISTDataModule, small_files(MNISTDataModule))
    assert type(mnist_or_stand_in(tmp_path / "快", download=20, progress=False)[0]) is MNISTDataModule
    assert not (tmp_path / "不要").exists() and type(mnist_or_stand_in(tmp_path / "不要")[0]) is DigitsDataModule

    class Stuck:
        def prepare_data(self):
            torch.multiprocessing.get_context().Event().wait(5)

    assert not arrives(Stuck(), 0.1)
    server.files.clear()
    with caplog.at_level(logging.INFO, "ddpm_edu"):
        assert type(mnist_or_stand_in(tmp_path / "断了", download=20)[0]) is DigitsDataModule
    assert "没有取到" in caplog.text
