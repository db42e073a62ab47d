"""随包模型画得多好：各个种子分别量，给出平均与标准误，旁边是真图对真图与纯噪声"""
import torch

from ..data.base import random_images
from ..evaluation.metrics import frechet_for, nearest_distances, recognised
from ..evaluation.report import bits_report, model_inputs
from ..generate import generate
from ..sampling import evaluating
from ..training.timestep_loss import quarter_losses, quarters

SEEDS = 8
# 无条件的模型比两种采样与步数（v1 是祖先采样的 v_posterior 取 1），按类别的比引导的强度
PLAIN = {f"{sampler}_{steps}{mark}": {"sampler": sampler, "steps": steps, **knob} for steps in (5, 10, 20, 50)
         for sampler, mark, knob in (("ddim", "", {}), ("ancestral", "", {}), ("ancestral", "_v1", {"v_posterior": 1.0}))}
# 潜空间的模型只走 10 步
LATENT = {f"guidance_{w:g}": {"sampler": "dpmpp", "steps": 10, "guidance_scale": w} for w in (1.0, 2.0)}
GUIDED = {"guidance_1": {"steps": 50, "guidance_scale": 1.0}, "guidance_2": {"steps": 50, "guidance_scale": 2.0}}


def asked(model, labels):
    """(B,) 的类别 → 按这个模型的说法：类别号，或者词号（类别 k 是第 k + 1 个词）"""
    return labels[:, None] + 1 if "c_crossattn" in model.cond_keys else labels


def measure(model, data, count):
    """网络此刻的权重画得多好

    返回 : {采样的方式: {frechet, recognised, sure}, 另有两条参照线、真图的 recognised、最近的训练图、bits/dim、四段 t 上的损失}
    每种采样画 SEEDS 批，各 count 张；有类别的模型，各类一样多；带标准误的写成 {mean, se, each}；floor 是同样多的训练图对测试集
    """
    score, train, real = frechet_for(data), data.dataset("train"), data.dataset("test")[:]
    labels = torch.arange(count) % data.num_classes if model.conditioning_key else None
    cond, latent = None if labels is None else asked(model, labels), model.pixel_stage is not model
    drawn = {way: [generate(model, count, batch_size=100, seed=seed, cond=cond, use_ema=False, progress=False, **options)[0] for seed in range(SEEDS)]
             for way, options in (PLAIN if labels is None else LATENT if latent else GUIDED).items()}
    if labels is not None and not latent:
        drawn["gaussian"] = [gaussian_images(train, labels, seed) for seed in range(SEEDS)]
    floor = [score(random_images(train, count, seed)["image"]) for seed in range(SEEDS)]
    return {
        "samples": f"{SEEDS} 个种子，各 {count} 张",
        **{way: scores(score, several, labels) for way, several in drawn.items()},
        "frechet_floor": averaged(floor), "frechet_noise": round(score.ceiling(), 1),
        "real_recognised": {name: round(value, 4) for name, value in recognised(score.classifier, real["image"], real["label"]).items()},
        "neighbours": neighbours(torch.cat(drawn["ddim_50" if labels is None else "guidance_1"]), real["image"], train),
        **(through_the_autoencoder(model, data, count, score) if latent else in_pixels(model, data)),
    }


def in_pixels(model, data):
    return {"bits_per_dim": bits(model, data), "loss_by_quarter": by_quarter(model, data)}


@torch.no_grad()
def through(model, images):
    """压缩又解码"""
    return torch.cat([model.decode_first_stage(model.get_first_stage_encoding(model.encode_first_stage(part))) for part in images.split(100)])


