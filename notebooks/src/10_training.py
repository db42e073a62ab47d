# %% [markdown]
# # 10 · Lightning 的钩子与训练的一步
#
# **学习目标**
#
# - 说出一步训练里 Lightning 依次调用了哪些方法，每个做什么。
# - 手写一个没有 Lightning 的训练循环，得到逐位相同的权重。
# - 明白可复现、续训、验证各要注意什么：随机数、EMA、NaN。
#
# **预计用时** 40 分钟。运行全部单元约 25 秒。

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
from ddpm_edu.teach import card, check, check_order, check_raises, curve_figure, grid_figure, show_source
from ddpm_edu.teach.training import quiet_trainer

os.chdir(tempfile.mkdtemp())  # 检查点写在临时目录里，不弄脏课程的文件夹
data = DigitsDataModule(batch_size=16)
print("准备好了")

# %% [markdown]
# ## 1　一步训练，谁先谁后
#
# `Trainer` 负责循环，`LightningModule` 负责每一处的内容。`Trainer` 在某个时刻来调用的方法，叫钩子 (hook)。
# 下面给几个钩子，以及钩子再去调用的方法，各包一层，让它们在被调用时报上名来。

# %%
METHODS = ["setup", "configure_optimizers", "optimizer_step", "training_step", "shared_step", "get_input", "forward", "p_losses",
         "apply_model"]
called = []


def announce(name):
    def wrapper(self, *args, **kwargs):
        called.append(name)
        return getattr(DDPM, name)(self, *args, **kwargs)
    return wrapper


Loud = type("Loud", (DDPM,), {name: announce(name) for name in METHODS})
torch.manual_seed(0)
quiet_trainer(max_steps=1).fit(Loud(**toy_model_config()), data)
print(" → ".join(called))
check("优化器先开始，再回头算损失", called.index("optimizer_step") < called.index("training_step"), True)

# %% [markdown]
# `optimizer_step` 排在 `training_step` 前面：Lightning 把“算损失、求梯度”包成一个函数交给优化器，优化器先开始，再回头调用它。
#
# 下面按“一批数据走过的路”来读。

# %% [markdown]
# ## 2　从 batch 到损失

# %%
show_source(DDPM.get_input,
            "def get_input", "if not x.is_floating_point", "# 在 GPU 上看一眼", "x = x if x.shape")

# %% [markdown]
# - ① 从字典里取出图像，记下 CHW 与 HWC 各该是什么形状。
# - ② 核对类型与形状；两种形状恰好相同、分不清时，不猜。
# - ③ 核对值域。只在 CPU 上看：数据已经搬上 GPU 的话，看一眼就要等它把手上的事做完。用 Trainer 训练时，搬上去之前 `on_before_batch_transfer` 替它看过。
# - ④ HWC 的换成 CHW，再换成网络的精度。

# %%
show_source(DDPM.shared_step,
            "def shared_step", "if self.conditioning_key is None", "cond = as_condition")

# %% [markdown]
# - ① 训练与验证共用，所以叫 shared。
# - ② 调用自己，也就是 `forward`。
# - ③ 有条件就取出来、整理一次；只有训练时才按概率丢掉。

# %%
show_source(DDPM.forward,
            "def forward")

# %% [markdown]
# - ① 抽一批 $t$，返回 `p_losses`（第 6 章）的结果。一般的 Lightning 教程说 `forward` 是推理，这里的 `forward` 就是训练损失；推理是 `sample`。

# %%
show_source(DDPM.draw_t,
            "def draw_t", "u = rand(", "if self.t_sampling ==", "return (u * self.num_timesteps)")

# %% [markdown]
# - ① 返回 $(B,)$ 的整数。
# - ② 先抽 $[0,1)$ 上的均匀数。
# - ③ 铺匀：把 $[0,1)$ 切成 $B$ 段，每段抽一个；再打乱次序，免得第一个样本总分到最小的 $t$。
# - ④ 放大成步号。舍入可能恰好碰到 $T$，所以截断。

