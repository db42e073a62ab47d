"""数据模块的公共部分：内存里的数据集、可从任何一批续上的数据流"""
import logging
import multiprocessing
import os
import signal
import threading
import warnings
import zlib
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, default_collate

from ..checks import check_int, class_only, fail
from ..files.checkpoint import CheckpointError, load_checkpoint
from .conditions import CONDITIONS, check_conditions
from .pictures import StreamedImages

log = logging.getLogger("ddpm_edu")


class ImageDataset(Dataset):
    """内存里的图像与标签

    images : (N, C, H, W) 浮点 [-1, 1]，或 uint8 0..255（取出时换算成 k / 127.5 - 1）
    labels : (N,) int64
    flip   : 为真时数据集加倍，后一半是左右镜像——增广不用随机数，续训也就不会走样
    conditions : conditions.CONDITIONS 里的名字，每个给 batch 添一个同名的键；num_classes：prompt 要用的类别数
    """

    def __init__(self, images, labels, flip=False, conditions=(), num_classes=10):
        self.images = images if isinstance(images, StreamedImages) else torch.as_tensor(images)
        self.labels, self.flip = torch.as_tensor(labels), flip
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            fail("images 与 labels", "形状 (N, C, H, W) 与 (N,) 的张量", (tuple(self.images.shape), tuple(self.labels.shape)))
        self.conditions, self.num_classes = check_conditions(conditions), num_classes

    def __len__(self):
        return len(self.images) * (1 + self.flip)

    def __getitem__(self, index):
        """一个序号给一个样本；切片、序号的列表或张量给一批，同 TensorDataset"""
        numbers = check_index(index, len(self))
        batch = self._batch(numbers.reshape(-1))
        return batch if numbers.ndim else {key: value[0] for key, value in batch.items()}

    def __getitems__(self, indices):
        """DataLoader 要一批样本时，一次取齐"""
        return Samples(self[list(indices)])

    def _batch(self, index):
        real = index % len(self.images)
        x = self.images[real]
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x
        mirrored = (index >= len(self.images))[:, None, None, None]
        image, label = torch.where(mirrored, x.flip(-1), x), self.labels[real]
        extra = {name: CONDITIONS[name](image, label, index, self.num_classes) for name in self.conditions}
        return {"image": image, "label": label, **extra}


class Samples(Sequence):
    """一串样本；它们是一起取出来的，拼好的那一批就在 batch 里"""

    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return len(self.batch["label"])

    def __getitem__(self, index):
        return {key: value[index] for key, value in self.batch.items()}


def check_index(index, size):
    """序号、切片、序号的列表或张量 → 0..size-1 的 int64 张量；负数从末尾数起"""
    try:
        numbers = torch.as_tensor(range(size)[index] if isinstance(index, slice) else index)
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.tensor(torch.nan)
    if numbers.numel() == 0:
        numbers = numbers.long()
    if numbers.ndim > 1 or numbers.dtype == torch.bool or numbers.is_floating_point():
        fail("index", "整数、切片或整数的列表", index, error=TypeError)
    if numbers.numel() and not -size <= int(numbers.min()) <= int(numbers.max()) < size:
        fail("index", f" {-size}..{size - 1} 的整数", index, error=IndexError)
    return numbers.long() % size


def collate(samples):
    """同 default_collate；ImageDataset 一起取出的一批不必再拼"""
    return samples.batch if isinstance(samples, Samples) else default_collate(samples)


def random_images(dataset, count, seed=0):
    """数据集里固定随机选出的至多 count 张：{"image": ..., "label": ...}"""
    return dataset[torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:count]]


def leave_stopping_to_parent(worker):
    """停止键与 SIGTERM 常常同时送到取数据的子进程；怎样停只由主进程决定，它发来的 SIGTERM 才算数"""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # 只有 Linux 能问出信号是谁发的
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=obey_parent, daemon=True).start()


def obey_parent():
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != multiprocessing.parent_process().pid:
        pass
    os._exit(0)


class StreamSampler(DistributedSampler):
    """无尽的批次流：第 n 批的内容只由 (seed, n) 决定；每次取用给出从 position 起的一轮

    position : 已经给出的批数（每个进程自己的批）；续训时改它就行
    """

    def __init__(self, *args, batch_size, **kwargs):
        super().__init__(*args, **kwargs)
        self.batch_size, self.position = batch_size, 0

    def __iter__(self):
        # 轮次由 position 算出，不用 Trainer 数的：用 max_steps 停在半轮时，它会把这半轮算成一轮
        per_epoch = self.num_samples // self.batch_size
        epoch, first = divmod(self.position, per_epoch)
        for self.epoch, batches in ((epoch, range(first, per_epoch)), (epoch + 1, range(first))):
            indices = list(super().__iter__())
            yield from (indices[i] for n in batches for i in range(n * self.batch_size, (n + 1) * self.batch_size))


class StreamLoader(DataLoader):
    """数着自己给出了几批的 DataLoader"""

    def __iter__(self):
        for batch in super().__iter__():
            # Trainer(overfit_batches=…) 会把 sampler 换成按原次序的，那里没有进度可记
            if isinstance(self.sampler, StreamSampler):
                self.sampler.position += 1
            yield batch


