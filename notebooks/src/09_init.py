# %% [markdown]
# # 09 · `__init__` 逐行
#
# 打开 latent-diffusion 的 `ddpm.py`，`class DDPM` 里最先读到的就是 `__init__`：一条接一条地存设定、造东西，看上去谁先谁后都无妨。
# 可是次序错一处，后果可以像下面这样：原文件的基类先载入权重、后建噪声表，文件里的表没有地方放，就丢了；于是 1000 步的权重配上了 500 步的表，谁也不报错（`LatentDiffusion` 自己另外载入，没有这个毛病）。两排数字用的是**同一份**练好的权重、同一份起始噪声，权重一个也没有载错；第二排只是在构造时写成了 `timesteps=500`，而权重是在 1000 步的噪声表上练的。
# 第一排这样的图，分类器把 99.4% ± 0.6% 判成要它画的那个数字，下面叫“认得出”；第二排这样的，只认得出 22.5% ± 2.7%（八个种子，每个二十张，± 后面是标准误）。
#
# 文件里明明存着噪声表，原文件却照样载入，不报错。课程版载入整份检查点时会拦住；只取网络的权重时不拦，只提醒一句；下面的 `load_pretrained` 取的正是网络，改哪一项由人自己负责，所以画得出第二排。
# 这一章要回答的问题是：**`__init__` 的每一条语句做什么，谁必须在谁之前？**
#
# **学习目标**
#
# - 手里拿着原文件，能说出它的 `__init__` 里每一条语句做什么、归哪一章、有没有毛病。
# - 分清参数 (parameter)、缓冲区 (buffer) 与普通属性，知道哪些会存进检查点 (checkpoint)。
# - 读懂课程版的 `DDPM.__init__` 的每一行，知道 37 个构造参数各管什么。
#
# **预计用时** 正文 50 分钟，练习另计。运行全部单元约 20 秒，不需要 GPU，不需要联网。

# %%
import inspect
import os
import tempfile

import torch

from ddpm_edu import DDPM, count_params, instantiate_from_config, load_pretrained
from ddpm_edu.config import get_class, target_class
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.files.checkpoint import save_checkpoint
from ddpm_edu.files.names import check_names
from ddpm_edu.gaussian import GaussianDiffusion
from ddpm_edu.generate import generate
from ddpm_edu.teach import card, card_index, check, check_order, check_raises, grid_figure, show_source
from ddpm_edu.teach.diagrams import order_figure
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
# 图：上排用的是训练时的表，下排换成了 500 步的。两排都只走 25 步，下排的第一步就是第 499 步。
# 网络只认步号。训练时，第 499 步的图还有七成的幅度 $\sqrt{\bar\alpha_t}$；到了 500 步的表上，同一个步号已经是纯噪声。往后也几乎步步都错：同一个步号，噪声都比训练时多。起点只占一部分：头三步照错、其余换对，认出率就回到 90.6 ± 2.4%；只换对头三步，只有 40.6 ± 2.7%（章末小实验的参考答案）。

# %%
amplitude = {name: model.sqrt_alphas_cumprod[499] for name, model in models.items()}
check_order("第 499 步，图的幅度：500 步的表 < 1000 步的表", amplitude["500 步的表"], amplitude["1000 步的表"])

# %% [markdown]
# ## 1　一张地图
#
# 下面把 latent-diffusion 与 Stable Diffusion 2 的 `ddpm.py` 都叫“原文件”，两份不同的地方会点明；本课程的叫“课程版”。
#
# 原文件的 `__init__` 里，次序要紧的有五条：四条造东西（网络、EMA、噪声表、`logvar`），一条从检查点 (checkpoint) 往里填。其余多是存设定、核对和打印。EMA 是网络权重的滑动平均，第 11 章细讲。按先后写出来，是这样的骨架：
#
# ```text
# self.parameterization = ……
# self.model            = 网络
# self.model_ema        = 网络权重的影子
# self.v_posterior      = ……
# 从检查点载入权重          # 给了 ckpt_path 才做
# 建噪声表                  # 要读 parameterization 与 v_posterior
# self.logvar           = 长度为 T 的一串数
# ```
#
# `super().__init__` 当然在最前；设定只须存在读它的语句之前，例如建表要读的两项。Stable Diffusion 2 还有几条改 EMA 的，打开开关才做，下面的图里不画。
#
# 把它画成图，再画上谁需要谁：EMA 要复制网络的权重，`logvar` 的长度是噪声表的步数，载入时则要往四样东西里填数。原文件的次序照第 2 节的表抄下；课程版的，由下面的程序按各条语句在源码里的位置排出来（父类的构造函数先拼进 `super().__init__` 那一行）。

