"""课程的唯一入口，只用标准库，Linux / macOS / Windows 写法相同

python course.py lab    建好环境，用中文界面打开 JupyterLab 的第一课；后面的参数交给 JupyterLab
python course.py test   装好测试要用的东西，跑全部测试；后面的参数交给 pytest
python course.py build  由 notebooks/src/ 重新生成并执行全部 notebook；后面可写名字，只生成那几本
                        加 --text 则只换文字与链接，不执行（代码一字未改时）
                        加 --solutions 则生成习题带答案的版本，放在 notebooks/solutions/
python course.py export 把整套课程导出成网页书，不开内核、不联网也能读，能搜；后面可写目录，默认 build/html
                        加 --pdf 再打印成 PDF，全书一份，各章一份，放在那个目录的 pdf/
python course.py slides 把一章变成幻灯片；后面写章号，如 03，默认全部；--out 目录，默认 build/slides
python course.py original 讲解你手里的原文件（ddpm.py、ddim.py、ema.py、lr_scheduler.py 或 YAML 配置），只读不执行；
                        后面写文件，或 --download ldm（sd1、sd2）从公开的仓库取一份；写到 build/original
python course.py regrade 教师：把收来的 notebook 逐题重判，写出一张表；后面写文件夹。学生的程序在隔离的进程里运行
python course.py assignment 教师：一章的习题变成 nbgrader 或 otter-grader 的作业：04 --format nbgrader（或 otter）；
                        变回来、收分数用 --back 文件，--out 目录
python course.py project 大作业：start digits|mnist [目录] 备好学生的文件夹，train 目录 练，grade 目录 判一份，
                        leaderboard 目录 判一个文件夹里的全部作业，写成一张网页；写到 build/leaderboard
python course.py doctor 看这个环境哪里对、哪里错、怎么办；--network 另外试一次包的索引。没有建好环境也能用
python course.py lock   按两份 requirements.txt 的范围重写 requirements.lock；--upgrade 取最新的，后面的参数交给 uv
python course.py newest 在临时的环境里装范围内最新的版本，跑全部测试，列出与锁定的不同；后面的参数交给 pytest
"""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import venv
except ModuleNotFoundError:  # 有的系统把它拆成另一个包；doctor 会说怎么办
    venv = None

