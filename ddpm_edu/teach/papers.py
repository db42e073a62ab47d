"""第 19 章：把几篇论文的图在随课程的小模型上重画，要量的几样

量好的数存在 pretrained/papers.json，由 python -m benchmarks.papers 写
"""
import functools
import json
import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from ..likelihood import vlb_terms
from ..pretrained import HERE
from ..randomness import randn_like
from ..sampling import ancestral_step, ddim_step


@functools.cache
def measured():
    """量好的数：{名字: {量: {"mean", "se", "each"}}}，each 是各个种子的，按种子排"""
    return json.loads((HERE / "papers.json").read_text(encoding="utf-8"))["rows"]


def said(one, digits=1):
    """{"mean", "se"} → 平均 ± 标准误"""
    return f"{one['mean']:.{digits}f} ± {one['se']:.{digits}f}"


SETTLED = 0.2  # 没有定的少于两成，就算定了

# 论文里的数
DDPM_TABLE_4 = ([1.77581, 0.11994, 0.05415, 0.02866, 0.01507, 0.00716, 0.00282, 0.00081, 0.00013, 0.0],  # 已付
                [0.95136, 12.02277, 18.47482, 24.43656, 30.80948, 38.03236, 46.12765, 54.18826, 60.97170, 67.60125])  # 误差
DDIM_TABLE_1 = ((10, 20, 50, 100, 1000), {r"$\eta=0$": [13.36, 6.84, 4.67, 4.16, 4.04], r"$\eta=1$": [41.07, 18.36, 8.01, 5.78, 4.73],
                                          r"$\hat\sigma$": [367.43, 133.37, 32.72, 9.99, 3.17]})
GUIDANCE_TABLES = ((1, 1.1, 1.2, 1.3, 1.4, 1.5), {"表 1，64×64": [1.8, 1.55, 2.04, 3.03, 4.3, 5.74], "表 2，128×128": [7.27, 4.53, 3.03, 2.43, 2.49, 2.98]})

T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}  # {种子数: t 分布的双侧 95% 分位数，自由度少一}


def gap(large, small):
    """两种做法在同样的几个种子上的数，逐个相减：{"mean", "se", "margin"}；margin 是 95% 区间的一半，平均越过它才算看得出"""
    change = np.subtract(large, small)
    se = float(change.std(ddof=1) / len(change) ** 0.5)
    return {"mean": float(change.mean()), "se": se, "margin": T95[len(change)] * se}


def verdict(one):
    """gap 的结果 → “甲比乙大”这条结论的判语：95% 区间全在零以上是成立，全在零以下是不成立，碰到零是看不出"""
    if one["mean"] > one["margin"]:
        return "成立"
    return "不成立" if one["mean"] < -one["margin"] else "看不出"


def stops(cumprod, steps, first=None):
    """从第 first 步（默认末一步）到第 0 步均匀地停 steps 次，各处的 ᾱ，由小到大"""
    first = len(cumprod) - 1 if first is None else first
    return [float(bar) for bar in cumprod[np.linspace(first, 0, steps).round().astype(int)]]


@torch.no_grad()
def walk(model, x, levels, step=ddim_step, cond=None, clip=True, generator=None):
    """沿 levels 里的各个 ᾱ 走，x 在 levels[0] 处；返回末了的 x

    levels : 递增是去噪，递减是加噪；末项是 1 就走到 x_0
    step   : 采样器，step(ᾱ_t, ᾱ_s) → (a, b, σ)；网络只认步号，所以取它的噪声表里 ᾱ 最近的那一步
    """
    table = model.exact_table("alphas_cumprod")
    for here, there in pairwise(levels):
        t = torch.full((len(x),), int((table - here).abs().argmin()))
        a, b, sigma = step(here, there)
        x = a * model.predict_start(x, t, clip, cond=cond) + b * x
        x = x + sigma * randn_like(x, generator) if sigma else x
    return x


