"""FID 用的 Inception-v3：结构与 2015 年 TensorFlow 的那一份相同，权重从读者手里的文件来

结构与各层的名字照 pytorch-fid 与 torch-fidelity 的移植（都是 Apache-2.0），那份文件的键就是这些名字；
与 torchvision 的不同有三处：平均池化不数补的零，Mixed_7c 的池化取最大，全连接是 1008 类
"""
import hashlib
import io
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ..checks import fail

DIGEST = "6726825d"  # 文件的 SHA-256 的头八位，两家都写在文件名里
SOURCE = "从 pytorch-fid 的发布页取 pt_inception-2015-12-05-6726825d.pth，或从 torch-fidelity 的取 weights-inception-2015-12-05-6726825d.pth（约 95 MB）"
SIDE = 299
average = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
highest = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
halved = partial(F.max_pool2d, kernel_size=3, stride=2)


class Convolution(nn.Module):
    """卷积、归一化、ReLU；步长 1 的四周补零，大小不变"""

    def __init__(self, inner, outer, kernel, stride=1, padded=True):
        super().__init__()
        sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        self.conv = nn.Conv2d(inner, outer, sides, stride, tuple(side // 2 for side in sides) if stride == 1 and padded else 0, bias=False)
        self.bn = nn.BatchNorm2d(outer, eps=1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """几条支路，输出沿通道接起来

    paths : 每条是依次走的几层：池化函数，(名字, 输出通道, 核[, 步长])，或一串这样的层（再分叉，也接起来）
    """

    def __init__(self, inner, *paths):
        super().__init__()
        self.paths = paths
        for path in paths:
            self.build(inner, path)

    def build(self, width, path):
        for layer in path:
            if callable(layer):
                continue
            if isinstance(layer[0], tuple):
                for one in layer:
                    self.build(width, (one,))
                continue
            name, outer, *shape = layer
            self.add_module(name, Convolution(width, outer, *shape))
            width = outer

    def follow(self, x, path):
        for layer in path:
            if callable(layer):
                x = layer(x)
            elif isinstance(layer[0], tuple):
                x = torch.cat([self.follow(x, (one,)) for one in layer], 1)
            else:
                x = getattr(self, layer[0])(x)
        return x

    def forward(self, x):
        return torch.cat([self.follow(x, path) for path in self.paths], 1)


def mixed_5(inner, pooled):
    """35×35"""
    return Mixed(inner, [("branch1x1", 64, 1)], [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
                 [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)], [average, ("branch_pool", pooled, 1)])


def mixed_6(width):
    """17×17，7×7 的卷积拆成 1×7 与 7×1"""
    wide, tall = (1, 7), (7, 1)
    long = [("branch7x7dbl_1", width, 1), *((f"branch7x7dbl_{i}", width, tall if i % 2 == 0 else wide) for i in (2, 3, 4)), ("branch7x7dbl_5", 192, wide)]
    return Mixed(768, [("branch1x1", 192, 1)], [("branch7x7_1", width, 1), ("branch7x7_2", width, wide), ("branch7x7_3", 192, tall)],
                 long, [average, ("branch_pool", 192, 1)])


def mixed_7(inner, pool):
    """8×8，末一层再分叉"""
    def fork(name):
        return (f"{name}a", 384, (1, 3)), (f"{name}b", 384, (3, 1))

    return Mixed(inner, [("branch1x1", 320, 1)], [("branch3x3_1", 384, 1), fork("branch3x3_2")],
                 [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), fork("branch3x3dbl_3")], [pool, ("branch_pool", 192, 1)])


class InceptionV3(nn.Module):
    """uint8 (B, 3, H, W) → (B, 2048)；fc 只为与文件的键对上，取特征时不用"""

    def __init__(self):
        super().__init__()
        stem = (("1a_3x3", 3, 32, 3, 2), ("2a_3x3", 32, 32, 3, 1, False), ("2b_3x3", 32, 64, 3), ("3b_1x1", 64, 80, 1), ("4a_3x3", 80, 192, 3, 1, False))
        for name, *shape in stem:
            self.add_module(f"Conv2d_{name}", Convolution(*shape))
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = mixed_5(192, 32), mixed_5(256, 64), mixed_5(288, 64)
        self.Mixed_6a = Mixed(288, [("branch3x3", 384, 3, 2)],
                              [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2)], [halved])
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(mixed_6, (128, 160, 160, 192))
        self.Mixed_7a = Mixed(768, [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)],
                              [("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1)), ("branch7x7x3_4", 192, 3, 2)],
                              [halved])
        self.Mixed_7b, self.Mixed_7c = mixed_7(1280, average), mixed_7(2048, highest)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, images):
        x = (resize_like_tensorflow(images.to(self.fc.weight.dtype)) - 128) / 128
        for name, layer in self.named_children():
            if name == "fc":
                return x.mean((2, 3))
            x = layer(halved(x) if name in ("Conv2d_3b_1x1", "Mixed_5b") else x)


def resize_like_tensorflow(x, side=SIDE):
    """双线性缩放到 side×side，照 TensorFlow 1.x：第 i 个像素取自原图的 i·(原边长/side)，像素的中心没有对齐，也不先平滑"""
    for axis in (2, 3):
        size = x.shape[axis]
        place = torch.arange(side, device=x.device, dtype=torch.float32) * (size / side)
        low = place.long().clamp(max=size - 1)
        part = (place - low).to(x.dtype).reshape(-1, *(1,) * (3 - axis))
        a, b = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp(max=size - 1))
        x = a + (b - a) * part
    return x


