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
# - 会走去噪的一步，说得清为什么还要加噪声；会算整条链的方差。
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
from ddpm_edu.teach import card, check, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.laboratory import chain_moments, ddim_chain_variance
from ddpm_edu.teach.panels import chain_panel, posterior_panel

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
# 用随课程发布的 `mnist` 模型走 25 步，告诉它画几，比三种走法：
#
# - 照公式掺。
# - 只去掉噪声：不加 $\sigma z$，$a$、$b$ 不动。
# - 第 0 章的 DDIM：也不掺噪声，但 $a$、$b$ 是另一组数。
#
# **先猜一猜**：后两种走法，从两个起点出发，各会走到怎样的两张图？

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
# 图：只去掉噪声，两个起点走到的几乎是同一张图。一列一个数字，各有两个起点，上下两行各一个；三种走法用的起点相同。
#
# 量一量图中同一个数字的两张相差多少：

# %%
for name, x in drawn.items():
    each = x.view(2, 10, -1).std(0).mean(1)
    print(f"{name}：同一个数字的两张之间，像素的标准差 {each.mean():.3f} ± {each.std() / 10**0.5:.3f}")

# %% [markdown]
# ± 是十个数字之间的标准误。同样量 200 对真的手写数字，是 0.187 ± 0.001（对与对之间的标准误）。
#
# 只去掉噪声，图并不糊，可是两张之间的差别只剩二十分之一。DDIM 的差别与真的分不开；但差别大不等于画得好，图中它的 4、5、6、8 都有画坏的。
#
# 为什么会**千篇一律**，DDIM 又为什么不会？要先知道 $a$、$b$、$\sigma$ 从哪里来。

# %% [markdown]
# ## 2　退一小步，几乎是高斯
#
# 去噪过程 (reverse process) 从 $x_t$ 走到 $x_{t-1}$，要抽的是 $q(x_{t-1}\mid x_t)$：已知 $x_t$，加这一步噪声之前的 $x_{t-1}$ 可能取哪些值。该掺多少噪声，就看这些值散得多开。
# 这个分布一般没有公式。取第 3 章那个最简单的数据：$x_0$ 只有 $+1$ 与 $-1$ 两种，各占一半。站在 $t=250$、$x_t=0.2$ 处往回看，退 1 步、退 200 步，$x_s$ 可能取哪些值？
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
# 图：在 $t=250$ 处，退 1 步近似高斯，退 200 步不是。蓝线是精确的 $q(x_s\mid x_t)$，橙线是均值、方差与它相同的高斯；两张图的纵轴不同。
# 细灰线是乘出蓝线的两个因子，都画成与蓝线一样高。
#
# 退 1 步，蓝线、橙线、灰虚线三条重合。退 200 步，高斯的峰落在两个峰之间，那里本不该有东西。
#
# 为什么？贝叶斯公式说 $q(x_s\mid x_t)\propto q(x_t\mid x_s)\,q(x_s)$，是两个因子相乘。把两个都看成 $x_s$ 的函数：
#
# - 前一个是高斯。$x_t$ 是 $\sqrt{1-\beta'}\,x_s$ 加上方差为 $\beta'$ 的噪声；看成 $x_s$ 的函数，噪声的宽度还要除以 $\sqrt{1-\beta'}$，得 $\sqrt{\beta'/(1-\beta')}$，步子越小越窄。
# - 后一个是加过噪的数据，这里是两个高斯的峰相加，各宽 $\sqrt{1-\bar\alpha_s}$。
#
# 退 1 步，前一个的宽度只有后一个的峰的十分之一。在这么窄的范围里，后一个变化平缓，所以乘积近似高斯。
# 退 200 步，前一个宽得盖住两个峰，乘积也就有两个峰。$t$ 很小时步子不比峰窄（$t=1$ 处是 1.1 倍），这个理由用不上。
#
# 祖先采样每一步抽的都是高斯，步子太大就不对了。多小才够，要看数据：手写数字 25 步、10 步也画得出。既然是高斯，只要知道均值与方差：下面两节求均值，第 5 节求方差。

