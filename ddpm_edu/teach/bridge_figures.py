"""第 18 章的图：总图、密度的坡、两种走法、采样器的阶与用处、训练看哪些噪声、权重、亮度的散布、直路与弧"""
import numpy as np

from .diagrams import PALE, arrow
from .figures import BLUE, CURVES, GRAY, GREEN, INK, ORANGE, empty_figure, plain_axes

# 等高线比最高处低多少：外面的疏，里面的密
LEVELS = np.array([44, 30, 20, 12, 8, 5, 3, 1.5, 0.5])


def direct_label(ax, words, place, color, **style):
    """写在曲线旁边的名字，代替图例"""
    ax.annotate(words, place, **{"color": color, "fontsize": 10, "ha": "center", "va": "center", **style})


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
    notes = (("噪声", "训练看哪些、从哪里出发\nEDM　第 4 节\n零终端信噪比　第 6 节\n流匹配　第 7 节", 0.0, 1.35, ((0, 0.42), (0, 0.28))),
             ("坐标", "带噪图与输出怎样写\n得分　第 1 节，EDM　第 4 节\n流匹配　第 7 节", 2.6, 1.35, ((2.6, 0.5), (2.6, 0.28))),
             ("走法", "停在哪里，每步怎样走\n概率流　第 2 节\nHeun、DPM-Solver++　第 3 节\nEDM　第 4 节，流匹配　第 7 节", 5.3, 1.35,
              ((4.6, 0.42), (4.45, 0.08))),
             ("权重", "各种噪声的错，算多重\nmin-SNR　第 5 节", 7.5, -0.55, ((6.4, -0.95), (5.8, -0.95))))
    for title, words, x, y, line in notes:
        ax.text(x, y, title, ha="center", va="center", fontsize=12, color=ORANGE)
        ax.text(x, y - 0.15, words, ha="center", va="top", fontsize=10, linespacing=1.3)
        ax.plot(*np.array(line).T, color=ORANGE, linewidth=1.0, linestyle=":")
    ax.set(xlim=(-1.0, 8.8), ylim=(-1.25, 1.5))
    ax.set_axis_off()
    return figure


def contour_points(axis, density, gap=0.5, limit=2.3):
    """等高线上的点 (M, 2)，两两至少隔 gap；从密度高处的线取起"""
    density, kept = np.asarray(density), np.full((1, 2), np.inf)
    levels = empty_figure().subplots().contour(axis, axis, density.T, levels=density.max() - LEVELS).allsegs
    for point in (point for level in levels[::-1] for line in level for point in line):
        if abs(point).max() < limit and np.linalg.norm(kept - point, axis=1).min() > gap:
            kept = np.append(kept, point[None], 0)
    return kept[1:]


def arrows_figure(axis, density, points, at, move, limit=2.4):
    """横竖的格点 (K,)、对数密度 (K, K)、加噪的点 (N, 2)、箭尾 (M, 2)、位移 (M, 2)：底色越深，密度越大；灰线是等高线，箭头画位移的一半"""
    figure = empty_figure(4.8, 4.8)
    ax = figure.subplots()
    density = np.asarray(density)
    ax.imshow(density.T, origin="lower", extent=(axis[0], axis[-1]) * 2, cmap="Greys", alpha=0.55, vmin=density.max() - 6, vmax=density.max() + 2)
    ax.contour(axis, axis, density.T, levels=density.max() - LEVELS, colors="#666666", linewidths=0.5, linestyles="-")
    ax.scatter(*np.asarray(points).T, s=2, c=BLUE, alpha=0.5, linewidths=0)
    ax.quiver(*np.asarray(at).T, *np.asarray(move).T / 2, color=ORANGE, angles="xy", scale_units="xy", scale=1, width=0.007)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=(), yticks=())
    return figure


