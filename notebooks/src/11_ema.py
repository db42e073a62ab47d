# %% [markdown]
# # 11 · 指数滑动平均：`LitEma`
#
# 训练结束时，我们手里有最后一步的权重。用它采样，量得的 Fréchet 距离平均是 178；换成最近几十步权重的平均，从同一份起点出发，降到 128。
# 没有多训练一步，也没有多看一张图。平均为什么有用，要平均多少步？平均的办法用错了，同一次训练又会画出一片噪声，这是怎么回事？
#
# **学习目标**
#
# - 写出 EMA 的更新式，说得出影子记得多久、能把抖动压低多少。
# - 明白热身公式，会照训练的步数选衰减。
# - 会用 `ema_scope` 换上影子采样，知道无论怎样退出，原来的权重都会恢复。
#
# **预计用时** 35 分钟。运行全部单元约 40 秒。

# %%
import math

import torch
from pytorch_lightning import Callback
from torch import nn

from ddpm_edu import DDPM, DigitsDataModule, LitEma
from ddpm_edu.configs.recipes import digits_model_config, toy_model_config
from ddpm_edu.ema import averaged_tensors
from ddpm_edu.teach import card, check, check_order, check_raises, curve_figure, grid_figure, show_source
from ddpm_edu.teach.panels import ema_panel
from ddpm_edu.teach.training import quiet_trainer

print("准备好了")

# %% [markdown]
# ## 1　先看样本
#
# 训练一个画 8×8 数字的小网络：每批 16 张，学习率一直是 0.004，不下降，走 500 步。
# 训练的同时，给权重留一份平滑的影子，这就是指数滑动平均 (exponential moving average, EMA)，模型自带，叫 `model_ema`。
# 为了对照，再跟一份设置得不好的影子，叫 `stuck`；错在哪里，第 4 节揭晓。

# %%
torch.manual_seed(5)
model = DDPM(**digits_model_config(learning_rate=4e-3, scheduler_config=None, ema_decay=0.99), seed=5)
stuck = LitEma(model.model, 0.9999, use_num_updates=False)


class Follow(Callback):
    def on_train_batch_end(self, trainer, model, *_):
        stuck(model.model)


trainer = quiet_trainer(max_steps=500, gradient_clip_val=1.0, callbacks=[Follow()])
trainer.fit(model, DigitsDataModule(batch_size=16, seed=5))

# %% [markdown]
# 三次采样的起点 $x_T$ 完全相同，只换权重。`with model.ema_scope():` 之内，网络用的是影子；离开之后，原来的权重自动恢复。

# %%
# NBVAL_IGNORE_OUTPUT
start = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def draw():
    images = model.eval().sample(10, sampler="ddim", steps=20, x_T=start, progress=False)
    return nn.functional.interpolate(images, size=32, mode="bicubic").clamp(-1, 1)


raw = draw()
with model.ema_scope():
    average = draw()
with model.ema_scope():
    stuck.copy_to(model.model)  # 借这个范围换上另一份，离开时一并恢复
    noise = draw()
grid_figure(torch.cat([raw, average, noise]), nrow=10, rows=["原权重", "影子", "影子 stuck"])

# %% [markdown]
# 图：每一列的起点相同，8×8 的样本放大到 32×32 显示。第一行有几个字的笔画断了，如第 3、7 列；第二行把缺口补上了不少；第 2 列却从 6 变成了 8：换了权重，同一个起点也可能走到另一个字。
# 这里选的是下面 8 个种子里差别最大的一个，换一个种子，前两行往往只差在笔画的浓淡。换一台机器，图也会略有出入。
# 第三行几乎还是噪声（只有第 8、10 列隐约有一竖）：可是 `stuck` 平均的，正是第一行那个网络一路走来的权重。
#
# 十张图说明不了多少，要量。我们事先用 8 个种子各训练一遍，每份权重用 DDIM 走 20 步画 250 张，与真图比 Fréchet 距离，越小越好（第 13 章讲它怎样算）：
#
# | 权重 | Fréchet 距离，平均 ± 标准误 |
# |---|---|
# | 原权重 | 178 ± 13 |
# | 影子 | 128 ± 7 |
# | `stuck` | 912 ± 11 |
#
# 逐个种子相减（先减再取整），影子低 51 ± 17。8 个种子里，6 个低 37 到 150，另两个几乎打平。
# 扩散模型的采样要连续调用同一个网络几十到上千次，权重的偏差在每一次调用里都起作用，还可能逐步累积，这也许是 EMA 在这里格外要紧的原因之一。

