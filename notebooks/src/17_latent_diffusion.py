# %% [markdown]
# # 17 · 从 DDPM 到 latent-diffusion
#
# **学习目标**
#
# - 打开 latent-diffusion 的原文件，看到每个方法都知道它是这门课的哪一章。
# - 记住那里会绊倒人的地方：名字骗人的、静悄悄错的、顺序要紧的。
# - 说清 `LatentDiffusion` 加了什么，自己用二十行写出一个，并懂得 `scale_factor` 为什么要紧。
#
# **预计用时** 60 分钟。运行全部单元约 1 分钟。

# %%
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_edu import DDPM, DigitsDataModule, make_beta_schedule
from ddpm_edu.conditioning import as_condition
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.metrics import DigitsFrechet
from ddpm_edu.progress import progress_bar
from ddpm_edu.configs.recipes import digits_model_config, toy_model_config
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach import check, check_order, check_raises, curve_figure, grid_figure
from ddpm_edu.teach.diagrams import latent_figure
from ddpm_edu.teach.reference_map import BASE, reference_map
from ddpm_edu.teach.training import quiet_trainer

train, test = (load_digits_split()[name][0] for name in ("train", "test"))
print("准备好了")

# %% [markdown]
# ## 1　打开原文件
#
# 原文件在 latent-diffusion 仓库的 `ldm/models/diffusion/ddpm.py`，有一千四百多行；Stable Diffusion 2 的仓库里有它的后继，路径相同。
# 从上到下有三样东西，读的时候先分清：
#
# - `DDPM`：开头的一段。在像素上工作，这门课逐行读的就是它。
# - `LatentDiffusion(DDPM)`：最长的一段。在潜变量 (latent) 上工作，多了自编码器 (autoencoder) 与条件编码器。
# - `DiffusionWrapper`，以及几个更小的子类：按任务换一换条件的来源（修补、深度图、放大……）。
#
# 别的零件在别的文件里：`ldm/modules/ema.py`、`ldm/lr_scheduler.py`、`ldm/util.py`、`ldm/models/diffusion/ddim.py`、`ldm/modules/diffusionmodules/`。

# %% [markdown]
# ## 2　地图：基类的每个方法
#
# 下表由程序生成：左边是原文件里的名字，中间是这里的名字，显示之前逐个核实过真的存在；章号也是从覆盖表里查出来的。

# %%
reference_map("base")

# %% [markdown]
# 26 个方法，只有两个换了名字。其余的，用原文件里的名字就能在 `DDPM` 上取到。

# %%
renamed = [row.theirs for row in BASE if not hasattr(DDPM, row.theirs)]
print(renamed)
# Lightning 的基类自带一个空的 on_train_batch_end，所以它不在上面的名单里
check("自己的 on_train_batch_end：没有，EMA 在 optimizer_step 里走", "on_train_batch_end" in vars(DDPM), False)
check("26 个方法，其余的名字都在", [len(BASE), len(renamed)], [26, 1])

# %% [markdown]
# 方法之间谁调用谁，也与原文件相同。让解释器把一步训练里进入过的函数记下来，照着它去翻原文件，就不会迷路。

# %%
def trace(run, modules=("ddpm", "gaussian", "sampling", "conditioning", "objectives")):
    """按先后记下 run() 里进入过的函数，只看这几个模块，相邻的重复不记"""
    wanted, seen = {f"ddpm_edu.{name}" for name in modules}, []

    def look(frame, event, argument):
        name = frame.f_code.co_name
        if event == "call" and frame.f_globals.get("__name__") in wanted and name[0] not in "<_" and seen[-1:] != [name]:
            seen.append(name)

    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
    return seen


# %%
model = DDPM(**toy_model_config())
steps = trace(lambda: model.shared_step({"image": train[:4]}))
main = [name for name in steps if name in ("shared_step", "get_input", "forward", "p_losses", "q_sample", "apply_model", "target", "get_loss")]
print(" → ".join(main))
check("主线与原文件一样", main == ["shared_step", "get_input", "forward", "p_losses", "q_sample", "apply_model", "forward", "target", "get_loss"], True)

