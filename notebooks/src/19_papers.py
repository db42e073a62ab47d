# %% [markdown]
# # 19 · 论文里的图，在我们的尺度上
#
# 提出无分类器引导的论文里有一张表：引导强度调到 1.1，FID 降到全表最低。照着调我们的 `digits_class`，看不出距离变小。同一张表还说引导越强，Inception 分数越高；我们的样本引导之后也确实更容易认出。同一张表里的两句话，一句看不出；另一句我们只量得了“认得出”这一半，这一半照搬得了。
#
# 论文的数是用大得多的网络、几万张样本量的，你多半没有条件重做。所以要用论文的结论，先得知道：**论文的哪些结论可以照搬到自己的小模型上，哪些要自己重新量？** 这一章从四篇论文里挑八处图表，用随课程的模型逐处重新量一遍。
#
# 数的大小不能与论文比，因为数据、网络与打分的尺子都不同：论文用 FID，我们用小分类器的 Fréchet 距离，两个都是越小越好。能比的是次序：谁大谁小，往哪边走。
#
# 八处都照同样的次序写：论文说什么，你先猜，我们量到什么，**判**，最后是**没有看到的**。判的时候先看论文自己取的那一点，例如它走 10 步，我们也看 10 步；再看别的点。话里带“反而”“已”字的两条，是我们看到数以后才写的，论文没有说，所以它们的“成立”要打折扣。
#
# **学习目标**
#
# - 会用“逐个种子相减”判一条结论：成立、不成立，还是看不出。
# - 说得出八处图表里，哪些在小模型上照样成立，哪些变了。
# - 会写 DDIM 的倒走，会算“收到 $x_t$ 时付了多少比特”，会换算两种引导强度。
#
# **预计用时** 正文 40 分钟，练习另计。运行全部单元约 1 分钟。

# %%
import numpy as np
import torch

from ddpm_edu import load_pretrained, make_beta_schedule
from ddpm_edu.evaluation.metrics import DigitsFrechet
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach import check_order, grid_figure
from ddpm_edu.teach.paper_figures import mark_parts, measured_figure, paired_figure, verdicts_figure, zero_line
from ddpm_edu.teach.papers import column, completions, gap, guesses, measured, said, skipped, spread_within, stops, turn, verdict, walk
from ddpm_edu.teach.tables import Table

digits, mnist, score = load_pretrained("digits"), load_pretrained("mnist"), DigitsFrechet()
rows, labels = measured(), torch.arange(10)  # rows 是量好的数
print("量好的：" + "，".join(sorted({name.split()[0] for name in rows})))

# %% [markdown]
# ## 1　怎样判一条结论：逐个种子相减
#
# 先拿一条结论作例子，把判的办法讲清楚。
#
# **论文说**（Improved DDPM，图 4，64×64 的 ImageNet）：线性的噪声表末尾几乎全是噪声，所以采样时略过开头的两成，FID 也坏不了多少。论文换用 `cosine` 的表，就是要去掉这种浪费。**先猜**：两张表都略过两成，谁坏得多？都略过四成呢？
#
# - **略过**：把纯噪声直接当作那一步的带噪图，从那里走起。步数照比例减：不略过走 15 步，略过两成走 12 步，略过四成走 9 步。每种量八个种子，每个种子 400 张。
# - **两张表**：用同一个 `digits` 网络，它是用 `cosine` 训练的；换成 `linear` 的表时，步号取 $\bar\alpha$ 最近的一步。这里的 `linear` 是论文的，$\beta$ 等距，在程序里叫 `sqrt_linear`。
#
# 这些数与下文带 ± 的数都事先量好：多数由 `python -m benchmarks.papers` 量，少数取自模型的卡片。± 后面是标准误。

# %%
def frechet(table, share):
    return rows[f"skip {table} {share}"]["frechet"]["each"]


