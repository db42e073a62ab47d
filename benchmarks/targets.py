"""第 5 章的三张表：python -m benchmarks.targets mnist|moons [--ways 做法 ...] [--seeds 8] [--out targets.json]

mnist : 随包的模型走 50 步，每一步把输出换成 ε、x0 或 v，加上标准差 0.2 的误差，再往下走；每个种子画 0 到 9 各一张。
        量与同一个种子不加误差的图差多少（均方根），随包的分类器认得出几成（第 2、4 节）
moons : 章末小实验的网络，三种目标各练一遍。量输出与最好的输出差多少（均方根），剩余标准差，造错与漏掉（第 5 节）
"""
import argparse

import torch

from ddpm_edu import DDPM, load_pretrained, make_beta_schedule
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import recognised
from ddpm_edu.objectives import make_objective
from ddpm_edu.sampling import ddim_step, spaced_timesteps
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach.moons import exact_denoiser, misses, moons

from .runs import by_name, seeds_table, train_all

EVERY = slice(None)
PLACES = (0, 20, 41, 100, 500, 900, 999)
# 做法：(误差加在谁身上, 哪几步加, 走谁的 ᾱ, x̂0 截不截)，后面还可以写 draw 的别的参数
WAYS = {
    "不加误差": ("v", slice(0), "cosine", False),
    "eps": ("eps", EVERY, "cosine", False),
    "x0": ("x0", EVERY, "cosine", False),
    "v": ("v", EVERY, "cosine", False),
    "eps，只有第一步": ("eps", slice(1), "cosine", False),
    "eps，第一步以外": ("eps", slice(1, None), "cosine", False),
    "x0，末三步以外": ("x0", slice(-3), "cosine", False),
    "eps，linear": ("eps", EVERY, "linear", False),
    "eps，截断": ("eps", EVERY, "cosine", True),
    "eps，sqrt_linear": ("eps", EVERY, "sqrt_linear", False),
    "eps，跳过第一步": ("eps", EVERY, "cosine", False, {"skip": 1}),
    "v，各步同一份": ("v", EVERY, "cosine", False, {"repeat": True}),
}


def route(model, schedule, count):
    """从 T-1 走到 0 的步号；别的表在模型的表里找 ᾱ 最接近的一步"""
    times = spaced_timesteps(1000, count)[::-1].copy()
    if schedule == "cosine":
        return times.tolist()
    wanted = torch.as_tensor(alphas_cumprod(make_beta_schedule(schedule, 1000))[0][times])
    return (wanted[:, None] - model.alphas_cumprod.double()).abs().argmin(1).tolist()


@torch.no_grad()
def draw(model, target, sizes, times, seed, clip=False, classes=10, skip=0, repeat=False):
    """同第 5 章的 draw：sizes 是每一步的误差有多大；clip 时加了误差的 x̂0 截到 [-1, 1]

    skip : 头几步不走，把起点的噪声直接当作后面那一步的 x_t
    repeat : 各步加同一份误差，不重抽
    """
    objective, generator = make_objective(target), torch.Generator().manual_seed(seed)
    x, cond = torch.randn(classes, 1, 28, 28, generator=generator), {"c_adm": torch.arange(classes)}
    bars, error = [*model.alphas_cumprod[times].tolist(), 1.0], None
    for i, step in list(enumerate(times))[skip:]:
        t = torch.full((classes,), step)
        guess = model.predict_start(x, t, cond=cond)
        output = objective.target(model, guess, model.predict_noise_from_start(x, t, guess), t)
        if error is None or not repeat:
            error = torch.randn(x.shape, generator=generator)
        guess = objective.to_x_start(model, x, t, output + sizes[i] * error)
        a, b, _ = ddim_step(bars[i], bars[i + 1])
        x = a * (guess.clamp(-1, 1) if clip else guess) + b * x
    return x.clamp(-1, 1)


