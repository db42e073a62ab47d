"""第 16 章的图：从数据到样本的各个环节；一次一个点的差；学习率的乘数；影子怎样跟着权重走"""
from itertools import pairwise

import numpy as np
from matplotlib.patches import Rectangle

from .diagrams import arrow
from .figures import BLUE, GRAY, INK, ORANGE, empty_figure, plain_axes

# 偏置多 0.1 与各抽各的，是同一种差，同一种颜色
COLORS = {"一样的权重": GRAY, "偏置多 0.1": ORANGE, "各抽各的": ORANGE, "同一份噪声": BLUE}


def gaps_figure(groups, truth):
    """每组一行点：groups = {名字: 数列}，一个点是一次比较；truth = {名字: 真正的差}，画成竖线"""
    figure = empty_figure(7.0, 0.9 + 0.65 * len(groups))
    ax = plain_axes(figure.subplots())
    for row, (name, values) in enumerate(groups.items()):
        # 上下错开，免得点压着点；用黄金分割，每次画的都一样
        ax.plot(values, row + 0.5 * (np.arange(len(values)) * 0.618 % 1 - 0.5), "o", color=COLORS[name], markersize=4, alpha=0.7)
        ax.plot([truth[name]] * 2, [row - 0.36, row + 0.36], color=INK, linewidth=2)
        ax.text(truth[name], row - 0.4, f"真正的差 {truth[name]:.3g}", ha="center", va="bottom", fontsize=9, color=INK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    ax.axvline(0, color=GRAY, linestyle="--", linewidth=1)
    ax.set(xlabel="损失之差（减去原权重的损失）", xlim=(-0.36, 0.36), ylim=(len(groups) - 0.5, -0.7))
    ax.set_yticks(range(len(groups)), labels=list(groups))
    return figure


def multiplier_figure(multipliers, right):
    """学习率的乘数：multipliers 是这份代码的，right 是应有的，从第 0 步起一步一个；小图放大第 80–120 步，负的一段涂色"""
    figure = empty_figure(7.0, 3.4)
    ax, steps, values = plain_axes(figure.subplots()), np.arange(len(multipliers)), np.array(multipliers)
    ax.fill_between(steps, values, 0, where=values < 0, color=ORANGE, alpha=0.4, linewidth=0)
    inset = plain_axes(ax.inset_axes([0.56, 0.55, 0.42, 0.43]))
    for panel, mark in ((ax, ""), (inset, ".")):
        panel.plot(steps, right, color=BLUE, linewidth=1.2, linestyle="--", label="应有的")
        panel.plot(steps, values, color=ORANGE, marker=mark, label="这份代码")
    ax.axhline(0, color=GRAY, linewidth=1)
    for n, side in ((99, (-1.5, 0.02, "right")), (100, (0, -0.05, "center"))):
        inset.text(n + side[0], values[n] + side[1], f"第 {n} 步 {values[n]:.2f}", ha=side[2], va="center", fontsize=9, color=INK)
    ax.plot(1100, values[1100], "o", color=INK, markersize=4)
    ax.text(1082, values[1100], f"第 1100 步 −{-values[1100]:.2f}", ha="right", va="top", fontsize=9, color=INK)
    inset.set(xlim=(78, 122), ylim=(0.77, 1.06))
    inset.tick_params(labelsize=9)
    ax.indicate_inset_zoom(inset, edgecolor=GRAY)
    ax.legend(fontsize=9, loc="lower left", edgecolor="none", bbox_to_anchor=(0.16, 0.0))
    ax.set(xlabel="步 $n$", ylabel="学习率的乘数", xlim=(-40, 1240), ylim=(-0.32, 1.18))
    return figure


def shadow_figure(weights, shadows, ideal, update=80):
    """影子怎样跟着权重走：第 update 批之后权重跳一次，涂灰的是它到下一跳之间的十批；只画前后几跳"""
    figure = empty_figure(7.0, 3.4)
    ax, batches = plain_axes(figure.subplots()), np.arange(len(weights))
    ax.axvspan(update, update + 10, color=GRAY, alpha=0.2, linewidth=0)
    for values, color, style, name in ((weights, BLUE, "-", "权重"), (shadows, ORANGE, "-", "影子"), (ideal, INK, ":", "影子应有的样子")):
        ax.plot(batches, values, color=color, linestyle=style, drawstyle="steps-post", label=name)
    start, end, x = shadows[update - 1], shadows[update + 9], update + 9.5
    ax.plot([update - 1, x + 0.5], [start, start], color=ORANGE, linewidth=0.8)
    ax.annotate("", (x, end), (x, start), arrowprops={"arrowstyle": "-|>", "color": ORANGE, "lw": 1.2, "shrinkA": 0, "shrinkB": 0})
    ax.text(x + 1.5, (start + end) / 2, "影子走完 65%", ha="left", va="center", fontsize=9, color=ORANGE)
    ax.annotate("应当只走 10%", (update, ideal[update]), (update - 8, 0.08), fontsize=9, color=INK, ha="center",
                arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 0.8})
    ax.legend(fontsize=9, loc="upper left", edgecolor="none")
    ax.set(xlabel="过了几批", ylabel="权重的值", xlim=(update - 22, update + 42))
    return figure