def walks_figure(degrees, walks, place, count=8):
    """两种走法：walks = {名字: (S, N)}，前两格各画 count 条路；右格是走到下标 place 处的直方图，横着画，叠在精确的密度上

    数据是 -1（三分之一）与 +1（三分之二），所以转过角 φ 时的密度是两个高斯：中心 ±cos φ，标准差 sin φ
    """
    figure = empty_figure(9.0, 3.3)
    axes = [plain_axes(ax) for ax in figure.subplots(1, 3, sharey=True)]
    for ax, (name, walk), color in zip(axes, walks.items(), (ORANGE, BLUE)):
        # 起点排好，两格取同样的几条
        chosen = np.argsort(walk[0])[np.linspace(0, walk.shape[1] - 1, count + 2).astype(int)[1:-1]]
        ax.plot(degrees, walk[:, chosen], color=color, linewidth=1.0, alpha=0.8)
        ax.set(xlabel="角度（度）", xlim=(degrees[0], degrees[-1]), ylim=(-3, 3), xticks=(80, 60, 40, 20))
        ax.set_title(f"八条路：{name}", fontsize=11)
        ax.axvline(degrees[place], color=INK, linewidth=1.2, linestyle="--")
        ax.annotate(f"{degrees[place]:.0f}°", (degrees[place], -2.75), (4, 0), textcoords="offset points", fontsize=10)
    axes[0].set_ylabel("$x$")
    edges, fine, ax = np.linspace(-2.6, 2.6, 40), np.linspace(-2.6, 2.6, 300), axes[2]
    center, spread = np.cos(np.radians(degrees[place])), np.sin(np.radians(degrees[place]))
    q = sum(share * np.exp(-(((fine - mean * center) / spread) ** 2) / 2) for share, mean in ((1 / 3, -1), (2 / 3, 1))) / (spread * np.sqrt(2 * np.pi))
    ax.fill_betweenx(fine, q, color=GRAY, alpha=0.45, linewidth=0, label="$q(x_t)$")
    for (name, walk), color, style in zip(walks.items(), (ORANGE, BLUE), ("--", "-")):
        ax.stairs(np.histogram(walk[place], edges, density=True)[0], edges, orientation="horizontal", color=color, linestyle=style, label=name, linewidth=1.2)
    ax.set(xlabel="密度", xlim=(0, 0.6))
    ax.set_title(f"走到 {degrees[place]:.0f}°，一万个点的分布", fontsize=11)
    ax.legend(fontsize=10, loc="lower right", framealpha=0.85, edgecolor="none")
    return figure


def orders_figure(orders):
    """高斯数据上的误差，一种取步一格：orders = {(名字, 取步): (调用网络的次数, 误差)}；末三点的斜率只写在第一格里"""
    figure = empty_figure(9.0, 3.3)
    axes = dict(zip(dict.fromkeys(spacing for _, spacing in orders), map(plain_axes, figure.subplots(1, 2, sharex=True, sharey=True))))
    styles, ticks = {"DDIM": (BLUE, "o"), "DPM-Solver++": (ORANGE, "s"), "Heun": (GREEN, "D")}, (10, 20, 40, 80, 160, 320, 640)
    for (name, spacing), (times, errors) in orders.items():
        (color, marker), slope = styles[name], np.polyfit(np.log(times[-3:]), np.log(errors[-3:]), 1)[0]
        axes[spacing].plot(times, errors, color=color, marker=marker, markersize=5, label=f"{name}，斜率 −{abs(slope):.1f}")
        axes[spacing].set_title(f"取步用 {spacing}", fontsize=11)
    left = axes["linspace"]
    left.legend(fontsize=10, loc="lower left", frameon=False)
    left.set(ylabel="终点的误差", xscale="log", yscale="log", ylim=(6e-6, 0.6))
    for ax in axes.values():
        ax.set_xlabel("调用网络的次数")
        ax.set_xticks(ticks, ticks)
        ax.minorticks_off()
    return figure


