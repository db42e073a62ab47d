"""在隔离的进程里做一份不可信的活：run("模块:函数", 活, seconds=10, memory_mb=1024) → Outcome

活与结果都是普通数据与张量（见 messages.py），来回都写成 JSON，读的时候不执行任何代码。"模块:函数" 是可信的一层，由它去运行活里那份
不可信的程序；它算出来的也只能当作学生的答案看待，对错由本进程另判。

隔离的进程                      三种系统                          Linux 另有
  时间与内存                    到时、超量就整组结束               setrlimit
  写文件、删文件、改属性         审计钩子拒绝                       Landlock、seccomp
  网络、另起进程、发信号         审计钩子拒绝                       seccomp、Landlock，放弃 root 的特权
  读习题的答案、别人的作业       不装进内存；审计钩子拒绝           Landlock

工作的文件夹是空的、临时的，做完就删；环境变量只留必要的；没有 GPU；用的线程只有一个。
防不住的：存心利用解释器或内核漏洞的程序；没有 Linux 内核帮忙时，从机器码里写文件的程序；时限之内占满一个核。
收来的作业若来路不明，整条命令可以再放进容器或虚拟机里跑。
"""
import atexit
import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import keeper, messages

# 分一个进程出来要几十毫秒；没有 fork 的 Windows 要从头装 torch，几秒
CHEAP = hasattr(os, "fork")
KEPT = (*keeper.KEPT, "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "MPLCONFIGDIR", "VIRTUAL_ENV",
        "LD_LIBRARY_PATH", "PATHEXT", "COMSPEC", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE")
_own, _all, _lock = threading.local(), set(), threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """一份活的结果：value 是算出来的；没有算完时 value 是 None，error 是一句话；refused 是途中被拒绝的操作，seconds 是用的时间"""

    value: object = None
    error: str | None = None
    refused: tuple = ()
    seconds: float = 0.0


def run(target, job, *, seconds, memory_mb, writable=False):
    """在隔离的进程里算 target(job)，返回 Outcome；不可信的程序做什么都不会在这里抛异常

    target    : "模块:函数"，隔离的进程里导入得到的、可信的函数
    job       : 普通数据与张量，见 messages.write
    seconds   : 时限，整数；memory_mb：比装好包的进程多用的内存，MB
    writable  : 真，可以在工作的文件夹（当前目录）里写文件，结束时删掉；假，哪里也不许写
    异常      : job 里有写不进信的东西时 TypeError
    """
    letter, started = messages.write(job), time.monotonic()
    keep = _keeper()
    folder = Path(tempfile.mkdtemp(dir=keep.base))
    try:
        (folder / keeper.ROOM).mkdir()
        (folder / keeper.JOB).write_bytes(letter)
        code, reason = keep.ask({"folder": str(folder), "target": target, "seconds": seconds, "memory_mb": memory_mb, "writable": writable})
        value, error = (None, reason) if reason else _read_value(folder, code)
        return Outcome(value, error, _read_words(folder), time.monotonic() - started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def close():
    """结束全部看管的进程与它们管着的进程；退出时自动调用，Ctrl-C 之后也可以调用"""
    with _lock:
        keepers = list(_all)
    for keep in keepers:
        keep.close()


atexit.register(close)


def _keeper():
    """每个线程有自己的看管进程，死了就另起一个"""
    keep = getattr(_own, "keeper", None)
    if keep is None or not keep.alive():
        if keep:
            keep.close()
        keep = _own.keeper = Keeper()
    return keep


class Keeper:
    """看管的进程，见 keeper.py"""

    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="ddpm_edu_")
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        roots = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, roots)), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg",
                        "CUDA_VISIBLE_DEVICES": "", "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}
        self.process = subprocess.Popen([sys.executable, "-m", keeper.__name__, self.base], cwd=self.base, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.ready = b""
        with _lock:
            _all.add(self)

    def alive(self):
        return self.process.poll() is None

    def ask(self, request):
        """交一份活，等它做完；返回 (退出码, 一句话)"""
        try:
            if not self.ready:
                self.ready = self.process.stdout.readline()
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            if CHEAP:
                return json.loads(self.process.stdout.readline())
            return keeper.watch(self.process.poll, self.process.kill, self.process.pid, request["seconds"], request["memory_mb"],
                                lambda: time.sleep(keeper.PAUSE))
        except (OSError, ValueError):
            self.close()
            return None, "隔离的进程没有了"

    def close(self):
        with _lock:
            _all.discard(self)
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.close()
        # 标准输入一断，它就结束手上的进程，删掉自己的文件夹
        try:
            self.process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.base, ignore_errors=True)


def _read_value(folder, code):
    """隔离的进程写回的 (值, 错误)；它写的东西一概不信"""
    try:
        found = messages.read(_read_regular(folder / keeper.VALUE))
        if isinstance(found, dict) and set(found) in ({"value"}, {"error"}) and isinstance(found.get("error", ""), str):
            return found.get("value"), found.get("error")
    except (OSError, ValueError):
        pass
    if code is not None and code < 0:
        return None, f"进程被系统结束了（信号 {-code}），多半是崩溃或内存用尽"
    return None, "进程自己退出了，没有交出结果" + (f"（退出码 {code}）" if code else "")


def _read_words(folder):
    try:
        text = _read_regular(folder / keeper.WORDS)[:8000].decode(errors="replace")
    except OSError:
        return ()
    return tuple(dict.fromkeys(text.splitlines()))


def _read_regular(path):
    """普通文件的内容，不跟着链接走；太大时 OSError"""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > keeper.LARGEST:
            raise OSError("不是普通文件，或者太大")
        return file.read(keeper.LARGEST)
