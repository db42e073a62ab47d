# %% [markdown]
# # 09 · `__init__` 逐行
#
# 带着 latent-diffusion 的 `ddpm.py` 来学的人，翻开 `class DDPM`，先要过的就是 `__init__`：一条接一条地存参数、造东西，看上去谁先谁后都无妨。
# 下面两排数字是个反例。两排用的是**同一份**练好的权重、同一份起始噪声，没有一个权重装错；第二排只是在构造时写成了 `timesteps=500`，而权重是在 1000 步的噪声表上练的。
# 会认 MNIST 的分类器看第一排这样的图，认得出 99.4% ± 0.6%；看第二排这样的，只认得出 22.5% ± 2.7%（八个种子，每个二十张，± 后面是标准误）。
#
# 文件里明明存着噪声表，照原文件的写法却照样装得上，不报错。这一章要回答的问题是：**`__init__` 的每一条语句做什么，谁必须在谁之前？**
#
# **学习目标**
#
# - 手里拿着原文件，能说出它的 `__init__` 里每一条语句做什么、归哪一章、有没有毛病。
# - 分清参数 (parameter)、缓冲区 (buffer) 与普通属性，知道哪些会存进检查点 (checkpoint)。
# - 读懂这里的 `DDPM.__init__` 的每一行，知道 35 个参数各管什么。
#
# **预计用时** 50 分钟。运行全部单元约 20 秒，不需要 GPU，不需要联网。
#
# 展示的源码都从程序包里当场取出，①②③ 在下面逐个解释，标号 ① 管到 ② 之前的那些行。鼠标停在解释前面的标号上，看得到它管的那几行；点它，回到那段源码。

# %%
import inspect
import os
import tempfile

import torch

from ddpm_edu import DDPM, count_params, load_pretrained
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.files.checkpoint import save_checkpoint
from ddpm_edu.generate import generate
from ddpm_edu.teach import card, card_index, check, check_order, check_raises, grid_figure, show_source
from ddpm_edu.teach.diagrams import order_figure

os.chdir(tempfile.mkdtemp())  # 在临时目录里存文件，不弄脏课程的文件夹
print("准备好了")

# %%
models = {T: load_pretrained("mnist", timesteps=T) for T in (1000, 500)}
digits = torch.arange(10)
drawn = [generate(model, 10, cond=digits, guidance_scale=2.0, steps=25, seed=0, progress=False)[0] for model in models.values()]
grid_figure(torch.cat(drawn), nrow=10, rows=[f"{T} 步" for T in models], columns="0123456789")

# %% [markdown]
# 图：上排的噪声表是训练时的那一张，下排的换成了 500 步。网络只认步号：在 1000 步的表上，第 499 步的图还有七成的幅度；到了 500 步的表上，同一个步号已经是纯噪声。
# 网络以为图还在，就把噪声里的疙瘩当成笔画来修。

# %%
share = {T: model.sqrt_alphas_cumprod[499] for T, model in models.items()}
check_order("第 499 步，图的份额：500 步的表 < 1000 步的表", share[500], share[1000])

# %% [markdown]
# ## 1　一张地图
#
# `__init__` 里的语句虽多，真正造东西的只有五条：造网络，造 EMA，造噪声表，造 `logvar`，从检查点 (checkpoint) 取权重。其余都是把参数存成属性。
# 把五条的次序画出来，再画上谁需要谁：EMA 要复制网络的权重，`logvar` 的长度是噪声表的步数，载入时则要往前面四样里填数。
# “这里”的次序，由程序在源码里找出来。

# %%
source = inspect.getsource(DDPM.__init__)
found = {"噪声表": "super().__init__(timesteps", "logvar": "logvar = torch.full", "网络": "self.model = Diff", "EMA": "self.model_ema =",
         "载入": "self.init_from_ckpt"}
