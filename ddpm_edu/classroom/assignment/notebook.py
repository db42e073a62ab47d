"""两种作业共用的：开头两格、题目的各格，以及每格在 metadata 里留的记号，收回来时照它们辨认"""
import nbformat

from ...authoring.build import KERNEL, join_sentences
from ...teach.books import headings, read_cells
from .questions import LAB, questions, setup

MARK = "ddpm_edu"
PREFACE = """# {title}：作业

- 正文在课程的第 {chapter} 章，“第几节”都指那里；编程题要自己写，不要直接调用程序包里现成的函数。
- 写完先运行答案那一格，再运行它下面的一格：做错了有一句提示。
- {lab}"""
LABS = {True: "小实验在那一章的 notebook 里做，三句话写在这里。", False: "带 b 的题是动手修；试验的结果、提示与坏代码，在那一章的 notebook 里展开。"}


def new_cell(kind, text, name, **mark):
    """kind 是 code、markdown、raw；name 给单元编号，mark 记进 metadata"""
    cell = getattr(nbformat.v4, f"new_{kind}_cell")(text, id=name)
    cell.metadata[MARK] = mark
    return cell


def new_notebook(path, kind, cells):
    """kind 是 nbgrader 或 otter；记下是哪一章的"""
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}, MARK: {"chapter": path.stem, "format": kind}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def opening(path):
    """开头两格：怎样做，以及各题要用的 import 与变量"""
    title = headings(read_cells(path)[0].text)[0]
    preface = PREFACE.format(title=title, chapter=path.stem[:2], lab=LABS[questions(path)[-1].number == LAB])
    return new_cell("markdown", preface, "preface", role="made"), new_cell("code", setup(path), "setup", role="made")


def statement(question):
    """题目的文字；小实验以外的题，可能还有几格看症状的代码。与源文件写法不同时，metadata 里留着原来的"""
    for place, cell in enumerate(question.texts):
        text = cell.text if cell.code else join_sentences(cell.text)
        kept = {} if text == cell.text else {"source": cell.text}
        yield new_cell("code" if cell.code else "markdown", text, f"{question.name}-text-{place}", question=question.number, role="text", **kept)


def answer(question, begin, end):
    """答案那一格"""
    kept = {"tail": question.tail} if question.tail else {}
    return new_cell("markdown" if question.number == LAB else "code", question.answer(begin, end), f"{question.name}-answer",
                    question=question.number, role="answer", **kept)
