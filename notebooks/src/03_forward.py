# %% [markdown]
# # 03 · 加噪过程：`q_sample` 与 `q_mean_variance`
#
# 训练时，每个样本都要抽一个随机的 $t$，造出那一步的带噪图 $x_t$。照第 2 章的规则一步步走，平均要走五百步，才得到一个训练样本。
# 实际的代码只用一行，一步就到任意的 $t$。还有一个问题：采样是从纯噪声出发的，而加噪走完一千步，原图并没有全消失，`linear` 表的系数 $\sqrt{\bar\alpha_{T-1}}$ 还有 2.7%（方差只占 0.07%）。
# 这一章要回答：**为什么一步就能到？走到头，离纯噪声还差多少，要不要紧？**
#
# **学习目标**
#
# - 推出 $q(x_t\mid x_0)$ 的闭式，明白为什么一步就能到任意的 $t$。
# - 一批样本各有各的 $t$，会把系数与样本对上号。
# - 看见数据分布怎样一步步变成 $\mathcal N(0, I)$，会量终点差多少。
#
# **预计用时** 25 分钟。运行全部单元约 15 秒。

# %%
import math

import numpy as np
import torch

from ddpm_edu import GaussianDiffusion
from ddpm_edu.gaussian import extract_into_tensor
from ddpm_edu.teach import check, check_order, check_raises, curve_figure, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.panels import forward_panel
from ddpm_edu.teach.panels.forward import forward_data

diffusion = GaussianDiffusion()  # T=1000，linear，没有网络
print("T =", diffusion.num_timesteps)

# %% [markdown]
# ## 1　一步就到
#
# 先看要造的东西。

# %%
images, _ = handwriting("../data")
images = images.roll(-3, 0)  # 从 3 开始
noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
steps = [0, 100, 200, 300, 400, 500, 700, 999]
rows = [diffusion.q_sample(images[:3], torch.full((3,), step), noise[:3]) for step in steps]
grid_figure(torch.stack(rows, 1).flatten(0, 1), nrow=len(steps), width=9.0, columns=[f"$t={step}$" for step in steps])

# %% [markdown]
# 图：每行一个 28×28 的手写数字，一列一个 $t$，同一行用同一份噪声。每一格都是一步算出来的，没有经过左边的那些格。
# $t=418$ 处信噪比降到 1（第 2 章），就在 $t = 400$ 那一列附近，那里仍一眼认得出是几：信噪比是逐像素的，眼睛看的是整笔，到 $t=700$ 才依稀。磁盘上有 MNIST 时，它们是测试集里的图；没有时，是随课程发布的模型画的。
#
# 凭什么可以一步到？一步的规则是（第 2 章）
#
# $$x_t = \sqrt{\alpha_t}\,x_{t-1} + \sqrt{1-\alpha_t}\,\varepsilon_t,\qquad \alpha_t = 1-\beta_t.$$
#
# 把前一步代进来：
#
# $$x_t = \sqrt{\alpha_t\alpha_{t-1}}\,x_{t-2} + \sqrt{\alpha_t(1-\alpha_{t-1})}\,\varepsilon_{t-1} + \sqrt{1-\alpha_t}\,\varepsilon_t.$$
#
# 后两项是两个独立的高斯噪声之和，所以还是高斯噪声，方差相加：
#
# $$\alpha_t(1-\alpha_{t-1}) + (1-\alpha_t) = 1-\alpha_t\alpha_{t-1}.$$
#
# 于是两步合起来与一步的形状相同，只是 $\alpha_t$ 换成了乘积 $\alpha_t\alpha_{t-1}$。
# 代码从 0 数步，$t=0$ 的图已经加过一步噪声；没有加噪的原图，照论文的习惯始终写 $x_0$。所以一直代到 $t=0$ 那一步，再往前就是原图，乘积正好是 $\alpha_0\cdots\alpha_t=\bar\alpha_t$。于是得到闭式，$q$ 表示加噪过程的分布：
#
# $$q(x_t\mid x_0) = \mathcal N\!\left(\sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t)I\right),\qquad x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon.$$
#
# 推导的关键只有一句：独立的高斯噪声相加，还是高斯噪声，方差也相加。下面走一遍来核对：二十万个点都从 $x_0 = 0.7$ 出发，一步一步走 20 步，与闭式的曲线比较。

