# %% [markdown]
# # 15 · 评估
#
# **学习目标**
#
# - 把 bits/dim 拆成 $L_T$、各步的 KL、$L_0$，看出比特花在哪一步，也知道这个数准到几位。
# - 证明最好的 $\sigma_t^2$ 在 $\tilde\beta_t$ 与 $\beta_t$ 之间，量出 `v_posterior` 对下界的影响。
# - 从头搭起 Fréchet 距离，算出它随样本数的偏差，会用参照线。
# - 说清损失曲线能说明什么，不能说明什么；看三把尺子怎样给出相反的结论。
#
# **预计用时** 60 分钟。运行全部单元约 1 分钟。

# %%
import math

import numpy as np
import torch
from torch import nn

from ddpm_edu import DigitsDataModule, load_pretrained, make_beta_schedule
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.report import bits_report, evaluate
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.generate import generate
from ddpm_edu.likelihood import discretized_gaussian_nll, gaussian_nll, kl_constants, vlb_terms
from ddpm_edu.evaluation.metrics import DigitsFrechet, FrechetDistance, frechet_distance
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.teach import check, check_order, check_raises, curves_figure, grid_figure, show_source
from ddpm_edu.teach.laboratory import gaussian_ddpm
from ddpm_edu.training.timestep_loss import quarter_losses, quarters, spread

model = load_pretrained("digits")
train, test = (load_digits_split()[name][0] for name in ("train", "test"))
print("准备好了")

# %% [markdown]
# ## 1　三把尺子
#
# 模型练好了，好不好？有三种量法，问的是三个不同的问题。
#
# | 尺子 | 问的是 | 看不见的是 |
# |:--|:--|:--|
# | 损失 | 随机的一步 $t$ 上，猜得准不准 | 各步的误差怎样累积成样本 |
# | bits/dim | 留出的真图，模型给的概率有多高 | 样本好不好看 |
# | Fréchet 距离 | 一批样本像不像一批真图 | 是不是从训练集里抄来的 |
#
# 第 6 章推出了下界，第 13 章用过 Fréchet 距离。这一章把两个数拆开，弄清每一位从哪里来，最后造几个有病的模型，看三把尺子各说什么。

# %% [markdown]
# ## 2　比特花在哪里
#
# 第 6 章的下界有三部分：$L_T$（终点与标准高斯的差距）、$t=1,\dots,T-1$ 各步的 KL、$L_0$（最后一步猜像素）。
# 取 16 张测试图，把随课程发布的模型的每一项都算出来。像素有 17 级，不用模型、均匀地猜要 $\log_2 17=4.09$ 比特。

# %%
images = test[:16]
terms = vlb_terms(model, images, levels=17, generator=torch.Generator().manual_seed(0)) / math.log(2)
check("一项一列：L_0、999 项 KL、L_T", terms.shape[1], 1001)
parts = {"L_0": terms[:, 0], "各步的 KL": terms[:, 1:-1].sum(1), "L_T": terms[:, -1], "合计": terms.sum(1)}
for name, values in parts.items():
    print(f"{name}：{float(values.mean()):.2g} bits/dim")
print(f"合计的标准误：{float(parts['合计'].std() / 16**0.5):.2g}")
check("比均匀地猜省将近一比特", parts["合计"].mean(), 3.15, atol=0.3)

# %% [markdown]
# 几乎全部花在中间各步。$L_T$ 小，是因为 `cosine` 走到头时 $\bar\alpha_{T-1}$ 只有十亿分之二；$L_0$ 小，是因为一级灰度（1/8）比最后一步的标准差宽得多。
# 中间各步再按 $t$ 分开看。

# %%
per_step = terms.mean(0)[1:-1]
share = per_step.cumsum(0) / per_step.sum()
check("前 30 步花去六成", share[29], 0.6, atol=0.05)
check_order("前 300 步花去九成以上", 0.9, share[299])
curves_figure((range(1, 1000), {"": per_step}, "步号 $t$", "这一步的 bits/dim", "log", "log"),
              (range(1, 1000), {"": share}, "步号 $t$", "累计的份额", "log", "linear"))

# %% [markdown]
# 图：左边是每一步的比特数，右边是从 $t=1$ 起累计的份额，横轴都是对数。总量主要由几十个很小的 $t$ 决定，那里改动的是肉眼看不见的细节；
# 决定“是几”的大 $t$，每一步只花万分之几比特。所以 bits/dim 差 0.1，样本可能毫无分别。

# %% [markdown]
# 这个数准到几位？它有两种随机：抽到哪几张图，每一步抽到哪份噪声。`bits_report` 把各图的标准差除以 $\sqrt N$，得到标准误 (standard error)。

# %%
show_source(bits_report,
            "def bits_report", "count = sum(", "bar = progress_bar", "hook = model.model.register_forward_hook(tick)", "total = terms.sum(1)")

# %% [markdown]
# - ① 吃的是一批批的（图，条件）；返回总数、标准误和三个部分，单位都是 bits/dim。
# - ② 至少两张图，否则谈不上标准误。
# - ③ 进度条按“网络被调用几次”来数。
# - ④ 借一个前向钩子去拨进度条，算完无论成败都摘掉；各批的结果首尾相接。
# - ⑤ 每张图先加起来，再求平均；三个部分加起来就是总数。
#
# 在答案已知的地方试它。数据 $\mathcal N(0,1)$、完美的去噪器、$v=1$ 时，下界恰好是 2.0471（第 6 章），估计值应当落在几个标准误之内。

