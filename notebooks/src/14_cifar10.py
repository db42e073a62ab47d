# %% [markdown]
# # 14 · 训练 CIFAR-10
#
# 假设你手上只有一台笔记本，想练一个画彩色照片的模型。照论文的配置，两个 CPU 核要练四个多月。只好砍：换小的网络，少看一些图。课程自带的模型就是这样练成的，只用一个核，三个半小时，计算是论文的六千分之一。
#
# 砍的时候最怕两件事。一是看错结果：它学会了画猫，还是只学会了猫的颜色？二是砍错地方：参数多的层，计算不一定多。
#
# **这一章的问题**：只花论文六千分之一的计算，它画出了物体，还是只画出了颜色？离真图多远？计算省在哪里？
#
# **学习目标**
#
# - 会拿已知的坏样本检验一个指标。
# - 会算一份配置要多少次乘法，看得出贵在哪里。
# - 会按手上的机器选一份配置，知道提速的办法各改变什么（附一）。
#
# **预计用时** 正文 25 分钟，正式的训练另计。运行全部单元不到一分钟。

# %%
import math

import torch

from ddpm_edu import DDPM, UNet, count_params, load_pretrained
from ddpm_edu.configs import load as load_config
from ddpm_edu.generate import generate
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.teach import check, grid_figure
from ddpm_edu.teach.cifar10_figures import chain_figure, progress_figure, spending, spending_figure, two_rulers_figure
from ddpm_edu.teach.datasets import cifar10_or_stand_in, drawn_by

NAMES = ("飞机", "汽车", "鸟", "猫", "鹿", "狗", "青蛙", "马", "船", "卡车")
print("准备好了")

# %% [markdown]
# ## 1　先看结果：不告诉你是什么，你认得出几类
#
# CIFAR-10 是十类 32×32 的彩色照片。告诉自带的模型要哪一类，它就画哪一类。下面是它画的四十张，一列是一类，列的次序打乱了。**请先猜每一列是什么**，再往下读。

# %%
order = torch.randperm(10, generator=torch.Generator().manual_seed(14))  # 打乱的次序，先别印出来
grid_figure(drawn_by("cifar10")[10:50].unflatten(0, (4, 10))[:, order].flatten(0, 1), nrow=10, columns="ABCDEFGHIJ")

# %% [markdown]
# 图：自带的模型画的四十张，一列一类，DDIM 50 步，加引导（强度 2），没有挑过。

# %%
guess = ""  # 从 A 到 J 各写一个数字，合成一串：0 飞机，1 汽车，2 鸟，3 猫，4 鹿，5 狗，6 青蛙，7 马，8 船，9 卡车
print(f"十列里认出 {sum(a == str(b) for a, b in zip(guess, order.tolist()))} 列" if guess else "还没有猜：写好 guess，再运行这一格")

# %% [markdown]
# 瞎写十个数字，平均只中一列。
#
# <details><summary>猜完再看答案</summary>
#
# 从 A 到 J 是狗、鹿、青蛙、汽车、马、猫、船、卡车、鸟、飞机。
#
# </details>
#
# 知道了答案再看：飞机、汽车、马、船，我看得出轮廓，像速写；猫与青蛙多半只有颜色与背景；卡车、鸟、鹿、狗介于其间。
#
# 只学到颜色会是什么样？我们造一份**已知的坏样本**来对照：把每张图拉成一个向量，一类拟合一个高斯，从里面抽样，再截到 $[-1,1]$。高斯只用到均值与协方差，留得住颜色与明暗；留不留得住物体，画出来看。这种图叫**斑图**。

# %%
# NBVAL_IGNORE_OUTPUT
data, which = cifar10_or_stand_in("../data", batch_size=32)
data.setup()
train = data.splits["train"]
print(which)

# %%
def gaussian_pictures(pixels, count, generator):
    """从一类图的高斯里抽几张：中心化的图各乘一个标准正态再加起来，协方差就是样本协方差"""
    mean = pixels.mean(0)
    weights = torch.randn(count, len(pixels), generator=generator) / (len(pixels) - 1) ** 0.5
    return (mean + torch.einsum("kn,n...->k...", weights, pixels - mean)).clamp(-1, 1)


