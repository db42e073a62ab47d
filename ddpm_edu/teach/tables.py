"""术语表与符号表"""
from .books import chapter_number
from .terms import SYMBOLS, TERMS


class Table:
    def __init__(self, header, rows, text):
        self.header, self.rows, self.text = header, rows, text

    def _repr_mimebundle_(self, include=None, exclude=None):
        lines = [f"| {' | '.join(cells)} |" for cells in (self.header, [":--"] * len(self.header), *self.rows)]
        return {"text/markdown": "\n".join(lines), "text/plain": self.text}


def term_table():
    """术语表，按先讲到的章排列"""
    ordered = sorted(TERMS, key=lambda term: term.chapter)
    rows = [(t.chinese, t.english, chapter_number(t.chapter), t.note, "、".join(t.avoid) or "—") for t in ordered]
    return Table(("中文", "英文", "章", "意思", "不用的译法"), rows, f"{len(TERMS)} 个术语")


def symbol_table():
    """符号表"""
    rows = [(f"${s.latex}$", f"`{s.code}`" if s.code else "—", s.note) for s in SYMBOLS]
    return Table(("符号", "代码里的名字", "意思"), rows, f"{len(SYMBOLS)} 个符号")