both = {"linear": "论文的 linear（sqrt_linear）", "cosine": "cosine"}
paired_figure({title: (frechet(table, 0), frechet(table, 0.4)) for table, title in both.items()},
              {f"{table}\n略过 {part:.0%}": np.subtract(frechet(table, part), frechet(table, 0)) for table in both for part in (0.2, 0.4)},
              ("不略过", "略过 40%"), "Fréchet 距离", "Fréchet 距离的增加")

# %% [markdown]
# 图：左与中，一条线是一个种子，左边是 `linear`，中间是 `cosine`。右边的每个圆点是一个种子的差，略过的减不略过的；黑的横线是平均，误差棒是平均的 95% 区间，灰线是零。

# %%
Table(("噪声表", "略过", "Fréchet 距离", "逐个种子减去不略过的"), [
    (table, f"{part:.0%}", said(rows[f"skip {table} {part}"]["frechet"]), said(gap(frechet(table, part), frechet(table, 0))) if part else "—")
    for table in both for part in (0, 0.2, 0.4)], "略过几成")

# %% [markdown]
# 看 `linear` 略过四成的一行。只看平均，28.1 与 31.3 差不到一个标准误，分不出大小；逐个种子相减，差是 -3.2 ± 0.7，就分得出了。
#
# 因为种子相同，起点就相同。起点好的种子，略过与否距离都偏小，所以左图的八条线几乎平行。两边共有的这一份起伏，一减就抵消了。两边没有共有的起伏时，相减并不省。
#
# 这就是本章的**判法**：把论文的话写成“甲比乙大”，逐个种子算甲减乙。
#
# | 差的平均 | 判 |
# |:--|:--|
# | 大于零，95% 区间碰不到零 | 成立 |
# | 小于零，95% 区间碰不到零 | 不成立 |
# | 95% 区间碰到零 | 看不出：没有证实，也没有推翻 |
#
# 区间是平均加减几个标准误，由种子数定：八个种子是 2.4 个，四个是 3.2 个，三个是 4.3 个（t 分布的分位数）。种子越少，区间越宽。即使其实都没有差，二十条里平均仍有一条会被误判。
#
# 这个判法是程序包里的 `verdict`；习题 19.3 里，你自己写一个，从各个种子的数写起。

# %%
verdicts = []


def judge(paper, claim, large, small, digits=1):
    one = gap(large, small)  # 逐个种子相减，再求平均、标准误与区间的一半
    word = verdict(one)
    verdicts.append((paper, claim, one))
    low, high = (f"{one['mean'] + way * one['margin']:.{digits}f}" for way in (-1, 1))
    print(f"{word}：{claim}；差 {said(one, digits)}，{len(large)} 个种子，区间 {low} 到 {high}")


judge("Improved DDPM 图 4", "略过 20%，linear 反而近一点", frechet("linear", 0), frechet("linear", 0.2))
for part in (0.2, 0.4):
    worse = {table: np.subtract(frechet(table, part), frechet(table, 0)) for table in both}
    judge("Improved DDPM 图 4", f"略过 {part:.0%}，cosine 比 linear 坏得更多", worse["cosine"], worse["linear"])
linear, cosine = (alphas_cumprod(make_beta_schedule(name, 1000))[0] for name in ("sqrt_linear", "cosine"))
print(f"略过 40% 的那一步，√ᾱ：linear {linear[599] ** 0.5:.2f}，cosine {cosine[599] ** 0.5:.2f}")
noise = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
live = {name: score(skipped(digits, noise, table, 10, 0.4)) - score(skipped(digits, noise, table, 10, 0)) for name, table in (("linear", linear), ("cosine", cosine))}
check_order("当场再走一遍（一个种子，200 张）：linear 的差、cosine 的差", live["linear"], live["cosine"])

