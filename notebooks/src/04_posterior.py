# %% [markdown]
# # 04 · 后验与 `v_posterior`
#
# 明明在去噪声，为什么每一步又掺进去一些？不掺会怎样，可以试：同一个数字，从 24 个不同的起点出发，走到的几乎是同一张图，多样性只剩二十几分之一。
# 让分类器去认，认得出的反而从 95% 升到了 100%（每个数字 24 个起点）：光看这个数，发现不了采样器坏了。
# 这一章回答两个问题：掺进去的噪声补的是什么；该掺多少。
#
# **学习目标**
#
# - 说得出倒着走的一步为什么可以当成高斯，步子大了为什么不行。
# - 用贝叶斯公式推出后验 $q(x_{t-1}\mid x_t, x_0)$，得到 $c_1$、$c_2$ 和 $\tilde\beta_t$。
# - 会走去噪的一步与整条链，说得清为什么还要加噪声。
# - 说清 `v_posterior` 管什么，它的两个极端各在一种数据上最优，手写数字更靠近哪一头。
#
# **预计用时** 60 分钟。运行全部单元约 40 秒。

# %%
import numpy as np
import torch

from ddpm_edu import DDPM, GaussianDiffusion, load_pretrained, make_beta_schedule
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import recognised
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.sampling import Sampling, ancestral_step, spaced_timesteps
from ddpm_edu.teach import card, check, check_order, check_raises, curve_figure, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.laboratory import chain_moments, gaussian_ddpm
from ddpm_edu.teach.panels import chain_panel, denoise_panel, posterior_panel, samples_panel
from ddpm_edu.teach.panels.denoise import record
from ddpm_edu.teach.panels.posterior import posterior_grids

betas = make_beta_schedule("sqrt_linear", 1000)  # 论文的表，公式都用它；画手写数字用模型自己的表 levels
tables = diffusion_tables(betas)
pretrained, classifier = load_pretrained("mnist"), load_classifier("mnist")
print("准备好了")

# %% [markdown]
# ## 1　不掺噪声会怎样
#
# 第 1 章的采样从纯噪声出发，每一步从 $x_t$ 走到更早的 $x_s$：
#
# $$x_s = a\,\hat x_0 + b\,x_t + \sigma z,\qquad z\sim\mathcal N(0, I).$$
#
# $\hat x_0$ 是网络此刻对原图的猜测。$a$、$b$、$\sigma$ 由 $\bar\alpha_t$ 与 $\bar\alpha_s$ 决定，第 1 章只写了出来，这一章推导；代码里的 `ancestral_step` 就算这三个数，这种走法叫祖先采样 (ancestral sampling)。
#
# 现在把每一步掺的噪声乘上 $\lambda$：$\lambda=1$ 是照公式，$\lambda=0$ 是一点不掺，其余一概不变。用随课程发布的 `mnist` 模型走 25 步，告诉它画几。
#
# **先猜一猜**：$\lambda=0$ 时，四个不同的起点，会走到四张怎样的图？

# %%
levels = pretrained.exact_table("alphas_cumprod").tolist()
times = spaced_timesteps(1000, 25)[::-1].tolist()
labels = torch.arange(10).repeat(4)


@torch.no_grad()
def walk_back(scale):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 1, 28, 28, generator=generator)
    for t, s in zip(times, [*times[1:], None]):
        a, b, sigma = ancestral_step(levels[t], 1.0 if s is None else levels[s])
        x0_hat = pretrained.predict_start(x, torch.full((40,), t), cond=labels)
        x = a * x0_hat + b * x + scale * sigma * torch.randn(x.shape, generator=generator)
    return x


drawn = {scale: walk_back(scale) for scale in (1.0, 0.5, 0.0)}
grid_figure(torch.cat([x[:20] for x in drawn.values()]), nrow=10, columns="0123456789",
            rows=[f"$λ={scale:g}$" for scale in drawn for _ in range(2)])

# %% [markdown]
# 图：一列一个数字；每个 $\lambda$ 两行，是两个不同的起点，三个 $\lambda$ 用的起点相同。$\lambda=1$ 的两行，字形各异；$\lambda=0$ 的两行几乎分不出，字形规矩，0、2、8 还偏粗。量一量同一个数字的四张相差多少：

# %%
spread = {scale: x.view(4, 10, -1).std(0).mean(1) for scale, x in drawn.items()}
for scale, each in spread.items():
    share = recognised(classifier, drawn[scale], labels)["recognised"]
    print(f"λ={scale:g}　同一个数字的四张之间，像素的标准差 {each.mean():.3f} ± {each.std() / 10**0.5:.3f}　分类器认得出 {share:.0%}")
check_order("λ=1 的标准差是 λ=0 的几倍：超过 15", 15, spread[1.0].mean() / spread[0.0].mean())

