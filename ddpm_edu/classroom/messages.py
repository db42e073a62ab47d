"""与隔离的进程往来的信：普通数据与张量写成 JSON，读信时不执行任何代码，也不会造出比信本身大的东西"""
import base64
import json
import math

import numpy as np
import torch

DEEPEST, MOST_BYTES = 40, 64 << 20
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    torch.complex64, torch.complex128)}


class Unwritable(TypeError):
    """信里写不进去的东西"""


def write(value):
    """普通数据 → 字节串

    value : None、...、bool、int、float、str、bytes、张量、数组，以及它们组成的列表、元组、字典（键是字符串）
    异常  : 有别的东西，或者嵌套太深时 Unwritable
    """
    return json.dumps(_pack(value, DEEPEST)).encode("ascii")


def read(data):
    """write 的反面；张量总是 CPU 上新的、连续的

    异常 : 不是 write 写出来的时 ValueError
    """
    try:
        return _unpack(json.loads(data))
    except (ValueError, TypeError, LookupError, RecursionError, RuntimeError, AttributeError) as error:
        raise ValueError(f"信读不懂：{type(error).__name__}") from None


def _pack(value, depth):
    if depth == 0:
        raise Unwritable("嵌套太深")
    if isinstance(value, (str, bytes)) and len(value) > MOST_BYTES:
        raise Unwritable(f"太长的 {type(value).__name__}")
    if value is None or isinstance(value, (bool, int, float, str)):
        # 子类可以把自己写成别的样子，先换成本来的类型
        kind = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
        return value if kind in (None, type(value)) else "".join(value) if kind is str else kind(value)
    if value is ...:
        return {"...": None}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, torch.Tensor):
        if value.numel() * value.element_size() > MOST_BYTES:
            raise Unwritable(f"太大的张量 {tuple(value.shape)}")
        plain = value.detach().cpu().contiguous()
        return {"tensor": [str(plain.dtype).removeprefix("torch."), list(plain.shape), _base64(plain)]}
    if isinstance(value, np.ndarray):
        return {"array": _pack(torch.from_numpy(value), depth)["tensor"]}
    if isinstance(value, (list, tuple)):
        return {"list" if isinstance(value, list) else "tuple": [_pack(item, depth - 1) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": [[key, _pack(item, depth - 1)] for key, item in value.items()]}
    raise Unwritable(type(value).__name__)


def _base64(tensor):
    return base64.b64encode(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"").decode()


def _unpack(found):
    if not isinstance(found, dict):
        if isinstance(found, list):
            raise ValueError("没有标明种类的列表")
        return found
    (kind, content), = found.items()
    return UNPACK[kind](content)


def _tensor(content):
    name, shape, text = content
    dtype, data = DTYPES[name], base64.b64decode(text)
    if any(type(size) is not int or size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("张量的形状与内容不符")
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape) if data else torch.empty(shape, dtype=dtype)


UNPACK = {
    "...": lambda content: ...,
    "bytes": base64.b64decode,
    "tensor": _tensor,
    "array": lambda content: _tensor(content).numpy(),
    "list": lambda content: [_unpack(item) for item in content],
    "tuple": lambda content: tuple(_unpack(item) for item in content),
    "dict": lambda content: {key: _unpack(item) for key, item in content},
}
