# %% [markdown]
# # 12 · 学习率调度器与 `scheduler_config`
#
# **学习目标**
#
# - 分清乘数与学习率：三个 `Lambda...Scheduler` 给的都是乘数。
# - 写出热身与两种衰减的公式，说出每个转折点在哪一步。
# - 会写 `scheduler_config`，知道它在哪里被用到，每多少步更新一次。
#
# **预计用时** 25 分钟。运行全部单元约 15 秒。

# %%
import torch

from ddpm_edu import DDPM, DigitsDataModule, LambdaLinearScheduler, LambdaWarmUpCosineScheduler, LambdaWarmUpCosineScheduler2
from ddpm_edu.optim import make_scheduler
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach import card, check, check_order, check_raises, curve_figure, show_source
from ddpm_edu.teach.panels import lr_panel
from ddpm_edu.teach.panels.lr import linear_reference
from ddpm_edu.teach.training import quiet_trainer

print("准备好了")

# %% [markdown]
# ## 1　为什么学习率要变
#
# 训练开头，网络的输出毫无意义，Adam 对梯度平方的估计（二阶矩）只有几步的数据，很不稳，步长过大容易发散，所以先用小的学习率**热身** (warm-up)。
# 训练末尾，权重在最优点附近抖动，步子小下来才能停稳，所以要**衰减**。
#
# 管这件事的东西叫调度器 (scheduler)。这一章的几个类只做一件事：给出第 $n$ 步的乘数 $f(n)$。真正的学习率是它与优化器的基础学习率 $\eta$ 的积：
#
# $$\eta_n = \eta\cdot f(n).$$
#
# 要当心的是，乘数的名字叫 `lr_max`、`lr_min`（与参考实现相同），看上去像学习率。写成 `lr_max=1e-4`，再乘上 $\eta=10^{-4}$，实际的学习率就是 $10^{-8}$，训练几乎不动。原来的说明里写着要与 `base_lr` 等于 1.0 合用，照做就没有这个问题。

# %%
multiplier = LambdaWarmUpCosineScheduler(warm_up_steps=100, lr_min=0.1, lr_max=1.0, lr_start=0.0, max_decay_steps=1000)
parameter = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.AdamW([parameter], lr=2e-4)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)
for _ in range(50):
    optimizer.step()
    schedule.step()
check("走 50 步，学习率是基础的一半", optimizer.param_groups[0]["lr"], 2e-4 * 0.5, atol=1e-12)

# %% [markdown]
# ## 2　热身加余弦
#
# 记热身 $W$ 步，总长 $L$ 步。三段：
#
# $$f(n) = \begin{cases} f_{\text{start}} + (f_{\max}-f_{\text{start}})\,\dfrac nW & n < W\\[1ex] f_{\min} + \tfrac12(f_{\max}-f_{\min})\left(1+\cos\pi\dfrac{n-W}{L-W}\right) & W\le n<L\\[1ex] f_{\min} & n\ge L \end{cases}$$
#
# 余弦的好处是两头平：刚开始降得慢，快到底时也慢，中间最快。

# %%
show_source(LambdaWarmUpCosineScheduler,
            "class LambdaWarmUpCosineScheduler", "def __init__", "self.verbosity_interval =",
            "def schedule", "elif n >= L:", "cosine =", "log_multiplier")

# %% [markdown]
# - ① 参数的单位是优化步；$L\ge W$。
# - ② 名字与次序同参考实现。衰减的终点若早于热身的终点，当场拒绝。
# - ③ 隔多少步记一行日志，0 表示不记；`last_lr` 记下最近一次的乘数。
# - ④ 热身段，直线上升。
# - ⑤ 走过总长之后停在 $f_{\min}$。
# - ⑥ 余弦段。结果是 Python 的浮点数，不是 NumPy 标量，所以存进检查点之后，`torch.load(weights_only=True)` 仍能读。
# - ⑦ 该记日志时记一行，然后返回乘数。