# %% [markdown]
# 采样也是：

# %%
walk = trace(lambda: model.sample(1, steps=1, progress=False))
main = [name for name in walk if name in ("sample", "p_sample_loop", "p_sample", "p_mean_variance", "apply_model", "predict_start_from_noise")]
print(" → ".join(main))
check("与原文件一样", main == ["sample", "p_sample_loop", "p_sample", "p_mean_variance", "apply_model", "predict_start_from_noise"], True)

# %% [markdown]
# 训练里第一个 `forward` 是 `DDPM` 的，它就是训练损失；第二个是 `DiffusionWrapper` 的，里面才是 U-Net。原文件的基类没有 `apply_model`，直接调用 `self.model`；到了 `LatentDiffusion` 才有。`target` 在原文件里是一串 `if`。

# %% [markdown]
# ## 3　地图：别的零件

# %%
reference_map("parts")

# %% [markdown]
# ## 4　会绊倒人的地方
#
# 原文件影响极大，也有不少毛病。读的时候碰到下面这些，知道它不是你看错了就好。
#
# | 读到哪里 | 会看到什么 | 其实 | 章 |
# |:--|:--|:--|--:|
# | `make_beta_schedule` | `"linear"` | 对 $\sqrt\beta$ 线性，不是论文的 linear | 02 |
# | `v_posterior` 的注释 | 称混合的是 sigma | 混合的是方差 | 04 |
# | `lvlb_weights` | `x0`、`v` 两支 | 都不对；第 0 步又被第 1 步盖掉 | 06 |
# | `p_mean_variance` | 没有 `v` 这一支 | 基类能用 `v` 训练，一采样就报错；靠 DDIM 那个类来采 | 04 |
# | `__init__` 的次序 | 先载检查点，后建噪声表与 `logvar` | $T=100$ 的文件能悄悄装进 $T=50$ | 09 |
# | `load_only_unet` | 像是只取 U-Net | 键的前缀对不上，什么也没取到 | 09 |
# | `learn_logvar` | 基类里有这个参数 | 基类的损失不用它；`LatentDiffusion` 的才用 | 06 |
# | `conditioning_key` | 基类里有这个参数 | 基类从不传条件，一前向就报错 | 08 |
# | `use_positional_encodings` | 存了下来 | 基类里没有任何作用 | 09 |
# | `scheduler_config` | 存了下来 | 基类的 `configure_optimizers` 不用它 | 12 |
# | `self.learning_rate` | 到处没有赋值 | 由训练脚本从外面挂上去：批量 × 卡数 × 累积的批数 × `base_learning_rate` | 10 |
# | `get_input` | 重排成 CHW | 只认 HWC；高等于通道数时，排错了也不报 | 10 |
# | `on_train_batch_end` | EMA 在这里走 | 梯度累积时多走几倍 | 11 |
# | `validation_step` | 两套权重各算一遍 | 各抽各的 $t$ 与噪声，两条曲线不可比 | 10 |
# | `original_elbo_weight` | 像是加上 ELBO | 加的是加权的均方误差 | 06 |
#
# 下面挑四个静悄悄的，各用几行重现它的道理。

# %%
table = torch.tensor([1.0, float("nan"), float("inf"), 2.0])
check("“全部是 NaN 才报警”：一个 NaN、一个无穷，都放过去了", not table.isnan().all(), True)
check("该问的是“全部有限吗”", bool(table.isfinite().all()), False)
check_raises("这里：有一个不对就拒绝", lambda: DDPM(**toy_model_config(given_betas=[0.1, float("nan")])), "given_betas")

# %%
saved = {f"model.{name}": value for name, value in nn.Linear(3, 2).state_dict().items()}
fresh = nn.Linear(3, 2)
before = fresh.weight.clone()
result = fresh.load_state_dict(saved, strict=False)  # 前缀多了 model.
check("没有报错，权重一个也没有变", fresh.weight, before)
check("缺的和多的，各是全部", [len(result.missing_keys), len(result.unexpected_keys)], [2, 2])

