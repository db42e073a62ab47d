# %% [markdown]
# # 10 · 训练的一步：可复现、可续、可比
#
# 前九章有了损失、网络和构造函数，可以训练了。真正训练时，麻烦往往不在公式里：
#
# - 损失变成 NaN，几小时之后才发现，检查点里的权重也有 NaN；
# - 训练断了，从检查点接着跑，损失却和没断过的对不上；
# - 验证损失 `val/loss_vlb` 降了一半。可是同一个模型、同一批验证图，算十次，最大的平均是最小的 2.2 倍。降的这一半，有几分是真的？
#
# 这一章要回答的问题是：**怎样训练，得到的数才信得过，两次才能比？**
#
# 要回答它，先得看清训练的一步，前四节就拆开这一步。第 5 节定住随机数；第 6 到 8 节对付上面的麻烦，依次是拦住 NaN、断了再续、比较验证损失；第 9 节挑检查点。
#
# 文中的 EMA 是权重的滑动平均：权重每更新一次，它也跟着更新一次；采样时用的是它。下一章细讲。
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
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.images import log_images
from ddpm_edu.optim import make_optimizer
from ddpm_edu.files.persistence import Persistence
from ddpm_edu.randomness import isolated_rng
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach import card, check, check_order, check_raises, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.diagrams import nested_figure
from ddpm_edu.teach.figures import GRAY, INK, empty_figure, plain_axes
from ddpm_edu.teach.training import quiet_trainer
from ddpm_edu.training.stopping import StopOnBadGradient

# %%
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
    optimizer.step()  # AdamW
    by_hand.model_ema(by_hand.model)  # _tick_ema（课程自己的方法）：更新 EMA

# %% [markdown]
# 再用 Lightning 的 `Trainer` 走 5 步。`quiet_trainer` 造的就是 `Trainer`，只换了一组默认值：用 CPU，不写日志，不存检查点，不做验证。

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
# `Trainer` 负责循环，我们的 `DDPM` 负责每一处的内容。`Trainer` 在某个时刻来调用的方法，叫钩子 (hook)。
# 钩子谁先谁后，谁在谁里面？给这些方法各包一层，让它们在被调用时记下自己的名字与深度。

# %%
HOOKS = ["setup", "configure_optimizers", "optimizer_step", "training_step", "optimizer_zero_grad", "backward", "on_before_optimizer_step"]
OURS = ["shared_step", "get_input", "forward", "draw_t", "p_losses", "apply_model", "_tick_ema"]
calls, running = [], []


def recorded(name):
    def wrapper(self, *args, **kwargs):
        calls.append((len(running), name))
        running.append(name)
        result = getattr(DDPM, name)(self, *args, **kwargs)
        running.pop()
        return result
    return wrapper


Recorded = type("Recorded", (DDPM,), {name: recorded(name) for name in HOOKS + OURS})
torch.manual_seed(0)
quiet_trainer(max_steps=1).fit(Recorded(**toy_model_config()), data)

# %%
notes = {"setup": "整个训练一次", "configure_optimizers": "整个训练一次：造优化器", "optimizer_step": "每步一次：里面才算损失",
         "training_step": "算损失", "shared_step": "训练与验证共用", "get_input": "从字典里取图", "forward": "就是训练损失",
         "draw_t": "抽一批 t", "p_losses": "加噪、预测、比较", "apply_model": "网络的前向", "optimizer_zero_grad": "梯度清零",
         "backward": "求梯度", "on_before_optimizer_step": "回调在这里检查 NaN",
         "AdamW": "更新权重", "_tick_ema": "更新 EMA"}
names = [name for _, name in calls]
inside = [names.index(name) for name in ("training_step", "optimizer_zero_grad", "backward", "_tick_ema")]
check("算损失、清零、求梯度、更新之后的 EMA，依次发生", inside == sorted(inside), True)
update = names.index("_tick_ema")
nested_figure([*calls[:update], (1, "AdamW"), *calls[update:]], notes, HOOKS, added=("AdamW",), width=7.0)

