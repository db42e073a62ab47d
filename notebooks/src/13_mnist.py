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
# - 用一份配置训练 28×28 的数字，会采样、评估、停下、续训，知道在 CPU 上要多久。
#
# **预计用时** 40 分钟，另加正式训练的时间。运行全部单元约一分钟，多半花在训练上。

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
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.teach import check, grid_figure
from ddpm_edu.teach.datasets import drawn_by, mnist_or_stand_in
from ddpm_edu.teach.training import quiet_trainer, read_curves
from ddpm_edu.teach.training_figures import above_line_figure, doubled_figure, gaps_figure, loss_and_rate_figure, quarters_figure
from ddpm_edu.training.timestep_loss import TimestepLoss, quarters, spread

# %%
config = load_config("mnist-quick")  # 一分钟的小样；正式训练用第 11 节的命令
unet, plan = config["model"]["unet_config"]["params"], config["model"]["scheduler_config"]["params"]
config["trainer"]["max_steps"] = plan["max_decay_steps"] = 190  # 这一章只走约一半的步数，半分钟就完
plan["warm_up_steps"] = 15
DATA = Path("../data").resolve()
os.chdir(tempfile.mkdtemp())  # 曲线与检查点写在临时目录里，不弄脏课程的文件夹

# %% [markdown]
# ## 1　练二十分钟是这样
#
# 先看终点。`load_pretrained("mnist")` 是课程带着的模型，100 万参数，采样时能点名要几。它用配置 `mnist-class` 走了 2577 步，在一个不忙的核上约 21 分钟（学习率计划中途换过一次，见第 11 节）。

# %%
shipped, digits = load_pretrained("mnist"), torch.arange(10)
grid_figure(drawn_by("mnist")[:20], nrow=10, columns="0123456789")  # 事先画好、存着的

# %% [markdown]
# 图：练二十分钟，画出的数字像手写的。一列一类，引导强度 2，DDIM 50 步，没有挑过。
#
# 眼睛看不了许多张，所以请一个分类器来数：画出的图里，有几成被它认作所要的那一类。这个比例下面叫“认得出”。

# %%
quality = pretrained_card("mnist")["quality"]
for name, row in {"引导强度 1": quality["guidance_1"], "引导强度 2": quality["guidance_2"]}.items():
    print(f"{name}　认得出 {row['recognised']['mean']:.1%} ± {row['recognised']['se']:.1%}")
print(f"真图　　　　认得出 {quality['real_recognised']['recognised']:.1%}")

# %% [markdown]
# 引导强度 1 就是不加引导。± 是八个采样种子之间的标准误，每个种子画 400 张；模型只有一个，训练的运气没有算进去。
#
# ## 2　数据：有真的就用真的
#
# 磁盘上有 MNIST 就用它，没有就把内置的 8×8 数字放大来代替，下面叫**替身**，代码一个字也不用改。文中的数都是用真的 MNIST 量的，用替身就不同。
#
# 要下载，另起一格运行 `from ddpm_edu import MNISTDataModule; MNISTDataModule(DATA).prepare_data()`，断了再运行会接着下（`DDPM_EDU_MIRROR` 可以指定镜像）；完全离线时，把四个文件放进课程文件夹的 `data/mnist/`。

# %%
data, which = mnist_or_stand_in(DATA, batch_size=config["data"]["init_args"]["batch_size"])  # which 是一句话：用的是哪一份
data.setup()
first_batch = next(iter(data.val_dataloader()))  # 每次验证，第一批都是它
print({name: tuple(value.shape) for name, value in first_batch.items()})

# %% [markdown]
# ## 3　一份配置
#
# 要练什么、怎样练，全写在一份配置里。`mnist-quick` 是一分钟的小样，走 375 步。这一章的小样更短，开头已经把它的步数与学习率计划都减了一半，走 190 步。

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
# 学习率 0.004 是 DDPM 论文的二十倍。论文走了 80 万步，这里只走 190 步，步子小了走不远（第 12 章）。
#
# 与 8×8 的数字相比，网络多了两个参数：
#
# - `patch_size` 是 2：每 2×2 个像素先叠成一个位置的 4 个通道，28×28 就成了 14×14，算完再摊开。卷积的代价正比于位置数，所以同样的宽度，每一步的卷积省下四分之三。
# - `num_classes` 是 10：训练时告诉网络每张图是几，采样时就能点名要几。

