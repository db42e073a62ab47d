"""不是正方形的图，1、2、3、4、5 个通道：训练、采样、补全、评估、存取、画格子都走得通"""
import functools

import pytest
import torch

from ddpm_edu import DDPM
from ddpm_edu.data.base import ImageDataModule
from ddpm_edu.editing import inpaint
from ddpm_edu.evaluation.classifier import train_classifier
from ddpm_edu.evaluation.report import evaluate
from ddpm_edu.generate import generate
from ddpm_edu.images import make_grid, save_grid
from ddpm_edu.teach.training import quiet_trainer

from .conftest import randomize, tiny_ddpm, tiny_unet

HEIGHT, WIDTH = 8, 12


def network(channels):
    return tiny_unet(in_channels=channels, out_channels=channels)


class Wide(ImageDataModule):
    """随机的 8×12 的图，两类"""

    image_size, num_classes = (HEIGHT, WIDTH), 2

    def __init__(self, channels):
        super().__init__(batch_size=4)
        self.channels = channels

    def setup(self, stage=None):
        pixels = torch.randint(0, 256, (24, self.channels, HEIGHT, WIDTH), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        self.splits = {name: self.make_dataset(pixels, torch.arange(24) % 2) for name in ("train", "val", "test")}


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_any_shape_trains_samples_and_becomes_files(channels, tmp_path, monkeypatch):
    # 分类器练得好不好由 test_classifier.py 看
    monkeypatch.setattr("ddpm_edu.evaluation.classifier.train_classifier", functools.partial(train_classifier, epochs=1))
    data = Wide(channels)
    model = tiny_ddpm(network(channels), image_size=[HEIGHT, WIDTH], channels=channels)
    trainer = quiet_trainer(max_steps=2, limit_val_batches=1, enable_checkpointing=True, default_root_dir=tmp_path)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = DDPM.load_from_checkpoint(tmp_path / "a.ckpt")
    assert again.image_size == (HEIGHT, WIDTH)
    samples, _ = generate(again, 5, batch_size=2, steps=2, progress=False)
    assert samples.shape == (5, channels, HEIGHT, WIDTH)
    shown = WIDTH if channels in (1, 3) else channels * WIDTH
    assert make_grid(samples, nrow=5).shape == (3 if channels == 3 else 1, HEIGHT + 2, 5 * (shown + 1) + 1)
    assert save_grid(samples, tmp_path / "a.png").exists()
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., :6] = 1
    known = data.splits["test"][:3]["image"]
    filled = inpaint(again, known, mask, steps=2, progress=False)
    assert torch.equal(filled[..., :6], known[..., :6])
    report = evaluate(randomize(again), data, max_images=2, num_samples=4, steps=2, progress=False)
    assert report["bits_per_dim"] > 0 and report["frechet"] > 0


def test_height_comes_first_and_both_layouts_are_taken():
    model = tiny_ddpm(network(3), image_size=(HEIGHT, WIDTH), channels=3)
    x = torch.rand(2, 3, HEIGHT, WIDTH)
    assert torch.equal(model.get_input({"image": x.permute(0, 2, 3, 1)}, "image"), x)
    with pytest.raises(ValueError, match=r"\('B', 3, 8, 12\)|\(B, 3, 8, 12\)"):
        model.get_input({"image": x.transpose(2, 3)}, "image")
    for wrong in (x.transpose(2, 3), x[..., :-2], x[:, :, :-2]):
        with pytest.raises(ValueError, match=r"\(B, 3, 8, 12\)"):
            model.p_losses(wrong, torch.zeros(2, dtype=torch.int64))


def test_a_square_is_one_number_and_bad_sizes_are_named():
    assert tiny_ddpm(image_size=(8, 8)).image_size == 8
    for bad in ((8,), (8, 8, 8), (0, 8), "8", 8.5, (8, 9)):
        with pytest.raises((ValueError, TypeError), match="image_size"):
            tiny_ddpm(image_size=bad)


def test_the_command_line_takes_height_and_width():
    from ddpm_edu.cli.main import train_cli

    cli = train_cli(["--config", "digits", "--trainer.accelerator=cpu", "--trainer.logger=false", "--model.image_size=[8,12]"], run=False)
    assert cli.model.image_size == (8, 12)