ROOT = Path(__file__).resolve().parent
# 设成空的等于没有设
VENV = Path(os.environ.get("DDPM_EDU_VENV") or ROOT / ".venv")
LOCK = ROOT / "requirements.lock"
RANGES = ROOT / "requirements.txt", ROOT / "tests" / "requirements.txt"
# torch 最后单独装，不核对摘要：同一个版本有 CPU、CUDA 几种文件，已经装了其中一种就用它；CUDA 库的版本由它自己定死
TORCH = "torch==2.13.0"
ONLY_FOR_TORCH = re.compile(r"^(?:torch==|triton|nvidia-|cuda-).*(?:\n    .*)*\n", re.M)
BROWSER = "tests/browser"
# pip 用一个核逐个编译装好的包，这里几个核一起；包里夹着的旧语法的样例编译不过，不碍事。环境也许是只读的，不能留到导入时
COMPILE = "import compileall, sysconfig; compileall.compile_dir(sysconfig.get_path('purelib'), quiet=2, workers=0)"
# 安装时隔几秒说一声还在装：pip 自己装大包时一两分钟不出声
REMIND = 20
FIRST_PAGE = "/lab/tree/notebooks/00_quickstart.ipynb"
LAB_SETTINGS = {
    "@jupyterlab/translation-extension:plugin": {"locale": "zh_CN"},
    # 代码太宽时折行，笔记本电脑的屏幕不必左右拖；单元逐个排进页面：默认的排法下，从别的章来的链接落不到书末的单元
    "@jupyterlab/notebook-extension:tracker": {"codeCellConfig": {"lineWrap": True}, "windowingMode": "defer"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


def run(*command, waiting="", **kwargs):
    """运行并等它结束，waiting 是等得久时隔一阵说一次的话；自己被叫停时，先让它好好收尾（JupyterLab 要关掉内核、让出端口），不肯走才强制结束"""
    child, started = subprocess.Popen([str(part) for part in command], cwd=ROOT, **kwargs), time.monotonic()
    try:
        while True:
            try:
                return child.wait(timeout=REMIND if waiting else None)
            except subprocess.TimeoutExpired:
                print(f"  {waiting}，已经 {time.monotonic() - started:.0f} 秒", flush=True)
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()


def python_of(folder):
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


PYTHON = python_of(VENV)


def make_environment(folder, *installs):
    """建好 folder 里的虚拟环境，逐次 pip install，再让它认得本课程；返回它的 python"""
    python = python_of(folder)
    if not python.exists() or run(python, "-c", "import pip", stderr=subprocess.DEVNULL):
        if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
            sys.exit(f"{folder} 里已有别的东西，又不是虚拟环境，不会动它；把环境变量 DDPM_EDU_VENV 改成一个空的或还没有的目录")
        print(f"正在建立虚拟环境 {folder} ……", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        create_venv(folder)
        print("正在安装依赖（第一次约需几分钟、1.7 GB 磁盘；之后直接启动）……", flush=True)
    else:
        print("正在补装还缺的包……", flush=True)
    for options in installs:
        if run(python, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile", "-q", *options, waiting="还在下载和安装"):
            sys.exit("依赖没有装全。多半是网络：再运行一次，已经下完的包不会再下；网速慢时，先设环境变量 PIP_INDEX_URL 指向离你近的 PyPI 镜像")
    run(python, "-c", COMPILE, waiting="还在编译")
    make_package_importable(python)
    settings = folder / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(LAB_SETTINGS), encoding="utf-8")
    return python


def create_venv(folder):
    try:
        venv.create(folder, with_pip=True)
    except (AttributeError, subprocess.CalledProcessError):
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(f"{sys.executable} 建不了虚拟环境，它的 venv 或 ensurepip 不全；运行 python course.py doctor 看怎么办")


def wanted_stamp():
    parts = [LOCK.read_text(encoding="utf-8"), TORCH, sys.version, str(ROOT), json.dumps(LAB_SETTINGS)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_complete():
    stamp = VENV / ".installed"
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted_stamp()


def ensure_environment():
    """按 requirements.lock 建好 .venv；装完才盖戳：中途断了，下次重来（已下完的包在 pip 的缓存里）；装好了，下次直接用"""
    if not is_complete():
        make_environment(VENV, ["--require-hashes", "--no-deps", "-r", LOCK], [TORCH])
        (VENV / ".installed").write_text(wanted_stamp())


def make_package_importable(python):
    """在环境里记下本目录：notebook 放在哪里都能 import ddpm_edu"""
    # 只写 ASCII：系统的编码不是 UTF-8 时，Python 读到有中文的 .pth 就起不来；由那个 python 自己写，它的路径不必传回来
    line = f"import os, sys; sys.path.append(os.fsdecode({os.fsencode(ROOT)!r}))\n"
    code = "import pathlib, sys, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), 'ddpm_edu_course.pth').write_text(sys.argv[1])"
    subprocess.run([str(python), "-c", code, line], check=True)


def lab(arguments):
    ensure_environment()
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    # 同一个选项给两次，JupyterLab 会拒绝启动；你给的优先
    given = {argument.partition("=")[0] for argument in arguments}
    ours = {"--ServerApp.root_dir": ROOT, "--LabApp.default_url": FIRST_PAGE,
            # 不去找没有装的语言服务器，省得在网址后面印一大串
            "--LanguageServerManager.autodetect": False,
            # 拖动面板时，新图少等三十多毫秒
            "--ServerApp.kernel_websocket_connection_class": "ddpm_edu.cli.lab.PromptConnection"}
    opening = [f"{option}={value}" for option, value in ours.items() if option not in given]
    return run(PYTHON, "-m", "jupyterlab", *opening, *as_root, *arguments)


def test(arguments):
    ensure_environment()
    return run_tests(PYTHON, arguments)


def run_tests(python, arguments):
    if arguments:
        return run(python, "-m", "pytest", *arguments)
    # 几个进程同时跑，各用一个线程：线程数比核多时，互相等待会慢几十倍
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or "1"}
    workers = ["-n", "auto", "--maxprocesses", "4", "--dist"]
    parts = {
        "单元测试": ["-p", "no:nbval", *workers, "worksteal", "--ignore", BROWSER, "tests"],
        # 一本不拆开；先后由根目录的 conftest.py 定。机器忙时，内核的库导入得慢，要多等一会儿
        "notebook": ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", "600", "--nbval-kernel-startup-timeout", "300",
                     *workers, "loadfile", "--no-loadscope-reorder", "notebooks"],
        # 各进程各开一个浏览器；没有 chromium 就跳过，并说明缺什么
        "浏览器": ["-p", "no:nbval", "-n", "auto", "--maxprocesses", "2", "--dist", "worksteal", "-rs", BROWSER],
    }
    codes, times = [], []
    for name, options in parts.items():
        started = time.monotonic()
        codes.append(run(python, "-m", "pytest", *options, env=environment))
        times.append(f"{name} {time.monotonic() - started:.0f} 秒")
    print("，".join(times))
    return next(filter(None, codes), 0)


def build(arguments):
    ensure_environment()
    return run(PYTHON, "-m", "ddpm_edu.authoring.build", *arguments)


def export(arguments):
    ensure_environment()
    return run(PYTHON, "-m", "ddpm_edu.authoring.site", *(word if word.startswith("-") else os.path.abspath(word) for word in arguments))


def slides(arguments):
    ensure_environment()
    return run(PYTHON, "-m", "ddpm_edu.authoring.slides", *arguments)


def original(arguments):
    ensure_environment()
    # 从这里起在仓库的目录里运行，文件与 --out 的目录先换成完整的路径
    places = [os.path.abspath(word) if before == "--out" or os.path.exists(word) and before != "--download" else word
              for before, word in zip(["", *arguments], arguments)]
    return run(PYTHON, "-m", "ddpm_edu.original", *places)


def regrade(arguments):
    ensure_environment()
    # 从这里起在仓库的目录里运行，文件夹先换成完整的路径
    return run(PYTHON, "-m", "ddpm_edu.classroom.regrade", *(os.path.abspath(word) if os.path.exists(word) else word for word in arguments))


def assignment(arguments):
    ensure_environment()
    places = [os.path.abspath(word) if before in ("--out", "--back") else word for before, word in zip(["", *arguments], arguments)]
    return run(PYTHON, "-m", "ddpm_edu.classroom.assignment", *places)


def project(arguments):
    ensure_environment()
    # 从这里起在仓库的目录里运行，目录先换成完整的路径；start 后面先是大作业的名字
    first = 2 if arguments[:1] == ["start"] else 1
    places = [os.path.abspath(word) if before in ("--data", "--out", "--json") or number >= first and os.path.isdir(word)
              or number == first and not word.startswith("-") else word for number, (before, word) in enumerate(zip(["", *arguments], arguments))]
    if places[:1] == ["start"] and len(places) == 2:
        places.append(os.path.abspath(f"project-{places[1]}"))
    return run(PYTHON, "-m", "ddpm_edu.classroom.project", *places)


def doctor(arguments):
    from ddpm_edu.cli.doctor import main as examine

    return examine(arguments, ROOT, VENV, TORCH, is_complete())


def lock(arguments):
    """一份锁管 Python 3.10 到 3.13 与三种系统；torch 与只有它要的包不写进去，见 TORCH。没有 --upgrade 时，已有的版本能不动就不动"""
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "torch.txt"
        pinned.write_text(TORCH, encoding="utf-8")
        venv.create(Path(folder) / "venv", with_pip=True)
        uv = [python_of(Path(folder) / "venv"), "-m", "uv", "pip", "compile", "--universal", "--python-version", "3.10", "--generate-hashes"]
        if run(uv[0], "-m", "pip", "install", "-q", "uv") or run(*uv, "-q", "--no-annotate", "--no-header", "-o", LOCK, *RANGES, pinned, *arguments):
            return 1
    text = ONLY_FOR_TORCH.sub("", LOCK.read_text(encoding="utf-8"))
    LOCK.write_text(f"# -*- coding: utf-8 -*- 由 python course.py lock 生成，不要手改\n{text}", encoding="utf-8")
    return 0


def newest(arguments):
    with tempfile.TemporaryDirectory() as folder:
        python = make_environment(Path(folder) / "venv", [part for file in RANGES for part in ("-r", file)])
        failed = run_tests(python, arguments)
        listed = subprocess.run([str(python), "-m", "pip", "list", "--format=json"], stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout
    print(*newer_than_locked(json.loads(listed)), "测试没有全部通过，见上面" if failed else "测试全部通过", sep="\n")
    return failed


def newer_than_locked(packages):
    """pip list 的结果里与锁定的版本不同的，一行一个"""
    locked = {}
    for name, version in re.findall(r"^([^\s=]+)==(\S+)", f"{LOCK.read_text(encoding='utf-8')}\n{TORCH}", re.M):
        locked.setdefault(name, []).append(version)
    found = ((re.sub(r"[-_.]+", "-", package["name"]).lower(), package["version"].partition("+")[0]) for package in packages)
    return [f"{name} {' / '.join(locked[name])} → {version}" for name, version in found if version not in locked.get(name, [version])]


def use_utf8():
    """自己与子进程的文件名、输入输出一律用 UTF-8：不然系统的编码写不出中文时，印一句话也会半路停下"""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    os.environ.pop("PYTHONIOENCODING", None)
    # 文件名怎样解码，只能在启动时选定
    again = sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1"
    os.environ["PYTHONUTF8"] = "1"
    if again:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def main():
    if sys.version_info < (3, 10):
        sys.exit(f"需要 Python 3.10 或更新的版本，现在是 {sys.version.split()[0]}")
    use_utf8()
    commands = {"lab": lab, "test": test, "build": build, "export": export, "slides": slides, "original": original, "regrade": regrade,
                "assignment": assignment, "project": project, "doctor": doctor, "lock": lock, "newest": newest}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    # 不另作处理的话，收到 SIGTERM 时 Python 当场消失，子进程留下来占着端口
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return commands[sys.argv[1]](sys.argv[2:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
