"""加噪过程的三张图：一步步走与闭式，两个来源怎样混到一起，起点偏了，造出来的亮度错多少"""
import numpy as np

from .figures import BLUE, CURVES, GRAY, GREEN, INK, ORANGE, empty_figure, plain_axes


def normal(x, mean, std):
    return np.exp(-((x - mean) ** 2) / (2 * std**2)) / (std * np.sqrt(2 * np.pi))


def walk_figure(seen):
    """{走了几步: (走到的点, 闭式的均值, 闭式的标准差)}，点画成直方图的台阶，闭式是虚线"""
    figure = empty_figure(7.0, 3.0)
    ax, x = plain_axes(figure.subplots()), np.linspace(-3, 3, 1201)
    for count, (points, mean, std) in seen.items():
        density, edges = np.histogram(points.numpy(), np.linspace(mean - 4 * std, mean + 4 * std, 61), density=True)
        ax.stairs(density, edges, color=BLUE, alpha=0.18, fill=True)
        ax.stairs(density, edges, color=BLUE, linewidth=1.2, baseline=None, label="一步一步走" if count == min(seen) else None)
        closed = normal(x, mean, std)
        ax.plot(x, closed, color=ORANGE, linestyle="--", linewidth=1.2, label="一步就到的公式" if count == min(seen) else None)
        # 最宽的一条标在左边，别的标在右边
        side = -1 if count == max(seen) else 1
        at = mean + 1.2 * side * std
        ax.annotate(f"{count} 步", (at, normal(at, mean, std)), (22 * side, 14), textcoords="offset points", ha="center", fontsize=9,
                    color=INK, arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0})
    ax.set(xlabel="走到的位置", ylabel="密度", xlim=(-3, 3), ylim=(0, 3.9))
    ax.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper left")
    return figure


def sources_figure(x, halves, place):
    """{标题: (来自 +1 的一半, 来自 -1 的一半)}，密度画成两块底色，两者之和是蓝线；第二格在 place 处标出两块的高度各占几成"""
    figure = empty_figure(10.0, 3.2)
    axes = [plain_axes(ax) for ax in figure.subplots(1, len(halves), sharey=True)]
    for ax, (title, (plus, minus)) in zip(axes, halves.items()):
        ax.fill_between(x, plus, color=GREEN, alpha=0.45, linewidth=0, label="来自 $x_0=+1$")
        ax.fill_between(x, minus, color=GRAY, alpha=0.55, linewidth=0, label="来自 $x_0=-1$")
        ax.plot(x, plus + minus, color=BLUE, label="合起来，$q(x_t)$")
        ax.plot(x, normal(x, 0, 1), color=ORANGE, linestyle="--", linewidth=1.2, label=r"$\mathcal{N}(0,1)$")
        ax.set(xlabel="$x_t$", xlim=(x[0], x[-1]), ylim=(0, 1.25))
        ax.set_title(title, fontsize=10)
    axes[0].set_ylabel("密度")
    axes[-1].legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper right")
    at, (plus, minus) = int(abs(x - place).argmin()), list(halves.values())[1]
    share = plus[at] / (plus[at] + minus[at])
    axes[1].vlines(place, 0, plus[at], color=INK, linewidth=1)
    axes[1].plot([place, place], [plus[at], minus[at]], "o", color=INK, markersize=4)
    axes[1].annotate(f"$x_t={place}$ 处，绿与灰\n的高度是 {share:.2f} : {1 - share:.2f}", (place, plus[at]), (place, 0.75),
                     ha="center", fontsize=9, arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8})
    return figure


def brightness_figure(kinds, last):
    """从 N(0, I) 出发，造出来的亮度错多少：左格是平均挪了几个标准差，中格是标准差还剩几成，右格是末一种图放大到末一个边长时，亮度的分布

    kinds : {标题: (通道数, 亮度的平均, 亮度的标准差, 标出来的边长)}；last：ᾱ_{T-1}
    """
    figure = empty_figure(10.0, 3.1)
    *axes, right = [plain_axes(ax) for ax in figure.subplots(1, 3)]
    sides = np.geomspace(16, 900, 141)
    for (title, (channels, mean, std, marked)), (color, style) in zip(kinds.items(), CURVES):
        spots = np.array([*sides, *marked])
        f = 1 - 1 / (1 + last / (1 - last) * channels * spots**2 * std**2)
        for ax, errors in zip(axes, (f * abs(mean) / std, (1 - f**2) ** 0.5)):
            ax.plot(sides, errors[:len(sides)], color=color, linestyle=style, label=title)
            ax.plot(marked, errors[len(sides):], "o", color=color, markersize=5)
            for side, error in zip(marked, errors[len(sides):]):
                # 左格的线往右上走，中格的往右下走，数都写在线外；中格只写看得出缩了的
                says = f"{error:.2f}" if ax is axes[0] else f"{error:.0%}" if error < 0.9 else ""
                where = ((-7, 4), "right") if ax is axes[0] and color == BLUE else ((7, -10), "left") if ax is axes[0] else ((-7, -10), "right")
                ax.annotate(says, (side, error), where[0], textcoords="offset points", ha=where[1], fontsize=9)
    for ax, name in zip(axes, ("平均挪了几个标准差（对数轴）", "标准差还剩几成")):
        ax.set(xscale="log", xlabel="边长（像素）", xlim=(sides[0], sides[-1]))
        ax.set_xticks([28, 32, 140, 512], ["28", "32", "140", "512"])
        # 28 与 32 挨得近，两个数各往外让
        for tick, aside in zip(ax.get_xticklabels(), ("right", "left")):
            tick.set_ha(aside)
        ax.set_title(name, fontsize=10)
    axes[0].set(yscale="log", ylim=(0.01, 12))
    axes[0].set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    axes[0].legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper left")
    axes[1].set(ylim=(0, 1.05))
    axes[1].set_yticks([0, 0.5, 1], ["0", "50%", "100%"])
    for ax in axes:
        ax.minorticks_off()
    f, x = f[-1], np.linspace(-0.85, 0.75, 801)
    center, made = (1 - f) * mean, std * (1 - f**2) ** 0.5
    right.fill_between(x, normal(x, mean, std), color=GRAY, alpha=0.45, linewidth=0, label="真的")
    right.plot(x, normal(x, center, made), color=GREEN, label="造出来的")
    right.text(mean - 1.25 * std, normal(std, 0, std) + 0.2, f"标准差 {std:.2f}", ha="right", fontsize=9)
    right.text(center + 1.8 * made, normal(1.3 * made, 0, made), f"标准差 {made:.2f}", ha="left", va="bottom", fontsize=9)
    right.set(xlabel="平均亮度", ylabel="密度", xlim=(x[0], x[-1]), ylim=(0, None))
    right.set_title(f"{title}，放大到 {marked[-1]}×{marked[-1]}", fontsize=10)
    right.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper left")
    return figure
