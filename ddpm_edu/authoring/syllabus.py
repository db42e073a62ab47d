"""给教师的两张表：课次是手写的，用时与错答案的提示从课程本身读出来，不会过时"""
import re
from dataclasses import dataclass

from ..teach.books import book, chapter_number, read_cells
from ..teach.exercises import find


class Table:
    """一张 Markdown 表；rows 的第一行是表头"""

    def __init__(self, rows):
        head, *body = [[str(cell).replace("\n", " ") for cell in row] for row in rows]
        self.text = "\n".join(f"| {' | '.join(row)} |" for row in (head, [":--"] * len(head), *body))

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/markdown": self.text, "text/plain": self.text}


@dataclass(frozen=True)
class Lesson:
    """一次 90 分钟的课

    skip  : 时间不够时略过的
    wrong : 预料中的错答案，[(思考题的题号, 那个答案)]；为什么错，用那道题自己的提示
    ask   : 一个讨论题，答案不止一句
    """

    title: str
    chapters: tuple
    in_class: str
    skip: str
    wrong: tuple
    ask: str


LESSONS = (
    Lesson("看它画，再从零写一个", (0, 1), "一起运行 00；合上书，把 01 的训练循环与采样循环各默写一遍", "00 的第 5 节",
           (("00.4", "A"), ("01.5", 0.64)), "一个模型把训练的图原样背了下来，画出来张张清楚。它算不算会画画？怎样查得出来？"),
    Lesson("噪声表与加噪", (2, 3), "黑板上推 $q(x_t\\mid x_0)$；拖 β 面板与加噪面板", "02 的第 7 节，03.5",
           (("02.5", 261), ("03.4", 149)), "图放大到 1024×1024，28×28 的噪声表还能不能用？先说凭什么判断，再说怎样改。"),
    Lesson("倒着走一步", (4,), "推后验的均值与方差；拖 `v_posterior` 的面板，走完一条去噪的链", "04 的第 6、7 节",
           (("04.4", "A"), ("04.5", 100)), "去噪的时候，为什么还要往里掺噪声？不掺，丢掉的是什么？"),
    Lesson("预测什么", (5,), "推 eps、$x_0$、v 的换算；用面板看误差在哪里被放大", "05 的第 7 节",
           (("05.5", "A"), ("05.4", 0.2)), "三种目标只差一次换算，为什么练出来的样本会不同？换一个损失，能不能让它们完全一样？"),
    Lesson("损失从哪里来", (6,), "推 VLB 的权重；拖权重的面板，说出哪些 $t$ 占得最重", "06 的第 6 节",
           (("06.4", "B"), ("06.5", 0.473874)), "权重全取 1，就不再是似然的下界了。凭什么还能这样练？要压缩图，还是要画得好看，答案一样吗？"),
    Lesson("采样与引导", (7,), "DDIM 与祖先采样并排；拖引导强度，说出多样换来了什么", "07 的第 6 节",
           (("07.4", "A"), ("07.5", 0.25)), "引导强度调到多大算合适？请给出一个能让别人重复的判断办法。"),
    Lesson("U-Net", (8,), "在黑板上画出形状与跳跃连接，再对着源码核对", "08 的第 6 节后两小节",
           (("08.4", 16480), ("08.5", "A")), "网络不知道 t 也能从图里估出噪声有多强，那么还要不要告诉它？"),
    Lesson("源码：构造函数", (9,), "分三段读 `__init__`，每一行说出它要用的东西在哪里造好", "09 的两个附录",
           (("09.4", 24), ("09.5", "A")), "一个错不报错，只让图变差。除了读代码，还有什么办法让它自己露出来？"),
    Lesson("源码：训练的一步、EMA、学习率", (10, 11, 12), "读 `training_step`，按一次停止键再续训；各组换一种学习率计划，比曲线", "12，当作参考资料",
           (("10.4", "D"), ("11.5", "B"), ("12.5", "B")), "续训与从未停过逐位相同，要存哪些东西？少存一样，多久才看得出来？"),
    Lesson("训练真的图", (13, 14), "各组开一次 `mnist-quick`，边练边看分段的损失；对着 14 的账估自己要多久", "14 的两个附录",
           (("13.5", "A"), ("14.4", "A")), "你有一张显卡和一个周末。先在哪里花这些时间：大一点的网络，多练几步，还是多几个种子？"),
    Lesson("评估", (15,), "拆开 bits/dim，从头搭起 Fréchet 距离；几个有病的模型，三把尺子各说什么", "15 的选读",
           (("15.4", "B"), ("15.5", 4556.25)), "论文只报一个 FID，没有误差。要信它说的“更好”，你还要它补什么？"),
    Lesson("找 bug，读原文件，看后来", (16, 17, 18, 19),
           "分组各做三个病例，讲出原因；对着 17 的表读原文件；用 18、19 的表收尾", "16 余下的病例，18 第 4 节以后，19",
           (("16.6", "A"), ("17.5", "C"), ("19.5", "B")), "DDPM 之后换掉了噪声表、目标、走法、空间。还剩下什么没有换，为什么？"),
)


def minutes(chapter):
    """一章开头写的预计用时，单位分钟；没有这一章时 0"""
    path = book(chapter)
    return int(re.search(r"\*\*预计用时\*\*\D*(\d+)", read_cells(path)[0].text)[1]) if path else 0


def syllabus():
    """12 次课，每次 90 分钟；课前读多久，由各章开头的预计用时相加"""
    rows = [(i, lesson.title, "、".join(chapter_number(c) for c in lesson.chapters), sum(map(minutes, lesson.chapters)), lesson.in_class, lesson.skip)
            for i, lesson in enumerate(LESSONS, 1)]
    return Table([("课", "题目", "章", "课前读（分钟）", "课上", "时间不够就略过"), *rows])


def wrong_answer(number, answer):
    """思考题 number 的一个错答案，与那道题自己的提示"""
    exercise = find(number)
    return f"{number} {exercise.title}：{'选' if isinstance(answer, str) else '填'} {answer}。{exercise.hints[answer]}"


def discussion():
    """每次课预料中的错答案，与一个讨论题"""
    rows = [(i, "<br>".join(wrong_answer(*each) for each in lesson.wrong), lesson.ask) for i, lesson in enumerate(LESSONS, 1)]
    return Table([("课", "预料中的错答案", "讨论"), *rows])


def taught():
    """课表里排到的章，按先后"""
    return [chapter for lesson in LESSONS for chapter in lesson.chapters if book(chapter) is not None]
