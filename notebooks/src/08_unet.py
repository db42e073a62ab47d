# %% [markdown]
# # 08 · U-Net：去噪网络里有什么
#
# 前几章把网络当作一个黑箱：带噪的图 $x_t$ 和步号 $t$ 进去，同样大小的输出出来。现在打开它。里面有卷积，有缩小与放大，有从前半段直通后半段的连线，有注意力，还有一个入口送进 $t$。
# 先一样一样地看清楚，再拿训练好的 MNIST 模型，一次剪掉一块：有的剪断以后，误差只多一成，有的剪断以后，猜得比输出恒为 0 还糟。
# 这一章要回答：**这个网络长什么样，每一块为什么在那里，少了它会怎样？**
#
# **学习目标**
#
# - 跟着一个张量走完 U-Net，说出每一段的形状和作用。
# - 明白时间 $t$ 和条件是从哪里进网络的，归一化为什么可能把 $t$ 抹掉。
# - 剪掉一块看误差的时候，知道要拿什么作参照，也分得清“练好再剪”与“从头就没有”。
#
# **预计用时** 正文 40 分钟，附录与练习另计。运行全部单元约 40 秒。

# %%
from functools import cache

import torch

from ddpm_edu import DDPM, DiffusionWrapper, UNet, count_params, instantiate_from_config, load_pretrained
from ddpm_edu.conditioning import drop_condition
from ddpm_edu.config import get_class, target_class
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.files.names import check_names
from ddpm_edu.sampling import Sampling
from ddpm_edu.teach import card, check, check_raises, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting, mnist_or_stand_in
from ddpm_edu.teach.diagrams import unet_figure
from ddpm_edu.teach.figures import heat_figure
from ddpm_edu.teach.tables import Table
from ddpm_edu.teach.unet_figures import cuts_figure, residual_figure, told_figure
from ddpm_edu.unet import AttentionBlock, ResBlock, normalization, timestep_embedding

torch.manual_seed(0)
print("准备好了")

# %% [markdown]
# ## 1　先缩小，再放大
#
# 输出与图同样大小，每个像素都要猜一个数。猜得准要看两样东西：附近的细节，和整张图的布局。
# 一层 3×3 的卷积只看得见相邻的像素。把图缩小一半，同样一层卷积看到的范围就大了一倍，算得也快。可是逐像素的细节要一路带到最底下，再原样带回来，每一段都得替它留地方；不如从左边直接拉一条线到右边，放大的时候再拼上。U-Net 就是这样设计的。先画一个最小的。

# %%
unet = UNet(in_channels=1, model_channels=16, out_channels=1, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(2,))
unet_figure(unet, 8)

# %% [markdown]
# 图：从左到右依次算，上排边长 8，下排边长 4；方框里的最后一行是输出的形状（通道×高×宽）。
# 橙色虚线是跳跃连接 (skip connection)：左半边（下行，也叫编码器 encoder）每一段的输出都存一份，右半边（上行，也叫解码器 decoder）按相反的次序取出来，到“拼”处与前一段的输出沿通道排在一起。拼不是相加：下面的“32 | 16”是两边的通道数，拼好以后有 48 个通道；两边的边长总是相同。
# 蓝线是时间嵌入，每个残差块 (residual block) 接一条，见第 2、3 节。
#
# 缩小（下采样，downsampling）是步长 2 的 3×3 卷积。放大（上采样，upsampling）是每个像素复制成 2×2，再过一层 3×3 卷积。输出层是归一化、激活、卷积，把通道数换回图的通道数。
#
# 整个网络由几个参数定下。`model_channels` 是第一层的通道数；`channel_mult` 给出各层的倍数，一层比一层边长减半；每层下行有 `num_res_blocks` 个残差块，上行多一个。`attention_resolutions` 列出哪些层加注意力，写的是缩小了几倍，不是边长：这里的 2 就是边长 4 的那一层。最底下的一段（残差块、注意力、残差块）例外，它总有注意力，写成空的 `()` 也关不掉。
#
# 同一个 `UNet` 换一组参数，就是论文在 CIFAR-10 上用的网络：

# %%
with torch.device("meta"):  # 只要形状，不占内存
    cifar = UNet(3, 128, 3, num_res_blocks=2, channel_mult=(1, 2, 2, 2), attention_resolutions=(2,), dropout=0.1)
check("论文说 35.7 M 个参数", count_params(cifar), 35_746_307)

# %% [markdown]
# ## 2　步号怎样变成向量
#
# 直接把整数 $t$ 送进网络不好，因为数值太大；除以 1000 缩小了，相邻的 $t$ 又只差 0.001，太像。第 1 章量过：坐标照旧，只把 $t$ 的正弦、余弦换成 $t/T$，造错（造出来的点，附近没有真点的比例）就从 2.8 ± 0.1% 升到 3.9 ± 0.2%（八个种子）。
# 所以借用 Transformer 的位置编码，用一组频率不同的余弦与正弦，共 $d$ 个分量：
#
# $$e_i(t) = \cos(\omega_i t),\quad e_{i+d/2}(t) = \sin(\omega_i t),\qquad \omega_i = 10000^{-i/(d/2)}.$$
#
# 这像一只有许多根指针的钟：走得快的分得清相邻的 $t$，走得慢的分得清早与晚。

