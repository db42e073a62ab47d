# %% [markdown]
# # 14 · 训练 CIFAR-10
#
# 从手写数字换到彩色照片，`DDPM` 类一个字也不用改。那么贵在哪里，要贵多少，钱花得不够时会画成什么样？
#
# **学习目标**
#
# - 读懂论文在 CIFAR-10 上的那份配置：每个数从哪里来，管什么。
# - 会算一份配置要多少计算；知道小网络省在哪里，画质又差在哪里。
# - 知道三种提速的办法各改变什么、不改变什么；会用几张卡一起训练；知道 FID 要什么才能算。
#
# **预计用时** 40 分钟，另加正式训练的时间。运行全部单元约 1 分钟。

# %%
import math

import torch

from ddpm_edu import DDPM, count_params, load_pretrained
from ddpm_edu.configs import load as load_config
from ddpm_edu.data.cifar10 import CLASSES
from ddpm_edu.evaluation.fid import inception_fid
from ddpm_edu.pretrained import classifier_cards, pretrained_card
from ddpm_edu.teach import check, check_order, check_raises, grid_figure
from ddpm_edu.teach.datasets import cifar10_or_stand_in, drawn_by
from ddpm_edu.teach.training import quiet_trainer

print("准备好了")

# %% [markdown]
# ## 1　先看结果：一个 CPU 核练得出什么
#
# CIFAR-10 是十类 32×32 的彩色照片。课程带着一个练好的小模型，`load_pretrained("cifar10")`：按类别生成，只用一个 CPU 核，练了约三个半小时。

# %%
NAMES = ("飞机", "汽车", "鸟", "猫", "鹿", "狗", "青蛙", "马", "船", "卡车")
grid_figure(drawn_by("cifar10")[:50], nrow=10, columns=NAMES)

# %% [markdown]
# 图：随课程发布的 `cifar10` 画的五十张，一列一类，从左到右是飞机、汽车、鸟、猫、鹿、狗、青蛙、马、船、卡车。DDIM 50 步，引导强度 2，没有挑过。
#
# 不要急着说好坏，先猜一猜：哪几列你认得出？再看两个数。Fréchet 距离越小越像真图，真图自己对真图是 1 左右（第 13 章）；“认得出”是分类器的判断，它对真的照片也会认错，所以真图的一行也列出来。
# “糊的”一行是参照：给每一类的像素拟合一个高斯，从里面抽样。颜色、明暗与大块的起伏都对，可是没有轮廓。

# %%
quality = pretrained_card("cifar10")["quality"]
print(f"{quality['samples']}；分类器在留出的照片上的准确率是 {classifier_cards()['cifar10']['accuracy']:.1%}")
for name, key in {"引导强度 1": "guidance_1", "引导强度 2": "guidance_2", "糊的　　　": "gaussian"}.items():
    row = quality[key]
    print(f"{name}　认得出 {row['recognised']['mean']:.1%} ± {row['recognised']['se']:.1%}　Fréchet 距离 {row['frechet']['mean']:.1f} ± {row['frechet']['se']:.1f}")
print(f"真图　　　　认得出 {quality['real_recognised']['recognised']:.1%}　　　　　Fréchet 距离 {quality['frechet_floor']['mean']:.1f} ± {quality['frechet_floor']['se']:.1f}")

# %%
for name, ours, blurred in zip(CLASSES, quality["guidance_2"]["by_class"], quality["gaussian"]["by_class"]):
    error = ((ours * (1 - ours) + blurred * (1 - blurred)) / 320) ** 0.5  # 每类 320 张
    print(f"{name:11}认得出 {ours:4.0%}　糊的 {blurred:4.0%}　相差 {ours - blurred:+4.0%} ± {error:.0%}")
check_order("Fréchet 距离：不到糊的一半", quality["guidance_2"]["frechet"]["mean"], quality["gaussian"]["frechet"]["mean"] / 2)

