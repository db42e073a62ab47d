"""示意图：画的是想法，不是数据"""
import math

import numpy as np
import torch
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from .figures import BLUE, GRAY, INK, ORANGE, empty_figure

PALE = "#d6e6f2"  # 方框里的淡蓝
LAYERS = {"Conv2d": "卷积", "ResBlock": "残差块", "AttentionBlock": "注意力", "Downsample": "缩小", "Upsample": "放大", "Sequential": "输出层"}


def arrow(ax, start, end, color=INK, width=1.2, **style):
    """从 start 指到 end；style 是 matplotlib 的箭头还要的，例如 connectionstyle"""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "lw": width, **style})


def chain_figure(images, names, forward="加噪：公式现成", backward="去噪：网络来学", below=None, gaps=(), width=9.0):
    """一条链：images 是 (N, 1, H, W)，[-1, 1]，从原图到噪声；names 是各个的记号，上面的箭头往右，下面的往左

    below : {横坐标: (两行字, 颜色)}，写在最下面；第 i 张图的横坐标是 i，它与下一张之间的箭头是 i + 0.5，另画一条细线连上去
    gaps  : 第几个间隔省略了许多步，那里画“…”
    """
    count, floor = len(images), -1.06 if below else -0.88
    figure = empty_figure(width, (0.64 - floor) / 1.52 * 1.55 * width / count)
    ax = figure.subplots()
    for i, (image, name) in enumerate(zip(images, names)):
        ax.imshow(np.asarray(image[0]), cmap="gray", vmin=-1, vmax=1, extent=(i - 0.32, i + 0.32, -0.32, 0.32))
        ax.text(i, -0.46, name, ha="center", va="center", fontsize=11, color=INK)
    for i in range(count - 1):
        for y, start, end, color in ((0.16, i + 0.35, i + 0.65, BLUE), (-0.16, i + 0.65, i + 0.35, ORANGE)):
            arrow(ax, (start, y), (end, y), color, 1.5)
        if i in gaps:
            ax.text(i + 0.5, 0, "…", ha="center", va="center", fontsize=14, color=INK)
    # 下面要写别的，往回的说明就挪到上面
    places = ((0.3 * (count - 1), 0.48), (0.7 * (count - 1), 0.48)) if below else (((count - 1) / 2, 0.48), ((count - 1) / 2, -0.74))
    for place, words, color in zip(places, (f"{forward}　→", f"←　{backward}"), (BLUE, ORANGE)):
        ax.text(*place, words, ha="center", va="center", fontsize=11, color=color)
    for x, (words, color) in (below or {}).items():
        ax.text(x, -0.82, words, ha="center", va="center", fontsize=11, color=color, linespacing=1.4)
        if x % 1:
            ax.plot((x, x), (-0.22, -0.64), color=color, linewidth=0.8)
    ax.set(xlim=(-0.5, count - 0.5), ylim=(floor, 0.64), aspect="equal")
    ax.set_axis_off()
    return figure


def stage_shapes(unet, size):
    """一次前向里 U-Net 各段的 [(各层的名字, 输出的形状), ...]，最后是输出层；size 是图的边长"""
    found = []

    def note(stage, _, out):
        layers = stage if stage is not unet.out else [stage]
        found.append(([type(layer).__name__ for layer in layers], tuple(out.shape[1:])))

    hooks = [stage.register_forward_hook(note) for stage in (*unet.input_blocks, unet.middle_block, *unet.output_blocks, unet.out)]
    with torch.no_grad():
        step = torch.zeros(1, dtype=torch.long)
        unet(torch.zeros(1, unet.in_channels, size, size), step, **({} if unet.num_classes is None else {"y": step}))
    for hook in hooks:
        hook.remove()
    return found


