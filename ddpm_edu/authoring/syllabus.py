"""给教师的几张表：课次是手写的，各章的目标、用时、习题都从课程本身读出来，不会过时"""
import re
from dataclasses import dataclass

from ..teach.books import book, chapter_number, headings, read_cells, sources
from ..teach.exercises import Code, chapters


class Table:
    """一张 Markdown 表；rows 的第一行是表头"""

    def __init__(self, rows):
        head, *body = [[str(cell).replace("\n", " ") for cell in row] for row in rows]
        self.text = "\n".join(f"| {' | '.join(row)} |" for row in (head, [":--"] * len(head), *body))

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/markdown": self.text, "text/plain": self.text}


@dataclass(frozen=True)
class Lesson:
    """一次 90 分钟的课"""

    title: str
    chapters: tuple
    in_class: str
    homework: str


LESSONS = (
    Lesson("一分钟训练一个扩散模型", (0, 1), "一起运行 00，看生成的数字；按参数卡片读 `__init__` 的前半", "01 的习题"),
    Lesson("噪声表与加噪", (2, 3), "黑板上推 $q(x_t\\mid x_0)$；拖 β 面板与加噪面板", "02、03 的习题"),
    Lesson("三种参数化", (4,), "推 eps、$x_0$、v 的换算；用面板看误差在哪里被放大", "04 的习题"),
    Lesson("后验与去噪的一步", (5,), "推后验的均值与方差；看 `v_posterior` 的两端，走完一条去噪的链", "05 的习题"),
    Lesson("网络与训练", (6, 7, 8), "读 U-Net 与 EMA；各组换一种学习率计划，比曲线", "06–08 的习题"),
    Lesson("损失、下界与训练的一步", (9, 10), "推 VLB 的权重；读 `training_step`，按一次停止键再续训", "09、10 的习题"),
    Lesson("采样、引导与评估", (11, 14), "DDIM 与祖先采样并排；拆开 bits/dim，从头搭起 Fréchet 距离", "11、14 的习题；12 或 13 选一本训练"),
    Lesson("找 bug，读原文件", (15, 16), "分组找 bug，讲出症状与原因；打开原文件，对着 16 的对照表读", "交习题记录；91 留作查阅"),
)


def syllabus():
    """8 次课，每次 90 分钟"""
    rows = [(i, lesson.title, "、".join(chapter_number(c) for c in lesson.chapters), lesson.in_class, lesson.homework)
            for i, lesson in enumerate(LESSONS, 1)]
    return Table([("课", "题目", "章", "课上", "课后"), *rows])


def goals(path):
    """一本开头的 (标题, [学习目标], 预计用时)"""
    text = read_cells(path)[0].text
    listed = re.findall(r"^- (.+)$", text.partition("学习目标")[2].partition("**预计用时**")[0], re.M)
    return headings(text)[0].partition(" · ")[2], listed, text.partition("**预计用时**")[2].strip().split("。")[0]


def goal_table():
    """各章的学习目标与用时"""
    rows = [(chapter_number(int(path.stem[:2])), title, " ".join(listed), time) for path in sources() for title, listed, time in [goals(path)]]
    return Table([("章", "题目", "学习目标", "预计用时"), *rows])


def exercise_table():
    """全部习题：题号、题目、星数、形式，批改认得几种错"""
    rows = [(f"{e.id}", e.title, "★" * e.stars, "编程" if isinstance(e, Code) else "思考", len(e.mistakes) if isinstance(e, Code) else len(e.hints))
            for several in chapters().values() for e in several]
    return Table([("题号", "题目", "难度", "形式", "认得的错"), *rows])


def taught():
    """课表里排到的章，按先后"""
    return [chapter for lesson in LESSONS for chapter in lesson.chapters if book(chapter) is not None]
