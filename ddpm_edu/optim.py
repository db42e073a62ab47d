"""优化器与学习率调度器的组装"""
import functools

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from .config import instantiate_from_config, target_class
from .lr_scheduler import LRLambda


def make_optimizer(model):
    """AdamW；权重衰减只给矩阵与卷积核，偏置、归一化和 logvar 不衰减"""
    trainable = [p for p in model.model.parameters() if p.requires_grad]
    plain = [p for p in trainable if p.ndim < 2]
    if model.learn_logvar:
        plain.append(model.logvar)
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": model.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    # fp16 要缩放梯度，融合版在内部还原，就不能先裁剪了
    fused = model._trainer is None or model._trainer.precision != "16-mixed"
    optimizer = torch.optim.AdamW(groups, lr=model.learning_rate, betas=model.adam_betas, fused=fused)
    # bf16 不缩放，可以裁剪；Lightning 不分 fp16 与 bf16，只看这个标记
    optimizer._step_supports_amp_scaling = False
    return optimizer


def make_scheduler(config, optimizer):
    """按 scheduler_config 造调度器：LRLambda 包成 LambdaLR，torch 自带的直接造

    optimizer : None 时只做检查，返回 None
    """
    kinds = LRLambda, LRScheduler
    make = functools.partial(instantiate_from_config, config, kinds=kinds, name="scheduler_config")
    if issubclass(target_class(config, kinds, "scheduler_config"), LRLambda):
        multiplier = make()
        return None if optimizer is None else LambdaLR(optimizer, multiplier)
    if optimizer is None:
        make(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0))
        return None
    return make(optimizer)
