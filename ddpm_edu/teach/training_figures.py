"""第 13 章的三张图：损失与学习率、四段的损失怎样降、几种去噪器在四段里的误差"""
import numpy as np

from .figures import BLUE, GRAY, INK, ORANGE, empty_figure, few_ticks, plain_axes


def loss_and_rate_figure(training, validation, rates):
    """上面是训练与验证的损失，各是 (步, 值)，验证的末两点写出数来；下面是每一步的学习率，峰值的几倍"""
    figure = empty_figure(7.0, 4.0)
    top, bottom = map(plain_axes, figure.subplots(2, 1, sharex=True, height_ratios=[3, 1]))
    top.plot(*training, color=GRAY, linewidth=1, label="训练（每 5 步记一次）")
    top.plot(*validation, color=ORANGE, marker="^", label="验证（EMA 权重）")
    for step, value in list(zip(*validation))[-2:]:
        top.annotate(f"{value:.3f}", (step, value), (0, -16), textcoords="offset points", ha="center", color=ORANGE, fontsize=9)
    # 下面留出写数的地方
    top.set(ylabel="损失", yscale="log", ylim=(0.8 * min(*training[1], *validation[1]), None))
    few_ticks(top.yaxis)
    top.legend(fontsize=9)
    bottom.plot(range(len(rates)), rates, color=INK)
    bottom.set(xlabel="步", ylabel="学习率", ylim=(0, 1.1), yticks=[0, 0.5, 1])
    return figure


def quarters_figure(steps, quarters, lines):
    """四段的验证损失随步数的变化，一段一格；lines 是四段各自的及格线"""
    figure = empty_figure(9.0, 2.8)
    axes = [plain_axes(ax) for ax in figure.subplots(1, 4, sharey=True)]
    for ax, values, line, name in zip(axes, quarters, lines, ("$q_1$，近原图", "$q_2$", "$q_3$", "$q_4$，近噪声")):
        ax.axhline(line, color=GRAY, linestyle="--", label="线性滤波")
        ax.plot(steps, values, color=ORANGE, marker="^", label="本次训练")
        ax.set(xlabel="步", xticks=steps, ylim=(0, None))
        ax.tick_params(axis="x", labelsize=8)
        ax.set_title(name, fontsize=10)
    axes[0].set_ylabel("$v$ 的损失")
    axes[-1].legend(fontsize=9, loc="upper right")
    return figure


def four_kinds_figure(kinds):
    """{名字: 各张图在四段里的误差 (N, 4)}，依次是不知类别、知道类别的线性滤波，本次训练，练得久的；右边是后两种在后两段里减知道类别的，误差条是两个标准误"""
    figure = empty_figure(9.0, 3.4)
    left, right = map(plain_axes, figure.subplots(1, 2, width_ratios=[1.7, 1]))
    names = ["$q_1$\n近原图", "$q_2$", "$q_3$", "$q_4$\n近噪声"]
    where, line = np.arange(4), list(kinds.values())[1]
    for shift, (label, errors), color, marker in zip((0, 0, -0.13, 0.13), kinds.items(), (GRAY, INK, ORANGE, BLUE), "__^o"):
        size = {"markersize": 26, "markeredgewidth": 2.5} if marker == "_" else {}
        left.plot(where + shift, np.asarray(errors.mean(0)), color=color, marker=marker, linestyle="none", label=label, **size)
        if marker != "_":
            gap = np.asarray(errors - line)[:, 2:]
            bars = 2 * gap.std(0, ddof=1) / len(gap) ** 0.5
            right.errorbar(where[2:] + shift, gap.mean(0), bars, color=color, marker=marker, linestyle="none", capsize=3)
    right.axhline(0, color=INK, linewidth=2.5)
    left.set_xticks(where, labels=names)
    right.set_xticks(where[2:], labels=names[2:])
    left.set(ylabel="$v$ 的损失", ylim=(0, None), xlim=(-0.5, 3.5))
    right.set(ylabel="减去知道类别的线性滤波", xlim=(1.5, 3.5))
    legend = left.legend(fontsize=9)
    for handle in legend.legend_handles:
        handle.set_markersize(min(handle.get_markersize(), 12))
    return figure