# %%
entropy = 0.5 * math.log2(2 * math.pi * math.e)
perfect = gaussian_ddpm(make_beta_schedule("cosine", 50), mean=0.0, std=1.0, v=1.0)
noise_images = torch.randn(4000, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
report = bits_report(perfect, [(noise_images, None)], decoder="gaussian", generator=torch.Generator().manual_seed(1))
print({name: f"{value:.3g}" for name, value in report.items()})
check_order("落在 4 个标准误之内", abs(report["bits_per_dim"] - entropy), 4 * report["bits_per_dim_se"])
check("三个部分加起来就是总数", report["L_0"] + report["L_kl"] + report["L_T"], report["bits_per_dim"], atol=1e-9)

# %% [markdown]
# 比较两个模型时，标准误可以小得多：用同一批图、同一份噪声，逐图相减。图与图之间的难易相同，减掉了。
# 拿原来的模型与“输出乘 0.97”的模型比。各图的 bits/dim 相差很大，差值却整齐得多。

# %%
class Scaled(nn.Module):
    """把网络的输出乘上一个数"""

    def __init__(self, network, factor):
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x, t):
        return self.factor * self.network(x, t)


def with_network(change):
    """换掉网络的随包模型；不再用 EMA，它的影子对不上新的网络"""
    other = load_pretrained("digits")
    other.use_ema = False
    other.model.diffusion_model = change(other.model.diffusion_model)
    return other.eval()


# %%
def quick_bits(model):
    """各图的 bits/dim，只算 t ≤ 60 的步，同一份噪声；(16,)"""
    generator, weights = torch.Generator().manual_seed(3), model.lvlb_weights
    total = torch.zeros(16)
    for t in torch.arange(1, 61).expand(16, -1).T:
        noise = torch.randn(images.shape, generator=generator)
        x_t = model.q_sample(images, t, noise)
        with torch.no_grad():
            error = model.objective.target(model, images, noise, t) - model.apply_model(x_t, t)
        total += weights[t] * error.square().flatten(1).mean(1) / math.log(2)
    return total


good, worse = quick_bits(model), quick_bits(with_network(lambda network: Scaled(network, 0.97)))
check_order("乘 0.97 的更差", good.mean(), worse.mean(), digits=4)
check_order("逐图相减的标准差，不到单独看的一半", (worse - good).std(), 0.5 * good.std(), digits=2)

# %% [markdown]
# ## 3　密度还是概率
#
# $L_0$ 有两种写法。像素是离散的，用格子里的面积（第 6 章）；数据是连续的，用密度：

# %%
show_source(gaussian_nll,
            "def gaussian_nll", "return 0.5")

# %% [markdown]
# - ① 连续数据没有格子，所以没有 `levels`。
# - ② 高斯密度的负对数：$\tfrac12[\ln 2\pi+\ln\sigma^2+(x-\mu)^2/\sigma^2]$。
#
# 两者不能直接比。格宽记作 $\delta$，标准差远大于格宽时，面积约等于密度乘格宽，所以
#
# $$\text{离散的比特数}\approx\text{连续的比特数}-\log_2\delta.$$
#
# 像素在 $[-1,1]$ 上分 256 级，$\delta=2/255$，两者差将近 7 比特。连续的比特数还会随单位变：数据除以 2，它就少 1；标准差小到一定程度，它是负数。所以报告 bits/dim 时要说清：几级像素，还是连续。

# %%
x, mean = torch.linspace(-0.5, 0.5, 9, dtype=torch.float64).mul(127.5).round() / 127.5, torch.zeros(9, dtype=torch.float64)
log_variance = 2 * math.log(0.2)  # σ = 0.2，格宽的 25 倍
discrete = discretized_gaussian_nll(x, mean, log_variance) / math.log(2)
continuous = gaussian_nll(x, mean, log_variance) / math.log(2)
check("离散 = 连续 - log₂ 格宽", discrete, continuous - math.log2(2 / 255), atol=1e-3)
check("单位减半，连续的少 1 比特", gaussian_nll(x / 2, mean, 2 * math.log(0.1)) / math.log(2), continuous - 1, atol=1e-12)
check_order("σ = 0.1 时，均值处的密度大于 1，比特数是负的", gaussian_nll(x[4] / 2, mean[4], 2 * math.log(0.1)), 0)

# %% [markdown]
# ## 4　2.047 从哪里来：三部分此消彼长
#
# 高斯数据 $\mathcal N(0,s^2)$ 上，完美的去噪器的均方误差有闭式：$\mathbb E(x_0-\hat x_0)^2 = s^2(1-\bar\alpha_t)/D$（第 5 章）。
# 所以下界的每一项都写得出来，不必抽样。给定每一步用的方差 $\sigma_t^2$：
#
# - $t\ge1$：$\tfrac12\Big[\ln\dfrac{\sigma_t^2}{\tilde\beta_t}+\dfrac{a_t}{\sigma_t^2}-1\Big]$，其中 $a_t=\tilde\beta_t+c_1^2\,\mathbb E(x_0-\hat x_0)^2$；
# - $t=0$：$\tfrac12\Big[\ln(2\pi\sigma_0^2)+\dfrac{a_0}{\sigma_0^2}\Big]$，这里 $\tilde\beta_0=0$、$c_1=1$，$a_0$ 就是均方误差；
# - 终点：$\tfrac12\big[\bar\alpha s^2-\bar\alpha-\ln(1-\bar\alpha)\big]$，$\bar\alpha$ 取最后一步的。

# %%
def true_variance(betas, s):
    """a_t：真实的 q(x_{t-1}|x_t) 的方差"""
    tables = diffusion_tables(betas)
    bar = tables["alphas_cumprod"]
    mse = s**2 * (1 - bar) / (bar * s**2 + 1 - bar)
    return tables["posterior_variance"] + tables["posterior_mean_coef1"] ** 2 * mse


def exact_bits(betas, s, sigma2):
    """N(0, s²) 的数据、完美的去噪器：(L_0, 各步的 KL 之和, L_T)，bits/dim"""
    a, tilde = true_variance(betas, s), diffusion_tables(betas)["posterior_variance"]
    bar = diffusion_tables(betas)["alphas_cumprod"][-1]
    steps = 0.5 * (np.log(sigma2[1:] / tilde[1:]) + a[1:] / sigma2[1:] - 1)
    decoder = 0.5 * (np.log(2 * np.pi * sigma2[0]) + a[0] / sigma2[0])
    prior = 0.5 * (bar * s**2 - bar - np.log1p(-bar))
    return np.array([decoder, steps.sum(), prior]) / math.log(2)