# %%
heat_figure(timestep_embedding(torch.arange(1000), 64).T, "步号 $t$", "第几个分量", width=9.0)

# %% [markdown]
# 图：$d=64$，一列是一个步号的整个向量，一行是一个分量，橙是 1，蓝是 $-1$。上半是余弦，下半是正弦。每一半里，最上面的一行 6.3 步转一圈，往下每行的周期长三分之一（8.4 步、11 步……）：分量 10 一百多步转一圈，分量 20 一千步才转半圈，最下面的几行一千步也几乎不动。
# 把一列从上读到下，就读出了钟上的时刻：相邻的两列，靠最上面的几行分开；隔得远的两列，靠中间的几行分开。
#
# ## 3　残差块：时间从这里进来
#
# 这个向量再过两层全连接，得到整个网络共用的时间嵌入 $\mathrm{emb}$，交给每一个残差块。
# 残差块是 U-Net 的主体：输出等于输入加上一条支路。支路是两遍“归一化、激活、卷积”，$\mathrm{emb}$ 经过一层全连接，变成每个通道一个数，加在两遍中间。

# %%
residual_figure()

# %% [markdown]
# 图：一个残差块，从左到右。⊕ 是相加，两边的形状相同（每个通道一个数的，加到这个通道的所有像素上），加完通道数不变；第 1 节的“拼”则是排在一起，通道变多。写成公式：
#
# $$a = \mathrm{conv}_1\bigl(\mathrm{act}(\mathrm{norm}(x))\bigr) + \mathrm{linear}\bigl(\mathrm{act}(\mathrm{emb})\bigr),\qquad y = s(x) + \mathrm{conv}_2\bigl(\mathrm{act}(\mathrm{norm}(a))\bigr).$$
#
# $\mathrm{act}$ 是 SiLU，即 $x$ 乘以它的 sigmoid；$\mathrm{norm}$ 是 GroupNorm：把通道分组，组内减去均值，再除以标准差。
# $s(x)$ 是块里自己的近路：通道数不变时就是 $x$，变了时是一层 1×1 卷积（代码里叫 `skip_connection`，与第 1 节的跳跃连接不是一回事）。第二个卷积的初值是 0，所以一开始支路等于不存在，通道数不变的残差块原样输出，深的网络因此更容易训练。整个 U-Net 的最后一层卷积也从 0 开始，未训练的网络输出恒为 0。
#
# 这里藏着一个陷阱。时间嵌入给整个通道加上同一个数，紧跟着的却是 GroupNorm。如果一组只有一个通道，加上的数就是组内均值的改变，被原样减掉，网络从这里得不到 $t$ 的任何消息。

# %%
x, emb, shift = torch.randn(2, 16, 8, 8), torch.randn(2, 64), torch.randn(2, 16, 1, 1)
check("残差块一开始是恒等映射", ResBlock(16, 64, 0.0, 16)(x, emb), x)
check("未训练的 U-Net 输出 0", unet(torch.randn(4, 1, 8, 8), torch.arange(4)), torch.zeros(4, 1, 8, 8))
alone, fours = torch.nn.GroupNorm(16, 16), torch.nn.GroupNorm(4, 16)
check("每组一个通道：加不加那个数，归一化之后都一样", alone(x + shift), alone(x), atol=1e-4)
(fours(x + shift.requires_grad_()) * torch.randn_like(x)).sum().backward()
check("每组四个通道：组内平均收不到梯度", shift.grad.unflatten(1, (4, 4)).mean(2), torch.zeros(2, 4, 1, 1), atol=1e-4)

# %% [markdown]
# 一组有 $g$ 个通道时，减掉的只是 $g$ 个数的平均。减掉之后，平方和还剩几成？（后面除以标准差只改大小，不算在内。）这 $g$ 个数若互相独立、均值为 0，期望剩下 $1-1/g$。论文的 128 个通道分成 32 组，每组 4 个；这份代码也至少 4 个（通道不到 8 个时只有一组）。所以没有训练过的网络应当剩下四分之三。训练过的呢？先猜一猜，再量随课程的 `mnist` 模型，它有十二个残差块：

# %%
@torch.no_grad()
def remaining(network):
    """十二个残差块各三个数：减去组内平均，平方和还剩几成；那层全连接的权重，在平均的方向上、在其余三个方向上有多大（均方根）"""
    emb, found = network.time_embed(timestep_embedding(torch.arange(0, 1000, 10), network.model_channels)), []
    for block in [layer for layer in network.modules() if isinstance(layer, ResBlock)]:
        values, weight = (x.unflatten(-1, (-1, 4)) for x in (block.emb_layers(emb), block.emb_layers[1].weight.T))
        rest, others = (x - x.mean(-1, keepdim=True) for x in (values, weight))
        found.append([rest.square().sum() / values.square().sum(), 2 * weight.mean(-1).square().mean() ** 0.5, (others.square().mean() * 4 / 3) ** 0.5])
    return torch.tensor(found).T