# %% [markdown]
# 图：每一步要做的事，从算损失到更新 EMA，都在 `optimizer_step` 里面。从上往下是先后，框套着框是“在它里面被调用”。
# 蓝框是钩子，由 `Trainer` 来调用；灰框也是我们的方法，由别的方法调用；虚线框是 PyTorch 的优化器，是补画的。
#
# `training_step` 为什么在 `optimizer_step` 里面？因为 Lightning 把“算损失、清零、求梯度”包成一个函数交给优化器，优化器先调用这个函数，再更新权重。
#
# `_tick_ema` 登记在优化器上，优化器更新完权重就调用它。所以权重真的更新了，EMA 才更新。第 1 节的循环里没有 `optimizer_step` 这一行，因为它是包着整步的框。
#
# ## 3　从 batch 到损失
#
# 图里 `training_step` 一框，从外往里读：`shared_step` 先用 `get_input` 从字典里取出图像，再交给 `forward`；
# `forward` 用 `draw_t` 抽一批 $t$，返回 `p_losses`（第 6 章）的结果。所以 `model(x)` 得到的是训练损失，不是图像。源码都在附里。
#
# 不同的 $t$ 损失相差很大，所以一批里的 $t$ 抽得偏了，这一批的损失也跟着偏。参数 `t_sampling` 有两种抽法：
#
# - `uniform`：各抽各的，难免这里挤、那里空。
# - `stratified`：分层抽样 (stratified sampling)。一批有 $B$ 个样本，就把全部步号切成 $B$ 段，每段抽一个。

# %%
figure, counts = empty_figure(9.0, 1.6), {}
ax = plain_axes(figure.subplots())
ax.grid(False)
ax.vlines(torch.arange(17) * 1000 / 16, -0.6, 1.6, color="#cccccc", linewidth=0.8)
for row, t_sampling in enumerate(["stratified", "uniform"]):
    drawer = DDPM(**toy_model_config(t_sampling=t_sampling))
    drawn = drawer.draw_t(torch.zeros(16, 1), torch.Generator().manual_seed(0))
    counts[t_sampling] = torch.histc(drawn.float(), 16, 0, 1000)
    ax.plot(drawn, [row] * 16, "|", color=INK, markersize=20, markeredgewidth=2)
ax.set(xlabel="步号 $t$", yticks=[0, 1], yticklabels=["stratified", "uniform"], ylim=(-0.6, 1.6), xlim=(-2, 1002))
check("stratified：16 段里各有一个", counts["stratified"], torch.ones(16))
print("uniform：各段的个数", counts["uniform"].int().tolist())
figure

# %% [markdown]
# 图：分层抽样把一批 16 个 $t$ 铺匀了。一条黑线是一个 $t$，浅灰的线把步号等分成 16 段。上排有挤有空，下排每段恰好一个。
#
# 铺匀了也不偏心：两种抽法里，每个 $t$ 的机会都相等，下面抽许多批来核对。损失的抖动小多少，留给章末的小实验去量。

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
# `configure_optimizers` 造的是 AdamW，参数分成两组。矩阵与卷积核有权重衰减 (weight decay)，每一步往 0 拉一点；一维的参数不衰减。
# 为什么？归一化的缩放初值是 1，logvar 的最优点是 $\ln\mathrm{mse}_t$（第 6 章），不该拉向 0；偏置是照惯例。
#
# 每个参数，AdamW 另外记着两个数：梯度的滑动平均，叫一阶矩 (first moment)；梯度平方的滑动平均，叫二阶矩 (second moment)。`adam_betas` 是这两个平均的衰减系数。
# 两个矩，加上走过的步数，合称优化器的状态。它不在权重里，续训时却少不了（第 7 节）。

# %%
card("weight_decay")
card("learning_rate")
card("adam_betas")
model = DDPM(**toy_model_config(weight_decay=0.05, learning_rate=3e-4, adam_betas=(0.9, 0.99), learn_logvar=True))
matrices, vectors = make_optimizer(model).param_groups
check("weight_decay 只给矩阵与卷积核", [matrices["weight_decay"], vectors["weight_decay"]], [0.05, 0])
check("logvar 在不衰减的一组", any(p is model.logvar for p in vectors["params"]), True)
check("学习率与两个衰减系数交给了 AdamW", [matrices["lr"], *matrices["betas"]], [3e-4, 0.9, 0.99])

