"""参数化面板：一张图、一个 t，三种输出加上同一份误差，换成 x̂0、再走一步各错多少"""
import numpy as np
import torch

from ...objectives import OBJECTIVES, make_objective
from ..panel import Panel, int_slider, last_sentence, slider
from ..plot import Axis, Plot

SHOWN = 3  # x_s 的误差小，画成图要放大几倍
TARGETS = {"eps": r"\varepsilon", "x0": "x_0", "v": "v"}


def amplification(alphas_cumprod):
    """输出的误差换到 x̂0 上要乘几倍：{eps, x0, v: 数组}"""
    return {
        "eps": np.sqrt((1 - alphas_cumprod) / alphas_cumprod),
        "x0": np.ones_like(alphas_cumprod),
        "v": np.sqrt(1 - alphas_cumprod),
    }


def parameterization_data(diffusion, x_start, noise, t, error=0.0, steps=50):
    """→ (三种输出各加一份 error 时的 x̂0，用 steps 步里的一步走到的 x_s 的误差乘 SHOWN，误差传到 x_s 的倍数；一句话)；x_start, noise : (1, 1, H, W)"""
    step, x_t = torch.tensor([t]), diffusion.q_sample(x_start, torch.tensor([t]), noise)
    cumprod = diffusion.exact_table("alphas_cumprod").numpy()
    cos, sin = cumprod[t] ** 0.5, (1 - cumprod[t]) ** 0.5
    length = len(cumprod) // steps
    # 不到一步远的，一步走到底
    ahead = np.append(np.ones(length), cumprod[:-length])
    # x̂0 的系数，同 ddim_step，只是每个 t 都算
    a = np.sqrt(ahead) - np.sqrt((1 - ahead) / (1 - cumprod)) * np.sqrt(cumprod)
    axis, gains = np.arange(len(cumprod)), {name: a * value for name, value in amplification(cumprod).items()}
    data = {"here": ((t,) * 3, [gains[name][t] for name in TARGETS])}
    for name in OBJECTIVES:
        objective = make_objective(name)
        guess = objective.to_x_start(diffusion, x_t, step, objective.target(diffusion, x_start, noise, step) + error * noise.flip(2, 3))
        data |= {f"x0_from_{name}": guess[0, 0].numpy(), f"step_from_{name}": SHOWN * float(a[t]) * (guess - x_start)[0, 0].numpy(),
                 f"gain_{name}": (axis, gains[name])}
    place = f"走到 s = {t - length}" if t >= length else "一步走到底"
    note = (f"t = {t}：转角 {np.degrees(np.arctan2(sin, cos)):.0f}°。三种输出各加 {error:.2f} 的误差，{place}，x_s 的误差："
            + "，".join(f"{name} {error * gains[name][t]:.3g}" for name in TARGETS))
    return data, note


def parameterization_panel(diffusion, x_start, noise):
    T = diffusion.num_timesteps
    pictures = [(f"{kind}_from_{name}", rf"{title}，加在 $\hat {letter}$")
                for kind, title in (("x0", r"$\hat x_0$"), ("step", rf"$x_s$ 误差×{SHOWN}")) for name, letter in TARGETS.items()]
    plot = Plot(
        [Axis(image=name, title=title) for name, title in pictures],
        [Axis("步号 $t$", "传到 $x_s$ 乘几倍", (0, T - 1), (3e-3, 3e3), yscale="log", dots=("here",),
              legend="upper left",
              curves={"gain_eps": "eps", "gain_x0": "x0", "gain_v": "v", "here": ""})],
        height=3.8,
    )
    return Panel(plot, lambda t, error: parameterization_data(diffusion, x_start, noise, t, error), sheet=[{"t": T // 50}, {"t": 9 * T // 10}],
                 aside=last_sentence,
                 t=int_slider(700, 0, T - 1, "步号 t"), error=slider(0.2, 0.0, 0.5, 0.05, "输出的误差"))
