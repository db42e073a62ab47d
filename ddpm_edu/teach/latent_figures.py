"""第 17 章的图：潜空间里的扩散全程、编码器给的 σ、训练花的乘法与质量"""
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from .diagrams import PALE, arrow
from .figures import BLUE, GRAY, INK, ORANGE, empty_figure, few_ticks, plain_axes

SHADES = LinearSegmentedColormap.from_list("紫绿", ["#7b3294", "#ffffff", "#00785a"])
FROZEN = "#dddddd"


def latent_figure(pictures, width=10.0):
    """潜空间里的扩散：三排是第一阶段、第二阶段、采样；蓝框在学，灰框冻结，两条虚线之间是潜变量

    pictures : {"x"、"restored"、"new": (1, H, W)，"z"、"az"、"z_t"、"noise"、"z_0"、"divided": (C, h, w)}，一张图走到各处的样子
    """
    figure = empty_figure(width, 0.46 * width)
    ax = figure.subplots()
    ax.add_patch(Rectangle((1, -0.75), 6, 4.0, facecolor="#f7f3ea", edgecolor="none", zorder=0))
    ax.vlines((1, 7), -0.75, 3.25, color=GRAY, linestyle="--", linewidth=0.9)
    for x, words in ((0.2, "像素"), (4, "潜变量"), (7.95, "像素")):
        ax.text(x, 3.1, words, ha="center", va="center", fontsize=11, color=INK)
    for y, title, row in rows(pictures):
        ax.text(-0.95, y, title, ha="center", va="center", fontsize=11, color=INK)
        for before, (x, (image, words)) in zip([None, *row], row.items()):
            if before is not None:
                arrow(ax, (before + 0.38, y), (x - 0.38, y), INK, 1.0)
            slot(ax, x, y, image, words)
    ax.text(4.5, 2.62, "抽一个 $z$，直接解码", ha="center", va="center", fontsize=9, color=INK)
    ax.text(1.5, 2.62, "$\\mu,\\sigma$", ha="center", va="center", fontsize=9, color=INK)
    for x, y, words in ((4, 1.25, "噪声 $\\varepsilon$"), (4.8, 1.25, "步号 $t$"), (2.8, 0, "步号 $t$")):
        ax.text(x, y + 0.56, words, ha="center", va="center", fontsize=9, color=INK)
        arrow(ax, (x, y + 0.47), (x, y + 0.25), INK, 1.0)
    for x, y, color in ((5.35, 1.25, PALE), (3.35, 0, FROZEN)):
        # 词的向量与 U-Net 一起学
        ax.add_patch(Rectangle((x - 0.27, y + 0.46), 0.54, 0.2, facecolor=color, edgecolor=INK, linewidth=0.8, zorder=2))
        ax.text(x, y + 0.555, "词向量", ha="center", va="center", fontsize=9)
        arrow(ax, (x - 0.08, y + 0.46), (x - 0.15, y + 0.25), INK, 1.0)
    arrow(ax, (4, -0.2), (3, -0.24), INK, 1.2, connectionstyle="arc3,rad=-0.4")
    ax.text(3.5, -0.58, "走很多步", ha="center", va="center", fontsize=9, color=INK)
    ax.set(xlim=(-1.4, 8.5), ylim=(-0.75, 3.3), aspect="equal")
    ax.set_axis_off()
    return figure


def rows(pictures):
    """(高度, 名字, {横坐标: (画什么, 写什么)})；画的是张量、方框的颜色，或者没有"""
    x, z, restored, loss = (pictures["x"], "图 $x$"), (pictures["z"], "$z$"), pictures["restored"], "损失 $|\\hat x-x|^2$\n$+\\,\\beta\\cdot\\mathrm{KL}$"
    yield 2.5, "第一阶段", {0: x, 1: (PALE, "编码器\n（训练）"), 2: z, 7: (PALE, "解码器\n（训练）"), 8: (restored, f"还原的图 $\\hat x$\n{loss}")}
    yield 1.25, "第二阶段", {
        0: x, 1: (FROZEN, "编码器\n（冻结）"), 2: z, 3: (pictures["az"], "乘系数\n$z_0=az$"), 4: (pictures["z_t"], "加噪 $z_t$\n$\\bar\\alpha_t=1/2$"),
        5: (PALE, "U-Net\n（训练）"), 6: (None, "猜 $v$，给出 $\\hat v$\n损失 $|\\hat v-v|^2$")}
    yield 0, "采样", {
        2: (pictures["noise"], "噪声 $z_T$"), 3: (FROZEN, "U-Net\n（冻结）"), 4: (None, "退一步\n$z_{t-1}$"), 5: (pictures["z_0"], "$z_0$"),
        6: (pictures["divided"], "除系数\n$z=z_0/a$"), 7: (FROZEN, "解码器\n（冻结）"), 8: (pictures["new"], "新的图")}


