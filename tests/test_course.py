"""course.py：戳记、路径、编码、锁；真正的安装由 .ci/run 走一遍"""
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ddpm_edu.cli.requirements import read_requirements

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def course(tmp_path, monkeypatch):
    module = load_course(monkeypatch, tmp_path / "环境 一")
    # 装 pip 要好几秒，这里都用不着
    monkeypatch.setattr(module.venv, "create", lambda folder, with_pip: venv.EnvBuilder().create(folder))
    return module


def load_course(monkeypatch, folder):
    monkeypatch.setenv("DDPM_EDU_VENV", str(folder))
    spec = importlib.util.spec_from_file_location("course_under_test", ROOT / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_environment_never_takes_the_place_of_other_files(course, monkeypatch, tmp_path):
    (course.VENV / "照片").mkdir(parents=True)
    with pytest.raises(SystemExit, match="DDPM_EDU_VENV"):
        course.make_environment(course.VENV)
    assert (course.VENV / "照片").is_dir()
    # 建到一半的环境照样重建；设成空的等于没有设，不是当前目录
    broken = tmp_path / "环境 二"
    broken.mkdir()
    (broken / "pyvenv.cfg").touch()
    assert course.make_environment(broken).exists()
    assert load_course(monkeypatch, "").VENV == ROOT / ".venv"


def test_first_call_installs_what_was_tested_second_call_starts_at_once(course, monkeypatch):
    commands = []

    def fake_run(*command, **kwargs):
        commands.append([str(c) for c in command])
        return 0

    monkeypatch.setattr(course, "run", fake_run)
    course.ensure_environment()
    packages, torch = (c for c in commands if "install" in c)
    assert {"--require-hashes", "--no-deps", str(ROOT / "requirements.lock")} <= set(packages) and torch[-1] == course.TORCH
    assert commands[-1] == [str(course.PYTHON), "-c", course.COMPILE]
    settings = json.loads((course.VENV / "share/jupyter/lab/settings/overrides.json").read_text(encoding="utf-8"))
    assert settings["@jupyterlab/translation-extension:plugin"]["locale"] == "zh_CN"
    assert settings["@jupyterlab/notebook-extension:tracker"]["codeCellConfig"]["lineWrap"] is True
    elsewhere = subprocess.run([course.PYTHON, "-c", "import ddpm_edu; print(ddpm_edu.__file__)"], cwd="/", capture_output=True, text=True)
    assert elsewhere.stdout.strip() == str(ROOT / "ddpm_edu" / "__init__.py")
    # 仓库的路径里有中文，系统的编码又不是 UTF-8
    (course.VENV / "课 程").mkdir()
    (course.VENV / "课 程" / "only_here.py").write_text("")
    monkeypatch.setattr(course, "ROOT", course.VENV / "课 程")
    course.make_package_importable(course.PYTHON)
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert subprocess.run([course.PYTHON, "-c", "import only_here"], cwd="/", env=plain).returncode == 0
    monkeypatch.setattr(course, "ROOT", ROOT)
    commands.clear()
    course.ensure_environment()
    assert commands == []
    # 界面的设置改了，也要重新写进去
    monkeypatch.setitem(course.LAB_SETTINGS, "新设置", True)
    course.ensure_environment()
    assert commands and "新设置" in json.loads((course.VENV / "share/jupyter/lab/settings/overrides.json").read_text(encoding="utf-8"))


def test_what_pip_left_uncompiled_is_compiled(course, tmp_path):
    course.create_venv(course.VENV)
    package = next(course.VENV.rglob("site-packages")) / "包"
    package.mkdir()
    (package / "good.py").write_text("x = 1\n")
    (package / "old.py").write_text("print 'Python 2'\n")
    # 样例编译不过也不吭声
    done = subprocess.run([course.PYTHON, "-c", course.COMPILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name.partition(".")[0] for path in package.glob("__pycache__/*.pyc")] == ["good"]


def test_a_long_wait_says_so_now_and_then(course, monkeypatch, capsys):
    monkeypatch.setattr(course, "REMIND", 0.2)
    assert course.run(sys.executable, "-c", "import time; time.sleep(0.7)", waiting="还在装") == 0
    assert capsys.readouterr().out.count("还在装，已经 0 秒") >= 2
    assert course.run(sys.executable, "-c", "import time; time.sleep(0.5)") == 0 and not capsys.readouterr().out


def test_a_new_lock_is_installed_without_announcing_the_big_download_again(course, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(course, "run", lambda *command, **kwargs: 0)
    course.ensure_environment()
    assert "1.7 GB" in capsys.readouterr().out
    course.ensure_environment()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(course, "LOCK", tmp_path / "another.lock")
    course.LOCK.write_text("a==1\n")
    course.ensure_environment()
    assert "补装" in (said := capsys.readouterr().out) and "1.7 GB" not in said


def test_interrupted_install_is_tried_again(course, monkeypatch):
    monkeypatch.setattr(course, "run", lambda *command, **kwargs: 1 if "install" in command else 0)
    with pytest.raises(SystemExit, match="PIP_INDEX_URL"):
        course.ensure_environment()
    assert not (course.VENV / ".installed").exists()


def test_arguments_are_passed_on(course, monkeypatch):
    commands = []
    monkeypatch.setattr(course, "ensure_environment", lambda: None)
    monkeypatch.setattr(course, "run", lambda *command, **kwargs: commands.append(command) or 0)
    course.lab(["--no-browser", "--port", "8899"])
    assert commands[-1][-3:] == ("--no-browser", "--port", "8899") and any(str(part).endswith(course.FIRST_PAGE) for part in commands[-1])
    assert (ROOT / course.FIRST_PAGE.removeprefix("/lab/tree/")).exists()
    assert "--LanguageServerManager.autodetect=False" in commands[-1]
    assert "--ServerApp.kernel_websocket_connection_class=ddpm_edu.cli.lab.PromptConnection" in commands[-1]
    # 同一个选项给两次，JupyterLab 会拒绝启动
    course.lab(["--ServerApp.root_dir=别处"])
    assert [part for part in commands[-1] if "root_dir" in str(part)] == ["--ServerApp.root_dir=别处"]
    course.export(["别处"])
    assert commands[-1][1:] == ("-m", "ddpm_edu.authoring.site", os.path.abspath("别处"))
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


def test_lab_passes_on_what_the_kernel_says_at_once(monkeypatch):
    from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

    from ddpm_edu.cli.lab import PromptConnection

    handler, said = KernelWebsocketHandler.__new__(KernelWebsocketHandler), []
    handler.set_nodelay = said.append
    connection = PromptConnection.__new__(PromptConnection)
    connection.websocket_handler = handler
    monkeypatch.setattr(PromptConnection.__base__, "connect", lambda self: said.append("接着照旧"))
    connection.connect()
    assert said == [True, "接着照旧"]


def test_any_failing_part_fails_the_whole_and_each_says_how_long_it_took(course, monkeypatch, capsys):
    monkeypatch.setattr(course, "ensure_environment", lambda: None)
    for failing in ("tests", "notebooks", course.BROWSER):
        monkeypatch.setattr(course, "run", lambda *command, **kwargs: int(command[-1] == failing))  # noqa: B023
        assert course.test([]) == 1
        assert re.fullmatch(r"单元测试 \d+ 秒，notebook \d+ 秒，浏览器 \d+ 秒\n", capsys.readouterr().out)


LAUNCHER = """
import sys
import course
course.ensure_environment = lambda: None
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


SPEAKER = """
import sys
import course
course.VENV.mkdir(exist_ok=True)
course.make_environment = lambda folder, *installs: print(f"装在 {folder}", flush=True)
course.lab = lambda arguments: course.ensure_environment() or course.run(sys.executable, "-c", "print('孩子也说')")
sys.exit(course.main())
"""


@pytest.mark.parametrize("plain", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["cp1252", "ascii"])
def test_no_encoding_of_the_system_stops_the_entrance(plain, tmp_path):
    folder = tmp_path / "课 程"
    folder.mkdir()
    for name in ("course.py", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    (folder / "speaker.py").write_text(SPEAKER, encoding="utf-8")
    given = {name: value for name, value in os.environ.items() if name not in ("PYTHONUTF8", "DDPM_EDU_VENV")}
    done = subprocess.run([sys.executable, "speaker.py", "lab"], cwd=folder, env={**given, **plain}, capture_output=True)
    assert done.stdout.decode("utf-8").splitlines() == [f"装在 {folder / '.venv'}", "孩子也说"], done.stderr.decode("utf-8", "replace")


# ---- 锁 ----

def locked(**environment):
    """在一种环境里 requirements.lock 会装的 {名字: 版本}；每一项都有摘要"""
    packages, text = {}, (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for line, hashes in re.findall(r"^(\w.*?) \\\n((?: .*\n)+)", text, re.M):
        requirement = Requirement(line)
        assert re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", hashes), line
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in packages
            (specifier,) = requirement.specifier
            packages[requirement.name] = specifier.version
    assert "://" not in text and packages
    return packages


def plain_name(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def ranges():
    return [Requirement(line) for name in ("requirements.txt", "tests/requirements.txt") for line in read_requirements(ROOT / name).values()]


def test_the_lock_fits_the_ranges_for_every_python_and_system(course):
    systems = {"linux": ("posix", "Linux"), "darwin": ("posix", "Darwin"), "win32": ("nt", "Windows")}
    for (system, (os_name, platform)), minor in itertools.product(systems.items(), range(10, 14)):
        found = locked(sys_platform=system, os_name=os_name, platform_system=platform, python_version=f"3.{minor}", python_full_version=f"3.{minor}.0")
        found["torch"] = Requirement(course.TORCH).specifier
        for requirement in ranges():
            version = found[plain_name(requirement.name)]
            assert requirement.specifier.contains(str(version).removeprefix("==")), (system, minor, requirement)


def test_the_lock_names_everything_that_will_be_imported():
    """顺着依赖走到底：少一个，--no-deps 就装不全"""
    found, queue = set(locked()), [str(requirement) for requirement in ranges()]
    seen = set()
    while queue:
        asked = Requirement(queue.pop())
        if (name := plain_name(asked.name)) in seen:
            continue
        seen.add(name)
        for needed in map(Requirement, metadata.requires(name) or []):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in asked.extras or {""}):
                queue += [str(needed)] if not re.match("nvidia|cuda|triton", needed.name) else []
    assert seen - found == {"torch"}


def test_the_lock_keeps_torch_and_its_libraries_out(course, monkeypatch, tmp_path):
    monkeypatch.setattr(course, "LOCK", tmp_path / "requirements.lock")
    raw = "".join(f"{line} \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n" for line in (
        "tomli==2", "torch==2.13.0", "torchmetrics==1.9", "triton==3 ; sys_platform == 'linux'", "nvidia-cublas==13", "cuda-toolkit==13", "wcwidth==1"))

    def fake_run(*command, **kwargs):
        commands.append([str(c) for c in command])
        if "compile" in command:
            course.LOCK.write_text(raw, encoding="utf-8")
        return 0

    commands = []
    monkeypatch.setattr(course, "run", fake_run)
    assert course.lock(["--upgrade"]) == 0
    assert {"--universal", "--generate-hashes", "--upgrade", str(ROOT / "requirements.txt")} <= set(commands[-1])
    written = course.LOCK.read_text(encoding="utf-8")
    assert re.findall(r"^\w+", written, re.M) == ["tomli", "torchmetrics", "wcwidth"] and written.count("--hash") == 6
    monkeypatch.setattr(course, "run", lambda *command, **kwargs: 1)
    assert course.lock([]) == 1 and course.LOCK.read_text(encoding="utf-8") == written


def test_newest_reports_what_changed_and_whether_it_broke(course, monkeypatch, capsys):
    assert course.newer_than_locked([
        {"name": "Jinja2", "version": locked()["jinja2"]}, {"name": "jupyter_core", "version": "99"}, {"name": "torch", "version": "2.13.0+cpu"},
        {"name": "pip", "version": "1"}]) == [f"jupyter-core {locked()['jupyter-core']} → 99"]
    commands = []
    monkeypatch.setattr(course, "run", lambda *command, **kwargs: commands.append(list(map(str, command))) or int("pytest" in command))
    monkeypatch.setattr(course.subprocess, "run", lambda *args, **kwargs: subprocess.CompletedProcess(args, 0, "[]"))
    assert course.newest(["-k", "ema"]) == 1 and commands[-1][-2:] == ["-k", "ema"] and "没有全部通过" in capsys.readouterr().out
    (install,) = (c for c in commands if "install" in c)
    assert str(ROOT / "requirements.txt") in install and "requirements.lock" not in str(install)
    assert not Path(commands[-1][0]).exists()


def test_without_a_command_the_usage_is_shown():
    done = subprocess.run([sys.executable, str(ROOT / "course.py")], capture_output=True, text=True)
    assert done.returncode == 1 and "course.py lab" in done.stderr
