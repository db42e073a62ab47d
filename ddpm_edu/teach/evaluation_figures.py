"""第 15 章的几张图：损失的抖动、比特花在哪一步、几种编码的比特数、最省的搬法、距离随张数的变化、方差与步数、揭晓甲、精确率与召回率"""
import numpy as np
from matplotlib.patches import Circle

from .figures import BLUE, GRAY, INK, ORANGE, curves_figure, empty_figure, few_ticks, plain_axes


def small_legend(ax, **where):
    """半透明白底的图例"""
    ax.legend(fontsize=9, framealpha=0.85, edgecolor="none", **where)


def jitter_figure(each, fixed):
    """{名字: 各次的损失}，一格一种，横轴是先后的顺序；fixed 是固定 t 与噪声的损失，一条水平线"""
    figure = empty_figure(9.0, 2.8)
    for ax, (name, losses), color in zip(map(plain_axes, figure.subplots(1, len(each), sharey=True)), each.items(), (BLUE, ORANGE)):
        mean, std = np.mean(losses), np.std(losses, ddof=1)
        ax.axhspan(mean - std, mean + std, color=color, alpha=0.15, linewidth=0, label="平均 ± 标准差")
        ax.plot(range(1, len(losses) + 1), losses, "o-", color=color, markersize=3, linewidth=0.8, label=name)
        ax.axhline(fixed, color=INK, linewidth=1.2, label="固定 $t$ 与噪声")
        ax.set(xlabel="第几次", ylim=(0.235, 0.34))
        small_legend(ax, loc="upper left", ncols=3, columnspacing=1.2, handlelength=1.5)
    figure.axes[0].set_ylabel("损失")
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


def bars_figure(groups, rivals):
    """groups = {哪一组: {方差: 一张图一个数}}，一条一个平均与标准误；rivals = {名字: 平均}，不用网络的，各一条竖线"""
    figure, row, names = empty_figure(8.0, 3.4), 0.0, {}
    ax = plain_axes(figure.subplots())
    for (group, bars), color in zip(groups.items(), ("#7fb8dc", BLUE, ORANGE)):
        for way, each in bars.items():
            height, error = np.mean(each), np.std(each, ddof=1) / len(each) ** 0.5
            ax.barh(row, height, 0.75, xerr=error, color=color, ecolor=INK)
            ax.text(0.06, row, f"{height:.2f}", va="center", fontsize=9, color=INK if row < 2.5 else "white")
            names[row], row = f"{group}，{way}", row + 1
        row += 0.5
    for (name, level), side in zip(rivals.items(), ("center", "left", "right")):
        ax.axvline(level, color=INK, linestyle=":", linewidth=1.4)
        ax.text(level, -0.75, f"{name}\n{level:.2f}", ha=side, va="bottom", fontsize=9)
    ax.set_yticks(list(names), list(names.values()))
    ax.set(xlabel="bits/dim（越短越好）", xlim=(0, 4.5), ylim=(row - 1, -0.7), axisbelow=True)
    ax.grid(visible=False, axis="y")
    return figure


def transport_figure():
    """一堆标准高斯的土搬成均值 1、标准差 2 的一堆，箭头是最省的搬法"""
    figure, x = empty_figure(7.0, 2.8), np.linspace(-6, 7, 400)
    ax = plain_axes(figure.subplots())
    first, second = (np.exp(-((x - mean) / std) ** 2 / 2) / std / (2 * np.pi) ** 0.5 for mean, std in ((0, 1), (1, 2)))
    ax.fill_between(x, 0.1, 0.1 + first, color=BLUE, alpha=0.4, label="第一堆：均值 0，标准差 1")
    ax.fill_between(x, -0.1, -0.1 - second, color=ORANGE, alpha=0.4, label="第二堆：均值 1，标准差 2")
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
        ax.plot(*points[~inside].T, "o", color=ORANGE, markersize=5, label=f"{other}，没有落进")
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


def variance_figure(steps, scores, real):
    """{名字: 各步数的 {mean, se}}，real 是真图的距离"""
    figure = curves_figure((steps, {}, "采样的步数", "Fréchet 距离", "log", "log"))
    ax = figure.axes[0]
    for (name, several), color, style in zip(scores.items(), (BLUE, ORANGE), ("-", "--")):
        ax.errorbar(steps, [one["mean"] for one in several], yerr=[one["se"] for one in several], color=color, linestyle=style, capsize=3, label=name)
    ax.axhline(real, color=INK, linestyle=":", label="1000 张真图")
    few_ticks(ax.xaxis)
    few_ticks(ax.yaxis)
    small_legend(ax)
    return figure


def memorizer_figure(losses, distances, limit):
    """左：{(谁, 哪些图): 四段的损失}；右：{谁: 离最近的训练图多远}，竖线是近得可疑的门槛"""
    figure = empty_figure(9.0, 3.2)
    left, right = map(plain_axes, figure.subplots(1, 2))
    colors = {"digits": BLUE, "甲": ORANGE}
    for (who, where), values in losses.items():
        left.plot(range(len(values)), values, "o-" if where == "训练图" else "s--", color=colors[who], markersize=4, label=f"{who}，{where}")
    left.set_xticks(range(4), ["0–249", "250–499", "500–749", "750–999"])
    left.set(xlabel="步号 $t$", ylabel="损失", yscale="log")
    left.yaxis.set_major_formatter("{x:g}")
    for who, values in distances.items():
        values = np.asarray(values)
        edges = np.arange(np.floor(4 * values.min()), np.floor(4 * values.max()) + 1.5) / 4
        right.hist(values, edges, weights=np.full(len(values), 100 / len(values)), histtype="step", linewidth=1.8,
                   linestyle="-" if who in colors else "--", color=colors.get(who, GRAY), label=who)
    right.axvspan(0, limit, color=GRAY, alpha=0.2, linewidth=0)
    right.axvline(limit, color=INK, linestyle=":", label="门槛")
    right.text(0.63, 15, "近得\n可疑", ha="center", va="center", fontsize=9)
    right.text(0.31, 26, "甲：100%\n超出图顶", va="center", fontsize=9, color=ORANGE)
    right.set(xlabel="离最近的训练图多远", ylabel="占百分之几", xlim=(-0.1, 4), ylim=(0, 30))
    small_legend(left)
    small_legend(right)
    return figure
