# %% [markdown]
# # 11 · 指数滑动平均：`LitEma`
#
# **学习目标**
#
# - 写出 EMA 的更新式，推出它对常数权重的闭式，知道它记得多久。
# - 明白热身公式：为什么默认的 0.9999 在短训练里从不起作用。
# - 会用 `ema_scope` 换上影子权重，并且保证换得回来。
#
# **预计用时** 30 分钟。运行全部单元约 15 秒。

# %%
import math

import torch
from torch import nn

from ddpm_edu import DDPM, DigitsDataModule, LitEma
from ddpm_edu.ema import averaged_tensors
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach import card, check, check_order, check_raises, curve_figure, show_source
from ddpm_edu.teach.panels import ema_panel
from ddpm_edu.teach.training import quiet_trainer

print("准备好了")

# %% [markdown]
# ## 1　为什么要平均
#
# 训练时每一步只看一小批数据，梯度带着随机的抖动，权重也就跟着抖。抖动的中心才是我们想要的。
# 指数滑动平均 (exponential moving average, EMA) 给每个权重 $\theta$ 留一份影子 $s$，每走一步向它靠近一点：
#
# $$s \leftarrow d\,s + (1-d)\,\theta = s + (1-d)(\theta - s).$$
#
# $d$ 叫衰减 (decay)，接近 1。展开可见，$k$ 步之前的权重在影子里占 $(1-d)d^k$。占比减到一半要 $\ln 0.5/\ln d$ 步，这叫半衰期 (half-life)。

