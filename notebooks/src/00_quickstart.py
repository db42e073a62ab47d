# %% [markdown]
# # 00 · 一分钟训练一个扩散模型
#
# 下图最上一行是十张纯噪声，最下一行是一个神经网络画出的十个数字。网络看着带噪的图，猜原来的图；每猜一次，图就朝猜测退一小步，一共退了 25 步。
#
# **噪声怎样变成数字？** 这一章先看它变，再花一分钟左右自己训练一个，最后用十行代码把这 25 步亲手走一遍。
#
# **学习目标**
#
# - 说得出为什么要先把图毁掉，再学着修好。
# - 写得出训练的一步与采样的一步，看得出它们用的是同一个公式。
# - 用真实的手写数字训练一个 DDPM，看着样本成形。
# - 拖动一个滑块，看见 `v_posterior` 管的是什么。
#
# **预计用时** 25 分钟，其中训练约一分钟（不需要 GPU）。

# %%
import torch

from ddpm_edu import load_pretrained
from ddpm_edu.generate import generate
from ddpm_edu.teach import grid_figure

model = load_pretrained("mnist")  # 随课程发布的模型，用手写数字练过
digits = torch.arange(10)
images, frames = generate(model, 10, cond=digits, guidance_scale=2.0, steps=25, seed=0, num_frames=5)
grid_figure(torch.cat([*frames[:4], images]), nrow=10, rows=["噪声", "走过 6 步", "走过 12 步", "走过 18 步", "走过 25 步"], columns="0123456789")

# %% [markdown]
# 图：噪声一步步变成数字。我们只告诉网络每一列要画几。
#
# 这样的模型叫**扩散模型**。本课程讲的是其中的 DDPM (denoising diffusion probabilistic models)，出自 Ho 等 2020 年的论文；以后说“论文”，指的就是这一篇。
#
# <details><summary>第一次用 notebook，先看这几句</summary>
#
# - 从上到下逐个运行单元（Shift + Enter）。
# - 面板是可以拖的图，运行了它那一格，控件才会出现。
# - 训练的剩余时间显示十分钟以上，就先关掉占着处理器的程序，或者在训练的前一格加一行 `torch.set_num_threads(1)`。
# - `check` 当场核对一句说法：算出的值与应得的值相差不超过容差 `atol` 就印 ✓，否则报错。
#
# </details>

# %%
import logging
import warnings

import pytorch_lightning as pl

from ddpm_edu import DDPM
from ddpm_edu.configs import load as load_config
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import recognised
from ddpm_edu.teach import check, curve_figure, progress
from ddpm_edu.teach.datasets import handwriting, mnist_or_stand_in
from ddpm_edu.teach.diagrams import chain_figure
from ddpm_edu.teach.panels import samples_panel
from ddpm_edu.teach.panels.posterior import posterior_grids
from ddpm_edu.teach.step_progress import StepProgress, Watch

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning")
print("准备好了")

# %% [markdown]
# ## 0　它在解决什么问题
#
# 手里有许多图，想要**新的**图：像它们，却不是它们中的任何一张。这就叫**生成**。用概率的话说，这些图是从某个未知的分布里抽出来的，我们想从同一个分布里再抽一些。
#
# 难在“像”没有唯一的答案。“画一个 3”，怎么画都对。
# 如果让网络一步把噪声变成 3，哪一份噪声该变成哪一张 3，就只能随便配；要让平方误差最小，网络只好画出所有 3 的平均，糊成一团（第 1 章会亲手试一遍）。
#
# 扩散模型绕了一个弯：**先把图一点点毁成噪声，再学着一点点修回来**。
# 毁掉就是加噪声，带噪的图与它的原图天生成对，不必随便配。
# 修的时候也不求一步到位：噪声还多时，网络猜的仍是一团糊，就只朝它退一小步，再看着干净了一点的图重新猜。图越干净，对得上的原图越少，猜得就越清楚。