class ImageDataModule(pl.LightningDataModule):
    """子类写明 image_size、channels、num_classes，并在 setup 里用 make_dataset 填好 self.splits 的 train、val、test

    batch_size  : ≥ 1；num_workers：≥ 0；seed：打乱次序的种子
    conditions  : batch 里另加的条件，取自 low_resolution / masked / prompt / words
    """

    levels = 256  # 像素有几级，算 bits/dim 用

    def __init__(self, batch_size=64, num_workers=0, seed=0, conditions=()):
        super().__init__()
        self.batch_size = check_int("batch_size", batch_size, 1)
        self.num_workers = check_int("num_workers", num_workers, 0)
        self.seed = check_int("seed", seed, 0, 2**32 - 1)
        self.conditions = check_conditions(conditions)
        self.splits = {}
        self._resumed, self._train_sampler = {"position": 0}, None

    @property
    def identity(self):
        """这份数据的名字：由它训练的东西只能用在同一份上"""
        return type(self).__name__

    def make_dataset(self, images, labels, flip=False):
        return ImageDataset(images, labels, flip, self.conditions, self.num_classes)

    def dataset(self, split):
        """一个划分的 Dataset；还没有准备数据时先准备，不碰训练数据流走到了哪里"""
        if split not in self.splits:
            self.prepare_data()
            self.setup(None)
        return self.splits[split]

    def _loader(self, kind, dataset, sampler, **kwargs):
        return kind(dataset, batch_size=self.batch_size, sampler=sampler, num_workers=self.num_workers,
                    collate_fn=collate, pin_memory=torch.cuda.is_available(), generator=torch.Generator(),
                    worker_init_fn=leave_stopping_to_parent, persistent_workers=self.num_workers > 0, **kwargs)

    def _shard(self):
        """(进程数, 本进程的编号)"""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def train_dataloader(self):
        dataset, (processes, rank) = self.dataset("train"), self._shard()
        if (share := len(dataset) // processes) < self.batch_size:
            fail("batch_size", f"不超过每个进程分到的训练图数 {share} 的整数", self.batch_size,
                 f"共 {len(dataset)} 张，{processes} 个进程；凑不成一批就一步也不练")
        sampler = StreamSampler(dataset, processes, rank, seed=self.seed, drop_last=True, batch_size=self.batch_size)
        # reload_dataloaders_every_n_epochs 在训练中途重取：接着往下，不从头来
        reloading = self.trainer is not None and self.trainer.training and self.trainer.train_dataloader is not None
        sampler.position = self._train_sampler.position if reloading else self._position_in(sampler)
        self._train_sampler = sampler
        return self._loader(StreamLoader, dataset, sampler, drop_last=True)

    def val_dataloader(self):
        dataset = self.dataset("val")
        return self._loader(DataLoader, dataset, DistributedSampler(dataset, *self._shard(), shuffle=False))

    def test_dataloader(self):
        dataset = self.dataset("test")
        return self._loader(DataLoader, dataset, DistributedSampler(dataset, *self._shard(), shuffle=False))

    def predict_dataloader(self):
        """Trainer.predict 照测试集每一批的张数与条件采样"""
        return self.test_dataloader()

    def state_dict(self):
        """Trainer 存盘时会一并存下：训练数据取到了第几批，这里的批有多大"""
        if self._train_sampler is None:
            return self._resumed
        return {"position": self._train_sampler.position, **self._stream(self._train_sampler)}

    def load_state_dict(self, state):
        self._resumed = {name: int(value) for name, value in state.items()}
        # 位置记在这里而不在 DataLoader 里，Trainer 不知道，会说接不上
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch ended")

    def _stream(self, sampler):
        """数据流由哪几个数决定"""
        return {"batch_size": self.batch_size, "world_size": sampler.num_replicas, "seed": self.seed, "images": len(sampler.dataset),
                "data": zlib.crc32(self.identity.encode())}

    def _position_in(self, sampler):
        """存盘时取到的地方，是现在的第几批；批的大小、进程数变了，就换算到这一轮的同一张图（不足一批的略过），并且说一句"""
        now = self._stream(sampler)
        old = {**now, **self._resumed}
        odd = ["图换过了" if name == "data" else f"{name} {old[name]} → {value}" for name, value in now.items() if old[name] != value]
        if not odd:
            return old["position"]
        epoch, batches = divmod(old["position"], max(1, old["images"] // old["world_size"] // old["batch_size"]))
        # 各进程取的合起来，正是这一轮次序的开头一段
        seen = batches * old["batch_size"] * old["world_size"]
        per_epoch = sampler.num_samples // self.batch_size
        position = epoch * per_epoch + min(-(-seen // (self.batch_size * sampler.num_replicas)), per_epoch)
        if sampler.rank == 0:
            log.warning("续训时数据流与存盘时不同（%s）：从第 %d 轮的第 %d 张图接着取，不再与从未停过逐位相同", "，".join(odd), epoch, seen)
        return position

    @class_only
    def load_from_checkpoint(cls, checkpoint_path, map_location=None, hparams_file=None, weights_only=None, **kwargs):
        """检查点里的训练数据取到第几批，就从第几批接着取；kwargs 是构造参数

        map_location、hparams_file、weights_only : Lightning 有这几个参数；这里没有张量和超参数要取，读取总是安全的
        Lightning 自带的这个方法在 TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 时会执行文件里的 pickle，所以换掉
        """
        state = load_checkpoint(checkpoint_path).get(cls.__qualname__)
        if not isinstance(state, dict) or "position" not in state:
            raise CheckpointError(f"{checkpoint_path} 里应有 {cls.__qualname__} 的进度，得到 {state!r}；请确认它是用这种数据训练时存的")
        module = cls(**kwargs)
        module.load_state_dict(state)
        return module