# %%
class Holder(nn.Module):
    """同一个表，一份是普通的张量，一份是缓冲区"""

    def __init__(self):
        super().__init__()
        self.plain = torch.zeros(3)
        self.register_buffer("buffer", torch.zeros(3))


holder = Holder().to(torch.float64)  # 搬到 GPU 也是同样的道理
check("普通的张量不跟着搬，也不进检查点", [holder.plain.dtype == torch.float64, "plain" in holder.state_dict()], [0, 0])
check("缓冲区跟着搬，也进检查点", [holder.buffer.dtype == torch.float64, "buffer" in holder.state_dict()], [1, 1])
check("不学的 logvar 在这里是缓冲区", "logvar" in dict(model.named_buffers()), True)

# %%
pixels = torch.arange(4 * 4 * 4.0).view(1, 4, 4, 4) / 31.5 - 1  # CHW，高、宽、通道都是 4
wrong = pixels.permute(0, 3, 1, 2)  # 当成 HWC 重排一遍
check("形状看不出来", wrong.shape == pixels.shape, True)
check("内容已经转过去了", torch.equal(wrong, pixels), False)
square = DDPM(**toy_model_config(unet={"in_channels": 4, "out_channels": 4}, image_size=4, channels=4))
check_raises("这里：分不清就报错", lambda: square.get_input({"image": pixels}, "image"), "能分辨")

# %% [markdown]
# ## 5　潜变量：先压缩，再扩散
#
# 512×512 的彩色图有七十八万个数，U-Net 里最贵的自注意力正比于像素数的平方。`LatentDiffusion` 的主意是：先训练一个自编码器，把图压成 64×64×4 的潜变量，扩散全在潜变量上做，最后解码一次。
#
# 分工很清楚。自编码器管看得见的细节，扩散管整体的布置。代价也清楚：解码器画不出的，扩散再好也没有用。
# 这一节造一个小的：8×8 的数字压成 4×4、两个通道，64 个数变成 32 个。先看全程：

# %%
latent_figure("1×8×8", "2×4×4")

# %% [markdown]
# 图：上排是训练，下排是采样。编码器与解码器（灰）早已练好，从此不动，各只用一次；要学的只有潜变量上的 U-Net（蓝），采样时走很多步的也只有它。
# 中间乘的 $s$ 就是 `scale_factor`，让潜变量的大小与噪声相配；出来时再除掉。条件先变成向量，再进 U-Net。

# %%
class TinyAutoencoder(nn.Module):
    """8×8 的图 ↔ (2, 4, 4) 的潜变量"""

    def __init__(self, width=32, latent_channels=2):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, 2, 1), nn.SiLU(),
                                     nn.Conv2d(width, latent_channels, 3, padding=1))
        self.decoder = nn.Sequential(nn.Conv2d(latent_channels, width, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2),
                                     nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))


torch.manual_seed(0)
autoencoder, index = TinyAutoencoder(), torch.Generator().manual_seed(0)
optimizer = torch.optim.Adam(autoencoder.parameters(), lr=3e-3)
for _ in progress_bar(range(600), title="训练自编码器"):
    x = train[torch.randint(len(train), (64,), generator=index)]
    optimizer.zero_grad()
    F.mse_loss(autoencoder.decoder(autoencoder.encoder(x)), x).backward()
    optimizer.step()
autoencoder.eval().requires_grad_(False)  # 从此冻结：扩散训练时，它一动不动

# %%
score = DigitsFrechet()
restored = autoencoder.decoder(autoencoder.encoder(test))
check("解码回来，均方根误差不到一级灰度（2/16）", (restored - test).square().mean().sqrt() < 2 / 16, True)
check("Fréchet 距离与真图对真图相近：这是潜空间里的模型所能达到的", score(restored) < 1.2 * score.floor(), True)
grid_figure(torch.cat([test[:10], restored[:10]]), nrow=10, rows=["测试图", "解码的"])

# %% [markdown]
# 图：上排是测试图，下排是压缩又解码的。数少了一半，几乎看不出差别。

# %% [markdown]
# ### `scale_factor`：潜变量有多大
#
# 像素规定在 $[-1,1]$，潜变量却没有人规定。自编码器只管还原，编码放大十倍、解码缩小十倍，还原得一样好。量一量：

