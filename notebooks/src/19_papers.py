# %% [markdown]
# # 19 · 论文里的图，在我们的尺度上
#
# 提出无分类器引导的论文里有一张表：引导强度从 1 调到 1.1（论文写 $w=0.1$），FID 就降到全表最低。我们照着调自己的 `digits_class`，量了八个种子，看不出距离变小。
#
# 那张表还有另一半：引导越强，Inception 分数越高。这个分数奖励认得出的样本，而我们的样本引导以后，确实更容易认出。
#
# 论文的数是用大得多的网络、几万张样本量的，你多半没有条件重做。**哪些结论可以照搬到自己的小模型上，哪些要自己重新量？** 这一章从四篇论文里挑八处图表，用随课程的模型重新量：先写论文说什么，请你猜，再由量到的数来**判**。
#
# 数据、网络与打分的尺子都不同：论文用 FID，我们用小分类器的 Fréchet 距离，两个都是越小越好。所以数的大小不能与论文比；真图自己的分数也不是零，两把尺子的底不同，倍数也只作参考。判的只是次序：谁大谁小。
#
# **学习目标**
#
# - 会用“逐个种子相减”判一条结论：成立、不成立，还是看不出。
# - 说得出八处图表里，哪些照样成立，哪些变了。
# - 会写 DDIM 的倒走，会算收到 $x_t$ 时已付的比特，会换算两种引导强度。
#
# **预计用时** 正文 40 分钟，练习另计。运行全部单元约 1 分钟。

# %%
import numpy as np
import torch

from ddpm_edu import load_pretrained, make_beta_schedule
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.metrics import DigitsFrechet
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach import grid_figure
from ddpm_edu.teach.paper_figures import gaps_figure, paired_figure, rate_figure, settle_figure, steps_figure, sure_figure, valley_figure, verdicts_figure
from ddpm_edu.teach.papers import DDIM_TABLE_1, DDPM_TABLE_4, GUIDANCE_TABLES  # 论文里的数
from ddpm_edu.teach.papers import completions, gap, guesses, measured, said, skipped, stops, turn, verdict, walk
from ddpm_edu.teach.tables import Table

digits, mnist, score = load_pretrained("digits"), load_pretrained("mnist"), DigitsFrechet()
rows, labels = measured(), torch.arange(10)  # rows 是量好的数

# %% [markdown]
# ## 1　怎样判一条结论：逐个种子相减
#
# 换一种做法，距离小了 3，是做法好，还是碰巧？我们用第一处图表来练。
#
# **论文说**（Improved DDPM，图 4，64×64 的 ImageNet）：线性的噪声表末尾几乎全是噪声，所以采样时略过开头的两成，FID 也坏不了多少。论文换用 `cosine` 的表，为的是去掉这种浪费。**先猜**：两张表都略过两成，谁坏得多？都略过四成呢？
#
# 略过，就是把纯噪声直接当作那一步的带噪图，从那里走起。不略过的走 15 步 DDIM（$\eta=0$），略过的照比例少走。两张表用同一个 `digits` 网络。`linear` 指论文的，$\beta$ 等距；程序沿用参考实现的名字，叫它 `sqrt_linear`（第 2 章）。
#
# 每种走法量八个种子，每个种子 400 张。带 ± 的数大多由 `python -m benchmarks.papers` 事先量好，或取自模型的卡片；± 后面是标准误。先只看 `linear`：略过四成以后，距离变了没有？

# %%
def frechet(table, share):
    return rows[f"skip {table} {share}"]["frechet"]["each"]


print(f"linear：不略过 {said(rows['skip linear 0']['frechet'])}，略过 40% {said(rows['skip linear 0.4']['frechet'])}；"
      f"逐个种子相减 {said(gap(frechet('linear', 0.4), frechet('linear', 0)))}")
paired_figure(frechet("linear", 0), frechet("linear", 0.4), ("不略过", "略过 40%"), "Fréchet 距离")

