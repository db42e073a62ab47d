"""习题：答案都对，典型的错各得各的提示，批改从不抛异常；两个版本，给教师的表"""
import ast
import copy
import functools
import random
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from ddpm_edu.authoring import build, editions
from ddpm_edu.authoring.editions import BLANK, solutions_edition, student_edition
from ddpm_edu.authoring.hosting import TAG
from ddpm_edu.teach import books, grading
from ddpm_edu.teach.books import read_cells
from ddpm_edu.teach.exercises import Choice, Code, Mistake, Number, chapters, find
from ddpm_edu.teach.grading import grade, judge
from ddpm_edu.teach.outcome import difference

PATHS = {path.stem[:2]: path for path in build.sources() if path.stem[:2] in chapters()}
ALL = [exercise for group in chapters().values() for exercise in group]
CODE = [exercise for exercise in ALL if isinstance(exercise, Code)]
THOUGHT = [exercise for exercise in ALL if not isinstance(exercise, Code)]
EACH_CHAPTER = pytest.mark.parametrize("chapter", chapters())


def graded_cell(exercise):
    """源文件里批改这道题的单元"""
    cells = [c.text for c in read_cells(PATHS[exercise.id[:2]]) if c.code and f'grade("{exercise.id}"' in c.text]
    assert len(cells) == 1, exercise.id
    return cells[0]


@functools.cache
def imported(chapter):
    """这一章的全部 import 带来的名字"""
    names = {}
    for cell in read_cells(PATHS[chapter]):
        imports = [n for n in ast.parse(cell.text).body if isinstance(n, (ast.Import, ast.ImportFrom))] if cell.code else []
        exec(compile(ast.Module(imports, []), "imports", "exec"), names)
    return names


def run_cell(exercise, edition):
    """执行这一格，除了本章的 import 什么也没有执行过；返回批改的结果"""
    verdicts = []
    names = {**imported(exercise.id[:2]), "grade": lambda number, answer: verdicts.append(judge(number, answer))}
    exec(compile(edition(graded_cell(exercise)), "答案", "exec"), names)
    assert len(verdicts) == 1, exercise.id
    return verdicts[0]


# ---- 题目 ----

# 找 bug 一章的习题就是病例，题数另有规矩
BUGS = "16"


def test_a_chapter_has_three_exercises_of_code_and_two_of_thought():
    for chapter in chapters().keys() - {BUGS}:
        group = chapters()[chapter]
        assert [e.id for e in group] == [f"{chapter}.{i}" for i in range(1, 6)]
        assert [isinstance(e, Code) for e in group] == [True] * 3 + [False] * 2, chapter


def test_the_bug_hunt_has_a_question_and_a_repair_for_each_of_twelve_cases_and_three_hunts():
    group = chapters()[BUGS]
    assert [e.id for e in group] == [f"{BUGS}.{i}{half}" for i in range(1, 16) for half in ("", "b")]
    assert [isinstance(e, (Choice, Code)[i % 2]) for i, e in enumerate(group)] == [True] * 30
    # 猜不出来：四个字母都常见，猎场的三个答案各不相同
    questions = group[::2]
    assert all(sum(e.answer == letter for e in questions[:12]) == 3 for letter in "ABCD") and len({e.answer for e in questions[12:]}) == 3


def test_exercises_and_headings_agree():
    for chapter, group in chapters().items():
        assert {e.stars for e in group} == {1, 2, 3}, chapter
        body = "\n".join(cell.text for cell in read_cells(PATHS[chapter])).partition("## 练习")[2]
        titles = [title for title in re.findall(r"^### (.*)$", body, re.M) if not title.startswith("小实验")]
        assert titles == [f"{e.id}　{e.title} {'★' * e.stars}" for e in group]
        assert re.findall(r'^grade\("(.*?)"', body, re.M) == [e.id for e in group]


@pytest.mark.parametrize("chapter", sorted(chapters().keys() - {BUGS}))
def test_a_chapter_ends_in_an_experiment_whose_measured_answer_only_the_teacher_sees(chapter):
    """找 bug 一章的猎场本来就是实验；别的章，最后一个单元是小实验，参考答案有误差，有重量一遍的程序"""
    text = read_cells(PATHS[chapter])[-1].text
    assert text.startswith("### 小实验　") and "改一处，量一量，写三句话" in text and text.endswith("<!-- 参考答案完 -->")
    student, (answer,) = student_edition(text), editions.REFERENCE.findall(text)
    assert answer in solutions_edition(text) and "参考答案" not in student and len(student) > 80
    assert re.search(r"\d ?%? ± \d", answer.replace("$", "")) and (programs := re.findall(r"```python\n(.*?)```", answer, re.S))
    for program in programs:
        ast.parse(program)


