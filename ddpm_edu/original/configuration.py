"""读者的 YAML 配置，逐个键对着讲：只看结构，不造任何对象，也不导入里面写的类"""
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from .reading import Unusable, decode, read_bytes
from .recognise import UNKNOWN
from .remarks import CARD, VALUE, Remark
from .settings import setting

MOST = 256 << 10  # 单位：字节；见过的最大的一份约 6 KB
KEYS = 5000
# YAML 里算一行的结尾的，与 PyYAML 数的相同
LINE_ENDS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
WITHOUT_POINT = re.compile(r"\d+[eE][-+]?\d+")
NUMBERS = {"tag:yaml.org,2002:int": int, "tag:yaml.org,2002:float": float}


@dataclass(frozen=True)
class Key:
    """一个键：path 从外到里，line 是行号，value 是标量的文字（不是标量时 None），kind 是 YAML 认成的类型"""

    path: tuple
    line: int
    value: str | None
    kind: str


@dataclass(frozen=True)
class Configuration:
    name: str
    digest: str
    lines: tuple
    keys: tuple

    def value(self, *path):
        """某个键的值：认得出是数就是数，否则是文字；没有时 None"""
        found = next((key for key in self.keys if key.path == path), None)
        return None if found is None or found.value is None else number(found)


def number(key):
    try:
        return NUMBERS[key.kind](key.value.replace("_", ""))
    except (KeyError, ValueError):
        return key.value


def read_configuration(path):
    """YAML 文件 → Configuration；不是原来的配置时 Unusable"""
    content = read_bytes(path, MOST)
    text = decode(content, path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise Unusable(f"{path} 不是能读的 YAML（第 {mark.line + 1 if mark else 1} 行读不下去）") from error
    except (RecursionError, ValueError) as error:
        raise Unusable(f"{path} 套得太深，读不了（{type(error).__name__}）") from error
    keys = tuple(walk(root, (), set())) if isinstance(root, yaml.MappingNode) else ()
    if not any(setting(list(key.path)) for key in keys if key.path[0] == "model"):
        raise Unusable(f"{path} 里没有 model 一段：要的是 latent-diffusion 或 Stable Diffusion 的配置，如 configs 里的那些")
    if len(keys) > KEYS:
        raise Unusable(f"{path} 有 {len(keys)} 个键，太多了：原来的配置只有几十个")
    return Configuration(Path(path).name, hashlib.sha256(content).hexdigest(), tuple(LINE_ENDS.split(text)), keys)


def walk(node, path, seen):
    """全部的键，从上到下；引用别处的（锚点）只走一遍，绕成圈也不怕"""
    if not isinstance(node, yaml.MappingNode) or id(node) in seen or len(path) > 20:
        return
    seen.add(id(node))
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            inner = (*path, key.value)
            yield Key(inner, key.start_mark.line + 1, value.value if isinstance(value, yaml.ScalarNode) else None, value.tag)
            yield from walk(value, inner, seen)


def remarks(configuration):
    """{行号: [Remark, ...]}，与认得的、不认得的键数"""
    found, known = {}, 0
    for key in configuration.keys:
        about = setting(list(key.path))
        known += about is not None
        entry = Remark("", f"`{key.path[-1]}`：{about.meaning}", about.formula, about.wrong, about.chapter, CARD.format(key.path[-1])) if about else Remark(
            UNKNOWN, f"`{'.'.join(key.path)}`：课程没有讲")
        found.setdefault(key.line, []).append(entry)
        found[key.line] += [Remark(VALUE, text, "", "", chapter) for text, chapter in of_value(configuration, key)]
    return found, known


def of_value(configuration, key):
    """由值看出来的几句：[(文字, 章), ...]"""
    name, value = key.path[-1], number(key) if key.value is not None else None
    params = ("model", "params")
    if isinstance(value, str) and WITHOUT_POINT.fullmatch(value):
        yield "YAML 的标准读法里，没有小数点的这种写法是字符串，不是数；原来的程序用 OmegaConf 读，会认成数，换一个程序就不一定", 10
    if key.path == (*params, "linear_end") and (left := amplitude(configuration)) is not None:
        yield f"照这一段的两端与步数，走到头还剩 √ᾱ = {left:.3f} 的原图；0 才是纯噪声", 2
    if key.path == (*params, "monitor") and isinstance(value, str) and value.endswith("_ema") and no_ema(configuration):
        yield "同一份配置里 use_ema 是假：训练时没有带 _ema 的指标，只能用来采样", 11
    if key.path == (*params, "use_ema") and no_ema(configuration):
        yield "这样就没有 EMA：只用来采样的配置常这样写，照着它训练，采样用的是还在抖动的权重", 11
    if key.path == (*params, "parameterization") and value == "v":
        yield "用 v 训练的模型，p_sample 采不了，要用 DDIMSampler", 4
    if name == "conditioning_key" and value == "adm":
        yield "类别放在 c_crossattn 里传，名字不符，两端一致", 8


def no_ema(configuration):
    return str(configuration.value("model", "params", "use_ema")).lower() == "false"


def amplitude(configuration):
    """linear 噪声表走到头的 √ᾱ；别的噪声表、离谱的数，不算"""
    from ..schedules import alphas_cumprod, make_beta_schedule

    start, end, steps = (configuration.value("model", "params", name) for name in ("linear_start", "linear_end", "timesteps"))
    schedule = configuration.value("model", "params", "beta_schedule")
    numbers = all(isinstance(value, (int, float)) for value in (start, end, steps))
    if not numbers or not 0 < start <= end < 1 or not 1 <= steps <= 10_000 or schedule not in (None, "linear"):
        return None
    return float(alphas_cumprod(make_beta_schedule("linear", int(steps), start, end))[0][-1]) ** 0.5
