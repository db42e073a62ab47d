"""course.py：戳记、路径、帮助；真正的安装由 .ci/run 走一遍"""
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.setenv("DDPM_EDU_VENV", str(tmp_path / "环境 一"))
    spec = importlib.util.spec_from_file_location("course_under_test", ROOT / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_first_call_installs_second_call_starts_at_once(course, monkeypatch):
    commands = []

    def fake_run(*command, **kwargs):
        commands.append([str(c) for c in command])
        return 0

    monkeypatch.setattr(course, "run", fake_run)
    course.ensure_environment(course.RUNTIME)
    assert any("pip" in c and "install" in c for c in commands)
    settings = json.loads((course.VENV / "share/jupyter/lab/settings/overrides.json").read_text(encoding="utf-8"))
    assert settings["@jupyterlab/translation-extension:plugin"]["locale"] == "zh_CN"
    assert settings["@jupyterlab/notebook-extension:tracker"]["codeCellConfig"]["lineWrap"] is True
    elsewhere = subprocess.run([course.PYTHON, "-c", "import ddpm_edu; print(ddpm_edu.__file__)"], cwd="/", capture_output=True, text=True)
    assert elsewhere.stdout.strip() == str(ROOT / "ddpm_edu" / "__init__.py")
    # 仓库的路径里有中文，系统的编码又不是 UTF-8
    (course.VENV / "课 程").mkdir()
    (course.VENV / "课 程" / "only_here.py").write_text("")
    monkeypatch.setattr(course, "ROOT", course.VENV / "课 程")
    course.make_package_importable()
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert subprocess.run([course.PYTHON, "-c", "import only_here"], cwd="/", env=plain).returncode == 0
    monkeypatch.setattr(course, "ROOT", ROOT)
    commands.clear()
    course.ensure_environment(course.RUNTIME)
    assert commands == []
    # 界面的设置改了，也要重新写进去
    monkeypatch.setitem(course.LAB_SETTINGS, "新设置", True)
    course.ensure_environment(course.RUNTIME)
    assert commands and "新设置" in json.loads((course.VENV / "share/jupyter/lab/settings/overrides.json").read_text(encoding="utf-8"))


def test_a_long_wait_says_so_now_and_then(course, monkeypatch, capsys):
    monkeypatch.setattr(course, "REMIND", 0.2)
    assert course.run(sys.executable, "-c", "import time; time.sleep(0.7)", waiting="还在装") == 0
    assert capsys.readouterr().out.count("还在装，已经 0 秒") >= 2
    assert course.run(sys.executable, "-c", "import time; time.sleep(0.5)") == 0 and not capsys.readouterr().out


def test_adding_the_test_requirements_does_not_announce_the_big_download_again(course, monkeypatch, capsys):
    monkeypatch.setattr(course, "run", lambda *command, **kwargs: 0)
    course.ensure_environment(course.RUNTIME)
    assert "1.5 GB" in capsys.readouterr().out
    course.ensure_environment(course.RUNTIME, course.TESTING)
    assert "补装" in (said := capsys.readouterr().out) and "1.5 GB" not in said


def test_interrupted_install_is_tried_again(course, monkeypatch):
    monkeypatch.setattr(course, "run", lambda *command, **kwargs: 1 if "install" in command else 0)
    with pytest.raises(SystemExit, match="PIP_INDEX_URL"):
        course.ensure_environment(course.RUNTIME)
    assert not list(course.VENV.glob(".installed-*"))


def test_arguments_are_passed_on(course, monkeypatch):
    commands = []
    monkeypatch.setattr(course, "ensure_environment", lambda *files: None)
    monkeypatch.setattr(course, "run", lambda *command, **kwargs: commands.append(command) or 0)
    course.lab(["--no-browser", "--port", "8899"])
    assert commands[-1][-3:] == ("--no-browser", "--port", "8899") and any(str(part).endswith(course.FIRST_PAGE) for part in commands[-1])
    assert (ROOT / course.FIRST_PAGE.removeprefix("/lab/tree/")).exists()
    assert "--LanguageServerManager.autodetect=False" in commands[-1]
    # 同一个选项给两次，JupyterLab 会拒绝启动
    course.lab(["--ServerApp.root_dir=别处"])
    assert [part for part in commands[-1] if "root_dir" in str(part)] == ["--ServerApp.root_dir=别处"]
    course.export(["别处"])
    assert commands[-1][1:] == ("-m", "ddpm_edu.teach.export", os.path.abspath("别处"))
    course.test(["-k", "ema"])
    assert commands[-1][-2:] == ("-k", "ema")
    commands.clear()
    course.test([])
    # 三部分各一次，没有失败了再试的
    units, books, pages = commands
    assert not any("--last-failed" in command for command in commands)
    assert units[-3:] == ("--ignore", course.BROWSER, "tests") and "--nbval" in books and books[-1] == "notebooks"
    # 跳过的要说明缺什么
    assert pages[-2:] == ("-rs", course.BROWSER)
    assert (ROOT / course.BROWSER).is_dir()


def test_any_failing_part_fails_the_whole_and_each_says_how_long_it_took(course, monkeypatch, capsys):
    monkeypatch.setattr(course, "ensure_environment", lambda *files: None)
    for failing in ("tests", "notebooks", course.BROWSER):
        monkeypatch.setattr(course, "run", lambda *command, **kwargs: int(command[-1] == failing))  # noqa: B023
        assert course.test([]) == 1
        assert re.fullmatch(r"单元测试 \d+ 秒，notebook \d+ 秒，浏览器 \d+ 秒\n", capsys.readouterr().out)


LAUNCHER = """
import sys
import course
course.ensure_environment = lambda *files: None
course.PYTHON = sys.executable
course.lab = lambda arguments: course.run(sys.executable, "-c", arguments[0])
sys.exit(course.main())
"""
# 像 JupyterLab 一样：收到 SIGTERM 先收尾再走
SERVER = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("收尾", flush=True), sys.exit(0)))
print("起来了", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows 没有 SIGTERM")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stopping_the_entrance_also_stops_what_it_started(how):
    command = [sys.executable, "-c", textwrap.dedent(LAUNCHER), "lab", SERVER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as entrance:
        assert entrance.stdout.readline() == "起来了\n"
        entrance.send_signal(how)
        # 子进程不走的话，管道不关，读不到头
        assert entrance.stdout.read() == "收尾\n"
    assert entrance.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[how]


def test_without_a_command_the_usage_is_shown():
    done = subprocess.run([sys.executable, str(ROOT / "course.py")], capture_output=True, text=True)
    assert done.returncode == 1 and "course.py lab" in done.stderr
