# %% [markdown]
# # 15 · 评估
#
# 同学交来一个模型，我们叫它“甲”，样本张张像真的。甲的训练损失是 0.15，随课程发布的 `digits` 是 0.26；Fréchet 距离（越小越像真图）甲是 20，`digits` 是 28。
# 可是让它给没见过的图打分，每个像素平均要用三千多个比特才记得下来，而什么都不学、均匀地猜，只要 4.09 个比特。
# 三个数，两个说好，一个说坏，该信哪一个？这一章先看这些数怎么来，最后揭晓甲是什么。
#
# **学习目标**
#
# - 会用 `evaluate`，说得出报告里每个数的意思和误差。
# - 说清损失能说明什么，不能说明什么。
# - 把 bits/dim 拆开，看出比特花在哪一步；拿直方图当基线，知道什么时候不该夸口。
# - 从头搭起 Fréchet 距离，知道它随样本数的偏差，会用参照线。
#
# **预计用时** 60 分钟。运行全部单元约 1 分钟。

# %%
import math

import numpy as np
import torch
from torch import nn

from ddpm_edu import DigitsDataModule, load_pretrained
from ddpm_edu.data.base import random_images
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.metrics import DigitsFrechet, FrechetDistance, frechet_distance, nearest_distances
from ddpm_edu.evaluation.report import bits_report, evaluate
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.generate import generate
from ddpm_edu.likelihood import gaussian_nll, kl_constants, vlb_terms
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.teach import check, check_order, curves_figure, grid_figure, show_source
from ddpm_edu.teach.figures import BLUE, GRAY, INK, ORANGE, empty_figure, few_ticks, plain_axes
from ddpm_edu.teach.laboratory import ideal_start
from ddpm_edu.training.timestep_loss import quarter_losses, quarters, spread

model = load_pretrained("digits")
train, test = (load_digits_split()[name][0] for name in ("train", "test"))
print(f"训练图 {len(train)} 张，测试图 {len(test)} 张")

# %% [markdown]
# ## 1　一条命令，三把尺子
#
# 模型练好了，好不好？有三种量法，问的是三个不同的问题。
#
# | 尺子 | 问的是 | 看不见的是 |
# |:--|:--|:--|
# | 损失 | 随机的一步 $t$ 上，猜得准不准 | 各步的误差怎样累积成样本 |
# | bits/dim | 没见过的真图，模型给的概率有多高 | 样本好不好看 |
# | Fréchet 距离 | 一批样本像不像一批真图 | 样本是不是从训练集里抄来的 |
#
# 损失在训练时就看得到，后两个数用一条命令算：
#
# ```
# python -m ddpm_edu evaluate --ckpt digits --data digits --num 64 --samples 1000 --steps 10
# ```
#
# 它（也就是函数 `evaluate`）给出下面这些数。这一章接下来就是弄懂这张表。
#
# | 字段 | 得到 | 意思 |
# |:--|--:|:--|
# | `bits_per_dim` | 3.10 | 记下一张没见过的图，平均每个像素至多要几个比特，越小越好 |
# | `bits_per_dim_se` | 0.06 | 它的标准误 (standard error)：各图之间的差别带来的误差 |
# | `L_0`、`L_kl`、`L_T` | 约 0、3.10、约 0 | 上面那个数的三个部分：最后一步、中间各步、起点 |
# | `levels`、`images` | 17、64 | 像素有几级灰度；用了几张图 |
# | `frechet` | 24.1 | 样本与留出的真图之间的距离，越小越像；只一个种子，换种子的标准差约 6 |
# | `frechet_floor` | 12.4 | 参照线：同样多的训练图，与那些真图之间的距离 |
# | `frechet_ceiling` | 866 | 参照线：纯噪声的距离 |
# | `samples`、`steps` | 1000、10 | 样本的张数，采样走几步；换了这两个数，距离就不能比 |
#
# ## 2　损失：能说明什么，不能说明什么
#
# 先说能的。噪声表、参数化（网络的预测目标）、图、$t$ 与噪声都相同时，两套权重的损失可以直接比：低的猜得更准。
# 同一套权重，在训练图上与在留出的图上各量一次，也可以比：两边差得远，就是在死记训练集。甲的破绽就在这里，第 5 节会看到。
#
# 不能的有三条。**第一，一次的损失抖得厉害。** 每批抽到的 $t$ 与噪声不同，权重一动不动，损失也上下跳。

# %%
def repeated(t_sampling, repeats=60):
    """同一批 64 张图、同一套权重，只有 t 与噪声不同：各次的损失"""
    model.t_sampling = t_sampling
    draws = torch.Generator().manual_seed(5)
    with torch.no_grad():
        return [float(model(test[:64], generator=draws)[0]) for _ in range(repeats)]


def held_loss(model, x):
    """固定的 t 与噪声，四段 t 的平均；每次调用结果相同"""
    with torch.no_grad():
        return float(sum(quarter_losses(model, x).values()) / 4)


each = {"均匀地抽 $t$": repeated("uniform"), "铺匀了抽 $t$": repeated("stratified"), "固定 $t$ 与噪声": [held_loss(model, test[:64])] * 60}
figure = curves_figure((range(60), each, "第几次", "损失"))
check("固定 t 与噪声：再量一次，一丝不动", held_loss(model, test[:64]) == each["固定 $t$ 与噪声"][0], True)
figure

