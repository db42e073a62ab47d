"""第 16 章里装载与条件的修复题"""
import torch
import torch.nn.functional as F

from ..bugs.loading import ConditionalDenoiser
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
        "ema." + PREFIX + "out.weight": torch.tensor([3.0]), "betas": torch.tensor([4.0]),
    }
    return [(full,), ({"betas": torch.tensor([4.0]), "model.out.weight": torch.tensor([5.0])},)]


def choosing(cut, keep=lambda key: key.startswith(PREFIX), needed=True):
    def function(state):
        found = {cut(key): value for key, value in state.items() if keep(key)}
        if needed and not found:
            raise ValueError
        return found

    return function


def denoising_loss(given=lambda c: c, target="noise", signal=0.6, spread=0.8):
    """照类别算的损失；参数是几种写错的办法"""
    def function(denoise, x_start, noise, c):
        out = denoise(signal * x_start + spread * noise, given(c))
        return F.mse_loss(out, noise if target == "noise" else x_start)

    return function


def loss_cases():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, x_start, noise = ConditionalDenoiser(), torch.randn(6, 4), torch.randn(6, 4)
        torch.nn.init.normal_(network.embed.weight)
    return [(network, x_start.clone(), noise.clone(), c) for c in (torch.arange(6), torch.full((6,), 9), None)]


LOADING = (
    Code("16.4b", 2, "动手修", unet_state, state_cases, (
        Mistake("影子的键 ema.model.diffusion_model.… 里也有这一串字，去掉之后与原权重同名，把它盖掉了。用 startswith 判断。",
                choosing(lambda key: key.split(PREFIX)[-1], lambda key: PREFIX in key)),
        Mistake("影子的键 ema.model.diffusion_model.… 里也有这一串字，被你一起取来了。用 startswith 判断，不用 in。",
                choosing(lambda key: key.removeprefix(PREFIX), lambda key: PREFIX in key)),
        Mistake("lstrip 去掉的是一组字符，不是一个前缀：middle. 也被它吃掉了。用 removeprefix。", choosing(lambda key: key.lstrip(PREFIX))),
        Mistake("别的键也混进来了：只要以这个前缀开头的，EMA 与噪声表不属于 U-Net。", choosing(lambda key: key.removeprefix(PREFIX), lambda key: True)),
        Mistake("前缀没有去掉，网络里的名字不带它，一个也对不上。", choosing(lambda key: key)),
        Mistake("只去掉了 model.，还剩 diffusion_model.。", choosing(lambda key: key.removeprefix("model."))),
        Mistake("一个键也没找到时要 raise ValueError：什么也没装却不出声，正是这个病例的病根。",
                choosing(lambda key: key.removeprefix(PREFIX), needed=False)),
    ), "再配上 strict=True，装不上就会当场报错。"),
    Code("16.5b", 1, "动手修", denoising_loss(), loss_cases, (
        Mistake("类别还是没有交给网络：c 收下了，就要传下去。", denoising_loss(lambda c: None)),
        Mistake("类别交了，比较的对象却成了原图；网络猜的是噪声。", denoising_loss(target="x_start")),
        Mistake("两个系数反了：0.6 乘原图，0.8 乘噪声。", denoising_loss(signal=0.8, spread=0.6)),
        Mistake("每个样本都用了第一个样本的类别；c 是整批的，原样传下去。", denoising_loss(lambda c: None if c is None else c[:1].expand(len(c)))),
    ), "类别进了网络，嵌入就有了梯度。"),
)