# %%
parent = inspect.getsource(GaussianDiffusion.__init__)
source = inspect.getsource(DDPM.__init__).replace("super().__init__(", parent)  # 父类的构造函数在这里运行
found = {"设定": "self.v_posterior =", "噪声表": "self.register_schedule(", "logvar": "logvar = torch.full",
         "网络": "self.model = Diff", "EMA": "self.model_ema =", "载入": "self.init_from_ckpt"}
orders = {"原文件": ["网络", "EMA", "设定", "载入", "噪声表", "logvar"],
          "课程版": sorted(found, key=lambda name: source.index(found[name]))}
needs = [("设定", "噪声表"), ("噪声表", "logvar"), ("网络", "EMA"), *((name, "载入") for name in ("网络", "EMA", "噪声表", "logvar"))]
places = {"设定": "v_posterior\n存成属性", "噪声表": "register_schedule\n13 张表，存 12 张", "logvar": "logvar\n长度为 T", "网络": "model\nU-Net",
          "EMA": "model_ema\n网络权重的影子", "载入": "init_from_ckpt\n从文件载入权重"}
stored = {"原文件": {"网络", "EMA", "噪声表"}, "课程版": {"网络", "EMA", "噪声表", "logvar"}}
order_figure(orders, needs, places, stored, partly={"原文件": {"logvar"}})

# %% [markdown]
# 图：从左到右是语句的先后，方框下面的第一行是在源码里找得到的名字。灰线从先要有的指向要用它的；橙色虚线是指反了的，要用的时候还没有造出来。
# 原文件有两条橙线：载入的时候，噪声表与 `logvar` 都还没有。它的 `logvar` 只有一半是蓝的：`learn_logvar` 为真时它存进检查点，载入时却还没有它，文件里的值就丢了；不学时根本不存。
# “设定”画在存下 `v_posterior` 的地方，`parameterization` 存得更早。课程版的头两个方框，都在父类 `GaussianDiffusion` 的构造函数里。
#
# 哪些次序是必须的，哪些只是碰巧？数一数指反了的线，再试试原文件只把载入挪到最后：

# %%
def too_early(order):
    return [f"{after}要用{before}" for before, after in needs if order.index(before) > order.index(after)]


orders["原文件，载入挪到最后"] = ["网络", "EMA", "设定", "噪声表", "logvar", "载入"]
for name, order in orders.items():
    print(f"{name}：指反了 {len(too_early(order))} 条", *too_early(order))

# %% [markdown]
# 必须改的只有一处：把载入挪到最后，橙线就没有了。课程版还把噪声表提到最前，只因为公式都写在父类里，而父类的构造函数先运行；噪声表留在后面也不算错。
#
# 七条线合起来，就是图里六个方框的全部先后要求：设定、噪声表、`logvar` 依次是一串，网络、EMA 依次是另一串，两串之间谁先谁后都行；载入要等两串都造完。

# %% [markdown]
# ## 2　原文件的每一条语句
#
# 打开你的那一份，从上往下对着看；没有就用 `python course.py original --download sd2` 取。下表一行一条语句，次序与原文件相同，以 Stable Diffusion 2 的版本为准，latent-diffusion 没有的标了“SD 2”；
# `if` 自己不占一行，讲的是它管着的那几条。第二列是在那一条语句里找得到的名字，“细讲”是章号，最后一列空着就是与课程版一样。
#
# 第一遍不必逐行细读，只看带**错**字的几行：多数要在特殊的设定下才碰得到，最该知道的是四处：三处不报错（第 12 条，第 25 条的两处），一处要到 GPU 上训练才报错（第 35 条）。第 3 到第 5 节用最小的例子逐个重现。

