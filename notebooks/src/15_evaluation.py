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
# 最后一行里，什么都不学、均匀地猜，也只要 4.09 个比特。三个数，两个说甲好，一个说它坏得离谱，该信哪一个？这一章先弄懂这三把尺子，再补上一把查抄袭的，最后揭晓甲是什么。
#
# **学习目标**
#
# - 说清损失能说明什么，不能说明什么。
# - 把 bits/dim 拆到每一步，并与直方图比。
# - 推出 Fréchet 距离，会用参照线看它的好坏。
# - 用留出的图与最近的训练图，查出死记硬背的模型。
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
from ddpm_edu.evaluation.metrics import DigitsFrechet, frechet_distance
from ddpm_edu.evaluation.report import evaluate
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.generate import generate
from ddpm_edu.likelihood import kl_constants, vlb_terms
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.teach import check, grid_figure, show_source
from ddpm_edu.teach.evaluation_figures import (bars_figure, circles_figure, cumulative_figure, jitter_figure, sample_sizes_figure,
                                               transport_figure, variance_figure)
from ddpm_edu.training.timestep_loss import quarter_losses, quarters

train, val, test = (load_digits_split()[name][0] for name in ("train", "val", "test"))
print(f"训练图 {len(train)} 张，验证图 {len(val)} 张，测试图 {len(test)} 张")

# %% [markdown]
# ## 1　一次调用，三把尺子
#
# 模型练好了，好不好？有三种量法，问的是三个不同的问题。
#
# | 尺子 | 问的是 |
# |:--|:--|
# | 损失 | 随机的一步 $t$ 上，猜得准不准 |
# | bits/dim | 没见过的真图，模型给的概率有多高 |
# | Fréchet 距离 | 一批样本像不像一批真图 |
#
# 损失在训练时就看得到，后两个数由 `evaluate` 来算。先用 16 张测试图、1000 张样本试一次：

# %%
model = load_pretrained("digits")
report = evaluate(model, DigitsDataModule(), max_images=16, num_samples=1000, steps=10, progress=False)
for name, value in report.items():
    print(f"{name:16}{value:.2f}" if value < 10 else f"{name:16}{value:.0f}")

# %% [markdown]
# 先混个脸熟，后面几节再逐个弄懂：
#
# | 字段 | 意思 |
# |:--|:--|
# | `bits_per_dim` | 记下一张没见过的图，平均每个像素至多要几个比特，越小越好 |
# | `bits_per_dim_se` | 它的标准误 (standard error)，来自各图难易不同，也来自每一步只抽一份噪声 |
# | `L_T`、`L_kl`、`L_0` | 它的三个部分：起点、中间各步、最后一步 |
# | `frechet` | 样本与 500 张留出的真图（验证与测试合在一起）之间的距离，越小越像 |
# | `frechet_floor` | 参照线：同样多的训练图，与那些真图之间的距离 |
# | `frechet_ceiling` | 参照线：纯噪声的距离 |
# | `images`、`levels`、`samples`、`steps` | 测试图几张，像素几级灰度，样本几张，采样走几步 |
#
# 两个距离这里各只抽了一次：换一个种子，`frechet` 的标准差约 6，所以这里是 24，八个种子的平均是 28。
# 在终端里，`python -m ddpm_edu evaluate --ckpt digits --data digits --num 64 --samples 1000 --steps 10` 做同样的事，只是图用 64 张。
#
# ## 2　损失：能说明什么，不能说明什么
#
# 先说能的，有两种比法。一种是比两套权重：噪声表、参数化（网络的预测目标）、图、$t$ 与噪声都相同时，损失低的猜得更准。另一种是比两批图：同一套权重，在训练图上与在留出的图上各量一次，两边差得远，就是过拟合了。
#
# 有三件事它不能说明。**第一，一次的损失高低不算数，因为它抖得厉害。** 每批抽到的 $t$ 与噪声不同，所以权重一动不动，损失也上下跳。

# %%
def repeated(t_sampling, repeats=60):
    """同一批 64 张图、同一套权重，只有 t 与噪声不同：各次的损失"""
    model.t_sampling, draws = t_sampling, torch.Generator().manual_seed(5)
    with torch.no_grad():
        return [float(model(test[:64], generator=draws)[0]) for _ in range(repeats)]


def by_quarter(model, x):
    """四段 t 上的损失；t 与噪声固定，每次调用结果相同"""
    with torch.no_grad():
        return torch.stack(list(quarter_losses(model, x).values()))


held = by_quarter(model, test[:64])
check("固定 t 与噪声：再量一次，一丝不动", by_quarter(model, test[:64]), held)
jitter_figure({"均匀地抽 $t$": repeated("uniform"), "铺匀了抽 $t$": repeated("stratified")}, float(held.mean()))