# %%
lengths = (4, 10, 30, 100, 300, 1000)
split = np.array([exact_bits(table, 1.0, table) for table in (make_beta_schedule("cosine", T) for T in lengths)])
check("N(0,1)、σ² = β：合计处处是 2.0471", split.sum(1), np.full(6, entropy), atol=1e-10)
check("T=1000 的 L_0 是负的，KL 之和补了回来", [split[-1, 0] < 0, split[-1, 1] > 5], [1, 1])
rough = make_beta_schedule("linear", 100)
check("短而没有走到头的链：L_T 占去近半比特，合计还是 2.0471", [exact_bits(rough, 1.0, rough)[2] > 0.4, exact_bits(rough, 1.0, rough).sum()],
      [1, entropy], atol=1e-10)
curves_figure((lengths, {"$L_0$": split[:, 0], "KL 之和": split[:, 1], "$L_T$": split[:, 2], "合计": split.sum(1)}, "步数 $T$", "bits/dim", "log", "linear"))

# %% [markdown]
# 图：`cosine`，数据 $\mathcal N(0,1)$。步数越多，$L_0$ 越低（最后一步的方差越小），KL 之和越高，合计（点划线）纹丝不动。
# 所以单看其中一部分没有意义：把 $\beta_0$ 调小，$L_0$ 立刻“变好”，账记到了别处。
#
# 一般的 $s$ 也有精确的事实。每一步都用真实的方差 $\sigma_t^2=a_t$ 时，$p_\theta(x_{t-1}\mid x_t)$ 处处等于 $q(x_{t-1}\mid x_t)$。把下界里的乘积 $\prod p_\theta$ 换成 $\prod q$，用 $q(x_{0:T})=q(x_T)\prod q(x_{t-1}\mid x_t)$，
#
# $$L = \mathbb E_q\Big[-\ln\frac{p(x_T)}{q(x_T)} - \ln q(x_{0:T}) + \ln q(x_{1:T}\mid x_0)\Big] = \mathbb E[-\ln q(x_0)] + \mathrm{KL}\big(q(x_T)\,\|\,p(x_T)\big).$$
#
# 第一项是数据的熵，谁也省不掉；第二项是起点抽错了分布的代价，这里 $q(x_T)=\mathcal N(0, D)$，它等于 $\tfrac12(D-1-\ln D)$。完美的模型，多付的只有起点这一笔。

# %%
for s in (0.1, 0.5, 1.0):
    for betas in (make_beta_schedule("cosine", 20), rough):
        bar = np.prod(1 - betas)
        D = bar * s**2 + 1 - bar
        want = entropy + math.log2(s) + 0.5 * (D - 1 - math.log(D)) / math.log(2)
        check(f"s={s}，T={len(betas)}：熵加上起点的代价", exact_bits(betas, s, true_variance(betas, s)).sum(), want, atol=1e-9)

# %% [markdown]
# ## 5　`v_posterior` 与最好的方差
#
# 去噪器固定，只挑 $\sigma_t^2$。上一节 $t\ge1$ 的那一项减去它在 $\sigma_t^2=a_t$ 处的值，记 $x=a_t/\sigma_t^2$，多付的是
#
# $$\tfrac12\,(x-1-\ln x)\;\ge\;0,$$
#
# 等号只在 $x=1$ 时成立。所以最好的方差就是 $a_t$，偏大偏小都要多付。它落在哪里？第 4 章算过 $\beta_t-\tilde\beta_t=c_1^2(1-\bar\alpha_t)$，而完美的去噪器满足
# $0\le\mathbb E(x_0-\hat x_0)^2\le1-\bar\alpha_t$（数据的方差不超过 1 时），乘上 $c_1^2$ 再加 $\tilde\beta_t$：
#
# $$\tilde\beta_t\;\le\;a_t\;\le\;\beta_t.$$
#
# 左边的等号要 $x_0$ 由 $x_t$ 完全确定，右边的等号要数据是标准高斯。`v_posterior` 在两端之间线性地走，总有一个 $v^*_t$ 恰好走到 $a_t$，只是它随 $t$ 变，一个常数 $v$ 不能处处都对。

# %%
betas = make_beta_schedule("cosine", 50)
tilde, mixes = diffusion_tables(betas)["posterior_variance"], np.linspace(0, 1, 101)
for s in (0.1, 0.5, 0.9):
    a = true_variance(betas, s)
    check(f"s={s}：每一步都夹在中间", [(a[1:] > tilde[1:]).all(), (a[1:] < betas[1:]).all()], [1, 1])


def mixed(betas, v):
    """σ²_t，第 0 步用截断过的值"""
    return np.exp(diffusion_tables(betas, v)["posterior_log_variance_clipped"])


def overpaid(betas, s, t, v):
    """第 t 步因为方差不是 a_t 而多付的比特"""
    x = true_variance(betas, s)[t] / mixed(betas, v)[t]
    return 0.5 * (x - 1 - np.log(x)) / math.log(2)


# %%
one_step = {f"$t={t}$": [overpaid(betas, 0.5, t, v) for v in mixes] for t in (1, 5, 20)}
whole = {}
for s in (0.1, 0.5, 1.0):
    least = exact_bits(betas, s, true_variance(betas, s)).sum()
    whole[f"$s={s}$"] = [exact_bits(betas, s, mixed(betas, v)).sum() - least for v in mixes]
best = [mixes[int(np.argmin(curve))] for curve in whole.values()]
print("整条下界最低处的 v：", {name: f"{v:.2f}" for name, v in zip((0.1, 0.5, 1.0), best)})
check_order("s=0.5：最低处在两端之间", 0, best[1], 1, digits=2)
check("s=1：恰好在 v=1，一点不多付", [best[2], whole["$s=1.0$"][-1]], [1, 0], atol=1e-9)
curves_figure((mixes, one_step, "$v$", "多付的比特，单独一步", "linear", "log"), (mixes, whole, "$v$", "多付的比特，整条下界"))

