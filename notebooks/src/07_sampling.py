# %% [markdown]
# # 07 · 采样
#
# 用祖先采样画十个数字，要走满 1000 步，每一步调用一次网络，一个线程约要 25 秒。**网络不动，只换采样的办法，能不能画得更快、更准？**
#
# 都能。换一种走法，走 20 步只要约半秒，代价第 3、4 节来量。同样算 20 次网络，改成走 10 步、每步算两次，用上引导，分类器认作所要数字的比例就从 94.6% 升到 99.6%。
# 引导的代价是样本单调些。
#
# **学习目标**
#
# - 推出一种途中可以不掺噪声的走法，说清它为什么不用重新训练，步数少了又差在哪里。
# - 会选步数与 `eta`。
# - 会用引导让样本更符合条件，知道代价是什么；会补全半张图。
#
# **预计用时** 50 分钟。运行全部单元约半分钟。

# %%
import torch
from sklearn.datasets import make_moons

from ddpm_edu import load_pretrained
from ddpm_edu.editing import inpaint
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.generate import generate
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.sampling import ancestral_step, ddim_step, spaced_timesteps
from ddpm_edu.teach import check, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.laboratory import ddim_chain_variance, euler_roads, ideal_start
from ddpm_edu.teach.panels import guidance_panel
from ddpm_edu.teach.panels.sampler import guidance_grids
from ddpm_edu.teach.points import points_figure
from ddpm_edu.teach.sampling_figures import steps_figure, straight_steps_figure, variance_bars_figure

# %%
model = load_pretrained("mnist")
digits = torch.arange(10)  # 类别 0 到 9
betas, bar = model.exact_table("betas").numpy(), model.exact_table("alphas_cumprod")
print("准备好了")

# %% [markdown]
# ## 1　两种走法
#
# 第 4 章的每一步都是 $x_s = a\,\hat x_0 + b\,x_t + \sigma z$，$s$ 是下一个要到的步。网络只管猜 $\hat x_0$，采样器只给出 $a$、$b$、$\sigma$ 三个数。所以换一种走法，就是换这三个数，网络不必动。
#
# 这一章的走法叫 DDIM (denoising diffusion implicit models)。它有一个旋钮 $\eta$，管途中掺多少噪声：$\eta=1$ 就是第 4 章 $v=0$ 的祖先采样，$\eta=0$ 一点也不掺。
#
# 用起来是 `model.sample(10, sampler="ddim", steps=20, eta=0.0)`：在 0 到 999 之间等距地取 20 个 $t$，从大到小逐个走过，调用 20 次网络。下面的 `generate` 是分批的 `sample`，默认就是 DDIM。
#
# **先猜一猜**：从同一批起点出发，步数减少，画的还是同一张图吗？$\eta=0$ 与 $\eta=1$ 会一样吗？

# %%
drawn = {(steps, eta): generate(model, 10, seed=4, steps=steps, eta=eta, cond=digits, progress=False)[0]
         for eta in (0.0, 1.0) for steps in (5, 20, 50)}
grid_figure(torch.cat(list(drawn.values())), nrow=10, rows=[f"$\\eta={eta:.0f}$　{steps} 步" for steps, eta in drawn], columns="0123456789")

# %% [markdown]
# 图：$\eta=0$ 走 20 步与 50 步，几乎是同一张图（上三行）；$\eta=1$ 换一种步数，笔画就变了，例如 2、4、5（下三行）。这一批 $\eta=0$ 的 4、5、8 不好看，但十张太少，比较在第 4 节。
#
# $\eta=0$ 为什么还是同一张图，第 3 节回答。先问另一件事：第 4 章的 $\sigma z$ 是从后验推出来的，不掺为什么也行？

# %% [markdown]
# ## 2　DDIM：换一种走法，不换网络
#
# **训练要求了什么？** 训练时每次抽一个 $t$，照 $q(x_t\mid x_0)$ 造出 $x_t$，让网络去猜（第 6 章）。$q(x_t\mid x_0)$ 是给定 $x_0$ 时每个 $x_t$ 单独的分布，叫边缘分布。相邻两步的 $x_t$ 与 $x_s$ 怎样相关，训练从来没有用到。
# 所以只要保住每个边缘分布，换一个过程，网络照样能用。
#
# 把祖先采样的 $\sigma z$ 直接去掉，边缘分布就变了，因为每一步的 $x_s$ 都少了方差 $\sigma^2$。DDIM 的办法是：少掺多少新噪声，就多留多少旧噪声。

