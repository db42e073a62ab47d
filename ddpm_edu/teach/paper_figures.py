"""第 19 章的图：逐个种子相减，几处图表，各条结论的区间"""
import numpy as np
from matplotlib.ticker import PercentFormatter

from .figures import BLUE, CURVES, GRAY, INK, ORANGE, empty_figure, plain_axes
from .papers import SETTLED, gap, verdict

LOOKS = {"成立": (BLUE, "o"), "看不出": (INK, "D"), "不成立": (ORANGE, "s")}


def zero_line(ax):
    """零线：误差棒碰到它，就看不出谁大"""
    ax.axhline(0, color=GRAY, linewidth=1, zorder=1)


def seed_by_seed(ax, place, values, color=BLUE, apart=0.12):
    """各个种子的差一列点，右边是平均与它的 95% 区间"""
    one = gap(values, np.zeros(len(values)))
    ax.plot([place - apart] * len(values), values, "o", color=color, markersize=4, alpha=0.6)
    ax.errorbar(place + apart, one["mean"], one["margin"], color=color, marker="_", markersize=12, capsize=4, linewidth=2)


def ratio_bars(ax, places, ones, **style):
    """ones 是对数之差的 gap：画成倍数，误差棒是 95% 区间；灰线是一倍"""
    mean, margin = (np.array([one[kind] for one in ones]) for kind in ("mean", "margin"))
    low, middle, high = np.exp([mean - margin, mean, mean + margin])
    ax.errorbar(places, middle, (middle - low, high - middle), color=BLUE, marker="o", markersize=4, capsize=3, **style)
    ax.axhline(1, color=GRAY, linewidth=1, zorder=1)


def paired_figure(before, after, names, ylabel, width=7.5, height=3.2):
    """左边一条线是一个种子，names 是两种做法的名字；右边是逐个种子的差与 95% 区间；两格的纵轴一样长，起伏的大小好比"""
    figure = empty_figure(width, height)
    left, right = map(plain_axes, figure.subplots(1, 2, width_ratios=[1.6, 1]))
    left.plot([0, 1], np.array([before, after]), color=BLUE, marker="o", markersize=4, linewidth=1, alpha=0.7)
    left.set_xticks([0, 1], names)
    top = 1.1 * max(*before, *after)
    left.set(xlim=(-0.2, 1.2), ylim=(0, top), ylabel=ylabel)
    left.set_title("两种做法，八个种子", fontsize=10)
    seed_by_seed(right, 0, np.subtract(after, before))
    zero_line(right)
    right.set_xticks([0], ["，减去".join(names[::-1])])
    right.set(xlim=(-0.6, 0.6), ylim=(-top / 2, top / 2), ylabel=f"{ylabel}的差")
    right.set_title("逐个种子相减", fontsize=10)
    return figure


def gaps_figure(groups, ylabel, width=7.0, height=3.3):
    """groups 是 {组的名字: {哪一列: 各个种子的差}}：一组里的几列并排，名字写在点的上方"""
    figure = empty_figure(width, height)
    ax = plain_axes(figure.subplots())
    for place, rows in enumerate(groups.values()):
        for k, ((name, values), color) in enumerate(zip(rows.items(), (BLUE, ORANGE, INK))):
            at = place + 0.3 * (k - 1)
            seed_by_seed(ax, at, values, color, 0.06)
            ax.annotate(name, (at, max(values)), (0, 8), textcoords="offset points", ha="center", color=color, fontsize=10)
    zero_line(ax)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.set(xlim=(-0.55, len(groups) - 0.45), ylabel=ylabel)
    ax.margins(y=0.12)
    return figure


