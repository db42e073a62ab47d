"""坏输入当场说清：bad_inputs.py 的总表逐项试，真的进程也试几次"""
import ast
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from .bad_inputs import CASES, COMMAND_LINE, complaints
from .program import run

ROOT = Path(__file__).resolve().parents[1]


def python(*arguments, cwd, **environment):
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, encoding="utf-8", errors="replace",
                          env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment})


def try_all(cases, tmp_path, monkeypatch, tally):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    failures = []
    for i, case in enumerate(cases):
        (tmp_path / str(i)).mkdir()
        failures += [(case.title, found) for found in complaints(case, tmp_path / str(i))][:1]
    print(*failures, sep="\n")
    tally(len(cases) - len(failures), len(cases))


def test_bad_constructor_arguments_name_parameter_value_and_rule(tmp_path, monkeypatch, tally):
    try_all(CASES["构造函数"], tmp_path, monkeypatch, tally)


def test_bad_batches_are_explained(tmp_path, monkeypatch, tally):
    try_all(CASES["调用"], tmp_path, monkeypatch, tally)


def test_bad_files_are_explained(tmp_path, monkeypatch, tally):
    try_all(CASES["文件"], tmp_path, monkeypatch, tally)


def test_mistakes_on_the_command_line_exit_2_with_one_sentence(tmp_path, monkeypatch, amount, tally):
    try_all(CASES[COMMAND_LINE][::amount(8, 1)], tmp_path, monkeypatch, tally)


def test_no_check_is_an_assert_that_python_dash_o_would_drop():
    for path in (ROOT / "ddpm_edu").rglob("*.py"):
        assert not [node.lineno for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Assert)], path


MISTAKES = {
    "v_posterior 应为 [0, 1] 内的数，得到 3.0": ["fit", "--config", "digits", "--model.v_posterior=3"],
    "还缺 --out": ["sample", "--ckpt", "digits"],
    "多出来 '照片'；路径里有空格要加引号": ["fit", "--config", "folder", "--data.root", "我的", "照片"],
    "你是想写 model.timesteps 吗": ["fit", "--config", "digits", "--model.timestep=3"],
}


def test_a_real_process_says_one_sentence(tmp_path, amount, tally):
    chosen, passed = list(MISTAKES)[:amount(1, 3)], 0
    for words in chosen:
        done = run("ddpm_edu", *MISTAKES[words], cwd=tmp_path)
        said = [line for line in done.stderr.splitlines() if line.startswith("错误：")]
        passed += done.returncode == 2 and len(said) == 1 and words in said[0] and "Traceback" not in done.stderr and not list(tmp_path.iterdir())
    tally(passed, len(chosen))


@pytest.fixture
def plain_ascii(tmp_path):
    """到处都有的、不是 UTF-8 的环境；课程与它的依赖都在有中文的路径下"""
    places = [tmp_path / "课 程", tmp_path / "环 境"]
    for place, real in zip(places, (ROOT, sysconfig.get_path("purelib"))):
        place.symlink_to(real, target_is_directory=True)
    return dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONPATH=os.pathsep.join(map(str, places)))


# 这是从零起的 python -m ddpm_edu；别处真的进程都由 program.py 起
def test_another_encoding_reads_and_writes_chinese(tmp_path, plain_ascii, amount, tally):
    (tmp_path / "配置.yaml").write_text("# 步数\ntrainer: {max_steps: 7}\nmodel: {monitor: 损失, learning_rate: 1e-4}\n", encoding="utf-8")
    parsed = python("-m", "ddpm_edu", "fit", "--config", "digits", "--config", "配置.yaml", "--print_config", cwd=tmp_path, **plain_ascii)
    passed = [all(words in parsed.stdout for words in ("max_steps: 7", "learning_rate: 0.0001", r"\u635f\u5931"))]
    if amount(False, True):
        python("-m", "ddpm_edu", "sample", "--ckpt", "digits", "--out", "图/甲.png", "-n", "1", "--steps", "1", cwd=tmp_path, **plain_ascii)
        passed.append((tmp_path / "图" / "甲.png").exists())
    tally(sum(passed), len(passed))


def test_a_chinese_path_read_as_ascii_says_what_to_set(tmp_path, plain_ascii):
    done = python("-c", "from ddpm_edu import UNet", cwd=tmp_path, **plain_ascii)
    assert "PYTHONUTF8=1" in done.stderr.splitlines()[-1].encode().decode("unicode_escape")
