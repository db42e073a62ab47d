# %% [markdown]
# # 17 · 从 DDPM 到 latent-diffusion
#
# 512×512 的彩色图有约 79 万个数，直接在上面跑 DDPM，每一步都要算这么多。Stable Diffusion 先把图压成 64×64×4，只剩 1/48，再在上面扩散。
# 我们在 8×8 的数字上做一遍，只压一半：图还在吗？训练和采样的代码要改多少？省下的乘法，抵得上练压缩器的那一份吗？
# 潜变量还要乘一个系数，乘错几倍不会报错，样本却会变差；第 3、4 节找它坏在哪里。最后顺着主线，去读 latent-diffusion 的源码。
#
# **学习目标**
#
# - 说清“先压缩，再扩散”的两个阶段：谁在学，谁冻结，损失算在哪里。
# - 读懂 `LatentDDPM`（只比 `DDPM` 多十几行），让它按类别画数字，并解释 `scale_factor` 为什么要紧。
# - 打开 latent-diffusion 的原文件，顺着主线读下去，知道哪里容易读错。
#
# **预计用时** 50 分钟。运行全部单元约 1 分钟。

# %%
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from ddpm_edu import DDPM, DigitsDataModule, make_beta_schedule
from ddpm_edu.configs.recipes import conditional_digits_config
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.metrics import DigitsFrechet
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach import check, check_order, curves_figure, grid_figure, show_source
from ddpm_edu.teach.latent_figures import amplitude_figure, budget_figure, latent_figure, one_legend, snr_figure
from ddpm_edu.teach.latents import LatentDDPM, TinyAutoencoder, entered, train_autoencoder
from ddpm_edu.teach.reference_map import reference_map
from ddpm_edu.teach.training import quiet_trainer

(train, train_labels), (test, labels) = (load_digits_split()[name] for name in ("train", "test"))
print("准备好了")

# %% [markdown]
# ## 1　先压缩，再扩散
#
# 一张图里的数大半是多余的，因为相邻的像素往往差不多。所以可以先训练一个自编码器 (autoencoder)，把图压成小得多的潜变量 (latent)，扩散只在潜变量上做，最后解码一次。
# 自编码器管细节，扩散管内容：画的是什么，各部分放在哪里。代价是解码器画不出的细节，扩散再好也画不出。
#
# 我们造一个小的：8×8 的数字压成两个通道的 4×4，64 个数变成 32 个。先练好它，再看一张“3”从头到尾经过哪些地方：

# %%
autoencoder = train_autoencoder(train)  # 从此冻结：第二阶段不再更新它
z = autoencoder.encoder(train)
a = 1 / float(z.std())  # 原文件里叫 scale_factor，第 3 节讲
threes = test[labels == 3][:1]
three = autoencoder.encoder(threes)
noise = torch.randn(three.shape, generator=torch.Generator().manual_seed(0))
noisy = (a * three + noise) / 2**0.5  # 这一步 ᾱ = 1/2
latent_figure({"x": threes[0], "z": three[0], "az": a * three[0], "z_t": noisy[0], "noise": noise[0], "restored": autoencoder.decoder(three)[0]})

# %% [markdown]
# 图：灰的小图是像素，彩色的是潜变量（蓝是负，橙是正，两个通道各一块）；两条竖虚线是它们的界线，编码器与解码器骑在线上。蓝框在学，灰框冻结，虚线的格子要等 U-Net 练好才画得出来。
#
# 第一阶段，编码器与解码器一起学，损失是还原的图与原图之差。第二阶段，编码器冻结；在学的只有 U-Net，损失算在潜变量的噪声上，不回到图上。采样时反复走的也只有 U-Net，走完才解码一次。系数 $a$ 在编码之后乘，解码之前除。
#
# 刚才练的自编码器，源码是这样，只有几层卷积，练 600 步。再往下是它还原留出的图：

# %%
show_source(TinyAutoencoder)

# %%
show_source(train_autoencoder)

# %%
restored = autoencoder.decoder(autoencoder.encoder(test))
check("留出的图，均方根误差不到一级灰度（2/16 = 0.125）", (restored - test).square().mean().sqrt() < 2 / 16, True)
grid_figure(torch.cat([test[:10], restored[:10], restored[:10] - test[:10]]), nrow=10, rows=["测试图", "解码的", "误差"])

# %% [markdown]
# 图：上排是训练时没有见过的图，中排是压缩又解码的，下排是两者之差：中灰是 0，黑、白为 ∓1，再大就截断。
# 数少了一半，主要笔画都在；丢得明显的有两处，第一张的“1”少了右下角，末一张的“4”顶上有一格变暗。所有留出的图，均方根误差约 0.11（满量程是 2）。
#
# 省下多少？卷积的乘法次数正比于像素数，自注意力里两两比较的那部分正比于像素数的平方。把同一个小 U-Net 放在图上与潜变量上各走一步，数一数乘法；再数一个窄一半的网络（第 2 节要用它比），还有自编码器自己：

# %%
def multiplications(module, *inputs, **more):
    """走一次前向，要做几次乘法"""
    with FlopCounterMode(display=False) as counter:
        module(*inputs, **more)
    return counter.get_total_flops() // 2  # 一次乘加记作两次运算


