# %% [markdown]
# # 12 · 学习率调度器与 `scheduler_config`
#
# 同一个小网络，同样的数据，学习率都是 0.03，各训练 200 步。一组从第一步就用 0.03，另一组先花 20 步慢慢升到 0.03。
# 八个种子平均，前一组的验证损失是 0.62，后一组是 0.39。只差开头 20 步，为什么相差这么多？可是把学习率改成 0.004，不这样升也有 0.38，什么时候才用得着它？到了末尾，学习率又该不该降下来？
#
# **这一章的问题**：学习率为什么要变，该怎样变？
#
# **学习目标**
#
# - 用实验说明热身与衰减各解决什么问题，什么时候用不着。
# - 写出热身加余弦的公式，说出每个转折点在哪一步。
# - 会写 `scheduler_config`，不把乘数当成学习率。
#
# **预计用时** 30 分钟。运行全部单元约 15 秒。

# %%
import math

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, DigitsDataModule, LambdaLinearScheduler, LambdaWarmUpCosineScheduler, LambdaWarmUpCosineScheduler2
from ddpm_edu.configs import load
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.optim import make_scheduler
from ddpm_edu.teach import card, check, check_raises, curve_figure, show_source
from ddpm_edu.teach.figures import BLUE, GRAY, ORANGE, empty_figure, plain_axes
from ddpm_edu.teach.panels import lr_panel
from ddpm_edu.teach.training import quiet_trainer

print("准备好了")

# %% [markdown]
# ## 1　开头为什么要小：热身
#
# AdamW 不直接照梯度走。它替每个权重记两个平均：梯度的平均，梯度平方的平均。一步走的是学习率乘以前者，再除以后者的平方根，也就是把梯度除以它近来的大小。
# 第一次更新时，两个平均里都只有眼前这一个梯度，相除得 $\pm1$。所以不管梯度多大，每个权重都走满一个学习率：

# %%
weights = torch.nn.Parameter(torch.zeros(2))
optimizer = torch.optim.AdamW([weights], lr=0.03)
weights.grad = torch.tensor([0.001, 100.0])  # 梯度相差十万倍
optimizer.step()
check("两个权重走得一样远，都是 0.03", weights, [-0.03, -0.03], atol=1e-6)

# %% [markdown]
# 往后就不是这样：各批的梯度方向不一，在平均里互相抵消，一步就走不满。看一个极端的例子：梯度全是噪声，量一步平均走多远。
#
# 让学习率用 20 步从 0.02 倍直线升到一倍，这叫热身 (warm-up)。这里的梯度与权重无关，步长与学习率成正比，乘上这段斜坡就是热身时的步长。

# %%
generator = torch.Generator().manual_seed(0)
weights = torch.nn.Parameter(torch.zeros(10000))
optimizer = torch.optim.AdamW([weights], lr=1.0, betas=(0.9, 0.99), weight_decay=0.0)
lengths = []
for n in range(60):
    before = weights.detach().clone()
    weights.grad = torch.randn(10000, generator=generator)
    optimizer.step()
    lengths.append((weights.detach() - before).abs().mean())
check("第一步，走满一个学习率", lengths[0], 1.0, atol=1e-6)
check("第 60 步，只走不到五分之一", lengths[-1], 0.185, atol=0.005)
warm = [length * min(1, 0.02 + 0.98 * n / 20) for n, length in enumerate(lengths)]  # 前 20 步，学习率从 0.02 倍升到一倍
figure = curve_figure(range(1, 61), {"热身 20 步": warm, "没有热身": lengths}, "步 $n$", "一步走多远（学习率的倍数）")
figure.axes[0].set_xticks([1, 10, 20, 30, 40, 50, 60])
figure

# %% [markdown]
# 图：没有热身时，开头几步比往后的大好几倍。虚线第一步走满一个学习率，第 20 步只走两成；有热身的实线，开头就不再大步走。纵轴是一万个权重的平均。前两节的图从第 1 步数起，第 3 节的公式从第 0 步数起。
#
# 真的网络也大致这样，只是最大的一步来得晚些。下面要训练的小网络，输出层的初值是 0（第 8 章），第一步几乎所有权重的梯度都是 0，还走不动。
# 学习率 0.004、没有热身时，第 3 步最大，走 0.61 个学习率，第 10 步走 0.25 个，第 40 步走 0.14 个（八个种子平均，`python -m benchmarks.learning_rate warm`）。
#
# 偏偏开头的网络还是随机的，方向只由一小批数据决定，大步可能走错。热身正好压住这几步，有没有用，训练一次看看。网络是第 8 章 U-Net 最小的一号，数据是 8×8 的数字。学习率取 0.03，是它常用的 0.004 的七倍多，好让热身的作用看得清楚。两次训练只差前 20 步的学习率。

