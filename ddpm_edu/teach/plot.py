"""面板用的图：坐标轴固定，数据常换。背景只画一次，之后只重画会变的线，一帧几毫秒"""
import io
from dataclasses import dataclass, field

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from ..checks import fail
from .figures import BLUE, CURVES, DPI, GRAY, GREEN, INK, ORANGE, SHARP, empty_figure, plain_axes

# 颜色与线型同静态的图，第一条粗些：它跟着控件变
COLORS = {INK: "ink", BLUE: "blue", ORANGE: "orange", GRAY: "gray", GREEN: "green"}
STYLES = tuple((color, style, 2.0 if i == 0 else 1.5) for i, (color, style) in enumerate(CURVES))


def palette():
    """面板里只有这些颜色：灰 64 级，蓝与橙各 93 级。一个像素一个字节，编码快六倍

    PIL 找最近的颜色时只看高 6 位，所以灰取 4 的倍数，淡到快成白的蓝与橙不要：白就还是白
    """
    grays = np.repeat(np.append(np.arange(0, 252, 4), 255)[:, None], 3, axis=1)
    shades = [255 * np.linspace(to_rgb(color), (1, 1, 1), 97)[:-4] for color in (BLUE, ORANGE)]
    image = Image.new("P", (1, 1))
    image.putpalette(np.concatenate([grays, *shades]).round().astype(np.uint8).tobytes())
    return image


PALETTE = palette()


def encode(picture, level=1):
    """Image → PNG 的字节；level 是压缩得多紧，1 最快"""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def paste(pixels, artist):
    """把 imshow 的灰度图直接放大到画布上；matplotlib 的重采样一张要一两毫秒，十张就看得出卡"""
    box = artist.get_window_extent()
    left, right = round(box.x0), round(box.x1)
    top, bottom = len(pixels) - round(box.y1), len(pixels) - round(box.y0)
    gray = Image.fromarray(np.clip(np.asarray(artist.get_array()) * 127.5 + 128, 0, 255).astype(np.uint8))
    # 先凑齐四个通道再放大，抄进去时整行地抄，快三倍
    pixels[top:bottom, left:right] = np.asarray(gray.convert("RGBA").resize((right - left, bottom - top), Image.Resampling.NEAREST))


@dataclass
class Axis:
    """一个坐标轴：curves 是 {数据名: 图例}，dots 中的名字画成点；image 不为空时画一张图像

    xticks 只标这几个数；styles 是各条曲线依次的 (颜色, 线型, 粗细)
    columns 是图像上方各列的名字；rows 是图像左边各行的 {数据名: 最长的一个名字}，名字由 update 换；图像上的 curves 是橙色的框
    """

    xlabel: str = ""
    ylabel: str = ""
    xlim: tuple = (0, 1)
    ylim: tuple = (0, 1)
    xscale: str = "linear"
    yscale: str = "linear"
    curves: dict = field(default_factory=dict)
    dots: tuple = ()
    image: str = ""
    title: str = ""
    legend: str = "upper right"
    xticks: tuple = ()
    styles: tuple = STYLES
    columns: tuple = ()
    rows: dict = field(default_factory=dict)


