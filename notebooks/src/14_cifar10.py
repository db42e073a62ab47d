# %% [markdown]
# # 14 · 训练 CIFAR-10
#
# 从手写数字换到彩色照片，`DDPM` 类一个字也不用改，账单却大不相同：照论文的配置，两个 CPU 核要练四个多月到六个半月。
# 课程自带的模型只练了三个半小时，计算是论文的六千分之一。它画成什么样？论文多出来的计算花在哪里，省下来的代价又是什么？
#
# **学习目标**
#
# - 读懂论文在 CIFAR-10 上的配置，说出每个数管什么。
# - 会算一份配置要多少次乘法，知道小网络省在哪里。
# - 知道提速的办法各改变什么、不改变什么；会用几张卡一起训练；知道什么样的 FID 才能互相比较。
#
# **预计用时** 40 分钟，另加正式训练的时间。运行全部单元约 1 分钟。

# %%
import math

import numpy as np
import torch

from ddpm_edu import DDPM, count_params, load_pretrained
from ddpm_edu.configs import load as load_config
from ddpm_edu.generate import generate
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.teach import check, check_order, grid_figure
from ddpm_edu.teach.datasets import cifar10_or_stand_in, drawn_by
from ddpm_edu.teach.figures import BLUE, GRAY, ORANGE, empty_figure, plain_axes
from ddpm_edu.teach.training import quiet_trainer

NAMES = ("飞机", "汽车", "鸟", "猫", "鹿", "狗", "青蛙", "马", "船", "卡车")
print("准备好了")

# %% [markdown]
# ## 1　先看结果：一个 CPU 核练得出什么
#
# CIFAR-10 是十类 32×32 的彩色照片。`load_pretrained("cifar10")` 是课程自带的模型：393 万个参数，按类别生成，一个 CPU 核练了约三个半小时。

# %%
grid_figure(drawn_by("cifar10")[:50], nrow=10, columns=NAMES)

# %% [markdown]
# 图：`cifar10` 画的五十张，一列一类，DDIM 50 步，引导强度 2，没有挑过。盖住列名，先猜一猜：哪几列你认得出？
#
# 我们看来，飞机、汽车、船大致认得出，马和鹿有几张看得出身子，都像速写；鸟、猫、青蛙基本认不出。
# 这算好还是坏，要有参照。最低的一档参照这样造：把一类图的全部像素当成一个高斯，从里面抽样。它的颜色与明暗都像这一类，却没有轮廓。下面叫它高斯样本，简称斑图。

# %%
# NBVAL_IGNORE_OUTPUT
data, which = cifar10_or_stand_in("../data", batch_size=32)
data.setup()
train = data.splits["train"]
print(which)

# %%
def blurred(pixels, generator):
    """从一类图的高斯里抽一张：中心化的图各乘一个标准正态再加起来，协方差就是样本协方差"""
    mean = pixels.mean(0)
    weights = torch.randn(len(pixels), generator=generator) / (len(pixels) - 1) ** 0.5
    return (mean + torch.einsum("n,n...->...", weights, pixels - mean)).clamp(-1, 1)


small, generator = load_pretrained("cifar10"), torch.Generator().manual_seed(0)
options = {"seed": 0, "cond": torch.arange(10), "steps": 50, "use_ema": False, "progress": False}
rows = {"真图": torch.zeros(10, 3, 32, 32), "斑图": torch.zeros(10, 3, 32, 32),
        **{f"引导 {scale}": generate(small, 10, guidance_scale=float(scale), **options)[0] for scale in (1, 2)}}
if data.num_classes == 10:  # 磁盘上没有 CIFAR-10 时，前两行留空
    classes = [train[(train.labels == k).nonzero()[:1000, 0]]["image"] for k in range(10)]
    rows["真图"] = torch.stack([pixels[1] for pixels in classes])
    rows["斑图"] = torch.stack([blurred(pixels, generator) for pixels in classes])
grid_figure(torch.cat(list(rows.values())), nrow=10, rows=list(rows), columns=NAMES)

# %% [markdown]
# 图：从上到下是真图、斑图（每类用一千张图拟合）、引导强度 1（不加引导）与引导强度 2，同列同类。后两行的起点噪声相同；磁盘上没有 CIFAR-10 时，前两行是空的。斑图只有色块；模型画的多半有边界，分得出主体与背景。引导 2 比引导 1 的对比更强，颜色更浓。
#
# 再看两个数。Fréchet 距离越小越像真图；“认得出”是一个小分类器认作那一类的比例。

