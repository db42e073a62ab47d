# %% [markdown]
# # 91 · 排障手册
#
# **学习目标**
#
# - 从症状查到原因与办法，多数能在笔记本电脑上重现，再治好。
#
# **预计用时** 随用随查，每条三五分钟。运行全部单元约 30 秒，不需要 GPU，不联网。
#
# 先在表里找症状。引用的问题来自公开的讨论，是转述。想练习自己找原因，见 [16 章](16_bug_hunt.ipynb)。
#
# | 哪里 | 症状 | 多半是 |
# |:--|:--|:--|
# | 损失 | [损失很快变平](#损失很快变平) | 正常；换一种看法 |
# | 损失 | [损失停在 1 附近](#损失停在-1-附近) | 网络什么也没学到 |
# | 损失 | [损失成了 NaN](#损失成了-NaN) | 学习率太大，或半精度溢出 |
# | 损失 | [损失是负数](#损失是负数) | 打开了 `learn_logvar`，正常 |
# | 样本 | [图一片黑](#图一片黑) | 存图时忘了从 [-1, 1] 换回来 |
# | 样本 | [图灰蒙蒙的](#图灰蒙蒙的) | 数据是 [0, 1]，却按 [-1, 1] 显示 |
# | 样本 | [全是噪声](#全是噪声) | 权重没有装进去，或没有练好 |
# | 样本 | [EMA 比原权重差](#EMA-比原权重差) | 训练短，衰减大 |
# | 样本 | [采样的步数少了就花](#采样的步数少了就花) | 每一步迈得太大 |
# | 样本 | [T 改小之后样本偏了](#T-改小之后样本偏了) | 噪声没有掺够 |
# | 数据 | [像素的范围不对](#像素的范围不对) | 0..255，或整数 |
# | 数据 | [通道放错了位置](#通道放错了位置) | HWC 与 CHW |
# | 数据 | [数据下载不下来](#数据下载不下来) | 原站不通，换镜像或放文件 |
# | 检查点 | [缺少键或多出键](#缺少键或多出键) | 前缀不同，或不是同一个网络 |
# | 检查点 | [步数或参数化对不上](#步数或参数化对不上) | 构造的参数不同 |
# | 检查点 | [检查点打不开](#检查点打不开) | 里面有对象，或下到了网页 |
# | 检查点 | [续训与从没停过不一样](#续训与从没停过不一样) | 随机数从头来过 |
# | 检查点 | [续训时换学习率不起作用](#续训时换学习率不起作用) | 检查点里记着学习率，以它为准 |
# | 检查点 | [微调随包的模型](#微调随包的模型) | 微调只取权重，别的从头来 |
# | 数据 | [用自己的图训练](#用自己的图训练) | 大小不一、格式杂的图，按定好的规矩读成一样 |
# | 评估 | [为什么我的 FID 对不上](#为什么我的-FID-对不上) | 张数、真图、缩放、权重文件里有一样不同 |
# | 环境 | [第一格就报 No module named](#第一格就报-No-module-named) | 内核选错了，或者包没有装全 |
# | 环境 | [torchvision 与 torch 不配](#torchvision-与-torch-不配) | 版本不是一对 |
# | 环境 | [GPU 用不上](#GPU-用不上) | 装的是 CPU 版，或驱动太旧 |
# | 环境 | [显存不够](#显存不够) | 批量太大 |
# | 环境 | [几个进程一起跑就慢](#几个进程一起跑就慢) | 线程太多，抢核 |
# | 环境 | [torchrun 之后各练各的](#torchrun-之后各练各的) | 没有写 strategy |

# %%
import contextlib
import functools
import hashlib
import http.server
import logging
import io
import math
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

# %%
from ddpm_edu import DDPM, DigitsDataModule, ImageFolderDataModule, LitEma, load_pretrained
from ddpm_edu.files.checkpoint import load_checkpoint, save_checkpoint
from ddpm_edu.cli.main import check_launcher
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.data.download import fetch
from ddpm_edu.data.photos import load_photos
from ddpm_edu.data.transfer import RemoteFile
from ddpm_edu.generate import generate
from ddpm_edu.evaluation.inception import load_inception, resize_like_tensorflow
from ddpm_edu.evaluation.metrics import DigitsFrechet, frechet_curve
from ddpm_edu.images import to_uint8
from ddpm_edu.progress import progress_bar
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.schedules import rescale_linear_range
from ddpm_edu.teach import check, check_order, check_raises, curve_figure, grid_figure
from ddpm_edu.teach.training import quiet_trainer

# %%
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)  # 下面写的文件都在这里
logging.getLogger("ddpm_edu").setLevel(logging.ERROR)
pretrained = load_pretrained("digits")
images = load_digits_split()["val"][0][:64]
torch.manual_seed(0)
untrained = DDPM(**toy_model_config())
print("准备好了")

# %% [markdown]
# ## 损失很快变平
#
# **问**：损失在一个范围里来回跳，练多久都不怎么降，可是图越来越好，为什么？
# （zoubohao/DenoisingDiffusionProbabilityModel-ddpm- [#48](https://github.com/zoubohao/DenoisingDiffusionProbabilityModel-ddpm-/issues/48)；PRBonn/LiDiff [#27](https://github.com/PRBonn/LiDiff/issues/27) 里作者答：这是正常的）
#
# **原因**：每一批的 $t$ 与噪声是抽的，抽签的起伏比进步大得多。
#
# **办法**：用同一份 $t$ 与噪声比较两份权重，或者看样本。下面把权重弄坏一点点，看两种比法谁看得出来。

# %%
worse = load_pretrained("digits")
generator = torch.Generator().manual_seed(0)
with torch.no_grad():
    for parameter in worse.model.parameters():
        parameter += 0.04 * parameter.std(correction=0) * torch.randn(parameter.shape, generator=generator)


def loss_of(model, seed):
    draw = torch.Generator().manual_seed(seed)
    t = torch.randint(0, 1000, (64,), generator=draw)
    with torch.no_grad():
        return float(model.p_losses(images, t, torch.randn(images.shape, generator=draw))[0])


