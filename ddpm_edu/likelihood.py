"""变分下界与 bits/dim：模型给一张图的编码长度"""
import math

import numpy as np
import torch

from .checks import check_choice, check_int
from .conditioning import as_condition
from .gaussian import diffusion_tables
from .progress import progress_bar
from .randomness import randn_like
from .sampling import evaluating


def kl_constants(betas, v_posterior=0.0):
    """KL_t 里与网络无关的部分 ½[ln(σ²/β_tilde) + β_tilde/σ² - 1]；第 0 步没有这一项，记 0

    返回 : (T,) float64 数组，单位 nats/dim；v_posterior=0 时处处为 0
    """
    tables = diffusion_tables(betas, 0.0)
    beta_tilde = np.exp(tables["posterior_log_variance_clipped"])
    ratio = ((1 - v_posterior) * beta_tilde + v_posterior * betas) / beta_tilde
    constants = 0.5 * (np.log(ratio) + 1 / ratio - 1)
    constants[0] = 0.0
    return constants


def exact(x):
    """CPU 上的 float64：Apple 的 GPU（MPS）没有 float64"""
    return x.cpu().double()


def prior_kl(diffusion, x_start):
    """L_T：q(x_T|x_0) 与 N(0, I) 的 KL，(B,)，单位 nats/dim"""
    cumprod = float(diffusion.exact_table("alphas_cumprod")[-1])
    kl = 0.5 * (cumprod * exact(x_start) ** 2 - cumprod - math.log1p(-cumprod))
    return kl.flatten(1).mean(1)


def discretized_gaussian_nll(x, mean, log_variance, levels=256):
    """L_0：像素落在自己那一格里的负对数概率，两端的格子开到无穷

    x, mean      : 同形状，x 取 [-1, 1] 上等距的 levels 个值；log_variance：浮点数
    返回          : 与 x 同形状，单位 nats；levels 格的概率之和为 1
    来源          : Ho 2020 式 (13)，那里 levels=256
    """
    sigma, half = math.exp(0.5 * log_variance), 1 / (levels - 1)
    upper = torch.where(x > 1 - half, torch.inf, (x - mean + half) / sigma)
    lower = torch.where(x < half - 1, -torch.inf, (x - mean - half) / sigma)
    # 右尾相减会丢光有效数字，翻到左尾再减
    flip = lower > 0
    upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    log_upper, log_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
    return -(log_upper + torch.log(-torch.expm1((log_lower - log_upper).clamp(max=-1e-300))))


def gaussian_nll(x, mean, log_variance, levels=None):
    """连续数据的 L_0：高斯密度的负对数，单位 nats；连续数据没有 levels"""
    return 0.5 * (math.log(2 * math.pi) + log_variance + (x - mean) ** 2 * math.exp(-log_variance))


@torch.no_grad()
def vlb_terms(model, x_start, *, decoder="discrete", levels=256,
              cond=None, generator=None, progress=None):
    """变分下界的每一项：[L_0, L_1, ..., L_{T-1}, L_T]，(B, T+1) float64，在 CPU 上，单位 nats/dim

    x_start : (B, C, H, W)，[-1, 1]；x_t 各抽一次，所以是无偏估计
    decoder : discrete（levels 级像素；8 位图 256 级，digits 是 17 级）或 gaussian（连续数据）
    来源    : Ho 2020 式 (5)
    """
    check_choice("decoder", decoder, ("discrete", "gaussian"))
    check_int("levels", levels, 2)
    cond = as_condition(cond, model.conditioning_key, len(x_start))
    constants = kl_constants(model.exact_table("betas").numpy(), model.v_posterior)
    coef1 = model.exact_table("posterior_mean_coef1")
    log_variance = model.exact_table("posterior_log_variance_clipped")
    nll = discretized_gaussian_nll if decoder == "discrete" else gaussian_nll
    data, terms = exact(x_start), []
    with evaluating(model):
        for t in progress_bar(range(model.num_timesteps), progress, "bits/dim"):
            steps = torch.full((len(x_start),), t, device=x_start.device)
            noise = randn_like(x_start, generator)
            x_t = model.q_sample(x_start, steps, noise)
            x_recon = model.predict_start(x_t, steps, model.clip_denoised, cond=cond)
            if t == 0:
                # 第 0 步的后验均值就是 x0_hat（c1=1, c2=0）
                term = nll(data, exact(x_recon), float(log_variance[0]), levels)
            else:
                weight = float(coef1[t] ** 2 / (2 * log_variance[t].exp()))
                term = constants[t] + weight * (data - exact(x_recon)) ** 2
            terms.append(term.flatten(1).mean(1))
    return torch.stack([*terms, prior_kl(model, x_start)], dim=1)


def bits_per_dim(model, x_start, **kwargs):
    """整条下界，单位 bits/dim，(B,)；越小越好。参数同 vlb_terms"""
    return vlb_terms(model, x_start, **kwargs).sum(1) / math.log(2)