# %%
statement_table("DDPM.__init__")

# %% [markdown]
# 想要整个文件这样对照着看，就在命令行运行 `python course.py original 你的文件.py`：它读你手里的那一份，每一句旁边写着与这张表同一个来源的说明。
#
# <details><summary>表里有三处要多说一句</summary>
#
# - 第 16 条：`LitEma` 存着的缓冲区 (buffer) 里，除了每个权重一份的影子，还有衰减率与更新的次数，所以印出的份数多 2。
# - 第 18 条：所以用基类训练，写了学习率的配方也照旧是不变的学习率。
# - 第 25 条：方法 `init_from_ckpt` 在第 10 章逐行读；给它路径的构造参数 `ckpt_path`，卡片在本章末尾。
#
# </details>

# %% [markdown]
# ## 3　毛病一：先载入，再建表
#
# 噪声表是模型的一部分，也存在检查点里，键是 `betas`、`alphas_cumprod` 等等。原文件载入的时候，模型还没有这些键，于是文件里的就成了“多余的键”；载入用的又是 `strict=False`，多余的键只印出来，不算错。
# 用最小的模型重现：同样的两步，次序由 `table_first` 决定。

# %%
class Loading(torch.nn.Module):
    def __init__(self, T, state, table_first):
        super().__init__()
        self.model = torch.nn.Linear(2, 2)
        if table_first:
            self.register_buffer("betas", torch.full((T,), 0.01))
        self.left = self.load_state_dict(state, strict=False).unexpected_keys
        if not table_first:
            self.register_buffer("betas", torch.full((T,), 0.01))


state = {"model.weight": torch.ones(2, 2), "model.bias": torch.ones(2), "betas": torch.full((100,), 0.02)}
early = Loading(50, state, table_first=False)
print(f"先载入：多余的键 {early.left}，造好之后有 {len(early.betas)} 步，文件里是 {len(state['betas'])} 步")
check("先载入：权重载入了", early.model.weight, state["model.weight"])

# %% [markdown]
# 100 步的文件装进了 50 步的模型，没有报错。开头的第二排，后果与此相同。把两步对调，别的一个字不改：

# %%
check_raises("先建表：步数不同，PyTorch 自己就报错", lambda: Loading(50, state, table_first=True), "size mismatch")
late = Loading(100, state, table_first=True)
check("先建表：步数相同，用的就是文件里的表", late.betas, state["betas"])

# %% [markdown]
# `strict=False` 放过多余的键与缺少的键，却不放过形状不同的键。所以只要表先建好，步数不同的文件就载入不了；步数相同时，文件里的表会盖住构造时的那一张。
#
# 受影响的只有基类 `DDPM`。子类 `LatentDiffusion` 先把 `ckpt_path` 从构造参数里拿走，等父类造完、自编码器也造好，才自己载入，次序是对的。
#
# 课程版先看文件里记的步数、噪声表的名字和参数化，再看每个键：

# %%
model = DDPM(**toy_model_config())
save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, "toy.ckpt")
check_raises("步数不同的文件载入不了", lambda: DDPM(**toy_model_config(timesteps=2000, ckpt_path="toy.ckpt")), "timesteps")

