"""第 14 章的图：两把尺子、各类认得出多少、参数与乘法在哪里、一处一处地省、练到几处的质量与学习率、四段的损失、梯度转几度"""
import numpy as np
import torch

from ..lr_scheduler import LambdaWarmUpCosineScheduler
from ..unet import AttentionBlock
from .figures import BLUE, GRAY, INK, ORANGE, empty_figure, plain_axes

KINDS = (("guidance_1", "不加引导", ORANGE), ("guidance_2", "加引导（强度 2）", BLUE), ("gaussian", "斑图", GRAY))


def two_rulers_figure(quality):
    """卡片里的 quality：横轴是 Fréchet 距离（对数），纵轴是认得出的比例，一种图一个点，旁边写出数来"""
    figure = empty_figure(7.0, 3.2)
    ax = plain_axes(figure.subplots())
    share = quality["real_recognised"]["recognised"]
    real = {"mean": share, "se": (share * (1 - share) / 2443) ** 0.5}  # 留出的真图有 2443 张
    rows = [("真图", INK, quality["frechet_floor"], real)]
    rows += [(name, color, quality[key]["frechet"], quality[key]["recognised"]) for key, name, color in KINDS]
    for name, color, x, y in rows:
        ax.errorbar(x["mean"], 100 * y["mean"], 100 * y["se"], x["se"], color=color, marker="o", markersize=8, capsize=3)
        words = f"{name}\n距离 {x['mean']:.1f} ± {x['se']:.1f}\n认得出 {100 * y['mean']:.1f} ± {100 * y['se']:.1f}%"
        ax.annotate(words, (x["mean"], 100 * y["mean"]), (10, -4), textcoords="offset points", color=INK if color == GRAY else color, va="top", fontsize=9)
    # 不加引导的与斑图，各胜在一把尺子上；(left, high) 是两样都胜的地方
    (left, low), (right, high) = ((x["mean"], 100 * y["mean"]) for _, _, x, y in (rows[1], rows[3]))
    for start in ((right, high), (left, low)):
        ax.annotate("", (left, high), start, arrowprops={"arrowstyle": "-|>", "color": INK, "shrinkA": 7, "shrinkB": 0})
    ax.annotate("距离：左边好", ((left * right) ** 0.5, high), (-5, 5), textcoords="offset points", ha="center", fontsize=9)
    ax.annotate("认得出：\n上边好", (left, (low + high) / 2), (-6, 0), textcoords="offset points", ha="right", va="center", fontsize=9)
    ax.set(xscale="log", xlim=(0.8, 60), ylim=(28, 90), xticks=[1, 2, 5, 10, 20, 50],
           xlabel="Fréchet 距离（越往左越像真图）", ylabel="认得出（%，越高越好）")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    return figure


def by_class_figure(names, quality, real=None):
    """各类认得出多少，按“不加引导的减斑图”从大到小排；竖线连着要比的两个点，误差条是标准误；real 是真图的比例"""
    figure = empty_figure(8.0, 3.2)
    ax = plain_axes(figure.subplots())
    share = {key: 100 * np.array(quality[key]["by_class"]) for key in ("guidance_1", "gaussian")}
    order = np.argsort(share["gaussian"] - share["guidance_1"])
    ours, spots = share["guidance_1"][order], share["gaussian"][order]
    ax.vlines(range(10), ours, spots, color=np.where(ours > spots, ORANGE, GRAY), linewidth=5, alpha=0.3)
    for (key, name, color), marker, shift in zip(KINDS[::2], "^s", (-0.12, 0.12)):
        values = share[key][order]
        error = (values * (100 - values) / 320) ** 0.5  # 每类 320 张
        ax.errorbar(np.arange(10) + shift, values, error, color=color, marker=marker, linestyle="none", markersize=7, elinewidth=1, capsize=2, label=name)
    if real is not None:
        ax.plot(range(10), 100 * np.array(real)[order], "_", color=INK, markersize=22, label="真图")
    ax.set(ylabel="认得出（%）", ylim=(0, 103))
    ax.set_xticks(range(10), labels=[names[k] for k in order])
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    return figure


def spending(model, **inputs):
    """{地方: [参数, 乘法]}，前向一张 32×32 的图；注意力连同它的 1×1 卷积与两次矩阵乘，线性层是时间与类别的嵌入"""
    found = {}
    inside = {id(layer) for block in model.modules() if isinstance(block, AttentionBlock) for layer in block.modules()}

    def count(layer, x, y):
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            place = "注意力" if id(layer) in inside else f"{y.shape[-1]}×{y.shape[-1]} 的卷积" if y.ndim == 4 else "线性层"
            parameters, products = sum(p.numel() for p in layer.parameters()), y[0].numel() * layer.weight[0].numel()
        elif isinstance(layer, AttentionBlock):
            place, parameters, products = "注意力", 0, 2 * y[0].numel() * y[0, 0].numel()
        else:
            return
        row = found.setdefault(place, [0, 0])
        row[0], row[1] = row[0] + parameters, row[1] + products

    with torch.no_grad(), torch.nn.modules.module.register_module_forward_hook(count):
        model(torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long), **inputs)
    return found


