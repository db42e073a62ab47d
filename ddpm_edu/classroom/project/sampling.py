"""与隔离的进程对话：那边重放学生的采样器，问到网络时回到这里，由这里的网络回答并且记数

一次对话走若干回合，每一回合都从头重放：已经回答过的照旧给，走到下一次提问为止。所以那边的进程碰不到网络，也改不了次数；
同一个种子重放得不一样，当场就看得出来。
"""
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import torch

from .. import guard, isolation
from .rules import Refused
from .tasks import TIMESTEPS, check_table

SECONDS, MEMORY = 60, 3000
MOST_STRUCTURE = 1.3  # 一万批纯噪声至多 1.10，试过的藏着图的 6 以上，见 docs/teaching.md
TARGET = "ddpm_edu.classroom.project.worker"
# 学生的采样器用不着的：数据、随包的模型、参考解的权重
HIDDEN = (guard.PACKAGE / "pretrained", guard.PACKAGE.parent / "data", Path(__file__).with_name("reference_digits.safetensors"),
          *(Path(place, "datasets", "data") for place in find_spec("sklearn").submodule_search_locations))


class Fault(ValueError):
    """这一次没有成绩：采样器出错、多问、样本不合规格；话里写明原因"""


@dataclass
class Lane:
    """一个种子、一种次数的采样；answer(x, t) → 网络的输出"""

    seed: int
    shape: tuple
    calls: int
    answer: object
    answers: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    first: list = field(default_factory=list)
    rows: int = 0
    samples: object = None
    first_t: float = 0.0

    def job(self):
        return {"seed": self.seed, "shape": list(self.shape), "calls": self.calls, "answers": self.answers}

    def take(self, found):
        """收下一回合的结果：提问就回答，样本就核对"""
        asked = found.get("asked")
        if asked[:len(self.asked)] != self.asked or len(asked) > len(self.answers):
            raise Fault("同一个种子重放，送进网络的却不同：随机数都要由 generator 抽，不许用时间、系统的随机数")
        if "error" in found:
            raise Fault(str(found["error"])[:300])
        if "question" in found:
            self.ask(*found["question"])
            self.asked = [*asked, found["mark"]]
        else:
            if len(asked) < len(self.answers):
                raise Fault("同一个种子重放，调用网络的次数却不同：随机数都要由 generator 抽")
            if sum(map(len, self.first)) < self.shape[0] <= self.rows:
                raise Fault("每张图都要从同一步的纯噪声起步：问网络的第一个 t，各张图都要问到")
            self.samples = checked_samples(found["samples"], self.shape)

    def ask(self, x, t):
        x, t = checked_question(x, t, self.shape)
        self.rows += len(x)
        if self.rows > self.calls * self.shape[0]:
            raise Fault(f"至多调用 {self.calls} 次网络（一次 {self.shape[0]} 张，一共 {self.calls * self.shape[0]} 张，送几倍大的批按几次算），"
                        f"第 {len(self.answers) + 1} 次提问送了 {len(x)} 张，共 {self.rows} 张，超了")
        self.start(x, t)
        self.answers.append(self.answer(x, t))

    def start(self, x, t):
        """各张图的第一问（与头一张图同一个 t 的那些）须是纯噪声；分小批问的，凑齐了再看"""
        asked, wanted = sum(map(len, self.first)), self.shape[0]
        if asked >= wanted:
            return
        self.first_t = float(t[0]) if not asked else self.first_t
        self.first.append(x[t.double() == self.first_t][:wanted - asked])
        noise = torch.cat(self.first)
        if len(noise) == wanted and (found := structure(noise)) > MOST_STRUCTURE:
            raise Fault("第一问的 x 应是纯噪声（乘一个数不要紧），得到的里面有图："
                        f"最强的一个方向是纯噪声的 {found:.1f} 倍，至多 {MOST_STRUCTURE} 倍")


def structure(x):
    """一批 (B, C, H, W) 最强的方向（二阶矩的最大特征值）是同样大的纯噪声（Marchenko–Pastur 的上缘）的几倍；与 x 的大小无关"""
    flat = x.flatten(1).double()
    B, D = flat.shape
    power = flat.square().mean().clamp(min=1e-30)
    strongest = torch.linalg.eigvalsh(flat.T @ flat if D < B else flat @ flat.T)[-1] / (B * power)
    return float(strongest / (1 + (D / B) ** 0.5) ** 2)


