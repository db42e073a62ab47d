# %% [markdown]
# # 93 · 源码精读
#
# 各章讲想法，源码只看要紧的几段，其余的逐行读在这里。读法有两种：想知道某个函数为什么这样写，从目录跳到那一节；或者把程序包打开，从头对着读一遍。
# 每一节开头写着它属于哪一章，一个函数一个小标题。构造参数也在这里各有一张卡片：含义、公式、在哪里用到、会出什么错。
# 这一本要回答：**书里的公式，一行一行落在代码的什么地方？**
#
# **学习目标**
#
# - 打开 `ddpm_edu` 里的任何一个函数，说得出每一段做什么、对应哪一条公式。
# - 改其中一段之前，知道哪里有检查拦着，哪里要一起改。
#
# **预计用时** 随用随查；从头读完约两小时。运行全部单元约 20 秒。

# %%
import math

import numpy as np
import torch

from ddpm_edu import DDPM, DiffusionWrapper, GaussianDiffusion, UNet, load_pretrained, make_beta_schedule
from ddpm_edu.conditioning import drop_condition, null_condition
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.editing import inpaint
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.generate import generate
from ddpm_edu.likelihood import bits_per_dim, discretized_gaussian_nll, gaussian_nll, kl_constants, prior_kl, vlb_terms
from ddpm_edu.sampling import Sampler, Sampling, check_knobs
from ddpm_edu.schedules import check_betas
from ddpm_edu.teach import card, check, check_order, check_raises, curves_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.diagrams import conditions_figure
from ddpm_edu.unet import AttentionBlock, ResBlock, normalization, timestep_embedding

print("准备好了")

# %% [markdown]
# ## 1　噪声表与系数表
#
# 属于[第 2 章](02_schedule.ipynb)。先是六个参数的卡片，再是那一章没有展示的源码。

# %%
card("beta_schedule")
by_name = GaussianDiffusion(beta_schedule="cosine").exact_table("betas")
check("名字决定了表", by_name, make_beta_schedule("cosine", 1000))
check_raises("不认识的名字", lambda: GaussianDiffusion(beta_schedule="cosin"), "cosine")

# %%
card("timesteps")
leftover = GaussianDiffusion(timesteps=100).exact_table("sqrt_alphas_cumprod")[-1]
check("只走一百步，最后原图的幅度还剩", leftover, 0.6961, atol=5e-5)

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
# `make_beta_schedule` 的开头，第 2 章没有展示的部分：
#
# ### `make_beta_schedule`

# %%
show_source(make_beta_schedule,
            "def make_beta_schedule", "check_choice(\"beta_schedule\"", stop="check_float(\"cosine_s\"")

# %% [markdown]
# - ① 参数与默认值都和参考实现相同；返回的是 float64 的 NumPy 数组。
# - ② 先检查五个参数，例如 `linear_start` 不能大于 `linear_end`。
#
# ### `check_betas`

# %%
show_source(check_betas,
            "def check_betas", "try:", "if values.size == 0:", "bad = np.flatnonzero", "if timesteps is not None")

# %% [markdown]
# - ① 列表、数组、张量都收：YAML 给出的是列表。
# - ② 逐个换成 float，换不成就说应当给什么。
# - ③ 空表没有意义，最后取 $\bar\alpha$ 时也会越界。
# - ④ 每一项都须在 $(0,1)$ 内，只有最后一个可以是 1：走到头就是纯噪声（第 18 章）。写成“不在范围内”而不是“超出范围”，才拦得住 NaN：它与任何数比大小都为假。
# - ⑤ 同时给了步数，就核对长度。`register_schedule` 只在步数不是默认的 1000 时才传进来。
#
# ### `diffusion_tables`

# %%
show_source(diffusion_tables,
            "@np.errstate", "cumprod, cumprod_prev =", "# 第 0 步 β_tilde 为 0", "coef1 =", "objective =", "\"betas\": betas")

# %% [markdown]
# - ① 输入只有 $\beta$、`v_posterior`（采样时掺多少噪声，第 4 章）和参数化的名字；全程 float64。NaN 与无穷由 `register_schedule` 查，这里先让 NumPy 别出声。
# - ② $\bar\alpha_t$ 与 $\bar\alpha_{t-1}$，以及后验方差 $\tilde\beta_t$，推导在第 4 章。
# - ③ $\tilde\beta_0 = 0$，取对数得 $-\infty$，所以用第 1 步的值代替，再与 $\beta$ 混合。
# - ④ 后验均值的两个系数 $c_1$、$c_2$，也在第 4 章。
# - ⑤ 三种目标的差别收在 `objective` 里，第 5 章读它。
# - ⑥ 十三张表，式子与用处见第 2 章第 7 节的表格。
#
# ### `GaussianDiffusion.__init__`

# %%
show_source(GaussianDiffusion.__init__,
            "def __init__", "self.v_posterior =", "self.register_schedule(")

# %% [markdown]
# - ① 只列与公式有关的参数；这个类里没有网络，没有训练。`rescale_betas_zero_snr` 是改不改终点，第 18 章讲。
# - ② 记下 $v$、参数化与改不改终点，当场检查。
# - ③ 建表的事交给 `register_schedule`。
#
# ### `GaussianDiffusion.register_schedule`

# %%
show_source(GaussianDiffusion.register_schedule,
            "def register_schedule", "check_int(\"timesteps\", timesteps, 1)",
            "self.num_timesteps =", "if broken:", "self._exact_tables = {}")

# %% [markdown]
# - ① 参数的名字与次序都和参考实现相同。
# - ② 先按名字造表；给了 `given_betas` 就以它为准。步数是 1000 时不核对长度：那是默认值，看不出是不是用户写的。要改终点就在这里改；终点的 $\bar\alpha$ 是 0 而网络预测 $\varepsilon$ 时拒绝，理由见第 18 章。
# - ③ 步数取表的真实长度，再算出全部系数，检查 NaN 与无穷。终点的 $\bar\alpha$ 是 0 时，除以 $\sqrt{\bar\alpha}$ 的两张表末项是无穷，末项不查。
# - ④ 任何一张表里有 NaN 或无穷，就说出是哪些表、$\beta$ 的范围是多少。
# - ⑤ 逐张登记（下一段）。`lvlb_weights` 不存进检查点：它由 $\beta$ 与参数化就能重新算出，参考实现也不存它。
#
# ### `GaussianDiffusion.register_table`

# %%
show_source(GaussianDiffusion.register_table,
            "def register_table", "self._exact_tables[name] =")

# %% [markdown]
# - ① 一张表是长度为 $T$ 的 float64 数组；`persistent` 管存不存进检查点。
# - ② 留一份 float64 的原表，缓冲区存 float32。
#
# ### `GaussianDiffusion._apply`

# %%
show_source(GaussianDiffusion._apply,
            "def _apply", "# .half()/.bfloat16()", "return self")

# %% [markdown]
# - ① PyTorch 的 `.to()`、`.half()`、`.double()` 最后都会调用 `_apply`，所以重写它。`fn` 是“搬到某处、换成某种类型”的函数，先照常搬动参数和缓冲区。
# - ② 再用 float64 的原表把每张表重填一遍：半精度退回 float32，`.double()` 则得到真正的 float64。
# - ③ 按 PyTorch 的约定返回自己，所以能连着写 `model.double().to(...)`。
#
# ### `DDPM.register_schedule`

# %%
show_source(DDPM.register_schedule,
            "def register_schedule", "super().register_schedule")

# %% [markdown]
# - ① 模型建好之后再换表，就拒绝：网络练的是原来那张表上的 $t$，`logvar` 的长度、存进检查点的超参数也都是照它定的。
# - ② 构造时照常建表。

