# %% [markdown]
# # 04 · 后验与 `v_posterior`
#
# 采样是去噪声，可是每走一步，又要掺进去一点新的噪声。一边擦，一边又往上抹，这不是白费力气吗？要是一点不掺，图会变清楚，变糊，还是别的什么？
# 这一章只问一件事：**去噪时为什么还要掺噪声，该掺多少？**
#
# **学习目标**
#
# - 说得出倒着走的一步为什么可以当成高斯，步子大了为什么不行。
# - 用贝叶斯公式推出后验 $q(x_{t-1}\mid x_t, x_0)$，得到 $c_1$、$c_2$ 和 $\tilde\beta_t$。
# - 会走去噪的一步与整条链，说得清为什么还要加噪声。
# - 说清 `v_posterior` 管什么，它的两个极端各在哪一种数据上最优。
# - 说得出手写数字走得少时，为什么本课程取 $v=0$，放弃了什么。
#
# **预计用时** 45 分钟。运行全部单元约 15 秒。

# %%
import numpy as np
import torch

from ddpm_edu import GaussianDiffusion, load_pretrained, make_beta_schedule
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import recognised
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.sampling import Sampling, ancestral_step, ddim_step, spaced_timesteps
from ddpm_edu.teach import card, check, check_order, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.laboratory import ancestral, chain_moments, ddim_chain_variance, gaussian_ddpm, walk
from ddpm_edu.teach.panels import chain_panel, posterior_panel
from ddpm_edu.teach.panels.posterior import each_best

betas = make_beta_schedule("sqrt_linear", 1000)  # 论文的表；第 2 到 5 节的公式与单个数字都用它
tables = diffusion_tables(betas)
pretrained, classifier = load_pretrained("mnist"), load_classifier("mnist")
levels = pretrained.exact_table("alphas_cumprod").tolist()  # 模型自己的表（cosine，1000 步）；画手写数字用它
print("准备好了")

# %% [markdown]
# ## 1　不掺噪声会怎样
#
# 第 1 章的采样从纯噪声出发，每一步从 $x_t$ 走到更早的 $x_s$：
#
# $$x_s = a\,\hat x_0 + b\,x_t + \sigma z,\qquad z\sim\mathcal N(0, I).$$
#
# $\hat x_0$ 是网络此刻对原图的猜测，$\sigma z$ 是新掺的噪声。三个数 $a$、$b$、$\sigma$ 由 `ancestral_step` 给出，这种走法叫祖先采样 (ancestral sampling)。
#
# 现在用随课程发布的 `mnist` 模型走 25 步，告诉它画几，比三种走法：
#
# - 照公式掺。
# - 只去掉噪声：不加 $\sigma z$，$a$、$b$ 不动。
# - 第 0 章的 DDIM：也不掺噪声，但 $a$、$b$ 是另一组数。
#
# **先猜一猜**：后两种走法，从两个不同的起点出发，各会走到怎样的两张图？

# %%
times = spaced_timesteps(1000, 25)[::-1].tolist()
digits = torch.arange(10).repeat(2)


@torch.no_grad()
def walk_back(step, mix):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 1, 28, 28, generator=generator)
    for t, s in zip(times, [*times[1:], None]):
        a, b, sigma = step(levels[t], 1.0 if s is None else levels[s])
        x0_hat = pretrained.predict_start(x, torch.full((20,), t), cond=digits)
        x = a * x0_hat + b * x + mix * sigma * torch.randn(x.shape, generator=generator)
    return x


drawn = {"照公式掺": walk_back(ancestral_step, 1.0), "只去掉噪声": walk_back(ancestral_step, 0.0), "DDIM": walk_back(ddim_step, 0.0)}
grid_figure(torch.cat(list(drawn.values())), nrow=10, columns="0123456789", rows=[name for name in drawn for _ in range(2)])

# %% [markdown]
# 图：只去掉噪声，两个起点走到的几乎是同一张图。一列一个数字；每种走法两行，是两个不同的起点，三种走法用的起点相同。照公式掺的、DDIM 的，两行字形都不同。
#
# 量一量图中同一个数字的两张相差多少：

# %%
spread = {name: x.view(2, 10, -1).std(0).mean(1) for name, x in drawn.items()}
for name, each in spread.items():
    share = recognised(classifier, drawn[name], digits)["recognised"]
    print(f"{name}：同一个数字的两张之间，像素的标准差 {each.mean():.3f} ± {each.std() / 10**0.5:.3f}　分类器认得出 {share:.0%}")
check_order("照公式掺与只去掉噪声的标准差之比，应大于 15", 15, spread["照公式掺"].mean() / spread["只去掉噪声"].mean())

# %% [markdown]
# ± 是十个数字之间的标准误。只去掉噪声，同一个数字的两张之间，差别只剩二十分之一；DDIM 的差别没有少。
# 只去掉噪声的图并不糊，分类器也张张认得出，所以只看“认得出”，看不出这个采样器坏了。
#
# 样本少了什么，才变得**千篇一律**？DDIM 也不掺，为什么没有这个毛病？要先知道 $a$、$b$、$\sigma$ 从哪里来。

