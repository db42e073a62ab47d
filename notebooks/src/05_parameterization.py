# %% [markdown]
# # 05 · 参数化：网络预测什么
#
# 第 1 章的网络猜噪声。猜原图行不行？猜别的呢？数学上它们可以互相换算，看上去没有分别。可是网络总有误差；同样大的误差，有的选法画不出东西，有的选法几乎看不出来。
# 这一章先看这件事，再说明白为什么，最后问一句：“同样大”公平吗？
#
# **学习目标**
#
# - 写出 eps、x0、v 三种目标，以及它们之间的全部换算。
# - 看出这些换算是一次旋转，并用它记住所有公式。
# - 算出输出的误差进到下一步里要乘几倍，说出 eps 与 x0 各怕哪几步。
# - 说清三种目标的差别从哪里来：完美的网络几乎不错的地方，真的网络还错多少。
#
# **预计用时** 40 分钟。运行全部单元约二十秒。

# %%
import math

import torch

from ddpm_edu import GaussianDiffusion, load_pretrained, make_beta_schedule
from ddpm_edu.objectives import EpsObjective, VObjective, X0Objective, make_objective
from ddpm_edu.sampling import spaced_timesteps
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach import card, check, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.diagrams import rotation_figure
from ddpm_edu.teach.panels import parameterization_panel
from ddpm_edu.teach.schedule_figures import gains_figure, told

diffusion = GaussianDiffusion(beta_schedule="cosine").double()  # T=1000，没有网络

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
steps = torch.tensor([0, 200, 400, 600, 999])
x0, eps = x_start[:1].expand(5, -1, -1, -1), noise[:1].expand(5, -1, -1, -1)  # 同一张图、同一份噪声，五个 t
grid_figure(torch.cat([diffusion.q_sample(x0, steps, eps), eps, x0, diffusion.get_v(x0, eps, steps)]), nrow=5, width=5,
            rows=["$x_t$", r"$\varepsilon$", "$x_0$", "$v$"], columns=[f"$t={step}$" for step in steps])

# %% [markdown]
# 图：$v$ 从噪声渐渐变成原图的底片，黑白颠倒。噪声表是 `cosine`，以下没有另说的图也是。

# %% [markdown]
# ## 2　误差一样大，画出来差多远
#
# 做一个试验。随课程发布的 `mnist` 模型猜的是 $v$，噪声表是 `cosine`。采样用第 0 章的 DDIM 走 50 步，每一步先把它猜的 $\hat x_0$ 截到 $[-1,1]$（第 4 章的 `clip_denoised`），再换算成 $\hat\varepsilon$、$\hat x_0$ 或 $\hat v$，**加上同样大的误差**（每个像素各抽各的，标准差 0.2），再往下走。
# 网络是同一个，起点是同一份噪声，只有误差加在谁身上不同。先猜一猜：哪一种画得最糟？

# %%
mnist, cond = load_pretrained("mnist").eval(), {"c_adm": torch.arange(6)}  # c_adm：要画的类别，0 到 5
even = spaced_timesteps(1000, 50)[::-1].tolist()  # 50 个步号，从 999 到 0


@torch.no_grad()
def draw(target, sizes):
    """误差加在 target 这种输出上；sizes：每一步的误差有多大（标准差）"""
    objective, generator = make_objective(target), torch.Generator().manual_seed(0)
    x = torch.randn(6, 1, 28, 28, generator=generator)
    for step, size, bar in zip(even, sizes, [*mnist.alphas_cumprod[even[1:]].tolist(), 1.0]):
        t = torch.full((6,), step)
        x0 = mnist.predict_start(x, t, cond=cond)  # 网络猜的原图
        output = objective.target(mnist, x0, mnist.predict_noise_from_start(x, t, x0), t)  # 换算成 target
        output += size * torch.randn(x.shape, generator=generator)  # 加上误差
        x0 = objective.to_x_start(mnist, x, t, output)  # 换回原图
        x = bar**0.5 * x0 + (1 - bar) ** 0.5 * mnist.predict_noise_from_start(x, t, x0)  # DDIM 走一步，不掺噪声
    return x.clamp(-1, 1)


