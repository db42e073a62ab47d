"""网络预测什么：eps、x0、v 三种目标 (parameterization)

三种目标的一切差别都在这里，别处不再按名字分支
每个目标回答三个问题：训练目标是什么、怎样换回 x0、平方误差的 VLB 权重是 x0 权重的几倍
"""
import numpy as np

from .checks import check_choice, check_float, fail


class EpsObjective:
    """预测噪声 ε（Ho 2020）"""

    def target(self, diffusion, x_start, noise, t):
        return noise

    def to_x_start(self, diffusion, x_t, t, model_out):
        return diffusion.predict_start_from_noise(x_t, t, model_out)

    def weight_over_x0(self, alphas_cumprod):
        # (x0 - x0_hat)² = (ε - ε_hat)² · (1-ᾱ)/ᾱ，即除以信噪比
        return (1 - alphas_cumprod) / alphas_cumprod


class X0Objective:
    """直接预测原图 x0"""

    def target(self, diffusion, x_start, noise, t):
        return x_start

    def to_x_start(self, diffusion, x_t, t, model_out):
        return model_out

    def weight_over_x0(self, alphas_cumprod):
        return 1.0


class VObjective:
    """预测速度 v = √ᾱ ε - √(1-ᾱ) x0（Salimans & Ho 2022）"""

    def target(self, diffusion, x_start, noise, t):
        return diffusion.get_v(x_start, noise, t)

    def to_x_start(self, diffusion, x_t, t, model_out):
        return diffusion.predict_start_from_z_and_v(x_t, t, model_out)

    def weight_over_x0(self, alphas_cumprod):
        # x0 - x0_hat = -√(1-ᾱ) (v - v_hat)
        return 1 - alphas_cumprod


OBJECTIVES = {"eps": EpsObjective, "x0": X0Objective, "v": VObjective}


def make_objective(parameterization):
    """按名字取目标；名字不对时 ValueError"""
    check_choice("parameterization", parameterization, tuple(OBJECTIVES))
    return OBJECTIVES[parameterization]()


def simple_weights(objective, alphas_cumprod, snr_gamma=None):
    """简化损失里每个 t 的权重 (T,)：snr_gamma 为 None 时全是 1；给了就是 min(SNR, γ) 乘在 x0 的误差上

    异常 : snr_gamma 小于 0.001、最后一步 ᾱ = 0（权重也是 0，网络学不到那一步）时 ValueError
    来源 : Hang 2023 (Min-SNR) 式 (8)；换算到网络预测的那种误差，再乘 weight_over_x0
    """
    if snr_gamma is None:
        return np.ones_like(alphas_cumprod)
    check_float("snr_gamma", snr_gamma, 1e-3, advice="文献里取 5")
    if alphas_cumprod[-1] == 0:
        fail("snr_gamma", " None", snr_gamma, "最后一步 ᾱ = 0，min(SNR, γ) 也是 0，网络学不到那一步")
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return np.minimum(snr, snr_gamma) * objective.weight_over_x0(alphas_cumprod)