small, generator = load_pretrained("cifar10"), torch.Generator().manual_seed(0)
plain, _ = generate(small, 20, cond=torch.arange(10).repeat(2), steps=50, seed=0, use_ema=False, progress=False)  # 发布的权重已是 EMA，没有另一份
plain, guided = plain[10:], drawn_by("cifar10")[10:20]  # 起点的噪声逐张相同
real, spots = torch.zeros(10, 3, 32, 32), torch.zeros(20, 3, 32, 32)
if data.num_classes == 10:  # 磁盘上没有 CIFAR-10 时，前三行留空
    classes = [train[(train.labels == k).nonzero()[:500, 0]]["image"] for k in range(10)]
    real = torch.stack([pixels[5] for pixels in classes])
    spots = torch.stack([gaussian_pictures(pixels, 2, generator) for pixels in classes], 1).flatten(0, 1)
grid_figure(torch.cat([real, spots, plain, guided]), nrow=10, rows=["真图", "斑图", "", "不加引导", "加引导"], columns=NAMES)

# %% [markdown]
# 图：斑图里看不出物体，模型画的有几张看得出。斑图两行，每类的高斯只用前 500 张来拟合（第 2 节的用全部训练图）；末两行起点的噪声逐张相同。
#
# 斑图的二十张，我看不出一个物体。不加引导的十张里，只有狗、马、船等几张的主体与背景分得开；加了引导，轮廓略清楚些。
#
# ## 2　画得怎样：两把尺子
#
# “略清楚些”是好多少？换成数来比。尺子有两把，都靠一个用 CIFAR-10 训练的小分类器（第 13 章）。**Fréchet 距离**比的是两批图的特征的均值与协方差，越小越像真图。**认出率**（那里叫“认得出”）是分类器把图认作所要那一类的比例，越高越好。**先猜一猜**：两把尺子排出的名次一样吗？

# %%
card = pretrained_card("cifar10")
two_rulers_figure(card)

# %% [markdown]
# 图：两把尺子在不加引导与斑图这一对上排反了。最好的在最上面，同一种图用线连起来，排反的一对画粗。距离是 400 张图对 2443 张没有用来训练的真图，重复八次（左边的真图取自训练图），± 是标准误 (standard error)；右边的真图就是那 2443 张。高低只是名次。
#
# 信哪一把？这一对的答案我们知道：斑图里看不出物体，不该排在前面，认出率却把它排到了前面。所以**一把尺子若把已知的坏样本排到更好的图前面，就不能拿它排这样的名次**。
#
# 距离在这一对上与眼睛一致，暂且信它，虽然它也有看不见的坏（习题 14.4）：
#
# - **加引导的距离是 5.6**。真图自己也有 1.2，因为张数有限，均值与协方差估不准。都减去它，5.6 − 1.2 = 4.4，约是斑图 23.5 − 1.2 = 22.3 的五分之一。
# - **引导有没有用，还要另找证据**：它在两把尺子上都更好，可是两把靠的是同一个分类器。
# - **论文的 3.17 不能与这里的数比**。那是 FID，[取特征的网络与张数都不同](91_troubleshooting.ipynb "为什么我的 FID 对不上")。
#
# 画出的是物体，还是颜色？认出率不能拿来给两种画法排名次，但可以问：同一类的图，比得过没有物体的斑图吗？比不过，就没有物体的证据；比得过，也还不是证明（%，每类 320 张，标准误都不到 3）：
#
# | | 马 | 汽车 | 飞机 | 鸟 | 鹿 | 狗 | 船 | 卡车 | 青蛙 | 猫 |
# |:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
# | 加引导 | 69 | 83 | 80 | 45 | 81 | 50 | 92 | 82 | 91 | 53 |
# | 不加引导 | 29 | 43 | 54 | 23 | 48 | 34 | 59 | 52 | 54 | 37 |
# | 斑图 | 21 | 55 | 56 | 23 | 70 | 40 | 86 | 87 | 98 | 69 |
#
# 不加引导，只有马高出斑图，约高两倍半的标准误。加了引导，前七类都高出：狗与船的差约是标准误的两倍半，别的都在三倍以上；后三类没有。可是引导会放大一类的特征，不一定是物体。所以这张表只说明，**加了引导的前七类不止有均值与协方差**；画没画出物体，还要靠眼睛。

