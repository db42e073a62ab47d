"""第 9 章的图：构造函数的地图，同一个步号的两种噪声"""
import inspect

import numpy as np
import torch
from matplotlib.patches import Rectangle

from ..ddpm import DDPM
from ..gaussian import GaussianDiffusion
from ..original.knowledge import methods
from .diagrams import PALE, arrow
from .figures import BLUE, GRAY, INK, ORANGE, empty_figure, plain_axes

LOADING = "#d5ece2"  # 载入的淡绿

# 次序要紧的五件事：名字 → (课程版的源码里恰有的文字, 知识库里的招牌)
DEEDS = {
    "噪声表": ("self.register_schedule(", "call self.register_schedule"),
    "logvar": ("logvar = torch.full", "= self.logvar"),
    "网络": ("self.model = DiffusionWrapper", "= self.model"),
    "EMA": ("self.model_ema =", "= self.model_ema"),
    "载入": ("self.init_from_ckpt(", "call self.init_from_ckpt"),
}


def course_order():
    """课程版里五件事的先后，按它们在源码里的位置；父类的构造函数在 super().__init__ 那一行运行"""
    source = inspect.getsource(DDPM.__init__).replace("super().__init__(", inspect.getsource(GaussianDiffusion.__init__))
    return sorted(DEEDS, key=lambda name: source.index(DEEDS[name][0]))


def original_order():
    """原文件里五件事的先后，按知识库里逐条语句的次序"""
    signatures = [note.signature for note in methods()["DDPM.__init__"].notes]
    return sorted(DEEDS, key=lambda name: signatures.index(DEEDS[name][1]))


def deed(ax, x, y, name, missing=False):
    """一个方框；造东西的是蓝的，载入是绿的，missing 是载入时还没有造出来的"""
    ax.add_patch(Rectangle((x - 0.5, y - 0.2), 1.0, 0.4, facecolor="#ffffff" if missing else LOADING if name == "载入" else PALE,
                           edgecolor=ORANGE if missing else INK, linestyle="--" if missing else "-", linewidth=1.8 if missing else 0.9))
    ax.text(x, y, name, ha="center", va="center", fontsize=12, color=ORANGE if missing else INK)


def frame(ax, left, right, bottom, top):
    """一个灰框，圈住载入要等的几样"""
    ax.plot((left, right, right, left, left), (bottom, bottom, top, top, bottom), color=GRAY, linewidth=1.2)


def init_map(width=9.0):
    """上面是三条先后，灰框圈住载入要等的四样；下面是课程版与原文件真实的次序，载入之后才造的画成橙色的虚线框，打叉的箭头从圈它们的灰框指回载入"""
    figure = empty_figure(width, 0.585 * width)
    ax = figure.subplots()
    for y, first, second, mark, words in ((1.55, "噪声表", "logvar", "甲", "要知道步数 $T$"), (0.65, "网络", "EMA", "乙", "要复制权重")):
        deed(ax, 0.6, y, first)
        deed(ax, 3.0, y, second)
        arrow(ax, (1.12, y), (2.48, y), BLUE, 1.6)
        ax.text(1.8, y + 0.08, f"{mark}：{words}", ha="center", va="bottom", fontsize=10.5, color=BLUE)
    deed(ax, 5.9, 1.1, "载入")
    frame(ax, -0.1, 3.7, 0.32, 1.98)
    arrow(ax, (3.72, 1.1), (5.38, 1.1), BLUE, 1.6)
    ax.text(4.54, 1.18, "丙：四样都要在", ha="center", va="bottom", fontsize=10.5, color=BLUE)
    ax.text(-0.75, 1.1, "谁要用谁", ha="right", va="center", fontsize=11, color=INK)
    ax.plot((-2.0, 6.6), (0.12, 0.12), color=GRAY, linewidth=0.6)
    for y, title, order in ((-0.25, "课程版的次序", course_order()), (-1.08, "原文件的次序", original_order())):
        ax.text(-0.75, y, title, ha="right", va="center", fontsize=11, color=INK)
        loaded = order.index("载入")
        for place, name in enumerate(order):
            deed(ax, 1.4 * place + 0.1, y, name, missing=place > loaded)
            if place:
                arrow(ax, (1.4 * place - 0.78, y), (1.4 * place - 0.42, y), GRAY, 1.0)
        late = [1.4 * place + 0.1 for place in range(loaded + 1, len(order))]
        if late:
            start, end, low = sum(late) / len(late), 1.4 * loaded + 0.1, y - 0.5
            frame(ax, late[0] - 0.62, late[-1] + 0.62, y - 0.32, y + 0.32)
            ax.plot((start, start, end), (y - 0.33, low, low), color=ORANGE, linewidth=1.4)
            arrow(ax, (end, low - 0.01), (end, y - 0.22), ORANGE, 1.4)
            ax.plot((start + end) / 2, low, "x", color=ORANGE, markersize=13, markeredgewidth=2.4)
            ax.text((start + end) / 2, low - 0.12, "丙放反了：载入时还没有这两样", ha="center", va="top", fontsize=10.5, color=ORANGE)
    ax.set(xlim=(-2.0, 6.65), ylim=(-1.88, 2.05))
    ax.set_axis_off()
    return figure


def same_step_figure(tables, step, image, width=9.0):
    """同一个步号在几张噪声表上：左边是幅度随步号的曲线，右边是原图与这一步的带噪图；tables = {名字: 每一步的幅度}，image 是 (1, H, W)，[-1, 1]"""
    figure = empty_figure(width, 0.26 * width)
    left, clean, *others = figure.subplots(1, 2 + len(tables), width_ratios=[2.0] + [1] * (1 + len(tables)))
    plain_axes(left).axvline(step, color=GRAY, linewidth=1, linestyle=":")
    clean.imshow(np.asarray(image[0]), cmap="gray", vmin=-1, vmax=1)
    clean.set_xlabel("原图", fontsize=10)
    clean.set(xticks=[], yticks=[])
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    # 名字写在圆点旁：上面的曲线写在右上，下面的写在左边
    beside = ({"xytext": (7, 5), "ha": "left", "va": "bottom"}, {"xytext": (-8, 0), "ha": "right", "va": "center"})
    for (name, table), ax, color, line, place in zip(tables.items(), others, (BLUE, ORANGE), ("-", "--"), beside):
        amplitude = float(table[step])
        left.plot(np.asarray(table), color=color, linestyle=line)
        left.annotate(name, (step, amplitude), textcoords="offset points", fontsize=10, color=color, **place)
        left.plot(step, amplitude, "o", color=color, markersize=7, zorder=5)
        ax.imshow(np.asarray(amplitude * image[0] + (1 - amplitude**2) ** 0.5 * noise[0]), cmap="gray", vmin=-2, vmax=2)
        ax.set_xlabel(f"{name}\n第 {step} 步，幅度 {amplitude:.2f}", fontsize=10, color=color)
        ax.set(xticks=[], yticks=[])
    left.set(xlabel="步号 $t$", ylabel=r"图的幅度 $\sqrt{\bar\alpha_t}$", ylim=(-0.03, 1.05))
    return figure
