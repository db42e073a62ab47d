"""样本有多像真的：小分类器特征上的 Fréchet 距离"""
import torch

from ..checks import check_int, fail
from ..data.base import random_images
from ..gaussian import check_sample
from .classifier import cached_classifier, load_classifier


def frechet_distance(x, y):
    """两组特征的 Fréchet 距离：各拟合一个高斯，‖μ1-μ2‖² + tr(Σ1 + Σ2 - 2(Σ1 Σ2)^½)

    x, y : (N, D)、(M, D) 浮点，各至少 2 行
    返回 : Python 浮点数，≥ 0
    来源 : Heusel 2017（FID 用的就是它）
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        fail("特征", "两个列数相同、至少两行的矩阵", (tuple(x.shape), tuple(y.shape)))
    x, y = x.double(), y.double()
    mean_gap = (x.mean(0) - y.mean(0)).square().sum()
    cov_x, cov_y = torch.cov(x.T).reshape(x.shape[1], -1), torch.cov(y.T).reshape(x.shape[1], -1)
    # tr (Σ1 Σ2)^½ 等于 Σ1^½ Σ2 Σ1^½ 的特征值开方之和，后者对称，数值上稳
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return float((mean_gap + cov_x.trace() + cov_y.trace() - 2 * cross).clamp(min=0))


def frechet_curve(x, y, sizes, seed=0):
    """样本特征 x 取几种张数，各算一次与 y 的距离，再照 1/N 的直线外推到无穷多张

    sizes : 至少两种，各在 2..len(x) 之内；每种张数另抽一批，不重复取
    返回  : (各个距离, 外推的值)；y 的张数不变，它带来的偏差还在
    来源  : Chong & Forsyth 2020 (Effectively Unbiased FID)
    """
    if len(set(sizes)) < 2:
        fail("sizes", "至少两种张数", list(sizes))
    generator, values = torch.Generator().manual_seed(check_int("seed", seed, 0, 2**63 - 1)), []
    for size in sizes:
        check_int("sizes 里的张数", size, 2, len(x))
        values.append(frechet_distance(x[torch.randperm(len(x), generator=generator)[:size]], y))
    inverse, found = 1 / torch.tensor(sizes, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    slope = torch.cov(torch.stack([inverse, found]))[0, 1] / inverse.var()
    return values, float(found.mean() - slope * inverse.mean())


@torch.no_grad()
def recognised(classifier, images, labels):
    """分类器认得出的比例：recognised 是判断与 labels 相同的，sure 是概率还大于 0.9 的；都在 [0, 1]"""
    odds = torch.cat([classifier(chunk.clamp(-1, 1)).softmax(1) for chunk in images.split(2048)])
    right = odds.argmax(1) == labels
    return {"recognised": float(right.double().mean()), "sure": float((right & (odds.amax(1) > 0.9)).double().mean())}


def nearest_distances(images, train):
    """每张图到最近的一张训练图的距离 ‖x - x'‖：(N, C, H, W), (M, C, H, W) → (N,)"""
    flat = train.flatten(1)
    return torch.cat([torch.cdist(chunk.flatten(1), flat).amin(1) for chunk in images.clamp(-1, 1).split(256)])


class FrechetDistance:
    """生成的图与 real_images 之间的 Fréchet 距离，另给两条参照线

    classifier  : 有 features 方法的分类器，如 train_classifier 给出的
    real_images : (M, C, H, W)，[-1, 1]，留出的真图；train 是训练用的真图，floor 要用
    """

    def __init__(self, classifier, real_images, train=None):
        self.classifier, self.train = classifier, train
        check_sample("real_images", real_images, real_images.shape[1], tuple(real_images.shape[2:]))
        self.real = real_images
        self._real_features = self.features(real_images)

    @torch.no_grad()
    def features(self, images):
        """(N, C, H, W) → (N, 32)；超出 [-1, 1] 的先截断"""
        images = images.detach().float().cpu()
        check_sample("images", images, self.real.shape[1], tuple(self.real.shape[2:]))
        # 分块，免得一万张图占去几 GB
        return torch.cat([self.classifier.features(chunk) for chunk in images.clamp(-1, 1).split(2048)])

    def __call__(self, images):
        """(N, C, H, W) → 距离，越小越像；只与同样多的图得到的数相比"""
        return frechet_distance(self.features(images), self._real_features)

    def floor(self, train=None):
        """真图对真图：训练用的真图与留出的真图之间的距离，再好的样本也大致如此"""
        train = self.train if train is None else train
        if train is None:
            fail("train", "训练用的真图 (N, C, H, W)", None, "构造时或调用时给出")
        return self(train)

    def ceiling(self):
        """纯噪声（截到 [-1, 1]）的距离"""
        noise = torch.randn(1024, *self.real.shape[1:], generator=torch.Generator().manual_seed(0))
        return self(noise)


class DigitsFrechet(FrechetDistance):
    """随包的分类器，与留出的 500 张真实数字"""

    def __init__(self):
        from ..data.digits import load_digits_split

        splits = load_digits_split()
        super().__init__(load_classifier(), torch.cat([splits["val"][0], splits["test"][0]]), splits["train"][0])


def frechet_for(data_module, cache=None, num_images=10_000, progress=None):
    """这份数据的 FrechetDistance：随包有分类器的用它（digits 的真图固定），别的训练一次；没有标签的数据返回 None

    cache      : 分类器存放的 .ckpt 文件，下次直接读；None 为不存
    num_images : 训练、测试划分各至多取这么多张真图
    """
    from ..data import DigitsDataModule

    if isinstance(data_module, DigitsDataModule) and data_module.image_size == 8:
        return DigitsFrechet()
    if data_module.num_classes is None:
        return None
    real, train = (random_images(data_module.dataset(name), num_images)["image"] for name in ("test", "train"))
    return FrechetDistance(cached_classifier(data_module, cache, progress), real, train)
