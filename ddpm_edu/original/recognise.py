"""把读者的文件与知识库对上：每条语句是见过的、改写过的，还是没有见过的。只看语法树，什么也不执行"""
import ast
from collections import Counter
from dataclasses import dataclass, replace

from .knowledge import Method, Note, classes, methods
from .syntax import Statement, digest, statements

# 讲过、见过（没有单独讲，整个方法讲过）、与已知的写法不同、没有见过
TOLD, SEEN, CHANGED, UNKNOWN = "讲过", "见过", "改写", "未知"
PRINTS = Note("call print", "", "印一句话给人看，不影响计算")
# 几条说明的指纹相同时，隔多少条之内才算接得上
NEAR = 3
# 这两个类，课程只讲其中一些方法
PARTIAL = ("LatentDiffusion", "DDIMSampler")


@dataclass(frozen=True)
class Finding:
    """一条语句与找到的说明；note 是 None 表示没有单独的说明"""

    statement: Statement
    status: str
    note: Note | None = None


@dataclass(frozen=True)
class Part:
    """文件里连着的一段：课程讲的一个方法，或别的；start、end 是行号，head 是参数表（装饰器、说明文字都算）的最后一行"""

    title: str
    start: int
    end: int
    head: int
    node: ast.AST | None = None
    method: Method | None = None
    findings: tuple = ()

    @property
    def touched(self):
        """改写过与没有见过的有几句"""
        return sum(finding.status in (CHANGED, UNKNOWN) for finding in self.findings)

    @property
    def reordered(self):
        """语句都见过，先后却与已知的版本不同；在几处出现的说明不算"""
        places = {id(note): index for index, note in enumerate(self.method.notes)} if self.method else {}
        found = [places.get(id(finding.note)) for finding in self.findings]
        times = Counter(found)
        once = [index for index in found if index is not None and times[index] == 1]
        return once != sorted(once)

    @property
    def known_class(self):
        return self.title.partition(".")[0] in classes()

    @property
    def same_head(self):
        return self.method is None or digest(self.node) in self.method.heads.split()


def match(method, found):
    """一个方法里的语句 → Finding 的列表"""
    places, chosen, after = {}, [], 0
    for index, note in enumerate(method.notes):
        for form in note.forms.split():
            places.setdefault(form, []).append(index)
    for statement in found:
        chosen.append(nearest(places.get(statement.digest, ()), after))
        after = after if chosen[-1] is None else chosen[-1] + 1
    seen = {*places, *method.known.split()}
    rewritten = alone(method, found, chosen, seen)
    return [finding(method, statement, index, seen, rewritten) for statement, index in zip(found, chosen)]


def nearest(places, after):
    """指纹对上的说明里该用哪一条：只有一条就是它，有几条时要接得上前面"""
    if len(places) == 1:
        return places[0]
    return next((index for index in places if 0 <= index - after < NEAR), None)


def alone(method, found, chosen, seen):
    """{招牌: 说明}：没有对上的语句里只有一条挂着它，没有着落的说明也只有一条，才敢说前者是后者改写来的"""
    told = set(chosen)
    left = [note for index, note in enumerate(method.notes) if index not in told]
    notes = Counter(note.signature for note in left)
    unmatched = Counter(statement.signature for statement, index in zip(found, chosen) if index is None and statement.digest not in seen)
    return {note.signature: note for note in left if notes[note.signature] == unmatched[note.signature] == 1}


def finding(method, statement, index, seen, rewritten):
    if index is not None:
        return Finding(statement, TOLD, method.notes[index])
    if statement.digest in seen:
        return Finding(statement, SEEN)
    if statement.prints:
        return Finding(statement, TOLD, PRINTS)
    if statement.signature in rewritten:
        return Finding(statement, CHANGED, rewritten[statement.signature])
    return Finding(statement, UNKNOWN)


def read(tree, total):
    """语法树 → 首尾相接、盖住全部 total 行的 Part；空行与注释归后面的那一段"""
    parts, after = [], 1
    for part in pieces(tree.body):
        parts.append(replace(part, start=after))
        after = part.end + 1
    if after <= total:
        parts.append(Part("末尾", after, total, after - 1))
    return joined(parts)


def pieces(body):
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name in classes():
            yield Part(node.name, node.lineno, node.body[0].lineno - 1, node.lineno)
            for member in node.body:
                yield piece(node.name, member)
        else:
            yield Part(getattr(node, "name", ""), node.lineno, node.end_lineno, node.lineno, node)


def piece(owner, node):
    """类里的一个方法，或别的一句"""
    name = f"{owner}.{getattr(node, 'name', '')}".rstrip(".")
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return Part(name, node.lineno, node.end_lineno, node.lineno, node)
    method, found = methods().get(name), tuple(statements(node.body))
    findings = match(method, found) if method else [Finding(statement, UNKNOWN) for statement in found]
    return Part(name, node.lineno, node.end_lineno, head_end(node), node, method, tuple(findings))


def head_end(node):
    """参数表与说明文字到哪一行为止"""
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return first.end_lineno
    return max(node.lineno, min(first.lineno, *(deco.lineno for deco in getattr(first, "decorator_list", [])), first.lineno) - 1)


def joined(parts):
    """接着的几段都不讲时，合成一段"""
    found = []
    for part in parts:
        last = found[-1] if found else None
        if last and not (last.known_class or part.known_class or last.findings or part.findings):
            titles = "、".join(dict.fromkeys(filter(None, [last.title, part.title])))
            found[-1] = replace(last, title=titles, end=part.end)
        else:
            found.append(part)
    return found


def coverage(parts):
    """{类: {状态: 语句数}}；LatentDiffusion 与 DDIMSampler 只算课程讲到的方法"""
    found = {}
    for part in parts:
        name = part.title.partition(".")[0]
        if part.findings and (part.method or name not in PARTIAL):
            found.setdefault(name, Counter()).update(finding.status for finding in part.findings)
    return found


def covered(counts):
    """讲过与见过的语句占几成"""
    return (counts[TOLD] + counts[SEEN]) / sum(counts.values())
