# %% [markdown]
# # 05 · 参数化：网络预测什么
#
# 第 1 章的网络猜噪声。猜原图行不行？猜别的呢？数学上它们可以互相换算，看上去没有分别；可是网络总会错一点，同样大的一点错，有的选法画不出东西，有的选法几乎看不出来。
# 这一章先看这件事，再说明白为什么。
#
# **学习目标**
#
# - 写出 eps、x0、v 三种目标，以及它们之间的全部换算。
# - 看出这些换算是一次旋转，并用它记住所有公式。
# - 说清输出的误差怎样进到下一步里：预测 eps 与预测 x0 各在什么时候吃亏。
#
# **预计用时** 40 分钟。运行全部单元约 25 秒。

# %%
import math

import torch

from ddpm_edu import DDPM, GaussianDiffusion, load_pretrained, make_beta_schedule
from ddpm_edu.gaussian import extract_into_tensor
from ddpm_edu.objectives import EpsObjective, VObjective, X0Objective, make_objective
from ddpm_edu.sampling import ddim_step, spaced_timesteps
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach import card, check, check_order, check_raises, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.diagrams import rotation_figure
from ddpm_edu.teach.panels import parameterization_panel

diffusion = GaussianDiffusion().double()
print("T =", diffusion.num_timesteps)

# %% [markdown]
# ## 1　同一个问题的三种问法
#
# 去噪时手里有 $x_t$ 和 $t$，想知道 $x_0$。由 $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$ 可知，只要 $0<\bar\alpha_t<1$，$x_0$ 与 $\varepsilon$ 知道一个就知道另一个。
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
# $\varepsilon$ 与 $x_0$ 两行不随 $t$ 变，各画五遍是为了对照；$v$ 在 $t$ 小时像噪声，在 $t$ 大时像原图的底片（黑白颠倒）。

# %%
t0, t999 = torch.zeros(64, dtype=torch.long), torch.full((64,), 999)
check("t=0 时 v 与 ε 相近", diffusion.get_v(x_start, noise, t0), noise, atol=0.02)
check("t=999 时 v 与 -x₀ 相近", diffusion.get_v(x_start, noise, t999), -x_start, atol=0.12)

# %% [markdown]
# ## 2　错同样多，画出来差多远
#
# 做一个试验。随课程发布的 `mnist` 模型猜的是 $v$，噪声表是 `cosine`。把它的输出先换算成 $\hat\varepsilon$、$\hat x_0$ 或 $\hat v$，**加上同样大的误差**（每个像素的标准差 0.2），再接着采样，走 50 步。
# 网络是同一个，起点是同一份噪声，只有“误差加在谁身上”不同。先猜一猜：哪一种画得最糟？
#
# 代码里的 `predict_start` 给出 $\hat x_0$，`goal` 负责换算，最后两行是不掺噪声的一步（$a$ 与 $b$ 第 4 节推导）。

# %%
mnist, labels = load_pretrained("mnist").eval(), {"c_adm": torch.arange(10)}


@torch.no_grad()
def draw_with_errors(target, clip=False, error=0.2, steps=50):
    goal, generator = make_objective(target), torch.Generator().manual_seed(0)
    x = torch.randn(10, 1, 28, 28, generator=generator)
    times = spaced_timesteps(1000, steps)[::-1].tolist()
    bars = [*mnist.alphas_cumprod[times].tolist(), 1.0]
    for i, step in enumerate(times):
        t = torch.full((10,), step)
        x_recon = mnist.predict_start(x, t, cond=labels)
        output = goal.target(mnist, x_recon, mnist.predict_noise_from_start(x, t, x_recon), t)
        x_recon = goal.to_x_start(mnist, x, t, output + error * torch.randn(x.shape, generator=generator))
        a, b, _ = ddim_step(bars[i], bars[i + 1])
        x = a * (x_recon.clamp(-1, 1) if clip else x_recon) + b * x
    return x.clamp(-1, 1)


