"""样本离留出的真图多远：课程的分类器的特征上，Fréchet 距离与 KID"""
import warnings
from functools import lru_cache

import torch

from ...evaluation.classifier import load_classifier
from ...evaluation.fid import kid_of
from ...evaluation.metrics import FrechetDistance
from .tasks import pictures

KID_UNIT = 1000  # 特征没有归一化，KID 动辄几万，以千为单位
BLOCKS = 10


@lru_cache(maxsize=2)
def scorer(name, root="data"):
    """这份数据的 FrechetDistance：随包的分类器，留出的真图"""
    data = pictures(name, root)
    return FrechetDistance(load_classifier(name), data["held"], data["train"])


def measured(score, samples):
    """{"frechet", "kid"}：都是越小越好；KID 以千为单位，可以略小于 0"""
    features = score.features(samples)
    with warnings.catch_warnings():
        # torchmetrics 提醒它会记着全部特征，这里只有几百个
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance`")
        # 两边各切成几份，比各份的平均；张数不同时多出来的不用
        kid, _ = kid_of(features, score._real_features, BLOCKS)
    return {"frechet": score(samples), "kid": kid / KID_UNIT}


def averaged(values):
    """(平均, 标准误)；只有一个时标准误是 None"""
    found = torch.tensor(values, dtype=torch.float64)
    return float(found.mean()), float(found.std() / len(found) ** 0.5) if len(found) > 1 else None
