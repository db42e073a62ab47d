# %% [markdown]
# # 10 · 训练的一步：可复现、可续、可比
#
# 前九章有了损失、网络和构造函数，可以训练了。训练时的麻烦往往不在公式里：
#
# - 损失变成 NaN，几小时之后才发现，检查点里的权重也有 NaN；
# - 训练断了，从检查点接着跑，损失却和没断过的对不上；
# - 验证损失 `val/loss_vlb` 降了一半，可是同一份权重、同一批验证图，算十次，最大的可以是最小的两倍多。降的这一半，有几分是真的？
#
# 这一章要回答的问题是：**怎样训练，得到的数才信得过，两次才能比？**
#
# 文中的 EMA 是权重的滑动平均：权重每更新一次，它也更新一次；采样时用的是它。下一章细讲。
#
# **学习目标**
#
# - 手写一个没有 Lightning 的训练循环，得到与 `Trainer` 逐位相同的权重。
# - 说出一步训练里 Lightning 依次调用了哪些方法，谁在谁里面。
# - 会续训，说得出除了权重还要取回什么。
# - 会判断两个验证损失能不能比，差多少才算数。
#
# **预计用时** 40 分钟。运行全部单元约 30 秒。

# %%
import os
import tempfile

import torch

from ddpm_edu import DDPM, DigitsDataModule, load_pretrained
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.optim import make_optimizer
from ddpm_edu.randomness import isolated_rng
from ddpm_edu.sampling import spaced_timesteps
from ddpm_edu.teach import card, check, check_order, check_raises, curves_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.training import quiet_trainer
from ddpm_edu.teach.training_figures import process_figure, spread_figure, step_figure
from ddpm_edu.training.stopping import StopOnBadGradient

pictures, labels = handwriting()
os.chdir(tempfile.mkdtemp())  # 检查点写在临时目录里，不弄脏课程的文件夹
data = DigitsDataModule(batch_size=16)
print("准备好了")

# %% [markdown]
# ## 1　先写一个没有 Lightning 的循环
#
# 这是你熟悉的训练循环，走 5 步。行尾的注释，是下一节的图里与这一行对应的框。

# %%
torch.manual_seed(0)
by_hand = DDPM(**toy_model_config())
data.setup("fit")
optimizer = make_optimizer(by_hand)  # configure_optimizers
batches = iter(data.train_dataloader())
for step in range(5):
    batch = next(batches)
    with isolated_rng(by_hand.seed, "train", step, 0):  # 随机数由第几批决定，第 5 节讲
        loss, _ = by_hand.shared_step(batch)  # training_step
    optimizer.zero_grad()  # optimizer_zero_grad
    loss.backward()  # backward
    optimizer.step()  # 更新权重
    by_hand.model_ema(by_hand.model)  # _tick_ema：更新 EMA

# %% [markdown]
# 再用 Lightning 的 `Trainer` 走 5 步。`quiet_trainer` 造的就是 `Trainer`：用 CPU，不写日志，不存检查点，不做验证。

# %%
torch.manual_seed(0)
by_trainer = DDPM(**toy_model_config())
quiet_trainer(max_steps=5).fit(by_trainer, DigitsDataModule(batch_size=16))
pairs = list(zip(by_hand.state_dict().values(), by_trainer.state_dict().values()))
check("手写的循环与 Trainer：权重与 EMA 逐位相同", all(torch.equal(a, b) for a, b in pairs), True)

# %% [markdown]
# 这是在 CPU、单精度上；GPU 上有的算子本身不确定，未必逐位相同。
#
# 既然一样，为什么还用 `Trainer`？因为日志、验证和检查点也由它管，不必自己写。
#
# ## 2　一步训练，谁在谁里面
#
# `Trainer` 负责循环，`DDPM` 负责每一处的内容。`Trainer` 在某个时刻来调用的方法，叫钩子 (hook)。
# 下面真的训练一步，记下谁在谁里面被调用：

# %%
step_figure(DDPM, toy_model_config(), data)

