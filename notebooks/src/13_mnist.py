# %% [markdown]
# # 13 · 训练 MNIST
#
# 8×8 的数字几十秒就练好，快到看不出练够了没有。MNIST 的图是 28×28，像素是它的 12 倍，这是我们第一个要认真等的数据集。
# 没有 GPU，只有一个 CPU 核，等一个小时够不够？这一章先练一两分钟。最后 75 步里损失只降了不到 4%，看上去已经平了，可是画出来的数字只有一半多认得出。换一份练一个小时的配置，认得出的有 94%。曲线平了，为什么还差这么远？
#
# **这一章的问题**：一个核、一个小时，能把 MNIST 练成什么样？练到一半，看什么才知道还要不要等？
#
# **学习目标**
#
# - 用一份配置训练 28×28 的数字，知道数据、网络、`Trainer` 各写在哪里。
# - 会看训练曲线：总损失为什么很快就降得慢了，按 $t$ 分成四段又看得出什么；分得清“没有练够”与“消不掉”。
# - 会采样、评估、停下、续训，知道在 CPU 上要多久。
#
# **预计用时** 40 分钟，另加正式训练的时间。运行全部单元三四分钟。

# %%
import os
import signal
import tempfile
from pathlib import Path

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, count_params, load_pretrained
from ddpm_edu.teach.step_progress import StepProgress
from ddpm_edu.configs import load as load_config
from ddpm_edu.data.base import random_images
from ddpm_edu.generate import generate
from ddpm_edu.evaluation.metrics import frechet_distance, frechet_for, recognised
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.teach import check, check_order, curves_figure, grid_figure
from ddpm_edu.teach.datasets import drawn_by, mnist_or_stand_in
from ddpm_edu.teach.figures import BLUE, CURVES, INK, ORANGE, empty_figure, plain_axes
from ddpm_edu.teach.training import quiet_trainer, read_curves
from ddpm_edu.training.timestep_loss import TimestepLoss, quarters

# %%
CONFIG = "mnist-quick"  # 一两分钟的小样；改成 "mnist-class" 只换网络与步数，不存检查点；正式训练用第 8 节的命令
DATA = Path("../data").resolve()
config = load_config(CONFIG)
os.chdir(tempfile.mkdtemp())  # 曲线与检查点写在临时目录里，不弄脏课程的文件夹
print("准备好了")

# %% [markdown]
# ## 1　练一个小时是这样
#
# 先看终点。课程带着一个在 MNIST 上练好的模型，`load_pretrained("mnist")`：1.0 M 参数，按类别生成，只用一个 CPU 核，练了约一个小时，用第 8 节的命令就能练。

# %%
shipped, digits = load_pretrained("mnist"), torch.arange(10)
plain, _ = generate(shipped, 30, cond=digits.repeat(3), steps=50, seed=0, use_ema=False, progress=False)  # 发布的权重就是 EMA
rows = ["引导 1", "", "", "引导 2", "", ""]
grid_figure(torch.cat([plain, drawn_by("mnist")[:30]]), nrow=10, rows=rows, columns="0123456789")  # 后一半是存好的

# %% [markdown]
# 图：随课程发布的 `mnist` 画的数字，一列一类，DDIM 50 步。上三行的引导强度是 1（不加引导），下三行是 2，起点的噪声逐张相同，都是种子 0 的前三十张，没有挑过。第二行的 2，不加引导画成了 3；加了引导，画对了；断笔大多接上，也有变差的：第一行的 1，顶上反而断开了一截。
#
# 它有多好，不能只凭眼睛。下表是对着 MNIST 的测试集量的。“认得出”是一个分类器认作所要的那一类的比例；Fréchet 距离 (Fréchet distance) 第 6 节讲，现在只要知道越小越像真图，真图自己也不是 0。

# %%
quality = pretrained_card("mnist")["quality"]
print(quality["samples"], "，± 是标准误", sep="")
for name, row in {"引导强度 1": quality["guidance_1"], "引导强度 2": quality["guidance_2"]}.items():
    share, far = row["recognised"], row["frechet"]
    print(f"{name}　认得出 {share['mean']:.1%} ± {share['se']:.1%}　Fréchet 距离 {far['mean']:.1f} ± {far['se']:.1f}")