# %% [markdown]
# ## 3　后验：连 $x_0$ 也知道的话
#
# $q(x_{t-1}\mid x_t)$ 的均值写不出来。先考虑一个容易的问题：假定 $x_0$ 已知，下一节再换成网络的猜测。这时 $x_{t-1}$ 的分布叫后验 (posterior)，由贝叶斯公式得到：
#
# $$q(x_{t-1}\mid x_t, x_0) \propto q(x_t\mid x_{t-1}, x_0)\;q(x_{t-1}\mid x_0) = q(x_t\mid x_{t-1})\;q(x_{t-1}\mid x_0).$$
#
# 等号成立，是因为加噪每一步只看上一步。
# 右边两个都是高斯，相乘得到什么？

# %%
t, x_t, x0 = 5, 0.84, 0.9
y = np.linspace(0.76, 1.0, 24_001)  # y 是 x_{t-1}
a_prev, beta = tables["alphas_cumprod_prev"][t], betas[t]
come, leave = normal(y, np.sqrt(a_prev) * x0, 1 - a_prev), normal(x_t, np.sqrt(1 - beta) * y, beta)
product = come * leave / (come * leave).sum()  # 每一小格的概率，加起来是 1
curves_figure((y, {"相乘再归一：后验": product / (y[1] - y[0]), r"从 $x_0$ 走来：$q(x_{t-1}|x_0)$": come,
                   r"再走一步到 $x_t$：$q(x_t|x_{t-1})$": leave}, "$x_{t-1}$", "密度或似然"))

# %% [markdown]
# 图：后验落在两个峰之间，比两个都窄。这里 $t=5$、$x_0=0.9$、$x_t=0.84$。点线里 $x_t$ 是固定的，所以它不是 $x_{t-1}$ 的密度，而是似然 (likelihood)。
#
# 只看指数里含 $x_{t-1}$ 的部分，记 $y = x_{t-1}$：
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
# 图里的后验是在细格子上乘出来的，拿来核对：

# %%
center = (product * y).sum()
check("均值 = c₁x₀ + c₂x_t", center, tables["posterior_mean_coef1"][t] * x0 + tables["posterior_mean_coef2"][t] * x_t, atol=1e-9)
check("方差 = β_tilde", (product * (y - center) ** 2).sum(), tables["posterior_variance"][t], rtol=1e-6)

# %% [markdown]
# 代码从 0 数步，$t=0$ 的图已经加过一步噪声，再退一步才是原图，所以约定 $\bar\alpha_{-1}=1$。代入得 $c_1=1$、$c_2=0$、$\tilde\beta_0=0$：最后一步直接输出 $x_0$，不加噪声。

# %% [markdown]
# ## 4　去噪的一步
#
# ### 把 $x_0$ 换成猜测
#
# 采样时没有 $x_0$，就把后验均值里的 $x_0$ 换成网络的猜测 $\hat x_0$。为什么可以换？均值 $c_1x_0+c_2x_t$ 对 $x_0$ 是线性的，所以把 $x_0$ 换成它的平均 $\mathbb E[x_0\mid x_t]$，得到的正是 $x_{t-1}$ 的平均 $\mathbb E[x_{t-1}\mid x_t]$；网络学的，就是 $x_0$ 的这个平均（第 1 章）。
#
# 于是得到第 1 节那个式子：走到相邻的一步时，$a=c_1$，$b=c_2$，方差先取 $\sigma^2=\tilde\beta_t$，就当 $\hat x_0$ 猜得一点不错（第 5 节再改）。一大步走到更早的 $x_s$，公式不变，只把 $\bar\alpha_{t-1}$ 换成 $\bar\alpha_s$，$\beta_t$ 换成 $\beta'=1-\bar\alpha_t/\bar\alpha_s$，$\alpha_t$ 换成 $1-\beta'$。代码就是这样写的：

# %%
show_source(ancestral_step,
            "def ancestral_step", "a = cumprod_s", "variance =")

# %% [markdown]
# - ① 给出两个 $\bar\alpha$，先算这一步的 $\beta'$。
# - ② $c_1$ 与 $c_2$。
# - ③ `v_posterior` 取默认的 0 时，方差就是 $\tilde\beta$。走到 $x_0$ 时 $\bar\alpha_s=1$，不加噪声。
#
# ### 噪声补的是散布
#
# $a\hat x_0+b\,x_t$ 只是后验的**均值**。就算 $\hat x_0$ 猜得一点不错，$x_s$ 也本该围着这个均值散开，方差是 $\sigma^2$。掺进去的噪声，补的就是这份散布。
#
# 数据是 $\mathcal N(0,1)$ 时，最好的猜测是 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t$，不掺噪声的一步就是
#
# $$c_1\hat x_0+c_2x_t = (c_1\sqrt{\bar\alpha_t}+c_2)\,x_t = \sqrt{\alpha_t}\,x_t.$$
#
# 一步步乘下去，什么起点都缩到 0 附近。走完一千步，样本的方差还剩多少？

