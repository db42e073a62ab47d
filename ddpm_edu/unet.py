"""U-Net：时间嵌入、残差块、注意力、上下采样，可选类别标签与交叉注意力

参数名沿用参考实现的 UNetModel；Ho 2020 的 CIFAR-10 网络是它的一种配置（35.7 M）
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

from .checks import check_float, check_int, fail
from .files.plain import plain_arguments


def timestep_embedding(timesteps, dim, max_period=10000, freq_shift=0):
    """正弦时间嵌入

    timesteps  : (B,) 整数或浮点
    freq_shift : 最低的频率是 max_period^(-(half-1)/(half-freq_shift))；Ho 2020 的原版程序取 1
    返回       : (B, dim) float32，前一半是 cos，后一半是 sin
    来源       : Vaswani 2017；Ho 2020 附录 B
    """
    half = dim // 2
    i = torch.arange(half, device=timesteps.device).float()
    frequencies = torch.exp(-math.log(max_period) * i / (half - freq_shift))
    angles = timesteps.float()[:, None] * frequencies[None]
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return F.pad(embedding, (0, dim % 2))


def normalization(channels):
    """GroupNorm：最多 32 组，每组至少 4 个通道（Ho 2020 的 128 通道正好如此）

    一组只有一个通道时，归一化会把逐通道相加的时间嵌入整个减掉，网络就不知道 t 了
    """
    return nn.GroupNorm(math.gcd(32, channels, max(1, channels // 4)), channels)


def zero_module(module):
    """参数清零：让残差支路一开始等于不存在，训练更稳"""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResBlock(nn.Module):
    """残差块：两次 归一化-激活-卷积，中间加上时间嵌入

    x   : (B, channels, H, W)
    emb : (B, emb_channels)
    返回 : (B, out_channels, H, W)
    """

    def __init__(self, channels, emb_channels, dropout, out_channels):
        super().__init__()
        self.in_layers = nn.Sequential(
            normalization(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, out_channels))
        self.out_layers = nn.Sequential(
            normalization(out_channels), nn.SiLU(), nn.Dropout(dropout),
            zero_module(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x, emb):
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class AttentionBlock(nn.Module):
    """像素之间的自注意力；给了 context_dim 时，再对上下文做一次交叉注意力

    x       : (B, channels, H, W)
    context : (B, L, context_dim)，只有 context_dim 不为 None 时才用
    返回     : 与 x 同形状
    """

    def __init__(self, channels, num_heads=1, context_dim=None):
        super().__init__()
        self.num_heads = num_heads
        self.norm = normalization(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = zero_module(nn.Conv2d(channels, channels, 1))
        self.cross = None if context_dim is None else CrossAttention(channels, num_heads, context_dim)

    def forward(self, x, context=None):
        tokens = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)
        h = attend(*tokens.chunk(3, dim=-1), self.num_heads)
        x = x + self.proj_out(h.transpose(1, 2).reshape(x.shape))
        return x if self.cross is None else self.cross(x, context)


class CrossAttention(nn.Module):
    """像素作查询，上下文作键和值"""

    def __init__(self, channels, num_heads, context_dim):
        super().__init__()
        self.num_heads = num_heads
        self.context_dim = context_dim
        self.norm = normalization(channels)
        self.to_q = nn.Conv2d(channels, channels, 1)
        self.to_kv = nn.Linear(context_dim, 2 * channels)
        self.proj_out = zero_module(nn.Conv2d(channels, channels, 1))

    def forward(self, x, context):
        if context is None or context.ndim != 3 or context.shape[-1] != self.context_dim:
            got = None if context is None else tuple(context.shape)
            fail("context", f"形状 (B, L, {self.context_dim}) 的张量", got, "这个 U-Net 设了 context_dim，每次前向都要给")
        q = self.to_q(self.norm(x)).flatten(2).transpose(1, 2)
        h = attend(q, *self.to_kv(context).chunk(2, dim=-1), self.num_heads)
        return x + self.proj_out(h.transpose(1, 2).reshape(x.shape))


def attend(q, k, v, num_heads):
    """多头缩放点积注意力：(B, N, C), (B, M, C), (B, M, C) → (B, N, C)"""
    q, k, v = (z.unflatten(-1, (num_heads, -1)).transpose(1, 2) for z in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Downsample(nn.Conv2d):
    """步长 2 的卷积：边长减半；padding 为 0 时只在右边、下边各补一行 0，同 Ho 2020 的原版程序"""

    def __init__(self, channels, padding=1):
        super().__init__(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x):
        return super().forward(x if self.padding[0] else F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Conv2d):
    """最近邻放大两倍，再卷积"""

    def __init__(self, channels):
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x):
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class UNetStage(nn.ModuleList):
    """一小段网络：按各层需要，把时间嵌入或上下文递给它"""

    def forward(self, x, emb, context):
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, AttentionBlock):
                x = layer(x, context)
            else:
                x = layer(x)
        return x


class UNet(nn.Module):
    """去噪用的 U-Net

    in_channels, out_channels : 输入、输出通道数
    model_channels            : 第一层宽度；channel_mult 给出各层的倍数，每层边长减半
    num_res_blocks            : 每层残差块数；attention_resolutions 列出加注意力的下采样倍数
    num_classes               : 有类别标签时的类别数；标签 -1 表示“无条件”
    context_dim               : 交叉注意力的上下文宽度
    patch_size                : 先把 p×p 个像素叠成一个位置的 p² 倍通道，算完再摊开；网络看到的边长是 1/p，省时间
    norm_groups, norm_eps     : GroupNorm 的组数（None 见 normalization）与 ε
    freq_shift, downsample_padding : 0 或 1，见 timestep_embedding、Downsample；这四个是为了装得下别家的权重
    异常                      : 任何参数越界时 ValueError
    来源                      : Ho 2020 附录 B
    """

    @plain_arguments
    def __init__(self, in_channels, model_channels, out_channels, num_res_blocks=2, attention_resolutions=(2,),
                 dropout=0.0, channel_mult=(1, 2, 2, 2), num_heads=1, num_classes=None, context_dim=None, patch_size=1,
                 norm_groups=None, norm_eps=1e-5, freq_shift=0, downsample_padding=1):
        super().__init__()
        self.in_channels = check_int("in_channels", in_channels, 1)
        self.out_channels = check_int("out_channels", out_channels, 1)
        self.model_channels = check_int("model_channels", model_channels, 2)
        check_int("num_res_blocks", num_res_blocks, 1)
        check_float("dropout", dropout, 0, 1, open_high=True)
        check_int("num_heads", num_heads, 1)
        for name, value in (("channel_mult", channel_mult), ("attention_resolutions", attention_resolutions)):
            if not isinstance(value, (list, tuple)):
                fail(name, "整数的列表", value, error=TypeError)
        widths = [model_channels * check_int("channel_mult", m, 1) for m in channel_mult]
        if not widths:
            fail("channel_mult", "非空的整数列表", channel_mult)
        self.patch_size = check_int("patch_size", patch_size, 1)
        # 输入边长须能被它整除
        self.downsample_factor = patch_size * 2 ** (len(widths) - 1)
        allowed = [2**level for level in range(len(widths))]
        if unknown := [r for r in attention_resolutions if r not in allowed]:
            fail("attention_resolutions", f"取自 {allowed} 的列表（下采样倍数，不是边长）", unknown)
        for width in {w for w, r in zip(widths, allowed) if r in attention_resolutions} | {widths[-1]}:
            if width % num_heads:
                fail("num_heads", f"能整除每个注意力层通道数 {width} 的整数", num_heads)
        self.num_classes = None if num_classes is None else check_int("num_classes", num_classes, 1)
        self.context_dim = None if context_dim is None else check_int("context_dim", context_dim, 1)
        self.freq_shift = check_int("freq_shift", freq_shift, 0, 1)
        check_int("downsample_padding", downsample_padding, 0, 1)
        check_float("norm_eps", norm_eps, 0, open_low=True)

        emb_channels = 4 * model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels)
        )
        self.label_emb = None if num_classes is None else nn.Embedding(num_classes, emb_channels)

        def res(channels, out):
            return ResBlock(channels, emb_channels, dropout, out)

        def attention(channels, factor):
            return [AttentionBlock(channels, num_heads, context_dim)] if factor in attention_resolutions else []

        channels = model_channels
        self.input_blocks = nn.ModuleList([UNetStage([nn.Conv2d(in_channels * patch_size**2, channels, 3, padding=1)])])
        skips = [channels]
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                self.input_blocks.append(UNetStage([res(channels, width), *attention(width, 2**level)]))
                channels = width
                skips.append(channels)
            if level < len(widths) - 1:
                self.input_blocks.append(UNetStage([Downsample(channels, downsample_padding)]))
                skips.append(channels)

        self.middle_block = UNetStage(
            [res(channels, channels), AttentionBlock(channels, num_heads, context_dim), res(channels, channels)]
        )

        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for block in range(num_res_blocks + 1):
                layers = [res(channels + skips.pop(), width), *attention(width, 2**level)]
                channels = width
                if level > 0 and block == num_res_blocks:
                    layers.append(Upsample(channels))
                self.output_blocks.append(UNetStage(layers))

        self.out = nn.Sequential(
            normalization(channels), nn.SiLU(), zero_module(nn.Conv2d(channels, out_channels * patch_size**2, 3, padding=1))
        )
        for norm in [layer for layer in self.modules() if isinstance(layer, nn.GroupNorm)]:
            norm.eps, norm.num_groups = norm_eps, norm.num_groups if norm_groups is None else check_int("norm_groups", norm_groups, 1)
            if norm.num_channels % norm.num_groups:
                fail("norm_groups", f"能整除每层通道数 {norm.num_channels} 的整数", norm_groups)

    def forward(self, x, timesteps, context=None, y=None):
        """预测目标（eps / x0 / v，由训练时的 parameterization 决定）

        x         : (B, in_channels, H, W)，H、W 能被 downsample_factor 整除
        timesteps : (B,) 步号
        context   : (B, L, context_dim)，设了 context_dim 时必须给
        y         : (B,) int64 类别，-1 表示无条件，设了 num_classes 时必须给
        返回      : (B, out_channels, H, W)
        """
        divisible = all(side % self.downsample_factor == 0 for side in x.shape[2:])
        if x.ndim != 4 or x.shape[1] != self.in_channels or not divisible:
            fail("U-Net 的输入",
                 f"形状 (B, {self.in_channels}, H, W) 的张量，H、W 能被 {self.downsample_factor} 整除",
                 tuple(x.shape), "通道数包括坐标通道（+2）与 concat 条件")
        emb = timestep_embedding(timesteps, self.model_channels, freq_shift=self.freq_shift)
        emb = self.time_embed(emb.to(x.dtype))
        if (y is None) != (self.label_emb is None):
            fail("y", "类别标签" if y is None else "None", y,
                 f"这个 U-Net 的 num_classes={self.num_classes}")
        if y is not None:
            emb = emb + self.embed_labels(y)
        skips, h = [], F.pixel_unshuffle(x, self.patch_size)
        for stage in self.input_blocks:
            # 像素的各通道在内存里挨着放，卷积读起来顺，结果只差舍入；权重照平常排，什么格式都存得下
            h = stage(h, emb, context).contiguous(memory_format=torch.channels_last)
            skips.append(h)
        h = self.middle_block(h, emb, context)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, skips.pop()], dim=1), emb, context)
        return F.pixel_shuffle(self.out(h), self.patch_size)

    def embed_labels(self, y):
        """(B,) 标签 → (B, 4·model_channels)；-1（无条件）的那些行为 0"""
        # 在 GPU 上看一眼要等设备，编译时看一眼计算图就断成两张；训练的标签在门口查过了
        if y.device.type == "cpu" and not torch.compiler.is_compiling() and not -1 <= int(y.min()) <= int(y.max()) < self.num_classes:
            fail("y", f" -1..{self.num_classes - 1} 的类别（-1 表示无条件）", y.tolist())
        return self.label_emb(y.clamp(min=0)) * (y >= 0).unsqueeze(-1)


def coordinate_channels(x):
    """两个坐标通道 (B, 2, H, W)：先 x（列）后 y（行），都在 [-1, 1]"""
    rows, columns = x.shape[-2:]
    y = torch.linspace(-1, 1, rows, device=x.device, dtype=x.dtype)
    x_axis = torch.linspace(-1, 1, columns, device=x.device, dtype=x.dtype)
    grid = torch.stack([x_axis.expand(rows, -1), y[:, None].expand(-1, columns)])
    return grid.expand(len(x), -1, -1, -1)