good, bad = [loss_of(pretrained, seed) for seed in range(20)], [loss_of(worse, seed) for seed in range(20)]
apart = [loss_of(worse, seed) for seed in range(100, 120)]  # 另抽一份
print(f"好权重的损失在 {min(good):.2f} 与 {max(good):.2f} 之间跳")
print(f"各抽各的：坏权重反而低的有 {sum(b < g for g, b in zip(good, apart))} / 20 次")
check("同一份抽签：二十次都看得出坏权重差", all(b > g for g, b in zip(good, bad)), True)

# %% [markdown]
# ## 损失停在 1 附近
#
# 常被问到：目标是 $\varepsilon$，损失从头到尾都是 1 左右。
#
# **原因**：标准高斯的平方，平均就是 1；网络输出 0，损失正好是它。所以 1 的意思是“什么也没学到”：
# 学习率太小、忘了更新、梯度断了，或者条件与图配错了。
#
# **办法**：先让它背熟一批八张图。背不下来，就不是练得不够，是哪里断了。

# %%
x, t = images[:8], torch.arange(8) * 120
noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
print(f"网络输出 0 时的损失：{float((noise**2).mean()):.2f}")
torch.manual_seed(0)
model = DDPM(**toy_model_config())
for rate, steps in ((0.0, 3), (5e-3, 100)):  # 0 代替“忘了更新”
    optimizer = torch.optim.Adam(model.model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model.p_losses(x, t, noise)[0]
        loss.backward()
        optimizer.step()
    print(f"学习率 {rate}：背 {steps} 步之后的损失 {loss.item():.1f}")
check("同一批背得下来", loss.item() < 0.3, True)

# %% [markdown]
# ## 损失成了 NaN
#
# **问**：练到九千步之后，采出的图全黑了；有人答：看看损失是不是 NaN，把 `amp=True` 关掉就好。
# （lucidrains/denoising-diffusion-pytorch [#101](https://github.com/lucidrains/denoising-diffusion-pytorch/issues/101)）
#
# **原因**：学习率太大，或者 fp16 溢出。一次 NaN 的更新之后，权重全是 NaN，再也回不来。
#
# **办法**：从上一个检查点续训，调小学习率（还要设 `model.retune = True`，否则仍用检查点里的）；要省显存用 bf16，不用 fp16。课程的 `DDPM` 在坏的更新之前就停下，权重不会坏。

# %%
torch.manual_seed(0)
wild = DDPM(**toy_model_config(), learning_rate=1e18)
try:
    quiet_trainer(max_steps=20).fit(wild, DigitsDataModule(batch_size=16))
except FloatingPointError as error:
    print("停下了，错误里说到 learning_rate：", "learning_rate" in str(error))
check("权重里没有 NaN", all(p.isfinite().all() for p in wild.parameters()), True)
torch.manual_seed(0)
calm = DDPM(**toy_model_config(), learning_rate=1e-3)
quiet_trainer(max_steps=20).fit(calm, DigitsDataModule(batch_size=16))
check("学习率正常，走完 20 步", int(calm.model_ema.num_updates), 20)

# %% [markdown]
# ## 损失是负数
#
# 常被问到：损失怎么会是负的？
#
# **原因**：`learn_logvar=True` 时，损失是 $\mathrm{mse}_t\,e^{-s_t} + s_t$，均方误差小，$s_t$ 就是负的（第 6 章）。
#
# **办法**：不是错误。看进步要看 `loss_simple`，它是没有缩放过的误差。

# %%
torch.manual_seed(0)
learner = DDPM(**toy_model_config(learn_logvar=True))
small = 0.1 * noise  # 网络输出 0，目标也小，误差就小
with torch.no_grad():
    learner.logvar.fill_(math.log(0.01))
    loss, logs = learner.p_losses(x, t, small)
print(f"损失 {float(loss):.1f}，loss_simple {float(logs['train/loss_simple']):.3f}")
check_order("损失是负的", float(loss), 0, digits=2)

# %% [markdown]
# ## 图一片黑
#
# **问**：用官方的模型采样，存出来的图太暗，怎么回事？后来自己答：存之前要先加 1 再除以 2。
# （openai/guided-diffusion [#61](https://github.com/openai/guided-diffusion/issues/61)）
#
# **原因**：模型的图在 [-1, 1]，存图的函数要 [0, 1]，负的全截成了 0，也就是黑。
#
# **办法**：先换算 $(x+1)/2$，再截断。课程的 `grid_figure`、`save_grid` 收 [-1, 1]，自己会换算。

# %%
samples = pretrained.sample(8, sampler="ddim", steps=20, generator=torch.Generator().manual_seed(0))
wrong, right = samples.clamp(0, 1), (samples.clamp(-1, 1) + 1) / 2
print(f"直接截断：全黑的像素占 {float((wrong == 0).double().mean()):.0%}；先换算：平均亮度从 {wrong.mean():.2f} 到 {right.mean():.2f}")
check("换算过的，正好是 grid_figure 显示的", 2 * right - 1, samples.clamp(-1, 1), atol=1e-6)
grid_figure(torch.cat([2 * wrong - 1, 2 * right - 1]), nrow=8, rows=["直接截断", "先换算"])

# %% [markdown]
# 图：上排直接截断，比中灰暗的一半全成了黑，笔画变细变硬；下排先换算。

# %% [markdown]
# ## 图灰蒙蒙的
#
# **问**：DDPM 的论文把图线性缩放到 [-1, 1]，这里是不是忘了？
# （zengbohan0217/FADM [#2](https://github.com/zengbohan0217/FADM/issues/2)）
#
# **原因**：`ToTensor` 给的是 [0, 1]。照这样训练，模型画的也是 [0, 1]；按 [-1, 1] 显示，最黑的成了半灰。
#
# **办法**：训练之前 $2x-1$。怎样发现：看训练数据的最小值，是 0 就不对。

# %%
unit = (images[:8] + 1) / 2  # 忘了缩放的数据
check("忘了缩放：最小值", unit.min(), 0.0)
check("按 [-1, 1] 显示，最黑的亮度成了一半", (unit.min() + 1) / 2, 0.5)
check("缩放之后：最小值", (2 * unit - 1).min(), -1.0)
grid_figure(torch.cat([unit, 2 * unit - 1]), nrow=8, rows=["忘了", "缩放过"])

# %% [markdown]
# 图：上排忘了缩放，黑的成了灰的；下排缩放过。

# %% [markdown]
# ## 全是噪声
#
# **问**：练了多少轮，生成的图上都有噪声，是不是第 0 步还有噪声？
# （explainingai-code/DDPM-Pytorch [#3](https://github.com/explainingai-code/DDPM-Pytorch/issues/3)）
#
# **原因**：三种。权重没有装进去；没有练够；采样器写错了。先分清是网络还是采样器。
#
# **办法**：不采样，只让网络猜一步。给真图加噪到 $t=500$，看它猜的 $\hat x_0$。猜得准，问题在采样器；猜不准，问题在网络。

# %%
step, errors = torch.full((64,), 500), {}
noise64 = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
empty = DDPM(**toy_model_config(beta_schedule="cosine", parameterization="v"))
for name, model in {"没有装进权重": empty, "训练好的": pretrained}.items():
    with torch.no_grad():
        guess = model.predict_start(model.q_sample(images, step, noise64), step)
    errors[name] = float(((guess - images) ** 2).mean())
    print(f"{name}：猜的原图，均方误差 {errors[name]:.2f}")
check("训练好的比没有装进去的，误差不到它的三分之一", errors["训练好的"] * 3 < errors["没有装进权重"], True)

# %% [markdown]
# ## EMA 比原权重差
#
# **问**：看了一百万张图，模型的样本已经不错，EMA 的样本却还是噪声，合理吗？作者答：合理，才八千步，EMA 里还留着初值。
# （konpatp/diffae [#16](https://github.com/konpatp/diffae/issues/16)）
#
# **原因**：固定的衰减 0.9999，半衰期近七千步（第 11 章）。
#
# **办法**：用热身，或者把衰减调小。热身公式下，衰减从 0.18 慢慢升上去，初值很快就忘了。

# %%
left = {}
for name, settings in {"固定 0.9999": (0.9999, False), "固定 0.99": (0.99, False), "0.9999 加热身": (0.9999, True)}.items():
    weight = nn.Linear(1, 1, bias=False)
    nn.init.ones_(weight.weight)  # 初值是 1
    ema = LitEma(weight, *settings)
    nn.init.zeros_(weight.weight)  # 训练好的是 0
    for _ in range(1000):
        ema(weight)
    left[name] = next(iter(ema.shadow.values())).item()
    print(f"{name}：1000 步之后，影子里还有 {left[name]:.1%} 的初值")
check("固定的衰减：0.9999 的 1000 次方", left["固定 0.9999"], 0.9999**1000, atol=1e-3)

# %% [markdown]
# ## 采样的步数少了就花
#
# **问**：作者用 1000 步的祖先采样，我用 100 步的 DDIM，图上全是噪点，为什么？
# （ShanghaiTech-IMPACT/3D-MedDiffusion [#5](https://github.com/ShanghaiTech-IMPACT/3D-MedDiffusion/issues/5)）
#
# **原因**：步数少，每一步迈得大，网络在中途的猜测又不准。要多少步，随数据与参数化而变。
#
# **办法**：不要猜，量一量：从少到多，看 Fréchet 距离降到哪里不再降。

# %%
distance = DigitsFrechet()
counts, scores = (2, 5, 10, 20, 50), []
for steps in progress_bar(counts, title="步数"):
    scores.append(float(distance(generate(pretrained, 128, batch_size=128, steps=steps)[0])))
check("两步远不如五十步", scores[0] > 2 * scores[-1], True)
check("二十步已经接近五十步", scores[3] < 1.5 * scores[-1], True)
curve_figure(counts, {"DDIM": scores}, "步数", "Fréchet 距离", "linear", "log")

# %% [markdown]
# 图：随课程发布的数字模型，DDIM 的步数与 Fréchet 距离（128 个样本）。纵轴是对数。前几步收益最大，二十步之后只剩小的改进。

# %% [markdown]
# ## T 改小之后样本偏了
#
# **问**：只用 50 步训练，加噪到头远远不是高斯噪声，这样也行吗？
# （neu-vi/MARDM [#3](https://github.com/neu-vi/MARDM/issues/3)）
#
# **原因**：`linear` 的两端按 1000 步定的，$T$ 小了，噪声没有掺够，采样却从纯噪声出发（16 章的病例 1）。
#
# **办法**：两端按 $1000/T$ 放大，或者用 `cosine`，它自己走到头。课程的 `DDPM` 会提醒，并算好该写的数。

# %%
start, end = rescale_linear_range(100)
settings = {"原样": {}, "放大": {"linear_start": start, "linear_end": end}, "cosine": {"beta_schedule": "cosine"}}
for name, changes in settings.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        short = DDPM(**toy_model_config(timesteps=100, **changes))
    reminded = any("加噪到最后仍留着原图" in str(w.message) for w in caught)
    print(f"{name}：终点的 √ᾱ = {float(short.sqrt_alphas_cumprod[-1]):.3f}，{'有提醒' if reminded else '没有提醒'}")
    check("只有原样的一份才提醒", reminded == (name == "原样"), True)

# %% [markdown]
# ## 像素的范围不对
#
# **问**：像素在 0 到 255 之间，输出却都在 [-1, 1]，看上去像噪声，损失卡在 0.8，为什么？
# （lucidrains/denoising-diffusion-pytorch [#20](https://github.com/lucidrains/denoising-diffusion-pytorch/issues/20)）
#
# **原因**：数据比噪声大一百倍，加噪到头还看得见原图；采样时的截断又把猜测压在 [-1, 1]。
#
# **办法**：`x / 127.5 - 1`。课程的 `DDPM` 在门口就拦下。

# %%
pixels = ((images + 1) * 127.5).round()
check_raises("浮点的 0..255", lambda: untrained.get_input({"image": pixels}, "image"), "127.5")
check_raises("整数", lambda: untrained.get_input({"image": pixels.to(torch.uint8)}, "image"), "127.5")
fixed = untrained.get_input({"image": pixels / 127.5 - 1}, "image")
check("换算之后收下，最小值", fixed.min(), -1.0)

# %% [markdown]
# ## 通道放错了位置
#
# **问**：卷积要 3 个通道，我的输入是 [1, 512, 512, 3]，它却说有 512 个通道，怎么办？
# （LeeJunHyun/Image_Segmentation [#29](https://github.com/LeeJunHyun/Image_Segmentation/issues/29)）
#
# **原因**：PyTorch 的图是 CHW，通道在前；PIL、NumPy 读出来的是 HWC。
#
# **办法**：`x.permute(0, 3, 1, 2)`。课程的 `DDPM` 按形状分辨，两种都收；分不清的（通道数恰好等于边长）就报错。

# %%
print("卷积要求通道在前：", nn.Conv2d(1, 4, 3)(images).shape[1:])
check_raises("通道在后，卷积报错", lambda: nn.Conv2d(1, 4, 3)(images.permute(0, 2, 3, 1)), "channels")
back = untrained.get_input({"image": images.permute(0, 2, 3, 1)}, "image")
check("DDPM 认出 HWC，换了回来", back, images)
check_raises("形状不对，说清应当怎样", lambda: untrained.get_input({"image": images[:, :, :4]}, "image"), "(B, 1, 8, 8)")

# %% [markdown]
# ## 数据下载不下来
#
# **问**：在国内打开 MNIST 的原站，是一个错误页。
# （cvdfoundation/mnist [#4](https://github.com/cvdfoundation/mnist/issues/4)；torchvision 也有人报告 403，见 pytorch/vision [#8568](https://github.com/pytorch/vision/issues/8568)）
#
# **原因**：原站早已不让下载；有的镜像给的是网页，存下来却叫 `.gz`。
#
# **办法**：课程的数据模块依次试几个镜像，国内的在前，断了接着下，摘要对上才收。自己的镜像用参数 `mirror` 或环境变量 `DDPM_EDU_MIRROR`；
# 也可以手工下载，放进数据目录（报错时会写明放到哪里）；没有网络就用内置的 `DigitsDataModule`。
#
# 下面在本机起一个小服务器：第一个地址给错误的内容，第二个给正确的。

# %%
content = b"data" * 1000
for name, body in (("bad", b"<html>403</html>"), ("good", content)):
    Path("site", name).mkdir(parents=True, exist_ok=True)
    Path("site", name, "x.gz").write_bytes(body)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory="site"))
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"
os.environ["NO_PROXY"] = "127.0.0.1"  # 有代理的机器上，本机的地址不走代理
file = RemoteFile("x.gz", hashlib.sha256(content).hexdigest(), len(content))

