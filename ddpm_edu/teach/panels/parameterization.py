"""参数化面板：一张图、一个 t，三种目标各是什么样，怎样互相换算，输出的一点误差怎样放大"""
import numpy as np
import torch

from ...objectives import OBJECTIVES, make_objective
from ..figures import GRAY, INK
from ..panel import Panel, int_slider, slider
from ..plot import Axis, Plot

TARGETS = {"eps": r"\varepsilon", "x0": "x_0", "v": "v"}


def amplification(alphas_cumprod):
    """网络输出错 1，换算成的 x̂0 错多少：{eps, x0, v: 数组}"""
    return {
        "eps": np.sqrt((1 - alphas_cumprod) / alphas_cumprod),
        "x0": np.ones_like(alphas_cumprod),
        "v": np.sqrt(1 - alphas_cumprod),
    }


def conversions(diffusion, x_start, noise, t, error):
    """三种目标都错一份 error，各换算成 x̂0 与 ε̂：{"x0_from_eps": 图像, ...}，共六个"""
    steps = torch.tensor([t])
    x_t, images = diffusion.q_sample(x_start, steps, noise), {}
    for name in OBJECTIVES:
        objective = make_objective(name)
        model_out = objective.target(diffusion, x_start, noise, steps) + error
        x_recon = objective.to_x_start(diffusion, x_t, steps, model_out)
        images[f"x0_from_{name}"] = x_recon[0, 0].numpy()
        images[f"eps_from_{name}"] = diffusion.predict_noise_from_start(x_t, steps, x_recon)[0, 0].numpy()
    return images


def parameterization_data(diffusion, x_start, noise, t, error=0.0):
    """→ (四张图、六个换算、旋转平面上的两个箭头、三条放大曲线, 一句话)；x_start, noise : (1, 1, H, W)"""
    steps = torch.tensor([t])
    x_t, v = diffusion.q_sample(x_start, steps, noise), diffusion.get_v(x_start, noise, steps)
    cumprod = diffusion.exact_table("alphas_cumprod").numpy()
    cos, sin = cumprod[t] ** 0.5, (1 - cumprod[t]) ** 0.5
    errors, axis = amplification(cumprod), np.arange(len(cumprod))
    data = {
        "image_x0": x_start[0, 0].numpy(), "image_eps": noise[0, 0].numpy(),
        "image_x_t": x_t[0, 0].numpy(), "image_v": v[0, 0].numpy(),
        **conversions(diffusion, x_start, noise, t, error * noise.flip(2, 3)),
        "arrow_x_t": ((0, cos), (0, sin)), "arrow_v": ((0, -sin), (0, cos)),
        "error_eps": (axis, errors["eps"]), "error_x0": (axis, errors["x0"]), "error_v": (axis, errors["v"]),
        "here": ((t,) * 3, [errors[name][t] for name in TARGETS]),
    }
    note = (f"t = {t}：转角 {np.degrees(np.arctan2(sin, cos)):.0f}°。三种输出各错 {error:.2f}，x̂₀ 分别错："
            + "，".join(f"{name} {error * errors[name][t]:.3g}" for name in TARGETS))
    return data, note


def parameterization_panel(diffusion, x_start, noise):
    T, truth = diffusion.num_timesteps, noise[0, 0].numpy()

    def compute(t, error):
        data, note = parameterization_data(diffusion, x_start, noise, t, error)
        # 噪声图里再错一点，肉眼看不出；画差
        return data | {f"eps_from_{name}": data[f"eps_from_{name}"] - truth for name in TARGETS}, note

    recovered = [(f"{kind}_from_{name}", rf"{title}，由 $\hat {letter}$")
                 for kind, title in (("x0", r"$\hat x_0$"), ("eps", r"$\hat\varepsilon-\varepsilon$")) for name, letter in TARGETS.items()]
    plot = Plot(
        [Axis(image=f"image_{name}", title=f"${letter}$") for name, letter in {**TARGETS, "x_t": "x_t"}.items()],
        [Axis(image=name, title=title) for name, title in recovered],
        [Axis("$x_0$", r"$\varepsilon$", (-1.1, 1.9), (-0.1, 1.1), curves={"arrow_x_t": "$x_t$ 轴", "arrow_v": "$v$ 轴"}, equal=True,
              styles=((GRAY, "-", 2.0), (INK, ":", 2.0))),
         Axis("步号 $t$", r"$\hat x_0$ 的误差乘上几倍", (0, T - 1), (1e-3, 1e3), yscale="log", dots=("here",),
              legend="lower right",
              curves={"error_eps": "eps", "error_x0": "x0", "error_v": "v", "here": ""})],
        height=6.0,
    )
    return Panel(plot, compute, sheet=[{"t": T // 10}, {"t": 9 * T // 10}],
                 t=int_slider(700, 0, T - 1, "步号 t"), error=slider(0.1, 0.0, 0.5, 0.05, "输出的误差"))