# %% [markdown]
# 图：从算损失到更新 EMA，都在 `AdamW.step` 里面。从上往下是先后，框套着框是“在它里面被调用”。
# 蓝框是钩子，灰框是别的方法；虚线框是 `AdamW.step` 自己做的事，没有记录，是补画的。
#
# 算损失为什么也在优化器里面？因为 Lightning 把“算损失、清零、求梯度”包成一个函数交给 `AdamW.step`，它先调用这个函数，再更新权重。
# 最后它才调用 `_tick_ema`：权重真的更新了，EMA 才更新。
#
# ## 3　从 batch 到损失
#
# 图里 `training_step` 一框，从外往里读：`shared_step` 先取出图像，再交给 `forward`；`forward` 抽一批 $t$，返回 `p_losses`（第 6 章）的结果。
# 所以 `model(x)` 得到的是训练损失，不是图像。
#
# 不同的 $t$ 损失相差很大，所以一批里的 $t$ 抽得偏了，这一批的损失也跟着偏。参数 `t_sampling` 有两种抽法：
#
# - `uniform`：每个 $t$ 单独抽，难免这里挤、那里空。
# - `stratified`：分层抽样 (stratified sampling)。一批有 $B$ 个样本，就把全部步号切成 $B$ 段，每段抽一个；哪个样本分到哪一段，是随机的。

# %%
drawn = {}
for t_sampling in ("stratified", "uniform"):
    drawer = DDPM(**toy_model_config(t_sampling=t_sampling))
    drawn[t_sampling] = drawer.draw_t(torch.zeros(16, 1), torch.Generator().manual_seed(0))
spread_figure(drawn, 1000)

# %% [markdown]
# 图：分层抽样把一批 16 个 $t$ 铺匀了。一条黑线是一个 $t$，浅灰的线把步号等分成 16 段。上排有挤有空，下排每段恰好一个。
#
# 铺匀了也不偏心：两种抽法里，每个 $t$ 的机会都相等，所以损失的期望相同。抖动小了多少，留给章末的小实验。

# %%
card("t_sampling")
for t_sampling in ("uniform", "stratified"):
    drawer, generator = DDPM(**toy_model_config(t_sampling=t_sampling)), torch.Generator().manual_seed(0)
    many = torch.stack([drawer.draw_t(torch.zeros(64, 1), generator) for _ in range(2000)])
    share = torch.histc(many.float(), 10, 0, 1000) / many.numel()
    check(f"{t_sampling}：T 分成十段，每段各占一成", share, torch.full((10,), 0.1), atol=0.005)

# %% [markdown]
# ## 4　优化器管哪些参数
#
# 两次训练要能比，优化器的设置也得相同；续训时，还要取回它的状态（第 7 节）。优化器是 AdamW，参数分成两组。矩阵与卷积核有权重衰减 (weight decay)，每一步往 0 拉一点。
# 一维的参数不衰减：归一化的缩放初值是 1，logvar 的最优点是 $\ln\mathrm{mse}_t$（第 6 章），都不该拉向 0。
#
# 拉多少，由 `weight_decay` 定：

# %%
card("weight_decay")
model = DDPM(**toy_model_config(weight_decay=0.05))
check("只给矩阵与卷积核", [group["weight_decay"] for group in make_optimizer(model).param_groups], [0.05, 0])

# %% [markdown]
# 两组参数的步子多大，都由学习率定：

# %%
card("learning_rate")
model = DDPM(**toy_model_config(learning_rate=3e-4))
check("两组的学习率", [group["lr"] for group in make_optimizer(model).param_groups], [3e-4, 3e-4])

# %% [markdown]
# AdamW 还给每个参数记着两个数：梯度的滑动平均，叫一阶矩；梯度平方的滑动平均，叫二阶矩。它们叫优化器的状态，不在权重里，续训时却少不了（第 7 节）。
# 两个平均各自忘得多快，由 `adam_betas` 定：

# %%
card("adam_betas")
model = DDPM(**toy_model_config(adam_betas=(0.9, 0.99)))
check("两个衰减系数交给了 AdamW", list(make_optimizer(model).param_groups[0]["betas"]), [0.9, 0.99])