# %%
with contextlib.suppress(RuntimeError):
    fetch("only-bad", file, [f"{base}/bad"], progress=False)
check("只有坏的镜像：最终的名字下没有文件", Path("only-bad/x.gz").exists(), False)
fetch("data", file, [f"{base}/bad", f"{base}/good"], progress=False)
check("坏的跳过，好的收下", Path("data/x.gz").read_bytes() == content, True)
server.shutdown()
server.server_close()
fetch("data", file, [f"{base}/good"], progress=False)
print("✓ 文件已在目录里：服务器关了也能用")

# %% [markdown]
# ## 缺少键或多出键
#
# **问**：装载时打印“686 个缺少、2 个多余的键”，这是正常的吗？
# （mlcommons/training [#807](https://github.com/mlcommons/training/issues/807)）
#
# **原因**：不正常。文件里的名字与模型的对不上：多了前缀，或者不是同一个网络。`strict=False` 只是不出声。
#
# **办法**：打印两边各三个键，看差在哪里。课程的 `DDPM` 把对不上当作错误；`module.`、`_orig_mod.` 两种前缀会自动去掉；确实不要的，写进 `ignore_keys`。

# %%
state = untrained.state_dict()
save_checkpoint({"state_dict": {f"net.{key}": value for key, value in state.items()}}, "renamed.ckpt")
save_checkpoint({"state_dict": {f"module.{key}": value for key, value in state.items()}}, "parallel.ckpt")
save_checkpoint({"state_dict": {**state, "extra.weight": torch.zeros(1)}}, "extra.ckpt")
check_raises("名字不同", lambda: DDPM(**toy_model_config(), ckpt_path="renamed.ckpt"), "对不上")
same = DDPM(**toy_model_config(), ckpt_path="parallel.ckpt")
check("module. 前缀自动去掉", torch.equal(same.state_dict()["logvar"], state["logvar"]), True)
check_raises("多了一个", lambda: DDPM(**toy_model_config(), ckpt_path="extra.ckpt"), "extra.weight")
DDPM(**toy_model_config(), ckpt_path="extra.ckpt", ignore_keys=["extra."])
print("✓ 写进 ignore_keys，就装得上")

