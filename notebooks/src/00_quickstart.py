# %% [markdown]
# # 00 · 一分钟训练一个扩散模型
#
# **学习目标**
#
# - 看见扩散模型做的两件事：把图一步步变成噪声，再从噪声一步步变回图。
# - 在自己的电脑上，用真实的手写数字训练一个 DDPM，看着样本成形。
# - 用两种方法采样，拖动一个滑块，体会 `v_posterior` 管的是什么。
#
# DDPM 是 Denoising Diffusion Probabilistic Models 的缩写（Ho 等，2020）。
# 本课程说“论文”，指的是它；说“参考实现”，指的是那个著名的 `DDPM` 类：它出自 latent-diffusion 仓库，我们对照的是它在 Stable Diffusion 2 的仓库里的后继版本。
#
# **预计用时** 15 分钟，其中训练约 1 分钟（2 个 CPU 核，不需要 GPU，不需要联网）；机器慢，要两三分钟。
# 别的程序正占着处理器时，可能慢上五倍：剩余时间显示几十分钟，就先关掉它们，或者在训练的前一格加一行 `torch.set_num_threads(1)`。
#
# 用法：从上到下逐个运行单元（Shift + Enter）。第一格要导入程序包，得等几秒；训练和采样超过两秒，会有进度条。
# 面板（可以拖的图）要先运行它那一格，控件才会出现；没有运行之前，看到的是一张静止的图。“全部运行”还没有走完时拖它，要等内核空下来，图才跟着变。
# 课程里的每一句要紧的话，都由 `check` 当场核对：给它一句说法、算出的值、应得的值和容差 `atol`，相差不超过容差就印 ✓，否则报错。

# %%
import logging
import warnings

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, DigitsDataModule, load_pretrained, make_beta_schedule
from ddpm_edu.teach.step_progress import StepProgress
from ddpm_edu.training.callbacks import fixed_noise_samples
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.evaluation.metrics import DigitsFrechet
from ddpm_edu.configs.recipes import digits_model_config
from ddpm_edu.teach import check, curve_figure, grid_figure, progress
from ddpm_edu.teach.laboratory import chain_variances
from ddpm_edu.teach.panels import samples_panel
from ddpm_edu.teach.panels.posterior import posterior_grids

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning")
print("准备好了")

# %% [markdown]
# ## 1　数据：1 797 张真实的手写数字
#
# 它们随 scikit-learn 一起安装，8×8 像素，灰度。
# 像素值换算到 $[-1, 1]$：$-1$ 是黑，$1$ 是白。这是扩散模型的惯例，因为噪声也以 0 为中心。

# %%
data = DigitsDataModule(batch_size=64)
data.setup()
batch = next(iter(data.val_dataloader()))
x_start, label = batch["image"], batch["label"]
print("图像", tuple(x_start.shape), "标签", label[:8].tolist())
grid_figure(x_start[:32], nrow=16)

# %% [markdown]
# 图：32 张验证集里的数字。分辨率很低，但每一张都认得出。

# %% [markdown]
# ## 2　加噪：一步就能到任意一步
#
# 加噪过程每一步掺一点高斯噪声，走 $T$ 步。
# 高斯噪声相加还是高斯噪声，所以不必真走：第 $t$ 步的图可以一次算出来，
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\qquad \varepsilon\sim\mathcal N(0, I).$$
#
# $\bar\alpha_t$ 从接近 1 降到接近 0：图的份额越来越小，噪声的份额越来越大。
# 下面载入一个随课程发布的训练好的模型，先只用它的噪声表。

# %%
model = load_pretrained("digits")
steps = [0, 125, 250, 375, 500, 625, 750, 999]
noise = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
frames = [model.q_sample(x_start[:3], torch.full((3,), t), noise) for t in steps]
grid_figure(torch.stack(frames, 1).flatten(0, 1), nrow=len(steps))

# %% [markdown]
# 图：每行一个数字，从左到右 $t = 0, 125, \dots, 999$，用的是同一份噪声。
# 到最右边，已经看不出原来是几。
#
# 两个系数的平方和是 1，噪声与原图独立，方差是 1。所以原图的方差若也在 1 左右，$x_t$ 的方差就一直在 1 左右，网络不必应付忽大忽小的输入。