# %% [markdown]
# ## 2　退一小步，几乎是高斯
#
# 去噪过程 (reverse process) 从 $x_t$ 走到 $x_{t-1}$，要抽的是 $q(x_{t-1}\mid x_t)$：已知 $x_t$，加这一步噪声之前的 $x_{t-1}$ 可能取哪些值。该掺多少噪声，就看这些值散得多开。这个分布牵涉整个数据分布，一般没有公式，简单的例子里却画得出来。
#
# 取第 3 章那个最简单的数据：$x_0$ 只有 $+1$ 与 $-1$ 两种，各占一半。站在 $t=250$、$x_t=0.2$ 处往回看，退 1 步、退 200 步，$x_s$ 可能取哪些值？
#
# **先猜一猜**：两条曲线各有几个峰？

# %%
bar, points = tables["alphas_cumprod"], np.linspace(-2.5, 2.5, 2001)
FACTORS = ("$q(x_t|x_s)$", "$q(x_s)$")


def normal(x, mean, variance):
    return np.exp(-(x - mean) ** 2 / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def look_back(back, here=250, place=0.2):
    level, ratio = bar[here - back], bar[here] / bar[here - back]
    data = sum(normal(points, sign * np.sqrt(level), 1 - level) for sign in (-1, 1))  # 加过噪的数据 q(x_s)，差一个常数倍
    step = normal(place, np.sqrt(ratio) * points, 1 - ratio)  # 再走到 x_t 的可能 q(x_t | x_s)
    exact = step * data / ((step * data).sum() * (points[1] - points[0]))
    center = (exact * points).sum() / exact.sum()
    like = normal(points, center, (exact * (points - center) ** 2).sum() / exact.sum())
    factors = {name: y / y.max() * exact.max() for name, y in ((FACTORS[0], step), (FACTORS[1], data))}
    return points, {"精确": exact, "高斯": like, **factors}, f"退 {back} 步：$x_{{{here - back}}}$", "密度"


curves_figure(look_back(1), look_back(200), faint=FACTORS)

# %% [markdown]
# 图：退一小步是高斯，退一大步不是。蓝线是精确的 $q(x_s\mid x_t)$，橙线是均值、方差与它相同的高斯；两张图的纵轴不同。
# 细灰线是乘出蓝线的两个因子，虚线 $q(x_t\mid x_s)$，点线 $q(x_s)$，都画成与蓝线一样高。
#
# 退 1 步，蓝线、橙线、灰虚线三条重合。退 200 步，高斯的峰落在两个峰之间，那里本不该有东西。
#
# 为什么？贝叶斯公式说 $q(x_s\mid x_t)\propto q(x_t\mid x_s)\,q(x_s)$，是两个因子相乘。把两个都看成 $x_s$ 的函数：
#
# - 前一个是高斯。从 $x_s$ 到 $x_t$ 加的噪声的方差记作 $\beta'$，它的宽度就是 $\sqrt{\beta'/(1-\beta')}$，步子越小越窄。
# - 后一个是加过噪的数据，这里是两个高斯的峰相加，各宽 $\sqrt{1-\bar\alpha_s}$。
#
# 退一小步，$t$ 不太小时，前一个比后一个的峰窄得多，这里只有十分之一。在这么窄的范围里，后一个变化平缓，所以乘积近似高斯。
#
# $t$ 是 1、2 时，两者差不多宽，近似要靠数据自己：这时噪声还小，两个峰离得很远，$x_t$ 只落在其中一个里，而每个峰都是高斯。
#
# 退一大步，前一个宽得盖住两个峰，乘积也就有两个峰，一个高斯代替不了。
#
# 祖先采样每一步抽的都是高斯，所以要走许多小步。走得少时，均值与方差还可以对，形状就不对了。
#
# 既然当成高斯，只要知道均值与方差就行。下面两节求均值，第 5 节求方差。

# %% [markdown]
# ## 3　后验：连 $x_0$ 也知道的话
#
# $q(x_{t-1}\mid x_t)$ 的均值写不出来。先考虑一个容易的问题：假定 $x_0$ 已知，下一节再换成网络的猜测。这时 $x_{t-1}$ 的分布叫后验 (posterior)，由贝叶斯公式得到：
#
# $$q(x_{t-1}\mid x_t, x_0) \propto q(x_t\mid x_{t-1}, x_0)\;q(x_{t-1}\mid x_0) = q(x_t\mid x_{t-1})\;q(x_{t-1}\mid x_0).$$
#
# 等号成立，是因为加噪每一步只看上一步：知道了 $x_{t-1}$，$x_0$ 就没有新的信息。
#
# 右边两个都是高斯。$q(x_{t-1}\mid x_0)$ 说，从 $x_0$ 加噪而来，$x_{t-1}$ 会在哪里；$q(x_t\mid x_{t-1})$ 说，从某个 $x_{t-1}$ 再加噪一步，有多大可能恰好得到这个 $x_t$。两个高斯相乘得到什么，先画出来看。

# %%
t, x_t, x0 = 5, 0.84, 0.9
y = np.linspace(0.76, 1.0, 24_001)  # y 是 x_{t-1}
a_prev, beta = tables["alphas_cumprod_prev"][t], betas[t]
come, leave = normal(y, np.sqrt(a_prev) * x0, 1 - a_prev), normal(x_t, np.sqrt(1 - beta) * y, beta)
product = come * leave / (come * leave).sum()  # 每一小格的概率，加起来是 1
curves_figure((y, {"相乘再归一：后验": product / (y[1] - y[0]), r"从 $x_0$ 走来：$q(x_{t-1}|x_0)$": come,
                   r"再走一步到 $x_t$：$q(x_t|x_{t-1})$": leave}, "$x_{t-1}$", "密度或似然"))

# %% [markdown]
# 图：后验落在两个峰之间，比两个都窄。三条都画成 $x_{t-1}$ 的函数，$t=5$、$x_0=0.9$、$x_t=0.84$。点线里 $x_t$ 是固定的，所以它不是 $x_{t-1}$ 的密度，而是似然 (likelihood)。
#
# 下面算出后验的均值与方差。只看指数里含 $x_{t-1}$ 的部分，记 $y = x_{t-1}$：
#
# $$-\frac{(x_t-\sqrt{\alpha_t}\,y)^2}{2\beta_t} - \frac{(y-\sqrt{\bar\alpha_{t-1}}\,x_0)^2}{2(1-\bar\alpha_{t-1})}.$$
#
# 它是 $y$ 的二次函数，所以后验还是高斯。记它的方差为 $\tilde\beta_t$，那么 $y^2$ 的系数应是 $-\dfrac1{2\tilde\beta_t}$，与上式比较：
#
# $$\frac1{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac1{1-\bar\alpha_{t-1}} = \frac{\alpha_t(1-\bar\alpha_{t-1}) + \beta_t}{\beta_t(1-\bar\alpha_{t-1})} = \frac{1-\bar\alpha_t}{\beta_t(1-\bar\alpha_{t-1})}.$$
#
# 最后一步用了 $\alpha_t - \alpha_t\bar\alpha_{t-1} + \beta_t = 1-\bar\alpha_t$。所以
#
# $$\tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t.$$
#
# $y$ 的一次项系数应是均值除以方差，上式给出 $\dfrac{\sqrt{\alpha_t}\,x_t}{\beta_t} + \dfrac{\sqrt{\bar\alpha_{t-1}}\,x_0}{1-\bar\alpha_{t-1}}$，乘上 $\tilde\beta_t$ 就得到均值：
#
# $$\tilde\mu_t = c_1 x_0 + c_2 x_t,\qquad c_1 = \frac{\beta_t\sqrt{\bar\alpha_{t-1}}}{1-\bar\alpha_t},\qquad c_2 = \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}.$$
#
# 图里的那条后验是两个密度在细格子上相乘得到的，没有用过这些公式，正好拿来核对：

# %%
center = (product * y).sum()
check("均值 = c₁x₀ + c₂x_t", center, tables["posterior_mean_coef1"][t] * x0 + tables["posterior_mean_coef2"][t] * x_t, atol=1e-9)
check("方差 = β_tilde", (product * (y - center) ** 2).sum(), tables["posterior_variance"][t], rtol=1e-6)

# %% [markdown]
# 最后一步是个特例。代码从 0 数步，$t=0$ 的图已经加过一步噪声，写作 $x_{t=0}$，与原图 $x_0$ 不是一回事。从 $x_{t=0}$ 再退一步就是原图，所以约定 $\bar\alpha_{-1}=1$。代入得 $c_1=1$、$c_2=0$、$\tilde\beta_0=0$：最后一步直接输出 $x_0$，不加噪声。

# %% [markdown]
# ## 4　去噪的一步
#
# ### 把 $x_0$ 换成猜测
#
# 采样时没有 $x_0$，就把后验均值里的 $x_0$ 换成网络的猜测 $\hat x_0$。为什么可以换？均值 $c_1x_0+c_2x_t$ 对 $x_0$ 是线性的，所以把 $x_0$ 换成它的平均 $\mathbb E[x_0\mid x_t]$，得到的正是 $x_{t-1}$ 的平均 $\mathbb E[x_{t-1}\mid x_t]$；网络学的，就是 $x_0$ 的这个平均（第 1 章）。
#
# 于是得到第 1 节那个式子：走到相邻的一步时，$a=c_1$，$b=c_2$，方差先借用 $\sigma^2=\tilde\beta_t$。一大步走到更早的 $x_s$，公式不变，只把 $\alpha_t$、$\bar\alpha_{t-1}$ 换成 $\bar\alpha_t/\bar\alpha_s$、$\bar\alpha_s$，$\beta_t$ 换成 $\beta'=1-\bar\alpha_t/\bar\alpha_s$。

# %%
a, b, sigma = np.array([ancestral_step(*pair) for pair in zip(bar, tables["alphas_cumprod_prev"])]).T
check("走到相邻的一步：a 就是 c₁", a, tables["posterior_mean_coef1"], atol=1e-12)
check("b 就是 c₂", b, tables["posterior_mean_coef2"], atol=1e-12)
check("σ² 就是 β_tilde", sigma**2, tables["posterior_variance"], atol=1e-15)

# %% [markdown]
# ### 噪声补的是什么
#
# 现在可以回答第 1 节的问题了。$a\hat x_0+b\,x_t$ 只是后验的**均值**。就算 $\hat x_0$ 猜得一点不错，$x_s$ 也本该围着这个均值散开，方差是 $\sigma^2$。掺进去的噪声，补的就是这份散布。
#
# 有一个例子算得清。数据是 $\mathcal N(0,1)$ 时，最好的猜测是 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t$，代入化简，不掺噪声的一步恰好是 $x\leftarrow\sqrt{\alpha_t}\,x$。一步步乘下去，什么起点都缩到 0 附近：

# %%
standard = {v: chain_moments(betas, 0.0, 1.0, v)[1] for v in (0.0, 1.0)}  # 返回最终样本的均值与方差，取方差；第 5 节再用
print(f"数据的方差是 1。一千步走完，只去掉噪声，样本的方差 {bar[-1]:.5f}；照公式掺，{standard[0.0]:.3f}")
print(f"第 0 章的 DDIM，也不掺噪声：{ddim_chain_variance(betas, 1.0, 1000, eta=0.0):.3f}")
check("一步恰好缩小 √α 倍", a * np.sqrt(bar) + b, np.sqrt(1 - betas), atol=1e-12)

# %% [markdown]
# 照公式掺的时候，起点也这样被忘掉：走完的方差 0.991 里，起点只占 0.00004，其余全来自途中掺的噪声。不掺，旧的差别忘了，新的又不来，样本就千篇一律。
#
# 在这个例子里，样本都缩到平均值。第 1 节的图却是清楚的数字，不是一团平均，为什么？比一比第一步的猜测与走完的图：灰的像素占多少，两个起点之间差多少。

# %%
start = torch.randn(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))  # 第 1 节的起点
with torch.no_grad():
    first = pretrained.predict_start(start, torch.full((20,), 999), cond=digits)
