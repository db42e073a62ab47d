# %% [markdown]
# # 15 · 评估
#
# 同学交来一个模型，我们叫它“甲”，样本张张像真的。拿它与随课程发布的 `digits` 比，量出三个数：
#
# | | 甲 | `digits` | 谁好 |
# |:--|--:|--:|:--|
# | 训练图上的损失 | 0.15 | 0.26 | 甲 |
# | Fréchet 距离，越小越像真图 | 20 | 28 | 甲 |
# | 没见过的图，每个像素至多要几个比特 | 三千多 | 3.1 | `digits` |
#
# 最后一行里，什么都不学、均匀地猜，也只要 4.09 个比特。两个数说甲好，一个说它坏得离谱，该信哪一个？这一章先弄懂这三把尺子，再补一把查抄袭的，揭晓甲是什么。
#
# **学习目标**
#
# - 说清损失不能说明什么。
# - 说出 bits/dim 花在哪些步上，会用配对的办法与直方图比。
# - 推出 Fréchet 距离，会用参照线看它的好坏。
# - 用留出的图与最近的训练图，查出死记硬背的模型。
#
# **预计用时** 50 分钟。运行全部单元约 40 秒。

# %%
import math

import numpy as np
import torch
from torch import nn

from ddpm_edu import DigitsDataModule, load_pretrained
from ddpm_edu.data.base import random_images
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.metrics import DigitsFrechet, frechet_distance
from ddpm_edu.evaluation.report import evaluate
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.generate import generate
from ddpm_edu.likelihood import vlb_terms
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.teach import show_source
from ddpm_edu.teach.evaluation_figures import bars_figure, circles_figure, cumulative_figure, jitter_figure, sample_sizes_figure, transport_figure
from ddpm_edu.training.timestep_loss import quarter_losses, quarters

train, val, test = (load_digits_split()[name][0] for name in ("train", "val", "test"))
model, quality = load_pretrained("digits"), pretrained_card("digits")["quality"]
print(f"训练图 {len(train)} 张，验证图 {len(val)} 张，测试图 {len(test)} 张")

# %% [markdown]
# ## 1　三把尺子，问三个问题
#
# 损失问：随机的一步 $t$ 上，猜得准不准？bits/dim 问：没见过的真图，模型给的概率有多高？Fréchet 距离问：一批样本像不像一批真图？
#
# 损失在训练时就看得到，后两个数由 `evaluate` 来算。bits/dim 每张图要走满一千步，所以只取 16 张；样本每张只走 10 步。在终端里运行（约半分钟）
#
# `python -m ddpm_edu evaluate --ckpt digits --data digits --num 16 --samples 1000 --steps 10`
#
# 就得到下面这些数：
#
# | 字段 | `digits` 的 | 意思 |
# |:--|--:|:--|
# | `bits_per_dim` | 3.12 | 记下一张没见过的图，平均每个像素至多要几个比特，越小越好 |
# | `bits_per_dim_se` | 0.10 | 它的标准误 (standard error) |
# | `frechet` | 24 | 1000 张样本与 500 张留出的真图之间的距离，越小越像 |
# | `frechet_floor` | 12 | 参照线：同样多的训练图，与那些真图之间的距离 |
#
# 后两个数，换一个种子就会变：八个种子的 `frechet` 从 20 到 40，平均 28 ± 2；`frechet_floor` 平均 11。下文用平均；第 5 节与甲比，要逐个种子相减。
#
# ## 2　损失不能说明什么
#
# 图、$t$、噪声与网络的预测目标都相同时，损失低的猜得更准。可是有三件事，它不能说明。
#
# **第一，一次的损失高低不算数。** 每批抽到的 $t$ 与噪声不同，所以权重一动不动，损失也上下跳。

# %%
def by_quarter(model, x):
    """四段 t 上的损失；t 与噪声固定，每次调用结果相同"""
    with torch.no_grad():
        return torch.stack(list(quarter_losses(model, x).values()))


draws = torch.Generator().manual_seed(5)
with torch.no_grad():
    jumping = [float(model(test[:64], generator=draws)[0]) for _ in range(40)]
jitter_figure(jumping, float(by_quarter(model, test[:64]).mean()))

