# %% [markdown]
# # 03 · 加噪过程：`q_sample` 与 `q_mean_variance`
#
# 训练时，每个样本都要抽一个随机的 $t$，造出那一步的带噪图 $x_t$。照第 2 章的规则一步步走，平均要走五百步；第 1 章却用了一个公式，一步就到。这个公式还欠一个证明。
#
# 采样从纯噪声出发，可是加噪走完一千步，原图并没有全消失：`linear` 表的系数 $\sqrt{\bar\alpha_{T-1}}$ 还有 2.7%。造出来的图会不会因此走样？
#
# 这一章要回答：**为什么一步就能到？走到头，离纯噪声还差多少，要不要紧？**
#
# **学习目标**
#
# - 推出 $q(x_t\mid x_0)$ 的闭式，明白为什么一步就能到任意的 $t$。
# - 一批样本各有各的 $t$，会把系数与样本对上号。
# - 看见数据分布怎样一步步变得接近 $\mathcal N(0, I)$；会算终点差多少，会判断要不要紧。
#
# **预计用时** 25 分钟。运行全部单元约十秒。

# %%
import math

import numpy as np
import torch

from ddpm_edu import GaussianDiffusion
from ddpm_edu.gaussian import extract_into_tensor
from ddpm_edu.teach import check, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.forward_figures import brightness_figure, sources_figure, walk_figure
from ddpm_edu.teach.panels import forward_panel

diffusion = GaussianDiffusion()  # T=1000，linear，没有网络

# %% [markdown]
# ## 1　一步就到
#
# 先看结果：每一格都从原图一步算出来，没有经过左边的那些格。

# %%
images, _ = handwriting("../data")  # 磁盘上有 MNIST 时是测试集里的一百张，没有时是随课程发布的模型画的
images = images.roll(-3, 0)  # 从 3 开始
noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
steps = [0, 100, 200, 300, 400, 500, 700, 999]
rows = [diffusion.q_sample(images[:3], torch.full((3,), step), noise[:3]) for step in steps]
grid_figure(torch.stack(rows, 1).flatten(0, 1), nrow=len(steps), width=9.0, columns=[f"$t={step}$" for step in steps])

# %% [markdown]
# 图：一步就能到任意的 $t$。每行一个手写数字，用同一份噪声；$t=400$ 仍一眼认得出是几，到 $t=700$ 只剩一点影子。
#
# 凭什么？一步的规则是（第 2 章）
#
# $$x_t = \sqrt{\alpha_t}\,x_{t-1} + \sqrt{1-\alpha_t}\,\varepsilon_t,\qquad \alpha_t = 1-\beta_t.$$
#
# 把前一步代进来：
#
# $$x_t = \sqrt{\alpha_t\alpha_{t-1}}\,x_{t-2} + \sqrt{\alpha_t(1-\alpha_{t-1})}\,\varepsilon_{t-1} + \sqrt{1-\alpha_t}\,\varepsilon_t.$$
#
# 后两项是两个独立的高斯噪声之和，所以还是高斯噪声；方差相加，得 $\alpha_t(1-\alpha_{t-1}) + (1-\alpha_t) = 1-\alpha_t\alpha_{t-1}$。
# 于是两步合起来与一步的形式相同，只是 $\alpha_t$ 换成了乘积 $\alpha_t\alpha_{t-1}$。
#
# 就这样一直代到 $t=0$ 那一步。代码从 0 数步，$t=0$ 的图已经加过一步噪声，再往前就是没有加噪的原图 $x_0$，所以乘积正好是 $\alpha_0\cdots\alpha_t=\bar\alpha_t$。用 $q$ 表示加噪过程的分布，就得到闭式：
#
# $$q(x_t\mid x_0) = \mathcal N\!\left(\sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t)I\right),\qquad x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon.$$
#
# 式中的 $\varepsilon$ 没有下标：它是一路上的 $\varepsilon_0,\dots,\varepsilon_t$ 合成的一份标准高斯噪声，网络要猜的就是它。闭式只管每一个 $t$ 自己的分布；训练时一个样本只用一个 $t$，这就够了。
#
# 下面走一遍来核对：二十万个点都从 $x_0 = 0.7$ 出发，用一张只有 50 步的表，一步一步走：

