# %% [markdown]
# # 02 · β 噪声表与 `register_schedule`
#
# **学习目标**
#
# - 说清 $\beta_t$、$\alpha_t$、$\bar\alpha_t$、信噪比各是什么，怎样互相推出。
# - 分辨四种噪声表，不被名字骗到：这里的 `linear` 不是论文的 linear。
# - 读懂系数表为什么用 float64 计算，为什么要防着半精度。
#
# **预计用时** 40 分钟。运行全部单元约 15 秒。

# %%
import numpy as np
import torch

from ddpm_edu import DDPM, GaussianDiffusion, make_beta_schedule
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.schedules import alphas_cumprod, check_betas, rescale_linear_range
from ddpm_edu.teach import card, check, check_order, check_raises, curves_figure, show_source
from ddpm_edu.teach.panels import beta_panel

print("准备好了")

# %% [markdown]
# ## 1　一步掺多少噪声
#
# 加噪过程 (forward process) 每一步把图缩小一点，再掺一点高斯噪声：
#
# $$x_t = \sqrt{1-\beta_t}\;x_{t-1} + \sqrt{\beta_t}\;\varepsilon_t,\qquad \varepsilon_t\sim\mathcal N(0, I).$$
#
# $\beta_t\in(0,1)$ 是这一步掺入的噪声的方差，一串 $\beta_t$ 叫噪声表 (beta schedule)。
# 为什么要先缩小？独立的随机变量相加，方差相加。如果 $x_{t-1}$ 的方差是 1，那么 $x_t$ 的方差是 $(1-\beta_t)\cdot 1 + \beta_t = 1$，正好不变。
# 若只加不缩，走一千步方差就涨上去了。

# %%
betas = make_beta_schedule("linear", 1000)
shrinking, growing = 1.0, 1.0
for beta in betas:
    shrinking = (1 - beta) * shrinking + beta
    growing = growing + beta
check("先缩小再加噪，方差守在 1", shrinking, 1.0, atol=1e-12)
check_order("只加不缩，方差涨过 7", 7, growing)

# %% [markdown]
# 下标要先说定：论文的 $t$ 从 1 数起，代码的 $t$ 从 0 数起，代码的 $t$ 等于论文的 $t-1$。本课程一律用代码的 $t = 0, 1, \dots, T-1$，另约定 $\bar\alpha_{-1} = 1$。
#
# 只有一处要小心：$x_0$ 始终指原图。$t=0$ 的带噪图已经掺过一次噪声，不是原图；照代码的下标，原图其实是“$x_{-1}$”，不过没有人这样写。
#
# 记 $\alpha_t = 1-\beta_t$，$\bar\alpha_t = \alpha_0\alpha_1\cdots\alpha_t$。
# $\bar\alpha_t$ 读作 alpha bar，它是走到第 $t$ 步时原图的方差还剩几成。推导在第 3 章，这里先会算。

# %%
show_source(alphas_cumprod,
            "def alphas_cumprod")

# %% [markdown]
# - ① 连乘得到 $\bar\alpha_t$；在最前面补一个 1、去掉最后一个，就是平移一格的 $\bar\alpha_{t-1}$。后验的公式同时要这两个。

# %%
cumprod, cumprod_prev = alphas_cumprod(betas)
check("ᾱ_0 = 1 - β_0", cumprod[0], 1 - betas[0])
check("约定：ᾱ_{-1}", cumprod_prev[0], 1.0)
check("逐步相乘：ᾱ_t = ᾱ_{t-1}(1 - β_t)", cumprod, cumprod_prev * (1 - betas), atol=1e-15)

# %% [markdown]
# ## 2　四种噪声表
#
# | 名字 | 公式 |
# |:--|:--|
# | `linear` | 在 `linear_start` 与 `linear_end` 的平方根之间等距取点，再平方 |
# | `sqrt_linear` | 在 `linear_start` 与 `linear_end` 之间等距取点 |
# | `sqrt` | 在同样的两端之间等距取点，再开平方 |
# | `cosine` | $\beta_t = \min\!\left(1-\dfrac{f((t+1)/T)}{f(t/T)},\ 0.999\right)$，$f(u)=\cos^2\!\left(\dfrac{u+s}{1+s}\cdot\dfrac{\pi}{2}\right)$ |
#
# 当心名字：DDPM 论文的 linear 是等距的 $\beta$，在这份代码里却叫 `sqrt_linear`。

