"""讲解的 notebook：代码写成引用的块，不能运行；说明写在后面，按行号"""
from .layout import rows
from .page import COUNTED, SECRET, percent, short
from .places import address
from .recognise import CHANGED, SEEN, TOLD, UNKNOWN
from .remarks import IN_CODE, LEGEND, intact, of_method, of_row


def say(remark, folder):
    """一条说明 → 一行 Markdown"""
    formula = f" ${remark.formula}$" if remark.formula else ""
    detail = f"　{remark.detail}" if remark.detail else ""
    return " ".join(filter(None, [f"**{remark.label}**" if remark.label else "", f"{remark.text}{formula}{detail}", link(remark, folder)]))


def link(remark, folder):
    target = address(folder, remark.chapter, remark.words, web=False) if remark.chapter else ""
    return f"[{remark.place}]({target})" if target else ""


def quoted(lines, start, end, language="python"):
    """引用的代码；围栏比代码里最长的一串反引号还长，别人的代码就跑不出来"""
    code = "\n".join(lines[start - 1:end]).strip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in runs(code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"


def runs(code):
    found, current = [], ""
    for letter in f"{code} ":
        if letter == "`":
            current += letter
        elif current:
            found.append(current)
            current = ""
    return found


def legend(labels):
    return "\n".join(f"- **{label}**：{LEGEND[label]}" for label in labels)


def lesson(part, lines, folder, sound):
    """一个方法 → 一格 Markdown：整段代码，然后逐行说明"""
    out = [f"## `{part.title}`", *(f"{say(remark, folder)}\n" for remark in of_method(part)), quoted(lines, part.start, part.end), ""]
    for row in rows(part, lines):
        for remark in of_row(row, part.method, sound):
            first = row.findings[0].statement.start if row.findings else row.start
            where = f"第 {first} 行" if first == row.end else f"第 {first}–{row.end} 行"
            out.append(f"- {where}：{say(remark, folder)}")
    return "\n".join(out)


def table(counts):
    head = "| 类 | 语句 | 讲过 | 见过 | 改写 | 没有见过 | 认得几成 |\n|:--|--:|--:|--:|--:|--:|--:|"
    return "\n".join([head, *(f"| `{name}` | {sum(c.values())} | {' | '.join(str(c[s]) for s in (TOLD, SEEN, CHANGED, UNKNOWN))} | {percent(c)} |"
                              for name, c in counts.items())])


def notebook(cells):
    """Markdown 的各格 → 一本 notebook 的文字"""
    import nbformat
    from nbformat.v4 import new_markdown_cell, new_notebook

    made = [new_markdown_cell(text, id=f"part-{index}") for index, text in enumerate(cells)]
    return nbformat.writes(new_notebook(cells=made, metadata={"language_info": {"name": "python"}}))


def render(original, folder):
    """Original → notebook 的文字；folder 是它要放的目录"""
    cells = [f"# {original.name} 逐句讲解\n\n{SECRET}\n\n{legend(IN_CODE)}\n\n{table(original.counts)}"]
    sound = intact(original.parts)
    for part in original.parts:
        if part.method:
            cells.append(lesson(part, original.lines, folder, sound))
        elif part.end - part.start > 3:
            cells.append(f"第 {part.start}–{part.end} 行，课程没有讲" + (f"：{short(part.title)}" if part.title else ""))
    return notebook([*cells, f"## 讲到了几成\n\n{table(original.counts)}\n\n{COUNTED}"])
