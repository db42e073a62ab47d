"""隔离的进程里做的事：运行学生的定义，在各组参数上算出他的答案；对错不在这里判，这里也没有参考答案

target 是 "ddpm_edu.classroom.answers:answer"；它交回的东西只是学生的说法，见 judging.py
"""
import ast
import contextlib
import linecache
import numbers
import re
import types
from dataclasses import dataclass, field

# 造优化器时 torch 才导入它，而它导入时要写临时文件，隔离之后就不许了
import torch._dynamo  # noqa: F401

from ..teach.outcome import canonical, explain_error, is_blank, outcomes
from . import messages
from .slicing import GRADE, names, slice_for, statements

MAGIC = re.compile(r"^([ \t]*)(?:[%!?].*|[\w.]+\?+[ \t]*)$", re.M)
CELL_MAGIC = re.compile(r"\A\s*%%(?:time|timeit|capture)\b.*\n?")
EXERCISES = "ddpm_edu.teach.exercises"
MOST_ATTEMPTS = 5


@dataclass
class Program:
    """一本 notebook 的全部语句；broken 是有语法错误的单元：{第几个: 一句话}"""

    cells: list
    several: list = field(default_factory=list)
    broken: dict = field(default_factory=dict)

    def __post_init__(self):
        for i, source in enumerate(self.cells):
            filename = label(i)
            try:
                source, found = parse(source, i, filename)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                self.broken[i] = syntax_sentence(filename, error)
                continue
            self.several += found
            linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


def label(i):
    return f"第 {i + 1} 个代码单元"


def parse(source, i, filename):
    """(去掉魔法命令的源码, 语句的列表)；先原样试，字符串里也会有 % 开头的行"""
    try:
        return source, statements(source, i, filename)
    except SyntaxError:
        plain = CELL_MAGIC.sub("\n", source)
        plain = MAGIC.sub(r"\1pass", "" if plain.lstrip().startswith("%%") else plain)
        return plain, statements(plain, i, filename)


def syntax_sentence(filename, error):
    if not isinstance(error, SyntaxError):
        return f"{filename}读不懂：{type(error).__name__}"
    text = (error.text or "").strip()[:60]
    return f"{filename}第 {error.lineno} 行有语法错误" + (f"：{text}" if text else "")


def answer(job):
    """job : {"cells": [源码, ...], "questions": {题号: 造参数的源码，思考题是 None}}；返回 {题号: [每次批改的答案, ...]}"""
    program = Program(job["cells"])
    return {number: attempts(program, number, source) for number, source in job["questions"].items()}


def attempts(program, number, source):
    """这道题的每一处 grade(…)；有语法错误的单元里的也算一处"""
    calls = graded(program.several, number)
    found = [safely(one_answer, program, place, expression, source) for place, expression in calls]
    if not calls:
        heard, error = recordings(program)
        found = [safely(recorded, value, source) for value in heard.get(number, [])] or [{"kind": "broken", "text": error}] * bool(error)
    found += [{"kind": "broken", "text": text} for i, text in program.broken.items() if number in GRADE.findall(program.cells[i])]
    return found[-MOST_ATTEMPTS:]


def graders(several):
    """grade 在这本里叫什么名字"""
    imports = [alias for statement in several for node in ast.walk(statement.node) if isinstance(node, ast.ImportFrom) for alias in node.names]
    return {"grade", *(alias.asname for alias in imports if alias.name == "grade" and alias.asname)}


def gradings(several):
    """[(第几条语句, 题号的表达式, 答案的表达式), ...]"""
    called, found = graders(several), []
    for i, call in ((i, node) for i, statement in enumerate(several) for node in ast.walk(statement.node) if isinstance(node, ast.Call)):
        if getattr(call.func, "id", None) in called or getattr(call.func, "attr", None) == "grade":
            given = dict(zip(("number", "answer"), call.args)) | {keyword.arg: keyword.value for keyword in call.keywords}
            found.append((i, given.get("number"), given.get("answer", ast.Constant(None))))
    return found


def graded(several, number):
    """这道题的 [(第几条语句, 答案的表达式), ...]"""
    return [(i, answer) for i, given, answer in gradings(several) if isinstance(given, ast.Constant) and given.value == number]


def recordings(program):
    """题号是算出来的那几句（例如在循环里批改）：连同它要用的语句一起执行，grade 换成记下答案的；返回 ({题号: [答案, ...]}, 第一个错误的一句话或空)"""
    heard, errors = {}, []
    for place in sorted({i for i, given, _ in gradings(program.several) if given is not None and not isinstance(given, ast.Constant)}):
        statement = program.several[place]
        space, error = execute(slice_for(statement.now, program.several, place))
        space |= dict.fromkeys(graders(program.several), lambda number, answer=None: heard.setdefault(number, []).append(answer))
        errors += [error, execute([statement], space)[1]]
    return heard, next(filter(None, errors), "")


def safely(find, *given):
    """一处的答案，写得进信里"""
    try:
        found = find(*given)
        messages.write(found)
    except Exception as error:
        return {"kind": "broken", "text": f"答案读不出来：{type(error).__name__}"}
    return found


def one_answer(program, place, expression, source):
    statement = program.several[place]
    code = compile(ast.Expression(expression), label(statement.cell), "eval")
    space, first_error = execute(slice_for(set().union(*names(code)[:2]), program.several, place))
    try:
        value = eval(code, space)
    except Exception as error:
        text = f"{label(statement.cell)}第 {expression.lineno} 行算不出答案：{type(error).__name__}: {str(error)[:150]}"
        return {"kind": "broken", "text": "；先前".join(filter(None, [text, first_error]))}
    return recorded(value, source, first_error)


def recorded(value, source, first_error=""):
    """一个答案写成信的样子"""
    if value is None or value is ...:
        return {"kind": "blank", "text": first_error}
    return code_answer(value, source) if source is not None else {"kind": "value", "value": plain(value), "type": type(value).__name__}


def execute(chosen, space=None):
    """依次执行，一条出错不耽误下一条；返回 (名字空间, 第一个错误的一句话或空)"""
    space, errors = space or {"__name__": "__main__", "display": lambda *args, **kwargs: None}, []
    for statement in chosen:
        try:
            exec(statement.code, space)
        except Exception as error:
            errors.append(f"{label(statement.cell)}第 {statement.node.lineno} 行出错：{type(error).__name__}: {str(error)[:150]}")
    return space, "".join(errors[:1])


def plain(value):
    """思考题的答案：张量、数、字符串；别的只留类型的名字"""
    with contextlib.suppress(Exception):
        return canonical(value)
    return float(value) if isinstance(value, numbers.Real) else None


def code_answer(function, source):
    """编程题：函数在各组参数上的结果"""
    if not callable(function):
        return {"kind": "value", "value": None, "type": type(function).__name__}
    question = {"__name__": f"{EXERCISES}.question", "__package__": EXERCISES}
    exec(compile(source, "<题目>", "exec"), question)
    found = outcomes(function, types.SimpleNamespace(cases=question["cases"], observe=question["observe"]))
    return {"kind": "code", "blank": is_blank(function, found[0]), "outcomes": [described(outcome, function) for outcome in found]}


def described(outcome, function):
    error = outcome.error
    return {"value": outcome.value, "mutated": list(outcome.mutated), "error": None if error is None else {
        "type": f"{type(error).__module__}.{type(error).__qualname__}", "silent": not error.args, "text": explain_error(error, function)[:400]}}