# %% [markdown]
# 图：同一批 64 张图、同一套权重，损失量了 60 次。左边均匀地抽 $t$（蓝），右边把 $t$ 铺匀，也就是第 10 章的分层抽样（橙），都在抖；色带是这 60 次的平均 ± 标准差；黑线是固定 $t$ 与噪声的损失，量多少次都是这个数（它也只是一份 $t$ 与噪声，所以不必落在正中）。
# 60 次还分不清谁抖得多。量 400 次，均匀地抽，标准差是 0.0158 ± 0.0006；铺匀了抽，是 0.0117 ± 0.0004。铺匀能少抖一些，却去不掉，因为它只管 $t$，噪声照旧是随机的。
#
# 所以相邻两批的损失谁高谁低，说明不了什么。要比较，就固定 $t$ 与噪声，`quarter_losses` 正是这样做的。
#
# **第二，换了目标，损失就不能比。** 网络猜 $\varepsilon$、猜 $x_0$ 还是猜速度 $v$，说的是同一件事，误差却差着随 $t$ 变的倍数（第 6 章）。
# 拿高斯数据 $\mathcal N(0,s^2)$ 来看，第 5 章求过它的完美去噪器。取 $s=0.5$ 与 `cosine` 噪声表，各步的均方误差平均起来，猜 $\varepsilon$ 是 0.33，猜 $x_0$ 是 0.17，猜 $v$ 是 0.50。
# 同一个已经不能再好的模型，三个数相差几倍。没有一个是 0，因为 $x_t$ 里没有的信息，谁也猜不出来。
#
# **第三，它不管误差落在哪一步。** 把 $t$ 分成四段，假定网络的输出只在其中一段上偏了 0.2，偏差与原来的误差无关。不论偏在哪一段，损失都多 $0.2^2/4=0.01$。
# bits/dim 却不是这样：它把第 $t$ 步的误差乘上权重再加起来。`digits` 的目标是速度，所以用第 6 章的 $w^v_t$。偏在不同的段，多付几个比特？

# %%
betas, bar = (model.exact_table(name).numpy() for name in ("betas", "alphas_cumprod"))
weights_v = diffusion_tables(betas, 0.0, "v")["lvlb_weights"]
for start, stop in quarters(1000):
    bits = weights_v[max(start, 1):stop].sum() * 0.2**2 / math.log(2)  # t=0 那一步算在 L_0 里，不在这里
    print(f"偏在 t = {max(start, 1):3} 到 {stop - 1:3}：损失 +0.01，bits/dim +{bits:.2g}")

# %% [markdown]
# 同样的 0.01，落在第一段与落在第四段，比特数差近六十倍。bits/dim 对小 $t$ 的误差格外苛刻，损失对各步一视同仁。那么比特究竟花在哪里？
#
# ## 3　bits/dim：比特花在哪里
#
# 记下一件概率是 $1/8$ 的事，要 $\log_2 8=3$ 个比特。模型给真图的概率越高，要的比特就越少。第 6 章的变分下界 $L$ 取过负号，是这个编码长度的上界；除以维数，换成比特，就是 bits/dim。
# 它有三部分：$L_T$（终点与标准高斯的差距）、$t=1,\dots,T-1$ 各步的 KL、$L_0$（最后一步猜像素）。这里的 $t$ 从 0 数起，论文的第 1 步就是这里的第 0 步。
#
# 还是 `evaluate` 选中的那 16 张测试图，把每一项都算出来，从 $t=0$ 一路往上加：

# %%
images = random_images(DigitsDataModule().dataset("test"), 16)["image"]
terms = vlb_terms(model, images, levels=17, generator=torch.Generator().manual_seed(0)) / math.log(2)
total = terms.sum(1)  # 一项一列：L_0、999 项 KL、L_T
check("合计就是 evaluate 报的 bits_per_dim", total.mean(), report["bits_per_dim"], atol=1e-4)
cumulative_figure(terms.mean(0)[:-1].numpy(), (1, 10, 30, 300))