# %%
three = handwriting("../data")[0][23:24]
marks = {0: "$x_0$：图", 250: "$t=250$", 500: "$t=500$", 750: "$t=750$", 999: "$t=999$：噪声"}
noise = torch.randn(three.shape, generator=torch.Generator().manual_seed(0))
chain_figure(torch.cat([three, *(model.q_sample(three, torch.tensor([t]), noise) for t in list(marks)[1:])]), marks.values())

# %% [markdown]
# 图：往右是加噪，一千步之后什么也看不出；往左是去噪，网络一步步修回来。训练时往右走，学怎样往左；画图时只往左走。
#
# <details><summary>造图的四种办法，与扩散模型的来历（年份照预印本）</summary>
#
# | 方法 | 怎样造一张图 | 好处 | 麻烦 |
# |:--|:--|:--|:--|
# | VAE（2013） | 把图压成一小串数，再还原；造图时抽那串数 | 快，有似然的下界 | 还原是一步到位的平均，容易糊 |
# | GAN（2014） | 一个网络一步画成，另一个网络挑毛病 | 快，清楚 | 训练不稳，容易只画得出其中几类 |
# | 标准化流（NICE，2014） | 一串可逆的变换，把噪声变成图 | 似然算得准 | 每一层都要可逆，网络受限制 |
# | 扩散（2015、2020） | 一步步去噪 | 训练是普通的回归，稳；清楚，各类都画得到 | 采样要走许多步 |
#
# 扩散模型的来历：
#
# - 2015　Sohl-Dickstein 等：把数据慢慢变成噪声，再学着倒过来。
# - 2019　Yang Song 与 Ermon：学“往哪边走，概率密度升得最快”，再沿着它走。
# - 2020　Ho 等的 **DDPM** 把目标简化成猜噪声，胜过当时多数的 GAN；Jiaming Song 等的 DDIM 把一千步减到几十步。
# - 2021　Dhariwal 与 Nichol 让扩散在 ImageNet 上胜过 GAN；Rombach 等的 latent-diffusion 先把图压小再扩散，次年成了 Stable Diffusion。
# - 2022　Ho 与 Salimans 的无分类器引导；Peebles 与 Xie 用 Transformer 代替 U-Net (DiT)；流匹配提出。
# - 2024 至今　Stable Diffusion 3 等改用流匹配与 Transformer。
#
# </details>

# %% [markdown]
# ## 1　数据：真实的手写数字
#
# MNIST 是 28×28 的灰度图，每张都标着是几。
# 磁盘上没有它，就花至多二十秒下载（约 12 MB）；下不完，就先用一份 8×8 的数字放大来代替。
#
# 像素值换算到 $[-1, 1]$：$-1$ 是黑，$1$ 是白，因为噪声也以 0 为中心。

# %%
DOWNLOAD = 20  # 单位：秒；不想下载就改成 0
data, which = mnist_or_stand_in("../data", download=DOWNLOAD, batch_size=16)  # which 是一句话：用的是哪一份
data.setup()
batch = next(iter(data.val_dataloader()))
x_start, label = batch["image"], batch["label"]
print("图像", tuple(x_start.shape), "范围", float(x_start.min()), "到", float(x_start.max()))
figure = grid_figure(x_start[:16], nrow=8, columns=[" "] * 8)  # 空的列名，给标题留位置
figure.axes[0].set(title=which, xticks=[])
figure

# %% [markdown]
# 图：要学的就是这样的图。这是验证集里的十六张。

# %% [markdown]
# ## 2　加噪：一步就能到任意一步
#
# 网络要看着带噪的图学，所以先要会造带噪的图。加噪过程 (forward process) 走 $T=1000$ 步，每一步把图缩小一点，再掺一点方差为 $\beta_t$ 的高斯噪声：
#
# $$x_t = \sqrt{1-\beta_t}\,x_{t-1} + \sqrt{\beta_t}\,\varepsilon_t,\qquad \varepsilon_t\sim\mathcal N(0, I).$$
#
# 边缩边掺，图最后几乎缩没了，只剩方差为 1 的噪声，采样就从它出发。
#
# 一步步走到第 $t$ 步太慢。好在缩小的倍数可以连乘，各步的噪声也可以合成一份（第 3 章推导），所以第 $t$ 步的图一次就能算出来：
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\qquad \bar\alpha_t = \prod_{s\le t}(1-\beta_s).$$
#
# 代码里的步号从 0 数起，干净的图相当于“$t=-1$”。所以图里标着 $t=0$ 的已加过一步噪（系数 0.006，肉眼看不出）；公式里的 $x_0$ 只指干净的图。

