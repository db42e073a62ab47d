"""对照表：latent-diffusion 与 Stable Diffusion 2 的 ddpm.py 里的名字 → 这里的名字与章；我们这边的每个名字显示之前都核实存在"""
from ..original.counterparts import BASE, LATENT, PARTS
from ..original.knowledge import WRONG, methods
from .explained import EXPLAINED
from .source import qualified_name, resolve

TABLES = {"base": BASE, "parts": PARTS, "latent": LATENT}
TITLES = {"base": "基类 DDPM 的每个方法", "parts": "别的文件里的零件", "latent": "LatentDiffusion 的主要方法（“没有”的，程序包里没有）"}


def chapter_of(targets):
    """先讲到其中某个对象（或它的某个方法）的章，latent 里的都在第 17 章；都没有讲过时 None"""
    explained = [(qualified_name(resolve(name)), chapter) for chapter, names in EXPLAINED.items() for name in names]
    return next((chapter for target in targets for name, chapter in explained if f"{name}.".startswith(f"{target}.")),
                17 if any(target.startswith("latent.") for target in targets) else None)


def short(name):
    """"latent.first_stage.make_first_stage" → "make_first_stage"，方法带着类名"""
    *_, owner, last = name.split(".")
    return f"{owner}.{last}" if owner[0].isupper() else last


class ReferenceMap:
    """一张对照表，给了题目就折起来；ours 里有不存在的名字时 LookupError 或 AttributeError"""

    def __init__(self, rows, title=""):
        self.rows, self.title = rows, title
        self.targets = [[qualified_name(resolve(name)) for name in row.ours] for row in rows]
        self.chapter = [chapter_of(names) for names in self.targets]

    def _repr_mimebundle_(self, include=None, exclude=None):
        lines = ["| 原文件 | 这里 | 章 | 差别或作用 |", "|:--|:--|--:|:--|"]
        for row, targets, chapter in zip(self.rows, self.targets, self.chapter):
            ours = "、".join(f"`{short(name)}`" for name in targets) or "没有"
            lines.append(f"| `{row.theirs}`{f'（{row.only}）' if row.only else ''} | {ours} | {f'{chapter:02d}' if chapter else '—'} | {row.note} |")
        text = "\n".join(lines)
        if self.title:
            text = f"<details><summary>{self.title}，{len(self.rows)} 行</summary>\n\n{text}\n\n</details>"
        return {"text/markdown": text, "text/plain": f"{len(self.rows)} 行，{sum(map(len, self.targets))} 个名字都核实过"}


def reference_map(name):
    """显示一张对照表：base（DDPM 基类）、parts（各种零件）、latent（LatentDiffusion）"""
    return ReferenceMap(TABLES[name], TITLES[name])


class StatementTable:
    """一个方法的每条语句，次序同原文件；说明来自 python course.py original 用的同一份知识库

    groups : {从第几条起: 这一组的题目}，第一组从第 1 条起；给了就一组一组折起来，题目写在外面
    """

    def __init__(self, name, groups=None):
        self.method = methods()[name]
        # 条件语句自己没有什么可讲，讲的是它管着的那一条
        self.notes = [note for note in self.method.notes if not note.signature.startswith("if ")]
        self.groups = groups or {}

    def rows(self, start, stop):
        """第 start 条到第 stop 条（含）的表"""
        lines = ["| | 找这个名字 | 做什么 | 细讲 | 课程版的不同，或**错在哪里** |", "|--:|:--|:--|--:|:--|"]
        for number, note in enumerate(self.notes[start - 1:stop], start):
            name = note.signature.removeprefix("call ").removeprefix("= ").replace("self.", "")
            only = f"（{note.only}）" if note.only else ""
            detail = f"**错**：{note.wrong}" if note.verdict == WRONG else note.differs
            lines.append(f"| {number} | `{name}`{only} | {note.does} | {note.chapter or self.method.chapter:02d} | {detail} |")
        return "\n".join(lines)

    def folded(self):
        folds, starts = [], list(self.groups)
        for start, stop in zip(starts, [*(following - 1 for following in starts[1:]), len(self.notes)]):
            wrong = sum(note.verdict == WRONG for note in self.notes[start - 1:stop])
            title = f"第 {start} 到 {stop} 条　{self.groups[start]}" + (f"（{wrong} 条有错）" if wrong else "")
            folds.append(f"<details><summary>{title}</summary>\n\n{self.rows(start, stop)}\n\n</details>")
        return "\n\n".join(folds)

    def _repr_mimebundle_(self, include=None, exclude=None):
        text = self.folded() if self.groups else self.rows(1, len(self.notes))
        return {"text/markdown": text, "text/plain": f"{len(self.notes)} 条语句"}


def statement_table(name, groups=None):
    """显示一个方法的逐句说明，例如 statement_table("DDPM.__init__")"""
    return StatementTable(name, groups)