# %%
bar_t, bar_s, etas = float(bar[800]), float(bar[500]), (0.0, 0.5, 1.0)
a, b, sigma = torch.tensor([ddim_step(bar_t, bar_s, eta) for eta in etas], dtype=torch.float64).T
noises = torch.stack([b**2 * (1 - bar_t), sigma**2], 1)  # 旧噪声的方差，新噪声的方差
rows = {"祖先采样去掉 $\\sigma z$": (bar_s, float(noises[2, 0]), 0.0)}
variance_bars_figure(rows | {f"$\\eta={eta:g}$": (bar_s, *noise.tolist()) for eta, noise in zip(etas, noises)})

# %% [markdown]
# 图：新噪声掺得少，旧噪声就留得多，所以下面三条的总长都是 1；头一条直接去掉 $\sigma z$，就缺了虚线那一截。画的是从 $t=800$ 走到 $s=500$ 的一步，假定猜中了 $x_0$，而 $x_0$ 的方差是 1。
#
# 写成式子，三项依次是图、旧噪声、新噪声：
#
# $$x_s = \sqrt{\bar\alpha_s}\,x_0 + \sqrt{1-\bar\alpha_s-\sigma^2}\;\frac{x_t-\sqrt{\bar\alpha_t}\,x_0}{\sqrt{1-\bar\alpha_t}} + \sigma z,\qquad z\sim\mathcal N(0, I).$$
#
# **边缘分布保住了吗？** 设 $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\varepsilon$，式中的分式就是旧噪声 $\varepsilon$。所以 $x_s$ 是 $\sqrt{\bar\alpha_s}\,x_0$ 加上两份独立的高斯，方差之和为 $(1-\bar\alpha_s-\sigma^2)+\sigma^2 = 1-\bar\alpha_s$。
# 这正是 $q(x_s\mid x_0)$，而且对任何 $0\le\sigma^2\le1-\bar\alpha_s$ 都成立。
#
# **哪里只是近似？** 采样时不知道 $x_0$，只能代入猜测 $\hat x_0$。猜测是平均，不是真的 $x_0$，所以 $x_s$ 的分布只近似于 $q(x_s)$。步子越小，差得越少，因为一处的猜测只用来走一小段，到了下一处又重新猜。
#
# $\sigma$ 可以任选，DDIM 取第 4 章后验标准差的 $\eta$ 倍；把 $x_t$ 的系数收在一起，得到 $b$ 与 $a$：
#
# $$b = \sqrt{\frac{1-\bar\alpha_s-\sigma^2}{1-\bar\alpha_t}},\qquad a = \sqrt{\bar\alpha_s} - b\sqrt{\bar\alpha_t},\qquad \sigma = \eta\,\sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\,\sqrt{1-\frac{\bar\alpha_t}{\bar\alpha_s}}.$$

# %%
show_source(ddim_step,
            "def ddim_step", "sigma = eta", "b = (max(")

# %% [markdown]
# - ① `cumprod_t`、`cumprod_s` 是 $\bar\alpha_t$ 与 $\bar\alpha_s$。
# - ② 括号里是后验方差。
# - ③ 上面的 $b$ 与 $a$；根号里的舍入误差可能给出 $-10^{-17}$，所以截到 0。

# %%
for row in zip(etas, a, b, sigma):
    print("η={:.1f}　a = {:.3f}　b = {:.3f}　σ = {:.3f}".format(*row))
pairs = torch.combinations(bar[::50].flip(0)).tolist()  # 每隔 50 步取一个 t，两两配对
check("η=1 与 v=0 的祖先采样，190 对上三个数都相同", [ddim_step(*pair, 1.0) for pair in pairs],
      [ancestral_step(*pair, 0.0) for pair in pairs], atol=1e-12)