# %% [markdown]
# ## 5　随机数由批号决定
#
# 训练的每一步要抽 $t$ 和噪声，有 dropout 时还要抽丢掉哪些单元。若从全局发生器接着抽，中途多画一张图，后面抽到的数就变了，两次训练也就没法比。
# 所以换一种办法：第 $n$ 批用哪些随机数，只由种子和 $n$ 决定，与之前抽过几次无关。

# %%
show_source(DDPM.training_step,
            "def training_step", "with isolated_rng", "self.batches_seen += 1", "self.log_dict")

# %% [markdown]
# - ① 先切到训练模式，打开 dropout；从 Lightning 2.2 起，`Trainer` 不再替人切换。
# - ② 在 `isolated_rng` 的范围里算损失。括号里的四样合起来叫键 (key)：种子、用途、批号、进程的编号 (rank)。多卡训练时，一张卡是一个进程；只有一张卡时，编号是 0。
# - ③ 见过的批数加一，它随检查点保存。
# - ④ 记录各项损失，返回总损失，交给 Lightning 去求梯度。进度条上的 `loss` 是 `loss_simple`，不是返回的总损失。
#
# `isolated_rng` 进入范围时，按键给全局的发生器播种；离开时恢复原状。为什么动全局的？dropout 不接受自己的发生器。

# %%
torch.manual_seed(0)
with isolated_rng(1, "train", 7):
    first = torch.randn(3)
outside = torch.randn(3)
torch.manual_seed(0)
check("范围之外的随机数没有受影响", torch.randn(3), outside)
with isolated_rng(1, "train", 7):
    check("同一个键，同样的数", torch.randn(3), first)

# %% [markdown]
# `seed` 管的是这些随机数，不管网络的初值；初值由构造之前的 `torch.manual_seed` 决定。两样都定住，训练才能重现。

# %%
card("seed")


def weights_and_noise(start, seed):
    torch.manual_seed(start)
    model = DDPM(**toy_model_config(seed=seed))
    with isolated_rng(model.seed, "train", 0, 0):
        return next(model.parameters()).detach(), torch.randn(3)


weights, noise = weights_and_noise(0, seed=0)
for start, seed in ((0, 0), (0, 1), (1, 0)):
    other_weights, other_noise = weights_and_noise(start, seed)
    said = ["相同" if same else "不同" for same in (start == 0, seed == 0)]
    found = ["相同" if torch.equal(*pair) else "不同" for pair in ((weights, other_weights), (noise, other_noise))]
    check(f"manual_seed({start})，seed={seed}：初值{said[0]}，噪声{said[1]}", found == said, True)

# %% [markdown]
# 还剩一样：数据的次序。每一轮把训练图打乱一次，次序由数据模块自己的 `seed` 与第几轮决定，也不用全局发生器。

# %%
def two_epochs(seed):
    loader = DigitsDataModule(batch_size=16, seed=seed).train_dataloader()
    return [torch.cat([batch["image"] for batch in loader]) for _ in range(2)]


first, second = two_epochs(seed=0)
check("种子与轮次都相同：次序相同", all(map(torch.equal, two_epochs(seed=0), [first, second])), True)
check("下一轮：次序不同", not torch.equal(first, second), True)
check("种子不同：次序不同", not torch.equal(first, two_epochs(seed=1)[0]), True)

# %% [markdown]
# ## 6　遇到 NaN，当场停下
#
# 梯度里有一个 NaN，更新后的权重就有 NaN，下一步的损失也是 NaN，此后存下的检查点都不能用。所以每一步在更新权重之前检查一次。
# 检查由一个回调 (callback) 来做。回调是挂在 `Trainer` 上的对象，也有同名的钩子；下面这个，`DDPM` 会自动带上。

# %%
show_source(StopOnBadGradient.on_before_optimizer_step,
            "def on_before_optimizer_step", "parameters = [", "norm = norm + 0", "if not norm")