# %%
short = GaussianDiffusion(timesteps=50, linear_start=1e-3, linear_end=0.25)
generator = torch.Generator().manual_seed(0)
walkers, seen = torch.full((200_000,), 0.7), {}
for count, beta in enumerate(short.betas, 1):
    walkers = (1 - beta).sqrt() * walkers + beta.sqrt() * torch.randn(walkers.shape, generator=generator)
    if count in (5, 10, 20, 50):
        bar = float(short.exact_table("alphas_cumprod")[count - 1])  # 步号从 0 数起，第 5 步是 t=4
        seen[count] = walkers, bar**0.5 * 0.7, (1 - bar) ** 0.5
        print(f"走 {count} 步：均值 {walkers.mean():.3f}，闭式 {bar**0.5 * 0.7:.3f}；方差 {walkers.var():.3f}，闭式 {1 - bar:.3f}")
walk_figure(seen)

# %% [markdown]
# 图：一步步走到的，与闭式处处重合。尖峰一边往 0 挪，一边变宽。

# %% [markdown]
# ## 2　每个样本有自己的 $t$
#
# 训练时，一批里的每个样本各有各的 $t$。图像是 $(B, C, H, W)$ 的，所以先从系数表里按下标取出 $B$ 个数，变形成 $(B, 1, 1, 1)$，再与图像相乘。
#
# 忘了变形，多半报错；可是 $B$ 恰好等于图的宽度时，它照样算得出来，形状也对。拿 28 张 28 像素宽的图试试：

# %%
t, x_start, eps = torch.arange(28) * 37, images[:28], noise[:28]  # t 从 0 均匀地取到 999
keep, add = diffusion.sqrt_alphas_cumprod[t], diffusion.sqrt_one_minus_alphas_cumprod[t]
right = keep.reshape(-1, 1, 1, 1) * x_start + add.reshape(-1, 1, 1, 1) * eps
check("q_sample 就是上面这一行", bool((diffusion.q_sample(x_start, t, eps) == right).all()), True)
forgot = keep * x_start + add * eps
grid_figure(torch.cat([right[::9], forgot[::9]]), nrow=4, width=5.0, rows=["reshape", "忘了 reshape"], columns=[f"$t={step}$" for step in t[::9]])

# %% [markdown]
# 图：忘了变形，每张图都是左边清楚、右边全是噪声，与它自己的 $t$ 无关。系数乘到了横轴上：$t=999$ 的那张本该几乎全是噪声，左半却还看得清。

# %% [markdown]
# ## 3　像素的分布怎样变
#
# 闭式说的是一张图。把一百张图的全部像素放在一起，它们的值怎样分布？
#
# **先猜一猜**：黑与白两个峰，到第几步就只剩一个？猜好了再拖。

# %%
forward_panel(diffusion, images, noise)

# %% [markdown]
# 面板：两个峰并成一个，最后与标准高斯看不出分别。
# 背景的黑占八成像素，是左边的大峰，高得出了图；笔画的白是右边的小峰，$t=150$ 时还在，到 $t=270$ 只剩大峰的一段缓坡。

# %% [markdown]
# ## 4　还差多少
#
# 采样从 $\mathcal N(0, I)$ 出发，而一张图加噪的终点是 $\mathcal N(\sqrt{\bar\alpha}\,x_0,\,(1-\bar\alpha)I)$（这一节与下一节的 $\bar\alpha$ 都指 $\bar\alpha_{T-1}$）。
#
# **先猜一猜**：一张全黑的图（$x_0=-1$）走到头，还看得出它原来偏黑吗？28×28 的与 512×512 的彩色图，有没有分别？
#
# 看平均亮度，也就是全部像素的平均。$N$ 个数平均之后，噪声的标准差缩小到 $\sqrt{(1-\bar\alpha)/N}$，原图的亮度却仍是 $-\sqrt{\bar\alpha}$。相除，偏了 $\sqrt{\bar\alpha N/(1-\bar\alpha)}$ 个标准差：

# %%
last = float(diffusion.exact_table("alphas_cumprod")[-1])
for size, count in (("28×28", 784), ("32×32×3", 3072), ("512×512×3", 786_432)):
    print(f"{size}：偏 {(last * count / (1 - last)) ** 0.5:.1f} 个标准差")