# %% [markdown]
# ## 3　步数少了，差在哪里：路是弯的，一步却是直的
#
# **一步为什么是直的？** $\eta=0$ 时，这一步的起点与终点用的是同一个猜测：
#
# $$x_t=\sqrt{\bar\alpha_t}\,\hat x_0+\sqrt{1-\bar\alpha_t}\,\hat\varepsilon,\qquad x_s=\sqrt{\bar\alpha_s}\,\hat x_0+\sqrt{1-\bar\alpha_s}\,\hat\varepsilon.$$
#
# 两式各除以 $\hat x_0$ 前面的系数，再相减：
#
# $$\frac{x_s}{\sqrt{\bar\alpha_s}} = \frac{x_t}{\sqrt{\bar\alpha_t}} + (u_s-u_t)\,\hat\varepsilon,\qquad u_t=\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}.$$
#
# 以 $u$ 为横轴、$x/\sqrt{\bar\alpha}$ 为纵轴，每一步就是沿着此刻的 $\hat\varepsilon$ 走一段直线。这正是用欧拉法 (Euler method) 解微分方程 $\dfrac{\mathrm d}{\mathrm du}\dfrac{x}{\sqrt{\bar\alpha}}=\hat\varepsilon$。
#
# **路为什么是弯的？** 假如每次都猜中 $x_0$，$\hat\varepsilon$ 一路不变，路就是直的，一步也能走完。可是猜测是平均：噪声大时缩向全体的中心，噪声小了才落到具体的一处。方向一路在变，所以路是弯的。
#
# 画出来看：数据是一维的两座峰，在 $-1$ 与 1；最好的猜测算得出来（练习 01.3）。

# %%
hump = 0.3 * torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
humps = torch.cat([hump - 1, 1 - hump])
begin = torch.linspace(-2.5, 2.5, 6)[:, None]


def roads(steps):
    """把 u 从 2 到 0 等分成 steps 步：(途经的 u, 六条路)"""
    stops = torch.linspace(2, 0, steps + 1)
    return stops, euler_roads(begin, humps, stops)


straight_steps_figure(roads(2000), {"走 3 步：拐不过弯": roads(3), "走 10 步：几乎跟上": roads(10)}, humps.flatten(),
                      note=(0.9, 0, "到这里，猜测才明显偏向一座峰", ((0.7, 0.33), (0.7, -0.33))))

# %% [markdown]
# 图：走 3 步，直线来不及拐弯，终点都往里缩；走 10 步，就几乎跟上了。中间两条到了箭头处才拐；靠外的四条，猜测一开始就偏了，拐得缓。右边缘的灰影是数据。这里只画 $u\le2$ 的一段，真的采样从大得多的 $u$ 走起。
#
# 这也回答了第 1 节：步数不同，近似的是同一条路，起点相同，终点就相近。$\eta=1$ 每一步另抽噪声，没有这样一条固定的路。
#
# 终点往里缩，样本的方差就小了。小多少？两座峰没有现成的式子，换成标准差 0.5 的高斯数据：最好的猜测已知（第 5 章），整条链走完的方差算得出来。

# %%
counts = (5, 10, 20, 50, 100, 200)
lost = {f"$\\eta={eta:.0f}$": [100 * (1 - ddim_chain_variance(betas, 0.5, steps, eta)) for steps in counts] for eta in (0.0, 1.0)}
curves_figure((counts, lost, "步数", "方差少了百分之几", "log", "log"))

# %% [markdown]
# 图：步数每加倍一次，$\eta=0$ 丢掉的方差大约减半；$\eta=1$ 一路都丢得更多。
#
# $\eta=0$ 走 20 步，方差少 15%，走 50 步少 6%。方差说的是样本之间的差别，像第 1 节那样一张一张地比，看不出来。
#
# **$\eta=1$ 为什么一步丢得更多？** 真的 $x_0$ 换成了猜测 $\hat x_0$，所以 $x_s$ 少了 $a\,(x_0-\hat x_0)$ 这一份。
# 最好的猜测是平均，猜错的部分 $x_0-\hat x_0$ 与 $x_t$、$\hat x_0$ 都不相关，所以从真的 $x_t$ 出发走一步，方差恰好少 $a^2\,\mathbb E\,(x_0-\hat x_0)^2$。$a$ 越大，少得越多：第 2 节的那一步，$\eta=0$ 时 $a$ 是 0.473，$\eta=1$ 时是 0.627。
#
# 这只是一步；前面丢的还会传下来一部分，上图也算进去了。

