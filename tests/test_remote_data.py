"""MNIST、Fashion-MNIST、CIFAR-10：从下载到 batch 走真正的代码，文件换成小的，连同摘要表"""
import contextlib
import gzip
import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
import torch

from ddpm_edu import CIFAR10DataModule, FashionMNISTDataModule, MNISTDataModule
from ddpm_edu.data import cifar10, transfer
from ddpm_edu.data.cifar10 import BATCHES
from ddpm_edu.data.download import MIRROR_VARIABLE, DataUnavailableError
from ddpm_edu.data.mnist import read_idx
from ddpm_edu.data.transfer import RemoteFile

ALL = [MNISTDataModule, FashionMNISTDataModule, CIFAR10DataModule]
TRAIN, TEST = 50, 20


def idx(array):
    return gzip.compress(b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes())


def small_idx_files(seed):
    rng = np.random.RandomState(seed)
    return [idx(array.astype(np.uint8)) for n in (TRAIN, TEST) for array in (rng.randint(0, 256, (n, 28, 28)), rng.randint(0, 10, n))]


def small_cifar(extra=(), label=0):
    """五批各 10 张、测试 20 张；extra：(成员名, 内容) 先放进压缩包"""
    pixels = np.resize(np.arange(256, dtype=np.uint8), (20, 3072))
    members = list(extra)
    for name in BATCHES:
        count = TEST if name == "test_batch" else TRAIN // 5
        batch = {b"data": pixels[:count], b"labels": [label] * count}
        members.append((f"cifar-10-batches-py/{name}", pickle.dumps(batch)))
    return tar_gz(members)


def tar_gz(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def serve(server, monkeypatch):
    """serve(cls, contents, fault="ok")：把这些内容放上服务器，摘要表与镜像表也换成它们的"""
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)

    def put(cls, contents, *faults):
        names = [file.name for file in cls.files]
        packed = cls.files[0].packed
        files = [RemoteFile(n, hashlib.sha256(gzip.decompress(c) if packed else c).hexdigest(), len(c), packed)
                 for n, c in zip(names, contents, strict=True)]
        server.files.update({f"{cls.folder}/{n}": c for n, c in zip(names, contents)})
        monkeypatch.setattr(cls, "files", tuple(files))
        monkeypatch.setattr(cls, "mirrors", tuple(f"{server.url(fault)}/{cls.folder}" for fault in faults or ("ok",)))

    return put


def small_files(cls):
    return [small_cifar()] if cls is CIFAR10DataModule else small_idx_files(cls is FashionMNISTDataModule)


def everything(split):
    return split[:]


@pytest.mark.parametrize("cls", ALL)
def test_downloads_from_the_second_mirror_and_then_needs_no_network(serve, server, tmp_path, cls, monkeypatch):
    serve(cls, small_files(cls), "404", "ok")
    data = cls(tmp_path, batch_size=4, progress=False)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, cls.channels, cls.image_size, cls.image_size) and batch["label"].dtype == torch.int64
    assert -1 <= batch["image"].min() and batch["image"].max() <= 1
    requests = len(server.seen)
    cls(tmp_path).setup()
    assert len(server.seen) == requests == 2 * len(cls.files)


@pytest.mark.parametrize("cls, flips", [(MNISTDataModule, False), (FashionMNISTDataModule, False), (CIFAR10DataModule, True)])
def test_only_colour_training_images_are_flipped(serve, tmp_path, cls, flips):
    serve(cls, small_files(cls))
    data = cls(tmp_path, progress=False)
    data.setup()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 40 * (1 + flips), "val": 10, "test": TEST}
    images = everything(data.splits["train"])["image"]
    assert images[:40].isfinite().all() and (not flips or torch.equal(images[40:], images[:40].flip(-1)))


def test_cifar_without_flip_keeps_every_image_once(serve, tmp_path):
    serve(CIFAR10DataModule, [small_cifar()])
    data = CIFAR10DataModule(tmp_path, flip=False, progress=False)
    data.setup()
    assert len(data.splits["train"]) == 40


