"""读一份交来的 notebook：不运行，只取代码单元的源码；改了名、没有传完、旧格式、根本不是 notebook 的，各说一句话"""
import json
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..teach.books import sources
from ..teach.exercises import chapters
from .slicing import GRADE, NUMBER

LARGEST, MOST_CELLS, LONGEST_CELL = 100 << 20, 2000, 200_000
OWN_FILES = ("regrade.csv", "regrade.html", "progress.csv")
SKIPPED_FOLDERS = (".ipynb_checkpoints", "__MACOSX", "__pycache__")
SYSTEM_FILES = ("Thumbs.db", "desktop.ini")
ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz")
# 下载、复制、重交时文件名后面多出来的那一截
COPIED = re.compile(r"(?:[ _-]*(?:[(（]\d+[)）]|copy ?\d*|的?副本 ?\d*)| \d+)+$", re.I)


class Unusable(ValueError):
    """这份文件没法判，理由是一句话"""


@dataclass(frozen=True)
class Submission:
    """一份读得懂的 notebook：cells 是代码单元的源码，numbers 是其中批改的题号，notes 是要告诉教师的话；said 是程序里提到、也许批改了的题号"""

    path: Path
    student: str
    cells: tuple
    numbers: tuple
    notes: tuple = ()
    said: tuple = ()

    @property
    def chapters(self):
        return tuple(sorted({number[:2] for number in self.numbers + self.said}))


def candidates(folder):
    """folder 里要看的文件，(路径, 不看它的理由或空)；隐藏的、编辑器与系统留下的不算"""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("."))
        links = [name for name in folders if os.path.islink(os.path.join(where, name))]
        for name in sorted([*links, *files]):
            path = Path(where, name)
            if not name.startswith((".", "~$")) and name not in SYSTEM_FILES and not (path.parent == Path(folder) and name in OWN_FILES):
                found.append((path, objection(path)))
    return sorted(found)


def objection(path):
    """不打开就知道没法看的理由；没有时空"""
    if path.is_symlink():
        return "是一个链接，没有跟过去；要判就把文件本身放进来"
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        return "不是普通文件，没有打开"
    if path.suffix.lower() in ARCHIVES:
        return "是压缩包，没有打开；解压之后再判一次"
    return ""


def student_of(path, folder):
    """文件名就是学生；文件还是课程里的名字时，用它所在的文件夹"""
    path = Path(path).relative_to(folder)
    stem = path.name.partition(".ipynb")[0] if ".ipynb" in path.name else path.stem
    unchanged = COPIED.sub("", stem) in {source.stem for source in sources()}
    name = path.parent if unchanged and path.parent.name else path.parent / stem
    return shown(name.as_posix())


def shown(name):
    """文件名里不是 UTF-8 的字节，多半是中文 Windows 打的包，照 GBK 读"""
    try:
        return name.encode("utf-8").decode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("gb18030", "replace")


def read(path, folder):
    """读一份文件

    异常 : 没法判时 Unusable；它不像作业（不是 .ipynb，里面也不是 notebook）时 Unusable，理由以“不是 notebook”开头
    """
    cells = [cell for cell in code_cells(load(path)) if cell.strip()]
    notes = []
    if len(cells) > MOST_CELLS or any(len(cell) > LONGEST_CELL for cell in cells):
        raise Unusable(f"太大了：有 {len(cells)} 个代码单元，最长的 {max(map(len, cells))} 个字符；作业里不会有这么多")
    known = {exercise.id for group in chapters().values() for exercise in group}
    found = list(dict.fromkeys(number for cell in cells for number in GRADE.findall(cell)))
    numbers = [number for number in found if number in known]
    said = list(dict.fromkeys(number for cell in cells for number in NUMBER.findall(cell) if number in known and number not in found))
    if unknown := [number for number in found if number not in known]:
        notes.append(f"没有这几道题：{'、'.join(unknown[:6])}")
    if not numbers and not said:
        raise Unusable('里面没有批改的单元（grade("03.1", …) 这样的），认不出是哪一章的作业')
    if not path.name.endswith(".ipynb"):
        notes.append(f"文件名是 {path.name}，内容是 notebook，照样判了")
    notes += missing(numbers + said)
    return Submission(path, student_of(path, folder), tuple(cells), tuple(numbers), tuple(notes), tuple(said))


def missing(numbers):
    """做了的各章里缺了批改单元的题；整章只碰了一两题、多半是别章的，不算"""
    counts = Counter(number[:2] for number in numbers)
    lost = [e.id for chapter, count in counts.items() for e in chapters()[chapter] if e.id not in numbers and count * 2 >= len(chapters()[chapter])]
    return [f"少了 {'、'.join(lost)} 的批改单元，没法判"] if lost else []


def load(path):
    """文件 → notebook 的字典"""
    notebook_name = ".ipynb" in path.name
    data = read_bytes(path)
    if not data.strip(b"\x00 \t\r\n"):
        raise Unusable("文件是空的" if notebook_name else "不是 notebook：文件是空的")
    text = decode(data)
    try:
        notebook = json.loads(text)
    except RecursionError:
        raise Unusable("嵌套太深，不是正常的 notebook") from None
    except ValueError as error:
        raise Unusable(why_not_json(text, error, notebook_name)) from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells", notebook.get("worksheets")), list):
        raise Unusable("不是 notebook：里面没有单元")
    return notebook


def read_bytes(path):
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if os.fstat(handle).st_size > LARGEST:
                raise Unusable(f"文件有 {os.fstat(handle).st_size >> 20} MB，太大了；清掉输出再交")
            return file.read(LARGEST)
    except OSError as error:
        raise Unusable(f"打不开：{error.strerror or type(error).__name__}") from None


def decode(data):
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030", errors="replace")


def why_not_json(text, error, notebook_name):
    if text.lstrip().startswith("<"):
        return "不是 notebook：是一个网页；请学生交 .ipynb 文件"
    if not text.lstrip().startswith("{"):
        return "不是 notebook：内容不是 JSON" + ("，虽然叫 .ipynb" if notebook_name else "")
    end = getattr(error, "pos", 0) >= len(text.rstrip()) - 1 or "Unterminated" in str(error)
    what = "文件没有传完，在半路断了" if end else "JSON 写坏了，多半是手改过或合并时出了冲突"
    return f"{what}（第 {getattr(error, 'lineno', '?')} 行）；请学生重新交一份"


def code_cells(notebook):
    """各个代码单元的源码；第 3 版的格式也认"""
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        cells = [cell for sheet in notebook["worksheets"] if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list) for cell in sheet["cells"]]
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", cell.get("input", ""))
            if isinstance(source, list):
                source = "".join(line for line in source if isinstance(line, str))
            yield source if isinstance(source, str) else ""