# %% [markdown]
# 图：八条线大多平行，所以逐个种子相减以后，起伏小了许多。左边一条线是一个种子；右边一个圆点是一个种子的差，旁边是平均与 95% 区间。两格的纵轴一样长。
#
# 只看平均，28.1 ± 3.7 与 31.3 ± 3.9 分不出大小；逐个种子相减，差是 -3.2 ± 0.7，就分得出了。
# 八个种子的两列数，相关是 0.98：起伏大半是两边共有的，一减就抵消了。
#
# 这就是本章的**判法**：把论文的话写成“甲比乙大”，逐个种子算甲减乙。
#
# | 差的平均 | 判 |
# |:--|:--|
# | 大于零，95% 区间碰不到零 | 成立 |
# | 小于零，95% 区间碰不到零 | 不成立 |
# | 95% 区间碰到零 | 看不出：次序定不下来；差最多有多大，看区间的两头 |
#
# 区间是平均加减 2.4 个标准误（八个种子，t 分布的分位数）。
#
# 结论分两类，看比的设定由谁定。“论文取的设定”：步数、强度之类照论文的；“我们挑的设定”：我们另取的。

# %%
verdicts = []


def judge(kind, paper, claim, large, small, digits=1):
    one = gap(large, small)  # 逐个种子相减，再求平均、标准误与区间的一半
    verdicts.append((kind, paper, claim, one))
    low, high = (f"{one['mean'] + way * one['margin']:.{digits}f}" for way in (-1, 1))
    print(f"{verdict(one)}：{claim}；差 {said(one, digits)}，区间 {low} 到 {high}")

# %% [markdown]
# 现在判论文的话：略过以后，`cosine` 比 `linear` 坏得更多吗？

# %%
worse = {part: {table: np.subtract(frechet(table, part), frechet(table, 0)) for table in ("linear", "cosine")} for part in (0.2, 0.4)}
for (part, each), kind in zip(worse.items(), ("论文取的设定", "我们挑的设定")):
    judge(kind, "Improved DDPM 图 4", f"略过 {part:.0%}，cosine 比 linear 坏得更多", each["cosine"], each["linear"])
gaps_figure({f"略过 {part:.0%}": {**each, "cosine 减 linear": each["cosine"] - each["linear"]} for part, each in worse.items()}, "Fréchet 距离的差")

# %% [markdown]
# 图：略过两成，两者之差的区间碰到零；略过四成，远在零以上。每组左边两列是略过的减不略过的；第三列再逐个种子相减，判的就是这一列。
#
# **判**：`cosine` 是不是坏得更多，略过两成**看不出**，加到四成**成立**。`linear` 略过以后反而好了：两成与四成，距离各小 0.7 ± 0.1 与 3.2 ± 0.7；为什么，这里没有查。
#
# 为什么 `cosine` 坏得早？看那一步的带噪图里还有多少原图，也就是系数 $\sqrt{\bar\alpha}$：

# %%
linear, cosine = (alphas_cumprod(make_beta_schedule(name, 1000))[0] for name in ("sqrt_linear", "cosine"))
for part, t in ((0.2, 799), (0.4, 599)):
    print(f"略过 {part:.0%}，t={t} 处的 √ᾱ：linear {linear[t] ** 0.5:.2f}，cosine {cosine[t] ** 0.5:.2f}")

# %% [markdown]
# 略过四成的那一步，`cosine` 的系数还有 0.58，纯噪声难以冒充；`linear` 的只有 0.16。
#
# ## 2　一条链上，信息怎样来：DDPM 的三张图
#
# 去噪的一千步里，先定什么，后定什么？三张图各答一面：比特付给了谁，形状什么时候出现，从一处分开的样本留下什么。
#
# ### DDPM 图 5：一半多的比特付给看不见的细节
#
# **论文说**（图 5、附录的表 4，CIFAR-10）：把带噪图从最脏的起依次传给对方，每收到一张 $x_t$，对方就猜一次 $\hat x_0$。每传一张都要付比特；收到 $x_t$ 时，已付的是
#
# $$L_T+\sum_{s=t+1}^{T-1}L_s$$
#
# 传到论文的 $x_1$，也就是我们的 $t=0$，猜的误差已降到 0.95（均方根，像素 0 到 255），肉眼看不出。后面却还要付一半多一点的比特。**先猜**：我们的 `cifar10` 参数约为它的九分之一，还要付的也过半吗？

# %%
rate = rows["rate cifar10"]
paid = [rate["total"]["mean"] - rate["L_0"]["mean"], *rate["paid"]["mean"]]
error, width = ([rate["error_0"][kind], *rate["error"][kind]] for kind in ("mean", "se"))
last, half = np.array(rate["L_0"]["each"]), np.full(8, 0.5)
left = {k: owed / rate["total"]["each"] for k, owed in ((1, last + rate["L_1"]["each"]), (0, last))}  # 收到 t=k 以后，还要付几成
for k, part in left.items():
    judge("论文取的设定", "DDPM 图 5", f"收到 t={k} 以后还要付的，超过一半", part, half, 3)