@pytest.mark.parametrize("cls", ALL)
def test_the_held_out_part_is_the_end_of_the_training_set(serve, tmp_path, cls, monkeypatch):
    monkeypatch.setattr(cls, "val_size", 7)
    serve(cls, small_files(cls))
    data = cls(tmp_path, progress=False)
    data.setup()
    (images, labels), (test_images, _) = data.read(*data.paths())
    assert torch.equal(data.splits["val"].images, images[43:]) and torch.equal(data.splits["train"].labels, labels[:43])
    assert torch.equal(data.splits["test"].images, test_images) and len(test_images) == TEST


def test_cifar_pixels_are_exactly_the_256_levels_in_channel_order(serve, tmp_path):
    serve(CIFAR10DataModule, [small_cifar()])
    data = CIFAR10DataModule(tmp_path, progress=False)
    data.setup()
    images = everything(data.splits["test"])["image"]
    levels = torch.arange(256) / 127.5 - 1
    assert torch.equal(images.unique(), levels) and levels[0] == -1 and levels[255] == 1
    # 文件里是先红后绿再蓝，每色逐行
    assert torch.equal(images[0].flatten(), levels.repeat(12))


def test_mnist_and_fashion_files_share_names_but_not_folders(serve, server, tmp_path, monkeypatch):
    for cls in (MNISTDataModule, FashionMNISTDataModule):
        serve(cls, small_files(cls))
        monkeypatch.setattr(cls, "mirrors", ())
    monkeypatch.setenv(MIRROR_VARIABLE, server.url("ok"))
    digits, clothes = MNISTDataModule(tmp_path, progress=False), FashionMNISTDataModule(tmp_path, progress=False)
    digits.setup(), clothes.setup()
    assert not torch.equal(digits.splits["test"].images, clothes.splits["test"].images)
    assert len(server.seen) == 8


def test_the_mirror_argument_wins_over_the_environment(serve, server, tmp_path, monkeypatch):
    serve(CIFAR10DataModule, [small_cifar()], "503")
    monkeypatch.setenv(MIRROR_VARIABLE, server.url("404"))
    CIFAR10DataModule(tmp_path, mirror=server.url("ok"), progress=False).prepare_data()
    assert [path for path, _ in server.seen] == ["/ok/cifar10/cifar-10-python.tar.gz"]


# ---- 手上现成的 ----

def lay(cls, tmp_path, contents, place, change=lambda content: content, suffix=".gz"):
    """把四个文件放在 tmp_path/place 里"""
    folder = tmp_path / place
    folder.mkdir(parents=True)
    for file, content in zip(cls.files, contents, strict=True):
        (folder / file.name).with_suffix("").with_suffix(suffix).write_bytes(change(content))
    return folder


COPIES = {
    "torchvision 解开的": ("MNIST/raw", gzip.decompress, ""), "torchvision 没有解开的": ("MNIST/raw", lambda content: content, ".gz"),
    "就在数据目录里": (".", gzip.decompress, ""), "别人重新压缩的": ("mnist", lambda content: gzip.compress(gzip.decompress(content), 1), ".gz"),
    "名字说压缩了，其实没有": ("mnist", gzip.decompress, ".gz"),
}


@pytest.mark.parametrize("copy", COPIES)
def test_the_files_people_already_have_are_used_without_a_request(serve, server, tmp_path, caplog, copy):
    place, change, suffix = COPIES[copy]
    contents = small_idx_files(3)
    serve(MNISTDataModule, contents)
    folder = lay(MNISTDataModule, tmp_path / "root", contents, place, change, suffix)
    data = MNISTDataModule(tmp_path / "root", progress=False)
    data.prepare_data()
    data.setup()
    assert torch.equal(data.splits["test"].images, data.read(*data.paths())[1][0]) and len(data.splits["test"]) == TEST
    assert server.seen == [] and not list(tmp_path.rglob("*.lock"))
    # 用了哪一份，只说一次；正是该放的地方就不必说
    assert [str(folder) in r.getMessage() for r in caplog.records] == ([] if (place, suffix) == ("mnist", ".gz") else [True])