# %%
d, shadow = 0.9, 0.0
weights = torch.randn(200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
for theta in weights:
    shadow = shadow + (1 - d) * (theta - shadow)
share = (1 - d) * d ** torch.arange(199, -1, -1, dtype=torch.float64)
check("影子是从前所有权重的加权平均", shadow, (share * weights).sum(), atol=1e-12)
half_life = math.log(0.5) / math.log(d)
check(f"半衰期约 {half_life:.1f} 步：7 步前的占比在一半附近", share[-8] / share[-1], 0.5, atol=0.03)

# %% [markdown]
# 权重若从某一刻起不再变，影子的误差每步乘 $d$，$k$ 步之后是 $s_k-\theta = d^k(s_0-\theta)$。
#
# 平均能压低抖动多少？设 $\theta$ 在中心附近独立抖动，方差为 1，那么影子的方差是
#
# $$\sum_{k\ge0}(1-d)^2d^{2k} = \frac{(1-d)^2}{1-d^2} = \frac{1-d}{1+d}.$$
#
# $d=0.99$ 时约为 $1/199$，标准差降到十四分之一。代价是落后：中心移动时，影子要过一阵才跟上。

# %%
d = 0.99
check("方差的公式", sum(((1 - d) * d**k) ** 2 for k in range(5000)), (1 - d) / (1 + d), atol=1e-12)
noise = torch.randn(4000, 1500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
shadow = torch.zeros(4000, dtype=torch.float64)
for column in noise.T:  # 4000 个权重，各走 1500 步
    shadow = shadow + (1 - d) * (column - shadow)
check("模拟：影子的方差", shadow.var(), (1 - d) / (1 + d), atol=5e-4)

# %% [markdown]
# ## 2　建一份影子

# %%
show_source(LitEma.__init__,
            "def __init__", "# 放进张量会舍入", "self.register_buffer", "# 不求梯度的")

# %% [markdown]
# - ① 衰减默认 0.9999，默认用热身 (warm-up) 公式，见第 3 节。
# - ② 衰减是 Python 的浮点数，不放进张量。
# - ③ 更新的次数存进检查点；`_backups` 是后面 `store` 的栈。
# - ④ 影子以此刻的权重为初值，精度至少 float32。

# %% [markdown]
# 为什么衰减不放进张量？float32 的 0.9999 存不准，$1-d$ 偏大万分之几；float16 里它干脆等于 1，影子永远不动。

# %%
half, single = torch.tensor(0.9999, dtype=torch.float16), torch.tensor(0.9999, dtype=torch.float32)
check("float16：1 - d 等于 0，影子不动", 1 - half.double(), 0.0)
error = (1 - single.double()) / 1e-4 - 1
check("float32：1 - d 偏大约万分之 1.7", error, 1.66e-4, atol=1e-5)

# %%
show_source(averaged_tensors,
            "def averaged_tensors", "named = [")

# %% [markdown]
# - ① 浮点的参数和缓冲区都要平均：BatchNorm 的均值与方差也算。名字里的点换成斜杠。
# - ② 冻结的也在内：以后解冻时，影子已经在那里。`torch.compile` 加的前缀先去掉。

# %% [markdown]
# 缓冲区的名字里不能有点。若把点直接删掉，`a.b` 与 `ab` 就相撞，后来的盖掉先来的，所以换成斜杠：

# %%
class TwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.ab = nn.Parameter(torch.ones(1))
        self.a = nn.Module()
        self.a.b = nn.Parameter(torch.zeros(1))


names = [name for name, _ in TwoNames().named_parameters()]
check("删掉点：两个名字变成一个", len({name.replace(".", "") for name in names}), 1)
check("换成斜杠：还是两个", len(averaged_tensors(TwoNames())), 2)

# %% [markdown]
# ## 3　热身公式
#
# 影子的初值是随机的初始权重。$d=0.9999$ 时，一千步之后，初值还占 $0.9999^{1000}\approx 90\%$。
# 所以开头要用小的衰减，$n$ 是更新的次数，从 1 数起：
#
# $$d_n = \min\!\left(d,\ \frac{1+n}{10+n}\right).$$

# %%
show_source(LitEma.effective_decay,
            "def effective_decay")

# %% [markdown]
# - ① 第 $n$ 次更新真正用到的衰减；关掉热身就始终用 $d$。
#
# 热身到第几次为止？解 $\frac{1+n}{10+n}\ge d$，得 $n\ge\frac{10d-1}{1-d}$。

# %%
card("ema_decay")
model = DDPM(**toy_model_config(ema_decay=0.9999))
for decay in (0.9, 0.99, 0.999, 0.9999):
    ema = LitEma(nn.Linear(1, 1), decay)
    n = math.ceil((10 * decay - 1) / (1 - decay) - 1e-6)  # 减去一点，防浮点误差
    check(f"{decay}：第 {n} 次更新起到顶", ema.effective_decay(n), decay)
    check_order(f"{decay}：第 {n - 1} 次还没有", ema.effective_decay(n - 1), decay, digits=10)
check_order("训练 1000 步，ema_decay=0.9999 从未起作用", model.model_ema.effective_decay(1000), 0.992)

# %% [markdown]
# 权重不变时，热身期间的影子也有闭式。每一步的误差乘 $d_n = \frac{1+n}{10+n}$，连乘 $k$ 步，分子分母大半消去：
#
# $$s_k-\theta = (s_0-\theta)\prod_{n=1}^{k}\frac{1+n}{10+n} = (s_0-\theta)\,\frac{10!\,(k+1)!}{(k+10)!}.$$

# %%
layer = nn.Linear(1, 1, bias=False).double()
nn.init.zeros_(layer.weight)
ema = LitEma(layer, 0.9999)
nn.init.ones_(layer.weight)
for _ in range(20):
    ema(layer)
closed = math.factorial(10) * math.factorial(21) / math.factorial(30)
check("20 次之后的误差与闭式相同", 1 - ema.shadow["weight"].item(), closed, atol=1e-12)

# %%
ema_panel()

# %% [markdown]
# 面板：左边是有效衰减 $d_n$（实线）与设定的 $d$（虚线），横轴是对数刻度；右边是抖动的权重（虚线）与影子（实线）。
# 选 0.9999 并关掉热身：两千步只走了不到两成。打开热身：它先跟得紧，再慢慢变稳。

# %% [markdown]
# ## 4　走一格

# %%
show_source(LitEma.forward,
            "@torch.no_grad()", "live, shadow = self._pairs(model)", "torch._foreach_lerp_")

# %% [markdown]
# - ① 先数一次，所以 $n$ 从 1 开始。两个计数：张量的存进检查点，Python 的用来计算，不必每步从 GPU 取数。
# - ② `_pairs` 按名字把网络与影子逐个配对；精度或设备不同，就先转换再平均。
# - ③ `lerp` 是线性插值，$s + (1-d)(\theta-s)$。一次调用更新全部张量，更新本身没有 Python 循环。

# %% [markdown]
# 精度不同时容易写错：用 `type_as` 转换影子，得到的是一份新的副本，更新写进副本就丢了。影子从此不动，也不报错。

# %%
weight, shadow = torch.ones(1), torch.zeros(1, dtype=torch.float64)
shadow.type_as(weight).lerp_(weight, 0.5)
check("错误的写法：更新写进了副本", shadow, [0.0])
torch.manual_seed(0)
mixed = LitEma(nn.Linear(2, 2), decay=0.5)
half_net = nn.Linear(2, 2).bfloat16()
before = mixed.shadow["weight"].clone()
mixed(half_net)
check_order("我们的：影子动了", 0, (mixed.shadow["weight"] - before).abs().max())

# %% [markdown]
# ## 5　一格对应一次优化，不是一批数据
#
# 梯度累积 (gradient accumulation) 时，几批数据才更新一次权重。影子应当跟着更新走。
# 若在每批之后走一格，累积 4 批就走了 4 格，其中 3 格权重根本没动。

# %%
show_source(DDPM.optimizer_step,
            "def optimizer_step", "# 权重真的更新了才走一格")

# %% [markdown]
# - ① Lightning 在该更新权重时才调用它，梯度累积到一半时不会。
# - ② 优化器每真的走完一步，就回头调用 `_tick_ema`，让影子走一格。半精度训练时，`GradScaler` 见到梯度溢出会跳过那一步，权重没有动，影子也不动。

# %%
card("use_ema")
data = DigitsDataModule(batch_size=16)
torch.manual_seed(0)
model = DDPM(**toy_model_config(use_ema=True))
quiet_trainer(max_steps=5, accumulate_grad_batches=4).fit(model, data)
check("20 批数据，5 次更新，影子走了 5 格", int(model.model_ema.num_updates), 5)
check("use_ema=False 就没有影子", hasattr(DDPM(**toy_model_config(use_ema=False)), "model_ema"), False)

# %% [markdown]
# ## 6　换上影子，再换回来

# %%
show_source(LitEma.copy_to,
            "@torch.no_grad()")

# %% [markdown]
# - ① 把影子抄进网络，网络原来的权重就没了，所以先要存一份。

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
show_source(DDPM.ema_scope,
            "@contextlib.contextmanager", "depth =", "self.model_ema.store(self.model)", "finally:")

# %% [markdown]
# - ① 用 `with` 语句：进入时换上，离开时换回。没有 EMA 就什么也不做。
# - ② 记下进来时栈有多深。
# - ③ 存与抄都在 `try` 里面，抄到一半出错也换得回来。
# - ④ 不管怎样离开（正常、异常、按了停止），只要存过就取回。

# %%
raw = [p.clone() for p in model.model.parameters()]


def unchanged():
    return all(torch.equal(a, b) for a, b in zip(raw, model.model.parameters()))


with model.ema_scope():
    check("范围之内，用的是影子", unchanged(), False)
    with model.ema_scope():
        pass
check("嵌套之后，权重换回来了", unchanged(), True)
try:
    with model.ema_scope():
        raise KeyboardInterrupt
except KeyboardInterrupt:
    check("按了停止，权重也换回来了", unchanged(), True)
check_raises("没存过就取", lambda: LitEma(nn.Linear(1, 1)).restore(nn.Linear(1, 1)), "store")

# %% [markdown]
# ## 7　它真的有用吗
#
# 拿一个能算清楚的问题：用随机梯度下降求 $\tfrac12\theta^2$ 的最小值，梯度带噪声。学习率不降，权重就一直抖；看影子离最小值有多近。

# %%
generator = torch.Generator().manual_seed(2)
theta, shadow, paths = torch.full((1000,), 3.0), torch.full((1000,), 3.0), []
for n in range(1, 1001):
    theta = theta - 0.1 * (theta + torch.randn(1000, generator=generator))
    shadow = shadow + (1 - min(0.99, (1 + n) / (10 + n))) * (theta - shadow)
    paths.append((theta.pow(2).mean().sqrt(), shadow.pow(2).mean().sqrt()))
raw_error, ema_error = zip(*paths)
phi = 0.9  # 1 减去学习率
ratio = (199 * (1 - phi * 0.99) / (1 + phi * 0.99)) ** 0.5
print(f"公式说权重的误差是影子的 {ratio:.2f} 倍")
check("后两百步平均，与公式相差不到 0.3 倍", sum(raw_error[-200:]) / sum(ema_error[-200:]), ratio, atol=0.3)
curve_figure(range(1, 1001), {"影子 $s_n$": ema_error, r"权重 $\theta_n$": raw_error}, "步 $n$", "均方根误差", yscale="log")

# %% [markdown]
# 图：一千次独立试验的均方根误差。权重（虚线）很快降到抖动的水平就不动了；影子（实线）起初略微落后，三十步之后就更准，到八百步上下也不再下降。
#
# 细心的读者会问：第 1 节说 $d=0.99$ 时标准差降到十四分之一，这里怎么只有三分之一多？第 1 节假设权重的抖动前后独立，这里却不是：学习率 0.1 时，这一步的权重有九成来自上一步，$\theta_n=0.9\,\theta_{n-1}+\text{噪声}$，相邻的抖动方向相同，平均抵消得少。
# 相关系数是 $\varphi$ 时，影子与权重的方差之比是 $\dfrac{1-d}{1+d}\cdot\dfrac{1+\varphi d}{1-\varphi d}$，代入 $\varphi=0.9$、$d=0.99$，标准差之比正是 $1/3.39$。
#
# 学习率逐渐降到 0，也能压低抖动，所以两者常常一起用；第 12 章讲学习率。

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - 名字里的点直接删掉，`a.b` 与 `ab` 相撞（第 2 节）。
# - 精度不同时用 `type_as` 转换影子，更新写进副本，影子不动（第 4 节）。
# - 每批之后走一格，不管权重有没有更新（第 5 节）。
# - `store` 只有一个位置，嵌套一次，训练的权重就永远丢了；备份取回之后仍占着内存；`ema_scope` 的存与抄在 `try` 外面，抄到一半出错就换不回来。
# - `store` 收的是一串参数；这里模块也收。
#
# </details>

# %% [markdown]
# ## 小结
#
# - 影子是从前所有权重的加权平均，半衰期 $\ln0.5/\ln d$，抖动的方差降到 $\frac{1-d}{1+d}$。
# - 热身公式让影子尽快忘掉初值；短训练里，真正起作用的是它。
# - 一格对应一次优化更新。衰减用 Python 浮点数，影子至少 float32。
# - `ema_scope` 怎样离开都换得回来，可以嵌套。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 11.1　走一格 ★
#
# `shadow` 与 `theta` 是形状相同的张量，`decay` 是设定的衰减，`n` 是这一次更新的序号，从 1 数起。照第 1 节与第 3 节的公式，返回更新之后的影子，不改动传进来的张量。

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
# ### 11.4　落后几步 ★★
#
# 权重 $\theta$ 每一步都朝同一个方向移动同样的量，影子用固定的衰减 $d=0.999$。走了很久之后，影子落后 $\theta$ 几步？先推导，再模拟核对。

# %%
grade("11.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 11.5　哪一个不是病因 ★★★
#
# 训练损失一路下降，用训练的权重采样也好，换上 EMA 采出来的却还是噪声。下面哪一种错**不会**造成这种症状？
#
# - A：`ema_decay=0.9999`，关掉热身，只训练了一千步。
# - B：影子与衰减都放在 float16 的张量里。
# - C：网络是 bfloat16，影子是 float32，更新时用 `type_as` 转换影子。
# - D：梯度累积 4 批，影子却每批走一格。

# %%
grade("11.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
