"""训练循环里的病例：指数滑动平均、学习率、验证"""
import contextlib

import torch
from torch import nn


@torch.no_grad()
def validate(model, images):
    """去噪的误差；原权重与 EMA 权重各调用一次，用来比较哪个好"""
    level = torch.rand(len(images), 1, 1, 1)
    noise = torch.randn_like(images)
    noisy = (1 - level).sqrt() * images + level.sqrt() * noise
    return nn.functional.mse_loss(model(noisy), noise).item()


def train(model, ema, batches, accumulate=1):
    """梯度累积：每 accumulate 批更新一次权重，EMA 跟着走"""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for i, (x, y) in enumerate(batches):
        (nn.functional.mse_loss(model(x), y) / accumulate).backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
        ema(model)


class CastingEma:
    """权重的指数滑动平均；影子一直是 float32，模型可以是半精度"""

    def __init__(self, model, decay=0.9):
        self.decay = decay
        self.shadow = {name: p.detach().float().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def __call__(self, model):
        for name, parameter in model.named_parameters():
            shadow = self.shadow[name].type_as(parameter)
            shadow.lerp_(parameter, 1 - self.decay)


@contextlib.contextmanager
def ema_scope(weights, shadow, backup):
    """里面用影子，离开时换回原来的权重；三个都是 {名字: 张量}，backup 用来存原来的"""
    backup.update({name: tensor.clone() for name, tensor in weights.items()})
    for name, tensor in weights.items():
        tensor.copy_(shadow[name])
    try:
        yield
    finally:
        for name, tensor in weights.items():
            tensor.copy_(backup[name])


def linear_multiplier(n, warm_up, length, start, low, high):
    """第 n 步的学习率乘数：前 warm_up 步从 start 升到 high，到第 length 步线性降到 low"""
    if n < warm_up:
        return start + (high - start) * n / warm_up
    return low + (high - low) * (length - n) / length
