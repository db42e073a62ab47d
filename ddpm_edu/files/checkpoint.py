"""检查点：要么存完整要么不动旧文件，损坏必被发现，打开文件绝不执行代码

文件仍是普通的 torch 检查点（ZIP）；SHA-256 写在 ZIP 注释里，torch.load 照样能读
"""
import contextlib
import errno
import glob
import hashlib
import logging
import os
import re
import shutil
import struct
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from ..checks import fail
from .plain import plain

log = logging.getLogger("ddpm_edu")
_TAG = b"ddpm_edu sha256="
_COMMENT_SIZE = len(_TAG) + 64
# ZIP 末尾记录：22 字节，末两字节是注释长度
_END_SIGNATURE, _END_SIZE = b"PK\x05\x06", 22


# 写到一半写不下去的几种原因
FULL = {errno.ENOSPC: "磁盘满了", errno.EDQUOT: "超过了磁盘配额", errno.EFBIG: "超过了文件大小的上限"}


class CheckpointError(RuntimeError):
    """检查点损坏、不完整或与模型对不上"""


def causes(error):
    """这个错误，和引出它的各个错误"""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def disk_full(error):
    """磁盘满了之类的 OSError；不是这个缘故时 None。torch.save 会把它换成看不懂的 RuntimeError"""
    return next((cause for cause in causes(error) if isinstance(cause, OSError) and cause.errno in FULL), None)


@contextlib.contextmanager
def atomic_file(path):
    """原子地写文件：写到同目录的临时文件，落盘，再换名；中途出错或被杀时旧文件原样

    path : 目标文件，目录不存在时会建；给出以 w+b 打开的文件
    异常 : 磁盘满了等写不下去的原因是 OSError，写明文件与原因
    被 kill -9 时会留下隐藏的 .part，超过一小时的由下一次写同一个文件时清掉
    """
    path = Path(path)
    with _beside(path), _temporary_file(path) as file:
        yield file


@contextlib.contextmanager
def atomic_folder(path):
    """原子地写文件夹：给出旁边的临时文件夹（Path），写完换名；中途出错或被停下时什么也不留

    path : 目标，须不存在或是空的文件夹；异常与 kill -9 留下的 .part 同 atomic_file
    """
    path = Path(path)
    with _beside(path), _temporary_folder(path) as folder:
        yield folder


@contextlib.contextmanager
def _beside(path):
    """要在 path 旁边写临时的：父目录备好，先前留下的清掉，磁盘满了说明白"""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        yield
    except Exception as error:
        if (full := disk_full(error)) is None:
            raise
        raise OSError(full.errno, f"{FULL[full.errno]}，没有写成，旧文件没有动；清出地方再试", str(path)) from full


@contextlib.contextmanager
def _temporary_file(path):
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _temporary_folder(path):
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield temporary
        # 临时文件夹只有自己读得了，换名之前改成平常的权限
        for inside in (temporary, *temporary.rglob("*")):
            inside.chmod((0o777 if inside.is_dir() else 0o666) & ~current_umask())
        if path.exists():
            path.rmdir()
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _remove_stale(path):
    # 正在写的文件不断有新的修改时间；一小时没动过的，写它的进程已经不在了
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > 3600:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def save_checkpoint(checkpoint, path):
    """原子地保存检查点；checkpoint 是字典，其中 Python 自带的类型之外的，按 plain 换好"""
    try:
        content = plain(checkpoint, "检查点的内容")
    except TypeError as error:
        raise CheckpointError(f"{error}；存它的数值，不要存对象") from None
    with atomic_file(path) as file:
        torch.save(content, file)
        _append_digest(file)


def load_checkpoint(path, map_location="cpu"):
    """读检查点，只认张量与普通类型，核对 SHA-256

    path         : 本地的 .ckpt / .pt / .safetensors 文件；或以二进制打开、可 seek 的文件对象
    map_location : 同 torch.load
    返回         : 文件里的字典
    异常         : 网址 ValueError；不存在 FileNotFoundError；目录 IsADirectoryError；损坏 CheckpointError
    """
    opened = hasattr(path, "read") and hasattr(path, "seek") and isinstance(path.read(0), bytes)
    path = path if opened else check_path(path)
    if not opened and path.suffix == ".safetensors":
        return {"state_dict": load_safetensors(path, map_location)}
    with contextlib.nullcontext(path) if opened else open(path, "rb") as file:
        start = file.tell()
        verify_digest(file, path)
        file.seek(start)
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} 不能安全读取（{what_was_found(error)}）；检查点只能含张量和普通类型，文件也可能不完整，请重新获取") from None
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} 里应为字典，得到 {type(checkpoint).__name__}；请确认它是检查点文件")
    return checkpoint


def what_was_found(error):
    """torch.load 的异常 → 文件里的什么不许；看不出来的是异常的名字"""
    found = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
    return f"里面有 {found[1]}" if found else type(error).__name__


