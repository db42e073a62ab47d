# %% [markdown]
# # 00 · 一分钟训练一个扩散模型
#
# 下图的最上一行是十张纯噪声，最下一行是十个手写的数字。中间没有谁去翻训练集，只是一个网络对着噪声猜了 25 次。
# **噪声怎样变成数字？** 这一章先看它变，再自己花一两分钟训练一个。
#
# **学习目标**
#
# - 说得出扩散模型在解决什么问题，为什么要绕“先毁掉、再修好”这个弯。
# - 在自己的电脑上，用真实的手写数字训练一个 DDPM，看着样本成形。
# - 用两种方法采样，拖动一个滑块，体会 `v_posterior` 管的是什么。
#
# **预计用时** 25 分钟，其中训练一两分钟（不需要 GPU；只用一个 CPU 核时实测约 100 秒）。

# %%
import torch

from ddpm_edu import load_pretrained
from ddpm_edu.generate import generate
from ddpm_edu.teach import grid_figure

model = load_pretrained("mnist")  # 随课程发布的模型，在手写数字的数据集 MNIST 上练过
digits = torch.arange(10)
images, frames = generate(model, 10, cond=digits, guidance_scale=2.0, steps=25, seed=0, num_frames=5)
grid_figure(torch.cat([*frames[:4], images]), nrow=10, rows=["噪声", "猜过 6 次", "猜过 12 次", "猜过 18 次", "猜过 25 次"], columns="0123456789")

# %% [markdown]
# 图：一列一个数字，从上到下是去噪的五个时刻。我们只告诉网络每一列要画几；`guidance_scale` 叫引导强度，大于 1 时更照着要求画，第 7 章讲。
#
# 网络只会做一件事：看着一张带噪的图，猜哪些是噪声、哪些是原来的图。每猜一次，就往猜到的图退一小步。反复猜，反复退，噪声就变成了图。
# 这些数字是不是从训练图里抄来的，第 15 章教你查；这个模型查过，没有看出抄的。
#
# DDPM 是 Denoising Diffusion Probabilistic Models 的缩写（Ho 等，2020）。
# 本课程说“论文”，指的是它；说“参考实现”，指的是那个著名的 `DDPM` 类：它出自 latent-diffusion 仓库，我们对照的是它在 Stable Diffusion 2 的仓库里的后继版本。
#
# <details><summary>第一次用 notebook，先看这几句</summary>
#
# - 从上到下逐个运行单元（Shift + Enter）。第一格要导入程序包，得等几秒；训练和采样超过两秒，会有进度条。
# - 面板是可以拖的图，要先运行它那一格，控件才会出现；没有运行之前，看到的是一张静止的图。“全部运行”还没有走完时拖它，要等内核空下来，图才跟着变。
# - 别的程序正占着处理器时，训练会慢几倍。剩余时间显示十分钟以上，就先关掉它们，或者在训练的前一格加一行 `torch.set_num_threads(1)`。
# - 课程里的关键结论，大多由 `check` 当场核对：给它一句说法、算出的值、应得的值和容差 `atol`，相差不超过容差就印 ✓，否则报错。
#
# </details>

# %%
import logging
import warnings

import pytorch_lightning as pl

from ddpm_edu import DDPM, make_beta_schedule
from ddpm_edu.configs import load as load_config
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import recognised
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.teach import check, check_order, curve_figure, progress
from ddpm_edu.teach.datasets import mnist_or_stand_in
from ddpm_edu.teach.diagrams import chain_figure
from ddpm_edu.teach.laboratory import chain_variances
from ddpm_edu.teach.panels import samples_panel
from ddpm_edu.teach.panels.posterior import posterior_grids
from ddpm_edu.teach.step_progress import StepProgress

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning")
print("准备好了")

