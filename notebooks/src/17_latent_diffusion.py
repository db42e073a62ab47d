# %% [markdown]
# # 17 · 从 DDPM 到 latent-diffusion
#
# 一张 512×512 的彩色图约有 79 万个数。直接在上面跑 DDPM，采样的每一步都要把这些数全算一遍。
# Stable Diffusion 先把图压成 64×64×4 个数，只剩 1/48，再在这些数上扩散。**先压缩再扩散，划算吗？** 这一章用手写数字真的算一遍账。
#
# 先说答案：每一步划算，乘法只有三分之一。压缩用的网络也要练；算上它，花同样的乘法，潜变量画得也好一些。数字图很小，这个答案不一定能搬到大图上。
#
# **学习目标**
#
# - 说清“先压缩，再扩散”的两个阶段：谁在学，谁冻结，损失算在哪里。
# - 解释 β 与 `scale_factor` 各管什么，`scale_factor` 取错了会怎样。
# - 说出潜变量省在哪里，代价在哪里；认得 `LatentDiffusion`，能带着对照表去读原文件。
#
# **预计用时** 45 分钟。运行全部单元约半分钟。

# %%
import copy
import math

import torch
from torch.utils.flop_counter import FlopCounterMode

from ddpm_edu import DDPM, LatentDiffusion, load_pretrained, make_beta_schedule
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach import grid_figure, show_source
from ddpm_edu.teach.datasets import drawn_by
from ddpm_edu.teach.latent_figures import cost_figure, latent_figure, sigma_figure
from ddpm_edu.teach.latents import entered
from ddpm_edu.teach.reference_map import reference_map

# %% [markdown]
# ## 1　先压缩，再扩散
#
# 一张图里相邻的像素往往差不多，所以可以先训练一个自编码器 (autoencoder)：编码器把图压成小得多的潜变量 (latent)，解码器再把潜变量还原成图。
# 之后，扩散只在潜变量上做，最后解码一次。
#
# 随包的模型 `mnist_latent` 就是这样练的。对它说一个数字，前面还可以加一个“细”或“粗”。先看它画的图：

# %%
model = load_pretrained("mnist_latent")
speaker = model.model.cond_stage_model  # 词 → 向量
digits = [str(digit) for digit in range(10)]


def spoken(sentences):
    """照几句话各画一张，28×28"""
    return model.sample(len(sentences), sampler="ddim", steps=20, cond=speaker.encode(sentences), guidance_scale=2.0,
                        generator=torch.Generator().manual_seed(0), progress=False)


rows = {"只说数字": digits, "“细”": [f"细 {digit}" for digit in digits], "“粗”": [f"粗 {digit}" for digit in digits]}
grid_figure(torch.cat([spoken(sentences) for sentences in rows.values()]), nrow=10, rows=list(rows), columns=[f"“{digit}”" for digit in digits])

# %% [markdown]
# 图：在潜变量上扩散，照着一两个词画得出数字。一列一个数字，三排从同一批噪声出发。也有失手的：下面两排的“5”不像 5，“粗”的“3”像 8。
#
# 这些图都是解码器画的，U-Net 没有见过一个像素。跟着一张“3”，看它经过哪些地方：

# %%
threes = drawn_by("mnist")[3:4]  # 像素模型画的一张“3”，这门课自带
three = model.encode_first_stage(threes).sample(torch.Generator().manual_seed(1))
a = float(model.scale_factor)
noise = torch.randn(three.shape, generator=torch.Generator().manual_seed(0))
noisy = (a * three + noise) / 2**0.5  # 取 ᾱ = 1/2 的那一步
drawn = model.p_sample_loop(three.shape, sampler="ddim", steps=20, cond=speaker.encode(["3"]), guidance_scale=2.0, x_T=noise, progress=False)
latents = {"z": three, "az": a * three, "z_t": noisy, "noise": noise, "z_0": drawn, "divided": drawn / a}
images = {"x": threes, "restored": model.decode_first_stage(a * three), "new": model.decode_first_stage(drawn)}
latent_figure({name: x[0, :2] for name, x in (latents | images).items()})