# %% [markdown]
# ## 2　去噪的一步，与整条链
#
# 属于[第 4 章](04_posterior.ipynb)。
#
# ### `Sampling.predict_start`

# %%
show_source(Sampling.predict_start,
            "def predict_start", "x_recon = self.objective", "return x_recon.clamp")

# %% [markdown]
# - ① 网络输出 → $\hat x_0$。`guidance_scale` 只在有条件时起作用（把有条件与无条件的两次输出拉开，第 8 章）；它的默认值 1 等于没有。
# - ② 三种目标的差别都在 `objective` 里，这里没有分支。
# - ③ 截断返回新的张量，网络自己的输出不动。
#
# ### `Sampling.p_mean_variance`

# %%
show_source(Sampling.p_mean_variance,
            "def p_mean_variance", "x_recon = self.predict_start", "if step is None:", "else:", "return (*moments")

# %% [markdown]
# - ① 这是 $p_\theta(x_{t-1}\mid x_t)$ 的均值与方差，$p_\theta$ 表示网络给出的去噪分布。论文的式 (11) 用 $\hat\varepsilon$ 写，把 $\hat x_0$ 用 $\hat\varepsilon$ 代换就是它。
# - ② 猜出 $\hat x_0$。
# - ③ 只有一步替换：$x_0\to\hat x_0$，别的都由 `q_posterior` 算。
# - ④ 从 $x_t$ 不走到 $x_{t-1}$ 而走到别处时，系数由 `step` 给，就是 $a$、$b$、$\sigma$ 三个数。
# - ⑤ 画轨迹要看 $\hat x_0$，所以可以一起交出来。
#
# ### `Sampling.p_sample_loop`

# %%
show_source(Sampling.p_sample_loop,
            "@torch.no_grad()", "check_bool(\"return_intermediates\"", "timesteps = spaced_timesteps", "with evaluating(self):",
            "step = SAMPLERS", "if callback is not None", "return (x, intermediates)")

# %% [markdown]
# - ① 采样不求梯度；步数、引导、起点、进度条、回调都从这里进来，第 7 章一个个讲。
# - ② 核对各个旋钮。祖先采样的旋钮是 $v$。
# - ③ 走哪几步（没有指明怎样取，就照采样器自己的）、那几步的 $\bar\alpha$（前面补上 $\bar\alpha_{-1}=1$）；起点抽自 $\mathcal N(0, I)$，条件在这里整理一次；隔多少步留一张。参数沿用论文的名字 `x_T`，按代码的下标它就是 $x_{T-1}$。
# - ④ 途中是 eval 模式，关掉 dropout，离开时恢复。从大到小走。
# - ⑤ 走一步：采样器给出 `step`，`p_sample` 照着走，与第 4 章读过的是同一个。
# - ⑥ 回调拿到此刻的 $t$、$x_t$、$\hat x_0$，画轨迹用；`correct` 是二阶的采样器用的，第 18 章讲，祖先采样没有；`edit` 是补全用的，第 7 章讲；该留的中间结果留下。
# - ⑦ 要中间结果就一起返回。
#
# **截断。**

# %%
card("clip_denoised")
torch.manual_seed(0)
clipped, free = (DDPM(**toy_model_config(clip_denoised=clip_denoised, beta_schedule="sqrt_linear")) for clip_denoised in (True, False))
noise = torch.randn(2, 1, 8, 8)
steps = torch.full((2,), 999)
check("截断之后都在 [-1, 1]", clipped.predict_start(noise, steps, clipped.clip_denoised).abs().max() <= 1, True)
largest = free.predict_start(noise, steps, free.clip_denoised).abs().max()
check("不截断时的最大值，就是噪声的最大值放大 1/√ᾱ 倍", largest, noise.abs().max() / free.alphas_cumprod[999].sqrt(), atol=1e-3)

# %% [markdown]
# 未训练的网络输出 0（第 8 章），猜 $\varepsilon$ 时 $\hat x_0 = x_t/\sqrt{\bar\alpha_t}$：用论文的表，在 $t=999$ 处放大 157 倍，噪声的最大值有 3 上下，$\hat x_0$ 就大到五百多。截断把它挡在这一步。

# %% [markdown]
# ## 3　损失，与变分下界
#
# 属于[第 6 章](06_loss.ipynb)。
#
# ### `DDPM.get_loss`

# %%
show_source(DDPM.get_loss,
            "def get_loss", "loss = F.l1_loss")

# %% [markdown]
# - ① 预测与目标的形状须相同。
# - ② 名字在构造时核对过，这里只有两种。`mean=False` 时逐元素返回。

# %%
card("loss_type")
torch.manual_seed(0)
model = DDPM(**toy_model_config())
x_start, t = load_digits_split()["val"][0][:64], torch.arange(64) * 15
noise = torch.randn(x_start.shape, generator=torch.Generator().manual_seed(0))
loss, logs = model.p_losses(x_start, t, noise)
by_hand = (model.lvlb_weights[t] * (noise**2).flatten(1).mean(1)).mean()  # 未训练的网络输出 0，误差就是噪声的平方
absolute = DDPM(**toy_model_config(loss_type="l1"))
_, logs_l1 = absolute.p_losses(x_start, t, noise)
check("l1：loss_simple 是绝对值的平均", logs_l1["train/loss_simple"], noise.abs().mean(), atol=1e-5)
check("l1：loss_vlb 仍是平方误差", logs_l1["train/loss_vlb"], by_hand, atol=1e-5)
check_raises("构造时就核对名字", lambda: DDPM(**toy_model_config(loss_type="huber")), "l1 / l2")

# %% [markdown]
# **给每个 $t$ 一个可学的尺度：`learn_logvar`。** 默认关着。
#
# 不同的 $t$，误差的大小不同。不想自己定权重，可以让网络学：把误差看作方差为 $e^{s_t}$ 的高斯，负对数似然乘 2、去掉常数，就是
#
# $$\mathcal L_t = \mathrm{mse}_t\,e^{-s_t} + s_t.$$
#
# 每个 $t$ 有一个参数 $s_t$，`learn_logvar=True` 时一起学。对 $s_t$ 求导：$-\mathrm{mse}_t\,e^{-s_t} + 1 = 0$，最优点 $s_t = \ln\mathrm{mse}_t$。二阶导数 $\mathrm{mse}_t\,e^{-s_t} > 0$，所以是最小值。
# 在最优点，第一项等于 1：每个 $t$ 的误差都除以自己平时的大小，各步的损失就拉到了同一个尺度。

# %%
s = np.linspace(-6, 2, 200)
figure = curves_figure((s, {f"mse = {mse}": mse * np.exp(-s) + s for mse in (1.0, 0.1, 0.01)}, "$s$", r"$\mathrm{mse}\cdot e^{-s}+s$"))
figure.axes[0].set_ylim(-5, 6)
figure.axes[0].plot([math.log(mse) for mse in (1, 0.1, 0.01)], [1 + math.log(mse) for mse in (1, 0.1, 0.01)], "o", color="#222222")
figure

# %% [markdown]
# 图：三种大小的误差，损失随 $s$ 的变化，圆点是最低点 $(\ln\mathrm{mse},\ 1+\ln\mathrm{mse})$：mse 为 1、0.1、0.01 时，最小值是 1、−1.3、−3.6。打开 `learn_logvar` 之后，mse 小于 $1/e\approx0.37$ 的地方最小值就是负的，所以损失可能变成负数，这不是错误。

