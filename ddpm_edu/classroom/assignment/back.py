"""教师改过的作业变回课程的 notebook：没有改的题逐字节不变，改过、添上、去掉的照办，并说出是哪几题"""
import re

import nbformat

from ...authoring.build import join_sentences, read_source
from ...authoring.editions import solutions_edition, student_edition
from ...files.checkpoint import atomic_folder
from ...teach.books import Cell, sources
from .notebook import MARK
from .questions import LAB, REFERENCE, questions

SOLUTION = re.compile(r"^( *)#+ BEGIN (SOLUTION|HIDDEN TESTS)(?: NO PROMPT)?\n(.*?)^\1#+ END \2$", re.M | re.S)
BOUNDARY = re.compile(r"# (?:BEGIN|END|ASSIGNMENT CONFIG)")


def read_notebook(path):
    """assignment 写出的 notebook；不是的 ValueError"""
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        raise ValueError(f"{path} 不是读得懂的 notebook：{type(error).__name__}") from None
    if MARK not in notebook.metadata:
        raise ValueError(f"{path} 不是 assignment 写出的作业，没有它的记号；要的是教师的那一份，在 source/ 里，或交给 otter assign 的那一个")
    return notebook


def to_source(notebook):
    """作业 → (它那一章的名字, 改过之后的源文件, 改动的说明，一条一句)

    异常 : 课程里没有这一章，或者这一份的答案已经去掉时 ValueError
    """
    stem = notebook.metadata[MARK]["chapter"]
    path = next((path for path in sources() if path.stem == stem), None)
    if path is None:
        raise ValueError(f"课程里没有 {stem} 这一章")
    written, notes = restored(notebook), []
    notes += changed_answers(notebook, path)
    head, *chunks = re.split("^# %%", path.read_text(encoding="utf-8"), flags=re.M)
    kept, place = [], 0
    for question in questions(path):
        kept += chunks[place:question.start]
        place, cells = question.stop, written.pop(question.number, [])
        if tuple(cells) == question.cells:
            kept += chunks[question.start:place]
            continue
        kept += map(chunk, cells)
        notes.append(f"{question.number}：{'改过' if cells else '作业里没有，去掉了'}")
    kept += chunks[place:]
    for number, cells in written.items():
        kept += map(chunk, cells)
        notes.append(f"{number}：课程里没有这道题，放在最后")
    return stem, "# %%".join([head, *kept]).rstrip("\n") + "\n", notes


def changed_answers(notebook, path):
    """选择与填数的答案写在程序包里，教师在作业里改了也带不回来：说一声"""
    answers = {question.number: question.answer("#", "#").splitlines()[-2] for question in questions(path) if question.tail and not question.is_code}
    for cell in notebook.cells:
        mark = cell.metadata.get(MARK, {})
        if mark.get("role") == "answer" and mark["question"] in answers and answers[mark["question"]] not in cell.source.splitlines():
            yield f"{mark['question']}：答案写在程序包的习题里，作业里改的没有带回来"


def restored(notebook):
    """{题号: 源文件里的各格}；教师自己添的一格归它前面的那道题"""
    found, current, early = {}, None, []
    for cell in notebook.cells:
        mark = cell.metadata.get(MARK, {})
        if mark.get("role") == "made" or cell.cell_type == "raw" and BOUNDARY.match(cell.source):
            continue
        current = mark.get("question", current)
        cells = early if current is None else found.setdefault(current, [])
        if current == LAB and mark.get("role") == "answer" and cells:
            cells[-1] = Cell(False, REFERENCE.format(cells[-1].text, solution(cell)))
        else:
            cells.append(Cell(cell.cell_type == "code", original(cell, mark)))
    if early and found:
        found[next(iter(found))][:0] = early
    return found


def original(cell, mark):
    """一格在源文件里的写法"""
    text, source = cell.source.strip(), mark.get("source")
    if mark.get("role") == "answer":
        return solution(cell) + mark["tail"]
    if source and join_sentences(source) == text:
        return source
    if cell.cell_type == "code":
        return SOLUTION.sub(r"\1# 答案\n\3\1# 答案完", text)
    return SOLUTION.sub("<!-- 参考答案 -->\n\\3<!-- 参考答案完 -->", text)


def solution(cell):
    """我们写的答案那一格：编程题换回课程的记号，小实验是参考答案，选择与填数的答案在程序包里，这里是空的

    异常 : 答案已经去掉时 ValueError
    """
    text = cell.source.strip()
    if not (hit := SOLUTION.search(text)):
        raise ValueError(f"{cell.metadata[MARK]['question']} 的答案已经去掉，这是发给学生的那一份；要的是教师的那一份")
    if cell.cell_type == "markdown":
        return hit[3].rstrip("\n")
    return "" if text.startswith("answer_") else SOLUTION.sub(r"\1# 答案\n\3\1# 答案完", text)


def chunk(cell):
    """一格 → 源文件里 # %% 之后的一段"""
    if cell.code:
        return f"\n{cell.text}\n\n"
    return " [markdown]\n" + "\n".join(f"# {line}".rstrip() for line in cell.text.split("\n")) + "\n\n"


def write_back(notebook, out):
    """写出 out/章/ 里的源文件、学生版与答案版（都没有执行），返回 (那个文件夹, 改动的说明)

    异常 : 同 to_source；out 里那一章的文件夹不是空的，也是 ValueError
    """
    stem, text, notes = to_source(notebook)
    target = out / stem
    if target.exists() and any(target.iterdir()):
        raise ValueError(f"{target} 里已经有东西，不去盖它；先把它移走，或者换一个 --out")
    with atomic_folder(target) as folder:
        for name in ("src", "solutions"):
            (folder / name).mkdir()
        source = folder / "src" / f"{stem}.py"
        source.write_text(text, encoding="utf-8", newline="\n")
        nbformat.write(read_source(source, student_edition), folder / f"{stem}.ipynb")
        nbformat.write(read_source(source, solutions_edition), folder / "solutions" / f"{stem}.ipynb")
    return target, notes