ours = ["参数", *sorted(found, key=lambda name: source.index(found[name]))]
theirs = ["参数", "网络", "EMA", "载入", "噪声表", "logvar"]
places = {"参数": "v_posterior 等\n存成属性", "噪声表": "register_schedule\n13 张系数表", "logvar": "logvar\n长度为 T", "网络": "model\nU-Net",
          "EMA": "model_ema\n网络权重的影子", "载入": "init_from_ckpt\n从文件取权重"}
needs = [("参数", "噪声表"), ("噪声表", "logvar"), ("网络", "EMA"), *((name, "载入") for name in ("网络", "EMA", "噪声表", "logvar"))]
stored = {"原文件": {"网络", "EMA", "噪声表"}, "这里": {"网络", "EMA", "噪声表", "logvar"}}
order_figure({"原文件": theirs, "这里": ours}, needs, places, stored)

# %% [markdown]
# 图：从左到右是语句的先后。蓝框里的东西存进检查点，白框的不存；方框下面是在源码里找得到它的名字。灰线从先要有的指向要用它的；橙色虚线是指反了的，要用的时候还没有造出来。
# 原文件有两条橙线：载入的时候，噪声表与 `logvar` 都还没有。它的 `logvar` 还是个白框，本来就没有存进文件。我们把噪声表放到最前，载入放到最后，线就全都朝右了。
#
# 最左边的“参数”也不能挪：`register_schedule` 要读 `self.v_posterior` 与 `self.parameterization`，原文件里这两样必须先存好。

# %% [markdown]
# ## 2　原文件的每一条语句
#
# 打开你的那一份，从上往下对着看。下表的次序与原文件相同，以 Stable Diffusion 2 的版本为准，latent-diffusion 没有的标了“SD 2”。
# 第二列是在那一条语句里找得到的名字；最后一列是这里的 `DDPM` 有什么不同，空着就是一样。粗体的三处是真的毛病，后面三节逐个重现。
#
# | | 找这个名字 | 做什么 | 细讲 | 这里 |
# |--:|:--|:--|:--|:--|
# | 1 | `super().__init__` | 让 `LightningModule` 准备好 | 10 | 顺便建噪声表 |
# | 2 | `assert parameterization` | 只许 `eps`、`x0`（SD 2 另有 `v`） | 05 | 报错，不用断言 |
# | 3 | `print` | 印出正在用哪一种预测 | 05 | 不印 |
# | 4 | `cond_stage_model` | 留个空位，子类才填条件编码器 | 17 | 没有 |
# | 5 | `clip_denoised`、`log_every_t` | 采样的两个设定 | 04、09 | |
# | 6 | `first_stage_key`、`image_size`、`channels` | 图在 batch 里的键、边长、通道数 | 09 | 训练时也核对 |
# | 7 | `use_positional_encodings` | 存下来，基类并不使用 | 08 | 真的拼上坐标 |
# | 8 | `DiffusionWrapper` | 造网络，决定条件怎样接进去 | 08 | **不改动传入的字典** |
# | 9 | `count_params` | 数参数的个数并印出来 | 08 | 要数时自己调用 |
# | 10 | `LitEma` | 造权重的影子，印出份数 | 11 | 不印 |
# | 11 | `scheduler_config` | 存下学习率的配方 | 12 | 真的造出调度器 |
# | 12 | `v_posterior` | 存下采样方差的混合比 | 04 | |
# | 13 | `original_elbo_weight`、`l_simple_weight` | 存下总损失的两个权重 | 06 | 不许都是 0 |
# | 14 | `monitor` | 按哪个指标挑最好的检查点 | 10 | |
# | 15 | `make_it_fit`（SD 2） | 形状对不上的权重也想办法塞进去 | — | 没有，对不上就报错 |
# | 16 | `assert exists(ckpt_path)`（SD 2） | 要重置 EMA，必须给了检查点 | — | 没有 |
# | 17 | `init_from_ckpt` | 从检查点取权重 | 10 | **放到最后** |
# | 18 | `reset_ema`、`reset_num_ema_updates`（SD 2） | 按取到的权重重建影子，或把更新次数归零 | 11 | 文件里没有影子时自动做 |
# | 19 | `register_schedule` | 建噪声表与全部系数表 | 02 | 放到最前 |
# | 20 | `loss_type` | 存下损失的名字 | 06 | 当场核对 |
# | 21 | `logvar`、`learn_logvar` | 造每个 $t$ 的对数方差，要学就变成参数 | 06 | **不学时是缓冲区 (buffer)** |
# | 22 | `ucg_training`（SD 2） | 训练时按概率丢掉条件 | 08 | `cond_drop_prob` |
#
# <details><summary>表里有四处要多说一句</summary>
#
# - 第 2 条：`python -O` 会把断言去掉，所以参数要用真正的报错来核对。
# - 第 10 条：印出的份数比参与平均的张量多 2。它数的是 `LitEma` 存着的全部缓冲区，另两个是衰减率与更新的次数。
# - 第 11 条：基类的 `configure_optimizers` 没有用到这份配方，只有子类 `LatentDiffusion` 用到了。
# - 第 13 条：两个权重都是 0 时，损失恒为 0，训练什么也不做，原文件不会提醒。
#
# </details>

