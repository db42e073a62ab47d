"""公式里的病例"""
import numpy as np
import torch


def make_betas(timesteps):
    """噪声表，linear：√β 从 √1e-4 均匀地走到 √2e-2，步数任选"""
    return np.linspace(1e-4**0.5, 2e-2**0.5, timesteps) ** 2


def training_target(parameterization, x_start, noise, bar):
    """训练的目标；bar 是这一步的 ᾱ"""
    targets = {"eps": noise, "x0": x_start, "v": bar**0.5 * noise - (1 - bar) ** 0.5 * x_start}
    return targets[parameterization]


def predict_start(parameterization, model_out, x_t, bar):
    """网络的输出换算成 x0；bar 是这一步的 ᾱ"""
    if parameterization == "x0":
        return model_out
    return (x_t - (1 - bar) ** 0.5 * model_out) / bar**0.5


def noise_variances(betas, dtype=torch.float32):
    """x_t 里噪声的方差 1-ᾱ，(T,)，用 dtype 存"""
    alphas_cumprod = torch.tensor(np.cumprod(1 - betas), dtype=dtype)
    return 1 - alphas_cumprod


def x0_weights(betas):
    """目标是 x0 时，变分下界里平方误差的权重（v_posterior=0），(T,)"""
    bar = np.cumprod(1 - betas)
    return 0.5 * np.sqrt(bar) / (2.0 * 1 - bar)


def clip_start(x_recon):
    """把猜出的 x0 截到 [-1, 1]"""
    return x_recon.clamp_(-1.0, 1.0)
