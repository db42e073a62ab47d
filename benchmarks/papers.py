"""第 19 章的数：python -m benchmarks.papers [哪几张图 ...] [--seeds 8] [--out papers.json] [--write]

rate      : cifar10，每个种子两张测试图，一步一步收的比特与误差（DDPM 图 5）
settle    : mnist，每个种子四十张，粗处与细处各还有几成没有定、在第几步降到两成（DDPM 图 6）
share     : mnist，每个种子四张测试图，各走八次（DDPM 图 7）
skip      : digits，每个种子 400 张，略过开头的几成（Improved DDPM 图 4）
same      : mnist，每个种子十张，同一个起点、不同的步数（DDIM 图 5）
trip      : mnist，每个种子五张测试图，倒着走再走回来（DDIM 表 2）
guidance  : digits_class，每个种子 400 张，DPM-Solver++ 10 步（引导的表 1、表 2）
DDIM 表 1 在 digits 的卡片里，不必再量。--out 里已有的不再量，中断了接着来；--write 把平均与标准误写进随包的 papers.json
"""
import argparse
import functools
import json
from pathlib import Path

import torch

from ddpm_edu import load_pretrained, make_beta_schedule
from ddpm_edu.authoring.pretrained import make_data
from ddpm_edu.data.base import random_images
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import DigitsFrechet, recognised
from ddpm_edu.generate import generate
from ddpm_edu.pretrained import HERE
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach.papers import completions, guesses, rate_distortion, round_trip, skipped, spread_within, unsettled

from .runs import by_name, train_all

load, frechet, classifier = functools.cache(load_pretrained), functools.cache(DigitsFrechet), functools.cache(load_classifier)
KEPT = [1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 400, 500, 600, 700, 800, 900, 999]  # rate 里存这几步
TABLES = {"linear": "sqrt_linear", "cosine": "cosine"}  # 论文的 linear 对 β 线性，程序里叫 sqrt_linear


@functools.cache
def test_images(name):
    return random_images(make_data(name, "data", 0).dataset("test"), 64)


def some(name, seed, count):
    """第 seed 份测试图：(图, 条件)"""
    batch = test_images(name)
    part = slice(seed * count, (seed + 1) * count)
    return batch["image"][part], {"c_adm": batch["label"][part]}


def rate(seed, name):
    images, cond = some(name, seed, 2)
    paid, error, total = rate_distortion(load(name), images, cond, generator=torch.Generator().manual_seed(seed))
    return {"total": total, "L_0": total - float(paid[0]), "L_1": float(paid[0] - paid[1]),
            "paid": paid[KEPT].tolist(), "error": error[KEPT].tolist(), "error_0": first_error(load(name), images, cond, seed)}


@torch.no_grad()
def first_error(model, images, cond, seed):
    """收到第 0 步时的误差：L_0 是像素的似然，由它换不出来，所以照同一份噪声再猜一次"""
    first = torch.zeros(len(images), dtype=torch.long)
    x_t = model.q_sample(images, first, generator=torch.Generator().manual_seed(seed))
    return float((model.predict_start(x_t, first, cond=cond) - images).square().mean().sqrt() * 127.5)


def settle(seed):
    labels = torch.arange(40) % 10
    images, seen = guesses(load("mnist"), 40, 50, labels, torch.Generator().manual_seed(seed))
    coarse, fine = zip(*(unsettled(guess, images, 7) for _, guess in seen))
    steps = [t for t, _ in seen]
    return {"t": steps, "coarse": list(coarse), "fine": list(fine), "coarse_done": settled_at(steps, coarse), "fine_done": settled_at(steps, fine)}


def settled_at(steps, shares):
    """没有定的头一次不到两成，是在第几步"""
    return float(next(t for t, share in zip(steps, shares) if share < 0.2))


def share(seed, t):
    images, cond = some("mnist", seed, 4)
    nothing = {"c_adm": torch.full((32,), -1)}  # 不给类别，才看得出 x_t 自己留下了什么
    many = completions(load("mnist"), images, int(t), 8, nothing, torch.Generator().manual_seed(seed))
    kept = recognised(classifier("mnist"), many.flatten(0, 1), cond["c_adm"].repeat_interleave(8))["recognised"]
    return {"spread": spread_within(many.clamp(-1, 1)), "kept": kept}


def skip(seed, table, part):
    model, noise = load("digits"), torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    cumprod = alphas_cumprod(make_beta_schedule(TABLES[table], 1000))[0]
    return {"frechet": frechet()(skipped(model, noise, cumprod, 15, float(part)))}