# %%
z = autoencoder.encoder(train)
print(f"标准差 {float(z.std()):.1f}，最大的 {float(z.abs().max()):.0f}；两个通道各 {[round(v, 1) for v in z.std((0, 2, 3)).tolist()]}")
check("不是 1", abs(float(z.std()) - 1) > 0.3, True)
check("远远超出 [-1, 1]", z.abs().max() > 3, True)

# %% [markdown]
# 噪声表却是按“数据的标准差约为 1”设计的。数据的标准差是 $s$ 时，第 $t$ 步的信噪比是
#
# $$\frac{\bar\alpha_t\,s^2}{1-\bar\alpha_t}.$$
#
# $s$ 大，整条链上噪声都嫌小，大半的步在做没有悬念的事；$s$ 小，没走几步图就淹没了，全部的结构要在最后几步里定下来。
# 第一版 Stable Diffusion 的潜变量，标准差约 5.5，所以乘上 `scale_factor`，它是 $1/5.5\approx0.18215$。

# %%
linear = alphas_cumprod(make_beta_schedule("linear", 1000))[0]
ratios = {f"$s={s}$": linear * s**2 / (1 - linear) for s in (5.5, 1.0, 0.18)}
crossing = [int(np.argmin(ratio > 1)) for ratio in ratios.values()]
print("信噪比降到 1 的步：", crossing)
check("s = 1 在中间，另外两个偏向两头", 150 < crossing[1] - crossing[2] < crossing[1] < crossing[0], True)
check("s = 5.5 要走过七成多的步", crossing[0] > 700, True)
curve_figure(range(1000), {**ratios, "1": np.ones(1000)}, "步号 $t$", "信噪比", "linear", "log")

# %% [markdown]
# 图：`linear` 噪声表上的信噪比，点划线是 1。三条曲线形状相同，只是上下平移，与 1 相交的地方却差了几百步。
#
# 现在写一个自己的 `LatentDiffusion`。要改的只有一处：`get_input` 多编码一次；另加一个解码。训练、采样、EMA 全部照旧。

# %%
class LatentDDPM(DDPM):
    """在潜变量上工作的 DDPM；自编码器冻结，不参加训练"""

    def attach(self, autoencoder, scale_factor):
        self.first_stage_model, self.scale_factor = autoencoder, scale_factor
        return self

    def get_input(self, batch, k):
        return self.scale_factor * self.first_stage_model.encoder(batch[k])

    def decode_first_stage(self, z):
        return self.first_stage_model.decoder(z / self.scale_factor)


def fit_latent(s, max_steps=200):
    """把潜变量的标准差缩放到 s，训练，采 256 个样本；返回（潜变量, 图）"""
    config = digits_model_config(max_steps, width=16, learning_rate=8e-3) | {"image_size": 4, "channels": 2, "parameterization": "eps", "beta_schedule": "linear"}
    config["unet_config"]["params"] |= {"in_channels": 2, "out_channels": 2}
    torch.manual_seed(0)
    latent = LatentDDPM(**config, clip_denoised=False).attach(autoencoder, s / float(z.std()))
    quiet_trainer(max_steps=max_steps, gradient_clip_val=1.0).fit(latent, DigitsDataModule(batch_size=32))
    with latent.eval().ema_scope():
        sampled = latent.sample(256, sampler="ddim", steps=20, generator=torch.Generator().manual_seed(0))
    return sampled, latent.decode_first_stage(sampled)


# %% [markdown]
# 注意 `clip_denoised=False`：潜变量没有 $[-1,1]$ 的界，截断会削掉真的内容。原文件的 `LatentDiffusion` 也在构造时把它关掉。
# 三种尺度，其余一模一样，各训练 200 步。

# %%
middle, middle_images = fit_latent(1.0)
check("s = 1：练得短，样本的标准差是该有的 1 到 3 倍", middle.std(), 2.0, atol=1.0)