# %% [markdown]
# 图：高斯数据，`cosine` 走 50 步，纵轴是比“每一步都用 $a_t$”多付的比特。左边是 $s=0.5$ 时单独的一步（对数轴），每条曲线在自己的 $v^*_t$ 处触底，$t$ 越大，触底处越靠左；右边是整条下界，最低处的 $v$ 就是上面打印的。
# 最低处随数据的标准差移动：这三个里，$s$ 越小，最低处的 $v$ 越小。$s=1$ 时 $v=1$ 分毫不差，这就是 2.047 那个事实。

# %% [markdown]
# 真实的模型呢？不必每个 $v$ 重跑一遍：误差与 $v$ 无关，一次测量就够。第 6 章说 $v=0$ 时常数为零，每一步的 KL 就是 $w_t\cdot$ 均方误差，
# 除以 $w_t$ 得均方误差，再代入任意的 $v$。

# %%
betas = model.exact_table("betas").numpy()
bar, weights = model.exact_table("alphas_cumprod").numpy(), diffusion_tables(betas, 0.0, "x0")["lvlb_weights"]
each_mse = terms[:, 1:-1].numpy() * math.log(2) / weights[1:]  # (16, 999)，t = 1 .. 999
mse = each_mse.mean(0)


def kl_bits(v, mse=mse):
    """各步的 KL 之和，bits/dim；只算，不再调用网络"""
    return float((kl_constants(betas, v)[1:] + diffusion_tables(betas, v, "x0")["lvlb_weights"][1:] * mse).sum() / math.log(2))


curve = [kl_bits(v) for v in mixes]
check("v=0 时就是刚才测的", curve[0], per_step.sum(), atol=1e-6)
check("最低处在中间", mixes[int(np.argmin(curve))], 0.5, atol=0.15)
saved = np.array([kl_bits(0.0, one) - kl_bits(0.5, one) for one in each_mse])
print(f"v 从 0 换成 0.5，省 {saved.mean():.2f} ± {saved.std(ddof=1) / 4:.2f} bits/dim（16 张图的平均与标准误）；一张图 64 维，合 {64 * saved.mean():.0f} 比特")
check_order("省的是标准误的许多倍", 5 * saved.std(ddof=1) / 4, saved.mean(), digits=2)

# %%
measured = mse / (1 - bar[1:])
tilde = diffusion_tables(betas)["posterior_variance"]
a = tilde[1:] + diffusion_tables(betas)["posterior_mean_coef1"][1:] ** 2 * mse
check("测得的最优方差，每一步都在两端之间", [(a > tilde[1:]).all(), (a < betas[1:]).all()], [1, 1])
each = 0.5 * np.log(a / tilde[1:]).sum() / math.log(2)
check_order("每一步各用自己的最优方差，比最好的常数 v 只再省不到 0.05", 0, min(curve) - each, 0.05, digits=2)
# 一步一步看抖得厉害：按 t 的对数分成 24 段，各段取平均
edges = np.unique(np.geomspace(1, 999, 25).round().astype(int))
middle, smooth = (np.array([values[a - 1:b - 1].mean() for a, b in zip(edges, edges[1:])]) for values in (np.arange(1, 1000), measured))
curves_figure((mixes, {"": curve}, "$v$", "bits/dim"), (middle, {"": smooth}, "步号 $t$", "$v^*_t$", "log", "linear"))

# %% [markdown]
# 图：左边是同一个模型的 bits/dim 随 $v$ 的变化，右边是测得的 $v^*_t$，横轴按对数分段取了平均。小 $t$ 处约一半，几百步处降到两成，尾部回到三成，没有一步走到两端。
# 不重新训练，只换一个数，bits/dim 就降了这么多；而且 $v=1$ 比 $v=0$ 低。
#
# 样本也跟着变好吗，也是 $v=1$ 比 $v=0$ 好吗？那要用 Fréchet 距离来量，先把它搭起来。

# %% [markdown]
# ## 6　从头搭起 Fréchet 距离
#
# 两批图像不像？先看一维。两个高斯 $\mathcal N(\mu_1,\sigma_1^2)$、$\mathcal N(\mu_2,\sigma_2^2)$，把第一堆土搬成第二堆，搬动距离的平方平均最少是多少？
# 设搬运把 $x$ 送到 $y$，则
#
# $$\mathbb E(x-y)^2 = (\mu_1-\mu_2)^2+\sigma_1^2+\sigma_2^2-2\,\mathrm{Cov}(x,y)\;\ge\;(\mu_1-\mu_2)^2+(\sigma_1-\sigma_2)^2,$$
#
# 因为协方差不超过 $\sigma_1\sigma_2$。它是平方的量：两堆土隔 3 远，它是 9。线性的搬法 $y=\mu_2+\tfrac{\sigma_2}{\sigma_1}(x-\mu_1)$ 取到等号，它不打乱次序：第几小的送到第几小。
# 所以在样本上，把两边各自排好序，一一相减就是最省的搬法。

# %%
generator = torch.Generator().manual_seed(0)
x, y = torch.randn(2, 50_000, generator=generator, dtype=torch.float64)
y = 1.0 + 2.0 * y
cheapest = (x.sort().values - y.sort().values).square().mean()
check("排序之后相减：(0-1)² + (1-2)²", cheapest, 2.0, atol=0.05)
check("随便配对就贵得多：1 + 1 + 4", (x - y).square().mean(), 6.0, atol=0.1)

# %% [markdown]
# 多维时道理相同，只是 $\sigma_1\sigma_2$ 换成能做到的最大的 $\mathrm{tr}\,\mathrm{Cov}(x,y)$，它是 $\mathrm{tr}\,(\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2})^{1/2}$（为什么这是最大的，证明见 Dowson 与 Landau 1982；下面验证它做得到）。于是
#
# $$\|\mu_1-\mu_2\|^2+\mathrm{tr}\Big(\Sigma_1+\Sigma_2-2\,(\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2})^{1/2}\Big).$$

