# %% [markdown]
# # 18 · 桥：DDPM 之后
#
# 同一个 `mnist` 网络，只许调用五次。用 DDIM 走，画出来的图的 Fréchet 距离是 145 ± 7（越小越好，± 是标准误）；只换停在哪些 $t$，是 113 ± 6；再换成 2022 年的 DPM-Solver++，是 83 ± 5。权重没有动，变的只是走法。
#
# DDPM 之后还有得分、概率流、EDM、min-SNR、零终端信噪比、流匹配，一篇一个新名字。这一章只问一件事：**后来的方法换掉了 DDPM 的什么，留下了什么？**
#
# **学习目标**
#
# - 把 $\hat x_0$、$\hat\varepsilon$、$\hat v$ 换成得分，说清随机的走法与确定的走法为什么殊途同归。
# - 读懂 `heun` 与 `dpmpp`，会量一个采样器的阶，说得出换走法能省几成调用。
# - 认出 EDM 的预条件、min-SNR 的权重、零终端信噪比各换的是哪一样。
# - 用二十行训练一个流匹配，并说清它与猜 $v$ 的网络是什么关系。
#
# **预计用时** 正文 70 分钟，可分两次读（1–3 节，4–8 节），练习另计。运行全部单元约 40 秒。

# %%
import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from ddpm_edu import DDPM, GaussianDiffusion, load_pretrained, make_beta_schedule
from ddpm_edu.objectives import make_objective, simple_weights
from ddpm_edu.sampling import ancestral_step, ddim_step
from ddpm_edu.schedules import alphas_cumprod, rescale_zero_terminal_snr
from ddpm_edu.solvers import dpmpp, heun, velocity
from ddpm_edu.teach import card, check, check_raises, show_source
from ddpm_edu.teach.bridge_figures import arrows_figure, bends_figure, calls_figure, changes_figure, gray_figure
from ddpm_edu.teach.bridge_figures import noise_figure, orders_figure, road_figure, walks_figure, weights_figure
from ddpm_edu.teach.brightness import fit_brightness, flat
from ddpm_edu.teach.laboratory import gaussian_ddpm, ideal_start, sampled_end
from ddpm_edu.teach.moons import MoonDenoiser, misses, moons
from ddpm_edu.teach.training import descend

cosine, linear = (alphas_cumprod(make_beta_schedule(name, 1000))[0] for name in ("cosine", "linear"))
data, real = moons(4000, seed=0)[0], moons(4000, seed=1)[0]
changes_figure()

# %% [markdown]
# 图：后来换掉的有四处，用橙字写在采样的链上，附着方法与讲它的那一节。蓝框里要猜的东西，各家都一样。
#
# ## 1　得分：网络猜的到底是什么
#
# 读 DDPM 之后的论文，最先遇到的词是得分 (score)。带噪图 $x_t$ 有密度 $q(x_t)$，得分是它的对数的梯度 $\nabla\ln q(x_t)$，指着密度升得最快的方向。网络猜的是原图，不是密度，两者有什么关系？
#
# 给六百个月牙上的点加噪，画出密度的等高线。再在平面上取一些格点当作 $x_t$，从每一个画一支箭头，指向 $\sqrt{\bar\alpha_t}\,\hat x_0$，其中 $\hat x_0=\mathbb E[x_0\mid x_t]$ 是最好的猜测。**先猜**：箭头与等高线成什么角？