# %% [markdown]
# ## 3　省在哪里：参数多的地方不一定贵
#
# 两样东西都叫 `cifar10`，不要混：配置 `cifar10` 是论文的，课程没有练；`load_pretrained("cifar10")` 是自带的模型，网络与步数照配置 `cifar10-class`，下面叫我们的配置。改变计算量的有五处：
#
# | | 论文 | 我们 |
# |:--|:--|:--|
# | 叠像素（`patch_size`，第 13 章） | 不叠 | 每 2×2 个像素叠成一个位置 |
# | 通道 | 128 | 48 |
# | 各层通道的倍数 | 1、2、2、2 | 1、2、3 |
# | 每层的残差块 | 2 个 | 1 个 |
# | 看过的图 | 每批 128 张，80 万步 | 每批 64 张，9000 步 |
#
# 看过的图是论文的 1/178；前四处省多少，要数一张图的乘法。
#
# 一层卷积的乘法是“输出的像素数 × 输入通道 × 输出通道 × 卷积核的面积”。参数却不乘像素数，因为每个像素用的是同一组权重。**先猜一猜**：论文的网络里，哪一种分辨率的乘法最多，哪一种的参数最多？

# %%
config = load_config("cifar10")
paper = DDPM(**config["model"])
spending_figure(spending(paper.model.diffusion_model))

# %% [markdown]
# 图：论文的网络里，参数多的地方（左）不是乘法多的地方（右）。卷积按输出的特征图分行，注意力与时间嵌入的线性层各单列一行。
#
# **参数多的地方不一定贵。** 32×32 的卷积，参数只有 8%，乘法却最多；4×4 的参数最多，乘法只有 3%。因为边长减半，同样多的参数，乘法只要四分之一。
#
# 现在从论文的网络一处一处改到我们的。**先猜一猜**：哪一处省得最多，有没有哪一处反而变贵？

# %%
network, chain, sizes = dict(config["model"]["unet_config"]["params"]), {}, {}
for name, change in {"论文的网络": {}, "叠 2×2": {"patch_size": 2}, "通道 48": {"model_channels": 48},
                     "倍数 1、2、3": {"channel_mult": [1, 2, 3]}, "残差块一个": {"num_res_blocks": 1}}.items():
    network |= change
    unet = UNet(**network)
    chain[name], sizes[name] = sum(products for parameters, products in spending(unet).values()), count_params(unet)
chain_figure(chain, sizes)

# %% [markdown]
# 图：减通道与叠 2×2 省得最多。每行比上一行多改一处，箭头上是乘法的倍数；横轴是对数，箭头越长，倍数越大。
#
# - **通道减到 48 省得最多**：一层卷积的输入与输出的通道都减，所以约省 $(128/48)^2\approx7.1$ 倍。
# - **叠 2×2 次之**：每张特征图的像素都只剩四分之一，乘法也是；参数几乎不变。
# - **倍数换成 1、2、3 反而变贵**：去掉最小的一层几乎不省，末层加宽却要多算。

# %%
products, seen = chain["论文的网络"] / chain["残差块一个"], 800_000 * 128 / card["recipe"]["images_seen"]
print(f"论文是我们的几倍：一张图的乘法 {products:.0f}，看过的图 {seen:.0f}，合起来 {round(products * seen, -2):.0f}")

# %% [markdown]
# 这就是开头的六千分之一。按核时（核数乘小时）算，却只省约 1800 倍：133 天 × 2 核，对 3.5 小时 × 1 核，为什么差三倍多，没有量。**要知道练多久，还得量时间**（第 5 节）。
#
# <details><summary>选读：数据从哪里来</summary>
#
# 没有 CIFAR-10 时用两张照片切成的图块代替，只够把代码跑通。想下载就运行 `from ddpm_edu import CIFAR10DataModule; CIFAR10DataModule("../data").prepare_data()`，共 170 MB。按类别摆成文件夹的图也认（`data/cifar10/train/airplane/` 等等）。本章的数用的是这样一份 JPEG，共 50000 张：45018 张训练，2539 张验证，2443 张测试；不要与用官方文件量的直接比。
#
# </details>