# %% [markdown]
# ## 步数或参数化对不上
#
# **问**：装载时报错，说文件里的 `betas` 是 4 项，模型里的是 200 项，怎么办？
# （MrGiovanni/DiffTumor [#6](https://github.com/MrGiovanni/DiffTumor/issues/6)）
#
# **原因**：构造模型的参数与训练时不同。硬装进去，采出来的图也不会对。
#
# **办法**：用相同的参数构造；或者 `DDPM.load_from_checkpoint`，参数从文件里取。

# %%
trainer = quiet_trainer(max_steps=1)
trainer.fit(DDPM(**toy_model_config(timesteps=200, beta_schedule="cosine")), DigitsDataModule(batch_size=16))
trainer.save_checkpoint("t200.ckpt")
check_raises("T 不同", lambda: DDPM(**toy_model_config(beta_schedule="cosine"), ckpt_path="t200.ckpt"), "timesteps")
loaded = DDPM.load_from_checkpoint("t200.ckpt")
check("参数从文件里取：T", loaded.num_timesteps, 200)

# %% [markdown]
# ## 检查点打不开
#
# **问**：训练与保存都好好的，装载时却报 `Unsupported global: numpy…scalar`，为什么？
# （nerfstudio-project/nerfstudio [#3702](https://github.com/nerfstudio-project/nerfstudio/pull/3702)）
#
# **原因**：PyTorch 2.6 起，`torch.load` 默认只认张量与普通类型；检查点里混进了 NumPy 的数。另一种：下到的是网页，名字却叫 `.ckpt`。
# 还有一种是课程自己的话：“里面写的类应为……”。文件里写着你没有导入过的类，导入它就会运行它的代码，所以拒绝。
#
# **办法**：不要图省事写 `weights_only=False`，那样打开文件就可能执行里面的代码。自己存的，存之前换成普通的数，`save_checkpoint` 会换；别人给的，请他换好再存一份。
# 网络确实是自己写的：先 `import` 它所在的模块，命令行的 `sample` 与 `evaluate` 加 `--import 模块名`；不是自己的，就别为它导入。

