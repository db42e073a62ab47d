"""程序包与课程要哪些包，装着的合不合：只用标准库，环境坏了也能查"""
import re
import sys
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "requirements.txt"
# 读课程要的另加 JupyterLab；程序包不在课程的仓库里时没有这个文件
COURSE_FILE = FILE.parents[1] / "requirements.txt"
# pip 认得的版本号：1.2、2.0rc1、0.3.post1、2.13.0+cu126……
VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[\w.]+)?")


def plain_name(name):
    """包名的统一写法：小写，下划线与点换成连字符"""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirements(file=FILE):
    """一份 requirements.txt 与它用 -r 引来的 → {包名: 整行}，整行如 "torch>=2.10,<3" """
    found = {}
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= read_requirements(Path(file).parent / line[3:].strip())
        elif line and not line.startswith("#"):
            found[plain_name(re.match(r"[\w.-]+", line)[0])] = line
    return found


def release(text):
    """版本号开头那几个数，去掉末尾的 0：2.10.0+cpu → (2, 10)"""
    numbers = [int(n) for n in re.match(r"\d+(?:\.\d+)*", text)[0].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def fits(installed, requirement):
    """装着的版本合不合要求；只认这里写着的三种：>=、<、=="""
    have = release(installed)
    tests = {">=": have.__ge__, "<": have.__lt__, "==": have.__eq__}
    return all(tests[sign](release(wanted)) for sign, wanted in re.findall(r"(>=|<|==)([\d.]+)", requirement))


def installed_version(name):
    """这个 Python 里装的版本，没有装时 None"""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def everything_installed():
    """这个 Python 里的全部包，写成 pip 的约束：一个也不许换"""
    pairs = {plain_name(d.metadata["Name"] or ""): d.version or "" for d in reversed(list(distributions(path=sys.path)))}
    return [f"{name}=={number}" for name, number in sorted(pairs.items()) if name and VERSION.fullmatch(number)]
