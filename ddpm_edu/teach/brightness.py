"""只看亮度的小网络：一张 N 个像素的平图，把像素加起来除以 √N，就是一个数，掺进去的噪声在这个数上仍是标准高斯"""
import math

import torch
from torch import nn

from ..gaussian import GaussianDiffusion
from .training import descend


class BrightnessDenoiser(nn.Module):
    """能作 DDPM 的 unet_config：x 是 (B, 1, 1, 1)，边长 side 的平图的亮度乘 side；猜的是 x0，亮度在 [-1, 1] 里均匀

    alphas_cumprod : (T,) 的列表；输入先除以它此刻的标准差，就是 EDM 的 c_in
    """

    def __init__(self, alphas_cumprod, side=128, width=64):
        super().__init__()
        self.side = side
        self.register_buffer("alphas_cumprod", torch.tensor(alphas_cumprod, dtype=torch.float32), persistent=False)
        self.net = nn.Sequential(nn.Linear(11, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x, t):
        bar = self.alphas_cumprod[t][:, None]
        seen = x.flatten(1) / (bar * self.side**2 / 3 + 1 - bar).sqrt()  # 均匀分布的方差是 1/3
        angle = t[:, None] / len(self.alphas_cumprod) * math.pi * 2 ** torch.arange(5)
        return self.side * self.net(torch.cat([seen, angle.sin(), angle.cos()], dim=1)).reshape(x.shape)


def flat(count, generator=None, side=128):
    """平图的亮度，乘边长：(count, 1, 1, 1)"""
    return side * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)


def fit_brightness(rescale_betas_zero_snr, seed=0, steps=500):
    """练好的 DDPM：linear，猜 x0，不截断；rescale_betas_zero_snr 为真时终点的 ᾱ 是 0"""
    from ..ddpm import DDPM

    torch.manual_seed(seed)
    settings = {"parameterization": "x0", "rescale_betas_zero_snr": rescale_betas_zero_snr}
    bars = GaussianDiffusion(**settings).exact_table("alphas_cumprod").tolist()
    config = {"target": "ddpm_edu.teach.brightness.BrightnessDenoiser", "params": {"alphas_cumprod": bars}}
    model = DDPM(config, image_size=1, channels=1, use_ema=False, clip_denoised=False, **settings)
    return descend(model, lambda: model.p_losses(flat(512), torch.randint(1000, (512,)))[0], steps)