# %% [markdown]
# ## 2　一个算得清的例子
#
# 换一个答案已知的问题：用随机梯度下降求 $\tfrac12\theta^2$ 的最小值。真的梯度是 $\theta$，我们只看得到它加上一份噪声，就像只看一小批数据。
# 学习率固定为 0.1。每走一步，影子 $s$ 向权重 $\theta$ 靠近百分之一：$s\leftarrow s+0.01\,(\theta-s)$。一千次独立的试验，看各自离最小值有多远。

# %%
def noisy_descent(decay_at):
    """返回每一步的均方根误差：权重的，影子的"""
    generator = torch.Generator().manual_seed(2)
    theta, shadow, errors = torch.full((1000,), 3.0), torch.full((1000,), 3.0), []
    for n in range(1, 1001):
        theta = theta - 0.1 * (theta + torch.randn(1000, generator=generator))
        shadow = shadow + (1 - decay_at(n)) * (theta - shadow)
        errors.append((theta.square().mean().sqrt(), shadow.square().mean().sqrt()))
    return zip(*errors)


raw_error, fixed_error = noisy_descent(lambda n: 0.99)
print(f"后两百步，影子的误差是权重的 {sum(fixed_error[-200:]) / sum(raw_error[-200:]):.2f} 倍")
curve_figure(range(1, 1001), {"影子 $s_n$": fixed_error, r"权重 $\theta_n$": raw_error}, "步 $n$", "均方根误差", yscale="log")

# %% [markdown]
# 图：权重（橙色虚线）四十步就降到 0.23，此后一直抖，再也不降。影子（蓝线）最后只有 0.07，约为权重的十分之三；但它起步很慢，约 270 步之后才胜过权重。
# 这张图里有两件事要解释：为什么是十分之三（第 3 节），怎样治好起步慢（第 4 节）。

# %% [markdown]
# ## 3　影子记得多久，抖动压低多少
#
# 把百分之一写成 $1-d$，更新式就是
#
# $$s \leftarrow s + (1-d)(\theta - s) = d\,s + (1-d)\,\theta.$$
#
# $d$ 叫衰减 (decay)，接近 1。逐步展开：更新 $n$ 次之后，$k$ 步之前的权重在影子里占 $(1-d)d^k$，初值占 $d^n$，合起来是 1。
# 一个权重的占比减到一半要 $\ln 0.5/\ln d$ 步，这叫半衰期 (half-life)。

# %%
d, shadow = 0.9, 5.0
weights = torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
for theta in weights:
    shadow = shadow + (1 - d) * (theta - shadow)
share = (1 - d) * d ** torch.arange(19, -1, -1, dtype=torch.float64)
check("影子等于按占比的加权平均，初值 5 占 d²⁰", shadow, (share * weights).sum() + 5 * d**20, atol=1e-12)
check("初值的占比", d**20, 0.1216, atol=1e-4)
check("半衰期，单位是步", math.log(0.5) / math.log(d), 6.579, atol=1e-3)

# %% [markdown]
# **抖动压低多少。** 先设 $\theta$ 在中心附近独立地抖，方差为 1。各步的占比平方相加，就是影子的方差：
#
# $$\sum_{k\ge0}(1-d)^2d^{2k} = \frac{(1-d)^2}{1-d^2} = \frac{1-d}{1+d}.$$
#
# $d=0.99$ 时是 $1/199$，标准差降到十四分之一。第 2 节却只降到十分之三，因为那里的抖动前后相关：学习率 0.1 时，$\theta_n=0.9\,\theta_{n-1}+\text{噪声}$，相邻两步的抖动大多同号，平均时抵消得少。
# 一般地，设稳态时 $\theta$ 的方差为 1，相隔 $k$ 步的相关系数是 $\varphi^k$，$d$ 固定。对 $s_n=d\,s_{n-1}+(1-d)\theta_n$ 两边取方差：$V=d^2V+(1-d)^2+2d(1-d)C$，其中 $C=\mathrm{Cov}(s_{n-1},\theta_n)=\sum_{k\ge0}(1-d)d^k\varphi^{k+1}=\frac{(1-d)\varphi}{1-\varphi d}$。解得影子与权重的方差之比是
#
# $$\frac{1-d}{1+d}\cdot\frac{1+\varphi d}{1-\varphi d}.$$

