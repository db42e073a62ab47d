"""第 13 章的几张图：损失与学习率、四段的损失怎样降、几种去噪器在四段里的误差、步数加倍的几次训练与它们四段的误差"""
import numpy as np

from .figures import BLUE, GRAY, GREEN, INK, ORANGE, empty_figure, few_ticks, plain_axes


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


def quarters_figure(steps, quarters, any_class, own_class):
    """四段的验证损失随步数的变化，一段一格，都除以知道类别的线性滤波的误差 own_class，所以共用一条对数纵轴；any_class 是不知类别的"""
    figure = empty_figure(9.0, 3.0)
    axes = [plain_axes(ax) for ax in figure.subplots(1, 4, sharey=True)]
    for ax, values, free, told, name in zip(axes, quarters, any_class, own_class, ("$q_1$，近原图", "$q_2$", "$q_3$", "$q_4$，近噪声")):
        ratios, white = np.array(values) / float(told), {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        ax.axhline(float(free / told), color=GRAY, linestyle="--", label="线性滤波，不知类别")
        ax.axhline(1, color=INK, linewidth=2, label="线性滤波，知道类别")
        ax.plot(steps, ratios, color=ORANGE, marker="^", label="本次训练")
        ax.annotate(f"{ratios[-1]:.2f}", (steps[-1], ratios[-1]), (0, 9), textcoords="offset points", ha="center", color=ORANGE, fontsize=9, bbox=white)
        ax.set(xlabel="步", xticks=steps, xlim=(25, 215), yscale="log", ylim=(0.9, 6.2))
        ax.set_yticks([1, 1.5, 2, 3, 5], labels=["1", "1.5", "2", "3", "5"])
        ax.minorticks_off()
        ax.tick_params(labelsize=8)
        ax.set_title(name, fontsize=10)
    axes[0].set_ylabel("$v$ 的损失，及格线的几倍")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncol=3, fontsize=9)
    return figure


def above_line_figure(line, networks):
    """各张图在四段里的误差 (N, 4)：line 是知道类别的线性滤波，networks 是 {名字: 误差}，依次是本次训练与发布的模型；右边减去 line，误差条是两个标准误"""
    figure = empty_figure(9.0, 3.4)
    left, right = map(plain_axes, figure.subplots(1, 2))
    names = ["$q_1$\n近原图", "$q_2$", "$q_3$", "$q_4$\n近噪声"]
    where = np.arange(4)
    left.plot(where, np.asarray(line.mean(0)), color=INK, marker="_", linestyle="none", markersize=26, markeredgewidth=2.5, label="线性滤波，知道类别")
    for shift, (label, errors), color, marker in zip((-0.13, 0.13), networks.items(), (ORANGE, BLUE), "^o"):
        left.plot(where + shift, np.asarray(errors.mean(0)), color=color, marker=marker, linestyle="none", label=label)
        gap = np.asarray(errors - line)
        bars = 2 * gap.std(0, ddof=1) / len(gap) ** 0.5
        right.errorbar(where + shift, gap.mean(0), bars, color=color, marker=marker, linestyle="none", capsize=3)
    right.axhline(0, color=INK, linewidth=2.5)
    for ax in (left, right):
        ax.set_xticks(where, labels=names)
        ax.set_xlim(-0.5, 3.5)
    left.set(ylabel="$v$ 的损失", ylim=(0, None))
    right.set(ylabel="减去知道类别的线性滤波")
    legend = left.legend(fontsize=9)
    for handle in legend.legend_handles:
        handle.set_markersize(min(handle.get_markersize(), 12))
    return figure


def doubled_figure(runs, held):
    """{名字: (步, 验证损失)}，步数依次约加倍，学习率都沿余弦降完；held 是第二次练完之后学习率不再变、接着走的"""
    figure = empty_figure(7.0, 3.2)
    ax = plain_axes(figure.subplots())
    for (name, (steps, losses)), color, marker, place in zip(runs.items(), (ORANGE, BLUE, GREEN, INK), "^osD", (14, 14, -20, -20)):
        ax.plot(steps, losses, color=color, marker=marker, label=name)
        ax.plot(steps[-1:], losses[-1:], color=color, marker="o", markersize=15, fillstyle="none")
        ax.annotate(f"{losses[-1]:.3f}", (steps[-1], losses[-1]), (0, place), textcoords="offset points", ha="center", color=color, fontsize=9)
    ax.plot(*held, color=BLUE, linestyle=":", marker="o", fillstyle="none", label="375 步练完，照末尾的学习率接着走")
    ax.annotate(f"{held[1][-1]:.3f}", (held[0][-1], held[1][-1]), (0, 9), textcoords="offset points", ha="center", color=BLUE, fontsize=9)
    ax.set(xlabel="步", ylabel="验证损失（EMA 权重）", yscale="log", xlim=(0, 1580), ylim=(0.09, 0.65))
    few_ticks(ax.yaxis)
    ax.legend(fontsize=9)
    return figure


def gaps_figure(gaps, again, held):
    """gaps 与 again 是两个训练种子的 {步数: 四段的误差减及格线}，一段一格，横轴是对数；held 是 375 步练完、学习率不再变、接着走到 750 步的"""
    figure = empty_figure(9.0, 3.0)
    axes, steps = [plain_axes(ax) for ax in figure.subplots(1, 4)], list(gaps)
    ours, others = np.array(list(gaps.values())).T, np.array(list(again.values())).T
    for ax, values, other, kept, name in zip(axes, ours, others, held, ("$q_1$，近原图", "$q_2$", "$q_3$", "$q_4$，近噪声")):
        ax.axhline(0, color=INK, linewidth=2, label="及格线：线性滤波，知道类别")
        ax.plot(steps, values, color=ORANGE, marker="o", label="从头重练")
        ax.plot(list(again), other, color=ORANGE, marker="o", fillstyle="none", linestyle="none", markersize=8, label="换一个训练种子")
        ax.plot(750, kept, color=ORANGE, marker="^", fillstyle="none", linestyle="none", label="375 步练完，接着走到 750 步")
        ax.annotate(f"{values[-1]:.3f}".replace("-", "−"), (steps[-1], values[-1]), (0, 9), textcoords="offset points", ha="center", color=ORANGE, fontsize=9)
        ax.set(xlabel="步", xscale="log", xlim=(160, 2100))
        ax.set_xticks(steps, labels=steps)
        ax.minorticks_off()
        ax.tick_params(labelsize=8)
        ax.locator_params(axis="y", nbins=5)
        ax.set_title(name, fontsize=10)
    axes[0].set_ylabel("误差减去及格线")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncol=4, fontsize=9)
    return figure
