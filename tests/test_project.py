"""大作业：写法与权重的检查，样本里的作弊，隔离里的重放与记数，档位，榜"""
import csv
import dataclasses
import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import course
from ddpm_edu.classroom import guard, isolation
from ddpm_edu.classroom.project import __main__ as command
from ddpm_edu.classroom.project import desk, grading, judging, measure, page, rules, sampling, scoring, submission, tasks, training, worker
from ddpm_edu.classroom.project.sampling import Fault, Lane

PLACE = files("ddpm_edu.classroom.project")
SOURCES = {name: (PLACE / f"{name}.py").read_text(encoding="utf-8") for name in ("reference", "plain", "weak")}
HEAD, SAMPLE = SOURCES["plain"].split("def sample(")
SAMPLE = f"def sample({SAMPLE}"
DIGITS = tasks.task_named("digits")
REFERENCE = PLACE / "reference_digits.safetensors"


def with_sample(body):
    return f"{HEAD}def sample(network, shape, calls, generator):\n    x = torch.randn(shape, generator=generator)\n{body}"


@pytest.fixture(scope="module")
def network():
    made = DIGITS.network()
    made.load_state_dict({name: value.float() for name, value in load_file(str(REFERENCE)).items()})
    return made


@pytest.fixture(scope="module")
def judge():
    return grading.judge_for("digits", "data")


# ---- 写法 ----

BAD_LINES = {
    "from ddpm_edu import load_pretrained": "课程的包",
    "import sys": "导入了 sys",
    "from torch import hub": "hub",
    "D = torch.load('x')": "torch.load",
    "import numpy as np\nD = np.fromfile('x')": "fromfile",
    "D = open('x')": "open",
    "D = eval('1')": "eval",
    "D = getattr(torch, 'load')": "getattr",
    "D = ().__class__": "__class__",
    "D = torch._C": "_C",
    "D = __builtins__": "__builtins__",
    "def f(e): return e.f_back": "f_back",
    "match 1:\n    case int(__class__=D):\n        pass": "__class__",
    f"D = {list(range(700))}": "写的数压缩之后",
    f"D = {'ab' * 150!r} + {'cd' * 151!r}": "共 602 字节",
    "\n".join(f"def f{n ** 9 % 99991:x}{n ** 7 % 99991:x}(): pass" for n in range(999)): "的代码压缩之后",
    "from functools import singledispatch as s": "singledispatch",
    "import typing\nD = typing.get_type_hints(loss)": "get_type_hints",
    "import functools\nfunctools.update_wrapper(D, torch, ('load',))": "update_wrapper",
    "from torch import *": r"导入了 \*",
    f"D = {1 << 300}": "夹带",
    "from . import x": "导入",
    "(": "语法错误",
}


def test_every_forbidden_line_is_refused_with_its_reason():
    for source in SOURCES.values():
        rules.check_source(source)
    for line, reason in BAD_LINES.items():
        with pytest.raises(rules.Refused, match=reason):
            rules.check_source(f"{SOURCES['plain']}\n{line}\n")
    with pytest.raises(rules.Refused, match="没有函数 sample"):
        rules.check_source(HEAD)
    with pytest.raises(rules.Refused, match="loss 应有 3 个参数"):
        rules.check_source(SOURCES["plain"].replace("def loss(network, x_start, generator)", "def loss(network, x_start)"))


def test_documents_and_annotations_are_neither_cargo_nor_executed():
    told = SOURCES["plain"].replace("x = torch.randn(shape", f"{'字' * 900!r}\n    x = torch.randn(shape")
    rules.check_source(f"{told}\n# {'注' * 5000}\n")
    source = f"""{SOURCES["plain"]}
import dataclasses

def f(a: 1 / 0, *b: 1 / 0) -> 1 / 0:
    c: 1 / 0 = 3
    return c

@dataclasses.dataclass
class Plan:
    steps: 1 / 0
    order: "int" = 2
"""
    module = worker.solution(source)
    assert module.f(1) == 3 and module.Plan(4).order == 2 and module.f.__annotations__ == {}