def one_step(size, channels, width=16):
    """U-Net 处理一张 channels×size×size 的乘法"""
    config = conditional_digits_config(["label"], width=width)
    config["unet_config"]["params"] |= {"in_channels": channels, "out_channels": channels}
    unet = DDPM(**config | {"image_size": size, "channels": channels}).model.diffusion_model
    zero = torch.zeros(1, dtype=torch.long)
    return multiplications(unet, torch.zeros(1, channels, size, size), zero, y=zero)


# %%
pixel, latent = one_step(8, 1), one_step(4, 2)
print(f"U-Net 走一步：像素 {pixel / 1e6:.2f} 百万次，潜变量 {latent / 1e6:.2f} 百万次，{pixel / latent:.1f} 倍；窄一半的，像素 {one_step(8, 1, 8) / 1e6:.2f} 百万次")
encode, decode = multiplications(autoencoder.encoder, test[:1]), multiplications(autoencoder.decoder, three)
print(f"自编码器处理一张：编码 {encode / 1e6:.2f} 百万次，解码 {decode / 1e6:.2f} 百万次；编码是潜变量 U-Net 一步的 {encode / latent:.0%}")
first, second = 600 * 64 * (encode + decode), 300 * 32 * latent  # 步数 × 每批的张数 × 每张
print(f"第一阶段 600 步共 {first / 1e8:.0f} 亿次，U-Net 在潜变量上练 300 步共 {second / 1e8:.0f} 亿次，前者是后者的 {first / second:.2f} 倍")

# %% [markdown]
# 边长只少一半，U-Net 每一步的乘法就降到约四分之一；训练时每一步还要编码一次，连它算是约 1/3.4。
# Stable Diffusion 的边长缩到 1/8：同样的层，卷积的乘法少到 1/64，自注意力里两两比较的那部分少到 1/4096。
# 不过要先付一笔钱：我们的自编码器自己练 600 步，花的乘法是 U-Net 练 300 步的三倍。这笔钱值不值，第 2 节来算。
#
# ## 2　在潜变量上训练：程序改两处
#
# 程序改两处：`get_input` 多编码一次，采样之后多解码一次。配置跟着改：输入输出的形状换成潜变量的，再关掉截断。训练、采样、EMA 照旧；条件也照旧，类别仍走第 8 章的 `c_adm`。

# %%
show_source(LatentDDPM)

# %% [markdown]
# 第一个方法 `attach` 接上自编码器与系数，后三个的名字与原文件相同。下面的 `latent_config` 改配置，`fit_latent` 训练一个。训练时潜变量先乘系数，乘完的标准差记作 $\sigma_z$，先取 1。
# 注意 `clip_denoised=False`：潜变量没有 $[-1,1]$ 的界，截断会削掉真的内容。原文件的 `LatentDiffusion` 也在构造时把它关掉。

# %%
classes = torch.arange(10).repeat(50)  # 每类要 50 张


def latent_config(max_steps=300):
    """第 8 章按类别画数字的配置，换成潜变量的形状，不截断"""
    config = conditional_digits_config(["label"], max_steps, cond_drop_prob=0.1, width=16, learning_rate=8e-3)
    config["unet_config"]["params"] |= {"in_channels": 2, "out_channels": 2}
    return config | {"image_size": 4, "channels": 2, "parameterization": "eps", "beta_schedule": "linear", "clip_denoised": False}


def fit_latent(sigma_z, max_steps=300):
    """让乘完系数的标准差是 sigma_z，训练，按类别画 500 张；返回（潜变量, 图）"""
    torch.manual_seed(0)
    latent = LatentDDPM(**latent_config(max_steps)).attach(autoencoder, sigma_z * a)
    quiet_trainer(max_steps=max_steps, gradient_clip_val=1.0).fit(latent, DigitsDataModule(batch_size=32))
    with latent.eval().ema_scope():
        sampled = latent.sample(500, sampler="ddim", steps=20, cond=classes, generator=torch.Generator().manual_seed(0), progress=False)
    return sampled, latent.decode_first_stage(sampled)


one = fit_latent(1.0)

# %%
real = torch.stack([train[train_labels == digit][0] for digit in range(10)])
pictures = torch.cat([autoencoder.decoder(autoencoder.encoder(real)), one[1][:40]])  # 采的时候 0 到 9 轮流，正好一列一类
grid_figure(pictures, nrow=10, rows=["真图解码", *["样本"] * 4], columns=[f"“{digit}”" for digit in range(10)])