cuts = [("论文，$t=0$，误差 0.95", 1.97 / 3.75, None, True, (1.776, 0.951)),
        *((f"我们，$t={k}$，误差 {error[k]:.2f}", part.mean(), gap(part, half)["margin"], False, (paid[k], error[k])) for k, part in left.items())]
rate_figure((paid, error, width), DDPM_TABLE_4, cuts)

# %% [markdown]
# 图：都切在误差约为 1 处（甲、乙），还要付的都过半；我们切在 $t=0$（丙），不到一半。右边的误差棒是 95% 区间，八个种子，每个种子两张测试图。
#
# **判**：切在相近的误差处（乙），**成立**，只是刚过半；切在同样的步号处（丙），**不成立**，因为我们的 $t=0$ 噪声更少，误差只有 0.67。切在哪里，答案就变。
#
# ### DDPM 图 6：先有轮廓，后有细节
#
# **论文说**（图 6，CIFAR-10）：去噪途中的 $\hat x_0$，大块的形状先出现，细节最后才有。**先猜**：数字的“大块”，要早多少步定下来？

# %%
images, seen = guesses(mnist, 10, 50, labels, torch.Generator().manual_seed(0))
picked = [seen[i] for i in (0, 8, 16, 24, 49)]
grid_figure(torch.cat([guess for _, guess in picked]), nrow=10, rows=[f"$t={t}$" for t, _ in picked], columns="0123456789")

# %% [markdown]
# 图：笔画的位置先定，边缘后定。十个样本，从上到下是途中各步的 $\hat x_0$（祖先采样，50 步）。
#
# 把图分成两层来量：粗的一层是 7×7 一块的平均，细的一层是减去它余下的。每一层都问：还有几成没有定？
# 把这时的 $\hat x_0$ 与最后的图相减，求均方，再除以最后那批图的方差。少于两成，就算定了。

# %%
settle = rows["settle"]
judge("我们挑的设定", "DDPM 图 6", "粗的一层比细的先定（步）", settle["coarse_done"]["each"], settle["fine_done"]["each"], 0)
settle_figure(settle)

# %% [markdown]
# 图：粗的一层先少于两成。线是八个种子的平均，每个种子四十张，阴影是标准误。圆点是各层头一次少于两成的那一步。
#
# **判**：**成立**，粗的早 161 步。
#
# ### DDPM 图 7：从同一个 $x_t$ 分开，留下什么
#
# **论文说**（图 7 与附录，人脸）：几张样本共用一个 $x_t$，再各自走完。从 $t=1000$ 分开的，差得很远；从 $t=750$ 分开的，性别、发色、眼镜已经相同。**先猜**：换成数字，从 $t=750$ 分开，还是同一个数字的有几成？
#
# 为了数得出“几成”，我们的 $x_t$ 由一张原图加噪得来，这样就知道原来是哪个数字。走的时候不给类别，类别一栏写 $-1$。

# %%
start, generator = images[[3, 8]].clamp(-1, 1), torch.Generator().manual_seed(1)
nothing = {"c_adm": torch.full((8,), -1)}
shared = {t: completions(mnist, start, t, 4, nothing, generator, steps=25) for t in (999, 750, 500, 250)}
grid_figure(torch.cat([torch.cat([start[:1], many[0], start[1:], many[1]]) for many in shared.values()]), nrow=10,
            rows=[f"$t={t}$" for t in shared], columns=["原图", "①", "②", "③", "④"] * 2)

# %% [markdown]
# 图：分开得越晚，留下的越多。左右各有一张原图（取自上面的样本），①到④是从它的同一个 $x_t$ 各走的四次。$t=750$ 时，3 大多还是 3，8 却一张也没有留下；$t=500$ 时都还是原来的数字。
#
# 两张原图太少，再数三十二张测试图：八个种子，每个四张，各走八次。是不是原来那个数字，由小分类器来认，瞎猜是 0.1。