# %% [markdown]
# 图：权重没有动，损失照样上下跳。同一批 64 张图，量了 40 次，每次另抽 $t$ 与噪声。黑线是固定 $t$ 与噪声量出的，量多少次都是这个数。
#
# 所以比较时要固定 $t$ 与噪声，`quarter_losses` 就是这样做的。
#
# **第二，换了目标，损失就不能比。** 网络猜 $\varepsilon$、猜 $x_0$ 还是猜速度 $v$，说的是同一件事，误差却差着随 $t$ 变的倍数（第 6 章）。
# 第 5 章求过高斯数据 $\mathcal N(0,s^2)$ 的完美去噪器，取 $s=0.5$，看它的三种误差：

# %%
betas, bar = (model.exact_table(name).numpy() for name in ("betas", "alphas_cumprod"))
mse = 0.25 * (1 - bar) / (0.25 * bar + 1 - bar)  # 猜 x0 的均方误差，一步一个
for name, values in (("x0", mse), ("ε", mse * bar / (1 - bar)), ("v", mse / (1 - bar))):
    print(f"完美的模型，猜 {name}：各步平均 {values.mean():.2f}")

# %% [markdown]
# 同一个已经不能再好的模型，三个数相差几倍。
#
# **第三，它不管误差落在哪一步。** 把 $t$ 分成四段，假定网络的输出只在其中一段上偏了 0.2，偏差与原来的误差无关。不论偏在哪一段，损失都多 $0.2^2/4=0.01$。
# bits/dim 却把第 $t$ 步的误差乘上权重再加起来。`digits` 猜的是速度，所以用第 6 章的 $w^v_t$：

# %%
weights_v = diffusion_tables(betas, 0.0, "v")["lvlb_weights"]
for start, stop in quarters(1000):
    bits = weights_v[max(start, 1):stop].sum() * 0.2**2 / math.log(2)  # t=0 那一步算在 L_0 里，不在这里
    print(f"偏在 t = {max(start, 1):3} 到 {stop - 1:3}：损失 +0.01，bits/dim +{bits:.2g}")

# %% [markdown]
# 同样的 0.01，落在第一段与落在第四段，比特数差近六十倍。那么比特究竟花在哪里？
#
# ## 3　bits/dim：比特花在哪里，花得多不多
#
# 记下一件概率是 $1/8$ 的事，要 $\log_2 8=3$ 个比特。模型给真图的概率越高，要的比特就越少。
# 第 6 章给了这个概率的对数一个下界，取负号就是比特数的上界。除以像素数，换成比特，就是 bits/dim。
#
# 这个界是许多项的和，一步一项：$L_0$（最后一步猜像素）、$t=1,\dots,T-1$ 各步的 KL，还有几乎为 0 的 $L_T$。取第 1 节的 16 张测试图，从 $t=0$ 一路往上加：

# %%
images = random_images(DigitsDataModule().dataset("test"), 16)["image"]
terms = vlb_terms(model, images, levels=17, generator=torch.Generator().manual_seed(0)) / math.log(2)
total = terms.sum(1)  # 一项一列：L_0、999 项 KL、L_T
cumulative_figure(terms.mean(0)[:-1].numpy(), (1, 10, 30, 300))

# %% [markdown]
# 图：比特大半花在小 $t$。横轴是步号（对数），纵轴是加到这一步的比特数，16 张图的平均。左端从 $t=1$ 画起，$L_0$ 几乎是 0。
#
# 一千步里，头三十步就花去六成。这几十步噪声很小，改动的只是细节，bits/dim 的高低却大半由它们决定。
#
# ### 3.12 算好吗？先与直方图比
#
# 像素有 17 级，均匀地猜要 $\log_2 17=4.09$ 个比特，3.12 省了一个。再请两个不用网络的对手：数训练集里各级灰度的次数，64 个像素共用一张直方图，或者各用一张。记下一个像素，要直方图里那一级的 $-\log_2$ 概率个比特。
#
# 怎样比才准？各图的难易不同，16 张图的平均，标准误有 0.10（第 6 章另取 16 张，得 3.16）。要分辨更小的差别，靠**配对**：两个同学做同一张卷子，卷子难不难，一减就没了。两个模型也用同一批图，逐图相减。**先猜一猜**：网络能赢几个？

