# %% [markdown]
# # 06 · 损失与权重
#
# 前几章训练时，损失是噪声的均方误差，每个 $t$ 一样重。这一章回答三个问题：这个损失从哪里来？照推导，每个 $t$ 该有多重？为什么实际上不照推导的来？
#
# 先看第三个问题有多要紧。同一个小网络学第 1 章的月牙，各训练 1500 步，再去造点；附近没有真点的，叫造错的点，表里是它们占多少（八个种子，± 后是标准误）。推导出的权重 $w_t$ 先除以平均：
#
# | 权重 | 怎样用 | 造错 |
# |:--|:--|--:|
# | **全取 1** | 均匀地抽 $t$，误差不加权 | 4.6 ± 0.1% |
# | 推导出的，**乘** | 均匀地抽 $t$，误差乘上 $w_t$ | 14.6 ± 0.3% |
# | 推导出的，**抽** | 抽中 $t$ 的机会是 $w_t/T$，误差不乘 | 3.0 ± 0.1% |
#
# 后两种，损失的期望相等：平均起来，第 $t$ 步的误差都乘了 $w_t/T$。
#
# 同样的权重，换一种用法，就从最坏变成最好，第 4 节查明原因。可是换成手写数字，“抽”又输给了“全取 1”，原因没有查明。
#
# **学习目标**
#
# - 从似然出发，推出变分下界，拆成 $L_T$、$L_{t-1}$、$L_0$ 三部分。
# - 推出三种目标、任意 `v_posterior` 的权重，说出为什么实际上全取 1。
# - 读懂 `p_losses`，会把下界换算成 bits/dim。
#
# **预计用时** 55 分钟。运行全部单元约一分钟。

# %%
import math

import numpy as np
import torch

from ddpm_edu import DDPM, GaussianDiffusion, load_pretrained, make_beta_schedule
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.likelihood import kl_constants, vlb_terms
from ddpm_edu.teach import card, check, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.diagrams import chain_figure
from ddpm_edu.teach.figures import GRAY, ORANGE
from ddpm_edu.teach.loss_figures import digits_figure, effective_figure, made_figure, spent_figure
from ddpm_edu.teach.moons import astray, moons
from ddpm_edu.teach.panels.weights import effective_share, weights_panel

betas = make_beta_schedule("sqrt_linear", 1000)  # 论文的噪声表
print("准备好了")

# %% [markdown]
# ## 1　从似然到变分下界
#
# 我们希望模型给真实的图很高的概率 $p_\theta(x_0)$，也就是要 $-\ln p_\theta(x_0)$ 小。模型是从 $x_T$ 一步步退回 $x_0$ 的，所以要把这个数分摊到每一步上。先看结果：

# %%
image, steps = handwriting("../data")[0][3:4], torch.tensor([20, 250, 400, 999])
noise = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
noised = GaussianDiffusion().q_sample(image.expand(4, -1, -1, -1), steps, noise)
terms = {0.5: ("$L_0$\n猜得出 $x_0$ 吗", ORANGE), 2.5: ("$L_{t-1}$\n退一步退得对吗", ORANGE), 4: ("$L_T$\n终点是纯噪声吗", GRAY)}
chain_figure([image[0], *noised], ["$x_0$", "$x_1$", "$x_{t-1}$", "$x_t$", "$x_T$"], "加噪 $q$", r"去噪 $p_\theta$", below=terms, gaps=(1, 3))

