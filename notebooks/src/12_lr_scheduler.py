# %% [markdown]
# # 12 · 学习率调度器与 `scheduler_config`
#
# 同一个小网络，同一批数据，学习率都是 0.03。一个从第一步就用 0.03，另一个先花 20 步慢慢升上去。
# 200 步之后，前者的验证损失是 0.62，后者是 0.39。只差开头 20 步，为什么相差这么多？（0.03 是这个网络常用的学习率的七倍多，故意取大，好看清楚。）到了训练的末尾，学习率又该不该降下来？先看末尾（第 1 节），再回来看这 20 步（第 2 节）。
#
# **这一章的问题**：学习率为什么要变，该怎样变？
#
# **学习目标**
#
# - 用实验说明热身与衰减各解决什么问题，什么时候用不着。
# - 写出热身加余弦的公式，说出每个转折点在哪一步。
# - 会写 `scheduler_config`，不把乘数当成学习率。
#
# **预计用时** 30 分钟。运行全部单元约 30 秒。

# %%
import math

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, DigitsDataModule, LambdaLinearScheduler, LambdaWarmUpCosineScheduler, LambdaWarmUpCosineScheduler2
from ddpm_edu.configs import load
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.optim import make_scheduler
from ddpm_edu.teach import card, check, check_raises, curve_figure, show_source
from ddpm_edu.teach.panels import lr_panel
from ddpm_edu.teach.training import quiet_trainer

print("准备好了")

# %% [markdown]
# ## 1　末尾为什么要小：压住抖动
#
# 接着用第 11 章的例子：从 $\theta=3$ 出发，用带噪声的梯度求 $\tfrac12\theta^2$ 的最小值。
# 学习率一直是 0.1 时，权重很快走到最小值附近，然后一直抖。第 11 章的办法是另留一份 EMA 影子，权重本身照抖。
# 另一个办法是让学习率沿半个余弦降到 0，权重自己停下来。下面的四种走法用同一串噪声，各做 4000 次试验。

# %%
generator = torch.Generator().manual_seed(2)
cosine = constant = shadow = small = torch.full((4000,), 3.0)
errors = []
for n in range(1000):
    noise = torch.randn(4000, generator=generator)
    cosine = cosine - 0.1 * 0.5 * (1 + math.cos(math.pi * n / 1000)) * (cosine + noise)
    constant = constant - 0.1 * (constant + noise)
    small = small - 0.003 * (small + noise)
    shadow = shadow + (1 - min(0.99, (2 + n) / (11 + n))) * (constant - shadow)
    errors.append([w.square().mean().sqrt() for w in (cosine, constant, shadow, small)])
names = ["从 0.1 余弦降到 0", "恒定 0.1", "恒定 0.1，加 EMA", "恒定 0.003"]
for name, curve, want in zip(names, zip(*errors), (0.0603, 0.2294, 0.0691, 0.1536)):
    check(f"{name}，第 1000 步的误差", curve[-1], want, atol=0.005)
curve_figure(range(1, 1001), dict(zip(names, zip(*errors))), "步 $n$", "均方根误差", yscale="log")

# %% [markdown]
# 图：离最小值有多远（均方根误差，对数刻度）。恒定的 0.1 四十步上下就走到 0.23，再也不降；余弦在后半程越降越低，最后停在 0.060；EMA 停在 0.069；从 50 步到 850 步，EMA 一直明显低于余弦，随时停下都不吃亏。两种办法都把误差压到了恒定学习率的三成上下。
#
# 那么从头就用一个小的，行不行？点划线是恒定的 0.003：走了 1000 步还在 0.15，光是起点的 3 就剩 $3\times0.997^{1000}\approx0.149$ 没有走完。
# 学习率 $\eta$ 恒定时，抖动的标准差是 $\sqrt{\eta/(2-\eta)}$，约与 $\sqrt\eta$ 成正比；走近最小值要的步数却与 $1/\eta$ 成正比。太大抖，太小走不到，要恰好。下面把第 1000 步的误差对学习率画出来；这个例子的均值与方差可以逐步算出，不必抽样。

