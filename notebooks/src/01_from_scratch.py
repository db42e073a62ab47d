# %% [markdown]
# # 01 · 从零实现：平面上的点
#
# 第 0 章里，现成的程序包画出了手写的数字，可是一切都藏在里面。**只用 PyTorch，能不能亲手写出一个？** 能，五十来行就够。这一章把它拆到最小：数据只是平面上的点，原理与画图的一样，省去的只是处理图像的网络。
#
# **学习目标**
#
# - 写出一个完整的扩散模型：加噪、训练、采样。
# - 说得出为什么不能“一步到位”，要一小步一小步地走回来。
# - 看得见网络学到了什么：平面上每一处都有一个箭头，指着数据变密的方向。
# - 说得出损失为什么降不到 0，网络的错又落在哪里。
#
# **预计用时** 正文 50 分钟，练习另计。运行全部单元不到一分钟，不需要 GPU。

# %%
import math

import torch
from torch import nn

from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.schedules import make_beta_schedule
from ddpm_edu.teach import check, grade
from ddpm_edu.teach.moons import exact_denoiser, moons, watershed
from ddpm_edu.teach.points import fields_figure, losses_figure, points_figure

# %% [markdown]
# ## 1　问题：造出新的点
#
# 手里有四千个点，排成两弯月牙。假装不知道它们从哪里来。任务是造出**新的**点，让它们看起来与这些点出自同一个地方。
#
# 这与造图是同一个问题。一张 28×28 的图是 784 维空间里的一个点，全部手写数字在那里也排成某种弯弯曲曲的形状，只是画不出来。

# %%
data, label = moons(4000, seed=0)
points_figure({"手里的四千个点": data}, label, width=4.0)

# %% [markdown]
# 图：手里的四千个点，排成两弯月牙。颜色只是为了看得清楚，训练时不告诉网络。坐标换算过，横竖都是均值约 0、标准差约 1。

# %% [markdown]
# ## 2　直接造，为什么不行
#
# 最先想到的办法：随机的点 $z$ 容易抽，让网络学会把它变成数据点，$g(z)\approx x$。可是哪个 $z$ 该变成哪个 $x$？没有人知道，只好随机配对，然后照常最小化均方误差。
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
points_figure({"要造的": data[:1000], "直接造出来的": guess(torch.randn(1000, 2)).detach()}, shadow=data, width=6.0)

# %% [markdown]
# 图：网络造的一千个点（右），全挤在正中央的一小团里，那里几乎没有数据（灰影）。
#
# 为什么？差不多的 $z$，这一批要它变成左上的点，下一批要它变成右下的点，要求互相矛盾；要使均方误差最小，只能取平均。**均方误差逼出来的是平均**，而许多张图的平均只是一团糊。
#
# 毛病出在一口气答完：$z$ 与 $x$ 毫不相干，只能答全部数据的平均。扩散模型先把真的点一点点毁成噪声，修回来时每次只退一小步，而相邻的两步差得很少。

# %% [markdown]
# ## 3　先毁掉它
#
# 每一步把点朝原点缩一点，再加一点高斯噪声，走 $T=1000$ 步：
#
# $$x_t = \sqrt{1-\beta_t}\,x_{t-1} + \sqrt{\beta_t}\,\varepsilon_t,\qquad \varepsilon_t\sim\mathcal N(0,I).$$
#
# 原来的方差约是 1，缩小以后剩 $1-\beta_t$，噪声补上 $\beta_t$，总方差就一直约是 1。
#
# **毁掉很容易**。缩小的倍数连乘，噪声合并成一份，一次就能算出第 $t$ 步（第 3 章推导）：
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\qquad \bar\alpha_t = \prod_{i\le t}(1-\beta_i).$$
#
# $\bar\alpha_t$ 从 1 降到接近 0，所以走到头几乎只剩噪声，而噪声随手就能抽。
#
# **退回一小步也容易。** 一口气答完，可能的答案又弯又裂，平均落在空处（第 2 节）。只退一小步，可能的来处只有附近的一小团，近似高斯，平均就在那一团的正中。

