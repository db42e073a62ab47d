"""第 14 章的图：两把尺子、参数与乘法在哪里、一处一处地省、练到两处的距离与损失"""
import numpy as np
import torch

from ..unet import AttentionBlock
from .figures import BLUE, GRAY, INK, ORANGE, empty_figure, plain_axes

KINDS = (("guidance_1", "不加引导", ORANGE, "^"), ("guidance_2", "加引导", BLUE, "o"), ("gaussian", "斑图", GRAY, "s"))


def two_rulers_figure(card):
    """两把尺子各自排的名次，最好的在上；同一种图用线连起来，名字旁边是量到的数与标准误"""
    figure = empty_figure(7.0, 3.2)
    ax = plain_axes(figure.subplots())
    quality, start = card["quality"], card["history"][0]["guidance_2"]
    share = quality["real_recognised"]["recognised"]
    real = {"mean": share, "se": (share * (1 - share) / 2443) ** 0.5}  # 留出的真图有 2443 张
    rows = [("真图", INK, "D", quality["frechet_floor"], real)]
    rows += [(name, color, mark, quality[key]["frechet"], quality[key]["recognised"]) for key, name, color, mark in KINDS]
    rows += [("没有练", INK, "x", start["frechet"], start["recognised"])]
    ranks = np.array([np.argsort(np.argsort(values)) for values in ([row[3]["mean"] for row in rows], [-row[4]["mean"] for row in rows])]).T
    for (name, color, mark, x, y), rank in zip(rows, ranks):
        ax.plot([0, 1], rank, color=color, marker=mark, markersize=8, linewidth=2)
        words = (f"{name}　{x['mean']:.1f} ± {x['se']:.1f}", f"{100 * y['mean']:.1f} ± {100 * y['se']:.1f}%　{name}")
        for side, offset, align in ((0, -12, "right"), (1, 12, "left")):
            ax.annotate(words[side], (side, rank[side]), (offset, 0), textcoords="offset points", ha=align, va="center", fontsize=10,
                        color=INK if color == GRAY else color)
    ax.set(xlim=(-0.95, 1.95), ylim=(len(rows) - 0.5, -0.5), yticks=[])
    ax.set_xticks([0, 1], labels=["Fréchet 距离\n（越小越好）", "认得出\n（越高越好）"])
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
    """found 是 spending 的结果：参数与乘法各有几成在哪里"""
    figure = empty_figure(7.0, 3.0)
    ax = plain_axes(figure.subplots())
    places = [f"{side}×{side} 的卷积" for side in (32, 16, 8, 4)] + ["注意力", "线性层"]
    where = np.arange(len(places))
    shares = 100 * np.array([found[place] for place in places]) / np.array(list(found.values())).sum(0)
    for shift, values, color, label in ((-0.2, shares[:, 0], GRAY, "参数"), (0.2, shares[:, 1], ORANGE, "乘法")):
        bars = ax.barh(where + shift, values, 0.36, color=color, label=label, zorder=2)
        ax.bar_label(bars, [f"{value:.0f}" for value in values], padding=2, fontsize=9)
    ax.set(xlabel="占全部的比例（%）", xlim=(0, 52))
    ax.set_yticks(where, labels=places)
    ax.invert_yaxis()
    ax.legend(fontsize=9, loc="lower right")
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


def progress_figure(card, spots, drops):
    """卡片：左边是 history 末一处与练完时的 Fréchet 距离（对数），右边是四段的损失

    spots 是斑图的高斯在四段的损失；drops 是练完时比那一处低百分之几：[(平均, 标准误), ……]
    """
    figure = empty_figure(9.0, 3.3)
    left, right = map(plain_axes, figure.subplots(1, 2, width_ratios=[1, 1.35]))
    before, after = card["history"][-1], card["quality"]
    steps = [before["steps"], card["recipe"]["max_steps"]]
    for key, name, color, mark in KINDS[:2]:
        points = [(point[key]["frechet"]["mean"], point[key]["frechet"]["se"]) for point in (before, after)]
        left.errorbar(steps, *zip(*points), color=color, marker=mark, markersize=8, linestyle=":", linewidth=1)
        for step, (mean, error) in zip(steps, points):
            left.annotate(f"{mean:.1f} ± {error:.1f}", (step, mean), (0, -8), textcoords="offset points", ha="center", va="top", color=color, fontsize=9)
        left.annotate(name, (sum(steps) / 2, (points[0][0] * points[1][0]) ** 0.5), (0, 7), textcoords="offset points", ha="center", color=color, fontsize=9)
    for name, value, color in (("斑图", after["gaussian"]["frechet"], GRAY), ("真图", after["frechet_floor"], INK)):
        left.axhline(value["mean"], color=color, linestyle="--", linewidth=1.2)
        left.annotate(f"{name} {value['mean']:.1f}", (sum(steps) / 2, value["mean"]), (0, 3), textcoords="offset points", ha="center", fontsize=9)
    left.set(yscale="log", ylim=(0.9, 40), ylabel="Fréchet 距离", yticks=[1, 3, 10, 30], xlim=(2800, 10400), xlabel="步")
    left.set_xticks(steps)
    left.yaxis.set_major_formatter("{x:g}")
    left.minorticks_off()
    where, late = np.arange(4), after["loss_by_quarter"]["model"]
    right.plot(where - 0.2, spots, "s", color=GRAY, markersize=8, label="斑图的高斯")
    right.plot(where, before["loss_by_quarter"], "o", color=BLUE, markersize=8, markerfacecolor="white", label=f"{steps[0]} 步")
    right.plot(where + 0.2, late, "o", color=BLUE, markersize=8, label=f"{steps[1]} 步")
    for x, height, (mean, error) in zip(where, late, drops):
        right.annotate(f"低 {mean} ± {error}%", (x, height), (0, -9), textcoords="offset points", ha="center", va="top", color=BLUE, fontsize=9)
    right.set(ylabel="$v$ 的损失", ylim=(0, 0.24), yticks=[0, 0.05, 0.1, 0.15, 0.2], xlim=(-0.5, 3.5))
    right.set_xticks(where, labels=["$q_1$\n近原图", "$q_2$", "$q_3$", "$q_4$\n近噪声"])
    right.legend(fontsize=9, loc="upper right")
    return figure
