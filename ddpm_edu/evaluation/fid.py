"""FID 与 KID：用你自己的 Inception-v3 权重（inception.load_inception 从文件读），由 torchmetrics 计算（Heusel 2017；Bińkowski 2018）"""
import logging

import torch
from torch import nn

from ..checks import check_int, fail
from ..gaussian import check_sample
from ..images import to_uint8
from ..progress import progress_bar
from ..sampling import evaluating
from .metrics import frechet_curve

log = logging.getLogger("ddpm_edu")
MISSING = (
    "要的是取特征的网络：uint8 的 (N, 3, H, W)，0..255 → (N, 2048) 浮点，放大到 299×299 与归一化由它自己做，"
    "手里有权重文件就写 ddpm_edu.evaluation.inception.load_inception(文件)；"
    "FID 只有用 TensorFlow 2015 年那份 Inception-v3 权重（约 95 MB）才能与论文的数字比，它是别人的文件，不随包发布；"
    "没有它时，先用 bits/dim（ddpm_edu.evaluation.report.evaluate）和小分类器的 Fréchet 距离（ddpm_edu.evaluation.metrics.frechet_for），"
    "后者不能与论文的 FID 比"
)


class _Features(nn.Module):
    """核对用户的网络给出的特征，换到 CPU 上"""

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
        return found.cpu()


class _Ready(nn.Module):
    """特征已经取好了，原样交给 torchmetrics；float64：半精度会溢出"""

    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features

    def forward(self, features):
        return features.double()


@torch.no_grad()
def inception_features(images, inception=None, batch_size=64, progress=None, name="images"):
    """图 → 特征 (N, D)，在 CPU 上，dtype 同网络给出的

    images : (N, C, H, W)，[-1, 1]，C 为 1 或 3，至少 2 张；1 通道的复制成 3 通道；先截断、舍入成 uint8，同存成 PNG 再读
    """
    if inception is None:
        fail("inception", "取特征的 nn.Module", None, MISSING)
    if not isinstance(inception, nn.Module):
        fail("inception", "取特征的 nn.Module", inception, "这里不打开文件，先 inception = load_inception(文件)", TypeError)
    check_int("batch_size", batch_size, 1)
    check_sample(name, images, 1 if images.ndim == 4 and images.shape[1] == 1 else 3)
    if len(images) < 2:
        fail(name, "至少 2 张图", len(images))
    with evaluating(inception):
        take = _Features(inception, _pixels(images[:2]))
        return torch.cat([take(_pixels(chunk)) for chunk in progress_bar(images.split(batch_size), progress, "取特征")])


def fid_of(x, y):
    """两组特征 (N, D)、(M, D) 的 FID，由 torchmetrics 计算"""
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(x), len(y)) <= x.shape[1]:
        log.warning("图的张数（%d 与 %d）不多于特征维数 %d，FID 会明显偏大", len(x), len(y), x.shape[1])
    return float(_measured(FrechetInceptionDistance(feature=_Ready(x.shape[1])), x, y))


def kid_of(x, y, blocks=10):
    """两组特征的 (KID, 标准误)：两边各切成 blocks 份不重叠的，一份对一份由 torchmetrics 算无偏的 KID，取平均与它的标准误

    常见的写法是反复抽有重叠的子集，再报各次之间的标准差：那个数随子集的大小变，不是平均的误差
    """
    check_int("blocks", blocks, 2, min(len(x), len(y)) // 2, "每份至少两张图")
    from torchmetrics.image.kid import KernelInceptionDistance

    metric = KernelInceptionDistance(feature=_Ready(x.shape[1]), subsets=1, subset_size=min(len(x), len(y)) // blocks)
    each = []
    # torchmetrics 要打乱次序；全局的随机数不动
    with torch.random.fork_rng(devices=[]):
        for a, b in zip(x.split(len(x) // blocks)[:blocks], y.split(len(y) // blocks)[:blocks]):
            torch.manual_seed(0)
            metric.reset()
            each.append(_measured(metric, a, b)[0])
    each = torch.stack(each)
    return float(each.mean()), float(each.std() / blocks**0.5)


def _measured(metric, x, y):
    metric.update(y, real=True)
    metric.update(x, real=False)
    return metric.compute()


def inception_fid(samples, real, inception=None, batch_size=64, progress=None):
    """样本与真图的 FID，越小越好；论文的数字用 50 000 张样本

    samples, real : (N, C, H, W)、(M, C, H, W)，[-1, 1]，C 为 1 或 3，各至少 2 张；1 通道的复制成 3 通道
    inception     : nn.Module，uint8 (B, 3, H, W) → (B, 2048)；已在哪个设备上就在哪里算
    返回          : Python 浮点数
    异常          : 没有 inception 时 ValueError，写明要什么、为什么不随包发布、先用哪个数
    """
    return fid_of(*_both(samples, real, inception, batch_size, progress))


def inception_kid(samples, real, inception=None, batch_size=64, progress=None, blocks=10):
    """样本与真图的 KID（特征上三次多项式核的 MMD²）：无偏，图少时也不偏大，可以略小于 0

    blocks : 两边各切成几份，每份至少两张；其余同 inception_fid
    返回   : (KID, 标准误)
    来源   : Bińkowski 2018 (Demystifying MMD GANs)
    """
    check_int("blocks", blocks, 2, min(len(samples), len(real)) // 2, "每份至少两张图")
    return kid_of(*_both(samples, real, inception, batch_size, progress), blocks)


def _both(samples, real, inception, batch_size, progress):
    real = inception_features(real, inception, batch_size, progress, "real")
    return inception_features(samples, inception, batch_size, progress, "samples"), real


def comparable(samples, real):
    """两组 Inception 特征 → 能写进论文的几个数：fid、kid、kid_se；张数多于特征维数的两倍时另有 fid_curve 与外推的 fid_inf

    samples : (N, D)，N 至少 20；来源：外推见 Chong & Forsyth 2020 (Effectively Unbiased FID)
    """
    check_int("num_samples", len(samples), 20, advice="KID 的标准误要切成十份，每份至少两张")
    kid, se = kid_of(samples, real)
    found = {"fid": fid_of(samples, real), "kid": kid, "kid_se": se, "real_images": len(real)}
    if len(samples) > 2 * samples.shape[1]:
        sizes = torch.linspace(max(samples.shape[1], len(samples) // 10), len(samples), 15).long().tolist()
        values, limit = frechet_curve(samples, real, sizes)
        found |= {"fid_curve": dict(zip(map(str, sizes), values)), "fid_inf": limit}
    return found


def _pixels(images):
    """[-1, 1] 浮点，1 或 3 通道 → CPU 上的 uint8 (N, 3, H, W)"""
    return to_uint8(images).expand(-1, 3, -1, -1).cpu()
