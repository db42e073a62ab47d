"""nbgrader 与 otter 自己的命令：没有做的不通过，答案得满分，典型的错恰好扣它的分，分数收得回来

这两家的包不进课程的锁；没有装就跳过，怎样装写在跳过的理由里
"""
import csv
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from ddpm_edu.classroom.assignment import __main__ as assignment

ROOT = Path(__file__).resolve().parents[1]
NAME = "04_posterior"
INSTALL = f"{sys.executable} -m pip install -r tests/graders.txt"
WRONG = {"04.2": (" * (t > 0)", ""), "04.4": ('"B"', '"A"')}
HINTS = ("t=0 的样本也加了噪声", "几何平均不会超过算术平均")


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"没有装 {package}；要跑这一项：{INSTALL}")


def run(*command, cwd, succeeds=True):
    # nbgrader 自己要在 PATH 里找 alembic
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", *map(str, command)], cwd=cwd, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert succeeds == (done.returncode == 0), done.stdout + done.stderr
    return done.stdout + done.stderr


def hand_in(teacher, given, target, mistakes):
    """学生的一份：发下来的 notebook，填上教师那一份里的答案，照 mistakes 改错"""
    answers = {}
    for cell in nbformat.read(teacher, as_version=4).cells:
        mark = cell.metadata.get("ddpm_edu", {})
        if mark.get("role") == "answer":
            text = re.sub(r"^ *#+ (?:BEGIN|END) SOLUTION.*\n?", "", cell.source, flags=re.M)
            answers[mark["question"]] = text.replace(*mistakes.get(mark["question"], ("", "")))
    notebook = nbformat.read(given, as_version=4)
    for cell in notebook.cells:
        mark = cell.metadata.get("ddpm_edu", {})
        if mark.get("role") == "answer":
            assert cell.source != answers[mark["question"]]
            cell.source = answers[mark["question"]]
    target.parent.mkdir(parents=True)
    nbformat.write(notebook, target)


def table(scores, out):
    assert assignment.main(["--back", str(scores), "--out", str(out)]) == 0
    with (out / "progress.csv").open(newline="", encoding="utf-8-sig") as file:
        return {row["学生"]: [row[f"04.{k}"] for k in range(1, 6)] for row in csv.DictReader(file)}


@needs("nbgrader")
def test_nbgrader_releases_grades_and_exports(tmp_path):
    course = tmp_path / "课 程"
    assert assignment.main(["04", "--format", "nbgrader", "--out", str(course)]) == 0
    run("nbgrader", "generate_assignment", NAME, cwd=course)
    teacher, given = (course / part / NAME / f"{NAME}.ipynb" for part in ("source", "release"))
    for name, mistakes in (("full", {}), ("错", WRONG)):
        hand_in(teacher, given, course / "submitted" / name / NAME / given.name, mistakes)
    # 没有做的：五题都不通过，小实验没有写
    told = run("nbgrader", "validate", given, cwd=course)
    assert told.count("AssertionError: ☐ 04.") == 5 and "You did not provide a response" in told
    run("nbgrader", "autograde", NAME, cwd=course)
    run("nbgrader", "export", "--to", "total.csv", cwd=course)
    with (course / "total.csv").open(newline="", encoding="utf-8") as file:
        assert {row["student_id"]: (row["score"], row["max_score"]) for row in csv.DictReader(file)} == {"full": ("11.0", "14.0"), "错": ("7.0", "14.0")}
    run("nbgrader", "export", "--exporter", "ddpm_edu.classroom.assignment.exporter.QuestionExporter", "--to", "grades.csv", cwd=course)
    assert table(course / "grades.csv", tmp_path / "出") == {"full": ["✓"] * 5, "错": ["✓", "✗", "✓", "✗", "✓"]}
    graded = (course / "autograded" / "错" / NAME / given.name).read_text(encoding="utf-8")
    assert all(hint in graded for hint in HINTS)


@needs("otter")
def test_otter_assigns_and_grades(tmp_path):
    assert assignment.main(["04", "--format", "otter", "--out", str(tmp_path / "作 业")]) == 0
    folder = tmp_path / "作 业" / NAME
    # assign 先拿教师的答案批改一遍：有一题不满分，它就失败
    run("otter", "assign", f"{NAME}.ipynb", "dist", cwd=folder)
    given, (package,) = folder / "dist" / "student" / f"{NAME}.ipynb", (folder / "dist" / "autograder").glob("*.zip")
    hand_in(folder / f"{NAME}.ipynb", given, folder / "submitted" / f"{NAME}.ipynb", WRONG)
    for student, notebook in (("空", given), ("错", folder / "submitted" / f"{NAME}.ipynb")):
        (folder / "results" / student).mkdir(parents=True)
        told = run("otter", "run", "-a", package, "-o", folder / "results" / student, notebook, cwd=folder)
        assert {"空": "0.000 / 11.000", "错": "7.000 / 11.000"}[student] in told
    assert table(folder / "results", tmp_path / "出") == {"空": ["✗"] * 5, "错": ["✓", "✗", "✓", "✗", "✓"]}
    written = (folder / "results" / "错" / "results.json").read_text(encoding="utf-8").encode().decode("unicode_escape")
    assert all(hint in written for hint in HINTS)