# %%
kept = {t: rows[f"share {t}"]["kept"] for t in (999, 750, 500, 250)}
print("还是原来那个数字的：" + "，".join(f"t={t} {said(one, 2)}" for t, one in kept.items()))
for early, late in ((999, 750), (750, 500)):
    judge("论文取的设定", "DDPM 图 7", f"从 {late} 分开，留下的比从 {early} 多", kept[late]["each"], kept[early]["each"], 2)

# %% [markdown]
# **判**：次序**成立**。步号却不能照搬：论文的人脸从 $t=750$ 分开，性别、发色已经相同；我们的数字只有 0.61 ± 0.06 还是原来的。
#
# 若只看原图的系数 $\sqrt{\bar\alpha_t}$，我们在 $t=750$ 还有 0.38，论文的表只有 0.06，该是我们留得多。可见噪声表之外，别的也在起作用：图的大小（28 对 256）、网络、问的内容都不同，这里没有分开。
#
# ## 3　少走几步：DDIM 的两张表、一张图
#
# 该掺多少噪声？图会不会换成另一张？走过去还走得回来吗？
#
# ### DDIM 表 1：步数少，该掺多少噪声
#
# 论文比了三种走法：$\eta=0$ 不掺噪声；$\eta=1$ 是祖先采样；$\hat\sigma$ 也是祖先采样，方差改取 $\beta$，掺得最多。
#
# **论文说**（表 1，CIFAR-10）：步数少时，掺得越多越坏；走满一千步，$\hat\sigma$ 反而最好。**先猜**：`digits` 也走 10 步，还分得出三种吗？

# %%
quality = pretrained_card("digits")["quality"]
none, some, most = ({n: quality[way.format(n)]["frechet"] for n in (5, 10, 20, 50)} for way in ("ddim_{}", "ancestral_{}", "ancestral_{}_v1"))
for n in (10, 5):
    judge("论文取的设定" if n == 10 else "我们挑的设定", "DDIM 表 1", f"{n} 步，η=1 比 η=0 坏", some[n]["each"], none[n]["each"])
for n in (10, 50):
    judge("论文取的设定", "DDIM 表 1", f"{n} 步，方差取 β 比 η=1 坏", most[n]["each"], some[n]["each"])


def times(large, small):  # 是几倍：先取对数，再逐个种子相减
    return gap(np.log(large["each"]), np.log(small["each"]))


steps_figure(DDIM_TABLE_1, {r"$\eta=1$ 是 $\eta=0$ 的几倍": {n: times(some[n], none[n]) for n in some},
                            r"$\hat\sigma$ 是 $\eta=1$ 的几倍": {n: times(most[n], some[n]) for n in most}})

# %% [markdown]
# 图：论文走 10 步，差到三倍与九倍；我们只有 1.1 与 1.5 倍。误差棒是 95% 区间，八个种子，每个种子 1000 张；灰线是一样大。
# 同样多的真图（随机取训练图）自己也有 11.0 ± 0.5，我们的倍数因此被压向 1。
#
# **判**：
#
# - $\eta=1$ 比 $\eta=0$ 坏。论文走 10 步，前者的 FID 是后者的三倍；我们走 10 步**看不出**：两列数的相关只有 -0.2，相减抵消不了起伏；减到 5 步才**成立**。
# - $\hat\sigma$ 比 $\eta=1$ 坏。走 10 步**成立**；走 50 步**看不出**，论文在那里还是四倍。
#
# ### DDIM 图 5：同一个起点，画的是同一张
#
# **论文说**（图 5）：$\eta=0$ 时样本由 $x_T$ 定。从同样的起点走 10 到 1000 步，大的样子都相同，步数只添细节。**先猜**：只走 5 步的，与走 100 步的还是同一张吗？

# %%
start = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(3))
drawn = {f"$\\eta={eta}$，{n} 步": mnist.sample(10, sampler="ddim", steps=n, eta=float(eta), x_T=start, cond=labels, progress=False,
                                              generator=torch.Generator().manual_seed(n))
         for eta, n in ((0, 5), (0, 20), (0, 50), (1, 20), (1, 50))}
grid_figure(torch.cat(list(drawn.values())), nrow=10, rows=list(drawn), columns="0123456789")

# %% [markdown]
# 图：不掺噪声的前三行轮廓相同，掺了噪声的后两行换了字形。五行的起点相同；只有十张，判不了哪种写得好。
#
# 把“轮廓相同”换成一个量：两张图之差的均方根，像素从 -1 到 1。

