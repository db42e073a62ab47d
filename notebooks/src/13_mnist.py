# %% [markdown]
# # 13 · 训练 MNIST
#
# **学习目标**
#
# - 用一份配置训练 28×28 的数字：数据、网络、`Trainer` 各写在哪里。
# - 会看训练曲线：总损失为什么很快就不降了，按 $t$ 分成四段又看得出什么；分得清“没有练够”与“消不掉”。
# - 停下、续训、挑检查点、采样、评估；知道在 CPU 上要多久。
#
# **预计用时** 40 分钟，另加正式训练的时间。运行全部单元两三分钟。

# %%
import os
import signal
import tempfile
from pathlib import Path

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, count_params
from ddpm_edu.teach.step_progress import StepProgress
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.configs import load as load_config
from ddpm_edu.data.base import ImageDataset, random_images
from ddpm_edu.generate import generate
from ddpm_edu.evaluation.metrics import frechet_distance, frechet_for, recognised
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.teach import check, curves_figure, grid_figure
from ddpm_edu.teach.datasets import drawn_by, mnist_or_stand_in
from ddpm_edu.teach.training import quiet_trainer, read_curves
from ddpm_edu.training.timestep_loss import TimestepLoss, quarters

# %%
CONFIG = "mnist-quick"  # 一分钟的小样；改成 "mnist-class"，就是随课程发布的那个模型的练法
DATA = Path("../data").resolve()
config = load_config(CONFIG)
os.chdir(tempfile.mkdtemp())  # 曲线与检查点写在临时目录里，不弄脏课程的文件夹
print("准备好了")

# %% [markdown]
# ## 1　练完是这样
#
# 先看终点。课程带着一个在 MNIST 上练好的模型，`load_pretrained("mnist")`：1.0 M 参数，按类别生成，用这个仓库自己的命令、一个 CPU 核练成。下面的字都是它画的。

# %%
grid_figure(drawn_by("mnist")[:50], nrow=10, columns="0123456789")

# %% [markdown]
# 图：随课程发布的 `mnist` 画的五十个数字，一列一类，DDIM 50 步，引导强度 2。种子是 0，取第一批的前五十张，没有挑过。
#
# 它有多好，不能只凭眼睛。下表是对着 MNIST 的测试集量的（DDIM 50 步），卡片里记着各个种子的数；“认得出”是一个分类器（它自己在测试集上的准确率写在最后一行）认作所要的那一类的比例。

# %%
quality = pretrained_card("mnist")["quality"]
print(quality["samples"])
for name, row in {"引导强度 1": quality["guidance_1"], "引导强度 2": quality["guidance_2"]}.items():
    print(f"{name}　认得出 {row['recognised']['mean']:.1%} ± {row['recognised']['se']:.1%}　Fréchet 距离 {row['frechet']['mean']:.1f} ± {row['frechet']['se']:.1f}")
print(f"真图　　　认得出 {quality['real_recognised']['recognised']:.1%}　　　　 Fréchet 距离 {quality['frechet_floor']['mean']:.1f} ± {quality['frechet_floor']['se']:.1f}（训练集的图对测试集）")
print(f"纯噪声　　　　　　　　　　　　　 Fréchet 距离 {quality['frechet_noise']:.0f}")

# %% [markdown]
# Fréchet 距离 (Fréchet distance) 第 7 节讲，现在只要知道：越小越像真图，真图自己也不是 0。
# 这一章就走这条路：先花一分钟走一小段，看看起步时是什么样，再说清怎样走下去。

# %% [markdown]
# ## 2　数据：有真的就用真的
#
# MNIST 有 6 万张训练图，28×28 灰度，压缩后约 12 MB。磁盘上有它就用它；没有就用内置的数字放大到 28×28 代替，后面的代码一个字也不用改。
# 想下载，另起一格运行 `from ddpm_edu import MNISTDataModule; MNISTDataModule(DATA).prepare_data()`：先试国内的镜像，断了再运行会接着下，内容核对无误才放到最终的名字。
# 也可以用环境变量 `DDPM_EDU_MIRROR` 指定镜像，或把四个文件放进课程文件夹的 `data/mnist/`，完全离线。