# 环节：{字母或名字: (横坐标, 纵坐标, 方框里的字)}；只有字母的才是猎场的选项
STAGES = {"数据": (0, 1, "数据"), "A": (1, 1, "加噪与\n噪声表"), "训练的网络": (3, 1, "网络"), "F": (4, 1, "训练损失"), "优化器": (5, 1, "优化器与\n学习率"),
          "G": (6, 1, "EMA 的\n更新"), "B": (2.5, 0, "步号 $t$\n怎样进网络"), "C": (3.5, 0, "类别\n怎样进网络"), "起点": (4.4, -1, "纯噪声"),
          "样本": (0, -1, "样本"), "E": (1, -1, "采样的\n一步"), "D": (2, -1, "换算 $\\hat{x}_0$\n与截断"), "采样的网络": (3, -1, "网络"),
          "H": (6, -1, "装载，换上\n换下 EMA")}
ROWS = (("数据", "A", "训练的网络", "F", "优化器", "G"), ("起点", "采样的网络", "D", "E", "样本"))


def pipeline_figure(cases=None):
    """从数据到样本的各个环节，A–H 与猎场的选项相同；cases = {环节: 病例的号码}，写在方框旁边"""
    figure = empty_figure(9.0, 3.7)
    ax = figure.subplots()
    for name, (x, y, words) in STAGES.items():
        letter = f"{name}　" if len(name) == 1 else ""
        ax.add_patch(Rectangle((x - 0.4, y - 0.28), 0.8, 0.56, facecolor="#eef4f9" if letter else "#ffffff", edgecolor=BLUE if letter else GRAY, linewidth=1.0))
        ax.text(x, y - 0.01, words, ha="center", va="center", fontsize=9, color=INK, linespacing=1.2)
        ax.text(x - 0.4, y + 0.38, name if letter else "", ha="left", va="center", fontsize=11, color=BLUE)
        ax.text(x + 0.4, y + 0.31, f"病例 {cases[name]}" if cases and name in cases else "", ha="right", va="bottom", fontsize=9, color=ORANGE, linespacing=1.2)
    for start, end in (pair for row in ROWS for pair in pairwise(row)):
        (left, y, _), (right, _, _) = STAGES[start], STAGES[end]
        side = 0.41 if right > left else -0.41
        arrow(ax, (left + side, y), (right - side, y), INK, 1.0)
    for x, to in ((2.5, 2.85), (3.5, 3.15)):
        for sign in (1, -1):
            arrow(ax, (x, 0.29 * sign), (to, 0.71 * sign), GRAY, 1.0)
    for x in (1, 1.82):  # 噪声表，换算与采样的一步也要查
        arrow(ax, (1 if x == 1 else 1.12, 0.71), (x, -0.71), GRAY, 1.0)
    ax.text(0.94, 0.42, "噪声表", ha="right", va="center", fontsize=9, color=INK)
    arrow(ax, (6, 0.71), (6, -0.5), INK, 1.0)
    arrow(ax, (6, -1.3), (3.12, -1.3), INK, 1.0, connectionstyle="arc3,rad=-0.13")
    ax.text(4.6, -1.66, "权重", ha="center", va="center", fontsize=9, color=INK)
    ax.text(6.06, 0.1, "检查点", ha="left", va="center", fontsize=9, color=INK)
    arrow(ax, (1, -1.3), (3, -1.3), INK, 1.0, connectionstyle="arc3,rad=0.18")
    ax.text(2, -1.66, "换到前一个步号，再来一遍", ha="center", va="center", fontsize=9, color=INK)
    for y, words in ((1.62, "训练　→"), (-0.4, "←　采样")):
        ax.text(-0.4, y, words, ha="left", va="center", fontsize=11, color=INK)
    ax.set(xlim=(-0.5, 6.65), ylim=(-1.8, 1.75))
    ax.set_axis_off()
    return figure