# %% [markdown]
# ## 0　它在解决什么问题
#
# 手里有许多图，想要**新的**图：像它们，却不是它们中的任何一张。用概率的话说，这些图是从某个未知的分布里抽出来的样本，我们想从同一个分布里再抽一些。这就叫**生成**。
#
# 难在哪里？难在“像”没有唯一的答案。认数字的网络有标准答案：这张是 3。可是“画一个 3”，怎么画都对。
# 如果让网络直接把一份噪声变成一张图，拿真图作标准答案，那么噪声与真图只能随便配，从噪声看不出该配哪一张 3；误差的平方要小，它只好画出所有 3 的平均，一团糊。第 1 章会亲手试一遍。
#
# 扩散模型的办法是绕一个弯：**先把图一点点毁成噪声，再学着一点点修回来**。毁掉是加噪声，公式现成；修回来时，每一步只退一点点，可能的答案挤在一处，取平均也不会糊（第 4 章画给你看）。一个难题，拆成了一千个容易的题。

# %%
noises = torch.randn(images[3:4].shape, generator=torch.Generator().manual_seed(0))
marks = {0: "$x_0$：图", 250: "$x_{250}$", 500: "$x_{500}$", 750: "$x_{750}$", 999: "$x_{999}$：噪声"}
chain_figure(torch.cat([images[3:4], *(model.q_sample(images[3:4], torch.tensor([t]), noises) for t in list(marks)[1:])]), marks.values())

# %% [markdown]
# 图：整门课就在这一张图里。往右是加噪，每一步掺一点噪声，一千步之后什么也看不出；往左是去噪，网络一步步修回来。训练时往右加噪，学怎样往左；画图时只往左走。
#
# 造图的办法不止这一种，下表是它的兄弟：
#
# | 方法 | 怎样造一张图 | 好处 | 麻烦 |
# |:--|:--|:--|:--|
# | GAN（2014） | 一个网络一步画成，另一个网络挑毛病 | 快，清楚 | 两个网络较劲，训练不稳，容易只画得出其中几类（模式坍塌）|
# | VAE（2013） | 把图压成一小串数，再还原；抽那串数 | 快，有似然的下界 | 还原是一步到位的平均，容易糊 |
# | 标准化流（NICE，2014） | 一串可逆的变换，把噪声变成图 | 似然算得准 | 每一层都要可逆，网络受限制 |
# | 像素自回归（PixelRNN，2016） | 一个像素接一个像素地猜 | 似然算得准 | 慢，次序要人为规定 |
# | 扩散（2015、2020） | 一步步去噪 | 训练是普通的回归，稳；清楚，各类都画得到 | 采样要走许多步 |
#
# <details><summary>它自己的来历：2015 到 2024</summary>
#
# - 2015　Sohl-Dickstein 等提出扩散模型：借热力学的想法，把数据慢慢变成噪声，再学着倒过来。
# - 2019　Yang Song 与 Ermon 从另一条路走来：学“往哪边走，概率密度升得最快”的方向（得分），再沿着它走。
# - 2020　Ho 等的 **DDPM**：把目标简化成猜噪声，在 CIFAR-10 上 FID 3.17，胜过当时多数的 GAN。同年 Jiaming Song 等的 DDIM 把一千步减到几十步，Yang Song 等把一切写成随机微分方程。
# - 2021　Nichol 与 Dhariwal 改进噪声表与方差，随后 Dhariwal 与 Nichol 让扩散在 ImageNet 上胜过了 GAN；Ho 与 Salimans 提出无分类器引导；年底，Rombach 等的 latent-diffusion 先把图压小再扩散。
# - 2022　latent-diffusion 成了 Stable Diffusion；Karras 等理清了各种设定；Peebles 与 Xie 用 Transformer 代替 U-Net (DiT)；流匹配 (flow matching) 也在这一年提出。
# - 2024　Stable Diffusion 3 等改用流匹配与 Transformer。底下仍是这一章的两件事：加噪，学着去噪。（年份照预印本。）
#
# </details>
#
# 下面先看噪声怎样加上去，再自己训练一个，最后看怎样走回来。

# %% [markdown]
# ## 1　数据：真实的手写数字
#
# MNIST 有 6 万张训练图，28×28 像素，灰度。磁盘上有它就用它；没有就花至多二十秒下载（约 12 MB，存进课程的 `data` 文件夹），下不完就先用随 scikit-learn 安装的 1 797 张 8×8 数字放大来代替，后面一个字也不用改。
# 不想下载，把 `DOWNLOAD` 改成 0。
#
# 像素值换算到 $[-1, 1]$：$-1$ 是黑，$1$ 是白。这是扩散模型的惯例，因为噪声也以 0 为中心。

