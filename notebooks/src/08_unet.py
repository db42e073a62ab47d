# %% [markdown]
# # 08 · U-Net：去噪网络里有什么
#
# 前几章把网络当作一个黑箱：带噪的图 $x_t$ 和步号 $t$ 进去，同样大小的输出出来。现在打开它。里面有卷积，有缩小与放大，有从前半段直通后半段的连线，有注意力，还有一个入口送进 $t$。
#
# 想改它，想把它做小，先要知道哪一块动不得。先一样一样地看清楚，再拿训练好的模型，一次剪掉一块：有的剪断以后，误差几乎不变；有的剪断以后，猜得比什么也不输出还糟。
#
# 这一章要回答：**这个网络长什么样，每一块为什么在那里，少了它会怎样？**
#
# **学习目标**
#
# - 跟着一个张量走完 U-Net，说出每一段的形状和作用。
# - 明白时间 $t$ 和类别是从哪里进网络的，归一化为什么可能把 $t$ 抹掉。
# - 剪掉一块看误差的时候，知道要拿什么作参照，也分得清“练好再剪”与“从头就没有”。
#
# **预计用时** 正文 40 分钟，练习另计。运行全部单元约 40 秒。

# %%
from functools import cache

import torch

from ddpm_edu import DDPM, UNet, load_pretrained
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach import check, grid_figure
from ddpm_edu.teach.datasets import handwriting, mnist_or_stand_in
from ddpm_edu.teach.diagrams import unet_figure
from ddpm_edu.teach.tables import Table
from ddpm_edu.teach.unet_figures import bypass, clocks_figure, cuts_figure, looks_figure, residual_figure, silence, unplug
from ddpm_edu.unet import AttentionBlock, ResBlock, timestep_embedding

torch.manual_seed(0)
print("准备好了")

# %% [markdown]
# ## 1　先缩小，再放大
#
# 网络要给每个像素猜一个数。要猜得准，既要看清附近的细节，又要看到整张图的布局。
#
# 一层 3×3 的卷积只看得见相邻的像素，看不到布局。把图缩小一半，同样一层卷积看到的范围就大了一倍，算得也快。
#
# 可是细节要先挤进小图，再还原出来。不如另拉一条线：缩小之前的图，从左边直通右边，等放大的时候再拼上。左边一路降下去，右边一路升上来，像字母 U，所以叫 U-Net（Ronneberger 等 2015）。先画一个最小的：

# %%
unet = UNet(in_channels=1, model_channels=16, out_channels=1, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(2,))
unet_figure(unet, 8)

# %% [markdown]
# 图：左半边缩小，右半边放大，橙色虚线从左边直通右边。同一边长的一排方框叫一级：上面一级边长 8，下面一级边长 4。方框里的最后一行是输出的形状（通道×高×宽）。
#
# - 橙色虚线是跳跃连接 (skip connection)。左半边的四个方框，输出都存一份；右半边按相反的次序取出来。
# - “拼”是把取出来的与前一段的输出沿通道排在一起，不是相加：“32 | 16”拼好以后有 48 个通道。
# - 底下的中间块 (middle block) 不存也不拼。
# - 蓝线是时间嵌入，每个残差块 (residual block) 接一条，第 2、3 节讲。
#
# 左半边叫编码器 (encoder)，也叫下行；右半边叫解码器 (decoder)，也叫上行。缩小 (downsampling) 是步长 2 的 3×3 卷积。放大 (upsampling) 是每个像素复制成 2×2，再过一层 3×3 卷积。
#
# 用网络自己的零件，照着图走一遍：

# %%
x, t = torch.randn(2, 1, 8, 8), torch.tensor([5, 500])
torch.nn.init.normal_(unet.out[-1].weight, std=0.1)  # 初值是 0，输出就全是 0；先换成随机数，末行才比得出对错
emb = unet.time_embed(timestep_embedding(t, 16))  # 时间嵌入
saved, h = [], x
for stage in unet.input_blocks:
    h = stage(h, emb, None)
    saved.append(h)
    print("下行，存", tuple(h.shape[1:]))
h = unet.middle_block(h, emb, None)
for stage in unet.output_blocks:
    print("上行，", tuple(h.shape[1:]), "拼", tuple(saved[-1].shape[1:]))
    h = stage(torch.cat([h, saved.pop()], 1), emb, None)
