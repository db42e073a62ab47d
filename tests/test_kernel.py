"""真的 Jupyter 内核：停止键，单元重复与乱序，课堂上的各种环境"""
import contextlib
import functools
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelapp import IPKernelApp
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client import BlockingKernelClient, write_connection_file
from jupyter_client.manager import start_new_kernel

from ddpm_edu.authoring.build import NOTEBOOKS, sources
from ddpm_edu.authoring.hosting import TAG

from .program import Program

ROOT = Path(__file__).resolve().parents[1]
BOOKS = [path.stem for path in sources()]
TRAINING = ("00_quickstart", "13_mnist", "14_cifar10")  # 真的训练几分钟的，只按序运行
windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows 没有 SIGINT 可发给单个进程")


class Said:
    """一个单元说了什么：out 是标准输出与结果的文字，err 是标准错误，error 是异常的名字或 None"""

    def __init__(self, messages):
        self.parts = [(m["msg_type"], m["content"]) for m in messages]
        self.out = self._stream("stdout") + "".join(
            content["data"].get("text/plain", "") for kind, content in self.parts if kind in ("display_data", "execute_result"))
        self.err = self._stream("stderr")
        self.error = next((content["ename"] for kind, content in self.parts if kind == "error"), None)

    def _stream(self, name):
        return "".join(content["text"] for kind, content in self.parts if kind == "stream" and content["name"] == name)


def stored(cell):
    """notebook 里存下的输出"""
    return Said([{"msg_type": output.output_type, "content": output} for output in cell.outputs])


def code_cells(name):
    return [cell for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells if cell.cell_type == "code" and cell.id != TAG]


@contextlib.contextmanager
def kernel(folder, **environment):
    """在 folder 里从零起一个内核；给出 run，run(代码) → Said"""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", **environment}
    manager, client = start_new_kernel(cwd=str(folder), env=settings, startup_timeout=100)
    try:
        yield functools.partial(execute, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def execute(client, code):
    messages = []
    client.execute_interactive(code, output_hook=messages.append, allow_stdin=False, timeout=300)
    return Said(messages)


def launch(connection_file):
    InteractiveShell.clear_instance()
    IPKernelApp.launch_instance(argv=["-f", connection_file])


@contextlib.contextmanager
def forked_kernel(folder):
    """torch 与 Lightning 早已导入的内核；给出 (run, 按下停止键)"""
    connection_file, _ = write_connection_file(str(folder / "kernel.json"))
    program = Program(launch, connection_file, cwd=folder, TQDM_DISABLE="1")
    client = BlockingKernelClient(connection_file=connection_file)
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=100)
        yield functools.partial(execute, client), lambda: os.kill(program.process.pid, signal.SIGINT)
    finally:
        client.stop_channels()
        program.process.kill()
        program.end()


def run_in_order(run, cells):
    """按序运行，文字与存下的逐字相同；返回标准错误里的各行"""
    lines = []
    for cell in cells:
        said = run(cell.source)
        assert said.error is None, said.parts
        if "NBVAL_IGNORE_OUTPUT" not in cell.source:
            assert said.out == stored(cell).out, cell.source
            lines += said.err.splitlines()
    return lines


# ---- 停止键 ----

SETUP = """
import pathlib, warnings
from tests.conftest import tiny_ddpm
from tests.test_training import fingerprint
from ddpm_edu import DigitsDataModule
from ddpm_edu.teach.training import quiet_trainer
import pytorch_lightning as pl

class Mark(pl.Callback):
    def __init__(self):
        self.prints = {}
    def on_train_batch_end(self, trainer, module, *args):
        pathlib.Path("step").write_text(str(trainer.global_step))
        self.prints[trainer.global_step] = fingerprint(module)

def make(steps):
    model, data = tiny_ddpm(learning_rate=1e-3, ema_decay=0.9), DigitsDataModule(batch_size=16)
    return model, data, quiet_trainer(max_steps=steps, enable_checkpointing=True, default_root_dir=".", callbacks=[Mark()],
                                      limit_train_batches=7, limit_val_batches=2)

joined = []
"""
TRAIN = "model, data, trainer = make(100000); trainer.fit(model, data); stop = trainer.global_step"
RESUME = "model, data, trainer = make(stop + 3); {line}; joined.append((stop + 3, fingerprint(model)))"
COMPARE = """
model, data, trainer = make(max(joined)[0])
trainer.fit(model, data)
print([trainer.callbacks[0].prints[step] == value for step, value in joined])
"""


@windows
def test_the_stop_button_leaves_a_kernel_that_continues_to_the_same_bits(tmp_path, amount, tally):
    moments, tries = random.Random(0), amount(1, 10)

    def interrupt():
        step, wait = moments.randrange(1, 30), moments.random() / 20
        limit = time.monotonic() + 100
        while time.monotonic() < limit and not (mark.exists() and int(mark.read_text() or 0) >= step):
            time.sleep(0.002)
        time.sleep(wait)
        press()

    mark = tmp_path / "step"
    with forked_kernel(tmp_path) as (run, press):
        assert run(SETUP).error is None
        for _ in range(tries):
            mark.unlink(missing_ok=True)
            threading.Thread(target=interrupt).start()
            stopped = run(TRAIN)
            assert stopped.error is None, stopped.parts
            (line,) = re.findall("已在第 .* 个优化步之后停下.*", stopped.err)
            (advice,) = re.findall(r"继续：(trainer\.fit\(.*?\))", line)
            assert run(RESUME.format(line=advice)).error is None
        same = run(COMPARE).out
    tally(same.count("True"), tries)


# ---- 重复与乱序 ----