# %% [markdown]
# ## 4　毛病二：`logvar` 没有登记
#
# 训练 latent-diffusion 的人常遇到一句报错：`indices should be either on cpu or on the same device as the indexed tensor (cpu)`。出错的那一行在 `LatentDiffusion.p_losses` 里，是 `self.logvar[t].to(self.device)`（instruct-pix2pix 的 issue 151 问的就是它，stable-diffusion 的 PR 851 改的也是它）。
# $t$ 在 GPU 上，`logvar` 却留在 CPU 上，因为它只是一个普通的张量。PyTorch 1.12 还会自动把下标搬过去，1.13 起才报错。基类的损失不用 `logvar`，所以在基类里看不到。
#
# PyTorch 的模块里，张量有三种放法：
#
# | 放法 | 怎样写 | 优化器更新它 | 存进检查点 | 跟着 `.to(device)` 搬家 |
# |:--|:--|:-:|:-:|:-:|
# | 参数 | `nn.Parameter(x)` | 是 | 是 | 是 |
# | 缓冲区 | `register_buffer("x", x)` | 否 | 是（`persistent=False` 时否） | 是 |
# | 普通属性 | `self.x = x` | 否 | 否 | 否 |
#
# 噪声表不该被训练，又要存、要搬家，所以登记成缓冲区。不学的 `logvar` 也一样。没有 GPU 也看得出搬不搬家：换数值类型与换设备，走的是同一条路。

