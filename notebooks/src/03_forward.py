# %% [markdown]
# # 03 · 加噪过程：`q_sample` 与 `q_mean_variance`
#
# **学习目标**
#
# - 推出 $q(x_t\mid x_0)$ 的闭式，明白为什么一步就能到任意的 $t$。
# - 读懂 `extract_into_tensor`：一批样本各有各的 $t$，系数怎样对上号。
# - 看见数据分布怎样一步步变成 $\mathcal N(0, I)$。
#
# **预计用时** 25 分钟。运行全部单元约 15 秒。

# %%
import math

import numpy as np
import torch

from ddpm_edu import GaussianDiffusion
from ddpm_edu.gaussian import extract_into_tensor
from ddpm_edu.teach import check, check_order, check_raises, curve_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.panels import forward_panel

diffusion = GaussianDiffusion()  # T=1000，linear，没有网络
print("T =", diffusion.num_timesteps)

# %% [markdown]
# ## 1　从一步到 $t$ 步
#
# 训练时每个样本要抽一个随机的 $t$。若只能一步步加噪，平均要走五百步才得到一个训练样本；这一章找一个公式，一步就到。
#
# 一步的规则是（第 2 章）
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

# %%
a_prev, a = 0.9, 0.8
check("两份噪声的方差合成一份", a * (1 - a_prev) + (1 - a), 1 - a * a_prev, atol=1e-15)

# %% [markdown]
# 同样的代入一直做到 $t=0$ 那一步（数学归纳法，每一次都是上面这一步），它的前一项就是原图 $x_0$，乘积正好是 $\alpha_0\cdots\alpha_t=\bar\alpha_t$。于是得到闭式，$q$ 表示加噪过程的分布：
#
# $$q(x_t\mid x_0) = \mathcal N\!\left(\sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t)I\right),\qquad x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon.$$
#
# 这件事可以模拟。下面让二十万个点都从 $x_0 = 0.7$ 出发，一步一步走 20 步，再与闭式比较均值和方差。

# %%
short = GaussianDiffusion(timesteps=50, linear_start=1e-3, linear_end=0.25)
generator = torch.Generator().manual_seed(0)
x = torch.full((200_000,), 0.7)
for beta in short.betas[:20]:
    x = (1 - beta).sqrt() * x + beta.sqrt() * torch.randn(x.shape, generator=generator)
bar = float(short.alphas_cumprod[19])
print(f"走 20 步之后 ᾱ = {bar:.2f}")
check("均值 = √ᾱ·x₀", x.mean(), math.sqrt(bar) * 0.7, atol=0.01)
check("方差 = 1 - ᾱ", x.var(), 1 - bar, atol=0.008)

# %% [markdown]
# 容差从哪里来？$N$ 个样本的均值，标准误不超过 $1/\sqrt N\approx 0.0022$；方差的标准误不超过 $\sqrt{2/N}\approx 0.0032$。容差是它们的几倍，而两个答案都离 0 和 1 很远，漏了根号、下标差一这类常见的错都看得出来。

# %% [markdown]
# ## 2　每个样本有自己的 $t$
#
# 训练时，一批里的每个样本随机挑自己的 $t$。系数表是 $(T,)$ 的，图像是 $(B, C, H, W)$ 的，要让第 $i$ 个样本乘上第 $t_i$ 个系数。

# %%
show_source(extract_into_tensor,
            "def extract_into_tensor", "T = len(table)", "return table[t]")

# %% [markdown]
# - ① 名字与原文件相同。后面的公式都写成 `extract_into_tensor(self.table, t, x.shape) * x`，一项一行，读起来与数学式同形。
# - ② 步号须是 $(B,)$ 的整数，值在 $0..T-1$。每个公式都从这里取系数，所以只在这里查。
# - ③ `table[t]` 按下标取出 $B$ 个系数，再变形成 $(B, 1, \dots, 1)$，就能与图像广播相乘。只看维数，所以图像、音频、单个数都能用。

# %%
table, t = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2, 0])
picked = extract_into_tensor(table, t, (2, 1, 8, 8))
check("形状是 (B, 1, 1, 1)", torch.tensor(picked.shape), torch.tensor([2, 1, 1, 1]))
check("第 0 个样本取第 2 个系数，第 1 个样本取第 0 个", picked.flatten(), [30.0, 10.0])

# %% [markdown]
# ## 3　`q_sample`

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
x_start = torch.linspace(-1, 1, 6).reshape(2, 1, 1, 3)
noise = torch.randn(2, 1, 1, 3, generator=torch.Generator().manual_seed(0))
t = torch.tensor([0, 999])
x_t = diffusion.q_sample(x_start, t, noise)
bars = diffusion.exact_table("alphas_cumprod")[t].reshape(2, 1, 1, 1)
check("与公式逐项相同", x_t, bars.sqrt() * x_start + (1 - bars).sqrt() * noise, atol=1e-6)
check("t=0 几乎是原图", x_t[0], x_start[0], atol=0.03)
check("t=999 几乎是噪声", x_t[1], noise[1], atol=0.03)

