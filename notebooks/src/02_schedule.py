# %% [markdown]
# # 02 · β 噪声表与 `register_schedule`
#
# 第 01 章有一行没有解释：`beta = torch.linspace(1e-4, 0.02, T)`。为什么是这两个数，为什么要走一千步？
# 同样走一千步，换一种排法，噪声盖过原图的那一步可以早到第 34 步，也可以晚到第 496 步。
# 若把步数改成 100，这两个数却不改，走到头原图的幅度还剩六成（第 5 节换用程序包默认的 `linear`，是七成），而采样照旧从纯噪声出发。
# 这一章要回答：**每一步掺多少噪声，凭什么定？**
#
# **学习目标**
#
# - 说清 $\beta_t$、$\alpha_t$、$\bar\alpha_t$、信噪比各是什么，怎样互相推出。
# - 分辨四种噪声表，不被名字误导：这里的 `linear` 不是论文的 linear。
# - 步数改了，知道两端的 $\beta$ 该怎样改。
# - 明白系数表为什么用 float64 计算，为什么要防着半精度。
#
# **预计用时** 35 分钟。运行全部单元约 15 秒。

# %%
import warnings

import numpy as np
import torch

from ddpm_edu import DDPM, GaussianDiffusion, make_beta_schedule
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.schedules import alphas_cumprod, check_betas, rescale_linear_range
from ddpm_edu.teach import card, check, check_order, check_raises, grade, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.moons import moons
from ddpm_edu.teach.panels import beta_panel
from ddpm_edu.teach.schedule_figures import endings_figure, ruined_points_figure, schedules_figure

print("准备好了")

# %% [markdown]
# ## 1　一步掺多少噪声
#
# 加噪过程 (forward process) 的每一步，先把每个像素的值乘上一个略小于 1 的数，再加一点高斯噪声：
#
# $$x_t = \sqrt{1-\beta_t}\;x_{t-1} + \sqrt{\beta_t}\;\varepsilon_t,\qquad \varepsilon_t\sim\mathcal N(0, I).$$
#
# $\beta_t\in(0,1)$ 是这一步加入的噪声的方差，一串 $\beta_t$ 叫噪声表 (beta schedule)。
# 本课程的步号照代码，从 0 数起，$t=0,1,\dots,T-1$，比论文的小 1。$t=0$ 时，右边的 $x_{t-1}$ 就是原图。“$x_0$”这个记号始终留给原图，不指第 0 步的带噪图。
#
# 为什么要先乘一个小于 1 的数？只加噪声也行（有一类扩散模型就这样做），但要一直加到噪声远大过原图，网络的输入从 1 上下涨到几十上百。
# 先乘再加，方差始终在 1 附近，终点总是 $\mathcal N(0,I)$，与数据无关。独立的随机变量相加，方差相加：$x_{t-1}$ 的方差若是 1，$x_t$ 的方差就是 $(1-\beta_t)\cdot1+\beta_t=1$，正好不变，而原图所占的那一部分一步比一步小。
# 原图的方差不是 1 也不要紧，走到头都很接近 1：

# %%
betas = make_beta_schedule("linear", 1000)
for start in (0.25, 1.0, 4.0):
    shrinking = growing = start
    for beta in betas:
        shrinking = (1 - beta) * shrinking + beta
        growing = growing + beta
    print(f"原图的方差 {start:.2f}：先乘再加，走到头的方差 {shrinking:.4f}；只加不乘，{growing:.2f}")

# %% [markdown]
# 一路乘下来，原图还剩多少？记 $\alpha_t = 1-\beta_t$，$\bar\alpha_t = \alpha_0\alpha_1\cdots\alpha_t$（读作 alpha bar）。走到第 $t$ 步，第 01 章用过、第 3 章要推导的公式是
#
# $$x_t = \sqrt{\bar\alpha_t}\;x_0 + \sqrt{1-\bar\alpha_t}\;\varepsilon.$$
#
# 所以 $\sqrt{\bar\alpha_t}$ 是原图的**幅度**还剩几成，$\bar\alpha_t$ 是它的**方差**还剩几成；原图的方差若是 $v$，$x_t$ 的方差就是 $\bar\alpha_t v + (1-\bar\alpha_t)$。