# %% [markdown]
# 出乎意料的是，糊的也有六成“认得出”，只比模型的样本低一成多，青蛙、猫、卡车还更高。小分类器看的多半是颜色与纹理，草绿的一团就是青蛙，轮廓它并不强求；飞机、汽车、马要看形状，模型就高出一截（鸟也是，可是一共不到一半）。
# 所以这个比例在这里不大分得出好坏，Fréchet 距离分得出：引导强度 2 的样本是糊的四分之一，却仍是真图的四倍半。用一个指标之前，先拿已知的坏样本检验它（第 15 章还会造一个）。
#
# 我们自己看，飞机、汽车、马、船看得出几分，像印象派的速写；鸟、猫、青蛙基本看不出。差的这一截不是公式的事，是计算的事，下面算这笔账。

# %% [markdown]
# ## 2　数据：彩色，左右翻转
#
# CIFAR-10 有 5 万张训练图，压缩包 170 MB。磁盘上有它就用它（官方的压缩包、解开的 `cifar-10-batches-py/`，或者按类别摆成的 `cifar10/train/airplane/……`）；没有就用替身：scikit-learn 自带的两张照片切成的 32×32 图块，只够把代码跑通。
# 想下载，运行 `CIFAR10DataModule("../data").prepare_data()`；慢的话先设 `DDPM_EDU_MIRROR`，断了再运行会接着下。
#
# 官方的压缩包里是 pickle，打开它就等于运行它。所以先核对校验和，对上了才打开。

# %%
# NBVAL_IGNORE_OUTPUT
data, which = cifar10_or_stand_in("../data", batch_size=32)
data.setup()
print(which)