# %% [markdown]
# 图：一列一个类别。最上一排是真图压缩又解码的，作对照；下面四排是样本，20 步 DDIM，不用引导，没有挑过。
# U-Net 从头到尾没有见过一个像素，画出来的已有数字的样子：“1”“6”多半认得出，“8”多半认不出；有几张白成一片，是潜变量里有过大的数（第 3 节）。因为它只练了 300 步，500 张里分类器认得出六成左右。
#
# 压缩的代价是多少？与直接在像素上练的比。下表是离线换八个种子量的（`python -m benchmarks.latent`），平均 ± 标准误；自编码器始终是同一个，没有换种子。
# 乘法只数训练时的前向，以第一行为 1；“算上自编码器”再加它自己的 600 步，与每一步的编码。Fréchet 距离（第 15 章）越小越像真图；“认得出”是分类器判断的类别与要的相同。
#
# | 在哪里扩散 | 网络的宽度 | 步数 | U-Net 的乘法 | 算上自编码器 | Fréchet 距离 | 认得出 |
# |:--|--:|--:|--:|--:|--:|--:|
# | **潜变量** | 16 | 300 | 1 | 4.1 | 73 ± 1 | 62 ± 1% |
# | 像素 | 16 | 75 | 1.0 | 1.0 | 243 ± 11 | 26 ± 2% |
# | 像素 | 8 | 300 | 1.0 | 1.0 | 95 ± 8 | 62 ± 1% |
# | 像素 | 16 | 300 | 3.9 | 3.9 | 48 ± 4 | 76 ± 1% |
# | 像素 | 16 | 600 | 7.9 | 7.9 | 26 ± 2 | 86 ± 1% |
#
# 再加一种：潜变量练 1500 步，也是八个种子，距离是 37 ± 1。它们画在一起：

# %%
def priced(rows, each=1, once=0):
    """(步数, 距离, 标准误) → (乘法, 距离, 标准误, 步数)；每 300 步的乘法是 each，另付一次 once"""
    return [(steps / 300 * each + once, *found, steps) for steps, *found in rows]


short_long = [(300, 73, 1), (1500, 37, 1)]
saved = 20 * (pixel - latent) - decode
print(f"采一张图（20 步，再解码一次），比像素省 {saved / 1e6:.0f} 百万次；采约 {round(first / saved, -1):.0f} 张，省下的就抵得上第一阶段")
budget_figure({"潜变量": priced(short_long), "潜变量，算上自编码器": priced(short_long, 1 + encode / latent, first / second),
               "像素": priced([(75, 243, 11), (300, 48, 4), (600, 26, 2)], pixel / latent), "像素，网络窄一半": priced([(300, 95, 8)])},
              {"压缩又解码的训练图": 17.3, "没有压缩的训练图": 12.5})

# %% [markdown]
# 图：横轴是训练时前向的乘法，两根轴都是对数，短竖线是标准误，点旁写着步数。只看 U-Net（实心），乘法都是 1 倍时，潜变量的距离最小；把自编码器也算进去（空心），约 4 倍处是 73 对像素的 48，约 8 倍处是 37 对 26，都是像素的更小。
#
# 1 倍时，潜变量占优的只有距离：认得出的与窄一半的像素网络一样多，都是 62%。在量过的这两档，只练一个模型，压缩并不划算。可是自编码器只练一次，以后每采一张图都省，采到上面印出的张数，省下的乘法就抵得上第一阶段（这里只数前向，比的也不是一样好的图）。Stable Diffusion 正是一个自编码器供许多模型、许多次采样用。
#
# 压缩还留下一条底线。把训练图压缩又解码，距离是 17，没有压缩过的是 12.5，潜变量练得再久，大致也低不过 17。练到 1500 步是 37，还没有碰到它。
# 这样比，有三处要记得：各行的学习率相同，没有各自调过；像素模型采样时每一步都把猜的原图截到 $[-1,1]$，潜变量没有这道截断；网络这样小，秒数不与乘法成正比，所以只比乘法。
#
# ## 3　`scale_factor`：潜变量该放大几倍
#
# 刚才让潜变量乘完系数的标准差等于 1，为什么？像素规定在 $[-1,1]$，潜变量却没有人规定。自编码器只管还原，编码放大十倍、解码缩小十倍，还原得一样好。量一量它自己选了多大：

# %%
print(f"标准差 {float(z.std()):.1f}，最大的 {float(z.abs().max()):.0f}；两个通道各 {[round(v, 1) for v in z.std((0, 2, 3)).tolist()]}")

# %% [markdown]
# 噪声表却是按“数据的标准差量级为 1”设计的，所以要乘一个系数 $a$ 把它拉过来。第一版 Stable Diffusion 的潜变量，标准差约 5.5，系数取 $1/5.5\approx0.18$（配置里写的是 0.18215）。弄错有两种，一大一小：
#
# | 情形 | 原来的标准差 | 系数 $a$ | 乘完的 $\sigma_z$ |
# |:--|--:|--:|--:|
# | 乘对了 | 5.5 | 0.18 | 1 |
# | 忘了乘 | 5.5 | 1 | 5.5 |
# | 多乘了：原来就是 1，照抄 0.18 | 1 | 0.18 | 0.18 |
#
# 下面把我们自己的潜变量缩放到这三种 $\sigma_z$，各看一遍。系数同时改两样：每一步的信噪比，和网络看到的数有多大。先看信噪比，还用那张“3”，加上同样的噪声：

# %%
CASES = {"乘对了（1）": 1.0, "忘了乘（5.5）": 5.5, "多乘了（0.18）": 0.18}
linear = torch.from_numpy(alphas_cumprod(make_beta_schedule("linear", 1000))[0]).float()
steps, pictures = range(0, 900, 100), []
for sigma_z in CASES.values():
    for t in steps:
        noisy = linear[t].sqrt() * sigma_z * a * three + (1 - linear[t]).sqrt() * noise
        noisy = noisy / (linear[t] * sigma_z**2 + 1 - linear[t]).sqrt()  # 标准差拉回 1，再还原成解码器认得的大小
        pictures.append(autoencoder.decoder(noisy / a))
    pictures.append(autoencoder.decoder(noise / a))
