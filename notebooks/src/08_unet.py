# %% [markdown]
# # 08 · U-Net、`DiffusionWrapper` 与 `count_params`
#
# 前几章把网络当作一个黑箱：带噪的图 $x_t$ 和步号 $t$ 进去，同样大小的答案出来。现在打开它。
# 里面有卷积，有缩小与放大，有从前半段直通后半段的连线，有注意力，还有一个入口告诉它 $t$。哪一块最要紧？
# 拿训练好的 MNIST 模型来试：在 $t=400$ 剪断直通的连线，猜原图的误差涨到 15 倍；去掉注意力，只多 3%。
# 这一章要回答：**这个网络长什么样，每一块为什么在那里，少了它会怎样？**
#
# **学习目标**
#
# - 跟着一个张量走完 U-Net，说出每一段的形状和作用。
# - 明白时间 $t$ 和条件是从哪里进网络的。
# - 会用配方造网络，会数参数，知道为什么配置文件里的类名不能随便调用。
#
# **预计用时** 45 分钟。运行全部单元约 30 秒。

# %%
import sys

import torch

from ddpm_edu import DDPM, DiffusionWrapper, UNet, count_params, instantiate_from_config, load_pretrained
from ddpm_edu.conditioning import drop_condition
from ddpm_edu.config import get_class, target_class
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.files.names import check_names
from ddpm_edu.sampling import Sampling
from ddpm_edu.teach import card, check, check_order, check_raises, curves_figure, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.diagrams import unet_figure
from ddpm_edu.unet import AttentionBlock, ResBlock, normalization, timestep_embedding

torch.manual_seed(0)
print("准备好了")

# %% [markdown]
# ## 1　先缩小，再放大
#
# 输出与图同样大小，每个像素都要有一个答案。答得好要看两样东西：附近的细节，和整张图的布局。
# 一层 3×3 的卷积只看得见相邻的像素。把图缩小一半，同样一层卷积看到的范围就大了一倍，算得也快；可是缩小会丢掉细节，所以放大的时候，要把缩小之前的图再拼回来。U-Net 就是这样做的。先画一个最小的。

# %%
unet = UNet(in_channels=1, model_channels=16, out_channels=1, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(2,))
unet_figure(unet, 8)

# %% [markdown]
# 图：从左到右是计算的次序，高低是边长，上面一排边长 8，下面一排边长 4。一个方框是一段，框下的黑字是它输出的形状（通道×高×宽）。
# 橙色的虚线是跳跃连接 (skip connection)：左半边（下行）的每一段都把输出存一份，右半边（上行）按相反的次序取出来，沿通道拼在前一段的输出旁边，所以入口的通道变多（橙色的字）。例如下面一排右端的方框，前一段给 32 个通道，跳跃连接也给 32 个，入口就是 64 个。
# 它右上方的那个方框，先在边长 4 上算完再放大，所以画在上面一排，跳跃连接却接在下面一排的出口：拼接的两边，边长总是相同。
# 蓝点是时间嵌入进来的地方：每个残差块 (residual block) 一个，见第 4 节。
#
# 图中的网络只用几个参数就说清楚了。`model_channels` 是第一层的通道数；`channel_mult` 给出各层的倍数，一层比一层边长减半；每层下行有 `num_res_blocks` 个残差块，上行多一个。
# `attention_resolutions` 列出哪些层加注意力，写的是缩小了几倍，不是边长：这里的 2 就是边长 4 的那一层。

# %% [markdown]
# ## 2　剪掉一块试试
#
# 随课程的 `mnist` 模型也是这样的两层，只是先把每 2×2 个像素叠成一个位置的 4 个通道（`patch_size=2`），所以 28×28 的图在网络里边长是 14 和 7。
# 它已经训练好了。下面把它的某一块剪掉，其余的权重不动，看它猜的 $\hat x_0$ 变成什么样。
#
# **先猜一猜**：剪断跳跃连接、剪掉边长 7 的整个下层、去掉注意力、把 $t$ 谎报成 100，哪一样最要命？（代码用 PyTorch 的 hook 改掉中间结果，第一遍可以跳过，直接看图。）