# %%
train = data.splits["train"]
half = len(train) // 2
check("训练集加倍：后一半是左右镜像", train[half]["image"], train[0]["image"].flip(-1))
check("验证集不翻转", len(data.splits["val"].images) == len(data.splits["val"]), True)
grid_figure(torch.cat([train[0:half:half // 10]["image"][:10],
                       train[half:2 * half:half // 10]["image"][:10]]), nrow=10, rows=["训练图", "镜像"])

# %% [markdown]
# 图：上排是训练图，下排是同一批图的镜像。
# 论文在 CIFAR-10 上用随机左右翻转，说样本质量略有提高。我们不用随机数，而是把数据集加倍：每一轮每张图正反各见一次，续训时也就不会走样。
# 数字不能翻：翻过来的 3 不是 3。

# %% [markdown]
# ## 3　论文的网络与超参数
#
# `cifar10` 这份配置照 Ho 等 2020 的第 4 节与附录 B 写成；热身、梯度裁剪与“方差取 $\beta_t$”论文没有细说，取自他们公开的代码（run_cifar.py）。

# %%
config = load_config("cifar10")
paper = DDPM(**config["model"])
check("参数个数：35.7 M", int(count_params(paper.model)), 35_746_307)
print(count_params(paper.model.diffusion_model).table())

# %% [markdown]
# | 项 | 值 | 管什么 | 细讲 |
# |:--|:--|:--|:--|
# | 宽度与层 | 128，倍数 1、2、2、2 | 32 → 16 → 8 → 4，共四层 | 08 |
# | 注意力 | 下采样倍数 2，即 16×16 那一层 | 远处的像素互相看见 | 08 |
# | dropout | 0.1 | 不加则过拟合，论文试过 | 08 |
# | 噪声表 | `sqrt_linear`，$10^{-4}$ 到 0.02，$T=1000$ | 论文的 linear | 02 |
# | `v_posterior` | 1 | 采样方差取上端 $\beta_t$ | 04 |
# | 目标 | `eps`，简化损失 | $w_s=1$，不加 VLB 项 | 05、06 |
# | 学习率 | $2\times10^{-4}$，热身 5000 步后不变 | Adam，不加权重衰减 | 10、12 |
# | EMA | 0.9999 | 采样用平滑的权重 | 11 |
# | 梯度裁剪 | 范数 1 | 挡住个别坏批次 | 10 |
# | 批大小、步数 | 128，80 万步 | 共看 2048 遍训练集 | — |
#
# 表里的几个数，用代码核对。

# %%
scheduler = paper.configure_optimizers()["lr_scheduler"]["scheduler"]
multiplier = scheduler.lr_lambdas[0]
check("热身走到一半，学习率也是一半", multiplier(2500), 0.5, atol=1e-3)
check("热身之后不变", [multiplier(5000), multiplier(799_999)], [1.0, 1.0])
check("80 万步 × 128 张 ÷ 5 万张 = 2048 遍", 800_000 * 128 / 50_000, 2048.0)
check("EMA 的半衰期约 6931 步", math.log(0.5) / math.log(paper.model_ema.decay), 6931, atol=1)
check("热身到第 89 990 步才碰到 0.9999", [paper.model_ema.effective_decay(n) < 0.9999 for n in (89_989, 89_991)], [1, 0])
check("采样方差取 β_t", paper.exact_table("posterior_variance"), paper.exact_table("betas"), atol=1e-15)

# %% [markdown]
# 半衰期 6931 步，意味着没有热身公式时，训练几万步，影子还背着早先的权重。
# 我们的衰减取 $\min\bigl(d,\frac{1+n}{10+n}\bigr)$（第 11 章），前 89 990 步的衰减都低于 0.9999，影子大约是最近一成步数的平均。所以训练不到 9 万步时，写 0.9999 等于没有设；想要别的平滑程度，就把它改小。

# %% [markdown]
# ## 4　算账：贵在哪里，小网络省在哪里
#
# 卷积的乘法次数是“像素数 × 输入通道 × 输出通道 × 9”，层越靠上像素越多，越靠下通道越多。数一数论文的网络，前向一张图：

# %%
def multiplications(model, channels=3, size=32, **inputs):
    """各种边长的特征图上，卷积一共做多少次乘法"""
    found, hooks = {}, []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            hooks.append(module.register_forward_hook(lambda m, x, y: found.__setitem__(
                y.shape[-1], found.get(y.shape[-1], 0) + y[0].numel() * m.weight[0].numel())))
    with torch.no_grad():
        model(torch.zeros(1, channels, size, size), torch.zeros(1, dtype=torch.long), **inputs)
    for hook in hooks:
        hook.remove()
    return found


cost = multiplications(paper.model.diffusion_model)
total = sum(cost.values())
for side in sorted(cost, reverse=True):
    print(f"{side:2}×{side:<2} 占 {cost[side] / total:.0%}")
check("一张图前向一次，约 60 亿次乘法", total / 1e9, 6.0, atol=0.3)

# %% [markdown]
# 32×32 与 16×16 两层合起来占了绝大部分。反向约是前向的两倍，所以一步要做 $3\times128\times60$ 亿次乘法：两个 CPU 核一步要十几秒，80 万步要四个半月到半年多（第 8 节）。这就是为什么需要 GPU。
#
# 随课程发布的模型用的是 `cifar10-class`。它从三处省：
#
# - `patch_size` 是 2：每 2×2 个像素先叠成一个位置的 12 个通道，最贵的 32×32 一层就没有了，代价是最细的纹理要由最后一层卷积一次摊开；
# - 通道少：48，不是 128。乘法次数正比于输入通道 × 输出通道，省到原来的七分之一；
# - 告诉网络类别：给定类别，分布更简单，更容易学。采样时还能用引导（第 7 章）。
#
# 目标换成 `v`，噪声表换成 `cosine`。EMA 写的是 0.999，照上一节末尾的算法要到第 8 990 步才起作用，一共走 9 000 步，影子就是最近一成步数的平均。

# %%
card = pretrained_card("cifar10")
small = load_pretrained("cifar10")
ours = sum(multiplications(small.model.diffusion_model, y=torch.zeros(1, dtype=torch.long)).values())
seen, paper_seen = card["recipe"]["images_seen"], 800_000 * 128
print(f"参数　　　　　论文 {count_params(paper.model) / 1e4:.0f} 万　　我们 {count_params(small.model) / 1e4:.0f} 万")
print(f"一张图的乘法　论文 {total / 1e8:.1f} 亿　　我们 {ours / 1e8:.1f} 亿，是它的 1/{total / ours:.0f}")
print(f"看过的图　　　论文 {paper_seen / 1e4:.0f} 万张　　我们 {seen / 1e4:.0f} 万张，是它的 1/{paper_seen / seen:.0f}")
print(f"训练的计算合起来，是论文的 1/{total * paper_seen / ours / seen:,.0f}")

# %% [markdown]
# 计算差几千倍，图差成第 1 节那样，就不奇怪了。同一个网络，练得久一点会怎样？下面是训练途中存下的几份检查点，从同样的噪声出发：

# %%
grid_figure(drawn_by("cifar10_growth"), nrow=10, rows=[f"{steps} 步" for steps in card["growth"]], columns=NAMES)
print("从上到下，练到第几步：", card["growth"])

# %% [markdown]
# 图：一行是练到一处时画的十张，十列是十类，噪声逐列相同，DDIM 50 步，引导强度 2。越往下斑点越少，轮廓越清楚；各列的构图早早就由起点的噪声定下了。
#
# 进步看得见，可也就这么些：步数多到六倍，离照片还是很远。要补上的是几千倍的计算，不是再练几个小时。

# %% [markdown]
# ## 5　提速：改变什么，不改变什么
#
# 办法有三样。第一样一直开着：`UNet` 把各层的特征图排成 channels_last，像素的各通道在内存里挨着放，卷积读起来顺。数学一点不变。
# 另外两样是开关，都在 `cifar10-gpu` 里打开：
#
# - `speed.compile`：`torch.compile` 把许多小运算融成几个大的，开头要编译几分钟，只编译训练的一步；GPU 上要有 Triton，Windows 上的 PyTorch 不带，缺了就提醒一句，不编译，照常训练。数学不变，舍入的次序变；有 dropout 时，掩码的次序也变。
# - `trainer.precision bf16-mixed`：矩阵乘法与卷积用 16 位的 bfloat16，权重、EMA、损失与噪声表仍是 32 位以上。快，激活值占的显存约减半；乘法的结果只有两三位有效数字。

# %%
batch = train[:16]
x, label, t = batch["image"], {"c_adm": batch["label"]}, torch.arange(16) * 60
noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def one_step(bf16=False, layout=torch.contiguous_format):
    """同一个训练过的网络、同一批数据走一步：返回损失与全部梯度"""
    model = load_pretrained("cifar10")  # 不用新网络：它的末层是 0，输出恒为 0，比不出差别
    model.model.to(memory_format=layout)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, _ = model.p_losses(x, t, noise, cond=label)
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.model.parameters()])


(plain, grad), (half_loss, half_grad) = one_step(), one_step(bf16=True)
usual, usual_grad = one_step(layout=torch.channels_last)
check("权重也换成这种排布：损失相差不到 1e-5", abs(usual - plain) < 1e-5, True)
check("权重也换成这种排布：梯度相同", usual_grad, grad, atol=1e-5)
check("bf16：损失差不到百分之三", abs(half_loss / plain - 1) < 0.03, True)
cosine = torch.nn.functional.cosine_similarity(half_grad, grad, dim=0)
check("bf16：梯度的方向相差不到 35 度", cosine > math.cos(math.radians(35)), True)

# %% [markdown]
# 换十批真实的图来量，方向平均差 18 ± 3 度（7 到 29 度）。差得不算小，是因为这个网络已经练过，真正的梯度很小，舍入的误差就显得大。
# bf16 的危险不在梯度，而在“小量加到大量上”：EMA 每步只走 $(1-d)(\theta-s)$，bf16 只有 8 位有效位，这样的小步会被舍掉。所以影子必须是 32 位（第 11 章）。

# %%
big, step = torch.tensor(1.0), torch.tensor(1e-4)
check("bf16：1 + 0.0001 还是 1", big.bfloat16() + step.bfloat16(), 1.0)
mixed = load_pretrained("cifar10")
quiet_trainer(max_steps=3, precision="bf16-mixed", gradient_clip_val=1.0).fit(mixed, data)
check("bf16-mixed 训练之后，影子仍是 32 位", all(s.dtype == torch.float32 for s in mixed.model_ema.shadow.values()), True)
check("噪声表也没有变粗", mixed.exact_table("alphas_cumprod"), small.exact_table("alphas_cumprod"))

# %% [markdown]
# ## 6　几张卡一起练
#
# 数据并行 (data parallel)：每张卡一份模型，各算一小批的梯度，再求平均，所有的卡走同样的一步。批的平均损失是各小批平均损失的平均，梯度也是，所以四张卡各算 32 张，等于一张卡算 128 张（这里用 GroupNorm，各样本互不相干；BatchNorm 就不成立。随机数各卡不同，所以是同分布，不是逐位相同）。
# 梯度累积（第 11 章）是同一件事的串行版本：一张卡先后算四小批，攒起来再走一步。

# %%
def gradients(parts):
    """把一批切成 parts 份，各求梯度再平均"""
    model = load_pretrained("cifar10")
    for some in torch.arange(16).chunk(parts):
        (model.p_losses(x[some], t[some], noise[some], cond={"c_adm": batch["label"][some]})[0] / parts).backward()
    return torch.cat([p.grad.flatten() for p in model.model.parameters()])


whole = gradients(1)
check_order("每一层都有梯度可比", 0.99, (whole != 0).double().mean())
check("一批 16 张，与四份各 4 张的平均，梯度相同", gradients(4), whole, atol=1e-5)

# %% [markdown]
# 所以加了卡，有效的批就大了：`--data.batch_size` 是每张卡的批。要与论文的 128 相同，四张卡就写 32。
#
# ```bash
# python -m ddpm_edu fit --config cifar10-gpu --trainer.devices 4 --trainer.strategy ddp --data.batch_size 32
# ```
#
# 一张小卡装不下 128，就用累积：
#
# ```bash
# python -m ddpm_edu fit --config cifar10-gpu --data.batch_size 32 --trainer.accumulate_grad_batches 4
# ```
#
# 几台机器、SLURM、在 notebook 里用几张卡，命令见仓库的 README。

# %% [markdown]
# ## 7　怎样才算好：FID
#
# 论文用 FID：5 万张样本与训练集，在 Inception 网络 2048 维特征上的 Fréchet 距离。公式与第 13 章用的一样，换的是取特征的网络。
# 那份权重约 95 MB，是别人的文件，不随课程发布。你有它时，把取特征的网络交给 `inception_fid`；没有时，它说清缺什么。

# %%
images = train[:4]["image"]
check_raises("没有权重时说清缺什么", lambda: inception_fid(images, images), "inception")

# %% [markdown]
# 两条常见的误会：FID 与样本数有关，1 万张的 FID 比 5 万张的高，不能混着比；别的分类器的 Fréchet 距离不叫 FID，也不能与论文的数比。
#
# | 方法 | CIFAR-10 的 FID（无条件） | 来源 |
# |:--|--:|:--|
# | DDPM | 3.17 | 文献：Ho 等 2020 |
# | Improved DDPM（简化损失的一组） | 2.90 | 文献：Nichol 与 Dhariwal 2021 |
# | EDM | 1.97 | 文献：Karras 等 2022 |

# %% [markdown]
# ## 8　要多久
#
# | 配置 | 参数 | 批 × 步数 | 用时 | 来源 |
# |:--|--:|--:|--:|:--|
# | `cifar10-class`，随包的就是它练的 | 3.93 M | 64 × 9000 | 约 3 小时半 | 实测，只用一个核，另一个核忙着别的 |
# | `cifar10-laptop`，不分类别 | 2.50 M | 64 × 10000 | 1.8 到 4 小时 | 实测的每步时间乘以步数，两台 2 核的机器 |
# | `cifar10` | 35.7 M | 128 × 800000 | 130 到 200 天 | 同样两台；批 16 实测每张图的时间，再乘以图数 |
# | 论文 | 35.7 M | 128 × 800000 | 10.6 小时 | 文献：Ho 等 2020，TPU v3-8 |
# | `cifar10`，一张 H100 | 35.7 M | 128 × 800000 | 约 17 小时 | bf16、不编译，实测的每步时间（78 毫秒）乘以步数 |
# | `cifar10-gpu`，加上编译 | 35.7 M | 128 × 800000 | — | 没有实测 |
#
# 每步的时间用 `python -m benchmarks.step_time` 量（中位数），只算训练。
#
# H100 那一行有点意外：同一次运行里 bf16 每秒 1632 张，fp32 已有 1576 张。用性能分析器 (profiler) 一看便知：一步要启动两千多个 CUDA 内核 (kernel)，每个都由 Python 逐一下发；一步里卡上总共只忙 55 毫秒，其余时间在等 CPU。
# 所以乘法算得再快也没用，要少启动几个内核，这就是 `torch.compile` 与 CUDA 图的用处。
# `python -m benchmarks.gpu` 可以在你的卡上量出来：我们的四种组合与 diffusers 的两种并排，每秒几张、显存多少、达到矩阵乘法上限的几成；这里量到的表在 `benchmarks/README.md`。

# %% [markdown]
# ## 小结
#
# - 换成彩色照片，类不变，变的是账：论文的训练花的计算，是随课程发布的小模型的几千倍，差距就在图上。
# - 论文的配置里每个数都有来历；改步数，就要连着改学习率计划，EMA 的衰减也要重新设定。
# - 计算花在大图上的卷积；channels_last 与 compile 不改变数学，bf16 只降低乘法的精度。
# - 几张卡与梯度累积是同一件事；要复现论文，保持有效批大小不变。FID 要固定的网络、固定的样本数，才能与别人比。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 14.1　一层卷积的乘法 ★
#
# `conv` 是一个 `nn.Conv2d`（卷积核是正方形，没有分组），输入是一张 `height` × `width` 的特征图。一共要做多少次乘法？补的零也照乘，偏置不算。返回一个整数。

# %%
def conv_multiplications(conv, height, width):
    # 答案
    k, stride, pad = conv.kernel_size[0], conv.stride[0], conv.padding[0]
    rows, columns = ((size + 2 * pad - k) // stride + 1 for size in (height, width))
    return rows * columns * conv.out_channels * conv.in_channels * k**2
    # 答案完


grade("14.1", conv_multiplications)

# %% [markdown]
# ### 14.2　裁剪梯度 ★★
#
# 写出 `gradient_clip_val`：`gradients` 是一列张量，合在一起的 2-范数若超过 `max_norm`，就全体按同一个比例缩小，使范数恰好等于它；没有超过就不变。返回一列新的张量，不要改动传进来的。

# %%
def clip_gradients(gradients, max_norm):
    # 答案
    norm = sum(g.square().sum() for g in gradients) ** 0.5
    return [g * min(1.0, max_norm / norm) for g in gradients]
    # 答案完


grade("14.2", clip_gradients)

# %% [markdown]
# ### 14.3　亲手舍入成 bf16 ★★★
#
# 不用 `bfloat16`，把 float32 的 `x` 舍入到最近的 bf16 数，仍以 float32 返回。bf16 有 8 位有效的二进制数字，指数与 float32 一样宽；恰好在正中间时取末位是偶数的那个。
# `m, e = torch.frexp(x)` 把 `x` 拆成 $m\cdot2^e$，$\frac12\le|m|<1$；`torch.ldexp(m, e)` 拼回去。不必管次正规的数与无穷。

# %%
def round_to_bf16(x):
    # 答案
    m, e = torch.frexp(x)
    return torch.ldexp((m * 2**8).round(), e - 8)
    # 答案完


grade("14.3", round_to_bf16)

# %% [markdown]
# ### 14.4　看了几遍 ★
#
# 有人用四张小卡照 `cifar10` 训练 80 万步，命令里写了 `--trainer.devices 4 --data.batch_size 8 --trainer.accumulate_grad_batches 2`。训练集按 5 万张算，一共看了几遍？

# %%
grade("14.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 14.5　换成 float16 ★★
#
# 把第 5 节 `one_step` 里的 `torch.bfloat16` 换成 `torch.float16`，也不缩放损失，会怎样？
#
# - A：损失溢出成无穷。
# - B：损失仍然对；梯度里有一两成很小的数成了 0，可是其余的都更准，合起来方向比 bf16 准得多。
# - C：损失与梯度都比 bf16 准，每一个数都是，因为 float16 的有效数字多三位。
# - D：没有差别，都是 16 位。

# %%
grade("14.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