# %% [markdown]
# 图：横轴是步号（对数，从 1 画起；$t=0$ 的 $L_0$ 几乎是 0，已算进去），纵轴是加到这一步的比特数，16 张图的平均；点旁边是占合计的百分之几。
#
# 比特大半花在小 $t$：一千步里，头三十步就花去六成，头三百步花去九成以上。可是 $t$ 小的这几十步，改动的只是肉眼看不见的细节。画的是几，$t$ 大的步就大致定了，而 $t>300$ 的步平均每步花不到千分之一比特。所以 bits/dim 的高低，大半由这些细节决定。
# 两头都几乎不花。$L_T$ 小，是因为 `cosine` 走到头时 $\bar\alpha_{T-1}$ 只有十亿分之二，图已经没有痕迹。$L_0$ 小，是因为 $t=0$ 时的噪声只有 0.006，半级灰度是 1/16，约是它的十倍，最后一步几乎不会猜错级。
# 可是它的前一步，单是 $t=1$，就要 0.40 比特，占一成三。这很可疑，后面来查。
#
# ### 这个数准到几位
#
# 各图的难易不同，标准差约 0.45（64 张图量的）。所以 $N$ 张图的平均，标准误是 $0.45/\sqrt N$：16 张是 0.11；测试图全用上（250 张），也还有 0.03，小数第二位已不可信。
#
# 要分辨更小的差别，靠**配对**：两个同学做同一张卷子，卷子难不难，一减就没了。两个模型也用同一批图、同一份噪声，逐图相减，再求标准误。
# 拿采样方差来试。第 4 章说，它可以**取小**（$\tilde\beta_t$，`v_posterior=0`），可以**取大**（$\beta_t$，`v_posterior=1`），也可以**取中**（两者各一半，`v_posterior=0.5`）。同一个网络，哪一种编码最短？
#
# 这不必再跑网络。第 6 章给出
#
# $$\mathrm{KL}_t=\text{常数}_t+w^{x_0}_t\cdot\text{均方误差}_t,$$
#
# 其中均方误差是猜测 $\hat x_0$ 的，与方差怎么取无关；常数与权重只由噪声表和方差决定。
# 刚才算的是取小，常数都是 0，所以 KL 除以权重就是均方误差。有了它，换一种方差，只要再代进公式。

# %%
weights = diffusion_tables(betas, 0.0, "x0")["lvlb_weights"][1:]
each_mse = terms[:, 1:-1].numpy() * math.log(2) / weights  # (16, 999)，t = 1 .. 999


def kl_bits(v_posterior, mse=each_mse):
    """各步的 KL 之和，bits/dim，一张图一个数；只算，不再调用网络"""
    weights = diffusion_tables(betas, v_posterior, "x0")["lvlb_weights"][1:]
    return (kl_constants(betas, v_posterior)[1:] + weights * mse).sum(-1) / math.log(2)


def mean_se(values, digits=2):
    """平均 ± 标准误，写成字"""
    values = np.asarray(values)
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1) / len(values)**0.5:.{digits}f}"


small, middle, large = (kl_bits(v_posterior) for v_posterior in (0.0, 0.5, 1.0))
print(f"单独看：取小 {mean_se(small)}，取中 {mean_se(middle)}，取大 {mean_se(large)}")
print(f"逐图相减：取中比取小省 {mean_se(small - middle)}，取大比取小省 {mean_se(small - large)}")

# %% [markdown]
# 单独看，每个数的误差都有 0.1 上下，差别淹没在里面；配对之后，取中省下的是标准误的十几倍，一清二楚。所以取中最短，取大次之，取小最长。这个名次先记着，它靠不住。
#
# ### 先与直方图比
#
# 3.12 比均匀地猜省了一个比特（像素有 17 级，均匀地猜要 $\log_2 17=4.09$），听上去不错。可是均匀地猜太弱了。再请两个不用网络的对手：数一数训练集里各级灰度出现的次数，64 个像素共用一张直方图；或者每个像素各用一张。它们记下一个像素，要直方图里那一级的 $-\log_2$ 概率个比特。有一点不对等：直方图算出的是确切的码长，模型的 3.12 只是上界；可是我们能用的也只有这个上界，所以照样比。**先猜一猜**：网络能赢几个？

# %%
def levels_of(x):
    """[-1, 1] → 第几级，0..16；(N, 64)"""
    return ((x.flatten(1) + 1) * 8).round().long()


def histogram_bits(counts, x):
    """按直方图编码，一张图一个数；每一级先加 1，免得没见过的级概率为 0"""
    p = (counts + 1.0) / (counts + 1.0).sum(1, keepdim=True)
    return -p[torch.arange(64), levels_of(x)].log2().mean(1).numpy()


counts = nn.functional.one_hot(levels_of(train), 17).sum(0)  # (64, 17)：每个像素一张直方图
shared, own = histogram_bits(counts.sum(0).expand(64, -1), images), histogram_bits(counts, images)
for name, rival in (("共用一张", shared), ("逐像素一张", own)):
    print(f"{name} {mean_se(rival)}；配对，模型多花 {mean_se(total.numpy() - rival)}（取小），{mean_se(middle - rival)}（取中）")