# %%
number = torch.linspace(0, 1, 3, dtype=torch.float64).numpy()[1]  # NumPy 的数
torch.save({"loss": number}, "numpy.ckpt")
try:
    torch.load("numpy.ckpt", weights_only=True)
except Exception as error:
    print("torch.load：", type(error).__name__)
save_checkpoint({"loss": number}, "plain.ckpt")
check("换成普通的数之后读得出来", load_checkpoint("plain.ckpt")["loss"], 0.5)
Path("page.ckpt").write_text("<html>404 Not Found</html>", encoding="utf-8")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # 没有 SHA-256 的提醒
    try:
        load_checkpoint("page.ckpt")
    except RuntimeError as error:
        print("load_checkpoint：", str(error)[:16])

# %% [markdown]
# ## 续训与从没停过不一样
#
# **问**：从检查点续训，损失与一口气练完的不同，为什么？
# （Lightning-AI/pytorch-lightning [#18098](https://github.com/Lightning-AI/pytorch-lightning/issues/18098)）
#
# **原因**：检查点里没有随机数的状态。续训时重新设了种子，$t$ 与噪声从头来过。
#
# **办法**：让随机数由第几步决定，而不是由抽过几次决定（第 10 章）。课程的 `DDPM` 与数据模块就是这样，续训逐位相同。

# %%
torch.manual_seed(0)
straight = [torch.rand(()).item() for _ in range(5)]  # 一口气抽五步
torch.manual_seed(0)
again = [torch.rand(()).item() for _ in range(2)]  # 停在第三步，重新设种子，再抽两步
check("重新设种子：第四步抽到的是第一步的", again[0], straight[0])


def run(max_steps, resume=None):
    torch.manual_seed(0)
    model, trainer = DDPM(**toy_model_config()), quiet_trainer(max_steps=max_steps)
    trainer.fit(model, DigitsDataModule(batch_size=16), ckpt_path=resume)
    return model, trainer


whole = run(5)[0]
run(3)[1].save_checkpoint("three.ckpt")
pairs = zip(run(5, "three.ckpt")[0].state_dict().values(), whole.state_dict().values())
check("课程的 DDPM：走 3 步、停下、再走 2 步，逐位相同", all(torch.equal(a, b) for a, b in pairs), True)

# %% [markdown]
# ## 续训时换学习率不起作用
#
# **问**：接着检查点训练，改了学习率，用的还是原来的，能不能换？
# （bghira/SimpleTuner [#163](https://github.com/bghira/SimpleTuner/issues/163)）
#
# **原因**：优化器的状态里记着学习率、动量系数与权重衰减，调度器的状态里记着它的参数；装载检查点时，它们会覆盖新给的值。
#
# **办法**：课程的 `DDPM` 会说一句用的是哪个。确实要换，先设 `model.retune = True`，命令行加 `--retune true`：学习率、权重衰减、动量系数与调度器换成新的，已走的步数与优化器累积的动量照旧。

# %%
for retune in (False, True):
    torch.manual_seed(0)
    model, trainer = DDPM(**toy_model_config(learning_rate=1e-5)), quiet_trainer(max_steps=4)
    model.retune = retune
    trainer.fit(model, DigitsDataModule(batch_size=16), ckpt_path="three.ckpt")
    check(f"retune={retune}：用的学习率", trainer.optimizers[0].param_groups[0]["lr"], 1e-5 if retune else 2e-4)

# %% [markdown]
# ## 微调随包的模型
#
# 常被问到：不想从头练，想从练好的模型接着练，让它专画一类图，或者画我自己的图，怎么做？学习率写多少？
#
# **原因**：续训与微调 (fine-tuning) 是两件事。续训是同一次训练走完剩下的路，权重、优化器、步数、数据的位置都从检查点取，用 `ckpt_path`。
# 微调是换了目标的另一次训练，只取权重，其余从头来。把两者混起来，学习率就停在上一次训练的末尾，几乎不动。
#
# **办法**：
#
# - 载入时改要改的参数：`load_pretrained("digits", learning_rate=5e-4)`；自己的检查点用 `DDPM.load_from_checkpoint(path, learning_rate=…)`。
#   学习率取从头练时的几分之一（随包的模型从头练用 3e-3），太大会先把学过的冲掉。
#   `load_from_checkpoint` 还会带回 EMA 与调度器的配置；调度器要换，一并写 `scheduler_config=…`。
# - 自己的图：用下一节的 `ImageFolderDataModule` 读成模型的尺寸与通道数（随包的 `digits` 是 8×8 灰度）；自己写数据集时，换算到 [-1, 1] 的浮点，每个样本写成 `{"image": x}`，按类别生成的模型另要 `"label"`。
# - 装进 `DataLoader`，直接交给 `Trainer`，没有验证集也行。随包模型的 EMA 从取到的权重重新热身，很快跟上。按类别生成的模型照常丢条件，引导还能用。
# - 练完用 `trainer.save_checkpoint(路径)` 存，再用 `load_from_checkpoint` 或 `python -m ddpm_edu sample --ckpt` 取；文件里记的是新的学习率。
#
# 下面只拿训练集里的 131 张 8，练 60 步，前后各画 64 张，让随包的分类器数一数。

