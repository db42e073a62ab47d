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
# - 说清 `v_posterior` 管什么，它的两个极端各在一种数据上最优，手写数字为什么两头都不合，少步时又为什么取 $v=0$。
#
# **预计用时** 60 分钟。运行全部单元约 45 秒。

# %%
import numpy as np
import torch

from ddpm_edu import GaussianDiffusion, load_pretrained, make_beta_schedule
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import recognised
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.sampling import Sampling, ancestral_step, spaced_timesteps
from ddpm_edu.teach import card, check, check_order, check_raises, curve_figure, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.laboratory import ancestral, chain_moments, chain_variances, gaussian_ddpm, walk
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
# $\hat x_0$ 是网络此刻对原图的猜测。$a$、$b$、$\sigma$ 由 $\bar\alpha_t$ 与 $\bar\alpha_s$ 决定，第 1 章只写了出来，这一章推导；代码里的 `ancestral_step` 就算这三个数，这种走法叫祖先采样 (ancestral sampling)。
#
# 现在把每一步掺的噪声乘上 $\lambda$：$\lambda=1$ 是照公式，$\lambda=0$ 是一点不掺，其余一概不变。用随课程发布的 `mnist` 模型走 25 步，告诉它画几。
#
# **先猜一猜**：$\lambda=0$ 时，四个不同的起点，会走到四张怎样的图？

# %%
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
# 图：一列一个数字；每个 $\lambda$ 两行，是两个不同的起点，三个 $\lambda$ 用的起点相同。$\lambda=1$ 的两行，字形各异；$\lambda=0$ 的两行几乎分不出，字形规矩，0、2、8 还偏粗；$\lambda=0.5$ 介于两者之间。量一量同一个数字的四张相差多少：

# %%
spread = {scale: x.view(4, 10, -1).std(0).mean(1) for scale, x in drawn.items()}
for scale, each in spread.items():
    share = recognised(classifier, drawn[scale], labels)["recognised"]
    print(f"λ={scale:g}　同一个数字的四张之间，像素的标准差 {each.mean():.3f} ± {each.std() / 10**0.5:.3f}　分类器认得出 {share:.0%}")
check_order("λ=1 与 λ=0 的标准差之比，应大于 15", 15, spread[1.0].mean() / spread[0.0].mean())

# %% [markdown]
# ± 是十个数字之间的标准误。$\lambda$ 从 1 降到 0.5，标准差从 0.204 降到 0.156；降到 0，只剩 0.010。噪声减半，散布只少了不到四分之一；全不掺，才几乎没有了。
# 四张太少，标准差估得偏低，也看不出识别率的差别。离线换成每个数字 24 个起点：$\lambda=1$ 是 $0.265\pm0.015$、认得出 $94.6\%\pm1.5\%$；$\lambda=0$ 是 $0.010\pm0.001$、100%。
# 不掺噪声，图不更糊，却**千篇一律**。只看“认得出”，看不出这个采样器坏了。
#
# 掺进去的噪声补了什么？要先知道 $a$、$b$、$\sigma$ 是从哪里来的。

# %% [markdown]
# ## 2　退一小步，几乎是高斯
#
# 去噪过程 (reverse process) 每一步从 $x_t$ 走到 $x_{t-1}$，要抽的是 $q(x_{t-1}\mid x_t)$：已知 $x_t$，它的上一步 $x_{t-1}$ 可能取哪些值。它牵涉整个数据分布，没有公式，简单的例子里却画得出来。
# 取第 3 章那个最简单的数据：$x_0$ 只有 $+1$ 与 $-1$ 两种，各占一半。这时 $q(x_s)$ 是两个高斯的混合，$q(x_s\mid x_t)\propto q(x_t\mid x_s)\,q(x_s)$ 可以直接算。
# 站在 $t=250$、$x_t=0.2$ 处往回看：退 1 步、退 100 步、退 200 步，$x_s$ 可能取哪些值？
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
    plots.append((y, {"精确": exact, "高斯": like}, f"退 {back} 步：$x_{{{here - back}}}$", "密度" if back == 1 else ""))
check_order("两条曲线之间的面积的一半（0 是相同，1 是不重叠），退 1、100、200 步", *gaps, digits=2)
curves_figure(*plots)

# %% [markdown]
# 图：实线是精确的 $q(x_s\mid x_t)$，虚线是均值、方差与它相同的高斯；三张图的纵轴不同。退 1 步（一千步的链就是这样走的），两条线重合；退 100 步（差不多是十步的链），已经有两个峰；退 200 步，精确的密度几乎只在 $\pm1$ 附近，高斯的峰却在两者之间，那里本不该有东西。
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
# 等号成立，是因为加噪每一步只看上一步（马尔可夫性），知道了 $x_{t-1}$，$x_0$ 就没有新的信息。右边两个都是高斯，第 2、3 章写过：后一个是从 $x_0$ 加噪而来的 $x_{t-1}$ 的分布，前一个是从 $x_{t-1}$ 再加噪一步、恰好得到 $x_t$ 的可能性。先画出来，看看两个高斯相乘得到什么。

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
# 图：$t=5$、$x_0=0.9$、$x_t=0.84$。三条都画成 $x_{t-1}$ 的函数。后验落在两个峰之间，偏向窄的一个（它的方差小，位置定得更准），而且比两个都窄：两份信息合起来，比哪一个都确定。下面的公式说的就是这三件事。
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
# 方差的倒数叫精度。$1/\tilde\beta_t$ 那个式子说：两个高斯相乘，精度相加，所以后验比两个都窄。两个峰分别在 $\sqrt{\bar\alpha_{t-1}}\,x_0$ 与 $x_t/\sqrt{\alpha_t}$，均值是这两处按精度的加权平均，所以偏向窄的一个。
#
# 图里的那条后验是两个密度在细格子上相乘、归一得到的，没有用过这些公式，正好拿来核对：