# %% [markdown]
# 一个也没有赢：取小时两个都输，取中时与共用的一张分不出高下，对逐像素的仍差得远。能画出数字的网络，怎么会输给数数？
#
# 上一张图给了线索：$t=1$ 一步就占一成三，头十步占四成。这几步的噪声很小，$t=3$ 时只有 0.014，而相邻两级灰度差 0.125。把 $x_t/\sqrt{\bar\alpha_t}$ 舍入到最近的一级，几乎个个都对，所以最前面的几步本该几乎不花比特。
# 于是有了一个猜测：网络把像素当成连续的数，没有用上“只有 17 级”这一条。如果真是这样，那么在 $t=1$ 到 10 这十步，替它把猜测舍入到最近的一级，比特数就该大降。再做一个对照：这十步完全不用网络，只舍入 $x_t/\sqrt{\bar\alpha_t}$。

# %%
def to_level(x):
    """舍入到最近的一级"""
    return ((x.clamp(-1, 1) + 1) * 8).round() / 8 - 1


generator, rounded, blind = torch.Generator().manual_seed(0), each_mse.copy(), each_mse.copy()
for t in range(11):
    x_t = model.q_sample(images, torch.full((16,), t), torch.randn(images.shape, generator=generator))
    with torch.no_grad():
        guess = model.predict_start(x_t, torch.full((16,), t), clip_denoised=True)
    for mse, other in ((rounded, guess), (blind, x_t / bar[t] ** 0.5)):
        if t > 0:
            mse[:, t - 1] = (to_level(other) - images).square().flatten(1).mean(1)

# %%
ways = {"取小": 0.0, "取中": 0.5, "取大": 1.0}
raw, fixed = ({way: kl_bits(v_posterior, mse) for way, v_posterior in ways.items()} for mse in (each_mse, rounded))
print(f"舍入之后，比逐像素的直方图少 {mean_se(own - fixed['取小'])}（取小，配对）")
print(f"t = 11 到 999 这 989 步，一共花 {mean_se((each_mse * weights)[:, 10:].sum(1) / math.log(2))}（取小）")
print(f"舍入之后，取中比取小多 {mean_se(fixed['取中'] - fixed['取小'], 3)}，取大比取小多 {mean_se(fixed['取大'] - fixed['取小'], 3)}")
print("这十步的常数，合计：" + "，".join(f"{way} {kl_constants(betas, v)[1:11].sum() / math.log(2):.2f}" for way, v in ways.items()))
bars_figure({"digits": raw, "$t\\leq10$ 舍入猜测": fixed, "$t\\leq10$ 只舍入 $x_t$": {"取小": kl_bits(0.0, blind)}},
            {"均匀地猜": math.log2(17), "共用直方图": shared.mean(), "逐像素直方图": own.mean()})

# %% [markdown]
# 图：同样的 16 张测试图，条长是平均数，短横线是标准误。浅蓝的是 `digits`，深蓝的把 $t=1$ 到 10 这十步的猜测舍入，橙的是对照；点线是三个不用网络的对手。
#
# 先看取小的三条。猜测对了：这十步一舍入，3.12 降到 1.91，比逐像素的直方图还短 0.53。可是对照说明，功劳不在网络：这十步不用网络，只舍入 $x_t$，也有 1.95。降下来的 1.2 个比特，几乎全靠知道“像素只有 17 级”。网络真正出力的是 $t=11$ 到 999 这 989 步，它们一共花 1.85。
#
# 再看三种方差：**名次倒过来了**。舍入之前取大省 0.06，取中省 0.16；舍入之后，取大多花 0.35，取中多花 0.10，取小最短。
# 原因在前面的公式 $\mathrm{KL}_t=\text{常数}_t+w^{x_0}_t\cdot\text{均方误差}_t$ 里。舍入之后，这十步的均方误差差不多是 0，KL 只剩常数：取小是 0，取中合计 0.12，取大合计 0.35。舍入之前，网络的误差比该有的大，放宽方差能减小它的权重 $w^{x_0}_t$，所以显得划算。
# 其余 989 步里，取小与另外两种相差都不到 0.02。所以先前换方差的好处，几乎全是在替网络掩饰没有舍入。
#
# 教训有两条：bits/dim 要先与最简单的基线比，再说好坏；两个数谁小，要先查差别出在哪几步，再下结论。

# %% [markdown]
# ## 4　Fréchet 距离：像不像一批真图
#
# bits/dim 看不见样本。要看样本，就拿一批样本与一批真图比。第 13 章给过公式，这里说它从哪里来。先看一维：两堆土，把第一堆搬成第二堆，最少要搬多远？

# %%
transport_figure()