@torch.no_grad()
def through_the_autoencoder(model, data, count, score):
    """潜空间的模型：压缩又解码的训练图有多像真图（样本大致不会更近）、还原的误差（均方根）、潜变量乘完系数的标准差，后两样在测试图上"""
    test, train = random_images(data.dataset("test"), 2000)["image"], data.dataset("train")
    z = torch.cat([model.get_first_stage_encoding(model.encode_first_stage(part)) for part in test.split(100)])
    return {"frechet_decoded": averaged([score(through(model, random_images(train, count, seed)["image"])) for seed in range(SEEDS)]),
            "rmse": round(float((through(model, test) - test).square().mean().sqrt()), 4), "latent_std": round(float(z.std()), 4)}


def scores(score, several, labels):
    """几批样本 → {frechet, recognised, sure}，都带标准误，另有各类认得出的 by_class；没有类别时只有第一项"""
    rows = [{"frechet": score(images), **({} if labels is None else recognised(score.classifier, images, labels))} for images in several]
    found = {name: averaged([row[name] for row in rows]) for name in rows[0]}
    if labels is not None:
        images = torch.stack(several)
        shares = [recognised(score.classifier, images[:, labels == k].flatten(0, 1), k)["recognised"] for k in labels.unique()]
        found["by_class"] = [round(share, 4) for share in shares]
    return found


def gaussian_images(train, labels, seed):
    """参照：每一类的像素拟合一个高斯，从里面抽样；颜色与亮暗的起伏都对，形状是糊的"""
    generator, images = torch.Generator().manual_seed(seed), torch.empty(len(labels), *train[0]["image"].shape)
    for k in labels.unique():
        pixels = train[(train.labels == k).nonzero()[:, 0]]["image"]
        mean, here = pixels.mean(0), labels == k
        # 中心化的图各乘一个标准正态再加起来，协方差就是样本协方差
        weights = torch.randn(int(here.sum()), len(pixels), generator=generator) / (len(pixels) - 1) ** 0.5
        images[here] = mean + torch.einsum("sn,n...->s...", weights, pixels - mean)
    return images.clamp(-1, 1)


def averaged(values):
    """几个数 → 平均、标准误与各个的值"""
    values = torch.tensor(values, dtype=torch.float64)
    return {"mean": round(float(values.mean()), 4), "se": round(float(values.std() / len(values) ** 0.5), 4), "each": [round(float(v), 4) for v in values]}


def neighbours(samples, test, train):
    """样本离最近的训练图多远，与测试图离最近的训练图比：抄来的图会近得多"""
    images = train[:]["image"]
    drawn, real = nearest_distances(samples, images), nearest_distances(test[:len(samples)], images)
    near = real.quantile(0.01)
    return {"median": round(float(drawn.median()), 3), "median_of_test": round(float(real.median()), 3),
            "closer_than_1_percent_of_test": round(float((drawn < near).double().mean()), 4), "images": len(drawn)}


def by_quarter(model, data, count=512):
    """四段 t 上的损失：模型的，与最好的线性滤波的（由训练图的协方差算出）"""
    batch = random_images(data.dataset("test"), count)
    with evaluating(model):
        losses = quarter_losses(model, batch["image"], model.get_condition(batch))
    spectrum = torch.linalg.eigvalsh(torch.cov(random_images(data.dataset("train"), 20_000)["image"].flatten(1).T.double())).clamp(min=0)
    cumprod = model.exact_table("alphas_cumprod")[:, None]
    wiener = (spectrum / (cumprod * spectrum + 1 - cumprod)).mean(1)
    return {"model": [round(float(value), 4) for value in losses.values()],
            "wiener": [round(float(wiener[start:stop].mean()), 4) for start, stop in quarters(model.num_timesteps)], "images": count}


def bits(model, data, count=64):
    """测试图的 bits/dim"""
    batch = random_images(data.dataset("test"), count)
    report = bits_report(model, list(model_inputs(model, batch, 64)), levels=data.levels, generator=torch.Generator().manual_seed(0), progress=False)
    return {"mean": round(report["bits_per_dim"], 4), "se": round(report["bits_per_dim_se"], 4), "images": report["images"]}