# %% [markdown]
# ## 3　毛病一：先载入，再建表
#
# 噪声表是模型的一部分，也存在检查点里，键是 `betas`、`alphas_cumprod` 等等。原文件载入的时候，模型还没有这些键，于是文件里的就成了“多余的键”；载入用的又是 `strict=False`，多余的键只印出来，不算错。
# 用最小的模型重现：同样的两步，次序由 `table_first` 决定。

# %%
class Loading(torch.nn.Module):
    def __init__(self, T, state, table_first):
        super().__init__()
        self.model = torch.nn.Linear(2, 2)
        if table_first:
            self.register_buffer("betas", torch.full((T,), 0.01))
        self.left = self.load_state_dict(state, strict=False).unexpected_keys
        if not table_first:
            self.register_buffer("betas", torch.full((T,), 0.01))


state = {"model.weight": torch.ones(2, 2), "model.bias": torch.ones(2), "betas": torch.full((100,), 0.02)}
early = Loading(50, state, table_first=False)
print(f"先载入：多余的键 {early.left}，装好之后有 {len(early.betas)} 步，文件里是 {len(state['betas'])} 步")
check("先载入：权重取到了", early.model.weight, state["model.weight"])

# %% [markdown]
# 100 步的文件装进了 50 步的模型，这就是开头的第二排数字。把两步对调，别的一个字不改：

# %%
check_raises("先建表：步数不同，PyTorch 自己就报错", lambda: Loading(50, state, table_first=True), "size mismatch")
late = Loading(100, state, table_first=True)
check("先建表：步数相同，用的就是文件里的表", late.betas, state["betas"])

# %% [markdown]
# `strict=False` 放过多余的键与缺少的键，却不放过形状不同的键。所以只要表先建好，步数不同的文件就装不进来；步数相同时，文件里的表会盖住构造时的那一张。
#
# 中招的只是基类 `DDPM`。子类 `LatentDiffusion` 先把 `ckpt_path` 从参数里取走，等父类造完、自编码器也造好，才自己载入，次序是对的。
#
# 这里的 `DDPM` 先看文件里记的步数、噪声表的名字和参数化，再看每个键。（开头的两排用的 `load_pretrained` 只取网络的权重，不看噪声表，所以摆得出那个结果。）

# %%
model = DDPM(**toy_model_config())
save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, "toy.ckpt")
other = toy_model_config(timesteps=500, linear_end=0.04, ckpt_path="toy.ckpt")
check_raises("步数不同的文件装不进来", lambda: DDPM(**other), "timesteps")