# %% [markdown]
# 图：横轴是位置，上面的土（蓝）搬到下面（橙）。箭头是最省的搬法：最左的送到最左，最右的送到最右，箭头不交叉。
#
# 设搬运把 $x$ 送到 $y$，搬动距离的平方平均是
#
# $$\mathbb E(x-y)^2 = (\mu_1-\mu_2)^2+\sigma_1^2+\sigma_2^2-2\,\mathrm{Cov}(x,y)\;\ge\;(\mu_1-\mu_2)^2+(\sigma_1-\sigma_2)^2,$$
#
# 因为协方差不超过 $\sigma_1\sigma_2$。两堆的形状相同（例如都是高斯）时，线性的搬法 $y=\mu_2+\tfrac{\sigma_2}{\sigma_1}(x-\mu_1)$ 恰好凑成第二堆，取到等号；形状不同，就凑不成，只能更远。
# 图里是 $(0-1)^2+(1-2)^2=2$。注意它是平方：两堆一样的土隔 3 远，它是 9。
#
# 多维的高斯道理相同，只是 $\sigma_1\sigma_2$ 换成 $\mathrm{tr}\,\mathrm{Cov}(x,y)$ 能达到的最大值 $\mathrm{tr}\,(\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2})^{1/2}$（证明见 Dowson 与 Landau 1982）。于是
#
# $$\|\mu_1-\mu_2\|^2+\mathrm{tr}\Big(\Sigma_1+\Sigma_2-2\,(\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2})^{1/2}\Big).$$
#
# 两批图的特征各拟合一个高斯，两个高斯之间最省的搬运代价（2-Wasserstein 距离的平方）就叫 Fréchet 距离。
# 特征从哪里来？不用像素，因为数字挪一格，像素的距离就很大；`FrechetDistance` 用一个小分类器倒数第二层的 32 个数。

# %%
show_source(frechet_distance, "def frechet_distance", "cov_x, cov_y =", "# tr (Σ1 Σ2)^½", "return float")

# %% [markdown]
# - ① 输入是两组特征，一行一个样本；换成 float64，先算均值之差的平方。
# - ② 算两个协方差；只有一维时 `torch.cov` 给出标量，要变回矩阵。
# - ③ 求 $\Sigma_1$ 的平方根，左右各乘在 $\Sigma_2$ 上，得到对称矩阵，再把它的特征值开方求和。舍入会给出极小的负数，截到 0。
# - ④ 照公式相加；同一组数据会得到 $-10^{-13}$ 之类的数，也截到 0。
#
# 它只比较均值与协方差，所以有一个盲点：只要这两样相同，形状再不同，距离也是 0。只取 $\pm1$ 的硬币与标准高斯，均值都是 0，方差都是 1，它就分不开。
#
# 它还把两种毛病混成一个数：样本不像真图（第 1 章的“造错”），与真图没有样本像它（“漏掉”）。要分开量，见小结后面的选读。
#
# ### 样本少，距离就偏大
#
# 两批图来自同一个分布，真正的距离是 0，算出来却总大于 0，因为均值和协方差都有估计误差。偏大多少？从训练图里随机挑 $N$ 张，对留出的 500 张真图量一量：

# %%
score, sizes, generator = DigitsFrechet(), (20, 60, 200, 600, 1000, 1200), torch.Generator().manual_seed(0)
known, reference = score.features(train), score.features(score.real)
real = np.array([[frechet_distance(known[torch.randperm(len(known), generator=generator)[:N]], reference) for N in sizes] for _ in range(100)])
quality = pretrained_card("digits")["quality"]
ours = quality["ddim_10"]["frechet"]
sample_sizes_figure(sizes, real, ours)

# %% [markdown]
# 图：横轴是张数，纵轴是距离，都是对数。黑的是训练图里随机挑的 $N$ 张，误差棒是重抽一百次的标准误（参照的 500 张没有换）；蓝点是 `digits` 的一千张样本（DDIM 走 10 步，八个种子）。
#
# 60 张真图约得 70，比 `digits` 一千张样本的 28 还“差”，一千张真图却只有 11。所以**张数不同的距离不能比**；要说一个距离好不好，就拿同样多的真图来比，这就是 `frechet_floor`。真图再多也到不了 0，因为参照的那 500 张自己有误差。
# 参照线也不是硬的界：两批真图之间有抽样误差，样本也有，谁大谁小看运气。样本的距离低于它，不说明“比真图还真”，只说明这把尺子量到头了。
#
# <details><summary>选读：偏大多少，FID 为什么要五万张</summary>
#
# 数据取 $\mathcal N(0,I)$，$d$ 维，两批各 $N$ 个。均值之差的平方平均是 $2d/N$。协方差的误差很小时，$(\sqrt{1+a}-\sqrt{1+b})^2\approx\tfrac14(a-b)^2$；矩阵在单位阵附近开方也是这样，每个元素的误差减半。
# $d$ 个对角元的误差方差各是 $2/N$，$d(d-1)$ 个非对角元各是 $1/N$，两批之差再加倍，乘上 $\tfrac14$，合起来是 $d(d+1)/(2N)$。所以
#
# $$\text{偏差}\approx\frac{2d+d(d+1)/2}{N}.$$
#
# 用 32 维标准高斯的点量过，$N\ge800$ 时它准到 5%。这里两批都是 $N$ 个，各贡献一半。真图固定 500 个时，要把 $1/N$ 换成 $\tfrac12(1/N+1/500)$，所以 $N$ 再大也降不到 0。
# FID 的 $d=2048$ 不能直接代进去，因为公式假设协方差是单位阵，Inception 的特征却不是。“随张数降、随维数涨”这一点不变，所以论文里的 FID 多用五万张样本。
# 两个 FID 要能比，须用同一份 Inception 网络、同一批参照的真图、同样的张数、同样的缩放与预处理。`ddpm_edu.evaluation.fid.inception_fid` 备好了算法，网络的权重要自己提供。
#
# </details>
#
# ### 换一个方差，换几步
#
# 按舍入之后的 bits/dim，方差取小最短（第 3 节）。画出的样本也是取小最好吗？**先猜一猜**，再看 `digits` 的卡片里存的结果：祖先采样，每点八个种子，各 1000 张。