# %%
show_source(make_beta_schedule,
            "def make_beta_schedule", "check_choice(\"beta_schedule\"", "if schedule == \"linear\":",
            "if schedule == \"sqrt_linear\":", "if schedule == \"sqrt\":", "u = np.arange", "# 最后一步 f 趋于 0")

# %% [markdown]
# - ① 签名与默认值同参考实现；返回的是 float64 的 NumPy 数组。
# - ② 五个参数在门口核对，例如 `linear_start` 不能大于 `linear_end`。
# - ③ 名为 linear，其实对 $\sqrt\beta$ 线性。
# - ④ 名为 sqrt_linear，其实对 $\beta$ 线性，也就是论文的 linear。
# - ⑤ 先等距再开方，$\beta$ 一开始就很大，今天很少有人用。
# - ⑥ $f$ 在 $T+1$ 个点上取值。`cosine_s` 在这里再查一次上限：太大的偏移会让余弦失去精度。
# - ⑦ 相邻两点的比就是 $\alpha_t$。截断在 0.999：最后一步的 $f$ 趋于 0，$\beta$ 会碰到 1。

# %%
steps = np.diff(np.sqrt(make_beta_schedule("linear", 1000)))
check("linear：√β 是等距的", steps, np.full(999, steps[0]), atol=1e-15)
steps = np.diff(make_beta_schedule("sqrt_linear", 1000))
check("sqrt_linear：β 是等距的", steps, np.full(999, steps[0]), atol=1e-15)
check_order("两张表的中点差了七成以上", 1.7, make_beta_schedule("sqrt_linear", 1001)[500] / make_beta_schedule("linear", 1001)[500])

# %% [markdown]
# `cosine` 是从 $\bar\alpha$ 倒着设计的。把 $\alpha_t = f((t+1)/T)/f(t/T)$ 连乘，中间的 $f$ 全部消去：
#
# $$\bar\alpha_t = \prod_{i=0}^{t}\frac{f((i+1)/T)}{f(i/T)} = \frac{f((t+1)/T)}{f(0)}.$$
#
# 只有最后一项被 0.999 截断过，所以它之前的每一项都应当与右边相同。

# %%
T, s = 1000, 8e-3
u = np.arange(T + 1) / T
f = np.cos((u + s) / (1 + s) * np.pi / 2) ** 2
cosine, _ = alphas_cumprod(make_beta_schedule("cosine", T, cosine_s=s))
check("连乘消去中间项", cosine[:-1], f[1:-1] / f[0], atol=1e-14)

# %% [markdown]
# 下面是我们另外算好的标准值。开方或下标写错，$\bar\alpha_{499}$ 就对不上；截断写错，`cosine` 的最后一项就对不上。

# %%
golden = {"linear": 0.333187767356, "sqrt_linear": 0.0785872428818, "sqrt": 6.11913209533e-16, "cosine": 0.493843590441}
for name, value in golden.items():
    middle = alphas_cumprod(make_beta_schedule(name, 1000))[0][499]
    check(f"{name} 的 ᾱ_499", middle, value, rtol=1e-11)
check("cosine 的 ᾱ_999", cosine[-1], 2.42876690703e-9, rtol=1e-10)

# %%
t = np.arange(1000)
tables = {name: make_beta_schedule(name, 1000) for name in golden}
bars = {name: alphas_cumprod(table)[0] for name, table in tables.items()}
evenness = {name: np.diff(bar).std() for name, bar in bars.items()}
check("cosine 的 ᾱ 降得最匀", min(evenness, key=evenness.get) == "cosine", True)
curves_figure((t, tables, "步号 $t$", r"$\beta_t$", "linear", "log"), (t, bars, "步号 $t$", r"$\bar\alpha_t$"))

# %% [markdown]
# 图：左边是 $\beta_t$（对数刻度），右边是 $\bar\alpha_t$。
# `cosine` 的 $\bar\alpha$ 降得最匀：每一步都有事可做。`sqrt` 走三十多步就丢掉一半，一百五十步时 $\sqrt{\bar\alpha_t}$ 只剩 5%，后面的步数几乎白走。