# %% [markdown]
# 图：扩散只在两条虚线之间进行，像素只在两头。浅蓝的框在学，灰框冻结。黑白的小图是像素；彩色的小图是潜变量，紫是负，绿是正，四个通道只画头两个。
#
# - **第一阶段**：编码器与解码器一起学，损失算在图上，另加一项 KL（第 3 节）。
# - **第二阶段**：编码器冻结，潜变量乘一个系数 $a$（第 4 节）。学的是 U-Net 与词的向量，损失算在潜变量上；这个模型猜的是 $v$。
# - **采样**：反复走的只有 U-Net，走完才解码一次。
#
# 划不划算，要问四件事：压缩丢了多少（第 2 节），潜变量适不适合加噪（第 3、4 节），一步省多少（第 5 节），一共花了多少（第 6 节）。
#
# ## 2　压缩丢了什么
#
# 28×28 的图先补到 32×32，再压成四个通道的 8×8：网络把 1024 个数变成 256 个。丢了的细节，扩散再好也画不出。先猜：误差散在整张图上，还是集中在哪里？

# %%
hundred = drawn_by("mnist")
posterior = model.encode_first_stage(hundred)
restored = model.first_stage_model.decode(posterior.mode())
squared, stroke = (restored - hundred).square(), hundred > -0.9  # 不是黑底的，算笔画
print(f"笔画占像素的 {float(stroke.float().mean()):.0%}，占平方误差的 {float(squared[stroke].sum() / squared.sum()):.0%}")
error = (4 * (restored - hundred)).clamp(-1, 1)
grid_figure(torch.cat([hundred[:10], restored[:10], error[:10]]), nrow=10, rows=["压缩前", "解码的", "误差 × 4"])


# %% [markdown]
# 图：笔画都在，误差集中在笔画上。上排是像素模型画的图，自编码器没有见过；中排是压缩又解码的；下排是中排减上排，放大四倍：中灰是 0，纯白、纯黑是 ±0.25 以外。
#
# 随包的模型画得不够好，怪压缩吗？用第 13 章的 Fréchet 距离量，越小越像。三种图各取 400 张，都与测试图比；
# 模型画的不加引导，用 DPM-Solver++ 走 10 步。表里是八批的平均 ± 标准误（`python -m benchmarks.latent_mnist train decoded latent-1`）：
#
# | 400 张图 | Fréchet 距离 |
# |:--|--:|
# | 真图（训练图） | 38.9 ± 3.5 |
# | 真图，压缩又解码 | 42.8 ± 3.8 |
# | `mnist_latent` 画的 | 98.1 ± 4.4 |
#
# 同一批图压缩前后逐批相减，只添了 3.9 ± 0.9；换成自编码器没有见过的测试图（`test test-decoded`），也只添 4.0 ± 0.7。
# 模型画的又多出 55，差在画潜变量这一步：U-Net 与只走 10 步的采样各占多少，没有分开。
#
# ## 3　β：把潜变量拉多紧
#
# 扩散要在潜变量上学。自编码器若只求还原得像，潜变量的尺度多大，相邻的图编得多远，都没有人管。
#
# latent-diffusion 的办法是让编码器给出一个高斯分布 $\mathcal N(\mu,\sigma^2)$，从里面抽一个 $z$ 再解码，另外用 KL 散度把这个分布拉向标准高斯：
#
# $$\mathcal L=|\hat x-x|^2+\beta\,\mathrm{KL}\big(\mathcal N(\mu,\sigma^2)\,\big\|\,\mathcal N(0,I)\big),\qquad z=\mu+\sigma\varepsilon$$
#
# 这里的 $\beta$ 是 KL 的权重，与噪声表的 $\beta_t$ 无关。先猜：β 很大时，编码器会给出什么？
#
# 在 8×8 的数字上各练 300 步，在留出的图上量（八个种子，平均 ± 标准误，`python -m benchmarks.latent_mnist beta-1e-4 …`）：
#
# | β | 还原的均方根误差 | $\sigma$ 的平均 | KL（nats） |
# |--:|--:|--:|--:|
# | 0.0001 | 0.189 ± 0.003 | 0.025 ± 0.001 | 137.7 ± 1.3 |
# | 0.01 | 0.196 ± 0.002 | 0.101 ± 0.002 | 72.8 ± 0.4 |
# | 0.1 | 0.260 ± 0.003 | 0.422 ± 0.003 | 28.0 ± 0.2 |
# | 1 | 0.451 ± 0.003 | 0.907 ± 0.001 | 3.2 ± 0.1 |
# | 10 | 0.547 ± 0.000 | 1.000 ± 0.000 | 0.0 ± 0.0 |
#
# β 从小到大，$\sigma$ 一路升到 1，还原的误差也一路升。β 是 10 时，编码器给每张图的几乎都是 $\mathcal N(0,I)$，从潜变量里看不出是哪一张图。
# 随包的模型取 0.01：与 0.0001 相比，误差只大一点，KL 却少了将近一半。这里只量了还原与 KL；哪个 β 扩散得最好，没有量。
#
# 同一个 β 下，各个位置的 $\sigma$ 也不一样大。看随包的模型在一百张图上的：

