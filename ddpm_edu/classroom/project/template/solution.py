"""大作业：写三处——噪声表、损失、采样器。只交这个文件与 weights.safetensors

网络是给定的：network(x, t) → 与 x 同形状的张量
    x : (B, 1, H, W) 浮点，带噪的图；t : (B,) 步号，0..T-1
它输出的是什么（噪声、原图还是别的），由你的 loss 决定，loss 与 sample 要说好

只许用 math、random、torch、numpy 与标准库的 functools、itertools、typing、dataclasses、collections
不许读文件、载入模型、导入 ddpm_edu；评分的进程是隔离的，碰到就不收
"""
import torch

T = 1000


def betas(timesteps):
    """噪声表：timesteps 个 β，都在 (0, 1] 里；走到头时 √ᾱ 不超过 0.1

    返回 : (timesteps,) 的张量或数组，用 float64 算
    提示 : 第 2 章
    """
    raise NotImplementedError("噪声表还没有写")


def loss(network, x_start, generator):
    """一批真图的损失：训练循环拿它求梯度

    x_start   : (B, 1, H, W)，[-1, 1]
    generator : 随机数都由它抽：torch.randn(shape, generator=generator)
    返回      : 标量张量
    提示      : 抽 t，加噪，让网络猜；第 5、6 章。少步要画得好，想一想训练时能为采样做些什么
    """
    raise NotImplementedError("损失还没有写")


def sample(network, shape, calls, generator):
    """从噪声画出一批图，每张图至多调用 calls 次网络；calls 是 1、2、4、8

    shape : (B, 1, H, W)；一次送两倍大的批，算两次
    返回  : (B, 1, H, W)，最后截断到 [-1, 1]
    提示  : 第 7、15 章
    """
    x = torch.randn(shape, generator=generator)
    raise NotImplementedError("采样器还没有写")
    return x.clamp(-1, 1)