# %% [markdown]
# **判**：在论文说的两成处，`linear` 不但不变坏，距离还小了一点；`cosine` 是不是坏得更多，**看不出**。加到四成，`cosine` 坏得更多，**成立**。`cosine` 从哪里开始坏？只知道在两成与四成之间，小实验里你来量。
#
# 这与 $\sqrt{\bar\alpha}$ 相合：略过四成的那一步，`cosine` 的带噪图里，原图的系数还有 0.58，纯噪声难以冒充；`linear` 的只有 0.16。
#
# **没有看到的**：论文是每张表各训练一个网络，我们只有一个。`linear` 略过以后距离反而小了，为什么，没有查。
#
# ## 2　一条链上，信息怎样来：DDPM 的三张图
#
# ### DDPM 图 5：一多半的比特付给看不见的细节
#
# **论文说**（图 5、附录的表 4，CIFAR-10）：把带噪图从最脏的起依次传给对方，每收到一张 $x_t$，对方就猜一次 $\hat x_0$。这时已付的比特是
#
# $$L_T+\sum_{s=t+1}^{T-1}L_s$$
#
# 论文的 $x_1$ 就是我们的 $t=0$。论文的数是：收到 $x_1$ 时，误差已降到 0.95（像素 0 到 255），后面却还要付一多半的比特，都给了肉眼看不见的细节。**先猜**：我们的 `cifar10`，参数约为它的九分之一，还是一多半吗？

# %%
rate = rows["rate cifar10"]
total, left = rate["total"]["mean"], rate["L_0"]["mean"]
paid, error, width = ([first, *rate[key][kind]] for first, key, kind in (
    (total - left, "paid", "mean"), (rate["error_0"]["mean"], "error", "mean"), (rate["error_0"]["se"], "error", "se")))
theirs = ([1.77581, 0.11994, 0.05415, 0.02866, 0.01507, 0.00716, 0.00282, 0.00081, 0.00013, 0.0],
          [0.95136, 12.02277, 18.47482, 24.43656, 30.80948, 38.03236, 46.12765, 54.18826, 60.97170, 67.60125])
axes, late = ("已付（bits/dim）", "误差（像素 0 到 255）", "linear", "log"), 12  # 后九个点已付的都不到 0.11
figure = measured_figure(("全程", paid, {"我们的 cifar10，六张测试图": (error, width), "论文的表 4，测试集": (theirs[1], None, theirs[0])}, *axes),
                         ("开头放大", paid[late:], {"我们": (error[late:], width[late:]), "论文": (theirs[1][1:], None, theirs[0][1:])}, *axes), width=11)
mark_parts(figure, (total - rate["after_1"]["mean"], total - left, total), (f"$L_1$\n{rate['L_1']['mean']:.2f}", f"$L_0$\n{left:.2f}"),
           (theirs[0][0], theirs[1][0]), "论文切在这里")

# %% [markdown]
# 图：横轴是已付的比特，纵轴是这时猜的误差，取了对数；右图是左图开头的一小段。
#
# - 蓝线是我们的，误差棒是三个种子的标准误，每个种子两张图。橙色是论文给出的十个点，箭头指着它切开的那一点。
# - 蓝线最右的一点收到 $t=0$，它左边的一点收到 $t=1$。浅灰是这两点之间付的 $L_1$，深灰是最后付的 $L_0$。
# - 两边都先陡后平：头十分之一个比特，就让误差从六十上下降到十几。

# %%
half = np.array(rate["total"]["each"]) / 2
judge("DDPM 图 5", "误差降到 1 以后还要付的，比一半多", rate["after_1"]["each"], half, 2)
judge("DDPM 图 5", "收到 t=0 以后还要付的，比一半多", rate["L_0"]["each"], half, 2)
print(f"噪声的标准差：论文的第一步 {(1 - linear[0]) ** 0.5:.4f}，我们的 t=0 {(1 - cosine[0]) ** 0.5:.4f}，t=1 {(1 - cosine[1]) ** 0.5:.4f}")
cut = [("论文，误差 0.95", 1.78, "1.97", 3.75), ("我们，误差 0.89", total - rate["after_1"]["mean"], said(rate["after_1"], 2), total),
       ("我们，收到 t=0", total - left, said(rate["L_0"], 2), total)]
Table(("切在哪里", "已付", "还要付", "还要付的占"), [(name, f"{first:.2f}", rest, f"{1 - first / whole:.0%}") for name, first, rest, whole in cut], "切开的两份")

