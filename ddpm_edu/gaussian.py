"""高斯扩散的闭式公式：q(x_t|x_0)、后验、三种目标的互换。这里没有网络

记号：ᾱ_t = Π(1-β_i)，代码的 t = 论文的 t - 1，ᾱ_{-1} := 1
"""
import warnings

import numpy as np
import torch
from torch import nn

from .checks import check_bool, check_float, check_int, fail
from .objectives import make_objective
from .randomness import randn_like
from .schedules import alphas_cumprod, check_betas, make_beta_schedule, rescale_zero_terminal_snr

# 参考实现的默认步数：看不出是不是用户写的，所以不拿它核对 given_betas 的长度
DEFAULT_T = 1000
# lvlb_weights 能由其余各表算出，不存进检查点
_NOT_SAVED = ("lvlb_weights",)
# 除以 √ᾱ 的表
_OVER_SIGNAL = ("sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod")


@np.errstate(all="ignore")  # 有没有 NaN 与无穷，由 register_schedule 查
def diffusion_tables(betas, v_posterior=0.0, parameterization="eps"):
    """由 β 算出全部系数表，全程 float64；舍入成 float32 是 register_schedule 的事

    betas : (T,) float64，(0, 1)
    返回  : {缓冲区名: (T,) float64 数组}
    来源  : Ho 2020 式 (4)(6)(7)(12)；权重的推导见第 6 章
    """
    cumprod, cumprod_prev = alphas_cumprod(betas)
    beta_tilde = betas * (1 - cumprod_prev) / (1 - cumprod)
    # 第 0 步 β_tilde 为 0，取对数得 -inf；按论文用第 1 步的值代替，T=1 时只能用 β_0
    beta_tilde_clipped = beta_tilde.copy()
    beta_tilde_clipped[0] = beta_tilde[1] if len(betas) > 1 else betas[0]
    variance_clipped = (1 - v_posterior) * beta_tilde_clipped + v_posterior * betas
    coef1 = betas * np.sqrt(cumprod_prev) / (1 - cumprod)
    coef2 = np.sqrt(1 - betas) * (1 - cumprod_prev) / (1 - cumprod)
    objective = make_objective(parameterization)
    return {
        "betas": betas,
        "alphas_cumprod": cumprod,
        "alphas_cumprod_prev": cumprod_prev,
        "sqrt_alphas_cumprod": np.sqrt(cumprod),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - cumprod),
        "log_one_minus_alphas_cumprod": np.log(1 - cumprod),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / cumprod),
        "sqrt_recipm1_alphas_cumprod": np.sqrt((1 - cumprod) / cumprod),
        "posterior_variance": (1 - v_posterior) * beta_tilde + v_posterior * betas,
        "posterior_log_variance_clipped": np.log(variance_clipped),
        "posterior_mean_coef1": coef1,
        "posterior_mean_coef2": coef2,
        "lvlb_weights": coef1**2 / (2 * variance_clipped) * objective.weight_over_x0(cumprod),
    }


def extract_into_tensor(table, t, x_shape):
    """取出每个样本自己那一步的系数：(T,), (B,) → (B, 1, ..., 1)，可与形状 x_shape 的 x 广播相乘

    t    : (B,) 的整数张量，值在 0..T-1；代码的 t 比论文小 1
    异常 : t 不是这样时 TypeError / ValueError；在 GPU 上不查范围
    """
    T = len(table)
    if not isinstance(t, torch.Tensor) or t.dtype not in (torch.int64, torch.int32):
        got = t.dtype if isinstance(t, torch.Tensor) else t
        fail("t", " int64 张量", got, f"形状 (B,)，值 0..{T - 1}", TypeError)
    if t.shape != x_shape[:1]:
        fail("t 的形状", f" ({x_shape[0]},)，每个样本一个步号", tuple(t.shape))
    # 在 GPU 上比较大小要等设备，所以不查：T 以上由索引操作报错，负数从末尾数起，不报错
    if t.device.type == "cpu" and t.numel() and not 0 <= int(t.min()) <= int(t.max()) < T:
        fail("t", f" 0..{T - 1} 的步号", (int(t.min()), int(t.max())), "代码的 t 从 0 开始，比论文小 1")
    return table[t].reshape(len(t), *(1,) * (len(x_shape) - 1))


def sides(size):
    """边长（整数，或 (高, 宽)）→ (高, 宽)"""
    return size if isinstance(size, tuple) else (size, size)


