"""由隔离的进程交回的答案定对错：交回的只是学生的说法，先核对样子，再与本进程里算的参考答案比较"""
import builtins
import functools
import sys
from dataclasses import dataclass

from ..teach.exercises import Code
from ..teach.grading import JUDGES, decide, not_a_function
from ..teach.outcome import Outcome, Unreadable, canonical, outcomes

LONGEST = 600


@dataclass(frozen=True)
class Judged:
    """一道题判下来：mark 是 ✓、✗ 或 ☐，text 是给学生的话，mistake 是认出的典型错误（没有认出时空）"""

    mark: str
    text: str = ""
    mistake: str = ""


@functools.cache
def known(function, exercise):
    """参考答案与典型的错在各组参数上的 Outcome，每道题只算一遍"""
    return outcomes(function, exercise)


def judge_attempts(exercise, attempts):
    """一道题的几处答案取最好的：✓ 优先，其次是最后一处动了手的；一处也没有时 None"""
    if not isinstance(attempts, list):
        raise ValueError("交回的不是列表")
    judged = [judge_attempt(exercise, attempt) for attempt in attempts]
    return next((found for mark in ("✓", "✗", "☐") for found in reversed(judged) if found.mark == mark), None)


def judge_attempt(exercise, attempt):
    kind = attempt["kind"]
    if kind == "blank":
        return Judged("☐", text_of(attempt["text"]))
    if kind == "broken":
        return Judged("✗", text_of(attempt["text"]))
    if isinstance(exercise, Code):
        mark, text = judge_code(exercise, attempt)
    else:
        mark, text = JUDGES[type(exercise)](exercise, attempt["value"])
    if mark != "✗":
        return Judged(mark)
    hints = [mistake.hint for mistake in exercise.mistakes] if isinstance(exercise, Code) else exercise.hints.values()
    found = text.removeprefix("提示：")
    return Judged(mark, text_of(found), found if found in hints else "")


def judge_code(exercise, attempt):
    if attempt["kind"] == "value":
        return "✗", not_a_function(text_of(attempt["type"]))
    if attempt["blank"] is True:
        return "☐", ""
    want = known(exercise.reference, exercise)
    got = [outcome_of(part, len(exercise.cases()[i])) for i, part in enumerate(attempt["outcomes"][:len(want)])]
    # 少交几组，就不能只比交了的
    if len(got) != len(want):
        raise ValueError("结果的组数不对")
    return decide(exercise, want, got, lambda error: error.said, known)


def outcome_of(part, arguments):
    """{"value", "error", "mutated"} → Outcome"""
    mutated = tuple(k for k in part["mutated"] if type(k) is int and 0 <= k < arguments)
    if part["error"] is None:
        value = part["value"]
        return Outcome(value if value is None or value is ... else canonical(value), None, mutated)
    kind = error_type(text_of(part["error"]["type"]))
    error = kind.__new__(kind)
    if part["error"]["silent"] is not True:
        error.args = ("",)
    error.said = text_of(part["error"]["text"])
    return Outcome(None, error, mutated)


@functools.cache
def error_type(name):
    """错误的全名 → 本进程里同名的类型，没有就造一个；绝不为它导入什么"""
    module, _, short = name.rpartition(".")
    found = vars(builtins if module == "builtins" else sys.modules.get(module, builtins)).get(short)
    if name == f"{Unreadable.__module__}.{Unreadable.__qualname__}":
        return Unreadable
    usable = isinstance(found, type) and issubclass(found, Exception) and f"{found.__module__}.{found.__qualname__}" == name
    return found if usable else type("学生的错误", (Exception,), {})


def text_of(text):
    """一句不太长的话"""
    if not isinstance(text, str):
        raise ValueError("应当是字符串")
    return text[:LONGEST]
