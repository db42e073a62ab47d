# %% [markdown]
# # 04 · 后验与 `v_posterior`
#
# **学习目标**
#
# - 说得出倒着走的一步为什么可以当成高斯，步子大了为什么不行；去噪的时候为什么还要加噪声。
# - 用贝叶斯公式推出后验 $q(x_{t-1}\mid x_t, x_0)$，得到 $c_1$、$c_2$ 和 $\tilde\beta_t$。
# - 读懂去噪的一步与整条链：`q_posterior`、`p_mean_variance`、`p_sample`、`p_sample_loop`。
# - 说清 `v_posterior` 管什么，为什么 $v=0$ 与 $v=1$ 各在一种数据上最优。
#
# **预计用时** 60 分钟。运行全部单元约 40 秒。

# %%
import math

import numpy as np
import torch

from ddpm_edu import DDPM, GaussianDiffusion, load_pretrained, make_beta_schedule
from ddpm_edu.gaussian import diffusion_tables, extract_into_tensor
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import recognised
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.sampling import Sampling, ancestral_step, spaced_timesteps
from ddpm_edu.teach import card, check, check_order, check_raises, curve_figure, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.laboratory import chain_moments, chain_variances, gaussian_ddpm
from ddpm_edu.teach.panels import chain_panel, denoise_panel, posterior_panel, samples_panel
from ddpm_edu.teach.panels.denoise import record
from ddpm_edu.teach.panels.posterior import posterior_grids

betas = make_beta_schedule("sqrt_linear", 1000)  # 论文的 linear
print("准备好了")

# %% [markdown]
# ## 1　倒着走一步，要知道什么
#
# 去噪过程 (reverse process) 每一步从 $x_t$ 走到 $x_{t-1}$。只知道 $x_t$ 时，$q(x_{t-1}\mid x_t)$ 没有公式，因为它牵涉整个数据分布。
#
# ### 退一小步，几乎是高斯；退一大步，就不是
#
# 虽然写不出一般的公式，在简单的例子里却可以画出来。取第 3 章那个最简单的数据：$x_0$ 只有 $+1$ 与 $-1$ 两种，各占一半。记要退到的步号为 $s$；这时 $q(x_s)$ 是两个高斯的混合，$q(x_s\mid x_t)\propto q(x_t\mid x_s)\,q(x_s)$ 可以直接画出来。
# 站在 $t=250$、$x_t=0.2$ 处往回看：退 1 步、退 100 步、退 200 步，原来可能在哪里？
#
# **先猜一猜**：三条曲线各有几个峰？

# %%
bars = diffusion_tables(betas)["alphas_cumprod"]
here, place, y = 250, 0.2, np.linspace(-2.5, 2.5, 2001)


def normal(x, mean, variance):
    return np.exp(-(x - mean) ** 2 / (2 * variance)) / np.sqrt(2 * np.pi * variance)


plots, gaps = [], []
for back in (1, 100, 200):
    bar = bars[here - back]
    ratio = bars[here] / bar
    exact = normal(place, np.sqrt(ratio) * y, 1 - ratio) * sum(normal(y, sign * np.sqrt(bar), 1 - bar) for sign in (-1, 1))
    exact /= exact.sum() * (y[1] - y[0])
    mean = (exact * y).sum() / exact.sum()
    like = normal(y, mean, (exact * (y - mean) ** 2).sum() / exact.sum())
    gaps.append(0.5 * abs(exact - like).sum() * (y[1] - y[0]))
    plots.append((y, {"真的": exact, "高斯": like}, f"退 {back} 步：$x_{{{here - back}}}$", "密度" if back == 1 else ""))
print("两条曲线的差别（0 是相同，1 是不重叠）：", "，".join(f"退 {back} 步 {gap:.1%}" for back, gap in zip((1, 100, 200), gaps)))
check_order("退 1 步几乎就是高斯", gaps[0], 0.01, digits=2)
check_order("退 200 步差了六成", 0.6, gaps[2])
curves_figure(*plots)

# %% [markdown]
# 图：实线是真的 $q(x_s\mid x_t)$，虚线是均值、方差与它相同的高斯。退 1 步（一千步的链就是这样走的），两条线重合；退 100 步（十步的链），已经有两个峰；退 200 步（五步的链），几乎只剩 $\pm1$ 附近两处，高斯的峰却在 0.3，那里真的密度接近 0。三张图的纵轴不同。
#
# 这就是每步撒高斯噪声的采样器要走那么多步的理由。网络每一步只给出一个高斯：步子小时，真的分布也差不多是高斯，没有损失什么；步子大了，一个高斯容不下两个峰，退 200 步时大半的概率给了两峰之间和之外。
# （步子趋于 0 时，倒着走的过程与正着走的形式相同：Sohl-Dickstein 等 2015 年引 Feller 1949 年的结果，用到了生成上。一维的 $\pm1$ 是极端的例子，手写数字走 25 步，分类器已经张张认得出，见第 4 节；DDIM 不撒噪声，另有道理，见第 7 章。）
#
# ### 连 $x_0$ 也知道的话
#
# 步子小时可以用高斯，可是它的均值仍牵涉整个数据分布，写不出来。先考虑一个容易的问题：$x_0$ 已知。（采样时不知道 $x_0$，第 3 节再用网络的猜测顶上。）这时贝叶斯公式就给出答案，它叫后验 (posterior)：
#
# $$q(x_{t-1}\mid x_t, x_0) \propto q(x_t\mid x_{t-1}, x_0)\;q(x_{t-1}\mid x_0) = q(x_t\mid x_{t-1})\;q(x_{t-1}\mid x_0).$$
#
# 等号成立，是因为加噪每一步只看上一步（马尔可夫性），知道了 $x_{t-1}$，$x_0$ 就没有新的信息。右边两个都是高斯，第 2、3 章写过：一个说“从 $x_0$ 走来，$x_{t-1}$ 该在哪里”，一个说“再走一步就到了 $x_t$，$x_{t-1}$ 该在哪里”。先画出来，看看两个高斯相乘得到什么。