def rate_figure(ours, theirs, cuts, width=9.5, height=3.3):
    """左：已付的比特与误差，ours、theirs 都是 (已付, 误差[, 标准误])；右：切开以后还要付的占几成

    cuts : [(名字, 占几成, 95% 区间的一半或 None, 是不是论文的, 切在 (已付, 误差)), ...]
    """
    figure = empty_figure(width, height)
    left, right = map(plain_axes, figure.subplots(1, 2, width_ratios=[1.25, 1]))
    left.errorbar(*ours, color=BLUE, marker="o", markersize=3, capsize=2, linewidth=1)
    left.plot(*theirs, "s", color=ORANGE, markersize=5)
    left.text(0.72, 3.2, "我们的 cifar10", color=BLUE, fontsize=10)
    left.text(0.2, 14, "论文的表 4", color=ORANGE, fontsize=10)
    left.set(xlabel="已付的比特（bits/dim）", ylabel="误差（像素 0 到 255）", yscale="log", xlim=(-0.1, 2.5), ylim=(0.3, 100))
    left.yaxis.set_major_formatter("{x:g}")
    for place, (_, share, margin, paper, cut) in enumerate(cuts):
        color = ORANGE if paper else BLUE
        left.annotate("甲乙丙"[place], cut, (0, 7 if paper else -16), textcoords="offset points", ha="center", color=color, fontsize=11)
        right.errorbar(share, place, xerr=margin, color=color, marker="s" if paper else "o", markersize=6, capsize=4)
    right.axvline(0.5, color=GRAY, linewidth=1)
    right.text(0.5, -0.62, "一半", ha="center", va="bottom", fontsize=10)
    right.set_yticks(range(len(cuts)), [f"{'甲乙丙'[place]}：{cut[0]}" for place, cut in enumerate(cuts)])
    right.set(xlabel="还要付的比例", xlim=(0.36, 0.64), ylim=(len(cuts) - 0.5, -0.6))
    right.xaxis.set_major_formatter(PercentFormatter(1, 0))
    return figure


def settle_figure(rows, width=6.5, height=3.0):
    """粗、细两层各还有几成没有定，从 t=999 走到 0；点在各自少于两成的那一步"""
    figure = empty_figure(width, height)
    ax = plain_axes(figure.subplots())
    for (name, key), (color, style), side in zip((("粗的一层", "coarse"), ("细的一层", "fine")), CURVES, (1, -1)):
        t, share, se = rows["t"]["mean"], *(np.array(rows[key][kind]) for kind in ("mean", "se"))
        ax.plot(t, share, color=color, linestyle=style)
        ax.fill_between(t, share - se, share + se, color=color, alpha=0.25, linewidth=0)
        done = rows[f"{key}_done"]["mean"]
        ax.plot(done, SETTLED, "o", color=color)
        ax.annotate(f"{name}\n$t={done:.0f}$", (done, SETTLED), (-12 * side, -8 if side > 0 else 8), textcoords="offset points", color=color,
                    ha="right" if side > 0 else "left", va="top" if side > 0 else "bottom", fontsize=10)
    ax.axhline(SETTLED, color=GRAY, linewidth=1)
    ax.text(20, SETTLED + 0.02, "两成", ha="right", va="bottom", fontsize=10)
    ax.set(xlabel="步号 $t$，从左往右去噪", ylabel="还没有定的比例", xlim=(1010, 0), ylim=(0, 0.9))
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    return figure


def steps_figure(theirs, ours, width=9.5, height=3.3):
    """DDIM 表 1 的几种走法，相邻的两种之比。theirs : (步数, {走法: FID})；ours : {格的名字: {步数: 对数之差的 gap}}"""
    figure = empty_figure(width, height)
    counts, rows = theirs[0], list(theirs[1].values())
    places = sorted({*counts, *(n for each in ours.values() for n in each)})
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (name, each), below, above in zip(axes, ours.items(), rows, rows[1:]):
        plain_axes(ax)
        ratio_bars(ax, [places.index(n) for n in each], each.values(), linestyle="none")
        ax.plot([places.index(n) for n in counts], np.divide(above, below), "s-", color=ORANGE, markersize=4, linewidth=1)
        at, one = next((places.index(n), np.exp(one["mean"] - one["margin"])) for n, one in each.items() if n == counts[0])
        ax.annotate("我们的 digits", (at, one), (0, -5), textcoords="offset points", ha="center", va="top", color=BLUE, fontsize=10)
        ax.annotate("论文，CIFAR-10", (places.index(counts[1]), above[1] / below[1]), (6, 4), textcoords="offset points", color=ORANGE, fontsize=10)
        ax.set_title(name, fontsize=10)
        ax.set_xticks(range(len(places)), places)
        ax.set(xlabel="步数", yscale="log", ylim=(0.5, 12))
    axes[0].set(ylabel="距离之比")
    axes[0].set_yticks([0.5, 1, 2, 3, 5, 10])
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].minorticks_off()
    return figure