# %% [markdown]
# ± 是十个数字之间的标准误。四张太少，标准差估得偏低，也看不出识别率的差别。离线换成每个数字 24 个起点：$\lambda=1$ 是 $0.265\pm0.015$、认得出 $94.6\%\pm1.5\%$；$\lambda=0$ 是 $0.010\pm0.001$、100%。
# 不掺噪声，图不更糊，却**千篇一律**。只看“认得出”，看不出这个采样器坏了。
#
# 掺进去的噪声补了什么？要先知道 $a$、$b$、$\sigma$ 是从哪里来的。

# %% [markdown]
# ## 2　退一小步，几乎是高斯
#
# 去噪过程 (reverse process) 每一步从 $x_t$ 走到 $x_{t-1}$，要抽的是 $q(x_{t-1}\mid x_t)$：看到了 $x_t$，上一步原来可能在哪里。它牵涉整个数据分布，没有公式，简单的例子里却画得出来。
# 取第 3 章那个最简单的数据：$x_0$ 只有 $+1$ 与 $-1$ 两种，各占一半。这时 $q(x_s)$ 是两个高斯的混合，$q(x_s\mid x_t)\propto q(x_t\mid x_s)\,q(x_s)$ 可以直接算。
# 站在 $t=250$、$x_t=0.2$ 处往回看：退 1 步、退 100 步、退 200 步，原来可能在哪里？
#
# **先猜一猜**：三条曲线各有几个峰？

# %%
bar, here, place, y = tables["alphas_cumprod"], 250, 0.2, np.linspace(-2.5, 2.5, 2001)


def normal(x, mean, variance):
    return np.exp(-(x - mean) ** 2 / (2 * variance)) / np.sqrt(2 * np.pi * variance)


plots, gaps = [], []
for back in (1, 100, 200):
    level = bar[here - back]
    ratio = bar[here] / level
    exact = normal(place, np.sqrt(ratio) * y, 1 - ratio) * sum(normal(y, sign * np.sqrt(level), 1 - level) for sign in (-1, 1))
    exact /= exact.sum() * (y[1] - y[0])
    mean = (exact * y).sum() / exact.sum()
    like = normal(y, mean, (exact * (y - mean) ** 2).sum() / exact.sum())
    gaps.append(0.5 * abs(exact - like).sum() * (y[1] - y[0]))
    plots.append((y, {"真的": exact, "高斯": like}, f"退 {back} 步：$x_{{{here - back}}}$", "密度" if back == 1 else ""))
check_order("两条曲线之间的面积的一半（0 是相同，1 是不重叠），退 1、100、200 步", *gaps, digits=2)
curves_figure(*plots)

# %% [markdown]
# 图：实线是真的 $q(x_s\mid x_t)$，虚线是均值、方差与它相同的高斯；三张图的纵轴不同。退 1 步（一千步的链就是这样走的），两条线重合；退 100 步（差不多是十步的链），已经有两个峰；退 200 步，真的密度几乎只在 $\pm1$ 附近，高斯的峰却在两者之间，那里本不该有东西。
#
# 这就是掺高斯噪声的采样器要走那么多步的理由：网络每一步只给出一个高斯，步子小时没有损失什么，步子大了，一个高斯容不下两个峰。
# 步子趋于 0 时，倒着走的一步与正着走的一步形式相同，这是 Sohl-Dickstein 等 2015 年用到生成上的结果。一维的 $\pm1$ 是极端的例子；手写数字走 25 步，第 1 节已经画得像样了。

# %% [markdown]
# ## 3　后验：连 $x_0$ 也知道的话
#
# 可以用高斯了，可是它的均值仍牵涉整个数据分布，写不出来。先考虑一个容易的问题：$x_0$ 已知。采样时当然不知道，第 4 节再用网络的猜测顶上。这时贝叶斯公式就给出答案，它叫后验 (posterior)：
#
# $$q(x_{t-1}\mid x_t, x_0) \propto q(x_t\mid x_{t-1}, x_0)\;q(x_{t-1}\mid x_0) = q(x_t\mid x_{t-1})\;q(x_{t-1}\mid x_0).$$
#
# 等号成立，是因为加噪每一步只看上一步（马尔可夫性），知道了 $x_{t-1}$，$x_0$ 就没有新的信息。右边两个都是高斯，第 2、3 章写过：一个说“从 $x_0$ 走来，$x_{t-1}$ 该在哪里”，一个说“再走一步就到了 $x_t$，$x_{t-1}$ 该在哪里”。先画出来，看看两个高斯相乘得到什么。

# %%
t, x_t, x0 = 5, 0.84, 0.9
a_prev, beta = tables["alphas_cumprod_prev"][t], betas[t]
y = np.linspace(0.76, 1.0, 24_001)
come, leave = normal(y, np.sqrt(a_prev) * x0, 1 - a_prev), normal(x_t, np.sqrt(1 - beta) * y, beta)
product = come * leave
product /= product.sum() * (y[1] - y[0])
curves_figure((y, {"相乘再归一：后验": product, r"从 $x_0$ 走来：$q(x_{t-1}|x_0)$": come, r"再走一步到 $x_t$：$q(x_t|x_{t-1})$": leave},
               "$x_{t-1}$", "密度"))

