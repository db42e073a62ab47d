"""带精确答案的问题（只给课程与测试用）：高斯数据 x0 ~ N(m, s²)，最优去噪器与整条采样链的均值、方差都写得出来"""
import functools

import numpy as np
import torch
from torch import nn

from ..sampling import ancestral_step, ddim_step, spaced_timesteps


class GaussianDenoiser(nn.Module):
    """逐像素独立的 N(m, s²) 数据的最优预测（eps / x0 / v）"""

    def __init__(self, mean, std, alphas_cumprod, parameterization):
        super().__init__()
        self.mean, self.std, self.parameterization = mean, std, parameterization
        self.register_buffer("alphas_cumprod", torch.tensor(alphas_cumprod, dtype=torch.float64))
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        D = a * self.std**2 + 1 - a
        gap = x - a.sqrt() * self.mean
        x_start = self.mean + a.sqrt() * self.std**2 / D * gap
        eps = (1 - a).sqrt() * gap / D
        outputs = {"eps": eps, "x0": x_start, "v": a.sqrt() * eps - (1 - a).sqrt() * x_start}
        return self.scale * outputs[self.parameterization]


def gaussian_ddpm(betas, mean=0.3, std=0.5, v=0.0, parameterization="eps"):
    """配上最优去噪器的 float64 DDPM，不截断"""
    # 导入 Lightning 要几秒；批改数学题用的是下面几个，不必等它
    from ..ddpm import DDPM

    config = {
        "target": "ddpm_edu.teach.laboratory.GaussianDenoiser",
        "params": {"mean": mean, "std": std, "alphas_cumprod": np.cumprod(1 - betas).tolist(),
                   "parameterization": parameterization},
    }
    return DDPM(config, given_betas=betas, image_size=1, channels=1, v_posterior=v, parameterization=parameterization,
                clip_denoised=False, use_ema=False).double()


def chain_gains(cumprod, step, mean=0.0, std=1.0):
    """配上最优去噪器，每一步是 x_s = g·x_t + h + σ·z：返回 g、h、σ²，都是 (T,) 数组，第 t 项从 x_t 走出

    cumprod : 升序步号上的 ᾱ；step：采样器，step(ᾱ_t, ᾱ_s) → (a, b, σ)
    """
    a, b, sigma = np.array([step(t, s) for t, s in zip(cumprod, [1.0, *cumprod[:-1]])]).T
    # x̂₀ = m + k·(x_t - √ᾱ_t·m)
    k = np.sqrt(cumprod) * std**2 / (cumprod * std**2 + 1 - cumprod)
    return a * k + b, a * mean * (1 - k * np.sqrt(cumprod)), sigma**2


def walk(cumprod, step, mean=0.0, std=1.0):
    """从 N(0, 1) 出发，走到每个 x_s 时的均值与方差：两个 (T+1,) 数组，第 0 项是最终样本，末项是起点；参数同 chain_gains"""
    gains, shifts, noise = chain_gains(cumprod, step, mean, std)
    moments = [(0.0, 1.0)]
    for g, h, variance in zip(gains[::-1], shifts[::-1], noise[::-1]):
        moments.append((g * moments[-1][0] + h, g**2 * moments[-1][1] + variance))
    return tuple(np.array(moments[::-1]).T)


def ancestral(v):
    """v_posterior 取 v 的祖先采样，供 walk 用"""
    return functools.partial(ancestral_step, v_posterior=v)


def chain_moments(betas, mean, std, v):
    """祖先采样走完整条链之后的均值与方差，闭式"""
    means, variances = walk(np.cumprod(1 - betas), ancestral(v), mean, std)
    return means[0], variances[0]


def ddim_chain_variance(betas, std, steps, eta):
    """N(0, s²) 的数据上，DDIM 走 steps 步之后，样本的方差与真值 s² 之比，闭式"""
    kept = spaced_timesteps(len(betas), steps)
    return walk(np.cumprod(1 - betas)[kept], functools.partial(ddim_step, eta=eta), std=std)[1][0] / std**2


def flow_end(x, cumprod_t, cumprod_s, mean, std):
    """N(m, s²) 的数据上，概率流 ODE 把 x_t 送到 x_s 的哪里，闭式：离均值有几个标准差，一路不变"""
    spread = [bar * std**2 + 1 - bar for bar in (cumprod_t, cumprod_s)]
    return cumprod_s**0.5 * mean + (x - cumprod_t**0.5 * mean) * (spread[1] / spread[0]) ** 0.5


def sampled_end(z, cumprod, mean, std):
    """N(m, s²) 的数据上，步子无穷小的 DDIM 把起点 z 送到哪里，闭式：概率流送到 t=0 处，采样器在那里再猜一次"""
    x, bar = flow_end(z, cumprod[-1], cumprod[0], mean, std), cumprod[0]
    return mean + bar**0.5 * std**2 / (bar * std**2 + 1 - bar) * (x - bar**0.5 * mean)


def ideal_start(x_t, data, bar):
    """数据只有有限个点时，最好的猜测 E[x_0 | x_t]：各点按它加噪成 x_t 的可能性加权平均

    x_t : (B, D)；data : (N, D)；bar : 这一步的 ᾱ，(0, 1) 内的数
    """
    return (-torch.cdist(x_t, bar**0.5 * data).square() / (2 * (1 - bar))).softmax(1) @ data


class Memorizer(nn.Module):
    """数据只有 images 这些图时的最优去噪器，换算成速度 v；当作网络用，没有参数

    images : (N, C, H, W)；alphas_cumprod : (T,)
    """

    def __init__(self, images, alphas_cumprod):
        super().__init__()
        self.images, self.alphas_cumprod = images.flatten(1), alphas_cumprod

    def forward(self, x, t):
        out = torch.empty_like(x)
        for step in t.unique():
            bar, flat = float(self.alphas_cumprod[step]), x[t == step].flatten(1)
            guess = ideal_start(flat, self.images, bar)
            out[t == step] = ((bar**0.5 * flat - guess) / (1 - bar) ** 0.5).view(-1, *x.shape[1:])
        return out


def euler_roads(y, data, stops):
    """以 u = √((1-ᾱ)/ᾱ) 为横轴、y = x/√ᾱ 为纵轴，用欧拉法沿 stops 里的各个 u 走：dy/du = ε_hat = (y - x0_hat) / u

    y : (B, 1)，起点；data : (N, 1)；stops : (S,)，从大到小，只有末一个可以是 0
    返回 : (S, B)，途中的每一站
    """
    road = [y]
    for u, after in zip(stops, stops[1:]):
        bar, y = 1 / (1 + u**2), road[-1]
        road.append(y + (after - u) * (y - ideal_start(bar**0.5 * y, data, bar)) / u)
    return torch.cat(road, 1).T
