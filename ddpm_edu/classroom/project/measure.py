"""量参考解，定档位：python -m ddpm_edu.classroom.project.measure digits --reference 目录 --plain 目录 [--seeds 20]

两个目录是 project train 练出来的，里面的 solution.py 各是 reference.py、plain.py；弱的解用朴素解的权重，采样照 weak.py。
每个种子画一批，逐个种子量 Fréchet 距离与 KID，看有没有误判成作弊；档位由最差的种子定，写进 bands.json：

    优　　参考解最差的种子的 1.15 倍以内      良　　优与及格的几何平均以内
    及格　弱的解最差的种子的 1.15 倍以内，而且不到“什么也没学”的一半

“什么也没学”是纯噪声；Fréchet 距离另比张张都是训练图的平均，取小的。KID 不比它：一步成图的参考解，KID 也只低三成
"""
import argparse
import json
import math
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from pathlib import Path

import torch

from ...files.checkpoint import atomic_file
from . import sampling, scoring
from .grading import judge_for
from .page import cell
from .submission import read_weights
from .tasks import CALLS, TASKS, pictures, task_named
from .training import WEIGHTS
from .worker import solution

MARGIN = 1.15
SCRAMBLED = 4  # 打乱网络的那一项只看前几个种子：它离误判最远，又最慢


def make_parser():
    parser = argparse.ArgumentParser(prog="python -m ddpm_edu.classroom.project.measure", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=tuple(TASKS))
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--plain", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data", default="data")
    return parser


@torch.no_grad()
def measure(task, name, weights, seeds, root):
    """一份解（一个进程）的 {次数: {"frechet", "kid", "complaints"}}，各个种子一个；complaints 是误判的次数"""
    torch.set_num_threads(1)
    network = task.network()
    network.load_state_dict(weights)
    sample = solution((files(__package__) / f"{name}.py").read_text(encoding="utf-8")).sample
    real, fake, score, judge = sampling.answering(network), sampling.scrambled(network, 0), scoring.scorer(task.name, root), judge_for(task.name, root)
    found = {}
    for calls in CALLS:
        def draw(network, seed, calls=calls):
            return sampling.checked_samples(sample(network, (task.count, *task.shape), calls, torch.Generator().manual_seed(seed)),
                                            (task.count, *task.shape))

        batches = [draw(real, seed) for seed in range(seeds)]
        each = [scoring.measured(score, batch) for batch in batches]
        wrong = [judge.complaints(calls, batches[seed], batches[seed - 1], draw(fake, seed) if seed < SCRAMBLED else None, score)
                 for seed in range(seeds)]
        found[calls] = {measure: [round(one[measure], 2) for one in each] for measure in ("frechet", "kid")} | {"complaints": sum(map(bool, wrong))}
        print(f"{name}　{calls} 次　Fréchet {cell(found[calls]['frechet'])}　KID {cell(found[calls]['kid'])}　误判 {found[calls]['complaints']}/{seeds}",
              flush=True)
    return found


def limits(good, weak, nothing):
    """一个量的 [优, 良, 及格] 的上限；good、weak 是各个种子的值，nothing 是什么也没学的"""
    best = MARGIN * max(good)
    passed = max(min(MARGIN * max(weak), nothing / 2), best)
    return [round(value, 1) for value in (best, math.sqrt(best * passed), passed)]


def bands_of(found, nothing):
    """{次数: {量: [优, 良, 及格] 的上限}}；nothing 是什么也没学的两种 {"noise", "mean"} 的两个量"""
    worst = nothing["noise"] | {"frechet": min(each["frechet"] for each in nothing.values())}
    return {calls: {name: limits(rows[name], found["weak"][calls][name], worst[name]) for name in ("frechet", "kid")}
            for calls, rows in found["reference"].items()}


def main():
    options = make_parser().parse_args()
    task, score = task_named(options.task), scoring.scorer(options.task, options.data)
    nothing = {"noise": torch.randn(task.count, *task.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1),
               "mean": pictures(task.name, options.data)["train"].mean(0).expand(task.count, *task.shape)}
    nothing = {name: scoring.measured(score, images) for name, images in nothing.items()}
    (good, about), (plain, other) = (read_weights(folder / WEIGHTS, task) for folder in (options.reference, options.plain))
    with ProcessPoolExecutor(3) as pool:
        running = {name: pool.submit(measure, task, name, weights, options.seeds, options.data)
                   for name, weights in {"reference": good, "plain": plain, "weak": plain}.items()}
        found = {name: each.result() for name, each in running.items()}
    path = Path(__file__).with_name("bands.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    record[task.name] = {"command": f"python -m ddpm_edu.classroom.project.measure {task.name} --reference … --plain … --seeds {options.seeds}",
                         "count": task.count, "training": {"reference": about, "plain": other}, **nothing, "bands": bands_of(found, nothing), "measured": found}
    with atomic_file(path) as file:
        file.write((json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
