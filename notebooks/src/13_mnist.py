# %% [markdown]
# # 13 · 训练 MNIST
#
# 我们只有一个 CPU 核，要训练一个画手写数字的模型。练了半分钟，验证损失的曲线快平了，画出来的却多半是断开的笔画。换一份练二十分钟的配置，网络大一些，画出来的就像真的。
#
# **这一章的问题**：损失的曲线平了，怎样知道还要不要再练？
#
# **学习目标**
#
# - 会判断还要不要再练：先看学习率，再按 $t$ 分成四段，与一个不用训练的公式比，最后加倍步数重练，看哪一段还降。
# - 用一份配置训练 28×28 的数字，会采样、打分、停下、续训，知道在 CPU 上要多久。
#
# **预计用时** 35 分钟，另加正式训练的时间。运行全部单元约一分钟，多半花在训练上。

# %%
import os
import signal
import tempfile
from pathlib import Path

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, DigitsDataModule, LambdaWarmUpCosineScheduler, count_params, load_pretrained
from ddpm_edu.teach.step_progress import StepProgress
from ddpm_edu.configs import load as load_config
from ddpm_edu.data.base import random_images
from ddpm_edu.generate import generate
from ddpm_edu.evaluation.metrics import frechet_for, recognised
from ddpm_edu.teach import check, grid_figure
from ddpm_edu.teach.datasets import drawn_by, mnist_or_stand_in
from ddpm_edu.teach.mnist_figures import above_line_figure, doubled_figure, gaps_figure, loss_and_rate_figure
from ddpm_edu.teach.training import quiet_trainer, read_curves
from ddpm_edu.training.timestep_loss import quarters, spread

# %%
config = load_config("mnist-quick")  # 一分钟的小样；正式训练用第 10 节的命令
unet, plan = config["model"]["unet_config"]["params"], config["model"]["scheduler_config"]["params"]
config["trainer"]["max_steps"] = plan["max_decay_steps"] = 190  # 这一章只走约一半的步数，半分钟就完
plan["warm_up_steps"] = 15
DATA = Path("../data").resolve()
os.chdir(tempfile.mkdtemp())  # 曲线与检查点写在临时目录里，不弄脏课程的文件夹

# %% [markdown]
# ## 1　练二十分钟是这样
#
# 先看终点。`load_pretrained("mnist")` 是课程带着的模型，100 万参数，采样时能点名要几。网络与数据照配置 `mnist-class`，共走 2577 步，在一个不忙的核上约 21 分钟。学习率计划中途由 4500 步换成 3000 步，停下时还在峰值的 6.5%；第 10 节的 24 分钟是走满 3000 步的。

# %%
shipped, digits = load_pretrained("mnist"), torch.arange(10)
grid_figure(drawn_by("mnist")[:20], nrow=10, columns="0123456789")  # 事先画好、存着的

# %% [markdown]
# 图：练二十分钟，画出的数字像手写的。引导强度 2，DDIM 50 步，没有挑过。
#
# 再请一个分类器来数：画出的图里，有几成被它认作所要的那一类，下面叫“认得出”。
# 引导强度 2 是 99.8 ± 0.1%，不加引导（强度 1）是 93.7 ± 0.5%，真图是 99.4%。± 是八个采样种子之间的标准误，每个 400 张。
#
# 强度 2 比真图还高，比不出好坏，所以打分都不加引导，给眼睛看的图才用 2。
#
# ## 2　数据：有真的就用真的
#
# 磁盘上有 MNIST 就用它，没有就把内置的 8×8 数字放大来代替，下面叫**替身**，代码一个字也不用改。文中的数都是用真的 MNIST 量的，用替身就不同。
#
# 要下载，另起一格运行 `from ddpm_edu import MNISTDataModule; MNISTDataModule(DATA).prepare_data()`；完全离线时，把四个文件放进课程文件夹的 `data/mnist/`。

# %%
data, which = mnist_or_stand_in(DATA, batch_size=config["data"]["init_args"]["batch_size"])  # which 是一句话：用的是哪一份
data.setup()
print({name: tuple(value.shape) for name, value in next(iter(data.val_dataloader())).items()})