# %% [markdown]
# ## 3　信噪比
#
# 第 $t$ 步的图里，原图的份额是 $\sqrt{\bar\alpha_t}$，噪声的份额是 $\sqrt{1-\bar\alpha_t}$。两个系数的平方之比叫信噪比 (signal-to-noise ratio)：
#
# $$\mathrm{SNR}_t = \frac{\bar\alpha_t}{1-\bar\alpha_t}.$$
#
# 它只减不增：每走一步，信息只会更少。等于 1 的那一步 $\bar\alpha_t = \tfrac12$；原图的方差若是 1，那里图与噪声的方差各占一半。

# %%
for name, bar in bars.items():
    snr = bar / (1 - bar)
    half = int((snr < 1).argmax())
    check(f"{name}：信噪比只减不增，第 {half} 步降到 1 以下", bool((np.diff(snr) < 0).all()), True)

# %% [markdown]
# ## 4　卡片与演示

# %%
card("beta_schedule")
by_name = GaussianDiffusion(beta_schedule="cosine").exact_table("betas")
check("名字决定了表", by_name, make_beta_schedule("cosine", 1000))
check_raises("不认识的名字", lambda: GaussianDiffusion(beta_schedule="cosin"), "cosine")

# %%
card("linear_start")
check("它就是第一个 β", make_beta_schedule("linear", 10, linear_start=1e-3)[0], 1e-3, atol=1e-15)
check_raises("不能大于 linear_end", lambda: make_beta_schedule("linear", 10, linear_start=0.5), "linear_start ≤ linear_end")

# %%
card("linear_end")
check("它就是最后一个 β", make_beta_schedule("linear", 10, linear_end=0.3)[-1], 0.3, atol=1e-15)
check_raises("须小于 1", lambda: make_beta_schedule("linear", 10, linear_end=1.0), "linear_end")

# %%
card("cosine_s")
plain, shifted = (make_beta_schedule("cosine", 1000, cosine_s=s)[0] for s in (0.0, 0.008))
print(f"第一步的 β：cosine_s=0 时 {plain:.1e}，cosine_s=0.008 时 {shifted:.1e}")
check_order("偏移使第一步的 β 大了十几倍", 10, shifted / plain)

# %% [markdown]
# ## 5　$T$ 太短会怎样
#
# 采样从 $\mathcal N(0, I)$ 出发，前提是加噪走到头时原图的份额 $\sqrt{\bar\alpha_{T-1}}$ 已经很小。
# $\beta$ 不随 $T$ 缩放：把 $T$ 从 1000 改成 100，每步掺的噪声没变，步数少了九成，总量自然不够。

# %%
card("timesteps")
leftover = {T: float(GaussianDiffusion(timesteps=T).exact_table("sqrt_alphas_cumprod")[-1]) for T in (1000, 100)}
check("timesteps=1000：原图只剩 2.7%", leftover[1000], 0.0271, atol=5e-5)
check("timesteps=100：原图还剩近七成", leftover[100], 0.696, atol=5e-4)

# %%
show_source(rescale_linear_range,
            "def rescale_linear_range", "scale = reference_timesteps")

# %% [markdown]
# - ① 给出新的 $T$，返回缩放过的两端。
# - ② 步数少到十分之一，每步就掺十倍，上端不超过 0.999。

# %%
start, end = rescale_linear_range(100)
rescaled = GaussianDiffusion(timesteps=100, linear_start=start, linear_end=end)
check_order("缩放之后，走到头只剩不到 3%", float(rescaled.exact_table("sqrt_alphas_cumprod")[-1]), 0.03)
cosine100 = GaussianDiffusion(timesteps=100, beta_schedule="cosine").exact_table("sqrt_alphas_cumprod")[-1]
check_order("cosine 按 t/T 设计，不怕 T 短", float(cosine100), 1e-3)

# %% [markdown]
# 拖动下面的控件，亲手试一遍：把 `linear` 的 $T$ 拉到 100，看图上方的提醒；再换成 `cosine`。