# %%
data = DigitsDataModule()
data.setup()
train = data.splits["train"]
eights = [train[i] for i in (train.labels == 8).nonzero().flatten().tolist()]
torch.manual_seed(0)
loader = torch.utils.data.DataLoader(eights, batch_size=16, shuffle=True)
tuned, trainer = load_pretrained("digits", learning_rate=5e-4), quiet_trainer(max_steps=60)
trainer.fit(tuned, loader)
trainer.save_checkpoint("eights.ckpt")
reloaded = DDPM.load_from_checkpoint("eights.ckpt")
check("文件里记的是新的学习率", reloaded.learning_rate, 5e-4)

# %%
drawn = {name: generate(model, 64, batch_size=64, steps=10, progress=False)[0].clamp(-1, 1) for name, model in {"之前": pretrained, "之后": reloaded}.items()}
counter = DigitsFrechet().classifier
share = {name: float((counter(x).argmax(1) == 8).double().mean()) for name, x in drawn.items()}
print("；".join(f"{name}：{value:.0%} ± {(value * (1 - value) / 64) ** 0.5:.0%} 是 8" for name, value in share.items()))
check("8 的份额从三成以下到七成以上", share["之前"] < 0.3 and share["之后"] > 0.7, True)
grid_figure(torch.cat([x[:8] for x in drawn.values()]), nrow=8, rows=list(drawn))

# %% [markdown]
# 图：同样的起始噪声。上排是随包的模型，什么数字都画；下排练过 60 步，多数成了 8。

# %% [markdown]
# ## 用自己的图训练
#
# 常被问到：我有一个文件夹的照片，大小不一，格式也杂，怎么拿来训练？
#
# **原因**：网络要的是同样大小、同样通道数、值在 $[-1,1]$ 的张量；照片却有横有竖，有的带透明度，手机拍的还要按 EXIF 转正，里面总有几张打不开。
#
# **办法**：`ImageFolderDataModule(文件夹或 zip, image_size=…)` 照定好的规矩变成同样的大小：转正，缩放到刚好盖住，裁去两边；用不了的跳过，说得出是哪几张、为什么。
# 命令行是 `python -m ddpm_edu fit --config folder --data.root 文件夹`（按类别生成用 `folder-class`），规矩的全文在仓库的 `docs/own-images.md`。图不必是正方形，例如 `image_size=(24, 32)`，先写高，后写宽。
#
# 下面从两张照片上剪下大小不一的几十块（照片随 scikit-learn 发布，署名见 `ddpm_edu.data.photos.ATTRIBUTION`），存成四种格式，再混进一张空的、一张太小的。

# %%
kinds, mine = ("png", "jpg", "webp", "gif"), Path("我的 图")
for i in range(48):
    place = mine / ("寺庙", "花")[i % 2] / f"{i:02d}.{kinds[i % 4]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    left, top, side = 8 * i, 5 * i, 90 + i
    Image.fromarray(load_photos()[i % 2][top:top + side, left:left + side + 40].numpy()).save(place)
(mine / "空的.png").touch()
Image.new("RGB", (6, 6)).save(mine / "太小.png")
own = ImageFolderDataModule(mine, image_size=(24, 32), batch_size=8)
own.setup()
print(own.skipped)
check("能用的 48 张都在", sum(map(len, own.splits.values())), 48)
grid_figure(own.splits["train"][:16]["image"], nrow=8)

# %% [markdown]
# 图：读进来的十六张，高 24、宽 32。再练两步、采两张，只为看看走得通；要练出样子，几十张图、两步当然不够。

# %%
network = {"in_channels": 3, "out_channels": 3}
painter = DDPM(**toy_model_config(network, image_size=(24, 32), channels=3))
quiet_trainer(max_steps=2).fit(painter, own)
check("样本也是这样大", painter.sample(2, sampler="ddim", steps=2).shape, (2, 3, 24, 32))

# %% [markdown]
# ## 为什么我的 FID 对不上
#
# 常被问到：论文写 3.17，我照着练、照着采，FID 却是十几，哪里错了？
#
# **原因**：FID 量的是整条流水线，从怎样存图到拿哪些真图来比，有一样不同，数就不能比。下面每一样都用第 15 章的小分类器量过或算得出，次序大致照影响的大小。
#
# | 哪里不同 | 差多少 |
# |:--|:--|
# | 权重文件 | 换一份 Inception（如 torchvision 的），特征就换了，整个数不能比；只认摘要以 6726825d 开头的那一份 |
# | 像素的范围 | 把 [-1, 1] 当成 [0, 1] 交进去：下面从 11 变成 1369 |
# | 采样的步数 | `digits` 走 5、10、20、50 步是 61、28、21、18（第 15 章的卡片） |
# | EMA 还是原权重 | 学习率不下降时，128 ± 7 对 178 ± 13（第 11 章）；命令行的 `--both` 两样都算 |
# | 样本的张数 | 1000 张换成 100 张，多 28 ± 4 |
# | 真图是哪一份 | 同一批样本，对留出的 500 张与对训练的 1297 张，是 33.8 ± 4.2 与 17.7 ± 2.5（400 张，走 10 步，八个种子）；DDPM 的 CIFAR-10 模型对训练集是 3.17，对测试集是 5.24（论文第 4 节） |
# | 缩放 | 那份权重配的是 TensorFlow 1 的双线性，像素的中心差半格：下面放大一倍再缩回来，比中心对齐的多 3.3 ± 0.1；缩小时先平滑（PIL）与不先平滑也不同 |
# | JPEG | 质量 75 存一遍，多 1.8 ± 0.1 |
# | 抖动 | 每个像素加一级之内的均匀噪声（训练流模型时的 dequantization）：这里一级是 1/8，多 0.25 ± 0.03 |
# | 灰度图 | 复制成三通道，不是补两个零通道；两种都算得出数，数不同 |
# | 存成 uint8 | −0.005 ± 0.001，可以不管；超出 [-1, 1] 的会被截断 |
# | 半精度的特征 | 分不出；但不许在半精度里求和，协方差会溢出 |
#
# **办法**：报数时写全：几张样本、哪些真图几张、哪份权重、几步、EMA。张数不够五万，就报 KID 与它的标准误，或照 1/N 把 FID 外推到无穷多张。一条命令都给出（`--real` 少用几张真图，CPU 上取五万张的特征要几个小时）：
# `python -m ddpm_edu evaluate --ckpt runs/mine --data cifar10 --samples 50000 --inception pt_inception-2015-12-05-6726825d.pth`