# %%
class Naive(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.logvar = torch.zeros(4)  # 普通属性
        self.register_buffer("betas", torch.zeros(4))


naive = Naive().to(torch.float64)
print(f"换成 float64 之后：普通属性是 {naive.logvar.dtype}，缓冲区是 {naive.betas.dtype}")
print("检查点里的键：", list(naive.state_dict()))
check("课程版的 logvar 在检查点里", "logvar" in model.state_dict(), True)

# %% [markdown]
# <details><summary>后来改过的版本又错在哪里</summary>
#
# 有些从它改出来的仓库也换成了缓冲区，可是 `learn_logvar` 为真的那一支写成了 `nn.Parameter(self.logvar)`，这时 `self.logvar` 还没有，一构造就报 AttributeError。
#
# </details>

# %% [markdown]
# ## 5　毛病三、四：改了字典，漏了前缀
#
# **传入的字典少了一项。** Stable Diffusion 2 的 `DiffusionWrapper` 从 `unet_config` 里弹出 `sequential_crossattn`：第二次用同一份配置造模型，这个设置就没有了。
# 课程版先复制一份，再动手。

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
# 这一节的两处与第 3 节的都不报错，比报错的更难找。所以课程版宁可多报错：构造参数一传进来就核对，检查点里的每个键都要对得上，除非写进 `ignore_keys`；例外只有能重新算出或重新开始的（系数表、不学的 `logvar`、整份 EMA），文件里可以没有。只取网络时，步数或噪声表与文件记的不同，也会提醒一句。

# %% [markdown]
# ## 6　逐行读课程版的构造函数
#
# 展示的源码都从程序包里当场取出，①②③ 在下面逐个解释，标号 ① 管到 ② 之前的那些行。鼠标停在解释前面的标号上，看得到它管的那几行；点它，回到那段源码。
#
# 读的时候只问一句：这一行要用的东西，前面造好了吗？
#
# 先看签名。一共 37 个构造参数，必填的只有第一个。前 27 个的名字、次序、默认值照 latent-diffusion 的（只有 `ignore_keys` 的空列表换成了空元组；Stable Diffusion 2 又添的四个没有收），所以管同一件事的参数不一定挨在一起；下面分成 12 组读。

# %%
show_source(DDPM.__init__,
            "@suggest_keywords", "timesteps: int = 1000", "loss_type: str", "use_ema: bool = True",
            "first_stage_key: str", "log_every_t: int", "linear_start: float", "original_elbo_weight: float",
            "conditioning_key: str | None", "use_positional_encodings: bool", "learning_rate: float", "cond_key: str",
            stop="):")

# %% [markdown]
# - ① 装饰器 `suggest_keywords` 在名字拼错时指出最接近的那个。`unet_config` 是网络的配方，唯一必填。
# - ② 噪声表：走多少步，每一步掺多少噪声。第 2 章。
# - ③ 损失的形式（第 6 章）；从哪个检查点载入权重、略过哪些键、是否只取网络；按哪个指标挑最好的检查点（第 10 章）。
# - ④ 要不要指数滑动平均 (EMA)：另存一份平滑过的权重，采样时用它。第 11 章。
# - ⑤ 数据：图像在 batch 里的键、边长、通道数。
# - ⑥ 采样时隔多少步留一张中间结果，以及要不要把猜测截到 $[-1,1]$。
# - ⑦ 噪声表的细节；`given_betas` 可以直接给出整张表。
# - ⑧ 总损失的两个权重，中间夹着 `v_posterior`：它决定采样的每一步掺回多少噪声，就是第 0 章里拖过的那个滑块。第 4 章与第 6 章。
# - ⑨ 条件怎样进网络，网络预测什么，学习率怎样变。第 8、5、12 章。
# - ⑩ 坐标通道（把像素的位置也告诉网络，第 8 章）与可学的对数方差（让损失自己学每个 $t$ 该占多重，第 6 章），然后是一个星号：它后面的参数只能按名字给。
# - ⑪ 优化器、EMA 衰减、随机数种子、$t$ 的抽法。原文件的 `__init__` 没有这几个。
# - ⑫ 条件在 batch 里的键，训练时丢掉条件的概率；最后两个是后来的改进，噪声表的终点改不改成纯噪声，损失用不用 min-SNR 的权重，第 18 章讲。

# %% [markdown]
# <details><summary>原文件的配置能不能搬过来</summary>
#
# 写给 `DDPM` 的关键字参数可以照搬，要换的是配方里写的类名：`unet_config` 换成课程版的网络，例如 `ddpm_edu.UNet`；`scheduler_config` 换成课程版同名的调度器。
# 原文件的 YAML 多半是写给 `LatentDiffusion` 的，不能直接交给 `DDPM`。
#
# </details>
#
# ### 最前：整理构造参数，建噪声表

# %%
show_source(DDPM.__init__,
            "# 存进检查点的超参数", "super().__init__(timesteps", "# save_hyperparameters 记的是",
            stop="self.save_hyperparameters")

# %% [markdown]
# - ① 构造参数一传进来，装饰器 `plain_arguments` 就把它们换成 Python 自带的类型，顺便复制一份：安全地读检查点时，只认这些类型。张量不换，所以 `given_betas` 在这里另换。
# - ② 父类 `GaussianDiffusion` 建好噪声表与全部系数表，登记成缓冲区。第 2 章逐行读它。
# - ③ 给了 `given_betas` 时，以它的长度为 $T$，所以从父类取回真正的步数。再把构造参数存进 `hparams`，检查点里就带着它们；从哪里载入不算模型的超参数，所以略过。

# %% [markdown]
# ### 然后：存设定，一边存一边核对
#
# 这一段造的新东西只有两样：③ 由噪声表算出的 `simple_weights`（所以要在噪声表之后），⑤ 计数用的 `batches_seen`。其余各行都是“核对，然后存下”，第一遍可以快些读。

# %%
show_source(DDPM.__init__,
            "self.loss_type =", "self.first_stage_key =", "self.original_elbo_weight = check_float",
            "self.use_positional_encodings =", "self.batches_seen", stop="self.cond_drop_prob =")

# %% [markdown]
# - ① 损失的名字当场核对；原文件要到训练的第一步才核对。`monitor` 是 None 时不挑选检查点；没有 EMA 却要看带 `_ema` 的指标，当场拒绝。
# - ② 图的键、边长、通道数，与采样的两个设定。`check_int` 连 `True` 和 `2.5` 也拦得住。
# - ③ 总损失的两个权重。两个都是 0 时损失恒为 0，训练什么也不做，原文件不会提醒。min-SNR 的权重（第 18 章）算好存成缓冲区，不进检查点。
# - ④ 坐标通道的开关、优化器的设定、随机数种子。`adam_betas` 是 AdamW 一阶、二阶矩的衰减系数，与噪声表的 $\beta$ 只是同名。
# - ⑤ `batches_seen` 是见过几批数据。训练的随机数由它和 `seed` 决定（多卡时还有进程号），它存在检查点里，所以中断后接着训练，结果逐位相同。后面两行是 $t$ 的抽法与丢条件的概率。

# %% [markdown]
# ### 再造 `logvar`

# %%
show_source(DDPM.__init__,
            "self.learn_logvar =", "if learn_logvar:", stop="self.register_buffer(\"logvar\"")

# %% [markdown]
# - ① 一个长度为 $T$ 的张量，处处等于 `logvar_init`。$T$ 由噪声表给出，所以它在噪声表之后。
# - ② 要学就登记成参数，不学就登记成缓冲区，没有第三条路。

# %% [markdown]
# ### 最后：网络，EMA，载入

# %%
show_source(DDPM.__init__,
            "self.scheduler_config = scheduler_config", "self.model = DiffusionWrapper",
            "self.conditioning_key = conditioning_key", "check_network(self)", "check_float(\"ema_decay\"",
            "check_bool(\"load_only_unet\"", "if ckpt_path is not None:", "elif load_only_unet")

# %% [markdown]
# - ① 调度器的配方先试造一次，写错了现在就知道，不必等到训练开始。
# - ② `DiffusionWrapper` 按配方造出 U-Net（配方怎样变成网络，见本章的附录），并决定条件怎样接进去。第 8 章。
# - ③ 条件的键整理成字典；没有条件可丢时，`cond_drop_prob` 只能是 0。
# - ④ 核对通道数与下采样倍数；噪声表不合适时给出警告。
# - ⑤ 核对 `ema_decay`。EMA 另存一份平滑过的权重，叫影子，初值就是此刻网络的权重。
# - ⑥ 布尔值就得是布尔值，字符串 `"false"` 不算；`ignore_keys` 须是列表或元组，写成一个字符串会被逐字拆开，所以拒绝。
# - ⑦ 到这里才载入：网络、EMA、噪声表、`logvar` 都已经造好，每个键都能核对。文件里没有 EMA，载入之后就让影子从网络此刻的权重重新开始。
# - ⑧ 要求“只取网络”或“略过哪些键”却没给文件，多半是忘了写路径，所以报错。

# %% [markdown]
# ## 7　造好之后，模型里有什么
#
# 该造的都造好了，数一数。

# %%
tables = [name for name, buffer in model.named_buffers() if buffer.shape == (model.num_timesteps,)]
print(f"{len(tables)} 张长度为 T 的表：{'、'.join(tables)}")
keys = list(model.state_dict())
counts = {name: sum(key.startswith(start) for key in keys) for name, start in (("网络", "model."), ("EMA", "model_ema."), ("logvar", "logvar"))}
counts["系数表"] = sum(key in tables for key in keys) - counts["logvar"]
print(f"网络有 {count_params(model.model):,} 个参数；检查点里有 {len(keys)} 个键，其中", "，".join(f"{name} {n}" for name, n in counts.items()))
check("四样加起来，一个不多，一个不少", sum(counts.values()), len(keys))
check("lvlb_weights 不存进检查点，它能重新算出", "lvlb_weights" in keys, False)

# %% [markdown]
# 噪声表展开成十三张系数表，再加上 `simple_weights`（min-SNR 的权重，第 18 章）与 `logvar`，是十五张。除了 `simple_weights`，名字都与原文件相同，公式在第 2、4、6 章。
# 十三张系数表里只存十二张：`lvlb_weights` 登记时写了 `persistent=False`（第 4 节的表）。EMA 比网络多一个键，是更新的次数。
#
# 检查点里还存着超参数，凭一个文件就能重建出同样的模型，不必记得当初的配置：

# %%
again = DDPM.load_from_checkpoint("toy.ckpt")
first, second = model.state_dict(), again.state_dict()
check("读回来的每个张量都相同", first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first), True)

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：`__init__` 的每一条语句做什么，谁必须在谁之前？
# - **答案**：对照表有三十八条语句，多数是存设定、核对和打印。次序要紧的有五条，四条造东西，一条从文件往里填：噪声表在 `logvar` 之前，网络在 EMA 之前，载入在它们四个之后；建表要读的设定也要先存。原文件的基类把载入放在噪声表之前，1000 步的权重能装进 500 步的模型，数字的认出率从 99.4% 掉到 22.5%，却不报错。
# - 要存、要搬家、优化器不更新的张量，应当登记成缓冲区。`logvar` 没有登记，`LatentDiffusion` 在 GPU 上训练，PyTorch 1.13 起就报错。
# - `strict=False` 放过多余与缺少的键；键的前缀错了，就一个也没有载入。
#
# ## 构造参数速查
#
# 每个构造参数都有一张卡片，写着含义、公式、在哪里用到、会出什么错。归这一章的八张跟在索引后面，用到时再看。

