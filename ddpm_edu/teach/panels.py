"""面板：控件 + 一张图。拖动时只换图的字节；没有内核时，留下默认状态的静态图"""
import base64

from ..checks import check_float
from .figures import to_png


def slider(value, low, high, step, description=""):
    """一个浮点滑块"""
    import ipywidgets

    check_float("value", value, low, high)
    return ipywidgets.FloatSlider(value=value, min=low, max=high, step=step, description=description,
                                  continuous_update=True, readout_format=".2f", style={"description_width": "initial"})


class Panel:
    """draw(**控件的值) → Figure；显示时同时带上静态图，GitHub 上也能看

    controls : {参数名: ipywidgets 控件}
    """

    def __init__(self, draw, **controls):
        import ipywidgets

        self.draw, self.controls = draw, controls
        self.image = ipywidgets.Image(value=self.render(), format="png")
        self.box = ipywidgets.VBox([*controls.values(), self.image])
        for control in controls.values():
            control.observe(self._redraw, names="value")

    def render(self):
        """按控件当前的值画一张，返回 PNG 的字节"""
        return to_png(self.draw(**{name: control.value for name, control in self.controls.items()}))

    def _redraw(self, change):
        self.image.value = self.render()

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = dict(self.box._repr_mimebundle_())
        bundle["text/plain"] = "拖动滑块，图会跟着变（这里是默认状态）"
        bundle["image/png"] = base64.b64encode(self.image.value).decode()
        return bundle