for name, x in {"第一步的猜测": first, "只去掉噪声，走完": drawn["只去掉噪声"]}.items():
    gray, apart = (x.abs() < 0.9).float().view(2, 10, -1).mean((0, 2)), x.view(2, 10, -1).std(0).mean(1)
    print(f"{name}：灰的像素占 {gray.mean():.1%} ± {gray.std() / 10**0.5:.1%}　两张之间的标准差 {apart.mean():.3f} ± {apart.std() / 10**0.5:.3f}")

# %% [markdown]
# 收缩的是起点之间的差别，不是笔画。每走一步，网络都重新猜一次，猜测照样越走越清楚，灰的像素从将近一半减到一成；只是两个起点走进了同一张图。
#
# DDIM 也不掺噪声，差别却没有丢，因为 $a$、$b$ 都跟着改了。$b$ 改成 $\sqrt{(1-\bar\alpha_{t-1})/(1-\bar\alpha_t)}$，比这里的 $c_2$ 大，$x_t$ 留得多。差别保住了，上面的 0.996 与第 1 节的图各是一个例子。DDIM 的系数从哪里来，第 7 章再讲。

# %% [markdown]
# ## 5　该掺多少：`v_posterior`
#
# 照公式掺，上面的方差是 0.991，比 1 少一点。少的是哪一份？$\tilde\beta_t$ 是 $x_0$ **已知**时的方差，而采样时 $x_0$ 是猜的。
#
# $x_0$ 每换一个值，后验的均值 $c_1x_0+c_2x_t$ 就跟着移动。这份移动的方差是 $c_1^2\,\mathrm{Var}(x_0\mid x_t)$，也该补上。两份相加，就是全方差公式：
#
# $$\mathrm{Var}(x_{t-1}\mid x_t) = \tilde\beta_t + c_1^2\,\mathrm{Var}(x_0\mid x_t).$$
#
# 采样器对同一个 $t$ 只用一个 $\sigma_t^2$，所以要把右边对 $x_t$、对像素取平均。本章说“最优的方差”，指的就是这个平均。
#
# 看两种极端的数据：
#
# - 数据是一个点。$x_0$ 没有不确定性，$\mathrm{Var}(x_0\mid x_t)=0$，最优的方差是 $\tilde\beta_t$。
# - 数据是 $\mathcal N(0, 1)$。这时 $\mathrm{Var}(x_0\mid x_t)=1-\bar\alpha_t$，代入得最优的方差恰好是 $\beta_t$。下一格核对，本节末尾推导。
#
# 参数 `v_posterior`（记作 $v$）把这两个方差线性混合。$v=0$ 不是不掺，仍掺 $\tilde\beta_t$：
#
# $$\sigma_t^2 = (1-v)\,\tilde\beta_t + v\,\beta_t.$$

