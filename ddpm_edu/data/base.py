"""数据模块的公共部分：内存里的数据集、可从中间续上的加载器"""
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from ..checks import check_int


class ImageDataset(Dataset):
    """内存里的图像与标签

    images : (N, C, H, W) 浮点 [-1, 1]，或 uint8 0..255（取出时换算成 k / 127.5 - 1）
    labels : (N,) int64
    flip   : 为真时数据集加倍，后一半是左右镜像——增广不用随机数，续训也就不会走样
    """

    def __init__(self, images, labels, flip=False):
        self.images, self.labels, self.flip = images, labels, flip

    def __len__(self):
        return len(self.images) * (1 + self.flip)

    def __getitem__(self, index):
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices):
        index = torch.as_tensor(indices)
        real = index % len(self.images)
        x = self.images[real]
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x
        mirrored = (index >= len(self.images))[:, None, None, None]
        return {"image": torch.where(mirrored, x.flip(-1), x), "label": self.labels[real]}


def already_batched(batch):
    """ImageDataset 一次就取好一批，不必再拼"""
    return batch


class ResumableLoader(DataLoader):
    """记得自己这一轮给出了几批的 DataLoader；Trainer 存盘、续训时会用到这两个方法

    次序只由 (seed, epoch) 决定，所以记住批数就能从下一批接上
    """

    def __init__(self, *args, **kwargs):
        self._given, self._skip = 0, 0
        super().__init__(*args, **kwargs)

    def __iter__(self):
        skip, self._skip = self._skip, 0
        # 正好在一轮的末尾存盘时，下一轮从头开始
        self.sampler.start = (skip % len(self)) * self.batch_size
        self._given = skip % len(self)
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self):
        return {"batches": self._given}

    def load_state_dict(self, state):
        self._skip = int(state["batches"])


class ResumableSampler(DistributedSampler):
    """按 (seed, epoch) 打乱、按进程分片；start 是这一轮从第几个样本开始，用过一次就归零"""

    start = 0

    def __iter__(self):
        start, self.start = self.start, 0
        return iter(list(super().__iter__())[start:])


class ImageDataModule(pl.LightningDataModule):
    """子类只需在 setup 里填好 self.splits = {"train": ImageDataset, "val": ..., "test": ...}

    batch_size  : ≥ 1；num_workers：≥ 0；seed：打乱次序的种子
    """

    def __init__(self, batch_size=64, num_workers=0, seed=0):
        super().__init__()
        self.batch_size = check_int("batch_size", batch_size, 1)
        self.num_workers = check_int("num_workers", num_workers, 0)
        self.seed = check_int("seed", seed, 0, 2**32 - 1)
        self.splits = {}

    def _loader(self, split, shuffle):
        if split not in self.splits:
            self.prepare_data()
            self.setup(None)
        trainer = self.trainer
        sampler = ResumableSampler(
            self.splits[split], trainer.world_size if trainer else 1, trainer.global_rank if trainer else 0,
            shuffle=shuffle, seed=self.seed, drop_last=shuffle,
        )
        loader = ResumableLoader if shuffle else DataLoader
        return loader(
            self.splits[split], batch_size=self.batch_size, sampler=sampler, drop_last=shuffle,
            num_workers=self.num_workers, collate_fn=already_batched,
            pin_memory=torch.cuda.is_available(), generator=torch.Generator(),
        )

    def train_dataloader(self):
        return self._loader("train", shuffle=True)

    def val_dataloader(self):
        return self._loader("val", shuffle=False)

    def test_dataloader(self):
        return self._loader("test", shuffle=False)