# %%
d, phi = 0.99, 0.9  # phi 等于 1 减去学习率
check("独立的抖动：标准差之比", ((1 - d) / (1 + d)) ** 0.5, 0.0709, atol=1e-4)
ratio = ((1 - d) / (1 + d) * (1 + phi * d) / (1 - phi * d)) ** 0.5
check("前后相关：标准差之比，第 2 节量到 0.29", ratio, 0.2953, atol=1e-4)

# %% [markdown]
# **代价是落后。** 权重若从某一刻起不再变，影子的误差每步乘 $d$，$k$ 步之后是 $s_k-\theta=d^k(s_0-\theta)$。权重若一直匀速移动，影子最后落后 $d/(1-d)$ 步。
# $d$ 越接近 1，抖动压得越低，落后得也越多。

# %% [markdown]
# ## 4　热身公式
#
# 影子的初值是随机的初始权重。$d=0.9999$ 时，更新 1000 次之后，初值还占 $0.9999^{1000}\approx90\%$；第 1 节的 `stuck` 更新了 500 次，初值占 95%，所以画出来还是噪声。
#
# 起初没有多少权重可平均，就只该平均最近几步；走得越久，平均得越长。热身 (warm-up) 公式正是这样，$n$ 是更新的次数，从 1 数起：
#
# $$d_n = \min\!\left(d,\ \frac{1+n}{10+n}\right).$$
#
# 不到顶时 $1-d_n=\frac{9}{10+n}$，影子大约是最近 $\frac{10+n}{9}$ 步的平均，也就是已走步数的九分之一左右，直到升至 $d$ 为止。

# %%
show_source(LitEma.effective_decay,
            "def effective_decay")

# %% [markdown]
# - ① 返回第 $n$ 次更新真正用到的衰减；关掉热身就始终用 $d$。

# %%
ema_panel()

# %% [markdown]
# 图：左边是每一步向权重靠近的比例 $1-d_n$（蓝线）与设定的 $1-d$（黑点线），两轴都是对数刻度；热身时从 $9/11$ 逐步减小，不热身时一直是设定的值，两线重合；右边是一条从 1 走到 0、带着抖动的权重（橙色虚线）与它的影子（蓝线）。
# 静态图是 0.9999 关掉热身：两千步只走了不到两成，初值还占 82%。在面板里打开热身，影子就先跟得紧，再慢慢变稳。
#
# 热身期间，权重不变时误差也有闭式。每一步乘 $\frac{1+n}{10+n}$，连乘 $k$ 步，分子分母大半消去：
#
# $$s_k-\theta = (s_0-\theta)\prod_{n=1}^{k}\frac{1+n}{10+n} = (s_0-\theta)\,\frac{10!\,(k+1)!}{(k+10)!}.$$
#
# 只要 20 步，初值就只剩百万分之 0.7；不热身，20 步之后还剩 $0.9999^{20}=99.8\%$。

# %%
layer = nn.Linear(1, 1, bias=False).double()
nn.init.zeros_(layer.weight)
ema = LitEma(layer, 0.9999)
nn.init.ones_(layer.weight)
for _ in range(20):
    ema(layer)
closed = math.factorial(10) * math.factorial(21) / math.factorial(30)
check("20 次更新之后还剩的误差，与闭式相差不到 1e-12", 1 - ema.shadow["weight"].item(), closed, atol=1e-12)
print(f"闭式：{closed:.2e}；不热身：{0.9999**20:.4f}")

# %% [markdown]
# 回到第 2 节的例子，$d=0.99$，加上热身：

# %%
_, warm_error = noisy_descent(lambda n: min(0.99, (1 + n) / (10 + n)))
curves = {"影子，热身": warm_error, r"权重 $\theta_n$": raw_error, "影子，不热身": fixed_error}
figure = curve_figure(range(1, 1001), curves, "步 $n$", "均方根误差", yscale="log")
ax, plateau = figure.axes[0], (0.01 / 0.19) ** 0.5
for height in (plateau, plateau * ratio):
    ax.axhline(height, color="#999999", linewidth=0.8, zorder=0)
    ax.annotate(f"{height:.3f}", (1000, height), xytext=(0, 3), textcoords="offset points", color="#666666", ha="right", va="bottom")
ax.axvline(890, color="#999999", linewidth=0.8, zorder=0)
ax.annotate("热身到顶，$n=890$", (880, 1.2), color="#666666", ha="right")
figure