# %%
def through_jpeg(x):
    """每张图存成质量 75 的 JPEG，再读回来"""
    files = [io.BytesIO() for _ in x]
    for one, file in zip(to_uint8(x)[:, 0].numpy(), files):
        Image.fromarray(one).save(file, "JPEG", quality=75)
    return torch.tensor(np.stack([np.asarray(Image.open(file)) for file in files]))[:, None] / 127.5 - 1


score, known = DigitsFrechet(), load_digits_split()["train"][0]
batches = [known[torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))[:1000]] for seed in range(8)]
changes = {"原样": lambda x: x, "当成 [0, 1]": lambda x: (x + 1) / 2, "只有 100 张": lambda x: x[:100], "JPEG": through_jpeg,
           "放大再缩回，中心对齐": lambda x: F.avg_pool2d(F.interpolate(x, size=16, mode="bilinear"), 2),
           "放大再缩回，TensorFlow 1": lambda x: F.avg_pool2d(resize_like_tensorflow(x, 16), 2), "存成 uint8": lambda x: to_uint8(x) / 127.5 - 1}
found = {name: np.array([score(change(batch)) for batch in batches]) for name, change in changes.items()}
for name, values in found.items():
    gap = values - found["原样"]
    print(f"{name}：{values.mean():.2f} ± {values.std(ddof=1) / 8**0.5:.2f}，逐批减去原样 {gap.mean():+.2f} ± {gap.std(ddof=1) / 8**0.5:.2f}")

# %%
values, limit = frechet_curve(score.features(known), score.features(score.real), [100, 200, 400, 800, 1297])
print("100、200、400、800、1297 张：" + "、".join(f"{value:.1f}" for value in values) + f"；外推到无穷多张：{limit:.1f}")
check_order("张数越少越大，外推的比哪一个都小", limit, values[-1], values[0])
check("存成 uint8 只差百分之一以内，JPEG 差一成以上", found["存成 uint8"].mean() < 1.01 * found["原样"].mean() < 1.1 * found["原样"].mean() < found["JPEG"].mean(), True)
Path("weights.pth").write_bytes(b"not the weights")
check_raises("摘要不对的文件不读", lambda: load_inception("weights.pth"), "SHA-256 应为以 6726825d 开头的")

# %% [markdown]
# ## 第一格就报 No module named
#
# 常被问到：明明装过，第一格却报 `No module named 'torch'` 或 `No module named 'ddpm_edu'`。
#
# **原因**：notebook 用的 Python（内核）不是装了课程的那一个。用 VS Code 打开、机器上还有 Anaconda 时，最容易选错。少数情况是安装到一半断了网。
#
# **办法**：新开一格运行 `import sys; print(sys.executable)`，路径里应当有本仓库的 `.venv`。不是它，就点右上角内核的名字，换成 `.venv` 里的 Python；
# 是它而缺包，就在终端里重新运行 `python course.py lab`；上次断了，已经下完的包不会再下。
# 拿不准哪里坏了，在终端里运行 `python course.py doctor`：它逐项查环境，坏的一项旁边写着怎么办。
#
# 报的若是 `NameError: name 'torch' is not defined` 之类，是内核重启过，前面的格还没有运行：在“运行”菜单里，选把上方的单元格全部运行的那一项。
#
# 下面另起一个进程，让它找不到 Lightning，看程序包怎么说。

# %%
code = """
import sys
sys.modules["pytorch_lightning"] = None
try:
    from ddpm_edu import DDPM
except ModuleNotFoundError as error:
    print(str(error).replace(sys.executable, "…/python"))
"""
done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"},
                      capture_output=True, encoding="utf-8")
print(done.stdout, end="")
check("说出缺什么、怎么办", "pytorch_lightning" in done.stdout and "course.py lab" in done.stdout, True)

# %% [markdown]
# ## torchvision 与 torch 不配
#
# **问**：一导入就报 `operator torchvision::nms does not exist`，nms 怎么会不存在？
# （huggingface/diffusers [#12559](https://github.com/huggingface/diffusers/issues/12559)）
#
# **原因**：torchvision 是为某一个版本的 torch 编译的，单独升级了其中一个，就对不上。Lightning 见到它就导入，于是跟着倒下。
#
# **办法**：课程不需要 torchvision，`pip uninstall torchvision` 就好；要留着，就按 PyTorch 官网把两个一起装。
#
# 下面造一个坏的 torchvision，放在路径的最前面，再拿掉。

# %%
Path("broken/torchvision").mkdir(parents=True, exist_ok=True)
Path("broken/torchvision/__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")\n', encoding="utf-8")
code = """
import importlib, sys
try:
    import pytorch_lightning
except RuntimeError as error:
    print("有坏的 torchvision：", error)
sys.path = [path for path in sys.path if not path.endswith("broken")]
for name in [name for name in sys.modules if name.startswith(("pytorch_lightning", "lightning", "torchmetrics"))]:
    del sys.modules[name]
print("拿掉它，导入成功：", importlib.import_module("pytorch_lightning").__name__)
"""
path = os.pathsep.join(["broken", *filter(None, sys.path)])
done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"},
                      capture_output=True, encoding="utf-8")
print(done.stdout, end="")
check("先失败，后成功", [done.returncode, len(done.stdout.splitlines())], [0, 2])