# %%
quality = pretrained_card("cifar10")["quality"]
print(quality["samples"])
for name, key in {"引导强度 1": "guidance_1", "引导强度 2": "guidance_2", "斑图　　　": "gaussian"}.items():
    share, distance = quality[key]["recognised"], quality[key]["frechet"]
    print(f"{name}　认得出 {share['mean']:.1%} ± {share['se']:.1%}　Fréchet 距离 {distance['mean']:.1f} ± {distance['se']:.1f}")
real, floor = quality["real_recognised"]["recognised"], quality["frechet_floor"]
print(f"真图　　　　认得出 {real:.1%}　　　　　Fréchet 距离 {floor['mean']:.1f} ± {floor['se']:.1f}")
ratio = quality["gaussian"]["frechet"]["mean"] / quality["guidance_2"]["frechet"]["mean"]
check_order("斑图的 Fréchet 距离是引导强度 2 的几倍：超过 4", 4, ratio)

# %% [markdown]
# 最刺眼的是第一行：不加引导只有 43% 认得出，还不如斑图的 60%；可它的 Fréchet 距离是 14.2，比斑图的 23.5 小得多。**两个指标排出的名次相反**。哪一个可信？把“认得出”按类别拆开看。

# %%
def bars(names, groups, ylabel, errors=None, label=""):
    """分组的柱：groups = {图例: (各柱的高, 颜色)}；errors 是每组的误差棒，label 是写在柱顶的数的格式"""
    figure = empty_figure(8, 2.8)
    ax = plain_axes(figure.subplots())
    ax.set_axisbelow(True)
    width = 0.8 / len(groups)
    for i, (name, (heights, color)) in enumerate(groups.items()):
        drawn = ax.bar(np.arange(len(names)) + width * (i + 0.5) - 0.4, heights, 0.95 * width, color=color, label=name, yerr=errors and errors[i], capsize=2)
        if label:
            ax.bar_label(drawn, fmt=label, fontsize=9)
    ax.set_xticks(range(len(names)), labels=names)
    ax.set_ylabel(ylabel)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    return figure


shares = {name: 100 * np.array(quality[key]["by_class"]) for name, key in
          (("引导强度 1", "guidance_1"), ("引导强度 2", "guidance_2"), ("斑图", "gaussian"))}
errors = [(share * (100 - share) / 320) ** 0.5 for share in shares.values()]  # 每类 320 张
bars(NAMES, {name: (share, color) for (name, share), color in zip(shares.items(), (ORANGE, BLUE, GRAY))}, "认得出（%）", errors)

# %% [markdown]
# 图：每类 320 张，误差棒是标准误 (standard error)。飞机、汽车、鸟、马，引导强度 2 比斑图高出 23 到 48 个百分点；可是猫与青蛙，斑图明显更高（高 16 ± 4 与 7 ± 2 个百分点），卡车分不出高下（5 ± 3）。青蛙的斑图有 98% 被认作青蛙，而上一张图里谁也看不出那是青蛙。
#
# 这个小分类器可能凭颜色与纹理，并不强求轮廓，所以“认得出”在这里分不出好坏。Fréchet 距离把模型排在斑图前面，这一点与眼睛一致：引导强度 2 不到斑图的四分之一，却仍是真图的四五倍；引导 1 与 2 之差，眼睛难以佐证。
#
# 两个数用的是同一个分类器，为什么距离好一些？“认得出”只问落在哪一类，不问离真图多远：斑图的特征可以远在真图之外，仍落在“青蛙”那一侧；距离比的正是这一层特征的均值与协方差。但它也只通过了这一次检验。
# 用一个指标之前，先拿已知的坏样本检验它（第 15 章还会造一个）。两处还要当心：
#
# - Fréchet 距离只能在同一个分类器之下比。这里真图对真图是 1.2，第 13 章的 MNIST 是 38.9，不说明这里更好。
# - 引导强度从 1 加到 2，MNIST 的 Fréchet 距离变大（53.6 到 84.7，第 13 章），这里却变小（14.2 到 5.6）。原因我们没有查。可能是因为 MNIST 不加引导已经有 94% 认得出，再加引导只是少了变化；这里不加引导时，多数图还不成形。

