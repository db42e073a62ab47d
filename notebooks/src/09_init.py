# %% [markdown]
# # 09 · `__init__` 逐行
#
# 打开 latent-diffusion 或 Stable Diffusion 2 的 `ddpm.py`（本章都叫“原文件”），`class DDPM` 里最先读到的就是 `__init__`。它一条接一条地存设定、造东西，看上去谁先谁后都无妨。
# 可是只要一条语句放早了，配置里再写错一个数，就造出下面第二排那样的模型，而且不报错。
#
# 这一章要回答的问题是：**`__init__` 里谁必须在谁之前，放错了会怎样？**
#
# **学习目标**
#
# - 说得出构造函数先后造哪几样东西，三条先后各是什么、为什么。
# - 说得出每一条放错了会怎样，哪几种不报错。
# - 分清参数 (parameter)、缓冲区 (buffer) 与普通属性，知道哪些存进检查点 (checkpoint)、载入时填得上。
#
# **预计用时** 正文 30 分钟，练习另计。运行全部单元约 20 秒，不需要 GPU，不需要联网。

# %%
import copy
import os
import tempfile

import torch

from ddpm_edu import DDPM, load_pretrained
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.files.checkpoint import save_checkpoint
from ddpm_edu.generate import generate
from ddpm_edu.teach import check, check_raises, grid_figure, show_source
from ddpm_edu.teach.init_figures import init_map, same_step_figure
from ddpm_edu.teach.reference_map import statement_table

os.chdir(tempfile.mkdtemp())  # 在临时目录里存文件，不弄脏课程的文件夹
print("准备好了")

# %%
changes = {"1000 步的表": {}, "500 步的表": {"timesteps": 500}}
models = {name: load_pretrained("mnist", **change) for name, change in changes.items()}
digits = torch.arange(10)
drawn = [generate(model, 10, cond=digits, guidance_scale=2.0, steps=25, seed=0, progress=False)[0] for model in models.values()]
grid_figure(torch.cat(drawn), nrow=10, rows=list(models), columns="0123456789")

# %% [markdown]
# 图：两排用的是同一份练好的权重、同一份起始噪声。权重是在 1000 步的噪声表上练的，第二排的模型拿着的却是 500 步的表。
#
# | 模型里的噪声表 | 分类器认得出的 |
# |:--|--:|
# | 1000 步，训练时用的 | 99.4% ± 0.6% |
# | 500 步 | 22.5% ± 2.7% |
#
# “认得出”是说随包的分类器判成了要画的那个数字。八个种子，每个二十张，± 后面是标准误。
#
# 第二排是故意弄出来的：随包的文件只有网络的权重，我们另给了它一张 500 步的表。
#
# 训练时存下的检查点，除了权重还带着表，本来不该弄混。可是配置里若误写成 500 步，原文件的 `DDPM` 照样载入，造出第二排这样的模型，因为文件里的表在 `__init__` 里丢了。
# 它丢在哪一条语句上？

# %% [markdown]
# ## 1　五件事，三条先后
#
# 下面把本课程的 `DDPM` 叫“课程版”。
#
# 最先的一条人人都知道：`super().__init__()` 没有执行，就不能登记网络与参数，当场报错。在它之后，语句虽多，次序要紧的只有五条。前四条各造一样东西；最后一条打开检查点 (checkpoint)，把文件里的数填进去：
#
# | 名字 | 是什么 | 要先有什么 |
# |:--|:--|:--|
# | 噪声表 | 每一步掺多少噪声，步数 $T$ 由它定 | |
# | `logvar` | $T$ 个对数方差 $s_t$，每步一个；损失除以 $e^{s_t}$ 再加 $s_t$（[第 6 章](06_loss.ipynb)） | 噪声表，才知道 $T$ |
# | 网络 | U-Net | |
# | EMA | 网络权重的影子：先复制一份，训练时再慢慢跟着变 | 网络，才有权重可复制 |
# | 载入 | 从文件取数，填进上面四样（课程版的噪声表只核对） | 上面四样都有了，才填得进、对得上 |
#
# 其余的语句存设定、核对、打印，只要在用到它的语句之前就行。