# %%
none, same = [0.0] * 50, [0.2] * 50
samples = [draw("v", none), draw("eps", same), draw("x0", same), draw("v", same)]
grid_figure(torch.cat(samples), nrow=6, rows=["不加误差", "加在 eps", "加在 x0", "加在 v"])

# %% [markdown]
# 图：加在 $\hat\varepsilon$ 上，什么也没有画出来；加在 $\hat x_0$ 上，形状都对，背景却是脏的；加在 $\hat v$ 上，与第一行几乎一样。每列是同一个起点、同一个类别。
#
# 六张太少。十个类别、八个种子各画一张，共 80 张，量两个数：与不加误差的图差多少（均方根），课程的分类器认得出几成（± 是标准误，由 `python -m benchmarks.targets mnist` 量出）。
#
# | 误差加在 | 差多少 | 认得出 |
# |:--|--:|--:|
# | 不加 | 0 | 92.5% ± 3.1% |
# | $\hat\varepsilon$ | 1.377 ± 0.003 | 10.0% ± 0.0% |
# | $\hat x_0$ | 0.213 ± 0.001 | 90.0% ± 3.3% |
# | $\hat v$ | 0.024 ± 0.002 | 92.5% ± 2.5% |
#
# 10% 就是瞎猜。误差是每步重抽的；五十步都加同一份，$\hat v$ 的差就由 0.024 升到 0.127 ± 0.007，认得出 91.3% ± 3.5%。
#
# 为什么差这么多？先要知道三种输出怎样换算。

# %% [markdown]
# ## 3　换算是一次旋转
#
# 记 $\cos\varphi_t = \sqrt{\bar\alpha_t}$，$\sin\varphi_t = \sqrt{1-\bar\alpha_t}$。两者的平方和是 1，所以这样的角存在。于是
#
# $$\begin{pmatrix} x_t \\ v \end{pmatrix} = \begin{pmatrix} \cos\varphi_t & \sin\varphi_t \\ -\sin\varphi_t & \cos\varphi_t \end{pmatrix}\begin{pmatrix} x_0 \\ \varepsilon \end{pmatrix}.$$
#
# 坐标轴转过 $\varphi_t$，坐标就这样变。把轴转回去，得到逆换算：
#
# $$x_0 = \cos\varphi_t\,x_t - \sin\varphi_t\,v,\qquad \varepsilon = \sin\varphi_t\,x_t + \cos\varphi_t\,v.$$

# %%
rotation_figure({f"$t={step}$": math.acos(float(diffusion.sqrt_alphas_cumprod[step])) for step in (100, 500, 900)})

# %% [markdown]
# 图：点不动，坐标轴转，转多少由 $t$ 定。一个像素的 $(x_0,\varepsilon)=(0.85,0.5)$ 是平面上的黑点；橙、蓝两根轴转过 $\varphi_t$，得到灰、黑两根，点在新轴上的坐标就是 $x_t$ 与 $v$。粗带是坐标的长短，落在箭头的反方向就是负数。

# %% [markdown]
# “速度”这个名字也由此而来：角度每增加一点，$x_t$ 的变化率 $\dfrac{\mathrm d x_t}{\mathrm d\varphi} = -\sin\varphi\,x_0 + \cos\varphi\,\varepsilon$ 就是 $v$。
#
# 代码里有五个换算函数，名字读作“predict 结果 from 已知”，z 指的是 $x_t$：
#
# | 函数 | 换算 | 公式 |
# |:--|:--|:--|
# | `predict_start_from_noise` | $\varepsilon\to x_0$ | $(x_t-\sqrt{1-\bar\alpha_t}\,\varepsilon)/\sqrt{\bar\alpha_t}$ |
# | `predict_noise_from_start` | $x_0\to\varepsilon$ | $(x_t-\sqrt{\bar\alpha_t}\,x_0)/\sqrt{1-\bar\alpha_t}$ |
# | `predict_start_from_z_and_v` | $v\to x_0$ | $\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$ |
# | `predict_eps_from_z_and_v` | $v\to\varepsilon$ | $\sqrt{1-\bar\alpha_t}\,x_t+\sqrt{\bar\alpha_t}\,v$ |
# | `get_v` | $(x_0,\varepsilon)\to v$ | $\sqrt{\bar\alpha_t}\,\varepsilon-\sqrt{1-\bar\alpha_t}\,x_0$ |