class Plot:
    """rows 是若干行 Axis；update(名字=(x, y) 或图像) 换数据，picture() 画出这一帧"""

    def __init__(self, *rows, width=9.0, height=3.2, ratios=None):
        self.figure = empty_figure(width, height)
        self.artists, self.axes, self.ratios = {}, [], ratios
        for cell, row in zip(self.figure.add_gridspec(len(rows), 1), rows):
            self.axes.append([])
            for place, axis in zip(cell.subgridspec(1, len(row), width_ratios=ratios), row):
                ax = plain_axes(self.figure.add_subplot(place))
                self.axes[-1].append((axis, ax))
                self._set_up(axis, ax)
        self._backgrounds = {}

    def _set_up(self, axis, ax):
        ax.set_title(axis.title, fontsize=10)
        if axis.image:
            ax.set_axis_off()
            self.artists[axis.image] = ax.imshow(np.zeros((1, 1)), cmap="gray", vmin=-1, vmax=1, animated=True)
            for order, name in enumerate(axis.columns):
                ax.text((order + 0.5) / len(axis.columns), 1.01, name, transform=ax.transAxes, ha="center", va="bottom", fontsize=9)
            for order, (name, longest) in enumerate(axis.rows.items()):
                place = {"x": -0.01, "y": 1 - (order + 0.5) / len(axis.rows), "transform": ax.transAxes, "ha": "right", "va": "center", "fontsize": 9}
                # 透明的那份给最长的名字留位置
                ax.text(s=longest, alpha=0, **place)
                self.artists[name] = ax.text(s="", animated=True, **place)
            for name in axis.curves:
                self.artists[name], = ax.plot([], [], color=ORANGE, linewidth=3, zorder=9, animated=True)
            return
        ax.set(xlabel=axis.xlabel, ylabel=axis.ylabel, xscale=axis.xscale, yscale=axis.yscale, xlim=axis.xlim,
               ylim=axis.ylim)
        if axis.xticks:
            ax.set_xticks(axis.xticks, labels=[str(tick) for tick in axis.xticks])
        elif axis.xscale == "linear":
            ax.locator_params("x", nbins=6)
        # 对数轴的小刻度有几十条，头一张图的时间有十分之一花在它们上
        ax.minorticks_off()
        lines = [name for name in axis.curves if name not in axis.dots]
        for order, (name, (color, style, width)) in enumerate(zip(lines, axis.styles)):
            # 先写的画在上面
            self.artists[name], = ax.plot([], [], color=color, linestyle=style, linewidth=width, label=axis.curves[name],
                                          zorder=9 - order, animated=True)
        for name in axis.dots:
            self.artists[name], = ax.plot([], [], color=INK, linestyle="none", marker="o", markersize=6, zorder=10, clip_on=False,
                                          label=axis.curves[name], animated=True)
        if any(axis.curves.values()):
            ax.legend(frameon=False, fontsize=9, loc=axis.legend)

    def update(self, **data):
        """换数据；曲线给 (x, y)，图像给 (H, W) 数组，值在 [-1, 1]，行名给字。没有提到的不变"""
        if unknown := sorted(set(data) - set(self.artists)):
            fail("data", f"取自 {sorted(self.artists)}", unknown)
        for name, value in data.items():
            artist = self.artists[name]
            if hasattr(artist, "set_extent"):
                value, before = np.asarray(value), artist.get_array().shape
                artist.set_data(value)
                # 大小没变就不动坐标轴：六张图一起动要两三毫秒
                if value.shape != before:
                    artist.set_extent((-0.5, value.shape[1] - 0.5, value.shape[0] - 0.5, -0.5))
            elif hasattr(artist, "set_text"):
                artist.set_text(value)
            else:
                artist.set_data(np.asarray(value[0]), np.asarray(value[1]))
        return self

    def describe(self):
        """→ 可以存成 JSON 的描述，网页照着它画：{rows: 若干行坐标轴, ratios: 各列的宽之比}"""
        # 画一遍，刻度才定下来
        self.picture()
        return {"rows": [[self._describe(axis, ax) for axis, ax in row] for row in self.axes], "ratios": self.ratios}

    def _describe(self, axis, ax):
        if axis.image:
            return {"image": axis.image, "title": axis.title}
        # 先写的画在上面，所以从后往前画
        order = sorted(axis.curves, key=lambda name: self.artists[name].zorder)
        return {"title": axis.title, "x": _scale(ax.xaxis, axis.xlabel), "y": _scale(ax.yaxis, axis.ylabel),
                "legend": [name for name in sorted(axis.curves, key=axis.dots.__contains__) if axis.curves[name]],
                "lines": [{"name": name, "label": axis.curves[name], "dot": name in axis.dots, **_look(self.artists[name])} for name in order]}

    def picture(self, sharp=SHARP):
        """当前这一帧，只有 PALETTE 里的颜色；一点画 sharp 个像素，1 或 SHARP"""
        canvas = self.figure.canvas
        if not self._backgrounds:
            canvas.draw()
            # 布局定下来就不再动：之后为静态图再画一遍，坐标轴也不会挪开，与背景对得上
            self.figure.set_layout_engine("none")
            background = Image.fromarray(np.array(canvas.buffer_rgba()))
            self._backgrounds = {SHARP: np.asarray(background), 1: np.asarray(background.reduce(SHARP))}
        self.figure.set_dpi(DPI * sharp)
        pixels = np.asarray(canvas.get_renderer().buffer_rgba())
        pixels[:] = self._backgrounds[sharp]
        for artist in sorted(self.artists.values(), key=lambda artist: artist.zorder):
            if hasattr(artist, "set_extent"):
                paste(pixels, artist)
            else:
                artist.axes.draw_artist(artist)
        return Image.fromarray(pixels).convert("RGB").quantize(palette=PALETTE, dither=Image.Dither.NONE)


def _scale(axis, label):
    """坐标轴的一个方向：{label, log, range: [低, 高], ticks: [[位置, 字], ...]}"""
    low, high = (float(end) for end in axis.get_view_interval())
    # 1.0000000000000002 也算 1
    places = [float(place) for place in axis.get_majorticklocs() if low - 1e-9 * abs(low) <= place <= high + 1e-9 * abs(high)]
    return {"label": label, "log": axis.get_scale() == "log", "range": [low, high],
            "ticks": [list(pair) for pair in zip(places, axis.get_major_formatter().format_ticks(places))]}


def _look(line):
    return {"color": COLORS[line.get_color()], "style": line.get_linestyle(), "width": line.get_linewidth(),
            "steps": line.get_drawstyle() == "steps-mid"}