# %% [markdown]
# ## 4　练到几步：后一半的 4800 步白练了吗
#
# 砍的另一头是步数。要是 4200 步就够了，三个半小时还能省一半。拿同一次训练里这两处的权重来比：学习率的计划中途换过两次，这两处都恰好走完一份，学习率刚降到底，所以可以比。

# %%
growth = drawn_by("cifar10_growth").unflatten(0, (3, 10))[1:, [0, 1, 5, 7, 8]]  # 三处里的后两处，十类里的五类
grid_figure(growth.flatten(0, 1), nrow=5, width=5.5, rows=[f"{steps} 步" for steps in card["growth"][1:]], columns=[NAMES[k] for k in (0, 1, 5, 7, 8)])

# %% [markdown]
# 图：9000 步的图，看上去只比 4200 步的干净一点。一行是一处的权重，同一列的起点噪声相同，DDIM 50 步，加引导。
#
# 干净多少？量距离与损失，都先减去一条参照线（第 13 章）：距离只看超出真图的部分，损失只看低于线性滤波的部分，这里的滤波不分类别。**先猜一猜**：从 4200 步到 9000 步，距离超出真图的部分少了几成，损失低于滤波的部分又多了几成？

# %%
# 四段损失低于线性滤波的部分：4200 步，9000 步，多了百分之几，标准误
progress_figure(card, [(0.0274, 0.0376, 37, 3), (0.0149, 0.0182, 22, 1), (0.0090, 0.0109, 22, 1), (0.0076, 0.0090, 18, 5)])

# %% [markdown]
# 图：从 4200 步到 9000 步，两样都好了。括号里是前后的数；损失用 512 张没有训练过的图来量，$q_1$ 是前 250 步，$q_4$ 是末 250 步。两边的参照线不同，百分数不能互比。
#
# 所以这一次（只练过一次）的后一半**没有白练**。
#
# 不减参照线，四段损失的降幅都不到 6%，容易以为练够了。所以**看损失也要有参照**，最后还得画出来量。

# %% [markdown]
# ## 5　手上有什么机器，就怎么练
#
# 现在照手上的机器选一份配置。表里的 `cifar10-gpu` 就是论文的配置，只是用 GPU，用四个进程备数据，又打开了 bf16 与编译（附一）。编译在 H100 上没有量成，所以表里先关掉。几张卡一起练，见附二。
#
# | 你有 | 练哪一份 | 要多久 |
# |:--|:--|:--|
# | 只想用 | 不练，`load_pretrained("cifar10")` | 几秒 |
# | 一个 CPU 核 | `cifar10-class` | 约 3 小时半（实测） |
# | 两个 CPU 核 | 论文的配置 `cifar10`：别练 | 约 133 天（实测 16 张一步 1.8 秒，乘以图数） |
# | 一张小显卡 | `cifar10-class`；再试 `cifar10-gpu`，峰值显存 5.5 GiB（H100 上实测） | 没有量过 |
# | 一张 H100 | `cifar10-gpu --speed.compile false`，走满 80 万步 | 约 17 小时（每步 78 毫秒乘以步数，只算训练的一步） |
#
# 第一条命令开始练，按 Ctrl-C 停下之后用第二条接着练，GPU 会自动用上。学习率只走一份 9000 步的计划，所以结果与自带的会略有不同：
#
# ```bash
# python -m ddpm_edu fit --config cifar10-class
# python -m ddpm_edu fit --config cifar10-class --ckpt_path last
# ```
#
# 要自己改配置，照这个次序想：
#
# 1. **在 CPU 上先改网络**：叠 2×2，减通道。**在 H100 上先看卡忙不忙**：论文的网络用 bf16，一步 78 毫秒，GPU 只忙 55 毫秒。
# 2. **改步数，连学习率计划一起改**：`trainer.max_steps` 与 `max_decay_steps`。
# 3. **先量一步，再算全程**：`python -m benchmarks.step_time`，有 GPU 时用 `python -m benchmarks.gpu`。