# %%
signal, spread = model.sqrt_alphas_cumprod, model.sqrt_one_minus_alphas_cumprod
figure = curve_figure(range(1000), {r"图的系数 $\sqrt{\bar\alpha_t}$": signal, r"噪声的系数 $\sqrt{1-\bar\alpha_t}$": spread}, "步号 $t$", "系数")
figure.axes[0].set(xticks=(0, 250, 495, 750, 999), yticks=(0, 0.25, 0.5, 0.71, 1))
figure

# %% [markdown]
# 图：图的系数从 1 降到 0，噪声的系数从 0 升到 1，所以图渐渐看不出。回头看第 0 节的那个 3：$t=500$ 时两个系数相近，还认得出；$t=750$ 时只剩隐约的几笔。

# %% [markdown]
# ## 3　训练：看着带噪的图猜
#
# 训练的题目要多少有多少：拿一张图，随机挑一个 $t$、一份噪声 $\varepsilon$，用上面的公式造出 $x_t$；让网络看着 $x_t$、$t$ 和“这是几”，猜原图 $x_0$（也可以猜噪声，第 5 章再比）。
# 损失是猜测与原图之差的平方的平均。它降不到 0，因为同一张 $x_t$ 对得上许多张原图，再好的网络也猜不准。
#
# 先造一个还没有训练的网络，设定写在 `mnist-first` 这份配置里：

# %%
config = load_config("mnist-first")
MAX_STEPS = config["trainer"]["max_steps"]  # 约一分钟；想先快速看一遍，改成 100
torch.manual_seed(0)
student = DDPM(**config["model"])
print(f"网络有 {sum(p.numel() for p in student.model.parameters()):,} 个参数，走 {MAX_STEPS} 步，每步 {config['data']['init_args']['batch_size']} 张图")

# %% [markdown]
# 训练的一步只有四行：

# %%
generator = torch.Generator().manual_seed(0)
t = torch.randint(1000, (len(x_start),), generator=generator)  # 每张图抽一个步号
noise = torch.randn(x_start.shape, generator=generator)  # 与一份噪声
x_t = student.q_sample(x_start, t, noise)  # 照第 2 节的公式造出带噪的图
loss = (student.apply_model(x_t, t, label) - x_start).square().mean()  # 网络的猜测与原图比

check("与 DDPM 自己算的损失相同", torch.isclose(loss, student.p_losses(x_start, t, noise, cond=label)[0]), True)

# %% [markdown]
# 下面的 `trainer.fit` 反复做这一步，再照损失更新参数；另有一成的图不告诉是几，第 4 节要用。途中停下来看三次：每次从同一份起始噪声出发，画 0 到 9 各一个。
# 画图时不用刚更新的参数，用的是近来各步参数的平均，叫指数滑动平均 (exponential moving average，EMA)；好处第 11 章再量。
#
# 想停就按工具栏的停止按钮，红底的一行是正常的，从下一格接着运行。

# %%
# NBVAL_IGNORE_OUTPUT
watch = Watch((40, 100, 200), lambda network: generate(network, 10, cond=digits, guidance_scale=2.0, steps=25, progress=False)[0])
trainer = pl.Trainer(
    max_steps=MAX_STEPS, max_epochs=-1, accelerator="auto", gradient_clip_val=1.0, limit_val_batches=0,
    callbacks=[watch, StepProgress()],
    logger=False, enable_checkpointing=False, enable_model_summary=False,
)
trainer.fit(student, data)

# %%
student.eval().cpu()
ours, _ = generate(student, 40, cond=digits.repeat(4), steps=25, guidance_scale=2.0, seed=0)
reached = [f"{step} 步" for step in watch.steps[:len(watch.frames)]]
grid_figure(torch.cat([*watch.frames, ours[:10]]), nrow=10, rows=[*reached, "练完"], columns="0123456789")

