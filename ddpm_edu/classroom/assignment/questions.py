"""一章里的题：由源文件找出每道题占哪几格、值几分，以及这些格要先有哪些 import 与变量"""
import ast
import json
import re
from dataclasses import dataclass

from ...authoring.editions import ANSWER
from ...teach.books import Cell, read_cells
from ...teach.exercises import Code, find

LAB, LAB_POINTS = "小实验", 3  # 三句话，一句一分，由人来评
START = re.compile(r"##+ (?:练习|小实验|\d\d\.\d+)")
GRADE = re.compile(r'\s*^grade\("(\d\d\.\d+b?)", (\w+)\)(  # .*)?', re.M)
REFERENCE = "{}\n\n<!-- 参考答案 -->\n{}\n\n<!-- 参考答案完 -->"
SPLIT = re.compile("(.*)\n\n<!-- 参考答案 -->\n(.*)\n\n<!-- 参考答案完 -->", re.S)


@dataclass(frozen=True)
class Question:
    """一道题；start、stop 是它在源文件里的单元，最后一个写答案，小实验只有一个"""

    chapter: str
    number: str  # 如 "04.1"，小实验是 LAB
    start: int
    stop: int
    cells: tuple

    @property
    def name(self):
        """只用字母、数字、下划线，如 q04_1、q16_1b、q04_lab"""
        return f"q{self.chapter}_lab" if self.number == LAB else f"q{self.number.replace('.', '_')}"

    @property
    def points(self):
        """一颗星一分"""
        return LAB_POINTS if self.number == LAB else find(self.number).stars

    @property
    def is_code(self):
        return isinstance(find(self.number), Code)

    @property
    def texts(self):
        """答案之前的各格；小实验的文字不含参考答案"""
        return [Cell(False, SPLIT.fullmatch(self.cells[0].text)[1])] if self.number == LAB else self.cells[:-1]

    @property
    def variable(self):
        """交给批改的名字：编程题是函数名，选择与填数另起一个变量"""
        return GRADE.search(self.cells[-1].text)[2] if self.is_code else self.name.replace("q", "answer_", 1)

    @property
    def tail(self):
        """答案那一格里不归学生写的部分：从 grade 那一行（连同它前面的空行）到结尾；小实验没有"""
        text = self.cells[-1].text
        return "" if self.number == LAB else text[GRADE.search(text).start():]

    def answer(self, begin, end):
        """带答案的那一格，不含 tail；begin 与 end 是圈住答案的两行"""
        text = self.cells[-1].text
        if self.number == LAB:
            return f"{begin}\n{SPLIT.fullmatch(text)[2]}\n{end}"
        if self.is_code:
            return ANSWER.sub(lambda hit: f"{hit[1]}{begin}\n{hit[2]}{hit[1]}{end}", text.removesuffix(self.tail))
        remark = GRADE.search(text)[3] or ""
        return f"{self.variable} = None{remark}\n{begin}\n{self.variable} = {json.dumps(find(self.number).answer)}\n{end}"


def questions(path):
    """源文件 → 题的列表，按先后"""
    found, start, cells = [], None, read_cells(path)
    for place, cell in enumerate(cells):
        if start is None and not cell.code and START.match(cell.text):
            start = place
        number = ends_with(cell) if start is not None else None
        if number:
            found.append(Question(path.stem[:2], number, start, place + 1, tuple(cells[start:place + 1])))
            start = None
    return found


def ends_with(cell):
    """一道题到这一格为止时是它的题号"""
    if cell.code:
        return (hit := GRADE.search(cell.text)) and hit[1]
    return LAB if cell.text.startswith(f"### {LAB}") else None


def setup(path):
    """题的各格要先运行什么：那一章导入的别家的库，以及题里用到的名字的来处，一句一句取"""
    tails = {place: question.tail if place == question.stop - 1 else "" for question in questions(path) for place in range(question.start, question.stop)}
    taken, missing = [], set()
    for place, cell in reversed(list(enumerate(read_cells(path)))):
        text = cell.text.removesuffix(tails.get(place, ""))
        for node in reversed(ast.parse(text).body if cell.code else []):
            gives, uses = names(node)
            if place in tails or gives & missing or is_library(node):
                missing = missing - gives | uses
                taken += [statement(text, node)] if place not in tails else []
    return "\n".join(reversed(taken))


def names(node):
    """(一句定义的名字, 它用到的别处的名字)；函数、循环、推导式自己的变量不算"""
    inside = list(ast.walk(node))
    imports = {alias.asname or alias.name.partition(".")[0] for part in inside if isinstance(part, ast.Import | ast.ImportFrom) for alias in part.names}
    stored, loaded = stores(inside), {part.id for part in inside if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
    local = {part.arg for part in inside if isinstance(part, ast.arg)}
    local |= stores(inner for part in inside if isinstance(part, ast.comprehension) for inner in ast.walk(part.target))
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}, loaded - stored - local
    return imports | stored - local, loaded - local - (stored if isinstance(node, ast.For | ast.With) else set())


def stores(nodes):
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def is_library(node):
    """导入别家的库；学生写答案时多半要用"""
    return isinstance(node, ast.Import) or isinstance(node, ast.ImportFrom) and not node.module.startswith("ddpm_edu")


def statement(text, node):
    """一句的源码，连同装饰器"""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return "\n".join(text.splitlines()[first - 1:node.end_lineno])
