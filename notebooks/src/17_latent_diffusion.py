# %% [markdown]
# # 17 · 从 DDPM 到 latent-diffusion
#
# 512×512 的彩色图有约 79 万个数，直接在上面跑 DDPM，每一步都要算这么多。Stable Diffusion 先把图压成 64×64×4，约 1.6 万个数，只有原来的 1/48，再在上面扩散。
# 少了这么多，图还在吗？训练和采样的代码要改多少？
# 这一章用二十行造一个小的潜空间扩散模型，看压缩省下多少，又在哪里失手：有一个系数，乘错了不会报错，样本却会坏掉。然后带着它去读 latent-diffusion 的源码。
#
# **学习目标**
#
# - 说清“先压缩，再扩散”的两个阶段：谁在学，谁冻结，损失算在哪里。
# - 自己写一个 `LatentDDPM`，让它按类别画数字，并解释 `scale_factor` 为什么要紧。
# - 打开 latent-diffusion 的原文件，顺着主线读下去，知道哪里容易读错。
#
# **预计用时** 50 分钟。运行全部单元约 1 分钟。

# %%
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ddpm_edu import DDPM, DigitsDataModule, make_beta_schedule
from ddpm_edu.configs.recipes import conditional_digits_config, toy_model_config
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import DigitsFrechet, recognised
from ddpm_edu.progress import progress_bar
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach import check, check_order, curve_figure, grid_figure
from ddpm_edu.teach.diagrams import latent_figure
from ddpm_edu.teach.reference_map import reference_map
from ddpm_edu.teach.training import quiet_trainer

(train, _), (test, labels) = (load_digits_split()[name] for name in ("train", "test"))
print("准备好了")

# %% [markdown]
# ## 1　先压缩，再扩散
#
# 一张图里的数大半是多余的：相邻的像素往往差不多。所以可以先训练一个自编码器 (autoencoder)，把图压成小得多的潜变量 (latent)，扩散只在潜变量上做，最后解码一次。
# 自编码器管细节，扩散管内容：画的是什么，各部分放在哪里。代价是解码器画不出的细节，扩散再好也画不出。
#
# 我们造一个小的：8×8 的数字压成两个通道的 4×4，64 个数变成 32 个。先看全程：

# %%
latent_figure("1×8×8", "2×4×4")

# %% [markdown]
# 图：上排是训练，下排是采样。编码器与解码器（灰）事先练好，从此冻结：训练时每批编码一次，采样时末了解码一次；要学的只有 U-Net（蓝），损失算在潜变量的噪声上，与图无关。
# 采样时走很多步的也只有 U-Net，两排的蓝框是同一个网络。中间的系数 $a$ 就是 `scale_factor`：编码之后乘，解码之前除。第 3 节讲它为什么要紧。
#
# 第一阶段：训练自编码器。

# %%
class TinyAutoencoder(nn.Module):
    """8×8 的图 ↔ (2, 4, 4) 的潜变量"""

    def __init__(self, width=32, latent_channels=2):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, 2, 1), nn.SiLU(),
                                     nn.Conv2d(width, latent_channels, 3, padding=1))
        self.decoder = nn.Sequential(nn.Conv2d(latent_channels, width, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2),
                                     nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))


# %%
torch.manual_seed(0)
autoencoder, index = TinyAutoencoder(), torch.Generator().manual_seed(0)
optimizer = torch.optim.Adam(autoencoder.parameters(), lr=3e-3)
for _ in progress_bar(range(600), title="训练自编码器"):
    x = train[torch.randint(len(train), (64,), generator=index)]
    optimizer.zero_grad()
    F.mse_loss(autoencoder.decoder(autoencoder.encoder(x)), x).backward()
    optimizer.step()
autoencoder = autoencoder.eval().requires_grad_(False)  # 从此冻结：扩散训练时，它一动不动

# %%
restored = autoencoder.decoder(autoencoder.encoder(test))
check("留出的图，均方根误差不到一级灰度（2/16 = 0.125）", (restored - test).square().mean().sqrt() < 2 / 16, True)
grid_figure(torch.cat([test[:10], restored[:10], restored[:10] - test[:10]]), nrow=10, rows=["测试图", "解码的", "误差"])

