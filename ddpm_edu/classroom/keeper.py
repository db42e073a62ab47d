"""看管的进程：先把 torch 与课程的包装好，然后一份活分出两个进程，一个去做，一个看着它的时间与内存；这两层都不运行不可信的程序

python -m ddpm_edu.classroom.keeper 由 isolation.py 启动，在自己的文件夹里开一扇门（Unix 套接字）：来一份活开一条连接，做完回一行。
主人断了标准输入，它就删掉文件夹走人；断了一条连接，那份活就停下。没有 fork 的 Windows 上，一个进程只做标准输入里的一份活，由主人看着
"""
import contextlib
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

from . import guard

JOB, VALUE, WORDS, ROOM, DOOR = "job", "value", "words", "room", "door"
# 信的上限：比 messages.MOST_BYTES 写成 base64 之后略大
LARGEST = 32 << 20
KEPT = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "MPLBACKEND",
        "CUDA_VISIBLE_DEVICES")
PAUSE = 0.02


def function_of(target):
    """"模块:函数" → 函数；在分进程之前导入，各份活就不必再装一遍"""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


# ---- 做活的进程 ----

def work(function, folder, seconds, memory_mb, writable, hidden):
    """在本进程里做 folder 里的那份活，结果写回 folder；不返回"""
    from . import messages

    room, value = os.path.join(folder, ROOM), os.open(os.path.join(folder, VALUE), os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    words = os.open(os.path.join(folder, WORDS), os.O_WRONLY | os.O_CREAT, 0o600)
    job = messages.read(Path(folder, JOB).read_bytes())
    settle(room)
    write, leave = os.write, os._exit
    doors = guard.readable_folders()
    readable = guard.without(doors, hidden)
    if hasattr(os, "fork"):
        from . import kernel

        kernel.limit(seconds + 1, memory_mb << 20, LARGEST)
        kernel.confine([*readable, room], [room] if writable else [], doors)
    guard.install(lambda text: write(words, f"{text}\n".encode(errors="replace")), room if writable else None)
    try:
        answer = messages.write({"value": function(job)})
    except BaseException as error:
        answer = messages.write({"error": sentence(error, memory_mb)})
    while answer:
        answer = answer[write(value, answer):]
    leave(0)


def sentence(error, memory_mb):
    try:
        text = str(error).strip().partition("\n")[0][:200]
    except BaseException:
        text = ""
    # torch 要不到内存时抛 RuntimeError
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return f"内存用尽（上限 {memory_mb} MB）"
    return f"出错：{type(error).__name__}" + (f"：{text}" if text else "")


def settle(room):
    """工作的文件夹是空的，环境变量只留必要的"""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept, **dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME",
                                             "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR"), room))
    os.chdir(room)


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


def serve(connection, function, request):
    """看着一份活做完，回一行 [退出码, 一句话]；连接断了就停下"""
    keeper = os.getppid()

    def listen():
        # 主人在等结果，不会再说话：有了动静，就是走了；守门的走了，也不必再做
        if select.select([connection], [], [], PAUSE)[0] or os.getppid() != keeper:
            raise SystemExit

    child = Child(function=function, **request)
    try:
        answer = watch(child.poll, child.kill, child.pid, request["seconds"], request["memory_mb"], listen)
        child.kill()
        connection.sendall(json.dumps(answer).encode() + b"\n")
    finally:
        child.kill()


def receive(door):
    """接下一份活，分出一个进程去看着"""
    connection, _ = door.accept()
    with connection, connection.makefile() as lines:
        request = json.loads(lines.readline())
        function = function_of(request.pop("target"))
        if os.fork() == 0:
            try:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                serve(connection, function, request)
            finally:
                os._exit(0)


def keep(base):
    """守着门，直到标准输入断了"""
    # 看着的进程做完就走，不必来收
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(os.path.join(base, DOOR))
            door.listen(64)
            os.write(1, b"ready\n")
            while not select.select([door, 0], [], [])[0] == [0]:
                receive(door)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def main(base):
    guard.hide_answers()
    import torch

    torch.set_num_threads(1)
    if hasattr(os, "fork"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        keep(base)
    else:
        request = json.loads(sys.stdin.readline())
        work(function_of(request.pop("target")), **request)


if __name__ == "__main__":
    main(sys.argv[1])
