"""存得进文件的参数：配置库的字典、NumPy、枚举都换成 Python 自带的类型"""
import argparse
import enum
import functools
import inspect
import itertools
import numbers
import os
import types
from collections.abc import Mapping, Sequence, Set

import numpy as np
import torch

from ..checks import fail

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