# %% [markdown]
# ## 3　一份配置
#
# 要练什么、怎样练，全写在配置里。`mnist-quick` 写的是 375 步，开头的单元把步数与学习率计划都减了一半，所以**本次训练**走 190 步。

# %%
for name, value in {
    "目标": config["model"]["parameterization"],
    "学习率": config["model"]["learning_rate"],
    "学习率计划": f"热身 {plan['warm_up_steps']} 步，再沿余弦降，到第 {plan['max_decay_steps']} 步降到 {plan['lr_min']} 倍",
    "步数 × 批": f"{config['trainer']['max_steps']} × {config['data']['init_args']['batch_size']}",
    "网络": f"{unet['model_channels']} 通道，各层倍数 {unet['channel_mult']}，patch_size {unet['patch_size']}，{unet['num_classes']} 类",
}.items():
    print(f"{name}：{value}")

# %% [markdown]
# 与 8×8 的数字相比，网络多了两个参数：
#
# - `patch_size` 是 2：每 2×2 个像素先叠成一个位置的 4 个通道，28×28 就成了 14×14，算完再摊开，卷积省下四分之三。
# - `num_classes` 是 10：训练时告诉网络每张图是几，采样时就能点名要几。

# %%
torch.manual_seed(0)
model = DDPM(**config["model"])
print(f"{count_params(model.model):,} 个参数")

# %% [markdown]
# ## 4　训练
#
# 训练时用一个回调 (callback) 看着它：在第 38、152、190 步，用同一份噪声各画一遍 0 到 9。

# %%
rows = {}


def draw(trainer, module):
    """验证之后，用同一份噪声画 0 到 9"""
    if trainer.global_step in (38, 152, 190):
        rows[f"{trainer.global_step} 步"], _ = generate(module, 10, cond=digits, guidance_scale=2.0, steps=15, seed=0, progress=False)


watch = pl.callbacks.LambdaCallback(on_validation_end=draw)

# %% [markdown]
# `quiet_trainer` 就是 `pl.Trainer`，只是默认不出声、不写文件。

# %%
# NBVAL_IGNORE_OUTPUT
print(which)
trainer = quiet_trainer(
    max_steps=config["trainer"]["max_steps"], accelerator=config["trainer"]["accelerator"], gradient_clip_val=1.0,
    val_check_interval=38, check_val_every_n_epoch=None, limit_val_batches=4, num_sanity_val_steps=0,
    logger=pl.loggers.CSVLogger(".", name="mnist"), log_every_n_steps=5, bar=StepProgress(),
    callbacks=[watch],
)
trainer.fit(model, data)
trainer.logger.save()

# %% [markdown]
# ## 5　画出来，打个分
#
# 画一百张来打分，不加引导。

# %%
wanted = digits.repeat(10)
many, _ = generate(model, 100, batch_size=50, cond=wanted, steps=15, seed=1, progress=False)
grid_figure(many[:20], nrow=10, columns="0123456789")

# %% [markdown]
# 图：像样的只有零星几个，多数笔画没有连上。这是前二十张，DDIM 15 步。
#
# 一百张像不像真图，用 **Fréchet 距离** (Fréchet distance) 打分，越小越像。先用一个分类器取出每张图的特征，两批图的特征各拟合一个高斯，均值 $\mu_1,\mu_2$，协方差 $\Sigma_1,\Sigma_2$，距离是
#
# $$\|\mu_1-\mu_2\|^2+\mathrm{tr}\bigl(\Sigma_1+\Sigma_2-2(\Sigma_1\Sigma_2)^{1/2}\bigr).$$
#
# 张数少，真图对真图的距离也不是 0，所以参照用同样多的真图。

# %%
# NBVAL_IGNORE_OUTPUT
score = frechet_for(data, num_images=1000)  # MNIST 的分类器随课程发布；用替身时，当场训练一个
print(f"100 张真图的距离 {score.floor(score.train[:100]):.0f}　本次训练的 100 张 {score(many):.0f}")
print(f"这 100 张里，认得出 {recognised(score.classifier, many, wanted)['recognised']:.0%}")

