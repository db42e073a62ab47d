# %% [markdown]
# # 08 · U-Net、`DiffusionWrapper` 与 `count_params`
#
# **学习目标**
#
# - 跟着一个张量走完 U-Net，说出每一层的形状。
# - 明白时间 $t$ 和条件是从哪里进网络的。
# - 会用配方造网络，会数参数，知道为什么配置文件里的类名不能随便调用。
#
# **预计用时** 45 分钟。运行全部单元约 15 秒。

# %%
import sys

import torch

from ddpm_edu import DDPM, DiffusionWrapper, UNet, count_params, instantiate_from_config
from ddpm_edu.conditioning import drop_condition
from ddpm_edu.config import get_class, target_class
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.files.names import check_names
from ddpm_edu.sampling import Sampling
from ddpm_edu.teach import card, check, check_order, check_raises, curves_figure, show_source
from ddpm_edu.teach.diagrams import unet_figure
from ddpm_edu.teach.figures import heat_figure
from ddpm_edu.unet import AttentionBlock, ResBlock, normalization, timestep_embedding

torch.manual_seed(0)
print("准备好了")

# %% [markdown]
# ## 1　网络要回答的问题
#
# 输入是带噪的图 $x_t$ 和步号 $t$，输出与图同样大小（eps、x0 或 v）。
# 输出的每个像素都要看到两样东西：附近的细节和整张图的布局。U-Net 的办法是先缩小再放大：缩小之后，一个像素就看得见一大片；放大时再把缩小之前的细节拼回来。

# %%
unet = UNet(in_channels=1, model_channels=16, out_channels=1, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(2,))


def report(module, inputs, output):
    layers = " + ".join(type(layer).__name__ for layer in module)
    print(f"{str(tuple(inputs[0].shape[1:])):>12} → {str(tuple(output.shape[1:])):<11} {layers}")


stages = [*unet.input_blocks, unet.middle_block, *unet.output_blocks, unet.out]
hooks = [stage.register_forward_hook(report) for stage in stages]  # 每一段算完，报一下进出的形状
out = unet(torch.zeros(1, 1, 8, 8), torch.tensor([500]))
for hook in hooks:
    hook.remove()
check("进出同形", torch.tensor(out.shape), torch.tensor([1, 1, 8, 8]))

# %%
unet_figure(unet, 8)

# %% [markdown]
# 图：同一个网络画出来。一个方框是一段，下面的字是它输出的形状（通道×高×宽）；先往下走，边长 8 减到 4，再走上来。
# 橙色的虚线是跳跃连接 (skip connection)：把下行存好的特征图递到上行某一段的入口，与前一段的输出拼在一起，所以两边的边长总是相同。蓝点是时间嵌入进来的地方，每个残差块 (residual block) 一个。
#
# 再看上面打印的。一行是一段网络。前四行是下行：通道增多，边长从 8 减到 4。第五行是中间的一段。
# 再往后四行是上行，输入的通道变多了（64、48、48、32），因为入口处拼上了下行时存好的特征图；第七行拼完还是 4×4，算完才放大到 8×8。最后一行是输出层。
#
# 造这个网络只用了几个参数：`model_channels` 是第一层的通道数，`channel_mult` 给出各层的倍数，层与层之间边长减半；
# 每层下行有 `num_res_blocks` 个残差块，上行多一个；`attention_resolutions` 列出哪些层加注意力，写的是缩小了几倍，不是边长：2 就是缩小一半的那一层，这里是 4×4。

# %%
show_source(UNet.forward,
            "def forward", "divisible =", "emb = self.time_embed", "if (y is None) !=", "skips, h = [], F.pixel_unshuffle",
            "h = self.middle_block", "for stage in self.output_blocks")

# %% [markdown]
# - ① 四样输入：图、步号、可选的上下文（一串向量，例如一段文字，见第 4 节）与类别。
# - ② 通道数与边长不合，就说出应当是什么。
# - ③ 步号先变成向量，再过两层全连接。
# - ④ 类别嵌入直接加到时间嵌入上；该给的没给、不该给的给了，都报错。
# - ⑤ 先把每 `patch_size`² 个像素叠成一个位置（默认是 1，不叠）。下行：每一段的输出都存起来。
# - ⑥ 最底下的一段，边长最小，看得最远。
# - ⑦ 上行：后存的先取，沿通道拼上，再过残差块；最后摊开成像素。最后一层卷积的初值是 0，所以未训练的网络输出 0。

