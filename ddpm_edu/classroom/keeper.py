"""看管的进程：先把 torch 与课程的包装好，然后一份活分出一个进程去做，看着它的时间与内存；自己从不运行不可信的程序

python -m ddpm_edu.classroom.keeper 由 isolation.py 启动：标准输入一行一份活，标准输出一行一个结果；标准输入断了就收拾干净走人
"""
import contextlib
import importlib
import json
import os
import random
import select
import shutil
import signal
import sys
import time
from pathlib import Path

from . import guard

JOB, VALUE, WORDS, ROOM = "job", "value", "words", "room"
LARGEST = 96 << 20
# 分进程之前先装好的，各份活都用得到
PRELOAD = ("numpy", "torch", "ddpm_edu.teach", "ddpm_edu.ddpm", "ddpm_edu.classroom.messages")
KEPT = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "MPLBACKEND",
        "CUDA_VISIBLE_DEVICES")
PAUSE = 0.02


def prepare():
    guard.hide_answers()
    if hasattr(os, "fork"):
        for name in PRELOAD:
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


# ---- 做活的进程 ----

def work(folder, target, seconds, memory_mb, writable):
    """在本进程里做 folder 里的那份活，结果写回 folder；不返回"""
    from . import messages

    room, value = os.path.join(folder, ROOM), os.open(os.path.join(folder, VALUE), os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    words = os.open(os.path.join(folder, WORDS), os.O_WRONLY | os.O_CREAT, 0o600)
    job = messages.read(Path(folder, JOB).read_bytes())
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    settle(room)
    write, leave = os.write, os._exit
    doors = guard.readable_folders()
    if hasattr(os, "fork"):
        from . import kernel

        kernel.limit(seconds + 1, memory_mb << 20, LARGEST)
        kernel.confine([*doors, room], [room] if writable else [])
    guard.install(lambda text: write(words, f"{text}\n".encode(errors="replace")), room if writable else None)
    try:
        answer = messages.write({"value": function(job)})
    except MemoryError:
        answer = messages.write({"error": f"内存用尽（上限 {memory_mb} MB）"})
    except BaseException as error:
        answer = messages.write({"error": f"出错：{type(error).__name__}"})
    while answer:
        answer = answer[write(value, answer):]
    leave(0)


def settle(room):
    """工作的文件夹是空的，环境变量只留必要的，随机数从头数起"""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept, **dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME",
                                             "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR"), room))
    os.chdir(room)
    random.seed(0)


def detach():
    """分出来的进程：自成一组，不再连着看管者的管道"""
    os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for handle in range(3):
        os.dup2(null, handle)
    os.closerange(3, 4096)


# ---- 看管 ----

def watch(poll, kill, pid, seconds, memory_mb, pause):
    """等到结束、超时或内存用尽为止；返回 (退出码或 None, 一句话或空)"""
    deadline, base = time.monotonic() + seconds, resident(pid)
    while (code := poll()) is None:
        reason = f"超时（上限 {seconds} 秒）" if time.monotonic() > deadline else ""
        if resident(pid) - base > memory_mb << 20:
            reason = f"内存用尽（上限 {memory_mb} MB）"
        if reason:
            kill()
            return None, reason
        pause()
    return code, ""


def resident(pid):
    """进程占着多少内存，字节；问不到时 0"""
    try:
        if sys.platform == "linux":
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        import psutil  # 随 ipykernel 装来；没有就不看内存

        return psutil.Process(pid).memory_info().rss
    except Exception:
        return 0


class Child:
    """分出来的一个进程"""

    def __init__(self, **job):
        self.code, self.pid = None, os.fork()
        if self.pid == 0:
            try:
                detach()
                work(**job)
            finally:
                os._exit(70)
        # 两边都做：不论谁先跑，之后都能整组地结束
        with contextlib.suppress(OSError):
            os.setpgid(self.pid, self.pid)

    def poll(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def kill(self):
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def listen():
    """标准输入在等待时有了动静，只能是主人走了"""
    if select.select([0], [], [], PAUSE)[0]:
        raise SystemExit


def serve(request):
    child = Child(**request)
    try:
        return watch(child.poll, child.kill, child.pid, request["seconds"], request["memory_mb"], listen)
    finally:
        child.kill()


def main(base):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # 包里若有东西要印，不许混进结果
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    try:
        prepare()
        print("ready", file=answers, flush=True)
        if not hasattr(os, "fork"):
            work(**json.loads(sys.stdin.readline()))
        while line := sys.stdin.readline():
            print(json.dumps(serve(json.loads(line))), file=answers, flush=True)
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
