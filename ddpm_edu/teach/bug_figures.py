"""第 16 章的图：一次一个点的差"""
import numpy as np

from .figures import BLUE, GRAY, INK, ORANGE, empty_figure, plain_axes

# 偏置多 0.1 与各抽各的，是同一种差，同一种颜色
COLORS = {"一样的权重": GRAY, "偏置多 0.1": ORANGE, "各抽各的": ORANGE, "同一份噪声": BLUE}


def gaps_figure(groups, xlabel):
    """每组一行点：groups = {名字: 数列}，一个点是一次的差；虚线是 0"""
    figure = empty_figure(7.0, 0.9 + 0.65 * len(groups))
    ax = plain_axes(figure.subplots())
    for row, (name, values) in enumerate(groups.items()):
        # 上下错开，免得点压着点；用黄金分割，每次画的都一样
        ax.plot(values, row + 0.5 * (np.arange(len(values)) * 0.618 % 1 - 0.5), "o", color=COLORS[name], markersize=4, alpha=0.7)
    ax.axvline(0, color=INK, linestyle="--", linewidth=1)
    ax.set(xlabel=xlabel, xlim=(-0.36, 0.36), ylim=(len(groups) - 0.5, -0.5))
    ax.set_yticks(range(len(groups)), labels=list(groups))
    return figure
