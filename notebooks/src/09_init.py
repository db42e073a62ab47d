# %% [markdown]
# # 09 · `__init__` 逐行
#
# 你练好了一个模型，过几天取回来画图，配置里的步数却误写成 500，训练时是 1000。
# 若用 latent-diffusion 或 Stable Diffusion 2 的 `ddpm.py`（本章都叫“原文件”），把检查点的路径交给基类 `DDPM` 的 `ckpt_path`，这个错不会报出来：造出的模型，权重是练好的，噪声表却是错的。
#
# 本课程的 `DDPM`（下文叫“课程版”）本来拦得住；下面只取网络的权重、表照配置另造，做出同样的结果，画在第二排。
#
# 本该当场发现它的，是原文件的构造函数 `__init__`，可它有一条语句放早了。自己写模型，也可能放错同样的次序。
#
# 这一章要回答的问题是：**`__init__` 里谁必须在谁之前，放错了会怎样？**
#
# **学习目标**
#
# - 说得出构造函数造哪几样东西，谁必须在谁之前，为什么。
# - 说得出每一条先后放错了会怎样，哪一条不报错。
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
changes = {"1000 步（训练时）": {}, "500 步（写错）": {"timesteps": 500}}
models = {name: load_pretrained("mnist", **change) for name, change in changes.items()}
digits = torch.arange(10)
drawn = [generate(model, 10, cond=digits, guidance_scale=2.0, steps=25, seed=0, progress=False)[0] for model in models.values()]
grid_figure(torch.cat(drawn), nrow=10, rows=list(models), columns="0123456789")

# %% [markdown]
# 图：步数误写成 500，数字就画不成了。两排用的是同一份练好的权重、同一份起始噪声，只有噪声表不同。
#
# 这里的步数是噪声表的长度 $T$；采样时，两排都只从各自的表里挑 25 步。随包的分类器判成了要画的那个数字的，从 99.4% ± 0.6% 掉到 22.5% ± 2.7%（八个种子，每个二十张，± 是标准误，程序在章末的小实验里）。
#
# 训练时存下的检查点里，明明有 1000 步的表，原文件的基类却没有用上。这张表丢在哪一条语句上？

# %% [markdown]
# ## 1　五件事，三条先后
#
# `__init__` 的语句虽多，除了必须最先的 `super().__init__()`，本章只看五件事的次序；检查点 (checkpoint) 填得进填不进，先看它（第 4 节再看另一半）。前四件各造一样东西，最后一件打开检查点，把文件里的数填进去：
#
# | 名字 | 是什么 | 要先有什么 |
# |:--|:--|:--|
# | 噪声表 | 每一步掺多少噪声；步数 $T$ 是它的长度 | |
# | `logvar` | 每一步一个对数方差，共 $T$ 个，用来调各步在损失里的轻重（[第 6 章](06_loss.ipynb)） | 噪声表，才知道 $T$ |
# | 网络 | U-Net | |
# | EMA | 指数滑动平均：先把网络的权重复制一份作影子，训练时每步靠近当前的权重一点，采样时用它（[第 11 章](11_ema.ipynb)） | 网络，才有权重可复制 |
# | 载入 | 从文件取数，填进上面四样 | 上面四样，才有地方可填 |
#
# 五件事在源码里是怎样排的？把课程版与原文件的基类放在一起看。

# %%
init_map()

# %% [markdown]
# 图：原文件的载入放早了。上半是三条先后，箭头从先造的指向要用它的；丙从灰框出发，因为载入要等框里的四样都造好。
# 下半是两份源码里真实的次序：课程版的载入在最后；原文件的载入却在灰框里的两样之前，打叉的箭头就是放反了的丙。
#
# 课程版先造噪声表，原文件先造网络，两种都可以，因为甲与乙互不相干。
#
# 先猜一猜：载入的时候，要填的东西还没有造出来，会报错吗？