# %% [markdown]
# 图：0、1、7 渐渐练成；4、5、6 还没有，一分钟只够到这里。
#
# 十张说明不了多少，所以请一个会认 MNIST 的分类器数一数：每个数字画四张，有几成认得出。瞎猜能对一成。

# %%
# NBVAL_IGNORE_OUTPUT
classifier = load_classifier("mnist")
share = recognised(classifier, ours, digits.repeat(4))["recognised"]
print(f"一分钟的训练，画 {len(ours)} 张：认得出 {share:.0%} ± {(share * (1 - share) / len(ours)) ** 0.5:.0%}")

# %% [markdown]
# 换八个种子从头训练，各画二百张，平均认得出 73.2 ± 1.3%，± 后面是标准误 (standard error)。

# %% [markdown]
# ## 4　采样：从噪声走回来
#
# 从纯噪声出发，$t=999$。网络看着 $x_t$ 猜原图 $\hat x_0$。噪声不必另猜：$x_t$ 已知，第 2 节的公式反过来，就算得出噪声的猜测
#
# $$\hat\varepsilon = \frac{x_t-\sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1-\bar\alpha_t}}.$$
#
# 所谓退一小步，就是**把猜到的两样用第 2 节的公式重新混合一遍，只是换成噪声少一些的 $s$ 的系数**，$s<t$：
#
# $$x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1-\bar\alpha_s}\,\hat\varepsilon.$$
#
# 图的系数大了一点，噪声的系数小了一点，这就朝 $\hat x_0$ 退了一步；再看着 $x_s$ 重新猜。最后一步退到干净的图，两个系数是 1 和 0，结果就是 $\hat x_0$。
#
# 这个走法叫 **DDIM** (denoising diffusion implicit models)。$s$ 不必紧挨着 $t$，所以一千步可以只走 25 步。它画出的就是开头那张图：

# %%
@torch.no_grad()
def walk(x, steps):
    times, trace = torch.linspace(999, 0, steps).round().long(), []
    for t, s in zip(times, [*times[1:], None]):
        guess = model.predict_start(x, t.repeat(10), cond=digits, guidance_scale=2.0)  # 原图的猜测，截到 [-1, 1]
        trace.append((f"$t={t}$", x, guess))
        noise = (x - signal[t] * guess) / spread[t]  # 噪声的猜测
        x = guess if s is None else signal[s] * guess + spread[s] * noise  # 用 s 的系数重新混合
    return x, trace


start = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
check("与开头那张图的末行相同", walk(start, 25)[0], images, atol=1e-3)

# %% [markdown]
# 第 3 节的 `apply_model` 给出网络的输出，那个网络猜的就是原图。开头这个模型猜的其实是原图与噪声的一种组合（第 5 章再讲），`predict_start` 把它换成 $\hat x_0$。
#
# `guidance_scale` 叫引导强度，大于 1 时画得更合要求。为此每一步要猜两遍：告诉网络画几，猜一遍；不告诉，再猜一遍；把两遍之差放大，第 7 章细讲。
#
# 能不能只走一步？那样的结果，就是对着纯噪声的第一次猜测。走 10 步，把要画 3 的那一列途中的 $x_t$ 与 $\hat x_0$ 都画出来：

# %%
names, noisy, guesses = zip(*walk(start, 10)[1])
grid_figure(torch.stack([*noisy, *guesses])[:, 3], nrow=10, rows=["$x_t$", r"$\hat{x}_0$"], columns=names)

# %% [markdown]
# 图：$x_t$（上排）越干净，猜测 $\hat x_0$（下排）越清楚。
#
# 第一次的猜测接近第 0 节说的平均：是糊的，换一份噪声也几乎还是这个 3。认得出，却不新，章末的小实验会量。只朝它退一小步，下一次再猜，就清楚一些。

