# %% [markdown]
# # 08 · 学习率调度器与 `scheduler_config`
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
from ddpm_edu.recipes import toy_model_config
from ddpm_edu.teach import card, check, check_raises, curve_figure, show_source
from ddpm_edu.teach.panels import lr_panel
from ddpm_edu.teach.panels.lr import linear_reference
from ddpm_edu.teach.training import quiet_trainer

print("准备好了")

# %% [markdown]
# ## 1　为什么学习率要变
#
# 训练开头，网络的输出毫无意义，Adam 的动量也还没有攒够，步子大了容易跑偏，所以先用小的学习率**热身** (warm-up)。
# 训练末尾，权重在最优点附近抖动，步子小下来才能停稳，所以要**衰减**。
#
# 管这件事的东西叫调度器 (scheduler)。这一章的几个类只做一件事：给出第 $n$ 步的乘数 $f(n)$。真正的学习率是它与优化器的基础学习率 $\eta$ 的积：
#
# $$\eta_n = \eta\cdot f(n).$$
#
# 参考实现把乘数叫作 `lr_max`、`lr_min`，看上去像学习率。写成 `lr_max=1e-4`，再乘上 $\eta=10^{-4}$，实际的学习率就是 $10^{-8}$，训练几乎不动。

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
# - ② 名字与次序同参考实现。衰减的终点若早于热身的终点，当场拒绝；参考实现不报错，余弦一直来回摆，两者恰好相等时则除以零或得到 NaN。
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
check("热身终点两侧连续", abs(multiplier(W) - multiplier(W - 1)) < 0.011, True)
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
# - ① 二分查找。边界那一步算新周期的第 0 步；参考实现把它算在旧周期里。最后一个周期过后，一直算最后一个；参考实现会返回 None，接着 TypeError，所以人们在配置里写一个天文数字的周期长度。

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
check("单个周期的余弦，与第 2 节的类处处相同", same, [0.0] * len(same), atol=1e-12)

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
curve_figure(n, {"ours": [linear(i) for i in n], "reference": reference}, "$n$", "$f(n)$")

# %% [markdown]
# 图：热身终点附近。参考实现（虚线）在第 100 步竖直跌下，我们的（实线）连续。

# %%
lr_panel()

# %% [markdown]
# 面板：圆点是转折点。选 `LambdaWarmUpCosineScheduler2`，把周期数拉到 4，每个周期都重新热身，这叫重启 (restart)。
# 选 `LambdaLinearScheduler`、一个周期，能看到参考实现的跳跃。

# %% [markdown]
# ## 5　接到训练里：`scheduler_config`

# %%
show_source(make_scheduler,
            "def make_scheduler", "kinds =", "if \"target\" not in config:", "if issubclass(", "if optimizer is None:", "return instantiate_from_config")

# %% [markdown]
# - ① `optimizer` 为 None 时只做检查，构造函数用它来提前发现错误。
# - ② 只认两类：我们的乘数函数，与 PyTorch 自带的调度器。
# - ③ 漏写 `target` 时，举一个调度器的例子。
# - ④ 是不是乘数函数，看类的祖先，不看名字；是就包一层 `LambdaLR`。
# - ⑤ 自带的调度器要有优化器才造得出来，检查时借一个假的。
# - ⑥ 训练开始时，用真正的优化器来造。

# %%
show_source(DDPM.configure_optimizers,
            "def configure_optimizers", "if self.scheduler_config is None:", "scheduler =", "return {")

# %% [markdown]
# - ① Lightning 在训练开始时调用它，先要优化器（第 10 章）。
# - ② 没有配方，学习率就不变。
# - ③ 造调度器；只有看指标降学习率的 `ReduceLROnPlateau` 按轮更新，其余按步。
# - ④ Lightning 的约定：`interval="step"` 表示每步更新。参考实现的基类存下了配方，却没有这一段，所以学习率从不改变。

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
# 乘数从第 0 步的值开始：热身的起点若是 0，第一步的学习率就是 0，这一步白走。所以起点常取一个小的正数。

# %%
first_step = LambdaLinearScheduler([4], [0.0], [1.0], [0.0], [8])
check("起点为 0，第一步的学习率是 0", 1e-3 * first_step(0), 0.0)
torch_own = {"target": "torch.optim.lr_scheduler.StepLR", "params": {"step_size": 100}}
check("PyTorch 自带的也能用", isinstance(make_scheduler(torch_own, optimizer), torch.optim.lr_scheduler.StepLR), True)

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
# 1. ★ 写一份配方：热身 500 步，余弦降到 1%，共 20 000 步。
# 2. ★★ 写一个三个周期的 `LambdaWarmUpCosineScheduler2`，使每次重启的峰值依次减半，画图核对。
# 3. ★★ 写一个自己的调度器：热身之后按 $1/\sqrt n$ 衰减。继承 `ddpm_edu.lr_scheduler.LRLambda`，实现 `schedule(n)`；配方的 `target` 写 `__main__.类名`。
# 4. ★★★ 参考实现的跳跃会使训练变差吗？设计一个小实验来回答。