# %% [markdown]
# **判**：切在同样的误差处，还要付一半多，**成立**，只是三个种子刚过线。切在同样的一步，也就是收到 $t=0$ 时，**不成立**。
#
# 两种切法不同，因为两张噪声表的第 0 步不一样：论文的标准差是 0.0100，我们的 $t=1$ 才与它相近。所以照搬这句话，要照误差或噪声切，不能照步号切。
#
# **没有看到的**：总数 3.51 比论文的 3.75 小，不能说我们好，这里只有六张图。
#
# ### DDPM 图 6：先有大样，后有细节
#
# **论文说**（图 6，CIFAR-10）：去噪途中的 $\hat x_0$，大块的形状先出现，细节最后才有。**先猜**：数字的“大块”，要早多少步定下来？

# %%
images, seen = guesses(mnist, 10, 50, labels, torch.Generator().manual_seed(0))
picked = [seen[i] for i in (0, 8, 16, 24, 49)]
grid_figure(torch.cat([guess for _, guess in picked]), nrow=10, rows=[f"$t={t}$" for t, _ in picked], columns="0123456789")

# %% [markdown]
# 图：同样的十个样本，从上到下是途中各步的 $\hat x_0$（祖先采样，50 步）。头一行是模糊的平均字形；到 $t=673$，笔画的位置大多定了，边缘还糊；再往下只剩小处在变。
#
# 把图分成两层来量：粗的一层是 7×7 一块的平均，细的一层是减去它余下的。每一层都问：还有几成没有定？把它与最后的图之差的平方，除以最后那批图自己的方差，1 是只知道平均的样子，0 是已经与最后相同。看哪一层先少于两成（四个种子，每个四十张）。

# %%
settle = rows["settle"]
print(f"没有定的少于两成：粗的在 t={said(settle['coarse_done'], 0)}，细的在 t={said(settle['fine_done'], 0)}")
judge("DDPM 图 6", "粗的一层比细的先定（步）", settle["coarse_done"]["each"], settle["fine_done"]["each"], 0)

# %% [markdown]
# **判**：**成立**。为什么？猜测是一块里 49 个像素求平均，彼此独立的噪声只剩七分之一，所以噪声还大的时候，粗的一层已经看得出来。这没有单独验。
#
# **没有看到的**：论文的头几步是灰的一团，我们的头一行已经像字。猜测是因为我们给了类别；没有不给类别再量。
#
# ### DDPM 图 7：从同一个 $x_t$ 分开，留下什么
#
# **论文说**（图 7 与附录，人脸）：几张样本共用一个 $x_t$，再各自走完。从 $t=1000$ 分开的，差得很远；晚些分开的，性别、发色、眼镜就相同了，$x_{750}$ 里已经定下。**先猜**：换成数字，从 $t=750$ 分开，还是同一个数字的有几成？
#
# 论文的 $x_t$ 取自一条去噪的链。我们改为把一张图加噪到第 $t$ 步，好知道原来是哪个数字；走完时不给类别（类别一栏写 $-1$）。带 ± 的数是四个种子，每个四张图，各走八次。

# %%
start, generator = images[[3, 8]].clamp(-1, 1), torch.Generator().manual_seed(1)
nothing = {"c_adm": torch.full((8,), -1)}
shared = {t: completions(mnist, start, t, 4, nothing, generator, steps=25) for t in (999, 750, 500, 250)}
grid_figure(torch.cat([torch.cat([start[:1], many[0], start[1:], many[1]]) for many in shared.values()]), nrow=10,
            rows=[f"$t={t}$" for t in shared], columns=["原图", "", "", "", "", "原图", "", "", "", ""])

# %% [markdown]
# 图：两张原图，右边四列是从它的 $x_t$ 各走的四次。$t=999$ 时看不出与原图有关；$t=750$ 时，3 大多还是 3，8 却一张也没有留下；$t=500$ 时都还是原来的数字，只是笔画的弯法不同；$t=250$ 时几乎一样。

