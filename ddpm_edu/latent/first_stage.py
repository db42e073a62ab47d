"""LatentDiffusion 的第一阶段：造出来，核对形状，量潜变量的标准差"""
import contextvars
import logging
from pathlib import Path

import torch
from torch import nn

from ..checks import fail
from ..config import instantiate_from_config, target_class
from ..files.checkpoint import load_checkpoint, newest_last
from ..files.plain import as_mapping
from ..gaussian import sides
from ..randomness import isolated_rng

log = logging.getLogger("ddpm_edu")
TRAIN_IT = "先练一个：python -m ddpm_edu fit --config mnist-autoencoder"


def make_first_stage(config, model):
    """按 {"target", "params"} 造自编码器；params 里有 ckpt_path 的，参数与权重都取自那个文件，其余的 params 覆盖它

    model : 用它的 LatentDiffusion；channels、image_size 须与潜变量的一致
    异常  : 不是自编码器、没有那个文件、文件里不是自编码器、潜变量不是那么大时 ValueError
    """
    first_stage = built(config)
    check_latents(model, first_stage)
    return first_stage


def make_cond_stage(config):
    """按 {"target", "params"} 造条件编码器"""
    return instantiate_from_config(config, kinds=(nn.Module,), name="cond_stage_config")


def built(config):
    """造自编码器，还没有冻结"""
    cls, params = target_class(config, (nn.Module,), "first_stage_config"), dict(as_mapping(as_mapping(config).get("params") or {}))
    if missing := [name for name in ("encode", "decode", "get_input") if not hasattr(cls, name)]:
        fail("first_stage_config 的 target", "能编码、能解码的类", config["target"], f"它没有 {'、'.join(missing)}；用 ddpm_edu.AutoencoderKL")
    # LightningCLI 造模型时，把命令行给的参数放在上下文里当作超参数；自编码器要记自己的，所以换一个空的上下文
    empty = contextvars.Context()
    if "ckpt_path" not in params:
        return empty.run(instantiate_from_config, config, kinds=(nn.Module,), name="first_stage_config")
    path = first_stage_file(params.pop("ckpt_path"))
    saved = load_checkpoint(path).get("hyper_parameters") or {}
    if "embed_dim" not in saved:
        fail("first_stage_config 的 ckpt_path", "自编码器的检查点", str(path), TRAIN_IT)
    return empty.run(cls.load_from_checkpoint, path, **params)


def first_stage_file(path):
    """检查点；写的是文件夹时，取里面最近存下的 last.ckpt"""
    found = Path(path) if Path(path).is_file() else newest_last(path)
    if found is None:
        fail("first_stage_config 的 ckpt_path", "自编码器的检查点，或训练写的文件夹", str(path), TRAIN_IT)
    if found != Path(path):
        log.warning("自编码器用的是 %s", found.as_posix())
    return found


def picture_size(config):
    """配置里的自编码器读多大的图：(image_size, channels)；只看参数，不造它"""
    params = as_mapping(as_mapping(config).get("params") or {})
    if "ckpt_path" in params:
        params = load_checkpoint(first_stage_file(params["ckpt_path"])).get("hyper_parameters") or {}
    size = params.get("image_size", 32)
    return tuple(size) if isinstance(size, list) else size, params.get("channels", 3)


def remember(model, first_stage_config, cond_stage_config):
    """记进检查点的超参数；first_stage_config 里是自编码器的全部参数，不写 ckpt_path，权重已经在检查点里"""
    own = {"target": first_stage_config["target"], "params": dict(model.first_stage_model.hparams)}
    model.save_hyperparameters({"first_stage_config": own, "cond_stage_config": cond_stage_config,
                                "scale_factor": float(model.scale_factor), "scale_by_std": model.scale_by_std})


def check_latents(model, first):
    """model 的 image_size、channels 须是潜变量的"""
    wanted, got = (first.embed_dim, *first.latent_size), (model.channels, *sides(model.image_size))
    if wanted != got:
        fail("channels 与 image_size", f"潜变量的 {wanted[0]} 与 {list(wanted[1:])}", (got[0], list(got[1:])),
             f"自编码器把 {first.channels}×{'×'.join(map(str, sides(first.image_size)))} 的图压成这么大，U-Net 的输入输出也照它")


@torch.no_grad()
def measured_std(model, count=2048):
    """训练集里先取到的至少 count 张图，潜变量的标准差；各进程用同一个数。不影响训练的随机数，也不影响数据流"""
    found, loader = [], model.trainer.fit_loop._data_source.dataloader()
    with isolated_rng(model.seed, "scale_factor", device=model.device):
        for batch in loader:
            batch = {name: value.to(model.device) for name, value in batch.items() if torch.is_tensor(value)}
            found.append(model.get_input(batch, model.first_stage_key))
            if sum(map(len, found)) >= count:
                break
    return float(model.trainer.strategy.broadcast(torch.cat(found).std()))
