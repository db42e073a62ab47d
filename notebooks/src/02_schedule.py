# %% [markdown]
# # 02 · β 噪声表
#
# 第 1 章有两行没有解释：`T = 1000` 与 `beta = torch.linspace(1e-4, 0.02, T)`。为什么是这两个数，为什么要走一千步？
#
# 这两行不能随便改。只把 `T` 改成 100，走完以后原图的幅度还剩六成，采样却照旧从纯噪声出发，两边对不上。
# 只给 `linspace` 的结果开一次平方根，走到第 34 步噪声就盖过了原图，剩下的九百多步大半是在给噪声加噪声。
#
# 这一章要回答：**每一步掺多少噪声，凭什么定？**
#
# **学习目标**
#
# - 说清 $\beta_t$、$\alpha_t$、$\bar\alpha_t$、信噪比各是什么，怎样互相推出。
# - 分辨四种噪声表，不被名字误导：这里的 `linear` 不是论文的 linear。
# - 说出一张噪声表要满足的三条要求；步数改了，知道两端的 $\beta$ 该怎样改。
# - 明白系数表为什么用 float64 计算，为什么要防着半精度。
#
# **预计用时** 35 分钟。运行全部单元约二十秒。

# %%
import numpy as np
import torch

from ddpm_edu import DDPM, make_beta_schedule
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.schedules import alphas_cumprod, rescale_linear_range
from ddpm_edu.teach import check, grade, show_source
from ddpm_edu.teach.moons import moons, train_moons
from ddpm_edu.teach.panels import beta_panel
from ddpm_edu.teach.schedule_figures import landed_figure, ruined_points_figure, schedules_figure

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
# 为什么要先乘一个小于 1 的数？因为只加不乘，方差就越加越大。独立的随机变量相加，方差也相加：$x_{t-1}$ 的方差若是 1，$x_t$ 的方差就是 $(1-\beta_t)\cdot1+\beta_t=1$，正好不变，而其中原图的那一份一步比一步小。
# 步数走够，剩下的就接近 $\mathcal N(0,I)$，与原图是什么无关。原图的方差不是 1 也不要紧：它与 1 之差，每一步也乘 $1-\beta_t$。
#
# 一路乘下来，原图还剩多少？记 $\alpha_t = 1-\beta_t$，$\bar\alpha_t = \alpha_0\alpha_1\cdots\alpha_t$（读作 alpha bar）。走到第 $t$ 步，第 1 章用过、第 3 章要推导的公式是
#
# $$x_t = \sqrt{\bar\alpha_t}\;x_0 + \sqrt{1-\bar\alpha_t}\;\varepsilon.$$
#
# 所以 $\sqrt{\bar\alpha_t}$ 是原图的**幅度**还剩几成，$\bar\alpha_t$ 是它的**方差**还剩几成。

# %%
show_source(alphas_cumprod,
            "def alphas_cumprod")

# %% [markdown]
# - ① 连乘得到 $\bar\alpha_t$；在最前面补一个 1、去掉最后一个，就是平移一格的 $\bar\alpha_{t-1}$，其中约定 $\bar\alpha_{-1}=1$（第 4 章用）。
#
# 用程序包默认的噪声表 `linear` 算一遍（它不是开头那行 `linspace`，区别见第 2 节）：

# %%
betas = make_beta_schedule("linear", 1000)
cumprod, _ = alphas_cumprod(betas)
print(f"最后一步，原图的方差还剩 {cumprod[-1]:.2%}，幅度还剩 {cumprod[-1] ** 0.5:.1%}")

# %% [markdown]
# ## 2　四张表，怎样加噪
#
# 程序包里有四种噪声表。先不看公式，看它们怎样淹没第 1 章的月牙：同样的点，同样的噪声，都走一千步。

# %%
tables = {name: make_beta_schedule(name, 1000) for name in ("linear", "sqrt_linear", "sqrt", "cosine")}
points, label = moons(2000, seed=0)
noise = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
ruined_points_figure(tables, points, label, noise, steps=(0, 100, 500, 999))

# %% [markdown]
# 图：四张表都走到看不出形状，快慢却差得很远。一行一张表，一列一个步号；颜色表示每个点加噪之前属于哪一弯，格子下面写着原图的幅度还剩多少。
# `sqrt` 到 $t=100$ 已经只是一团；`linear` 与 `cosine` 到 $t=500$ 还看得出左上偏蓝、右下偏橙。