# %%
tables = diffusion_tables(betas)
t, x_t, x0 = 5, 0.84, 0.9
a_prev, beta = tables["alphas_cumprod_prev"][t], betas[t]
y = np.linspace(0.76, 1.0, 24_001)
come, leave = normal(y, np.sqrt(a_prev) * x0, 1 - a_prev), normal(x_t, np.sqrt(1 - beta) * y, beta)
product = come * leave
product /= product.sum() * (y[1] - y[0])
curves_figure((y, {"相乘再归一：后验": product, r"从 $x_0$ 走来：$q(x_{t-1}|x_0)$": come, r"再走一步到 $x_t$：$q(x_t|x_{t-1})$": leave},
               "$x_{t-1}$", "密度"))

# %% [markdown]
# 图：$t=5$、$x_0=0.9$、$x_t=0.84$。后验落在两个峰之间，偏向窄的一个（它更有把握），而且比两个都窄：两个消息合起来，比哪一个都确定。下面的公式说的就是这三件事。
#
# 只看指数里含 $x_{t-1}$ 的部分，记 $y = x_{t-1}$：
#
# $$-\frac{(x_t-\sqrt{\alpha_t}\,y)^2}{2\beta_t} - \frac{(y-\sqrt{\bar\alpha_{t-1}}\,x_0)^2}{2(1-\bar\alpha_{t-1})}.$$
#
# 它是 $y$ 的二次函数，所以后验还是高斯。高斯的指数里 $y^2$ 的系数是 $-\dfrac1{2\tilde\beta_t}$，与上式比较：
#
# $$\frac1{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac1{1-\bar\alpha_{t-1}} = \frac{\alpha_t(1-\bar\alpha_{t-1}) + \beta_t}{\beta_t(1-\bar\alpha_{t-1})} = \frac{1-\bar\alpha_t}{\beta_t(1-\bar\alpha_{t-1})}.$$
#
# 最后一步用了 $\alpha_t - \alpha_t\bar\alpha_{t-1} + \beta_t = 1-\bar\alpha_t$。所以
#
# $$\tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t.$$
#
# 高斯的指数里 $y$ 的一次项系数是均值除以方差，上式给出 $\dfrac{\sqrt{\alpha_t}\,x_t}{\beta_t} + \dfrac{\sqrt{\bar\alpha_{t-1}}\,x_0}{1-\bar\alpha_{t-1}}$，乘上 $\tilde\beta_t$ 就得到均值：
#
# $$\tilde\mu_t = c_1 x_0 + c_2 x_t,\qquad c_1 = \frac{\beta_t\sqrt{\bar\alpha_{t-1}}}{1-\bar\alpha_t},\qquad c_2 = \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}.$$

# %% [markdown]
# 方差的倒数叫精度：第一个公式说，两个高斯相乘，精度相加，所以后验比两个都窄；均值是两处的加权平均，权重正比于各自的精度，所以偏向窄的一个。
#
# 推导里除以了 $1-\bar\alpha_{t-1}$，所以要求 $t\ge1$；最后的公式代入 $t=0$ 也有意义，见下。
# 用上图里的那条曲线核对：它是两个密度在细格子上相乘、归一得到的，没有用过这些公式。

# %%
product /= product.sum()
mean = (product * y).sum()
check("均值 = c₁x₀ + c₂x_t", mean, tables["posterior_mean_coef1"][t] * x0 + tables["posterior_mean_coef2"][t] * x_t, atol=1e-9)
check("方差 = β_tilde", (product * (y - mean) ** 2).sum(), tables["posterior_variance"][t], rtol=1e-6)

# %% [markdown]
# 两个端点值得记住。代码从 0 数步，$t=0$ 的图已经加过一步噪声，再退一步就是原图，所以 $t=0$ 时 $\bar\alpha_{-1}=1$，于是 $c_1=1$、$c_2=0$、$\tilde\beta_0=0$：最后一步直接把 $x_0$ 交出来。
# $t$ 很大时 $\tilde\beta_t$ 与 $\beta_t$ 几乎相等。

# %%
check("t=0：c₁", tables["posterior_mean_coef1"][0], 1.0, atol=1e-12)
check("t=0：c₂ = 0，β_tilde = 0", [tables["posterior_mean_coef2"][0], tables["posterior_variance"][0]], [0.0, 0.0])
ratio = tables["posterior_variance"] / betas
check("β_tilde/β 在 t = 1, 2, 5, 10, 50", ratio[[1, 2, 5, 10, 50]], [0.455, 0.611, 0.778, 0.864, 0.965], atol=5e-4)
check_order("前六分之一之后，两者相差不到 1%", 0.99, ratio[167:].min(), digits=4)

# %% [markdown]
# ## 2　`q_posterior`
#
# 这一章从这里起，$v$ 单指 `v_posterior`（采样方差在两个极端之间的位置，第 5 节细讲），不是第 5 章的速度。

# %%
show_source(GaussianDiffusion.q_posterior,
            "def q_posterior", "check_like(", "mean = (", "variance = extract_into_tensor(self.posterior_variance")

# %% [markdown]
# - ① 返回均值、方差、截断过的对数方差。
# - ② 类型与形状的检查。
# - ③ $c_1 x_0 + c_2 x_t$，一项一行。
# - ④ 方差已按 $v$ 混合；取对数之前，$t=0$ 处的 $\tilde\beta_0=0$ 先换成 $\tilde\beta_1$。

# %% [markdown]
# 取对数之前为什么要换？$v=0$ 时 $t=0$ 处的方差是 0，若只截到一个很小的数，比如 $10^{-20}$，对数是 $-46$。采样时不要紧，算似然就荒唐了：
# 一个像素只要偏了 0.001，负对数密度就会大得离谱。

