"""诚实而弱的解：损失与朴素的解相同，采样照祖先采样均匀取步；只给教师看"""
import math

import torch

T = 1000


def betas(timesteps=T):
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


ALPHA_BAR = torch.cumprod(1 - betas(), 0)


def loss(network, x_start, generator):
    t = torch.randint(T, (len(x_start),), generator=generator)
    noise = torch.randn(x_start.shape, generator=generator)
    a = ALPHA_BAR[t].float().reshape(-1, 1, 1, 1)
    v_hat = network(a.sqrt() * x_start + (1 - a).sqrt() * noise, t)
    return (v_hat - (a.sqrt() * noise - (1 - a).sqrt() * x_start)).square().mean()


def sample(network, shape, calls, generator):
    x = torch.randn(shape, generator=generator)
    times = torch.linspace(T - 1, 0, calls).round().long().tolist()
    for t, s in zip(times, [*times[1:], None]):
        now, after = float(ALPHA_BAR[t]), 1.0 if s is None else float(ALPHA_BAR[s])
        x0_hat = (now**0.5 * x - (1 - now) ** 0.5 * network(x, torch.full((shape[0],), t))).clamp(-1, 1)
        beta = 1 - now / after
        mean = after**0.5 * beta / (1 - now) * x0_hat + (1 - beta) ** 0.5 * (1 - after) / (1 - now) * x
        x = mean + (beta * (1 - after) / (1 - now)) ** 0.5 * torch.randn(shape, generator=generator)
    return x.clamp(-1, 1)