# %%
data, which = mnist_or_stand_in(DATA, batch_size=config["data"]["init_args"]["batch_size"])  # which 是一句话：用的是哪一份
data.setup()
batch = next(iter(data.val_dataloader()))
print({name: tuple(value.shape) for name, value in batch.items()})
check("像素都在 [-1, 1] 里", batch["image"].abs().max() <= 1, True)
grid_figure(batch["image"][:30], nrow=10)

# %% [markdown]
# 图：30 张验证集里的图，每一张都认得出是几。
#
# 磁盘上的像素是 0..255 的整数 $k$，取出时换算成 $k/127.5-1$。这个换算要分毫不差：第 6 章的离散解码器认为像素恰好落在 256 个等距的值上。

# %%
levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
image = ImageDataset(levels, torch.zeros(1, dtype=torch.long))[0]["image"]
check("256 个值恰好是 k/127.5 - 1", image.flatten(), torch.arange(256) / 127.5 - 1)
check("间隔处处是 2/255", image.double().flatten().diff(), torch.full((255,), 2 / 255), atol=2e-7)

# %% [markdown]
# ## 3　一份配置
#
# `mnist` 是一套完整的配置，叠在它上面的几份只写要改的：`mnist-quick` 是一分钟的小样，`mnist-class` 是随课程发布的那个模型的练法，`mnist-laptop` 不分类别，`mnist-gpu` 打开半精度与编译。
# 命令行的 `--config mnist-quick` 与这里的 `load_config` 读到的是同一份。

# %%
for name, value in config["model"]["unet_config"]["params"].items():
    print(f"{name:22}{value}")
print("一共", config["trainer"]["max_steps"], "步，每步", config["data"]["init_args"]["batch_size"], "张图，学习率", config["model"]["learning_rate"])

# %% [markdown]
# 与 8×8 的数字相比，网络多了一样东西：`patch_size` 是 2，每 2×2 个像素先叠成一个位置的 4 个通道，28×28 就成了 14×14，算完再摊开。
# 卷积的代价正比于位置数，所以同样的宽度，每一步的卷积省下四分之三。注意力只放在 7×7 那一层（位置少，注意力便宜）。
#
# 另一处不同是 `num_classes`：训练时告诉网络每张图是几（有一成的样本故意不给类别，第 7 章的引导要用），网络学得快，采样时也能点名要几。
# 类还是同一个 `DDPM`。

# %%
torch.manual_seed(0)
model = DDPM(**config["model"])
print(f"{count_params(model.model):,} 个参数")

# %% [markdown]
# ## 4　训练
#
# `Trainer` 的参数也在配置里。这里再写一遍，好看清各是什么（`quiet_trainer` 就是 `pl.Trainer`，只是默认不出声、不写文件）：
#
# - `gradient_clip_val=1.0`：梯度的范数超过 1 就按比例缩小，个别坏批次不至于毁掉权重；
# - `val_check_interval=75`：每 75 步验证一次，只用验证集的前 4 批；
# - `CSVLogger`：曲线写进一个 CSV 文件。命令行的配置里另有 TensorBoard。
#
# `TimestepLoss` 是个回调：每次验证之后，把损失按 $t$ 分四段另记一份。

# %%
# NBVAL_IGNORE_OUTPUT
print(which)
trainer = quiet_trainer(
    max_steps=config["trainer"]["max_steps"], accelerator=config["trainer"]["accelerator"], gradient_clip_val=1.0,
    val_check_interval=75, check_val_every_n_epoch=None, limit_val_batches=4, num_sanity_val_steps=0,
    logger=pl.loggers.CSVLogger(".", name="mnist"), log_every_n_steps=5, bar=StepProgress(),
    callbacks=[TimestepLoss()],
)
trainer.fit(model, data)
trainer.logger.save()  # 停得早，曲线也写出来

# %% [markdown]
# 工具栏的停止按钮随时可以按，第 6 节讲按下之后发生什么。停得太早（还没有验证过几次），第 5 节的核对会报错，那是实话；重新运行训练的单元即可。

# %% [markdown]
# ## 5　看曲线