# %% [markdown]
# - ① 这时梯度已经算好，权重还没更新。fp16 混合精度时，梯度溢出的步由缩放器 (GradScaler) 跳过，这里不查；损失仍在 `on_before_backward` 里查。
# - ② 优化器管的全部参数，梯度合成一个范数：有一个数是 NaN 或无穷，范数就不是有限的数。
# - ③ 加上 0 乘损失：损失有限，加的是 0；损失坏了，加的是 NaN。
# - ④ 在 GPU 上，读一个数要等显卡做完排着的计算，所以损失与梯度并成一个数，每步只读一次。它坏了就停下。
#
# 为什么不能只看梯度？损失坏了，梯度未必坏：平方溢出成无穷，它的导数却可能还有限。

# %%
pixel = torch.tensor(3e19, requires_grad=True)
loss = pixel.square()
loss.backward()
check("损失是无穷，梯度却有限", loss.isinf() and pixel.grad.isfinite(), True)

# %% [markdown]
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
check("优化器一步也没有走，还没有状态", len(trainer.optimizers[0].state), 0)

# %% [markdown]
# 训练停在更新之前，所以之前存的检查点都是好的，可以从最后一份续训。

# %% [markdown]
# ## 7　停下再继续
#
# 训练 24 步，与“训练 12 步、停下、再走 12 步”，能不能一模一样？每批 64 张，一轮 20 批，所以停在半轮处，接上之后又跨进下一轮。
#
# 停下之后有两种接法：`fit(ckpt_path=...)` 取回整个检查点；构造时的 `ckpt_path`（第 9 章）只取权重与 EMA，其余从头开始。
# 优化器的状态有没有用？另试一种：取回整个检查点，再把 AdamW 的状态清空。

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


def train(max_steps, resume=None, weights=None, forget=False):
    torch.manual_seed(0)
    model = Remembering(**toy_model_config(learning_rate=2e-3, ckpt_path=weights))
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
only_weights, _ = train(12, weights="stopped.ckpt")
same = [torch.equal(a, b) for a, b in zip(resumed.state_dict().values(), whole.state_dict().values())]
check("取回整个检查点：与一口气走 24 步的权重、EMA 逐位相同", all(same), True)

# %%
rest = torch.tensor(whole.history[12:])
kinds = {"取回整个检查点": resumed, "取回，再清空 AdamW 的状态": forgetful, "只取权重": only_weights}
gaps = {name: torch.tensor(model.history) - rest for name, model in kinds.items()}
kept, cleared, start_over = gaps.values()
check("取回整个检查点：后 12 步的损失都相同", kept.abs().max(), 0)
check("清空状态：第一步相同，第二步起不同", cleared[0] == 0 and cleared[1] != 0, True)
check("只取权重：第一步就不同", start_over[0] != 0, True)
del gaps["只取权重"]
figure = curves_figure((range(13, 25), gaps, "步", "训练损失，减去一口气走完的"))
figure.axes[0].set_xticks(range(13, 25))
figure

# %% [markdown]
# 图：取回整个检查点，后面的损失一点不差；清空 AdamW 的状态，从第二步起就岔开。纵轴是接上之后每一步的训练损失，减去一口气走 24 步的。
# 清空之后损失多半低些，不说明清空更好，只说明已是另一次训练。
#
# - 清空状态，为什么第二步才岔开？第一步的权重与输入都相同，损失就相同；但状态是空的，这一步更新出的权重已经不同。
# - 只取权重，为什么第一步就岔开？权重相同，输入却不同：批数从 0 数起，抽到的 $t$ 与噪声就变了；数据也从头取起。
#
# 所以续训要取回整个检查点，里面除了权重与 EMA，还有优化器的状态、学习率调度走到哪里、见过几批、数据取到第几批。
#
# 数据取到第几批，是数据模块在自己的 `state_dict` 里记下的。自己写数据模块时，也要写 `state_dict` 与 `load_state_dict`，否则续训会从这一轮的头取起。
#
# ## 8　验证：两个数要能比
#
# 回到开头：同样的权重，同样的验证图，损失能差多少？用训练好的模型与 250 张验证图，不定住随机数，连算十次。

