"""第 9 章的习题：构造函数"""
import torch
from torch import nn

from . import Choice, Code, Mistake, Number


def add_table(module, name, values):
    module.register_buffer(name, values)
    return module


def adding(action):
    def function(module, name, values):
        action(module, name, values)
        return module

    return function


def table_cases():
    return [(nn.Module(), name, torch.tensor(values)) for name, values in (("betas", [0.1, 0.2]), ("weights", [1.0, 2.0, 3.0]))]


def inventory(module):
    """模块里有什么：检查点里的键、优化器会更新的键、会搬家的键"""
    parameters = [name for name, _ in module.named_parameters()]
    moving = parameters + [name for name, _ in module.named_buffers()]
    return {"检查点里的键": list(module.state_dict()), "优化器会更新的键": parameters, "会搬家的键": moving}


def mismatches(module, state, optional):
    return matching()(module, state, optional)


def matching(allowed=str.startswith, extra=False, swap=False, strict=False):
    """改动一处，得到一种错的写法；allowed 判一个缺的键可不可以缺，extra 为真时多的键也照它放过"""
    def function(module, state, optional):
        found = module.load_state_dict(state, strict=strict)
        missing, unexpected = ([key for key in keys if not allowed(key, optional)] for keys in (found.missing_keys, found.unexpected_keys))
        pair = sorted(missing), sorted(unexpected if extra else found.unexpected_keys)
        return pair[::-1] if swap else pair

    return function


def loading_cases():
    """少了偏置与两张表，多了一张名字相近的；样样都在，只多一个"""
    def module():
        one = nn.Module()
        one.model = nn.Linear(2, 2)
        for name in ("half_betas", "betas", "logvar"):
            one.register_buffer(name, torch.zeros(3))
        return one

    short = {"model.weight": torch.ones(2, 2), "logvar": torch.ones(3), "betas_old": torch.ones(3), "alphas": torch.ones(3)}
    full = {key: torch.zeros_like(value) for key, value in module().state_dict().items()}
    return [(module(), short, ("betas", "alphas")), (module(), {**full, "scale": torch.ones(1)}, ())]


def unet_weights(state_dict):
    return {key.removeprefix("model."): value for key, value in state_dict.items() if key.startswith("model.")}


def state_cases():
    keys = ("betas", "logvar", "model.diffusion_model.time_embed.0.weight", "model.diffusion_model.out.2.bias", "model_ema.num_updates",
            "model_ema.shadow.diffusion_model/out/2/bias", "first_stage_model.decoder.weight")
    return [({key: torch.tensor([float(i)]) for i, key in enumerate(keys)},)]


def picking(keep, rename):
    return lambda state_dict: {rename(key): value for key, value in state_dict.items() if keep(key)}


def is_unet(key):
    return key.startswith("model.")


EXERCISES = (
    Code("09.1", 1, "登记一张表", add_table, table_cases, (
        Mistake("你存成了普通属性：不进检查点，也不跟着模型搬家。用 register_buffer。", adding(setattr)),
        Mistake("你注册成了参数，优化器会去更新它；噪声表不该被训练。", adding(lambda m, name, values: m.register_parameter(name, nn.Parameter(values)))),
        Mistake("persistent=False 的缓冲区会搬家，但不进检查点；题目要求能存下来。",
                adding(lambda m, name, values: m.register_buffer(name, values, persistent=False))),
        Mistake('你写了带引号的 "name"，表就真的叫 name 了；去掉引号，用传进来的名字。', adding(lambda m, name, values: m.register_buffer("name", values))),
    ), "要存、要搬家、不更新，就是缓冲区。", observe=inventory),
    Code("09.2", 2, "对不上的键", mismatches, loading_cases, (
        Mistake("两个列表的次序反了：先是缺的，再是多的。", matching(swap=True)),
        Mistake("optional 没有用上：能重新算出的，缺了不算。", matching(allowed=lambda key, optional: False)),
        Mistake('你用了 in：名字中间有 "betas" 的也放过了。要的是以它开头，用 startswith。',
                matching(allowed=lambda key, optional: any(prefix in key for prefix in optional))),
        Mistake("多的键也照 optional 放过了；文件里多出来的，说明它不是这个模型存的，一个也不能放过。", matching(extra=True)),
        Mistake("留下的与放过的反了：以 optional 开头的才可以缺。", matching(allowed=lambda key, optional: not key.startswith(optional))),
        Mistake("strict=True 一对不上就抛异常，拿不到这两个列表；题目要 strict=False。", matching(strict=True)),
    ), "课程版的 init_from_ckpt 也这样分：能重新算出的可以缺，其余对不上的都是错误。", "load_state_dict 返回的对象有 missing_keys 与 unexpected_keys。"),
    Code("09.3", 3, "只取网络的权重", unet_weights, state_cases, (
        Mistake("前缀没有去掉：网络自己的键从 diffusion_model. 开始，一个也对不上。参考实现错在同一处，又用了 strict=False，所以一声不响。",
                picking(is_unet, lambda key: key)),
        Mistake('"model_ema.…" 也以 "model" 开头，你把 EMA 的影子一起取来了；前缀要带上那个点。',
                picking(lambda key: key.startswith("model"), lambda key: key.removeprefix("model."))),
        Mistake('replace 会换掉每一处 "model."，连 "diffusion_model." 里的也换了。只去开头的，用 removeprefix。',
                picking(is_unet, lambda key: key.replace("model.", ""))),
        Mistake('lstrip("model.") 去掉的是开头属于这几个字母的所有字符，"diffusion" 的 d 也没了。去前缀用 removeprefix。',
                picking(is_unet, lambda key: key.lstrip("model."))),  # noqa: B005
        Mistake('用 in 判断，"first_stage_model.…" 也中了：它的中间有 "model."。要的是以它开头，用 startswith。',
                picking(lambda key: "model." in key, lambda key: key.removeprefix("model."))),
        Mistake("去得太多：连 diffusion_model. 也去掉了。接收它的是 model.model，那是 DiffusionWrapper，里面还有一层 diffusion_model。",
                picking(is_unet, lambda key: key.removeprefix("model.diffusion_model."))),
    ), "现在 model.model.load_state_dict(…) 不用 strict=False 也装得进去。"),
    Number("09.4", 2, "几种次序都可以", 6, {
        120: "这是全部的次序；三条先后还一条也没有算进去。",
        24: "24 种只要求载入在最后；前两条先后还没有算进去。",
        12: "前两条先后还少算了一条：logvar 要在噪声表之后，EMA 也要在网络之后。",
        30: "30 种只管了前两条先后；载入还要在最后。",
        2: "只数了一条链整段在先的两种；两条链还可以交错着造。",
    }, "载入在最后；前面四样有 24 种排法，噪声表与 logvar、网络与 EMA 各有一个先后，除以 2 再除以 2，剩 6 种。", "先把载入放在最后，再看前面四样有几种排法。"),
    Choice("09.5", 3, "影子从哪里来", "D", {
        "A": "EMA 的影子是构造时复制的一份，之后载入网络的权重，影子不会跟着变。",
        "B": "没有报错，才最麻烦：文件里没有 EMA 的键，strict=False 就放过去了。",
        "C": "影子确实会慢慢追上，但要经过训练；此刻一步也没有走。",
    }, "影子复制的是随机的初值，采样用的就是它，出来的是噪声。所以取完权重，要让影子从取到的权重重新开始，`init_from_ckpt` 的最后一步就是它。"),
)
