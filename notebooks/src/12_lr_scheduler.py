# %% [markdown]
# # 12 · 学习率调度器与 `scheduler_config`
#
# 同一个小网络，同样的数据，学习率都是 0.03，各训练 200 步。一组从第一步就用 0.03，另一组先花 20 步慢慢升到 0.03。
# 八个种子平均，前一组的验证损失是 0.62，后一组是 0.39。只差开头 20 步，为什么相差这么多？可是把学习率改成 0.004，不这样升也降到 0.38，什么时候才要这样升？到了末尾，学习率又该不该降下来？
#
# **这一章的问题**：学习率为什么要变，该怎样变？
#
# **学习目标**
#
# - 说出热身与衰减各解决什么问题，什么时候用不着。
# - 写出热身加余弦的公式，说出每个转折点在哪一步。
# - 会写 `scheduler_config`，不把乘数当成学习率。
#
# **预计用时** 25 分钟。运行全部单元约 10 秒。

# %%
import math

import torch

from ddpm_edu import DDPM, DigitsDataModule, LambdaWarmUpCosineScheduler, LambdaWarmUpCosineScheduler2
from ddpm_edu.configs import load
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach import card, check, curve_figure, curves_figure, show_source
from ddpm_edu.teach.lr_figures import seeds_figure
from ddpm_edu.teach.panels import lr_panel
from ddpm_edu.teach.training import quiet_trainer

print("准备好了")

# %% [markdown]
# ## 1　开头为什么要小：热身
#
# AdamW 不直接照梯度走。它替每个权重记两个平均：梯度的平均，梯度平方的平均。一步走的是学习率乘以前者，再除以后者的平方根，也就是把梯度除以它近来的大小。
# 第一次更新时，两个平均里都只有眼前这一个梯度，相除得 $\pm1$。所以只要梯度远大于 $10^{-8}$（AdamW 在分母上加的小数），不管大小，权重都走满一个学习率：

# %%
weights = torch.nn.Parameter(torch.zeros(2))
optimizer = torch.optim.AdamW([weights], lr=0.03)
weights.grad = torch.tensor([0.001, 100.0])  # 梯度相差十万倍
optimizer.step()
check("两个权重走得一样远，都是 0.03", weights, [-0.03, -0.03], atol=1e-6)

# %% [markdown]
# 往后各批的梯度若方向不一，就在平均里互相抵消，一步走不满。要压住开头的大步，可以让学习率在开头若干步里直线升上去，这叫热身 (warm-up)。下面用 20 步，从 0.02 倍升到一倍。
#
# 真的网络第一步就走满吗？网络是第 8 章 U-Net 最小的一号，数据是 8×8 的数字，学习率 0.03，八个种子平均，步数从 0 数起。每一步，全部权重平均走多远（以 0.03 为 1），事先量好了（`python -m benchmarks.learning_rate warm`，点线用 `early`）：

# %%
lengths = {"热身 20 步": [
               0.00, 0.02, 0.07, 0.10, 0.11, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12, 0.13, 0.14, 0.14, 0.14, 0.15, 0.15, 0.15, 0.15, 0.15,
               0.14, 0.14, 0.13, 0.13, 0.12, 0.12, 0.12, 0.11, 0.10, 0.10, 0.10, 0.10, 0.10, 0.10, 0.09, 0.08, 0.08, 0.08, 0.07, 0.07],
           "没有热身": [
               0.00, 0.31, 0.61, 0.49, 0.42, 0.37, 0.33, 0.29, 0.26, 0.24, 0.22, 0.20, 0.18, 0.17, 0.17, 0.15, 0.14, 0.13, 0.12, 0.11,
               0.10, 0.10, 0.09, 0.08, 0.08, 0.08, 0.07, 0.07, 0.06, 0.06, 0.06, 0.06, 0.05, 0.06, 0.06, 0.05, 0.05, 0.05, 0.05, 0.04],
           "前 5 步停在 0.02 倍": [
               0.00, 0.01, 0.01, 0.01, 0.01, 0.61, 0.50, 0.43, 0.39, 0.35, 0.31, 0.28, 0.26, 0.23, 0.21, 0.20, 0.18, 0.17, 0.16, 0.14,
               0.13, 0.12, 0.11, 0.10, 0.10, 0.09, 0.08, 0.08, 0.07, 0.07, 0.06, 0.06, 0.05, 0.05, 0.05, 0.04, 0.04, 0.04, 0.04, 0.04]}
