"""批改：grade("03.1", 函数) 显示 ☐、✗ 加提示或 ✓；从不抛异常，所以不阻塞“运行全部”"""
import contextlib
import html
import inspect
import numbers
import unicodedata
from dataclasses import dataclass

from .diary import record
from .exercises import Choice, Code, Number, find
from .outcome import Unreadable, difference, explain_error, is_blank, outcomes, show

COLORS = {"✓": "#2e7d32", "✗": "#c62828", "☐": "#9e9e9e"}


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
        return "✗", not_a_function(type(function).__name__)
    got = outcomes(function, exercise)
    # 没有做的题不必算参考答案
    if is_blank(function, got[0]):
        return "☐", ""
    return decide(exercise, outcomes(exercise.reference, exercise), got, lambda error: explain_error(error, function), outcomes)


def not_a_function(kind):
    return f"这里要的是函数本身，你给的是 {kind}；写函数的名字，不要加括号去调用它"


def decide(exercise, want, got, explain, known):
    """由参考答案的 Outcome（want）与学生的（got）定对错，不再运行学生的程序；返回 (✓ 或 ✗, 给学生的话)

    explain(错误) 是一句话；known(函数, 题) 给出典型的错的 Outcome
    """
    if unclear := next((w.error for w in want if isinstance(w.error, Unreadable)), None):
        raise unclear  # 题目出错了：答案比不出对错，漏写了 observe
    if same(got, want, exercise.rtol) and not any(g.mutated for g in got):
        return "✓", exercise.why
    for mistake in exercise.mistakes:
        if matches(got, known(mistake.function, exercise), exercise.rtol):
            return "✗", f"提示：{mistake.hint}"
    return "✗", general_hint(exercise, explain, got, want)


def same(got, want, rtol):
    """每组参数上，返回值都相同，或者都抛出同一种错误"""
    return all(type(g.error) is type(w.error) and (g.error is not None or difference(g.value, w.value, rtol) is None)
               for g, w in zip(got, want))


def matches(got, mistake, rtol):
    """这种错若会改动参数，学生的也要改动才算"""
    return same(got, mistake, rtol) and all(set(m.mutated) <= set(g.mutated) for g, m in zip(got, mistake))


def general_hint(exercise, explain, got, want):
    """认不出是哪种错：说出第一组不对的参数、差在哪里"""
    i = next((i for i, (g, w) in enumerate(zip(got, want)) if not same([g], [w], exercise.rtol)), None)
    if i is None:
        i = next(i for i, g in enumerate(got) if g.mutated)
        names = "、".join(parameter_names(exercise.reference)[k] for k in got[i].mutated)
        return f"返回值对了，但你的函数改动了传进来的 {names}；不要用 +=、*=、pop 这类就地改动的写法，或者先复制一份"
    if got[i].error:
        text = explain(got[i].error)
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