# %%
torch.manual_seed(0)
model = DDPM(**config["model"])
print(f"{count_params(model.model):,} 个参数")

# %% [markdown]
# ## 4　训练
#
# 训练时用两个回调 (callback) 看着它：
#
# - `TimestepLoss` 在每次验证之后，用第一批的 32 张图，把损失按 $t$ 分四段另记一份，第 7 节要用；
# - `draw` 在第 38、152、190 步，用同一份噪声各画一遍 0 到 9。

# %%
rows = {}


def draw(trainer, module):
    """验证之后，用同一份噪声画 0 到 9"""
    if trainer.global_step in (38, 152, 190):
        rows[f"{trainer.global_step} 步"], _ = generate(module, 10, cond=digits, guidance_scale=2.0, steps=15, seed=0, progress=False)


watch = pl.callbacks.LambdaCallback(on_validation_end=draw)

# %% [markdown]
# `quiet_trainer` 就是 `pl.Trainer`，只是默认不出声、不写文件。每 38 步验证一次，只用验证集的前 4 批；曲线写进一个 CSV 文件。停得太早，后面的核对会报错，就从第 3 节造模型的那一格起重新运行。

# %%
# NBVAL_IGNORE_OUTPUT
print(which)
trainer = quiet_trainer(
    max_steps=config["trainer"]["max_steps"], accelerator=config["trainer"]["accelerator"], gradient_clip_val=1.0,
    val_check_interval=38, check_val_every_n_epoch=None, limit_val_batches=4, num_sanity_val_steps=0,
    logger=pl.loggers.CSVLogger(".", name="mnist"), log_every_n_steps=5, bar=StepProgress(),
    callbacks=[TimestepLoss(), watch],
)
trainer.fit(model, data)
trainer.logger.save()  # 停得早，曲线也写出来

# %% [markdown]
# ## 5　画出来，打个分
#
# 先看画得怎样。画一百张，不加引导。

# %%
wanted = digits.repeat(10)
many, _ = generate(model, 100, batch_size=50, cond=wanted, steps=15, seed=1, progress=False)
grid_figure(many[:20], nrow=10, columns="0123456789")

# %% [markdown]
# 图：像样的只有零星几个，多数是几截没有连上的笔画。这是一百张里的前二十张，一列一类，DDIM 15 步。
#
# 一百张像不像真图，用 **Fréchet 距离** (Fréchet distance) 打分，越小越像。先用一个分类器取出每张图的特征，两批图的特征各拟合一个高斯，均值 $\mu_1,\mu_2$，协方差 $\Sigma_1,\Sigma_2$，距离是
#
# $$\|\mu_1-\mu_2\|^2+\mathrm{tr}\bigl(\Sigma_1+\Sigma_2-2(\Sigma_1\Sigma_2)^{1/2}\bigr).$$
#
# 特征只有一维时，它就是均值之差的平方，加上标准差之差的平方。真图对真图，距离也不是 0，而且张数越少越大（第 15 章），所以参照也用同样多的真图。

# %%
# NBVAL_IGNORE_OUTPUT
score = frechet_for(data, num_images=1000)  # MNIST 的分类器随课程发布；用替身时，当场训练一个
print(f"100 张真图的距离 {score.floor(score.train[:100]):.0f}　本次训练的 100 张 {score(many):.0f}")
print(f"这 100 张里，认得出 {recognised(score.classifier, many, wanted)['recognised']:.0%}")

# %% [markdown]
# 离真图还远。是练得不够，还是别的原因？去看曲线。

# %% [markdown]
# ## 6　曲线快平时，学习率也快降完了
#
# 先看总损失，下面对齐着画学习率。

# %%
curves, rate = read_curves(trainer.logger.log_dir), LambdaWarmUpCosineScheduler(**plan)
steps, train_loss = curves["train/loss_simple"]
val_steps, ema = curves["val/loss_simple_ema"]
check("训练损失降到开头的六成以下", sum(train_loss[-4:]) < 0.6 * sum(train_loss[:4]), True)
loss_and_rate_figure((steps, train_loss), (val_steps, ema), [rate(n) for n in range(trainer.max_steps)])