# %%
card_index()

# %%
card("unet_config")
broken = {"target": "ddpm_edu.UNetModel", "params": {}}
check_raises("类名写错", lambda: DDPM(**toy_model_config(unet_config=broken)), "unet_config.target")
check_raises("参数名写错", lambda: DDPM(**toy_model_config(unet={"modle_channels": 8})), "modle_channels")

# %%
card("first_stage_key")
labelled = DDPM(**toy_model_config(first_stage_key="picture"))
image = torch.zeros(2, 1, 8, 8)
check("键对上就能取到图像", labelled.get_input({"picture": image}, "picture"), image)
check_raises("键不对，错误列出有哪些", lambda: labelled.shared_step({"image": image}), "first_stage_key")

# %%
card("image_size")
sample = DDPM(**toy_model_config(image_size=16)).sample(1, sampler="ddim", steps=2)
check("image_size=16 就采出 16×16", sample.shape[-1], 16)
check_raises("训练时也核对", lambda: model.shared_step({"image": torch.zeros(2, 1, 28, 28)}), "image_size")

# %%
card("channels")
color = {"in_channels": 3, "out_channels": 3}
rgb = DDPM(**toy_model_config(unet=color, channels=3))
check("channels=3 就采出三个通道", rgb.sample(1, sampler="ddim", steps=2).shape[1], 3)
check_raises("与网络不合", lambda: DDPM(**toy_model_config(channels=3)), "in_channels")