def checked_question(x, t, shape):
    if x.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16) or x.ndim != 4 or tuple(x.shape[1:]) != shape[1:] or not len(x):
        raise Fault(f"network 的 x 应是形状 (B, {', '.join(map(str, shape[1:]))}) 的浮点张量，得到 {tuple(x.shape)} 的 {x.dtype}")
    if t.shape != (len(x),) or t.dtype == torch.bool or t.is_complex():
        raise Fault(f"network 的 t 应是形状 ({len(x)},) 的步号，得到 {tuple(t.shape)} 的 {t.dtype}")
    if not x.isfinite().all() or not t.double().isfinite().all():
        raise Fault("送进 network 的数里有 NaN 或无穷")
    if float(t.min()) < 0 or float(t.max()) > TIMESTEPS - 1:
        raise Fault(f"network 的 t 应在 0..{TIMESTEPS - 1} 里，得到 {float(t.min()):g} 到 {float(t.max()):g}")
    return x.float(), t


def checked_samples(samples, shape):
    if not isinstance(samples, torch.Tensor) or samples.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise Fault(f"sample 应返回浮点张量，得到 {getattr(samples, 'dtype', type(samples).__name__)}")
    if tuple(samples.shape) != tuple(shape):
        raise Fault(f"sample 应返回形状 {tuple(shape)} 的张量，得到 {tuple(samples.shape)}")
    if not samples.isfinite().all():
        raise Fault("样本里有 NaN 或无穷")
    if float(samples.abs().max()) > 1.001:
        raise Fault(f"样本应在 [-1, 1] 里，得到 {float(samples.min()):.3g} 到 {float(samples.max()):.3g}：最后截断到 [-1, 1]")
    return samples.float().clamp(-1, 1)


def run_worker(name, job, seconds=SECONDS):
    """隔离的进程里的一份活；异常 : 超时、崩溃时 Fault，碰了不许碰的东西时 Refused"""
    outcome = isolation.run(f"{TARGET}:{name}", job, seconds=seconds, memory_mb=MEMORY, hidden=map(str, HIDDEN))
    value = outcome.value if isinstance(outcome.value, dict) else {}
    if words := [*outcome.refused, *map(str, value.get("refused", ()))]:
        raise Refused(f"采样时{words[0][:200]}：读数据、载入模型、上网、另起进程都不许", "违规")
    if outcome.error or not value:
        raise Fault(f"采样没有完成：{outcome.error or '没有交回结果'}")
    return value


def converse(source, lanes):
    """让各条都走到头；各条的 samples 填好。异常 : 任何一条不合规格时 Fault"""
    waiting = list(lanes)
    while waiting:
        found = run_worker("replay", {"source": source, "lanes": [lane.job() for lane in waiting]}).get("lanes")
        if not isinstance(found, list) or len(found) != len(waiting):
            raise Fault("隔离的进程交回的结果不完整")
        for lane, result in zip(waiting, found):
            try:
                lane.take(result)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise error if isinstance(error, Fault) else Fault("隔离的进程交回的结果看不懂") from None
        waiting = [lane for lane in waiting if lane.samples is None]


def noise_table(source):
    """学生的噪声表，核对过；异常 : Fault、Refused"""
    found = run_worker("table", {"source": source, "timesteps": TIMESTEPS})
    if "error" in found:
        raise Fault(str(found["error"])[:300])
    try:
        return check_table(found.get("betas"))
    except ValueError as error:
        raise Fault(str(error)) from None


def answering(network):
    """真的网络怎样回答"""
    @torch.no_grad()
    def answer(x, t):
        return torch.cat([network(part, steps) for part, steps in zip(x.split(500), t.split(500))])
    return answer


def scrambled(network, seed):
    """假的网络：真的回答，像素换了位置；均值、方差都没有变，图里的形状全没有了"""
    answer = answering(network)

    def shuffled(x, t):
        out = answer(x, t).flatten(1)
        order = torch.randperm(out.shape[1], generator=torch.Generator().manual_seed(seed))
        return out[:, order].reshape(x.shape)
    return shuffled
