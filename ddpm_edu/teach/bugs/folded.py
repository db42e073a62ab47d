"""折起来的源码：先看症状，写下猜测，再点开"""
from ..source import SourceView


class FoldedView:
    """几段源码收在一个折叠块里；纯文字的一面照样写全，源码改了，nbval 会报错"""

    def __init__(self, *objects):
        self.text = "\n\n\n".join(SourceView(obj).code() for obj in objects)

    def _repr_mimebundle_(self, include=None, exclude=None):
        page = f"<details><summary>先写下两种猜测，再点开代码</summary>\n\n```python\n{self.text}\n```\n\n</details>"
        return {"text/markdown": page, "text/plain": self.text}


def folded_source(*objects):
    """展示几个函数或类的源码，折起来"""
    return FoldedView(*objects)