# %% [markdown]
# 图：$t=5$、$x_0=0.9$、$x_t=0.84$。三条都画成 $x_{t-1}$ 的函数。后验落在两个峰之间，偏向窄的一个（它更有把握），而且比两个都窄：两份信息合起来，比哪一个都确定。下面的公式说的就是这三件事。
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
#
# 方差的倒数叫精度。第一个公式说：两个高斯相乘，精度相加，所以后验比两个都窄。两个峰分别在 $\sqrt{\bar\alpha_{t-1}}\,x_0$ 与 $x_t/\sqrt{\alpha_t}$，均值是这两处按精度的加权平均，所以偏向窄的一个。
#
# 图里的那条后验是两个密度在细格子上相乘、归一得到的，没有用过这些公式，正好拿来核对：

# %%
product /= product.sum()
mean = (product * y).sum()
check("均值 = c₁x₀ + c₂x_t", mean, tables["posterior_mean_coef1"][t] * x0 + tables["posterior_mean_coef2"][t] * x_t, atol=1e-9)
check("方差 = β_tilde", (product * (y - mean) ** 2).sum(), tables["posterior_variance"][t], rtol=1e-6)

# %% [markdown]
# 两端值得记住。代码从 0 数步，$t=0$ 的图已经加过一步噪声，再退一步就是原图，所以约定 $\bar\alpha_{-1}=1$，代入得 $c_1=1$、$c_2=0$、$\tilde\beta_0=0$：最后一步直接把 $x_0$ 交出来，不加噪声。
# $t$ 大时，$\tilde\beta_t$ 与这一步加噪的方差 $\beta_t$ 几乎相等：

# %%
ratio = tables["posterior_variance"] / betas
check("β_tilde/β 在 t = 1, 2, 5, 10, 50", ratio[[1, 2, 5, 10, 50]], [0.455, 0.611, 0.778, 0.864, 0.965], atol=5e-4)
check_order("t ≥ 167 之后，两者相差不到 1%", 0.99, ratio[167:].min(), 1, digits=5)

# %% [markdown]
# ## 4　去噪的一步
#
# ### 把 $x_0$ 换成猜测
#
# 采样时没有 $x_0$，就把后验均值里的 $x_0$ 换成网络的猜测 $\hat x_0$。为什么可以换？后验的均值 $c_1x_0+c_2x_t$ 对 $x_0$ 是线性的，代入条件期望 $\mathbb E[x_0\mid x_t]$，得到的正是 $\mathbb E[x_{t-1}\mid x_t]$；而条件期望正是网络要学的（第 5 章）。
# 于是得到第 1 节那个式子：走到相邻的 $s=t-1$ 时，$a=c_1$，$b=c_2$。均值有了；方差先借用 $x_0$ 已知时的 $\sigma^2=\tilde\beta_t$，它偏小，第 5 节再补。
#
# 要走到更早的 $x_s$，把 $s$ 到 $t$ 这一段看成一大步：它留下的份额是 $\bar\alpha_t/\bar\alpha_s$，加噪的方差是 $\beta'=1-\bar\alpha_t/\bar\alpha_s$。公式里的 $\alpha_t$、$\beta_t$、$\bar\alpha_{t-1}$ 换成 $\bar\alpha_t/\bar\alpha_s$、$\beta'$、$\bar\alpha_s$ 就行，`ancestral_step` 算的就是这个。

# %%
steps = [ancestral_step(*pair) for pair in zip(bar, tables["alphas_cumprod_prev"])]
a, b, sigma = np.array(steps).T
check("走到相邻的一步：a 就是 c₁", a, tables["posterior_mean_coef1"], atol=1e-12)
check("b 就是 c₂", b, tables["posterior_mean_coef2"], atol=1e-12)
check("σ² 就是 β_tilde", sigma**2, tables["posterior_variance"], atol=1e-15)
curve_figure(np.arange(1, 1001), {"$a$": a, "$b$": b, r"$\sigma$": sigma}, "$t+1$（对数）", "系数", xscale="log")

# %% [markdown]
# 图：一步一步走时的三个数；横轴是对数，采样从右往左走。$t$ 大时 $b\approx1$、$a$ 接近 0：每一步只往猜测挪一点点，再掺一点噪声。最后几步 $a$ 才升到 1，$b$ 降到 0，末了一步直接把 $\hat x_0$ 交出来。
#
# 再看一遍真实的轨迹，走 50 步。这里不告诉它画几（类别给 $-1$），看它自己怎样定下来。