# %%
check("未训练的网络输出恒为 0", unet(torch.randn(4, 1, 8, 8), torch.arange(4)), torch.zeros(4, 1, 8, 8))
pixels = torch.arange(16.0).view(1, 1, 4, 4)
folded = torch.nn.functional.pixel_unshuffle(pixels, 2)
check("叠：左上的 2×2 个像素成了一个位置的 4 个通道", folded[0, :, 0, 0], [0.0, 1.0, 4.0, 5.0])
check("摊开就还原", torch.nn.functional.pixel_shuffle(folded, 2), pixels)

# %% [markdown]
# ## 2　步号怎样变成向量
#
# 直接把整数 $t$ 送进网络不好：数值太大；除以 1000 缩小了，相邻的 $t$ 又只差 0.001，太像。借用 Transformer 的位置编码，用一组频率不同的正弦与余弦：
#
# $$e_i(t) = \cos(\omega_i t),\quad e_{i+d/2}(t) = \sin(\omega_i t),\qquad \omega_i = 10000^{-i/(d/2)}.$$
#
# 高频的分量分得清相邻的 $t$，低频的分量分得清早与晚。
# 两个 $t$ 的嵌入作内积，记 $a=\omega_i t$、$b=\omega_i t'$，每一对分量给出 $\cos a\cos b+\sin a\sin b=\cos(a-b)$，所以只与 $t-t'$ 有关。内积除以 $d/2$，叫它们的相似度。

# %%
show_source(timestep_embedding,
            "def timestep_embedding", "half = dim // 2", "angles =")

# %% [markdown]
# - ① 输出是 float32，不管网络是什么精度。
# - ② 频率从 1 降到接近 $1/10000$，等比排列。
# - ③ 余弦在前，正弦在后；维数是奇数时补一个 0。

# %%
t = torch.arange(1000)
embedding = timestep_embedding(t, 64)
check("cos² + sin² = 1", embedding[:, :32] ** 2 + embedding[:, 32:] ** 2, torch.ones(1000, 32), atol=1e-5)
similarity = embedding @ embedding.T / 32
diagonal = similarity.diagonal(30)  # 相差 30 步的全部配对
check("相似度只与 t 的差有关", diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4)
check("自己与自己最像", bool((similarity.argmax(1) == t).all()), True)
check("i=8：63 步转一圈", embedding[63, 8], 1.0, atol=1e-3)
check("i=24：999 步转过约六分之一圈", embedding[999, 24].acos() / (2 * torch.pi), 1 / 6, atol=0.01)
near, far = similarity[500, 490:511], torch.cat([similarity[500, :301], similarity[500, 700:]])
check_order("相差 10 步以内，比相差 200 步以上的都像", far.max(), near.min())
heat_figure(embedding.T, "步号 $t$", "分量 $i$")

# %% [markdown]
# 图：一列是一个 $t$ 的嵌入，64 个分量从上到下。上半是余弦，下半是正弦，各自从上到下越来越慢。最快的几行细密得分不清（花纹是图的像素太少造成的），分辨相邻的 $t$ 靠它们；分辨早晚靠中间与下半的慢的几行，余弦最慢的几行几乎不变。

# %%
waves = {f"$i = {i}$": embedding[:, i] for i in (8, 16, 24)}
curves_figure((t, waves, "步号 $t$", "嵌入的分量 $e_i(t)$"), (t - 500, {"": similarity[500]}, "$t - 500$", "与 $t=500$ 的相似度"))

# %% [markdown]
# 图：左边是嵌入的三个分量，$i$ 越大，变化越慢：$i=8$ 每 63 步一个来回，$i=24$ 到了 $t=999$ 也才转过六分之一圈。
# 右边是 $t=500$ 的嵌入与所有 $t$ 的嵌入的相似度：大体上越近越像，两侧对称；相差几百步的，都不如相差十步以内的像。中间并不单调，可是 64 个分量合在一起，足够把各个 $t$ 分清。

