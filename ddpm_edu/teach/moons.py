"""第 1 章的月牙、猜它的小网络与最好的猜测：后面的章拿它做试验，不必再抄一遍"""
import math
import warnings

import torch
from torch import nn

# make_moons 的坐标减去 MIDDLE、除以 SCALE，均值约 0、标准差约 1；NOISE 是换算之前的标准差
MIDDLE, SCALE, NOISE = torch.tensor([0.5, 0.25]), torch.tensor([0.87, 0.5]), 0.1


def moons(n, seed):
    """两弯月牙上的点：((n, 2) 的坐标，横竖都是均值约 0、标准差约 1；(n,) 的标签，0 是上弯，1 是下弯)"""
    from sklearn.datasets import make_moons

    x, label = make_moons(n, noise=NOISE, random_state=seed)
    return (torch.from_numpy(x).float() - MIDDLE) / SCALE, torch.from_numpy(label)


def arcs(count=200):
    """两弯月牙的中线 (上弯, 下弯)，各是 (count, 2) 的点，沿半圆均匀"""
    angle = (torch.arange(count) + 0.5) / count * math.pi
    upper, lower = torch.stack([angle.cos(), angle.sin()], 1), torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    return (upper - MIDDLE) / SCALE, (lower - MIDDLE) / SCALE


def watershed(alpha_bar):
    """两弯之间的分水岭：返回 (x_t, t) → (N,)，离上弯的中线比离下弯的远多少，线上是 0；x_t 是 (N, 2)，t 是 (N,) 的步号

    中线缩小到第 t 步的大小，也就是 alpha_bar[t] 的平方根那么多倍
    """
    def lean(x, t):
        scale = alpha_bar[t].sqrt()
        upper, lower = (torch.cdist(x / scale[:, None], arc).min(1).values for arc in arcs())
        return scale * (upper - lower)

    return lean


def exact_denoiser(alpha_bar, count=200):
    """最好的猜测，不用训练：返回 (x_t, t) → E[ε | x_t]；x_t 是 (N, 2)，t 是 (N,) 的步号，alpha_bar 是 (T,)

    月牙是两段半圆上均匀的点 c，再加高斯噪声；给定 c，x_t 与 ε 都是高斯，猜测是一次式，再照 c 的可能性加权平均
    count : 每段半圆用几个点代表
    """
    centers, spread = torch.cat(arcs(count)).to(alpha_bar), (NOISE / SCALE).to(alpha_bar) ** 2

    def guess_noise(x, t):
        a = alpha_bar[t][:, None]
        variance = a * spread + 1 - a
        # c 的对数可能性，略去与 c 无关的项
        score = (a.sqrt() / variance * x) @ centers.T - (a / variance / 2) @ centers.square().T
        return (1 - a).sqrt() * (x - a.sqrt() * (score.softmax(1) @ centers)) / variance

    return guess_noise


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


def train_moons(betas, points, seed=0, steps=3000, count=4000):
    """用这张噪声表训练小网络，祖先采样走满全程，造 count 个点：(count, 2)；points 是 (N, 2)"""
    from ..ddpm import DDPM

    torch.manual_seed(seed)
    network = {"target": "ddpm_edu.teach.moons.MoonDenoiser", "params": {"timesteps": len(betas)}}
    with warnings.catch_warnings():
        # 终点还留着原图的表会引出一句警告，这里正是要看它的后果
        warnings.simplefilter("ignore")
        model = DDPM(network, given_betas=betas, image_size=1, channels=2, clip_denoised=False, use_ema=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss, _ = model(points[torch.randint(len(points), (512,))][..., None, None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return model.eval().sample(count, generator=torch.Generator().manual_seed(seed), progress=False).flatten(1)


def astray(made, real, near=0.1):
    """(N,) 的真假：造出来的点，哪些附近没有真点；点都是 (N, 2)"""
    return torch.cdist(made, real).min(1).values > near


def misses(made, real, near=0.1):
    """(造错的比例，漏掉的比例)：造出来的点附近没有真点，真点附近没有造出来的点；点都是 (N, 2)"""
    gaps = torch.cdist(made, real)
    return float((gaps.min(1).values > near).double().mean()), float((gaps.min(0).values > near).double().mean())