# %% [markdown]
# ## 2　数据：彩色，左右翻转
#
# CIFAR-10 有 5 万张训练图，压缩包 170 MB。第 1 节印出来的那句话，说的就是用了哪一份：磁盘上有它就用它；没有就用替身，把 scikit-learn 自带的两张照片切成 32×32 的图块，只够把代码跑通。
# 想下载，另起一格运行 `from ddpm_edu import CIFAR10DataModule; CIFAR10DataModule("../data").prepare_data()`；慢的话先设 `DDPM_EDU_MIRROR`，断了再运行会接着下。
# 官方的压缩包里是 pickle，而反序列化 pickle 可以执行任意代码，所以程序先核对校验和，对上了才读。
#
# 论文在 CIFAR-10 上用随机左右翻转，说样本质量略有提高。我们不用随机数，而是把数据集加倍，后一半是前一半的镜像：两倍长的一轮里，每张图正反各见一次。数字不能这样翻，翻过来的 3 不是 3。

# %%
half = len(train) // 2
check("后一半是左右镜像", train[half]["image"], train[0]["image"].flip(-1))
check("验证集没有加倍", len(data.splits["val"].images) == len(data.splits["val"]), True)

# %% [markdown]
# ## 3　论文的网络与超参数
#
# `cifar10` 这份配置照 Ho 等 2020 的第 4 节与附录 B 写成；热身、梯度裁剪与“方差取 $\beta_t$”论文没有细说，取自他们公开的代码（run_cifar.py）。
#
# | 项 | 值 | 管什么 | 细讲 |
# |:--|:--|:--|:--|
# | 宽度与层 | 128，倍数 1、2、2、2 | 32 → 16 → 8 → 4，共四层 | 08 |
# | 注意力 | 下采样倍数 2，即 16×16 那一层 | 远处的像素互相看见 | 08 |
# | dropout | 0.1 | 不加则过拟合，论文试过 | 08 |
# | 噪声表 | `sqrt_linear`，$10^{-4}$ 到 0.02，$T=1000$ | $\beta$ 等距；论文叫 linear，这份代码沿用旧名 | 02 |
# | `v_posterior` | 1 | 采样方差取上端 $\beta_t$ | 04 |
# | 目标 | `eps`，简化损失 | $w_s=1$，不加变分下界那一项 | 05、06 |
# | 学习率 | $2\times10^{-4}$，热身 5000 步后不变 | Adam，不加权重衰减 | 10、12 |
# | EMA | 0.9999 | 采样用平滑的权重 | 11 |
# | 梯度裁剪 | 范数 1 | 挡住个别坏批次 | 10 |
# | 批大小、步数 | 128，80 万步 | 共看 2048 遍训练集 | — |

# %%
config = load_config("cifar10")
paper = DDPM(**config["model"])
check("论文的网络：参数个数", int(count_params(paper.model)), 35_746_307)
check("80 万步 × 128 张 ÷ 5 万张：看了几遍", 800_000 * 128 / 50_000, 2048.0)
reached = [paper.model_ema.effective_decay(n) < 0.9999 for n in (89_989, 89_991)]
check("EMA 的衰减到第 89 990 步才碰到 0.9999", reached == [True, False], True)

# %% [markdown]
# 最后一条值得留心。EMA 实际用的衰减是 $\min\bigl(d,\frac{1+n}{10+n}\bigr)$（第 11 章），前 89 990 步都低于 0.9999，影子大约是最近一成步数的平均。
# 共练 $n$ 步时，只有 $d<\frac{1+n}{10+n}$ 才起作用：9000 步要小于 0.999。写得更大，EMA 照常在做，只是由 $\frac{1+n}{10+n}$ 说了算。

# %% [markdown]
# ## 4　算账：贵在哪里，小网络省在哪里
#
# 一层卷积的乘法次数是“输出的像素数 × 输入通道 × 输出通道 × 卷积核的面积（3×3 是 9）”。特征图的边长减半，像素就少到四分之一。
# 随课程发布的模型用的是 `cifar10-class`，前两处改动省计算，第三处让问题变容易：
#
# - `patch_size` 是 2：每 2×2 个像素先叠成一个位置的 12 个通道，最贵的 32×32 一层就没有了。代价是最细的纹理要由最后一层卷积一次摊开。
# - 通道从 128 减到 48，同一层的乘法省到七分之一；每层的残差块也从两个减到一个。
# - 告诉网络类别：给定类别，分布更简单；采样时还能用引导（第 7 章）。
#
# 把两个网络前向一张图的卷积数一数：

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


