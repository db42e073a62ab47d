"""画图的纯函数：张量进，Figure 出；图里的汉字用装好的字体画，哪台机器上都一样"""
import io
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image, ImageDraw, ImageFont

from ..images import make_grid

# 色盲可辨、灰度下深浅也不同（Okabe & Ito）
INK, BLUE, ORANGE, GRAY, GREEN = "#222222", "#0072B2", "#D55E00", "#999999", "#009E73"
# 一英寸排 110 点，每点 2×2 个像素：高分屏上不发糊
DPI, SHARP = 110, 2
CURVES = [(BLUE, "-"), (ORANGE, "--"), (INK, ":"), (GRAY, "-.")]


def use_chinese_font():
    """让 matplotlib 写得出汉字：zhplot 这个包里装着思源黑体；学生自己用 pyplot 画的图也就有了

    只取字体文件，不导入那个包
    异常 : 没有装 zhplot 时 ModuleNotFoundError
    """
    found = find_spec("zhplot")
    if found is None:
        raise ModuleNotFoundError("No module named 'zhplot'", name="zhplot")
    path = Path(found.submodule_search_locations[0]) / "fonts" / "NotoSansSC-Regular.ttf"
    fontManager.addfont(path)
    family = FontProperties(fname=path).get_name()
    matplotlib.rcParams["font.family"] = [family, *(name for name in matplotlib.rcParams["font.family"] if name != family)]


use_chinese_font()


def empty_figure(width=7.0, height=3.0):
    """不经过 pyplot 的图：不占全局状态，也不会自己弹出来；宽与高凑成整数个点，静态的与拖动时的才一样大"""
    figure = Figure(figsize=(round(width * DPI) / DPI, round(height * DPI) / DPI), dpi=DPI * SHARP, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(ax):
    """统一的样子：细网格，没有上边与右边的框"""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#dddddd", linewidth=0.5)
    return ax


def caption(words, width):
    """一行字，宽 width 个像素的图像"""
    image = Image.new("RGB", (width, 20 * SHARP), "white")
    font = ImageFont.truetype(findfont(matplotlib.rcParams["font.family"][0]), 13 * SHARP)
    ImageDraw.Draw(image).text((8 * SHARP, 10 * SHARP), words, INK, font, anchor="lm")
    return image


def size_in_points(figure):
    """在页面上占多大，单位是点（CSS 的 px）"""
    width, height = figure.get_size_inches() * DPI
    return {"width": round(width), "height": round(height)}


def to_png(figure):
    """Figure → (PNG 的字节, 在页面上占多大)"""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue(), size_in_points(figure)


def framed_grid(images, nrow=8):
    """(N, C, H, W)，[-1, 1] → (一整张, 缝有几个像素宽)；缝是浅灰的，黑底的图也看得出边"""
    padding = max(1, min(images[0].shape[-2:]) // 14)
    return make_grid(images, nrow, padding, gap=0.5), padding


def grid_figure(images, nrow=8, width=7.0, rows=(), columns=()):
    """排成格子的图像：(N, C, H, W)，[-1, 1]；rows、columns 是各行、各列的名字，可以不写"""
    grid, padding = framed_grid(images, nrow)
    grid, (high, wide) = ((grid + 1) / 2).numpy(), images[0].shape[-2:]
    margin = max((len(line) for name in rows for line in name.replace("$", "").splitlines()), default=0) * 0.14
    figure = empty_figure(width, (width - margin) * grid.shape[1] / grid.shape[2] + (0.3 if columns else 0))
    ax = figure.subplots()
    gray = grid.shape[0] == 1
    ax.imshow(grid[0] if gray else grid.transpose(1, 2, 0), cmap="gray" if gray else None, vmin=0, vmax=1)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=9)
    for axis, names, side in ((ax.xaxis, columns, wide), (ax.yaxis, rows, high)):
        axis.set_ticks([padding + side / 2 - 0.5 + i * (side + padding) for i in range(len(names))], labels=names)
    return figure


def curve_figure(x, curves, xlabel, ylabel, xscale="linear", yscale="linear"):
    """几条曲线：curves = {名字: 数列}"""
    return curves_figure((x, curves, xlabel, ylabel, xscale, yscale))


def curves_figure(*plots, width=None, faint=()):
    """并排几个坐标轴，每个是 (x, {名字: 数列}, xlabel, ylabel[, xscale, yscale])；名字在 faint 里的画成细灰线，依次是虚线、点线"""
    figure = empty_figure(width or (7.0 if len(plots) == 1 else 9.0))
    axes = figure.subplots(1, len(plots), squeeze=False)[0]
    for ax, (x, curves, xlabel, ylabel, *scales) in zip(map(plain_axes, axes), plots):
        for (name, y), (color, style) in zip(((name, y) for name, y in curves.items() if name not in faint), CURVES):
            ax.plot(np.asarray(x), np.asarray(y), color=color, linestyle=style, label=name)
        for name, style in zip(faint, ("--", ":")):
            ax.plot(np.asarray(x), np.asarray(curves[name]), color=GRAY, linestyle=style, linewidth=1.0, label=name)
        xscale, yscale = scales or ("linear", "linear")
        ax.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
        if len(x) <= 6 and xscale == "linear" and all(isinstance(value, int) for value in x):
            ax.set_xticks(x)
        for axis in (ax.xaxis, ax.yaxis):
            few_ticks(axis)
        if any(curves):
            # 半透明的白底：压在曲线上也读得清
            ax.legend(fontsize=9, framealpha=0.85, edgecolor="none")
    return figure


def few_ticks(axis):
    """不到两个量级的对数轴，刻度写成 0.1、0.2、0.5，不写成 2×10⁻¹"""
    low, high = axis.get_view_interval()
    if axis.get_scale() == "log" and high < 100 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if high < 10 * low else (1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def show_figures_in_notebook():
    """让 notebook 直接显示 Figure，不必经过 pyplot；不在 IPython 里时什么也不做"""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.display_formatter.formatters["image/png"].for_type(Figure, to_png)
