"""面板，每块一个主意：*_data 是纯函数（数值进，曲线与一句话出），*_panel 把它接上控件"""
from .beta import beta_panel
from .ema import ema_panel
from .forward import forward_panel
from .lr import lr_panel
from .parameterization import parameterization_panel
from .posterior import chain_panel, posterior_panel, samples_panel
from .sampler import guidance_panel
from .weights import weights_panel

__all__ = [
    "beta_panel", "chain_panel", "ema_panel", "forward_panel", "guidance_panel",
    "lr_panel", "parameterization_panel", "posterior_panel", "samples_panel", "weights_panel",
]