real, floor = quality["real_recognised"]["recognised"], quality["frechet_floor"]
print(f"真图　　　　认得出 {real:.1%}　　　　 Fréchet 距离 {floor['mean']:.1f} ± {floor['se']:.1f}（训练集的图对测试集）")
print(f"纯噪声　　　　　　　　　　　　　　Fréchet 距离 {quality['frechet_noise']:.0f}")

# %% [markdown]
# 引导强度 2 更好认，99.8%，比真图的 99.4% 还高；距离却更大，84.7 对 53.6。引导让字更标准，也更千篇一律：各画 300 张，看同一类里像素的方差，真图 0.213，引导 1 是 0.186，引导 2 只有 0.165，十类无一例外。
# 所以想要好认，用 2；想要像真实的分布，用 1。
#
# 一个小时能走到这里。下面先花一两分钟走开头的一小段，看看途中是什么样，再学怎样判断还要不要走。

# %% [markdown]
# ## 2　数据：有真的就用真的
#
# MNIST 有 6 万张训练图，28×28 灰度，压缩后约 12 MB。磁盘上有它就用它；没有就用内置的数字放大到 28×28 代替，后面的代码一个字也不用改。
#
# <details><summary>怎样下载</summary>
#
# 另起一格运行 `from ddpm_edu import MNISTDataModule; MNISTDataModule(DATA).prepare_data()`：先试国内的镜像，断了再运行会接着下，内容核对无误才放到最终的名字。
# 也可以用环境变量 `DDPM_EDU_MIRROR` 指定镜像，或把四个文件放进课程文件夹的 `data/mnist/`，完全离线。
#
# </details>

# %%
data, which = mnist_or_stand_in(DATA, batch_size=config["data"]["init_args"]["batch_size"])  # which 是一句话：用的是哪一份
data.setup()
batch = next(iter(data.val_dataloader()))
print({name: tuple(value.shape) for name, value in batch.items()})
grid_figure(batch["image"][:30], nrow=10)

# %% [markdown]
# 图：验证集里的 30 张图。磁盘上的像素是 0 到 255 的整数 $k$，取出时换算成 $k/127.5-1$，恰好是第 6 章的离散解码器要的 256 个等距的值。

# %% [markdown]
# ## 3　一份配置
#
# 要练什么、怎样练，全写在一份配置里。`mnist` 是完整的一份，叠在它上面的几份只写要改的：`mnist-quick` 是一两分钟的小样，`mnist-class` 是随课程发布的那个模型的练法，`mnist-laptop` 不分类别，`mnist-gpu` 打开半精度与编译。

# %%
unet, plan = config["model"]["unet_config"]["params"], config["model"]["scheduler_config"]["params"]
for name, value in {
    "目标": config["model"]["parameterization"],
    "噪声表": config["model"]["beta_schedule"],
    "学习率": config["model"]["learning_rate"],
    "学习率计划": f"热身 {plan['warm_up_steps']} 步，再沿余弦降，到第 {plan['max_decay_steps']} 步降到 {plan['lr_min']} 倍",
    "EMA 衰减": config["model"]["ema_decay"],
    "丢类别的概率": config["model"]["cond_drop_prob"],
    "步数 × 批": f"{config['trainer']['max_steps']} × {config['data']['init_args']['batch_size']}",
    "网络": f"{unet['model_channels']} 通道，各层倍数 {unet['channel_mult']}，patch_size {unet['patch_size']}，{unet['num_classes']} 类",
}.items():
    print(f"{name}：{value}")

# %% [markdown]
# 学习率 0.004 是论文的 $2\times10^{-4}$ 的二十倍。论文练 CIFAR-10 走了 80 万步，这里只走 375 步，步子小了走不远：每走一步，一个权重通常挪动不到一个学习率（第 12 章），用 $2\times10^{-4}$ 走 375 步，加起来至多约 0.075。
#
# 与 8×8 的数字相比，网络多了一个参数 `patch_size`。它是 2，每 2×2 个像素先叠成一个位置的 4 个通道，28×28 就成了 14×14，算完再摊开。
# 卷积的代价正比于位置数，所以同样的宽度，每一步的卷积省下四分之三。注意力只放在 7×7 那一层，因为那里位置少，注意力便宜。
#
# 另一处不同是 `num_classes`：训练时告诉网络每张图是几，采样时就能点名要几。有一成的样本故意不给类别，第 7 章的引导要用。类还是同一个 `DDPM`。