# %% [markdown]
# ## 小结
#
# **这一章的问题**：只花论文六千分之一的计算，它画出了物体，还是只画出了颜色？离真图多远？计算省在哪里？
#
# - **画得怎样**：飞机、汽车、马、船看得出轮廓，像速写；猫与青蛙多半只有颜色。这是一个人知道答案之后的判断；加了引导，认出率也没有高出斑图的，是卡车、青蛙、猫。加引导的 Fréchet 距离是 5.6 ± 0.2，斑图是 23.5 ± 0.4，真图是 1.2 ± 0.2。
# - **省在哪里**：看过的图减到 1/178；一张图的乘法减到 1/35，主要靠减通道与叠 2×2。贵的是大特征图上的卷积，它们参数少而乘法多。
# - **拿什么量**：先拿已知的坏样本检验指标，认出率就会把斑图排到不加引导的前面。损失要减去参照线再比：原始的降幅不到 6%，$q_1$ 低于线性滤波的部分却多了近四成（多几成，随参照线而变）。

# %% [markdown]
# ## 附一：提速的办法改变什么
#
# | 办法 | 做什么 | 数学变不变 |
# |:--|:--|:--|
# | channels_last（一直开着） | 一个像素的各通道在内存里挨着放 | 只有舍入的次序变 |
# | `speed.compile` | 把许多小运算融成几个大的，第一步之前要编译，多久没有量过 | 只有舍入的次序变；有 dropout 时，丢掉的也换一批 |
# | `trainer.precision bf16-mixed` | 卷积与矩阵乘用 16 位的 bfloat16；权重、EMA 与损失仍是 32 位 | 乘法的结果只有两三位有效数字 |
#
# 只有 bf16 改了精度。它在 H100 上（论文的网络，不编译）只快 4%；那里 32 位的卷积默认已走低精度的 TF32，bf16 的一步里，转换类型与排布占 20 毫秒。
#
# **bf16 能不能用？** $t$ 均匀抽时，它使一步的梯度偏 9 度，比换一批图小得多。在 $t=0$ 处，它是平均消不掉的偏差；可是 $t=0$ 只是一千步里的一步，对画出的图有没有影响，没有量。
#
# 下表是自带的模型的两个梯度之间的夹角。每批 16 张训练图，共 24 批，换图的配成 12 对，± 是标准误：
#
# | | $t$ 均匀抽 | $t=0$ |
# |:--|--:|--:|
# | 同样的图，32 位与 bf16 | 9 ± 1 | 46 ± 1 |
# | 都用 32 位，两批图 | 89 ± 5 | 81 ± 2 |
#
# 为什么说 $t=0$ 处的是偏差？随机的误差，平均之后会变小，偏差不会。所以先平均，再量夹角：换图的，12 批的平均对 12 批的平均，只差 38 度；bf16 的，24 批的平均差 63 度，比一批的 46 度还大。下面用自带的模型画的一批图核对 $t=0$。

# %%
noise = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
batch = {"image": drawn_by("cifar10")[10:26], "label": torch.arange(16) % 10, "noise": noise}


def gradient(model, t, bf16=False):
    """一批图走一步，全部的梯度接成一个长向量"""
    model.model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, _ = model.p_losses(batch["image"], t, batch["noise"], cond={"c_adm": batch["label"]})
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.model.parameters()])


def degrees(a, b):
    return math.degrees(math.acos(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0)))


t = torch.zeros(16, dtype=torch.long)
check("t = 0：bf16 的梯度偏出的度数", degrees(gradient(small, t), gradient(small, t, bf16=True)), 46, atol=12)
check("bf16：1 + 0.0001 还是 1", torch.tensor(1.0).bfloat16() + torch.tensor(1e-4).bfloat16(), 1.0)

# %% [markdown]
# 后一行说的是：bf16 只有 8 位有效的二进制数字，把小量加到大量上，小量会被舍掉。所以 EMA 的影子必须是 32 位（第 11 章）。
#
# ## 附二：几张卡一起练
#
# 数据并行 (data parallel) 是每张卡一份模型，各算一小批的梯度，再求平均，所有的卡走同样的一步。各小批一样大，网络里又没有跨样本的统计（例如 BatchNorm）时，各小批梯度的平均就是整批的梯度，所以四张卡各算 32 张，等于一张卡算 128 张。梯度累积（第 11 章）是同一件事，只是一张卡先后算四小批。

