"""病例 11–18：训练、指数滑动平均、学习率"""
import contextlib

import torch
import torch.nn.functional as F
from torch import nn


def train(model, ema, batches, accumulate=1):
    """梯度累积：每 accumulate 批更新一次权重，EMA 跟着走"""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for i, (x, y) in enumerate(batches):
        (F.mse_loss(model(x), y) / accumulate).backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
        ema(model)


class BufferEma(nn.Module):
    """权重的指数滑动平均，影子存成缓冲区；缓冲区的名字里不许有点"""

    def __init__(self, model, decay=0.9):
        super().__init__()
        self.register_buffer("decay", torch.tensor(decay))
        for name, parameter in model.named_parameters():
            self.register_buffer(name.replace(".", ""), parameter.detach().clone())

    @torch.no_grad()
    def copy_to(self, model):
        """把影子抄进 model"""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.get_buffer(name.replace(".", "")))


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
    yield
    for name, tensor in weights.items():
        tensor.copy_(backup[name])


def linear_multiplier(n, warm_up, length, start, low, high):
    """第 n 步的学习率乘数：前 warm_up 步从 start 升到 high，到第 length 步线性降到 low"""
    if n < warm_up:
        return start + (high - start) * n / warm_up
    return low + (high - low) * (length - n) / length


class NoiseScale(nn.Module):
    """每个 t 一个对数尺度：损失是 mse / exp(s_t) + s_t"""

    def __init__(self, timesteps, init=0.0):
        super().__init__()
        self.logvar = torch.full((timesteps,), init)

    def forward(self, mse, t):
        s = self.logvar[t]
        return (mse / s.exp() + s).mean()


def make_optimizer(model, weight_decay=0.1):
    """AdamW，带权重衰减"""
    return torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=weight_decay)


@torch.no_grad()
def validate(model, images):
    """去噪的误差；原权重与 EMA 权重各调用一次，用来比较哪个好"""
    level = torch.rand(len(images), 1, 1, 1)
    noise = torch.randn_like(images)
    noisy = (1 - level).sqrt() * images + level.sqrt() * noise
    return F.mse_loss(model(noisy), noise).item()