grid_figure(torch.cat(pictures), nrow=10, width=8.4, rows=list(CASES), columns=[*(f"t={t}" for t in steps), "只有噪声"])

# %% [markdown]
# 图：一行一种情形，一列一个步号，每一格是带噪的潜变量解码的样子（解码之前先把标准差拉回去）；最右一列是同一份噪声自己解码，用来对照。乘对了，$t=300$ 还看得出“3”，到 $t=500$ 就只剩噪声的样子。忘了乘，一直到 $t=600$ 都看得清。多乘了，$t=100$ 已经认不出。
#
# 第 $t$ 步的信噪比，标准差是 1 时为 $\bar\alpha_t/(1-\bar\alpha_t)$（第 2 章），现在要乘 $\sigma_z^2$，成了 $\bar\alpha_t\sigma_z^2/(1-\bar\alpha_t)$：

# %%
ratios = {name: (linear * sigma_z**2 / (1 - linear)).numpy() for name, sigma_z in CASES.items()}
crossing = [int(np.argmin(ratio > 1)) for ratio in ratios.values()]
print("信噪比降到 1 的步：", crossing)
snr_figure(ratios, crossing)

# %% [markdown]
# 图：`linear` 噪声表上的信噪比，横的点划线是 1，三根竖线标出各条曲线降到 1 的步号。三条曲线形状相同，对数轴上只是上下平移；信噪比大于 1 的步，乘对了占四成，忘了乘占近八成，多乘了只占 $t$ 最小的一成。
#
# 再看数的大小。$t$ 接近 0 时几乎没有噪声，网络看到的数就是 $\sigma_z$ 那么大：忘了乘是平常的五倍半，多乘了不到五分之一。样本会坏多少？各训练一个，其余一模一样：

# %%
# NBVAL_IGNORE_OUTPUT
found = dict(zip(CASES, (one, fit_latent(5.5), fit_latent(0.18))))
score = DigitsFrechet()
distances = {"解码的训练图": score(autoencoder.decoder(z[:500]))} | {name: score(images) for name, (_, images) in found.items()}
print("Fréchet 距离：", "，".join(f"{name} {distance:.0f}" for name, distance in distances.items()))  # 换一台机器会差一些
check("从小到大，先是解码的训练图，再是乘对了的样本", sorted(distances, key=distances.get)[:2] == list(distances)[:2], True)

# %%
limits, ranks = np.arange(0, 12.01, 0.25), np.arange(500) / 500
tails, odds = {}, {}
for name, (latents, images) in found.items():
    size = latents.abs() / CASES[name]
    tails[name] = np.array([float((size > limit).double().mean()) or np.nan for limit in limits])
    wanted = score.classifier(images.clamp(-1, 1)).softmax(1)[torch.arange(500), classes]
    odds[name] = wanted.sort(descending=True).values.numpy()
tails["真图"] = np.array([float(((a * z).abs() > limit).double().mean()) or np.nan for limit in limits])
one_legend(curves_figure((limits, tails, r"界限，$\sigma_z$ 的几倍", "超过界限的比例", "linear", "log"),
                         (ranks, odds, "名次，从最像的排起", "分类器认它是这一类的概率")))

# %% [markdown]
# 图：左边看潜变量有多大：除以各自的 $\sigma_z$，超过某个界限的数占多大比例，纵轴是对数。真图的数没有一个超过 4；三种样本都有，多乘了的多得多，界限到 12 还没有断。右边看画得对不对：每种情形的 500 张，按分类器认它是这一类的概率从大到小排。忘了乘的那条最先掉下来，认不出的最多。
#
# 一个种子不能下结论，离线换八个种子（自编码器不变）：
#
# | 情形 | $\sigma_z$ | 样本标准差 / $\sigma_z$（应为 1） | 有数超出 $\pm4\sigma_z$ 的样本 | Fréchet 距离 | 认得出 |
# |:--|--:|--:|--:|--:|--:|
# | **乘对了** | **1** | **1.28 ± 0.02** | **9 ± 1%** | **73 ± 1** | **62 ± 1%** |
# | 忘了乘 | 5.5 | 1.15 ± 0.02 | 9 ± 1% | 127 ± 3 | 45 ± 1% |
# | 多乘了 | 0.18 | 4.89 ± 0.25 | 32 ± 2% | 97 ± 3 | 57 ± 2% |
# | 忘了乘，本章的自编码器 | 1.6 | 1.23 ± 0.02 | 9 ± 1% | 72 ± 2 | 61 ± 1% |
# | 多乘了，本章的自编码器照抄 0.18215 | 0.29 | 3.08 ± 0.18 | 27 ± 2% | 86 ± 3 | 59 ± 2% |
#
# 前三行里，乘对了的距离最小。后两行里，偏大到 1.6 的与取 1 分不出，偏小到 0.29 的已是 86 对 73；再近一些的没有试。所以差一点不要紧，差几倍才要紧。
# 样本的标准差，乘对了也有 1.28，因为样本里偏大的数比真图多：图的左边，界限 1 处蓝线与真图几乎重合，往后越分越开。所以这一列只用来互相比。
# 两种错法，毛病不一样。多乘了，样本的标准差失控，近五倍。忘了乘，标准差 1.15，比乘对了的还接近 1，距离却最大，认得出的也最少：标准差只管潜变量有多大，管不到画的是什么。
#
# ## 4　坏在信噪比，还是坏在幅度
#
# 系数同时改了信噪比与幅度，哪一样坏事？信噪比由噪声表与 $\sigma_z$ 两者定，所以换一张噪声表，就能把两样大致分开：
#
# - 只改信噪比：潜变量仍是 $\sigma_z=1$，换一张噪声表，让每一步的信噪比与 5.5（或 0.18）时相同。
# - 只改幅度：潜变量是 5.5（或 0.18）倍，换一张噪声表，让每一步的信噪比回到 $\sigma_z=1$ 时的。
#
# 只改幅度的那张表记作 $\bar\alpha_t'$，由 $\bar\alpha_t'\sigma_z^2/(1-\bar\alpha_t')=\bar\alpha_t/(1-\bar\alpha_t)$ 解出：
#
# $$\bar\alpha_t'=\frac{\bar\alpha_t}{\bar\alpha_t+\sigma_z^2(1-\bar\alpha_t)}$$
#
# 只改信噪比的那张，把式中的 $\sigma_z$ 换成 $1/\sigma_z$。这时潜变量的标准差是 1，网络看到的也一直是 1。
# 只改幅度的，网络看到的标准差是 $\sqrt{\bar\alpha_t'\sigma_z^2+1-\bar\alpha_t'}$，它随表而变，与“都改”的不会处处一样。画出来：