# %% [markdown]
# ## 3　残差块：时间在这里进来
#
# U-Net 的主体是残差块：输出等于输入加上一条支路。时间嵌入加在支路的中间。

# %%
show_source(ResBlock,
            "class ResBlock", "def __init__(self, channels", "self.emb_layers =", "self.out_layers =", "same = channels ==", "def forward")

# %% [markdown]
# - ① 输入图与嵌入，输出图；形状写在说明里。
# - ② 第一段：归一化、激活、卷积。
# - ③ 嵌入变成每个通道一个数。
# - ④ 第二段的卷积初值为 0：支路一开始等于不存在。
# - ⑤ 通道数不变就原样相加，变了就用 1×1 卷积换算。
# - ⑥ 时间嵌入加在两段之间：同一通道的所有像素加同一个数，不同通道加的数不同。

# %%
block = ResBlock(16, 64, 0.0, 16)
x, emb = torch.randn(2, 16, 8, 8), torch.randn(2, 64)
check("一开始就是恒等映射", block(x, emb), x)
seen = []
block.out_layers.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
block(x, emb), block(x, torch.zeros_like(emb))
change = seen[0] - seen[1]  # 只换嵌入，第二段的输入变了多少
check_order("嵌入不同，中间的结果就不同", 0.1, change.abs().max(), digits=2)
check("每个像素的变化相同", change, change[:, :, :1, :1].expand_as(change), atol=1e-5)

# %% [markdown]
# 这里藏着一个陷阱。紧跟着的归一化是 GroupNorm：把通道分组，组内减均值、除以标准差。
# 如果一组只有一个通道，那么“给整个通道加一个数”恰好被减均值抵消，网络就不知道 $t$ 了。

# %%
lonely, grouped = torch.nn.GroupNorm(16, 16), normalization(16)
shift = torch.randn(1, 16, 1, 1)
check("一组一个通道：时间嵌入被整个减掉", lonely(x + shift), lonely(x), atol=1e-5)
check_order("我们的分组：时间嵌入还在", 0.1, (grouped(x + shift) - grouped(x)).abs().max(), digits=2)

# %%
show_source(normalization,
            "def normalization")

# %% [markdown]
# - ① 最多 32 组，每组至少 4 个通道（通道不到 8 个时只有一组）。`gcd` 保证除得尽。论文的 128 个通道分成 32 组，正好每组 4 个。

# %% [markdown]
# ## 4　注意力：一步看遍全图
#
# 卷积只看邻近的像素。注意力让每个像素直接询问其他所有像素，再按相关的程度取加权平均。

# %%
show_source(AttentionBlock,
            "class AttentionBlock", "def __init__(self, channels", "self.cross =", "def forward", "h = attend", "return x if")

# %% [markdown]
# - ① 形状不变；有上下文时再做一次交叉注意力 (cross-attention)。
# - ② `qkv` 用 1×1 卷积一次算出查询、键、值；输出层的初值也是 0。
# - ③ 没有设 `context_dim`，就没有交叉注意力这一层。
# - ④ 把每个像素当作一个词：$(B, C, H, W)$ 展成 $(B, HW, 3C)$。
# - ⑤ `attend` 是多头的缩放点积注意力，交给 PyTorch 的融合实现；再变回图的形状，加到输入上。
# - ⑥ 有上下文，就再做一次交叉注意力：像素作查询，上下文作键和值。

# %%
attention = AttentionBlock(16)
torch.nn.init.normal_(attention.proj_out.weight, std=0.1)
x = torch.randn(1, 16, 4, 4)
order = torch.randperm(16)
shuffled = x.flatten(2)[:, :, order].reshape(x.shape)
expected = attention(x).flatten(2)[:, :, order].reshape(x.shape)
check("像素换了次序，输出也跟着换：注意力不知道位置", attention(shuffled), expected, atol=1e-5)

# %% [markdown]
# 注意力自己不知道位置，位置的信息来自卷积。`use_positional_encodings` 是另一个来源：给输入多拼两个坐标通道。