# %% [markdown]
# ## 5　随机数由批号决定
#
# 训练的每一步要抽 $t$ 和噪声，有 dropout 时还要抽丢掉哪些单元。若从全局发生器接着抽，中途多画一张图，后面抽到的数就变了，两次训练也就没法比。
# 所以换一种办法：第 $n$ 批用哪些随机数，只由种子和 $n$ 决定，与之前抽过几次无关。

# %%
show_source(DDPM.training_step,
            "def training_step", "with isolated_rng", "self.batches_seen += 1")

# %% [markdown]
# - ① 先切到训练模式，打开 dropout。
# - ② 在 `isolated_rng` 的范围里算损失。括号里的四样合起来叫键 (key)：种子、用途、批号、进程的编号 (rank)。一张卡一个进程；只有一张卡时，编号是 0。
# - ③ 批数加一，它随检查点保存。进度条显示的 `loss` 是不带权重的 `loss_simple`；返回给 Lightning 求梯度的，是总损失。
#
# `isolated_rng` 进入范围时，按键给全局的发生器播种；离开时恢复原状。要动全局的，是因为 dropout 不接受自己的发生器。

# %%
card("seed")
model = DDPM(**toy_model_config(seed=1))
torch.manual_seed(0)
with isolated_rng(model.seed, "train", 7):
    first = torch.randn(3)
outside = torch.randn(3)
torch.manual_seed(0)
check("范围之外的随机数没有受影响", torch.randn(3), outside)
with isolated_rng(model.seed, "train", 7):
    check("同一个键，同样的数", torch.randn(3), first)

# %% [markdown]
# 另有两样不归模型的 `seed` 管：网络的初值由构造之前的 `torch.manual_seed` 决定；数据的次序由数据模块自己的 `seed` 与第几轮决定。三样都定住，在同一台机器的 CPU 上重练，结果就一样。
#
# ## 6　遇到 NaN，当场停下
#
# 梯度里有一个 NaN，更新后的权重就有 NaN，此后的训练全都白费。所以每一步在更新权重之前检查一次。
# 检查由一个回调 (callback) 来做。回调是挂在 `Trainer` 上的对象，也有同名的钩子；下面这个是 `DDPM` 自带的。
#
# 只查梯度不够。一批 16 张 8×8 的图有 1024 个像素，只要有一个猜成 $3\times10^{19}$，它的平方在单精度里就溢出成无穷，损失就坏了；对它的梯度是 $2\times3\times10^{19}/1024$，却还是有限的数。
# 所以损失也要一起查：

# %%
show_source(StopOnBadGradient.on_before_optimizer_step,
            "parameters = [", "norm = norm + 0", "if not norm", stop="if not norm")

# %% [markdown]
# - ① 全部梯度合成一个范数：有一个数坏了，范数就坏了；各数都有限，平方和也可能溢出，那也停。
# - ② 把损失并进来：它有限，0 乘它是 0；它坏了，0 乘它是 NaN。
# - ③ 合成的数坏了，就停下。
#
# 试一次：把最后一层的偏置改成 NaN，再训练。

# %%
torch.manual_seed(0)
poisoned, trainer = DDPM(**toy_model_config()), quiet_trainer(max_steps=3)
with torch.no_grad():
    poisoned.model.diffusion_model.out[-1].bias.fill_(float("nan"))
before = {name: value.clone() for name, value in poisoned.state_dict().items()}
check_raises("损失不是有限的数", lambda: trainer.fit(poisoned, data), "第 0 个优化步")
after = poisoned.state_dict()
check("权重与 EMA 都没有动", all(torch.equal(before[name].nan_to_num(), after[name].nan_to_num()) for name in before), True)

