"""交上来的文件夹：solution.py 与 weights.safetensors；只读，不执行"""
import hashlib
import json
import os
import stat
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .rules import SOLUTION, Refused, check_source
from .training import WEIGHTS

LARGEST, LARGEST_WEIGHTS = 64 * 1024, 16 * 2**20  # 单位：字节
SMALL, SAME = 256, 0.01  # 张量至少这么大才比；相对的 L2 距离不到这么多，就是同一个


@dataclass
class Submission:
    """name：文件夹的名字；source：solution.py 的文字；weights：{名字: 张量}；about：训练循环写进权重文件的话"""

    name: str
    source: str
    weights: dict
    about: dict

    @property
    def digest(self):
        """权重的摘要：两份相同就是同一次训练"""
        parts = hashlib.sha256()
        for name in sorted(self.weights):
            parts.update(self.weights[name].float().contiguous().numpy().tobytes())
        return parts.hexdigest()


def read_submission(folder, task):
    """文件夹 → Submission；异常 : 缺东西、写法违规、权重对不上时 Refused"""
    folder = Path(folder)
    source = read_text(folder / SOLUTION)
    check_source(source)
    weights, about = read_weights(folder / WEIGHTS, task)
    return Submission(folder.resolve().name, source, weights, about)


def read_bytes(path, most):
    """普通文件的内容；不跟着链接走，太大的不读"""
    try:
        kind = os.lstat(path)
    except OSError:
        raise Refused(f"缺 {path.name}") from None
    if not stat.S_ISREG(kind.st_mode):
        raise Refused(f"{path.name} 不是普通文件（是链接、目录或设备），交文件本身")
    if kind.st_size > most:
        raise Refused(f"{path.name} 有 {kind.st_size / 1024:.0f} KB，至多 {most // 1024} KB", "违规")
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{path.name} 读不出来：{error.strerror}") from None


def read_text(path):
    try:
        return read_bytes(path, LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused(f"{path.name} 不是 UTF-8 的文字，换成 UTF-8 再存一次") from None


def read_weights(path, task):
    """权重文件 → ({名字: 张量}, 文件里的话)；名字与形状须与给定的网络完全相同"""
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = read_bytes(path, LARGEST_WEIGHTS)
    try:
        found, about = load(content), header(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise Refused(f"{path.name} 打不开，不是完整的 safetensors 文件；用 python course.py project train 写它（读它的程序说："
                      f"{' '.join(str(error).split())[:80]}）") from None
    check_not_shipped(found)
    found = check_weights(found, task, path.name)
    if len(json.dumps(about)) > 2000:
        raise Refused(f"{path.name} 的说明有 {len(json.dumps(about))} 个字符：像是夹带的数据", "违规")
    return found, about


def check_weights(found, task, source):
    """{名字: 张量}，名字与形状须与给定的网络完全相同；返回 float32 的"""
    if not isinstance(found, dict):
        raise Refused(f"{source} 不是 {{名字: 张量}}")
    wanted = {name: tuple(value.shape) for name, value in task.network().state_dict().items()}
    if extra := sorted(set(found) - set(wanted)):
        raise Refused(f"{source} 里多了 {len(extra)} 个张量（如 {extra[0][:60]}）：只许有给定网络的权重", "违规")
    if missing := sorted(set(wanted) - set(found)):
        raise Refused(f"{source} 里少了 {len(missing)} 个张量（如 {missing[0]}），不是这个网络的权重")
    for name, shape in wanted.items():
        if tuple(found[name].shape) != shape or not found[name].is_floating_point():
            raise Refused(f"{source} 的 {name} 应是形状 {shape} 的浮点数，得到 {tuple(found[name].shape)} 的 {found[name].dtype}")
        if not found[name].float().isfinite().all():
            raise Refused(f"{source} 的 {name} 里有 NaN 或无穷")
    return {name: value.float() for name, value in found.items()}


def header(content):
    """safetensors 开头的说明（字典）"""
    about = json.loads(content[8:8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    return about if isinstance(about, dict) else {}


def check_not_shipped(found):
    """仓库里有的权重：照搬的、改了名字的、掺了几个张量的、加了一点噪声的"""
    for name, value in found.items():
        if value.numel() < SMALL or not value.is_floating_point():
            continue
        flat = value.float().flatten()
        for source, ours in shipped_tensors().get(value.numel(), ()):
            if float((flat - ours).norm() / ours.norm()) < SAME:
                raise Refused(f"{WEIGHTS} 的 {name[:60]} 是{source}的权重（相对差别不到 {SAME:.0%}），要交自己练的", "违规")


@lru_cache(maxsize=1)
def shipped_tensors():
    """{元素的个数: [(出处, 压平的张量)]}：随包的模型与参考解；几乎不变的不算"""
    from safetensors.torch import load_file

    from ...pretrained import HERE, NAMES

    sources = {f"随包的模型 {name} ": HERE / f"{name}.safetensors" for name in NAMES}
    sources["参考解"] = Path(__file__).with_name("reference_digits.safetensors")
    found = defaultdict(list)
    for source, path in sources.items():
        for value in load_file(str(path)).values():
            if value.numel() >= SMALL and float(value.float().std()) > 0:
                found[value.numel()].append((source, value.float().flatten()))
    return found
