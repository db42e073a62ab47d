"""成批地生成：一根进度条走到底，同一个种子给出同样的图，要看过程就留下若干帧"""
import contextlib
import itertools

import torch

from .checks import check_bool, check_choice, check_int
from .conditioning import checked_condition, slice_condition
from .gaussian import sides
from .progress import progress_bar
from .randomness import randn
from .sampling import SAMPLERS, default_steps


def generate(model, num, *, batch_size=64, seed=0, cond=None, use_ema=True, num_frames=0,
             progress=None, sampler="ddim", steps=None, **kwargs):
    """分批采样 num 张

    seed       : 起点一次抽完，所以 eta=0 的 ddim 与 batch_size 无关；掺噪声的采样还取决于怎样分批
    cond       : 同 sample，第一维是 num
    num_frames : 途中留几帧 x_t；0 不留
    kwargs     : 交给 sample，如 eta、v_posterior、guidance_scale
    返回       : (images, frames)；images 为 (num, C, H, W)，潜空间的模型已经解码
                 frames 是同样形状的列表，末帧就是 images；都在 CPU 上
    """
    check_int("num", num, 1)
    check_int("batch_size", batch_size, 1)
    check_int("num_frames", num_frames, 0)
    check_bool("use_ema", use_ema)
    check_choice("sampler", sampler, tuple(SAMPLERS))
    generator = torch.Generator().manual_seed(check_int("seed", seed, 0, 2**63 - 1))
    device, T = model.betas.device, model.num_timesteps
    shape = (num, model.channels, *sides(model.image_size))
    start = randn(shape, model.network_dtype, generator=generator)
    cond = checked_condition(model, cond, num)
    steps = default_steps(sampler, T) if steps is None else check_int("steps", steps, 1, T)
    kept = set(torch.linspace(0, steps - 1, min(num_frames, steps)).round().int().tolist())
    parts = [slice(first, min(first + batch_size, num)) for first in range(0, num, batch_size)]
    bar = progress_bar(range(steps * len(parts)), progress, "采样")

    def film(part):
        """采一批，返回留下的几帧与最后的图"""
        frames, count = [], itertools.count()

        def watch(t, x, x_recon):
            bar.update()
            if next(count) in kept:
                frames.append(model.decode_first_stage(x).cpu())

        x = model.sample(part.stop - part.start, cond=slice_condition(cond, part, device),
                         x_T=start[part], generator=generator, progress=False, callback=watch,
                         sampler=sampler, steps=steps, **kwargs)
        return [*frames, x.cpu()]

    with bar, model.ema_scope() if use_ema else contextlib.nullcontext():
        frames = [torch.cat(batches) for batches in zip(*map(film, parts))]
    return frames[-1], frames if num_frames else []