# %%
card("learn_logvar")
learner = DDPM(**toy_model_config(timesteps=4, beta_schedule="cosine", learn_logvar=True))
optimizer = torch.optim.SGD([learner.logvar], lr=4.0)  # 每个 t 占一批的四分之一，步长取 4，最优点附近就近似于牛顿法
t4 = torch.arange(64) % 4
for _ in range(20):
    optimizer.zero_grad()
    learner.p_losses(x_start, t4, noise)[0].backward()  # 只更新 logvar，网络的输出一直是 0
    optimizer.step()
mse = torch.stack([(noise[t4 == k] ** 2).mean() for k in range(4)])
check("学到的 s_t 就是 ln mse_t", learner.logvar.detach(), mse.log(), atol=1e-3)

# %%
card("logvar_init")
shifted = DDPM(**toy_model_config(logvar_init=1.0))
check("损失变成 mse/e + 1", shifted.p_losses(x_start, t, noise)[0], logs["train/loss_simple"] / math.e + 1, atol=1e-5)
check("不学时它是缓冲区，也会存进检查点", "logvar" in shifted.state_dict(), True)

# %% [markdown]
# **算 bits/dim 的五个函数。** 公式在第 6 章，这里逐行对照代码。
#
# ### `kl_constants`

# %%
show_source(kl_constants,
            "def kl_constants", "tables = diffusion_tables", "constants = 0.5")

# %% [markdown]
# - ① 只由噪声表与 `v_posterior` 决定的那部分。
# - ② 混合后的 $\sigma^2$ 与 $\tilde\beta$ 之比；$t=0$ 处用截断过的值。
# - ③ 第 6 章第 2 节公式里的方括号；$t=0$ 是解码项，没有这个常数。
#
# ### `prior_kl`

# %%
show_source(prior_kl,
            "def prior_kl", "cumprod = float")

# %% [markdown]
# - ① $L_T$：第 6 章第 2 节的公式，令 $\sigma^2=1$、$\mu_\theta=0$，$\tilde\mu$ 与 $\tilde\beta$ 换成终点的均值与方差。
# - ② 用 float64 算，`log1p` 在 $\bar\alpha$ 很小时也准。
#
# ### `discretized_gaussian_nll`

# %%
show_source(discretized_gaussian_nll,
            "def discretized_gaussian_nll", "sigma, half", "# 右尾相减会丢光", "log_upper, log_lower")

# %% [markdown]
# - ① 像素是 $[-1,1]$ 上等距的 `levels` 个值；返回负对数概率。
# - ② 每格的半宽是 $1/(\text{levels}-1)$；两端开到无穷。
# - ③ 两个都接近 1 的数相减会丢光有效数字；翻到左尾，它们都接近 0，就没事了。
# - ④ 两个对数已知，求差的对数：大的那个提出来，剩下 `1 - exp(小 - 大)`；`clamp` 防止对 0 取对数。
#
# ### `vlb_terms`

# %%
show_source(vlb_terms,
            "@torch.no_grad()", "check_choice(\"decoder\"", "constants = kl_constants", "with evaluating(model):",
            "x_recon = model.predict_start", "if t == 0:", "else:", "terms.append")

# %% [markdown]
# - ① 返回每一项，单位 nats/dim；$x_t$ 抽自 $q(x_t\mid x_0)$，所以是无偏估计；每个 $t$ 只抽一份，所以有方差。
# - ② 解码器有两种：离散的像素，或连续的高斯。
# - ③ 常数、系数与对数方差都取 float64 的原表。
# - ④ 逐个 $t$ 造出 $x_t$，途中是 eval 模式。
# - ⑤ 猜 $\hat x_0$，与采样时完全相同，包括截断。
# - ⑥ 第 0 步用解码器，均值就是 $\hat x_0$。
# - ⑦ 其余的用第 6 章第 2 节的公式。
# - ⑧ 每张图一个数；最后接上 $L_T$。
#
# ### `bits_per_dim`

# %%
show_source(bits_per_dim,
            "def bits_per_dim")

# %% [markdown]
# - ① 全部加起来，从 nats 换成 bits。

# %% [markdown]
# ## 4　采样、条件与补全
#
# 属于[第 7 章](07_sampling.ipynb)。
#
# ### `Sampling.sample`

# %%
show_source(Sampling.sample,
            "def sample", "check_int(\"batch_size\"")

# %% [markdown]
# - ① 星号之前是参考实现的两个参数，之后的只能按名字给。`heun`、`dpmpp` 与 `spacing`（步怎样取）第 18 章讲。
# - ② 形状由构造时的 `channels` 与 `image_size` 定，其余原样交给第 4 章的循环。
#
# ### `Sampler`

# %%
show_source(Sampler,
            "class Sampler")

# %% [markdown]
# - ① 算三个数的函数、管随机性的旋钮叫什么、没有说走几步时至多走几步；后两项是第 18 章的二阶采样器用的：怎样把走到的 $x_s$ 改得更准，步怎样取。
#
# ### `check_knobs`

# %%
show_source(check_knobs,
            "def check_knobs", "own = SAMPLERS", "# eta=0 是 sample 的默认值", "return knobs.get")

# %% [markdown]
# - ① 采样器的名字与引导的强度，在碰网络之前查完。
# - ② 这个采样器自己的旋钮叫什么。
# - ③ 没有给的不看；给了的查范围。给了别的采样器的旋钮也报错，悄悄忽略会让人误以为它起了作用。
# - ④ 交出自己的那一个。

# %%
model, digits = load_pretrained("mnist"), torch.arange(10)
check_raises("祖先采样没有 eta", lambda: model.sample(1, eta=0.5), "eta")
check_raises("无条件的模型没有引导", lambda: load_pretrained("digits").sample(1, guidance_scale=2.0), "guidance_scale")

# %% [markdown]
# ### `Sampling.starting_noise`

# %%
show_source(Sampling.starting_noise,
            "def starting_noise", "if x_T is None:", "check_sample(\"x_T\"")

# %% [markdown]
# - ① 形状须是四个正整数，通道数与模型相同。
# - ② 没有给起点就抽 $\mathcal N(0, I)$；给了 `generator` 就从它抽，同一个种子在 CPU 与 GPU 上给出同样的起点。
# - ③ 给了起点就核对形状，搬到模型所在的设备。
#
# **条件的三个入口。** 不同的条件用不同的办法交给网络，采样与引导的公式都不变：
#
# | 条件是什么 | 怎样进网络 | `conditioning_key` | 例子 |
# |:--|:--|:--|:--|
# | 一个类别 | 查表变成向量，加到时间嵌入上 | `adm` | 随课程发布的 `mnist`：要 0 到 9 中的一个 |
# | 一张图 | 拼在 $x_t$ 旁边，作输入的通道 | `concat` | 超分辨率：条件是缩小再放大的图；黑白照片上色 |
# | 一串向量，长度不定 | 像素用交叉注意力来查（下一节） | `crossattn` | 文生图：向量是文本编码器（CLIP、T5）的输出 |

# %%
picture = handwriting("../data")[0][7:8]
noisy = model.q_sample(picture, torch.tensor([500]), torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)))[0]
hint = torch.nn.functional.avg_pool2d(picture, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)[0]
conditions_figure(noisy.clamp(-1, 1), hint)

# %% [markdown]
# 图：条件的入口画成橙色，$\hat y$ 是网络的输出，步号 $t$ 从上面进。左：类别变成一个向量，加到 $t$ 的嵌入上，每一层都收得到，但说不清位置。中：条件是图，与 $x_t$ 拼成更多的通道，逐个像素对齐，位置说得最清楚。右：一串词，每个像素自己去查该看哪几个词。训练时三种条件都可以按一定的概率换成“没有”，引导才用得上。
#
# ### `null_condition`

