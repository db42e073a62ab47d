# %% [markdown]
# # 18 · 桥：DDPM 之后
#
# 同一个 `mnist` 网络，只许调用五次。用 DDIM 走，画出来的图的 Fréchet 距离是 145 ± 7（越小越好，± 是标准误）；换成 2022 年的 DPM-Solver++，停的步号也换成课程给它配的，是 83 ± 5。权重没有动，变的只是走法。
#
# 这一章只问一件事：**后来的方法换掉了 DDPM 的什么，留下了什么？**
#
# **学习目标**
#
# - 把 $\hat x_0$、$\hat\varepsilon$、$\hat v$ 换成得分，说清随机的走法与确定的走法为什么殊途同归。
# - 会量一个采样器的阶，说得出换走法能省几成调用。
# - 认出 EDM 的预条件、min-SNR 的权重、零终端信噪比各换的是哪一样。
# - 用二十行训练一个流匹配，并说清它与猜 $v$ 的网络是什么关系。
#
# **预计用时** 正文 55 分钟，可分两次读（1–3 节，4–8 节），练习另计。运行全部单元约 40 秒。

# %%
import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from ddpm_edu import DDPM, GaussianDiffusion, make_beta_schedule
from ddpm_edu.objectives import make_objective, simple_weights
from ddpm_edu.sampling import ancestral_step, ddim_step
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.solvers import dpmpp, heun, velocity
from ddpm_edu.teach import card, check, check_raises, show_source
from ddpm_edu.teach.bridge_figures import arrows_figure, bends_figure, calls_figure, changes_figure, contour_points, gray_figure
from ddpm_edu.teach.bridge_figures import noise_figure, orders_figure, road_figure, walks_figure, weights_figure
from ddpm_edu.teach.brightness import fit_brightness, flat
from ddpm_edu.teach.laboratory import gaussian_ddpm, ideal_start, sampled_end
from ddpm_edu.teach.moons import MoonDenoiser, misses, moons
from ddpm_edu.teach.training import descend

cosine, linear = (alphas_cumprod(make_beta_schedule(name, 1000))[0] for name in ("cosine", "linear"))
data, real = moons(4000, seed=0)[0], moons(4000, seed=1)[0]
changes_figure()

# %% [markdown]
# 图：后来换掉的有四处，用橙字写在采样的链上。蓝框里要猜的东西，第 1–7 节的各家都一样。
#
# ## 1　得分：网络猜的到底是什么
#
# 读 DDPM 之后的论文，最先遇到的词是第 1 章的得分 (score)：带噪图 $x_t$ 有密度 $q(x_t)$，得分是它的对数的梯度 $\nabla\ln q(x_t)$，指着密度升得最快的方向。可是网络猜的是原图，不是密度。两者有什么关系？
#
# 给六百个月牙上的点加噪，画出密度的等高线。再在等高线上取一些点当作 $x_t$，从每一个画一支箭头，指向 $\sqrt{\bar\alpha_t}\,\hat x_0$，其中 $\hat x_0=\mathbb E[x_0\mid x_t]$ 是最好的猜测。**先猜**：箭头与等高线成什么角？

