"""评估用的小分类器：它倒数第二层的 32 维输出，就是 Fréchet 距离用的特征"""
import logging
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ..checks import check_choice, check_int, check_size, fail
from ..files.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from ..gaussian import sides
from ..pretrained import checked_file, classifier_cards
from ..progress import progress_bar

log = logging.getLogger("ddpm_edu")
# 默认一共看这么多张图：digits 上是 60 轮，MNIST 上是 1 轮
DEFAULT_IMAGES = 78_000
SHAPE = ("image_size", "channels", "num_classes")  # 分类器的三个参数


class SmallClassifier(nn.Module):
    """小卷积网络；features 给出 32 维特征

    x    : (B, channels, 高, 宽)，[-1, 1]；image_size：整数，或 (高, 宽)
    返回 : (B, num_classes) 的对数几率
    """

    def __init__(self, image_size=8, channels=1, num_classes=10):
        super().__init__()
        self.image_size = check_size("image_size", image_size)
        self.channels = check_int("channels", channels, 1)
        self.num_classes = check_int("num_classes", num_classes, 2)
        self.body = self.make_body()
        self.head = nn.Linear(32, num_classes)

    def make_body(self):
        reduced = math.prod(-(-side // 4) for side in sides(self.image_size))  # 两次减半，奇数向上取整
        return nn.Sequential(
            nn.Conv2d(self.channels, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * reduced, 32),
        )

    def features(self, x):
        return self.body(x)

    def forward(self, x):
        return self.head(F.relu(self.features(x)))


def normed(inner, outer, kernel=3, **options):
    return nn.Sequential(nn.Conv2d(inner, outer, kernel, **options), nn.BatchNorm2d(outer), nn.ReLU())


class Residual(nn.Module):
    """x 加上两层卷积"""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(*(normed(width, width, padding=1) for _ in range(2)))

    def forward(self, x):
        return x + self.inner(x)


class ResidualClassifier(SmallClassifier):
    """给彩色照片用的：残差块，37 万参数；参数与 SmallClassifier 的一样，边长要是偶数"""

    def make_body(self):
        return nn.Sequential(
            normed(self.channels, 48, 2, stride=2), Residual(48),
            normed(48, 96, stride=2, padding=1), Residual(96), normed(96, 128, stride=2, padding=1),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 32),
        )


NETWORKS = {network.__name__: network for network in (SmallClassifier, ResidualClassifier)}


def classifier_shape(data_module):
    """分类器的三个参数，取自数据模块；没有类别的数据报错"""
    if data_module.num_classes is None:
        fail("data_module", "有标签（num_classes）的数据模块", type(data_module).__name__, "分类器要靠标签训练")
    return {name: getattr(data_module, name) for name in SHAPE}


def train_classifier(data_module, epochs=None, seed=0, progress=None, network=SmallClassifier):
    """在训练划分上训练分类器，用轻微平移作增广

    data_module : 有标签的 ImageDataModule
    epochs      : 默认一共看约 78 000 张图，至少 2 轮
    network     : SmallClassifier 或 ResidualClassifier
    返回        : (eval 模式的分类器, 验证与测试划分合起来的准确率)
    """
    shape = classifier_shape(data_module)
    train = data_module.dataset("train")
    epochs = max(2, round(DEFAULT_IMAGES / len(train))) if epochs is None else check_int("epochs", epochs, 1)
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)
        classifier = network(**shape)
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.05)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        bar = progress_bar(range(epochs * -(-len(train) // 64)), progress, "训练分类器")
        for _ in range(epochs):
            for index in torch.randperm(len(train)).split(64):
                batch = train[index]
                loss = F.cross_entropy(classifier(shifted(batch["image"])), batch["label"])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                bar.update()
            scheduler.step()
        bar.close()
    classifier.eval().requires_grad_(False)
    return classifier, held_out_accuracy(classifier, data_module)


def shifted(images):
    """增广：三成的批次整批平移，最多短边的八分之一；移出去的像素从另一边回来"""
    reach = max(1, min(images.shape[2:]) // 8)
    # 两个随机数的先后次序定了就不能改，否则重新训练得不到随包的分类器
    offset = torch.randint(-reach, reach + 1, (2,)).tolist() if torch.rand(()) < 0.3 else [0, 0]
    return images.roll(offset, (2, 3))


@torch.no_grad()
def held_out_accuracy(classifier, data_module):
    """验证与测试划分合起来的准确率，[0, 1]"""
    right, total = 0, 0
    for dataset in map(data_module.dataset, ("val", "test")):
        for index in torch.arange(len(dataset)).split(1024):
            batch = dataset[index]
            right += int((classifier(batch["image"]).argmax(1) == batch["label"]).sum())
            total += len(index)
    return right / total


def load_classifier(name="digits"):
    """随包发布的分类器（eval 模式）；name 是数据：digits、mnist、fashion……

    准确率、训练的命令与摘要在 pretrained/classifiers.json 里；异常：没有这个名字时 ValueError，文件坏了时 CheckpointError
    """
    from safetensors.torch import load_file

    cards = classifier_cards()
    card = cards[check_choice("name", name, tuple(cards))]
    path = checked_file(f"{name}_classifier.safetensors", card["sha256"])
    return _filled(load_file(path), NETWORKS[card["network"]], **{key: card[key] for key in SHAPE})


def shipped_classifier_name(data_module):
    """随包有没有为这份数据训练的分类器：名字，没有时 None"""
    for name, card in classifier_cards().items():
        if data_module.identity in card["data"] and all(card[key] == getattr(data_module, key) for key in SHAPE):
            return name


def _filled(states, network=SmallClassifier, **shape):
    """装上权重的分类器（eval 模式）；不先抽初值，全局随机数不动"""
    with torch.device("meta"):
        classifier = network(**shape)
    classifier.load_state_dict(states, assign=True)
    return classifier.eval().requires_grad_(False)


def cached_classifier(data_module, cache=None, progress=None):
    """这份数据的分类器：随包有的就用随包的；别的，cache 文件在就读它，不在就训练，给了 cache 便存下

    cache : .ckpt 文件的路径；None 为不存
    异常  : 文件损坏时 CheckpointError；是为别的数据训练的时 ValueError
    """
    if name := shipped_classifier_name(data_module):
        return load_classifier(name)
    shape = classifier_shape(data_module)
    identity = {"data": data_module.identity, **shape}
    if cache is not None and Path(cache).suffix != ".ckpt":
        fail("cache", "以 .ckpt 结尾的文件名", str(cache))
    if cache is not None and Path(cache).exists():
        return _filled(_read(cache, identity), **shape)
    log.info("还没有 %s 的分类器，先训练一个", identity["data"])
    classifier, accuracy = train_classifier(data_module, progress=progress)
    log.info("分类器在留出数据上的准确率：%.2f%%", 100 * accuracy)
    if cache is not None:
        save_checkpoint({**identity, "accuracy": round(accuracy, 4), "state_dict": classifier.state_dict()}, cache)
    return classifier


def _read(path, identity):
    """分类器的权重；核对过文件完好，而且是为这份数据训练的"""
    try:
        saved = load_checkpoint(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}；分类器的文件可以删掉，会重新训练") from None
    if (found := {name: saved.get(name) for name in identity}) != identity:
        fail("cache", f"为 {identity} 训练的分类器", found, "换一个文件名，或删掉它重新训练")
    return saved["state_dict"]
