"""修补：用训练好的模型补全残缺的图，不必另外训练"""
import torch

from .checks import check_int, fail
from .gaussian import check_sample
from .randomness import randn_like


@torch.no_grad()
def inpaint(model, known, mask, *, steps=None, repeats=1, cond=None, guidance_scale=1.0,
            generator=None, progress=None):
    """补全 mask 为 0 的地方，mask 为 1 的地方保持 known

    known   : (B, C, H, W)，[-1, 1]；mask 处为 0 的像素不看
    mask    : (B, 1, H, W) 或 (1, 1, H, W)，只有 0 与 1
    cond, guidance_scale : 同 sample
    steps   : 走几步，1..T，默认 min(100, T)；repeats：每一步一共走几遍，≥ 1，即退回 repeats - 1 次
    返回    : (B, C, H, W)，已知的像素与 known 相同
    来源    : Lugmayr 2022 (RePaint)
    """
    check_int("repeats", repeats, 1)
    check_sample("known", known, model.channels, model.image_size, finite=False)
    check_mask(mask, known.shape)
    mask = mask.to(model.betas.device).bool()
    known = torch.where(mask, known.to(model.betas.device), 0)
    check_sample("known", known, model.channels, model.image_size)

    def noised(x, keep):
        """√keep·x + √(1-keep)·z；keep = 1 就是 x"""
        return x if keep == 1 else keep**0.5 * x + (1 - keep) ** 0.5 * randn_like(x, generator)

    def paste(x_s, cumprod_t, cumprod_s, advance):
        """已知的像素换成加噪到同一步的原图；repeats > 1 时退回一步，再走一次"""
        x_s = torch.where(mask, noised(known, cumprod_s), x_s)
        for _ in range(repeats - 1 if cumprod_s < 1 else 0):
            x_s = advance(noised(x_s, cumprod_t / cumprod_s))
            x_s = torch.where(mask, noised(known, cumprod_s), x_s)
        return x_s

    steps = min(100, model.num_timesteps) if steps is None else steps
    return model.p_sample_loop(known.shape, steps=steps, edit=paste, cond=cond,
                               guidance_scale=guidance_scale, generator=generator, progress=progress)


def check_mask(mask, shape):
    """mask 须是只含 0 与 1 的四维张量，每一维是 1 或与图相同"""
    rule = f"形状 {(shape[0], 1, *shape[2:])} 的张量（首维可以是 1），只有 0 与 1"
    if not isinstance(mask, torch.Tensor) or mask.ndim != 4 or any(m not in (1, n) for m, n in zip(mask.shape, shape)):
        fail("mask", rule, tuple(mask.shape) if isinstance(mask, torch.Tensor) else mask)
    if not ((mask == 0) | (mask == 1)).all():
        fail("mask", rule, mask.unique().tolist()[:5], "这是它的前几个值；1 是保持，0 是补全")