# %%
card("t_sampling")
errors = {}
for t_sampling in ("uniform", "stratified"):
    drawer, generator = DDPM(**toy_model_config(t_sampling=t_sampling)), torch.Generator().manual_seed(0)
    draws = torch.stack([drawer.draw_t(torch.zeros(64, 1), generator) for _ in range(2000)])
    share = torch.histc(draws.float(), 10, 0, 1000) / draws.numel()
    check(f"{t_sampling}：T 分成十段，每段各占一成", share, torch.full((10,), 0.1), atol=0.005)
    errors[t_sampling] = draws.double().mean(1).std()
check_order("铺匀之后，一批的平均 t 稳定得多", 20, errors["uniform"] / errors["stratified"], digits=2)

# %% [markdown]
# ## 3　`training_step`：随机数由批号决定

# %%
show_source(DDPM.training_step,
            "def training_step", "with isolated_rng", "self.batches_seen += 1", "self.log_dict")

# %% [markdown]
# - ① 训练要在训练模式里。刚读进来的模型停在 eval 模式，dropout 是关着的，Lightning 不会替人打开。
# - ② 在 `isolated_rng` 的范围里算损失：$t$、噪声、dropout 都由种子、用途、批号、进程号四样决定。
# - ③ 见过的批数加一，它随检查点保存。
# - ④ 记录各项损失；进度条上的 loss 是简化损失。返回的才是总损失，交给 Lightning 去求梯度。

# %%
show_source(isolated_rng,
            "@contextlib.contextmanager", "generators = global_generators", "generator.manual_seed", "finally:")

# %% [markdown]
# - ① dropout 不接受自己的随机数发生器，只能这样在一个范围里定住全局的。
# - ② CPU 的全局发生器，与模型所在设备的那一个。别的显卡上的不碰：那里也许有别的程序在抽。
# - ③ 进入时按钥匙播种。
# - ④ 离开时恢复原状，出错也一样，所以范围之外的随机数不受影响。

# %%
torch.manual_seed(0)
with isolated_rng(1, "train", 7):
    first = torch.randn(3)
outside = torch.randn(3)
torch.manual_seed(0)
check("范围之外的随机数没有受影响", torch.randn(3), outside)
with isolated_rng(1, "train", 7):
    check("同一把钥匙，同样的数", torch.randn(3), first)

# %%
card("seed")
picture = {"image": torch.zeros(16, 1, 8, 8)}


def first_loss(seed):
    model = DDPM(**toy_model_config(seed=seed))
    with isolated_rng(model.seed, "train", 0, 0):
        return model.shared_step(picture)[0].item()


check("seed 相同，第一步的损失相同", first_loss(0) == first_loss(0), True)
check("seed 不同，第一步的损失不同", first_loss(0) == first_loss(1), False)

# %% [markdown]
# NaN 要尽早停。继续训练的话，NaN 的梯度把全部权重变成 NaN，再存进检查点，几小时白费。
# 损失是 NaN，梯度也一定是，所以只在更新之前看一次梯度的范数：在 GPU 上，看一眼就要等它，每步等一次就够。

# %%
torch.manual_seed(0)
poisoned = DDPM(**toy_model_config(use_ema=False))
before = [p.clone() for p in poisoned.model.parameters()]
with torch.no_grad():
    poisoned.model.diffusion_model.out[-1].bias.fill_(float("nan"))
check_raises("损失不是有限的数", lambda: quiet_trainer(max_steps=3).fit(poisoned, data), "第 0 个优化步")
untouched = [torch.equal(a, b) for a, b in zip(before, poisoned.model.parameters())]
check("除了我们弄坏的那一个，权重都没动", untouched.count(False), 1)

# %% [markdown]
# ## 4　优化器

# %%
show_source(make_optimizer,
            "def make_optimizer", "plain = [", "groups = [", "# fp16 要缩放梯度", "# bf16 不缩放")