# %%
show_source(alphas_cumprod,
            "def alphas_cumprod")

# %% [markdown]
# - ① 连乘得到 $\bar\alpha_t$；在最前面补一个 1、去掉最后一个，就是平移一格的 $\bar\alpha_{t-1}$，其中约定 $\bar\alpha_{-1}=1$。第 4 章的公式同时要用这两串数。

# %%
cumprod, cumprod_prev = alphas_cumprod(betas)
check("ᾱ 每一步都乘上 1 - β", cumprod, cumprod_prev * (1 - betas), atol=1e-15)
print(f"linear 走完一千步，原图的方差还剩 {cumprod[-1]:.2%}，幅度还剩 {cumprod[-1] ** 0.5:.1%}")

# %% [markdown]
# ## 2　四张表，四种毁法
#
# 程序包里有四种噪声表。先不看公式，看它们怎样毁掉第 01 章的月牙：同样的点，同样的噪声，都走一千步。

# %%
tables = {name: make_beta_schedule(name, 1000) for name in ("linear", "sqrt_linear", "sqrt", "cosine")}
points, label = moons(2000, seed=0)
noise = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
ruined_points_figure(tables, points, label, noise, steps=(100, 300, 500, 999))

# %% [markdown]
# 图：一行一张表，一列一个步号，颜色表示每个点加噪之前属于哪一弯。
# `sqrt` 到 $t=100$ 已经只是一团，后面九百步都在给噪声加噪声；`cosine` 到 $t=500$ 还看得出左上偏蓝、右下偏橙。走到头，四张表都成了同样的一团。

# %% [markdown]
# 差别首先在快慢，终点也不同（第 5 节）。它们的公式是：
#
# | 名字 | 公式 | Diffusers 里叫 |
# |:--|:--|:--|
# | `linear` | 在 `linear_start` 与 `linear_end` 的平方根之间等距取点，再平方 | `scaled_linear` |
# | `sqrt_linear` | 在 `linear_start` 与 `linear_end` 之间等距取点 | `linear` |
# | `sqrt` | 在同样的两端之间等距取点，再开平方 | 没有 |
# | `cosine` | $\beta_t = \min\!\left(1-\dfrac{f((t+1)/T)}{f(t/T)},\ 0.999\right)$，$f(u)=\cos^2\!\left(\dfrac{u+s}{1+s}\cdot\dfrac{\pi}{2}\right)$ | `squaredcos_cap_v2` |
#
# 当心名字：DDPM 论文的 linear 是等距的 $\beta$，在这里却叫 `sqrt_linear`。
# 这些名字沿用 CompVis/latent-diffusion 仓库的 `ddpm.py`，本课程重写的就是它，下文称为“参考实现”。

# %%
show_source(make_beta_schedule,
            "if schedule == \"linear\":", "if schedule == \"sqrt_linear\":", "if schedule == \"sqrt\":", "u = np.arange",
            "# f(1) = 0，最后一个 β 恰好是 1")

# %% [markdown]
# - ① 名字叫 linear，其实是对 $\sqrt\beta$ 线性。
# - ② 名字叫 sqrt_linear，其实是对 $\beta$ 线性，也就是论文的 linear。
# - ③ 先等距再开方，$\beta$ 从第一步起就有 0.01。
# - ④ $f$ 在 $T+1$ 个点上取值。偏移 `cosine_s` 太大会让余弦失去精度，所以限定上界。
# - ⑤ 相邻两点的比就是 $\alpha_t$。$f(1)=0$，最后一个 $\beta$ 恰好是 1，那样原图就一点不剩，后面的公式要除以零，所以截到 0.999。