# %%
curves = {"都不改、只改信噪比": np.ones(1000)}
for name, sigma_z in list(CASES.items())[1:]:
    same_snr = linear / (linear + sigma_z**2 * (1 - linear))
    for change, table in (("都改", linear), ("只改幅度", same_snr)):
        curves[f"{name}：{change}"] = (table * sigma_z**2 + 1 - table).sqrt()
amplitude_figure(curves)

# %% [markdown]
# 图：每一步网络看到的标准差，纵轴是对数。同一种颜色的实线与虚线，只在两头一样大，中间不同。忘了乘的，到 $t=418$，都改的还有 3.95，只改幅度的已降到 1.39；多乘了的反过来，只改幅度的小得更久。
# 所以下表的“只改幅度”，改的是虚线那样的幅度，结论只管这种换法。还是八个种子：
#
# | 情形 | 量什么 | 都不改 | 只改信噪比 | 只改幅度 | 都改 |
# |:--|:--|--:|--:|--:|--:|
# | 忘了乘（5.5） | Fréchet 距离 | 73 ± 1 | 114 ± 4 | 73 ± 2 | 127 ± 3 |
# | | 认得出 | 62 ± 1% | 45 ± 1% | 60 ± 1% | 45 ± 1% |
# | | 样本标准差 / $\sigma_z$ | 1.28 ± 0.02 | 1.07 ± 0.01 | 1.43 ± 0.04 | 1.15 ± 0.02 |
# | 多乘了（0.18） | Fréchet 距离 | 73 ± 1 | 82 ± 3 | 85 ± 4 | 97 ± 3 |
# | | 认得出 | 62 ± 1% | 66 ± 1% | 60 ± 1% | 57 ± 2% |
# | | 样本标准差 / $\sigma_z$ | 1.28 ± 0.02 | 1.59 ± 0.08 | 3.4 ± 0.2 | 4.89 ± 0.25 |
#
# - 忘了乘，在这种换法下，主要坏在信噪比。只改它，距离就升到 114，认得出的降到 45%；只改幅度，距离不变。改了信噪比再改幅度，距离又多 13 ± 5。
# - 多乘了，两样都有份。只改信噪比，距离升 9 ± 3；只改幅度，升 12 ± 4。样本标准差的失控，在这种换法下更多来自幅度。
# - 有一个数方向相反：多乘了的只改信噪比，认得出的反而多到 66%，距离却变大。为什么，没有量；只看认得出，会以为它更好，所以两样要一起看（第 15 章）。
#
# 忘了乘时信噪比为什么坏事，有两个猜测，都没有验证。一是信噪比小于 1 的步太少：只占两成多，而从噪声里定出“画的是什么”，可能主要靠这些步。
# 二是终点没有盖住：$\sigma_z=5.5$ 时，最后一步的信噪比还有约 0.022，是乘对了的三十倍；采样却从纯噪声起步，这样的起点网络练的时候没有见过。还有两件事没有回答：1 是不是最好的值；每种取值各自调过学习率、练得更久，差距还剩多少。
#
# ## 5　带着它读原文件
#
# 我们只添了十几行，原文件 `ldm/models/diffusion/ddpm.py` 却有一千多行，两个仓库里各有一份：latent-diffusion 的与 Stable Diffusion 2 的。从上到下有三样东西：
# 开头的 `DDPM` 在像素上工作，这门课逐行读的就是它；最长的是 `LatentDiffusion(DDPM)`，多了自编码器与条件编码器；最后是 `DiffusionWrapper` 与更小的子类。
#
# 先认主线。用第 2 节的类走一遍，让解释器把进入过的函数记下来（`entered` 用的是 `sys.setprofile`）：