# %%
c1, c2 = tables["posterior_mean_coef1"], tables["posterior_mean_coef2"]
check("不掺噪声的一步，恰好乘 √α", c1 * np.sqrt(bar) + c2, np.sqrt(1 - betas), atol=1e-12)
standard = {v: chain_moments(betas, 0.0, 1.0, v)[1] for v in (0.0, 1.0)}  # 走完之后样本的方差；v=1 第 5 节用
print(f"只去掉噪声，{bar[-1]:.5f}；照公式掺，{standard[0.0]:.3f}；DDIM，{ddim_chain_variance(betas, 1.0, 1000, eta=0.0):.3f}")

# %% [markdown]
# 数据的方差是 1。照公式掺的时候，起点也这样被忘掉：走完的方差 0.991 里，起点只占 0.00004，其余全来自途中掺的噪声。不掺，就只剩这 0.00004。第 1 节的手写数字与此相像：缩掉的是两个起点之间的差别。
#
# 不是什么数据都缩成一点。第 2 节的 $\pm1$，也用最好的猜测走一千步，不掺噪声：样本仍是 $+1$、$-1$ 各半，起点的符号留了下来。可是把数据改成七成 $+1$，样本就全是 $+1$（十万个起点）：起先什么也看不出，猜测总在平均值 0.4 上下，一步步把起点都推到正的一边。
#
# DDIM 也不掺，可是 $a$、$b$ 都跟着改了：$b$ 比这里的 $c_2$ 大，$x_t$ 留得多（第 7 章）。

# %% [markdown]
# ## 5　该掺多少：`v_posterior`
#
# 照公式掺，方差是 0.991，少了哪一份？$\tilde\beta_t$ 是 $x_0$ **已知**时的方差，而采样时 $x_0$ 是猜的。
#
# $x_0$ 每换一个值，后验的均值 $c_1x_0+c_2x_t$ 就跟着移动。这份移动的方差是 $c_1^2\,\mathrm{Var}(x_0\mid x_t)$，也该补上。两份相加，就是全方差公式：
#
# $$\mathrm{Var}(x_{t-1}\mid x_t) = \tilde\beta_t + c_1^2\,\mathrm{Var}(x_0\mid x_t).$$
#
# 采样器对同一个 $t$ 只用一个 $\sigma_t^2$，所以要把右边对 $x_t$、对像素取平均。这样取，只要 $x_t$ 的分布是对的，$x_{t-1}$ 的总方差就恰好对；数据是高斯时，只要 $x_t$ 的均值与方差对就够了（第 6 节）。本章说最优，只是这个意思。
#
# **数据是一个点**：$x_0$ 没有不确定性，$\mathrm{Var}(x_0\mid x_t)=0$，最优的方差是 $\tilde\beta_t$。
#
# **数据是 $\mathcal N(0, 1)$**：$x_0$ 的分布与 $x_t$ 给的信息仍是两个高斯相乘，方差的倒数相加（第 3 节），$1+\dfrac{\bar\alpha_t}{1-\bar\alpha_t}=\dfrac1{1-\bar\alpha_t}$，所以 $\mathrm{Var}(x_0\mid x_t)=1-\bar\alpha_t$。
# 要补的第二份，用 $\beta_t\bar\alpha_{t-1}=\bar\alpha_{t-1}-\bar\alpha_t$ 化简：
#
# $$c_1^2(1-\bar\alpha_t) = \frac{\beta_t^2\,\bar\alpha_{t-1}}{1-\bar\alpha_t} = \frac{\beta_t(\bar\alpha_{t-1}-\bar\alpha_t)}{1-\bar\alpha_t} = \beta_t-\tilde\beta_t.$$
#
# 加上 $\tilde\beta_t$，最优的方差恰好是 $\beta_t$。
#
# 参数 `v_posterior`（记作 $v$）把这两个方差线性混合。$v=0$ 不是不掺，仍掺 $\tilde\beta_t$：
#
# $$\sigma_t^2 = (1-v)\,\tilde\beta_t + v\,\beta_t.$$

