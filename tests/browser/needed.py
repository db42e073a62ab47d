"""画出面板要先运行哪几格：从面板往回找，定义了它用到的名字的那些"""
import dis
from types import CodeType


def needed(cells, wanted):
    """cells {下标: 源码} 里，wanted(源码) 为真的那些，连同它们用到的，按先后排好"""
    missing, found = set(), []
    for index in sorted(cells, reverse=True):
        gives, uses = names(cells[index])
        if wanted(cells[index]) or gives & missing:
            found.append(index)
            missing = missing - gives | uses
    return found[::-1]


def names(code):
    """(一格定义的名字, 它要用到前面各格的名字)；不是 Python 的行（%magic、!命令）不看

    照字节码的先后：自己先定义、后用的不算；推导式里的变量不是名字
    """
    text = "\n".join(line for line in code.splitlines() if not line.startswith(("%", "!")))
    gives, uses, module = set(), set(), compile(text, "cell", "exec")
    for step in dis.get_instructions(module):
        if step.opname == "STORE_NAME":
            gives.add(step.argval)
        elif step.opname == "LOAD_NAME" and step.argval not in gives:
            uses.add(step.argval)
    return gives, uses | inner(module) - gives


def inner(code):
    """函数与推导式里用到的全局的名字"""
    nested = [value for value in code.co_consts if isinstance(value, CodeType)]
    own = {step.argval for part in nested for step in dis.get_instructions(part) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*map(inner, nested))