# %% [markdown]
# 离真图还远。

# %% [markdown]
# ## 6　曲线快平时，学习率也快降完了
#
# 先看总损失与学习率。

# %%
curves, rate = read_curves(trainer.logger.log_dir), LambdaWarmUpCosineScheduler(**plan)
steps, train_loss = curves["train/loss_simple"]
val_steps, ema = curves["val/loss_simple_ema"]
loss_and_rate_figure((steps, train_loss), (val_steps, ema), [rate(n) for n in range(trainer.max_steps)])

# %% [markdown]
# 图：损失快平的时候，学习率也快降完了。上面是训练与验证的损失，对数刻度；下面是学习率，峰值的几倍。
#
# 最后 38 步，验证损失从 0.226 降到 0.218，只降 3.5%。再看训练时画的三遍。

# %%
grid_figure(torch.cat(list(rows.values())), nrow=10, rows=list(rows), columns="0123456789")

# %% [markdown]
# 图：第 152 与 190 步画的几乎一样。引导强度 2，DDIM 15 步。
#
# 可是同样这 38 步里，学习率从峰值的 13% 降到 2%。单看曲线，说不准是练到了头，还是步子太小。
#
# 损失停在 0.218，可能的原因有四个：没有练够；网络太小；代码有错；剩下的误差谁也消不掉，第 5 章叫它剩余误差。
#
# 第 7 节与一个公式比，看是不是最后一个；第 8 节加倍步数，看是不是第一个。

# %% [markdown]
# ## 7　拆成四段，与一个公式比
#
# 网络的目标是 $v=\sqrt{\bar\alpha_t}\,\varepsilon-\sqrt{1-\bar\alpha_t}\,x_0$（第 5 章）。总损失把难易不同的 $t$ 平均在一起，先拆开：1000 步从小到大分成四段，各 250 步，$q_1$ 最靠近原图，$q_4$ 最靠近纯噪声。
#
# 一段的损失多低才算低？要有一条不用训练、直接算得出来的**及格线**。最简单的去噪器是：每个输出像素都是全部输入像素的加权和，再加一个常数。这一类里，在训练图上误差最小的叫**线性滤波**（又叫 Wiener 滤波）。**哪一段连线性滤波都不如，那一段就有能消掉的误差**。
#
# 线性滤波怎样猜？先减去均值，再转到图的协方差的特征方向上。各个方向互不相关，可以分开猜，每个都是第 5 章的一维问题。第 $i$ 个方向的方差是特征值 $\lambda_i$，在这个方向上
#
# $$\hat x_0=\frac{\sqrt{\bar\alpha_t}\,\lambda_i}{\bar\alpha_t\lambda_i+1-\bar\alpha_t}\,x_t.$$
#
# 信号越强的方向，越信 $x_t$。
#
# 它的误差也有公式。滤波照平均的 $\lambda_i$ 定信几分，手上这张图离均值的平方却是 $p_i$，所以式里两个都有。对噪声求平均，$v$ 的误差是
#
# $$\frac{(1-\bar\alpha_t)\,p_i+\bar\alpha_t\lambda_i^2}{(\bar\alpha_t\lambda_i+1-\bar\alpha_t)^2}.$$
#
# 分子的前一项是没敢信而丢掉的信号，后一项是信了而漏进来的噪声（习题 13.2 来推）。对各个方向、各张图求平均，就是及格线。
#
# 网络知道要画的是几，公式也该知道，所以用训练图给十类各求一个线性滤波，照类别取用。在 2 048 张测试图上，四段的及格线是 0.32、0.14、0.12、0.17，平均 0.19。滤波没有见过测试图，$q_1$ 的线比在训练图上高 0.011 ± 0.003，所以偏松。
#
# 不拆就看不见哪里差：第 8 节的 375 步，总损失 0.164，已经低于 0.19，$q_4$ 却还高出及格线 0.025。
#
# 每张图在每一段里只量一个 $t$，各张图的 $t$ 均匀铺满这一段。

