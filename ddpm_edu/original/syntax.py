"""一条语句的两样标记：招牌（给什么赋值、调用谁、看哪些名字）与指纹（整条语句去掉无关写法之后的摘要）

两条语句的指纹相同，就是同一种写法：引号、空行、注释、类型标注、报错的话、关键字参数的次序都不算。招牌相同而指纹不同，是改写过
给知识库添一种写法时，用 python -m ddpm_edu.original.syntax 文件 看它的每条语句的招牌与指纹
"""
import ast
import hashlib
import sys
from dataclasses import dataclass

BLOCKS = ("body", "handlers", "orelse", "finalbody")
# 不影响意思的域
IGNORED = {"ctx", "kind", "type_comment", "type_params", "annotation", "returns", "decorator_list", *BLOCKS}
# 印一句话时，里面出现这些调用也还只是印一句话
HARMLESS = {"str", "len", "list", "tuple", "type", "format", "round", "keys", "buffers", "items", "values", "join"}
OPPOSITE = {ast.In: ast.NotIn, ast.Is: ast.IsNot, ast.Eq: ast.NotEq}
DIGITS = 8


@dataclass(frozen=True)
class Statement:
    """一条语句；复合语句（if、for……）只算它的头，里面的另算。start、end 是行号，从 1 数；prints 是它只印一句话"""

    signature: str
    digest: str
    start: int
    end: int
    prints: bool = False


def statements(body):
    """一段代码里的全部语句，按出现的次序；说明文字不算"""
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        yield Statement(signature(node), digest(node), node.lineno, last_line(node), prints_only(node))
        for block in BLOCKS:
            yield from statements(getattr(node, block, ()) if not isinstance(node, ast.ClassDef) else ())


def last_line(node):
    """语句的最后一行；复合语句是头的最后一行"""
    heads = [child for name in ("test", "target", "iter", "items", "args", "type") for child in listed(getattr(node, name, None))]
    if not getattr(node, "body", None):
        return node.end_lineno
    return max([node.lineno, *(deep.end_lineno for head in heads for deep in ast.walk(head) if hasattr(deep, "end_lineno"))])


def listed(value):
    return [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, ast.AST)]


def digest(node):
    """语句的指纹；复合语句只看头"""
    return hashlib.sha256(canonical(node).encode()).hexdigest()[:DIGITS]


def canonical(node):
    """语法树 → 与 Python 的版本、与无关的写法都无关的一串字"""
    if isinstance(node, list):
        return f"[{','.join(map(canonical, node))}]"
    if isinstance(node, float) and node.is_integer():
        return repr(int(node))
    if not isinstance(node, ast.AST):
        return repr(node)
    node = simplified(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if name not in IGNORED and value not in (None, [])]
    return f"{type(node).__name__}({','.join(f'{name}={canonical(value)}' for name, value in fields)})"


def simplified(node):
    """同一个意思的几种写法，换成同一种"""
    if isinstance(node, ast.Call):
        return simplified_call(node)
    if isinstance(node, ast.Attribute):
        return simplified_attribute(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Compare):
        inner = node.operand
        if len(inner.ops) == 1 and type(inner.ops[0]) in OPPOSITE:
            return ast.Compare(inner.left, [OPPOSITE[type(inner.ops[0])]()], inner.comparators)
    if isinstance(node, ast.Assert):
        return ast.Assert(node.test)
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return ast.Raise(node.exc.func)
    if isinstance(node, ast.AnnAssign) and node.value:
        return ast.Assign([node.target], node.value)
    if isinstance(node, ast.Name) and node.id == "numpy":
        return ast.Name("np")
    return node


def simplified_call(node):
    name = dotted(node.func)
    if name == "super":
        return ast.Call(node.func, [], [])
    if name in ("list", "dict") and not node.args and not node.keywords:
        return ast.List([]) if name == "list" else ast.Dict([], [])
    keywords = sorted((word for word in node.keywords if word.arg != "desc"), key=lambda word: word.arg or "")
    return ast.Call(node.func, node.args, keywords)


def simplified_attribute(node):
    """torch.nn.functional、nn.functional、F 是一样东西，torch.nn 与 nn 也是"""
    name = dotted(node)
    if name in ("torch.nn.functional", "nn.functional"):
        return ast.Name("F")
    return ast.Name("nn") if name == "torch.nn" else node


def prints_only(node):
    """只印一句话的语句：里面没有别的会改变什么的调用"""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and dotted(node.value.func) == "print"):
        return False
    inner = [dotted(deep.func).rpartition(".")[2] for deep in ast.walk(node.value) if isinstance(deep, ast.Call) and deep is not node.value]
    return set(inner) <= HARMLESS and not any(isinstance(deep, (ast.NamedExpr, ast.Await)) for deep in ast.walk(node))


def dotted(node):
    """名字的写法：self.model.parameters、batch[]、a,b；别的表达式写成 …"""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return f"{dotted(node.value)}[]"
    if isinstance(node, ast.Starred):
        return f"*{dotted(node.value)}"
    if isinstance(node, (ast.Tuple, ast.List)):
        return ",".join(map(dotted, node.elts))
    return f"{dotted(node.func)}()" if isinstance(node, ast.Call) else "…"


def names(*nodes):
    """表达式里出现的名字，排好序；self.x 算一个"""
    found, inner = set(), set()
    for node in (deep for top in nodes for deep in ast.walk(top)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(dotted(node))
            inner.add(node.value)
        elif isinstance(node, ast.Name) and node not in inner:
            found.add(node.id)
    return " ".join(sorted(found))


def signature(node):
    """语句的招牌：一眼看出它在做哪一件事"""
    if isinstance(node, ast.Assign):
        return "= " + ",".join(map(dotted, node.targets))
    if isinstance(node, ast.AnnAssign):
        return "= " + dotted(node.target)
    if isinstance(node, ast.AugAssign):
        return "+= " + dotted(node.target)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        first = node.value.args[0] if node.value.args else None
        label = f" {first.value}" if isinstance(first, ast.Constant) and dotted(node.value.func).endswith("register_buffer") else ""
        return f"call {dotted(node.value.func)}{label}"
    if isinstance(node, (ast.If, ast.While, ast.Assert)):
        return f"{type(node).__name__.lower()} {names(node.test)}"
    if isinstance(node, ast.For):
        return "for " + dotted(node.target)
    if isinstance(node, ast.With):
        return "with " + names(*(item.context_expr for item in node.items))
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return "def " + node.name
    if isinstance(node, ast.Raise):
        return "raise " + (dotted(node.exc.func if isinstance(node.exc, ast.Call) else node.exc) if node.exc else "")
    return type(node.value if isinstance(node, ast.Expr) else node).__name__.lower()


def listing(text):
    """一份 Python 代码里各个方法的参数表与语句：（行号, 指纹, 招牌）"""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            yield node.lineno, digest(node), signature(node)
            yield from ((statement.start, statement.digest, statement.signature) for statement in statements(node.body))


if __name__ == "__main__":
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            for line in listing(file.read()):
                print(*line)
