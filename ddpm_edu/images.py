"""把张量变成能看的图：拼格子、存 PNG、log_images"""
import io
from pathlib import Path

import torch

from .checks import check_int, fail
from .files.checkpoint import atomic_file
from .randomness import isolated_rng
from .sampling import spaced_timesteps


def viewable(images):
    """(N, C, H, W) → 看得见的 (N, 1 或 3, H, W')：1 个通道是灰度，3 个是彩色，别的数目各画成灰度、从左到右并排"""
    count, channels, height, width = images.shape
    return images if channels in (1, 3) else images.transpose(1, 2).reshape(count, 1, height, channels * width)


def make_grid(images, nrow=8, padding=1, scale=1, gap=-1.0):
    """(N, C, H, W) 或 N 张同样大小的 (C, H, W)，[-1, 1] → (1 或 3, H', W')，每行 nrow 张

    gap 是缝隙的值，默认为黑；scale 是整数放大倍数；通道的画法见 viewable
    """
    images = torch.stack(images) if isinstance(images, (list, tuple)) and images else images
    if images.ndim != 4 or len(images) == 0:
        fail("images", "非空的 (N, C, H, W) 张量", tuple(images.shape))
    images = viewable(images).detach().float().cpu().clamp(-1, 1)
    images = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    count, channels, height, width = images.shape
    columns = min(check_int("nrow", nrow, 1), count)
    rows = -(-count // columns)
    grid = torch.full((channels, rows * (height + padding) + padding, columns * (width + padding) + padding), float(gap))
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + padding) + padding, (i % columns) * (width + padding) + padding
        grid[:, top:top + height, left:left + width] = image
    return grid


def to_uint8(images):
    """[-1, 1] 的浮点 → 0..255 的 uint8，形状不变；超出的先截断"""
    return ((images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_pil(image):
    """(C, H, W)，[-1, 1] → PIL 图像；通道的画法见 viewable"""
    from PIL import Image

    if image.ndim != 3 or 0 in image.shape:
        fail("image", "非空的 (C, H, W) 张量", tuple(image.shape))
    pixels = to_uint8(viewable(image[None])[0])
    return Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy())


def save_grid(images, path, nrow=8, scale=1):
    """拼成格子存为 PNG，目录不存在时会建；返回路径"""
    return write_image(to_pil(make_grid(images, nrow, scale=scale)), path)


def save_gif(frames, path, nrow=8, scale=1, frame_ms=80):
    """一串 (N, C, H, W) 存成循环播放的 GIF，末帧多停一秒；返回路径"""
    if len(frames) < 2:
        fail("frames", "至少两帧", len(frames))
    first, *rest = (to_pil(make_grid(frame, nrow, scale=scale)) for frame in frames)
    durations = [check_int("frame_ms", frame_ms, 20)] * len(rest) + [frame_ms + 1000]
    return write_image(first, path, save_all=True, append_images=rest, duration=durations, loop=0)


def write_image(image, path, **options):
    """PIL 图像按后缀写成文件，返回路径；先在内存里编码，磁盘满了也不会留下半张"""
    from PIL import Image

    path, kinds = Path(path), Image.registered_extensions()
    if path.suffix.lower() not in kinds:
        fail("path", "以图片的后缀（如 .png）结尾的文件名", str(path))
    buffer = io.BytesIO()
    image.save(buffer, kinds[path.suffix.lower()], **options)
    with atomic_file(path) as file:
        file.write(buffer.getbuffer())
    return path


LOG_KEYS = ("inputs", "diffusion_row", "samples", "denoise_row")


def log_images(model, batch, N, n_row, sample, return_keys, **kwargs):
    """DDPM.log_images 的实现；随机数固定，每次调用同一份噪声，前后的图才可比"""
    if unknown := set(return_keys or ()) - set(LOG_KEYS):
        fail("return_keys", f"取自 {list(LOG_KEYS)}", sorted(unknown))
    x = model.get_input(batch, model.first_stage_key)
    N, n_row = min(check_int("N", N, 1), len(x)), min(check_int("n_row", n_row, 1), len(x))
    x = x[:N]
    with isolated_rng(model.seed, "log_images", device=x.device):
        log, intermediates = {"inputs": model.decode_first_stage(x)}, None
        if sample:
            cond = kwargs.pop("cond", None)
            if cond is None and (cond := model.get_condition(batch)) is not None:
                cond = {name: value[:N] for name, value in cond.items()}
            kwargs.setdefault("steps", min(50, model.num_timesteps))
            with model.ema_scope():
                samples, intermediates = model.sample(N, return_intermediates=True, cond=cond, **kwargs)
            log["samples"] = samples.clamp(-1, 1)
            log["denoise_row"] = rows_grid(intermediates, n_row)
        columns = (len(intermediates) if intermediates
                   else 1 + -(-model.num_timesteps // model.log_every_t))
        log["diffusion_row"] = rows_grid(diffusion_row(model, x[:n_row], columns), n_row)
    return {key: log[key] for key in return_keys or log if key in log}


def diffusion_row(model, x, columns):
    """原图和逐步变糊的 columns - 1 张，噪声是同一份"""
    noise, decode = torch.randn_like(x), model.decode_first_stage
    steps = spaced_timesteps(model.num_timesteps, min(columns - 1, model.num_timesteps))
    return [decode(x), *(decode(model.q_sample(x, torch.full((len(x),), int(t), device=x.device), noise)) for t in steps)]


def rows_grid(frames, n_row):
    """[(N, C, H, W), ...] → 一张图 (C, H', W')：一行一个样本，一列一帧"""
    frames = torch.stack([frame[:n_row] for frame in frames], dim=1)
    return make_grid(frames.flatten(0, 1), nrow=frames.shape[1])
