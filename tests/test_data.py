"""数据：固定划分、精确缩放、从中间续上"""
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Subset, default_collate

from ddpm_edu import DigitsDataModule
from ddpm_edu.data.base import ImageDataset


def test_digits_split_is_fixed_and_complete():
    data = DigitsDataModule()
    data.setup()
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 1297, "val": 250, "test": 250}
    images = torch.cat([split.images for split in data.splits.values()])
    assert images.shape == (1797, 1, 8, 8) and images.min() == -1 and images.max() == 1
    digest = hashlib.sha256(images.numpy().tobytes()).hexdigest()[:16]
    assert digest == "b7db96c941f9c8e4"
    from sklearn.datasets import load_digits

    raw = load_digits()
    pairs = {(x.tobytes(), y) for x, y in zip((raw.images / 8 - 1).astype(np.float32), raw.target)}
    ours = {(x.numpy().tobytes(), int(y)) for s in data.splits.values() for x, y in zip(s.images[:, 0], s.labels)}
    assert ours == pairs


def test_batches_have_the_contract_form_and_order_depends_on_epoch_only():
    data = DigitsDataModule(batch_size=100)
    loader = data.train_dataloader()
    batch = next(iter(loader))
    assert batch["image"].shape == (100, 1, 8, 8) and batch["image"].dtype == torch.float32
    assert batch["label"].shape == (100,) and batch["label"].dtype == torch.int64
    torch.rand(5)
    assert torch.equal(next(iter(DigitsDataModule(batch_size=100).train_dataloader()))["image"], batch["image"])
    assert len(list(data.val_dataloader())) == 3


def labels(loader, count):
    """不断取用，共取 count 批"""
    batches = []
    while len(batches) < count:
        batches += [b["label"] for _, b in zip(range(count - len(batches)), loader)]
    return batches


def test_every_epoch_sees_each_image_at_most_once_in_a_new_order():
    stream = labels(DigitsDataModule(batch_size=100).train_dataloader(), 24)
    truth = DigitsDataModule()
    truth.setup()
    first, second = torch.cat(stream[:12]), torch.cat(stream[12:])
    assert not torch.equal(first, second)
    counts = torch.bincount(truth.splits["train"].labels)
    for epoch in (first, second):
        assert len(epoch) == 1200 and (torch.bincount(epoch) <= counts).all()


@pytest.mark.parametrize("given", [0, 1, 7, 12, 17])
def test_the_stream_resumes_after_any_batch(given):
    whole = labels(DigitsDataModule(batch_size=100).train_dataloader(), 30)
    first = DigitsDataModule(batch_size=100)
    labels(first.train_dataloader(), given)
    second = DigitsDataModule(batch_size=100)
    second.load_state_dict(first.state_dict())
    rest = labels(second.train_dataloader(), 30 - given)
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[given:], strict=True))


def test_two_ranks_share_one_epoch_without_overlap():
    from ddpm_edu.data.base import StreamSampler

    ranks = [list(StreamSampler(range(100), 2, r, seed=0, drop_last=True, batch_size=10)) for r in (0, 1)]
    assert sorted(ranks[0] + ranks[1]) == list(range(100))


def test_a_batch_larger_than_the_share_of_a_process_is_an_error():
    with pytest.raises(ValueError, match="batch_size"):
        DigitsDataModule(batch_size=2000).train_dataloader()
    data = DigitsDataModule(batch_size=1000)
    data.trainer = SimpleNamespace(world_size=2, global_rank=1, training=False)
    with pytest.raises(ValueError, match="batch_size.*648.*1000.*2 个进程"):
        data.train_dataloader()
    data.batch_size = 648
    assert len(list(data.train_dataloader())) == 1


def test_all_256_levels_scale_exactly_and_flip_doubles_the_set():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    dataset = ImageDataset(pixels, torch.tensor([3]), flip=True)
    assert len(dataset) == 2
    assert torch.equal(dataset[0]["image"][0].flatten(), torch.arange(256) / 127.5 - 1)
    assert torch.equal(dataset[1]["image"], dataset[0]["image"].flip(-1)) and int(dataset[1]["label"]) == 3


def test_iterating_a_dataset_ends():
    dataset = ImageDataset(torch.zeros(3, 1, 2, 2), torch.arange(3))
    assert [int(item["label"]) for item in dataset] == [0, 1, 2] and int(dataset[-1]["label"]) == 2
    with pytest.raises(IndexError, match="index"):
        dataset[3]


def forms_of(dataset):
    """PyTorch 文档里取数据的各种写法，都不另给 collate_fn；每种给出前三个样本"""
    first = range(3)
    yield "DataLoader", DataLoader(dataset, batch_size=3)
    yield "Subset", DataLoader(Subset(dataset, [0, 1, 2, 4]), batch_size=3)
    yield "ConcatDataset", DataLoader(dataset + dataset, batch_size=3)
    yield "batch_sampler", DataLoader(dataset, batch_sampler=BatchSampler(first, 3, drop_last=True))
    yield "自己成批", DataLoader(dataset, batch_size=None, sampler=BatchSampler(first, 3, drop_last=True))
    yield "自己的 collate_fn", DataLoader(dataset, batch_size=3, collate_fn=lambda samples: default_collate([dict(s) for s in samples]))


def test_a_dataset_works_wherever_pytorch_takes_one():
    dataset = ImageDataset(torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 1, 2, 2) / 6, torch.arange(6), conditions=["masked"])
    expected = default_collate([dataset[0], dataset[1], dataset[2]])
    for form, loader in forms_of(dataset):
        batch = next(iter(loader))
        assert batch.keys() == expected.keys() and all(torch.equal(batch[key], expected[key]) for key in expected), form


def test_an_index_is_read_as_pytorch_reads_it():
    dataset = ImageDataset(torch.zeros(4, 1, 2, 2), torch.arange(4), flip=True)
    for index in (-3, np.int64(5), torch.tensor(5), torch.tensor(-3, dtype=torch.int8)):
        assert int(dataset[index]["label"]) == 1 and dataset[index]["image"].shape == (1, 2, 2)
    for index in (slice(5, 8), [5, 6, 7], (-3, -2, -1), range(5, 8), torch.tensor([5, 6, 7], dtype=torch.uint8), np.array([5, 6, 7])):
        assert dataset[index]["label"].tolist() == [1, 2, 3]
    assert len(dataset[5:5]["image"]) == 0
    for index, error in ((8, IndexError), ([0, 8], IndexError), (1.0, TypeError), ("0", TypeError), (None, TypeError), ([[0]], TypeError)):
        with pytest.raises(error, match="index 应为"):
            dataset[index]


@pytest.mark.parametrize("images, labels", [(torch.zeros(2, 2, 2), torch.zeros(2)), (torch.zeros(2, 1, 2, 2), torch.zeros(3))])
def test_images_and_labels_that_do_not_belong_together_are_refused(images, labels):
    with pytest.raises(ValueError, match="images 与 labels"):
        ImageDataset(images, labels)