# %% [markdown]
# 28×28 的偏不到一个标准差，看一张图很难判断；512×512 的偏 24 个，算一下平均就知道原来是黑的。
#
# ## 5　要不要紧
#
# 起点偏了，一路上还可能纠正。设想去噪器是完美的，每一步都照真的 $q(x_{t-1}\mid x_t)$ 抽（第 4 章的采样）。加噪的每一步只看上一步，倒着看也是，所以一步步抽到底，等于照 $q(x_0\mid x_{T-1})$ 抽一张图；只是代进去的 $x_{T-1}$ 换成了 $\mathcal N(0,I)$ 的一份样本，错就错在这一处。
#
# **先猜一猜**：这样造出来的图，亮度会错多少？
#
# 设一批图的亮度 $b$ 像高斯，平均是 $m$，标准差是 $s$，与图的别的方面无关。走到终点，亮度成了
#
# $$y=\sqrt{\bar\alpha}\,b+\text{噪声},\qquad \text{噪声的方差是}\ (1-\bar\alpha)/N.$$
#
# 高斯噪声在互相垂直的方向上彼此独立，$b$ 又与别的方面无关，所以推断 $b$ 只要看 $y$ 这一个数。$y$ 的方差里，原图占的比例是
#
# $$f=\frac{\bar\alpha s^2}{\bar\alpha s^2+(1-\bar\alpha)/N}=\frac{\bar\alpha Ns^2}{\bar\alpha Ns^2+1-\bar\alpha}.$$
#
# **由 $y$ 推断 $b$**。两者都是高斯，最好的推断是线性回归：斜率是协方差 $\sqrt{\bar\alpha}\,s^2$ 除以 $y$ 的方差，等于 $f/\sqrt{\bar\alpha}$，所以猜 $b$ 是
#
# $$m+\frac{f}{\sqrt{\bar\alpha}}\left(y-\sqrt{\bar\alpha}\,m\right).$$
#
# 全方差公式把 $b$ 的方差 $s^2$ 分成两份：
#
# - 推断随 $y$ 变的一份，是斜率的平方乘 $y$ 的方差：$\frac{f^2}{\bar\alpha}\cdot\frac{\bar\alpha s^2}{f}=fs^2$；
# - 知道了 $y$ 还剩的一份：$(1-f)s^2$。
#
# **平均错多少**。真的终点，$y$ 的平均是 $\sqrt{\bar\alpha}\,m$，推断的平均恰好是 $m$。采样的起点，$y$ 的平均是 0，代进去得 $(1-f)m$：平均往 0 挪了 $f|m|/s$ 个标准差。
#
# **标准差错多少**。真的终点，$y$ 的方差里噪声占 $1-f$。采样的起点只有噪声，$\bar\alpha$ 近于 0 时，方差约是真的 $1-f$ 倍。
#
# 推断随 $y$ 变的一份照着缩，成了 $f(1-f)s^2$；还剩的一份不变。相加得 $(1-f^2)s^2$：标准差约缩到 $\sqrt{1-f^2}$ 倍。
#
# 算几批图。MNIST 与 CIFAR-10 的 $m$、$s$ 各量自一万张测试图；放大之后只有 $N$ 变了：

# %%
cases = {"MNIST": (1, -0.735, 0.0875, (28, 140)), "CIFAR-10": (3, -0.047, 0.249, (32, 512))}  # 通道数，m，s，边长
for name, (channels, mean, std, sides) in cases.items():
    for side in sides:
        signal = last * channels * side**2 * std**2
        f = signal / (signal + 1 - last)
        print(f"{name}，{side}×{side}：f = {f:.1%}，平均挪 {f * abs(mean) / std:.2f} 个标准差，标准差剩 {(1 - f**2) ** 0.5:.1%}")
brightness_figure(cases, last)

# %% [markdown]
# 图：放大到圆点标出的大小，MNIST 偏了平均，照片缩了标准差。都是照式子算的，不是训练出来的。
#
# - 28×28 的 MNIST 与 32×32 的照片，亮度几乎不变。别的方向也可以照样算，把 $Ns^2$ 换成那个方向的方差：MNIST 最大的是 21，$f$ 才 1.5%；照片最大的是 220，$f$ 是 14%，标准差还剩 99%。所以不要紧。
# - MNIST 放大到 140×140，平均挪 0.83 个标准差：$f$ 才 10%，$m$ 却离 0 有 8.4 个标准差。
# - 照片放大到 512×512，标准差只剩 23%：很亮的、很暗的几乎都没有了。Stable Diffusion 1 加噪的是 64×64×4 的压缩图，用另一张表，$\sqrt{\bar\alpha}=6.8\%$；Lin 等（2024）指出，它也只画得出中等亮度。
#
# **不掺噪声的采样**（DDIM，第 7 章）更糟。它把 $y$ 的高斯直接拉成 $b$ 的高斯，斜率是两个标准差之比 $\sqrt{f/\bar\alpha}$，比回归的陡。代起点进去，平均挪 $\sqrt f\,|m|/s$ 个标准差，标准差约缩到 $\sqrt{1-f}$ 倍：28×28 的 MNIST，平均也要挪 0.56 个标准差。
#
# **合不合真的训练**？月牙的一个点，可以看成只有两个像素的图。亮度是两个坐标的平均，所以 $N=2$，$s^2=0.28$。第 2 章第 6 节那张一百步、两端不改的表，$\bar\alpha=0.485$，于是 $f=35\%$，平均该从 $-0.742$ 挪到 $-0.485$。训练八个种子，量到 $-0.498\pm0.003$，挪的距离只差 5%。不掺噪声的采样，第 18 章第 6 节训练出来的缩到 45.8% ± 0.3%，照式子是 44.7%。

