"""重判：各题的判定与 grade 相同；卡住、崩溃、捣乱的只害自己，磁盘上什么也不变；坏的、改了名的各有一句话"""
import csv
import hashlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from ddpm_edu.authoring.editions import solutions_edition, student_edition
from ddpm_edu.classroom import isolation, messages, regrade, submission
from ddpm_edu.classroom.judging import judge_attempt
from ddpm_edu.classroom.questions import sources
from ddpm_edu.classroom.slicing import slice_for, statements
from ddpm_edu.teach.books import book, read_cells
from ddpm_edu.teach.exercises import Code, chapters, find

from .program import Program

ROOT = Path(__file__).resolve().parents[1]
CODE = [e for group in chapters().values() for e in group if isinstance(e, Code)]
SECONDS = 5


def notebook(*cells):
    """代码单元的源码 → .ipynb 的字节"""
    made = [{"cell_type": "code", "metadata": {}, "source": cell, "outputs": [], "execution_count": None} for cell in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, ensure_ascii=False).encode()


def code_cells(chapter, edition):
    return [edition(cell.text) for cell in read_cells(book(chapter)) if cell.code]


def with_answers(**answers):
    """第 3 章的几题：q1 是 03.1"""
    return notebook("import torch", *(f'{source}\ngrade("03.{name[1:]}", answer)' for name, source in answers.items()))


RIGHT = """
def answer(betas, x_start, t, noise):
    bar = torch.cumprod(1 - betas, 0)[t].reshape(-1, *[1] * (x_start.ndim - 1))
    {before}
    return bar.sqrt() * x_start + (1 - bar).sqrt() * noise
"""


def evil(line):
    """照样算对，只是先做一件坏事"""
    return f"import torch\n{RIGHT.format(before=line)}"


def only(line):
    """光做坏事；第二题照做"""
    return with_answers(q1=evil(line), q2=JUMP)


JUMP = "def answer(betas, s, t):\n    product = float(torch.prod(1 - betas[s + 1:t + 1]))\n    return product**0.5, 1 - product"
SOLVED = notebook(*code_cells(3, solutions_edition))


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """隔离的进程不该碰的文件夹"""
    folder = tmp_path_factory.mktemp("外面")
    (folder / "宝贝").write_text("原样", encoding="utf-8")
    (folder / "文件夹").mkdir()
    (folder / "文件夹" / "里面").write_text("原样", encoding="utf-8")
    return folder


def hostile(outside):
    """{学生: (notebook, 说明或 03.1 的话里应有的字)}；没有字的，03.1 就该是 ✓"""
    kept = str(outside / "宝贝")
    return {
        "死循环": (only("while True: pass"), "超时"),
        "退出": (only("__import__('os')._exit(0)"), "进程自己退出了"),
        "删文件": (only(f"__import__('os').remove({kept!r})"), "不许改动文件"),
        "删文件夹": (only(f"__import__('shutil').rmtree({str(outside / '文件夹')!r})"), "不许改动文件"),
        "改文件": (only(f"open({kept!r}, 'w')"), "不许写文件"),
        "从 C++ 里写": (only(f"torch.save(bar, {str(outside / '新的')!r})"), "不许写文件"),
        "网络": (only("__import__('socket').create_connection(('127.0.0.1', 9))"), "不许联网"),
        "另起进程": (only("__import__('subprocess').run(['echo'])"), "不许另起进程"),
        "十 GB": (only("keep = torch.ones(10 * 2**28)"), "allocat"),
        "读答案": (only("from ddpm_edu.teach.exercises import find; return find('03.1').reference(betas, x_start, t, noise)"), "不许读答案"),
        "读源文件": (only(f"open({str(ROOT / 'ddpm_edu/teach/exercises/ch03.py')!r})"), "不许读答案"),
        "改批改": (with_answers(q1="import ddpm_edu.teach.outcome, torch\nddpm_edu.teach.outcome.difference = lambda *args, **kwargs: None\n"
                              "torch.equal = lambda *args: True\nclass Same(float):\n    __eq__ = lambda *args: True\n"
                              "answer = lambda *args: Same(0)"), "应为"),
        "冒充": (notebook("def grade(*args):\n    print('✓ 03.1')\n", "def f(*args):\n    return 1\n", 'grade("03.1", f)'), "应为"),
        "少交": (with_answers(q1="import ddpm_edu.classroom.answers as a\na.outcomes = lambda *args: []\ndef answer(*args):\n"
                             "    import ddpm_edu.classroom.answers as a\n    a.described = lambda *args: {}\n    return 1"), "不合规矩"),
        "写满": (only("return 'x' * (200 << 20)"), "✗"),
    }