# %%
naive_log_variance = math.log(max(tables["posterior_variance"][0], 1e-20))
check("截断的写法", naive_log_variance, -46.05, atol=0.01)
penalty = 0.5 * 0.001**2 / math.exp(naive_log_variance)
check_order("偏 0.001，代价超过 10¹³ nats", 1e13, penalty, digits=2)
check("用 β_tilde_1 代替", tables["posterior_log_variance_clipped"][0], -9.81, atol=0.01)

# %% [markdown]
# ## 3　把 $x_0$ 换成猜测
#
# 采样时没有 $x_0$，只有网络的猜测 $\hat x_0$。做法是把后验均值里的 $x_0$ 换成 $\hat x_0$。
# 道理在于后验的均值对 $x_0$ 是线性的：代入条件期望 $\mathbb E[x_0\mid x_t]$，得到的正是 $\mathbb E[x_{t-1}\mid x_t]$；而条件期望正是网络要学的（第 5 章）。

# %%
show_source(Sampling.predict_start,
            "def predict_start", "x_recon = self.objective", "return x_recon.clamp")

# %% [markdown]
# - ① 网络输出 → $\hat x_0$。`guidance_scale` 只在有条件时起作用（把有条件与无条件的两次输出拉开，第 8 章）；它的默认值 1 等于没有，这一章都用默认值。
# - ② 三种目标的差别都在 `objective` 里，这里没有分支。
# - ③ 截断返回新的张量，网络自己的输出不动。

# %%
show_source(Sampling.p_mean_variance,
            "def p_mean_variance", "x_recon = self.predict_start", "if step is None:", "else:", "return (*moments")

# %% [markdown]
# - ① 这是 $p_\theta(x_{t-1}\mid x_t)$ 的均值与方差，$p_\theta$ 表示网络给出的去噪分布。论文的式 (11) 用 $\hat\varepsilon$ 写，把 $\hat x_0$ 用 $\hat\varepsilon$ 代换就是它，下面核对。
# - ② 猜出 $\hat x_0$。
# - ③ 只有一步替换：$x_0\to\hat x_0$，别的都由 `q_posterior` 算。
# - ④ 从 $x_t$ 不走到 $x_{t-1}$ 而走到别处时，系数由 `step` 给，第 4 节讲。
# - ⑤ 画轨迹要看 $\hat x_0$，所以可以一起交出来。

# %%
eps_model = DDPM(**toy_model_config(clip_denoised=False)).double()
x_t, eps_hat, t = torch.randn(3, 1, 8, 8).double(), torch.randn(3, 1, 8, 8).double(), torch.tensor([1, 300, 999])
mean, _, _ = eps_model.q_posterior(eps_model.predict_start_from_noise(x_t, t, eps_hat), x_t, t)
b, a_bar = (extract_into_tensor(table, t, x_t.shape) for table in (eps_model.betas, eps_model.alphas_cumprod))
check("论文的式 (11)", mean, (x_t - b / (1 - a_bar).sqrt() * eps_hat) / (1 - b).sqrt(), atol=1e-10)

# %%
card("clip_denoised")
torch.manual_seed(0)
clipped, free = (DDPM(**toy_model_config(clip_denoised=clip_denoised)) for clip_denoised in (True, False))
noise = torch.randn(2, 1, 8, 8)
steps = torch.full((2,), 999)
check("截断之后都在 [-1, 1]", clipped.predict_start(noise, steps, clipped.clip_denoised).abs().max() <= 1, True)
largest = free.predict_start(noise, steps, free.clip_denoised).abs().max()
print(f"不截断时，最大的是 {largest:.0f}")
check("就是噪声的最大值放大 1/√ᾱ 倍", largest, noise.abs().max() / free.alphas_cumprod[999].sqrt(), atol=1e-3)

# %% [markdown]
# 未训练的网络输出 0（最后一层的初值是 0，第 8 章），`eps` 参数化下 $\hat x_0 = x_t/\sqrt{\bar\alpha_t}$。这个小模型用的是 `linear` 表，在 $t=999$ 处放大 37 倍（论文的 `sqrt_linear` 是 157 倍），噪声的最大值有 3 上下，所以 $\hat x_0$ 大到一百上下。
# 截断把这样的错误挡在这一步。

# %% [markdown]
# ## 4　一步与整条链：三个数

# %%
show_source(Sampling.p_sample,
            "@torch.no_grad()", "check_sample(\"x\"", "if step is None:", "x_s = mean", "return (x_s.to")

# %% [markdown]
# - ① 前四个参数同参考实现，后面的只能按名字给。
# - ② 检查输入；均值、方差、$\hat x_0$ 都由 `p_mean_variance` 给。
# - ③ $\sigma_t = e^{\frac12\ln\sigma_t^2}$。$t=0$ 的样本不再加噪声：那已经是最终的图。
# - ④ 走一步：均值加上 $\sigma z$，噪声在这里才抽；`repeat_noise` 让整批共用一份。$\sigma$ 是 0 就不抽。
# - ⑤ 公式用 float32 算，结果换回输入的类型。

# %% [markdown]
# “$t=0$ 时误加了噪声”这种错，从样本的统计量很难看出来：那一步的标准差只有 0.007 上下。
# 所以用脉冲来查：给一份大得离谱的噪声，看它有没有漏过来。

# %%
torch.manual_seed(0)
model = DDPM(**toy_model_config())
x = torch.zeros(1, 1, 8, 8)
last = model.p_sample(x, torch.tensor([0]), noise=torch.full_like(x, 1e6))
first = model.p_sample(x, torch.tensor([1]), noise=torch.full_like(x, 1e6))
check("t=0：噪声没有漏过来", last.abs().max() <= 1, True)
check_order("t=1：噪声加上了", 1e3, first.abs().max())