# %%
card("v_posterior")
check("改掺 β_t，上面的 0.991 就变成", standard[1.0], 1.0, atol=2e-3)
mixed = GaussianDiffusion(given_betas=betas, v_posterior=0.3).exact_table("posterior_variance")
check("v_posterior=0.3：混合的是方差", mixed, 0.7 * tables["posterior_variance"] + 0.3 * betas, atol=1e-18)

# %% [markdown]
# $v$ 取 0 还是取 1，差多少，要看走几步：

# %%
posterior_panel(betas)

# %% [markdown]
# 面板：步数越少，$v$ 越要紧。$v=1$ 时纵轴处处是 1；横轴取对数。静态的页面上 $v=0.5$，上图走满 1000 步，下图走 10 步，圆点是走到的 $t$。这里用论文的表；第 6、7 节换成 `cosine`。
#
# 走满 1000 步，$t$ 过了 100，两条线离 1 都不到 0.02。只走 10 步，最左边的 $t=111$ 处，$v=0$ 几乎不掺。
#
# ### 最优的 $v$
#
# 别的数据，$v$ 该取多少？$v$ 由 0 变成 1，方差增加 $\beta_t-\tilde\beta_t=c_1^2(1-\bar\alpha_t)$；最优的方差只要增加 $c_1^2\,\mathbb E\,\mathrm{Var}(x_0\mid x_t)$。后者占前者的几成，$v$ 就取几成：
#
# $$v^*_t = \frac{\mathbb E\,\mathrm{Var}(x_0\mid x_t)}{1-\bar\alpha_t}.$$
#
# $c_1$ 消去了，所以 $v^*_t$ 与走几步无关。
#
# 数据是 $\mathcal N(0,\sigma_x^2)$ 时，把上面的 $1$ 换成 $1/\sigma_x^2$，同样算得
#
# $$\mathrm{Var}(x_0\mid x_t) = \frac{\sigma_x^2(1-\bar\alpha_t)}{D},\qquad v^*_t=\frac{\sigma_x^2}{D},$$
#
# 其中 $D=\bar\alpha_t\sigma_x^2+1-\bar\alpha_t$ 是 $x_t$ 的方差。$t$ 小时 $v^*_t$ 接近 1，$t$ 大时接近 $\sigma_x^2$，所以 $0<\sigma_x<1$ 时没有一个常数对所有 $t$ 都最优。

# %% [markdown]
# ## 6　每一步都最优，整条链就对吗
#
# $v^*_t$ 是一步一步单独定的。走完整条链，样本的方差对不对，数据是 $\mathcal N(0,\sigma_x^2)$ 时可以精确地算。
#
# 这时最好的猜测是 $\hat x_0=k\,x_t$，其中 $k=\sqrt{\bar\alpha_t}\,\sigma_x^2/D$。代入均值 $c_1\hat x_0+c_2x_t$，得 $g\,x_t$，其中 $g = c_1k+c_2$。
# 记此刻的方差为 $V$，起点抽自 $\mathcal N(0,1)$，所以 $V=1$；每走一步
#
# $$V\leftarrow g^2V + \sigma_t^2\,[t>0].$$
#
# 方括号在 $t>0$ 时是 1，否则是 0：最后一步不加噪声。取 $\sigma_x=0.2$，从 `cosine` 的一千步里抽几步走：

# %%
chain_panel()

# %% [markdown]
# 面板：每步用自己的 $v^*_t$，途中的方差处处正确。上图走 10 步，纵轴是途中的方差与 $x_t$ 真实的方差之比，蓝线是 $v=0.4$；下图走各种步数，纵轴是最终样本的方差与真值之比。
#
# 先看上图的左端，它几乎就是最终样本。$v=1$ 一路掺得太多，样本的方差将近真值的两倍；$v=0$ 掺得太少，不到真值的一半；$v=0.4$ 的终点碰巧对，途中却掺多了：下图里它走 5 步偏多，走 20 步又偏少。步数够多，三条线都靠近 1。
#
# 每步用 $v^*_t$ 为什么处处是 1？还是全方差公式：
#
# $$\mathrm{Var}(x_{t-1}) = \mathrm{Var}\big(\mathbb E[x_{t-1}\mid x_t]\big) + \mathbb E\,\mathrm{Var}(x_{t-1}\mid x_t).$$
#
# $x_t$ 的方差若是对的，均值 $g\,x_t$ 的方差就是第一项，按 $v^*_t$ 掺的噪声恰是第二项，所以 $x_{t-1}$ 的方差也对。最后一步不加噪声，只少了很小的 $\mathrm{Var}(x_0\mid x_{t=0})$。

