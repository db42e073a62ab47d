"""平面上的点：并排几张散点图，可以再画箭头与轨迹"""
import itertools

import numpy as np
import torch

from .figures import BLUE, GRAY, GREEN, INK, ORANGE, curves_figure, empty_figure


def points_figure(clouds, labels=None, arrows=None, paths=None, shadow=None, limit=2.6, width=9.0, columns=None):
    """clouds = {标题: (N, 2) 的点}，一个标题一张图，坐标都从 -limit 到 limit；columns 张一行，不写就全排在一行

    labels : (N,) 的 0 与 1，画成蓝与橙；也可以是 {标题: 各图自己的}，不写的就是一种颜色
    arrows : {标题: ((M, 2) 的起点, (M, 2) 的位移)}；给了箭头或轨迹的图，点画成淡的底，没有 labels 时是灰的
    paths  : {标题: (S, M, 2)}，M 条轨迹，从空心的点走到实心的点
    shadow : (K, 2)，每张图里都有的灰影
    """
    columns = columns or len(clouds)
    rows = -(-len(clouds) // columns)
    lines = max(title.count("\n") + 1 for title in clouds)
    figure = empty_figure(width, rows * (width / columns + 0.13 + 0.17 * lines))
    if lines > 1:
        figure.get_layout_engine().set(h_pad=0.1)  # 两行的标题，上沿留白
    arrows, paths, each = arrows or {}, paths or {}, labels if isinstance(labels, dict) else dict.fromkeys(clouds, labels)
    for ax, (title, points) in zip(figure.subplots(rows, columns, squeeze=False).flat, clouds.items()):
        x, y = np.asarray(points).T
        below = title in arrows or title in paths
        labels = each.get(title)
        colors = np.where(np.asarray(labels) == 0, BLUE, ORANGE) if labels is not None else GRAY if below else BLUE
        if shadow is not None:
            ax.scatter(*np.asarray(shadow).T, s=4 if title in arrows else 2, c=GRAY, alpha=0.6 if title in arrows else 0.25, linewidths=0)
        size, alpha = (4, 0.45) if title in arrows else (2, 0.35 if below else 0.7 if shadow is None else 0.4)
        ax.scatter(x, y, s=size, c=colors, alpha=alpha, linewidths=0)
        if title in arrows:
            at, move = (np.asarray(value) for value in arrows[title])
            ax.quiver(*at.T, *move.T, color=ORANGE if labels is None else INK, alpha=0.75, angles="xy", scale_units="xy", scale=1, width=0.006)
        if title in paths:
            walk = np.asarray(paths[title])
            for i, color in zip(range(walk.shape[1]), itertools.cycle((BLUE, ORANGE, INK, GREEN))):
                ax.plot(*walk[:, i].T, color=color, linewidth=0.9, solid_joinstyle="round", solid_capstyle="round")
                ax.scatter(*walk[0, i], s=30, facecolors="white", edgecolors=color, zorder=3)
                ax.scatter(*walk[-1, i], s=30, color=color, zorder=4)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=(), yticks=())
        ax.set_title(title, fontsize=10)
    return figure


@torch.no_grad()
def fields_figure(views, ridge=None, names=(), count=15, longest=1.5, near=0.6, least=0.15, width=9.0):
    """模型在各处指的方向：views = {标题: ((N, 2) 的点, 步号, 画到多远, [模型])}，模型是 (x, t) → 噪声，至多两个，叠着画成蓝与橙

    箭头朝着噪声的反面，长短照噪声的大小，超过 longest 的截到 longest
    ridge : (x, t) → (N,)，叠着两个模型的格子里，等于 0 的地方画成黑线，只画它的绝对值小于 near 处的箭头
            两个模型的夹角超过 120°，而且猜的噪声都不短于 least 的，圈出来
    names : 两个模型的名字，写在图例里
    """
    figure = points_figure({title: view[0] for title, view in views.items()}, width=width)
    for ax, (_, step, limit, models) in zip(figure.axes, views.values()):
        ax.collections[0].set(color=GRAY, alpha=0.35)
        axis = torch.linspace(-0.85 * limit, 0.85 * limit, count)
        at, heads, reach = torch.cartesian_prod(axis, axis), dict(headwidth=4, headlength=4, headaxislength=4), 0.13 * limit
        if ridge and len(models) > 1:
            fine = torch.linspace(-limit, limit, 201)
            line = ridge(torch.cartesian_prod(fine, fine), torch.full((201**2,), step)).reshape(201, 201)
            ax.contour(fine, fine, line.T, levels=[0], colors=INK, linewidths=1.2, zorder=1.5)
            at = at[ridge(at, torch.full((len(at),), step)).abs() < near]
            heads, reach = dict(headwidth=3, headlength=3, headaxislength=3), 0.22 * limit
            first, second = (model(at, torch.full((len(at),), step)) for model in models)
            opposite = (torch.cosine_similarity(first, second) < -0.5) & (torch.minimum(first.norm(dim=1), second.norm(dim=1)) >= least)
            ax.scatter(*at[opposite].T, s=90, facecolors="none", edgecolors=INK, linewidths=1, zorder=4)
        for order, (model, color) in enumerate(zip(models, (BLUE, ORANGE))):
            move = -model(at, torch.full((len(at),), step))
            move = move / move.norm(dim=1, keepdim=True).clamp(min=longest) * reach
            ax.quiver(*at.T, *move.T, color=color, angles="xy", scale_units="xy", scale=1, width=0.006, minlength=0.5, zorder=3 - order, **heads)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
        if names:
            ax.legend([ax.scatter([], [], marker=r"$\rightarrow$", s=160, color=color) for color in (BLUE, ORANGE)], names, loc="upper center",
                      bbox_to_anchor=(0.5, -0.01), ncols=2, frameon=False)
    return figure


def losses_figure(history, floor, every=50):
    """训练的损失（每 every 步平均），垫上最低处 floor"""
    means = np.reshape(history, (-1, every)).mean(1)
    curves = {"网络": means, "最好的猜测": [floor] * len(means)}
    figure = curves_figure((every * np.arange(1, 1 + len(means)), curves, "训练的步数", f"损失（每 {every} 步平均）"))
    figure.axes[0].set_ylim(0.2, 0.45)
    return figure
