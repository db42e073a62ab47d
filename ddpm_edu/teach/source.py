"""真实源码的展示：按文字定位，不用行号。存下的输出就是源码，代码改了，nbval 立刻报错"""
import importlib
import inspect
import textwrap
from pathlib import Path

from ..checks import fail

MARKS = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫"
PACKAGE = Path(__file__).resolve().parents[1]


def source_lines(obj):
    """函数、方法、属性或类的源码，去掉公共缩进，一行一个字符串"""
    obj = obj.fget if isinstance(obj, property) else obj
    return textwrap.dedent(inspect.getsource(obj)).splitlines()


def qualified_name(obj):
    """"gaussian.GaussianDiffusion.q_sample"：包内的模块名加对象名"""
    obj = inspect.unwrap(obj.fget if isinstance(obj, property) else obj)
    return f"{obj.__module__.removeprefix('ddpm_edu.')}.{obj.__qualname__}"


def find_line(lines, anchor, name):
    """anchor 所在的那一行的下标；不是恰好一行时 ValueError。整行恰好等于 anchor 的优先"""
    hits = [i for i, line in enumerate(lines) if anchor == line.strip()]
    hits = hits or [i for i, line in enumerate(lines) if anchor in line]
    if len(hits) != 1:
        fail("定位文字", f"在 {name} 的源码里恰好出现在一行的文字", anchor, f"现在有 {len(hits)} 行；代码改过，文字也要跟着改")
    return hits[0]


class SourceView:
    """一段源码与它的标号：第 i 个标号管到下一个标号之前

    obj   : 包里的函数、方法或类
    marks : 定位文字，每个在源码里恰好出现在一行，先后次序与源码相同；第一个也是这一段的开头
    stop  : 最后一行的定位文字，省略时到结尾
    异常  : 文字找不到、不止一行或次序不对时 ValueError
    """

    def __init__(self, obj, *marks, stop=None):
        self.name = qualified_name(obj)
        lines = source_lines(obj)
        self.starts = [find_line(lines, mark, self.name) for mark in marks] or [0]
        last = len(lines) - 1 if stop is None else find_line(lines, stop, self.name)
        if self.starts != sorted(set(self.starts)) or last < self.starts[-1] or len(self.starts) > len(MARKS):
            fail("marks", f"按源码次序排列、各在一行、至多 {len(MARKS)} 个，且都在 stop 之前", [*marks, stop])
        self.numbered, self.last, self.total = bool(marks), last, len(lines)
        self.lines = lines

    def blocks(self):
        """[(标号, [(行下标, 文字), ...]), ...]"""
        ends = [*self.starts[1:], self.last + 1]
        return [
            (mark if self.numbered else "", [(i, self.lines[i]) for i in range(start, end)])
            for mark, start, end in zip(MARKS, self.starts, ends)
        ]

    def code(self):
        """带标号的源码；标号单独占一行注释，缩进与它下面那行相同，没有展示的部分写作 …"""
        shown = []
        for mark, block in self.blocks():
            first = block[0][1]
            if mark:
                shown.append(first[:len(first) - len(first.lstrip())] + f"# ── {mark}")
            shown += [line for _, line in block]
        shown = textwrap.dedent("\n".join(shown)).splitlines()
        before = ["# …"] if self.starts[0] > 0 else []
        after = ["# …"] if self.last < self.total - 1 else []
        return "\n".join([*before, *shown, *after])

    def title(self):
        module, _, name = self.name.partition(".")
        while (PACKAGE / module).is_dir() or not (PACKAGE / f"{module}.py").exists():
            head, _, name = name.partition(".")
            module = f"{module}/{head}"
        return f"`ddpm_edu/{module}.py` · `{name}`"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/markdown": f"{self.title()}\n\n```python\n{self.code()}\n```", "text/plain": self.code()}


def show_source(obj, *marks, stop=None):
    """展示 obj 的源码（或其中一段），标上 ①②③；参数同 SourceView"""
    return SourceView(obj, *marks, stop=stop)


def resolve(path):
    """"ddpm.DDPM.p_losses" → 那个对象"""
    parts = path.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module("ddpm_edu." + ".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        for name in parts[depth:]:
            found = getattr(found, name)
        return found
    raise LookupError(path)