# %%
torch.manual_seed(0)
model = DDPM(**config["model"])
print(f"{count_params(model.model):,} 个参数")

# %% [markdown]
# ## 4　训练
#
# 训练时另用两个回调 (callback) 看着它。`TimestepLoss` 在每次验证之后，把损失按 $t$ 分四段另记一份；下面的 `Watch` 在第 75、150、375 步，用同一份噪声各画一遍 0 到 9。

# %%
class Watch(pl.Callback):
    """途中用同一份噪声画 0 到 9"""

    def __init__(self):
        self.rows = {}

    def on_validation_end(self, trainer, module):
        if trainer.global_step in (75, 150, 375):
            images, _ = generate(module, 10, cond=digits, guidance_scale=2.0, steps=25, seed=0, progress=False)
            self.rows[f"{trainer.global_step} 步"] = images


watch = Watch()

# %% [markdown]
# `Trainer` 的参数也在配置里，这里再写一遍，好看清各是什么（`quiet_trainer` 就是 `pl.Trainer`，只是默认不出声、不写文件）：
#
# - `gradient_clip_val=1.0`：梯度的范数超过 1 就按比例缩小，个别坏批次不至于毁掉权重。
# - `val_check_interval=75`：每 75 步验证一次，`limit_val_batches=4` 是只用验证集的前 4 批。
# - `CSVLogger`：曲线写进一个 CSV 文件。

# %%
# NBVAL_IGNORE_OUTPUT
print(which)
trainer = quiet_trainer(
    max_steps=config["trainer"]["max_steps"], accelerator=config["trainer"]["accelerator"], gradient_clip_val=1.0,
    val_check_interval=75, check_val_every_n_epoch=None, limit_val_batches=4, num_sanity_val_steps=0,
    logger=pl.loggers.CSVLogger(".", name="mnist"), log_every_n_steps=5, bar=StepProgress(),
    callbacks=[TimestepLoss(), watch],
)
trainer.fit(model, data)
trainer.logger.save()  # 停得早，曲线也写出来

# %% [markdown]
# 工具栏的停止按钮随时可以按，第 7 节讲按下之后发生什么。停得太早，还没有验证过几次，后面的核对会报错；重新运行训练的单元即可。

# %% [markdown]
# ## 5　还要不要等：看曲线
#
# 先看总损失。

# %%
curves = read_curves(trainer.logger.log_dir)
steps, train_loss = curves["train/loss_simple"]
val_steps, ema = curves["val/loss_simple_ema"]
_, raw = curves["val/loss_simple"]
check("训练损失降到开头的六成以下", sum(train_loss[-4:]) < 0.6 * sum(train_loss[:4]), True)
curves_figure((steps, {"训练": train_loss}, "步", "损失", "linear", "log"),
              (val_steps, {"原权重": raw, "EMA": ema}, "步", "验证损失", "linear", "log"))

# %% [markdown]
# 图：左边是每 5 步记一次的训练损失，抖动来自每批不同的 $t$ 与噪声。右边是验证损失，原权重与 EMA 用同一份 $t$ 与噪声，可以直接比。两条几乎重合，最后 EMA 还略高一点，可能是因为损失还在降，而 EMA（衰减 0.99，约是一百步的平均；开头有热身，所以第 75 步两条还重合）慢了半拍。
#
# 两百步以后，总损失降得越来越慢。是训练不足，还是剩下的误差任何网络都消不掉？学习率也在降，单看一条曲线分不出来。
#
# ### 拆成四段
#
# 把 $t$ 从小到大分成四等份，$q_1$ 最靠近原图，$q_4$ 最靠近纯噪声。四段各有各的难处：
#
# - 以 $v$ 为目标时，$q_1$ 处的目标几乎就是噪声 $\varepsilon$。图上只掺了一点点噪声，要把它从笔画里分出来，难。
# - $q_4$ 处的目标几乎是 $-x_0$。图只剩一点影子，写成什么样说不准，也难。
# - 中间两段，图与噪声都看得见，好猜一些。
#
# ### 及格线：不用训练的线性滤波
#
# 拿什么当及格线？最简单的去噪器：每个输出都是所有输入像素的加权和，再加一个常数。最优的权重有公式，不用训练，这叫**线性滤波**（又叫 Wiener 滤波）。
# 把图沿协方差的特征方向拆开：各个方向上的 $x_0$ 互不相关；噪声各个方向一样大，转一转坐标还是各自独立、方差为 1。所以各个方向可以分开来猜，每个都是第 5 章的一维问题，方差是特征值 $\lambda_i$。它不知道图是几，而我们的网络知道，所以这条线偏松，靠近噪声的 $q_4$ 松得最多。猜 $v$ 的误差是
#
# $$\frac1n\sum_{i=1}^{n}\frac{\lambda_i}{\bar\alpha_t\lambda_i+1-\bar\alpha_t},\qquad n=28\times28.$$
#
# **哪一段连它都不如，那一段一定还能降**：不是没练够，就是网络或代码有问题。反过来不成立，胜过它也可能还没练够，所以再找一个参照：随课程发布的模型，看过的图是这里的 14 倍，网络也深一些，它的四段损失记在卡片里。