samples = [draw_with_errors("v", error=0.0), draw_with_errors("eps"), draw_with_errors("eps", clip=True), draw_with_errors("x0"),
           draw_with_errors("v")]

# %%
grid_figure(torch.cat(samples), nrow=10, rows=["不加误差", "错在 eps", "eps，截断", "错在 x0", "错在 v"])

# %% [markdown]
# 图：每列是同一个起点、同一个类别。误差加在 $\hat\varepsilon$ 上，什么也没有画出来；把 $\hat x_0$ 截到 $[-1,1]$ 就有了字，可是形状变了。加在 $\hat x_0$ 上，形状都对，背景却是脏的。加在 $\hat v$ 上，与第一行几乎一样。
#
# 同样大的误差，为什么差这么多？先要知道三种输出怎样换算。

# %% [markdown]
# ## 3　换算是一次旋转
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
rotation_figure({f"$t={step}$": math.acos(float(diffusion.sqrt_alphas_cumprod[step])) for step in (100, 400, 900)})

# %% [markdown]
# 图：一个像素的 $(x_0,\varepsilon)$ 是平面上的一个点（黑点），它不动；动的是坐标轴。把两根轴转过 $\varphi_t$，点在新轴上的坐标就是 $x_t$（蓝）与 $v$（橙）。$x_t$ 是一个坐标，再给出 $x_0$、$\varepsilon$、$v$ 中的任何一个，点就定了。

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
# 代码里有五个换算函数。参考实现起的名字很长，读法是“predict 结果 from 已知”，z 指的是 $x_t$；逐行的源码在第 7 节。
#
# | 函数 | 换算 | 公式 | 除法 |
# |:--|:--|:--|:--|
# | `predict_start_from_noise` | $\varepsilon\to x_0$ | $(x_t-\sqrt{1-\bar\alpha_t}\,\varepsilon)/\sqrt{\bar\alpha_t}$ | 除以 $\sqrt{\bar\alpha_t}$ |
# | `predict_noise_from_start` | $x_0\to\varepsilon$ | $(x_t-\sqrt{\bar\alpha_t}\,x_0)/\sqrt{1-\bar\alpha_t}$ | 除以 $\sqrt{1-\bar\alpha_t}$ |
# | `predict_start_from_z_and_v` | $v\to x_0$ | $\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$ | 没有 |
# | `predict_eps_from_z_and_v` | $v\to\varepsilon$ | $\sqrt{1-\bar\alpha_t}\,x_t+\sqrt{\bar\alpha_t}\,v$ | 没有 |
# | `get_v` | $(x_0,\varepsilon)\to v$ | $\sqrt{\bar\alpha_t}\,\varepsilon-\sqrt{1-\bar\alpha_t}\,x_0$ | 没有 |

# %%
check("ε → x₀", diffusion.predict_start_from_noise(x_t, t, noise), x_start, atol=1e-12)
check("x₀ → ε", diffusion.predict_noise_from_start(x_t, t, x_start), noise, atol=1e-10)
check("v → x₀", diffusion.predict_start_from_z_and_v(x_t, t, v), x_start, atol=1e-12)
check("v → ε", diffusion.predict_eps_from_z_and_v(x_t, t, v), noise, atol=1e-12)
around = diffusion.get_v(diffusion.predict_start_from_noise(x_t, t, noise), diffusion.predict_eps_from_z_and_v(x_t, t, v), t)
check("绕一圈回到 v", around, v, atol=1e-12)

# %%
parameterization_panel(GaussianDiffusion(), x_start[:1].float(), noise[:1].float())

# %% [markdown]
# 面板：上排是三种目标 $\varepsilon$、$x_0$、$v$ 与 $x_t$。中排是六个换算：前三张由各自的输出换成 $\hat x_0$，后三张换成 $\hat\varepsilon$。
# 三种输出加上了同一份误差。把 $t$ 拖到右端，由 $\hat\varepsilon$ 换来的 $\hat x_0$ 先坏；拖到左端，由 $\hat x_0$ 换来的 $\hat\varepsilon$ 先坏。把“输出的误差”拖到 0，前三张都是原图，后三张都是噪声。
# 左下是刚才的旋转。右下是换成 $\hat x_0$ 时误差乘上几倍，圆点是当前的 $t$。