def check_sample(name, x, channels, size=None, finite=True):
    """样本须是 (B, channels, H, W) 浮点、非空；给了 size 时边长须等于它，finite 为真时不许有 NaN"""
    side = ("H", "W") if size is None else sides(size)
    rule = f"形状 (B, {channels}, {side[0]}, {side[1]}) 的浮点张量，没有 NaN"
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        fail(name, rule, x.dtype if isinstance(x, torch.Tensor) else x, "整数像素请先换算：x / 127.5 - 1", TypeError)
    if x.ndim != 4 or len(x) == 0 or x.shape[1] != channels or (size and x.shape[2:] != side):
        fail(name, rule, tuple(x.shape), "尺寸由 channels 与 image_size 决定")
    # 在 GPU 上看一眼要等设备；训练时 NaN 由损失查出
    if finite and x.device.type == "cpu" and not x.isfinite().all():
        fail(name, rule, "NaN 或无穷")


def check_like(**tensors):
    """各张量须是浮点，且形状相同"""
    shapes = {}
    for name, value in tensors.items():
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            fail(name, "浮点张量", value.dtype if isinstance(value, torch.Tensor) else value,
                 "整数像素请先换算：x / 127.5 - 1", TypeError)
        shapes[name] = tuple(value.shape)
    if len(set(shapes.values())) > 1:
        fail("、".join(tensors) + " 的形状", "彼此相同", shapes)


def rounding_of(saved, exact):
    """saved 是 float64 的 exact 按哪种 dtype 舍入的结果；都不是时 None

    有人存盘之前把整个 state_dict 转成半精度；之后再转回 float32 的，也认得
    """
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        rounded = exact.float().to(dtype).double()
        if saved.shape == exact.shape and torch.allclose(saved.cpu().double(), rounded, rtol=1e-5, atol=0):
            return dtype
    return None


