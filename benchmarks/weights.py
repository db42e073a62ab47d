"""等权与推导出的权重，各练出什么：python -m benchmarks.weights [--seeds 8] [--steps 600] [--out weights.json]

8×8 的数字，预测 ε，论文的噪声表；两种损失只差各个 t 的权重，推导出的权重除以它的平均，总的大小相同
每个种子各练一遍，量一批 DDIM-50 样本的 Fréchet 距离与测试图的 bits/dim，都用 EMA 权重；差是逐个种子相减
"""
import argparse
import json
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, DigitsDataModule
from ddpm_edu.authoring.quality import averaged
from ddpm_edu.configs.recipes import digits_model_config
from ddpm_edu.evaluation.report import evaluate
from ddpm_edu.teach.training import quiet_trainer

from .timing import machine

EQUAL, DERIVED = "等权", "推导出的权重"
MEASURES = {"frechet": "Fréchet 距离", "bits_per_dim": "bits/dim"}


def losses(config):
    """{名字: 换掉的 DDPM 参数}"""
    mean = float(DDPM(**config).lvlb_weights.mean())
    return {EQUAL: {}, DERIVED: {"l_simple_weight": 0.0, "original_elbo_weight": 1 / mean}}


def train_and_measure(config, seed, steps, samples, images):
    pl.seed_everything(seed, verbose=False)
    model, data = DDPM(**config, seed=seed), DigitsDataModule(batch_size=64, seed=seed)
    quiet_trainer(max_steps=steps, gradient_clip_val=1.0).fit(model, data)
    found = evaluate(model.eval(), data, max_images=images, num_samples=samples, seed=seed, progress=False)
    return {name: found[name] for name in MEASURES}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.weights", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--samples", type=int, default=1000, help="每个种子画几张")
    parser.add_argument("--images", type=int, default=64, help="bits/dim 用几张测试图")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    config, rows = digits_model_config(options.steps, parameterization="eps", beta_schedule="sqrt_linear"), []
    for seed in range(options.seeds):
        rows.append({name: train_and_measure({**config, **changes}, seed, options.steps, options.samples, options.images)
                     for name, changes in losses(config).items()})
        print(f"种子 {seed}：" + "；".join(f"{name} " + "、".join(f"{value:.4f}" for value in row.values()) for name, row in rows[-1].items()), flush=True)
    report = {measure: {**{name: averaged([row[name][measure] for row in rows]) for name in (EQUAL, DERIVED)},
                        "差": averaged([row[DERIVED][measure] - row[EQUAL][measure] for row in rows])} for measure in MEASURES}
    for measure, found in report.items():
        print(f"{MEASURES[measure]}：" + "，".join(f"{name} {value['mean']:.3f} ± {value['se']:.3f}" for name, value in found.items()))
    if options.out:
        Path(options.out).write_text(json.dumps({"machine": machine(torch.device("cpu")), **report}, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