# %%
def line_filter(seen):
    """由一批图求出线性滤波：均值、各个特征方向，与这些方向上的方差"""
    spectrum, axes = torch.linalg.eigh(torch.cov(seen.T).double())
    return seen.mean(0), axes, spectrum.clamp(min=0)


def quarter_steps(count):
    """步号 (count, 4)：一行一张图，一列一段"""
    return torch.stack([spread(*quarter, count) for quarter in quarters(model.num_timesteps)], 1)


def filter_errors(fitted, images):
    """线性滤波用在 images 上：v 的误差 (N, 4)，对噪声取过期望"""
    mean, axes, spectrum = fitted
    power = ((images - mean) @ axes).square().unsqueeze(1)  # (N, 1, 784)：各个方向的 p_i
    bar = model.exact_table("alphas_cumprod")[quarter_steps(len(images))].unsqueeze(2)  # (N, 4, 1)：各段的 t
    return (((1 - bar) * power + bar * spectrum**2) / (bar * spectrum + 1 - bar) ** 2).mean(-1)


# %%
known = data.dataset("train")[:]
seen = known["image"].flatten(1)
each_class = [line_filter(seen[known["label"] == digit]) for digit in digits]


def own_class_errors(images, labels):
    """每张图用它那一类的线性滤波：(N, 4)"""
    return torch.stack([filter_errors(fitted, images) for fitted in each_class])[labels, torch.arange(len(labels))]


@torch.no_grad()
def network_errors(network, images, labels, seed=0):
    """网络在四段里 v 的误差 (N, 4)，步号同上；同一个 seed 是同一份噪声"""
    noise, errors = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)), []
    for t in quarter_steps(len(images)).T:
        guess = network.apply_model(network.q_sample(images, t, noise), t, {"c_adm": labels})
        errors.append((guess - network.get_v(images, noise, t)).square().flatten(1).mean(1))
    return torch.stack(errors, 1)


# %% [markdown]
# 取 256 张测试图，两种误差逐张相减，再求平均。图有难有易，两种误差一起高、一起低；一减，标准误就小。
#
# **先猜一猜**：本次训练的网络，哪一段会不及格？

# %%
unseen = random_images(data.dataset("test"), 256)
pictures, labels = unseen["image"], unseen["label"]
own_class = own_class_errors(pictures.flatten(1).double(), labels)
with model.ema_scope():
    ours = network_errors(model, pictures, labels)
above_line_figure(ours - own_class)

# %% [markdown]
# 图：四段都不及格。误差条是两个标准误，都没有碰到及格线。
#
# 每一段都有能消掉的误差，不全是剩余误差。余下三个原因，先试最省事的：只练久一点。

# %% [markdown]
# ## 8　加倍步数，从头重练
#
# 网络与数据都不变，只把步数与学习率计划一起拉长，一次约加一倍：375 步、750 步、1500 步，每次都从头重练。1500 步的只量末尾，见后两张图。
#
# 另有一次对照：375 步练完，停在末尾的学习率，也就是峰值的 2%，接着走到 750 步。重新升高学习率的没有试过。

# %%
doubled = {  # 375、750 步的事先量好：python -m benchmarks.longer --times 1 2，接着走的加 --hold
    190: (val_steps, ema),
    375: (range(75, 376, 75), [0.332, 0.216, 0.184, 0.170, 0.164]),
    750: (range(150, 751, 150), [0.212, 0.166, 0.148, 0.138, 0.134]),
}
doubled_figure(doubled, held=(range(375, 751, 75), [0.164, 0.162, 0.161, 0.160, 0.159, 0.158]))

# %% [markdown]
# 图：计划越长，末尾的损失越低；停在末尾的学习率接着走（点线），几乎不降。纵轴是对数刻度。
#
# 同样共走 750 步，接着走的从 0.164 只降到 0.158，整份重练的降到 0.134。末尾的平，主要是因为学习率降完了。
#
# 上图只有一个训练种子。换八个种子，四段各用 2 048 张测试图再量（`python -m benchmarks.longer --times 0.5 1 2 4 --seeds 8`）。