# %%
signal, spread = model.sqrt_alphas_cumprod, model.sqrt_one_minus_alphas_cumprod
check("两个系数的平方和恒为 1", signal**2 + spread**2, torch.ones(1000), atol=1e-6)
check("第 999 步几乎没有原图了", signal[-1], 0.0, atol=1e-3)
curve_figure(range(1000), {r"$\sqrt{\bar\alpha_t}$": signal, r"$\sqrt{1-\bar\alpha_t}$": spread}, "$t$", "coefficient")

# %% [markdown]
# 图：实线是图的份额，虚线是噪声的份额。两条线在中间交叉，那里两个系数相等。

# %% [markdown]
# ## 3　训练：从带噪的图里猜
#
# 训练只做一件事：随机挑一步 $t$，造出 $x_t$，让网络看着 $x_t$ 和 $t$ 猜一个量。
# 这里猜的是速度 $v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1-\bar\alpha_t}\,x_0$，它是图与噪声的一种组合；
# 知道了 $v$，就能换回 $x_0$ 或 $\varepsilon$。为什么有三种猜法，第 4 章细讲。
#
# 损失就是猜测与真值之差的平方的平均。`DDPM` 是 PyTorch Lightning 的 `LightningModule`（带着训练方法的 `nn.Module`），训练循环交给它的 `Trainer`。

# %%
MAX_STEPS = 800  # 约 40 秒到 1 分多钟；改成 300 可以先快速看一遍
torch.manual_seed(0)
student = DDPM(**digits_model_config(MAX_STEPS))
print(f"网络有 {sum(p.numel() for p in student.model.parameters()):,} 个参数")

# %% [markdown]
# 走到第 20、50、100、300 步和最后一步时，用同一份起始噪声采 8 个样本存下来，训练完摆在一起看。
# 采样用的是指数滑动平均（EMA）的权重，它比最新的权重平稳，第 7 章讲。

# %%
class Watch(pl.Callback):
    """训练途中定期采样，不影响训练"""

    def __init__(self):
        self.frames = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step in (20, 50, 100, 300, MAX_STEPS):
            self.frames.append(fixed_noise_samples(module, 8, steps=20))


watch = Watch()

# %% [markdown]
# 现在训练。进度条显示走了几步、当前的损失和剩余时间；想停就按工具栏的停止按钮：走完手上的一步就停，红底的一行告诉你停在第几步，这是正常的，从下一格接着运行；再运行一次训练那一格，则是在现有的权重上再练一遍。停得太早（不到一百步），后面“明显好于噪声”那句会报错，那是实话。

# %%
# NBVAL_IGNORE_OUTPUT
trainer = pl.Trainer(
    max_steps=MAX_STEPS, max_epochs=-1, accelerator="auto", gradient_clip_val=1.0, limit_val_batches=0,
    callbacks=[watch, StepProgress()],
    logger=False, enable_checkpointing=False, enable_model_summary=False,
)
trainer.fit(student, data)

# %%
grid_figure(torch.cat(watch.frames or [fixed_noise_samples(student, 8, steps=20)]), nrow=8)

# %% [markdown]
# 图：从上到下，训练到第 20、50、100、300 步和最后一步时的样本（停得早，就只有走到的那几行）；每一列的起始噪声相同。
# 先是一团雾，再有笔画的影子，然后有了数字，最后笔画变得干净。
#
# 眼睛会骗人，所以再用一个数来量：Fréchet 距离，在一个小分类器的特征里比较“一批样本”与“一批真图”的分布，越小越好。
# 单看一个数没有意义，要和两条参照线放在一起：真图对真图（再好也就这样），以及纯噪声（作参照）。

# %%
# NBVAL_IGNORE_OUTPUT
score = DigitsFrechet()
generator = torch.Generator().manual_seed(0)
with student.eval().cpu().ema_scope():
    samples = student.sample(1024, sampler="ddim", steps=25, generator=generator)
distance = score(samples)
print(f"真图对真图 {score.floor():.1f}　我们的样本 {distance:.1f}　纯噪声 {score.ceiling():.0f}")

# %%
check("刚训练的模型明显好于噪声", distance < score.ceiling() / 4, True)
check("但还没有好过真图", distance > score.floor(), True)

