"""第 1 章的月牙，换八个种子从头练：python -m benchmarks.from_scratch [--ways 练法 ...] [--seeds 8] [--out moons.json]

网络、数据、训练与采样都照第 1 章；练法只差送进网络的是什么。量三样：
造错；损失与它高出最低处的那一点，在没有见过的点上；前一种练法，再让网络只管一部分，其余交给最好的猜测
"""
import argparse
import math
from functools import partial

import torch
from torch import nn

from ddpm_edu.teach.moons import arcs, astray, exact_denoiser, moons, watershed
from ddpm_edu.teach.training import descend

from .runs import by_name, train_all

T = 1000
ALPHA_BAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T), dim=0)
EXACT, RIDGE = exact_denoiser(ALPHA_BAR), watershed(ALPHA_BAR)
# 练法：正弦、余弦给谁加
WAYS = {"坐标与 t": (True, True), "只给坐标": (True, False), "都不加": (False, False)}
PLACES = (30, 900, 980)


def ridge(x, t):
    """分水岭一带：离两弯的距离相差不到 0.6"""
    return RIDGE(x, t).abs() < 0.6


# 网络管哪里，其余归最好的猜测
RULES = {
    "哪里也不管": lambda x, t: t < 0,
    "t≥300": lambda x, t: t >= 300,
    "150≤t<300": lambda x, t: (150 <= t) & (t < 300),
    "t<150": lambda x, t: t < 150,
    "t<150，分水岭一带": lambda x, t: (t < 150) & ridge(x, t),
    "t<150，其余": lambda x, t: (t < 150) & ~ridge(x, t),
    "除去 t<150 的分水岭一带": lambda x, t: (t >= 150) | ~ridge(x, t),
}


def mixed(network, mine, x, t):
    """mine 说网络管哪里，其余交给最好的猜测"""
    return torch.where(mine(x, t)[:, None], network(x, t), EXACT(x, t))


class Denoiser(nn.Module):
    """第 1 章的网络；place、step 说坐标与 t 要不要加正弦、余弦，没有加的 t 送 t/T"""

    def __init__(self, place, step, width=96):
        super().__init__()
        self.place, self.step = place, step
        layers = [nn.Linear(2 + 16 * place + (10 if step else 1), width), nn.SiLU()]
        for _ in range(2):
            layers += [nn.Linear(width, width), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, x, t):
        angles = [(x[:, :, None] * 2 ** torch.arange(4)).flatten(1)] if self.place else []
        angles += [t[:, None] / T * math.pi * 2 ** torch.arange(5)] if self.step else []
        plain = [x] if self.step else [x, t[:, None] / T]
        waves = [torch.cat(angles, 1).sin(), torch.cat(angles, 1).cos()] if angles else []
        return self.net(torch.cat([*plain, *waves], 1))


def train(way, seed, steps):
    data = moons(4000, seed=0)[0]
    torch.manual_seed(seed)
    network = Denoiser(*WAYS[way])

    def loss_of():
        x0 = data[torch.randint(len(data), (512,))]
        t, noise = torch.randint(T, (512,)), torch.randn(512, 2)
        return (network(add_noise(x0, t, noise), t) - noise).square().mean()

    return descend(network, loss_of, steps)


def add_noise(x0, t, noise):
    a = ALPHA_BAR[t][:, None]
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


@torch.no_grad()
def sample(model, n, count, seed=0):
    """祖先采样，最后一步退到底"""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator)
    times = torch.linspace(T - 1, 0, count).round().int().tolist()
    for t, s in zip(times, [*times[1:], None]):
        now, after = ALPHA_BAR[t], torch.tensor(1.0) if s is None else ALPHA_BAR[s]
        noise_hat = model(x, torch.full((n,), t))
        x0_hat = (x - (1 - now).sqrt() * noise_hat) / now.sqrt()
        var = (1 - now / after) * (1 - after) / (1 - now)
        x = after.sqrt() * x0_hat + (1 - after - var).sqrt() * noise_hat + var.sqrt() * torch.randn(n, 2, generator=generator)
    return x


@torch.no_grad()
def errors(network, points=2000):
    """没有见过的点上：损失，高出最低处的那一点，它来自哪些 t；PLACES 几处离最好的猜测多远；t=30 的差有几成在分水岭一带"""
    each, generator = max(points // 50, 1), torch.Generator().manual_seed(0)
    t, noise = torch.arange(T).repeat(each), torch.randn(each * T, 2, generator=generator)
    x = add_noise(moons(each * T, seed=9)[0], t, noise)
    guess = network(x, t)
    gap = (guess - EXACT(x, t)).square().mean(1)
    found = {"loss": float((guess - noise).square().mean()), "excess": float(gap.mean()),
             "20–149": float(gap[(20 <= t) & (t < 150)].sum() / gap.sum())}
    for place in PLACES:
        steps = torch.full((5 * points,), place)
        x = add_noise(moons(5 * points, seed=8)[0], steps, torch.randn(5 * points, 2, generator=generator))
        gap = (network(x, steps) - EXACT(x, steps)).square().mean(1)
        found[f"t={place}"] = float(gap.mean())
        if place == PLACES[0]:
            near = ridge(x, steps)
            found |= {"ridge_points": float(near.double().mean()), "ridge_share": float(gap[near].sum() / gap.sum())}
    return found


def wrong(model, n, held_out, seed):
    """走一百步造 n 个点，造错的比例；seed 是采样的种子"""
    return float(astray(sample(model, n, 100, seed), held_out).double().mean())


def averaged(values):
    """平均 ± 标准误；只有一个数时没有标准误"""
    values = torch.tensor(values, dtype=torch.double)
    return f"{values.mean():.5f}" + (f" ± {values.std() / len(values)**0.5:.5f}" if len(values) > 1 else "")


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.from_scratch", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="练法")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3000, help="训练几步")
    parser.add_argument("--points", type=int, default=2000, help="每个种子造几个点")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    held_out = moons(4000, seed=1)[0]

    def once(way, seed):
        network = train(way, seed, options.steps)
        found = {"wrong": wrong(network, options.points, held_out, seed), **errors(network, options.points)}
        for name, mine in RULES.items() if way == next(iter(WAYS)) else ():
            shared = partial(mixed, network, mine)
            found[name] = wrong(shared, options.points, held_out, seed)
        return found

    about = {"steps": options.steps, "points": options.points}
    for way, each in by_name(train_all(parser, options.out, about, options.ways, options.seeds, once)).items():
        for measure in (name for name in each[0] if name not in ("name", "seed")):
            print(f"{way}，{measure}：{averaged([run[measure] for run in each])}")
    # 最好的猜测不用练：步子多密才与真的点一样
    clouds = {f"最好的猜测，{count} 步": sample(EXACT, 6 * options.points, count) for count in (100, 1000)}
    for name, cloud in {**clouds, "真的点": moons(6 * options.points, seed=3)[0]}.items():
        parts, middle = cloud.chunk(8), torch.cat(arcs())
        astrays = averaged([float(astray(part, held_out).double().mean()) for part in parts])
        widths = averaged([float(torch.cdist(part, middle).min(1).values.median()) for part in parts])
        print(f"{name}：造错 {astrays}，到中线的距离，中位数 {widths}")


if __name__ == "__main__":
    main()
