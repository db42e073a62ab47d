"""训练之前估一估要多少内存"""
import pytorch_lightning as pl
import torch

from ..randomness import isolated_rng
from ..sampling import evaluating

# 反向传播的峰值比留下的特征图多出它们的梯度与卷积的工作区：CPU 上量 mnist 与 mnist-laptop，都是 1.5 倍
PEAK = 1.5


class SayMemory(pl.Callback):
    """fit 开始之前印一行：模型与一批数据的反向传播大约要多少内存（在 GPU 上就是显存）

    只估这两样；Python 与各个库、数据集本身另算
    """

    def on_fit_start(self, trainer, pl_module):
        data = trainer.datamodule
        if not trainer.is_global_zero or "train" not in getattr(data, "splits", {}):
            return
        model = model_bytes(pl_module) / 2**30
        batch = PEAK * activation_bytes(pl_module, data.splits["train"][:1]) * data.batch_size / 2**30
        print(f"训练大约要 {model + batch:.2f} GiB 内存：权重、梯度、优化器与 EMA {model:.2f}，一批 {data.batch_size} 张图的特征图 {batch:.2f}；"
              "不够就调小 --data.batch_size", flush=True)


def model_bytes(model):
    """权重与 EMA 的影子，另加能训练的那些的梯度与 Adam 的两份状态"""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(p.nbytes for p in tensors) + 3 * sum(p.nbytes for p in tensors if p.requires_grad)


def activation_bytes(model, batch):
    """batch 的前向替反向传播留下多少字节；同一块内存只算一次，权重不算。模型与随机数都照原样"""
    kept, own = {}, {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = {name: value.to(model.device) for name, value in batch.items()}
    with evaluating(model), isolated_rng("memory", device=model.device), torch.enable_grad(), \
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # 图还在，留下的内存就不会被别人占去
        loss, _ = model.shared_step(batch)
    return sum(size for pointer, size in kept.items() if pointer not in own)