# %% [markdown]
# 图：权重从头到尾没有动过，每一点是同一批 64 张图的损失。均匀地抽 $t$（实线）与把 $t$ 铺匀（虚线）都在抖。
# 离线各量 800 次，标准差是 0.0152 ± 0.0004 与 0.0123 ± 0.0003，前者是后者的 1.23 ± 0.04 倍。再拆开看：固定噪声、只换 $t$，标准差 0.012；固定 $t$、只换噪声，0.011。两样抖得差不多，铺匀只管得住前一样。
#
# 所以相邻两批的损失谁高谁低，说明不了什么；要比较，就固定 $t$ 与噪声（点线），`quarter_losses` 正是这样做的。
#
# **第二，它的高低由目标定。** 同一个猜测，误差写成 $\varepsilon$、$x_0$ 还是 $v$，差着信噪比的倍数（第 6 章）。换了参数化或噪声表，损失就不能比。
# 高斯数据 $\mathcal N(0,s^2)$ 上可以算个明白。记 $D_t=\bar\alpha_ts^2+1-\bar\alpha_t$，即 $x_t$ 的方差。完美的去噪器，目标是 $\varepsilon$、$x_0$、$v$ 时，均方误差是 $\bar\alpha_ts^2/D_t$、$s^2(1-\bar\alpha_t)/D_t$ 和 $s^2/D_t$（第 5 章）。取 $s=0.5$，对 `cosine` 的各个 $t$ 求平均，分别是 0.33、0.17 和 0.50。
# 同一个已经不能再好的模型，三个数相差几倍，而且没有一个是 0：$x_t$ 里没有的信息，谁也猜不出来。
#
# **第三，它不管误差落在哪一步。** 假定网络的输出在四分之一的 $t$ 上偏了 0.2，别处不变，偏差与原来的误差无关。总损失总是多 $0.2^2/4=0.01$，不论偏在哪一段。
# bits/dim 里，这点误差要乘上第 6 章的权重 $w_t$，多付的比特却相差悬殊：

# %%
betas = model.exact_table("betas").numpy()
weights_v = diffusion_tables(betas, 0.0, "v")["lvlb_weights"]
more_bits = [weights_v[max(start, 1):stop].sum() * 0.2**2 / math.log(2) for start, stop in quarters(1000)]
for (start, stop), bits in zip(quarters(1000), more_bits):
    print(f"偏在 t = {start:3} 到 {stop - 1:3}：损失 +0.01，bits/dim +{bits:.2g}")

# %% [markdown]
# 同样的 0.01，落在第一段与落在第四段，比特数差近六十倍。bits/dim 对小 $t$ 的误差格外苛刻，损失对各步一视同仁。那么比特究竟花在哪里？
#
# ## 3　bits/dim：比特花在哪里
#
# 第 6 章的变分下界 $L$ 已经取过负号，它是编码长度的上界。本章的 bits/dim 就是 $L$ 除以维数、换成比特：越小越好。
# 它有三部分：$L_T$（终点与标准高斯的差距）、$t=1,\dots,T-1$ 各步的 KL、$L_0$（最后一步猜像素）。这里的 $t$ 从 0 数起，论文的第 1 步就是这里的第 0 步。
#
# 取 `evaluate` 也会选中的 16 张测试图，把 `digits` 的每一项都算出来。像素有 17 级灰度，均匀地猜要 $\log_2 17=4.09$ 个比特。

# %%
images = random_images(DigitsDataModule().dataset("test"), 16)["image"]
terms = vlb_terms(model, images, levels=17, generator=torch.Generator().manual_seed(0)) / math.log(2)
total = terms.sum(1)
check("一项一列：L_0、999 项 KL、L_T", terms.shape[1], 1001)
for name, values in {"L_0": terms[:, 0], "各步的 KL": terms[:, 1:-1].sum(1), "L_T": terms[:, -1], "合计": total}.items():
    print(f"{name}：{float(values.mean()):.1e}" if values.mean() < 0.01 else f"{name}：{float(values.mean()):.1f}")
print(f"16 张图，各图的标准差 {float(total.std()):.1f}，平均的标准误 {float(total.std() / 16**0.5):.1f}")

# %%
per_step = terms.mean(0)[1:-1]
share = per_step.cumsum(0) / per_step.sum()
check("前 30 步花去六成", share[29], 0.6, atol=0.05)
check_order("前 300 步花去九成以上", 0.9, share[299], digits=2)
figure = curves_figure((range(1, 1000), {"": per_step}, "步号 $t$", "这一步的 bits/dim", "log", "log"),
                       (range(1, 1000), {"": share}, "步号 $t$", "累计的份额", "log", "linear"))
figure.axes[1].set_ylim(0, 1)
figure

# %% [markdown]
# 图：左边是每一步花的比特，右边是从 $t=1$ 起累计的份额，横轴都是对数。六成花在前 30 步，九成以上花在前 300 步。
# 那几十步改动的是肉眼看不见的细节；决定“是几”的大 $t$，每一步只花万分之几比特。所以 bits/dim 差 0.1，样本可能毫无分别。
#
# $L_T$ 小，是因为 `cosine` 走到头时 $\bar\alpha_{T-1}$ 只有十亿分之二。$L_0$ 小有两个原因：半级灰度（1/16）比最后一步的标准差宽得多，而且网络猜的 $\hat x_0$ 离真值远不到半级。
#
# ### 这个数准到几位
#
# 各图的难易不同，bits/dim 的标准差约 0.45。用 $N$ 张图，平均数的标准误是 $0.45/\sqrt N$：16 张 ±0.11；测试图全用上（250 张）±0.03，小数第二位已不可信。
# 要分辨更小的差别，靠**配对**：两个模型用同一批图、同一份噪声，逐图相减，再求标准误。图的难易两边相同，一减就没了。
#
# 拿 `v_posterior` 来试：同一个网络，采样方差 $\sigma_t^2=(1-v)\tilde\beta_t+v\beta_t$ 取 $v=0$ 还是 $v=0.5$ 好？
# 网络的误差与 $v$ 无关，不必重跑。第 6 章给出 $\mathrm{KL}_t=\text{常数}_t+w_t\cdot$ 均方误差；$v=0$ 时常数是 0，把刚才的 KL 除以 $w_t$ 就是均方误差，再代入任意的 $v$。