# %%
pixels = random_images(data.dataset("train"), 10_000)["image"].flatten(1).double()
spectrum = torch.linalg.eigvalsh(torch.cov(pixels.T)).clamp(min=0)
bar = model.exact_table("alphas_cumprod")[:, None]
wiener = (spectrum / (bar * spectrum + 1 - bar)).mean(1)
linear = [float(wiener[start:stop].mean()) for start, stop in quarters(model.num_timesteps)]
quarter = [curves[f"val/loss_q{k}_ema"][1] for k in (1, 2, 3, 4)]
last, longer = [values[-1] for values in quarter], quality["loss_by_quarter"]
print("四段的步号：", quarters(model.num_timesteps))

# %%
names = ["$q_1$\n近原图", "$q_2$", "$q_3$", "$q_4$\n近噪声"]
figure = empty_figure(9.0, 3.4)
left, right = map(plain_axes, figure.subplots(1, 2))
for k, (values, (color, _)) in enumerate(zip(quarter, CURVES)):
    left.plot(val_steps, values, color=color, label=f"$q_{k + 1}$")
    left.axhline(linear[k], color=color, linestyle="--", linewidth=1)
left.set(xlabel="步", ylabel="$v$ 的损失（虚线：线性滤波）", xticks=val_steps)
left.legend(fontsize=9, ncols=2)
marks = {"线性滤波": (linear, INK, "s"), f"本次训练（{trainer.global_step} 步）": (last, ORANGE, "^"), "发布的模型（2577 步）": (longer["model"], BLUE, "o")}
for label, (values, color, marker) in marks.items():
    right.plot(range(4), values, color=color, marker=marker, linestyle="none", label=label)
right.set_xticks(range(4), labels=names)
right.set(ylabel="$v$ 的损失", ylim=(0, None))
right.legend(fontsize=9)
figure

# %% [markdown]
# 图：左边是四段的验证损失（EMA 权重），同色的虚线是这一段的线性滤波。右边是各段最后的损失，与线性滤波、发布的模型相比。线性滤波由一万张训练图算出，本次训练用验证集的前 64 张，发布的模型用 512 张 MNIST 测试图（你若用了替身，前两样是替身的，不能与它比）。
#
# 左图里，第 75 步时四段都还没有及格；到第 150 步，前三段过了线，$q_4$ 要到第 225 步。过线之后，四段都在变平。从第 75 步到第 375 步，$q_1$ 降了六成；$q_4$ 只降了两成，所以它在总损失里的份额由两成升到三成，发布的模型里是四成。总损失显得平，有两个原因：一是降得最慢的 $q_4$ 越占越多，可是去掉它，另外三段最后 75 步也只降了 3.5% 左右，所以这只是小半；二是学习率，这 75 步里它从峰值的一成多降到 2%，谁都走不动了。平，不等于到底。
#
# 右图里，本次训练的四段都胜过线性滤波，及格线没有查出毛病。判断前三段没有练够，靠的是发布的模型：它比本次训练又低了三到五成，那里的误差多半是**没有练够**，也可能有一点是网络浅。
# $q_4$ 只再低两成；比起不用训练的线性滤波，也只低四分之一，何况发布的模型知道要画的是几，线性滤波不知道。那里图只剩影子，再练也说不准，由此推断，剩下的误差大半是**消不掉**的。
# 这是推断，不是证明：真图的分布没有公式，消不掉的到底有多少，这里算不出来。第 5 章算得出来，是因为那里的分布是我们自己定的。