# %%
points, bar = data[:600].double(), float(cosine[200])
noise = torch.randn(points.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
x_t = bar**0.5 * points + (1 - bar) ** 0.5 * noise


def log_density(x):
    """ln q(x_t)，差一个常数：每个点加噪成 x_t 的密度加起来，取对数"""
    return (-torch.cdist(x, bar**0.5 * points).square() / (2 * (1 - bar))).logsumexp(1)


axis = torch.linspace(-2.6, 2.6, 80).double()
density, at = log_density(torch.cartesian_prod(axis, axis)).reshape(80, 80), torch.cartesian_prod(axis[8::9], axis[8::9])
arrows_figure(axis, density, x_t, at, bar**0.5 * ideal_start(at, points, bar) - at)

# %% [markdown]
# 图：照最好的猜测画的箭头，在箭尾处垂直于密度的等高线。蓝点是加噪到 $t=200$ 的六百个点，底色越深 $q(x_t)$ 越大，细线是等高线；箭头只画一半长。
#
# 箭头只由猜测算出，指的却是密度升得最快的方向：**猜原图，就是在爬密度的坡**。
#
# 为什么？因为 $q(x_t)$ 是许多高斯的混合，每个 $x_0$ 给出一个。一个高斯的得分是 $-(x_t-\sqrt{\bar\alpha_t}\,x_0)/(1-\bar\alpha_t)$。由 $\nabla\ln q=\nabla q/q$ 写开，混合的得分就是它们的平均，已知 $x_t$ 时越可能的 $x_0$ 占得越多。这就是 Tweedie 公式：
#
# $$\nabla\ln q(x_t)=\mathbb E\Big[-\frac{x_t-\sqrt{\bar\alpha_t}\,x_0}{1-\bar\alpha_t}\,\Big|\,x_t\Big]=\frac{\sqrt{\bar\alpha_t}\,\hat x_0-x_t}{1-\bar\alpha_t}=-\frac{\hat\varepsilon}{\sqrt{1-\bar\alpha_t}}.$$
#
# 分子 $\sqrt{\bar\alpha_t}\,\hat x_0-x_t$ 正是图里的箭头，所以箭头与得分同向。
#
# 猜 $v$ 的网络也换得出得分：把 $\hat v=(\sqrt{\bar\alpha_t}\,x_t-\hat x_0)/\sqrt{1-\bar\alpha_t}$ 里的 $\hat x_0$ 用上式换掉，
#
# $$\hat v=-\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}\,\big(x_t+\nabla\ln q(x_t)\big).$$
#
# 下面由 `log_density` 用差分求得分，与这两个式子对一对。

# %%
slope = torch.stack([(log_density(x_t + h) - log_density(x_t - h)) / 2e-5 for h in 1e-5 * torch.eye(2).double()], 1)
guess = ideal_start(x_t, points, bar)
check("由 x0_hat 换成的得分", (bar**0.5 * guess - x_t) / (1 - bar), slope, atol=1e-5)
check("由得分换成的 v_hat", -(((1 - bar) / bar) ** 0.5) * (x_t + slope), velocity(x_t, guess, bar), atol=1e-5)

# %% [markdown]
# **记住**：猜 $x_0$、$\varepsilon$、$v$ 或得分，学的是同一样东西，输出配上 $x_t$ 就能互相换算。
#
# ## 2　概率流：不掺噪声，每一刻的分布为什么还一样
#
# 祖先采样每步掺噪声，DDIM 不掺。走法这样不同，画出来的分布为什么一样？
#
# 取一份只有两个值的数据：$-1$ 占三分之一，$+1$ 占三分之二。用最好的猜测，都从 89° 处的同一批点出发（几乎是纯噪声），两种走法各走两百步。横轴是第 5 章的角度 $\varphi=\arccos\sqrt{\bar\alpha}$，90° 是纯噪声，0° 是数据。**先猜**：走到 33° 时，两种走法的直方图会差多少？

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
# 图：路不同，分布相同。左两格各画八条路，从左往右走；右格是一万个点走到虚线处的分布，横着画，与左边同一把尺，灰底是照公式算的 $q(x_t)$。
#
# 随机的路抖动、交叉，确定的路光滑、不相交；可是两种直方图都贴着同一片灰。下面核对。

# %%
grid, phi = torch.linspace(-2.5, 2.5, 41).double(), angle[130]
below = sum(share * torch.distributions.Normal(mean * phi.cos(), phi.sin()).cdf(grid) for share, mean in ((1 / 3, -1), (2 / 3, 1)))
for name, path in walks.items():
    check(f"{name}，走到 33°：小于各个 x 的比例，与 q 的相同", (path[130] < grid[:, None]).double().mean(1), below, atol=0.014)
check("祖先采样的路互相穿过，DDIM 的每一步都不", [bool((path.argsort(1) == path[0].argsort()).all()) for path in walks.values()], [False, True])
drawn, turned, bar = walks["DDIM"][..., None], float(angle[0] - angle[1]), float(angle[100].cos() ** 2)
speed = velocity(drawn[100], ideal_start(drawn[100], values, bar), bar)
check("DDIM 的路对角度的变化率，就是 v_hat", (drawn[99] - drawn[101]) / (2 * turned), speed, atol=0.02)

# %% [markdown]
# **为什么**，分三步说。
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
# 第三步，合起来。加噪的一步先把 $x$ 缩小 $\frac\beta2x$，再掺噪声；步子无穷小时，写成一个随机微分方程 (SDE)。把掺噪声换成挪动，总的速度是 $-\frac\beta2(x+\nabla\ln q)$。这个不掺噪声的方程叫概率流 (probability flow) ODE（Y. Song 等 2021）。同一时刻、同一处只有一个速度，所以它的路不相交。倒着走它，途中的分布仍是那一族 $q(x_t)$。
#
# 祖先采样从哪里来？倒着走时，在概率流之外再照 $\frac\beta2\lambda\nabla\ln q$ 多挪一份，同时掺方差为 $\lambda\beta$ 的噪声：照第二步，两者恰好抵消，每一刻的分布仍是 $q(x_t)$。$\lambda$ 可以挑：0 是概率流，1 是步子够小时的祖先采样。
#
# **DDIM 走的正是概率流。** 换成以角度为时间。由 $\bar\alpha=\cos^2\varphi$ 得 $\frac{\mathrm d\varphi}{\mathrm dt}=\frac\beta2\cdot\frac{\cos\varphi}{\sin\varphi}$，上面的速度除以它，再用第 1 节的式子，得
#
# $$\frac{\mathrm dx}{\mathrm d\varphi}=-\frac{\sin\varphi}{\cos\varphi}\,(x+\nabla\ln q)=\hat v.$$
#
# DDIM 在一步里当两个猜测不变，$x=\cos\varphi\,\hat x_0+\sin\varphi\,\hat\varepsilon$，对 $\varphi$ 求导也是 $\hat v$。所以步子够小时，两者是同一条路。
#
# **记住**：采样有两种走法：解 $\frac{\mathrm dx}{\mathrm d\varphi}=\hat v$，或每步多朝得分挪一份、再掺相配的噪声；步子够小、猜得准时，途中的分布相同。
#
# ## 3　换走法：同一个网络，少调用几次
#
# 既然不掺噪声的走法是解方程，解微分方程的老办法都可以拿来。DDIM 是一阶的：步数加倍，误差减半。二阶的减到四分之一，代价是每步要用两次猜测。第二次从哪里来？
#
# | 走法 | 第二次猜测 | 怎样用 | 每步调用网络 |
# |:--|:--|:--|:-:|
# | DDIM | 没有 | 一步里当 $\hat x_0$ 与 $\hat\varepsilon$ 不变 | 1 次 |
# | Heun | 走到了再猜一次 | 两处的速度取平均，从起点重走 | 2 次 |
# | DPM-Solver++(2M) | 记着上一步的 | 以信噪比的对数为时间，猜测照上一步的变化率往前推半步 | 1 次 |
#
# 源码在章末的附录，各约十行。先量阶：数据取高斯，最好的猜测与步子无穷小时的终点都写得出公式，走完一比就知道误差。

# %%
lab, counts, curves = gaussian_ddpm(make_beta_schedule("cosine", 1000), 0.3, 0.5, parameterization="v"), (20, 40, 80, 160, 320), {}
z = torch.tensor([-2.0, -0.5, 1.0, 2.0]).double().reshape(4, 1, 1, 1)
truth = sampled_end(z, cosine, 0.3, 0.5)  # 步子无穷小时，四个起点走到哪里
for name, sampler, calls, order in (("DDIM", "ddim", 1, -1), ("DPM-Solver++", "dpmpp", 1, -2), ("Heun", "heun", 2, -2)):
    ends = [lab.p_sample_loop(z.shape, sampler=sampler, steps=n, spacing="linspace", x_T=z, progress=False) for n in counts]
    errors = [float((end - truth).abs().max()) for end in ends]
    steepness = float(np.polyfit(np.log(counts[-3:]), np.log(errors[-3:]), 1)[0])
    check(f"{name}，末三点的斜率", steepness, order, atol=0.06)
    curves[name] = [calls * (n - 1) + 1 for n in counts], errors, steepness  # 末一步只调用一次
orders_figure(curves)

# %% [markdown]
# 图：DDIM 是一阶的，另两种是二阶的。纵轴是四个起点里最大的误差，两轴都是对数，所以一阶的斜率是 $-1$，二阶的是 $-2$。
#
# 最左边，DPM-Solver++ 还不如 DDIM：阶说的是步数加倍时误差降几倍，不说步数少时谁好。真的网络猜得不准，步数也少，值多少要另外量。
#
# 走法里还有一样可以换：停在哪些 $t$，叫取步。`linspace` 从 $T-1$ 均匀地停到 0。末一次停在 $t=0$，那里几乎没有噪声，这一次近于白调；一共五次时，就白了两成。`trailing` 把一千步等分成段，停在各段噪声最大的一端，五次都用在有噪声的地方。课程里 DDIM 默认用前一种，另两种默认用后一种。
#
# **先猜**：从默认的 DDIM 换成默认的 DPM-Solver++，能省几成调用？降下来的距离，有几成是取步的功劳？

# %%
calls_figure((5, 10, 20, 50), {  # python -m benchmarks.solvers mnist ddim ddim:trailing dpmpp heun
    "DDIM，linspace": [(145.1, 6.5), (73.5, 4.3), (58.4, 3.5), (53.6, 3.2)],
    "DDIM，trailing": [(113.2, 5.8), (67.5, 4.0)],
    "DPM-Solver++，trailing": [(83.2, 5.1), (55.2, 3.3), (50.9, 3.0), (50.3, 2.9)],
    "Heun，trailing": [(93.4, 6.1), (57.0, 3.7), (47.2, 2.8), (48.8, 2.8)],
}, real=(38.9, 3.5))

# %% [markdown]
# 图：调用次数相同，二阶的两种（橙、绿）的距离比 DDIM（蓝）小。一条底是一种次数；Heun 每步调用两次，所以写“至多”。`mnist` 各画 400 张，误差棒是八个种子的标准误，灰带是 400 张真图；空心的只量了 5 次与 10 次。
#
# 每步的走法与取步一起换，DPM-Solver++ 走 20 次，比 DDIM 走 50 次还低 2.7 ± 0.2（同样的起点，逐个种子相减）。**调用省五分之三，网络没有重练。**
#
# 两样各有功劳。从实心的蓝点到空心的，只换了取步；从空心的到橙色的，只换了每步的走法。降下来的距离里，取步的功劳在 5 次时约占一半，10 次时约占三分之一。
#
# 两种二阶的互有高下：5 次时 DPM-Solver++ 低，10 次时相近，20 次时 Heun 低 3.7（逐个种子相减，标准误不到 0.8）。
#
# **记住**：要少调用几次网络，先换走法：每步怎样走，停在哪里。
#
# ## 4　EDM：换了坐标，还是同一个 $v$
#
# EDM（Karras 等 2022）的公式看上去与 DDPM 全不相同。带噪图写成 $y=x_0+\sigma\,\varepsilon$，网络 $F$ 的输入与输出各乘一个随 $\sigma$ 变的系数，再加上一份带噪图，叫预条件 (preconditioning)：
#
# $$\hat x_0=c_{\text{skip}}\,y+c_{\text{out}}\,F(c_{\text{in}}\,y).$$
#
# 它学的是别的东西吗？换成我们的坐标就看得出：$y=x_t/\sqrt{\bar\alpha_t}$，$\sigma=\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$。设数据的标准差是 1，代进三个系数：
#
# | 系数 | EDM 的写法 | 代入以后 |
# |:--|:-:|:-:|
# | $c_{\text{skip}}$ | $1/(\sigma^2+1)$ | $\bar\alpha_t$ |
# | $c_{\text{out}}$ | $\sigma/\sqrt{\sigma^2+1}$ | $\sqrt{1-\bar\alpha_t}$ |
# | $c_{\text{in}}$ | $1/\sqrt{\sigma^2+1}$ | $\sqrt{\bar\alpha_t}$ |
#
# 于是 $F$ 看的 $c_{\text{in}}\,y$ 就是 $x_t$，而 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t+\sqrt{1-\bar\alpha_t}\,F$。第 5 章的式子是 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,\hat v$，一比就知道 $F=-\hat v$。EDM 给 $F$ 的误差的权重是 1，也正是猜 $v$ 的简化损失。
#
# 论文设数据的标准差是 0.5：把 $x_0$、$y$、$\sigma$ 都除以 0.5，标准差就成了 1，结论一样。`mnist` 的网络猜的是 $v$，拿它当 $F$，核对一遍（这是恒等式，对哪个网络都成立，核对的是换算没有写错）：

# %%
mnist, start = load_pretrained("mnist"), torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
for step in (50, 500, 950):
    t, bar, cond = torch.full((10,), step), float(mnist.alphas_cumprod[step]), {"c_adm": torch.arange(10)}
    sigma, y = ((1 - bar) / bar) ** 0.5, start / bar**0.5
    skip, out, into = 1 / (sigma**2 + 1), sigma / (sigma**2 + 1) ** 0.5, 1 / (sigma**2 + 1) ** 0.5
    with torch.no_grad():
        guess, wanted = skip * y - out * mnist.apply_model(into * y, t, cond), mnist.predict_start(start, t, clip_denoised=False, cond=cond)
    check(f"σ = {sigma:.3g}：x0_hat = c_skip·y + c_out·F，F = -v_hat", guess, wanted, atol=2e-4)

# %% [markdown]
# 要学的没有换，换的是训练时**看哪些噪声**。DDPM 均匀地抽 $t$，所以抽到哪个 $\sigma$ 由噪声表定；EDM 不用噪声表，直接规定 $\ln\sigma$ 服从一个高斯。

# %%
ln_sigma = np.linspace(-6, 8, 701)
tables = {name: 0.5 * np.log((1 - bars) / bars) for name, bars in (("linear", linear), ("cosine", cosine))}
shares = {name: np.interp(ln_sigma, values, 1 / (1000 * np.gradient(values)), 0, 0) for name, values in tables.items()}
shares["EDM"] = np.exp(-((ln_sigma + 1.2) ** 2) / (2 * 1.2**2)) / (1.2 * math.sqrt(2 * math.pi))
noise_figure(ln_sigma, shares, end=tables["linear"][-1])

# %% [markdown]
# 图：EDM 抽得最多的是小噪声，它的峰在最左边。横轴照 $\ln\sigma$ 排，写着 $\sigma$，纵轴是 $\ln\sigma$ 的密度；像素都在 $-1$ 到 1 之间。
#
# `linear`（本课程的，不是 DDPM 论文的那张，见第 2 章）在 $\sigma=37$ 处断了，再大的噪声它抽不到：它的终点不是纯噪声，后果见第 6 节。
#
# **记住**：把数据缩放到标准差 1，EDM 的网络就是猜 $v$ 的网络。与猜 $v$ 的 DDPM 比，它换掉的是坐标与训练看哪些噪声；与猜 $\varepsilon$ 的比，权重也换了（见第 5 节）。它采样用 Heun，另有一套取步，换的是走法。
#
# ## 5　min-SNR：错在哪里更要紧
#
# 三种目标的简化损失，都是 $x_0$ 的平方误差乘一个权重（第 6 章）：`x0` 是 1，`eps` 是 $\mathrm{SNR}$，`v` 是 $\mathrm{SNR}+1$。$t$ 小时信噪比大到几万。Hang 等 2023 认为这样太悬殊，改成 $\min(\mathrm{SNR}_t,\gamma)$，$\gamma$ 取 5，叫 min-SNR。

# %%
snr = cosine / (1 - cosine)
weights = {name: 1 / np.broadcast_to(make_objective(name).weight_over_x0(cosine), 1000) for name in ("eps", "x0", "v")}
weights_figure(weights, np.minimum(snr, 5))

# %% [markdown]
# 图：min-SNR（灰色的宽线）左边平在 5，右边随 `eps` 一起掉下去。噪声表是 `cosine`，纵轴是对数，只画到 0.001；`eps` 与 `v` 在左边重合。
#
# 它对三种目标做的事不一样：对 `eps`，只把小噪声的权重压低；对 `v`，两头都压低：小噪声的压到 5，大噪声的从近于 1 压到近于 0；对 `x0`，小噪声的从 1 抬到 5，大噪声的压低。
#
# 哪样有用？拿第 5 章的月牙网络来量：同样的一千步，各练八个种子，DDIM 走 50 步，取步是 `linspace`，± 是标准误。造错的点附近没有真点，漏掉的真点附近没有造出来的点。`eps` 跳过第一步，因为它从头走什么也造不出来（第 5 章）。
#
# | 目标 | 造错：不加权 | 造错：$\gamma=5$ | 漏掉：不加权 | 漏掉：$\gamma=5$ |
# |:--|--:|--:|--:|--:|
# | `eps`，跳过第一步 | 4.7% ± 0.2% | 8.1% ± 0.2% | 2.4% ± 0.1% | 1.9% ± 0.2% |
# | `v` | 4.2% ± 0.1% | 5.5% ± 0.2% | 1.1% ± 0.1% | 1.2% ± 0.1% |
# | `x0` | 3.7% ± 0.2% | 1.6% ± 0.1% | 20.1% ± 0.8% | 15.9% ± 0.4% |
#
# 有好有坏：`x0` 的造错与漏掉都少了，`eps` 与 `v` 的造错却都多了。`x0` 换成 `trailing`，造错仍少一半，漏掉却看不出差别（只量了两个种子）。
#
# `eps` 的权重只在 $t<261$ 处变小，坏处也出在那里吗？把两个 `eps` 网络接起来走：只在 $t<261$ 用 $\gamma=5$ 的，造错是 8.4% ± 0.3%；只在 $t\ge261$ 用它，是 4.4% ± 0.1%。所以坏处确实出在那里。
#
# **记住**：换权重有好有坏，先量再用。在这里的月牙上，`x0` 造错少了，`eps`、`v` 造错多了；论文在比月牙大得多的数据上，量到它练得更快。
#
# ## 6　零终端信噪比：灰图
#
# `linear` 走到头，$\sqrt{\bar\alpha}$ 还有 2.7%，终点的 $x_T$ 里留着一点原图；采样却从纯噪声出发。这一点要紧吗？
#
# Lin 等 2024 说要紧：起点对不上，造出来的图都是中等亮度。第 3 章算过原因：一张大图的像素共用一个平均亮度，一万多个像素里的一点加起来就多了。
#
# 做一个灰图的试验。数据是 128×128 的平图，亮度在 $-1$ 到 $1$ 之间均匀；平图只有一个数要猜，所以程序里不存整张图，只存像素之和除以 128（这样噪声的标准差仍是 1），它再除以 128 就是平均亮度；小网络看它，猜 $x_0$，练五百步，用 DDIM 走 50 步。
#
# 先用没改的表。再只换起点，从真的 $x_{T-1}$ 出发，看错是不是出在起点。最后用 Lin 等人的办法，把表平移再伸缩，
#
# $$\sqrt{\bar\alpha_t}\leftarrow a\,\big(\sqrt{\bar\alpha_t}-\sqrt{\bar\alpha_{T-1}}\big),$$
#
# $a$ 使第一步不变，终点恰好是 0，叫零终端信噪比 (zero terminal SNR)。这样的终点里没有原图，由 $\varepsilon$ 换不回 $x_0$，所以只能猜 `x0` 或 `v`。**先猜**：没改的表，造得出黑图与白图吗？

# %%
nets, generator = {zero: fit_brightness(zero) for zero in (False, True)}, torch.Generator().manual_seed(0)
x_T = torch.randn(2000, 1, 1, 1, generator=generator)
honest = nets[False].q_sample(flat(2000, generator), torch.full((2000,), 999), x_T)
rows = {"真的": flat(2000, generator).flatten() / 128}
for name, zero, begin in (("没改", False, x_T), ("没改，真的起点", False, honest), ("终点改成 0", True, x_T)):
    rows[name] = nets[zero].sample(2000, sampler="ddim", steps=50, spacing="trailing", x_T=begin, progress=False).flatten() / 128
_, plain, right, zero = (float(values.std() / rows["真的"].std()) for values in rows.values())
check("没改的，散布不到真的七成；换成真的起点，或改了终点，都过八成", plain < 0.7 and min(right, zero) > 0.8, True)
gray_figure(rows)

# %% [markdown]
# 图：没改的表造不出最暗与最亮的图。每行取四十张平图，由暗到亮排开；右边是两千张的亮度的分布，数字是亮度绝对值在 0.5 到 1 之间的占多少。后两行有些超出了 ±1，因为小网络的猜测没有截断。
#
# 图是一个种子，八个种子的平均如下（± 是标准误）。
#
# | 表与起点 | 亮度的标准差 | 亮度绝对值在 0.5 到 1 之间的 |
# |:--|--:|--:|
# | 真的 | 0.577 | 50% |
# | 没改 | 0.264 ± 0.002 | 5.6% ± 0.2% |
# | 没改，真的起点 | 0.568 ± 0.003 | 40.5% ± 0.5% |
# | 终点改成 0 | 0.543 ± 0.009 | 31.8% ± 0.5% |
#
# 只换起点，散布就回来了，所以主要错在起点。可是采样时拿不到真的起点，只好改表；改过的表，散布也回来了大半。
#
# 改过的表，0.5 到 1 之间的还差一截，是网络不好吗？换成最好的猜测，同样走 50 步，没改的表从真的起点出发有 49.8% ± 0.2%，改过的只有 38.5% ± 0.1%；走 200 步，是 50.0% ± 0.2% 与 47.2% ± 0.1%。所以不全怪网络：终点归零要多走几步，这是它的代价。
#
# <details><summary>选读：缩了多少，算得出</summary>
#
# 第 3 章的 $f$ 是终点的亮度的方差里，原图占的比例。这里原图那一份是 $\bar\alpha\cdot128^2\cdot\frac13$，噪声那一份是 $1-\bar\alpha$，算得 $f=80\%$。
#
# 采样的起点只有噪声那一份，标准差是该有的 $\sqrt{1-f}=0.447$ 倍。DDIM 不掺噪声，起点窄几倍，终点大致也窄几倍：$0.577\times0.447=0.258$，量到的是 0.264。第 3 章的 $\sqrt{1-f^2}$ 是祖先采样的，途中掺的噪声会补回一些散布。
#
# </details>
#
# **记住**：采样的起点要与训练时加噪的终点对得上；差得要不要紧，看第 3 章的两个数。这里平均是 0，要看的是散布：$f=80\%$，缩到不足一半，要改；MNIST 的 $f$ 只有 0.4%，散布几乎不缩。
#
# ## 7　流匹配：把弧拉直
#
# 第 5 章里，$x_\varphi=\cos\varphi\,x_0+\sin\varphi\,\varepsilon$，从 $x_0$ 到 $\varepsilon$ 走的是一段弧。为什么非是弧不可？流匹配 (flow matching) 走直线（Lipman 等 2023；Liu 等 2023 叫它整流流）：$x_u=(1-u)\,x_0+u\,\varepsilon$，$u$ 从 0 到 1，网络猜路上的速度 $\varepsilon-x_0$。它与猜 $v$ 的网络是什么关系？

# %%
road_figure((1.8, 0.5), (0.6, 2.1))

# %% [markdown]
# 图：同一个方向上，弧与直路各有一点，只差长度。每条点线是一个方向。
#
# 令 $r=\sqrt{(1-u)^2+u^2}$，$\cos\varphi=(1-u)/r$，$\sin\varphi=u/r$，就有 $x_u=r\,x_\varphi$。对 $u$ 求导，就得到速度的换算 `as_flow`。下面用最好的猜测，从六个起点各沿两条路走一遍，看是不是走到同一处。

# %%
def as_flow(x_u, u, v_of):
    """猜 v 的函数 v_of(x, ᾱ) → 直路上的速度：x_u = r·x_φ 对 u 求导，r' = (2u-1)/r，φ' = 1/r²"""
    r = math.hypot(1 - u, u)
    return ((2 * u - 1) * x_u / r + v_of(x_u / r, ((1 - u) / r) ** 2)) / r


road, around = torch.linspace(1, 0, 201).double().tolist(), torch.arange(6).double() * math.pi / 3 + 0.2
arc = 2 * torch.stack([around.cos(), around.sin()], 1)
paths, bars = [arc], [((1 - u) / math.hypot(1 - u, u)) ** 2 for u in road]
for (u, s), (here, there) in zip(pairwise(road), pairwise(bars)):
    paths.append(paths[-1] + (s - u) * as_flow(paths[-1], u, lambda x, bar: velocity(x, ideal_start(x, points, bar), bar)))
    a, b, _ = ddim_step(here, there)
    arc = a * ideal_start(arc, points, here) + b * arc
check("直路上的欧拉法，与弧上的 DDIM 走到同一处", paths[-1], arc, atol=1e-9)

# %% [markdown]
# 由此得两句话：
#
# 1. **猜 $v$ 的网络不用重练，就能当流匹配的网络用**，只是步号要能取小数，起点要从噪声表的终点算起（`linear` 的是 $u=0.97$）。
# 2. **直路上的欧拉法就是 DDIM。** 欧拉法走一步，$x_u+(s-u)(\hat\varepsilon-\hat x_0)=(1-s)\,\hat x_0+s\,\hat\varepsilon$，也是把两份猜测换一个配比。
#
# 既然路是直的，是不是一步就走得到？把刚才走的六条路画出来。

# %%
bends_figure(points, torch.stack(paths))

# %% [markdown]
# 图：照猜测走出的路是弯的。绿线从空心的点走到实心的点，黑点线把首尾直接连起来；灰点是数据，橙叉是全体的均值。
#
# 一对 $(x_0,\varepsilon)$ 之间是直的，可是网络学到的是许多对的平均。噪声大时，最好的猜测接近全体的均值，路就先奔橙叉去；噪声小下来，猜测认出了自己那一处，路才折过去。只走一步，六个起点会落在同一处，就是橙叉：纯噪声处的猜测就是均值。
#
# <details><summary>选读：权重乘上抽到的密度，两种训练相同</summary>
#
# $x_0$ 错 1，直路的速度就错 $1/u$，所以 $x_0$ 误差的权重是 $1/u^2$，而 $u$ 均匀地抽。由 $u=r\sin\varphi$，$\mathrm d\varphi=\mathrm du/r^2$，得
#
# $$\frac{\mathrm du}{u^2}=\frac{\mathrm d\varphi}{\sin^2\varphi}=(\mathrm{SNR}+1)\,\mathrm d\varphi.$$
#
# 右边正是 `cosine`（角度均匀）下猜 $v$ 的权重，只差一个常数与两端的截断（Kingma 与 Gao 2023）。期望的损失一样，不同的只剩各种噪声抽几次，以及输入、输出、时间怎样写。
#
# </details>
#
# 从头练一个流匹配，会比猜 `v` 的好吗？损失四行，采样的循环两行；`descend` 是第 5 章的训练循环。

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
flow = learn_flow()
for count in (10, 50):
    made = travel(flow, torch.linspace(1, 0, count + 1).tolist())
    check(f"走 {count} 步，造错与漏掉都不到一成", max(misses(made, real)) < 0.1, True)

# %% [markdown]
# 与第 5 章猜 `v` 的网络比：同样的网络、一千步、每批 512，八个种子，± 是标准误；`v` 用 DDIM，取步是 `trailing`。
#
# | 步数 | 造错：流匹配 | 造错：`v` | 漏掉：流匹配 | 漏掉：`v` |
# |--:|--:|--:|--:|--:|
# | 10 | 6.8% ± 0.1% | 5.2% ± 0.1% | 1.8% ± 0.1% | 3.9% ± 0.2% |
# | 50 | 5.6% ± 0.2% | 4.2% ± 0.1% | 0.8% ± 0.1% | 1.1% ± 0.1% |
#
# 互有胜负：流匹配漏得少，造错多。训练与停在哪里都不同，章末的小实验把两样分开。
#
# **记住**：流匹配换的是坐标，连带换了训练时各种噪声抽几次、采样时停在哪里；猜的东西没有换。
#
# ## 8　再往前：一两步
#
# 路是弯的，沿着它走，一两步走不到。要一两步就出图，或者让网络学会跳到路的前头，或者先把路练直。下面三种都要训练，这一章只讲想法。
#
# | 方法 | 让网络学什么 |
# |:--|:--|
# | 渐进蒸馏（Salimans 与 Ho 2022，习题 05.2） | 学生一步走老师的两步，反复减半 |
# | 一致性模型（Song 等 2023） | 同一条路上的每一点，猜出同一个终点 $x_0$ |
# | 再练一次整流流（Liu 等 2023） | 把走出来的路的首尾当作新的一对，再学一遍，路就更直 |
#
# 接着读：走法读 Karras 等 2022；损失为什么是一回事，读 Kingma 与 Gao 2023。
#
# ## 小结
#
# - **这一章的问题**：后来的方法换掉了 DDPM 的什么，留下了什么？
# - **答案**：留下的是要学的东西：掺进高斯噪声，再由 $x_t$ 与噪声的大小猜原图，用平方误差训练。$\hat x_0$、$\hat\varepsilon$、$\hat v$、得分、$F$、直路的速度，只要 $0<\bar\alpha_t<1$，知道 $x_t$ 与其中一个，就换得出其余。
# - 换掉的是四样：采样的**走法**，训练看哪些**噪声**，各种噪声的**权重**，写公式的**坐标**。换走法不用重练；练好的网络，输出换个坐标来用，也不用。换噪声、换权重要重练；换训练的目标连带换了权重，所以也要。
#
# | 你想要什么 | 换哪一件 | 怎样写 | 重练吗 |
# |:--|:--|:--|:-:|
# | 少调用几次网络 | 走法 | `sample(sampler="dpmpp", steps=10)`；20 次起也试 `heun` | 不用 |
# | 造得出很暗与很亮的图 | 噪声表的终点 | `rescale_betas_zero_snr=True`，猜 `x0` 或 `v` | 要 |
# | 猜 `x0`，漏得多或造错多 | 目标或权重 | 漏得多，先试改猜 `v`；造错多，试 `snr_gamma=5.0` | 要 |
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
# ## 附：四处改动的源码（第一遍可以不看）
#
# **Heun**（第 3 节）。

# %%
show_source(heun, "def heun", "return x - turn")

# %% [markdown]
# - ① `x_s` 是照 DDIM 试走到的点，`again()` 在那里再猜一次；`levels` 里是到达处与出发处的 $\bar\alpha$，`turn` 是这一步转过的角。
# - ② 两处的速度取平均，从起点重走；`velocity` 就是第 1 节的 $\hat v$，$\bar\alpha=0$ 时是 $-\hat x_0$，照样算得出。
#
# **DPM-Solver++(2M)**（第 3 节）。

# %%
show_source(dpmpp, "def dpmpp", "there, here, before", "ahead = (there")

# %% [markdown]
# - ① 只用手里现成的两次猜测，不调用 `again`；第一步没有上一次，就是 DDIM。
# - ② 到达处、出发处、上一步出发处的 $\lambda=\frac12\ln\mathrm{SNR}$，这个解法的时间；$\bar\alpha=0$ 时是 $-\infty$，③ 就是 0。
# - ③ 猜测随 $\lambda$ 变，变化率是 $(\hat x_0-\text{上一次的})/(\text{here}-\text{before})$，顺着它往前推半步。末行乘的系数恰是 DDIM 的 $a$，所以等于把猜测换成推过的，再走一步 DDIM。
#
# **min-SNR 的权重**（第 5 节）。

# %%
show_source(simple_weights, "def simple_weights", "snr = alphas_cumprod")

# %% [markdown]
# - ① 返回 (T,)，训练时按 $t$ 取出来乘在均方误差上。不给 `snr_gamma` 就是原来的简化损失；给了，不得小于 0.001。
# - ② 信噪比与 $\gamma$ 取小的，再乘 `weight_over_x0`，换成网络所猜的那种误差的权重：`eps` 是 $\min(\gamma/\mathrm{SNR},1)$，`v` 是 $\min(\mathrm{SNR},\gamma)/(\mathrm{SNR}+1)$。

# %%
card("snr_gamma")
small = {"unet_config": {"target": "ddpm_edu.teach.moons.MoonDenoiser"}, "image_size": 1, "channels": 2, "use_ema": False, "beta_schedule": "cosine"}
model = DDPM(**small, parameterization="v", snr_gamma=5.0)
check(f"v 的权重；t < {(snr < 5).argmax()} 时截断", model.simple_weights, np.minimum(snr, 5) / (snr + 1), rtol=1e-5)

# %% [markdown]
# **终点归零**（第 6 节）。

# %%
show_source(rescale_zero_terminal_snr, "def rescale_zero_terminal_snr", "return 1 - cumprod")

# %% [markdown]
# - ① 只改表：取 $\sqrt{\bar\alpha_t}$（只有一步就没有可伸缩的），减去末值，终点成 0；再乘一个数，第一步不变。
# - ② 由相邻两个 $\bar\alpha$ 的比换回 $\beta$，末一个恰好是 1。

# %%
card("rescale_betas_zero_snr")
for rescale_betas_zero_snr in (False, True):
    bars = GaussianDiffusion(parameterization="v", rescale_betas_zero_snr=rescale_betas_zero_snr).exact_table("alphas_cumprod").sqrt()
    print(f"rescale_betas_zero_snr={rescale_betas_zero_snr}　√ᾱ 在 t = 0、500、999：" + "、".join(f"{bar:.4f}" for bar in bars[[0, 500, 999]]))
check("改过的表，终点的 √ᾱ", bars[-1], 0.0)
check_raises("eps 不行：要除以 0", lambda: GaussianDiffusion(rescale_betas_zero_snr=True), "由 ε 换不回 x0")
check_raises("min-SNR 也不行：终点的权重是 0", lambda: DDPM(**small, parameterization="v", snr_gamma=5.0, rescale_betas_zero_snr=True), "学不到那一步")

# %% [markdown]
# ### 小实验　停在哪里的功劳，还是训练的功劳
#
# 改一处，量一量，写三句话。第 7 节的流匹配漏得少、造错多，与猜 `v` 的有两样不同。一样是训练：各种噪声抽几次，输出、输入、时间怎样写。另一样是走法：每步停在哪里。
#
# 两样可以拆开，因为哪个网络都能走哪种步子。下面练两个网络（每个约十秒），各走 10 步，打印造错与漏掉。
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
# 3. 走到 50 步，步子不要紧了（差不到 0.1），剩下的都是训练的；是训练里的哪一样，这里没有再拆。
#
# ```python
# rows = [[misses(travel(speed, stops(count, turn), seed), real) for speed in (learn_flow(seed), learn_v(seed))
#          for count in (10, 50) for turn in (False, True)] for seed in range(8)]
# print(torch.tensor(rows).mean(0), torch.tensor(rows).std(0) / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
