"""样本里看得出的作弊：照抄训练图、常数、重复、塌缩、不看种子、不看网络；各给一句原因

距离都与同一批图之间的典型距离相比，所以糊的图、淡的图不会误判
"""
import torch
import torch.nn.functional as F

NEAR = 0.02  # 比典型距离的这么多倍还近，算同一张
MANY = 0.1  # 这么多成的图是同一张，就不是巧合
DIVERSE_FROM = 4  # 调用这么多次以上，诚实的样本才不糊，才看多不多样
CONSTANT = 0.01  # 典型距离
HUDDLED = 0.5  # 到最近一张的距离，不到真图的这么多倍
DEPENDS = 0.3  # 网络的回答打乱之后，样本至少变这么多个典型距离
HARMED = 8  # 打乱之后的 Fréchet 距离还不到真图自己的这么多倍，就不是网络画的
COPIES = 256  # 拿这么多张去与训练图比
EXACT, CLOSE = 0.03, 0.2  # 照抄的份额，至多
KINDS, FLAT = 4, 0.2  # 有效的类数、同一类之内的方差（真图的几倍），至少
SHIFTS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1))


def typical(images):
    """两张图之间距离的中位数"""
    return float(torch.pdist(images[:256].flatten(1)).median())


def nearest(images, others=None):
    """每张图到 others 里最近一张的距离；不给 others 时是到别的图的"""
    flat = images.flatten(1)
    found = torch.cdist(flat, flat if others is None else others.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    return (found.fill_diagonal_(torch.inf) if others is None else found).amin(1)


def normalized(images):
    """减去各自的平均，除以各自的长度：亮度与对比度不算"""
    flat = images.flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def overlap(images, down, right):
    """平移 (down, right) 之后还看得见的那一块；(-down, -right) 给出另一张图与它对应的一块"""
    height, width = images.shape[2:]
    return images[:, :, max(0, -down):height - max(0, down), max(0, -right):width - max(0, right)]


def nearest_training(images, train):
    """各图到训练图的最近与次近的距离 (N, 2)：平移、改亮度都算同一张；归一化之后量，在 [0, 2] 里

    28×28 的先缩小一半：平移两个像素以内都比得到，加上去的噪声也平掉了
    """
    if images.shape[-1] > 16:
        images, train = F.avg_pool2d(images, 2), F.avg_pool2d(train, 2)
    likeness = torch.full((len(images), len(train)), -1.0)
    for down, right in SHIFTS:
        parts = normalized(overlap(images, down, right)), normalized(overlap(train, -down, -right))
        likeness = torch.maximum(likeness, parts[0] @ parts[1].T)
    return (2 - 2 * likeness.topk(2, dim=1).values).clamp(min=0).sqrt()


def gap_to_training(images, train):
    """最近的与次近的训练图的距离之比 (N,)，在 [0, 1] 里：凭空画的接近 1，照抄的接近 0"""
    near = torch.cat([nearest_training(chunk, train) for chunk in images.split(64)])
    return near[:, 0] / near[:, 1].clamp(min=1e-9)


class Judge:
    """一份数据的尺子：真图自己是什么样；classifier 把图分类，用来看多样

    train, held : (N, 1, H, W)、(M, 1, H, W)，训练图与留出的真图；floor：同样多的训练图的 Fréchet 距离
    """

    def __init__(self, classifier, train, held, floor):
        self.classifier, self.train, self.floor = classifier, train, floor
        self.held = held[:COPIES]
        gaps = gap_to_training(self.held, train)
        self.low, self.lowest = (float(gaps.quantile(level)) for level in (0.05, 0.01))
        self.apart = float(nearest(held[:500]).median()) / typical(held)
        self.variance = self.within_class(held)[0]

    @torch.no_grad()
    def within_class(self, images):
        """(同一类之内的方差, 有效的类数)：各类照分类器的判断分"""
        labels = self.classifier(images).argmax(1)
        counts = torch.bincount(labels, minlength=self.classifier.num_classes)
        parts = [images[labels == k].flatten(1) for k in range(len(counts)) if counts[k] > 5]
        spread = torch.stack([part.var(0).sum() for part in parts]).mean() if parts else torch.tensor(0.0)
        share = counts / counts.sum()
        return float(spread), float(torch.exp(-torch.xlogy(share, share).sum()))

    def complaints(self, calls, samples, other, swapped, score):
        """一种次数的样本里看出来的违规：若干句原因

        samples, other : 两个种子的样本；swapped：第一个种子，网络的回答打乱之后的样本，None 就不看这一项
        score          : 样本 → Fréchet 距离，打乱之后还很好的，好处不是从网络来的
        """
        size, where = typical(samples), f"调用 {calls} 次时"
        if size < CONSTANT:
            return [f"{where}，各张图几乎相同（典型距离 {size:.1g}）：这是常数，不是样本"]
        found = []
        if (share := float((nearest(samples, other) < NEAR * size).double().mean())) > MANY:
            found.append(f"{where}，换了种子，{share:.0%} 的图还是原来的：采样器不看种子")
        if (share := float((nearest(samples) < NEAR * size).double().mean())) > MANY:
            found.append(f"{where}，{share:.0%} 的图与这一批里的另一张相同：样本只有几种")
        elif (apart := float(nearest(samples).median()) / size) < HUDDLED * self.apart:
            found.append(f"{where}，每张图都挨着另一张（相隔是真图的 {apart / self.apart:.0%}）：样本只有几种，加了些噪声，塌缩了")
        if swapped is not None:
            found += self.careless(where, samples, swapped, size, score)
        return found + self.copied(where, samples) + (self.collapsed(where, samples) if calls >= DIVERSE_FROM else [])

    def careless(self, where, samples, swapped, size, score):
        if (change := float((samples - swapped).flatten(1).norm(dim=1).mean()) / size) < DEPENDS:
            return [f"{where}，把网络的回答打乱，样本只变了 {change:.0%}：样本不是由网络画的"]
        if (after := score(swapped)) < HARMED * self.floor:
            return [f"{where}，把网络的回答打乱，画的还是像真的（距离 {after:.0f}，真图自己 {self.floor:.0f}）：好处不是从网络来的"]
        return []

    def copied(self, where, samples):
        gaps = gap_to_training(samples[:COPIES], self.train)
        exact, close = (float((gaps < level).double().mean()) for level in (self.lowest / 2, self.low))
        if exact > EXACT or close > CLOSE:
            return [f"{where}，{max(exact, close):.0%} 的图紧挨着某一张训练图（没有见过的真图是 5%，诚实的样本还要少）：照抄了训练图"]
        return []

    def collapsed(self, where, samples):
        spread, kinds = self.within_class(samples)
        if kinds < KINDS:
            return [f"{where}，样本几乎只有 {kinds:.1f} 类：塌缩了"]
        if spread < FLAT * self.variance:
            return [f"{where}，同一类之内的差异只有真图的 {spread / self.variance:.0%}：样本只有几种，塌缩了"]
        return []
