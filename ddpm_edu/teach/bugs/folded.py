"""折起来的源码、答案与提示：先看症状，选好试验，再点开"""
from ..source import SourceView


class FoldedText:
    """几段文字各收在一个折叠块里：folds = [(标题, 纯文字, markdown), ...]；纯文字的一面照样写全，文字改了，nbval 会报错"""

    def __init__(self, *folds):
        self.text = "\n\n".join(text for _, text, _ in folds)
        self.page = "\n\n".join(f"<details><summary>{summary}</summary>\n\n{page}\n\n</details>" for summary, _, page in folds)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/markdown": self.page, "text/plain": self.text}


def code_fold(objects):
    text = "\n\n\n".join(SourceView(obj).code() for obj in objects)
    return "坏代码", text, f"```python\n{text}\n```"


def folded_source(*objects):
    """展示几个函数或类的源码，折起来"""
    return FoldedText(code_fold(objects))


def folded_result(number, *objects):
    """选择题 number 的答案与理由、那个试验的代码与结果，各折一块；给了 objects 时，坏代码折在最下面"""
    from ..exercises import find
    from .trials import trial

    exercise, (code, printed) = find(number), trial(number)
    text = f"答案是 {exercise.answer}。{exercise.why}"
    page = f"```python\n{code}\n```\n\n印出：\n\n```text\n{printed}\n```"
    folds = [("选完再点开：答案与理由", text, text), ("试验的代码", f"{code}\n\n{printed}", page)]
    return FoldedText(*folds, *([code_fold(objects)] if objects else ()))


def folded_hints(number):
    """猎场 number 的三级提示，各折一块"""
    from ..exercises.bug_hunts import HINTS

    titles = ("提示一：先查哪里", "提示二：对哪一条公式", "提示三：试验怎样写")
    return FoldedText(*((title, text, text) for title, text in zip(titles, HINTS[number])))