# %%
mnist = load_pretrained("mnist")
net = mnist.model.diffusion_model


def cut_skips(channels):
    """入口只留前 channels 个通道（前一段的输出），跳跃连接送来的换成 0"""
    return lambda stage, inputs: (torch.cat([inputs[0][:, :channels], 0 * inputs[0][:, channels:]], 1), *inputs[1:])


def cut(part):
    if part == "剪断跳跃连接":
        return [stage.register_forward_pre_hook(cut_skips(c)) for stage, c in zip(net.output_blocks, (64, 64, 64, 64, 32, 32))]
    if part == "剪掉下层":  # 上行的第三段从边长 7 放大到 14，它的输出换成 0
        return [net.output_blocks[2].register_forward_hook(lambda stage, inputs, out: 0 * out)]
    if part == "去掉注意力":
        return [layer.register_forward_hook(lambda layer, inputs, out: inputs[0]) for layer in net.modules() if isinstance(layer, AttentionBlock)]
    return []


# %%
images, labels = handwriting("../data")
noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
parts = ("完整", "剪断跳跃连接", "剪掉下层", "去掉注意力", "谎报 $t=100$")


@torch.no_grad()
def guess(step, part):
    t, hooks = torch.full((100,), step), cut(part)
    x_t = mnist.q_sample(images, t, noise)
    told = torch.full_like(t, 100) if "谎报" in part else t
    out = mnist.apply_model(x_t, told, {"c_adm": torch.full_like(t, -1)})  # 类别 -1：不告诉它是几
    for hook in hooks:
        hook.remove()
    return x_t, mnist.predict_start_from_z_and_v(x_t, t, out)


answers = {step: {part: guess(step, part) for part in parts} for step in (100, 400, 700)}
rows = [torch.stack([images[3], pairs["完整"][0][3], *[x0[3] for _, x0 in pairs.values()]]) for pairs in answers.values()]
grid_figure(torch.cat(rows), nrow=7, width=9.0, rows=[f"$t={step}$" for step in answers], columns=["$x_0$", "$x_t$", *parts])

# %% [markdown]
# 图：每行一个 $t$。左起是原图、带噪的图、完整的网络猜的 $\hat x_0$，接着三列各剪掉一块，最后一列向网络谎报 $t$。
# 剪断跳跃连接，笔画残缺，背景也脏。谎报 $t$（第一行不算谎报），网络按 $t=100$ 答 $v$，我们仍用真的 $t$ 换算，结果满是噪声。剪掉下层，$t=100$ 时看不出差别，$t=700$ 时形状就散了：噪声越大，越要看整张图。去掉注意力，几乎看不出。
# 一百张 MNIST 测试图上的均方误差如下（磁盘上没有 MNIST 时，用的是模型自己画的图，倍数不同，名次一样）：

# %%
# NBVAL_IGNORE_OUTPUT
errors = {step: {part: float(((x0 - images) ** 2).mean()) for part, (_, x0) in pairs.items()} for step, pairs in answers.items()}
for part in parts:
    print("　".join(f"t={step}：{row[part]:.4f}（{row[part] / row['完整']:5.2f} 倍）" for step, row in errors.items()), part.replace("$", ""))

# %%
check("剪断跳跃连接，误差涨到五倍以上（t=400）", errors[400]["剪断跳跃连接"] > 5 * errors[400]["完整"], True)
check("剪掉下层，t=100 时涨不到两成，t=700 时涨两成以上", errors[100]["剪掉下层"] < 1.2 * errors[100]["完整"]
      and errors[700]["剪掉下层"] > 1.2 * errors[700]["完整"], True)
check("去掉注意力，三个 t 都涨不到两成", all(row["去掉注意力"] < 1.2 * row["完整"] for row in errors.values()), True)