check("与 unet(x, t) 一样", unet.out(h), unet(x, t), atol=1e-5)

# %% [markdown]
# 骨架由五个参数定下：
#
# - `model_channels`：第一层的通道数，这里是 16。
# - `channel_mult`：各级的通道数是它的几倍。写几个数就有几级，一级比一级边长减半。
# - `num_res_blocks`：每一级下行有几个残差块；上行多一个。
# - `attention_resolutions`：哪几级加注意力。写的是缩小了几倍，不是边长，这里的 2 就是边长 4 的那一级。中间块总有注意力，写成空的 `()` 也关不掉。
# - `patch_size`：先把 p×p 个像素叠成一个位置，图小了，算得快。默认是 1，不叠；第 6 节的 `mnist` 取 2。

# %% [markdown]
# ## 2　步号怎样变成向量
#
# 网络怎样知道走到了第几步？直接送整数 $t$，数值大到 999，而 $x_t$ 里的数大多在 ±3 以内，相差太远。除以 1000，该分开的步号又挨得太近：第 1 章的月牙，$t$ 改送 $t/1000$，造错的点就从 2.8 ± 0.1% 升到 3.9 ± 0.2%（八个种子）。
#
# 钟有办法：秒针分得清相邻的时刻，时针分得清早与晚，合起来就是一个时刻。照这个办法，给 $t$ 配几十根快慢不同的指针：

# %%
steps = (0, 1, 2, 10, 20, 100, 200, 900)
clocks_figure(steps, timestep_embedding(torch.tensor(steps), 64))

# %% [markdown]
# 图：任何两列，总有一行看得出不同。一列是一个步号，一行是一根指针，逆时针转；共有 32 根，画出四根。$t$ 从 0 到 1，只有第一行动得明显。可是快的指针转过许多圈，会重样；分得清 100 与 200 先后的，是慢的第三行。
#
# 一根指针用针尖的横、纵坐标记下，就是一个余弦、一个正弦。$d/2$ 根指针共有 $d$ 个分量，余弦排在前一半，正弦排在后一半：
#
# $$e_i(t) = \cos(\omega_i t),\quad e_{i+d/2}(t) = \sin(\omega_i t),\qquad \omega_i = 10000^{-i/(d/2)},\quad i=0,1,\dots,d/2-1.$$
#
# 这就是 Transformer 的位置编码，位置换成了步号。
#
# ## 3　残差块：时间从这里进来
#
# 这个向量再过两层全连接，得到整个网络共用的时间嵌入 $\mathrm{emb}$，交给每一个残差块。残差块是 U-Net 的主体：

# %%
residual_figure()

# %% [markdown]
# 图：时间嵌入加在残差块的中间。输出等于输入加上一条支路，支路是两遍“归一化、激活、卷积”；$\mathrm{emb}$ 经过一层全连接，变成每个通道一个数，在两遍中间加到这个通道的所有像素上。⊕ 是相加，通道数不变。写成公式：
#
# $$a = \mathrm{conv}_1\bigl(\mathrm{act}(\mathrm{norm}(x))\bigr) + \mathrm{linear}\bigl(\mathrm{act}(\mathrm{emb})\bigr),\qquad y = s(x) + \mathrm{conv}_2\bigl(\mathrm{act}(\mathrm{norm}(a))\bigr).$$
#
# - $\mathrm{act}$ 是 SiLU，即 $x$ 乘以它的 sigmoid。
# - $\mathrm{norm}$ 是 GroupNorm：把通道分组，组内减去均值，再除以标准差。
# - $s(x)$ 是块里自己的近路：通道数不变时就是 $x$，变了时是一层 1×1 卷积。代码里它叫 `skip_connection`，与第 1 节的跳跃连接不是一回事。
#
# 第二个卷积的初值是 0，所以一开始支路等于不存在，通道数不变的残差块原样输出。整个 U-Net 的最后一层卷积也从 0 开始，所以未训练的网络输出恒为 0。
#
# 这里藏着一个陷阱：时间嵌入给整个通道加上同一个数，紧跟着的 GroupNorm 却要减去组内的均值。如果一组只有一个通道，加上多少，均值就大多少，正好减光，网络从这里得不到 $t$ 的任何消息。

