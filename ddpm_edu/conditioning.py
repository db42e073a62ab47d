"""条件的整理：统一成 DiffusionWrapper 的关键字、丢弃（训练）、变成“无条件”（引导）"""
import torch

from .checks import fail
from .randomness import rand
from .wrapper import CONDITIONS

# 各类条件在 batch 里默认的键
DEFAULT_KEYS = {"c_concat": "concat", "c_crossattn": "context", "c_adm": "label"}


def condition_keys(conditioning_key, cond_key):
    """整理出 {条件名: batch 里的键}

    cond_key : None 用默认键；只有一种条件时可给字符串；多种条件时给 {条件名: 键}
    """
    names = CONDITIONS[conditioning_key]
    if cond_key is None:
        return {name: DEFAULT_KEYS[name] for name in names}
    if isinstance(cond_key, str) and len(names) == 1:
        return {names[0]: cond_key}
    if not isinstance(cond_key, dict) or set(cond_key) != set(names):
        fail("cond_key", f"以 {list(names)} 为键的字典（只有一种条件时可写字符串）", cond_key,
             f"conditioning_key={conditioning_key!r}")
    return dict(cond_key)


def as_condition(cond, conditioning_key, batch_size):
    """把用户给的条件整理成 DiffusionWrapper 的关键字参数

    cond : None、单个张量（只有一种条件时）或 {c_concat, c_crossattn, c_adm} 字典
    """
    names = CONDITIONS[conditioning_key]
    if cond is None:
        cond = {}
    elif not isinstance(cond, dict):
        if len(names) != 1:
            fail("cond", f"以 {list(names)} 为键的字典", type(cond).__name__, f"conditioning_key={conditioning_key!r}")
        cond = {names[0]: cond}
    if set(cond) != set(names):
        fail("cond", f"含 {list(names)} 的条件", sorted(cond), f"conditioning_key={conditioning_key!r}，训练和采样都要给齐")
    ready = {}
    for name, value in cond.items():
        parts = list(value) if isinstance(value, (list, tuple)) else [value]
        for part in parts:
            if not isinstance(part, torch.Tensor) or part.shape[:1] != (batch_size,):
                got = tuple(part.shape) if isinstance(part, torch.Tensor) else part
                fail(f"cond[{name!r}]", f"第一维为 {batch_size} 的张量", got)
            # 布尔也能换成整数，可它不是类别：真会悄悄成了第 1 类
            if name == "c_adm" and (part.ndim != 1 or part.dtype == torch.bool or not torch.can_cast(part.dtype, torch.int64)):
                fail(f"cond[{name!r}]", f"形状 ({batch_size},) 的整数张量（类别）", (tuple(part.shape), part.dtype), "类别号请先用 .long() 换成整数")
            if name != "c_adm" and not part.is_floating_point():
                fail(f"cond[{name!r}]", "浮点张量", part.dtype)
        # 嵌入只认 int64，“无条件”的 -1 也要放得下
        ready[name] = parts[0].long() if name == "c_adm" else parts
    return ready


def check_labels(name, labels, network):
    """类别须在 -1..num_classes-1 之内；网络没有声明 num_classes 时不查

    在 GPU 上看一眼要等设备，所以训练时在搬上去之前查，采样时只在开头查
    """
    count = getattr(network, "num_classes", None)
    if isinstance(count, int) and not -1 <= int(labels.min()) <= int(labels.max()) < count:
        fail(name, f" -1..{count - 1} 的类别（-1 表示无条件）", labels.tolist())


def checked_condition(model, cond, batch_size):
    """采样的门口：整理条件，并查类别的范围"""
    cond = as_condition(cond, model.conditioning_key, batch_size)
    if "c_adm" in cond:
        check_labels("cond['c_adm']", cond["c_adm"], model.model.diffusion_model)
    return cond


def slice_condition(cond, part, device):
    """取出条件的一段（slice）并搬到 device；没有条件时返回 None"""
    def pick(value):
        return [pick(v) for v in value] if isinstance(value, list) else value[part].to(device)

    return {name: pick(value) for name, value in cond.items()} or None


def null_condition(cond):
    """“无条件”：类别换成 -1，其余换成全 0"""
    return {
        name: torch.full_like(value, -1) if name == "c_adm" else [torch.zeros_like(v) for v in value]
        for name, value in cond.items()
    }


def drop_condition(cond, drop_prob, generator=None):
    """以 drop_prob 的概率逐个样本换成“无条件”，供无分类器引导训练用（Ho & Salimans 2022）"""
    if not cond or drop_prob == 0:
        return cond
    first = next(iter(cond.values()))
    first = first if isinstance(first, torch.Tensor) else first[0]
    drop = rand(first.shape[0], first.device, generator) < drop_prob

    def pick(value, null):
        return torch.where(drop.reshape(-1, *((1,) * (value.ndim - 1))), null, value)

    nulls = null_condition(cond)
    return {
        name: (pick(value, nulls[name]) if name == "c_adm"
               else [pick(v, n) for v, n in zip(value, nulls[name])])
        for name, value in cond.items()
    }
