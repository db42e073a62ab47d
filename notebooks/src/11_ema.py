# %% [markdown]
# # 11 · 指数滑动平均：`LitEma`
#
# 训练结束时，我们手里有最后一步的权重。用它画数字，量与真图的 Fréchet 距离（越小越像），八次训练平均是 178 ± 13（± 后面是标准误）。换成最近几十步权重的平均，采样的起点噪声不变，距离降到 128 ± 7。没有多训练一步，也没有多看一张图。
#
# 平均为什么有用？要平均多少步？平均的办法用错了，同一次训练画出来的却是一片噪声，这又是为什么？
#
# **学习目标**
#
# - 写出 EMA 的更新式，说得出影子记得多久、能把抖动压低多少。
# - 明白平均太短与太长各有什么坏处，会替一次训练选衰减。
# - 会用 `ema_scope` 换上影子采样，知道离开时怎样换回原来的权重。
#
# **预计用时** 35 分钟。运行全部单元约一分钟。

# %%
import math

import torch
from pytorch_lightning.callbacks import LambdaCallback
from torch import nn

from ddpm_edu import DDPM, DigitsDataModule, LitEma
from ddpm_edu.configs.recipes import digits_model_config, toy_model_config
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.teach import card, check, curve_figure, grid_figure, show_source
from ddpm_edu.teach.ema_figures import lengths_figure, line_figure, pairs_figure, valleys_figure
from ddpm_edu.teach.panels import ema_panel
from ddpm_edu.teach.training import quiet_trainer

print("准备好了")

# %% [markdown]
# ## 1　先看样本
#
# 训练一个画 8×8 数字的小网络：每批 16 张，学习率一直是 0.004。批小，学习率又不下降，权重就抖得厉害。
#
# 训练的同时，给权重留一份平滑的影子，这就是指数滑动平均 (exponential moving average, EMA)。模型自带一份，叫 `model_ema`。另跟一份设置得不好的，叫 `stuck`，错在哪里，第 4 节揭晓。
#
# 本章说的一步，都是权重更新一次。这里走 500 步。

# %%
def train(seed, *makers, steps=500):
    torch.manual_seed(seed)
    model = DDPM(**digits_model_config(learning_rate=4e-3, scheduler_config=None, ema_decay=0.99), seed=seed)
    shadows = [make(model.model) for make in makers]
    # 每批之后，也更新这几份影子；这里一批就更新一次权重
    follow = LambdaCallback(on_train_batch_end=lambda *_: [shadow(model.model) for shadow in shadows])
    trainer = quiet_trainer(max_steps=steps, gradient_clip_val=1.0, callbacks=[follow])
    trainer.fit(model, DigitsDataModule(batch_size=16, seed=seed))
    return model.eval(), *shadows


model, stuck = train(5, lambda network: LitEma(network, 0.9999, use_num_updates=False))

# %% [markdown]
# 接着采样，起点 $x_T$ 都相同，只换权重。在 `with model.ema_scope():` 之内，网络用的是影子；离开之后，原来的权重自动恢复。先猜一猜：影子里混着还没训练好的权重，画出来的字会更好，还是更模糊？

# %%
# NBVAL_IGNORE_OUTPUT
def draw(model, start):
    return model.sample(len(start), sampler="ddim", steps=20, x_T=start, progress=False)


start = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(5))
raw = draw(model, start)
with model.ema_scope():
    average = draw(model, start)
with model.ema_scope():
    stuck.copy_to(model.model)  # 借这个范围换上另一份，离开时一并恢复
    noise = draw(model, start)
real = load_digits_split()["val"][0]
images = nn.functional.interpolate(torch.cat([raw, average, noise, start, real[:10]]), size=32, mode="bicubic").clamp(-1, 1)
grid_figure(images, 10, rows=["原权重", "影子", "stuck", "起点", "真图"])