# %%
init_map()

# %% [markdown]
# 图：上面是谁要用谁，编号就是三条先后；造 `logvar` 与 EMA 之前已经有了噪声表与网络，所以 ③ 只画两支箭头，就把四样都管到了。下面两行是两份源码里真实的次序：蓝框造一样东西，白框是载入，橙色的虚线框在载入时还没有造出来。
#
# 课程版先造噪声表，原文件先造网络，两种都可以，因为上下两条链互不相干。原文件的次序只错了一处：**载入放早了**。
#
# 先猜一猜：载入的时候，要填的东西还没有造出来，会报错吗？

# %% [markdown]
# ## 2　六种放错
#
# 把五件事写成一个最小的模型，先后由 `order` 决定：

# %%
class Tiny(torch.nn.Module):
    def __init__(self, order, T=100, state=None):
        super().__init__()
        for deed in order.split("→"):
            if deed == "噪声表":
                self.register_buffer("betas", torch.full((T,), 0.01))
            elif deed == "logvar":
                self.logvar = torch.nn.Parameter(torch.zeros(len(self.betas)))
            elif deed == "网络":
                self.model = torch.nn.Linear(2, 2)
            elif deed == "EMA":
                self.model_ema = copy.deepcopy(self.model)
            elif deed == "载入":
                self.unused = self.load_state_dict(state, strict=False).unexpected_keys


# %% [markdown]
# 前两条先后放错，当场就报错，因为要用的东西还不存在：

# %%
check_raises("logvar 在噪声表之前", lambda: Tiny("logvar→噪声表→网络→EMA"), "betas")
check_raises("EMA 在网络之前", lambda: Tiny("噪声表→logvar→EMA→网络"), "model")

# %% [markdown]
# 第三条放错是另一回事。先存一份“练好的”：`logvar` 学成了 $-3$，影子的权重是 0。再让载入分别抢在四样东西之前：

# %%
trained = Tiny("噪声表→logvar→网络→EMA")
torch.nn.init.constant_(trained.logvar, -3.0)
torch.nn.init.zeros_(trained.model_ema.weight)
file = trained.state_dict()

orders = {
    "噪声表": "网络→EMA→载入→噪声表→logvar",  # 原文件的次序
    "logvar": "网络→EMA→噪声表→载入→logvar",
    "网络": "噪声表→logvar→载入→网络→EMA",
    "EMA": "噪声表→logvar→网络→载入→EMA",
}
built = {name: Tiny(order, state=file) for name, order in orders.items()}
for name, one in built.items():
    print(f"载入在 {name} 之前，文件里没有用上的：", "、".join(dict.fromkeys(key.split(".")[0] for key in one.unused)))
check("载入在网络之前：权重不是文件里的", torch.equal(built["网络"].model.weight, file["model.weight"]), False)
check("载入在 EMA 之前：影子是网络的拷贝，不是文件里的", built["EMA"].model_ema.weight, file["model.weight"])

# %% [markdown]
# 四种都没有报错。因为载入时那样东西还没有造出来，文件里的就成了“多余的键”。载入时又写着 `strict=False`，多余的键不算错。原文件也这样写，它只把多余的键印出来。
#
# 原文件的次序是第一种。照它载入这份 100 步的文件，配置里却写 50 步：

# %%
early = Tiny(orders["噪声表"], T=50, state=file)
print(f"噪声表的步数：文件 {len(file['betas'])}，造好之后 {len(early.betas)}")
print(f"logvar 的值：文件 {file['logvar'][0]:.0f}，造好之后 {early.logvar[0]:.0f}")
check("网络的权重却载入了", early.model.weight, file["model.weight"])

# %% [markdown]
# 权重进来了，表却是照配置另造的。配置若写对了，另造的表与文件里的一样，什么也看不出来，所以这个毛病藏得住。
#
# 把载入挪到最后，别的一个字不改：