# %%
beta_panel()

# %% [markdown]
# 面板：左边 $\beta_t$，中间 $\bar\alpha_t$，右边信噪比，横轴是 $t/T$。
# 中间的曲线走到右端还没有贴近 0，就是 $T$ 太短，或者 `linear_end` 太小。图的上方写着这张表在别处的名字。

# %% [markdown]
# ## 6　直接给一张表：`given_betas`

# %%
show_source(check_betas,
            "def check_betas", "try:", "if values.size == 0:", "bad = np.flatnonzero", "if timesteps is not None")

# %% [markdown]
# - ① 列表、数组、张量都收：YAML 给出的是列表。
# - ② 逐个换成 float，换不成就说应当给什么。
# - ③ 空表没有意义，最后取 $\bar\alpha$ 时也会越界。
# - ④ 每一项都须在 $(0,1)$ 内。写成“不在范围内”而不是“超出范围”，NaN 才拦得住：NaN 与任何数比较都为假。
# - ⑤ 同时给了步数，就核对长度。`register_schedule` 只在步数不是默认的 1000 时才传进来，见第 9 节。

# %%
card("given_betas")
mine = [0.1, 0.2, 0.3]
for given_betas in (mine, np.array(mine), torch.tensor(mine, dtype=torch.float64)):
    table = GaussianDiffusion(given_betas=given_betas)
    check(f"{type(given_betas).__name__} 也可以，T={table.num_timesteps}", table.exact_table("betas"), mine)
check_raises("NaN 拦得住", lambda: GaussianDiffusion(given_betas=[0.1, float("nan")]), "given_betas")

# %% [markdown]
# 参考实现检查的是损失的权重表，写成 `assert not isnan(...).all()`：要整张表都是 NaN 才报警。
# 下面重现它：坏掉的是最后一项，前面的权重都还是正常的数，检查就放过了。

# %%
bad = np.array([0.1, 0.2, np.nan])
bar = np.cumprod(1 - bad)
weights = bad**2 / (2 * bad * (1 - bad) * (1 - bar))
naive_guard_passes = not np.isnan(weights).all()
check("错误的检查放过了 NaN", naive_guard_passes, True)
check_raises("我们的检查说出在哪里", lambda: check_betas(bad), "下标 2")

# %% [markdown]
# ## 7　从 $\beta$ 到全部系数
#
# 后面各章的公式只用到一些固定的组合：$\sqrt{\bar\alpha_t}$、$\sqrt{1-\bar\alpha_t}$、$1/\sqrt{\bar\alpha_t}$……
# 训练每一步都要用，所以先算好存成表。

# %%
show_source(diffusion_tables,
            "def diffusion_tables", "cumprod, cumprod_prev =", "# 第 0 步 β_tilde 为 0", "coef1 =", "objective =",
            "\"betas\": betas", "\"sqrt_alphas_cumprod\"", "\"sqrt_recip_alphas_cumprod\"", "\"posterior_variance\"", "\"lvlb_weights\"")

# %% [markdown]
# - ① 输入只有 $\beta$、`v_posterior`（采样时掺多少噪声，第 4 章）和参数化的名字；全程 float64。
# - ② $\bar\alpha_t$ 与 $\bar\alpha_{t-1}$，以及后验方差 $\tilde\beta_t$，推导在第 4 章。
# - ③ $\tilde\beta_0 = 0$，取对数得 $-\infty$，所以用第 1 步的值代替，再与 $\beta$ 混合。
# - ④ 后验均值的两个系数 $c_1$、$c_2$，也在第 4 章。
# - ⑤ 三种目标的差别收在 `objective` 里，第 5 章读它。
# - ⑥ 三张基本的表，$\beta$、$\bar\alpha_t$、$\bar\alpha_{t-1}$。
# - ⑦ 加噪用的两个系数与对数方差，第 3 章。
# - ⑧ 由 $x_t$ 与噪声换回 $x_0$ 的两个系数，第 5 章。
# - ⑨ 采样方差、它的对数、均值系数。
# - ⑩ 变分下界的权重。变分下界是训练目标的理论来源，第 6 章推导。

