"""指向课程里某一章、某一格的链接：网页指向导出的网页，notebook 指向 notebook"""
import functools
import os
from pathlib import Path

from ..teach.books import NOTEBOOKS, book, cell_ids, headings, read_cells

HTML = NOTEBOOKS.parent / "build" / "html"


@functools.cache
def cell_holding(chapter, words):
    """这一章里标题含有 words 的那一格的下标，没有这样的标题就找正文，再没有就找代码；都没有时 None"""
    cells = list(enumerate(read_cells(book(chapter))))
    titled = [index for index, cell in cells if not cell.code and any(words in heading for heading in headings(cell.text))]
    holding = [(cell.code, index) for index, cell in cells if words in cell.text]
    return titled[-1] if titled else min(holding)[1] if holding else None


@functools.cache
def cell_id(chapter, words):
    place = cell_holding(chapter, words)
    return None if place is None else cell_ids(book(chapter))[place]


def address(folder, chapter, words="", web=True):
    """从 folder 里的文件指向第几章（含有 words 的那一格）的网址；没有这一章时是空的"""
    path = book(chapter)
    if path is None:
        return ""
    target = HTML / f"{path.stem}.html" if web else NOTEBOOKS / f"{path.stem}.ipynb"
    place = cell_id(chapter, words) if words else None
    return relative(target, folder) + (f"#cell-id={place}" if place else "")


def relative(target, folder):
    try:
        return Path(os.path.relpath(target, folder)).as_posix()
    except ValueError:
        # Windows 上不在同一个盘
        return target.as_uri()