# %%
T = 1000
beta = torch.linspace(1e-4, 0.02, T)  # 每一步加入的噪声的方差，取自 DDPM 的论文
alpha_bar = torch.cumprod(1 - beta, dim=0)


def add_noise(x0, t, noise):
    a = alpha_bar[t][:, None]
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


one_noise = torch.randn(len(data), 2, generator=torch.Generator().manual_seed(0))


def noised(t):
    return add_noise(data, torch.full((len(data),), int(t)), one_noise)


points_figure({f"$t={t}$": noised(t) for t in (0, 60, 150, 300, 999)}, label)

# %% [markdown]
# 图：同样的四千个点，从左到右越毁越多，最后只剩一团噪声。颜色表示每个点加噪之前属于哪一弯。代码的 $t$ 从 0 数起，$t=0$ 时已经加过一次很小的噪声；$t=999$ 时，原来的坐标只剩 0.6%。

# %% [markdown]
# ## 4　训练：看着带噪的点，猜噪声
#
# 网络拿到 $x_t$ 和 $t$，猜当初加进去的噪声 $\varepsilon$；戴帽子的 $\hat\varepsilon$ 是它的猜测。知道噪声，就知道原来的点，因为上面的公式可以反过来：
#
# $$\hat x_0 = \frac{x_t-\sqrt{1-\bar\alpha_t}\,\hat\varepsilon}{\sqrt{\bar\alpha_t}}.$$
#
# 为什么选噪声，第 5 章讲。
#
# 网络猜的仍是全部的噪声，所以 $\hat x_0$ 还是一个平均，也会落在空处。小的是步子：采样时只朝 $\hat x_0$ 退一小步，再重新问。
#
# 网络还要知道 $t$：同一个位置，$t$ 小，说明原来的点就在附近；$t$ 大，就几乎说明不了什么。除了坐标，送进网络的还有坐标与 $t$ 的几个频率的正弦与余弦，一共 28 个数。它们有什么用，第 9 节量。

# %%
class Denoiser(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 + 2 * (2 * 4 + 5), width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                                 nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, t):
        place = (x[:, :, None] * 2 ** torch.arange(4)).flatten(1)
        angle = torch.cat([place, t[:, None] / T * math.pi * 2 ** torch.arange(5)], dim=1)
        return self.net(torch.cat([x, angle.sin(), angle.cos()], dim=1))


# %% [markdown]
# 训练的循环只有几行：抽一批点、步号和噪声，造出 $x_t$，让网络猜噪声，算误差，再更新参数。

# %%
torch.manual_seed(0)
network, n_steps, history = Denoiser(), 3000, []
optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
for _ in range(n_steps):
    x0 = data[torch.randint(len(data), (512,))]
    t, noise = torch.randint(T, (512,)), torch.randn(512, 2)
    loss = (network(add_noise(x0, t, noise), t) - noise).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    decay.step()
    history.append(loss.item())

# %% [markdown]
# **先猜一猜**：训练得再久、网络再大，损失能降到 0 吗？
#
# 同一个 $x_t$ 对得上许多份噪声，均方误差最小的猜测是它们的平均 $\mathbb E[\varepsilon\mid x_t]$，下面就叫它“最好的猜测”。在没有见过的点上，再好的网络也比不过它。
#
# 这些月牙是 scikit-learn 的 `make_moons` 造的，式子我们其实知道，所以这个平均算得出来（怎样算，见练习 01.2 与 01.3）。训练用不着它，只拿来作尺子。

# %%
exact = exact_denoiser(alpha_bar)
t, noise = torch.arange(T).repeat(40), torch.randn(40 * T, 2, generator=torch.Generator().manual_seed(0))
x_t = add_noise(moons(40 * T, seed=9)[0], t, noise)  # 每个 t 四十个没有见过的点
best, ours = exact(x_t, t), network(x_t, t).detach()
floor, above = (best - noise).square().mean().item(), (ours - best).square().mean().item()
print(f"最好的猜测 {floor:.4f}，网络高出它 {above / floor:.0%}")
losses_figure(history, floor)

