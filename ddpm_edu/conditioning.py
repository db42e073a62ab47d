"""条件：怎样从 batch 里取、怎样进网络 (DiffusionWrapper)、丢弃（训练）、变成“无条件”（引导）

每一类条件的不同都记在 KINDS 里；整理成 Condition 之后，别处不必再问它是哪一类
"""
import inspect
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from .checks import check_choice, fail
from .config import instantiate_from_config
from .gaussian import sides
from .randomness import rand


class Kind(NamedTuple):
    """一类条件

    batch_key : 在 batch 里默认的键
    argument  : 交给网络的哪个参数；None 是沿通道拼到 x 后面
    attribute : 网络收这类条件时，不是 None 的那个属性
    null      : “无条件”用的值；labels：是不是类别号
    """

    batch_key: str
    argument: str | None
    attribute: str | None
    null: int = 0
    labels: bool = False


KINDS = {
    "c_concat": Kind("concat", argument=None, attribute=None),
    "c_crossattn": Kind("context", argument="context", attribute="context_dim"),
    "c_adm": Kind("label", argument="y", attribute="num_classes", null=-1, labels=True),
}
# 每种 conditioning_key 用到哪几类
CONDITIONS = {
    None: (),
    "concat": ("c_concat",),
    "crossattn": ("c_crossattn",),
    "hybrid": ("c_concat", "c_crossattn"),
    "adm": ("c_adm",),
    "hybrid-adm": ("c_concat", "c_crossattn", "c_adm"),
    "crossattn-adm": ("c_crossattn", "c_adm"),
}


# diffusers 的网络，同样的两个参数另有名字
OTHER_NAMES = {"y": "class_labels", "context": "encoder_hidden_states"}


class DiffusionWrapper(nn.Module):
    """按 conditioning_key 调用 diffusion_model(x, t, context=..., y=...)

    diff_model_config : {"target", "params"} 配置，不会被改动
    conditioning_key  : None / concat / crossattn / hybrid / adm / hybrid-adm / crossattn-adm
    """

    def __init__(self, diff_model_config, conditioning_key=None):
        super().__init__()
        check_choice("conditioning_key", conditioning_key, tuple(CONDITIONS))
        self.conditioning_key = conditioning_key
        self.diffusion_model = instantiate_from_config(
            diff_model_config, kinds=(nn.Module,), name="unet_config")
        known = inspect.signature(self.diffusion_model.forward).parameters
        self.names = {ours: theirs for ours, theirs in OTHER_NAMES.items()
                      if ours not in known and theirs in known}

    def forward(self, x, t, **cond):
        """
        x           : (B, C, H, W)
        c_concat    : (B, C', H, W)，沿通道拼到 x 后面
        c_crossattn : (B, L, D)，作 context；这两种也可以给张量的列表，沿第 1 维拼起来
        c_adm       : (B,) int64 类别，作 y
        异常        : 给的条件与 conditioning_key 不符时 ValueError
        """
        wanted, extra = CONDITIONS[self.conditioning_key], {}
        if set(cond) != set(wanted):
            fail(f"conditioning_key={self.conditioning_key!r} 的条件", f"{list(wanted)} 恰好齐全",
                 list(cond))
        for name, value in cond.items():
            value = torch.cat(list(value), dim=1) if isinstance(value, (list, tuple)) else value
            if (argument := KINDS[name].argument) is None:
                x = torch.cat([x, value], dim=1)
            else:
                extra[self.names.get(argument, argument)] = value
        out = self.diffusion_model(x, t, **extra)
        return getattr(out, "sample", out)  # diffusers 的网络把输出包在对象里


class Condition(dict):
    """整理过的条件 {类: 一个张量}；由 as_condition 造，见到它就不必再整理"""


def condition_keys(conditioning_key, cond_key):
    """整理出 {条件名: batch 里的键}

    cond_key : None 用默认键；只有一种条件时可给字符串；多种条件时给 {条件名: 键}
    """
    names = CONDITIONS[conditioning_key]
    if cond_key is None:
        return {name: KINDS[name].batch_key for name in names}
    if isinstance(cond_key, str) and len(names) == 1:
        return {names[0]: cond_key}
    if not isinstance(cond_key, dict) or set(cond_key) != set(names):
        fail("cond_key", f"以 {list(names)} 为键的字典（只有一种条件时可写字符串）", cond_key,
             f"conditioning_key={conditioning_key!r}")
    return dict(cond_key)


def as_condition(cond, conditioning_key, batch_size):
    """把用户给的条件整理成 Condition：每类一个张量，第一维是 batch_size

    cond : None、单个张量（只有一种条件时）或 {c_concat, c_crossattn, c_adm} 字典；值也可以是张量的列表，沿第 1 维拼起来
    """
    if isinstance(cond, Condition):
        return cond
    names = CONDITIONS[conditioning_key]
    if cond is None:
        cond = {}
    elif not isinstance(cond, dict):
        if len(names) != 1:
            fail("cond", f"以 {list(names)} 为键的字典", type(cond).__name__, f"conditioning_key={conditioning_key!r}")
        cond = {names[0]: cond}
    if set(cond) != set(names):
        fail("cond", f"含 {list(names)} 的条件", sorted(cond), f"conditioning_key={conditioning_key!r}，训练和采样都要给齐")
    return Condition({name: joined(name, cond[name], batch_size) for name in names})


