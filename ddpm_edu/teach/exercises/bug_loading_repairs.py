"""第 16 章里装载与配置的修复题"""
import copy

import torch

from . import Code, Mistake

PREFIX = "model.diffusion_model."


def unet_state(state):
    found = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    if not found:
        raise ValueError(f"没有以 {PREFIX} 开头的键")
    return found


def state_cases():
    full = {
        PREFIX + "middle.weight": torch.tensor([1.0]), PREFIX + "out.weight": torch.tensor([2.0]),
        "model_ema.shadow.out.weight": torch.tensor([3.0]), "betas": torch.tensor([4.0]),
    }
    return [(full,), ({"betas": torch.tensor([4.0]), "model.out.weight": torch.tensor([5.0])},)]


def choosing(cut, keep=lambda key: key.startswith(PREFIX), needed=True):
    def function(state):
        found = {cut(key): value for key, value in state.items() if keep(key)}
        if needed and not found:
            raise ValueError
        return found

    return function


def read_config(config):
    params = dict(config.get("params", {}))
    key = params.pop("conditioning_key", None)
    return config["target"], key, params


def config_cases():
    return [
        ({"target": "ddpm_edu.UNet", "params": {"in_channels": 1, "conditioning_key": "adm"}},),
        ({"target": "ddpm_edu.UNet", "params": {"in_channels": 3}},),
        ({"target": "torch.nn.Identity"},),
    ]


def popping_target(config):
    target = config.pop("target")
    return target, *read_config({"target": target, **config})[1:]


def popping_params(config):
    params = config.get("params", {})
    return config["target"], params.pop("conditioning_key", None), params


def needing_params(config):
    params = copy.deepcopy(config["params"])
    return config["target"], params.pop("conditioning_key", None), params


def leaving_key(config):
    params = dict(config.get("params", {}))
    return config["target"], params.get("conditioning_key"), params


def needing_key(config):
    params = dict(config.get("params", {}))
    return config["target"], params.pop("conditioning_key"), params


LOADING = (
    Code("16.19b", 2, "修好：只要 U-Net", unet_state, state_cases, (
        Mistake("lstrip 去掉的是一组字符，不是一个前缀：middle. 也被它吃掉了。用 removeprefix。", choosing(lambda key: key.lstrip(PREFIX))),
        Mistake("别的键也混进来了：只要以这个前缀开头的，EMA 与噪声表不属于 U-Net。", choosing(lambda key: key.removeprefix(PREFIX), lambda key: True)),
        Mistake("前缀没有去掉，网络里的名字不带它，一个也对不上。", choosing(lambda key: key)),
        Mistake("只去掉了 model.，还剩 diffusion_model.。", choosing(lambda key: key.removeprefix("model."))),
        Mistake("一个键也没找到时要 raise ValueError：什么也没装却不出声，正是这个病例的病根。",
                choosing(lambda key: key.removeprefix(PREFIX), needed=False)),
    ), "再配上 strict=True，装不上就会当场报错。"),
    Code("16.22b", 1, "修好：只读不写", read_config, config_cases, (
        Mistake("pop 改动了调用者的字典，第二次就找不到 target 了；读取用 config[\"target\"]。", popping_target),
        Mistake("外层没有动，里层动了：params 也是调用者的，先复制一份再 pop。只做浅复制、仍用里层的 params，也是这样。", popping_params),
        Mistake("params 可以不写，那时是空字典。", needing_params),
        Mistake("conditioning_key 取出来之后，还留在 params 里；类的构造函数不认得它。", leaving_key),
        Mistake("conditioning_key 可以不写，那时是 None。", needing_key),
    ), "同一份配置用多少次都一样。"),
)