# %%
W, L = 100, 1000
check("起点", multiplier(0), 0.0)
check("n = W 处到顶", multiplier(W), 1.0, atol=1e-12)
check("n = (W + L)/2 处是最高与最低的平均", multiplier((W + L) // 2), (1.0 + 0.1) / 2, atol=1e-12)
check("n = L 处到底，此后不变", [multiplier(L), multiplier(10 * L)], [0.1, 0.1], atol=1e-12)
check_order("热身终点两侧连续", abs(multiplier(W) - multiplier(W - 1)), 0.011)
check_raises("热身比总长还长", lambda: LambdaWarmUpCosineScheduler(100, 0.1, 1.0, 0.0, 50), "max_decay_steps")

# %% [markdown]
# ## 3　多个周期
#
# 另外两个类可以有好几个周期，每个参数给一个列表，一个周期一个值。它们共用一个基类 `_CyclicLambda`。
# 先要知道第 $n$ 步属于哪个周期；`cum_cycles` 是各个周期的起点，末尾再加上总长。

# %%
show_source(LambdaWarmUpCosineScheduler2.find_in_interval,
            "def find_in_interval")

# %% [markdown]
# - ① 二分查找。边界那一步算新周期的第 0 步。最后一个周期过后，一直算最后一个。

# %%
two = LambdaWarmUpCosineScheduler2(
    warm_up_steps=[10, 10], f_min=[0.1, 0.1], f_max=[1.0, 0.5], f_start=[0.0, 0.0], cycle_lengths=[100, 200])
print("cum_cycles =", two.cum_cycles)
check("周期的边界 n=100 属于新周期", [two.find_in_interval(n) for n in (99, 100, 299, 300, 10**6)], [0, 1, 1, 1, 1])
check("走完之后停在终值", [two(300), two(10**6)], [0.1, 0.1], atol=1e-12)

# %%
show_source(LambdaWarmUpCosineScheduler2.schedule,
            "def schedule", "W = self.warm_up_steps[cycle]", "# 热身占满整个周期时", "log_multiplier")

# %% [markdown]
# - ① 先找周期，再算周期内的第几步；超过周期长度就停在末尾。
# - ② 热身段，用这个周期自己的参数。
# - ③ 热身占满周期时没有衰减段；否则算出衰减走了几成，交给子类。
# - ④ 该记日志时记一行，然后返回乘数。

# %% [markdown]
# 两个子类只差一个函数：走了几成时，乘数是多少。

# %%
show_source(LambdaWarmUpCosineScheduler2.decay,
            "def decay")

# %% [markdown]
# - ① 余弦：`progress` 从 0 到 1，乘数从 $f_{\max}$ 到 $f_{\min}$。

# %%
show_source(LambdaLinearScheduler.decay,
            "def decay")

# %% [markdown]
# - ① 直线：同样的两端。

# %%
linear = LambdaLinearScheduler([100], [0.1], [1.0], [0.0], [1000])
check("线性衰减的中点", linear(550), 0.55, atol=1e-12)
cosine = LambdaWarmUpCosineScheduler2([100], [0.1], [1.0], [0.0], [1000])
same = [cosine(n) - multiplier(n) for n in range(0, 1200, 7)]
check("单个周期的余弦（L > W），与第 2 节的类处处相同", same, [0.0] * len(same), atol=1e-12)

# %% [markdown]
# ## 4　参考实现在热身终点跳一下
#
# 它的线性衰减从周期的头算起，而不是从热身的终点算起：$f = f_{\min} + (f_{\max}-f_{\min})\frac{L-n}{L}$。
# 热身走到 $n=W-1$，下一步 $n=W$ 本该到 $f_{\max}$，却跌到 $f_{\min}+(f_{\max}-f_{\min})\frac{L-W}{L}$。下面是专为说明写的最小版本。

# %%
show_source(linear_reference,
            "def linear_reference", "return f_min")

# %% [markdown]
# - ① 热身段没有错，与我们的相同。
# - ② 分母是 $L$，应当是 $L-W$：衰减段只有 $L-W$ 步，$n=W$ 时才正好等于 1。

# %%
before, after = linear_reference(99, 100, 0.0, 1.0, 0.1, 1000), linear_reference(100, 100, 0.0, 1.0, 0.1, 1000)
check("参考实现：0.99 之后是 0.91", [before, after], [0.99, 0.91], atol=1e-12)
check("我们的：0.99 之后是 1.00", [linear(99), linear(100)], [0.99, 1.0], atol=1e-12)
n = range(0, 300)
reference = [linear_reference(i, 100, 0.0, 1.0, 0.1, 1000) for i in n]
curve_figure(n, {"我们的": [linear(i) for i in n], "参考实现": reference}, "步 $n$", "乘数 $f(n)$")

# %% [markdown]
# 图：热身终点附近。参考实现（虚线）在第 100 步竖直跌下，我们的（实线）连续。

# %%
lr_panel()

# %% [markdown]
# 面板：圆点是转折点。选 `LambdaWarmUpCosineScheduler2`，把周期数拉到 4：每过一个周期，学习率重新升回高处，这叫重启 (restart)；这里每次都先热身再升。
# 选 `LambdaLinearScheduler`、一个周期，能看到参考实现的跳跃。

# %% [markdown]
# ## 5　接到训练里：`scheduler_config`

# %%
show_source(make_scheduler,
            "def make_scheduler", "kinds =", "if issubclass(", "if optimizer is None:", "return make(optimizer)")

# %% [markdown]
# - ① `optimizer` 为 None 时只做检查，构造函数用它来提前发现错误。
# - ② 只认两类：我们的乘数函数，与 PyTorch 自带的调度器。`make` 是写好了这几个参数的 `instantiate_from_config`。
# - ③ 是不是乘数函数，看类的祖先，不看名字；是就包一层 `LambdaLR`。
# - ④ 自带的调度器要有优化器才造得出来，检查时借一个假的。
# - ⑤ 训练开始时，用真正的优化器来造。

# %%
show_source(DDPM.configure_optimizers,
            "def configure_optimizers", "if self.scheduler_config is None:", "scheduler =", "return {")

# %% [markdown]
# - ① Lightning 在训练开始时调用它，先要优化器（第 10 章）。
# - ② 没有配方，学习率就不变。
# - ③ 造调度器；只有看指标降学习率的 `ReduceLROnPlateau` 按轮更新，其余按步。
# - ④ Lightning 的约定：`interval="step"` 表示每步更新。

# %%
card("scheduler_config")
recipe = {"target": "ddpm_edu.LambdaLinearScheduler",
          "params": {"warm_up_steps": [4], "f_min": [0.0], "f_max": [1.0], "f_start": [0.0], "cycle_lengths": [8]}}
data = DigitsDataModule(batch_size=16)
model = DDPM(**toy_model_config(scheduler_config=recipe, learning_rate=1e-3))
trainer = quiet_trainer(max_steps=6)
trainer.fit(model, data)
check("6 步之后的学习率 = 1e-3 × f(6)", trainer.optimizers[0].param_groups[0]["lr"], 1e-3 * 0.5, atol=1e-9)
check_raises("配方里没有 target", lambda: DDPM(**toy_model_config(scheduler_config={"params": {}})), "target")

# %% [markdown]
# 乘数从第 0 步的值开始：热身的起点若是 0，第一步的学习率就是 0，这一步权重不动（Adam 对梯度的估计照常更新）。所以起点常取一个小的正数。

# %%
first_step = LambdaLinearScheduler([4], [0.0], [1.0], [0.0], [8])
check("起点为 0，第一步的学习率", 1e-3 * first_step(0), 0.0)
torch_own = {"target": "torch.optim.lr_scheduler.StepLR", "params": {"step_size": 100}}
check("PyTorch 自带的也能用（也按优化步更新，step_size 数的是步，不是轮）", isinstance(make_scheduler(torch_own, optimizer), torch.optim.lr_scheduler.StepLR), True)

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - `LambdaLinearScheduler` 在热身终点跳一下（第 4 节）。
# - 衰减的终点早于热身的终点时不报错，余弦一直来回摆；恰好相等时除以零或得到 NaN。
# - 边界那一步算在旧周期里；最后一个周期过后返回 None，接着 TypeError，所以人们在配置里写一个天文数字的周期长度。
# - 基类 `DDPM` 存下了 `scheduler_config`，`configure_optimizers` 却没有用它，学习率从不改变（`LatentDiffusion` 里才用）。
#
# </details>

# %% [markdown]
# ## 小结
#
# - `lr_max`、`f_max` 这些都是乘数，乘的是 `learning_rate`。
# - 热身直线上升，衰减走余弦或直线；转折点在 $0$、$W$、$L$。
# - 边界那一步算新周期；走完之后停在终值。
# - `scheduler_config` 每个优化步更新一次，由 `configure_optimizers` 接上。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
import math

from ddpm_edu.teach import grade

# %% [markdown]
# ### 12.1　热身加余弦 ★
#
# 照第 2 节的公式，写出第 `n` 步的乘数：热身 `W` 步，总长 `L` 步。`W` 可以是 0，`n` 可以超过 `L`。

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
# - 再按余弦降到 2e-5，训练结束时正好到底。

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
# 用第 1 节的配方：$W=100$，$L=1000$，`lr_min=0.1`，`lr_max=1.0`，`learning_rate` 是 2e-4。第 325 步的学习率是多少？先手算，写出四位有效数字，再用程序核对。

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
