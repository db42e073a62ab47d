# %% [markdown]
# # 01 · 从零实现：平面上的点
#
# **学习目标**
#
# - 只用 PyTorch，五十来行写出一个完整的扩散模型：加噪、训练、采样。
# - 说得出为什么不能让网络“一步到位”，为什么要先把数据毁掉，再一小步一小步地走回来。
# - 看得见网络学到了什么：平面上每一处都有一个箭头，指着数据变密的方向。
#
# **预计用时** 40 分钟。运行全部单元约半分钟，不需要 GPU。
#
# 第 0 章里，现成的程序包画出了手写的数字，可是一切都藏在里面。这一章把它拆到最小：数据只是平面上的点，训练与采样都摆在眼前。
# 把图换成平面上的点，原理完全不变，省去的只是处理图像的网络；第 2 至 8 章，各讲这里某一行的“为什么”。（从程序包里只取了画图、数据，和第 8 节核对时用的两个函数。）

# %%
import math

import torch
from torch import nn

from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.schedules import make_beta_schedule
from ddpm_edu.teach import check, curve_figure, grade
from ddpm_edu.teach.moons import moons
from ddpm_edu.teach.points import points_figure

# %% [markdown]
# ## 1　问题：造出新的点
#
# 手里有四千个点，排成两弯月牙。它们从哪里来，我们不知道：没有公式，只有这些点。
# 任务是造出**新的**点，让它们看起来与这些点出自同一个地方。
#
# 这就是“生成”的意思：数据服从某个未知的分布 $p(x)$，我们只有从中抽出的样本，却想抽出更多的样本。
# 一张 28×28 的图是 784 维空间里的一个点，全部手写数字在那里也排成某种弯弯曲曲的形状，只是画不出来；平面上的形状，我们画得出来。

# %%
data, label = moons(4000, seed=0)
print("均值", [round(float(m), 1) + 0.0 for m in data.mean(0)], "标准差", [round(float(s), 1) for s in data.std(0)])
points_figure({"手里的四千个点": data}, label, width=4.0)

# %% [markdown]
# 图：两弯月牙。颜色只是为了看得清楚，训练时不告诉网络。`moons` 就是 scikit-learn 的 `make_moons`，坐标换算过，横竖都是均值约 0、标准差约 1。

# %% [markdown]
# ## 2　直接造，为什么不行
#
# 最先想到的办法：随机的点 $z$ 容易抽，让网络学会把它变成数据点，$g(z)\approx x$。
# 可是哪个 $z$ 该变成哪个 $x$？没有人知道，只好随机配对，然后照常最小化均方误差。
#
# **先猜一猜**：训练完以后，一千个不同的 $z$ 会变成什么样的一千个点？

