# %% [markdown]
# # 09 · `__init__` 逐行
#
# **学习目标**
#
# - 手里拿着原文件，能说出它的 `__init__` 里每一条语句做什么、归哪一章、有没有毛病。
# - 读懂 `DDPM.__init__` 的每一行，知道 35 个参数各管什么、在哪里用到。
# - 分清三样东西：普通属性、缓冲区 (buffer)、参数 (parameter)，知道哪些会存进检查点。
# - 认出参考实现在构造函数里的几个错误，说出正确的次序。
#
# **预计用时** 50 分钟。运行全部单元约 15 秒，不需要 GPU，不需要联网。
#
# 这一章的用法：每段源码都从程序包里当场取出，上方写着它在哪个文件，①②③ 在下面逐个解释，标号 ① 管到 ② 之前的那些行。
# 鼠标停在解释前面的标号上，看得到它管的那几行；点它，回到那段源码。
# 展示源码的输入格是折叠的，点开能看到它按哪些文字定位。

# %%
import torch

from ddpm_edu import DDPM, count_params
from ddpm_edu.files.checkpoint import save_checkpoint
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach import card, card_index, check, check_raises, show_source

print("准备好了")

# %% [markdown]
# ## 先对照原文件：它的 `__init__` 依次做了什么
#
# 许多读者手里已经有 latent-diffusion 的 `ddpm.py`，读过却没有全懂。打开你的那一份，找到 `class DDPM` 的 `__init__`，从上往下一条一条对着看。
# 下表用自己的话写每一条做什么，次序与原文件相同（以 Stable Diffusion 2 的版本为准，latent-diffusion 没有的标了“SD 2”）；“这里”一列是本课程的 `DDPM` 有什么不同，空着就是一样。
#
# | | 语句做什么 | 细讲 | 这里 |
# |--:|:--|:--|:--|
# | 1 | 断言 `parameterization` 是 `eps`、`x0` 之一（SD 2 加上 `v`） | 05 | 不用断言：`python -O` 会把断言去掉；报错里写明收到的是什么 |
# | 2 | 印出“正在用哪一种预测” | 05 | 不印：一个库不该擅自往屏幕上写字 |
# | 3 | `cond_stage_model` 置为空；条件编码器要到子类 `LatentDiffusion` 才有 | 17 | 没有这个属性 |
# | 4 | 存下 `clip_denoised`、`log_every_t`、`first_stage_key`、`image_size`、`channels`、`use_positional_encodings` | 04、10 | 存之前逐个核对 |
# | 5 | 造网络：`DiffusionWrapper` 按 `unet_config` 造出 U-Net，再按 `conditioning_key` 决定条件怎样接 | 08 | 不改动传入的字典 |
# | 6 | 数一数网络的参数并印出来 | 08 | `count_params` 返回数，不印 |
# | 7 | `use_ema` 为真时造 `LitEma`，印出“保留了 N 份 EMA” | 11 | 印出的 N 比参与平均的张量多 2：它数的是 `LitEma` 存着的全部张量，另两个是衰减率与更新的次数；这里不印 |
# | 8 | 记下有没有 `scheduler_config`（`use_scheduler`），有就存下来 | 12 | 原来的 `configure_optimizers` 没有用到配方，`use_scheduler` 只决定要不要记录学习率；这里真的造出调度器 |
# | 9 | 存下 `v_posterior`、`original_elbo_weight`、`l_simple_weight` | 04、06 | 两个权重不许同时为 0 |
# | 10 | `monitor` 不为空才存：Lightning 的检查点 (checkpoint) 回调按它挑最好的一份 | 10 | |
# | 11 | SD 2：`make_it_fit`，载入时形状对不上的权重想办法塞进去 | — | 没有；形状对不上是错误 |
# | 12 | SD 2：要重置 EMA，就先断言给了检查点 | — | 没有 |
# | 13 | 给了 `ckpt_path` 就载入检查点 | 09 第 7 节 | **次序不同**：这里放到最后，等缓冲区 (buffer) 都建好再载 |
# | 14 | SD 2：按要求用载入的权重重建 EMA，或把 EMA 的更新次数归零 | 11 | 文件里没有 EMA 的键时自动这样做 |
# | 15 | `register_schedule`：建噪声表与全部系数表 | 02 | 名字与数值相同，只有 `lvlb_weights` 不同（第 6 章） |
# | 16 | 存下 `loss_type` | 06 | 当场核对名字 |
# | 17 | 按 `logvar_init` 造 `logvar`，`learn_logvar` 为真时变成可训练的参数 | 06 | 不训练时原文件里它只是普通张量，不进检查点、不随模型搬上 GPU；这里是缓冲区（后来有些版本也改了，可是 `learn_logvar` 为真的一支先用了还没有的 `self.logvar`） |
# | 18 | SD 2：`ucg_training` 与它的随机数，训练时按概率丢掉条件 | 07、08 | 叫 `cond_drop_prob` |
#
# 加上最前面的 `super().__init__()`，一共就这些。其中 5、7、15 三条各撑起一章，13 与 15 的次序、17 的普通张量是真的毛病，第 6、7 节会重现。
# 下面读我们自己的构造函数。

