"""噪声表的几张图：加噪的点、β 与 ᾱ、从偏了的起点造出来的点、误差传到下一步乘上几倍"""
import numpy as np

from ..schedules import alphas_cumprod
from .figures import BLUE, CURVES, GRAY, GREEN, INK, ORANGE, empty_figure, plain_axes

STYLES = {"linear": (BLUE, "-"), "sqrt_linear": (ORANGE, "--"), "sqrt": (INK, ":"), "cosine": (GREEN, "-.")}


def percent(ratio):
    """0.2789 → 27.9%；不到千分之一的写成 < 0.1%"""
    return f"{ratio:.1%}" if ratio >= 1e-3 else "< 0.1%"


def ruined_points_figure(tables, points, labels, noise, steps, width=6.5):
    """同一批点按各张表加噪：一行一张表，一列一个步号，格子下面是原图的幅度；points、noise 是 (N, 2)，labels 是 (N,) 的 0 与 1"""
    figure = empty_figure(width, (width / len(steps) + 0.15) * len(tables) + 0.2)
    colors = np.where(np.asarray(labels) == 0, BLUE, ORANGE)
    grid = figure.subplots(len(tables), len(steps), squeeze=False)
    for axes, (name, betas) in zip(grid, tables.items()):
        bars = alphas_cumprod(betas)[0]
        for ax, t in zip(axes, steps):
            x, y = (bars[t] ** 0.5 * np.asarray(points) + (1 - bars[t]) ** 0.5 * np.asarray(noise)).T
            ax.scatter(x, y, s=1, c=colors, alpha=0.7, linewidths=0)
            ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal", xticks=(), yticks=())
            ax.set_xlabel(rf"$\sqrt{{\bar\alpha_t}}$：{percent(bars[t] ** 0.5)}", fontsize=9)
        axes[0].set_ylabel(name)
    for ax, t in zip(grid[0], steps):
        ax.set_title(f"$t={t}$", fontsize=10)
    return figure


def schedules_figure(tables):
    """{名字: β} → β_t 与 ᾱ_t 两幅；信噪比第一次小于 1，也就是 ᾱ_t 低于一半的那一步画成点，旁边写着步号"""
    figure = empty_figure(9.0, 3.4)
    left, right = (plain_axes(ax) for ax in figure.subplots(1, 2))
    # 418 与 496 离得近，一个写在左下，一个写在右上
    places = {"linear": (-5, -12, "right"), "cosine": (5, 4, "left")}
    for name, betas in tables.items():
        bars, (color, style) = alphas_cumprod(betas)[0], STYLES[name]
        half = int((bars < 0.5).argmax())
        left.plot(betas, color=color, linestyle=style, label=name)
        right.plot(bars, color=color, linestyle=style)
        right.plot(half, bars[half], "o", color=color, markersize=4)
        x, y, side = places.get(name, (5, 4, "left"))
        right.annotate(str(half), (half, bars[half]), (x, y), textcoords="offset points", ha=side, fontsize=9, color=color)
    left.set(xlabel="步号 $t$", ylabel=r"$\beta_t$", yscale="log")
    right.set(xlabel="步号 $t$", ylabel=r"$\bar\alpha_t$")
    left.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="lower right")
    right.axhline(0.5, color=GRAY, linewidth=0.8)
    right.axhline(0.05, color=GRAY, linewidth=0.8, linestyle="--")
    right.annotate("5%", (1000, 0.05), (0, 4), textcoords="offset points", ha="right", fontsize=9, color="#666666")
    right.annotate("原图、噪声各半", (1000, 0.5), (0, -12), textcoords="offset points", ha="right", fontsize=9, color="#666666")
    return figure


def landed_figure(clouds, real, width=7.0):
    """{名字: 造出来的点 (N, 2)} → 一个名字一张图：灰的是真的点，箭头从真点的平均指向 0（空心圆），× 是造出来的点的平均，数字写在下面"""
    figure = empty_figure(width, width / len(clouds) + 0.5)
    real = np.asarray(real)
    middle, half = (real.max(0) + real.min(0)) / 2, np.ptp(real, axis=0).max() / 2 + 0.1
    for ax, (name, points) in zip(figure.subplots(1, len(clouds), squeeze=False)[0], clouds.items()):
        points = np.asarray(points)
        mean = points.mean(0)
        ax.scatter(*real.T, s=3, c=GRAY, alpha=0.35, linewidths=0)
        ax.scatter(*points.T, s=2, c=BLUE, alpha=0.5, linewidths=0)
        ax.axvline(real[:, 0].mean(), color=GRAY, linewidth=0.8)
        ax.axhline(real[:, 1].mean(), color=GRAY, linewidth=0.8)
        ax.plot(0, 0, "o", color=INK, markersize=9, markerfacecolor="white", markeredgewidth=1.8)
        ax.annotate("", (0, 0), real.mean(0), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 6})
        ax.annotate("起点的平均", (0, 0), (8, 6), textcoords="offset points", fontsize=9, color=INK)
        ax.plot(*mean, "x", color=ORANGE, markersize=10, markeredgewidth=3, zorder=4)
        ax.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half), aspect="equal", xticks=(), yticks=())
        ax.set_title(name, fontsize=10)
        words = "，".join(f"{value:.2f}".replace("-", "−") for value in mean)
        ax.set_xlabel(f"平均（{words}）", fontsize=10)
    return figure


def told(value):
    """631.35 → 631；0.2201 → 0.22"""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def gains_figure(charts, width=9.0):
    """{表名: (各步的 t, {目标: 各步的倍数})}，从采样的第一步起 → 一张表一幅，共用纵轴，一步一个点；eps 与 x0 最坏的一步写着倍数"""
    figure = empty_figure(width, 3.5)
    axes = figure.subplots(1, len(charts), sharey=True, squeeze=False)[0]
    for ax, (name, (times, curves)) in zip(map(plain_axes, axes), charts.items()):
        ax.axhline(1, color=GRAY, linewidth=0.8)
        for (target, values), (color, style) in zip(curves.items(), CURVES):
            ax.plot(times, values, color=color, linestyle=style, linewidth=1, marker="o", markersize=2.5, label=target)
        for target, shift, side in (("eps", (2, 8), "right"), ("x0", (4, 6), "left")):
            color, i = CURVES[list(curves).index(target)][0], int(np.argmax(curves[target]))
            ax.plot(times[i], curves[target][i], "o", color=color, markersize=6)
            ax.annotate(f"最坏：{told(curves[target][i])} 倍", (times[i], curves[target][i]), shift, textcoords="offset points",
                        ha=side, fontsize=9, color=color)
        ax.set(title=name, xlabel="步号 $t$（采样从右往左走）", yscale="log", ylim=(1e-3, 4e3))
    axes[0].set_ylabel("误差乘上几倍")
    axes[0].legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper left")
    return figure
