"""同样多次调用网络，哪种采样器画得好：python -m benchmarks.solvers [mnist|fashion|digits_class] [采样器 ...] [--seeds 8] [--out solvers.json]

随包的按类别生成的模型，不用引导，每个种子 400 张，各类一样多；各采样器从同一批起点出发。--out 里已有的不再画，中断了接着来
"""
import argparse

import torch

from ddpm_edu import load_pretrained
from ddpm_edu.authoring.pretrained import make_data
from ddpm_edu.authoring.quality import averaged
from ddpm_edu.evaluation.metrics import frechet_for
from ddpm_edu.generate import generate
from ddpm_edu.sampling import SAMPLERS

from .runs import by_name, train_all

COUNT = 400
CALLS = (5, 10, 20, 50)


def steps_for(sampler, calls):
    """至多调用 calls 次网络，走几步：Heun 每步两次，末步一次"""
    return (calls + 1) // 2 if sampler == "heun" else calls


def draw_all(parser, options):
    data = make_data(options.model, options.data, 0)
    model, score = load_pretrained(options.model), frechet_for(data)
    labels = torch.arange(COUNT) % data.num_classes

    def once(name, seed):
        sampler, calls = name.split()
        images, _ = generate(model, COUNT, batch_size=100, seed=seed, cond=labels, use_ema=False, progress=False,
                             sampler=sampler, steps=steps_for(sampler, int(calls)))
        return {"frechet": score(images)}

    names = [f"{sampler} {calls}" for calls in CALLS for sampler in options.samplers]
    return train_all(parser, options.out, {"model": options.model, "count": COUNT}, names, options.seeds, once)


def table(record):
    rows = {name: averaged([run["frechet"] for run in runs]) for name, runs in by_name(record).items()}
    samplers = list(dict.fromkeys(name.split()[0] for name in rows))
    lines = ["| 至多调用网络 | " + " | ".join(f"{calls} 次" for calls in CALLS) + " |", "|:--|" + "--:|" * len(CALLS)]
    for sampler in samplers:
        found = [rows.get(f"{sampler} {calls}") for calls in CALLS]
        lines.append(f"| {sampler} | " + " | ".join(f"{row['mean']:.1f} ± {row['se']:.1f}" if row else "—" for row in found) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.solvers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", default="mnist", choices=("mnist", "fashion", "cifar10", "digits_class"))
    parser.add_argument("samplers", nargs="*", default=list(SAMPLERS), help=f"默认 {' '.join(SAMPLERS)}")
    parser.add_argument("--data", default="data", help="数据目录（默认 data）")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args()
    if unknown := set(options.samplers) - set(SAMPLERS):
        parser.error(f"没有 {unknown}；有的是 {list(SAMPLERS)}")
    print(table(draw_all(parser, options)))


if __name__ == "__main__":
    main()
