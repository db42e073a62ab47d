"""diffusers 的文件夹（UNet2DModel 加 DDPMScheduler / DDIMScheduler）↔ DDPM

文件夹里是 model_index.json、unet/、scheduler/；只读 JSON 与张量，不导入 diffusers。对方有而我们没有的，写明名字拒绝
"""
import contextlib
import inspect
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from ..checks import check_int, fail
from ..ddpm import DDPM
from ..files.checkpoint import CheckpointError, atomic_folder, load_checkpoint
from ..schedules import make_beta_schedule
from ..unet import UNet
from .unet_keys import attended_levels, from_diffusers, layer_pairs, number_of_heads, to_diffusers

SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")
SUPPORTED = "0.35"  # 写进文件的 diffusers 版本
DOWN, UP = ("DownBlock2D", "AttnDownBlock2D"), ("UpBlock2D", "AttnUpBlock2D")
# 对方 U-Net 的这些设定，我们只有一种；没写的就是这个默认值
FIXED_UNET = {"center_input_sample": (False,), "time_embedding_type": ("positional",), "mid_block_type": ("UNetMidBlock2D",),
              "mid_block_scale_factor": (1, 1.0), "downsample_type": ("conv",), "upsample_type": ("conv",), "act_fn": ("silu", "swish"),
              "add_attention": (True,), "resnet_time_scale_shift": ("default",), "class_embed_type": (None,),
              "num_class_embeds": (None,), "attn_norm_num_groups": (None,)}
FIXED_SCHEDULER = {"thresholding": (False,), "set_alpha_to_one": (True,), "clip_sample_range": (1, 1.0)}
SCHEDULES = {"scaled_linear": "linear", "linear": "sqrt_linear", "squaredcos_cap_v2": "cosine"}
TARGETS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
VARIANCES = {"fixed_small": 0.0, "fixed_small_log": 0.0, "fixed_large": 1.0, "fixed_large_log": 1.0}


@contextlib.contextmanager
def understood(source):
    """里面读一份外来的设定：缺了哪一项、哪一项的类型不对，都换成一句话"""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(f"{source} 的设定里缺 {error}；请重新下载") from None
    except (TypeError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{source} 的设定里有读不懂的值（{type(error).__name__}: {error}）；请重新下载") from None


def read_json(path):
    """一份 JSON 字典；没有、读不懂时 CheckpointError"""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} 应为 JSON 文件：{error}；diffusers 的文件夹里要有 model_index.json、unet/ 与 scheduler/") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} 应为 JSON 字典，得到 {type(found).__name__}")
    return found


def only(config, allowed, source):
    """config 里写了的设定须是我们也有的那一种"""
    for name, values in allowed.items():
        if config.get(name, values[0]) not in values:
            fail(f"{source} 的 {name}", f" {values[0]!r}（我们只有这一种）", config[name])