# %%
gain = [w / m for m, w in zip(longer["model"], longer["wiener"])]
print("MNIST 上，线性滤波的损失是发布的模型的几倍：", "　".join(f"q{k} {value:.1f}" for k, value in enumerate(gain, 1)))
print(f"发布的模型，四段里最后一段占 {longer['model'][3] / sum(longer['model']):.0%}")
check_order("发布的模型每一段都胜过线性滤波，q4 胜得最少", 1, gain[3], min(gain[:3]))

# %% [markdown]
# ### 用同一份噪声看样本
#
# 曲线之外，还要看样本。每次都从同一份噪声出发，不同的只有权重，好坏一眼看得出。

# %%
watch.rows["发布的"], _ = generate(shipped, 10, cond=digits, guidance_scale=2.0, steps=25, seed=0, use_ema=False, progress=False)
grid_figure(torch.cat(list(watch.rows.values())), nrow=10, rows=list(watch.rows), columns=[str(k) for k in range(10)])

# %% [markdown]
# 图：从上到下是第 75、150、375 步与发布的模型，起点是同一份噪声，引导强度 2，DDIM 25 步。第 75 步只有成团的亮点；第 150 步有了笔画；第 375 步的 0、1、3、7 认得出，5 还断成几截，8 像个 E；发布的模型把笔画接好、写顺，位置与倾斜大体没变。
#
# 用 Fréchet 距离量过一次，每处 200 张，不加引导，起点相同。总损失是各步验证损失（EMA）；发布的模型取四段的平均，口径略有不同（第 375 步按四段的平均是 0.172）：
#
# | | 75 步 | 150 步 | 225 步 | 375 步 | 发布的 |
# |:--|--:|--:|--:|--:|--:|
# | 总损失 | 0.331 | 0.216 | 0.183 | 0.164 | 0.107 |
# | Fréchet 距离 | 2520 | 1720 | 1362 | 895 | 86 |
# | 认得出 | 18% | 31% | 39% | 54% | 94% |
#
# 从第 225 步到第 375 步，总损失只降了一成，距离却降了三分之一；再到发布的模型，总损失降三分之一，距离只剩十分之一。**总损失看着平了，样本还在变好**，所以不能见平就收。不过这次的学习率计划已经走完，再等也没有用；前三段离发布的模型还有三到五成，该做的是换一份更长的计划重练。
#
# 判断的次序：先看有没有哪一段不及格（有，先查代码）；再看学习率是不是已经降到底（是，平不作数）；再与练得久的模型比；最后看样本。

# %% [markdown]
# ## 6　采样与评估
#
# 画两百张，一次打分。这次不加引导，要看的是分布像不像。

# %%
wanted = digits.repeat(20)
many, _ = generate(model, 200, batch_size=50, cond=wanted, steps=15, seed=1, progress=False)
grid_figure(many[:30], nrow=10, columns="0123456789")

# %% [markdown]
# 图：两百张里的前三十张。1 与 7 多半认得出，5 那一列最差，别的不是断笔就是连错。
# 黑底上有淡淡的斑点，隔一个像素一个。对这两百张做傅里叶变换，横竖都隔一个像素明暗交替的成分，功率是邻近频率的 5 倍，发布的模型不到 2 倍。周期与 `patch_size=2` 一致，多半是每个位置摊开的四个像素还没有对齐。
#
# 用 Fréchet 距离打分：先用一个分类器取出每张图的特征，两批图的特征各拟合一个高斯，均值 $\mu_1,\mu_2$，协方差 $\Sigma_1,\Sigma_2$，距离是
#
# $$\|\mu_1-\mu_2\|^2+\mathrm{tr}\bigl(\Sigma_1+\Sigma_2-2(\Sigma_1\Sigma_2)^{1/2}\bigr).$$
#
# 严格说，这是距离的平方，按惯例不再开方。特征只有一维时，它就是均值之差的平方，加上标准差之差的平方。先核对，再用。