# %% [markdown]
# ## 4　误差怎样进到下一步里
#
# 从第 $t$ 步走到更早的第 $s$ 步，就是把 $\hat x_0$、$\hat\varepsilon$ 照第 $s$ 步的比例重新混合：$x_s=\cos\varphi_s\,\hat x_0+\sin\varphi_s\,\hat\varepsilon$。输出的误差，有多少留在 $x_s$ 里？
#
# 照第 3 节的图，把轴转回 $\varphi_t$，$(x_t,\hat v)$ 就换成 $(\hat x_0,\hat\varepsilon)$；再转出 $\varphi_s$，就换成第 $s$ 步的坐标。合起来只转回了 $\delta=\varphi_t-\varphi_s$：
#
# $$x_s=\cos\delta\;x_t-\sin\delta\;\hat v.$$
#
# $x_t$ 没有误差，所以 $\hat v$ 的误差传到 $x_s$，要乘 $\sin\delta$（都取绝对值）。另外两种先换成 $\hat v$：
#
# - 由 $x_0=\cos\varphi_t\,x_t-\sin\varphi_t\,v$，$\hat x_0$ 的误差换到 $\hat v$ 上，要除以 $\sin\varphi_t$；
# - 由 $\varepsilon=\sin\varphi_t\,x_t+\cos\varphi_t\,v$，$\hat\varepsilon$ 的误差换到 $\hat v$ 上，要除以 $\cos\varphi_t$。
#
# 所以误差传到 $x_s$ 的倍数是
#
# $$\hat\varepsilon:\ \frac{\sin\delta}{\cos\varphi_t},\qquad \hat x_0:\ \frac{\sin\delta}{\sin\varphi_t},\qquad \hat v:\ \sin\delta.$$
#
# `v` 的倍数最小。噪声大到 $\varphi_t\to90°$ 时，`eps` 的分母趋于 0；噪声小到 $\varphi_t\to0$ 时，`x0` 的分母趋于 0。

# %%
parameterization_panel(diffusion, x_start[:1], noise[:1])

# %% [markdown]
# 面板：$\hat x_0$ 的误差大，$x_s$ 的误差不一定大。三种输出加上同一份误差（标准差 0.2）。左三张是换成的 $\hat x_0$；右三张是走完一步，$x_s$ 的误差，越灰越准。曲线是误差传到 $x_s$ 要乘几倍，圆点是当前的 $t$。
#
# $t=20$ 时，加在 $\hat x_0$ 上的那张只是有点脏，误差却大半进了 $x_s$；$t=900$ 时，由 $\hat\varepsilon$ 换来的 $\hat x_0$ 已经认不出，误差进到 $x_s$ 却只乘 0.20。
#
# 把 50 步的倍数都画出来，左边是论文的噪声表（代码里叫 `sqrt_linear`）：

# %%
def gains(bars):
    """bars：一路上的 ᾱ，从采样的第一步起 → {目标: 每一步，输出的误差传到 x_s 要乘几倍}"""
    angle = torch.tensor([*bars, 1.0], dtype=torch.float64).sqrt().acos()
    turn, angle = angle[:-1] - angle[1:], angle[:-1]
    return {"eps": turn.sin() / angle.cos(), "x0": turn.sin() / angle.sin(), "v": turn.sin()}


def levels(betas, times):
    return alphas_cumprod(betas)[0][times].tolist()


paper, cosine = make_beta_schedule("sqrt_linear", 1000), make_beta_schedule("cosine", 1000)
gains_figure({"sqrt_linear": (even, gains(levels(paper, even))), "cosine": (even, gains(levels(cosine, even)))})

# %% [markdown]
# 图：`eps` 坏在 `cosine` 的第一步，`x0` 坏在最后几步，`v` 处处都小。一步一个点，大点是最坏的一步，灰线是 1 倍。
#
# `cosine` 配 `eps`，第一步是 631 倍：它的最后一个 $\bar\alpha_t$ 几乎是 0，分母 $\cos\varphi_t=\sqrt{\bar\alpha_t}$ 只有约两万分之一。
# `x0` 的倍数越到收尾越大，`cosine` 上末三步是 0.44、0.85、1：最后一步 $x_s=\hat x_0$，网络的误差有多大，样本的误差就有多大。
#
# 毛病真的出在这几步吗？只免去这几步的误差，再画一遍。

