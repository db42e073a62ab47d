"""β 面板：噪声表 × T × 两端的 β × cosine_s → β_t、ᾱ_t、信噪比；另有第 2 章的三张静态图"""
import numpy as np

from ...schedules import SCHEDULES, alphas_cumprod, make_beta_schedule, rescale_linear_range
from ..figures import BLUE, GRAY, GREEN, INK, ORANGE, empty_figure, plain_axes
from ..panel import Panel, choice, int_slider, log_slider, slider
from ..plot import Axis, Plot

STYLES = {"linear": (BLUE, "-"), "sqrt_linear": (ORANGE, "--"), "sqrt": (INK, ":"), "cosine": (GREEN, "-.")}
PAPER_NAMES = {
    "linear": "√β 等距；diffusers 叫 scaled_linear，DDPM 论文没有用过",
    "sqrt_linear": "β 等距；这才是 DDPM 论文的 linear，diffusers 也叫 linear",
    "sqrt": "√ 套在等距的数外面；别处没有通用的名字",
    "cosine": "ᾱ 按余弦平方下降；Improved DDPM 提出，diffusers 叫 squaredcos_cap_v2",
}


def beta_data(schedule, T, linear_start, linear_end, cosine_s):
    """→ ({beta, alpha_bar, snr: (t/T, 值)}, 一句话)；两端写反时按小的在前"""
    low, high = sorted((linear_start, linear_end))
    betas = make_beta_schedule(schedule, T, low, high, cosine_s)
    cumprod, _ = alphas_cumprod(betas)
    u = np.arange(T) / T
    snr = np.maximum(cumprod, 1e-300) / (1 - cumprod)
    note = describe(schedule, T, low, high, cumprod[-1] ** 0.5)
    return {"beta": (u, betas), "alpha_bar": (u, cumprod), "snr": (u, snr)}, note


def describe(schedule, T, linear_start, linear_end, leftover):
    """名字的来历，以及走到头还剩多少原图"""
    idle = "linear_start、linear_end 不" if schedule == "cosine" else "cosine_s 不"
    text = f"<b>{schedule}</b>：{PAPER_NAMES[schedule]}（{idle}起作用）。走完 T={T} 步，原图的幅度还剩 √ᾱ = {leftover:.2g}。"
    if leftover <= 0.1:
        return text
    text += f"<b>{'T 太短' if T < 1000 else '噪声太少'}：</b>走到头还看得见原图，从 N(0, I) 开始采样就错了。"
    if T < 1000 and schedule in ("linear", "sqrt_linear"):
        start, end = rescale_linear_range(T, linear_start, linear_end)
        return f"{text}把两端乘上 1000/T（{start:.3g} 与 {end:.3g}），或改用 cosine。"
    return f"{text}把 linear_end 调大，或改用 cosine。"


def beta_panel():
    plot = Plot([
        Axis("$t/T$", r"$\beta_t$", ylim=(1e-6, 1.5), yscale="log", curves={"beta": ""}),
        Axis("$t/T$", r"$\bar\alpha_t$", ylim=(-0.02, 1.02), curves={"alpha_bar": ""}),
        Axis("$t/T$", "信噪比", ylim=(1e-10, 1e6), yscale="log", curves={"snr": ""}),
    ])
    return Panel(
        plot, beta_data,
        schedule=choice(list(SCHEDULES), "linear", "噪声表"), T=int_slider(100, 10, 2000, "步数 T", 10),
        linear_start=log_slider(1e-4, -5, -1, "linear_start"), linear_end=log_slider(2e-2, -3, -0.1, "linear_end"),
        cosine_s=slider(0.008, 0.0, 0.1, 0.002, "cosine_s", ".3f"),
    )


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