mnist = load_pretrained("mnist")
net = mnist.model.diffusion_model
fresh = torch.stack([remaining(UNet(1, 32, 1, 2, (2,), channel_mult=(1, 2), patch_size=2)).mean(1) for _ in range(8)]).T
trained, mean = remaining(net), fresh.mean(1)
print(f"没有训练过的八个网络：平均剩下 {mean[0]:.0%} ± {fresh[0].std() / 8**0.5:.0%}；权重，平均的方向 {mean[1]:.2f}，其余 {mean[2]:.2f}")
print(f"训练好的 mnist：每块剩下 {trained[0].min():.2f} 到 {trained[0].max():.2f}；权重，平均的方向 {trained[1].mean():.2f}，其余 {trained[2].mean():.2f}")

# %% [markdown]
# 训练以后，四分之三变成了九成以上。为什么？组内平均减得一点不剩，那个方向收不到梯度（上面的最后一个 ✓），所以权重在那里还是原来的大小，在其余三个方向上却长大了。每组只有一个通道时，所有的方向都减得掉，一个也收不到梯度。那样的网络从头训练会怎样，留给章末的小实验。
#
# ## 4　注意力：一步看遍全图
#
# 卷积只看邻近的像素。注意力让每个像素直接查看其他所有像素：每个像素算出一个查询、一个键、一个值，用自己的查询与所有的键作内积，经 softmax 变成权重，再对所有的值取加权平均：
#
# $$\mathrm{out}=\mathrm{softmax}\!\Bigl(\frac{\mathrm{Q}\,\mathrm{K}^\top}{\sqrt C}\Bigr)\mathrm{V},\qquad \mathrm{Q},\mathrm{K},\mathrm{V}\in\mathbb R^{HW\times C}.$$
#
# 除以 $\sqrt C$，是因为 $C$ 项之和的标准差约为 $\sqrt C$，不除的话 softmax 几乎只选一个。像素有 $HW$ 个，权重就有 $(HW)^2$ 个：边长加倍，变成 16 倍。所以只在缩小之后的层用它。
# 与残差块一样，算出来的再过一层卷积，加回输入；这层卷积的初值也是 0。
#
# 它有一个特点：不知道像素的位置。把像素打乱，输出只是跟着打乱。

# %%
attention = AttentionBlock(16)
torch.nn.init.normal_(attention.proj_out.weight, std=0.1)
x, order = torch.randn(1, 16, 4, 4), torch.randperm(16)
shuffled = x.flatten(2)[:, :, order].reshape(x.shape)
expected = attention(x).flatten(2)[:, :, order].reshape(x.shape)
check("像素换了次序，输出也跟着换", attention(shuffled), expected, atol=1e-5)

# %% [markdown]
# 所以它要与卷积交替着用，位置的信息来自卷积（图的边缘补了 0，卷积认得出边在哪里）。另一个来源是 `use_positional_encodings`：给输入多拼两个坐标通道，见附录。
# 查询来自像素，键与值来自别处（例如一段文字的向量），就叫交叉注意力 (cross-attention)，文生图的条件就是这样进来的。
#
# ## 5　条件从哪里进来
#
# 第 7 章列过条件进网络的三种办法：一张图，沿通道拼到 $x_t$ 后面；一段文字，走交叉注意力；一个类别，变成向量。`DiffusionWrapper` 把它们送到各自的入口，给多给少都报错。类别与 $t$ 走的是同一条路：一个类别一个向量，加到时间嵌入上，再进每一个残差块。它有多大的力量？拿一张纯噪声（$t=999$）给 `mnist` 模型，十次只改类别，看它猜的 $\hat x_0$。这时 $x_t$ 里几乎没有原图（$\sqrt{\bar\alpha_t}$ 只有 0.00005），先想一想，均方误差最小的猜测是什么？
#
# 除了给类别的输出 $\hat y_c$，再算一次不给类别的输出 $\hat y_\varnothing$，照第 7 章的无分类器引导 (classifier-free guidance)，沿两者之差外推 $w$ 倍：$\hat y_\varnothing + w\,(\hat y_c-\hat y_\varnothing)$。
# 不给类别也能算，是因为训练时每个样本各抛一次硬币，有一成（`cond_drop_prob`）的类别换成了 $-1$，这时加上的向量是 0。

# %%
# NBVAL_IGNORE_OUTPUT
digits, start = torch.arange(10), torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)).expand(10, -1, -1, -1)
last, test = torch.full((10,), 999), mnist_or_stand_in("../data")[0].dataset("test")
means = torch.stack([test[(test.labels == digit).nonzero()[:, 0]]["image"].mean(0) for digit in digits])  # 测试图里，每一类的平均
with torch.no_grad():
    guided = {w: mnist.predict_start(start, last, cond={"c_adm": digits}, guidance_scale=w) for w in (0.0, 1.0, 3.0)}
apart = [(x - y).square().mean() ** 0.5 for x, y in ((guided[1.0], means), (means, means.mean(0)), (guided[0.0], means.mean(0)))]
print("每个像素差多少（均方根）：w=1 与类平均 {:.2f}，类平均与总平均 {:.2f}，w=0 与总平均 {:.2f}".format(*apart))
grid_figure(torch.cat([means, *guided.values()]), nrow=10, rows=["类平均", *[f"$w={w:g}$" for w in guided]], columns="0123456789")

