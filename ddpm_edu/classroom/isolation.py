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
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import messages
from .keeper import DOOR, JOB, KEPT, LARGEST, PAUSE, ROOM, VALUE, WORDS, watch

# 分一个进程出来要几十毫秒；没有 fork 的 Windows 要从头装 torch，几秒
CHEAP = hasattr(os, "fork")
INHERITED = (*KEPT, "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "MPLCONFIGDIR", "VIRTUAL_ENV",
        "LD_LIBRARY_PATH", "PATHEXT", "COMSPEC", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE")
_lock, _keeper = threading.Lock(), None


@dataclass(frozen=True)
class Outcome:
    """一份活的结果：value 是算出来的；没有算完时 value 是 None，error 是一句话；refused 是途中被拒绝的操作，seconds 是用的时间"""

    value: object = None
    error: str | None = None
    refused: tuple = ()
    seconds: float = 0.0


def run(target, job, *, seconds, memory_mb, writable=False, hidden=()):
    """在隔离的进程里算 target(job)，返回 Outcome；不可信的程序做什么都不会在这里抛异常

    target    : "模块:函数"，可信的函数；模块由看管的进程导入一次，要用的包在它的开头导入，各份活就不必再装一遍，
                但不能导入习题的答案（ddpm_edu.teach.exercises 在那里是空的）
    job       : 普通数据与张量，见 messages.write
    seconds   : 时限，整数；memory_mb：比装好包的进程多用的内存，MB
    writable  : 真，可以在工作的文件夹（当前目录）里写文件，结束时删掉；假，哪里也不许写
    hidden    : 本来读得到的文件夹与文件里，这一份活不许读的（Linux 的 Landlock 管；别的系统要由 target 自己的钩子来管）
    异常      : job 里有写不进信的东西时 TypeError
    """
    letter, started = messages.write(job), time.monotonic()
    keeper = _current_keeper()
    folder = Path(tempfile.mkdtemp(dir=keeper.base))
    try:
        (folder / ROOM).mkdir()
        (folder / JOB).write_bytes(letter)
        request = {"folder": str(folder), "target": target, "seconds": seconds, "memory_mb": memory_mb, "writable": writable, "hidden": list(hidden)}
        code, reason = keeper.ask(request) if CHEAP else keeper.ask_a_fresh_one(request)
        value, error = (None, reason) if reason else _read_value(folder, code)
        return Outcome(value, error, _read_words(folder), time.monotonic() - started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kernel_in_force():
    """这台机器上，内核替隔离的进程管着哪几项，如 ["Landlock", "放弃特权", "seccomp"]；一项也没有时是空的"""
    return (run("ddpm_edu.classroom.kernel:report", None, seconds=60, memory_mb=1024).value or []) if CHEAP else []


def close():
    """结束看管的进程与它管着的全部进程；退出时自动调用，Ctrl-C 之后也可以调用"""
    global _keeper
    with _lock:
        if _keeper and _keeper.owner == os.getpid():
            _keeper.close()
        _keeper = None


atexit.register(close)


def _current_keeper():
    global _keeper
    with _lock:
        # fork 出来的进程另起一个：那一个是上一代的
        if _keeper and _keeper.owner != os.getpid():
            _keeper = None
        if _keeper and not _keeper.alive():
            _keeper.close()
            _keeper = None
        _keeper = _keeper or Keeper()
        return _keeper


class Keeper:
    """看管的进程，见 keeper.py；几个线程可以同时用它"""

    def __init__(self):
        self.owner, self.base = os.getpid(), tempfile.mkdtemp(prefix="ddpm_edu_")
        self.process = self._start() if CHEAP else None
        # 装好了才开门
        if CHEAP and not self.process.stdout.readline():
            self.close()
            raise RuntimeError("隔离的进程起不来；运行 python course.py doctor 看看环境")

    def _start(self):
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        roots = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, roots)), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg",
                        "CUDA_VISIBLE_DEVICES": "", "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}
        return subprocess.Popen([sys.executable, "-m", "ddpm_edu.classroom.keeper", self.base], cwd=self.base, env=environment,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def alive(self):
        return not CHEAP or self.process.poll() is None

    def ask(self, request):
        """交一份活，等它做完；返回 (退出码, 一句话)"""
        try:
            with socket.socket(socket.AF_UNIX) as connection, connection.makefile() as lines:
                connection.connect(os.path.join(self.base, DOOR))
                connection.sendall(json.dumps(request).encode() + b"\n")
                return json.loads(lines.readline())
        except (OSError, ValueError):
            return None, "看着它的进程没有了"

    def ask_a_fresh_one(self, request):
        """没有 fork 时：另起一个进程，做完就走"""
        with self._start() as process:
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                return watch(process.poll, process.kill, process.pid, request["seconds"], request["memory_mb"], lambda: time.sleep(PAUSE))
            finally:
                process.kill()

    def close(self):
        if self.process:
            self.process.stdin.close()
            # 标准输入一断，它删掉自己的文件夹就走
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
        shutil.rmtree(self.base, ignore_errors=True)


def _read_value(folder, code):
    """隔离的进程写回的 (值, 错误)；它写的东西一概不信"""
    try:
        found = messages.read(_read_regular(folder / VALUE))
        if isinstance(found, dict) and set(found) in ({"value"}, {"error"}) and isinstance(found.get("error", ""), str):
            return found.get("value"), found.get("error")
    except (OSError, ValueError):
        pass
    if code is not None and code < 0:
        return None, f"进程被系统结束了（信号 {-code}），多半是崩溃或内存用尽"
    return None, "进程自己退出了，没有交出结果" + (f"（退出码 {code}）" if code else "")


def _read_words(folder):
    try:
        text = _read_regular(folder / WORDS)[:8000].decode(errors="replace")
    except OSError:
        return ()
    return tuple(dict.fromkeys(text.splitlines()))


def _read_regular(path):
    """普通文件的内容，不跟着链接走；太大时 OSError"""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise OSError("不是普通文件，或者太大")
        return file.read(LARGEST)