# %%
steps = (5, 10, 20, 50)
low, high = ([quality[f"ancestral_{n}{mark}"]["frechet"] for n in steps] for mark in ("", "_v1"))
for n, a, b in zip(steps, low, high):
    gap = np.subtract(b["each"], a["each"])  # 种子相同，起点就相同，逐个种子相减
    print(f"{n:2} 步：取大比取小多 {gap.mean():.1f} ± {gap.std(ddof=1) / 8**0.5:.1f}")
variance_figure(steps, {"方差取小（$\\tilde\\beta_t$）": low, "方差取大（$\\beta_t$）": high}, quality["frechet_floor"]["mean"])

# %% [markdown]
# 图：横轴是步数，纵轴是 Fréchet 距离，误差棒是标准误，点线是 1000 张真图。步数越少，取大越吃亏；20 步时的差约是标准误的六倍，50 步就分不出了。取中落在两者之间（卡片里没有，同样的八个种子另量的）：比取小，5 步多 27.4 ± 1.1，10 步多 4.8 ± 0.7。
#
# 样本的名次也是取小、取中、取大，与舍入之后的 bits/dim 一致；假如只看舍入之前的那三个数，就会选错。不过一条链走满一千步，一条只走几步，名次一致并不是必然的。
# 为什么步数少时差得多？两条链只有方差不同，而步子跨得越大，$\tilde\beta_t$ 就比 $\beta_t$ 小得越多。走 5 步时，从噪声那头数起的四步，$\tilde\beta_t/\beta_t$（跨步之后的 $\beta$） 依次是 0.86、0.59、0.30 和几乎 0，取大就多加了许多噪声；走 50 步时，六成多的步在 0.9 以上，两种取法已经相近。
#
# ## 5　揭晓甲
#
# 甲没有网络，只有训练集。它猜 $\hat x_0$ 的办法，是把训练图 $x_i$ 加权平均，权重正比于 $\exp\big(-\|x_t-\sqrt{\bar\alpha_t}\,x_i\|^2/2(1-\bar\alpha_t)\big)$，即 $x_i$ 加噪成 $x_t$ 的可能性。练习 01.3 写的就是它。
# 假如世上只有训练集这些图，它就是最优解，所以平均起来，没有哪个模型的训练损失比它更低。一个网络如果死记硬背 (memorization)，把训练损失压到底，得到的也就是它。

# %%
from ddpm_edu.evaluation.metrics import nearest_distances
from ddpm_edu.teach.evaluation_figures import memorizer_figure
from ddpm_edu.teach.laboratory import ideal_start


class Memorizer(nn.Module):
    """有限个训练图上的最优去噪器，换算成速度"""

    def __init__(self, images, alphas_cumprod):
        super().__init__()
        self.images, self.alphas_cumprod = images.flatten(1), alphas_cumprod

    def forward(self, x, t):
        out = torch.empty_like(x)
        for step in t.unique():
            bar, flat = float(self.alphas_cumprod[step]), x[t == step].flatten(1)
            guess = ideal_start(flat, self.images, bar)
            out[t == step] = ((bar**0.5 * flat - guess) / (1 - bar) ** 0.5).view(-1, *x.shape[1:])
        return out