# %%
weights = diffusion_tables(betas, 0.0, "x0")["lvlb_weights"][1:]
each_mse = terms[:, 1:-1].numpy() * math.log(2) / weights  # (16, 999)，t = 1 .. 999


def kl_bits(v, mse=each_mse):
    """各步的 KL 之和，bits/dim，一张图一个数；只算，不再调用网络"""
    return (kl_constants(betas, v)[1:] + diffusion_tables(betas, v, "x0")["lvlb_weights"][1:] * mse).sum(-1) / math.log(2)


saved = kl_bits(0.0) - kl_bits(0.5)
print(f"单独看：v=0 是 {kl_bits(0.0).mean():.1f} ± {kl_bits(0.0).std(ddof=1) / 4:.1f}，v=0.5 是 {kl_bits(0.5).mean():.1f} ± {kl_bits(0.5).std(ddof=1) / 4:.1f}")
print(f"逐图相减：省 {saved.mean():.2f} ± {saved.std(ddof=1) / 4:.2f}")

# %% [markdown]
# 单独看，两个数的误差有 0.1，差别淹没在里面；配对之后，差别是标准误的十几倍，一清二楚。
#
# ### 先与直方图比
#
# 3.1 比均匀地猜省了一个比特，听上去不错。可是均匀地猜太弱了。两个同样简单、不用网络的基线：
# 数一数训练集里各级灰度出现的次数，64 个像素共用一张直方图；或者每个像素各用一张。它们给测试图的编码长度，是直方图里那一级的 $-\log_2$ 概率。

# %%
def levels_of(x):
    """[-1, 1] → 第几级，0..16；(N, 64)"""
    return ((x.flatten(1) + 1) * 8).round().long()


def histogram_bits(counts, x):
    """按直方图编码，一张图一个数；每一级先加 1，免得没见过的级概率为 0"""
    p = (counts + 1.0) / (counts + 1.0).sum(1, keepdim=True)
    return -p[torch.arange(64), levels_of(x)].log2().mean(1)


counts = nn.functional.one_hot(levels_of(train), 17).sum(0)  # (64, 17)：每个像素一张直方图
shared, own = histogram_bits(counts.sum(0).expand(64, -1), images), histogram_bits(counts, images)
gap = total - own
print(f"模型比逐像素的直方图多花 {float(gap.mean()):.1f} ± {float(gap.std() / 4):.1f} bits/dim（16 张图，配对）")

# %% [markdown]
# 能画出数字的网络，输给了最笨的直方图，输了 0.7 个比特。难道它连“四角总是黑的”都不知道？
#
# 毛病出在细处。像素只有 17 级，相邻两级差 0.125。走到 $t=10$，$x_t$ 里的噪声（折合到 $x_0$ 上）只有 0.03，哪一级已经一目了然，网络的均方根误差是 0.02，不到半级的三分之一。
# 可是网络把像素当成连续的数，还在往下猜小数，$t$ 每减一步，都要为没有意义的小数位付比特。
# 如果真是这样，让它在最后十步把猜测舍入到最近的一级，比特数就该大降。

# %%
generator, rounded_mse = torch.Generator().manual_seed(0), each_mse.copy()
for t in range(11):
    noise, steps = torch.randn(images.shape, generator=generator), torch.full((16,), t)
    with torch.no_grad():
        guess = model.predict_start(model.q_sample(images, steps, noise), steps, clip_denoised=True)
    if t > 0:
        rounded_mse[:, t - 1] = (((guess + 1) * 8).round() / 8 - 1 - images).square().flatten(1).mean(1)
bars = {"均匀地猜": np.full(16, math.log2(17)), "digits，$v=0$": total, "digits，$v=0.5$": kl_bits(0.5), "共用一张直方图": shared,
        "逐像素的直方图": own, "digits，最后十步舍入": kl_bits(0.0, rounded_mse)}
heights = [float(np.mean(np.asarray(each))) for each in bars.values()]
figure = empty_figure(7.0, 2.6)
ax = plain_axes(figure.subplots())
colors = [BLUE if "digits" in name else GRAY for name in bars]
ax.barh(list(bars), heights, xerr=[np.std(np.asarray(each), ddof=1) / 4 for each in bars.values()], color=colors)
ax.invert_yaxis()
ax.set_axisbelow(True)
ax.set_xlabel("bits/dim（越短越好）")
figure