# %% [markdown]
# 图：损失快平的时候，学习率也快降完了。上面是损失，对数刻度：灰线是训练损失，每批的 $t$ 与噪声不同，所以抖；橙线是验证损失，每次用同样的 128 张图、同样的 $t$ 与噪声。下面是学习率，峰值的几倍。
#
# 最后 38 步，验证损失从 0.226 降到 0.218，只降 3.5%。样本呢？从同一份噪声出发，只换权重，看得最清楚。

# %%
grid_figure(torch.cat(list(rows.values())), nrow=10, rows=list(rows), columns="0123456789")

# %% [markdown]
# 图：第 152 与 190 步画的几乎一样。一列一类，引导强度 2，DDIM 15 步，同一列从同一份噪声出发。
#
# 损失与样本都快停住了。可是同样这 38 步里，学习率从峰值的 13% 降到 2%。单看曲线，说不准是练到了头，还是步子太小。
#
# 损失停在 0.218，先想到的原因有四个：
#
# - 没有练够；
# - 网络太小，练多久也学不会；
# - 代码有错；
# - 剩下的误差谁也消不掉，第 5 章叫它剩余误差。
#
# 第 7、8 节与一个公式比，看是不是最后一个；第 9 节加倍步数，看是不是第一个。中间两个这一章不试。

# %% [markdown]
# ## 7　拆成四段，与一个公式比
#
# 网络的目标是 $v=\sqrt{\bar\alpha_t}\,\varepsilon-\sqrt{1-\bar\alpha_t}\,x_0$（第 5 章）。总损失把难易不同的 $t$ 平均在一起，所以先拆开：1000 步从小到大分成四段，各 250 步，$q_1$ 最靠近原图，$q_4$ 最靠近纯噪声。
#
# 一段的损失多低才算低？要有一条不用训练、直接算得出来的**及格线**。最简单的去噪器是：每个输出像素都是全部输入像素的加权和，再加一个常数。这一类里最好的那个叫**线性滤波**（又叫 Wiener 滤波），它的 $v$ 的误差有公式：
#
# $$\frac1n\sum_{i=1}^{n}\frac{\lambda_i}{\bar\alpha_t\lambda_i+1-\bar\alpha_t},$$
#
# 其中 $\lambda_i$ 是图的协方差的特征值，一个特征方向一个，共 $n=28\times28$ 个。信号强过噪声的方向，多信 $x_t$ 一点；信号弱的方向，少信一点。
#
# <details><summary>公式从哪里来</summary>
#
# 转到图的协方差的特征方向上，各个方向互不相关，可以一个一个地猜。每个方向都是第 5 章的一维问题：$\hat x_0$ 的均方误差是 $(1-\bar\alpha_t)s^2/D$，其中 $D=\bar\alpha_t s^2+1-\bar\alpha_t$ 是 $x_t$ 的方差。由 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,\hat v$，$\hat x_0$ 的均方误差是 $\hat v$ 的 $1-\bar\alpha_t$ 倍，所以 $v$ 的误差是 $s^2/D$。把方差 $s^2$ 换成特征值 $\lambda_i$，再对各个方向求平均，就是上式。
#
# </details>
#
# 真图不是高斯的，公式也照用，因为只许线性地猜时，误差只由均值与协方差决定。**哪一段连线性滤波都不如，那一段就有能消掉的误差**，因为一个公式就做得到。
#
# 网络知道要画的是几，公式也该知道，这样才公平。所以十类图各求一个线性滤波，照类别取用。
#
# 均值与特征值由训练图估计，损失却是在没见过的图上量的，及格线也要在同样的图上算。设一张图在第 $i$ 个特征方向上离均值的平方是 $p_i$（代码里的 `power`），这个方向上的误差是
#
# $$\frac{(1-\bar\alpha_t)\,p_i+\bar\alpha_t\lambda_i^2}{(\bar\alpha_t\lambda_i+1-\bar\alpha_t)^2}.$$
#
# 分子的前一项是没敢信而丢掉的信号，后一项是信了而漏进来的噪声（习题 13.2 来推）。$p_i$ 若等于 $\lambda_i$，就是前一个公式。**画线用的是这一个**，对各个方向、各张图求平均。
#
# **先猜一猜**：本次训练的网络，哪一段会不及格？