# %%
DOWNLOAD = 20  # 单位：秒
data, which = mnist_or_stand_in("../data", download=DOWNLOAD, batch_size=32)  # which 是一句话：用的是哪一份
data.setup()
batch = next(iter(data.val_dataloader()))
x_start, label = batch["image"], batch["label"]
print("图像", tuple(x_start.shape), "范围", float(x_start.min()), "到", float(x_start.max()))
grid_figure(x_start[:20], nrow=10)

# %% [markdown]
# 图：验证集里的二十张。下面的加噪用头三张。

# %% [markdown]
# ## 2　加噪：一步就能到任意一步
#
# 加噪过程每一步掺一点高斯噪声，走 $T$ 步。
# 高斯噪声相加还是高斯噪声，所以不必真走：第 $t$ 步的图可以一次算出来，
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\qquad \varepsilon\sim\mathcal N(0, I).$$
#
# $\bar\alpha_t$ 从接近 1 降到接近 0：图的份额越来越小，噪声的份额越来越大。

# %%
steps = [0, 125, 250, 375, 500, 625, 750, 875, 999]
noise = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
rows = [model.q_sample(x_start[:3], torch.full((3,), t), noise) for t in steps]
grid_figure(torch.stack(rows, 1).flatten(0, 1), nrow=len(steps), columns=[f"$t={t}$" for t in steps])

# %% [markdown]
# 图：每行一个数字，从左到右噪声越来越多，用的是同一份噪声。到 $t=500$ 还认得出是几，到 $t=750$ 只剩隐约的几笔，最右边就什么也看不出了。
#
# 噪声的方差是 1，又与原图独立，所以 $x_t$ 的方差是 $\bar\alpha_t$ 乘原图的方差，再加上 $1-\bar\alpha_t$。原图的方差在 0.4 左右（黑底占了大半），$x_t$ 的方差就从 0.4 平缓地走到 1，网络不必应付忽大忽小的输入。

# %%
signal, spread = model.sqrt_alphas_cumprod, model.sqrt_one_minus_alphas_cumprod
check("两个系数的平方和恒为 1", signal**2 + spread**2, torch.ones(1000), atol=1e-6)
check("第 999 步几乎没有原图了", signal[-1], 0.0, atol=1e-3)
curve_figure(range(1000), {r"$\sqrt{\bar\alpha_t}$": signal, r"$\sqrt{1-\bar\alpha_t}$": spread}, "步号 $t$", "系数")

# %% [markdown]
# 图：实线是图的份额，虚线是噪声的份额。两条线在第 495 步前后交叉，那里两个系数都是 0.71。

# %% [markdown]
# ## 3　训练：从带噪的图里猜
#
# 训练只做一件事：随机挑一步 $t$，造出 $x_t$，让网络看着 $x_t$、$t$ 和“这是几”，猜里面的噪声与原图。
# 两样不必都猜：$x_t$ 已知，猜出一样，另一样就算得出来。这里猜的是两者的一种组合，叫速度，$v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1-\bar\alpha_t}\,x_0$；
# 知道了 $v$，就能换回 $x_0$ 或 $\varepsilon$。为什么有三种猜法、为什么这里选 $v$，第 5 章细讲。
#
# 损失就是猜测与真值之差的平方的平均。`DDPM` 是 PyTorch Lightning 的 `LightningModule`（带着训练方法的 `nn.Module`），训练循环交给它的 `Trainer`。
# 网络与各项设定写在一份叫 `mnist-quick` 的配置里，第 13 章细讲。

# %%
config = load_config("mnist-quick")
MAX_STEPS = config["trainer"]["max_steps"]  # 一两分钟；想先快速看一遍，改成 100
torch.manual_seed(0)
student = DDPM(**config["model"])
print(f"网络有 {sum(p.numel() for p in student.model.parameters()):,} 个参数，走 {MAX_STEPS} 步，每步 {config['data']['init_args']['batch_size']} 张图")

# %% [markdown]
# 途中停下来看几次：每次用同一份起始噪声，画 0 到 9 各一个，训练完摆在一起看。
# 采样用的是指数滑动平均（EMA）的权重，它比当前的权重平稳，见第 11 章。