# %%
order = "网络→EMA→噪声表→logvar→载入"
check_raises("步数不同，当场报错", lambda: Tiny(order, T=50, state=file), "size mismatch")
late = Tiny(order, state=file)
check("步数相同，logvar 用的是文件里的", late.logvar, file["logvar"])

# %% [markdown]
# `strict=False` 放过多余的键，却不放过形状不同的键。所以只要载入放在最后，文件里又带着表，步数不同就混不进来。
#
# 开头那份文件只有网络的权重，没有表可核对，次序对了也查不出，只能靠配置写对。
#
# 六种放错合起来是：
#
# | 放错的一条 | 后果 | 报错吗 |
# |:--|:--|:--|
# | ① `logvar` 在噪声表之前 | 长度 $T$ 要从表里取，取不到 | 当场报错 |
# | ② EMA 在网络之前 | 没有权重可复制 | 当场报错 |
# | ③ 载入在噪声表之前 | 文件里的表丢了，照配置另造一张 | **不报错** |
# | ③ 载入在 `logvar` 之前 | 文件里的 `logvar` 丢了，回到初值 | **不报错** |
# | ③ 载入在网络之前 | 权重一个也没有载入，网络是随机数 | **不报错** |
# | ③ 载入在 EMA 之前 | 文件里的影子丢了，从网络的权重重新复制 | **不报错** |
#
# 原文件的 `DDPM` 只把载入这一条语句放早了，却占了表里的两行：载入在噪声表之前，也在 `logvar` 之前。伤人的是前一条。后一条在 `DDPM` 里无妨，因为它造了 `logvar`，损失却不用；用到 `logvar` 的是子类 `LatentDiffusion`。

# %% [markdown]
# ## 3　毛病一：先载入，再建表
#
# 权重一个没少，只丢了一张表，为什么就画不成数字？网络看不见噪声表，它只认步号 $t$。换了表，同一个步号的图，噪声就不是训练时那么多了：

# %%
amplitudes = {name: model.sqrt_alphas_cumprod for name, model in models.items()}
same_step_figure(amplitudes, step=349, image=drawn[0][3])

# %% [markdown]
# 图：左边是原图的幅度 $\sqrt{\bar\alpha_t}$ 随步号怎样变，点线是第 349 步，两个圆点是两张表在那里的幅度。右边是一张“3”，与它在两张表上的第 349 步，用的是同一份噪声。
#
# 同一个步号，一张表上“3”还清楚，另一张上就难认了。500 步的表，每个步号上的噪声都比训练时多。
#
# 这是不是原因，要试了才知道。500 步的表的第 $t$ 步，与 1000 步的表的第 $2t+1$ 步，噪声一样多。现在表不动，权重也不动，只把告诉网络的步号改成 $2t+1$。先猜一猜：数字会回来吗？

# %%
wrong = models["500 步的表"]
check("500 步的表的第 t 步，就是 1000 步的表的第 2t+1 步", amplitudes["500 步的表"], amplitudes["1000 步的表"][1::2], atol=1e-4)


def tell_right_step(module, args):  # 每次调用网络之前，先改它的输入
    x, t = args
    return x, 2 * t + 1


hook = wrong.model.register_forward_pre_hook(tell_right_step)
fixed, _ = generate(wrong, 10, cond=digits, guidance_scale=2.0, steps=25, seed=0, progress=False)
hook.remove()
grid_figure(torch.cat([drawn[1], fixed]), nrow=10, rows=["步号送 $t$", "步号送 $2t+1$"], columns="0123456789")