# %%
gaps = {  # 各段是 (平均, 标准误)
    190: [(0.056, 0.0076), (0.022, 0.0025), (0.037, 0.0015), (0.061, 0.0022)],
    375: [(-0.078, 0.0034), (-0.028, 0.0011), (0.003, 0.0017), (0.032, 0.0020)],
    750: [(-0.150, 0.0013), (-0.055, 0.0006), (-0.019, 0.0004), (0.012, 0.0002)],
    1500: [(-0.188, 0.0005), (-0.068, 0.0004), (-0.030, 0.0003), (0.003, 0.0002)],
}
gaps_figure(gaps)

# %% [markdown]
# 图：步数一加倍，四段都降；$q_1$、$q_2$ 先及格，$q_3$ 随后，$q_4$ 到 1500 步还高 0.003。一格一段，纵轴各自放大。点是八个训练种子的平均，误差条是两个标准误，步数多的比点还小。
#
# 网络与代码都没有改，高出及格线的误差却大半消去了。先前的不及格，主要是没有练够。
#
# 样本呢？

# %%
rows |= {name: drawn_by("mnist_longer")[k : k + 10] for k, name in ((0, "750 步"), (10, "1500 步"))}  # 事先存好的
names = ["190 步", "750 步", "1500 步"]
grid_figure(torch.cat([rows[name] for name in names]), nrow=10, rows=names, columns="0123456789")

# %% [markdown]
# 图：步数加倍，断开的笔画渐渐连上。起点噪声与采样的设定同第 6 节。
#
# 八个种子的权重再各画八批，每批 200 张，不加引导，DDIM 15 步：
#
# | | 一个核要几分钟 | Fréchet 距离 | 认得出 |
# |:--|--:|--:|--:|
# | 190 步 | 0.6 | 2021 ± 53 | 18.9 ± 1.9% |
# | 375 步 | 1 | 1055 ± 75 | 44.1 ± 3.1% |
# | 750 步 | 2 | 393 ± 16 | 72.3 ± 0.8% |
# | 1500 步 | 4.5 | 192 ± 7 | 86.5 ± 0.7% |
# | 真图 | | 72 ± 6 | 99.4% |
#
# 表：步数每加一倍，距离都降，认得出的都升。± 是八个训练种子之间的标准误；真图的是八批之间的，用 `--references` 量。
#
# 距离要减去真图的 72 再看。步数加一倍，超出的部分各少 49 ± 4%、67 ± 2%、62 ± 2%（逐个种子算）。只练一次，运气的成分很大：375 步的八个，从 710 到 1301。
#
# 一直加倍，总能再降吗？不能。最末一步，$x_t$ 什么也没说，最好的猜法是这一类的平均图，误差就是类内的像素方差，在测试图上是 0.21。这一步的剩余误差，网络再大也消不掉。
#
# ### 判断的次序
#
# 四段只回答哪里有能消掉的误差，不回答练够了没有。
#
# 1. 学习率还没有降完，就接着等：学习率降下来，损失还会掉（第 12 章）。
# 2. 降完了，看四段。不及格的段，肯定还有余地；及格的段，这把尺子量不出来了：$q_1$ 在 375 步就及格，以后又降了 0.10。两种情形都加倍步数、从头重练一次。
# 3. 加倍之后，还降的段，先前没有练够。不及格又一点不降的段，先查那一段 $t$ 上有没有错，再把网络换大；这一句是经验，本章没有试过。
# 4. 何时停手，由样本定，并且事先说好。例如：加一倍步数，距离超出真图的部分少不了两成，就停。两种步数都要多练几个训练种子，差要大过种子之间的起伏。
#
# 用在本次训练上：学习率降完了，四段都不及格，所以加倍；距离超出的部分少了一半，所以再加倍。练到 1500 步也没有轮到停手：超出的部分由 750 步的 321 又降到 120。