# %%
class Watch(pl.Callback):
    """走到这几步时各采一次样，不影响训练"""

    def __init__(self, steps):
        self.steps, self.frames = steps, []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step in self.steps:
            self.frames.append(generate(module, 10, cond=digits, guidance_scale=2.0, steps=25, progress=False)[0])


watch = Watch((30, 90, 180))

# %% [markdown]
# 现在训练。进度条显示走了几步、当前的损失和剩余时间；想停就按工具栏的停止按钮：走完手上的一步就停，红底的一行告诉你停在第几步，这是正常的，从下一格接着运行；再运行一次训练那一格，则是在现有的权重上再练一遍。

# %%
# NBVAL_IGNORE_OUTPUT
print(which)
trainer = pl.Trainer(
    max_steps=MAX_STEPS, max_epochs=-1, accelerator="auto", gradient_clip_val=1.0, limit_val_batches=0,
    callbacks=[watch, StepProgress()],
    logger=False, enable_checkpointing=False, enable_model_summary=False,
)
trainer.fit(student, data)

# %%
student.eval().cpu()
ours, _ = generate(student, 50, cond=digits.repeat(5), steps=25, guidance_scale=2.0, seed=0)
reached = [f"{step} 步" for step in watch.steps[:len(watch.frames)]]
grid_figure(torch.cat([*watch.frames, ours[:10]]), nrow=10, rows=[*reached, "练完"], columns="0123456789")

# %% [markdown]
# 图：一列一个数字，起始噪声相同。从上到下是走到第 30、90、180 步与练完之后（停得早，就只有走到的那几行）。
# 先是一片斑点，再有笔画，然后有了数字的样子，也还有几个不像。这点训练当然不如开头的模型：那是同样的做法，网络深一些，看过的图是这里的约 14 倍。
#
# 眼睛会骗人，所以再用一个数来量：拿一个会认 MNIST 的分类器（随课程发布，测试集上的准确率 99.4%）看这些样本，数一数它认作所要的那个数字的比例。
# 瞎猜是一成。分类器比眼睛宽容，断了笔画的它也认。

