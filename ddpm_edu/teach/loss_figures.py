"""第 6 章的图：有效样本与造错"""
from .figures import BLUE, INK, ORANGE, empty_figure, plain_axes

COLORS, MARKERS = (INK, ORANGE, BLUE), "os^"
SIDES = {"左": ((-9, 0), "right"), "右": ((9, 0), "left"), "左下": ((-7, -9), "right")}


def effective_figure(groups):
    """{怎样用权重: {名字: (有效样本数, 造错的百分数, 标准误, 名字写在点的哪边)}}，两轴都是对数；误差条是两个标准误"""
    figure = empty_figure(7.4, 3.6)
    ax = plain_axes(figure.subplots())
    for (title, rows), color, marker in zip(groups.items(), COLORS, MARKERS):
        x, y, se, _ = zip(*rows.values())
        ax.errorbar(x, y, [2 * value for value in se], color=color, marker=marker, linestyle="none", capsize=3, label=title)
        for name, (at, height, _, side) in rows.items():
            shift, align = SIDES[side]
            ax.annotate(name, (at, height), shift, textcoords="offset points", ha=align, va="center", fontsize=9, color=color)
    ax.set(xlabel="一批的有效样本数", ylabel="造错", xscale="log", yscale="log", xlim=(15, 12000), ylim=(2.2, 22))
    ax.set_xticks((40, 100, 500, 1000, 4000), ("40", "100", "500", "1000", "4000"))
    ax.set_yticks((3, 5, 10, 20), ("3%", "5%", "10%", "20%"))
    ax.minorticks_off()
    ax.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper right")
    return figure