# %%
card("v_posterior")
c1, tilde = tables["posterior_mean_coef1"], tables["posterior_variance"]
check("x₀ ~ N(0, 1)：最优方差正好是 β_t", tilde + c1**2 * (1 - bar), betas, atol=1e-15)
check("改掺 β_t，上面的 0.991 就变成", standard[1.0], 1.0, atol=2e-3)
chain = GaussianDiffusion(given_betas=betas, v_posterior=0.3)
check("v_posterior=0.3：混合的是方差", chain.exact_table("posterior_variance"), 0.7 * tilde + 0.3 * betas, atol=1e-18)

# %% [markdown]
# $v$ 取 0 还是取 1，差多少？这要看走几步：

# %%
check_order("t ≥ 167 之后，β_tilde 与 β 相差不到 1%", 0.99, (tilde / betas)[167:].min(), 1, digits=5)
posterior_panel(betas)

# %% [markdown]
# 面板：步数越少，$v$ 越要紧。纵轴是 $\sigma_t^2$ 与 $\beta_t$ 之比；实线是你选的 $v$，点线是 $v=0$，而 $v=1$ 时处处是 1。静态的页面上 $v=0.5$，上图走满 1000 步，下图只走 10 步，圆点是走到的各个 $t$；$t=0$ 不加噪声，没有画。
#
# 走满 1000 步，两条线几乎处处贴着 1。只走 10 步，从 $t=111$ 到 555 都分得开；$t=111$ 处，$v=0$ 掺的方差不到 $v=1$ 的千分之一。
#
# ### 最优的 $v$
#
# 别的数据，$v$ 该取多少？$v$ 从 0 走到 1，方差一共增加 $\beta_t-\tilde\beta_t$。代入 $\tilde\beta_t$，再用 $\bar\alpha_{t-1}-\bar\alpha_t=\beta_t\bar\alpha_{t-1}$：
#
# $$\beta_t-\tilde\beta_t = \frac{\beta_t(\bar\alpha_{t-1}-\bar\alpha_t)}{1-\bar\alpha_t} = \frac{\beta_t^2\,\bar\alpha_{t-1}}{1-\bar\alpha_t} = c_1^2(1-\bar\alpha_t).$$
#
# 最优的方差只要增加 $c_1^2\,\mathbb E\,\mathrm{Var}(x_0\mid x_t)$。后者占前者的几成，$v$ 就取几成：
#
# $$v^*_t = \frac{\mathbb E\,\mathrm{Var}(x_0\mid x_t)}{1-\bar\alpha_t}.$$
#
# 走大步时，$\beta_t$、$\bar\alpha_{t-1}$、$c_1$ 换成 $\beta'$、$\bar\alpha_s$、$a$，式子照样成立，所以 $v^*_t$ 与走几步无关。
#
# 数据是 $\mathcal N(0,\sigma_x^2)$ 时，$v^*_t=\sigma_x^2/D$，其中 $D=\bar\alpha_t\sigma_x^2+1-\bar\alpha_t$ 是 $x_t$ 的方差。$t$ 小时 $v^*_t$ 接近 1，$t$ 大时接近 $\sigma_x^2$。所以 $0<\sigma_x<1$ 时，没有一个常数对所有 $t$ 都最优。
#
# <details><summary>选读：推导</summary>
#
# 数据是 $\mathcal N(0, \sigma_x^2)$ 时，$x_0$ 的两份信息相乘，方差的倒数相加（第 3 节）：$\dfrac1{\mathrm{Var}(x_0\mid x_t)} = \dfrac1{\sigma_x^2}+\dfrac{\bar\alpha_t}{1-\bar\alpha_t}$，所以 $\mathrm{Var}(x_0\mid x_t) = \sigma_x^2(1-\bar\alpha_t)/D$。除以 $1-\bar\alpha_t$，就是上面的 $v^*_t$。
#
# $\sigma_x=1$ 时 $D=1$，$\mathrm{Var}(x_0\mid x_t)$ 就是 $1-\bar\alpha_t$，$v^*_t=1$：最优的方差是 $\beta_t$。
#
# </details>