def unet_figure(unet, size, width=9.8, brief=False):
    """U-Net 的样子：从左到右依次算，越往下边长越小；橙色虚线是跳跃连接，到“拼”处拼接；蓝线是时间嵌入，一个残差块一条。形状取自真的前向

    brief : 段数多的时候用：方框窄一些，里面只写输出的通道数，边长写在各排的左端
    """
    boxes, entries = [], []  # 方框 [(各层的名字, 形状), ...]；上行各段的第一个方框排第几
    for i, (layers, shape) in enumerate(stage_shapes(unet, size)):
        if len(unet.input_blocks) < i <= len(unet.input_blocks) + len(unet.output_blocks):
            entries.append(len(boxes))
        if layers[-1] == "Upsample":
            boxes.append((layers[:-1], (shape[0], shape[1] // 2, shape[2] // 2)))
            layers = layers[-1:]
        boxes.append((layers, shape))
    levels = [-round(math.log2(boxes[0][1][1] / shape[1])) for _, shape in boxes]
    floor, half, side = min(levels), 0.3, 0.29 if brief else 0.36
    top = 0.45 + 0.12 * levels[:len(unet.input_blocks)].count(0)
    figure = empty_figure(width, 1.25 * (top - floor + (1.0 if brief else 0.85)))
    ax = figure.subplots()
    ax.plot((0, len(boxes) - 2), (floor - 0.68,) * 2, color=BLUE, linewidth=1.2)
    for x, (y, (layers, shape)) in enumerate(zip(levels, boxes)):
        ax.add_patch(Rectangle((x - side, y - half), 2 * side, 2 * half, facecolor="#eef4f9", edgecolor=INK, linewidth=0.8))
        words = [*(LAYERS[name] for name in layers), f"{shape[0]}" if brief else "×".join(map(str, shape))]
        ax.text(x, y - 0.01, "\n".join(words), ha="center", va="center", fontsize=8 if brief else 8.5, linespacing=1.15)
        count = layers.count("ResBlock")
        for k in range(count):
            arrow(ax, (x + 0.3 * k - 0.15 * (count - 1), floor - 0.68), (x + 0.3 * k - 0.15 * (count - 1), y - half), BLUE, 1.2)
        if x + 1 < len(boxes):
            arrow(ax, (x + side, y), (x + 1 - side, levels[x + 1]), INK, 0.8)
    for i, entry in enumerate(reversed(entries)):
        # 最先存的最后取，拼在前一个方框的输出旁边
        y, lift = levels[i], 0.12 * (sum(level == levels[i] for level in levels[i:len(unet.input_blocks)]))
        join = entry - (0.4 if brief else 0.52)
        ax.plot((i, i, join, join), (y + half, y + half + lift, y + half + lift, y), color=ORANGE, linestyle="--", linewidth=1.2)
        ax.text(join, y, "拼", ha="center", va="center", fontsize=7.5 if brief else 9, color=ORANGE, zorder=6,
                bbox={"boxstyle": f"square,pad={0.1 if brief else 0.2}", "facecolor": "white", "edgecolor": ORANGE})
        ax.text(join, y - half - 0.1, f"{boxes[entry - 1][1][0]} | {boxes[i][1][0]}", ha="center", va="center",
                fontsize=7.5 if brief else 8.5, color=ORANGE)
    for y in set(levels) if brief else ():
        x = levels.index(y)
        ax.text(x - 0.62, y - 0.3, f"边长\n{boxes[x][1][1]}", ha="center", va="center", fontsize=8.5)
    if not brief:
        middle = next(x for x, (layers, _) in enumerate(boxes) if layers.count("ResBlock") == 2)
        ax.text(middle, floor + half + 0.055, "中间块", ha="center", va="center", fontsize=8)
    for x, words, ends in ((-0.8, "$x_t$", (-0.65, -side)), (len(boxes) - 0.1, "输出", (len(boxes) - 1 + side, len(boxes) - 0.36))):
        ax.text(x, 0, words, ha="center", va="center", fontsize=9 if x > 0 else 12)
        arrow(ax, (ends[0], 0), (ends[1], 0), INK, 0.8)
    begin = {"ha": "left", "va": "center", "fontsize": 8.5, "bbox": {"facecolor": "white", "edgecolor": BLUE}}
    ax.text(-0.36, floor - 0.68, "步号 $t$" if brief else "步号 $t$ → 正弦\n→ 两层全连接", **begin)
    if unet.num_classes is not None:
        # 类别加到时间嵌入上，在第一个残差块之前
        ax.plot((-0.3, 0.72, 0.72), (floor - 0.32, floor - 0.32, floor - 0.68), color=BLUE, linewidth=1.2)
        ax.text(-0.36, floor - 0.32, "类别", **begin)
        ax.text(0.72, floor - 0.68, "+", ha="center", va="center", fontsize=8, color=BLUE, zorder=6,
                bbox={"boxstyle": "circle,pad=0.1", "facecolor": "white", "edgecolor": BLUE})
    kinds = [Line2D([], [], color=ORANGE, linestyle="--", label="跳跃连接，到“拼”处把通道排在一起"), Line2D([], [], color=BLUE, label="时间嵌入")]
    ax.legend(handles=kinds, loc="center", bbox_to_anchor=((len(boxes) - 2) / 2 - 0.5, 0.05), bbox_transform=ax.transData, fontsize=9, frameon=False)
    ax.set(xlim=(-0.95, len(boxes) + 0.15), ylim=(floor - (1.0 if brief else 0.85), top))
    ax.set_axis_off()
    return figure


def rotation_figure(angles, point=(0.85, 0.5), width=9.0):
    """(x_0, ε) 平面里的旋转：点不动，坐标轴转。angles = {标题: 弧度}，一个角一张图；灰是 x_t 轴，黑是 v 轴，浅色的粗带是点在轴上的坐标"""
    figure = empty_figure(width, 0.9 * width / len(angles))
    for ax, (title, angle) in zip(figure.subplots(1, len(angles)), angles.items()):
        cos, sin = math.cos(angle), math.sin(angle)
        ax.axhline(0, color=ORANGE, linewidth=0.8)
        ax.axvline(0, color=BLUE, linewidth=0.8)
        for (x, y), name, color, side, place in (((cos, sin), "x_t", GRAY, "left", -0.45), ((-sin, cos), "v", INK, "right", 0.75)):
            along = point[0] * x + point[1] * y
            ax.plot([0, along * x], [0, along * y], color=color, linewidth=6, alpha=0.35, solid_capstyle="butt")
            ax.plot([along * x, point[0]], [along * y, point[1]], color=color, linestyle=":", linewidth=1.2)
            arrow(ax, (0, 0), (x, y), color, 1.6)
            ax.text(1.1 * x + (0.04 if side == "left" else -0.04), 1.1 * y, f"${name}$", color=color, ha=side, va="center", fontsize=12)
            ax.text(place, -0.62, f"${name}={along:.2f}$", color=color, ha="center", va="center", fontsize=11)
        ax.plot(*point, "o", color=INK, markersize=6, zorder=5)
        ax.annotate(f"({point[0]:.2f}, {point[1]:.2f})", point, (7, -11), textcoords="offset points", fontsize=8)
        arc = np.linspace(0, angle, 40)
        ax.plot(0.25 * np.cos(arc), 0.25 * np.sin(arc), color=INK, linewidth=1)
        # 角太小时写不进去，写到横轴下面
        low = angle < 0.4
        place = (0.36, -0.13) if low else (0.38 * math.cos(angle / 1.6), 0.38 * math.sin(angle / 1.6))
        ax.text(*place, r"$\varphi_t$", ha="center", va="center", fontsize=10)
        ax.set(title=f"{title}，$\\varphi_t={math.degrees(angle):.0f}$°", xlim=(-1.3, 1.5), ylim=(-0.75, 1.35), aspect="equal")
        ax.text(1.48, -0.12, "$x_0$", ha="right", va="center", color=ORANGE)
        ax.text(-0.06, 1.27, r"$\varepsilon$", ha="right", va="center", color=BLUE)
        ax.set_axis_off()
    return figure


def nested_figure(calls, notes, hooks=(), added=(), width=9.0):
    """一串调用套成的框：calls 是 [(深度, 名字), ...]，按开始的先后；谁里面调用的，就画在谁的框里

    notes : {名字: 一句说明}；hooks 里的名字由 Trainer 来调用，画成蓝的；added 里的名字没有记下，是补画的，画成虚线
    """
    line, gap, indent = 0.25, 0.075, 0.55  # 英寸，坐标也是
    right = width - 0.45 - 0.13 * max((len(note) for note in notes.values()), default=0)
    rows, opened, y = [], [], 0.0
    for depth, name in [*calls, (0, None)]:
        while opened and opened[-1]["depth"] >= depth:
            box = opened.pop()
            # 里面有框的，下边再低一点，几层的下边才错得开
            y += gap if box is not rows[-1] else 0
            box["bottom"] = y
        if name is not None:
            rows.append({"name": name, "depth": depth, "top": y + gap})
            opened.append(rows[-1])
            y += gap + line
    figure = empty_figure(width, y + 0.15)
    ax = figure.subplots()
    for row in rows:
        name, left, color = row["name"], indent * row["depth"], BLUE if row["name"] in hooks else GRAY
        ax.add_patch(Rectangle((left, -row["bottom"]), right - 0.12 * row["depth"] - left, row["bottom"] - row["top"], linewidth=1.0, edgecolor=color,
                               facecolor="#eef4f9" if name in hooks else "#ffffff" if name in added else "#f7f7f7", linestyle="--" if name in added else "-"))
        middle = -row["top"] - line / 2
        ax.text(left + 0.1, middle, name, ha="left", va="center", fontsize=10, color=BLUE if name in hooks else INK)
        ax.text(right + 0.2, middle, notes.get(name, ""), ha="left", va="center", fontsize=9, color=INK)
    ax.set(xlim=(-0.05, width - 0.05), ylim=(-y - 0.05, 0))
    ax.set_axis_off()
    return figure


def conditions_figure(noisy, hint, width=9.0):
    """三种条件怎样进网络；noisy 是 x_t，hint 是拼在旁边的图，都是 (1, H, W)，[-1, 1]"""
    figure = empty_figure(width, 0.25 * width)
    ways = ("类别嵌入（adm）", "拼通道（concat）", "交叉注意力（crossattn）")
    for way, ax in zip(ways, figure.subplots(1, 3)):
        ax.set_title(way, fontsize=10)
        box(ax, 2.6, 1.0, "U-Net", BLUE, 1.0, 0.9)
        picture(ax, noisy, 0.8, 1.0, "$x_t$")
        arrow(ax, (1.3, 1.0), (2.0, 1.0))
        arrow(ax, (3.2, 1.0), (3.8, 1.0))
        ax.text(4.1, 1.0, r"$\hat y$", ha="center", va="center", fontsize=12)
        ax.text(2.6, 2.4, "步号 $t$", ha="center", va="center", fontsize=9)
        arrow(ax, (2.6, 2.25), (2.6, 1.47))
        if way == ways[0]:
            box(ax, 4.1, 1.86, "类别 7", ORANGE, 1.0, 0.4)
            arrow(ax, (3.6, 1.86), (2.72, 1.86), ORANGE)
            ax.text(2.6, 1.86, "+", ha="center", va="center", fontsize=9, color=ORANGE, zorder=6,
                    bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": ORANGE})
            ax.text(4.1, 1.4, "加到时间嵌入上", ha="center", fontsize=8, color=ORANGE)
        elif way == ways[1]:
            picture(ax, hint, 0.8, -0.2, "条件：一张图")
            ax.plot((1.3, 1.62), (-0.2, -0.2), color=ORANGE, linewidth=1.2)
            arrow(ax, (1.62, -0.21), (1.62, 0.97), ORANGE)
            ax.text(1.75, 0.1, "拼在通道上", fontsize=8, color=ORANGE)
        else:
            for place in (1.98, 2.6, 3.22):
                box(ax, place, -0.35, "词", ORANGE, 0.36, 0.4)
                arrow(ax, (place, -0.13), (2.6 + 0.5 * (place - 2.6), 0.53), ORANGE)
            ax.text(3.35, 0.15, "每个像素来查", fontsize=8, color=ORANGE)
    for ax in figure.axes:
        ax.set(xlim=(0, 5.0), ylim=(-0.9, 2.6), aspect="equal")
        ax.set_axis_off()
    return figure


def box(ax, x, y, text, color, wide, high):
    ax.add_patch(Rectangle((x - wide / 2, y - high / 2), wide, high, facecolor="white", edgecolor=color, linewidth=1.5))
    ax.text(x, y, text, ha="center", va="center", fontsize=9)


def picture(ax, image, x, y, name):
    ax.imshow(np.asarray(image[0]), cmap="gray", vmin=-1, vmax=1, extent=(x - 0.42, x + 0.42, y - 0.42, y + 0.42), zorder=2)
    ax.text(x, y - 0.55, name, ha="center", va="center", fontsize=8)
