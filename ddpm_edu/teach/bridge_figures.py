"""第 18 章的几张图：总图、密度的坡、两种走法、二阶的采样器、训练看哪些噪声、亮度的散布、直路与弧"""
import numpy as np

from .diagrams import PALE, arrow
from .figures import BLUE, GRAY, GREEN, INK, ORANGE, curve_figure, empty_figure, plain_axes

# 同一种采样器，各张图里同色同形
WAYS = {"ddim": (BLUE, "-", "o"), "dpmpp": (ORANGE, "--", "s"), "heun": (INK, ":", "D"), "ddim，trailing": (BLUE, "-.", "^")}
# 等高线比最高处低多少：外面的疏，里面的密
LEVELS = np.array([60, 44, 30, 20, 12, 8, 6, 4.5, 3, 2, 1, 0.4])


def quiet_legend(ax, **kwargs):
    ax.legend(**{"fontsize": 9, "framealpha": 0.85, "edgecolor": "none", **kwargs})


def changes_figure():
    """总图：一条采样链，四处换过的东西各写方法名与节号"""
    figure = empty_figure(9.0, 3.1)
    ax = figure.subplots()
    box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": INK, "linewidth": 0.9}
    places, middle = {"$x_T$": 0.0, r"$\cdots$": 1.3, "$x_t$": 2.6, "$x_s$": 5.4, r"$\cdots $": 6.7, "$x_0$": 8.0}, 4.0
    for name, x in places.items():
        ax.text(x, 0, name, ha="center", va="center", fontsize=13, bbox=box if "x" in name else None)
    for start, end in ((0.35, 1.0), (1.6, 2.25), (2.95, 5.05), (5.75, 6.4), (7.0, 7.65)):
        arrow(ax, (start, 0), (end, 0), ORANGE if end == 5.05 else GRAY, 1.6)
    ax.text(middle, -0.95, r"网络：看 $x_t$ 与噪声的大小，猜 $\hat x_0$（留下的）", ha="center", va="center", fontsize=11,
            bbox={**box, "facecolor": PALE, "edgecolor": BLUE})
    arrow(ax, (2.6, -0.28), (3.0, -0.66), BLUE)
    arrow(ax, (middle, -0.66), (middle, -0.08), BLUE)
    notes = (("噪声", "训练看哪些、从哪里出发\nEDM 的 $\\ln\\sigma$　第 4 节\n零终端信噪比　第 6 节\n流匹配　第 7 节", 0.0, 1.35, ((0, 0.42), (0, 0.28))),
             ("坐标", "带噪图与输出怎样写\n得分　第 1 节，EDM　第 4 节\n流匹配　第 7 节", 2.6, 1.35, ((2.6, 0.5), (2.6, 0.28))),
             ("走法", "停在哪里，每步怎样走\n概率流　第 2 节\nHeun、DPM-Solver++　第 3 节", 5.3, 1.35, ((4.6, 0.5), (4.4, 0.08))),
             ("权重", "各种噪声的错，算多重\nmin-SNR　第 5 节", 7.5, -0.62, ((6.4, -0.95), (5.8, -0.95))))
    for title, words, x, y, line in notes:
        ax.text(x, y, title, ha="center", va="center", fontsize=12, color=ORANGE)
        ax.text(x, y - 0.15, words, ha="center", va="top", fontsize=10, linespacing=1.3)
        ax.plot(*np.array(line).T, color=ORANGE, linewidth=1.0, linestyle=":")
    ax.set(xlim=(-1.0, 8.8), ylim=(-1.25, 1.5))
    ax.set_axis_off()
    return figure


