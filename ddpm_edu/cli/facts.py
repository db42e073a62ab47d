"""环境的实情：python course.py doctor 先在这里收集，再到 doctor.py 里判断；只用标准库"""
import ctypes
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

PROBE = Path(__file__).with_name("probe.py")
GIB = 2**30


@dataclass
class Facts:
    """一台机器、一个环境的实情；测试里换掉几项，就是一个有毛病的环境"""

    root: Path
    venv: Path
    # 被查的 Python：课程的环境，没有建时是正在运行的这一个
    python: Path = Path(sys.executable)
    # 课程的环境："没有建"、"不是虚拟环境"、"起不来"、"没有装全"、"好"
    state: str = "没有建"
    can_make_venv: bool = True
    torch_pin: str = ""
    # 被查的 Python 自己说的，见 probe.py；环境没有建时只有 python 一项
    found: dict = field(default_factory=dict)
    conflicts: list = field(default_factory=list)
    system: str = sys.platform
    machine: str = platform.machine()
    environ: dict = field(default_factory=lambda: dict(os.environ))
    pip: dict = field(default_factory=dict)
    free: float = 100 * GIB
    memory: float = 16 * GIB
    cores: int = 4
    quota: float = 4
    nvidia: bool = False
    unwritable: list = field(default_factory=list)
    dead_proxies: list = field(default_factory=list)
    # None 是没有试，空字符串是通，别的是 pip 的原话
    network: str = None


def collect(root, venv, torch_pin, complete, network=False):
    """收集实情

    venv      : 课程的环境应在的目录
    torch_pin : 课程定的 torch，如 "torch==2.13.0"
    complete  : 环境的戳与今天的锁相符
    network   : 真的连一次包的索引
    """
    inside = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    facts = Facts(Path(root), venv, torch_pin=torch_pin, can_make_venv=bool(find_spec("venv") and find_spec("ensurepip")))
    if venv.is_dir() and any(venv.iterdir()):
        # 指向的 Python 已经卸载时，python 是一个断了的链接
        started = starts(inside)
        facts.state = ("不是虚拟环境" if not (venv / "pyvenv.cfg").exists() else "起不来" if not started else "好" if complete else "没有装全")
        facts.python = inside if started else facts.python
    facts.found = probe(facts.python, root)
    facts.conflicts = pip_lines(facts.python, "check")
    facts.pip = dict(re.findall(r"^[\w:]*\.?(?:\w+\.)?([\w-]+)='(.*)'$", "\n".join(pip_lines(facts.python, "config", "list")), re.M))
    facts.free = shutil.disk_usage(next(folder for folder in (venv, *venv.parents) if folder.exists())).free
    facts.memory, facts.cores, facts.quota = memory(), cores(), quota()
    facts.nvidia = shutil.which("nvidia-smi") is not None
    facts.unwritable = [str(folder) for folder in (root, root / "notebooks", Path.home()) if not writable(folder)] + ([] if temporary() else ["临时目录"])
    facts.dead_proxies = [url for url in proxies(facts.environ).values() if not listening(url)]
    facts.network = reach(facts.python) if network else None
    return facts


def starts(python):
    try:
        return subprocess.run([str(python), "-c", ""], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def probe(python, root):
    """让 python 运行 probe.py；半路倒下的，那一项记作 error"""
    try:
        done = subprocess.run([str(python), "-W", "ignore", "-c", PROBE.read_text(encoding="utf-8")], cwd=root, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=180)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output, code = late.stdout or b"", "三分钟没有走完"
    found = {}
    for line in output.decode("utf-8", "replace").splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    names = "python packages font kernel torch torchvision lightning".split()
    crashed = next((name for name in names if name not in found), None)
    return {**found, crashed: {"error": f"导入时整个进程停下了（{code}）"}} if crashed else found


def pip_lines(python, *command):
    """pip 印出的各行；没有 pip 时是空的"""
    done = subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", *command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8", errors="replace")
    return done.stdout.splitlines()


def reach(python):
    """用 pip 自己的设置取一个几十 kB 的包：空字符串是通，别的是 pip 的原话"""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python), "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--no-cache-dir", "--timeout", "5",
                   "--retries", "0", "-d", folder, "filelock"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
                                  encoding="utf-8", errors="replace")
        except subprocess.TimeoutExpired:
            return "三十秒没有取到"
    return "" if done.returncode == 0 else (done.stdout.strip().splitlines() or ["pip 没有说原因"])[-1]


def proxies(environ):
    """{变量名: 地址}；大小写两种写法只算一次"""
    return {name.upper(): environ[name] for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy") if environ.get(name)}


def listening(url):
    """本机上的代理开着没有；别处的代理不试，当作开着"""
    found = re.match(r"\w+://(?:[^@/]*@)?(127\.\d+\.\d+\.\d+|localhost|\[::1\]):(\d+)", url)
    if found is None:
        return True
    try:
        with socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=1):
            return True
    except (OSError, OverflowError):
        return False


def writable(folder):
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def temporary():
    try:
        return bool(tempfile.gettempdir())
    except FileNotFoundError:
        return False


def read_number(path):
    """cgroup 的一个文件里的第一个数；没有这个文件、写的是 max 时 None"""
    try:
        return float(Path(path).read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def memory():
    """能用的内存共有多少字节：机器的与容器的限额里小的那个"""
    if os.name == "nt":
        status = (ctypes.c_ulonglong * 8)(64)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return status[1]
    limits = map(read_number, ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"))
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *filter(None, limits)])


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota():
    """容器只许用几个核；没有限额时就是核数"""
    try:
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(cores(), float(most) / float(period))
    except (OSError, ValueError):
        return cores()