# %% [markdown]
# ## 8　精度：为什么用 float64，为什么不写 $1-\bar\alpha$
#
# $\bar\alpha_0 = 0.9999$，存成 float32 之后，相邻两个可表示的数相差 $6\times10^{-8}$。
# 再去算 $1-\bar\alpha_0 = 10^{-4}$，误差相对于 $10^{-4}$ 就有万分之 1.7。所以 $1-\bar\alpha$ 要先用 float64 算好，最后才舍入一次。

# %%
exact = 1 - cumprod[0]
from_float32 = 1 - np.float32(cumprod[0])
rounded_once = np.float32(exact)
check_order("先舍入再相减，相对误差超过 5e-5", 5e-5, abs(from_float32 / exact - 1))
check("先相减再舍入，与精确的数", rounded_once, exact, rtol=1e-7)

# %% [markdown]
# 半精度更危险：bfloat16 只有 8 位有效数字（二进制），0.9999 会变成 1。整个模型一转换，噪声表就毁了。

# %%
naive = torch.tensor(cumprod[:5], dtype=torch.float64).bfloat16()
check("bfloat16 的 ᾱ 前几步都是 1", naive.float(), torch.ones(5))
model = DDPM(**toy_model_config()).bfloat16()
check("网络转成了 bfloat16", next(model.model.parameters()).dtype == torch.bfloat16, True)
check("系数表没有跟着降精度", model.alphas_cumprod, cumprod, atol=1e-7)

# %% [markdown]
# 靠的是下面这个函数：PyTorch 的 `.to()`、`.half()`、`.double()` 最后都会调用 `_apply`。

# %%
show_source(GaussianDiffusion._apply,
            "def _apply", "# .half()/.bfloat16()", "return self")

# %% [markdown]
# - ① `fn` 是“搬到某处、换成某种类型”的函数，先照常搬动参数和缓冲区。
# - ② 再用 float64 的原表把每张表重填一遍：半精度退回 float32，`.double()` 则得到真正的 float64。
# - ③ 按 PyTorch 的约定返回自己，所以能连着写 `model.double().to(...)`。

# %%
double = GaussianDiffusion().double()
check("double 之后是真正的 float64，不是补零的 float32", double.alphas_cumprod, cumprod)
padded = torch.tensor(cumprod).float().double()
check_order("补零的 float32 有误差", 1e-9, (padded - torch.tensor(cumprod)).abs().max())

# %% [markdown]
# ## 9　`register_schedule`：把表注册成缓冲区

# %%
show_source(GaussianDiffusion.__init__,
            "def __init__", "self.v_posterior =", "self.register_schedule(")

# %% [markdown]
# - ① 只列与公式有关的参数；这个类里没有网络，没有训练。
# - ② 记下 $v$ 与参数化，范围当场核对。
# - ③ 建表的事交给 `register_schedule`，之后也可以再调用它换一张表（`DDPM` 里不行，见本节末尾）。

# %%
show_source(GaussianDiffusion.register_schedule,
            "def register_schedule", "check_int(\"timesteps\", timesteps, 1)",
            "self.num_timesteps =", "if broken:", "# float64 原表另存一份")

# %% [markdown]
# - ① 参数的名字、次序同参考实现。
# - ② 先按名字造表；给了 `given_betas` 就以它为准。步数是 1000 时不核对长度：那是默认值，看不出是不是用户写的。
# - ③ 步数取表的真实长度，再算出全部系数；NaN 与无穷先不管，算完一起看。
# - ④ 任何一张表里有 NaN 或无穷，说出是哪些表、$\beta$ 的范围是多少。
# - ⑤ 原表留一份 float64，缓冲区存 float32。能重新算出的权重不存进检查点。

# %%
chain = GaussianDiffusion(timesteps=50, linear_start=1e-3, linear_end=0.25)
tables = diffusion_tables(make_beta_schedule("linear", 50, 1e-3, 0.25))
for name in ("sqrt_alphas_cumprod", "posterior_variance"):
    check(f"缓冲区 {name} 就是算出的表", getattr(chain, name), tables[name], atol=1e-7)
chain.register_schedule(beta_schedule="cosine", timesteps=20)
check("换一张表，步数也跟着变", chain.num_timesteps, 20)