# %% [markdown]
# ## 1　构造函数的签名
#
# 一共 35 个参数，必填的只有第一个。前 27 个照原来的次序，所以同一件事的参数不都挨着；下面分成 12 组读。

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
# - ⑪ 优化器、EMA 衰减、随机数种子、$t$ 的抽法。参考实现没有这几个，或者写死在别处。
# - ⑫ 条件在 batch 里的键，以及训练时丢掉条件的概率。

# %% [markdown]
# 前 27 个参数的名字、次序和默认值与参考实现相同（只有 `ignore_keys` 的空列表换成了空元组），所以原来写给 `DDPM` 的关键字参数可以照搬，要换的是配方里写的类名：`unet_config` 换成这里的网络，例如 `ddpm_edu.UNet`，`scheduler_config` 换成这里同名的调度器。
# 原来的 YAML 多半是写给 `LatentDiffusion` 的，不能直接交给 `DDPM`。Stable Diffusion 2 的 `DDPM` 在末尾还多四个参数：`make_it_fit`、`ucg_training`、`reset_ema`、`reset_num_ema_updates`（较新的提交另有 `use_fp16`）。
# 每个参数都有一张卡片，写着含义、公式、在哪里用到、会出什么错，卡片下面有一个演示。
# 这是全部卡片的索引，“讲解”一列是章号。

# %%
card_index()

# %% [markdown]
# ## 2　最小的一次构造
#
# 网络的配方是一个字典：`target` 写类的全名，`params` 写它的参数。
# 下面这个 U-Net 很小，只为看清结构。

# %%
config = toy_model_config()
model = DDPM(**config)
print(config["unet_config"]["target"], config["unet_config"]["params"])
print("网络有", count_params(model.model), "个参数")

# %% [markdown]
# ## 3　第一段：先整理参数，再建噪声表

# %%
show_source(DDPM.__init__,
            "# 存进检查点的超参数", "super().__init__(timesteps", "timesteps = self.num_timesteps",
            stop="self.save_hyperparameters")

# %% [markdown]
# - ① 参数进门时，装饰器 `plain_arguments` 已把 NumPy 标量、枚举、路径、配置库（如 OmegaConf）的字典都换成 Python 自带的类型，顺便复制一份；张量不换，所以 `given_betas` 在这里另换。安全读取检查点时，只认这些类型。
# - ② 父类 `GaussianDiffusion` 建好噪声表与全部系数表，注册成缓冲区 (buffer)，第 6 节再说它是什么。第 2 章逐行读它。
# - ③ `given_betas` 可能改变步数，所以从父类取回真正的 $T$；再把超参数存进 `hparams`，检查点里就带着它们。从哪里取权重不算超参数，所以略过。

# %% [markdown]
# 复制一份不是多此一举。参考实现从你传入的字典里弹出 `sequential_crossattn`：第二次用同一份配置，这个设置就悄悄没了。
# 下面是专为说明写的最小错误版本，和真实的类比较。

# %%
def build_naive(unet_config):
    return unet_config.pop("sequential_crossattn", False)  # 改动了调用者的字典


shared = {"target": "ddpm_edu.UNet", "sequential_crossattn": True}
check("错误的写法：第一次取到的是 True", build_naive(shared), True)
check("第二次就成了 False，也不报错", build_naive(shared), False)
DDPM(**config)
check("我们的构造函数没有改动配置", config == toy_model_config(), True)

# %%
card("unet_config")
broken = {"target": "ddpm_edu.UNetModel", "params": {}}
check_raises("类名写错", lambda: DDPM(**toy_model_config(unet_config=broken)), "unet_config.target")
check_raises("参数名写错", lambda: DDPM(**toy_model_config(unet={"modle_channels": 8})), "modle_channels")

# %% [markdown]
# 存下的超参数足够重建模型。把模型存成文件再读回来，权重一个不差。