# %% [markdown]
# ## 2　每一条都放错一次
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
# 甲、乙放错，当场就报错，因为要用的东西还没有：

# %%
check_raises("logvar 在噪声表之前", lambda: Tiny("logvar→噪声表→网络→EMA"), "betas")
check_raises("EMA 在网络之前", lambda: Tiny("噪声表→logvar→EMA→网络"), "model")

# %% [markdown]
# 再看丙。先存一份“练好的”，里面的 `logvar` 学成了 $-3$。然后让载入分别抢在四样东西之前，看文件里有哪些键没有用上：

# %%
trained = Tiny("噪声表→logvar→网络→EMA")
torch.nn.init.constant_(trained.logvar, -3.0)
file = trained.state_dict()

orders = {
    "噪声表": "网络→EMA→载入→噪声表→logvar",  # 原文件的次序
    "logvar": "网络→EMA→噪声表→载入→logvar",
    "网络": "噪声表→logvar→载入→网络→EMA",
    "EMA": "噪声表→logvar→网络→载入→EMA",
}
for name, order in orders.items():
    print(f"载入在 {name} 之前，没有用上的键：", "，".join(Tiny(order, state=file).unused))

# %% [markdown]
# 四种都没有报错。文件里的数无处可填，就成了“多余的键”；而 `strict=False` 不把多余的键算作错。原文件也这样写。
#
# 原文件的次序是第一种。照它载入这份 100 步的文件，配置里却写 50 步：

# %%
early = Tiny(orders["噪声表"], T=50, state=file)
print(f"噪声表的步数：文件 {len(file['betas'])}，造好之后 {len(early.betas)}")
check("网络的权重却载入了", early.model.weight, file["model.weight"])

# %% [markdown]
# 权重进来了，表却是照配置另造的。
#
# 配置写对时，另造的表与文件里的一样；`logvar` 虽也丢了，原文件基类的损失却不用它。所以这个毛病平时看不出。
#
# 把载入挪到最后：

# %%
order = "网络→EMA→噪声表→logvar→载入"
check_raises("步数不同，当场报错", lambda: Tiny(order, T=50, state=file), "size mismatch")
late = Tiny(order, state=file)
check("步数相同，logvar 用的是文件里的", late.logvar, file["logvar"])

# %% [markdown]
# `strict=False` 放过多余的键，却不放过形状不同的键。所以只要载入放在最后，文件里又带着表，步数不同就当场报错。步数相同而表里的数不同，仍不报错：用的是文件里的表。
#
# 载入可能抢在四样中任何一样之前，所以丙占四行：
#
# | 放错的一条 | 后果 | 报错吗（`strict=False`） |
# |:--|:--|:--|
# | 甲 `logvar` 在噪声表之前 | 长度 $T$ 要从表里取，取不到 | 当场报错 |
# | 乙 EMA 在网络之前 | 没有权重可复制 | 当场报错 |
# | 丙 载入在噪声表之前 | 文件里的表丢了，照配置另造一张 | **不报错** |
# | 丙 载入在 `logvar` 之前 | 文件里的 `logvar` 丢了，回到初值 | **不报错** |
# | 丙 载入在网络之前 | 权重一个也没有载入，网络是随机数 | **不报错** |
# | 丙 载入在 EMA 之前 | 文件里的影子丢了，从网络的权重重新复制 | **不报错** |
#
# 原文件的基类占了丙的前两行：表丢了，`logvar` 也丢了。丢了表，就是开头说的那个错。

# %% [markdown]
# ## 3　毛病一：先载入，再建表
#
# 权重一个没少，只换了一张表，为什么就画不成数字？网络看不见噪声表，只知道步号 $t$。先看两张表在同一个步号上，噪声各有多少：

# %%
right, wrong = models.values()
amplitudes = {"1000 步的表": right.sqrt_alphas_cumprod, "500 步的表": wrong.sqrt_alphas_cumprod}
same_step_figure(amplitudes, step=349, image=drawn[0][3])