# %% [markdown]
# ## 4　毛病二：`logvar` 没有登记
#
# 训练 latent-diffusion 的人常遇到一句报错：`indices should be either on cpu or on the same device as the indexed tensor (cpu)`，出错的那一行是 `self.logvar[t]`（latent-diffusion 仓库的 issue 228 与 instruct-pix2pix 的 issue 151 问的都是它）。$t$ 在 GPU 上，`logvar` 却留在 CPU 上，因为它只是一个普通的张量。
#
# PyTorch 的模块里，张量有三种放法：
#
# | 放法 | 怎样写 | 优化器更新它 | 存进检查点 | 跟着 `.to(device)` 搬家 |
# |:--|:--|:-:|:-:|:-:|
# | 参数 | `nn.Parameter(x)` | 是 | 是 | 是 |
# | 缓冲区 | `register_buffer("x", x)` | 否 | 是 | 是 |
# | 普通属性 | `self.x = x` | 否 | 否 | 否 |
#
# 噪声表不该被训练，又要存、要搬家，所以登记成缓冲区。不学的 `logvar` 也一样。没有 GPU 也看得出搬不搬家：换数值类型与换设备，走的是同一条路。

# %%
class Naive(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.logvar = torch.zeros(4)  # 普通属性
        self.register_buffer("betas", torch.zeros(4))


naive = Naive().to(torch.float64)
print(f"换成 float64 之后：普通属性是 {naive.logvar.dtype}，缓冲区是 {naive.betas.dtype}")
print("检查点里的键：", list(naive.state_dict()))
check("我们的 logvar 在检查点里", "logvar" in model.state_dict(), True)

# %% [markdown]
# <details><summary>后来改过的版本又错在哪里</summary>
#
# 有些从它改出来的仓库也换成了缓冲区，可是 `learn_logvar` 为真的那一支写成了 `nn.Parameter(self.logvar)`，这时 `self.logvar` 还没有，一用就 AttributeError。
#
# </details>

# %% [markdown]
# ## 5　毛病三：两处不声不响
#
# **传入的字典少了一项。** Stable Diffusion 2 的 `DiffusionWrapper` 从 `unet_config` 里弹出 `sequential_crossattn`：第二次用同一份配置造模型，这个设置就没有了。
# 这里的构造函数先复制一份，再动手。

# %%
def build_naive(unet_config):
    return unet_config.pop("sequential_crossattn", False)  # 改动了调用者的字典


shared = {"target": "ddpm_edu.UNet", "sequential_crossattn": True}
print("同一份配置造两次，取到的是", build_naive(shared), "和", build_naive(shared))
config = toy_model_config()
DDPM(**config)
check("我们的构造函数没有改动配置", config == toy_model_config(), True)

# %% [markdown]
# **“只取网络”什么也没有取到。** `load_only_unet` 为真时，原文件把整个权重字典交给 `self.model`。文件里的键以 `model.` 开头，而 `self.model` 自己的键没有这个前缀，又是 `strict=False`，于是一个也对不上。

# %%
torch.manual_seed(1)
fresh = DDPM(**toy_model_config())
before = [p.clone() for p in fresh.model.parameters()]
missing = fresh.model.load_state_dict(model.state_dict(), strict=False).missing_keys
print(f"网络有 {len(fresh.model.state_dict())} 个键，其中 {len(missing)} 个没有取到")
check("权重还是随机的初值", all(torch.equal(p, q) for p, q in zip(fresh.model.parameters(), before)), True)

# %% [markdown]
# 第 3 节与这一节的毛病都不报错，比报错的更难找。所以这里的构造函数宁可多报错：参数在门口核对，检查点里的每个键都要对得上，除非你点名略过。

# %% [markdown]
# ## 6　逐行读我们的构造函数
#
# 先看签名。一共 35 个参数，必填的只有第一个。前 27 个的名字、次序、默认值照原来的（只有 `ignore_keys` 的空列表换成了空元组），所以同一件事的参数不都挨着；下面分成 12 组读。

# %%
show_source(DDPM.__init__,
            "@suggest_keywords", "timesteps: int = 1000", "loss_type: str", "use_ema: bool = True",
            "first_stage_key: str", "log_every_t: int", "linear_start: float", "original_elbo_weight: float",
            "conditioning_key: str | None", "use_positional_encodings: bool", "learning_rate: float", "cond_key: str",
            stop="):")

# %% [markdown]
# - ① 装饰器 `suggest_keywords` 在参数名拼错时指出最接近的那个。`unet_config` 是网络的配方，唯一必填。
# - ② 噪声表：走多少步，每一步掺多少噪声。第 2 章。
# - ③ 损失的形式；从哪个检查点取权重、略过哪些键、是否只取网络；按哪个指标挑最好的检查点。
# - ④ 要不要指数滑动平均 (EMA)：另存一份平滑过的权重，采样时用它。第 11 章。
# - ⑤ 数据：图像在 batch 里的键、边长、通道数。
# - ⑥ 采样时隔多少步留一张中间结果，以及要不要把猜测截到 $[-1,1]$。
# - ⑦ 噪声表的细节；`given_betas` 可以直接给出整张表。
# - ⑧ 总损失的两个权重，中间夹着 `v_posterior`：采样的每一步掺回多少噪声，就是 00 里拖过的那个滑块。第 4 章与第 6 章。
# - ⑨ 条件怎样进网络，网络预测什么，学习率怎样变。第 8、5、12 章。
# - ⑩ 坐标通道（把像素的位置也告诉网络，第 8 章）与可学的对数方差（让损失自己学每个 $t$ 该占多重，第 6 章），然后是一个星号：它后面的参数只能按名字给。
# - ⑪ 优化器、EMA 衰减、随机数种子、$t$ 的抽法。原文件没有这几个，或者写死在别处。
# - ⑫ 条件在 batch 里的键，以及训练时丢掉条件的概率。

# %% [markdown]
# <details><summary>原来的配置能不能搬过来</summary>
#
# 写给 `DDPM` 的关键字参数可以照搬，要换的是配方里写的类名：`unet_config` 换成这里的网络，例如 `ddpm_edu.UNet`；`scheduler_config` 换成这里同名的调度器。
# 原来的 YAML 多半是写给 `LatentDiffusion` 的，不能直接交给 `DDPM`。
#
# </details>
#
# ### 最前：整理参数，建噪声表

# %%
show_source(DDPM.__init__,
            "# 存进检查点的超参数", "super().__init__(timesteps", "timesteps = self.num_timesteps",
            stop="self.save_hyperparameters")

# %% [markdown]
# - ① 参数进门时，装饰器 `plain_arguments` 已把 NumPy 标量、枚举、路径、配置库（如 OmegaConf）的字典都换成 Python 自带的类型，顺便复制一份；张量不换，所以 `given_betas` 在这里另换。安全读取检查点时，只认这些类型。
# - ② 父类 `GaussianDiffusion` 建好噪声表与全部系数表，登记成缓冲区。第 2 章逐行读它。
# - ③ `given_betas` 可能改变步数，所以从父类取回真正的 $T$；再把超参数存进 `hparams`，检查点里就带着它们。从哪里取权重不算超参数，所以略过。

# %% [markdown]
# ### 然后：存下参数，一边存一边核对
#
# 下面两段没有造新东西。每一行都是“核对，然后存下”，第一遍可以快些读。

# %%
show_source(DDPM.__init__,
            "self.loss_type =", "self.monitor =", "self.use_ema =", "self.first_stage_key =",
            "self.log_every_t =", "self.clip_denoised =", stop="self.clip_denoised =")

# %% [markdown]
# - ① 损失的名字当场核对；原文件要到训练的第一步才核对。
# - ② `monitor` 可以是 None，表示不挑选检查点。
# - ③ 记下要不要 EMA；没有 EMA 却要看带 `_ema` 的指标，当场拒绝。
# - ④ 图像的键、边长、通道数，`check_int` 连 `True` 和 `2.5` 也拦得住。
# - ⑤ 单位写在注释里：扩散步，不是训练步。
# - ⑥ 采样时要不要截断 $\hat x_0$，第 4 章细讲。

# %%
show_source(DDPM.__init__,
            "self.original_elbo_weight = check_float", "if self.original_elbo_weight ==",
            "self.use_positional_encodings =", "self.learning_rate =", "self.weight_decay =", "self.batches_seen",
            "self.t_sampling =", stop="self.cond_drop_prob =")

# %% [markdown]
# - ① 两个权重都不能是负数：负的权重会鼓励网络犯错。
# - ② 两个都是 0 时损失恒为 0，训练什么也不做，所以拒绝。
# - ③ 坐标通道的开关。
# - ④ AdamW 的学习率与两个动量系数。这里的 betas 与噪声表的 $\beta$ 只是同名。
# - ⑤ 权重衰减与随机数种子。
# - ⑥ 见过几批数据。训练的随机数由它和 `seed` 决定（多卡时还有进程号），它存在检查点里，所以中断后接着训练，结果逐位相同。
# - ⑦ $t$ 的抽法，以及丢条件的概率。

# %% [markdown]
# ### 再造 `logvar`

# %%
show_source(DDPM.__init__,
            "self.learn_logvar =", "if learn_logvar:", stop="self.register_buffer(\"logvar\"")

# %% [markdown]
# - ① 一个长度为 $T$ 的张量，处处等于 `logvar_init`。$T$ 由噪声表给出，所以它在噪声表之后。
# - ② 要学就登记成参数，不学就登记成缓冲区，没有第三条路。

# %% [markdown]
# ### 最后：网络，EMA，取权重

# %%
show_source(DDPM.__init__,
            "self.scheduler_config = scheduler_config", "self.model = DiffusionWrapper",
            "self.conditioning_key = conditioning_key", "check_network(self)", "check_float(\"ema_decay\"",
            "check_bool(\"load_only_unet\"", "if ckpt_path is not None:", "elif load_only_unet")

# %% [markdown]
# - ① 调度器的配方先试造一次，写错了现在就知道，不必等到训练开始。
# - ② `DiffusionWrapper` 按配方造出 U-Net，并决定条件怎样接进去。第 8 章。
# - ③ 条件的键整理成字典；没有条件可丢时，`cond_drop_prob` 只能是 0。
# - ④ 核对通道数与下采样倍数；噪声表不合适时给出警告。
# - ⑤ 核对 `ema_decay`。EMA 另存一份平滑过的权重，叫影子，初值就是此刻网络的权重。
# - ⑥ 布尔值就得是布尔值，字符串 `"false"` 不算；`ignore_keys` 须是列表，写成一个字符串会被逐字拆开，所以拒绝。
# - ⑦ 到这里才取权重：噪声表、logvar、EMA 都已经在了，每个键都能核对。文件里没有 EMA，取完就让影子从取到的权重重新开始。
# - ⑧ 要求“只取网络”或“略过哪些键”却没给文件，多半是忘了写路径，所以报错。

# %% [markdown]
# ## 7　造好之后，模型里有什么
#
# 该造的都造好了，数一数。

# %%
tables = [name for name, buffer in model.named_buffers() if buffer.shape == (model.num_timesteps,)]
print(f"{len(tables)} 张长度为 T 的表：{'、'.join(tables)}")
print(f"网络有 {count_params(model.model):,} 个参数，检查点里有 {len(model.state_dict())} 个键")
check("lvlb_weights 不存进检查点，它能重新算出", "lvlb_weights" in model.state_dict(), False)

# %% [markdown]
# 噪声表展开成十三张系数表，再加上 `logvar`。它们的名字与原文件相同，公式在第 2、4、6 章。
# 检查点里还存着超参数，凭一个文件就能重建出同样的模型，不必记得当初的配置：

# %%
again = DDPM.load_from_checkpoint("toy.ckpt")
first, second = model.state_dict(), again.state_dict()
check("读回来的每个张量都相同", first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first), True)

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：`__init__` 的每一条语句做什么，谁必须在谁之前？
# - **答案**：对照表有二十二行，多数只是存参数。造东西的有五条，次序要紧：噪声表在 `logvar` 之前，网络在 EMA 之前，载入在它们四个之后。原文件的基类把载入放在噪声表之前，1000 步的权重能装进 500 步的模型，数字的认出率从 99.4% 掉到 22.5%，却不报错。
# - 要存、要搬家、优化器不去更新的张量，应当登记成缓冲区。`logvar` 没有登记，上了 GPU 就报错。
# - `strict=False` 放过多余与缺少的键。键的前缀错了，它也一声不响。
#
# ## 参数速查
#
# 每个参数都有一张卡片，写着含义、公式、在哪里用到、会出什么错。下面是全部卡片的索引，“讲解”一列是章号；归这一章的八张卡片跟在后面，用到时再看。

