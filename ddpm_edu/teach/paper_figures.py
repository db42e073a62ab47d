"""第 19 章的图：带误差棒的几条线，可以并排几格；逐个种子相减的图"""
import numpy as np

from .figures import BLUE, CURVES, GRAY, INK, ORANGE, empty_figure, few_ticks, plain_axes
from .papers import gap, verdict


def measured_figure(*plots, width=9.0, height=3.2):
    """并排几格，每格是 (标题, x, {名字: (平均, 标准误或 None[, 自己的 x[, 颜色]])}, xlabel, ylabel[, xscale, yscale])；有自己的 x 的只画点，不连线"""
    figure = empty_figure(width, height)
    for ax, (title, x, rows, xlabel, ylabel, *scales) in zip(map(plain_axes, np.atleast_1d(figure.subplots(1, len(plots)))), plots):
        for (name, (mean, error, *own)), (color, style), marker in zip(rows.items(), CURVES, "osD^"):
            ax.errorbar(own[0] if own else x[:len(mean)], mean, error, color=own[1] if own[1:] else color, linestyle="none" if own else style,
                        marker=marker, markersize=4, capsize=3, label=name)
        xscale, yscale = scales or ("linear", "linear")
        ax.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
        ax.set_title(title, fontsize=10)
        if xscale == "log" and len(x) <= 7:
            ax.set_xticks(x, [f"{value:g}" for value in x])
            ax.minorticks_off()
        few_ticks(ax.yaxis)
        if yscale == "log":
            ax.yaxis.set_major_formatter("{x:g}")
        if len(rows) > 1:
            ax.legend(fontsize=9, framealpha=0.85, edgecolor="none")
    return figure


def zero_line(figure, *panels):
    """在第几格画一条零线：误差棒碰到它，就看不出谁大；返回整张图"""
    for panel in panels:
        figure.axes[panel].axhline(0, color=GRAY, linewidth=1)
    return figure


def mark_parts(figure, edges, names, cut, cut_name):
    """第一格的横轴上，edges 里相邻两数之间的各段铺灰底，一段比一段深，中间写名字；再用箭头指出 cut 这一点；返回整张图"""
    ax = figure.axes[0]
    for k, (low, high, name) in enumerate(zip(edges, edges[1:], names)):
        ax.axvspan(low, high, color=GRAY, alpha=0.15 + 0.2 * k, linewidth=0)
        ax.text((low + high) / 2, 0.45, name, transform=ax.get_xaxis_transform(), ha="center", va="center", fontsize=9)
    ax.annotate(cut_name, cut, (0.22, 0.5), textcoords="axes fraction", fontsize=9, arrowprops={"arrowstyle": "->", "color": INK})
    return figure


def paired_figure(slopes, gaps, names, ylabel, gap_label, width=10.0, height=3.3):
    """逐个种子相减

    slopes : {标题: (前一种的各个种子, 后一种的各个种子)}，一条线是一个种子；names 是两种的名字
    gaps   : {名字: 各个种子的差}，画在最右一格；横线是平均，误差棒是它的 95% 区间
    """
    figure = empty_figure(width, height)
    *each, last = map(plain_axes, figure.subplots(1, len(slopes) + 1, width_ratios=[1] * len(slopes) + [1.5]))
    top = max(max(map(max, pair)) for pair in slopes.values())
    for ax, (title, pair) in zip(each, slopes.items()):
        ax.plot([0, 1], np.array(pair), color=BLUE, marker="o", markersize=4, linewidth=1, alpha=0.7)
        ax.set_xticks([0, 1], names)
        ax.set(xlim=(-0.3, 1.3), ylim=(0, 1.05 * top), ylabel=ylabel)
        ax.set_title(title, fontsize=10)
    for place, values in enumerate(gaps.values()):
        last.plot([place - 0.15] * len(values), values, "o", color=BLUE, markersize=4, alpha=0.7)
        one = gap(values, np.zeros(len(values)))
        last.errorbar(place + 0.15, one["mean"], one["margin"], color=INK, marker="_", markersize=12, capsize=4)
    last.axhline(0, color=GRAY, linewidth=1)
    last.set_xticks(range(len(gaps)), list(gaps))
    last.set(xlim=(-0.6, len(gaps) - 0.4), ylabel=gap_label)
    last.set_title("逐个种子相减", fontsize=10)
    return figure


def verdicts_figure(judged, width=9.5):
    """判过的各条，从上到下：judged 是 [(哪一处图表, 结论, gap 的结果), ...]，同一处的排在一起

    一个圆点是一条：差的平均除以 95% 区间的一半；灰带是 -1 到 1，区间在那里碰到零
    """
    lines = []
    for paper, claim, one in judged:
        if paper not in [line[0] for line in lines]:
            lines.append((paper, paper, None))
        lines.append((paper, claim, one))
    figure = empty_figure(width, 0.21 * len(lines) + 0.9)
    ax = plain_axes(figure.subplots())
    ax.axvspan(-1, 1, color=GRAY, alpha=0.3, linewidth=0)
    looks = {"成立": (BLUE, "o"), "看不出": (INK, "D"), "不成立": (ORANGE, "s")}
    for place, (_, _, one) in enumerate(lines):
        if one is not None:
            color, marker = looks[verdict(one)]
            ax.plot(one["mean"] / one["margin"], place, marker, color=color, markersize=5)
    for word, at in (("不成立", -2.2), ("看不出", 0), ("成立", 5)):
        ax.text(at, -1.2, word, ha="center", va="bottom", color=looks[word][0], fontsize=10)
    ax.set_yticks(range(len(lines)), [claim for _, claim, _ in lines], fontsize=8)
    for label, (_, _, one) in zip(ax.get_yticklabels(), lines):
        label.set_color("#767676" if one is None else INK)
    ax.set(xscale="symlog", ylim=(len(lines) - 0.5, -1.4), xlabel="差的平均是 95% 区间一半的几倍")
    ticks = [-3, -1, 0, 1, 3, 10, 30]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    return figure