# %% [markdown]
# 图：要压低的数分成三种，各管链上的一段。$L_{t-1}$ 看中间退一步退得对不对，每一步有一项；$L_0$ 看最后一步猜得准不准，也叫解码项；$L_T$ 看终点离标准高斯多远，没有可学的东西。
#
# $p_\theta(x_0)$ 要对中间的 $x_1,\dots,x_T$ 求积分，算不出来。
# 办法是借用加噪过程 $q$，先乘一个 $q$、再除以一个 $q$，积分就成了对 $q$ 的期望；再用 Jensen 不等式（$-\ln$ 是凸函数）：
#
# $$-\ln p_\theta(x_0) = -\ln\mathbb E_{q}\!\left[\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right] \le \mathbb E_q\!\left[-\ln\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right] =: L.$$
#
# $-L$ 就是 $\ln p_\theta(x_0)$ 的下界，所以叫变分下界 (variational lower bound, VLB)，也叫 ELBO (evidence lower bound)。习惯上把 $L$ 本身也叫下界，它越小越好。
#
# 下面用论文的下标，$t=1,\dots,T$。模型的联合概率是 $p_\theta(x_{0:T})=p(x_T)\prod_{t\ge1}p_\theta(x_{t-1}\mid x_t)$，其中 $p(x_T)=\mathcal N(0,I)$ 没有参数，$t\ge2$ 的因子是高斯 $\mathcal N(\mu_\theta,\sigma_t^2)$；最后一步 $p_\theta(x_0\mid x_1)$ 怎样取，第 3 节与第 6 节再定。$q$ 也是一步步的，两个连乘相除：
#
# $$L = \mathbb E_q\!\left[-\ln p(x_T) - \sum_{t\ge1}\ln\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_t\mid x_{t-1})}\right].$$
#
# 分子往回退，分母往前走，比不了。所以对 $t\ge2$ 用贝叶斯公式把 $q$ 掉过头来。只是 $q(x_{t-1}\mid x_t)$ 写不出来（第 4 章），要先添上条件 $x_0$；加噪过程是马尔可夫的，添了也不变：
#
# $$q(x_t\mid x_{t-1}) = q(x_t\mid x_{t-1}, x_0) = \frac{q(x_{t-1}\mid x_t, x_0)\,q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)}.$$
#
# $t=1$ 的一项不动，它的分母是 $q(x_1\mid x_0)$。代进去：
#
# $$L = \mathbb E_q\Big[\underbrace{-\ln p(x_T)}_{①} \underbrace{{}-\sum_{t\ge2}\ln\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_{t-1}\mid x_t,x_0)}}_{②} + \underbrace{\sum_{t\ge2}\ln\frac{q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)}}_{③} \underbrace{{}-\ln p_\theta(x_0\mid x_1)}_{④} + \underbrace{\ln q(x_1\mid x_0)}_{⑤}\Big].$$
#
# 把五项归拢成三种：
#
# - **终点**：③ 首尾相消，剩 $\ln q(x_T\mid x_0)-\ln q(x_1\mid x_0)$，后一半与 ⑤ 抵消。前一半与 ① 合成一个比，对 $x_T$ 求期望，就是 KL，得 $L_T$。
# - **中间**：② 里的每一项，固定 $x_t$ 与 $x_0$，对 $x_{t-1}$ 求期望，也是 KL，得 $L_{t-1}$。
# - **开头**：④ 没有可比的，原样留下，就是 $L_0$。
#
# $$L = \underbrace{\mathrm{KL}\big(q(x_T\mid x_0)\,\|\,p(x_T)\big)}_{L_T} + \sum_{t\ge2}\underbrace{\mathbb E_q\,\mathrm{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\|\,p_\theta(x_{t-1}\mid x_t)\big)}_{L_{t-1}} + \underbrace{\mathbb E_q[-\ln p_\theta(x_0\mid x_1)]}_{L_0}.$$

# %% [markdown]
# ## 2　每一步的 KL 是加权的平方误差
#
# **从这里起，步号照代码从 0 数起**，比论文的少 1：
#
# | 论文 | 代码 |
# |:--|:--|
# | $L_0$ | 第 0 步的一项，仍记作 $L_0$ |
# | $L_{t-1}$，$t\ge2$ | 第 $t-1$ 步的 $\mathrm{KL}_{t-1}$ |
# | $L_T$ | 终点，不属于哪一步 |
#
# $\mathrm{KL}_t$ 比较两个高斯。各维独立，KL 相加，所以只写一维：$\mathrm{KL}\big(\mathcal N(\tilde\mu,\tilde\beta)\,\|\,\mathcal N(\mu_\theta,\sigma^2)\big)$。
# 写出两个对数密度之差，让 $y$ 服从前者，求期望，用 $\mathbb E(y-\mu_\theta)^2 = \tilde\beta + (\tilde\mu-\mu_\theta)^2$：
#
# $$\mathrm{KL} = \underbrace{\tfrac12\left[\ln\frac{\sigma^2}{\tilde\beta} + \frac{\tilde\beta}{\sigma^2} - 1\right]}_{\text{与网络无关的常数}} + \frac{(\tilde\mu-\mu_\theta)^2}{2\sigma^2}.$$
#
# 第 4 章的后验均值是 $\tilde\mu=c_1x_0+c_2x_t$，其中 $c_1=\sqrt{\bar\alpha_{t-1}}\,\beta_t/(1-\bar\alpha_t)$；模型把 $x_0$ 换成自己的猜测，所以 $\tilde\mu-\mu_\theta = c_1(x_0-\hat x_0)$。于是
#
# $$\mathrm{KL}_t = \text{常数}_t + w_t^{x_0}\,(x_0-\hat x_0)^2,\qquad w_t^{x_0} = \frac{c_1^2}{2\sigma_t^2}.$$
#
# 模型的方差 $\sigma_t^2$ 照 `v_posterior` 混合：取 0 是 $\tilde\beta_t$，取 1 是 $\beta_t$，中间按比例。取 $\tilde\beta_t$ 时，常数是 0。

