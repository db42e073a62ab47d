"""修补：用无条件的模型补全残缺的图，不必另外训练"""
import torch

from .checks import check_int, fail
from .inputs import check_sample
from .randomness import randn
from .sampling import posterior_step
from .schedules import spaced_timesteps


@torch.no_grad()
def inpaint(model, known, mask, *, steps=None, repeats=1, generator=None, progress=None):
    """补全 mask 为 0 的地方，mask 为 1 的地方保持 known

    known   : (B, C, H, W)，[-1, 1]；mask 处为 0 的像素不看
    mask    : (B, 1, H, W) 或 (1, 1, H, W)，只有 0 与 1
    steps   : 走几步，1..T，默认 min(100, T)；repeats：每走一步退回去重走几遍，≥ 1，多几遍接缝更自然
    返回    : (B, C, H, W)，已知的像素与 known 相同
    来源    : Lugmayr 2022 (RePaint)
    """
    check_int("repeats", repeats, 1)
    check_sample("known", known, model.channels, model.image_size, finite=False)
    check_mask(mask, known.shape)
    mask = mask.to(model.betas.device).bool()
    known = torch.where(mask, known.to(model.betas.device), 0)
    check_sample("known", known, model.channels, model.image_size)
    T = model.num_timesteps
    timesteps = spaced_timesteps(T, min(100, T) if steps is None else steps)
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


def check_mask(mask, shape):
    """mask 须是只含 0 与 1 的四维张量，每一维是 1 或与图相同"""
    rule = f"形状 {(shape[0], 1, *shape[2:])} 的张量（首维可以是 1），只有 0 与 1"
    if not isinstance(mask, torch.Tensor) or mask.ndim != 4 or any(m not in (1, n) for m, n in zip(mask.shape, shape)):
        fail("mask", rule, tuple(mask.shape) if isinstance(mask, torch.Tensor) else mask)
    if not ((mask == 0) | (mask == 1)).all():
        fail("mask", rule, mask.unique().tolist()[:5], "这是它的前几个值；1 是保持，0 是补全")