# %% [markdown]
# ## 9　停下与续训
#
# 练到一半想停，就按停止按钮，终端里按 Ctrl-C。`DDPM` 自带的 `StopSafely` 回调走完手上的一步，把检查点存成 `interrupted.ckpt`，`fit` 正常返回。
#
# 续训就把这个文件交给 `fit` 的 `ckpt_path`，得到的权重与从没停过的逐位相同（第 10 章）。

# %%
def press(trainer, *_):
    if trainer.global_step == 2:  # 走第 3 步时，替你按一下停止按钮
        signal.raise_signal(signal.SIGINT)


stream, button = DigitsDataModule(image_size=28, batch_size=8), pl.callbacks.LambdaCallback(on_train_batch_start=press)
first = quiet_trainer(max_steps=6, enable_checkpointing=True, default_root_dir="stop", callbacks=[button])
first.fit(DDPM(**config["model"]), stream)
saved = Path(first.checkpoint_callback.dirpath) / "interrupted.ckpt"
second = quiet_trainer(max_steps=6)
second.fit(DDPM(**config["model"]), stream, ckpt_path=saved)
check("停在第几步，续到第几步", [first.global_step, second.global_step], [3, 6])

# %% [markdown]
# ## 10　用命令行做同样的事，要多久
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
# 每个选项都能在后面改，例如 `--trainer.max_steps 5000`。有 GPU 时换成 `--config mnist-gpu`，它不分类别，采样时不写 `--labels`。
#
# 四段的损失，配置里的 `TimestepLoss` 回调每次验证都记，名字是 `val/loss_q1_ema` 到 `val/loss_q4_ema`。
#
# 各份配置要多久：
#
# | 配置 | 参数 | 批 × 步数 | 一步 | 全程 |
# |:--|--:|--:|--:|--:|
# | `mnist-quick`，本次训练走一半 | 0.70 M | 32 × 375 | 0.18 秒 | 1 分钟 |
# | `mnist-class` | 1.00 M | 64 × 3000 | 0.48 秒 | 24 分钟 |
# | `mnist-laptop` | 1.11 M | 64 × 3000 | 1.16 秒 | 58 分钟 |
# | `mnist` | 6.47 M | 128 × 20000 | 11.3 秒 | 63 小时 |
#
# 一步的秒数是单线程八次的中位数，`mnist` 用批 16 量，再按图数换算；全程只算训练。你的机器要多久，用 `python -m benchmarks.step_time mnist-class` 量。

# %% [markdown]
# ## 小结
#
# - **损失的曲线平了，怎样知道还要不要再练？** 先看学习率降完了没有；降完了，按 $t$ 拆成四段，不如线性滤波的段肯定还有余地；及不及格，都加倍步数、从头重练，还降的段就是没有练够。
# - 曲线平，可以只是因为学习率降完了：375 步练完，停在末尾的学习率再走 375 步，验证损失只从 0.164 降到 0.158；整份重练的降到 0.134。
# - 190 步时四段都不及格；1500 步时前三段及格，$q_4$ 贴近及格线。$q_4$ 不会一直降，因为 $t$ 的尽头，剩余误差就是类内的像素方差 0.21。
# - 停止按钮是安全的，续训与从没停过逐位相同。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 13.1　逐张相减 ★
#
# 第 7 节比两种去噪器，用的是同样的图，先逐张相减，再求平均。`a` 与 `b` 是 $(N,)$ 的张量，第 $i$ 个数是两种去噪器在第 $i$ 张图上的误差。
# 返回 `a` 减 `b` 的平均，与这个平均的标准误（差的样本标准差除以 $\sqrt N$），合成一个 $(2,)$ 的张量。写好之后拿 `ours[:, 3]` 与 `own_class[:, 3]` 试一试：标准误比各算各的小几倍？

# %%
def paired(a, b):
    # 答案
    gap = a - b
    return torch.stack([gap.mean(), gap.std() / len(gap) ** 0.5])
    # 答案完


grade("13.1", paired)