# %% [markdown]
# ## 3　三种目标的权重
#
# 网络预测的若是 $\varepsilon$ 或速度 $v$，把误差换算到 $x_0$ 上（第 5 章）：$(x_0-\hat x_0)^2 = (\varepsilon-\hat\varepsilon)^2/\mathrm{SNR} = (1-\bar\alpha)(v-\hat v)^2$。于是
#
# $$w^{\varepsilon}_t = \frac{w^{x_0}_t}{\mathrm{SNR}_t} = \frac{\beta_t^2\,\bar\alpha_{t-1}}{2\sigma_t^2(1-\bar\alpha_t)^2}\cdot\frac{1-\bar\alpha_t}{\bar\alpha_t} = \frac{\beta_t^2}{2\sigma_t^2\alpha_t(1-\bar\alpha_t)},\qquad w^{v}_t = (1-\bar\alpha_t)\,w^{x_0}_t.$$
#
# $w^\varepsilon_t$ 就是论文式 (12) 里平方误差前的系数。
#
# 方差取 $\tilde\beta_t$ 时，权重有一个直观的意思。代入 $c_1$ 与 $\tilde\beta_t$，再用 $\beta_t\bar\alpha_{t-1}=\bar\alpha_{t-1}-\bar\alpha_t$：
#
# $$w^{x_0}_t = \frac{\beta_t\,\bar\alpha_{t-1}}{2(1-\bar\alpha_t)(1-\bar\alpha_{t-1})} = \frac{\bar\alpha_{t-1}-\bar\alpha_t}{2(1-\bar\alpha_t)(1-\bar\alpha_{t-1})} = \tfrac12\left(\mathrm{SNR}_{t-1}-\mathrm{SNR}_t\right).$$
#
# 也就是说，权重与这一步丢掉的信噪比成正比。把 $t\ge1$ 的权重加起来，首尾相消，只剩 $\tfrac12(\mathrm{SNR}_0-\mathrm{SNR}_{T-1})$。
#
# 到第 5 节为止，$p_\theta(x_0\mid x_1)$ 也取高斯，$L_0$ 的权重就照同样的公式；只是 $\tilde\beta_0=0$ 不能作除数，照约定用 $\tilde\beta_1$ 代替。第 6 节换成像素落在一格里的概率。

# %%
def weights(parameterization, v_posterior=0.0, table=betas):
    return diffusion_tables(table, v_posterior, parameterization)["lvlb_weights"]


bar = diffusion_tables(betas)["alphas_cumprod"]
snr = bar / (1 - bar)
check("w_x0 = ½(SNR_{t-1} - SNR_t)", weights("x0")[1:] / (0.5 * (snr[:-1] - snr[1:])), np.ones(999), atol=1e-7)
for name in ("eps", "x0", "v"):
    print(f"{name}：前 30 步占 {weights(name)[:30].sum() / weights(name).sum():.1%}")
weights_panel()

# %% [markdown]
# 图：推导出的权重，一大份压在少数几步上。左边是权重，右边是从 $t=0$ 加到这一步，占总数的几成。上排是论文的噪声表 `sqrt_linear`，三种目标都重在开头。下排是 `cosine`，`eps` 却重在最后一步，那里 $\alpha_t$ 只有 0.001，而它在 $w^\varepsilon$ 的分母里。