# %% [markdown]
# ## 3　信噪比：噪声从第几步起盖过原图
#
# 比较快慢要用一把尺子。第 $t$ 步的图里，原图的系数是 $\sqrt{\bar\alpha_t}$，噪声的系数是 $\sqrt{1-\bar\alpha_t}$，两个系数的平方之比叫信噪比 (signal-to-noise ratio)：
#
# $$\mathrm{SNR}_t = \frac{\bar\alpha_t}{1-\bar\alpha_t}.$$
#
# 它只减不增。它等于 1 的地方 $\bar\alpha_t=\tfrac12$；原图的方差若是 1，那里原图与噪声的方差各占一半。

# %%
for name, table in tables.items():
    bar, _ = alphas_cumprod(table)
    below = int((bar / (1 - bar) < 1).argmax())
    print(f"{name:>11}：第 {below:3d} 步信噪比降到 1 以下；走到头，原图的幅度还剩 {bar[-1] ** 0.5:.1e}")
schedules_figure(tables)

# %% [markdown]
# 图：左边是 $\beta_t$（对数刻度），中间是 $\bar\alpha_t$，右边是信噪比（对数刻度，`sqrt` 的后段已经低到图外）。圆点是信噪比降到 1 以下的那一步，中间一幅在旁边写着步号。
# 中间一幅里，`cosine` 最接近一条直线；`sqrt` 的 $\bar\alpha_t$ 到第 34 步就降到一半以下，到第 128 步连 1% 也不剩。

# %% [markdown]
# 快慢的后果可以量。把第 01 章的小网络在四张表上各训练八次，每次换一个种子，其余设置不变，再量“造错”（造出来的点，附近没有真点的比例）与“漏掉”（真点附近没有造出来的点的比例，第 01 章）：
#
# | 噪声表，$T=1000$ | 造错 | 漏掉 |
# |:--|--:|--:|
# | `linear` | 1.8% ± 0.1% | 12.4% ± 0.2% |
# | `sqrt_linear` | 2.4% ± 0.1% | 12.8% ± 0.1% |
# | `sqrt` | 14.3% ± 0.2% | 20.7% ± 0.3% |
# | `cosine` | 1.8% ± 0.1% | 12.1% ± 0.1% |
#
# 表里是八个种子的平均 ± 标准误，采样走满一千步。`sqrt` 造错的是别的表的六到八倍；`linear` 与 `cosine` 分不出高下，论文的表略差一点。
# `sqrt` 差在哪里，这张表分不开：它有用的步数少；$\beta_0=0.01$ 又使它没有低噪声的步；训练时还有九成的题目出在纯噪声上。

# %% [markdown]
# ## 4　`cosine`：先画 $\bar\alpha$，再算 $\beta$
#
# 论文的表（`sqrt_linear`）到 $t=500$，$\bar\alpha_t$ 只剩 0.08，后一半的步数几乎都花在看不出原图的地方。
# `cosine`（Nichol 与 Dhariwal，2021）反过来设计：先画一条两头平、中间近乎直线的 $\bar\alpha_t$，再算出 $\beta_t$。把 $\alpha_t = f((t+1)/T)/f(t/T)$ 连乘，中间的 $f$ 全部消去：
#
# $$\bar\alpha_t = \prod_{i=0}^{t}\frac{f((i+1)/T)}{f(i/T)} = \frac{f((t+1)/T)}{f(0)}.$$
#
# 只有最后一项被 0.999 截断过，它之前的每一项都应当与右边相同。

# %%
T, s = 1000, 8e-3
u = np.arange(T + 1) / T
f = np.cos((u + s) / (1 + s) * np.pi / 2) ** 2
cosine, _ = alphas_cumprod(tables["cosine"])
check("连乘之后只剩首尾两项", cosine[:-1], f[1:-1] / f[0], atol=1e-14)
for name, table in tables.items():
    bar, _ = alphas_cumprod(table)
    print(f"{name:>11}：ᾱ 在 5% 与 95% 之间的步数 {((bar > 0.05) & (bar < 0.95)).sum()}")

# %% [markdown]
# 一千步里，真正在“变”的步数，`cosine` 有 719 步，论文的表有 475 步，`sqrt` 只有 91 步。