# %% [markdown]
# 这种剪法不公平：别的权重是配合这一块训练出来的，它一走，别人来不及适应。公平的比法是一开始就不给它，从头训练。
# 下面在 8×8 的数字上，用第 1 节那个 17.7 万参数的网络（`eps` 目标，`linear` 表），每种训练 300 步、八个种子，在没有训练过的 500 张图上量损失（平均 ± 标准误，课前离线量好）：
#
# | 从头训练 | 损失 | 比完整的多 |
# |:--|--:|--:|
# | 完整 | 0.1605 ± 0.0006 | |
# | 不告诉它 $t$（总说 $t=0$） | 0.1757 ± 0.0007 | 9% |
# | 没有跳跃连接（拼上去的全换成 0） | 0.1969 ± 0.0008 | 23% |
#
# 跳跃连接还是要紧的，差距却不再是十几倍：从头训练，别的权重可以部分代偿。只训练了 300 步，这 23% 里多少是学不会、多少只是学得慢，我们没有分开。（两处的网络、数据、目标都不同，倍数不能直接比。）
# 从头训练就不知道 $t$，只多 9%，谎报却要涨到十倍以上。想一想为什么，再做习题 08.5。
# 注意力没有从头量过。`mnist` 模型的注意力全在边长 7 的下层，下层整个剪掉，$t=400$ 也只多 11%；所以注意力在这里的作用大概也不大，实测多 3%。大图上未必如此。

# %% [markdown]
# ## 3　步号怎样变成向量
#
# 直接把整数 $t$ 送进网络不好：数值太大；除以 1000 缩小了，相邻的 $t$ 又只差 0.001，太像。借用 Transformer 的位置编码，用一组频率不同的余弦与正弦，共 $d$ 个分量：
#
# $$e_i(t) = \cos(\omega_i t),\quad e_{i+d/2}(t) = \sin(\omega_i t),\qquad \omega_i = 10000^{-i/(d/2)}.$$
#
# 这像一只有许多根指针的钟：走得快的分得清相邻的 $t$，走得慢的分得清早与晚。

# %%
t = torch.arange(1000)
embedding = timestep_embedding(t, 64)
similarity = embedding @ embedding.T / 32
waves = {f"$i = {i}$": embedding[:, i] for i in (12, 16, 24)}
curves_figure((t, waves, "步号 $t$", "嵌入的分量 $e_i(t)$"), (t - 500, {"": similarity[500]}, "$t - 500$", "与 $t=500$ 的相似度"))

# %% [markdown]
# 图：$d=64$。左边是三个分量，$i$ 越大越慢：$i=12$ 约 199 步一个来回，$i=24$ 到了 $t=999$ 也才转过六分之一圈。
# 右边是 $t=500$ 的嵌入与所有 $t$ 的嵌入的相似度，也就是内积除以 $d/2$。大体上越近越像，两侧对称。
#
# 为什么对称？记 $a=\omega_i t$、$b=\omega_i t'$，每一对分量的内积是 $\cos a\cos b+\sin a\sin b=\cos(a-b)$，只与 $t-t'$ 有关。

# %%
diagonal = similarity.diagonal(30)  # 相差 30 步的全部配对
check("相差 30 步的，相似度处处相同", diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4)
near, far = similarity[500, 490:511], torch.cat([similarity[500, :301], similarity[500, 700:]])
check_order("相差 200 步以上的，最像的也不如相差 10 步以内的", far.max(), near.min())

# %% [markdown]
# 这个向量再过两层全连接，得到整个网络共用的时间嵌入，交给每一个残差块。

# %% [markdown]
# ## 4　残差块：时间从这里进来
#
# U-Net 的主体是残差块：输出等于输入加上一条支路。支路是两遍“归一化、激活、卷积”，时间嵌入 $e$ 经过一层全连接，变成每个通道一个数，加在两遍中间：
#
# $$a = \mathrm{conv}_1\bigl(\mathrm{act}(\mathrm{norm}(x))\bigr) + \mathrm{linear}\bigl(\mathrm{act}(e)\bigr),\qquad y = s(x) + \mathrm{conv}_2\bigl(\mathrm{act}(\mathrm{norm}(a))\bigr).$$
#
# $s(x)$ 是块里自己的近路：通道数不变时就是 $x$，变了时是一层 1×1 卷积（代码里叫 `skip_connection`，与第 1 节的跳跃连接不是一回事）。第二个卷积的初值是 0，所以一开始支路等于不存在，通道数不变的残差块原样输出，再深的网络也好训练。整个 U-Net 的最后一层卷积也从 0 开始，未训练的网络输出恒为 0。

