"""讲解的网页：左边是读者的文件，右边是说明。一个文件，不引用外面的任何东西，公式用 MathML"""
import html
import re

from ..authoring.site.frame import style
from .layout import rows
from .mathml import mathml
from .places import address
from .recognise import CHANGED, SEEN, TOLD, UNKNOWN, covered
from .remarks import IN_CODE, LEGEND, intact, of_method, of_row, tally

STYLE = """
body { max-width: 92rem; } .lesson { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); border-top: 1px solid var(--line); }
.lesson > * { padding: .15rem .6rem; border-bottom: 1px solid var(--line); } .lesson pre { margin: 0; padding: 0; background: none; border-radius: 0; }
.code { background: var(--code); overflow-x: auto; } .no { color: var(--quiet); user-select: none; display: inline-block; width: 3rem; }
.note p { margin: .2rem 0; line-height: 1.5; } .tag { font-size: .8em; padding: 0 .35em; border-radius: 3px; border: 1px solid currentColor;
margin-right: .4em; }
.detail { color: var(--quiet); margin-left: .4em; } .t0 { color: var(--quiet); }
.t1 { color: #8a6100; } .t2 { color: #c0392b; } .t3 { color: #6a3d9a; } .t4 { color: #c0392b; }
.t5, .t6 { color: var(--link); } details > pre { background: var(--code); } nav li { line-height: 1.5; } math { font-size: 1.05em; }
@media (prefers-color-scheme: dark) { .t1 { color: #e0b050; } .t2, .t4 { color: #ff8a7a; } .t3 { color: #c9a6f0; } }
@media (max-width: 60rem) { .lesson { grid-template-columns: minmax(0, 1fr); } }
"""
PAGE = """<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body>
{body}
</body></html>
"""
SECRET = "讲解由课程生成；这里的代码是你自己的那一份，没有执行过，也没有发到别处。"


def inline(text):
    """说明里的 `代码` 与 $公式$ → HTML"""
    pieces = re.split(r"(`[^`]+`|\$[^$]+\$)", text)
    return "".join(f"<code>{html.escape(piece[1:-1])}</code>" if piece.startswith("`") and len(piece) > 2 else
                   mathml(piece[1:-1]) if piece.startswith("$") and len(piece) > 2 else html.escape(piece) for piece in pieces)


def tag(label, count=""):
    return f'<span class="tag t{list(LEGEND).index(label)}">{label}{count}</span>' if label else ""


def say(remark, folder):
    """一条说明 → 一段 HTML"""
    parts = [tag(remark.label), inline(remark.text), mathml(remark.formula) if remark.formula else "",
             f'<span class="detail">{inline(remark.detail)}</span>' if remark.detail else "", link(remark, folder)]
    return f"<p>{' '.join(filter(None, parts))}</p>"


def link(remark, folder):
    target = address(folder, remark.chapter, remark.words) if remark.chapter else ""
    return f'<a href="{html.escape(target)}">{remark.place}</a>' if target else ""


def highlighted(lines):
    """各行的 HTML；行数对不上时（奇怪的字符）不上色"""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    found = highlight("\n".join(lines), PythonLexer(stripnl=False, ensurenl=False), HtmlFormatter(nowrap=True)).split("\n")
    found = found[:-1] if len(found) == len(lines) + 1 else found
    return found if len(found) == len(lines) else [html.escape(line) for line in lines]


def numbered(colored, start, end):
    body = "\n".join(f'<span class="no" id="L{number}">{number}</span>{colored[number - 1]}' for number in range(start, end + 1))
    return f'<pre class="highlight">{body}</pre>'


def lesson(part, lines, colored, folder, sound):
    """一个方法的网格：左边代码，右边说明"""
    cells = []
    for index, row in enumerate(rows(part, lines)):
        remarks = [*(of_method(part) if index == 0 else ()), *of_row(row, part.method, sound)]
        plain = "<p>这几句是见过的写法，作用见这个方法的开头。</p>" if row.findings and not remarks else ""
        notes = "".join(say(remark, folder) for remark in remarks) or plain
        cells.append(f'<div class="code">{numbered(colored, row.start, row.end)}</div><div class="note">{notes}</div>')
    return f'<div class="lesson">{"".join(cells)}</div>'


