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
    return "点开代码", text, f"```python\n{text}\n```"


def folded_source(*objects):
    """展示几个函数或类的源码，折起来"""
    return FoldedText(code_fold(objects))


def folded_result(number, *objects):
    """选择题 number 的答案与理由，折起来；给了 objects 时，源码折在它下面"""
    from ..exercises import find

    exercise = find(number)
    text = f"答案是 {exercise.answer}。{exercise.why}"
    return FoldedText(("答完再点开：试验的结果", text, text), *([code_fold(objects)] if objects else ()))


def folded_hints(number):
    """猎场 number 的两级提示，各折一块"""
    from ..exercises.bug_hunts import HINTS

    return FoldedText(*((summary, text, text) for summary, text in zip(("提示一：先查哪里", "提示二：对哪一条公式"), HINTS[number])))