# %% [markdown]
# 图：上排是训练时没有见过的图，中排是压缩又解码的，下排是两者之差，中灰是 0。数少了一半，笔画都在，均方根误差约 0.11（满量程是 2）；误差散在笔画附近，两三处看得出来。
#
# 省下多少？卷积的乘法次数正比于像素数，自注意力正比于像素数的平方。把同一个小 U-Net 放在图上与潜变量上各走一步，数一数乘法：

# %%
def multiplications(size, channels):
    """U-Net 处理一张 channels×size×size，要做几次乘法"""
    config = conditional_digits_config(["label"], width=16)
    config["unet_config"]["params"] |= {"in_channels": channels, "out_channels": channels}
    unet = DDPM(**config | {"image_size": size, "channels": channels}).model.diffusion_model
    with FlopCounterMode(display=False) as counter:
        unet(torch.zeros(1, channels, size, size), torch.zeros(1, dtype=torch.long), y=torch.zeros(1, dtype=torch.long))
    return counter.get_total_flops() // 2  # 一次乘加记作两次运算


pixel, latent = multiplications(8, 1), multiplications(4, 2)
print(f"图上一步 {pixel / 1e6:.2f} 百万次，潜变量上一步 {latent / 1e6:.2f} 百万次，{pixel / latent:.1f} 倍")

# %% [markdown]
# 边长只少一半，每一步就便宜到四分之一左右。Stable Diffusion 的边长少到 1/8：同样的层，卷积的乘法少到 1/64，自注意力少到 1/4096。采样只在末了解码一次，几十上百步全在潜变量上。样本差了多少，要与同样预算的像素模型比，这里没有量；8×8 的图压缩未必划算，划算的是大图。
#
# ## 2　在潜变量上训练：代码只改两处
#
# 要改的只有 `get_input`：多编码一次；另加一个解码。训练、采样、EMA 全部照旧。条件也照旧：类别仍走第 8 章的 `c_adm`。

# %%
class LatentDDPM(DDPM):
    """在潜变量上工作的 DDPM；自编码器冻结，不参加训练"""

    def attach(self, autoencoder, scale_factor):
        self.first_stage_model, self.scale_factor = autoencoder, scale_factor
        return self

    def get_input(self, batch, k):
        return self.scale_factor * self.first_stage_model.encoder(batch[k])

    def decode_first_stage(self, z):
        return self.first_stage_model.decoder(z / self.scale_factor)


# %% [markdown]
# 下面的 `fit_latent` 训练一个。`target_std` 是潜变量乘上系数之后的标准差，先取 1。
# 注意 `clip_denoised=False`：潜变量没有 $[-1,1]$ 的界，截断会削掉真的内容。原文件的 `LatentDiffusion` 也在构造时把它关掉。

# %%
z, classes = autoencoder.encoder(train), torch.arange(10).repeat(50)  # 每类要 50 张


def fit_latent(target_std, max_steps=300):
    """让潜变量的标准差是 target_std，训练，按类别采 500 个样本；返回（潜变量, 图）"""
    config = conditional_digits_config(["label"], max_steps, cond_drop_prob=0.1, width=16, learning_rate=8e-3)
    config |= {"image_size": 4, "channels": 2, "parameterization": "eps", "beta_schedule": "linear"}
    config["unet_config"]["params"] |= {"in_channels": 2, "out_channels": 2}
    torch.manual_seed(0)
    latent = LatentDDPM(**config, clip_denoised=False).attach(autoencoder, target_std / float(z.std()))
    quiet_trainer(max_steps=max_steps, gradient_clip_val=1.0).fit(latent, DigitsDataModule(batch_size=32))
    with latent.eval().ema_scope():
        sampled = latent.sample(500, sampler="ddim", steps=20, cond=classes, generator=torch.Generator().manual_seed(0), progress=False)
    return sampled, latent.decode_first_stage(sampled)


one_latents, one_images = fit_latent(1.0)

# %%
by_class = one_images[:100].view(10, 10, 1, 8, 8).transpose(0, 1).flatten(0, 1)  # 采的时候 0 到 9 轮流，换成一行一类
grid_figure(by_class, nrow=10, width=5.0, rows=[f"“{digit}”" for digit in range(10)])