# %%
product /= product.sum()
mean = (product * y).sum()
check("均值 = c₁x₀ + c₂x_t", mean, tables["posterior_mean_coef1"][t] * x0 + tables["posterior_mean_coef2"][t] * x_t, atol=1e-9)
check("方差 = β_tilde", (product * (y - mean) ** 2).sum(), tables["posterior_variance"][t], rtol=1e-6)

# %% [markdown]
# 最后一步值得记住。代码从 0 数步，$t=0$ 的图已经加过一步噪声，再退一步，公式里的 $x_{t-1}$ 就是原图，所以约定 $\bar\alpha_{-1}=1$，代入得 $c_1=1$、$c_2=0$、$\tilde\beta_0=0$：最后一步直接输出 $x_0$，不加噪声。
#
# 下标要分清：$x_0$ 始终指原图；代码里步号 $t=0$ 的图是加过一步噪声的，两个 0 不是一回事。后面要用到那张图时，写作 $x_{t=0}$。

# %% [markdown]
# ## 4　去噪的一步
#
# ### 把 $x_0$ 换成猜测
#
# 采样时没有 $x_0$，就把后验均值里的 $x_0$ 换成网络的猜测 $\hat x_0$。为什么可以换？后验的均值 $c_1x_0+c_2x_t$ 对 $x_0$ 是线性的，代入条件期望 $\mathbb E[x_0\mid x_t]$，得到的正是 $\mathbb E[x_{t-1}\mid x_t]$；而条件期望正是网络要学的（第 5 章）。
# 于是得到第 1 节那个式子：走到相邻的 $s=t-1$ 时，$a=c_1$，$b=c_2$。均值有了；方差先借用 $x_0$ 已知时的 $\sigma^2=\tilde\beta_t$，它偏小，第 5 节再补。
#
# 要走到更早的 $x_s$，把 $s$ 到 $t$ 这一段看成一大步：原信号的方差保留的比例是 $\bar\alpha_t/\bar\alpha_s$，加噪的方差是 $\beta'=1-\bar\alpha_t/\bar\alpha_s$。公式里的 $\alpha_t$、$\beta_t$、$\bar\alpha_{t-1}$ 换成 $\bar\alpha_t/\bar\alpha_s$、$\beta'$、$\bar\alpha_s$ 就行，`ancestral_step` 算的就是这个。

# %%
steps = [ancestral_step(*pair) for pair in zip(bar, tables["alphas_cumprod_prev"])]
a, b, sigma = np.array(steps).T
check("走到相邻的一步：a 就是 c₁", a, tables["posterior_mean_coef1"], atol=1e-12)
check("b 就是 c₂", b, tables["posterior_mean_coef2"], atol=1e-12)
check("σ² 就是 β_tilde", sigma**2, tables["posterior_variance"], atol=1e-15)
curve_figure(np.arange(1, 1001), {"$a$": a, "$b$": b, r"$\sigma$": sigma}, "$t+1$（对数；采样从右往左走）", "系数", xscale="log")

# %% [markdown]
# 图：一步一步走时的三个数，用的是论文的表。$t$ 大时 $b\approx1$、$a$ 接近 0：每一步只往猜测挪一点点，再掺一点噪声。$t$ 小时 $a$ 才升到 1，$b$ 降到 0，最后一步直接输出 $\hat x_0$。
#
# 再看真实的轨迹，走 24 步。这里不告诉它画几（类别给 $-1$），看画哪个数字是怎样逐渐确定的。一共走 80 条，画其中两条。

# %%
trace = []
samples = pretrained.sample(80, steps=24, cond=torch.full((80,), -1), generator=torch.Generator().manual_seed(1),
                            callback=lambda t, x_t, x0_hat: trace.append((t, x_t, x0_hat)))
shown = [trace[step] for step in (0, 3, 6, 9, 12, 15, 18, 23)]
pictures = [torch.stack([entry[part][which] for entry in shown]) for which in (20, 23) for part in (1, 2)]
grid_figure(torch.cat(pictures), nrow=8, rows=["$x_t$", "猜测"] * 2, columns=[f"$t={t}$" for t, _, _ in shown])

# %% [markdown]
# 图：上面两行是一条轨迹的 $x_t$ 与此刻的猜测 $\hat x_0$，下面两行是另一条；从左往右走，$t=478$ 恰好走到一半。起点处的猜测是许多数字的平均，模糊一团。第一条的猜测很早就是 7；第二条到 $t=608$ 还像 9，后来才变成 5。
#
# 用分类器量一量：途中的猜测与最终样本，是同一个数字的占多少？