# %%
spared = [draw("eps", [0.0] + same[1:]), draw("x0", same[:-3] + [0.0] * 3)]
grid_figure(torch.cat(spared), nrow=6, rows=["eps，第一步不加", "x0，末三步不加"])

# %% [markdown]
# 图：免去那几步的误差，`eps` 的字回来了，`x0` 的背景干净了。起点、类别与第 2 节的图相同。
#
# 量 80 张：`eps` 只要第一步不加误差，认得出的就从一成回到 91.3% ± 3.0%；`x0` 只要末三步不加，与不加误差的图就从差 0.213 降到 0.044 ± 0.003。
#
# 换别的步数呢？只看 `eps` 最坏的一步：

# %%
for name, betas in (("sqrt_linear", paper), ("cosine", cosine)):
    worst = {count: gains(levels(betas, spaced_timesteps(1000, count)[::-1]))["eps"].max() for count in (1000, 50, 10)}
    print(f"{name:12}" + "　".join(f"{count} 步：{told(value)} 倍" for count, value in worst.items()))

# %% [markdown]
# 论文的表走 50 步，最坏的一步也只乘 0.23。仍用 `mnist` 模型，每步取它的表里 $\bar\alpha$ 最接近论文的一步；每步在 $\hat\varepsilon$ 上加 0.2，80 张里认得出 92.5% ± 1.6%，与不加误差的图差 0.155 ± 0.010。
#
# `cosine` 可以改猜 `v`，也可以仍猜 $\varepsilon$ 而跳过第一步，把噪声直接当作 $x_{979}$：照样每步加 0.2，认得出 91.3% ± 2.9%。不跳过，只在加了误差之后再把 $\hat x_0$ 截一次，就只有 72.5% ± 5.3%。

# %% [markdown]
# ## 5　同样大的误差，公平吗
#
# `cosine` 的第一步，$x_t$ 几乎就是噪声，照抄 $x_t$ 当作 $\hat\varepsilon$，只差像素值的两万分之一。在这里错 0.2 算大还是算小，要与完美的网络比。
#
# 完美的网络答条件期望 (conditional expectation) $\mathbb E[x_0\mid x_t]$，也就是已知 $x_t$ 时 $x_0$ 的平均。因为对任何只由 $x_t$ 算出的 $\hat x_0$，
#
# $$\mathbb E[(x_0-\hat x_0)^2\mid x_t] = \mathrm{Var}(x_0\mid x_t) + (\mathbb E[x_0\mid x_t]-\hat x_0)^2,$$
#
# 前一项谁也消不掉，后一项在 $\hat x_0$ 是条件期望时恰好为 0。消不掉的那一份均方误差，叫剩余误差；开了方，叫剩余标准差。
#
# 图像的剩余误差没有算式，数据是高斯 $x_0\sim\mathcal N(m, s^2)$ 时有。记 $D=\mathrm{Var}(x_t) = \bar\alpha s^2 + 1-\bar\alpha$，那么
#
# $$\hat x_0 = m + k\,(x_t-\sqrt{\bar\alpha}\,m),\quad k=\frac{\sqrt{\bar\alpha}\,s^2}{D},$$
#
# $$\mathbb E(x_0-\hat x_0)^2 = \frac{s^2(1-\bar\alpha)}{D},\quad \mathbb E(\varepsilon-\hat\varepsilon)^2 = \frac{\bar\alpha s^2}{D},\quad \mathbb E(v-\hat v)^2 = \frac{s^2}{D}.$$
#
# <details><summary>推导（第一遍可以不看）</summary>
#
# $x_t$ 的两项独立，所以 $\mathrm{Cov}(x_0, x_t) = \sqrt{\bar\alpha}\,s^2$，$k$ 是协方差比方差。这样剩余 $x_0-\hat x_0$ 与 $x_t$ 的协方差是 $\sqrt{\bar\alpha}\,s^2 - kD = 0$；联合高斯，不相关就独立，所以无论 $x_t$ 是多少，剩余的平均都等于 $\mathbb E[x_0]-\mathbb E[\hat x_0] = 0$，$\hat x_0$ 正是条件期望。$\hat x_0$ 只由 $x_t$ 算出，与剩余也不相关，于是
#
# $$\mathbb E(x_0-\hat x_0)^2 = \mathrm{Cov}(x_0-\hat x_0,\,x_0) = s^2-k\sqrt{\bar\alpha}\,s^2 = \frac{s^2(D-\bar\alpha s^2)}{D} = \frac{s^2(1-\bar\alpha)}{D}.$$
#
# 由 $\varepsilon = (x_t-\sqrt{\bar\alpha}\,x_0)/\sqrt{1-\bar\alpha}$，$\varepsilon$ 的均方误差是 $x_0$ 的乘以 $\bar\alpha/(1-\bar\alpha)$；由 $x_0 = \sqrt{\bar\alpha}\,x_t-\sqrt{1-\bar\alpha}\,v$，$v$ 的均方误差是 $x_0$ 的除以 $1-\bar\alpha$。
#
# </details>