# %%
x, emb, shift = torch.randn(2, 16, 8, 8), torch.randn(2, 64), torch.randn(2, 16, 1, 1)
check("残差块一开始是恒等映射", ResBlock(16, 64, 0.0, 16)(x, emb), x)
alone, fours = torch.nn.GroupNorm(16, 16), torch.nn.GroupNorm(4, 16)
check("每组一个通道：加不加那个数，归一化之后都一样", alone(x + shift), alone(x), atol=1e-4)
print(f"每组四个通道：加上以后，归一化的结果平均变了 {(fours(x + shift) - fours(x)).abs().mean():.2f}")

# %% [markdown]
# 一组有四个通道，减掉的只是四个数的平均，四个数之间的差别还在。这份代码默认每组至少四个。写成每组一个，程序也不会报错；从头训练会差多少，留给章末的小实验。
#
# ## 4　注意力：一步看遍全图
#
# 卷积要一层一层才看得远，注意力一步就看遍全图：每个像素给所有的像素各定一个权重，按权重取平均。从训练好的 `mnist` 模型里取一处来看：

# %%
mnist, (images, _) = load_pretrained("mnist"), handwriting("../data")
net, noise = mnist.model.diffusion_model, torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
looks_figure(mnist, net.output_blocks[0][1], images[25:26], noise[25:26], (400, 900), (3, 4))

# %% [markdown]
# 图：权重不是固定的，也看得到邻格以外。同一张图、同一个位置（叉），两个 $t$，颜色的尺相同。这一处注意力在边长 7 的一级，一格管原图的 4×4 个像素；格里的数是叉处给这一格的权重，若处处相等，各是 2%。
#
# $t=400$ 时，权重几乎都落在笔画上，六成给了两格以外的最下面一笔；$t=900$ 时权重摊开了，多半在画面中间。
#
# 权重这样算：每个像素有一个查询、一个键、一个值，用自己的查询与所有像素的键作内积，经 softmax 变成权重，再对所有的值取加权平均。一共有 $HW$ 个像素，$C$ 个通道，一行写一个像素：
#
# $$\mathrm{out}=\mathrm{softmax}\!\Bigl(\frac{\mathrm{Q}\,\mathrm{K}^\top}{\sqrt C}\Bigr)\mathrm{V},\qquad \mathrm{Q},\mathrm{K},\mathrm{V}\in\mathbb R^{HW\times C}.$$
#
# 内积是 $C$ 项之和，各项若互相独立、方差为 1，和的标准差就是 $\sqrt C$，$C$ 越大，softmax 越只选一个像素。随机的查询与键，$C=64$，49 个像素，最大的权重平均是 0.800 ± 0.002；除以 $\sqrt C$，是 0.127 ± 0.001。
#
# 权重有 $(HW)^2$ 个，边长加倍就变成 16 倍，所以只在缩小以后的小图上用它。与残差块一样，结果再过一层初值为 0 的卷积，加回输入。
#
# 键与值若不来自像素，而来自一段文字的向量，就叫交叉注意力 (cross-attention)，文生图的条件就是这样进来的。
#
# ## 5　类别从哪里进来
#
# `mnist` 模型能按类别画数字。类别与 $t$ 走的是同一条路：一个类别一个向量，加到时间嵌入上，再进每一个残差块。训练时有一成（`cond_drop_prob`）的类别换成 $-1$，表示不给类别，这时加上的向量是 0。
#
# 只加一个向量，有多大的力量？拿一张纯噪声（$t=999$）送进网络，只改类别，看它猜的 $\hat x_0$。**先猜一猜**：这时 $x_t$ 里几乎没有原图（$\sqrt{\bar\alpha_t}$ 只有 0.00005），均方误差最小的猜测是什么？

# %%
digits, start = torch.tensor([*range(10), -1]), torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)).expand(11, -1, -1, -1)
test = mnist_or_stand_in("../data")[0].dataset("test")
means = torch.stack([test[(test.labels == digit).nonzero()[:, 0]]["image"].mean(0) for digit in range(10)])  # 测试图里，每一类的平均
means = torch.cat([means, means.mean(0, keepdim=True)])  # 最后一张是十类的总平均
with torch.no_grad():
    guesses = mnist.predict_start(start, torch.full((11,), 999), cond={"c_adm": digits})
grid_figure(torch.cat([means, guesses]), nrow=11, width=9.0, rows=["真的平均", "网络猜的"], columns=[*"0123456789", "不给类别"])

