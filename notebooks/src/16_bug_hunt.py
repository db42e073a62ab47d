# %% [markdown]
# # 16 · 找 bug：十二个病例，三个猎场
#
# 扩散模型的代码写错了，程序多半不报错，损失也照样下降，只是画出来的图不对。这一章只问一件事：**怎样找到写错的那一行？**
#
# **学习目标**
#
# - 从症状出发，写下几种可能的原因，再想一个能分开它们的试验。
# - 认得由公开讨论引出的十二种错，每一种都动手修。
# - 面对一个看不到源码的模型，能自己设计试验，找出错在哪一个环节，拿出证据。
#
# **预计用时** 读 40 分钟；十二个病例全做，再加 120 分钟，三个猎场再加 60 分钟。病例互不依赖，可以分几次做。运行全部单元约 20 秒。

# %%
import copy

import numpy as np
import torch
from torch import nn

from ddpm_edu import LitEma, load_pretrained, make_beta_schedule
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.schedules import rescale_linear_range
from ddpm_edu.teach import grade, grid_figure
from ddpm_edu.teach.bug_figures import gaps_figure, multiplier_figure, pipeline_figure, shadow_figure
from ddpm_edu.teach.bugs.folded import folded_hints, folded_result, folded_source
from ddpm_edu.teach.bugs.formulas import clip_start, make_betas, noise_variances, predict_start, training_target, x0_weights
from ddpm_edu.teach.bugs.hunts import case_four, case_two, hunt, untrained
from ddpm_edu.teach.bugs.loading import Chain, ConditionalDenoiser, build, load_unet
from ddpm_edu.teach.bugs.symptoms import draw, expected_gap, follow, gaps, loss_at, shadow_after
from ddpm_edu.teach.bugs.training import CastingEma, ema_scope, linear_multiplier, train, validate
from ddpm_edu.teach.laboratory import chain_moments

labels, digits = torch.arange(10), [str(i) for i in range(10)]
betas = make_beta_schedule("linear", 1000)
bar = np.cumprod(1 - betas)

# %% [markdown]
# 下面三排图出自三份代码。`draw` 用 DDIM 走 20 步，画 0 到 9；`loss_at` 量第 $t$ 步的损失。噪声都固定：

# %%
models = {"正常": load_pretrained("mnist"), "病例 2": case_two(), "一号猎场": hunt(1)}
healthy, misread, _ = models.values()
print("t=500 的损失：" + "，".join(f"{name} {loss_at(model, 500):.2f}" for name, model in models.items()))
grid_figure(torch.cat([draw(model) for model in models.values()]), 10, rows=list(models), columns=digits)

# %% [markdown]
# 图：损失相同，图却坏了。后两排的代码各有一处写错了。光看图与损失，说不出错在哪里。
#
# ## 怎样找 bug
#
# 1. **重现**。把症状缩成几行代码、一个数，固定随机数。
# 2. **分辨**。写下至少两种可能的原因，想一个试验，让它们预言不同的数。
# 3. **修好**。只改病根，不绕开症状。
# 4. **核对**。找一个不依赖这份代码的标准答案：闭式、恒等式，或者逐位的比较。
#
# 第 2 步最要紧：几种原因预言同一个数，试验就白做了。先看一个例子。采样的最后一步只该取均值，你拿不准手里的代码是不是这样。**甲**：只取了均值。**乙**：又加了一份噪声，标准差是 0.007。先写下两个试验的预言，再各做一遍：
#
# | 试验 | 甲预言 | 乙预言 |
# |:--|:--|:--|
# | 看图 | 像素不变 | 像素平均变不到一级，看不出来 |
# | 把这一步的噪声换成一百万 | 输出不变 | 输出差几千 |

# %%
last_steps = {"甲": lambda mean, noise: mean, "乙": lambda mean, noise: mean + 0.007 * noise}
mean, noise = torch.zeros(10_000), torch.randn(10_000, generator=torch.Generator().manual_seed(0))
for name, step in last_steps.items():
    levels = step(mean, noise).abs().mean() * 127.5  # 像素从 -1 到 1，分成 256 级
    print(f"{name}：像素平均变 {levels:.1f} 级；噪声换成一百万，输出变 {step(0.0, 1e6):.0f}")

# %% [markdown]
# 第一个不到一级，肉眼看不出；第二个差几千，不会看漏。好的试验把错误放大。
#
# 猜原因时，先想症状可能出自哪一个环节：

# %%
pipeline_figure()