# %% [markdown]
# 图：同样的 16 张测试图，横线是标准误；蓝的是模型，灰的不用网络，原样的模型连共用一张的直方图也没有赢。“最后十步”是 $t=1$ 到 10。只把这十步的猜测舍入，3.1 就降到 1.9，反超逐像素的直方图半个比特。网络知道的其实不少，只是没学会“像素只有 17 级”，训练的损失也不在乎这件事。
#
# 教训有两条。bits/dim 要先与最简单的基线比，再说好坏；它对眼睛看不见的一点小数极其敏感，与画得好不好是两回事。
# （256 级的图没有这么大的便宜可捡：一级是 $2/255\approx0.008$，与最后一步的噪声差不多宽。）
#
# <details><summary>选读：连续的 bits/dim 不能与离散的比</summary>
#
# 离散的像素，$L_0$ 用格子里的面积（第 6 章）；连续的数据，用高斯密度的负对数（`gaussian_nll`）。格宽记作 $\delta$，标准差远大于格宽时，面积约等于密度乘格宽，所以离散的比特数约等于连续的减去 $\log_2\delta$。$[-1,1]$ 上分 256 级，$\delta=2/255$，相差将近 7 比特。
# 连续的还会随单位变：数据除以 2，它就少 1。它也可以是负的：$\sigma=0.1$ 的高斯，均值处是 $\tfrac12\log_2(2\pi\cdot0.01)=-2.00$ 比特。报告时要说清是几级像素，还是连续。
#
# </details>

# %% [markdown]
# ## 4　Fréchet 距离：像不像一批真图
#
# bits/dim 看不见样本。要看样本，就拿一批样本与一批真图比。先看一维：两堆土，把第一堆搬成第二堆，最少要搬多远？

# %%
def bell(x, mean, std):
    return np.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


x = np.linspace(-6, 7, 400)
figure = empty_figure(7.0, 2.8)
ax = plain_axes(figure.subplots())
ax.fill_between(x, 0.1, 0.1 + bell(x, 0, 1), color=BLUE, alpha=0.4, label="第一堆：均值 0，标准差 1")
ax.fill_between(x, -0.1, -0.1 - bell(x, 1, 2), color=ORANGE, alpha=0.4, label="第二堆：均值 1，标准差 2")
for start in (-2, -1, 0, 1, 2):
    ax.annotate("", (1 + 2 * start, -0.1), (start, 0.1), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2})
ax.set(xlabel="位置", yticks=())
ax.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper left")
figure

# %% [markdown]
# 图：上面的土搬到下面，箭头是最省的搬法：最左的送到最左，最右的送到最右，箭头不交叉。
#
# 设搬运把 $x$ 送到 $y$，搬动距离的平方平均是
#
# $$\mathbb E(x-y)^2 = (\mu_1-\mu_2)^2+\sigma_1^2+\sigma_2^2-2\,\mathrm{Cov}(x,y)\;\ge\;(\mu_1-\mu_2)^2+(\sigma_1-\sigma_2)^2,$$
#
# 因为协方差不超过 $\sigma_1\sigma_2$。线性的搬法 $y=\mu_2+\tfrac{\sigma_2}{\sigma_1}(x-\mu_1)$ 取到等号。图里是 $(0-1)^2+(1-2)^2=2$。注意它是平方：两堆土隔 3 远，它是 9。
#
# 多维时道理相同，只是 $\sigma_1\sigma_2$ 换成 $\mathrm{tr}\,\mathrm{Cov}(x,y)$ 能达到的最大值 $\mathrm{tr}\,(\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2})^{1/2}$（证明见 Dowson 与 Landau 1982）。于是
#
# $$\|\mu_1-\mu_2\|^2+\mathrm{tr}\Big(\Sigma_1+\Sigma_2-2\,(\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2})^{1/2}\Big).$$
#
# 两批图的特征各拟合一个高斯，两个高斯之间最省的搬运代价（2-Wasserstein 距离的平方）就叫 Fréchet 距离。

# %%
show_source(frechet_distance,
            "def frechet_distance", "x, y = x.double()", "cov_x, cov_y =", "# tr (Σ1 Σ2)^½", "return float")

# %% [markdown]
# - ① 输入是两组特征，一行一个样本；形状不对就报错。
# - ② 换成 float64，算均值之差的平方。
# - ③ 算两个协方差；只有一维时 `torch.cov` 给出标量，要变回矩阵。
# - ④ 求 $\Sigma_1$ 的平方根，左右各乘在 $\Sigma_2$ 上，得到对称矩阵，再把它的特征值开方求和。舍入会给出极小的负数，截到 0。
# - ⑤ 照公式相加；同一组数据会得到 $-10^{-13}$ 之类的数，也截到 0。
#
# 特征从哪里来？不用像素：数字挪一格，像素的距离就很大。`FrechetDistance` 用一个小分类器倒数第二层的 32 个数。
#
# 它只比较均值与协方差，所以有一个盲点：两批点的形状完全不同，只要这两样相同，距离就是 0。

# %%
generator = torch.Generator().manual_seed(0)
coin = torch.randint(0, 2, (100_000, 1), generator=generator).double() * 2 - 1
gauss = torch.randn(100_000, 1, generator=generator, dtype=torch.float64)
check("只取 ±1 的硬币与标准高斯，距离几乎是 0", frechet_distance(coin, gauss), 0.0, atol=1e-3)
check("与自己放大三倍、再挪开 1 的结果：1² + (1-3)²", frechet_distance(coin, 1.0 + 3.0 * coin), 5.0, atol=0.05)

# %% [markdown]
# ### 样本少，距离就偏大
#
# 两批各 $N$ 个点来自同一个分布，真正的距离是 0，算出来却总大于 0，因为均值和协方差都有估计误差。