# %%
card_index()

# %%
card("unet_config")
broken = {"target": "ddpm_edu.UNetModel", "params": {}}
check_raises("类名写错", lambda: DDPM(**toy_model_config(unet_config=broken)), "unet_config.target")
check_raises("参数名写错", lambda: DDPM(**toy_model_config(unet={"modle_channels": 8})), "modle_channels")

# %%
card("first_stage_key")
labelled = DDPM(**toy_model_config(first_stage_key="picture"))
image = torch.zeros(2, 1, 8, 8)
check("键对上就能取到图像", labelled.get_input({"picture": image}, "picture"), image)
check_raises("键不对，错误列出有哪些", lambda: labelled.shared_step({"image": image}), "first_stage_key")

# %%
card("image_size")
sample = DDPM(**toy_model_config(image_size=16)).sample(1, sampler="ddim", steps=2)
check("image_size=16 就采出 16×16", sample.shape[-1], 16)
check_raises("训练时也核对", lambda: model.shared_step({"image": torch.zeros(2, 1, 28, 28)}), "image_size")

# %%
card("channels")
color = {"in_channels": 3, "out_channels": 3}
rgb = DDPM(**toy_model_config(unet=color, channels=3))
check("channels=3 就采出三个通道", rgb.sample(1, sampler="ddim", steps=2).shape[1], 3)
check_raises("与网络不合", lambda: DDPM(**toy_model_config(channels=3)), "in_channels")

