"""第 19 章的图：带误差棒的几条线，可以并排几格"""
import numpy as np

from .figures import CURVES, GRAY, empty_figure, few_ticks, plain_axes


def measured_figure(*plots, width=9.0, height=3.2):
    """并排几格，每格是 (标题, x, {名字: (平均, 标准误或 None[, 自己的 x])}, xlabel, ylabel[, xscale, yscale])"""
    figure = empty_figure(width, height)
    for ax, (title, x, rows, xlabel, ylabel, *scales) in zip(map(plain_axes, np.atleast_1d(figure.subplots(1, len(plots)))), plots):
        for (name, (mean, error, *own)), (color, style), marker in zip(rows.items(), CURVES, "osD^"):
            ax.errorbar(own[0] if own else x[:len(mean)], mean, error, color=color, linestyle=style, marker=marker, markersize=4, capsize=3, label=name)
        xscale, yscale = scales or ("linear", "linear")
        ax.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
        ax.set_title(title, fontsize=10)
        if xscale == "log" and len(x) <= 7:
            ax.set_xticks(x, [f"{value:g}" for value in x])
            ax.minorticks_off()
        few_ticks(ax.yaxis)
        if any(rows):
            ax.legend(fontsize=9, framealpha=0.85, edgecolor="none")
    return figure


def mark_rest(ax, low, high, text):
    """横轴上 low 到 high 的一段铺灰底，中间写字；返回整张图，放在单元的末尾就显示"""
    ax.axvspan(low, high, color=GRAY, alpha=0.2, linewidth=0)
    ax.text((low + high) / 2, 0.45, text, transform=ax.get_xaxis_transform(), ha="center", va="center", fontsize=9)
    return ax.figure