# %% [markdown]
# ## 7　手写数字该掺多少
#
# 手写数字的 $v^*_t$ 没有公式，先画出来看：从 `cosine` 的表里抽 10 步，告诉模型画几，三行用同一份噪声。
#
# **先猜一猜**：$v$ 取 0、0.1、1，三行的背景会有什么不同？

# %%
samples = {v: pretrained.sample(10, steps=10, v_posterior=v, cond=torch.arange(10), generator=torch.Generator().manual_seed(4))
           for v in (0.0, 0.1, 1.0)}
print("从 t=111 走到 t=0，掺的 σ 依次是", *(f"{ancestral_step(levels[111], levels[0], v)[2]:.4f}" for v in samples))
grid_figure(torch.cat(list(samples.values())), nrow=10, rows=[f"$v={v:g}$" for v in samples], columns="0123456789")

# %% [markdown]
# 图：$v$ 越大，背景越脏。$v=1$ 的背景满是雪花，$v=0.1$ 的也有淡淡的一层。
#
# $t=111$ 是最后一次掺噪声。下一步 $t=0$，网络当作输入里的噪声只有 $\sqrt{1-\bar\alpha_0}=0.0064$：$v=0$ 掺的正合，$v=0.1$、$v=1$ 掺的是它的 9 倍与 29 倍。所以下面只问：$t=111$ 处该掺多少？
#
# $v^*_t$ 的分子，是最好的猜测的均方误差。给定 $x_t$，谁的均方误差也不会比最好的猜测更小，所以拿网络的误差代进去，得到的是 $v^*_t$ 的上界。
#
# 取一百张手写数字，加噪到 $t=111$，让网络猜，再把误差分成两处来平均：猜成灰色的像素，是笔画的边缘；猜成黑色的，是背景。$x_t$ 定了，猜测就定了，像素归哪一处也定了，所以分开平均，得到的仍是上界。

# %%
# NBVAL_IGNORE_OUTPUT
held_out, label = handwriting("../data")  # MNIST 的测试集；磁盘上没有时用模型自己画的
now, noise = torch.full((100,), 111), torch.randn(100, 1, 28, 28, generator=torch.Generator().manual_seed(5))
with torch.no_grad():
    noisy = pretrained.q_sample(held_out, now, noise)
    guess = pretrained.predict_start(noisy, now, cond=label)
error = (held_out - guess) ** 2 / (1 - levels[111])
edge, ground = (torch.stack([e[part].mean() for e, part in zip(error, parts)]) for parts in (guess.abs() < 0.9, guess < -0.98))
for name, each in (("全图", error.mean((1, 2, 3))), ("边缘", edge), ("背景", ground)):
    print(f"t=111，{name}：误差除以 1-ᾱ_t，{each.mean():.4f} ± {each.std() / 10:.4f}")
grid_figure(torch.cat([noisy[:10], guess[:10], (2 * error[:10] - 1).clamp(-1, 1)]), nrow=10, columns="0123456789",
            rows=["$x_t$，$t=111$", "猜测", "误差"])