# %%
torch.manual_seed(0)
pretrained = load_pretrained("digits").eval()
validation = {"image": load_digits_split()["val"][0]}
with torch.no_grad():
    loose = [pretrained.shared_step(validation)[1] for _ in range(10)]
spans = {name: [float(losses[name]) for losses in loose] for name in ("val/loss", "val/loss_vlb")}
ratio = {name: max(values) / min(values) for name, values in spans.items()}
check_order("val/loss：最大是最小的几倍", 1.05, ratio["val/loss"])
check_order("val/loss_vlb：最大是最小的几倍", 2, ratio["val/loss_vlb"], digits=2)

# %% [markdown]
# `val/loss` 差 9%，`val/loss_vlb` 差到两倍多。另算 33 组，`val/loss_vlb` 平均差 2.23 倍，标准误 (standard error) 0.04。
# 它为什么抖得厉害？它给很小的 $t$ 极大的权重（第 6 章），而最小的几个 $t$ 是多少、落在哪张图上，要看运气。
#
# 所以 `DDPM` 每次验证都用同一份随机数：

# %%
show_source(DDPM._evaluate,
            "def _evaluate", "with isolated_rng", "if self.use_ema:", "losses = {name.replace")

# %% [markdown]
# - ① 键里没有训练的步数，所以每次验证用同样的 $t$ 与噪声，前后可比。
# - ② 先用正在训练的权重算。
# - ③ 再用 EMA 的权重算，键相同，所以 $t$ 与噪声也相同。
# - ④ 换成 `val/` 或 `test/` 开头的名字，交给 Lightning 记录。
#
# 固定随机数有没有用？把一个只练了 100 步的小模型，与随包的 `digits`（网络更大，走了 4000 步）比 `val/loss_vlb`。两者预测的都是 v，噪声表与损失的权重也相同，算的是同一个量。
# 各算十次：一种是各抽各的，一种是每次两个模型共用一份随机数。

# %%
def val_losses(model, *key):
    """用 key 定住随机数，算一次验证损失"""
    model.eval()
    with torch.no_grad(), isolated_rng(*key):
        return {name: value.item() for name, value in model.shared_step(validation)[1].items()}


torch.manual_seed(0)
learner = DDPM(**toy_model_config(learning_rate=4e-3, parameterization="v", beta_schedule="cosine", t_sampling="stratified"))
quiet_trainer(max_steps=100, gradient_clip_val=1.0).fit(learner, DigitsDataModule(batch_size=32))
check("两个模型的 loss_vlb 是同一个量", torch.equal(learner.lvlb_weights, pretrained.lvlb_weights), True)
vlb = {name: torch.tensor([val_losses(model, key, k)["val/loss_vlb"] for k in range(10)])
       for name, model, key in (("小模型", learner, "比"), ("另抽的小模型", learner, "另"), ("随包的", pretrained, "比"))}

# %%
ratios = {"同一份随机数": vlb["随包的"] / vlb["小模型"], "各抽各的": vlb["随包的"] / vlb["另抽的小模型"]}
figure = curves_figure((range(1, 11), ratios, "第几次", "val/loss_vlb：随包的 ÷ 小模型"))
ax = figure.axes[0]
ax.set(ylim=(0, 1.3), xticks=range(1, 11))
ax.axhline(1, color=INK, linewidth=0.8)
ax.text(10.2, 1.02, "两个一样", fontsize=9, ha="right", va="bottom")
for line, marker, color in zip(ax.lines, "os", (INK, GRAY)):
    line.set(marker=marker, markersize=5, color=color)
ax.legend(fontsize=9, loc="lower right", framealpha=0.85, edgecolor="none")
figure

# %% [markdown]
# 图：用同一份随机数，比值稳；各抽各的，比值忽高忽低。纵轴是随包的模型的 `val/loss_vlb` 除以小模型的，越小，随包的看上去越好。

# %%
# NBVAL_IGNORE_OUTPUT
for name, ratio in ratios.items():
    print(f"{name}：随包的模型是小模型的 {ratio.min():.2f} 到 {ratio.max():.2f} 倍")