# %%
show_source(Sampling.p_sample_loop,
            "@torch.no_grad()", "check_bool(\"return_intermediates\"", "timesteps = spaced_timesteps", "with evaluating(self):",
            "step = SAMPLERS", "if callback is not None", "return (x, intermediates)")

# %% [markdown]
# - ① 采样不求梯度；步数、引导、起点、进度条、回调都从这里进来，一个个讲在第 7 章。
# - ② 核对各个旋钮。这一章用祖先采样 (ancestral sampling)，它的旋钮是 $v$。
# - ③ 走哪几步、那几步的 $\bar\alpha$（前面补上 $\bar\alpha_{-1}=1$）；起点抽自 $\mathcal N(0, I)$，条件在这里整理一次；隔多少步留一张。参数沿用论文的名字 `x_T`，按代码的下标它就是 $x_{T-1}$。
# - ④ 途中是 eval 模式，关掉 dropout，离开时恢复。从大到小走。
# - ⑤ 走一步：采样器给出 `step`，`p_sample` 照着走，与上面读过的是同一个。
# - ⑥ 回调拿到此刻的 $t$、$x_t$、$\hat x_0$，画轨迹用；`edit` 是补全用的，第 7 章讲；该留的中间结果留下。
# - ⑦ 要中间结果就一起返回。
#
# `step` 只有三个数。从 $x_t$ 走到更早的 $x_s$，每一步都是
#
# $$x_s = a\,\hat x_0 + b\,x_t + \sigma z,\qquad z\sim\mathcal N(0, I),$$
#
# 前两项是均值。走到相邻的 $s=t-1$ 时，$a$、$b$、$\sigma$ 就是前面的 $c_1$、$c_2$ 与 $\sqrt{\tilde\beta_t}$（$v=0$ 时；一般的 $v$ 见第 5 节）。写成 $\bar\alpha$ 的式子，$s$ 就不必是 $t-1$ 了。
# 下标 $s$ 是步号，只在第 1 节、这一节与第 7 节；第 5、6 节里单独的 $s$ 是数据的标准差，两者不要混。

# %%
show_source(ancestral_step,
            "def ancestral_step", "beta = 1 - cumprod_t / cumprod_s", "a = cumprod_s", "variance =", "return a, b")

# %% [markdown]
# - ① 两个 $\bar\alpha$ 与 $v$，都是 Python 的浮点数。
# - ② 从 $s$ 到 $t$ 这一段加噪的 $\beta$：$\alpha = \bar\alpha_t/\bar\alpha_s$。
# - ③ $c_1$ 与 $c_2$，把 $\bar\alpha_{t-1}$ 换成 $\bar\alpha_s$。
# - ④ 方差在 $\tilde\beta$ 与 $\beta$ 之间，位置由 $v$ 定（下一节）。
# - ⑤ 走到 $x_0$ 时 $\bar\alpha_s=1$，不加噪声。

# %%
steps = [ancestral_step(*pair) for pair in zip(tables["alphas_cumprod"], tables["alphas_cumprod_prev"])]
a, b, sigma = np.array(steps).T
check("走到相邻的一步：a 就是 c₁", a, tables["posterior_mean_coef1"], atol=1e-12)
check("b 就是 c₂", b, tables["posterior_mean_coef2"], atol=1e-12)
check("σ 就是 √β_tilde", sigma**2, tables["posterior_variance"], atol=1e-15)
curve_figure(np.arange(1000), {"$a$": a, "$b$": b, r"$\sigma$": sigma}, "步号 $t$", "系数")

# %% [markdown]
# 图：祖先采样的三个数。$t$ 大时 $b\approx1$，每一步只往猜测挪一点点，再撒一点噪声，都很小，累起来才成图；快到终点时 $a$ 升到 1、$b$ 降到 0，最后一步直接把 $\hat x_0$ 交出来。
#
# 看一遍真实的轨迹。下面的模型随课程发布，画 28×28 的数字，用祖先采样走 50 步。这里不告诉它画几（类别给 $-1$），看它自己怎样定下来。

# %%
pretrained = load_pretrained("mnist")
trace = record(pretrained, num_samples=8, steps=50, cond=torch.full((8,), -1))
check("最后一步的猜测就是样本", trace[-2][2], trace[-1][1], atol=1e-5)
denoise_panel(trace)

# %% [markdown]
# 面板：左边 $x_t$，中间此刻的猜测 $\hat x_0$，右边是猜测与最终样本的距离。
# 开头的猜测是许多数字的平均，走到一半，多半已经看得出是几，后半程主要补细节。
# 用分类器量一量：途中的猜测与最终样本“是同一个数字”的比例。

# %%
classifier = load_classifier("mnist")
walk = record(pretrained, num_samples=80, steps=24, cond=torch.full((80,), -1))
final = classifier(walk[-1][1]).argmax(1)
agree = [float((classifier(recon).argmax(1) == final).double().mean()) for _, _, recon in walk]
check("起点：与瞎猜差不多", agree[0], 0.1, atol=0.1)
check_order("走到一半：多半已经看得出是几", 0.5, agree[12], digits=2)
curve_figure(range(len(agree)), {"": agree}, "走到第几步", "与最终是同一个数字的比例")

# %% [markdown]
# 图：横轴是走到第几步（共 24 步），纵轴是八十条轨迹里，此刻的猜测与最终样本被分类器认作同一个数字的比例。从猜测里**看得出**是几，是一路上慢慢清楚的。
#
# ### 为什么去噪的时候还要加噪声
#
# 初学的人几乎都要问：明明在去噪声，为什么每一步又撒进去一些？试一试就知道。把每一步撒的噪声乘上 $k$：$k=1$ 是照公式，$k=0$ 是一点不撒，其余一概不变。
#
# **先猜一猜**：$k=0$ 时，四个不同的起点，会走到四张怎样的图？