# %% [markdown]
# ## 4　误差怎样进到下一步里
#
# 要紧的不是 $\hat x_0$ 错多少，而是下一步的 $x_s$ 错多少：$\hat x_0$ 不是样本，走一步只往它那边挪一小段。
# 不掺噪声的一步这样走：由 $\hat x_0$ 换出 $\hat\varepsilon$，再用它们按第 $s$ 步的比例重新配一张 $x_s=\sqrt{\bar\alpha_s}\,\hat x_0+\sqrt{1-\bar\alpha_s}\,\hat\varepsilon$（DDIM，第 7 章）。代入 $\hat\varepsilon=(x_t-\sqrt{\bar\alpha_t}\,\hat x_0)/\sqrt{1-\bar\alpha_t}$，合并同类项：
#
# $$x_s = a\,\hat x_0 + b\,x_t,\qquad b=\frac{\sin\varphi_s}{\sin\varphi_t},\qquad a=\cos\varphi_s-b\cos\varphi_t=\frac{\sin\delta}{\sin\varphi_t},$$
#
# 其中 $\delta=\varphi_t-\varphi_s$ 是这一步转过的角。网络的输出错一点，先换成 $\hat x_0$ 的误差（对换算公式求导，`eps`、`x0`、`v` 依次乘 $\sin\varphi_t/\cos\varphi_t$、1、$\sin\varphi_t$），再乘 $a$。所以传到 $x_s$，一共乘上
#
# $$\hat\varepsilon:\ \frac{\sin\delta}{\cos\varphi_t},\qquad \hat x_0:\ \frac{\sin\delta}{\sin\varphi_t},\qquad \hat v:\ \sin\delta.$$
#
# `v` 的倍数不超过另外两种，也不超过 1。`eps` 在 $\varphi_t\to90°$ 时吃亏，`x0` 在 $\varphi_t\to0$ 时吃亏。$\varphi_t$ 接近 $90°$ 时，`eps` 的倍数约为 $\sqrt{\bar\alpha_s/\bar\alpha_t}-1$，只看这一步把 $\bar\alpha$ 抬高了几倍。

# %%
to_start = {"eps": lambda bar: ((1 - bar) / bar) ** 0.5, "x0": lambda bar: 1.0, "v": lambda bar: (1 - bar) ** 0.5}


def gains(betas, count):
    """走 count 步的链：(各步的 t, {目标: 输出的误差传到 x_s 要乘几倍})"""
    times = spaced_timesteps(1000, count)[::-1]
    bars = [*alphas_cumprod(betas)[0][times].tolist(), 1.0]
    shares = [ddim_step(bar, after)[0] for bar, after in zip(bars, bars[1:])]
    return times, {name: [a * factor(bar) for a, bar in zip(shares, bars)] for name, factor in to_start.items()}


linear, cosine = make_beta_schedule("linear", 1000), make_beta_schedule("cosine", 1000)
curves_figure(*((*gains(betas, 50), "步号 $t$", f"误差乘上几倍（{name}）", "linear", "log") for name, betas in
                (("linear", linear), ("cosine", cosine))))

# %% [markdown]
# 图：各走 50 步，输出的误差传到 $x_s$ 时，每一步乘上几倍。采样从右往左走。`linear`（左）从不放大。`cosine`（右）上 `eps` 的曲线在右端冲到几百倍：第一步就把误差放大了几百倍，第 2 节里“错在 eps”那一行就坏在这里。`x0` 在左端升到 1：最后一步 $x_s=\hat x_0$，网络错多少，样本就错多少，这就是“错在 x0”那一行的脏背景。`v` 是一条平线：`cosine` 差不多每步转一样的角，50 步每步约 1.8°，$\sin\delta\approx0.03$。
#
# 换别的表、别的步数，看最坏的一步：