# %%
short = GaussianDiffusion(timesteps=50, linear_start=1e-3, linear_end=0.25)
generator = torch.Generator().manual_seed(0)
walkers = torch.full((200_000,), 0.7)
for beta in short.betas[:20]:
    walkers = (1 - beta).sqrt() * walkers + beta.sqrt() * torch.randn(walkers.shape, generator=generator)
bar = float(short.alphas_cumprod[19])
print(f"走 20 步之后 ᾱ = {bar:.2f}，均值应为 {math.sqrt(bar) * 0.7:.3f}，方差应为 {1 - bar:.3f}")
check("均值 = √ᾱ·x₀", walkers.mean(), math.sqrt(bar) * 0.7, atol=0.01)
check("方差 = 1 - ᾱ", walkers.var(), 1 - bar, atol=0.008)
edges = np.linspace(-3, 4, 71)
counted, _ = np.histogram(walkers.numpy(), edges, density=True)
middle = (edges[1:] + edges[:-1]) / 2
closed = np.exp(-(middle - math.sqrt(bar) * 0.7) ** 2 / (2 * (1 - bar))) / math.sqrt(2 * math.pi * (1 - bar))
curve_figure(middle, {"一步一步走 20 步": counted, "一步就到的公式": closed}, "$x_{19}$", "密度")

# %% [markdown]
# 图：实线是二十万个点走完 20 步之后的分布，虚线是闭式，两条线重合。步号从 0 数起，所以第 20 步是 $t=19$。
# 二十万个样本，均值的标准误不超过 $1/\sqrt N\approx 0.0022$，方差的不超过 $\sqrt{2/N}\approx 0.0032$，上面的容差是它们的几倍。

# %% [markdown]
# ## 2　每个样本有自己的 $t$
#
# 训练时，一批里的每个样本随机挑自己的 $t$。系数表有 $T$ 个数，图像是 $(B, C, H, W)$ 的，要让第 $i$ 个样本乘上第 $t_i$ 个系数：先按下标取出 $B$ 个数，再变形成 $(B, 1, 1, 1)$，就能与图像相乘。

# %%
t = torch.tensor([0, 400, 999])
bars = diffusion.alphas_cumprod[t].reshape(-1, 1, 1, 1)
by_hand = bars.sqrt() * images[:3] + (1 - bars).sqrt() * noise[:3]
check("q_sample 就是这两行", diffusion.q_sample(images[:3], t, noise[:3]), by_hand, atol=1e-5)

# %% [markdown]
# 忘了变形也不一定报错：$B$ 个数恰好等于图的宽度时，它会悄悄乘到横轴上去（习题 03.1 会查）。

# %% [markdown]
# ## 3　像素的分布怎样变
#
# 上面看的是一张张图。换一个角度，把一百张图的全部像素放在一起，看它们的值怎样分布。

# %%
plots = []
for step in (0, 200, 400, 999):
    data, _ = forward_data(diffusion, images, noise, step)
    variance = diffusion.q_sample(images, torch.full((len(images),), step), noise).var()
    plots.append((data["histogram"][0], {"$x_t$": data["histogram"][1], r"$\mathcal{N}(0,1)$": data["normal"][1]}, f"$t={step}$，方差 {variance:.2f}", ""))
figure = curves_figure(*plots, width=10.0)
for ax in figure.axes:
    ax.set_ylim(0, 1.2)
figure

# %% [markdown]
# 图：从左到右四个 $t$，横轴是像素值。$t=0$ 时有两个峰，背景的黑（八成的像素都是它，高得出了图）与笔画的白；两峰变宽、靠拢、并成一个，$t=999$ 与标准高斯（虚线）重合。横轴下面写着方差，从 0.4 左右走到 1 附近。
#
# 噪声与原图独立，方差直接相加：
#
# $$\mathrm{Var}(x_t) = \bar\alpha_t\,\mathrm{Var}(x_0) + (1-\bar\alpha_t).$$
#
# 手写数字的方差约 0.4，所以 $x_t$ 的方差从 0.4 升到 1；只有数据的方差恰好是 1，它才一路不变。

# %%
forward_panel(diffusion, images, noise)