def learn(target, seed, steps):
    """同章末小实验的 learn"""
    data = moons(4000, seed=0)[0]
    torch.manual_seed(seed)
    model = DDPM({"target": "ddpm_edu.teach.moons.MoonDenoiser"}, image_size=1, channels=2, use_ema=False, clip_denoised=False,
                 parameterization=target, beta_schedule="cosine")
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        points = data[torch.randint(len(data), (512,))][..., None, None]
        loss, _ = model.p_losses(points, torch.randint(1000, (512,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return model.eval()


@torch.no_grad()
def errors(model, step, points=4000):
    """没有见过的点上：(输出与最好的输出差多少，最好的输出与目标差多少)，都是均方根"""
    t, x0 = torch.full((points,), step), moons(points, seed=1)[0][..., None, None]
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    x = model.q_sample(x0, t, noise)
    eps = exact_denoiser(model.alphas_cumprod)(x.flatten(1), t).reshape(x.shape)
    best = model.objective.target(model, model.predict_start_from_noise(x, t, eps), eps, t)
    return float((model.apply_model(x, t) - best).square().mean().sqrt()), remaining(model, x.flatten(1).double(), t)


def remaining(model, x, t):
    """最好的输出与目标差多少（均方根）：由条件协方差 Cov(ε | x_t) = I - √(1-ᾱ)·∂E[ε | x_t]/∂x_t 算出，不抽目标"""
    bars = model.exact_table("alphas_cumprod")
    with torch.enable_grad():
        eps = exact_denoiser(bars)(x.requires_grad_(), t)
        slope = sum(torch.autograd.grad(eps[:, i].sum(), x, retain_graph=True)[0][:, i] for i in (0, 1)) / 2
    bar = bars[t[0]]
    left = (1 - (1 - bar).sqrt() * slope).mean() * (1 - bar) / bar
    return float((left / model.objective.weight_over_x0(bar)).sqrt())


def once_moons(options):
    def once(target, seed):
        model = learn(target, seed, options.train)
        found = {f"t={step}": errors(model, step) for step in PLACES}
        made = model.sample(4000, sampler="ddim", steps=options.steps, generator=torch.Generator().manual_seed(seed), progress=False)
        wrong, missed = misses(made.flatten(1), moons(4000, seed=1)[0])
        return {**{name: pair[0] for name, pair in found.items()}, "wrong": wrong, "missed": missed,
                **{f"剩余，{name}": pair[1] for name, pair in found.items()}}

    return once


def once_mnist(options):
    model, classifier, clean = load_pretrained("mnist").eval(), load_classifier("mnist"), {}

    def once(way, seed):
        target, where, schedule, clip, *rest = WAYS[way]
        times, sizes = route(model, schedule, options.steps), torch.zeros(options.steps)
        sizes[where] = 0.2
        if (schedule, seed) not in clean:
            clean[schedule, seed] = draw(model, "v", [0.0] * options.steps, times, seed)
        images = draw(model, target, sizes.tolist(), times, seed, clip, **dict(*rest))
        return {"difference": float((images - clean[schedule, seed]).square().mean().sqrt()),
                "recognised": recognised(classifier, images, torch.arange(len(images)))["recognised"]}

    return once


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.targets", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=("mnist", "moons"))
    parser.add_argument("--ways", nargs="+", help="mnist 的做法，或 moons 的目标；不写就是全部")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50, help="采样走几步")
    parser.add_argument("--train", type=int, default=1000, help="moons 训练几步")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    known, prepare = (list(WAYS), once_mnist) if options.part == "mnist" else (["eps", "x0", "v"], once_moons)
    ways = options.ways or known
    if unknown := [way for way in ways if way not in known]:
        parser.error(f"--ways：{options.part} 里没有 {unknown}，有 {known}")
    about = {"part": options.part, "steps": options.steps, "train": options.train}
    runs = by_name(train_all(parser, options.out, about, ways, options.seeds, prepare(options)))
    measures = [name for name in next(iter(runs.values()))[0] if name not in ("name", "seed")]
    print(seeds_table(runs, {name: name for name in measures}))


if __name__ == "__main__":
    main()