# %% [markdown]
# 四张表的公式，就是下面的几行代码。前三张的两端 `linear_start` 与 `linear_end`，默认是 $10^{-4}$ 与 0.02。
#
# 当心名字：DDPM 论文的 linear 是等距的 $\beta$，在这里却叫 `sqrt_linear`。
# 这些名字来自 CompVis/latent-diffusion 仓库的 `ldm/modules/diffusionmodules/util.py`。本课程重写的，是调用它的 `ddpm.py`，下文称为“参考实现”。

# %%
show_source(make_beta_schedule,
            "if schedule == \"linear\":", "if schedule == \"sqrt_linear\":", "if schedule == \"sqrt\":", "u = np.arange",
            "# f(1) = 0，最后一个 β 恰好是 1")

# %% [markdown]
# - ① 名字叫 linear，其实是对 $\sqrt\beta$ 线性。Diffusers 里叫 `scaled_linear`。
# - ② 名字叫 sqrt_linear，其实是对 $\beta$ 线性，也就是论文的 linear。Diffusers 里也叫 `linear`。
# - ③ 先等距再开方，$\beta$ 从第一步起就有 0.01。
# - ④ `cosine`（Nichol 与 Dhariwal，2021）先画一条曲线 $f$，从约 1 降到 0，两头平，中间近乎直线。小偏移 $s=0.008$ 使最初几步的 $\beta$ 不至于太小。
# - ⑤ 相邻两点的比就是 $\alpha_t$，连乘起来，中间的 $f$ 全部消去，$\bar\alpha_t=f((t+1)/T)/f(0)$：$\bar\alpha_t$ 就是先画好的那条曲线。$f(1)=0$，最后一个 $\beta$ 恰好是 1，后面的公式要除以零，所以截到 0.999。

# %% [markdown]
# ## 3　信噪比：噪声从第几步起盖过原图
#
# 比较快慢要用一把尺子。第 $t$ 步的图里，原图的系数是 $\sqrt{\bar\alpha_t}$，噪声的系数是 $\sqrt{1-\bar\alpha_t}$，两个系数的平方之比叫信噪比 (signal-to-noise ratio)：
#
# $$\mathrm{SNR}_t = \frac{\bar\alpha_t}{1-\bar\alpha_t}.$$
#
# $\bar\alpha_t$ 一步步变小，信噪比也就一步步变小。它等于 1 的地方 $\bar\alpha_t=\tfrac12$；原图的方差若是 1，那里原图与噪声的方差各占一半。

# %%
schedules_figure(tables)

# %% [markdown]
# 图：左边选定 $\beta_t$（对数刻度），连乘成右边的 $\bar\alpha_t$，四张表的快慢就分出来了。圆点是信噪比降到 1 以下的那一步，旁边写着步号；灰线是 $\bar\alpha_t=\tfrac12$，灰色的虚线是 5%，下一节要用。
# `sqrt` 到第 34 步就过了灰线，`cosine` 要到第 496 步。

# %% [markdown]
# ## 4　三条要求；第一条：步数不能白费
#
# 快慢看清了，凭什么说哪一张好？要满足三条要求：
#
# 1. 步数要花在有用的地方：不能大半的步上几乎全是噪声。
# 2. 终点几乎不剩原图，因为采样从 $\mathcal N(0, I)$ 出发。
# 3. 原图还看得见的时候，每一步都要小，否则退不回来。
#
# 约定 $\bar\alpha_t$ 低于 5%，也就是幅度低于 22% 的步，算“几乎全是噪声”：上一图的虚线以下。训练时步号是均匀抽的，这样的步占几成，抽到的步号就有几成落在那里。
#
# 把第 1 章的小网络在每张表上各训练八次，每次换一个种子，其余设置不变，采样都走满全程，再量第 1 章的“造错”：造出来的点，附近没有真点的比例。
# `sqrt` 与别的表处处不同，所以另造一对来对照：一百步的 `cosine`，与它后面再接九百步 $\beta=0.02$ 的，前一百步一步不差。
#
# | 噪声表 | 几乎全是噪声的步 | 造错，八个种子的平均 ± 标准误 |
# |:--|--:|--:|
# | `cosine`，$T=1000$ | 14.5% | 1.8% ± 0.1% |
# | `linear`，$T=1000$ | 27.3% | 1.8% ± 0.1% |
# | `sqrt_linear`，$T=1000$ | 45.8% | 2.4% ± 0.1% |
# | `sqrt`，$T=1000$ | 90.5% | 14.3% ± 0.2% |
# | `cosine`，$T=100$ | 15.0% | 1.6% ± 0.1% |
# | `cosine`，$T=100$，再接九百步 $\beta=0.02$ | 91.5% | 9.2% ± 0.3% |
#
# 看最后两行：后面接上九百步，造错就从 1.6% 升到 9.2%。训练的次数没有变，有用的步号却只抽到一成。有用的训练少了，造错就多：不接九百步，只训练三百次，造错是 19.8% ± 0.9%。
# 送进网络的 $t/T$，有用的一段也挤进了前十分之一，这倒不要紧：只挤不接，造错仍是 1.6% ± 0.1%。
#
# `linear` 的 27.3% 还看不出坏处。`sqrt_linear` 的 45.8% 略差，但它与别的表还有别处不同，不能只归给这一条。
#
# <details><summary>怎样重量这张表</summary>
#
# 另开一格运行，每行约一两分钟。打印的是造错与漏掉的平均，再是标准误。最后一行的 `table` 是 `np.append(make_beta_schedule("cosine", 100), np.full(900, 0.02))`。
# 正文的两个对照，一个给 `train_moons` 加上 `steps=300`，一个把它里面的 `timesteps` 改成 1000。
# 一千步的四行，是在第 1 章的程序里换 `beta` 量的，设置相同；`sqrt_linear` 就是第 1 章的表，那里的 2.8% ± 0.1% 只走一百步，这里走满全程。
#
# ```python
# from ddpm_edu.teach.moons import misses
#
# table = make_beta_schedule("cosine", 100)
# data, real = moons(4000, seed=0)[0], moons(4000, seed=1)[0]
# rows = []
# for seed in range(8):
#     cloud = train_moons(table, data, seed)
#     rows.append(np.mean([misses(part, real) for part in cloud.chunk(8)], axis=0))  # 照第 1 章，每五百个点量一次
# print(np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / 8**0.5)
# ```
#
# </details>