def load_safetensors(path, map_location):
    from safetensors.torch import load_file

    warnings.warn(f"{path} 没有记录 SHA-256，无法查出损坏（safetensors 格式不带摘要）", stacklevel=3)
    # 字典与函数说的是 torch.save 记下的设备，这种格式不记
    device = str(map_location) if isinstance(map_location, (str, torch.device)) else "cpu"
    try:
        return load_file(path, device=device)
    except Exception as error:
        raise CheckpointError(f"{path} 不是完好的 safetensors 文件：{error}；请重新获取") from None


def check_path(path):
    """本地的普通文件；网址、目录、不存在都在这里说清"""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not text:
        fail("ckpt_path", "本地文件的路径，或以二进制打开、可 seek 的文件对象", path, error=TypeError)
    if "://" in text:
        fail("ckpt_path", "本地文件的路径", text, "不从网址读检查点，请先下载")
    if not os.path.exists(text):
        fail("ckpt_path", "存在的文件", text, error=FileNotFoundError)
    if os.path.isdir(text):
        fail("ckpt_path", "文件而不是目录", text, error=IsADirectoryError)
    return Path(text)


def verify_digest(file, path):
    """核对文件里记的 SHA-256；别处来的文件没有这一项，放行并提醒一句"""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise CheckpointError(f"{path} 是空文件（0 字节）；多半是保存或下载被打断，请换一份")
    file.seek(max(0, size - _COMMENT_SIZE - _END_SIZE))
    tail = file.read()
    comment = tail[-_COMMENT_SIZE:]
    # 末尾记录说“后面有这么长的注释”，就是我们写的文件；注释本身可能已被截掉或改坏
    end = tail.rfind(_END_SIGNATURE)
    promised = end >= 0 and tail[end + _END_SIZE - 2:end + _END_SIZE] == struct.pack("<H", _COMMENT_SIZE)
    if not promised and not comment.startswith(_TAG):
        check_looks_saved(file, path, whole=end >= 0)
        warnings.warn(f"{path} 没有记录 SHA-256，无法查出损坏；仍按安全方式读取", stacklevel=3)
        return
    file.seek(0)
    found = sha256(file, size - _COMMENT_SIZE)
    expected = comment[len(_TAG):].decode("ascii", "replace")
    if not comment.startswith(_TAG) or found != expected:
        raise CheckpointError(f"{path} 已损坏：记录的 SHA-256 是 {expected}，实际是 {found}；请换一份备份")


def check_looks_saved(file, path, whole):
    """开头须是 ZIP 或 pickle，torch 只存这两种；whole 说 ZIP 的末尾记录在不在"""
    file.seek(0)
    head = file.read(4)
    if not head.startswith((b"PK", b"\x80")):
        raise CheckpointError(f"{path} 不能安全读取：开头是 {head!r}，不是 torch 存的文件；请确认文件名")
    if head.startswith(b"PK") and not whole:
        raise CheckpointError(f"{path} 不能安全读取：它没有写完，多半是保存或下载被打断；请重新获取")


def clean_state_dict(state_dict):
    """去掉 torch.compile 与 DataParallel 加的前缀 _orig_mod. / module."""
    if not isinstance(state_dict, Mapping) or not all(isinstance(v, torch.Tensor) for v in state_dict.values()):
        raise CheckpointError("检查点里的 state_dict 应为 {键: 张量}；请确认它是模型的检查点")
    cleaned = {}
    for key, value in state_dict.items():
        key = key.replace("_orig_mod.", "")
        cleaned[key.removeprefix("module.")] = value
    return cleaned


def check_compatible(model, checkpoint, source, only_model=False):
    """检查点与模型的 T、噪声表、参数化须一致，不一致时列出每一项；只取网络时参数化须一致，T 与噪声表不同只提醒"""
    saved, own = checkpoint.get("hyper_parameters", {}), model.hparams
    if not isinstance(saved, Mapping):
        raise CheckpointError(f"{source} 的 hyper_parameters 应为字典，得到 {saved!r}；请确认它是模型的检查点")
    odd = {f: f"{f}：文件 {saved[f]!r}，这里 {own.get(f)!r}" for f in ("timesteps", "beta_schedule", "parameterization")
           if f in saved and saved[f] != own.get(f)}
    if "parameterization" in odd or (odd and not only_model):
        raise CheckpointError(f"{source} 与模型对不上：{'；'.join(odd.values())}。请用相同的参数构造")
    if odd:
        warnings.warn(f"只取 {source} 的网络，{'；'.join(odd.values())}。网络只认步号，噪声表不同，同一个步号就是另一种噪声；除非有意如此，请用相同的参数构造",
                      stacklevel=2)