# %% [markdown]
# ## 4　采样：从噪声走回来
#
# 采样从纯噪声 $x_T\sim\mathcal N(0,I)$（$x_T$ 是论文的记号）出发，反复做同一件事：猜出 $\hat x_0$，往它的方向退一小步。
#
# - **祖先采样**（ancestral）：每退一步，再掺一点新噪声。这是 DDPM 论文的做法。
# - **DDIM** (denoising diffusion implicit models)：不掺新噪声，步子可以更大。起点定了，终点就定了。
#
# 两种方法用的是同一个训练好的网络。

# %%
def draw(sampler, steps, seed=1, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    return model.sample(16, sampler=sampler, steps=steps, generator=generator, **kwargs)


ancestral, ddim = draw("ancestral", 100), draw("ddim", 25)
grid_figure(torch.cat([ancestral, ddim]), nrow=16)

# %% [markdown]
# 图：上排是祖先采样 100 步，下排是 DDIM 25 步，都来自随课程发布的模型。步数只有四分之一，数字一样清楚。
#
# DDIM 没有随机性：同一个起点走两遍，结果完全相同。祖先采样则不同，即使起点相同，途中的噪声也会把它带到别处。

# %%
start = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(2))
check("DDIM：同一起点，同一结果", draw("ddim", 10, seed=1, x_T=start), draw("ddim", 10, seed=2, x_T=start), atol=0)
gap = (draw("ancestral", 10, seed=1, x_T=start) - draw("ancestral", 10, seed=2, x_T=start)).abs().max()
check("祖先采样：同一起点，不同结果", gap > 0.1, True)

# %% [markdown]
# 再看一条轨迹。采样途中每一步都有一个“此刻的猜测” $\hat x_0$，用 `callback` 就能拿到。

# %%
trace = []
draw("ddim", 12, callback=lambda t, x_t, x_recon: trace.append((x_t[3:4], x_recon[3:4])))
x_row, recon_row = (torch.cat(row) for row in zip(*trace))
grid_figure(torch.cat([x_row, recon_row]), nrow=12)

# %% [markdown]
# 图：上排是 $x_t$，下排是同一步的猜测 $\hat x_0$，从左到右去噪。
# 猜测在头几步还很含糊，像是几个数字的平均；$x_t$ 越干净，猜测越肯定。

# %% [markdown]
# ## 5　一个滑块：`v_posterior`
#
# 祖先采样每一步掺多少新噪声？先认识两个量：$\beta_t$ 是加噪第 $t$ 步掺入的噪声的方差；$\tilde\beta_t$ 比它略小，第 5 章推导。
# 理论给出两个极端：
#
# - $\tilde\beta_t$：如果 $x_0$ 是确定的一个点，这个方差恰好对；
# - $\beta_t$：如果 $x_0$ 本来就是标准高斯，这个方差恰好对。
#
# 真实数据平均说来在两者之间。`v_posterior`（记作 $v$，与第 3 节的速度只是同一个字母）在两个方差之间线性混合：
#
# $$\sigma_t^2 = (1-v)\,\tilde\beta_t + v\,\beta_t.$$

# %%
betas = model.exact_table("betas").numpy()
low, mid, high = (torch.from_numpy(diffusion_tables(betas, v)["posterior_variance"]) for v in (0.0, 0.5, 1.0))
check("v=0.5 是两端的平均", mid, 0.5 * (low + high), atol=1e-15)
check("v=1 就是 β", high, model.exact_table("betas"), atol=1e-15)
check("第 0 步、v=0 时方差为 0", low[0], 0.0, atol=0)

# %% [markdown]
# 步数多时，两个极端几乎没有差别；步子迈大了，差别才显出来。
# 数据若是高斯分布，样本的方差能精确地算出来（第 5 章），可以直接比较。

# %%
ends = {T: [chain_variances(make_beta_schedule("cosine", T), std=0.5, v=v)[0] for v in (0.0, 1.0)] for T in (1000, 10)}
for T, (low_end, high_end) in ends.items():
    print(f"走 {T} 步：v=0 时方差是真值的 {low_end:.2f} 倍，v=1 时 {high_end:.2f} 倍")