# %%
d, sizes, generator = 32, (100, 200, 400, 800, 1600, 3200), torch.Generator().manual_seed(0)
bias = [np.mean([frechet_distance(*torch.randn(2, N, d, generator=generator, dtype=torch.float64)) for _ in range(8)]) for N in sizes]
formula = (2 * d + d * (d + 1) / 2) / np.array(sizes)
check("800 个以上：公式准到 5%", np.array(bias[3:]) / formula[3:], np.ones(3), atol=0.05)
score, real_sizes = DigitsFrechet(), (20, 60, 200, 600, 1200)
real = np.array([[score(train[torch.randperm(len(train), generator=generator)[:N]]) for N in real_sizes] for _ in range(8)])
quality = pretrained_card("digits")["quality"]
ours = quality["ddim_10"]["frechet"]
figure = curves_figure((sizes, {"量到的": bias, "公式": formula}, "点数 $N$", "Fréchet 距离", "log", "log"),
                       (real_sizes, {}, "张数 $N$", "Fréchet 距离", "log", "log"))
ax = figure.axes[1]
ax.errorbar(real_sizes, real.mean(0), yerr=real.std(0, ddof=1) / 8**0.5, color=INK, capsize=3, label="$N$ 张真的训练图")
ax.errorbar([1000], [ours["mean"]], yerr=[ours["se"]], color=BLUE, marker="o", capsize=3, label="digits 的 1000 张样本")
few_ticks(ax.xaxis)
few_ticks(ax.yaxis)
ax.legend(fontsize=9, framealpha=0.85, edgecolor="none")
figure

# %% [markdown]
# 图：左边是同一个 32 维标准高斯的两批点，距离与公式（虚线）相合；右边是真的训练图对留出的 500 张真图，误差棒是八次的标准误，蓝点是 `digits` 的一千张样本（DDIM 走 10 步，八个种子）。
# 60 张真图的得分有 80 上下，比一千张样本的 28 还“差”；一千张真图只有 11。所以**张数不同的距离不能比**；要说一个距离好不好，就拿同样多的真图来比。
#
# <details><summary>选读：公式从哪里来，FID 为什么要五万张</summary>
#
# 数据取 $\mathcal N(0,I)$，$d$ 维，两批各 $N$ 个。均值之差的平方平均是 $2d/N$。
# 协方差的误差很小时，$(\sqrt{1+a}-\sqrt{1+b})^2\approx\tfrac14(a-b)^2$；矩阵在单位阵附近开方也是这样，每个元素的误差减半。
# $d$ 个对角元的误差方差各是 $2/N$，$d(d-1)$ 个非对角元各是 $1/N$，两批之差再加倍，乘上 $\tfrac14$，合起来是 $d(d+1)/(2N)$。所以
#
# $$\text{偏差}\approx\frac{2d+d(d+1)/2}{N}.$$
#
# 它与 $1/N$ 成正比，维数大时大致随 $d^2$ 涨。不要把 FID 的 $d=2048$、$N=50\,000$ 直接代进去：公式假设协方差是单位阵，而 Inception 的特征方差小，又挤在少数几个方向上，偏差远没有这么大。
# “随 $1/N$ 降、随维数涨”这一点不变，所以论文都用五万张。
#
# 两个 FID 要能比，须用同一份 Inception 网络、同一批参照的真图、同样的张数、同样的缩放与预处理。`ddpm_edu.evaluation.fid.inception_fid` 备好了算法，网络的权重要自己提供。
#
# </details>
#
# 参照线不是硬的界：两批真图之间有抽样误差，样本也有，谁大谁小看运气。样本的距离低于 `frechet_floor`，不说明“比真图还真”，只说明这把尺子量到头了。
#
# ### 换一个方差，换几步
#
# 按 bits/dim，$v=0.5$ 比 $v=0$ 低 0.16，$v=1$ 也比 $v=0$ 低约 0.06（第 6 节的图）。样本也是这样吗？**先猜一猜**。看 `digits` 的卡片里存的结果，祖先采样，每点八个种子，各 1000 张。

# %%
steps = (5, 10, 20, 50)
low, high = ([quality[f"ancestral_{n}{mark}"]["frechet"] for n in steps] for mark in ("", "_v1"))
figure = empty_figure(7.0, 3.0)
ax = plain_axes(figure.subplots())
for name, scores, color, style in (("$v=0$", low, BLUE, "-"), ("$v=1$", high, ORANGE, "--")):
    ax.errorbar(steps, [one["mean"] for one in scores], yerr=[one["se"] for one in scores], color=color, linestyle=style, capsize=3, label=name)
ax.axhline(quality["frechet_floor"]["mean"], color=INK, linestyle=":", label="1000 张真图")
ax.set(xlabel="采样的步数", ylabel="Fréchet 距离", xscale="log", yscale="log", xticks=steps)
few_ticks(ax.xaxis)
few_ticks(ax.yaxis)
ax.legend(fontsize=9, framealpha=0.85, edgecolor="none")
for n, a, b in zip(steps, low, high):
    gap = np.subtract(b["each"], a["each"])  # 种子相同，起点就相同，逐个种子相减
    print(f"{n:2} 步：v=1 比 v=0 大 {gap.mean():.1f} ± {gap.std(ddof=1) / 8**0.5:.1f}")
figure

