"""参数化面板：一张图、一个 t，三种目标各是什么样；两种坐标之间是一次旋转；误差怎样放大"""
import numpy as np
import torch

from ..panel import Panel, int_slider
from ..plot import Axis, Plot


def amplification(alphas_cumprod):
    """网络输出错 1，换算成的 x̂0 错多少：{eps, x0, v: 数组}"""
    return {
        "eps": np.sqrt((1 - alphas_cumprod) / alphas_cumprod),
        "x0": np.ones_like(alphas_cumprod),
        "v": np.sqrt(1 - alphas_cumprod),
    }


def parameterization_data(diffusion, x_start, noise, t):
    """→ (四张图、旋转平面上的四个箭头、三条放大曲线, 一句话)；x_start, noise : (1, 1, H, W)"""
    steps = torch.tensor([t])
    x_t, v = diffusion.q_sample(x_start, steps, noise), diffusion.get_v(x_start, noise, steps)
    cumprod = diffusion.exact_table("alphas_cumprod").numpy()
    cos, sin = cumprod[t] ** 0.5, (1 - cumprod[t]) ** 0.5
    errors, axis = amplification(cumprod), np.arange(len(cumprod))
    data = {
        "image_x0": x_start[0, 0].numpy(), "image_eps": noise[0, 0].numpy(),
        "image_x_t": x_t[0, 0].numpy(), "image_v": v[0, 0].numpy(),
        "arrow_x_t": ((0, cos), (0, sin)), "arrow_v": ((0, -sin), (0, cos)),
        "error_eps": (axis, errors["eps"]), "error_x0": (axis, errors["x0"]), "error_v": (axis, errors["v"]),
        "here": ((t,) * 3, [errors[name][t] for name in ("eps", "x0", "v")]),
    }
    note = (f"t = {t}：转角 {np.degrees(np.arctan2(sin, cos)):.0f}°。输出错 1，x̂₀ 错多少："
            f"eps {errors['eps'][t]:.3g}，x0 1，v {errors['v'][t]:.3g}")
    return data, note


def parameterization_panel(diffusion, x_start, noise):
    T = diffusion.num_timesteps
    plot = Plot(
        [Axis(image=f"image_{name}", title=title) for name, title in
         (("x0", "$x_0$"), ("eps", r"$\varepsilon$"), ("x_t", "$x_t$"), ("v", "$v$"))],
        [Axis("$x_0$", r"$\varepsilon$", (-1.1, 1.1), (-0.1, 1.1), curves={"arrow_x_t": "$x_t$", "arrow_v": "$v$"},
              legend="lower right"),
         Axis("$t$", r"$\partial\hat x_0/\partial\hat y$", (0, T - 1), (1e-3, 1e3), yscale="log", dots=("here",),
              legend="upper left",
              curves={"error_eps": r"$\varepsilon$", "error_x0": "$x_0$", "error_v": "$v$", "here": ""})],
        height=5.2,
    )
    return Panel(plot, lambda t: parameterization_data(diffusion, x_start, noise, t), t=int_slider(300, 0, T - 1, "步号 t"))