def slot(ax, x, y, image, words):
    """一格：方框里写字，或者一张小图，字在下面；像素是灰的，潜变量是彩色的，每个通道一块，一个数都画得一样大"""
    if image is None or isinstance(image, str):
        if image:
            ax.add_patch(Rectangle((x - 0.36, y - 0.22), 0.72, 0.44, facecolor=image, edgecolor=INK, linewidth=0.8, zorder=2))
        ax.text(x, y, words, ha="center", va="center", fontsize=9)
        return
    pixel = x in (0, 8)
    half = 0.28 if pixel else 0.14
    for place in (x,) if pixel else (x - 0.16, x + 0.16):
        edges = (place - half, place + half, y - half, y + half)
        channel = np.asarray(image[0 if place <= x else 1])
        ax.imshow(channel, cmap="gray" if pixel else SHADES, vmin=-1 if pixel else -3, vmax=1 if pixel else 3, extent=edges, zorder=2)
        ax.add_patch(Rectangle((edges[0], edges[2]), 2 * half, 2 * half, facecolor="none", edgecolor=GRAY, linewidth=0.8, zorder=3))
    ax.text(x, y - half - 0.06, words, ha="center", va="top", fontsize=9)


def sigma_figure(spread, sigma):
    """左：各个像素在一批图里的标准差，(H, W)；右：编码器给的 σ，(h, w)，格子里写着数；左边垫上补的边，两边的格子对得上"""
    figure = empty_figure(6.4, 3.2)
    left, right = figure.subplots(1, 2)
    side = len(sigma)
    edge = (-(-len(spread) // side) * side - len(spread)) / 2
    left.set_facecolor("#000000")
    left.imshow(np.asarray(spread), cmap="gray", vmin=0, vmax=1, extent=(0, len(spread), len(spread), 0))
    left.set(xlim=(-edge, len(spread) + edge), ylim=(len(spread) + edge, -edge), title="像素的标准差")
    right.imshow(np.asarray(sigma), cmap="Purples", vmin=0, vmax=1, interpolation="nearest")
    for y, x in np.ndindex(side, side):
        right.text(x, y, f"{float(sigma[y][x]):.1f}", ha="center", va="center", fontsize=8, color="white" if sigma[y][x] > 0.55 else INK)
    right.set(title="编码器给的 $\\sigma$")
    for ax in (left, right):
        ax.set(xticks=[], yticks=[])
    return figure


def cost_figure(pixels, shipped, latent, real):
    """横轴是训练的乘法，纵轴是 Fréchet 距离：像素的各档是几次训练，各画一点，潜变量的是一段横线，从只算 U-Net 到全算

    像素的末两点连成虚线，延长到与潜变量的全算花得一样多，双对数轴上的外推
    pixels  : {名字: (万亿次乘法, 距离, 标准误)}，与潜变量同样深的；shipped：更深的，同样的写法，空心
    latent  : {名字: 同上}，两种算法；real：真图的 (距离, 标准误)，画成一条带
    """
    figure = empty_figure(7.0, 3.2)
    ax = plain_axes(figure.subplots())
    ax.axhspan(real[0] - real[1], real[0] + real[1], color="#e3e3e3", linewidth=0)
    ax.text(1.05, real[0], "真图", va="center", fontsize=9, color=INK)
    for points, style, filled in ((pixels, {"color": BLUE, "linestyle": ""}, BLUE), (shipped, {"color": BLUE, "linestyle": ""}, "white"),
                                  (latent, {"color": ORANGE, "linestyle": "-"}, ORANGE)):
        cost, distance, error = zip(*points.values())
        ax.errorbar(cost, distance, error, marker="o", markerfacecolor=filled, capsize=3, **style)
        for name, x, y in zip(points, cost, distance):
            below = points is latent
            ax.annotate(name, (x, y), (-4, -9) if below else (7, 5), textcoords="offset points", ha="center" if below else "left",
                        va="top" if below else "bottom", fontsize=9, color=style["color"])
    cost, distance, _ = (np.log(values[-2:]) for values in zip(*pixels.values()))
    x = np.array([cost[0], np.log(max(point[0] for point in latent.values()))])
    y = distance[0] + (x - cost[0]) * np.diff(distance) / np.diff(cost)
    ax.plot(np.exp(x), np.exp(y), color=BLUE, linestyle="--", linewidth=1.0, zorder=1)
    ax.set(xlabel="训练的乘法，只算前向（万亿次）", ylabel="Fréchet 距离", xscale="log", yscale="log", xlim=(1, 25), ylim=(55, 500))
    for axis in (ax.xaxis, ax.yaxis):
        few_ticks(axis)
    return figure