# %%
large, large_images = fit_latent(5.5)
check("s = 5.5：标准差更近，样子却差些", [large.std() / 5.5 < middle.std(), score(large_images) > 1.1 * score(middle_images)], [1, 1])

# %%
small, small_images = fit_latent(0.18)
check("s = 0.18：最后几步收拾不干净，标准差是该有的 3 倍以上", small.std() > 3 * 0.18, True)
check("样子也最差", score(small_images) > 1.4 * score(middle_images), True)
grid_figure(torch.cat([images[:10] for images in (middle_images, large_images, small_images)]), nrow=10, rows=["$s=1$", "$s=5.5$", "$s=0.18$"])

# %% [markdown]
# 图：同样的网络、同样的 200 步，从上到下是 $s=1$、5.5、0.18。只练了 200 步，哪一排都不完美，但第一排最像样；第三排发糊，残缺的也最多。
# 只乘一个数，差别就这么大。
#
# 原文件里定这个数有两种办法：写死（`scale_factor: 0.18215`），或者 `scale_by_std`，在训练的第一批开始之前算一次 $1/\text{std}$，存进缓冲区。
# 后一种只看一批，够不够准？

# %%
generator = torch.Generator().manual_seed(1)
batches = [1 / autoencoder.encoder(train[torch.randint(len(train), (64,), generator=generator)]).std() for _ in range(20)]
check("只看 64 张，与看全部相差不到 5%", torch.stack(batches) * z.std(), torch.ones(20), atol=0.05)
check("只有一个数，两个通道仍不一样大", z.std((0, 2, 3)).max() / z.std((0, 2, 3)).min() > 1.3, True)

# %% [markdown]
# 真正的第一阶段还有两点不同：
#
# - 它的编码器给出均值与方差，编码是抽一个样本（KL 型），或者取码本里最近的一个向量（VQ 型）。`get_first_stage_encoding` 就是管这件事，顺手乘上 `scale_factor`。
# - 训练它时除了像素误差，还有感知损失与对抗损失，所以解码清晰；KL 的权重极小，只防潜变量无限放大，这也是标准差不是 1 的原因。
#
# “冻结”在原文件里写成三件事：`eval()`、把 `train` 方法换成什么也不做的函数、每个参数 `requires_grad = False`。
# 第二件看着古怪，道理是：原文件写成时的 Lightning (1.x) 每轮开头都会调用 `model.train()`，把子模块一起拨回训练模式，dropout 与 BatchNorm 就活了。Lightning 2.2 起不再这样，可是自己写循环、或别人调用 `model.train()` 时仍会，所以这个写法留着。

# %%
parent = nn.Module()
parent.first_stage = nn.Dropout(0.5).eval()
parent.train()
check("父模块一声 train()，冻结的子模块也醒了", parent.first_stage.training, True)
parent.first_stage.eval().train = lambda mode=True: parent.first_stage
parent.train()
check("把它的 train 换掉，就叫不醒了", parent.first_stage.training, False)

# %% [markdown]
# ## 6　条件从哪里来
#
# 基类里的条件已经是张量。`LatentDiffusion` 多一个条件编码器 `cond_stage_model`：文字进去，一串向量出来，再走 `c_crossattn`。
# 它的配置可以是两个特殊的字符串：`__is_first_stage__`（条件也是图，用同一个自编码器编码）、`__is_unconditional__`（没有条件）。
#
# `apply_model` 收到的条件若不是字典，就包成 `{"c_concat": [c]}` 或 `{"c_crossattn": [c]}`，`DiffusionWrapper` 再拆开。这里由 `as_condition` 做同样的事，并且检查：

# %%
words = nn.Embedding(10, 6)  # 最小的“文字编码器”：一个词一个向量
tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
context = words(tokens).detach()
wrapped = as_condition(context, "crossattn", batch_size=2)
check("包成字典", list(wrapped) == ["c_crossattn"], True)
check("两句话，各三个词，每个词六个数", list(wrapped["c_crossattn"].shape), [2, 3, 6])
check_raises("条件的名字不对", lambda: as_condition({"caption": context}, "crossattn", 2), "c_crossattn")