sides = (32, 16, 8, 4)
cost = multiplications(paper.model.diffusion_model)
ours = multiplications(small.model.diffusion_model, y=torch.zeros(1, dtype=torch.long))
bars([f"{side}×{side}" for side in sides], {"论文的网络": ([cost.get(side, 0) / 1e8 for side in sides], ORANGE),
                                            "我们的网络": ([ours.get(side, 0) / 1e8 for side in sides], BLUE)}, "乘法（亿次）", label="%.1f")

# %% [markdown]
# 图：前向一张图，各种边长的特征图上卷积的乘法次数。论文的网络有 87% 花在 32×32 与 16×16 上；我们的网络没有 32×32 这一层，其余各层也只有一点点。

# %%
card = pretrained_card("cifar10")
total, total_ours = sum(cost.values()), sum(ours.values())
seen, paper_seen = card["recipe"]["images_seen"], 800_000 * 128
print(f"参数　　　　　论文 {count_params(paper.model) / 1e4:.0f} 万　　我们 {count_params(small.model) / 1e4:.0f} 万")
print(f"一张图的乘法　论文 {total / 1e8:.1f} 亿　　我们 {total_ours / 1e8:.1f} 亿，是它的 1/{total / total_ours:.0f}")
print(f"看过的图　　　论文 {paper_seen / 1e4:.0f} 万张　　我们 {seen / 1e4:.0f} 万张，是它的 1/{paper_seen / seen:.0f}")
print(f"训练的乘法合起来，是论文的 1/{total * paper_seen / total_ours / seen:,.0f}")

# %% [markdown]
# 反向约是前向的两倍，所以论文的一步要做 $3\times128\times60$ 亿次乘法。两个 CPU 核一步要 14 到 22 秒，80 万步就是四个多月到六个半月（第 8 节）。这就是为什么需要 GPU。
#
# 乘法次数不等于时间。用时乘以核数来比，我们只是论文配置的两千分之一上下，不是六千分之一：小网络的每次乘法慢两三倍，可能因为通道少，卷积填不满处理器。
#
# 同一个网络，练得久一点会怎样？下面是训练途中存下的几份检查点，从同样的噪声出发：

# %%
grid_figure(drawn_by("cifar10_growth"), nrow=10, rows=[f"{steps} 步" for steps in card["growth"]], columns=NAMES)

# %% [markdown]
# 图：每一行是一份检查点画的十张，十列是十类，同一列的三张起点噪声相同，DDIM 50 步，引导强度 2。第 1406 步满是斑点；到第 4200 步斑点退去，轮廓清楚了；第 9000 步又干净一点，差别已经不大。各列的构图从第一行起就几乎没有变过。
#
# 步数多到六倍，离照片还是很远，而且后一半的进步看上去已经变小。可能是网络太小，也可能是学习率或 EMA 的缘故；差的这一截有多少来自网络、多少来自步数，没有对照，因为没有算力把论文的配置练到头。
#
# 想自己练一遍，在命令行运行（没有数据会先下载 170 MB）：
#
# ```bash
# python -m ddpm_edu fit --config cifar10-class
# ```
#
# 一个 CPU 核约三个半小时。随时可以按 Ctrl-C 停下，再用下面的命令接着练：
#
# ```bash
# python -m ddpm_edu fit --config cifar10-class --ckpt_path last
# ```

# %% [markdown]
# ## 5　提速：改变什么，不改变什么
#
# 办法有三样。第一样一直开着，另外两样是开关，都在 `cifar10-gpu` 里打开：
#
# | 办法 | 做什么 | 数学变不变 |
# |:--|:--|:--|
# | channels_last | `UNet` 让一个像素的各通道在内存里挨着放，卷积读起来顺 | 不变 |
# | `speed.compile` | `torch.compile` 把许多小运算融成几个大的，开头要编译几分钟；要有 Triton，没有就提醒一句，照常训练 | 不变，舍入的次序变；有 dropout 时掩码的次序也变 |
# | `trainer.precision bf16-mixed` | 矩阵乘法与卷积用 16 位的 bfloat16，激活值占的显存减少；权重、EMA、损失与噪声表仍是 32 位以上 | 乘法的结果只有两三位有效数字 |
#
# bf16 只在网络够大、GPU 一直有活干时才快（第 8 节有一个反例）。它有多粗？让同一个网络、同一批数据走一步，比一比梯度。

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
check("权重换成 channels_last：梯度相同", usual_grad, grad, atol=1e-5)
check("bf16：损失差不到百分之三", abs(half_loss / plain - 1) < 0.03, True)
cosine = torch.nn.functional.cosine_similarity(half_grad, grad, dim=0)
check("bf16：梯度的方向相差不到 35 度", cosine > math.cos(math.radians(35)), True)

