"""只看亮度的小网络：一张 N 个像素的平图，把像素加起来除以 √N，就是一个数，掺进去的噪声在这个数上仍是标准高斯"""
import math

import torch
from torch import nn


class BrightnessDenoiser(nn.Module):
    """能作 DDPM 的 unet_config：x 是 (B, 1, 1, 1)，边长 side 的平图的亮度乘 side；猜的是 x0，平均亮度在 [-1, 1]"""

    def __init__(self, side=128, width=64, timesteps=1000):
        super().__init__()
        self.side, self.timesteps = side, timesteps
        self.net = nn.Sequential(nn.Linear(12, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x, t):
        value = x.flatten(1)
        angle = t[:, None] / self.timesteps * math.pi * 2 ** torch.arange(5)
        # 噪声的大小是 1，原图可以大到 side：两种大小都要看得清
        seen = torch.cat([value / self.side, value.asinh(), angle.sin(), angle.cos()], dim=1)
        return self.side * self.net(seen).reshape(x.shape)
