"""十二个病例里分得开的那个试验。折起来的答案展示并运行它们；函数体照抄到第 16 章的一格里就能跑，用到的名字第一格都有"""
import contextlib
import copy
import functools
import inspect
import io
import textwrap

import numpy as np
import torch
from torch import nn

from ...ema import LitEma
from ...gaussian import diffusion_tables
from ...pretrained import load_pretrained
from ...schedules import make_beta_schedule
from ..laboratory import chain_moments
from .formulas import clip_start, make_betas, predict_start, training_target
from .hunts import case_four
from .loading import ConditionalDenoiser
from .symptoms import gaps, shadow_after
from .training import CastingEma, ema_scope, linear_multiplier, train

betas = make_beta_schedule("linear", 1000)
bar = np.cumprod(1 - betas)


def trial_1():
    mean, variance = chain_moments(make_betas(50), mean=0.3, std=0.5, v=0.5)
    print(f"50 步的链：均值 {mean:.3f}，应为 0.300；方差 {variance:.3f}，应为 0.250")


def trial_2():
    x_start, noise, a = torch.tensor(0.5), torch.tensor(1.0), 0.36
    x_t = a**0.5 * x_start + (1 - a) ** 0.5 * noise
    for name in ("eps", "x0", "v"):
        exact = training_target(name, x_start, noise, a)
        print(f"{name}：喂进标准答案 {exact:.2f}，换回 {predict_start(name, exact, x_t, a):.2f}，应为 0.50")


def trial_3():
    once = torch.tensor(1 - bar).half().double().numpy()
    worst = np.abs(once / (1 - bar) - 1).max()
    print(f"先减后存：第 0 步 {once[0]:.2e}，一千步里相对误差最大 {worst:.2%}")


def trial_4():
    def gap(left, right):
        return max((a - b).abs().max().item() for a, b in zip(left, right))

    right = load_pretrained("mnist")
    for name, model in zip(("第一段", "第二段", "第三段"), case_four()):
        network = gap(model.model.parameters(), right.model.parameters())
        shadow = gap(model.model_ema.shadow.values(), right.model_ema.shadow.values())
        table = gap([model.betas], [right.betas])
        print(f"{name}：网络差 {network:.1f}，影子差 {shadow:.1f}，表差 {table:.2f}")


def trial_5():
    denoiser, x, c = ConditionalDenoiser(), torch.randn(6, 4), torch.arange(6)
    denoiser.loss(x, torch.randn(6, 4), c).backward()
    print("照原来的损失，嵌入的梯度：", denoiser.embed.weight.grad)
    denoiser(x, c).square().mean().backward()
    print("把类别直接交给网络，梯度的形状：", tuple(denoiser.embed.weight.grad.shape))


def trial_6():
    torch.manual_seed(0)
    model, images = nn.Conv2d(1, 1, 3, padding=1), torch.rand(8, 1, 8, 8) * 2 - 1
    worse = copy.deepcopy(model)
    nn.init.constant_(worse.bias, model.bias.item() + 0.1)
    free, shared = gaps(worse, model, images, times=1000), gaps(worse, model, images, shared=True, times=1000)
    ratio = free.var() / shared.var()
    print(f"同一份噪声：比 1000 次，差平均 {shared.mean():.4f} ± {shared.std() / 1000**0.5:.4f}，标准差 {shared.std():.3f}")
    print(f"各抽各的：标准差 {free.std():.2f}；要量约 {round(ratio, -2):.0f} 次再平均，才一样准")


def trial_7():
    from torch.optim.optimizer import register_optimizer_step_post_hook

    updates, model = [], nn.Linear(1, 1)
    ema = LitEma(model)
    hook = register_optimizer_step_post_hook(lambda *_: updates.append(1))
    train(model, ema, [(torch.ones(1, 1), torch.ones(1, 1))] * 300, accumulate=10)
    hook.remove()
    print(f"300 批：权重更新了 {len(updates)} 次，影子更新了 {int(ema.num_updates)} 次")


def trial_8():
    for dtype in (torch.float32, torch.bfloat16):
        shadow = shadow_after(CastingEma, dtype, decay=0.0, updates=1)
        print(f"衰减取 0，更新一次，{dtype}：影子 {shadow:.4f}，应为 1.0078")


def trial_9():
    for n in (100, 1100):
        value = linear_multiplier(n, warm_up=100, length=1000, start=0.0, low=0.0, high=1.0)
        print(f"第 {n} 步：{value:.3f}；从第 0 步起算的直线 {1 - n / 1000:.3f}")


def trial_10():
    weights, shadow, backup = {"w": torch.tensor(1.0)}, {"w": torch.tensor(5.0)}, {}
    with ema_scope(weights, shadow, backup):
        print(f"外层进来：备份 {backup['w']:.0f}，权重 {weights['w']:.0f}")
        with ema_scope(weights, shadow, backup):
            print(f"里层进来：备份 {backup['w']:.0f}，权重 {weights['w']:.0f}")
    print(f"都离开了：备份 {backup['w']:.0f}，权重 {weights['w']:.0f}")


def trial_11():
    tables = diffusion_tables(betas)
    right = tables["posterior_mean_coef1"][1:] ** 2 / (2 * tables["posterior_variance"][1:])
    bracketed = (0.5 * np.sqrt(bar) / (2 * (1 - bar)))[1:]
    for t in (1, 10, 100, 999):
        print(f"t={t}：补上括号之后，与正确值之比 {bracketed[t - 1] / right[t - 1]:.2g}")


def trial_12():
    model_out = torch.tensor([-3.0, 0.5, 2.0])
    print("是同一个张量：", clip_start(model_out) is model_out)


@functools.cache
def trial(number):
    """病例 number（"16.1" 到 "16.12"）的试验：(代码, 运行它印出的字)；全局的随机数不受影响"""
    function = globals()[f"trial_{number.removeprefix('16.')}"]
    code = textwrap.dedent(inspect.getsource(function).partition("\n")[2]).strip()
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(io.StringIO()) as printed:
        torch.manual_seed(0)
        function()
    return code, printed.getvalue().strip()