# %%
def line_filter(seen):
    """由一批图求出线性滤波：均值、各个特征方向，与这些方向上的方差"""
    spectrum, axes = torch.linalg.eigh(torch.cov(seen.T).double())
    return seen.mean(0), axes, spectrum.clamp(min=0)


def filter_errors(fitted, images):
    """线性滤波用在 images 上：各张图在四段里 v 的误差 (N, 4)，对噪声取过期望；每段的步号均匀铺开，一张图一个"""
    (mean, axes, spectrum), t = fitted, torch.stack([spread(*quarter, len(images)) for quarter in quarters(model.num_timesteps)], 1)
    power, bar = ((images - mean) @ axes).square()[:, None], model.exact_table("alphas_cumprod")[t][..., None]
    return (((1 - bar) * power + bar * spectrum**2) / (bar * spectrum + 1 - bar) ** 2).mean(-1)


# %%
known = data.dataset("train")[:]
seen = known["image"].flatten(1)
each_class = [line_filter(seen[known["label"] == digit]) for digit in digits]


def own_class_errors(images, labels):
    """每张图用它那一类的线性滤波：(N, 4)"""
    return torch.stack([filter_errors(fitted, images) for fitted in each_class])[labels, torch.arange(len(labels))]


# 与 TimestepLoss 同样的 32 张图、同样的步号
line = own_class_errors(first_batch["image"].flatten(1).double(), first_batch["label"]).mean(0)
quarters_figure(val_steps, [curves[f"val/loss_q{k}_ema"][1] for k in (1, 2, 3, 4)], line)

# %% [markdown]
# 图：四段一起变平，可是没有一段及格。橙线是一段的验证损失除以及格线，黑线是 1。两边用同样的 32 张图、同样的 $t$。纵轴是对数，四格共用，末点写出了数。
#
# $q_1$、$q_2$ 高出及格线一成上下，$q_3$、$q_4$ 高出约三成。

# %% [markdown]
# ## 8　看准一点：逐张相减
#
# 这只是 32 张图的平均，$q_2$ 高得不多，也许是碰巧。换 256 张测试图，一张一张地减去及格线，再求平均。图有难有易，网络与公式的误差一起高、一起低；一减，这份起伏消去大半，标准误就小。

# %%
@torch.no_grad()
def network_errors(network, images, labels, seed=0):
    """网络在四段里 v 的误差 (N, 4)，步号同上；同一个 seed 是同一份噪声"""
    noise, errors = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)), []
    for quarter in quarters(network.num_timesteps):
        t = spread(*quarter, len(images))
        guess = network.apply_model(network.q_sample(images, t, noise), t, {"c_adm": labels})
        errors.append((guess - network.get_v(images, noise, t)).square().flatten(1).mean(1))
    return torch.stack(errors, 1)


unseen = random_images(data.dataset("test"), 256)
pictures, labels = unseen["image"], unseen["label"]
own_class = own_class_errors(pictures.flatten(1).double(), labels)
with model.ema_scope():
    ours = network_errors(model, pictures, labels)
above_line_figure(ours - own_class)

# %% [markdown]
# 图：四段都不及格，不是碰巧，因为误差条（两个标准误）都没有碰到零线。
#
# 所以每一段都有能消掉的误差，不全是剩余误差。余下的三个原因里，先试最省事的：别的都不变，只练久一点。

# %% [markdown]
# ## 9　加倍步数，从头重练
#
# 网络与数据都不变，只把步数与学习率计划一起拉长，一次约加一倍：375 步（就是 `mnist-quick`）、750 步、1500 步，每次都从头重练。
#
# 为什么不接着练？学习率已经降到峰值的 2%，怕是走不远。下面把 375 步练完、接着走的也画上，看是不是这样。（把学习率升回去再降，叫重启，见第 12 章；从头重练，各次只差一份计划的长短，最好比。）

