"""python -m ddpm_edu.authoring.pretrained NAME：做出随包发布的网络，写到 ddpm_edu/pretrained

digits、digits_class   : 当场训练
mnist、fashion、cifar10 : 先照 COMMANDS 里的命令练完，再用 --ckpt 取出 EMA 权重，存成半精度
mnist_latent           : 同上，自编码器的权重与 scale_factor 一起存
--classifier           : 训练这份数据的分类器
--measure              : 不训练，重新量随包权重的质量
--draw                 : 不训练，重画样本
--growth CKPT ……       : 不训练，练到几处的检查点各画一行
"""
import argparse
import functools
import inspect
import json

import pytorch_lightning as pl
import torch
from safetensors.torch import save_file

from ..cli.options import class_of
from ..configs.recipes import conditional_digits_config, digits_model_config
from ..data import DigitsDataModule, FashionMNISTDataModule, ImageFolderDataModule, MNISTDataModule
from ..ddpm import DDPM
from ..evaluation.classifier import ResidualClassifier, SmallClassifier, classifier_shape, train_classifier
from ..files.checkpoint import load_checkpoint, sha256_of
from ..generate import generate
from ..images import save_grid
from ..pretrained import HERE, classifier_cards, load_pretrained, pretrained_card
from .quality import asked, measure

# 比配置 digits 宽一些、练得久一些，所以学习率略低、EMA 更慢
RECIPES = {
    "digits": functools.partial(digits_model_config, width=32, learning_rate=3e-3, ema_decay=0.999),
    "digits_class": functools.partial(conditional_digits_config, ["label"], width=32, learning_rate=3e-3, ema_decay=0.999),
}
DATA = {"digits": DigitsDataModule, "digits_class": DigitsDataModule, "mnist": MNISTDataModule, "fashion": FashionMNISTDataModule,
        "mnist_latent": functools.partial(MNISTDataModule, conditions=["words"]),
        "cifar10": functools.partial(ImageFolderDataModule, image_size=32, classes=True, flip=True)}
COMMANDS = {
    "mnist": "python -m ddpm_edu fit --config mnist-class",
    "fashion": "python -m ddpm_edu fit --config mnist-class --data ddpm_edu.FashionMNISTDataModule",
    "mnist_latent": "python -m ddpm_edu fit --config mnist-autoencoder，再 python -m ddpm_edu fit --config mnist-latent",
    "cifar10": "python -m ddpm_edu fit --config cifar10-class --data ddpm_edu.ImageFolderDataModule --data.root data/cifar10/train "
               "--data.classes true --data.flip true",
}
CLASSIFIERS = {"digits": (SmallClassifier, 60), "mnist": (SmallClassifier, 8), "fashion": (SmallClassifier, 8), "cifar10": (ResidualClassifier, 4)}
SAME = {"cifar10": ["CIFAR10DataModule"]}  # 同一份图的另一种存法


def make_data(name, root, seed):
    if name in RECIPES:
        return DATA[name](batch_size=64, seed=seed)
    return DATA[name](f"{root}/cifar10/train" if name == "cifar10" else root, batch_size=64)


def build_classifier(name, data):
    network, epochs = CLASSIFIERS[name]
    classifier, accuracy = train_classifier(data, epochs, network=network)
    path = HERE / f"{name}_classifier.safetensors"
    save_file(classifier.state_dict(), path)
    card = {"data": [data.identity, *SAME.get(name, [])], "network": network.__name__, **classifier_shape(data),
            "accuracy": round(accuracy, 4), "epochs": epochs,
            "command": f"python -m ddpm_edu.authoring.pretrained {name} --classifier", "sha256": sha256_of(path)}
    write_json("classifiers", {**classifier_cards(), name: card})


def train_digits(name, data, max_steps, seed):
    """当场训练；返回权重、构造参数与配方"""
    config = RECIPES[name](max_steps=max_steps)
    pl.seed_everything(seed, verbose=False)
    model = DDPM(**config, seed=seed)
    trainer = pl.Trainer(max_steps=max_steps, max_epochs=-1, accelerator="cpu", logger=False, gradient_clip_val=1.0,
                         enable_checkpointing=False, limit_val_batches=0)
    trainer.fit(model, data)
    model.model_ema.copy_to(model.model)
    recipe = {"command": f"python -m ddpm_edu.authoring.pretrained {name} --steps {max_steps} --seed {seed}",
              "batch_size": data.batch_size, "max_steps": max_steps, "seed": seed, "scheduler_config": config["scheduler_config"]}
    return {f"model.{key}": value for key, value in model.model.state_dict().items()}, config, recipe


