"""判一份大作业：先看写法与权重，再按 1、2、4、8 次网络调用采样、找作弊、打分"""
import json
import secrets
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

import torch

from ...images import to_uint8
from . import sampling, scoring
from .judging import Judge
from .rules import Refused, similar_functions
from .sampling import Fault, Lane
from .submission import check_weights, read_submission
from .tasks import CALLS, pictures, task_named

BANDS = ("优", "良", "及格", "不及格")
POINTS = dict(zip(BANDS, (25, 20, 15, 5)))
SEEDS = 4
SHOWN = 10  # 榜上每种次数画几张


@dataclass
class Row:
    """一种次数的成绩：frechet、kid 各个种子一个；fault 是没有成绩的原因；strip 是给人看的几张"""

    frechet: list = field(default_factory=list)
    kid: list = field(default_factory=list)
    band: str = ""
    fault: str = ""
    strip: torch.Tensor | None = None


@dataclass
class Result:
    """一份大作业的结果；refused 是不收的原因（可以有几句），kind 是「缺漏」「违规」或空；total 满分 100，没有档位时 None"""

    name: str
    task: str
    seeds: list
    rows: dict = field(default_factory=dict)
    refused: list = field(default_factory=list)
    kind: str = ""
    digest: str = ""
    notes: list = field(default_factory=list)

    @property
    def total(self):
        if self.refused or not self.rows or not any(row.band for row in self.rows.values()):
            return None
        return sum(POINTS.get(row.band, 0) for row in self.rows.values())

    @property
    def overall(self):
        """排名用：四种次数的 Fréchet 距离的几何平均，越小越好；有一种没有成绩就排在后面"""
        means = [scoring.averaged(row.frechet)[0] for row in self.rows.values() if row.frechet]
        missing = len(CALLS) - len(means)
        return missing, float(torch.tensor(means).clamp(min=1e-9).log().mean().exp()) if means else 0.0


@lru_cache(maxsize=2)
def bands(name):
    """{次数: {"frechet": [优, 良, 及格 的上限], "kid": 同上}}；没有量过的数据是空的"""
    found = json.loads((files(__package__) / "bands.json").read_text(encoding="utf-8"))
    return {int(calls): limits for calls, limits in found.get(name, {}).get("bands", {}).items()}


def band_of(limits, values):
    """两个量各落在哪一档，取低的那一档"""
    worst = max(sum(values[measure] > limit for limit in limits[measure]) for measure in ("frechet", "kid"))
    return BANDS[worst]


def notes_on(source):
    """不影响分数、要给老师看的：哪个函数与仓库里教师用的解相像；噪声表就那么几种，弱的解的损失是课本上的，都不算"""
    notes = []
    for name in ("reference", "plain"):
        ours = (files(__package__) / f"{name}.py").read_text(encoding="utf-8")
        if alike := [f"{function}（{ratio:.0%}）" for function, ratio in similar_functions(source, ours).items() if function != "betas"]:
            notes.append(f"{'、'.join(alike)} 与仓库里的 {name}.py 几乎相同（变量名不算）")
    return notes


@lru_cache(maxsize=2)
def judge_for(name, root):
    data = pictures(name, root)
    score = scoring.scorer(name, root)
    # 训练图不一定打乱过，隔开取
    as_many = data["train"][::max(1, len(data["train"]) // task_named(name).count)]
    return Judge(score.classifier, data["train"], data["held"], score(as_many))


def fresh_seeds(count=SEEDS):
    """学生没有见过的种子：判的时候才抽，写在结果里，照它可以重判"""
    return [secrets.randbits(31) for _ in range(count)]


def grade(folder, task, seeds, root="data", retrain=False, say=lambda text: None):
    """一个文件夹 → Result；交来的东西不论怎样坏，都写成结果里的一句话"""
    result = Result(folder.resolve().name, task.name, list(seeds))
    try:
        submission = read_submission(folder, task)
        result.digest, result.notes = submission.digest, notes_on(submission.source)
        sampling.noise_table(submission.source)
        if retrain:
            say("隔离的进程里从头练")
            submission.weights = retrained(submission.source, task, seeds[0], root)
        network = task.network()
        network.load_state_dict(submission.weights)
        for calls in CALLS:
            say(f"调用 {calls} 次")
            result.rows[calls], complaints = grade_calls(submission.source, network, task, calls, seeds, root)
            result.refused += complaints
            if complaints:
                break
        if result.refused:
            result.kind = "违规"
        elif all(row.fault for row in result.rows.values()):
            result.refused, result.kind = [f"四种次数都没有成绩：{faults_of(result.rows)}"], "缺漏"
    except Refused as error:
        result.refused, result.kind = [str(error)], error.kind
    except Fault as error:
        result.refused, result.kind = [str(error)], "缺漏"
    return result


def faults_of(rows):
    """各种次数没有成绩的原因，相同的合起来说"""
    calls = defaultdict(list)
    for number, row in rows.items():
        calls[row.fault].append(str(number))
    return "；".join(f"{'、'.join(numbers)} 次，{fault}" if len(calls) > 1 else fault for fault, numbers in calls.items())


def grade_calls(source, network, task, calls, seeds, root):
    """一种次数：各个种子采样，另用打乱的网络采一批 → (Row, 违规的原因)"""
    shape, score = (task.count, *task.shape), scoring.scorer(task.name, root)
    answer = sampling.answering(network)
    lanes = [Lane(seed, shape, calls, answer) for seed in seeds]
    # 打乱的单独对话：同一个进程里看不到两种网络
    fake = Lane(seeds[0], shape, calls, sampling.scrambled(network, secrets.randbits(31)))
    try:
        sampling.converse(source, lanes)
        if silent := [lane for lane in lanes if lane.rows < task.count]:
            return Row(), [f"调用 {calls} 次时，{task.count} 张图只有 {silent[0].rows} 张用过网络：样本不是由网络画的"]
        together = lanes[1 + secrets.randbelow(len(lanes) - 1)]
        alone = Lane(together.seed, shape, calls, answer)
        sampling.converse(source, [alone])
        if float((alone.samples - together.samples).abs().mean()) > 1e-2:
            return Row(), [f"调用 {calls} 次时，单独重放一个种子，样本不同：一个种子的采样用了别的种子的网络调用"]
    except Fault as error:
        return Row(fault=str(error)), []
    first, second = lanes[0].samples, lanes[1].samples
    complaints = judge_for(task.name, root).complaints(calls, first, second, swapped_samples(source, fake, shape), score)
    found = [scoring.measured(score, lane.samples) for lane in lanes]
    row = Row(*([value[name] for value in found] for name in ("frechet", "kid")), strip=to_uint8(first[:SHOWN]))
    if limits := bands(task.name).get(calls):
        row.band = band_of(limits, {name: scoring.averaged(getattr(row, name))[0] for name in ("frechet", "kid")})
    return row, complaints


def swapped_samples(source, fake, shape):
    """打乱的网络画出来的；走不到头（例如发散成了 NaN）也算变了样"""
    try:
        sampling.converse(source, [fake])
        return fake.samples
    except Fault:
        return torch.rand(shape) * 2 - 1


def retrained(source, task, seed, root):
    """在隔离的进程里从头练一遍，返回核对过的权重"""
    job = {"source": source, "task": task.name, "images": to_uint8(pictures(task.name, root)["train"]), "seed": seed, "limit": task.limit}
    found = sampling.run_worker("train", job, seconds=task.limit + 120)
    if "error" in found:
        raise Fault(f"从头练时出错：{str(found['error'])[:300]}")
    return check_weights(found.get("weights"), task, "从头练出的权重")