# %% [markdown]
# 图：给了类别，网络猜的接近这一类的平均；不给，接近总平均。上排最右是总平均；下排都从同一张噪声猜起，列名是给它的类别。看不见原图，均方误差最小的猜测就是平均（第 1 章），所以张张都糊。
#
# 第 7 章的引导用的，正是给与不给这两个猜测之差。
#
# ## 6　剪掉一块，看误差变成几倍
#
# 哪一块最要紧？每次拿掉 `mnist` 模型的一块，看误差变成几倍，这叫消融 (ablation)。要剪的是这几处：

# %%
cuts_figure(net, 28)

# %% [markdown]
# 图：剪刀标的是五种剪法。方框里的数是输出的通道数，“拼”下面是两边各有几个。上面一级边长 14（`patch_size` 是 2），下文叫大图；下面一级边长 7，叫小图。
#
# - 剪大图连线、剪小图连线：跳跃连接一级有三条，一起换成 0。
# - 不走小图：“放大”的输出换成 0。
# - 抹掉 $t$：时间嵌入换成 0，十二个残差块都收不到。
# - 去注意力：橙字的六处注意力去掉，输入原样送过去。
#
# 坏到什么程度，要有一个参照：输出恒为 0。模型的输出是 $v$（第 5 章），猜的原图由输出 $\hat v$ 换算：
#
# $$\hat x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,\hat v.$$
#
# 输出 0，就是把带噪的图乘一个数，原样交上来。误差比这还大，就不如没有网络。
#
# **先猜一猜**：这五种剪法，哪一种最要命？$t$ 大与 $t$ 小，是同一种吗？
#
# 剪，用 PyTorch 的 hook：挂在一层上的函数，这一层一算完，它返回什么，输出就换成什么。`silence` 把一层的输出换成 0，`unplug` 把跳跃连接送来的通道换成 0，`bypass` 让一类层原样送过去；权重都不动：

# %%
up = list(zip(net.output_blocks, (64, 64, 64, 64, 32, 32)))  # 上行的六段，与前一段送来的通道数（图里“拼”下左边的数）
ways = {
    "完整": lambda: [],  # 什么也不挂
    "剪大图连线": lambda: unplug(up[3:]),
    "剪小图连线": lambda: unplug(up[:3]),
    "不走小图": lambda: silence(net.output_blocks[2]),
    "抹掉 $t$": lambda: silence(net.time_embed),
    "去注意力": lambda: bypass(net, AttentionBlock),
    "输出 0": lambda: silence(net),
}


# %%
@cache
@torch.no_grad()
def guess(step, part):  # 猜的原图，网络的输出；算过的不再算
    t, hooks = torch.full((100,), step), ways[part]()
    x_t = mnist.q_sample(images, t, noise)
    out = mnist.apply_model(x_t, t, {"c_adm": torch.full((100,), -1)})  # 不给类别
    for hook in hooks:
        hook.remove()
    return mnist.predict_start_from_z_and_v(x_t, t, out), out


chosen, drawn = (100, 400, 700, 900), ["完整", "剪大图连线", "不走小图", "抹掉 $t$", "输出 0"]
cells = [picture[25:26] for step in chosen
         for picture in (images, mnist.q_sample(images, torch.full((100,), step), noise), *[guess(step, part)[0] for part in drawn])]
grid_figure(torch.cat(cells), nrow=7, width=8.0, rows=[f"$t={step}$" for step in chosen], columns=["$x_0$", "$x_t$", *drawn])

# %% [markdown]
# 图：剪掉哪一块要命，要看 $t$。每行一个 $t$，右边五列是猜的 $\hat x_0$；像素截到 $[-1,1]$ 再画。
#
# 剪断大图的连线，行行都有噪点，$t=400$ 连笔画也散了。抹掉 $t$，$t=400$ 只有零星的噪点，$t=700$、900 却满是噪点。
#
# 不走小图，$t=700$ 笔画断开，$t=900$ 只剩几团灰：看布局要靠小图（第 1 节）。
#
# 再逐个量出来，不截断：$\hat x_0$ 的均方误差是完整的网络的几倍，± 是一百张图的标准误。首行是完整的误差，末行是参照。（没有 MNIST 时，用的是模型自己画的图，数会不同。）

