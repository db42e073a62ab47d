"""知识库的样子，与查找：方法 → 说明，语句的指纹 → 一句话。每句话只写在 tables/ 里的一处"""
import functools
from dataclasses import dataclass

SAME, DIFFERENT, WRONG = "同", "不同", "这里有错"
# 好几条都指向的一处
APPENDIX = (17, "哪里容易看错")


@dataclass(frozen=True)
class Note:
    """一条语句：做什么、公式、课程版有什么不同或原文件错在哪里（都空着就是一样）

    signature, forms : 招牌与各版本的指纹，见 syntax.py；几种写法用空格隔开
    chapter          : 细讲的章，0 表示同它的方法；proof 是（章, 那一格里的一段文字）
    needs            : wrong 还要看这些方法，用空格隔开：它们改动过，这一句就不敢说死
    only             : 只有它才有的那个仓库
    """

    signature: str
    forms: str
    does: str
    formula: str = ""
    differs: str = ""
    wrong: str = ""
    chapter: int = 0
    proof: tuple = ()
    needs: str = ""
    only: str = ""

    @property
    def verdict(self):
        return WRONG if self.wrong else DIFFERENT if self.differs else SAME


@dataclass(frozen=True)
class Method:
    """一个方法；heads 是参数表的指纹，known 是没有单独讲、但见过的语句的指纹；only 是只有它才有的那个仓库"""

    name: str
    chapter: int
    does: str
    formula: str = ""
    proof: tuple = ()
    only: str = ""
    heads: str = ""
    notes: tuple = ()
    known: str = ""


@functools.cache
def methods():
    """{"DDPM.q_sample": Method, ...}，按原文件里的次序"""
    from .tables import ddim, ddpm_building, ddpm_using, latent_building, latent_using, parts

    return {method.name: method for table in (ddpm_building, ddpm_using, parts, latent_building, latent_using, ddim) for method in table.METHODS}


@functools.cache
def classes():
    """课程讲到的类"""
    return tuple(dict.fromkeys(name.partition(".")[0] for name in methods()))