@EACH_CHAPTER
def test_the_solutions_are_right_and_say_why_and_the_blanks_are_not_yet_done(chapter):
    for exercise in chapters()[chapter]:
        verdict = run_cell(exercise, solutions_edition)
        assert verdict.mark == "✓" and verdict.text == exercise.why != "", exercise.id
        text = student_edition(graded_cell(exercise))
        assert text.count(BLANK) == isinstance(exercise, Code) and "答案" not in text, exercise.id
        verdict = run_cell(exercise, student_edition)
        assert (verdict.mark, verdict.text) == ("☐", ""), exercise.id


@pytest.fixture
def known(monkeypatch):
    """参考答案与典型的错，每道题只算一遍；学生的函数总是真的算"""
    computed, outcomes = {}, grading.outcomes

    def remembered(function, exercise):
        if all(function is not f for f in (exercise.reference, *(m.function for m in exercise.mistakes))):
            return outcomes(function, exercise)
        key = exercise.id, function
        if key not in computed:
            computed[key] = outcomes(function, exercise)
        return computed[key]

    monkeypatch.setattr(grading, "outcomes", remembered)


def by_a_student(function):
    """同样的函数，学生写的"""
    return functools.wraps(function)(lambda *args, **kwargs: function(*args, **kwargs))


@EACH_CHAPTER
def test_every_typical_mistake_gets_its_own_hint(chapter, known):
    for exercise in [e for e in chapters()[chapter] if isinstance(e, Code)]:
        assert judge(exercise.id, by_a_student(exercise.reference)).mark == "✓", exercise.id
        hints = [m.hint for m in exercise.mistakes]
        assert len(set(hints)) == len(hints) >= 3 and all(len(hint) >= 10 for hint in hints), exercise.id
        told = [(verdict.mark, verdict.text) for verdict in (judge(exercise.id, by_a_student(m.function)) for m in exercise.mistakes)]
        assert told == [("✗", f"提示：{hint}") for hint in hints], exercise.id


def test_every_wrong_answer_to_a_question_has_its_own_hint():
    for exercise in THOUGHT:
        assert judge(exercise.id, exercise.answer).mark == "✓", exercise.id
        assert len(set(exercise.hints.values())) == len(exercise.hints) >= 3, exercise.id
        for wrong, hint in exercise.hints.items():
            assert (judge(exercise.id, wrong).mark, judge(exercise.id, wrong).text) == ("✗", hint), exercise.id
        if isinstance(exercise, Choice):
            # 猎场要从八个环节里选一个，三题共用一张表
            hunt = len(exercise.hints) > 3
            pattern, cells = (r"(?:^\| |；)([A-H]) ", read_cells(PATHS[BUGS])) if hunt else (r"^- ([A-H])：", question_cells(exercise))
            options = re.findall(pattern, "\n".join(c.text for c in cells), re.M)
            assert sorted([exercise.answer, *exercise.hints]) == options == list("ABCDEFGH"[:8 if hunt else 4]), exercise.id


def question_cells(exercise):
    """题目的文字单元，就在批改它的单元之前"""
    cells = read_cells(PATHS[exercise.id[:2]])
    return [a for a, b in zip(cells, cells[1:]) if b.code and f'grade("{exercise.id}"' in b.text]


# ---- 批改 ----

def test_a_choice_forgives_case_and_width_but_nothing_else():
    for answer, mark in (("c", "✓"), (" Ｃ ", "✓"), ("E", "✗"), (3, "✗"), (np.zeros(2), "✗"), (None, "☐"), (..., "☐")):
        assert judge("02.4", answer).mark == mark, answer


def test_a_number_may_come_from_any_library():
    for answer in (16, 16.0, torch.tensor(16), np.int64(16)):
        assert judge("02.5", answer).mark == "✓", repr(answer)
    for answer in (True, "16", 16.5, float("nan"), torch.zeros(3), 16j):
        assert judge("02.5", answer).mark == "✗", repr(answer)


