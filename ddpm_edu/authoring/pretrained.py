"""python -m ddpm_edu.authoring.pretrained classifier|digits|digits_class：训练随包发布的网络，写到 ddpm_edu/pretrained"""
import argparse
import functools
import json
import statistics
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from safetensors.torch import save_file

from ..configs.recipes import conditional_digits_config, digits_model_config
from ..data import DigitsDataModule
from ..ddpm import DDPM
from ..evaluation.classifier import train_classifier
from ..evaluation.metrics import DigitsFrechet
from ..files.checkpoint import sha256_of
from ..generate import generate
from ..pretrained import load_pretrained, pretrained_card

HERE = Path(__file__).parents[1] / "pretrained"


def build_classifier():
    classifier, accuracy = train_classifier(DigitsDataModule())
    save_file(classifier.state_dict(), HERE / "digits_classifier.safetensors")
    print(f"分类器：留出 500 张上的准确率 {accuracy:.2%}")


def build_model(name, config, max_steps, seed):
    pl.seed_everything(seed, verbose=False)
    model = DDPM(**config, seed=seed)
    trainer = pl.Trainer(max_steps=max_steps, max_epochs=-1, accelerator="cpu", logger=False, gradient_clip_val=1.0,
                         enable_checkpointing=False, limit_val_batches=0)
    started = time.perf_counter()
    trainer.fit(model, DigitsDataModule(batch_size=64, seed=seed))
    seconds = time.perf_counter() - started
    model.model_ema.copy_to(model.model)
    weights = {f"model.{key}": value.contiguous() for key, value in model.model.state_dict().items()}
    save_file(weights, HERE / f"{name}.safetensors")
    # 学习率计划只属于训练，随包模型不带
    card = {
        "model": {**config, "scheduler_config": None},
        "recipe": {"command": f"python -m ddpm_edu.authoring.pretrained {name} --steps {max_steps} --seed {seed}", "batch_size": 64,
                   "max_steps": max_steps, "seed": seed, "train_seconds": round(seconds), "threads": torch.get_num_threads(),
                   "scheduler_config": config["scheduler_config"], "torch": torch.__version__.split("+")[0]},
        "quality": measure(model.eval()),
        "sha256": sha256_of(HERE / f"{name}.safetensors"),
    }
    write_card(name, card)


def write_card(name, card):
    (HERE / f"{name}.json").write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(card["quality"], ensure_ascii=False, indent=2))


def measure(model):
    """网络此刻的权重画得多好，与真图对真图、纯噪声两条参照线"""
    score = DigitsFrechet()
    kinds = measure_classes(model, score) if model.conditioning_key else measure_samplers(model, score)
    return {**kinds, "real_vs_real_floor": round(score.floor(), 2), "noise_ceiling": round(score.ceiling(), 1)}


def measure_samplers(model, score):
    """1 024 张样本的 Fréchet 距离；各类数字的多少随种子变，一次差几分是常事，所以量四次取中位"""
    def distances(sampler):
        return [round(score(generate(model, 1024, batch_size=256, use_ema=False, seed=seed, sampler=sampler, steps=50, progress=False)[0]), 2)
                for seed in range(4)]

    each = {sampler: distances(sampler) for sampler in ("ddim", "ancestral")}
    return {f"frechet_{sampler}_50": {"median": round(statistics.median(found), 2), "each": found} for sampler, found in each.items()}


def measure_classes(model, score):
    """各个引导强度下，1 000 张样本的 Fréchet 距离，以及分类器认为类别正确的比例"""
    labels, quality = torch.arange(1000) % 10, {}
    for scale in (1.0, 2.0, 4.0):
        samples, _ = generate(model, 1000, batch_size=250, use_ema=False, cond=labels, guidance_scale=scale, progress=False)
        right = (score.classifier(samples.clamp(-1, 1)).argmax(1) == labels).double().mean()
        quality[f"guidance_{scale:g}"] = {"frechet_ddim_50": round(score(samples), 2), "right_class": round(float(right), 4)}
    return quality


# 比 quickstart 宽一些、练得久一些，所以学习率略低、EMA 更慢
RECIPES = {
    "digits": functools.partial(digits_model_config, width=32, learning_rate=3e-3, ema_decay=0.999),
    "digits_class": functools.partial(conditional_digits_config, ["label"], width=32, learning_rate=3e-3, ema_decay=0.999),
}


def main():
    parser = argparse.ArgumentParser("python -m ddpm_edu.authoring.pretrained")
    parser.add_argument("name", choices=["classifier", *RECIPES])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="不训练，重新量随包权重的质量")
    options = parser.parse_args()
    if options.name == "classifier":
        build_classifier()
    elif options.measure:
        write_card(options.name, {**pretrained_card(options.name), "quality": measure(load_pretrained(options.name))})
    else:
        build_model(options.name, RECIPES[options.name](max_steps=options.steps), options.steps, options.seed)


if __name__ == "__main__":
    main()