# %% [markdown]
# 图：误差棒是标准误。步数越少，$v=1$ 越吃亏；20 步时的差约是标准误的六倍，50 步就分不出了。
#
# 这与 bits/dim 并不矛盾，两处量的不是同一条链：bits/dim 算的是走满一千步、主要由最小的 $t$ 决定的编码长度，这里是只走 5 到 50 步的样本。要压缩数据，看前者；要几步画好图，看后者。
#
# ## 5　揭晓：一个死记硬背的模型
#
# 甲没有网络，只有训练集。它把训练图 $x_i$ 加权平均，作为 $\hat x_0$，权重正比于 $\exp\big(-\|x_t-\sqrt{\bar\alpha_t}\,x_i\|^2/2(1-\bar\alpha_t)\big)$，即 $x_i$ 加噪成 $x_t$ 的可能性。
# 这是“训练集就是全部数据”时的最优解，训练损失的全局最低点。死记硬背 (memorization) 的模型，走到头就是它。

# %%
class Memorizer(nn.Module):
    """有限个训练图上的最优去噪器，换算成速度 v"""

    def __init__(self, images, alphas_cumprod):
        super().__init__()
        self.register_buffer("images", images.flatten(1))
        self.register_buffer("alphas_cumprod", alphas_cumprod.float())
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x, t):
        out = torch.empty_like(x)
        for step in t.unique():
            bar, flat = float(self.alphas_cumprod[step]), x[t == step].flatten(1)
            guess = ideal_start(flat, self.images, bar)
            out[t == step] = ((bar**0.5 * flat - guess) / (1 - bar) ** 0.5).view(-1, *x.shape[1:])
        return self.scale * out


jia = load_pretrained("digits")
jia.use_ema = False  # EMA 的那份权重是原来的网络的
jia.model.diffusion_model = Memorizer(train, model.exact_table("alphas_cumprod"))
jia.eval()
print("甲：没有网络，只存了", len(train), "张训练图")

# %%
copies, fresh = (generate(one, 10, batch_size=10, steps=10, use_ema=False, progress=False)[0] for one in (jia, model))
closest = [train[torch.cdist(drawn.flatten(1), train.flatten(1)).argmin(1)] for drawn in (copies, fresh)]
rows = nn.functional.interpolate(torch.cat([copies, closest[0], fresh, closest[1]]), size=28, mode="bilinear")
grid_figure(rows, nrow=10, rows=["甲的样本", "最近的图", "网络的样本", "最近的图"])

# %% [markdown]
# 图：第一、三行是甲与 `digits` 从同样的噪声画出的样本，第二、四行是训练集里离它们最近的图（原图 8×8，放大到 28×28 显示）。
# 甲的每一张都与训练图一模一样；网络的样本有几张很像训练图，但不是同一张。只看第一行，谁也挑不出毛病。
#
# 现在三把尺子一起上，再加一条：1000 张样本离最近的训练图有多远。

# %%
recited = evaluate(jia, DigitsDataModule(), max_images=16, num_samples=0, progress=False)
drawn = [generate(jia, 1000, batch_size=1000, seed=seed, steps=10, use_ema=False, progress=False)[0] for seed in range(8)]
theirs = np.array([score(images) for images in drawn])
near = quality["neighbours"]  # digits 的样本与测试图，离训练图的距离的中位数
table = {
    "训练损失": (held_loss(model, train[:64]), held_loss(jia, train[:64])),
    "留出损失": (held_loss(model, test[:64]), held_loss(jia, test[:64])),
    "bits/dim": (float(total.mean()), recited["bits_per_dim"]),
    "Fréchet 距离": (ours["mean"], theirs.mean()),
    "离最近的训练图": (near["median"], float(nearest_distances(drawn[0], train).median())),
}
for name, (network, other) in table.items():
    print(f"{name}：digits {network:.2g}，甲 {other:.2g}" if other < 100 else f"{name}：digits {network:.2g}，甲 {round(other, -2):.0f}")
gap = ours["each"] - theirs  # 种子相同，起点就相同
check("Fréchet 距离，逐个种子相减：digits 比甲大", gap.mean(), 8.5, atol=0.5)
check("相差是标准误的三倍以上", gap.mean() > 3 * gap.std(ddof=1) / 8**0.5, True)

# %% [markdown]
# 训练损失与 Fréchet 距离都判甲胜。前者低四成，因为它见过答案；后者是 20 对 28（相差 8.5 ± 1.5），因为它的样本本来就是真图。
# （它仍比同样多的真图的 11 大：只走 10 步，抽中各张训练图的机会不均匀，可能是原因。）
#
# 留出损失和 bits/dim 一眼看穿它：没见过的图，它给的概率几乎是零，连最后一步的 $L_0$ 也猜错好几级灰度。
# 最直接的是最后一行：甲的样本离训练集的距离是 0，`digits` 的样本是 2.1，与测试图的一样远。

