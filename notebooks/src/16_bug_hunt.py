# %% [markdown]
# # 16 · 找 bug：二十四个病例
#
# **学习目标**
#
# - 从症状出发，想出能分辨几种原因的试验，而不是盯着代码猜。
# - 认识扩散模型里最常见的二十四种错：公式、训练、装载、数据。
# - 会用神谕核对修复：闭式、黄金值、恒等式、脉冲、逐位的比较。
#
# **预计用时** 180 分钟，可以分几次做，病例之间互不依赖。运行全部单元约 10 秒。
#
# 每个缺陷都是真的：课程读的那个参考实现，或者它的后继，就有这样的错；代码是为这门课另写的，只留下病根。
# 引用的问题来自公开的讨论，是转述。问的人多半不知道原因在哪里，这正是我们要练的。

# %%
import copy
import math

import numpy as np
import torch
from torch import nn

from ddpm_edu import LitEma, make_beta_schedule
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.teach import check, check_raises, curve_figure, grade, progress, show_source
from ddpm_edu.teach.bugs.formulas import clip_start, is_usable, log_variances, make_betas, noise_variance, per_sample_loss
from ddpm_edu.teach.bugs.formulas import predict_start, sampling_variances, training_target, two_losses, x0_weights
from ddpm_edu.teach.bugs.loading import Chain, ConditionalDenoiser, build, from_config, load_unet, to_channels_first
from ddpm_edu.teach.bugs.training import BufferEma, CastingEma, NoiseScale, ema_scope, linear_multiplier, make_optimizer
from ddpm_edu.teach.bugs.training import train, validate
from ddpm_edu.teach.laboratory import chain_moments

betas = make_beta_schedule("linear", 1000)
print("准备好了")

# %% [markdown]
# ## 1　怎样找 bug
#
# 四步：
#
# 1. **重现**。把症状缩到几行代码、一个数字，固定随机数。
# 2. **分辨**。列出几种可能的原因，想一个试验，使它们给出不同的结果。
# 3. **修好**。只改病根，不绕开症状。
# 4. **核对**。找一个独立于代码的答案：闭式、黄金值、恒等式，或者逐位的比较。这样的答案叫神谕。
#
# 第 2 步最要紧：不能推翻任何猜测的试验，做了等于没做。先看一个例子：祖先采样的最后一步误加了噪声。


# %%
def last_step_naive(mean, log_variance, noise):
    return mean + (0.5 * log_variance).exp() * noise  # 第 0 步本不该加噪声