# %%
model = LatentDDPM(**latent_config()).attach(autoencoder, a)
mini = {"image": train[:4], "label": train_labels[:4]}
MAIN = ("shared_step", "get_input", "encode_first_stage", "forward", "p_losses", "q_sample", "apply_model", "get_loss")
training = [name for name in entered(lambda: model.shared_step(mini)) if name in MAIN]
print("训练：", " → ".join(training))
MAIN = ("sample", "p_sample_loop", "p_sample", "p_mean_variance", "apply_model", "predict_start_from_noise", "decode_first_stage")
drawn = entered(lambda: model.decode_first_stage(model.sample(1, steps=1, cond=train_labels[:1], progress=False)))
print("采样：", " → ".join(name for name in drawn if name in MAIN))
check("训练里有编码，采样里有解码", {"get_input", "encode_first_stage"} <= {*training} and "decode_first_stage" in drawn, True)

# %% [markdown]
# 与像素上的 `DDPM` 相比，主线只有两处不同：`get_input` 里多了 `encode_first_stage`，采样走完多了 `decode_first_stage`。训练里第一个 `forward` 是 `DDPM` 的，它就是训练损失；第二个是 `DiffusionWrapper` 的，里面才是 U-Net。中间的 `apply_model`，原文件的基类没有，到 `LatentDiffusion` 才有。
# 原文件的次序也是这样，差别有两处：乘系数在那里是单独的 `get_first_stage_encoding`，紧跟在 `encode_first_stage` 后面；日常采样用的是单独的 `DDIMSampler`，公式都在第 7 章。
#
# 现在打开原文件，从 `LatentDiffusion.shared_step` 读起，顺着上面的主线走一遍。Stable Diffusion 另有四处不同，原文件有十几处容易看错，都在附二，读到时再查。
#
# ## 小结
#
# - 图还在吗？在：压到一半，均方根误差约 0.11，主要笔画都在。
# - 省下多少，抵得上吗？边长减半，U-Net 每步的乘法降到约四分之一。U-Net 的乘法一样多时，潜变量的 Fréchet 距离是 73，窄一半的像素网络是 95；算上自编码器就与像素的 300 步同价，那是 48。所以自编码器练一次、用许多次，压缩才划算。
# - 代码要改多少？程序改两处：`get_input` 里多编码一次，采样之后多解码一次；配置改形状、关截断。自编码器冻结，损失算在潜变量上。
# - 系数要紧吗？乘对了（$\sigma_z=1$），距离是 73；忘了乘（5.5），是 127，主要坏在信噪比；多乘了（0.18），是 97，信噪比与幅度都有份（都指第 4 节的换法）。编码之后乘，解码之前除，乘完的标准差量级要是 1。
# - 读 `ddpm.py` 先认主线 `shared_step → get_input → forward → p_losses`，再查附三的对照表；Stable Diffusion 2 的基类 26 个方法，这里有 24 个同名，另两个改由 `optimizer_step` 与 `make_grid` 来做。
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
# 选做，配合附一。`patches` 的形状是 $(B, C, k, k, L)$，是从 $H\times W$ 的图上每隔 `stride` 切下的 $L$ 块，先从左到右，再从上到下（与 `F.unfold` 相同）。
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
# ### 17.4　照抄系数 ★
#
# 我们的潜变量标准差是 1.6。若不量它，照抄 Stable Diffusion 的 0.18215，信噪比降到 1 的步号与 $\sigma_z=1$ 的 418 比：
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
# 训练时潜变量乘了 `scale_factor` = 0.18215。自己写采样时，忘了先除以它就解码，图会怎样？可以用第 1 节的自编码器试：`autoencoder.decoder(0.18 * z[:16])`。
#
# - A：一样，解码器会适应。
# - B：发灰，对比很低，轮廓还依稀可辨。
# - C：全是噪声。
# - D：亮处暗处都溢出，黑白分明。