# %%
sigma_figure(hundred.std(0)[0], posterior.std.mean((0, 1)))

# %% [markdown]
# 图：笔画常去的中央 $\sigma$ 小，多半是背景的四角 $\sigma$ 大。左边越白，这个像素在一百张图里变化越大。右边是 8×8 的潜变量，位置与左边对齐，格子里写着四个通道平均的 $\sigma$。
#
# 一个数若对还原没有用，损失里与它有关的就只剩 KL；KL 在 $\mathcal N(0,1)$ 处最小，$\sigma$ 就往 1 去。照此，四角的数应当可有可无，本章最后的小实验去检验。
#
# ## 4　`scale_factor`：潜变量该放大几倍
#
# 噪声表假定数据的标准差约为 1，潜变量却未必。β 很小时，KL 管不住尺度：编码放大十倍，解码缩小十倍，还原得一样好。
# 所以训练扩散之前先量一次标准差，编码之后乘系数 $a=1/\text{标准差}$，解码之前再除掉。这个系数就是 `scale_factor`。
#
# 随包的模型 $a=1.07$，几乎不用乘。Stable Diffusion 的 β 只有 $10^{-6}$，第 1 版的系数是 0.18215，由它倒推，潜变量的标准差约 5.5。
#
# 交给扩散的是 $z_0=az$，它的标准差记作 $\sigma_z$，应当是 1。弄错有两种：标准差是 5.5，却忘了乘，$\sigma_z=5.5$；标准差本来就是 1，却照抄了 0.18，$\sigma_z=0.18$。
#
# 第 $t$ 步的信噪比是 $\sigma_z^2\,\bar\alpha_t/(1-\bar\alpha_t)$，标准差错五倍半，每一步的信噪比就错三十倍。它降到 1 的那一步，潜变量与噪声一样大。看一张“3”怎样被噪声盖住：

# %%
CASES = {"乘对了（1）": 1.0, "忘了乘（5.5）": 5.5, "多乘了（0.18）": 0.18}
linear = torch.from_numpy(alphas_cumprod(make_beta_schedule("linear", 1000))[0]).float()
steps, pictures, names = [0, 100, 200, 400, 600, 800], [], []
for name, sigma_z in CASES.items():
    ratio = sigma_z**2 * linear / (1 - linear)
    names.append(f"{name}\n信噪比 1 在 t={int((ratio > 1).sum())}")
    for t in steps:
        noisy = linear[t].sqrt() * sigma_z * a * three + (1 - linear[t]).sqrt() * noise
        noisy = noisy / (linear[t] * sigma_z**2 + 1 - linear[t]).sqrt()  # 标准差拉回 1，解码器才认得
        pictures.append(model.decode_first_stage(noisy))
grid_figure(torch.cat(pictures), nrow=6, rows=names, columns=[f"t={t}" for t in steps])

# %% [markdown]
# 图：忘了乘，到了 800 步“3”还认得出；多乘了，400 步就认不出了。一行一种情形，括号里是 $\sigma_z$，下面是信噪比降到 1 的步号。噪声表都是 `linear`。
# 每格都解码出来，噪声也解成了笔画的碎片。
#
# 先猜：哪一种错，样本坏得更厉害？另用一个不带 KL 的小自编码器（潜变量 2×4×4，猜 $\varepsilon$），把 $\sigma_z$ 定成三种值，各练 300 步扩散，
# 量 8×8 的数字的 Fréchet 距离（八个种子，平均 ± 标准误，`python -m benchmarks.latent`）。图与特征都不同，不能与第 2 节的比：
#
# | | $\sigma_z$ | Fréchet 距离 |
# |:--|--:|--:|
# | 忘了乘 | 5.5 | 127 ± 3 |
# | 多乘了 | 0.18 | 97 ± 3 |
# | **乘对了** | **1** | **73 ± 1** |
#
# 两种错都让样本变坏，忘了乘坏得更厉害。是因为信噪比，还是因为数太大，这里没有分开。
#
# ## 5　每一步省多少
#
# 要比得公平，两边的网络应当同样深：`mnist_latent` 的 U-Net 每级一个残差块，像素模型 `mnist` 每级两个，所以把 `mnist` 的也改成一个。
# 先猜：潜变量的个数只有像素的三分之一，一步能快几倍？