# %% [markdown]
# 面板：拖动 $t$，左边是 $x_t$，右边是全部像素的分布。

# %%
for step in (0, 400, 999):
    x_t = diffusion.q_sample(images, torch.full((len(images),), step), noise)
    bar = float(diffusion.alphas_cumprod[step])
    check(f"t={step}：方差与 ᾱ·Var(x₀) + 1 - ᾱ 相差不到 0.02", abs(x_t.var() - bar * images.var() - 1 + bar) < 0.02, True)

# %% [markdown]
# ## 4　最简单的数据：$x_0=\pm1$
#
# 真的图写不出密度。取一个最简单的数据分布：$x_0$ 以各一半的概率等于 $-1$ 或 $1$，可以想成只有一个像素、非黑即白的图。这时 $x_t$ 的密度写得出来，是两个高斯的平均：
#
# $$q(x_t) = \tfrac12\,\mathcal N(x_t;\,\sqrt{\bar\alpha_t},\,1-\bar\alpha_t) + \tfrac12\,\mathcal N(x_t;\,-\sqrt{\bar\alpha_t},\,1-\bar\alpha_t).$$

# %%
x = np.linspace(-5, 5, 1001)


def bump(step, sign):
    """从 x₀ = sign 出发，x_t 的密度"""
    bar = float(diffusion.exact_table("alphas_cumprod")[step])
    return np.exp(-(x - sign * bar**0.5) ** 2 / (2 * (1 - bar))) / math.sqrt(2 * math.pi * (1 - bar))


curves = {f"$t={step}$": (bump(step, 1) + bump(step, -1)) / 2 for step in (100, 300, 500, 999)}
curve_figure(x, curves, "$x_t$", "密度 $q(x_t)$")

# %% [markdown]
# 图：两个尖峰逐渐变宽、靠拢，最后合成一个标准高斯。
# 去噪就是把这部电影倒着放：从最后一条曲线回到第一条。难处在于，$x_t$ 是从哪个 $x_0$ 来的，越往后越说不清。例如站在 $x_t=0.2$，它来自 $x_0=1$ 的可能性有多大？比一比两个高斯在那里的高低（贝叶斯公式，两种 $x_0$ 原来各占一半）：

# %%
here = int(abs(x - 0.2).argmin())
for step in (100, 300, 500, 999):
    share = bump(step, 1)[here] / (bump(step, 1)[here] + bump(step, -1)[here])
    print(f"t={step:3}：x_t = 0.2 来自 x₀ = 1 的概率 {share:.1%}")

# %% [markdown]
# $t=100$ 时几乎没有样本会落在 0.2，真落在这里，也必定来自 $+1$；$t=300$ 时还有近八成，走到头就是一半对一半：$x_t$ 里几乎不剩 $x_0$ 的信息。
# 既然说不准从哪里来，往回走一步该走到哪里？第 4 章就用这个例子，从这里接着问。

# %% [markdown]
# ## 5　走到头，离 $\mathcal N(0, I)$ 有多远
#
# 采样从 $\mathcal N(0, I)$ 出发，而一张图加噪的终点是 $\mathcal N(\sqrt{\bar\alpha}\,x_0, 1-\bar\alpha)$。（对所有的图平均之后，终点的分布只会离 $\mathcal N(0,I)$ 更近，所以下面算的是上界。）
# 两个分布差多远，用 KL 散度 (Kullback–Leibler divergence) 衡量：对数密度之差，按前一个分布求平均，单位叫 nats，相同则为 0。两个高斯之间的公式在第 6 章第 2 节推导，这里的每一维是
#
# $$\tfrac12\left(\bar\alpha\,x_0^2 + (1-\bar\alpha) - 1 - \ln(1-\bar\alpha)\right).$$

# %%
bar, x0 = 0.3, 0.8  # 先用数值积分核对公式
p = np.exp(-(x - bar**0.5 * x0) ** 2 / (2 * (1 - bar))) / math.sqrt(2 * math.pi * (1 - bar))
q = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
check("公式与数值积分一致", (p * np.log(p / q)).sum() * 0.01, 0.5 * (bar * x0**2 - bar - math.log(1 - bar)), atol=1e-5)
paper = GaussianDiffusion(beta_schedule="sqrt_linear", linear_start=1e-4, linear_end=0.02)
ends = {"linear": diffusion, "论文的 sqrt_linear": paper}
for name, process in ends.items():
    last = float(process.exact_table("alphas_cumprod")[-1])
    largest = 0.5 * (last * 1.0**2 - last - math.log1p(-last))  # 像素在 [-1, 1] 内，x₀² 至多是 1
    print(f"{name}：留下原图的 {last**0.5:.2%}，每维至多 {largest:.1e} nats，CIFAR-10 的 3 072 维合起来至多 {3072 * largest:.2f} nats")

