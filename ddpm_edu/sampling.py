"""去噪过程：从 x_T 一步一步走到 x_0

每一步都是 x_s = a·x0_hat + b·x_t + σ·z：网络猜 x0_hat，采样器只决定 a、b、σ 这三个数
二阶的采样器另把走到的 x_s 改得更准，见 solvers.py
"""
import contextlib
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from .checks import check_bool, check_choice, check_float, check_int, fail
from .conditioning import Condition, as_condition, checked_condition, null_condition
from .gaussian import GaussianDiffusion, check_sample, sides
from .progress import progress_bar
from .randomness import randn, randn_like
from .solvers import dpmpp, heun


def ancestral_step(cumprod_t, cumprod_s, v_posterior=0.0):
    """祖先采样的 (a, b, σ)：照后验 q(x_s | x_t, x₀) 走，σ² = (1-v)·β_tilde + v·β，走到 x₀ 时不加噪声

    cumprod_t, cumprod_s : ᾱ_t 与 ᾱ_s；s 不必是 t - 1，走到 x₀ 时 ᾱ_s = 1
    来源 : Ho 2020 式 (6)(7)；Nichol & Dhariwal 2021 第 4 节
    """
    beta = 1 - cumprod_t / cumprod_s
    a = cumprod_s**0.5 * beta / (1 - cumprod_t)
    b = (1 - beta) ** 0.5 * (1 - cumprod_s) / (1 - cumprod_t)
    variance = (1 - v_posterior) * beta * (1 - cumprod_s) / (1 - cumprod_t) + v_posterior * beta
    return a, b, variance**0.5 if cumprod_s < 1 else 0.0


def ddim_step(cumprod_t, cumprod_s, eta=0.0):
    """DDIM 的 (a, b, σ)：eta=0 是确定的，eta=1 与 v_posterior=0 的祖先采样同分布

    来源 : Song 2021 式 (12)(16)，其中的 ε_hat 换成了 (x_t - √ᾱ_t·x0_hat) / √(1-ᾱ_t)
    """
    sigma = eta * ((1 - cumprod_s) / (1 - cumprod_t) * (1 - cumprod_t / cumprod_s)) ** 0.5
    b = (max(1 - cumprod_s - sigma**2, 0.0) / (1 - cumprod_t)) ** 0.5
    return cumprod_s**0.5 - b * cumprod_t**0.5, b, sigma


class Sampler(NamedTuple):
    """step(ᾱ_t, ᾱ_s, 旋钮) → (a, b, σ)；knob：旋钮叫什么，None 是没有

    steps   : 不给步数时至多走几步，None 是走满
    correct : 怎样把走到的 x_s 改得更准，写法见 solvers.py；None 是不改
    spacing : 没有指明时，步怎样取
    """

    step: Callable
    knob: str | None
    steps: int | None
    correct: Callable | None = None
    spacing: str = "linspace"


SAMPLERS = {
    "ancestral": Sampler(ancestral_step, "v_posterior", None),
    "ddim": Sampler(ddim_step, "eta", 50),
    "heun": Sampler(ddim_step, None, 25, heun, "trailing"),
    "dpmpp": Sampler(ddim_step, None, 20, dpmpp, "trailing"),
}


SPACINGS = ("linspace", "trailing")


def default_steps(sampler, num_timesteps):
    """没有给步数时走几步"""
    return min(SAMPLERS[sampler].steps or num_timesteps, num_timesteps)


def check_knobs(sampler, guidance_scale, **knobs):
    """采样的几个旋钮须在范围内，别的采样器的旋钮不许给；返回自己的那一个，没有给时是 None"""
    check_choice("sampler", sampler, tuple(SAMPLERS))
    check_float("guidance_scale", guidance_scale, 0)
    own = SAMPLERS[sampler].knob
    for name, value in knobs.items():
        # eta=0 是 sample 的默认值，看不出是不是用户写的
        if value is None or (name, value) == ("eta", 0):
            continue
        check_float(name, value, 0, 1)
        if name != own:
            why = f"的随机性由 {own} 决定" if own else "不加噪声，没有随机性"
            fail(name, f"不给（{sampler} {why}）", value)
    return knobs.get(own)


def spaced_timesteps(n_timestep, steps, spacing="linspace"):
    """从 0..T-1 里均匀取 steps 步，总含最后一步 T-1；升序 int64 数组

    spacing : linspace（也含第 0 步）或 trailing（从 T-1 起，每 T/steps 步取一个，到不了第 0 步）
    异常    : steps 不在 1..T 时 ValueError
    来源    : 两种取法的名字与比较见 Lin 2024 (Common Diffusion Noise Schedules and Sample Steps are Flawed) 表 2
    """
    check_int("steps", steps, 1, n_timestep, "采样步数不能多于训练时的 timesteps")
    if spacing == "linspace" and steps > 1:
        return np.round(np.linspace(0, n_timestep - 1, steps)).astype(np.int64)
    check_choice("spacing", spacing, SPACINGS)
    return np.round(np.linspace(n_timestep / steps, n_timestep, steps)).astype(np.int64) - 1