def turn(cumprod_t, cumprod_s):
    """η = 0 的 DDIM：两头都去得"""
    b = ((1 - cumprod_s) / (1 - cumprod_t)) ** 0.5
    return cumprod_s**0.5 - b * cumprod_t**0.5, b, 0.0


def round_trip(model, images, steps, cond=None):
    """DDIM 倒着走到噪声，再走回来：还原的均方误差，像素换算到 [0, 1]，一张图一个数（DDIM 表 2）"""
    levels = stops(model.exact_table("alphas_cumprod").numpy(), steps + 1)
    noise = walk(model, images, levels[::-1], turn, cond, clip=False)
    back = walk(model, noise, levels, turn, cond, clip=False)
    return (back - images).square().flatten(1).mean(1) / 4


def skipped(model, noise, cumprod, steps, share, generator=None):
    """把纯噪声当作 share 处的带噪图，从那里走起：去噪过程的头 share 略过（Improved DDPM 图 4）"""
    first = round((1 - share) * len(cumprod)) - 1
    return walk(model, noise, [*stops(cumprod, round((1 - share) * steps), first), 1.0])


def completions(model, images, t, count, cond=None, generator=None, steps=50):
    """每张图加噪到第 t 步，从同一个 x_t 各走 count 次祖先采样：(N, count, C, H, W)（DDPM 图 7）"""
    x_t = model.q_sample(images, torch.full((len(images),), t), generator=generator)
    levels = [*stops(model.exact_table("alphas_cumprod").numpy(), max(2, round(steps * (t + 1) / model.num_timesteps)), t), 1.0]
    many = walk(model, x_t.repeat_interleave(count, 0), levels, ancestral_step, cond, generator=generator)
    return many.unflatten(0, (len(images), count))


def spread_within(groups):
    """同一组里两两相差的均方根，各组平均：(N, count, C, H, W) → 浮点数"""
    return float(groups.var(1).mul(2).mean().sqrt())


def guesses(model, count, steps, cond=None, generator=None):
    """祖先采样途中每一步的 x0_hat：(样本, [(t, x0_hat), ...])（DDPM 图 6）"""
    seen = []
    images = model.sample(count, steps=steps, cond=cond, generator=generator, progress=False,
                          callback=lambda t, x_t, x_recon: seen.append((t, x_recon)))
    return images, seen


def unsettled(guess, images, block):
    """还有几成没有定下来：(粗处, 细处)；粗处是 block×block 一块的平均，细处是减去它余下的

    1 是只知道全体的平均，0 是与最后的图一样
    """
    shares = []
    for part in (coarse, lambda x, block: x - F.interpolate(coarse(x, block), scale_factor=block)):
        found, final = part(guess, block), part(images, block)
        shares.append(float((found - final).square().mean() / (final - final.mean(0)).square().mean()))
    return tuple(shares)


def coarse(x, block):
    return F.avg_pool2d(x, block)


def rate_distortion(model, images, cond=None, levels=256, generator=None):
    """一步一步地收：收到 x_t 时已付的比特（每维），与这时的 x0_hat 离原图多远（均方根，像素 0..255）（DDPM 图 5）

    返回 : 两个 (T,) 的张量，第 t 项是收到 x_t 时；第 0 项之后还要付 L_0；第 0 项的误差没有量，记 NaN
           另有每维一共几个比特
    """
    terms = vlb_terms(model, images, levels=levels, cond=cond, generator=generator, progress=False).mean(0)
    paid = terms.flip(0).cumsum(0).flip(0)[1:] / math.log(2)  # 第 t 项：L_T 与 t+1..T-1 各步
    coef1, log_variance = model.exact_table("posterior_mean_coef1"), model.exact_table("posterior_log_variance_clipped")
    squared = terms[1:-1] / (coef1**2 / (2 * log_variance.exp()))[1:]
    error = torch.cat([torch.full((1,), math.nan), squared.sqrt() * 127.5])
    return paid, error, float(terms.sum() / math.log(2))
