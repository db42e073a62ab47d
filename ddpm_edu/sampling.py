"""去噪过程：祖先采样 (ancestral) 的一步与整条链，以及统一入口 sample

链可以走满 T 步，也可以只走其中几步（respacing）；DDIM 的公式见 ddim.py
"""
import contextlib
import functools

import torch

from .checks import check_bool, check_choice, check_float, check_int, fail
from .conditioning import as_condition, checked_condition, null_condition
from .ddim import ddim_step
from .gaussian import extract_into_tensor
from .inputs import check_sample
from .progress import progress_bar
from .randomness import randn
from .schedules import spaced_timesteps


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


def default_steps(sampler, num_timesteps):
    """没有给步数时走几步：ancestral 走满，ddim 至多 50 步"""
    return num_timesteps if sampler == "ancestral" else min(50, num_timesteps)


class Sampling:
    """DDPM 的采样方法；需要 GaussianDiffusion 的公式和 apply_model"""

    def predict_start(self, x, t, clip_denoised=True, *, cond=None, guidance_scale=1.0):
        """网络输出换成 x0_hat；clip_denoised 为真时截到 [-1, 1]（不改网络自己的输出）"""
        model_out = self.guided_output(x, t, cond, guidance_scale)
        x_recon = self.objective.to_x_start(self, x, t, model_out)
        return x_recon.clamp(-1, 1) if clip_denoised else x_recon

    def guided_output(self, x, t, cond, guidance_scale):
        """无分类器引导：ŷ = ŷ_无 + w·(ŷ_有 - ŷ_无)；w=1 时只算一次网络"""
        cond = as_condition(cond, self.conditioning_key, x.shape[0])
        conditional = self.apply_model(x, t, cond)
        if guidance_scale == 1.0:
            return conditional
        unconditional = self.apply_model(x, t, null_condition(cond))
        return unconditional + guidance_scale * (conditional - unconditional)

    def p_mean_variance(self, x, t, clip_denoised, *, cond=None, guidance_scale=1.0):
        """p(x_{t-1} | x_t) 的均值、方差、对数方差：把后验里的 x0 换成 x0_hat

        x    : (B, C, H, W)；t : (B,) int64，0..T-1
        返回 : (mean, variance, log_variance)
        来源 : Ho 2020 式 (11)
        """
        x_recon = self.predict_start(x, t, clip_denoised, cond=cond, guidance_scale=guidance_scale)
        return self.q_posterior(x_recon, x, t)

    @torch.no_grad()
    def p_sample(self, x, t, clip_denoised=True, repeat_noise=False, *,
                 cond=None, guidance_scale=1.0, noise=None, generator=None):
        """去噪一步：x_t → x_{t-1}；t=0 时不再加噪声

        repeat_noise : 为真时整批共用一份噪声
        """
        check_sample("x", x, self.channels)
        check_bool("clip_denoised", clip_denoised)
        x_recon = self.predict_start(x, t, clip_denoised, cond=cond, guidance_scale=guidance_scale)
        if noise is None and repeat_noise:
            noise = randn((1, *x.shape[1:]), x.dtype, x.device, generator).expand_as(x)
        return posterior_step(self, x_recon, x, t, self.like(x, noise, generator))

    def p_sample_loop(self, shape, return_intermediates=False, *, steps=None, v_posterior=None, **kwargs):
        """从 x_T ~ N(0, I) 走完去噪链（祖先采样）

        shape       : (B, C, H, W)
        steps       : 走几步，默认走满 T 步；其余关键字见 denoise_loop
        v_posterior : 只在这一次采样里换用的值
        返回        : 样本；return_intermediates 为真时另给中间结果列表（首项是 x_T）
        """
        timesteps = spaced_timesteps(self.num_timesteps, self.num_timesteps if steps is None else steps)
        whole = len(timesteps) == self.num_timesteps and v_posterior is None
        chain = self if whole else self.respaced(timesteps, v_posterior)

        def step(i, x, t, x_recon, noise):
            return posterior_step(chain, x_recon, x, torch.full_like(t, i), noise())

        return self.denoise_loop(shape, timesteps, step, return_intermediates, **kwargs)

    def ddim_sample_loop(self, shape, return_intermediates=False, *, steps=None, eta=0.0, **kwargs):
        """从 x_T 用 DDIM 走 steps 步到 x_0；steps 默认 min(50, T)，其余同 p_sample_loop"""
        steps = default_steps("ddim", self.num_timesteps) if steps is None else steps
        timesteps = spaced_timesteps(self.num_timesteps, steps)
        cumprod = [1.0, *self.exact_table("alphas_cumprod")[timesteps].tolist()]

        def step(i, x, t, x_recon, noise):
            # 截断 x0_hat 之后，ε_hat 要跟着重算，两者才对应同一个 x_t
            eps = self.predict_noise_from_start(x, t, x_recon)
            return ddim_step(x_recon, eps, cumprod[i + 1], cumprod[i], eta, noise() if eta else 0.0)

        return self.denoise_loop(shape, timesteps, step, return_intermediates, **kwargs)

    @torch.no_grad()
    def denoise_loop(self, shape, timesteps, step, return_intermediates=False, *,
                     cond=None, guidance_scale=1.0, x_T=None, generator=None, progress=None, callback=None):
        """两种采样共用的循环：从 timesteps 的最后一步走到第一步，途中是 eval 模式

        step     : step(i, x, t, x_recon, noise) → 下一个 x；noise() 抽一份新噪声
        callback : 每步调用 callback(t, x_t, x_recon)，画轨迹用
        """
        x = self.starting_noise(shape, x_T, generator)
        keep_every = max(1, self.log_every_t * len(timesteps) // self.num_timesteps)
        intermediates = [x]
        draw_noise = functools.partial(randn, x.shape, x.dtype, x.device, generator)
        with evaluating(self):
            for i in progress_bar(range(len(timesteps) - 1, -1, -1), progress, "采样"):
                t = torch.full((shape[0],), int(timesteps[i]), device=x.device)
                x_recon = self.predict_start(x, t, self.clip_denoised,
                                             cond=cond, guidance_scale=guidance_scale)
                if callback is not None:
                    callback(int(timesteps[i]), x, x_recon)
                x = step(i, x, t, x_recon, draw_noise)
                if i % keep_every == 0 or i == len(timesteps) - 1:
                    intermediates.append(x)
        return (x, intermediates) if return_intermediates else x

    def starting_noise(self, shape, x_T, generator):
        """x_T：给了就核对形状，没给就抽 N(0, I)"""
        if not isinstance(shape, (tuple, list)) or len(shape) != 4 or shape[1] != self.channels:
            fail("shape", f" (B, {self.channels}, H, W)", shape)
        for size in shape:
            check_int("shape", size, 1)
        if x_T is None:
            return randn(tuple(shape), self.network_dtype, self.betas.device, generator)
        check_sample("x_T", x_T, self.channels)
        if x_T.shape != torch.Size(shape):
            fail("x_T 的形状", f" {tuple(shape)}", tuple(x_T.shape))
        return x_T.to(self.betas.device)

    @torch.no_grad()
    def sample(self, batch_size=16, return_intermediates=False, *,
               sampler="ancestral", steps=None, eta=0.0, v_posterior=None,
               cond=None, guidance_scale=1.0, x_T=None, generator=None, progress=None, callback=None):
        """生成图像

        batch_size     : ≥ 1
        sampler        : ancestral（方差由 v_posterior 定）或 ddim（随机性由 eta 定）
        steps          : 走几步；默认 ancestral 走满 T 步，ddim 走 min(50, T) 步
        v_posterior    : 只在这一次祖先采样里换用的值
        cond           : 条件；guidance_scale 为无分类器引导的强度，1 为不引导
        返回           : (batch_size, channels, image_size, image_size)，约定 [-1, 1]
        """
        check_int("batch_size", batch_size, 1)
        check_bool("return_intermediates", return_intermediates)
        check_choice("sampler", sampler, ("ancestral", "ddim"))
        check_float("guidance_scale", guidance_scale, 0)
        check_float("eta", eta, 0, 1)
        if sampler == "ancestral" and eta:
            fail("eta", " 0（它只对 ddim 有意义）", eta, "祖先采样的随机性由 v_posterior 决定")
        if sampler == "ddim" and v_posterior is not None:
            fail("v_posterior", " None（它只对 ancestral 有意义）", v_posterior, "ddim 的随机性由 eta 决定")
        if self.conditioning_key is None and guidance_scale != 1.0:
            fail("guidance_scale", " 1.0（无条件模型没有可引导的条件）", guidance_scale)
        cond = checked_condition(self, cond, batch_size)
        shape = (batch_size, self.channels, self.image_size, self.image_size)
        shared = dict(steps=steps, cond=cond, guidance_scale=guidance_scale, x_T=x_T,
                      generator=generator, progress=progress, callback=callback)
        if sampler == "ddim":
            return self.ddim_sample_loop(shape, return_intermediates, eta=eta, **shared)
        return self.p_sample_loop(shape, return_intermediates, v_posterior=v_posterior, **shared)


def posterior_step(chain, x_recon, x, t, noise):
    """x_{t-1} = 后验均值 + σ_t·noise；t=0 的样本不加噪声"""
    mean, _, log_variance = chain.q_posterior(x_recon, x, t)
    keep_noise = extract_into_tensor(
        (torch.arange(chain.num_timesteps, device=t.device) > 0).to(mean.dtype), t, x.shape)
    return (mean + keep_noise * (0.5 * log_variance).exp() * noise).to(x.dtype)