# %% [markdown]
# 换十批真图来量（每批 16 张），梯度的方向平均差 14 ± 3 度（4 到 27 度），损失差不到千分之三。角度不算小，可能因为这个网络已经练过，真正的梯度很小，舍入的误差就显得大。
#
# 更要紧的是“小量加到大量上”：EMA 每步只走 $(1-d)(\theta-s)$，bf16 只有 8 位有效的二进制数字，这样的小步会被舍掉。所以影子必须是 32 位（第 11 章）。

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
# 数据并行 (data parallel)：每张卡一份模型，各算一小批的梯度，再求平均，所有的卡走同样的一步。
# 一批的平均损失等于各小批平均损失的平均，梯度也是，所以四张卡各算 32 张，等于一张卡算 128 张。
# 这要求各样本互不相干：GroupNorm 成立，BatchNorm 不成立。随机数各卡不同，所以结果是同分布，不是逐位相同。
#
# 梯度累积（第 11 章）是同一件事的串行版本：一张卡先后算四小批，攒起来再走一步。

# %%
def gradients(parts):
    """把一批切成 parts 份，各求梯度再平均"""
    model = load_pretrained("cifar10")
    for some in torch.arange(16).chunk(parts):
        (model.p_losses(x[some], t[some], noise[some], cond={"c_adm": batch["label"][some]})[0] / parts).backward()
    return torch.cat([p.grad.flatten() for p in model.model.parameters()])


check("一批 16 张，与四份各 4 张的平均，梯度相同", gradients(4), gradients(1), atol=1e-5)

# %% [markdown]
# 加了卡，有效的批就大了：`--data.batch_size` 是每张卡的批。要与论文的 128 相同，四张卡就写 32。
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
# 论文用 FID：5 万张样本与训练集，在 Inception 网络的 2048 维特征上的 Fréchet 距离。公式与第 13 章的一样，换的是取特征的网络。
# 无条件的 CIFAR-10 上，DDPM 是 3.17（Ho 等 2020），EDM 是 1.97（Karras 等 2022）。
#
# 两条常见的误会：FID 与样本数有关，1 万张的 FID 比 5 万张的高，不能混着比；别的分类器的 Fréchet 距离不叫 FID，所以第 1 节的 5.6 也不能与 3.17 比。
#
# 那份 Inception 权重约 95 MB，是别人的文件，不随课程发布。你有它时，把网络交给 `ddpm_edu.evaluation.fid.inception_fid`。

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
#
# H100 那一行有点意外：本以为 bf16 会快一倍，实测每秒 1632 张，fp32 已有 1576 张，只快 4%。
# 网络太小，一步的 78 毫秒里，卡只忙 55 毫秒，其余近三成在等 CPU 一个一个地下发运算。
# 要快，先打开编译，让下发的次数变少；编译之后快多少，我们还没有量到。
#
# 每步的时间用 `python -m benchmarks.step_time` 量，GPU 用 `python -m benchmarks.gpu`；量到的表在 `benchmarks/README.md`。

# %% [markdown]
# ## 小结
#
# - 换成彩色照片，`DDPM` 类不变，贵在计算：论文的训练计算是我们的 6134 倍 ≈ 35 × 178：一张图贵 35 倍（60 亿次卷积乘法，87% 花在 32×32 与 16×16 上），图多看 178 倍。两个 CPU 核要四个多月到六个半月，一张 H100 约 17 小时。
# - 乘法少到六千分之一，三个半小时练成，画出来像速写：Fréchet 距离 5.6，斑图是 23.5，真图是 1.2。
# - “认得出”的比例会骗人：不加引导的样本只有 43%，斑图倒有 60%。用一个指标之前，先拿已知的坏样本检验它。
# - 改步数时要看 EMA：训练不到 9 万步，写 0.9999 用不上，作主的是热身公式。
# - channels_last 与编译不改变数学，bf16 降低乘法的精度，我们量到梯度方向偏 14 度，对成品的影响没有量；几张卡与梯度累积是同一件事，要保持有效的批大小不变。
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