curve_figure(range(40), lengths, "步 $n$", "一步走多远（以 0.03 为 1）")

# %% [markdown]
# 图：没有热身（虚线），最大的一步有 0.6；热身 20 步（实线），每一步都不到 0.2。点线把前 5 步压在 0.02 倍，大步只是推迟到第 5 步：权重几乎没动，各批的梯度还是一致。
#
# 第 0 步却几乎不动：输出层的权重从 0 开始（第 8 章），梯度传不到前面，44969 个权重里只有输出层的 73 个有梯度。
#
# 大步要紧吗？各训练 200 步，五种走法只差前 20 步。八个种子平均，± 是标准误：
#
# | 前 20 步的学习率 | 最大的一步（各种子的最大值再平均） | 验证损失 |
# |:--|--:|--:|
# | 一直是一倍 | 0.61 | 0.620 ± 0.031 |
# | 5 步停在 0.02 倍，再跳到一倍 | 0.61 | 0.586 ± 0.038 |
# | 5 步停在 0.2 倍，再跳到一倍 | 0.40 | 0.404 ± 0.005 |
# | 20 步停在 0.2 倍，再跳到一倍 | 0.24 | 0.390 ± 0.004 |
# | 20 步升到一倍 | 0.17 | 0.390 ± 0.003 |
#
# 前两种的最大一步过了 0.5，损失高；后三种不到，损失低。头 5 步压到 0.02 倍，反而不如 0.2 倍：大步没有变小。

# %% [markdown]
# 学习率小一些，还用得着热身吗？再取两个学习率，同样各用八个种子训练 200 步：

# %%
plain = {0.004: [0.3873, 0.3871, 0.3695, 0.3670, 0.3968, 0.3897, 0.3689, 0.3862],
         0.012: [0.3899, 0.4008, 0.3794, 0.3911, 0.3978, 0.3968, 0.3845, 0.3919],
         0.03: [0.4207, 0.6716, 0.6562, 0.6268, 0.6332, 0.7059, 0.5869, 0.6620]}
warmed = {0.004: [0.3944, 0.3958, 0.3795, 0.3778, 0.3926, 0.4031, 0.3840, 0.3891],
          0.012: [0.3829, 0.3840, 0.3706, 0.3810, 0.3929, 0.3998, 0.3787, 0.3826],
          0.03: [0.3917, 0.3993, 0.3848, 0.3748, 0.4057, 0.3912, 0.3842, 0.3865]}
seeds_figure(plain, warmed)

# %% [markdown]
# 图：学习率大，热身才要紧。一个点是一个种子，灰线连着同一个种子的两次训练。
#
# - 学习率 0.012：热身后低 0.007 ± 0.002。
# - 学习率 0.004：就算走满，一步也只有 0.004，比 0.03 热身时最大的一步（$0.17\times0.03\approx0.005$）还小，没有大步可压；热身后反而高 0.008 ± 0.002。
#
# 0.03 加热身是 0.390，并不比不热身的 0.004（0.382）好。所以先试小一点的学习率：这个小网络走 200 步，没有量到大学习率的好处。要用大的，就要热身。

# %% [markdown]
# ## 2　末尾为什么要小：压住抖动
#
# 接着用第 11 章的例子：从 $\theta=3$ 出发，用带噪声的梯度求 $\tfrac12\theta^2$ 的最小值，噪声 $\varepsilon$ 是标准正态，一步是 $\theta\leftarrow\theta-\eta(\theta+\varepsilon)$。
# 每走一步，$\theta$ 的均值与方差变成
#
# $$\mu\leftarrow(1-\eta)\,\mu,\qquad V\leftarrow(1-\eta)^2\,V+\eta^2,$$
#
# 离最小值的均方根误差是 $\sqrt{\mu^2+V}$。
#
# 先看学习率 $\eta$ 不变。均值每步乘 $1-\eta$，所以太小就走不到：$\eta=0.003$ 时走 1000 步，均值还剩 $3\times0.997^{1000}\approx0.149$。
# 方差最后停在 $\eta/(2-\eta)$，所以太大就一直抖：$\eta=0.1$ 时，误差停在 $\sqrt{0.1/1.9}\approx0.229$。
#
# 再试先大后小，从 0.1 沿半个余弦降到 0：

