"""习题的进度：记在哪里，什么时候记"""
import json
import sys

import pytest

from ddpm_edu.teach import diary, progress
from ddpm_edu.teach.grading import grade


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """打开记录，写到临时文件"""
    path = tmp_path / "学生 甲" / "exercises.json"
    monkeypatch.setenv("DDPM_EDU_PROGRESS", str(path))
    monkeypatch.setattr(diary, "OFF", ())
    return path


def test_gradings_are_recorded_until_the_first_success(journal, capsys):
    grade("02.4", None)
    assert not journal.exists()
    for answer in ("A", "B", "C", "A", None):
        grade("02.4", answer)
    grade("02.5", "B")
    saved = diary.read_record(journal)
    assert {n: (e["mark"], e["tries"]) for n, e in saved.items()} == {"02.4": ("✓", 3), "02.5": ("✗", 1)}
    assert "第 02 章 ☐☐☐✓✗ 1/5" in repr(progress()) and str(journal) in repr(progress())


@pytest.mark.parametrize("name", diary.OFF)
def test_nothing_is_recorded_or_read_while_building_or_testing(journal, monkeypatch, name):
    assert not diary.is_off()
    diary.record("02.4", "✓")
    monkeypatch.setattr(diary, "OFF", (name,))
    monkeypatch.setenv(name, "1")
    diary.record("02.5", "✓")
    assert list(diary.read_record(journal)) == ["02.4"]
    assert "✓" not in repr(progress()) and str(journal) not in repr(progress())


def test_a_place_that_cannot_be_written_is_not_the_students_problem(tmp_path, journal, monkeypatch, capsys):
    (tmp_path / "文件").write_text("")
    monkeypatch.setenv("DDPM_EDU_PROGRESS", str(tmp_path / "文件" / "里面.json"))
    grade("02.4", "C")
    assert capsys.readouterr().out.startswith("✓ 02.4")


def test_a_broken_record_is_started_anew(journal):
    journal.parent.mkdir()
    for text in ("", "{", "[]", '{"exercises": 3}', '{"exercises": {"02.4": 1}}', '{"exercises": {"02.4": {"mark": "!"}}}'):
        journal.write_text(text, encoding="utf-8")
        diary.record("02.4", "✓")
        assert diary.read_record(journal)["02.4"]["tries"] == 1, text


@pytest.mark.parametrize(("platform", "variable", "inside"), [
    ("win32", "APPDATA", "ddpm_edu"), ("linux", "XDG_DATA_HOME", "ddpm_edu"), ("darwin", "HOME", "Library")])
def test_the_record_lives_in_the_users_data_folder(journal, monkeypatch, tmp_path, platform, variable, inside):
    monkeypatch.delenv("DDPM_EDU_PROGRESS")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert diary.record_path().name == "exercises.json" and diary.record_path().relative_to(tmp_path).parts[0] == inside


def test_the_record_is_plain_json(journal):
    diary.record("02.4", "✓")
    assert json.loads(journal.read_text(encoding="utf-8"))["exercises"]["02.4"]["mark"] == "✓"


def test_a_record_from_before_the_chapters_were_reordered_keeps_its_marks(journal):
    journal.parent.mkdir()
    entry = {"mark": "✓", "tries": 1, "time": "2026-01-01"}
    journal.write_text(json.dumps({"exercises": {"03.4": entry, "05.2": entry, "15.19b": entry}}), encoding="utf-8")
    diary.record("05.2", "✗")
    found = {number: saved["mark"] for number, saved in diary.read_record(journal).items()}
    assert found == {"03.4": "✓", "04.2": "✓", "16旧.19b": "✓", "05.2": "✗"}
    # 找 bug 的一章重出过题：旧的病例留着，不算做过今天的同号题
    journal.write_text(json.dumps({"numbering": 2, "exercises": {"05.2": entry, "16.1": entry}}), encoding="utf-8")
    diary.record("16.1", "✗")
    found = {number: saved["mark"] for number, saved in diary.read_record(journal).items()}
    assert found == {"05.2": "✓", "16旧.1": "✓", "16.1": "✗"}
