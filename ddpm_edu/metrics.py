"""样本有多像真的：数字小分类器的特征，与特征上的 Fréchet 距离"""
from importlib.resources import files

import torch
import torch.nn.functional as F
from torch import nn

from .checks import fail


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


class DigitsClassifier(nn.Module):
    """8×8 数字的小卷积网络；倒数第二层的 32 维输出就是评估用的特征

    x    : (B, 1, 8, 8)，[-1, 1]
    返回 : (B, 10) 的对数几率
    """

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 32),
        )
        self.head = nn.Linear(32, 10)

    def features(self, x):
        return self.body(x)

    def forward(self, x):
        return self.head(F.relu(self.features(x)))


def train_digits_classifier(epochs=60, seed=0):
    """在训练划分上训练分类器（轻微平移作增广）；返回 (分类器, 留出 500 张上的准确率)"""
    from .data.digits import load_digits_split

    splits = load_digits_split()
    (x, y), (held_x, held_y) = splits["train"], (torch.cat(z) for z in zip(splits["val"], splits["test"]))
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)
        classifier = DigitsClassifier()
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.05)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            for index in torch.randperm(len(x)).split(64):
                shift = [int(s) for s in torch.randint(-1, 2, (2,))] if torch.rand(()) < 0.3 else [0, 0]
                loss = F.cross_entropy(classifier(x[index].roll(shift, (2, 3))), y[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            scheduler.step()
    classifier.eval()
    with torch.no_grad():
        accuracy = float((classifier(held_x).argmax(1) == held_y).float().mean())
    return classifier, accuracy


def load_digits_classifier():
    """随包发布的分类器（eval 模式）"""
    from safetensors.torch import load_file

    classifier = DigitsClassifier()
    classifier.load_state_dict(load_file(str(files("ddpm_edu") / "pretrained" / "digits_classifier.safetensors")))
    return classifier.eval().requires_grad_(False)


class DigitsFrechet:
    """生成的数字与留出的 500 张真图之间的 Fréchet 距离，另给两条参照线"""

    def __init__(self):
        from .data.digits import load_digits_split

        self.classifier = load_digits_classifier()
        splits = load_digits_split()
        self.train = splits["train"][0]
        self.real = torch.cat([splits["val"][0], splits["test"][0]])
        self._real_features = self.features(self.real)

    @torch.no_grad()
    def features(self, images):
        """(N, 1, 8, 8) → (N, 32)；超出 [-1, 1] 的先截断"""
        return self.classifier.features(images.detach().float().cpu().clamp(-1, 1))

    def __call__(self, images):
        """(N, 1, 8, 8) → 距离，越小越像；约 60 以下已经认得出"""
        return frechet_distance(self.features(images), self._real_features)

    def floor(self):
        """真图对真图：训练划分与留出划分之间的距离，再好的样本也大致如此"""
        return self(self.train)

    def ceiling(self):
        """纯噪声（截到 [-1, 1]）的距离"""
        noise = torch.randn(1024, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        return self(noise)
