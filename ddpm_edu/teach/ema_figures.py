"""第 11 章的图：成对的点、平均多长最好"""
import numpy as np

from .figures import BLUE, GRAY, ORANGE, empty_figure, plain_axes


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


def lengths_figure(parts, marked, xlabel, *sides):
    """平均得多长最好：每格是 (ylabel, 数的表：一行一个种子、一列一个长度, 不平均时的数)；竖线标出 marked"""
    figure = empty_figure(9.0)
    for ax, (ylabel, rows, raw) in zip(map(plain_axes, figure.subplots(1, len(sides))), sides):
        rows = np.asarray(rows)
        error = rows.std(0, ddof=1) / len(rows)**0.5 if len(rows) > 1 else None
        ax.errorbar(parts, rows.mean(0), error, color=BLUE, marker="o", markersize=4, capsize=3, label="影子")
        ax.axhline(float(raw), color=ORANGE, linestyle="--", label="权重，不平均")
        ax.axvline(marked, color=GRAY, linewidth=0.8, zorder=0)
        ax.set(xlabel=xlabel, ylabel=ylabel, xscale="log")
        ax.set_xticks(parts, labels=parts)
        ax.minorticks_off()
        ax.legend(fontsize=9, framealpha=0.85, edgecolor="none", bbox_to_anchor=(0.55, 0.93), loc="upper center")
    return figure
