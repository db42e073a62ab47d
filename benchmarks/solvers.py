"""同样多次调用网络，哪种采样器画得好：python -m benchmarks.solvers [mnist|fashion|digits_class] [采样器 ...] [--seeds 8] [--out solvers.json]

随包的按类别生成的模型，不用引导，每个种子 400 张，各类一样多；各采样器从同一批起点出发。采样器后面可以写明取步，例如 ddim:trailing
印两张表：各自的距离，逐个种子与第一种相减的差。--out 里已有的不再画，中断了接着来
"""
import argparse

import torch

from ddpm_edu import load_pretrained
from ddpm_edu.authoring.pretrained import make_data
from ddpm_edu.authoring.quality import averaged
from ddpm_edu.evaluation.metrics import frechet_for
from ddpm_edu.generate import generate
from ddpm_edu.sampling import SAMPLERS, SPACINGS

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
        way, calls = name.split()
        sampler, _, spacing = way.partition(":")
        images, _ = generate(model, COUNT, batch_size=100, seed=seed, cond=labels, use_ema=False, progress=False,
                             sampler=sampler, spacing=spacing or None, steps=steps_for(sampler, int(calls)))
        return {"frechet": score(images)}

    names = [f"{sampler} {calls}" for calls in CALLS for sampler in options.samplers]
    return train_all(parser, options.out, {"model": options.model, "count": COUNT}, names, options.seeds, once)


def table(record):
    distances = {name: [run["frechet"] for run in runs] for name, runs in by_name(record).items()}
    ways = list(dict.fromkeys(name.split()[0] for name in distances))
    apart = {f"{way} {calls}": [x - y for x, y in zip(distances[f"{way} {calls}"], distances[f"{ways[0]} {calls}"])]
             for way in ways[1:] for calls in CALLS}
    return f"{rows_of(distances, ways)}\n\n减去 {ways[0]}：\n\n{rows_of(apart, ways[1:])}" if apart else rows_of(distances, ways)


def rows_of(values, ways):
    lines = ["| 至多调用网络 | " + " | ".join(f"{calls} 次" for calls in CALLS) + " |", "|:--|" + "--:|" * len(CALLS)]
    for way in ways:
        found = [averaged(values[f"{way} {calls}"]) for calls in CALLS]
        lines.append(f"| {way} | " + " | ".join(f"{row['mean']:.1f} ± {row['se']:.1f}" for row in found) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.solvers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", default="mnist", choices=("mnist", "fashion", "cifar10", "digits_class"))
    parser.add_argument("samplers", nargs="*", default=list(SAMPLERS), help=f"默认 {' '.join(SAMPLERS)}")
    parser.add_argument("--data", default="data", help="数据目录（默认 data）")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args()
    ways = [f"{name}{spacing}" for name in SAMPLERS for spacing in ("", *(f":{spacing}" for spacing in SPACINGS))]
    if unknown := set(options.samplers) - set(ways):
        parser.error(f"没有 {unknown}；有的是 {ways}")
    print(table(draw_all(parser, options)))


if __name__ == "__main__":
    main()