# %% [markdown]
# 训练停在更新之前，所以之前存的检查点都是好的，可以从最后一份续训。
#
# 但原样续训，数据、$t$ 与噪声都照旧，会停在同一步。先改掉原因：数据坏了，清掉它；之前几步的梯度已经太大，加上 `gradient_clip_val=1.0`。
# 要换学习率，还得设 `model.retune = True`，否则以检查点里的为准。
#
# ## 7　停下再继续
#
# 训练 24 步，与“训练 12 步、停下、再走 12 步”，能不能一模一样？每批 64 张，一轮 20 批，所以停在半轮处，接上之后又跨进下一轮。
#
# 检查点里除了权重，还有优化器的状态，还记着走到哪里。这些有没有用？接上时试三种：
#
# - 取回整个检查点。
# - 取回之后，再把 AdamW 的状态清空。
# - 用构造参数 `ckpt_path`（第 9 章），只取权重与 EMA。

# %%
class Remembering(DDPM):
    forget = False  # 为真时，开始训练前清空 AdamW 的状态

    def on_train_start(self):
        if self.forget:
            self.trainer.optimizers[0].state.clear()

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.history.append(loss.item())
        return loss


def train(max_steps, resume=None, forget=False, **config):
    torch.manual_seed(0)
    model = Remembering(**toy_model_config(learning_rate=2e-3, **config))
    model.history, model.forget = [], forget
    trainer = quiet_trainer(max_steps=max_steps)
    trainer.fit(model, DigitsDataModule(batch_size=64), ckpt_path=resume)
    return model, trainer

# %%
whole, _ = train(24)
_, interrupted = train(12)
interrupted.save_checkpoint("stopped.ckpt")
resumed, _ = train(24, resume="stopped.ckpt")
forgetful, _ = train(24, resume="stopped.ckpt", forget=True)
restarted, _ = train(12, ckpt_path="stopped.ckpt")
same = [torch.equal(a, b) for a, b in zip(resumed.state_dict().values(), whole.state_dict().values())]
check("取回整个检查点：与一口气走 24 步的权重、EMA 逐位相同", all(same), True)

# %%
rest = torch.tensor(whole.history[12:])
kinds = {"取回整个检查点": resumed, "取回，再清空 AdamW 的状态": forgetful, "只用构造参数 ckpt_path": restarted}
gaps = {name: (torch.tensor(model.history) - rest).abs() for name, model in kinds.items()}
figure = curves_figure((range(13, 25), gaps, "步", "训练损失与一口气走完的相差多少"))
figure.axes[0].set_yscale("symlog", linthresh=1e-4)  # 0 也画得出的对数轴
figure.axes[0].set_ylim(-2e-5, 10)
figure.axes[0].set_xticks(range(13, 25))
figure

# %% [markdown]
# 图：只有取回整个检查点，后面的损失才一点不差。纵轴是每一步的差，不分高低。
#
# 清空之后，第一步的权重与输入都没有变，损失就相同；但状态是空的，这一步更新出的权重已经不同。
#
# 只用构造参数，AdamW 的状态也没有取回，批数从 0 数起，$t$、噪声与数据都从头来：它的差里有一部分只是题目不同。
#
# 所以续训要用 `fit(ckpt_path=...)`，它取回整个检查点：权重与 EMA、优化器的状态、学习率调度走到哪里、见过几批、数据取到第几批。
#
# 数据取到第几批，由数据模块记在自己的 `state_dict` 里。自己写数据模块，也要写 `state_dict` 与 `load_state_dict`。
#
# ## 8　验证：两个数要能比
#
# 同样的权重，同样的验证图，损失能差多少？用训练好的模型与 250 张验证图，不定住随机数，连算十次。

# %%
torch.manual_seed(0)
pretrained = load_pretrained("digits").eval()
validation = {"image": load_digits_split()["val"][0]}
with torch.no_grad():
    values = [float(pretrained.shared_step(validation)[1]["val/loss_vlb"]) for _ in range(10)]
check_order("val/loss_vlb：最大是最小的几倍", 2, max(values) / min(values), digits=2)
halved = sum(later <= earlier / 2 for earlier in values for later in values)
print(f"任取两个数，一个当从前，一个当现在：90 种取法里，{halved} 种“降了一半”")

# %% [markdown]
# 权重没有动，也会“降了一半”。它为什么抖得厉害？`loss_vlb` 给很小的 $t$ 极大的权重（第 6 章），最小的几个 $t$ 抽没抽到，要看运气。
#
# `DDPM` 的办法是每次验证都用同一份随机数：

