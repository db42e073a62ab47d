"""第 13 章的几张图：损失与学习率、四段的误差减去及格线、步数加倍的几次训练与它们四段的误差"""
import numpy as np

from .figures import BLUE, GRAY, GREEN, INK, ORANGE, empty_figure, few_ticks, plain_axes

QUARTERS = ("$q_1$，近原图", "$q_2$", "$q_3$", "$q_4$，近噪声")
# 190、375、750、1500 步四次训练的颜色与记号
RUNS = ((ORANGE, "^"), (BLUE, "o"), (GREEN, "s"), (INK, "D"))


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


def above_line_figure(gaps):
    """各张图在四段里的误差减去及格线 (N, 4)：平均与两个标准误"""
    figure = empty_figure(5.0, 2.8)
    ax, where = plain_axes(figure.subplots()), np.arange(4)
    gaps = np.asarray(gaps)
    ax.errorbar(where, gaps.mean(0), 2 * gaps.std(0, ddof=1) / len(gaps) ** 0.5, color=ORANGE, marker="^", linestyle="none", capsize=4)
    ax.axhline(0, color=INK, linewidth=2)
    ax.annotate("及格线", (1.5, 0), (0, -13), textcoords="offset points", ha="center", color=INK, fontsize=9)
    ax.set_xticks(where, labels=QUARTERS)
    ax.set(ylabel="误差减去及格线", xlim=(-0.5, 3.5), ylim=(min(-0.012, 1.1 * float(gaps.mean(0).min())), None))
    return figure


def doubled_figure(runs, held):
    """{步数: (步, 验证损失)}，步数依次约加倍，学习率都沿余弦降完；held 是第二次练完之后学习率不再变、接着走的"""
    figure = empty_figure(7.0, 3.2)
    ax = plain_axes(figure.subplots())
    for (count, (steps, losses)), (color, marker), place in zip(runs.items(), RUNS, ((32, 9), (-24, -20), (0, -18))):
        ax.plot(steps, losses, color=color, marker=marker)
        ax.annotate(f"{count} 步：{losses[-1]:.3f}", (steps[-1], losses[-1]), place, textcoords="offset points", ha="center", color=color, fontsize=10)
    ax.plot(*held, color=RUNS[1][0], linestyle=":", marker="o", fillstyle="none")
    ax.annotate(f"375 步练完，接着走：{held[1][-1]:.3f}", (held[0][-1], held[1][-1]), (8, 10), textcoords="offset points", ha="right",
                color=RUNS[1][0], fontsize=10)
    ax.set(xlabel="步", ylabel="验证损失（EMA 权重）", yscale="log", xlim=(0, 820), ylim=(0.105, 0.65))
    few_ticks(ax.yaxis)
    return figure


def gaps_figure(gaps):
    """{步数: 四段的误差减及格线，各是 (平均, 标准误)}，一段一格，横轴是对数；误差条是两个标准误"""
    figure = empty_figure(9.0, 2.8)
    axes, steps = [plain_axes(ax) for ax in figure.subplots(1, 4)], list(gaps)
    for k, (ax, name) in enumerate(zip(axes, QUARTERS)):
        ax.axhline(0, color=INK, linewidth=2)
        ax.plot(steps, [gaps[count][k][0] for count in steps], color=GRAY, linewidth=1.5, zorder=1)
        for count, (color, marker) in zip(steps, RUNS):
            mean, error = gaps[count][k]
            ax.errorbar(count, mean, 2 * error, color=color, marker=marker, capsize=4)
        last = gaps[steps[-1]][k][0]
        ax.annotate("及格线", (2100, 0), (0, 4 if last < 0 else -13), textcoords="offset points", ha="right", color=INK, fontsize=9)
        ax.annotate(f"{last:.3f}".replace("-", "−"), (steps[-1], last), (2, 9), textcoords="offset points", ha="center", color=INK, fontsize=10)
        ax.set(xlabel="步", xscale="log", xlim=(150, 2200), ylim=(min(-0.012, 1.12 * last), None))
        ax.set_xticks(steps, labels=steps)
        ax.minorticks_off()
        ax.tick_params(labelsize=8)
        ax.locator_params(axis="y", nbins=5)
        ax.set_title(name, fontsize=10)
    axes[0].set_ylabel("误差减去及格线")
    return figure
