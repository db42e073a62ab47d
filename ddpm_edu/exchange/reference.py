"""latent-diffusion 那个 DDPM 的检查点 → 我们的 DDPM：网络、EMA、系数表；优化器的状态不取

原版没有把构造参数存进检查点，所以要另给：自己写，或由它的 YAML 读来（params_from_yaml）
"""
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml

from ..checks import fail
from ..ddpm import DDPM
from ..files.checkpoint import CheckpointError, clean_state_dict, load_checkpoint
from .diffusers_folder import understood
from .unet_keys import attended_levels, number_of_heads

NETWORK, EMA = "model.diffusion_model.", "model_ema."
OTHER_STAGES = ("first_stage_model.", "cond_stage_model.")
# 原版 UNetModel 的这些设定，我们只有一种
FIXED_UNET = {"dims": 2, "conv_resample": True, "use_scale_shift_norm": False, "resblock_updown": False, "use_spatial_transformer": False,
              "use_new_attention_order": False, "num_heads_upsample": -1}
IGNORED_UNET = ("image_size", "use_checkpoint", "use_fp16", "legacy")  # 不影响算出什么
UNET = ("in_channels", "out_channels", "model_channels", "num_res_blocks", "attention_resolutions", "dropout", "channel_mult", "num_classes")
# LDM 的 YAML 里 DDPM 认得的参数；别的（scheduler_config 等只管训练）不取
MODEL = ("timesteps", "beta_schedule", "loss_type", "first_stage_key", "image_size", "channels", "linear_start", "linear_end", "cosine_s", "given_betas",
         "v_posterior", "parameterization", "clip_denoised", "log_every_t", "learn_logvar", "logvar_init", "original_elbo_weight", "l_simple_weight")


class NumberLoader(yaml.SafeLoader):
    """2e-1 这样没有小数点的数，PyYAML 当作文字；原版用的 OmegaConf 认作数"""


NumberLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+"), list("-+0123456789"))


class Ignored:
    """检查点里记着的、别的库的对象：装作有这个类，什么也不做"""

    def __init__(self, *args, **kwargs):
        pass


def load_reference(path):
    """读检查点；里面常有 Lightning 的回调之类的类，一律换成 Ignored，绝不导入、不执行"""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:
        names = []  # 不是 torch 的文件，由 load_checkpoint 说明
    with torch.serialization.safe_globals([(Ignored, name) for name in names]):
        return load_checkpoint(path)


def from_reference(path, **params):
    """原版 DDPM 的检查点 → DDPM

    params : DDPM 的构造参数，unet_config 必给，写法是我们的
    异常   : 读不懂、形状不合 CheckpointError；是 LatentDiffusion 的检查点 ValueError
    """
    checkpoint = load_reference(path)
    states = clean_state_dict(checkpoint.get("state_dict", checkpoint))
    if other := [prefix for prefix in OTHER_STAGES if any(key.startswith(prefix) for key in states)]:
        fail("检查点", "只有 DDPM 的（model.、model_ema. 与系数表）", f"还有 {'、'.join(other)} 的，是 LatentDiffusion 的检查点")
    if not any(key.startswith(NETWORK) for key in states):
        raise CheckpointError(f"{path} 里没有 {NETWORK} 开头的权重；请确认它是 DDPM 的检查点")
    if checkpoint.get("optimizer_states"):
        warnings.warn(f"{path} 里优化器的状态没有取：参数的次序不同，接着练要重新积累动量", stacklevel=2)
    params = {"use_ema": any(key.startswith(EMA) for key in states), **params}
    model = DDPM(**params)
    model.init_from_ckpt(path, checkpoint={"state_dict": renamed(states, model.model.diffusion_model, params["use_ema"])})
    return model.eval()


def renamed(states, network, use_ema):
    """原版的 state_dict → 我们的"""
    heads = {name: layer.num_heads for name, layer in network.named_modules() if hasattr(layer, "num_heads")}
    network_states = {key.removeprefix(NETWORK): value for key, value in states.items() if key.startswith(NETWORK)}
    found = {key: value for key, value in states.items() if not key.startswith((NETWORK, EMA))}
    for key, value in network_states.items():
        ours = our_key(key)
        found[NETWORK + ours] = our_value(ours, value, heads)
        # 原版 EMA 的名字把点都去掉了
        squeezed = EMA + f"diffusion_model.{key}".replace(".", "")
        if use_ema and squeezed in states:
            found[f"{EMA}shadow.diffusion_model/{ours.replace('.', '/')}"] = our_value(ours, states[squeezed], heads)
    if use_ema:
        found[f"{EMA}num_updates"] = states.get(f"{EMA}num_updates", torch.tensor(0)).long()
    return found


def our_key(key):
    """上下采样的卷积，原版另包了一层"""
    return re.sub(r"^(input_blocks\.\d+\.0)\.op\.|^(output_blocks\.\d+\.\d)\.conv\.", lambda found: f"{found[1] or found[2]}.", key)


def our_value(key, value, heads):
    """注意力的 1×1 卷积，原版是一维的；q、k、v 原版先分头再分三份，我们先分三份再分头"""
    block, _, layer = key.rpartition(".")[0].rpartition(".")
    if layer == "qkv" and (count := heads.get(block, 1)) > 1:
        value = value.unflatten(0, (count, 3, -1)).transpose(0, 1).flatten(0, 2)
    return value[..., None] if layer in ("qkv", "proj_out") and value.ndim == 3 else value


def params_from_yaml(path):
    """LDM 的 YAML → DDPM 的构造参数；只认 UNetModel，别的设定写明名字拒绝"""
    try:
        config = yaml.load(Path(path).read_text(encoding="utf-8-sig"), NumberLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path!r} 应为 YAML 文件：{' '.join(str(error).split())}") from None
    with understood(path):
        return params_from(config, path)


def params_from(config, path):
    """读进来的 YAML → DDPM 的构造参数"""
    params = config.get("model", {}).get("params") if isinstance(config, Mapping) and isinstance(config.get("model"), Mapping) else None
    unet = params.get("unet_config") if isinstance(params, Mapping) else None
    if not isinstance(unet, Mapping) or not str(unet.get("target")).endswith(".UNetModel") or not isinstance(unet.get("params"), Mapping):
        fail(str(path), "有 model.params.unet_config、target 是 UNetModel 的 LDM 配置", unet and unet.get("target"))
    given = dict(unet["params"])
    for name, value in FIXED_UNET.items():
        if given.pop(name, value) != value:
            fail(f"{path} 的 unet_config.{name}", f" {value!r}（我们只有这一种）", unet["params"][name])
    if not str(config["model"].get("target")).endswith(".DDPM"):
        fail(f"{path} 的 model.target", "以 .DDPM 结尾的类", config["model"].get("target"), "LatentDiffusion 的权重装不进来")
    given.setdefault("channel_mult", [1, 2, 4, 8])
    widths = [given["model_channels"] * m for m in given["channel_mult"]]
    heads = given.pop("num_heads", 1)
    if (wide := given.pop("num_head_channels", -1)) != -1:
        heads = number_of_heads(f"{path} 的 unet_config.num_head_channels", widths, attended_levels(given), wide)
    for name in IGNORED_UNET:
        given.pop(name, None)
    if unknown := sorted(set(given) - set(UNET)):
        fail(f"{path} 的 unet_config", f"只有 {'、'.join(UNET)} 的设定", unknown)
    # 原版各层都是 32 组
    return {"unet_config": {"target": "ddpm_edu.UNet", "params": {**given, "num_heads": heads, "norm_groups": 32}},
            **{name: params[name] for name in MODEL if name in params}}