def test_renamed_copy_of_our_solution_is_noted():
    # 改了变量名，再改一处
    renamed = SOURCES["plain"].replace("x0_hat", "middle").replace("earlier = None", "earlier = None or None")
    assert grading.notes_on(renamed) == ["loss（100%）、sample（99%） 与仓库里的 plain.py 几乎相同（变量名不算）"]
    assert grading.notes_on(SOURCES["weak"]) == []
    assert rules.training_code(SOURCES["plain"]) == rules.training_code(with_sample("    return x\n"))
    assert rules.training_code(SOURCES["plain"]) != rules.training_code(SOURCES["weak"])


# ---- 权重 ----

def test_weights_that_are_not_this_network_are_refused(tmp_path, network):
    torch.manual_seed(0)
    good, path = DIGITS.network().state_dict(), tmp_path / training.WEIGHTS
    first = next(iter(good))
    shipped = load_file(str(PLACE.parent.parent / "pretrained" / "digits.safetensors"))
    stolen = next(value for value in shipped.values() if value.numel() > 1000 and value.std() > 0)
    cases = {
        "多了 1 个": {**good, "pictures": torch.zeros(9, 64)},
        "少了 1 个": {name: value for name, value in good.items() if name != first},
        "应是形状": {**good, first: torch.zeros(3)},
        "NaN": {**good, first: good[first] * torch.nan},
        "随包的模型 digits 的权重": {**good, "x": stolen * (1 + 1e-3 * torch.randn_like(stolen))},
        "是随包的模型 digits 的": shipped,
        "是参考解的权重": {name: value + 1e-5 * torch.randn_like(value) for name, value in network.state_dict().items()},
    }
    for reason, weights in cases.items():
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
        with pytest.raises(rules.Refused, match=reason):
            submission.read_weights(path, DIGITS)
    path.write_bytes(b"\0" * 100)
    with pytest.raises(rules.Refused, match="打不开"):
        submission.read_weights(path, DIGITS)
    path.unlink()
    path.symlink_to(REFERENCE)
    with pytest.raises(rules.Refused, match="不是普通文件"):
        submission.read_weights(path, DIGITS)


# ---- 样本里的作弊 ----

def faults(judge, samples, other, swapped=None, calls=8):
    return "；".join(judge.complaints(calls, samples, other, swapped, scoring.scorer("digits")))


def test_cheating_shows_in_the_samples(judge):
    train, held = (tasks.pictures("digits")[name] for name in ("train", "held"))
    dice = torch.Generator().manual_seed(0)
    noise = torch.randn(250, 1, 8, 8, generator=dice)
    real, other, copies = held[:250], held[250:], train[:250]
    assert faults(judge, real, other, noise.clamp(-1, 1)) == ""
    moved = torch.cat([copies[..., 1:], -torch.ones(250, 1, 8, 1)], -1)
    for taken in (copies, (copies + 0.2 * noise).clamp(-1, 1), 0.6 * copies - 0.2, moved, torch.cat([real[:200], copies[:50]])):
        assert "照抄了训练图" in faults(judge, taken, other)
    assert "常数" in faults(judge, torch.zeros_like(real), other)
    assert "不看种子" in faults(judge, real, real.flip(0))
    assert "只有几种" in faults(judge, real[torch.arange(250) % 200], other)
    assert "塌缩" in faults(judge, (real[torch.arange(250) % 10] + 0.1 * noise).clamp(-1, 1), other)
    assert "塌缩" in faults(judge, held[scoring.scorer("digits").classifier(held).argmax(1) == 3], other)
    assert "不是由网络画的" in faults(judge, real, other, real + 0.1 * noise)
    assert "好处不是从网络来的" in faults(judge, real, other, real.flip(0))


def test_large_pictures_are_compared_after_shrinking():
    dice = torch.Generator().manual_seed(0)
    train = torch.nn.functional.interpolate(torch.rand(300, 1, 7, 7, generator=dice), size=28) * 2 - 1
    fresh = torch.nn.functional.interpolate(torch.rand(60, 1, 7, 7, generator=dice), size=28) * 2 - 1
    copied = judging.gap_to_training(train[:60].roll((2, 0), (2, 3)), train)
    assert copied.median() < 0.5 * judging.gap_to_training(fresh, train).median()


# ---- 隔离里的重放 ----