# %%
memory, jia = train, load_pretrained("digits").eval()
jia.use_ema = False  # EMA 的那份权重是原来的网络的
jia.model.diffusion_model = Memorizer(memory, model.exact_table("alphas_cumprod"))
copies, fresh = (generate(one, 10, batch_size=10, steps=10, use_ema=False, progress=False)[0] for one in (jia, model))
closest = [train[torch.cdist(drawn.flatten(1), train.flatten(1)).argmin(1)] for drawn in (copies, fresh)]
rows = nn.functional.interpolate(torch.cat([fresh, closest[1], copies, closest[0]]), size=28, mode="bilinear")
check("甲的十张，离最近的训练图都不到 0.01", nearest_distances(copies, memory).max() < 0.01, True)
grid_figure(rows, nrow=10, rows=["digits", "最近的图", "甲", "最近的图"],
            columns=[f"距离 {distance:.1f}" for distance in nearest_distances(fresh, train)])

# %% [markdown]
# 图：第一、三行是 `digits` 与甲从同样的噪声画出的样本，第二、四行是训练集里离它们最近的图（原图 8×8，放大到 28×28 显示）。列上的数是第一行离第二行多远（64 个像素之差的平方和再开方）。
#
# `digits` 的样本有几张很像训练图，但不是同一张，最近的也离 1.5。甲的每一张都是一张训练图。只看第三行，看不出它是抄的（第八张像画坏了，其实也是真的训练图）。
#
# 现在三把尺子一起上，再加第四把：样本离最近的训练图有多远。没见过的真图，离训练图也有远有近；测试图里最近的 1% 离训练图约 1.0，比这还近的样本就算“近得可疑”。**先猜一猜**，甲在哪里露馅？

# %%
losses = {(who, where): by_quarter(one, x) for who, one in (("digits", model), ("甲", jia)) for where, x in (("训练图", train[:64]), ("留出的图", test[:64]))}
drawn = [generate(jia, 1000, batch_size=1000, seed=seed, steps=10, use_ema=False, progress=False)[0] for seed in range(8)]
ordinary = generate(model, 500, batch_size=500, steps=10, progress=False)[0]
distances = {"digits": nearest_distances(ordinary, train), "测试图": nearest_distances(test, train), "甲": nearest_distances(torch.cat(drawn), train)}
limit = float(distances["测试图"].quantile(0.01))
for (who, where), values in losses.items():
    print(f"{who}，{where}：第一段的损失 {values[0]:.2f}，四段平均 {values.mean():.2f}")
memorizer_figure(losses, distances, limit)

# %% [markdown]
# 图：左边横轴是四段 $t$，纵轴是损失（对数），$t$ 与噪声固定，训练图（实线）与留出的图（虚线）各 64 张；蓝的是 `digits`，橙的是甲。右边是离最近的训练图多远，纵轴是占百分之几：`digits` 的五百张样本（蓝），甲的八千张（橙），250 张测试图（灰虚线）；点线是门槛，比它近的（灰底）算“近得可疑”。
#
# 先看左边。训练损失甲赢，低四成，因为它见过答案。到了留出的图上，第一段（$t<250$）甲却是 31，`digits` 只有 0.33，因为那里 $x_t$ 几乎就是原图，甲却只会答训练图。第三、四段两者差不多，因为噪声大时谁都只能猜个大概。所以要在留出的图上量，还要分段量。
# 右边更直接：`digits` 的样本与没见过的真图，离训练图一样远，甲的张张都是 0。再看另外两把：

# %%
recited = evaluate(jia, DigitsDataModule(), max_images=16, num_samples=0, progress=False)
theirs, near = np.array([score(images) for images in drawn]), quality["neighbours"]
gap = theirs - ours["each"]  # 种子相同，起点就相同，逐个种子相减
print(f"bits/dim：digits {report['bits_per_dim']:.1f}，甲 {round(recited['bits_per_dim'], -2):.0f} ± {round(recited['bits_per_dim_se'], -2):.0f}，"
      f"其中 L_0 占 {recited['L_0'] / recited['bits_per_dim']:.0%}")
print(f"Fréchet 距离：digits {ours['mean']:.0f}，甲 {theirs.mean():.0f}，甲减 digits {gap.mean():.1f} ± {gap.std(ddof=1) / 8**0.5:.1f}")
print(f"离最近的训练图（中位数）：digits {near['median']:.1f}，测试图 {near['median_of_test']:.1f}，甲 {distances['甲'].median():.1f}")
print(f"近得可疑：digits {near['closer_than_1_percent_of_test']:.1%}，测试图 1%，甲 {float((distances['甲'] < limit).double().mean()):.0%}")

