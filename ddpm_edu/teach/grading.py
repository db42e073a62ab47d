"""批改：grade("03.1", 函数) 显示 ☐、✗ 加提示或 ✓；从不抛异常，所以不阻塞“运行全部”"""
import contextlib
import dis
import html
import inspect
import numbers
import unicodedata
from dataclasses import dataclass

from .diary import record
from .exercises import Choice, Code, Number, find
from .outcome import Unreadable, difference, explain_error, outcomes, show

COLORS = {"✓": "#2e7d32", "✗": "#c62828", "☐": "#9e9e9e"}
# 函数体只有 ... 或 pass 时，字节码里只有这几种指令
IDLE = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}


@dataclass(frozen=True)
class Verdict:
    """一道题的批改结果；mark 是 ✓、✗ 或 ☐，text 是给学生的话"""

    mark: str
    name: str
    text: str = ""

    def __repr__(self):
        return f"{self.mark} {self.name}" + "".join(f"\n  {line}" for line in self.text.splitlines())

    def _repr_mimebundle_(self, include=None, exclude=None):
        color, body = COLORS[self.mark], "".join(f"<br>{html.escape(line)}" for line in self.text.splitlines())
        page = (f'<div style="border-left:4px solid {color};padding:2px 12px">'
                f'<b style="color:{color}">{self.mark}</b> <b>{html.escape(self.name)}</b>{body}</div>')
        return {"text/html": page, "text/plain": repr(self)}


def grade(number, answer):
    """批改第 number 题并显示结果

    answer : 编程题给函数本身，选择题给 "A"、"B"……，填数题给一个数；还没做就是 None 或 ...
    """
    from IPython.display import display

    verdict = judge(number, answer)
    with contextlib.suppress(OSError, RuntimeError):
        record(number, verdict.mark)
    display(verdict)


def judge(number, answer):
    """批改而不显示、不记录，返回 Verdict"""
    exercise = find(number)
    if exercise is None:
        return Verdict("☐", str(number), '没有这道题，题号形如 "03.1"')
    name = f"{exercise.id} {exercise.title}"
    if answer is None or answer is ...:
        return Verdict("☐", name)
    try:
        mark, text = JUDGES[type(exercise)](exercise, answer)
    except Exception as error:
        # 学生的对象连取属性、求长度都可能抛异常
        mark, text = "✗", f"这个答案没法批改：{type(error).__name__}"
    return Verdict(mark, name, text)


def judge_choice(exercise, answer):
    options = sorted([exercise.answer, *exercise.hints])
    letter = unicodedata.normalize("NFKC", answer).strip().upper() if isinstance(answer, str) else None
    if letter == exercise.answer:
        return "✓", exercise.why
    return "✗", exercise.hints.get(letter, f"应为 {'、'.join(options)} 之一，写成带引号的字母")


def judge_number(exercise, answer):
    answer = answer.item() if hasattr(answer, "item") else answer
    if isinstance(answer, bool) or not isinstance(answer, numbers.Real):
        return "✗", "这里要填一个数"
    if near(answer, exercise.answer, exercise.rtol):
        return "✓", exercise.why
    return "✗", next((hint for wrong, hint in exercise.hints.items() if near(answer, wrong, exercise.rtol)), exercise.nudge)


def near(got, want, rtol):
    return difference(float(got), float(want), rtol) is None


def judge_code(exercise, function):
    if not callable(function):
        return "✗", f"这里要的是函数本身，你给的是 {type(function).__name__}；写函数的名字，不要加括号去调用它"
    got = outcomes(function, exercise)
    if is_blank(function, got[0]):
        return "☐", ""
    want = outcomes(exercise.reference, exercise)
    if unclear := next((w.error for w in want if isinstance(w.error, Unreadable)), None):
        raise unclear  # 题目出错了：答案比不出对错，漏写了 observe
    if same(got, want, exercise.rtol) and not any(g.mutated for g in got):
        return "✓", exercise.why
    for mistake in exercise.mistakes:
        if matches(got, outcomes(mistake.function, exercise), exercise.rtol):
            return "✗", f"提示：{mistake.hint}"
    return "✗", general_hint(exercise, function, got, want)


def is_blank(function, outcome):
    """还没动手：函数体只有 ... 或 pass，或者 raise NotImplementedError"""
    if outcome.error is not None:
        # PyTorch 自己也抛这种错，但总带着话
        return type(outcome.error) is NotImplementedError and not outcome.error.args
    code = getattr(function, "__code__", None)
    idle = code is not None and {instruction.opname for instruction in dis.get_instructions(code)} <= IDLE
    return idle and (outcome.value is None or outcome.value is ...)


def same(got, want, rtol):
    """每组参数上，返回值都相同，或者都抛出同一种错误"""
    return all(type(g.error) is type(w.error) and (g.error is not None or difference(g.value, w.value, rtol) is None)
               for g, w in zip(got, want))


def matches(got, mistake, rtol):
    """这种错若会改动参数，学生的也要改动才算"""
    return same(got, mistake, rtol) and all(set(m.mutated) <= set(g.mutated) for g, m in zip(got, mistake))


def general_hint(exercise, function, got, want):
    """认不出是哪种错：说出第一组不对的参数、差在哪里"""
    i = next((i for i, (g, w) in enumerate(zip(got, want)) if not same([g], [w], exercise.rtol)), None)
    if i is None:
        i = next(i for i, g in enumerate(got) if g.mutated)
        names = "、".join(parameter_names(exercise.reference)[k] for k in got[i].mutated)
        return f"返回值对了，但你的函数改动了传进来的 {names}；不要用 +=、*=、pop 这类就地改动的写法，或者先复制一份"
    if got[i].error:
        text = explain_error(got[i].error, function)
    elif got[i].value is None:
        text = "函数返回了 None；是不是忘了写 return？"
    elif got[i].value is ...:
        text = "函数返回了 ...；把它换成你的答案"
    else:
        text = difference(got[i].value, want[i].value, exercise.rtol)
    # 只差类型时，怎样把数算对的话就不必说了
    nudge = "" if text.startswith("数值对了") else exercise.nudge
    return "\n".join(filter(None, [text, f"这时的输入：{show_case(exercise, i)}", nudge]))


def parameter_names(function):
    return list(inspect.signature(function).parameters)


def show_case(exercise, i):
    return "，".join(f"{name}={show(value)}" for name, value in zip(parameter_names(exercise.reference), exercise.cases()[i]))


JUDGES = {Code: judge_code, Choice: judge_choice, Number: judge_number}
