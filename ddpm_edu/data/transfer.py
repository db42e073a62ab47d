"""一次传输：从断处接着下，够数就停，太慢就放弃"""
import os
import time
from typing import NamedTuple

BLOCK = 1 << 16
MIN_SPEED = 4096  # 单位：字节/秒


class BadResponseError(OSError):
    """这个地址给的不是要的文件，或者给得太慢"""


class RemoteFile(NamedTuple):
    """名字、MD5（十六进制）、字节数；在各个镜像上是同一份"""

    name: str
    md5: str
    size: int


def intact(path, file):
    import pooch

    return path.is_file() and pooch.file_hash(str(path), alg="md5") == file.md5


class ResumableDownloader:
    """交给 pooch 的下载器：先写进 part，断了留着下次接，下完才交出去核对"""

    def __init__(self, part, file, progress, patience):
        self.part, self.file, self.progress, self.patience = part, file, progress, patience

    def __call__(self, url, output_file, _):
        start = self.part.stat().st_size if self.part.exists() else 0
        resumed = self.transfer(url, start if start < self.file.size else 0)
        if resumed and not intact(self.part, self.file):
            # 前半段可能来自坏镜像，不能算在这个地址头上
            self.transfer(url, 0)
        os.replace(self.part, output_file)

    def transfer(self, url, start):
        """从第 start 个字节取到末尾；返回是否真的接上了前半段"""
        import requests
        from tqdm.auto import tqdm

        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=(10, self.patience)) as response:
            partial = response.status_code == 206
            misplaced = partial and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            if start and (misplaced or response.status_code == 416):
                return self.transfer(url, 0)
            if response.status_code >= 400:
                raise BadResponseError(f"服务器答复 {response.status_code}")
            done = start if partial else 0
            self.check_headers(response.headers, self.file.size - done)
            bar = tqdm(total=self.file.size, initial=done, unit="B", unit_scale=True, desc=self.file.name, disable=not self.progress)
            with bar, open(self.part, "ab" if done else "wb") as out:
                for block in self.blocks(response.raw, self.file.size - done):
                    bar.update(out.write(block))
        return done > 0

    def check_headers(self, headers, wanted):
        if "text/html" in headers.get("Content-Type", "").lower():
            raise BadResponseError("给的是网页（HTML），不是数据文件")
        if headers.get("Content-Length") not in (None, str(wanted)):
            raise BadResponseError(f"应有 {wanted} 个字节，服务器说有 {headers['Content-Length']}")

    def blocks(self, raw, wanted):
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
            if (elapsed := time.monotonic() - since) > self.patience:
                if received < MIN_SPEED * elapsed:
                    raise BadResponseError(f"太慢：{elapsed:.0f} 秒只来了 {received} 个字节")
                since, received = time.monotonic(), 0