# %% [markdown]
# 图：同一个步号，两张表的噪声不一样多。左边是原图的幅度 $\sqrt{\bar\alpha_t}$，越小噪声越多；点线是第 349 步，两个圆点是两张表在这一步的幅度。
# 右边是一张“3”，与它在两张表上的第 349 步，用的是同一份噪声：一张还看得清，另一张已经难认。
#
# 橙线在蓝线之下，所以用 500 步的表采样时，送给网络的图，噪声比它在这个步号上学过的多。
#
# 这是不是原因，试了才知道。模型用 `cosine` 表（[第 2 章](02_schedule.ipynb)），$\bar\alpha_t$ 几乎只由 $(t+1)/T$ 决定。
# 所以 500 步的表的第 $t$ 步，与 1000 步的表的第 $2t+1$ 步，噪声一样多：$(t+1)/500=(2t+2)/1000$，步号从 0 数，所以是 $2t+1$。
#
# 那么表不动，权重也不动，只把告诉网络的步号改成 $2t+1$。先猜一猜：数字会回来吗？

# %%
check("500 步的表的第 t 步，就是 1000 步的表的第 2t+1 步", amplitudes["500 步的表"], amplitudes["1000 步的表"][1::2], atol=1e-4)


def tell_right_step(module, args):  # 每次调用网络之前，先改它的输入
    x, t = args
    return x, 2 * t + 1


hook = wrong.model.register_forward_pre_hook(tell_right_step)
fixed, _ = generate(wrong, 10, cond=digits, guidance_scale=2.0, steps=25, seed=0, progress=False)
hook.remove()
grid_figure(fixed, nrow=10, rows=["告诉它 $2t+1$"], columns="0123456789")

# %% [markdown]
# 图：只改告诉网络的步号，数字就回来了。与开头的第二排相比，表、权重、起始噪声都相同。
#
# 认出率从 22.5% ± 2.7% 回到了 99.4% ± 0.6%。所以原因正是步号：**换了表，同一个步号就是另一种噪声**。
#
# 知道了原因，再看课程版怎样防住它。它有两道防线：载入放在最后，长度或数值不同的表填不进；填之前，先核对记下的步数与种类。下面先拦住的是第二道：

# %%
model = DDPM(**toy_model_config(beta_schedule="cosine"))
save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, "toy.ckpt")
short = toy_model_config(beta_schedule="cosine", timesteps=500, ckpt_path="toy.ckpt")
check_raises("步数不同的文件载入不了", lambda: DDPM(**short), "timesteps")

# %% [markdown]
# 开头的第二排画得出来，是因为随包的模型只取网络（`load_only_unet`）：这时步数不同，至多提醒一句；随包的文件又没有记步数，连提醒也没有。
#
# 原文件里也只有基类有这个毛病：子类 `LatentDiffusion` 先拿走 `ckpt_path`，等一切造好才载入。

# %% [markdown]
# ## 4　毛病二：`logvar` 没有登记
#
# 次序对了，就一定填得进吗？还不够：载入只往**登记过**的张量里填。PyTorch 的模块里，张量有三种放法，参数 (parameter)、缓冲区 (buffer) 与普通属性：
#
# | 放法 | 怎样写 | 交给优化器，由它更新 | 存进检查点，载入时填 | 跟着 `.to(device)` 搬家 |
# |:--|:--|:-:|:-:|:-:|
# | 参数 | `nn.Parameter(x)` | 是 | 是 | 是 |
# | 缓冲区 | `register_buffer("x", x)` | 否 | 是（`persistent=False` 时否） | 是 |
# | 普通属性 | `self.x = x`，x 是普通张量 | 否 | 否 | 否 |
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
# 噪声表要存、要搬家，却不该被训练，所以登记成缓冲区。
#
# 原文件的 `logvar` 只在要学的时候登记成参数，不学的时候是普通属性，所以既不存，也不搬家。
# `LatentDiffusion` 的损失要取 `self.logvar[t]`：在 GPU 上训练时，$t$ 在 GPU 上，`logvar` 却留在 CPU 上，较新的 PyTorch 会因此报错。
#
# 课程版在不学的时候，把它登记成缓冲区。