# %%
card("log_every_t")
for log_every_t in (100, 250):
    watcher = DDPM(**toy_model_config(log_every_t=log_every_t))
    _, frames = watcher.sample(1, True, sampler="ddim", steps=20)
    print(f"log_every_t={log_every_t}：20 步的采样留下 {len(frames)} 帧（含起点）")
check("间隔 250：起点、第一步，之后每 5 步一帧", len(frames), 1 + 1 + 20 // 5)

# %%
def same_weights(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.model.parameters(), other.model.parameters()))


card("ckpt_path")
check("网络的每个权重都取到了", same_weights(DDPM(**toy_model_config(ckpt_path="toy.ckpt")), model), True)

# %%
card("load_only_unet")
unet_only = DDPM(**toy_model_config(ckpt_path="toy.ckpt", load_only_unet=True))
check("网络的权重真的取到了", same_weights(unet_only, model), True)
shadow = unet_only.model_ema.shadow["diffusion_model/time_embed/0/weight"]
check("EMA 从取到的权重开始，不是随机数", shadow, model.model.diffusion_model.time_embed[0].weight)

# %%
card("ignore_keys")
torch.manual_seed(1)
keep_out = DDPM(**toy_model_config(ckpt_path="toy.ckpt", ignore_keys=["model.diffusion_model.time_embed", "model_ema."]))
loaded = keep_out.model.diffusion_model
check("其余的取到了", loaded.input_blocks[0][0].weight, model.model.diffusion_model.input_blocks[0][0].weight)
difference = (loaded.time_embed[0].weight - model.model.diffusion_model.time_embed[0].weight).abs().max()
check("略过的没有取，还是随机的初值", difference > 0, True)
check_raises("没有一个键以它开头", lambda: DDPM(**toy_model_config(ckpt_path="toy.ckpt", ignore_keys=["unet."])), "unet.")

