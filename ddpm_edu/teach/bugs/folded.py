"""折起来的源码与答案：先看症状，写下猜测，再点开"""
from ..source import SourceView


class FoldedText:
    """一段文字收在一个折叠块里；纯文字的一面照样写全，文字改了，nbval 会报错"""

    def __init__(self, summary, text, page):
        self.text, self.page = text, f"<details><summary>{summary}</summary>\n\n{page}\n\n</details>"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/markdown": self.page, "text/plain": self.text}


class FoldedView(FoldedText):
    """几段源码收在一个折叠块里"""

    def __init__(self, *objects):
        text = "\n\n\n".join(SourceView(obj).code() for obj in objects)
        super().__init__("先写下两种猜测，再点开代码", text, f"```python\n{text}\n```")


def folded_source(*objects):
    """展示几个函数或类的源码，折起来"""
    return FoldedView(*objects)


def folded_result(number):
    """选择题 number 的答案与理由，折起来"""
    from ..exercises import find

    exercise = find(number)
    text = f"答案是 {exercise.answer}。{exercise.why}"
    return FoldedText("答完再点开：试验的结果，所以是哪一种", text, text)