# %%
# NBVAL_IGNORE_OUTPUT
def times(step, part):  # 误差是完整的几倍 ± 标准误
    error, base = ((guess(step, each)[0] - images).square().mean((1, 2, 3)) for each in (part, "完整"))
    ratio = error.mean() / base.mean()
    return f"{ratio:.2f} ± {(error - ratio * base).std() / 10 / base.mean():.2f}"


rows = [["完整的误差", *[f"{(guess(step, '完整')[0] - images).square().mean():.3f}" for step in chosen]]]
rows += [[part, *[times(step, part) for step in chosen]] for part in list(ways)[1:]]
Table(("误差是完整的几倍", *[f"$t={step}$" for step in chosen]), rows, "换成 0，误差的倍数")

# %% [markdown]
# - $t=100$、400，最要命的是剪断大图的连线。$t=100$ 时是 23 倍，输出 0 也只有 9 倍。
# - $t=700$、900，最要命的是抹掉 $t$。它在 $t=100$ 也有 4.46 倍，图上却看不出，因为完整的误差只有 0.003。
# - 从头到尾最轻的是去掉注意力。
#
# 0 是训练时没有见过的输入。换成这一处平时的平均（20 个步号，各一百张图），倍数变了，最要命的只有一处换了：$t=700$ 成了大图的连线，3.35 ± 0.12 倍，抹掉 $t$ 是 2.39 ± 0.07 倍。
#
# ### 噪声走的是大图的跳跃连接
#
# $t=100$ 剪断大图的连线，怎么会比输出 0 还糟？由应有的 $v$ 换算出 $x_0$，用的也是上面的式子，两式相减：
#
# $$\hat x_0-x_0=\sqrt{1-\bar\alpha_t}\,(v-\hat v).$$
#
# 所以只要看输出 $\hat v$ 与应有的 $v=\sqrt{\bar\alpha_t}\,\varepsilon-\sqrt{1-\bar\alpha_t}\,x_0$ 差在哪里：

# %%
shown = ("完整", "剪大图连线", "不走小图", "抹掉 $t$")
cells = [picture[25:26] for step in chosen
         for picture in (mnist.get_v(images, noise, torch.full((100,), step)), *[guess(step, part)[1] for part in shown])]
grid_figure(torch.cat(cells) / 2, nrow=5, width=6.5, rows=[f"$t={step}$" for step in chosen], columns=["应有的 $v$", *shown])

# %% [markdown]
# 图：剪断大图的连线，输出里就看不到噪声；不走小图，噪声还在。输出除以 2，再截到 $[-1,1]$；灰色是 0；$x_0$ 前面是负号，所以笔画黑，背景亮。
#
# 量一量 $\hat v$ 里 $\varepsilon$ 的系数（两者的内积除以 $\varepsilon$ 与自己的内积，标准误都不超过 0.005），$t=100$、400、900 依次是：
#
# - 应有 0.99、0.80、0.15；完整 0.88、0.75、0.11；不走小图 0.88、0.75、0.12。
# - 剪断大图的连线，都在 0.02 以内。$t=100$ 时应有的几乎全是噪声，这已经与输出 0 差不多；又添上一片不相干的格子，就更糟。
# - 抹掉 $t$，0.38、0.92、0.83：噪声还在，$t=100$ 太淡，$t=900$ 太浓。
#
# 所以在这个网络里，**噪声走的是大图的跳跃连接，放出多少，要靠 $t$**。
#
# ### 练好再剪，与从头就没有
#
# 没有大图的连线，噪声就真的没有别的路吗？练好再剪，别的权重没有机会改；从头就没有这一块，才看得出它是不是非有不可。
#
# 重训 `mnist` 太久，换成第 1 节的小网络：8×8 的数字，目标是 `eps`，噪声表是 `linear`，训练 300 步。两种实验都做，各八个种子，在没有训练过的 500 张图上量损失（± 是标准误，程序在章末的小实验里）。
#
# 完整的损失是 0.175，输出 0 的是 1.00。拿走一块，损失比完整的多百分之几：
#
# | 拿走什么 | 练好再剪 | 从头没有 |
# |:--|--:|--:|
# | 注意力 | 0.0% ± 0.0% | −0.2% ± 0.2% |
# | 小图的跳跃连接 | 1.1% ± 0.1% | 0.7% ± 0.4% |
# | 小图的输出 | 33% ± 5% | 3.2% ± 0.6% |
# | 大图的跳跃连接 | 698% ± 15% | 15.7% ± 1.0% |
# | $t$ | 105% ± 4% | 9.0% ± 0.6% |
#
# - 大图的连线：练好再剪，损失是 1.40，比输出 0 还高；从头没有是 0.203，噪声的八成猜得出来，可见另有路可走。
# - $t$：从头没有只多 9%。噪声有多强，从 $x_t$ 上也看得出来（习题 08.5）。
# - 不走小图：从头没有只多 3.2%。图只有 8×8，更大的不能照搬。
# - 小图的连线、注意力：从头没有，差别都与 0 分不开。