# %% [markdown]
# 图：训练的损失（蓝）几百步就降到最好的猜测（橙虚线）近旁，离 0 还远。末段在虚线上下跳，是抽批的起伏。纵轴从 0.2 起；一律猜 0 的损失是 1，在图外。
#
# 网络的损失只比最好的猜测高约 1%，其余的谁也猜不出，所以看损失，要看它**高出最低处**多少。
#
# 最好的猜测剩下的误差，与 $x_t$ 的任何函数都不相关，展开平方时交叉项平均为 0。所以高出的就是两个猜测之差的平方的平均，程序直接量它。
#
# 真实的图没有式子，最低处算不出来，只好去看样本。

# %% [markdown]
# ## 5　采样：一小步一小步走回来
#
# 从纯噪声出发，每次从第 $t$ 步退到更早的第 $s$ 步：先由猜到的噪声 $\hat\varepsilon$ 算出原来的点 $\hat x_0$，再照第 $s$ 步的系数重新混合。
# 这里用祖先采样，混合时少放一些 $\hat\varepsilon$，再添一份新抽的噪声 $z$：
#
# $$x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1-\bar\alpha_s-\sigma^2}\,\hat\varepsilon + \sigma z,\qquad \sigma^2 = \frac{(1-\bar\alpha_t/\bar\alpha_s)(1-\bar\alpha_s)}{1-\bar\alpha_t}.$$
#
# 去噪的时候为什么还要加噪声？第 $s$ 步的点可能在一小团里的任何一处，前两项只是那一团的中心，$\sigma z$ 还它该有的散开。$\sigma$ 为什么取这个数，第 4 章推导。
#
# 最后一步退到底，$\bar\alpha_s=1$，$\sigma=0$，结果就是 $\hat x_0$。代码里 `now` 是 $\bar\alpha_t$，`after` 是 $\bar\alpha_s$，`s` 是 `None` 表示退到底。

# %%
@torch.no_grad()
def denoise(model, x, times, generator):
    walk = [x]
    for t, s in zip(times, [*times[1:], None]):
        now, after = alpha_bar[t], torch.tensor(1.0) if s is None else alpha_bar[s]
        noise_hat = model(x, torch.full((len(x),), t))
        x0_hat = (x - (1 - now).sqrt() * noise_hat) / now.sqrt()
        var = (1 - now / after) * (1 - after) / (1 - now)
        mean = after.sqrt() * x0_hat + (1 - after - var).sqrt() * noise_hat
        x = mean + var.sqrt() * torch.randn(x.shape, generator=generator)
        walk.append(x)
    return torch.stack(walk)


