"""FID 与 KID：用你自己的 Inception-v3 权重，由 torchmetrics 计算（Heusel 2017；Bińkowski 2018）"""
import logging

import torch
from torch import nn

from ..checks import check_int, fail
from ..gaussian import check_sample
from ..images import to_uint8
from ..progress import progress_bar
from ..sampling import evaluating

log = logging.getLogger("ddpm_edu")
MISSING = (
    "要的是取特征的网络：uint8 的 (N, 3, H, W)，0..255 → (N, 2048) 浮点，放大到 299×299 与归一化由它自己做；"
    "FID 只有用 TensorFlow 2015 年那份 Inception-v3 权重（约 95 MB）才能与论文的数字比，它是别人的文件，不随包发布；"
    "没有它时，先用 bits/dim（ddpm_edu.evaluation.report.evaluate）和小分类器的 Fréchet 距离（ddpm_edu.evaluation.metrics.frechet_for），"
    "后者不能与论文的 FID 比"
)


class _Features(nn.Module):
    """核对用户的网络给出的特征，并换成 CPU 上的 float64：结果与特征同精度，半精度会溢出，Apple 的 GPU 没有 float64"""

    def __init__(self, network, probe):
        super().__init__()
        self.network, self.num_features = network, None
        self.device = next(network.parameters(), torch.empty(0)).device
        self.num_features = self(probe).shape[1]

    def forward(self, images):
        found = self.network(images.to(self.device))
        width = self.num_features or "D"
        good = isinstance(found, torch.Tensor) and found.is_floating_point() and found.ndim == 2 and len(found) == len(images)
        if not good or self.num_features not in (None, found.shape[1]):
            got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            fail("inception 的输出", f"形状 ({len(images)}, {width}) 的浮点张量", got, "网络返回元组时，包一层取出特征")
        if not found.isfinite().all():
            fail("inception 的输出", "有限的数", "NaN 或无穷", "检查权重是否载全")
        return found.cpu().double()


def inception_fid(samples, real, inception=None, batch_size=64, progress=None):
    """样本与真图的 FID，越小越好；论文的数字用 50 000 张样本

    samples, real : (N, C, H, W)、(M, C, H, W)，[-1, 1]，C 为 1 或 3，各至少 2 张；1 通道的复制成 3 通道
    inception     : nn.Module，uint8 (B, 3, H, W) → (B, 2048)；已在哪个设备上就在哪里算
    返回          : Python 浮点数
    异常          : 没有 inception 时 ValueError，写明要什么、为什么不随包发布、先用哪个数
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    def make(features):
        if min(len(samples), len(real)) <= features.num_features:
            log.warning("图的张数（%d 与 %d）不多于特征维数 %d，FID 会明显偏大", len(samples), len(real), features.num_features)
        return FrechetInceptionDistance(feature=features)

    return float(_measured("FID", make, samples, real, inception, batch_size, progress))


def inception_kid(samples, real, inception=None, batch_size=64, subset_size=1000, subsets=100, seed=0, progress=None):
    """样本与真图的 KID（特征上三次多项式核的 MMD²）：无偏，图少时也不偏大，可以略小于 0

    subset_size, subsets : 每次各抽 subset_size 张，抽 subsets 次；seed 决定怎样抽；其余同 inception_fid
    返回 : (平均, 标准差)，后者是各次抽取之间的
    来源 : Bińkowski 2018 (Demystifying MMD GANs)
    """
    check_int("subset_size", subset_size, 2, min(len(samples), len(real)), "不能多于图的张数")
    check_int("subsets", subsets, 1)
    from torchmetrics.image.kid import KernelInceptionDistance

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_int("seed", seed, 0, 2**63 - 1))
        mean, spread = _measured("KID", lambda features: KernelInceptionDistance(feature=features, subsets=subsets, subset_size=subset_size),
                                 samples, real, inception, batch_size, progress)
    return float(mean), float(spread)


@torch.no_grad()
def _measured(name, make, samples, real, inception, batch_size, progress):
    """核对两批图与网络，逐批交给 make 造的 torchmetrics 指标"""
    if inception is None:
        fail("inception", "取特征的 nn.Module", None, MISSING)
    if not isinstance(inception, nn.Module):
        fail("inception", "取特征的 nn.Module", inception, "自己建好网络，用 safetensors 载入权重再给进来；这里不打开文件", TypeError)
    check_int("batch_size", batch_size, 1)
    for label, images in (("samples", samples), ("real", real)):
        check_sample(label, images, 1 if images.ndim == 4 and images.shape[1] == 1 else 3)
        if len(images) < 2:
            fail(label, "至少 2 张图", len(images))
    with evaluating(inception):
        metric = make(_Features(inception, _pixels(real[:2])))
        chunks = [(chunk, is_real) for images, is_real in ((real, True), (samples, False)) for chunk in images.split(batch_size)]
        for chunk, is_real in progress_bar(chunks, progress, name):
            metric.update(_pixels(chunk), real=is_real)
        return metric.compute()


def _pixels(images):
    """[-1, 1] 浮点，1 或 3 通道 → CPU 上的 uint8 (N, 3, H, W)"""
    return to_uint8(images).expand(-1, 3, -1, -1).cpu()