# %%
s, bar = 0.5, mnist.alphas_cumprod.double()
D = bar * s**2 + 1 - bar
left = {"eps": bar * s**2 / D, "x0": s**2 * (1 - bar) / D, "v": s**2 / D}  # 剩余误差
curves_figure((range(1000), {name: value.sqrt() for name, value in left.items()} | {"加的误差 0.2": [0.2] * 1000},
               "步号 $t$", "剩余标准差", "linear", "log"))

# %% [markdown]
# 图：`eps` 在 $t$ 大时趋于 0，`x0` 在 $t$ 小时趋于 0。灰色点划线是第 2 节加的 0.2，它在右端是 `eps` 的八千倍，在左端是 `x0` 的三十倍。数据是 $\mathcal N(m, 0.5^2)$。
#
# 曲线趋于 0 的两处，正是第 4 节倍数最大的两处。这不是巧合：完美的网络，猜哪一种都换算成同一个 $\hat x_0$，所以剩余标准差乘上倍数，三种恰好相等。
# 假如三种网络的误差都是各自剩余标准差的同一个倍数，传到 $x_s$ 就一样大。第 2 节的差别，来自**剩余标准差趋于 0 的地方，误差不跟着趋于 0**。
#
# 真的网络呢？在第 1 章的月牙上，每种目标训练八个网络（`cosine`，走 50 步，不截断）。月牙的条件期望算得出来，所以量得出网络的输出离它多远（均方根）：
#
# | 目标 | $t=0$：网络的误差 | 剩余标准差 | $t=999$：网络的误差 | 剩余标准差 |
# |:--|--:|--:|--:|--:|
# | `eps` | 0.198 ± 0.002 | 1.00 | **0.062 ± 0.001** | **0.00005** |
# | `x0` | **0.071 ± 0.002** | **0.0064** | 0.070 ± 0.003 | 1.01 |
# | `v` | 0.127 ± 0.003 | 1.00 | 0.063 ± 0.003 | 1.01 |
#
# 真的网络没有跟着趋于 0：`eps` 在第一步错了剩余标准差的一千二百多倍，`x0` 在收尾错了十一倍。它们造出来的点怎样？
#
# | 目标 | 造错 | 漏掉 |
# |:--|--:|--:|
# | `eps` | 99.6% ± 0.1% | 94.6% ± 0.7% |
# | `x0` | 3.7% ± 0.2% | 20.1% ± 0.8% |
# | `v` | 4.2% ± 0.1% | 1.1% ± 0.1% |
#
# 造错与漏掉的定义同第 1 章，只是 4000 个点一起量，漏掉的比例不能与那里的比。两张表都由 `python -m benchmarks.targets moons` 量出。`eps` 在第一步错 0.062，乘 631 约是 39，月牙的标准差才是 1，所以什么也没有造出来。`x0` 漏掉两成，病在哪几步，小实验来查。三种里只有 `v`，造错与漏掉都低。