def spending_figure(networks):
    """networks = {名字: spending 的结果}，一座网络一格：参数与乘法各有几成在哪里"""
    figure = empty_figure(9.0, 3.2)
    axes = figure.subplots(1, len(networks), sharey=True)
    places = [f"{side}×{side} 的卷积" for side in (32, 16, 8, 4)] + ["注意力", "线性层"]
    where = np.arange(len(places))
    for ax, (name, found), color in zip(map(plain_axes, axes), networks.items(), (ORANGE, BLUE)):
        shares = 100 * np.array([found.get(place, [0, 0]) for place in places]) / np.array(list(found.values())).sum(0)
        for shift, values, shade, label in ((-0.2, shares[:, 0], GRAY, "参数"), (0.2, shares[:, 1], color, "乘法")):
            bars = ax.barh(where + shift, values, 0.36, color=shade, label=label, zorder=2)
            ax.bar_label(bars, [f"{value:.0f}" if value >= 0.5 else "0" for value in values], padding=2, fontsize=8)
        ax.set(title=name, xlabel="占全部的比例（%）", xlim=(0, 70))
        ax.legend(fontsize=9, loc="lower right")
    axes[0].set_yticks(where, labels=places)
    axes[0].invert_yaxis()
    return figure


def chain_figure(counts):
    """counts = {改法: 改过之后的乘法}，自上而下；横轴是对数，一段箭头的长就是这一改的倍数"""
    figure = empty_figure(8.0, 3.4)
    ax = plain_axes(figure.subplots())
    ax.grid(axis="y", visible=False)
    values, last = list(counts.values()), len(counts) - 1
    for row, value in enumerate(values):
        color = ORANGE if row == 0 else BLUE if row == last else GRAY
        if row:
            before = values[row - 1]
            ax.plot([before, before], [row - 1, row], color=GRAY, linestyle=":", linewidth=1)
            factor = f"÷{before / value:.3g}" if before > value else f"×{value / before:.2f}"
            white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            if 0.95 < value / before < 1.05:  # 太短，画不出箭头
                ax.annotate(factor, (value, row), (9, 0), textcoords="offset points", va="center", fontsize=9)
            else:
                ax.annotate("", (value, row), (before, row), arrowprops={"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 4})
                ax.annotate(factor, ((before * value) ** 0.5, row), (0, 5), textcoords="offset points", ha="center", fontsize=9, bbox=white)
        ax.plot(value, row, "o", color=color, markersize=8, zorder=3)
        right = row == 0 or value > values[row - 1]
        ax.annotate(f"{value / 1e8:.2f} 亿", (value, row), (9 if right else -9, 0), textcoords="offset points", color=color if color != GRAY else INK,
                    va="center", ha="left" if right else "right", fontsize=9)
    ax.set(xscale="log", xlim=(0.8e8, 1.5e10), ylim=(last + 0.5, -0.5), xlabel="前向一张图的乘法（对数）")
    ax.set_xticks([1e8, 1e9, 1e10], labels=["1 亿", "10 亿", "100 亿"])
    ax.set_yticks(range(len(counts)), labels=counts)
    return figure


def training_figure(card, plans):
    """卡片：上面是 history 里各处与练完时的 Fréchet 距离（对数），下面是学习率；plans 是 [(从第几步起, 计划多长), ……]"""
    figure = empty_figure(7.5, 4.2)
    top, bottom = map(plain_axes, figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1]))
    for key, name, color in KINDS[:2]:
        history = [*card["history"], {"steps": card["recipe"]["max_steps"], **card["quality"]}]
        points = [(point["steps"], point[key]["frechet"]) for point in history]
        top.plot([step for step, _ in points], [value["mean"] for _, value in points], "o", color=color, label=name)  # 标准误比点小
        down = -4 if key == "guidance_1" else -12  # 蓝的数写低些，橙的不碰虚线
        for step, value in points[1:]:
            top.annotate(f"{value['mean']:.1f}", (step, value["mean"]), (8, down), textcoords="offset points", color=color, fontsize=9)
    top.annotate(f"{points[0][1]['mean']:.0f}", (0, points[0][1]["mean"]), (8, 2), textcoords="offset points", color=INK, fontsize=9)
    for name, value, color in (("斑图", card["quality"]["gaussian"]["frechet"], GRAY), ("真图", card["quality"]["frechet_floor"], INK)):
        top.axhline(value["mean"], color=color, linestyle="--", linewidth=1.2)
        top.annotate(f"{name} {value['mean']:.1f}", (6000, value["mean"]), (0, 3), textcoords="offset points", color=INK, fontsize=9)
    top.set(yscale="log", ylim=(0.9, 220), ylabel="Fréchet 距离", yticks=[1, 3, 10, 30, 100])
    top.yaxis.set_major_formatter("{x:g}")
    top.minorticks_off()
    top.legend(fontsize=9, loc="upper right", ncols=2)
    shape, ends = card["recipe"]["scheduler_config"]["params"], [start for start, _ in plans[1:]] + [card["recipe"]["max_steps"]]
    curve = [(step, LambdaWarmUpCosineScheduler(**{**shape, "max_decay_steps": length})(step))
             for (start, length), end in zip(plans, ends) for step in range(start, end + 1)]
    bottom.plot(*zip(*curve), color=INK)
    for start, length in plans[1:]:
        high = LambdaWarmUpCosineScheduler(**{**shape, "max_decay_steps": length})(start)
        bottom.annotate(f"换成 {length} 步的计划", (start, high), (6, 4), textcoords="offset points", fontsize=9)
    for step in card["growth"]:
        for ax in (top, bottom):
            ax.axvline(step, color=GRAY, linestyle=":", linewidth=1, zorder=1)
    bottom.set(xlabel="步", ylabel="学习率", ylim=(0, 1.1), yticks=[0, 0.5, 1], xlim=(-200, 10200), xticks=[0, *card["growth"]])
    return figure