# %% [markdown]
# ### 13.2　信几分 ★★
#
# 第 7 节的误差有两份，请推一遍。一个方向上，$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\varepsilon$ 都是一个数，均值已经减去，`power` 是 $x_0^2$。假如猜 $\hat x_0$ 时用 $x_t$ 乘一个权重 `weight`，不一定是最好的那个，目标 $v$ 的误差平方是多少？
# `weight`、`power` 是 $(n,)$ 的张量，`bar` 是 $\bar\alpha_t$。对噪声取期望，返回各个方向的误差，形状 $(n,)$；$v$ 的误差是 $\hat x_0$ 的误差除以 $1-\bar\alpha_t$。写好之后代入 `weight` $=\sqrt{\bar\alpha_t}\lambda_i/(\bar\alpha_t\lambda_i+1-\bar\alpha_t)$，看看是不是 `filter_errors` 里的式子。

# %%
def trusting(weight, power, bar):
    # 答案
    lost = (1 - weight * bar**0.5) ** 2 * power
    leaked = weight**2 * (1 - bar)
    return (lost + leaked) / (1 - bar)
    # 答案完


grade("13.2", trusting)

# %% [markdown]
# ### 13.3　不看邻居的线性滤波的误差 ★★★
#
# 第 7 节的线性滤波用了全部像素。假如猜一个像素时，只能用它自己的值乘一个权重、再加一个常数，它的方差为 $s^2$，那么目标 $v$ 的误差最小是 $s^2/D$（第 5 章的 $\hat x_0$ 误差 $(1-\bar\alpha_t)s^2/D$ 再除以 $1-\bar\alpha_t$）。
# `images` 是 $(N,1,H,W)$，`betas` 是 $(T,)$，都是 float64 的张量。每个像素的 $s^2$ 由 $N$ 张图估计，除以 $N$。返回各步的误差，对所有像素求平均，形状 $(T,)$。

# %%
def lonely_v_loss(images, betas):
    # 答案
    s2 = images.flatten(1).var(0, correction=0)
    bar = torch.cumprod(1 - betas, 0)[:, None]
    return (s2 / (bar * s2 + 1 - bar)).mean(1)
    # 答案完


grade("13.3", lonely_v_loss)

# %% [markdown]
# ### 13.4　三份记录 ★★
#
# 三个人各练了一个按类别的模型，总损失都平了。“公式”是知道类别的线性滤波，$q_1$ 到 $q_4$ 依次是 0.322、0.141、0.125、0.175。逐张相减，各段之差的标准误都不到 0.001：
#
# | | 学习率 | 现在 | 用两倍的步数重练之后 |
# |:--|:--|:--|:--|
# | 甲 | 计划走完了 | 0.221、0.104、0.113、0.174 | 0.162、0.083、0.094、0.171 |
# | 乙 | 还是峰值的六成 | 0.362、0.163、0.131、0.203 | 还没有做 |
# | 丙 | 计划走完了 | 0.224、0.192、0.114、0.173 | 0.165、0.192、0.093、0.170 |
#
# 各该怎样做？
#
# - A：甲收工，都及格了；乙查代码；丙接着加步数。
# - B：甲接着加步数；乙接着等；丙查 $q_2$ 那一段 $t$ 的代码。
# - C：甲接着加步数；乙查代码；丙也查代码。
# - D：甲收工，$q_4$ 几乎不降了；乙接着等；丙接着加步数。