# %%
same = rows["same"]
print(f"不掺噪声，5 与 100 步相差 {said(same['steps_5'], 3)}；掺了噪声，20 与 50 步相差 {said(same['eta_1'], 3)}；"
      f"换一个起点、同一个数字，相差 {said(same['other'], 3)}")
judge("我们挑的设定", "DDIM 图 5", "掺噪声的 20 与 50 步，比不掺的 5 与 100 步差得远", same["eta_1"]["each"], same["steps_5"]["each"], 3)

# %% [markdown]
# **判**：**成立**。掺了噪声，同一个起点（0.586）比换一个起点（0.631）近不了多少。
#
# 道理在第 18 章的概率流：$\eta=0$ 的步子都在近似同一条路。起点定了，路就定了。
#
# ### DDIM 表 2：倒着走，再走回来
#
# 反过来，由一张图能不能倒走到一个起点，再从那里走回这张图？$\eta=0$ 的一步不掺新的噪声：先由 $x_t$ 与 $\hat x_0$ 求出噪声，再照另一步 $s$ 的系数掺回去。
#
# $$\hat\varepsilon=\frac{x_t-\sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1-\bar\alpha_t}},\qquad x_s=\sqrt{\bar\alpha_s}\,\hat x_0+\sqrt{1-\bar\alpha_s}\,\hat\varepsilon$$
#
# 式子没有规定 $s$ 在哪一边：$s<t$ 是去噪，$s>t$ 就是加噪。
#
# **论文说**（表 2，CIFAR-10）：把测试图这样走到 $x_T$ 再走回来，步数越多，还原得越准。**先猜**：步数多十倍，误差（均方，像素 0 到 1）降到几分之一？

# %%
sample, bars, cond = images[:5].clamp(-1, 1), mnist.exact_table("alphas_cumprod").numpy(), {"c_adm": labels[:5]}
trip = {"原图": sample}
for n in (10, 100):
    levels = stops(bars, n + 1)  # 各步的 ᾱ，由小到大
    noise = walk(mnist, sample, levels[::-1], turn, cond, clip=False)  # 倒着走：加噪
    trip |= {f"$x_T$，{n} 步": noise, f"还原，{n} 步": walk(mnist, noise, levels, turn, cond, clip=False)}
grid_figure(torch.cat(list(trip.values())), nrow=5, width=4.5, rows=list(trip))

# %% [markdown]
# 图：走 100 步，还原得看不出差别；走 10 步，笔画变了，2 的尾巴没有了。原图也取自上面的样本。

# %%
trips = [rows[f"trip {n}"]["error"] for n in (10, 50, 100)]
judge("论文取的设定", "DDIM 表 2", "10 步的误差比 100 步的大（以 10 为底的对数）", np.log10(trips[0]["each"]), np.log10(trips[2]["each"]), 2)
Table(("步数", "10", "50", "100"), (("论文，CIFAR-10", "0.014", "0.0023", "0.0009"),
                                  ("我们，mnist 的四十张", *(said(one, 5) for one in trips))), "还原的误差")

# %% [markdown]
# **判**：**成立**。一个种子的误差远大于别的，拉高了表里的平均，所以先取对数再相减。差 2 就是降到百分之一；论文的只降到十几分之一。
#
# ## 4　引导：更容易认出能照搬，距离要自己量
#
# 先统一写法。论文写 $(1+w)\,\hat\varepsilon_{\text{有}}-w\,\hat\varepsilon_{\text{无}}$，我们写 $\hat\varepsilon_{\text{无}}$ 加上 `guidance_scale` 乘 $(\hat\varepsilon_{\text{有}}-\hat\varepsilon_{\text{无}})$。换算见习题 19.4。本章一律写我们的，1 是不引导。
#
# **论文说**（Ho 与 Salimans 2022，表 1 与表 2，ImageNet）：引导越强，Inception 分数越高。FID 却先降后升，中间有一个谷：表 1 在强度 1.1，表 2 在 1.3。**先猜**：我们的 `digits_class` 有没有这个谷？

