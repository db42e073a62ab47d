"""小样画得多好：python -m benchmarks.quick [--config mnist-quick] [--data data] [--seeds 8] [--out quick.json]

照这份配置各练一遍（第 00 章的是 mnist-first），画 200 张（每类 20 张，DDIM 25 步），数一数随包的分类器认作所要的数字的比例
秒数只算 Trainer.fit；写进 --out 的每练完一遍就存一次，文件已经在了就接着练
"""
import argparse
import time
import warnings

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, MNISTDataModule
from ddpm_edu.authoring.quality import averaged
from ddpm_edu.configs import load
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import recognised
from ddpm_edu.generate import generate
from ddpm_edu.teach.training import quiet_trainer

from .runs import train_all


def train(data, seed, config):
    """练一遍，返回 (模型, 秒数)"""
    pl.seed_everything(seed, verbose=False)
    model = DDPM(**config["model"], seed=seed)
    trainer = quiet_trainer(max_steps=config["trainer"]["max_steps"], gradient_clip_val=1.0)
    started = time.perf_counter()
    trainer.fit(model, data)
    return model.eval(), time.perf_counter() - started


def share(classifier, model, count, scale, seed):
    """count 张样本里，分类器认作所要的数字的比例"""
    labels = torch.arange(count) % 10
    images, _ = generate(model, count, batch_size=50, steps=25, cond=labels, guidance_scale=scale, seed=seed, progress=False)
    return recognised(classifier, images, labels)["recognised"]


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.quick", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", default="mnist-quick", help="随包的一份按类别生成的 MNIST 配置")
    parser.add_argument("--data", default="data", help="数据目录")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--images", type=int, default=200, help="每个种子画几张")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    config, classifier = load(options.config), load_classifier("mnist")

    def once(name, seed):
        data = MNISTDataModule(options.data, batch_size=config["data"]["init_args"]["batch_size"], seed=seed)
        model, seconds = train(data, seed, config)
        return {"seconds": seconds, **{f"guidance_{scale:g}": share(classifier, model, options.images, scale, seed) for scale in (1.0, 2.0)}}

    runs = train_all(parser, options.out, {"config": options.config, "images": options.images}, [options.config], options.seeds, once)["runs"]
    for measure in ("seconds", "guidance_1", "guidance_2"):
        found = averaged([run[measure] for run in runs])
        print(f"{measure}：{found['mean']:.3f} ± {found['se']:.3f}")


if __name__ == "__main__":
    main()