# %%
def accumulated(parts):
    """把一批切成 parts 份，各求梯度再平均"""
    small.model.zero_grad()
    x, y, noise, t = batch["image"], batch["label"], batch["noise"], torch.arange(16) * 60
    for some in torch.arange(16).chunk(parts):
        (small.p_losses(x[some], t[some], noise[some], cond={"c_adm": y[some]})[0] / parts).backward()
    return torch.cat([p.grad.flatten() for p in small.model.parameters()])


whole, four = accumulated(1), accumulated(4)
check("一批 16 张，与四份各 4 张的平均，梯度之差不到万分之一", float((four - whole).norm() / whole.norm()) < 1e-4, True)

# %% [markdown]
# `--data.batch_size` 是每张卡的批。要与论文的 128 相同，四张卡就写 32；一张小卡装不下 128，就写 32，再加 `--trainer.accumulate_grad_batches 4`。几张卡、几台机器的整条命令在仓库的 README；只用两个 CPU 进程测过。

# %% [markdown]
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 14.1　注意力的乘法 ★★
#
# 第 3 节的算法只管卷积。一层自注意力（第 8 章）先用三个 1×1 卷积算出 $q,k,v$，再做两次矩阵乘（$q$ 与 $k$，权重与 $v$），最后还有一个 1×1 卷积，通道数都是 `channels`。特征图是 `height` × `width`，一共要做多少次乘法？偏置与 softmax 不算，返回一个整数。写好之后代入论文的 16×16（256 通道），再假想把它放在 32×32（128 通道）。

# %%
def attention_multiplications(channels, height, width):
    # 答案
    n = height * width
    return 4 * channels**2 * n + 2 * channels * n**2
    # 答案完


grade("14.1", attention_multiplications)

# %% [markdown]
# ### 14.2　几张卡的批不一样大 ★
#
# `gradients` 是一列同样形状的张量，每张卡一个，是它那一小批的**平均**损失的梯度；`counts` 是各卡的张数。返回把所有的图放在一批里时，平均损失的梯度。

# %%
def combine(gradients, counts):
    # 答案
    return sum(n * g for n, g in zip(counts, gradients)) / sum(counts)
    # 答案完


grade("14.2", combine)

# %% [markdown]
# ### 14.3　亲手舍入成 bf16 ★★★
#
# 不用 `bfloat16`，把 float32 的 `x` 舍入到最近的 bf16 数，仍以 float32 返回。bf16 有 8 位有效的二进制数字，指数与 float32 一样宽；恰好在正中间时取末位是偶数的那个。`m, e = torch.frexp(x)` 把 `x` 拆成 $m\cdot2^e$，$\frac12\le|m|<1$；`torch.ldexp(m, e)` 拼回去。不必管次正规的数与无穷。

# %%
def round_to_bf16(x):
    # 答案
    m, e = torch.frexp(x)
    return torch.ldexp((m * 2**8).round(), e - 8)
    # 答案完


grade("14.3", round_to_bf16)

# %% [markdown]
# ### 14.4　造一份坏样本 ★
#
# 取 400 张训练的真图，造四份坏样本，让第 2 节的 Fréchet 距离来判。哪一份它一点也看不出坏？先想它看的是什么，再想它不看什么。
#
# - A：每张图切成 16 块，每块 8×8，打乱了再拼起来。
# - B：每张图上下颠倒。
# - C：图不动，类别全错一位，飞机写成汽车，卡车写成飞机。
# - D：只留 10 张，各复制 40 份。