# %%
levels = pretrained.exact_table("alphas_cumprod").tolist()
times = spaced_timesteps(1000, 25)[::-1].tolist()
labels = torch.arange(10).repeat(4)


@torch.no_grad()
def walk_back(k):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 1, 28, 28, generator=generator)
    for t, s in zip(times, [*times[1:], None]):
        a, b, sigma = ancestral_step(levels[t], 1.0 if s is None else levels[s])
        recon = pretrained.predict_start(x, torch.full((40,), t), cond=labels)
        x = a * recon + b * x + k * sigma * torch.randn(x.shape, generator=generator)
    return x


drawn = {k: walk_back(k) for k in (1.0, 0.5, 0.0)}
grid_figure(torch.cat([x[:20] for x in drawn.values()]), nrow=10, rows=[f"$k={k:g}$" if row == 0 else "" for k in drawn for row in (0, 1)], columns="0123456789")

# %% [markdown]
# 图：每个 $k$ 两行，一列一个数字，起点逐个不同、三个 $k$ 之间相同。$k=1$ 的两行，字形各异；$k=0$ 的两行几乎分不出，另外两张没有画出来的也是，字形规矩，0、2、8 还偏粗。量一量：

# %%
spread = {k: x.view(4, 10, -1).std(0).mean(1) for k, x in drawn.items()}
for k, each in spread.items():
    share = recognised(classifier, drawn[k], labels)["recognised"]
    print(f"k={k:g}　同一个数字的四张之间，像素的标准差 {each.mean():.3f} ± {each.std() / 10**0.5:.3f}　分类器认得出 {share:.0%}")
check_order("k=0：四张几乎是同一张", spread[0.0].mean(), 0.1 * spread[1.0].mean(), digits=2)

# %% [markdown]
# （± 是十个数字之间的标准误。）
#
# 不撒噪声，四个起点走到几乎同一张图：不更糊，却**千篇一律**，多样性只剩二十分之一。分类器照样张张认得出，所以只看“认得出”，看不出这个采样器坏了。
#
# 道理就在这一节的公式里。$a\hat x_0+b\,x_t$ 是后验的**均值**，已知 $x_t$ 与 $x_0$ 时，$x_s$ 本来围着这个均值散开，方差正是这里的 $\sigma^2=\tilde\beta$（$x_0$ 不确定带来的另一份，第 5 节再算）。一步步只取均值，就一步步少掉这一圈；
# $x_s$ 比它该有的样子干净，网络却仍被告知“这是第 $s$ 步”，于是把剩下的差别也当成噪声去掉，最后所有的起点汇到一处。撒进去的噪声，补的就是均值里丢掉的那一圈。
# 有一个算得清的例子：数据是 $\mathcal N(0,1)$ 时，不撒噪声的一步恰好是 $x\leftarrow\sqrt{\alpha_t}\,x$，走完乘上 $\sqrt{\bar\alpha_{T-1}}\approx0$，什么起点都到 0。真的图不至于变成一团平均：差别是一级一级缩掉的，先定大轮廓，再在这个轮廓里取中间（这是直观的说法，没有证明）。
#
# 那么不撒噪声就一定不行吗？不撒也行，但系数要跟着改：把本该重新撒的那份，换成从 $x_t$ 里留下更多。这就是 DDIM，第 7 章讲。

# %% [markdown]
# ## 5　方差的两个极端：`v_posterior`
#
# 均值用了 $\hat x_0$，方差该用多少？真实的 $q(x_{t-1}\mid x_t)$ 要对 $x_0$ 的不确定性再求一次平均。
# 由全方差公式，后验的均值 $c_1x_0+c_2x_t$ 里 $x_0$ 是随机的，所以
#
# $$\mathrm{Var}(x_{t-1}\mid x_t) = \tilde\beta_t + c_1^2\,\mathrm{Var}(x_0\mid x_t).$$
#
# 这里约定 $\sigma_t^2$ 只随 $t$ 变，不随 $x_t$ 变，最好的选择是上式对 $x_t$ 的平均：对 $\sigma^2$ 最小化高斯的负对数似然 $\tfrac12\ln\sigma^2 + \dfrac{\tilde\beta_t + c_1^2\,\mathbb E\,\mathrm{Var}(x_0\mid x_t)}{2\sigma^2}$，令导数为 0，得到的正是它。
#
# - 数据是一个点：$\mathrm{Var}(x_0\mid x_t)=0$，答案是 $\tilde\beta_t$。
# - 数据是 $\mathcal N(0, 1)$：先看一般的 $\mathcal N(m, s^2)$：知道 $x_t$ 之后，精度相加（第 1 节），$\dfrac1{\mathrm{Var}(x_0\mid x_t)} = \dfrac1{s^2}+\dfrac{\bar\alpha_t}{1-\bar\alpha_t}$，即 $\mathrm{Var}(x_0\mid x_t) = s^2(1-\bar\alpha_t)/D$，其中 $D=\bar\alpha_ts^2+1-\bar\alpha_t$。$s=1$ 时 $D=1$，就是 $1-\bar\alpha_t$。于是答案是 $\tilde\beta_t + c_1^2(1-\bar\alpha_t) = \dfrac{\beta_t(1-\bar\alpha_{t-1}) + \beta_t^2\bar\alpha_{t-1}}{1-\bar\alpha_t} = \dfrac{\beta_t(1-\alpha_t\bar\alpha_{t-1})}{1-\bar\alpha_t} = \beta_t$。
#
# 像素在 $[-1,1]$ 内，方差 $s^2\le1$。第 5 章那个线性猜测的均方误差只用到均值与方差，所以对任何数据都是 $s^2(1-\bar\alpha_t)/D$；它未必最好，所以 $\mathbb E\,\mathrm{Var}(x_0\mid x_t)\le s^2(1-\bar\alpha_t)/D\le 1-\bar\alpha_t$（后一步：$s^2\le D$ 等价于 $s^2\le1$）。
# 因此真实的数据平均说来在两者之间。`v_posterior` 在两个方差之间线性混合：
#
# $$\sigma_t^2 = (1-v)\,\tilde\beta_t + v\,\beta_t.$$
#
# 注意：混合的是方差，不是标准差。Improved DDPM 混合的是对数方差，与此不同。

