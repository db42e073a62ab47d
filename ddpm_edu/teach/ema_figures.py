"""第 11 章的图：成对的点、沿直线的损失、谷底在哪里、平均多长最好"""
import numpy as np

from .figures import BLUE, GRAY, INK, ORANGE, curve_figure, empty_figure, few_ticks, plain_axes


def pairs_figure(groups, ylabel, floor_name, floor):
    """成对的点：groups = {左: 数列, 右: 数列}，同一个种子连一条线；方块是平均与标准误，点划线是参照"""
    figure = empty_figure(5.0)
    ax = plain_axes(figure.subplots())
    both = np.array([np.asarray(values) for values in groups.values()])
    ax.plot([0, 1], both, color=GRAY, linewidth=0.8)
    for x, side, values, color in zip((0, 1), (-0.15, 1.15), both, (ORANGE, BLUE)):
        ax.plot([x] * len(values), values, "o", color=color, markersize=4)
        ax.errorbar(side, values.mean(), values.std(ddof=1) / len(values)**0.5, fmt="s", color=color, capsize=4)
    ax.axhline(floor, color=GRAY, linestyle="-.", linewidth=1)
    ax.annotate(f"{floor_name}，{floor}", (0.5, floor), xytext=(0, 3), textcoords="offset points", ha="center", color="#666666", fontsize=9)
    ax.set(xlim=(-0.4, 1.4), ylim=(0, 1.08 * both.max()), ylabel=ylabel)
    ax.set_xticks([0, 1], labels=list(groups))
    return figure


def line_figure(places, losses):
    """沿一条直线的损失：places 里 0 是权重，1 是影子"""
    figure = empty_figure(6.0, 2.7)
    ax = plain_axes(figure.subplots())
    places, losses = np.asarray(places), np.asarray(losses)
    ax.plot(places, losses, color=GRAY, marker=".")
    for place, name, color, mark in ((0, r"权重 $\theta$", ORANGE, "s"), (1, "影子 $s$", BLUE, "o")):
        height = losses[places == place].item()
        ax.plot(place, height, mark, color=color)
        ax.annotate(name, (place, height), xytext=(2, 9), textcoords="offset points", color=color)
    ax.set(xlabel="从权重（0）到影子（1）的直线上的位置", ylabel="留出的图上的损失")
    ax.set_xticks(range(int(places[0]), int(places[-1]) + 1))
    return figure


def valleys_figure(window, curves, valleys):
    """误差随平均的长短怎样变：curves = {名字: 数列}，名字写在线旁；valleys 里的每一条，谷底画一个圈"""
    figure = curve_figure(window, curves, "平均最近多少步，$1/(1-d)$", "均方根误差", "log", "log")
    ax = figure.axes[0]
    ax.get_legend().remove()
    ax.set(xlim=(1, 10_000), ylim=(0.03, 3))
    ax.set_xticks([1, 10, 100, 1000, 10_000], labels=["1", "10", "100", "1000", "10 000"])
    ax.set_yticks([0.03, 0.1, 0.3, 1, 3], labels=["0.03", "0.1", "0.3", "1", "3"])
    ax.minorticks_off()
    # 每条线的名字放在 x 处，往 (右, 上) 挪几点
    for line, (x, shift) in zip(ax.lines, ((1800, (8, -8)), (1.3, (0, 7)), (500, (-8, 5)), (170, (-8, -14)))):
        nearest = abs(np.asarray(line.get_xdata()) - x).argmin()
        ax.annotate(line.get_label(), (x, line.get_ydata()[nearest]), xytext=shift, textcoords="offset points",
                    color="#666666" if line.get_color() == GRAY else line.get_color(), ha="left" if shift[0] >= 0 else "right")
    for values in map(np.asarray, valleys):
        best = values.argmin()
        place = float(window[best]), float(values[best])
        ax.plot(*place, "o", color=INK, markerfacecolor="white")
        ax.annotate(f"约 {round(place[0], -1):.0f} 步", place, xytext=(0, 8), textcoords="offset points", ha="center")
    return figure


def lengths_figure(tens, marked, *sides):
    """平均得多长最好：tens 是刻度，竖线标出 marked；横轴向右越长

    每格是 (标题, ylabel, yscale, 各个 c, 数的表：一行一个种子、一列一个 c, 不平均时的一列数)；谷底画一个圈
    """
    figure = empty_figure(9.0, 3.5)
    figure.get_layout_engine().set(wspace=0.05)
    for ax, (title, ylabel, yscale, places, rows, raw) in zip(map(plain_axes, figure.subplots(1, len(sides))), sides):
        rows, raw = np.asarray(rows), np.asarray(raw)
        parts, mean, several = np.array(places) - 1, rows.mean(0), len(raw) > 1
        error = rows.std(0, ddof=1) / len(rows)**0.5 if several else None
        ax.errorbar(parts, mean, error, color=BLUE, marker="o", markersize=4, capsize=3, label="影子 ± 标准误")
        ax.plot(parts[mean.argmin()], mean.min(), "o", color=INK, markerfacecolor="white", markersize=7, zorder=5)
        ax.axhline(raw.mean(), color=ORANGE, linestyle="--", label="原权重 ± 标准误")
        if several:
            half = raw.std(ddof=1) / len(raw)**0.5
            ax.axhspan(raw.mean() - half, raw.mean() + half, color=ORANGE, alpha=0.12, linewidth=0, zorder=0)
            ax.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper left", bbox_to_anchor=(0.1, 1))
        else:
            ax.annotate("原权重", (parts[-1], raw[0]), xytext=(0, -5), textcoords="offset points", va="top", ha="left", color=ORANGE)
            ax.annotate("影子", (parts[-2], mean[-2]), xytext=(6, 4), textcoords="offset points", color=BLUE)
        ax.axvline(marked - 1, color=GRAY, linewidth=0.8, zorder=0)
        ax.set(xlabel="平均已走步数的几分之几（下一行是公式里的 $c$）", ylabel=ylabel, xscale="log", yscale=yscale)
        ax.set_title(title, fontsize=11)
        ax.set_xticks(np.array(tens) - 1, labels=[f"{'全部' if c == 2 else f'1/{c - 1}'}\n{c}" for c in tens])
        ax.minorticks_off()
        few_ticks(ax.yaxis)
        ax.invert_xaxis()
    return figure
