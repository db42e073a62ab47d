"""噪声表的几张图：毁掉的点、β 与信噪比、走到头还剩几成"""
import numpy as np

from ..schedules import alphas_cumprod
from .figures import BLUE, GRAY, GREEN, INK, ORANGE, empty_figure, plain_axes

STYLES = {"linear": (BLUE, "-"), "sqrt_linear": (ORANGE, "--"), "sqrt": (INK, ":"), "cosine": (GREEN, "-.")}


def ruined_points_figure(tables, points, labels, noise, steps, width=7.0):
    """同一批点按各张表加噪：一行一张表，一列一个步号；points、noise 是 (N, 2)，labels 是 (N,) 的 0 与 1"""
    figure = empty_figure(width, width * len(tables) / len(steps) + 0.2)
    colors = np.where(np.asarray(labels) == 0, BLUE, ORANGE)
    grid = figure.subplots(len(tables), len(steps), squeeze=False)
    for axes, (name, betas) in zip(grid, tables.items()):
        bars = alphas_cumprod(betas)[0]
        for ax, t in zip(axes, steps):
            x, y = (bars[t] ** 0.5 * np.asarray(points) + (1 - bars[t]) ** 0.5 * np.asarray(noise)).T
            ax.scatter(x, y, s=1, c=colors, alpha=0.7, linewidths=0)
            ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal", xticks=(), yticks=())
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
    return figure


def endings_figure(tables):
    """{名字: β}，至多三张 → 原图的幅度 √ᾱ 随 t/T 的变化，末端写着还剩几成"""
    figure = empty_figure(6.0, 3.0)
    ax = plain_axes(figure.subplots())
    for (name, betas), color, style, height in zip(tables.items(), (BLUE, ORANGE, INK), ("-", "--", ":"), (7, 0, -7)):
        left = alphas_cumprod(betas)[0] ** 0.5
        u = np.arange(len(betas)) / (len(betas) - 1)
        ax.plot(u, left, color=color, linestyle=style, label=name)
        ax.annotate(f"{left[-1]:.1%}", (1, left[-1]), (5, height), textcoords="offset points", va="center", fontsize=9, color=color)
    ax.set(xlabel="走了全程的几成", ylabel=r"原图的幅度 $\sqrt{\bar\alpha_t}$", xlim=(0, 1.1), ylim=(-0.05, 1.05), xticks=np.arange(0, 1.1, 0.2))
    ax.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="lower left")
    return figure