# %%
kept = {t: rows[f"share {t}"]["kept"] for t in (999, 750, 500, 250)}
print("还是原来那个数字的：" + "，".join(f"t={t} {said(one, 2)}" for t, one in kept.items()))
for early, late in ((999, 750), (750, 500)):
    judge("DDPM 图 7", f"从 {late} 分开，留下的比从 {early} 多", kept[late]["each"], kept[early]["each"], 2)
check_order("当场：分开得越晚，彼此越像", *(spread_within(shared[t]) for t in (250, 500, 750, 999)))

# %% [markdown]
# **判**：次序**成立**。道理是 $t$ 越小，$x_t$ 里原图的系数 $\sqrt{\bar\alpha_t}$ 越大，几次走法共有的就越多。
#
# **没有看到的**：人脸的大特征分得出好几种，数字只能数“还是不是它”。$t=500$ 时量到的已经都是，再往下这个数就分不出差别了。
#
# ## 3　少走几步：DDIM 的两张表、一张图
#
# ### DDIM 表 1：步数少，就别掺噪声
#
# 论文比了三种走法：$\eta=0$ 不掺噪声，$\eta=1$ 是祖先采样，$\hat\sigma$ 的方差取 $\beta$，掺得最多。
#
# **论文说**（表 1，CIFAR-10）：步数少时，掺得越多越坏；走满一千步，掺得最多的反而最好。**先猜**：`digits` 也走 10 步，还分得出三种吗？

# %%
quality, counts = pretrained_card("digits")["quality"], (5, 10, 20, 50)
names = {r"$\eta=0$": "ddim_{}", r"$\eta=1$": "ancestral_{}", r"$\hat\sigma$，方差取 $\beta$": "ancestral_{}_v1"}
none, some, most = ({n: quality[way.format(n)]["frechet"] for n in counts} for way in names.values())
theirs = dict(zip(names, (([13.36, 6.84, 4.67, 4.16, 4.04], None), ([41.07, 18.36, 8.01, 5.78, 4.73], None), ([367.43, 133.37, 32.72, 9.99, 3.17], None))))
ours = {name: tuple([each[n][key] for n in counts] for key in ("mean", "se")) for name, each in zip(names, (none, some, most))}
change = {name: [gap(a[n]["each"], b[n]["each"]) for n in counts[1:]] for name, a, b in
          ((r"$\eta=1$ 减 $\eta=0$", some, none), (r"$\hat\sigma$ 减 $\eta=1$", most, some))}  # 10、20、50 步，论文也有
figure = measured_figure(("论文的表 1，CIFAR-10", (10, 20, 50, 100, 1000), theirs, "步数", "FID", "log", "log"),
                         ("digits，八个种子各 1000 张", counts, ours, "步数", "Fréchet 距离", "log", "log"),
                         ("digits，逐个种子相减", counts[1:], {name: (*([one[key] for one in each] for key in ("mean", "margin")), [n * aside for n in counts[1:]], color)
                          for (name, each), aside, color in zip(change.items(), (0.96, 1.04), ("#009E73", "#CC79A7"))},
                          "步数", "Fréchet 距离的增加", "log", "linear"), width=11)
figure.axes[1].text(5, 33, "5 步，\n论文没有", ha="left", va="top", fontsize=9)
zero_line(figure, 2)

# %% [markdown]
# 图：横轴都是步数，取了对数。左与中的纵轴不是同一种数，不能互比；中间的误差棒是标准误，最左的 5 步论文没有走。
#
# 右边是逐个种子的差，只画论文也走的三种步数，两种点左右错开一点。误差棒是 95% 区间，碰到灰色的零线就是看不出。

# %%
for n in (10, 5):
    judge("DDIM 表 1", f"{n} 步：η=1 比 η=0 坏", some[n]["each"], none[n]["each"])
for n in (10, 20, 50):
    judge("DDIM 表 1", f"{n} 步：掺得最多的比 η=1 坏", most[n]["each"], some[n]["each"])

