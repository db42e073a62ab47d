"""课程有哪几本，每本有哪些单元与小节；它们之间的链接全由这里算出来，标题改了，链接跟着改"""
import hashlib
import html
import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .source import MARKS
from .terms import TERMS

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
# 各部分从哪一章起，00 是开场
PARTS = {1: "一　原理", 9: "二　源码", 13: "三　实验", 18: "四　之后", 90: "附录"}


@dataclass
class Cell:
    code: bool
    text: str


def sources():
    return sorted((NOTEBOOKS / "src").glob("[0-9][0-9]_*.py"))


def book(chapter):
    """第几章的源文件；没有这一章、或程序包不在课程的仓库里时 None"""
    return next((path for path in sources() if path.stem.startswith(f"{chapter:02d}_")), None)


def read_cells(path):
    """percent 格式的源文件 → 单元的列表"""
    cells = []
    for chunk in re.split(r"^# %%", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
        head, _, body = chunk.partition("\n")
        code = "[markdown]" not in head
        cells.append(Cell(code, body.strip() if code else re.sub(r"^# ?", "", body, flags=re.M).strip()))
    return cells


def headings(text):
    """一段 Markdown 里的标题，不含井号"""
    return re.findall(r"^#+ (.+)$", text, re.M)


def cell_ids(path):
    """各单元的编号：由内容决定，改一处不动别处"""
    ids, seen = [], Counter()
    for cell in read_cells(path):
        digest = hashlib.sha256(f"{cell.code}{cell.text}".encode()).hexdigest()[:12]
        seen[digest] += 1
        ids.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return ids


def tooltip(text):
    """链接里停在上面看到的字；Markdown 与公式的记号写成不会被改动的样子"""
    return html.escape(text.strip("\n")).replace("\\", "\\\\").replace("$", "&#36;").replace("\n", "&#10;")


def link(path, text="", cell=None, hover=""):
    """指向一本 notebook 或其中第 cell 个单元的 Markdown 链接；不写 text 就用那一本的标题，hover 是停在上面看到的字

    不用标题作锚点：JupyterLab 认不出其中的汉字与公式
    """
    where = "" if cell is None else f"#cell-id={cell_ids(path)[cell]}"
    title = hover and f' "{tooltip(hover)}"'
    return f"[{text or headings(read_cells(path)[0].text)[0]}]({path.stem}.ipynb{where}{title})"


def chapter_number(chapter):
    """表格里的章号，能点就带链接"""
    path = book(chapter)
    return link(path, f"{chapter:02d}") if path else f"{chapter:02d}"


def section(path, title):
    """标题里含有 title 的那个单元的下标；整本的大标题也可能含有，所以取最后一个"""
    return [i for i, cell in enumerate(read_cells(path)) if not cell.code and any(title in heading for heading in headings(cell.text))][-1]


def resolve(path, text):
    """源文件里写 [文字](#标题)（空格写成 -），换成指向那个单元的链接；没有这个标题时 StopIteration"""
    def target(hit):
        cells = read_cells(path)
        found = next(i for i, cell in enumerate(cells) if not cell.code and hit[1] in [h.replace(" ", "-") for h in headings(cell.text)])
        return link(path, "x", found).removeprefix("[x]")

    return re.sub(r"(?<=\])\(#([^()\s]+)\)", target, text)


def tie(text, cell_id, blocks):
    """逐条解释的“- ① ……”，标号变成链接：停在上面看到它说的那几行，点了回到那段源码；blocks 是各标号管的行"""
    def linked(hit):
        lines = blocks[MARKS.index(hit[1])]
        shown = textwrap.dedent("\n".join([*lines[:12], *(["…"] if len(lines) > 12 else [])]))
        return f'- [{hit[1]}](#cell-id={cell_id} "{tooltip(shown)}")'

    return re.sub(f"^- ([{MARKS}])(?= )", linked, text, flags=re.M)


def navigation(path):
    """(开头的一行, 结尾的一段)：上一章、下一章、课程地图、术语表，以及本章的术语"""
    books = sources()
    # 按文件名找：教师改过的一章放在别处
    place, first, last, glossary = [one.name for one in books].index(path.name), books[0], books[-1], book(90)
    around = [link(books[place - 1], "← 上一章")] if place else []
    around += [link(first, "课程地图", section(first, "课程地图")), link(glossary, "术语表", section(glossary, "术语表"))]
    around += [link(book(91), "第一格就报错？", section(book(91), "No module named"))]
    bar = " · ".join([*around, *([f"下一章：{link(books[place + 1])} →"] if path.name != last.name else [])])
    terms = "、".join(link(glossary, term.chinese, section(glossary, "术语表"), f"{term.english}：{term.note}")
                     for term in TERMS if path.stem.startswith(f"{term.chapter:02d}_"))
    return bar, f"{bar}\n\n本章讲到的术语（停在上面看意思）：{terms}。" if terms else bar
