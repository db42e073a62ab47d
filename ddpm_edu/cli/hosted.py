"""云端的 notebook（Colab、Kaggle、魔搭、AI Studio、AutoDL）：缺什么装什么，已有的一个也不换

那里的 torch 与 torchvision 是配好的，换掉一个，另一个就坏，Lightning 跟着无法导入。
装在哪个镜像，照 pip 自己的设置（PIP_INDEX_URL、pip config），这里不管
"""
import contextlib
import importlib
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from .requirements import everything_installed, fits, installed_version, read_requirements

COURSE = Path(__file__).resolve().parents[2]


def install_missing():
    """装上课程要用而这里没有的包；版本不合的不换，说一句

    异常 : Python 太旧、没有装成时 RuntimeError
    """
    if sys.version_info < (3, 10):
        raise RuntimeError(f"课程要 Python 3.10 或更新的版本，这里是 {sys.version.split()[0]}；换一个镜像再试")
    remember_folder()
    found = {line: installed_version(name) for name, line in read_requirements().items()}
    odd = [f"{line}（这里是 {number}）" for line, number in found.items() if number and not fits(number, line)]
    if None in found.values():
        print("正在装课程要用的包，已有的一个也不换……", flush=True)
        # 合要求的也交给 pip：它自带的附件（如 jsonargparse 的 signatures）缺了，只有 pip 看得出
        pip_install([line for line, number in found.items() if number is None or fits(number, line)])
    if odd:
        print(f"没有换，也没有用它们测过：{'、'.join(odd)}。出了错先疑心它们；torch 早于 2.10 时，来路不明的检查点不要打开")
    importlib.invalidate_caches()


def pip_install(wanted):
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "held.txt"
        held.write_text("\n".join(everything_installed()), encoding="utf-8")
        done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", str(held), *wanted],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    if done.returncode:
        reason = "\n".join(line for line in done.stdout.splitlines() if line.startswith("ERROR"))
        raise RuntimeError("课程要用的包没有装上，已有的没有动。多半是连不上包的索引：Kaggle 要先在右边打开 Internet；国内先设环境变量 PIP_INDEX_URL 指向镜像。"
                           f"pip 的原话：\n{reason or done.stdout[-500:]}")


def remember_folder():
    """整个仓库都在时不安装，只在这个 Python 里记下它在哪里：别的 notebook、子进程也找得到"""
    if (COURSE / "course.py").exists():
        pth = Path(sysconfig.get_path("purelib")) / "ddpm_edu_course.pth"
        # 只写 ASCII，理由见 course.py；写不进去也不要紧，这个内核已经找得到
        with contextlib.suppress(OSError):
            pth.write_text(f"import sys; sys.path.append({ascii(str(COURSE))})\n", encoding="ascii")