# %% [markdown]
# - ① 只取要求梯度的参数。
# - ② 一维的参数：偏置、归一化的缩放，再加上 logvar。
# - ③ 分两组，权重衰减 (weight decay) 只给第一组，一维的不衰减。
# - ④ AdamW，两个动量系数与学习率来自构造参数。融合版把整个更新合成一次计算；fp16 混合精度要缩放梯度，那时融合版不能裁剪梯度，所以不用它。
# - ⑤ bf16 的范围与 32 位一样宽，不必缩放，融合版与裁剪不冲突；告诉 Lightning 不要误会。

# %%
card("weight_decay")
model = DDPM(**toy_model_config(weight_decay=0.05, learn_logvar=True))
decayed, plain = make_optimizer(model).param_groups
check("衰减的都是矩阵和卷积核", all(p.ndim >= 2 for p in decayed["params"]), True)
check("logvar 不衰减", any(p is model.logvar for p in plain["params"]) and plain["weight_decay"] == 0, True)
check("weight_decay=0.05 只给第一组", decayed["weight_decay"], 0.05)

# %% [markdown]
# 为什么 logvar 不能衰减？衰减把它拉向 0，而第 6 章证明了最优点是 $\ln\mathrm{mse}_t$，一般不是 0。归一化的缩放初值是 1，也不该拉向 0；偏置参数少，衰减它没有好处。

# %%
card("learning_rate")
check("learning_rate 交给了优化器", make_optimizer(DDPM(**toy_model_config(learning_rate=3e-4))).param_groups[0]["lr"], 3e-4)
check_raises("须大于 0", lambda: DDPM(**toy_model_config(learning_rate=0.0)), "learning_rate")

# %%
card("adam_betas")
adam = make_optimizer(DDPM(**toy_model_config(adam_betas=(0.9, 0.99))))
check("adam_betas 交给了优化器", adam.param_groups[0]["betas"], [0.9, 0.99])
check_raises("须小于 1", lambda: DDPM(**toy_model_config(adam_betas=(0.9, 1.0))), "adam_betas")

# %% [markdown]
# ## 5　没有 Lightning 的循环
#
# 下面十来行，在这个配置下与 `Trainer.fit` 得到逐位相同的权重。

# %%
torch.manual_seed(0)
by_hand = DDPM(**toy_model_config())
data.setup("fit")
optimizer, loader = make_optimizer(by_hand), iter(data.train_dataloader())
for step in range(5):
    batch = next(loader)
    with isolated_rng(by_hand.seed, "train", step, 0):
        loss, _ = by_hand.shared_step(batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    by_hand.model_ema(by_hand.model)

# %%
torch.manual_seed(0)
by_trainer = DDPM(**toy_model_config())
quiet_trainer(max_steps=5).fit(by_trainer, DigitsDataModule(batch_size=16))
pairs = list(zip(by_hand.state_dict().items(), by_trainer.state_dict().items()))
check("权重与 EMA 逐位相同", all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs), True)

# %% [markdown]
# ## 6　停下再继续
#
# 续训要做到“像从没停过”，需要存下的不只是权重：优化器的动量、学习率走到哪里、EMA 与它的计数、见过几批。
# 数据的次序由轮次与批号决定，所以也能接上。

# %%
show_source(DDPM.setup,
            "def setup")

# %% [markdown]
# - ① 换上我们的存取方式：先写临时文件再改名，附上校验和，读时核对（`ddpm_edu/files/checkpoint.py`）。

# %%
def train(max_steps, resume=None):
    torch.manual_seed(0)
    model = DDPM(**toy_model_config())
    trainer = quiet_trainer(max_steps=max_steps)
    trainer.fit(model, DigitsDataModule(batch_size=16), ckpt_path=resume)
    return model, trainer


_, interrupted = train(3)
interrupted.save_checkpoint("stopped.ckpt")
resumed, _ = train(5, resume="stopped.ckpt")
same = [torch.equal(a, b) for a, b in zip(resumed.state_dict().values(), by_trainer.state_dict().values())]
check("走 3 步、停下、再走 2 步，与一口气走 5 步逐位相同", all(same), True)

# %% [markdown]
# 若只想取权重、另起一段训练（例如微调），用第 9 章的 `ckpt_path` 参数，它调用下面这个方法。