# %% [markdown]
# ## 4　`eta` 与步数怎样选
#
# 上图的高斯数据，$\eta=0$ 更好，真的图上也是吗？尺子是 Fréchet 距离：生成的一批与真图的一批相差多少，越小越像（公式在第 13 章）。
#
# 左图量随课程发布的 8×8 小网络 `digits`，右图抄自 DDIM 的论文（Song 等 2021，表 1）。除了 $\eta=0$ 与 $\eta=1$，还有第 4 章掺噪声最多的祖先采样，$v=1$。

# %%
quality, counts = pretrained_card("digits")["quality"], (5, 10, 20, 50)
names = {"$\\eta=0$": "ddim_{}", "$\\eta=1$（$v=0$）": "ancestral_{}", "$v=1$": "ancestral_{}_v1"}
ours = {name: [quality[key.format(steps)]["frechet"] for steps in counts] for name, key in names.items()}
paper = ((13.36, 6.84, 4.67, 4.16, 4.04), (41.07, 18.36, 8.01, 5.78, 4.73), (367.43, 133.37, 32.72, 9.99, 3.17))
steps_figure({
    "8×8 数字，八个种子，各 1 000 张": ("Fréchet 距离", {
        name: (counts, [each["mean"] for each in row], [each["se"] for each in row]) for name, row in ours.items()},
        (quality["frechet_floor"]["mean"], quality["frechet_floor"]["se"])),
    "DDIM 论文：CIFAR-10，32×32 彩图": ("FID", {name: ((10, 20, 50, 100, 1000), row, None) for name, row in zip(names, paper)}, None)})

# %% [markdown]
# 图：步数少时，掺噪声最多的 $v=1$ 最差。左图从 10 步起，$\eta=0$ 与 $\eta=1$ 分不出；右图到 100 步还是 $\eta=0$ 好，走满 1000 步，$v=1$ 反而最好。
#
# 竖线是正负一个标准误。右图的 FID 也是 Fréchet 距离，但取特征的网络不同，两边的数不能互比。
#
# 走到几十步，再多走就不大划算：右图 $\eta=0$ 走 50 步是 4.67，走满是 4.04。步数少也有代价：左图 $\eta=0$ 走 20 步是 21.1，比走 50 步大 3.0 ± 0.2（同一个种子相减）；真图是 11.0 ± 0.5。
#
# `mnist` 上两者的距离也分不出：走 20 步，$\eta=0$ 是 74.5 ± 4.4，$\eta=1$ 是 73.4 ± 3.8。走 10 步时，$\eta=1$ 的图，分类器认对的多 1.4 ± 0.6 个百分点。
#
# **怎样选：想快，走几十步，先试 $\eta=0$；时间不限，可以走满，试试 $v=1$。** 这主要凭右图。

# %% [markdown]
# ## 5　引导：让条件更管用
#
# 有条件的网络，给类别与不给类别（类别写成 $-1$），猜测不同。两个猜测之差，就是“要更像这一类，该往哪边改”。引导 (guidance) 把这个差乘以 $w$：$w=0$ 是不给类别，$w=1$ 是给类别，$w>1$ 是往这一边多改一些。
#
# 借用第 1 章的两弯月牙来看。要的类别是上弯：给类别时，最好的猜测只照上弯的点算；不给类别时，照两弯的点算。

# %%
moons, moon = make_moons(2000, noise=0.08, random_state=0)
moons = (torch.from_numpy(moons).float() - torch.tensor([0.5, 0.25])) / torch.tensor([0.87, 0.5])
upper, lower = moons[moon == 0], moons[moon == 1]


def guided(x, bar_t, w):
    """引导强度 w 的猜测：从不给类别的出发，朝给类别的走 w 倍"""
    plain, given = ideal_start(x, moons, bar_t), ideal_start(x, upper, bar_t)
    return plain + w * (given - plain)


bar_half = 0.5  # 在 ᾱ = 0.5 处画箭头
noisy = bar_half**0.5 * moons + (1 - bar_half) ** 0.5 * torch.randn(moons.shape, generator=torch.Generator().manual_seed(0))
at, title = torch.cartesian_prod(*[torch.linspace(-2.2, 2.2, 10)] * 2), "$\\bar\\alpha=0.5$　蓝：上弯　灰：下弯"
arrows = {title: (at, 0.3 * (guided(at, bar_half, 1.0) - guided(at, bar_half, 0.0)))}
points_figure({title: noisy[moon == 0]}, torch.zeros(len(upper)), arrows, shadow=noisy[moon == 1], width=4.0)