# %% [markdown]
# 图：每行一个类别，从上到下要的是 0 到 9，没有挑过；20 步 DDIM，不用引导。U-Net 从头到尾没有见过一个像素，只练了 300 步，分类器认得出的有六成左右，眼睛看，笔画残缺的不少，练得还太短。
#
# ## 3　`scale_factor`：潜变量该放大几倍
#
# 刚才让潜变量的标准差等于 1，为什么？像素规定在 $[-1,1]$，潜变量却没有人规定。自编码器只管还原，编码放大十倍、解码缩小十倍，还原得一样好。量一量它自己选了多大：

# %%
print(f"标准差 {float(z.std()):.1f}，最大的 {float(z.abs().max()):.0f}；两个通道各 {[round(v, 1) for v in z.std((0, 2, 3)).tolist()]}")

# %% [markdown]
# 噪声表却是按“数据的标准差约为 1”设计的。潜变量乘上系数之后的标准差记作 $\sigma_z$，第 $t$ 步的信噪比就是
#
# $$\frac{\bar\alpha_t\,\sigma_z^2}{1-\bar\alpha_t}.$$
#
# 第一版 Stable Diffusion 的潜变量，标准差约 5.5，所以系数 $a$ 取 $1/5.5\approx0.18$（配置里写的是 0.18215）。两种忘法正好一大一小：
#
# - 该乘的没有乘，$\sigma_z=5.5$：整条链上噪声都嫌小，大半的步里图一眼就看清，没有多少可学。
# - 把 0.18215 照抄到标准差本来就是 1 的潜变量上，$\sigma_z=0.18$：$t$ 才一百多，图就被噪声淹没了；采样快结束、$t$ 接近 0 时，网络看到的数又只有平常的五分之一大。

# %%
linear = alphas_cumprod(make_beta_schedule("linear", 1000))[0]
ratios = {rf"$\sigma_z={s}$": linear * s**2 / (1 - linear) for s in (1, 5.5, 0.18)}
crossing = [int(np.argmin(ratio > 1)) for ratio in ratios.values()]
print("信噪比降到 1 的步：", crossing)
figure = curve_figure(range(1000), {**ratios, "信噪比 = 1": np.ones(1000)}, "步号 $t$", "信噪比", "linear", "log")
for t in crossing:
    figure.axes[0].axvline(t, color="#999999", linewidth=0.8)
    figure.axes[0].text(t + 8, 1e4, f"$t={t}$", fontsize=9)
figure

# %% [markdown]
# 图：`linear` 噪声表上的信噪比，横的点划线是 1，三根竖线标出各条曲线降到 1 的步号。三条曲线形状相同，对数轴上只是上下平移；信噪比大于 1 的步，$\sigma_z=1$ 占四成，5.5 占近八成，0.18 只占 $t$ 最小的一成。
#
# 各训练一个，其余一模一样：

# %%
large_latents, large_images = fit_latent(5.5)
small_latents, small_images = fit_latent(0.18)

# %%
# NBVAL_IGNORE_OUTPUT
score, classifier = DigitsFrechet(), load_classifier()
print(f"真图对真图：Fréchet {score(train[:500]):.1f}；解码的训练图：{score(autoencoder.decoder(z[:500])):.1f}")
for std, latents, images in ((1, one_latents, one_images), (5.5, large_latents, large_images), (0.18, small_latents, small_images)):
    right = recognised(classifier, images, classes)["recognised"]
    print(f"σ_z = {std:<4}：样本标准差/σ_z {float(latents.std()) / std:.2f}　Fréchet {score(images):.0f}　认得出 {right:.0%}")

# %%
first = torch.stack([test[labels == digit][0] for digit in range(10)])
rows = {"真图": first, "解码的真图": autoencoder.decoder(autoencoder.encoder(first)), r"$\sigma_z=1$": one_images[:10],
        r"$\sigma_z=5.5$": large_images[:10], r"$\sigma_z=0.18$": small_images[:10]}
grid_figure(torch.cat(list(rows.values())), nrow=10, rows=list(rows), columns=[str(digit) for digit in range(10)])