# %%
show_source(Persistence.init_from_ckpt,
            "def init_from_ckpt", "check_ignore_keys(ignore_keys)", "if only_model:", "has_ema =", "# 可以缺的",
            "states = matching_states", "try:", "if self.use_ema and not has_ema:")

# %% [markdown]
# - ① 名字与参数同参考实现。
# - ② 安全地读文件；别处来的前缀（`module.`、`_orig_mod.`）先去掉；噪声表、参数化不同就拒绝。
# - ③ 只取网络时，留下 `model.` 开头的键。
# - ④ 文件里有没有 EMA；被 `ignore_keys` 略过的不算。
# - ⑤ 可以缺的只有能重新算出的表，以及可以重新开始的 EMA（要么整个没有，要么齐全）；只取网络或不学 logvar 时，logvar 也可以缺。
# - ⑥ 逐键核对，多了、少了、形状不同都是错误。
# - ⑦ 载入。键已经逐个核对过，可以缺的就让它缺，所以 `strict=False`；出错时写明文件名。
# - ⑧ 没有 EMA，就从取到的权重重新开始。

# %% [markdown]
# ## 7　验证：原权重与 EMA 的损失要能比
#
# 验证要回答两个问题：比上次好了吗？EMA 比原权重好吗？两个问题都要求随机数相同。

# %%
show_source(DDPM.validation_step,
            "def validation_step")

# %% [markdown]
# - ① 验证与测试只差名字，都交给 `_evaluate`。

# %%
show_source(DDPM._evaluate,
            "def _evaluate", "with isolated_rng", "if self.use_ema:", "losses = {name.replace")

# %% [markdown]
# - ① 钥匙里没有训练的步数，所以每次验证用同样的 $t$ 与噪声，前后可比。
# - ② 先用训练的权重。
# - ③ 再用 EMA 的权重，钥匙相同，所以 $t$ 与噪声也相同。
# - ④ 换成 `val/` 或 `test/` 开头的名字，交给 Lightning 记录。
#
# 两次评估若各抽各的随机数，同样的权重、同样的数据，`val/loss_vlb` 也能差一倍上下，EMA 的好处容易被盖过。下面用训练好的模型与 250 张验证图试一试。

# %%
torch.manual_seed(0)
pretrained = load_pretrained("digits").eval()
batch = {"image": load_digits_split()["val"][0]}
with torch.no_grad():
    loose = [float(pretrained.shared_step(batch)[1]["val/loss_vlb"]) for _ in range(10)]
check_order("各抽各的：同样的权重，最大是最小的 1.5 倍以上", 1.5 * min(loose), max(loose))
results = quiet_trainer(limit_val_batches=2).validate(DDPM(**toy_model_config()), data, verbose=False)[0]
check("同一份随机数：还没训练，两条曲线相同", results["val/loss"], results["val/loss_ema"], atol=1e-7)

# %%
show_source(DDPM.configure_callbacks,
            "def configure_callbacks")

# %% [markdown]
# - ① 有验证集时，按 `monitor` 挑最好的检查点，另存最后一份。Lightning 默认的检查点回调不看任何指标。

# %%
card("monitor")
torch.manual_seed(0)
watched = DDPM(**toy_model_config(monitor="val/loss_ema"))
trainer = quiet_trainer(max_steps=4, limit_val_batches=2, val_check_interval=2, enable_checkpointing=True)
trainer.fit(watched, data)
check("检查点按 monitor 挑选", trainer.checkpoint_callback.monitor == "val/loss_ema", True)
check("最好的一份真的存下了", os.path.exists(trainer.checkpoint_callback.best_model_path), True)
check_raises("没有 EMA，却要看 EMA 的指标", lambda: DDPM(**toy_model_config(use_ema=False, monitor="val/loss_ema")), "monitor")

# %% [markdown]
# ## 8　训练途中看一眼：`log_images`

# %%
show_source(DDPM.log_images,
            "@torch.no_grad()", "return log_images")

# %% [markdown]
# - ① 返回一个字典：原图、加噪的过程、样本、去噪的过程，值都在 $[-1,1]$。
# - ② 具体的事交给 `images.py` 里的函数。