# %% [markdown]
# 图：两排用的都是 500 步的表，只差告诉网络的步号。
#
# | 噪声表 | 告诉网络的步号 | 分类器认得出的 |
# |:--|:--|--:|
# | 1000 步 | $t$ | 99.4% ± 0.6% |
# | 500 步 | $t$ | 22.5% ± 2.7% |
# | 500 步 | $2t+1$ | 99.4% ± 0.6% |
#
# 数字回来了。表与权重都没有动，只改步号就治好了它，所以原因正是步号：同一个步号，在网络学过的表上是另一种噪声。
#
# <details><summary>选读：表里的数怎样量</summary>
#
# 在本章里另开一格运行，约两分钟。
#
# ```python
# from ddpm_edu.evaluation.classifier import load_classifier
# from ddpm_edu.evaluation.metrics import recognised
#
# judge, twenty = load_classifier("mnist"), torch.arange(20) % 10
# for timesteps, right in ((1000, False), (500, False), (500, True)):
#     model, shares = load_pretrained("mnist", timesteps=timesteps), []
#     if right:
#         model.model.register_forward_pre_hook(tell_right_step)
#     for seed in range(8):
#         images, _ = generate(model, 20, cond=twenty, guidance_scale=2.0, steps=25, seed=seed, progress=False)
#         shares.append(recognised(judge, images, twenty)["recognised"])
#     print(timesteps, right, torch.tensor(shares).mean(), torch.tensor(shares).std() / 8**0.5)
# ```
#
# </details>
#
# 课程版把载入放在最后，还先核对文件里记下的步数与噪声表的种类。噪声表由构造参数就能算出，所以不必从文件里填，只拿文件里的来核对，不一致就报错：

# %%
model = DDPM(**toy_model_config(beta_schedule="cosine"))
save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, "toy.ckpt")
short = toy_model_config(beta_schedule="cosine", timesteps=500, ckpt_path="toy.ckpt")
check_raises("步数不同的文件载入不了", lambda: DDPM(**short), "timesteps")

# %% [markdown]
# 加上 `load_only_unet=True` 就是说只取网络，步数不同也只提醒一句。开头的 `load_pretrained` 正是这样载入的；那份文件没有记步数，所以连提醒也没有。
#
# 这个毛病只在原文件的 `DDPM` 里。子类 `LatentDiffusion` 先把 `ckpt_path` 拿走，等一切造好才自己载入，次序是对的。

# %% [markdown]
# ## 4　毛病二：`logvar` 没有登记
#
# 次序对了还不够：载入只往**登记过**的张量里填。PyTorch 的模块里，张量可以放成参数 (parameter)、缓冲区 (buffer) 或普通属性：
#
# | 放法 | 怎样写 | 优化器更新它 | 存进检查点，载入时填 | 跟着 `.to(device)` 搬家 |
# |:--|:--|:-:|:-:|:-:|
# | 参数 | `nn.Parameter(x)` | 是（交给了它，又有梯度） | 是 | 是 |
# | 缓冲区 | `register_buffer("x", x)` | 否 | 是（`persistent=False` 时否） | 是 |
# | 普通属性 | `self.x = x` | 否 | 否 | 否 |
#
# 没有 GPU 也看得出搬不搬家，因为换数值类型与换设备走的是同一条路：