# %% [markdown]
# ## 5　终点与步子：步数凭什么定
#
# **终点**。采样从 $\mathcal N(0, I)$ 出发，所以最后一步原图的幅度 $\sqrt{\bar\alpha_{T-1}}$ 必须很小。它由 $\beta$ 的总和决定：$\beta$ 很小时 $\ln(1-\beta)\approx-\beta$，于是
#
# $$\ln\bar\alpha_{T-1} = \sum_t\ln(1-\beta_t)\approx-\sum_t\beta_t.$$
#
# `linear` 走一千步，$\sum_t\beta_t\approx7.17$，幅度剩 $e^{-7.17/2}\approx2.8\%$，与第 1 节算出的 2.7% 相合。论文的表，总和是 10.05，幅度只剩 0.6%。
#
# **步子**。$\beta_t$ 小，退回一步的分布才近似高斯，网络才只需猜出它的均值（第 4 章）。几乎没有了原图以后，前后两步都近似 $\mathcal N(0,I)$，步子大也无妨。
#
# 所以只看原图还看得见时的步，界线沿用第 4 节的 5%：迈步之前 $\bar\alpha$ 还在 5% 以上的步里，最大的 $\beta$ 就叫这张表的步子。

# %%
for T in (1000, 100, 10):
    table = make_beta_schedule("cosine", T)
    bar, before = alphas_cumprod(table)
    print(f"cosine，T={T}：步子最大 {table[before > 0.05].max():.2g}；"
          f"几乎全是噪声的步占 {(bar < 0.05).mean():.1%}，最后原图的幅度还剩 {100 * bar[-1] ** 0.5:.2g}%")

# %% [markdown]
# 走一千步与一百步，造错是 1.8% ± 0.1% 与 1.6% ± 0.1%（第 4 节的表）；走十步，造错升到 4.3% ± 0.1%。走十步的那张表，前两条都合格，第三条不合格：最大的一步 $\beta=0.74$。
#
# **为什么要一千步？** $\beta$ 都小的时候，终点定下总和：上面两张表是 7.17 与 10.05。总和等于步数乘每步的平均大小：论文走一千步，每步平均约 0.01；只走一百步，就约 0.1。
# 每步能大到多少，要试：月牙走一百步就够，走十步不行。论文恰好取 1000，是为了让采样时调用网络的次数与先前的工作相同（Ho 等 2020，第 4 节）。

# %% [markdown]
# ## 6　步数改了，两端的数也要改
#
# 默认的 `linear` 若两端不改、只走一百步，总和只有原来的十分之一，幅度还剩七成。要让总和不变，每个 $\beta$ 都要乘 $1000/T$：

# %%
show_source(rescale_linear_range,
            "def rescale_linear_range", "scale = reference_timesteps")

