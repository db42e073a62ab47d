"""U-Net 一章的图：步号的钟，残差块里两处相加，注意力看哪里，剪在哪里；还有三种剪法"""
import math

import numpy as np
import torch
from matplotlib.colors import PowerNorm
from matplotlib.patches import Circle

from .diagrams import arrow, box, unet_figure
from .figures import BLUE, GRAY, INK, ORANGE, empty_figure


def silence(layer):
    """这一层的输出换成 0；与下面两个一样，返回装上的 hook，逐个 remove() 就复原"""
    return [layer.register_forward_hook(lambda layer, inputs, out: torch.zeros_like(out))]


def unplug(stages):
    """stages 是 [(上行的一段, 前一段送来几个通道), ...]：前面这几个通道照旧，后面是跳跃连接送来的，换成 0"""
    def cut(channels):
        def change(stage, inputs):
            before, skip = inputs[0][:, :channels], inputs[0][:, channels:]
            return torch.cat([before, torch.zeros_like(skip)], 1), *inputs[1:]
        return change

    return [stage.register_forward_pre_hook(cut(channels)) for stage, channels in stages]


def bypass(network, kind):
    """这一类层不算，输入原样送过去"""
    return [layer.register_forward_hook(lambda layer, inputs, out: inputs[0]) for layer in network.modules() if isinstance(layer, kind)]


def scissors(ax, x, y, words="", **place):
    """一把剪刀，旁边写剪掉的是什么"""
    ax.text(x, y, f"✂{words}", color=ORANGE, zorder=8, **{"ha": "center", "va": "center", "fontsize": 13, **place},
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3})