# %%
curves = read_curves(trainer.logger.log_dir)
steps, train_loss = curves["train/loss_simple"]
val_steps, ema = curves["val/loss_simple_ema"]
_, raw = curves["val/loss_simple"]
quarter = {f"$q_{k}$": curves[f"val/loss_q{k}_ema"][1] for k in (1, 2, 3, 4)}
check("训练损失降下来了", sum(train_loss[-4:]) < 0.6 * sum(train_loss[:4]), True)
curves_figure((steps, {"训练": train_loss}, "步", "损失", "linear", "log"),
              (val_steps, {"原权重": raw, "EMA": ema}, "步", "验证损失", "linear", "log"),
              (val_steps, quarter, "步", "验证损失，EMA", "linear", "log"))

# %% [markdown]
# 图：左边是每 5 步记一次的训练损失，抖动来自每批不同的 $t$ 与噪声。中间是验证损失，原权重与 EMA 用同一份 $t$ 与噪声，所以可以直接比：小样很短，两条几乎重合。右边是 EMA 的损失按 $t$ 分的四段，$q_1$ 是最靠近原图的四分之一。
#
# 四段两头高、中间低。以 $v$ 为目标时，$q_1$ 处的目标几乎就是噪声 $\varepsilon$：图上只掺了一点点，要把它从笔画里分出来，难。
# $q_4$ 处的目标几乎是 $-x_0$：图只剩一点影子，写成什么样说不准，也难。中间两段，图与噪声都看得见，最好猜。
#
# 损失降得慢了：是训练不足，还是剩下的误差任何网络都消不掉？单看一条曲线分不出来（何况学习率也在降），要有参照。
#
# 一条参照不用训练就算得出来：**线性滤波**（又叫 Wiener 滤波），只许用 $x_t$ 各像素的加权和（外加一个常数）来猜 $v$，权重取误差最小的那组。
# 把图沿协方差的特征方向拆开，各个方向互不相干，每个方向上都是第 5 章里的一维高斯，方差是特征值 $\lambda_i$，误差是 $\lambda_i/(\bar\alpha_t\lambda_i+1-\bar\alpha_t)$。
# 它不是下限，网络可以比它好；可是哪一段连它都不如，那一段就一定没有练够。
#
# 另一条是练得久的模型：随课程发布的 `mnist` 看过的图多十几倍，网络也深一些，它的四段损失记在卡片里。

# %%
pixels = random_images(data.dataset("train"), 10_000)["image"].flatten(1).double()
spectrum = torch.linalg.eigvalsh(torch.cov(pixels.T)).clamp(min=0)
bar = model.exact_table("alphas_cumprod")[:, None]
wiener = (spectrum / (bar * spectrum + 1 - bar)).mean(1)
linear = [float(wiener[start:stop].mean()) for start, stop in quarters(model.num_timesteps)]
last, shipped = [values[-1] for values in quarter.values()], quality["loss_by_quarter"]
curves_figure(((1, 2, 3, 4), {"线性滤波": linear, "这一程": last, "练得久的": shipped["model"]}, "$t$ 的第几段", "$v$ 的损失"))

# %% [markdown]
# 图：四段上的损失，从 $q_1$ 到 $q_4$。线性滤波由一万张训练图算出；“这一程”是刚才练的，用验证集的前几批；“练得久的”是随课程发布的模型，用 512 张测试图（它的数是对着 MNIST 量的；你若用了替身，前两条是替身的，不能与它相比）。
#
# 三条线在左边分得很开，越往右靠得越拢。前几段练久了还能降许多：那里的误差多半是**没有练够**。
# 最后一段，看过的图多了十几倍，也只降了两成上下；比起不用训练的线性滤波，只低两三成，何况它知道要画的是几，线性滤波不知道。
# 那里图只剩影子，再练也说不准，由此推断，剩下的误差大半是**消不掉**的。这是推断，不是证明：消不掉的到底有多少，只有第 5 章的高斯例子算得出来。

