"""nbgrader 与 otter 给出的分数 → 与重判相同的一张表：一人一行，一题一列；小实验的分数写在说明里"""
import csv
import json
import re
from pathlib import Path

from ..judging import Judged
from ..regrade import Row

# exporter.py 写出的各列
COLUMNS = ("student", "assignment", "timestamp", "question", "score", "max_score")
NAME = re.compile(r"q(\d\d)_(\d+b?|lab)")
EXPORT = "nbgrader export --exporter ddpm_edu.classroom.assignment.exporter.QuestionExporter --to grades.csv"
TOTALS = "points-per-question"


def read_scores(path):
    """读分数：nbgrader 的 CSV（要用 exporter.py 的插件导出）、otter grade 的 final_grades.csv，或放着 otter run 的结果的文件夹

    返回 : [(学生, 题名, 得分, 满分, 交来的时间), ...]，还没有人评的，得分是 None
    异常 : 认不出、读不懂时 ValueError
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            return from_table(path, list(csv.DictReader(file)))
    found = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    return [score for file in found for score in from_results(file, path)]


def from_table(path, rows):
    columns = set(rows[0]) if rows else set()
    if columns >= set(COLUMNS):
        return [(row["student"], row["question"], number(row["score"]), float(row["max_score"]), row["timestamp"]) for row in rows]
    if "percent_correct" in columns:
        full = next((row for row in rows if row["file"] == TOTALS), {})
        return [(Path(row["file"]).stem, name, number(row[name]), float(full[name]), "")
                for row in rows if row is not full for name in row if NAME.fullmatch(name)]
    if "raw_score" in columns:
        raise ValueError(f"{path} 是 nbgrader 自带的导出，只有总分，没有各题；在课程的文件夹里改用：{EXPORT}")
    raise ValueError(f"{path} 认不出：要的是 {EXPORT} 写出的那一份，或 otter grade 写出的 final_grades.csv")


def number(text):
    return float(text) if text else None


def from_results(path, folder):
    """otter run 的一份结果；文件没有改过名（results.json）时，学生是它所在的文件夹"""
    try:
        tests = json.loads(path.read_text(encoding="utf-8"))["tests"]
        found = [(test["name"], float(test["score"]), float(test["max_score"])) for test in tests if NAME.fullmatch(test["name"])]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} 不是 otter run 的结果（results.json）：{type(error).__name__}") from None
    student = path.parent.name if path.stem == "results" and path.parent != folder else path.stem
    return [(student, *entry, "") for entry in found]


def to_rows(scores):
    """读来的分数 → [Row, ...]，按学生排好；满分记 ✓，不满记 ✗，没有交的没有

    异常 : 没有一道课程的题时 ValueError
    """
    rows = {}
    for student, name, score, full, _ in scores:
        if not (hit := NAME.fullmatch(name)):
            continue
        row, said = rows.setdefault(student, Row(student)), "待评" if score is None else f"{score:g}/{full:g}"
        if hit[2] == "lab":
            row.notes.append(f"第 {hit[1]} 章的小实验 {said}")
        else:
            done = score is not None and score >= full
            row.judged[f"{hit[1]}.{hit[2]}"] = Judged("✓" if done else "✗", "" if done else said)
    if not rows:
        raise ValueError("里面没有课程的题的分数；题的名字要像 q04_1")
    return [rows[student] for student in sorted(rows)]
