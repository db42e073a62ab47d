"""画出面板要先运行哪几格：从面板往回找，定义了它用到的名字的那些"""
import ast


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
    """(一格定义的名字, 它用到的名字)；不是 Python 的行（%magic、!命令）不看"""
    nodes = list(ast.walk(ast.parse("\n".join(line for line in code.splitlines() if not line.startswith(("%", "!"))))))
    imports = [alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    gives = {alias.asname or alias.name.partition(".")[0] for alias in imports}
    gives |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    gives |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return gives, {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
