"""习题变成 nbgrader 与 otter 的作业，再变回来：不漏答案，一个字节不丢；它们给出的分数变成一张表"""
import builtins
import csv
import dis
import functools
import json
import re
from pathlib import Path

import nbformat
import pytest

from ddpm_edu.authoring.build import read_source
from ddpm_edu.authoring.editions import ANSWER, REFERENCE, solutions_edition, student_edition
from ddpm_edu.classroom.assignment import __main__ as assignment
from ddpm_edu.classroom.assignment import back, grades, nbgrader, otter
from ddpm_edu.classroom.assignment.answers import assert_correct
from ddpm_edu.classroom.assignment.questions import LAB, questions, setup
from ddpm_edu.teach.books import book, sources
from ddpm_edu.teach.exercises import Code, chapters, find

FORMATS = {"nbgrader": nbgrader, "otter": otter}
BOTH = pytest.mark.parametrize("kind", FORMATS)
CHAPTERS = [path for path in sources() if path.stem[:2] in chapters()]
POSTERIOR = book(4)


def pick(notebook, number, role):
    return next(cell for cell in notebook.cells if mark_of(cell).get("question") == number and mark_of(cell)["role"] == role)


def mark_of(cell):
    return cell.metadata.get("ddpm_edu", {})


@functools.cache
def as_file(kind, path):
    return nbformat.writes(FORMATS[kind].notebook(path))


def made(kind, path=POSTERIOR):
    """存成文件再读回来的作业"""
    return nbformat.reads(as_file(kind, path), as_version=4)


def cleared(notebook):
    """照两家的规矩去掉圈住的答案"""
    for cell in notebook.cells:
        cell.source = back.SOLUTION.sub(r"\1...", cell.source)
    return notebook


@BOTH
def test_every_chapter_comes_back_byte_for_byte_and_no_question_is_missing(kind):
    for path in CHAPTERS:
        assert back.to_source(made(kind, path)) == (path.stem, path.read_text(encoding="utf-8"), []), path.stem
        asked = [question.number for question in questions(path)]
        assert asked == [e.id for e in chapters()[path.stem[:2]]] + [LAB] * (path.stem[:2] != "16")


@BOTH
def test_the_editions_that_come_back_are_the_courses_own(kind, tmp_path):
    folder, notes = back.write_back(made(kind), tmp_path / "回 来")
    assert notes == [] and (folder / "src" / POSTERIOR.name).read_bytes() == POSTERIOR.read_text(encoding="utf-8").encode()
    for place, edition in ((folder, student_edition), (folder / "solutions", solutions_edition)):
        assert (place / "04_posterior.ipynb").read_text(encoding="utf-8") == nbformat.writes(read_source(POSTERIOR, edition)) + "\n"
    with pytest.raises(ValueError, match="已经有东西"):
        back.write_back(made(kind), tmp_path / "回 来")


@BOTH
def test_what_the_teacher_changed_comes_back_and_is_listed(kind):
    notebook = made(kind)
    pick(notebook, "04.1", "text").source += "\n\n补一句。"
    pick(notebook, "04.2", "answer").source = pick(notebook, "04.2", "answer").source.replace("sigma = ", "spread = sigma = ")
    pick(notebook, "04.4", "answer").source = 'answer_04_4 = "A"'
    pick(notebook, LAB, "answer").source = pick(notebook, LAB, "answer").source.replace("散布几乎都是", "散布大多是")
    notebook.cells = [cell for cell in notebook.cells if mark_of(cell).get("question") != "04.5"]
    place = notebook.cells.index(pick(notebook, "04.3", "answer"))
    own = "def f():\n    ### BEGIN HIDDEN TESTS\n    return 1\n    ### END HIDDEN TESTS"
    notebook.cells[place + 1:place + 1] = [nbformat.v4.new_markdown_cell("教师自己的一段"), nbformat.v4.new_code_cell(own)]
    with pytest.raises(ValueError, match="04.4 的答案已经去掉"):
        back.to_source(notebook)
    pick(notebook, "04.4", "answer").source = 'answer_04_4 = None\n# BEGIN SOLUTION\nanswer_04_4 = "A"\n# END SOLUTION'
    _, text, notes = back.to_source(notebook)
    assert notes == ["04.4：答案写在程序包的习题里，作业里改的没有带回来", "04.1：改过", "04.2：改过", "04.3：改过",
                     "04.5：作业里没有，去掉了", "小实验：改过"]
    was = POSTERIOR.read_text(encoding="utf-8")
    assert "#\n# 补一句。\n\n# %%" in text and "    # 答案\n    spread = sigma = " in text and "散布大多是" in REFERENCE.findall(jupytext_free(text))[0]
    assert "# 教师自己的一段" in text and "return 1" in ANSWER.findall(text)[-1][1] and "04.5" not in text
    # 题以外的部分、没有改的题，逐字节相同
    assert text[:text.index("### 04.1")] == was[:was.index("### 04.1")]
    assert text[text.index("### 04.4"):text.index("### 小实验")] == was[was.index("### 04.4"):was.index("# %% [markdown]\n# ### 04.5")] + "# %% [markdown]\n# "