# %%
show_source(frechet_distance,
            "def frechet_distance", "x, y = x.double()", "cov_x, cov_y =", "# tr (Σ1 Σ2)^½", "return float")

# %% [markdown]
# - ① 两组特征，一行一个样本；形状不对就报错。
# - ② 换成 float64，算均值之差的平方。
# - ③ 两个协方差；只有一维时 `torch.cov` 给出标量，要变回矩阵。
# - ④ 先开 $\Sigma_1$ 的方，夹住 $\Sigma_2$，得到对称矩阵，再把它的特征值开方求和。舍入会给出极小的负数，截到 0。
# - ⑤ 照公式相加；同一组数据会得到 $-10^{-13}$ 之类，也截到 0。

# %% [markdown]
# 用闭式核对。造出协方差恰好是对角阵的两组点，距离应当是各轴的标准差之差的平方和；再把两组一起转一个角度，距离不变。
# 最后验证那个“最大的协方差”真的做得到：照最省的线性搬法搬一遍，搬完协方差就是 $\Sigma_2$，搬动的平方平均就是距离。

# %%
def whiten(x):
    """把样本变成均值恰好为 0、协方差恰好为单位阵"""
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T


a, b = (whiten(torch.randn(200, 3, generator=generator, dtype=torch.float64)) for _ in range(2))
wide, narrow = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([2.0, 2.0, 0.5]).double()
x, y = a * wide, 1.0 + b * narrow
check("对角：均值差 3，标准差之差的平方和 7.25", frechet_distance(x, y), 3 + 7.25, atol=1e-9)
turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
check("一起转动，距离不变", frechet_distance(x @ turn, y @ turn), 10.25, atol=1e-9)
check("自己与自己：0；两边对调：不变", [frechet_distance(x, x), frechet_distance(y, x)], [0, 10.25], atol=1e-9)

# %%
def power(matrix, p):
    """对称正定矩阵的 p 次方"""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values**p @ vectors.T


y = y @ turn  # 两个协方差不再同轴
first, second = torch.cov(x.T), torch.cov(y.T)
root, inverse = power(first, 0.5), power(first, -0.5)
carry = inverse @ power(root @ second @ root, 0.5) @ inverse
moved = y.mean(0) + (x - x.mean(0)) @ carry
check("搬完之后，协方差就是 Σ₂", torch.cov(moved.T), second, atol=1e-9)
cost = (x.mean(0) - y.mean(0)).square().sum() + torch.cov((x - moved).T).trace()
check("搬动的代价就是距离", cost, frechet_distance(x, y), atol=1e-9)
product = torch.linalg.eigvals(first @ second).sqrt().real.sum()
check("另一种算法：Σ₁Σ₂ 的特征值开方求和", frechet_distance(x, y),
      (x.mean(0) - y.mean(0)).square().sum() + first.trace() + second.trace() - 2 * product, atol=1e-9)

# %% [markdown]
# ### 样本少，距离就偏大
#
# 两批各 $N$ 个点，来自同一个 $\mathcal N(0, I)$，维数是 $d$。真正的距离是 0，算出来却总大于 0，因为均值和协方差都有估计误差。
# 均值之差的平方平均是 $2d/N$。协方差的误差很小时，$(\sqrt{1+a}-\sqrt{1+b})^2\approx\tfrac14(a-b)^2$；矩阵在单位阵附近开方也是这样，每个元素的误差减半。$d$ 个对角元的误差方差各是 $2/N$，$d(d-1)$ 个非对角元各是 $1/N$，两批之差再加倍，乘上 $\tfrac14$，合起来是 $d(d+1)/(2N)$。所以
#
# $$\text{偏差}\approx\frac{2d+d(d+1)/2}{N}.$$
#
# 它与 $1/N$ 成正比，却与 $d^2$ 成正比。不要把 FID 的 $d=2048$、$N=50\,000$ 直接代进去：那会得到 42，而论文里的 FID 常常只有 2 到 3。公式假设协方差是单位阵、两边都是抽样的；Inception 的特征方差小，又挤在少数几个方向上，训练集那一边还是固定的，偏差远没有这么大。
# “随 $1/N$ 降、随维数涨”这一点不变，所以论文都用五万张样本，而且张数不同的 FID 不能互比。

# %%
d, counts, generator = 32, (100, 200, 400, 800, 1600, 3200), torch.Generator().manual_seed(0)
bias = []
for N in counts:
    draws = torch.randn(6, 2, N, d, generator=generator, dtype=torch.float64)
    bias.append(sum(frechet_distance(*pair) for pair in draws) / 6)
formula = (2 * d + d * (d + 1) / 2) / np.array(counts)
check("800 个以上：公式准到 5%", np.array(bias[3:]) / formula[3:], np.ones(3), atol=0.05)
score = DigitsFrechet()
sizes, order = (20, 60, 200, 600, 1200), [torch.randperm(len(train), generator=generator) for _ in range(6)]
real = [sum(score(train[index[:N]]) for index in order) / 6 for N in sizes]
check("真的数字图也一样：60 张的得分在 60 以上，1200 张的不到它的四分之一", [real[1] > 60, real[-1] < real[1] / 4], [1, 1])
curves_figure((counts, {"量到的": bias, "公式": formula}, "张数 $N$", "Fréchet 距离", "log", "log"),
              (sizes, {"$N$ 张真图": real, "全部真图": [score.floor()] * 5}, "张数 $N$", "Fréchet 距离", "log", "log"))

# %% [markdown]
# 图：左边是同一个 32 维高斯的两批点；右边是训练集里抽出的 $N$ 张真图对留出的 500 张真图，虚线是用上全部训练图的结果：它停在 10 左右，不到 0，因为留出的一边只有 500 张。
# 真图尚且如此：60 张真图的得分在 60 以上，而随课程发布的 `digits`，一千张样本只有二十左右（下面的表）。所以**比较两个距离，样本数必须相同**；说一个距离好不好，要拿同样多的真图来比。

# %% [markdown]
# ### 特征与参照线

