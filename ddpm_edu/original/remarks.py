"""每一格旁边写什么：从知识库取出来，排成网页与 notebook 都能用的样子"""
from dataclasses import dataclass

from .counterparts import counterpart
from .knowledge import DIFFERENT, SAME, WRONG
from .recognise import CHANGED, SEEN, TOLD, UNKNOWN
from .settings import argument

ARGUMENT, VALUE = "参数", "取值"
# 显示参数卡片的那一格里的代码
CARD = 'card("{}")'
# 各种标签在图例里的解释
LEGEND = {
    SAME: "课程版也这样做", DIFFERENT: "课程版有所不同，后面写着怎样不同", WRONG: "原文件在这里有毛病；链接写着“证明”的，课程里证明过，其余是读代码看出来的",
    CHANGED: "你这份与已知的版本不同，写的是已知的版本在这里做什么", UNKNOWN: "没有见过，课程没有讲，所以不解释", ARGUMENT: "构造函数的参数",
    VALUE: "由你写的值看出来的",
}

IN_CODE, IN_SETTINGS = (SAME, DIFFERENT, WRONG, CHANGED, UNKNOWN, ARGUMENT), (VALUE, UNKNOWN)


@dataclass(frozen=True)
class Remark:
    """label 是 LEGEND 里的一个，text 是做什么，detail 是差别或毛病；chapter、words 指向细讲的那一格"""

    label: str
    text: str
    formula: str = ""
    detail: str = ""
    chapter: int = 0
    words: str = ""
    proves: bool = False

    @property
    def place(self):
        return f"证明：第 {self.chapter} 章" if self.proves else f"第 {self.chapter} 章"


def intact(parts):
    """与已知的版本一样的方法的名字"""
    return {part.title for part in parts if part.method and not part.touched and not part.reordered}


def of_row(row, method, sound):
    """一格的说明；sound 是没有改动过的方法。一格里都是没有单独讲的语句时是空的"""
    return [*map(of_argument, row.arguments), *(of_finding(finding, method, sound) for finding in row.findings if finding.status != SEEN)]


def of_argument(name):
    known = argument(name)
    if known is None:
        return Remark(UNKNOWN, f"`{name}` 这个参数，课程没有讲")
    return Remark(ARGUMENT, f"`{name}`：{known.meaning}", known.formula, known.wrong, known.chapter, CARD.format(name))


def of_finding(finding, method, sound):
    note = finding.note
    if finding.status == UNKNOWN:
        return Remark(UNKNOWN, "没有见过这一句，课程没有讲")
    if finding.status == CHANGED:
        return Remark(CHANGED, f"与已知的写法不同。已知的版本在这里：{note.does}", note.formula, "", *whereabouts(note, method))
    detail = note.wrong or note.differs
    if changed := [name for name in note.needs.split() if name not in sound]:
        detail += f"。这说的是已知的版本：你这份的 {'、'.join(f'`{name}`' for name in changed)} 改动过，也许已经改好"
    # 与课程版相同、又是同一章的，方法的开头已经有链接
    place = whereabouts(note, method) if detail or note.chapter not in (0, method.chapter) else ()
    return Remark(note.verdict, note.does, note.formula, detail, *place)


def whereabouts(note, method):
    """(章, 那一格的文字, 是不是证明)：没有专门证明的，指向方法的那一格，或只指到章"""
    chapter = note.chapter or method.chapter
    if note.proof:
        # 参数卡片那一格演示的是课程版
        return (*note.proof, bool(note.wrong) and not note.proof[1].startswith(CARD[:5]))
    return (*method.proof, False) if method.proof and method.proof[0] == chapter else (chapter, "", False)


def of_method(part):
    """方法开头的几句：做什么，对应课程版的谁，参数表是不是见过的"""
    method = part.method
    found = [Remark("", method.does + (f"（{method.only}）" if method.only else ""), method.formula, "", *(method.proof or (method.chapter, "")))]
    if row := counterpart(part.title):
        ours = "、".join(f"`{name.partition('.')[2]}`" for name in row.ours)
        # 没有对应的，对照表里写的是作用，上面一句已经说过
        found.append(Remark("", f"课程版：{ours}。{row.note}" if ours else "课程版没有这个方法"))
    if not part.same_head:
        found.append(Remark(CHANGED, "参数表（名字、次序或默认值）与已知的版本不同"))
    touched = f"有 {part.touched} 句与已知的版本不同" if part.touched else ""
    moved = "语句的先后与已知的版本不同" if part.reordered else ""
    if what := "、".join(filter(None, [touched, moved])):
        found.append(Remark(CHANGED, f"这个方法里{what}：下面写的“{WRONG}”说的是已知的版本，你这份也许已经改好"))
    return found


def tally(part):
    """一个方法里要留心的有几处：{标签: 处数}"""
    labels = [finding.note.verdict if finding.status == TOLD else finding.status for finding in part.findings]
    return {label: labels.count(label) for label in (WRONG, CHANGED, UNKNOWN) if label in labels}