check("同一份随机数：随包的模型十次都低了两成以上", bool((ratios["同一份随机数"] < 0.8).all()), True)

# %% [markdown]
# 十次的比值都小于 1，各抽各的也没有排错名次；可是降了多少说不准，从 0.2 倍到 0.9 倍都有。开头的“降了一半”就是这样一个数。用同一份随机数，是 0.5 到 0.7 倍。
#
# 差距再小些，名次也会错。拿原权重与 EMA 试试：换 20 份随机数，每一份都让两套权重各算一次。再错开一份来比，就成了各抽各的。

# %%
# NBVAL_IGNORE_OUTPUT
def raw_and_ema(model, *key):
    raw = val_losses(model, *key)["val/loss"]
    with model.ema_scope():
        return raw, val_losses(model, *key)["val/loss"]


paired = torch.tensor([raw_and_ema(learner, "比", k) for k in range(20)], dtype=torch.float64)
raw, gain = paired[:, 0], paired[:, 0] - paired[:, 1]
print(f"原权重的 val/loss：平均 {raw.mean():.4f}，抽 20 次的标准差 {raw.std():.4f}")
print(f"EMA 低了：{gain.mean():.4f} ±（标准误）{gain.std() / 20**0.5:.4f}；同一份随机数时，这个差的标准差 {gain.std():.4f}")
check("同一份随机数：EMA 20 次都更低", bool((gain > 0).all()), True)
print(f"错开一份随机数：20 次里有 {int((raw < paired[:, 1].roll(1)).sum())} 次像是原权重更低")

# %% [markdown]
# EMA 低约 0.004，`val/loss` 抽一次的抖动却约 0.007；各抽各的，20 次里排错了 8 次。
# 用同一份随机数，两边的抖动大部分抵消，差的标准差只剩约 0.0014，20 次都是 EMA 更低。`_evaluate` 的第 ③ 步就是为了这个。
#
# 所以，拿两个验证损失来比，要满足三个条件：
#
# - **同一个量**：验证集、预测目标、噪声表、`loss_type` 与损失各项的权重都相同。例如预测噪声的与预测 v 的，`val/loss` 不能比。
# - **同一份随机数**：模型的 `seed`、`t_sampling`、验证的批大小、卡数都相同，也都在 CPU 或都在 GPU 上。
# - **差得够多**：差本身还有抖动，要明显大过它。
#
# 怎样才算？换 10 个键，两份权重用每个键各算一次，得 10 个差。差的标准差除以 $\sqrt{10}$，是平均的标准误；平均超过标准误的三倍，才说谁更好。
# EMA 的例子用了 20 个键，平均是标准误的十几倍。
#
# 这样比出来的，是这两份权重谁好。训练本身也靠运气，要比两种设置，还得各换几个种子重新训练。

# %% [markdown]
# ## 9　挑检查点，看样本
#
# 验证损失能比了，就可以用它挑检查点。有验证集时，`DDPM` 自带的检查点回调按 `monitor` 留下最好的一份，另存最后一份。下面故意用太大的学习率，让损失后来变坏。

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
kept = trainer.checkpoint_callback
check("留下的是三次验证里 val/loss_ema 最低的一份", float(kept.best_model_score) == min(scores), True)
check("后来变坏了，最低的不是最后一次", min(scores) < scores[-1], True)
check("文件真的存下了", os.path.exists(kept.best_model_path), True)
check_raises("没有 EMA，却要看 EMA 的指标", lambda: DDPM(**toy_model_config(use_ema=False, monitor="val/loss_ema")), "monitor")

# %% [markdown]
# 样本也要能比。`log_images` 的随机数是固定的，所以前后两次的图从同一份噪声出发。

# %%
painter = load_pretrained("mnist").eval()
logged = painter.log_images({"image": pictures, "label": labels}, N=8, n_row=2, steps=9, progress=False)
again = painter.log_images({"image": pictures, "label": labels}, N=8, n_row=2, steps=9, progress=False)
check("再画一次，样本逐位相同", torch.equal(again["samples"], logged["samples"]), True)
grid_figure(torch.stack([logged["diffusion_row"], logged["denoise_row"]]), nrow=1, width=9.0, rows=["加噪", "去噪"])

