"""课程的唯一入口，只用标准库，Linux / macOS / Windows 写法相同

python course.py lab    建好环境，用中文界面打开 JupyterLab 的第一课；后面的参数交给 JupyterLab
python course.py test   装好测试要用的东西，跑全部测试；后面的参数交给 pytest
python course.py build  由 notebooks/src/ 重新生成并执行全部 notebook；后面可写名字，只生成那几本
                        加 --solutions 则生成习题带答案的版本，放在 notebooks/solutions/
python course.py export 把整套课程导出成网页，不开内核、不联网也能读；后面可写目录，默认 build/html
python course.py slides 把一章变成幻灯片；后面写章号，如 03，默认全部；--out 目录，默认 build/slides
"""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("DDPM_EDU_VENV", ROOT / ".venv"))
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
RUNTIME, TESTING = ROOT / "requirements.txt", ROOT / "tests" / "requirements.txt"
BROWSER = "tests/browser"
# 安装时隔几秒说一声还在装：pip 自己装大包时一两分钟不出声
REMIND = 20
FIRST_PAGE = "/lab/tree/notebooks/00_quickstart.ipynb"
LAB_SETTINGS = {
    "@jupyterlab/translation-extension:plugin": {"locale": "zh_CN"},
    # 代码太宽时折行，笔记本电脑的屏幕不必左右拖
    "@jupyterlab/notebook-extension:tracker": {"codeCellConfig": {"lineWrap": True}},
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


def stamp_of(files):
    parts = [*(file.read_text(encoding="utf-8") for file in files), sys.version, str(ROOT), json.dumps(LAB_SETTINGS)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def ensure_environment(*files):
    """按需求文件建好 .venv；装完才盖戳：中途断了，下次重来（已下完的包在 pip 的缓存里）；装好了，下次直接用"""
    stamp, wanted = VENV / f".installed-{len(files)}", stamp_of(files)
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    if not PYTHON.exists() or run(PYTHON, "-c", "import pip", stderr=subprocess.DEVNULL):
        print(f"正在建立虚拟环境 {VENV} ……", flush=True)
        shutil.rmtree(VENV, ignore_errors=True)
        venv.create(VENV, with_pip=True)
    if list(VENV.glob(".installed-*")):
        print("正在补装还缺的包……", flush=True)
    else:
        print("正在安装依赖（第一次约需几分钟、1.5 GB 磁盘；之后直接启动）……", flush=True)
    options = [part for file in files for part in ("-r", file)]
    if run(PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "-q", *options, waiting="还在下载和安装"):
        sys.exit("依赖没有装全。多半是网络：再运行一次，已经下完的包不会再下；网速慢时，先设环境变量 PIP_INDEX_URL 指向离你近的 PyPI 镜像")
    make_package_importable()
    settings = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(LAB_SETTINGS), encoding="utf-8")
    stamp.write_text(wanted)


def make_package_importable():
    """在 .venv 里记下本目录：notebook 放在哪里都能 import ddpm_edu"""
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([str(PYTHON), "-c", query], capture_output=True, text=True, check=True).stdout.strip()
    # 只写 ASCII：系统的编码不是 UTF-8 时，Python 读到有中文的 .pth 就起不来
    line = f"import os, sys; sys.path.append(os.fsdecode({os.fsencode(ROOT)!r}))\n"
    (Path(site) / "ddpm_edu_course.pth").write_text(line, encoding="ascii")


def lab(arguments):
    ensure_environment(RUNTIME)
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    # 同一个选项给两次，JupyterLab 会拒绝启动；你给的优先
    given = {argument.partition("=")[0] for argument in arguments}
    ours = {"--ServerApp.root_dir": ROOT, "--LabApp.default_url": FIRST_PAGE,
            # 不去找没有装的语言服务器，省得在网址后面印一大串
            "--LanguageServerManager.autodetect": False}
    opening = [f"{option}={value}" for option, value in ours.items() if option not in given]
    return run(PYTHON, "-m", "jupyterlab", *opening, *as_root, *arguments)


def test(arguments):
    ensure_environment(RUNTIME, TESTING)
    if arguments:
        return run(PYTHON, "-m", "pytest", *arguments)
    # 几个进程同时跑，各用一个线程：线程数比核多时，互相等待会慢几十倍
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    workers = ["-n", "auto", "--maxprocesses", "4", "--dist"]
    parts = {
        "单元测试": ["-p", "no:nbval", *workers, "worksteal", "--ignore", BROWSER, "tests"],
        # 一本不拆开；先后由根目录的 conftest.py 定
        "notebook": ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", "120", *workers, "loadfile", "--no-loadscope-reorder", "notebooks"],
        # 各进程各开一个浏览器；没有 chromium 就跳过，并说明缺什么
        "浏览器": ["-p", "no:nbval", "-n", "auto", "--maxprocesses", "2", "--dist", "worksteal", "-rs", BROWSER],
    }
    codes, times = [], []
    for name, options in parts.items():
        started = time.monotonic()
        codes.append(run(PYTHON, "-m", "pytest", *options, env=environment))
        times.append(f"{name} {time.monotonic() - started:.0f} 秒")
    print("，".join(times))
    return next(filter(None, codes), 0)


def build(arguments):
    ensure_environment(RUNTIME, TESTING)
    return run(PYTHON, "-m", "ddpm_edu.teach.build", *arguments)


def export(arguments):
    ensure_environment(RUNTIME, TESTING)
    return run(PYTHON, "-m", "ddpm_edu.teach.export", *(os.path.abspath(folder) for folder in arguments))


def slides(arguments):
    ensure_environment(RUNTIME, TESTING)
    return run(PYTHON, "-m", "ddpm_edu.teach.slides", *arguments)


def main():
    if sys.version_info < (3, 10):
        sys.exit(f"需要 Python 3.10 或更新的版本，现在是 {sys.version.split()[0]}")
    commands = {"lab": lab, "test": test, "build": build, "export": export, "slides": slides}
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
