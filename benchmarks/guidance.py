"""引导强度与步数，各画得怎样：python -m benchmarks.guidance [--data data] [--seeds 8]（第 7 章第 5 节的表）

随包的 mnist，DDIM，每个种子 200 张，各类一样多：Fréchet 距离与认得出的比例；末一行是同样多的训练图
"""
import argparse

import torch

from ddpm_edu import load_pretrained
from ddpm_edu.authoring.pretrained import make_data
from ddpm_edu.authoring.quality import averaged
from ddpm_edu.data.base import random_images
from ddpm_edu.evaluation.metrics import frechet_for, recognised
from ddpm_edu.generate import generate

COUNT = 200
WAYS = ((1.0, 10, 0.0), (1.0, 10, 1.0), (1.0, 20, 0.0), (1.0, 20, 1.0), (1.25, 10, 0.0), (1.5, 10, 0.0), (2.0, 10, 0.0))  # 引导强度，步数，eta


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guidance", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="data", help="数据目录（默认 data）")
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args(arguments)
    data, labels = make_data("mnist", options.data, 0), torch.arange(COUNT) % 10
    model, score = load_pretrained("mnist"), frechet_for(data)

    for w, steps, eta in WAYS:
        drawn = [generate(model, COUNT, seed=seed, steps=steps, eta=eta, cond=labels, guidance_scale=w, batch_size=100, progress=False)[0]
                 for seed in range(options.seeds)]
        distance, share = averaged([score(images) for images in drawn]), averaged(
            [recognised(score.classifier, images, labels)["recognised"] for images in drawn])
        print(f"w={w:g}　{steps} 步　eta={eta:g}　距离 {distance['mean']:.1f} ± {distance['se']:.1f}　"
              f"认得出 {share['mean']:.1%} ± {share['se']:.1%}", flush=True)
    real = averaged([score(images) for images in random_images(data.dataset("train"), COUNT * options.seeds)["image"].split(COUNT)])
    print(f"真图　距离 {real['mean']:.1f} ± {real['se']:.1f}")


if __name__ == "__main__":
    main()