# %% [markdown]
# 图：一列一个类别。最上面是真图，第二行是自编码器的上限：真图压缩又解码，潜空间里的模型最好也就这样（上面印的第一行：Fréchet 距离 17，真图对真图是 13）。下面三行同样的网络、同样的 300 步，不用引导，差别只在一个系数。
#
# 一个种子不能下结论。下表是离线换八个种子（自编码器不变），平均 ± 标准误；“认得出”是分类器判断的类别与要的相同：
#
# | 设定 | 样本标准差 / $\sigma_z$ | Fréchet 距离 | 认得出 |
# |:--|--:|--:|--:|
# | $\sigma_z=1$ | 1.28 ± 0.02 | 73 ± 1 | 62 ± 1% |
# | $\sigma_z=5.5$ | 1.15 ± 0.02 | 127 ± 3 | 45 ± 1% |
# | $\sigma_z=0.18$ | 4.89 ± 0.25 | 97 ± 3 | 57 ± 2% |
# | $\sigma_z=1$，信噪比同 5.5 | 1.07 ± 0.01 | 114 ± 4 | 45 ± 1% |
# | $\sigma_z=1$，信噪比同 0.18 | 1.59 ± 0.08 | 82 ± 3 | 66 ± 1% |
#
# 两种错的系数都不行，原因却不一样。系数同时改了两样东西：每一步的信噪比，和网络看到的数有多大。表的末两行把它们分开：潜变量仍是 $\sigma_z=1$，只换一张噪声表，让每一步的信噪比与 5.5、0.18 时相同。
#
# - $\sigma_z=5.5$ 主要坏在信噪比：只挪信噪比，Fréchet 就从 73 坏到 114，真的取 5.5 是 127。近八成的步噪声盖不住图，可能是留给“从噪声里定出内容”的步不够。
# - $\sigma_z=0.18$ 主要坏在幅度：只挪信噪比，Fréchet 是 82，坏得不多；真的取 0.18 就是 97，样本的标准差是该有的 5 倍。图上是少数样本溢出，多数还好；原因没有查。
#
# 上面的图只说了一半：信噪比的位置要紧，数的大小也要紧。这三个值里，1 最稳妥；它是不是最好，没有量。三百步还没有练好，$\sigma_z=1$ 的标准差也偏大近三成；练得更久，差距会不会缩小，我们没有量。
#
# ## 4　真的第一阶段
#
# Stable Diffusion 的自编码器比我们的多三样东西。
#
# **编码是抽样。** 编码器给出的不是一个 $z$，而是均值与对数方差，编码是抽一个样本：$z=\mu+\sigma\varepsilon$（KL 型）。`get_first_stage_encoding` 就管这件事，顺手乘上 `scale_factor`。
# 训练时另加一项把它拉向 $\mathcal N(0,I)$ 的 KL 散度，权重只有 $10^{-6}$：能防潜变量无限放大，却拉不到标准差为 1，所以才需要那个系数。
# 还有一种 VQ 型，编码取码本里最近的一个向量；Stable Diffusion 用的是 KL 型，第一遍可以不管 VQ。
#
# **损失不只是均方误差。** 另有感知损失与对抗损失，所以解码清晰，不像我们的边缘发糊。
#
# **系数有两种定法。** 写死（`scale_factor: 0.18215`），或者 `scale_by_std`：训练的第一批开始之前算一次 $1/\text{标准差}$，存进缓冲区。后一种只看一批，够不够准？

# %%
generator = torch.Generator().manual_seed(1)
batches = torch.stack([1 / autoencoder.encoder(train[torch.randint(len(train), (64,), generator=generator)]).std() for _ in range(20)])
check("20 批，每批 64 张，与看全部相差都不到 5%", batches * z.std(), torch.ones(20), atol=0.05)

# %% [markdown]
# 够准。不过它对所有通道只给一个数，通道之间大小不一（上面两个通道差了六成），乘完还是不一。
#
# “冻结”在原文件里写成三件事：`eval()`、把 `train` 方法换成什么也不做的函数、每个参数 `requires_grad = False`。
# 第二件看着古怪：父模块调用 `train()` 时，会把子模块一起拨回训练模式，dropout 与 BatchNorm 就活了。