# %% [markdown]
# 图：两个猜测之差，从下弯指向上弯。底下是带噪的点，箭头缩到 0.3 倍。左上的点不给类别也认得出是上弯，两个猜测几乎相同，箭头缩成了点。
#
# **先猜一猜**：把差乘以 3，样本会铺满上弯，还是只落在一部分？

# %%
def travel(x, w, steps=40):
    """用 η=0 的 DDIM 从 x 走到底"""
    chain = [*bar[spaced_timesteps(1000, steps)].tolist()[::-1], 1.0]  # 途经的 bar，从几乎全是噪声到干净
    for bar_t, bar_s in zip(chain, chain[1:]):
        a, b, _ = ddim_step(bar_t, bar_s)
        x = a * guided(x, bar_t, w) + b * x
    return x


start = torch.randn(600, 2, generator=torch.Generator().manual_seed(2))
points_figure({f"$w={w}$": travel(start, float(w)) for w in (1, 2, 3)}, shadow=lower)

# %% [markdown]
# 图：$w$ 越大，样本离下弯（灰影）越远。$w=1$ 铺满上弯；$w=3$ 时，挨着下弯的右腿空了，左脚也短了些。
#
# **为什么放大这个差？** 记要的类别为 $c$。想让样本更像 $c$，可以更看重分类器的意见 $p(c\mid x_t)$，把它取 $w$ 次方：
#
# $$\tilde p(x_t\mid c)\;\propto\; p(x_t)\,p(c\mid x_t)^{w}.$$
#
# 代入贝叶斯公式 $p(c\mid x_t)=p(x_t\mid c)\,p(c)/p(x_t)$，分类器就消去了；$w=1$ 时得到 $p(x_t\mid c)$。取对数，对 $x_t$ 求梯度（$p(c)$ 与 $x_t$ 无关，梯度是 0）：
#
# $$\nabla\ln\tilde p(x_t\mid c) = \nabla\ln p(x_t) + w\,\bigl(\nabla\ln p(x_t\mid c)-\nabla\ln p(x_t)\bigr).$$
#
# $\nabla\ln p(x_t)$ 就是第 1 章的得分，由网络的猜测给出：不给类别时约是 $-\hat\varepsilon_\varnothing/\sqrt{1-\bar\alpha_t}$，给类别时约是 $-\hat\varepsilon_c/\sqrt{1-\bar\alpha_t}$（证明在第 18 章）。代进去，约去公共的系数，就是引导的猜测：
#
# $$\tilde\varepsilon = \hat\varepsilon_\varnothing + w\,(\hat\varepsilon_c-\hat\varepsilon_\varnothing).$$
#
# 式子里没有分类器，只有同一个网络的两个输出，所以叫无分类器引导 (classifier-free guidance)。$x_t$ 固定时，$\hat x_0$ 是 $\hat\varepsilon$ 的一次函数，所以月牙的程序放大 $\hat x_0$ 之差，结果一样。
#
# 不过上式对每个 $t$ 单独写，而把 $t=0$ 的 $\tilde p$ 加噪，得不到后面各个 $t$ 的 $\tilde p$，因为取 $w$ 次方与加噪（取平均）不能交换先后。所以引导给的是方向，走到底并不恰好是 $\tilde p$。
#
# **真的图上怎样？** 网络要学会不给类别的猜测，所以 `mnist` 训练时有一成的标签换成了 $-1$。每一类画四张，量两样：“认得出”指分类器的判断就是所要的类别；“散布”指同一类的图在分类器的特征里相差多少，越小越单调。

# %%
classifier = load_classifier("mnist")
samples = guidance_grids(model, scales=(0.0, 1.0, 3.0), per_class=4, steps=10)
# 四张之间的标准差，每一类一个数
varied = {scale: classifier.features(images.clamp(-1, 1)).view(4, 10, -1).std(0).mean(1) for scale, images in samples.items()}
less = varied[1.0] - varied[3.0]
print(f"从 w=1 到 w=3，散布从 {varied[1.0].mean():.2f} 小了 {less.mean():.2f} ± {less.std() / 10**0.5:.2f}（± 是十类之间的标准误）")
guidance_panel(samples, classifier, {scale: float(each.mean()) for scale, each in varied.items()})