# %% [markdown]
# 图：猜不准的几乎全在笔画的边缘。一列一个数字；第三行是误差除以 $1-\bar\alpha_t$，黑是 0，白是 1 或更大。
#
# - 全图平均，$v^*_t$ 至多 0.1 上下：若只求走完这一步，平均的方差对，$v$ 至多取这么大（± 是一百张之间的标准误）。
# - 边缘至多 0.7 上下，背景不到 0.01。这只是上界；若网络已接近最好的猜测，边缘要的就比背景多得多，一个 $v$ 不能兼顾。
#
# 本课程更看重背景干净，取 $v=0$，代价是样本更集中。每个数字画八张，以 0 为界把像素变成黑白两色，免得算进背景上的脏。八张之间的标准差（与第 1 节的不是一个尺度），真的数字是 0.149，$v=0$、0.1、1 依次是 0.129、0.129、0.135，各 ± 0.001（标准误；真的五十组，其余六个种子）。三个都比真的集中：$v=0$ 少 0.020，比 $v=1$ 的 0.014 多四成，与 $v=0.1$ 几乎一样。
#
# 只有最后一次取 0，前面各步都取 1 呢？标准差是 0.135，与处处取 1 差不到 0.001；背景却只干净了一半：灰的像素（值在 −0.9 与 −0.3 之间），处处取 0 有 4.5%，这样取有 13.5%，处处取 1 有 33.5%。所以脏不全是最后一次掺的，只用一个 $v$ 也说得过去。
#
# <details><summary>选读：怎样量这些数（真的数字取测试集每类前 400 张，八张一组）</summary>
#
# ```python
# def spread_of(x):
#     return float((x > 0).float().view(8, 10, -1).std(0).mean())
#
#
# cond, found = torch.arange(10).repeat(8), {}
# for v in (0.0, 0.1, 1.0):
#     seeds = [torch.Generator().manual_seed(seed) for seed in range(4, 10)]
#     found[v] = [spread_of(pretrained.sample(80, steps=10, v_posterior=v, cond=cond, generator=seed)) for seed in seeds]
# kept = spaced_timesteps(1000, 10)
#
#
# def last_clean(seed):
#     noise = torch.Generator().manual_seed(seed)
#     x = torch.randn(80, 1, 28, 28, generator=noise)
#     for i in range(9, -1, -1):
#         step = ancestral_step(levels[kept[i]], levels[kept[i - 1]] if i else 1.0, 0.0 if i == 1 else 1.0)
#         x = pretrained.p_sample(x, torch.full((80,), int(kept[i])), step=step, cond=cond, generator=noise)
#     return x
#
#
# found["最后一次取 0"] = [spread_of(last_clean(seed)) for seed in range(4, 10)]
# for name, values in found.items():
#     print(name, np.mean(values), np.std(values, ddof=1) / len(values)**0.5)
# ```
#
# </details>

# %% [markdown]
# ## 8　两段源码
#
# 代码怎样写后验，怎样走一步；走完整条链的循环在[源码精读](93_source_reading.ipynb)第 2 节。

# %%
show_source(GaussianDiffusion.q_posterior,
            "def q_posterior", "variance = extract_into_tensor(self.posterior_variance")

# %% [markdown]
# - ① 均值是 $c_1 x_0 + c_2 x_t$，两个系数从表里取。
# - ② 方差已按 $v$ 混合；取对数之前，$t=0$ 处的 $\tilde\beta_0=0$ 先换成 $\tilde\beta_1$，免得取 $\ln0$。

# %%
show_source(Sampling.p_sample,
            "@torch.no_grad()", "if step is None:", "x_s = mean")

# %% [markdown]
# - ① 均值、方差的对数、$\hat x_0$ 都由 `p_mean_variance` 给：它先让网络猜 $\hat x_0$，再代入上一段的后验。
# - ② $\sigma_t = e^{\frac12\ln\sigma_t^2}$，$t=0$ 的样本不再加噪声。采样器给了 $(a,b,\sigma)$ 时，直接用它的 $\sigma$。
# - ③ 走一步：均值加上 $\sigma z$，噪声在这里才抽；`repeat_noise` 让整批共用一份。

# %% [markdown]
# ## 小结
#
# **去噪时为什么还要掺噪声，该掺多少？**
#
# - **为什么**：$x_0$ 已知时，后验是高斯，均值 $c_1x_0+c_2x_t$，方差 $\tilde\beta_t$。采样算出的只是均值，$x_s$ 本该围着它散开；只去掉噪声，这份散布没有了：高斯的数据缩成一点，手写数字几乎成了同一张。
# - **该掺多少**：$\tilde\beta_t$，再加上 $x_0$ 还没有定的那一份。$v=0$ 对一个点最优，$v=1$ 对标准高斯最优，一般地 $v^*_t = \mathbb E\,\mathrm{Var}(x_0\mid x_t)/(1-\bar\alpha_t)$。
# - **实际怎样取**：步数多，$v=0$ 与 $v=1$ 差得很少。步数少，画手写数字时取 $v=0$：背景干净，样本集中些。
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
# $k$、$g$ 的公式也在那里，$D$ 在第 5 节。$c_1$、$c_2$、$\tilde\beta_t$ 可以调用你在 04.1 写的函数。

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
# 走满 1000 步，$t$ 大时 $\tilde\beta_t$ 与 $\beta_t$ 几乎相等（第 5 节的面板）。多大才算大？设每一步的 $\beta_t$ 都是同一个很小的数，例如 $10^{-6}$。
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