# %% [markdown]
# 图：灰横线是公式给出的稳态水平，权重 0.229，影子 0.068；灰竖线是热身到顶的第 890 步。
# 热身的影子三十几步就胜过权重，不热身的（黑点线）要约 270 步。约 380 步之后，不热身的反而略好：它已经平均了最近一百步，热身的那一份还没到。
# 两者最后同到 0.068。

# %% [markdown]
# **怎样选 $d$。** 热身到顶约要 $9/(1-d)$ 次更新。想让设定的 $d$ 真正用上，训练的步数 $N$ 要超过它，即 $1-d\ge 9/(N+10)$：一千步用 0.99，一万步用 0.999。更大的 $d$ 不会出错，只是由热身公式作主。下表中间三列的单位都是更新的次数：
#
# | $d$ | 半衰期 | 匀速移动时落后 | 热身到顶 | 本课程里用它的训练 |
# |---|---|---|---|---|
# | 0.9 | 6.6 | 9 | 80 | 没有，只宜几百步以内 |
# | 0.99 | 69 | 99 | 890 | digits.yaml 的 1000 步；第 1 节的 500 步与 mnist-quick.yaml 的 375 步都没有到顶 |
# | 0.999 | 693 | 999 | 8990 | mnist.yaml 的 2 万步、cifar10-laptop.yaml 的 1 万步 |
# | 0.9999 | 6931 | 9999 | 89990 | cifar10.yaml 的 80 万步；也是 `DDPM` 的默认值 |
#
# 热身到顶的次数由 $\frac{1+n}{10+n}\ge d$ 解出，$n\ge\frac{10d-1}{1-d}$。训练比它短，设定的 $d$ 就从未用上，起作用的全是热身公式。

# %%
card("ema_decay")
toy = DDPM(**toy_model_config(ema_decay=0.9999))
used = toy.model_ema.effective_decay(1000)
check("第 1000 次更新用到的衰减，即 1001/1010", used, 1001 / 1010)
check_order("它还没有升到设定的 0.9999", used, 0.9999, digits=4)

# %% [markdown]
# ## 5　`LitEma` 的源码

# %%
show_source(LitEma.__init__,
            "def __init__", "# 放进张量会舍入", "self.register_buffer", "# 不求梯度的")

# %% [markdown]
# - ① 衰减默认 0.9999，默认用热身公式。
# - ② 衰减是 Python 的浮点数，不放进张量。
# - ③ 更新的次数存进检查点；`_backups` 是一个栈，`ema_scope` 靠它留住原来的权重。
# - ④ 影子以此刻的权重为初值，精度至少 float32。

# %% [markdown]
# 衰减为什么不放进张量？float32 的 0.9999 存不准，$1-d$ 偏大万分之 1.7。float16 的 0.9999 干脆等于 1：关掉热身，影子永远不动；开着热身，影子会动，但上限成了 1，热身永远不到顶。

# %%
half, single = torch.tensor(0.9999, dtype=torch.float16), torch.tensor(0.9999, dtype=torch.float32)
check("float16：1 - d 等于 0", 1 - half.double(), 0.0)
check("float32：1 - d 偏大的比例", (1 - single.double()) / 1e-4 - 1, 1.66e-4, atol=1e-6)

# %%
show_source(averaged_tensors,
            "def averaged_tensors", "named = [")

# %% [markdown]
# - ① 浮点的参数和缓冲区都要平均，BatchNorm 的均值与方差也算。参数名里不许有点，所以换成斜杠；若直接删掉，`a.b` 与 `ab` 就成了同一个名字。
# - ② 冻结的也在内，以后解冻时，影子已经在那里。`torch.compile` 加的前缀先去掉。

# %%
show_source(LitEma.forward,
            "@torch.no_grad()", "live, shadow = self._pairs(model)", "torch._foreach_lerp_")

# %% [markdown]
# - ① 每更新一次影子，先数一次，所以 $n$ 从 1 开始。计数有两份：张量的那份存进检查点；Python 的那份用来计算，不必每步从 GPU 取数，续训读检查点时，由张量的那份恢复。
# - ② `_pairs` 按名字把网络与影子逐个配对；精度或设备不同，就先把权重转换成影子的样子，再平均。
# - ③ `lerp` 是线性插值，$s + (1-d)(\theta-s)$。一次调用就更新全部张量。

# %% [markdown]
# 精度不同时容易写错。若反过来，用 `type_as` 转换影子，得到的是一份副本，更新写进副本就丢了，影子从此不动，也不报错：