# %% [markdown]
# 图：前两份权重画出了笔画，`stuck` 画出来却与起点的花纹大体一样。前四行每一列的起点相同，末行是留出的真图，供对照；8×8 的图放大到 32×32 显示。换一台机器，图会略有出入。
#
# 原权重与影子有几列明显不同，谁画得好，却要量。种子 0 到 7 各训练一遍，影子平均的约是最近 57 步。上图是种子 5，八次里两者差得最多的一次。
#
# 每份权重画 250 张，与留出的 500 张真图比 Fréchet 距离。下面的数是事先量好的，程序是章末小实验里的 `measure`，步数改成 500：

# %%
raw_distance = torch.tensor([126.0, 200.8, 180.8, 183.8, 140.6, 251.6, 172.7, 170.3])
shadow_distance = torch.tensor([129.4, 163.9, 132.1, 126.3, 139.7, 101.7, 104.0, 123.0])
pairs_figure({"原权重": raw_distance, "影子": shadow_distance}, "Fréchet 距离", "250 张训练用的真图", 22)

# %% [markdown]
# 图：八次里，影子六次明显下降，一次持平，一次略升。灰线连的是同一次训练；方块与误差棒是平均与标准误。点划线是 250 张训练用的真图量出的距离：张数少，真图自己也量不出 0。
#
# 逐个种子相减，影子平均低 51 ± 17。

# %% [markdown]
# ## 2　平均为什么有用
#
# 训练的每一步都随机抽图、步号与噪声，所以同一份权重，两次算出的梯度也不同。学习率不降，权重到最后还在抖。平均就是要压住这种抖动。
#
# 可是网络不是线性的，把 40 万个权重逐个平均，凭什么还是一个好网络？从最后一步的权重 $\theta$ 到影子 $s$ 连一条直线，沿线取权重，用留出的图算损失。先猜：走到影子，损失是升还是降？越过影子再往前呢？

# %%
# NBVAL_IGNORE_OUTPUT
def flat(model):
    return nn.utils.parameters_to_vector(model.model.parameters()).detach()


digits = real.repeat(2, 1, 1, 1)
theta, places, losses = flat(model), torch.linspace(-1, 3, 9), []
with torch.no_grad(), model.ema_scope():  # 离开时恢复原来的权重
    s = flat(model)
    for place in places:
        nn.utils.vector_to_parameters(theta + place * (s - theta), model.model.parameters())
        losses.append(float(model(digits, generator=torch.Generator().manual_seed(0))[0]))  # 每一处的步号与噪声都相同
check("直线的长度，不到权重长度的两成", bool((s - theta).norm() < 0.2 * theta.norm()), True)
line_figure(places, losses)

# %% [markdown]
# 图：影子在谷底附近：走到影子，损失降了，再往前又升。换一台机器，图会略有出入。
#
# 道理分两步。第一，平均**输出**：损失是平方误差，是输出的凸函数，所以平均输出的损失，不会高过各份损失的平均。
#
# 第二，平均**权重**近似平均输出：上面那条直线不长，权重离得近，网络的输出就近似是权重的线性函数。
#
# 近似够不够用，要量。八个种子各走 500 步，从第 455 步起，隔 5 步留一份权重，共十份：
#
# | 怎样预测 | 留出的图上的损失 |
# |:--|--:|
# | 十份权重，各自的损失再平均 | 0.349 ± 0.001 |
# | 十个网络，输出求平均 | 0.332 ± 0.001 |
# | 十份权重求平均，一个网络 | 0.331 ± 0.001 |
#
# 第二行低于第一行，这是凸函数的缘故；第三行与第二行几乎一样，平均权重差不多就是平均输出。这里量的是损失；画得好不好不由它单独决定，所以第 1 节另量了 Fréchet 距离。
#
# <details><summary>量这张表的程序</summary>
#
# ```python
# from collections import deque
#
#
# def ten(seed):
#     """→ 三行的损失"""
#     kept, outputs, losses = deque(maxlen=46), [], []  # 留住第 455 到 500 步
#     keep = lambda network: kept.append(nn.utils.parameters_to_vector(network.parameters()).detach().clone())
#     model, _ = train(seed, lambda network: keep)
#
#     def loss(hook):
#         handle = model.model.register_forward_hook(hook)
#         found = model(digits, generator=torch.Generator().manual_seed(0))[0]
#         handle.remove()
#         return found
#
#     with torch.no_grad():
#         weights = list(kept)[::5]
#         for one in [*weights, sum(weights) / 10]:
#             nn.utils.vector_to_parameters(one, model.model.parameters())
#             losses.append(loss(lambda *call: outputs.append(call[-1])))
#         mean = sum(outputs[:10]) / 10
#         return sum(losses[:10]) / 10, loss(lambda *call: mean), losses[10]
# ```
#
# </details>
#
# ### 一个算得清的例子
#
# 谷既然像抛物线，就取最简单的一条：用随机梯度下降求 $\tfrac12\theta^2$ 的最小值点。真的梯度是 $\theta$，我们只看得到它加上一份噪声。学习率固定为 0.1。每走一步，影子 $s$ 向权重 $\theta$ 靠近百分之一：$s\leftarrow s+0.01\,(\theta-s)$。独立地试一万次，先看其中一次。

