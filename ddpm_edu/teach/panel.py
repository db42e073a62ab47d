"""面板：控件 + 一张图 + 一句话。拖动时只换图的字节；没有内核时，留下控件停在几处的一叠静态图"""
import asyncio
import base64
import logging
import re
from types import SimpleNamespace

from PIL import Image

from ..checks import check_float
from .figures import SHARP, caption, size_in_points
from .plot import PALETTE, encode

log = logging.getLogger("ddpm_edu")

# 控件停下几秒，图才换成清晰的
REST = 0.3
# 描述里怎样叫各种控件
KINDS = {"FloatSlider": "slider", "FloatLogSlider": "log", "IntSlider": "int", "Dropdown": "choice", "Checkbox": "checkbox"}


class Panel:
    """compute(**控件的值) → (数据, 一句话)；数据交给 plot.update，一句话用中文写在图的上方

    plot     : Plot
    sheet    : 静态图画哪几处，[{参数名: 值}, ...]，没有提到的控件取此刻的值
    controls : {参数名: 本模块造的控件}
    aside    : 静态图的每一处再说一句，由那一句话取出
    across   : 静态图的几处从左到右排，给整数就一行排几处；默认从上到下
    没有装 ipywidgets 时，只有静态图，并提醒一句
    """

    def __init__(self, plot, compute, sheet, aside=lambda note: "", across=False, **controls):
        self.plot, self.compute, self.sheet, self.controls, self.aside, self.across = plot, compute, sheet, controls, aside, across
        # 不许随窗口拉大：放大的位图发糊，字比正文还大；边距会把它挤出一条滚动条
        look = {"width": f"{size_in_points(plot.figure)['width']}px", "align_self": "flex-start", "max_width": "100%", "margin": "0"}
        self.image = _widget("Image", format="png", layout=look)
        self.note = _widget("HTML")
        self.box = _widget("VBox", children=[*controls.values(), self.note, self.image])
        if isinstance(self.box, SimpleNamespace):
            log.warning("没有 ipywidgets，面板只有静态图；要拖动控件，先 pip install ipywidgets，再重启内核")
        for control in controls.values():
            control.observe(self.redraw, names="value")
        self._sharpen = None
        self.draw()

    def draw(self, sharp=SHARP):
        picture, note = self.frame(sharp)
        # 图先走，那一句话跟在后面
        self.image.value = encode(picture)
        self.note.value = note

    def redraw(self, change=None):
        """控件动了：先画一点一个像素的，快一倍；停下来再换成清晰的"""
        if self._sharpen:
            self._sharpen.cancel()
        try:
            self._sharpen = asyncio.get_running_loop().call_later(REST, self.draw)
        except RuntimeError:
            # 不在 Jupyter 里，没有事件循环来叫醒
            return self.draw()
        self.draw(sharp=1)

    def frame(self, sharp=SHARP, **moved):
        """→ (图, 一句话)；moved 里的控件当作拖到了那里"""
        data, note = self.compute(**{name: control.value for name, control in self.controls.items()} | moved)
        return self.plot.update(**data).picture(sharp), note

    def still(self):
        """sheet 里的几处排成一张，各写明控件停在哪里 → (PNG 的字节, 在页面上占多大)"""
        parts = []
        for moved in self.sheet:
            frame, note = self.frame(**moved)
            words = "，".join(f"{self.controls[name].description}：{_spoken(value)}" for name, value in moved.items()) + self.aside(note)
            parts.append((caption(words, frame.width).quantize(palette=PALETTE, dither=Image.Dither.NONE), frame))
        # 每一份都只用 PALETTE 里的颜色，存的是颜色的编号，照抄就行
        wide, high = parts[0][1].width, sum(part.height for part in parts[0])
        columns = len(parts) if self.across is True else int(self.across) or 1
        page = Image.new("P", (wide * columns, high * -(-len(parts) // columns)))
        page.putpalette(PALETTE.getpalette())
        for order, (words, frame) in enumerate(parts):
            left, top = order % columns * wide, order // columns * high
            page.paste(words, (left, top))
            page.paste(frame, (left, top + words.height))
        return encode(page, level=6), {"width": page.width // SHARP, "height": page.height // SHARP}

    def describe(self):
        """→ 可以存成 JSON 的描述，网页照着它摆控件、画图：{controls, plot, fixed: 不随控件变的曲线 {名字: [x, y]}, note: 此刻的一句话}"""
        data, note = self.compute(**{name: control.value for name, control in self.controls.items()})
        fixed = {name: [[float(value) for value in values] for values in artist.get_data()]
                 for name, artist in self.plot.artists.items() if name not in data}
        return {"controls": [{"name": name, **describe_control(control)} for name, control in self.controls.items()],
                "plot": self.plot.describe(), "fixed": fixed, "note": note}

    def _repr_mimebundle_(self, include=None, exclude=None):
        still, size = self.still()
        bundle = dict(self.box._repr_mimebundle_())
        bundle["text/plain"] = f"（拖动控件，图会跟着变；没有内核时，看到的是控件停在几处的样子）{re.sub('<[^>]+>', '', self.note.value)}"
        bundle["image/png"] = base64.b64encode(still).decode()
        return bundle, {"image/png": size}


def last_sentence(note):
    """那一句话的末一句，接在静态图的标题后面"""
    return "。" + note.split("。")[-1]


def slider(value, low, high, step, description, readout=".2f"):
    """浮点滑块"""
    check_float("value", value, low, high)
    return _widget("FloatSlider", value=value, min=low, max=high, step=step, readout_format=readout, **_look(description))


def log_slider(value, low, high, description):
    """对数滑块：low、high 是 10 的幂次，每格十分之一"""
    return _widget("FloatLogSlider", value=value, min=low, max=high, step=0.1, readout_format=".1e", **_look(description))


def int_slider(value, low, high, description, step=1):
    """整数滑块"""
    return _widget("IntSlider", value=value, min=low, max=high, step=step, **_look(description))


def choice(options, value, description):
    """下拉框；options 是列表或 [(显示, 值), ...]"""
    return _widget("Dropdown", options=options, value=value, **_look(description))


def toggle(value, description):
    """勾选框"""
    return _widget("Checkbox", value=value, indent=False, description=description)


def describe_control(control):
    """→ {kind, label, value, ...}：滑块有 min、max、step 与 format（数怎样写），对数滑块的 min、max 是 10 的幂次；下拉框有 options: [[显示, 值], ...]"""
    said = {"kind": KINDS[control.kind], "label": control.description, "value": control.value}
    if control.kind == "Dropdown":
        return said | {"options": [list(option) if isinstance(option, tuple) else [str(option), option] for option in control.options]}
    if control.kind == "Checkbox":
        return said
    return said | {"min": control.min, "max": control.max, "step": control.step, "format": getattr(control, "readout_format", "d")}


def _spoken(value):
    return {True: "是", False: "否"}[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _widget(kind, **options):
    """ipywidgets 的一个控件，kind 记着它是哪一种；没有装时是不会动的替身，只记着这些属性"""
    try:
        import ipywidgets
    except ImportError:
        return SimpleNamespace(**options, kind=kind, observe=lambda *args, **kwargs: None, _repr_mimebundle_=dict)
    made = getattr(ipywidgets, kind)(**options)
    made.kind = kind
    return made


def _look(description):
    return {"description": description, "style": {"description_width": "11em"}, "layout": {"width": "36em"}}