def quarter_losses_figure(card, drops):
    """卡片：左边是四段的损失，线性滤波（黑短横）、history 末一处与练完时的权重；右边是后者比前者低百分之几，drops 是 [(平均, 标准误), ……]"""
    figure = empty_figure(9.0, 3.0)
    left, right = map(plain_axes, figure.subplots(1, 2, width_ratios=[1.5, 1]))
    before, after, where = card["history"][-1], card["quality"]["loss_by_quarter"], np.arange(4)
    left.plot(where, after["wiener"], "_", color=INK, markersize=30, markeredgewidth=2.5, label="线性滤波")
    left.plot(where - 0.1, before["loss_by_quarter"], "o", color=BLUE, alpha=0.4, label=f"{before['steps']} 步")
    left.plot(where + 0.1, after["model"], "o", color=BLUE, label=f"{card['recipe']['max_steps']} 步")
    left.set(ylabel="$v$ 的损失", ylim=(0, None))
    left.legend(fontsize=9).legend_handles[0].set_markersize(12)
    means, errors = zip(*drops)
    right.bar(where, means, 0.5, yerr=errors, color=BLUE, capsize=3, zorder=2)
    for x, (mean, error) in enumerate(drops):
        right.annotate(f"{mean} ± {error}", (x, mean + error), (0, 3), textcoords="offset points", ha="center", fontsize=9)
    right.set(ylabel=f"{card['recipe']['max_steps']} 步比 {before['steps']} 步低（%）", ylim=(0, 7))
    for ax in (left, right):
        ax.set_xticks(where, labels=["$q_1$\n近原图", "$q_2$", "$q_3$", "$q_4$\n近噪声"])
        ax.set_xlim(-0.5, 3.5)
    return figure


def angles_figure(angles):
    """angles = {t: [(平均, 标准误)] 两个}：换一批图、换成 bf16；误差条是标准误，旁边写出数来"""
    figure = empty_figure(7.0, 2.8)
    ax = plain_axes(figure.subplots())
    rows = np.array(list(angles.values()))
    for k, (name, color, mark) in enumerate(zip(("换一批图，都用 32 位", "同一批图，换成 bf16"), (GRAY, ORANGE), "so")):
        means, errors = rows[:, k].T
        ax.errorbar(range(len(angles)), means, errors, color=color, marker=mark, capsize=3, label=name)
        for x, (mean, error) in enumerate(zip(means, errors)):
            words = f"{mean:.0f} ± {error:.0f}" if error >= 0.95 else f"{mean:.1f} ± {error:.1f}"
            ax.annotate(words, (x, mean), (8, 6), textcoords="offset points", color=ORANGE if k else INK, fontsize=9)
    ax.set(xlabel="$t$", ylabel="梯度转几度", xlim=(-0.3, len(angles) - 0.4), ylim=(-4, 112), yticks=range(0, 91, 30))
    ax.set_xticks(range(len(angles)), labels=angles)
    figure.legend(loc="outside upper center", ncols=2, fontsize=9, frameon=False)
    return figure
