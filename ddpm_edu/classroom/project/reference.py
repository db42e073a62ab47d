"""参考解：第 T-1 步留给一步成图，用能量距离练；别的步照常预测 v，用 DPM-Solver++(2M) 走；只给教师看"""
import math

import torch

T = 1000
RENOISE = {2: 280, 4: 550, 8: 850}  # 一步成图之后，加噪到第几步再往下走


def betas(timesteps=T):
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


ALPHA_BAR = torch.cumprod(1 - betas(), 0)
LAMBDA = 0.5 * torch.log(ALPHA_BAR / (1 - ALPHA_BAR))


def levels(t, x):
    """√ᾱ_t 与 √(1-ᾱ_t)，形状 (B, 1, 1, 1)"""
    a = ALPHA_BAR[t].to(x.dtype).reshape(-1, 1, 1, 1)
    return a.sqrt(), (1 - a).sqrt()


def distances(x, y):
    return torch.cdist(x.flatten(1), y.flatten(1))


def loss(network, x_start, generator):
    B = len(x_start)
    # 一批之内的 t 均匀铺开，损失的方差小；最后一步不在内
    t = ((torch.arange(B) + torch.rand(B, generator=generator)) / B * (T - 1)).long()
    noise, start = (torch.randn(x_start.shape, generator=generator) for _ in range(2))
    signal, sigma = levels(t, x_start)
    out = network(torch.cat([signal * x_start + sigma * noise, start]), torch.cat([t, torch.full((B,), T - 1)]))
    simple = (out[:B] - (signal * noise - sigma * x_start)).square().mean()
    # 能量距离：画的与真的之间，减去画的彼此之间；两个分布相同时最小
    drawn = -out[B:]
    energy = 2 * distances(drawn, x_start).mean() - distances(drawn, drawn).sum() / (B * (B - 1))
    return simple + 0.1 * energy


def sample(network, shape, calls, generator):
    noise = torch.randn(shape, generator=generator)
    drawn = -network(noise, torch.full((shape[0],), T - 1)).clamp(-1, 1)
    if calls == 1:
        return drawn
    times = [round(RENOISE[calls] * (calls - 1 - i) / (calls - 1)) for i in range(calls - 1)]
    start = torch.full((shape[0],), times[0])
    signal, sigma = levels(start, drawn)
    return walk(network, signal * drawn + sigma * torch.randn(shape, generator=generator), times)


def walk(network, x, times):
    """DPM-Solver++(2M)：在 times 各步调用一次网络，走到 x₀"""
    earlier = None
    for i, t in enumerate(times):
        step = torch.full((len(x),), t)
        signal, sigma = levels(step, x)
        x0_hat = (signal * x - sigma * network(x, step)).clamp(-1, 1)
        if i == len(times) - 1:
            return x0_hat
        s = times[i + 1]
        guess = x0_hat
        if earlier is not None:
            guess = x0_hat + float((LAMBDA[s] - LAMBDA[t]) / (2 * (LAMBDA[t] - LAMBDA[times[i - 1]]))) * (x0_hat - earlier)
        shrink = float(((1 - ALPHA_BAR[s]) / (1 - ALPHA_BAR[t])).sqrt())
        x = shrink * x - float(ALPHA_BAR[s].sqrt() * torch.expm1(LAMBDA[t] - LAMBDA[s])) * guess
        earlier = x0_hat
