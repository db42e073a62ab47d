"""面板：控件 + 一张图 + 一句话。拖动时只换图的字节；没有内核时，留下默认状态的静态图"""
import base64
import re

from ..checks import check_float


class Panel:
    """compute(**控件的值) → (数据, 一句话)；数据交给 plot.update，一句话用中文写在图的上方

    plot     : Plot
    controls : {参数名: ipywidgets 控件}
    """

    def __init__(self, plot, compute, **controls):
        import ipywidgets

        self.plot, self.compute, self.controls = plot, compute, controls
        # 不许随窗口拉大：放大的位图发糊，字比正文还大；边距会把它挤出一条滚动条
        look = ipywidgets.Layout(align_self="flex-start", max_width="100%", margin="0")
        self.image = ipywidgets.Image(format="png", layout=look)
        self.note = ipywidgets.HTML()
        self.box = ipywidgets.VBox([*controls.values(), self.note, self.image])
        for control in controls.values():
            control.observe(self.redraw, names="value")
        self.redraw()

    def redraw(self, change=None):
        data, note = self.compute(**{name: control.value for name, control in self.controls.items()})
        self.image.value = self.plot.update(**data).png()
        self.note.value = note

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = dict(self.box._repr_mimebundle_())
        bundle["text/plain"] = f"（拖动控件，图会跟着变；这里是默认状态）{re.sub('<[^>]+>', '', self.note.value)}"
        bundle["image/png"] = base64.b64encode(self.plot.still_png()).decode()
        return bundle


def slider(value, low, high, step, description, readout=".2f"):
    """浮点滑块"""
    import ipywidgets

    check_float("value", value, low, high)
    return ipywidgets.FloatSlider(value=value, min=low, max=high, step=step, readout_format=readout, **_look(description))


def log_slider(value, low, high, description):
    """对数滑块：low、high 是 10 的幂次，每格十分之一"""
    import ipywidgets

    return ipywidgets.FloatLogSlider(value=value, min=low, max=high, step=0.1, readout_format=".1e", **_look(description))


def int_slider(value, low, high, description, step=1):
    """整数滑块"""
    import ipywidgets

    return ipywidgets.IntSlider(value=value, min=low, max=high, step=step, **_look(description))


def choice(options, value, description):
    """下拉框；options 是列表或 [(显示, 值), ...]"""
    import ipywidgets

    return ipywidgets.Dropdown(options=options, value=value, **_look(description))


def toggle(value, description):
    """勾选框"""
    import ipywidgets

    return ipywidgets.Checkbox(value=value, indent=False, description=description)


def _look(description):
    import ipywidgets

    return {"description": description, "style": {"description_width": "11em"},
            "layout": ipywidgets.Layout(width="36em")}
