# %% [markdown]
# # 18 · 桥：DDPM 之后
#
# 2020 年的 DDPM 要走一千步，2022 年的 DPM-Solver++ 走二十步，2024 年的 Stable Diffusion 3 连路都改成了直的。其间还有得分、EDM、min-SNR、零终端信噪比，一篇一个新名字。
#
# 这一章只问一件事：**后来的方法换掉了 DDPM 的什么，留下了什么？** 每一种都看一张图，对一个数。
#
# **学习目标**
#
# - 把 $\hat x_0$、$\hat\varepsilon$、$\hat v$ 换成得分，说清随机的走法与确定的走法为什么殊途同归。
# - 读懂 `heun` 与 `dpmpp`，会量一个采样器的阶，会说它在真的网络上值多少。
# - 认出 EDM 的预条件、min-SNR 的权重、零终端信噪比各换的是哪一样。
# - 用二十行训练一个流匹配，并说清它与猜 $v$ 的网络是什么关系。
#
# **预计用时** 正文 90 分钟，可分两次读（1–3 节，4–8 节），练习另计。运行全部单元约 40 秒。

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
from ddpm_edu.teach import card, check, check_raises, curve_figure, grid_figure, show_source
from ddpm_edu.teach.bridge_figures import arrows_figure, calls_figure, changes_figure, gray_figure, noise_figure, orders_figure, straight_figure, walks_figure
from ddpm_edu.teach.brightness import fit_brightness, flat
from ddpm_edu.teach.laboratory import flow_end, gaussian_ddpm, ideal_start
from ddpm_edu.teach.moons import MoonDenoiser, moons
from ddpm_edu.teach.points import points_figure
from ddpm_edu.teach.training import descend

cosine, linear = (alphas_cumprod(make_beta_schedule(name, 1000))[0] for name in ("cosine", "linear"))
data, real = moons(4000, seed=0)[0], moons(4000, seed=1)[0]
changes_figure()

# %% [markdown]
# 图：采样的一条链，从噪声 $x_T$ 走到图 $x_0$。蓝框里要猜的东西各家都一样，由 $x_t$ 与噪声的大小猜 $\hat x_0$（网络的结构可以换，不在这一章）；橙字的四处是后来换过的，写着方法与讲它的那一节。
#
# ## 1　三种输出，同一个得分
#
# 读 DDPM 之后的论文，最先遇到的词是得分 (score)。加噪到第 $t$ 步，数据有密度 $q(x_t)$；得分是它的对数的梯度 $\nabla\ln q(x_t)$，指着密度升得最快的方向。网络猜的是原图，得分说的是密度，两者有什么关系？
#
# 先看图。六百个月牙上的点加了噪，底色是 $\ln q$。箭头从 $x_t$ 指到 $\sqrt{\bar\alpha_t}\,\hat x_0$，其中 $\hat x_0=\mathbb E[x_0\mid x_t]$ 是最好的猜测。