# %%
doubled = {  # 375、750 步的事先用 python -m benchmarks.longer --times 1 2 量好，接着走的用 --times 2 --hold
    190: (val_steps, ema),
    375: (range(75, 376, 75), [0.332, 0.216, 0.184, 0.170, 0.164]),
    750: (range(150, 751, 150), [0.212, 0.166, 0.148, 0.138, 0.134]),
}
doubled_figure(doubled, held=(range(375, 751, 75), [0.164, 0.162, 0.161, 0.160, 0.159, 0.158]))

# %% [markdown]
# 图：计划越长，末尾平在越低的地方；照末尾的学习率接着走，几乎不降。纵轴是验证损失，对数刻度。实线是三份长短不同的计划；点线是 375 步练完，学习率停在峰值的 2%，再走 375 步。
#
# 同样共走 750 步，接着走的从 0.164 只降到 0.158，整份重练的降到 0.134。可见末尾的平，主要是因为学习率降完了。
#
# 四段各降了多少？照第 8 节的办法，用 2 048 张测试图量一遍。

# %%
gaps = {190: [0.027, 0.011, 0.030, 0.048], 375: [-0.087, -0.030, -0.001, 0.025], 750: [-0.153, -0.057, -0.020, 0.012], 1500: [-0.191, -0.070, -0.032, 0.002]}
again = {190: [0.058, 0.022, 0.036, 0.060], 375: [-0.076, -0.026, 0.009, 0.038], 750: [-0.147, -0.054, -0.017, 0.012]}  # 换一个训练种子
gaps_figure(gaps, again)

# %% [markdown]
# 图：$q_1$、$q_2$ 先及格，$q_3$ 随后，$q_4$ 到 1500 步还高 0.002（只练了一次，算不算及格还不能说）。一格一段，横轴是从头重练的步数（对数），黑线之上不及格。空心的是换一个训练种子再练的。四格的纵轴各自放大。标准误：$q_1$ 不到 0.004，其余三段不到 0.001。
#
# 网络没有换大，代码没有改，高出及格线的误差却大半消去了。所以先前的不及格，主要是没有练够。网络是不是也偏小，这里没有试。
#
# 样本也跟着变好吗？先放一个不用训练的对照。及格线用的是每一类图的均值与协方差，这两样就定出一个高斯，从里面抽样，也能画出图来。

# %%
generator = torch.Generator().manual_seed(0)
drawn = [mean + axes @ (spectrum.sqrt() * torch.randn(len(mean), generator=generator)) for mean, axes, spectrum in each_class]
rows["不训练"] = torch.stack(drawn).unflatten(1, (1, 28, 28)).float().clamp(-1, 1)
rows |= {name: drawn_by("mnist_longer")[k : k + 10] for k, name in ((0, "750 步"), (10, "1500 步"))}  # 事先存好的
names = ["不训练", "190 步", "750 步", "1500 步"]
grid_figure(torch.cat([rows[name] for name in names]), nrow=10, rows=names, columns="0123456789")