# %% [markdown]
# bits/dim 一眼看穿了甲：没见过的图，许多像素它猜错了级，方差又小得不容人错，光 $L_0$ 一项就占六成。
# Fréchet 距离却判甲胜，20 对 28，因为它的样本本来就是真图。同样多的真图是 11，甲为什么还多出 9？它抄重了，一千张里平均只有 687 张不同的；可是从训练图里有放回地随机抽一千张，不同的也只有 698 张，距离是 14.2 ± 0.2（抽四百次）。所以抄重大约只解释了三四成，其余的我们没有查。
#
# 后两行里，`digits` 近得可疑的只有千分之一（卡片里量的是走 50 步的八千张）。两行要一起报，因为中位数会藏住少量的抄袭（练习 15.4）。这个查法也有盲区：它按像素量，抄来再挪一格就查不出了。训练图全部右移一格（`train.roll(1, 3)`），离最近的训练图的中位数是 4.3，没有一张可疑。
#
# ## 小结
#
# - 该信哪个数？哪一个也不能单独信。甲只会背训练图，却有两项赢了 `digits`：训练损失低四成，Fréchet 距离 20 对 28。没见过的图它要三千多 bits/dim，比均匀地猜还差几百倍。要查抄袭，就看留出的损失（小 $t$ 那一段最灵），再量样本离训练图多远。
# - 一次的损失会抖，换了目标就不能比，也不管误差落在哪一步。要比较，就固定 $t$ 与噪声，分段量，训练图与留出的图分开量。
# - bits/dim 六成花在 $t=1$ 到 30 这三十步。250 张图的误差约 0.03，更小的差别要靠配对。它要先与直方图比：我们的模型 3.12，输给逐像素直方图的 2.43；把 $t=1$ 到 10 这十步的猜测舍入之后是 1.91，省下的几乎全靠知道“像素只有 17 级”。
# - Fréchet 距离是两个拟合高斯之间的搬运代价。张数少就偏大，一千张真图自己也有 11，所以只与同样多的真图比。它看不出抄袭，也分不开造错与漏掉。
# - 采样方差取多少：直接看 bits/dim，取中最短，取小最长；把 $t=1$ 到 10 的猜测舍入之后，名次倒过来，取小最短。画图时，20 步以内也是取小比取大好，50 步分不出。
#
# ## 选读：造错与漏掉，分开量
#
# Fréchet 距离把造错与漏掉混成一个数。要分开量，就在点的周围画圈。

# %%
circles_figure()

# %% [markdown]
# 图：平面上的示意。真图有左右两堆；样本画出了左边一堆，漏掉了右边一堆，另有四个画歪了。左边以每张真图为圆心画圈，半径是它到其余真图里第三近的那张的距离；样本落进任何一个圈（蓝），就算像真图，四个画歪的没有落进（橙）。右边反过来，以每个样本为圆心画圈；真图落进任何一个圈（黑），就算有样本像它，右边一堆全没有落进，左边也有一张差一点（橙）。
#
# 落进圈的样本占几成，叫**精确率** (precision)；落进圈的真图占几成，叫**召回率** (recall)（Kynkäänniemi 等 2019）。半径由点自己的疏密定：密的地方圈小，疏的地方圈大，不必另定多近才算像。
# 用与 Fréchet 距离同样的 32 个特征，样本与真图各 500 张，八个种子：
#
# | | 精确率 | 召回率 |
# |:--|--:|--:|
# | 训练图 | 0.909 ± 0.005 | 0.908 ± 0.007 |
# | `digits`，20 步 | 0.888 ± 0.006 | 0.877 ± 0.009 |
# | `digits`，10 步 | 0.898 ± 0.006 | 0.856 ± 0.008 |
# | `digits`，5 步 | 0.899 ± 0.007 | 0.781 ± 0.007 |
# | 甲，10 步 | 0.906 ± 0.002 | 0.864 ± 0.005 |
#
# `digits` 少走几步，精确率没有降，丢的是召回率：样本照样像数字，花样少了。甲与同样走 10 步的 `digits` 分不出高下，可见这两个数也不管样本是画的，还是抄的。

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
# 背三百张、反复念，就与网络打平，虽然一千张样本里只有 289 张不同的。Fréchet 距离只比均值与协方差，三百张已经把这两样定得差不多，重复它看不见。挑到哪三百张也要紧：题目里那一批（种子 0）配八个起点，平均是 23.0 ± 1.4，有 286 张不同的；所以表里每个种子另挑一批，误差把这一份也算了进去。留出的损失骗不过：第一段 `digits` 是 0.33，背几张都是它的九十倍以上，背得越少越高。
#
# ```python
# def memorized(n, batch, seed):  # batch 定背哪一批，seed 定起点
#     chosen = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(batch))[:n]]
#     jia = load_pretrained("digits").eval()
#     jia.use_ema, jia.model.diffusion_model = False, Memorizer(chosen, model.exact_table("alphas_cumprod"))
#     drawn, _ = generate(jia, 1000, batch_size=1000, seed=seed, steps=10, use_ema=False, progress=False)
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