# %%
weight, shadow = torch.ones(1), torch.zeros(1, dtype=torch.float64)
shadow.type_as(weight).lerp_(weight, 0.5)
print("转换影子再更新，影子还是", shadow.item())
shadow.lerp_(weight.to(shadow), 0.5)
print("转换权重再更新，影子变成", shadow.item())

# %% [markdown]
# ## 6　权重更新一次，影子才更新一次
#
# 梯度累积 (gradient accumulation) 时，几批数据才更新一次权重，影子应当跟着权重走。
# 若每批之后都更新影子，累积 4 批时，4 次里有 3 次权重根本没动：同一份权重被平均进去 4 次。到顶之后，按权重的步数算，半衰期缩成四分之一，平均得太短；到顶之前，窗口总是已走步数的九分之一左右，几乎看不出差别。所以短训练测不出这个错，长训练才吃亏，而且始终不报错。

# %%
show_source(DDPM.optimizer_step,
            "def optimizer_step", "# 权重真的更新了才走一格")

# %% [markdown]
# - ① Lightning 在该更新权重时才调用它，梯度累积到一半时不会。
# - ② 优化器每真正更新一次权重，就触发 `_tick_ema`，由它更新影子。半精度训练时，`GradScaler` 见到梯度溢出会跳过这一步，权重没有动，影子也不动。

# %%
card("use_ema")
torch.manual_seed(0)
toy = DDPM(**toy_model_config(use_ema=True))
quiet_trainer(max_steps=5, accumulate_grad_batches=4).fit(toy, DigitsDataModule(batch_size=16))
check("20 批数据，权重更新 5 次，影子更新的次数", int(toy.model_ema.num_updates), 5)
check("use_ema=False 就没有影子", hasattr(DDPM(**toy_model_config(use_ema=False)), "model_ema"), False)

# %% [markdown]
# ## 7　`ema_scope`：换上影子，再换回来
#
# 第 1 节已经用过它。里面有三个动作：`store` 存一份原来的权重，`copy_to` 把影子抄进网络，`restore` 把存下的抄回来。

# %%
show_source(DDPM.ema_scope,
            "@contextlib.contextmanager", "depth =", "self.model_ema.store(self.model)", "finally:")

# %% [markdown]
# - ① 用 `with` 语句：进入时换上影子，离开时换回权重。没有 EMA 就什么也不做。
# - ② 记下进来时栈有多深。
# - ③ 存与抄都在 `try` 里面，抄到一半出错，权重也会恢复。
# - ④ 无论怎样退出（正常、异常、按了停止），只要存过就取回。

# %%
raw = [p.clone() for p in toy.model.parameters()]


def unchanged():
    return all(torch.equal(a, b) for a, b in zip(raw, toy.model.parameters()))


with toy.ema_scope():
    check("范围之内，网络用的是影子", unchanged(), False)
    with toy.ema_scope():
        pass
check("嵌套之后，权重恢复了", unchanged(), True)
try:
    with toy.ema_scope():
        raise KeyboardInterrupt
except KeyboardInterrupt:
    check("按了停止，权重也恢复了", unchanged(), True)

# %% [markdown]
# ## 8　附：存与取的源码（第一遍可以跳过）

# %%
show_source(LitEma.copy_to,
            "@torch.no_grad()")

# %% [markdown]
# - ① 把影子抄进网络，网络原来的权重就没了，所以先要 `store`。

# %%
show_source(LitEma.store,
            "@torch.no_grad()", "self._backups.append")

# %% [markdown]
# - ① 可以存一个模块，也可以存一串参数。
# - ② 压进栈里，所以能嵌套。

# %%
show_source(LitEma.restore,
            "@torch.no_grad()", "if not self._backups:", "for parameter, backup")

# %% [markdown]
# - ① 取回最近一次存的。
# - ② 没存过就取，当场报错；给的不是当初存的那些张量，也报错，存下的那一份还在。
# - ③ 逐个抄回，备份随即释放。

# %%
check_raises("没存过就取", lambda: LitEma(nn.Linear(1, 1)).restore(nn.Linear(1, 1)), "store")

