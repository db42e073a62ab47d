"""平面上的点：并排几张散点图，可以再画箭头与轨迹"""
import itertools

import numpy as np

from .figures import BLUE, GRAY, GREEN, INK, ORANGE, empty_figure


def points_figure(clouds, labels=None, arrows=None, paths=None, shadow=None, limit=2.6, width=9.0):
    """clouds = {标题: (N, 2) 的点}，一个标题一张图，坐标都从 -limit 到 limit

    labels : (N,) 的 0 与 1，画成蓝与橙；也可以是 {标题: 各图自己的}，不写的就是一种颜色
    arrows : {标题: ((M, 2) 的起点, (M, 2) 的位移)}；给了箭头或轨迹的图，点画成淡的底，没有 labels 时是灰的
    paths  : {标题: (S, M, 2)}，M 条轨迹，从空心的点走到实心的点；处处重合的几条由粗到细叠着画
    shadow : (K, 2)，每张图里都有的灰影
    """
    figure = empty_figure(width, width / len(clouds) + 0.3)
    arrows, paths, each = arrows or {}, paths or {}, labels if isinstance(labels, dict) else dict.fromkeys(clouds, labels)
    for ax, (title, points) in zip(figure.subplots(1, len(clouds), squeeze=False)[0], clouds.items()):
        x, y = np.asarray(points).T
        below = title in arrows or title in paths
        labels = each.get(title)
        colors = np.where(np.asarray(labels) == 0, BLUE, ORANGE) if labels is not None else GRAY if below else BLUE
        if shadow is not None:
            ax.scatter(*np.asarray(shadow).T, s=2, c=GRAY, alpha=0.25, linewidths=0)
        ax.scatter(x, y, s=2, c=colors, alpha=0.35 if below else 0.7 if shadow is None else 0.4, linewidths=0)
        if title in arrows:
            at, move = (np.asarray(value) for value in arrows[title])
            ax.quiver(*at.T, *move.T, color=ORANGE if labels is None else INK, angles="xy", scale_units="xy", scale=1, width=0.006)
        if title in paths:
            walk = np.asarray(paths[title])
            count = walk.shape[1]
            same = count > 1 and np.allclose(walk, walk[:, :1], atol=1e-4)
            for i, color in zip(range(count), itertools.cycle((BLUE, ORANGE, INK, GREEN))):
                extra = 2.0 * (count - 1 - i) if same else 0.0
                ax.plot(*walk[:, i].T, color=color, linewidth=0.9 + extra)
                ax.scatter(*walk[0, i], s=30, facecolors="white", edgecolors=color, zorder=3)
                ax.scatter(*walk[-1, i], s=(30**0.5 + extra) ** 2, color=color, zorder=4)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=(), yticks=())
        ax.set_title(title, fontsize=10)
    return figure