# %% [markdown]
# 图：第一行是测试图里每一类的平均。下面三十张都是从同一张噪声猜的，列名是给的类别。看不见原图，最好的猜测就是平均：$w=1$ 接近这一类的平均（每个像素差 0.10，各类的平均与总平均差 0.24），$w=0$ 不给类别，十张相同，接近所有数字的平均，所以都糊。$w=3$ 越过了类平均，黑白分明，可是 4、5、9 的笔画断了。
#
# ## 6　剪掉一块，看误差变成几倍
#
# 零件都认识了，哪一块最要紧？`mnist` 模型也是第 1 节那样的两层，只是每层下行有两个残差块。每次拿掉它的一块，看误差变成几倍，这样的实验叫消融 (ablation)。先画出来，标上要剪的地方：

# %%
cuts_figure(net, 28)

# %% [markdown]
# 图：画法同第 1 节，只是方框里的数是输出的通道数，边长写在各层的右端。图进来以前，先把每 2×2 个像素叠成一个位置的 4 个通道（`patch_size=2`），出去再摊开，所以 28×28 的图在上层边长是 14，在下层是 7。六条跳跃连接按取用的先后编号，①②③ 在下层，④⑤⑥ 在上层。剪刀标的是下面的四种剪法。
#
# 剪断连线，就是把它送来的通道换成 0；不走下层，是把“放大”的输出换成 0；抹掉 $t$，是把时间嵌入换成 0，十二个残差块都收不到；还有一种图上没有标，是去掉所有的注意力。其余的权重都不动。
# 0 是训练时没有见过的输入，所以有两处另换一种填法：上层连线送来的，换成每个通道的平均；时间嵌入，换成一千个步号的平均。
#
# 坏到什么程度，要有一个参照：输出恒为 0。这个模型的输出是 $v$（第 5 章），猜的原图由输出 $\hat v$ 换算：
#
# $$\hat x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,\hat v.$$
#
# 输出 0，就是 $\hat x_0=\sqrt{\bar\alpha_t}\,x_t$：带噪的图乘一个数，原样交上来，信噪比没有变。误差比这还大，就不如没有网络。
#
# **先猜一猜**：这五种剪法，哪一种最要命？$t$ 大与 $t$ 小，是同一种吗？（代码用 PyTorch 的 hook 改掉中间结果，第一遍可以跳过，直接看图与表。）

# %%
up = list(zip(net.output_blocks, (64, 64, 64, 64, 32, 32)))  # 上行的六段，与前一段送来的通道数
skips = {"剪上层连线": up[3:], "上层连线换成平均": up[3:], "剪下层连线": up[:3], **{mark: [stage] for mark, stage in zip("①②③④⑤⑥", up)}}
usual = net.time_embed(timestep_embedding(torch.arange(1000), net.model_channels)).mean(0).detach()  # 一千个步号的平均
silenced = {"不走下层": (net.output_blocks[2], 0), "抹掉 $t$": (net.time_embed, 0), "$t$ 换成平均": (net.time_embed, usual), "输出 0": (net, 0)}


def cut_skips(channels, fill=torch.zeros_like):
    """入口只留前 channels 个通道（前一段的输出），跳跃连接送来的换成 fill 给的"""
    return lambda stage, inputs: (torch.cat([inputs[0][:, :channels], fill(inputs[0][:, channels:])], 1), *inputs[1:])


def cut(part):
    if part in skips:
        fill = (lambda x: x.mean((0, 2, 3), keepdim=True).expand_as(x)) if "平均" in part else torch.zeros_like
        return [stage.register_forward_pre_hook(cut_skips(channels, fill)) for stage, channels in skips[part]]
    if part == "去注意力":
        return [layer.register_forward_hook(lambda layer, inputs, out: inputs[0]) for layer in net.modules() if isinstance(layer, AttentionBlock)]
    return [layer.register_forward_hook(lambda layer, inputs, out: 0 * out + value) for layer, value in [silenced[part]]] if part in silenced else []


# %%
images, labels = handwriting("../data")
noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


@cache
@torch.no_grad()
def guess(step, part):  # 猜的原图，网络的输出；算过的不再算
    t, hooks = torch.full((100,), step), cut(part)
    x_t = mnist.q_sample(images, t, noise)
    out = mnist.apply_model(x_t, t, {"c_adm": torch.full((100,), -1)})  # 类别 -1：不给类别
    for hook in hooks:
        hook.remove()
    return mnist.predict_start_from_z_and_v(x_t, t, out), out


chosen, drawn = (100, 400, 700, 900), ["完整", "剪上层连线", "剪下层连线", "不走下层", "抹掉 $t$", "输出 0"]
cells = [picture[3:4] for step in chosen
         for picture in (images, mnist.q_sample(images, torch.full((100,), step), noise), *[guess(step, part)[0] for part in drawn])]
grid_figure(torch.cat(cells), nrow=8, width=9.0, rows=[f"$t={step}$" for step in chosen], columns=["$x_0$", "$x_t$", *drawn])

