"""第 1 章的月牙，与猜它的小网络：后面的章拿它做试验，不必再抄一遍"""
import math

import torch
from torch import nn


def moons(n, seed):
    """两弯月牙上的点：((n, 2) 的坐标，横竖都是均值约 0、标准差约 1；(n,) 的标签，0 是上弯，1 是下弯)"""
    from sklearn.datasets import make_moons

    x, label = make_moons(n, noise=0.1, random_state=seed)
    return (torch.from_numpy(x).float() - torch.tensor([0.5, 0.25])) / torch.tensor([0.87, 0.5]), torch.from_numpy(label)


class MoonDenoiser(nn.Module):
    """三层的小网络，能作 DDPM 的 unet_config：x 是 (B, 2, 1, 1)，一个点当作两个通道、一个像素的图"""

    def __init__(self, width=96, timesteps=1000):
        super().__init__()
        self.timesteps = timesteps
        layers = [nn.Linear(28, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, x, t):
        point = x.flatten(1)
        place = (point[:, :, None] * 2 ** torch.arange(4)).flatten(1)
        angle = torch.cat([place, t[:, None] / self.timesteps * math.pi * 2 ** torch.arange(5)], dim=1)
        return self.net(torch.cat([point, angle.sin(), angle.cos()], dim=1)).reshape(x.shape)


def astray(made, real, near=0.1):
    """(N,) 的真假：造出来的点，哪些附近没有真点；点都是 (N, 2)"""
    return torch.cdist(made, real).min(1).values > near


def misses(made, real, near=0.1):
    """(造错的比例，漏掉的比例)：造出来的点附近没有真点，真点附近没有造出来的点；点都是 (N, 2)"""
    gaps = torch.cdist(made, real)
    return float((gaps.min(1).values > near).double().mean()), float((gaps.min(0).values > near).double().mean())