# %% [markdown]
# ## 5　两端的数，与步数是一套的
#
# 这里的 $T$ 是**训练**用的步数。模型已按 $T=1000$ 训练好、只想采样走得快，不要改 $T$，用 `sample(steps=…)`（第 7 章）。
#
# 采样从 $\mathcal N(0, I)$ 出发，所以走到头时原图的幅度 $\sqrt{\bar\alpha_{T-1}}$ 必须很小。它由 $\beta$ 的总和决定：$\beta$ 很小时 $\ln(1-\beta)\approx-\beta$，于是
#
# $$\ln\bar\alpha_{T-1} = \sum_t\ln(1-\beta_t)\approx-\sum_t\beta_t.$$
#
# `linear` 走一千步，$\sum_t\beta_t\approx7.17$，幅度剩 $e^{-7.17/2}\approx2.8\%$，与上面量到的 2.7% 相合。
# 论文的两个数，现在看得出用意：起点 $10^{-4}$，第一步的噪声标准差是 0.01，与八位图像的一级灰度（$2/255\approx0.008$）差不多；终点 0.02，每一步至多让幅度缩小 1%；一千步加起来是 10.05，幅度只剩 0.6%。
#
# 回到默认的 `linear`：两端不改，只走一百步，每个 $\beta$ 的大小照旧，总和只有 0.72，幅度还剩七成。要让总和不变，每个 $\beta$ 都要乘 $1000/T$。

# %%
show_source(rescale_linear_range,
            "def rescale_linear_range", "scale = reference_timesteps")

# %% [markdown]
# - ① 给出新的 $T$，返回缩放过的两端。
# - ② 步数少到十分之一，每步就掺十倍；$\beta$ 不能到 1，所以上端截在 0.999。

# %%
short = make_beta_schedule("linear", 100)
scaled = make_beta_schedule("linear", 100, *rescale_linear_range(100))
endings = {"$T=1000$": betas, "$T=100$，两端不改": short, "$T=100$，两端乘 10": scaled}
for name, table in endings.items():
    print(f"{name.replace('$', '')}：Σβ = {table.sum():.2f}，走到头原图的幅度还剩 {np.prod(1 - table) ** 0.5:.1%}")
endings_figure(endings)

# %% [markdown]
# 图：原图的幅度 $\sqrt{\bar\alpha_t}$，横轴是走了全程的几成，末端写着还剩多少。两端乘 10 之后，一百步的曲线与一千步的几乎重合。

# %%
images = handwriting("../data")[0].roll(-3, 0)[:8]
grain = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
last = [float(np.prod(1 - table)) for table in endings.values()]
ends = [bar**0.5 * images + (1 - bar) ** 0.5 * grain for bar in last]
rows = ["原图", "走完 1000 步", "走完 100 步", "100 步，乘 10"]
grid_figure(torch.cat([images, *(end.clamp(-2, 2) / 2 for end in ends)]), nrow=8, rows=rows)

# %% [markdown]
# 图：八个手写数字加噪到最后一步的样子，各行用同一份噪声（后三行的值除以 2 再显示，免得太亮太暗的都截掉）。两端不改的那一行，走到头还认得出是几，这样的图与 $\mathcal N(0,I)$ 相差太远。
# 采样时没有原图，只能拿 $\mathcal N(0,I)$ 当起点，网络训练时却没有见过这样的起点。MNIST 的像素平均约 $-0.74$，照训练时的样子，起点的平均应当是 $0.70\times(-0.74)\approx-0.5$，而不是 0。
#
# 所以建模型的时候，$\sqrt{\bar\alpha_{T-1}}$ 超过 0.1 就会提醒一句：

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    DDPM(**toy_model_config(), timesteps=100)
print(caught[0].message)

# %% [markdown]
# `cosine` 的公式里只有 $t/T$，$T$ 改成多少，终点都接近 0。不过步数少了，每一步就大；步子太大的毛病，谁也躲不过（第 4 章）。
# 拖动下面的控件试一遍：先看图上方的提醒，再把两端照它说的改，或者换成 `cosine`。

# %%
beta_panel()