# %%
import os
import tempfile

os.chdir(tempfile.mkdtemp())  # 在临时目录里存文件，不弄脏课程的文件夹
checkpoint = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
save_checkpoint(checkpoint, "toy.ckpt")
again = DDPM.load_from_checkpoint("toy.ckpt")
stored, found = model.state_dict(), again.state_dict()
check("读回来的每个张量都相同", stored.keys() == found.keys() and all(torch.equal(stored[key], found[key]) for key in stored), True)

# %% [markdown]
# ## 4　第二段：数据与日志

# %%
show_source(DDPM.__init__,
            "self.loss_type =", "self.monitor =", "self.use_ema =", "self.first_stage_key =",
            "self.log_every_t =", "self.clip_denoised =", stop="self.clip_denoised =")

# %% [markdown]
# - ① 损失的名字当场核对。
# - ② `monitor` 可以是 None，表示不挑选检查点。
# - ③ 记下要不要 EMA；没有 EMA 却要看带 `_ema` 的指标，当场拒绝。
# - ④ 图像的键、边长、通道数，`check_int` 连 `True` 和 `2.5` 也拦得住。
# - ⑤ 单位写在注释里：扩散步，不是训练步。
# - ⑥ 采样时要不要截断 $\hat x_0$，第 4 章细讲。

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

# %% [markdown]
# 图像的两种排法都认：CHW 是 PyTorch 的惯例，HWC 是参考实现要求的。靠形状分辨，分不清就报错。

# %%
hwc = torch.rand(2, 8, 8, 1) * 2 - 1
check("HWC 会转成 CHW", model.get_input({"image": hwc}, "image"), hwc.permute(0, 3, 1, 2))
check_raises("0..255 的像素会被拦住", lambda: model.get_input({"image": torch.full((2, 1, 8, 8), 200.0)}, "image"), "x / 127.5 - 1")

# %%
card("log_every_t")
for log_every_t in (100, 250):
    watcher = DDPM(**toy_model_config(log_every_t=log_every_t))
    _, frames = watcher.sample(1, True, sampler="ddim", steps=20)
    print(f"log_every_t={log_every_t}：20 步的采样留下 {len(frames)} 帧（含起点）")