# %%
torch.manual_seed(0)
guess = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
optimizer = torch.optim.Adam(guess.parameters(), lr=2e-3)
for _ in range(600):
    z, x = torch.randn(512, 2), data[torch.randint(len(data), (512,))]
    loss = (guess(z) - x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
straight = guess(torch.randn(1000, 2)).detach()
points_figure({"要造的": data[:1000], "直接造出来的": straight}, shadow=data, width=6.0)

# %% [markdown]
# 图：左边是数据，右边是网络造的一千个点，全挤在正中央的一小团里；衬底的灰影是数据，那里几乎没有数据。
#
# 道理很简单。差不多的 $z$，这一批要它变成左上的点，下一批要它变成右下的点，要求互相矛盾；要使均方误差最小，只能取平均。
# **均方误差逼出来的是平均**，而许多张图的平均不是一张图，只是一团糊。这句话后面还要用很多次。
# （只说“随机配对加均方误差”不行；GAN 也只用一步，它走的是另一条路。）

# %% [markdown]
# ## 3　先毁掉它
#
# 扩散模型换了一个思路：先别急着造，先把数据一点点毁掉。每一步把点朝原点缩一点，再加一点高斯噪声，走 $T=1000$ 步：
#
# $$x_t = \sqrt{1-\beta_t}\,x_{t-1} + \sqrt{\beta_t}\,\varepsilon_t,\qquad \varepsilon_t\sim\mathcal N(0,I).$$
#
# 这样做有两个好处。
#
# 第一，**毁掉很容易**，不必真的一步步走。缩小的倍数连乘，噪声合并成一份，一次就能算出第 $t$ 步（第 3 章推导）：
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\qquad \bar\alpha_t = \prod_{s\le t}(1-\beta_s).$$
#
# $\bar\alpha_t$ 从 1 降到接近 0，所以走到头只剩下噪声，而噪声随手就能抽。（代码从 0 数起，$t=0$ 时已经加过一次很小的噪声。）
#
# 第二，**退回一小步也容易**。从一团噪声直接变出月牙，很难，因为可能的来处到处都是；只退一小步，可能的来处就只有附近的一小团，不会一边一弯，平均也就落在那一团里。一个难题拆成了一千个容易的题。训练用的题目也要多少有多少：噪声是自己加的，答案自己知道。（训练时猜的是全部的噪声，不是一小步，两者的关系见第 4 节。）

# %%
T = 1000
beta = torch.linspace(1e-4, 0.02, T)  # 每一步加入的噪声的方差，取自 DDPM 的论文
alpha_bar = torch.cumprod(1 - beta, dim=0)


def add_noise(x0, t, noise):
    a = alpha_bar[t][:, None]
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


# %%
noise = torch.randn(len(data), 2, generator=torch.Generator().manual_seed(0))
steps = (0, 60, 150, 300, 999)
points_figure({f"$t={t}$": add_noise(data, torch.full((len(data),), t), noise) for t in steps}, label)

# %% [markdown]
# 图：同样的四千个点，从左到右越毁越多。$t=150$ 靠颜色还分得出两弯，$t=300$ 只剩左上偏蓝、右下偏橙，$t=999$ 就是一团高斯噪声，原来的坐标只剩 0.6%，再也看不出形状。颜色表示每个点加噪之前属于哪一弯。

# %% [markdown]
# ## 4　训练：看着带噪的点，猜噪声
#
# 网络拿到 $x_t$ 和 $t$，猜当初加进去的噪声 $\varepsilon$。有了噪声的猜测，就有了原来的点的猜测，上面的公式反过来就是
#
# $$\hat x_0 = \frac{x_t-\sqrt{1-\bar\alpha_t}\,\hat\varepsilon}{\sqrt{\bar\alpha_t}}.$$
#
# 等一等：$\varepsilon$ 是**全部**的噪声，猜它就等于一口气猜到 $x_0$，不正是刚才说的那道难题吗？是的，所以网络答不准，只能答一个平均。
# 可是采样时并不照着它跳到底，只朝它走一小步：$x_t$ 留下绝大部分，掺进一点点 $\hat x_0$，然后重新再猜。为什么平均就够？采样的一步，是把 $x_t$ 和 $x_0$ 各乘一个系数相加，再掺一点噪声（公式在第 5 节）。$x_0$ 只乘了一个数，所以换成它的平均，得到的正好是下一步的平均；步子小，下一步本来就散得不远，有了平均，再补一点噪声就够了（严格的话见第 4 章）。
#
# 网络还要知道 $t$：同一个位置，$t$ 小，说明原来的点就在附近；$t$ 大，就几乎说明不了什么。
# 除了坐标本身，再把坐标与 $t$ 的几个频率不同的正弦、余弦一起送进网络，它才分得清相差一点点的位置。

# %%
class Denoiser(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(28, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                                 nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, t):
        place = (x[:, :, None] * 2 ** torch.arange(4)).flatten(1)
        angle = torch.cat([place, t[:, None] / T * math.pi * 2 ** torch.arange(5)], dim=1)
        return self.net(torch.cat([x, angle.sin(), angle.cos()], dim=1))


# %% [markdown]
# 训练的循环就这么长：抽一批点、步号和噪声，造出 $x_t$，让网络猜噪声，算误差，再更新参数。

# %%
torch.manual_seed(0)
network, steps, history = Denoiser(), 3000, []
optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
for _ in range(steps):
    x0 = data[torch.randint(len(data), (512,))]
    t, noise = torch.randint(T, (512,)), torch.randn(512, 2)
    loss = (network(add_noise(x0, t, noise), t) - noise).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    decay.step()
    history.append(loss.item())

# %%
smooth = torch.tensor(history).reshape(-1, 50).mean(1)
figure = curve_figure(range(50, steps + 1, 50), {"": smooth}, "步", "损失（每 50 步平均）")
figure.axes[0].set_ylim(0, 1.05)
figure.axes[0].axhline(1, color="#999999", linewidth=0.8)
figure

# %% [markdown]
# 图：训练的损失；灰线是一律猜 0 的损失，等于 1。几百步就降到 0.25 上下，之后只降一点点，离 0 还远。
#
# 它为什么降不到 0？不是网络不够大（练习 01.3 的理想去噪器可以算出下限，不妨拿它来比）。同一个 $x_t$，可以由许多个不同的 $(x_0,\varepsilon)$ 得到，谁也不知道当初是哪一个；网络能给出的最好答案，就是所有可能的 $\varepsilon$ 的平均。
# 又是第 2 节那句话，不过这一次平均是**我们要的**：它说的是“照目前看，噪声大概朝哪边”，而我们只打算照着它走一小步。
#
# 各个 $t$ 的难易差得很远。噪声的误差换算成 $\hat x_0$ 的误差，要乘上 $(1-\bar\alpha_t)/\bar\alpha_t$，两种都看一看。参照：一律猜 $\hat\varepsilon=0$，噪声的误差约为 1；一律猜 $\hat x_0=0$，$\hat x_0$ 的误差约为 1。

# %%
steps, wrong_noise, wrong_x0 = (10, 30, 60, 150, 300, 500, 700, 900), [], []
for step in steps:
    t, noise = torch.full((4000,), step), torch.randn(4000, 2, generator=torch.Generator().manual_seed(step))
    error = (network(add_noise(data, t, noise), t) - noise).square().mean().item()
    wrong_noise.append(error)
    wrong_x0.append(error * float((1 - alpha_bar[step]) / alpha_bar[step]))
figure = curve_figure(steps, {"噪声的误差": wrong_noise, r"换成 $\hat x_0$ 的误差": wrong_x0}, "步号 $t$", "均方误差", yscale="log")
figure.axes[0].axhline(1, color="#999999", linewidth=0.8)
figure

# %% [markdown]
# 图：四千个点，按 $t$ 量两种误差（对数）；灰线是各自一律猜 0 的误差。
# 两条线正好相反。$t$ 小时，噪声只有一点点，要从点的位置里把它分出来很难，与一律猜 0 差不多，可是 $\hat x_0$ 已经很准。$t$ 大时，点里几乎全是噪声，照抄就差不多，误差只有 0.0005 上下；$x_t$ 里却几乎不含原来那个点的信息，网络的一点误差又被放大，$\hat x_0$ 比一律猜 $\hat x_0=0$ 还差。
# 到了 $t=999$，倍数的平方根 $\sqrt{1-\bar\alpha_t}/\sqrt{\bar\alpha_t}$ 是 157：噪声只错 0.01，$\hat x_0$ 就错 1.6，比数据的标准差还大。
# 所以总的损失说不出模型好不好，要按 $t$ 分开看。

# %% [markdown]
# ## 5　采样：一小步一小步走回来
#
# 从纯噪声出发。每一步先猜出 $\hat x_0$，再朝它走一小步，最后掺上一点点新噪声 $z$。从第 $t$ 步退到更早的第 $s$ 步，
#
# $$x_s = \frac{\sqrt{\bar\alpha_s}\,(1-\bar\alpha_t/\bar\alpha_s)}{1-\bar\alpha_t}\,\hat x_0 + \frac{\sqrt{\bar\alpha_t/\bar\alpha_s}\,(1-\bar\alpha_s)}{1-\bar\alpha_t}\,x_t + \sigma z,\qquad \sigma^2 = \frac{(1-\bar\alpha_t/\bar\alpha_s)(1-\bar\alpha_s)}{1-\bar\alpha_t}.$$
#
# 三个系数怎样来，为什么去噪的时候还要加噪声，第 4 章推导。现在只要看出两件事：一路上 $s$ 紧挨着 $t$，$\hat x_0$ 前面的系数很小，每步只挪一点；快到底时系数才变大，那时 $\hat x_0$ 就在旁边。最后一步退到底，$\bar\alpha_s=1$，结果就是 $\hat x_0$，也不掺噪声。
# 代码里 `a` 是 $\bar\alpha_t$，`b` 是 $\bar\alpha_s$，`s` 是 `None` 表示退到底。

# %%
@torch.no_grad()
def denoise(x, times, generator):
    walk = [x]
    for t, s in zip(times, [*times[1:], None]):
        a, b = alpha_bar[t], torch.tensor(1.0) if s is None else alpha_bar[s]
        noise_hat = network(x, torch.full((len(x),), t))
        x0_hat = (x - (1 - a).sqrt() * noise_hat) / a.sqrt()
        mean = (b.sqrt() * (1 - a / b) * x0_hat + (a / b).sqrt() * (1 - b) * x) / (1 - a)
        x = mean + ((1 - a / b) * (1 - b) / (1 - a)).sqrt() * torch.randn(x.shape, generator=generator)
        walk.append(x)
    return torch.stack(walk)


def sample(n, count=T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    times = torch.linspace(T - 1, 0, count).round().int().tolist()
    return denoise(torch.randn(n, 2, generator=generator), times, generator)


# %%
walk = sample(4000)
points_figure({"出发：纯噪声": walk[0], "走了 800 步（$t=199$）": walk[800], "走完一千步": walk[-1], "真的点": data})

# %% [markdown]
# 图：按采样的次序从左到右，四千个随机的点走成了两弯月牙；两弯之间还留着上百个散点，后面量出来占 2.5%。换一个种子，走出来的就是另一批点。
#
# 像不像，要量一量。“附近”是指 0.1 以内，量两件事：
#
# - **造错**：造出来的点，附近没有真点的比例。
# - **漏掉**：真的点，附近没有造出来的点的比例。
#
# 两个都要看：如果造出来的点全落在同一个真点旁边，造错是 0，漏掉却接近 100%。（它们与第 15 章的精确率、召回率是同一个想法。）对照的四千个真点是另外抽的，训练时没有见过；造出来的点分成八批，每批五百个，各量一次，才有标准误。

# %%
held_out, _ = moons(4000, seed=1)


def report(name, cloud):
    gaps = [torch.cdist(part, held_out) for part in cloud.chunk(8)]
    found = torch.tensor([[(gap.min(1).values > 0.1).double().mean(), (gap.min(0).values > 0.1).double().mean()] for gap in gaps])
    mean, error = found.mean(0), found.std(0) / 8**0.5
    print(f"{name}：造错 {mean[0]:.1%} ± {error[0]:.1%}，漏掉 {mean[1]:.1%} ± {error[1]:.1%}")
    return mean


# %%
# NBVAL_IGNORE_OUTPUT
mine = report("走一千步", walk[-1])
collapsed = report("直接造", guess(walk[0]).detach())
nothing = report("纯噪声", walk[0])
real = report("真的点", moons(4000, seed=2)[0][torch.randperm(4000, generator=torch.Generator().manual_seed(0))])
print("每行四千个点，分八批，± 是各批的标准误；“走一千步”的各批来自同一个训练好的网络")

# %% [markdown]
# “真的点”一行是参照：它也漏掉一成多，五百个点盖不住四千个真点的每个角落。我们的模型漏掉的只略多一点，造错的却是真点的三倍。
# 纯噪声造错的只有四成，是因为月牙占的地方本来就大，胡乱撒点，也有六成碰巧落在附近；所以要拿 2.5% 与 38% 比，不与 100% 比。
# 还有一个疑问：它是不是只把训练的点抄了一遍？第 15 章有量的办法。

# %% [markdown]
# ## 6　看一看路上发生了什么
#
# 三个点的轨迹，从 $t=400$ 开始画。

# %%
times = list(range(T - 1, -1, -10))
some = denoise(torch.randn(3, 2, generator=torch.Generator().manual_seed(3)), times, torch.Generator().manual_seed(4))
noise = torch.randn(len(data), 2, generator=torch.Generator().manual_seed(0))
grounds, walks = {}, {}
for title, step, end in (("$t=400$", 400, 61), ("走到 $t=200$", 200, 81), ("走到 $t=50$", 50, 96), ("走到底", 0, 101)):
    grounds[title], walks[title] = add_noise(data, torch.full((len(data),), step), noise), some[60:end]
points_figure(grounds, paths=walks, limit=3.0)

# %% [markdown]
# 图：从左到右是同样的三条轨迹，越走越长，每步跨过十个 $t$；空心的点是出发处（$t\approx400$），实心的是此刻的位置，灰色的底是加噪到此刻的数据。三种颜色只用来分清轨迹，与哪一弯无关。
# 抖动来自每一步新掺的噪声：起初噪声大，几乎是乱走；越往后掺得越少，灰色的底收成月牙，点也跟着落到月牙上。
#
# 网络指的是什么方向？在平面各处问一遍，把回答画成箭头。箭头朝着 $-\hat\varepsilon$，也就是朝着 $\sqrt{\bar\alpha_t}\,\hat x_0$：猜到的原来的点，缩小到这一步应有的大小。

# %%
axis = torch.linspace(-2.1, 2.1, 17)
at = torch.cartesian_prod(axis, axis)
clouds, arrows = {}, {}
for step in (600, 100, 30):
    title = f"$t={step}$"
    clouds[title] = add_noise(data, torch.full((len(data),), step), torch.randn(len(data), 2, generator=torch.Generator().manual_seed(0)))
    arrows[title] = at, -0.2 * torch.nn.functional.normalize(network(at, torch.full((len(at),), step)).detach())
points_figure(clouds, arrows=arrows)

# %% [markdown]
# 图：灰色的是加噪到这一步的数据，箭头是网络学到的方向（都画成一样长）。
# 三张图按采样的次序排。$t=600$ 时数据缩到了六分之一，又盖满了噪声，箭头就都朝着中央。$t=100$ 时，箭头已经指着两弯的大致形状。$t=30$ 时，箭头指向最近的一段月牙，两弯之间有一道分水岭，两侧各指各的。
# 远处的角落训练时几乎没有到过，那里的箭头不可靠。
#
# 网络学到的就是这一族箭头，一个 $t$ 一张。除以 $\sqrt{1-\bar\alpha_t}$，它有一个名字，叫**得分** (score)，$\nabla_{x_t}\ln q(x_t)\approx-\hat\varepsilon/\sqrt{1-\bar\alpha_t}$：往哪边走，加噪到第 $t$ 步的数据最快变密。第 7 章推引导时会用到它。

# %% [markdown]
# ## 7　为什么不一步到位
#
# 既然每一步都猜得出 $\hat x_0$，为什么不干脆一步跳过去？试一试：把真的点加噪到 $t=300$，一种办法是一步跳到 $\hat x_0$，另一种是照老样子慢慢走回来。
# **先猜一猜**，跳过去的点会落在哪里？

# %%
halfway = add_noise(data[:2000], torch.full((2000,), 300), torch.randn(2000, 2, generator=torch.Generator().manual_seed(5)))
a = alpha_bar[300]
jump = (halfway - (1 - a).sqrt() * network(halfway, torch.full((2000,), 300)).detach()) / a.sqrt()
back = denoise(halfway, list(range(300, -1, -10)), torch.Generator().manual_seed(6))[-1]
points_figure({"加噪到 $t=300$": halfway, "一步跳回去": jump, "走三十一步回去": back, "真的点": data[:2000]}, label[:2000])

# %% [markdown]
# 图：颜色表示每个点加噪之前属于哪一弯。一步跳回去的点缩成一条斜带：网络猜的是平均，拿不准是哪一弯、弯上的哪一段，就取中间，月牙的形状没有了。慢慢走回去的大多落在某一弯上（颜色混了：不一定是出发的那一弯，$t=300$ 时已经说不准了），两弯之间还剩少许散点。
#
# 差别在哪里？跳的时候，只问了一次，得到的是平均。走的时候，每走一小步就再问一次；走着走着，点已经偏向某一弯，下一次的回答就不再含糊。
# **平均不够做终点，却够做方向：只照着它走一小步，再重新问。** 步子要小到什么程度，第 4 章给出道理，这里先量：

# %%
# NBVAL_IGNORE_OUTPUT
table = {count: report(f"{count} 步", sample(4000, count, seed=1)[-1]) for count in (1, 4, 10, 20, 100)}
table[1000] = report("1000 步", sample(4000, seed=1)[-1])

# %%
figure = curve_figure(list(table), {"造错": [float(row[0]) for row in table.values()], "漏掉": [float(row[1]) for row in table.values()]},
                      "步数", "比例", xscale="log", yscale="log")
for level, color in zip(real.tolist(), ("#0072B2", "#D55E00")):
    figure.axes[0].axhline(level, color=color, linestyle=":", linewidth=1)
figure

# %% [markdown]
# 图：步数与造错、漏掉的比例，两轴都是对数，点线是真点自己的数。到一百步为止，步数越多越好；从一百步到一千步，漏掉从 14.0% 降到 12.8%，已接近真点的 11.7%；造错停在 2.5%，仍是真点 0.8% 的三倍。所以剩下的错多半不在步数，而在网络猜得不准；换更大的网络能不能消掉，这里没有试。

# %%
points_figure({f"{count} 步": sample(4000, count, seed=1)[-1] for count in (1, 4, 20, 100)}, limit=3.2)

# %% [markdown]
# 图：步数太少，错法各不相同。一步：网络该答全体的平均，可是噪声的误差被放大 157 倍，点散到月牙之外，造错 95.7%。四步：造错降到 28.0%，漏掉却有 77.5%，比纯噪声的 41.0% 还多，点挤在一小块，大半个月牙没有盖到。只看造错，会以为四步已经胜过纯噪声。
# 怎样用更少的步数走得一样好，是第 7 章的题目。

# %% [markdown]
# ## 8　与程序包对一对
#
# 上面这五十来行，就是整个扩散模型。程序包里的 `DDPM` 多出来的，是图像的网络、别的选择，和让训练可靠的工程：
#
# | 这一章的 | 程序包里的 | 哪一章讲 |
# |:--|:--|:--|
# | `beta`、`alpha_bar` | `make_beta_schedule`、`register_schedule` | 02 |
# | `add_noise` | `q_sample` | 03 |
# | `denoise` 的一步 | `p_sample`，系数来自 `q_posterior` | 04 |
# | 猜噪声 | `parameterization`：也可以猜 $x_0$ 或 $v$ | 05 |
# | 损失 | `p_losses`：为什么是均方误差，各个 $t$ 的权重该是多少 | 06 |
# | `sample` | `sample`：少走几步、不掺噪声、照要求画 | 07 |
# | `Denoiser` | `UNet` | 08 |
#
# 数也对得上。第 4 章的三张系数表，与 `denoise` 里写的那三个式子是一回事（$\bar\alpha$ 用 64 位重算一遍，免得被舍入误差盖住）：

# %%
betas = make_beta_schedule("sqrt_linear", T, 1e-4, 0.02)
tables = diffusion_tables(betas)
bars = torch.cumprod(1 - torch.from_numpy(betas), dim=0)
a, b = bars[1:], bars[:-1]
check("噪声表：论文的表在程序包里叫 sqrt_linear", beta, torch.from_numpy(betas), atol=1e-8)
check("往猜测走多远", b.sqrt() * (1 - a / b) / (1 - a), torch.from_numpy(tables["posterior_mean_coef1"])[1:], rtol=1e-9)
check("留在原地多少", (a / b).sqrt() * (1 - b) / (1 - a), torch.from_numpy(tables["posterior_mean_coef2"])[1:], rtol=1e-9)
check("掺多少新噪声", (1 - a / b) * (1 - b) / (1 - a), torch.from_numpy(tables["posterior_variance"])[1:], rtol=1e-9)

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：只有样本，不知道分布，怎样造出新的样本？
# - **答案**：先照公式把数据一步步毁成噪声，训练网络从毁掉的点猜噪声；再从纯噪声出发，反复猜、退一小步。一步造，造错 100%；走一百步，造错 2.5%，漏掉 14.0%（真点 0.8%、11.7%，纯噪声 38.0%、41.0%）；一千步只比一百步略好。
# - 均方误差逼出来的是平均。平均不够做终点，却够做方向；所以不能一步到位，要一小步一小步地走，走一步问一次。
# - 网络学到的是一族箭头，一个 $t$ 一张图，指着加噪到这一步的数据变密的方向。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %% [markdown]
# ### 01.1　从噪声换回原来的点 ★
#
# `x_t` 与 `noise` 的形状是 $(B, 2)$，`bar` 是 $(B,)$，每个点自己的 $\bar\alpha_t$。返回 $\hat x_0$，形状 $(B, 2)$。

# %%
def start_from_noise(x_t, noise, bar):
    # 答案
    bar = bar[:, None]
    return (x_t - (1 - bar).sqrt() * noise) / bar.sqrt()
    # 答案完


grade("01.1", start_from_noise)

# %% [markdown]
# ### 01.2　训练的一批 ★★
#
# 写出训练循环里的损失。`network(x_t, t)` 返回猜出的噪声；`x0` 与 `noise` 是 $(B, 2)$，`t` 是 $(B,)$ 的整数，`alpha_bar` 是 $(T,)$。返回一个数。

# %%
def batch_loss(network, x0, t, noise, alpha_bar):
    # 答案
    a = alpha_bar[t][:, None]
    return (network(a.sqrt() * x0 + (1 - a).sqrt() * noise, t) - noise).square().mean()
    # 答案完


grade("01.2", batch_loss)

# %% [markdown]
# ### 01.3　不用训练的去噪器 ★★★
#
# 数据只有有限的几个点时，最好的猜测写得出来：$x_t$ 由 `data[i]` 加噪得来的可能性，正比于 $\exp\bigl(-\lVert x_t-\sqrt{\bar\alpha}\,x_i\rVert^2/(2(1-\bar\alpha))\bigr)$；按它归一化成权重，再把各点加权平均，就是 $\mathbb E[x_0\mid x_t]$。
# `x_t` 是 $(B, 2)$，`data` 是 $(N, 2)$，`bar` 是一个 0 到 1 之间的数。返回 $(B, 2)$。
# 写好之后想一想：拿它去采样，走完以后会得到什么？（第 15 章有这样一个模型。）

# %%
def ideal_start(x_t, data, bar):
    # 答案
    distance = (x_t[:, None] - bar**0.5 * data).square().sum(-1)
    return (-distance / (2 * (1 - bar))).softmax(dim=1) @ data
    # 答案完


grade("01.3", ideal_start)

# %% [markdown]
# ### 01.4　损失能降到多低 ★
#
# 换一个大十倍的网络，数据要多少有多少，训练到不能再好。第 4 节的损失会怎样？
#
# - A：降到 0，网络够大就什么都猜得出。
# - B：降到某个大于 0 的数：同一个 $x_t$ 对得上许多份噪声，谁也猜不出是哪一份。
# - C：降到某个大于 0 的数：512 个点一批，批量太小，梯度的噪声太大。
# - D：反而升高，因为过拟合。

# %%
grade("01.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 01.5　照抄的代价 ★★
#
# 一个偷懒的网络把 $x_t$ 原样交回来，当作猜出的噪声。数据的均值是 0，每个坐标的方差是 1；$\bar\alpha_t=0.64$ 时，每个坐标的均方误差是多少？

# %%
grade("01.5", None)  # 把 None 换成一个数