# %%
schedules = {"linear": linear, "论文的": make_beta_schedule("sqrt_linear", 1000), "SD 1": make_beta_schedule("linear", 1000, 0.00085, 0.012), "cosine": cosine}
worst = {}
for name, betas in schedules.items():
    for count in (1000, 50, 10):
        worst[name, count] = {target: max(map(abs, values)) for target, values in gains(betas, count)[1].items()}
        print(f"{name:8}{count:5} 步　" + "　".join(f"{target} {value:.2g} 倍" for target, value in worst[name, count].items()))
check_order("SD 1 走 50 步：eps 的误差没有放大", worst["SD 1", 50]["eps"], 1)
check_order("cosine 走 50 步：eps 放大几百倍", 300, worst["cosine", 50]["eps"])
check_order("v：最坏的一步也不到 0.4 倍", max(found["v"] for found in worst.values()), 0.4)

# %% [markdown]
# “论文的”是 DDPM 论文的表，代码里叫 `sqrt_linear`；`linear` 是 $\sqrt\beta$ 等距（第 2 章）；`SD 1` 是 Stable Diffusion 1 的表，也是 `linear`，端点换成 0.00085 与 0.012。后两家都猜 $\varepsilon$，画得好好的。怎样读这张表：
#
# - **`eps`**。`linear` 走 50 步，第一步把 $\bar\alpha$ 抬高 1.5 倍，$\sqrt{1.5}-1\approx0.22$，没有放大。`cosine` 最后一个 $\beta$ 截在 0.999，走满 1000 步，第一步就抬高一千倍，$\sqrt{1000}-1\approx31$；步数一少，$\bar\alpha$ 抬得更高（50 步约 40 万倍），误差的倍数就到了几百、几千。所以 `cosine` 配 `eps`，要把 $\hat x_0$ 截到 $[-1,1]$（第 4 章的 `clip_denoised`），或者换成 `v`。
# - **`x0`**。最坏的倍数总是 1，出在最后一步。而 `eps` 的输出在那里只乘 0.006 到 0.03（四张表不同），网络粗心一点也无妨。
# - **`v`**。四张表、三种步数，最坏的一步不到 0.4 倍。
#
# 还要记住，这里比的是**同样大**的误差，而这对 `eps` 并不公平。`cosine` 的第一步 $\sqrt{\bar\alpha_t}\approx5\times10^{-5}$，$x_t$ 几乎就是噪声；照下一节的公式，数据的标准差取 0.5 时，完美的网络在那里猜 $\varepsilon$ 只错约 $2.5\times10^{-5}$，第 2 节加的 0.2 是它的八千倍。所以 `cosine` 配 `eps` 并非不能用（Improved DDPM 就这样用），只是要求网络在那里错得极小。三种网络若都完美，画出来的样本完全一样。

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
# 它就是条件期望：联合高斯的条件期望是线性的，系数 $k$ 是协方差比方差。它的均方误差是
#
# $$\mathbb E(x_0-\hat x_0)^2 = s^2-k\sqrt{\bar\alpha}\,s^2 = \frac{s^2(D-\bar\alpha s^2)}{D} = \frac{s^2(1-\bar\alpha)}{D}.$$
#
# <details><summary>推导（第一遍可以不看）</summary>
#
# 先看剩余 $x_0-\hat x_0$ 与 $x_t$ 的协方差（常数 $m$ 不起作用）：
#
# $$\mathrm{Cov}(x_0-\hat x_0,\,x_t) = \mathrm{Cov}(x_0, x_t) - k\,\mathrm{Var}(x_t) = \sqrt{\bar\alpha}\,s^2 - kD = 0.$$
#
# 联合高斯，不相关就独立，所以无论 $x_t$ 是多少，剩余的平均都一样，等于 $\mathbb E[x_0]-\mathbb E[\hat x_0] = m-m = 0$。也就是 $\mathbb E[x_0-\hat x_0\mid x_t]=0$，$\hat x_0$ 正是条件期望。
# 再算剩余的方差。$\hat x_0$ 只由 $x_t$ 线性地算出，与剩余不相关，所以
#
# $$\mathrm{Var}(x_0-\hat x_0) = \mathrm{Cov}(x_0-\hat x_0,\,x_0) = s^2 - k\sqrt{\bar\alpha}\,s^2 = \frac{s^2(D-\bar\alpha s^2)}{D} = \frac{s^2(1-\bar\alpha)}{D}.$$
#
#
# </details>
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
check("x₀ 的剩余误差，公式的", ((x0 - guess) ** 2).mean(), s**2 * (1 - bar) / D, atol=2e-3)
check("ε 的剩余误差，公式的", ((eps - eps_hat) ** 2).mean(), bar * s**2 / D, atol=2e-3)
check("v 的剩余误差，公式的", ((v_true - v_hat) ** 2).mean(), s**2 / D, atol=3e-3)
for change, wrong in {"截距加 0.05": guess + 0.05, "斜率乘 0.8": m + 0.8 * k * (z - bar.sqrt() * m),
                      "斜率乘 1.2": m + 1.2 * k * (z - bar.sqrt() * m)}.items():
    check_order(f"{change}，误差只会变大", ((x0 - guess) ** 2).mean(), ((x0 - wrong) ** 2).mean(), digits=4)

