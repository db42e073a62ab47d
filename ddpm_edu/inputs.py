"""DDPM 的门口：读 batch、核对网络与噪声表是否合用"""
import math
import warnings
from collections.abc import Mapping

import numpy as np
import torch

from .checks import fail
from .schedules import make_beta_schedule, rescale_linear_range
from .wrapper import CONDITIONS

FAINT = 0.1  # √ᾱ_T 不超过它，原图就看不出来了


def read_tensor(batch, key):
    """batch[key]，须是非空的张量"""
    if not isinstance(batch, Mapping):
        fail("batch", '字典，如 {"image": (B, C, H, W) 张量}', type(batch).__name__, error=TypeError)
    if key not in batch:
        fail("batch", f"含键 {key!r} 的字典", sorted(map(str, batch)), "键名由 first_stage_key / cond_key 决定")
    value = batch[key]
    if not isinstance(value, torch.Tensor):
        fail(f"batch[{key!r}]", "张量", type(value).__name__, error=TypeError)
    if value.ndim == 0 or len(value) == 0:
        fail(f"batch[{key!r}]", "至少一个样本", tuple(value.shape))
    return value


def read_image(batch, key, channels, size):
    """图像张量 → (B, C, H, W)；按形状分辨 CHW 与 HWC，分不清就报错"""
    x = read_tensor(batch, key)
    name, chw, hwc = f"batch[{key!r}]", (channels, size, size), (size, size, channels)
    rule = f"形状 (B, {channels}, {size}, {size}) 或 (B, {size}, {size}, {channels}) 的浮点张量，值在 [-1, 1]"
    if not x.is_floating_point():
        fail(name, rule, x.dtype, "整数像素请先换算：x / 127.5 - 1", TypeError)
    if x.ndim != 4 or x.shape[1:] not in (chw, hwc):
        fail(name, rule, tuple(x.shape), "尺寸由 channels 与 image_size 决定")
    if chw == hwc and size > 1:
        fail(name, "能分辨 CHW 与 HWC 的形状", tuple(x.shape), "channels 恰好等于 image_size，请换一个 image_size")
    low, high = (float(v) for v in x.aminmax())
    # NaN 与任何数比较都为假，写成“不在范围内”才拦得住
    if not -1.001 <= low <= high <= 1.001:
        fail(name, rule, (low, high), "这是最小值与最大值；0..255 的像素请用 x / 127.5 - 1，[0, 1] 的请用 2 * x - 1")
    return x if x.shape[1:] == chw else x.permute(0, 3, 1, 2).contiguous()


def check_sample(name, x, channels, size=None, finite=True):
    """已经是 CHW 的样本：(B, channels, H, W) 浮点、非空；给了 size 时边长须等于它，finite 为真时不许有 NaN"""
    side = ("H", "W") if size is None else (size, size)
    rule = f"形状 (B, {channels}, {side[0]}, {side[1]}) 的浮点张量，没有 NaN"
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        fail(name, rule, x.dtype if isinstance(x, torch.Tensor) else x, "整数像素请先换算：x / 127.5 - 1", TypeError)
    if x.ndim != 4 or len(x) == 0 or x.shape[1] != channels or (size and x.shape[2:] != (size, size)):
        fail(name, rule, tuple(x.shape), "尺寸由 channels 与 image_size 决定")
    # 在 GPU 上看一眼要等设备；训练时 NaN 由损失查出
    if finite and x.device.type == "cpu" and not x.isfinite().all():
        fail(name, rule, "NaN 或无穷")


def more_noise(model):
    """怎样把噪声掺够：只说算过确实有用的办法"""
    T, given = model.num_timesteps, model.hparams
    if given.given_betas is not None:
        return f"given_betas 之和是 {sum(given.given_betas):.3g}，加大到 {math.ceil(-2 * math.log(FAINT))} 就够"
    start, end = rescale_linear_range(T, given.linear_start, given.linear_end)
    ways = {f"linear_start={start:.4g}, linear_end={end:.4g}": (given.beta_schedule, T, start, end), "beta_schedule='cosine'": ("cosine", T)}
    useful = [way for way, table in ways.items() if np.prod(1 - make_beta_schedule(*table)) ** 0.5 <= FAINT]
    return f"T={T} 时可改用 {'，或 '.join(useful)}"


def coordinate_channels(x):
    """两个坐标通道 (B, 2, H, W)：先 x（列）后 y（行），都在 [-1, 1]"""
    rows, columns = x.shape[-2:]
    y = torch.linspace(-1, 1, rows, device=x.device, dtype=x.dtype)
    x_axis = torch.linspace(-1, 1, columns, device=x.device, dtype=x.dtype)
    grid = torch.stack([x_axis.expand(rows, -1), y[:, None].expand(-1, columns)])
    return grid.expand(len(x), -1, -1, -1)


def check_network(model):
    """在训练之前就核对网络的通道数、下采样倍数与条件；只看网络自己声明过的属性"""
    network = model.model.diffusion_model
    wanted = CONDITIONS[model.conditioning_key]
    needed = model.channels + 2 * model.use_positional_encodings
    got = getattr(network, "in_channels", None)
    concat = "c_concat" in wanted
    if isinstance(got, int) and (got <= needed if concat else got != needed):
        fail("unet_config 的 in_channels", f" {needed}" + (" 再加 concat 条件的通道数" if concat else ""), got,
             "等于 channels，use_positional_encodings 另加 2")
    if isinstance(out := getattr(network, "out_channels", None), int) and out != model.channels:
        fail("unet_config 的 out_channels", f" channels={model.channels}", out)
    factor = getattr(network, "downsample_factor", 1)
    if model.image_size % factor:
        fail("image_size", f" {factor} 的倍数", model.image_size, "U-Net 每层边长减半，除不尽就拼不回去")
    for condition, attribute in (("c_adm", "num_classes"), ("c_crossattn", "context_dim")):
        if hasattr(network, attribute) and (getattr(network, attribute) is None) == (condition in wanted):
            fail(f"unet_config 的 {attribute}", "已设置" if condition in wanted else " None",
                 getattr(network, attribute), f"conditioning_key={model.conditioning_key!r}")


def warn_unsuitable_schedule(model):
    """链走到头仍看得见原图，或者舍入误差会被放大到 1 以上时，提醒一句"""
    cumprod = float(model.exact_table("alphas_cumprod")[-1])
    if cumprod**0.5 > FAINT:
        warnings.warn(
            f"√ᾱ_T = {cumprod**0.5:.3f}：加噪到最后仍留着原图，从 N(0, I) 开始采样会有偏差；{more_noise(model)}", stacklevel=5)
    if model.parameterization == "eps" and cumprod**0.5 < torch.finfo(torch.float32).eps:
        warnings.warn(
            f"√ᾱ_T = {cumprod**0.5:.1e}：由 ε 换回 x0 要除以它，float32 的舍入误差会被放大到 1 以上；"
            "请换 parameterization='v' 或别的 beta_schedule", stacklevel=5,
        )