# %%
points, bar = data[:600].double(), float(cosine[200])
noise = torch.randn(points.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
x_t = bar**0.5 * points + (1 - bar) ** 0.5 * noise


def log_density(x):
    """ln q(x_t)，差一个常数：每个点加噪成 x_t 的密度加起来，取对数"""
    return (-torch.cdist(x, bar**0.5 * points).square() / (2 * (1 - bar))).logsumexp(1)


axis = torch.linspace(-2.6, 2.6, 80).double()
density = log_density(torch.cartesian_prod(axis, axis)).reshape(80, 80)
at = torch.from_numpy(contour_points(axis, density))
arrows_figure(axis, density, x_t, at, bar**0.5 * ideal_start(at, points, bar) - at)

# %% [markdown]
# 图：照最好的猜测画的箭头，在箭尾处垂直于密度的等高线。蓝点是加噪到 $t=200$ 的六百个点，底色越深 $q(x_t)$ 越大，细线是等高线；箭头只画一半长。
#
# 箭头只由猜测算出，指的却是密度升得最快的方向：**猜原图，就是在指密度往哪边升**。采样并不因此都爬到坡顶：第 2 节会看到，走出来的点仍照 $q(x_t)$ 分布。
#
# 为什么？$q(x_t)$ 是许多高斯 $q(x_t\mid x_0)$ 的平均，每个 $x_0$ 一个。所以
#
# $$\nabla\ln q(x_t)=\frac{\nabla q(x_t)}{q(x_t)}=\sum_{x_0}\frac{q(x_0)\,q(x_t\mid x_0)}{q(x_t)}\,\nabla\ln q(x_t\mid x_0).$$
#
# 照贝叶斯公式，分式就是 $q(x_0\mid x_t)$，所以右边是已知 $x_t$ 时的平均。一个高斯的得分是 $-(x_t-\sqrt{\bar\alpha_t}\,x_0)/(1-\bar\alpha_t)$，取平均只要把 $x_0$ 换成 $\hat x_0$。这就是 Tweedie 公式：
#
# $$\nabla\ln q(x_t)=\frac{\sqrt{\bar\alpha_t}\,\hat x_0-x_t}{1-\bar\alpha_t}=-\frac{\hat\varepsilon}{\sqrt{1-\bar\alpha_t}}.$$
#
# 分子正是图里的箭头。用差分求得分，核对这个式子。

# %%
slope = torch.stack([(log_density(x_t + h) - log_density(x_t - h)) / 2e-5 for h in 1e-5 * torch.eye(2).double()], 1)
check("由 x0_hat 换成的得分", (bar**0.5 * ideal_start(x_t, points, bar) - x_t) / (1 - bar), slope, atol=1e-5)

# %% [markdown]
# 猜 $v$ 的网络也换得出得分：把 $\hat v=(\sqrt{\bar\alpha_t}\,x_t-\hat x_0)/\sqrt{1-\bar\alpha_t}$ 里的 $\hat x_0$ 用上式换掉，
#
# $$\hat v=-\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}\,\big(x_t+\nabla\ln q(x_t)\big).$$
#
# **记住**：猜 $x_0$、$\varepsilon$、$v$ 或得分，学的是同一样东西，输出配上 $x_t$ 就能互相换算。
#
# ## 2　概率流：不掺噪声，每一刻的分布为什么还一样
#
# 祖先采样每步掺噪声，DDIM 不掺，画出来的分布为什么一样？
#
# 取一份只有两个值的数据：$-1$ 占三分之一，$+1$ 占三分之二。用最好的猜测，从同一批点出发，两种走法各走两百步。横轴是第 5 章的角度 $\varphi=\arccos\sqrt{\bar\alpha}$，90° 是纯噪声，0° 是数据。**先猜**：走到 33° 时，两种走法的直方图会差多少？

# %%
values, angle = torch.tensor([[-1.0], [1.0], [1.0]]).double(), torch.linspace(1.55, 0.05, 201).double()


def walk(step, count=10_000):
    generator = torch.Generator().manual_seed(0)
    first = values[torch.randint(3, (count,), generator=generator)]
    path = [angle[0].cos() * first + angle[0].sin() * torch.randn(count, 1, dtype=torch.float64, generator=generator)]
    for here, there in pairwise(angle.cos().square().tolist()):
        a, b, sigma = step(here, there)
        x = a * ideal_start(path[-1], values, here) + b * path[-1]
        path.append(x + sigma * torch.randn(x.shape, dtype=torch.float64, generator=generator) if sigma else x)
    return torch.stack(path)[..., 0]


walks = {"祖先采样": walk(ancestral_step), "DDIM": walk(ddim_step)}
walks_figure(angle.rad2deg().tolist(), {name: path.numpy() for name, path in walks.items()}, place=130)

# %% [markdown]
# 图：路不同，分布相同。左两格各画八条路，从左往右走；右格是一万个点走到虚线处的分布，横着画，灰底是照公式算的 $q(x_t)$。
#
# **为什么**？分三步说。
#
# 第一步，挪动。一群点各以自己的速度挪，从一处流走多少，那里的密度就降多少，这是连续性方程：
#
# $$\frac{\partial q}{\partial t}=-\nabla\cdot(q\cdot\text{速度}).$$
#
# 第二步，掺噪声。掺进方差为 $\beta$ 的高斯噪声，密度的高处降、低处升，变化率是 $\frac\beta2\nabla\cdot\nabla q$，这是热方程。因为 $\nabla q=q\,\nabla\ln q$，它可以写成第一步的样子：
#
# $$\frac\beta2\nabla\cdot\nabla q=-\nabla\cdot\Big(q\cdot\big(-\frac\beta2\nabla\ln q\big)\Big).$$
#
# 所以掺噪声等于照速度 $-\frac\beta2\nabla\ln q$ 挪动：看一个点很不同，看一群点没有分别。
#
# 第三步，合起来。加噪的一步先把 $x$ 缩小 $\frac\beta2x$，再掺噪声。把掺噪声换成挪动，总的速度是 $-\frac\beta2(x+\nabla\ln q)$。照这个速度走的方程叫概率流 (probability flow)，Y. Song 等 2021 提出。倒着走它，途中的分布仍是那一族 $q(x_t)$；同一时刻、同一处只有一个速度，所以它的路不相交。
#
# 祖先采样呢？倒着走，概率流的速度变号，是 $\frac\beta2(x+\nabla\ln q)$。它再多挪一份 $\frac\beta2\nabla\ln q$，又掺方差为 $\beta$ 的噪声；照第二步，这噪声等于挪 $-\frac\beta2\nabla\ln q$，恰好抵消多挪的那份。所以每一刻的分布仍是 $q(x_t)$。
#
# 怎么知道它多挪了一份？用 Tweedie 公式换掉后验均值里的 $\hat x_0$，得 $(x+\beta\nabla\ln q)/\sqrt{1-\beta}$。$\beta$ 小时，它约是 $x+\frac\beta2(x+\nabla\ln q)+\frac\beta2\nabla\ln q$，后验的方差也约是 $\beta$。
#
# **DDIM 走的正是概率流。** 换成以角度为时间。由 $\bar\alpha=\cos^2\varphi$ 得 $\frac{\mathrm d\varphi}{\mathrm dt}=\frac\beta2\cdot\frac{\cos\varphi}{\sin\varphi}$，上面的速度除以它，再用第 1 节末的式子，得
#
# $$\frac{\mathrm dx}{\mathrm d\varphi}=-\frac{\sin\varphi}{\cos\varphi}\,(x+\nabla\ln q)=\hat v.$$
#
# DDIM 在一步里当两个猜测不变，$x=\cos\varphi\,\hat x_0+\sin\varphi\,\hat\varepsilon$，对 $\varphi$ 求导也是 $\hat v$。所以步子够小时，两者是同一条路。
#
# **记住**：采样有两种走法：解 $\frac{\mathrm dx}{\mathrm d\varphi}=\hat v$，或每步多朝得分挪一份、再掺相配的噪声。步子够小、猜得准时，途中的分布相同。
#
# ## 3　换走法：同一个网络，少调用几次
#
# 既然不掺噪声的走法是解方程，解微分方程的老办法都可以拿来。一阶的，步数加倍，误差减半；二阶的减到四分之一，代价是每步要用两次猜测。第二次从哪里来？
#
# | 走法 | 第二次猜测 | 每步调用网络 |
# |:--|:--|:-:|
# | DDIM | 没有 | 1 次 |
# | Heun | 走到了再猜一次，两处的速度取平均，从起点重走 | 2 次 |
# | DPM-Solver++ | 记着上一步的，照它与这一次的差往前推半步 | 1 次 |
#
# 还有一样可以换：停在哪些 $t$，叫取步。`linspace` 从 $T-1$ 均匀地停到 0，末一次停在几乎没有噪声的地方；`trailing` 把一千步等分成段，停在各段噪声最大的一端。课程里 DDIM 默认用前一种，另两种默认用后一种。
#
# 先量阶：数据取高斯，最好的猜测与步子无穷小时的终点都写得出公式，走完一比就知道误差。

# %%
lab, counts, curves = gaussian_ddpm(make_beta_schedule("cosine", 1000), 0.3, 0.5, parameterization="v"), (10, 20, 40, 80, 160, 320), {}
z = torch.tensor([-2.0, -0.5, 1.0, 2.0]).double().reshape(4, 1, 1, 1)
truth = sampled_end(z, cosine, 0.3, 0.5)  # 步子无穷小时，四个起点走到哪里
for name, sampler, calls in (("DDIM", "ddim", 1), ("DPM-Solver++", "dpmpp", 1), ("Heun", "heun", 2)):
    for spacing in ("linspace", "trailing"):
        ends = [lab.p_sample_loop(z.shape, sampler=sampler, steps=n, spacing=spacing, x_T=z, progress=False) for n in counts]
        errors = [float((end - truth).abs().max()) for end in ends]
        curves[name, spacing] = [calls * (n - 1) + 1 for n in counts], errors  # 末一步只调用一次
orders_figure(curves)

# %% [markdown]
# 图：取步用 `linspace` 时，DDIM 是一阶的，另两种是二阶的；用 `trailing` 就不都是。纵轴是四个起点里最大的误差，两轴都是对数，所以一阶的斜率（由末三点算）是 $-1$，二阶的是 $-2$。
#
# 步数少时谁好，还要看取步。走 10 步，用 `linspace`，DPM-Solver++ 的误差是 0.288，不如 DDIM 的 0.158；用 `trailing`，前者降到 0.049，后者只到 0.146。Heun 换成 `trailing` 却更差，也不再照 $-2$ 的斜率降。真的网络要另外量。
#
# **先猜**：从默认的 DDIM 换成默认的 DPM-Solver++，能省几成调用？

# %%
calls_figure((5, 10, 20, 50), {  # python -m benchmarks.solvers mnist ddim ddim:trailing dpmpp heun
    "DDIM，linspace": [(145.1, 6.5), (73.5, 4.3), (58.4, 3.5), (53.6, 3.2)],
    "DDIM，trailing": [(113.2, 5.8), (67.5, 4.0)],
    "DPM-Solver++，trailing": [(83.2, 5.1), (55.2, 3.3), (50.9, 3.0), (50.3, 2.9)],
    "Heun，trailing": [(93.4, 6.1), (57.0, 3.7), (47.2, 2.8), (48.8, 2.8)],
}, real=(38.9, 3.5))

# %% [markdown]
# 图：调用次数相同，二阶的两种（橙、绿）的距离比 DDIM（蓝）小。Heun 每步调用两次，所以写“至多”。`mnist` 各画 400 张，误差棒是八个种子的标准误，灰带是 400 张真图。
#
# DPM-Solver++ 走 20 次，比 DDIM 走 50 次还低 2.7 ± 0.2（同样的起点，逐个种子相减），调用省五分之三。
#
# 取步与每步的走法各有功劳：从实心的蓝点到空心的，只换了取步；从空心的到橙色的，只换了每步的走法。5 次时，两样约各占一半；20 次与 50 次没有量空心的，分不开。
#
# **记住**：要少调用几次网络，先换走法：每步怎样走，停在哪里。网络不用重练。
#
# ## 4　EDM：换了坐标，还是同一个 $v$
#
# EDM（Karras 等 2022）的公式看上去与 DDPM 全不相同。带噪图写成 $y=x_0+\sigma\,\varepsilon$，网络 $F$ 的输入与输出各乘一个随 $\sigma$ 变的系数，再加上一份带噪图，叫预条件 (preconditioning)：
#
# $$\hat x_0=c_{\text{skip}}\,y+c_{\text{out}}\,F(c_{\text{in}}\,y).$$
#
# 它学的是别的东西吗？换成我们的坐标就看得出：$y=x_t/\sqrt{\bar\alpha_t}$，$\sigma=\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$。先把数据缩放到标准差 1，再代进三个系数：
#
# | 系数 | EDM 的写法 | 代入以后 |
# |:--|:-:|:-:|
# | $c_{\text{skip}}$ | $1/(\sigma^2+1)$ | $\bar\alpha_t$ |
# | $c_{\text{out}}$ | $\sigma/\sqrt{\sigma^2+1}$ | $\sqrt{1-\bar\alpha_t}$ |
# | $c_{\text{in}}$ | $1/\sqrt{\sigma^2+1}$ | $\sqrt{\bar\alpha_t}$ |
#
# 于是 $F$ 看的 $c_{\text{in}}\,y$ 就是 $x_t$，而 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t+\sqrt{1-\bar\alpha_t}\,F$。第 5 章的式子是 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,\hat v$，一比就知道 $F=-\hat v$。
#
# 要学的没有换；$F$ 的平方误差不另加权，也与猜 $v$ 的一样。换的是训练时**看哪些噪声**。DDPM 均匀地抽 $t$，所以抽到哪个 $\sigma$ 由噪声表定；EDM 不用噪声表，直接规定 $\ln\sigma$ 服从一个高斯。

# %%
ln_sigma = np.linspace(-6, 8, 701)
tables = {name: 0.5 * np.log((1 - bars) / bars) for name, bars in (("linear", linear), ("cosine", cosine))}
shares = {name: np.interp(ln_sigma, values, 1 / (1000 * np.gradient(values)), 0, 0) for name, values in tables.items()}
shares["EDM"] = np.exp(-((ln_sigma + 1.2) ** 2) / (2 * 1.2**2)) / (1.2 * math.sqrt(2 * math.pi))
noise_figure(ln_sigma, shares, end=tables["linear"][-1])

# %% [markdown]
# 图：EDM 抽得最多的是小噪声，它的峰在最左边。横轴照 $\ln\sigma$ 排，写着 $\sigma$，像素在 $-1$ 到 1 之间；缩放到标准差 1，三条一起右移，形状不变。`linear` 在 $\sigma=37$ 处断了，再大的噪声它抽不到，后果见第 6 节。
#
# **记住**：把数据缩放到标准差 1，EDM 的网络就是猜 $v$ 的网络。它换掉的是坐标、训练看哪些噪声，还有走法：它用 Heun。
#
# ## 5　min-SNR：错在哪里更要紧
#
# 三种目标的简化损失，都是 $x_0$ 的平方误差乘一个权重（第 6 章）：`x0` 是 1，`eps` 是 $\mathrm{SNR}$，`v` 是 $\mathrm{SNR}+1$。$t$ 小时信噪比大到几万。Hang 等 2023 认为这样太悬殊，改成 $\min(\mathrm{SNR}_t,\gamma)$，$\gamma$ 取 5，叫 min-SNR。

# %%
snr = cosine / (1 - cosine)
weights = {name: 1 / np.broadcast_to(make_objective(name).weight_over_x0(cosine), 1000) for name in ("eps", "x0", "v")}
weights_figure(weights, np.minimum(snr, 5))

# %% [markdown]
# 图：min-SNR（灰色的宽线）左边平在 5，右边随 `eps` 一起掉下去。噪声表是 `cosine`，纵轴是对数；`eps` 与 `v` 在左边重合。
#
# 左边，它压低 `eps` 与 `v`，把 `x0` 从 1 抬到 5；右边，它把 `x0` 与 `v` 压到远小于 1（$t=900$ 时是 0.024）。这样有好处吗？拿第 5 章的月牙网络来量：造错的点附近没有真点，漏掉的真点附近没有造出来的点。各练一千步，八个种子，DDIM 走 50 步；`eps` 跳过第一步，因为它从头走什么也造不出来（第 5 章）。
#
# | 目标 | 造错：不加权 | 造错：$\gamma=5$ | 漏掉：不加权 | 漏掉：$\gamma=5$ |
# |:--|--:|--:|--:|--:|
# | `eps` | 4.7% ± 0.2% | 8.1% ± 0.2% | 2.4% ± 0.1% | 1.9% ± 0.2% |
# | `v` | 4.2% ± 0.1% | 5.5% ± 0.2% | 1.1% ± 0.1% | 1.2% ± 0.1% |
# | `x0` | 3.7% ± 0.2% | 1.6% ± 0.1% | 20.1% ± 0.8% | 15.9% ± 0.4% |
#
# **记住**：换权重有好有坏，先量再用。在月牙上，`x0` 造错少了，`eps`、`v` 造错多了；论文在大得多的数据上，量到它练得更快。
#
# ## 6　零终端信噪比：图为什么发灰
#
# `linear` 走到头，$\sqrt{\bar\alpha}$ 还有 2.7%，终点的 $x_T$ 里留着一点原图；采样却从纯噪声出发。Lin 等 2024 说，起点对不上，造出来的图就都是中等亮度。大图上这一点就要紧：128×128 的平图，终点的亮度的方差里，原图占 80%（第 3 章的 $f$）。
#
# 他们的办法是把表平移再伸缩，
#
# $$\sqrt{\bar\alpha_t}\leftarrow a\,\big(\sqrt{\bar\alpha_t}-\sqrt{\bar\alpha_{T-1}}\big),$$
#
# $a$ 使第一步不变，终点恰好是 0，叫零终端信噪比 (zero terminal SNR)。终点没有了原图，由 $\varepsilon$ 换不回 $x_0$，所以只能猜 `x0` 或 `v`。
#
# 试一试。数据就是这样的平图，亮度在 $-1$ 到 $1$ 之间均匀。平图只有一个数要猜，所以程序里只存像素之和除以 128，这样噪声的标准差仍是 1。小网络看它，猜 $x_0$。没改的表走两次，一次从纯噪声出发，一次从真的 $x_{T-1}$ 出发，看错是不是出在起点；再用改过的表走一次。**先猜**：没改的表，造得出黑图与白图吗？

# %%
nets, generator = {zero: fit_brightness(zero) for zero in (False, True)}, torch.Generator().manual_seed(0)
x_T = torch.randn(2000, 1, 1, 1, generator=generator)
honest = nets[False].q_sample(flat(2000, generator), torch.full((2000,), 999), x_T)
rows = {"真的": flat(2000, generator).flatten() / 128}
for name, zero, begin in (("没改", False, x_T), ("没改，真的起点", False, honest), ("终点改成 0", True, x_T)):
    rows[name] = nets[zero].sample(2000, sampler="ddim", steps=50, spacing="trailing", x_T=begin, progress=False).flatten() / 128
gray_figure(rows)

# %% [markdown]
# 图：没改的表几乎造不出最暗与最亮的图。每行取四十张平图，由暗到亮排开；右边是两千张的亮度的分布。
#
# 图是一个种子。八个种子平均，真的标准差是 0.577，没改的只有 0.264 ± 0.002。只换成真的起点，就回到 0.568 ± 0.003，所以主要错在起点。可是采样时拿不到真的起点，只好改表：改过的是 0.543 ± 0.009。
#
# 标准差回来了，形状还没有：改过的有 62.2% ± 0.8% 在 ±0.5 之内（真的是 50%），6.0% ± 0.5% 越过 ±1（真的是 0）。
#
# **记住**：采样的起点要与训练时加噪的终点对得上。图越大，差一点越要紧。
#
# ## 7　流匹配：把弧拉直
#
# 第 5 章里，$x_\varphi=\cos\varphi\,x_0+\sin\varphi\,\varepsilon$，从 $x_0$ 到 $\varepsilon$ 走的是一段弧。为什么非是弧不可？流匹配 (flow matching) 走直线（Lipman 等 2023），整流流 (rectified flow) 也是（Liu 等 2023）：$x_u=(1-u)\,x_0+u\,\varepsilon$，$u$ 从 0 到 1，网络猜路上的速度 $\varepsilon-x_0$。它与猜 $v$ 的网络是什么关系？

# %%
road_figure((1.8, 0.5), (0.6, 2.1))

# %% [markdown]
# 图：同一个方向上，弧与直路各有一点，只差长度。每条点线是一个方向。
#
# 令 $r=\sqrt{(1-u)^2+u^2}$，$\cos\varphi=(1-u)/r$，$\sin\varphi=u/r$，就有 $x_u=r\,x_\varphi$。对 $u$ 求导，$r'=(2u-1)/r$，$\varphi'=1/r^2$，弧上的速度 $\hat v$ 就换成直路上的速度：
#
# $$\frac{\mathrm dx_u}{\mathrm du}=r'\,x_\varphi+r\,\varphi'\,\hat v=\frac{(2u-1)\,x_\varphi+\hat v}{r}.$$
#
# 所以**猜 $v$ 的网络不用重练，就能当流匹配的网络用**。两条路上的采样也是一回事：在直路上照速度 $\hat\varepsilon-\hat x_0$ 走一步，
#
# $$x_u+(s-u)(\hat\varepsilon-\hat x_0)=(1-s)\,\hat x_0+s\,\hat\varepsilon,$$
#
# 与 DDIM 一样，是把两份猜测换一个配比。下面用最好的猜测，从六个起点各沿两条路走一遍。

# %%
def as_flow(x_u, u, v_of):
    """猜 v 的函数 v_of(x, ᾱ) → 直路上的速度"""
    r = math.hypot(1 - u, u)
    return ((2 * u - 1) * x_u / r + v_of(x_u / r, ((1 - u) / r) ** 2)) / r


road, around = torch.linspace(1, 0, 201).double().tolist(), torch.arange(6).double() * math.pi / 3 + 0.2
arc = 2 * torch.stack([around.cos(), around.sin()], 1)
paths, bars = [arc], [((1 - u) / math.hypot(1 - u, u)) ** 2 for u in road]
for (u, s), (here, there) in zip(pairwise(road), pairwise(bars)):
    paths.append(paths[-1] + (s - u) * as_flow(paths[-1], u, lambda x, bar: velocity(x, ideal_start(x, points, bar), bar)))
    a, b, _ = ddim_step(here, there)
    arc = a * ideal_start(arc, points, here) + b * arc
check("直路上的终点，与弧上 DDIM 的相同", paths[-1], arc, atol=1e-9)
bends_figure(points, torch.stack(paths))

# %% [markdown]
# 图：坐标拉直了，照猜测走出的路仍是弯的。绿线从空心的点走到实心的点，黑点线把首尾直接连起来；灰点是数据，橙叉是全体的均值。
#
# 既然每一对 $(x_0,\varepsilon)$ 之间是直的，路为什么弯？因为网络学到的是许多对的平均。噪声大时，最好的猜测接近全体的均值，路就先奔橙叉去；噪声小下来，猜测认出了自己那一处，路才折过去。所以只走一步，六个起点都会落在橙叉上。
#
# 从头练一个流匹配，会比猜 `v` 的好吗？`descend` 是第 5 章的训练循环。

# %%
def learn_flow(seed=0):
    torch.manual_seed(seed)
    network = MoonDenoiser()

    def loss_of():
        x_start = data[torch.randint(len(data), (512,))][..., None, None]
        noise, u = torch.randn_like(x_start), torch.rand(512)
        at = u[:, None, None, None]
        return F.mse_loss(network((1 - at) * x_start + at * noise, 1000 * u), noise - x_start)

    descend(network, loss_of)
    return lambda x, u: network(x, torch.full((len(x),), 1000 * u))


@torch.no_grad()
def travel(speed, road, seed=0):
    """speed(x, u) → 速度；沿 road 从 u=1 走到 0"""
    x = torch.randn(4000, 2, 1, 1, generator=torch.Generator().manual_seed(seed))
    for u, s in pairwise(road):
        x = x + (s - u) * speed(x, u)
    return x.flatten(1)


# %%
made = travel(learn_flow(), torch.linspace(1, 0, 11).tolist())
check("走 10 步，造错与漏掉都不到一成", max(misses(made, real)) < 0.1, True)

# %% [markdown]
# 与第 5 章猜 `v` 的网络比，同样的网络、同样练一千步，各走 10 步，八个种子：
#
# | | 造错 | 漏掉 |
# |:--|--:|--:|
# | 流匹配 | 6.8% ± 0.1% | 1.8% ± 0.1% |
# | 猜 `v`，DDIM，`trailing` | 5.2% ± 0.1% | 3.9% ± 0.2% |
#
# 流匹配漏得少，造错多。是训练的功劳，还是停在哪里的功劳，章末的小实验来查。
#
# **记住**：流匹配换的是坐标，连带换了训练时各种噪声抽几次、采样时停在哪里；猜的东西没有换。
#
# ## 8　再往前：一两步
#
# 路是弯的，一两步走不到。要一两步就出图，或者让网络学会跳到路的前头，或者先把路练直；三种都要训练。
#
# | 方法 | 让网络学什么 |
# |:--|:--|
# | 渐进蒸馏（Salimans 与 Ho 2022，习题 05.2） | 学生一步走老师的两步，反复减半 |
# | 一致性模型（Song 等 2023） | 同一条路上的每一点，猜出同一个终点 $x_0$ |
# | 再练一次整流流（Liu 等 2023） | 把走出来的路的首尾当作新的一对，再学一遍，路就更直 |
#
# ## 小结
#
# - **这一章的问题**：后来的方法换掉了 DDPM 的什么，留下了什么？
# - **留下的**是要学的东西：掺进高斯噪声，再由 $x_t$ 与噪声的大小猜原图，用平方误差训练。$\hat x_0$、$\hat\varepsilon$、$\hat v$、得分、$F$、直路的速度，只要 $0<\bar\alpha_t<1$，知道 $x_t$ 与其中一个，就换得出其余。
# - **换掉的**是四样：采样的走法，训练看哪些噪声，各种噪声的权重，写公式的坐标；第 8 节的几种，连要猜的也换了。换走法、换坐标来用，不用重练；换噪声、换权重，要重练。
#
# | 你想要什么 | 换哪一件 | 怎样写 | 重练吗 |
# |:--|:--|:--|:-:|
# | 少调用几次网络 | 走法 | `sample(sampler="dpmpp", steps=10)` | 不用 |
# | 造得出很暗与很亮的图 | 噪声表的终点 | `rescale_betas_zero_snr=True`，猜 `x0` 或 `v` | 要 |
# | 猜 `x0`，造错少一些 | 权重 | `snr_gamma=5.0` | 要 |
# | 用 EDM、流匹配的网络 | 坐标 | 一行换算（第 4、7 节，习题 18.2） | 不用 |
# | 一两步就出图 | 让网络直接猜尽头 | 蒸馏、一致性模型（第 8 节） | 要 |
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 18.1　由 v 换成得分 ★
#
# 已知 $x_t$ 与网络猜的 $\hat v$，求得分 $\nabla\ln q(x_t)$。`bar` 是 $\bar\alpha_t$，能与 `x_t` 广播，可能是 0。

# %%
def score(x_t, v, bar):
    # 答案
    return -x_t - (bar / (1 - bar)).sqrt() * v
    # 答案完


grade("18.1", score)

# %% [markdown]
# ### 18.2　由直路的速度换成 v ★★
#
# 反过来：手里是流匹配的网络，猜的是直路上的速度 `w`。要把它交给以角度为时间的采样器，求 $x_\varphi=x_u/r$ 处的 $\hat v$。`x_u`、`w` 形状相同，`u` 是 0 到 1 的浮点数。

# %%
def v_from_flow(x_u, w, u):
    # 答案
    r = math.hypot(1 - u, u)
    return r * w - (2 * u - 1) * x_u / r
    # 答案完


grade("18.2", v_from_flow)

# %% [markdown]
# ### 18.3　终点归零 ★★★
#
# `betas` 是 $(T,)$ 的张量。把 $\sqrt{\bar\alpha_t}$ 平移、伸缩，使第一步不变、末步是 0，返回新的 `betas`。

# %%
def zero_terminal(betas):
    # 答案
    root = torch.cumprod(1 - betas, 0).sqrt()
    bar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return 1 - bar / torch.cat([torch.ones_like(bar[:1]), bar[:-1]])
    # 答案完


grade("18.3", zero_terminal)

# %% [markdown]
# ### 18.4　从哪一步起不再截断 ★
#
# 第 5 节用 `cosine`。换成 `linear`（一千步，默认的两端），$\gamma=5$：信噪比第一次小于 5 的步号是几？这一章已有 `linear`，它就是那张表的 $\bar\alpha_t$。

# %%
grade("18.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 18.5　不许再练 ★★
#
# 手里只有一个用 `linear` 练好的、猜 $v$ 的网络，不许再训练。下面哪一件做不到？
#
# - A：用 DPM-Solver++ 只走十步。
# - B：换成直路上的速度，沿直路从 $u=0.97$（它的终点）走到 0。
# - C：使终点的信噪比为零，画得出很暗与很亮的图。
# - D：算出 $x_t$ 处的得分。

# %%
grade("18.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ## 附：两个采样器的源码，两个参数（第一遍可以不看）
#
# **Heun**（第 3 节）先照 DDIM 试走一步，再改准。

# %%
show_source(heun, "def heun", "return x - turn")

# %% [markdown]
# - ① `x_s` 是试走到的点；`levels` 里是到达处与出发处的 $\bar\alpha$，`turn` 是这一步转过的角。
# - ② `again()` 在 `x_s` 处再猜一次。两处的速度 $\hat v$ 取平均，从起点重走。
#
# **DPM-Solver++**（第 3 节）以 $\lambda=\frac12\ln\mathrm{SNR}$ 为时间。

# %%
show_source(dpmpp, "def dpmpp", "there, here, before", "ahead = (there")

# %% [markdown]
# - ① 只用手里现成的两次猜测；第一步没有上一次，就是 DDIM。
# - ② 到达处、出发处、上一步出发处的 $\lambda$。
# - ③ 猜测的变化率是 $(\hat x_0-\text{上一次的})/(\text{here}-\text{before})$，顺着它往前推半步，再照推过的猜测走一步 DDIM。
#
# **min-SNR 的权重**（第 5 节）只有两句。

# %%
show_source(simple_weights, "snr = alphas_cumprod /")

# %% [markdown]
# - ① 信噪比与 $\gamma$ 取小的，是 $x_0$ 误差的权重；再乘 `weight_over_x0`，换成网络所猜的那种误差的权重。

# %%
card("snr_gamma")
small = {"unet_config": {"target": "ddpm_edu.teach.moons.MoonDenoiser"}, "image_size": 1, "channels": 2, "use_ema": False, "beta_schedule": "cosine"}
model = DDPM(**small, parameterization="v", snr_gamma=5.0)
check("v 的权重", model.simple_weights, np.minimum(snr, 5) / (snr + 1), rtol=1e-5)

# %% [markdown]
# **终点归零**（第 6 节）只改噪声表；怎样算，是习题 18.3。

# %%
card("rescale_betas_zero_snr")
bars = GaussianDiffusion(parameterization="v", rescale_betas_zero_snr=True).exact_table("alphas_cumprod")
check("改过的表，终点的 ᾱ", bars[-1], 0.0)
check_raises("猜 eps 不行：要除以 0", lambda: GaussianDiffusion(rescale_betas_zero_snr=True), "由 ε 换不回 x0")

# %% [markdown]
# ### 小实验　停在哪里的功劳，还是训练的功劳
#
# 改一处，量一量，写三句话。第 7 节的流匹配与猜 `v` 的有两样不同。一样是训练：各种噪声抽几次，输出、输入、时间怎样写。另一样是走法：每步停在哪里。两样拆得开：哪个网络都能走哪种步子。下面练两个网络（每个约十秒），各走 10 步，打印造错与漏掉。
#
# 先猜：两个网络都改走角度均匀的步子（`turn=True`），流匹配的漏掉会升到 `v` 那么多吗？造错会跟着降吗？
#
# ```python
# from ddpm_edu.teach.moons import misses
# def learn_v(seed=0):
#     torch.manual_seed(seed)
#     model = DDPM(**small, parameterization="v")
#     descend(model, lambda: model.p_losses(data[torch.randint(len(data), (512,))][..., None, None], torch.randint(1000, (512,)))[0])
#     v_of = lambda x, bar: model.apply_model(x, torch.full((4000,), float(np.interp(-bar, -cosine, range(1000)))))  # 步号可以不是整数
#     return lambda x, u: as_flow(x, u, v_of)
# def stops(count, turn):  # 从 1 到 0 的 u：turn 为假时 u 均匀，为真时角度均匀
#     phi = torch.linspace(math.pi / 2, 0, count + 1).double()
#     return (phi.sin() / (phi.sin() + phi.cos()) if turn else torch.linspace(1, 0, count + 1)).tolist()
# for learn in (learn_flow, learn_v):
#     print(learn.__name__, misses(travel(learn(), stops(10, turn=False)), real))  # 改这一处
# ```
#
# <!-- 参考答案 -->
# **参考答案**　八个种子，± 是标准误；每格是造错、漏掉。
#
# | | 10 步 | 50 步 |
# |:--|--:|--:|
# | 流匹配，$u$ 均匀 | 6.8% ± 0.1%、1.8% ± 0.1% | 5.6% ± 0.2%、0.8% ± 0.1% |
# | 流匹配，角度均匀 | 6.7% ± 0.2%、2.0% ± 0.1% | 5.5% ± 0.2%、0.8% ± 0.1% |
# | `v`，$u$ 均匀 | 5.5% ± 0.2%、2.5% ± 0.1% | 4.3% ± 0.1%、1.0% ± 0.1% |
# | `v`，角度均匀 | 5.2% ± 0.2%、3.6% ± 0.1% | 4.2% ± 0.1%、1.1% ± 0.1% |
#
# 1. 造错主要是训练的：同样的步子，流匹配多 1.3 到 1.5 个百分点（逐个种子相减，标准误 0.1 到 0.2），换步子只动 0.4 以内。
# 2. 漏掉两样都有份：走 10 步，`v` 只换成 $u$ 均匀的步子，漏掉就从 3.6% 降到 2.5%（差 −1.1 ± 0.1）；步子不换、只换训练，降到 2.0%（差 −1.6 ± 0.1）。
# 3. 走到 50 步，步子不要紧了（差不到 0.1），剩下的都是训练的。
#
# ```python
# rows = [[misses(travel(speed, stops(count, turn), seed), real) for speed in (learn_flow(seed), learn_v(seed))
#          for count in (10, 50) for turn in (False, True)] for seed in range(8)]
# print(torch.tensor(rows).mean(0), torch.tensor(rows).std(0) / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
