"""从一段程序里只取用得着的语句：谁绑定了名字，谁用到了名字，都由字节码看出来"""
import __future__

import ast
import builtins
import dis
import inspect
import re
import types
from dataclasses import dataclass, field

# 批改的单元：grade("03.1", …)；grade 换了名字，或者在循环里批改的，只看得见写成字符串的题号
GRADE = re.compile(r"""\bgrade\s*\(\s*(?:number\s*=\s*)?["'](\d\d\.\d+b?)["']""")
NUMBER = re.compile(r"""["'](\d\d\.\d+b?)["']""")
DEFINITIONS = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
IMPORTS = ast.Import, ast.ImportFrom
# 推导式虽是单独的代码对象，却当场就执行
AT_ONCE = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


@dataclass(frozen=True)
class Statement:
    """一条顶层语句；cell 是第几个单元

    now、later : 执行它时、调用它定义的函数时，要用到的名字
    binds      : 它绑定的名字；settles 是其中一定会绑定的，之前的就不作数了；changes 是就地改动的
    """

    cell: int
    node: ast.stmt
    code: types.CodeType = field(repr=False)
    now: frozenset
    later: frozenset
    binds: frozenset
    settles: frozenset
    changes: frozenset


def statements(source, cell=0, filename="<程序>"):
    """一段程序的各条顶层语句

    异常 : 语法不对时 SyntaxError
    """
    return [_statement(node, cell, filename) for node in ast.parse(source, filename).body]


def _statement(node, cell, filename):
    # 类型注解只当字符串：里面的名字不必找到
    code = compile(ast.Module([node], []), filename, "exec", __future__.annotations.compiler_flag)
    now, later, bound = names(code)
    certain = isinstance(node, (*DEFINITIONS, *IMPORTS)) or isinstance(node, (ast.Assign, ast.AnnAssign))
    return Statement(cell, node, code, frozenset(now), frozenset(later), frozenset(bound), frozenset(bound if certain else ()), frozenset(changed(node)))


def names(code, top=True):
    """(当场用到的, 函数体里用到的, 绑定的)；函数与类里面的局部名字不算"""
    now, later, bound = set(), set(), set()
    for instruction in dis.get_instructions(code):
        kind = instruction.opname
        if kind in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
            now.add(instruction.argval)
        elif kind in ("STORE_GLOBAL", "DELETE_GLOBAL") or top and kind in ("STORE_NAME", "DELETE_NAME"):
            bound.add(instruction.argval)
        # from 模块 import *：不知道带来什么
        elif kind == "IMPORT_STAR" or kind == "CALL_INTRINSIC_1" and "STAR" in instruction.argrepr:
            bound.add("*")
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            deferred = inner.co_flags & inspect.CO_OPTIMIZED and inner.co_name not in AT_ONCE
            used, then, set_there = names(inner, top=False)
            (later if deferred else now).update(used)
            later |= then
            bound |= set_there
    return now, later, bound


def changed(node):
    """table[0] = 1、net.bias = 0、names.append(3) 就地改动的名字"""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        targets = [node.value.func]
    else:
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return {root for target in targets if isinstance(target, (ast.Attribute, ast.Subscript)) and (root := _root(target))}


def _root(node):
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def slice_for(wanted, several, place=None):
    """执行到第 place 条之前，要得到 wanted 这些名字，several 里的哪些语句得先执行

    名字只在后面才有时也去找：notebook 的单元不一定是从上到下执行的
    """
    place = len(several) if place is None else place
    chosen, late, seen, todo = set(), set(), set(), [(name, place) for name in wanted]
    while todo:
        name, limit = todo.pop()
        if (name, limit) in seen:
            continue
        seen.add((name, limit))
        found = _binders(name, several, limit)
        new = set(found) - chosen
        chosen |= new
        if not found and not hasattr(builtins, name):
            new = {i for i in range(place + 1, len(several)) if name in several[i].binds} - late
            late |= new
        for i in new:
            todo += [(used, min(i, place)) for used in several[i].now] + [(used, place) for used in several[i].later]
    ahead, behind = ([several[i] for i in sorted(late) if isinstance(several[i].node, DEFINITIONS + IMPORTS) is definition] for definition in (True, False))
    return [*ahead, *(several[i] for i in sorted(chosen)), *behind]


def _binders(name, several, limit):
    """第 limit 条之前，最后一次一定绑定 name 的那条，以及它之后或许绑定、就地改动它的；模块只要导入，不要后面对它的调用"""
    found, touched = [], []
    for i in range(limit - 1, -1, -1):
        statement = several[i]
        if name in statement.binds or "*" in statement.binds:
            found.append(i)
        elif name in statement.changes:
            touched.append(i)
        if name in statement.settles:
            return found if isinstance(statement.node, IMPORTS) else found + touched
    return found + touched if found else []