def drawn(source, network, calls=2, count=20, seeds=(5, 6)):
    lanes = [Lane(seed, (count, 1, 8, 8), calls, sampling.answering(network)) for seed in seeds]
    sampling.converse(source, lanes)
    return lanes


def test_replay_equals_sampling_with_the_network_at_hand(network):
    lanes = drawn(SOURCES["plain"], network)
    from ddpm_edu.classroom.project import plain

    with torch.no_grad():
        at_hand = plain.sample(network, (20, 1, 8, 8), 2, torch.Generator().manual_seed(6))
    assert (lanes[1].samples - at_hand).abs().max() < 1e-4  # 不同进程里的 float32
    assert [lane.rows for lane in lanes] == [40, 40]


HOSTILE = {
    "x = torch.cat([x, x])\n    return network(x, torch.full((40,), 9))[:20]": "第 1 次提问送了 40 张，共 40 张，超了",
    "return network(network(x, torch.full((20,), 9)), torch.full((20,), 5))": "至多调用 1 次",
    "return network(x, torch.full((20,), 9)) * float('nan')": "NaN",
    "return 9 + network(x, torch.full((20,), 9))": r"应在 \[-1, 1\]",
    "return network(x, torch.full((20,), 9))[:3]": "形状",
    "return None": "返回张量",
    "return network(x.reshape(5, 1, 16, 16), torch.full((5,), 9))": "形状",
    "return network(x, torch.full((20,), 2000))": "0..999",
    "return network(x * torch.inf, torch.full((20,), 9))": "NaN 或无穷",
    "return network(x * (1 + torch.seed() % 99991), torch.full((20,), 9)).clamp(-1, 1)": "重放",
    "return 1 / 0": "第 .* 行出错，Python 的原话是：ZeroDivisionError",
    "raise SystemExit": "没有完成",
}


def test_hostile_samplers_get_no_score_and_a_reason(network):
    for body, reason in HOSTILE.items():
        with pytest.raises(Fault, match=reason):
            drawn(with_sample(f"    {body}\n"), network, calls=1, seeds=(5,))


def test_doors_of_the_worker_are_watched(network):
    # 写法的检查拦得住这一行；这里绕过它，看隔离的进程
    shipped = str(sampling.HIDDEN[0] / "digits.safetensors")
    doors = ("torch.from_file", "torch.ops.aten.from_file", "torch.UntypedStorage.from_file", "torch._C.PyTorchFileReader")
    reads = [f"{door}({', '.join([repr(shipped), *['False', '99'] * (door != doors[-1])])})" for door in doors]
    for line in ("torch.load('weights.pt')", "torch.os.open('/etc/hostname', 0)", *reads):
        with pytest.raises(rules.Refused, match="采样时"):
            drawn(with_sample(f"    try:\n        {line}\n    except Exception:\n        pass\n    return x.clamp(-1, 1)\n"), network, calls=1, seeds=(5,))


def test_kernel_keeps_the_data_out_of_reach(network):
    if "Landlock" not in isolation.kernel_in_force():
        pytest.skip("内核没有 Landlock")
    # 已经绕过了门卫的：直接用 C++ 的那个函数
    for path in (sampling.HIDDEN[0] / "digits.safetensors", sampling.HIDDEN[2], sampling.HIDDEN[3] / "digits.csv.gz"):
        assert path.exists()
        with pytest.raises(Fault, match="unable to open file"):
            drawn(with_sample(f"    torch._C._VariableFunctions.from_file({str(path)!r}, False, 9)\n    return x\n"), network, calls=1, seeds=(5,))


