"""病例 1–10：公式"""
import numpy as np
import torch


def make_betas(timesteps):
    """噪声表，linear：√β 从 √1e-4 均匀地走到 √2e-2，步数任选"""
    return np.linspace(1e-4**0.5, 2e-2**0.5, timesteps) ** 2


def noise_variance(alphas_cumprod, t):
    """第 t 步 x_t 里噪声的方差；alphas_cumprod 是 (T,) 的 float32 缓冲区"""
    return 1.0 - alphas_cumprod[t]


def x0_weights(betas):
    """目标是 x0 时，变分下界里平方误差的权重（v_posterior=0），(T,)"""
    bar = np.cumprod(1 - betas)
    return 0.5 * np.sqrt(bar) / (2.0 - bar)


def is_usable(weights):
    """权重表能用时为真：里面没有 NaN，也没有无穷"""
    return not bool(torch.isnan(weights).all())


def two_losses(pred, target, weight, loss_type="l2"):
    """(简化损失, VLB 损失)；weight 是 (B,) 的 VLB 权重"""
    gap = pred - target
    errors = gap.abs() if loss_type == "l1" else gap.square()
    per_sample = errors.flatten(1).mean(1)
    return per_sample.mean(), (weight * per_sample).mean()


def log_variances(betas):
    """后验方差的对数，(T,)；第 0 步方差是 0，先截断再取对数"""
    bar = np.cumprod(1 - betas)
    previous = np.append(1.0, bar[:-1])
    variance = betas * (1 - previous) / (1 - bar)
    return np.log(np.maximum(variance, 1e-20))


def sampling_variances(betas, v_posterior=0.0):
    """采样方差：v_posterior=0 是后验的方差，=1 是 β，之间线性混合"""
    bar = np.cumprod(1 - betas)
    previous = np.append(1.0, bar[:-1])
    variance = betas * (1 - previous) / (1 - bar)
    return (1 - v_posterior) * variance + v_posterior * betas


def training_target(parameterization, x_start, noise, bar):
    """训练的目标；bar 是这一步的 ᾱ"""
    targets = {"eps": noise, "x0": x_start, "v": bar**0.5 * noise - (1 - bar) ** 0.5 * x_start}
    return targets[parameterization]


def predict_start(parameterization, model_out, x_t, bar):
    """网络的输出换算成 x0；bar 是这一步的 ᾱ"""
    if parameterization == "eps":
        x_recon = (x_t - (1 - bar) ** 0.5 * model_out) / bar**0.5
    elif parameterization == "x0":
        x_recon = model_out
    return x_recon


def clip_start(x_recon):
    """把猜出的 x0 截到 [-1, 1]"""
    return x_recon.clamp_(-1.0, 1.0)


def per_sample_loss(pred, target):
    """每个样本自己的平均误差，(B,)"""
    return (pred - target).square().mean(dim=[1, 2, 3])
