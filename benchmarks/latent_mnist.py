"""同样的 U-Net 放在潜变量上与放在像素上，画得多好，多快：python -m benchmarks.latent_mnist [设定 ...] [--seeds 8] [--out latent_mnist.json]

随包的 mnist_latent 与 mnist（28×28，按类别），DPM-Solver++ 走 10 步，每个种子 400 张，各类一样多；latent-2 是引导强度 2
retrained-1: 自编码器不变，潜变量模型照配置 mnist-latent 换种子从头练；每份照第 13 章的量法（benchmarks.longer）画八批取平均，
             与那里像素模型的各档步数比
beta-0.01  : 8×8 数字上的小 AutoencoderKL，β = 0.01，每个种子练 300 步：还原的误差、潜变量的标准差
decoded    : 400 张训练图压缩又解码；train：400 张训练图，都对测试集；test-decoded、test 换成测试图；pixel-decoded 是 pixel-1 的样本压缩又解码
time       : 一个线程的 CPU 秒：训练一步（批 64）、画一张（批 16，引导强度 1），训练的轮流各量 10 次，画的 5 次，与种子无关
             “同样深”的每级一个残差块，没有练过；另有自编码器的训练一步、编码一批，像素批 32 的训练一步
--out 里已有的不再量，中断了接着来
"""
import argparse
import copy
import time
import warnings

import torch
from torch.utils.flop_counter import FlopCounterMode

from ddpm_edu import DDPM, AutoencoderKL, LatentDiffusion, MNISTDataModule, load_pretrained
from ddpm_edu.authoring.quality import asked, averaged, through
from ddpm_edu.configs import load
from ddpm_edu.data.base import random_images
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.metrics import frechet_for, recognised
from ddpm_edu.generate import generate
from ddpm_edu.latent.cache import CacheLatents
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.teach.training import descend, quiet_trainer

from .longer import pictures
from .runs import by_name, seeds_table, train_all

COUNT, CALLS = 400, 10
MODELS = {"latent": "mnist_latent", "pixel": "mnist"}
BETAS = ("1e-4", "1e-2", "0.1", "1", "10")
SETTINGS = [*(f"{model}-{w}" for model in MODELS for w in ("1", "2")), "latent-1.5", "latent-3", "retrained-1",
            "decoded", "train", "pixel-decoded", "test", "test-decoded", *(f"beta-{beta}" for beta in BETAS)]
TITLES = {"frechet": "Fréchet 距离", "recognised": "认得出", "rmse": "还原的均方根误差", "std": "潜变量的标准差", "posterior": "编码器给的 σ",
          "kl": "KL（nats）"}


def draw(model, guidance, seed, count=COUNT):
    """count 张图与要的类别"""
    labels = torch.arange(count) % 10
    images, _ = generate(model, count, batch_size=100, seed=seed, cond=asked(model, labels), use_ema=False, progress=False,
                         sampler="dpmpp", steps=CALLS, guidance_scale=guidance)
    return images, labels


def train_beta(beta, seed, steps=300):
    """8×8 的数字上练一个自编码器，在留出的图上量"""
    torch.manual_seed(seed)
    model, splits = AutoencoderKL(8, 1, embed_dim=2, ch=16, ch_mult=[1], patch_size=2, kl_weight=beta), load_digits_split()
    train, x = splits["train"][0], splits["test"][0]
    descend(model, lambda: model.shared_step({"image": train[torch.randint(len(train), (32,))]})[0], steps, lr=5e-3)
    with torch.no_grad():
        posterior = model.encode(x)
        z = posterior.sample(torch.Generator().manual_seed(seed))
        return {"rmse": float((model.decode(z) - x).square().mean().sqrt()), "std": float(z.std()), "posterior": float(posterior.std.mean()),
                "kl": float(posterior.kl().mean())}


def retrain(seed, root):
    """随包的自编码器不变，潜变量模型从头练一遍；权重在 EMA 里"""
    plan = load("mnist-latent")
    torch.manual_seed(seed)
    model = LatentDiffusion(**pretrained_card("mnist_latent")["model"] | {"scheduler_config": plan["model"]["scheduler_config"], "seed": seed})
    model.first_stage_model.load_state_dict(load_pretrained("mnist_latent").first_stage_model.state_dict())
    data = MNISTDataModule(root, batch_size=plan["data"]["init_args"]["batch_size"], conditions=["words"], seed=seed, progress=False)
    quiet_trainer(max_steps=plan["trainer"]["max_steps"], gradient_clip_val=1.0, callbacks=[CacheLatents()]).fit(model, data)
    return model.eval()


def multiplications(function, *arguments):
    """调用一次，卷积与矩阵乘法里有几次乘法"""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*arguments)
    return counter.get_total_flops() // 2


def seconds(functions, repeats=5):
    """几件事轮流做，各做几遍：各自的 CPU 秒，平均 ± 标准误；头一遍不算"""
    found = [[] for _ in functions]
    for _ in range(repeats + 1):
        for function, mine in zip(functions, found):
            start = time.process_time()
            function()
            mine.append(time.process_time() - start)
    return [averaged(mine[1:]) for mine in found]