# %%
def levels_of(x):
    """[-1, 1] → 第几级，0..16；(N, 64)"""
    return ((x.flatten(1) + 1) * 8).round().long()


def histogram_bits(counts, x):
    """按直方图编码，一张图一个数；每一级先加 1，免得没见过的级概率为 0"""
    p = (counts + 1.0) / (counts + 1.0).sum(1, keepdim=True)
    return -p[torch.arange(64), levels_of(x)].log2().mean(1).numpy()


def mean_se(values):
    """平均 ± 标准误，写成字"""
    values = np.asarray(values)
    return f"{values.mean():.2f} ± {values.std(ddof=1) / len(values)**0.5:.2f}"


# %%
counts = nn.functional.one_hot(levels_of(train), 17).sum(0)  # (64, 17)：每个像素一张直方图
shared, own = histogram_bits(counts.sum(0).expand(64, -1), images), histogram_bits(counts, images)
for name, rival in (("共用一张", shared), ("逐像素一张", own)):
    print(f"{name} {mean_se(rival)}；逐图相减，模型多花 {mean_se(total.numpy() - rival)}")

# %% [markdown]
# 一个也没有赢。不配对，这两个差的标准误都是 0.11。能画出数字的网络，怎么会输给数数？
#
# 上一张图给了线索：头十步就花去四成。这几步本该几乎不花比特：$t=3$ 时噪声只有 0.014，而相邻两级灰度差 0.125，一看就知道是哪一级。莫非网络把像素当成连续的数，没有用上“只有 17 级”？
#
# 试一试：在 $t=1$ 到 10 这十步，把网络猜的 $\hat x_0$ 舍入到最近的一级，其余各步照旧。$\hat x_0$ 可以是 $x_t$ 的任何函数，换了猜法，仍是合法的上界。
#
# 第 6 章给出，`v_posterior=0` 时，$\mathrm{KL}_t$ 等于权重 $w^{x_0}_t$ 乘 $\hat x_0$ 的均方误差，所以只要换掉这十步的均方误差。

# %%
weights_x0 = diffusion_tables(betas, 0.0, "x0")["lvlb_weights"]
rounded, noise = terms.clone(), torch.Generator().manual_seed(0)
for t in range(1, 11):
    steps = torch.full((16,), t)
    x_t = model.q_sample(images, steps, torch.randn(images.shape, generator=noise))
    with torch.no_grad():
        guess = levels_of(model.predict_start(x_t, steps)) / 8 - 1
    rounded[:, t] = weights_x0[t] * (guess - images.flatten(1)).square().mean(1) / math.log(2)
print(f"这十步：原来 {mean_se(terms[:, 1:11].sum(1))}，舍入之后 {mean_se(rounded[:, 1:11].sum(1))}")
rounded = rounded.sum(1)
print(f"逐图相减：比 digits 少 {mean_se(total - rounded)}，比逐像素的直方图少 {mean_se(own - rounded.numpy())}")
bars_figure({"均匀地猜": [math.log2(17)] * 16, "共用一张直方图": shared, "逐像素一张直方图": own},
            {"digits": total, "digits，$t\\leq10$ 舍入": rounded})

# %% [markdown]
# 图：头十步的输出舍入以后，网络才赢了数数。条长是同样 16 张测试图的平均，短横线是标准误；灰的不用网络，蓝的用网络。
#
# 猜对了：权重没有动，只把输出舍入，这十步就从 1.27 降到 0.07，总数从 3.12 降到 1.92，赢了逐像素的直方图。网络输给数数，是因为没有用上“像素只有 17 级”。所以看到一个 bits/dim，先与最简单的基线比，再查差别出在哪几步。

# %% [markdown]
# ## 4　Fréchet 距离：像不像一批真图
#
# bits/dim 看不见样本。要看样本，就拿一批样本与一批真图比。第 13 章给过 Fréchet 距离的公式，这里推它。先看一维：两堆土，把第一堆搬成第二堆，最少要搬多远？

# %%
transport_figure()