# %% [markdown]
# ## 6　整条链：高斯数据上算一遍
#
# $v^*_t$ 是一步一步单独定的。每一步都最优，走完整条链，样本的方差就对了吗？数据是 $\mathcal N(0,\sigma_x^2)$ 时可以精确地算。
#
# 这时最好的猜测是 $\hat x_0=k\,x_t$，其中 $k=\sqrt{\bar\alpha_t}\,\sigma_x^2/D$。代入均值 $c_1\hat x_0+c_2x_t$，得 $g\,x_t$，其中 $g = c_1k+c_2$。
# 记此刻的方差为 $V$，起点抽自 $\mathcal N(0,1)$，所以 $V=1$；每走一步
#
# $$V\leftarrow g^2V + \sigma_t^2\,[t>0].$$
#
# 方括号在 $t>0$ 时是 1，否则是 0，因为最后一步不加噪声。
#
# 取 $\sigma_x=0.2$，从 `cosine` 的一千步里抽 10 步走。另让真实的 `DDPM` 配上最好的猜测，采四万个样本，与递推核对：

# %%
std, cosine = 0.2, make_beta_schedule("cosine", 1000)
sparse = np.cumprod(1 - cosine)[spaced_timesteps(1000, 10)]
for v in (0.0, 1.0):
    sampled = gaussian_ddpm(cosine, mean=0.0, std=std).sample(40_000, steps=10, v_posterior=v, generator=torch.Generator().manual_seed(0))
    expected = walk(sparse, ancestral(v), std=std)[1][0]  # walk：各处的均值与方差，第 0 项是最终样本
    check(f"v={v:g}：样本的方差是真值的几倍", sampled.var() / std**2, expected / std**2, atol=0.03)
check("每步用 v*：是真值的几倍", walk(sparse, each_best(std), std=std)[1][0] / std**2, 1.0, atol=2e-3)

# %%
chain_panel()

