"""结果写成文字、CSV 与榜：一张不联网也能看的网页"""
import base64
import csv
import html
import io
from collections import defaultdict

from ...files.checkpoint import atomic_file
from ...images import make_grid, to_pil
from .scoring import averaged
from .tasks import CALLS

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5b6775; --line: #d5dbe2; --ground: #fff; --stripe: #f4f6f9; --bad: #a4262c; --good: #0b6e4f }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ef; --soft: #a3afbc; --line: #3a4552; --ground: #151b22; --stripe: #1c242d; --bad: #ff9a9a; --good: #7fd6b4 }
}
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 3rem; background: var(--ground); color: var(--ink);
  font: 16px/1.6 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
p, .soft { color: var(--soft) } p { margin: .4rem 0 }
article { border-top: 1px solid var(--line); padding: .9rem 0 }
header { display: flex; gap: .8rem; align-items: baseline } header b { flex: 1; min-width: 0; font-size: 1.1rem; overflow-wrap: anywhere }
.rank { min-width: 2rem; font-size: 1.3rem; font-variant-numeric: tabular-nums } .total { white-space: nowrap; color: var(--good) }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .25rem .5rem; white-space: nowrap } th { font-weight: 500; color: var(--soft) }
tbody tr:nth-child(odd) { background: var(--stripe) } td:last-child, th:last-child { text-align: left } td.fault { text-align: left; white-space: normal }
td img { height: 28px; image-rendering: pixelated; display: block } .bad { color: var(--bad) } ul { margin: .3rem 0 0; padding-left: 1.2rem }
li { overflow-wrap: anywhere }
@media (max-width: 40rem) {
  tr { display: grid; grid-template-columns: 3.2rem 1fr 1fr 3.9rem } th:first-child { visibility: hidden } th:last-child { display: none }
  td:last-child, td.fault { grid-column: 1 / -1 } td:first-child { text-align: left } td img { height: auto; width: 100%; max-width: 20rem }
}
"""


def cell(values):
    """平均 ± 标准误"""
    mean, error = averaged(values)
    return f"{mean:.1f}" + (f" ± {error:.1f}" if error is not None else "")


def as_text(result):
    """给终端看的"""
    lines = [f"{result.name}　种子 {' '.join(map(str, result.seeds))}（写 --seed 加这几个数可以重判）"]
    for calls, row in result.rows.items():
        scores = f"没有成绩：{row.fault}" if row.fault else (
            f"Fréchet 距离 {cell(row.frechet)}　KID {cell(row.kid)} 千　{row.band}" if row.frechet else "不收")
        lines.append(f"  {calls} 次　{scores}")
    lines += [f"  {note}" for note in result.notes]
    if result.refused:
        return "\n".join([*lines, f"不收（{result.kind}）：", *(f"  {reason}" for reason in result.refused)])
    return "\n".join([*lines, *([f"  一共 {result.total} 分（满分 100）"] if result.total is not None else [])])


def as_record(result):
    """给程序看的（字典）"""
    rows = {str(calls): {"frechet": row.frechet, "kid": row.kid, "band": row.band, "fault": row.fault} for calls, row in result.rows.items()}
    return {"name": result.name, "task": result.task, "seeds": result.seeds, "rows": rows, "refused": result.refused, "kind": result.kind,
            "total": result.total, "digest": result.digest, "notes": result.notes}


def note_twins(results):
    """权重相同的几份互相写明：训练的种子各人不同，相同就是同一次训练"""
    same = defaultdict(list)
    for result in results:
        if result.digest:
            same[result.digest].append(result)
    for group in same.values():
        for result in group if len(group) > 1 else ():
            result.notes.append(f"权重与 {'、'.join(other.name for other in group if other is not result)} 的逐个数相同，是同一次训练")


def write_board(results, task, seeds, folder):
    """榜 → (网页, CSV) 的路径；两份都写完才换上"""
    note_twins(results)
    good = sorted((result for result in results if not result.refused), key=lambda result: result.overall)
    bad = [result for result in results if result.refused]
    web, table = folder / f"{task.name}.html", folder / f"{task.name}.csv"
    for path, text in ((web, board(good, bad, task, seeds)), (table, "\ufeff" + as_csv(good, bad))):
        with atomic_file(path) as file:
            file.write(text.encode("utf-8", "replace"))
    return web, table


def safe(text):
    """表格软件会把 = + - @ 开头的当成公式，前面添一个撇号"""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def as_csv(good, bad):
    out = io.StringIO()
    writer = csv.writer(out)
    measures = [f"{name}（{calls} 次）" for calls in CALLS for name in ("Fréchet", "标准误", "KID 千", "标准误", "档位")]
    writer.writerow(["名次", "名字", "总分", *measures, "说明"])
    for place, result in [*enumerate(good, 1), *(("不收", result) for result in bad)]:
        cells = []
        for calls in CALLS:
            row = result.rows.get(calls)
            pairs = [averaged(values) for values in (row.frechet, row.kid)] if row and row.frechet and not result.refused else None
            cells += [*(f"{value:.2f}" for pair in pairs for value in pair), row.band] if pairs else [""] * 5
        faults = [f"{calls} 次：{row.fault}" for calls, row in result.rows.items() if row.fault]
        told = "；".join([*(f"{result.kind}：{reason}" for reason in result.refused), *faults, *result.notes])
        writer.writerow([place, safe(result.name), "" if result.total is None else result.total, *cells, safe(told)])
    return out.getvalue()


def board(good, bad, task, seeds):
    """整张网页"""
    shown = "\n".join(entry(place, result) for place, result in enumerate(good, 1)) or "<p>还没有。</p>"
    refused = "".join(refusal(result) for result in bad)
    return f"""<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>大作业的榜：{html.escape(task.title)}</title><style>{STYLE}</style></head><body>