# %%
final = classifier(samples).argmax(1)
agree = [float((classifier(x0_hat).argmax(1) == final).double().mean()) for _, _, x0_hat in trace]
check_order("是同一个数字的比例：起点、走了四分之一、走到一半", agree[0], agree[6], agree[12], digits=2)

# %% [markdown]
# 起点处与瞎猜差不多；走到一半约有八成，也就是说，由分类器判定，约两成后来还会变成别的数字（八十条轨迹，标准误不超过 0.06）。是几，是一路上慢慢清楚的。
#
# ### 噪声补的是什么
#
# 现在可以回答第 1 节的问题了。$a\hat x_0+b\,x_t$ 只是后验的**均值**。就算 $\hat x_0$ 猜得一点不错，$x_s$ 也本该围着这个均值散开，方差是 $\sigma^2=\tilde\beta$。每一步只取均值，每一步都少了这份散布；掺进去的噪声，补的就是它。
#
# 有一个例子算得清。数据是 $\mathcal N(0,1)$ 时，最好的猜测是 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t$（第 5 章），代入化简，不掺噪声的一步恰好是 $x\leftarrow\sqrt{\alpha_t}\,x$。走完一千步，总共乘上 $\sqrt{\bar\alpha_{T-1}}=0.006$：什么起点都到了 0。
#
# 这不等于“不掺就只剩平均”。第 2 节的 $\pm1$，不掺噪声走完，仍是一半 $+1$、一半 $-1$，因为起点的正负已经定了去哪一头。手写数字告诉了类别，起点几乎都流到同一张图；那张图也不是平均，所以不糊。

# %%
standard = chain_moments(betas, 0.0, 1.0, 0.0)[1]  # 返回最终样本的均值与方差，取方差
print(f"数据的方差是 1。一千步走完，不掺噪声，样本的方差 {bar[-1]:.5f}；照公式掺，{standard:.3f}")
check("一步恰好缩小 √α 倍", a * np.sqrt(bar) + b, np.sqrt(1 - betas), atol=1e-12)

# %% [markdown]
# 不掺噪声就一定不行吗？不掺也行，但系数要跟着改：本该重新掺的那份，换成从 $x_t$ 里多留一些。这就是 DDIM，第 7 章讲。

# %% [markdown]
# ## 5　该掺多少：`v_posterior`
#
# 照公式掺，上面的方差是 0.991，还差一点，因为 $\tilde\beta_t$ 是 $x_0$ **已知**时的方差，而采样时 $x_0$ 是猜的。走满一千步，差的只有这不到 1%。
# 只走 10 步就不同了：掺多掺少，画出来的背景一个布满脏点，一个干净（第 7 节的图）。所以要算清楚该掺多少。
#
# 先定下什么叫最好。我们用一个高斯去近似真实的 $q(x_{t-1}\mid x_t)$，均值取 $\mathbb E[x_{t-1}\mid x_t]$；方差 $\sigma_t^2$ 约定只随 $t$ 变，一张图的各个像素共用一个。最好的 $\sigma_t^2$，是使这一步的负对数似然平均起来最小的那个。对 $\sigma_t^2$ 求导，得到它就是真实的方差对 $x_t$、对像素的平均。
# 这一章说的“最优”都指单步的似然；样本看上去好不好是另一个标准，第 7 节再比。
#
# 真实的方差由全方差公式给出，第一项是 $x_0$ 已知时也有的，第二项来自 $x_0$ 的不确定性：
#
# $$\mathrm{Var}(x_{t-1}\mid x_t) = \tilde\beta_t + c_1^2\,\mathrm{Var}(x_0\mid x_t).$$
#
# 对 $x_t$ 取平均，看两种极端的数据：
#
# - 数据是一个点。知道 $x_t$ 之后 $x_0$ 没有不确定性，$\mathrm{Var}(x_0\mid x_t)=0$，答案是 $\tilde\beta_t$。
# - 数据是 $\mathcal N(0, 1)$。这时 $\mathrm{Var}(x_0\mid x_t)=1-\bar\alpha_t$，答案恰好是 $\beta_t$。
#
# `v_posterior`，记作 $v$，在两者之间线性混合：$v=0$ 就是方差取 $\tilde\beta$，$v=1$ 就是方差取 $\beta$。第 5 章的速度也写作 $v$，是另一个量；不过下面的 $v^*_t$，恰好等于完美的网络预测速度的均方误差（第 5 章第 5 节）。
#
# $$\sigma_t^2 = (1-v)\,\tilde\beta_t + v\,\beta_t.$$
#
# 混合的是方差，不是标准差；Improved DDPM 混合的是对数方差，与此不同。
#
# 别的数据也能放到这两端之间。最优的方差比 $\tilde\beta_t$ 多出 $c_1^2\,\mathbb E\,\mathrm{Var}(x_0\mid x_t)$；从 $\tilde\beta_t$ 到 $\beta_t$ 的整段，由第二个例子，是 $c_1^2(1-\bar\alpha_t)$。两者相除，就是最优的 $v$：
#
# $$v^*_t = \frac{\mathbb E\,\mathrm{Var}(x_0\mid x_t)}{1-\bar\alpha_t}.$$
#
# 它只与 $t$ 有关，退到哪一步都一样：走大步时，分子与分母前面的 $c_1^2$ 都换成 $a^2$，照样约掉。所以每个 $t$ 的 $v^*_t$ 只要量一次，一步一步走、只走十步都能用（第 7 节）。
#
# 数据是 $\mathcal N(0,\sigma_x^2)$ 时，$v^*_t=\sigma_x^2/D$，其中 $D=\bar\alpha_t\sigma_x^2+1-\bar\alpha_t$ 是 $x_t$ 的方差。$t$ 小时它接近 1，$t$ 大时降到 $\sigma_x^2$：没有一个常数对所有 $t$ 都最优。Improved DDPM 的办法是不用常数，让网络自己学每一步、每个像素的方差。
#
# <details><summary>第二条怎样算出来，真实的数据为什么在两者之间</summary>
#
# 数据若是 $\mathcal N(0, \sigma_x^2)$，知道 $x_t$ 之后精度相加（第 3 节）：$\dfrac1{\mathrm{Var}(x_0\mid x_t)} = \dfrac1{\sigma_x^2}+\dfrac{\bar\alpha_t}{1-\bar\alpha_t}$，所以 $\mathrm{Var}(x_0\mid x_t) = \sigma_x^2(1-\bar\alpha_t)/D$。除以 $1-\bar\alpha_t$，就是上面的 $v^*_t$。
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
chain = GaussianDiffusion(given_betas=betas, v_posterior=0.3)
check("v_posterior=0.3：混合的是方差", chain.exact_table("posterior_variance"), 0.7 * tilde + 0.3 * betas, atol=1e-18)
for s in (0, 250, 499):
    (a, _, least), (_, _, most) = (ancestral_step(bar[500], bar[s], v) for v in (0.0, 1.0))
    check(f"从 t=500 走到 s={s}：整段是 a²(1-ᾱ_t)", most**2 - least**2, a**2 * (1 - bar[500]), atol=1e-15)