def unet_params(config, source="unet/config.json"):
    """UNet2DModel 的设定 → UNet 的参数；装不下的 ValueError，写明是哪一项"""
    only(config, FIXED_UNET, source)
    check_int(f"{source} 的 norm_num_groups", config.get("norm_num_groups", 32), 1)
    widths, down = list(config["block_out_channels"]), list(config["down_block_types"])
    up = list(config["up_block_types"])
    if set(down) - set(DOWN) or [UP[DOWN.index(kind)] for kind in reversed(down)] != up or len(down) != len(widths):
        fail(f"{source} 的 down_block_types 与 up_block_types", f"首尾对称、取自 {DOWN} 的两列，个数同 block_out_channels", (down, up))
    if any(width % widths[0] for width in widths):
        fail(f"{source} 的 block_out_channels", "都是第一个的倍数", widths)
    attended = [level for level, kind in enumerate(down) if kind == DOWN[1]]
    head = config.get("attention_head_dim", 8)
    heads = 1 if head is None else number_of_heads(f"{source} 的 attention_head_dim", widths, attended, head)
    return {
        "in_channels": config["in_channels"], "out_channels": config["out_channels"], "model_channels": widths[0],
        "channel_mult": [width // widths[0] for width in widths], "num_res_blocks": config["layers_per_block"],
        "attention_resolutions": [2**level for level in attended], "num_heads": heads, "dropout": config.get("dropout", 0.0),
        "norm_groups": config.get("norm_num_groups", 32), "norm_eps": config.get("norm_eps", 1e-5),
        "freq_shift": config.get("freq_shift", 0), "downsample_padding": config.get("downsample_padding", 1),
    }


def scheduler_params(config, source="scheduler/scheduler_config.json"):
    """DDPMScheduler、DDIMScheduler 的设定 → DDPM 的参数"""
    only(config, FIXED_SCHEDULER, source)
    for name, table in (("beta_schedule", SCHEDULES), ("prediction_type", TARGETS), ("variance_type", VARIANCES)):
        if name in config and config[name] not in table and not (name == "beta_schedule" and config.get("trained_betas")):
            fail(f"{source} 的 {name}", f" {' / '.join(table)} 之一", config[name])
    given = config.get("trained_betas")
    return {
        "timesteps": config["num_train_timesteps"], "given_betas": None if given is None else [float(beta) for beta in given],
        "beta_schedule": SCHEDULES.get(config.get("beta_schedule", "linear"), "linear"),
        "linear_start": config.get("beta_start", 1e-4), "linear_end": config.get("beta_end", 0.02),
        "parameterization": TARGETS[config.get("prediction_type", "epsilon")], "clip_denoised": config.get("clip_sample", True),
        "v_posterior": VARIANCES[config.get("variance_type", "fixed_small")],
        "rescale_betas_zero_snr": config.get("rescale_betas_zero_snr", False),
    }


def read_weights(folder):
    """unet 文件夹里的权重：safetensors 优先，.bin 按安全方式读"""
    for name in ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"):
        if (folder / name).exists():
            found = load_checkpoint(folder / name)
            return found.get("state_dict", found)
    raise CheckpointError(f"{folder} 里应有 diffusion_pytorch_model.safetensors 或 .bin，没有找到；下载可能不完整")


def from_folder(folder):
    """diffusers 的文件夹 → DDPM（eval 模式，EMA 从这份权重起）

    异常 : 缺文件、权重与设定不合 CheckpointError；有我们没有的设定 ValueError
    """
    folder = Path(folder)
    config, scheduler = read_json(folder / "unet" / "config.json"), read_json(folder / "scheduler" / "scheduler_config.json")
    with understood(folder):
        check_kinds(read_json(folder / "model_index.json"), config, scheduler)
        params, schedule = unet_params(config), scheduler_params(scheduler)
        size = config["sample_size"]
    model = DDPM({"target": "ddpm_edu.UNet", "params": params}, image_size=tuple(size) if isinstance(size, (list, tuple)) else size,
                 channels=params["out_channels"], **schedule)
    with understood(folder / "unet"):
        states, left = from_diffusers(read_weights(folder / "unet"), *pairs_of(params), sin_first=not config.get("flip_sin_to_cos", True))
    network = model.model.diffusion_model
    if missing := sorted(set(network.state_dict()) - set(states)) or sorted(left):
        raise CheckpointError(f"{folder / 'unet'} 的权重与设定不合：对不上的有 {len(missing)} 个，如 {missing[:3]}")
    try:
        network.load_state_dict(states)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / 'unet'} 的权重与设定不合：{error}") from None
    if bad := [name for name, value in network.state_dict().items() if not value.isfinite().all()]:
        raise CheckpointError(f"{folder / 'unet'} 的权重里有 NaN 或无穷（{len(bad)} 个，如 {bad[:3]}）；请重新下载")
    model.model_ema.reset_to(model.model)
    return model.eval()


def check_kinds(index, unet, scheduler):
    """文件夹里须恰是 UNet2DModel 与 DDPMScheduler / DDIMScheduler；别的流水线（带自编码器的、别的调度器）换过来也是错的"""
    parts = {name for name in index if not name.startswith("_")}
    if parts != {"unet", "scheduler"}:
        fail("model_index.json", "只有 unet 与 scheduler 两部分", sorted(parts), f"这是 {index.get('_class_name')}")
    for name, config, kinds in (("unet/config.json", unet, ("UNet2DModel",)), ("scheduler/scheduler_config.json", scheduler, SCHEDULERS)):
        if config.get("_class_name") not in kinds:
            fail(f"{name} 的 _class_name", f" {' / '.join(kinds)}", config.get("_class_name"))


def pairs_of(params):
    return layer_pairs(len(params["channel_mult"]), params["num_res_blocks"], attended_levels(params))


