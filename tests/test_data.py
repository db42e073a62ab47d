"""数据：固定划分、精确缩放、从中间续上；下载走真正的代码，对着本机的小服务器"""
import functools
import gzip
import hashlib
import http.server
import io
import pickle
import struct
import tarfile
import threading

import numpy as np
import pytest
import torch

import ddpm_edu.data.cifar10 as cifar10
import ddpm_edu.data.mnist as mnist
from ddpm_edu import CIFAR10DataModule, DigitsDataModule, MNISTDataModule
from ddpm_edu.data.base import ImageDataset
from ddpm_edu.data.download import DataUnavailableError


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


def test_a_batch_larger_than_the_training_set_is_an_error():
    with pytest.raises(ValueError, match="batch_size"):
        DigitsDataModule(batch_size=2000).train_dataloader()


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


@pytest.mark.parametrize("kwargs", [{"batch_size": 0}, {"batch_size": 1.5}, {"num_workers": -1}, {"seed": -1}])
def test_bad_arguments_are_named(kwargs):
    with pytest.raises((ValueError, TypeError), match=next(iter(kwargs))):
        DigitsDataModule(**kwargs)


def idx(array):
    return gzip.compress(b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes())


def small_cifar(count=20):
    buffer = io.BytesIO()
    rng = np.random.RandomState(0)
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in sum(cifar10.BATCHES.values(), []):
            content = pickle.dumps({b"data": rng.randint(0, 256, (count, 3072), np.uint8), b"labels": list(range(count))})
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """只听本机的文件服务器；files 里放什么就发什么，摘要表也换成这些小文件的"""
    folder = tmp_path / "served"
    folder.mkdir()
    rng, tables = np.random.RandomState(0), {}
    for split, n in (("train", 50), ("test", 20)):
        contents = [idx(rng.randint(0, 256, (n, 28, 28), np.uint8)), idx(rng.randint(0, 10, n).astype(np.uint8))]
        tables[split] = tuple((name, hashlib.md5(c).hexdigest()) for (name, _), c in zip(mnist.FILES[split], contents))
        for (name, _), c in zip(tables[split], contents):
            (folder / name).write_bytes(c)
    archive = small_cifar()
    (folder / cifar10.ARCHIVE).write_bytes(archive)
    monkeypatch.setattr(mnist, "FILES", tables)
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(archive).hexdigest())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{httpd.server_port}"
    monkeypatch.setattr(mnist, "MIRRORS", (url + "/missing", url))
    monkeypatch.setattr(cifar10, "MIRRORS", (url,))
    yield folder
    httpd.shutdown()


def test_mnist_downloads_from_the_second_mirror_and_then_needs_no_network(server, tmp_path, monkeypatch):
    data = MNISTDataModule(tmp_path / "root", batch_size=4)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 1, 28, 28) and batch["image"].min() >= -1 and batch["image"].max() <= 1
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 40, "val": 10, "test": 20}
    monkeypatch.setattr(mnist, "MIRRORS", ())
    MNISTDataModule(tmp_path / "root").setup()


def test_cifar_downloads_and_flips(server, tmp_path):
    data = CIFAR10DataModule(tmp_path / "root", batch_size=4)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 32, 32)
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 160, "val": 20, "test": 20}


def test_own_mirror_comes_first(server, tmp_path, monkeypatch):
    url, = cifar10.MIRRORS
    monkeypatch.setattr(cifar10, "MIRRORS", ())
    monkeypatch.setenv("DDPM_EDU_MIRROR", url)
    CIFAR10DataModule(tmp_path / "root").prepare_data()


def test_wrong_bytes_are_never_parsed_and_never_kept(server, tmp_path, monkeypatch):
    (server / cifar10.ARCHIVE).write_bytes(small_cifar(3))
    monkeypatch.setattr(pickle, "load", lambda *a, **k: pytest.fail("摘要不对的 pickle 被打开了"))
    with pytest.raises(DataUnavailableError, match="(?s)127.0.0.1.*MD5.*DigitsDataModule"):
        CIFAR10DataModule(tmp_path / "root").setup()
    assert not (tmp_path / "root" / "cifar10" / cifar10.ARCHIVE).exists()


def test_a_broken_idx_file_is_explained(tmp_path):
    for content in (b"", b"\x00\x00\x08\x03" + struct.pack(">3i", 2, 28, 28) + b"\x00"):
        (tmp_path / "x.gz").write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match="IDX"):
            mnist.read_idx(tmp_path / "x.gz")