# %%
show_source(DDPM._evaluate,
            "def _evaluate", "if self.use_ema:", "losses = {name.replace")

# %% [markdown]
# - ① 键里没有训练的步数，所以每次验证用同样的 $t$ 与噪声，前后可比。
# - ② 再用 EMA 的权重算，键相同，所以 $t$ 与噪声也相同。
# - ③ 换成 `val/` 或 `test/` 开头的名字，交给 Lightning 记录。
#
# 用不用同一份随机数，差别有多大？练一个小模型，拿它的原权重与 EMA 来比：换 20 份随机数，每一份都让两套权重各算一次 `val/loss`。
# 先用同一份算的两个数相减；再拿第 $k$ 份算的原权重，去减第 $k-1$ 份算的 EMA（第 1 份减最后一份），两边的随机数就不同了，平均却还一样。

# %%
def val_losses(model, *key):
    """用 key 定住随机数，算一次验证损失"""
    model.eval()
    with torch.no_grad(), isolated_rng(*key):
        return {name: value.item() for name, value in model.shared_step(validation)[1].items()}


def raw_and_ema(model, *key):
    raw = val_losses(model, *key)["val/loss"]
    with model.ema_scope():
        return raw, val_losses(model, *key)["val/loss"]


torch.manual_seed(0)
learner = DDPM(**toy_model_config(learning_rate=4e-3, parameterization="v", beta_schedule="cosine", t_sampling="stratified"))
quiet_trainer(max_steps=100, gradient_clip_val=1.0).fit(learner, DigitsDataModule(batch_size=32))

# %%
# NBVAL_IGNORE_OUTPUT
raw, ema = torch.tensor([raw_and_ema(learner, "比", k) for k in range(20)], dtype=torch.float64).T
gaps = {"同一份随机数": raw - ema, "两份不同的": raw - ema.roll(1)}
print(f"EMA 平均低 {(raw - ema).mean():.4f} ± {(raw - ema).std() / 20**0.5:.4f}")
for name, gap in gaps.items():
    print(f"{name}：差的标准差 {gap.std():.4f}；20 次里有 {int((gap < 0).sum())} 次，看上去是原权重更低")
figure = curves_figure((range(1, 21), gaps, "第几次", "val/loss：原权重减去 EMA"))
figure.axes[0].axhline(0, color="black", linewidth=0.8)
figure.axes[0].set_xticks(range(1, 21))
figure

# %% [markdown]
# 图：用同一份随机数，总是 EMA 更低；用两份不同的，名次时对时错。纵轴在 0 以上，是 EMA 更低。
#
# EMA 只低一点。用两份不同的随机数，差的标准差比这一点还大，盖住了它；用同一份，两边的抖动大部分抵消，标准差就小得多。
#
# ± 后面是标准误。它只算了 $t$ 与噪声的运气，因为验证图始终是这 250 张。
#
# 所以，拿两个验证损失来比，要满足三个条件：
#
# - **同一个量**：验证集、预测目标、噪声表、`loss_type` 与损失各项的权重都相同。例如预测噪声的与预测 v 的，`val/loss` 不能比。
# - **同一份随机数**：模型的 `seed`、`t_sampling`、验证的批大小、卡数与设备都相同。
# - **差得够多**：换 10 个键，每个键让两份权重各算一次 `val_losses`，得 10 个差。差的标准差除以 $\sqrt{10}$，是平均的标准误；平均超过标准误的三倍，才说谁更好。
#
# 这样比出来的，只是这两份权重谁好。要比两种设置，还得各换几个种子重新训练。
#
# ## 9　挑检查点，看样本
#
# 验证损失用的是同一份随机数，可以拿来粗挑检查点。但每份只用一个键，相近的几份分不出高下；要断定哪份更好，照第 8 节换 10 个键再比。
#
# 有验证集时，`DDPM` 自带的回调按 `monitor` 留下最好的一份，另存最后一份。下面故意用太大的学习率，让损失后来变坏。

# %%
card("monitor")
scores = []