# %% [markdown]
# ## 5　一个滑块：`v_posterior`
#
# DDIM 从同一份噪声总画出同一张图。论文原来的走法不同：每退一步，都再掺一点新噪声。这叫**祖先采样** (ancestral sampling)。混合时少放一些 $\hat\varepsilon$，用一份新抽的噪声来补。
#
# 掺多少新噪声？原图越容易猜准，退一步之后的图就越定得下来，该掺的也越少。理论给出两个极端（第 4 章推导）：
#
# - 若图本来就是标准高斯的噪声，该掺的方差是 $1-\bar\alpha_t/\bar\alpha_s$，即从 $s$ 到 $t$ 一共掺进的那么多；$s=t-1$ 时它就是第 2 节的 $\beta_t$，这里也记作 $\beta_t$；
# - 若所有的图都是同一张，该掺的方差是 $\tilde\beta_t=\beta_t\,\frac{1-\bar\alpha_s}{1-\bar\alpha_t}$，比 $\beta_t$ 小，退到底时是 0。
#
# 真实的图介于两者之间。`v_posterior`（也记作 $v$）从 0 拉到 1，方差就从 $\tilde\beta_t$ 变到 $\beta_t$。
#
# 假如猜得全对，$v=0$ 补得正好：噪声的总量等于 $1-\bar\alpha_s$。$v>0$ 就多掺了，步子越大多得越多。只走 5 步、$v=1$ 时，走到 $t=0$，噪声的方差该剩 0.00004，却剩 0.15：

# %%
samples_panel(posterior_grids(model, steps=(5, 10), num_samples=10, cond=digits))

# %% [markdown]
# 面板：步数越少、$v$ 越大，背景上的脏点越多，笔画也断（5 步的 1 变得像 7）。两排用的是同一份噪声，不加引导。
#
# 脏点是最后一次多掺的噪声，后面没有步子去掉它。$v=0$ 也有代价，第 4 章在高斯数据上算给你看。

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：噪声怎样变成数字？
# - **答案**：网络看着带噪的图，猜出原图与噪声；把猜到的两样换一组噪声少一些的系数重新混合，就退了一步。
# - **为什么绕弯**：一步变成图，只能得到一团糊；每次只退一小步，猜测就越来越清楚。
# - 同一个公式 $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\varepsilon$ 用了两次：训练时混合真的图与噪声，采样时混合猜的图与噪声。
# - 训练是一个回归问题：从 $x_t$ 和 $t$ 猜出原图。练一分钟左右，画出的数字有七成认得出。
# - 祖先采样途中掺新噪声，DDIM 不掺。`v_posterior` 决定掺多少：取 0，背景干净（代价见第 4 章）；取 1，步数少时背景就脏。

# %% [markdown]
# ## 6　课程地图
#
# 下一章从零写一个，之后一章回答一个问题。许多章还逐行读 `DDPM` 的源码；一张参数卡片说明它的一个构造参数管什么、设错了会怎样。
#
# {课程地图}
#
# 本课程说“参考实现”，指 latent-diffusion 的 `DDPM` 类，对照的是它在 Stable Diffusion 2 的仓库里的后继版本。

# %% [markdown]
# ## 练习
#
# 每章末尾有五道习题，第 16 章整章都是习题。每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
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
# ### 00.3　从噪声走到图 ★★★
#
# 合上第 4 节，自己写一遍采样的循环。`bars` 是一串 $\bar\alpha$，Python 的浮点数，从小到大，都小于 1；`x` 是第一个 $\bar\alpha$ 处的带噪图。
# `guess(x, bar)` 代替网络，给出 $\bar\alpha$ 等于 `bar` 时的 $\hat x_0$。在每个 $\bar\alpha$ 处猜一次，换成下一个的系数重新混合；最后一个之后退到干净的图，返回它。

# %%
def denoise(x, guess, bars):
    # 答案
    for bar, after in zip(bars, [*bars[1:], 1.0]):
        x_recon = guess(x, bar)
        noise = (x - bar**0.5 * x_recon) / (1 - bar) ** 0.5
        x = after**0.5 * x_recon + (1 - after) ** 0.5 * noise
    return x
    # 答案完