check("间隔 250：起点、第一步，之后每 5 步一帧", len(frames), 1 + 1 + 20 // 5)

# %% [markdown]
# ## 5　第三段：损失与训练的参数

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
# ## 6　第四段：对数方差，是参数还是缓冲区
#
# PyTorch 的模块里有三种东西：
#
# - **参数**：优化器会更新它，会存进检查点，会跟着 `.to(device)` 搬家。
# - **缓冲区**：优化器不更新它，但会存、会搬家（注册时写 `persistent=False` 的不存）。噪声表应当注册成缓冲区。
# - **普通属性**：不存，也不搬家。
#
# `logvar` 是每个 $t$ 一个的对数方差 $s_t$，第 6 章让它参加过训练。
# 下面没有 GPU 也能看出“搬家”：换数值类型与换设备，走的是同一条路。

# %%
show_source(DDPM.__init__,
            "self.learn_logvar =", "if learn_logvar:", stop="self.register_buffer(\"logvar\"")

# %% [markdown]
# - ① 一个长度为 $T$ 的张量，处处等于 `logvar_init`。
# - ② 要学就注册成参数，不学就注册成缓冲区。若留作普通属性，模型搬到 GPU，它还留在 CPU。

# %%
class Naive(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.logvar = torch.zeros(4)  # 普通属性


naive = Naive().to(torch.float64)
check("普通属性不搬家", naive.logvar.dtype == torch.float32, True)
check("也不进检查点", len(naive.state_dict()), 0)
check("我们的 logvar 在检查点里", "logvar" in model.state_dict(), True)

# %% [markdown]
# ## 7　最后一段：网络、EMA、检查点
#
# 这里的次序很要紧：先有表，再有网络，再有 EMA，最后才取权重。

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
# 参考实现在噪声表建好之前就载入检查点。那时模型里还没有 `betas` 这些键，文件里的就成了“多余的键”；又是 `strict=False`，多余的键只印出来，不算错。
# 结果是：$T=100$ 的文件能装进 $T=50$ 的模型，学过的 logvar 也丢了。用最小的模型重现：

# %%
class LoadsTooEarly(torch.nn.Module):
    def __init__(self, T, state):
        super().__init__()
        self.model = torch.nn.Linear(2, 2)
        self.left = self.load_state_dict(state, strict=False)  # 表还没有建
        self.register_buffer("betas", torch.full((T,), 0.01))


state = {"model.weight": torch.ones(2, 2), "model.bias": torch.ones(2), "betas": torch.full((100,), 0.02)}
early = LoadsTooEarly(50, state)
print("多余的键：", early.left.unexpected_keys, "　装好之后有", len(early.betas), "步")
check("权重取到了，噪声表却不是文件里的", [early.model.weight[0, 0].item(), early.betas[0].item()], [1.0, 0.01], atol=1e-6)

# %% [markdown]
# 我们的次序倒过来，所以核对得出来。

# %%
def same_weights(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.model.parameters(), other.model.parameters()))


card("ckpt_path")
check("网络的每个权重都取到了", same_weights(DDPM(**toy_model_config(ckpt_path="toy.ckpt")), model), True)
other = toy_model_config(timesteps=500, linear_end=0.04, ckpt_path="toy.ckpt")
check_raises("噪声表不同的文件装不进来", lambda: DDPM(**other), "timesteps")

# %% [markdown]
# 再看 `load_only_unet`。参考实现把整个字典交给 `self.model`（`DiffusionWrapper`），键的前缀多了一截，又用 `strict=False`，于是一个键都没有对上，只印出缺了哪些，不报错。
# 用几行代码就能重现。

# %%
torch.manual_seed(1)
fresh = DDPM(**toy_model_config())
before = [p.clone() for p in fresh.model.parameters()]
result = fresh.model.load_state_dict(model.state_dict(), strict=False)
check("错误的前缀：权重纹丝不动", all(torch.equal(p, q) for p, q in zip(fresh.model.parameters(), before)), True)
check("缺的键就是网络的全部键", len(result.missing_keys), len(fresh.model.state_dict()))

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
# ## 8　构造完毕：缓冲区一览
#
# 噪声表展开成十三张系数表，再加上 `logvar`，都是长度为 $T$ 的缓冲区。它们的名字与参考实现相同，公式在第 2、4、6 章。

# %%
tables = [name for name, buffer in model.named_buffers() if buffer.shape == (model.num_timesteps,)]
print(f"{len(tables)} 张表：{'、'.join(tables)}")
check("每张表都有 T 项，都有限", all(model.get_buffer(name).isfinite().all() for name in tables), True)
check("损失权重不存进检查点，它能重新算出", "lvlb_weights" in model.state_dict(), False)

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - 构造时的每一条差别，见开头对照表的最后一列。
# - 从传入的 `unet_config` 里弹出 `sequential_crossattn`，第二次用同一份配置，这个设置就没了（第 3 节）。
# - `loss_type` 到训练的第一步才核对；`use_positional_encodings` 收下来，什么也不做。
# - 图像一律当作 HWC；送进 CHW 会转错，尺寸凑巧时不报错。
# - 检查点在噪声表之前载入；`load_only_unet` 的前缀对不上（第 7 节）。
#
# </details>

# %% [markdown]
# ## 小结
#
# - 构造的次序：整理参数、建表、核对数字、建网络、建 EMA、取权重。后一步要用到前一步的结果。
# - 要存、要搬家、优化器不去更新的张量，应当注册成缓冲区。
# - 配置先复制再用；每个参数在门口核对，错误写明名字、规则和收到的值。
# - 检查点里的每个键都要对得上，除非你点名略过。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

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
# 读图的程序常给出 0 到 255 的整数像素，排法是 HWC。把 `(B, H, W, C)` 的 uint8 张量换成 DDPM 要的 batch：`(B, C, H, W)` 的浮点张量，0 对应 $-1$，255 对应 $1$。

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
# 第 7 节说过参考实现在这里错在哪里。

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
# 我们先建 EMA、再取权重；文件里没有 EMA 的键时，取完还有一步：让影子从取到的权重重新开始（第 7 节的 ⑦）。
# 假如漏了这一步，检查点文件里只有网络的权重，载入时又用 `strict=False`。载入之后不训练，立刻在 `ema_scope()` 里采样（这个范围里暂时换上 EMA 的影子，第 7 节的 ⑤ 说过它的初值），会怎样？
#
# - A：用的是文件里的权重，因为 EMA 的影子跟着网络一起变。
# - B：载入时就报错，说缺少 EMA 的键。
# - C：用的是随机初值与文件里权重的平均，采出的图有些模糊。
# - D：用的是随机的初值，采出的是噪声。

# %%
grade("09.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