class Scored(DDPM):
    def on_validation_end(self):
        if not self.trainer.sanity_checking:
            scores.append(float(self.trainer.callback_metrics["val/loss_ema"]))


torch.manual_seed(0)
trainer = quiet_trainer(max_steps=6, limit_val_batches=2, val_check_interval=2, enable_checkpointing=True)
trainer.fit(Scored(**toy_model_config(monitor="val/loss_ema", learning_rate=0.05)), data)
check("留下的是三次验证里 val/loss_ema 最低的一份", float(trainer.checkpoint_callback.best_model_score) == min(scores), True)
check("最低的不是最后一次", min(scores) < scores[-1], True)

# %% [markdown]
# 样本也要能比。`log_images` 的随机数是固定的，所以前后两次的图从同一份噪声出发。

# %%
painter = load_pretrained("mnist").eval()
logged, again = (painter.log_images({"image": pictures, "label": labels}, N=8, n_row=2, steps=9, progress=False) for _ in range(2))
check("再画一次，样本逐位相同", torch.equal(again["samples"], logged["samples"]), True)
times = [f"$t={t}$" for t in spaced_timesteps(painter.num_timesteps, 9)]
process_figure({"加噪": (logged["diffusion_row"], ["原图", *times]), "去噪": (logged["denoise_row"], [*times[::-1], "样本"])})

# %% [markdown]
# 图：`log_images` 画的两个过程。上下两块用的是同样的标签，所以数字相同，字迹不同。
#
# 这一章没有读到的方法，源码在[源码精读](93_source_reading.ipynb)第 8 节。

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - 参考实现的构造函数从不设置学习率，要由外面的训练脚本补上；权重衰减对偏置、归一化和 logvar 也生效。
# - 参考实现遇到 NaN 继续训练，坏权重会存进检查点。
# - 参考实现载入没有 EMA 的文件时，EMA 停在随机的初值，用它采样只有噪声。
# - 参考实现验证时，原权重与 EMA 用的不是同一份随机数，两条损失没法比。
# - 参考实现的 `log_images` 每次走满 $T$ 步，过程图的中间结果不截断；要的键只缺一部分就 KeyError，全都不存在时却悄悄返回全部。
#
# </details>

# %% [markdown]
# ## 小结
#
# **怎样训练，得到的数才信得过，两次才能比？**
#
# - 可复现：初值由 `torch.manual_seed` 定；$t$、噪声与 dropout 由种子、用途、批号、进程的编号定；数据的次序由数据模块的种子与轮次定。
# - 遇到 NaN：在更新权重之前停下，存下的检查点都还是好的；改掉原因，再续训。
# - 可续：用 `fit(ckpt_path=...)` 取回整个检查点，在同一台机器的 CPU 上就与从没停过逐位相同。
# - 可比：先要是同一个量，再要用同一份随机数，差还要大过抖动。随机数不同，EMA 的好处就被抖动盖住，名次时对时错。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 10.1　谁该衰减 ★
#
# 把模块 `model` 的参数分成两组：要衰减的（矩阵与卷积核）、不衰减的（一维的：偏置、归一化的缩放、`logvar`）。不要求梯度的参数，哪一组都不放。
# 返回两个列表，里面是参数的名字，次序同 `model.named_parameters()`。

# %%
def decay_groups(model):
    # 答案
    pairs = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [name for name, p in pairs if p.ndim >= 2], [name for name, p in pairs if p.ndim < 2]
    # 答案完


grade("10.1", decay_groups)

# %% [markdown]
# ### 10.2　梯度累积 ★★
#
# 显存装不下一大批，就切成几小批 `parts`（大小相同的张量）。写出一次更新：一小批一小批地求梯度，攒起来，一共只走一步，结果与一次算完整批相同。
# 一小批的损失是 `model(part).square().mean()`。传进来的 `model` 里可能还有上一步留下的梯度。返回 `model`。

# %%
def one_update(model, optimizer, parts):
    # 答案
    optimizer.zero_grad()
    for part in parts:
        (model(part).square().mean() / len(parts)).backward()
    optimizer.step()
    return model
    # 答案完