# %% [markdown]
# 图：最省的搬法，是最左的送到最左，最右的送到最右，箭头不交叉。横轴是位置，上面的土（蓝）搬到下面（灰）。
#
# 设搬运把 $x$ 送到 $y$，搬动距离的平方平均是
#
# $$\mathbb E(x-y)^2 = (\mu_1-\mu_2)^2+\sigma_1^2+\sigma_2^2-2\,\mathrm{Cov}(x,y)\;\ge\;(\mu_1-\mu_2)^2+(\sigma_1-\sigma_2)^2,$$
#
# 因为协方差不超过 $\sigma_1\sigma_2$。两堆都是高斯时，线性的搬法 $y=\mu_2+\tfrac{\sigma_2}{\sigma_1}(x-\mu_1)$ 恰好凑成第二堆，取到等号。图里是 $(0-1)^2+(1-2)^2=2$。
#
# 多维的高斯道理相同，只是 $\sigma_1\sigma_2$ 换成 $\mathrm{tr}\,\mathrm{Cov}(x,y)$ 能达到的最大值 $\mathrm{tr}\,(\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2})^{1/2}$（证明见 Dowson 与 Landau 1982）。于是
#
# $$\|\mu_1-\mu_2\|^2+\mathrm{tr}\Big(\Sigma_1+\Sigma_2-2\,(\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2})^{1/2}\Big).$$
#
# 两批图的特征各拟合一个高斯，两个高斯之间最省的搬运代价就叫 Fréchet 距离。特征不用像素，因为数字挪一格，像素的距离就很大；这里用一个小分类器倒数第二层的 32 个数。

# %%
show_source(frechet_distance, "def frechet_distance", "# tr (Σ1 Σ2)^½", "return float")

# %% [markdown]
# - ① 两组特征，一行一个样本：算均值之差的平方，再算两个协方差。
# - ② 求 $\Sigma_1$ 的平方根，左右各乘在 $\Sigma_2$ 上，得到对称矩阵，再把它的特征值开方求和。
# - ③ 照公式相加；舍入会给出极小的负数，截到 0。
#
# 它只比较均值与协方差：这两样相同，形状再不同，距离也是 0。
#
# ### 样本少，距离就偏大
#
# 两批图来自同一个分布，真正的距离是 0，算出来却总大于 0，因为均值和协方差都有估计误差。偏大多少？从训练图里随机挑 $N$ 张，对留出的 500 张真图量一量：

# %%
score, sizes, generator = DigitsFrechet(), (20, 60, 200, 600, 1000, 1200), torch.Generator().manual_seed(0)
known, reference = score.features(train), score.features(score.real)
real = np.array([[frechet_distance(known[torch.randperm(len(known), generator=generator)[:N]], reference) for N in sizes] for _ in range(100)])
ours = quality["ddim_10"]["frechet"]
sample_sizes_figure(sizes, real, ours)

# %% [markdown]
# 图：张数越少，距离越大。黑的是训练图里随机挑的 $N$ 张，重抽一百次取平均；蓝点是 `digits` 的一千张样本，走 10 步，八个种子的平均。误差棒是平均的标准误。
#
# 60 张真图约得 67，比 `digits` 一千张样本的 28 还“差”，一千张真图却只有 11。所以**张数不同的距离不能比**。要说一个距离好不好，就拿同样多的真图来比，这就是 `frechet_floor`。
#
# <details><summary>选读：偏大多少，FID 为什么要五万张</summary>
#
# 数据取 $\mathcal N(0,I)$，$d$ 维，两批各 $N$ 个。均值之差的平方平均是 $2d/N$。协方差的误差很小时，$(\sqrt{1+a}-\sqrt{1+b})^2\approx\tfrac14(a-b)^2$；矩阵在单位阵附近开方也是这样，每个元素的误差减半。
# $d$ 个对角元的误差方差各是 $2/N$，$d(d-1)$ 个非对角元各是 $1/N$，两批之差再加倍，乘上 $\tfrac14$，合起来是 $d(d+1)/(2N)$。所以
#
# $$\text{偏差}\approx\frac{2d+d(d+1)/2}{N}.$$
#
# 论文里的 FID 取 $d=2048$ 的特征，维数高，偏差大，所以多用五万张样本。
#
# </details>
#
# ## 5　揭晓甲：它只会背训练图
#
# 甲没有网络，只有训练集。它猜 $\hat x_0$ 的办法，是把训练图 $x_i$ 加权平均，权重正比于 $\exp\big(-\|x_t-\sqrt{\bar\alpha_t}\,x_i\|^2/2(1-\bar\alpha_t)\big)$，也就是 $x_i$ 加噪成 $x_t$ 的可能性。练习 01.3 写的就是它。
#
# 假如世上只有训练集这些图，它就是最优解，所以训练损失平均起来不能再低。死记硬背 (memorization) 的网络，把训练损失压到极限，得到的就是它。下面量的就是这个极限。
#
# 把 `digits` 的网络换成它，从同样的噪声各画十张：

