"""与 diffusers、MONAI 在同样的工作上并排量：python -m benchmarks [行 ...] [--out benchmarks.json]

先装对照的几家：pip install -r benchmarks/requirements.txt（没装的会跳过）。量的时候别让机器做别的事
"""
import argparse
import json
from pathlib import Path

from tqdm import tqdm

from .peers import Task, contenders
from .rows import CPU, ROWS, machine_limits
from .timing import machine


def table(rows):
    """Markdown 表；倍数是最快的那一家对我们"""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    lines = ["| 工作 | 单位 | " + " | ".join(names) + " | 对最快的一家 | 说明 |", "|:--|:--|" + "--:|" * len(names) + "--:|:--|"]
    for row in rows:
        cells = [f"{row.values[name]:.3g}" if name in row.values else "—" for name in names]
        ratio = "—" if row.ratio != row.ratio else f"{row.ratio:.2f}×"
        lines.append(f"| {row.work} | {row.unit} | {' | '.join(cells)} | {ratio} | {row.note} |")
    return "\n".join(lines)


def measure(names, quick):
    rows = []
    with tqdm(names, desc="测量") as bar:
        for name in bar:
            work, careful, fast = ROWS[name]
            options = fast if quick else careful
            if options is not None:
                bar.set_description(name)
                for row in work(**options, bar=bar):
                    rows.append(row)
                    # 量完一行先印一行，中途停了也不白量
                    bar.write(f"{row.work}（{row.unit}）：" + "，".join(f"{who} {value:.3g}" for who, value in row.values.items()))
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="行", help="只量这几行；默认全部：" + "、".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="只看跑不跑得通：小批、一轮，数字没有意义")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"没有 {'、'.join(sorted(unknown))} 这几行；有的是 {'、'.join(ROWS)}")
    _, missing = contenders(Task.from_config("digits", 1))
    about = {**machine(CPU), **machine_limits(), "missing": missing}
    rows = measure(options.rows or list(ROWS), options.quick)
    print(f"\n{about['cpu']}，{about['threads']} 线程，torch {about['torch']}，{about['date']}；矩阵乘法实测 {about['matmul_gflops']:.0f} GFLOP/s")
    if missing:
        print(f"没有装、没有比的：{'、'.join(missing)}")
    print("\n" + table(rows))
    if options.out:
        content = {"machine": about, "rows": [vars(row) for row in rows]}
        Path(options.out).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