class Hostile:
    def __getattr__(self, name):
        raise ValueError(name)

    def __repr__(self):
        raise ValueError

    def __eq__(self, other):
        raise ValueError

    __bool__ = __len__ = __iter__ = __hash__ = __repr__


class Mute(Exception):
    def __str__(self):
        raise ValueError


def forever(*args):
    return forever(*args)


def fail_with(error):
    def function(*args):
        raise error

    return function


def ring():
    ring = []
    ring.append(ring)
    return ring


STRANGE = {
    "数": lambda *args: 3, "字符串": lambda *args: "x" * 10**5, "对象": lambda *args: Hostile(), "列表里的对象": lambda *args: [Hostile()],
    "生成器": lambda *args: (x for x in args), "类": lambda *args: torch.Tensor, "NaN": lambda *args: float("nan"), "空": lambda *args: torch.empty(0),
    "复数": lambda *args: torch.zeros(3, dtype=torch.complex64), "字典": lambda *args: {"a": 1, 2: None}, "环": lambda *args: ring(),
    "稀疏": lambda *args: torch.eye(3).to_sparse(), "参数太少": lambda: 1, "死递归": forever, "除零": lambda *args: 1 / 0,
    "退出": lambda *args: sys.exit(3), "基类": fail_with(BaseException("x")), "说不出的错": fail_with(Mute()), "函数": lambda *args: forever,
    "object 数组": lambda *args: np.array([Hostile()], dtype=object), "不是函数": 5, "敌意": Hostile(), "类型": type, "meta": lambda *args: torch.zeros(
        3, device="meta"), "整除": fail_with(StopIteration()), "元组": lambda *args: (None, ...),
}


def test_grading_never_raises_and_says_the_same_thing_every_time(capsys, known):
    for title, strange in STRANGE.items():
        verdict = judge("03.1", strange)
        assert verdict.mark == "✗" and verdict.text and len(verdict.text) < 600, title
        assert grade("03.1", strange) is None
        assert capsys.readouterr().out == repr(verdict) + "\n", title


@EACH_CHAPTER
def test_no_exercise_trips_over_a_strange_function(chapter, known, amount):
    """平时每题试两种，轮着来"""
    odd = ("对象", "空", "参数太少", "死递归", "退出", "字典")
    for i, exercise in enumerate(e for e in chapters()[chapter] if isinstance(e, Code)):
        for strange in amount((odd[(int(chapter) + i) % 6], odd[(int(chapter) + i + 3) % 6]), odd):
            verdict = judge(exercise.id, STRANGE[strange])
            assert verdict.mark == "✗" and verdict.text, (exercise.id, strange)


def test_a_strange_answer_or_number_is_not_an_error():
    for number in ("02.4", "02.5", "99.9", None, 3.4):
        for answer in (Hostile(), Hostile, forever, [], "", b"A", 10**400):
            verdict = judge(number, answer)
            assert verdict.mark in "✗☐" and verdict.text, (number, type(answer))


def test_the_stop_button_still_stops():
    with pytest.raises(KeyboardInterrupt):
        judge("03.1", fail_with(KeyboardInterrupt()))


def disturb(betas, s, t):
    torch.manual_seed(s)
    np.random.seed(t)
    random.seed(s)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    return torch.rand(()).item(), np.random.rand() + random.random()


def test_grading_leaves_randomness_and_switches_alone():
    torch.manual_seed(5)
    np.random.seed(6)
    random.seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    judge("03.2", disturb)
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all() and random.getstate() == before[2]
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


def test_a_function_that_draws_gets_the_same_draw_every_time():
    drawing = [judge("03.2", lambda *args: (torch.rand(()), random.random() + np.random.rand())).text for _ in range(2)]
    assert drawing[0] == drawing[1]


def in_place(betas, x_start, t, noise):
    bar = torch.cumprod(1 - betas, 0)[t].reshape(-1, *[1] * (x_start.ndim - 1))
    x_start *= bar.sqrt()
    return x_start.add_(noise * (1 - bar).sqrt())


def test_changing_the_input_is_noticed_and_does_not_spoil_the_next_grading():
    verdict = judge("03.1", in_place)
    assert verdict.mark == "✗" and "改动了传进来的 x_start；" in verdict.text
    assert judge("03.1", find("03.1").reference).mark == "✓"


