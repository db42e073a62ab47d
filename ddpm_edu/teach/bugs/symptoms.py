"""把症状量出来：画一排样本，量一步的损失，看影子怎样跟着权重走"""
import numpy as np
import torch
from torch import nn

from ...ema import LitEma
from .training import validate

LABELS = torch.arange(10)


def draw(model):
    """数字 0 到 9 各一张，DDIM 走 20 步；起始的噪声每次相同"""
    return model.sample(10, cond=LABELS, sampler="ddim", steps=20, generator=torch.Generator().manual_seed(0), progress=False)


@torch.no_grad()
def loss_at(model, t):
    """二十张数字在第 t 步的损失；数字是随包的模型画的，噪声固定"""
    from ..datasets import drawn_by

    images = drawn_by("mnist")[:20]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    return model.p_losses(images, torch.full((20,), t), noise, cond=LABELS.repeat(2))[0].item()


def gaps(network, model, images, shared=False, times=40):
    """验证的损失，network 减 model，比 times 次；shared 为真时，每一次两边用同一份 level 与噪声"""
    def measured(net, seed):
        if shared:
            torch.manual_seed(seed)
        return validate(net, images)

    return np.array([measured(network, seed) - measured(model, seed) for seed in range(times)])


def expected_gap(model, images, shift):
    """偏置多 shift 的网络，验证的损失平均高多少（对所有的 level 与噪声求期望）；model 是一层卷积

    展开 (f + shift - 噪声)²：f 是线性的，带噪的图里 √(1-level) 平均是 2/3
    """
    return 2 * shift * model(images * 2 / 3).mean().item() + shift**2


def follow(train):
    """用 train 训练一个只有一个权重的网络：300 批，每 10 批更新一次权重，影子的衰减 0.9

    返回 (权重, 影子, 应有的影子, 走完的比例)：前三个各 300 个数，在取每一批之前记下；最后一个是每次更新之后影子走完两者之差的几成
    """
    torch.manual_seed(0)
    model = nn.Linear(1, 1, bias=False)
    ema, seen = LitEma(model, decay=0.9, use_num_updates=False), []

    def batches():
        for _ in range(300):
            seen.append((model.weight.item(), ema.shadow["weight"].item()))
            yield torch.full((1, 1), 2.0), torch.randn(1, 1) * 3

    train(model, ema, batches(), accumulate=10)
    weights, shadows = np.array(seen).T
    ideal = [shadows[0]] * 10
    for weight in weights[10::10]:
        ideal += [0.9 * ideal[-1] + 0.1 * weight] * 10
    # 第 10、20、… 批更新权重：更新之前的影子，下一次更新之前的影子，更新之后的权重
    before, after, target = shadows[9:-10:10], shadows[19::10], weights[10::10]
    return weights, shadows, np.array(ideal), (after - before) / (target - before)


def shadow_after(make_ema, dtype, decay=0.999, updates=3000):
    """权重从 1 跳到 bfloat16 的下一格 1.0078，影子更新 updates 次之后的值"""
    model = nn.Linear(1, 1, bias=False).to(dtype)
    nn.init.ones_(model.weight)
    ema = make_ema(model, decay)
    nn.init.constant_(model.weight, 1 + 2**-7)
    for _ in range(updates):
        ema(model)
    return ema.shadow["weight"].item()