# %%
def noisy_descent(decay_at):
    """试一万次，各走一千步 → 每一步的：权重与影子的均方根误差，第一次试验的权重与影子"""
    generator = torch.Generator().manual_seed(2)
    theta, shadow, path = torch.full((10_000,), 3.0), torch.full((10_000,), 3.0), []
    for n in range(1, 1001):
        theta = theta - 0.1 * (theta + torch.randn(10_000, generator=generator))
        shadow = shadow + (1 - decay_at(n)) * (theta - shadow)
        path.append([theta.square().mean().sqrt(), shadow.square().mean().sqrt(), theta[0], shadow[0]])
    return torch.tensor(path).T


raw_error, fixed_error, theta, shadow = noisy_descent(lambda n: 0.99)
print(f"后两百步，影子的均方根误差是权重的 {fixed_error[-200:].mean() / raw_error[-200:].mean():.2f} 倍")
curve_figure(range(1, 601), {"影子 $s_n$": shadow[:600], r"权重 $\theta_n$": theta[:600]}, "步 $n$", r"$\theta_n$ 与 $s_n$（最小值在 0）")

# %% [markdown]
# 图：影子抖得少，却到得晚。这是一次试验的前 600 步：权重（橙色虚线）约四十步就走到 0，此后一直抖；影子（蓝线）三百步之后才到，到了却几乎不抖。
#
# 一万次试验合起来，影子最后的均方根误差是权重的十分之三，为什么，见第 3 节；起步慢怎样治，见第 4 节。

