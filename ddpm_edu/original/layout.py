"""一段代码切成几行一格，每格旁边是它的说明：网页与 notebook 都照这样排"""
import re
from dataclasses import dataclass, field

from .recognise import SEEN

CLOSING = re.compile(r"\s*[\])}]+\s*(?:->.*)?:\s*(?:#.*)?$")


@dataclass
class Row:
    """第 start 到 end 行；arguments 是这几行里的构造参数的名字，findings 是语句"""

    start: int
    end: int
    arguments: list = field(default_factory=list)
    findings: list = field(default_factory=list)


def rows(part, lines):
    """一个方法 → Row 的列表，首尾相接"""
    found = heads(part)
    for finding in part.findings:
        after, end = found[-1].end + 1, finding.statement.end
        while end < part.end and CLOSING.match(lines[end]):
            end += 1
        if end < after:
            found[-1].findings.append(finding)
        else:
            found.append(Row(after, end, findings=[finding]))
    if found[-1].end < part.end:
        found.append(Row(found[-1].end + 1, part.end))
    return merged(found)


def heads(part):
    """参数表；构造函数的，每个参数一格"""
    found = [Row(part.start, part.head)]
    if not part.title.endswith("__init__") or part.title.partition(".")[0] not in ("DDPM", "LatentDiffusion"):
        return found
    given = part.node.args
    for arg in (*given.posonlyargs, *given.args[1:], *given.kwonlyargs):
        if arg.lineno > found[-1].start:
            found[-1].end = arg.lineno - 1
            found.append(Row(arg.lineno, part.head))
        found[-1].arguments.append(arg.arg)
    return found


def merged(found):
    """没有单独说明的几格接在一起时，合成一格"""
    result = []
    for row in found:
        plain = bool(row.findings) and all(finding.status == SEEN for finding in row.findings)
        if plain and result and result[-1].findings and all(finding.status == SEEN for finding in result[-1].findings):
            result[-1].end = row.end
            result[-1].findings += row.findings
        else:
            result.append(row)
    return result