# %% [markdown]
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。
#
# <details><summary>小实验（不批改）：换错的是步数，还是形状</summary>
#
# 开头的第二格，把 `timesteps=T` 换成 `beta_schedule="linear"`（步数仍是 1000，权重是在 `cosine` 上练的），看画出来的数字；再换成 `timesteps=800`。先猜哪一个坏得厉害，再用三句话写下结论。
#
# 参考的数字（八个种子，每个二十张，认出率的平均 ± 标准误）：`cosine`、1000 步是 99.4% ± 0.6%；换成 `linear` 是 95.6% ± 1.8%；换成 800 步是 89.4% ± 3.3%，换成 500 步是 22.5% ± 2.7%。
# 步数错了两成，已经比形状错了坏得多：步号与噪声的多少对不上，从头错到尾。
#
# </details>

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 09.1　登记一张表 ★
#
# 给模块 `module` 登记一张名叫 `name` 的表 `values`：会跟着模型搬家，会存进检查点，但优化器不去更新它。返回 `module`。

# %%
def add_table(module, name, values):
    # 答案
    module.register_buffer(name, values)
    return module
    # 答案完


grade("09.1", add_table)

# %% [markdown]
# ### 09.2　像素变成 batch ★★
#
# 读图的程序常给出 0 到 255 的整数像素，排法是 HWC（高、宽、通道）。把 `(B, H, W, C)` 的 uint8 张量换成 DDPM 要的 batch：`(B, C, H, W)` 的浮点张量，0 对应 $-1$，255 对应 $1$。