# %%
c1, bar, tilde = tables["posterior_mean_coef1"], tables["alphas_cumprod"], tables["posterior_variance"]
check("x₀ ~ N(0, 1)：最优方差正好是 β_t", tilde + c1**2 * (1 - bar), betas, atol=1e-15)
for v in (0.0, 0.3, 1.0):
    mixed = diffusion_tables(betas, v)["posterior_variance"]
    check(f"v={v}：混合的是方差", mixed, (1 - v) * tilde + v * betas, atol=1e-18)

# %%
card("v_posterior")
for v_posterior in (0.0, 1.0):
    chain = GaussianDiffusion(given_betas=betas, v_posterior=v_posterior)
    low, high = chain.exact_table("posterior_variance")[1:3], chain.exact_table("betas")[1:3]
    print(f"v_posterior={v_posterior}：σ²/β 在 t=1, 2 处是", [f"{value:.3f}" for value in (low / high).tolist()])
check_raises("−1 会给出负的方差，所以拒绝", lambda: GaussianDiffusion(v_posterior=-1.0), "v_posterior")
check_order("若不拒绝，t=1 的方差会是负数", (1 - -1.0) * tilde[1] + -1.0 * betas[1], 0)

# %%
posterior_panel(betas)

# %% [markdown]
# 面板：上排左边是对数轴上的 $\sigma_t^2$，它在 $\tilde\beta_t$（点线）与 $\beta_t$（虚线）之间；中间放大 $t\le 20$ 的一段；右边是与 $\beta_t$ 的比值。
# 下排是对数方差，以及变分下界里只与方差有关的常数（第 6 章）。
# 差别集中在前几十步：$t=50$ 处两端只差 3.5%，$t=167$ 之后不到 1%。

# %% [markdown]
# ## 6　整条链：哪个 $v$ 最好
#
# 数据是 $\mathcal N(m, s^2)$ 时，完美的去噪器是线性的（第 5 章第 5 节）。线性的一步把高斯变成高斯，所以整条链的均值 $\mu$ 与方差 $V$ 可以逐步算出。
# 起点抽自 $\mathcal N(0,1)$，即 $\mu=0$、$V=1$。记 $k=\sqrt{\bar\alpha_t}\,s^2/D$，$g = c_1k+c_2$，每一步
#
# $$\mu\leftarrow g\mu + c_1 m(1-k\sqrt{\bar\alpha_t}),\qquad V\leftarrow g^2V + \sigma_t^2\,[t>0].$$
#
# 方括号在条件成立时是 1，否则是 0：最后一步不加噪声。
#
# 先核对：让真实的 `DDPM` 配上完美的去噪器，采四万个样本，与这个递推比较。