# %%
parent = nn.Module()
parent.first_stage = nn.Dropout(0.5).eval()
parent.train()
check("父模块一声 train()，冻结的子模块也醒了", parent.first_stage.training, True)
parent.first_stage.eval().train = lambda mode=True: parent.first_stage
parent.train()
check("把它的 train 换掉，就叫不醒了", parent.first_stage.training, False)

# %% [markdown]
# ## 5　条件从哪里来
#
# 我们的条件是类别。Stable Diffusion 的条件是文字，所以 `LatentDiffusion` 多一个条件编码器 `cond_stage_model`：文字进去，一串向量出来，再走第 8 章的交叉注意力 `c_crossattn`。它通常也是冻结的。
#
# 读这一段要当心四处：
#
# - `get_input` 返回列表，长度随参数变：至少有潜变量与条件两项；要重建图就多两项，要原来的条件再多一项。
# - 条件编码器若也要训练（`cond_stage_trainable`），编码推迟到 `forward` 里做，否则梯度传不回去。
# - 不是字典的条件，除了 `concat` 一律放进 `c_crossattn`；`adm` 的类别也是，`DiffusionWrapper` 再从那里取出来，名字不符，却是配套的。
# - `num_timesteps_cond` 大于 1 时，条件自己也要掺噪声；公开的配置都用 1，原作者注明打算删掉它，可以不管。
#
# ## 6　带着它读原文件
#
# 有两个仓库，文件的路径相同，都是 `ldm/models/diffusion/ddpm.py`：latent-diffusion 的有一千四百多行，`DDPM` 有 23 个方法；Stable Diffusion 2 的有一千八百多行，加了与 $v$ 有关的三个方法，成了 26 个。
# 从上到下有三样东西，读的时候先分清：
#
# - `DDPM` 是开头的一段，在像素上工作，这门课逐行读的就是它。
# - `LatentDiffusion(DDPM)` 是最长的一段，多了自编码器与条件编码器。
# - `DiffusionWrapper` 与几个更小的子类在最后，子类按任务换一换条件的来源（修补、深度图、放大）。
#
# 先认主线。让解释器把一步训练里进入过的函数记下来：

# %%
def trace(run, modules=("ddpm", "gaussian", "sampling", "conditioning", "objectives")):
    """按先后记下 run() 里进入过的函数，只看这几个模块，相邻的重复不记"""
    wanted, seen = {f"ddpm_edu.{name}" for name in modules}, []

    def look(frame, event, argument):
        name = frame.f_code.co_name
        if event == "call" and frame.f_globals.get("__name__") in wanted and name[0] not in "<_" and seen[-1:] != [name]:
            seen.append(name)

    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
    return seen


# %%
model, mini = DDPM(**toy_model_config()), {"image": train[:4]}
MAIN = ("shared_step", "get_input", "forward", "p_losses", "q_sample", "apply_model", "get_loss")
print("训练：", " → ".join(name for name in trace(lambda: model.shared_step(mini)) if name in MAIN))
MAIN = ("sample", "p_sample_loop", "p_sample", "p_mean_variance", "apply_model", "predict_start_from_noise")
print("采样：", " → ".join(name for name in trace(lambda: model.sample(1, steps=1, progress=False)) if name in MAIN))