def timed_models():
    """随包的两个，与像素上同潜变量一样深的：每级一个残差块，也就是 mnist-quick 的网络"""
    config = pretrained_card("mnist")["model"]
    network = config["unet_config"] | {"params": config["unet_config"]["params"] | {"num_res_blocks": 1}}
    return {"mnist": load_pretrained("mnist"), "mnist，同样深": DDPM(**config | {"unet_config": network}), "mnist_latent": load_pretrained("mnist_latent")}


def training_step(model, count, loss=None):
    """训练一步：一批 count 张；loss() 不给时是扩散的，潜变量事先算好（CacheLatents），所以里面没有编码"""
    if loss is None:
        x, t, cond = torch.randn(count, model.channels, *[model.image_size] * 2), torch.arange(count) * 15, asked(model, torch.arange(count) % 10)
        loss = lambda: model.p_losses(x.clamp(-1, 1), t, cond=cond)[0]  # noqa: E731
    optimizer = model.configure_optimizers()
    optimizer = optimizer["optimizer"] if isinstance(optimizer, dict) else optimizer

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        if model.use_ema:
            model.model_ema(model.model)

    return step


def timing_table(count=64):
    """训练一步与画一张，三个模型并排；自编码器的训练一步与编码一批；第 13 章那样批量 32 的"""
    torch.set_num_threads(1)
    lines = ["| | 参数 | U-Net 一次的乘法 | 训练一步（CPU 秒） | 画一张（CPU 秒） |", "|:--|--:|--:|--:|--:|"]
    models, image = timed_models(), torch.randn(count, 1, 28, 28).clamp(-1, 1)
    frozen = models["mnist_latent"].first_stage_model
    coder = copy.deepcopy(frozen).train().requires_grad_(True)
    others = {"自编码器，训练一步": training_step(coder, count, lambda: coder.shared_step({"image": image})[0]),
              "自编码器，编码一批": lambda: frozen.encode(image), "mnist，同样深，训练一步，批 32": training_step(models["mnist，同样深"], 32)}
    draws = [lambda model=model: draw(model, 1.0, 0, count // 4) for model in models.values()]
    *steps, first, second, third = seconds([*(training_step(model, count) for model in models.values()), *others.values()], 10)
    for (name, model), each, once in zip(models.items(), steps, seconds(draws)):
        x, t, cond = torch.zeros(1, model.channels, *[model.image_size] * 2), torch.zeros(1, dtype=torch.long), asked(model, torch.zeros(1, dtype=torch.long))
        size, macs = sum(p.numel() for p in model.model.parameters()), multiplications(model.apply_model, x, t, cond)
        lines.append(f"| {name} | {size / 1e6:.2f} M | {macs / 1e6:.1f} M | {each['mean']:.3f} ± {each['se']:.3f} | "
                     f"{4 * once['mean'] / count:.4f} ± {4 * once['se'] / count:.4f} |")
    lines += ["", *(f"{name} {found['mean']:.4f} ± {found['se']:.4f}" for name, found in zip(others, (first, second, third)))]
    z = frozen.encode(image[:1]).mode()
    encode, decode = multiplications(frozen.encode, image[:1]) / 1e6, multiplications(frozen.decode, z) / 1e6
    lines.append(f"自编码器 {sum(p.numel() for p in frozen.parameters()) / 1e6:.2f} M，编码 {encode:.1f} M，解码 {decode:.1f} M")
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.latent_mnist", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="设定", help=f"只量这几个：{'、'.join(SETTINGS)}、time")
    parser.add_argument("--data", default="data", help="数据目录（默认 data）")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", help="另存为 JSON，接着量也靠它")
    options = parser.parse_args(arguments)
    names = options.settings or [*SETTINGS, "time"]
    if unknown := [name for name in names if name not in (*SETTINGS, "time")]:
        parser.error(f"没有 {unknown}；有的是 {SETTINGS} 与 time")
    warnings.simplefilter("ignore")
    if "time" in names:
        print(timing_table(), flush=True)
    names = [name for name in names if name != "time"]
    needs_pictures = any(not name.startswith("beta") for name in names)
    data = MNISTDataModule(options.data, progress=False) if needs_pictures else None
    score, models = frechet_for(data) if needs_pictures else None, {}
    shorter = frechet_for(data, num_images=1000) if needs_pictures else None  # 第 13 章只取一千张真图

    def once(name, seed):
        kind, _, value = name.partition("-")
        if kind == "beta":
            return train_beta(float(value), seed)
        if kind == "retrained":
            return {name: each["mean"] for name, each in pictures(retrain(seed, options.data), shorter, 200).items()}
        if kind in MODELS:
            model = models.setdefault(kind, load_pretrained(MODELS[kind]))
            images, labels = draw(model, 1.0 if value == "decoded" else float(value), seed)
        else:
            images, labels = (random_images(data.dataset("test" if kind == "test" else "train"), COUNT, seed)[key] for key in ("image", "label"))
        if name.endswith("decoded"):
            images = through(models.setdefault("latent", load_pretrained("mnist_latent")), images)
        return {"frechet": score(images), "recognised": recognised(score.classifier, images, labels)["recognised"]}

    if names:
        print(seeds_table(by_name(train_all(parser, options.out, {"measure": "latent_mnist", "count": COUNT}, names, options.seeds, once)), TITLES))


if __name__ == "__main__":
    main()
