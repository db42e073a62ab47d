"""DDIM：同一个训练好的网络，走更少的步，随机性由 eta 调节（Song 2021）"""


def ddim_sigma(a_t, a_prev, eta):
    """σ = η·√[(1-ᾱ_i)/(1-ᾱ_t)]·√[1 - ᾱ_t/ᾱ_i]，i 是下一个要到的步

    eta=0 是确定的；eta=1 与 v_posterior=0 的祖先采样同分布
    来源 : Song 2021 式 (16)
    """
    return eta * ((1 - a_prev) / (1 - a_t) * (1 - a_t / a_prev)) ** 0.5


def ddim_step(x_recon, eps, a_t, a_prev, eta, noise):
    """x_i = √ᾱ_i·x0_hat + √(1-ᾱ_i-σ²)·ε_hat + σ·noise（Song 2021 式 (12)）

    a_t, a_prev : Python 浮点数，ᾱ_t 与 ᾱ_i
    """
    sigma = ddim_sigma(a_t, a_prev, eta)
    return (
        a_prev**0.5 * x_recon
        + max(1 - a_prev - sigma**2, 0.0) ** 0.5 * eps
        + sigma * noise
    )