# %% [markdown]
# 图：每行一个 $t$，像素截到 $[-1,1]$ 再画。左起是原图、带噪的图、完整的网络猜的 $\hat x_0$，接着四列各剪掉一块（换成 0），最后是输出 0。剪断上层的连线，笔画里的噪点原样留着；背景里的看上去少些，是因为背景压到了 $-1$ 以下，截成了纯黑。剪断下层的连线或不走下层，到 $t=700$ 才看得出：前者一笔走了样，后者形状散了。抹掉 $t$，$t=400$ 看着还好，$t=700$、900 满是噪点。$t=900$ 时，完整的网络也只猜得出一团。
#
# 逐个量出来，不截断：$\hat x_0$ 的均方误差是完整的网络的几倍（± 是一百张图的标准误），比“输出 0”还大的加粗。正文里的数都来自 MNIST 的测试图；磁盘上没有 MNIST 时，用的是模型自己画的图，数会不同。

# %%
# NBVAL_IGNORE_OUTPUT
def times(step, part):  # 误差是完整的几倍，标准误
    error, base = ((guess(step, each)[0] - images).square().mean((1, 2, 3)) for each in (part, "完整"))
    ratio = error.mean() / base.mean()
    return ratio, (error - ratio * base).std() / 10 / base.mean()


print("t=400，六条连线只剪一条：", *["{} {:.2f} ± {:.2f}".format(mark, *times(400, mark)) for mark in "①②③④⑤⑥"], sep="　")
rows = []
for part in ("剪上层连线", "上层连线换成平均", "剪下层连线", "不走下层", "去注意力", "抹掉 $t$", "$t$ 换成平均", "输出 0"):
    bold = ["**" if times(step, part)[0] > times(step, "输出 0")[0] else "" for step in chosen]
    rows.append([part, *["{0}{1:.2f} ± {2:.2f}{0}".format(mark, *times(step, part)) for mark, step in zip(bold, chosen)]])
Table(("误差是完整的几倍", *[f"$t={step}$" for step in chosen]), rows, "误差的倍数")

# %% [markdown]
# **哪一种最要命，要看 $t$。** $t=100$、400 时是剪断上层的连线，$t=100$ 时误差是完整的 23 倍，输出 0 也只有 9 倍；$t=700$、900 时是抹掉 $t$，到 $t=900$ 也比输出 0 还糟。
# 换成平均之后：
#
# - 上层的连线，$t=100$ 时仍比输出 0 糟，$t=700$、900 时比换成 0 还糟。
# - 抹掉 $t$ 的害处，$t=700$、900 时轻了，$t=100$ 时反而重了（6.79 对 4.46）；$t=900$ 时不再比输出 0 糟。
#
# 所以“剪断”的害处有多大，与换成什么有关；$t=700$ 时谁最要命，两种填法给出的次序就不同。两种填法都成立的只有一条：$t$ 小时，不能没有上层的连线。
#
# 单独剪一条，最要紧的是 ⑥，它从最前面的卷积直通最后一个残差块。
# 剪断下层的连线，误差至多多 15%。不走下层，$t=100$ 只多 4%，$t=700$ 多四成。（上层那一路也有 12 层 3×3 卷积，感受野 25 格，图只有 14 格；多出来的有多少是因为看得不够远，没有分开量。）
# 去掉注意力，至多多 3%：这个小模型上看不出它有多大用处，大图上未必如此。
#
# ### 剪断以后，输出里还有什么
#
# 剪断上层的连线，怎么会比输出 0 还糟？把网络的输出画出来，与应有的 $v=\sqrt{\bar\alpha_t}\,\varepsilon-\sqrt{1-\bar\alpha_t}\,x_0$ 比一比：

# %%
shown = ("完整", "剪上层连线", "抹掉 $t$")
cells = [picture[3:4] for step in chosen
         for picture in (mnist.get_v(images, noise, torch.full((100,), step)), *[guess(step, part)[1] for part in shown])]
grid_figure(torch.cat(cells) / 2, nrow=4, width=5.5, rows=[f"$t={step}$" for step in chosen], columns=["应有的 $v$", *shown])

# %% [markdown]
# 图：网络的输出，除以 2 再截到 $[-1,1]$，灰色是 0；$x_0$ 前面是负号，所以笔画是黑的。$t=100$ 时，应有的几乎只有噪声；$t$ 越大，原图占得越多。剪断上层的连线，哪一行都没有噪声：$t=700$ 还有原图的模样，$t=400$ 掺进了不相干的斑块，$t=100$ 只剩一片格子。抹掉 $t$，$t=100$ 的噪声太淡，$t=700$、900 的太浓。
#
# 所以剪断以后，输出里看不到噪声，只剩原图的大样。$t=700$ 时这还有用；$t=100$ 时应有的几乎只有噪声，缺了它，至多与输出 0 一样糟，输出却另外多出一片格子，所以不如输出 0。
#
# 有没有噪声可以量。拿输出乘以 $\varepsilon$，对像素取平均：$\varepsilon$ 与原图无关，所以原图的一项平均是 0，只剩下噪声的一项。再除以 $\varepsilon^2$ 的平均，就是输出里噪声的系数，应是 $\sqrt{\bar\alpha_t}$。
# 网络要是看不见噪声，输出就与 $\varepsilon$ 无关，系数就是 0。看不见的时候，这也是最好的系数：按均方误差算，猜不出的东西最好猜它的平均（第 1 章），而噪声的平均是 0。

