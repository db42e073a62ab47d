"""训练两章的数据：磁盘上有真的就用真的，没有就用替身；都不联网"""
import shutil

import pytest
import torch
from PIL import Image

from ddpm_edu import CIFAR10DataModule, DigitsDataModule, ImageFolderDataModule, MNISTDataModule, PhotoPatchesDataModule
from ddpm_edu.data.cifar10 import CLASSES
from ddpm_edu.data.digits import like_mnist, load_digits_split
from ddpm_edu.evaluation.metrics import DigitsFrechet, frechet_for
from ddpm_edu.evaluation.report import check_levels
from ddpm_edu.teach.datasets import cifar10_or_stand_in, mnist_or_stand_in

from .test_remote_data import serve, small_files  # noqa: F401

PAIRS = [(mnist_or_stand_in, MNISTDataModule, DigitsDataModule), (cifar10_or_stand_in, CIFAR10DataModule, PhotoPatchesDataModule)]


@pytest.mark.parametrize(("choose", "real", "stand_in"), PAIRS)
def test_real_data_are_used_only_when_they_are_whole(choose, real, stand_in, serve, server, tmp_path):  # noqa: F811
    serve(real, small_files(real))
    assert type(choose(tmp_path, batch_size=8)[0]) is stand_in and not list(tmp_path.iterdir())
    real(tmp_path, progress=False).prepare_data()
    asked = len(server.seen)
    chosen, sentence = choose(tmp_path, batch_size=8)
    assert type(chosen) is real and chosen.batch_size == 8 and "替身" not in sentence
    chosen.setup()
    assert next(iter(chosen.val_dataloader()))["image"].shape[1:] == (real.channels, real.image_size, real.image_size)
    # 改坏一个字节，就当没有
    file = next(path for path in (tmp_path / real.folder).iterdir() if path.suffix == ".gz")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    chosen, sentence = choose(tmp_path, batch_size=8)
    assert type(chosen) is stand_in and "替身" in sentence and len(server.seen) == asked


@pytest.mark.parametrize(("choose", "real", "stand_in"), PAIRS)
def test_a_stand_in_has_the_shape_of_the_real_data(choose, real, stand_in, tmp_path):
    module, _ = choose(tmp_path / "没有", batch_size=8)
    assert (module.image_size, module.channels) == (real.image_size, real.channels)
    batch = next(iter(module.train_dataloader()))
    assert batch["image"].shape == (8, real.channels, real.image_size, real.image_size) and batch["image"].abs().max() <= 1


def test_a_tree_of_picture_files_counts_as_cifar10(tmp_path):
    for name in CLASSES:
        (tmp_path / "cifar10" / "train" / name).mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (32, 32), (k, 2 * k, 3 * k)).save(tmp_path / "cifar10" / "train" / name / f"{k}.png")
    chosen, sentence = cifar10_or_stand_in(tmp_path, batch_size=8)
    assert type(chosen) is ImageFolderDataModule and "40 张" in sentence and chosen.num_classes == 10 and chosen.flip
    assert next(iter(chosen.train_dataloader()))["image"].shape == (8, 3, 32, 32)
    # 少了一类，就不是 CIFAR-10
    shutil.rmtree(tmp_path / "cifar10" / "train" / "truck")
    assert type(cifar10_or_stand_in(tmp_path)[0]) is PhotoPatchesDataModule


def test_enlarged_digits_sit_like_mnist_and_keep_their_order():
    images, labels = load_digits_split()["val"]
    large = like_mnist(images) / 127.5 - 1
    frame = torch.ones(28, 28, dtype=torch.bool)
    frame[4:24, 4:24] = False
    assert bool((large[:, 0, frame] == -1).all()) and large[:, 0, ~frame].max() > 0.9
    # 缩回去还是原图的样子
    small = torch.nn.functional.interpolate(large[..., 4:24, 4:24], size=8, mode="area")
    assert torch.corrcoef(torch.stack([small.flatten(), images.flatten()]))[0, 1] > 0.95
    module = DigitsDataModule(image_size=28)
    module.setup()
    assert torch.equal(module.splits["val"].images, like_mnist(images)) and torch.equal(module.splits["val"].labels, labels)


def test_only_the_original_size_uses_the_shipped_classifier_and_17_levels():
    assert DigitsDataModule().levels == 17 and DigitsDataModule(image_size=28).levels == 256
    assert isinstance(frechet_for(DigitsDataModule()), DigitsFrechet)
    with pytest.raises(ValueError, match="image_size"):
        DigitsDataModule(image_size=16)


@pytest.mark.parametrize("module", [DigitsDataModule(), DigitsDataModule(image_size=28), PhotoPatchesDataModule()], ids=["digits", "digits28", "photos"])
def test_the_pixels_lie_on_the_levels_the_module_claims(module):
    module.setup()
    for split in module.splits.values():
        check_levels(module, split[::7]["image"])