# %%
a, b = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)), 2 + 3 * torch.randn(500, 1, generator=torch.Generator().manual_seed(1))
check("一维的 Fréchet 距离", frechet_distance(a, b), (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2, atol=1e-4)

# %% [markdown]
# 取特征要一个懂这份数据的分类器。MNIST 的随课程发布；用替身时，就在它的训练集上现训一个。样本少，距离就偏大（第 15 章），所以参照也用同样多的真图。

# %%
score = frechet_for(data, num_images=1000)
distance, same = score(many), score.floor(score.train[:200])
check("样本到真图，不到纯噪声的四分之一", distance < score.ceiling() / 4, True)
check("还没有好过同样多的真图", distance > same, True)

# %%
# NBVAL_IGNORE_OUTPUT
print(f"200 张真图 {same:.1f}　本次训练的 200 张样本 {distance:.1f}　纯噪声 {score.ceiling():.0f}　（各量一次）")
print(f"这 200 张（没有引导）里，分类器认作所要的数字的有 {recognised(score.classifier, many, wanted)['recognised']:.0%}")

# %% [markdown]
# 用 MNIST 时，本次训练的距离约 890，是同样多真图的 12 倍，离纯噪声的两万七却很远：笔画有了，形状还没有。发布的模型从同样的噪声出发，是 86，真图是 72.5（都只量了一次）。
#
# Fréchet 距离只能在同一个分类器、同一份参照、同样的张数之下比较。第 1 节的是 400 张，与这里的不能直接比；更不能与论文里的 FID 比，FID 用的是在自然图像上训练的 Inception 网络。

# %% [markdown]
# ## 7　停下与续训
#
# 知道了该停，怎样停？按停止按钮（或在终端按 Ctrl-C）时，`DDPM` 自带的 `StopSafely` 回调走完手上的一步（正在验证就验证完），把检查点存成 `interrupted.ckpt`，印一行话，`fit` 正常返回。内核还在，后面的单元照常运行。
# 从这份检查点续训，与从没停过相比，权重逐位相同：$t$ 与噪声由批号决定（第 10 章），数据也从停下的那一批接着取。
#
# 下面来核对：一个网络一口气走 8 步；另一个走到第 3 步时收到停止信号，再从检查点走到第 8 步。

# %%
def fresh():
    torch.manual_seed(1)
    return DDPM(**config["model"]), mnist_or_stand_in(DATA, batch_size=16)[0]


def press(trainer, *_):  # 走第 3 步时，替你按一下停止按钮
    if trainer.global_step == 2:
        signal.raise_signal(signal.SIGINT)


straight, stream = fresh()
quiet_trainer(max_steps=8).fit(straight, stream)
stopped, stream = fresh()
button = pl.callbacks.LambdaCallback(on_train_batch_start=press)
first = quiet_trainer(max_steps=8, enable_checkpointing=True, default_root_dir="stop", callbacks=[button])
first.fit(stopped, stream)
check("停在第 3 步", first.global_step, 3)

# %% [markdown]
# 上面红底的一行就是按下停止按钮之后看到的：停在哪里，存到哪里，怎样继续。照它说的做：

# %%
saved = Path(first.checkpoint_callback.dirpath) / "interrupted.ckpt"
resumed, stream = fresh()
quiet_trainer(max_steps=8).fit(resumed, stream, ckpt_path=saved)
pairs = list(zip(straight.state_dict().values(), resumed.state_dict().values()))
check("续训与从没停过，不相同的张量有几个", sum(not torch.equal(a, b) for a, b in pairs), 0)

# %% [markdown]
# 正式训练时，还有两份检查点：`best-*.ckpt` 是 `val/loss_ema` 最低的一份，`last.ckpt` 是最后一份。
# 挑“最好”要看 EMA 的损失，因为采样用的是 EMA 权重。

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
# 命令行的 `--config mnist-class` 与 notebook 的 `load_config` 读到的是同一份。每个选项都能在后面改，例如 `--trainer.max_steps 5000`、`--data.batch_size 256`。
# 曲线用 `tensorboard --logdir runs/tensorboard` 看；样本在 `runs/mnist-class/version_0/samples/`，开头存得勤，免得久等；再练一次就是 `version_1`。`--ckpt` 写文件夹时，取里面最近的一份 `last.ckpt`。
#
# 有 GPU 时换成 `--config mnist-gpu`：6.5 M 的网络，打开半精度与编译，不分类别，所以采样时不写 `--labels`，文件夹是 `runs/mnist-gpu`。

# %% [markdown]
# ## 9　要多久
#
# | 配置 | 参数 | 批 × 步数 | 用时 |
# |:--|--:|--:|--:|
# | `mnist-quick`，这里的小样 | 0.70 M | 32 × 375 | 一个核，一两分钟 |
# | `mnist-class` | 1.00 M | 64 × 3000 | 一个核，约 70 分钟 |
# | `mnist-laptop` | 1.11 M | 64 × 3000 | 两个核，15 到 27 分钟 |
# | `mnist` | 6.47 M | 128 × 20000 | 两个核，17 到 37 小时 |
#
# `mnist-class` 的时间由发布的模型推算：它取的是第 2577 步，约一个小时，那台机器同时还忙着别的，空闲的机器应当更快。发布的模型途中还换过一次学习率计划（卡片里写着），照着重练，得到的相近，不会逐位相同。
# 后两行是每步时间的中位数乘以步数，只算训练，两头是快慢两台机器。同样两个核，快慢差两倍，所以先用 `python -m benchmarks.step_time` 在自己的机器上量一量再决定。
# GPU 上没有量过：`python -m benchmarks.gpu --network mnist` 可以在你的卡上量出来。

# %% [markdown]
# ## 小结
#
# - 一个核、约一个小时：引导 1 认得出 93.7%、距离 53.6，引导 2 是 99.8%、84.7，真图是 99.4%、38.9；好认与像真，要选一样。一两分钟的小样只有一半多认得出，笔画有了，形状还不对。
# - 曲线平了，先问学习率是不是降到底了，再按 $t$ 拆开：不如线性滤波的一段，一定还能降；胜过它的，要与练得久的模型比。这里前三段还差三到五成，没有练够；$q_4$ 只差两成，大半消不掉（这是推断，不是证明）。
# - 停止按钮是安全的，续训与从没停过逐位相同。
# - 评估要有参照：同样多的真图、纯噪声。不同分类器、不同张数的距离不能互比。
# - 换一个数据集，只换数据模块与几行配置，`DDPM` 类不变。
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
# 由 0 到 255 换算来的 256 个值，要一个不差地换回原来的整数。

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
# ### 13.3　不看邻居的线性滤波的误差 ★★★
#
# 第 5 节的线性滤波许看全部像素。假如猜一个像素只许用它自己的值乘一个权重、再加一个常数，它的方差为 $s^2$，那么目标 $v$ 的误差最小是 $s^2/D$，其中 $D=\bar\alpha_t s^2+1-\bar\alpha_t$（第 5 章的 $\hat x_0$ 误差 $(1-\bar\alpha_t)s^2/D$ 再除以 $1-\bar\alpha_t$）。
# `images` 是 $(N,1,H,W)$，`betas` 是 $(T,)$，都是 float64 的张量。每个像素的 $s^2$ 由 $N$ 张图估计，除以 $N$。返回各步的误差，对所有像素求平均，形状 $(T,)$。
# 写好之后与第 5 节的 `wiener` 比一比，看邻居省下了多少。

# %%
def lonely_v_loss(images, betas):
    # 答案
    s2 = images.flatten(1).var(0, correction=0)
    bar = torch.cumprod(1 - betas, 0)[:, None]
    return (s2 / (bar * s2 + 1 - bar)).mean(1)
    # 答案完


grade("13.3", lonely_v_loss)

# %% [markdown]
# ### 13.4　换成 eps ★★
#
# 把目标换成 `parameterization="eps"`，噪声表不变，训练到差不多好。第 5 节的四段损失会是什么次序？先用第 5 章的 $\bar\alpha s^2/D$ 猜一猜。
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
# 第 7 节里，从第 3 步的检查点续训到第 8 步，与从没停过逐位相同。假如续训的那个 `DDPM` 构造时写了 `seed=1`（原来是 0），会怎样？
#
# - A：报错，种子与检查点里的不同。
# - B：仍旧逐位相同，要紧的都在检查点里。
# - C：照常续训，但从第 4 步起权重就不同了。
# - D：检查点作废，从头训练。

# %%
grade("13.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