# %%
from ddpm_edu.evaluation.metrics import nearest_distances
from ddpm_edu.teach.evaluation_figures import memorizer_figure, pairs_figure
from ddpm_edu.teach.laboratory import Memorizer

memory, jia = train, load_pretrained("digits").eval()
jia.model.diffusion_model = Memorizer(memory, model.exact_table("alphas_cumprod"))
jia.use_ema = False  # 采样时别换回原来那个网络的 EMA 权重
pairs = {}
for name, one in (("digits", model), ("甲", jia)):
    samples, _ = generate(one, 10, batch_size=10, steps=10, progress=False)
    far, closest = torch.cdist(samples.flatten(1), train.flatten(1)).min(1)
    pairs[name] = samples, train[closest], far
pairs_figure(pairs)

# %% [markdown]
# 图：甲的每一张都是训练图，`digits` 的不是。每一对里，上面是样本，下面是训练集里离它最近的图，列上写着两张图的欧氏距离。
#
# ### 怎样查出抄袭
#
# 只看甲的样本，看不出是抄的。办法有两个：在留出的图上量损失；量样本离最近的训练图有多远。第二个要有参照，因为没见过的真图，离训练图也有远有近：测试图里最近的 1% 离训练图约 1.0，比这还近的样本就算“近得可疑”。**先猜一猜**，甲在哪里露馅？

# %%
losses = {(who, where): by_quarter(one, x) for who, one in (("digits", model), ("甲", jia)) for where, x in (("训练图", train[:64]), ("留出的图", test[:64]))}
drawn = [generate(jia, 1000, batch_size=1000, seed=seed, steps=10, progress=False)[0] for seed in range(8)]
ordinary = generate(model, 500, batch_size=500, steps=10, progress=False)[0]
distances = {"digits": nearest_distances(ordinary, train), "测试图": nearest_distances(test, train), "甲": nearest_distances(torch.cat(drawn), train)}
limit = float(distances["测试图"].quantile(0.01))
for (who, where), values in losses.items():
    print(f"{who}，{where}：第一段的损失 {values[0]:.2f}，四段平均 {values.mean():.2f}")
for name, each in distances.items():
    print(f"{name}：离最近的训练图的中位数 {each.median():.1f}，近得可疑的占 {float((each < limit).double().mean()):.1%}")
memorizer_figure(losses, distances, limit)

# %% [markdown]
# 图：甲在两处露馅。左边是四段 $t$ 上的损失，训练图与留出的图各 64 张。右边是离最近的训练图不超过横轴的，占百分之几；灰底是“近得可疑”。
#
# 先看左边。训练损失甲低四成：两个都见过这些图，只有甲把它们一张张存了下来。到了留出的图上，第一段（$t<250$）甲却是 31，`digits` 只有 0.33。甲只会答训练图，$\hat x_0$ 总要错一些；损失量的是 $v$ 的平方误差，等于 $\hat x_0$ 的平方误差除以 $1-\bar\alpha_t$。$t$ 越小，除数越小，损失越大。
#
# 右边更直接：`digits` 的样本与没见过的真图，离训练图一样远；甲的张张都是 0。
#
# 另外两把尺子怎样评甲：