# %%
check_raises("步号越界", lambda: diffusion.q_sample(x_start, torch.tensor([0, 1000]), noise), "0..999")
check_raises("噪声的形状不对", lambda: diffusion.q_sample(x_start, t, noise[:1]), "形状")
check_raises("整数图像", lambda: diffusion.q_sample((x_start * 127).int(), t), "x / 127.5 - 1")

# %% [markdown]
# ## 4　`q_mean_variance`
#
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
t0 = torch.tensor([0])
_, variance, log_variance = diffusion.q_mean_variance(torch.zeros(1, 1), t0)
exact = 1 - diffusion.exact_table("alphas_cumprod")[0]
naive = 1.0 - diffusion.alphas_cumprod[0]
check("我们的方差", variance, exact, rtol=1e-6)
check_order("直接相减的写法，相对误差超过 5e-5", 5e-5, abs(naive / exact - 1))
check("对数方差与方差一致", log_variance, variance.log(), atol=1e-6)

# %% [markdown]
# ## 5　看一张真实的数字

# %%
images, _ = handwriting("../data")
images = images.roll(-3, 0)  # 从 3 开始
noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
steps = [0, 100, 200, 300, 400, 500, 700, 999]
rows = [diffusion.q_sample(images[:3], torch.full((3,), step), noise[:3]) for step in steps]
grid_figure(torch.stack(rows, 1).flatten(0, 1), nrow=len(steps), columns=[f"$t={step}$" for step in steps])

# %% [markdown]
# 图：每行一个 28×28 的手写数字，从左到右 $t = 0, 100, 200, 300, 400, 500, 700, 999$，同一份噪声。磁盘上有 MNIST 时，它们是测试集里的图；没有时，是随课程发布的模型画的。
# $t=418$ 处信噪比降到 1（第 2 章），就在 $t = 400$ 那一列附近，那里还依稀看得出是几。

# %%
forward_panel(diffusion, images, noise)

# %% [markdown]
# 面板：左边是 $x_t$，右边是全部像素的分布（实线）与 $\mathcal N(0,1)$（虚线）。
# $t=0$ 时有两个峰：背景的黑（八成的像素都是它，高得出了图）与笔画的白。$t$ 越大，两个峰越往中间靠，最后与虚线重合。
#
# 上方的方差从 0.4 左右走到 1 附近：数据自己的方差不是 1，所以 $x_t$ 的方差也不恒为 1。
# 二阶矩最好写。把 $x_t$ 平方再取期望，交叉项里的噪声与原图独立、均值为 0，所以消失：
#
# $$\mathbb E[x_t^2] = \bar\alpha_t\,\mathbb E[x_0^2] + (1-\bar\alpha_t).$$

# %%
second_moment = float((images**2).mean())
for step in (0, 400, 999):
    x_t = diffusion.q_sample(images, torch.full((len(images),), step), noise)
    bar = float(diffusion.alphas_cumprod[step])
    check(f"t={step}：E[x_t²] 与 ᾱE[x₀²] + 1 - ᾱ 相差不到 0.02", abs((x_t**2).mean() - bar * second_moment - 1 + bar) < 0.02, True)

# %% [markdown]
# ## 6　整个分布的变化
#
# 取一个最简单的数据分布：$x_0$ 以各一半的概率等于 $-1$ 或 $1$。这时 $x_t$ 的密度写得出来，是两个高斯的平均：
#
# $$q(x_t) = \tfrac12\,\mathcal N(x_t;\,\sqrt{\bar\alpha_t},\,1-\bar\alpha_t) + \tfrac12\,\mathcal N(x_t;\,-\sqrt{\bar\alpha_t},\,1-\bar\alpha_t).$$

# %%
x = np.linspace(-5, 5, 1001)


def density(step):
    bar = float(diffusion.exact_table("alphas_cumprod")[step])
    bumps = [np.exp(-(x - sign * bar**0.5) ** 2 / (2 * (1 - bar))) for sign in (-1, 1)]
    return sum(bumps) / (2 * math.sqrt(2 * math.pi * (1 - bar)))


curves = {f"$t={step}$": density(step) for step in (100, 300, 500, 999)}
check("每条曲线下的面积都是 1", [curve.sum() * 0.01 for curve in curves.values()], [1.0] * 4, atol=1e-5)
check("二阶矩都是 ᾱ + 1 - ᾱ = 1", [(x**2 * curve).sum() * 0.01 for curve in curves.values()], [1.0] * 4, atol=1e-3)
curve_figure(x, curves, "$x_t$", "密度 $q(x_t)$")