# %% [markdown]
# - ① 给出新的 $T$，返回缩放过的两端。
# - ② 步数少到十分之一，每步就掺十倍；$\beta$ 不能到 1，所以上端截在 0.999。
#
# 不改有什么后果？采样时没有原图，只能从 $\mathcal N(0,I)$ 出发；终点还留着原图，起点就偏了。用月牙训练一遍看看。
# 第 1 章的月牙，平均约是 0，与起点相同，看不出偏；所以先把它平移到 $-0.74$，与 MNIST 像素的平均相近。

# %%
short = make_beta_schedule("linear", 100)
scaled = make_beta_schedule("linear", 100, *rescale_linear_range(100))
for name, table in {"一千步": betas, "一百步，两端不改": short, "一百步，两端乘 10": scaled}.items():
    print(f"{name}：Σβ = {table.sum():.2f}，最后原图的幅度还剩 {np.prod(1 - table) ** 0.5:.1%}")
moved = moons(4000, seed=0)[0] - 0.74
# train_moons：用这张表训练第 1 章的小网络，采样走满全程，造四千个点
clouds = {"一百步，两端不改": train_moons(short, moved, steps=800), "一百步，两端乘 10": train_moons(scaled, moved, steps=800)}
landed_figure(clouds, moved)

# %% [markdown]
# 图：两端不改，造出来的点就偏向起点的平均（空心圆）。灰色的是真的点，箭头从它们的平均指向起点的平均；蓝色的是造出来的点，叉是它们的平均，数字写在下面。
#
# 左格的点大多仍在月牙上，却左下稀、右上密。这里只训练八百步。
#
# **结论**：步数改少了，`linear` 的两端要乘 $1000/T$；或者换成 `cosine`，它的公式里只有 $t/T$，不必改。
# 这里的 $T$ 是**训练**用的步数；模型已经训练好、只想采样走得快，不要改 $T$，用 `sample(steps=…)`（第 7 章）。
#
# 两种办法都只管终点，管不了步子：步数少到 10，终点合格的表，步子都大（练习 02.4）。
#
# 拖动下面的控件试一遍：照图上方的提醒改两端，或者换成 `cosine`。忘了改，建模型的时候也会警告。

# %%
beta_panel()

# %% [markdown]
# 面板：一百步、两端不改，$\bar\alpha_t$ 走到右端还在一半附近；两端乘 10，或者换成 `cosine`，就降到近 0。右列的信噪比，前者停在 1 附近，后两者降到千分之一以下。灰色的虚线是 `linear` 走一千步，用来对照。

# %% [markdown]
# ## 7　从 $\beta$ 到全部系数，用 float64 算
#
# 后面各章的公式只用到一些固定的组合，训练与采样的每一步都要取，所以先算好，存成缓冲区 (buffer)，也就是随模型换设备、但不参与训练的张量（第 9 章细说）。
# `register_schedule` 把它们注册到模型上，一共十三张（逐行读，在[源码精读](93_source_reading.ipynb)第 1 节）。
#
# <details><summary>十三张表的式子与用处</summary>
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
#
# </details>
#
# 这些表存成 float32，计算却全程用 float64，最后才舍入一次。次序反过来会怎样？拿 $1-\bar\alpha_0=10^{-4}$ 来看。先舍入 $\bar\alpha_0$，再相减，舍入的误差没有变，结果却小了一万倍，相对误差就大了一万倍。
# 精度更低的 bfloat16 只有 8 位有效数字（二进制），比 1 小的数里离 1 最近的是 0.996，$\bar\alpha_0=0.9999$ 只能舍入成 1：

# %%
exact = 1 - cumprod[0]
for dtype in (torch.float32, torch.bfloat16):
    early, late = 1 - torch.tensor(cumprod[0]).to(dtype), torch.tensor(exact).to(dtype)
    for name, value in (("先舍入再相减", early), ("先相减再舍入", late)):
        print(f"{dtype}，{name}：{value.item():.9f}，相对误差 {abs(value.item() / exact - 1):.1e}，对数 {value.double().log().item():.3f}")

# %% [markdown]
# float32 错万分之 1.7，这里还不碍事；float64 几乎不花代价，索性不留这个错。真正要防的是半精度：bfloat16 先舍入再相减，就得 0，取对数是 $-\infty$。
#
# 所以整个模型转换成半精度，噪声表也不能跟着降。程序包让它仍是 float32，从 float64 的原表重新舍入；原表用 `exact_table` 取：

# %%
model = DDPM(**toy_model_config()).bfloat16()
print(f"整个模型转换：网络 {next(model.model.parameters()).dtype}，噪声表 {model.alphas_cumprod.dtype}")
check("原表就是 float64 算的", model.exact_table("alphas_cumprod"), cumprod)