# %%
bar = diffusion.alphas_cumprod
D = bar * s**2 + 1 - bar
errors = {"eps": bar * s**2 / D, "x0": s**2 * (1 - bar) / D, "v": s**2 / D}
curves_figure((range(1000), errors, "步号 $t$", "均方误差"))

# %% [markdown]
# 图：三种目标（`x0`、`eps`、`v`）的剩余误差随 $t$ 的变化；数据是 $\mathcal N(m, 0.5^2)$，噪声表是 `linear`。
# `eps` 在 $t$ 大时趋于 0：那时 $x_t$ 几乎就是噪声，照抄即可；损失小，不代表 $\hat x_0$ 猜得准。`x0` 在 $t$ 小时趋于 0，道理相同。
# `v` 没有这种“白送”的一头：最大与最小只差 $1/s^2 = 4$ 倍，另两种在一头趋于 0。所以在这个例子里，用 `v` 训练时没有哪一段 $t$ 的损失小到可以忽略。

# %% [markdown]
# ## 6　代码里的三种目标
#
# 三种目标的差别收进三个小类，每个回答同样的几个问题，别处就不必再写 `if eps ... elif x0 ...`：
#
# | 类 | 训练目标 `target` | 换成 $\hat x_0$ `to_x_start` | 误差的平方换到 $x_0$ 上乘几倍 `weight_over_x0` |
# |:--|:--|:--|:--|
# | `EpsObjective` | 掺进去的噪声 $\varepsilon$ | `predict_start_from_noise` | $(1-\bar\alpha_t)/\bar\alpha_t$ |
# | `X0Objective` | 原图 $x_0$ | 输出本身 | 1 |
# | `VObjective` | $v$，由 `get_v` 造出 | `predict_start_from_z_and_v` | $1-\bar\alpha_t$ |
#
# 三种目标的误差是同一件事的三种尺度：换到 $x_0$ 上，应当一样大。