# %%
grade("13.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 13.5　高了三个标准误 ★
#
# 第 1 节的模型认得出 93.7 ± 0.5%（强度 1）。有人改了一处学习率，从头练一遍，同样用八个采样种子量，得 95.8 ± 0.5%，差是标准误的三倍。能不能说他的改法更好？
#
# - A：能，差了三个标准误，不会是碰巧。
# - B：不能，八个采样种子太少，换成八十个就能说了。
# - C：不能，只说明他的那一个模型认得出的多；要说改法更好，两种改法都要各从头练几遍。
# - D：不能，认得出的比例不可信，要换成 Fréchet 距离，量一次就够。

# %%
grade("13.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 小实验　类别值多少
#
# 改一处，量一量，写三句话。第 7 节告诉网络的类别都是对的。换成发布的模型 `shipped`，用 `network_errors(shipped, pictures, labels)` 量一遍；再把 `labels` 换成 `torch.full_like(labels, -1)`（不说是几），换成 `(labels + 1) % 10`（说错），各量一遍，与说对的逐张相减。
# 先猜两件事：哪一段最靠类别？说错与不说，哪个更糟，糟几倍？量完再换成 `model`：本次训练的 $q_4$ 不及格，是因为还没学会用类别吗？（没有 MNIST 时，只量后一半。）
#
# <!-- 参考答案 -->
# **参考答案**　八个种子，各用 256 张测试图、一份噪声，± 是八个种子的标准误；不到 0.0001 的写成 0.0001；“多出”是比说对时高多少。末行用 2 048 张测试图，± 是图与图之间的标准误：
#
# | | $q_1$ | $q_2$ | $q_3$ | $q_4$ |
# |:--|--:|--:|--:|--:|
# | 发布的，说对 | 0.1153 ± 0.0008 | 0.0634 ± 0.0003 | 0.0830 ± 0.0003 | 0.1684 ± 0.0012 |
# | 不说，多出 | 0.0006 ± 0.0001 | 0.0016 ± 0.0001 | 0.0105 ± 0.0004 | 0.0465 ± 0.0011 |
# | 说错，多出 | 0.0016 ± 0.0001 | 0.0051 ± 0.0001 | 0.0405 ± 0.0006 | 0.1388 ± 0.0014 |
# | 本次，说对 | 0.3475 ± 0.0011 | 0.1505 ± 0.0005 | 0.1535 ± 0.0005 | 0.2201 ± 0.0006 |
# | 不说，多出 | 0.0014 ± 0.0001 | 0.0013 ± 0.0001 | 0.0070 ± 0.0001 | 0.0249 ± 0.0005 |
# | 说错，多出 | 0.0026 ± 0.0001 | 0.0039 ± 0.0001 | 0.0218 ± 0.0003 | 0.0659 ± 0.0006 |
# | 线性滤波，不知类别多出 | 0.068 ± 0.003 | 0.0387 ± 0.0006 | 0.0395 ± 0.0005 | 0.0538 ± 0.0008 |
#
# 一，类别只在噪声大的时候值钱：发布的模型不知道类别，$q_1$ 只高 0.5%，$q_4$ 高 28%。
#
# 二，说错比不说更糟，约三倍（四段依次是 2.7、3.2、3.9、3.0 倍）。$q_4$ 说错时的损失是 0.31，比什么也不看、总猜全体的平均图（0.27）还差。
#
# 三，本次训练的已经会用类别，只是没有用足：$q_4$ 里类别值 0.025，还不到公式里的一半（0.054）。它比知道类别的公式高 0.048，其中 0.029 是类别没有用足，其余 0.019 是不看类别时就已经落后。
#
# ```python
# pool = random_images(data.dataset("test"), 2048)
# flat, truth = pool["image"].flatten(1).double(), pool["label"]
# own = own_class_errors(flat, truth)
# worth = filter_errors(line_filter(seen), flat) - own
# print("线性滤波", worth.mean(0), worth.std(0) / 2048**0.5)
# print("类内的像素方差", (flat - torch.stack([seen[known["label"] == digit].mean(0) for digit in digits])[truth]).square().mean())
# model.model_ema.copy_to(model.model)  # 本次训练的换成 EMA 权重
# for network in (shipped, model):
#     gap, costs = network_errors(network, pool["image"], truth) - own, []
#     print("减及格线", gap.mean(0), gap.std(0) / 2048**0.5)
#     for seed in range(8):
#         batch = random_images(data.dataset("test"), 256, seed)
#         images, kind = batch["image"], batch["label"]
#         told = kind, torch.full_like(kind, -1), (kind + 1) % 10
#         right, silent, wrong = (network_errors(network, images, each, seed).mean(0) for each in told)
#         costs.append(torch.stack([right, silent - right, wrong - right]))
#     costs = torch.stack(costs)
#     print(costs.mean(0), costs.std(0) / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