# %%
trace = record(pretrained, num_samples=8, steps=50, cond=torch.full((8,), -1))
denoise_panel(trace)

# %% [markdown]
# 面板：左边是 $x_t$，中间是此刻的猜测 $\hat x_0$，右边是猜测与最终样本的距离，圆点是现在的位置。把滑块拖到 0，猜测是许多数字的平均，模糊一团；走到一半，$x_t$ 里噪声还很多，多数猜测已看得出是几，约两成后来还会变成别的数字。
#
# 用分类器量一量：途中的猜测与最终样本，是同一个数字的占多少？

# %%
walk = record(pretrained, num_samples=80, steps=24, cond=torch.full((80,), -1))
final = classifier(walk[-1][1]).argmax(1)
agree = [float((classifier(x0_hat).argmax(1) == final).double().mean()) for _, _, x0_hat in walk]
check_order("是同一个数字的比例：起点、走了四分之一、走到一半", agree[0], agree[6], agree[12], digits=2)

# %% [markdown]
# 起点处与瞎猜差不多，走到一半约有八成（八十条轨迹，标准误不超过 0.06）：是几，是一路上慢慢清楚的。
#
# ### 噪声补的是什么
#
# 现在可以回答第 1 节的问题了。$a\hat x_0+b\,x_t$ 只是后验的**均值**。就算 $\hat x_0$ 猜得一点不错，$x_s$ 也本该围着这个均值散开，方差是 $\sigma^2=\tilde\beta$。一步步只取均值，就一步步少掉这一圈；掺进去的噪声，补的就是这一圈。
#
# 有一个例子算得清。数据是 $\mathcal N(0,1)$ 时，最好的猜测是 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t$（第 5 章），代入化简，不掺噪声的一步恰好是 $x\leftarrow\sqrt{\alpha_t}\,x$。走完一千步，总共乘上 $\sqrt{\bar\alpha_{T-1}}=0.006$：什么起点都到了 0。

# %%
standard = chain_moments(betas, 0.0, 1.0, 0.0)[1]
print(f"数据的方差是 1。一千步走完，不掺噪声，样本的方差 {bar[-1]:.5f}；照公式掺，{standard:.3f}")
check("一步恰好缩小 √α 倍", a * np.sqrt(bar) + b, np.sqrt(1 - betas), atol=1e-12)

# %% [markdown]
# 真的图没有缩成一团灰，却也汇到了一处。一个直观的说法（没有证明）：少掉那一圈的 $x_s$ 太干净，网络仍被告知“这是第 $s$ 步”，就把起点留下的差别也当成噪声去掉了。
#
# 不掺噪声就一定不行吗？不掺也行，但系数要跟着改：本该重新掺的那份，换成从 $x_t$ 里多留一些。这就是 DDIM，第 7 章讲。

# %% [markdown]
# ## 5　该掺多少：`v_posterior`
#
# 照公式掺，上面的方差是 0.991，还差一点。差在哪里？$\tilde\beta_t$ 是 $x_0$ **已知**时的方差，而采样时 $x_0$ 是猜的。对 $x_0$ 的不确定性再求一次平均，由全方差公式，
#
# $$\mathrm{Var}(x_{t-1}\mid x_t) = \tilde\beta_t + c_1^2\,\mathrm{Var}(x_0\mid x_t).$$
#
# 我们约定 $\sigma_t^2$ 只随 $t$ 变，不随 $x_t$ 变，那么最好的选择是上式对 $x_t$ 的平均（使高斯的负对数似然最小，对 $\sigma_t^2$ 求导就得到）。看两种极端的数据：
#
# - 数据是一个点。知道 $x_t$ 之后 $x_0$ 没有悬念，$\mathrm{Var}(x_0\mid x_t)=0$，答案是 $\tilde\beta_t$。
# - 数据是 $\mathcal N(0, 1)$。这时 $\mathrm{Var}(x_0\mid x_t)=1-\bar\alpha_t$，答案恰好是 $\beta_t$。
#
# `v_posterior`，记作 $v$，在两者之间线性混合：$v=0$ 就是方差取 $\tilde\beta$，$v=1$ 就是方差取 $\beta$。这个 $v$ 与第 5 章的速度只是同一个字母。
#
# $$\sigma_t^2 = (1-v)\,\tilde\beta_t + v\,\beta_t.$$
#
# 混合的是方差，不是标准差；Improved DDPM 混合的是对数方差，与此不同。
#
# <details><summary>第二条怎样算出来，真实的数据为什么在两者之间</summary>
#
# 数据若是 $\mathcal N(0, \sigma_x^2)$，知道 $x_t$ 之后精度相加（第 3 节）：$\dfrac1{\mathrm{Var}(x_0\mid x_t)} = \dfrac1{\sigma_x^2}+\dfrac{\bar\alpha_t}{1-\bar\alpha_t}$，所以 $\mathrm{Var}(x_0\mid x_t) = \sigma_x^2(1-\bar\alpha_t)/D$，其中 $D=\bar\alpha_t\sigma_x^2+1-\bar\alpha_t$。
#
# $\sigma_x=1$ 时 $D=1$，它就是 $1-\bar\alpha_t$，于是 $\tilde\beta_t + c_1^2(1-\bar\alpha_t) = \dfrac{\beta_t(1-\bar\alpha_{t-1}) + \beta_t^2\bar\alpha_{t-1}}{1-\bar\alpha_t} = \dfrac{\beta_t(1-\alpha_t\bar\alpha_{t-1})}{1-\bar\alpha_t} = \beta_t$。
#
# 真实的像素在 $[-1,1]$ 内，方差 $\sigma_x^2\le1$。第 5 章那个线性猜测的均方误差只用到均值与方差，所以对任何数据都是 $\sigma_x^2(1-\bar\alpha_t)/D$；它未必最好，所以 $\mathbb E\,\mathrm{Var}(x_0\mid x_t)\le \sigma_x^2(1-\bar\alpha_t)/D\le 1-\bar\alpha_t$（后一步：$\sigma_x^2\le D$ 等价于 $\sigma_x^2\le1$）。
#
# </details>