grade("10.2", one_update)

# %% [markdown]
# ### 10.3　不惊动别人的随机数 ★★★
#
# `function` 没有参数，里面用全局的随机数（`torch.randn` 之类）。把它包成一个新函数返回：每次调用，都像刚用 `seed` 播过种那样执行，得到同样的结果；
# 调用之后，全局的随机数与没有调用过一样，`function` 中途抛出异常时也是。只管 CPU 的随机数。

# %%
def with_seed(function, seed):
    # 答案
    def wrapped():
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        try:
            return function()
        finally:
            torch.set_rng_state(state)

    return wrapped
    # 答案完


grade("10.3", with_seed)

# %% [markdown]
# ### 10.4　忘了进程的编号 ★
#
# 四张卡一起训练，每张卡是一个进程，每步算 16 张图。假如 `isolated_rng` 的键里没有进程的编号，会怎样？
#
# - A：四张卡算出的梯度一模一样，等于只有一张卡在干活。
# - B：四张卡的权重会渐渐不同。
# - C：四张卡的图不同，$t$ 与噪声却相同，梯度的抖动比应有的大。
# - D：梯度的期望错了，训练会偏向某些 $t$。

# %%
grade("10.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 10.5　分层抽样的好处 ★★
#
# 一批有 $B$ 个样本，这一批的平均 $t$ 有一个标准差。`uniform` 时的标准差是 `stratified` 时的几倍？
# 写成 $B$ 的函数，再填 $B=16$ 时的值。设 $T$ 很大，可以把 $t$ 当成连续的；打乱次序不影响平均。

# %%
grade("10.5", None)  # 把 None 换成一个数

# %% [markdown]
# ### 小实验　抖动里有多少是 t 的运气
#
# 改一处，量一量，写三句话。第 8 节的模型用的是分层抽样。另开一格，设 `learner.t_sampling = "uniform"`，不重新训练，各用 200 份随机数算 `val_losses(learner, "量", k)`，比较 `val/loss` 与 `val/loss_vlb` 的标准差；再量 `raw_and_ema(learner, "量", k)` 两数之差的标准差（一共约一分钟）。
# 先猜：一批 250 张图，每张各抽一个 $t$，换成 `uniform`，损失的标准差会大多少？差的标准差呢？
#
# <!-- 参考答案 -->
# **参考答案**　各两百份随机数，± 后面是标准差自己的标准误：
#
# | 标准差 | 分层抽样 | 均匀抽样 |
# |:--|--:|--:|
# | `val/loss`（平均 0.415） | 0.0055 ± 0.0003 | 0.0109 ± 0.0005 |
# | `val/loss_vlb`（平均 0.0052） | 0.0015 ± 0.0001 | 0.0025 ± 0.0001 |
# | EMA 低了多少 | 0.0012 ± 0.0001 | 0.0012 ± 0.0001 |
#
# 均匀抽样时，`val/loss` 的方差约四分之三、`val/loss_vlb` 的约三分之二来自 $t$ 的运气；分层抽样让 $t$ 铺匀，只剩图与噪声的运气。
# 差的标准差不变，因为同一份随机数里，两边抽到的 $t$ 本来就相同，这份运气早已抵消。
# 所以比两份权重，先用同一份随机数，分不分层不要紧。
#
# ```python
# for kind in ("stratified", "uniform"):
#     learner.t_sampling = kind
#     found = [val_losses(learner, "量", k) for k in range(200)]
#     for name in ("val/loss", "val/loss_vlb"):
#         values = torch.tensor([losses[name] for losses in found])
#         print(kind, name, f"平均 {values.mean():.4f}，标准差 {values.std():.5f} ± {values.std() / 398**0.5:.5f}")
#     pairs = torch.tensor([raw_and_ema(learner, "量", k) for k in range(200)])
#     gap = (pairs[:, 0] - pairs[:, 1]).std()
#     print(kind, f"差的标准差 {gap:.5f} ± {gap / 398**0.5:.5f}")
# learner.t_sampling = "stratified"
# ```
#
# <!-- 参考答案完 -->