# %% [markdown]
# 面板：每步用自己的 $v^*_t$，途中的方差处处正确。纵轴是采样链的方差除以 $x_t$ 真实的方差，1 是完美；采样从右往左走，左端是 $x_{t=0}$，与最终样本几乎相同；灰色的粗线是每步用 $v^*_t$。静态的页面上 $\sigma_x=0.2$，上图走 10 步，下图走 200 步。
#
# 看上图。$v=1$ 一路掺得太多，样本太分散；$v=0$ 掺得太少，样本太集中。各步都取 0.4，终点碰巧对了，途中仍然偏大。再看下图，纵轴相同，走 200 步时几条线都挤在 0.92 与 1.04 之间。
#
# 每步用 $v^*_t$ 为什么处处是 1？道理还是全方差公式：
#
# $$\mathrm{Var}(x_{t-1}) = \mathrm{Var}\big(\mathbb E[x_{t-1}\mid x_t]\big) + \mathbb E\,\mathrm{Var}(x_{t-1}\mid x_t).$$
#
# $x_t$ 的方差若是对的，均值 $g\,x_t$ 的方差就是第一项，按 $v^*_t$ 掺的噪声恰是第二项，所以 $x_{t-1}$ 的方差也是对的，一步步传下去。最后一步不加噪声，只少了很小的 $\mathrm{Var}(x_0\mid x_{t=0})$，上面核对时仍在 $1\pm0.002$ 之内。

# %% [markdown]
# ## 7　手写数字该掺多少
#
# 手写数字不是高斯，$v^*_t$ 没有公式。先画出来看：仍走 10 步，告诉模型画几，三行用同一份噪声。
#
# **先猜一猜**：$v$ 取 0、0.1、1，三行的背景会有什么不同？

# %%
four, seen = torch.arange(10).repeat(4), {}  # seen：每一步的 x_t 与猜测，下一格用
samples = {v: pretrained.sample(40, steps=10, v_posterior=v, cond=four, generator=torch.Generator().manual_seed(4),
                                callback=lambda t, *pair, v=v: seen.update({(v, t): pair})) for v in (0.0, 0.1, 1.0)}
rows = []
for x in samples.values():
    corner = x[:1, :, :7, :7].repeat_interleave(4, 2).repeat_interleave(4, 3)  # 第一张的左上角放大，亮度乘 4
    rows.append(torch.cat([x[:10], (4 * (corner + 1) - 1).clamp(-1, 1)]))
grid_figure(torch.cat(rows), nrow=11, rows=[f"$v={v:g}$" for v in samples], columns=[*"0123456789", "0 的左上角"])

# %% [markdown]
# 图：$v$ 越大，背景越脏。走 10 步的样本；最右一列是 0 的左上角，放大四倍，亮度也乘 4。
#
# 脏从哪里来？最后一次掺噪声在 $t=111$，后面只剩 $t=0$ 一步。只把这一次的噪声去掉，别的都照旧，看看还脏多少。脏用四个角来量：各取 4×4 个像素，训练图里那里几乎全黑。

# %%
# NBVAL_IGNORE_OUTPUT
corners = torch.zeros(28, 28, dtype=torch.bool)
corners[:4, :4] = corners[:4, -4:] = corners[-4:, :4] = corners[-4:, -4:] = True


def dirt(x):
    each = (x[..., corners] + 1).square().mean((1, 2)).sqrt()
    return f"{each.mean():.3f} ± {each.std() / len(each)**0.5:.3f}"


for v, x in samples.items():
    (x_t, guess), (a, b, _) = seen[v, 111], ancestral_step(levels[111], levels[0], v)
    with torch.no_grad():
        without = pretrained.predict_start(a * guess + b * x_t, torch.zeros(40, dtype=torch.long), cond=four)
    print(f"v={v:g}　四个角与黑之差的均方根：照常 {dirt(x)}，去掉 t=111 的噪声 {dirt(without)}")

# %% [markdown]
# ± 是四十张之间的标准误。$v$ 取 0.1 与 1 时，去掉最后一次的噪声，脏就少了一大半。所以下面只问：$t=111$ 处该掺多少？
#
# $v^*_t$ 的分子，是最好的猜测的均方误差。网络的猜测平均说来不会更准，所以拿网络的误差代进去，得到的是 $v^*_t$ 的上界。
#
# 下面取一百张手写数字，加噪到 $t=111$，让网络猜，再把误差分成两处来平均：猜成灰色的像素，是笔画的边缘；猜成黑色的，是背景。
# 磁盘上没有 MNIST 时，用的是模型自己画的图，上界说的就是那些图，不是真的手写数字。

# %%
# NBVAL_IGNORE_OUTPUT
held_out, label = handwriting("../data")  # MNIST 的测试集；磁盘上没有时用模型自己画的
now, noise = torch.full((100,), 111), torch.randn(100, 1, 28, 28, generator=torch.Generator().manual_seed(5))
with torch.no_grad():
    noisy = pretrained.q_sample(held_out, now, noise)
    guess = pretrained.predict_start(noisy, now, cond=label)
error = (held_out - guess) ** 2 / (1 - levels[111])
edge, ground = (torch.stack([e[part].mean() for e, part in zip(error, parts)]) for parts in (guess.abs() < 0.9, guess < -0.98))
for name, each, low, high in (("全图", error.mean((1, 2, 3)), 0.08, 0.12), ("边缘", edge, 0.6, 0.8), ("背景", ground, 0, 0.01)):
    print(f"t=111，{name}：误差除以 1-ᾱ_t，{each.mean():.4f} ± {each.std() / 10:.4f}")
    check(f"在 {low} 与 {high} 之间，标准误不到 0.02", low < each.mean() < high and each.std() / 10 < 0.02, True)