# %%
def multiplications(function, *inputs):
    """调用一次，卷积与矩阵乘法里有几百万次乘法"""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*inputs)
    return counter.get_total_flops() / 2 / 1e6  # 一次乘加记作两次运算


config, zero = copy.deepcopy(pretrained_card("mnist")["model"]), torch.zeros(1, dtype=torch.long)
config["unet_config"]["params"]["num_res_blocks"] = 1  # 与潜变量的 U-Net 同样深
for name, network, x in (("像素，同样深", DDPM(**config), threes), ("潜变量", model, a * three)):
    print(f"{name}：U-Net 一次 {multiplications(network.apply_model, x, zero, zero):.1f} 百万次乘法")
encode, decode = multiplications(model.encode_first_stage, threes), multiplications(model.decode_first_stage, three)
print(f"自编码器：编码一张 {encode:.1f}，解码一张 {decode:.1f}")


# %% [markdown]
# 乘法降到约三分之一。道理在位置的个数：像素模型先把 2×2 个像素叠成一个位置，它的 U-Net 看到的是 14×14；潜变量的看到 8×8，位置也少到约三分之一。
#
# 再量时间，一个线程的 CPU 秒（`python -m benchmarks.latent_mnist time`，平均 ± 标准误）。训练一步的批量是 64，潜变量事先算好；画一张走 10 步，算上解码：
#
# | | 像素，同样深 | 潜变量 | 潜变量 ÷ 像素 |
# |:--|--:|--:|--:|
# | 训练一步（CPU 秒） | 0.388 ± 0.003 | 0.166 ± 0.001 | 0.428 ± 0.004 |
# | 画一张（CPU 秒） | 0.0252 ± 0.0003 | 0.0143 ± 0.0002 | 0.567 ± 0.010 |
#
# 时间省了一半左右，没有乘法省得多。
#
# ## 6　总账划算吗
#
# 一步省了，可是自编码器也要练，样本也可能差些。把训练花的乘法与样本的距离画在一张图上：
#
# - **横轴**：步数 × 批量 × 前向一张的乘法。反向约是前向的两倍，各家同乘，略去；编码训练集没有反向，所以除以 3。
# - **纵轴**：照第 13 章的办法量，每批 200 张，DDIM 15 步。像素与潜变量的 U-Net 各换八个种子从头练，± 是种子之间的标准误
#   （`python -m benchmarks.latent_mnist retrained-1`，自编码器都用随包的那一个）。
#
# 潜变量模型在第 2 节是 98.1，这里是 129：那里取 400 张，采样法也不同。真图的也由 38.9 升到 72。

# %%
quick = {f"像素，同样深，{k} 步": (k * 32 * 49.3 / 1e6, d, se) for k, d, se in ((750, 393, 16), (1500, 192, 7))}  # 批量 32；万亿次乘法，距离，标准误
unet = 1600 * 64 * multiplications(model.apply_model, a * three, zero, zero) / 1e6  # 万亿次；潜变量练了 1600 步，批量 64
coder, once = 1200 * 64 * (encode + decode) / 1e6, 60000 * encode / 3 / 1e6  # 自编码器 1200 步；六万张各编码一次
total = unet + coder + once
print(f"U-Net {unet:.1f} + 练自编码器 {coder:.1f} + 编码训练集 {once:.1f} = {total:.1f} 万亿次乘法")
for floor in (0, 72):  # 乘法每加倍，像素的距离先减 floor，再乘同一个比值；真图是 72
    beyond = floor + (192 - floor) * ((192 - floor) / (393 - floor)) ** math.log2(total / 2.37)
    print(f"像素花到 {total:.1f}，先减 {floor} 再外推：{beyond:.0f}")
