"""第 14 章的图：两把尺子、参数与乘法在哪里、一处一处地省、后一半好了多少"""
import numpy as np
import torch

from ..unet import AttentionBlock
from .figures import BLUE, GRAY, INK, ORANGE, empty_figure, plain_axes

KINDS = (("guidance_1", "不加引导", ORANGE, "^"), ("guidance_2", "加引导", BLUE, "o"), ("gaussian", "斑图", GRAY, "s"))


def two_rulers_figure(card):
    """两把尺子各自排的名次，最好的在上；同一种图用线连起来，名字旁边是量到的数与标准误"""
    figure = empty_figure(7.0, 2.7)
    ax = plain_axes(figure.subplots())
    quality = card["quality"]
    share = quality["real_recognised"]["recognised"]
    real = {"mean": share, "se": (share * (1 - share) / 2443) ** 0.5}  # 留出的真图有 2443 张
    rows = [("真图", INK, "D", quality["frechet_floor"], real)]
    rows += [(name, color, mark, quality[key]["frechet"], quality[key]["recognised"]) for key, name, color, mark in KINDS]
    ranks = np.array([np.argsort(np.argsort(values)) for values in ([row[3]["mean"] for row in rows], [-row[4]["mean"] for row in rows])]).T
    for (name, color, mark, x, y), rank in zip(rows, ranks):
        ax.plot([0, 1], rank, color=color, marker=mark, markersize=8, linewidth=1 if rank[0] == rank[1] else 3)
        words = (f"{name}　{x['mean']:.1f} ± {x['se']:.1f}", f"{100 * y['mean']:.1f} ± {100 * y['se']:.1f}%　{name}")
        for side, offset, align in ((0, -12, "right"), (1, 12, "left")):
            ax.annotate(words[side], (side, rank[side]), (offset, 0), textcoords="offset points", ha=align, va="center", fontsize=10,
                        color=INK if color == GRAY else color)
    ax.set(xlim=(-0.95, 1.95), ylim=(len(rows) - 0.5, -0.5), yticks=[])
    ax.set_xticks([0, 1], labels=["Fréchet 距离\n（越小越好）", "认出率\n（越高越好）"])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return figure


def spending(model, **inputs):
    """{地方: [参数, 乘法]}，前向一张 32×32 的图；注意力连同它的 1×1 卷积与两次矩阵乘，线性层是时间与类别的嵌入"""
    found = {}
    inside = {id(layer) for block in model.modules() if isinstance(block, AttentionBlock) for layer in block.modules()}

    def count(layer, x, y):
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            place = "注意力" if id(layer) in inside else f"{y.shape[-1]}×{y.shape[-1]} 的卷积" if y.ndim == 4 else "线性层"
            parameters, products = sum(p.numel() for p in layer.parameters()), y[0].numel() * layer.weight[0].numel()
        elif isinstance(layer, AttentionBlock):
            place, parameters, products = "注意力", 0, 2 * y[0].numel() * y[0, 0].numel()
        else:
            return
        row = found.setdefault(place, [0, 0])
        row[0], row[1] = row[0] + parameters, row[1] + products

    with torch.no_grad(), torch.nn.modules.module.register_module_forward_hook(count):
        model(torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long), **inputs)
    return found


def spending_figure(found):
    """found 是 spending 的结果：左边一半是参数在哪里，右边一半是乘法在哪里，同一行是同一处"""
    figure = empty_figure(7.0, 2.8)
    left, right = figure.subplots(1, 2, sharey=True)
    places = [f"{side}×{side} 的卷积" for side in (32, 16, 8, 4)] + ["注意力", "线性层"]
    where = np.arange(len(places))
    shares = 100 * np.array([found[place] for place in places]) / np.array(list(found.values())).sum(0)
    for ax, values, color, title in ((left, shares[:, 0], GRAY, "参数在哪里"), (right, shares[:, 1], ORANGE, "乘法在哪里")):
        bars = ax.barh(where, values, 0.66, color=color)
        ax.bar_label(bars, [f"{value:.0f}%" for value in values], padding=3, fontsize=10)
        ax.set(xlim=(0, 55), xticks=[])
        ax.set_title(title, fontsize=10)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
    left.set_yticks(where, labels=places)
    left.invert_yaxis()
    return figure