# %% [markdown]
# 训练里第一个 `forward` 是 `DDPM` 的，它就是训练损失；第二个是 `DiffusionWrapper` 的，里面才是 U-Net。
# 原文件的次序也是这样，只有 `apply_model` 不同：基类没有它，直接调用 `self.model`；到了 `LatentDiffusion` 才有，它的采样还要多带一个条件。
#
# 读的时候碰到下面这些，知道它不是你看错了就好；其中静默出错的几个，第 16 章有病例可以动手治。
#
# | 读到哪里 | 会看到什么 | 其实 | 章 |
# |:--|:--|:--|--:|
# | `make_beta_schedule` | `"linear"` | 对 $\sqrt\beta$ 线性，不是论文的 linear | 02 |
# | `v_posterior` 的注释 | 称混合的是 sigma | 混合的是方差 | 04 |
# | `lvlb_weights` | `x0`、`v` 两支 | 都不对；第 0 步又被第 1 步盖掉 | 06 |
# | `p_mean_variance` | 没有 `v` 这一支 | SD 2 的基类能用 `v` 训练，用 `p_sample` 采样就报错；靠 DDIM 那个类来采 | 04 |
# | `__init__` 的次序 | 先载检查点，后建噪声表 | 基类能把 $T=100$ 的文件装进 $T=50$，只印出几个多余的键；`LatentDiffusion` 最后才载，会报错 | 09 |
# | `load_only_unet` | 像是只取 U-Net | 键的前缀对不上，什么也没取到 | 09 |
# | `learn_logvar` | 基类里有这个参数 | 基类的损失不用它；`LatentDiffusion` 的才用 | 06 |
# | `conditioning_key` | 基类里有这个参数 | 基类从不传条件，一前向就报错 | 08 |
# | `scheduler_config` | 基类存了下来 | 基类的 `configure_optimizers` 不用它；`LatentDiffusion` 的才用 | 12 |
# | `self.learning_rate` | 文件里没有一处给它赋值 | 训练脚本从外面设置：批量 × 卡数 × 累积的批数 × `base_learning_rate` | 10 |
# | `get_input` | 重排成 CHW | 只认 HWC；给了 CHW，而宽恰好等于通道数时，排错了也不报 | 10 |
# | `on_train_batch_end` | EMA 在这里走 | 梯度累积时多走几倍 | 11 |
# | `validation_step` | 两套权重各算一遍 | 各抽各的 $t$ 与噪声，两条曲线不可比 | 10 |
# | `original_elbo_weight` | 像是加上 ELBO | 加的是加权的均方误差 | 06 |
#
# `LatentDiffusion` 的构造函数里，还有四处值得停一停，前两处是次序：
#
# - `num_timesteps_cond` 在调用父类的构造函数**之前**就赋值，因为父类会调用 `register_schedule`，而子类的 `register_schedule` 要用它。
# - `ckpt_path` 从参数里先取走，等两个编码器都造好再载入；父类那里的载入就跳过了。
# - `conditioning_key` 没有给时，由 `concat_mode` 决定，默认是 `concat`。以为默认是交叉注意力，就会在通道数上报错。
# - `scale_factor` 有时是普通的数，有时是缓冲区。用了 `scale_by_std` 的检查点里存着它；写死的不在里面，换一份配置就换了一个数。
#
# 采样也换了地方：日常用的是单独的 `DDIMSampler`，引导时它把有条件与无条件拼成一批，一次前向；两个公式都在第 7 章。
#
# 有几段这门课没有讲：布局到图像的标注框、VQ 的 `predict_cids` 与 `quantize_denoised`、`score_corrector`，`plms.py` 与 DPM-Solver 两种采样器，以及 Stable Diffusion 2 的几个子类。读到时可以先跳过，不影响主线。
# 现在打开原文件，从 `LatentDiffusion.shared_step` 读起，顺着上面的主线走一遍。
#
# ## 7　选读：图太大，切块
#
# latent-diffusion 的模型若带有 `split_input_params`，编码、解码与 U-Net 都一块一块地做：切成重叠的块，各自处理，再加权平均。权重在块的中心大、边上小，除以落在每个像素上的权重之和，接缝就被抹平。
# `get_fold_unfold` 管切与拼；Stable Diffusion 2 里它还在，却不再用到。

# %%
image = 0.5 * F.interpolate(test[:1], size=32, mode="bilinear")
patches = F.unfold(image, 16, stride=8)  # 每块 16×16，相邻两块重叠一半
patches = patches + 0.5 * torch.randn(1, 1, patches.shape[-1], generator=torch.Generator().manual_seed(0))  # 每块自己的亮度误差
edge = torch.minimum(torch.arange(16.0), torch.arange(15.0, -1, -1)) + 0.5
pictures = [image]
for weight in (torch.ones(16, 16), edge[:, None] * edge):  # 等权；中心大、边上小
    flat = weight.reshape(1, -1, 1)
    share = F.fold(flat.expand(1, -1, patches.shape[-1]), 32, 16, stride=8)
    pictures.append(F.fold(patches * flat, 32, 16, stride=8) / share)