# %%
show_source(null_condition,
            "def null_condition")

# %% [markdown]
# - ① 类别换成 $-1$（嵌入为 0），图像与上下文换成全 0；训练时以 `cond_drop_prob` 的概率这样替换。
#
# **成批地生成。** 要几千张样本时，一次放不进内存。`generate` 分批采样，默认就是 $\eta=0$ 的 DDIM；起点由种子一次抽完，所以 $\eta=0$ 时怎样分批不影响结果。命令行里的 `sample` 就是它：
#
# ```bash
# python -m ddpm_edu sample --ckpt digits --out grid.png --gif walk.gif --steps 50
# python -m ddpm_edu sample --ckpt mnist --out classes.png --labels 0-9 --nrow 10 --guidance 2
# ```

# %%
whole, parts = (generate(model, 10, batch_size=size, seed=7, steps=10, cond=digits, progress=False)[0] for size in (10, 4))
check("一批 10 张与一批 4 张，画出同样的图", whole, parts, atol=1e-3)

# %% [markdown]
# ### `generate`

# %%
show_source(generate,
            "def generate", "check_int(\"num\"", "steps = default_steps",
            "def film(part):", "with bar, model.ema_scope()")

# %% [markdown]
# - ① 比 `sample` 多了批的大小、种子、要不要 EMA、留几帧；默认的采样器是 DDIM。
# - ② 查参数；一个种子定下全部起点，一次抽完。
# - ③ 走几步、留哪几步、怎样分批，都在循环之前算好。
# - ④ 采一批：起点与条件各取这一段，回调拨动进度条，留下该留的 $x_t$；潜空间的模型（第 17 章）先解码。
# - ⑤ 用 EMA 权重（第 11 章），逐批采完再拼起来，末帧就是样本。
#
# ### `inpaint`

# %%
show_source(inpaint,
            "@torch.no_grad()", "check_int(\"repeats\", repeats, 1)", "def noised", "def paste", "for _ in range(repeats - 1",
            "return model.p_sample_loop(known.shape")

# %% [markdown]
# - ① `mask` 为 1 处已知，为 0 处要补。
# - ② 检查输入；未知的像素先换成 0，那里原来写着什么都不看。
# - ③ 加噪：对已知的图，是加到某一步；对 $x_s$，是退回更早的一步。
# - ④ 循环照常走一步，交来 $x_s$，把已知的部分贴回去。走到头时 $\bar\alpha_s=1$，贴的就是原图。
# - ⑤ 一步一共走 `repeats` 遍，所以退回 `repeats - 1` 次；`advance` 是再走一次这一步。
# - ⑥ 循环还是第 4 章的那个循环，只多了一个 `edit`。

# %% [markdown]
# ## 5　U-Net，与条件怎样进网络
#
# 属于[第 8 章](08_unet.ipynb)。
#
# 先是 U-Net 的骨架：
#
# ### `UNet.forward`

# %%
show_source(UNet.forward,
            "def forward", "divisible =", "emb = timestep_embedding", "if (y is None) !=", "skips, h = [], F.pixel_unshuffle",
            "h = self.middle_block", "for stage in self.output_blocks")

# %% [markdown]
# - ① 四样输入：图、步号、可选的上下文（交叉注意力用的一串向量）与类别。
# - ② 通道数与边长不合，就说出应当是什么。
# - ③ 步号先变成向量，再过两层全连接。
# - ④ 类别嵌入直接加到时间嵌入上；该给的没给、不该给的给了，都报错。
# - ⑤ 先把每 `patch_size`² 个像素叠成一个位置（默认是 1，不叠）。下行：每一段的输出都存起来。
# - ⑥ 最底下的一段，边长最小，看得最远。
# - ⑦ 上行：后存的先取，沿通道拼上，再过残差块；最后摊开成像素。
#
# ### `timestep_embedding`

# %%
show_source(timestep_embedding,
            "def timestep_embedding", "half = dim // 2", "angles =")

# %% [markdown]
# - ① 输出是 float32，不管网络是什么精度。
# - ② 频率从 1 降到接近 $1/10000$，等比排列；`freq_shift` 取 1 就同 Ho 等人的原版程序，最低的正好是 $1/10000$，装他们的权重时用。
# - ③ 余弦在前，正弦在后；维数是奇数时补一个 0。
#
# ### `ResBlock`

# %%
show_source(ResBlock,
            "class ResBlock", "def __init__(self, channels", "self.emb_layers =", "self.out_layers =", "same = channels ==", "def forward")

# %% [markdown]
# - ① 输入图与嵌入，输出图；形状写在说明里。
# - ② 第一遍：归一化、激活、卷积。
# - ③ 嵌入变成每个通道一个数。
# - ④ 第二遍的卷积初值为 0：支路一开始等于不存在。
# - ⑤ 通道数不变就原样相加，变了就用 1×1 卷积换算。
# - ⑥ 时间嵌入加在两遍之间：同一通道的所有像素加同一个数。
#
# ### `normalization`

# %%
show_source(normalization,
            "def normalization")

# %% [markdown]
# - ① 最多 32 组，每组至少 4 个通道（通道不到 8 个时只有一组）。`gcd` 保证除得尽。
#
# ### `AttentionBlock`

# %%
show_source(AttentionBlock,
            "class AttentionBlock", "def __init__(self, channels", "self.cross =", "def forward", "h = attend", "return x if")

# %% [markdown]
# - ① 形状不变；有上下文时再做一次交叉注意力。
# - ② `qkv` 用 1×1 卷积一次算出查询、键、值；输出层的初值也是 0。
# - ③ 没有设 `context_dim`，就没有交叉注意力这一层。
# - ④ 把每个像素当作一个词：$(B, C, H, W)$ 展成 $(B, HW, 3C)$。
# - ⑤ `attend` 是多头的缩放点积注意力，交给 PyTorch 的融合实现；再变回图的形状，加到输入上。
# - ⑥ 有上下文，就再做一次交叉注意力：像素作查询，上下文作键和值。
#
# 再看从 `DDPM` 到网络的一路。条件有三种：图沿通道拼到 $x_t$ 后面，文字走交叉注意力，类别加到时间嵌入上。`DiffusionWrapper` 把它们送到各自的入口，给多给少都报错。
#
# ### `DDPM.apply_model`

# %%
show_source(DDPM.apply_model,
            "def apply_model", "if self.use_positional_encodings:", "cond = {} if cond is None", "# 混合精度下")

# %% [markdown]
# - ① 训练与采样都只从这里调用网络。
# - ② 打开开关，就拼上 $x$、$y$ 两个坐标。
# - ③ 条件展开成关键字交给 `DiffusionWrapper`；输出的形状当场核对。
# - ④ 网络用半精度时，后面的公式仍用 float32。
#
# ### `DiffusionWrapper.__init__`

# %%
show_source(DiffusionWrapper.__init__,
            "def __init__", "check_choice(\"conditioning_key\"", "self.diffusion_model =")

# %% [markdown]
# - ① 收两个参数：网络的配方，和条件进网络的方式。
# - ② 当场核对 `conditioning_key`，拼错了就提示。
# - ③ 按配方造网络，不改动配方。网络叫 `diffusion_model`，所以检查点里的键以 `model.diffusion_model.` 开头。diffusers 的网络，同样的参数另有名字，先记下对照。
#
# ### `DiffusionWrapper.forward`

# %%
show_source(DiffusionWrapper.forward,
            "def forward", "wanted, extra =", "for name, value in cond.items():", "out = self.diffusion_model")