# %% [markdown]
# <details><summary>与参考实现的差别</summary>
#
# - 参考实现直接删掉名字里的点，`a.b` 与 `ab` 相撞（第 5 节）。
# - 精度不同时，参考实现用 `type_as` 转换影子，更新写进副本，影子不动（第 5 节）。
# - 参考实现在每批之后更新影子，不管权重有没有更新（第 6 节）。
# - 参考实现的 `store` 只有一个位置，嵌套一次，训练的权重就永远丢了；备份取回之后仍占着内存；`ema_scope` 的存与抄在 `try` 外面，抄到一半出错，权重就恢复不了。
# - 参考实现的 `store` 只收一串参数；这里模块也收。
#
# </details>

# %% [markdown]
# ## 小结
#
# - 平均有没有用？有。学习率不下降的 500 步训练之后，8 个种子平均，原权重的 Fréchet 距离是 178，影子是 128。算得清的例子里，影子的误差是权重的十分之三。
# - 影子是从前所有权重的加权平均：$k$ 步之前的占 $(1-d)d^k$，初值占 $d^n$，半衰期是 $\ln0.5/\ln d$。抖动独立时，方差降到原来的 $\frac{1-d}{1+d}$；前后相关时，降得少些。
# - 热身公式让影子平均最近九分之一左右的步数，尽快忘掉初值。训练不到 $\frac{10d-1}{1-d}$ 步，设定的 $d$ 就没有用上；0.9999 又关掉热身，500 步的影子画出来还是噪声。
# - 权重更新一次，影子才更新一次。衰减用 Python 浮点数，影子至少 float32。
# - 采样时写 `with model.ema_scope():`，无论怎样退出，原来的权重都会恢复。
#
# 学习率逐渐降到 0，也能压低抖动，两者常常一起用；第 12 章讲学习率。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 11.1　更新一次影子 ★
#
# `shadow` 与 `theta` 是形状相同的张量，`decay` 是设定的衰减，`n` 是这一次更新的序号，从 1 数起。照第 3 节与第 4 节的公式，返回更新之后的影子，不改动传进来的张量。

# %%
def ema_step(shadow, theta, decay, n):
    # 答案
    d = min(decay, (1 + n) / (10 + n))
    return shadow + (1 - d) * (theta - shadow)
    # 答案完


grade("11.1", ema_step)

# %% [markdown]
# ### 11.2　谁占多少 ★★
#
# 热身期间，每一次更新的衰减都不同。`decays` 是 $(N,)$ 的张量，依次是第 1 到第 $N$ 次更新用到的衰减 $d_n$。
# 返回 $(N+1,)$ 的张量：影子的初值、第 1 个权重……第 $N$ 个权重，各在最终的影子里占几成。
# 做对之后，用热身公式的 $d_n$ 画出来：走 1000 步，占比最大的是哪一段？

# %%
def shares(decays):
    # 答案
    one = torch.ones(1, dtype=decays.dtype)
    after = torch.cat([decays.flip(0).cumprod(0).flip(0), one])
    return torch.cat([one, 1 - decays]) * after
    # 答案完


grade("11.2", shares)

# %% [markdown]
# ### 11.3　对调 ★★★
#
# `model` 与 `shadow` 是结构相同的两个网络。就地对调它们的权重（参数与浮点的缓冲区都要换），返回 `(model, shadow)`。
# 对调之后优化器还要能接着训练 `model`，两边也不能共用存储。

# %%
def swap(model, shadow):
    # 答案
    for a, b in zip(model.state_dict().values(), shadow.state_dict().values()):
        kept = a.clone()
        a.copy_(b)
        b.copy_(kept)
    return model, shadow
    # 答案完


grade("11.3", swap)

# %% [markdown]
# ### 11.4　一批变成四倍的图 ★★
#
# 一次训练每批 64 张图，关掉热身，$d=0.9999$。现在每批改成 256 张，步数减到四分之一，看过的图总数不变。
# 要让影子在看过同样多的图之后，把初值忘掉同样多，衰减应当改成多少？请给出至少六位小数，也可以写成算式。

# %%
grade("11.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 11.5　哪一个不是病因 ★★★
#
# 训练损失一路下降，用训练的权重采样也好，换上 EMA 采出来的却还是噪声。下面哪一种错**不会**造成这种症状？
#
# - A：`ema_decay=0.9999`，关掉热身，只训练了一千步。
# - B：影子与衰减都放在 float16 的张量里，衰减 0.9999，关掉热身。
# - C：网络是 bfloat16，影子是 float32，更新时用 `type_as` 转换影子。
# - D：梯度累积 4 批，影子却每批都更新一次，热身开着。

# %%
grade("11.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