# %% [markdown]
# 图：`log_images` 画的两个过程，样本是“去噪”的最右一列。“加噪”从原图开始，往右 $t$ 增大；“去噪”从纯噪声开始，往右 $t$ 减小。两排用的是同样的标签，所以数字相同，字迹不同。

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - 参考实现的构造函数从不设置学习率，要由外面的训练脚本补上；权重衰减对偏置、归一化和 logvar 也生效。
# - 参考实现遇到 NaN 继续训练，坏权重会存进检查点。
# - 参考实现载入没有 EMA 的文件时，EMA 停在随机的初值，用它采样只有噪声。
# - 参考实现验证时，原权重与 EMA 各抽各的随机数，两条损失没法比。
# - 参考实现的 `log_images` 每次走满 $T$ 步，过程图的中间结果不截断；要的键只缺一部分就 KeyError，全都不存在时却悄悄返回全部。
#
# </details>

# %% [markdown]
# ## 小结
#
# **怎样训练，得到的数才信得过，两次才能比？**
#
# - 可复现：初值由 `torch.manual_seed` 定；$t$、噪声与 dropout 由种子、用途、批号、进程的编号定；数据的次序由数据模块的种子与轮次定。在 CPU、单精度上逐位相同。
# - 遇到 NaN：在更新权重之前停下，权重、EMA、优化器都不动。
# - 可续：取回整个检查点，除了权重与 EMA，还有优化器的状态、学习率调度、见过几批、数据取到第几批。这样与从没停过逐位相同。
# - 可比：先要是同一个量，再要用同一份随机数，差还要大过抖动。不然降了多少说不准，差距小时名次也会错：`val/loss` 约 0.007 的抖动，盖住了 EMA 约 0.004 的好处。
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
# ## 附：源码速查（第一遍可以不看）
#
# 正文没有逐行读的几个方法。先是第 3、5 节的：

# %%
show_source(DDPM.shared_step,
            "def shared_step", "if self.conditioning_key is None", "cond = as_condition")

# %% [markdown]
# - ① 训练与验证共用这个方法，所以叫 shared。
# - ② 没有条件时直接调用自己，也就是 `forward`。
# - ③ 有条件就取出来、整理一次，训练时按概率丢掉。

# %%
show_source(DDPM.forward,
            "def forward")

# %% [markdown]
# - ① 抽一批 $t$，交给 `p_losses`。

# %%
show_source(DDPM.draw_t,
            "def draw_t", "u = rand(", "if self.t_sampling ==", "return (u * self.num_timesteps)")

# %% [markdown]
# - ① 返回 $(B,)$ 的整数。
# - ② 先抽 $[0,1)$ 上的均匀数。
# - ③ 分层抽样：第 $i$ 段的起点是 $i/B$，段内的位置是 $u/B$；段的次序打乱。
# - ④ 放大成步号。舍入可能恰好碰到 $T$，所以截断。

# %%
show_source(isolated_rng,
            "@contextlib.contextmanager", "generators = global_generators", "generator.manual_seed", "finally:")

# %% [markdown]
# - ① 写在 `with` 后面，管住一个范围。
# - ② 管两个发生器：CPU 的，与模型所在设备的。别的显卡可能有别的模型正在用，不碰。
# - ③ 进入范围时，按键播种。
# - ④ 离开时恢复原状，出错也一样。

# %%
show_source(DDPM.get_input,
            "def get_input", "if not x.is_floating_point", "# 在 GPU 上看一眼", "x = x if x.shape")

# %% [markdown]
# - ① 从字典里取出图像，记下 CHW 与 HWC 各该是什么形状。
# - ② 核对类型与形状；两种形状恰好相同、分不清时，不猜。
# - ③ 核对值域，只在 CPU 上看；用 `Trainer` 训练时，数据搬上 GPU 之前已经看过。
# - ④ HWC 的换成 CHW，再换成网络的精度。

# %%
show_source(DDPM.setup,
            "def setup")

# %% [markdown]
# - ① 换上我们的存取方式：先写临时文件再改名，附上校验和，读时核对。