# %%
show_source(DDPM.apply_model,
            "def apply_model", "if self.use_positional_encodings:", "cond = {} if cond is None", "# 混合精度下")

# %% [markdown]
# - ① 训练与采样都只从这里调用网络。
# - ② 打开开关，就拼上 $x$、$y$ 两个坐标。
# - ③ 条件展开成关键字交给 `DiffusionWrapper`；输出的形状当场核对。
# - ④ 网络用半精度时，后面的公式仍用 float32。

# %%
card("use_positional_encodings")
wide = DDPM(**toy_model_config(unet={"in_channels": 3}, use_positional_encodings=True))
seen = []
wide.model.diffusion_model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
wide.apply_model(torch.zeros(1, 1, 8, 8), torch.tensor([0]))
check("多了两个通道，第一个是列的坐标", seen[0][0, 1, 0], torch.linspace(-1, 1, 8))
check("第二个是行的坐标", seen[0][0, 2, :, 0], torch.linspace(-1, 1, 8))
check_raises("U-Net 没有相应加宽", lambda: DDPM(**toy_model_config(use_positional_encodings=True)), "in_channels")

# %% [markdown]
# ## 5　`DiffusionWrapper`：条件从这里进来
#
# | `conditioning_key` | 条件怎样进网络 | 例子 |
# |:--|:--|:--|
# | `None` | 没有条件 | 随便画一个数字 |
# | `concat` | 沿通道拼到 $x_t$ 后面 | 超分辨率、补全 |
# | `crossattn` | 交叉注意力 | 一段文字 |
# | `adm` | 类别嵌入，加到时间嵌入上 | 画一个 7 |
# | `hybrid` 等 | 上面几种的组合 | 照着一句话补全 |

# %%
show_source(DiffusionWrapper.__init__,
            "def __init__", "check_choice(\"conditioning_key\"", "self.diffusion_model =")

# %% [markdown]
# - ① 收两个参数：网络的配方，和条件进网络的方式。
# - ② 当场核对 `conditioning_key`，拼错了就提示。
# - ③ 按配方造网络，不改动配方。网络叫 `diffusion_model`，所以检查点里的键以 `model.diffusion_model.` 开头。

# %%
show_source(DiffusionWrapper.forward,
            "def forward", "wanted, extra =", "for name, value in cond.items():", "return self.diffusion_model")

# %% [markdown]
# - ① 三种条件，各有各的形状。
# - ② 给的条件必须恰好齐全。多给的若被悄悄忽略，你会以为它起了作用。
# - ③ 怎样进网络，查 `KINDS` 这张小表：没有参数名的沿通道拼，其余按名字交给网络。
# - ④ 调用网络，$x$ 与 $t$ 之外的都按名字给。

# %%
card("conditioning_key")
by_class = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm"))
for parameter in by_class.model.parameters():
    torch.nn.init.normal_(parameter, std=0.3)  # 末层的初值是 0，先换成随机数才看得出差别
x, step, label = torch.randn(1, 1, 8, 8).repeat(2, 1, 1, 1), torch.tensor([500, 500]), torch.tensor([3, 7])
answers = by_class.apply_model(x, step, {"c_adm": label})
check_order("同一张图、同一个 t，类别不同，答案就不同", 0.01, (answers[0] - answers[1]).abs().max(), digits=2)
check_raises("没给条件", lambda: by_class(torch.zeros(2, 1, 8, 8)), "c_adm")
check_raises("多给了条件", lambda: by_class.apply_model(x, step, {"c_adm": label, "c_concat": x}), "c_concat")

# %%
card("cond_key")
renamed = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm", cond_key="digit"))
batch = {"image": torch.zeros(2, 1, 8, 8), "digit": torch.tensor([3, 7])}
check("按 cond_key 从 batch 取条件", renamed.get_condition(batch)["c_adm"], [3, 7])

