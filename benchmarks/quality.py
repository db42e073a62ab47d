"""同样的网络、同样的数据，练多久画得多好：python -m benchmarks.quality [--seeds 3] [--out quality.json]

三种练法：ddpm_edu 的 digits 配方；diffusers 无条件训练脚本的默认值；同一个脚本，批大小与学习率换成我们的
质量是 1 024 张 DDIM-50 样本（各用自己的 EMA 权重）对留出 500 张真数字的 Fréchet 距离；训练的秒数不含评估
"""
import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from tqdm import tqdm

from ddpm_edu import DDPM, DigitsDataModule
from ddpm_edu.generate import generate
from ddpm_edu.metrics import DigitsFrechet
from ddpm_edu.recipes import digits_model_config
from ddpm_edu.teach.training import quiet_trainer

from .peers import Diffusers, Task
from .timing import machine

COUNT = 1024


def train_ours(steps, seed, **changes):
    """用 Trainer 练 steps 步；changes 覆盖 DDPM 的参数，返回 (秒, Fréchet 距离)"""
    pl.seed_everything(seed, verbose=False)
    model = DDPM(**{**digits_model_config(steps), **changes}, seed=seed)
    started = time.perf_counter()
    quiet_trainer(max_steps=steps, gradient_clip_val=1.0).fit(model, DigitsDataModule(batch_size=64, seed=seed))
    seconds = time.perf_counter() - started
    return seconds, DigitsFrechet()(generate(model, COUNT, batch_size=256, seed=seed, progress=False)[0])


def batches(size, seed):
    """没完没了的随机批"""
    data = DigitsDataModule(batch_size=size, seed=seed)
    data.setup("fit")
    images = data.splits["train"].images
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from images[torch.randperm(len(images), generator=generator)].split(size)[:-1]


def train_diffusers(budget, seed, batch, learning_rate):
    """diffusers 的脚本：预测噪声、线性噪声表、500 步热身再按余弦下降；练到 budget 秒"""
    from diffusers.optimization import get_cosine_schedule_with_warmup

    torch.manual_seed(seed)
    peer = Diffusers(Task.from_config("digits", batch))
    stream = batches(batch, seed)
    started = time.perf_counter()
    for _ in range(20):
        peer.step(next(stream))
    steps = int(20 * budget / (time.perf_counter() - started))
    for group in peer.optimizer.param_groups:
        group["lr"] = learning_rate
    plan = get_cosine_schedule_with_warmup(peer.optimizer, 500, max(steps, 501))
    started = time.perf_counter()
    for _ in range(steps):
        peer.step(next(stream))
        plan.step()
    seconds = time.perf_counter() - started
    peer.average.copy_to(peer.network.parameters())
    peer.network.eval()
    samples = torch.cat([peer.sample(256, "ddim", 50) for _ in range(COUNT // 256)])
    return seconds, DigitsFrechet()(samples)


RUNS = {
    "ddpm_edu": [lambda seed, steps=steps: train_ours(steps, seed) for steps in (250, 500, 1000)],
    "diffusers 的默认值": [lambda seed, s=s: train_diffusers(s, seed, 16, 1e-4) for s in (60, 180)],
    "diffusers，批 64、学习率 1e-3": [lambda seed, s=s: train_diffusers(s, seed, 64, 1e-3) for s in (60, 180)],
}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="每种跑几个种子，取中位数")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    rows, score = [], DigitsFrechet()
    print(f"真图对真图 {score.floor():.1f}，纯噪声 {score.ceiling():.0f}")
    print("| 练法 | 训练秒数 | Fréchet 距离（中位） | 各个种子 |\n|:--|--:|--:|:--|")
    for name, run in tqdm([(name, run) for name, runs in RUNS.items() for run in runs], desc="训练", leave=False):
        seconds, distances = zip(*(run(seed) for seed in range(options.seeds)))
        rows.append({"recipe": name, "seconds": statistics.median(seconds), "frechet": statistics.median(distances), "all": distances})
        tqdm.write(f"| {name} | {rows[-1]['seconds']:.0f} | {rows[-1]['frechet']:.1f} | {'、'.join(f'{d:.1f}' for d in distances)} |")
    if options.out:
        content = {"machine": machine(torch.device("cpu")), "rows": rows}
        Path(options.out).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