def chain_figure(counts, sizes):
    """counts = {改法: 改过之后的乘法}，自上而下；横轴是对数，一段箭头的长就是这一改的倍数；sizes = {改法: 参数个数}，写在最右一列"""
    figure = empty_figure(8.0, 3.0)
    ax = plain_axes(figure.subplots())
    ax.grid(axis="y", visible=False)
    values, last = list(counts.values()), len(counts) - 1
    for row, value in enumerate(values):
        color = ORANGE if row == 0 else BLUE if row == last else GRAY
        if row:
            before = values[row - 1]
            ax.plot([before, before], [row - 1, row], color=GRAY, linestyle=":", linewidth=1)
            factor = f"÷{before / value:.3g}" if before > value else f"×{value / before:.2f}"
            white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            ax.annotate("", (value, row), (before, row), arrowprops={"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 4})
            ax.annotate(factor, ((before * value) ** 0.5, row), (0, 5), textcoords="offset points", ha="center", fontsize=9, bbox=white)
        ax.plot(value, row, "o", color=color, markersize=8, zorder=3)
        right = row == 0 or value > values[row - 1]
        ax.annotate(f"{value / 1e8:.2f} 亿", (value, row), (9 if right else -9, 0), textcoords="offset points", color=color if color != GRAY else INK,
                    va="center", ha="left" if right else "right", fontsize=9)
    ax.set(xscale="log", xlim=(0.8e8, 1.5e10), ylim=(last + 0.5, -0.5), xlabel="前向一张图的乘法（对数）")
    ax.set_xticks([1e8, 1e9, 1e10], labels=["1 亿", "10 亿", "100 亿"])
    ax.set_yticks(range(len(counts)), labels=counts)
    column = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": 9, "color": INK}
    for row, words in enumerate(["参数个数", *(f"{size / 1e4:.0f} 万" for size in sizes.values())], -1):
        ax.text(1.14, max(row, -0.62), words, **column)
    return figure


def progress_figure(card, gains):
    """后一半好了多少：左边是两种距离超出真图的部分少了百分之几（history 末一处到练完，标准误按三个数独立来算），
    右边是四段损失低于线性滤波的部分多了百分之几，gains 是 [(前, 后, 百分之几, 标准误), ……]"""
    figure = empty_figure(8.0, 2.5)
    left, right = figure.subplots(1, 2)
    before, after, rows = card["history"][-1], card["quality"], []
    floor = after["frechet_floor"]
    for key, name, color, _ in (KINDS[1], KINDS[0]):
        (old, old_error), (new, new_error) = ((point[key]["frechet"]["mean"] - floor["mean"], point[key]["frechet"]["se"]) for point in (before, after))
        share = new / old
        error = 100 / old * (new_error**2 + (share * old_error) ** 2 + ((1 - share) * floor["se"]) ** 2) ** 0.5
        rows.append((name, color, 100 - 100 * share, error, f"（{old:.1f} → {new:.1f}）"))
    names = ("$q_1$（近原图）", "$q_2$", "$q_3$", "$q_4$（近噪声）")
    losses = [(name, GRAY, mean, error, f"（{old:.4f} → {new:.4f}）") for name, (old, new, mean, error) in zip(names, gains)]
    for ax, bars, title in ((left, rows, "距离超出真图的部分，少了"), (right, losses, "损失低于线性滤波的部分，多了")):
        plain_axes(ax).grid(visible=False)
        for row, (_, color, mean, error, words) in enumerate(bars):
            ax.barh(row, mean, 0.62, color=color, xerr=error, error_kw={"ecolor": INK, "elinewidth": 1})
            ax.annotate(f"{mean:.0f} ± {error:.0f}%{words}", (mean + error, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
        ax.set(xlim=(0, 100), xticks=[], ylim=(len(bars) - 0.5, -0.5))
        ax.set_title(title, fontsize=10)
        ax.set_yticks(range(len(bars)), labels=[row[0] for row in bars])
        ax.tick_params(axis="y", length=0)
        ax.spines["bottom"].set_visible(False)
    return figure