# %%
show_source(StopOnBadGradient._stop,
            "def _stop", stop="what = gradient")

# %% [markdown]
# - ① 停下时报哪一种错（第 6 节）：损失也坏了，就报“损失是 nan”；损失正常，才报梯度，写明是哪些参数。

# %%
show_source(DDPM.validation_step,
            "def validation_step")

# %% [markdown]
# - ① 验证与测试只差名字，都交给 `_evaluate`（第 8 节）。

# %%
show_source(make_optimizer,
            "def make_optimizer", "plain = [", "groups = [", "# fp16 要缩放梯度", "# bf16 不缩放")

# %% [markdown]
# - ① 只取要求梯度的参数。
# - ② 一维的参数：偏置、归一化的缩放，再加上 logvar。
# - ③ 分两组，权重衰减只给第一组（第 4 节）。
# - ④ AdamW。融合版 (fused) 把整个更新合成一次计算；fp16 混合精度下它不能裁剪梯度，不用。
# - ⑤ Lightning 看这个标记决定能不能裁剪梯度，不区分 fp16 与 bf16。bf16 可以裁剪，所以把标记关掉。

# %%
show_source(DDPM.configure_callbacks,
            "def configure_callbacks")

# %% [markdown]
# - ① 自动带上三个回调：安全停下、检查 NaN、按 `monitor` 挑检查点。

# %%
show_source(DDPM.log_images,
            "@torch.no_grad()")

# %% [markdown]
# - ① 返回一个字典：原图、加噪的过程、样本、去噪的过程。

# %%
show_source(log_images,
            "def log_images", "x = model.get_input", "with isolated_rng", "kwargs.setdefault", "columns =", "return {key")

# %% [markdown]
# - ① 先核对要哪些键。
# - ② 要的张数多于这一批，就有几张算几张。
# - ③ 随机数固定；有条件就从 batch 里取。`decode_first_stage` 在像素上什么也不做，第 17 章才用上。
# - ④ 默认只走 50 步，用 EMA 权重；样本截到 $[-1,1]$。
# - ⑤ 加噪的过程与去噪的过程，画同样多的帧。
# - ⑥ 只返回要的那几项，没有指定就全给。
#
# 构造参数 `ckpt_path`（第 7 节）调用的是：

# %%
show_source(Persistence.init_from_ckpt,
            "def init_from_ckpt", "check_ignore_keys(ignore_keys)", "if only_model:", "has_ema =", "# 可以缺的",
            "states = matching_states", "try:", "if self.use_ema and not has_ema:")

# %% [markdown]
# - ① 名字与参数同参考实现。
# - ② 安全地读文件；别处来的前缀（`module.`、`_orig_mod.`）先去掉；噪声表、参数化不同就拒绝。
# - ③ 只取网络时，留下 `model.` 开头的键。
# - ④ 有没有 EMA；被 `ignore_keys` 略过的不算。
# - ⑤ 可以缺的只有能重新算出的表、可以重新开始的 EMA；只取网络或不学 logvar 时，还有 logvar。
# - ⑥ 逐键核对，多了、少了、形状不同都是错误。
# - ⑦ 载入。键已经核对过，所以 `strict=False`；出错时写明文件名。
# - ⑧ 没有 EMA，就从取到的权重重新开始。

# %% [markdown]
# ### 小实验　抖动里有多少是 t 的运气
#
# 改一处，量一量，写三句话。第 8 节的模型用的是分层抽样。另开一格，设 `learner.t_sampling = "uniform"`，不重新训练，各用 200 份随机数算 `val_losses(learner, "量", k)`，比较 `val/loss` 与 `val/loss_vlb` 的标准差；再量 `raw_and_ema(learner, "量", k)` 两数之差的标准差（一共约一分钟）。
# 先猜：一批 250 张图，每张各抽一个 $t$，换成均匀地抽，损失的标准差会大多少？差的标准差呢？
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
# 所以比两份权重，先用同一份随机数，分不分层不要紧；要报告绝对值，分层抽样等于把这个小模型的验证集放大三四倍；对随包的 `digits`，`val/loss` 只约两倍。
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