# %%
card("v_posterior")
c1, tilde = tables["posterior_mean_coef1"], tables["posterior_variance"]
check("x₀ ~ N(0, 1)：最优方差正好是 β_t", tilde + c1**2 * (1 - bar), betas, atol=1e-15)
for v_posterior in (0.0, 0.3, 1.0):
    chain = GaussianDiffusion(given_betas=betas, v_posterior=v_posterior)
    mixed = (1 - v_posterior) * tilde + v_posterior * betas
    check(f"v_posterior={v_posterior}：混合的是方差", chain.exact_table("posterior_variance"), mixed, atol=1e-18)
check_raises("−1 会给出负的方差，所以拒绝", lambda: GaussianDiffusion(v_posterior=-1.0), "v_posterior")

# %%
posterior_panel(betas)

# %% [markdown]
# 面板：左边是 $\sigma_t^2$，夹在 $\tilde\beta_t$（点线）与 $\beta_t$（虚线）之间；右边是它们与 $\beta_t$ 的比值。拖动 $v$，只有左端在动：$t=1$ 处两端差一倍多，$t=50$ 处只差 3.5%，$t\ge167$ 之后不到 1%。走满一千步时，$v$ 只管最后几十步；步子大了就不同，见第 7 节。

# %% [markdown]
# ## 6　整条链：哪个 $v$ 最好
#
# 数据是 $\mathcal N(0,\sigma_x^2)$ 时，整条链算得出来。完美的去噪器是线性的（第 5 章第 5 节，那里把标准差记作 $s$；这一章的 $s$ 是步号，标准差写 $\sigma_x$），线性的一步把高斯变成高斯。
# 起点抽自 $\mathcal N(0,1)$，即方差 $V=1$。记 $D=\bar\alpha_t\sigma_x^2+1-\bar\alpha_t$（$x_t$ 的方差），$k=\sqrt{\bar\alpha_t}\,\sigma_x^2/D$，那么 $\hat x_0=k\,x_t$，均值是 $g\,x_t$，其中 $g = c_1k+c_2$。每一步
#
# $$V\leftarrow g^2V + \sigma_t^2\,[t>0].$$
#
# 方括号在条件成立时是 1，否则是 0：最后一步不加噪声。先核对：让真实的 `DDPM` 配上完美的去噪器，走十步，采四万个样本，与递推比较。数据的方差是 0.25。