# %% [markdown]
# 面板：$w$ 越大，笔画越规矩，同一列的四张也越像。一列一个类别，同一格的起点相同；$w=0$ 时类别不起作用，认对是碰巧。
#
# 四十张太少。下表每行八个种子，各 200 张，$\eta=0$。$w=1$ 时，不给类别的猜测约掉了，每步只算一次网络；其余的每步算两次。
#
# | $w$ | 步数 | 每张调用网络 | 认得出 | Fréchet 距离 |
# |:--|--:|--:|--:|--:|
# | 1 | 10 | 10 次 | 95.2% ± 0.4% | 88.6 ± 5.2 |
# | 1 | 20 | 20 次 | 94.6% ± 0.6% | 74.5 ± 4.4 |
# | 1.25 | 10 | 20 次 | 98.4% ± 0.3% | 57.9 ± 2.9 |
# | 1.5 | 10 | 20 次 | 99.6% ± 0.1% | 58.8 ± 1.9 |
# | 2 | 10 | 20 次 | 99.8% ± 0.1% | 104.3 ± 3.6 |
# | 真图 | | | 99.4% | 64.7 ± 4.3 |
#
# - **同样调用 20 次，引导胜过多走。** $w$ 取 1.25 或 1.5，认得出的多了，距离没有变大。
# - **从 1.5 加到 2**，认得出的几乎不升，距离却大了 46 ± 3。
#
# 张数少，真图对真图也有距离：另取 200 张真图量，是 64.7。样本越集中，这一份可能越小，所以低于 64.7 不说明比真图好。
#
# **怎样选：这个网络先试 $w=1.25$ 到 1.5。** 换了网络要重新量（`python -m benchmarks.guidance`）。

# %% [markdown]
# ## 6　补全：不必另外训练
#
# 图缺了一半，也可以只改采样来补。祖先采样的每一步，把已知的部分换成“原图加噪到这一步”的样子，未知的部分照常走。网络每一步都看整张图，未知的部分可以去配合已知的。
#
# 可是换的时候，不看另一半走成了什么样，接缝容易错位。RePaint（Lugmayr 等 2022）的办法是：除了末一步，每步换完都加噪退回去，让网络看着换过的整张图再走，一共走 `repeats` 遍。
#
# 走 7 步、前 6 步各 4 遍，要调用 25 次网络。拿它与不重走的“25 步 1 遍”比。

# %%
# NBVAL_IGNORE_OUTPUT
known, mask = handwriting("../data")[0][:50], torch.ones(1, 1, 28, 28)
mask[..., 14:] = 0
options = {"cond": torch.full((50,), -1), "progress": False}
ways = {"25 步 1 遍": (25, 1), "7 步 4 遍": (7, 4)}
filled = {name: inpaint(model, known, mask, steps=steps, repeats=repeats, generator=torch.Generator().manual_seed(0), **options)
          for name, (steps, repeats) in ways.items()}
seam = {name: (images[..., 14] - images[..., 13]).abs().flatten(1).mean(1) for name, images in {"原图": known, **filled}.items()}
print("接缝两边的像素平均差　" + "　".join(f"{name} {each.mean():.2f}" for name, each in seam.items()))
more = seam["25 步 1 遍"] - seam["7 步 4 遍"]
print(f"不重走，大 {more.mean():.2f} ± {more.std() / 50**0.5:.2f}（五十张，逐张相减）")
grid_figure(torch.cat([images[:10] for images in (known, known * mask, *filled.values())]), nrow=10, rows=["原图", "遮住", *filled])

# %% [markdown]
# 图：退回去重走（末行），接缝更合，两边的像素之差小 0.11 ± 0.03。右半遮住（灰色），不告诉模型是几，所以补出来的不一定是原来的数字。