# %%
card("log_every_t")
for log_every_t in (100, 250):
    watcher = DDPM(**toy_model_config(log_every_t=log_every_t))
    _, frames = watcher.sample(1, True, sampler="ddim", steps=20)
    print(f"log_every_t={log_every_t}：20 步的采样留下 {len(frames)} 帧（含起点）")
check("间隔 250：起点、第一步，之后每 5 步一帧", len(frames), 1 + 1 + 20 // 5)

# %%
def same_weights(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.model.parameters(), other.model.parameters()))


card("ckpt_path")
check("网络的每个权重都载入了", same_weights(DDPM(**toy_model_config(ckpt_path="toy.ckpt")), model), True)

# %%
card("load_only_unet")
unet_only = DDPM(**toy_model_config(ckpt_path="toy.ckpt", load_only_unet=True))
check("网络的权重真的载入了", same_weights(unet_only, model), True)
shadow = unet_only.model_ema.shadow["diffusion_model/time_embed/0/weight"]
check("EMA 从载入的权重开始，不是随机数", shadow, model.model.diffusion_model.time_embed[0].weight)

# %%
card("ignore_keys")
torch.manual_seed(1)
keep_out = DDPM(**toy_model_config(ckpt_path="toy.ckpt", ignore_keys=["model.diffusion_model.time_embed", "model_ema."]))
loaded = keep_out.model.diffusion_model
check("其余的载入了", loaded.input_blocks[0][0].weight, model.model.diffusion_model.input_blocks[0][0].weight)
difference = (loaded.time_embed[0].weight - model.model.diffusion_model.time_embed[0].weight).abs().max()
check("略过的没有载入，还是随机的初值", difference > 0, True)
check_raises("没有一个键以它开头", lambda: DDPM(**toy_model_config(ckpt_path="toy.ckpt", ignore_keys=["unet."])), "unet.")