jumps = [(picture - image).diff(dim=-1).abs().max() for picture in pictures[1:]]
check_order("相邻像素之间误差最大的跳变，等权是加权的几倍：超过 3", 3, jumps[0] / jumps[1], digits=2)
grid_figure(torch.cat(pictures).clamp(-1, 1), nrow=3, width=6.0, columns=["原图", "等权", "加权"])

# %% [markdown]
# 图：左边是原图；中间与右边切成九块，每块加上自己的亮度误差，再拼回去。等权时接缝是一道道台阶，加权后过渡平缓。
# 这个办法省显存，但各块互相看不见，隔得远的部分可能对不上。
#
# ## 小结
#
# - 图还在吗？在：这一章的图压到一半，均方根误差约 0.11，笔画都在；Stable Diffusion 压到 1/48，靠的是感知损失与对抗损失。同样的层，每一步的卷积少到 1/64，自注意力两两比较的那部分少到 1/4096。
# - 代码要改多少？训练与采样的循环一个字不改，只在 `get_input` 里多编码一次，采样之后多解码一次。自编码器冻结，损失算在潜变量上，不截断。
# - 系数要紧吗？同样的训练，潜变量的标准差取 1，Fréchet 是 73；潜变量像 Stable Diffusion 那样大而不乘系数（5.5），是 127，照抄 0.18 是 97。编码之后乘，解码之前除，乘完的标准差要接近 1。
# - 读 `ddpm.py` 先认主线 `shared_step → get_input → forward → p_losses`，再查文末的对照表；Stable Diffusion 2 的基类 26 个方法，这里有 24 个同名，另两个改由 `optimizer_step` 与 `make_grid` 来做。
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
# ### 17.2　KL 型编码器的潜变量 ★★
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
# ### 17.3　把重叠的块拼回去 ★★★
#
# 选做，配合第 7 节。`patches` 的形状是 $(B, C, k, k, L)$，是从 $H\times W$ 的图上每隔 `stride` 切下的 $L$ 块，先从左到右，再从上到下（与 `F.unfold` 相同）。
# `weight` 是 $(k, k)$ 的正数，`size` 是 $(H, W)$。返回 $(B, C, H, W)$：每个像素是覆盖它的各块按 `weight` 的加权平均。可以用 `F.fold`，它把各块加到原处。

# %%
def stitch(patches, weight, size, stride):
    # 答案
    B, C, k, _, L = patches.shape

    def add(x):
        return F.fold(x.reshape(len(x), -1, L), size, k, stride=stride)

    total = add(patches * weight[:, :, None])
    share = add(weight[None, None, :, :, None].expand(1, 1, k, k, L))
    return total / share
    # 答案完


grade("17.3", stitch)

# %% [markdown]
# ### 17.4　注意力便宜了多少 ★
#
# 图从 512×512 压到 64×64。在最大的分辨率上做一次自注意力（每两个像素比一次），次数少到原来的几分之一？填分母。

# %%
grade("17.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 17.5　忘了除回来 ★★
#
# 训练时潜变量乘了 `scale_factor` = 0.18215。自己写采样时，忘了先除以它就解码，图会怎样？可以用第 1 节的自编码器试：`autoencoder.decoder(0.18 * z[:16])`。
#
# - A：一样，解码器会适应。
# - B：发灰，对比很低，轮廓还依稀可辨。
# - C：全是噪声。
# - D：亮处暗处都溢出，黑白分明。

# %%
grade("17.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ## 附：对照表
#
# 第一遍不必看，读原文件时拿来查。左边是原文件里的名字，“这里”一列由程序逐个核实过真的存在，章号是先讲到它的那一章。“仓库”一列的 SD 2 指只有 Stable Diffusion 2 的仓库里才有。
#
# **基类 `DDPM` 的每个方法：**

# %%
reference_map("base")

# %% [markdown]
# **别的文件里的零件：**

# %%
reference_map("parts")

# %% [markdown]
# **`LatentDiffusion` 的主要方法**（“没有”的，程序包里没有；第 2、4–7 节讲过它们做什么）：

# %%
reference_map("latent")
