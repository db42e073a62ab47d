"""修补：用无条件的模型补全残缺的图，不必另外训练"""
import torch

from .checks import check_int, fail
from .inputs import check_sample
from .randomness import randn
from .sampling import posterior_step
from .schedules import spaced_timesteps


@torch.no_grad()
def inpaint(model, known, mask, *, steps=100, repeats=1, generator=None, progress=None):
    """补全 mask 为 0 的地方，mask 为 1 的地方保持 known

    known   : (B, C, H, W)，[-1, 1]；mask 处为 0 的像素不看
    mask    : (B, 1, H, W) 或 (1, 1, H, W)，只有 0 与 1
    steps   : 走几步，1..T；repeats：每走一步退回去重走几遍，≥ 1，多几遍接缝更自然
    返回    : (B, C, H, W)，已知的像素与 known 相同
    来源    : Lugmayr 2022 (RePaint)
    """
    check_sample("known", known, model.channels, model.image_size)
    check_int("repeats", repeats, 1)
    if not isinstance(mask, torch.Tensor) or mask.ndim != 4 or not ((mask == 0) | (mask == 1)).all():
        fail("mask", f"只含 0 与 1 的张量，形状能广播到 {tuple(known.shape)}",
             getattr(mask, "shape", mask))
    known, mask = known.to(model.betas.device), mask.to(model.betas.device).bool()
    timesteps = spaced_timesteps(model.num_timesteps, steps)
    chain = model.respaced(timesteps)

    def at_noise_level(i):
        """已知的图，加噪到短链的第 i 步；i = -1 就是原图"""
        if i < 0:
            return known
        return chain.q_sample(known, torch.full((len(known),), i, device=known.device), noise())

    def noise():
        return randn(known.shape, known.dtype, known.device, generator)

    def step(i, x, t, x_recon, _):
        for repeat in range(repeats):
            t_short = torch.full_like(t, i)
            lower = posterior_step(chain, x_recon, x, t_short, noise())
            lower = torch.where(mask, at_noise_level(i - 1), lower)
            if repeat == repeats - 1 or i == 0:
                return lower
            # 退回一步：重新加噪，再猜一次
            beta = chain.betas[i]
            x = (1 - beta).sqrt() * lower + beta.sqrt() * noise()
            x_recon = model.predict_start(x, t, model.clip_denoised)

    return model.denoise_loop(known.shape, timesteps, step, generator=generator, progress=progress)
