"""同一个网络练久一点：python -m benchmarks.longer [--data data] [--times 1 2 4] [--seeds 1] [--hold] [--references] [--out longer.json] [--grid grid.png]

把 mnist-quick 的步数（热身、余弦、总步数）一起乘几倍，从头各练一遍；第 13 章的 190 步是 --times 0.5，凑成 5 的倍数
--hold 只乘总步数，原来的计划走完就停在末尾的学习率上
计划每走五分之一量一次验证损失（128 张）；走到五分之四处与练完时，另量八批样本的 Fréchet 距离、认得出的比例（每批 200 张，DDIM 15 步，不加引导）
练完时另量四段的误差减知道类别的线性滤波，逐张相减（2 048 张测试图，第 13 章）
写进 --out 的每练完一遍就存一次；文件已经在了，就接着练没有练过的
--grid 是这一次练的种子 0 从同一份噪声画的 0 到 9（引导强度 2，DDIM 15 步），一遍一行；随包的 pretrained/mnist_longer.png 是 --times 2 4
--references 不训练，照样量发布的模型、真图，与从每一类的高斯里抽的样本（“不训练”）
"""
import argparse
import math
import warnings

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, MNISTDataModule, load_pretrained
from ddpm_edu.authoring.quality import asked, averaged
from ddpm_edu.configs import load
from ddpm_edu.data.base import random_images
from ddpm_edu.evaluation.metrics import frechet_for, recognised
from ddpm_edu.generate import generate
from ddpm_edu.images import save_grid
from ddpm_edu.teach.training import quiet_trainer
from ddpm_edu.training.timestep_loss import quarters, spread

from .runs import by_name, train_all


def filter_errors(seen, images, bars):
    """由 seen 求出线性滤波，用在 images 上：各张图在各个 ᾱ 上 v 的误差 (N, K)；bars 是 (N, K)，一张图一行"""
    spectrum, axes = torch.linalg.eigh(torch.cov(seen.T).double())
    power, spectrum, bar = ((images - seen.mean(0)) @ axes).square()[:, None], spectrum.clamp(min=0), bars[..., None]
    return (((1 - bar) * power + bar * spectrum**2) / (bar * spectrum + 1 - bar) ** 2).mean(-1)


@torch.no_grad()
def network_errors(model, images, labels, t, seed=0):
    """网络在各段里 v 的误差 (N, K)；t 是 (N, K)，各段同一份噪声"""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))

    def guess(steps):
        chunks = zip(model.q_sample(images, steps, noise).split(128), steps.split(128), labels.split(128))
        return torch.cat([model.apply_model(x, s, {"c_adm": y}) for x, s, y in chunks])

    return torch.stack([(guess(steps) - model.get_v(images, noise, steps)).square().flatten(1).mean(1) for steps in t.T], 1)


def above_the_filter(model, data, count):
    """四段的误差减知道类别的线性滤波：{"q1": [平均, 图与图之间的标准误], ...}"""
    test, known = random_images(data.dataset("test"), count), data.dataset("train")[:]
    t = torch.stack([spread(*quarter, count) for quarter in quarters(model.num_timesteps)], 1)
    with model.ema_scope():
        gap = network_errors(model, test["image"], test["label"], t).double()
    for digit in test["label"].unique():
        mine, seen = test["label"] == digit, known["image"][known["label"] == digit].flatten(1)
        gap[mine] -= filter_errors(seen, test["image"][mine].flatten(1).double(), model.exact_table("alphas_cumprod")[t[mine]])
    return {f"q{k}": [float(column.mean()), float(column.std() / count**0.5)] for k, column in enumerate(gap.T, 1)}


def pictures(model, score, count):
    """八个采样种子的 {frechet, recognised}"""
    labels = torch.arange(count) % 10
    drawn = [generate(model, count, batch_size=50, cond=asked(model, labels), steps=15, seed=seed, progress=False)[0] for seed in range(1, 9)]
    return {"frechet": averaged([score(images) for images in drawn]),
            "recognised": averaged([recognised(score.classifier, images, labels)["recognised"] for images in drawn])}


class Watch(pl.Callback):
    """每次验证记下损失；走到五分之四处与练完时，另量样本"""

    def __init__(self, score, count):
        self.score, self.count, self.losses, self.found = score, count, {}, {}

    def on_validation_end(self, trainer, model):
        step, loss = str(trainer.global_step), float(trainer.callback_metrics["val/loss_simple_ema"])
        self.losses[step] = loss
        if trainer.global_step >= trainer.max_steps * 4 // 5:
            self.found[step] = {"loss": loss, **pictures(model, self.score, self.count)}


def stretched(times, hold=False):
    """mnist-quick 的计划乘几倍 → (配置, 共走几步, 每几步验证一次)；计划长短凑成 5 的倍数，hold 时计划不乘，只多走"""
    config = load("mnist-quick")
    plan = config["model"]["scheduler_config"]["params"]
    every = math.ceil(config["trainer"]["max_steps"] * (1 if hold else times) / 5)
    if hold:
        return config, round(config["trainer"]["max_steps"] * times), every
    plan.update(warm_up_steps=round(plan["warm_up_steps"] * times), max_decay_steps=5 * every)
    return config, 5 * every, every