def arrows_figure(panels, lengths=(1, 0.5), limit=2.6, width=7.2):
    """{标题: (横竖的格点 (K,), 对数密度 (K, K)、加噪的点 (N, 2)、箭尾 (M, 2)、位移 (M, 2))}：底色越深，密度越大；灰线是等高线

    lengths : 各格的箭头画位移的几倍长
    """
    figure = empty_figure(width, width / len(panels) + 0.3)
    for ax, length, (title, (axis, density, points, at, move)) in zip(figure.subplots(1, len(panels)), lengths, panels.items()):
        ax.imshow(np.asarray(density).T, origin="lower", extent=(axis[0], axis[-1]) * 2, cmap="Greys", alpha=0.55,
                  vmin=float(density.max()) - 6, vmax=float(density.max()) + 2)
        ax.contour(axis, axis, np.asarray(density).T, levels=float(density.max()) - LEVELS, colors="#666666", linewidths=0.5,
                   linestyles="-")
        ax.scatter(*np.asarray(points).T, s=2, c=BLUE, alpha=0.5, linewidths=0)
        ax.quiver(*np.asarray(at).T, *np.asarray(move).T * length, color=ORANGE, angles="xy", scale_units="xy", scale=1, width=0.006)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=(), yticks=())
        ax.set_title(title, fontsize=10)
    return figure


def walks_figure(degrees, walks, places, count=24):
    """两种走法：walks = {名字: (S, N)}，前两格各画 count 条路；后面一格一个 places 里的下标，两种走法的直方图叠在精确的密度上

    数据是 -1（三分之一）与 +1（三分之二），所以转过角 φ 时的密度是两个高斯：中心 ±cos φ，标准差 sin φ
    """
    figure = empty_figure(10.0, 3.2)
    axes = [plain_axes(ax) for ax in figure.subplots(1, 2 + len(places))]
    for ax, (name, walk), color in zip(axes, walks.items(), (ORANGE, BLUE)):
        # 起点排好，两格取同样的几条
        chosen = np.argsort(walk[0])[np.linspace(0, walk.shape[1] - 1, count + 2).astype(int)[1:-1]]
        ax.plot(degrees, walk[:, chosen], color=color, linewidth=0.6, alpha=0.7)
        ax.set(xlabel="角度（度）", xlim=(degrees[0], degrees[-1]), ylim=(-3.2, 3.2), xticks=(80, 60, 40, 20), yticks=range(-3, 4))
        ax.set_title(f"路：{name}", fontsize=10)
        for place in places:
            ax.axvline(degrees[place], color=INK, linewidth=1.0, linestyle="--")
            ax.annotate(f"{degrees[place]:.0f}°", (degrees[place], 2.75), (-3, 0), textcoords="offset points", fontsize=9, ha="right")
    axes[0].set_ylabel("$x$")
    axes[1].set_yticklabels(())
    edges, fine = np.linspace(-2.6, 2.6, 53), np.linspace(-2.6, 2.6, 300)
    for ax, place in zip(axes[2:], places):
        center, spread = np.cos(np.radians(degrees[place])), np.sin(np.radians(degrees[place]))
        exact = sum(share * np.exp(-(((fine - mean * center) / spread) ** 2) / 2) for share, mean in ((1 / 3, -1), (2 / 3, 1)))
        ax.fill_between(fine, exact / (spread * np.sqrt(2 * np.pi)), color=GRAY, alpha=0.45, linewidth=0, label="$q(x_t)$")
        for (name, walk), color, style in zip(walks.items(), (ORANGE, BLUE), ("--", "-")):
            ax.stairs(np.histogram(walk[place], edges, density=True)[0], edges, color=color, linestyle=style, label=name)
        ax.set(xlabel="$x$", xlim=(-2.6, 2.6), ylim=(0, 1.1), yticks=(0, 0.25, 0.5, 0.75, 1))
        ax.set_title(f"分布：走到 {degrees[place]:.0f}°", fontsize=10)
    axes[2].set_ylabel("密度")
    axes[3].set_yticklabels(())
    quiet_legend(axes[2], fontsize=9, loc="upper left")
    return figure