def test_a_damaged_copy_is_named_and_the_next_place_is_tried(serve, server, tmp_path, caplog):
    contents = small_idx_files(3)
    serve(MNISTDataModule, contents)
    bad = lay(MNISTDataModule, tmp_path / "root", contents, "mnist", lambda content: content[:-9])
    good = lay(MNISTDataModule, tmp_path / "root", contents, "MNIST/raw", gzip.decompress, "")
    MNISTDataModule(tmp_path / "root", progress=False).setup()
    for file in MNISTDataModule.files:
        assert f"{bad / file.name} 的内容与摘要不符" in caplog.text
    assert str(good) in caplog.text and server.seen == []


class Endless:
    """解不完的内容"""

    given = 0

    def read(self, size):
        self.given += size
        assert self.given <= 2 * transfer.MOST, "不停地读"
        return bytes(size)


def test_a_gzip_bomb_is_just_a_wrong_file(serve, tmp_path, monkeypatch):
    serve(MNISTDataModule, small_idx_files(3), "404")
    monkeypatch.setattr(transfer, "open_packed", lambda path: contextlib.nullcontext(Endless()))
    lay(MNISTDataModule, tmp_path / "root", [b"\x1f\x8b"] * 4, "mnist")
    with pytest.raises(DataUnavailableError, match="train-images"):
        MNISTDataModule(tmp_path / "root", progress=False).setup()


@pytest.mark.parametrize("place", ["cifar10", "."])
def test_the_extracted_cifar_folder_is_used_only_when_every_file_is_whole(serve, server, tmp_path, caplog, monkeypatch, place):
    archive = small_cifar()
    serve(CIFAR10DataModule, [archive], "404")
    folder = tmp_path / "root" / place
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    folder = folder / cifar10.FOLDER
    monkeypatch.setattr(cifar10, "BATCHES", {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in BATCHES})
    data = CIFAR10DataModule(tmp_path / "root", progress=False)
    data.setup()
    assert len(data.splits["test"]) == TEST and server.seen == [] and str(folder) in caplog.text
    sung = tmp_path / "sung"
    (folder / "data_batch_3").write_bytes(pickle.dumps(Canary(sung)))
    (folder / "test_batch").unlink()
    with pytest.raises(DataUnavailableError):
        CIFAR10DataModule(tmp_path / "root", progress=False).setup()
    assert "data_batch_3、test_batch" in caplog.text and not sung.exists()


class Canary:
    """被反序列化就建一个目录"""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_tampered_cifar_pickle_is_never_opened(serve, server, tmp_path, by_hand):
    sung = tmp_path / "sung"
    tampered = tar_gz([(f"cifar-10-batches-py/{name}", pickle.dumps(Canary(sung))) for name in BATCHES])
    good = small_cifar()
    serve(CIFAR10DataModule, [good])
    # 长度补齐，只剩摘要能分辨；gzip 后面补的零不碍事
    tampered = tampered.ljust(len(good), b"\0")
    server.files["cifar10/cifar-10-python.tar.gz"] = tampered
    target = tmp_path / "root" / "cifar10" / "cifar-10-python.tar.gz"
    if by_hand:
        target.parent.mkdir(parents=True)
        target.write_bytes(tampered)
    with pytest.raises(DataUnavailableError, match="SHA-256 不对.*(?s:.*)PhotoPatchesDataModule.*DigitsDataModule"):
        CIFAR10DataModule(tmp_path / "root", progress=False).setup()
    assert not sung.exists() and target.exists() == by_hand
    # 金丝雀是活的：真打开就会叫
    with tarfile.open(fileobj=io.BytesIO(tampered)) as tar:
        pickle.load(tar.extractfile("cifar-10-batches-py/data_batch_1"))
    assert sung.exists()