def to_folder(model, folder):
    """DDPM 此刻的权重 → diffusers 的文件夹，DDPMPipeline.from_pretrained 可以直接读

    folder : 须不存在或是空的；先写在旁边，写完再换名
    异常   : 对方装不下的（条件、patch_size、只在一处的归一化组数……）ValueError，写明是哪一项
    """
    folder, network = Path(folder), model.model.diffusion_model
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail("输出的文件夹", "不存在或是空的", str(folder))
    params = checked_params(model)
    states = to_diffusers(network.state_dict(), *pairs_of(params))
    with atomic_folder(folder) as temporary:
        for name, content in (("model_index", {"_class_name": "DDPMPipeline", "_diffusers_version": SUPPORTED,
                                               "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}),
                              ("unet/config", unet_config(model, params)), ("scheduler/scheduler_config", scheduler_config(model))):
            path = temporary / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        # 由 Python 写：磁盘满了才是 OSError
        (temporary / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(save(states, metadata={"format": "pt"}))


def checked_params(model):
    """这个模型的 U-Net 的参数，写全；对方装不下的 ValueError"""
    config, network = model.hparams.unet_config, model.model.diffusion_model
    if type(network) is not UNet:
        fail("unet_config.target", " ddpm_edu.UNet（只换得了它的键）", config["target"])
    params = {**{name: p.default for name, p in inspect.signature(UNet).parameters.items()}, **config["params"]}
    groups = {layer.num_groups for layer in network.modules() if isinstance(layer, torch.nn.GroupNorm)}
    heads = {model_width(params, level) // params["num_heads"] for level in [*attended_levels(params), -1]}
    for name, value, rule, good in (
        ("conditioning_key", model.conditioning_key, " None（DDPMPipeline 不给条件）", model.conditioning_key is None),
        ("use_positional_encodings", model.use_positional_encodings, " False", not model.use_positional_encodings),
        ("unet_config 的 patch_size", network.patch_size, " 1（UNet2DModel 没有它）", network.patch_size == 1),
        ("unet_config 的 channel_mult", params["channel_mult"], "以 1 开头的列表", params["channel_mult"][0] == 1),
        ("unet_config 的 norm_groups", sorted(groups), "写明的一个数（UNet2DModel 各层的组数相同）", len(groups) == 1),
        ("unet_config 的 num_heads", params["num_heads"], "让每个注意力层的头一样宽（UNet2DModel 按头的宽度记）", params["num_heads"] == 1 or len(heads) == 1),
        ("v_posterior", model.v_posterior, " 0 或 1（DDPMScheduler 只有这两种方差）", model.v_posterior in (0, 1)),
    ):
        if not good:
            fail(name, rule, value, "这个模型换不成 diffusers 的；随包的几个都是这样，请另练一个")
    return {**params, "norm_groups": groups.pop(), "head": None if params["num_heads"] == 1 else heads.pop()}


def model_width(params, level):
    return params["model_channels"] * params["channel_mult"][level]


def unet_config(model, params):
    attended, levels = attended_levels(params), len(params["channel_mult"])
    down = [DOWN[level in attended] for level in range(levels)]
    size = model.image_size
    return {
        "_class_name": "UNet2DModel", "_diffusers_version": SUPPORTED, "sample_size": list(size) if isinstance(size, tuple) else size,
        "in_channels": params["in_channels"], "out_channels": params["out_channels"], "layers_per_block": params["num_res_blocks"],
        "block_out_channels": [model_width(params, level) for level in range(levels)], "down_block_types": down,
        "up_block_types": [UP[DOWN.index(kind)] for kind in reversed(down)], "attention_head_dim": params["head"], "dropout": params["dropout"],
        "norm_num_groups": params["norm_groups"], "norm_eps": params["norm_eps"], "freq_shift": params["freq_shift"], "flip_sin_to_cos": True,
        "downsample_padding": params["downsample_padding"], "act_fn": "silu", "add_attention": True, "center_input_sample": False,
        "time_embedding_type": "positional", "mid_block_scale_factor": 1,
    }


def scheduler_config(model):
    """噪声表有名字的写名字，别的把 β 逐个写下"""
    given = model.hparams
    name = next((theirs for theirs, ours in SCHEDULES.items() if ours == given.beta_schedule), None)
    # 对方的余弦表没有可调的偏移
    known = given.given_betas is None and name and (name != "squaredcos_cap_v2" or given.cosine_s == 8e-3)
    plain = make_beta_schedule(given.beta_schedule, model.num_timesteps, given.linear_start, given.linear_end, given.cosine_s)
    betas = plain if given.given_betas is None else np.array(given.given_betas)
    return {
        "_class_name": "DDPMScheduler", "_diffusers_version": SUPPORTED, "num_train_timesteps": model.num_timesteps,
        "beta_schedule": name if known else "linear", "beta_start": given.linear_start, "beta_end": given.linear_end,
        "trained_betas": None if known else betas.tolist(),
        "prediction_type": next(theirs for theirs, ours in TARGETS.items() if ours == model.parameterization),
        "variance_type": "fixed_large" if model.v_posterior else "fixed_small", "clip_sample": model.clip_denoised, "clip_sample_range": 1.0,
        "timestep_spacing": "leading", "rescale_betas_zero_snr": model.rescale_betas_zero_snr,
    }
