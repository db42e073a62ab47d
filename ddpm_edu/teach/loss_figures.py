"""第 6 章的图：造出的月牙，有效样本与造错，数字上的两个数，下界花在哪些步上"""
import numpy as np

from .figures import BLUE, GRAY, INK, ORANGE, curves_figure, empty_figure, plain_axes
from .points import points_figure

COLORS, MARKERS = (INK, ORANGE, BLUE), "os^"


def made_figure(made, wrong, real):
    """made = {名字: 造出的点 (N, 2)}，wrong = {名字: 造错的是真 (N,)}；real 是真的点，画成灰影"""
    titles = {name: f"{name}：造错 {marks.double().mean():.1%}" for name, marks in wrong.items()}
    figure = points_figure({titles[name]: made[name] for name in made}, {titles[name]: wrong[name] for name in made}, shadow=real, limit=2.2)
    for ax in figure.axes:
        ax.collections[1].set_alpha(0.8)  # 造出的点，比灰影浓
    return figure


def effective_figure(groups):
    """{怎样用权重: ((批, 有效样本数, 造错的百分数, 标准误), ...)}，一种一条线，两轴都是对数；误差条是两个标准误

    线的名字写在末端；批与有效样本数不同的点，旁边写批
    """
    figure = empty_figure(7.4, 3.4)
    ax = plain_axes(figure.subplots())
    ends = {"全取 1": (4, 17, "right"), "抽": (9, -9, "left")}
    for (title, rows), color, marker in zip(groups.items(), COLORS, MARKERS):
        _, x, y, se = zip(*rows)
        ax.errorbar(x, y, [2 * value for value in se], color=color, marker=marker, linewidth=0.8, capsize=3)
        for i, (batch, at, height, _) in enumerate(rows):
            right, up, side = ends.get(title, (-9, -3, "right"))
            said = [title] * (i == len(rows) - 1) + [f"一批 {batch}"] * (batch != at)
            ax.annotate("，".join(said), (at, height), (right, up), textcoords="offset points", ha=side, va="center", fontsize=9, color=color)
    ax.set(xlabel="一批的有效样本数", ylabel="造错", xscale="log", yscale="log", xlim=(22, 5000), ylim=(2.2, 22))
    ax.set_xticks((40, 128, 323, 512, 4096), ("40", "128", "323", "512", "4096"))
    ax.set_yticks((3, 5, 10, 20), ("3%", "5%", "10%", "20%"))
    ax.minorticks_off()
    return figure


def digits_figure(rows):
    """{怎样用权重: (Fréchet 距离, 标准误, bits/dim, 标准误)}：左右两格，一行一种"""
    figure = empty_figure(9.0, 2.4)
    left, right = figure.subplots(1, 2, sharey=True)
    styles = dict(zip(("全取 1", "乘", "抽"), zip(COLORS, MARKERS)))
    for place, (name, (far, far_se, bits, bits_se)) in enumerate(rows.items()):
        color, marker = styles[name]
        for ax, value, se in ((plain_axes(left), far, far_se), (plain_axes(right), bits, bits_se)):
            ax.errorbar(value, place, xerr=2 * se, color=color, marker=marker, capsize=3)
            ax.annotate(f"{value} ± {se}", (value, place), (0, 13), textcoords="offset points", ha="center", fontsize=9, color=color)
    left.set(xlabel="Fréchet 距离", xlim=(0, 240), ylim=(len(rows) - 0.5, -0.8), yticks=range(len(rows)))
    left.set_yticklabels(rows)
    right.set(xlabel="bits/dim", xlim=(2.9, 3.65))
    return figure


def spent_figure(running, marks):
    """running 是从 t = 0 累计的 bits/dim，(T,)；marks 里的每个 t 画一条竖线，写上到那里花去几成"""
    figure = curves_figure((np.arange(1, len(running) + 1), {"": running}, "$t+1$", "从 0 到 $t$ 累计的 bits/dim", "log", "linear"))
    figure.axes[0].set_xticks((1, 10, 100, 1000), ("1", "10", "100", "1000"))
    figure.axes[0].minorticks_off()
    for t in marks:
        figure.axes[0].axvline(t + 1, color=GRAY, linewidth=0.8)
        figure.axes[0].text(t + 1, 0.05, f" $t={t}$：{running[t] / running[-1]:.0%}", fontsize=9)
    return figure