# %% [markdown]
# ## 6　代码里的三种目标
#
# 三种目标的差别收进三个小类，每个回答同样的三个问题：训练目标是什么（`target`），输出怎样换成 $\hat x_0$（`to_x_start`），误差的平方换到 $x_0$ 上乘几倍（`weight_over_x0`，第 6 章算权重用）。

# %%
show_source(EpsObjective, "class ")

# %% [markdown]
# - ① 目标是噪声；换成 $\hat x_0$ 要除以 $\sqrt{\bar\alpha_t}$，误差的平方要除以 $\bar\alpha_t/(1-\bar\alpha_t)$，也就是信噪比。

# %%
show_source(X0Objective, "class ")

# %% [markdown]
# - ① 目标是原图，输出本身就是 $\hat x_0$，倍数是 1。

# %%
show_source(VObjective, "class ")

# %% [markdown]
# - ① 目标由 `get_v` 造出；由 $x_0-\hat x_0 = -\sqrt{1-\bar\alpha_t}\,(v-\hat v)$，倍数是 $1-\bar\alpha_t$。
#
# 用哪一类，由参数 `parameterization` 定。三种目标换成 $\hat x_0$，得到的都是原图：

# %%
card("parameterization")
t = torch.arange(64) * 15
x_t = diffusion.q_sample(x_start, t, noise)
for target in ("eps", "x0", "v"):
    objective = GaussianDiffusion(parameterization=target).objective
    output = objective.target(diffusion, x_start, noise, t)
    check(f"{target} 换成 x₀", objective.to_x_start(diffusion, x_t, t, output), x_start, atol=1e-12)

# %% [markdown]
# ## 7　五个换算函数的源码
#
# 公式都在第 3 节的表里，第一遍可以跳到小结。

# %%
show_source(GaussianDiffusion.predict_start_from_noise, "def ")

# %% [markdown]
# - ① 把加噪的公式解出 $x_0$；$\bar\alpha_t=0$ 时要除以 0，CPU 上报错，GPU 上得 NaN。

# %%
show_source(GaussianDiffusion.predict_noise_from_start, "def ")

# %% [markdown]
# - ① 同一个式子解出 $\varepsilon$。

# %%
show_source(GaussianDiffusion.predict_start_from_z_and_v, "def ")

# %% [markdown]
# - ① 把轴转回去，取第一行。

# %%
show_source(GaussianDiffusion.predict_eps_from_z_and_v, "def ")

# %% [markdown]
# - ① 把轴转回去，取第二行。

# %%
show_source(GaussianDiffusion.get_v, "def ")

# %% [markdown]
# - ① 旋转矩阵的第二行，训练时造目标用。

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：网络该猜 $\varepsilon$、$x_0$ 还是 $v$？
# - **答案**：三者可以互相换算，网络完美时没有分别。网络有误差时，走一步转过 $\delta$，`eps`、`x0`、`v` 的误差各乘 $\sin\delta/\cos\varphi_t$、$\sin\delta/\sin\varphi_t$、$\sin\delta$：`eps` 怕噪声最大的一步，`x0` 怕最后几步。
# - 论文的表走 50 步，`eps` 最坏 0.23 倍；`cosine` 的第一步是 631 倍，要么改猜 `v`，要么跳过这一步。随课程的模型都是 `cosine` 加 `v`。
# - 差别来自两头：那里剩余标准差趋于 0，网络的误差却不跟着趋于 0。月牙上的 `eps` 网络第一步只错 0.062，乘 631 就毁了。
# - 坐标轴转过 $\varphi_t$，点 $(x_0,\varepsilon)$ 的坐标就成了 $(x_t,v)$；换算都是这次旋转或它的逆。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 05.1　由 ε 换成 v ★
#
# 已知 $x_t$ 与 $\varepsilon$，不知道 $x_0$，求 $v$。`bar` 是 $\bar\alpha_t$，已经能与 `x_t` 广播。

# %%
def v_from_eps(x_t, eps, bar):
    # 答案
    return (eps - (1 - bar).sqrt() * x_t) / bar.sqrt()
    # 答案完


grade("05.1", v_from_eps)

