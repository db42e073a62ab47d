"""损失的权重与 t 的抽法，各练出什么：python -m benchmarks.weights [moons|digits|start] [--ways 练法 ...] [--seeds 8] [--out weights.json]

moons 是第 1 章的月牙与小网络，量造错与漏掉的点、下界；等权的另量采样时一段换成最好的猜测，造错多少
digits 是 8×8 的数字，量一批 DDIM-50 样本的 Fréchet 距离与 bits/dim，都用 EMA 权重
start 从随课程发布的数字模型接着练，只抽 t ≤ 30，量 t = 1 处噪声的误差：黑、白、灰的像素
都预测 ε；同一种数据的各种练法只差 WAYS 里写的，权重都除以平均；差是逐个种子减“等权”
写进 --out 的每练完一遍就存一次；文件已经在了，就接着练没有练过的
"""
import argparse
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, DigitsDataModule, load_pretrained
from ddpm_edu.authoring.quality import averaged
from ddpm_edu.configs.recipes import digits_model_config
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.report import evaluate
from ddpm_edu.teach.moons import exact_denoiser, misses, moons
from ddpm_edu.teach.panels.weights import effective_share
from ddpm_edu.teach.training import quiet_trainer

from .runs import by_name, train_all

EARLY = 100  # 分段的界：t < EARLY 与 t ≥ EARLY
BATCHES = 200  # 用几批的梯度估计方差
PARTS = {"exact_early": range(EARLY), "exact_late": range(EARLY, 1000)}


@dataclass(frozen=True)
class Way:
    """weights：推导出的权重（平均为 1）→ 用的权重；drawn：按权重抽 t，损失不再乘权重；batch：月牙的批"""

    weights: Callable = torch.clone
    drawn: bool = False
    batch: int = 512
    schedule: str = "sqrt_linear"


def early(w):
    """只换前段"""
    return torch.where(torch.arange(len(w)) < EARLY, w, 1.0)


def late(w):
    """只换后段"""
    return torch.where(torch.arange(len(w)) < EARLY, 1.0, w)


EQUAL = "等权"
WAYS = {
    EQUAL: Way(torch.ones_like), "推导出的": Way(), "推导出的，按权重抽": Way(drawn=True),
    "只换前段": Way(early), "只换前段，按权重抽": Way(early, drawn=True), "只换后段": Way(late),
    "推导出的，批大八倍": Way(batch=8 * 512), "等权，批大八倍": Way(torch.ones_like, batch=8 * 512), "等权，批 41": Way(torch.ones_like, batch=41),
    "等权，批 128": Way(torch.ones_like, batch=128), "推导出的，按权重抽，批 40": Way(drawn=True, batch=40),
    "cosine，等权": Way(torch.ones_like, schedule="cosine"), "cosine，推导出的": Way(schedule="cosine"),
    "cosine，推导出的，按权重抽": Way(drawn=True, schedule="cosine"),
}


class Drawn(DDPM):
    """按 lvlb_weights 抽 t；损失取等权，期望就是加权的损失"""

    def draw_t(self, x, generator=None):
        return torch.multinomial(self.lvlb_weights, len(x), replacement=True, generator=generator)


def build(way, config, **options):
    """照 way 的权重与抽法造一个 DDPM；权重换在 lvlb_weights 里，bits/dim 不用它"""
    loss = {} if way.drawn else {"l_simple_weight": 0.0, "original_elbo_weight": 1.0}
    model = (Drawn if way.drawn else DDPM)(**{**config, "beta_schedule": way.schedule, **loss, **options})
    weights = way.weights(model.lvlb_weights / model.lvlb_weights.mean())
    # 换原表：模型一搬动，缓冲区就从原表重取
    model._exact_tables["lvlb_weights"] = (weights / weights.mean()).double()
    return model.to(weights.device)


def effective(model):
    """一批里有几成样本顶用；按权重抽的都顶用"""
    return 1.0 if isinstance(model, Drawn) else effective_share(model.lvlb_weights.double().numpy())


# ---- 月牙 ----

MOONS = {"unet_config": {"target": "ddpm_edu.teach.moons.MoonDenoiser"}, "image_size": 1, "channels": 2, "clip_denoised": False, "use_ema": False}