# %% [markdown]
# ## 6　丢掉条件，才能引导
#
# 第 7 章用过无分类器引导 (classifier-free guidance)，它让样本更听条件的话。它要同一个网络给出两个答案，有条件的 $\hat y_c$ 和无条件的 $\hat y_\varnothing$，再沿它们的差外推：
#
# $$\hat y = \hat y_\varnothing + w\,(\hat y_c - \hat y_\varnothing).$$
#
# $w=0$ 是无条件，$w=1$ 是普通的有条件，$w>1$ 是加强。要让网络会回答“无条件”，训练时就得时常把条件丢掉。

# %%
show_source(drop_condition,
            "def drop_condition", "first = next", "def pick")

# %% [markdown]
# - ① 没有条件，或者不丢，就原样返回。
# - ② 每个样本各抛一次硬币。
# - ③ 丢掉的样本换成“无条件”，其余不变：类别记作 $-1$，上下文与拼接图记作全 0，也写在 `KINDS` 里；几种条件一起丢。

# %%
card("cond_drop_prob")
free = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm", cond_drop_prob=0.1))
labels = {"c_adm": torch.full((20_000,), 3)}
dropped = drop_condition(labels, free.cond_drop_prob, torch.Generator().manual_seed(0))["c_adm"]
check("大约一成的标签换成了 -1", (dropped == -1).double().mean(), 0.1, atol=0.01)
check_raises("没有条件可丢", lambda: DDPM(**toy_model_config(cond_drop_prob=0.1)), "cond_drop_prob")

# %%
show_source(Sampling.guided_output,
            "def guided_output", "conditional = self.apply_model(x, t, cond)", "null = null_condition")

# %% [markdown]
# - ① 引导的强度 $w$ 由 `guidance_scale` 给。
# - ② $w=1$ 时只算一次网络，省一半时间。
# - ③ 用 `null_condition` 造出“无条件”，再算一次网络，沿两者之差外推。条件若还没有整理过，`as_condition` 先把标签、列表或字典统一成 `Condition`。

# %%
given, absent = by_class.apply_model(x, step, {"c_adm": label}), by_class.apply_model(x, step, {"c_adm": -torch.ones_like(label)})
check_order("有条件与无条件的答案不同", 0.01, (given - absent).abs().max(), digits=2)
for scale in (0.0, 1.0, 3.0):
    guided = by_class.guided_output(x, step, label, scale)
    check(f"w={scale:.0f} 与公式一致", guided, absent + scale * (given - absent), atol=1e-5)

# %% [markdown]
# ## 7　配方与安全
#
# 配置文件里写着类名，程序要把字符串变成类再调用。如果什么都肯调用，配置文件就能执行任何命令，例如 `os.system`。
# 所以先确认它是神经网络或调度器的子类，然后才调用。
#
# 可是要确认，先得导入它所在的模块，而导入就会运行模块里的代码。名字是你自己写的，导入它就是你要做的事；检查点里的名字是别人写的，不能替他导入。

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
hostile = {"target": "os.system", "params": {"command": "echo 执行了"}}
check_raises("不是神经网络，不会被调用", lambda: instantiate_from_config(hostile), "torch.nn")
check_raises("文件里的名字，不会为它导入模块", lambda: check_names({"target": "antigravity.Fly"}, "a.ckpt"), "antigravity")
check("导入 antigravity 会打开浏览器，它没有被导入", "antigravity" in sys.modules, False)
layer = instantiate_from_config({"target": "torch.nn.Linear", "params": {"in_features": 3, "out_features": 2}})
check("允许的类照常造出来", layer.weight.shape == (2, 3), True)

# %% [markdown]
# ## 8　数一数参数
#
# 网络有多大，先数一数参数。

# %%
show_source(count_params,
            "def count_params", "seen, by_module", "trainable =", "if verbose:")

# %% [markdown]
# - ① 返回值可以当整数用。
# - ② 按最外层的子模块分别计数；同一个参数被两处共用，只数一次。
# - ③ 可训练的另外数。
# - ④ `verbose=True` 打印逐个子模块的表。

# %%
total = count_params(unet, verbose=True)
by_hand = sum(parameter.numel() for parameter in unet.parameters())
check("与逐个相加一致", total, by_hand)
unet.out.requires_grad_(False)
check("冻结的不算可训练", count_params(unet).trainable, by_hand - count_params(unet.out))

