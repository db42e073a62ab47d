"""噪声表的几张图：加噪的点、β 与信噪比、最后一步还剩几成、从偏了的起点造出来的点、误差传到下一步乘上几倍"""
import numpy as np

from ..schedules import alphas_cumprod
from .figures import BLUE, CURVES, GRAY, GREEN, INK, ORANGE, empty_figure, plain_axes

STYLES = {"linear": (BLUE, "-"), "sqrt_linear": (ORANGE, "--"), "sqrt": (INK, ":"), "cosine": (GREEN, "-.")}


def percent(ratio):
    """0.2789 → 27.9%；不到千分之一的写成 < 0.1%"""
    return f"{ratio:.1%}" if ratio >= 1e-3 else "< 0.1%"


def ruined_points_figure(tables, points, labels, noise, steps, width=7.5):
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
    """{名字: β} → β_t、ᾱ_t、信噪比三幅；信噪比第一次小于 1 的那一步画成点，旁边写着步号"""
    figure = empty_figure(9.0, 3.2)
    axes = [plain_axes(ax) for ax in figure.subplots(1, 3)]
    # 418 与 496 离得近，一个写在左下，一个写在右上
    places = {"linear": (-4, -11, "right"), "cosine": (4, 3, "left")}
    for name, betas in tables.items():
        bars, (color, style) = alphas_cumprod(betas)[0], STYLES[name]
        snr = bars / (1 - bars)
        half = int((snr < 1).argmax())
        for ax, values in zip(axes, (betas, bars, snr)):
            ax.plot(values, color=color, linestyle=style, label=name)
        x, y, side = places.get(name, (4, 3, "left"))
        axes[1].annotate(str(half), (half, bars[half]), (x, y), textcoords="offset points", ha=side, fontsize=8, color=color)
        for ax, values in zip(axes[1:], (bars, snr)):
            ax.plot(half, values[half], "o", color=color, markersize=4)
    axes[0].set(xlabel="步号 $t$", ylabel=r"$\beta_t$", yscale="log")
    axes[1].set(xlabel="步号 $t$", ylabel=r"$\bar\alpha_t$")
    axes[2].set(xlabel="步号 $t$", ylabel="信噪比", yscale="log", ylim=(1e-5, 1e5))
    axes[0].legend(fontsize=8, framealpha=0.85, edgecolor="none", loc="lower right")
    for ax, level in zip(axes[1:], (0.5, 1)):
        ax.axhline(level, color=GRAY, linewidth=0.8)
        ax.annotate("原图、噪声各半", (1000, level), (0, 3), textcoords="offset points", ha="right", fontsize=8, color="#666666")
    return figure


def endings_figure(tables):
    """{名字: β}，三张 linear 与一张 cosine → 原图的幅度 √ᾱ 随 (t+1)/T 的变化，图例里写着最后剩多少"""
    figure = empty_figure(6.5, 3.2)
    ax = plain_axes(figure.subplots())
    # 第一张画成粗的底，重合在它上面的那条才看得见
    looks = ({"color": BLUE, "linewidth": 5, "alpha": 0.3}, {"color": BLUE, "linestyle": "--"},
             {"color": BLUE, "linestyle": ":", "linewidth": 2}, {"color": GREEN, "linestyle": "-."})
    for (name, betas), look in zip(tables.items(), looks):
        left = alphas_cumprod(betas)[0] ** 0.5
        ax.plot(np.arange(1, len(betas) + 1) / len(betas), left, label=f"{name}：最后剩 {100 * left[-1]:.2g}%", **look)
    ax.set(xlabel="走了全程的几成，$(t+1)/T$", ylabel=r"原图的幅度 $\sqrt{\bar\alpha_t}$", xlim=(0, 1), ylim=(-0.03, 1.03), xticks=np.arange(0, 1.1, 0.2))
    ax.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="lower left")
    return figure


def landed_figure(clouds, real, width=9.0):
    """{名字: 造出来的点 (N, 2)} → 一个名字一张图：灰的是真的点，灰线相交于真点的平均，× 是这一张图里的点的平均，下面数着竖线两侧各有几个点"""
    figure = empty_figure(width, width / len(clouds) + 0.6)
    real = np.asarray(real)
    middle, half = (real.max(0) + real.min(0)) / 2, np.ptp(real, axis=0).max() / 2 + 0.1
    for ax, (name, points) in zip(figure.subplots(1, len(clouds), squeeze=False)[0], clouds.items()):
        points = np.asarray(points)
        mean = points.mean(0)
        ax.scatter(*real.T, s=3, c=GRAY, alpha=0.35, linewidths=0)
        ax.scatter(*points.T, s=2, c=BLUE, alpha=0.5, linewidths=0)
        ax.axvline(real[:, 0].mean(), color=GRAY, linewidth=0.8)
        ax.axhline(real[:, 1].mean(), color=GRAY, linewidth=0.8)
        ax.plot(*mean, "x", color=ORANGE, markersize=10, markeredgewidth=3)
        ax.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half), aspect="equal", xticks=(), yticks=())
        ax.set_title(name, fontsize=10)
        words = "，".join(f"{value:.2f}".replace("-", "−") for value in mean)
        left = int((points[:, 0] < real[:, 0].mean()).sum())
        ax.set_xlabel(f"平均（{words}）\n竖线左边 {left} 个点，右边 {len(points) - left} 个", fontsize=10)
    return figure


def told(value):
    """631.35 → 631；0.2201 → 0.22"""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def gains_figure(charts, width=9.0):
    """{表名: (各步的 t, {目标: 各步的倍数})}，从采样的第一步起 → 一张表一幅，共用纵轴，一步一个点；eps 的第一步与 x0 的最后一步写着倍数"""
    figure = empty_figure(width, 3.5)
    axes = figure.subplots(1, len(charts), sharey=True, squeeze=False)[0]
    for ax, (name, (times, curves)) in zip(map(plain_axes, axes), charts.items()):
        ax.axhline(1, color=GRAY, linewidth=0.8)
        for (target, values), (color, style) in zip(curves.items(), CURVES):
            ax.plot(times, values, color=color, linestyle=style, linewidth=1, marker="o", markersize=2.5, label=target)
        for target, i, words, shift, side in (("eps", 0, "第一步", (2, 8), "right"), ("x0", -1, "最后一步", (4, 6), "left")):
            color = CURVES[list(curves).index(target)][0]
            ax.plot(times[i], curves[target][i], "o", color=color, markersize=6)
            ax.annotate(f"{words}：{told(curves[target][i])} 倍", (times[i], curves[target][i]), shift, textcoords="offset points",
                        ha=side, fontsize=9, color=color)
        ax.set(title=name, xlabel="步号 $t$（采样从右往左走）", yscale="log", ylim=(4e-3, 4e3))
    axes[0].set_ylabel("误差乘上几倍")
    axes[0].legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper left")
    return figure