# %% [markdown]
# - ① 三种条件，各有各的形状。
# - ② 给的条件必须恰好齐全。多给的若被悄悄忽略，你会以为它起了作用。
# - ③ 怎样进网络，查 `KINDS` 这张小表：没有参数名的沿通道拼，其余按名字交给网络。
# - ④ 调用网络，$x$ 与 $t$ 之外的都按名字给；diffusers 的网络把输出包在对象里，拆开。
#
# ### `drop_condition`

# %%
show_source(drop_condition,
            "def drop_condition", "first = next", "def pick")

# %% [markdown]
# - ① 没有条件，或者不丢，就原样返回。
# - ② 每个样本各抛一次硬币。
# - ③ 丢掉的样本换成“无条件”，其余不变：类别记作 $-1$，上下文与拼接图记作全 0，也写在 `KINDS` 里；几种条件一起丢。
#
# ### `Sampling.guided_output`

# %%
show_source(Sampling.guided_output,
            "def guided_output", "if guidance_scale == 1.0", "null = null_condition")

# %% [markdown]
# - ① 引导的强度 $w$ 由 `guidance_scale` 给。
# - ② $w=1$ 时不必算“无条件”的那一份，省一半的计算。条件若还没有整理过，`as_condition` 先把标签、列表或字典统一成 `Condition`。
# - ③ 用 `null_condition` 造出“无条件”，两份拼成一批，一次调用就算出两个猜测，再沿两者之差外推，这就是无分类器引导 (classifier-free guidance)。
#
# 四张参数卡片，都管网络的入口：

# %%
card("use_positional_encodings")
wide = DDPM(**toy_model_config(unet={"in_channels": 3}, use_positional_encodings=True))
seen = []
wide.model.diffusion_model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
wide.apply_model(torch.zeros(1, 1, 8, 8), torch.tensor([0]))
check("多了两个通道，先是列的坐标，再是行的坐标", torch.stack([seen[0][0, 1, 0], seen[0][0, 2, :, 0]]), torch.linspace(-1, 1, 8).expand(2, 8))
check_raises("U-Net 没有相应加宽", lambda: DDPM(**toy_model_config(use_positional_encodings=True)), "in_channels")

# %%
card("conditioning_key")
by_class = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm"))
x, step, label = torch.zeros(2, 1, 8, 8), torch.tensor([500, 500]), torch.tensor([3, 7])
check_raises("没给条件", lambda: by_class(x), "c_adm")
check_raises("多给了条件", lambda: by_class.apply_model(x, step, {"c_adm": label, "c_concat": x}), "c_concat")

# %%
card("cond_key")
renamed = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm", cond_key="digit"))
check("按 cond_key 从 batch 取条件", renamed.get_condition({"image": torch.zeros(2, 1, 8, 8), "digit": torch.tensor([3, 7])})["c_adm"], [3, 7])

# %%
card("cond_drop_prob")
free = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm", cond_drop_prob=0.1))
dropped = drop_condition({"c_adm": torch.full((20_000,), 3)}, free.cond_drop_prob, torch.Generator().manual_seed(0))["c_adm"]
check("大约一成的标签换成了 -1", (dropped == -1).double().mean(), 0.1, atol=0.01)
check_raises("没有条件可丢", lambda: DDPM(**toy_model_config(cond_drop_prob=0.1)), "cond_drop_prob")

# %% [markdown]
# ### 从配方到网络
#
# 属于[第 9 章](09_init.ipynb)：构造函数里造网络的那一行，背后是下面几个函数。检查点里的类名怎样核对、参数怎样数，也放在这里。
#
# 网络的配方写在配置文件里：一个类名，加上它的参数。类名是字符串，程序要把它变成类再调用。如果什么都肯调用，配置文件就能执行任何命令，例如 `os.system`。所以先确认它是神经网络或调度器的子类，然后才调用。要确认就先得导入，而导入会运行模块里的代码，所以检查点里别人写的名字，不替他导入。
#
# ### `get_class`

# %%
from ddpm_edu import count_params, instantiate_from_config
from ddpm_edu.config import get_class, target_class
from ddpm_edu.files.names import check_names

# %%
show_source(get_class,
            "def get_class", "if not isinstance(target, str)", "module_name, _, class_name", "if found is None", "if not isinstance(found, type)")

# %% [markdown]
# - ① 只认 `kinds` 的子类。
# - ② 写法须是“包.模块.类”。
# - ③ 导入它所在的模块，`import_named` 在导入失败时说出导入的错误。
# - ④ 模块里没有这个名字，多半是拼错了。
# - ⑤ 不是类，或者不是允许的那一类，就拒绝。到此为止只导入了模块，没有调用其中的东西；导入也会运行代码，所以它只用于你自己写下的名字，文件里的名字先过下面的 `check_names`。
#
# ### `check_names`

# %%
show_source(check_names,
            "def check_names", "for target in", "if not at_hand")

# %% [markdown]
# - ① 从检查点取超参数时，先由它检查；通过的类名才交给 `get_class`。
# - ② 逐个看文件里的类名，不论藏得多深；用户自己也写下了的，不用看。
# - ③ 不在手边的就拒绝，并说出办法。可用的须是网络或调度器，只有三种：本包公开的；`torch.nn` 与 `torch.optim` 里的；你自己已经导入的模块里的。
#
# ### `target_class`

# %%
show_source(target_class,
            "def target_class", "if not isinstance(config, Mapping)", "if extra :=")

# %% [markdown]
# - ① 从一份配方里取出要造的类。
# - ② 配方须是字典，须有 `target`。
# - ③ 多出的键多半是缩进写错了，报错；都对了，才交给 `get_class`。
#
# ### `instantiate_from_config`

# %%
show_source(instantiate_from_config,
            "def instantiate_from_config", "config, cls =", "params = {} if", "known = inspect", "try:")

# %% [markdown]
# - ① 名字同参考实现，可接受的种类是我们加的。
# - ② 名字空间换成普通的字典，再由 `target_class` 找到那个类。
# - ③ `params` 可以不写，也可以写成空的。
# - ④ 对照类的签名，挑出不认得的参数名，并列出可用的有哪些；类若收下任意关键字，就不查。
# - ⑤ 缺了必填的参数，报错里有类名和给了的全部参数；齐了才真正地造。类自己抛出的错误原样抛出，保留文件与行号。
#
# ### `count_params`

# %%
show_source(count_params,
            "def count_params", "seen, by_module", "trainable =", "if verbose:")

# %% [markdown]
# - ① 返回值可以当整数用。
# - ② 按最外层的子模块分别计数；同一个参数被两处共用，只数一次。
# - ③ 可训练的另外数，冻结的不算。
# - ④ `verbose=True` 打印逐个子模块的表。
# 参考实现的 `count_params` 只有一个总数，看不出冻结了多少。

# %% [markdown]
# ### 从配方到学习率
#
# 属于[第 12 章](12_lr_scheduler.ipynb)：`scheduler_config` 怎样变成调度器，调度器怎样算出一步的乘数。
#
# ### `make_scheduler`

# %%
from ddpm_edu import LambdaLinearScheduler, LambdaWarmUpCosineScheduler, LambdaWarmUpCosineScheduler2
from ddpm_edu.optim import make_scheduler

# %%
show_source(make_scheduler,
            "def make_scheduler", "kinds =", "if issubclass(", "if optimizer is None:", "return make(optimizer)")

# %% [markdown]
# - ① `optimizer` 为 None 时只做检查，`DDPM` 的构造函数用它来提前发现错误。
# - ② 只认两类：课程的乘数函数，与 PyTorch 自带的调度器。`make` 是预先填好这几个参数的 `instantiate_from_config`。
# - ③ 是不是乘数函数，看它继承自谁，不看名字；是，就包一层 `LambdaLR`。
# - ④ 自带的调度器要有优化器才造得出来，检查时借一个假的。
# - ⑤ 训练开始时，用真正的优化器来造。
#
# ### `LambdaWarmUpCosineScheduler.__init__`