# %% [markdown]
# ## 3　影子记得多久，抖动压低多少
#
# 把百分之一写成 $1-d$，更新式就是
#
# $$s \leftarrow s + (1-d)(\theta - s) = d\,s + (1-d)\,\theta.$$
#
# $d$ 叫衰减 (decay)，接近 1。逐步展开，更新 $n$ 次之后
#
# $$s_n = (1-d)\,\theta_n + (1-d)d\,\theta_{n-1} + \cdots + (1-d)d^{n-1}\,\theta_1 + d^n s_0.$$
#
# $k$ 步之前的权重占 $(1-d)d^k$，初值占 $d^n$，合起来是 1。下文说“平均最近多少步”，都指 $1/(1-d)$：$d=0.99$ 时是 100 步，这 100 步合起来约占六成三。
#
# ### 抖动压低多少
#
# 把 $\theta_n$ 的期望叫作中心，权重在它两边抖。先设各步的抖动彼此独立，方差为 1，中心不动。因为独立，影子的方差就是各步占比的平方和：
#
# $$\sum_{k\ge0}(1-d)^2d^{2k} = \frac{(1-d)^2}{1-d^2} = \frac{1-d}{1+d}.$$
#
# $d=0.99$ 时是 $1/199$，比 100 步等权平均（$1/100$）还低，因为更早的权重也各占一点。
#
# 这样算，标准差应降到十四分之一。第 2 节却只降到十分之三，因为那里的抖动前后相关：学习率 0.1 时，$\theta_n=0.9\,\theta_{n-1}+\text{噪声}$，相邻几步大多偏在同一边，平均时就抵消得少。
#
# 把相关也算进去。设走得够久，方差不再变，这叫稳态；这时相隔 $k$ 步的 $\theta$，相关系数是 $\varphi^k$，第 2 节的 $\varphi$ 是 0.9。影子与权重的方差之比 $V$ 就是
#
# $$V = \frac{1-d}{1+d}\cdot\frac{1+\varphi d}{1-\varphi d}.$$
#
# $\varphi=0$ 时回到独立的情形。$\varphi$ 趋于 1 时 $V$ 趋于 1：抖动记得比平均的长度还久，平均就没有用。
#
# <details><summary>这个式子怎样得来</summary>
#
# 把 $\theta$ 的方差当作 1。对 $s_n=d\,s_{n-1}+(1-d)\theta_n$ 两边取方差，$C$ 是 $s_{n-1}$ 与 $\theta_n$ 的协方差，就是 $V = d^2V + (1-d)^2 + 2d(1-d)\,C$。
# $s_{n-1}$ 里占 $(1-d)d^k$ 的是 $\theta_{n-1-k}$，它离 $\theta_n$ 有 $k+1$ 步，所以 $C = \sum_{k\ge0}(1-d)d^k\varphi^{k+1} = \frac{(1-d)\varphi}{1-\varphi d}$，代回去就得到 $V$。
#
# </details>

# %%
def shrink(d, phi):
    """影子与权重的方差之比；第 2 节的 phi 等于 1 减去学习率"""
    return (1 - d) / (1 + d) * (1 + phi * d) / (1 - phi * d)


check("独立的抖动：标准差之比", shrink(0.99, 0) ** 0.5, 0.0709, atol=1e-4)
check("前后相关：标准差之比，第 2 节量到 0.30", shrink(0.99, 0.9) ** 0.5, 0.2953, atol=1e-4)

# %% [markdown]
# ### 代价是落后
#
# 上面的中心不动，平均得越长越好。可是训练还没有走到谷底时，中心一直在往那边移动，影子就落在后面：匀速移动时，影子最终落后 $d/(1-d)$ 步，因为影子里的权重，平均正是这么多步之前的。
#
# 把两样合起来，误差取影子离此刻的中心多远。抖动照第 2 节，中心不动，或者每步移动万分之一、千分之一。先猜：平均最近多少步最好？

# %%
window = torch.logspace(0, 4, 400, dtype=torch.float64)  # 平均最近多少步，1/(1-d)
d, variance = 1 - 1 / window, 0.01 / 0.19  # 第 2 节里权重的方差：V = 0.81V + 0.01
error = {speed: (variance * shrink(d, 0.9) + (speed * d / (1 - d)) ** 2).sqrt() for speed in (1e-4, 1e-3, 0)}
curves = {"每步移动 $10^{-4}$": error[1e-4], "权重本身，不平均": torch.full((400,), variance**0.5),
          "每步移动 $10^{-3}$": error[1e-3], "不移动": error[0]}
valleys_figure(window, curves, [error[1e-4], error[1e-3]])

# %% [markdown]
# 图：平均太短与太长都不好。两轴都是对数，圆圈是谷底。平均太短，抖动压不下去；平均太长，落后太多，比权重本身（橙色虚线）还差。中心走得越快，谷底越靠左；中心不动（灰色点划线），就没有谷底。