def take_from(name, ckpt, data, note):
    """练完的检查点里的 EMA 权重，半精度；另返回构造参数与配方"""
    state = load_checkpoint(ckpt)
    model = class_of(state, ckpt).load_from_checkpoint(ckpt)
    model.model_ema.copy_to(model.model)
    defaults = {name: p.default for name, p in inspect.signature(DDPM).parameters.items()}
    config = {name: value for name, value in model.hparams.items() if value != defaults.get(name)}
    stream = state[type(data).__qualname__]
    recipe = {"command": COMMANDS[name], "batch_size": stream["batch_size"], "max_steps": state["global_step"], "seed": model.seed,
              "images_seen": state["global_step"] * stream["batch_size"], "scheduler_config": config["scheduler_config"], "note": note}
    states = {f"model.{key}": value.half() for key, value in model.model.state_dict().items()}
    if model.pixel_stage is not model:
        states |= {f"first_stage_model.{key}": value.half() for key, value in model.first_stage_model.state_dict().items()}
        # 系数已经量好，接着练也不再量
        config |= {"scale_factor": float(model.scale_factor), "scale_by_std": False}
        states["scale_factor"] = model.scale_factor
    return states, config, recipe


def publish(name, states, config, recipe, data):
    """写下权重，量读回来的那一份，写卡片"""
    path = HERE / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in states.items()}, path)
    # 学习率计划只属于训练，随包模型不带
    card = {"model": {**config, "scheduler_config": None}, "recipe": {**recipe, "torch": torch.__version__.split("+")[0]},
            "quality": {}, "sha256": sha256_of(path)}
    write_json(name, card)
    if name not in RECIPES:
        draw(name)
    update_quality(name, data)


def draw(name):
    """一百个样本 NAME.png；mnist 另有从噪声到样本的几条 mnist_walk.png，README 的第一张图"""
    model = load_pretrained(name)
    images, _ = generate(model, 100, steps=50, seed=0, cond=asked(model, torch.arange(10).repeat(10)), use_ema=False, guidance_scale=2.0)
    save_grid(images, HERE / f"{name}.png", nrow=10)
    if name == "mnist":
        _, frames = generate(model, 4, steps=50, seed=1, cond=torch.tensor([2, 3, 5, 8]), use_ema=False, guidance_scale=2.0, num_frames=10)
        save_grid(torch.stack(frames, 1).flatten(0, 1), HERE / f"{name}_walk.png", nrow=len(frames), scale=2)


def draw_growth(name, ckpts):
    """练到几处的检查点各画十张，一行一处，起点的噪声相同：NAME_growth.png；各处的步数记进卡片"""
    rows = [generate(DDPM.load_from_checkpoint(ckpt), 10, steps=50, seed=0, cond=torch.arange(10), guidance_scale=2.0)[0] for ckpt in ckpts]
    save_grid(torch.cat(rows), HERE / f"{name}_growth.png", nrow=10)
    write_json(name, {**pretrained_card(name), "growth": [load_checkpoint(ckpt)["global_step"] for ckpt in ckpts]})


def update_quality(name, data):
    quality = measure(load_pretrained(name), data, 1000 if name in RECIPES else 400)
    write_json(name, {**pretrained_card(name), "quality": quality})
    print(json.dumps(quality, ensure_ascii=False, indent=2))


def write_json(name, content):
    (HERE / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser("python -m ddpm_edu.authoring.pretrained", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=DATA)
    parser.add_argument("--data", default="data", help="数据目录")
    parser.add_argument("--ckpt", help="练完的检查点")
    parser.add_argument("--note", default="", help="配方里另外要说的一句")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classifier", action="store_true")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--growth", nargs="+", metavar="CKPT")
    options = parser.parse_args()
    data = make_data(options.name, options.data, options.seed)
    if options.classifier:
        build_classifier(options.name, data)
    elif options.draw:
        draw(options.name)
    elif options.growth:
        draw_growth(options.name, options.growth)
    elif options.measure:
        update_quality(options.name, data)
    elif options.name not in RECIPES and options.ckpt is None:
        parser.error(f"先运行 {COMMANDS[options.name]}，练完再用 --ckpt 写明检查点")
    elif options.name in RECIPES:
        publish(options.name, *train_digits(options.name, data, options.steps, options.seed), data)
    else:
        publish(options.name, *take_from(options.name, options.ckpt, data, options.note), data)


if __name__ == "__main__":
    main()
