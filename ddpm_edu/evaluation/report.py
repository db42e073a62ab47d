"""评估：留出数据上的 bits/dim 与它的三个部分，样本的 Fréchet 距离"""
import contextlib
import math

import torch

from ..checks import check_bool, check_int, fail
from ..data.base import ImageDataModule, random_images
from ..gaussian import sides
from ..generate import generate
from ..likelihood import vlb_terms
from ..progress import progress_bar
from .fid import comparable, inception_features
from .metrics import frechet_for, recognised


def check_same_size(model, data_module):
    """模型与数据的边长、通道数须一致；在读数据之前就能查"""
    if not isinstance(data_module, ImageDataModule):
        fail("data_module", " ImageDataModule", type(data_module).__name__, "如 DigitsDataModule()", TypeError)
    own, other = ((thing.channels, *sides(thing.image_size)) for thing in (model.pixel_stage, data_module))
    if own != other:
        fail("数据的 (C, H, W)", f"与模型一致的 {own}", other, f"{type(data_module).__name__} 不是这个模型要的数据，请换一个 data_module")


def check_levels(data_module, images):
    """测试图的像素须落在 data_module.levels 级上，否则 bits/dim 不是编码长度；容差一格的百分之一，只放过 float32 的舍入"""
    levels = check_int("levels", data_module.levels, 2)
    place = (images.double() + 1) / 2 * (levels - 1)
    if off := int(((place - place.round()).abs() > 0.01).sum()):
        fail(f"{type(data_module).__name__}.levels", "像素真正的级数（8 位图 256，digits 17）", levels,
             f"{off / place.numel():.0%} 的像素不在这 {levels} 级上；连续的像素请用 bits_report(..., decoder='gaussian')")


def cut(batch, batch_size):
    """一大批 → 若干小批，各键同样切开"""
    size = len(next(iter(batch.values())))
    return [{key: value[i:i + batch_size] for key, value in batch.items()} for i in range(0, size, batch_size)]


def bits_report(model, batches, *, decoder="discrete", levels=256, generator=None, progress=None):
    """逐批算变分下界，汇总成 bits/dim

    batches : [(x_start, cond), ...]，合计至少 2 张图；decoder、levels 同 vlb_terms
    返回    : {"bits_per_dim", "bits_per_dim_se", "L_T", "L_kl", "L_0", "images"}
              L_kl 是中间各步 KL 之和
              三个部分加起来就是 bits_per_dim，都是各图的平均；se 是它的标准误
    """
    count = sum(len(x_start) for x_start, _ in batches)
    if count < 2:
        fail("图的张数", " ≥ 2 的整数", count, "标准误至少要两张图")
    bar = progress_bar(range(len(batches) * model.num_timesteps), progress, "bits/dim")

    def tick(*_):
        bar.update()

    # 每走一步网络被调用一次，由钩子替进度条数数
    hook = model.model.register_forward_hook(tick)
    try:
        terms = torch.cat([
            vlb_terms(model, x_start, decoder=decoder, levels=levels,
                      cond=cond, generator=generator, progress=False).cpu()
            for x_start, cond in batches
        ]) / math.log(2)
    finally:
        hook.remove()
        bar.close()
    total = terms.sum(1)
    return {
        "bits_per_dim": float(total.mean()),
        "bits_per_dim_se": float(total.std() / count**0.5),
        "L_T": float(terms[:, -1].mean()),
        "L_kl": float(terms[:, 1:-1].sum(1).mean()),
        "L_0": float(terms[:, 0].mean()),
        "images": count,
    }


def model_inputs(model, batch, batch_size):
    """一大批数据 → [(x_start, cond), ...]，已在模型的设备上"""
    for part in cut(batch, batch_size):
        part = {key: value.to(model.betas.device) for key, value in part.items()}
        yield model.get_input(part, model.first_stage_key), model.get_condition(part)


def draw_samples(model, data_module, count, *, steps=50, batch_size=256, seed=0, progress=None):
    """用当前的权重 DDIM 采样 count 张 (count, C, H, W)，在 CPU 上；有条件的模型用 sample_conditions"""
    cond = sample_conditions(model, data_module, count)
    images, _ = generate(model, count, batch_size=batch_size, seed=seed, cond=cond, use_ema=False,
                         steps=min(steps, model.num_timesteps), progress=progress)
    return images