# %%
def errors(rate):  # rate(n) 是第 n 步的学习率
    mean, variance, found = 3.0, 0.0, [3.0]
    for n in range(1000):
        mean, variance = (1 - rate(n)) * mean, (1 - rate(n)) ** 2 * variance + rate(n) ** 2
        found.append((mean**2 + variance) ** 0.5)
    return found


def constant(rate):
    return errors(lambda n: rate)


def cosine(rate):
    return errors(lambda n: rate * 0.5 * (1 + math.cos(math.pi * n / 1000)))


check("恒定 0.1，误差停在 √(η/(2 − η))", constant(0.1)[-1], (0.1 / 1.9) ** 0.5, atol=1e-6)
curves = {"余弦，从 0.1 降到 0": cosine(0.1), "恒定 0.1": constant(0.1), "恒定 0.003": constant(0.003)}
rates = [0.003 * 100 ** (k / 30) for k in range(31)]
ends = {"余弦": [cosine(rate)[-1] for rate in rates], "恒定": [constant(rate)[-1] for rate in rates]}
curves_figure((range(1001), curves, "步 $n$", "均方根误差", "linear", "log"), (rates, ends, "开头的学习率", "走完 1000 步的误差", "log", "log"))

# %% [markdown]
# 图：先大后小，开头够大，就不用把学习率选得很准。左图是三种走法：恒定 0.1 很快就到，然后一直抖；恒定 0.003 没有走到；余弦走得快，末尾也停得稳。
#
# 右图换各种学习率。恒定的也有合适的：0.006 停在 0.055，比从 0.1 降下来的 0.060 还低。可是它要试准：0.003 是 0.154，0.012 是 0.078。余弦的起点更不能太小，0.003 是 0.668；但从 0.01 到 0.1 都在 0.041 与 0.060 之间。

# %% [markdown]
# 真的网络也是这样吗？网络与数据照第 1 节，学习率取居中的 0.012，热身 20 步，之后一种不变，一种沿余弦降到 0，各训练 3000 步。
#
# 压抖动还有一个办法，就是第 11 章的 EMA：权重照抖，另留一份平均。所以也量“不变，加 EMA”（衰减 0.99）。下面是八个种子的平均（`python -m benchmarks.learning_rate decay`）：

# %%
measured = {"余弦降到 0": [0.3748, 0.3482, 0.3397, 0.3310, 0.3236, 0.3156, 0.3093, 0.3046, 0.2994, 0.2968, 0.2950, 0.2944],
            "不变": [0.3749, 0.3495, 0.3418, 0.3372, 0.3293, 0.3246, 0.3220, 0.3191, 0.3168, 0.3190, 0.3154, 0.3145],
            "不变，加 EMA": [0.3616, 0.3341, 0.3236, 0.3175, 0.3121, 0.3088, 0.3061, 0.3041, 0.3019, 0.3008, 0.2993, 0.2989]}
figure = curve_figure(range(250, 3001, 250), measured, "步 $n$", "验证损失")
figure.axes[0].set_xticks(range(0, 3001, 500))
figure

# %% [markdown]
# 图：余弦与 EMA 都能降低损失。3000 步之后，不变（虚线）是 0.315 ± 0.003，余弦（实线）是 0.294 ± 0.003，逐个种子相减，余弦低 0.020 ± 0.001；不变加 EMA（点线）是 0.299 ± 0.003。两种都加 EMA，余弦低 0.0045 ± 0.0006；衰减换成 0.997，平均得更长，也低 0.0039 ± 0.0005。
#
# 走得短，就不同了。只走 500 步（`decay --steps 500`），余弦比不变加 EMA 高 0.0038 ± 0.0005；余弦加 EMA，也比它高 0.0043 ± 0.0005。
#
# 所以总步数事先定了，又走得长，可以沿余弦降。没有定，就先不变，靠 EMA 压抖动；想停的时候，再留一段降下来（留多长，小实验来量）。