# %%
points = data[:600].double()
noise = torch.randn(points.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def log_density(x, bar):
    """ln q(x_t)，差一个常数：每个点加噪成 x_t 的密度加起来，取对数"""
    return (-torch.cdist(x, bar**0.5 * points).square() / (2 * (1 - bar))).logsumexp(1)


axis, panels = torch.linspace(-2.6, 2.6, 80).double(), {}
for step in (100, 300, 600):
    bar = float(cosine[step])
    x_t, at = bar**0.5 * points + (1 - bar) ** 0.5 * noise, torch.cartesian_prod(axis[8::9], axis[8::9])
    density = log_density(torch.cartesian_prod(axis, axis), bar).reshape(80, 80)
    panels[rf"$t={step}$，$\bar\alpha_t={bar:.2f}$"] = axis, density, x_t, at, bar**0.5 * ideal_start(at, points, bar) - at
arrows_figure(panels)

# %% [markdown]
# 图：蓝点是 $x_t$，灰的深浅是 $\ln q(x_t)$，细线是它的等高线。箭头只由猜测算出，没有用到密度，却都在箭尾处垂直于等高线、指向更深处：**猜原图，就是在爬密度的坡**。
#
# 这不是巧合。$q(x_t)$ 是许多高斯的平均，一个 $x_0$ 给出一个高斯。每个高斯的对数都容易求导，再照 $x_0$ 的可能性取平均，就得到
#
# $$\nabla\ln q(x_t)=\mathbb E\Big[-\frac{x_t-\sqrt{\bar\alpha_t}\,x_0}{1-\bar\alpha_t}\,\Big|\,x_t\Big]=\frac{\sqrt{\bar\alpha_t}\,\hat x_0-x_t}{1-\bar\alpha_t}=-\frac{\hat\varepsilon}{\sqrt{1-\bar\alpha_t}}.$$
#
# 这就是 Tweedie 公式。可见箭头的长度是得分的 $1-\bar\alpha_t$ 倍。
#
# 猜 $v$ 的网络也换得出得分。把 $\hat v=(\sqrt{\bar\alpha_t}\,x_t-\hat x_0)/\sqrt{1-\bar\alpha_t}$ 里的 $\hat x_0$ 换掉，得
#
# $$\hat v=-\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}\,\big(x_t+\nabla\ln q(x_t)\big),$$
#
# 第 2 节要用。下面只由 `log_density` 用差分求梯度，与猜测换成的得分对一对。

# %%
for step in (100, 300, 600):
    bar = float(cosine[step])
    x_t = bar**0.5 * points + (1 - bar) ** 0.5 * noise
    slope = torch.stack([(log_density(x_t + h, bar) - log_density(x_t - h, bar)) / 2e-5 for h in 1e-5 * torch.eye(2).double()], 1)
    guess = ideal_start(x_t, points, bar)
    check(f"t={step}：由 x0_hat 换成的得分", (bar**0.5 * guess - x_t) / (1 - bar), slope, atol=1e-5)
    check(f"t={step}：由 v_hat 换成的得分", -x_t - (bar / (1 - bar)) ** 0.5 * velocity(x_t, guess, bar), slope, atol=1e-5)

# %% [markdown]
# 所以 Song 与 Ermon 2019 从得分走来，Ho 等 2020 从变分下界走来，网络学的是同一样东西，输出只差随 $t$ 变的换算。
#
# ## 2　从随机的走到确定的
#
# 祖先采样每步掺噪声，DDIM 不掺，终点的分布为什么一样？
#
# 换一份只有一个数的数据来看：$-1$ 占三分之一，$+1$ 占三分之二。用最好的猜测，从同一批噪声出发，两种走法各走两百步。每步转过同样的角，$\varphi=\arccos\sqrt{\bar\alpha}$ 是第 5 章的角度，90° 是纯噪声，0° 是数据。**先猜**：右边三格里，两种直方图会差多少？

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
walks_figure(angle.rad2deg().tolist(), {name: path.numpy() for name, path in walks.items()}, places=(80, 130, 170))

# %% [markdown]
# 图：头两格各画二十四条路，从左往右走，左端几乎全是噪声，右端几乎没有噪声。后三格是途中各一万个点的分布。随机的路抖动、交叉，确定的路光滑、从不相交；可是在这三个角度，两种分布都重合。

# %%
drawn, turned, marks = walks["DDIM"], float(angle[0] - angle[1]), torch.linspace(0.02, 0.98, 49).double()
for name, path in walks.items():
    print(f"{name}：走到 +1 的占 {(path[-1] > 0).double().mean():.1%}，应为 66.7%，标准误 0.5%")
check("走到 54°，两种走法的四十九个分位数", *(path[80].quantile(marks) for path in walks.values()), atol=0.1)
check("祖先采样的路互相穿过，DDIM 的从不", [bool((path[0].argsort() == path[-1].argsort()).all()) for path in walks.values()], [False, True])
bar, x = float(angle[100].cos() ** 2), drawn[100][:, None]
check("DDIM 的路对角度的变化率，就是 v_hat", (drawn[99] - drawn[101])[:, None] / (2 * turned), velocity(x, ideal_start(x, values, bar), bar), atol=0.02)

# %% [markdown]
# **为什么重合**，分四步说。
#
# 第一步，一群点各以自己的速度挪动，从一处流走多少，那里的密度就降多少。这是连续性方程：
#
# $$\frac{\partial q}{\partial t}=-\nabla\cdot(q\cdot\text{速度}).$$
#
# 第二步，设每单位时间给每个点掺进方差为 $\beta$ 的噪声（一步当作一个单位时间），密度照热方程变平。因为 $\nabla q=q\,\nabla\ln q$，变化率可以写成
#
# $$\frac\beta2\nabla\cdot\nabla q=-\nabla\cdot\Big(q\cdot\big(-\frac\beta2\nabla\ln q\big)\Big).$$
#
# 与上一式一比，速度是 $-\frac\beta2\nabla\ln q$。掺噪声与照这个速度挪开，看一个点很不同，看一群点没有分别。
#
# 第三步，加噪的每一步先缩小 $\frac\beta2x$，再掺噪声。把“掺噪声”换成“挪开”，就得到一个不掺噪声的方程，速度是 $-\frac\beta2(x+\nabla\ln q)$。它叫概率流 (probability flow) ODE（Song 等 2021）。
#
# 第四步，倒着走这个方程，途中的分布仍是那一族 $q(x_t)$。祖先采样每步照 $q(x_{t-1}\mid x_t)$ 抽，步子够小时，还原的也是这一族。
#
# 换成以角度为时间，方程里连系数也没有了。由 $\bar\alpha=\cos^2\varphi$ 得 $\frac{\mathrm d\varphi}{\mathrm dt}=\frac\beta2\cdot\frac{\cos\varphi}{\sin\varphi}$，用它去除第三步的速度，再用上第 1 节的式子，
#
# $$\frac{\mathrm dx}{\mathrm d\varphi}=-\frac{\sin\varphi}{\cos\varphi}\,(x+\nabla\ln q)=\hat v.$$
#
# 第 5 章说 $v$ 是速度，说的是一张图。对许多图平均之后，**$\hat v$ 就是概率流的速度**；上面末一行核对的正是它。
#
# 最后一环是 DDIM。它在一步里当两个猜测不变，$x=\cos\varphi\,\hat x_0+\sin\varphi\,\hat\varepsilon$，对 $\varphi$ 求导得 $-\sin\varphi\,\hat x_0+\cos\varphi\,\hat\varepsilon=\hat v$。所以步子够小时，DDIM 走的就是概率流；它与祖先采样途中的分布同是那一族 $q(x_t)$，直方图因此重合。
#
# ## 3　换走法：同一个网络，少走几步
#
# 采样成了解 $\frac{\mathrm dx}{\mathrm d\varphi}=\hat v$，解微分方程的老办法都可以拿来。DDIM 在一步里当 $\hat x_0$ 不变，是一阶的。要到二阶，每步得用两次猜测，两种办法的差别在第二次从哪里来：
#
# - Heun 法（1900 年）先走到 $x_s$，在那里再猜一次，所以每步调用两次网络。
# - DPM-Solver++(2M) 记着上一步的猜测，不多调用网络。

# %%
show_source(heun, "def heun", "return x - turn")

# %% [markdown]
# - ① `x_s` 是照 DDIM 试走到的点，`again()` 在那里再猜一次；`levels` 里是到达处与出发处的 $\bar\alpha$，`turn` 是这一步转过的角。
# - ② 两处的速度取平均，从起点重走；`velocity` 就是第 1 节的 $\hat v$，$\bar\alpha=0$ 时是 $-\hat x_0$，照样算得出。

# %%
show_source(dpmpp, "def dpmpp", "there, here, before", "ahead = (there")

# %% [markdown]
# - ① 只用手里现成的两次猜测，不调用 `again`；第一步没有上一次，就是 DDIM。
# - ② 到达处、出发处、上一步出发处的 $\lambda=\frac12\ln\mathrm{SNR}$，这个解法的时间；$\bar\alpha=0$ 时是 $-\infty$，③ 就是 0。
# - ③ 猜测随 $\lambda$ 变，变化率是 $(\hat x_0-\text{上一次的})/(\text{here}-\text{before})$，顺着它往前推半步。末行乘的系数恰是 DDIM 的 $a$，所以等于把猜测换成推过的，再走一步 DDIM。
#
# 阶怎样量？步数加倍，一阶的误差减半，二阶的减到四分之一。画在两轴都是对数的图上，就是斜率 $-1$ 与 $-2$ 的直线。高斯数据 $\mathcal N(0.3, 0.5^2)$ 有精确的终点，可以量。

# %%
lab, counts, curves = gaussian_ddpm(make_beta_schedule("cosine", 1000), 0.3, 0.5, parameterization="v"), (10, 20, 40, 80, 160, 320), {}
z = torch.tensor([-2.0, -0.5, 1.0, 2.0]).double().reshape(4, 1, 1, 1)
x = flow_end(z, cosine[-1], cosine[0], 0.3, 0.5)  # 概率流把 z 送到 t=0 处
exact = 0.3 + cosine[0] ** 0.5 * 0.25 / (cosine[0] * 0.25 + 1 - cosine[0]) * (x - cosine[0] ** 0.5 * 0.3)  # 在那里再猜一次
for name in ("ddim", "dpmpp", "heun"):
    ways = [(n, "linspace") for n in counts] + [(10, "trailing")]
    ends = [lab.p_sample_loop(z.shape, sampler=name, steps=n, spacing=spacing, x_T=z, progress=False) for n, spacing in ways]
    *errors, trailing = (float((end - exact).abs().max()) for end in ends)
    curves[name] = [2 * n - 1 if name == "heun" else n for n in counts], errors
    slope = np.polyfit(np.log(counts[3:]), np.log(errors[3:]), 1)[0]
    print(f"{name:5}　末三点的斜率 {slope:.2f}；10 步的误差，linspace {errors[0]:.3f}，trailing {trailing:.3f}")
orders_figure(curves)

# %% [markdown]
# 图：四个起点里最大的误差，照 `linspace` 取步。Heun 每步调用两次、末步一次，走 $n$ 步是 $2n-1$ 次。橙、黑两条比蓝的陡一倍；可是最左端，橙的反而比蓝的高。
#
# 可见阶只说步数多了误差降得多快，不说头几步谁好。步数少时，还要看**停在哪里**。`linspace` 从 $T-1$ 均匀地停到 0；`trailing` 把一千步等分成段，停在各段的起头，末一段一步走完。同走 10 步（Heun 调用 19 次），误差是：
#
# | 10 步的误差 | DDIM | DPM-Solver++ | Heun |
# |:--|--:|--:|--:|
# | `linspace` | 0.158 | 0.288 | 0.015 |
# | `trailing` | 0.146 | 0.049 | 0.043 |
#
# DPM-Solver++ 用 `linspace` 比 DDIM 还差，坏在倒数第二步。这一步从 $t=111$ 走到 0，$\lambda$ 从 1.7 一跃到 5，往前推就推过了头：只在这一步不推，误差就从 0.288 降到 0.061。`trailing` 没有这一跃。
#
# Heun 却是 `linspace` 好。它的末一步不调用第二次，只有一阶；`trailing` 的末一步要从 $t=99$ 走到底，光这一步就错 0.053。程序里 Heun 的默认仍是 `trailing`，与 DPM-Solver++ 一致；在 `mnist` 上换成 `linspace` 会怎样，没有量够种子。
#
# 高斯的猜测没有误差，真的网络有。拿课程的 `mnist`，各种走法至多调用网络同样多次（Heun 是 5、9、19、49 次），从同样的起点各画 400 张，量 Fréchet 距离（八个种子，`python -m benchmarks.solvers mnist ddim ddim:trailing dpmpp heun`）：

# %%
calls_figure((5, 10, 20, 50), {
    "ddim": [(145.1, 6.5), (73.5, 4.3), (58.4, 3.5), (53.6, 3.2)], "dpmpp": [(83.2, 5.1), (55.2, 3.3), (50.9, 3.0), (50.3, 2.9)],
    "heun": [(93.4, 6.1), (57.0, 3.7), (47.2, 2.8), (48.8, 2.8)], "ddim，trailing": [(113.2, 5.8), (67.5, 4.0)],
}, (38.9, 3.5))

# %% [markdown]
# 图：误差棒是八个种子的标准误，横向略微错开；灰带是 400 张真图。图例里写着取步，实心的是各自的默认。空心的是 `generate(..., spacing="trailing")` 的 DDIM，只量了 5 次与 10 次。
#
# 比较两种走法，要在同样的起点上逐个种子相减。DPM-Solver++ 走 10 次，只比 `linspace` 的 DDIM 走 50 次高 1.5 ± 0.5。走 20 次，Heun 比 DPM-Solver++ 低 3.7 ± 0.4。
#
# 别把功劳全记在阶上。从 `linspace` 的 DDIM 换到 DPM-Solver++，降下来的距离里，5 次时约一半、10 次时约三分之一，只是换取步得来的：
#
# | 距离降了多少 | 调用 5 次 | 10 次 |
# |:--|--:|--:|
# | DDIM 的 `linspace` 换成 `trailing` | 31.9 ± 0.8 | 6.0 ± 0.4 |
# | 再换成 DPM-Solver++ | 29.9 ± 0.8 | 12.3 ± 0.8 |

# %%
mnist, start = load_pretrained("mnist"), torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
ways = {"ddim，linspace，5 次": ("ddim", 5, "linspace"), "dpmpp，5 次": ("dpmpp", 5, "trailing"), "dpmpp，50 次": ("dpmpp", 50, "trailing")}
drawn = [mnist.sample(10, sampler=name, steps=n, spacing=spacing, x_T=start, cond=torch.arange(10), progress=False) for name, n, spacing in ways.values()]
grid_figure(torch.cat(drawn), nrow=10, rows=list(ways), columns=[str(digit) for digit in range(10)])

# %% [markdown]
# 图：同样的十个起点，取三种来看。只走 5 次，是几、朝哪边斜就大致定了；走 50 次改的多是细处，笔画更亮更实，8 的下半与 5 的钩没有了零碎，4 与 6 连笔画也变了。
#
# ## 4　EDM：数据缩到标准差 1，就是同一个 $v$
#
# EDM（Karras 等 2022）的公式看上去与 DDPM 全不相同。它把带噪图写成 $y=x_0+\sigma\,\varepsilon$，再规定
#
# $$\hat x_0=c_{\text{skip}}\,y+c_{\text{out}}\,F(c_{\text{in}}\,y).$$
#
# $F$ 是网络，三个系数随 $\sigma$ 变，叫预条件 (preconditioning)。它换掉了什么？
#
# 换成我们的坐标就看得出：$y=x_t/\sqrt{\bar\alpha_t}$，$\sigma=\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$。设数据的标准差是 1，把它们代进三个系数：
#
# | 系数 | EDM 的写法 | 代入以后 |
# |:--|:-:|:-:|
# | $c_{\text{skip}}$ | $1/(\sigma^2+1)$ | $\bar\alpha_t$ |
# | $c_{\text{out}}$ | $\sigma/\sqrt{\sigma^2+1}$ | $\sqrt{1-\bar\alpha_t}$ |
# | $c_{\text{in}}$ | $1/\sqrt{\sigma^2+1}$ | $\sqrt{\bar\alpha_t}$ |
#
# 于是网络看的 $c_{\text{in}}\,y$ 就是 $x_t$，猜测是 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t+\sqrt{1-\bar\alpha_t}\,F$。与第 5 章的 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,\hat v$ 一比，$F=-\hat v$。EDM 的损失对 $F$ 的权重是 1，正是我们猜 $v$ 的简化损失。
#
# EDM 设数据的标准差是 0.5，先把 $y$ 与 $\sigma$ 都除以 0.5，再用上表，结论一样。拿 `mnist` 的网络核对：

# %%
for step in (50, 500, 950):
    t, bar, cond = torch.full((10,), step), float(mnist.exact_table("alphas_cumprod")[step]), {"c_adm": torch.arange(10)}
    sigma, y = ((1 - bar) / bar) ** 0.5, start / bar**0.5
    skip, out, into = 1 / (sigma**2 + 1), sigma / (sigma**2 + 1) ** 0.5, 1 / (sigma**2 + 1) ** 0.5
    with torch.no_grad():
        guess, wanted = skip * y - out * mnist.apply_model(into * y, t, cond), mnist.predict_start(start, t, clip_denoised=False, cond=cond)
    check(f"σ = {sigma:.3g}：x0_hat = c_skip·y + c_out·F，F = -v_hat", guess, wanted, atol=2e-4)

# %% [markdown]
# （EDM 还规定了怎样把噪声的大小告诉网络，$c_{\text{noise}}=\frac14\ln\sigma$；它只是时间的写法。）
#
# 网络与权重都没有换。换的是**看哪些噪声大小**：训练时每抽一次 $t$，就抽了一个 $\sigma$。各家抽到的密度画在一起：

# %%
ln_sigma = np.linspace(-6, 8, 701)
tables = {name: 0.5 * np.log((1 - bars) / bars) for name, bars in (("linear", linear), ("cosine", cosine))}
shares = {name: np.gradient(np.interp(ln_sigma, values, np.linspace(0, 1, 1000), 0, 1), ln_sigma) for name, values in tables.items()}
shares["EDM"] = np.exp(-((ln_sigma + 1.2) ** 2) / (2 * 1.2**2)) / (1.2 * math.sqrt(2 * math.pi))
shares["流匹配，u 均匀"] = 1 / (2 + np.exp(ln_sigma) + np.exp(-ln_sigma))
for name, share in shares.items():
    total = np.cumsum(share) / share.sum()
    print(f"{name}　σ 的中位数 {np.exp(ln_sigma[np.searchsorted(total, 0.5)]):.2f}，σ > 80 的占 {abs(1 - total[np.searchsorted(ln_sigma, math.log(80))]):.1%}")
end = tables["linear"][-1]
noise_figure(ln_sigma, shares, (end, np.interp(end - 0.1, ln_sigma, shares["linear"])))

# %% [markdown]
# 图：下边的尺子是 $\ln\sigma$，上边是 $\sigma$，以像素为单位，像素在 $-1$ 到 $1$ 之间。`linear` 走到 $\sigma=37$ 就没有了。
#
# $t$ 均匀时，形状由噪声表定。`cosine` 的角度均匀，所以左右几乎对称，中位数约为 1。`linear` 走到头，$\sqrt{\bar\alpha}$ 还有 2.7%，噪声再大的它从不抽到，所以右端是一道悬崖，第 6 节要说它的害处。
#
# EDM 不用噪声表，直接指定 $\ln\sigma\sim\mathcal N(-1.2, 1.2^2)$，把力气挪到噪声小的一边，中位数是 0.30。第 7 节的流匹配 (flow matching) 左右对称，比 `cosine` 矮而宽。
#
# 训练看哪些噪声，采样停在哪里，在 DDPM 里由同一张噪声表定；EDM 让这两件事各定各的。
#
# ## 5　换权重：错在哪里更要紧
#
# 三种目标的简化损失都是 $x_0$ 的平方误差乘上一个权重：`x0` 是 1，`eps` 是 $\mathrm{SNR}$，`v` 是 $\mathrm{SNR}+1$（第 6 章）。后两种在 $t$ 小处大到几万。Hang 等 2023 认为不同 $t$ 的梯度会互相牵制，权重太悬殊的要压一压，改成 $\min(\mathrm{SNR}_t,\gamma)$，叫 min-SNR。

# %%
snr = cosine / (1 - cosine)
weights = {name: 1 / np.broadcast_to(make_objective(name).weight_over_x0(cosine), 1000) for name in ("eps", "x0", "v")}
curve_figure(range(1000), {**weights, r"$\min(\mathrm{SNR}, 5)$": np.minimum(snr, 5)}, "步号 $t$", "乘在 $x_0$ 误差上的权重", "linear", "log")

# %% [markdown]
# 图：噪声表是 `cosine`，纵轴是对数。`eps` 与 `v` 左边重合，右边分开：噪声最大处，`v` 不低于 1，`eps` 几乎不看。点划线左边压到 5，右边随 `eps` 一起掉下去。

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
# 有用吗？第 5 章的月牙网络，同样的一千步，不加权与 $\gamma=5$ 各练八个种子，DDIM 走 50 步。± 是标准误，差是逐个种子相减；`eps` 跳过第一步，因为第 5 章量过，从头走什么也造不出来。
#
# | 目标 | 造错：不加权 | $\gamma=5$ | 差 | 漏掉：不加权 | $\gamma=5$ | 差 |
# |:--|--:|--:|--:|--:|--:|--:|
# | `eps`，跳过第一步 | 4.7% ± 0.2% | 8.1% ± 0.2% | +3.4 ± 0.3 | 2.4% ± 0.1% | 1.9% ± 0.2% | −0.5 ± 0.1 |
# | `v` | 4.2% ± 0.1% | 5.5% ± 0.2% | +1.2 ± 0.2 | 1.1% ± 0.1% | 1.2% ± 0.1% | +0.2 ± 0.1 |
# | `x0` | 3.7% ± 0.2% | 1.6% ± 0.1% | −2.2 ± 0.2 | 20.1% ± 0.8% | 15.9% ± 0.4% | −4.2 ± 0.7 |
#
# 要看原来的权重是什么：
#
# - `eps` 与 `v` 原来在噪声小处就重，$\gamma=5$ 把那里压下去，造错都多了。`eps` 的权重只在 $t<261$ 处变了，多出来的造错只能由那里的改动引起。`v` 的权重在噪声大处也压低了，两头没有分开量；它漏掉的 +0.2 只有两个标准误，还说不准。
# - `x0` 原来处处是 1。$\gamma=5$ 把噪声小处提到 5 倍，又把噪声最大处压到 $10^{-9}$，造错与漏掉都少了。是哪一头的功劳，这里没有拆开量。
#
# 论文在大图与大网络上量到，$\gamma=5$ 练得更快；这里的月牙上，三种目标有好有坏。**改权重是好是坏，要看原来的权重把力气放在哪里。**
#
# ## 6　换噪声表的终点：灰图
#
# 第 3 章第 5 节算过，`linear`（$\sqrt\beta$ 等距）走到头，$\sqrt{\bar\alpha}$ 还有 2.7%。大图的平均亮度因此漏到终点，采样却从 $\mathcal N(0,I)$ 出发，造出来的图都不太黑、不太白。
#
# Lin 等 2024 的办法是把 $\sqrt{\bar\alpha_t}$ 平移再伸缩，使终点恰好是 0，叫零终端信噪比 (zero terminal SNR)。

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
# 终点改了，采样就一定要从 $T-1$ 走起；`linspace` 与 `trailing` 都是这样。有用吗？做一个灰图的试验。
#
# 数据是 128×128 的平图，亮度在 $-1$ 到 $1$ 之间均匀。像素加起来除以 128，就是一个数，掺进去的噪声在这个数上仍是标准高斯，所以网络只看这一个数。三层的小网络，猜 $x_0$，练五百步。
#
# 比三种：没改的表；没改的表，但起点换成真的 $x_{T-1}$；终点改成 0 的表。都走 50 步，一、三两种从 $\mathcal N(0,1)$ 出发。

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
# 图：每行取四十张平图，由暗到亮排开；右边是两千张的平均亮度。没改的一行，最暗与最亮的都没有了；末两行有少数越过了 $\pm1$，真的没有。图是一个种子，下表是八个种子的平均，± 是标准误：
#
# | 表与起点 | 亮度的标准差 | 亮度绝对值过 0.5 的 |
# |:--|--:|--:|
# | 真的 | 0.577 | 50% |
# | 没改 | 0.264 ± 0.002 | 5.6% ± 0.2% |
# | 没改，真的起点 | 0.568 ± 0.003 | 45.8% ± 0.6% |
# | 终点改成 0 | 0.543 ± 0.009 | 37.8% ± 0.8% |
#
# 网络没有错，错的是起点：只换起点，散布就回来了。可是采样时拿不到真的 $x_{T-1}$，所以要改表。改了表，标准差大半回来了；过 0.5 的只有 37.8%，离真的 50% 还差一截。
#
# 走 50 步时，差的这一截来自步子大：换成最好的猜测，也只有 38.5 ± 0.4%。亮度是 $N$ 个像素的和，在 $128\sqrt{\bar\alpha}\approx1$ 处，和里原图的一份与噪声一样大；再往前几乎只有噪声，往后几乎只有原图，所以亮度就在那里定下，而头一两步便走过了那里。走到 200 步，最好的猜测升到 46.8 ± 0.7%，网络却只有 38.9 ± 1.1%：这时差的就是网络了。
#
# 没改的缩了多少，算得出。第 3 章的 $f$ 是终点这个数的方差里原图占的比例，
#
# $$f=\frac{\bar\alpha Ns^2}{\bar\alpha Ns^2+1-\bar\alpha}.$$
#
# 这里 $N=128^2$，$s^2=\frac13$，得 80%。起点只有噪声那一份，标准差约是该有的 $\sqrt{1-f}=0.447$ 倍。不掺噪声地走，起点窄几倍，终点大致也窄几倍，$0.577\times0.447=0.258$，量到的是 0.264。（第 3 章说的是掺噪声的走法，缩到 $\sqrt{1-f^2}$。）DDPM 自己的表是 $\beta$ 等距的，走到头 $\sqrt{\bar\alpha}$ 只有 0.6%，同样算，$f$ 是 18%，只缩到 0.91 倍。
#
# ## 7　换坐标：流匹配
#
# 从噪声到图的路，为什么非是弧不可？流匹配（Lipman 等 2023；整流流，Liu 等 2023）走直线：$x_u=(1-u)\,x_0+u\,\varepsilon$，$u$ 从 0 到 1。网络猜的是路上的速度 $\varepsilon-x_0$。
#
# 看上去另起炉灶，其实同一个方向上只差一个长度：令 $r=\sqrt{(1-u)^2+u^2}$，$\tan\varphi=\frac u{1-u}$，就有 $x_u=r\,x_\varphi$。

# %%
def as_flow(x_u, u, v_of):
    """猜 v 的函数 v_of(x, ᾱ) → 直路上的速度：x_u = r·x_φ 对 u 求导，r' = (2u-1)/r，φ' = 1/r²"""
    r = math.hypot(1 - u, u)
    return ((2 * u - 1) * x_u / r + v_of(x_u / r, ((1 - u) / r) ** 2)) / r


road, paths, arc = torch.linspace(1, 0, 41).double().tolist(), [noise[:12]], noise[:12]
bars = [((1 - u) / math.hypot(1 - u, u)) ** 2 for u in road]
for (u, s), (here, there) in zip(pairwise(road), pairwise(bars)):
    paths.append(paths[-1] + (s - u) * as_flow(paths[-1], u, lambda x, bar: velocity(x, ideal_start(x, points, bar), bar)))
    a, b, _ = ddim_step(here, there)
    arc = a * ideal_start(arc, points, here) + b * arc
check("直路上的欧拉法，与弧上的 DDIM 走到同一处", paths[-1], arc, atol=1e-9)
straight_figure((1.8, 0.5), (0.6, 2.1), points, torch.stack(paths))

# %% [markdown]
# 图：左，弧与直路在每个方向（灰点线）上各有一点，只差长度。右，用最好的猜测走直路的坐标，从空心的点走到实心的点；黑点线连着首尾，橙叉是全体的均值。
#
# 单独一对 $(x_0,\varepsilon)$ 的路是直的，走出来的路为什么弯？因为网络学到的是许多对的平均。噪声大时，最好的猜测接近全体的均值，路就先奔橙叉去；走近了，才折回自己那一处。所以一步走不到。
#
# 由“只差一个长度”，得三句话。**一，猜 $v$ 的网络不用重练，就能当作流匹配的网络用。** `as_flow` 就是换算，上面已经核对。
#
# **二，直路上的欧拉法就是 DDIM。** 走一步，$x_u+(s-u)(\hat\varepsilon-\hat x_0)=(1-s)\hat x_0+s\hat\varepsilon$，与 DDIM 一样，是把两份猜测换一个配比。差别只在停在哪里：流匹配惯常让 $u$ 均匀。停在哪里属于走法，哪个网络都能换。
#
# **三，训练的权重也没有换。** 第 4 节的图里，两家抽到的密度不同；可是密度乘上损失的大小才是权重，乘起来恰好一样。$x_0$ 错 1，速度就错 $1/u$，所以 $x_0$ 误差的权重是 $1/u^2$，而 $u$ 均匀地抽。由 $u=r\sin\varphi$，$\mathrm d\varphi=\mathrm du/r^2$，得
#
# $$\frac{\mathrm du}{u^2}=\frac{\mathrm d\varphi}{\sin^2\varphi}=(\mathrm{SNR}+1)\,\mathrm d\varphi.$$
#
# 右边正是 `cosine`（角度均匀）下猜 $v$ 的权重，只差一个常数与两端的截断（Kingma 与 Gao 2023）。
#
# 期望的损失既然一样，两种训练还有什么不同？有四样：各种噪声抽几次，它改变梯度的方差；输出是 $\varepsilon-x_0$ 还是 $v$；输入是 $x_u$ 还是 $x_\varphi$；时间喂的是 $1000u$ 还是步号。这四样要紧吗？从头练一个来量。损失三行，采样两行；`descend` 就是第 5 章的训练循环，Adam，学习率照余弦降到 0：

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
made = {f"{count} 步": travel(flow, torch.linspace(1, 0, count + 1).tolist()) for count in (3, 10, 50)}
points_figure(made, shadow=real)

# %% [markdown]
# 图：流匹配的网络用欧拉法走 3、10、50 步造的四千个点，灰影是真的点。3 步时两弯之间填满了点，两头的尖端还没有长出来；10 步时两弯分明；50 步边缘更准，两弯之间仍有一层散点，就是下表的造错。
#
# 与第 5 章猜 `v` 的网络比：同样的网络、一千步、每批 512，八个种子。± 是标准误，`v` 用 DDIM，取步是 `trailing`：
#
# | 步数 | 流匹配，造错 | `v`，造错 | 流匹配，漏掉 | `v`，漏掉 |
# |--:|--:|--:|--:|--:|
# | 3 | 14.7% ± 0.3% | 12.3% ± 0.4% | 19.7% ± 0.4% | 26.9% ± 0.7% |
# | 10 | 6.8% ± 0.1% | 5.2% ± 0.1% | 1.8% ± 0.1% | 3.9% ± 0.2% |
# | 50 | 5.6% ± 0.2% | 4.2% ± 0.1% | 0.8% ± 0.1% | 1.1% ± 0.1% |
#
# 互有胜负：流匹配漏得少，步数越少差得越多；造错却始终多些，多 1.4 到 2.4 个百分点。这里训练与停在哪里都不同，章末的小实验把它们分开。
#
# ## 8　再往前
#
# 走到这里，步数还是十几步。要一两步，就得让网络直接猜路的尽头。渐进蒸馏（Salimans 与 Ho 2022）让学生一步走老师的两步，反复减半（习题 05.2）。一致性模型（Song 等 2023）要求同一条路上每一点猜出同一个 $x_0$，所以一步就到。整流流把学到的路拉直了再学一遍。
#
# 想看第 1、4、5、7 节的损失为什么是一回事，读 Kingma 与 Gao 2023：它把各家的损失写成加权的变分下界。
#
# ## 小结
#
# - **这一章的问题**：后来的方法换掉了 DDPM 的什么，留下了什么？
# - **答案**：留下的是要学的东西：掺高斯噪声，用平方误差猜回去，由 $x_t$ 与噪声的大小猜 $\mathbb E[x_0\mid x_t]$（或 $\hat\varepsilon$、$\hat v$、得分、$F$、直路的速度，一个换得出其余）。换掉的有四样：
#
# | 换掉的 | DDPM | 后来 | 这一章量到的 |
# |:--|:--|:--|:--|
# | 走法：停在哪里，每步怎样走 | 一千步，掺噪声 | DDIM、Heun、DPM-Solver++ | 斜率 1 变成 2；`mnist` 上 DPM-Solver++ 的 10 次，只比 DDIM（`linspace`）的 50 次高 1.5 ± 0.5 |
# | 噪声：训练看哪些，从哪里出发 | $t$ 均匀，$\beta$ 等距 | EDM 的 $\ln\sigma$，零终端信噪比 | $\sqrt\beta$ 等距的 `linear`，灰图亮度的标准差从 0.26 回到 0.54，真的是 0.58 |
# | 权重 | 猜 $\varepsilon$，全取 1 | min-SNR、$v$ 的权重 | 月牙上，`x0` 漏掉 20% 降到 16%，`v` 造错 4.2% 升到 5.5% |
# | 坐标 | $x_t$ | EDM 的 $y$，直路的 $x_u$ | 猜 $v$ 的网络不用重练就换得过去；重练的与原来的比，走 50 步造错 5.6% 对 4.2%，漏掉 0.8% 对 1.1% |
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
# 1. 造错全是训练的：同样的步子，流匹配总多 1.3 到 1.5 个百分点（逐个种子相减，标准误 0.1 到 0.2），换步子只动 0.4 以内。
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