def load_inception(path, digest=None):
    """从权重文件造出取特征的网络（eval 模式）：先核对摘要，再只读张量，不运行文件里的任何东西

    path : pytorch-fid 或 torch-fidelity 发布的那一份；digest：SHA-256 的头几位，默认是那一份的
    异常 : 不是文件、是网页、摘要不符、键或形状不符、有 NaN 时 ValueError，各一句
    """
    place, digest = Path(path), digest or DIGEST
    if not place.is_file():
        fail("inception", "存在的权重文件", str(path), SOURCE)
    raw = place.read_bytes()
    if raw.lstrip()[:1] == b"<":
        fail("inception", "权重文件", f"{place.name}，里面是网页", f"多半存下了下载的那一页；{SOURCE}")
    found = hashlib.sha256(raw).hexdigest()
    if not found.startswith(digest):
        fail("inception 的 SHA-256", f"以 {digest} 开头的", f"{found[:8]}……（{place.name}，{len(raw)} 字节）",
             f"没有下完，或是别的权重，算出的 FID 不能与论文比；{SOURCE}")
    try:
        states = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:
        fail("inception", "能安全读取的权重文件", f"{place.name}（{type(error).__name__}）", SOURCE)
    with torch.device("meta"):
        network = InceptionV3()
    network.load_state_dict(checked_states(states, network.state_dict()), assign=True)
    return network.eval().requires_grad_(False)


def checked_states(states, wanted):
    """名字与形状都对上的一份 float32；训练时数批数的 num_batches_tracked 有没有都行"""
    counters = {name: torch.tensor(0) for name in wanted if name.endswith("num_batches_tracked")}
    if not isinstance(states, dict) or not all(isinstance(value, torch.Tensor) for value in states.values()):
        fail("inception 的文件里", "{名字: 张量} 的字典", type(states).__name__, SOURCE)
    states = {**states, **counters}
    for what, names in (("缺少的键", wanted.keys() - states.keys()), ("多出的键", states.keys() - wanted.keys()),
                        ("形状不对的键", {name for name in wanted.keys() & states.keys() if wanted[name].shape != states[name].shape})):
        if names:
            fail(f"inception 的文件里{what}", " 0 个", f"{len(names)} 个，如 {min(names)}", f"不是这份网络的权重；{SOURCE}")
    if bad := [name for name, value in states.items() if not value.isfinite().all()]:
        fail("inception 的权重", "有限的数", f"{bad[0]} 里有 NaN 或无穷", SOURCE)
    return {name: value if name in counters else value.float() for name, value in states.items()}
