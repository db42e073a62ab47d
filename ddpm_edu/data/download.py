"""下载：逐个镜像尝试，断了接着下，摘要对上才换上最终的名字；也可以自己把文件放进目录

最终的名字旁边会有两个文件：.part 是没下完的，.lock 是锁
"""
import contextlib
import logging
import os
import tempfile
from pathlib import Path

from ..checks import fail
from .transfer import BadResponseError, intact, retrieve

MIRROR_VARIABLE = "DDPM_EDU_MIRROR"
log = logging.getLogger("ddpm_edu")


class DataUnavailableError(RuntimeError):
    """数据取不到：写明试过的地址、文件该放哪里、没有网络时的出路"""


def check_mirror(name, value):
    """value 须是网址前缀，或 None"""
    if value is not None and not (isinstance(value, str) and value.startswith(("http://", "https://"))):
        fail(name, "以 http:// 或 https:// 开头的网址", value, "文件已在本机时，直接放进数据目录")
    return value


def fetch(folder, file, mirrors, mirror=None, progress=True, patience=30, substitute="DigitsDataModule", elsewhere=()):
    """取得 folder/file.name；已经有了就不联网、不写盘，所以目录可以是只读的

    elsewhere  : 还可以在这些目录里找现成的
    mirrors    : 依次尝试的网址前缀；mirror 或环境变量 DDPM_EDU_MIRROR 给出时最先试
    patience   : 连续这么多秒慢于 transfer.MIN_SPEED 就换下一个镜像；substitute：取不到时推荐的数据
    返回       : 本地的绝对路径，内容核对过，见 transfer.intact
    异常       : 目录不能写、或全都不成时 DataUnavailableError，最终的名字下不会留下坏文件
    """
    target = Path(folder).expanduser().absolute() / file.name
    urls = addresses(target.parent.name, file.name, mirrors, mirror)
    if found := existing(file, (target.parent, *elsewhere)):
        return found
    advice = (f"请手工下载 {file.name}（{'解压之后 ' * file.packed}SHA-256 应为 {file.sha256}），放到 {target}；或用参数 mirror、环境变量 {MIRROR_VARIABLE} "
              f"指定自己的镜像；没有网络时可先用内置的 {substitute}")
    require_writable(target, advice)
    with locked(target):
        # 等锁的时候，别的进程可能已经下好了
        if intact(target, file):
            return target
        tried = []
        for url in urls:
            try:
                return retrieve(url, target, file, progress, patience)
            except OSError as error:
                tried.append(f"  {url}：{explain(error)}")
                log.info("换下一个镜像；%s", tried[-1].strip())
    raise DataUnavailableError("\n".join(["下面的地址都没有取到正确的文件：", *tried, advice]))


def existing(file, places):
    """places 里现成的那一份；没有时 None。名字对而内容不对的，说一句"""
    names = [file.name, file.name.removesuffix(".gz")] if file.packed else [file.name]
    for path in (place / name for place in places for name in names):
        if intact(path, file):
            return path
        if path.is_file():
            log.warning("%s 的内容与摘要不符，不用它；要下载的话，核对无误才会换掉它", path)
    return None


def addresses(folder, name, mirrors, mirror=None):
    """依次尝试的网址；自己的镜像可以按数据集分目录（MNIST 与 Fashion-MNIST 的文件同名），也可以不分"""
    own = mirror or check_mirror(f"环境变量 {MIRROR_VARIABLE}", os.environ.get(MIRROR_VARIABLE) or None)
    first = [f"{own.rstrip('/')}/{folder}", own] if own else []
    return [f"{base.rstrip('/')}/{name}" for base in [*first, *mirrors]]


def require_writable(target, advice):
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise DataUnavailableError(f"目录 {target.parent} 里没有正确的 {target.name}，又不能写（{error}）\n{advice}") from error


@contextlib.contextmanager
def locked(target):
    """同一个文件同一时刻只有一个进程在下载"""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("另一个进程正在下载 %s，等它下完", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def explain(error):
    """一行话说清这个地址为什么不行"""
    import requests

    reasons = {
        BadResponseError: str(error),
        requests.TooManyRedirects: "重定向没完没了",
        requests.Timeout: "等不到答复",
        # requests 的原话很长，原因在最后
        requests.ConnectionError: "连不上：" + str(error).rpartition(": ")[2].rstrip("()\"'")[:120],
        OSError: f"{type(error).__name__}：{str(error)[:120]}",
    }
    return next(text for kind, text in reasons.items() if isinstance(error, kind))