# %% [markdown]
# ## 4　热身公式
#
# `stuck` 为什么卡住？影子的初值是随机的初始权重。$d=0.9999$ 时，更新 500 次之后，初值还占 $0.9999^{500}\approx95\%$，所以它差不多还是没有训练过的网络。
#
# 没有训练过的网络，输出层是 0，预测的 $v$ 就是 0。这时猜的 $\hat x_0$ 与 $x_t$ 同号（超出 ±1 就截住），猜的噪声也同号，所以每一步正负不变。起点的花纹就大体留到了最后。
#
# 把 $d$ 取小，初值忘得快，可是后来也只能平均很短一段。不如让 $d$ 跟着训练变：起初平均得短，忘掉初值；走得远了再平均得长，压低抖动。热身 (warm-up) 公式正是这样，$n$ 是更新的次数，从 1 数起：
#
# $$d_n = \min\!\left(d,\ \frac{1+n}{10+n}\right).$$
#
# 还没升到 $d$ 的时候，$1-d_n=\frac{9}{10+n}$，影子大约是最近 $\frac{10+n}{9}$ 步的平均，也就是已走步数的九分之一。初值也忘得快：更新 20 次之后，只剩不到百万分之一。代码里的开关叫 `use_num_updates`，默认开着，`stuck` 关掉了它。

# %%
show_source(LitEma.effective_decay,
            "def effective_decay")

# %% [markdown]
# - ① 返回第 $n$ 次更新真正用到的衰减；关掉热身就始终用 $d$。

# %%
card("ema_decay")
check("第 1000 次更新用到的衰减", DDPM(**toy_model_config(ema_decay=0.9999)).model_ema.effective_decay(1000), 1001 / 1010)
ema_panel()

# %% [markdown]
# 面板：热身让影子起步快，后来又平。左边是每一步向权重靠近的比例，两轴都是对数；右边是一条从 1 走到 0 的抖动的权重（橙色虚线，每 10 步画一点）与它的影子。蓝线照开关的设置，黑点线是不热身的那一份。没有运行时有两排，都开着热身。运行时另写出半衰期 (half-life)：占比减到一半的步数，$\ln 0.5/\ln d$。
#
# - 上面一排，$d=0.9999$：不热身的走了两千步，才走完不到两成。
# - 下面一排，$d=0.9$：第 80 步就到顶，此后只平均最近 10 步，所以一直在抖；右图里，不热身的那一份与它重合。

# %% [markdown]
# ## 5　九分之一是不是最好
#
# 热身公式里的 1 与 10 是沿用下来的约定，没有推导。把 10 换成 $c$，影子就约是最近 $\frac{n}{c-1}$ 步的平均：$c=10$ 平均已走步数的九分之一；$c$ 越小，平均得越长，$c=2$ 就是平均全部。
#
# 先猜：第 2 节的例子与第 1 节的网络，最好的 $c$ 会是同一个吗？网络的数也是事先量好的，一行一个 $c$，一列一个种子：

# %%
distance = torch.tensor([
    [170.3, 187.1, 184.8, 180.9, 178.0, 170.2, 159.2, 163.9], [150.9, 170.7, 156.0, 152.9, 158.0, 127.2, 125.6, 137.8],
    [138.5, 163.4, 140.2, 133.9, 146.9, 106.9, 108.9, 123.6], shadow_distance.tolist(),
    [120.1, 169.7, 130.6, 138.0, 127.2, 122.8, 118.2, 128.4], [112.8, 171.6, 146.1, 162.4, 120.4, 169.6, 152.6, 142.8]])
tens = (2, 3, 5, 10, 30, 100)
more = (2, 2.5, *tens[1:])  # 例子多算一处，看清谷底
found = [float(noisy_descent(lambda n: (1 + n) / (c + n))[1][-1]) for c in more]
network = (distance - shadow_distance).T, raw_distance - shadow_distance
lengths_figure(tens, 10, ("第 2 节的例子", "均方根误差", "log", more, [found], [raw_error[-1]]),
               ("第 1 节的网络", "Fréchet 距离，减去 $c=10$ 的", "linear", tens, *network))