# %% [markdown]
# 读这一段要当心三处：
#
# - `get_input` 返回列表，长度随参数变：至少两项（潜变量、条件），要重建图就多两项，要原来的条件再多一项。
# - 条件编码器若也要训练（`cond_stage_trainable`），编码推迟到 `forward` 里，否则梯度传不回去。
# - 不是字典的条件，除了 `concat` 一律放进 `c_crossattn`；`adm` 的类别也是，`DiffusionWrapper` 再从那里取出来，名字不符，却是配套的。
#
# 还有一个罕用的开关。`num_timesteps_cond` 大于 1 时，条件自己也要掺噪声（条件是图时，这能防止模型太依赖它）。掺到第几步，由一张表决定：表长 $T$，开头 `num_timesteps_cond` 项从 0 均匀地铺到 $T-1$，其余全是 $T-1$。
# 画出来就看得懂：$t$ 稍大，条件就已经是纯噪声，只有很小的 $t$ 才看得清条件。

# %%
T, T_cond = 1000, 200
steps = np.minimum(np.arange(T) * (T - 1) / (T_cond - 1), T - 1).round()
check("t = 0：条件几乎没有噪声", steps[0], 0)
check("从 t = 199 起，条件就是纯噪声", bool((steps[T_cond - 1:] == T - 1).all()), True)
curve_figure(range(T), {"条件": steps, "图": np.arange(T)}, "图的步号 $t$", "掺到第几步")

# %% [markdown]
# 图：横轴是图的步号，纵轴是掺到第几步。虚线是图自己；实线是条件，它陡得多，早早到顶。

# %% [markdown]
# ## 7　切块：图太大怎么办
#
# 模型若带有 `split_input_params`，编码、解码与 U-Net 都改成一块一块地做：切成重叠的块，各自处理，再加权相加。权重在块的中心大、边上小，除以落在每个像素上的权重之和，接缝就被抹平。
# `get_fold_unfold` 返回的四样东西就是：拼、切、权重之和、权重。
#
# 先看不处理时能不能原样拼回；再让每块各有一点亮度误差，比较等权与加权的接缝。