# %% [markdown]
# 面板：左边 $\beta_t$，中间 $\bar\alpha_t$，右边信噪比，横轴是 $t/T$。开头摆的是 `linear`、$T=100$：中间的曲线走到右端还在一半附近。

# %% [markdown]
# ## 6　从 $\beta$ 到全部系数
#
# 后面各章的公式只用到一些固定的组合，训练的每一步都要取，所以先算好，存成缓冲区 (buffer)，也就是跟着模型搬家、但不训练的张量（第 9 章细说）。
# `diffusion_tables` 由 $\beta$ 算出它们，`register_schedule` 把它们注册到模型上：
#
# | 缓冲区 | 式子 | 哪章用 |
# |:--|:--|:--|
# | `betas`、`alphas_cumprod`、`alphas_cumprod_prev` | $\beta_t$、$\bar\alpha_t$、$\bar\alpha_{t-1}$ | 各章 |
# | `sqrt_alphas_cumprod`、`sqrt_one_minus_alphas_cumprod` | $\sqrt{\bar\alpha_t}$、$\sqrt{1-\bar\alpha_t}$ | 3 |
# | `log_one_minus_alphas_cumprod` | $\ln(1-\bar\alpha_t)$ | 3 |
# | `sqrt_recip_alphas_cumprod`、`sqrt_recipm1_alphas_cumprod` | $\sqrt{1/\bar\alpha_t}$、$\sqrt{1/\bar\alpha_t-1}$ | 5 |
# | `posterior_mean_coef1`、`posterior_mean_coef2` | 后验均值的两个系数 | 4 |
# | `posterior_variance`、`posterior_log_variance_clipped` | 采样的方差与它的对数 | 4 |
# | `lvlb_weights` | 变分下界的权重 | 6 |

# %%
chain = GaussianDiffusion()
print("缓冲区", len(list(chain.buffers())), "张，每张", chain.num_timesteps, "个数，存成", chain.betas.dtype)
check("加噪用的系数，与自己算的", chain.sqrt_alphas_cumprod, cumprod**0.5, atol=1e-7)
check("float64 的原表另有一份，用 exact_table 取", chain.exact_table("sqrt_alphas_cumprod"), cumprod**0.5)

# %% [markdown]
# ## 7　精度：为什么不在 float32 里算 $1-\bar\alpha$
#
# 表存成 float32，计算却全程用 float64，为什么这么讲究？看 $\bar\alpha_0=0.9999$：在它附近，float32 相邻的两个数相差 $6\times10^{-8}$，舍入的误差最多是一半，$3\times10^{-8}$。
# 这点误差对 0.9999 不算什么，可是接着去算 $1-\bar\alpha_0=10^{-4}$，误差没有变，数小了一万倍，相对误差最多可到万分之三。实际错了多少，量一量：

# %%
exact = 1 - cumprod[0]
for name, value in (("先舍入再相减", 1 - np.float32(cumprod[0])), ("先相减再舍入", np.float32(exact))):
    print(f"{name}：{value:.9f}，相对误差 {abs(value / exact - 1):.1e}")

# %% [markdown]
# 先舍入再相减，错了万分之 1.7。所以 $1-\bar\alpha_t$ 要先用 float64 算好，最后才舍入一次。
#
# 半精度更危险：bfloat16 只有 8 位有效数字（二进制），0.9999 会变成 1，凡是用它现算 $1-\bar\alpha$ 的地方都得 0；其余的表各错千分之几，接近 1 的系数还会把误差沿一千步累积起来。若不防备，`model.bfloat16()` 会把噪声表一起转换。

# %%
naive = torch.tensor(cumprod[:5], dtype=torch.float64).bfloat16()
print(f"直接转换，ᾱ 的前五个：{naive.tolist()}")
model = DDPM(**toy_model_config()).bfloat16()
print(f"整个模型转换：网络 {next(model.model.parameters()).dtype}，噪声表 {model.alphas_cumprod.dtype}")
check("噪声表没有跟着降精度", model.alphas_cumprod, cumprod, atol=1e-7)

