"""第 7 章的图：方差由哪几份加成、弯的路与直的步子、步数与距离"""
import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from .figures import BLUE, CURVES, GRAY, GREEN, INK, empty_figure, plain_axes


def variance_bars_figure(rows):
    """一步之后方差由哪几份加成：rows = {名字: (图, 旧噪声, 新噪声)}，一个名字一条，从上到下；不到 1 的一截画成虚线"""
    figure = empty_figure(8.0, 2.5)
    ax = plain_axes(figure.subplots())
    names, shares = list(rows), np.array(list(rows.values()))
    starts = np.cumsum(shares, 1) - shares
    for label, color, start, share in zip(("图", "留下的旧噪声", "掺进的新噪声"), ("#cccccc", INK, GREEN), starts.T, shares.T):
        ax.barh(names, share, 0.6, start, color=color, label=label)
    ends = shares.sum(1)
    ax.axvline(1, color=INK, linewidth=1)
    ax.barh(names, np.maximum(1 - ends, 0), 0.6, ends, fill=False, edgecolor=INK, linestyle="--", linewidth=np.where(ends < 1 - 1e-9, 1.0, 0.0))
    ax.invert_yaxis()
    ax.grid(False)
    ax.set(xlim=(0, max(1.01, 1.03 * ends.max())), xlabel=r"$x_s$ 的方差，应当是 1")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    return figure


def straight_steps_figure(curves, walks, data, note=None):
    """弯的路与沿直线走的步子：curves 与 walks 的各项都是 ((S,) 的横坐标, (S, M) 的 M 条路)

    curves : 真的路，每一格都画；walks : {标题: 一步一步走的}，一个标题一格；横轴从大到小，往右走
    data   : (N,)，右边缘画它的直方图；note : (横, 纵, 一句话, 几个点)，写在头一格，从这里向各个点画箭头
    """
    figure, (heights, edges) = empty_figure(9.0), np.histogram(data, 25)
    for ax, (title, (stops, roads)) in zip(map(plain_axes, figure.subplots(1, len(walks), sharey=True)), walks.items()):
        true = ax.plot(*map(np.asarray, curves), color=GRAY, linewidth=3)[0]
        walk = ax.plot(np.asarray(stops), np.asarray(roads), color=BLUE, marker="o", markersize=4, linewidth=1.2)[0]
        ax.stairs(-0.05 - 0.15 * heights / heights.max(), edges, orientation="horizontal", baseline=-0.05, fill=True, color=GRAY, alpha=0.6)
        ax.legend([true, walk], ["真的路", "一步一步走"], fontsize=9, framealpha=0.85, edgecolor="none", loc="lower right", bbox_to_anchor=(0.89, 0))
        ax.set(xlim=(max(stops) + 0.05, -0.22), title=title, xlabel=r"$u$　噪声多 → 噪声少")
        ax.set_xticks(np.arange(0, max(stops) + 0.1, 0.5))
    figure.axes[0].set_ylabel(r"$x/\sqrt{\bar\alpha}$")
    if note:
        *place, text, points = note
        figure.axes[0].text(*place, text, fontsize=9, ha="right", va="center")
        for point in points:
            figure.axes[0].annotate("", point, place, arrowprops={"arrowstyle": "->", "color": INK})
    return figure


def steps_figure(views):
    """走几步，离真图的分布多远，两轴都是对数：views = {标题: (纵轴的名字, {名字: (步数, 平均, 标准误)}, 真图的 (平均, 标准误))}，一个标题一格

    没有标准误或没有真图的写 None
    """
    figure = empty_figure(9.0, 3.3)
    for ax, (title, (far, rows, floor)) in zip(map(plain_axes, figure.subplots(1, len(views))), views.items()):
        for (name, (counts, means, errors)), (color, style) in zip(rows.items(), CURVES):
            ax.errorbar(counts, means, errors, color=color, linestyle=style, marker="o", markersize=4, linewidth=1.5, capsize=3, label=name)
        ax.set(xscale="log", yscale="log", title=title, xlabel="步数（调用网络的次数）", ylabel=far)
        ax.set_xticks(counts, counts)
        ax.xaxis.set_minor_formatter(NullFormatter())
        if floor:
            ax.axhspan(floor[0] - floor[1], floor[0] + floor[1], color=GRAY, alpha=0.4, linewidth=0)
            ax.annotate("同样多的真图", (counts[0], floor[0] + floor[1]), xytext=(0, 3), textcoords="offset points", color=INK, fontsize=9)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(which="minor", length=0)
        ax.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper right")
    return figure
