"""示意图：画的是想法，不是数据"""
from .figures import BLUE, INK, ORANGE, empty_figure


def chain_figure(images, names, forward="加噪：公式现成", backward="去噪：网络来学", width=9.0):
    """一条链：images 是 (N, 1, H, W)，[-1, 1]，从原图到噪声；names 是各个的记号，上面的箭头往右，下面的往左"""
    count = len(images)
    figure = empty_figure(width, 1.55 * width / count)
    ax = figure.subplots()
    for i, (image, name) in enumerate(zip(images, names)):
        ax.imshow(image[0], cmap="gray", vmin=-1, vmax=1, extent=(i - 0.32, i + 0.32, -0.32, 0.32))
        ax.text(i, -0.46, name, ha="center", va="center", fontsize=11, color=INK)
    for i in range(count - 1):
        for y, start, end, color in ((0.16, i + 0.35, i + 0.65, BLUE), (-0.16, i + 0.65, i + 0.35, ORANGE)):
            ax.annotate("", (end, y), (start, y), arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.5})
    middle = (count - 1) / 2
    ax.text(middle, 0.48, f"{forward}　→", ha="center", va="center", fontsize=11, color=BLUE)
    ax.text(middle, -0.74, f"←　{backward}", ha="center", va="center", fontsize=11, color=ORANGE)
    ax.set(xlim=(-0.5, count - 0.5), ylim=(-0.88, 0.64), aspect="equal")
    ax.set_axis_off()
    return figure
