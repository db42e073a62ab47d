"""第 12 章的图：没有热身与热身，逐个种子的验证损失"""
from .figures import BLUE, GRAY, ORANGE, empty_figure, plain_axes


def seeds_figure(plain, warmed):
    """没有热身与热身的验证损失，各是 {学习率: 各个种子的数}；同一个种子的两点连一条线"""
    figure, ticks = empty_figure(height=3.4), []
    ax = plain_axes(figure.subplots())
    for i, lr in enumerate(plain):
        ax.plot([2 * i, 2 * i + 1], [plain[lr], warmed[lr]], color=GRAY, linewidth=0.7, zorder=1)
        for x, name, found, color in ((2 * i, "没有热身", plain[lr], ORANGE), (2 * i + 1, "热身 20 步", warmed[lr], BLUE)):
            ax.scatter([x] * len(found), found, s=22, color=color, alpha=0.8, zorder=2)
            ticks.append((x, f"{name}\n平均 {sum(found) / len(found):.3f}"))
        ax.text(2 * i + 0.5, 0.71, f"学习率 {lr}", ha="center")
    ax.set(xlim=(-0.5, 2 * len(plain) - 0.5), ylim=(0.35, 0.74), ylabel="200 步之后的验证损失")
    ax.set_xticks(*zip(*ticks))
    return figure
