"""重判的结果 → 一张 CSV 与一页网页"""
import csv
import html
import io
from collections import Counter
from importlib import resources

from ..teach.exercises import chapters

DEFENCES = (
    "每道题在单独的进程里判：到时、内存超量就整组结束，只算那一道题错。那里没有参考答案，对错由另一个进程比较交回的数。",
    "写文件、删文件、联网、另起进程、读习题的答案，一概拒绝：三种系统上由 Python 的审计钩子，Linux 上另由内核（Landlock、seccomp）。",
    "防不住的：存心利用 Python 或内核漏洞的程序；在 macOS 与 Windows 上，绕过 Python、从机器码里读写文件的程序；"
    "把别人的答案抄成自己的。作业来路不明时，把整条命令放进容器或虚拟机里运行。",
    "只执行批改用得着的语句：答案用到的函数、常数与 import 在哪一格都找得到；训练、画图的单元不执行，除非答案用到它们的结果。",
)
MARKS = {"✓": "yes", "✗": "no", "☐": "blank"}
MOST_MISTAKES = 3


def exercises_of(rows):
    """表里各列的题：有人交了的那几章的全部题"""
    present = {number[:2] for row in rows for number in row.judged}
    return [exercise for chapter, group in chapters().items() if chapter in present for exercise in group]


def csv_table(rows):
    """UTF-8 带 BOM 的 CSV，字节串；各题的记号在前，没做对的原因在后"""
    columns = exercises_of(rows)
    table = [["学生", "章", "做对", "题数", "用时（秒）", "说明", *(e.id for e in columns), *(f"{e.id} 说明" for e in columns)]]
    for row in rows:
        marks = [row.judged[e.id].mark if e.id in row.judged else "" for e in columns]
        texts = [row.judged[e.id].text if e.id in row.judged else "" for e in columns]
        done = sorted({number[:2] for number in row.judged})
        count = sum(e.id[:2] in done for e in columns)
        table.append([row.student, " ".join(done), marks.count("✓"), count, f"{row.seconds:.1f}", "；".join(row.notes), *marks, *texts])
    text = io.StringIO(newline="")
    csv.writer(text).writerows([[safe(cell) for cell in line] for line in table])
    return text.getvalue().encode("utf-8-sig", "replace")


def safe(cell):
    """Excel 会把这几个符号开头的格子当作公式"""
    if not isinstance(cell, str):
        return cell
    cell = "".join(c if c.isprintable() else " " for c in cell)
    return f"'{cell}" if cell[:1] in tuple("=+-@＝＋－＠") else cell


def page(rows, others, seconds, limit, kernel):
    """一页自成一体的网页，字节串；others 是没有看的文件，kernel 是内核管着的几项，见 isolation.kernel_in_force"""
    columns = exercises_of(rows)
    style = resources.files(__package__).joinpath("regrade.css").read_text(encoding="utf-8")
    solved = sum(judged.mark == "✓" for row in rows for judged in row.judged.values())
    total = sum(len(row.judged) for row in rows)
    body = "\n".join([
        "<h1>重判的结果</h1>",
        f"<p>{len(rows)} 名学生，判了 {total} 题，做对 {solved} 题；用了 {seconds:.0f} 秒，每题的时限是 {limit} 秒。"
        "点开学生的名字看每道题的话，停在记号上也看得到。</p>",
        "<h2>谁做对了哪些题</h2>", matrix(rows, columns), "<h2>每道题</h2>", per_exercise(rows, columns), "<h2>每名学生</h2>",
        *(per_student(i, row, columns) for i, row in enumerate(rows)),
        *(["<h2>不像作业、没有看的文件</h2>", *(f"<p>{shown(other)}</p>" for other in others)] if others else []),
        "<footer><h2>怎样判的，防得住什么</h2>", *(f"<p>{text}</p>" for text in DEFENCES),
        f"<p>这台机器上，内核管着的：{'、'.join(kernel) or '没有，只有审计钩子'}。</p>", "</footer>"])
    text = (f'<!DOCTYPE html>\n<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>重判的结果</title><style>{style}</style></head><body>\n{body}\n</body></html>\n")
    return text.encode("utf-8", "replace")


def shown(text):
    return html.escape("".join(c if c.isprintable() or c == "\n" else " " for c in text)).replace("\n", "<br>")


def mark_cell(judged):
    if judged is None:
        return '<td class="none" aria-label="没有交"></td>'
    return f'<td class="{MARKS[judged.mark]}" title="{shown(judged.text).replace("<br>", "&#10;")}">{judged.mark}</td>'


def matrix(rows, columns):
    head = "".join(f'<th scope="col" title="{shown(e.title)}">{e.id}</th>' for e in columns)
    lines = []
    for i, row in enumerate(rows):
        right = sum(judged.mark == "✓" for judged in row.judged.values())
        name = f'<th scope="row"><a href="#s{i}">{shown(row.student)}</a></th>'
        lines.append(f'<tr>{name}<td>{right}</td>{"".join(mark_cell(row.judged.get(e.id)) for e in columns)}</tr>')
    return (f'<div class="scroll"><table class="marks"><thead><tr><th scope="col">学生</th><th scope="col">做对</th>{head}</tr></thead>'
            f'<tbody>{"".join(lines)}</tbody></table></div>')


def per_exercise(rows, columns):
    """做对的比例，与最常见的典型错误"""
    lines = []
    for exercise in columns:
        found = [row.judged[exercise.id] for row in rows if exercise.id in row.judged]
        right, mistakes = sum(j.mark == "✓" for j in found), Counter(j.mistake for j in found if j.mistake)
        common = "".join(f"<li>{count} 人：{shown(hint)}</li>" for hint, count in mistakes.most_common(MOST_MISTAKES))
        share = f"{right}/{len(found)}，{right / len(found):.0%}" if found else "没有人交"
        meter = f'<meter value="{right}" max="{len(found) or 1}"></meter>'
        title = f"{exercise.id} {shown(exercise.title)}"
        lines.append(f'<tr><th scope="row">{title}</th><td>{meter} {share}</td><td>{f"<ul>{common}</ul>" if common else ""}</td></tr>')
    return ('<div class="scroll"><table class="exercises"><thead><tr><th scope="col">题</th><th scope="col">做对</th><th scope="col">典型的错</th></tr></thead>'
            f'<tbody>{"".join(lines)}</tbody></table></div>')


def per_student(i, row, columns):
    """折起来的一段：各题的话"""
    right = sum(judged.mark == "✓" for judged in row.judged.values())
    notes = "".join(f'<p class="note">{shown(note)}</p>' for note in row.notes)
    judged = [(e, row.judged[e.id]) for e in columns if e.id in row.judged]
    lines = "".join(f'<li class="{MARKS[j.mark]}"><b>{j.mark} {e.id} {shown(e.title)}</b>{f"<br>{shown(j.text)}" if j.text else ""}</li>' for e, j in judged)
    summary = f"{shown(row.student)}：{right}/{len(judged)}，{row.seconds:.1f} 秒" if judged else f"{shown(row.student)}：没有判"
    # 编号写在里面：浏览器跳到折起来的地方，会自己打开它
    return f'<details{"" if judged else " open"}><summary>{summary}</summary><div id="s{i}">{notes}<ul class="verdicts">{lines}</ul></div></details>'