# %%
rates = torch.logspace(-2.6, -0.5, 40, dtype=torch.float64)
bias, variance = torch.full((2, 40), 3.0, dtype=torch.float64), torch.zeros(2, 40, dtype=torch.float64)
for n in range(1000):
    now = torch.stack([rates, rates * 0.5 * (1 + math.cos(math.pi * n / 1000))])
    bias, variance = bias * (1 - now), variance * (1 - now) ** 2 + now**2
final = (bias**2 + variance).sqrt()
curve_figure(rates, {"恒定": final[0], "余弦降到 0": final[1]}, "（起初的）学习率", "第 1000 步的误差", "log", "log")

# %% [markdown]
# 图：第 1000 步的误差随学习率的变化，两轴都是对数。恒定的（实线）只在 0.005 附近低到 0.05，往哪边偏一倍都明显变坏，而恰好是多少，取决于起点有多远、总共走几步，事先不知道。余弦（虚线）把大大小小的学习率都走了一遍，从 0.02 到 0.3，末尾都在 0.05 到 0.08 之间，不必猜得那么准。

# %% [markdown]
# ## 2　开头为什么要小：热身
#
# 开头要小，是另一个道理。AdamW 把每个权重的梯度除以它自己的大小，第一次更新时，不管梯度多大，每个权重都走满一个学习率：

# %%
weights = torch.nn.Parameter(torch.zeros(2))
optimizer = torch.optim.AdamW([weights], lr=0.03)
weights.grad = torch.tensor([0.001, 100.0])  # 梯度相差十万倍
optimizer.step()
check("两个权重走得一样远，都是 0.03", weights, [-0.03, -0.03], atol=1e-6)

# %% [markdown]
# 训练刚开始，网络还是随机的，方向只由一小批数据决定，步子却已经这么大。先从很小的学习率升上去，叫热身 (warm-up)。
# 下面训练一个真的去噪网络（第 8 章的 U-Net，最小的一号），数据是 8×8 的数字，学习率 0.03。两次训练的初值、数据、噪声都相同，只差前 20 步的学习率。

# %%
class LossLog(pl.Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())


def train(warm_up, lr, steps=120):
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
curve_figure(range(3, 120, 5), curves, "步 $n$", "训练损失")

# %% [markdown]
# 图：训练损失，五步一平均。没有热身的（虚线）降到 0.7 附近就几乎不动了；热身的（实线）从头到尾都在它下面，一直降到 0.4 上下。这一次用的是种子 1，换一台机器，数会略有不同。
#
# 一次不足为凭。换八个种子，各训练 200 步，热身之后学习率不变，看 250 张验证图上的损失，用的是训练的权重，不是 EMA 的（平均 ± 标准误）：
#
# | 学习率 | 没有热身 | 热身 20 步 | 同一个种子，前者减后者 |
# |:--|--:|--:|--:|
# | 0.004 | 0.382 ± 0.004 | 0.390 ± 0.003 | −0.008 ± 0.002 |
# | 0.012 | 0.392 ± 0.003 | 0.384 ± 0.003 | 0.007 ± 0.002 |
# | 0.03 | 0.618 ± 0.030 | 0.389 ± 0.003 | 0.229 ± 0.030 |
#
# 学习率 0.03 时，热身是成与不成的分别。没有热身的八次里，七次停在 0.59 以上，另一次走了 200 步才爬回 0.42；热身的八次，最差的一次也降到 0.40。
# 原因可能是：这个网络的权重起初只有 0.1 上下，头几步每步走 0.03，初值很快就被冲散；这时 Adam 对梯度平方的估计也只来自几批数据，很不准。哪个原因占得多，我们没有单独量过。
#
# 学习率 0.012 时，热身只低 0.007。到了 0.004，热身反而高 0.008：总共只有 200 步，步子本来就稳，慢慢升的那 20 步可能只是少走了路。
# 再跨行比：0.03 加热身，并不比不热身的 0.004 更好。所以对这么小的网络，把学习率调低就行，热身可有可无。
# 学习率越大，热身越要紧。批大时，学习率常跟着调大；网络深，起步也容易不稳。长的训练里，几百步热身不算什么，所以配方里一般都写上。

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
straight = [multiplier(i) if i < 100 else max(0.1, 1 - 0.9 * (i - 100) / 900) for i in n]
figure = curve_figure(n, {"余弦": [multiplier(i) for i in n], "直线，作比较": straight}, "步 $n$", "乘数 $f(n)$")
ticks = [0.01, 0.1, 1.0], [r"$f_\text{start}$ = 0.01", r"$f_\min$ = 0.1", r"$f_\max$ = 1"]
figure.axes[0].set_xticks([0, 100, 1000], ["0", "$W$ = 100", "$L$ = 1000"])
figure.axes[0].set_yticks(*ticks)
figure