# %%
show_source(FrechetDistance,
            "class FrechetDistance:", "def __init__", "@torch.no_grad()", "def __call__", "def floor", "def ceiling")

# %% [markdown]
# - ① 距离不在像素上算，而在一个小分类器的特征上算：像素挪一格，像素的距离就很大，特征却几乎不变。
# - ② 真图的特征只算一次，记下来。
# - ③ 倒数第二层的 32 个数；样本先截到 $[-1,1]$，分块过网络。
# - ④ 样本的特征与真图的特征之间的距离。
# - ⑤ 训练用的真图对留出的真图。不给 `train` 就用全部训练图；要与 $N$ 张样本比，就给它 $N$ 张。
# - ⑥ 纯噪声的得分，看看数值的尺度。
#
# 参照线都不是硬的界。样本与真图张数相同时，距离也可能比真图还小：两批真图之间有抽样误差，样本也有，谁大谁小看运气。低于 `floor` 不说明“比真图还真”，只说明这把尺子量到头了。

# 一次的得分还随种子变，所以要多量几次，写上标准误。随课程发布的 `digits`，祖先采样的两个极端，卡片里的每个数都是八个种子、各 1 000 张：

# %%
quality = pretrained_card("digits")["quality"]
floor = quality["frechet_floor"]
print(f"1 000 张训练图对同样的真图 {floor['mean']:.1f} ± {floor['se']:.1f}，纯噪声 {quality['frechet_noise']:.0f}")
for steps in (5, 10, 20, 50):
    low, high = (quality[f"ancestral_{steps}{mark}"]["frechet"] for mark in ("", "_v1"))
    gap = np.subtract(high["each"], low["each"])  # 种子相同，起点就相同，所以逐个种子相减
    print(f"{steps:3} 步　v=0：{low['mean']:5.1f} ± {low['se']:.1f}　v=1：{high['mean']:5.1f} ± {high['se']:.1f}　相差 {gap.mean():+.1f} ± {gap.std(ddof=1) / 8**0.5:.1f}")

# %% [markdown]
# 步数越少，$v=1$ 越吃亏：5 步、10 步差得远，20 步的差还是标准误的五倍多，50 步就分不出了。
# 上一节的 bits/dim 却认为 $v=1$ 比 $v=0$ 好。两把尺子相反，因为看的不是一件事：bits/dim 看的是一千步的链上极小的 $t$，这里看的是只走几步的样本。哪个对？看你要做什么：压缩数据听前者，走几步画图听后者。
#
# 还要记住它看不见的：只比较均值与协方差。两组点形状完全不同，只要这两样相同，距离就是 0。

# %%
coin = torch.randint(0, 2, (100_000, 1), generator=generator).double() * 2 - 1
bell = torch.randn(100_000, 1, generator=generator, dtype=torch.float64)
check("只取 ±1 的点，与标准高斯的距离几乎是 0", frechet_distance(coin, bell), 0.0, atol=1e-3)
check_raises("只有一张图，没有协方差", lambda: score(train[:1]), "两行")

# %% [markdown]
# ## 7　损失曲线能说明什么
#
# 训练时最先看到的是损失。它有三个脾气，先认清再读。
#
# **一、它本来就抖。** 每批抽到的 $t$ 不同，而各个 $t$ 的误差差得远。权重一动不动，损失也上下跳。把 $t$ 铺匀（`stratified`）能压下去一些；要比较两次，就得用同样的 $t$ 与噪声，`quarter_losses` 就是这样做的。

# %%
show_source(quarters,
            "def quarters")

# %% [markdown]
# - ① 把 $0..T-1$ 分成四段，每段含起点、不含终点。

# %%
show_source(spread,
            "def spread")

# %% [markdown]
# - ① 在一段里均匀地铺开 `count` 个步号，每次都是同样的几个。

# %%
show_source(quarter_losses,
            "def quarter_losses", "noise = torch.randn", "for number, (start, stop)")

# %% [markdown]
# - ① 名字固定的发生器：每次调用，噪声都相同，也不动全局的随机数。
# - ② 噪声在 CPU 上抽，搬到数据所在的设备，换了机器也一样。
# - ③ 四段各铺开一批 $t$，用训练的损失 `p_losses` 去量；空的那段跳过。

# %%
def jitter(t_sampling, repeats=60):
    """同一批图、同一套权重，只有 t 与噪声不同：损失的标准差"""
    model.t_sampling = t_sampling
    draws = torch.Generator().manual_seed(5)
    with torch.no_grad():
        losses = [float(model(test[:64], generator=draws)[0]) for _ in range(repeats)]
    return float(np.std(losses))


check_order("均匀地抽 t：比铺匀了抖得多", 1.1 * jitter("stratified"), jitter("uniform"))
once, twice = (quarter_losses(model, test[:64]) for _ in range(2))
check("固定的 t 与噪声：一丝不动", all(once[name] == twice[name] for name in once), True)

# %% [markdown]
# **二、它的高低由目标定。** 同一个猜测，误差写成 $\varepsilon$、$x_0$ 还是 $v$，差着信噪比的倍数（第 6 章）。换了参数化或噪声表，两条曲线就不能比。
# 高斯数据上可以算个明白：完美的去噪器，三种损失对 $t$ 求平均，各是多少？

# %%
s = 0.5
D = bar * s**2 + 1 - bar
perfect_loss = {"eps": (bar * s**2 / D).mean(), "x0": (s**2 * (1 - bar) / D).mean(), "v": (s**2 / D).mean()}
print("已经不能再好的模型：", {name: f"{value:.3f}" for name, value in perfect_loss.items()})
check("v 的损失等于另外两个之和", perfect_loss["v"], perfect_loss["eps"] + perfect_loss["x0"], atol=1e-12)
check_order("最低也降不到 0", 0.1, min(perfect_loss.values()), digits=2)

# %% [markdown]
# **三、它不管误差落在哪里。** 在网络的输出上加一个常数 0.2，只加在某一段 $t$ 上。四段一样长，总损失多出的都差不多是 $0.2^2/4=0.01$。
# 可是下界里这点误差要乘上 $w_t$，多付的比特是 $\sum_t w_t\cdot0.2^2$，各段相差悬殊。