def jupytext_free(text):
    return re.sub("^# ?", "", text, flags=re.M)


@BOTH
def test_no_answer_is_left_anywhere_in_what_the_students_get(kind):
    for path in CHAPTERS:
        given = nbformat.writes(cleared(made(kind, path)))
        # 第 16 章的题目里有坏代码，修好的那几行有的与它相同；开头那一格也取自正文
        shown = setup(path) + "".join(cell.text for question in questions(path) for cell in question.texts)
        for question in questions(path):
            text = question.cells[-1].text
            secret = text.partition("<!-- 参考答案 -->\n")[2] if question.number == LAB else "".join(hit[2] for hit in ANSWER.finditer(text))
            lines = [line.strip() for line in secret.splitlines() if len(line.strip()) > 25 and line.strip() not in shown]
            assert not [line for line in lines if json.dumps(line, ensure_ascii=False)[1:-1] in given], question.number
            if question.tail and not question.is_code:
                answer = json.dumps(f"{question.variable} = {json.dumps(find(question.number).answer)}")[1:-1]
                assert question.variable in given and answer not in given, question.number


def run_cells(notebook):
    """照次序运行各格，返回 {题号: 测试格的 AssertionError}；别的错照样抛"""
    space, failures = {}, {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        try:
            exec(cell.source, space)
        except AssertionError as error:
            failures[re.search(r'"(\d\d\.\d+b?)"', cell.source)[1]] = str(error)
    return failures


# 第 16 章另外要装模型、画图，由它自己的测试跑
@pytest.mark.parametrize("path", [path for path in CHAPTERS if path.stem[:2] in ("00", "04", "08", "12", "17")], ids=lambda path: path.stem)
def test_the_assignment_runs_alone_full_marks_for_the_answers_and_a_hint_for_blanks(path):
    assert run_cells(made("nbgrader", path)) == {}
    failures = run_cells(cleared(made("nbgrader", path)))
    assert list(failures) == [e.id for e in chapters()[path.stem[:2]]]
    assert all(text.startswith("☐ ") and "还没有做" in text for text in failures.values())


def test_every_name_an_exercise_uses_is_prepared():
    """每一章的开头那一格，连同题里的各格，没有一个名字没有来处"""
    for path in CHAPTERS:
        code = "\n".join(cell.source for cell in made("nbgrader", path).cells if cell.cell_type == "code")
        space = compile(code, path.stem, "exec")
        assert undefined(space) == set(), path.stem


def undefined(code):
    stored, loaded, pending = set(), set(), [code]
    while pending:
        part = pending.pop()
        pending += [constant for constant in part.co_consts if hasattr(constant, "co_code")]
        for step in dis.get_instructions(part):
            stored |= {step.argval} if step.opname == "STORE_NAME" else set()
            loaded |= {step.argval} if step.opname in ("LOAD_NAME", "LOAD_GLOBAL") else set()
    return loaded - stored - set(dir(builtins)) - {"__name__"}


def test_a_typical_mistake_fails_with_its_own_hint():
    for exercise in chapters()["04"]:
        for mistake in exercise.mistakes if isinstance(exercise, Code) else ():
            with pytest.raises(AssertionError, match=f"✗ {exercise.id} {re.escape(exercise.title)}\n提示：{re.escape(mistake.hint)}$"):
                assert_correct(exercise.id, mistake.function)
    with pytest.raises(AssertionError, match=re.escape(find("04.4").hints["A"])):
        assert_correct("04.4", "A")
    assert assert_correct("04.4", "B") is None


def test_nbgrader_cells_are_marked_and_worth_one_point_a_star():
    notebook = made("nbgrader")
    marks = [cell.metadata["nbgrader"] for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert len({mark["grade_id"] for mark in marks}) == len(marks) and all(re.fullmatch(r"[\w-]+", mark["grade_id"]) for mark in marks)
    assert all(set(mark) - {"points"} == {"schema_version", "grade_id", "grade", "solution", "locked", "task"} for mark in marks)
    worth = {mark["grade_id"]: mark["points"] for mark in marks if mark["grade"]}
    assert worth == {**{f"q04_{e.id[3:]}": e.stars for e in chapters()["04"]}, "q04_lab": 3}
    tests = [mark for mark in marks if mark["grade"] and not mark["solution"]]
    assert len(tests) == 5 and all(mark["locked"] for mark in tests)


def test_an_assignment_already_there_is_never_overwritten(tmp_path, capsys):
    out = tmp_path / "课 程"
    for kind in FORMATS:
        words = ["04", "--format", kind, "--out", str(out)]
        assert assignment.main(words) == 0
        written = next(file for file in out.rglob("*.ipynb") if "source" in str(file.relative_to(out)) or kind == "otter")
        written.write_text("改过", encoding="utf-8")
        assert assignment.main(words) == 2 and "教师改过的话会丢" in capsys.readouterr().err
        assert written.read_text(encoding="utf-8") == "改过"
        written.unlink()
    (out / "nbgrader_config.py").write_text("# 教师的", encoding="utf-8")
    assert assignment.main(["04", "--format", "nbgrader", "--out", str(out)]) == 0
    assert (out / "nbgrader_config.py").read_text(encoding="utf-8") == "# 教师的"


def test_bad_requests_get_one_sentence_and_write_nothing(tmp_path, capsys):
    (tmp_path / "坏.ipynb").write_text("{", encoding="utf-8")
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "别的.ipynb")
    (tmp_path / "总分.csv").write_text("assignment,student_id,raw_score\na,b,1\n", encoding="utf-8")
    (tmp_path / "别的.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (tmp_path / "记录.json").write_text('{"exercises": {}}', encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    for words, said in ((["93", "--format", "otter"], "第 93 章没有"), (["04"], "--format"), ([], "--format"), (["--back", "没有"], "没有 没有"),
                        (["04", "--back", "x"], "不要同时"), (["--back", "坏.ipynb"], "不是读得懂的"), (["--back", "别的.ipynb"], "记号"),
                        (["--back", "总分.csv"], "只有总分"), (["--back", "别的.csv"], "认不出"), (["--back", "记录.json"], "不是 otter run")):
        words = [str(tmp_path / word) if (tmp_path / word).suffix else word for word in words]
        assert assignment.main([*words, "--out", str(tmp_path / "出")]) == 2, words
        said_now = capsys.readouterr().err
        assert said in said_now and said_now.count("\n") == 1, said_now
    assert sorted(tmp_path.iterdir()) == before


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def as_table(path, out):
    assert assignment.main(["--back", str(path), "--out", str(out)]) == 0
    with (out / "progress.csv").open(newline="", encoding="utf-8-sig") as file:
        return {row["学生"]: row for row in csv.DictReader(file)}


def test_the_scores_of_both_become_the_table_of_regrade(tmp_path):
    """三种来源，同样的分数，同样的一张表"""
    scores = {"甲": {"q04_1": 1, "q04_4": 2}, "=乙": {"q04_1": 0, "q04_4": 2}}
    full = {"q04_1": 1, "q04_4": 2}
    long = [[who, "04_posterior", "2026-01-01 08:00:00", name, score, full[name]] for who, given in scores.items() for name, score in given.items()]
    lab = [["甲", "04_posterior", "", "q04_lab", 2.5, 3], ["=乙", "04_posterior", "", "q04_lab", "", 3]]
    wide = [["file", *full, "total_points_earned", "percent_correct", "grading_status"], [grades.TOTALS, 1, 2, 3, 1, "--"],
            *([f"in/{who}.ipynb", *given.values(), 3, 1, "Completed"] for who, given in scores.items())]
    for who, given in scores.items():
        (tmp_path / "results" / who).mkdir(parents=True)
        tests = [{"name": "Public Tests"}, *({"name": name, "score": score, "max_score": full[name]} for name, score in given.items())]
        (tmp_path / "results" / who / "results.json").write_text(json.dumps({"tests": tests}), encoding="utf-8")
    tables = [as_table(source, tmp_path / "出") for source in (write_csv(tmp_path / "grades.csv", [grades.COLUMNS, *long, *lab]),
                                                               write_csv(tmp_path / "final_grades.csv", wide), tmp_path / "results")]
    for table in tables:
        assert {who: (row["做对"], row["04.1"], row["04.4"]) for who, row in table.items()} == {
            "甲": ("2", "✓", "✓"), "'=乙": ("1", "✗", "✓")}
        assert "03.1" not in table["甲"] and table["'=乙"]["04.1 说明"] == "0/1"
    assert [tables[0][who]["说明"] for who in ("甲", "'=乙")] == ["第 04 章的小实验 2.5/3", "第 04 章的小实验 待评"]


def test_the_entry_script_makes_paths_absolute(monkeypatch, tmp_path):
    from .test_course import load_course

    course, commands = load_course(monkeypatch, tmp_path), []
    monkeypatch.setattr(course, "ensure_environment", lambda: None)
    monkeypatch.setattr(course, "run", lambda *command: commands.append(command))
    monkeypatch.chdir(tmp_path)
    course.assignment(["04", "--format", "otter", "--out", "出"])
    course.assignment(["--back", "改.ipynb"])
    assert commands[0][-4:] == ("--format", "otter", "--out", str(Path.cwd() / "出")) and commands[1][-1] == str(Path.cwd() / "改.ipynb")