# %% [markdown]
# 图：前 $W$ 步从 $f_{\text{start}}$ 直线升到 $f_{\max}$，到第 $L$ 步沿余弦降到 $f_{\min}$，此后不变。$L$ 从第 0 步数起，包含热身。
# 与直线相比，余弦的两头平：开头多留一会儿在高处，走得远；末尾多留一会儿在低处，压得住抖动。
#
# 写成公式：
#
# $$f(n) = \begin{cases} f_{\text{start}} + (f_{\max}-f_{\text{start}})\,\dfrac nW & n < W\\[1ex] f_{\min} + \tfrac12(f_{\max}-f_{\min})\left(1+\cos\pi\dfrac{n-W}{L-W}\right) & W\le n<L\\[1ex] f_{\min} & n\ge L \end{cases}$$

# %%
show_source(LambdaWarmUpCosineScheduler,
            "class LambdaWarmUpCosineScheduler", "def __init__", "self.verbosity_interval =",
            "def schedule", "elif n >= L:", "cosine =", "log_multiplier")

# %% [markdown]
# - ① `warm_up_steps` 与 `max_decay_steps` 数的是优化步，后者包含前者。
# - ② `lr_min`、`lr_max`、`lr_start` 都是乘数，就是公式里的三个 $f$。名字和次序与参考实现一致。衰减的终点若早于热身的终点，当场拒绝。
# - ③ 隔多少步记一行日志，0 表示不记；`last_lr` 记下最近一次的乘数。
# - ④ 热身段，直线上升。
# - ⑤ 第 $L$ 步起停在 $f_{\min}$。
# - ⑥ 余弦段，照公式的第二行写。
# - ⑦ 该记日志时记一行，然后返回乘数。

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
# 热身之后，学习率降不降？在同一个网络上量一量：学习率 0.012，热身 20 步，共训练 500 步，八个种子，验证损失（平均 ± 标准误）：
#
# | 热身之后 | 训练的权重 | EMA 的权重（0.99） |
# |:--|--:|--:|
# | 学习率不变 | 0.349 ± 0.002 | 0.334 ± 0.003 |
# | 余弦降到 0 | 0.338 ± 0.003 | 0.338 ± 0.003 |
#
# 先看训练的权重：逐个种子相减，余弦低 0.012 ± 0.002，与第 1 节的玩具例子一样，抖动压下去了。
# 再看 EMA：学习率不变时，它把损失压低 0.015 ± 0.001；学习率已经降到 0 时，它没有什么可压的了。
# 用 EMA 的权重来比，不变的反而低 0.004 ± 0.001，八个种子都是如此：500 步还没有训练够，余弦可能降得太早，少走了路。训练得久了会怎样，这里没有量。
# 结论：两样都没有最差（0.349）。有 EMA 时，500 步的训练里衰减没有好处，还差 0.004。本课程的配方仍写余弦，是因为训练的权重也跟着变好；训练得久了会不会更好，这里没有证据。
#
# 第 11 章的热身与衰减说的是影子，这一章说的是学习率，两者不是一回事，却常一起用。看看本课程的配置：