# %%
grade("17.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ## 附一：图太大，切块
#
# 第一遍不必看。latent-diffusion 的模型若带有 `split_input_params`，编码、解码与 U-Net 都一块一块地做：切成重叠的块，各自处理，再加权平均。权重在块的中心大、边上小，除以落在每个像素上的权重之和，接缝就被抹平。
# `get_fold_unfold` 管切与拼；Stable Diffusion 2 里它还在，却不再用到。

# %%
image = 0.6 * F.interpolate(test[1:2], size=32, mode="bilinear")
patches = F.unfold(image, 16, stride=8)  # 每块 16×16，相邻两块重叠一半
patches = patches + 0.2 * torch.randn(1, 1, patches.shape[-1], generator=torch.Generator().manual_seed(0))  # 每块自己的亮度误差
edge = torch.minimum(torch.arange(16.0), torch.arange(15.0, -1, -1)) + 0.5
pictures = [image]
for weight in (torch.ones(16, 16), edge[:, None] * edge):  # 等权；中心大、边上小
    flat = weight.reshape(1, -1, 1)
    share = F.fold(flat.expand(1, -1, patches.shape[-1]), 32, 16, stride=8)
    pictures.append(F.fold(patches * flat, 32, 16, stride=8) / share)
jumps = [(picture - image).diff(dim=-1).abs().max() for picture in pictures[1:]]
check_order("相邻像素之间误差最大的跳变，等权是加权的几倍：超过 3", 3, jumps[0] / jumps[1], digits=2)
grid_figure(torch.cat(pictures), nrow=3, width=6.0, columns=["原图", "等权", "加权"])

# %% [markdown]
# 图：左边是原图。中间与右边切成九块（横竖各三块，重叠一半），每块加上自己的亮度误差，再拼回去。等权时接缝是一道道台阶，加权后过渡平缓。
# 这个办法省显存，但各块互相看不见，隔得远的部分可能对不上。
#
# ## 附二：Stable Diffusion 还多什么，哪里容易看错
#
# <details><summary>与我们的小模型比，Stable Diffusion 有四处不同</summary>
#
# - **编码是抽样。** 编码器给出的不是一个 $z$，而是均值与对数方差，编码是抽一个样本：$z=\mu+\sigma\varepsilon$（KL 型）。`get_first_stage_encoding` 就管这件事，顺手乘上 `scale_factor`。训练时另加一项把它拉向 $\mathcal N(0,I)$ 的 KL 散度，权重只有 $10^{-6}$：能防潜变量无限放大，却拉不到标准差为 1，所以才需要那个系数。
# - **第一阶段的损失不是均方误差。** 逐像素的一项是绝对误差（L1），另加感知损失与对抗损失，让解码的图更清晰。
# - **条件是文字。** 我们的条件是类别，它的 `LatentDiffusion` 多一个条件编码器 `cond_stage_model`：文字进去，一串向量出来，再走第 8 章的交叉注意力 `c_crossattn`。它通常也是冻结的。
# - **系数有两种定法。** 写死（`scale_factor: 0.18215`），或者 `scale_by_std`：训练的第一批开始之前算一次 $1/\text{标准差}$，存进缓冲区。后一种只看一批，不必很准：第 3 节里偏大到 1.6 倍也分不出。它对所有通道只给一个数；通道之间大小不一的话（我们的两个通道差了六成），乘完还是不一。
#
# </details>
#
# <details><summary>哪里会看错：“章”是讲这件事的那一章，静默出错的几个第 16 章有病例</summary>
#
# | 读到哪里 | 会看到什么 | 其实 | 章 |
# |:--|:--|:--|--:|
# | `make_beta_schedule` | `"linear"` | 对 $\sqrt\beta$ 线性，不是论文的 linear | 02 |
# | `v_posterior` 的注释 | 称混合的是 sigma | 混合的是方差 | 04 |
# | `p_mean_variance` | 没有 `v` 这一支 | SD 2 的基类能用 `v` 训练，用 `p_sample` 采样就报错；靠 DDIM 那个类来采 | 04 |
# | `lvlb_weights` | `x0`、`v` 两支 | 都不对；第 0 步又被第 1 步盖掉 | 06 |
# | `original_elbo_weight` | 像是加上 ELBO | 加的是按 `lvlb_weights` 加权的均方误差：第 0 步的权重是抄来的，也没有终点那一项，与 ELBO 又差 $T$ 倍 | 06 |
# | `learn_logvar` | 基类里有这个参数 | 基类的损失不用它；`LatentDiffusion` 的才用 | 06 |
# | `conditioning_key` | 基类里有这个参数 | 基类从不传条件，一前向就报错 | 08 |
# | `__init__` 的次序 | 先载检查点，后建噪声表 | 基类能把 $T=100$ 的文件装进 $T=50$，只印出几个多余的键；`LatentDiffusion` 最后才载，会报错 | 09 |
# | `load_only_unet` | 像是只取 U-Net | 键的前缀对不上，什么也没取到 | 09 |
# | `get_input` | 重排成 CHW | 只认 HWC；给了 CHW，而宽恰好等于通道数时，排错了也不报 | 10 |
# | `validation_step` | 两套权重各算一遍 | 各抽各的 $t$ 与噪声，两条曲线不可比 | 10 |
# | `self.learning_rate` | 文件里没有一处给它赋值 | 训练脚本从外面设置：批量 × 卡数 × 累积的批数 × `base_learning_rate` | 10 |
# | `on_train_batch_end` | EMA 在这里走 | 梯度累积时多走几倍 | 11 |
# | `scheduler_config` | 基类存了下来 | 基类的 `configure_optimizers` 不用它；`LatentDiffusion` 的才用 | 12 |
#
# </details>
#
# <details><summary>LatentDiffusion 的构造函数、冻结与条件</summary>
#
# `LatentDiffusion` 的构造函数里，有四处值得停一停，前两处是次序：
#
# - `num_timesteps_cond` 在调用父类的构造函数**之前**就赋值，因为父类会调用 `register_schedule`，而子类的 `register_schedule` 要用它。它大于 1 时，条件自己也要掺噪声；公开的配置都用 1，可以不管。
# - `ckpt_path` 从参数里先取走，等两个编码器都造好再载入；父类那里的载入就跳过了。
# - `conditioning_key` 没有给时，由 `concat_mode` 决定，默认是 `concat`。以为默认是交叉注意力，就会在通道数上报错。
# - `scale_factor` 有时是普通的数，有时是缓冲区。用了 `scale_by_std` 的检查点里存着它；写死的不在里面，换一份配置就换了一个数。
#
# “冻结”写成三件事：`eval()`、每个参数 `requires_grad = False`，再把 `train` 方法换成什么也不做的函数，因为父模块调用 `train()` 时，子模块也会回到训练模式。我们的自编码器没有 dropout 与 BatchNorm，所以第 1 节省了最后一件。
#
# 条件怎样进来，有三处：
#
# - `get_input` 返回列表，长度随参数变：至少有潜变量与条件两项；要重建图就多两项，要原来的条件再多一项。
# - 条件编码器若也要训练（`cond_stage_trainable`），编码推迟到 `forward` 里做：`get_input` 整个套着 `torch.no_grad()`，在它里面编码，梯度传不回条件编码器。
# - 不是字典的条件，除了 `concat` 一律放进 `c_crossattn`；`adm` 的类别也是，`DiffusionWrapper` 再从那里取出来。键名叫 `c_crossattn`，装的却是类别；存取两端一致，所以不出错。
#
# 有几段这门课没有讲：布局到图像的标注框、VQ 的 `predict_cids` 与 `quantize_denoised`、`score_corrector`，`plms.py` 这种采样器（同属多步法的 DPM-Solver 在第 18 章），以及 Stable Diffusion 2 的几个子类。读到时可以先跳过，不影响主线。
#
# </details>
#
# ## 附三：对照表
#
# 读原文件时拿来查。左边是原文件里的名字，“这里”一列由程序逐个核实过真的存在，章号是逐行讲它源码的那一章（毛病可能在别的章讲，见附二）。“仓库”一列的 SD 2 指只有 Stable Diffusion 2 的仓库里才有。
#
# **基类 `DDPM` 的每个方法：**

# %%
reference_map("base")

# %% [markdown]
# **别的文件里的零件：**

# %%
reference_map("parts")

# %% [markdown]
# **`LatentDiffusion` 的主要方法**（“没有”的，程序包里没有；第 2、5 节与附一、附二讲过它们做什么）：

# %%
reference_map("latent")

# %% [markdown]
# ### 小实验　潜变量里的引导
#
# 改一处，量一量，写三句话。第 2 节的样本没有加引导。在 `fit_latent` 的 `sample` 里加上 `guidance_scale=2.0`，重新训练一个 $\sigma_z=1$ 的（约十几秒），量三样：分类器认得出的比例，Fréchet 距离，有数超出 $\pm4$ 的样本占几成；再换 1.5、3、5。
# 先猜：引导越强，认得出的越多，Fréchet 距离也会一直变小吗？
#
# <!-- 参考答案 -->
# **参考答案**　八个种子从头训练，每次五百个样本，± 后面是标准误：
#
# | 引导强度 | 认得出 | Fréchet 距离 | 有数超出 $\pm4$ | 潜变量的标准差 |
# |--:|--:|--:|--:|--:|
# | 1（不引导） | 62% ± 1% | 73 ± 1 | 9% ± 1% | 1.28 ± 0.02 |
# | 1.5 | 77% ± 1% | 38 ± 1 | 10% ± 1% | 1.31 ± 0.02 |
# | 2 | 84% ± 1% | 40 ± 2 | 10% ± 1% | 1.35 ± 0.02 |
# | 3 | 90% ± 1% | 75 ± 3 | 12% ± 1% | 1.44 ± 0.03 |
# | 5 | 94% ± 1% | 146 ± 9 | 26% ± 2% | 1.68 ± 0.04 |
#
# 认得出的比例一路升，Fréchet 距离却先降后升，最好在 1.5 到 2 之间；到 5 时，认得出的最多，距离反而是不引导的两倍。
# 像素模型把猜测截到 $[-1,1]$，潜变量没有界，不能截（第 2 节），引导放大的差就一直留着，标准差从 1.28 涨到 1.68，解码器没有见过那么大的数。
# 只看认得出的比例，会以为越强越好；两个数要一起看（第 15 章）。
#
# ```python
# from ddpm_edu.evaluation.classifier import load_classifier
# from ddpm_edu.evaluation.metrics import recognised
#
# judge, rows = load_classifier("digits"), {}
# for seed in range(8):
#     torch.manual_seed(seed)
#     latent = LatentDDPM(**latent_config() | {"seed": seed}).attach(autoencoder, a)
#     quiet_trainer(max_steps=300, gradient_clip_val=1.0).fit(latent, DigitsDataModule(batch_size=32, seed=seed))
#     for scale in (1.0, 1.5, 2.0, 3.0, 5.0):
#         with latent.eval().ema_scope():
#             drawn = latent.sample(500, sampler="ddim", steps=20, cond=classes, guidance_scale=scale,
#                                   generator=torch.Generator().manual_seed(seed), progress=False)
#         images = latent.decode_first_stage(drawn)
#         far = float((drawn.abs() > 4).flatten(1).any(1).double().mean())
#         rows.setdefault(scale, []).append([recognised(judge, images, classes)["recognised"], score(images), far, float(drawn.std())])
# for scale, found in rows.items():
#     print(scale, np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