<h1>大作业的榜</h1>
<p>{html.escape(task.title)}。每个种子 {task.count} 张，种子 {'、'.join(map(str, seeds))}；± 是种子之间的标准误，两个量都是越小越好，KID 以千为单位。
照四种次数的 Fréchet 距离的几何平均排名。</p>
{shown}
{f'<h2>不收的（{len(bad)} 份）</h2>{refused}' if bad else ''}
</body></html>
"""


def entry(place, result):
    rows = "".join(row_html(calls, row) for calls, row in result.rows.items())
    total = f'<span class="total">{result.total} 分</span>' if result.total is not None else ""
    notes = "".join(f'<p class="bad">{html.escape(note)}</p>' for note in result.notes)
    return f"""<article><header><span class="rank">{place}</span><b>{html.escape(result.name)}</b>{total}</header>{notes}
<div class="wide"><table><thead><tr><th>网络调用</th><th>Fréchet 距离</th><th>KID</th><th>档位</th><th>样本</th></tr></thead>
<tbody>{rows}</tbody></table></div></article>"""


def row_html(calls, row):
    if row.fault or not row.frechet:
        return f'<tr><td>{calls} 次</td><td class="bad fault" colspan="4">没有成绩：{html.escape(row.fault)}</td></tr>'
    return (f"<tr><td>{calls} 次</td><td>{cell(row.frechet)}</td><td>{cell(row.kid)}</td><td>{row.band or '—'}</td>"
            f'<td><img alt="调用 {calls} 次画的 {len(row.strip)} 张" src="{picture(row.strip)}"></td></tr>')


def refusal(result):
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in [*result.refused, *result.notes])
    return f'<article><header><b>{html.escape(result.name)}</b><span class="bad">{result.kind}</span></header><ul>{reasons}</ul></article>'


def picture(strip):
    """一排图 → data: 网址"""
    file = io.BytesIO()
    to_pil(make_grid(strip.float() / 127.5 - 1, nrow=len(strip))).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