# %%
for name in ("mnist-quick", "digits", "mnist-class", "mnist", "cifar10"):
    model = load(name)["model"]
    p = model["scheduler_config"]["params"]
    W, L = p["warm_up_steps"], p["max_decay_steps"]
    print(f"{name:12} 学习率 {model['learning_rate']:<6} 热身 {W:4} 步，占 {W / L:.1%}；共 {L:6} 步，末尾的乘数 {p['lr_min']}，EMA {model['ema_decay']}")

# %% [markdown]
# 第 13 章用 `mnist-quick`。`cifar10` 照 DDPM 论文：热身 5000 步，之后不变，末尾的抖动全靠 0.9999 的 EMA 来压。其余几份都是先热身，再沿余弦降到百分之一二，同时留着 EMA。
#
# 拿不准时，可以这样选：
#
# | 情形 | 学习率 | EMA |
# |:--|:--|:--|
# | 总步数没有定，随时可能停 | 热身之后不变 | 一定要用，抖动全靠它 |
# | 总步数定了 | 先热身，再沿余弦降到接近 0 | 也用；训练中途看样本，靠的是它 |
# | 网络小，学习率也小 | 热身可有可无 | 照上面两行 |
# | 网络大、批大，或者想用更大的学习率 | 热身要有；损失若在开头跳起来，就加长热身或调低学习率 | 照上面两行 |
#
# 热身几步？看的是步数，不是百分比：几百步以内的训练给 20 到 50 步，几千到几万步给 200 到 500 步，DDPM 给 5000 步；这是经验，不是定理。`mnist-quick` 与 `digits` 的学习率是 0.004，照第 2 节本可不要热身；写上，是为了你把学习率调大时不出事。

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
# 第一次更新用的是 $f(0)$。起点若写 0，这一步权重不动（Adam 的两个平均照常更新），所以起点常取 0.01、0.02 这样小的正数。
#
# PyTorch 自带的调度器也能写进 `target`，同样按优化步更新。搬别人的配置时要当心：`StepLR(step_size=30)` 在别处多半指 30 轮，在这里是 30 步。
# 只有 `ReduceLROnPlateau` 例外，它要看指标有没有变好，所以每轮更新一次。

# %%
show_source(DDPM.configure_optimizers,
            "def configure_optimizers", "if self.scheduler_config is None:", "scheduler =", "return {")

# %% [markdown]
# - ① Lightning 在训练开始时调用它，先要优化器（第 10 章）。
# - ② 没有配方，学习率就不变。
# - ③ 造调度器；`ReduceLROnPlateau` 按轮更新，其余按步。
# - ④ Lightning 的约定：`interval="step"` 表示每个优化步更新一次，不写就是每轮一次；`monitor` 是 `ReduceLROnPlateau` 要看的指标。

# %% [markdown]
# ## 6　降下来再升回去：重启
#
# 学习率降到底，权重就停在一个地方，那里未必最好。有人让学习率升回高处，走到别处再降一次，这叫重启 (restart)；每一段叫一个周期。
# `LambdaWarmUpCosineScheduler2` 与 `LambdaLinearScheduler` 可以有好几个周期：每个参数给一个列表，一个周期一个值。每次重启都重新热身，逐步升上去。

# %%
lr_panel()

# %% [markdown]
# 面板：实线是乘数，圆点标出每个周期的 0、$W$，以及最后一个周期的 $L$。第 500 步是周期的边界，算新周期的第 0 步，所以乘数落到新的起点，再用 50 步升回去。
# 把周期数拉到 4，或者把调度器换成 `LambdaLinearScheduler`，看转折点怎样移动。
#
# 重启是否划算，要看问题。本课程的训练都不用它：总步数定了，一个周期降到底就够。