# %% [markdown]
# ## GPU 用不上
#
# **问**：照依赖表装的 torch 是 CPU 版，`cuda.is_available()` 总是 False，怎么办？
# （zyddnys/manga-image-translator [#210](https://github.com/zyddnys/manga-image-translator/issues/210)）
#
# **原因**：三种，按次序查。`torch.version.cuda` 是 None：装的是 CPU 版（Windows 上默认如此），照 PyTorch 官网的命令重装。
# 不是 None 而用不上：驱动比它要的旧，升级驱动，或者装更旧的 CUDA 版。都对而看不见卡：环境变量 `CUDA_VISIBLE_DEVICES` 藏起来了，或者在没有卡的机器上。
#
# **办法**：跑下面这一格看是哪一种。没有 GPU，课程照样能跑：`accelerator="auto"` 会退到 CPU。

# %%
# NBVAL_IGNORE_OUTPUT
print("编译时的 CUDA：", torch.version.cuda or "没有，这是 CPU 版")
print("用得上：", torch.cuda.is_available(), "；CUDA_VISIBLE_DEVICES =", os.environ.get("CUDA_VISIBLE_DEVICES", "没有设"))

# %%
code = "import torch; print(torch.cuda.is_available(), torch.ones(2).sum().item())"
hidden = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
                        capture_output=True, text=True).stdout.split()
check("把卡藏起来：用不上 GPU", hidden[0] == "False", True)
check("CPU 照样能算", float(hidden[1]), 2.0)

# %% [markdown]
# ## 显存不够
#
# 常被问到：`CUDA out of memory`，论文的批量是 128，我的卡只放得下 16，怎么办？
#
# **原因**：激活值占的显存与批量成正比。
#
# **办法**：依次试：`--trainer.precision bf16-mixed`；批量减小，用梯度累积补回来（`--trainer.accumulate_grad_batches 8`）；
# 换小一点的网络。梯度累积不改变数学，下面核对：四批 16 张的平均梯度，等于一批 64 张的。

# %%
torch.manual_seed(0)
model = DDPM(**toy_model_config())
nn.init.normal_(model.model.diffusion_model.out[-1].weight)  # 最后一层的初值是 0，换掉它，各层才都有梯度
t64, noise64 = torch.arange(64) * 15, torch.randn(images.shape)
gradients = []
for parts in (1, 4):
    model.zero_grad()
    for x, t, noise in zip(images.chunk(parts), t64.chunk(parts), noise64.chunk(parts)):
        (model.p_losses(x, t, noise)[0] / parts).backward()
    gradients.append(torch.cat([p.grad.flatten() for p in model.model.parameters()]))
gap = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
check("四批的平均梯度与一批的相同（相对误差）", gap, 0.0, atol=1e-4)

# %% [markdown]
# ## 几个进程一起跑就慢
#
# **问**：同一台机器上起几个进程，默认每个都开与核数相同的线程，加起来太多，反而慢了。
# （pytorch/pytorch [#22501](https://github.com/pytorch/pytorch/pull/22501)，make OMP_NUM_THREADS default in launch.py）
#
# **原因**：PyTorch 的一个运算就会用上全部的核。两个进程各开满，线程互相等待，小网络会慢许多倍。
#
# **办法**：每个进程的线程数设成“核数除以进程数”：启动之前设环境变量 `OMP_NUM_THREADS=1`，或者一开头 `torch.set_num_threads(1)`。
# torchrun 默认就设成 1。数据加载的子进程已经是 1，不用管。

# %%
code = "import torch; print(torch.get_num_threads()); torch.set_num_threads(1); print(torch.get_num_threads())"
clean = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=clean, capture_output=True, text=True)
default, limited = map(int, done.stdout.split())
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
check("不设：两个进程的线程加起来，不少于核数", 2 * default >= cores, True)
check("设成 1：只用一个线程", limited, 1)

# %% [markdown]
# ## torchrun 之后各练各的
#
# **问**：Trainer 的 strategy 是 auto，在八张卡上会不会成了八个模型各练各的？是不是要写成 ddp？
# （roboflow/rf-detr [#803](https://github.com/roboflow/rf-detr/issues/803)）
#
# **原因**：torchrun 只管起进程。Trainer 没有写 `strategy="ddp"` 与 `devices`，每个进程都以为只有自己，各练各的，还往同一个目录里写。
#
# **办法**：`--trainer.strategy ddp`，`--trainer.devices` 等于 `--nproc-per-node`，`--trainer.num_nodes` 等于 `--nnodes`（整条命令在仓库的 `docs/multi-gpu.md`）。课程的命令行发现数目对不上就拒绝。

# %%
alone = quiet_trainer(max_steps=1)
os.environ |= {"TORCHELASTIC_RUN_ID": "demo", "WORLD_SIZE": "2"}  # torchrun 起了两个进程时，它们会看到这些
check_raises("Trainer 不知道有两个", lambda: check_launcher(alone), "strategy ddp")
for name in ("TORCHELASTIC_RUN_ID", "WORLD_SIZE"):
    del os.environ[name]
check_launcher(alone)
print("✓ 不用 torchrun 时不管")

# %% [markdown]
# ## 还是不行
#
# 带着三样东西去问人，别人才帮得上：
#
# 1. 能重现的最少几行代码，固定种子，用内置的数字数据。
# 2. 完整的错误信息，从第一行到最后一行，不要截图。
# 3. 版本：下面这一格的输出。

# %%
# NBVAL_IGNORE_OUTPUT
import platform
from importlib.metadata import version

print(platform.system(), platform.machine(), "Python", platform.python_version())
print({name: version(name) for name in ("torch", "pytorch-lightning", "numpy")})

# %% [markdown]
# ## 小结
#
# - 先分清是哪一段：损失、采样、数据、检查点、环境。
# - 网络与采样器分开查：让网络只猜一步，看 $\hat x_0$。
# - 比较要公平：同一份 $t$、同一份噪声。
# - 不出声的失败最贵：键对不上、范围不对、进程数不对，都应当报错。
#
# ## 练习
#
# 1. ★ 把“损失停在 1 附近”一节的目标换成 `v`，网络输出 0 时的损失是多少？为什么？
# 2. ★★ 挑一条你遇到过的问题，照这里的格式写：问、原因、办法，一格代码先重现、再治好。