grade("00.3", denoise)

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
# $T=1000$，采 64 张图，一批算完。甲用祖先采样走满 1000 步，不加引导；乙用 DDIM 走 50 步，引导强度 2。网络把一张图算一遍，记作一次：每张图，甲要算的次数是乙的几倍？

# %%
grade("00.5", None)  # 把 None 换成一个数

# %% [markdown]
# 每章有几道，做完了几道，随时可以回到这里看：

# %%
progress()

# %% [markdown]
# ### 小实验　走几步才够
#
# 改一处，量一量，写三句话。开头的模型走 25 步画成一个数字，少走几步行不行？在新的一格运行下面的程序，把 `steps` 依次改成 1、2、3、5、10、25，每次画一百张，至多十几秒。
# 量三样：认得出的比例；灰像素（值在 $\pm0.9$ 之间）占几成，糊的图灰像素多；散布，也就是同一个数字的十张之间，每个像素的标准差，再取平均。
# 动手之前先猜：只走一步，认得出几成？要清楚，走几步够？要多样呢？
#
# ```python
# def measure(pictures):
#     pictures = pictures.clamp(-1, 1)
#     share = recognised(classifier, pictures, digits.repeat(len(pictures) // 10))["recognised"]
#     return share, float((pictures.abs() < 0.9).double().mean()), float(pictures.view(-1, 10, 784).std(0).mean())
#
#
# steps = 25  # 改这一处
# pictures, _ = generate(model, 100, cond=digits.repeat(10), guidance_scale=2.0, steps=steps, seed=0)
# print(measure(pictures))
# grid_figure(pictures[:20], nrow=10, columns="0123456789")
# ```
#
# <!-- 参考答案 -->
# **参考答案**　八个种子，每个种子一百张，± 后面是标准误；末行是验证集里的真图，每个数字取八十张，分成八组：
#
# | 步数 | 认得出 | 灰像素 | 散布 |
# |--:|--:|--:|--:|
# | 1 | 100% | 40.38% ± 0.03% | 0.0640 ± 0.0002 |
# | 2 | 100% | 37.81% ± 0.04% | 0.0559 ± 0.0002 |
# | 3 | 100% | 20.46% ± 0.08% | 0.1309 ± 0.0008 |
# | 5 | 100% | 15.80% ± 0.07% | 0.1896 ± 0.0010 |
# | 10 | 99.9% ± 0.1% | 13.69% ± 0.08% | 0.2255 ± 0.0017 |
# | 25 | 99.9% ± 0.1% | 13.18% ± 0.08% | 0.2404 ± 0.0019 |
# | 真图 | 99.6% ± 0.3% | 10.23% ± 0.10% | 0.2610 ± 0.0038 |
#
# 1. 一步就有 100% 认得出，走多少步都一样，所以这个比例答不了“几步才够”。一步的图又糊又雷同，灰像素是真图的四倍，散布只有四分之一：接近各个数字的平均，而平均的 3 也认得出是 3。
# 2. 另外两样答得了，答案也不同：要清楚，10 步就差不多，比 25 步只多半个百分点的灰像素；要多样，10 步还差一点（0.225 对 0.240），25 步也没有到真图的 0.261。
# 3. 走两步与一步几乎相同，散布还更小：第二次猜测站在 $t=0$ 处，看到的就是第一次的猜测，加上一点看不见的噪声，没有新的东西可猜。走三步，途中停在 $t=500$，才开始各画各的。
#
# ```python
# for steps in (1, 2, 3, 5, 10, 25):
#     rows = []
#     for seed in range(8):
#         pictures, _ = generate(model, 100, cond=digits.repeat(10), guidance_scale=2.0, steps=steps, seed=seed, progress=False)
#         rows.append(measure(pictures))
#     print(steps, torch.tensor(rows).mean(0), torch.tensor(rows).std(0) / 8**0.5)
# real, label = (torch.cat([batch[name] for batch in data.val_dataloader()]) for name in ("image", "label"))
# real = torch.stack([real[label == digit][:80] for digit in digits], 1)  # 每个数字八十张，分成八组
# rows = torch.tensor([measure(group.flatten(0, 1)) for group in real.chunk(8)])
# print("真图", rows.mean(0), rows.std(0) / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
