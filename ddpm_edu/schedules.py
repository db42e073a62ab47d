"""β 噪声表 (beta schedule)：每一步往图里掺多少噪声

全部用 float64 计算。下标约定：代码的 t = 论文的 t - 1，即 t = 0..T-1
"""
import math
import warnings

import numpy as np

from .checks import check_choice, check_float, check_int, fail

SCHEDULES = ("linear", "cosine", "sqrt_linear", "sqrt")
FAINT = 0.1  # √ᾱ_T 不超过它，原图就看不出来了


def make_beta_schedule(schedule, n_timestep, linear_start=1e-4, linear_end=2e-2, cosine_s=8e-3):
    """生成长度为 T 的 β 噪声表

    schedule   : linear（对 √β 线性）/ sqrt_linear（对 β 线性，Ho 2020）/ sqrt / cosine
    n_timestep : T ≥ 1
    返回       : (T,) float64 的 NumPy 数组，每个值都在 (0, 1) 内
    异常       : 名字不认识、范围不对时 ValueError
    来源       : Ho 2020 第 4 节；Nichol & Dhariwal 2021 式 (17)
    """
    check_choice("beta_schedule", schedule, SCHEDULES)
    T = check_int("timesteps", n_timestep, 1)
    check_float("linear_end", linear_end, 0, 1, open_low=True, open_high=True)
    check_float("linear_start", linear_start, 0, linear_end, open_low=True,
                advice="须满足 0 < linear_start ≤ linear_end")
    check_float("cosine_s", cosine_s, 0, 1e6)
    if schedule == "linear":
        return np.linspace(math.sqrt(linear_start), math.sqrt(linear_end), T) ** 2
    if schedule == "sqrt_linear":
        return np.linspace(linear_start, linear_end, T)
    if schedule == "sqrt":
        return np.linspace(linear_start, linear_end, T) ** 0.5
    u = np.arange(T + 1) / T
    f = np.cos((u + cosine_s) / (1 + cosine_s) * np.pi / 2) ** 2
    # f(1) = 0，最后一个 β 恰好是 1，故截断
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def rescale_linear_range(n_timestep, linear_start=1e-4, linear_end=2e-2, reference_timesteps=1000):
    """T 不是 1000 时，把 (linear_start, linear_end) 同乘 1000/T，使总噪声量大致不变

    返回 : (linear_start, linear_end)，上端截在 0.999
    来源 : guided-diffusion 的做法
    """
    scale = reference_timesteps / check_int("timesteps", n_timestep, 1)
    return min(linear_start * scale, 0.999), min(linear_end * scale, 0.999)


def rescale_zero_terminal_snr(betas):
    """把 √ᾱ 平移、伸缩，使最后一步的 ᾱ 恰是 0（β 恰是 1），第一步的不变

    betas : (T,) float64，T ≥ 2；返回 : 同样形状
    来源  : Lin 2024 (Common Diffusion Noise Schedules and Sample Steps are Flawed) 算法 1
    """
    root = np.sqrt(alphas_cumprod(betas)[0])
    if len(root) < 2:
        fail("timesteps", "至少 2（rescale_betas_zero_snr 不动第一步，末步归零）", len(root))
    cumprod = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    return 1 - cumprod / np.append(1.0, cumprod[:-1])


def check_betas(betas, timesteps=None):
    """检查用户给的 β：列表、数组、张量都行，返回 (T,) float64 数组

    timesteps : 给出时，长度须与它相同
    异常      : 空、不是一维、NaN、超出 (0, 1) 或长度冲突时 ValueError；最后一个可以是 1
    """
    try:
        values = np.array([float(b) for b in betas], dtype=np.float64)
    except (TypeError, ValueError):
        fail("given_betas", "一维的数列（列表、数组或张量）", betas)
    if values.size == 0:
        fail("given_betas", "非空的数列", betas)
    last = np.arange(len(values)) == len(values) - 1
    bad = np.flatnonzero(~((values > 0) & ((values < 1) | last & (values == 1))))
    if bad.size:
        fail("given_betas", "落在 (0, 1) 内的数列（只有最后一个可以是 1）", float(values[bad[0]]),
             f"下标 {bad[0]}（从 0 数起）不合规则，共 {bad.size} 个")
    if timesteps is not None and len(values) != timesteps:
        fail("given_betas", f"长度等于 timesteps={timesteps} 的数列", len(values),
             "两者须一致，改 timesteps 或改 given_betas")
    return values


def alphas_cumprod(betas):
    """ᾱ_t = Π α_i，以及平移一格的 ᾱ_{t-1}（ᾱ_{-1} := 1）"""
    cumprod = np.cumprod(1.0 - betas)
    return cumprod, np.append(1.0, cumprod[:-1])


def more_noise(model):
    """怎样把噪声掺够：只说算过确实有用的办法"""
    T, given = model.num_timesteps, model.hparams
    if given.given_betas is not None:
        return f"given_betas 之和是 {sum(given.given_betas):.3g}，加大到 {math.ceil(-2 * math.log(FAINT))} 就够"
    start, end = rescale_linear_range(T, given.linear_start, given.linear_end)
    ways = {f"linear_start={start:.4g}, linear_end={end:.4g}": (given.beta_schedule, T, start, end), "beta_schedule='cosine'": ("cosine", T)}
    useful = [way for way, table in ways.items() if np.prod(1 - make_beta_schedule(*table)) ** 0.5 <= FAINT]
    return f"T={T} 时可改用 {'，或 '.join(useful)}"


def warn_unsuitable_schedule(model):
    """链走到头仍看得见原图，或者舍入误差会被放大到 1 以上时，提醒一句"""
    cumprod = float(model.exact_table("alphas_cumprod")[-1])
    if cumprod**0.5 > FAINT:
        warnings.warn(
            f"√ᾱ_T = {cumprod**0.5:.3f}：加噪到最后仍留着原图，从 N(0, I) 开始采样会有偏差；{more_noise(model)}", stacklevel=5)
    if model.parameterization == "eps" and cumprod**0.5 < np.finfo(np.float32).eps:
        warnings.warn(
            f"√ᾱ_T = {cumprod**0.5:.1e}：由 ε 换回 x0 要除以它，float32 的舍入误差会被放大到 1 以上；"
            "请换 parameterization='v' 或别的 beta_schedule", stacklevel=5,
        )
