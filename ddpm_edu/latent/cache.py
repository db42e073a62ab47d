"""潜变量的分布事先算好：自编码器冻结了，同一张图每次编码都一样"""
import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset

from ..checks import fail
from ..data.base import ImageDataModule, Samples, check_index
from ..progress import progress_bar
from .diffusion import LatentDiffusion


class LatentDataset(Dataset):
    """在 dataset 的每个样本里添上 moments：编码器给的均值与对数方差，(2C, h, w)；抽样仍在训练的每一步"""

    def __init__(self, dataset, moments):
        self.dataset, self.moments = dataset, moments

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return {**self.dataset[index], "moments": self.moments[check_index(index, len(self))]}

    def __getitems__(self, indices):
        return Samples(self[list(indices)])


@torch.no_grad()
def all_moments(model, dataset, title="", batch_size=256):
    """dataset 里每张图的 moments，(N, 2C, h, w)，在 CPU 上"""
    first, parts = model.first_stage_model, range(0, len(dataset), batch_size)
    found = []
    for start in progress_bar(parts, None, title):
        x = first.get_input(dataset[start:start + batch_size], model.first_stage_key)
        found.append(first.encode(x.to(model.device)).parameters.cpu())
    return torch.cat(found)


class CacheLatents(pl.Callback):
    """训练开始之前把训练、验证的图各编码一遍，训练时不再编码；练完数据模块恢复原样

    内存 : 一张图存 2C·h·w 个 float32，MNIST 的 55 000 张约 110 MB
    异常 : 模型不是 LatentDiffusion，或数据不是本包的数据模块时 TypeError
    """

    def __init__(self):
        self._plain = {}

    def on_fit_start(self, trainer, pl_module):
        # 不能更早：续训时自编码器的权重在此之前才从检查点取回
        data = trainer.datamodule
        if not isinstance(pl_module, LatentDiffusion) or not isinstance(data, ImageDataModule):
            fail("CacheLatents", "与 LatentDiffusion 和本包的数据模块一起用", (type(pl_module).__name__, type(data).__name__), "去掉这个回调", TypeError)
        self._plain = dict(data.splits)
        for name in ("train", "val"):
            data.splits[name] = LatentDataset(self._plain[name], all_moments(pl_module, self._plain[name], f"编码 {name}"))

    def teardown(self, trainer, pl_module, stage):
        if self._plain:
            trainer.datamodule.splits, self._plain = self._plain, {}
