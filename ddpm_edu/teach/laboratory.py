"""带精确答案的问题（只给课程与测试用）：高斯数据 x0 ~ N(m, s²)，最优去噪器与整条采样链的均值、方差都写得出来"""
import numpy as np
import torch
from torch import nn

from ..ddim import ddim_sigma
from ..ddpm import DDPM
from ..gaussian import diffusion_tables
from ..schedules import spaced_timesteps


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
    config = {
        "target": "ddpm_edu.teach.laboratory.GaussianDenoiser",
        "params": {"mean": mean, "std": std, "alphas_cumprod": np.cumprod(1 - betas).tolist(),
                   "parameterization": parameterization},
    }
    return DDPM(config, given_betas=betas, image_size=1, channels=1, v_posterior=v, parameterization=parameterization,
                clip_denoised=False, use_ema=False).double()


def chain_gains(betas, mean, std, v):
    """每一步 x_{t-1} = g x_t + h + σ z 的 g、h、σ²（t=0 时 σ²=0）"""
    tables = diffusion_tables(betas, v)
    a = tables["alphas_cumprod"]
    D = a * std**2 + 1 - a
    k = np.sqrt(a) * std**2 / D
    g = tables["posterior_mean_coef1"] * k + tables["posterior_mean_coef2"]
    h = tables["posterior_mean_coef1"] * mean * (1 - k * np.sqrt(a))
    variance = tables["posterior_variance"].copy()
    variance[0] = 0.0
    return g, h, variance


def chain_moments(betas, mean, std, v):
    """从 N(0, 1) 走完整条链之后的均值与方差，闭式"""
    g, h, variance = chain_gains(betas, mean, std, v)
    mu, var = 0.0, 1.0
    for t in range(len(betas) - 1, -1, -1):
        mu, var = g[t] * mu + h[t], g[t] ** 2 * var + variance[t]
    return mu, var


def chain_variances(betas, std, v):
    """N(0, s²) 的数据上，采样链的方差与真实边缘方差之比

    返回 : (T+1,)，第 i 项是 x_{i-1} 处的比值：第 0 项是最终样本对 s²，末项是起点 N(0, 1) 对 D_{T-1}
    """
    gains, _, noise = chain_gains(betas, 0.0, std, v)
    cumprod = np.cumprod(1 - betas)
    true = np.append(std**2, cumprod * std**2 + 1 - cumprod)
    variance = np.empty(len(betas) + 1)
    variance[-1] = 1.0
    for t in range(len(betas) - 1, -1, -1):
        variance[t] = gains[t] ** 2 * variance[t + 1] + noise[t]
    return variance / true


def ddim_chain_variance(betas, std, steps, eta):
    """N(0, s²) 的数据上，DDIM 走 steps 步之后，样本的方差与真值 s² 之比，闭式"""
    cumprod = np.cumprod(1 - betas)[spaced_timesteps(len(betas), steps)]
    variance = 1.0
    for a_t, a_prev in zip(cumprod[::-1], np.append(1.0, cumprod[:-1])[::-1]):
        D = a_t * std**2 + 1 - a_t
        sigma = ddim_sigma(a_t, a_prev, eta)
        # x0_hat 与 ε_hat 都与 x_t 成正比，代入 DDIM 的一步
        gain = a_prev**0.5 * a_t**0.5 * std**2 / D + max(1 - a_prev - sigma**2, 0.0) ** 0.5 * (1 - a_t) ** 0.5 / D
        variance = gain**2 * variance + sigma**2
    return variance / std**2