# %%
block = ResBlock(16, 64, 0.0, 16)
x, emb = torch.randn(2, 16, 8, 8), torch.randn(2, 64)
check("残差块一开始是恒等映射", block(x, emb), x)
check("未训练的 U-Net 输出 0", unet(torch.randn(4, 1, 8, 8), torch.arange(4)), torch.zeros(4, 1, 8, 8))

# %% [markdown]
# 这里藏着一个陷阱。时间嵌入给整个通道加上同一个数，紧跟着的却是 GroupNorm：把通道分组，组内减去均值，再除以标准差。
# 如果一组只有一个通道，加上的数就恰好被减掉，网络从这里得不到 $t$ 的任何消息。一组有几个通道，能留下多少？

# %%
x, shift = torch.randn(1000, 16, 8, 8), 0.1 * torch.randn(1000, 16, 1, 1)
for size in (1, 2, 4, 16):
    norm = torch.nn.GroupNorm(16 // size, 16)
    left = ((norm(x + shift) - norm(x)) ** 2).mean() / (shift**2).mean()
    check(f"一组 {size:2} 个通道，留下 1 - 1/{size} = {1 - 1 / size:g}", left, 1 - 1 / size, atol=0.02)

# %% [markdown]
# GroupNorm 减掉的是组内的平均，$g$ 个方向里少一个。各通道的偏移若独立同分布、均值为 0，期望留下 $1-1/g$；训练出来的偏移可多可少，只有 $g=1$ 时必然一点不剩。这份代码每组至少 4 个通道，留下四分之三。论文的 128 个通道分成 32 组，也正好每组 4 个。

# %% [markdown]
# ## 5　注意力：一步看遍全图
#
# 卷积只看邻近的像素。注意力让每个像素直接询问其他所有像素：每个像素算出一个查询、一个键、一个值，用自己的查询与所有的键作内积，经 softmax 变成权重，再对所有的值取加权平均：
#
# $$\mathrm{out}=\mathrm{softmax}\!\Bigl(\frac{\mathrm{Q}\,\mathrm{K}^\top}{\sqrt C}\Bigr)\mathrm{V},\qquad \mathrm{Q},\mathrm{K},\mathrm{V}\in\mathbb R^{HW\times C}.$$
#
# 除以 $\sqrt C$，是因为 $C$ 项之和的标准差约为 $\sqrt C$，不除的话 softmax 几乎只选一个。像素有 $HW$ 个，权重就有 $(HW)^2$ 个：边长加倍，变成 16 倍。所以只在缩小之后的层用它。
#
# 它有一个特点：不知道像素的位置。把像素打乱，输出只是跟着打乱。

# %%
attention = AttentionBlock(16)
torch.nn.init.normal_(attention.proj_out.weight, std=0.1)
x = torch.randn(1, 16, 4, 4)
order = torch.randperm(16)
shuffled = x.flatten(2)[:, :, order].reshape(x.shape)
expected = attention(x).flatten(2)[:, :, order].reshape(x.shape)
check("像素换了次序，输出也跟着换", attention(shuffled), expected, atol=1e-5)

# %% [markdown]
# 所以它要与卷积交替着用，位置的信息来自卷积（图的边缘补了 0，卷积认得出边在哪里）。另一个来源是 `use_positional_encodings`：给输入多拼两个坐标通道，见第 9 节。
# 查询来自像素，键与值来自别处（例如一段文字的向量），就叫交叉注意力 (cross-attention)，文生图的条件就是这样进来的。

# %% [markdown]
# ## 6　条件从哪里进来
#
# 网络收到的除了 $x_t$ 与 $t$，还可以有条件。`DiffusionWrapper` 把它们送到各自的入口：
#
# | `conditioning_key` | 条件怎样进网络 | 例子 |
# |:--|:--|:--|
# | `None` | 没有条件 | 随便画一个数字 |
# | `concat` | 沿通道拼到 $x_t$ 后面 | 超分辨率、补全 |
# | `crossattn` | 交叉注意力 | 一段文字 |
# | `adm` | 类别嵌入，加到时间嵌入上 | 画一个 7 |
# | `hybrid` 等 | 上面几种的组合 | 照着一句话补全 |
#
# 类别与 $t$ 走的是同一条路：一个类别一个向量，加到时间嵌入上，再进每一个残差块。它有多大的力量？拿一张纯噪声（$t=999$）给 `mnist` 模型，十次只改类别，看它猜的 $\hat x_0$。

# %%
digits, start = torch.arange(10), torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)).expand(10, -1, -1, -1)
last = torch.full((10,), 999)
with torch.no_grad():
    guided = {w: mnist.predict_start(start, last, cond={"c_adm": digits}, guidance_scale=w) for w in (0.0, 1.0, 3.0)}