def solvers_figure(orders, calls, rows, real):
    """左：高斯数据上的误差，orders = {名字: (调用网络的次数, 误差)}，灰线的斜率是 -1 与 -2

    右：rows = {名字: [(平均, 标准误), ...]}，依次是 calls 里的次数；real 是真图的 (平均, 标准误)，画成灰带；名字里不写取步的，用默认的
    """
    figure = empty_figure(10.0, 3.6)
    left, right = (plain_axes(ax) for ax in figure.subplots(1, 2))
    counts, errors = orders["ddim"]
    for order, start in ((1, 3.0), (2, 0.8)):
        line = start * errors[0] * (np.asarray(counts) / counts[0]) ** -float(order)
        left.plot(counts, line, color=GRAY, linewidth=0.8)
        left.annotate(f"斜率 −{order}", (counts[-1], line[-1]), (4, -3), textcoords="offset points", fontsize=9, color="#666666", annotation_clip=False)
    for name, (times, values) in orders.items():
        color, style, marker = WAYS[name]
        left.plot(times, values, color=color, linestyle=style, marker=marker, markersize=4, label=name)
    left.set(xlabel="调用网络的次数", ylabel="终点的误差", xscale="log", yscale="log")
    left.set_xticks([*counts, 2 * counts[-1]], [*counts, 2 * counts[-1]])
    left.set_title("完美的猜测，linspace：阶", fontsize=10)
    right.axhspan(real[0] - real[1], real[0] + real[1], color=GRAY, alpha=0.4, linewidth=0, label="真图")
    for i, (name, found) in enumerate(rows.items()):
        color, style, marker = WAYS[name]
        mean, error = np.array(found).T
        # 横向错开一点，误差棒不叠在一起
        right.errorbar(np.asarray(calls[:len(mean)]) * 1.03 ** (i - 1), mean, error, color=color, linestyle=style, marker=marker, markersize=4, capsize=3,
                       markerfacecolor="white" if "trailing" in name else color,
                       label=name if "，" in name else f"{name}，{'linspace' if name == 'ddim' else 'trailing'}")
    right.set(xlabel="至多调用网络几次", ylabel="Fréchet 距离", xscale="log", yscale="log", ylim=(32, 170))
    right.set_xticks(calls, calls)
    right.set_yticks((40, 60, 80, 100, 150), (40, 60, 80, 100, 150))
    right.set_title("真的网络：值多少", fontsize=10)
    for ax, place in ((left, "lower left"), (right, "upper right")):
        ax.minorticks_off()
        quiet_legend(ax, loc=place)
    return figure


def noise_figure(ln_sigma, shares, end):
    """训练时各种噪声抽到的密度：shares = {名字: 密度}；上边的尺子是 σ，end 是 linear 的终点的 ln σ"""
    figure = curve_figure(ln_sigma, shares, r"$\ln\sigma$（越往右，噪声越大）", "训练时抽到的密度")
    ax = figure.axes[0]
    marks = (0.01, 0.1, 1, 10, 100, 1000)
    top = ax.secondary_xaxis("top")
    top.set_xticks(np.log(marks), [f"{mark:g}" for mark in marks])
    top.set_xlabel(r"$\sigma$")
    ax.set(xlim=(ln_sigma[0], ln_sigma[-1]), ylim=(0, 0.36))
    ax.annotate(rf"linear 到此为止，$\sigma={np.exp(end):.0f}$", (end, 0.06), (14, 18), textcoords="offset points", fontsize=9, color=BLUE,
                arrowprops={"arrowstyle": "->", "color": BLUE, "shrinkA": 0, "shrinkB": 2})
    return figure


def weights_figure(weights, capped):
    """乘在 x0 误差上的权重 {名字: (T,)}；capped 是 min(SNR, 5)，画成宽的灰线，垫在下面"""
    figure = curve_figure(range(len(capped)), weights, "步号 $t$", "乘在 $x_0$ 误差上的权重", "linear", "log")
    ax = figure.axes[0]
    ax.plot(capped, color=GRAY, linewidth=6, alpha=0.55, zorder=1, label=r"$\min(\mathrm{SNR}, 5)$")
    quiet_legend(ax, loc="lower left")
    return figure


