"""一次传输：从断处接着下，够数就停，太慢就放弃，摘要对上才换上最终的名字"""
import gzip
import os
import time
import zlib
from typing import NamedTuple

from ..files.checkpoint import sha256

BLOCK = 1 << 16
MIN_SPEED = 4096  # 单位：字节/秒
MOST = 1 << 28  # 至多读这么多字节来核对：压缩炸弹解不完，摘要也就对不上


class BadResponseError(OSError):
    """这个地址给的不是要的文件，或者给得太慢"""


class RemoteFile(NamedTuple):
    """名字、SHA-256（十六进制）、下载的字节数；packed 为真时，摘要说的是 gzip 解开之后的内容"""

    name: str
    sha256: str
    size: int
    packed: bool = False


def intact(path, file):
    """path 的内容是不是 file；packed 的文件，没有压缩的、别人重新压缩过的都算"""
    if not path.is_file():
        return False
    try:
        with open_packed(path) if file.packed else open(path, "rb") as content:
            return sha256(content, MOST) == file.sha256
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False


def open_packed(path):
    """按内容，而不是按名字，认出 gzip；没有压缩的照原样"""
    with open(path, "rb") as file:
        return gzip.open(path) if file.read(2) == b"\x1f\x8b" else open(path, "rb")


def retrieve(url, target, file, progress, patience):
    """下到 target 旁边的 .part，核对无误才换成 target；断了留着下次接"""
    part = target.with_name(f"{target.name}.part")
    start = part.stat().st_size if part.exists() else 0
    resumed = transfer(url, part, file, start if start < file.size else 0, progress, patience)
    if resumed and not intact(part, file):
        # 前半段可能来自坏镜像，不能算在这个地址头上
        transfer(url, part, file, 0, progress, patience)
    if not intact(part, file):
        part.unlink()
        raise BadResponseError("内容的 SHA-256 不对")
    os.replace(part, target)
    return target


def transfer(url, part, file, start, progress, patience):
    """从第 start 个字节取到末尾，写进 part；返回是否真的接上了前半段"""
    import requests
    from tqdm.auto import tqdm

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=(10, patience)) as response:
        partial = response.status_code == 206
        misplaced = partial and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if start and (misplaced or response.status_code == 416):
            return transfer(url, part, file, 0, progress, patience)
        if response.status_code >= 400:
            raise BadResponseError(f"服务器答复 {response.status_code}")
        done = start if partial else 0
        check_headers(response.headers, file.size - done)
        bar = tqdm(total=file.size, initial=done, unit="B", unit_scale=True, desc=file.name, disable=not progress)
        with bar, open(part, "ab" if done else "wb") as out:
            for block in blocks(response.raw, file.size - done, patience):
                bar.update(out.write(block))
    return done > 0


def check_headers(headers, wanted):
    if "text/html" in headers.get("Content-Type", "").lower():
        raise BadResponseError("给的是网页（HTML），不是数据文件")
    if headers.get("Content-Length") not in (None, str(wanted)):
        raise BadResponseError(f"应有 {wanted} 个字节，服务器说有 {headers['Content-Length']}")


def blocks(raw, wanted, patience):
    """逐块读出 wanted 个字节，多的不要；太慢或中断时 BadResponseError"""
    from urllib3.exceptions import HTTPError

    since, received = time.monotonic(), 0
    while wanted:
        try:
            # read1 有多少给多少；read 要等凑满一块，遇上一个字节一个字节给的服务器就永远等下去
            block = raw.read1(min(wanted, BLOCK), decode_content=False)
        except HTTPError as error:
            raise BadResponseError(f"中途断开，还差 {wanted} 个字节（{type(error).__name__}）") from error
        if not block:
            raise BadResponseError(f"中途断开，还差 {wanted} 个字节")
        yield block
        wanted, received = wanted - len(block), received + len(block)
        if (elapsed := time.monotonic() - since) > patience:
            if received < MIN_SPEED * elapsed:
                raise BadResponseError(f"太慢：{elapsed:.0f} 秒只来了 {received} 个字节")
            since, received = time.monotonic(), 0