# %%
gain = [w / m for m, w in zip(shipped["model"], shipped["wiener"])]
print("MNIST 上，线性滤波的损失是练得久的模型的几倍：", "　".join(f"q{k} {value:.1f}" for k, value in enumerate(gain, 1)))
print(f"练得久的模型，四段里最后一段占 {shipped['model'][3] / sum(shipped['model']):.0%}")
check("每一段都胜过线性滤波，胜得最少的是最后一段", min(gain) > 1 and min(gain) == gain[3], True)
print("四段的步号：", quarters(model.num_timesteps))

# %% [markdown]
# 总损失把四段混在一起，降不动的那一段占的份额越来越大，所以它很快就降得慢了，样本却还在变好。看模型还在不在进步，要看分段的曲线和样本，不要只看总损失。

# %% [markdown]
# ## 6　停下与续训
#
# 按停止按钮（或在终端按 Ctrl-C）时，`DDPM` 自带的 `StopSafely` 回调走完手上的一步（正在验证就验证完），把检查点存成 `interrupted.ckpt`，印一行话，`fit` 正常返回。内核还在，后面的单元照常运行。
# 从这份检查点续训，与从没停过相比，权重逐位相同：$t$ 与噪声由批号决定（第 10 章），数据也从停下的那一批接着取。
#
# 下面用同一个网络的一份小样来证明：一口气走 8 步；另一个走到第 3 步时收到停止信号，再从检查点走到第 8 步。

# %%
class StopAt(pl.Callback):
    """到第 n 步时，替你按一下停止按钮"""

    def __init__(self, n):
        self.n = n

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.n - 1:
            signal.raise_signal(signal.SIGINT)


def fresh():
    torch.manual_seed(1)
    return DDPM(**config["model"]), mnist_or_stand_in(DATA, batch_size=16)[0]


# %%
straight, stream = fresh()
quiet_trainer(max_steps=8).fit(straight, stream)
stopped, stream = fresh()
first = quiet_trainer(max_steps=8, enable_checkpointing=True, default_root_dir="stop", callbacks=[StopAt(3)])
first.fit(stopped, stream)
check("停在第 3 步", first.global_step, 3)

# %% [markdown]
# 上面红底的一行就是按下停止按钮之后看到的：停在哪里，存到哪里，怎样继续。照它说的做：

# %%
saved = Path(first.checkpoint_callback.dirpath) / "interrupted.ckpt"
resumed, stream = fresh()
quiet_trainer(max_steps=8).fit(resumed, stream, ckpt_path=saved)
check("续训与从没停过，每一个数都相同",
      all(torch.equal(a, b) for a, b in zip(straight.state_dict().values(), resumed.state_dict().values())), True)

# %% [markdown]
# 正式训练时，还有两份检查点：`best-*.ckpt` 是 `val/loss_ema` 最低的一份，`last.ckpt` 是最后一份。
# 挑“最好”要看 EMA 的损失，因为采样用的是 EMA 权重。

# %% [markdown]
# ## 7　采样与评估

# %%
digits = torch.arange(10)
samples, _ = generate(model, 30, cond=digits.repeat(3), guidance_scale=2.0, steps=25, seed=0)
grid_figure(samples, nrow=10, columns="0123456789")

# %% [markdown]
# 图：0 到 9 各三个样本，DDIM 25 步，引导强度 2，EMA 权重。小样只走了一小段：有的认得出是几，有的还不像，笔画毛糙（认得出几成，下面数）。第 1 节的模型，训练时看过的图是这里的约 14 倍。
#
# 用 Fréchet 距离打分：两批图的特征各拟合一个高斯，均值 $\mu_1,\mu_2$，协方差 $\Sigma_1,\Sigma_2$，距离是
#
# $$\|\mu_1-\mu_2\|^2+\mathrm{tr}\bigl(\Sigma_1+\Sigma_2-2(\Sigma_1\Sigma_2)^{1/2}\bigr).$$
#
# 特征只有一维时，它就是 $(\mu_1-\mu_2)^2$ 加上标准差之差的平方。先核对，再用。

