"""从一段程序里只取用得着的语句：谁绑定了名字，谁用到了名字，都由字节码看出来"""
import __future__

import ast
import builtins
import dis
import re
import types
from dataclasses import dataclass, field

# 批改的单元：grade("03.1", …)
GRADE = re.compile(r"""\bgrade\s*\(\s*(?:number\s*=\s*)?["'](\d\d\.\d+b?)["']""")


@dataclass(frozen=True)
class Statement:
    """一条顶层语句：cell 是第几个单元，uses 与 binds 是它用到与绑定（或者就地改动）的名字"""

    cell: int
    node: ast.stmt
    code: types.CodeType = field(repr=False)
    uses: frozenset
    binds: frozenset


def statements(source, cell=0, filename="<程序>"):
    """一段程序的各条顶层语句

    异常 : 语法不对时 SyntaxError
    """
    return [_statement(node, cell, filename) for node in ast.parse(source, filename).body]


def _statement(node, cell, filename):
    # 类型注解只当字符串：里面的名字不必找到
    code = compile(ast.Module([node], []), filename, "exec", __future__.annotations.compiler_flag)
    used, bound = names(code)
    return Statement(cell, node, code, frozenset(used), frozenset(bound | changed(node)))


def names(code, top=True):
    """(用到的, 绑定的)：函数体里用到的全局名字也算，函数与类里面的局部名字不算"""
    used, bound = set(), set()
    for instruction in dis.get_instructions(code):
        kind = instruction.opname
        if kind in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
            used.add(instruction.argval)
        elif kind in ("STORE_GLOBAL", "DELETE_GLOBAL") or top and kind in ("STORE_NAME", "DELETE_NAME"):
            bound.add(instruction.argval)
        # from 模块 import *：不知道带来什么
        elif kind == "IMPORT_STAR" or kind == "CALL_INTRINSIC_1" and "STAR" in instruction.argrepr:
            bound.add("*")
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            more = names(inner, top=False)
            used, bound = used | more[0], bound | more[1]
    return used, bound


def changed(node):
    """table[0] = 1、net.bias = 0、names.append(3) 就地改动的名字"""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        targets = [node.value.func] if isinstance(node.value.func, ast.Attribute) else []
    else:
        targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target] if isinstance(node, (ast.AugAssign, ast.AnnAssign)) else []
    return {root for target in targets if (root := _root(target))}


def _root(node):
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def slice_for(wanted, before, after=()):
    """要用到 wanted 这些名字，before 里的哪些语句得先执行；次序不变

    before 里没有绑定的，再到 after 里找：单元不是从上到下执行的
    """
    wanted = set(wanted)
    chosen = _closure(wanted, before)
    missing = wanted - {name for statement in chosen for name in statement.binds} - set(vars(builtins))
    late = _closure(missing, after) if missing else []
    if late:
        chosen = _closure(wanted | missing, before)
    return [*chosen, *late]


def _closure(wanted, several):
    """不断把绑定了所要名字的语句加进来，直到不再增加；wanted 随之变大"""
    chosen = set()
    while True:
        new = [i for i, statement in enumerate(several) if i not in chosen and (statement.binds & wanted or "*" in statement.binds)]
        if not new:
            return [several[i] for i in sorted(chosen)]
        chosen.update(new)
        wanted.update(*(several[i].uses for i in new))