def sample(model, n, count=T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    times = torch.linspace(T - 1, 0, count).round().int().tolist()
    return denoise(model, torch.randn(n, 2, generator=generator), times, generator)


# %%
@torch.no_grad()
def jump(x, t):
    a = alpha_bar[t]
    return (x - (1 - a).sqrt() * network(x, torch.full((len(x),), t))) / a.sqrt()


walk, steps = sample(network, 4000), range(600, -1, -20)
road = torch.stack([walk[T - 1 - t][3:6] for t in steps])  # 其中三个点，退到第 t 步时在哪里
roads = {"三个点走的路 $x_t$": road, "一路上的猜测 $\\hat x_0$": torch.stack([jump(x, t) for x, t in zip(road, steps)])}
points_figure({"出发：纯噪声": walk[0], **dict.fromkeys(roads, data), "走完一千步": walk[-1]}, paths=roads)

# %% [markdown]
# 图：纯噪声（最左）走完一千步，成了月牙（最右）；中间两格跟着其中三个点。从 $t=600$（空心）到 $t=0$（实心），每二十步画一次，灰的是数据。$\hat x_0$ 先在中央徘徊，中途转向一弯，最后与 $x_t$ 停在同一处。最右一格还有些点落在两弯之间，它们从哪里来，第 8 节查。
#
# 像不像，要量一量。造出来的点，附近（0.1 以内）没有真点的比例，叫**造错**；真的点，附近没有造出来的点的比例，叫**漏掉**。如果造出来的点全落在同一个真点旁边，造错是 0，漏掉却接近 100%。
#
# 对照的四千个真点，训练时没有见过。每五百个造出来的点一批，各量一次再平均，± 后面是标准误。

# %%
# NBVAL_IGNORE_OUTPUT
held_out, _ = moons(4000, seed=1)


def wrong_and_missed(part):
    gap = torch.cdist(part, held_out)
    to_real, to_made = gap.min(dim=1).values, gap.min(dim=0).values  # 造出来的点离真点多远，真点离造出来的点多远
    return (to_real > 0.1).double().mean(), (to_made > 0.1).double().mean()


def averaged(cloud, measure=wrong_and_missed):
    values = torch.tensor([measure(part) for part in cloud.split(500)])
    return values.mean(0), values.std(0) / len(values) ** 0.5


def titled(clouds):
    means = {name: averaged(cloud)[0] for name, cloud in clouds.items()}
    return {f"{name}\n造错 {means[name][0]:.1%}，漏掉 {means[name][1]:.1%}": cloud for name, cloud in clouds.items()}


clouds = {"走一千步": walk[-1], "直接造": guess(walk[0]).detach(), "纯噪声": walk[0], "真的点": moons(4000, seed=2)[0]}
for name, cloud in clouds.items():
    mean, error = averaged(cloud)
    print(f"{name}：造错 {mean[0]:.1%} ± {error[0]:.1%}，漏掉 {mean[1]:.1%} ± {error[1]:.1%}")

# %% [markdown]
# “真的点”也漏掉一成多，因为五百个点盖不住四千个真点的每个角落。我们的模型漏掉的略多一点，造错的却约是它的三倍。
#
# 这是一次训练的结果。换八个种子从头训练，各走一百步，造错平均 2.8 ± 0.1%（下文凡说八个种子，都由 `python -m benchmarks.from_scratch` 量出）。

# %% [markdown]
# ## 6　网络学到了什么
#
# 在平面各处问一遍，把回答画成箭头。箭头朝着 $-\hat\varepsilon$，也就是朝着 $\sqrt{\bar\alpha_t}\,\hat x_0$：猜到的原来的点，缩小到这一步应有的大小。

# %%
fields_figure({f"$t={step}$": (noised(step), step, 2.6, [network]) for step in (600, 100, 30)})

# %% [markdown]
# 图：箭头指着数据变密的方向；三格按采样的次序排，$t$ 越小，指得越细。灰色的是加噪到这一步的数据。$t=600$ 时箭头都朝着中央；$t=100$ 时已经指着两弯的大致形状；$t=30$ 时大多指着最近的一段月牙。过长的箭头截短了。
#
# 网络学到的就是这一族箭头，一个 $t$ 一张。记加噪到第 $t$ 步的数据的密度为 $p(x_t)$，箭头除以 $\sqrt{1-\bar\alpha_t}$，有一个名字叫**得分** (score)，$\nabla\ln p(x_t)\approx-\hat\varepsilon/\sqrt{1-\bar\alpha_t}$：往哪边走，密度升得最快。

# %% [markdown]
# ## 7　为什么不一步到位
#
# 既然每一步都猜得出 $\hat x_0$，为什么不干脆一步跳过去？把真的点加噪到 $t=300$，从那里慢慢走回来；走到半路停下来跳一次，看此刻的 $\hat x_0$ 在哪里。
#
# **先猜一猜**：从 $t=300$ 直接跳，点会落在哪里？

# %%
halfway = add_noise(data[:2000], torch.full((2000,), 300), torch.randn(2000, 2, generator=torch.Generator().manual_seed(5)))
back = denoise(network, halfway, list(range(300, -1, -10)), torch.Generator().manual_seed(6))
shots = {"加噪到 $t=300$": halfway}
for step, title in ((300, "从 $t=300$ 跳"), (100, "走到 $t=100$ 再跳")):
    shots[title] = jump(back[(300 - step) // 10], step)
shots["走完三十一步"] = back[-1]
points_figure(titled(shots), label[:2000], shadow=data)

# %% [markdown]
# 图：从 $t=300$ 直接跳，点缩成一条斜带；走完三十一步，才落回月牙上。颜色表示加噪之前属于哪一弯，灰影是数据；标准误最大 1.4 个百分点。
#
# 斜带是平均：网络拿不准是哪一弯、弯上的哪一段，就取中间。走到 $t=100$ 再跳，弯已经对了，却太细，因为取平均把月牙的厚度也抹掉了。走完以后颜色混了，因为走回去是挑一个说得过去的来处，不一定是出发的那一弯。
#
# 走的时候每走一小步就再问一次：点渐渐偏向某一弯，下一次的回答就不再含糊。**平均不够做终点，却够做方向：只照着它走一小步，再重新问。**
#
# 为什么够做方向？知道真的 $x_0$ 时，退一步之后的平均是 $x_0$ 与 $x_t$ 的一次式（第 4 章推导），所以把 $x_0$ 换成它的平均，得到的正是 $x_s$ 的平均。步子小，$x_s$ 的可能取值近似高斯，知道中心就几乎够了；步子大，就又弯又裂，只有中心不够。
#
# 步子要小到什么程度？从纯噪声出发，同样的步数，网络与最好的猜测各走一遍：

# %%
shots = {}
for name, model in (("网络", network), ("最好的猜测", exact)):
    for count in (1, 4, 20, 100):
        cloud = sample(model, 4000, count, seed=1)[-1]
        shots[f"{name}，{count} 步"] = cloud
points_figure(titled(shots), shadow=data, columns=4)

# %% [markdown]
# 图：步数越多，造出来的越像月牙。上排是网络，下排是最好的猜测，从同一份纯噪声出发；标准误最大 0.8 个百分点。
#
# - **一步，只有平均。** 最好的猜测把四千个点全缩在正中，与第 2 节直接造的一样。网络却散得到处都是：在 $t=999$，噪声猜错一点，$\hat x_0$ 就要错 157 倍那么多。
# - **四步，错在步子。** 上下两格几乎一样：步子太大，猜得再准也没有用。少走几步的办法，见第 7 章。
# - **二十步起，网络的错露出来。** 走一百步，最好的猜测造错 0.5%，网络却停在 2.5%，走到一千步也不动。
# - **造错偏爱细的云。** 最好的猜测造错比真点的 0.8% 还少，云也细些：各量一万六千个点，到弯的中线的距离，中位数是 0.086 ± 0.001 与 0.101 ± 0.001。漏掉却多，是 12.4 ± 0.2% 与 11.5 ± 0.2%，所以两个数要一起看。

# %% [markdown]
# ## 8　网络错在哪里
#
# 网络的损失只比最好的猜测高 1%；走一百步，造错却有它的五倍。这 1% 落在哪里？先看哪些 $t$：八个种子，高出的部分有 62 ± 1% 来自 $20\le t<150$。在其中取 $t=30$，放大中间，把两者的箭头叠在一起：

# %%
ridge = watershed(alpha_bar)  # 离两弯的距离之差，线上是 0
fields_figure({"$t=30$，放大": (noised(30), 30, 1.5, [network, exact])}, ridge, ("网络", "最好的猜测"), count=10, width=5.0)

# %% [markdown]
# 图：最好的猜测（橙）在黑线附近突然反向，网络（蓝）却学成了平滑的过渡：箭头太短或指偏，圈里的与橙的夹角超过 120°。黑线是分水岭，线上的点离两弯一样远；只画它近旁的箭头，过长的截短。
#
# 离两弯的距离相差不到 0.6 的地方，叫分水岭一带。$t=30$ 时，网络的错就堆在这里：那里的点只占 15%，两个猜测之差的平方却有 69 ± 1% 在那里（八个种子）。
#
# 落在两弯之间的点，是不是从这里来的？把 $t<150$ 时的分水岭一带划为一半，其余为另一半；一半归网络，另一半归最好的猜测，再走一百步。**先猜一猜**：哪一半归网络，那些点还在？

# %%
def zone(x, t):
    return (t < 150) & (ridge(x, t).abs() < 0.6)


rules = {"全归网络": lambda x, t: t >= 0, "只有分水岭一带归网络": zone,
         "只有其余归网络": lambda x, t: ~zone(x, t), "全归最好的猜测": lambda x, t: t < 0}
shots = {}
for title, mine in rules.items():
    mixed = lambda x, t: torch.where(mine(x, t)[:, None], network(x, t), exact(x, t))
    shots[title] = sample(mixed, 4000, 100, seed=1)[-1]
points_figure(titled(shots), shadow=data)

# %% [markdown]
# 图：分水岭一带归网络（前两格），两弯之间就有点；归最好的猜测（后两格），几乎就没有了。造错的标准误至多 0.2 个百分点，前两格分不开。
#
# 换八个种子，结论一样：全归网络，造错 2.8 ± 0.1%；只有分水岭一带归网络，2.5 ± 0.1%；只有其余归网络，0.5 ± 0.1%，与全归最好的猜测的 0.6 ± 0.1% 分不开。**去掉那一带的错，多造的错就没了。**

# %% [markdown]
# ## 9　损失几乎一样，样本差三倍
#
# 网络若学得差一些，看损失看得出来吗？拿输入里的正弦、余弦来试。坐标差一点，可能就跨到了另一弯，要不同的回答；送进高频的正弦，相近的数就隔开了。
#
# 少送一些，各训练八个种子，走一百步。$t$ 不加的，改送 $t/T$：
#
# | 正弦、余弦加给 | 造错 | 损失高出最低处 |
# |:--|--:|--:|
# | 坐标与 $t$ | 2.8 ± 0.1% | 0.0023 ± 0.0001 |
# | 只给坐标 | 3.9 ± 0.2% | 0.0048 ± 0.0002 |
# | 都不加 | 9.5 ± 0.2% | 0.0077 ± 0.0001 |
#
# 最低处约 0.24，所以三行的损失相差不过 2%，造错却差三倍多：样本的好坏，藏在高出最低处的那一点里。
# 可是两列不按同一个倍数升，所以只看高出多少还不够，还要看高在哪里（第 8 节）。

# %% [markdown]
# ## 10　与程序包对一对
#
# 噪声表、网络、训练、采样，这四格代码就是整个扩散模型。程序包里的 `DDPM` 多出来的，是图像的网络、别的选择，和让训练可靠的工程：
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
# 数也对得上。用第 4 节的等式从第 5 节的一步里消去 $\hat\varepsilon$，就成了程序包与第 4 章用的写法：
#
# $$x_s=a\,\hat x_0+b\,x_t+\sigma z,\qquad a=\frac{\sqrt{\bar\alpha_s}\,(1-\bar\alpha_t/\bar\alpha_s)}{1-\bar\alpha_t},\qquad b=\frac{\sqrt{\bar\alpha_t/\bar\alpha_s}\,(1-\bar\alpha_s)}{1-\bar\alpha_t}.$$
#
# 一步步走时，$a$、$b$、$\sigma^2$ 与程序包的三张系数表相同（`sqrt_linear` 就是第 3 节的 `linspace`）：

# %%
betas = torch.from_numpy(make_beta_schedule("sqrt_linear", T, 1e-4, 0.02))
tables = {name: torch.from_numpy(table)[1:] for name, table in diffusion_tables(betas.numpy()).items()}
now, after = torch.cumprod(1 - betas, dim=0)[1:], torch.cumprod(1 - betas, dim=0)[:-1]
var = (1 - now / after) * (1 - after) / (1 - now)
stay = (1 - after - var).sqrt() / (1 - now).sqrt()  # x_t 乘多少
check("朝猜测走多远", after.sqrt() - stay * now.sqrt(), tables["posterior_mean_coef1"], rtol=1e-9)
check("留在原地多少", stay, tables["posterior_mean_coef2"], rtol=1e-9)
check("掺多少新噪声", var, tables["posterior_variance"], rtol=1e-9)

# %% [markdown]
# ## 小结
#
# - **问题**：只有样本，不知道分布，怎样造出新的样本？
# - **答案**：先照公式把数据一步步毁成噪声，训练网络从毁掉的点猜噪声；再从纯噪声出发，反复猜、退一小步。八个种子的网络走一百步，造错平均 2.8 ± 0.1%，真的点自己 0.8 ± 0.2%。
# - **为什么要一小步一小步**：均方误差逼出来的是平均。平均不够做终点，却够做方向，所以走一小步，再问一次。
# - **网络学到了什么**：一个 $t$ 一张箭头图，指着数据变密的方向。
# - **怎样看损失**：它离 0 还远，却已贴着最低处，要看高出多少，还要看高在哪里。月牙上，造错的点大多来自 $t<150$ 时的分水岭一带。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。编程题要自己写，不要直接调用程序包里现成的函数。

# %% [markdown]
# ### 01.1　许多份噪声合成一份 ★
#
# 照第 3 节的第一个公式一步步走：`x0` 是 $(B, 2)$，`beta` 是 $(T,)$，第 $t$ 步掺的噪声是 `noises[t]`，`noises` 是 $(T, B, 2)$。走完以后，同一个点也能由一份噪声一次得到（第二个公式）。返回那一份噪声，形状 $(B, 2)$。

# %%
def merged_noise(x0, beta, noises):
    # 答案
    x, bar = x0, (1 - beta).prod()
    for b, noise in zip(beta, noises):
        x = (1 - b).sqrt() * x + b.sqrt() * noise
    return (x - bar.sqrt() * x0) / (1 - bar).sqrt()
    # 答案完


grade("01.1", merged_noise)

# %% [markdown]
# ### 01.2　高斯数据的最好猜测 ★★
#
# 数据只有一个坐标，服从均值 $m$、方差 $v$ 的高斯分布。这时 $\mathbb E[\varepsilon\mid x_t]$ 是一次式 $k\,(x_t-\sqrt{\bar\alpha_t}\,m)$，其中 $k$ 使均方误差最小。求出 $k$，写成函数：`x_t` 是 $(B,)$，`bar`（即 $\bar\alpha_t$）、`m`、`v` 都是数，返回 $(B,)$。

# %%
def gaussian_noise(x_t, bar, m, v):
    # 答案
    return (1 - bar) ** 0.5 / (bar * v + 1 - bar) * (x_t - bar**0.5 * m)
    # 答案完


grade("01.2", gaussian_noise)

# %% [markdown]
# ### 01.3　不用训练的去噪器 ★★★
#
# 数据只有有限的几个点时，最好的猜测写得出来：$x_t$ 由 `data[i]` 加噪得来的可能性，正比于 $\exp\bigl(-\lVert x_t-\sqrt{\bar\alpha_t}\,x_i\rVert^2/(2(1-\bar\alpha_t))\bigr)$；按它归一化成权重，再把各点加权平均，就是 $\mathbb E[x_0\mid x_t]$。`x_t` 是 $(B, 2)$，`data` 是 $(N, 2)$，`bar` 是一个 0 到 1 之间的数。返回 $(B, 2)$。
#
# 写好之后，可以另开一格，由它算出 $\hat\varepsilon$，交给 `sample` 走一百步，造五百个点（约十秒）。**先猜一猜**：它们到最近的训练点有多远？与网络造的、与没有见过的真点相比呢？

# %%
def ideal_start(x_t, data, bar):
    # 答案
    distance = (x_t[:, None] - bar**0.5 * data).square().sum(-1)
    return (-distance / (2 * (1 - bar))).softmax(dim=1) @ data
    # 答案完


grade("01.3", ideal_start)

# %% [markdown]
# ### 01.4　与真的点一样 ★
#
# 有人交来一个模型，造错 0.8%，漏掉 11.5%，与“真的点”一行相同。它学会了这个分布吗？
#
# - A：学会了，两个数都与真的点一样。
# - B：还不能说，把训练的点原样交回来，也差不多是这两个数。
# - C：没有学会，漏掉还有一成多。
# - D：没有学会，造错应当是 0。

# %%
grade("01.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 01.5　照抄的代价 ★★
#
# 一个偷懒的网络把 $x_t$ 原样交回来，当作猜出的噪声。数据的均值是 0，每个坐标的方差是 1；$\bar\alpha_t=0.64$ 时，每个坐标的均方误差是多少？

# %%
grade("01.5", None)  # 把 None 换成一个数

# %% [markdown]
# ### 小实验　头几百步可以不走吗
#
# 改一处，量一量，写三句话。照样从纯噪声出发，每步跨过十个 $t$，只是省掉头几百步，直接从 `begin` 走起：网络以为这团纯噪声就是加噪到 `begin` 的数据。另开一格运行下面几行，`begin` 依次取 990、500、300、200、100，每次几秒。量三样：造错，漏掉，横竖两个坐标的相关系数，各带标准误。
#
# **先猜**：`begin` 小到多少才看得出坏，哪一个数最先看得出？
#
# ```python
# def measure(part):
#     return *wrong_and_missed(part), torch.corrcoef(part.T)[0, 1]
#
#
# begin, generator = 990, torch.Generator().manual_seed(0)
# start = torch.randn(12000, 2, generator=generator)
# print(*averaged(denoise(network, start, list(range(begin, -1, -10)), generator)[-1], measure))
# ```
#
# <!-- 参考答案 -->
# **参考答案**　各一万二千个点，分成二十四批，每批五百个；± 后面是各批的标准误。网络是正文训练的那一个：
#
# | 从哪里出发 | 步数 | 造错 | 漏掉 | 相关系数 |
# |:--|--:|--:|--:|--:|
# | $t=990$ | 100 | 2.6% ± 0.2% | 13.4% ± 0.2% | -0.453 ± 0.006 |
# | $t=500$ | 51 | 2.6% ± 0.2% | 13.2% ± 0.2% | -0.448 ± 0.004 |
# | $t=300$ | 31 | 2.9% ± 0.2% | 13.3% ± 0.2% | -0.415 ± 0.005 |
# | $t=200$ | 21 | 3.0% ± 0.1% | 13.7% ± 0.2% | -0.344 ± 0.005 |
# | $t=100$ | 11 | 6.2% ± 0.2% | 15.9% ± 0.3% | -0.199 ± 0.006 |
# | 真的点 | | 0.9% ± 0.1% | 11.4% ± 0.2% | -0.436 ± 0.006 |
#
# 从 $t=500$ 出发，省去一半的步数，三个数都与从头走分不开：月牙换算过，均值 0、方差 1，加噪到哪一步都还是均值 0、方差 1，所以加噪到 $t=500$ 的数据与纯噪声只差形状，而那时的形状已经所剩无几。最先看得出的是相关系数：与从头走相比，从 $t=300$ 出发差了 0.04，从 $t=200$ 出发差了 0.11，而造错与漏掉最多差 0.4 个百分点（差的标准误约 0.2）；要到 $t=100$，这两样才明显变坏。造错与漏掉只问附近有没有点，不问疏密；点都落在月牙上，疏密却可以是错的。
#
# ```python
# print("真的点", *averaged(moons(12000, seed=3)[0], measure))  # 其余各行只改 begin
# ```
#
# <!-- 参考答案完 -->