# %% [markdown]
# ## 6　$x_t$ 是从哪个 $x_0$ 来的
#
# 去噪要倒着走，难处在于 $x_t$ 是从哪个 $x_0$ 来的，越往后越说不清。取最简单的数据来算：$x_0$ 以各一半的概率等于 $-1$ 或 $1$。
#
# $q(x_t\mid x_0)$ 只从一张图出发；$q(x_t)$ 把所有的图加噪之后混在一起。这里它是两个高斯各占一半（$\mathcal N(x;\,\mu,\,\sigma^2)$ 是均值 $\mu$、方差 $\sigma^2$ 的高斯在 $x$ 处的密度）：
#
# $$q(x_t) = \tfrac12\,\mathcal N(x_t;\,\sqrt{\bar\alpha_t},\,1-\bar\alpha_t) + \tfrac12\,\mathcal N(x_t;\,-\sqrt{\bar\alpha_t},\,1-\bar\alpha_t).$$
#
# **先猜一猜**：两个峰在第几步并成一个？到了那时，看一眼 $x_t$，还有几成把握猜对它来自哪一个 $x_0$？

# %%
x = np.linspace(-5, 5, 1001)


def bump(step, sign):
    """从 x₀ = sign 出发，x_t 的密度"""
    bar = float(diffusion.exact_table("alphas_cumprod")[step])
    return np.exp(-((x - sign * bar**0.5) ** 2) / (2 * (1 - bar))) / math.sqrt(2 * math.pi * (1 - bar))


sources_figure(x, {f"$t={step}$": (bump(step, 1) / 2, bump(step, -1) / 2) for step in (100, 300, 418, 999)}, place=0.2)

# %% [markdown]
# 图：两个峰到 $t=418$ 并成一个，那正是信噪比刚降到 1 以下的一步（第 2 章）。
#
# 为什么恰好是这一步？两个高斯的中心在 $\pm\mu$，标准差都是 $\sigma$。正中 $x_t=0$ 处的二阶导与 $(\mu/\sigma)^2-1$ 同号：大于 0，正中是谷，两边各有一个峰；不大于 0，就只有一个峰。$(\mu/\sigma)^2=\bar\alpha_t/(1-\bar\alpha_t)$ 正是信噪比。
#
# 由贝叶斯公式，看到 $x_t$，它来自 $+1$ 的概率是绿的高度占绿、灰之和的几成（第二格标出了一例）。每次都猜概率大的那一个，对所有的 $x_t$ 平均，能猜对几成？

# %%
for step in (100, 300, 418, 500, 999):
    plus, minus = bump(step, 1), bump(step, -1)
    print(f"t={step:3}：猜对 {np.maximum(plus, minus).sum() / (plus + minus).sum():.1%}")

# %% [markdown]
# 并成一个峰的时候，仍猜得对 84%：两个峰看不见了，信息还在。走到头是 51%。
# 既然说不准从哪里来，往回走一步该走到哪里？第 4 章从这里接着问。

# %% [markdown]
# ## 7　逐行读源码（第一遍可以不看）
#
# 先是第 2 节的取系数：

# %%
show_source(extract_into_tensor,
            "def extract_into_tensor", "return table[t]")

# %% [markdown]
# - ① 每个公式都从这里取系数，所以步号只在这里查。在 GPU 上不查范围：$t=-1$ 不报错，悄悄取到末一个系数。
# - ② 取出 $B$ 个系数，变形成 $(B, 1, \dots, 1)$。