check_raises("−1 会给出负的方差，所以拒绝", lambda: GaussianDiffusion(v_posterior=-1.0), "v_posterior")

# %%
ratio = tilde / betas
check("β_tilde/β 在 t = 1, 2, 5, 10, 50", ratio[[1, 2, 5, 10, 50]], [0.455, 0.611, 0.778, 0.864, 0.965], atol=5e-4)
check_order("t ≥ 167 之后，两者相差不到 1%", 0.99, ratio[167:].min(), 1, digits=5)
posterior_panel(betas)

# %% [markdown]
# 面板：$\sigma_t^2$ 是 $\beta_t$ 的几倍，实线是你选的 $v$，点线是 $v=0$；$v=1$ 时它处处是 1。静态的页面上 $v=0.5$，上图走满 1000 步，下图只走 10 步：那时一步是第 4 节的大步，圆点是走到的各个 $t$。
#
# 走满 1000 步时，两端在 $t=1$ 处差一倍多，$t=50$ 处只差 3.5%，$t\ge167$ 之后不到 1%，所以 $v$ 只管 $t$ 小的那几十步。只走 10 步时，$t$ 大的地方也差得多：$t=111$ 处，点线几乎落到 0；$t=333$ 处，也只有 0.59。

# %% [markdown]
# ## 6　整条链：高斯数据上算一遍
#
# 上一节的最优是单步的。每一步都最优，走完整条链，样本的方差就对了吗？数据是 $\mathcal N(0,\sigma_x^2)$ 时可以精确地算。
#
# 完美的去噪器是线性的（第 5 章第 5 节，那里把标准差记作 $s$；这一章的 $s$ 是步号，标准差写 $\sigma_x$），线性的一步把高斯变成高斯。
# 记 $k=\sqrt{\bar\alpha_t}\,\sigma_x^2/D$，那么 $\hat x_0=k\,x_t$，均值是 $g\,x_t$，其中 $g = c_1k+c_2$。起点抽自 $\mathcal N(0,1)$，即方差 $V=1$；每一步
#
# $$V\leftarrow g^2V + \sigma_t^2\,[t>0].$$
#
# 方括号在条件成立时是 1，否则是 0：最后一步不加噪声。
#
# 先核对。这一节另用一张一共只有 10 步的 `cosine` 表，$\sigma_x=0.2$：让真实的 `DDPM` 配上完美的去噪器，采四万个样本，与递推比较。

