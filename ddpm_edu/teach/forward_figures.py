"""加噪过程的三张图：一步步走与闭式，两个来源怎样混到一起，从纯噪声出发造出来的图有多亮"""
import numpy as np

from .figures import BLUE, GRAY, GREEN, INK, ORANGE, empty_figure, plain_axes


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
        ax.annotate(f"{count} 步", (mean, closed.max()), (0, 3), textcoords="offset points", ha="center", fontsize=9, color=INK,
                    bbox={"color": "white", "alpha": 0.6, "pad": 0.5})
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


def brightness_figure(cases, last):
    """{标题: (一张图有几个数 N, 亮度的平均, 亮度的标准差)} → 真的亮度，与完美的采样器从 N(0, I) 出发造出来的亮度；last 是 ᾱ_{T-1}"""
    figure = empty_figure(10.0, 3.0)
    axes = [plain_axes(ax) for ax in figure.subplots(1, len(cases), sharex=True, sharey=True)]
    for ax, (title, (count, mean, std)) in zip(axes, cases.items()):
        signal = last * count * std**2
        share = signal / (signal + 1 - last)
        # 亮度的后验：方差 s²(1-f)，均值随起点挪动，又添 s²f²/(ᾱNs²)
        made = (1 - share) * mean, std * (1 - share + share**2 / signal) ** 0.5
        x = np.linspace(-1.15, 0.95, 1051)
        ax.fill_between(x, normal(x, mean, std), color=GRAY, alpha=0.45, linewidth=0, label="真的")
        ax.plot(x, normal(x, *made), color=BLUE, label="造出来的")
        # 加 0.0，−0.00 才印成 0.00
        says = [f"{round(a, 2) + 0.0:.2f} ± {b:.2f}".replace("-", "−") for a, b in ((mean, std), made)]
        ax.set(xlim=(x[0], x[-1]))
        ax.set_title(f"{title}\n$f$ = {share:.1%}", fontsize=10, linespacing=1.4)
        if made[1] < 0.5 * std:
            ax.annotate(f"窄到 {made[1] / std:.0%}", (made[0] + made[1], 4.2), (0.3, 5), fontsize=9,
                        arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8})
        ax.set_xlabel(f"平均亮度\n真的 {says[0]}，造出来 {says[1]}", linespacing=1.5)
    axes[0].set_ylim(0, None)
    axes[0].set_ylabel("密度")
    axes[0].legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper right")
    return figure