# %% [markdown]
# ## 5　逐行读课程版造东西的两段
#
# 最小的模型里，五件事各占一行；真的源码里，它们在两段中。只存设定的那些行，在[源码精读](93_source_reading.ipynb)第 7 节。
#
# 每一行只问一句：**它要用的东西，前面造好了吗？**
#
# **第一段：建噪声表。**

# %%
show_source(DDPM.__init__, "# 存进检查点的超参数", "# save_hyperparameters 记的是", stop="self.save_hyperparameters")

# %% [markdown]
# - ① 由父类 `GaussianDiffusion` 建好噪声表与全部系数表，登记成缓冲区。它只用构造参数，所以可以最先做。`given_betas` 是直接给出的整张表，先换成列表，才存得进检查点。
# - ② 取回真正的步数 $T$，要用 ① 的表。$T$ 与别的构造参数一起存进 `hparams`，第 3 节核对的步数从这里来。从哪里载入不算模型的设定，所以略过。

# %% [markdown]
# **第二段：`logvar`，网络，EMA，载入。**

# %%
show_source(DDPM.__init__, "self.learn_logvar =", "self.scheduler_config = scheduler_config", "self.model = DiffusionWrapper",
            "check_float(\"ema_decay\"", "check_bool(\"load_only_unet\"")

# %% [markdown]
# - ① 造 `logvar`，长度是 $T$，第一段已经有了：这是先后甲。要学就登记成参数，不学就登记成缓冲区，哪一种都会存进检查点。
# - ② 存下学习率的配方，并先试造一次，写错了不必等到训练才知道。
# - ③ 造网络：`DiffusionWrapper` 按配方造出 U-Net，并决定条件怎样接进去。然后整理条件的键，核对网络的通道数与噪声表。
# - ④ 造 EMA：影子的初值，就是网络此刻的权重。它要用 ③ 的网络：这是先后乙。
# - ⑤ 载入。四样都已经造好，每个键都能核对：这是先后丙。文件里没有 EMA 时，载入之后让影子从网络此刻的权重重新开始。要求“只取网络”或“略过哪些键”，却没有给文件，就报错。

# %% [markdown]
# ## 小结
#
# **问题**：`__init__` 里谁必须在谁之前，放错了会怎样？
#
# - **三条先后**：噪声表在 `logvar` 之前，网络在 EMA 之前，载入在这四样之后。
# - **前两条放错，当场报错；第三条放错，用 `strict=False` 载入，就不报错**：载入时还没有造出来的，文件里的就丢了。丢了表，照配置另造的步数若不同，同一个步号就是另一种噪声，数字就画不成了。
# - **只有登记过的才填得上**：要存、要搬家、优化器不更新的张量，登记成缓冲区。
#
# 写自己的代码时，载入之后要看返回的 `missing_keys` 与 `unexpected_keys`，有不该缺、不该多的键就报错（习题 09.2）。

# %% [markdown]
# ## 附一：原文件的每一条语句
#
# 读原文件时拿来查，一组一点开。赶时间的，只看第 28、35、38 条，正文的两个毛病就在那里。最后一列空着的，只表示没有错要说。
#
# 次序照 Stable Diffusion 2 的提交 `cf1d67a`。标着 SD 2 的，latent-diffusion 没有；标着 textual inversion 的，出自它的改版，两份都没有。
#
# `python course.py original 你的文件.py` 把整个文件一句一句对照着写出来；手里没有原文件，用 `python course.py original --download sd2` 取。

# %%
groups = {1: "开头，采样与数据的设定", 12: "造网络与 EMA", 17: "学习率、损失与挑检查点的设定", 26: "载入，重置 EMA",
          35: "建噪声表，造 logvar", 40: "训练时丢掉条件"}