# %% [markdown]
# ## 附：从配方到网络
#
# 构造函数里造网络的那一行，背后是下面几个函数；检查点里的类名怎样核对、参数怎样数，也放在这里。第一遍可以跳过。
#
# 网络的配方写在配置文件里：一个类名，加上它的参数。类名是字符串，程序要把它变成类再调用。如果什么都肯调用，配置文件就能执行任何命令，例如 `os.system`。所以先确认它是神经网络或调度器的子类，然后才调用。要确认就先得导入，而导入会运行模块里的代码，所以检查点里别人写的名字，不替他导入。

# %%
show_source(get_class,
            "def get_class", "if not isinstance(target, str)", "module_name, _, class_name", "if found is None", "if not isinstance(found, type)")

# %% [markdown]
# - ① 只认 `kinds` 的子类。
# - ② 写法须是“包.模块.类”。
# - ③ 导入它所在的模块，`import_named` 在导入失败时说出导入的错误。
# - ④ 模块里没有这个名字，多半是拼错了。
# - ⑤ 不是类，或者不是允许的那一类，就拒绝。到此为止只导入了模块，没有调用其中的东西；导入也会运行代码，所以它只用于你自己写下的名字，文件里的名字先过下面的 `check_names`。

# %%
show_source(check_names,
            "def check_names", "for target in", "if not at_hand")

# %% [markdown]
# - ① 从检查点取超参数时，先由它检查；通过的类名才交给 `get_class`。
# - ② 逐个看文件里的类名，不论藏得多深；用户自己也写下了的，不用看。
# - ③ 不在手边的就拒绝，并说出办法。可用的须是网络或调度器，只有三种：本包公开的；`torch.nn` 与 `torch.optim` 里的；你自己已经导入的模块里的。

# %%
show_source(target_class,
            "def target_class", "if not isinstance(config, Mapping)", "if extra :=")

# %% [markdown]
# - ① 从一份配方里取出要造的类。
# - ② 配方须是字典，须有 `target`。
# - ③ 多出的键多半是缩进写错了，报错；都对了，才交给 `get_class`。

# %%
show_source(instantiate_from_config,
            "def instantiate_from_config", "config, cls =", "params = {} if", "known = inspect", "try:")

# %% [markdown]
# - ① 名字同参考实现，可接受的种类是我们加的。
# - ② 名字空间换成普通的字典，再由 `target_class` 找到那个类。
# - ③ `params` 可以不写，也可以写成空的。
# - ④ 对照类的签名，挑出不认得的参数名，并列出可用的有哪些；类若收下任意关键字，就不查。
# - ⑤ 缺了必填的参数，报错里有类名和给了的全部参数；齐了才真正地造。类自己抛出的错误原样抛出，保留文件与行号。

# %%
show_source(count_params,
            "def count_params", "seen, by_module", "trainable =", "if verbose:")

# %% [markdown]
# - ① 返回值可以当整数用。
# - ② 按最外层的子模块分别计数；同一个参数被两处共用，只数一次。
# - ③ 可训练的另外数，冻结的不算。
# - ④ `verbose=True` 打印逐个子模块的表。
# 参考实现的 `count_params` 只有一个总数，看不出冻结了多少。

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
# ### 09.2　像素变成 batch ★★
#
# 读图的程序常给出 0 到 255 的整数像素，排法是 HWC（高、宽、通道）。把 `(B, H, W, C)` 的 uint8 张量换成 DDPM 要的 batch：`(B, C, H, W)` 的浮点张量，0 对应 $-1$，255 对应 $1$。

# %%
def to_batch(pixels):
    # 答案
    return pixels.permute(0, 3, 1, 2) / 127.5 - 1
    # 答案完


grade("09.2", to_batch)

# %% [markdown]
# ### 09.3　只取网络的权重 ★★★
#
# `state_dict` 是整个 DDPM 的权重字典。只取以 `model.` 开头的键，去掉这个前缀，返回新的字典，让 `model.model.load_state_dict(...)` 不用 `strict=False` 就能载入。
# 第 5 节说过原文件在这里错在哪里。

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
# 课程版先建 EMA、再载入；文件里没有 EMA 的键时，载入之后还有一步：让影子从网络此刻的权重重新开始（第 6 节最后一段源码的 ⑦）。
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