# %%
show_source(DDPM.register_schedule,
            "def register_schedule", "super().register_schedule")

# %% [markdown]
# - ① 模型建好之后再换表，就拒绝：网络练的是原来那张表上的 $t$，`logvar` 的长度、存进检查点的超参数也都是照它定的。
# - ② 构造时照常建表。

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - `given_betas` 只收 NumPy 数组；同时给了 `timesteps`，后者被悄悄忽略。
# - NaN 的检查放在损失的权重表上，要整张表都是 NaN 才报警（第 6 节重现过）；$\beta$ 是不是在 $(0,1)$ 内，不检查。
# - 系数表与这里一样，用 float64 算好再转成 float32；只有 `lvlb_weights` 用转换之后的表再算（第 6 章）。
#
# </details>

# %% [markdown]
# ## 小结
#
# - 每一步先缩小再加噪，方差守在 1。$\bar\alpha_t$ 是原图的方差还剩几成。
# - `linear` 对 $\sqrt\beta$ 线性，`sqrt_linear` 才是论文的 linear；`cosine` 从 $\bar\alpha$ 倒着设计。
# - $T$ 不是 1000 时，`linear` 的两端大致要乘 $1000/T$。
# - 系数表用 float64 算，最后舍入一次；不要用 float32 的 $\bar\alpha$ 去算 $1-\bar\alpha$。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 02.1　信噪比 ★
#
# 给一张噪声表 `betas`（NumPy 数组），返回每一步的信噪比 $\mathrm{SNR}_t = \bar\alpha_t/(1-\bar\alpha_t)$。
# 连乘用 `np.cumprod`。

# %%
def snr(betas):
    # 答案
    bar = np.cumprod(1 - betas)
    return bar / (1 - bar)
    # 答案完


grade("02.1", snr)

# %% [markdown]
# ### 02.2　由 ᾱ 反推 β ★★
#
# 反过来：先定下想要的 $\bar\alpha_t$（NumPy 数组，逐项下降），求造出它的噪声表 $\beta_t$。长度不变，约定 $\bar\alpha_{-1}=1$。
# 做对之后，试试 $\bar\alpha_t$ 直线下降的表：`GaussianDiffusion(given_betas=betas_from(np.linspace(0.999, 0.001, 1000)))`。

# %%
def betas_from(bars):
    # 答案
    previous = np.append(1.0, bars[:-1])
    return 1 - bars / previous
    # 答案完


grade("02.2", betas_from)

# %% [markdown]
# ### 02.3　不丢精度的表 ★★★
#
# 给 float64 的 `betas`（NumPy 数组），返回 float32 的张量 $\sqrt{1-\bar\alpha_t}$，每一项的相对误差都要在百万分之一左右。
# 公式人人会写，难在次序：哪一步之后才能换成 float32？

# %%
def noise_table(betas):
    # 答案
    bar = np.cumprod(1 - betas)
    return torch.from_numpy(np.sqrt(1 - bar)).float()
    # 答案完


grade("02.3", noise_table)

# %% [markdown]
# ### 02.4　为什么乘 1000/T ★★
#
# 第 5 节把 `linear` 的两端同乘 $1000/T$，走到头时 $\bar\alpha_{T-1}$ 就大致不变。为什么？
#
# - A：每一步的 $\beta_t$ 与原来相同，只是少走了几步。
# - B：$\ln\bar\alpha_{T-1} = \sum_t\ln(1-\beta_t)\approx-\sum_t\beta_t$，而 $\sum_t\beta_t$ 大致不变。
# - C：$\bar\alpha_{T-1} = 1-\sum_t\beta_t$，而 $\sum_t\beta_t$ 大致不变。
# - D：走到头的信噪比与 $T$ 无关，缩放只是为了数值稳定。

# %%
grade("02.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 02.5　bfloat16 里的 ᾱ ★★★
#
# 用 float64 算好 `linear`（$T=1000$）的 $\bar\alpha_t$，再转换成 bfloat16。前几步都成了 1，第一个不是 1 的 $t$ 是几？
# 可以另开一格，用程序找。

# %%
grade("02.5", None)  # 把 None 换成一个数
