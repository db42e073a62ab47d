"""朴素的解：余弦表，预测 v，DPM-Solver++(2M)；只给教师看"""
import math

import torch

T = 1000


def betas(timesteps=T):
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


ALPHA_BAR = torch.cumprod(1 - betas(), 0)


def levels(t, x):
    """√ᾱ_t 与 √(1-ᾱ_t)，形状 (B, 1, 1, 1)"""
    a = ALPHA_BAR[t].to(x.dtype).reshape(-1, 1, 1, 1)
    return a.sqrt(), (1 - a).sqrt()


def loss(network, x_start, generator):
    B = len(x_start)
    # 一批之内的 t 均匀铺开，损失的方差小
    u = (torch.arange(B) + torch.rand(B, generator=generator)) / B
    t = (u * T).long().clamp(max=T - 1)
    noise = torch.randn(x_start.shape, generator=generator)
    signal, sigma = levels(t, x_start)
    v_hat = network(signal * x_start + sigma * noise, t)
    return (v_hat - (signal * noise - sigma * x_start)).square().mean()


def sample(network, shape, calls, generator):
    x = torch.randn(shape, generator=generator)
    times = [round(T * (calls - i) / calls) - 1 for i in range(calls)]
    earlier = None
    for i, t in enumerate(times):
        step = torch.full((shape[0],), t)
        signal, sigma = levels(step, x)
        x0_hat = (signal * x - sigma * network(x, step)).clamp(-1, 1)
        if i == calls - 1:
            return x0_hat
        here, there = ALPHA_BAR[t], ALPHA_BAR[times[i + 1]]
        lam = [0.5 * torch.log(a / (1 - a)) for a in (here, there)]
        guess = x0_hat
        if earlier is not None:
            before = 0.5 * torch.log(ALPHA_BAR[times[i - 1]] / (1 - ALPHA_BAR[times[i - 1]]))
            ratio = (lam[1] - lam[0]) / (2 * (lam[0] - before))
            guess = x0_hat + float(ratio) * (x0_hat - earlier)
        shrink = float(((1 - there) / (1 - here)).sqrt())
        x = shrink * x - float(there.sqrt() * torch.expm1(lam[0] - lam[1])) * guess
        earlier = x0_hat