def calls_figure(calls, rows, real):
    """同样的调用次数，几种走法并排，一种次数一条底：rows = {名字: [(平均, 标准误), ...]}，依次是 calls 里的次数，短的只量了前几种；real 是真图的，画成灰带"""
    figure = empty_figure(8.6, 3.7)
    ax = plain_axes(figure.subplots())
    ax.grid(visible=False, axis="x")
    for place in range(0, len(calls), 2):
        ax.axvspan(place - 0.5, place + 0.5, color=PALE, alpha=0.55, linewidth=0, zorder=0)
    ax.axhspan(real[0] - real[1], real[0] + real[1], color=GRAY, alpha=0.4, linewidth=0)
    direct_label(ax, "真图", (len(calls) - 0.53, real[0]), INK, ha="right")
    styles = ((-0.33, BLUE, "o", BLUE), (-0.11, BLUE, "^", "white"), (0.11, ORANGE, "s", ORANGE), (0.33, GREEN, "D", GREEN))
    for (name, found), (shift, color, marker, fill) in zip(rows.items(), styles):
        for place, (mean, error) in enumerate(found):
            ax.errorbar(place + shift, mean, error, color=color, marker=marker, markersize=7, capsize=3, linestyle="none", markerfacecolor=fill,
                        label=None if place else name)
            direct_label(ax, f"{mean:.0f}", (place + shift, mean + error + 6), color)
    ax.set(xlabel="至多调用网络几次", ylabel="Fréchet 距离", xlim=(-0.5, len(calls) - 0.5), ylim=(0, 168))
    ax.set_xticks(range(len(calls)), [f"{count} 次" for count in calls])
    ax.tick_params(axis="x", length=0)
    ax.legend(fontsize=10, loc="upper right", frameon=False)
    return figure


def noise_figure(ln_sigma, shares, end):
    """训练时各种噪声抽到的密度：shares = {名字: 密度}；横轴照 ln σ 排、写着 σ；end 是 linear 的终点的 ln σ"""
    figure = empty_figure(7.0, 3.0)
    ax = plain_axes(figure.subplots())
    for (name, share), (color, style), place in zip(shares.items(), CURVES, ((2.35, 0.165), (1.35, 0.265), (-2.75, 0.26))):
        ax.plot(ln_sigma, share, color=color, linestyle=style)
        direct_label(ax, name, place, color)
    marks = (0.01, 0.1, 1, 10, 100)
    ax.set_xticks(np.log(marks), [f"{mark:g}" for mark in marks])
    ax.set(xlabel=r"$\sigma$（越往右，噪声越大）", ylabel="训练时抽到的密度", xlim=(-5.5, 6), ylim=(0, 0.36))
    direct_label(ax, rf"$\sigma={np.exp(end):.0f}$", (end + 0.1, 0.075), BLUE, ha="left")
    return figure


def weights_figure(weights, capped):
    """乘在 x0 误差上的权重 {名字: (T,)}；capped 是 min(SNR, 5)，画成宽的灰线，垫在下面"""
    figure = empty_figure(7.0, 3.0)
    ax = plain_axes(figure.subplots())
    ax.plot(capped, color=GRAY, linewidth=7, alpha=0.55)
    direct_label(ax, "min-SNR", (70, 3.5), "#555555", xytext=(90, 0.05), arrowprops={"arrowstyle": "-", "color": "#777777", "linewidth": 0.8})
    for (name, weight), (color, style), place in zip(weights.items(), CURVES, ((900, 0.008), (300, 0.4), (640, 3.2))):
        ax.plot(weight, color=color, linestyle=style)
        direct_label(ax, name, place, color, fontsize=11)
    ax.set(xlabel="步号 $t$", ylabel="乘在 $x_0$ 误差上的权重", yscale="log", ylim=(1e-3, 1e5), xlim=(-15, 1015))
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
        left.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
        plain_axes(right).stairs(np.histogram(values, edges)[0] / len(values), edges, color=BLUE, fill=True, alpha=0.7)
        right.set(xlim=(-1.8, 1.8), ylim=(0, 0.18), xticks=(-1, 0, 1), yticks=())
        if right is not axes[-1, 1]:
            right.set_xticklabels(())
    axes[-1, 1].set_xlabel("平均亮度")
    return figure