# %% [markdown]
# 图：步数加倍，断开的笔画渐渐连上。下面三行，起点的噪声、采样的设定都与第 6 节相同：190 步多半是断的，750 步的 5 还断着，1500 步十个都连上了。第一行从每一类的高斯里各抽一张：多半看得出是几，笔画却散成重影。
#
# 十张图说明不了多少，所以每份权重各画八批，每批 200 张，不加引导，DDIM 15 步：
#
# | | 一个核要几分钟 | Fréchet 距离 | 换一个训练种子 | 认得出 |
# |:--|--:|--:|--:|--:|
# | 190 步 | 0.6 | 1780 ± 20 | 1881 ± 16 | 30.1 ± 0.9% |
# | 375 步 | 1 | 862 ± 20 | 1301 ± 22 | 53.4 ± 1.0% |
# | 750 步 | 2 | 383 ± 11 | 432 ± 9 | 72.1 ± 1.1% |
# | 1500 步 | 4.5 | 164 ± 7 | | 89.8 ± 0.7% |
# | 发布的（网络大一些） | 21 | 92 ± 5 | | 94.6 ± 0.6% |
# | 真图 | | 72 ± 6 | | 99.4% |
# | 不训练，一类一个高斯 | | 697 ± 13 | | 95.5 ± 0.4% |
#
# 表：步数每加一倍，距离都降，认得出的都升。± 是八批之间的标准误，训练的运气没有算进去。前四行用 `python -m benchmarks.longer --times 0.5 1 2 4` 量，后三行用 `--references`。发布的在第 1 节是 93.7%，那里 DDIM 走 50 步，每批 400 张；两者之差与标准误相当。
#
# 距离要减去真图的 72 再看。超出的部分依次是 1708、790、311、92，每次少五到七成。换一个训练种子，依次是 1809、1229、360，头一次只少三成。375 步的两次训练差了四百多，训练的运气比 ± 大得多。
#
# **两个数都不能独自作准。** 高斯一步也没有练，满是重影，认得出的却有 95.5%，与发布的模型分不出高下。它的距离 697，也比两次 375 步的都小。认得出只问像哪一类，距离只看特征的均值与协方差，所以都要与真图的比，还要用眼睛看样本。
#
# ### 哪里降不下去
#
# 一直加倍，总能再降吗？看 $q_4$ 的最末一步：$x_t$ 什么也没说，最好的猜法是这一类的平均图，误差就是类内的像素方差，在测试图上是 0.21，网络再大也**消不掉**。这只是一步的下限，整段的平均可以比它低（及格线约 0.17）；整段的下限没有公式。
#
# ### 判断的次序
#
# 1. 学习率降完了没有？没有，就接着等，因为学习率降下来，损失还会掉（第 12 章）。
# 2. 降完了，看四段。有一段不及格，就有能消掉的误差，值得加倍步数、从头重练；全都及格，只说明比线性滤波好，不说明练够了（$q_1$ 在 375 步就及格，以后又降了 0.10），练得起也可以加倍，停不停由第 4 条定。
# 3. 加倍之后再看四段。还降的段，先前没有练够。不及格又一点不降的段，先疑心那一段 $t$ 上有错（例如时间嵌入、噪声表或权重），查不出再把网络换大（这一条这里没有机会试）。
# 4. 最后看样本，并且事先定好何时停手。例如：Fréchet 距离超出真图的部分，加一倍步数少不了两成，就停。一次训练分不清两成，所以两种步数都要多练几个训练种子，差要大过种子之间的起伏。
#
# 照它判本次训练：学习率降完了，四段都不及格，所以加倍。加倍之后四段都降，距离超出真图的部分，两个训练种子少了五成与三成，所以再加倍。

# %% [markdown]
# ## 10　停下与续训
#
# 练到一半想停，就按停止按钮，终端里按 Ctrl-C。`DDPM` 自带的 `StopSafely` 回调走完手上的一步，把检查点存成 `interrupted.ckpt`，`fit` 正常返回，内核还在。
#
# 从这份检查点续训，权重与从没停过的逐位相同（第 10 章）。下面核对：一个网络一口气走 6 步；另一个走到第 3 步时停下，再续到第 6 步。数据用内置的 8×8 数字。

# %%
def fresh():
    torch.manual_seed(1)
    return DDPM(**config["model"]), DigitsDataModule(image_size=28, batch_size=8)


def press(trainer, *_):
    if trainer.global_step == 2:  # 走第 3 步时，替你按一下停止按钮
        signal.raise_signal(signal.SIGINT)


straight, stream = fresh()
quiet_trainer(max_steps=6).fit(straight, stream)
stopped, stream = fresh()
button = pl.callbacks.LambdaCallback(on_train_batch_start=press)
first = quiet_trainer(max_steps=6, enable_checkpointing=True, default_root_dir="stop", callbacks=[button])
first.fit(stopped, stream)
check("停在第 3 步", first.global_step, 3)
saved = Path(first.checkpoint_callback.dirpath) / "interrupted.ckpt"
resumed, stream = fresh()
quiet_trainer(max_steps=6).fit(resumed, stream, ckpt_path=saved)
pairs = zip(straight.state_dict().values(), resumed.state_dict().values())
check("续训与从没停过，不相同的张量有几个", sum(not torch.equal(a, b) for a, b in pairs), 0)

