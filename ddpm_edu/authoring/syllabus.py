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
    """一次 90 分钟的课；skip 是时间不够时略过的"""

    title: str
    chapters: tuple
    in_class: str
    skip: str


LESSONS = (
    Lesson("看它画，再从零写一个", (0, 1), "一起运行 00；合上书，把 01 的训练循环与采样循环各默写一遍", "00 的第 5 节"),
    Lesson("噪声表与加噪", (2, 3), "黑板上推 $q(x_t\\mid x_0)$；拖 β 面板与加噪面板", "02 的第 6 节以后"),
    Lesson("倒着走一步", (4,), "推后验的均值与方差；拖 `v_posterior` 的面板，走完一条去噪的链", "04 的第 6、7 节"),
    Lesson("预测什么", (5,), "推 eps、$x_0$、v 的换算；用面板看误差在哪里被放大", "05 的第 5 节"),
    Lesson("损失从哪里来", (6,), "推 VLB 的权重；拖权重的面板，说出哪些 $t$ 占得最重", "06 的第 6、7 节"),
    Lesson("采样与引导", (7,), "DDIM 与祖先采样并排；拖引导强度，说出多样换来了什么", "07 的补全与 `generate`"),
    Lesson("U-Net", (8,), "在黑板上画出形状与跳跃连接，再对着源码核对", "08 的配方与参数核对"),
    Lesson("源码：构造函数", (9,), "分三段读 `__init__`，每一行说出它要用的东西在哪里造好", "检查点的格式"),
    Lesson("源码：训练的一步、EMA、学习率", (10, 11, 12), "读 `training_step`，按一次停止键再续训；各组换一种学习率计划，比曲线", "12，当作参考资料"),
    Lesson("训练真的图", (13, 14), "各组开一次 `mnist-quick`，边练边看分段的损失；对着 14 的账估自己要多久", "14 的多卡与半精度"),
    Lesson("评估", (15,), "拆开 bits/dim，从头搭起 Fréchet 距离；几个有病的模型，三把尺子各说什么", "15 的高斯实验"),
    Lesson("找 bug，读原文件，看后来", (16, 17, 18, 19),
           "分组各做三个病例，讲出原因；对着 17 的表读原文件；用 18、19 的表收尾", "16 余下的病例，18 第 4 节以后，19"),
)


def minutes(chapter):
    """一章开头写的预计用时，单位分钟；没有这一章时 0"""
    path = book(chapter)
    return int(re.search(r"\d+", goals(path)[2])[0]) if path else 0


def syllabus():
    """12 次课，每次 90 分钟；课前读多久，由各章开头的预计用时相加"""
    rows = [(i, lesson.title, "、".join(chapter_number(c) for c in lesson.chapters), sum(map(minutes, lesson.chapters)), lesson.in_class, lesson.skip)
            for i, lesson in enumerate(LESSONS, 1)]
    return Table([("课", "题目", "章", "课前读（分钟）", "课上", "时间不够就略过"), *rows])


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