grid_figure(torch.cat(list(guided.values())), nrow=10, rows=[f"$w={w:g}$" for w in guided], columns="0123456789")

# %% [markdown]
# 图：三十张都是从同一张噪声猜的，列名是告诉它的类别。中间一行 $w=1$ 是普通的有条件：说它是几，它就猜成几。第一行 $w=0$ 不告诉类别，十张相同，像是各个数字的平均。第三行 $w=3$ 把类别的作用放大了，黑白更分明，有的笔画断了（5、9）；下一节说怎样放大。这只是第一步的猜测，不是画完的图，所以都有些糊。

# %% [markdown]
# ## 7　丢掉条件，才能引导
#
# 第 7 章推导过无分类器引导 (classifier-free guidance)。它要同一个网络给出两个答案，有条件的 $\hat y_c$ 和无条件的 $\hat y_\varnothing$，再沿它们的差外推：
#
# $$\hat y = \hat y_\varnothing + w\,(\hat y_c - \hat y_\varnothing).$$
#
# 上图的三行就是三个 $w$。要让网络也会回答“无条件”，训练时就得时常把条件丢掉：每个样本各抛一次硬币，丢掉的，类别换成 $-1$，它的嵌入是 0。比例由 `cond_drop_prob` 定，`mnist` 模型是一成。
# 公式很短，自己算一遍：

# %%
with torch.no_grad():
    given, absent = (mnist.apply_model(start, last, {"c_adm": label}) for label in (digits, torch.full_like(digits, -1)))
    for w in (0.0, 1.0, 3.0):
        check(f"w={w:g}：与 guided_output 相同", mnist.guided_output(start, last, digits, w), absent + w * (given - absent), atol=1e-4)

# %% [markdown]
# ## 8　配方、安全与参数个数
#
# 网络的配方写在配置文件里：一个类名，加上它的参数。同一个 `UNet` 换一份配方，就是论文在 CIFAR-10 上用的网络。

# %%
with torch.device("meta"):  # 只要形状，不占内存
    cifar = UNet(3, 128, 3, num_res_blocks=2, channel_mult=(1, 2, 2, 2), attention_resolutions=(2,), dropout=0.1)
check("论文说 35.7 M 个参数", count_params(cifar), 35_746_307)
total = count_params(unet, verbose=True)
check("第 1 节那个小网络，与逐个相加一致", total, sum(parameter.numel() for parameter in unet.parameters()))

# %% [markdown]
# 配置里写的是字符串，程序要把它变成类再调用。如果什么都肯调用，配置文件就能执行任何命令，例如 `os.system`。所以先确认它是神经网络或调度器的子类，然后才调用。
# 可是要确认，先得导入它所在的模块，而导入就会运行模块里的代码。名字是你自己写的，导入它就是你要做的事；检查点里的名字是别人写的，不能替他导入。

# %%
hostile = {"target": "os.system", "params": {"command": "echo 执行了"}}
check_raises("不是神经网络，不会被调用", lambda: instantiate_from_config(hostile), "torch.nn")
check_raises("文件里的名字，不会为它导入模块", lambda: check_names({"target": "antigravity.Fly"}, "a.ckpt"), "antigravity")
check("导入 antigravity 会打开浏览器，它没有被导入", "antigravity" in sys.modules, False)
layer = instantiate_from_config({"target": "torch.nn.Linear", "params": {"in_features": 3, "out_features": 2}})
check("允许的类照常造出来", layer.weight.shape == (2, 3), True)