# %%
show_source(log_images,
            "def log_images", "x = model.get_input", "with isolated_rng", "kwargs.setdefault", "columns =", "return {key")

# %% [markdown]
# - ① 先核对要哪些键。
# - ② 图不够就有几张算几张。
# - ③ 随机数固定，前后两次的图才可比，也不扰动训练；有条件就从 batch 里取。
# - ④ 默认只走 50 步，用 EMA 权重；样本截到 $[-1,1]$。
# - ⑤ 加噪的那一行与去噪的那一行，帧数相同，上下能对着看。
# - ⑥ 只返回要的那几项，没有指定就全给。

# %%
batch = next(iter(data.train_dataloader()))
logged = pretrained.log_images(batch, N=8, n_row=2, steps=10)
print({name: tuple(value.shape) for name, value in logged.items()})
check("值都在 [-1, 1]", all(value.abs().max() <= 1 for value in logged.values()), True)
check_raises("没有这个键", lambda: pretrained.log_images(batch, return_keys=["sample"]), "samples")
grid_figure(torch.stack([logged["diffusion_row"], logged["denoise_row"]]), nrow=1, rows=["加噪", "去噪"])

# %% [markdown]
# 图：上面是加噪的过程，一行一个数字，最左是原图；下面是去噪的过程，最左是纯噪声，最右是样本。两者是两批图，只是帧数相同。
#
# 最后训练一小段，看损失怎样下降。80 步远远不够画出数字，但曲线的样子已经典型。

# %%
history = []


class Recorder(DDPM):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        history.append(loss.item())
        return loss


torch.manual_seed(0)
learner = Recorder(**toy_model_config(learning_rate=2e-3, parameterization="v", beta_schedule="cosine", t_sampling="stratified"))
quiet_trainer(max_steps=80, gradient_clip_val=1.0).fit(learner, DigitsDataModule(batch_size=64))
check("损失降下来了", sum(history[-10:]) < 0.8 * sum(history[:10]), True)
curve_figure(range(1, 81), {"": history}, "步", "损失")

# %% [markdown]
# 图：训练损失。先陡后缓，一路带着抖动：每一批的 $t$ 与噪声不同，抖动不等于出错。判断好坏，要看固定随机数的验证损失，或者直接看样本。

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - 遇到 NaN 继续训练，坏权重会存进检查点。
# - 载入没有 EMA 的文件，EMA 停在随机的初值，用它采样只有噪声。
# - 验证时原权重与 EMA 各抽各的随机数，两条损失没法比。
# - `log_images` 每次走满 $T$ 步，过程图的中间结果不截断；要的键只缺一部分就 KeyError，全都不存在时却悄悄返回全部。
#
# </details>

# %% [markdown]
# ## 小结
#
# - 一步训练：取图、抽 $t$、加噪、预测、算损失、求梯度、更新、EMA 走一格。
# - 随机数由批号决定，所以能逐位复现，也能逐位续训。
# - 权重衰减只给矩阵；NaN 当场停下。
# - 验证用固定的随机数，原权重与 EMA 才能比。
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
# ### 10.4　忘了进程号 ★
#
# 四张卡一起训练，每张卡每步算 16 张图。假如 `isolated_rng` 的钥匙里没有进程号，会怎样？
#
# - A：四张卡算出的梯度一模一样，等于只有一张卡在干活。
# - B：四张卡的权重会渐渐不同。
# - C：四张卡的图不同，$t$ 与噪声却相同，梯度的抖动比应有的大。
# - D：梯度的期望错了，训练会偏向某些 $t$。

# %%
grade("10.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 10.5　铺匀的好处 ★★
#
# 第 2 节量过：一批 64 个样本，`stratified` 时这一批的平均 $t$ 比 `uniform` 时稳定得多。两个标准差之比，理论上是多少？
# 设 $T$ 很大，可以把 $t$ 当成连续的；打乱次序不影响平均。先推，再填一个数。

# %%
grade("10.5", None)  # 把 None 换成一个数