# %% [markdown]
# `linear` 的终点，每一维至多差 0.0004 nats，微不足道。可是 KL 散度按维数相加，图越大，差得越多。
# 差在哪里？最看得出来的是平均亮度：一个像素上，2.7% 的原图淹没在噪声里；$N$ 个数平均之后，噪声缩小到 $1/\sqrt N$，亮度却没有变小。拿一张全黑的图（$x_0=-1$）走到头，看平均亮度偏离 0 有几个标准差：

# %%
for name, process in ends.items():
    last = float(process.exact_table("alphas_cumprod")[-1])
    away = {size: (last * count / (1 - last)) ** 0.5 for size, count in (("28×28", 784), ("32×32×3", 3072), ("512×512×3", 786_432))}
    print(f"{name}：" + "，".join(f"{size} 偏 {gap:.1f} 个标准差" for size, gap in away.items()))

# %% [markdown]
# 28×28 的图偏不到一个标准差，单张图很难判断；512×512 的彩色图偏 24 个，算一下平均就知道原来是黑的，而采样的起点总是“中等亮度”。
# Stable Diffusion 1 的表形状相同，端点不同，终点的系数还有 6.8%（它在 64×64×4 的潜变量上扩散，维数少得多，上面的 24 套不过去）；Lin 等（2024）指出，它因此画不出全黑或全白的图。要让原图彻底消失，得让 $\bar\alpha_{T-1}=0$，那时就不能再预测 $\varepsilon$ 了（习题 05.5）。

# %% [markdown]
# ## 6　逐行的源码
#
# 公式都见过了，这里只对一对代码。先是第 2 节的取系数：

# %%
show_source(extract_into_tensor,
            "def extract_into_tensor", "T = len(table)", "return table[t]")

# %% [markdown]
# - ① 名字与原文件相同。后面的公式都写成 `extract_into_tensor(self.table, t, x.shape) * x`，一项一行，读起来与数学式同形。
# - ② 步号须是 $(B,)$ 的整数，值在 $0..T-1$。每个公式都从这里取系数，所以只在这里查。
# - ③ `table[t]` 按下标取出 $B$ 个系数，再变形成 $(B, 1, \dots, 1)$。只看维数，所以图像、音频、单个数都能用。

# %%
show_source(GaussianDiffusion.q_sample,
            "def q_sample", "check_like(", "noise = randn_like", "x_t = (", "return x_t.to")

# %% [markdown]
# - ① 说明里写清形状、范围和出处。全课程的公开方法，名字与参数次序都同参考实现，以后不再重复。
# - ② 须是浮点数；给了噪声就核对形状，免得悄悄广播。
# - ③ 没给噪声就抽一份同形状的。
# - ④ 公式有两项，代码也是两行，次序相同。
# - ⑤ 系数是 float32，输入可能是半精度，结果换回输入的类型。

# %%
check_raises("步号越界", lambda: diffusion.q_sample(images[:2], torch.tensor([0, 1000])), "0..999")
check_raises("噪声的形状不对", lambda: diffusion.q_sample(images[:2], t[:2], noise[:1]), "形状")
check_raises("整数图像", lambda: diffusion.q_sample((images[:2] * 127).int(), t[:2]), "x / 127.5 - 1")

# %% [markdown]
# 有时要的不是一个样本，而是分布本身：均值、方差、对数方差。

# %%
show_source(GaussianDiffusion.q_mean_variance,
            "def q_mean_variance", "check_like(", "mean = extract", "# 不能写 1 - ᾱ")