latent = {"潜变量，1600 步，\n只算 U-Net": (unet, 129, 2.5), "算上\n自编码器": (total, 129, 2.5)}
cost_figure(quick, {"像素 mnist，2577 步": (11.5, 92, 5)}, latent, real=(72, 6))

# %% [markdown]
# 图：只算 U-Net，潜变量花得少，距离也小；算上自编码器，也还在像素的趋势以下。越靠左越省，越靠下越好。蓝虚线连像素的两点再延长，延长的一段没有量过。
# 空心的一点是随包的 `mnist`，深些，只练了一次，误差棒是八批样本之间的。
#
# **只练一个，潜变量略胜。** 算上自编码器，潜变量花 3.0 万亿次乘法，距离是 129 ± 3。照像素的趋势外推，像素花到 3.0 时是 148 或 156（看先减不减真图的 72）；
# 八个种子各自外推，潜变量低 20 ± 7 或 28 ± 7。外推只靠两点，批量与学习率也不一样，自编码器只练了一次，所以只能粗比。
# 若各只练种子 0，像素的 1500 步恰好是八个里最好的 164，外推是 121 或 131，潜变量是 134，就会说成分不出胜负。
#
# **多练几个，省乘法。** 自编码器只练一次，连编码训练集花 1.3；以后每个模型只付 1.7。保守些，仍拿像素的 1500 步来比，它花 2.4：每个模型省 0.66，第三个起净省乘法。
#
# **时间省得少。** 第 5 节的命令也量了批量 32 的一步与自编码器。像素的 1500 步约 324 CPU 秒，潜变量约 266，自编码器连编码约 179。
# 每个模型省 58 ± 3 秒，要练三四个才回本。
#
# ## 小结
#
# - 每一步划算：同样深的网络，乘法是三分之一；潜变量事先算好时，训练一步的时间是 43%。
# - 压缩真图丢得不多：距离从 38.9 到 42.8。潜变量模型是 98.1，多出的 55 差在画潜变量这一步。
# - 总账要看练几个。在 28×28 的数字上，只练一个，花同样的乘法，潜变量略胜；几个模型合用一个自编码器，第三个起净省训练的乘法；按 CPU 时间，要练三四个才回本。
# - 加噪之前要量好 `scale_factor`，使标准差是 1；错了五倍多，样本就坏。β 管编码器给的分布离标准高斯多近，还原因此差多少。
# - 大图上没有量。Rombach 等（2022，第 4.1 节）报告，256×256 的 ImageNet 上各练二百万步，边长压到 1/8 的潜变量模型，FID 比像素模型低 38。
#
# 小实验在最后；中间的附一到附三是源码与对照表，读原文件时再查。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 17.1　尺度因子 ★
#
# `z` 是第一批潜变量，形状 $(B, C, H, W)$。返回一个数，乘上它之后，整批的标准差是 1。

# %%
def scale_factor(z):
    # 答案
    return 1 / z.std()
    # 答案完


grade("17.1", scale_factor)

# %% [markdown]
# ### 17.2　交给扩散的潜变量 ★★
#
# `moments` 是编码器的输出，形状 $(B, 2C, H, W)$：前一半通道是均值 $\mu$，后一半是对数方差 $\ln\sigma^2$。`noise` 是 $(B, C, H, W)$ 的标准高斯噪声，`a` 是 `scale_factor`。
# 返回交给扩散的潜变量：先抽样，再乘系数。

# %%
def encode_latent(moments, a, noise):
    # 答案
    mean, logvar = moments.chunk(2, dim=1)
    return a * (mean + (0.5 * logvar).exp() * noise)
    # 答案完


grade("17.2", encode_latent)

# %% [markdown]
# ### 17.3　练几个才回本 ★★★
#
# 同一个自编码器上可以练许多个扩散模型。若把两边画的当作一样好，潜变量这一边要练几个，总的乘法才比像素少？
#
# `pixel` 与 `latent` 各是一对数：练一个模型的乘法，画一张图的乘法。每个模型练好之后画 `images` 张，`coder` 是只付一次的：练自编码器，编码训练集。
# 返回最小的正整数 $n$：练 $n$ 个模型并画完图，潜变量的总数严格小于像素的。练多少个都不会更少时，返回 0。单位都是百万次，全是整数。
#
# 写完可以代入第 6 节的账（画一张走 15 步）：`break_even((7099200, 740), (5130240, 259), 3985200, 1000)`。第 6 节的训练只记前向，连反向是三倍，所以这里乘了 3；画图没有反向，不乘。