# %% [markdown]
# ## 小结
#
# - **每一块为什么在那里**：先缩小、再放大，是为了看到布局；跳跃连接让细节不必绕道小图；时间嵌入告诉每个残差块噪声有多强；注意力放在小图上，一步看遍全图；类别的向量加到时间嵌入上。
# - **少了它会怎样**：在训练好的 `mnist` 上，$t=100$、400 最要命的是剪断大图的跳跃连接，噪声从那里走；$t=900$ 最要命的是抹掉 $t$；换成 0 还是换成平均，都是如此。注意力占参数的一成，去掉它，误差至多多 3%。想做小，可以先试去掉它，重训一遍再定；图大、内容复杂时不能照搬。
# - **“练好再剪”与“从头没有”是两回事**：8×8 的小网络上，剪掉大图的跳跃连接，损失从 0.175 升到 1.40；从头没有，只到 0.203。
# - **归一化的陷阱**：时间嵌入加在残差块中间；紧跟着的归一化若每组只有一个通道，就把它全减掉。

# %% [markdown]
# <details><summary>与参考实现的差别</summary>
#
# 有两处。它收下 `use_positional_encodings`，却没有拼坐标这一步。它的 `adm` 从 `c_crossattn` 里取类别：名字不符，但与 `LatentDiffusion` 打包条件的方式是配套的；基类 `DDPM` 从不把条件传下去。
#
# </details>

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
# `width` 是 `model_channels`，`mult` 是 `channel_mult`，`blocks` 是 `num_res_blocks`。下行存下的依次是：最前面的卷积一份，每一级 `blocks` 个残差块各一份，每次缩小一份。
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
# 照第 4 节的公式算，返回 $(B, C, H, W)$。
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
# `ResBlock(16, 64, 0.0, 32)`：16 个通道进、32 个通道出，时间嵌入 64 维。它有多少参数？照[源码精读](93_source_reading.ipynb)第 5 节 `ResBlock` 的源码逐层手算，算完再用 `count_params` 核对。

# %%
grade("08.4", None)  # 把 None 换成一个数

# %% [markdown]
# ### 08.5　图大了，还用不用告诉它 t ★★★
#
# 第 6 节里，从头就不告诉它 $t$，8×8 的数字上损失只多 9%。
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
# 下面是第 6 节末那张表的程序，接在本章的变量之后运行，一次十秒左右。在 `change` 里加几行：`part` 是“每组一个通道”时，把每个残差块里紧跟着时间嵌入的那个 GroupNorm（`block.out_layers[0]`）换成 `torch.nn.GroupNorm(channels, channels)`。先猜三个损失的次序，再量。
#
# ```python
# from ddpm_edu.data.digits import load_digits_split
#
# pictures = {name: split[0] for name, split in load_digits_split().items()}
# unseen = torch.cat([pictures["val"], pictures["test"]])
#
# def change(network, part):
#     stages = list(zip(network.output_blocks, (32, 32, 32, 16)))
#     unplug({"没有大图的": stages[2:], "没有小图的": stages[:2]}.get(part, []))
#     if part == "不告诉它 t":
#         silence(network.time_embed)
#     if part == "不走小图":
#         silence(network.output_blocks[1])
#     if part == "没有注意力":
#         bypass(network, AttentionBlock)
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
# 一、每组一个通道，损失多一成，不比不告诉它 $t$ 好（按种子配对还多 1.6% ± 0.6%）：$t$ 的消息丢得一点不剩。
# 二、每组两个通道就全救回来了，损失不比每组四个的高：减掉的只是两个数的平均，两个数之差还在，$t$ 的消息就从那里进来。
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