# %% [markdown]
# ## 6　选读：下界的账，方差该取多少
#
# 第 3 节把 $v$ 从 0 换成 0.5，bits/dim 就降了 0.16。最好的方差是多少？
#
# 真实的 $q(x_{t-1}\mid x_t)$ 的平均方差记作 $a_t$，它是后验的方差加上猜 $x_0$ 的误差：$a_t=\tilde\beta_t+c_1^2\,\mathbb E(x_0-\hat x_0)^2$，$c_1$ 是后验均值里 $x_0$ 的系数（第 4 章）。
# 那一章还算过 $\beta_t-\tilde\beta_t=c_1^2(1-\bar\alpha_t)$。令
#
# $$v^*_t=\frac{\mathbb E(x_0-\hat x_0)^2}{1-\bar\alpha_t},\qquad\text{则}\quad a_t=(1-v^*_t)\,\tilde\beta_t+v^*_t\,\beta_t:$$
#
# 真实的方差，恰好是 `v_posterior` 取 $v^*_t$ 时的方差。高斯数据 $\mathcal N(0,s^2)$ 上 $v^*_t=s^2/D_t$（第 2 节）。
#
# **它在 0 与 1 之间**，只要 $\mathbb E x_0^2\le1$。完美的 $\hat x_0$ 的误差不超过任何别的猜法，取 $\sqrt{\bar\alpha_t}\,x_t$ 来猜：
#
# $$\mathbb E(x_0-\hat x_0)^2\le\mathbb E\big(x_0-\sqrt{\bar\alpha_t}\,x_t\big)^2=(1-\bar\alpha_t)^2\,\mathbb E x_0^2+\bar\alpha_t(1-\bar\alpha_t)\le1-\bar\alpha_t.$$
#
# **它是最好的。** 第 $t$ 步的 KL 平均是 $\tfrac12\big[\ln(\sigma_t^2/\tilde\beta_t)+a_t/\sigma_t^2-1\big]$。减去它在 $\sigma_t^2=a_t$ 处的值，记 $x=a_t/\sigma_t^2$，多付的是 $\tfrac12(x-1-\ln x)\ge0$，等号只在 $x=1$ 时成立。
#
# **最好的时候付多少？** 高斯数据配完美的去噪器，每一步都用 $a_t$ 时，$p_\theta(x_{t-1}\mid x_t)$ 处处等于 $q(x_{t-1}\mid x_t)$。把 $L$ 里的 $\prod p_\theta$ 换成 $\prod q$，再用 $q(x_{0:T})=q(x_T)\prod q(x_{t-1}\mid x_t)$：
#
# $$L = \mathbb E_q\Big[-\ln\frac{p(x_T)}{q(x_T)} - \ln q(x_{0:T}) + \ln q(x_{1:T}\mid x_0)\Big] = \mathbb E[-\ln q(x_0)] + \mathrm{KL}\big(q(x_T)\,\|\,p(x_T)\big).$$
#
# 第一项是数据的熵，谁也省不掉；第二项是起点抽错了分布的代价，这里是 $\tfrac12(D-1-\ln D)$，$D$ 取最后一步的 $D_t$。例如 $\mathcal N(0,1)$ 的数据，不论噪声表，合计都是 2.0471（第 6 章），$L_0$ 与各步的 KL 却此消彼长，所以跨噪声表比较其中一部分没有意义。
#
# $v^*_t$ 随 $t$ 变，`v_posterior` 却是一个常数，处处都对是做不到的。`digits` 上量出来是什么样？均方误差第 3 节已经有了。

# %%
bar, mixes, mse = model.exact_table("alphas_cumprod").numpy(), np.linspace(0, 1, 101), each_mse.mean(0)
curve, best_v = [kl_bits(v, mse) for v in mixes], mse / (1 - bar[1:])
edges = np.unique(np.geomspace(1, 999, 25).round().astype(int))  # 一步一步看抖得厉害，按 t 的对数分段取平均
middle, smooth = (np.array([values[i - 1:k - 1].mean() for i, k in zip(edges, edges[1:])]) for values in (np.arange(1, 1000), best_v))
s = float(train.std())
figure = curves_figure((mixes, {"": curve}, "$v$", "各步的 KL 之和，bits/dim"),
                       (middle, {"digits 上量到的": smooth}, "步号 $t$", "$v^*_t$", "log", "linear"))
lowest = int(np.argmin(curve))
figure.axes[0].plot(mixes[lowest], curve[lowest], "o", color=INK)
figure.axes[1].plot(range(1, 1000), s**2 / (bar[1:] * s**2 + 1 - bar[1:]), color=ORANGE, linestyle="--", label="同样标准差的高斯")
for edge in (0, 1):
    figure.axes[1].axhline(edge, color=GRAY, linewidth=0.8)
figure.axes[1].legend(fontsize=9, framealpha=0.85, edgecolor="none")
check("最低处的 v", mixes[lowest], 0.5, atol=0.1)
a = (1 - best_v) * diffusion_tables(betas)["posterior_variance"][1:] + best_v * betas[1:]
each_best = 0.5 * np.log(a / diffusion_tables(betas)["posterior_variance"][1:]).sum() / math.log(2)
check("每一步各用自己的 v*，比最好的常数 v 只再省不到 0.01", 0 < curve[lowest] - each_best < 0.01, True)
figure

# %% [markdown]
# 图：左边是 `digits` 各步的 KL 之和随 $v$ 的变化，圆点是最低处；右边是量到的 $v^*_t$（横轴按对数分段取了平均），灰线是两端的 0 与 1，虚线是标准差相同、像素互相独立的高斯数据的理论值。
# 量到的处处比虚线低。$t$ 小处可能主要因为许多像素恰好是黑的，一猜就准；$t$ 大时像素还能互相印证。
#
# 对这个模型，最好的常数 $v$ 在 0.5 附近。这是这个网络的数，不是定律：完美的去噪器在极小的 $t$ 会把像素归到最近的一级，那里 $v^*_t$ 趋于 0。
#
# ## 7　源码速查
#
# 前面用到的几个函数，第一遍可以跳过。

# %%
show_source(evaluate,
            "def evaluate", "check_same_size(model, data_module)", "with model.ema_scope()", "if num_samples and frechet is None:",
            "if num_samples and frechet is not None:")

