"""课程读到了哪里：每一行源码都被展示并解释过吗？每个构造参数都有卡片和演示吗？

    python -m ddpm_edu.authoring.coverage     逐本列出单元、证明、面板的数目
"""
import ast
import inspect
import re

from ..teach.books import PARTS, chapter_number, read_cells, sources
from ..teach.cards import CARDS
from ..teach.explained import EXPLAINED, calls, views
from ..teach.source import MARKS, qualified_name, resolve, source_lines
from .questions import QUESTIONS

MARKED = re.compile(rf"^(?:- )?([{MARKS}])(.*)$", re.M)
MIN_NOTE = 8  # 每个标号的解释至少几个字
MAX_BLOCK = 14  # 一个标号至多管几行非空的源码
CHECKS = ("check", "check_order", "check_raises")  # 证明一句话的几种写法


def explained_lines(path):
    """{对象名: 被展示且有解释的行下标}；标号在后面的文字里没有解释，它管的行就不算"""
    covered = {}
    for view, text in views(path):
        notes = {mark: note for mark, note in MARKED.findall(text)}
        for mark, block in view.blocks():
            if mark and len(notes.get(mark, "").strip()) >= MIN_NOTE and sum(bool(line.strip()) for _, line in block) <= MAX_BLOCK:
                covered.setdefault(view.name, set()).update(i for i, _ in block)
    return covered


def line_coverage():
    """[(章, 对象名, 非空行数, 没讲到的行), ...]"""
    covered = {}
    for path in sources():
        for name, lines in explained_lines(path).items():
            covered.setdefault(name, set()).update(lines)
    rows = []
    for chapter, names in EXPLAINED.items():
        for name in names:
            lines = source_lines(resolve(name))
            wanted = [i for i, line in enumerate(lines) if line.strip()]
            seen = covered.get(qualified_name(resolve(name)), set())
            rows.append((chapter, name, len(wanted), [lines[i] for i in wanted if i not in seen]))
    return rows


def parameters():
    from ..ddpm import DDPM

    return [name for name in inspect.signature(DDPM.__init__).parameters if name != "self"]


def card_coverage():
    """{参数名: [(章, 有没有演示), ...]}：card("…") 所在的单元里，还要真的用到这个参数并证明些什么"""
    found = {name: [] for name in parameters()}
    for path in sources():
        for cell in read_cells(path):
            for call in calls(cell, "card"):
                name = ast.literal_eval(call.args[0])
                used = len(re.findall(rf"\b{name}\b", cell.text)) >= 2
                proved = any(calls(cell, name) for name in CHECKS)
                found.setdefault(name, []).append((int(path.stem[:2]), used and proved))
    return found


class CoverageTable:
    """课程地图：逐章一行，它回答的问题，讲了几行源码，有几张参数卡片"""

    def __init__(self):
        rows, cards = line_coverage(), card_coverage()
        self.lines = {c: (sum(n for k, _, n, _ in rows if k == c), sum(len(m) for k, _, _, m in rows if k == c)) for c in EXPLAINED}
        self.cards = {c: sum(CARDS[name].chapter == c for name in cards) for c in EXPLAINED}
        self.shown = {name for name, places in cards.items() if places and all(ok for _, ok in places)}

    def complete(self):
        return not any(missing for _, missing in self.lines.values()) and self.shown == set(parameters())

    def markdown(self):
        rows = ["| 章 | 它回答的问题 | 逐行讲的源码 | 参数卡片 |", "|:--|:--|--:|--:|"]
        for chapter in (int(path.stem[:2]) for path in sources()[1:]):
            rows += [f"| | **{PARTS[chapter]}** | | |"] if chapter in PARTS else []
            total, cards = self.lines.get(chapter, (0, 0))[0], self.cards.get(chapter, 0)
            rows.append(f"| {chapter_number(chapter)} | {QUESTIONS[chapter]} | {f'{total} 行' if total else '—'} | {cards or '—'} |")
        rows.append(f"| | 合计 | {sum(n for n, _ in self.lines.values())} 行 | {sum(self.cards.values())} |")
        return "\n".join(rows)


def main():
    for path in sources():
        cells = read_cells(path)
        code = [cell for cell in cells if cell.code]
        proofs = sum(len(calls(cell, name)) for cell in code for name in CHECKS)
        panels = sum(len(re.findall(r"^\w+_panel\(", cell.text, re.M)) for cell in code)
        print(f"{path.stem}：{len(cells)} 个单元（代码 {len(code)}），证明 {proofs}，源码 {len(views(path))} 段，面板 {panels}")
    for chapter, name, total, missing in line_coverage():
        if missing:
            print(f"第 {chapter} 章 {name}：{total} 行里有 {len(missing)} 行没讲到，第一行是 {missing[0].strip()!r}")
    for name, places in card_coverage().items():
        if not places or not all(ok for _, ok in places):
            print(f"参数 {name} 的卡片：{'没有演示' if places else '没有显示'}（第 {CARDS[name].chapter} 章）")


if __name__ == "__main__":
    main()