# %%
short = make_beta_schedule("cosine", 10)
for v in (0.0, 1.0):
    perfect = gaussian_ddpm(short, mean=0.3, std=0.5, v=v)
    x = perfect.p_sample_loop((40_000, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    mean, variance = chain_moments(short, 0.3, 0.5, v)
    check(f"v={v}：样本的均值", x.mean(), mean, atol=0.01)
    check(f"v={v}：样本的方差", x.var(), variance, atol=0.01)
    side = "太集中" if v == 0.0 else "太分散"
    check(f"v={v}：比数据的方差 0.25 {side}", (variance < 0.25) == (v == 0.0), True)

# %% [markdown]
# 现在看两个极端。`chain_variances` 给出每一步的“采样链的方差除以真实的方差”，第 0 项是最终样本，后面依次是 $t=0,1,\dots$ 的带噪图。
# 数据收成一个点（$s\to0$）时，$v=0$ 的链在途中每一步都与真实的边缘分布（$x_t$ 单独的分布 $q(x_t)$）一致；数据是 $\mathcal N(0,1)$ 时，$v=1$ 的链途中每一步都一致（最后一步不加噪声，另算）。

# %%
long = make_beta_schedule("cosine", 50)
point, normal = 1e-9, 1.0
check("一个点，v=0：途中每一步的方差都对", chain_variances(long, point, 0.0)[1:], np.ones(50), atol=1e-4)
check_order("一个点，v=1：偏得最多的一步，是真值的两倍多", 2, chain_variances(long, point, 1.0)[1:].max())
check("N(0,1)，v=1：途中每一步的方差都对", chain_variances(long, normal, 1.0)[1:], np.ones(50), atol=1e-4)
check("最后一步不加噪声，所以恰好少了 β₀", chain_variances(long, normal, 1.0)[0], 1 - long[0], atol=1e-12)
check_order("N(0,1)，v=0：最终偏小", chain_variances(long, normal, 0.0)[0], 0.97)

# %% [markdown]
# 还能再进一步：对每个 $t$，最优的 $v$ 有公式。令 $\tilde\beta_t + c_1^2 s^2(1-\bar\alpha_t)/D = (1-v)\tilde\beta_t + v\beta_t$，两边减去 $\tilde\beta_t$。
# 上面算过 $\beta_t-\tilde\beta_t = c_1^2(1-\bar\alpha_t)$，约去之后
#
# $$v^*_t = \frac{s^2}{D} = \frac{s^2}{\bar\alpha_t s^2 + 1-\bar\alpha_t}.$$
#
# $s=0$ 时处处为 0，$s=1$ 时处处为 1。$0<s<1$ 时，从 $t=0$ 附近的 1 降到尾部的 $s^2$：对这种高斯数据，越接近原图，越该用大的 $v$。真实的图不是这样，见第 7 节。

# %%
steps = np.arange(1, 1000)
best = {f"$s={s}$": s**2 / (bar[1:] * s**2 + 1 - bar[1:]) for s in (0.1, 0.3, 0.5)}
check("公式与定义一致", tilde[1:] + c1[1:] ** 2 * 0.25 * (1 - bar[1:]) / (bar[1:] * 0.25 + 1 - bar[1:]),
      (1 - best["$s=0.5$"]) * tilde[1:] + best["$s=0.5$"] * betas[1:], atol=1e-15)
curve_figure(steps, best, "$t$", "$v^*_t$")

# %% [markdown]
# 图：对标准差为 $s$ 的高斯数据，每一步最优的 $v$。没有一个常数对所有 $t$ 都最好。Improved DDPM 的办法是不用常数，让网络自己学每一步的方差。

# %%
chain_panel()

# %% [markdown]
# 面板：纵轴是“采样链的方差除以真实的方差”，1 是完美。左图沿着 $t$ 看，右图看最终样本怎样随 $v$ 变。
# 步数取 10，除最左端（最终样本）以外：把数据的标准差拉到 1，$v=1$ 的线变平；拉到最小，$v=0$ 的线变平。
# 标准差 0.5、步数 200 时，所有的线都在 1 附近：步数够多，数据又不太窄，$v$ 就不要紧。

# %% [markdown]
# ## 7　走得快：只走其中几步
#
# 训练用了 $T=1000$ 步，采样可以只走其中 10 步。要求边缘分布不变：保留的每一步，$\bar\alpha$ 与原来相同。
# 上一个保留的步记作 $s$，从 $s$ 到 $t$ 合成的一步满足 $\alpha' = \bar\alpha_t/\bar\alpha_s$，所以 $\beta' = 1-\bar\alpha_t/\bar\alpha_s$：正是 `ancestral_step` 的第一行。
# 于是抽步不用另写什么，循环只是换了一串步号；网络看的仍是原来的步号 `timesteps[i]`。

# %%
kept = spaced_timesteps(1000, 10)
a_bar = np.append(1.0, tables["alphas_cumprod"][kept])
fast = 1 - a_bar[1:] / a_bar[:-1]
check("边缘分布不变：短链的 ᾱ 与原来相同", np.cumprod(1 - fast), tables["alphas_cumprod"][kept], atol=1e-12)
sigmas = [ancestral_step(a_bar[i + 1], a_bar[i])[2] for i in range(10)]
check("σ² 就是短链的 β_tilde", np.square(sigmas), diffusion_tables(fast)["posterior_variance"], atol=1e-12)
check_order("步子大了，β_tilde 与 β 的差别也大了", (diffusion_tables(fast)["posterior_variance"] / fast)[3], 0.8)

# %%
digits = torch.arange(10)
grids = posterior_grids(pretrained, steps=(5, 10, 20), num_samples=20, cond=digits.repeat(2))
check_order("同一份噪声，只有 v 不同，样本就不同", 0.1, float(np.abs(grids[10, 0.0] - grids[10, 1.0]).max()), digits=2)
samples_panel(grids)

# %% [markdown]
# 面板：训练好的模型在同一份噪声下的样本，上面两行是 $v=0$，下面两行是你选的 $v$。步数越少、$v$ 越大，背景上的脏点越多。
#
# 图上 $v=0$ 最好，第 6 节却偏向较大的 $v$，两者为什么不同？高斯例子里的像素互相独立，真实的图不是：看了整张 $x_t$，一个像素就差不多定了。
# 把 $v^*$ 的推导重做一遍，不假设高斯：$\beta_t-\tilde\beta_t = c_1^2(1-\bar\alpha_t)$ 总成立（抽步时换成短链的 $\beta'$、$\tilde\beta'$、$c_1'$，也成立），所以
#
# $$v^*_t = \frac{\mathbb E\,\mathrm{Var}(x_0\mid x_t)}{1-\bar\alpha_t}.$$
#
# 完美网络的均方误差就是分子。训练好的网络平均说来不会比它更准，所以量到的是上界（的估计：一百张图，每个 $t$ 一份噪声）。图来自 MNIST 的测试集；磁盘上没有 MNIST 时，是模型自己画的图。模型知道画的是几，量的时候也告诉它，所以这里的方差都是“已知类别”时的。

# %%
held_out, label = handwriting("../data")
generator, measured = torch.Generator().manual_seed(5), {}
for step in (10, 30, 60, 111, 200, 300, 500, 700, 900, 990):
    t = torch.full((len(held_out),), step)
    x_t = pretrained.q_sample(held_out, t, torch.randn(held_out.shape, generator=generator))
    with torch.no_grad():
        error = (held_out - pretrained.predict_start(x_t, t, cond=label)) ** 2
    measured[step] = float(error.mean() / (1 - pretrained.alphas_cumprod[step]))
gaussian = 0.25 / (0.25 * pretrained.alphas_cumprod + 1 - pretrained.alphas_cumprod)[list(measured)]
late = [v for step, v in measured.items() if step >= 111]
check("t 从 111 到 990：最优的 v 最小不到一成，最大不超过三成", [min(late) < 0.1, max(late) < 0.3], [True, True])
check("t=10 时又大了，但远没有到高斯例子的 1", [measured[10] > 1.5 * measured[111], measured[10] < 0.5], [True, True])
curve_figure(list(measured), {"手写数字，量到的": list(measured.values()), "高斯，$s=0.5$": gaussian}, "步号 $t$", "$v^*_t$")

# %% [markdown]
# 图：实线是在一百张手写数字上量到的 $v^*_t$（上界），虚线是像素互相独立、标准差 0.5 的高斯例子。
# $t$ 很大时 $x_t$ 几乎什么也没说，$v^*_t$ 就是像素自己（同一类里）的方差。往下走它先降到不到一成：看了整张图，像素互相印证。
# 快到终点才回升，一个直观的解释：这时掺的噪声很小，邻居帮不上多少忙；离高斯例子的 1 还远。
#
# 走 10 步时，掺噪声的九步 $t\ge111$，最优的 $v$ 从不到一成到两成出头，所以 $v=0$ 比 $v=1$ 近得多。
# 背景的像素更极端：几乎不动，看了 $x_t$ 之后更没有悬念，本不该掺噪声。走 10 步时最后一次掺噪声是从 $t=111$ 退到 $t=0$：$v=1$ 掺的远多于 $t=0$ 该有的，网络以为那里几乎没有噪声，就把它当作图的内容交了出来，这就是脏点。

# %%
spread = held_out.std(0).flatten()
check("784 个像素里，三成以上在这一百张图里几乎不动", (spread < 0.1).double().mean() > 0.3, True)

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - $t=0$ 的方差截到 $10^{-20}$ 再取对数，得到 $-46$；这里用 $\tilde\beta_1$ 代替（第 2 节）。
# - 截断用 `clamp_`，就地改动；目标是 `x0` 时，网络自己的输出也被改了。
# - `v_posterior` 的注释写的是 sigma，实际混合的是方差；值不检查，$-1$ 会给出负的方差。
#
# </details>

# %% [markdown]
# ## 小结
#
# - 两个高斯密度相乘，配方得到后验：方差 $\tilde\beta_t$，均值 $c_1x_0+c_2x_t$。
# - 采样的一步：猜 $\hat x_0$，代入后验，加噪声；$t=0$ 不加。
# - $v=0$ 对一个点最优，$v=1$ 对标准高斯最优，都有公式可证。一般地 $v^*_t = \mathbb E\,\mathrm{Var}(x_0\mid x_t)/(1-\bar\alpha_t)$；数据不太窄、步数够多时差别很小。
# - `v_posterior` 混合的是方差，须在 $[0,1]$ 内。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 04.1　后验的三张表 ★
#
# 由 `betas`（NumPy 数组）算出 $c_1$、$c_2$ 与 $\tilde\beta_t$ 三张表，按这个次序返回。约定 $\bar\alpha_{-1}=1$。公式在第 1 节。

# %%
def coefficients(betas):
    # 答案
    bar = np.cumprod(1 - betas)
    previous = np.append(1.0, bar[:-1])
    c1 = betas * np.sqrt(previous) / (1 - bar)
    c2 = np.sqrt(1 - betas) * (1 - previous) / (1 - bar)
    return c1, c2, betas * (1 - previous) / (1 - bar)
    # 答案完


grade("04.1", coefficients)

# %% [markdown]
# ### 04.2　去噪的一步 ★★
#
# 后验的均值 `mean` 与噪声 `noise` 形状相同，第一维是 $B$；`variance` 与 `t` 都是 $(B,)$，每个样本各有各的方差与步号。
# 返回走完这一步的样本：$t>0$ 的加噪声，$t=0$ 的不加。方差在 $t=0$ 处不一定是 0（想一想 $v=1$）。

# %%
def step(mean, variance, t, noise):
    # 答案
    sigma = variance.sqrt() * (t > 0)
    return mean + sigma.reshape(-1, *[1] * (mean.ndim - 1)) * noise
    # 答案完


grade("04.2", step)

# %% [markdown]
# ### 04.3　整条链的方差 ★★★
#
# 数据是 $\mathcal N(0, s^2)$，去噪器完美，`v_posterior` 是 `v`。照第 6 节的递推，从起点 $V=1$ 走完整条链，返回最终样本的方差。
# $k$ 与 $g$ 的公式也在那里，其中 $D_t=\bar\alpha_t s^2+1-\bar\alpha_t$ 是 $x_t$ 的方差（第 5 章）。$c_1$、$c_2$、$\tilde\beta_t$ 可以直接调用你在 04.1 写好的函数，也可以再算一遍。
# 做对之后，把它画成 $v$ 的函数：$s$ 取 0.5，$T$ 从 10 增到 1000，$v=0$ 与 $v=1$ 的差别怎样缩小？

# %%
def final_variance(betas, s, v):
    # 答案
    bar = np.cumprod(1 - betas)
    previous = np.append(1.0, bar[:-1])
    k = np.sqrt(bar) * s**2 / (bar * s**2 + 1 - bar)
    g = (betas * np.sqrt(previous) * k + np.sqrt(1 - betas) * (1 - previous)) / (1 - bar)
    noise = (1 - v) * betas * (1 - previous) / (1 - bar) + v * betas
    V = 1.0
    for t in reversed(range(len(betas))):
        V = g[t] ** 2 * V + (noise[t] if t > 0 else 0.0)
    return V
    # 答案完


grade("04.3", final_variance)

# %% [markdown]
# ### 04.4　混合对数方差 ★★
#
# Improved DDPM 混合的是对数方差：$\ln\sigma_t^2 = (1-v)\ln\tilde\beta_t + v\ln\beta_t$。$0<v<1$、$t\ge1$ 时，它给出的 $\sigma_t^2$ 与第 5 节的线性混合相比：
#
# - A：处处更大。
# - B：处处更小。
# - C：$t$ 小时更小，$t$ 大时更大。
# - D：处处相等，取对数只是换一种写法。

# %%
grade("04.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 04.5　差别只在开头 ★★★
#
# 第 1 节说 $t$ 很大时 $\tilde\beta_t$ 与 $\beta_t$ 几乎相等。多大才算大？设每一步的 $\beta_t$ 都是同一个很小的数，例如 $10^{-6}$。
# 第一个使 $\tilde\beta_t/\beta_t\ge0.99$ 的 $t$ 是几？先推公式，不要数值计算。

# %%
grade("04.5", None)  # 把 None 换成一个数
