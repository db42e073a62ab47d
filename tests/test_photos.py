"""照片图块：三份互不共用像素，缩小不跨界，出处写明"""
import logging

import pytest
import torch

import ddpm_edu.data.photos as photos
from ddpm_edu import PhotoPatchesDataModule


@pytest.fixture(scope="module")
def data():
    module = PhotoPatchesDataModule()
    module.setup()
    return module


def test_the_splits_have_their_sizes_and_only_training_is_flipped(data):
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2 * 6450, "val": 298, "test": 298}
    plain = PhotoPatchesDataModule(flip=False)
    plain.setup()
    assert len(plain.splits["train"]) == 6450
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (128, 3, 32, 32) and batch["image"].dtype == torch.float32
    assert -1 <= batch["image"].min() < -0.5 and 0.5 < batch["image"].max() <= 1
    for split in data.splits.values():
        assert split.images.dtype == torch.uint8 and split.labels.bincount().tolist() == [len(split.images) // 2] * 2


def test_patches_are_real_pieces_of_the_photographs(data):
    china, flower = photos.load_photos()
    train = data.splits["train"]
    assert torch.equal(train.images[0], china[:32, :32].permute(2, 0, 1)) and int(train.labels[0]) == 0
    last_full = train.images[3225 + 50 * 53 - 1]
    assert torch.equal(last_full, flower[392:424, 416:448].permute(2, 0, 1)) and int(train.labels[3225]) == 1
    first_small = train.images[50 * 53]
    # 四舍五入成整数，至多差半级
    assert torch.allclose(first_small.float(), torch.nn.functional.avg_pool2d(china[:64, :64].permute(2, 0, 1).float(), 2), atol=0.51)


def coordinates():
    """像素的值就是它的坐标：(列 % 256, 列 // 256 + 16·(行 // 256), 行 % 256)"""
    row, column = torch.meshgrid(torch.arange(427), torch.arange(640), indexing="ij")
    return torch.stack([column % 256, column // 256 + 16 * (row // 256), row % 256], dim=-1).to(torch.uint8)


def footprint(split):
    """这一份用到的像素，(照片, 行, 列) 的真假表；缩小的图块一个值管 2×2 个像素，读出来是右下角那个"""
    used = torch.zeros(2, 427, 640, dtype=torch.bool)
    for image, label in zip(*photos.photo_patches(split)):
        low, high, row = image.int()
        column, row = low + 256 * (high % 16), row + 256 * (high // 16)
        step = int(column[0, 1] - column[0, 0])
        assert step in (1, 2) and (column[:, 1:] - column[:, :-1] == step).all() and (row[1:] - row[:-1] == step).all()
        for shift in range(step):
            for other in range(step):
                used[int(label), row - shift, column - other] = True
    return used


def test_no_pixel_is_shared_between_splits(monkeypatch):
    monkeypatch.setattr(photos, "load_photos", lambda: [coordinates(), coordinates()])
    used = {split: footprint(split) for split in photos.REGIONS}
    assert sum(table.int() for table in used.values()).max() == 1
    assert used["train"].sum() > 300_000 and used["val"].sum() > 70_000 and used["test"].sum() > 70_000


def test_two_modules_give_the_same_stream():
    first, second = (next(iter(PhotoPatchesDataModule(batch_size=16).train_dataloader())) for _ in range(2))
    assert torch.equal(first["image"], second["image"]) and torch.equal(first["label"], second["label"])


def test_it_says_what_it_stands_in_for_and_whose_photographs_they_are(caplog):
    caplog.set_level(logging.INFO, "ddpm_edu")
    PhotoPatchesDataModule()
    assert "替身" in caplog.text and "CIFAR-10" in caplog.text
    assert all(word in photos.ATTRIBUTION for word in ("danielbuechele", "vultilion", "CC BY 2.0", "china.jpg", "flower.jpg"))