# %%
# NBVAL_IGNORE_OUTPUT
classifier = load_classifier("mnist")
share = {name: recognised(classifier, drawn, digits.repeat(len(drawn) // 10))["recognised"]
         for name, drawn in {"纯噪声": torch.randn(1000, 1, 28, 28, generator=torch.Generator().manual_seed(0)), "一分钟的": ours, "开头的": images}.items()}
for name, value in share.items():
    print(f"{name}：认得出 {value:.0%}")
print("纯噪声 1 000 张，一分钟的 50 张，开头的 10 张；认真量的（八个种子，带标准误）在 README 的“画得多好”里")

# %%
check("一分钟的训练，已经远好于瞎猜的一成", share["一分钟的"] > 0.3, True)

# %% [markdown]
# ## 4　采样：从噪声走回来
#
# 采样从纯噪声 $x_T\sim\mathcal N(0,I)$（$x_T$ 是论文的记号）出发，反复做同一件事：猜出 $\hat x_0$，往它的方向退一小步。
#
# - **祖先采样**（ancestral）：每退一步，再掺一点新噪声。这是 DDPM 论文的做法。
# - **DDIM** (denoising diffusion implicit models)：不掺新噪声，步子可以更大。起始的噪声相同，画出的图就相同。
#
# 两种方法用的是同一个训练好的网络。

# %%
def draw(sampler, steps, seed=1, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    return model.sample(10, sampler=sampler, steps=steps, cond=digits, generator=generator, **kwargs)


ancestral, ddim = draw("ancestral", 100), draw("ddim", 25)
grid_figure(torch.cat([ancestral, ddim]), nrow=10, rows=["祖先，100 步", "DDIM，25 步"], columns="0123456789")

# %% [markdown]
# 图：上排是祖先采样 100 步，下排是 DDIM 25 步，都来自随课程发布的模型。步数只有四分之一，看上去也差不多清楚。两排的起点是同一份噪声；祖先采样途中又掺了别的，所以一列里的两张并不相同。
#
# DDIM 没有随机性：同一个起点走两遍，结果完全相同。祖先采样则不同，即使起点相同，途中的噪声也会把它带到别处。

# %%
start = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(2))
check("DDIM：同一起点，同一结果", draw("ddim", 5, seed=1, x_T=start), draw("ddim", 5, seed=2, x_T=start), atol=0)
gap = (draw("ancestral", 5, seed=1, x_T=start) - draw("ancestral", 5, seed=2, x_T=start)).abs().max()
check("祖先采样：同一起点，不同结果", gap > 0.1, True)

# %% [markdown]
# 再看一条轨迹。采样途中每一步都有一个“此刻的猜测” $\hat x_0$，用 `callback` 就能拿到。

# %%
trace = []
draw("ddim", 10, callback=lambda t, x_t, x_recon: trace.append((f"$t={t}$", x_t[3:4], x_recon[3:4])))
names, x_row, recon_row = zip(*trace)
grid_figure(torch.cat([*x_row, *recon_row]), nrow=10, rows=["$x_t$", r"$\hat{x}_0$"], columns=names)

# %% [markdown]
# 图：上排是 $x_t$，下排是同一步的猜测 $\hat x_0$，从左到右去噪，要画的是 3。
# 猜测在头几步还很含糊，像是许多个 3 的平均；$x_t$ 越干净，猜测越肯定。

# %% [markdown]
# ## 5　一个滑块：`v_posterior`
#
# 祖先采样每一步掺多少新噪声？先认识两个量：$\beta_t$ 是加噪第 $t$ 步掺入的噪声的方差；$\tilde\beta_t$ 比它小，第 4 章推导。
# 理论给出两个极端：
#
# - 若所有的图都是同一张，退一步该掺的噪声，方差恰好是 $\tilde\beta_t$；
# - 若图本来就是标准高斯的噪声，方差恰好是 $\beta_t$。
#
# 真实数据的合适方差，平均而言介于两者之间。`v_posterior`（记作 $v$，与第 3 节的速度只是同一个字母）在两个方差之间线性混合：
#
# $$\sigma_t^2 = (1-v)\,\tilde\beta_t + v\,\beta_t.$$

# %%
betas = model.exact_table("betas").numpy()
low, high = (diffusion_tables(betas, v)["posterior_variance"] for v in (0.0, 1.0))
check("v=1 的方差就是 β", high, betas, atol=1e-15)
check_order("v=0 的方差是 v=1 的几倍，t = 1、10、100、999", *(low / high)[[1, 10, 100, 999]])

# %% [markdown]
# 走一千步时，只有最后十来步两者差得多，那几步的噪声本来就小。步子迈大了，差别才显出来。
# 数据若是高斯分布，样本的方差能精确地算出来（第 4 章），可以直接比较。这里数据的标准差取 0.5：

# %%
ends = {T: [chain_variances(make_beta_schedule("cosine", T), std=0.5, v=v)[0] for v in (0.0, 1.0)] for T in (1000, 10)}
for T, (low_end, high_end) in ends.items():
    print(f"走 {T} 步：v=0 时方差是真值的 {low_end:.2f} 倍，v=1 时 {high_end:.2f} 倍")
check_order("1000 步：两端相差不到 2%", abs(ends[1000][1] - ends[1000][0]), 0.02)

# %% [markdown]
# 换成训练好的模型，走 5、10、20 步。所有的 $v$ 用同一份噪声，图里的变化只来自 $v$。
# 高斯例子里的像素互相独立，真实的图不是，所以合适的 $v$ 也不同；第 4 章会把它量出来。

# %%
samples_panel(posterior_grids(model, num_samples=20, cond=digits.repeat(2)))

# %% [markdown]
# 面板：上面两排是 $v=0$，下面两排是你选的 $v$。拖动滑块，再换一换步数。
# 步数越少、$v$ 越大，背景上的脏点越多：途中多掺的噪声，剩下的几步没有去干净。

# %% [markdown]
# 眼睛看到的，再量一遍：背景本该是黑的（$-1$），走 10 步，两个极端各用八个种子、各画十张，看左上角的像素离黑有多远，± 后面是标准误。

# %%
dirt = {v: torch.stack([(draw("ancestral", 10, seed, v_posterior=v, progress=False)[..., :4, :4] + 1).abs().mean() for seed in range(8)])
        for v in (0.0, 1.0)}
for v, each in dirt.items():
    print(f"v={v:.0f}　左上角平均离黑 {each.mean():.3f} ± {each.std() / 8**0.5:.3f}")
check_order("v=1 的背景是 v=0 的几倍脏：超过 5", 5, dirt[1.0].mean() / dirt[0.0].mean(), digits=2)

# %% [markdown]
# ## 6　课程地图
#
# 课程分三部分。**一　原理**（01–08）：先在平面上的点从零写一个扩散模型，再一章回答一个问题：噪声怎样加，怎样倒着走一步，网络预测什么，损失从哪里来，怎样采样，网络长什么样。
# **二　源码**（09–12）：逐行读 `DDPM` 的构造函数与训练的一步，EMA，学习率。**三　实验**（13–17）：训练 MNIST 与 CIFAR-10，评估，找 bug，带着学到的去读 latent-diffusion 的原文件。
# 下表由程序对着源码数出来：每一章讲哪些方法、多少行、讲到了几成，有哪些参数卡片。
# 符号与术语见 90，训练不对劲时查 91，教师看 92。
#
# {课程地图}

# %% [markdown]
# 每章末尾有五道会自己批改的习题；16 整章都是：二十四个病例，其中十一个另有一道修好题，共三十五道。做完了几题，随时可以回到这里看。

# %%
progress()

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：噪声怎样变成数字？
# - **答案**：训练时把图毁成噪声，让网络学着猜；画图时从噪声出发，猜一次，退一小步，25 步就画成一个数字。
# - 加噪有现成的公式，$x_t$ 一步就能算出来，所以训练时可以随机挑 $t$。
# - 训练是一个回归问题：从 $x_t$ 和 $t$ 猜出 $v$，由它换回 $x_0$ 或 $\varepsilon$。只练一两分钟，所画的数字分类器就认得出九成左右。
# - 祖先采样途中掺噪声，DDIM 不掺。`v_posterior` 决定掺多少：第 5 节的高斯例子里，走一千步时两端的方差只差 1%，走十步时是真值的 0.60 倍与 1.09 倍。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 00.1　变回像素 ★
#
# 样本在 $[-1, 1]$ 上下，存成图要 0 到 255 的整数。把任意形状的浮点张量 `x` 换成 `uint8`：$-1$ 变成 0，$1$ 变成 255，超出的截断，中间四舍五入。

# %%
def to_pixels(x):
    # 答案
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    # 答案完


grade("00.1", to_pixels)

# %% [markdown]
# ### 00.2　每个样本的损失 ★★
#
# 训练是回归。给出 `pred` 与 `target`，形状都是 $(B, \dots)$，返回每个样本的均方误差，形状 $(B,)$。

# %%
def loss_of_each(pred, target):
    # 答案
    return (pred - target).square().flatten(1).mean(1)
    # 答案完


grade("00.2", loss_of_each)

# %% [markdown]
# ### 00.3　一维的 Fréchet 距离 ★★★
#
# 比较两堆图，常用 Fréchet 距离（第 13 章）：取出每张图的特征，把每堆特征都当成高斯分布。特征只有一维时，它是两个均值之差的平方，加上两个标准差之差的平方。`a`、`b` 是两个一维张量，长度可以不同；返回一个数。

# %%
def frechet_1d(a, b):
    # 答案
    return (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    # 答案完


grade("00.3", frechet_1d)

# %% [markdown]
# ### 00.4　损失不动了 ★
#
# 训练到后来，进度条上的损失几乎不再变，样本却还在变好。为什么？
#
# - A：梯度消失了，样本变好是碰巧。
# - B：损失的大部分是 $x_t$ 里没有的信息（同一张 $x_t$ 对得上许多张原图），谁也猜不出；能再降的只有一点点，样本的好坏正在这一点点里。
# - C：数据用完了，再练只是在背。
# - D：EMA 把损失也平滑掉了。

# %%
grade("00.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 00.5　省了几倍 ★★
#
# $T=1000$。采 64 张图，祖先采样走满 1000 步，DDIM 走 50 步，都是一批算完。前者调用网络的次数是后者的几倍？

# %%
grade("00.5", None)  # 把 None 换成一个数