# %%
show_source(GaussianDiffusion.q_sample,
            "def q_sample", "x_t = (")

# %% [markdown]
# - ① 噪声的形状要与输入相同，免得悄悄广播；没给噪声就抽一份。
# - ② 系数是 float32，结果换回输入的类型。
#
# 有时要的是分布本身：均值、方差、对数方差。

# %%
show_source(GaussianDiffusion.q_mean_variance,
            "def q_mean_variance", "# 不能写 1 - ᾱ")

# %% [markdown]
# - ① 均值 $\sqrt{\bar\alpha_t}\,x_0$。
# - ② 方差与 $x_0$ 无关，取存好的 $\sqrt{1-\bar\alpha_t}$ 再平方：直接用 float32 算 $1-\bar\alpha_t$，在 $t=0$ 处不准（第 2 章第 7 节）。

# %% [markdown]
# ## 小结
#
# - **为什么一步就到**：每一步缩小的倍数连乘，掺进的高斯噪声合成一份、方差相加，所以 $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\varepsilon$。
# - **还差多少**：`linear` 走到头，原图的系数还有 2.7%。全黑的图，平均亮度在 28×28 时偏 0.8 个标准差，在 512×512×3 时偏 24 个。
# - **要不要紧**：$f$ 是终点亮度的方差里原图占的比例。照第 4 章那样每步掺噪声地采样，平均往 0 挪 $f|m|/s$ 个标准差，标准差约缩到 $\sqrt{1-f^2}$ 倍；不掺噪声的采样更糟，是 $\sqrt f\,|m|/s$ 与 $\sqrt{1-f}$。前一种采样，28×28 的 MNIST 与 32×32 的照片几乎不变，放大就不然。
# - 一批样本各有各的 $t$：按下标取系数，变形成 $(B,1,1,1)$ 再乘；忘了变形，$B$ 等于宽度时不报错。
# - 数据是 $\pm1$ 时，看着 $x_t$ 猜 $x_0$，信噪比为 1 时猜对 84%，走到头只有 51%。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 03.1　一步加噪 ★
#
# 只用 PyTorch 写出 `q_sample`：`betas` 是 $(T,)$ 的张量，`x_start` 与 `noise` 形状相同，第一维是 $B$；`t` 是 $(B,)$ 的步号，每个样本各有各的 $t$。维数不一定是四，批量也可能等于宽度。

# %%
def add_noise(betas, x_start, t, noise):
    # 答案
    bar = torch.cumprod(1 - betas, 0)
    bar = bar[t].reshape(-1, *[1] * (x_start.ndim - 1))
    return bar.sqrt() * x_start + (1 - bar).sqrt() * noise
    # 答案完


grade("03.1", add_noise)

# %% [markdown]
# ### 03.2　从中途再走一段 ★★
#
# 手里已经有 $x_s$，继续走到 $x_t$（$s<t$）。照第 1 节的推导，$x_t$ 是 $x_s$ 的若干倍，再加上一份新的高斯噪声。返回两个数：$x_s$ 前面的系数，以及新噪声的方差。`betas` 是一维张量，`s`、`t` 是代码的步号，$x_s$ 已经加过 $s+1$ 步噪声。

# %%
def jump(betas, s, t):
    # 答案
    product = torch.prod(1 - betas[s + 1:t + 1])
    return product.sqrt(), 1 - product
    # 答案完


grade("03.2", jump)

# %% [markdown]
# ### 03.3　同一条链上的两点 ★★★
#
# 固定 $x_0$，$x_s$ 与 $x_t$（$s<t$）在同一条链上，所以相关。求它们的协方差 $\mathrm{Cov}(x_s, x_t)$，返回一个数。
# 提示：用上一题的结果把 $x_t$ 写成 $x_s$ 的倍数加新噪声，新噪声与 $x_s$ 独立。
# 写好之后，算 `covariance(diffusion.betas, 400, 999)`，除以两者的标准差，得到相关系数 0.025：真走一遍，这两处的噪声几乎无关，而第 1 节的图同一行用的是同一份。

# %%
def covariance(betas, s, t):
    # 答案
    bar = torch.cumprod(1 - betas, 0)
    return (bar[t] / bar[s]).sqrt() * (1 - bar[s])
    # 答案完


grade("03.3", covariance)

