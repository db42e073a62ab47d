"""平面上的点：并排几张散点图，可以再画箭头与轨迹"""
import itertools

import numpy as np

from .figures import BLUE, GRAY, GREEN, INK, ORANGE, empty_figure


def points_figure(clouds, labels=None, arrows=None, paths=None, limit=2.6, width=9.0):
    """clouds = {标题: (N, 2) 的点}，一个标题一张图，坐标都从 -limit 到 limit

    labels : (N,) 的 0 与 1，画成两种颜色；不写就是一种
    arrows : {标题: ((M, 2) 的起点, (M, 2) 的位移)}；给了箭头或轨迹的图，点画成灰的底
    paths  : {标题: (S, M, 2)}，M 条轨迹，从空心的点走到实心的点
    """
    figure = empty_figure(width, width / len(clouds) + 0.3)
    arrows, paths = arrows or {}, paths or {}
    for ax, (title, points) in zip(figure.subplots(1, len(clouds), squeeze=False)[0], clouds.items()):
        x, y = np.asarray(points).T
        below = title in arrows or title in paths
        colors = GRAY if below else BLUE if labels is None else np.where(np.asarray(labels) == 0, BLUE, ORANGE)
        ax.scatter(x, y, s=2, c=colors, alpha=0.35 if below else 0.7, linewidths=0)
        if title in arrows:
            at, move = (np.asarray(value) for value in arrows[title])
            ax.quiver(*at.T, *move.T, color=ORANGE, angles="xy", scale_units="xy", scale=1, width=0.006)
        if title in paths:
            walk = np.asarray(paths[title])
            for i, color in zip(range(walk.shape[1]), itertools.cycle((BLUE, ORANGE, INK, GREEN))):
                ax.plot(*walk[:, i].T, color=color, linewidth=0.9)
                ax.scatter(*walk[0, i], s=30, facecolors="white", edgecolors=color, zorder=3)
                ax.scatter(*walk[-1, i], s=30, color=color, zorder=4)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=(), yticks=())
        ax.set_title(title, fontsize=10)
    return figure