# %% [markdown]
# ## 11　用命令行做同样的事，要多久
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
# 命令行读的是同一份配置，每个选项都能在后面改，例如 `--trainer.max_steps 5000`。有 GPU 时换成 `--config mnist-gpu`，它不分类别，采样时不写 `--labels`。
#
# 样本在 `runs/mnist-class/version_0/samples/`。`best-*.ckpt` 是 `val/loss_ema` 最低的检查点，`last.ckpt` 是最后一份；`--ckpt` 写文件夹时，取最近的 `last.ckpt`。
#
# 各份配置要多久：
#
# | 配置 | 参数 | 批 × 步数 | 一步 | 全程 |
# |:--|--:|--:|--:|--:|
# | `mnist-quick`，这里走了一半 | 0.70 M | 32 × 375 | 0.18 秒 | 1 分钟 |
# | `mnist-class` | 1.00 M | 64 × 3000 | 0.48 秒 | 24 分钟 |
# | `mnist-laptop` | 1.11 M | 64 × 3000 | 1.16 秒 | 58 分钟 |
# | `mnist` | 6.47 M | 128 × 20000 | 11.3 秒 | 63 小时 |
#
# 一步的秒数是八次的中位数，单线程；`mnist` 用批 16 量，再按图数换算。全程是一步乘以步数，只算训练；发布的模型头 1089 步照 4500 步的计划，以后照 3000 步的，停在 2577 步，所以是 21 分钟。你的机器要多久，用 `python -m benchmarks.step_time mnist-class` 量。

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：损失的曲线平了，怎样知道还要不要再练？
# - **答案**：先看学习率降完了没有；降完了，按 $t$ 拆成四段，与知道类别的线性滤波比，不如它的段就有能消掉的误差；然后加倍步数，从头重练，还降的段就是没有练够。
# - 曲线平，可以只是因为学习率降完了：375 步练完，接着走 375 步，验证损失只从 0.164 降到 0.158；整份计划加倍、从头重练，降到 0.134。
# - 190 步时四段都不及格；1500 步时前三段及格，$q_4$ 还高 0.002。它不会一直降，因为 $t$ 的尽头，剩余误差就是类内的像素方差 0.21。
# - 给样本打的两个数都要与真图的比，还要看样本。每类一个高斯，不训练，也认得出 95.5%，距离比练了 375 步的还小。
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
# 第 8 节比两种去噪器，用的是同样的图，先逐张相减，再求平均。`a` 与 `b` 是 $(N,)$ 的张量，第 $i$ 个数是两种去噪器在第 $i$ 张图上的误差。
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
# 第 7 节的线性滤波许看全部像素。假如猜一个像素只许用它自己的值乘一个权重、再加一个常数，它的方差为 $s^2$，那么目标 $v$ 的误差最小是 $s^2/D$（第 5 章的 $\hat x_0$ 误差 $(1-\bar\alpha_t)s^2/D$ 再除以 $1-\bar\alpha_t$）。
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
# 改一处，量一量，写三句话。第 8 节告诉网络的类别都是对的。换成发布的模型 `shipped`，用 `network_errors(shipped, pictures, labels)` 量一遍；再把 `labels` 换成 `torch.full_like(labels, -1)`（不说是几），换成 `(labels + 1) % 10`（说错），各量一遍，与说对的逐张相减。
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
# 一，类别只在噪声大的时候值钱：发布的模型不知道类别，$q_1$ 只高 0.5%，$q_4$ 高 28%。噪声小时，图自己就说明了它是几。
#
# 二，说错比不说更糟，约三倍（四段依次是 2.7、3.2、3.9、3.0 倍）。不说，网络把几种可能都顾到；说错，它就信了。$q_4$ 说错时的损失是 0.31，比什么也不看、总猜全体的平均图（0.27）还差。
#
# 三，小样已经会用类别，只是没有用足：$q_4$ 里类别值 0.025，还不到公式里的一半（0.054）。它比知道类别的公式高 0.048，其中 0.029 是类别没有用足，其余 0.019 是不看类别时就已经落后。
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