# %%
grade("14.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 14.5　换成 float16 ★★
#
# 把附一 `gradient` 里的 `torch.bfloat16` 换成 `torch.float16`，$t$ 从 0 到 999 均匀抽，也不缩放损失，会怎样？发布的权重本来就存成 float16，舍入它们没有损失。
#
# - A：损失溢出成无穷。
# - B：损失仍然对；梯度里有一成上下很小的数成了 0，可是其余的都更准，合起来方向比 bf16 准得多。
# - C：损失与梯度都比 bf16 准，每一个数都是，因为 float16 的有效二进制数字多三位。
# - D：没有差别，都是 16 位。

# %%
grade("14.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 小实验　画图时，权重要几位二进制数字
#
# 改一处，量一量，写三句话。练好之后只是拿来画图，权重要几位有效的二进制数字才够？
#
# 下面把全部的参数舍入到 `bits` 位（`rounding` 就是习题 14.3 的做法，只是位数可以改），再画四十张；24 位等于不舍入。改 `bits`（8、4、3、2），与 24 位的比：像素差几级灰度（均方根），分类器认得出几成，眼睛看得出吗？先猜一猜，从几位起画坏。
#
# ```python
# from ddpm_edu.evaluation.classifier import load_classifier
# from ddpm_edu.evaluation.metrics import recognised
# from ddpm_edu.teach.exercises.ch14 import rounding
#
#
# def drawn_with(bits, seed=0, labels=torch.arange(40) % 10):
#     model = load_pretrained("cifar10")
#     with torch.no_grad():
#         for p in model.model.parameters():
#             p.copy_(rounding(bits=bits)(p))
#     return generate(model, 40, cond=labels, guidance_scale=2.0, steps=15, seed=seed, use_ema=False, progress=False)[0].clamp(-1, 1)
#
# exactly, roughly = drawn_with(24), drawn_with(4)
# print(127.5 * float((roughly - exactly).square().mean().sqrt()), recognised(load_classifier("cifar10"), roughly, torch.arange(40) % 10))
# grid_figure(torch.cat([exactly[:10], roughly[:10]]), nrow=10)
# ```
#
# <!-- 参考答案 -->
# **参考答案**　八个种子，各四十张，± 是标准误；距离是对着 2443 张留出的真图，最后一列按种子配对。四十张真图自己的距离是 6.6 ± 0.6：
#
# | 权重留几位 | 差几级灰度 | 认出率 | Fréchet 距离 | 距离减去不舍入的 |
# |:--|--:|--:|--:|--:|
# | 不舍入（发布时存了 11 位） | 0 | 72.2 ± 1.5% | 9.9 ± 0.7 | 0 |
# | 8 | 0.7 | 72.5 ± 1.6% | 10.0 ± 0.7 | +0.08 ± 0.01 |
# | 4 | 7.2 ± 0.1 | 71.3 ± 2.7% | 9.4 ± 0.7 | -0.49 ± 0.11 |
# | 3 | 11.1 ± 0.1 | 68.1 ± 1.8% | 12.5 ± 0.7 | +2.6 ± 0.4 |
# | 2 | 15.8 ± 0.1 | 55.9 ± 2.6% | 24.6 ± 0.7 | +14.7 ± 0.4 |
# | 不舍入，整段采样用 bf16 | 0.3 | 72.2 ± 1.5% | 9.9 ± 0.7 | +0.02 ± 0.01 |
#
# 一，8 位看不出分别，4 位也只是整体的明暗略有变化，从 3 位起才变坏；2 位的图布满隔一个像素的网纹，可是构图还在。二，4 位的像素已经差了七级灰度，距离反而小了 0.5，可见距离小一点不等于画得更好。三，训练要把很小的步子加到权重上，8 位就会舍掉；练好之后只是拿来用，4 位就够。
#
# ```python
# from ddpm_edu.data.base import random_images
# from ddpm_edu.evaluation.metrics import frechet_distance
#
# test, judge = random_images(data.dataset("test"), 2500)["image"], load_classifier("cifar10")
# features = torch.no_grad()(lambda images: torch.cat([judge.features(some) for some in images.split(500)]))
# want, found = features(test), {bits: [] for bits in (24, 8, 4, 3, 2)}
# for seed in range(8):
#     drawn = {bits: drawn_with(bits, seed) for bits in found}
#     for bits, images in drawn.items():
#         levels = 127.5 * float((images - drawn[24]).square().mean().sqrt())
#         found[bits].append([levels, recognised(judge, images, torch.arange(40) % 10)["recognised"], frechet_distance(features(images), want)])
# for bits, rows in found.items():
#     print(bits, torch.tensor(rows).mean(0), torch.tensor(rows).std(0) / 8**0.5)
# ```
#
# 表的最后一行，是 24 位，把 `drawn_with` 放进 `with torch.autocast("cpu", torch.bfloat16):` 里调用。
#
# <!-- 参考答案完 -->