# %%
class Biased(nn.Module):
    """在 start ≤ t < stop 的步上，输出加 0.2"""

    def __init__(self, network, start, stop):
        super().__init__()
        self.network, self.start, self.stop = network, start, stop

    def forward(self, x, t):
        inside = (t >= self.start) & (t < self.stop)
        return self.network(x, t) + 0.2 * inside.reshape(-1, 1, 1, 1)


def held_loss(model, x):
    with torch.no_grad():
        return float(sum(quarter_losses(model, x).values()) / 4)


# %%
base = held_loss(model, test[:64])
weights_v = diffusion_tables(betas, 0.0, "v")["lvlb_weights"]
more_loss, more_bits = [], []
for start, stop in quarters(1000):
    biased = with_network(lambda network, span=(start, stop): Biased(network, *span))
    more_loss.append(held_loss(biased, test[:64]) - base)
    more_bits.append(weights_v[max(start, 1):stop].sum() * 0.2**2 / math.log(2))
check("总损失：四段都多出 0.01 左右", more_loss, [0.01] * 4, atol=0.002)
print("多付的比特：", [f"{bits:.1g}" for bits in more_bits])
check_order("bits/dim：第一段与第四段差五十倍以上", 50 * more_bits[3], more_bits[0], digits=2)

# %% [markdown]
# ## 8　三把尺子打架：一个只会背书的模型
#
# 最后造一个极端的模型。它没有网络，只有训练集：在训练图 $x_i$ 上取平均，权重正比于 $\exp\big(-\|x_t-\sqrt{\bar\alpha_t}\,x_i\|^2/2(1-\bar\alpha_t)\big)$，作为 $\hat x_0$。
# 这是“训练集就是全部数据”时的最优解：训练损失的全局最低点。模型够大、练得够久，网络就朝它走。

# %%
class Memorizer(nn.Module):
    """有限数据集上的最优去噪器，换算成 v"""

    def __init__(self, images, alphas_cumprod):
        super().__init__()
        self.register_buffer("images", images.flatten(1))
        self.register_buffer("alphas_cumprod", alphas_cumprod.float())
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x, t):
        a, flat = self.alphas_cumprod[t][:, None], x.flatten(1)
        distance = torch.stack([torch.cdist(p[None], r * self.images)[0] for p, r in zip(flat, a.sqrt())])
        x_recon = (-(distance**2) / (2 * (1 - a))).softmax(1) @ self.images
        return self.scale * ((a.sqrt() * flat - x_recon) / (1 - a).sqrt()).view_as(x)


memorizer = with_network(lambda network: Memorizer(train, model.exact_table("alphas_cumprod")))

# %%
copies, _ = generate(memorizer, 128, batch_size=128, steps=10, use_ema=False)
fresh, _ = generate(model, 128, batch_size=64, steps=10, use_ema=False)
gap, nearest = torch.cdist(copies.flatten(1), train.flatten(1)).min(1)
check("每一个样本都是训练集里的某一张", gap.max(), 0.0, atol=0.05)
own = torch.cdist(fresh.flatten(1), train.flatten(1)).min(1).values
held = torch.cdist(test.flatten(1), train.flatten(1)).min(1).values
check("网络的样本：离最近的训练图，中位数与测试图的一样远", own.median(), held.median(), rtol=0.2)
check_order("最近的一张也不是复制品", 0, 0.5 * held.min(), own.min(), digits=2)
grid_figure(torch.cat([copies[:10], train[nearest[:10]], fresh[:10]]), nrow=10, rows=["背书的", "最近的", "网络的"])

# %% [markdown]
# 图：上排是“背书”的样本，中排是训练集里离它最近的图，两排一模一样；下排是网络从同样的起点画的，有几张甚至很像，但不是同一张。只看上排，谁也挑不出毛病。
#
# 现在三把尺子一起上。

# %%
def three_rulers(model, bits):
    return {"训练损失": held_loss(model, train[:64]), "留出损失": held_loss(model, test[:64]), "bits/dim": float(bits.mean())}


def frechets(model):
    """八个种子，各画 128 张打分"""
    return [score(generate(model, 128, batch_size=128, seed=seed, steps=10, use_ema=False, progress=False)[0]) for seed in range(8)]


# 网络的 bits/dim 第 2 节已经算过，是同样的 16 张图
recited = vlb_terms(memorizer, images, levels=17, generator=torch.Generator().manual_seed(0)).sum(1) / math.log(2)
ours, theirs = three_rulers(model, parts["合计"]), three_rulers(memorizer, recited)
for name in ours:
    print(f"{name}：网络 {ours[name]:.2g}，背书 {theirs[name]:.2g}")
real_128 = [score(train[torch.randperm(len(train), generator=generator)[:128]]) for _ in range(8)]
scores = {"网络": frechets(model), "背书": frechets(memorizer), "真图": real_128}
print("Fréchet，各 128 张，八次：", "　".join(f"{name} {np.mean(each):.0f} ± {np.std(each, ddof=1) / 8**0.5:.0f}" for name, each in scores.items()))
check("训练损失：背书的低得多", theirs["训练损失"] < 0.7 * ours["训练损失"], True)
gap = np.mean(scores["背书"]) - np.mean(scores["真图"])
check("Fréchet 距离：背书的与真图分不出（相差不到三个标准误）", abs(gap) < 3 * np.hypot(np.std(scores["背书"]), np.std(scores["真图"])) / 7**0.5, True)
check("留出损失：背书的高十倍以上", theirs["留出损失"] > 10 * ours["留出损失"], True)
check("bits/dim：背书的比均匀地猜还差几百倍", theirs["bits/dim"] > 200 * math.log2(17), True)