# %%
steps = (50, 100, 200, 300, 400, 500, 600, 700, 800, 900)
errors = {part: [float((guess(step, part)[0] - images).square().mean()) for step in steps] for part in (*shown, "输出 0")}
told = {part: [float((guess(step, part)[1] * noise).mean() / noise.square().mean()) for step in steps] for part in errors}
told_figure(steps, errors, told, mnist.alphas_cumprod[list(steps)].sqrt())

# %% [markdown]
# 图：一百张图的平均，横轴是步号。左边是均方误差（对数轴），比灰线还高就不如输出 0：橙线在 $t\le300$ 时如此，往后渐渐靠近黑线；蓝线在 $t\ge800$ 时如此。右边是噪声的系数，点线是应有的：橙线从头到尾贴着 0，绝对值不过 0.013（标准误至多 0.005）。黑线略低于点线，因为猜不准的那一部分最好猜平均。低多少，大约是 $\sqrt{\bar\alpha_t}/(1-\bar\alpha_t)$ 乘以左边黑线的误差；$t$ 小时误差虽小，分母更小，所以低得最多。
#
# 抹掉 $t$（蓝线），输出里有噪声，多少却不对：$t=300$ 处与完整的一样，$t$ 再小就减得太少，再大就减过了头，$\hat x_0$ 里剩下反号的噪声。
#
# ### 练好再剪，与从头就没有
#
# 噪声为什么只走上层的连线？小图不是装不下：图有 784 个数，缩小以后是 32×7×7 = 1568 个。也许只是因为上层已有连线，训练时不必让噪声绕道小图。若是这样，从头就没有上层连线的网络，应当学会绕道。
#
# 所以“练好再剪”与“从头就没有”要分开看：练好再剪，别的权重来不及适应；从头就不给它，才看得出这一块是不是非有不可。
# 下面在 8×8 的数字上两种都试，网络是第 1 节的那个（`eps` 目标，`linear` 表），训练 300 步，八个种子，在没有训练过的 500 张图上量损失（平均 ± 标准误，程序在章末的小实验里）：
#
# | 拿走什么（换成 0） | 练好再剪，是完整的几倍 | 从头没有，损失 | 从头没有，比完整的多 |
# |:--|--:|--:|--:|
# | 完整 | 1 | 0.1754 ± 0.0006 | |
# | 下层的跳跃连接 | 1.011 ± 0.001 | 0.1766 ± 0.0009 | 0.7% ± 0.4% |
# | 上层的跳跃连接 | 7.98 ± 0.15 | 0.2028 ± 0.0014 | 15.7% ± 1.0% |
# | $t$ | 2.05 ± 0.04 | 0.1911 ± 0.0010 | 9.0% ± 0.6% |
#
# 这里的目标是 $\varepsilon$，输出 0 的损失是 $\varepsilon^2$ 的平均，也就是 1，不到完整的 6 倍。练好再剪上层是 8 倍，又比输出 0 还糟；从头没有只多 16%，可见噪声有别的路可走。
# 练好再抹掉 $t$ 是 2 倍，从头没有只多 9%：从头就不给 $t$ 的网络，可以学着从 $x_t$ 上看出噪声有多强（习题 08.5）。
#
# 两种剪法次序相同，最要紧的都是上层的连线；从头没有下层的，多出的 0.7% 与 0 分不开。（只训练了 300 步，多出来的有多少是学不会、多少只是学得慢，没有分开量。）

# %% [markdown]
# ## 小结
#
# - **这一章的问题**：网络长什么样，每一块为什么在那里，少了它会怎样？
# - **答案**：按设计，先缩小、再放大是为了看得远，跳跃连接让逐像素的细节不必绕道小图，时间嵌入告诉每个残差块噪声有多强，注意力放在缩小之后的层，一步看遍全图。在训练好的 MNIST 模型上剪一剪：$t$ 小，最要命的是剪断上层的跳跃连接：输出里不再含有噪声，还多出了格子与斑块，$t\le300$ 时比输出 0 还糟；$t$ 大，最要命的是抹掉 $t$，换成 0 时 $t\ge800$ 也比输出 0 还糟，换成平均就没有这么糟。剪断下层的连线、去掉注意力，误差至多多 15% 与 3%；不走下层，$t=700$ 多四成。
# - “练好再剪”与“从头没有”是两回事。8×8 的数字，训练 300 步：上层的跳跃连接，练好再剪是 8 倍，从头没有只多 15.7% ± 1.0%；$t$ 是 2 倍与 9.0% ± 0.6%；从头没有下层的，看不出差别。
# - 时间嵌入加在残差块中间；紧跟着的归一化若每组只有一个通道，就把它全减掉。每组 4 个通道时，独立的数平均剩下四分之三，训练好的 `mnist` 剩下九成以上，因为只有减不掉的方向收得到梯度。
# - 类别加到时间嵌入上，文字走交叉注意力，图沿通道拼；训练时丢掉一成条件，采样时才能沿两个输出之差外推。