class GaussianDiffusion(nn.Module):
    """一条高斯扩散链的全部闭式公式；DDPM 在它之上加网络与训练

    timesteps        : T ≥ 1
    v_posterior      : [0, 1]，采样方差 σ² = (1-v)·β_tilde + v·β
    parameterization : eps / x0 / v，决定 lvlb_weights
    rescale_betas_zero_snr : 把表改到末步的 ᾱ 恰是 0；eps 不行
    其余参数          : 见 make_beta_schedule；given_betas 给出时以它为准
    """

    betas: torch.Tensor
    alphas_cumprod: torch.Tensor  # ᾱ
    alphas_cumprod_prev: torch.Tensor  # ᾱ_{t-1}
    sqrt_alphas_cumprod: torch.Tensor
    sqrt_one_minus_alphas_cumprod: torch.Tensor
    log_one_minus_alphas_cumprod: torch.Tensor
    sqrt_recip_alphas_cumprod: torch.Tensor
    sqrt_recipm1_alphas_cumprod: torch.Tensor
    posterior_variance: torch.Tensor
    posterior_log_variance_clipped: torch.Tensor
    posterior_mean_coef1: torch.Tensor
    posterior_mean_coef2: torch.Tensor
    lvlb_weights: torch.Tensor

    def __init__(self, timesteps=DEFAULT_T, beta_schedule="linear", linear_start=1e-4, linear_end=2e-2,
                 cosine_s=8e-3, given_betas=None, v_posterior=0.0, parameterization="eps",
                 rescale_betas_zero_snr=False):
        super().__init__()
        self.v_posterior = check_float("v_posterior", v_posterior, 0, 1,
                                       advice="它混合的是方差：0 为 β_tilde，1 为 β")
        self.parameterization = parameterization
        self.objective = make_objective(parameterization)
        self.rescale_betas_zero_snr = check_bool("rescale_betas_zero_snr", rescale_betas_zero_snr)
        self.register_schedule(given_betas, beta_schedule, timesteps, linear_start, linear_end, cosine_s)

    def register_schedule(self, given_betas=None, beta_schedule="linear", timesteps=DEFAULT_T,
                          linear_start=1e-4, linear_end=2e-2, cosine_s=8e-3):
        """算好所有系数表并注册为缓冲区

        given_betas : 直接给 β（列表、数组、张量），T 就是它的长度
                      timesteps 写了 1000 以外的数时，两者须一致
        异常        : 任何参数越界时 ValueError
        """
        check_int("timesteps", timesteps, 1)
        betas = make_beta_schedule(beta_schedule, timesteps, linear_start, linear_end, cosine_s)
        if given_betas is not None:
            betas = check_betas(given_betas, None if timesteps == DEFAULT_T else timesteps)
        if self.rescale_betas_zero_snr:
            betas = rescale_zero_terminal_snr(betas)
        if betas[-1] == 1 and self.parameterization == "eps":
            fail("parameterization", " v 或 x0", "eps",
                 "最后的 β 是 1：走到头 ᾱ = 0，x_T 里没有原图，由 ε 换不回 x0")
        self.num_timesteps = len(betas)
        self.linear_start, self.linear_end = linear_start, linear_end
        tables = diffusion_tables(betas, self.v_posterior, self.parameterization)
        # ᾱ_T = 0 时，由 ε 换回 x0 的两个系数在末步是无穷
        ends = {name: -1 for name in _OVER_SIGNAL if betas[-1] == 1}
        with np.errstate(all="ignore"):
            broken = [name for name, table in tables.items()
                      if not np.isfinite(table[:ends.get(name)].astype(np.float32)).all()]
        if broken:
            fail("beta_schedule / linear_start / linear_end / given_betas",
                 "让每张系数表都有限的噪声表", broken,
                 f"这些表里有 NaN 或无穷；β 在 {betas.min():.3g}..{betas.max():.3g} 之间，"
                 "太小会被 1-β 舍入掉，太大会使 ᾱ 下溢")
        self._exact_tables = {}
        for name, table in tables.items():
            self.register_table(name, table, persistent=name not in _NOT_SAVED)

    def register_table(self, name, table, persistent=True):
        """登记一张系数表（长度 T 的 float64 数组）；原表另存一份，半精度转换之后还能从它恢复"""
        self._exact_tables[name] = torch.from_numpy(table)
        self.register_buffer(name, self._exact_tables[name].float(), persistent=persistent)

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        # .half()/.bfloat16() 会毁掉系数表，.double() 也补不回已经丢掉的位数，所以都从原表重取
        for name, exact in self._exact_tables.items():
            moved = self._buffers[name]
            dtype = torch.float64 if moved.dtype == torch.float64 else torch.float32
            # 先舍入再搬：Apple 的 GPU（MPS）没有 float64
            self._buffers[name] = exact.to(dtype).to(moved.device)
        return self

    def _load_from_state_dict(self, state_dict, prefix, metadata, strict, missing, unexpected, errors):
        saved = state_dict.get(prefix + "betas")
        exact = self._exact_tables["betas"]
        rounding = torch.float32 if saved is None else rounding_of(saved, exact)
        if rounding is None:
            errors.append(
                f"噪声表不一致：文件里 T={len(saved)}、β 从 {saved[0]:.4g} 到 {saved[-1]:.4g}，"
                f"这里 T={len(exact)}、β 从 {exact[0]:.4g} 到 {exact[-1]:.4g}；请用相同的 timesteps 与 beta_schedule"
            )
        elif rounding != torch.float32:
            warnings.warn(f"文件里的系数表按 {rounding} 舍入过，这里用的是由构造参数重新算出的；权重照文件里的取", stacklevel=2)
        # 系数表一律以构造参数算出的为准，文件里的只用来核对
        for name in self._exact_tables:
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, unexpected, errors)
        own = {prefix + name for name in self._exact_tables}
        missing[:] = [key for key in missing if key not in own]

    def exact_table_names(self):
        return tuple(self._exact_tables)

    def exact_table(self, name):
        """float64 的系数表 (T,)，在 CPU 上"""
        return self._exact_tables[name]

    def q_mean_variance(self, x_start, t):
        """q(x_t | x_0) 的均值、方差、对数方差

        x_start : (B, ...)；t : (B,) int64，0..T-1
        返回    : 均值与 x_start 同形状，方差与对数方差可与它广播
        来源    : Ho 2020 式 (4)
        """
        check_like(x_start=x_start)
        mean = extract_into_tensor(self.sqrt_alphas_cumprod, t, x_start.shape) * x_start
        # 不能写 1 - ᾱ：float32 下 t=0 处的相对误差有 1e-4
        variance = extract_into_tensor(self.sqrt_one_minus_alphas_cumprod, t, x_start.shape) ** 2
        log_variance = extract_into_tensor(self.log_one_minus_alphas_cumprod, t, x_start.shape)
        return mean.to(x_start.dtype), variance, log_variance

    def q_sample(self, x_start, t, noise=None, *, generator=None):
        """从 q(x_t | x_0) 采样：一步得到第 t 步的带噪样本

        x_start : (B, ...) 浮点，约定 [-1, 1]
        t       : (B,) int64，0..T-1
        noise   : 与 x_start 同形状；省略时抽 N(0, I)
        返回    : 与 x_start 同形状、同 dtype
        异常    : noise 形状不对时 ValueError；t 见 extract_into_tensor
        来源    : Ho 2020 式 (4)
        """
        check_like(x_start=x_start, noise=x_start if noise is None else noise)
        noise = randn_like(x_start, generator) if noise is None else noise
        x_t = (
            extract_into_tensor(self.sqrt_alphas_cumprod, t, x_start.shape) * x_start
            + extract_into_tensor(self.sqrt_one_minus_alphas_cumprod, t, x_start.shape) * noise
        )
        return x_t.to(x_start.dtype)

    def predict_start_from_noise(self, x_t, t, noise):
        """ε → x0：x0 = (x_t - √(1-ᾱ) ε) / √ᾱ；ᾱ = 0 的那一步换不回来，CPU 上 ValueError，GPU 上得 NaN"""
        check_like(x_t=x_t, noise=noise)
        last = self.num_timesteps - 1
        if self._exact_tables["betas"][-1] == 1 and t.device.type == "cpu" and (t == last).any():
            fail("t", f"小于 {last} 的步号", last, "最后一步 ᾱ = 0，x_t 里没有原图，由 ε 换不回 x0")
        return (
            extract_into_tensor(self.sqrt_recip_alphas_cumprod, t, x_t.shape) * x_t
            - extract_into_tensor(self.sqrt_recipm1_alphas_cumprod, t, x_t.shape) * noise
        ).to(x_t.dtype)

    def predict_noise_from_start(self, x_t, t, x_start):
        """x0 → ε：ε = (x_t - √ᾱ x0) / √(1-ᾱ)"""
        check_like(x_t=x_t, x_start=x_start)
        return (
            (x_t - extract_into_tensor(self.sqrt_alphas_cumprod, t, x_t.shape) * x_start)
            / extract_into_tensor(self.sqrt_one_minus_alphas_cumprod, t, x_t.shape)
        ).to(x_t.dtype)

    def predict_start_from_z_and_v(self, x_t, t, v):
        """v → x0：x0 = √ᾱ x_t - √(1-ᾱ) v"""
        check_like(x_t=x_t, v=v)
        return (
            extract_into_tensor(self.sqrt_alphas_cumprod, t, x_t.shape) * x_t
            - extract_into_tensor(self.sqrt_one_minus_alphas_cumprod, t, x_t.shape) * v
        ).to(x_t.dtype)

    def predict_eps_from_z_and_v(self, x_t, t, v):
        """v → ε：ε = √ᾱ v + √(1-ᾱ) x_t"""
        check_like(x_t=x_t, v=v)
        return (
            extract_into_tensor(self.sqrt_alphas_cumprod, t, x_t.shape) * v
            + extract_into_tensor(self.sqrt_one_minus_alphas_cumprod, t, x_t.shape) * x_t
        ).to(x_t.dtype)

    def get_v(self, x, noise, t):
        """(x0, ε) → v：v = √ᾱ ε - √(1-ᾱ) x0（Salimans & Ho 2022）"""
        check_like(x=x, noise=noise)
        return (
            extract_into_tensor(self.sqrt_alphas_cumprod, t, x.shape) * noise
            - extract_into_tensor(self.sqrt_one_minus_alphas_cumprod, t, x.shape) * x
        ).to(x.dtype)

    def q_posterior(self, x_start, x_t, t):
        """后验 q(x_{t-1} | x_t, x_0)

        返回 : (mean, variance, log_variance_clipped)；方差已按 v_posterior 混合，
               第 0 步的对数方差用 β_tilde_1 代替 β_tilde_0 = 0
        来源 : Ho 2020 式 (6)(7)
        """
        check_like(x_start=x_start, x_t=x_t)
        mean = (
            extract_into_tensor(self.posterior_mean_coef1, t, x_t.shape) * x_start
            + extract_into_tensor(self.posterior_mean_coef2, t, x_t.shape) * x_t
        )
        variance = extract_into_tensor(self.posterior_variance, t, x_t.shape)
        log_variance = extract_into_tensor(self.posterior_log_variance_clipped, t, x_t.shape)
        return mean.to(x_t.dtype), variance, log_variance