grid_figure(torch.cat([noisy[:10], guess[:10], (2 * error[:10] - 1).clamp(-1, 1)]), nrow=10, columns="0123456789",
            rows=["$x_t$，$t=111$", "猜测", "误差"])

# %% [markdown]
# 图：猜不准的几乎全在笔画的边缘。一列一个数字；第三行是误差除以 $1-\bar\alpha_t$，黑是 0，白是 1 或更大。
#
# ± 是一百张之间的标准误。
#
# 分成几处来平均，得到的还是上界吗？最好的猜测在每个 $x_t$、每个像素上，平均的误差都最小。一个像素归在哪一处，由 $x_t$ 算出的猜测决定。
# 所以在每一处，网络的平均误差都不小于最好的猜测，量到的是那一处平均的 $v^*_t$ 的上界。
#
# - 全图平均，$v^*_t$ 至多 0.1 上下，所以 $v=1$ 掺得太多。
# - 边缘平均至多 0.7 上下，背景不到 0.01。采样器对每个像素掺同样多，边缘与背景就不能兼顾。
#
# 若只求平均的方差对，$v$ 至多取 0.1 上下。本课程更看重背景干净，取 $v=0$。
#
# 代价是样本更集中。集中多少？走 10 步，每个数字画八张，量八张之间的标准差。“只分黑白”先以 0 为界把像素变成黑白两色，背景上淡淡的脏就不算了：
#
# | 标准差 | $v=0$ | $v=0.1$ | $v=1$ | 真的数字 |
# |:--|--:|--:|--:|--:|
# | 像素 | 0.224 ± 0.002 | 0.237 ± 0.002 | 0.293 ± 0.002 | 0.264 ± 0.001 |
# | 只分黑白 | 0.129 ± 0.001 | 0.129 ± 0.001 | 0.135 ± 0.001 | 0.149 ± 0.001 |
#
# ± 是六个种子之间的标准误；真的数字取自测试集，是五十组之间的。看像素，$v=1$ 比真的还散，可是那里面有脏。
# 只分黑白，三种都比真的集中：$v=0$ 与 0.1 都少 13% 左右，$v=1$ 少 9% 左右。所以取 $v=0$，背景干净了，笔画的散布只多丢一点。
#
# <details><summary>选读：量上表的程序</summary>
#
# ```python
# from ddpm_edu.data import MNISTDataModule
#
#
# def spreads(x):
#     return [float(y.view(8, 10, -1).std(0).mean()) for y in (x, (x > 0).float())]
#
#
# def draw(v, seed):
#     generator = torch.Generator().manual_seed(seed)
#     return pretrained.sample(80, steps=10, v_posterior=v, cond=torch.arange(10).repeat(8), generator=generator)
#
#
# found = {v: [spreads(draw(v, seed)) for seed in range(4, 10)] for v in (0.0, 0.1, 1.0)}
# test = MNISTDataModule("../data").dataset("test")
# each = torch.stack([(test.labels == digit).nonzero()[:400, 0] for digit in range(10)], 1)
# found["真的数字"] = [spreads(test[some.flatten()]["image"]) for some in each.split(8)]
# for name, rows in found.items():
#     print(name, torch.tensor(rows).mean(0), torch.tensor(rows).std(0) / len(rows)**0.5)
# ```
#
# </details>

# %% [markdown]
# ## 8　三段源码
#
# 公式都见过了，这里拿三段代码与公式核对：后验，走一步用的三个数，走一步。走完整条链的循环在[源码精读](93_source_reading.ipynb)第 2 节。

# %%
show_source(GaussianDiffusion.q_posterior,
            "def q_posterior", "check_like(", "mean = (", "variance = extract_into_tensor(self.posterior_variance")

# %% [markdown]
# - ① 返回均值、方差、截断过的对数方差。
# - ② 类型与形状的检查。
# - ③ $c_1 x_0 + c_2 x_t$，一项一行。
# - ④ 方差已按 $v$ 混合；取对数之前，$t=0$ 处的 $\tilde\beta_0=0$ 先换成 $\tilde\beta_1$，免得取 $\ln0$。

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
show_source(Sampling.p_sample,
            "@torch.no_grad()", "check_sample(\"x\"", "if step is None:", "x_s = mean", "return (x_s.to")

# %% [markdown]
# - ① 前四个参数同参考实现，后面的只能按名字给。
# - ② 检查输入；均值、方差、$\hat x_0$ 都由 `p_mean_variance` 给。
# - ③ $\sigma_t = e^{\frac12\ln\sigma_t^2}$。$t=0$ 的样本不再加噪声：那已经是最终的图。
# - ④ 走一步：均值加上 $\sigma z$，噪声在这里才抽；`repeat_noise` 让整批共用一份。$\sigma$ 是 0 就不抽。
# - ⑤ 结果换回输入的类型；要 $\hat x_0$，就一起交出来。