def test_members_that_point_outside_the_archive_write_nothing(serve, tmp_path):
    outside = tmp_path / "absolute"
    serve(CIFAR10DataModule, [small_cifar([("../escape", b"x"), ("../../escape", b"x"), (str(outside), b"x")])])
    data = CIFAR10DataModule(tmp_path / "root" / "deep", progress=False)
    data.setup()
    written = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert written <= {"cifar-10-python.tar.gz", "cifar-10-python.tar.gz.lock"} and len(data.splits["test"]) == TEST


def test_a_broken_idx_file_is_explained(serve, tmp_path):
    wrong_type = b"\x00\x00\x0d\x01" + struct.pack(">i", 1) + b"\x00"
    too_short = b"\x00\x00\x08\x03" + struct.pack(">3i", 2, 28, 28) + b"\x00"
    for content in (b"", b"\x00\x00\x08\x03\x00", wrong_type, too_short):
        (tmp_path / "x.gz").write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match="IDX"):
            read_idx(tmp_path / "x.gz")
    files = small_idx_files(0)
    serve(MNISTDataModule, [gzip.compress(b"\x00\x00\x09\x01"), *files[1:]])
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz.*IDX"):
        MNISTDataModule(tmp_path / "root", progress=False).setup()


@pytest.mark.parametrize("cls", ALL)
def test_the_shipped_tables_are_well_formed(cls):
    assert all(len(bytes.fromhex(file.sha256)) == 32 and file.size > 4000 for file in cls.files)
    assert "bcebos" in cls.mirrors[0] and len(cls.mirrors) >= 2


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("name, value", [("root", None), ("mirror", "ftp://x"), ("mirror", 5), ("progress", 1), ("conditions", "masked")])
def test_bad_arguments_are_named_before_anything_is_written(tmp_path, monkeypatch, cls, name, value):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError), match=name):
        cls(**{name: value})
    assert not list(tmp_path.iterdir())


# ---- 命令行 ----

OVERLAY = """
trainer:
  logger: false
  limit_val_batches: 2
  callbacks:
    - class_path: pytorch_lightning.callbacks.ModelCheckpoint
      init_args: {dirpath: kept, monitor: val/loss_ema, save_last: true}
    - class_path: ddpm_edu.training.callbacks.SampleGrid
      init_args: {every_n_steps: 4, num_samples: 2, steps: 2, dirpath: samples}
    - class_path: ddpm_edu.training.timestep_loss.TimestepLoss
model:
  unet_config:
    target: ddpm_edu.UNet
    params: {in_channels: 1, out_channels: 1, model_channels: 8, num_res_blocks: 1, channel_mult: [1, 2]}
data:
  init_args: {batch_size: 8, progress: false}
"""


def test_fit_on_mnist_downloads_trains_and_resumes_bit_for_bit(serve, server, tmp_path, monkeypatch):
    from ddpm_edu.cli.main import main
    from ddpm_edu.files.checkpoint import load_checkpoint

    serve(MNISTDataModule, small_idx_files(0))
    weights = {}
    for run, stops in {"straight": [7], "resumed": [3, 7]}.items():
        (tmp_path / run).mkdir()
        monkeypatch.chdir(tmp_path / run)
        (tmp_path / run / "small.yaml").write_text(OVERLAY, encoding="utf-8")
        for stop, more in zip(stops, ([], ["--ckpt_path=kept/last.ckpt"])):
            assert main(["fit", "--config", "mnist-laptop", "--config", "small.yaml", "--trainer.accelerator=cpu",
                         "--trainer.enable_progress_bar=false", f"--trainer.max_steps={stop}", *more]) == 0
        weights[run] = load_checkpoint("kept/last.ckpt")
    # 一轮 5 批，第 7 步在第二轮里；存的是轮末的一份
    assert weights["straight"]["global_step"] == weights["resumed"]["global_step"]
    for name, value in weights["straight"]["state_dict"].items():
        assert torch.equal(value, weights["resumed"]["state_dict"][name]), name
    assert list((tmp_path / "straight" / "samples").glob("*.png")) and (tmp_path / "straight" / "data" / "mnist").is_dir()