# %% [markdown]
# 噪声表保得住，是因为我们重写了 `_apply`：PyTorch 的 `.to()`、`.half()`、`.double()` 最后都会调用它。

# %%
show_source(GaussianDiffusion._apply,
            "def _apply", "# .half()/.bfloat16()", "return self")

# %% [markdown]
# - ① `fn` 是“搬到某处、换成某种类型”的函数，先照常搬动参数和缓冲区。
# - ② 再用 float64 的原表把每张表重填一遍：半精度退回 float32，`.double()` 则得到真正的 float64。
# - ③ 按 PyTorch 的约定返回自己，所以能连着写 `model.double().to(...)`。

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：每一步掺多少噪声，凭什么定？
# - **答案**：有两条要求。走到头要几乎不剩原图：`linear` 一千步的 $\sum_t\beta_t\approx7.17$，幅度剩 2.7%；论文从 0.0001 等距走到 0.02，总和是 10.05，幅度剩 0.6%。一路上有用的步数要多：$\bar\alpha$ 在 5% 与 95% 之间的步数，`cosine` 719、`linear` 593、论文的 475、`sqrt` 只有 91。拿不准时，$T=1000$ 用 `linear` 或 `cosine`；$T$ 小，用 `cosine`，或把两端乘 $1000/T$。
# - 两端的数与步数是一套的：$T$ 不是 1000 时，两端大致要乘 $1000/T$，否则一百步走到头还剩七成。
# - `linear` 对 $\sqrt\beta$ 线性，`sqrt_linear` 才是论文的 linear；`cosine` 先画 $\bar\alpha$，再算 $\beta$。
# - 系数表用 float64 算，最后舍入一次；不要用 float32 的 $\bar\alpha$ 去算 $1-\bar\alpha$。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。
#
# <details><summary>小实验（不批改）：给第 01 章换一张表</summary>
#
# 打开第 01 章，把 `beta` 换成 `linear`：`torch.linspace(1e-4**0.5, 0.02**0.5, T) ** 2`，其余不动，从头运行，看“走一千步”造错的比例。再把 `T` 改成 100，两端不改，也看一看。用三句话写下结论。
#
# 参考的数字（八个种子，平均 ± 标准误）：论文的表造错 2.4% ± 0.1%，换成 `linear` 是 1.8% ± 0.1%；$T=100$、两端不改，是 1.2% ± 0.1%，反而好一点；两端乘 10，是 1.8% ± 0.1%，与一千步的 `linear` 分不出。
# 这不与第 5 节矛盾：月牙换算过，均值 0、方差 1，照第 1 节的算式，走到哪里均值与方差都不变，从 $\mathcal N(0,I)$ 出发只差在形状上。图的均值不是 0，就没有这样的运气。
#
# </details>

# %% [markdown]
# ### 02.1　信噪比 ★
#
# 给一张噪声表 `betas`（NumPy 数组），返回每一步的信噪比 $\mathrm{SNR}_t = \bar\alpha_t/(1-\bar\alpha_t)$。
# 连乘用 `np.cumprod`。

# %%
def snr(betas):
    # 答案
    bar = np.cumprod(1 - betas)
    return bar / (1 - bar)
    # 答案完


grade("02.1", snr)

# %% [markdown]
# ### 02.2　由 ᾱ 反推 β ★★
#
# 反过来：先定下想要的 $\bar\alpha_t$（NumPy 数组，逐项下降），求造出它的噪声表 $\beta_t$。长度不变，约定 $\bar\alpha_{-1}=1$。
# 做对之后，试试 $\bar\alpha_t$ 直线下降的表：`GaussianDiffusion(given_betas=betas_from(np.linspace(0.999, 0.001, 1000)))`。

# %%
def betas_from(bars):
    # 答案
    previous = np.append(1.0, bars[:-1])
    return 1 - bars / previous
    # 答案完


grade("02.2", betas_from)

# %% [markdown]
# ### 02.3　不丢精度的表 ★★★
#
# 给 float64 的 `betas`（NumPy 数组），返回 float32 的张量 $\sqrt{1-\bar\alpha_t}$，每一项的相对误差都要在百万分之一左右。
# 公式人人会写，难在次序：哪一步之后才能换成 float32？