def sample_conditions(model, data_module, count):
    """采 count 张样本用的条件，取自测试划分，不够时循环；无条件的模型是 None"""
    if model.conditioning_key is None:
        return None
    test = data_module.dataset("test")
    return model.get_condition(test[torch.arange(count) % len(test)])


def asked_classes(cond):
    """条件里说的类别 (B,)：c_adm 就是它，一句话里是第一个词"""
    return cond["c_adm"] if "c_adm" in cond else cond["c_crossattn"][:, 0] - 1


def evaluate(model, data_module, *, max_images=256, num_samples=1024, frechet=None, steps=50,
             use_ema=True, seed=0, batch_size=64, cache=None, progress=None,
             inception=None, real_images=None):
    """在测试划分上评估模型，返回一个只含数的字典

    max_images  : ≥ 2，算 bits/dim 的图数，从测试划分里固定随机地选；每张图要走满 T 步
    num_samples : 算 Fréchet 距离的样本数；0 为不算
    frechet     : FrechetDistance；默认由 frechet_for 取得，cache 交给它
    steps       : DDIM 的步数，超过 T 时走 T 步；use_ema：用 EMA 权重；seed：噪声的种子
    inception   : 取特征的网络，见 inception.load_inception；给了就用同一批样本另算 FID 与 KID
                  真图是训练划分里的 real_images 张，默认全部
    返回        : bits_report 的各项（levels 取自数据模块），潜空间的模型没有
                  能算 Fréchet 距离时另有 frechet、frechet_floor（同样多的训练图）、frechet_ceiling
                  按类别生成的模型再加 recognised、sure；给了 inception 时再加 fid.comparable 的各项
    异常        : 模型与数据的尺寸不同、数据说的级数与像素不符时 ValueError，不做任何计算
    """
    check_same_size(model, data_module)
    for name, value, low in (("max_images", max_images, 2), ("num_samples", num_samples, 0),
                             ("steps", steps, 1), ("batch_size", batch_size, 1)):
        check_int(name, value, low)
    check_int("seed", seed, 0, 2**63 - 1)
    if num_samples == 1:
        fail("num_samples", " 0 或 ≥ 2 的整数", num_samples)
    if inception is not None:
        check_int("num_samples", num_samples, 20, advice="要算 FID 与 KID")
    with model.ema_scope() if check_bool("use_ema", use_ema) else contextlib.nullcontext():
        report = {}
        # 潜空间的模型给的是潜变量的密度，换不成图的编码长度
        if model.pixel_stage is model:
            batch = random_images(data_module.dataset("test"), max_images)
            check_levels(data_module, batch[model.first_stage_key])
            report = bits_report(model, list(model_inputs(model, batch, batch_size)),
                                 levels=data_module.levels,
                                 generator=torch.Generator().manual_seed(seed), progress=progress)
            report["levels"] = data_module.levels
        if num_samples and frechet is None:
            frechet = frechet_for(data_module, cache, progress=progress)
        if num_samples and (frechet is not None or inception is not None):
            samples = draw_samples(model, data_module, num_samples,
                                   steps=steps, seed=seed, progress=progress)
            report |= {"samples": num_samples, "steps": min(steps, model.num_timesteps)}
        if num_samples and frechet is not None:
            as_many = random_images(data_module.dataset("train"), num_samples)["image"]
            report |= {"frechet": frechet(samples), "frechet_floor": frechet.floor(as_many),
                       "frechet_ceiling": frechet.ceiling()}
            if {"label", "words"} & {*model.cond_keys.values()}:
                asked = asked_classes(sample_conditions(model, data_module, num_samples))
                report |= recognised(frechet.classifier, samples, asked)
    if inception is not None:
        report |= against_train(samples, data_module, inception, real_images, batch_size, progress)
    return report


def against_train(samples, data_module, inception, count=None, batch_size=64, progress=None):
    """样本对训练划分的 count 张真图（默认全部）：fid.comparable 的各项"""
    train = data_module.dataset("train")
    count = len(train) if count is None else check_int("real_images", count, 20, len(train))
    real = random_images(train, count)["image"]
    return comparable(*(inception_features(images, inception, batch_size, progress) for images in (samples, real)))