# %% [markdown]
# 图：最好的长度因训练而异。越往右平均得越长；灰竖线是热身公式的九分之一，空心圆圈是量过的几处里最低的。左边走 1000 步，纵轴是对数；右边走 500 步，纵轴高于 0，就是比热身公式差。
#
# 例子的谷底在二分之一与全部之间：它的权重约四十步就走到了，此后中心不动，所以平均得长才好。
# 网络平均得比九分之一长，就变差：四分之一高 5.3 ± 1.2，全部平均高 47 ± 5；往短里走，二十九分之一高 4 ± 4，分不出高下；九十九分之一高 20 ± 11，也还不能断定。
#
# ### $d$ 怎样选
#
# 开着热身，$d$ 只是上限，由 $\frac{1+n}{10+n}\ge d$ 解出，更新 $n\ge\frac{10d-1}{1-d}$ 次才碰得到它。
#
# 1. 没有量过，就留着默认的 0.9999。训练不到 89 990 步，影子就一直是最近九分之一的平均。
# 2. 想平均得短些，用 $d$ 封顶：最多平均最近 100 步，就取 $1-\frac1{100}=0.99$。
# 3. 想平均得长些，$d$ 再大也没有用，要把公式里的 10 改小，章末小实验的 `warm_with` 就是这样。

# %% [markdown]
# ## 6　`LitEma` 的源码

# %%
show_source(LitEma.__init__,
            "def __init__", "self.register_buffer", "# 不求梯度的")

# %% [markdown]
# - ① 衰减是 Python 的浮点数，不放进张量。
# - ② 更新的次数存进检查点；`_backups` 是一个栈，`ema_scope` 靠它留住原来的权重。
# - ③ 影子以此刻的权重为初值，精度至少 float32，不求梯度。
#
# 衰减为什么不放进张量？因为 float16 的 0.9999 就等于 1，$1-d$ 等于 0，关掉热身，影子永远不动。
#
# 影子为什么至少 float32？因为它每步只挪一点点，而在 1 附近，float16 相邻的两个数约隔千分之一，挪得太少就被舍入掉了。下面让影子从 1 走向 1.1，走 1000 步，应到 $1+0.1\,(1-0.9999^{1000})=1.0095$：

# %%
for name in ("float32", "float16", "bfloat16"):
    shadow = torch.ones(1, dtype=getattr(torch, name))
    for _ in range(1000):
        shadow.lerp_(torch.full_like(shadow, 1.1), 1e-4)
    print(f"影子是 {name}：从 1 走到 {shadow.item():.4f}")

# %%
show_source(LitEma.forward,
            "@torch.no_grad()", "live, shadow = self._pairs(model)", "torch._foreach_lerp_")

# %% [markdown]
# - ① 先数一次，所以 $n$ 从 1 开始。
# - ② 按名字把网络与影子逐个配对；精度或设备不同，就把权重转换成影子的样子；若反过来转换影子，更新就写进了副本，影子不动。
# - ③ `lerp` 是线性插值，$s + (1-d)(\theta-s)$。

# %% [markdown]
# ## 7　权重更新一次，影子才更新一次
#
# 梯度累积 (gradient accumulation) 时，几批数据才更新一次权重，影子应当跟着权重走。若每批之后都更新影子，累积 4 批时，同一份权重就被平均进去 4 次。坏处要到 $d_n$ 碰到上限才有：
#
# - 热身期间看不出差别：序号快四倍，每次靠近的比例就约是四分之一，四次合起来，仍是最近九分之一。
# - 碰到上限之后，四次乘成 $d^4$，$d=0.99$ 时能平均的步数就从 100 降到约 25。
#
# 还是第 2 节的例子，加上热身，权重走 1000 步，影子每步更新一次，或者四次。第 $n$ 步的四次更新，序号是 $4n-3$ 到 $4n$，旧的影子乘了四个衰减：

# %%
def late(d, times):
    """权重每走一步，影子更新 times 次 → 后两百步，影子的误差是权重的几倍"""
    def decay_at(n):
        return math.prod(min(d, (1 + k) / (10 + k)) for k in range(times * (n - 1) + 1, times * n + 1))

    return float(noisy_descent(decay_at)[1][-200:].mean() / raw_error[-200:].mean())


for d in (0.99, 0.9999):
    print(f"d = {d}：更新一次，误差是权重的 {late(d, 1):.2f} 倍；更新四次，{late(d, 4):.2f} 倍")