# %% [markdown]
# **判**：
#
# - $\eta=1$ 比 $\eta=0$ 坏。论文走 10 步，前者的 FID 是后者的三倍；我们走 10 步**看不出**，减到 5 步才**成立**。
# - 掺得最多的比 $\eta=1$ 坏。走 10 步与 20 步都**成立**；走 50 步**看不出**，论文在那里还是四倍。
#
# 右图的误差棒有长有短。粉色的两种走法只差方差，用的是同一份噪声：走 50 步时，不配对的标准误是 1.8，相减后是 0.3。绿色的一种抽噪声，一种不抽，相减并不省：走 50 步时，不配对的是 2.2，相减后是 2.7。
#
# **没有看到的**：一千步时的反超，我们没有量到那么多步。
#
# ### DDIM 图 5：同一个起点，画的是同一张
#
# **论文说**（图 5）：$\eta=0$ 时样本由 $x_T$ 定。从同样的起点走 10 到 1000 步，大的样子都相同，步数只添细节。**先猜**：只走 5 步的，与走 100 步的还是同一张吗？

# %%
start = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(3))


def draw(n, eta=0.0, x_T=start):
    return mnist.sample(10, sampler="ddim", steps=n, eta=eta, x_T=x_T, cond=labels, progress=False, generator=torch.Generator().manual_seed(n))


drawn = {f"$\\eta={eta}$，{n} 步": draw(n, eta) for eta, n in ((0, 5), (0, 20), (0, 50), (1, 20), (1, 50))}
grid_figure(torch.cat(list(drawn.values())), nrow=10, rows=list(drawn), columns="0123456789")

# %% [markdown]
# 图：五行都从同样的十个起点出发。前三行大样相同，5 步的小处还不同，例如 2 的上半多一个圈。后两行掺了噪声，字形就换了，彼此也不像。这十张里后两行写得好些，可是十张太少，不能当作结论。

# %%
same = rows["same"]
print(f"与走 100 步的相差：5 步 {said(same['steps_5'], 3)}，20 步 {said(same['steps_20'], 3)}；换一个起点 {said(same['other'], 3)}")
judge("DDIM 图 5", "换起点的差，比只走 5 步的差大", same["other"]["each"], same["steps_5"]["each"], 3)
judge("DDIM 图 5", "掺了噪声，20 与 50 步的差，比只走 5 步的差大", same["eta_1"]["each"], same["steps_5"]["each"], 3)

# %% [markdown]
# **判**：**成立**。道理在第 18 章的概率流：$\eta=0$ 的步子都在近似同一条路。起点定了，路就定了，步数只决定把路描得多细。
#
# **没有看到的**：论文的模型不给类别，我们给了；数字的种类本来就相同，这里比的只是写法。
#
# ### DDIM 表 2：倒着走，再走回来
#
# $\eta=0$ 的一步不掺新的噪声：先由 $x_t$ 与 $\hat x_0$ 求出噪声，再照另一步 $s$ 的系数掺回去。
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
# 图：五张样本走到 $x_T$ 再走回来。各走 10 步，还原的笔画变了，2 的尾巴没有了；各走 100 步，肉眼看不出与原图的差别。两种 $x_T$ 里都看得出笔画的一点影子，走 10 步的还偏灰。所以还原得好，不等于 $x_T$ 就是高斯噪声。

# %%
trips = [rows[f"trip {n}"]["error"] for n in (10, 50, 100)]
judge("DDIM 表 2", "10 步的误差比 100 步的大（以 10 为底的对数）", np.log10(trips[0]["each"]), np.log10(trips[2]["each"]), 2)
Table(("步数", "10", "50", "100"), (("论文，CIFAR-10", "0.014", "0.0023", "0.0009"),
                                  ("我们，mnist 的二十张", *(said(one, 5) for one in trips))), "还原的误差")