# %%
a, b = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)), 2 + 3 * torch.randn(500, 1, generator=torch.Generator().manual_seed(1))
check("一维的 Fréchet 距离", frechet_distance(a, b), (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2, atol=1e-4)

# %% [markdown]
# 特征从哪里来？要一个懂这份数据的分类器。MNIST 的随课程发布；用替身时，就在它的训练集上现训一个。

# %%
score = frechet_for(data, num_images=1000)
many, _ = generate(model, 200, batch_size=50, cond=digits.repeat(20), steps=15, seed=1)
distance, same = score(many), score.floor(score.train[:200])  # 样本少，距离就偏大（第 15 章），所以比同样多的真图
check("样本比纯噪声近得多", distance < score.ceiling() / 4, True)
check("还没有好过同样多的真图", distance > same, True)

# %%
# NBVAL_IGNORE_OUTPUT
print(f"200 张真图 {same:.1f}　这一程的 200 张样本 {distance:.1f}　纯噪声 {score.ceiling():.0f}　（各量一次）")
print(f"这 200 张（没有引导）里，分类器认作所要的数字的有 {recognised(score.classifier, many, digits.repeat(20))['recognised']:.0%}")

# %% [markdown]
# Fréchet 距离只能在同一个分类器、同样的张数之下比较（第 1 节的是 400 张，所以与这里的不能比），更不能与论文里的 FID 比：FID 用的是在自然图像上训练的 Inception 网络。
#
# 再看练得久的。第 1 节的那一批一共画了一百张，每一张都知道想画的是几，拿分类器数一数认对了几张：

# %%
drawn = drawn_by("mnist")
share = recognised(load_classifier("mnist"), drawn, torch.arange(100) % 10)
print(f"一百张里认对 {100 * share['recognised']:.0f} 张，其中 {100 * share['sure']:.0f} 张的把握超过九成")
check("几乎都认得出", share["recognised"] >= 0.97, True)

# %% [markdown]
# ## 8　用命令行做同样的事
#
# 训练、续训、采样、评估，各用一条命令：
#
# ```bash
# python -m ddpm_edu fit --config mnist-class
# python -m ddpm_edu fit --config mnist-class --ckpt_path last
# python -m ddpm_edu sample --ckpt runs/mnist-class --labels 0-9 --out grid.png --gif walk.gif
# python -m ddpm_edu evaluate --ckpt runs/mnist-class --data mnist --out report.json
# ```
#
# 有 GPU 时换成 `--config mnist-gpu`：6.5 M 的网络，不分类别，所以采样时不写 `--labels`，文件夹是 `runs/mnist-gpu`。每个选项都能在后面改，例如 `--trainer.max_steps 5000`、`--data.batch_size 256`。
# 曲线用 `tensorboard --logdir runs/tensorboard` 看；样本在 `runs/mnist-class/version_0/samples/`，开头存得勤，免得久等；再练一次就是 `version_1`。`--ckpt` 写文件夹时，取里面最近的一份 `last.ckpt`。
#
# 命令行与 notebook 用的是同一份配置：

# %%
laptop, gpu = load_config("mnist-laptop"), load_config("mnist-gpu")
check("笔记本的网络小得多", laptop["model"]["unet_config"]["params"]["model_channels"] < gpu["model"]["unet_config"]["params"]["model_channels"], True)
check("GPU 的一份用半精度", gpu["trainer"]["precision"] == "bf16-mixed", True)
print("GPU 的提速开关：", gpu["speed"])

# %% [markdown]
# ## 9　要多久
#
# | 配置 | 参数 | 批 × 步数 | 2 个 CPU 核：快的一台 | 慢的一台 |
# |:--|--:|--:|--:|--:|
# | `mnist-quick`，这里的小样 | 0.70 M | 32 × 375 | 没有实测 | 约 100 秒（一个线程） |
# | `mnist-class` | 1.00 M | 64 × 2577 | 没有实测 | 约 1 小时（一个线程） |
# | `mnist-laptop` | 1.11 M | 64 × 3000 | 约 15 分钟 | 约 27 分钟 |
# | `mnist` | 6.47 M | 128 × 20000 | 约 17 小时 | 约 37 小时 |
#
# `mnist-class` 的一小时，是随课程发布的 `mnist` 与 `fashion` 同时练、各占一个核，旁边还有别的活时的。它们途中换过一次学习率计划，取的是第 2 577 步（卡片里写着；配置里写 3000 步），所以照着重练，得到的相近，不会逐位相同。
#
# 其余实测的是每步的时间（`python -m benchmarks.step_time`，中位数），乘以步数，只算训练。两台机器核数相同，快慢差 1.8 到 2.2 倍，所以先在自己的机器上量一量再决定。
# GPU 上没有量过：`python -m benchmarks.gpu --network mnist` 可以在你的卡上量出来。

# %% [markdown]
# ## 小结
#
# - 换一个数据集，只换数据模块与几行配置；`DDPM` 类不变。
# - 总损失很快就降得慢了；分成四段，与线性滤波、与练得久的模型比，才知道哪一段还没有练够，哪一段大半消不掉。
# - 停止按钮是安全的；续训与从没停过逐位相同。
# - 评估要有参照线；不同分类器之下的距离不能互比。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 13.1　变回像素 ★
#
# 把生成的图换回 0 到 255 的整数像素：`x` 是浮点张量，本该在 $[-1,1]$ 里，但会略微出界，出界的截断。返回同样形状的 `torch.uint8` 张量。
# 第 2 节的 256 个值，要一个不差地换回原来的整数。

# %%
def to_pixels(x):
    # 答案
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    # 答案完


grade("13.1", to_pixels)

# %% [markdown]
# ### 13.2　分四段看损失 ★★
#
# `losses` 是 $(N,)$ 的张量，第 $i$ 个样本的损失；`t` 是 $(N,)$ 的整数张量，它的步号。把 $0..T-1$ 分成四段，第 $k$ 段（$k=0,1,2,3$）含 $\lfloor Tk/4\rfloor\le t<\lfloor T(k+1)/4\rfloor$ 的各步。
# 返回四段各自的平均损失，形状 $(4,)$。每一段都至少有一个样本。

# %%
def quarter_means(losses, t, num_timesteps):
    # 答案
    edges = [num_timesteps * k // 4 for k in range(5)]
    return torch.stack([losses[(t >= low) & (t < high)].mean() for low, high in zip(edges, edges[1:])])
    # 答案完


grade("13.2", quarter_means)

# %% [markdown]
# ### 13.3　不看邻居的下限 ★★★
#
# 假如猜一个像素只许看它自己，并且当它是高斯的，方差为 $s^2$，那么目标 $v$ 的误差最小是 $s^2/D$，其中 $D=\bar\alpha_t s^2+1-\bar\alpha_t$（第 5 章的 $\hat x_0$ 误差 $(1-\bar\alpha_t)s^2/D$ 再除以 $1-\bar\alpha_t$）。
# `images` 是 $(N,1,H,W)$，`betas` 是 $(T,)$，都是 float64 的张量。每个像素的 $s^2$ 由 $N$ 张图估计，除以 $N$。返回各步的下限，对所有像素求平均，形状 $(T,)$。
# 第 5 节的线性滤波许看全部像素；写好之后比一比，看邻居省下了多少。

# %%
def lowest_v_loss(images, betas):
    # 答案
    s2 = images.flatten(1).var(0, correction=0)
    bar = torch.cumprod(1 - betas, 0)[:, None]
    return (s2 / (bar * s2 + 1 - bar)).mean(1)
    # 答案完


grade("13.3", lowest_v_loss)

# %% [markdown]
# ### 13.4　换成 eps ★★
#
# 把目标换成 `parameterization="eps"`，噪声表不变，训练到差不多好。第 5 节右图的四段损失会是什么次序？先用第 5 章的 $\bar\alpha s^2/D$ 猜一猜。
#
# - A：与 $v$ 一样，两头难，中间容易。
# - B：$q_1$ 最容易，$q_4$ 最难。
# - C：$q_1$ 最难，一段比一段容易。
# - D：四段差不多。

# %%
grade("13.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 13.5　换了种子再续训 ★
#
# 第 6 节里，从第 3 步的检查点续训到第 8 步，与从没停过逐位相同。假如续训的那个 `DDPM` 构造时写了 `seed=1`（原来是 0），会怎样？
#
# - A：报错，种子与检查点里的不同。
# - B：仍旧逐位相同，要紧的都在检查点里。
# - C：照常续训，但从第 4 步起权重就不同了。
# - D：检查点作废，从头训练。

# %%
grade("13.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
