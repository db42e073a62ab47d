# %% [markdown]
# # 05 · 参数化：网络预测什么
#
# **学习目标**
#
# - 写出 eps、x0、v 三种目标，以及它们之间的全部换算。
# - 看出这些换算是一次旋转，并用它记住所有公式。
# - 说清输出的误差怎样进到下一步里：预测 eps 与预测 x0 各在什么时候吃亏。
#
# **预计用时** 35 分钟。运行全部单元约 15 秒。

# %%
import math

import torch

from ddpm_edu import DDPM, GaussianDiffusion, make_beta_schedule
from ddpm_edu.gaussian import extract_into_tensor
from ddpm_edu.objectives import EpsObjective, VObjective, X0Objective
from ddpm_edu.sampling import ddim_step, spaced_timesteps
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach import card, check, check_order, check_raises, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.panels import parameterization_panel

diffusion = GaussianDiffusion().double()
print("T =", diffusion.num_timesteps)

# %% [markdown]
# ## 1　同一个问题的三种问法
#
# 去噪时手里有 $x_t$ 和 $t$，想知道 $x_0$。由 $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$ 可知，$x_0$ 与 $\varepsilon$ 知道一个就知道另一个。
# 所以网络可以预测其中任何一个，也可以预测它们的某个组合。这个选择叫参数化 (parameterization)：
#
# - `eps`：预测噪声 $\varepsilon$，DDPM 论文的选择；
# - `x0`：直接预测原图 $x_0$；
# - `v`：预测速度 (velocity) $v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1-\bar\alpha_t}\,x_0$，来自 Salimans & Ho 2022。

