"""已经导入好的内核：torch、Lightning 这些库只导入一次，每个内核从那里 fork 出来，省下每本 notebook 七八秒

只在 Linux 上用；别的系统照常从头起内核。从零起的内核在 test_kernel.py 里有
"""
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

# 课程用到的库里导入得慢的几个；程序包自己的模块不在内，各内核自己导入
LIBRARIES = ("torch", "pytorch_lightning", "sklearn.datasets", "ipywidgets", "IPython.core.completer", "ipykernel.kernelapp")
SHARED = "DDPM_EDU_WARM_KERNELS"
# 给 matplotlib 的，它只在导入时看一次
INLINE = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}


@contextlib.contextmanager
def warm_kernels(libraries=LIBRARIES):
    """给出一个目录：环境变量 JUPYTER_PATH 指着它时，python3 内核的进程由这里起的服务 fork；别的系统上是空串"""
    if sys.platform != "linux":
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        door, spec = Path(folder) / "door", Path(folder) / "kernels" / "python3"
        listener.bind(str(door))
        listener.listen()
        spec.mkdir(parents=True)
        # 打断由消息送达，不必转发信号
        (spec / "kernel.json").write_text(json.dumps({
            "argv": [sys.executable, "-S", __file__, str(door), "{connection_file}"], "display_name": "Python 3 (ipykernel)",
            "language": "python", "interrupt_mode": "message"}), encoding="utf-8")
        server = subprocess.Popen([sys.executable, __file__, str(listener.fileno()), *libraries], env={**os.environ, **INLINE},
                                  stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
        try:
            yield folder
        finally:
            # 标准输入一关，服务就走
            server.communicate()


def keep_warm(config):
    """整个 pytest 期间都在，目录记在环境变量 SHARED 里；pytest-xdist 的各个进程共用主进程起的那一份"""
    if not hasattr(config, "workerinput"):
        stack = contextlib.ExitStack()
        os.environ[SHARED] = stack.enter_context(warm_kernels())
        config.add_cleanup(stack.close)


def serve(number, *libraries):
    """导入各个库，然后每来一位 fork 一个内核；fork 之前只许有这一个线程"""
    listener = socket.socket(fileno=int(number))
    for name in libraries:
        __import__(name)
    # 各个内核的垃圾回收不必再看导入来的对象，它们的内存也就一直共用
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in (ready := select.select([listener, sys.stdin], [], [])[0]):
        guest = ready[0].accept()[0]
        if os.fork() == 0:
            listener.close()
            become_kernel(guest)
        guest.close()


def become_kernel(guest):
    """换上那一位的目录、环境、输出，成为内核；那一位不在了，内核也不留"""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, outputs, _, _ = socket.recv_fds(guest, 1 << 20, 2)
    wanted = json.loads(message)
    os.setsid()
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *outputs]):
        os.dup2(file, number)

    def leave_with_guest():
        guest.recv(1)
        os._exit(1)

    threading.Thread(target=leave_with_guest, daemon=True).start()
    from ipykernel.kernelapp import launch_new_instance

    sys.argv = ["ipykernel_launcher.py", "-f", wanted["connection_file"]]
    # 与 python -m ipykernel_launcher 相同：当前目录在最前
    sys.path[0] = ""
    launch_new_instance()
    os._exit(0)


def ask(door, connection_file):
    """Jupyter 起的其实是这个进程：把自己的样子交给服务，等内核走完"""
    with socket.socket(socket.AF_UNIX) as host:
        host.connect(door)
        # 父进程是服务，不是 Jupyter，不能让内核拿它来判断自己该不该走
        environment = {name: value for name, value in os.environ.items() if name != "JPY_PARENT_PID"}
        wanted = {"cwd": os.getcwd(), "environment": environment, "connection_file": connection_file}
        socket.send_fds(host, [json.dumps(wanted).encode()], [1, 2])
        host.recv(1)


if __name__ == "__main__":
    serve(*sys.argv[1:]) if sys.argv[1].isdigit() else ask(*sys.argv[1:])