# %% [markdown]
# $d=0.99$ 时，更新四次的那一份抖得多；换成默认的 0.9999，这一千步里两份几乎一样。所以本课程让影子跟着优化器走：

# %%
show_source(DDPM.optimizer_step,
            "def optimizer_step", "# 权重真的更新了，影子才更新")

# %% [markdown]
# - ① Lightning 在该更新权重时才调用它，梯度累积到一半时不会。
# - ② 优化器每真正更新一次权重，就触发 `_tick_ema`，由它更新影子。

# %%
card("use_ema")
torch.manual_seed(0)
toy = DDPM(**toy_model_config(use_ema=True, learning_rate=0.01))
quiet_trainer(max_steps=5, accumulate_grad_batches=4).fit(toy, DigitsDataModule(batch_size=16))
check("20 批数据，权重更新 5 次，影子更新的次数", int(toy.model_ema.num_updates), 5)

# %% [markdown]
# ## 8　`ema_scope`：换上影子，再换回来
#
# 它由三个动作组成：`store` 存一份原来的权重，`copy_to` 把影子抄进网络，`restore` 把存下的抄回来（源码在[源码精读](93_source_reading.ipynb)第 8 节）。

# %%
show_source(DDPM.ema_scope,
            "@contextlib.contextmanager", "depth =", "finally:")

# %% [markdown]
# - ① 用 `with` 语句：进入时换上影子，离开时换回权重。没有 EMA 就什么也不做。
# - ② 记下进来时栈有多深。存与抄都在 `try` 里面，抄到一半出错，权重也会恢复。
# - ③ 正常、异常、按了停止，只要存过都会取回（进程被杀除外）。

# %%
raw = flat(toy)
try:
    with toy.ema_scope(), toy.ema_scope():
        print(f"嵌套两层，网络用的是影子：与原来的权重最多相差 {(flat(toy) - raw).abs().max():.2f}")
        raise KeyboardInterrupt
except KeyboardInterrupt:
    check("按了停止，出来之后与原来的权重最多相差", (flat(toy) - raw).abs().max(), 0.0)

# %% [markdown]
# <details><summary>与参考实现的差别</summary>
#
# - 直接删掉名字里的点，`a.b` 与 `ab` 相撞；精度不同时用 `type_as` 转换影子，更新写进副本（第 6 节）；每批之后都更新影子（第 7 节）。
# - 衰减放进 float32 的缓冲区（第 6 节），冻结的参数与缓冲区都不平均。
# - `store` 只有一个位置，嵌套一次，训练的权重就永远丢了；备份取回之后仍占着内存；`ema_scope` 的存与抄在 `try` 外面，抄到一半出错，权重就恢复不了。
#
# </details>

# %% [markdown]
# ## 小结
#
# - 平均有没有用？第 1 节的网络学习率不下降，走 500 步，原权重的 Fréchet 距离是 178 ± 13，影子是 128 ± 7，都是 8 个种子。
# - 为什么有用？同一次训练末尾的权重离得近，平均权重近似平均输出，而平均输出的损失不会高过各份损失的平均。抖动独立时，方差降到原来的 $\frac{1-d}{1+d}$；前后相关时，降得少些。
# - 要平均多少步？太短，抖动压不下去；太长，影子落后。热身公式平均已走步数的九分之一，没有量过就留着默认的 0.9999。
# - 为什么画出噪声？初值占 $d^n$；$d=0.9999$ 又关掉热身，500 步之后它还占 95%。
# - 权重更新一次，影子才更新一次；采样时写 `with model.ema_scope():`，离开时取回原来的权重。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。编程题要自己写，不要直接调用程序包里现成的函数。

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
# 热身期间，每一次更新的衰减都不同。`decays` 是 $(N,)$ 的张量，依次是第 1 到第 $N$ 次更新用到的衰减 $d_n$。返回 $(N+1,)$ 的张量：影子的初值、第 1 个权重……第 $N$ 个权重，各在最终的影子里占几成。做对之后，用它看一看 $d_n=(1+n)/(2+n)$ 时各占几份。

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
# ### 11.5　学习率减半 ★★★
#
# 在第 2 节的例子里，把学习率从 0.1 减到 0.05，$d=0.99$ 不变，都走到稳态。权重的方差是 $\eta/(2-\eta)$，$\eta$ 是学习率，所以它的均方根误差由 0.229 降到 0.160，是原来的 0.70 倍。影子的均方根误差是原来的几倍？
#
# - A：约 0.5 倍。
# - B：约 0.7 倍，与权重一样。
# - C：约 0.96 倍，几乎不变。
# - D：约 1.4 倍，反而变大。