def joined(name, value, batch_size):
    """核对一类条件，列表沿第 1 维拼成一个张量"""
    labels = KINDS[name].labels
    parts = list(value) if isinstance(value, (list, tuple)) else [value]
    for part in parts:
        if not isinstance(part, torch.Tensor) or part.shape[:1] != (batch_size,):
            got = tuple(part.shape) if isinstance(part, torch.Tensor) else part
            fail(f"cond[{name!r}]", f"第一维为 {batch_size} 的张量", got)
        # 布尔也能换成整数，可它不是类别：真会悄悄成了第 1 类
        if labels and (part.ndim != 1 or part.dtype == torch.bool or not torch.can_cast(part.dtype, torch.int64)):
            fail(f"cond[{name!r}]", f"形状 ({batch_size},) 的整数张量（类别）", (tuple(part.shape), part.dtype),
                 "类别号请先用 .long() 换成整数")
        # 词号由 LatentDiffusion 的条件编码器换成向量
        words = name == "c_crossattn" and part.dtype == torch.int64 and part.ndim <= 2
        if not labels and not words and not part.is_floating_point():
            fail(f"cond[{name!r}]", "浮点张量", part.dtype)
    # 嵌入只认 int64，“无条件”的 -1 也要放得下
    return parts[0].long() if labels else parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def check_labels(name, labels, network):
    """类别须在 -1..num_classes-1 之内；网络没有声明 num_classes 时不查

    在 GPU 上看一眼要等设备，所以训练时在搬上去之前查，采样时只在开头查
    """
    count = getattr(network, "num_classes", None)
    if isinstance(count, int) and not -1 <= int(labels.min()) <= int(labels.max()) < count:
        fail(name, f" -1..{count - 1} 的类别（-1 表示无条件）", labels.tolist())


def checked_condition(model, cond, batch_size):
    """采样的门口：整理条件，并查类别的范围；整理过的不再查"""
    if isinstance(cond, Condition):
        return cond
    cond = as_condition(cond, model.conditioning_key, batch_size)
    for name, value in cond.items():
        if KINDS[name].labels:
            check_labels(f"cond[{name!r}]", value, model.model.diffusion_model)
    return cond


def slice_condition(cond, part, device):
    """取出条件的一段（slice）并搬到 device"""
    return Condition({name: value[part].to(device) for name, value in cond.items()})


def null_condition(cond):
    """“无条件”：类别换成 -1，其余换成全 0"""
    return Condition({name: torch.full_like(value, KINDS[name].null) for name, value in cond.items()})


def drop_condition(cond, drop_prob, generator=None):
    """以 drop_prob 的概率逐个样本换成“无条件”，供无分类器引导训练用（Ho & Salimans 2022）"""
    if not cond or drop_prob == 0:
        return cond
    first = next(iter(cond.values()))
    drop = rand(len(first), first.device, generator) < drop_prob

    def pick(value, null):
        return torch.where(drop.reshape(-1, *(1,) * (value.ndim - 1)), null, value)

    return Condition({name: pick(value, KINDS[name].null) for name, value in cond.items()})


def check_network(model):
    """在训练之前就核对网络的通道数、下采样倍数与条件；只看网络自己声明过的属性"""
    network = model.model.diffusion_model
    wanted = CONDITIONS[model.conditioning_key]
    needed = model.channels + 2 * model.use_positional_encodings
    got = getattr(network, "in_channels", None)
    concat = any(KINDS[name].argument is None for name in wanted)
    if isinstance(got, int) and (got <= needed if concat else got != needed):
        fail("unet_config 的 in_channels", f" {needed}" + (" 再加 concat 条件的通道数" if concat else ""), got,
             "等于 channels，use_positional_encodings 另加 2")
    if isinstance(out := getattr(network, "out_channels", None), int) and out != model.channels:
        fail("unet_config 的 out_channels", f" channels={model.channels}", out)
    factor = getattr(network, "downsample_factor", 1)
    if any(side % factor for side in sides(model.image_size)):
        fail("image_size", f" {factor} 的倍数", model.image_size, "U-Net 每层边长减半，除不尽就拼不回去")
    for name, kind in KINDS.items():
        if kind.attribute and hasattr(network, kind.attribute) and (getattr(network, kind.attribute) is None) == (name in wanted):
            fail(f"unet_config 的 {kind.attribute}", "已设置" if name in wanted else " None",
                 getattr(network, kind.attribute), f"conditioning_key={model.conditioning_key!r}")


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
