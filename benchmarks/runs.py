"""要练许多遍的测量：练完一遍就存一次，中断了接着练没有练过的"""
import json
from itertools import product
from pathlib import Path

import torch

from ddpm_edu.authoring.quality import averaged

from .timing import machine


def recorded(path):
    """上一次存下的；没有是 None"""
    return json.loads(Path(path).read_text(encoding="utf-8")) if path and Path(path).exists() else None


def train_all(parser, out, about, names, seeds, once):
    """每个种子、每种练法各练一遍

    about : {名字: 值}，这次测量的设定；out 里的不同，就由 parser 报错
    once  : (练法, 种子) → {量: 值}
    返回  : {"machine", **about, "runs": [{"name", "seed", **量}, ...]}，包括 out 里已有的
    """
    record = recorded(out) or {"machine": machine(torch.device("cpu")), **about, "runs": []}
    if about != {name: record.get(name) for name in about}:
        parser.error(f"{out} 里是别的设定，要 {about}；换一个 --out")
    done = {(run["name"], run["seed"]) for run in record["runs"]}
    # 种子在外面：停在哪里，各种练法的种子都一样多
    for seed, name in product(range(seeds), names):
        if (name, seed) in done:
            continue
        found = once(name, seed)
        record["runs"].append({"name": name, "seed": seed, **found})
        if out:
            Path(out).write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        said = "，".join(f"{measure} {value:.4f}" for measure, value in found.items() if isinstance(value, float))
        print(f"种子 {seed}，{name}：{said or '练完'}", flush=True)
    return record


def by_name(record):
    """{练法: [各个种子的 {量: 值}]}，按种子排"""
    rows = {}
    for run in sorted(record["runs"], key=lambda run: run["seed"]):
        rows.setdefault(run["name"], []).append(run)
    return rows


def seeds_table(rows, titles):
    """{设定: [各个种子的 {量: 值}]} → Markdown 的表，平均 ± 标准误；titles 是 {量: 列名}"""
    lines = ["| 设定 | 种子 | " + " | ".join(titles.values()) + " |", "|:--|--:|" + "--:|" * len(titles)]
    for name, each in rows.items():
        found = {key: averaged([row[key] for row in each]) for key in titles if key in each[0]}
        cells = [f"{found[key]['mean']:.3g} ± {found[key]['se']:.2g}" if key in found else "—" for key in titles]
        lines.append(f"| {name} | {len(each)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