# %%
show_source(LambdaWarmUpCosineScheduler.__init__,
            "def __init__", "self.lr_min =")

# %% [markdown]
# - ① 两个步数都是优化步。衰减的终点若早于热身的终点，当场拒绝。
# - ② 三个乘数，就是公式里的三个 $f$。`verbosity_interval` 是隔多少步记一行日志，0 表示不记。
#
# ### `find_in_interval`
#
# 多周期的两个类共用一个基类 `_CyclicLambda`，先找第 $n$ 步属于哪个周期：

# %%
show_source(LambdaWarmUpCosineScheduler2.find_in_interval,
            "def find_in_interval")

# %% [markdown]
# - ① 在 `cum_cycles`（各个周期的起点）里二分查找。边界那一步算新周期的第 0 步；最后一个周期过后，一直算最后一个。
#
# ### 多周期的 `schedule`

# %%
show_source(LambdaWarmUpCosineScheduler2.schedule,
            "def schedule", "W = self.warm_up_steps[cycle]", "# 热身占满整个周期时", "log_multiplier")

# %% [markdown]
# - ① 先找周期，再算这是周期内的第几步；超过周期的长度就停在末尾。
# - ② 热身段，用这个周期自己的参数。
# - ③ 热身占满周期时没有衰减段；否则算出衰减走了几成，交给子类。
# - ④ 该记日志时记一行，然后返回乘数。
#
# ### 两种 `decay`
#
# 两个子类只差一个函数：走了几成时，乘数是多少。

# %%
show_source(LambdaWarmUpCosineScheduler2.decay,
            "def decay")

# %% [markdown]
# - ① 余弦：`progress` 从 0 到 1，乘数从 $f_{\max}$ 降到 $f_{\min}$。

# %%
show_source(LambdaLinearScheduler.decay,
            "def decay")

# %% [markdown]
# - ① 直线，两端与余弦相同。

# %% [markdown]
# ## 6　评估
#
# 属于[第 15 章](15_evaluation.ipynb)。

# %%
from ddpm_edu.evaluation.metrics import FrechetDistance
from ddpm_edu.evaluation.report import bits_report, evaluate
from ddpm_edu.training.timestep_loss import quarter_losses, quarters, spread

# %% [markdown]
# ### `evaluate`

# %%
show_source(evaluate, "def evaluate", "inception   : 取特征的网络", "check_same_size(model, data_module)", "with model.ema_scope()",
            "if num_samples and frechet is None:", "if num_samples and frechet is not None:")

# %% [markdown]
# - ① 参数：量几张图，画几张样本，走几步，用不用 EMA。
# - ② 有 Inception 的权重就另算 FID 与 KID；返回的字典里全是数，可以直接存成 JSON。
# - ③ 尺寸、张数、种子，在算任何东西之前查完。
# - ④ 用 EMA 权重，从测试划分固定地选出一批图，算 bits/dim。像素的级数取自数据模块，还要核对像素是不是真在那些级上：不在，算出来的就不是编码长度。潜空间的模型（第 17 章）给的是潜变量的密度，换不成图的编码长度，这一项不算。
# - ⑤ 没有给 Fréchet 的打分器就取一个：数字有随包的分类器，别的数据现训一个，没有标签的就不算。
# - ⑥ 打分，连两条参照线一起写进报告；真图的参照线也取同样多张。给了 Inception 的网络，就用同一批样本另算 FID 与 KID，真图是训练划分（[91 章](91_troubleshooting.ipynb)“为什么我的 FID 对不上”）。
#
# ### `bits_report`

# %%
show_source(bits_report, "def bits_report", "bar = progress_bar", "hook = model.model.register_forward_hook(tick)", "total = terms.sum(1)")

# %% [markdown]
# - ① 输入是若干批（图，条件）；返回总数、标准误和三个部分，单位都是 bits/dim。至少要两张图，否则谈不上标准误。
# - ② 进度条按“网络被调用几次”来数。
# - ③ 用一个前向钩子推动进度条，算完无论成败都摘掉；各批的结果首尾相接。
# - ④ 每张图先把各项加起来（`terms.sum(1)`），再对图求平均；标准误是各图的标准差除以 $\sqrt N$。
#
# ### `FrechetDistance`

# %%
show_source(FrechetDistance, "class FrechetDistance:", "def __init__", "@torch.no_grad()", "def __call__", "def floor")

# %% [markdown]
# - ① 距离在小分类器的特征上算，不在像素上算。
# - ② 真图的特征只算一次，记下来。
# - ③ 取倒数第二层的 32 个数；样本先截到 $[-1,1]$，分块过网络。
# - ④ 求样本的特征与真图的特征之间的距离。
# - ⑤ 两条参照线：训练用的真图（不给 `train` 就用全部，要与 $N$ 张样本比就给它 $N$ 张），与纯噪声的得分。
#
# ### `quarter_losses`

# %%
show_source(quarter_losses, "def quarter_losses", "noise = torch.randn", "for number, (start, stop)")

# %% [markdown]
# - ① 用名字固定的随机数发生器：每次调用，噪声都相同，也不动全局的随机数。
# - ② 噪声在 CPU 上抽，搬到数据所在的设备，换了机器也一样。
# - ③ 四段各铺开一批 $t$，用训练的损失 `p_losses` 去量；空的那段跳过。
#
# ### `quarters`

# %%
show_source(quarters, "def quarters")

# %% [markdown]
# - ① 把 $0..T-1$ 分成四段，每段含起点、不含终点。
#
# ### `spread`

# %%
show_source(spread, "def spread")

# %% [markdown]
# - ① 在一段里均匀地铺开 `count` 个步号，每次都是同样的几个。
#
# ### `gaussian_nll`

# %%
show_source(gaussian_nll, "def gaussian_nll")

# %% [markdown]
# - ① 连续数据没有格子，所以没有 `levels`；返回高斯密度的负对数 $\tfrac12[\ln 2\pi+\ln\sigma^2+(x-\mu)^2/\sigma^2]$。
#
# 它给出的 bits/dim 不能与离散的比。格宽 $\delta$ 远小于标准差时，格子里的概率约等于密度乘格宽，所以离散的比特数约等于连续的减去 $\log_2\delta$；$[-1,1]$ 上分 256 级，相差将近 7 比特。连续的还会随单位变，也可以是负的。

# %% [markdown]
# ## 7　构造函数：签名、设定与参数卡片
#
# 属于[第 9 章](09_init.ipynb)：那一章读造东西的三段，其余的在这里。“原文件”指 latent-diffusion 与 Stable Diffusion 2 的 `ddpm.py`。

# %%
import os
import tempfile

from ddpm_edu.files.checkpoint import save_checkpoint
from ddpm_edu.teach import card_index

os.chdir(tempfile.mkdtemp())  # 在临时目录里存文件，不弄脏课程的文件夹
model = DDPM(**toy_model_config())
save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, "toy.ckpt")

# %% [markdown]
# ### `DDPM.__init__` 的签名
#
# 一共 37 个构造参数，必填的只有第一个。前 27 个的名字、次序、默认值照 latent-diffusion 的，只有 `ignore_keys` 的空列表换成了空元组；Stable Diffusion 2 又添的四个没有收。
# 管同一件事的参数不一定挨在一起，下面分成 12 组读。
# 网络怎样按配方造出来、参数怎样数，在第 5 节的末尾。