# %% [markdown]
# ## 4　为什么实际上全取 1
#
# 第 0 步也用高斯时，变分下界是加权的噪声误差；论文的简化损失把权重全换成了 1：
#
# $$L = \text{常数} + \sum_t w^\varepsilon_t\,\mathbb E(\varepsilon-\hat\varepsilon)^2, \qquad L_{\text{simple}} = \mathbb E_t\,\mathbb E(\varepsilon-\hat\varepsilon)^2.$$
#
# 网络若足够强，每个 $t$ 各自取到最优，正的权重怎么取都不改变最优解。网络和训练都有限，权重才要紧。
#
# 开头的三种用法，下面各练一个；“抽”叫重要性采样 (importance sampling)。

# %%
moon, held_out = moons(4000, seed=0)[0], moons(4000, seed=1)[0]
config = {"unet_config": {"target": "ddpm_edu.teach.moons.MoonDenoiser"}, "image_size": 1, "channels": 2,
          "beta_schedule": "sqrt_linear", "clip_denoised": False, "use_ema": False}
derived, even = DDPM(**config).lvlb_weights, torch.ones(1000)


def learn_moons(chances, steps=600, **loss_weights):
    torch.manual_seed(0)
    model = DDPM(**config, **loss_weights)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        t = torch.multinomial(chances, 512, replacement=True)  # 抽中的机会与 chances 成正比
        loss, _ = model.p_losses(moon[torch.randint(len(moon), (512,))][..., None, None], t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return model.eval().sample(2000, steps=50, generator=torch.Generator().manual_seed(0), progress=False).flatten(1)


# %%
# NBVAL_IGNORE_OUTPUT
made = {
    "全取 1": learn_moons(even),
    "乘": learn_moons(even, l_simple_weight=0.0, original_elbo_weight=1 / float(derived.mean())),
    "抽": learn_moons(derived),
}
made_figure(made, {name: astray(cloud, held_out) for name, cloud in made.items()}, held_out)

# %% [markdown]
# 图：同样的权重，乘在误差上最糟，照它抽 $t$ 最干净。灰影是真的点，橙色是造错的点，蓝色是其余造出的点。为了快，这里只有一个种子，练 600 步，采样 50 步；开头的表是八个种子，练 1500 步，采样 200 步。
#
# ### 原因一：乘上权重，顶用的样本就少了
#
# “乘”是均匀地抽 $t$，一批里只有少数几个样本的权重大，梯度主要由它们定。
# 若各个 $t$ 的梯度差不多大，$N$ 个样本加权平均，只抵得上这么多个样本直接平均，叫有效样本数 (effective sample size)：
#
# $$N\,\frac{\left(\sum_t w_t\right)^2}{T\sum_t w_t^2}.$$

# %%
for name in ("eps", "x0", "v"):
    print(f"{name}：一批 512 个样本，乘上推导出的权重，只抵 {512 * effective_share(weights(name)):.1f} 个")

# %% [markdown]
# “抽”不给样本加权，512 个都算数。若“乘”真的坏在有效样本太少，批放大八倍，造错就该降下来；而“全取 1”与“抽”，一批只给四十来个样本，造错就该升到与它差不多。

# %%
effective_figure({  # 每个点四样：批，有效样本，造错的百分数，标准误
    "全取 1": ((41, 41, 17.2, 0.5), (128, 128, 10.7, 0.5), (512, 512, 4.6, 0.1), (4096, 4096, 2.7, 0.1)),
    "乘": ((512, 40, 14.6, 0.3), (4096, 323, 3.6, 0.1)),
    "抽": ((40, 40, 16.4, 0.4), (512, 512, 3.0, 0.1)),
})

# %% [markdown]
# 图：有效样本只剩四十来个，三种都坏到 14% 以上；有三百个以上，三种都不到 5%，这时“乘”与“抽”都在“全取 1”的线以下：月牙上，坏的不是权重，是有效样本太少。误差条是两个标准误（训练 1500 步，八个种子，`python -m benchmarks.weights moons`）。
#
# 再练久些，“抽”仍低：3000 步，造错 1.65 ± 0.06%，“全取 1”是 2.38 ± 0.07%（加上 `--steps 3000`）。
#
# ### 原因二：下界看重的步，样本未必看重
#
# 换成 8×8 的手写数字，“抽”就不行了。各训练 600 步，量两个数，都是越小越好：
#
# - Fréchet 距离：一批样本与一批真图差多远（第 13 章）；
# - bits/dim (bits per dimension)：下界折合成平均每一维的比特数（第 6 节）。

# %%
digits_figure({  # Fréchet 距离与标准误，bits/dim 与标准误
    "乘": (191.8, 7.3, 3.51, 0.02),
    "抽": (68.3, 2.1, 3.04, 0.01),
    "全取 1": (37.0, 2.9, 3.21, 0.01),
})

# %% [markdown]
# 图：“抽”的下界最低（右），样本却不如“全取 1”（左）。点是八个种子的平均，误差条是两个标准误（`python -m benchmarks.weights`）。训练时，梯度的长度超过 1 就缩到 1。
#
# 逐个种子相减，“抽”的 Fréchet 距离比“全取 1”大 31 ± 3。可见下界低不等于样本好。
# “抽”把三分之一的样本给了 $t<30$，那里噪声的标准差至多 0.11，不到一级灰度（0.125）；这或许就是原因，没有验证。
#
# 所以取 1 是稳妥的选择：均匀地抽 $t$ 时它的有效样本最多，也不把样本压在少数几步上。它未必最好，月牙就是例子；第 18 章的 min-SNR 给权重封顶。

# %% [markdown]
# ## 5　`p_losses`：训练的损失
#
# 程序里两种损失都在：简化损失乘 $w_s$（`l_simple_weight`，默认 1），加权的损失乘 $w_e$（`original_elbo_weight`，默认 0），加起来就是总损失。

# %%
show_source(DDPM.p_losses, "def p_losses", "model_out = self.apply_model", "per_sample = self.get_loss",
            "logvar = self.logvar[t]", "loss_vlb =", "loss = self.l_simple_weight")

# %% [markdown]
# - ① 给定 $x_0$ 与 $t$，抽噪声，一步造出 $x_t$。
# - ② 网络看着 $x_t$、$t$ 和条件作答；目标由参数化决定。
# - ③ 每个样本自己的误差，形状 $(B,)$，除了第一维都求平均；`loss_type` 是 `l1` 时另算一份平方。
# - ④ 简化损失。默认 `simple_weights` 全是 1、`logvar` 全是 0，它就是普通的均方误差；`logvar` 可以学，最优值是均方误差的对数，见[源码精读](93_source_reading.ipynb)第 3 节。
# - ⑤ 加权的损失：平方误差乘上第 3 节的权重，对这一批求平均。
# - ⑥ 总损失，另附三个记录用的数。

# %%
torch.manual_seed(0)
x_start, t = load_digits_split()["val"][0][:64], torch.arange(64) * 15
noise = torch.randn(x_start.shape, generator=torch.Generator().manual_seed(0))
loss, logs = DDPM(**toy_model_config()).p_losses(x_start, t, noise)
simple, vlb = logs["train/loss_simple"], logs["train/loss_vlb"]
check("默认只用简化损失，未训练的网络输出 0，它就是噪声平方的平均", loss, (noise**2).mean(), atol=1e-5)

# %%
card("l_simple_weight")
half = DDPM(**toy_model_config(l_simple_weight=0.5))
check("总损失减半", half.p_losses(x_start, t, noise)[0], 0.5 * simple, atol=1e-6)

# %%
card("original_elbo_weight")
mixed = DDPM(**toy_model_config(original_elbo_weight=2.0))
check("加上 2 倍的 loss_vlb", mixed.p_losses(x_start, t, noise)[0], simple + 2.0 * vlb, atol=1e-5)

# %% [markdown]
# ## 6　把下界算出来：bits/dim
#
# 存下一张概率为 $p_\theta(x_0)$ 的图，要 $-\log_2p_\theta(x_0)$ 比特（第 15 章）。变分下界除以维数，再除以 $\ln 2$，就是 bits/dim。对离散的数据，它是平均每一维比特数的上界，越小越好。
#
# 中间各步用第 2 节的公式，$L_T$ 也是两个高斯的 KL。只有 $L_0$ 不再用高斯密度：像素只取有限个值，所以一个值的概率是高斯落在那一格里的面积；两端的格子开到无穷，总和才是 1。
#
# **公式对不对？** 拿一个知道答案的例子来验：数据是一维的 $\mathcal N(0,1)$，去噪器是完美的，方差取 $\beta_t$，$L_0$ 仍用高斯密度。
# 这时每一步的 $p_\theta$ 就是真实的 $q(x_{t-1}\mid x_t)$，第 1 节的不等式取等号，$L$ 对数据的平均应当恰好等于数据的熵，不论什么噪声表、多少步：
#
# $$\tfrac12\log_2(2\pi e) = 2.0471\ \text{bits/dim}.$$
#
# 完美的去噪器，误差的平均是 $\mathbb E(x_0-\hat x_0)^2 = 1-\bar\alpha_t$（第 5 章），代入第 2 节的公式：
#
# $$\mathrm{KL}_t = \tfrac12\left[\ln\frac{\beta_t}{\tilde\beta_t} + \frac{\tilde\beta_t + c_1^2(1-\bar\alpha_t)}{\beta_t} - 1\right] = \tfrac12\ln\frac{\beta_t}{\tilde\beta_t} = \tfrac12\ln\frac{1-\bar\alpha_t}{1-\bar\alpha_{t-1}},$$
#
# 因为分子 $\tilde\beta_t + c_1^2(1-\bar\alpha_t)$ 就是 $\beta_t$（第 4 章）。再把三种项相加，$\bar\alpha$ 全部消去：
#
# $$\begin{aligned}
# L_0 &= \tfrac12\ln(2\pi e) + \tfrac12\ln(1-\bar\alpha_0) \\
# \textstyle\sum_{t\ge1}\mathrm{KL}_t &= \tfrac12\ln(1-\bar\alpha_{T-1}) - \tfrac12\ln(1-\bar\alpha_0) \\
# L_T &= -\tfrac12\ln(1-\bar\alpha_{T-1}) \\[4pt]
# \text{三行之和} &= \tfrac12\ln(2\pi e)
# \end{aligned}$$

# %%
remain = 1 - bar
steps_kl = (kl_constants(betas, 1.0) + weights("x0", 1.0) * remain)[1:].sum()
nats = steps_kl - 0.5 * np.log(remain[-1]) + 0.5 * (math.log(2 * math.pi) + np.log(remain[0]) + 1)
check("下界等于熵", nats / math.log(2), 0.5 * math.log2(2 * math.pi * math.e), atol=1e-10)

# %% [markdown]
# **真的模型呢？** 用随课程发布的模型算 16 张测试图，看比特花在哪些步上。它的噪声表是 `cosine`，像素有 17 级（0 到 16），逐像素均匀地猜要 $\log_2 17 = 4.09$ 比特。`vlb_terms` 逐步算出 $L_0,\mathrm{KL}_1,\dots,\mathrm{KL}_{T-1},L_T$，已经除以维数，单位 nats（以 e 为底）；要二十几秒。

# %%
pretrained, images = load_pretrained("digits"), load_digits_split()["test"][0][:16]
terms = vlb_terms(pretrained, images, levels=17, generator=torch.Generator().manual_seed(0)).mean(0) / math.log(2)
print(f"共 {terms.sum():.2f} bits/dim")
spent_figure(terms[:-1].cumsum(0), (10, 30))

# %% [markdown]
# 图：比特大半花在开头的几十步。从 $t=0$ 累加，到 $t=10$ 已经花去四成，到 $t=30$ 六成。第 0 步的噪声比一格窄得多，所以 $L_0$ 几乎是 0；$L_T$ 也是。
#
# 这几十步里，噪声的标准差不到半级灰度：下界看重的，大半是比一级灰度还细的差别。

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：均方误差从哪里来，推导出的权重是多少，为什么实际上每个 $t$ 一样重？
# - **来历**：它来自似然的变分下界。$t\ge1$ 的每一步，KL 是常数加上加权的平方误差：$w^{x_0}=c_1^2/(2\sigma^2)$，$w^\varepsilon=w^{x_0}/\mathrm{SNR}$，$w^v=(1-\bar\alpha)w^{x_0}$。
# - **权重**：一大份压在少数几步上，例如 `sqrt_linear` 上 `eps` 的前 30 步占三分之一。照它训练，可能有两个害处：
# - **一是顶用的样本少**：均匀地抽 $t$ 再乘上权重，一批 512 个样本只抵得上约 40 个，月牙上造错从 4.6% 升到 14.6%。照权重抽 $t$，512 个都顶用，造错降到 3.0%。
# - **二是下界看重的步，样本未必看重**：照权重抽，下界更低，样本却不一定更好，8×8 的数字上就不如全取 1。全取 1 稳妥，却未必最好。
# - bits/dim 是下界除以维数与 $\ln2$。随课程发布的数字模型，在 16 张测试图上是 3.16，六成来自 $t\le30$ 的各步。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 06.1　加权的均方误差 ★
#
# 写出 `loss_vlb`：`weights` 是 $(T,)$ 的权重表，`t` 是 $(B,)$ 的步号，`model_out` 与 `target` 形状相同，第一维是 $B$，后面几维不一定是图像。
# 每个样本自己的均方误差乘上它那一步的权重，再对这一批求平均，返回一个数。

# %%
def weighted_loss(weights, t, model_out, target):
    # 答案
    per_sample = ((model_out - target) ** 2).flatten(1).mean(1)
    return (weights[t] * per_sample).mean()
    # 答案完


grade("06.1", weighted_loss)

# %% [markdown]
# ### 06.2　任意 v_posterior 的权重 ★★
#
# 只用 NumPy，由 `betas`（$(T,)$ 的 float64 数组）与 `v`（$[0,1]$ 内的数）算出以 `eps` 为目标的权重 $w^\varepsilon_t$，其中 $\sigma_t^2=(1-v)\,\tilde\beta_t+v\,\beta_t$。
# 只返回 $t=1,\dots,T-1$ 的各项，形状 $(T-1,)$，这样就不必管第 0 步的截断。

# %%
def eps_weights(betas, v):
    # 答案
    bar = np.cumprod(1 - betas)
    beta, alpha, bar, previous = betas[1:], 1 - betas[1:], bar[1:], bar[:-1]
    tilde = beta * (1 - previous) / (1 - bar)
    sigma2 = (1 - v) * tilde + v * beta
    return beta**2 / (2 * sigma2 * alpha * (1 - bar))
    # 答案完


grade("06.2", eps_weights)

# %% [markdown]
# ### 06.3　一格的概率 ★★★
#
# 写出离散的解码器：`x` 取 $[-1,1]$ 上等距的 `levels` 个值，`mean` 与它形状相同，都是 float64 的张量；`sigma` 是数。返回每个像素的负对数概率，单位 nats。
# 两端的格子开到无穷。均值离得很远时（例如差 20 个 $\sigma$）也要准，不能得到无穷。
# 标准高斯的分布函数 $\Phi(z)$ 写成 `0.5 * torch.erfc(-z / 2**0.5)`，它在左尾很准，$z=\pm\infty$ 也不出错。别忘了 $\Phi(-z)=1-\Phi(z)$。

# %%
def pixel_nll(x, mean, sigma, levels):
    # 答案
    half = 1 / (levels - 1)
    upper = torch.where(x > 1 - half, torch.inf, (x - mean + half) / sigma)
    lower = torch.where(x < half - 1, -torch.inf, (x - mean - half) / sigma)
    right = lower > 0
    upper, lower = torch.where(right, -lower, upper), torch.where(right, -upper, lower)
    return -torch.log(0.5 * (torch.erfc(-upper / 2**0.5) - torch.erfc(-lower / 2**0.5)))
    # 答案完


grade("06.3", pixel_nll)

# %% [markdown]
# ### 06.4　像素有几级 ★★
#
# 第 6 节的 16 张图，`levels=17` 时总数是 3.16 比特；改成 `levels=256`，变成 4.37 比特。哪种说法对？
#
# - A：每一步的 KL 都变大了；8 位图本来就是 256 级，所以 4.37 才对。
# - B：算错了：级数多，分得细，每一格的概率应当变大，总数应当变小。
# - C：只有 $L_0$ 变大了；两个数都对，只是说的不是同一批图。
# - D：只有 $L_0$ 变大了；这批图只有 17 级，应当用 3.16。

# %%
grade("06.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 06.5　方差换成 β̃ ★★★
#
# 第 6 节的等式只在方差取 $\beta_t$（`v_posterior=1`）时成立。其余不变（数据 $\mathcal N(0,1)$，完美的去噪器，连续的 $L_0$，第 0 步的方差取 $\tilde\beta_1$），改成 `v_posterior=0`，下界比熵高出多少 bits/dim？
# 噪声表取 `make_beta_schedule("linear", 1000)`（不是开头的 `betas`）。写几行代码算出来，填一个数，留三位有效数字以上。

# %%
grade("06.5", None)  # 把 None 换成一个数

# %% [markdown]
# <details><summary>与参考实现的差别</summary>
#
# 下面的倍数都是默认的 `linear` 噪声表、$T=1000$、`v_posterior=0` 的。
#
# - `eps` 的权重公式是对的，只是把第 1 步的抄到第 0 步：方差取 $\tilde\beta$ 时，那里只有真值的 0.52。
# - `x0` 的权重写成 $0.5\sqrt{\bar\alpha}/(2-\bar\alpha)$：$t=1$ 处真值是它的 5067 倍，$t=999$ 处只有它的千分之 1.1。流行的“修正”说 $2-\bar\alpha$ 是 $2(1-\bar\alpha)$ 的笔误，改过之后仍然不对：$t=999$ 处是真值的 904 倍（第 16 章）。
# - `v` 的权重全部写 1，$t=500$ 处是真值的近 700 倍。
# - `loss_type="l1"` 时，VLB 权重乘在绝对值上，不再是下界。
# - `p_losses` 写死在第 1、2、3 维上求平均，只能用于图像。
# - `learn_logvar` 时，`DDPM` 的损失里没有用到 `logvar`，它学不到东西（`LatentDiffusion` 里才用）。
#
# </details>

# %% [markdown]
# ### 小实验　平方换成绝对值
#
# 改一处，量一量，写三句话。`loss_type="l1"` 把误差的平方换成绝对值。第 4 节的 `learn_moons(even, 1500, loss_type="l1")` 就是这样练的，另开一格运行，与 `learn_moons(even, 1500)` 比造错与漏掉，每个约十秒。漏掉是真的点里，附近没有造出来的点的比例（第 1 章）；`ddpm_edu.teach.moons` 里的 `misses(made, held_out)` 一并给出这两个数，照第 1 章的量法，每五百个点量一次再平均。
# 先猜：平方让网络答平均（第 1 章），绝对值让它答什么？样本会更好还是更坏？
#
# <!-- 参考答案 -->
# **参考答案**　八个种子，各四千个点，采样 200 步，± 后面是标准误；末两列是横、竖两个坐标的标准差，真的点是 1.00：
#
# | `loss_type` | 造错 | 漏掉 | 横 | 竖 |
# |:--|--:|--:|--:|--:|
# | `l2` | 4.7% ± 0.1% | 13.5% ± 0.1% | 0.986 ± 0.004 | 0.994 ± 0.004 |
# | `l1` | 6.9% ± 0.2% | 16.0% ± 0.2% | 1.009 ± 0.004 | 1.036 ± 0.003 |
#
# 绝对值最小的猜测是中位数，每个坐标各取各的。噪声的分布对称时，中位数就是平均，两种练法没有分别；在两弯之间，可能的噪声偏在一边，中位数就与平均不同。
# 采样的一步是拿平均推出来的：反向一步的均值是 $a\,\mathbb E[x_0\mid x_t]+b\,x_t$，换成中位数，每一步都偏一点，造错多了近一半，漏掉也多了。
# 所以损失取平方不只是习惯，它是从 KL 来的（第 2 节）。
#
# ```python
# from ddpm_edu.teach.moons import misses
#
# def learn(seed, loss_type):
#     torch.manual_seed(seed)
#     model = DDPM(**config, loss_type=loss_type)
#     optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
#     decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
#     for _ in range(1500):
#         loss, _ = model.p_losses(moon[torch.randint(len(moon), (512,))][..., None, None], torch.randint(1000, (512,)))
#         optimizer.zero_grad()
#         loss.backward()
#         optimizer.step()
#         decay.step()
#     return model.eval().sample(4000, steps=200, generator=torch.Generator().manual_seed(seed), progress=False).flatten(1)
#
# for loss_type in ("l2", "l1"):
#     clouds = [learn(seed, loss_type) for seed in range(8)]
#     rows = np.array([[*np.mean([misses(part, held_out) for part in cloud.chunk(8)], axis=0), *cloud.std(0).tolist()] for cloud in clouds])
#     print(loss_type, rows.mean(0), rows.std(0, ddof=1) / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