def valley_figure(theirs, ours, real, near=1.5, width=7.5, height=3.8):
    """引导强度与距离，都除以不引导的。theirs : (强度, {表: FID})；ours : {强度: 对数之差的 gap}；real 是同样多的真图；强度大于 near 的画在小框里"""
    figure = empty_figure(width, height)
    ax = plain_axes(figure.subplots())
    for (name, values), style, lift in zip(theirs[1].items(), ("-", "--"), (8, 10)):
        ratios = np.divide(values, values[0])
        low = int(ratios.argmin())
        ax.plot(theirs[0], ratios, color=ORANGE, linestyle=style, marker="s", markersize=4)
        ax.plot(theirs[0][low], ratios[low], "o", color=ORANGE, markersize=11, fillstyle="none")
        ax.annotate(f"论文的{name}", (theirs[0][4], ratios[4]), (-6, lift), textcoords="offset points", ha="right", color=ORANGE, fontsize=10)
    first = {w: one for w, one in ours.items() if w <= near}
    ratio_bars(ax, list(first), first.values())
    ax.axhline(real, color=INK, linewidth=1.2, linestyle=":", zorder=1)
    ax.text(near, real * 0.98, "同样多的真图", ha="right", va="top", fontsize=10)
    ax.annotate("我们的 digits_class", (near, np.exp(first[near]["mean"])), (0, 7), textcoords="offset points",
                ha="right", va="bottom", color=BLUE, fontsize=10)
    inset = plain_axes(ax.inset_axes([0.08, 0.66, 0.3, 0.28]))
    ratio_bars(inset, list(ours), ours.values())
    inset.set_xticks(range(1, 6))
    inset.set_yticks([1, 1.5, 2])
    inset.tick_params(labelsize=9)
    inset.set_title("我们的，强度到 5", fontsize=9, color=BLUE)
    ax.set(xlabel="引导强度", ylabel="距离，除以不引导的", yscale="log", ylim=(0.28, 4.2))
    ax.set_yticks([0.3, 0.5, 1, 2, 3])
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    return figure


def sure_figure(strengths, each, width=6.0, height=2.8):
    """认得出的比例：each 的一行是一种强度的各个种子；细线是一个种子，粗线是平均，虚线是满分"""
    figure = empty_figure(width, height)
    ax = plain_axes(figure.subplots())
    ax.plot(strengths, each, color=BLUE, linewidth=0.8, alpha=0.4)
    ax.plot(strengths, np.mean(each, 1), color=BLUE, marker="o", markersize=5, linewidth=2.5)
    ax.axhline(1, color=INK, linewidth=1, linestyle="--")
    ax.text(max(strengths), 1.0015, "100%", ha="right", va="bottom", fontsize=10)
    ax.set_xticks(range(int(min(strengths)), int(max(strengths)) + 1))
    ax.set(xlabel="引导强度", ylabel="认得出的比例", ylim=(min(map(min, each)) - 0.004, 1.008))
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    return figure


def verdicts_figure(judged, width=9.5):
    """判过的各条，一类一块，块里从上到下：judged 是 [(类, 哪一处图表, 结论, gap 的结果), ...]；块的头一行写三种判语各几条

    一条横线是一条结论的 95% 区间，除以它自己的一半，所以都是左右各 1；碰到零就是看不出
    """
    lines = []
    for kind in dict.fromkeys(row[0] for row in judged):
        rows = [row for row in judged if row[0] == kind]
        words = [verdict(one) for *_, one in rows]
        lines.append((f"{kind}：" + "，".join(f"{word} {words.count(word)}" for word in LOOKS), None))
        lines += [(f"{paper}：{claim}", one) for _, paper, claim, one in rows]
    figure = empty_figure(width, 0.24 * len(lines) + 0.9)
    ax = plain_axes(figure.subplots())
    ax.grid(visible=False, axis="y")
    for place, (_, one) in enumerate(lines):
        if one is None:
            ax.axhspan(place - 0.45, place + 0.45, color=GRAY, alpha=0.2, linewidth=0)
            continue
        color, marker = LOOKS[verdict(one)]
        middle = one["mean"] / one["margin"]
        ax.hlines(place, middle - 1, middle + 1, color=color, linewidth=2)
        ax.plot(middle, place, marker, color=color, markersize=5)
    ax.vlines(0, -0.5, len(lines) - 0.5, color=INK, linewidth=1)
    for word, at in (("不成立", -2.2), ("看不出", 0), ("成立", 4.5)):
        ax.text(at, -0.7, word, ha="center", va="bottom", color=LOOKS[word][0], fontsize=11)
    ax.set_yticks(range(len(lines)), [text for text, _ in lines], fontsize=9)
    for label, (_, one) in zip(ax.get_yticklabels(), lines):
        label.set_fontsize(11 if one is None else 9)
    ax.tick_params(axis="y", length=0)
    ax.set(xscale="symlog", ylim=(len(lines) - 0.5, -1.4), xlabel="差（以 95% 区间的一半为单位）")
    ticks = [-3, -1, 0, 1, 3, 10]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    return figure