def moons_once(way, seed, steps):
    torch.manual_seed(seed)
    points, held_out = moons(4000, seed=0)[0], moons(4000, seed=1)[0]
    model = build(way, MOONS)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss, _ = model(points[torch.randint(len(points), (way.batch,))][..., None, None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    wrong, absent = moons_misses(model.eval(), held_out)
    found = {"wrong": wrong, "absent": absent, **moons_errors(way, model, held_out[:2000]), "effective": effective(model)}
    if way != WAYS[EQUAL]:
        return found
    return {**found, "noise": noise_ratio(way, model, points), **{name: moons_misses(model, held_out, part)[0] for name, part in PARTS.items()}}


def moons_misses(model, held_out, exact=()):
    """四千个样本造错与漏掉的比例；步号在 exact 里的那些步，网络换成最好的猜测"""
    network, best = model.apply_model, exact_denoiser(model.alphas_cumprod)
    model.apply_model = lambda x, t, cond=None: best(x.flatten(1), t).reshape(x.shape) if int(t[0]) in exact else network(x, t, cond)
    made = model.sample(4000, steps=200, generator=torch.Generator().manual_seed(0), progress=False).flatten(1)
    del model.apply_model
    return tuple(sum(part) / 8 for part in zip(*(misses(part, held_out) for part in made.chunk(8))))


@torch.no_grad()
def moons_errors(way, model, points):
    """留出的点上，eps 的均方误差：各步平均，照推导出的权重平均，照这种练法自己的权重平均；bits 是下界里依赖网络的部分"""
    generator, errors = torch.Generator().manual_seed(0), []
    x = points[..., None, None]
    for t in range(model.num_timesteps):
        noise = torch.randn(x.shape, generator=generator)
        steps = torch.full((len(x),), t)
        errors.append((model.apply_model(model.q_sample(x, steps, noise), steps) - noise).square().mean())
    errors, derived = torch.stack(errors), DDPM(**MOONS, beta_schedule=way.schedule).lvlb_weights
    return {"simple": float(errors.mean()), "weighted": float((derived * errors).sum() / derived.sum()),
            "own": float((model.lvlb_weights * errors).mean()), "bits": float((derived * errors).sum()) / math.log(2)}


def noise_ratio(way, model, points):
    """同一个网络，推导出的权重：均匀抽 t 时梯度的方差，是按权重抽 t 时的几倍"""
    spread = {}
    for drawn in (False, True):
        twin = build(Way(drawn=drawn, schedule=way.schedule), MOONS)
        twin.model.load_state_dict(model.model.state_dict())
        rows = []
        for _ in range(BATCHES):
            twin.zero_grad()
            twin(points[torch.randint(len(points), (way.batch,))][..., None, None])[0].backward()
            rows.append(torch.cat([p.grad.flatten() for p in twin.model.parameters()]))
        spread[drawn] = float(torch.stack(rows).var(0).sum())
    return spread[False] / spread[True]


# ---- 数字 ----

def digits_once(way, seed, steps, samples=1000, images=64):
    pl.seed_everything(seed, verbose=False)
    model = build(way, digits_model_config(steps, parameterization="eps"), seed=seed)
    data = DigitsDataModule(batch_size=64, seed=seed)
    quiet_trainer(max_steps=steps, gradient_clip_val=1.0).fit(model, data)
    found = evaluate(model.eval(), data, max_images=images, num_samples=samples, seed=seed, progress=False)
    return {name: found[name] for name in ("frechet", "bits_per_dim")}


def start_once(way, seed, steps):
    """way 只能是等权；返回 t = 1 处的均方误差，全部、黑、白、灰"""
    data = {name: pair[0] for name, pair in load_digits_split().items()}
    torch.manual_seed(seed)
    model = load_pretrained("digits").train()
    optimizer = torch.optim.Adam(model.model.parameters(), lr=1e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss, _ = model.p_losses(data["train"][torch.randint(len(data["train"]), (64,))], torch.randint(31, (64,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    x, t = data["test"], torch.ones(len(data["test"]), dtype=torch.int64)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x_t = model.q_sample(x, t, noise)
        errors = (model.predict_noise_from_start(x_t, t, model.eval().predict_start(x_t, t)) - noise).square()
    kinds = {"all": x < 2, "black": x == -1, "white": x == 1, "gray": x.abs() < 1}
    return {name: float(errors[where].mean()) for name, where in kinds.items()}


MEASURES = {
    "wrong": "造错", "absent": "漏掉", "simple": "误差", "weighted": "误差，照推导出的权重平均", "own": "误差，照自己的权重平均",
    "bits": "下界里依赖网络的部分", "effective": "顶用的样本",
    "noise": "梯度的方差，均匀抽是按权重抽的几倍",
    "exact_early": "造错，前段换成最好的猜测", "exact_late": "造错，后段换成最好的猜测",
    "frechet": "Fréchet 距离", "bits_per_dim": "bits/dim",
    "all": "t = 1 的误差", "black": "t = 1 的误差，黑", "white": "t = 1 的误差，白", "gray": "t = 1 的误差，灰",
}
# {数据: (练一遍, 几步, 不写 --ways 时的练法)}
DATA = {"moons": (moons_once, 1500, list(WAYS)), "digits": (digits_once, 600, list(WAYS)[:3]), "start": (start_once, 200, [EQUAL])}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.weights", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="?", choices=DATA, default="digits")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="练法，默认：月牙练全部，数字练前三种，接着练只有等权")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, help="训练几步，默认：月牙 1500，数字 600，接着练 200")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    once, steps, ways = DATA[options.data]
    steps = options.steps or steps
    report(by_name(train_all(parser, options.out, {"data": options.data, "steps": steps}, options.ways or ways, options.seeds,
                             lambda name, seed: once(WAYS[name], seed, steps))))


def report(rows):
    """rows : {练法: [各个种子]}；印出平均与标准误，另有逐个种子减等权的差"""
    for name, each in rows.items():
        for measure in (measure for measure in MEASURES if measure in each[0]):
            mean, said = averaged([row[measure] for row in each]), ""
            if name != EQUAL and EQUAL in rows:
                gap = averaged([row[measure] - equal[measure] for row, equal in zip(each, rows[EQUAL])])
                said = f"，减等权 {gap['mean']:+.4f} ± {gap['se']:.4f}"
            print(f"{name}，{MEASURES[measure]}：{mean['mean']:.4f} ± {mean['se']:.4f}{said}")


if __name__ == "__main__":
    main()