# %% [markdown]
# ## 小结
#
# **网络不动，只换采样的办法，能不能画得更快、更准？** 能。
#
# - **更快。** 训练只用到边缘分布，所以保住边缘分布的走法都能配同一个网络。想快，先试不掺噪声的 DDIM，走几十步。
# - **代价。** 猜测是平均，一路在变，所以路是弯的，一步却是直的。高斯例子里，步数少了方差就少；$\eta=0$ 的步数加倍，少的大约减半。
# - **更准。** 引导把给类别与不给类别之差乘以 $w$，只要求训练时见过“不给类别”。`mnist` 上 $w$ 加到 1.5，更好认，距离没有变大；加到 2，距离就大了。
# - **补全。** 每一步换上加噪的已知部分，也不必另外训练。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 07.1　引导 ★
#
# `network(x, t, label)` 给出 $\hat\varepsilon$，`label` 是 $(B,)$ 的整数张量，$-1$ 表示无条件。返回引导强度为 `w` 时的输出。

# %%
def guide(network, x, t, label, w):
    # 答案
    conditional = network(x, t, label)
    unconditional = network(x, t, torch.full_like(label, -1))
    return unconditional + w * (conditional - unconditional)
    # 答案完


grade("07.1", guide)

# %% [markdown]
# ### 07.2　DDIM 的一步 ★★
#
# 由 `x_t` 与网络的猜测 `eps` 走一步，返回 $x_s$。`bar_t`、`bar_s` 是两个数 $\bar\alpha_t$ 与 $\bar\alpha_s$（$\bar\alpha_s>\bar\alpha_t$），`z` 是一份标准高斯的噪声。$\hat x_0$ 不截断。

# %%
def ddim(x_t, eps, bar_t, bar_s, eta, z):
    # 答案
    x_recon = (x_t - (1 - bar_t) ** 0.5 * eps) / bar_t**0.5
    sigma = eta * ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)) ** 0.5
    return bar_s**0.5 * x_recon + (1 - bar_s - sigma**2) ** 0.5 * eps + sigma * z
    # 答案完


grade("07.2", ddim)

# %% [markdown]
# ### 07.3　多看一眼再走 ★★★
#
# 第 3 节说 $\eta=0$ 是欧拉法：只看此刻的 $\hat\varepsilon$，沿直线走完这一步。Heun 法先这样试走一步，在走到的点上再看一次 $\hat\varepsilon$，两次取平均，回到原处重走。
# 写出 Heun 法的一步：`eps_of(x, bar)` 给出 $\bar\alpha$ 是 `bar` 时的 $\hat\varepsilon$；`bar_t`、`bar_s` 是两个数，$\bar\alpha_t<\bar\alpha_s<1$。返回 $x_s$。

# %%
def heun(eps_of, x_t, bar_t, bar_s):
    # 答案
    def walk(eps):
        u_t, u_s = ((1 - bar_t) / bar_t) ** 0.5, ((1 - bar_s) / bar_s) ** 0.5
        return bar_s**0.5 * (x_t / bar_t**0.5 + (u_s - u_t) * eps)

    first = eps_of(x_t, bar_t)
    second = eps_of(walk(first), bar_s)
    return walk((first + second) / 2)
    # 答案完


grade("07.3", heun)

# %% [markdown]
# ### 07.4　五步里的噪声 ★
#
# 第 4 节的左图里，走 5 步时，$\eta=1$ 的 Fréchet 距离比 $\eta=0$ 大得多（75 对 61），原因没有单独查。哪一条说得通，而另外三条都不是事实？
#
# - A：$\eta=1$ 时，最后一步也掺噪声，留在了图上。
# - B：步子大，$\eta=1$ 一步里更依赖 $\hat x_0$（$a$ 更大），而 $\hat x_0$ 是平均，样本被抹得更集中。
# - C：$\eta=1$ 的公式即使代入真的 $x_0$，也保不住 $q(x_s\mid x_0)$。
# - D：步子大，每步掺的噪声反而少，起点里的噪声没有换掉。

