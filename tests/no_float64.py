"""没有 float64 的设备：像 Apple 的 GPU（MPS）那样，不许有 float64，也不许与 CPU 上的张量混算

真的 Mac 不在手边，所以演一个：张量的子类说自己在 DEVICE 上，数其实在 CPU 上，每个算子都经过这里
"""
import contextlib

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

# 自动求导只肯在认得的设备上跑反向；meta 到处都有，而它自己从不存数
DEVICE = torch.device("meta")
ACROSS = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
READS = []  # 从设备上取回过的数：真的 GPU 上，每一次都要等它算完


class Moved(torch.Tensor):
    """在 DEVICE 上的张量；inner 是真正存数的那一个"""

    @staticmethod
    def __new__(cls, inner):
        if inner.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=DEVICE)

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"Moved({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


class Operators(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


class Constants(TorchFunctionMode):
    """torch.tensor(..., device=DEVICE) 不经过算子，由这里搬"""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.tensor and kwargs.get("device") is not None:
            return torch.tensor(*args, **{**kwargs, "device": "cpu"}).to(kwargs["device"])
        return function(*args, **kwargs)


@contextlib.contextmanager
def no_float64():
    """范围里 .to(DEVICE) 与 device=DEVICE 真的到那个设备上去"""
    with Operators(), Constants():
        yield


def compute(function, args, kwargs):
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    here = any(isinstance(x, Moved) for x in tensors)
    # 没有维度的 CPU 张量当作一个数，真的设备也肯收
    if here and function not in ACROSS and any(x.ndim and not isinstance(x, Moved) for x in tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device: {function}")
    stays, real = here, dict(kwargs)
    if kwargs.get("device") is not None:
        stays, real["device"] = torch.device(kwargs["device"]) == DEVICE, torch.device("cpu")
    real_args, real = tree_map_only(Moved, lambda x: x.inner, (args, real))
    if stays and function is torch.ops.aten._to_copy.default and (real.get("dtype") or real_args[0].dtype) != real_args[0].dtype == torch.float64:
        raise TypeError("float64 要先在 CPU 上舍入，再搬过来")
    out = function(*real_args, **real)
    if here and (isinstance(out, (bool, int, float)) or not stays):
        READS.append(function)
    if not stays:
        return out
    return return_and_correct_aliasing(function, args, kwargs, tree_map_only(torch.Tensor, Moved, out)) if here else tree_map_only(torch.Tensor, Moved, out)