# %% [markdown]
# ## 附：逐行的源码
#
# 想法都见过了，这里只对一对代码，第一遍可以跳到[练习](#练习)。先是 U-Net 的骨架：

# %%
show_source(UNet.forward,
            "def forward", "divisible =", "emb = timestep_embedding", "if (y is None) !=", "skips, h = [], F.pixel_unshuffle",
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
# - ② 频率从 1 降到接近 $1/10000$，等比排列；`freq_shift` 取 1 就同 Ho 等人的原版程序，最低的正好是 $1/10000$，装他们的权重时用。
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
#
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
# - ③ 按配方造网络，不改动配方。网络叫 `diffusion_model`，所以检查点里的键以 `model.diffusion_model.` 开头。diffusers 的网络，同样的参数另有名字，先记下对照。

# %%
show_source(DiffusionWrapper.forward,
            "def forward", "wanted, extra =", "for name, value in cond.items():", "out = self.diffusion_model")

# %% [markdown]
# - ① 三种条件，各有各的形状。
# - ② 给的条件必须恰好齐全。多给的若被悄悄忽略，你会以为它起了作用。
# - ③ 怎样进网络，查 `KINDS` 这张小表：没有参数名的沿通道拼，其余按名字交给网络。
# - ④ 调用网络，$x$ 与 $t$ 之外的都按名字给；diffusers 的网络把输出包在对象里，拆开。

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
#
# 最后是配方与数参数。网络的配方写在配置文件里：一个类名，加上它的参数。类名是字符串，程序要把它变成类再调用。如果什么都肯调用，配置文件就能执行任何命令，例如 `os.system`。所以先确认它是神经网络或调度器的子类，然后才调用。要确认就先得导入，而导入会运行模块里的代码，所以检查点里别人写的名字，不替他导入。

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
#
# 与参考实现的差别有三处。它收下 `use_positional_encodings`，却没有拼坐标这一步。它的 `adm` 从 `c_crossattn` 里取类别：名字不符，但与 `LatentDiffusion` 打包条件的方式是配套的；基类 `DDPM` 从不把条件传下去。它的 `count_params` 只有一个总数，看不出冻结了多少。
# 还有四张参数卡片，都管网络的入口，用到时再查。

# %%
card("use_positional_encodings")
wide = DDPM(**toy_model_config(unet={"in_channels": 3}, use_positional_encodings=True))
seen = []
wide.model.diffusion_model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
wide.apply_model(torch.zeros(1, 1, 8, 8), torch.tensor([0]))
check("多了两个通道，先是列的坐标，再是行的坐标", torch.stack([seen[0][0, 1, 0], seen[0][0, 2, :, 0]]), torch.linspace(-1, 1, 8).expand(2, 8))
check_raises("U-Net 没有相应加宽", lambda: DDPM(**toy_model_config(use_positional_encodings=True)), "in_channels")

# %%
card("conditioning_key")
by_class = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm"))
x, step, label = torch.zeros(2, 1, 8, 8), torch.tensor([500, 500]), torch.tensor([3, 7])
check_raises("没给条件", lambda: by_class(x), "c_adm")
check_raises("多给了条件", lambda: by_class.apply_model(x, step, {"c_adm": label, "c_concat": x}), "c_concat")

# %%
card("cond_key")
renamed = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm", cond_key="digit"))
check("按 cond_key 从 batch 取条件", renamed.get_condition({"image": torch.zeros(2, 1, 8, 8), "digit": torch.tensor([3, 7])})["c_adm"], [3, 7])

# %%
card("cond_drop_prob")
free = DDPM(**toy_model_config(unet={"num_classes": 10}, conditioning_key="adm", cond_drop_prob=0.1))
dropped = drop_condition({"c_adm": torch.full((20_000,), 3)}, free.cond_drop_prob, torch.Generator().manual_seed(0))["c_adm"]
check("大约一成的标签换成了 -1", (dropped == -1).double().mean(), 0.1, atol=0.01)
check_raises("没有条件可丢", lambda: DDPM(**toy_model_config(cond_drop_prob=0.1)), "cond_drop_prob")

# %% [markdown]
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
# ### 08.2　上行的入口有几个通道 ★★
#
# 照第 1 节的图，从左到右写出上行每个残差块入口的通道数，也就是“拼”处两边之和，返回一个列表。
# `width` 是 `model_channels`，`mult` 是 `channel_mult`，`blocks` 是 `num_res_blocks`。下行存下的依次是：最前面的卷积一份，每层 `blocks` 个残差块各一份，每次缩小一份。
# 第 1 节的网络是 `entries(16, (1, 2), 1)`，应得 `[64, 48, 48, 32]`。

# %%
def entries(width, mult, blocks):
    # 答案
    channels, stored = width, [width]
    for level, m in enumerate(mult):
        channels = width * m
        stored += [channels] * (blocks + (level < len(mult) - 1))
    found = []
    for m in reversed(mult):
        for _ in range(blocks + 1):
            found.append(channels + stored.pop())
            channels = width * m
    return found
    # 答案完


grade("08.2", entries)

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
# `ResBlock(16, 64, 0.0, 32)`：16 个通道进、32 个通道出，时间嵌入 64 维。它有多少参数？照附录里 `ResBlock` 的源码逐层手算，算完再用 `count_params` 核对。

# %%
grade("08.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 08.5　图大了，还用不用告诉它 t ★★★
#
# 第 6 节里，从头训练就不告诉它 $t$，8×8 的数字上损失只多 9%：噪声有多强，从 $x_t$ 上看得出来。
# 假定 $x_0$ 已经猜对，剩下的 $d$ 个数就是 $d$ 个独立的高斯噪声，由它们估计噪声的标准差。把 8×8 的灰度图换成 32×32 的彩色图，这样估计的相对误差会怎样？
#
# - A：变大：图大了，要猜的像素也多了。
# - B：不变：$t$ 只是一个数，与像素的多少无关。
# - C：变小，约为原来的七分之一。
# - D：变小，约为原来的四十八分之一。

# %%
grade("08.5", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 小实验　每组一个通道，等于不告诉它 t 吗
#
# 改一处，量一量，写三句话。第 3 节说，每组只有一个通道时，网络得不到 $t$ 的消息。那么从头训练，它的损失与干脆不告诉它 $t$ 的一样吗？若每组两个通道，又能救回多少？
# 下面是第 6 节末那张表的程序，接在本章的变量之后运行，一次训练十秒左右。在 `change` 里加几行：`part` 是“每组一个通道”时，把每个残差块里紧跟着时间嵌入的那个 GroupNorm（`block.out_layers[0]`）换成 `torch.nn.GroupNorm(channels, channels)`。先猜三个损失的次序，再量。
#
# ```python
# from ddpm_edu.data.digits import load_digits_split
#
# pictures = {name: split[0] for name, split in load_digits_split().items()}
# unseen = torch.cat([pictures["val"], pictures["test"]])
#
# def change(network, part):
#     stages = list(zip(network.output_blocks, (32, 32, 32, 16)))
#     for stage, channels in {"没有跳跃连接": stages, "没有上层的": stages[2:], "没有下层的": stages[:2]}.get(part, []):
#         stage.register_forward_pre_hook(cut_skips(channels))
#     if part == "不告诉它 t":
#         network.time_embed.register_forward_hook(lambda layer, inputs, out: 0 * out)
#
# def loss(model, x, t):
#     noise = torch.randn_like(x)
#     return (model.apply_model(model.q_sample(x, t, noise), t) - noise).square().mean()
#
# def train(part, seed, later="完整"):  # 训练时拿走 part，练好再剪 later
#     torch.manual_seed(seed)
#     model = DDPM(**toy_model_config(unet={"model_channels": 16}, use_ema=False))
#     change(model.model.diffusion_model, part)
#     optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
#     for _ in range(300):
#         x, t = pictures["train"][torch.randint(1297, (32,))], torch.randint(1000, (32,))
#         optimizer.zero_grad()
#         loss(model, x, t).backward()
#         optimizer.step()
#     change(model.model.diffusion_model, later)
#     torch.manual_seed(0)
#     with torch.no_grad():
#         return float(loss(model, unseen, torch.arange(0, 1000, 2)))
#
# for part in ("完整", "不告诉它 t", "每组一个通道"):
#     print(part, train(part, seed=0))
# ```
#
# <!-- 参考答案 -->
# **参考答案**　八个种子，± 是标准误，差是按种子配对相减的：
#
# | 第二个 GroupNorm | 损失 | 比完整的多 |
# |:--|--:|--:|
# | 每组 4 个通道（完整） | 0.1754 ± 0.0006 | |
# | 每组 2 个通道 | 0.1741 ± 0.0008 | −0.7% ± 0.3% |
# | 每组 1 个通道 | 0.1939 ± 0.0011 | 10.6% ± 0.7% |
# | 每组 4 个通道，不告诉它 $t$ | 0.1911 ± 0.0010 | 9.0% ± 0.6% |
#
# 一、每组一个通道，损失多一成，不比不告诉它 $t$ 好，按种子配对还多 1.6% ± 0.6%：$t$ 的消息丢得一点不剩。多出的这一点也许是因为归一化还抹掉了各通道的强弱，没有分开量。
# 二、每组两个通道就全救回来了，与每组四个没有差到哪里去：一组里只要有一个方向减不掉，那个方向就收得到梯度，$t$ 的消息从那里进来。
# 三、这个错不报错，损失照样下降，只是下不到底；要查出它，就只改 $t$ 再算一次，看网络的输出变不变。
#
# ```python
# whole = change
#
# def change(network, part):
#     whole(network, part)
#     for block in [layer for layer in network.modules() if isinstance(layer, ResBlock) and part.startswith("每组")]:
#         channels = block.out_layers[0].num_channels
#         block.out_layers[0] = torch.nn.GroupNorm(channels if "一个" in part else channels // 2, channels)
#
# base = torch.tensor([train("完整", seed) for seed in range(8)])
# for part in ("每组两个通道", "每组一个通道", "不告诉它 t"):
#     losses = torch.tensor([train(part, seed) for seed in range(8)])
#     more = losses / base - 1
#     print(part, losses.mean(), losses.std() / 8**0.5, more.mean(), more.std() / 8**0.5)
# ```
#
# <!-- 参考答案完 -->