def gray_figure(rows, shown=40):
    """{名字: (N,) 的平均亮度}：左边一行一种，取 shown 张由暗到亮排开；右边是直方图"""
    figure = empty_figure(9.0, 0.75 * len(rows) + 0.5)
    axes = figure.subplots(len(rows), 2, gridspec_kw={"width_ratios": (2, 1)})
    edges = np.linspace(-1.8, 1.8, 37)
    for (left, right), (name, values) in zip(axes, rows.items()):
        values = np.sort(np.asarray(values))
        picked = values[((np.arange(shown) + 0.5) / shown * len(values)).astype(int)]
        left.imshow(picked[None], cmap="gray", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
        left.set(xticks=(), yticks=())
        left.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        plain_axes(right).stairs(np.histogram(values, edges)[0] / len(values), edges, color=BLUE, fill=True, alpha=0.7)
        right.set(xlim=(-1.8, 1.8), ylim=(0, 0.18), xticks=(-1, 0, 1), yticks=())
        if right is not axes[-1, 1]:
            right.set_xticklabels(())
    axes[-1, 1].set_xlabel("平均亮度")
    return figure


def straight_figure(x_start, noise, cloud, paths, limit=2.6):
    """左：一个像素的 (x0, ε) 平面里，弧与直路，虚线连起同一个方向上的点；右：直路的坐标里，完美的猜测走出的路 (S, M, 2)，叉是全体的均值"""
    figure = empty_figure(8.0, 3.9)
    left, right = figure.subplots(1, 2)
    u = np.linspace(0, 1, 9)[:, None]
    ends = np.array([x_start, noise])
    chord = (1 - u) * ends[0] + u * ends[1]
    arc = chord / np.sqrt((1 - u) ** 2 + u**2)
    fine = np.linspace(0, np.pi / 2, 200)[:, None]
    left.plot(*(np.cos(fine) * ends[0] + np.sin(fine) * ends[1]).T, color=BLUE, label=r"弧：$x_\varphi=\cos\varphi\,x_0+\sin\varphi\,\varepsilon$")
    left.plot(*chord.T, color=ORANGE, linestyle="--", label=r"直路：$x_u=(1-u)\,x_0+u\,\varepsilon$")
    for a, b in zip(chord, arc):
        left.plot(*np.array([np.zeros(2), b]).T, color=GRAY, linewidth=0.6, linestyle=":")
        left.plot(*a, "o", color=ORANGE, markersize=4)
        left.plot(*b, "o", color=BLUE, markersize=4)
    left.annotate("$x_0$", ends[0], (4, -10), textcoords="offset points")
    left.annotate(r"$\varepsilon$", ends[1], (-12, 4), textcoords="offset points")
    left.set(xlim=(-0.25, 2.3), ylim=(-0.25, 2.7), aspect="equal", xticks=(), yticks=())
    left.annotate("原点", (0, 0), (-4, -12), textcoords="offset points", fontsize=9, ha="center")
    quiet_legend(left, fontsize=8, loc="upper right")
    right.scatter(*np.asarray(cloud).T, s=2, c=GRAY, alpha=0.4, linewidths=0)
    middle = np.asarray(cloud).mean(0)
    right.plot(*middle, "X", color=ORANGE, markersize=9, zorder=5)
    right.annotate("均值", middle, (8, -9), textcoords="offset points", fontsize=9, color=ORANGE)
    paths = np.asarray(paths)
    for i in range(paths.shape[1]):
        right.plot(*paths[:, i].T, color=GREEN, linewidth=1.0)
        right.plot(*paths[[0, -1], i].T, color=INK, linewidth=0.6, linestyle=":")
        right.scatter(*paths[0, i], s=24, facecolors="white", edgecolors=GREEN, zorder=3)
        right.scatter(*paths[-1, i], s=24, color=GREEN, zorder=4)
    right.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=(), yticks=())
    for ax, title in ((left, "一对 $(x_0,\\varepsilon)$ 的路是直的"), (right, "平均之后的路是弯的")):
        ax.set_title(title, fontsize=10)
    return figure
