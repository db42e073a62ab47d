"""同一个 U-Net 在我们这里与在 diffusers（UNet2DModel）里的两套键，以及权重怎样换过去"""
import torch

from ..checks import fail

RES = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
       "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}
OUTER = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2", "input_blocks.0.0": "conv_in",
         "out.0": "conv_norm_out", "out.2": "conv_out"}
# diffusers 早年的注意力层用的名字
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def attended_levels(params):
    """UNet 的参数说的，哪几级有注意力"""
    return [level for level in range(len(params["channel_mult"])) if 2**level in params["attention_resolutions"]]


def number_of_heads(name, widths, attended, wide):
    """每个头 wide 个通道时的头数；widths 是各级的宽，attended 是有注意力的级（最里面的一级总有）

    异常 : 各级的头数不同、不是整数时 ValueError：我们的 U-Net 按头数记
    """
    heads = {widths[level] / wide for level in [*attended, -1]}
    if len(heads) > 1 or not min(heads).is_integer():
        fail(name, "让每个注意力层的头数相同、且是整数", wide)
    return int(heads.pop())


def layer_pairs(levels, num_res_blocks, attended):
    """({我们的层: 对方的层}, {我们的注意力块: 对方的})

    levels : 几级分辨率；attended : 哪几级有注意力
    """
    layers, attention, place = dict(OUTER), {}, 1

    def res(ours, theirs):
        layers.update({f"{ours}.{one}": f"{theirs}.{two}" for one, two in RES.items()})

    for level in range(levels):
        for block in range(num_res_blocks):
            res(f"input_blocks.{place}.0", f"down_blocks.{level}.resnets.{block}")
            if level in attended:
                attention[f"input_blocks.{place}.1"] = f"down_blocks.{level}.attentions.{block}"
            place += 1
        if level < levels - 1:
            layers[f"input_blocks.{place}.0"] = f"down_blocks.{level}.downsamplers.0.conv"
            place += 1
    res("middle_block.0", "mid_block.resnets.0")
    attention["middle_block.1"] = "mid_block.attentions.0"
    res("middle_block.2", "mid_block.resnets.1")
    place = 0
    for up, level in enumerate(reversed(range(levels))):
        for block in range(num_res_blocks + 1):
            res(f"output_blocks.{place}.0", f"up_blocks.{up}.resnets.{block}")
            if level in attended:
                attention[f"output_blocks.{place}.1"] = f"up_blocks.{up}.attentions.{block}"
            if level > 0 and block == num_res_blocks:
                layers[f"output_blocks.{place}.{1 + (level in attended)}"] = f"up_blocks.{up}.upsamplers.0.conv"
            place += 1
    return layers, attention


def to_diffusers(states, layers, attention):
    """我们的 U-Net 的 state_dict → diffusers 的；我们的 q、k、v 是一个 1×1 卷积，对方是三个全连接层"""
    found = {}
    for ours, theirs in layers.items():
        found |= {f"{theirs}.{part}": states[f"{ours}.{part}"] for part in ("weight", "bias") if f"{ours}.{part}" in states}
    for ours, theirs in attention.items():
        for part in ("weight", "bias"):
            found[f"{theirs}.group_norm.{part}"] = states[f"{ours}.norm.{part}"]
            thirds = states[f"{ours}.qkv.{part}"].chunk(3)
            for name, value in zip(("to_q", "to_k", "to_v", "to_out.0"), (*thirds, states[f"{ours}.proj_out.{part}"])):
                found[f"{theirs}.{name}.{part}"] = value.flatten(1) if part == "weight" else value
    return {key: value.contiguous() for key, value in found.items()}


def from_diffusers(states, layers, attention, sin_first):
    """diffusers 的 state_dict → 我们的；认得早年的名字

    sin_first : 对方的时间嵌入是不是 sin 在前（flip_sin_to_cos=False）；我们的 cos 在前，第一层的列要对调
    返回      : (我们的 state_dict，缺的键不在里面；没有用上的那些)
    """
    states = dict(states)

    def take(key, *others):
        return next((states.pop(name) for name in (key, *others) if name in states), None)

    found = {}
    for part in ("weight", "bias"):
        for ours, theirs in layers.items():
            found[f"{ours}.{part}"] = take(f"{theirs}.{part}")
        for ours, theirs in attention.items():
            found[f"{ours}.norm.{part}"] = take(f"{theirs}.group_norm.{part}")
            *thirds, out = (take(f"{theirs}.{new}.{part}", f"{theirs}.{old}.{part}") for new, old in OLD_NAMES.items())
            found[f"{ours}.qkv.{part}"] = None if any(third is None for third in thirds) else torch.cat(thirds)
            found[f"{ours}.proj_out.{part}"] = out
    # 没有旁路卷积的块，两边都没有那两个键
    found = {key: value for key, value in found.items() if value is not None}
    for key in found:
        if key.endswith(("qkv.weight", "proj_out.weight")):
            found[key] = found[key][..., None, None]
    if sin_first and "time_embed.0.weight" in found:
        found["time_embed.0.weight"] = torch.cat(found["time_embed.0.weight"].chunk(2, 1)[::-1], 1)
    return found, states