def road_figure(x_start, noise):
    """一个像素的 (x0, ε) 平面里，弧与直路，点线连起同一个方向上的两点"""
    figure = empty_figure(6.4, 3.4)
    ax = figure.subplots()
    u, fine = np.linspace(0, 1, 7)[:, None], np.linspace(0, np.pi / 2, 200)[:, None]
    ends = np.array([x_start, noise])
    chord = (1 - u) * ends[0] + u * ends[1]
    arc = chord / np.sqrt((1 - u) ** 2 + u**2)
    ax.plot(*(np.cos(fine) * ends[0] + np.sin(fine) * ends[1]).T, color=BLUE)
    ax.plot(*chord.T, color=ORANGE, linestyle="--")
    for a, b in zip(chord, arc):
        ax.plot(*np.array([np.zeros(2), b]).T, color=GRAY, linewidth=0.8, linestyle=":")
        ax.plot(*a, "o", color=ORANGE, markersize=5)
        ax.plot(*b, "o", color=BLUE, markersize=5)
    direct_label(ax, "$x_0$", ends[0], INK, xytext=(12, -4), textcoords="offset points", fontsize=12)
    direct_label(ax, r"$\varepsilon$", ends[1], INK, xytext=(-4, 12), textcoords="offset points", fontsize=12)
    direct_label(ax, "弧\n" r"$x_\varphi=\cos\varphi\,x_0+\sin\varphi\,\varepsilon$", (1.75, 2.0), BLUE, ha="left")
    direct_label(ax, "直路\n" r"$x_u=(1-u)\,x_0+u\,\varepsilon$", (0.82, 1.82), ORANGE, xytext=(0.1, 1.35), ha="right",
                 arrowprops={"arrowstyle": "-", "color": ORANGE, "linewidth": 0.8})
    direct_label(ax, "原点", (0, -0.12), INK)
    ax.set(xlim=(-1.6, 3.3), ylim=(-0.25, 2.45), aspect="equal")
    ax.set_axis_off()
    return figure


def bends_figure(cloud, paths, limit=2.3):
    """直路的坐标里，最好的猜测走出的路 (S, M, 2)，中途的箭头是走的方向；叉是数据 cloud (N, 2) 的均值"""
    figure = empty_figure(4.8, 4.8)
    ax = figure.subplots()
    cloud, paths = np.asarray(cloud), np.asarray(paths)
    ax.scatter(*cloud.T, s=3, c=GRAY, alpha=0.5, linewidths=0)
    ax.plot(*cloud.mean(0), "X", color=ORANGE, markersize=10, zorder=5)
    direct_label(ax, "均值", cloud.mean(0), ORANGE, xytext=(0, -14), textcoords="offset points")
    for path in paths.swapaxes(0, 1):
        ax.plot(*path[[0, -1]].T, color=INK, linewidth=1.0, linestyle=":")
        ax.plot(*path.T, color=GREEN, linewidth=1.8)
        # 箭头画在走了三成与八成长的地方
        length = np.append(0, np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum())
        for part in (0.3, 0.8):
            at = int(np.searchsorted(length, part * length[-1]))
            ax.annotate("", path[at], path[at - 1], arrowprops={"arrowstyle": "-|>", "color": GREEN, "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0})
        ax.scatter(*path[0], s=36, facecolors="white", edgecolors=GREEN, zorder=3)
        ax.scatter(*path[-1], s=36, color=GREEN, zorder=4)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=(), yticks=())
    return figure