# %%
def to_batch(pixels):
    # 答案
    return pixels.permute(0, 3, 1, 2) / 127.5 - 1
    # 答案完


grade("09.2", to_batch)

# %% [markdown]
# ### 09.3　只取网络的权重 ★★★
#
# `state_dict` 是整个 DDPM 的权重字典。只取以 `model.` 开头的键，去掉这个前缀，返回新的字典，让 `model.model.load_state_dict(...)` 不用 `strict=False` 就能装下。
# 第 5 节说过原文件在这里错在哪里。

# %%
def unet_weights(state_dict):
    # 答案
    chosen = {}
    for key, value in state_dict.items():
        if key.startswith("model."):
            chosen[key.removeprefix("model.")] = value
    return chosen
    # 答案完


grade("09.3", unet_weights)

# %% [markdown]
# ### 09.4　边长要是几的倍数 ★★
#
# 运行 `DDPM(**toy_model_config(image_size=9))`，读一读错误。那个 U-Net 的 `channel_mult` 是 `[1, 2]`，有两级。
# 换成 `unet={"channel_mult": [1, 2, 2, 4]}`，有四级，`image_size` 至少要是几的倍数？

# %%
grade("09.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 09.5　影子从哪里来 ★★★
#
# 我们先建 EMA、再取权重；文件里没有 EMA 的键时，取完还有一步：让影子从取到的权重重新开始（第 6 节最后一段源码的 ⑦）。
# 假如漏了这一步，检查点文件里只有网络的权重，载入时又用 `strict=False`。载入之后不训练，立刻在 `ema_scope()` 里采样（这个范围里暂时换上 EMA 的影子，它的初值见同一段源码的 ⑤），会怎样？
#
# - A：用的是文件里的权重，因为 EMA 的影子跟着网络一起变。
# - B：载入时就报错，说缺少 EMA 的键。
# - C：用的是随机初值与文件里权重的平均，采出的图有些模糊。
# - D：用的是随机的初值，采出的是噪声。

# %%
grade("09.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