# %%
show_source(DDPM.__init__,
            "@suggest_keywords", "timesteps: int = 1000", "loss_type: str", "use_ema: bool = True",
            "first_stage_key: str", "log_every_t: int", "linear_start: float", "original_elbo_weight: float",
            "conditioning_key: str | None", "use_positional_encodings: bool", "learning_rate: float", "cond_key: str",
            stop="):")

# %% [markdown]
# - ① 装饰器 `suggest_keywords` 在名字拼错时指出最接近的那个。`unet_config` 是网络的配方，唯一必填。
# - ② 噪声表：走多少步，每一步掺多少噪声。第 2 章。
# - ③ 损失的形式（第 6 章）；从哪个检查点载入权重、略过哪些键、是否只取网络；按哪个指标挑最好的检查点（第 10 章）。
# - ④ 要不要指数滑动平均 (EMA)：另存一份平滑过的权重，采样时用它。第 11 章。
# - ⑤ 数据：图像在 batch 里的键、边长、通道数。
# - ⑥ 采样时隔多少步留一张中间结果，以及要不要把猜测截到 $[-1,1]$。
# - ⑦ 噪声表的细节；`given_betas` 可以直接给出整张表。
# - ⑧ 总损失的两个权重，中间夹着 `v_posterior`：它决定采样的每一步掺回多少噪声，就是第 0 章里拖过的那个滑块。第 4 章与第 6 章。
# - ⑨ 条件怎样进网络，网络预测什么，学习率怎样变。第 8、5、12 章。
# - ⑩ 坐标通道（把像素的位置也告诉网络，第 8 章）与可学的对数方差（让损失自己学每个 $t$ 该占多重，第 6 章），然后是一个星号：它后面的参数只能按名字给。
# - ⑪ 优化器、EMA 衰减、随机数种子、$t$ 的抽法。原文件的 `__init__` 没有这几个。
# - ⑫ 条件在 batch 里的键，训练时丢掉条件的概率；最后两个是后来的改进，噪声表的终点改不改成纯噪声，损失用不用 min-SNR 的权重，第 18 章讲。

# %% [markdown]
# <details><summary>原文件的配置能不能搬过来</summary>
#
# 写给 `DDPM` 的关键字参数可以照搬，要换的是配方里写的类名：`unet_config` 换成课程版的网络，例如 `ddpm_edu.UNet`；`scheduler_config` 换成课程版同名的调度器。
# 原文件的 YAML 多半是写给 `LatentDiffusion` 的，不能直接交给 `DDPM`。
#
# </details>
#
# ### 存设定的那些行
#
# 它们在第 9 章第 5 节的第一段与第二段之间，一边存一边核对。
# 这一段造的新东西只有两样：③ 由噪声表算出的 `simple_weights`（所以要在噪声表之后），⑤ 计数用的 `batches_seen`。其余各行都是“核对，然后存下”，第一遍可以快些读。

# %%
show_source(DDPM.__init__,
            "self.loss_type =", "self.first_stage_key =", "self.original_elbo_weight = check_float",
            "self.use_positional_encodings =", "self.batches_seen", stop="self.cond_drop_prob =")

# %% [markdown]
# - ① 损失的名字当场核对；原文件要到训练的第一步才核对。`monitor` 是 None 时不挑选检查点；没有 EMA 却要看带 `_ema` 的指标，当场拒绝。
# - ② 图的键、边长、通道数，与采样的两个设定。`check_int` 连 `True` 和 `2.5` 也拦得住。
# - ③ 总损失的两个权重。两个都是 0 时损失恒为 0，训练什么也不做，原文件不会提醒。min-SNR 的权重（第 18 章）算好存成缓冲区，不进检查点。
# - ④ 坐标通道的开关、优化器的设定、随机数种子。`adam_betas` 是 AdamW 一阶、二阶矩的衰减系数，与噪声表的 $\beta$ 只是同名。
# - ⑤ `batches_seen` 是见过几批数据。训练的随机数由它和 `seed` 决定（多卡时还有进程号），它存在检查点里，所以中断后接着训练，结果逐位相同。后面两行是 $t$ 的抽法与丢条件的概率。

# %% [markdown]
# ### 参数卡片
#
# 每个构造参数都有一张卡片，写着含义、公式、在哪里用到、会出什么错；索引写着它在哪一章。其余各节没有放的八张，跟在索引后面。

# %%
card_index()

# %%
card("unet_config")
broken = {"target": "ddpm_edu.UNetModel", "params": {}}
check_raises("类名写错", lambda: DDPM(**toy_model_config(unet_config=broken)), "unet_config.target")
check_raises("参数名写错", lambda: DDPM(**toy_model_config(unet={"modle_channels": 8})), "modle_channels")

# %%
card("first_stage_key")
labelled = DDPM(**toy_model_config(first_stage_key="picture"))
image = torch.zeros(2, 1, 8, 8)
check("键对上就能取到图像", labelled.get_input({"picture": image}, "picture"), image)
check_raises("键不对，错误列出有哪些", lambda: labelled.shared_step({"image": image}), "first_stage_key")

# %%
card("image_size")
sample = DDPM(**toy_model_config(image_size=16)).sample(1, sampler="ddim", steps=2)
check("image_size=16 就采出 16×16", sample.shape[-1], 16)
check_raises("训练时也核对", lambda: model.shared_step({"image": torch.zeros(2, 1, 28, 28)}), "image_size")

# %%
card("channels")
color = {"in_channels": 3, "out_channels": 3}
rgb = DDPM(**toy_model_config(unet=color, channels=3))
check("channels=3 就采出三个通道", rgb.sample(1, sampler="ddim", steps=2).shape[1], 3)
check_raises("与网络不合", lambda: DDPM(**toy_model_config(channels=3)), "in_channels")

# %%
card("log_every_t")
for log_every_t in (100, 250):
    watcher = DDPM(**toy_model_config(log_every_t=log_every_t))
    _, frames = watcher.sample(1, True, sampler="ddim", steps=20)
    print(f"log_every_t={log_every_t}：20 步的采样留下 {len(frames)} 帧（含起点）")
check("间隔 250：起点、第一步，之后每 5 步一帧", len(frames), 1 + 1 + 20 // 5)

# %%
def same_weights(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.model.parameters(), other.model.parameters()))


card("ckpt_path")
check("网络的每个权重都载入了", same_weights(DDPM(**toy_model_config(ckpt_path="toy.ckpt")), model), True)

# %%
card("load_only_unet")
unet_only = DDPM(**toy_model_config(ckpt_path="toy.ckpt", load_only_unet=True))
check("网络的权重真的载入了", same_weights(unet_only, model), True)
shadow = unet_only.model_ema.shadow["diffusion_model/time_embed/0/weight"]
check("EMA 从载入的权重开始，不是随机数", shadow, model.model.diffusion_model.time_embed[0].weight)

# %%
card("ignore_keys")
torch.manual_seed(1)
keep_out = DDPM(**toy_model_config(ckpt_path="toy.ckpt", ignore_keys=["model.diffusion_model.time_embed", "model_ema."]))
loaded = keep_out.model.diffusion_model
check("其余的载入了", loaded.input_blocks[0][0].weight, model.model.diffusion_model.input_blocks[0][0].weight)
difference = (loaded.time_embed[0].weight - model.model.diffusion_model.time_embed[0].weight).abs().max()
check("略过的没有载入，还是随机的初值", difference > 0, True)
check_raises("没有一个键以它开头", lambda: DDPM(**toy_model_config(ckpt_path="toy.ckpt", ignore_keys=["unet."])), "unet.")