# %% [markdown]
# ## 3　热身加余弦的公式
#
# 把两头合起来，就是最常用的样子。安排学习率怎样变化的对象叫调度器 (scheduler)。它给出第 $n$ 步的乘数 $f(n)$，真正的学习率是它与优化器的学习率 $\eta$ 的积：
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
# 图：前 $W$ 步从 $f_{\text{start}}$ 直线升到 $f_{\max}$，到第 $L$ 步沿余弦降到 $f_{\min}$，此后不变。步数从 0 数起，$L$ 包含热身。
#
# 写成公式：
#
# $$f(n) = \begin{cases} f_{\text{start}} + (f_{\max}-f_{\text{start}})\,\dfrac nW & n < W\\[1ex] f_{\min} + \tfrac12(f_{\max}-f_{\min})\left(1+\cos\pi\dfrac{n-W}{L-W}\right) & W\le n<L\\[1ex] f_{\min} & n\ge L \end{cases}$$
#
# 例如 $\eta$ 是 2e-4：第 550 步在 $W$ 与 $L$ 的正中，余弦是 0，乘数是最高与最低的平均 0.55，学习率是 1.1e-4。
#
# 代码照公式写，参数名与字母的对应，见第 6 节的表：

# %%
show_source(LambdaWarmUpCosineScheduler.schedule,
            "def schedule", "elif n >= L:", "cosine =")

# %% [markdown]
# - ① 热身段，直线上升。
# - ② 第 $L$ 步起停在 $f_{\min}$。
# - ③ 余弦段，就是公式的第二行。
#
# 要当心参数的名字：`lr_max` 看上去像学习率，其实是乘数。把 `lr_max` 写成 $10^{-4}$，再乘上 $\eta=10^{-4}$，实际的学习率是 $10^{-8}$，训练几乎不动。
#
# **约定**：本课程把学习率写在 `learning_rate`，`lr_max` 取 1.0。参考实现的注释相反：`base_lr` 取 1.0，`lr_max` 就是学习率。两种都行，别混用。

# %% [markdown]
# ## 4　接到训练里：`scheduler_config`
#
# 把调度器写成一份配方，交给 `DDPM`：`target` 是类名，`params` 是它的参数。训练时每走一个优化步，学习率就更新一次。

# %%
card("scheduler_config")
recipe = {"target": "ddpm_edu.LambdaWarmUpCosineScheduler",
          "params": {"warm_up_steps": 4, "lr_start": 0.01, "lr_max": 1.0, "lr_min": 0.0, "max_decay_steps": 8}}
model = DDPM(**toy_model_config(scheduler_config=recipe, learning_rate=1e-3))
trainer = quiet_trainer(max_steps=6)
trainer.fit(model, DigitsDataModule(batch_size=16))
check("6 步之后的学习率 = 1e-3 × f(6)", trainer.optimizers[0].param_groups[0]["lr"], 1e-3 * 0.5, atol=1e-9)

# %% [markdown]
# 起点若写 0，第一次更新时权重不动，所以常取 0.01、0.02 这样小的正数。
#
# 配方在 `DDPM` 的这个方法里变成调度器，Lightning 在训练开始时调用它：

# %%
show_source(DDPM.configure_optimizers,
            "def configure_optimizers", "if self.scheduler_config is None:", "scheduler =", "return {")

# %% [markdown]
# - ① 先造优化器（第 10 章）。
# - ② 没有配方，学习率就不变。
# - ③ 照配方造调度器。PyTorch 自带的也行，其中 `ReduceLROnPlateau` 要看指标有没有变好，所以按轮更新，其余按步。
# - ④ `interval="step"` 表示每个优化步更新一次；不写，Lightning 就每轮才更新一次。`monitor` 是 `ReduceLROnPlateau` 要看的指标。

# %% [markdown]
# ## 5　该怎么选
#
# 先看本课程的配置怎样写：

# %%
for name in ("mnist-quick", "digits", "mnist-class", "mnist", "cifar10"):
    model = load(name)["model"]
    p = model["scheduler_config"]["params"]
    W, L = p["warm_up_steps"], p["max_decay_steps"]
    print(f"{name:12} 学习率 {model['learning_rate']:<6} 热身 {W:4} 步，占 {W / L:.1%}；共 {L:6} 步，末尾的乘数 {p['lr_min']}")

# %% [markdown]
# `cifar10` 照 DDPM 论文作者公开的代码：热身之后不变，靠 EMA 压抖动。其余几份都沿余弦降到百分之一二，同时留着 EMA，训练中途看样本靠的是它。学习率 0.004 的两份也写了热身，375 步的 `mnist-quick` 也沿余弦降，这是照惯例，没有与别的做法比过。
#
# 自己配的时候，分开问两件事：
#
# | | 情形 | 做法 |
# |:--|:--|:--|
# | 开头热不热身 | 学习率小 | 不必 |
# | | 学习率大 | 要有；分不清大小，就热身与不热身各训练几百步来比 |
# | 末尾降不降 | 总步数定了，走得长 | 沿余弦降到接近 0 |
# | | 没有定 | 不变，用 EMA；想停时再留一段降下来 |
# | | 总步数定了，走得短 | 不变，用 EMA |