tables = diffusion_tables(betas)
log_variance = torch.tensor(tables["posterior_log_variance_clipped"][0])
samples = torch.randn(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
noise = torch.randn(10_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
noisy = last_step_naive(samples, log_variance, noise)
print(f"一万个样本的标准差：{samples.std():.3f}，误加噪声之后 {noisy.std():.3f}")
print(f"把噪声换成一百万：{last_step_naive(samples[0], log_variance, torch.tensor(1e6)):.3g}")

# %% [markdown]
# 看统计量，两者分不开：那一步的标准差不到 0.01。换成脉冲，一份大得离谱的噪声，就藏不住了。
# 好的试验让错误放大，而不是让它淹没在偶然里。
#
# ## 练习一　公式（病例 1–10）
#
# 每个病例：先读问题与代码，运行症状那一格，再选原因；带 b 的题要你写出修好的版本。
# 选错了会告诉你哪里说不通，可以一直试。做到哪里，用 `progress()` 查看。

# %% [markdown]
# ### 16.1　步数一少，样本就不对 ★★
#
# 有人问：步数 T 变了，你们的代码把 β 也跟着放大；DDIM 缩短步数时并没有这样做，为什么？
# （RosettaCommons/RFdiffusion [#141](https://github.com/RosettaCommons/RFdiffusion/issues/141)，The schedule of beta when T is changing）
#
# 这份代码没有放大：

# %%
show_source(make_betas)

# %% [markdown]
# 症状：数据是 $\mathcal N(0.3, 0.5^2)$，配上完美的去噪器（第 4 章），走完整条链，看样本的均值与方差。

# %%
for T in (1000, 100, 50):
    table = make_betas(T)
    mean, variance = chain_moments(table, 0.3, 0.5, 0.5)
    print(f"T={T:4d}：终点的 √ᾱ = {np.sqrt(np.prod(1 - table)):.3f}，样本的均值 {mean:.3f}，方差 {variance:.3f}")
print("应当是：                           均值 0.300，方差 0.250")

# %% [markdown]
# 为什么步数少了，样本就偏？
#
# - A：最后一步多加了噪声。
# - B：噪声没有掺够：链的终点还留着原图，采样却从纯噪声出发。
# - C：√β 应当改成 β 均匀地变。
# - D：步数少，去噪器训练得不够。

# %%
grade("16.1", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.1b　修好：短链也走到头 ★★
#
# 改写 `make_betas`：任给步数（不少于 50），终点都走到头，$T=1000$ 时与原来相同。掺的噪声总量大致是各步 $\beta$ 之和，让它不随步数变。

# %%
def full_betas(timesteps):
    # 答案
    scale = 1000 / timesteps
    return np.linspace((scale * 1e-4) ** 0.5, (scale * 2e-2) ** 0.5, timesteps) ** 2
    # 答案完


grade("16.1b", full_betas)

# %% [markdown]
# ### 16.2　第 0 步的方差差了一点 ★★
#
# 有人报告：装载模型时 `alphas_cumprod` 跟着降到了半精度，采出的图与全精度的明显不同，怀疑半精度与全精度结果的差别主要来自这里。
# （AUTOMATIC1111/stable-diffusion-webui [#14071](https://github.com/AUTOMATIC1111/stable-diffusion-webui/issues/14071)）
#
# 其实用 float32 也要留心：

# %%
show_source(noise_variance)

# %% [markdown]
# 症状：与 float64 算出的方差比较。第 0 步的方差就是 $\beta_0 = 10^{-4}$。

# %%
bar = np.cumprod(1 - betas)
buffer = torch.tensor(bar, dtype=torch.float32)
for step in (0, 10, 499):
    exact = 1 - bar[step]
    print(f"t={step:3d}：相对误差 {abs(float(noise_variance(buffer, step)) / exact - 1):.1e}")
rounded = torch.tensor(1 - bar[0], dtype=torch.float32)
print(f"直接把 1e-4 存成 float32：{abs(float(rounded) / (1 - bar[0]) - 1):.1e}")

# %% [markdown]
# 误差从哪里来？
#
# - A：$\beta$ 的公式不对。
# - B：下标错了一位。
# - C：float32 本来就存不准 $10^{-4}$。
# - D：两个几乎相等的数相减，$\bar\alpha_0$ 舍入时丢掉的位数被放大了。

# %%
grade("16.2", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.2b　修好：一次舍入的方差 ★★
#
# 由 `betas`（NumPy 的 float64 数组）造一张 $1-\bar\alpha_t$ 的表，返回 float32 的张量，每一项的相对误差不超过 float32 一次舍入的误差。

# %%
def variance_table(betas):
    # 答案
    return torch.tensor(1 - np.cumprod(1 - betas), dtype=torch.float32)
    # 答案完


grade("16.2b", variance_table)

# %% [markdown]
# ### 16.3　x0 的权重加起来不对 ★★★
#
# 有人问：目标是 x0 或 v 时，`lvlb_weights` 为什么是这个样子？DDPM 与渐进蒸馏的论文里都找不到这个式子。
# （CompVis/stable-diffusion [#698](https://github.com/CompVis/stable-diffusion/issues/698)，问过的还有 [#674](https://github.com/CompVis/stable-diffusion/issues/674)）

# %%
show_source(x0_weights)

# %% [markdown]
# 症状：$v=0$ 时，正确的权重对 $t\ge1$ 求和会首尾相消（第 6 章），等于 $\tfrac12(\mathrm{SNR}_0-\mathrm{SNR}_{T-1})$。
# 另外把每一项与 $c_1^2/(2\sigma_t^2)$ 比一比。

# %%
snr = bar / (1 - bar)
right = tables["posterior_mean_coef1"][1:] ** 2 / (2 * tables["posterior_variance"][1:])
wrong = x0_weights(betas)[1:]
print(f"和：{wrong.sum():.1f}，应为 {0.5 * (snr[0] - snr[-1]):.1f}")
check("由 c₁²/(2σ²) 算出的，和是对的", right.sum(), 0.5 * (snr[0] - snr[-1]), atol=1e-8)
for step in (1, 10, 100, 999):
    print(f"t={step:3d}：它与正确值之比 {wrong[step - 1] / right[step - 1]:.2g}")

# %%
popular = 0.5 * np.sqrt(bar[1:]) / (2 * (1 - bar[1:]))
curve_figure(range(1, 1000), {"正确的": right, "这份代码": wrong, "流行的修法": popular}, "步号 $t$", "权重", "log", "log")

# %% [markdown]
# 图：正确的权重（实线）跨八个多数量级；这份代码的（虚线）前三百步几乎是平的，低估了开头，高估了尾部。流行的修法（点线）把分母改成 $2(1-\bar\alpha_t)$，只对了大概的形状。

# %% [markdown]
# 原因是什么？
#
# - A：公式不是从 KL 推出来的，形状就不对。
# - B：画图用了对数轴。
# - C：只是少了一对括号，分母应为 $2(1-\bar\alpha_t)$。
# - D：整体差一个常数倍。

# %%
grade("16.3", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.3b　修好：首尾相消的权重 ★★★
#
# 由 `betas` 算出 $t=1,\dots,T-1$ 的权重（$v=0$，目标是 x0），返回 $T-1$ 个数。从 $c_1^2/(2\tilde\beta_t)$ 出发，化简之后只剩相邻两步的信噪比。

# %%
def right_weights(betas):
    # 答案
    bar = np.cumprod(1 - betas)
    snr = bar / (1 - bar)
    return 0.5 * (snr[:-1] - snr[1:])
    # 答案完


grade("16.3b", right_weights)

# %% [markdown]
# ### 16.4　有坏数却说能用 ★
#
# 有人提交修复：`register_schedule` 里的断言，要全部是 NaN 才会响；一个 NaN 就足以毁掉损失，却检查不出来。
# （CompVis/latent-diffusion [#404](https://github.com/CompVis/latent-diffusion/pull/404)，Fix operator precedence in x0 LVLB weights and NaN assertion）

# %%
show_source(is_usable)

# %%
for name, table in {"好的": [1.0, 2.0], "一个 NaN": [1.0, math.nan], "一个无穷": [1.0, math.inf], "全是 NaN": [math.nan] * 2}.items():
    print(f"{name}：说它能用 = {is_usable(torch.tensor(table))}，平均是 {torch.tensor(table).mean():.1f}")

# %% [markdown]
# 为什么拦不住？
#
# - A：`isnan` 不认识 float32 的 NaN。
# - B：装进张量时 NaN 变成了别的数。
# - C：`all` 要每一个都坏才算坏，而且无穷根本没有查。
# - D：应当用 assert，不该返回真假。

# %%
grade("16.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.4b　修好：查坏数 ★

# %%
def all_good(weights):
    # 答案
    return bool(torch.isfinite(weights).all())
    # 答案完


grade("16.4b", all_good)

# %% [markdown]
# ### 16.5　误差大十倍，VLB 损失也只大十倍 ★★
#
# 常被问到：`loss_type` 换成 `l1`，训练照样进行，为什么 VLB 一项的数值与论文对不上？

# %%
show_source(two_losses)

# %%
target, weight = torch.zeros(4, 1, 2, 2), torch.tensor([1.0, 2.0, 3.0, 4.0])
pred = torch.full_like(target, 0.1)
for loss_type in ("l2", "l1"):
    small, big = (two_losses(scale * pred, target, weight, loss_type)[1] for scale in (1, 10))
    print(f"{loss_type}：误差大十倍，VLB 损失大 {big / small:.0f} 倍")

# %% [markdown]
# 变分下界的每一项是两个高斯的 KL，误差以平方进入。`l1` 时错在哪里？
#
# - A：权重要先归一化。
# - B：VLB 一项也用了绝对值；它只该用平方误差，与 `loss_type` 无关。
# - C：应当先求和，不该求平均。
# - D：`l2` 的一百倍才是错的。

# %%
grade("16.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.6　偏千分之一，代价是天文数字 ★★
#
# 有人问：代码里第 0 步的对数方差换成了后验第 1 步的值，注释说“为了更好的解码似然”，这是什么意思？
# （openai/improved-diffusion [#45](https://github.com/openai/improved-diffusion/issues/45)，What's the meaning of "For fixedlarge, we set initial (log-)variance like so…"）
#
# 下面这份没有换：

# %%
show_source(log_variances)

# %%
logs = log_variances(betas)
for step in (0, 1, 2):
    cost = 0.5 * 0.001**2 / math.exp(logs[step])
    print(f"t={step}：对数方差 {logs[step]:7.2f}，均值偏了 0.001，负对数密度多 {cost:.3g} nats")

# %% [markdown]
# 怎么办？
#
# - A：去掉截断，直接取对数。
# - B：后验方差的公式错了，每一步都要改。
# - C：采样会出错，似然没有关系。
# - D：第 0 步借用第 1 步的方差，不要截断成 $10^{-20}$。

# %%
grade("16.6", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.7　v 取 -1，采出 NaN ★
#
# 有人问：后验的方差为什么是这个式子，论文里用的是 $\sqrt{1-\alpha_t}$？
# （Janspiry/Image-Super-Resolution-via-Iterative-Refinement [#54](https://github.com/Janspiry/Image-Super-Resolution-via-Iterative-Refinement/issues/54)，Question about posterior variance）
#
# 两种都对，是两个极端；`v_posterior` 在它们之间混合：

# %%
show_source(sampling_variances)

# %%
for v in (0.0, 0.5, 1.0, -1.0):
    variances = sampling_variances(betas, v)[1:]
    with np.errstate(invalid="ignore"):
        bad = int(np.isnan(np.sqrt(variances)).sum())
    print(f"v={v:4.1f}：t=1 处的方差 {variances[0]:9.2e}，标准差是 NaN 的有 {bad} 步")

# %% [markdown]
# 病根是什么？
#
# - A：没有核对 `v_posterior` 的范围，-1 使方差变成负数。
# - B：应当混合标准差，不该混合方差。
# - C：$\beta$ 超出了范围。
# - D：浮点数的舍入误差。

# %%
grade("16.7", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.8　训练正常，采样崩了 ★★
#
# 有人问：把训练脚本改成 v 目标，损失正常收敛，可是采出来的全是噪声，是采样器不对，还是脚本里还要改什么？
# （luosiallen/latent-consistency-model [#65](https://github.com/luosiallen/latent-consistency-model/issues/65)，training SD2.1 with v_prediction are not work?）
#
# 参考实现的后继更干脆，直接崩溃。训练与采样的两段：

# %%
show_source(training_target)

# %%
show_source(predict_start)

# %%
x_start, noise = torch.tensor([0.5, -0.5]), torch.tensor([1.0, 2.0])
x_t = 0.6 * x_start + 0.8 * noise
for name in ("eps", "x0", "v"):
    answer = training_target(name, x_start, noise, 0.36)
    if name != "v":
        check(f"{name}：拿正确的输出，换算得回原图", predict_start(name, answer, x_t, 0.36), x_start, atol=1e-6)
check_raises("v：训练的目标有了，采样却崩", lambda: predict_start("v", answer, x_t, 0.36), "x_recon")

# %% [markdown]
# 病根是什么？
#
# - A：形状对不上。
# - B：v 的训练目标写错了。
# - C：采样的分支里没有 v，变量没有赋过值。
# - D：截断的范围不对。

# %%
grade("16.8", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.8b　修好：三种目标 ★★
#
# 三种目标都能换算成 $x_0$；不认识的名字当场 `raise ValueError`。`bar` 是这一步的 $\bar\alpha_t$，$v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1-\bar\alpha_t}\,x_0$。

# %%
def start_from_output(parameterization, model_out, x_t, bar):
    # 答案
    if parameterization == "eps":
        return (x_t - (1 - bar) ** 0.5 * model_out) / bar**0.5
    if parameterization == "x0":
        return model_out
    if parameterization == "v":
        return bar**0.5 * x_t - (1 - bar) ** 0.5 * model_out
    raise ValueError(f"parameterization 应为 eps / x0 / v 之一，得到 {parameterization!r}")
    # 答案完


grade("16.8b", start_from_output)

# %% [markdown]
# ### 16.9　量一量，输出变了 ★
#
# 有人问：采样时为什么要把 `x_start` 截到 [-1, 1]？论文里没有提。
# （lucidrains/denoising-diffusion-pytorch [#65](https://github.com/lucidrains/denoising-diffusion-pytorch/issues/65)，clip_denoised purpose?）
#
# 截断有道理（第 4 章），写法却有讲究：

# %%
show_source(clip_start)

# %%
model_out = torch.tensor([-3.0, 0.5, 2.0])  # 目标是 x0 时，网络的输出就是 x_recon
print(f"截断之前，输出的最大值 {model_out.max():.1f}")
x_recon = clip_start(model_out)
print(f"截断之后，再看一次同一个输出：{model_out.max():.1f}")

# %% [markdown]
# 我们只是量了一下，网络的输出为什么变了？
#
# - A：忘了 `detach`。
# - B：截断是就地做的，改的正是网络的输出。
# - C：截断的范围写错了。
# - D：网络里有随机性。

# %%
grade("16.9", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.9b　修好：截断不伤输入 ★

# %%
def clipped(x_recon):
    # 答案
    return x_recon.clamp(-1.0, 1.0)
    # 答案完


grade("16.9b", clipped)

# %% [markdown]
# ### 16.10　换成音频就报错 ★
#
# 常被问到：想把图像的扩散模型用到声音、时间序列上，网络改好了，损失却报错。

# %%
show_source(per_sample_loss)

# %%
image, audio, video = torch.zeros(4, 3, 8, 8), torch.zeros(4, 1, 100), torch.zeros(4, 3, 5, 8, 8)
print("图像：", tuple(per_sample_loss(image, image).shape))
print("视频：", tuple(per_sample_loss(video, video).shape), "应为 (4,)")
check_raises("音频", lambda: per_sample_loss(audio, audio), "Dimension")

# %% [markdown]
# 病根是什么？
#
# - A：平方误差不能用于音频。
# - B：批量太小。
# - C：视频的数据类型不对。
# - D：求平均的维数写死了，只适用于四维的图像。

# %%
grade("16.10", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ## 练习二　训练（病例 11–18）
#
# 这一组错在训练的循环里：不报错，损失也在下降，只是结果悄悄地变差。

# %% [markdown]
# ### 16.11　EMA 多走了三倍 ★
#
# 有人问：你们的 EMA 每一批都更新，不管梯度累积；别的项目只在累积满了才更新，这样做有什么用意？作者答：没有用意，就是个 bug。
# （SWivid/F5-TTS [#631](https://github.com/SWivid/F5-TTS/issues/631)，EMA Update independently from grad_accumulation_steps）

# %%
show_source(train)

# %%
torch.manual_seed(0)
batches = [(torch.randn(8, 2), torch.randn(8, 1)) for _ in range(16)]
for accumulate in (1, 4):
    model = nn.Linear(2, 1)
    ema = LitEma(model, decay=0.9)
    train(model, ema, batches, accumulate)
    print(f"每 {accumulate} 批更新一次权重：权重更新 {16 // accumulate} 次，EMA 走了 {int(ema.num_updates)} 格")

# %% [markdown]
# 病根是什么？
#
# - A：EMA 按批走，应当按优化器的更新走。
# - B：衰减取得太小。
# - C：梯度累积写错了，权重更新的次数不对。
# - D：EMA 的热身公式不对。

# %%
grade("16.11", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.12　三个参数，两份影子 ★★
#
# 常被问到：检查点里 EMA 的键怎么没有点？它们与网络的键是怎样对上的？

# %%
show_source(BufferEma)

# %%
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(2, 2, bias=False)
        self.upweight = nn.Parameter(torch.full((2, 2), 7.0))
        self.out = nn.Linear(2, 2, bias=False)


torch.manual_seed(0)
network = Network()
ema = BufferEma(network)
print("参数：", [name for name, _ in network.named_parameters()])
print("缓冲区：", [name for name, _ in ema.named_buffers()])
ema.copy_to(network)
print(f"抄回来之后，upweight 的第一个数从 7 变成 {network.upweight[0, 0]:.3f}")

# %% [markdown]
# 刚造好就抄回来，本该什么也不变。病根是什么？
#
# - A：影子与参数共用了存储。
# - B：有的参数不要求梯度，没有列出来。
# - C：去掉点之后，两个名字撞成了一个。
# - D：衰减已经起了作用。

# %%
grade("16.12", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.13　半精度的模型，EMA 纹丝不动 ★★
#
# 有人提交修复：权重是 fp16 或 bf16 时，EMA 从头到尾没有变过。
# （d8ahazard/sd_dreambooth_extension [#1415](https://github.com/d8ahazard/sd_dreambooth_extension/pull/1415)，Use float32 for EMA model；那里的原因是半精度舍不下那么小的更新）
#
# 下面这份的影子是 float32，照样不动：

# %%
show_source(CastingEma)

# %%
for dtype in (torch.float32, torch.bfloat16):
    model = nn.Linear(1, 1, bias=False).to(dtype)
    nn.init.zeros_(model.weight)
    ema = CastingEma(model)
    nn.init.ones_(model.weight)  # 权重从 0 跳到 1，影子该慢慢跟上
    for _ in range(10):
        ema(model)
    print(f"{dtype}：走十步，影子到了 {ema.shadow['weight'].item():.3f}，应为 {1 - 0.9**10:.3f}")

# %% [markdown]
# 病根是什么？
#
# - A：衰减太大，走得太慢。
# - B：类型不同时 `type_as` 造了一份新的，更新的是那一份，影子没有动。
# - C：`lerp_` 的方向写反了。
# - D：`no_grad` 里不能更新张量。

# %%
grade("16.13", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.14　出一次错，训练的权重没了 ★★★
#
# 有人报告：用 EMA 做完验证之后，没有把训练的权重换回来。
# （PKU-YuanGroup/Open-Sora-Plan [#186](https://github.com/PKU-YuanGroup/Open-Sora-Plan/issues/186)，Missed to restore model weights in training after validation with EMA on）
#
# 这份代码换回来了，只是有时不换：

# %%
show_source(ema_scope)

# %%
def try_scope(what):
    weights, shadow, backup = {"w": torch.tensor(1.0)}, {"w": torch.tensor(5.0)}, {}
    try:
        with ema_scope(weights, shadow, backup):
            if what == "嵌套":
                with ema_scope(weights, shadow, backup):
                    pass
            if what == "出错":
                raise RuntimeError("验证时显存不够")
    except RuntimeError:
        pass
    return weights["w"].item()


for what in ("正常离开", "出错", "嵌套"):
    print(f"{what}：权重是 {try_scope(what):.0f}，应为 1")

# %% [markdown]
# 出错时为什么没有换回来？
#
# - A：备份里存的是影子。
# - B：`copy_` 应当换成赋值。
# - C：影子被改掉了。
# - D：里面抛出异常，`yield` 之后的几行不执行。

# %%
grade("16.14", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.14b　修好：无论怎样离开 ★★★
#
# 写成一个函数：`weights` 与 `shadow` 都是 {名字: 张量}。把影子的数抄进 `weights` 的张量里，调用 `work()`，返回它的结果；无论怎样离开，原来的数都要逐位回来，错误照样抛出。

# %%
def run_with_ema(weights, shadow, work):
    # 答案
    backup = {name: tensor.clone() for name, tensor in weights.items()}
    for name, tensor in weights.items():
        tensor.copy_(shadow[name])
    try:
        return work()
    finally:
        for name, tensor in weights.items():
            tensor.copy_(backup[name])
    # 答案完


grade("16.14b", run_with_ema)

# %% [markdown]
# ### 16.15　热身一完，学习率掉了一截 ★★
#
# 有人问起配置里的学习率，答的人把曲线画了出来：`cycle_lengths` 写的是十万亿，所以热身之后就是常数。
# （timothybrooks/instruct-pix2pix [#121](https://github.com/timothybrooks/instruct-pix2pix/issues/121)，Learning Rate scheduler）
#
# 写得这么大，降的那一段永远走不到。写小一点会怎样？

# %%
show_source(linear_multiplier)

# %%
steps = range(1200)
multipliers = [linear_multiplier(n, 100, 1000, 0.0, 0.0, 1.0) for n in steps]
for n in (99, 100, 999, 1100):
    print(f"第 {n:4d} 步：{multipliers[n]:.3f}")
curve_figure(steps, {"": multipliers}, "步 $n$", "乘数")

# %% [markdown]
# 图：热身到第 100 步，乘数从 0.99 掉到 0.9；过了第 1000 步，它成了负数。

# %% [markdown]
# 掉的一截从哪里来？
#
# - A：下降的那一段把热身的步数也算了进去。
# - B：热身没有升到 1。
# - C：应当用余弦，不该用直线。
# - D：打印的是乘数，不是学习率。

# %%
grade("16.15", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.15b　修好：接得上的直线 ★★
#
# 前 `warm_up` 步从 `start` 线性升到 `high`；再线性降，到第 `length` 步正好是 `low`，以后都是 `low`。`warm_up` 可以是 0，也可以等于 `length`。

# %%
def smooth_multiplier(n, warm_up, length, start, low, high):
    # 答案
    if n < warm_up:
        return start + (high - start) * n / warm_up
    if n >= length:
        return low
    return high + (low - high) * (n - warm_up) / (length - warm_up)
    # 答案完


grade("16.15b", smooth_multiplier)

# %% [markdown]
# ### 16.16　检查点里没有 logvar ★
#
# 有人问：训练到 `p_losses` 就报错，说下标应当在 CPU 上，或者与被取的张量在同一个设备上，怎么办？
# （CompVis/latent-diffusion [#228](https://github.com/CompVis/latent-diffusion/issues/228)，同样的问题在好几个后继仓库里都有人问）

# %%
show_source(NoiseScale)

# %%
scale = NoiseScale(1000)
print("检查点里的键：", list(scale.state_dict()))
print("搬到别的设备（这里用 meta 代替）之后，logvar 还在：", scale.to("meta").logvar.device)

# %% [markdown]
# 病根是什么？
#
# - A：`logvar` 这个名字被占用了。
# - B：它是普通的张量，不归模块管。
# - C：装载时漏了它。
# - D：全是 0 的张量不保存。

# %%
grade("16.16", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.17　没有梯度，偏置也在缩小 ★★
#
# 有人问：权重衰减好像加到了所有的层上；归一化、嵌入和偏置不是不该衰减吗？
# （Lightning-AI/lit-llama [#254](https://github.com/Lightning-AI/lit-llama/issues/254)，weight decay）

# %%
show_source(make_optimizer)

# %%
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4))
nn.init.ones_(model[0].bias)
optimizer = make_optimizer(model)
for _ in range(50):
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # 损失说：都很好，不用动
    optimizer.step()
print(f"偏置从 1 变成 {model[0].bias.mean():.2f}，归一化的缩放系数从 1 变成 {model[1].weight.mean():.2f}")

# %% [markdown]
# 梯度是 0，它们为什么缩小？
#
# - A：动量还没有耗尽。
# - B：学习率太大。
# - C：权重衰减加到了不该加的参数上。
# - D：AdamW 的衰减写错了，应当换回 Adam。

# %%
grade("16.17", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.17b　修好：谁该衰减 ★★
#
# 返回一个列表：`model` 里应当衰减的参数的名字，按字母次序。矩阵与卷积核衰减；偏置、归一化的系数和 `logvar` 不衰减；冻结的参数（不求梯度）根本不交给优化器。

# %%
def names_to_decay(model):
    # 答案
    return sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.ndim >= 2)
    # 答案完


grade("16.17b", names_to_decay)

# %% [markdown]
# ### 16.18　同一份权重，两个损失 ★★
#
# 有人问：练了一千二百轮，损失还是忽高忽低，正常吗？有人答：每次抽到的 t 不同，损失就不同；把 t 固定下来试试。
# （ermongroup/ddim [#33](https://github.com/ermongroup/ddim/issues/33)，Loss is not going down）
#
# 拿这样的损失去比较两份权重，会得出什么？

# %%
show_source(validate)

# %%
torch.manual_seed(0)
model = nn.Conv2d(1, 1, 3, padding=1)
averaged = copy.deepcopy(model)  # 一模一样的权重
images = torch.rand(8, 1, 8, 8) * 2 - 1
for trial in range(3):
    print(f"原权重 {validate(model, images):.3f}，“EMA” {validate(averaged, images):.3f}")

# %% [markdown]
# 两份权重一模一样，损失为什么不同？
#
# - A：忘了切换到 eval 模式。
# - B：EMA 的平均还不够。
# - C：批量不同，平均的办法不同。
# - D：每次各抽各的 t 与噪声，差别只是运气。

# %%
grade("16.18", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ## 练习三　装载与数据（病例 19–24）
#
# 这一组的共同点是不出声：程序照常运行，只是没有做你以为它做了的事。

# %% [markdown]
# ### 16.19　装了检查点，采出来还是噪声 ★★
#
# 有人问：装载时打印“686 个缺少、2 个多余的键”，这是正常的吗？
# （mlcommons/training [#807](https://github.com/mlcommons/training/issues/807)，Stable Diffusion Missing/Unexpected Keys）

# %%
show_source(load_unet)

# %%
torch.manual_seed(0)
trained, fresh = nn.Linear(4, 4), nn.Linear(4, 4)
state = {f"model.diffusion_model.{name}": value for name, value in trained.state_dict().items()}
initial = fresh.weight.detach().clone()
load_unet(fresh, state)
print(f"与检查点的差别：{(fresh.weight - trained.weight).abs().max():.3f}")
print(f"与装载之前的差别：{(fresh.weight - initial).abs().max():.3f}")

# %% [markdown]
# 病根是什么？
#
# - A：形状对不上，被跳过了。
# - B：键带着前缀，一个也对不上，`strict=False` 又不出声。
# - C：检查点是坏的。
# - D：装载之后权重又被更新了。

# %%
grade("16.19", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.19b　修好：只要 U-Net ★★
#
# 从检查点的 {键: 张量} 里取出以 `model.diffusion_model.` 开头的，去掉前缀，返回新的字典；一个也没有时 `raise ValueError`。

# %%
def unet_state(state):
    # 答案
    prefix = "model.diffusion_model."
    found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not found:
        raise ValueError(f"没有以 {prefix} 开头的键，检查文件是不是 U-Net 的检查点")
    return found
    # 答案完


grade("16.19b", unet_state)

# %% [markdown]
# ### 16.20　原权重好好的，EMA 采出噪声 ★★
#
# 有人问：从检查点继续训练时，为什么没有装 EMA 的权重？
# （PixArt-alpha/PixArt-sigma [#156](https://github.com/PixArt-alpha/PixArt-sigma/issues/156)，EMA weights）

# %%
show_source(build)

# %%
torch.manual_seed(0)
trained = nn.Linear(4, 4)
network, ema = build(lambda: nn.Linear(4, 4), trained.state_dict())
print(f"网络与检查点的差别：{(network.weight - trained.weight).abs().max():.3f}")
sampler = nn.Linear(4, 4)
ema.copy_to(sampler)
print(f"EMA 与检查点的差别：{(sampler.weight - trained.weight).abs().max():.3f}")

# %% [markdown]
# 病根是什么？
#
# - A：EMA 在装载之前就造好了，影子是随机的初值。
# - B：EMA 的衰减太大，还没有跟上。
# - C：检查点没有装进网络。
# - D：EMA 应当与网络共用存储。

# %%
grade("16.20", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.21　步数不同也装得进去 ★
#
# 有人问：装载时报错，说文件里的 `betas` 是 4 项，模型里的是 200 项，怎么办？
# （MrGiovanni/DiffTumor [#6](https://github.com/MrGiovanni/DiffTumor/issues/6)，Issue loading model checkpoint in STEP3）
#
# 那个报错是好事。下面这份连错都不报：

# %%
show_source(Chain)

# %%
torch.manual_seed(0)
trained = Chain(100)
loaded = Chain(50, trained.state_dict())
print("权重装进去了：", torch.equal(loaded.net.weight, trained.net.weight))
print("检查点的步数：", len(trained.state_dict()["betas"]), "，模型的步数：", len(loaded.betas))

# %% [markdown]
# 网络是按 100 步训练的，配上 50 步的表，采出来的图不会对。为什么没有报错？
#
# - A：网络的权重没有装进去。
# - B：50 步的表被 100 步的改掉了。
# - C：装载时 `betas` 还没有登记，成了多余的键，被放过了。
# - D：`betas` 不在检查点里。

# %%
grade("16.21", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.22　同一份配置，第二次就报错 ★
#
# 有人提交修复：函数从传入的字典里取走了一项，用同一份配置造第二个模型时就报错。
# （keras-team/keras [#5730](https://github.com/keras-team/keras/pull/5730)，Bug fix: Model.from_config；hydra 也有类似的 [#524](https://github.com/hydra-ecosystem/hydra/issues/524)）

# %%
show_source(from_config)

# %%
config = {"target": "torch.nn.Linear", "params": {"in_features": 2, "out_features": 3}}
print("第一次：", from_config(config))
check_raises("第二次", lambda: from_config(config), "target")
print("配置还剩：", list(config))

# %% [markdown]
# 病根是什么？
#
# - A：类的路径写错了。
# - B：`params` 被改掉了。
# - C：第一次的结果被缓存了。
# - D：`pop` 取走了调用者的 `target`。

# %%
grade("16.22", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.22b　修好：只读不写 ★
#
# 返回三样：`target`；`params` 里的 `conditioning_key`（没有写就是 `None`）；其余的 `params`（没有写就是空字典）。`config` 与它里面的字典都不许改动。

# %%
def read_config(config):
    # 答案
    params = dict(config.get("params", {}))
    key = params.pop("conditioning_key", None)
    return config["target"], key, params
    # 答案完


grade("16.22b", read_config)

# %% [markdown]
# ### 16.23　颜色花了，没有报错 ★★
#
# 有人问：换成自己的数据之后报错，说卷积要 3 个通道，输入却有 512 个，形状是 [1, 512, 3, 512]，哪里错了？
# （lorenzo-stacchio/Stable-Diffusion-Inpaint [#3](https://github.com/lorenzo-stacchio/Stable-Diffusion-Inpaint/issues/3)，Using training script）
#
# 能报错还算走运：

# %%
show_source(to_channels_first)

# %%
last, first = torch.rand(2, 8, 8, 3), torch.rand(2, 3, 8, 8)
print("通道在后的图：", tuple(to_channels_first(last).shape))
print("通道在前的图：", tuple(to_channels_first(first).shape), "，网络会报错")
tiny = torch.rand(2, 3, 3, 3)
print("3×3 的图，通道在前：", tuple(to_channels_first(tiny).shape), "，数值没有变 =", torch.equal(to_channels_first(tiny), tiny))

# %% [markdown]
# 病根是什么？
#
# - A：图像的数值超出了范围。
# - B：它假定通道一定在后，不看形状就换位置。
# - C：`permute` 的次序写错了。
# - D：3×3 的图太小，不能训练。

# %%
grade("16.23", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 16.24　换什么类别都一样 ★
#
# 有人问：`forward` 把条件 c 交给了 `p_losses`，可是 `p_losses` 的参数里没有条件的位置，这不对吧？
# （tyxsspa/AnyText [#84](https://github.com/tyxsspa/AnyText/issues/84)，ddpm.py calling self.p_losses）

# %%
show_source(ConditionalDenoiser)

# %%
torch.manual_seed(0)
denoiser = ConditionalDenoiser()
x_start, noise = torch.randn(6, 4), torch.randn(6, 4)
for label in (0, 1, 9):
    print(f"类别 {label}：损失 {denoiser.loss(x_start, noise, torch.full((6,), label)):.4f}")
denoiser.loss(x_start, noise, torch.zeros(6, dtype=torch.long)).backward()
print("嵌入的梯度：", denoiser.embed.weight.grad)
outputs = [denoiser(x_start, torch.full((6,), label)) for label in (0, 1)]
print(f"直接调用网络，换类别，输出差 {(outputs[0] - outputs[1]).abs().max():.2f}")

# %% [markdown]
# 病根是什么？
#
# - A：`loss` 收下了类别，却没有交给网络。
# - B：嵌入的初值都一样。
# - C：梯度太小，看不出来。
# - D：噪声太大，盖住了条件。

# %%
grade("16.24", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ## 小结
#
# 二十四个病例，按病根归成几类：
#
# | 病根 | 病例 | 防它的办法 |
# |:--|:--|:--|
# | 公式没有推过，或者漏了条件 | 1、3、5、6、8 | 闭式、恒等式、与独立的推导比较 |
# | 数值 | 2、4、13 | 在 float64 里算，末了舍入一次；用 `isfinite` |
# | 不查参数 | 7、10、23 | 在门口查范围与形状，说清应当怎样 |
# | 改了别人的东西 | 9、22 | 不就地改动，先复制 |
# | 次序、时机不对 | 11、15、20、21 | 画出先后，在边界上代数字 |
# | 没有恢复 | 14 | `try … finally` |
# | 名字对不上 | 12、19 | 不改名字；对不上就报错 |
# | 归谁管没有说清 | 16、17 | 缓冲区、参数、普通张量分清；参数分组 |
# | 比较不公平 | 18 | 同一份随机数 |
# | 收下不用 | 24 | 参数要么有用，要么没有 |
#
# 课程的程序包在每一处都有一个测试，在参考实现的写法上会失败；对照表在 `tests/README.md`。
# 工作中遇到的症状更杂，[排障手册](91_troubleshooting.ipynb) 按症状列出原因与办法。