def test_hidden_places_are_carved_out_of_the_readable_ones(tmp_path):
    for name in ("a/secret/x", "a/b/y", "c/z"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    kept = guard.without([str(tmp_path / "a"), str(tmp_path / "a" / "secret" / "x"), str(tmp_path / "c")], [str(tmp_path / "a" / "secret")])
    assert sorted(Path(path).relative_to(tmp_path.resolve()).as_posix() for path in kept) == ["a/b", "c"]


HINTS = """
import typing


def hinted(text):
    class Hint:
        pass
    Hint.__annotations__ = {"a": text}
    return typing.get_type_hints(Hint)
"""


def test_text_in_annotations_is_not_evaluated_in_the_worker(network):
    body = "    hinted('torch.zeros(3)')\n    return x\n"
    with pytest.raises(Fault, match="不许当成代码算"):
        drawn(with_sample(body) + HINTS, network, calls=1, seeds=(5,))


def test_first_question_is_pure_noise():
    pictures = tasks.pictures("digits")["train"][:20]
    hidden = 0.6 * pictures[torch.arange(500) % 20] + 0.8 * torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def asked(*questions):
        lane = Lane(1, (500, 1, 8, 8), 2, lambda x, t: x)
        for x, t in questions:
            lane.ask(x, torch.full((len(x),), t))
        return lane

    noise = torch.randn(1000, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    # 乘一个数，正负成对，分小批问，接着问有图的：都可以
    for start in (7 * noise[:500], torch.cat([noise[:250], -noise[:250]])):
        asked((start[:100], 999), (start[100:], 999), (hidden, 500))
    for start in (hidden, hidden - hidden.mean(0), 1e-3 * hidden):
        with pytest.raises(Fault, match="第一问的 x 应是纯噪声"):
            asked((start, 999))
    with pytest.raises(Fault, match="第一问的 x 应是纯噪声"):
        asked((noise[:1], 999), (hidden[1:], 999))
    lane = asked((noise[:1], 999), (hidden[1:], 500))
    with pytest.raises(Fault, match="从同一步的纯噪声起步"):
        lane.take({"asked": [[], []], "samples": hidden.clamp(-1, 1)})


def test_reasons_that_differ_are_all_told():
    rows = {1: grading.Row(fault="甲"), 2: grading.Row(fault="乙"), 4: grading.Row(fault="乙")}
    assert grading.faults_of(rows) == "1 次，甲；2、4 次，乙" and grading.faults_of({1: rows[1]}) == "甲"


def test_one_row_of_the_table(network):
    task = dataclasses.replace(DIGITS, count=64)
    row, wrong = grading.grade_calls(SOURCES["reference"], network, task, 1, [3, 4], "data")
    assert wrong == [] and len(row.frechet) == len(row.kid) == 2 and row.strip.dtype == torch.uint8
    shared = with_sample("    B.append(network(x, torch.full((64,), 999)))\n    return torch.stack(B).mean(0).clamp(-1, 1)\n").replace(
        "def sample", "B = []\n\n\ndef sample")
    assert "别的种子" in grading.grade_calls(shared, network, task, 1, [3, 4], "data")[1][0]
    idle = with_sample("    return x.clamp(-1, 1)\n")
    assert "不是由网络画的" in grading.grade_calls(idle, network, task, 1, [3, 4], "data")[1][0]


def test_retraining_happens_behind_the_same_doors():
    task = dataclasses.replace(DIGITS, limit=1)
    weights = grading.retrained(SOURCES["plain"], task, 3, "data")
    assert {name: value.shape for name, value in weights.items()} == {name: value.shape for name, value in task.network().state_dict().items()}
    peeking = SOURCES["plain"].replace("    B = len(x_start)\n", "    B = len(x_start)\n    torch.load('weights.pt')\n")
    with pytest.raises(rules.Refused, match="weights.pt"):
        grading.retrained(peeking, task, 3, "data")


# ---- 档位 ----

@pytest.mark.parametrize("name", tasks.TASKS)
def test_recorded_seeds_fall_into_their_bands(name):
    record = json.loads((PLACE / "bands.json").read_text(encoding="utf-8"))[name]
    found = record["measured"]
    assert record["bands"] == measure.bands_of(found, {name: record[name] for name in ("noise", "mean")})
    # 张张都是平均图，是不及格
    assert grading.band_of(grading.bands(name)[1], record["mean"]) == "不及格" == grading.band_of(grading.bands(name)[8], record["noise"])
    for calls, limits in grading.bands(name).items():
        each = {who: [grading.band_of(limits, dict(zip(("frechet", "kid"), pair))) for pair in zip(rows[str(calls)]["frechet"], rows[str(calls)]["kid"])]
                for who, rows in found.items()}
        assert each["reference"] == ["优"] * 20
        middle = {kind: scoring.averaged(found["weak"][str(calls)][kind])[0] for kind in ("frechet", "kid")}
        assert len(each["weak"]) == 20 and grading.band_of(limits, middle) == {1: "不及格", 2: "不及格", 4: "及格", 8: "良"}[calls]
        assert all(rows[str(calls)]["complaints"] == 0 for rows in found.values())


def test_reference_still_falls_into_its_bands(network):
    from ddpm_edu.classroom.project import reference

    for calls, seed in ((1, 101), (2, 102), (4, 103)):
        with torch.no_grad():
            samples = reference.sample(network, (DIGITS.count, 1, 8, 8), calls, torch.Generator().manual_seed(seed))
        assert grading.band_of(grading.bands("digits")[calls], scoring.measured(scoring.scorer("digits"), samples)) == "优"


# ---- 学生的文件夹与训练 ----

def test_folder_is_made_once_and_its_template_says_what_is_missing(tmp_path, capsys):
    folder = tmp_path / "我 的"
    assert command.main(["start", "digits", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "solution.py", "task.txt"]
    assert command.main(["start", "digits", str(folder)]) == 2 and "空的" in capsys.readouterr().err
    assert command.main(["train", str(folder)]) == 2 and "噪声表还没有写" in capsys.readouterr().err
    assert command.main(["grade", str(folder), "--seeds", "2"]) == 1
    assert "缺 weights.safetensors" in capsys.readouterr().out


def test_resumed_training_is_bitwise_the_same(tmp_path):
    from ddpm_edu.classroom.project import plain

    images = tasks.pictures("digits")["train"]
    task = dataclasses.replace(DIGITS, batch=4, steps=6)
    straight, first, second = (training.Trainer(task, plain.loss, images, 7, limit=1e9) for _ in range(3))
    straight.run()
    for _ in range(3):
        first.advance()
    first.save(tmp_path, "甲")
    second.resume(tmp_path, "甲")
    second.run()
    assert second.step == 6
    assert all(torch.equal(value, second.weights()[name]) for name, value in straight.weights().items())
    with pytest.raises(ValueError, match="改过了"):
        second.resume(tmp_path, "乙")
    assert desk.task_of(tmp_path) == "digits"


# ---- 榜 ----

def test_board_shows_ranks_reasons_and_nothing_executable(tmp_path):
    def made(name, value, **more):
        rows = {calls: grading.Row([value, value + 1], [1.0, 2.0], "优", strip=torch.zeros(3, 1, 8, 8, dtype=torch.uint8)) for calls in tasks.CALLS}
        return grading.Result(name, "digits", [1, 2], rows, **{"digest": name, **more})

    half = made("半份", 1.0)
    half.rows[8] = grading.Row(fault="超时")
    results = [half, made("<script>", 20.0, digest="同"), made("=1+1", 10.0, digest="同"),
               made("坏", 1.0, refused=["照抄了训练图"], kind="违规")]
    web, table = page.write_board(results, DIGITS, [1, 2], tmp_path / "榜")
    text = web.read_text(encoding="utf-8")
    order = [text.index(part) for part in ("=1+1", "&lt;script&gt;", "半份", "不收的（1 份）", "照抄了训练图")]
    assert order == sorted(order) and "<script" not in text and "http" not in text and "是同一次训练" in text
    lines = list(csv.reader(table.read_text(encoding="utf-8-sig").splitlines()))
    assert [line[1] for line in lines] == ["名字", "'=1+1", "<script>", "半份", "坏"] and len({len(line) for line in lines}) == 1


def test_course_command_makes_paths_absolute(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(course, "ensure_environment", lambda: None)
    monkeypatch.setattr(course, "run", lambda *command: seen.append(command[3:]))
    monkeypatch.chdir(tmp_path)
    for words in (["start", "digits"], ["grade", "a", "--seed", "1", "2"], ["leaderboard", "a", "--out", "b", "--task", "digits"]):
        course.project(words)
    here = Path.cwd()
    assert seen == [("start", "digits", str(here / "project-digits")), ("grade", str(here / "a"), "--seed", "1", "2"),
                    ("leaderboard", str(here / "a"), "--out", str(here / "b"), "--task", "digits")]