def once(times, seed, root, images, tests, hold, rows):
    """练一遍 → {"losses": {第几步: 验证损失}, "steps": {第几步: 验证损失与样本}, "above": 四段减线性滤波}；种子 0 画的 0 到 9 添在 rows 里"""
    config, steps, every = stretched(times, hold)
    data = MNISTDataModule(root, batch_size=config["data"]["init_args"]["batch_size"], seed=seed)
    data.setup()
    watch = Watch(frechet_for(data, num_images=1000), images)
    torch.manual_seed(seed)
    model = DDPM(**config["model"], seed=seed)
    quiet_trainer(max_steps=steps, gradient_clip_val=1.0, val_check_interval=every, check_val_every_n_epoch=None,
                  limit_val_batches=4, num_sanity_val_steps=0, callbacks=[watch]).fit(model, data)
    if seed == 0:
        rows.append(generate(model.eval(), 10, cond=torch.arange(10), guidance_scale=2.0, steps=15, seed=0, progress=False)[0])
    return {"losses": watch.losses, "steps": watch.found, "above": above_the_filter(model.eval(), data, tests)}


def class_gaussians(known, labels, seed):
    """每一类的训练图拟合一个高斯，各抽几张，截断到 [-1, 1]：中心化的图各乘一个标准正态再加起来，协方差就是样本协方差"""
    generator, images = torch.Generator().manual_seed(seed), torch.zeros(len(labels), *known["image"].shape[1:])
    for label in known["label"].unique():
        seen = known["image"][known["label"] == label]
        weights = torch.randn(int((labels == label).sum()), len(seen), generator=generator) / max(len(seen) - 1, 1) ** 0.5
        images[labels == label] = (seen.mean(0) + torch.einsum("kn,n...->k...", weights, seen - seen.mean(0))).clamp(-1, 1)
    return images


def references(root, images, tests):
    """发布的模型、真图、每类一个高斯，照样量：{"发布的": {"loss", "frechet", "recognised", "above"}, "真图": {"frechet"}, "不训练": 同上两样}"""
    data = MNISTDataModule(root, batch_size=load("mnist-quick")["data"]["init_args"]["batch_size"], seed=0)
    data.setup()
    shipped, score = load_pretrained("mnist").eval(), frechet_for(data, num_images=1000)
    (losses,) = quiet_trainer(limit_val_batches=4).validate(shipped, data, verbose=False)
    real = averaged([score(random_images(data.dataset("train"), images, seed)["image"]) for seed in range(1, 9)])
    known, labels = data.dataset("train")[:], torch.arange(images) % 10
    drawn = [class_gaussians(known, labels, seed) for seed in range(1, 9)]
    untrained = {"frechet": averaged([score(each) for each in drawn]),
                 "recognised": averaged([recognised(score.classifier, each, labels)["recognised"] for each in drawn])}
    return {"发布的": {"loss": losses["val/loss_simple_ema"], **pictures(shipped, score, images), "above": above_the_filter(shipped, data, tests)},
            "真图": {"frechet": real}, "不训练": untrained}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.longer", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="data", help="数据目录")
    parser.add_argument("--times", type=float, nargs="+", default=[1, 2, 4], help="步数是 mnist-quick 的几倍")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--hold", action="store_true", help="学习率计划不拉长")
    parser.add_argument("--references", action="store_true", help="只量发布的模型与真图")
    parser.add_argument("--images", type=int, default=200, help="每批画几张")
    parser.add_argument("--tests", type=int, default=2048, help="量四段的误差用几张测试图")
    parser.add_argument("--out", help="另存为 JSON")
    parser.add_argument("--grid", help="另存种子 0 画的 0 到 9")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    if options.references:
        print(references(options.data, options.images, options.tests))
        return
    about, rows = {"images": options.images, "tests": options.tests, "hold": options.hold}, []
    record = train_all(parser, options.out, about, [f"{times:g} 倍" for times in options.times], options.seeds,
                       lambda name, seed: once(float(name.split()[0]), seed, options.data, options.images, options.tests, options.hold, rows))
    if options.grid and rows:
        save_grid(torch.cat(rows), options.grid, nrow=10)
    for name, runs in by_name(record).items():
        for run in runs:
            print(f"{name}，种子 {run['seed']}，验证损失：" + "，".join(f"{step} 步 {loss:.3f}" for step, loss in run["losses"].items()))
            for step, found in run["steps"].items():
                distance, share = found["frechet"], found["recognised"]
                print(f"{name}，种子 {run['seed']}，第 {step} 步：验证损失 {found['loss']:.3f}，Fréchet 距离 {distance['mean']:.0f} ± {distance['se']:.0f}，"
                      f"认得出 {share['mean']:.1%} ± {share['se']:.1%}")
            print("　练完，减线性滤波：" + "，".join(f"{part} {mean:.4f} ± {se:.4f}" for part, (mean, se) in run["above"].items()))


if __name__ == "__main__":
    main()