# %% [markdown]
# 图：从数据到样本，A–H 是八个容易出错的环节。训练与采样用的是同一个网络。最后的三个猎场就问错在哪一个环节。
#
# 下面十二个病例（病例 1 就是 16.1，依此类推），写法都相同：
#
# - **问题**转述公开讨论里的一个问题。坏代码是为这门课写的；参考实现里也有的，章末列出。
# - **猜测**是几种可能的原因。先停一停，替每一种写下它预言的数，再从 A–D 里选一个（这些字母与图中的无关）。选错了可以再选。
# - 选完点开折叠的答案、试验（抄到新的一格里就能跑）与坏代码。带 b 的题是**动手修**。
#
# ## 练习一　十二个病例

# %% [markdown]
# ### 16.1　换了步数，图就坏 ★★
#
# **问题**　步数 $T$ 变了，你们的代码把 $\beta$ 也跟着放大；DDIM 缩短步数时并没有这样做，为什么？（RosettaCommons/RFdiffusion [#141](https://github.com/RosettaCommons/RFdiffusion/issues/141)）
#
# **症状**　数据是 $\mathcal N(0.3, 0.5^2)$，去噪器是完美的；每一步加多少噪声不归它管，由 `v_posterior` 定（第 4 章，记作 $v$），这里是 0.5。步数少了，样本的方差就偏大：

# %%
for T in (1000, 100, 50):
    variance = chain_moments(make_betas(T), mean=0.3, std=0.5, v=0.5)[1]
    print(f"T={T:4d}：样本的方差 {variance:.3f}，应为 0.250")

# %% [markdown]
# **猜测**　甲：每步加的噪声，方差不正好，步数越少，每步差得越多。乙：50 步加不够噪声，链的终点还留着原图，采样却从纯噪声出发。**哪个试验能看出乙在不在？**
#
# - A：同一条 50 步的链，再看样本的均值。
# - B：走 50 步的链，抽十万个样本，看直方图还是不是钟形。
# - C：把 $T$ 再减到 25，看方差偏得是不是更多。
# - D：数据换成均值为 0 的，走同一条 50 步的链，再看方差。

