"""按配置造对象，数参数

配置的写法沿用参考实现：{"target": "包.模块.类", "params": {...}}
"""
import argparse
import enum
import functools
import importlib
import inspect
import itertools
import numbers
import os
import sys
import types
from collections.abc import Mapping, Sequence, Set

import numpy as np
import torch

from .checks import fail

# 这几个键后面是类的路径：参考实现、LightningCLI、hydra 各自的写法
NAMING = ("target", "class_path", "_target_")
# 依赖带来的模块，用户并没有导入：其中有的类一构造就联网，或者再导入别的包
BROUGHT = ("torch", "pytorch_lightning", "lightning_fabric", "torchmetrics")
IMPORT_IT = ("不会替文件导入模块；确实是你自己写的，先 import 那个模块（sample 与 evaluate 加 --import 模块名，"
             "fit、validate 与 test 用写着它的 --config），或者自己给 unet_config、scheduler_config")
# 名字空间：属性就是键
NAMESPACES = (argparse.Namespace, types.SimpleNamespace)


def plain(value, name="配置"):
    """变成安全读取认得的类型：配置库的字典与列表、NumPy、枚举、路径、内建类型的子类换成 Python 自带的，别的 TypeError"""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    elif isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, (bool, type(None), torch.Tensor, torch.dtype, torch.device, torch.layout)):
        return value
    if isinstance(value, (Mapping, *NAMESPACES)):
        return {plain(key, name): plain(item, name) for key, item in as_mapping(value).items()}
    if isinstance(value, str):
        return "".join(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for kind, own in ((numbers.Integral, int), (numbers.Real, float), (numbers.Complex, complex), ((bytes, bytearray), bytes)):
        if isinstance(value, kind):
            return own(value)
    if isinstance(value, (Sequence, Set)):
        kind = tuple if type(value) is tuple else set if isinstance(value, Set) else list
        return kind(plain(item, name) for item in value)
    fail(name, "张量和 Python 自带的类型", value, error=TypeError)


def plain_arguments(init):
    """装饰 __init__：参数先过 plain，于是 OmegaConf、名字空间、NumPy、枚举给的都认，存进检查点的也都读得回来"""
    names = [*inspect.signature(init).parameters][1:]

    @functools.wraps(init)
    def wrapper(self, *args, **kwargs):
        given = itertools.zip_longest(names[:len(args)], args, fillvalue="参数")
        return init(self, *(clean(name, value) for name, value in given), **{name: clean(name, value) for name, value in kwargs.items()})

    def clean(name, value):
        # 检查点可以是打开的文件；它不是超参数，不存
        return value if name == "ckpt_path" else plain(value, name)

    return wrapper


def as_mapping(value):
    """名字空间换成字典，别的原样"""
    return vars(value) if isinstance(value, NAMESPACES) else value


def get_class(target, kinds, name="target"):
    """把 "包.模块.类" 变成类；只认 kinds 的子类，别的一律不返回

    会导入它所在的模块：从文件里读来的名字，要先过 check_names
    异常 : 写法不对、找不到、或者不是 kinds 的子类时 ValueError；模块自己运行时出的错原样抛出
    """
    if not isinstance(target, str) or "." not in target:
        fail(name, '"包.模块.类" 形式的字符串', target, '例如 "ddpm_edu.UNet"')
    module_name, _, class_name = target.rpartition(".")
    found = getattr(import_named(module_name, name, target), class_name, None)
    if found is None:
        fail(name, f" {module_name} 里有的类", target, "检查拼写")
    if not isinstance(found, type) or not issubclass(found, tuple(kinds)):
        allowed = " / ".join(f"{k.__module__}.{k.__qualname__}" for k in kinds)
        fail(name, f" {allowed} 的子类", target, "为了安全，配置里写的其他东西都不会被调用")
    return found


def import_named(module, name, written):
    """导入用户写的模块；name 与 written 是写在哪里、怎样写的，报错时用"""
    if not all(module.split(".")):
        fail(name, "完整的名字，两点之间不空", written)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        fail(name, "能导入的名字", written, f"导入时的错误是 {error}；检查拼写和当前环境")


def check_names(config, source, typed=()):
    """文件里写的类名，只许是手边就有的网络与调度器：只看，绝不为文件导入任何东西

    config : 从文件 source 里读来的；typed：用户自己写下的配置，其中的名字可以用
    异常   : 有别的名字时 ValueError
    """
    for target in sorted(set(names_in(config)) - set(names_in(typed))):
        if not at_hand(target):
            rule = "本包、torch.nn、torch.optim 或已导入的模块里的网络与调度器"
            fail(f"{source} 里写的类", rule, target, IMPORT_IT)


def names_in(value):
    """逐个给出配置里写的类名，不论藏得多深；没有点的不是路径，不算"""
    if isinstance(value, Mapping):
        yield from (value[key] for key in NAMING if isinstance(value.get(key), str) and "." in value[key])
        value = value.values()
    elif not isinstance(value, (list, tuple, set)):
        return
    for item in value:
        yield from names_in(item)


def at_hand(target):
    """target 是不是手边就有的：本包公开的，或者已经导入的模块里的网络与调度器"""
    from . import _HOME

    module, _, name = target.rpartition(".")
    root = module.partition(".")[0]
    if root == __package__ and name in _HOME:
        return _HOME[name] in ("unet", "lr_scheduler") and module in (root, f"{root}.{_HOME[name]}")
    if root in BROUGHT and not f"{module}.".startswith(("torch.nn.", "torch.optim.")):
        return False
    # 不用 getattr：有的模块取一个名字就会导入别的
    found = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    return isinstance(found, type) and issubclass(found, default_kinds())


def instantiate_from_config(config, *args, kinds=None, name="config"):
    """按 {"target", "params"} 造一个对象，不改动传入的 config

    kinds : 允许的基类；默认是 nn.Module 与学习率调度器
    args  : 放在 params 之前的位置参数
    异常  : 缺 target、多出别的键、类型不对、params 与签名不合时 ValueError；类自己抛的错原样抛出
    """
    config = as_mapping(config)
    if not isinstance(config, Mapping):
        fail(name, ' {"target": ..., "params": {...}} 形式的字典', config, error=TypeError)
    if "target" not in config:
        fail(name, "含 target 键的字典", dict(config),
             '例如 {"target": "ddpm_edu.UNet", "params": {...}}')
    if extra := sorted(set(config) - {"target", "params"}):
        fail(name, "只有 target 与 params 两个键的字典", extra, "类的参数要放进 params")
    cls = get_class(config["target"], kinds or default_kinds(), f"{name}.target")
    params = {} if config.get("params") is None else as_mapping(config["params"])
    if not isinstance(params, Mapping):
        fail(f"{name}.params", "字典", params, error=TypeError)
    known = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    if not takes_any and (unknown := sorted(set(params) - set(known))):
        fail(f"{name}.params", f" {cls.__name__} 认得的参数", unknown, f"可用的有 {', '.join(known)}")
    try:
        inspect.signature(cls).bind(*args, **params)
    except TypeError as error:
        fail(f"{name}.params", f"与 {cls.__name__} 的参数相符的字典", dict(params), str(error))
    return cls(*args, **params)


def default_kinds():
    from torch import nn
    from torch.optim.lr_scheduler import LRScheduler

    from .lr_scheduler import LRLambda

    return nn.Module, LRLambda, LRScheduler


class ParamCount(int):
    """参数总数，就是一个整数；另带 trainable（可训练数）与 by_module（{子模块名: 参数数}）"""

    def __new__(cls, total, trainable, by_module):
        self = super().__new__(cls, total)
        self.total, self.trainable, self.by_module = int(total), int(trainable), dict(by_module)
        return self

    def __getnewargs__(self):
        # 复制与 pickle 用它重建
        return self.total, self.trainable, self.by_module

    def table(self):
        """一行一个直接子模块的文字表"""
        rows = [f"{name:<28}{count:>14,}" for name, count in self.by_module.items()]
        return "\n".join([*rows, f"{'total':<28}{self.total:>14,}", f"{'trainable':<28}{self.trainable:>14,}"])


def count_params(model, verbose=False):
    """数一数 nn.Module 的参数

    verbose : 为真时打印逐个子模块的表
    返回    : ParamCount，可当整数用；共享的参数只数一次。DDPM 里 EMA 的影子也算，见 by_module
    """
    seen, by_module = set(), {}
    for name, parameter in model.named_parameters():
        top = name.partition(".")[0]
        by_module[top] = by_module.get(top, 0) + parameter.numel()
        seen.add(parameter)
    trainable = sum(p.numel() for p in seen if p.requires_grad)
    count = ParamCount(sum(p.numel() for p in seen), trainable, by_module)
    if verbose:
        print(f"{type(model).__name__}\n{count.table()}")
    return count
