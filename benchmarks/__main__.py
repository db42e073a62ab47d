"""与 diffusers、MONAI 在同样的工作上并排量：python -m benchmarks [行 ...] [--runs 5] [--out benchmarks.json]

先装对照的几家：pip install -r benchmarks/requirements.txt（没装的会跳过）。量的时候别让机器做别的事
"""
import argparse
import json
import math
from pathlib import Path

from tqdm import tqdm

from .peers import Task, contenders
from .rows import CPU, ROWS, machine_limits
from .timing import machine, mean_and_error


def cell(values, unit=""):
    """几次运行的平均，± 后是标准误；只有一次就是那个数"""
    mean, error = mean_and_error(values)
    spread = "" if math.isnan(error) else f" ± {error:.0f}" if error >= 9.5 else f" ± {error:.1g}"
    return "—" if math.isnan(mean) else f"{mean:.3g}{spread}{unit}"


def table(rows):
    """Markdown 表：一份工作一行；倍数是最快的那一家对我们，逐次运行算"""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    lines = ["| 工作 | 单位 | " + " | ".join(names) + " | 对最快的一家 | 说明 |", "|:--|:--|" + "--:|" * len(names) + "--:|:--|"]
    for work in dict.fromkeys(row.work for row in rows):
        runs = [row for row in rows if row.work == work]
        cells = [cell([row.values[name] for row in runs]) if name in runs[0].values else "—" for name in names]
        lines.append(f"| {work} | {runs[0].unit} | {' | '.join(cells)} | {cell([row.ratio for row in runs], '×')} | {runs[-1].note} |")
    return "\n".join(lines)


def measure(names, quick, runs):
    """[Row]：names 各行从头量 runs 遍"""
    rows = []
    with tqdm(names * runs, desc="测量") as bar:
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
    parser.add_argument("--runs", type=int, default=1, help="各行从头量几遍；多于一遍时表里是平均 ± 标准误")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"没有 {'、'.join(sorted(unknown))} 这几行；有的是 {'、'.join(ROWS)}")
    if options.runs < 1:
        parser.error(f"--runs 要大于 0，得到 {options.runs}")
    _, missing = contenders(Task.from_config("digits", 1))
    about = {**machine(CPU), **machine_limits(), "missing": missing}
    rows = measure(options.rows or list(ROWS), options.quick, options.runs)
    print(f"\n{about['cpu']}，{about['threads']} 线程，torch {about['torch']}，{about['date']}；矩阵乘法实测 {about['matmul_gflops']:.0f} GFLOP/s")
    if missing:
        print(f"没有装、没有比的：{'、'.join(missing)}")
    print("\n" + table(rows))
    if options.out:
        content = {"machine": about, "rows": [vars(row) for row in rows]}
        Path(options.out).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
