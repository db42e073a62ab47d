"""习题的数据：每章一个文件 chNN.py，里面的 EXERCISES 是题目的元组；批改在 grading.py

题号、标题、星数与 notebook 里的小标题相同，测试会核对；题目的要求只写在 notebook 里
"""
import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mistake:
    """一种典型的错：hint 是给学生的话，function 是照这种错写出的实现；学生的输出与它相同，就给这句话"""

    hint: str
    function: Callable


@dataclass(frozen=True)
class Code:
    """编程题：在 cases() 的每组参数上，学生的函数要与 reference 相同

    cases    : 无参函数，每次返回全新的 [参数元组, ...]，改动了也不留痕迹
    mistakes : 彼此之间、与 reference 之间，在 cases 上都要分得开
    why      : 做对之后的一句话；nudge : 认不出错在哪里时的一句话
    observe  : 返回值不好直接比较（例如模块）时，先由它变成数、张量或字典
    rtol     : 相对误差，练习精度的题要调小
    """

    id: str
    stars: int
    title: str
    reference: Callable
    cases: Callable
    mistakes: tuple
    why: str
    nudge: str = ""
    observe: Callable = lambda value: value
    rtol: float = 1e-4


@dataclass(frozen=True)
class Choice:
    """选择题：hints 给每个错的选项一句话"""

    id: str
    stars: int
    title: str
    answer: str
    hints: dict
    why: str


@dataclass(frozen=True)
class Number:
    """填数题：hints 是 {典型的错误答案: 一句话}，nudge 给其余的错误答案"""

    id: str
    stars: int
    title: str
    answer: float
    hints: dict
    why: str
    nudge: str = field(default="再算一遍。")
    rtol: float = 1e-3


def chapters():
    """{章号: 题目的元组}，只有写了习题的章"""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if re.fullmatch(r"ch\d\d", module.name))
    return {name[2:]: importlib.import_module(f"{__name__}.{name}").EXERCISES for name in names}


def find(number):
    """题号 "03.1" → 题目；没有这道题时返回 None"""
    return next((e for exercises in chapters().values() for e in exercises if e.id == number), None)