# %%
class Naive(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.logvar = torch.zeros(4)  # 普通属性
        self.register_buffer("betas", torch.zeros(4))


naive = Naive().to(torch.float64)
print(f"换成 float64 之后：普通属性是 {naive.logvar.dtype}，缓冲区是 {naive.betas.dtype}")
print("检查点里的键：", list(naive.state_dict()))

# %% [markdown]
# 噪声表不该被训练，却要存、要搬家，所以登记成缓冲区。原文件的 `logvar` 则要看 `learn_logvar`：
#
# | `learn_logvar` | 原文件怎样放 | 后果 |
# |:--|:--|:--|
# | 真 | 参数 | 存得进检查点，也搬家 |
# | 假 | 普通属性 | 不存，也不搬家：`LatentDiffusion` 在 GPU 上训练，较新的 PyTorch 会报错 |
#
# 课程版在不学的时候把它登记成缓冲区。于是检查点里的张量，正好是第 1 节的那四样：

# %%
keys = list(model.state_dict())
counts = {name: sum(key.startswith(start) for key in keys) for name, start in (("网络", "model."), ("EMA", "model_ema."), ("logvar", "logvar"))}
counts["噪声表"] = sum("." not in key for key in keys) - counts["logvar"]
print(f"检查点里有 {len(keys)} 个键，其中", "，".join(f"{name} {n}" for name, n in counts.items()))
check("四样加起来，一个不多，一个不少", sum(counts.values()), len(keys))

# %% [markdown]
# 噪声表展开成十三张系数表，只存十二张，因为 `lvlb_weights` 登记时写了 `persistent=False`。EMA 比网络多一个键，是更新的次数。
#
# <details><summary>选读：GPU 上的那句报错</summary>
#
# 报错是 `indices should be either on cpu or on the same device as the indexed tensor (cpu)`，出在 `LatentDiffusion.p_losses` 的 `self.logvar[t].to(self.device)`：$t$ 在 GPU 上，`logvar` 留在 CPU 上。
# instruct-pix2pix 的 issue 151 问的就是它。原文件的 `DDPM` 算损失时不用 `logvar`，所以只用它训练，看不到这句报错。
#
# </details>

# %% [markdown]
# ## 5　逐行读课程版的构造函数
#
# 现在读真的源码。只读造东西的三段，每一行只问一句：**它要用的东西，前面造好了吗？** 签名与存设定的那些行，在[源码精读](93_source_reading.ipynb)第 7 节。
#
# 源码下面逐个解释 ①②③：① 管到 ② 之前的那些行，把鼠标停在标号上，就看得到是哪几行。
#
# **第一段：建噪声表。**

# %%
show_source(DDPM.__init__,
            "# 存进检查点的超参数", "super().__init__(timesteps", "# save_hyperparameters 记的是",
            stop="self.save_hyperparameters")

# %% [markdown]
# - ① 只用构造参数。直接给出的噪声表若是张量，就换成列表，检查点才存得下。
# - ② 也只用构造参数，所以可以最先做。父类 `GaussianDiffusion` 建好噪声表与全部系数表，登记成缓冲区。
# - ③ 要用 ② 的表：取回真正的步数 $T$，与别的构造参数一起存进 `hparams`，检查点里就带着它们。从哪里载入不算模型的设定，所以略过。

# %% [markdown]
# **第二段：造 `logvar`。**

# %%
show_source(DDPM.__init__,
            "self.learn_logvar =", "if learn_logvar:", stop="self.register_buffer(\"logvar\"")

# %% [markdown]
# - ① 要用步数 $T$，第一段已经有了。造一个长度为 $T$ 的张量，处处等于 `logvar_init`。
# - ② 要用 ① 的张量。要学就登记成参数，不学就登记成缓冲区，没有第三条路。

# %% [markdown]
# **第三段：网络，EMA，载入。**

# %%
show_source(DDPM.__init__,
            "self.scheduler_config = scheduler_config", "self.model = DiffusionWrapper",
            "self.conditioning_key = conditioning_key", "check_network(self)", "check_float(\"ema_decay\"",
            "check_bool(\"load_only_unet\"", "if ckpt_path is not None:", "elif load_only_unet")

# %% [markdown]
# - ① 只用构造参数。学习率的配方先试造一次，写错了现在就知道。
# - ② 只用构造参数。`DiffusionWrapper` 按配方造出 U-Net，并决定条件怎样接进去。
# - ③ 只用构造参数。条件的键整理成字典；没有条件可丢时，`cond_drop_prob` 只能是 0。
# - ④ 要用 ② 的网络与第一段的噪声表：核对通道数与下采样倍数，噪声表不合适时给出警告。
# - ⑤ 要用 ② 的网络：影子的初值，就是此刻网络的权重。
# - ⑥ 只用构造参数。布尔值就得是布尔值；`ignore_keys` 须是列表或元组。
# - ⑦ 四样都要用，此刻都已经造好，每个键都能核对。文件里没有 EMA，载入之后就让影子从网络此刻的权重重新开始。
# - ⑧ 要求“只取网络”或“略过哪些键”却没给文件，多半是忘了写路径，所以报错。

# %% [markdown]
# ## 小结
#
# **问题**：`__init__` 里谁必须在谁之前，放错了会怎样？
#
# - **三条先后**：噪声表在 `logvar` 之前，网络在 EMA 之前，载入在这四样之后。课程版的次序是噪声表、`logvar`、网络、EMA、载入。
# - **前两条放错，当场报错；第三条有四种放错，都不报错**：载入时还没有造出来的，文件里的就丢了。丢了 1000 步的表，另造一张 500 步的，步号的含义就变了，认出率从 99.4% ± 0.6% 掉到 22.5% ± 2.7%。
# - **只有登记过的才填得上**：要存、要搬家、优化器不更新的张量，登记成缓冲区。
#
# 写自己的代码时，载入之后要看返回的 `missing_keys` 与 `unexpected_keys`，有不该缺的、不该多的键就报错（习题 09.2）。原文件只把它们印出来，`betas` 就在多余的键里。
#
# 后面的两个附录，用到时再查；每个构造参数的卡片在[源码精读](93_source_reading.ipynb)第 7 节。

# %% [markdown]
# ## 附一：原文件的每一条语句
#
# 读原文件时拿来查，第一遍只看带**错**字的几行。全部语句分成六组，点开就是那一组的表：在原文件的语句里找第二列的名字，最后一列空着，就是与课程版一样。
#
# 次序照 Stable Diffusion 2 的提交 `cf1d67a`。标着 SD 2 的，latent-diffusion 没有；标着 textual inversion 的，两份都没有，出自它的改版。手里没有原文件，就用 `python course.py original --download sd2` 取。

# %%
groups = {1: "开头，采样与数据的设定", 12: "造网络与 EMA", 17: "学习率、损失与挑检查点的设定", 26: "载入，重置 EMA",
          35: "建噪声表，造 logvar", 40: "训练时丢掉条件"}
statement_table("DDPM.__init__", groups)

# %% [markdown]
# 在命令行运行 `python course.py original 你的文件.py`，整个文件都这样一句一句对照着看。

# %% [markdown]
# ## 附二：毛病三、四，改了字典，漏了前缀
#
# 附一里标了**错**的还有不少，这里只演示两处：它们与次序无关，也不报错。
#
# **传入的字典少了一项。** Stable Diffusion 2 的 `DiffusionWrapper` 从 `unet_config` 里弹出 `sequential_crossattn`：第二次用同一份配置造模型，这个设置就没有了。课程版先复制一份，再动手。

# %%
def build_naive(unet_config):
    return unet_config.pop("sequential_crossattn", False)  # 改动了调用者的字典


shared = {"target": "ddpm_edu.UNet", "sequential_crossattn": True}
print("同一份配置造两次，得到的是", build_naive(shared), "和", build_naive(shared))
config = toy_model_config()
DDPM(**config)
check("课程版没有改动配置", config == toy_model_config(), True)

# %% [markdown]
# **“只取网络”什么也没有载入。** `load_only_unet` 为真时，原文件把整个权重字典交给 `self.model`。文件里的键以 `model.` 开头，而 `self.model` 自己的键没有这个前缀，又是 `strict=False`，于是一个也对不上。

# %%
torch.manual_seed(1)
fresh = DDPM(**toy_model_config())
before = [p.clone() for p in fresh.model.parameters()]
missing = fresh.model.load_state_dict(model.state_dict(), strict=False).missing_keys
print(f"网络有 {len(fresh.model.state_dict())} 个键，其中 {len(missing)} 个没有载入")
check("权重还是随机的初值", all(torch.equal(p, q) for p, q in zip(fresh.model.parameters(), before)), True)

# %% [markdown]
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
# ### 09.2　对不上的键 ★★
#
# `module` 是模块，`state` 是从文件读出的权重字典。用 `strict=False` 载入，返回一对列表：不该缺的键，不该多的键，各按字母排好。
# `optional` 是一个元组，里面是前缀：缺的键若以其中一个开头，就能重新算出，不算。多的键一个也不放过。

# %%
def mismatches(module, state, optional):
    # 答案
    found = module.load_state_dict(state, strict=False)
    missing = [key for key in found.missing_keys if not key.startswith(optional)]
    return sorted(missing), sorted(found.unexpected_keys)
    # 答案完


grade("09.2", mismatches)

# %% [markdown]
# ### 09.3　只取网络的权重 ★★★
#
# `state_dict` 是整个 DDPM 的权重字典。只取以 `model.` 开头的键，去掉这个前缀，返回新的字典，让 `model.model.load_state_dict(...)` 不用 `strict=False` 就能载入。
# 附二说过原文件在这里错在哪里。

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
# 课程版先建 EMA、再载入；文件里没有 EMA 的键时，载入之后还有一步：让影子从网络此刻的权重重新开始（第 5 节第三段源码的 ⑦）。
# 假如漏了这一步，检查点文件里只有网络的权重，载入时又用 `strict=False`。载入之后不训练，立刻在 `ema_scope()` 里采样（这个范围里暂时换上 EMA 的影子，它的初值见同一段源码的 ⑤），会怎样？
#
# - A：用的是文件里的权重，因为 EMA 的影子跟着网络一起变。
# - B：载入时就报错，说缺少 EMA 的键。
# - C：用的是随机初值与文件里权重的平均，采出的图有些模糊。
# - D：用的是随机的初值，采出的是噪声。

# %%
grade("09.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 小实验　换错的是步数，还是形状
#
# 改一处，量一量，写三句话。把本章开头画两排数字那一格的第一行换成下面这行，重新运行那一格；它后面的单元不用重跑。`linear` 的步数没有错，错的是形状。先猜哪一个坏得厉害。
#
# ```python
# changes = {"训练时的表": {}, "linear": {"beta_schedule": "linear"}, "800 步": {"timesteps": 800}}
# ```
#
# <!-- 参考答案 -->
# **参考答案**　每个种子二十张，± 后面是标准误；“差多少”是走过的 25 步里，网络以为的幅度与真的幅度平均差多少：
#
# | 换成的表 | 差多少 | 认出率 | 种子 |
# |:--|--:|--:|--:|
# | 不换：`cosine`，1000 步 | 0 | 99.4% ± 0.6% | 8 |
# | `linear`，1000 步 | 0.08 | 97.5% ± 0.6% | 32 |
# | `cosine`，800 步 | 0.12 | 91.9% ± 1.1% | 32 |
# | `cosine`，500 步 | 0.27 | 22.5% ± 2.7% | 8 |
#
# 步数错得更坏：按种子配对相减，800 步的认出率比 `linear` 低 5.6 ± 0.9 个百分点。四行排下来，差得越多，认出得越少。网络只认步号，所以步号的含义一变，每一步都用错了噪声的多少。
#
# 坏处是不是都在起点？再用 500 步的表试一次：把传给网络的步号，换成训练时的表上幅度最接近的那一步。只换头三步，认出率是 40.6% ± 2.7%；头三步照错，其余的都换对，是 90.6% ± 2.4%（八个种子）。所以起点只占一部分，主要是后面一路都错。
#
# ```python
# from ddpm_edu.evaluation.classifier import load_classifier
# from ddpm_edu.evaluation.metrics import recognised
#
# judge, twenty = load_classifier("mnist"), torch.arange(20) % 10
# for change in ({}, {"beta_schedule": "linear"}, {"timesteps": 800}, {"timesteps": 500}):
#     model, shares = load_pretrained("mnist", **change), []
#     for seed in range(8):
#         images, _ = generate(model, 20, cond=twenty, guidance_scale=2.0, steps=25, seed=seed, progress=False)
#         shares.append(recognised(judge, images, twenty)["recognised"])
#     print(change, torch.tensor(shares).mean(), torch.tensor(shares).std() / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