# %%
two = LambdaWarmUpCosineScheduler2(
    warm_up_steps=[10, 10], f_min=[0.1, 0.1], f_max=[1.0, 0.5], f_start=[0.0, 0.0], cycle_lengths=[100, 200])
print("各个周期的起点，末尾加上总长：", two.cum_cycles)
check("第 0、99、100、299 步与很久以后，各属于第几个周期", [two.find_in_interval(n) for n in (0, 99, 100, 299, 10**6)], [0, 0, 1, 1, 1])
check("走完之后停在最后一个周期的 f_min", two(300), 0.1, atol=1e-12)
linear = LambdaLinearScheduler([100], [0.1], [1.0], [0.01], [1000])
check("线性衰减的中点", linear(550), 0.55, atol=1e-12)

# %% [markdown]
# 一个容易忽略的极端：热身占满整个周期（$L=W$）时没有衰减段，第 $L$ 步起，单周期的类停在 $f_{\min}$，多周期的两个类停在 $f_{\max}$。

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
# - ② 只认两类：本章的乘数函数，与 PyTorch 自带的调度器。`make` 是写好了这几个参数的 `instantiate_from_config`。
# - ③ 是不是乘数函数，看它继承自谁，不看名字；是，就包一层 `LambdaLR`。
# - ④ 自带的调度器要有优化器才造得出来，检查时借一个假的。
# - ⑤ 训练开始时，用真正的优化器来造。
#
# </details>

# %% [markdown]
# <details><summary>与参考实现的差别，以及几处细节（第一遍可以不看）</summary>
#
# - 它的线性衰减从周期的第 0 步算起，热身结束时会跌 $(f_{\max}-f_{\min})\frac WL$：$f_{\max}=1$、$f_{\min}=0.1$、$f_{\text{start}}=0$、$W=100$、$L=1000$ 时，第 99 步是 0.99，第 100 步跌到 0.91；我们的是 1.00。
# - 衰减的终点早于热身的终点时，它不报错，余弦一直来回摆；恰好相等时除以零或得到 NaN。
# - 它把边界那一步算在旧周期里；最后一个周期过后返回 None，接着 TypeError，所以人们在配置里写一个天文数字的周期长度。
# - 它的基类 `DDPM` 存下了 `scheduler_config`，`configure_optimizers` 却没有用它，学习率从不改变（`LatentDiffusion` 里才用）。
# - 我们的乘数是 Python 的浮点数，不是 NumPy 标量，所以存进检查点之后，`torch.load(weights_only=True)` 仍能读。
#
# </details>

# %% [markdown]
# ## 小结
#
# - **学习率为什么要变**：末尾降下来，是为了压住抖动。第 1 节的例子里，恒定的 0.1 停在 0.229，余弦降到 0 停在 0.060。开头升上去，是为了稳住头几步。小网络用学习率 0.03 时，没有热身的验证损失是 0.62，热身 20 步是 0.39；用 0.004 时，热身反而高 0.008。
# - **该怎样变**：步数定了，先热身，再沿余弦降到接近 0；步数没定，热身之后不变，靠 EMA 压抖动。
# - 真正的学习率是 `learning_rate` 乘以 $f(n)$。`lr_max`、`f_max` 都是乘数，本课程取 1.0。
# - 热身直线上升，衰减走余弦或直线，转折点在 $0$、$W$、$L$；多周期时，边界那一步算新周期的第 0 步。
# - `configure_optimizers` 按 `scheduler_config` 造出调度器。并写明 `interval="step"`，所以每个优化步更新一次；不写，Lightning 默认每轮一次。`ReduceLROnPlateau` 也是每轮一次。
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
