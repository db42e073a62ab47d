"""恶意文件：真打开就会建一个目录（金丝雀）；每种都有一个会中招的打开方式，证明它是活的"""
import builtins
import io
import os
import pickle
import tarfile
import zipfile

import torch
from torch import nn

from ddpm_edu.files.checkpoint import _append_digest


class Bomb:
    """被反序列化时调用 function(*arguments)"""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def with_digest(content, **kwargs):
    """像我们自己写的一样：普通的 torch 文件，SHA-256 也对"""
    buffer = io.BytesIO()
    torch.save(content, buffer, **kwargs)
    _append_digest(buffer)
    return buffer.getvalue()


def hidden_in(key):
    return lambda good, canary: with_digest({**good, key: {"0": Bomb(os.mkdir, canary)}})


def calling(function, argument):
    return lambda good, canary: with_digest({**good, "epoch": Bomb(function, argument(canary))})


def rebuilt_tensor(good, canary):
    """安全读取认得的重建函数，让它去调用别的函数"""
    return with_digest({**good, "epoch": Bomb(torch._tensor._rebuild_from_type_v2, os.mkdir, torch.Tensor, (canary,), {})})


def legacy(good, canary):
    """zip 之前的 torch 格式"""
    buffer = io.BytesIO()
    torch.save({**good, "epoch": Bomb(os.mkdir, canary)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def legacy_tar(good, canary):
    """更老的 tar 格式，第一个成员就是 pickle"""
    buffer, content = io.BytesIO(), pickle.dumps(Bomb(os.mkdir, canary), protocol=2)
    with tarfile.open(fileobj=buffer, mode="w:") as tar:
        info = tarfile.TarInfo("storages")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def escaping_zip(good, canary):
    """成员名指向目录之外的 zip"""
    source, target = io.BytesIO(with_digest({**good, "epoch": Bomb(os.mkdir, canary)})), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("archive/../../escape", b"x")
    return target.getvalue()


class Scripted(nn.Module):
    """载入时会写文件的 TorchScript"""

    def __init__(self, canary):
        super().__init__()
        self.canary: str = canary

    @torch.jit.export
    def __getstate__(self):
        return (self.canary, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.canary = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), state[0])

    def forward(self, x):
        return x


def torchscript(good, canary):
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Scripted(canary)), buffer)
    return buffer.getvalue()


# 名字 → (好检查点, 金丝雀的路径) → 文件内容
FILES = {
    "根": lambda good, canary: with_digest(Bomb(os.mkdir, canary)),
    "state_dict": hidden_in("state_dict"),
    "hyper_parameters": hidden_in("hyper_parameters"),
    "callbacks": hidden_in("callbacks"),
    "optimizer_states": hidden_in("optimizer_states"),
    "lr_schedulers": hidden_in("lr_schedulers"),
    "loops": hidden_in("loops"),
    "数据模块": hidden_in("DigitsDataModule"),
    "os.system": calling(os.system, "mkdir '{}'".format),
    "eval": calling(builtins.eval, "__import__('os').mkdir({!r})".format),
    "torch 的函数": calling(torch.utils.collect_env.run, "mkdir '{}'".format),
    "张量的重建函数": rebuilt_tensor,
    "裸的 pickle": lambda good, canary: pickle.dumps({**good, "epoch": Bomb(os.mkdir, canary)}),
    "老式 torch 文件": legacy,
    "tar 的 torch 文件": legacy_tar,
    "../ 的 zip": escaping_zip,
    "TorchScript": torchscript,
}


def open_carelessly(path):
    """没有防备的打开方式"""
    try:
        torch.load(path, weights_only=False)
    except Exception:
        try:
            pickle.loads(path.read_bytes())
        except Exception:
            return