# %%
strengths, guidance = (1, 1.1, 1.25, 1.5, 3, 5), "引导 表 1、表 2"
guided = {w: rows[f"guidance {w:g}"] for w in strengths}
distance = {w: one["frechet"] for w, one in guided.items()}
judge("论文取的设定", guidance, "强度 1.1 的距离比不引导的小", distance[1]["each"], distance[1.1]["each"], 2)
judge("论文取的设定", guidance, "强度 5 的距离比不引导的大", distance[5]["each"], distance[1]["each"])
train, classes = load_digits_split()["train"]
orders = [torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
real = [score(train[torch.cat([order[classes[order] == k][:40] for k in labels])]) for order in orders]  # 真图，每类 40 张
print(f"不引导的 {said(distance[1])}，同样多的真图 {said(gap(real, np.zeros(8)))}")
valley_figure(GUIDANCE_TABLES, {w: times(distance[w], distance[1]) for w in strengths}, np.mean(real) / distance[1]["mean"])

# %% [markdown]
# 图：论文的两条线先降到 1 以下，我们的看不出降过。空心圈是谷底，点线是同样多的真图。蓝的是八个种子各 400 张，误差棒是 95% 区间；小框是同一条蓝线，走到强度 5。
#
# 再看认得出的这一半。我们量的是：小分类器认对了，而且把握超过九成的占多少。

# %%
sure = {w: one["sure"] for w, one in guided.items()}
judge("论文取的设定", guidance, "强度 5 的样本比不引导的更容易认出", sure[5]["each"], sure[1]["each"], 3)
judge("论文取的设定", guidance, "强度 5 的样本比强度 3 的更容易认出", sure[5]["each"], sure[3]["each"], 4)
sure_figure(strengths, [one["each"] for one in sure.values()])

# %% [markdown]
# 图：一引导，认得出的就多了；强度 3 以后几乎到了头。纵轴不从零起；细线是一个种子，粗线是平均。
#
# **判**：
#
# - 引导很强时，距离变大，**成立**。强度 1.1 处有没有谷，我们的**看不出**：区间说至多降 1.4%，论文的表 1 降一成四。真图也有 9.9，我们的 13.2 只剩两成多的余地：容得下表 1 的降幅，容不下表 2 的。
# - 引导以后更容易认出，**成立**。3 与 5 之间**看不出**差别：几乎全都认得出了，这把尺子到了头。
#
# ## 5　八处放在一起：不比距离的大多成立，距离要自己量

# %%
verdicts_figure(sorted(verdicts, key=lambda row: row[0] == "论文取的设定"))

# %% [markdown]
# 图：我们挑的设定上，四条都成立；看不出与不成立的，都在论文取的设定上。横线是各条的 95% 区间，除以自己的一半，都成了左右各 1；碰到零线就是看不出。离零远只表示证据强，不表示差别大。横轴在 -2 到 2 以外取了对数。
#
# 论文取的设定上，十三条成立七条；其中比距离的六条，只成立两条。两类不能当成功率来比：自己挑，差别小就可以换一处更大的（两成换四成）。
#
# 还有三件没有做的事：
#
# - **没有重新训练**：每处只用一个训练好的网络，区间说的只是这一个网络。
# - **没有处处照论文**：略过那一处，论文每张表各训练一个网络，我们两张表用同一个；DDPM 图 5 与图 6、DDIM 图 5 与表 2，论文不给类别，我们给了；DDPM 图 7，$x_t$ 由测试图加噪得来；引导用 DPM-Solver++ 只走 10 步。
# - **没有再量一遍**：判了十七条，每条 95%，其中有一条是碰巧，也不奇怪。
#
# ## 小结
#
# **哪些结论可以照搬，哪些要自己重新量？**
#
# - **照样成立的**，多数比的不是距离：先轮廓后细节，分开得越晚留下越多，同一个起点画同一张，引导以后更容易认出。
# - **要重新量的**，主要是距离。照论文的设定，四处差别我们看不出：略过两成的 `cosine`，走 10 步的 $\eta=1$，走 50 步的 $\hat\sigma$，引导强度 1.1。步号也不能照搬（DDPM 图 5、图 7）。
# - **看不出**时，要看区间有多宽。窄的排除得了大差别：走 10 步，$\eta=1$ 至多比 $\eta=0$ 大四成（论文是三倍）；走 50 步，$\hat\sigma$ 至多比 $\eta=1$ 大 5%（论文是四倍）。宽的要加种子：略过两成，只能排除 `cosine` 多坏 2.3 以上。

# %% [markdown]
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 19.1　两头都能走的一步 ★★
#
# `x` 在 $\bar\alpha=$ `here` 处，网络在这里猜的是 `guess`（即 $\hat x_0$）。不掺噪声地走到 $\bar\alpha=$ `there` 处，返回那里的 `x`；`there` 可以比 `here` 大，也可以小。

# %%
def ddim_either_way(x, guess, here, there):
    # 答案
    noise = (x - here**0.5 * guess) / (1 - here) ** 0.5
    return there**0.5 * guess + (1 - there) ** 0.5 * noise
    # 答案完


grade("19.1", ddim_either_way)

# %% [markdown]
# ### 19.2　收到第 t 步时已付多少比特 ★★
#
# `terms` 是 $(T+1,)$ 的张量：$L_0,L_1,\dots,L_{T-1},L_T$，单位 nats。返回 $(T,)$ 的张量，第 $t$ 项是收到 $x_t$ 时已经付的比特：$L_T$，与比 $t$ 大的各步。

# %%
def bits_paid(terms):
    # 答案
    return (terms.sum() - terms.cumsum(0)[:-1]) / torch.log(torch.tensor(2.0))
    # 答案完


grade("19.2", bits_paid)

# %% [markdown]
# ### 19.3　判一条结论 ★★★
#
# 结论是“`large` 比 `small` 大”。两个张量的形状都是 $(n,)$，是两种做法在同样的 $n$ 个种子上的数；`quantile` 是分位数，区间的一半等于它乘差的标准误。
# 照第 1 节的判法，返回三个字符串之一："成立"、"不成立"、"看不出"。不许调用 `gap` 与 `verdict`。

# %%
def decide(large, small, quantile):
    # 答案
    change = large - small
    margin = quantile * change.std() / len(change) ** 0.5
    if change.mean() > margin:
        return "成立"
    return "不成立" if change.mean() < -margin else "看不出"
    # 答案完


grade("19.3", decide)

# %% [markdown]
# ### 19.4　换算引导强度 ★
#
# 论文的 $w=0.3$，我们的 `guidance_scale` 写多少？

# %%
grade("19.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 19.5　能说什么 ★★
#
# 有人在自己的 MNIST 模型上量得小分类器的 Fréchet 距离是 3.0，说“比 DDPM 论文的 3.17 好”。下面哪一句是对的？
#
# - A：对，两个都是 Fréchet 距离，小的好。
# - B：换成五万张样本就能比了。
# - C：特征、真图都不同，两个数不能比；能比的是同一把尺子下两种做法的次序。
# - D：除以特征的维数（32 与 2048）就能比了。

# %%
grade("19.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 小实验　略过多少才看得出坏
#
# 改一处，量一量，写三句话。第 1 节的 `cosine` 略过两成看不出坏，略过四成坏了。这里只走 10 步，把 `part` 依次改成 0.2、0.3、0.4、0.5，用 `gap` 求八个种子的差与区间。先猜：从哪里起看得出坏？线性的表略过五成，会坏吗？
#
# ```python
# part = 0.3
# for seed in range(8):
#     noise = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
#     print([round(score(skipped(digits, noise, table, 10, p)), 1) for table in (linear, cosine) for p in (0, part)])
# ```
#
# <!-- 参考答案 -->
# **参考答案**　八个种子各 200 张，逐个种子减去不略过的：
#
# | 略过 | `cosine` | 线性 |
# |:--|--:|--:|
# | 两成 | −6.4 ± 2.8 | −0.9 ± 0.2 |
# | 三成 | −0.3 ± 3.9 | −1.7 ± 0.5 |
# | 四成 | 14.6 ± 5.7 | −3.8 ± 1.0 |
# | 五成 | 43.8 ± 7.2 | −2.5 ± 1.8 |
#
# 1. `cosine` 略过三成还看不出（标准误近四点），四成已经坏了（区间 1.3 到 27.9）。
# 2. 线性的略过五成也看不出坏。$\sqrt{\bar\alpha}$ 在线性的五成处是 0.28，比 `cosine` 的两成处（0.31）还小。
# 3. `cosine` 三成处的差不到一个标准误，只能写“看不出”。
#
# ```python
# each = []
# for seed in range(8):
#     noise = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
#     many = [[score(skipped(digits, noise, table, 10, part)) for part in (0, 0.2, 0.3, 0.4, 0.5)] for table in (linear, cosine)]
#     each.append([[far - one[0] for far in one[1:]] for one in many])
# print(torch.tensor(each).mean(0), torch.tensor(each).std(0) / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