# %%
std, short = 0.2, make_beta_schedule("cosine", 10)
for v in (0.0, 1.0):
    x = gaussian_ddpm(short, mean=0.0, std=std, v=v).p_sample_loop((40_000, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    # chain_variances：各处的方差是真值的几倍；第 0 项是最终样本，第 1 项是 t=0
    check(f"v={v:g}：样本的方差是真值的几倍", x.var() / std**2, chain_variances(short, std, v)[0], atol=0.03)

# %%
chain_panel()

# %% [markdown]
# 面板：数据是 $\mathcal N(0,\sigma_x^2)$，纵轴是采样链的方差除以真实的方差，1 是完美；初始设置是 $\sigma_x=0.2$、走 10 步、$v=0.5$（静态的页面上是三种设置，这是最上面的一种）。左图沿着 $t$ 看，采样从右往左走；竖线是 $t=0$，再往左只剩最后一步，最左端是最终样本。右图是最终样本随 $v$ 的变化。灰线是每一步各用自己的 $v^*_t$。
#
# 先看初始设置。途中，灰线处处是 1：每一步都最优，途中的方差就处处正确。道理还是全方差公式：
#
# $$\mathrm{Var}(x_{t-1}) = \mathrm{Var}\big(\mathbb E[x_{t-1}\mid x_t]\big) + \mathbb E\,\mathrm{Var}(x_{t-1}\mid x_t).$$
#
# $x_t$ 的方差若是对的，均值 $g\,x_t$ 的方差就是第一项，按 $v^*_t$ 掺的噪声就是第二项，加起来恰是 $x_{t-1}$ 的方差；这样一步步传下去。
#
# 用同一个 $v$ 就不对了。$v=1$ 偏大，到 $t=0$ 处是 1.85 倍；$v=0$ 偏小，是 0.72 倍。可是最后一步各条线一齐下落，灰线落到 0.58，$v=1$ 反倒落到 1.08，离 1 最近。最后一步丢了什么？
#
# ### 最后一步丢了什么
#
# 最后一步不加噪声，输出的只是均值 $\mathbb E[x_0\mid x_{t=0}]$。上式里只剩第一项，丢掉的是第二项 $\mathbb E\,\mathrm{Var}(x_0\mid x_{t=0})$，即看了 $x_{t=0}$ 还定不下来的那一份。这张表只有 10 步，$x_{t=0}$ 里噪声的方差是 0.028，与数据的方差 0.04 差不多大，所以丢掉的占了四成：

# %%
short_bar = np.cumprod(1 - short)
D = short_bar * std**2 + 1 - short_bar
# walk：各处的均值与方差，次序同上；这里取方差
best = walk(short_bar, each_best(std), std=std)[1] / np.append(std**2, D)
check("每步用 v*：途中的方差处处是真值的 1 倍", best[1:], np.ones(10), atol=1e-4)
check("最终样本少掉的比例，就是 Var(x₀ | x_{t=0}) 占 Var(x₀) 的比例", 1 - best[0], (1 - short_bar[0]) / D[0], atol=1e-4)
one = chain_variances(short, std, 1.0)
print(f"v=1：途中 t=0 处是 {one[1]:.2f} 倍，最后一步乘上 {one[0] / one[1]:.2f}，最终样本是 {one[0]:.2f} 倍")

# %% [markdown]
# 可见 $v=1$ 的最终样本接近真值，是途中的 1.85 与最后一步的 0.58 碰巧抵消，不说明 $v=1$ 合适。
# 下一节的 10 步从一千步的表里抽出，$x_{t=0}$ 里的噪声小到可以不计，最终样本才说明问题。
#
# 再看面板的别的设置。标准差是 1 时，$v=1$ 的线变平，拉到最小，$v=0$ 的线变平：在各自最优的数据上，除最后一步外方差处处正确。步数是 200 时，线都到了 1 附近：步数够多，$v$ 就不那么要紧。

# %% [markdown]
# ## 7　手写数字该掺多少
#
# 这一节回到模型自己的噪声表 `levels`。训练用了 $T=1000$ 步，采样只走其中 10 步：循环里的步号换成这 10 个，系数照第 4 节的大步算，别的都不用改。保留的每一步 $\bar\alpha$ 与原来相同，网络看的仍是原来的步号。
# 这条链上 $x_{t=0}$ 里噪声的方差只有 0.00004，最后一步几乎不丢东西。先看高斯数据：

# %%
kept = spaced_timesteps(1000, 10)
sparse = np.array(levels)[kept]
fast = 1 - sparse / np.append(1.0, sparse[:-1])
check("短链的 ᾱ 与原来相同", np.cumprod(1 - fast), sparse, atol=1e-12)
ratio = diffusion_tables(fast)["posterior_variance"][1:] / fast[1:]
print("短链的 β_tilde/β，从 t=111 起：", "　".join(f"{value:.3f}" for value in ratio))
for std in (0.2, 0.5):
    low, high, best = (walk(sparse, step, std=std)[1][0] / std**2 for step in (ancestral(0.0), ancestral(1.0), each_best(std)))
    print(f"σ_x={std}：样本的方差是真值的几倍　v=0 {low:.2f}　v=1 {high:.2f}　每步用 v* {best:.2f}")

# %% [markdown]
# 走大步时，$\tilde\beta'$ 与 $\beta'$ 的确差得多：在 $t=111$ 处，前者只有后者的千分之一。于是 $v$ 要紧了，两个极端一个太集中，一个太分散，每步用 $v^*_t$ 才对。
# 手写数字呢？先看样本。同一份噪声，$v$ 取 0、0.1、1：

# %%
labels = torch.arange(10).repeat(10)
samples = {v: pretrained.sample(100, steps=10, v_posterior=v, cond=labels, generator=torch.Generator().manual_seed(4)) for v in (0.0, 0.1, 1.0)}
grid_figure(torch.cat([x[:10] for x in samples.values()]), nrow=10, rows=[f"$v={v:g}$" for v in samples], columns="0123456789")

# %% [markdown]
# 图：走 10 步的样本，三行用同一份噪声。字形大致相同，只是 $v=1$ 的 7 多出一个脚，2 的右边也多出一截；$v=1$ 的背景布满脏点，$v=0.1$ 的背景略有一点，要细看。
#
# 背景可以量。四个角上各 4×4 个像素本该是纯黑（$-1$；MNIST 的训练图里，一个角不全黑的不到千分之二），看它们离黑的均方根：

# %%
corners = torch.zeros(28, 28, dtype=torch.bool)
corners[:4, :4] = corners[:4, -4:] = corners[-4:, :4] = corners[-4:, -4:] = True
dirt = {v: (x[..., corners] + 1).square().mean((1, 2)).sqrt() for v, x in samples.items()}
for v, each in dirt.items():
    print(f"v={v:g}　四个角离黑 {each.mean():.4f} ± {each.std() / 10:.4f}")
check("一百张里，九成以上的 v=0.1 比 v=0 离黑更远", (dirt[0.1] > dirt[0.0]).double().mean() > 0.9, True)

# %% [markdown]
# ± 是一百张之间的标准误。按背景，$v=0$ 最好。
#
# ### 按似然，该掺多少
#
# 按第 5 节的似然呢？这可以直接测量：$v^*_t$ 的分子就是完美网络的均方误差；训练好的网络平均说来不会更准，所以拿它的误差来算，得到的是上界。
# 用一百张手写数字，每个 $t$ 加一份噪声；告诉模型画的是几，所以是“已知类别”时的方差。图来自 MNIST 的测试集，磁盘上没有时用模型自己画的。

# %%
held_out, label = handwriting("../data")
black, gray = held_out < -0.98, held_out.abs() < 0.9
generator, measured, parts = torch.Generator().manual_seed(5), {}, {}
for step in (10, 30, 60, 111, 200, 300, 400, 500, 700, 900, 990):
    t = torch.full((len(held_out),), step)
    x_t = pretrained.q_sample(held_out, t, torch.randn(held_out.shape, generator=generator))
    with torch.no_grad():
        error = (held_out - pretrained.predict_start(x_t, t, cond=label)) ** 2
    measured[step] = float(error.mean() / (1 - levels[step]))
    parts[step] = [float(error[pixels].mean() / (1 - levels[step])) for pixels in (black, gray)]
check("各个 t，最小的不到一成，最大的不超过三成", min(measured.values()) < 0.1 and max(measured.values()) < 0.3, True)
check("t=111 处，原来是黑的像素不到 0.02，灰的超过 0.5", parts[111][0] < 0.02 and parts[111][1] > 0.5, True)
check("t=111 处，全图的误差大半来自灰像素", gray.double().mean() * parts[111][1] / measured[111] > 0.5, True)

# %% [markdown]
# 左图与两种一维的数据比：第 6 节的高斯，$\sigma_x=0.5$；第 2 节的 $\pm1$，那里 $\mathbb E[x_0\mid x_t]=\tanh\big(\sqrt{\bar\alpha_t}\,x_t/(1-\bar\alpha_t)\big)$，方差是 1 减去它的平方。右图把手写数字的误差按像素原来的颜色分开：灰像素是笔画的边缘，$|x_0|<0.9$，约占一成；黑像素占八成。

# %%
t, z = np.arange(10, 991), np.linspace(-6, 6, 1201)[:, None]
level = np.array(levels)[t]
noisy = np.sqrt(level) + np.sqrt(1 - level) * z  # 原图是 +1；−1 与它对称
guess = np.tanh(np.sqrt(level) * noisy / (1 - level))
two_points = ((1 - guess**2) * normal(z, 0, 1)).sum(0) * 0.01 / (1 - level)
steps, values, (black_part, gray_part) = list(measured), list(measured.values()), zip(*parts.values())
whole = np.interp(t, steps, values)
figure = curves_figure(
    (t, {"手写数字": whole, r"高斯，$\sigma_x=0.5$": 0.25 / (0.25 * level + 1 - level), r"$\pm1$ 两个点": two_points},
     "步号 $t$", "最优的 $v^*_t$"),
    (t, {"手写数字，全图": whole, "只看灰像素": np.interp(t, steps, gray_part), "只看黑像素": np.interp(t, steps, black_part)},
     "步号 $t$", r"均方误差 ÷ $(1-\bar\alpha_t)$"))
for ax, place in zip(figure.axes, ("center right", "upper right")):
    ax.plot(steps, values, "o", markersize=4, color=ax.lines[0].get_color())
    ax.set(ylim=(-0.1, 1.12), xticks=[10, 111, 300, 500, 700, 990])
    ax.legend(loc=place, fontsize=9, framealpha=0.85, edgecolor="none")
for value, up in zip((values[3], *parts[111]), (6, -12, 4)):
    figure.axes[1].annotate(f"{value:.2g}", (111, value), (4, up), textcoords="offset points", fontsize=9)
figure

# %% [markdown]
# 图：左边，圆点是在一百张手写数字上量到的 $v^*_t$（上界），虚线与点线是两种一维数据的精确值。右边，圆点与左边相同，另两条线只对灰像素、只对黑像素取平均；标出的三个数是 $t=111$ 处的。下面的数用的是 MNIST 的测试集，每个圆点的标准误不超过 0.007。
#
# 先看左图，从右往左：
#
# - $t$ 很大时，$x_t$ 几乎不含原图的信息，$v^*_t$ 就是数据自己的方差；手写数字是同一类里的方差，约 0.21。
# - 到了 $t=500$，$\pm1$ 只从 1 降到 0.90，手写数字却从 0.21 降到 0.065，因为网络看得见整张图，邻近的像素互相印证。另外量过：若每个像素只看自己（类别与位置照样知道），手写数字在 $t=500$ 处是 $0.251\pm0.008$，不降反升。
# - $t$ 再小，$\pm1$ 降到 0：噪声小到分得清正负，$x_0$ 就定了。高斯却升到 1：它在多小的尺度上都连续铺开，噪声再小，也定不到比噪声更准。
#
# 手写数字两样都有，看右图。$t=111$ 处，灰像素的值连续，像高斯，是 0.73；黑像素像 $\pm1$，只有 0.009。全图的误差，八成来自这一成的灰像素。
# 到 $t=10$，全图回升到 0.20，增加的部分，灰、黑、白三种像素各占三成上下。灰像素升到 1.08，比照抄 $x_t/\sqrt{\bar\alpha_t}$（约 1）还差，可见网络在这里不是最好的；黑与白的那两份，多半也是网络的误差。
#
# ### 似然与背景，为什么合不到一处
#
# 走 10 步时，掺噪声的九步都在 $t\ge111$，按似然，各步 $v^*_t$ 的上界在 0.06 与 0.21 之间；按背景干净，$v=0$ 更好。分歧从哪里来？看最后一次掺的噪声，那一次从 $t=111$ 退到 $t=0$，量到的 $v^*_t$ 约 0.10：

# %%
own = (1 - levels[0]) ** 0.5
print(f"t=0 的图里噪声的标准差 {own:.4f}")
for v in (0.0, 0.1, 1.0):
    sigma = ancestral_step(levels[111], levels[0], v)[2]
    print(f"v={v:g}：最后一次掺的噪声，标准差 {sigma:.4f}，是它的 {sigma / own:.1f} 倍")

# %% [markdown]
# $v=1$ 掺的是 $t=0$ 的图里噪声的 29 倍；就是按似然取 0.1，也有九倍。似然要的是各个像素平均的散布，这份散布主要在灰像素上，那里的 $x_0$ 的确还没有定；背景几乎没有不确定性，采样器却对每个像素掺同样多。
#
# 弄脏的主要是最后一次。用八个种子另外量过：只把最后一次换成 $v=1$，其余仍取 $v=0$，四个角离黑就从 $0.0137\pm0.0003$ 升到 $0.1284\pm0.0006$，接近全程 $v=1$ 的 $0.1530\pm0.0006$。
# 这一次的噪声，标准差是 0.185；低于 $-1$ 的一半会被截断，另一半若全留下来，均方根是 $0.185/\sqrt2=0.131$，与量到的相近：走到 $t=0$，网络把多出来的都当成了图的内容。
#
# 根治的办法是每个像素各用各的方差，Improved DDPM 让网络学的正是它。只能共用一个 $v$ 时，就要取舍；少步时本课程取 $v=0$，背景干净，笔画的多样也不比取 0.1 时少。
# 后一半也用八个种子量过：在笔画出没的像素上（训练图里，同一类的标准差大于 0.5），同一个数字十张之间的标准差，$v=0$ 是 $0.627\pm0.004$，$v=0.1$ 是 $0.624\pm0.004$；测试集的真图是 $0.698\pm0.002$，两种都偏小。
#
# 别的数据也有例子：CIFAR-10 上走 10 步，$v=1$ 的 FID 是 367，$v=0$ 是 41（DDIM 论文的表 1；FID 是样本与真图的距离，越小越好，第 7 章画出了全表）。走满 1000 步，次序却反过来，$v=1$ 是 3.17，$v=0$ 是 4.73：两者只在 $t$ 小处不同，那里的差别仍看得出来（第 7 章）。

# %% [markdown]
# ## 8　三段源码
#
# 公式都见过了，这里只对一对代码：后验，走一步用的三个数，走一步。猜测、走完整条链的循环与截断，在[源码精读](93_source_reading.ipynb)第 2 节。

# %%
show_source(GaussianDiffusion.q_posterior,
            "def q_posterior", "check_like(", "mean = (", "variance = extract_into_tensor(self.posterior_variance")

# %% [markdown]
# - ① 返回均值、方差、截断过的对数方差。
# - ② 类型与形状的检查。
# - ③ $c_1 x_0 + c_2 x_t$，一项一行。
# - ④ 方差已按 $v$ 混合；取对数之前，$t=0$ 处的 $\tilde\beta_0=0$ 先换成 $\tilde\beta_1$，对数是 $-9.8$。参考实现截到 $10^{-20}$，对数是 $-46$；采样时不要紧，算似然时，一个像素偏了 0.001，代价就是 $5\times10^{13}$。

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
# - **去噪时为什么还要掺噪声**：$a\hat x_0+b\,x_t$ 只是后验的均值，$x_s$ 本该围着它散开，掺噪声补的就是这份散布。不掺，手写数字的不同起点走到几乎同一张图，240 张里同一个数字的像素标准差从 0.265 掉到 0.010，分类器却 100% 认得出。
# - **该掺多少**：$x_0$ 已知时是 $\tilde\beta_t$，再加上 $x_0$ 不确定带来的一份。$v=0$（方差取 $\tilde\beta$）对一个点最优，$v=1$（方差取 $\beta$）对标准高斯最优，一般地 $v^*_t = \mathbb E\,\mathrm{Var}(x_0\mid x_t)/(1-\bar\alpha_t)$。手写数字走 10 步，各步的上界在 0.06 与 0.21 之间，两头都不合。最后一次掺噪声（$t=111$）处 $\tilde\beta$ 只有 $\beta$ 的千分之一，若真值就是量到的 0.1，按这一步的似然，$v=0$ 每个像素要亏约 39 奈特，$v=1$ 只亏 0.7。少步时取 $v=0$，是为了背景干净，不是因为似然。
# - **高斯数据上，每一步都最优**，途中的方差就处处正确；最后一步只输出均值，丢掉 $\mathrm{Var}(x_0\mid x_{t=0})$，$t=0$ 处的噪声小才可以不计。
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
# $k$、$g$ 的公式也在那里，$D$ 在第 5 节。$c_1$、$c_2$、$\tilde\beta_t$ 可以直接调用你在 04.1 写好的函数，也可以再算一遍。
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
# ### 04.5　差别只在 t 小处 ★★★
#
# 第 5 节说 $t$ 大时 $\tilde\beta_t$ 与 $\beta_t$ 几乎相等。多大才算大？设每一步的 $\beta_t$ 都是同一个很小的数，例如 $10^{-6}$。
# 第一个使 $\tilde\beta_t/\beta_t\ge0.99$ 的 $t$ 是几？先推公式，不要数值计算。

# %%
grade("04.5", None)  # 把 None 换成一个数

# %% [markdown]
# ### 小实验　噪声只在半路上掺
#
# 改一处，量一量，写三句话。第 1 节把每一步的噪声都乘上同一个 $\lambda$。现在让它随步号变：`keep(t)` 是真，这一步照公式掺；是假，就一点不掺。在新的一格运行下面的程序，两个数依次是同一个数字的四张之间像素的标准差、分类器认得出的比例；再把 `keep` 换成后半程的 `t < 500`，每次几秒。
# 动手之前先猜：只掺前半程，与只掺后半程，哪一种的散布更接近全程都掺（0.2 上下）？另一种还剩多少？
#
# ```python
# labels = torch.arange(10).repeat(4)
#
#
# @torch.no_grad()
# def walk_back(keep, seed=0):
#     generator = torch.Generator().manual_seed(seed)
#     x = torch.randn(40, 1, 28, 28, generator=generator)
#     for t, s in zip(times, [*times[1:], None]):
#         a, b, sigma = ancestral_step(levels[t], 1.0 if s is None else levels[s])
#         x0_hat = pretrained.predict_start(x, torch.full((40,), t), cond=labels)
#         x = a * x0_hat + b * x + keep(t) * sigma * torch.randn(x.shape, generator=generator)
#     return float(x.view(4, 10, -1).std(0).mean()), recognised(classifier, x, labels)["recognised"]
#
#
# print(walk_back(lambda t: t >= 500))  # 改这一处
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
# 2. 后半程掺得本来就少，只占方差的 9%，可是原因不全在这里：前半程缩到同样多，散布仍有 0.120，是后半程的两倍多。早掺的改得动字形；到了后半程，网络已看得清 $x_t$ 里是怎样一个字，掺进去的多半又被去掉（这是解释，没有另外验证）。
# 3. 认得出的比例又是反着走：散布最小的几种是 100%。标准差也只说散布补上了；只掺前半程，样本的分布对不对，这里没有量。
#
# ```python
# sigmas = {t: ancestral_step(levels[t], levels[s])[2] for t, s in zip(times, times[1:])}
# parts = {"全掺": lambda t: True, "不掺": lambda t: False, "前半": lambda t: t >= 500, "后半": lambda t: t < 500,
#          "头四分之一": lambda t: t >= 750, "前半，乘 0.32": lambda t: 0.32 * (t >= 500)}
# for name, keep in parts.items():
#     amount = sum((keep(t) * sigma) ** 2 for t, sigma in sigmas.items()) / sum(sigma**2 for sigma in sigmas.values())
#     rows = torch.tensor([walk_back(keep, seed) for seed in range(8)])
#     print(name, f"方差占 {amount:.0%}", rows.mean(0), rows.std(0) / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