def section(part, lines, colored, folder, sound):
    if part.method:
        return f'<h3 id="{anchor(part)}"><code>{html.escape(part.title)}</code></h3>{lesson(part, lines, colored, folder, sound)}'
    if part.known_class and "." not in part.title and not part.findings and part.node is None:
        return f'<h2 id="{anchor(part)}"><code>class {html.escape(part.title)}</code></h2>{numbered(colored, part.start, part.end)}'
    what = html.escape(short(f"课程没有讲：{part.title}" if part.title else "课程没有讲"))
    code = numbered(colored, part.start, part.end)
    return f'<details id="{anchor(part)}"><summary>第 {part.start}–{part.end} 行，{what}</summary>{code}</details>'


def short(text, most=120):
    return text if len(text) <= most else f"{text[:most]}……"


def anchor(part):
    return f"part-{part.start}"


def contents(original):
    """目录：每个方法，与要留心的有几处"""
    items = [f'<li><a href="#{anchor(part)}"><code>{html.escape(part.title)}</code></a> '
             f'{"".join(tag(label, f" {count}") for label, count in tally(part).items())}</li>' for part in original.parts if part.method]
    return f"<details open><summary>目录：{len(items)} 个方法，标着要留心的有几处</summary><nav><ol>{''.join(items)}</ol></nav></details>"


def legend(labels):
    return "<ul>" + "".join(f"<li>{tag(label)}{LEGEND[label]}</li>" for label in labels) + "</ul>"


def table(counts):
    """结尾的一张表：每个类讲到了几成"""
    head = "<tr><th>类</th><th>语句</th><th>讲过</th><th>见过</th><th>改写</th><th>没有见过</th><th>认得几成</th></tr>"
    body = "".join(f"<tr><td><code>{name}</code></td><td>{sum(c.values())}</td>" + "".join(f"<td>{c[s]}</td>" for s in (TOLD, SEEN, CHANGED, UNKNOWN))
                   + f"<td>{percent(c)}</td></tr>" for name, c in counts.items())
    return f"<table>{head}{body}</table>"


def percent(counts):
    """不到全部时不写成 100%"""
    share = covered(counts)
    return "100%" if share == 1 else f"{int(share * 1000) / 10:.1f}%"


def changes(original):
    """改写过与没有见过的，逐条列出行号"""
    items = [f'<li><a href="#L{f.statement.start}">第 {f.statement.start} 行</a> <code>{html.escape(part.title)}</code> {tag(f.status)}</li>'
             for part in original.parts if part.method for f in part.findings if f.status in (CHANGED, UNKNOWN)]
    return f"<ol>{''.join(items)}</ol>" if items else "<p>没有：课程讲到的方法里，每一句都是已知的写法。</p>"


def whole_page(title, body):
    return PAGE.format(title=html.escape(title), style=style() + STYLE, body=body)


def render(original, folder):
    """Original → 一页完整的 HTML；folder 是网页要放的目录，链接从那里指"""
    colored = highlighted(original.lines)
    title, sound = f"{original.name} 逐句讲解", intact(original.parts)
    body = [f"<h1>{html.escape(title)}</h1><p>{SECRET}链接指向导出的网页：还没有的话，先运行 <code>python course.py export</code>。</p>", legend(IN_CODE),
            table(original.counts), contents(original), *(section(part, original.lines, colored, folder, sound) for part in original.parts),
            "<h2>讲到了几成</h2>", table(original.counts), f"<p>{COUNTED}</p><h2>与已知的版本不同的地方</h2>", changes(original)]
    return whole_page(title, "\n".join(body))


COUNTED = ("按语句数：复合语句的头算一句，里面的另算；说明文字与注释不算。“见过”是整个方法讲过、没有逐句讲。"
           "LatentDiffusion 与 DDIMSampler 只算课程讲到的方法。")