# %%
short, variances = make_beta_schedule("cosine", 10), {}
for v in (0.0, 1.0):
    x = gaussian_ddpm(short, mean=0.0, std=0.5, v=v).p_sample_loop((40_000, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    variances[v] = chain_moments(short, 0.0, 0.5, v)[1]
    check(f"v={v}：样本的方差", x.var(), variances[v], atol=0.01)
check_order("v=0 太集中，0.25 是真值，v=1 太分散", variances[0.0], 0.25, variances[1.0])

# %%
chain_panel()

# %% [markdown]
# 面板：数据是 $\mathcal N(0,\sigma_x^2)$，纵轴是采样链的方差除以真实的方差，1 是完美。左图沿着 $t$ 看，采样从右往左走；右图看最终样本怎样随 $v$ 变。
# 一打开是 $\sigma_x=0.2$、走 10 步：$v=0$ 的样本方差只有真值的 0.42 倍；$v=1$ 的最终样本是 1.08 倍，途中却偏到将近两倍。
# 把标准差拉到 1，$v=1$ 的线变平；拉到最小，$v=0$ 的线变平（都不算最左端）：各在自己的数据上途中处处正确。步数换成 200，线都到了 1 附近：步数够多，$v$ 就不那么要紧。
#
# 还能再进一步：对每个 $t$，最优的 $v$ 有公式。最优的方差多出来的那份是 $c_1^2\,\mathbb E\,\mathrm{Var}(x_0\mid x_t)$；从 $\tilde\beta_t$ 到 $\beta_t$ 的整段，刚才算过，是 $c_1^2(1-\bar\alpha_t)$。两者相除，
#
# $$v^*_t = \frac{\mathbb E\,\mathrm{Var}(x_0\mid x_t)}{1-\bar\alpha_t}.$$
#
# 推导里没有假设高斯，对任何数据都成立。高斯数据上它等于 $\sigma_x^2/D$，从 $t=0$ 附近的 1 降到尾部的 $\sigma_x^2$：没有一个常数对所有 $t$ 都最好。Improved DDPM 的办法是不用常数，让网络自己学每一步的方差。

# %% [markdown]
# ## 7　走得快：只走其中几步
#
# 这一节画手写数字，用模型自己的噪声表（`cosine`，它的 $\bar\alpha$ 在 `levels` 里）。
# 训练用了 $T=1000$ 步，采样可以只走其中 10 步：循环换一串步号，系数照第 4 节的大步算，别的都不用改。保留的每一步 $\bar\alpha$ 与原来相同，网络看的仍是原来的步号。

# %%
kept = spaced_timesteps(1000, 10)
a_bar = np.append(1.0, np.array(levels)[kept])
fast = 1 - a_bar[1:] / a_bar[:-1]
check("短链的 ᾱ 与原来相同", np.cumprod(1 - fast), np.array(levels)[kept], atol=1e-12)
ratio = diffusion_tables(fast)["posterior_variance"][1:] / fast[1:]
print("短链的 β_tilde/β，从 t=111 起：", "　".join(f"{value:.3f}" for value in ratio))
grids = posterior_grids(pretrained, steps=(5, 10, 20), num_samples=10, cond=torch.arange(10))
samples_panel(grids)

# %% [markdown]
# 面板：训练好的模型在同一份噪声下的样本，上面一行是 $v=0$（方差取 $\tilde\beta$），下面一行是你选的 $v$。步数越少、$v$ 越大，背景上的脏点越多。
#
# 图上 $v=0$ 最好。可是第 6 节的高斯数据，$\sigma_x=0.5$ 走 10 步，$v=1$ 的方差 1.09 倍，比 $v=0$ 的 0.60 倍准。为什么相反？高斯数据在多小的尺度上都连续铺开，噪声再小，像素也定不到比噪声更准，所以 $v^*\to1$。手写数字的像素大多就是黑或白，邻近的还互相印证，$x_0$ 定得准得多，$v^*$ 就小；第 2 节的 $\pm1$ 也是这样。
# 这可以量。$v^*_t$ 的分子就是完美网络的均方误差；训练好的网络平均说来不会比它更准，所以拿它的误差来算，得到的是 $v^*_t$ 的上界。
# 用一百张图，每个 $t$ 加一份噪声；告诉模型画的是几，所以是“已知类别”时的方差。图来自 MNIST 的测试集，磁盘上没有 MNIST 时用模型自己画的图。

# %%
held_out, label = handwriting("../data")
generator, measured = torch.Generator().manual_seed(5), {}
for step in (10, 30, 60, 111, 200, 300, 500, 700, 900, 990):
    t = torch.full((len(held_out),), step)
    x_t = pretrained.q_sample(held_out, t, torch.randn(held_out.shape, generator=generator))
    with torch.no_grad():
        error = (held_out - pretrained.predict_start(x_t, t, cond=label)) ** 2
    measured[step] = float(error.mean() / (1 - levels[step]))
gaussian = [0.25 / (0.25 * levels[step] + 1 - levels[step]) for step in measured]
late = [v for step, v in measured.items() if step >= 111]
check("t 从 111 到 990，最小的不到一成", min(late) < 0.1, True)
check("最大的不超过三成", max(late) < 0.3, True)
check("t=10 处是 t=111 处的 1.5 倍以上", measured[10] / measured[111] > 1.5, True)
curve_figure(list(measured), {"手写数字，量到的": list(measured.values()), r"高斯，$\sigma_x=0.5$": gaussian}, "步号 $t$", "最优的 $v^*_t$")

# %% [markdown]
# 图：实线是在一百张手写数字上量到的 $v^*_t$（上界，每一点的标准误不超过 0.007），虚线是像素互相独立的高斯例子。
# $t$ 很大时 $x_t$ 几乎什么也没说，$v^*_t$ 就是同一类里像素自己的方差，约 0.21。往左先降到 0.06：看了整张图，像素大多定了。快到终点回升到 0.20，离高斯例子的 1 还远；可能是因为这时的噪声很小，邻近的像素帮不上多少忙。
#
# 这是全图的平均：不确定的是笔画的边缘，背景几乎没有悬念，而采样器对每个像素掺同样多。走 10 步时，掺噪声的九步都在 $t\ge111$，按似然，最好的 $v$ 从 0.06 到 0.21；按背景干净，$v=0$ 更好。这里选后者。
# 脏点主要是最后一次掺出来的，那一次从 $t=111$ 退到 $t=0$：

# %%
for v in (0.0, 1.0):
    print(f"走 10 步，v={v:g}：最后一次掺的噪声，标准差 {ancestral_step(levels[111], levels[0], v)[2]:.4f}；该有的 {(1 - levels[0]) ** 0.5:.4f}")

# %% [markdown]
# $v=1$ 掺的是该有的 29 倍，而网络在 $t=0$ 以为噪声只有那么一点，脏点就被当成图的内容留下了。另外量过：一百张样本，最外三圈本该是纯黑，偏离黑色的均方根在全程 $v=0$ 时是 $0.049\pm0.007$；只把最后一次换成 $v=1$，就升到 $0.146\pm0.004$，接近全程 $v=1$ 的 $0.168\pm0.004$。

# %% [markdown]
# ## 8　逐行的源码
#
# 公式都见过了，这里只对一对代码：先是后验、网络的猜测、一步的均值与方差，再是走一步、走完整条链、那三个数，最后是管截断的参数 `clip_denoised`。

# %%
show_source(GaussianDiffusion.q_posterior,
            "def q_posterior", "check_like(", "mean = (", "variance = extract_into_tensor(self.posterior_variance")

# %% [markdown]
# - ① 返回均值、方差、截断过的对数方差。
# - ② 类型与形状的检查。
# - ③ $c_1 x_0 + c_2 x_t$，一项一行。
# - ④ 方差已按 $v$ 混合；取对数之前，$t=0$ 处的 $\tilde\beta_0=0$ 先换成 $\tilde\beta_1$，对数是 $-9.8$。参考实现截到 $10^{-20}$，对数是 $-46$；采样时不要紧，算似然时，一个像素偏了 0.001，代价就是 $5\times10^{13}$。

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
# - ① 这是 $p_\theta(x_{t-1}\mid x_t)$ 的均值与方差，$p_\theta$ 表示网络给出的去噪分布。论文的式 (11) 用 $\hat\varepsilon$ 写，把 $\hat x_0$ 用 $\hat\varepsilon$ 代换就是它。
# - ② 猜出 $\hat x_0$。
# - ③ 只有一步替换：$x_0\to\hat x_0$，别的都由 `q_posterior` 算。
# - ④ 从 $x_t$ 不走到 $x_{t-1}$ 而走到别处时，系数由 `step` 给，就是 $a$、$b$、$\sigma$ 三个数。
# - ⑤ 画轨迹要看 $\hat x_0$，所以可以一起交出来。

# %%
show_source(Sampling.p_sample,
            "@torch.no_grad()", "check_sample(\"x\"", "if step is None:", "x_s = mean", "return (x_s.to")

# %% [markdown]
# - ① 前四个参数同参考实现，后面的只能按名字给。
# - ② 检查输入；均值、方差、$\hat x_0$ 都由 `p_mean_variance` 给。
# - ③ $\sigma_t = e^{\frac12\ln\sigma_t^2}$。$t=0$ 的样本不再加噪声：那已经是最终的图。
# - ④ 走一步：均值加上 $\sigma z$，噪声在这里才抽；`repeat_noise` 让整批共用一份。$\sigma$ 是 0 就不抽。
# - ⑤ 公式用 float32 算，结果换回输入的类型。

# %%
show_source(Sampling.p_sample_loop,
            "@torch.no_grad()", "check_bool(\"return_intermediates\"", "timesteps = spaced_timesteps", "with evaluating(self):",
            "step = SAMPLERS", "if callback is not None", "return (x, intermediates)")

# %% [markdown]
# - ① 采样不求梯度；步数、引导、起点、进度条、回调都从这里进来，一个个讲在第 7 章。
# - ② 核对各个旋钮。祖先采样的旋钮是 $v$。
# - ③ 走哪几步、那几步的 $\bar\alpha$（前面补上 $\bar\alpha_{-1}=1$）；起点抽自 $\mathcal N(0, I)$，条件在这里整理一次；隔多少步留一张。参数沿用论文的名字 `x_T`，按代码的下标它就是 $x_{T-1}$。
# - ④ 途中是 eval 模式，关掉 dropout，离开时恢复。从大到小走。
# - ⑤ 走一步：采样器给出 `step`，`p_sample` 照着走，与上面读过的是同一个。
# - ⑥ 回调拿到此刻的 $t$、$x_t$、$\hat x_0$，画轨迹用；`edit` 是补全用的，第 7 章讲；该留的中间结果留下。
# - ⑦ 要中间结果就一起返回。

# %%
show_source(ancestral_step,
            "def ancestral_step", "beta = 1 - cumprod_t / cumprod_s", "a = cumprod_s", "variance =", "return a, b")

# %% [markdown]
# - ① 两个 $\bar\alpha$ 与 $v$，都是 Python 的浮点数。
# - ② 从 $s$ 到 $t$ 这一段加噪的 $\beta$：$\alpha = \bar\alpha_t/\bar\alpha_s$。
# - ③ $c_1$ 与 $c_2$，把 $\bar\alpha_{t-1}$ 换成 $\bar\alpha_s$。
# - ④ 方差在 $\tilde\beta$ 与 $\beta$ 之间，位置由 $v$ 定（第 5 节）。
# - ⑤ 走到 $x_0$ 时 $\bar\alpha_s=1$，不加噪声。

# %%
card("clip_denoised")
torch.manual_seed(0)
clipped, free = (DDPM(**toy_model_config(clip_denoised=clip_denoised)) for clip_denoised in (True, False))
noise = torch.randn(2, 1, 8, 8)
steps = torch.full((2,), 999)
check("截断之后都在 [-1, 1]", clipped.predict_start(noise, steps, clipped.clip_denoised).abs().max() <= 1, True)
largest = free.predict_start(noise, steps, free.clip_denoised).abs().max()
check("不截断时的最大值，就是噪声的最大值放大 1/√ᾱ 倍", largest, noise.abs().max() / free.alphas_cumprod[999].sqrt(), atol=1e-3)

# %% [markdown]
# 未训练的网络输出 0（第 8 章），猜 $\varepsilon$ 时 $\hat x_0 = x_t/\sqrt{\bar\alpha_t}$：这个小模型用 `linear` 表，在 $t=999$ 处放大 37 倍，噪声的最大值有 3 上下，$\hat x_0$ 就大到一百多。截断把它挡在这一步。

# %% [markdown]
# ## 小结
#
# - **去噪时为什么还要掺噪声**：$a\hat x_0+b\,x_t$ 只是后验的均值，$x_s$ 本该围着它散开，掺噪声补的就是这一圈。不掺，不同的起点走到几乎同一张图，240 张里同一个数字的像素标准差从 0.265 掉到 0.010，分类器却 100% 认得出。
# - **该掺多少**：$x_0$ 已知时是 $\tilde\beta_t$，再加上 $x_0$ 不确定带来的一份。$v=0$（方差取 $\tilde\beta$）对一个点最优，$v=1$（方差取 $\beta$）对标准高斯最优，一般地 $v^*_t = \mathbb E\,\mathrm{Var}(x_0\mid x_t)/(1-\bar\alpha_t)$。手写数字走 10 步，它在 0.06 到 0.21 之间，所以取 $v=0$；走满一千步，$v$ 只管最后几十步。
# - 两个高斯相乘得到后验：方差 $\tilde\beta_t$，均值 $c_1x_0+c_2x_t$。采样时把 $x_0$ 换成猜测，$t=0$ 不加噪声。
# - 退一小步几乎是高斯，退一大步不是，所以要走很多步。
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
# 由 `betas`（NumPy 数组）算出 $c_1$、$c_2$ 与 $\tilde\beta_t$ 三张表，按这个次序返回。约定 $\bar\alpha_{-1}=1$。公式在第 3 节。

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
# 返回走完这一步的样本：$t>0$ 的加噪声，$t=0$ 的不加。方差在 $t=0$ 处不一定是 0（例如 $v=1$ 时）。

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
# 数据是 $\mathcal N(0, \sigma_x^2)$，标准差 $\sigma_x$ 是参数 `std`；去噪器完美，`v_posterior` 是 `v`。照第 6 节的递推，从起点 $V=1$ 走完整条链，返回最终样本的方差。
# $k$、$g$ 与 $D$ 的公式也在那里。$c_1$、$c_2$、$\tilde\beta_t$ 可以直接调用你在 04.1 写好的函数，也可以再算一遍。
# 做对之后，把它画成 $v$ 的函数：$\sigma_x$ 取 0.5，$T$ 从 10 增到 1000，$v=0$ 与 $v=1$ 的差别怎样缩小？

# %%
def final_variance(betas, std, v):
    # 答案
    bar = np.cumprod(1 - betas)
    previous = np.append(1.0, bar[:-1])
    k = np.sqrt(bar) * std**2 / (bar * std**2 + 1 - bar)
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
# 第 3 节说 $t$ 大时 $\tilde\beta_t$ 与 $\beta_t$ 几乎相等。多大才算大？设每一步的 $\beta_t$ 都是同一个很小的数，例如 $10^{-6}$。
# 第一个使 $\tilde\beta_t/\beta_t\ge0.99$ 的 $t$ 是几？先推公式，不要数值计算。

# %%
grade("04.5", None)  # 把 None 换成一个数
