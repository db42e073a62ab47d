"""模型的配方：命令行、课程与发布的模型共用 digits_model_config"""
from ..checks import check_choice
from ..conditioning import CONDITIONS
from . import load

# 数字数据的几种条件：怎样进网络，U-Net 的参数要改什么（in_channels 是另加的通道数）
DIGITS_CONDITIONS = {
    "label": ("c_adm", {"num_classes": 10}),
    "low_resolution": ("c_concat", {"in_channels": 1}),
    "masked": ("c_concat", {"in_channels": 2}),
    "prompt": ("c_crossattn", {"context_dim": 13}),
}


def digits_model_config(max_steps=1000, width=24, **overrides):
    """digits.yaml 里 DDPM 的构造参数：v 目标、cosine 噪声表、1 通道 8×8

    max_steps : 学习率计划的总步数；width：U-Net 第一层的宽度；overrides：覆盖 DDPM 的参数
    """
    config = load("digits")["model"]
    config["unet_config"]["params"]["model_channels"] = width
    config["scheduler_config"]["params"] |= {"warm_up_steps": min(50, max_steps // 2), "max_decay_steps": max_steps}
    return {**config, **overrides}


def conditional_digits_config(conditions, max_steps=1000, cond_drop_prob=0.15, **kwargs):
    """有条件的数字模型：conditions 取自 DIGITS_CONDITIONS，每类条件至多一个；其余参数同 digits_model_config"""
    chosen = {name: DIGITS_CONDITIONS[check_choice("conditions", name, tuple(DIGITS_CONDITIONS))] for name in conditions}
    kinds = {kind: name for name, (kind, _) in chosen.items()}
    conditioning_key = next(key for key, wanted in CONDITIONS.items() if set(wanted) == set(kinds))
    config = digits_model_config(max_steps, **kwargs)
    for _, changes in chosen.values():
        params = config["unet_config"]["params"]
        params |= {**changes, "in_channels": params["in_channels"] + changes.get("in_channels", 0)}
    return {**config, "conditioning_key": conditioning_key, "cond_key": kinds, "cond_drop_prob": cond_drop_prob}


def toy_model_config(unet=None, **overrides):
    """课堂与测试用的最小模型：8×8 灰度，几毫秒建好；unet 是 U-Net 参数的改动，其余覆盖 DDPM 的参数"""
    params = {"in_channels": 1, "out_channels": 1, "model_channels": 8, "num_res_blocks": 1, "channel_mult": [1, 2],
              "attention_resolutions": [2], **(unet or {})}
    return {"unet_config": {"target": "ddpm_edu.UNet", "params": params}, "image_size": 8, "channels": 1, **overrides}