# %% [markdown]
# ### 03.4　放大到多大才要紧 ★
#
# 第 5 节里，照片是 32×32×3 时，$f$ 约 12%；512×512×3 时是 97%。$m$、$s$ 不变，仍用 `linear` 的 $\bar\alpha_{T-1}$（那一节的 `last`）与 $s=0.249$。
# 从小往大数，边长到多少像素，$f$ 第一次过一半？填一个整数。

# %%
grade("03.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 03.5　像素换成 [0, 1] ★★★
#
# 假如用 $(x_0+1)/2$ 代替第 1 节的 `images`，噪声表不变。加噪的终点与 $\mathcal N(0, I)$ 的差距会怎样？
# 差距用 KL 散度 (Kullback–Leibler divergence) 量，第 6 章还要用：两个对数密度之差，按前一个分布求平均，相同则为 0。一张图的终点与 $\mathcal N(0,I)$，每个像素差 $\tfrac12\left(\bar\alpha\,x_0^2-\bar\alpha-\ln(1-\bar\alpha)\right)\approx\tfrac12\bar\alpha\,x_0^2$，再对所有像素平均。
#
# - A：变小，别的都不受影响，所以图都该换算到 $[0,1]$。
# - B：变大，因为数据不再以 0 为中心。
# - C：不变，差距只与噪声表有关。
# - D：变小；可是每一步里，图与噪声的方差之比也都变小了。

# %%
grade("03.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 小实验　把高斯换成硬币
#
# 改一处，量一量，写三句话。把第 1 节那一格的循环抄到新的一格，`torch.randn(...)` 换成抛硬币：`torch.randint(2, walkers.shape) * 2.0 - 1`，一半是 $+1$，一半是 $-1$，均值 0、方差 1，与标准高斯相同。
# 各走 1、5、20、50 步，每次量均值、方差，再量像不像高斯：减去均值、除以标准差之后，四次方的平均，高斯是 3，一枚硬币是 1。最后换成 `diffusion.betas`，走一千步。
# 动手之前先猜：均值与方差还合不合闭式？走得越久，是不是越像高斯？
#
# <!-- 参考答案 -->
# **参考答案**　每个种子二十万个点，八个种子的平均 ± 标准误：
#
# | 走法 | 四次方的平均 | 闭式 | 最大的一枚硬币占总方差 |
# |:--|--:|--:|--:|
# | `short`，1 步 | 1.000 | 1 | 100% |
# | `short`，5 步 | 2.499 ± 0.002 | 2.498 | 36% |
# | `short`，20 步 | 2.829 ± 0.003 | 2.825 | 15% |
# | `short`，30 步 | 2.847 ± 0.005 | 2.847 | 14% |
# | `short`，50 步 | 2.727 ± 0.003 | 2.727 | 25% |
# | `linear`，1000 步 | 2.981 ± 0.003 | 2.981 | 2% |
#
# 均值与方差都合闭式，十二个数里最多差 2.4 个标准误：这两样不靠高斯。四次方的平均，闭式是 $3-2\sum(\text{各枚硬币占总方差的份额})^2$。
# 走得久不等于更像高斯：30 步是 2.847，50 步反而退到 2.727，因为 $\beta$ 一路变大，最后一枚硬币就占了 25%。
# `linear` 走一千步，最大的一枚只占 2%，离 3 只差 0.6%。所以步子小，每步掺什么噪声都差不多；步子大，合起来就不像高斯。
#
# ```python
# def toss(betas, seed):
#     generator = torch.Generator().manual_seed(seed)
#     x = torch.full((200_000,), 0.7)
#     for beta in betas:
#         x = (1 - beta).sqrt() * x + beta.sqrt() * (torch.randint(2, x.shape, generator=generator) * 2.0 - 1)
#     return [float(x.mean()), float(x.var()), float(((x - x.mean()) / x.std()).pow(4).mean())]
#
#
# runs = {f"short，{count} 步": short.betas[:count] for count in (1, 5, 20, 30, 50)}
# runs["linear，1000 步"] = diffusion.betas
# for name, betas in runs.items():
#     bar = float((1 - betas.double()).prod())
#     share = betas.double() / (1 - bar) * bar / (1 - betas.double()).cumprod(0)  # 每枚硬币在总方差里占的份额
#     rows = torch.tensor([toss(betas, seed) for seed in range(8)])
#     print(name, rows.mean(0), rows.std(0) / 8**0.5, "闭式", 0.7 * bar**0.5, 1 - bar, float(3 - 2 * share.square().sum()), float(share.max()))
# ```
#
# <!-- 参考答案完 -->