# %%
x_start = handwriting("../data")[0][3:67].double()  # 头一张是 3
noise = torch.randn(x_start.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
rows = []
steps = (0, 200, 400, 600, 999)
for step in steps:
    t = torch.full((1,), step)
    rows += [diffusion.q_sample(x_start[:1], t, noise[:1]), noise[:1], x_start[:1], diffusion.get_v(x_start[:1], noise[:1], t)]
# 按 t 收集，画的时候一行一种量
grid_figure(torch.cat(rows).reshape(5, 4, 1, 28, 28).transpose(0, 1).flatten(0, 1), nrow=5, width=5,
            rows=["$x_t$", r"$\varepsilon$", "$x_0$", "$v$"], columns=[f"$t={step}$" for step in steps])

# %% [markdown]
# 图：四行依次是 $x_t$、$\varepsilon$、$x_0$、$v$，从左到右 $t = 0, 200, 400, 600, 999$。
# 目标 $\varepsilon$ 与 $x_0$ 不随 $t$ 变；$v$ 在 $t$ 小时像噪声，在 $t$ 大时像原图的底片（黑白颠倒）。

# %%
t0, t999 = torch.zeros(64, dtype=torch.long), torch.full((64,), 999)
check("t=0 时 v 与 ε 相近", diffusion.get_v(x_start, noise, t0), noise, atol=0.02)
check("t=999 时 v 与 -x₀ 相近", diffusion.get_v(x_start, noise, t999), -x_start, atol=0.12)

# %% [markdown]
# ## 2　一次旋转
#
# 记 $\cos\varphi_t = \sqrt{\bar\alpha_t}$，$\sin\varphi_t = \sqrt{1-\bar\alpha_t}$。两者的平方和是 1，所以这样的角存在。于是
#
# $$\begin{pmatrix} x_t \\ v \end{pmatrix} = \begin{pmatrix} \cos\varphi_t & \sin\varphi_t \\ -\sin\varphi_t & \cos\varphi_t \end{pmatrix}\begin{pmatrix} x_0 \\ \varepsilon \end{pmatrix}.$$
#
# 这是旋转矩阵。旋转不改变长度，所以 $x_t^2 + v^2 = x_0^2 + \varepsilon^2$，每个像素都成立。
# 旋转的逆是反着转，也就是矩阵的转置：
#
# $$x_0 = \cos\varphi_t\,x_t - \sin\varphi_t\,v,\qquad \varepsilon = \sin\varphi_t\,x_t + \cos\varphi_t\,v.$$
#
# 四个公式不用背，记住“转一个角”就够了。

# %%
t = torch.arange(64) * 15
x_t, v = diffusion.q_sample(x_start, t, noise), diffusion.get_v(x_start, noise, t)
cos, sin = (extract_into_tensor(table, t, x_t.shape) for table in (diffusion.sqrt_alphas_cumprod, diffusion.sqrt_one_minus_alphas_cumprod))
check("逐像素的长度不变", x_t**2 + v**2, x_start**2 + noise**2, atol=1e-12)
check("反着转回 x₀", cos * x_t - sin * v, x_start, atol=1e-12)
check("反着转回 ε", sin * x_t + cos * v, noise, atol=1e-12)

# %% [markdown]
# “速度”这个名字也由此而来：角度每增加一点，$x_t$ 的变化率就是 $v$。
# 对 $x_t = \cos\varphi\,x_0 + \sin\varphi\,\varepsilon$ 求导，得 $\dfrac{\mathrm d x_t}{\mathrm d\varphi} = -\sin\varphi\,x_0 + \cos\varphi\,\varepsilon = v$。

# %%
phi = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
(derivative,) = torch.autograd.grad(torch.cos(phi) * 0.3 + torch.sin(phi) * 1.2, phi)
check("x_t 对角度的导数就是 v", derivative, math.cos(0.6) * 1.2 - math.sin(0.6) * 0.3, atol=1e-12)

# %% [markdown]
# ## 3　五个换算函数
#
# 已知 $x_t$，三个量里知道一个，就能得到另外两个。参考实现的函数名很长，读法是“predict 结果 from 已知”，z 指的是 $x_t$。

# %%
show_source(GaussianDiffusion.predict_start_from_noise,
            "def predict_start_from_noise", "check_like(", "return (")

# %% [markdown]
# - ① $\varepsilon\to x_0$：把加噪的公式解出 $x_0$。
# - ② 核对类型与形状。五个函数都这样开头。
# - ③ 两个系数 $1/\sqrt{\bar\alpha_t}$ 与 $\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$ 都已存成表，除法不必每步都做。

# %%
show_source(GaussianDiffusion.predict_noise_from_start,
            "def predict_noise_from_start", "check_like(", "return (")

# %% [markdown]
# - ① $x_0\to\varepsilon$：同一个式子解出另一个未知数。
# - ② 先核对类型与形状，再套公式。
# - ③ 除以 $\sqrt{1-\bar\alpha_t}$：在 $t=0$ 处它只有 0.01，误差会放大一百倍。

# %%
show_source(GaussianDiffusion.predict_start_from_z_and_v,
            "def predict_start_from_z_and_v", "check_like(", "return (")

# %% [markdown]
# - ① $v\to x_0$：反着转，取第一行。
# - ② 先核对类型与形状，再套公式。
# - ③ 没有除法，系数都不超过 1。

# %%
show_source(GaussianDiffusion.predict_eps_from_z_and_v,
            "def predict_eps_from_z_and_v", "check_like(", "return (")

# %% [markdown]
# - ① $v\to\varepsilon$：反着转，取第二行。
# - ② 先核对类型与形状，再套公式。
# - ③ 也没有除法，系数都不超过 1。

# %%
show_source(GaussianDiffusion.get_v,
            "def get_v", "check_like(", "return (")

# %% [markdown]
# - ① $(x_0,\varepsilon)\to v$：训练时造目标用。参数的次序是 x、noise、t，与别的函数不同，这是参考实现留下的。
# - ② 先核对类型与形状，再套公式。
# - ③ 旋转矩阵的第二行。

# %%
check("ε → x₀", diffusion.predict_start_from_noise(x_t, t, noise), x_start, atol=1e-12)
check("x₀ → ε", diffusion.predict_noise_from_start(x_t, t, x_start), noise, atol=1e-10)
check("v → x₀", diffusion.predict_start_from_z_and_v(x_t, t, v), x_start, atol=1e-12)
check("v → ε", diffusion.predict_eps_from_z_and_v(x_t, t, v), noise, atol=1e-12)
around = diffusion.get_v(diffusion.predict_start_from_noise(x_t, t, noise), diffusion.predict_eps_from_z_and_v(x_t, t, v), t)
check("绕一圈回到 v", around, v, atol=1e-12)

# %% [markdown]
# ## 4　误差怎样进到下一步里
#
# 网络的输出总有误差。记输出为 $\hat y$（它是 $\hat\varepsilon$、$\hat x_0$ 或 $\hat v$），设它错了 $\delta$，换算成 $\hat x_0$ 之后错多少？对三个公式求导就知道，$|\partial\hat x_0/\partial\hat y|$ 依次是
#
# $$\hat y=\hat\varepsilon:\ \frac{\sqrt{1-\bar\alpha_t}}{\sqrt{\bar\alpha_t}},\qquad \hat y=\hat x_0:\ 1,\qquad \hat y=\hat v:\ \sqrt{1-\bar\alpha_t}.$$
#
# 用真实的函数核对：把输出挪动 $10^{-3}$，看 $\hat x_0$ 挪动多少。

# %%
steps = torch.tensor([10, 500, 990])
z, zero = torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
bar = diffusion.alphas_cumprod[steps][:, None]
for name, formula, expected in (
    ("eps", diffusion.predict_start_from_noise, ((1 - bar) / bar).sqrt()),
    ("v", diffusion.predict_start_from_z_and_v, (1 - bar).sqrt()),
):
    moved = formula(z, steps, zero + 1e-3) - formula(z, steps, zero)
    check(f"{name}：放大的倍数", moved.abs() / 1e-3, expected, atol=1e-9)

# %%
parameterization_panel(GaussianDiffusion(), x_start[:1].float(), noise[:1].float())

# %% [markdown]
# 面板：上排是三种目标 $\varepsilon$、$x_0$、$v$ 与 $x_t$。中排是六个换算：前三张由各自的输出换成 $\hat x_0$，后三张换成 $\hat\varepsilon$。
# 三种输出加上了同一份误差：$t$ 大时由 $\hat\varepsilon$ 换来的 $\hat x_0$ 先坏，$t$ 小时由 $\hat x_0$ 换来的 $\hat\varepsilon$ 先坏，拖动 $t$ 就看得见。把“输出的误差”拖到 0，前三张都是原图，后三张都是噪声。
#
# 左下是旋转：$t$ 增大，$x_t$ 从 $x_0$ 轴转向 $\varepsilon$ 轴，$v$ 总与它垂直。右下是换成 $\hat x_0$ 时放大的倍数，圆点是当前的 $t$。`eps` 的曲线从左端的百分之一升到右端的几十倍；`x0` 总是 1；`v` 始终不超过 1。

# %% [markdown]
# 几十倍，听上去很可怕，可是用 `eps` 加 `linear` 表的 Stable Diffusion 1 画得好好的。$\hat x_0$ 不是样本：走一步，只往 $\hat x_0$ 挪一小段。要看的是这一步之后的 $x_s$ 错多少。
# DDIM 的一步是 $x_s=a\,\hat x_0+b\,x_t$（第 4 章的写法），所以误差再乘上 $a$。下面的表是一条链上各步里最坏的一步：网络输出的误差为 1 时，$x_s$ 的误差是多少。`SD 1` 是 Stable Diffusion 1 的表，也是 `linear`，端点换成 0.00085 与 0.012。

# %%
to_start = {"eps": lambda bar: ((1 - bar) / bar) ** 0.5, "x0": lambda bar: 1.0, "v": lambda bar: (1 - bar) ** 0.5}


def worst(betas, count):
    """走 count 步的链上，最坏的一步把输出的误差放大几倍"""
    bars = alphas_cumprod(betas)[0][spaced_timesteps(1000, count)][::-1].tolist()
    moves = [(ddim_step(bar, after)[0], bar) for bar, after in zip(bars, [*bars[1:], 1.0])]
    return [max(abs(a) * factor(bar) for a, bar in moves) for factor in to_start.values()]


schedules = {"linear": make_beta_schedule("linear", 1000), "SD 1": make_beta_schedule("linear", 1000, 0.00085, 0.012),
             "cosine": make_beta_schedule("cosine", 1000)}
gains = {(name, count): worst(betas, count) for name, betas in schedules.items() for count in (1000, 50, 10)}
for (name, count), values in gains.items():
    print(f"{name:8}{count:5} 步　" + "　".join(f"{target} {value:.2g} 倍" for target, value in zip(to_start, values)))
check("linear 走 1000 步：最坏的一步，eps 的误差也只剩百分之一", gains["linear", 1000][0], 0.01, atol=1e-3)
check_order("SD 1 走 50 步：没有放大", gains["SD 1", 50][0], 1)
check_order("cosine 走 50 步：eps 放大几百倍", 300, gains["cosine", 50][0])

# %% [markdown]
# 怎样读这张表：
#
# - **`eps`**。要看两样：步子有多大，走到头 $\bar\alpha$ 有多小。`linear` 走到头 $\bar\alpha$ 还有 0.0007，`SD 1` 的表还有 0.0047，走 50 步都不放大。`cosine` 走到头 $\bar\alpha$ 几乎是 0，走满 1000 步就有 31 倍，步数一少就是几百、几千倍，全出在最开头的一两步：那里 $\hat x_0$ 要除以一个很小的数。所以 `cosine` 配 `eps` 时要把 $\hat x_0$ 截到 $[-1,1]$（第 4 章的 `clip_denoised`），或者换成 `v`。习题 05.5 问的就是它。
# - **`x0`**。最坏的倍数总是 1，出在最后一步：$t=0$ 时 $x_s=\hat x_0$，网络错多少，样本就错多少。而 `eps` 的输出在那里先乘 $\sqrt{1-\bar\alpha_0}/\sqrt{\bar\alpha_0}\approx0.01$，网络粗心一点也无妨。（$t=0$ 附近，由 $\hat x_0$ 换成 $\hat\varepsilon$ 要除以 $\sqrt{1-\bar\alpha_t}\approx0.01$，看着吓人；可是 DDIM 用 $\hat\varepsilon$ 时又乘上 $\sqrt{1-\bar\alpha_s}$，它比除的数还小，这一百倍就抵消了。）
# - **`v`**。三张表、三种步数，最坏的一步都不到四分之一。
#
# 还要记住，这张表比的是**同样大**的 $\delta$，也只看一步，没有算各步怎样累积。真的网络在三种目标上错得并不一样大；就算网络完美，三种目标剩下的误差也各不相同，下一节算的是它。

# %% [markdown]
# ## 5　剩余误差
#
# 换一个角度：就算网络完美，也会剩下误差。使均方误差最小的预测是条件期望 (conditional expectation) $\mathbb E[x_0\mid x_t]$，也就是已知 $x_t$ 时 $x_0$ 的平均；因为对任何只由 $x_t$ 算出的 $\hat x_0$，
# $\mathbb E[(x_0-\hat x_0)^2\mid x_t] = \mathrm{Var}(x_0\mid x_t) + (\mathbb E[x_0\mid x_t]-\hat x_0)^2$，后一项至少是 0，前一项谁也消不掉。
#
# 设数据是 $x_0\sim\mathcal N(m, s^2)$，$x_t = \sqrt{\bar\alpha}\,x_0+\sqrt{1-\bar\alpha}\,\varepsilon$ 里的两项独立，所以
#
# $$\mathrm{Var}(x_t) = \bar\alpha s^2 + 1-\bar\alpha =: D,\qquad \mathrm{Cov}(x_0, x_t) = \sqrt{\bar\alpha}\,\mathrm{Var}(x_0) = \sqrt{\bar\alpha}\,s^2.$$
#
# 取 $k = \sqrt{\bar\alpha}\,s^2/D$，令
#
# $$\hat x_0 = m + k\,(x_t-\sqrt{\bar\alpha}\,m).$$
#
# 它就是条件期望。先看剩余 $x_0-\hat x_0$ 与 $x_t$ 的协方差（常数 $m$ 不起作用）：
#
# $$\mathrm{Cov}(x_0-\hat x_0,\,x_t) = \mathrm{Cov}(x_0, x_t) - k\,\mathrm{Var}(x_t) = \sqrt{\bar\alpha}\,s^2 - kD = 0.$$
#
# 联合高斯，不相关就独立，所以无论 $x_t$ 是多少，剩余的平均都一样，等于 $\mathbb E[x_0]-\mathbb E[\hat x_0] = m-m = 0$。也就是 $\mathbb E[x_0-\hat x_0\mid x_t]=0$，$\hat x_0$ 正是条件期望。
# 再算剩余的方差。$\hat x_0$ 只由 $x_t$ 线性地算出，与剩余不相关，所以
#
# $$\mathrm{Var}(x_0-\hat x_0) = \mathrm{Cov}(x_0-\hat x_0,\,x_0) = s^2 - k\sqrt{\bar\alpha}\,s^2 = \frac{s^2(D-\bar\alpha s^2)}{D} = \frac{s^2(1-\bar\alpha)}{D}.$$
#
# 再换算到另外两种目标。由 $\varepsilon = (x_t-\sqrt{\bar\alpha}\,x_0)/\sqrt{1-\bar\alpha}$，$\varepsilon$ 的均方误差等于 $x_0$ 的均方误差乘以 $\bar\alpha/(1-\bar\alpha)$；
# 由 $x_0 = \sqrt{\bar\alpha}\,x_t-\sqrt{1-\bar\alpha}\,v$，$v$ 的均方误差等于 $x_0$ 的均方误差除以 $1-\bar\alpha$：
#
# $$\mathbb E(x_0-\hat x_0)^2 = \frac{s^2(1-\bar\alpha)}{D},\qquad \mathbb E(\varepsilon-\hat\varepsilon)^2 = \frac{\bar\alpha s^2}{D},\qquad \mathbb E(v-\hat v)^2 = \frac{s^2}{D}.$$

# %%
m, s, step = 0.3, 0.5, torch.full((400_000,), 400)
generator = torch.Generator().manual_seed(1)
x0, eps = (torch.randn(400_000, dtype=torch.float64, generator=generator) for _ in range(2))
x0 = m + s * x0
bar = diffusion.alphas_cumprod[400]
z = diffusion.q_sample(x0, step, eps)
D = bar * s**2 + 1 - bar
k = bar.sqrt() * s**2 / D
guess = m + k * (z - bar.sqrt() * m)
eps_hat = diffusion.predict_noise_from_start(z, step, guess)
v_true, v_hat = diffusion.get_v(x0, eps, step), diffusion.get_v(guess, eps_hat, step)
check("x₀ 的剩余误差", ((x0 - guess) ** 2).mean(), s**2 * (1 - bar) / D, atol=2e-3)
check("ε 的剩余误差", ((eps - eps_hat) ** 2).mean(), bar * s**2 / D, atol=2e-3)
check("v 的剩余误差", ((v_true - v_hat) ** 2).mean(), s**2 / D, atol=3e-3)
for change, wrong in {"截距加 0.05": guess + 0.05, "斜率乘 0.8": m + 0.8 * k * (z - bar.sqrt() * m),
                      "斜率乘 1.2": m + 1.2 * k * (z - bar.sqrt() * m)}.items():
    check_order(f"{change}，误差只会变大", ((x0 - guess) ** 2).mean(), ((x0 - wrong) ** 2).mean(), digits=4)

# %%
bar = diffusion.alphas_cumprod
D = bar * s**2 + 1 - bar
errors = {"$x_0$": s**2 * (1 - bar) / D, r"$\varepsilon$": bar * s**2 / D, "$v$": s**2 / D}
curves_figure((range(1000), errors, "步号 $t$", "剩余误差"))

# %% [markdown]
# 图：三种目标的剩余误差随 $t$ 的变化，$s = 0.5$。
# `eps` 在 $t$ 大时趋于 0：那时 $x_t$ 几乎就是噪声，照抄即可，损失小不代表 $\hat x_0$ 猜得准。`x0` 在 $t$ 小时趋于 0，道理相同。
# `v` 没有这种“白送”的一头：最大与最小只差 $1/s^2 = 4$ 倍，另两种在一头趋于 0。所以在这个例子里，用 `v` 训练时没有哪一段 $t$ 的损失小到可以忽略。

# %% [markdown]
# ## 6　代码里的三种目标
#
# 三种目标的差别收进三个小类，每个回答同样的几个问题，别处就不必再写 `if eps ... elif x0 ...`。

# %%
show_source(EpsObjective,
            "class EpsObjective", "def target", "def to_x_start", "def weight_over_x0")

# %% [markdown]
# - ① 预测噪声，DDPM 论文的选择。
# - ② 训练目标就是掺进去的噪声。
# - ③ 输出换成 $\hat x_0$：用第 3 节的函数。
# - ④ 误差的平方换到 $x_0$ 上要乘几倍，第 6 章算权重用。

# %%
show_source(X0Objective,
            "class X0Objective", "def target", "def to_x_start", "def weight_over_x0")

# %% [markdown]
# - ① 直接预测原图，最好懂。
# - ② 训练目标就是原图。
# - ③ 输出本身就是 $\hat x_0$。
# - ④ 误差本来就量在 $x_0$ 上，所以倍数是 1。

# %%
show_source(VObjective,
            "class VObjective", "def target", "def to_x_start", "def weight_over_x0")

# %% [markdown]
# - ① 预测速度，误差换到 $x_0$ 上从不放大。
# - ② 训练目标由 `get_v` 造出。
# - ③ 反着转，取第一行。
# - ④ 由 $x_0-\hat x_0 = -\sqrt{1-\bar\alpha_t}\,(v-\hat v)$，平方之后倍数是 $1-\bar\alpha_t$。

# %% [markdown]
# 三种目标的误差是同一件事的三种尺度：换到 $x_0$ 上，应当一样大。

# %%
wrong_x0 = x_start + 0.1
wrong_eps = diffusion.predict_noise_from_start(x_t, t, wrong_x0)
wrong_v = diffusion.get_v(wrong_x0, wrong_eps, t)
bar = diffusion.alphas_cumprod[t].reshape(-1, 1, 1, 1)
for objective, target, guess in ((EpsObjective(), noise, wrong_eps), (VObjective(), v, wrong_v)):
    scaled = (target - guess) ** 2 * objective.weight_over_x0(bar)
    check(f"{type(objective).__name__}：乘上倍数，误差同为 0.01", scaled, torch.full_like(scaled, 0.01), atol=1e-9)

# %% [markdown]
# ## 7　参考实现的 `v` 为什么不能用 `p_sample` 采样
#
# Stable Diffusion 2 的 v 模型用另外的 `DDIMSampler` 采样，那里会处理 `v`；用 `DDPM` 自己的 `p_sample` 就会出错。
# 它的 `p_mean_variance` 大致是下面的样子（这是专为说明写的最小版本）。训练不经过这里，所以要到采样时才出错。

# %%
def p_mean_variance_naive(parameterization, model_out):
    if parameterization == "eps":
        x_recon = model_out * 2  # 代替真的公式：这里只看分支
    elif parameterization == "x0":
        x_recon = model_out
    return x_recon  # v：上面两个分支都没有赋值


check_raises("没有赋值就使用", lambda: p_mean_variance_naive("v", 1.0), "x_recon")

# %%
card("parameterization")
for parameterization in ("eps", "x0", "v"):
    model = DDPM(**toy_model_config(parameterization=parameterization))
    sample = model.sample(2, sampler="ddim", steps=3, generator=torch.Generator().manual_seed(0))
    model(torch.rand(8, 1, 8, 8) * 2 - 1)[0].backward()
    trained = any(p.grad.abs().max() > 0 for p in model.model.parameters())
    check(f"{parameterization}：有梯度，采样得到有限的数", bool(sample.isfinite().all()) and trained, True)
check_raises("拼错的名字", lambda: DDPM(**toy_model_config(parameterization="epsilon")), "eps / x0 / v")

# %% [markdown]
# ## 小结
#
# - $(x_t, v)$ 是 $(x_0, \varepsilon)$ 转过一个角；全部换算都是这次旋转或它的逆。
# - **这一章的问题**：网络该猜 $\varepsilon$、$x_0$ 还是 $v$？
# - **答案**：三者说的是同一件事，随时可以换算，差别只在误差怎样放大、每个 $t$ 占多重。表走到头 $\bar\alpha$ 不太小（`linear`），照论文猜 $\varepsilon$ 就好；走到头几乎是 0（`cosine`），猜 $v$ 最省心。随课程的模型都是 `cosine` 加 `v`。
# - 输出的误差进到下一步里：`eps` 在 $\bar\alpha\approx0$ 的开头放大，步数越少越厉害，`cosine` 走 50 步有几百倍；`x0` 在最后一步原样留下；`v` 到处都小。
# - 网络足够强时，三种目标的信息一样多，差别只在每个 $t$ 上的尺度，也就是损失的权重。
# - 同样的分支写在几处，迟早会漏掉一处；把差别集中到一个地方。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 05.1　由 v 换回 x₀ 与 ε ★
#
# 已知 $x_t$ 与 $v$，换回 $x_0$ 与 $\varepsilon$，按这个次序返回。`bar` 是 $\bar\alpha_t$，已经能与 `x_t` 广播。

# %%
def from_v(x_t, v, bar):
    # 答案
    cos, sin = bar.sqrt(), (1 - bar).sqrt()
    return cos * x_t - sin * v, sin * x_t + cos * v
    # 答案完


grade("05.1", from_v)

# %% [markdown]
# ### 05.2　转回一个角 ★★
#
# $t$ 越大，第 2 节的角 $\varphi_t$ 越大，所以去噪就是把角度转回来。网络在 $x_t$ 处给出了 $v$，请把 $x$ 从角 $\varphi_t$ 转回到更小的角，那里的 $\bar\alpha$ 是 `bar_prev`。
# `bar_t` 与 `bar_prev` 都是 Python 的浮点数，开平方写 `** 0.5`。
# 做对之后，写出转角 $\delta$ 的公式（只用 $x_t$、$v$ 与 $\delta$，一行就够），看它是不是与你的函数相同。

# %%
def rotate(x_t, v, bar_t, bar_prev):
    # 答案
    x_recon = bar_t**0.5 * x_t - (1 - bar_t) ** 0.5 * v
    eps = (1 - bar_t) ** 0.5 * x_t + bar_t**0.5 * v
    return bar_prev**0.5 * x_recon + (1 - bar_prev) ** 0.5 * eps
    # 答案完


grade("05.2", rotate)

# %% [markdown]
# ### 05.3　处处一样难的目标 ★★★
#
# 第 5 节的图里，三种目标的剩余误差都随 $t$ 变。能不能造一个目标，剩余误差对每个 $t$ 都是 1？
# 设数据的均值为 0，标准差为 $s$。先从 $x_0$ 里减去 $x_t$ 已经说明的部分 $k\,x_t$，再除以剩余的标准差：
#
# $$y = \frac{x_0-k\,x_t}{\sqrt{s^2(1-\bar\alpha_t)/D}}.$$
#
# 由 $x_0$ 与 $\varepsilon$ 算出 $y$。`bar` 是 $\bar\alpha_t$，能与 `x_start` 广播；`s` 是数。$k$ 与 $D$ 见第 5 节。

# %%
def edm_target(x_start, noise, bar, s):
    # 答案
    x_t = bar.sqrt() * x_start + (1 - bar).sqrt() * noise
    D = bar * s**2 + 1 - bar
    k = bar.sqrt() * s**2 / D
    return (x_start - k * x_t) / (s * ((1 - bar) / D).sqrt())
    # 答案完


grade("05.3", edm_target)

# %% [markdown]
# ### 05.4　转过 45° ★
#
# 面板左下的 $x_t$ 随 $t$ 转动。用开头的 `diffusion`（`linear`，$T=1000$），转角 $\varphi_t$ 第一次不小于 45° 的 $t$ 是几？答 $t$；再想一想，此时信噪比是多少。

# %%
grade("05.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 05.5　终点是纯噪声 ★★
#
# `linear` 走到头，$\bar\alpha_{T-1}$ 还有万分之几，起点并不是纯噪声。有人改了噪声表，使 $\bar\alpha_{T-1}=0$。
# 在 $t=T-1$ 这一步，哪些目标的输出还能换成有意义的 $\hat x_0$？
#
# - A：只有 `eps`，因为此时 $x_t=\varepsilon$，它的误差最小。
# - B：`x0` 与 `v` 可以，`eps` 不行。
# - C：三种都可以，它们总能互相换算。
# - D：只有 `v` 可以，另外两种都要除以 0。

# %%
grade("05.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