# %%
grade("11.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 小实验　训练得短一些，谷底往哪边移
#
# 改一处，量一量，写三句话。第 1 节的训练走 500 步，影子的 Fréchet 距离平均低 51，九分之一是量过的几处里最低的。把步数改成 125，别的都不动。先猜：影子还能降多少？谷底往哪边移，是该平均得更长，还是更短？
#
# 在新的一格运行下面的程序，一个种子约半分钟；依次是原权重与三份影子的 Fréchet 距离：自带的平均九分之一（$c=10$），另两份平均二分之一（$c=3$）与二十九分之一（$c=30$）：
#
# ```python
# from ddpm_edu.evaluation.metrics import DigitsFrechet
#
#
# def warm_with(c):
#     def make(network):
#         shadow = LitEma(network)
#         shadow.effective_decay = lambda n: (1 + n) / (c + n)
#         return shadow
#     return make
#
#
# def measure(seed, *makers, steps=125):
#     model, *shadows = train(seed, *makers, steps=steps)
#     start = torch.randn(250, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
#     found = [score(draw(model, start))]
#     for shadow in (model.model_ema, *shadows):
#         with model.ema_scope():
#             shadow.copy_to(model.model)
#             found.append(score(draw(model, start)))
#     return found
#
#
# score = DigitsFrechet()
# print(measure(5, warm_with(3), warm_with(30)))
# ```
#
# <!-- 参考答案 -->
# **参考答案**　八个种子，± 后面是标准误；后两列是逐个种子减去 $c=10$ 的，500 步的那一列由第 5 节的数算出：
#
# | 平均已走步数的 | 125 步，Fréchet 距离 | 125 步，比 $c=10$ 高 | 500 步，比 $c=10$ 高 |
# |:--|--:|--:|--:|
# | 二分之一，$c=3$ | 290 ± 5 | 29 ± 3 | 20 ± 2 |
# | 四分之一，$c=5$ | 271 ± 5 | 9 ± 2 | 5 ± 1 |
# | 九分之一，$c=10$ | 262 ± 6 | 0 | 0 |
# | 二十九分之一，$c=30$ | 260 ± 7 | −1 ± 4 | 4 ± 4 |
# | 九十九分之一，$c=100$ | 262 ± 10 | 1 ± 9 | 20 ± 11 |
# | 不平均，原权重 | 272 ± 14 | 10 ± 14 | 51 ± 17 |
#
# 只走 125 步，影子就量不出好处了：只低 10 ± 14，八个种子里有四个反而变差。平均得长，代价更大：二分之一由 20 ± 2 变成 29 ± 3，按种子相减，多了 9 ± 4。平均得短，量不出坏处。这与谷底往“平均得更短”的一边移相符，但八个种子说不准移到了哪里。
#
# ```python
# def show(rows):
#     print(rows.mean(0), rows.std(0) / 8**0.5)
#
#
# found = torch.tensor([measure(seed, *map(warm_with, (3, 5, 30, 100))) for seed in range(8)])
# show(found), show(found - found[:, 1:2])
# # 第 1 节与第 5 节的数，约十分钟
# found = torch.tensor([measure(seed, *map(warm_with, (2, 3, 5, 30, 100)), steps=500) for seed in range(8)])
# show(found), show(found - found[:, 1:2])
# real = score.train
# real = torch.tensor([score(real[torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))[:250]]) for seed in range(8)])
# show(real), print(score.floor())
# ```
#
# <!-- 参考答案完 -->