# %% [markdown]
# 图：两个尖峰逐渐变宽、靠拢，最后合成一个标准高斯。
# 去噪就是把这部电影倒着放：从最后一条曲线回到第一条。难处在于，倒着放的每一步要知道 $x_0$ 可能在哪里，这正是网络要学的。

# %% [markdown]
# ## 7　走到头，离 $\mathcal N(0, I)$ 有多远
#
# 采样从 $\mathcal N(0, I)$ 出发，而一张图加噪的终点是 $\mathcal N(\sqrt{\bar\alpha}\,x_0, 1-\bar\alpha)$。（对所有的图平均之后，终点的分布只会离 $\mathcal N(0,I)$ 更近，所以下面算的是上界。）
# 两个分布差多远，用 KL 散度 (Kullback–Leibler divergence) 衡量：对数密度之差，按前一个分布求平均，单位叫 nats，相同则为 0。两个高斯之间的公式在第 6 章第 2 节推导，这里的每一维是
#
# $$\tfrac12\left(\bar\alpha\,x_0^2 + (1-\bar\alpha) - 1 - \ln(1-\bar\alpha)\right).$$
#
# 用数值积分核对一遍，再看这个差距有多小。

# %%
bar, x0 = 0.3, 0.8
p = np.exp(-(x - bar**0.5 * x0) ** 2 / (2 * (1 - bar))) / math.sqrt(2 * math.pi * (1 - bar))
q = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
formula = 0.5 * (bar * x0**2 - bar - math.log(1 - bar))
check("公式与数值积分一致", (p * np.log(p / q)).sum() * 0.01, formula, atol=1e-5)
last = float(diffusion.exact_table("alphas_cumprod")[-1])
paper = float(GaussianDiffusion(beta_schedule="sqrt_linear", linear_start=1e-4, linear_end=0.02).exact_table("alphas_cumprod")[-1])
largest = 0.5 * (last * 1.0**2 - last - math.log1p(-last))  # 像素在 [-1, 1] 内，x₀² 至多是 1
print(f"每维至多 {largest:.1e} nats；CIFAR-10 的 3 072 维，合起来至多 {3072 * largest:.1f} nats；论文的 sqrt_linear，每维至多 {0.5 * (paper - paper - math.log1p(-paper)):.1e}")
check_order("linear 走满 1000 步，每维的差距不到 0.0004 nats", largest, 4e-4)

# %% [markdown]
# 每一维看着微不足道，可是 KL 散度按维数相加：`linear` 留下的 2.7% 的原图，在一个像素上淹没在噪声里；可是 $N$ 个数平均之后，噪声缩小到 $1/\sqrt N$，亮度却没有变小。图越大，整张图的平均亮度就越看得出来：28×28 的图还淹没着，512×512 的彩色图 $1/\sqrt N$ 约 0.001，就很明显。
# Stable Diffusion 1 的表形状相同，端点不同，终点还留着 6.8%；有人指出它因此画不出全黑或全白的图，采样的起点总暗示“中等亮度”（Lin 等 2024）。论文的 `sqrt_linear` 留下的少得多；要彻底没有，得让 $\bar\alpha_{T-1}=0$，那时就不能再预测 $\varepsilon$ 了（习题 05.5）。

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - `q_mean_variance` 的方差写成 $1-\bar\alpha_t$，用 float32 的表相减，$t=0$ 时相对误差有万分之 1.7（第 4 节）。
# - `q_sample` 不核对形状：形状不同的噪声会悄悄广播。
#
# </details>

# %% [markdown]
# ## 小结
#
# - 高斯噪声相加还是高斯噪声，所以 $x_t$ 一步就能从 $x_0$ 算出。
# - `extract_into_tensor` 让每个样本乘上自己那一步的系数。
# - 方差用存好的 $\sqrt{1-\bar\alpha_t}$ 平方得到，不写 $1-\bar\alpha_t$。
# - 走到头时，$x_{T-1}$ 的每一维与 $\mathcal N(0, 1)$ 几乎没有差别；合成一张大图，`linear` 留下的平均亮度还看得出来。
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
# 第 7 节量的是加噪的终点与 $\mathcal N(0, I)$ 的差距。假如第 5 节的 `images` 换算到 $[0,1]$，也就是用 $(x_0+1)/2$ 代替 $x_0$，$\bar\alpha$ 不变，这个差距对所有像素平均之后会怎样？
#
# - A：变小。
# - B：变大，因为数据不再以 0 为中心。
# - C：不变，差距只与噪声表有关。
# - D：没有具体的数字，断定不了。

# %%
grade("03.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
