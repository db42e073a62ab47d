"""读进读者的文件：只看大小、编码、语法，什么也不执行；不能用时 Unusable，一句话说清"""
import ast
import hashlib
import io
import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path

from .knowledge import classes
from .recognise import coverage, read

MOST = 2 << 20  # 单位：字节；见过的最大的一份约 300 KB
FORKS = "latent-diffusion、Stable Diffusion 1 / 2 与由它们改出来的仓库里的 ddpm.py、ddim.py、ema.py、lr_scheduler.py"


class Unusable(ValueError):
    """这个文件讲不了：一句话写明为什么、怎么办"""


@dataclass(frozen=True)
class Original:
    """读者的一个文件：lines 是各行的文字，parts 见 recognise.Part，counts 是各类各状态的语句数"""

    name: str
    digest: str
    lines: tuple
    parts: tuple
    counts: dict


def read_bytes(path, most=MOST):
    path = Path(path)
    if path.is_dir():
        raise Unusable(f"{path} 是文件夹，要的是一个文件")
    if not path.exists():
        raise Unusable(f"没有这个文件：{path}")
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise Unusable(f"{path} 读不了：{error.strerror}") from error
    if len(content) > most:
        raise Unusable(f"{path} 太大（超过 {most >> 10} KB）：原文件只有约 100 KB，多半给错了文件")
    if not content.strip():
        raise Unusable(f"{path} 是空的")
    return content


def decode(content, path):
    """文件自己声明的编码，没有声明就是 UTF-8；换行一律换成 \\n"""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unusable(f"{path} 是 UTF-16 编码的；用编辑器另存为 UTF-8 再试")
    if b"\0" in content:
        raise Unusable(f"{path} 是二进制文件，不是文字")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return io.TextIOWrapper(io.BytesIO(content), encoding=encoding).read()
    except (SyntaxError, LookupError, UnicodeDecodeError) as error:
        guess = "像是 GBK" if readable(content, "gbk") else "不知道是什么编码"
        raise Unusable(f"{path} 不是 UTF-8（{guess}）；用编辑器另存为 UTF-8 再试") from error


def readable(content, encoding):
    try:
        return bool(content.decode(encoding))
    except UnicodeDecodeError:
        return False


def parse(text, path):
    try:
        with warnings.catch_warnings():
            # 别人代码里的 "\d" 之类，不归我们管
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as error:
        raise Unusable(f"{path} 不是能读的 Python 文件（第 {error.lineno or 1} 行读不下去）；下载时存成了网页的话，要存原始的文件") from error
    except (RecursionError, MemoryError, ValueError) as error:
        raise Unusable(f"{path} 的结构太怪，读不了（{type(error).__name__}）") from error


def read_original(path):
    """读者的 Python 文件 → Original；里面没有课程讲的类时 Unusable"""
    content = read_bytes(path)
    text = decode(content, path)
    tree, lines = parse(text, path), tuple(text.split("\n"))
    try:
        parts = tuple(read(tree, len(lines)))
    except RecursionError as error:
        raise Unusable(f"{path} 的结构太怪，读不了（{type(error).__name__}）") from error
    if not any(part.method for part in parts):
        raise Unusable(f"{path} 里没有课程讲的类（{'、'.join(classes())}）；要的是 {FORKS}")
    return Original(Path(path).name, hashlib.sha256(content).hexdigest(), lines, parts, coverage(parts))