# %% [markdown]
# ## 6　降下来再升回去：重启
#
# 学习率降到底之后，再让它升回高处，重新降一次，叫重启 (restart)；每一段叫一个周期。本课程的训练都不用重启，别人的配置里却会遇到。
#
# `LambdaWarmUpCosineScheduler2` 与 `LambdaLinearScheduler` 可以有好几个周期，每次重启都可以重新热身；前者沿余弦降，后者沿直线降。它们的参数换了名字，每个给一个列表，一个周期一个值：
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
# 面板：每次重启，乘数落到新的起点，再热身升回去。圆点标出各周期的第 0 步与第 $W$ 步，最后一个是末尾的第 $L$ 步。
# 左边衰减走余弦，右边走直线。把周期数拉到 4，看转折点怎样移动。
#
# 程序先找第 $n$ 步属于哪个周期，再算它是周期内的第几步，以后照第 3 节的公式。边界那一步算新周期的第 0 步；最后一个周期过后，一直停在它的末尾。逐行的源码在[第 93 本](93_source_reading.ipynb)。

# %%
two = LambdaWarmUpCosineScheduler2(
    warm_up_steps=[10, 10], f_min=[0.1, 0.1], f_max=[1.0, 0.5], f_start=[0.01, 0.01], cycle_lengths=[100, 200])
check("第 0、99、100、299 步与很久以后，各属于第几个周期", [two.find_in_interval(n) for n in (0, 99, 100, 299, 10**6)], [0, 0, 1, 1, 1])

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - 它的线性衰减从周期的第 0 步算起，热身一结束，就比 $f_{\max}$ 低 $(f_{\max}-f_{\min})\frac WL$。照第 3 节的设置，第 100 步是 0.91，我们的是 1.00。
# - 衰减的终点早于热身的终点时，它不报错，余弦一直来回摆。
# - 它把边界那一步算在旧周期里；最后一个周期过后返回 None，接着 TypeError，所以人们在配置里写一个天文数字的周期长度。
# - 热身占满整个周期（$L=W$）时没有衰减段：第 $L$ 步起，我们的单周期类停在 $f_{\min}$，多周期的两个类停在 $f_{\max}$；它的余弦除以零或得到 NaN。
#
# </details>

# %% [markdown]
# ## 小结
#
# - **开头为什么升上去**：AdamW 的开头几步走得大。小网络用 0.03，不热身，最大的一步有 0.61 个学习率，损失 0.62；热身 20 步，是 0.17 与 0.39。用 0.004，不热身也降到 0.38。
# - **末尾为什么降下来**：学习率不变，太小走不到，太大一直抖，合适的要试准；沿余弦降下来，开头够大，就不用选得很准。真的网络走 3000 步，不变是 0.315，余弦是 0.294，不变加 EMA 是 0.299。
# - **该怎样变**：先试小一点的学习率，要用大的就热身。步数定了又走得长，沿余弦降；走得短，或者没有定，就不变，靠 EMA 压抖动。
# - **怎样写**：真正的学习率是 `learning_rate` 乘以 $f(n)$，`lr_max`、`f_max` 都是乘数，本课程取 1.0。转折点在 $0$、$W$、$L$，`scheduler_config` 里的步数都是优化步。
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
# 另开一格，用第 2 节的 `errors`，学习率是 0.1 乘以 $\min(1, (1000-n)/\mathrm{tail})$，`tail` 取 500、200、100、50、20，算走完 1000 步的误差。先猜：只留最后十分之一来降，够不够把抖动压到余弦的水平？
#
# <!-- 参考答案 -->
# **参考答案**　另用真的噪声走一遍核对：每个种子一千次试验，十个种子，± 后面是标准误；末列照第 2 节的两个式子，每步换上那一步的学习率来算：
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
# 只用最后十分之一来降，抖动少了一半，还不到余弦的水平。
# 道理与第 11 章的影子相同：压抖动靠平均许多份噪声。降的这一段长一倍，份数约是 $\sqrt2$ 倍，误差约降到 $2^{-1/4}\approx0.84$ 倍。
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
