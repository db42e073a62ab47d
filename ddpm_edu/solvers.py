"""二阶的采样器：先照 DDIM 走到 x_s，再把它改得更准

correct(x_t, x_s, x0_hat, earlier, again, levels) → 改过的 x_s
    earlier : 上一步的 x0_hat，第一步是 None；again()：在 x_s 处再猜一次
    levels  : ᾱ_s、ᾱ_t，以及上一步出发处的 ᾱ（第一步没有）

DDIM 这一步里把猜测当作不变的，所以误差与步长成正比；这里各用两次猜测，误差与步长的平方成正比
"""
import math


def velocity(x, x_recon, cumprod):
    """v_hat = (√ᾱ·x - x0_hat) / √(1-ᾱ)：以角度 φ = arccos √ᾱ 为时间，v 就是速度 dx/dφ

    来源 : Salimans & Ho 2022 附录 D
    """
    return (cumprod**0.5 * x - x_recon) / (1 - cumprod) ** 0.5


def heun(x, x_s, x_recon, earlier, again, levels):
    """Heun 法：起点与 x_s 两处的速度取平均，从起点重走；每步调用两次网络

    来源 : Karras 2022 算法 1，那里以 √((1-ᾱ)/ᾱ) 为时间；这里以角度
    """
    there, here = levels[:2]
    turn = math.acos(here**0.5) - math.acos(there**0.5)
    return x - turn / 2 * (velocity(x, x_recon, here) + velocity(x_s, again(), there))


def half_log_snr(cumprod):
    """λ = ½ ln(ᾱ/(1-ᾱ))，ᾱ 在 [0, 1)；ᾱ = 0 时是 -inf"""
    return 0.5 * (math.log(cumprod) - math.log1p(-cumprod)) if cumprod else -math.inf


def dpmpp(x, x_s, x_recon, earlier, again, levels):
    """DPM-Solver++(2M)：由上一次与这一次的猜测，顺着 λ 往前推半步；不多调用网络

    来源 : Lu 2022 (DPM-Solver++) 算法 2
    """
    if earlier is None:
        return x_s
    there, here, before = map(half_log_snr, levels)
    ahead = (there - here) / (2 * (here - before)) * (x_recon - earlier)
    return x_s - levels[0] ** 0.5 * math.expm1(here - there) * ahead
