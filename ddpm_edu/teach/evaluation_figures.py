"""第 15 章的几张图：损失的抖动、比特花在哪一步、几种编码的比特数、最省的搬法、距离随张数的变化、揭晓甲、精确率与召回率"""
import numpy as np
import torch
from matplotlib.patches import Circle

from .figures import BLUE, GRAY, INK, ORANGE, curves_figure, empty_figure, few_ticks, framed_grid, plain_axes


def small_legend(ax, **where):
    """半透明白底的图例"""
    ax.legend(fontsize=9, framealpha=0.85, edgecolor="none", **where)


def jitter_figure(losses, fixed):
    """各次的损失，横轴是先后的顺序；fixed 是固定 t 与噪声的损失，一条水平线"""
    figure = empty_figure(7.0, 2.8)
    ax, mean, std = plain_axes(figure.subplots()), np.mean(losses), np.std(losses, ddof=1)
    ax.axhspan(mean - std, mean + std, color=BLUE, alpha=0.15, linewidth=0, label="平均 ± 标准差")
    ax.plot(range(1, len(losses) + 1), losses, "o-", color=BLUE, markersize=3, linewidth=0.8, label="另抽 $t$ 与噪声")
    ax.axhline(fixed, color=INK, linewidth=1.2, label="固定 $t$ 与噪声")
    ax.set(xlabel="第几次", ylabel="损失", ylim=(0.235, 0.32))
    small_legend(ax, loc="upper left", ncols=3, columnspacing=1.2, handlelength=1.5)
    return figure


def cumulative_figure(bits, marks):
    """各项（bits/dim，第 0 项起）一路加起来的曲线；marks 是要标出占几成的步号"""
    figure = empty_figure(7.0, 3.0)
    ax, so_far = plain_axes(figure.subplots()), np.cumsum(bits)
    ax.plot(range(1, len(bits)), so_far[1:], color=BLUE)
    for t in marks:
        ax.plot([t, t, 1], [0, so_far[t], so_far[t]], color=INK, linestyle=":", linewidth=1)
        ax.plot(t, so_far[t], "o", color=BLUE, markersize=5, clip_on=False)
        words, side = f"到 $t={t}$：{so_far[t] / so_far[-1]:.0%}", "left" if t == 1 else "right"
        ax.text(t * (1.08 if t == 1 else 0.9), so_far[t] + (-0.22 if t == 1 else 0.08), words, ha=side, fontsize=9)
    ax.set(xlabel="步号 $t$", ylabel="加到这一步（bits/dim）", xscale="log", xlim=(1, 1000), ylim=(0, 3.4))
    few_ticks(ax.xaxis)
    ax.xaxis.set_major_formatter("{x:g}")
    return figure


def bars_figure(without, within):
    """两组 {名字: 一张图一个数}，不用网络的（灰）与用网络的（蓝），一条一个平均，短横线是标准误"""
    figure, row = empty_figure(8.0, 2.9), 0.0
    ax, names = plain_axes(figure.subplots()), {}
    for bars, color in ((without, GRAY), (within, BLUE)):
        for name, each in bars.items():
            each = np.asarray(each)
            height, error = each.mean(), each.std(ddof=1) / len(each) ** 0.5
            ax.barh(row, height, 0.75, xerr=error or None, color=color, ecolor=INK)
            ax.text(height + error + 0.05, row, f"{height:.2f}", va="center", fontsize=10)
            names[row], row = name, row + 1
        row += 0.4
    ax.set_yticks(list(names), list(names.values()))
    ax.set(xlabel="bits/dim（越短越好）", xlim=(0, 4.6), ylim=(row - 0.9, -0.6), axisbelow=True)
    ax.grid(visible=False, axis="y")
    return figure


def transport_figure():
    """一堆标准高斯的土搬成均值 1、标准差 2 的一堆，箭头是最省的搬法"""
    figure, x = empty_figure(7.0, 2.8), np.linspace(-6, 7, 400)
    ax = plain_axes(figure.subplots())
    first, second = (np.exp(-((x - mean) / std) ** 2 / 2) / std / (2 * np.pi) ** 0.5 for mean, std in ((0, 1), (1, 2)))
    ax.fill_between(x, 0.1, 0.1 + first, color=BLUE, alpha=0.4, label="第一堆：均值 0，标准差 1")
    ax.fill_between(x, -0.1, -0.1 - second, color=GRAY, alpha=0.5, label="第二堆：均值 1，标准差 2")
    for start in (-2, -1, 0, 1, 2):
        ax.annotate("", (1 + 2 * start, -0.1), (start, 0.1), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2})
    ax.set(xlabel="位置", yticks=())
    small_legend(ax, loc="upper left")
    return figure