def try_book(name):
    """跳着运行，每格连按两遍，最后从头按序"""
    cells = code_cells(name)
    skipped = random.Random(name).sample(cells[1:], min(3, len(cells) - 1))
    with kernel(NOTEBOOKS) as run:
        # 什么都没有运行过，只会是 NameError；导入之后，前面的格用过的名字还可能是别的东西
        for before, allowed in (([], {None, "NameError"}), (cells[:1], {None, "NameError", "RuntimeError", "AssertionError"})):
            errors = {run(cell.source).error for cell in [*before, *skipped]}
            assert errors <= allowed, (name, errors)
        for cell in cells:
            twice = [run(cell.source) for _ in range(2)]
            assert not any(said.error for said in twice), (name, [said.parts for said in twice])
        run_in_order(run, cells)


def test_cells_out_of_order_or_twice_do_no_lasting_harm(amount):
    books = amount([], [book for book in BOOKS if book not in TRAINING])
    if not books:
        pytest.skip("--full 时才跑")
    for name in books:
        try_book(name)


# ---- 课堂上的环境 ----

NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError("没有网络")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
"""
NO_FONTS = """
import matplotlib.font_manager
matplotlib.font_manager.fontManager.ttflist = [f for f in matplotlib.font_manager.fontManager.ttflist if "mpl-data" in f.fname]
"""
BROKEN_CUDA = """
import warnings
import torch
def is_available():
    warnings.warn("CUDA initialization: Unexpected error from cudaGetDeviceCount()")
    return False
torch.cuda.is_available = is_available
"""
# 说明 → (文件夹的名字, 启动时运行的代码, 环境变量, 标准错误里该有的那一行)
ROOMS = {
    "没有 ipywidgets": ("course", "import sys; sys.modules['ipywidgets'] = None", {}, "没有 ipywidgets，面板只有静态图.*pip install"),
    "没有网络": ("course", NO_NETWORK, {}, None),
    "LC_ALL=C，也不许 Python 改用 UTF-8": ("course", "", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, None),
    "文件夹的名字里有中文和空格": ("课 程", "", {}, None),
    "没有中文字体": ("course", NO_FONTS, {}, None),
    "坏的 CUDA 驱动": ("course", BROKEN_CUDA, {}, "CUDA initialization"),
    "只读的文件夹": ("course", "", {}, None),
}
# root 不受权限位管：先放下这项特权 (CAP_DAC_OVERRIDE)，只读才是真的
OBEY = """
import ctypes
header, rights = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
ctypes.CDLL(None).capget(header, rights)
rights[0] &= ~2
ctypes.CDLL(None).capset(header, rights)
"""


def course_copy(top, name, startup):
    """课程的副本；返回它的文件夹与环境变量：startup 在内核启动时运行，家目录是空的"""
    folder, home, site = (top / part for part in (name, "home", "site"))
    for part in ("ddpm_edu", "notebooks"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in (home, site):
        part.mkdir()
    (site / "sitecustomize.py").write_text(startup, encoding="utf-8")
    return folder, {"PYTHONPATH": f"{site}{os.pathsep}{folder}", "HOME": str(home), "IPYTHONDIR": str(home)}


def try_room(room, name, top):
    """在一种环境里按序运行一本；返回该有的那一行出现了几次，有别的话就失败"""
    title, startup, environment, expected = ROOMS[room]
    folder, paths = course_copy(top, title, startup)
    with kernel(folder / "notebooks", **paths, **environment) as run:
        if room == "只读的文件夹":
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o555 if path.is_dir() else 0o444)
            if os.geteuid() == 0:
                run(OBEY)
            assert run("open('x', 'w')").error == "PermissionError"
        lines = run_in_order(run, code_cells(name))
        assert run("import ddpm_edu; print(ddpm_edu.__file__)").out.startswith(str(folder))
    # Python 的警告后面还跟着一行缩进的源码
    lines = [line for line in lines if not line.startswith("  ")]
    odd = [line for line in lines if not (expected and re.search(expected, line))]
    assert not odd, (room, name, odd)
    # 训练里几次还原警告的设置，驱动的同一句会重复；不同的话至多一句
    assert len({line.partition("Warning: ")[2] for line in lines}) <= 1, (room, name, lines)
    return len(lines)


@pytest.mark.skipif(sys.platform == "win32", reason="权限位与区域设置的写法不同")
def test_notebooks_run_in_every_room(tmp_path, amount, tally):
    """平时只试一间，用有面板、跑得最快的一本；--full 时的 10 真的训练并存检查点"""
    tries = amount([("没有 ipywidgets", "03_forward")], [(room, name) for room in ROOMS for name in ("12_lr_scheduler", "10_training")])
    for i, (room, name) in enumerate(tries):
        said = try_room(room, name, tmp_path / str(i))
        if room == "没有 ipywidgets":
            panels = sum("_panel(" in cell.source for cell in code_cells(name))
            assert said == panels, (name, said, panels)
    tally(i + 1, len(tries))


def test_a_bar_in_a_notebook_is_plain_text_and_leaves_nothing_behind(tmp_path):
    """控件做的进度条收起之后，滚回来是一句 model not found；写到标准错误则是红底"""
    code = "from ddpm_edu.progress import progress_bar\nfor _ in progress_bar(range(3), True, '采样'): pass"
    with kernel(tmp_path, TQDM_DISABLE="0") as run:
        said = run(code)
    assert "采样" in said.out and said.err == "" and {kind for kind, _ in said.parts} <= {"status", "execute_input", "stream"}
    assert said.out.rpartition("\r")[2].strip() == ""