# %% [markdown]
# 训练损失和 Fréchet 距离都给“背书”打高分：它的样本本来就是真图，只用 128 张，分不出它与真图的高下。留出损失和 bits/dim 一眼看穿：没见过的图，它给的概率几乎是零，连最后一步的 $L_0$ 也猜错好几级灰度。反过来，bits/dim 对样本的好坏很迟钝。
# 所以三样一起看，外加一条：看样本离训练集有多近。

# %% [markdown]
# ## 9　一条命令
#
# `evaluate` 把两个数和参照线一次算好，命令行的 `python -m ddpm_edu evaluate --ckpt digits --data digits` 也是它。下面拿背书的模型试。

# %%
show_source(evaluate,
            "def evaluate", "check_same_size(model, data_module)", "with model.ema_scope()", "if num_samples and frechet is None:",
            "if num_samples and frechet is not None:")

# %% [markdown]
# - ① 参数与返回的字典；全是数，可以直接存成 JSON。
# - ② 尺寸、张数、种子，在算任何东西之前查完。
# - ③ 用 EMA 权重，从测试划分固定地选出一批图，算 bits/dim。像素的级数取自数据模块，还要数一数像素是不是真在那些级上：不在，算出来的就不是编码长度。
# - ④ 没有给 Fréchet 的打分器就取一个：数字有随包的分类器，别的数据现训一个，没有标签的就不算。
# - ⑤ 采样、打分，连两条参照线和样本数一起写进报告：这个数离开了样本数没有意义，所以真图的参照线也取同样多张。

# %%
report = evaluate(memorizer, DigitsDataModule(), max_images=4, num_samples=128, steps=10)
print({name: f"{value:.3g}" for name, value in report.items()})
check("报告里有样本数、步数和两条参照线", {"samples", "steps", "frechet_floor", "frechet_ceiling"} <= set(report), True)
check_order("参照线用的是同样多的真图，不是全部的", 2 * score.floor(), report["frechet_floor"], digits=2)

# %% [markdown]
# 这一次，样本的得分比真图还低，碰巧而已：第 8 节八次平均，两者分不出高下。只量一次的 Fréchet 距离，要想着它有多抖。

# %% [markdown]
# 与论文的 FID 比，需要那份固定的 Inception 网络、同样的图数，缺一样都不能比。`ddpm_edu.evaluation.fid.inception_fid` 备好了算法，权重要你自己提供。

# %% [markdown]
# ## 小结
#
# - bits/dim 几乎全花在很小的 $t$ 上；三部分此消彼长，只有合计有意义；要说明像素有几级。
# - 最好的方差是 $a_t$，在 $\tilde\beta_t$ 与 $\beta_t$ 之间；下界偏爱中间的 $v$，不必重跑就能算。
# - Fréchet 距离是搬运代价，偏差约 $(2d+d(d+1)/2)/N$；样本数相同才能比，低于参照线也没有意义。
# - 损失会抖，高低由目标定，不管误差落在哪里；训练损失最低的模型只会背书。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 15.1　起点的代价 ★
#
# 写出 $L_T$，单位 bits/dim：$q(x_T\mid x_0)=\mathcal N(\sqrt{\bar\alpha}\,x_0,\,1-\bar\alpha)$ 与 $\mathcal N(0,1)$ 的 KL，$\bar\alpha$ 取最后一步的。
# `betas` 是一维张量，`x_start` 的第一维是 $B$；返回 $(B,)$，每张图一个数。

# %%
def prior_bits(betas, x_start):
    # 答案
    bar = torch.prod(1 - betas)
    nats = 0.5 * (bar * x_start**2 - bar - torch.log(1 - bar))
    return nats.flatten(1).mean(1) / math.log(2)
    # 答案完


grade("15.1", prior_bits)

# %% [markdown]
# ### 15.2　换一个 v，不必重跑 ★★
#
# 手里有 $v=0$ 时测得的各步 KL（nats，$t\ge1$），求换成别的 $v$ 之后的各步 KL。
# `tilde`、`betas`、`kl` 是等长的 NumPy 数组，`tilde` 是 $\tilde\beta_t$，`v` 是 $[0,1]$ 里的数；返回同样长的数组。第 5 节用过这个办法。

# %%
def change_v(tilde, betas, kl, v):
    # 答案
    sigma2 = (1 - v) * tilde + v * betas
    constant = 0.5 * (np.log(sigma2 / tilde) + tilde / sigma2 - 1)
    return constant + kl * tilde / sigma2
    # 答案完


grade("15.2", change_v)

# %% [markdown]
# ### 15.3　自己的 Fréchet 距离 ★★★
#
# `x`、`y` 是 float64 的两组特征，形状 $(N, d)$，张数可以不同，$d$ 可以是 1。返回它们的 Fréchet 距离，协方差除以 $N-1$。
# 提示：$(\Sigma_1\Sigma_2)^{1/2}$ 的迹，等于 $\Sigma_1\Sigma_2$ 的特征值开方之和。`torch.linalg.eigvals` 给出复数：取实部，舍入的负数截到 0，再开方。

# %%
def frechet(x, y):
    # 答案
    d = x.shape[1]
    a, b = torch.cov(x.T).reshape(d, d), torch.cov(y.T).reshape(d, d)
    cross = torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt().sum()
    return (x.mean(0) - y.mean(0)).square().sum() + a.trace() + b.trace() - 2 * cross
    # 答案完


grade("15.3", frechet)

# %% [markdown]
# ### 15.4　收到一个模型 ★
#
# 同学交来一个模型：训练损失比谁都低，Fréchet 距离与真图对真图相同，测试图上的 bits/dim 却比均匀地猜还差几百倍。最可能是怎么回事？
#
# - A：训练得不够久。
# - B：它把训练集背了下来。
# - C：`v_posterior` 取得不好。
# - D：算 Fréchet 距离的样本太少。

# %%
grade("15.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 15.5　不能再少的比特 ★★
#
# 连续的数据 $\mathcal N(0, 0.5^2)$，`linear`，$T=1000$，完美的去噪器，每一步用最好的方差。下界是多少 bits/dim？填到小数点后四位。

# %%
grade("15.5", None)  # 把 None 换成一个数