# %% [markdown]
# ## 8　训练的一步，存与取
#
# 属于[第 10 章](10_training.ipynb)与[第 11 章](11_ema.ipynb)，次序照训练的一步：取图，抽 $t$，求损失，更新，验证，看样本；最后是检查点与 EMA 的存取。

# %%
from ddpm_edu import LitEma
from ddpm_edu.ema import averaged_tensors
from ddpm_edu.files.persistence import Persistence
from ddpm_edu.images import log_images
from ddpm_edu.optim import make_optimizer
from ddpm_edu.randomness import isolated_rng
from ddpm_edu.training.stopping import StopOnBadGradient

# %% [markdown]
# ### `DDPM.shared_step`

# %%
show_source(DDPM.shared_step,
            "def shared_step", "cond = as_condition")

# %% [markdown]
# - ① 训练与验证共用；没有条件时直接调用自己，也就是 `forward`。
# - ② 有条件就取出来、整理一次，训练时按概率丢掉。
#
# ### `DDPM.get_input`

# %%
show_source(DDPM.get_input,
            "def get_input", "if not x.is_floating_point", "# 在 GPU 上看一眼")

# %% [markdown]
# - ① 从字典里取出图像，记下 CHW 与 HWC 各该是什么形状。
# - ② 核对类型与形状；两种形状恰好相同、分不清时，不猜。
# - ③ 核对值域，只在 CPU 上看：用 `Trainer` 训练时，数据搬上 GPU 之前已经看过。最后换成 CHW，换成网络的精度。
#
# ### `DDPM.forward`

# %%
show_source(DDPM.forward,
            "def forward")

# %% [markdown]
# - ① 抽一批 $t$，交给 `p_losses`。
#
# ### `DDPM.draw_t`

# %%
show_source(DDPM.draw_t,
            "def draw_t", "if self.t_sampling ==", "return (u * self.num_timesteps)")

# %% [markdown]
# - ① 先抽 $[0,1)$ 上的均匀数。
# - ② 分层抽样：第 $i$ 段的起点是 $i/B$，段内的位置是 $u/B$；段的次序打乱。
# - ③ 放大成步号。舍入可能恰好碰到 $T$，所以截断。
#
# ### `isolated_rng`

# %%
show_source(isolated_rng,
            "@contextlib.contextmanager", "generators = global_generators", "finally:")

# %% [markdown]
# - ① 写在 `with` 后面，管住一个范围。
# - ② 按键给两个发生器播种：CPU 的，与模型所在设备的。别的显卡可能有别的模型正在用，不碰。
# - ③ 离开时恢复原状，出错也一样。
#
# ### `make_optimizer`

# %%
show_source(make_optimizer,
            "def make_optimizer", "groups = [", "# fp16 要缩放梯度")

# %% [markdown]
# - ① 只取要求梯度的参数；一维的单独放，logvar 也在其中。
# - ② 分两组，权重衰减只给第一组（第 10 章第 4 节）。
# - ③ 融合版 (fused) 的 AdamW 把整个更新合成一次计算，fp16 混合精度下它不能裁剪梯度，不用。最后一行关掉 Lightning 看的标记，bf16 时才裁剪得了。
#
# ### `StopOnBadGradient._stop`

# %%
show_source(StopOnBadGradient._stop,
            "def _stop", stop="what = gradient")

# %% [markdown]
# - ① 停下时报哪一种错：损失也坏了，就报损失；损失正常，才报梯度，写明是哪些参数。
#
# ### `DDPM.setup`、`DDPM.configure_callbacks` 与 `DDPM.validation_step`

# %%
show_source(DDPM.setup,
            "def setup")

# %% [markdown]
# - ① 换上我们的存取方式：先写临时文件再改名，附上校验和，读时核对。

# %%
show_source(DDPM.configure_callbacks,
            "def configure_callbacks")

# %% [markdown]
# - ① 自动带上三个回调：安全停下、检查 NaN、按 `monitor` 挑检查点。

# %%
show_source(DDPM.validation_step,
            "def validation_step")

# %% [markdown]
# - ① 验证与测试只差名字，都交给 `_evaluate`（第 10 章第 8 节）。
#
# ### `DDPM.log_images`

# %%
show_source(DDPM.log_images,
            "@torch.no_grad()")

# %% [markdown]
# - ① 返回一个字典：原图、加噪的过程、样本、去噪的过程。实现是同名的函数：

# %%
show_source(log_images,
            "def log_images", "with isolated_rng", "kwargs.setdefault", "columns =")

# %% [markdown]
# - ① 核对要哪些键；要的张数多于这一批，就有几张算几张。
# - ② 随机数固定；有条件就从 batch 里取。`decode_first_stage` 在像素上什么也不做，第 17 章才用上。
# - ③ 默认只走 50 步，用 EMA 权重；样本截到 $[-1,1]$。
# - ④ 加噪的过程与去噪的过程，画同样多的帧；最后只返回要的那几项。
#
# ### `Persistence.init_from_ckpt`
#
# 构造参数 `ckpt_path` 调用的就是它。

# %%
show_source(Persistence.init_from_ckpt,
            "def init_from_ckpt", "check_ignore_keys(ignore_keys)", "has_ema =", "states = matching_states", "if self.use_ema and not has_ema:")

# %% [markdown]
# - ① 名字与参数同参考实现。
# - ② 安全地读文件；别处来的前缀（`module.`、`_orig_mod.`）先去掉；噪声表、参数化不同就拒绝。只取网络时，留下 `model.` 开头的键。
# - ③ 可以缺的只有能重新算出的表、可以重新开始的 EMA；只取网络或不学 logvar 时，还有 logvar。
# - ④ 逐键核对，多了、少了、形状不同都是错误。核对过才载入，所以 `strict=False`；出错时写明文件名。
# - ⑤ 没有 EMA，就从取到的权重重新开始。
#
# ### `averaged_tensors`

# %%
show_source(averaged_tensors,
            "def averaged_tensors", "named = [")

# %% [markdown]
# - ① EMA 平均哪些张量：浮点的参数和缓冲区，BatchNorm 的均值与方差也算。参数名里不许有点，所以换成斜杠。
# - ② 冻结的也在内，以后解冻时，影子已经在那里。`torch.compile` 加的前缀先去掉。
#
# ### `LitEma.copy_to`

# %%
show_source(LitEma.copy_to,
            "@torch.no_grad()")

# %% [markdown]
# - ① 按名字把影子逐个抄进网络，原来的权重就没了，所以先要 `store`。
#
# ### `LitEma.store`

# %%
show_source(LitEma.store,
            "@torch.no_grad()", "self._backups.append")

# %% [markdown]
# - ① 可以存一个模块，也可以存一串参数。
# - ② 压进栈里，后存先取，所以能嵌套。
#
# ### `LitEma.restore`

# %%
show_source(LitEma.restore,
            "@torch.no_grad()", "for parameter, backup")

# %% [markdown]
# - ① 没存过就取，当场报错；给的不是当初存的那些张量，也报错，存下的那一份还在。
# - ② 取回最近一次存的，逐个抄回，备份随即释放。

# %% [markdown]
# ## 小结
#
# - **这一本的问题**：书里的公式，一行一行落在代码的什么地方？
# - **答案**：噪声表与系数表在 `schedules` 与 `gaussian`，三种目标的差别收在 `objectives`，损失在 `ddpm.DDPM.p_losses`，倒着走的一步在 `sampling`，网络在 `unet`；下界与评估各有一个小文件，只借用前面这些。
# - 每个函数先核对输入，再做事；报错都写明是哪个参数、规则是什么、来的是什么。
#
# ## 练习
#
# 这一本没有习题，各章的习题就是它的练习。