# %% [markdown]
# - ① 返回三样，方差与 $x_0$ 无关，形状是 $(B, 1, \dots, 1)$。
# - ② 类型的检查，与 `q_sample` 一样。
# - ③ 均值 $\sqrt{\bar\alpha_t}\,x_0$，只有它与 $x_0$ 有关。
# - ④ 方差取存好的 $\sqrt{1-\bar\alpha_t}$ 再平方，不写 $1-\bar\alpha_t$：$\bar\alpha_0$ 紧挨着 1，用 float32 相减，剩下的位数不多。下面比一比。对数方差直接取表。

# %%
_, variance, log_variance = diffusion.q_mean_variance(torch.zeros(1, 1), torch.tensor([0]))
exact = 1 - diffusion.exact_table("alphas_cumprod")[0]
check("我们的方差", variance, exact, rtol=1e-6)
check_order("直接相减的写法，相对误差超过十万分之五", 5e-5, abs((1.0 - diffusion.alphas_cumprod[0]) / exact - 1))
check("对数方差与方差一致", log_variance, variance.log(), atol=1e-6)

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - `q_mean_variance` 的方差写成 $1-\bar\alpha_t$，用 float32 的表相减，$t=0$ 时相对误差有万分之 1.7。
# - `q_sample` 不核对形状：形状不同的噪声会悄悄广播。
#
# </details>

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：为什么一步就能到任意的 $t$？走到头离纯噪声还差多少？
# - **答案**：独立的高斯噪声相加还是高斯噪声，方差相加，所以平均五百步可以合成一步，$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\varepsilon$。走到头，`linear` 的系数还有 2.7%：全黑的图，28×28 时平均亮度偏不到一个标准差，对生成有没有影响没有量；512×512 的彩色图偏 24 个，就要紧了。
# - 一批样本各有各的 $t$：按下标取系数，变形成 $(B,1,1,1)$ 再乘。
# - 数据是 $\pm1$ 时，$x_t=0.2$ 来自 $+1$ 的概率从 $t=100$ 的几乎 100% 降到走到头的 50%。往回走为什么难，难在这里。
# - 方差用存好的 $\sqrt{1-\bar\alpha_t}$ 平方得到，不写 $1-\bar\alpha_t$。
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
# 只用 PyTorch 写出 `q_sample`：`betas` 是 $(T,)$ 的张量，`x_start` 与 `noise` 形状相同，第一维是 $B$；`t` 是 $(B,)$ 的步号，每个样本各有各的 $t$。
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$$

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
# 手里已经有 $x_s$，继续走到 $x_t$（$s<t$）。照第 1 节的推导，$x_t$ 是 $x_s$ 的若干倍，再加上一份新的高斯噪声。
# 返回两个数：$x_s$ 前面的系数，以及新噪声的方差。`betas` 是一维张量，`s`、`t` 是整数。

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
# 提示：用上一题的结果把 $x_t$ 写成 $x_s$ 的倍数加新噪声，新噪声与 $x_s$ 独立。写好之后，可以改一改第 1 节的模拟来核对。

# %%
def covariance(betas, s, t):
    # 答案
    bar = torch.cumprod(1 - betas, 0)
    return (bar[t] / bar[s]).sqrt() * (1 - bar[s])
    # 答案完


grade("03.3", covariance)

# %% [markdown]
# ### 03.4　换一个起点 ★
#
# 第 1 节的点都从 $x_0 = 0.7$ 出发，走 20 步。换成都从 $x_0 = -2$ 出发，均值和方差变成什么？先写出来，再改那一格运行。
#
# - A：均值变成 $-2$，方差不变。
# - B：均值变成 $-2\sqrt{\bar\alpha}$，方差变成原来的 $(2/0.7)^2$ 倍。
# - C：均值变成 $-2\sqrt{\bar\alpha}$，方差不变。
# - D：都不变：从哪里出发，走 20 步之后都一样。

# %%
grade("03.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 03.5　像素换成 [0, 1] ★★★
#
# 第 5 节量的是加噪的终点与 $\mathcal N(0, I)$ 的差距。假如第 1 节的 `images` 换算到 $[0,1]$，也就是用 $(x_0+1)/2$ 代替 $x_0$，$\bar\alpha$ 不变，这个差距对所有像素平均之后会怎样？
#
# - A：变小。
# - B：变大，因为数据不再以 0 为中心。
# - C：不变，差距只与噪声表有关。
# - D：没有具体的数字，断定不了。

# %%
grade("03.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
