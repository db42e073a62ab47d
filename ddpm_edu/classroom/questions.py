"""交给隔离的进程的题目：只有造参数与看返回值的那几段源码，没有参考答案，没有典型的错

有的参数是模块、函数、优化器，写不进信里，只能在那边现造；造它们的源码由 exercises/ 里摘出来，用到什么摘什么
"""
import ast
import functools
from pathlib import Path

from ..teach import exercises
from .slicing import slice_for, statements

PACKAGE = exercises.__name__


@functools.cache
def sources():
    """{编程题的题号: 一段源码}，执行之后有 cases 与 observe"""
    found = {}
    for path in sorted(Path(exercises.__path__[0]).glob("[cb]*.py")):
        several = statements(path.read_text(encoding="utf-8"), filename=path.name)
        for call in [node for statement in several for node in ast.walk(statement.node) if _is_code(node)]:
            found[call.args[0].value] = _source(call, [s for s in several if not _holds_answers(s.node)])
    return found


def _is_code(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Code"


def _holds_answers(node):
    return any(_is_code(part) for part in ast.walk(node))


def _source(call, several):
    observe = next((k.value for k in call.keywords if k.arg == "observe"), None)
    last = f"cases = {ast.unparse(call.args[4])}\nobserve = {ast.unparse(observe) if observe else 'lambda value: value'}\n"
    wanted = {name for statement in statements(last) for name in statement.now | statement.later}
    return "\n\n".join([*(ast.unparse(statement.node) for statement in slice_for(wanted, several)), last])
