"""同样的网络、同样的数据，练多久画得多好：python -m benchmarks.quality [--seeds 3] [--out quality.json]

三种练法：ddpm_edu 的 digits 配方；diffusers 无条件训练脚本的默认值；同一个脚本，批大小与学习率换成我们的
质量是 1 024 张 DDIM-50 样本（各用自己的 EMA 权重）对留出 500 张真数字的 Fréchet 距离，只与步数有关
秒数 = 步数 × 每步的秒数，后者三家轮流量（我们的含 Trainer 的开销）；--seeds 0 只量这个
"""
import argparse
import functools
import json
import statistics
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from tqdm import tqdm

from ddpm_edu import DDPM, DigitsDataModule
from ddpm_edu.configs.recipes import digits_model_config
from ddpm_edu.evaluation.metrics import DigitsFrechet
from ddpm_edu.generate import generate
from ddpm_edu.teach.training import quiet_trainer

from .peers import Diffusers, Task
from .timing import interleaved, machine

COUNT = 1024
# diffusers 脚本的默认值，与好心替它调过的
PEERS = {"diffusers 的默认值": dict(batch=16, learning_rate=1e-4), "diffusers，批 64、学习率 1e-3": dict(batch=64, learning_rate=1e-3)}
OURS = "ddpm_edu 的 digits 配方"
STEPS = {OURS: (250, 500, 1000, 2000), "diffusers 的默认值": (2400, 7200), "diffusers，批 64、学习率 1e-3": (1200, 3600)}


def fit_ours(steps, seed, **changes):
    """用 Trainer 练 steps 步；changes 覆盖 DDPM 的参数"""
    pl.seed_everything(seed, verbose=False)
    model = DDPM(**{**digits_model_config(steps), **changes}, seed=seed)
    quiet_trainer(max_steps=steps, gradient_clip_val=1.0).fit(model, DigitsDataModule(batch_size=64, seed=seed))
    return model


def score_ours(steps, seed, **changes):
    model = fit_ours(steps, seed, **changes)
    return DigitsFrechet()(generate(model, COUNT, batch_size=256, seed=seed, progress=False)[0])


def batches(size, seed):
    """没完没了的随机批"""
    data = DigitsDataModule(batch_size=size, seed=seed)
    data.setup("fit")
    images, generator = data.splits["train"].images, torch.Generator().manual_seed(seed)
    while True:
        yield from images[torch.randperm(len(images), generator=generator)].split(size)[:-1]


def fit_diffusers(steps, seed, batch, learning_rate):
    """diffusers 的脚本：预测噪声、线性噪声表，学习率 500 步热身再按余弦下降"""
    from diffusers.optimization import get_cosine_schedule_with_warmup

    torch.manual_seed(seed)
    peer, stream = Diffusers(Task.from_config("digits", batch)), batches(batch, seed)
    for group in peer.optimizer.param_groups:
        group["lr"] = learning_rate
    plan = get_cosine_schedule_with_warmup(peer.optimizer, 500, max(steps, 501))
    for _ in range(steps):
        peer.step(next(stream))
        plan.step()
    return peer


def score_diffusers(steps, seed, **options):
    peer = fit_diffusers(steps, seed, **options)
    peer.average.copy_to(peer.network.parameters())
    peer.network.eval()
    return DigitsFrechet()(torch.cat([peer.sample(COUNT // 4, "ddim", 50) for _ in range(4)]))


def seconds_per_step(rounds=5, steps=40):
    """{练法: 每步的秒数}"""
    works = {OURS: lambda: fit_ours(steps, 0), **{name: lambda o=options: fit_diffusers(steps, 0, **o) for name, options in PEERS.items()}}
    return {name: seconds / steps for name, seconds in interleaved(works, rounds, warmup=1).items()}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="每种跑几个种子，取中位数")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    score, speed, rows = DigitsFrechet(), seconds_per_step(), []
    print(f"真图对真图 {score.floor():.1f}，纯噪声 {score.ceiling():.0f}；每步毫秒：" + "，".join(f"{name} {1e3 * s:.1f}" for name, s in speed.items()))
    print("| 练法 | 步数 | 训练秒数 | Fréchet 距离（中位） | 各个种子 |\n|:--|--:|--:|--:|:--|", flush=True)
    runs = [(name, steps) for name, several in STEPS.items() for steps in several] if options.seeds else []
    for name, steps in tqdm(runs, desc="训练", leave=False):
        work = score_ours if name == OURS else functools.partial(score_diffusers, **PEERS[name])
        distances = [work(steps, seed) for seed in range(options.seeds)]
        rows.append({"recipe": name, "steps": steps, "seconds": steps * speed[name], "frechet": statistics.median(distances), "all": distances})
        tqdm.write(f"| {name} | {steps} | {steps * speed[name]:.0f} | {rows[-1]['frechet']:.1f} | {'、'.join(f'{d:.1f}' for d in distances)} |")
    if options.out:
        content = {"machine": machine(torch.device("cpu")), "seconds_per_step": speed, "rows": rows}
        Path(options.out).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