def circles_figure():
    """平面上的示意。左：以真图为圆心画圈，看样本落没落进圈；右：以样本为圆心画圈，看真图落没落进圈"""
    rng = np.random.default_rng(1)

    def pile(count, x, y, size):
        angle, far = rng.uniform(0, 2 * np.pi, count), size * rng.uniform(0, 1, count) ** 0.5
        return np.stack([x + far * np.cos(angle), y + far * np.sin(angle)], 1)

    real = np.concatenate([pile(12, 0, 0, 1.2), pile(12, 4.5, 0, 1.2)])
    samples = np.concatenate([pile(12, 0, 0, 1.2), pile(4, 2.25, 1.6, 0.35)])
    figure = empty_figure(9.0, 3.3)
    for ax, name, centers, points, colors, words in zip(
        map(plain_axes, figure.subplots(1, 2)), ("精确率", "召回率"), (real, samples), (samples, real), ((INK, BLUE), (BLUE, INK)), ("真图", "样本"),
    ):
        far = np.sort(np.linalg.norm(centers[:, None] - centers, axis=-1), axis=1)[:, 3]  # 第 0 个是自己
        inside = (np.linalg.norm(points[:, None] - centers, axis=-1) <= far).any(1)
        for center, radius in zip(centers, far):
            ax.add_patch(Circle(center, radius, facecolor=colors[0], alpha=0.07))
            ax.add_patch(Circle(center, radius, fill=False, edgecolor=colors[0], alpha=0.35, linewidth=0.7))
        ax.plot(*centers.T, "+", color=colors[0], markersize=6, label=f"{words}（圆心）")
        other = "样本" if words == "真图" else "真图"
        ax.plot(*points[inside].T, "o", color=colors[1], markersize=5, label=f"{other}，落进了圈")
        ax.plot(*points[~inside].T, "o", color=colors[1], markerfacecolor="white", markersize=5, label=f"{other}，没有落进")
        ax.set(title=f"{name}：{inside.sum()} / {len(inside)}", xlim=(-2.4, 6.9), ylim=(-2.2, 3.6), xticks=(), yticks=(), aspect="equal")
        small_legend(ax, loc="upper right")
    return figure


def sample_sizes_figure(sizes, real, ours):
    """real 一行一次重抽、一列一个张数，ours 是模型的 {mean, se}"""
    figure = curves_figure((sizes, {}, "张数 $N$", "Fréchet 距离", "log", "log"))
    ax = figure.axes[0]
    ax.errorbar(sizes, real.mean(0), yerr=real.std(0, ddof=1) / len(real) ** 0.5, color=INK, marker=".", capsize=3, label="$N$ 张真的训练图")
    ax.errorbar([1000], [ours["mean"]], yerr=[ours["se"]], color=BLUE, marker="o", linestyle="none", capsize=3, label="digits 的 1000 张样本")
    few_ticks(ax.xaxis)
    few_ticks(ax.yaxis)
    small_legend(ax)
    return figure


def pairs_figure(pairs):
    """{谁: (样本, 最近的训练图, 距离)}，各 (N, 1, H, W) 与 (N,)：一人两行，一列一对，列上写距离"""
    figure = empty_figure(7.5, 3.6)
    for ax, (who, (samples, closest, far)) in zip(figure.subplots(len(pairs), 1), pairs.items()):
        grid, padding = framed_grid(torch.cat([samples, closest]), len(samples))
        side = samples.shape[-1] + padding
        ax.imshow((grid[0] + 1) / 2, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=9)
        ax.set_xticks([padding + side * (i + 0.5) - 1 for i in range(len(far))], [f"距离 {each:.1f}" for each in far])
        ax.set_yticks([padding + side * (i + 0.5) - 1 for i in range(2)], [who, "最近的训练图"])
    return figure


def memorizer_figure(losses, distances, limit):
    """左：{(谁, 哪些图): 四段的损失}；右：{谁: 离最近的训练图多远} 的累积百分比，limit 是近得可疑的门槛"""
    figure = empty_figure(9.0, 3.2)
    left, right = map(plain_axes, figure.subplots(1, 2))
    colors = {"digits": BLUE, "甲": ORANGE}
    for (who, where), values in losses.items():
        left.plot(range(len(values)), values, "o-" if where == "训练图" else "s--", color=colors[who], markersize=4, label=f"{who}，{where}")
    left.set_xticks(range(4), ["0–249", "250–499", "500–749", "750–999"])
    left.set(xlabel="步号 $t$", ylabel="损失", yscale="log")
    left.yaxis.set_major_formatter("{x:g}")
    small_legend(left)
    right.axvspan(-0.1, limit, color=GRAY, alpha=0.2, linewidth=0)
    for who, values in distances.items():
        near = np.sort(np.asarray(values))
        right.plot([-0.1, *near, 4], [0, *np.linspace(0, 100, len(near)), 100], color=colors.get(who, GRAY),
                   linestyle="-" if who in colors else "--", label=who)
    right.text(limit / 2, 50, "近得\n可疑", ha="center", va="center", fontsize=9)
    right.set(xlabel="离最近的训练图多远", ylabel="不超过横轴的，占百分之几", xlim=(-0.1, 4), ylim=(0, 104))
    small_legend(right, loc="center right")
    return figure