# %% [markdown]
# **判**：**成立**。误差跨了两个数量级，所以先取对数再相减；差 2 就是降到百分之一。这与一阶方法相合：误差与步长成正比，均方误差就与步数的平方成反比。
#
# **没有看到的**：论文的误差只降到约十六分之一，为什么慢，没有查。
#
# ## 4　引导：方向能照搬，谷要自己找
#
# 先把引导强度的写法统一：论文写 $(1+w)\,\hat\varepsilon_{\text{有}}-w\,\hat\varepsilon_{\text{无}}$，我们的 `guidance_scale` 是它的 $1+w$，所以 1 是不引导。本章一律写我们的。
#
# **论文说**（Ho 与 Salimans 2022，表 1 与表 2，ImageNet）：引导越强，Inception 分数越高。FID 却先降后升，中间有一个谷：表 1 的谷在强度 1.1，表 2 的在 1.3。**先猜**：我们的 `digits_class` 有没有这个谷？
#
# Inception 分数既看样本认不认得出，也看种类够不够多。我们只量前一半：小分类器认得出的占多少。

# %%
strengths = (1, 1.1, 1.25, 1.5, 3, 5)
guided = {w: rows[f"guidance {w:g}"] for w in strengths}
farther = [gap(guided[w]["frechet"]["each"], guided[1]["frechet"]["each"]) for w in strengths]
share = {name: column(rows, [f"guidance {w:g}" for w in strengths], key) for name, key in (("认得出", "recognised"), ("认得出，把握超过九成", "sure"))}
theirs = {"表 1，64×64": ([1.8, 1.55, 2.04, 3.03, 4.3, 5.74], None), "表 2，128×128": ([7.27, 4.53, 3.03, 2.43, 2.49, 2.98], None)}
figure = measured_figure(("论文，强度 1 到 1.5", (1, 1.1, 1.2, 1.3, 1.4, 1.5), theirs, "引导强度", "FID"),
                         ("digits_class，强度 1 到 1.5", strengths[:4], {"差": ([one["mean"] for one in farther[:4]], [one["margin"] for one in farther[:4]])},
                          "引导强度", "Fréchet 距离的增加"),
                         ("digits_class，强度 1 到 5", strengths, share, "引导强度", "占的比例"), width=11)
zero_line(figure, 1)

# %% [markdown]
# 图：左边是论文的数，两条线的谷不在一处。表 1 取训练时一成样本不给类别的一列，表 2 取走 256 步的一列。
#
# 中间与右边是我们的，八个种子各 400 张，用 DPM-Solver++ 走 10 步。中间是逐个种子减去不引导的，误差棒是 95% 区间，灰线是零。右边的误差棒是标准误；“把握超过九成”是说小分类器给那一类的概率超过 0.9。

# %%
judge("引导 表 1、表 2", "强度 5 的比不引导的认得出（把握超过九成）", guided[5]["sure"]["each"], guided[1]["sure"]["each"], 3)
judge("引导 表 1、表 2", "强度 5 的比强度 3 的认得出（把握超过九成）", guided[5]["sure"]["each"], guided[3]["sure"]["each"], 4)
judge("引导 表 1、表 2", "强度 5 的距离比不引导的大", guided[5]["frechet"]["each"], guided[1]["frechet"]["each"])
judge("引导 表 1、表 2", "强度 1.1 的距离比不引导的小", guided[1]["frechet"]["each"], guided[1.1]["frechet"]["each"], 2)
judge("引导 表 1、表 2", "强度 1.25 的距离已比不引导的大（合表 1，不合表 2）", guided[1.25]["frechet"]["each"], guided[1]["frechet"]["each"], 2)
others = {name: pretrained_card(name)["quality"] for name in ("mnist", "fashion", "cifar10")}
Table(("模型", "不引导时认得出", "强度 2 的距离减不引导的"), [
    (name, f"{card['guidance_1']['recognised']['mean']:.0%}", said(gap(card["guidance_2"]["frechet"]["each"], card["guidance_1"]["frechet"]["each"])))
    for name, card in others.items()], "另三个模型")