# %%
recited = evaluate(jia, DigitsDataModule(), max_images=16, num_samples=0, progress=False)
theirs = np.array([score(images) for images in drawn])
gap = theirs - ours["each"]  # 种子相同，起点就相同，逐个种子相减
print(f"bits/dim：digits {float(total.mean()):.1f}，甲 {round(recited['bits_per_dim'], -2):.0f} ± {round(recited['bits_per_dim_se'], -2):.0f}")
print(f"Fréchet 距离：digits {ours['mean']:.0f}，甲 {theirs.mean():.0f}，甲减 digits {gap.mean():.1f} ± {gap.std(ddof=1) / 8**0.5:.1f}")

# %% [markdown]
# bits/dim 一眼看穿了甲，因为它用的是没见过的图。Fréchet 距离却判甲胜，因为它不管样本是画的，还是抄的。相差 8.5 ± 1.5；不配对，标准误是 2.6。
#
# 甲的样本张张是真图，为什么是 20，不是 11？一是有重复：第一个种子的一千张里，不同的只有 692 张。从训练图里有放回地抽一千张，也有这样多的重复，抽一百次，平均 14.7 ± 0.4。二是步数少：甲走一百步，八个种子平均 15.0 ± 1.1。
#
# ## 小结
#
# - 该信哪个数？哪一个也不能单独信。甲只会背训练图，训练损失与 Fréchet 距离却都赢了 `digits`。要查抄袭，就看留出的损失（小 $t$ 那一段最灵），再量样本离训练图多远。
# - 一次的损失会抖，换了目标就不能比，也不管误差落在哪一步。要比较，就固定 $t$ 与噪声，分段量。
# - bits/dim 六成花在头三十步。要分辨小的差别，靠配对；要说好坏，先与直方图比：3.12 输给 2.43，因为没有用上“像素只有 17 级”。
# - Fréchet 距离是两个拟合高斯之间的搬运代价。张数少就偏大，一千张真图自己也有 11，所以只与同样多的真图比。
#
# ## 选读：造错与漏掉，分开量
#
# Fréchet 距离把“造错”与“漏掉”（第 1 章）混成一个数。要分开量，就在点的周围画圈。

# %%
circles_figure()

# %% [markdown]
# 图：精确率看样本落没落进真图的圈，召回率反过来。平面上的示意：样本画出左边一堆真图，漏掉右边一堆，另有四个画歪了。每个圈的半径，是圆心到同类里第三近的那个的距离。
#
# 落进圈的样本占几成，叫**精确率** (precision)；落进圈的真图占几成，叫**召回率** (recall)（Kynkäänniemi 等 2019）。用与 Fréchet 距离同样的 32 个特征，样本与真图各 500 张，八个种子：
#
# | `digits` 走 | 精确率 | 召回率 |
# |:--|--:|--:|
# | 20 步 | 0.888 ± 0.006 | 0.877 ± 0.009 |
# | 10 步 | 0.898 ± 0.006 | 0.856 ± 0.008 |
# | 5 步 | 0.899 ± 0.007 | 0.781 ± 0.007 |
#
# 从 20 步减到 5 步，精确率没有降，丢的是召回率。

# %% [markdown]
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 15.1　配对 ★
#
# `a`、`b` 是两个模型在同样的图上的 bits/dim，等长的 NumPy 数组，一张图一个数。返回三个数：$a-b$ 的平均，它的（配对的）标准误，假如不配对（两个模型各用一批不同的图，张数不变）的标准误。样本标准差除以 $N-1$。

# %%
def compare(a, b):
    # 答案
    n, gap = len(a), a - b
    return gap.mean(), gap.std(ddof=1) / n**0.5, ((a.var(ddof=1) + b.var(ddof=1)) / n) ** 0.5
    # 答案完


grade("15.1", compare)

# %% [markdown]
# ### 15.2　精确率与召回率 ★★
#
# `samples`、`real` 是 float64 的特征，形状 $(N, d)$，张数可以不同。一个点的半径，是它到同批里第 $k$ 个近邻的距离，不算自己。
# 返回两个数：精确率，离某一张真图不超过那张真图的半径的样本，占几成；召回率，离某一个样本不超过那个样本的半径的真图，占几成。距离表用 `torch.cdist`。

# %%
def precision_recall(samples, real, k):
    # 答案
    gap = torch.cdist(samples, real)
    radius_real = torch.cdist(real, real).sort(1).values[:, k]
    radius_samples = torch.cdist(samples, samples).sort(1).values[:, k]
    return (gap <= radius_real).any(1).double().mean(), (gap <= radius_samples[:, None]).any(0).double().mean()
    # 答案完