# %% [markdown]
# ## 小结
#
# **每一步掺多少噪声，凭什么定？** 看三条要求：
#
# - 步数要花在有用的地方：一百步的 `cosine` 后面接上九百步噪声，造错就从 1.6% 升到 9.2%。
# - 终点几乎不剩原图：两张现成的表，$\sum_t\beta_t$ 是 7.17 与 10.05，幅度剩 2.7% 与 0.6%。
# - 原图还看得见时，每一步都要小：月牙走一百步就够，走十步不行。论文每步平均约 0.01，走一千步。
#
# 两端的数与步数是一套的：一千步改成一百步，`linear` 的两端要乘 10，否则造出来的点偏向起点。`cosine` 不必改。
#
# 名字要当心：`linear` 对 $\sqrt\beta$ 线性，`sqrt_linear` 才是论文的 linear。系数表用 float64 算，最后舍入一次。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

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
# 做对之后，试试 $\bar\alpha_t$ 直线下降的表：先 `from ddpm_edu import GaussianDiffusion`，再 `GaussianDiffusion(given_betas=betas_from(np.linspace(0.999, 0.001, 1000)))`。

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
# 给 float64 的 `betas`（NumPy 数组），返回 float32 的张量 $\sqrt{1-\bar\alpha_t}$，每一项的相对误差都不超过百万分之一。
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
# 第 6 节把 `linear` 的两端同乘 $1000/T$。$T=10$ 时也照此办理，两端成了 0.01 与 0.999，$\sum_t\beta_t$ 却只有 3.8，没有保住 7.2。问题出在哪里？
#
# - A：十个点太少，`np.linspace` 在两端之间取得不准，加起来的总和就偏小。
# - B：下端的 0.01 已经太大，第一步就毁掉大半个原图，后面没有什么可毁。
# - C：上端本应是 2，只好截到 0.999；而且每一步都大，总和已经作不得准。
# - D：总和只有 3.8，终点原图的幅度还剩 $e^{-1.9}\approx15\%$，掺的噪声不够。

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
# <details><summary>与参考实现的差别</summary>
#
# - 参考实现的 `given_betas` 只收 NumPy 数组；同时给了 `timesteps`，后者被悄悄忽略。
# - 参考实现只检查损失的权重表，写成 `assert not isnan(...).all()`，要整张表都是 NaN 才报警，所以一个 NaN 拦不住；$\beta$ 是不是在 $(0,1)$ 内，它不检查。
# - 系数表两边一样，都用 float64 算好再转成 float32；只有 `lvlb_weights`，参考实现用转换之后的表再算（第 6 章）。
#
# </details>

# %% [markdown]
# ### 小实验　`cosine` 最少要走几步
#
# 改一处，量一量，写三句话。第 5 节量过 100 步与 10 步，再量 30 步与 4 步：用第 4 节折叠的“怎样重量这张表”里的程序，只把 `table` 换成 `make_beta_schedule("cosine", T)`。
# 动手之前先猜：步数少了，全程最大的 $\beta_t$（最后一步固定是 0.999，不算）会怎样变？第 5 节量的步子呢？哪一个与造错一起变？
#
# <!-- 参考答案 -->
# **参考答案**　八个种子的平均 ± 标准误：
#
# | $T$ | 造错 | 漏掉 | 最大的 $\beta_t$（末步不算） | 步子（第 5 节） |
# |--:|--:|--:|--:|--:|
# | 4 | 13.7% ± 0.2% | 32.9% ± 0.3% | 0.71 | 1.00 |
# | 10 | 4.3% ± 0.1% | 18.8% ± 0.1% | 0.74 | 0.74 |
# | 30 | 2.1% ± 0.1% | 14.3% ± 0.1% | 0.75 | 0.35 |
# | 100 | 1.6% ± 0.1% | 12.8% ± 0.1% | 0.75 | 0.13 |
#
# 造错从 30 步起已经降得很慢，走一千步（1.8% ± 0.1%）也不比一百步好。最大的 $\beta_t$ 却几乎不随 $T$ 变：`cosine` 的 $\bar\alpha$ 在末尾像 $(T-t)^2$ 那样降到 0，倒数第二步要从 4 份降到 1 份，所以总在 0.75 附近。
# 与造错一起下降的，是原图还看得见时最大的一步（最后一列）。
#
# ```python
# for T in (4, 10, 30, 100):
#     table = make_beta_schedule("cosine", T)
#     before = np.append(1.0, np.cumprod(1 - table)[:-1])
#     print(T, table[:-1].max(), table[before > 0.05].max())  # 造错与漏掉：用这张 table 跑“怎样重量这张表”
# ```
#
# <!-- 参考答案完 -->