# %% [markdown]
# ### 05.2　两步并作一步 ★★
#
# 老师走了两步不掺噪声的采样，从 $x_t$ 走到 $x_s$。要教学生一步就走到：学生在 $x_t$ 处该猜怎样的 $v$，才会恰好落在同一个 $x_s$ 上？
# `bar_t` 与 `bar_s` 是两处的 $\bar\alpha$，都是 Python 的浮点数，`bar_t < bar_s`；开平方写 `** 0.5`，三角函数用 `math.sin`、`math.acos` 等。

# %%
def merged_v(x_t, x_s, bar_t, bar_s):
    # 答案
    delta = math.acos(bar_t**0.5) - math.acos(bar_s**0.5)
    return (math.cos(delta) * x_t - x_s) / math.sin(delta)
    # 答案完


grade("05.2", merged_v)

# %% [markdown]
# ### 05.3　处处一样难的目标 ★★★
#
# 第 5 节的图里，三种目标的剩余误差都随 $t$ 变。能不能造一个目标，剩余误差对每个 $t$ 都是 1？
# 设数据是 $\mathcal N(0,s^2)$。先从 $x_0$ 里减去能由 $x_t$ 线性预测的部分 $k\,x_t$，再除以剩余的标准差：
#
# $$y = \frac{x_0-k\,x_t}{\sqrt{s^2(1-\bar\alpha_t)/D}}.$$
#
# 由 $x_0$ 与 $\varepsilon$ 算出 $y$。`bar` 是 $\bar\alpha_t$，能与 `x_start` 广播；`s` 是数。$k$ 与 $D$ 见第 5 节。做对之后想一想：$s=1$ 时，$y$ 与 $v$ 是什么关系？

# %%
def unit_target(x_start, noise, bar, s):
    # 答案
    x_t = bar.sqrt() * x_start + (1 - bar).sqrt() * noise
    D = bar * s**2 + 1 - bar
    k = bar.sqrt() * s**2 / D
    return (x_start - k * x_t) / (s * ((1 - bar) / D).sqrt())
    # 答案完


grade("05.3", unit_target)

# %% [markdown]
# ### 05.4　第一步要猜得多准 ★
#
# `cosine` 走 50 步，第一步从 $t=999$ 起。`v` 的网络在这一步错 0.2，$x_s$ 错得很少。`eps` 的网络在这一步至多错多少，$x_s$ 才错得一样少？$\bar\alpha_{999}$ 是 `levels(cosine, even)[0]`。

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