# %%
class LossLog(pl.Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())


def train(warm_up, lr, steps=70):
    params = {"warm_up_steps": warm_up, "lr_start": 0.02, "lr_max": 1.0, "lr_min": 1.0, "max_decay_steps": steps}
    recipe = {"target": "ddpm_edu.LambdaWarmUpCosineScheduler", "params": params}
    torch.manual_seed(1)
    model = DDPM(**toy_model_config(scheduler_config=recipe, learning_rate=lr, parameterization="v", beta_schedule="cosine",
                                    adam_betas=(0.9, 0.99), seed=1))
    log = LossLog()
    quiet_trainer(max_steps=steps, callbacks=[log]).fit(model, DigitsDataModule(batch_size=32, seed=1))
    return torch.tensor(log.losses).view(-1, 5).mean(1)  # 五步一平均，少些抖动


# %%
# NBVAL_IGNORE_OUTPUT
curves = {"热身 20 步": train(20, 0.03), "没有热身": train(0, 0.03)}
figure = curve_figure(range(3, 70, 5), curves, "步 $n$", "训练损失（一个种子）")
figure.axes[0].axvline(20, color=GRAY, linewidth=0.8, zorder=0)
figure.axes[0].annotate("热身结束，$n=20$", (21, 0.86), color="#666666")
figure.axes[0].set_yticks([0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
figure

# %% [markdown]
# 图：没有热身的（虚线）降到 0.7 附近就几乎不动，热身的（实线）一直降。这是种子 1 的训练损失，五步一平均；换一台机器，数会略有不同。
#
# 只看一次靠不住。用八个种子、三个学习率各训练 200 步，量 250 张验证图上的损失，用的是训练的权重，不是 EMA 的。这些数是事先量好的（命令同上）：

# %%
plain = {0.004: [0.3873, 0.3871, 0.3695, 0.3670, 0.3968, 0.3897, 0.3689, 0.3862],
         0.012: [0.3899, 0.4008, 0.3794, 0.3911, 0.3978, 0.3968, 0.3845, 0.3919],
         0.03: [0.4224, 0.6671, 0.6612, 0.6285, 0.6437, 0.6713, 0.5897, 0.6608]}
warmed = {0.004: [0.3944, 0.3958, 0.3795, 0.3778, 0.3926, 0.4031, 0.3840, 0.3891],
          0.012: [0.3829, 0.3840, 0.3706, 0.3810, 0.3929, 0.3998, 0.3787, 0.3826],
          0.03: [0.3917, 0.3993, 0.3849, 0.3748, 0.4031, 0.3912, 0.3837, 0.3851]}
figure, ticks = empty_figure(height=3.4), []
ax = plain_axes(figure.subplots())
for i, lr in enumerate(plain):
    ax.plot([2 * i, 2 * i + 1], [plain[lr], warmed[lr]], color=GRAY, linewidth=0.7, zorder=1)
    for x, name, found, color in ((2 * i, "没有热身", plain[lr], ORANGE), (2 * i + 1, "热身 20 步", warmed[lr], BLUE)):
        ax.scatter([x] * 8, found, s=22, color=color, alpha=0.8, zorder=2)
        ticks.append((x, f"{name}\n平均 {sum(found) / 8:.3f}"))
    ax.text(2 * i + 0.5, 0.71, f"学习率 {lr}", ha="center")
ax.set(xlim=(-0.5, 5.5), ylim=(0.35, 0.74), ylabel="第 200 步的验证损失")
ax.set_xticks(*zip(*ticks))
figure

# %% [markdown]
# 图：学习率大，热身才要紧。一个点是一个种子，灰线连着同一个种子的两次训练。
#
# - 学习率 0.03：没有热身的平均 0.618 ± 0.030（± 是标准误），八次里有七次停在 0.59 到 0.67；热身的平均 0.389 ± 0.003，最差的一次是 0.40。
# - 学习率 0.012：热身低 0.007 ± 0.002（逐个种子相减，按未舍入的数算，下同）。
# - 学习率 0.004：热身反而高 0.008 ± 0.002。
#
# 一定要慢慢升吗？学习率还是 0.03，换成前几步停在低处，之后一步升满（`python -m benchmarks.learning_rate early`，八个种子）：
#
# | 前几步 | 停在几倍 | 验证损失 |
# |--:|--:|--:|
# | 5 | 0.02 | 0.587 ± 0.038 |
# | 5 | 0.2 | 0.404 ± 0.005 |
# | 20 | 0.2 | 0.390 ± 0.004 |
#
# 不一定：前 20 步停在 0.2 倍，与慢慢升的 0.389 分不出高下。但 5 步停在 0.02 倍，与没有热身的 0.618 分不出高下：网络几乎没动，大步只是推迟了，第 6 步走 0.61 个学习率。直线慢慢升，就不必去挑停在几倍、停几步。
#
# 再比不同的学习率：0.03 加热身，比不热身的 0.004 还高 0.0077 ± 0.0021。所以先试小一点的学习率，再想热身：学习率小，热身可有可无；学习率大，才要热身。

# %% [markdown]
# ## 2　末尾为什么要小：压住抖动
#
# 接着用第 11 章的例子：从 $\theta=3$ 出发，用带噪声的梯度求 $\tfrac12\theta^2$ 的最小值，噪声是标准正态。
# 学习率一直是 0.1 时，权重很快走到最小值附近，然后一直抖。第 11 章的办法是另留一份 EMA，权重本身照抖。
# 另一个办法是让学习率沿半个余弦降到 0，权重自己停下来。
#
# EMA 也有一种热身，升的是它的衰减系数（第 11 章），与学习率的热身不是一回事。下面的四种走法用同一串噪声，各做 4000 次试验。

# %%
generator = torch.Generator().manual_seed(2)
cosine = constant = shadow = small = torch.full((4000,), 3.0)
errors = []
for n in range(1000):
    noise = torch.randn(4000, generator=generator)
    cosine = cosine - 0.1 * 0.5 * (1 + math.cos(math.pi * n / 1000)) * (cosine + noise)
    constant = constant - 0.1 * (constant + noise)
    small = small - 0.003 * (small + noise)
    shadow = shadow + (1 - min(0.99, (2 + n) / (11 + n))) * (constant - shadow)  # 第 11 章的 EMA，衰减系数带热身
    errors.append([w.square().mean().sqrt() for w in (cosine, constant, shadow, small)])
curves = dict(zip(["从 0.1 余弦降到 0", "恒定 0.1", "恒定 0.1，加 EMA", "恒定 0.003"], zip(*errors)))
for (name, curve), want in zip(curves.items(), (0.0603, 0.2294, 0.0691, 0.1536)):
    check(f"{name}，第 1000 步的误差", curve[-1], want, atol=0.005)
ends = [(0.1, errors[-1][0], BLUE), (0.1, errors[-1][1], ORANGE), (0.003, errors[-1][3], GRAY)]  # 学习率，终点的误差
figure = curve_figure(range(1, 1001), curves, "步 $n$", "均方根误差", yscale="log")
for _, error, color in ends:
    figure.axes[0].plot(1000, error, "o", color=color, markersize=7)
figure

# %% [markdown]
# 图：降学习率与加 EMA，都压得住抖动。纵轴是离最小值有多远，对数刻度。恒定的 0.1（橙色虚线）停在 0.23；余弦（蓝色实线）最后到 0.060；加上 EMA（黑色点线），最后到 0.07 上下。EMA 平均得更长还会更低（第 11 章），这里不比高下。圆点标出三种走法的终点，下一张图要用。
#
# 那么从头就用一个小的学习率，行不行？不行。灰色点划线是恒定的 0.003，走了 1000 步还在 0.15：光是起点的 3 就剩 $3\times0.997^{1000}\approx0.149$ 没有走完。
#
# 恒定的学习率 $\eta$ 取多大最好？可以算出来。每走一步，$\theta$ 的均值与方差变成
#
# $$\mu\leftarrow(1-\eta)\,\mu,\qquad V\leftarrow(1-\eta)^2\,V+\eta^2.$$
#
# 均值每步乘 $1-\eta$，所以学习率太小走不到。方差最后停在 $\eta/(2-\eta)$，所以学习率太大会抖。余弦也照这两个式子逐步算，只是每步的 $\eta$ 不同。
# 把第 1000 步的误差 $\sqrt{\mu^2+V}$ 对学习率画出来：

# %%
rates = torch.logspace(-2.6, -0.5, 200, dtype=torch.float64)
mean, variance = torch.full((2, 200), 3.0, dtype=torch.float64), torch.zeros(2, 200, dtype=torch.float64)
for n in range(1000):
    now = torch.stack([rates * 0.5 * (1 + math.cos(math.pi * n / 1000)), rates])
    mean, variance = mean * (1 - now), variance * (1 - now) ** 2 + now**2
final = (mean**2 + variance).sqrt()
figure = curve_figure(rates, {"余弦降到 0": final[0], "恒定": final[1]}, "起初的学习率", "第 1000 步的误差", "log", "log")
ax = figure.axes[0]
for rate, error, color in ends:
    ax.plot(rate, error, "o", color=color, markersize=7)
ax.minorticks_off()
ax.set_xticks([0.003, 0.005, 0.008, 0.02, 0.1, 0.3], ["0.003", "0.005", "0.008", "0.02", "0.1", "0.3"])
figure

# %% [markdown]
# 图：用余弦，学习率不必猜得那么准。两轴都是对数；三个圆点就是上一张图的三个终点。误差不超过 0.073 的学习率，恒定的（虚线）只有 0.004 到 0.011，余弦（实线）是 0.008 到 0.3。比 0.008 还小时，余弦更差，因为它的学习率平均只有起初的一半，走不到。

# %% [markdown]
# 真的网络，末尾降下来也有用吗？网络与数据照第 1 节，学习率取居中的 0.012，它比常用的 0.004 大，又没有一次练坏。
#
# 热身 20 步，之后一种不变，一种沿余弦降到 0，各训练 3000 步。八个种子，每隔 250 步量一次验证损失（`python -m benchmarks.learning_rate decay`）：

# %%
measured = {"余弦降到 0": [0.3748, 0.3482, 0.3397, 0.3310, 0.3236, 0.3156, 0.3093, 0.3046, 0.2994, 0.2968, 0.2950, 0.2944],
            "不变": [0.3749, 0.3495, 0.3418, 0.3372, 0.3293, 0.3246, 0.3220, 0.3191, 0.3168, 0.3190, 0.3154, 0.3145],
            "不变，加 EMA": [0.3616, 0.3341, 0.3236, 0.3175, 0.3121, 0.3088, 0.3061, 0.3041, 0.3019, 0.3008, 0.2993, 0.2989],
            "余弦降到 0，加 EMA": [0.3615, 0.3339, 0.3227, 0.3160, 0.3103, 0.3058, 0.3018, 0.2991, 0.2966, 0.2954, 0.2947, 0.2944]}
figure = curve_figure(range(250, 3001, 250), measured, "步 $n$", "验证损失")
figure.axes[0].set_xticks(range(0, 3001, 500))
figure

# %% [markdown]
# 图：走 3000 步，末尾降到 0 的两条最低。不变的（橙色虚线）最高；给它加上 EMA（黑色点线），先低于余弦（蓝色实线），到 2000 步上下被赶上。余弦再加 EMA（灰色点划线），末尾与蓝线重合。
#
# 只走 500 步的训练也量过，余弦在第 500 步降到 0。EMA 的衰减上限是 0.99，500 步时才到 0.982。末尾的验证损失（平均 ± 标准误）：
#
# | 步数 | 热身之后 | 训练的权重 | EMA 的权重 |
# |--:|:--|--:|--:|
# | 500 | 不变 | 0.349 ± 0.002 | 0.334 ± 0.003 |
# | 500 | 余弦降到 0 | 0.338 ± 0.003 | 0.338 ± 0.003 |
# | 3000 | 不变 | 0.315 ± 0.003 | 0.299 ± 0.003 |
# | 3000 | 余弦降到 0 | 0.294 ± 0.003 | 0.294 ± 0.003 |
#
# - 训练的权重：余弦低 0.012 ± 0.002（500 步）与 0.020 ± 0.001（3000 步）。
# - EMA 的权重：走 3000 步，余弦低 0.0045 ± 0.0006；只走 500 步，余弦反而高 0.0043 ± 0.0005。两种步数里，八个种子都是如此。
#
# 两种步数的 EMA 平均得不一样长：500 步时约是末尾的九分之一，3000 步时只有三十分之一。把 3000 步的 EMA 也拉长到九分之一（衰减 0.997），不变的仍高 0.0039 ± 0.0005，步数的差别还在。
#
# 所以步数够多、又事先定了，就用余弦加 EMA。只走几百步时，降不降差得不多（这里余弦高 0.004），可以不变；步数没有定，余弦的终点无从写起，只能不变。这两种不变，都靠 EMA 压抖动。

# %% [markdown]
# ## 3　热身加余弦
#
# 把两头合起来，就是最常用的样子。安排学习率怎样变化的对象叫调度器 (scheduler)。本章的几个类给出的是第 $n$ 步的乘数 $f(n)$，真正的学习率是它与优化器的学习率 $\eta$ 的积：
#
# $$\eta_n = \eta\cdot f(n).$$

# %%
shape = {"warm_up_steps": 100, "lr_start": 0.01, "lr_max": 1.0, "lr_min": 0.1, "max_decay_steps": 1000}
multiplier = LambdaWarmUpCosineScheduler(**shape)
n = range(1201)
figure = curve_figure(n, {"余弦": [multiplier(i) for i in n]}, "步 $n$", "乘数 $f(n)$")
ax = figure.axes[0]
ax.get_legend().remove()
ax.set_xticks([0, 100, 550, 1000], ["0", "$W$ = 100", "550", "$L$ = 1000"])
ax.set_yticks([0.01, 0.1, 0.55, 1.0], [r"$f_\text{start}$ = 0.01", r"$f_\min$ = 0.1", "0.55", r"$f_\max$ = 1"])
figure

# %% [markdown]
# 图：前 $W$ 步从 $f_{\text{start}}$ 直线升到 $f_{\max}$，到第 $L$ 步沿余弦降到 $f_{\min}$，此后不变。$L$ 从第 0 步数起，包含热身。
#
# 写成公式：
#
# $$f(n) = \begin{cases} f_{\text{start}} + (f_{\max}-f_{\text{start}})\,\dfrac nW & n < W\\[1ex] f_{\min} + \tfrac12(f_{\max}-f_{\min})\left(1+\cos\pi\dfrac{n-W}{L-W}\right) & W\le n<L\\[1ex] f_{\min} & n\ge L \end{cases}$$
#
# 第一次更新用 $f(0)$；训练恰好 $L$ 步时，最后一次更新用 $f(L-1)$，更新之后乘数正好到 $f(L)=f_{\min}$。

# %%
show_source(LambdaWarmUpCosineScheduler,
            "class LambdaWarmUpCosineScheduler", "def __init__",
            "def schedule", "elif n >= L:", "cosine =")

# %% [markdown]
# - ① `warm_up_steps` 与 `max_decay_steps` 数的是优化步，后者包含前者。
# - ② `lr_min`、`lr_max`、`lr_start` 都是乘数，就是公式里的三个 $f$。衰减的终点若早于热身的终点，当场拒绝。`verbosity_interval` 是隔多少步记一行日志，0 表示不记。
# - ③ 热身段，直线上升。
# - ④ 第 $L$ 步起停在 $f_{\min}$。
# - ⑤ 余弦段，照公式的第二行写；最后返回乘数。

# %%
check("第 0 步", multiplier(0), 0.01)
check("第 W 步到顶", multiplier(100), 1.0, atol=1e-12)
check("第 (W + L)/2 步，是最高与最低的平均", multiplier(550), 0.55, atol=1e-12)
check("第 L 步起到底", multiplier(1000), 0.1, atol=1e-12)
check("乘上 2e-4，第 550 步的学习率", 2e-4 * multiplier(550), 1.1e-4, atol=1e-12)

# %% [markdown]
# 要当心参数的名字：`lr_max` 看上去像学习率，其实是乘数。把 `lr_max` 写成 $10^{-4}$，再乘上 $\eta=10^{-4}$，实际的学习率是 $10^{-8}$，训练几乎不动。
#
# **约定**：本课程把学习率写在 `learning_rate`，`lr_max` 取 1.0。参考实现的注释相反：`base_lr` 取 1.0，`lr_max` 就是学习率。两种都行，别混用。

# %% [markdown]
# ## 4　该怎么选
#
# 先看本课程的配置。最后一列是 EMA 的衰减系数，与学习率的衰减不是一回事：

# %%
for name in ("mnist-quick", "digits", "mnist-class", "mnist", "cifar10"):
    model = load(name)["model"]
    p = model["scheduler_config"]["params"]
    W, L = p["warm_up_steps"], p["max_decay_steps"]
    print(f"{name:12} 学习率 {model['learning_rate']:<6} 热身 {W:4} 步，占 {W / L:.1%}；共 {L:6} 步，末尾的乘数 {p['lr_min']}，EMA {model['ema_decay']}")

# %% [markdown]
# `cifar10` 照 DDPM 论文作者公开的代码：热身之后不变，末尾的抖动靠 EMA 来压。其余几份都沿余弦降到百分之一二，同时留着 EMA。`mnist-quick` 只走 375 步，降不降都行；它也降，第 13 章把步数拉长时就不必换走法。
#
# 自己配的时候，有两个问题要分开问。
#
# **末尾降不降**，看总步数定没定：
#
# | 总步数 | 热身之后的学习率 | EMA |
# |:--|:--|:--|
# | 没有定，随时可能停 | 只能不变 | 一定要用，抖动全靠它 |
# | 定了 | 沿余弦降到接近 0；只走几百步时，也可以不变 | 也用；训练中途看样本，靠的是它 |
#
# **开头热不热身**，看网络、批与学习率：
#
# | 情形 | 热身 |
# |:--|:--|
# | 网络小，学习率也小 | 可有可无，所以先试小一点的学习率 |
# | 学习率大（第 1 节）；网络大、批大（通常的经验） | 要有；损失若在开头跳起来，就加长热身或调低学习率 |
#
# 热身几步也靠经验：总步数越多，占比大体越小，上面从 375 步的 8%，到 80 万步的 0.6%。

# %% [markdown]
# ## 5　接到训练里：`scheduler_config`
#
# 配方与 `unet_config` 的写法相同：`target` 是类名，`params` 是它的参数。交给 `DDPM`，训练时每走一个优化步，学习率就更新一次。

# %%
card("scheduler_config")
recipe = {"target": "ddpm_edu.LambdaWarmUpCosineScheduler",
          "params": {"warm_up_steps": 4, "lr_start": 0.01, "lr_max": 1.0, "lr_min": 0.0, "max_decay_steps": 8}}
model = DDPM(**toy_model_config(scheduler_config=recipe, learning_rate=1e-3))
trainer = quiet_trainer(max_steps=6)
trainer.fit(model, DigitsDataModule(batch_size=16))
check("6 步之后的学习率 = 1e-3 × f(6)", trainer.optimizers[0].param_groups[0]["lr"], 1e-3 * 0.5, atol=1e-9)
check_raises("配方里没有 target", lambda: DDPM(**toy_model_config(scheduler_config={"params": {}})), "LambdaLinearScheduler")

# %% [markdown]
# 起点若写 0，第一次更新时权重不动，所以常取 0.01、0.02 这样小的正数。
#
# PyTorch 自带的调度器也能写进 `target`，同样按优化步更新。搬别人的配置时要当心：`StepLR(step_size=30)` 在别处多半指 30 轮，在这里是 30 步。

# %%
show_source(DDPM.configure_optimizers,
            "def configure_optimizers", "if self.scheduler_config is None:", "scheduler =", "return {")

# %% [markdown]
# - ① Lightning 在训练开始时调用它，先要优化器（第 10 章）。
# - ② 没有配方，学习率就不变。
# - ③ 造调度器；`ReduceLROnPlateau` 要看指标有没有变好，按轮更新，其余按步。
# - ④ Lightning 的约定：`interval="step"` 表示每个优化步更新一次，不写就是每轮一次；`monitor` 是 `ReduceLROnPlateau` 要看的指标。

# %% [markdown]
# ## 6　降下来再升回去：重启
#
# 学习率降到底，权重就停在一个地方，那里未必最好。让学习率升回高处，走到别处再降一次，叫重启 (restart)；每一段叫一个周期。本课程的训练都不用重启，别人的配置里却会遇到。
# `LambdaWarmUpCosineScheduler2` 与 `LambdaLinearScheduler` 可以有好几个周期，每次重启都重新热身。它们的参数换了名字，每个给一个列表，一个周期一个值：
#
# | 量 | 单周期的类 | 多周期的两个类 |
# |:--|:--|:--|
# | 起点 $f_{\text{start}}$ | `lr_start` | `f_start` |
# | 最高 $f_{\max}$ | `lr_max` | `f_max` |
# | 最低 $f_{\min}$ | `lr_min` | `f_min` |
# | 热身 $W$ | `warm_up_steps` | `warm_up_steps` |
# | 总长 $L$ | `max_decay_steps` | `cycle_lengths`，每个周期的长度 |

# %%
lr_panel()

# %% [markdown]
# 面板：每次重启，乘数落到新的起点，再热身升回去。圆点标出各周期的第 0 步与第 $W$ 步，最后一个圆点是末一个周期的第 $L$ 步。
# 左边衰减走余弦，右边走直线，各有两个周期，第 500 步是边界，算新周期的第 0 步。把周期数拉到 4，看转折点怎样移动。

# %%
two = LambdaWarmUpCosineScheduler2(
    warm_up_steps=[10, 10], f_min=[0.1, 0.1], f_max=[1.0, 0.5], f_start=[0.01, 0.01], cycle_lengths=[100, 200])
print("各个周期的起点，末尾加上总长：", two.cum_cycles)
check("第 0、99、100、299 步与很久以后，各属于第几个周期", [two.find_in_interval(n) for n in (0, 99, 100, 299, 10**6)], [0, 0, 1, 1, 1])
check("走完之后停在最后一个周期的 f_min", two(300), 0.1, atol=1e-12)
linear = LambdaLinearScheduler(warm_up_steps=[100], f_min=[0.1], f_max=[1.0], f_start=[0.01], cycle_lengths=[1000])
check("线性衰减的中点", linear(550), 0.55, atol=1e-12)

# %% [markdown]
# ## 7　源码速查
#
# 这一节是余下的源码，第一遍可以跳到小结。多周期的两个类共用一个基类 `_CyclicLambda`，先找第 $n$ 步属于哪个周期：

# %%
show_source(LambdaWarmUpCosineScheduler2.find_in_interval,
            "def find_in_interval")

# %% [markdown]
# - ① 在 `cum_cycles`（各个周期的起点）里二分查找。边界那一步算新周期的第 0 步；最后一个周期过后，一直算最后一个。

# %%
show_source(LambdaWarmUpCosineScheduler2.schedule,
            "def schedule", "W = self.warm_up_steps[cycle]", "# 热身占满整个周期时", "log_multiplier")

# %% [markdown]
# - ① 先找周期，再算这是周期内的第几步；超过周期的长度就停在末尾。
# - ② 热身段，用这个周期自己的参数。
# - ③ 热身占满周期时没有衰减段；否则算出衰减走了几成，交给子类。
# - ④ 该记日志时记一行，然后返回乘数。
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

# %%
show_source(make_scheduler,
            "def make_scheduler", "kinds =", "if issubclass(", "if optimizer is None:", "return make(optimizer)")

# %% [markdown]
# <details><summary>逐段解释</summary>
#
# - ① `optimizer` 为 None 时只做检查，`DDPM` 的构造函数用它来提前发现错误。
# - ② 只认两类：本章的乘数函数，与 PyTorch 自带的调度器。`make` 是预先填好这几个参数的 `instantiate_from_config`。
# - ③ 是不是乘数函数，看它继承自谁，不看名字；是，就包一层 `LambdaLR`。
# - ④ 自带的调度器要有优化器才造得出来，检查时借一个假的。
# - ⑤ 训练开始时，用真正的优化器来造。
#
# </details>

# %% [markdown]
# <details><summary>与参考实现的差别，以及几处细节（第一遍可以不看）</summary>
#
# - 它的线性衰减从周期的第 0 步算起，热身结束时会跌 $(f_{\max}-f_{\min})\frac WL$：$f_{\max}=1$、$f_{\min}=0.1$、$f_{\text{start}}=0$、$W=100$、$L=1000$ 时，第 99 步是 0.99，第 100 步跌到 0.91；我们的是 1.00。
# - 衰减的终点早于热身的终点时，它不报错，余弦一直来回摆。
# - 它把边界那一步算在旧周期里；最后一个周期过后返回 None，接着 TypeError，所以人们在配置里写一个天文数字的周期长度。
# - 热身占满整个周期（$L=W$）时没有衰减段：第 $L$ 步起，我们的单周期类停在 $f_{\min}$，多周期的两个类停在 $f_{\max}$；它除以零或得到 NaN。
# - 我们的乘数是 Python 的浮点数，不是 NumPy 标量，所以存进检查点之后，`torch.load(weights_only=True)` 仍能读。
#
# </details>

# %% [markdown]
# ## 小结
#
# - **开头为什么升上去**：AdamW 开头几步走得最大（本章的网络是第 3 步），而开头的方向只由一小批数据决定。小网络用学习率 0.03 时，没有热身的验证损失是 0.62，热身 20 步是 0.39；用 0.004 时，不热身就有 0.38。先试小一点的学习率，再想热身。
# - **末尾为什么降下来**：压住抖动。真的网络走 3000 步，不变是 0.315，余弦降到 0 是 0.294，不变加 EMA 是 0.299；只走 500 步时，加 EMA 之后余弦反而高 0.004。
# - **该怎样变**：学习率大就热身，小就可有可无。步数定了，沿余弦降到接近 0，同时留着 EMA；只走几百步时，也可以不变；步数没有定，只能不变。两种不变都靠 EMA 压抖动。
# - **怎样写**：真正的学习率是 `learning_rate` 乘以 $f(n)$，`lr_max`、`f_max` 都是乘数，本课程取 1.0。热身直线上升，衰减走余弦或直线，转折点在 $0$、$W$、$L$。`scheduler_config` 里的步数都是优化步。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 12.1　热身加余弦 ★
#
# 照第 3 节的公式，写出第 `n` 步的乘数：热身 `W` 步，总长 `L` 步。`W` 可以是 0，`n` 可以超过 `L`。

# %%
def multiplier(n, W, L, f_start, f_max, f_min):
    # 答案
    if n < W:
        return f_start + (f_max - f_start) * n / W
    if n >= L:
        return f_min
    return f_min + 0.5 * (f_max - f_min) * (1 + math.cos(math.pi * (n - W) / (L - W)))
    # 答案完


grade("12.1", multiplier)

# %% [markdown]
# ### 12.2　第几个周期的第几步 ★★
#
# `cycle_lengths` 是各个周期的长度，例如 `[10, 20, 5]`。返回两个整数：第 `n` 步属于第几个周期（从 0 数起），是周期内的第几步。
# 边界那一步属于新周期。最后一个周期过后，停在它的末尾，周期内的步数等于它的长度。

# %%
def locate(n, cycle_lengths):
    # 答案
    for cycle, length in enumerate(cycle_lengths):
        if n < length:
            return cycle, n
        n -= length
    return cycle, length
    # 答案完


grade("12.2", locate)

# %% [markdown]
# ### 12.3　以轮计的配方 ★★★
#
# 计划常以轮计，配方却以优化步计。数据有 `samples` 个样本，每批 `batch_size` 个，最后一批不满也用；每累积 `accumulate` 批更新一次权重，一轮末尾累积不满也更新一次。
# 共训练 `epochs` 轮，其中前 `warm_up_epochs` 轮热身。写出 `scheduler_config` 的配方（字典），`learning_rate` 另设为 2e-4：
#
# - 学习率从 2e-6 直线升到 2e-4，
# - 再按余弦降到 2e-5，最后一次更新之后（乘数 $f(n)$，$n$ 是更新的总次数）正好到底。

# %%
def recipe(samples, batch_size, accumulate, epochs, warm_up_epochs):
    # 答案
    batches = math.ceil(samples / batch_size)
    steps = math.ceil(batches / accumulate)  # 每轮的优化步
    params = {"warm_up_steps": warm_up_epochs * steps, "max_decay_steps": epochs * steps}
    params |= {"lr_start": 0.01, "lr_max": 1.0, "lr_min": 0.1}
    return {"target": "ddpm_edu.LambdaWarmUpCosineScheduler", "params": params}
    # 答案完


grade("12.3", recipe)

# %% [markdown]
# ### 12.4　此刻的学习率 ★★
#
# 用第 3 节的配方：$W=100$，$L=1000$，`lr_min=0.1`，`lr_max=1.0`，`learning_rate` 是 2e-4。第 325 步的学习率是多少？先手算，写出四位有效数字，再用程序核对。

# %%
grade("12.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 12.5　忘了写 interval ★★★
#
# 有人自己写 `configure_optimizers`，没有写 `interval`，Lightning 就按轮更新学习率。他的配方从 0 开始热身 1000 步，训练 20 轮，每轮 500 步。症状是什么？
#
# - A：损失降得极慢，学习率始终不到峰值的百分之二。
# - B：热身照常走完，只是学习率一轮一级地上升。
# - C：一开始训练就报错。
# - D：没有热身，学习率一开始就在峰值，损失可能发散。

# %%
grade("12.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 小实验　只在最后几步降
#
# 改一处，量一量，写三句话。第 2 节的例子里，余弦从第一步起就在降。有一种办法是先一直不变，只在最后 `tail` 步里直线降到 0，好处是不必一开始就定下总共走几步，想停的时候再降。
# 另开一格，照第 2 节的写法走 1000 步，学习率 0.1 乘上 $\min(1, (1000-n)/\mathrm{tail})$，`tail` 取 500、200、100、50、20，量第 1000 步的均方根误差。先猜：只留最后十分之一来降，够不够把抖动压到余弦的水平？
#
# <!-- 参考答案 -->
# **参考答案**　每个种子一千次试验，十个种子，± 后面是标准误；末列照第 2 节的两个式子逐步算：
#
# | 怎样降 | 量到的误差 | 算出的 |
# |:--|--:|--:|
# | 余弦 | 0.0604 ± 0.0006 | 0.0603 |
# | 从头到尾直线降 | 0.0673 ± 0.0005 | 0.0667 |
# | 最后 500 步 | 0.0802 ± 0.0008 | 0.0794 |
# | 最后 200 步 | 0.1007 ± 0.0011 | 0.1000 |
# | 最后 100 步 | 0.1200 ± 0.0010 | 0.1191 |
# | 最后 50 步 | 0.1432 ± 0.0008 | 0.1419 |
# | 最后 20 步 | 0.1766 ± 0.0016 | 0.1755 |
# | 不降 | 0.2301 ± 0.0020 | 0.2294 |
#
# 只用最后十分之一来降，抖动少了一半，还不到余弦的水平；少得最快的是头几十步，再多留一倍的步数，误差约降到 0.84 倍。
# 道理与第 11 章的影子相同：压抖动靠平均许多份噪声，降的这一段有多长，大致就平均了多少步。
#
# ```python
# def end(multiplier, seed):
#     generator, theta = torch.Generator().manual_seed(seed), torch.full((1000,), 3.0)
#     for n in range(1000):
#         theta = theta - 0.1 * multiplier(n) * (theta + torch.randn(1000, generator=generator))
#     return theta.square().mean().sqrt()
#
#
# ways = {"余弦": lambda n: 0.5 * (1 + math.cos(math.pi * n / 1000)), "不降": lambda n: 1.0}
# for tail in (1000, 500, 200, 100, 50, 20):
#     ways[f"最后 {tail} 步"] = lambda n, tail=tail: min(1.0, (1000 - n) / tail)
# for name, way in ways.items():
#     found, mean, variance = torch.stack([end(way, seed) for seed in range(10)]), 3.0, 0.0
#     for n in range(1000):
#         mean, variance = mean * (1 - 0.1 * way(n)), variance * (1 - 0.1 * way(n)) ** 2 + (0.1 * way(n)) ** 2
#     print(f"{name}：{found.mean():.4f} ± {found.std() / 10**0.5:.4f}，算出的 {(mean**2 + variance) ** 0.5:.4f}")
# ```
#
# <!-- 参考答案完 -->