def same(seed):
    """与走 100 步的相差多少（均方根）；other 是换一个起点、同一个数字"""
    model, labels = load("mnist"), torch.arange(10)
    start, other = torch.randn(2, 10, 1, 28, 28, generator=torch.Generator().manual_seed(seed))

    def draw(x_T, steps, eta=0.0):
        return model.sample(10, sampler="ddim", steps=steps, eta=eta, x_T=x_T, cond=labels, progress=False,
                            generator=torch.Generator().manual_seed(100 * seed + steps)).clamp(-1, 1)

    def gap(a, b):
        return float((a - b).square().mean().sqrt())

    fine, loose = draw(start, 100), draw(start, 50, 1.0)
    found = {f"steps_{steps}": gap(draw(start, steps), fine) for steps in (5, 10, 20, 50)}
    return {**found, "eta_1": gap(draw(start, 20, 1.0), loose), "other": gap(draw(other, 50), fine)}


def trip(seed, steps):
    images, cond = some("mnist", seed, 5)
    return {"error": float(round_trip(load("mnist"), images, int(steps), cond).mean())}


def guidance(seed, w):
    labels = torch.arange(400) % 10
    images, _ = generate(load("digits_class"), 400, batch_size=400, seed=seed, cond=labels, use_ema=False, progress=False,
                         sampler="dpmpp", steps=10, guidance_scale=float(w))
    spread = sum(float(images[labels == k].clamp(-1, 1).std(0).mean()) for k in range(10)) / 10
    return {"frechet": frechet()(images), **recognised(classifier("digits"), images, labels), "spread": spread}


# {图: (怎样量, 各种设定)}
FIGURES = {
    "settle": (settle, [""]), "share": (share, ["250", "500", "750", "999"]), "same": (same, [""]), "trip": (trip, ["10", "50", "100"]),
    "guidance": (guidance, ["1", "1.1", "1.25", "1.5", "3", "5"]), "skip": (skip, [f"{table} {part}" for part in (0, 0.2, 0.4) for table in TABLES]),
    "rate": (rate, ["cifar10"]),
}


def once(name, seed):
    figure, *settings = name.split()
    return FIGURES[figure][0](seed, *settings)


def rounded(value):
    return float(f"{value:.5g}")


def summary(record):
    """{名字: {量: {"mean", "se", "each"}}}；each 按种子排，好逐个相减；一个种子给出一串数的，逐个平均，不存 each"""
    rows = {}
    for name, runs in by_name(record).items():
        rows[name] = {}
        for measure in runs[0].keys() - {"name", "seed"}:
            each = torch.tensor([run[measure] for run in runs], dtype=torch.float64)
            flat = each.reshape(len(runs), -1)
            found = {"mean": flat.mean(0), "se": flat.std(0) / len(runs) ** 0.5}
            pair = {key: [rounded(value) for value in values] for key, values in found.items()}
            single = {key: value[0] for key, value in pair.items()}
            rows[name][measure] = pair if each.ndim == 2 else {**single, "each": [rounded(value) for value in each]}
        rows[name] = {**dict(sorted(rows[name].items())), "seeds": len(runs)}
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.papers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("figures", nargs="*", help=f"默认全部：{' '.join(FIGURES)}")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", help="每量完一遍就存一次的 JSON")
    parser.add_argument("--write", action="store_true", help="把平均与标准误写进 ddpm_edu/pretrained/papers.json")
    options = parser.parse_args(arguments)
    if unknown := set(options.figures) - set(FIGURES):
        parser.error(f"没有 {unknown}；有的是 {list(FIGURES)}")
    for figure in options.figures or FIGURES:
        names = [" ".join([figure, *setting.split()]) for setting in FIGURES[figure][1]]
        record = train_all(parser, options.out, {"command": "python -m benchmarks.papers"}, names, options.seeds, once)
    rows = summary(record)
    for name, found in rows.items():
        single = {measure: one for measure, one in found.items() if measure != "seeds" and isinstance(one["mean"], float)}
        said = "，".join(f"{measure} {one['mean']:.4f} ± {one['se']:.4f}" for measure, one in single.items())
        print(f"{name}：{said or '见 --out'}")
    if options.write:
        text = json.dumps({"command": "python -m benchmarks.papers", "rows": rows}, ensure_ascii=False, indent=1)
        Path(str(HERE / "papers.json")).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