# %% [markdown]
# **判**：
#
# - 引导以后更容易认出，**成立**；但是 3 与 5 之间**看不出**差别。
# - 论文的两张表，FID 在 1.1 处都变小；我们的在 1.1 处**看不出**。到 1.25，我们的距离已经变大：表 1 在 1.2 处也已变大，与它相合；表 2 还在变小，与它不合。
#
# 所以谷在哪里要看模型。论文的两张表就不在一处；上表的另三个模型，强度调到 2，也有的变大，有的变小。变小的是不引导时错得多的两个，谷的位置也许与此有关，没有验。
#
# **没有看到的**：1 与 1.1 之间有没有浅谷没有量；另三个模型只量了 1 与 2。
#
# ## 小结
#
# - **这一章的问题**：论文的哪些结论可以照搬到自己的小模型上，哪些要自己重新量？
# - **照样成立的**多是方向：先大样后细节，同一个起点画同一张，步数少时别掺太多噪声，引导以后更容易认出。
# - **要重新量的**是在哪一点上看得出：论文的三处差别，在论文取的那一点上我们看不出：略过两成时 `cosine` 比 `linear` 坏，走 10 步时 $\eta=1$ 比 $\eta=0$ 坏，强度 1.1 时距离变小。论文里差得远，不保证我们也差得远：走 10 步的 13.36 与 41.07，到我们这里就分不出。
# - **看不出**时，要看区间有多宽。窄的排除得了大差别：走 10 步，$\eta=1$ 不会是 $\eta=0$ 的三倍，至多大三成上下；强度 1.1 的变化不到 2%。宽的什么也没有说，要加种子。
#
# 一共判了二十一条，就算都没有差，平均也会误判约一条。最可疑的是刚过线的，DDPM 图 5 的头一条与图 7 的末一条就是。下图由判过的各条当场画成。

# %%
verdicts_figure(verdicts)

# %% [markdown]
# 图：判过的二十一条，按图表分组。横轴是差的平均除以 95% 区间的一半，大于 1 就成立，在灰带里就看不出。圆点离灰带越近，越像是碰巧。

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
# ### 19.2　收到第 t 步时付了多少 ★★
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
# 改一处，量一量，写三句话。第 1 节的 `cosine` 略过两成看不出坏，略过四成坏了。把下面的 `part` 依次改成 0.2、0.3、0.5，种子至少换四个，用 `gap` 求差与区间（步数、张数与第 1 节不同，数不能直接比）。先猜：从哪里起看得出坏？线性的表略过五成，会坏吗？
#
# ```python
# part = 0.3
# for seed in range(4):
#     noise = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
#     print([round(score(skipped(digits, noise, table, 10, p)), 1) for table in (linear, cosine) for p in (0, part)])
# ```
#
# <!-- 参考答案 -->
# **参考答案**　四个种子各 200 张，逐个种子减去不略过的；两成一行是正文的八个种子，各 400 张：
#
# | 略过 | `cosine` | 线性 |
# |:--|--:|--:|
# | 两成 | −1.9 ± 1.5 | −0.7 ± 0.1 |
# | 三成 | 0.7 ± 4.8 | |
# | 五成 | 53.1 ± 8.5 | −1.8 ± 2.6 |
#
# 1. `cosine` 略过三成还分不出（四个种子，标准误近五点），四成已经坏了（多 17.3 ± 3.0，正文的八个种子），五成多 53.1 ± 8.5。
# 2. 线性的略过五成也看不出坏。看 $\sqrt{\bar\alpha}$：把纯噪声当作那里的带噪图，丢掉的正是这一份信号。线性的五成处是 0.28，比 `cosine` 的两成处（0.31）还小。
# 3. 四个种子的标准误有两三点到近十点，三成处的差不到一个标准误，只能写“看不出”。
#
# ```python
# each = []
# for seed in range(4):
#     noise = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
#     many = [[score(skipped(digits, noise, table, 10, part)) for part in (0, 0.3, 0.5)] for table in (linear, cosine)]
#     each.append([[one[1] - one[0], one[2] - one[0]] for one in many])
# print(torch.tensor(each).mean(0), torch.tensor(each).std(0) / 2)
# ```
#
# <!-- 参考答案完 -->