# %% [markdown]
# ### 小实验　换掉几步才够
#
# 改一处，量一量，写三句话。第 5 节的表里，`eps` 的网络什么也没有造出来，`x0` 的网络漏掉两成的月牙。第 4 节说病在第一步与最后几步，只换掉这几步，够不够？
#
# 下面的程序训练三个网络（每个十秒左右），走 50 步，每一步用哪个网络由 `pick` 定。
#
# 先猜两件事。跳过第一步，直接把噪声当作 $x_{979}$ 起步，`eps` 的网络造错几成？前面用 `x0`，最后 `count` 步换成 `v`，`count` 要到几，漏掉才降到 `v` 全程的 1%？那时造错是多了还是少了？再把两个网络对调：前面用 `v`，最后几步换成 `x0`，会怎样？
#
# ```python
# from ddpm_edu import DDPM
# from ddpm_edu.sampling import ddim_step
# from ddpm_edu.teach.moons import misses, moons
# from ddpm_edu.teach.training import descend
#
# data, real = moons(4000, seed=0)[0], moons(4000, seed=1)[0]
#
#
# def learn(target, seed=0):
#     torch.manual_seed(seed)
#     model = DDPM({"target": "ddpm_edu.teach.moons.MoonDenoiser"}, image_size=1, channels=2, use_ema=False,
#                  parameterization=target, beta_schedule="cosine")
#     # descend：最短的训练循环，一千步
#     return descend(model, lambda: model.p_losses(data[torch.randint(len(data), (512,))][..., None, None], torch.randint(1000, (512,)))[0])
#
#
# @torch.no_grad()
# def travel(pick, times=even, seed=0):
#     """pick(步号) → 这一步用哪个网络；造出 4000 个点，返回造错与漏掉的比例"""
#     x = torch.randn(4000, 2, 1, 1, generator=torch.Generator().manual_seed(seed))
#     bars = [*pick(0).alphas_cumprod[times].tolist(), 1.0]
#     for i, step in enumerate(times):
#         a, b, _ = ddim_step(bars[i], bars[i + 1])  # x_s = a·x_0 + b·x_t
#         x = a * pick(step).predict_start(x, torch.full((4000,), step), clip_denoised=False) + b * x
#     return misses(x.flatten(1), real)
#
#
# nets = {target: learn(target) for target in ("eps", "x0", "v")}
# count = 1  # 改这一处：最后几步换网络
# print("eps，从头走、跳过第一步", travel(lambda step: nets["eps"]), travel(lambda step: nets["eps"], even[1:]))
# print("x0，最后换成 v", travel(lambda step: nets["v" if step in even[50 - count:] else "x0"]))
# print("v，最后换成 x0", travel(lambda step: nets["x0" if step in even[50 - count:] else "v"]))
# ```
#
# <!-- 参考答案 -->
# **参考答案**　± 是八个种子的标准误。
#
# | 一路上用的网络 | 造错 | 漏掉 |
# |:--|--:|--:|
# | `eps`，从头走 | 99.6% ± 0.1% | 94.6% ± 0.7% |
# | `eps`，跳过第一步 | 4.7% ± 0.2% | 2.4% ± 0.1% |
# | `x0`，不换 | 3.7% ± 0.2% | 20.1% ± 0.8% |
# | `x0`，末一步换成 `v` | 4.8% ± 0.1% | 7.0% ± 0.2% |
# | `x0`，末两步换成 `v` | 5.8% ± 0.1% | 2.5% ± 0.1% |
# | `x0`，末三步换成 `v` | 6.5% ± 0.1% | 1.50% ± 0.04% |
# | `x0`，末五步换成 `v` | 6.7% ± 0.1% | 0.92% ± 0.03% |
# | `x0`，末十步换成 `v` | 5.4% ± 0.1% | 0.90% ± 0.05% |
# | `v`，不换 | 4.2% ± 0.1% | 1.1% ± 0.1% |
# | `v`，末一步换成 `x0` | 2.9% ± 0.1% | 11.5% ± 0.6% |
# | `v`，末两步换成 `x0` | 2.5% ± 0.1% | 17.5% ± 0.8% |
# | `v`，末三步换成 `x0` | 2.3% ± 0.1% | 19.0% ± 0.8% |
# | `v`，末五步换成 `x0` | 2.4% ± 0.1% | 19.9% ± 0.9% |
# | `v`，末十步换成 `x0` | 3.0% ± 0.1% | 20.1% ± 0.8% |
#
# 1. `eps` 的病几乎全在第一步：跳过它，造错从 99.6% 降到 4.7%，与 `v` 的 4.2% 差不多，网络一点也没有重练。
# 2. `x0` 的漏掉出在收尾：只换最后一步，就从 20.1% 降到 7.0%，换三步剩 1.5%，换五步与 `v` 全程一样。造错却从 3.7% 升到 6.7%，比 `v` 全程的 4.2% 还多。第 4 节算出的倍数从最后一步往前是 1、0.85、0.44，也是最后两三步最大。
# 3. 好网络也会被一步连累：`v` 走完 49 步，只把最后一步交给 `x0`，漏掉就从 1.1% 升到 11.5%。造错却从 4.2% 降到 2.9%：收尾用 `x0`，造错少一些，漏得多得多，所以两个数要一起看。
#
# ```python
# rows = []
# for seed in range(8):
#     nets = {target: learn(target, seed) for target in ("eps", "x0", "v")}
#     row = []
#     for net in nets.values():
#         row += travel(lambda step: net, seed=seed)
#     row += travel(lambda step: nets["eps"], even[1:], seed)
#     for count in (1, 2, 3, 5, 10):
#         for early, late in (("x0", "v"), ("v", "x0")):
#             row += travel(lambda step: nets[late if step in even[50 - count:] else early], seed=seed)
#     rows.append(row)
# rows = torch.tensor(rows)
# for mean, spread in zip(rows.mean(0), rows.std(0) / 8**0.5):
#     print(f"{mean:.4f} ± {spread:.4f}")
# ```
#
# <!-- 参考答案完 -->