# %%
def break_even(pixel, latent, coder, images):
    # 答案
    saved = pixel[0] - latent[0] + images * (pixel[1] - latent[1])  # 每个模型省下的
    return coder // saved + 1 if saved > 0 else 0
    # 答案完


grade("17.3", break_even)

# %% [markdown]
# ### 17.4　照抄系数 ★
#
# 有一个自编码器，潜变量的标准差是 1.6。若不量它，照抄 Stable Diffusion 的 0.18215，信噪比降到 1 的步号与 $\sigma_z=1$ 的 418 比：
#
# - A：不变，系数只改变数的大小。
# - B：推后到 530 左右，因为 1.6 比 1 大。
# - C：提前到 170 左右。
# - D：提前到 105 左右。

# %%
grade("17.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 17.5　忘了除回来 ★★
#
# 训练时潜变量乘了 `scale_factor` = 0.18215。自己写采样时，忘了先除以它就解码，图会怎样？可以试一试：`model.first_stage_model.decode(0.18 * three)`。
#
# - A：一样，解码器会适应。
# - B：发黑，笔画只剩暗暗的几道，依稀可辨。
# - C：全是噪声。
# - D：笔画胖了一圈，亮处溢出。

# %%
grade("17.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ## 附一：`LatentDiffusion` 在 `DDPM` 上添了什么
#
# 它继承 `DDPM`，多四个参数：`first_stage_config` 造自编码器，造好就冻结；`cond_stage_config` 造条件编码器，这里是一张表，每个词一个向量；`scale_factor` 是系数；
# `scale_by_std` 为真时，训练之前自己量系数。
#
# 改写的方法里，主要的有四个。进来时从编码器给的分布里抽一个，乘系数：

# %%
show_source(LatentDiffusion.get_first_stage_encoding)

# %% [markdown]
# 出去时先除以系数，再解码：

# %%
show_source(LatentDiffusion.decode_first_stage)

# %% [markdown]
# 送进 U-Net 之前，把词号换成向量，交给交叉注意力：

# %%
show_source(LatentDiffusion.apply_model)

# %% [markdown]
# 采样走完自动解码；要潜变量本身，用 `p_sample_loop`：

# %%
show_source(LatentDiffusion.sample)

# %% [markdown]
# 自己练时，先练自编码器，再练扩散，后者自己去取前者最近的检查点：
#
# ```bash
# python -m ddpm_edu fit --config mnist-autoencoder
# python -m ddpm_edu fit --config mnist-latent
# python -m ddpm_edu sample --ckpt runs/mnist-latent --words "粗 3,细 7" --guidance 2 --out grid.png
# ```
#
# ## 附二：带着它读原文件
#
# 原文件 `ldm/models/diffusion/ddpm.py` 一千多行，先认主线。用我们的模型走一遍，印出进入过的主要函数，谁调用的就缩进在谁的下面：

# %%
mini = {"image": hundred[:4], "words": speaker.encode(digits[:4])}
print("训练：", *entered(lambda: model.shared_step(mini)), sep="\n")
print("采样：", *entered(lambda: model.sample(1, steps=1, cond=speaker.encode(["3"]), progress=False)), sep="\n")

# %% [markdown]
# 同一个名字缩进着又出现一次，是子类先做自己的一份，再叫父类的。现在打开原文件，从 `LatentDiffusion.shared_step` 读起：
#
# | `LatentDiffusion` 的 | [latent-diffusion](https://github.com/CompVis/latent-diffusion/blob/a506df5756472e2ebaf9078affdde2c4f1502cd4/ldm/models/diffusion/ddpm.py) | [Stable Diffusion 2](https://github.com/Stability-AI/stablediffusion/blob/cf1d67a6fd5ea1aa600c4df58e5b47da45f6bdbf/ldm/models/diffusion/ddpm.py) |
# |:--|--:|--:|
# | `shared_step` | 865 行 | 832 行 |
# | `get_input` | 654 | 765 |
# | `get_first_stage_encoding` | 542 | 653 |
# | `forward` | 870 | 837 |
# | `p_losses` | 1012 | 883 |
# | `apply_model` | 891 | 848 |
# | `decode_first_stage` | 706 | 818 |
#
# 主线与我们的相同，写法有两处不同：
#
# - **条件在哪里编码。** 那里的条件编码器若冻结，就在 `get_input` 里编码；若也训练，推迟到 `forward`。我们一律推迟到 `apply_model`。
# - **谁来解码。** 那里的 `sample` 返回潜变量，由调用它的人解码。
#
# ## 附三：对照表与容易看错的地方
#
# 读原文件时拿来查，点开才显示。左边是原文件里的名字，章号是讲它源码的那一章。“SD 2”指只有 Stable Diffusion 2 的仓库里才有。

# %%
reference_map("base")

# %%
reference_map("parts")

# %%
reference_map("latent")

# %% [markdown]
# <details><summary>选读：哪里容易看错</summary>
#
# 前面各章遇到的差别，写在各章的「与参考实现的差别」里（第 9 章是附一、附二）。基类里还有三处：
#
# - `v_posterior` 的注释称混合的是 sigma，其实混合的是方差。
# - `p_mean_variance` 没有 `v` 这一支：Stable Diffusion 2 的基类能用 `v` 训练，用 `p_sample` 采样就报错，要用 DDIM 那个类。
# - `original_elbo_weight` 加的是按 `lvlb_weights` 加权的均方误差，不是 ELBO，还差 $T$ 倍。
#
# `LatentDiffusion` 自己还有两处。`scale_factor` 写死时不在检查点里（Stable Diffusion 写死 0.18215）；`scale_by_std` 只看训练的第一批，我们看两千来张。图太大时，它把图切成重叠的块，各自处理，再加权平均拼回去；我们没有这一样。
#
# </details>

# %% [markdown]
# ### 小实验　有多少数可以换掉
#
# 改一处，量一量，写三句话。第 3 节说，$\sigma$ 大的格子应当可有可无。把它们换成标准高斯的噪声，64 格里有多少格可以换掉，而误差不变大？
#
# 下面的两行取出 $z$，再把 64 个位置按 $\sigma$ 从小到大排好。你来换掉其中一些，解码，量还原的均方根误差（`z` 是 `(100, 4, 64)`，解码前变回 `(100, 4, 8, 8)`）：
#
# ```python
# z = posterior.mode().flatten(2)
# order = posterior.std.mean((0, 1)).flatten().argsort()
# ```
#
# 先猜：换掉 $\sigma$ 最大的 8 个、16 个、32 个位置，误差各变成多少（不换是 0.075）？换成 $\sigma$ 最小的 8 个呢？每种用八份噪声，给出平均 ± 标准误。
#
# <!-- 参考答案 -->
# **参考答案**　一百张图，八份噪声，± 后面是标准误；不换时是 0.0746：
#
# | 换掉几个位置 | $\sigma$ 最大的 | $\sigma$ 最小的 |
# |--:|--:|--:|
# | 8 | 0.0747 ± 0.0002 | 0.450 ± 0.001 |
# | 16 | 0.0832 ± 0.0006 | 0.596 ± 0.002 |
# | 32 | 0.185 ± 0.001 | 0.702 ± 0.001 |
#
# $\sigma$ 最大的 8 个换成噪声，误差看不出变化；$\sigma$ 最小的 8 个换掉，误差是原来的六倍。$\sigma$ 最大的 16 个换掉，误差也只大一成。
# 所以在这一百张图上，八分之一的数几乎没有用到。
#
# ```python
# def rmse(chosen, seed):
#     z, generator = posterior.mode().flatten(2).clone(), torch.Generator().manual_seed(seed)
#     z[:, :, chosen] = torch.randn(z[:, :, chosen].shape, generator=generator)
#     return float((model.first_stage_model.decode(z.view(-1, 4, 8, 8)) - hundred).square().mean().sqrt())
#
#
# order = posterior.std.mean((0, 1)).flatten().argsort()
# with torch.no_grad():
#     for count in (8, 16, 32):
#         for chosen in (order[-count:], order[:count]):
#             errors = torch.tensor([rmse(chosen, seed) for seed in range(8)])
#             print(count, errors.mean(), errors.std() / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