check("1000 步：两端相差不到 2%", abs(ends[1000][1] - ends[1000][0]) < 0.02, True)

# %% [markdown]
# 换成训练好的模型，走 5、10、20 步。所有的 $v$ 用同一份噪声，图里的变化只来自 $v$。
# 高斯例子里的像素互相独立，真实的图不是，所以合适的 $v$ 也不同；第 5 章会把它量出来。

# %%
samples_panel(posterior_grids(model))

# %% [markdown]
# 面板：拖动滑块，再换一换步数。
# 步数越少、$v$ 越大，背景上的脏点越多：途中多掺的噪声，剩下的几步没有去干净。

# %% [markdown]
# 眼睛看到的，用 Fréchet 距离再量一遍：512 个样本，10 步，两个极端。

# %%
distances = {}
for v in (0.0, 1.0):
    generator = torch.Generator().manual_seed(4)
    distances[v] = score(model.sample(512, steps=10, v_posterior=v, generator=generator))
check("走 10 步时，v=1 比 v=0 离真图更远", distances[1.0] > distances[0.0], True)

# %% [markdown]
# ## 6　课程地图
#
# 01 到 11 逐行读 `DDPM` 的源码，12、13 训练 MNIST 与 CIFAR-10，14 评估，15 找 bug，16 带着学到的去读 latent-diffusion 的原文件。
# 下表由程序对着源码数出来：每一章讲哪些方法、多少行、讲到了几成，有哪些参数卡片。
# 符号与术语见 90，训练不对劲时查 91，教师看 92。
#
# {课程地图}

# %% [markdown]
# 每章末尾有五道会自己批改的习题；15 整章都是：二十四个病例，其中十一个另有一道修好题，共三十五道。做完了几题，随时可以回到这里看。

# %%
progress()

# %% [markdown]
# ## 小结
#
# - 加噪有闭式：$x_t$ 一步就能算出来，所以训练时可以随机挑 $t$。
# - 训练是一个回归问题：从 $x_t$ 和 $t$ 猜出 $v$，由它换回 $x_0$ 或 $\varepsilon$。
# - 采样是反复猜 $\hat x_0$、退一小步；祖先采样途中掺噪声，DDIM 不掺。
# - `v_posterior` 决定掺多少。步数多时无所谓，步数少时要紧。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 00.1　变回像素 ★
#
# 样本在 $[-1, 1]$ 上下，存成图要 0 到 255 的整数。把任意形状的浮点张量 `x` 换成 `uint8`：$-1$ 变成 0，$1$ 变成 255，超出的截断，中间四舍五入。

# %%
def to_pixels(x):
    # 答案
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    # 答案完


grade("00.1", to_pixels)

# %% [markdown]
# ### 00.2　每个样本的损失 ★★
#
# 训练是回归。给出 `pred` 与 `target`，形状都是 $(B, \dots)$，返回每个样本的均方误差，形状 $(B,)$。

# %%
def loss_of_each(pred, target):
    # 答案
    return (pred - target).square().flatten(1).mean(1)
    # 答案完


grade("00.2", loss_of_each)

# %% [markdown]
# ### 00.3　一维的 Fréchet 距离 ★★★
#
# 第 3 节的 Fréchet 距离比较两堆特征，把每堆都当成高斯分布。特征只有一维时，它是两个均值之差的平方，加上两个标准差之差的平方。`a`、`b` 是两个一维张量，长度可以不同；返回一个数。

# %%
def frechet_1d(a, b):
    # 答案
    return (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    # 答案完


grade("00.3", frechet_1d)

# %% [markdown]
# ### 00.4　损失不动了 ★
#
# 训练到后来，进度条上的损失几乎不再变，样本却还在变好。为什么？
#
# - A：梯度消失了，样本变好是碰巧。
# - B：损失的大部分是猜不出的噪声，能再降的只有一点点，样本的好坏正在这一点点里。
# - C：数据用完了，再练只是在背。
# - D：EMA 把损失也平滑掉了。

# %%
grade("00.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 00.5　省了几倍 ★★
#
# $T=1000$。采 64 张图，祖先采样走满 1000 步，DDIM 走 50 步，都是一批算完。前者调用网络的次数是后者的几倍？

# %%
grade("00.5", None)  # 把 None 换成一个数