# %% [markdown]
# 同一个类换一份配方，就是论文在 CIFAR-10 上用的网络。

# %%
with torch.device("meta"):  # 只要形状，不占内存
    cifar = UNet(3, 128, 3, num_res_blocks=2, channel_mult=(1, 2, 2, 2), attention_resolutions=(2,), dropout=0.1)
check("35 746 307 个参数，论文说 35.7 M", count_params(cifar), 35_746_307)

# %% [markdown]
# <details><summary>与参考实现的差别（第一遍可以不看）</summary>
#
# - `use_positional_encodings` 收下来，却没有拼坐标这一步。
# - `adm` 的类别从 `c_crossattn` 里取：名字不符，但与 `LatentDiffusion` 打包条件的方式是配套的；基类 `DDPM` 从不把条件传下去。
# - `count_params` 只有一个总数，看不出冻结了多少。
#
# </details>

# %% [markdown]
# ## 小结
#
# - U-Net 先缩小再放大，跳跃连接把细节拼回来。
# - 时间嵌入加在残差块中间；每组只有一个通道的 GroupNorm 会把它抵消。
# - 条件都从 `DiffusionWrapper` 进来，给多给少都报错。
# - 配置里的类名，先确认种类，再调用。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 08.1　时间嵌入 ★
#
# 照第 2 节的公式写出步号的嵌入：`t` 是 $(B,)$ 的整数张量，`dim` 是偶数，返回 $(B, \mathrm{dim})$ 的 float32，前一半是余弦，后一半是正弦。

# %%
def embed(t, dim):
    # 答案
    half = dim // 2
    omega = 10000.0 ** (-torch.arange(half) / half)
    angles = t[:, None] * omega
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
    # 答案完


grade("08.1", embed)

# %% [markdown]
# ### 08.2　沿着差外推 ★★
#
# 写出无分类器引导的一次回答。`network(x, t, label)` 是训练好的网络，`label` 是 $(B,)$ 的整数类别，`w` 是引导的强度。
# “无条件”怎样告诉网络，见第 6 节。

# %%
def guide(network, x, t, label, w):
    # 答案
    given = network(x, t, label)
    absent = network(x, t, torch.full_like(label, -1))
    return absent + w * (given - absent)
    # 答案完


grade("08.2", guide)

# %% [markdown]
# ### 08.3　像素之间的注意力 ★★★
#
# 写出单头的自注意力。`qkv` 是 $(B, 3C, H, W)$，通道里依次是 $C$ 个查询、$C$ 个键、$C$ 个值。
# 每个像素用自己的查询与所有像素的键作内积，除以 $\sqrt C$，经 softmax 变成权重，再对值取加权平均。返回 $(B, C, H, W)$。
# 只用矩阵乘法与 softmax，不用 PyTorch 的融合实现。

# %%
def self_attention(qkv):
    # 答案
    B, _, H, W = qkv.shape
    q, k, v = qkv.flatten(2).transpose(1, 2).chunk(3, dim=-1)
    weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).reshape(B, -1, H, W)
    # 答案完


grade("08.3", self_attention)

# %% [markdown]
# ### 08.4　数一个残差块 ★★
#
# `ResBlock(16, 64, 0.0, 32)`：16 个通道进、32 个通道出，时间嵌入 64 维。它有多少参数？照第 3 节的源码逐层手算，算完再用 `count_params` 核对。

# %%
grade("08.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 08.5　不告诉它 t ★★★
#
# 把 U-Net 的时间嵌入去掉，网络只看 $x_t$，照样用 `eps` 训练、采样。在 32×32 的彩色图上会怎样？
#
# - A：训练不出来：输出与 $t$ 无关，只能给所有 $t$ 同一个平均的答案。
# - B：与原来完全一样，因为 $t$ 是 $x_t$ 的函数。
# - C：大致还能用：噪声有多强，从 $x_t$ 上估得出来，只是分不清相邻的 $t$。
# - D：训练得出来，但没法采样，因为采样的每一步都要知道 $t$。

# %%
grade("08.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"