@pytest.fixture
def quiz(monkeypatch):
    """一道现造的题：cases 与别的参数由测试给"""
    def make(reference, *cases, mistakes=(), **kwargs):
        made = Code("03.1", 1, "题", reference, lambda: copy.deepcopy(list(map(tuple, cases))), mistakes, "好", **kwargs)
        monkeypatch.setattr(grading, "find", lambda number: made)
        return lambda answer: judge("03.1", answer)

    return make


def test_a_mistake_that_changes_its_input_needs_the_change_to_be_recognised(quiz):
    popping = Mistake("你改动了调用者的字典", lambda d: d.pop("a")), Mistake("改动了，值也不对", lambda d: d.pop("a") + 1)
    check = quiz(lambda d: d["a"], [{"a": 1}], mistakes=popping)
    assert check(lambda d: d.pop("a")).text == "提示：你改动了调用者的字典" and check(lambda d: d["a"]).mark == "✓"
    assert "应为 1，你的是 2" in check(lambda d: d["a"] + 1).text


def test_changing_the_input_on_the_way_to_the_right_error_is_noticed(quiz):
    def spoil(d):
        d["a"] = 2
        raise ZeroDivisionError

    check = quiz(lambda d: d["a"] / 0, [{"a": 1}])
    assert check(lambda d: 1 / 0).mark == "✓" and "改动了传进来的 d" in check(spoil).text


def test_an_unknown_mistake_is_told_where_it_differs(quiz):
    check = quiz(lambda x: x * 2, [torch.tensor([1.0, 2.0])], nudge="再看一眼")
    for said, answer in {
        "忘了写 return": lambda x: print(end=""),
        "形状应为 (2,)，你的是 (1,)": lambda x: x[:1],
        "dtype 应为 float32，你的是 float64": lambda x: x.double() * 2,
        "下标 [1] 处应为 4，你的是 6": lambda x: x * torch.tensor([2.0, 3.0]),
        "你的是 inf": lambda x: x / 0,
        "你的是 '四'": lambda x: "四",
        "AttributeError": lambda x: x.nothing,
        "调用时出错：TypeError": lambda: 1,
        "这时的输入：x=[1, 2]": lambda x: x * 3,
        "再看一眼": lambda x: x * 3,
    }.items():
        verdict = check(answer)
        assert verdict.mark == "✗" and said in verdict.text


def test_a_function_not_yet_written_is_blank_but_one_that_forgets_to_return_is_wrong(quiz):
    check = quiz(lambda x: x, [1.0])

    def dots(x):
        ...

    def documented(x):
        """说明"""

    def raising(x):
        raise NotImplementedError

    def forgetful(x):
        x + 1  # noqa: B018

    assert [check(f).mark for f in (dots, documented, raising, lambda x: ...)] == ["☐"] * 4
    assert check(forgetful).mark == check(lambda x: x if x < 0 else None).mark == "✗"


def test_the_failing_line_is_quoted(quiz, tmp_path):
    path = tmp_path / "学生.py"
    path.write_text("def f(x):\n    y = x + 1\n    return y / 0\n", encoding="utf-8")
    names = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    assert quiz(lambda x: x, [1.0])(names["f"]).text.startswith("运行到 return y / 0 这一行时出错：ZeroDivisionError")


def test_equal_answers_in_another_dress_are_accepted():
    for got, want in (
        (torch.tensor([1.0]), (1.0,)), ((1, 2.0), torch.tensor([1.0, 2.0])), (torch.tensor(2.0), 2), (2.0, 2), (1.00001, 1.0),
        (torch.tensor([float("inf")]), torch.tensor([float("inf")])), (torch.tensor(True), True), ({"a": (1,)}, {"a": (1,)}), ("a", "a"),
    ):
        assert difference(got, want, 1e-4) is None, (got, want)


DIFFERENT = [
    (1.01, 1.0), (True, 1), (1, True), (None, 1.0), ((1,), (1, 2)), ({"a": 1}, {"b": 1}), ({"a": 1}, {"a": 2}), ("a", "b"), (1.0, "a"),
    (torch.tensor([1.0]), torch.tensor([float("inf")])), (1.0, float("-inf")),
    (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, 2.0])), (torch.ones(1, 2), torch.ones(2)), (torch.ones(2), torch.ones(2).double()),
    (torch.tensor([1.0]), 1.0), ((1.0, 0.0), torch.tensor([1.0, 1e-3])), ("a", torch.ones(1)),
    (torch.ones(1, dtype=torch.complex64) + 1j, torch.ones(1)), (((1,), (1, 2)), torch.ones(2, 2))]