# %%
grade("07.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 07.5　引导三倍 ★★
#
# 一维的例子：全体数据 $p(x)=\mathcal N(0,1)$，其中某一类 $p(x\mid c)=\mathcal N(1,\,0.25)$，0.25 是方差。分类器的意见 $p(c\mid x)$ 取 $w=3$ 次方，$\tilde p(x\mid c)\propto p(x)\,p(c\mid x)^3$ 还是高斯。它的方差是多少？

# %%
grade("07.5", None)  # 把 None 换成一个数

# %% [markdown]
# ### 小实验　引导只用三分之一的路
#
# 改一处，量一量，写三句话。$w=3$ 的引导，一路上每一步都用了。现在只在三分之一的路上用，其余照 $w=1$ 走。路分三段：头一段 $t>666$，中间 $333<t\le666$，末一段 $t\le333$，各六步。**先猜**：哪一段最伤多样？哪一段几乎不起作用？哪一段最划算？
#
# 在新的一格运行下面的程序，头一次约两分钟；再把条件换成另外两段，只重算 `third`，各约半分钟。打印的两个数是认得出的比例与散布，算法同第 5 节。
#
# ```python
# from ddpm_edu.evaluation.metrics import recognised
#
# road, wanted = spaced_timesteps(1000, 18)[::-1].tolist(), digits.repeat(4)
#
# @torch.no_grad()
# def paint(strength, seed=0):
#     x = torch.randn(40, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
#     for t, s in zip(road, [*road[1:], None]):
#         a, b, _ = ddim_step(float(bar[t]), 1.0 if s is None else float(bar[s]))
#         x = a * model.predict_start(x, torch.full((40,), t), cond=wanted, guidance_scale=strength(t)) + b * x
#     varied = classifier.features(x.clamp(-1, 1)).view(4, 10, -1).std(0).mean()
#     return recognised(classifier, x, wanted)["recognised"], float(varied)
#
# def eight(strength):
#     return torch.tensor([paint(strength, seed) for seed in range(8)])
#
# plain, full = eight(lambda t: 1.0), eight(lambda t: 3.0)  # 不引导，全程引导：只需算一次
# third = eight(lambda t: 3.0 if t > 666 else 1.0)  # 改这一处
# for name, row in (("不引导", plain), ("全程多了", full - plain), ("这一段多了", third - plain)):
#     print(name, row.mean(0).tolist(), "±", (row.std(0) / 8**0.5).tolist())
# ```
#
# <!-- 参考答案 -->
# **参考答案**　八个种子，每个种子四十张，$\eta=0$，走 18 步；± 后面是标准误，后两列是逐个种子减去“不引导”的：
#
# | 引导用在哪里 | 调用网络 | 认得出 | 散布 | 认得出多了（百分点） | 散布少了 |
# |:--|--:|--:|--:|--:|--:|
# | 不引导，$w=1$ | 18 次 | 95.3% ± 1.5% | 4.48 ± 0.09 | | |
# | 头一段，$w=3$ | 24 次 | 99.7% ± 0.3% | 3.54 ± 0.04 | 4.4 ± 1.5 | 0.94 ± 0.06 |
# | 中间，$w=3$ | 24 次 | 98.8% ± 0.7% | 4.12 ± 0.08 | 3.4 ± 1.3 | 0.36 ± 0.03 |
# | 末一段，$w=3$ | 24 次 | 95.6% ± 1.4% | 4.43 ± 0.09 | 0.3 ± 0.3 | 0.05 ± 0.01 |
# | 全程，$w=3$ | 36 次 | 100% | 3.39 ± 0.04 | 4.7 ± 1.5 | 1.09 ± 0.08 |
# | 全程，$w=1.4$ | 36 次 | 99.4% ± 0.4% | 4.02 ± 0.06 | 4.1 ± 1.2 | 0.46 ± 0.04 |
#
# 1. 末一段的引导几乎没有用，两样都几乎不动，那时是几多半已经定了。头一段差不多就是全程，好处与代价都有九成上下。
# 2. 中间一段最划算：认得出的好处约有全程的七成，散布的代价只有三分之一。
# 3. 可是不能只与 $w=3$ 比。全程都用、把 $w$ 减到 1.4，与它相差无几：认得出高 0.6 ± 0.6 个百分点，分不出；散布低 0.10 ± 0.03，另外多调用 12 次网络。所以嫌引导太伤多样，先把 $w$ 调小，挑一段来用，好处只再多一点。
#
# ```python
# middle, last, mild = eight(lambda t: 3.0 if 333 < t <= 666 else 1.0), eight(lambda t: 3.0 if t <= 333 else 1.0), eight(lambda t: 1.4)
# rows = {"中间": middle, "末一段": last, "全程 1.4": mild, "全程 1.4 减中间": mild - middle}
# for name, row in rows.items():  # 其余各行上面的程序已经印了；末一行只看前两项
#     print(name, row.mean(0), row.std(0) / 8**0.5, (row - plain).mean(0), (row - plain).std(0) / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
