"""真的进程，而不必每次重新导入：导入 torch 与 Lightning 要六七秒

Linux 上由 pytest 的进程 fork 出来（像 DataLoader 一样，torch 只用一个线程时是安全的）；别的系统上从头起一个。
从零起的 python -m ddpm_edu 在 test_bad_input.py 里有一个
"""
import logging
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

CONTEXT = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def start(function, *args):
    process = CONTEXT.Process(target=function, args=args)
    process.start()
    return process


def exit_code(function, *args):
    process = start(function, *args)
    process.join()
    return process.exitcode


def _forget_the_handlers():
    """日志不再给 pytest，写到这个进程自己的标准错误"""
    logging.getLogger().handlers.clear()
    for logger in logging.root.manager.loggerDict.values():
        for handler in getattr(logger, "handlers", ()):
            if type(handler) is logging.StreamHandler:
                handler.setStream(sys.stderr)


def _enter(target, arguments, streams, cwd, environment):
    """在子进程里：换上自己的文件夹、环境变量、标准输出与标准错误，再运行；字符串是模块名，像 python -m 一样"""
    os.chdir(cwd)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(streams / name, "wb") as file:
            os.dup2(file.fileno(), number)
        setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))
    _forget_the_handlers()
    if callable(target):
        target(*arguments)
    else:
        sys.argv = [target, *arguments]
        runpy.run_module(target, run_name="__main__", alter_sys=True)


class Program:
    """跑着的程序；end() 等它结束，至多 seconds 秒"""

    def __init__(self, target, *arguments, cwd, **environment):
        self._folder = tempfile.TemporaryDirectory()
        self.streams = Path(self._folder.name)
        self.process = start(_enter, target, arguments, self.streams, str(cwd), environment)

    def end(self, seconds=100):
        self.process.join(seconds)
        late = self.process.exitcode is None
        self.process.kill()
        self.process.join()
        with self._folder:
            said = [(self.streams / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
        assert not late, f"{seconds} 秒之后还没有结束：{said[1]}"
        return Done(self.process.exitcode, *said)


def forget(*packages):
    """在子进程里：就像还没有导入过这几个包；导入时先找当前的文件夹"""
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
    sys.path.insert(0, os.getcwd())


def run(target, *arguments, cwd, **environment):
    return Program(target, *arguments, cwd=cwd, **environment).end()