def test_different_answers_are_told_apart():
    for got, want in DIFFERENT:
        assert difference(got, want, 1e-4), (got, want)


def test_html_is_escaped_and_plain_text_is_readable(quiz):
    bundle = quiz(lambda x: "<b>", [1.0])(lambda x: "<i>")._repr_mimebundle_()
    assert "&lt;i&gt;" in bundle["text/html"] and "<i>" not in bundle["text/html"]
    assert bundle["text/plain"] == "✗ 03.1 题\n  应为 '<b>'，你的是 '<i>'\n  这时的输入：x=1.0"


# ---- 两个版本 ----

CELL = 'def f(x):\n    if x:\n        # 答案\n        y = 1\n\n        return y\n        # 答案完\n\n\ngrade("03.1", f)'


def test_the_two_editions_keep_indentation_and_lose_the_markers():
    assert student_edition(CELL) == f'def f(x):\n    if x:\n        {BLANK}\n\n\ngrade("03.1", f)'
    assert solutions_edition(CELL) == 'def f(x):\n    if x:\n        y = 1\n\n        return y\n\n\ngrade("03.1", f)'
    assert solutions_edition('grade("02.4", None)  # 把 None 换成 "A"') == 'grade("02.4", "C")'
    assert student_edition('grade("02.4", None)') == 'grade("02.4", None)'


def test_no_answer_leaks_into_the_student_edition():
    for path in build.sources():
        text = path.read_text(encoding="utf-8")
        cells = [student_edition(cell.text) for cell in read_cells(path) if cell.code]
        assert not any(re.search(r"# 答案完?$", cell, re.M) for cell in cells), path.stem
        assert len(editions.ANSWER.findall(text)) == len(re.findall(r"# 答案$", text, re.M)) == "\n".join(cells).count(BLANK), path.stem
        for cell in cells:
            ast.parse(cell)


def test_solutions_are_built_beside_the_notebooks_and_nothing_is_recorded(tmp_path, monkeypatch):
    """真的执行一本：内核里没有 pytest 的环境变量，构建自己要关掉记录"""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "03_small.py").write_text(
        '# %% [markdown]\n# # 课程地图\n\n# %%\nfrom ddpm_edu.teach import grade, progress\n\n'
        '# %%\ngrade("02.4", None)\n\n# %%\nprogress()\n', encoding="utf-8")
    for name, heading in (("90_small", "术语表"), ("91_small", "第一格就报 No module named")):
        (tmp_path / "src" / f"{name}.py").write_text(f"# %% [markdown]\n# # {heading}\n", encoding="utf-8")
    for module in (build, books):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(build.__file__).parents[2]))
    monkeypatch.setenv("DDPM_EDU_PROGRESS", str(tmp_path / "记录.json"))
    for name in ("PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    build.main(["--solutions", "03"])
    cells = nbformat.read(tmp_path / "solutions" / "03_small.ipynb", as_version=4).cells
    cells = [cell for cell in cells if cell.cell_type == "code" and cell.id != TAG]
    assert cells[1].source == 'grade("02.4", "C")' and cells[1].outputs[0]["data"]["text/plain"].startswith("✓")
    assert "还没有记录" in cells[2].outputs[0]["data"]["text/plain"]
    assert not (tmp_path / "记录.json").exists() and not (tmp_path / "03_small.ipynb").exists()


def test_unknown_exercise_numbers_are_not_found():
    assert find("03.9") is None and isinstance(find("02.5"), Number) and find("99.1") is None


# ---- 给教师的表 ----

def test_the_syllabus_covers_the_course_and_its_wrong_answers_are_real():
    from ddpm_edu.authoring import syllabus

    assert len(syllabus.LESSONS) == 12 and syllabus.taught() == sorted(map(int, chapters()))
    assert all(syllabus.minutes(chapter) >= 20 for chapter in syllabus.taught())
    shown, asked = syllabus.discussion().text, set()
    for lesson in syllabus.LESSONS:
        assert len(lesson.wrong) >= 2 and lesson.ask
        for number, answer in lesson.wrong:
            assert int(number[:2]) in lesson.chapters and judge(number, answer).mark == "✗"
            assert judge(number, answer).text in shown
            asked.add(number)
    assert len(asked) >= 24 and len({lesson.ask for lesson in syllabus.LESSONS}) == 12