def check_resumable(checkpoint, source, *parts):
    """Trainer 要接着训练或验证的，须是 Trainer 自己存的检查点；parts 是另外少不了的键"""
    if missing := [key for key in ("pytorch-lightning_version", "state_dict", *parts) if key not in checkpoint]:
        raise CheckpointError(f"{source} 应为 Trainer 存的完整检查点，得到只有权重的文件（没有 {'、'.join(missing)}）；"
                              "只取权重用 --model.ckpt_path（在 Python 里是 DDPM(..., ckpt_path=...)），不要用 --ckpt_path")


def check_ignore_keys(ignore_keys):
    """ignore_keys 须是非空字符串的列表或元组"""
    if not isinstance(ignore_keys, (list, tuple)) or not all(isinstance(k, str) and k for k in ignore_keys):
        fail("ignore_keys", "键前缀的列表", ignore_keys, '只有一个时写 ["前缀"]', TypeError)


def matching_states(module, states, source, ignore_keys=(), optional=(), strict=True):
    """逐键核对，返回可以放心载入的权重；缺的、多的、形状不对的、含 NaN 的都是错误，除非名字以 ignore_keys 之一开头

    optional : 可以缺的键前缀；strict 为 False 时，缺的与多的只提醒一句
    异常     : CheckpointError，列出个数与前几个名字
    """
    own = module.state_dict()
    for prefix in ignore_keys:
        if not any(key.startswith(prefix) for key in (*states, *own)):
            fail("ignore_keys", "每个前缀都能匹配到键", prefix, f"文件里的键如 {sorted(states)[:3]}")
    skipped = tuple(ignore_keys)
    states = {key: value for key, value in states.items() if not key.startswith(skipped)}
    tables = module.exact_table_names()
    may_miss = (*skipped, *optional)
    problems = {
        "缺少": [k for k in own if k not in states and not k.startswith(may_miss)],
        "多出": [k for k in states if k not in own and k not in tables],
        "形状不符": [k for k, v in states.items() if k in own and k not in tables and v.shape != own[k].shape],
        "含 NaN 或无穷": [k for k, v in states.items() if k not in tables and v.is_floating_point() and not v.isfinite().all()],
    }
    found = {what: f"{what} {len(keys)} 个（{', '.join(keys[:3])}）" for what, keys in problems.items() if keys}
    if found and not strict and found.keys() <= {"缺少", "多出"}:
        warnings.warn(f"{source} 的权重与模型对不上：{'；'.join(found.values())}。strict=False，缺少的保持初值，多出的没有用", stacklevel=4)
    elif found:
        raise CheckpointError(f"{source} 的权重与模型对不上：{'；'.join(found.values())}。确实不需要的，把前缀写进 ignore_keys")
    return {key: value for key, value in states.items() if key in own or key in tables}


def install_safe_io(trainer):
    """让 Trainer 用本模块的存取方式；用户自己指定过的不动"""
    logging.getLogger("pytorch_lightning.trainer.connectors.checkpoint_connector").addFilter(not_about_weights_only)
    from pytorch_lightning.plugins.io import TorchCheckpointIO

    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = _safe_io_class()()


def not_about_weights_only(record):
    """Lightning 存盘时说 weights_only 取了 False，指的是存什么；读的人会以为打开文件不安全"""
    return "`weights_only` was not set" not in record.getMessage()


def _safe_io_class():
    from pytorch_lightning.plugins.io import TorchCheckpointIO

    class SafeCheckpointIO(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint, path, storage_options=None):
            save_checkpoint(checkpoint, path)

        def load_checkpoint(self, path, map_location="cpu", weights_only=True):
            checkpoint = load_checkpoint(path, map_location)
            check_resumable(checkpoint, path)
            return checkpoint

    return SafeCheckpointIO


def _append_digest(file):
    # 先写好注释长度再求摘要，这两个字节也受保护
    file.seek(-_END_SIZE, os.SEEK_END)
    if file.read(4) != _END_SIGNATURE:
        raise CheckpointError("torch.save 的文件结尾与预期不同，无法记录 SHA-256；请核对 torch 版本")
    file.seek(-2, os.SEEK_END)
    file.write(struct.pack("<H", _COMMENT_SIZE))
    size = file.tell()
    file.seek(0)
    digest = sha256(file, size)
    file.seek(size)
    file.write(_TAG + digest.encode())


def sha256(file, size):
    """接下来至多 size 个字节的 SHA-256，十六进制"""
    digest = hashlib.sha256()
    while block := file.read(min(size, 1 << 20)):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()


def sha256_of(path):
    """整个文件的 SHA-256，十六进制"""
    with open(path, "rb") as file:
        return sha256(file, os.path.getsize(path))


def newest_last(folder):
    """训练写的文件夹里最近存下的 last.ckpt；没有时 None"""
    return max(Path(folder).rglob("last*.ckpt"), key=lambda path: path.stat().st_mtime_ns, default=None)


def current_umask():
    current = os.umask(0)
    os.umask(current)
    return current