# %%
def noise_table(betas):
    # 答案
    bar = np.cumprod(1 - betas)
    return torch.from_numpy(np.sqrt(1 - bar)).float()
    # 答案完


grade("02.3", noise_table)

# %% [markdown]
# ### 02.4　T=10 时，乘 1000/T 为什么失灵 ★★
#
# 第 5 节把 `linear` 的两端同乘 $1000/T$。$T=10$ 时也照此办理，两端成了 0.01 与 0.999，$\sum_t\beta_t$ 却只有 3.8。哪里出了问题？
#
# - A：十个点太少，`np.linspace` 取得不准，总和就偏小。
# - B：下端 0.01 太大，第一步就毁掉了大半个原图。
# - C：上端本应是 2，方差的比例到不了 1，只好截断；最后一步乘上 $\sqrt{0.001}\approx0.03$，已经不是一小步。
# - D：总和只有 3.8，所以走到头原图的幅度还剩 $e^{-1.9}\approx15\%$，掺的噪声不够。

# %%
grade("02.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 02.5　bfloat16 里的 ᾱ ★★★
#
# 用 float64 算好 `linear`（$T=1000$）的 $\bar\alpha_t$，再转换成 bfloat16。前几步都成了 1，第一个不是 1 的 $t$ 是几？
# 可以另开一格，用程序找。

# %%
grade("02.5", None)  # 把 None 换成一个数

# %% [markdown]
# ## 附：参数速查与其余的源码（第一遍可以不读）
#
# 先是六个参数的卡片，再是前面没有展示的源码。

# %%
card("beta_schedule")
by_name = GaussianDiffusion(beta_schedule="cosine").exact_table("betas")
check("名字决定了表", by_name, make_beta_schedule("cosine", 1000))
check_raises("不认识的名字", lambda: GaussianDiffusion(beta_schedule="cosin"), "cosine")

# %%
card("timesteps")
leftover = GaussianDiffusion(timesteps=100).exact_table("sqrt_alphas_cumprod")[-1]
check("只走一百步，走到头原图的幅度还剩", leftover, 0.6961, atol=5e-5)

# %%
card("linear_start")
check("它就是第一个 β", make_beta_schedule("linear", 10, linear_start=1e-3)[0], 1e-3, atol=1e-15)
check_raises("不能大于 linear_end", lambda: make_beta_schedule("linear", 10, linear_start=0.5), "linear_start ≤ linear_end")

# %%
card("linear_end")
check("它就是最后一个 β", make_beta_schedule("linear", 10, linear_end=0.3)[-1], 0.3, atol=1e-15)
check_raises("须小于 1", lambda: make_beta_schedule("linear", 10, linear_end=1.0), "linear_end")

# %%
card("cosine_s")
plain, shifted = (make_beta_schedule("cosine", 1000, cosine_s=s)[0] for s in (0.0, 0.008))
print(f"第一步的 β：cosine_s=0 时 {plain:.1e}，cosine_s=0.008 时 {shifted:.1e}")
check_order("有了偏移，第一步的 β 是原来的几倍：超过 10", 10, shifted / plain)

# %%
card("given_betas")
mine = [0.1, 0.2, 0.3]
for given_betas in (mine, np.array(mine), torch.tensor(mine, dtype=torch.float64)):
    table = GaussianDiffusion(given_betas=given_betas)
    check(f"{type(given_betas).__name__} 也可以，T={table.num_timesteps}", table.exact_table("betas"), mine)
check_raises("有 NaN 时说出在哪里", lambda: GaussianDiffusion(given_betas=[0.1, float("nan")]), "下标 1")

# %% [markdown]
# `make_beta_schedule` 的开头，第 2 节没有展示的部分：

# %%
show_source(make_beta_schedule,
            "def make_beta_schedule", "check_choice(\"beta_schedule\"", stop="check_float(\"cosine_s\", cosine_s, 0)")

# %% [markdown]
# - ① 参数与默认值都和参考实现相同；返回的是 float64 的 NumPy 数组。
# - ② 先检查五个参数，例如 `linear_start` 不能大于 `linear_end`。

# %%
show_source(check_betas,
            "def check_betas", "try:", "if values.size == 0:", "bad = np.flatnonzero", "if timesteps is not None")

# %% [markdown]
# - ① 列表、数组、张量都收：YAML 给出的是列表。
# - ② 逐个换成 float，换不成就说应当给什么。
# - ③ 空表没有意义，最后取 $\bar\alpha$ 时也会越界。
# - ④ 每一项都须在 $(0,1)$ 内。写成“不在范围内”而不是“超出范围”，才拦得住 NaN：它与任何数比较都为假。
# - ⑤ 同时给了步数，就核对长度。`register_schedule` 只在步数不是默认的 1000 时才传进来。

# %%
show_source(diffusion_tables,
            "def diffusion_tables", "cumprod, cumprod_prev =", "# 第 0 步 β_tilde 为 0", "coef1 =", "objective =", "\"betas\": betas")

# %% [markdown]
# - ① 输入只有 $\beta$、`v_posterior`（采样时掺多少噪声，第 4 章）和参数化的名字；全程 float64。
# - ② $\bar\alpha_t$ 与 $\bar\alpha_{t-1}$，以及后验方差 $\tilde\beta_t$，推导在第 4 章。
# - ③ $\tilde\beta_0 = 0$，取对数得 $-\infty$，所以用第 1 步的值代替，再与 $\beta$ 混合。
# - ④ 后验均值的两个系数 $c_1$、$c_2$，也在第 4 章。
# - ⑤ 三种目标的差别收在 `objective` 里，第 5 章读它。
# - ⑥ 十三张表，式子与用处见第 6 节的表格。

# %%
show_source(GaussianDiffusion.__init__,
            "def __init__", "self.v_posterior =", "self.register_schedule(")

# %% [markdown]
# - ① 只列与公式有关的参数；这个类里没有网络，没有训练。
# - ② 记下 $v$ 与参数化，当场检查范围。
# - ③ 建表的事交给 `register_schedule`。

# %%
show_source(GaussianDiffusion.register_schedule,
            "def register_schedule", "check_int(\"timesteps\", timesteps, 1)",
            "self.num_timesteps =", "if broken:", "# float64 原表另存一份")

# %% [markdown]
# - ① 参数的名字与次序都和参考实现相同。
# - ② 先按名字造表；给了 `given_betas` 就以它为准。步数是 1000 时不核对长度：那是默认值，看不出是不是用户写的。
# - ③ 步数取表的真实长度，再算出全部系数。算的时候不让 NumPy 发出英文的警告，因为紧接着就要自己检查 NaN 与无穷。
# - ④ 任何一张表里有 NaN 或无穷，就说出是哪些表、$\beta$ 的范围是多少。
# - ⑤ 留一份 float64 的原表，缓冲区存 float32。`lvlb_weights` 不存进检查点：它由 $\beta$ 与参数化就能重新算出，参考实现也不存它。

# %%
show_source(DDPM.register_schedule,
            "def register_schedule", "super().register_schedule")

# %% [markdown]
# - ① 模型建好之后再换表，就拒绝：网络练的是原来那张表上的 $t$，`logvar` 的长度、存进检查点的超参数也都是照它定的。
# - ② 构造时照常建表。

# %% [markdown]
# <details><summary>与参考实现的差别</summary>
#
# - 参考实现的 `given_betas` 只收 NumPy 数组；同时给了 `timesteps`，后者被悄悄忽略。
# - 参考实现只检查损失的权重表，写成 `assert not isnan(...).all()`，要整张表都是 NaN 才报警，所以一个 NaN 拦不住；$\beta$ 是不是在 $(0,1)$ 内，它不检查。
# - 系数表两边一样，都用 float64 算好再转成 float32；只有 `lvlb_weights`，参考实现用转换之后的表再算（第 6 章）。
#
# </details>