# %%
wrong_x0 = x_start + 0.1
wrong_eps = diffusion.predict_noise_from_start(x_t, t, wrong_x0)
wrong_v = diffusion.get_v(wrong_x0, wrong_eps, t)
bar = diffusion.alphas_cumprod[t].reshape(-1, 1, 1, 1)
for objective, target, guess in ((EpsObjective(), noise, wrong_eps), (VObjective(), v, wrong_v)):
    scaled = (target - guess) ** 2 * objective.weight_over_x0(bar)
    check(f"{type(objective).__name__}：乘上倍数，误差同为 0.01", scaled, torch.full_like(scaled, 0.01), atol=1e-9)

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
# ## 7　逐行的源码
#
# 公式都见过了，这里只对一对代码。五个换算函数：

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
# - ② 核对类型与形状。
# - ③ 除以 $\sqrt{1-\bar\alpha_t}$：在 $t=0$ 处它只有 0.01，误差会放大一百倍。

# %%
show_source(GaussianDiffusion.predict_start_from_z_and_v,
            "def predict_start_from_z_and_v", "check_like(", "return (")

# %% [markdown]
# - ① $v\to x_0$：反着转，取第一行。
# - ② 核对类型与形状。
# - ③ 没有除法，系数都不超过 1。

# %%
show_source(GaussianDiffusion.predict_eps_from_z_and_v,
            "def predict_eps_from_z_and_v", "check_like(", "return (")

# %% [markdown]
# - ① $v\to\varepsilon$：反着转，取第二行。
# - ② 核对类型与形状。
# - ③ 也没有除法，系数都不超过 1。

# %%
show_source(GaussianDiffusion.get_v,
            "def get_v", "check_like(", "return (")

# %% [markdown]
# - ① $(x_0,\varepsilon)\to v$：训练时造目标用。参数的次序是 x、noise、t，与别的函数不同，这是参考实现留下的。
# - ② 核对类型与形状。
# - ③ 旋转矩阵的第二行。

# %% [markdown]
# 三个类：

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
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# 参考实现的 `p_mean_variance` 里只有 `eps` 与 `x0` 两个分支，`x_recon` 在选 `v` 时没有赋值，于是训练照常，一用 `p_sample` 采样就是 UnboundLocalError。
# Stable Diffusion 2 的 v 模型用另外的 `DDIMSampler` 采样，那里会处理 `v`。
# 同样的分支写在几处，迟早会漏掉一处；这里把差别集中到三个类里。
#
# </details>

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：网络该猜 $\varepsilon$、$x_0$ 还是 $v$？
# - **答案**：只要 $0<\bar\alpha_t<1$，三者就可以互相换算，差别在误差传到下一步时乘上几倍，以及每个 $t$ 占多重；网络学哪一种更容易，这里没有比。`linear` 或论文的表配 `eps`，走 50 步最坏 0.22 倍，照论文做就好；`cosine` 配 `eps` 走 50 步，第一步就放大六百多倍，要截断，或者改猜 `v`（0.037 倍）。随课程的模型都是 `cosine` 加 `v`。
# - 一步转过 $\delta$，`eps`、`x0`、`v` 的误差依次乘 $\sin\delta/\cos\varphi_t$、$\sin\delta/\sin\varphi_t$、$\sin\delta$：`eps` 怕 $t$ 大的一头，`x0` 怕最后一步。
# - $(x_t, v)$ 是 $(x_0, \varepsilon)$ 转过一个角，全部换算都是这次旋转或它的逆。
# - 三种目标的最优预测可以互相换算；各个 $t$ 的误差尺度不同，相当于损失的权重不同，这是下一章的事。
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
# $t$ 越大，第 3 节的角 $\varphi_t$ 越大，所以去噪就是把角度转回来。网络在 $x_t$ 处给出了 $v$，请把 $x$ 从角 $\varphi_t$ 转回到更小的角，那里的 $\bar\alpha$ 是 `bar_prev`。
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
# 设数据的均值为 0，标准差为 $s$。先从 $x_0$ 里减去能由 $x_t$ 线性预测的部分 $k\,x_t$，再除以剩余的标准差：
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
# 第 3 节的图里，$x_t$ 随 $t$ 转动。用开头的 `diffusion`（`linear`，$T=1000$），转角 $\varphi_t$ 第一次不小于 45° 的 $t$ 是几？答 $t$；再想一想，此时信噪比是多少。

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
