"""DiffusionWrapper：把各种条件接到去噪网络上，别处不再关心条件怎样进网络"""
import torch
from torch import nn

from .checks import check_choice, fail
from .config import instantiate_from_config

# 每种 conditioning_key 用到哪些条件
CONDITIONS = {
    None: (),
    "concat": ("c_concat",),
    "crossattn": ("c_crossattn",),
    "hybrid": ("c_concat", "c_crossattn"),
    "adm": ("c_adm",),
    "hybrid-adm": ("c_concat", "c_crossattn", "c_adm"),
    "crossattn-adm": ("c_crossattn", "c_adm"),
}


class DiffusionWrapper(nn.Module):
    """按 conditioning_key 调用 diffusion_model(x, t, context=..., y=...)

    diff_model_config : {"target", "params"} 配置，不会被改动
    conditioning_key  : None / concat / crossattn / hybrid / adm / hybrid-adm / crossattn-adm
    """

    def __init__(self, diff_model_config, conditioning_key=None):
        super().__init__()
        check_choice("conditioning_key", conditioning_key, tuple(CONDITIONS))
        self.conditioning_key = conditioning_key
        self.diffusion_model = instantiate_from_config(diff_model_config, kinds=(nn.Module,),
                                                       name="unet_config")

    def forward(self, x, t, c_concat=None, c_crossattn=None, c_adm=None):
        """
        x           : (B, C, H, W)
        c_concat    : [(B, C', H, W), ...]，沿通道拼到 x 后面
        c_crossattn : [(B, L, D), ...]，沿序列拼成 context
        c_adm       : (B,) int64 类别标签
        异常        : 给的条件与 conditioning_key 不符时 ValueError
        """
        given = {"c_concat": c_concat, "c_crossattn": c_crossattn, "c_adm": c_adm}
        given = {name: value for name, value in given.items() if value is not None}
        wanted = CONDITIONS[self.conditioning_key]
        if set(given) != set(wanted):
            fail(f"conditioning_key={self.conditioning_key!r} 的条件", f"{list(wanted)} 恰好齐全",
                 list(given))
        extra = {}
        if "c_concat" in given:
            x = torch.cat([x, *c_concat], dim=1)
        if "c_crossattn" in given:
            extra["context"] = torch.cat(list(c_crossattn), dim=1)
        if "c_adm" in given:
            extra["y"] = c_adm
        return self.diffusion_model(x, t, **extra)