# %%
def blend(patches, weight, size, k, stride):
    """(B, C·k·k, L) 的块，逐像素加权平均"""
    flat = weight.reshape(1, -1, 1)
    share = F.fold(flat.expand(1, -1, patches.shape[-1]), size, k, stride=stride)
    return F.fold(patches * flat.repeat(1, patches.shape[1] // flat.shape[1], 1), size, k, stride=stride) / share


image = torch.rand(1, 1, 32, 32, generator=generator)
patches = F.unfold(image, 16, stride=8)
edge = torch.minimum(torch.arange(16.0), torch.arange(15.0, -1, -1)) + 0.5
weights = {"等权": torch.ones(16, 16), "加权": edge[:, None] * edge}
for name, weight in weights.items():
    check(f"{name}：不处理，就能原样拼回", blend(patches, weight, (32, 32), 16, 8), image, atol=1e-5)

# %%
shift = 0.5 * torch.randn(1, 1, patches.shape[-1], generator=generator)  # 每块自己的亮度误差
flat = torch.zeros_like(patches) + shift
seams = {name: blend(flat, weight, (32, 32), 16, 8) for name, weight in weights.items()}
jump = {name: seam.diff(dim=-1).abs().max() for name, seam in seams.items()}
check_order("加权之后，最大的跳变不到等权的一半", jump["加权"], 0.5 * jump["等权"], digits=2)
grid_figure(torch.cat(list(seams.values())).clamp(-1, 1), nrow=2, width=4.0, columns=list(seams))

# %% [markdown]
# 图：每块只有自己的亮度误差。左边等权，接缝是一道道台阶；右边加权，过渡平缓。
# 这个办法省显存，但各块互相看不见：全局的布置靠不住。后来更常用的是分块的自编码器加上整张的 U-Net。

# %% [markdown]
# ## 8　地图：`LatentDiffusion`

# %%
reference_map("latent")

# %% [markdown]
# 表里“没有”的，都在第 5 到第 7 节讲过。读它的构造函数时，还有几处次序值得停一停：
#
# - `num_timesteps_cond` 在调用父类的构造函数**之前**就赋值，因为父类会调用 `register_schedule`，而子类的 `register_schedule` 要用它。
# - `ckpt_path` 从参数里先取走，等两个编码器都造好再载入；于是父类那里的载入被跳过了。
# - `conditioning_key` 没有给时，由 `concat_mode` 决定，默认是 `concat`。以为默认是交叉注意力，就会在通道数上报错。
# - `scale_factor` 有时是普通的数，有时是缓冲区。用了 `scale_by_std` 的检查点里存着它；写死的不在里面，换一份配置就换了一个数。
#
# 采样也换了地方：日常用的是单独的 `DDIMSampler`。引导时它把有条件与无条件拼成一批，一次前向；两个公式都在第 7 章。
#
# 到这里，原文件里没有哪一段是陌生的了。打开它，从 `LatentDiffusion.shared_step` 读起，顺着第 2 节的那条主线走一遍。

# %% [markdown]
# ## 小结
#
# - 基类的 26 个方法都在这门课里，名字与次序相同；差别都有缘由，也都有测试守着。
# - 最要当心的是静悄悄的错：`strict=False`、“全是 NaN 才报警”、不是缓冲区的张量、猜出来的 HWC。
# - `LatentDiffusion` 等于 `DDPM` 加上冻结的自编码器和条件编码器；要紧的是乘与除 `scale_factor` 成对，且不截断。
# - 潜变量的标准差要接近 1，噪声表才用在对的地方。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 17.1　尺度因子 ★
#
# `z` 是第一批潜变量，形状 $(B, C, H, W)$。返回一个数，乘上它之后，整批的标准差是 1。

# %%
def scale_factor(z):
    # 答案
    return 1 / z.std()
    # 答案完


grade("17.1", scale_factor)

# %% [markdown]
# ### 17.2　条件掺到第几步 ★★
#
# 写出第 6 节的那张表：长度 `T` 的 int64 张量；开头 `T_cond` 项从 0 均匀地铺到 `T - 1`，四舍五入；其余全是 `T - 1`。`T_cond` 可以是 1，那时第一项是 0。

# %%
def cond_ids(T, T_cond):
    # 答案
    table = torch.full((T,), T - 1)
    table[:T_cond] = torch.linspace(0, T - 1, T_cond).round().long()
    return table
    # 答案完


grade("17.2", cond_ids)

# %% [markdown]
# ### 17.3　把重叠的块拼回去 ★★★
#
# `patches` 的形状是 $(B, C, k, k, L)$，是从 $H\times W$ 的图上每隔 `stride` 切下的 $L$ 块，先从左到右，再从上到下（与 `F.unfold` 相同）。
# `weight` 是 $(k, k)$ 的正数，`size` 是 $(H, W)$。返回 $(B, C, H, W)$：每个像素是覆盖它的各块按 `weight` 的加权平均。可以用 `F.fold`，它把各块加到原处。

# %%
def stitch(patches, weight, size, stride):
    # 答案
    B, C, k, _, L = patches.shape

    def add(x):
        return F.fold(x.reshape(len(x), -1, L), size, k, stride=stride)

    total = add(patches * weight[:, :, None])
    share = add(weight[None, None, :, :, None].expand(1, 1, k, k, L))
    return total / share
    # 答案完


grade("17.3", stitch)

# %% [markdown]
# ### 17.4　注意力便宜了多少 ★
#
# 图从 512×512 压到 64×64。在最大的分辨率上做一次自注意力（每两个像素比一次），次数少到原来的几分之一？填分母。

# %%
grade("17.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 17.5　忘了除回来 ★★
#
# 训练时潜变量乘了 `scale_factor` = 0.18215。自己写采样时，忘了先除以它就解码，图会怎样？可以用第 5 节的自编码器试：`autoencoder.decoder(0.18 * z[:16])`。
#
# - A：一样，解码器会适应。
# - B：发灰，对比很低，轮廓还依稀可辨。
# - C：全是噪声。
# - D：亮处暗处都溢出，黑白分明。

# %%
grade("17.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