# %% [markdown]
# ## 小结
#
# **去噪时为什么还要掺噪声，该掺多少？**
#
# - **为什么**：$x_0$ 已知时，后验是高斯，均值 $c_1x_0+c_2x_t$，方差 $\tilde\beta_t$。网络只给出均值，$x_s$ 本该围着均值散开。系数不改，只去掉噪声，散布就一步步丢掉，样本千篇一律。DDIM 也不掺，但把 $x_t$ 的系数改大了。
# - **该掺多少**：$\tilde\beta_t$，再加上 $x_0$ 还没有定的那一份。$v=0$ 对一个点最优，$v=1$ 对标准高斯最优，一般地 $v^*_t = \mathbb E\,\mathrm{Var}(x_0\mid x_t)/(1-\bar\alpha_t)$。
# - **实际怎样取**：步数多，$v=0$ 与 $v=1$ 差得很少。步数少，用祖先采样画手写数字时取 $v=0$：背景干净，样本稍集中些。
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
# $k$、$g$ 的公式也在那里，$D$ 在第 5 节。$c_1$、$c_2$、$\tilde\beta_t$ 可以直接调用你在 04.1 写好的函数，也可以再算一遍。

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
# ### 04.5　差别只在 t 小处 ★★★
#
# 第 5 节说 $t$ 大时 $\tilde\beta_t$ 与 $\beta_t$ 几乎相等。多大才算大？设每一步的 $\beta_t$ 都是同一个很小的数，例如 $10^{-6}$。
# 第一个使 $\tilde\beta_t/\beta_t\ge0.99$ 的 $t$ 是几？先推公式，不要数值计算。

# %%
grade("04.5", None)  # 把 None 换成一个数

# %% [markdown]
# ### 小实验　噪声只在半路上掺
#
# 改一处，量一量，写三句话。第 1 节要么步步都掺噪声，要么一点不掺。现在按步号决定掺不掺：`keep(t)` 是真，这一步照公式掺；是假，就不掺。在新的一格运行下面的程序，两个数依次是同一个数字的四张之间像素的标准差、分类器认得出的比例；再把 `keep` 换成后半程的 `t < 500`，每次几秒。
# 动手之前先猜：只掺前半程，与只掺后半程，哪一种的散布更接近全程都掺（0.2 上下）？另一种还剩多少？
#
# ```python
# four = torch.arange(10).repeat(4)
#
#
# @torch.no_grad()
# def walk_with(keep, seed=0):
#     generator = torch.Generator().manual_seed(seed)
#     x = torch.randn(40, 1, 28, 28, generator=generator)
#     for t, s in zip(times, [*times[1:], None]):
#         a, b, sigma = ancestral_step(levels[t], 1.0 if s is None else levels[s])
#         x0_hat = pretrained.predict_start(x, torch.full((40,), t), cond=four)
#         x = a * x0_hat + b * x + keep(t) * sigma * torch.randn(x.shape, generator=generator)
#     return float(x.view(4, 10, -1).std(0).mean()), recognised(classifier, x, four)["recognised"]
#
#
# print(walk_with(lambda t: t >= 500))  # 改这一处
# ```
#
# <!-- 参考答案 -->
# **参考答案**　八个种子，每个种子四十张，± 后面是标准误；“方差占”是掺进去的 $\sigma^2$ 之和，占全程都掺时的几成：
#
# | 哪几步掺 | 方差占 | 像素的标准差 | 认得出 |
# |:--|--:|--:|--:|
# | 全程 | 100% | 0.217 ± 0.004 | 97.5% ± 0.7% |
# | 不掺 | 0 | 0.0085 ± 0.0003 | 100% |
# | 只掺前半程，$t\ge500$ | 91% | 0.214 ± 0.005 | 96.9% ± 0.6% |
# | 只掺后半程，$t<500$ | 9% | 0.0533 ± 0.0003 | 100% |
# | 只掺头四分之一，$t\ge750$ | 68% | 0.203 ± 0.004 | 98.8% ± 0.7% |
# | 前半程，每步的 $\sigma z$ 都乘 0.32 | 9% | 0.120 ± 0.003 | 99.7% ± 0.3% |
#
# 1. 散布几乎都是前半程补上的：只掺前半程是 0.214，与全程分不开，光是头六步就有 0.203；只掺后半程，剩四分之一。
# 2. 后半程掺得本来就少，只占方差的 9%，可是原因不全在这里：前半程缩到同样多，散布仍有 0.120，是后半程的两倍多。可见早掺的改得动字形，晚掺的改动很小。3. 认得出的比例反着走：散布最小的几种是 100%。所以只看认得出，看不出散布少了。
#
# ```python
# sigmas = {t: ancestral_step(levels[t], levels[s])[2] for t, s in zip(times, times[1:])}
# parts = {"全掺": lambda t: True, "不掺": lambda t: False, "前半": lambda t: t >= 500, "后半": lambda t: t < 500,
#          "头四分之一": lambda t: t >= 750, "前半，乘 0.32": lambda t: 0.32 * (t >= 500)}
# for name, keep in parts.items():
#     amount = sum((keep(t) * sigma) ** 2 for t, sigma in sigmas.items()) / sum(sigma**2 for sigma in sigmas.values())
#     rows = torch.tensor([walk_with(keep, seed) for seed in range(8)])
#     print(name, f"方差占 {amount:.0%}", rows.mean(0), rows.std(0) / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