# %%
grade("16.1", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"，下同
folded_result("16.1", make_betas)

# %% [markdown]
# ### 16.1b　动手修 ★★
#
# 改写 `make_betas`：任给步数（不少于 50），终点的原图都几乎不剩，$T=1000$ 时与原来相同。$-\ln\bar\alpha_{T-1}$ 大致是各步 $\beta$ 之和，让这个和不随步数变。

# %%
def full_betas(timesteps):
    # 答案
    scale = 1000 / timesteps
    return np.linspace((scale * 1e-4) ** 0.5, (scale * 2e-2) ** 0.5, timesteps) ** 2
    # 答案完

grade("16.1b", full_betas)

# %% [markdown]
# 修好一处，要把症状再重现一遍。用课程自带的改法，走 50 步：

# %%
fifty = make_beta_schedule("linear", 50, *rescale_linear_range(50))
for v in (0.0, 0.5, 1.0):
    mean, variance = chain_moments(fifty, mean=0.3, std=0.5, v=v)
    print(f"v={v}：均值 {mean:.3f}，方差 {variance:.3f}")

# %% [markdown]
# 均值回到 0.300，乙没有了。$v=0.5$ 的方差还是 0.238，不是 0.250，换一个 $v$ 也跟着变：剩下的是甲。
#
# DDIM 不用放大：它只在训练好的 1000 步里跳着走，起点处原图几乎不剩。

# %% [markdown]
# ### 16.2　损失很低，样本支离破碎 ★★
#
# **问题**　把训练脚本改成 $v$ 目标，损失正常收敛，可是采出来的全是噪声，还要改什么？（luosiallen/latent-consistency-model [#65](https://github.com/luosiallen/latent-consistency-model/issues/65)）
#
# **症状**　仿造的一份是开头图里的第二排：没有坏到全是噪声，字却支离破碎。它的损失与正常的一样（这里的 $v$ 是速度，见第 5 章）：

# %%
for t in (250, 500, 900):
    print(f"t={t}：正常的 {loss_at(healthy, t):.2f}，病例 2 的 {loss_at(misread, t):.2f}")

# %% [markdown]
# **猜测**　甲：采样时，交给网络的步号与 $x_t$ 的对不上。乙：由网络的输出换算 $\hat x_0$ 时，用错了公式。**哪个试验分得开？**
#
# - A：换一个种子，再采一批。
# - B：多走几步，从 20 步加到 400 步。
# - C：不用网络：由 $x_0$ 与 $\varepsilon$ 算出标准答案 $v$，喂给换算，看能不能换回 $x_0$。
# - D：换一千张图，再量一次损失。

# %%
grade("16.2", None)
folded_result("16.2", training_target, predict_start)

# %% [markdown]
# ### 16.2b　动手修 ★★
#
# 三种目标都要能换算成 $x_0$；不认识的名字当场 `raise ValueError`。`bar` 是这一步的 $\bar\alpha_t$，$v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1-\bar\alpha_t}\,x_0$。

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

grade("16.2b", start_from_output)

# %% [markdown]
# ### 16.3　换成半精度，头几步的噪声没有了 ★★
#
# **问题**　装载模型时，`alphas_cumprod` 跟着降到了半精度，采出的图明显不同，是不是因为它？（AUTOMATIC1111/stable-diffusion-webui [#14071](https://github.com/AUTOMATIC1111/stable-diffusion-webui/issues/14071)）
#
# **症状**　半精度的表里，头两步噪声的方差是 0。用它由 $x_0$ 换算 $\varepsilon$，要除以 0：

# %%
half = noise_variances(betas, torch.float16)
for t in (0, 1, 2, 100):
    print(f"t={t:3d}：应为 {1 - bar[t]:.2e}，半精度 {half[t]:.2e}")

# %% [markdown]
# **猜测**　甲：半精度存不下 $10^{-4}$ 这样小的数。乙：$\bar\alpha_0 = 0.9999$，半精度在 1 的下方一格是 $4.9\times10^{-4}$，它先被舍入成了 1，再拿 1 去减。**哪个试验分得开？**
#
# - A：把网络换回单精度，表不动。
# - B：在 float64 里算好 $1-\bar\alpha_t$，再存成半精度，看第 0 步还是不是 0。
# - C：看第 999 步准不准。
# - D：把 $T$ 从 1000 加到 2000，两端的 $\beta$ 不变。

# %%
grade("16.3", None)
folded_result("16.3", noise_variances)

# %% [markdown]
# ### 16.3b　动手修 ★★
#
# 由 `betas`（NumPy 的 float64 数组）造一张 $1-\bar\alpha_t$ 的表，返回 float16 的张量，每一项的相对误差不超过 float16 一次舍入的误差。

# %%
def variance_table(betas):
    # 答案
    return torch.tensor(1 - np.cumprod(1 - betas), dtype=torch.float16)
    # 答案完

grade("16.3b", variance_table)

# %% [markdown]
# ### 16.4　装了检查点，样本还是坏的 ★★★
#
# **问题**　装载时打印“686 个缺少、2 个多余的键”，这正常吗？（mlcommons/training [#807](https://github.com/mlcommons/training/issues/807)）
#
# **症状**　三段程序装同一份 mnist 检查点，都没有报错，也没有警告。换上影子，各采一排：

# %%
rows = [draw(healthy)]
for model in case_four():
    with model.ema_scope():
        rows.append(draw(model))
grid_figure(torch.cat(rows), 10, rows=("正常", "第一段", "第二段", "第三段"), columns=digits)

# %% [markdown]
# 图：前两段采出来的是噪声；第三段有的字认得出，4、6、7、9 已走样。
#
# **猜测**　甲：网络没有装对，影子由它抄来，也就不对。乙：网络装上了，影子没有。丙：网络与影子都对，噪声表不是训练时的那张。**哪个试验能说出每一段是哪一种？**
#
# - A：换成祖先采样，多采几批。
# - B：数一数文件里有几个键，够不够。
# - C：不换上影子，用原权重再采一排。
# - D：装完之后，网络、影子、表分别与检查点里的相减。

# %%
grade("16.4", None)
folded_result("16.4", load_unet, build, Chain)

# %% [markdown]
# ### 16.4b　动手修 ★★
#
# 修第一段。从检查点的 {键: 张量} 里取出以 `model.diffusion_model.` 开头的，去掉前缀，返回新的字典；一个也没有时 `raise ValueError`。影子的键 `ema.model.diffusion_model.…` 不取。

# %%
def unet_state(state):
    # 答案
    prefix = "model.diffusion_model."
    found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not found:
        raise ValueError(f"没有以 {prefix} 开头的键，检查文件是不是 U-Net 的检查点")
    return found
    # 答案完

grade("16.4b", unet_state)

# %% [markdown]
# ### 16.5　换什么类别都一样 ★
#
# **问题**　`forward` 把条件 c 交给了 `p_losses`，可是 `p_losses` 的参数里没有条件的位置，这不对吧？（tyxsspa/AnyText [#84](https://github.com/tyxsspa/AnyText/issues/84)）
#
# **症状**　按类别训练，损失照样下降，采样时换什么类别都一样。拿一个刚造好的模型（类别的嵌入从 0 练起），换三个类别，看损失：

# %%
torch.manual_seed(0)
denoiser = ConditionalDenoiser()
x_start, noise = torch.randn(6, 4), torch.randn(6, 4)
for label in (0, 1, 9):
    print(f"类别 {label}：损失 {denoiser.loss(x_start, noise, torch.full((6,), label)):.4f}")

# %% [markdown]
# **猜测**　嵌入还是 0，所以损失相同说明不了什么。甲：训练时类别没有交给网络。乙：交了，只是训练得不够，各类的嵌入都还在 0 附近。还是用这个刚造好的模型，**哪个试验分得开？**
#
# - A：换一个种子造模型，再比三个类别的损失。
# - B：不看损失，同样的输入、三个类别，直接比网络的输出。
# - C：反向传播一次，看嵌入的梯度。
# - D：接着训练一万步，看损失还降不降。

# %%
grade("16.5", None)
folded_result("16.5", ConditionalDenoiser)

# %% [markdown]
# ### 16.5b　动手修 ★
#
# 改写损失：`denoise(x, c)` 由带噪的图 `0.6 * x_start + 0.8 * noise` 与类别 `c` 猜噪声，返回均方误差；`c` 是 `None` 时原样传下去，表示没有条件。

# %%
def conditional_loss(denoise, x_start, noise, c):
    # 答案
    noisy = 0.6 * x_start + 0.8 * noise
    return (denoise(noisy, c) - noise).square().mean()
    # 答案完

grade("16.5b", conditional_loss)

# %% [markdown]
# ### 16.6　同一份权重，两个损失 ★★
#
# **问题**　训练了一千二百轮，损失还是忽高忽低，正常吗？（ermongroup/ddim [#33](https://github.com/ermongroup/ddim/issues/33)）
#
# **症状**　拿这样的损失去比较两份权重，看不出谁好。一份与原权重一模一样，另一份的偏置多 0.1，确实差一点。各与原权重比 40 次：

# %%
torch.manual_seed(0)
model = nn.Conv2d(1, 1, 3, padding=1)
same, worse = copy.deepcopy(model), copy.deepcopy(model)
nn.init.constant_(worse.bias, model.bias.item() + 0.1)
images = torch.rand(8, 1, 8, 8) * 2 - 1
groups = {"一样的权重": gaps(same, model, images), "偏置多 0.1": gaps(worse, model, images)}
exact = expected_gap(model, images, 0.1)  # 对所有的 level 与噪声求期望
gaps_figure(groups, {"一样的权重": 0, "偏置多 0.1": exact})

# %% [markdown]
# 图：单看一次比较，连谁大谁小都说不准。一个点是一次比较；粗的短线是真正的差。
#
# **猜测**　原因不必猜：每次抽的噪声不同，噪声占多少（`level`）也不同。难的是办法：**怎样最省力地看出这 0.0276 的差？**
#
# - A：两份权重各量一百次，比较平均。
# - B：两份权重用同一份 `level` 与噪声，各量一次。
# - C：验证集加大一倍，各量一次。
# - D：两份权重各量十次，取平均，画出平滑的曲线再比。

# %%
grade("16.6", None)
folded_result("16.6", validate)

# %% [markdown]
# ### 16.6b　动手修 ★★
#
# 改写 `validate`，添一个参数 `seed`：同一个 `seed` 抽到同样的 `level` 与 `noise`。用一个以 `seed` 为种子的 `torch.Generator`，先抽 `level`，再抽 `noise`，不去动全局的随机数。

# %%
def fair_validate(model, images, seed):
    # 答案
    generator = torch.Generator().manual_seed(seed)
    level = torch.rand(len(images), 1, 1, 1, generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    noisy = (1 - level).sqrt() * images + level.sqrt() * noise
    with torch.no_grad():
        return (model(noisy) - noise).square().mean().item()
    # 答案完

grade("16.6b", fair_validate)

# %%
shared = gaps(worse, model, images, shared=True)  # 每一次比较，两边用同一份 level 与噪声
gaps_figure({"各抽各的": groups["偏置多 0.1"], "同一份噪声": shared}, {"各抽各的": exact, "同一份噪声": exact})

# %% [markdown]
# 图：用同一份噪声，40 次比较都分得出谁大。两行都是偏置多 0.1 的，第二行的点全在 0 的右边。

# %% [markdown]
# ### 16.7　开了梯度累积，影子就贴着权重走 ★★
#
# **问题**　开了梯度累积，你们更新 EMA 的时候与别的项目不同，有什么用意？作者答：没有用意，就是个 bug。（SWivid/F5-TTS [#631](https://github.com/SWivid/F5-TTS/issues/631)）
#
# **症状**　每 10 批更新一次权重，衰减是 0.9，所以权重更新一次，影子应当向它走完两者之差的 10%。量出来却是 65%：

# %%
weights, shadows, ideal, covered = follow(train)  # 练一个只有一个权重的网络，每一批记下权重与影子
print(f"量了 {len(covered)} 次权重更新，影子走完的比例平均是 {covered.mean():.2f}")

# %% [markdown]
# **猜测**　因为 $1-0.9^{10}=0.65$，两种原因都说得通。甲：衰减写成了 `decay ** accumulate`，成了 $0.9^{10}$。乙：衰减是对的，影子更新得太勤。**哪个试验分得开？**
#
# - A：衰减从 0.9 加到 0.99，再量影子走完的比例。
# - B：学习率减半，再量影子走完的比例。
# - C：改成每 20 批更新一次权重，再量影子走完的比例。
# - D：数一数：权重更新了几次，影子更新了几次。

# %%
grade("16.7", None)
folded_result("16.7", train)

# %% [markdown]
# ### 16.7b　动手修 ★★
#
# 改写 `train`：权重每更新一次，影子更新一次，权重在先。优化器用 `torch.optim.SGD`，学习率 0.1；末尾返回 `ema`。

# %%
def train_right(model, ema, batches, accumulate):
    # 答案
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for i, (x, y) in enumerate(batches):
        ((model(x) - y).square().mean() / accumulate).backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            ema(model)
    return ema
    # 答案完

grade("16.7b", train_right)

# %%
shadow_figure(weights, shadows, ideal)

# %% [markdown]
# 图：影子走得太快。权重跳一次，影子在涂灰的十批里走了十步，共 65%；应有的影子（点线）只走一步，10%。

# %% [markdown]
# ### 16.8　半精度的模型，EMA 纹丝不动 ★★
#
# **问题**　有人提交修复：权重是 fp16 或 bf16 时，EMA 的更新几乎都舍入成了 0。（d8ahazard/sd_dreambooth_extension [#1415](https://github.com/d8ahazard/sd_dreambooth_extension/pull/1415)）
#
# **症状**　下面这份的影子是 float32，照样不动。权重从 1 变到 1.0078，是 bfloat16 的下一格；更新 3000 次，影子该走到 1.0074：

# %%
for dtype in (torch.float32, torch.bfloat16):
    print(f"模型是 {dtype}：影子 {shadow_after(CastingEma, dtype, decay=0.999, updates=3000):.4f}")

# %% [markdown]
# **猜测**　甲：影子每次只走 0.0078 的千分之一，更新太小，被半精度舍掉了。乙：更新写到了别的张量里，影子收不到。**哪个试验能看出乙在不在？**
#
# - A：衰减取 0，让更新大到一步就该等于权重，看影子动不动。
# - B：更新一万次，看影子最后到不到 1.0078。
# - C：把模型换成 float32，看影子动不动。
# - D：衰减加到 0.9999，看影子动不动。

# %%
grade("16.8", None)
folded_result("16.8", CastingEma)

# %% [markdown]
# ### 16.8b　动手修 ★★
#
# `shadow` 是 float32 的张量，`weight` 的类型不定。返回影子的下一个值 $d\,s + (1-d)\,\theta$，要 float32；两个参数都不改动。

# %%
def next_shadow(shadow, weight, decay):
    # 答案
    return torch.lerp(shadow, weight.float(), 1 - decay)
    # 答案完

grade("16.8b", next_shadow)

# %% [markdown]
# 为什么连计算也要用 float32？只让结果写回影子，仍在 bfloat16 里走一步：

# %%
print(f"bfloat16 里走一步：{torch.tensor(1.0).bfloat16().lerp(torch.tensor(1.0078).bfloat16(), 0.001):.4f}")

# %% [markdown]
# 还是 1，可见甲也在：一步只有 $7.8\times10^{-6}$，bfloat16 的一格是 $7.8\times10^{-3}$。

# %% [markdown]
# ### 16.9　热身一完，学习率掉了一截 ★★
#
# **问题**　照这份配置，学习率到底怎样变？有人答：一直是常数。（timothybrooks/instruct-pix2pix [#121](https://github.com/timothybrooks/instruct-pix2pix/issues/121)）
#
# **症状**　那份配置的 `f_max` 与 `f_min` 都是 1，公式写错了也看不出来。换一组：热身 100 步，到第 1000 步从 1 降到 0：

# %%
multipliers = [linear_multiplier(n, warm_up=100, length=1000, start=0.0, low=0.0, high=1.0) for n in range(1200)]
print("，".join(f"第 {n} 步 {multipliers[n]:.2f}" for n in (99, 100, 999, 1100)))
multiplier_figure(multipliers, np.interp(range(1200), [0, 100, 1000], [0, 1, 0]))

# %% [markdown]
# 图：热身一完，乘数掉了一截（小图放大了这一处）。应有的是虚线；过了第 1000 步，乘数成了负数（涂色的一段）。
#
# **猜测**　**掉的一截从哪里来？** 把四种说法与印出的四个数比，看哪一种对得上。
#
# - A：热身没有升到 1，差了一步。
# - B：下降的那一段从第 0 步起算，热身用掉的步数也算成了下降。
# - C：下降的那一段到第 1000 步还没有降到 `low`。
# - D：直线与热身接不上，要换成余弦。

# %%
grade("16.9", None)
folded_result("16.9", linear_multiplier)

# %% [markdown]
# ### 16.9b　动手修 ★★
#
# 前 `warm_up` 步从 `start` 线性升到 `high`；再线性下降，到第 `length` 步正好是 `low`，以后都是 `low`。`warm_up` 可以是 0，也可以等于 `length`。

# %%
def smooth_multiplier(n, warm_up, length, start, low, high):
    # 答案
    if n < warm_up:
        return start + (high - start) * n / warm_up
    if n >= length:
        return low
    return high + (low - high) * (n - warm_up) / (length - warm_up)
    # 答案完

grade("16.9b", smooth_multiplier)

# %% [markdown]
# ### 16.10　离开作用域，权重没有换回来 ★★★
#
# **问题**　有人提交修复：从验证期间存下的检查点接着训练，原来的权重会被 EMA 的权重盖掉。（atomistic-machine-learning/schnetpack [#785](https://github.com/atomistic-machine-learning/schnetpack/pull/785)）
#
# **症状**　不用检查点，也遇得上同一种错。一个作用域，进去换上影子，出来换回权重。权重是 1，影子是 5。里面再进一次，就换不回来了：

# %%
live, shadow, backup = {"w": torch.tensor(1.0)}, {"w": torch.tensor(5.0)}, {}
with ema_scope(live, shadow, backup):
    with ema_scope(live, shadow, backup):
        pass
print(f"出来以后，权重是 {live['w']:.0f}，应为 1")

# %%
folded_source(ema_scope)

# %% [markdown]
# **猜测**　点开代码，逐行走一遍，每走一行写下权重与备份各是几。**嵌套时，是哪一行弄丢了 1？**
#
# - A：`backup.update(...)`：里层进来时，又存了一次。
# - B：`tensor.copy_(shadow[name])`：影子抄了两次。
# - C：`yield`：里层离开时，没有执行它后面的几行。
# - D：最后一行的 `tensor.copy_(backup[name])`：抄的方向反了。

# %%
grade("16.10", None)
folded_result("16.10")

# %% [markdown]
# ### 16.10b　动手修 ★★★
#
# 写成一个函数：`weights` 与 `shadow` 都是 {名字: 张量}。把影子的数抄进 `weights` 的张量里，调用 `work()`，返回它的结果；无论怎样离开，原来的数都要逐位回来，错误照样抛出。`work` 里面可能再调用这个函数。

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

grade("16.10b", run_with_ema)

# %% [markdown]
# ### 16.11　x0 的权重加起来不对 ★★★
#
# **问题**　目标是 x0 或 v 时，`lvlb_weights` 为什么是这个样子？DDPM 与渐进蒸馏的论文里都找不到这个式子。（CompVis/stable-diffusion [#698](https://github.com/CompVis/stable-diffusion/issues/698)）
#
# **症状**　`v_posterior` 是 0 时，正确的权重对 $t\ge1$ 求和会首尾相消（第 6 章），等于 $\tfrac12(\mathrm{SNR}_0-\mathrm{SNR}_{T-1})$。这份代码的和却小得多，与正确值之比也不是处处为 1：

# %%
tables, snr = diffusion_tables(betas), bar / (1 - bar)
right = tables["posterior_mean_coef1"][1:] ** 2 / (2 * tables["posterior_variance"][1:])
wrong = x0_weights(betas)[1:]
print(f"和：{wrong.sum():.1f}，应为 {0.5 * (snr[0] - snr[-1]):.1f}")
print("这份代码与正确值之比：" + "，".join(f"t={t} 处 {wrong[t - 1] / right[t - 1]:.3g}" for t in (1, 10, 100, 999)))

# %%
folded_source(x0_weights)

# %% [markdown]
# **猜测**　点开代码，把 A、B、D 的预言与上面的比值对一对，A 要改一行再算；都对不上，才轮到 C。**错在哪里？**
#
# - A：少了一对括号，分母应为 $2(1-\bar\alpha_t)$；补上之后，比值处处是 1。
# - B：整体差一个常数倍，比值处处相同。
# - C：公式不是从 KL 推出来的，补括号、乘常数都救不了。
# - D：float32 的舍入误差，只在 $t$ 小的地方大，$t$ 大时比值是 1。

# %%
grade("16.11", None)
folded_result("16.11")

# %% [markdown]
# ### 16.11b　动手修 ★★★
#
# 由 `betas` 算出 $t=1,\dots,T-1$ 的权重（`v_posterior` 是 0，目标是 x0），返回 $T-1$ 个数。从 $c_1^2/(2\tilde\beta_t)$ 出发，化简之后只剩相邻两步的信噪比。

# %%
def right_weights(betas):
    # 答案
    bar = np.cumprod(1 - betas)
    snr = bar / (1 - bar)
    return 0.5 * (snr[:-1] - snr[1:])
    # 答案完

grade("16.11b", right_weights)

# %% [markdown]
# ### 16.12　量一量，输出变了 ★
#
# **问题**　采样时为什么要把 `x_start` 截到 [-1, 1]？论文里没有提。（lucidrains/denoising-diffusion-pytorch [#65](https://github.com/lucidrains/denoising-diffusion-pytorch/issues/65)）
#
# **症状**　截断没有错，错在写法。我们只想看看截断之前、之后的最大值，网络的输出却变了：

# %%
model_out = torch.tensor([-3.0, 0.5, 2.0])  # 目标是 x0 时，网络的输出就是 x_recon
print(f"截断之前，网络的输出最大是 {model_out.max():.1f}")
x_recon = clip_start(model_out)
print(f"截断之后，再看一次同一个输出：{model_out.max():.1f}")

# %% [markdown]
# **猜测**　**网络的输出为什么变了？**
#
# - A：`x_recon` 与网络的输出在同一张计算图里，截断顺着图传了回去。
# - B：两次打印之间，网络又跑了一遍，随机数不同。
# - C：第二次打印的其实是 `x_recon`，不是网络的输出。
# - D：截断是就地做的，`x_recon` 与网络的输出是同一个张量。

# %%
grade("16.12", None)
folded_result("16.12", clip_start)

# %% [markdown]
# ### 16.12b　动手修 ★
#
# 把 `x_recon` 截到 [-1, 1]，返回新的张量。

# %%
def clipped(x_recon):
    # 答案
    return x_recon.clamp(-1.0, 1.0)
    # 答案完

grade("16.12b", clipped)

# %% [markdown]
# ## 练习二　三个猎场
#
# `hunt(1)`、`hunt(2)`、`hunt(3)` 各给你一个 `DDPM`：随包的 mnist 模型（$v$ 目标、`cosine` 噪声表、1000 步、按类别），其中一个环节换成了错的。不看源码，只调用公开的接口，自己设计试验。真的工作里没有健康的模型可以对照，所以标准答案要从公式里来。
#
# 字母与前面的图相同；`x`、`noise` 是 (10, 1, 28, 28) 的浮点张量，`t` 是 (10,) 的 int64，`labels` 是 0 到 9：
#
# | 环节 | 能调用的 |
# |:--|:--|
# | A 加噪与噪声表 | `betas`、`alphas_cumprod` 等表，`q_sample(x, t, noise)` |
# | B 步号 $t$ 怎样进网络；C 类别怎样进网络 | `apply_model(x, t, labels)` |
# | D 由网络的输出换算 $\hat x_0$，以及截断 | `predict_start(x, t, True 或 False, cond=labels)`，返回 $\hat x_0$，第三个参数是截不截断 |
# | E 采样的一步：系数、步号、噪声 | `sample(n, cond=labels, sampler=…, steps=…, callback=f)`，每走一步调用一次 `f(t, x_t, x0)`，`x0` 是由 `x_t` 猜出的 $\hat x_0$ |
# | F 训练损失 | `p_losses(x, t, noise, cond=labels)`，返回（总损失，记录的字典） |
# | G EMA 的更新 | `model_ema(model.model)` 更新一次，`model_ema.shadow` 是影子 |
# | H 权重的装载，以及 EMA 的换上换下 | `ema_scope()` 换上影子，`model.state_dict()` |
#
# 每个猎场两题，先自己加一格做试验，做不下去有三级提示。第一题填错在哪一个环节；第二题交出证据：写一个函数，模型有这种病时返回 `True`，健康的、病根不同的都返回 `False`。先拿病例 2 示范，它的换算错了，用的恒等式是 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,\hat v$：

# %%
def evidence_case_two(model):
    x_t, t = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.full((10,), 500)
    root, spread = model.alphas_cumprod[500].sqrt(), (1 - model.alphas_cumprod[500]).sqrt()
    with torch.no_grad():
        formula = root * x_t - spread * model.apply_model(x_t, t, labels)
        return bool((model.predict_start(x_t, t, False, cond=labels) - formula).abs().max() > 0.001)

for name, model in {"健康的": healthy, "病例 2": misread, "没有训练过的": untrained()}.items():
    print(f"{evidence_case_two(model)!s:5}  {name}")

# %% [markdown]
# 等式的两边用的是同一个网络的输出：网络好不好，等式都成立，只有换算写错了才不成立。“样本不好看”就不算证据：没有训练过的网络，样本也难看。

# %% [markdown]
# ### 16.13　一号猎场：样本上全是噪点 ★★
#
# 症状是开头图里的第三排。训练的损失与正常的相同。

# %%
grade("16.13", None)  # 错在哪一个环节？把 None 换成表里的 "A" 到 "H" 中的一个，下同
folded_hints("16.13")

# %% [markdown]
# ### 16.13b　一号猎场：证据 ★★
#
# 写一个函数：一号猎场返回 `True`；健康的、没有训练过的，还有另外两个猎场，都返回 `False`。

# %%
def evidence_1(model):
    # 答案
    x_t, t = 3 * torch.randn(10, 1, 28, 28), torch.full((10,), 500)
    with torch.no_grad():
        return bool(model.predict_start(x_t, t, True, cond=torch.arange(10)).abs().max() > 1)
    # 答案完

grade("16.13b", evidence_1)

# %% [markdown]
# ### 16.14　二号猎场：换上 EMA 就坏 ★★
#
# 这个模型的权重更新了 2 577 次，EMA 的计数也记到了 2 577。用原权重采样，再换上 EMA 的权重采样：

# %%
suspect = hunt(2)
with suspect.ema_scope():
    averaged = draw(suspect)
grid_figure(torch.cat([draw(suspect), averaged]), 10, rows=("原权重", "EMA"), columns=digits)

# %% [markdown]
# 图：原权重的样本是好的；换上 EMA，一个数字也看不出来。

# %%
grade("16.14", None)
folded_hints("16.14")

# %% [markdown]
# ### 16.14b　二号猎场：证据 ★★
#
# 写一个函数，测出二号猎场的病。改动模型的权重不要紧。

# %%
def evidence_2(model):
    # 答案
    before = [tensor.clone() for tensor in model.model_ema.shadow.values()]
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(1.0)
    for _ in range(10):
        model.model_ema(model.model)
    return all(torch.equal(a, b) for a, b in zip(before, model.model_ema.shadow.values()))
    # 答案完

grade("16.14b", evidence_2)

# %% [markdown]
# ### 16.15　三号猎场：损失偏高，有的字走了样 ★★★
#
# $t$ 均匀地抽，损失只比正常的高 4%：八个种子，平均高 0.0048 ± 0.0005（± 是标准误）。样本多半认得出：

# %%
grid_figure(torch.cat([draw(healthy), draw(hunt(3))]), 10, rows=("正常", "三号猎场"), columns=digits)

# %% [markdown]
# 图：三号猎场的 4、6、9 明显走样，1、3、7 也变了，0、2 却差不多。

# %%
grade("16.15", None)
folded_hints("16.15")

# %% [markdown]
# ### 16.15b　三号猎场：证据 ★★★
#
# 写一个函数，测出三号猎场的病；没有训练过的模型，也要返回 `False`。

# %%
def evidence_3(model):
    # 答案
    x_t, labels = torch.randn(10, 1, 28, 28), torch.arange(10)
    with torch.no_grad():
        same = [torch.equal(*(model.apply_model(x_t, torch.full((10,), step), labels) for step in (t, t + 1))) for t in (50, 600)]
    return any(same) and not all(same)
    # 答案完

grade("16.15b", evidence_3)

# %% [markdown]
# ## 小结
#
# **怎样找到写错的那一行？** 先把症状缩成一个数，写下两种原因，再找一个试验，让两种原因预言不同的数。试验选得好，量一次就够：两边用同一份噪声，一次抵得上两百次。
#
# 十二个病例落在这些环节上：

# %%
pipeline_figure({"A": "1、3", "C": "5", "D": "2、12", "F": "11\n病例 6（验证）", "G": "7、8", "H": "4、10", "优化器": "9"})

# %% [markdown]
# 图：橙色的是病例，写在病根所在的环节旁边。病例 6 量的是验证的损失。
#
# 怎样防它们？右边是参考实现里有同一种错的函数（第 17 章附三）：
#
# | 病例 | 怎样防 | 参考实现里 |
# |:--|:--|:--|
# | 2、4 | 不认识的名字、对不上的键，当场报错；装完之后，网络、影子、表都与文件相减 | 4：`init_from_ckpt` |
# | 3 | 先在 float64 里算完，最后舍入一次 | |
# | 1、9、11 | 公式在两端代入数，再与独立的推导比较 | 9：`LambdaLinearScheduler.schedule`；11：`register_schedule` |
# | 5 | 交给网络的条件，看有没有梯度 | |
# | 6、7 | 比较用同一份随机数；更新数一数次数 | 6：`validation_step`；7：`on_train_batch_end` |
# | 8、10、12 | 改动一个张量之前，想清楚它是哪一份、还有谁在用 | 8：`LitEma.forward`；10：`ema_scope`；12：`p_mean_variance` |
#
# 工作中遇到的症状更杂，[排障手册](91_troubleshooting.ipynb) 按症状列出原因与办法。