# %% [markdown]
# ## 9　逐行的源码
#
# 想法都见过了，这里只对一对代码。先是 U-Net 的骨架：

# %%
show_source(UNet.forward,
            "def forward", "divisible =", "emb = self.time_embed", "if (y is None) !=", "skips, h = [], F.pixel_unshuffle",
            "h = self.middle_block", "for stage in self.output_blocks")

# %% [markdown]
# - ① 四样输入：图、步号、可选的上下文（交叉注意力用的一串向量）与类别。
# - ② 通道数与边长不合，就说出应当是什么。
# - ③ 步号先变成向量，再过两层全连接。
# - ④ 类别嵌入直接加到时间嵌入上；该给的没给、不该给的给了，都报错。
# - ⑤ 先把每 `patch_size`² 个像素叠成一个位置（默认是 1，不叠）。下行：每一段的输出都存起来。
# - ⑥ 最底下的一段，边长最小，看得最远。
# - ⑦ 上行：后存的先取，沿通道拼上，再过残差块；最后摊开成像素。

# %%
show_source(timestep_embedding,
            "def timestep_embedding", "half = dim // 2", "angles =")

# %% [markdown]
# - ① 输出是 float32，不管网络是什么精度。
# - ② 频率从 1 降到接近 $1/10000$，等比排列。
# - ③ 余弦在前，正弦在后；维数是奇数时补一个 0。

# %%
show_source(ResBlock,
            "class ResBlock", "def __init__(self, channels", "self.emb_layers =", "self.out_layers =", "same = channels ==", "def forward")

# %% [markdown]
# - ① 输入图与嵌入，输出图；形状写在说明里。
# - ② 第一遍：归一化、激活、卷积。
# - ③ 嵌入变成每个通道一个数。
# - ④ 第二遍的卷积初值为 0：支路一开始等于不存在。
# - ⑤ 通道数不变就原样相加，变了就用 1×1 卷积换算。
# - ⑥ 时间嵌入加在两遍之间：同一通道的所有像素加同一个数。

# %%
show_source(normalization,
            "def normalization")

# %% [markdown]
# - ① 最多 32 组，每组至少 4 个通道（通道不到 8 个时只有一组）。`gcd` 保证除得尽。

# %%
show_source(AttentionBlock,
            "class AttentionBlock", "def __init__(self, channels", "self.cross =", "def forward", "h = attend", "return x if")

# %% [markdown]
# - ① 形状不变；有上下文时再做一次交叉注意力。
# - ② `qkv` 用 1×1 卷积一次算出查询、键、值；输出层的初值也是 0。
# - ③ 没有设 `context_dim`，就没有交叉注意力这一层。
# - ④ 把每个像素当作一个词：$(B, C, H, W)$ 展成 $(B, HW, 3C)$。
# - ⑤ `attend` 是多头的缩放点积注意力，交给 PyTorch 的融合实现；再变回图的形状，加到输入上。
# - ⑥ 有上下文，就再做一次交叉注意力：像素作查询，上下文作键和值。

# %% [markdown]
# 再看从 `DDPM` 到网络的一路：

# %%
show_source(DDPM.apply_model,
            "def apply_model", "if self.use_positional_encodings:", "cond = {} if cond is None", "# 混合精度下")

# %% [markdown]
# - ① 训练与采样都只从这里调用网络。
# - ② 打开开关，就拼上 $x$、$y$ 两个坐标。
# - ③ 条件展开成关键字交给 `DiffusionWrapper`；输出的形状当场核对。
# - ④ 网络用半精度时，后面的公式仍用 float32。

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
show_source(drop_condition,
            "def drop_condition", "first = next", "def pick")

# %% [markdown]
# - ① 没有条件，或者不丢，就原样返回。
# - ② 每个样本各抛一次硬币。
# - ③ 丢掉的样本换成“无条件”，其余不变：类别记作 $-1$，上下文与拼接图记作全 0，也写在 `KINDS` 里；几种条件一起丢。

# %%
show_source(Sampling.guided_output,
            "def guided_output", "conditional = self.apply_model(x, t, cond)", "null = null_condition")