grade("15.2", precision_recall)

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
# ### 15.4　掺了几张抄来的 ★
#
# 有人在 `digits` 的一千张样本里换掉五十张，换成照抄的训练图。哪个数最先露馅？
#
# - A：样本离最近的训练图多远，取中位数。
# - B：Fréchet 距离。
# - C：近得可疑的样本占几成。
# - D：bits/dim。

# %%
grade("15.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 15.5　不配对要几张图 ★★
#
# 两个模型的 bits/dim 真的差 0.02。逐图的标准差各是 0.45，逐图之差的标准差是 0.048。要让这个差是它的标准误的三倍，配对要 52 张图。不配对，两个模型各用一批不同的图，每批要几张？不是整数就进一。

# %%
grade("15.5", None)  # 把 None 换成一个数

# %% [markdown]
# ### 小实验　背几张，就与网络打平
#
# 改一处，量一量，写三句话。甲背下了全部 1297 张训练图。在第 5 节里，把以 `memory, jia` 开头的一行换成下面的第一行，让它只背随便挑的三百张；从那一格起连着运行三格，最后用第二行数一数，一千张样本里有几张不同的。多试几个张数与种子。
# 先猜：至少要背几张，Fréchet 距离才与 `digits` 的 28 打平？
#
# ```python
# memory, jia = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:300]], load_pretrained("digits").eval()
# print(torch.cdist(drawn[0].flatten(1), train.flatten(1)).argmin(1).unique().numel())
# ```
#
# <!-- 参考答案 -->
# **参考答案**　每行八个种子，每个种子另挑一批图来背，走 10 步画 1000 张；± 后面是标准误。“第一段”是 64 张留出的图上 $t<250$ 的损失，背全部时只有一批图可背，没有误差：
#
# | 背几张 | Fréchet 距离 | 逐个种子减去 `digits` 的 | 一千张里不同的 | 第一段 |
# |--:|--:|--:|--:|--:|
# | 50 | 88 ± 10 | 59 ± 10 | 50 | 78 ± 6 |
# | 100 | 49 ± 5 | 21 ± 4 | 100 | 67 ± 6 |
# | 200 | 36.3 ± 3.5 | 7.9 ± 2.9 | 199 | 51 ± 5 |
# | 300 | 28.3 ± 2.1 | −0.1 ± 1.9 | 289 ± 1 | 44 ± 3 |
# | 600 | 25.5 ± 1.8 | −2.9 ± 2.3 | 484 ± 2 | 37 ± 3 |
# | 1297 | 19.9 ± 1.4 | −8.5 ± 1.5 | 687 ± 5 | 31 |
#
# 背三百张、反复念，就与网络打平，虽然一千张样本里只有 289 张不同的。Fréchet 距离只比均值与协方差，三百张已经把这两样定得差不多。挑到哪三百张也要紧：题目里那一批（种子 0）配八个起点，平均 23.0 ± 1.4。留出的损失骗不过：第一段 `digits` 只有 0.33。
#
# ```python
# def memorized(n, batch, seed):  # batch 定背哪一批，seed 定起点
#     chosen = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(batch))[:n]]
#     jia = load_pretrained("digits").eval()
#     jia.use_ema, jia.model.diffusion_model = False, Memorizer(chosen, model.exact_table("alphas_cumprod"))
#     drawn, _ = generate(jia, 1000, batch_size=1000, seed=seed, steps=10, progress=False)
#     kinds = torch.cdist(drawn.flatten(1), train.flatten(1)).argmin(1).unique()
#     return score(drawn), score(drawn) - ours["each"][seed], len(kinds), float(by_quarter(jia, test[:64])[0])
#
#
# for n in (50, 100, 200, 300, 600, 1297):
#     each = np.array([memorized(n, seed, seed) for seed in range(8)])  # 题目里那一批：memorized(300, 0, seed)
#     print(n, each.mean(0).round(1), (each.std(0, ddof=1) / 8**0.5).round(1))
# ```
#
# <!-- 参考答案完 -->