def cuts_figure(unet, size):
    """两层的 U-Net，标出剪在哪里：跳跃连接上面一半在大图上，下面一半在小图上；去掉的注意力写成橙字"""
    figure = unet_figure(unet, size, width=10.0, brief=True)
    ax = figure.axes[0]
    name = {"fontsize": 10, "color": ORANGE}
    skips = [line.get_xydata() for line in ax.lines if line.get_linestyle() == "--"]
    for words, lines in (("剪大图连线", skips[:len(skips) // 2]), ("剪小图连线", skips[len(skips) // 2:])):
        x = (max(line[0, 0] for line in lines) + min(line[2, 0] for line in lines)) / 2
        for line in lines:
            scissors(ax, x, line[1, 1])
        ax.text(x + 0.25, lines[0][1, 1] + 0.02, words, ha="left", va="bottom", **name)
    # 不走小图：剪在“放大”与“拼”之间；抹掉 t：剪在类别加进来、线分岔之前
    climb = next(text.get_position()[0] for text in ax.texts if text.get_text().startswith("放大"))
    scissors(ax, climb + 0.38, 0, fontsize=11)
    ax.plot((climb + 0.34, climb + 0.3), (-0.08, -0.5), color=ORANGE, linewidth=0.8, zorder=7)
    ax.text(climb + 0.3, -0.58, "不走小图", ha="center", va="center", **name)
    line = min(text.get_position()[1] for text in ax.texts)
    scissors(ax, 0.42, line)
    ax.text(0.42, line - 0.22, "抹掉 $t$", ha="center", va="center", **name)
    # 去注意力：方框里的那一行改成橙色
    for text in [text for text in ax.texts if "注意力" in text.get_text()]:
        rows, (x, y) = text.get_text().split("\n"), text.get_position()
        text.set_text("\n".join("　" if row == "注意力" else row for row in rows))
        ax.annotate("注意力", (x, y), (0, 9.0 * ((len(rows) - 1) / 2 - rows.index("注意力"))), textcoords="offset points",
                    ha="center", va="center", fontsize=8, color=ORANGE, zorder=8)
    ax.plot((x + 0.24, x + 0.62), (y - 0.04, y - 0.12), color=ORANGE, linewidth=0.8, zorder=7)
    scissors(ax, x + 0.5, y - 0.12, " 去注意力", fontsize=10, ha="left")
    return figure


def clocks_figure(steps, embedding, hands=(0, 8, 16, 24)):
    """步号的嵌入画成钟：一列一个步号，一行一对分量，余弦是指针尖的横坐标，正弦是纵坐标；embedding 是 (步号, d)"""
    half = embedding.shape[1] // 2
    figure = empty_figure(9.0, 4.4)
    ax = figure.subplots()
    for row, hand in enumerate(hands):
        period = 2 * math.pi * 10000 ** (hand / half)
        ax.text(-0.75, -row, f"$i={hand}$\n{period:.{max(0, 1 - hand // 8)}f} 步一圈", ha="right", va="center", fontsize=10)
        for column, values in enumerate(embedding.tolist()):
            ax.add_patch(Circle((column, -row), 0.4, facecolor="#eef4f9", edgecolor=GRAY, linewidth=0.8))
            x, y = column + 0.4 * values[hand], -row + 0.4 * values[hand + half]
            ax.plot((column, x), (-row, y), color=BLUE, linewidth=2, solid_capstyle="round")
            ax.plot(x, y, "o", color=BLUE, markersize=4)
    for column, step in enumerate(steps):
        ax.text(column, 0.62, f"$t={step}$", ha="center", va="center", fontsize=11)
    ax.set(xlim=(-2.1, len(steps) - 0.5), ylim=(0.55 - len(hands), 0.85), aspect="equal")
    ax.set_axis_off()
    return figure


def residual_figure():
    """残差块：支路上两遍“归一化、激活、卷积”，时间嵌入加在中间，近路加在末尾；⊕ 是相加"""
    figure = empty_figure(9.0, 2.1)
    ax = figure.subplots()
    stops = {0.0: "$x$", 2.0: "归一化\n激活\n卷积 1", 3.6: "⊕", 5.2: "归一化\n激活\n卷积 2", 7.0: "⊕", 8.2: "$y$"}
    for x, words in stops.items():
        if "卷积" in words:
            box(ax, x, 0, words, INK, 0.95, 0.95)
        else:
            ax.text(x, 0, words, ha="center", va="center", fontsize=20 if words == "⊕" else 13)
    half = {"⊕": 0.17, "$x$": 0.2, "$y$": 0.2}
    for (left, before), (right, after) in zip(list(stops.items()), list(stops.items())[1:]):
        arrow(ax, (left + half.get(before, 0.48), 0), (right - half.get(after, 0.48), 0))
    ax.plot((0.75, 0.75, 7.0), (0, 0.95, 0.95), color=INK, linewidth=1.2)
    arrow(ax, (7.0, 0.95), (7.0, 0.17))
    ax.text(3.9, 1.02, "近路 $s(x)$", ha="center", va="bottom", fontsize=10)
    ax.text(4.4, 0.3, "$a$", ha="center", va="center", fontsize=13)
    box(ax, 2.0, -1.0, "激活、全连接", BLUE, 1.3, 0.45)
    ax.text(0.0, -1.0, r"$\mathrm{emb}$", ha="center", va="center", fontsize=13, color=BLUE)
    arrow(ax, (0.35, -1.0), (1.35, -1.0), BLUE)
    ax.plot((2.65, 3.6), (-1.0, -1.0), color=BLUE, linewidth=1.2)
    arrow(ax, (3.6, -1.0), (3.6, -0.17), BLUE)
    ax.text(3.75, -0.75, "每个通道一个数", ha="left", va="center", fontsize=9, color=BLUE)
    ax.set(xlim=(-0.4, 8.6), ylim=(-1.3, 1.3))
    ax.set_axis_off()
    return figure


def looks_figure(model, layer, image, noise, steps, query):
    """一处注意力里，query（第几行、第几列）给各个位置的权重，写成百分数；每个 t 两格：左边是送进去的 x_t，右边是权重，叉是 query"""
    t, found = torch.tensor(steps), []
    x_t = model.q_sample(image.expand(len(steps), -1, -1, -1), t, noise.expand(len(steps), -1, -1, -1))
    hook = layer.register_forward_pre_hook(lambda layer, inputs: found.append(layer.qkv(layer.norm(inputs[0]))))
    with torch.no_grad():
        model.apply_model(x_t, t, {"c_adm": torch.full_like(t, -1)})
    hook.remove()
    side = found[0].shape[-1]
    q, k, _ = found[0].flatten(2).chunk(3, 1)
    weights = (q.transpose(1, 2) @ k / q.shape[1] ** 0.5).softmax(-1).unflatten(1, (side, side))[:, query[0], query[1]].unflatten(1, (side, side))
    figure, scale = empty_figure(9.0, 2.5), PowerNorm(0.5, 0, 1.6 * float(weights.max()))  # 各格同一把颜色的尺；开平方，小的权重也看得出深浅
    axes, size = figure.subplots(1, 2 * len(steps)), image.shape[-1] / side  # 小图的一格，在原图上是几个像素
    for step, picture, weight, left, right in zip(steps, x_t[:, 0], weights, axes[::2], axes[1::2]):
        left.imshow(picture, cmap="gray", vmin=-1, vmax=1)
        left.plot((query[1] + 0.5) * size - 0.5, (query[0] + 0.5) * size - 0.5, "x", color=ORANGE, markersize=9, markeredgewidth=2.5)
        right.imshow(weight, cmap="Blues", norm=scale)
        for (row, column), value in np.ndenumerate(weight.numpy()):
            right.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8)
        right.plot(query[1] + 0.36, query[0] - 0.36, "x", color=ORANGE, markersize=5, markeredgewidth=1.8)
        left.set_title(f"$x_t$，$t={step}$", fontsize=10)
        right.set_title("叉处给出的权重（%）", fontsize=10)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return figure