# %% [markdown]
# - ① 参数与返回的字典；全是数，可以直接存成 JSON。
# - ② 尺寸、张数、种子，在算任何东西之前查完。
# - ③ 用 EMA 权重，从测试划分固定地选出一批图，算 bits/dim。像素的级数取自数据模块，还要核对像素是不是真在那些级上：不在，算出来的就不是编码长度。
# - ④ 没有给 Fréchet 的打分器就取一个：数字有随包的分类器，别的数据现训一个，没有标签的就不算。
# - ⑤ 采样、打分，连两条参照线和样本数一起写进报告；真图的参照线也取同样多张。

# %%
show_source(bits_report, "def bits_report", "count = sum(", "bar = progress_bar", "hook = model.model.register_forward_hook(tick)", "total = terms.sum(1)")

# %% [markdown]
# - ① 输入是若干批（图，条件）；返回总数、标准误和三个部分，单位都是 bits/dim。
# - ② 至少要两张图，否则谈不上标准误。
# - ③ 进度条按“网络被调用几次”来数。
# - ④ 用一个前向钩子推动进度条，算完无论成败都摘掉；各批的结果首尾相接。
# - ⑤ 每张图先把各项加起来（`terms.sum(1)`），再对图求平均；标准误是各图的标准差除以 $\sqrt N$。

# %%
show_source(gaussian_nll, "def gaussian_nll", "return 0.5")

# %% [markdown]
# - ① 连续数据没有格子，所以没有 `levels`。
# - ② 高斯密度的负对数：$\tfrac12[\ln 2\pi+\ln\sigma^2+(x-\mu)^2/\sigma^2]$。

# %%
show_source(FrechetDistance, "class FrechetDistance:", "def __init__", "@torch.no_grad()", "def __call__", "def floor", "def ceiling")

# %% [markdown]
# - ① 距离在小分类器的特征上算，不在像素上算。
# - ② 真图的特征只算一次，记下来。
# - ③ 取倒数第二层的 32 个数；样本先截到 $[-1,1]$，分块过网络。
# - ④ 求样本的特征与真图的特征之间的距离。
# - ⑤ 训练用的真图对留出的真图。不给 `train` 就用全部训练图；要与 $N$ 张样本比，就给它 $N$ 张。
# - ⑥ 纯噪声的得分，用来看数值的尺度。

# %%
show_source(quarters, "def quarters")

# %% [markdown]
# - ① 把 $0..T-1$ 分成四段，每段含起点、不含终点。

# %%
show_source(spread, "def spread")

# %% [markdown]
# - ① 在一段里均匀地铺开 `count` 个步号，每次都是同样的几个。

# %%
show_source(quarter_losses, "def quarter_losses", "noise = torch.randn", "for number, (start, stop)")

# %% [markdown]
# - ① 用名字固定的随机数发生器：每次调用，噪声都相同，也不动全局的随机数。
# - ② 噪声在 CPU 上抽，搬到数据所在的设备，换了机器也一样。
# - ③ 四段各铺开一批 $t$，用训练的损失 `p_losses` 去量；空的那段跳过。
#
# ## 小结
#
# - 该信哪个数？哪一个也不能单独信。甲是死记硬背的模型：训练损失低四成，Fréchet 距离 20 对 28，两项都赢；没见过的图却要 3200 bits/dim，比均匀地猜还差七百多倍。
# - 一次的损失会抖，高低由目标定，也不管误差落在哪一步；要比较，就固定 $t$ 与噪声，训练图与留出的图分开量。
# - bits/dim 六成花在前 30 步，九成以上花在前 300 步。250 张图的误差约 0.03，更小的差别要靠配对。它要先与直方图比：我们的模型 3.1，输给逐像素直方图的 2.4；最后十步舍入之后是 1.9。
# - Fréchet 距离是两个拟合高斯之间的搬运代价，张数少就偏大，大致与 $1/N$ 成正比，一千张真图自己也有 11，所以只与同样多的真图比；它看不出抄袭，还要量样本离训练集多远。
# - 按 bits/dim，最好的采样方差在 $\tilde\beta_t$ 与 $\beta_t$ 之间，对这个模型 $v$ 在 0.5 附近，不必重跑就能算；几步画图则不然，$v=0$ 比 $v=1$ 好。
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
# `tilde`、`betas`、`kl` 是等长的 NumPy 数组，`tilde` 是 $\tilde\beta_t$，`v` 是 $[0,1]$ 里的数；返回同样长的数组。第 3 节用过这个办法。

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
# 收到一个 8×8 数字的模型：训练损失 0.25，留出损失 0.26；Fréchet 距离 28，同样多的真图是 11；bits/dim 3.1，逐像素直方图 2.4；样本离训练图 2.1，测试图离训练图也是 2.1。哪句话有依据？
#
# - A：它背了训练集。
# - B：它画不出数字。
# - C：没有抄训练集的迹象；bits/dim 输给直方图，样本离真图还有差距。
# - D：它连直方图都不如，样本一定比从直方图里逐个像素抽出来的还糟。

# %%
grade("15.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 15.5　不能再少的比特 ★★
#
# 连续的数据 $\mathcal N(0, 0.5^2)$，`linear`，$T=1000$，完美的去噪器，每一步用最好的方差。它是多少 bits/dim？填到小数点后四位。

# %%
grade("15.5", None)  # 把 None 换成一个数
