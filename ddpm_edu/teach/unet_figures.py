"""U-Net 一章的图：剪在哪里，残差块里两处相加，网络的输出里有多少噪声"""
from .diagrams import arrow, box, unet_figure
from .figures import BLUE, GRAY, INK, ORANGE, empty_figure, plain_axes


def scissors(ax, x, y, words="", size=10, **place):
    """一把剪刀，旁边写剪掉的是什么"""
    ax.text(x, y, f"✂{words}", fontsize=size, color=INK, zorder=8, **{"ha": "center", "va": "center", **place},
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})


def cuts_figure(unet, size):
    """两层的 U-Net，标出剪在哪里：六条跳跃连接按取用的先后编号，前一半在下层"""
    figure = unet_figure(unet, size, width=10.0, brief=True)
    ax = figure.axes[0]
    skips = [line.get_xydata() for line in ax.lines if line.get_linestyle() == "--"]
    for number, line in enumerate(reversed(skips)):
        ax.text(line[2, 0] + 0.08, line[0, 1] + 0.01, "①②③④⑤⑥"[number], ha="left", va="bottom", fontsize=9, color=ORANGE)
    for words, lines in (("剪上层连线", skips[:len(skips) // 2]), ("剪下层连线", skips[len(skips) // 2:])):
        x = (max(line[0, 0] for line in lines) + min(line[2, 0] for line in lines)) / 2
        for line in lines:
            scissors(ax, x, line[1, 1], size=8)
        ax.text(x + 0.25, lines[0][1, 1] + 0.02, words, ha="left", va="bottom", fontsize=9)
    # 不走下层：剪在“放大”与“拼”之间；抹掉 t：剪在类别加进来、线分岔之前
    climb = next(text.get_position()[0] for text in ax.texts if text.get_text().startswith("放大"))
    scissors(ax, climb + 0.39, 0, size=8)
    ax.text(climb + 0.39, -0.4, "不走下层", ha="center", va="center", fontsize=9)
    line = min(text.get_position()[1] for text in ax.texts)
    scissors(ax, 0.42, line, size=9)
    ax.text(0.42, line - 0.22, "抹掉 $t$", ha="center", va="center", fontsize=9)
    return figure


def residual_figure():
    """残差块：支路上两遍“归一化、激活、卷积”，时间嵌入加在中间，近路加在末尾；⊕ 是相加"""
    figure = empty_figure(9.0, 2.1)
    ax = figure.subplots()
    stops = {0.0: "$x$", 2.0: "归一化\n激活\n卷积 1", 3.6: "⊕", 5.2: "归一化\n激活\n卷积 2", 7.0: "⊕", 8.2: "$y$"}
    for x, words in stops.items():
        if "卷积" in words:
            box(ax, x, 0, words, INK, 0.95, 0.95)
        else:
            ax.text(x, 0, words, ha="center", va="center", fontsize=20 if words == "⊕" else 13)
    half = {"⊕": 0.17, "$x$": 0.2, "$y$": 0.2}
    for (left, before), (right, after) in zip(list(stops.items()), list(stops.items())[1:]):
        arrow(ax, (left + half.get(before, 0.48), 0), (right - half.get(after, 0.48), 0))
    ax.plot((0.75, 0.75, 7.0), (0, 0.95, 0.95), color=INK, linewidth=1.2)
    arrow(ax, (7.0, 0.95), (7.0, 0.17))
    ax.text(3.9, 1.02, "近路 $s(x)$", ha="center", va="bottom", fontsize=10)
    ax.text(4.4, 0.3, "$a$", ha="center", va="center", fontsize=13)
    box(ax, 2.0, -1.0, "激活、全连接", BLUE, 1.3, 0.45)
    ax.text(0.0, -1.0, r"$\mathrm{emb}$", ha="center", va="center", fontsize=13, color=BLUE)
    arrow(ax, (0.35, -1.0), (1.35, -1.0), BLUE)
    ax.plot((2.65, 3.6), (-1.0, -1.0), color=BLUE, linewidth=1.2)
    arrow(ax, (3.6, -1.0), (3.6, -0.17), BLUE)
    ax.text(3.75, -0.75, "每个通道一个数", ha="left", va="center", fontsize=9, color=BLUE)
    ax.set(xlim=(-0.4, 8.6), ylim=(-1.3, 1.3))
    ax.set_axis_off()
    return figure


def told_figure(steps, errors, told, wanted):
    """两格：猜的原图的误差，输出里噪声的系数；前两样是 {剪掉什么: 每个 t 一个数}，wanted 是应有的系数"""
    styles = {"完整": (INK, "-"), "剪上层连线": (ORANGE, "--"), "抹掉 $t$": (BLUE, "-"), "输出 0": (GRAY, "-.")}
    figure = empty_figure(9.0, 3.1)
    left, right = map(plain_axes, figure.subplots(1, 2))
    for ax, curves, label in ((left, errors, r"$\hat x_0$ 的均方误差"), (right, told, "输出里噪声的系数")):
        for part, values in curves.items():
            color, style = styles[part]
            ax.plot(steps, values, color=color, linestyle=style, label=part)
        ax.set(xlabel="步号 $t$", ylabel=label)
    right.plot(steps, wanted, color=INK, linestyle=":", label=r"应有的 $\sqrt{\bar\alpha_t}$")
    left.set_yscale("log")
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=9, frameon=False)
    return figure
