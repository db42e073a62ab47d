"""按用途取随机数：同样的 (seed, 第几轮, 第几批, 进程, 用途) 永远得到同样的数

于是中断后继续与从未中断逐位相同，验证、画图也不会扰动训练
"""
import contextlib
import hashlib

import torch


def derive_seed(*key):
    """任意个整数或字符串 → 63 位种子"""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextlib.contextmanager
def isolated_rng(*key, device=None):
    """在这个范围里，CPU 与 device 的全局随机数由 key 决定；离开时恢复原状

    dropout 不接受 generator，只能这样定住它；别的设备上的随机数一下也不碰
    """
    generators = global_generators(torch.device(device or "cpu"))
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(derive_seed(*key))
        yield
    finally:
        for generator, state in zip(generators, states):
            generator.set_state(state)


def global_generators(device):
    """CPU 的全局生成器，device 不是 CPU 时另加它的那一个"""
    own = []
    if device.type in ("cuda", "xpu"):
        module = torch.get_device_module(device)
        own = [module.default_generators[module.current_device() if device.index is None else device.index]]
    elif device.type == "mps":
        own = [torch.mps._get_default_mps_generator()]
    return [torch.default_generator, *own]


def randn(shape, dtype=torch.float32, device="cpu", generator=None):
    """标准正态噪声；generator 在别的设备上时先在那里抽再搬过来，所以同一种子在 CPU 和 GPU 上给出同样的图"""
    source = generator.device if generator is not None else device
    return torch.randn(shape, dtype=dtype, device=source, generator=generator).to(device)


def randn_like(x, generator=None):
    """与 x 同形状、同类型、同设备的标准正态噪声"""
    return randn(x.shape, x.dtype, x.device, generator)


def rand(count, device="cpu", generator=None):
    """count 个 [0, 1) 上均匀的数；generator 在别的设备上时同 randn"""
    source = generator.device if generator is not None else device
    return torch.rand(count, device=source, generator=generator).to(device)
