"""由图像算出的条件：形状、范围、确定性，以及真的能喂给 DDPM"""
import pytest
import torch

from ddpm_edu import CIFAR10DataModule, DigitsDataModule, FashionMNISTDataModule, MNISTDataModule, PhotoPatchesDataModule
from ddpm_edu.data.base import ImageDataset
from ddpm_edu.data.conditions import CONDITIONS, ink_level, low_resolution, masked, prompt

from .conftest import tiny_ddpm, tiny_unet

NAMES = ("low_resolution", "masked", "prompt")


@pytest.fixture
def x():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_low_resolution_is_the_mean_of_each_block_of_four(x):
    low = low_resolution(x)
    blocks = x.reshape(6, 3, 4, 2, 4, 2).mean((3, 5))
    assert low.shape == x.shape
    for row in (0, 1):
        for column in (0, 1):
            torch.testing.assert_close(low[:, :, row::2, column::2], blocks)
    with pytest.raises(ValueError, match="image.*偶数"):
        low_resolution(torch.zeros(1, 1, 7, 8))


def test_masked_erases_exactly_the_named_half(x):
    side = torch.tensor([0, 1, 2, 3, 0, 1])
    result = masked(x, side)
    assert result.shape == (6, 4, 8, 8)
    halves = [(slice(None), slice(0, 4)), (slice(None), slice(4, 8)), (slice(0, 4), slice(None)), (slice(4, 8), slice(None))]
    for image, out, k in zip(x, result, side.tolist()):
        known = torch.ones(8, 8)
        known[halves[k]] = 0
        assert torch.equal(out[3], known) and torch.equal(out[:3], torch.where(known.bool(), image, 0.0))
    for bad in (torch.tensor([0, 1, 2, 3, 0, 4]), torch.tensor([0]), torch.zeros(6)):
        with pytest.raises(ValueError, match="side"):
            masked(x, bad)


def test_prompt_is_two_one_hot_words_label_then_ink(x):
    image = torch.full((4, 1, 2, 2), -1.0)
    image[1], image[2], image[3] = -0.4, 1.0, -1.0
    words = prompt(image, torch.tensor([0, 9, 3, 3]), 10)
    assert words.shape == (4, 2, 13) and words.dtype == torch.float32 and torch.equal(words.sum(-1), torch.ones(4, 2))
    assert words[:, 0].argmax(-1).tolist() == [0, 9, 3, 3] and words[:, 1].argmax(-1).tolist() == [10, 11, 12, 10]
    assert prompt(x, torch.ones(6, dtype=torch.int64), 2).shape == (6, 2, 5)


def test_digits_split_into_three_nearly_equal_levels_of_ink():
    data = DigitsDataModule()
    data.setup()
    counts = ink_level(data.splits["train"].images).bincount()
    assert len(counts) == 3 and (abs(counts / 1297 - 1 / 3) < 0.04).all()


@pytest.mark.parametrize("make, levels", [(DigitsDataModule, 10), (PhotoPatchesDataModule, 2)])
def test_every_batch_carries_the_conditions_of_its_own_images(make, levels):
    batches = [next(iter(make(batch_size=32, conditions=NAMES).train_dataloader())) for _ in range(2)]
    batch = batches[0]
    assert list(batch) == ["image", "label", *NAMES]
    assert all(torch.equal(batch[key], batches[1][key]) for key in batch)
    image = batch["image"]
    assert torch.equal(batch["low_resolution"], low_resolution(image))
    assert torch.equal(batch["prompt"], prompt(image, batch["label"], levels))
    known = batch["masked"][:, -1:]
    assert torch.equal(batch["masked"][:, :-1], image * known) and (known.mean((1, 2, 3)) == 0.5).all()
    assert len({tuple(k.flatten().tolist()) for k in known}) == 4
    assert all(-1 <= batch[name].min() and batch[name].max() <= 1 for name in NAMES)
    assert list(next(iter(make(batch_size=32).val_dataloader()))) == ["image", "label"]


def test_the_erased_side_depends_on_the_index_only_and_a_mirrored_copy_is_mirrored_first(x):
    dataset = ImageDataset(x, torch.arange(6), flip=True, conditions=["masked", "low_resolution"])
    items = dataset[:12]
    assert torch.equal(items["masked"], masked(items["image"], torch.arange(12) % 4))
    assert torch.equal(items["low_resolution"][6:], low_resolution(x.flip(-1)))
    assert torch.equal(dataset[7]["masked"], items["masked"][7]) and torch.equal(dataset[-1]["masked"], items["masked"][11])


@pytest.mark.parametrize("make", [CIFAR10DataModule, DigitsDataModule, FashionMNISTDataModule, MNISTDataModule, PhotoPatchesDataModule])
def test_an_unknown_name_is_refused_at_the_door_with_a_suggestion(make):
    assert make(conditions=list(CONDITIONS)).conditions == (*NAMES, "words")
    with pytest.raises(ValueError, match="conditions.*'mask'.*你是想写 'masked'"):
        make(conditions=("mask",))
    with pytest.raises(TypeError, match="conditions"):
        make(conditions="masked")


@pytest.mark.parametrize("key, name, unet", [
    ("concat", "low_resolution", {"in_channels": 2}), ("concat", "masked", {"in_channels": 3}),
    ("crossattn", "prompt", {"context_dim": 13}),
])
def test_a_conditional_model_trains_on_such_batches(key, name, unet):
    model = tiny_ddpm(tiny_unet(**unet), conditioning_key=key, cond_key=name)
    loss, _ = model.shared_step(next(iter(DigitsDataModule(batch_size=8, conditions=(name,)).train_dataloader())))
    loss.backward()
    assert loss.isfinite()