statement_table("DDPM.__init__", groups)

# %% [markdown]
# ## 附二：毛病三、四，改了字典，漏了前缀
#
# 附一里标了**错**的，再细说两处，也都不报错。
#
# **传入的字典少了一项。** Stable Diffusion 2 的 `DiffusionWrapper` 从 `unet_config` 里弹出 `sequential_crossattn`：第二次用同一份配置造模型，这个设置就没有了。课程版先复制一份。
#
# **“只取网络”什么也没有载入。** `load_only_unet` 为真时，原文件把整个权重字典交给 `self.model`。文件里的键以 `model.` 开头，而 `self.model` 自己的键没有这个前缀，又是 `strict=False`，于是一个也对不上。

# %%
fresh = DDPM(**toy_model_config())
missing = fresh.model.load_state_dict(model.state_dict(), strict=False).missing_keys
print(f"网络有 {len(fresh.model.state_dict())} 个键，其中 {len(missing)} 个没有载入")

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
# ### 09.4　几种次序都可以 ★★
#
# 噪声表、`logvar`、网络、EMA、载入，这五件事一共有 120 种次序。三条先后都满足的，有几种？
# 先算，再用第 2 节的 `Tiny` 与 `file` 核对：把 `itertools.permutations` 给出的 120 种都造一遍，数一数不报错、`unused` 又是空的有几种。

# %%
grade("09.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 09.5　影子从哪里来 ★★★
#
# 课程版先建 EMA、再载入；文件里没有 EMA 的键时，载入之后还有一步：让影子从网络此刻的权重重新开始（第 5 节第二段源码的 ⑤）。
# 假如漏了这一步，检查点文件里只有网络的权重，载入时又用 `strict=False`。载入之后不训练，立刻在 `ema_scope()` 里采样（这个范围里暂时换上 EMA 的影子，它的初值见同一段源码的 ④），会怎样？
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
# 改一处，量一量，写三句话。`linear` 的步数没有错，错的是形状；800 步的形状没有错，错的是步数。先猜哪一个坏得厉害，再在新的一格运行下面的程序，约一分钟；打印的是认出率与标准误。
#
# ```python
# from ddpm_edu.evaluation.classifier import load_classifier
# from ddpm_edu.evaluation.metrics import recognised
#
# judge, twenty = load_classifier("mnist"), torch.arange(20) % 10
# for change in ({"beta_schedule": "linear"}, {"timesteps": 800}):
#     other, shares = load_pretrained("mnist", **change), []
#     for seed in range(8):
#         pictures, _ = generate(other, 20, cond=twenty, guidance_scale=2.0, steps=25, seed=seed, progress=False)
#         shares.append(recognised(judge, pictures, twenty)["recognised"])
#     print(change, torch.tensor(shares).mean(), torch.tensor(shares).std() / 8**0.5)
# ```
#
# 正文的认出率也这样量：`change` 取 `{}` 与 `{"timesteps": 500}`；第 3 节的 $2t+1$，再添一行 `other.model.register_forward_pre_hook(tell_right_step)`。
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
# 步数错得更坏：按种子配对相减，800 步的认出率比 `linear` 低 5.6 ± 0.9 个百分点。四行排下来，差得越多，认出得越少。
#
# 认出率的程序在上面，种子添到 32 个；“差多少”这样量：
#
# ```python
# from ddpm_edu.sampling import spaced_timesteps
#
# for change in ({}, {"beta_schedule": "linear"}, {"timesteps": 800}, {"timesteps": 500}):
#     table = load_pretrained("mnist", **change).sqrt_alphas_cumprod
#     print(change, (table - right.sqrt_alphas_cumprod[:len(table)])[spaced_timesteps(len(table), 25)].abs().mean())
# ```
#
# <!-- 参考答案完 -->