@contextlib.contextmanager
def evaluating(module):
    """范围内是 eval 模式（关掉 dropout），离开时逐个子模块恢复原状"""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for submodule, mode in modes:
            submodule.training = mode


class Sampling(GaussianDiffusion):
    """高斯扩散加上去噪：sample → p_sample_loop → p_sample → p_mean_variance → predict_start；网络由子类给出"""

    channels: int
    image_size: int | tuple[int, int]
    log_every_t: int  # 单位：扩散步
    clip_denoised: bool
    conditioning_key: str | None
    network_dtype: torch.dtype

    def apply_model(self, x, t, cond=None):
        """网络的输出，(B, C, H, W)"""
        raise NotImplementedError

    @property
    def pixel_stage(self):
        """谁与图打交道，有图的 channels 与 image_size：潜空间的模型是它的自编码器，别的就是自己"""
        return getattr(self, "first_stage_model", self)

    def decode_first_stage(self, z):
        """走完的样本 → 图；在像素上扩散的，本来就是"""
        return z

    def guided_output(self, x, t, cond=None, guidance_scale=1.0):
        """无分类器引导：ŷ = ŷ_无 + w·(ŷ_有 - ŷ_无)；两份拼成一批，只调用一次网络，w=1 时只要一份"""
        if guidance_scale == 1.0:
            return self.apply_model(x, t, cond)
        cond = as_condition(cond, self.conditioning_key, len(x))
        null = null_condition(cond)
        both = Condition({name: torch.cat([cond[name], null[name]]) for name in cond})
        conditional, unconditional = self.apply_model(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    def predict_start(self, x, t, clip_denoised=True, *, cond=None, guidance_scale=1.0):
        """网络输出换成 x0_hat；clip_denoised 为真时截到 [-1, 1]（不改网络自己的输出）"""
        x_recon = self.objective.to_x_start(self, x, t, self.guided_output(x, t, cond, guidance_scale))
        return x_recon.clamp(-1, 1) if clip_denoised else x_recon

    def p_mean_variance(self, x, t, clip_denoised, *, step=None, return_x0=False,
                        cond=None, guidance_scale=1.0):
        """p(x_s | x_t) 的均值、方差、对数方差：把后验里的 x₀ 换成 x0_hat

        x    : (B, C, H, W)；t : (B,) int64，0..T-1
        step : 采样器的 (a, b, σ)；不给时 s = t - 1，就是 q_posterior
        返回 : (mean, variance, log_variance)，return_x0 为真时末尾添上 x0_hat
        来源 : Ho 2020 式 (11)
        """
        x_recon = self.predict_start(x, t, clip_denoised, cond=cond, guidance_scale=guidance_scale)
        if step is None:
            moments = self.q_posterior(x_recon, x, t)
        else:
            a, b, sigma = step
            moments = a * x_recon + b * x, sigma**2, 2 * math.log(sigma) if sigma else -math.inf
        return (*moments, x_recon) if return_x0 else moments

    @torch.no_grad()
    def p_sample(self, x, t, clip_denoised=True, repeat_noise=False, *, step=None, return_x0=False,
                 cond=None, guidance_scale=1.0, noise=None, generator=None):
        """去噪一步：x_t → x_s；到了 x₀ 就不再加噪声

        step, return_x0 : 同 p_mean_variance；repeat_noise：为真时整批共用一份噪声
        """
        check_sample("x", x, self.channels)
        check_bool("clip_denoised", clip_denoised)
        mean, _, log_variance, x_recon = self.p_mean_variance(
            x, t, clip_denoised, step=step, return_x0=True, cond=cond, guidance_scale=guidance_scale)
        if step is None:
            sigma = (t > 0).reshape(-1, *(1,) * (x.ndim - 1)) * (0.5 * log_variance).exp()
        else:
            sigma = step[2]
        x_s = mean
        # 采样器说 σ = 0 时，噪声抽也不必抽
        if step is None or sigma:
            noise = randn_like(x[:1] if repeat_noise else x, generator) if noise is None else noise
            x_s = mean + sigma * noise
        return (x_s.to(x.dtype), x_recon) if return_x0 else x_s.to(x.dtype)

    @torch.no_grad()
    def p_sample_loop(self, shape, return_intermediates=False, *,
                      sampler="ancestral", steps=None, spacing=None, eta=0.0, v_posterior=None,
                      cond=None, guidance_scale=1.0, x_T=None, generator=None,
                      progress=None, callback=None, edit=None):
        """从 x_T ~ N(0, I) 走到 x_0，途中是 eval 模式

        shape    : (B, C, H, W)；其余参数见 sample
        edit     : edit(x_s, ᾱ_t, ᾱ_s, advance) → x_s，每一步之后改一改，inpaint 用它
                   advance(x_t) 再走一次这一步
        返回     : 样本；return_intermediates 为真时另给中间结果列表（首项是 x_T）
        """
        check_bool("return_intermediates", return_intermediates)
        knob = check_knobs(sampler, guidance_scale, eta=eta, v_posterior=v_posterior)
        if self.conditioning_key is None and guidance_scale != 1.0:
            fail("guidance_scale", " 1.0（无条件模型没有可引导的条件）", guidance_scale)
        knob = self.v_posterior if knob is None else knob
        steps = default_steps(sampler, self.num_timesteps) if steps is None else steps
        spacing = SAMPLERS[sampler].spacing if spacing is None else spacing
        timesteps = spaced_timesteps(self.num_timesteps, steps, spacing)
        cumprod = [1.0, *self.exact_table("alphas_cumprod")[timesteps].tolist()]
        x = self.starting_noise(shape, x_T, generator)
        cond = checked_condition(self, cond, len(x)) or None
        keep_every = max(1, self.log_every_t * len(timesteps) // self.num_timesteps)
        correct, x_recon, intermediates = SAMPLERS[sampler].correct, None, [x]
        with evaluating(self):
            for i in progress_bar(range(len(timesteps) - 1, -1, -1), progress, "采样"):
                t = torch.full((len(x),), int(timesteps[i]), device=x.device)
                step = SAMPLERS[sampler].step(cumprod[i + 1], cumprod[i], knob)
                advance = functools.partial(self.p_sample, t=t, clip_denoised=self.clip_denoised, step=step,
                                            cond=cond, guidance_scale=guidance_scale, generator=generator)
                earlier = x_recon
                x_s, x_recon = advance(x, return_x0=True)
                if callback is not None:
                    callback(int(timesteps[i]), x, x_recon)
                # 最后一步走到的 x_0 就是 x0_hat，没有可改的
                if correct is not None and i > 0:
                    s = torch.full_like(t, int(timesteps[i - 1]))
                    again = functools.partial(self.predict_start, x_s, s, self.clip_denoised,
                                              cond=cond, guidance_scale=guidance_scale)
                    x_s = correct(x, x_s, x_recon, earlier, again, cumprod[i:i + 3])
                x = x_s if edit is None else edit(x_s, cumprod[i + 1], cumprod[i], advance)
                if i % keep_every == 0 or i == len(timesteps) - 1:
                    intermediates.append(x)
        return (x, intermediates) if return_intermediates else x

    def starting_noise(self, shape, x_T, generator):
        """x_T：给了就核对形状，没给就抽 N(0, I)"""
        if (not isinstance(shape, (tuple, list)) or set(map(type, shape)) != {int} or len(shape) != 4
                or min(shape) < 1 or shape[1] != self.channels):
            fail("shape", f"四个正整数 (B, {self.channels}, H, W)", shape)
        if x_T is None:
            return randn(tuple(shape), self.network_dtype, self.betas.device, generator)
        check_sample("x_T", x_T, self.channels)
        if x_T.shape != torch.Size(shape):
            fail("x_T 的形状", f" {tuple(shape)}", tuple(x_T.shape))
        return x_T.to(self.betas.device)

    def sample(self, batch_size=16, return_intermediates=False, *,
               sampler="ancestral", steps=None, spacing=None, eta=0.0, v_posterior=None,
               cond=None, guidance_scale=1.0, x_T=None, generator=None, progress=None, callback=None):
        """生成图像

        batch_size     : ≥ 1
        sampler        : ancestral（方差由 v_posterior 定）、ddim（随机性由 eta 定）
                         heun、dpmpp（二阶，不加噪声）
        steps          : 走几步；默认 ancestral 走满 T 步，ddim、heun、dpmpp 至多 50、25、20 步
        spacing        : 步怎样取，见 spaced_timesteps；默认见 SAMPLERS
        v_posterior    : 只在这一次祖先采样里换用的值
        cond           : 条件；guidance_scale 为无分类器引导的强度，1 为不引导
        x_T            : 起点，不给就抽；callback：每步调用 callback(t, x_t, x0_hat)，画轨迹用
        返回           : (batch_size, channels, 高, 宽)，约定 [-1, 1]
        """
        check_int("batch_size", batch_size, 1)
        shape = (batch_size, self.channels, *sides(self.image_size))
        return self.p_sample_loop(
            shape, return_intermediates, sampler=sampler, steps=steps, spacing=spacing, eta=eta,
            v_posterior=v_posterior, cond=cond, guidance_scale=guidance_scale, x_T=x_T,
            generator=generator, progress=progress, callback=callback)