# %% [markdown]
# - ① 引导的强度 $w$ 由 `guidance_scale` 给。
# - ② $w=1$ 时只算一次网络，省一半时间。
# - ③ 用 `null_condition` 造出“无条件”，再算一次网络，沿两者之差外推。条件若还没有整理过，`as_condition` 先把标签、列表或字典统一成 `Condition`。

# %% [markdown]
# 最后是配方与数参数：

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

# %% [markdown]
# ### 参数速查
#
# 四个参数都管网络的入口，用到时再查。

# %%
card("use_positional_encodings")
wide = DDPM(**toy_model_config(unet={"in_channels": 3}, use_positional_encodings=True))
seen = []
wide.model.diffusion_model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
wide.apply_model(torch.zeros(1, 1, 8, 8), torch.tensor([0]))
check("多了两个通道，第一个是列的坐标", seen[0][0, 1, 0], torch.linspace(-1, 1, 8))
check("第二个是行的坐标", seen[0][0, 2, :, 0], torch.linspace(-1, 1, 8))
check_raises("U-Net 没有相应加宽", lambda: DDPM(**toy_model_config(use_positional_encodings=True)), "in_channels")

# %%
card("conditioning_key")
by_class = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm"))
x, step, label = torch.zeros(2, 1, 8, 8), torch.tensor([500, 500]), torch.tensor([3, 7])
check("给齐了条件，输出与图同样大小", by_class.apply_model(x, step, {"c_adm": label}).shape == x.shape, True)
check_raises("没给条件", lambda: by_class(x), "c_adm")
check_raises("多给了条件", lambda: by_class.apply_model(x, step, {"c_adm": label, "c_concat": x}), "c_concat")

# %%
card("cond_key")
renamed = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm", cond_key="digit"))
batch = {"image": torch.zeros(2, 1, 8, 8), "digit": torch.tensor([3, 7])}
check("按 cond_key 从 batch 取条件", renamed.get_condition(batch)["c_adm"], [3, 7])

# %%
card("cond_drop_prob")
free = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm", cond_drop_prob=0.1))
dropped = drop_condition({"c_adm": torch.full((20_000,), 3)}, free.cond_drop_prob, torch.Generator().manual_seed(0))["c_adm"]
check("大约一成的标签换成了 -1", (dropped == -1).double().mean(), 0.1, atol=0.01)
check_raises("没有条件可丢", lambda: DDPM(**toy_model_config(cond_drop_prob=0.1)), "cond_drop_prob")

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
# - **这一章的问题**：网络长什么样，每一块为什么在那里，少了它会怎样？
# - **答案**：先缩小、再放大，跳跃连接把缩小之前的细节拼回来，时间嵌入加在每个残差块里，注意力在缩小之后的层看全图。在训练好的网络上，动跳跃连接与 $t$，误差涨得最多。跳跃连接训练好再剪断，MNIST 上 $t=400$ 的误差涨到 15 倍；从头训练就没有它，8×8 数字上的损失仍多 23%。谎报 $t$，误差涨到十倍以上；从头训练就不告诉它，多 9%。下层在噪声大的时候才要紧（$t=700$ 多四成）。去掉注意力，这几处至多多 3%。
# - 时间嵌入加在残差块中间；GroupNorm 每组 $g$ 个通道，偏移若各自独立，平均留下 $1-1/g$，每组一个通道就一点不剩。
# - 类别加到时间嵌入上，文字走交叉注意力，图沿通道拼；都从 `DiffusionWrapper` 进来，给多给少都报错。
# - 训练时丢掉一成条件，采样时才能沿两个答案之差外推。
# - 配置里的类名，先确认种类，再调用；检查点里的类名，不为它导入模块。
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
# 照第 3 节的公式写出步号的嵌入：`t` 是 $(B,)$ 的整数张量，`dim` 是偶数，返回 $(B, \mathrm{dim})$ 的 float32，前一半是余弦，后一半是正弦。

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
# “无条件”怎样告诉网络，见第 7 节。

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
# `ResBlock(16, 64, 0.0, 32)`：16 个通道进、32 个通道出，时间嵌入 64 维。它有多少参数？照第 9 节 `ResBlock` 的源码逐层手算，算完再用 `count_params` 核对。

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