BROKEN = {
    "没传完.ipynb": (SOLVED[:len(SOLVED) // 2], "没有传完"),
    "空的.ipynb": (b"", "空的"),
    "网页.ipynb": (b"<!DOCTYPE html><html></html>", "网页"),
    "冲突.ipynb": (SOLVED.replace(b'"cells"', b'<<<<<<< HEAD\n"cells"', 1), "JSON 写坏了"),
    "别的.ipynb": (notebook("print(1)"), "认不出是哪一章"),
    "怪.ipynb": (b'{"cells": [{"cell_type": "code", "source": 3}, 4, {"source": []}]}', "认不出是哪一章"),
    "深.ipynb": (b"[" * 100_000, "嵌套太深|JSON"),
    "包.zip": (b"PK\x03\x04", "压缩包"),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory, outside):
    """一个班，判一遍：{学生: CSV 的一行}，以及文件夹与网页"""
    folder = tmp_path_factory.mktemp("收来的 作业")
    files = {f"{name}.ipynb": content for name, (content, _) in hostile(outside).items()} | {name: content for name, (content, _) in BROKEN.items()}
    files |= {
        "对.ipynb": SOLVED, "没做/03_forward.ipynb": notebook(*code_cells(3, student_edition)), "改名.txt": SOLVED,
        "名单.txt": "甲 乙".encode(), "对/.ipynb_checkpoints/对-checkpoint.ipynb": SOLVED, ".隐藏.ipynb": SOLVED,
        "重交/03_forward.ipynb": with_answers(q1=JUMP, q2=JUMP), "重交/03_forward (1).ipynb": with_answers(q1=evil("pass")),
        "=1+1.ipynb": with_answers(q1="def answer(betas, s, t, noise):\n    return '=2+2'"),
        "乱序.ipynb": notebook("!pip install x\n%matplotlib inline\ngrade('03.1', answer)", "def answer(*args):\n    return helper(*args) * SCALE",
                             evil("pass").replace("answer", "helper"), "SCALE = 1.0", "while True: pass", "if True print(1)\ngrade('03.2', f)"),
        "循环.ipynb": notebook("import torch", "from ddpm_edu.teach import grade as 批改", evil("pass").replace("answer", "first"),
                             JUMP.replace("answer", "second"),
                             "for number, answer in {'03.1': first, '03.2': second}.items():\n    批改(number, answer)", "批改(answer='D', number='03.5')"),
        "缺模块.ipynb": notebook("from ddpm_edu.teach import grade", "import no_such_module_here as own", "for n in ['03.1']:\n    grade(n, own.f)",
                              "name = '03.4'"),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if hasattr(os, "symlink") and os.name != "nt":
        (folder / "链接.ipynb").symlink_to(folder / "对.ipynb")
    before = digest(folder), digest(outside)
    assert regrade.main([str(folder), "--seconds", str(SECONDS)]) == 0
    table = (folder / "regrade.csv").read_bytes()
    rows = {row["学生"]: row for row in csv.DictReader(table.decode("utf-8-sig").splitlines())}
    page = (folder / "regrade.html").read_text(encoding="utf-8")
    for name in ("regrade.csv", "regrade.html"):
        (folder / name).unlink()
    assert (digest(folder), digest(outside)) == before and table.startswith(b"\xef\xbb\xbf")
    return rows, page


def digest(folder):
    return {str(path): hashlib.sha256(path.read_bytes()).digest() if path.is_file() else (path.stat().st_mode, path.stat().st_mtime_ns)
            for path in sorted(folder.rglob("*"))}


def marks(row):
    return "".join(row[f"03.{i}"] for i in range(1, 6))


def test_solutions_are_right_the_student_edition_is_blank_and_a_typical_mistake_gets_its_hint(judged):
    rows, page = judged
    assert marks(rows["对"]) == marks(rows["改名"]) == "✓✓✓✓✓" and marks(rows["没做"]) == "☐☐☐☐☐"
    assert rows["对"]["做对"] == "5" and "照样判了" in rows["改名"]["说明"] and "一字不差" in rows["对"]["说明"]
    assert "<title>重判的结果</title>" in page and "没做" in page and "防不住的" in page and not re.search(r"""(?:src|href)=["'](?!#)""", page)


def test_what_a_hostile_student_does_costs_that_exercise_and_nothing_else(judged, outside):
    rows, page = judged
    for name, (_, said) in hostile(outside).items():
        row = rows[name]
        assert row["03.1"] == "✗" and re.search(said, row["03.1 说明"] + row["说明"] + row["03.1"]), (name, row["03.1 说明"], row["说明"])
        if name not in ("改批改", "冒充", "少交"):
            assert row["03.2"] == "✓", name
    assert marks(rows["对"]) == "✓✓✓✓✓" and "<i>" not in page


def test_broken_renamed_repeated_and_half_executed_notebooks_get_a_sentence_each(judged):
    rows, page = judged
    for name, (_, said) in BROKEN.items():
        row = rows[Path(name).stem]
        assert re.search(said, row["说明"]) and row["用时（秒）"] == "0.0" and marks(row) == "", name
    assert os.name == "nt" or "链接" in rows["链接"]["说明"]
    assert marks(rows["重交"]) == "✓✓" and "交了 2 份" in rows["重交"]["说明"]
    assert (rows["循环"]["03.1"], rows["循环"]["03.2"], rows["循环"]["03.5"]) == ("✓", "✓", "✓") and rows["循环"]["做对"] == "3"
    assert rows["缺模块"]["03.1"] == "✗" and "no_such_module_here" in rows["缺模块"]["03.1 说明"]
    assert rows["乱序"]["03.1"] == "✓" and rows["乱序"]["03.2"] == "✗" and "语法错误" in rows["乱序"]["03.2 说明"]
    assert not any(name in student for student in rows for name in ("checkpoint", "隐藏", "名单")) and "名单.txt：不是 notebook" in page
    assert "'=1+1" in rows and not any(cell.startswith(("=", "+", "@")) for row in rows.values() for cell in row.values())


def test_every_exercise_goes_through_isolation_and_gets_the_same_verdict(amount):
    """平时每章第一道编程题，另加要造优化器的一道；--full 是全部"""
    quick = [next(e.id for e in group if isinstance(e, Code)) for group in chapters().values()]
    chosen = amount([*quick, "10.2"], [e.id for e in CODE])
    answers = isolation.run("tests.regrade_worker:typical", {number: sources()[number] for number in chosen}, seconds=300, memory_mb=2048)
    assert answers.error is None
    for number in chosen:
        exercise = find(number)
        told = [judge_attempt(exercise, attempt) for attempt in answers.value[number]]
        assert told[0].mark == "✓" and [found.mistake for found in told[1:]] == [m.hint for m in exercise.mistakes], number


def test_the_questions_sent_carry_no_answers():
    assert set(sources()) == {e.id for e in CODE}
    for exercise in CODE:
        for function in (exercise.reference, *(m.function for m in exercise.mistakes)):
            name = function.__name__
            assert name in ("<lambda>", "function") or f"def {name}(" not in sources()[exercise.id], (exercise.id, name)
        assert "Mistake" not in sources()[exercise.id] and exercise.why not in sources()[exercise.id]


# ---- 隔离的进程 ----

def call(source, **limits):
    return isolation.run("tests.regrade_worker:call", source, **{"seconds": SECONDS, "memory_mb": 1024, **limits})


def test_values_come_back_as_plain_data():
    value = {"a": (1, 2.5, None, ..., "字", True, [b"x"]), "b": torch.arange(6).reshape(2, 3).T, "c": torch.ones(2, dtype=torch.bfloat16)}
    back = messages.read(messages.write(value))
    assert back["a"] == value["a"] and type(back["a"][5]) is bool and torch.equal(back["b"], value["b"]) and back["c"].dtype == torch.bfloat16
    for strange in (object(), {1: 2}, print, type):
        with pytest.raises(TypeError):
            messages.write(strange)
    for forged in (b"", b"[1]", b"{}", b'{"tensor": ["float32", [1000000000], ""]}', b'{"tensor": ["float32", [-1, -1], "AAAAAA=="]}', b"[" * 10**5,
                   b'{"pickle": "x"}', b'{"dict": [[[], 1]]}', b'{"list": 3}'):
        with pytest.raises(ValueError):
            messages.read(forged)


def test_a_working_folder_is_empty_writable_on_demand_and_removed():
    source = "import os\nwhere, inside = os.getcwd(), os.listdir()\nopen('a', 'w').write('x')\nanswer = [where, inside, os.listdir(), os.environ['HOME']]"
    found = call(source, writable=True)
    where, inside, after, home = found.value
    assert (inside, after, home) == ([], ["a"], where) and not Path(where).exists() and found.error is None
    assert call(source).error.startswith("出错：Refused") and call(source).refused == ("不许写文件：a",)


def test_nothing_of_the_teacher_reaches_the_student(monkeypatch):
    monkeypatch.setenv("DDPM_EDU_PROGRESS", "记录")
    monkeypatch.setenv("A_SECRET", "秘密")
    found = call("import os, sys\nanswer = [dict(os.environ), [name for name in sys.modules if name.startswith('ddpm_edu.classroom')]]").value
    assert not [name for name in found[0] if name.startswith("DDPM") or name == "A_SECRET"]
    assert not {"ddpm_edu.classroom.judging", "ddpm_edu.classroom.regrade", "ddpm_edu.classroom.questions"} & set(found[1])


@pytest.mark.skipif(sys.platform != "linux", reason="内核的限制只有 Linux 有")
def test_the_kernel_refuses_what_the_audit_hook_cannot_see(tmp_path):
    """在装门卫之前就拿到 ctypes 的函数，相当于绕过了 Python"""
    found = isolation.run("tests.regrade_worker:past_the_guard", str(tmp_path), seconds=SECONDS, memory_mb=1024).value
    assert found == {"写文件": False, "改属性": False, "新进程": False, "套接字": False, "读别处": False} and not list(tmp_path.iterdir())


def test_a_folder_without_notebooks_is_a_sentence(tmp_path, capsys):
    for arguments, said in (([tmp_path], "没有 notebook"), ([tmp_path / "没有"], "不是文件夹"), ([], "还缺 文件夹"),
                            ([tmp_path, "--seconds", "0"], "至少是 1")):
        assert regrade.main([*map(str, arguments)]) == 2
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows 没有这样的信号")
def test_stopping_leaves_nothing_behind(tmp_path):
    for name in ("作业", "临时"):
        (tmp_path / name).mkdir()
    (tmp_path / "作业" / "甲.ipynb").write_bytes(with_answers(q1=evil("while True: pass")))
    program = Program(regrade_there, tmp_path / "作业", tmp_path / "临时", cwd=tmp_path)
    while not list((tmp_path / "临时").glob("ddpm_edu_*/tmp*/value")) and program.process.is_alive():
        time.sleep(0.1)
    os.kill(program.process.pid, signal.SIGINT)
    assert program.end().returncode == 130
    assert not list((tmp_path / "临时").iterdir()) and len(list((tmp_path / "作业").iterdir())) == 1


def regrade_there(folder, temporary):
    tempfile.tempdir = str(temporary)
    sys.exit(regrade.main([str(folder), "--seconds", "300"]))


# ---- 取用得着的语句 ----

def chosen(wanted, program, place=None):
    several = statements(program)
    return [statement.node.lineno for statement in slice_for(wanted, several, place)]


def test_only_the_statements_an_answer_needs_are_run():
    program = "import torch\nimport os\nK = 2\nmodel = train()\ndef helper(x):\n    return K * x\nhelper(3)\ndef f(x):\n    return helper(torch.sqrt(x))\nf(1)"
    assert chosen({"f"}, program) == [1, 3, 5, 8]
    assert chosen({"x"}, "x = slow()\nx = 1\nx += 1\nx.append(2)\ny = x") == [2, 3, 4]
    assert chosen({"x"}, "x = 1\nx = x + 1\nif x: x = 3") == [1, 2, 3]
    assert chosen({"torch"}, "import torch\ntorch.set_num_threads(8)\nfrom m import *") == [1, 3]
    assert chosen({"f"}, "f = g\npass\ndef g():\n    pass", 1) == [3, 1]


def test_a_student_is_the_file_or_its_folder(tmp_path):
    for name, student in {"甲.ipynb": "甲", "03_forward.ipynb": "03_forward", "乙/03_forward.ipynb": "乙", "乙/03_forward-Copy1.ipynb": "乙",
                          "一班/丙.ipynb": "一班/丙", "丁.ipynb.txt": "丁", "戊/03_forward - 副本.ipynb": "戊"}.items():
        assert submission.student_of(tmp_path / name, tmp_path) == student
    windows = os.fsdecode("张三".encode("gb18030"))
    assert submission.student_of(tmp_path / f"{windows}.ipynb", tmp_path) == "张三"
