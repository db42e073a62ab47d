"""能安装的程序包：轮子里的文件一个不少，命令 ddpm-edu 就是 python -m ddpm_edu；一处写着的要求，到处读的都是它"""
import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from ddpm_edu.authoring import hosting
from ddpm_edu.cli import console
from ddpm_edu.cli.requirements import installed_version, plain_name, read_requirements, release

from . import program

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """不联网：另起一个进程，用测试环境里的 setuptools 造"""
    if release(installed_version("setuptools") or "0") < (77,):
        pytest.skip("造轮子要 setuptools 77 以上，这个环境里没有")
    folder = tmp_path_factory.mktemp("轮 子")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "ddpm_edu", folder / "ddpm_edu", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-W", "error::DeprecationWarning:setuptools", "-c", code, folder], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / done.stdout.splitlines()[-1])


def test_the_wheel_holds_every_file_of_the_package(wheel):
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ddpm_edu").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    packed = {name for name in wheel.namelist() if name.startswith("ddpm_edu/")}
    assert here == packed
    # 程序里读的几样：权重、卡片、随包的图、配置、要求、探针
    for name in ("pretrained/mnist.safetensors", "pretrained/mnist.json", "pretrained/mnist_walk.png", "configs/digits.yaml", "requirements.txt",
                 "cli/probe.py", "original/tables/__init__.py"):
        assert f"ddpm_edu/{name}" in packed, name


def test_the_wheel_asks_for_ranges_and_gives_the_command(wheel):
    (info,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    described = message_from_string(wheel.read(f"{info}/METADATA").decode("utf-8"))
    asked = {Requirement(line).name: Requirement(line) for line in described.get_all("Requires-Dist")}
    assert set(asked) == {Requirement(line).name for line in read_requirements().values()}
    # 定死一个版本，就会换掉镜像里配好的 torch
    assert all("==" not in str(one.specifier) for one in asked.values()) and asked["torch"].specifier.contains("2.11.0")
    assert not {"torchvision", "jupyterlab"} & set(asked)
    assert "ddpm-edu = ddpm_edu.cli.console:main" in wheel.read(f"{info}/entry_points.txt").decode()


def sample_a_few():
    sys.argv = ["ddpm-edu", "sample", "--ckpt", "digits", "--num", "2", "--steps", "2", "--out", "x.png"]
    sys.exit(console.main())


def test_the_command_is_the_module(tmp_path):
    done = program.run(sample_a_few, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "x.png").exists(), done.stderr


def test_help_names_what_lightning_does_not_know(tmp_path):
    done = program.run("ddpm_edu", "--help", cwd=tmp_path)
    assert done.returncode == 0 and all(word in done.stdout for word in ("fit", "sample", "evaluate", "convert"))


def imported(path):
    """一个文件导入的第三方包"""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = {alias.name.partition(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = {node.module.partition(".")[0]}
        yield from names - {*sys.stdlib_module_names, "ddpm_edu"}


def test_every_import_of_the_package_is_asked_for():
    """程序包导入的第三方，不是要求里的，就是它们必带的；编书用的，由被查的环境运行的探针，nbgrader 与 JupyterLab 载入的插件不算"""
    asked, course = set(read_requirements()), read_requirements(ROOT / "requirements.txt")
    assert asked < set(course) and set(course) - asked == {"jupyterlab", "jupyterlab-language-pack-zh-cn", "jsonschema"}
    queue, brought = list(asked), set()
    while queue:
        if (name := queue.pop()) not in brought:
            brought.add(name)
            needed = map(Requirement, metadata.requires(name) or []) if name != "torch" else []
            queue += [plain_name(one.name) for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    files = [path for path in (ROOT / "ddpm_edu").rglob("*.py") if "authoring" not in path.parts and path.name not in ("probe.py", "exporter.py", "lab.py")]
    providers = metadata.packages_distributions()
    missing = {(path.name, name) for path in files for name in imported(path) if not {plain_name(p) for p in providers.get(name, [name])} & brought}
    assert not missing


# ---- 仓库的地址，只写在 pyproject.toml ----

def test_the_address_is_written_in_one_place(tmp_path):
    text, file = (ROOT / "pyproject.toml").read_text(encoding="utf-8"), tmp_path / "pyproject.toml"
    file.write_text(re.sub(r"^# (?=\[project.urls\]|Repository)", "", text, flags=re.M), encoding="utf-8")
    assert hosting.repository(file) == "https://github.com/所有者/仓库" and hosting.repository(tmp_path / "没有") == ""
    file.write_text('[project.urls]\nRepository = "https://git.example/甲/乙/"\n', encoding="utf-8")
    assert hosting.repository(file) == "https://git.example/甲/乙"


def test_badges_are_built_from_the_address():
    assert hosting.open_links("") == ""
    links = hosting.open_links("https://github.com/someone/ddpm")
    assert "https://colab.research.google.com/github/someone/ddpm/blob/main/notebooks/00_quickstart.ipynb" in links
    assert "kernels/welcome?src=https://github.com/someone/ddpm/blob/main/notebooks/00_quickstart.ipynb" in links and "codespaces.new/someone/ddpm" in links
    elsewhere = hosting.open_links("https://git.example/someone/ddpm")
    assert "colab" not in elsewhere and "git clone https://git.example/someone/ddpm" in elsewhere


def test_readme_shows_the_badges_exactly_when_there_is_an_address():
    readme, links = (ROOT / "README.md").read_text(encoding="utf-8"), hosting.open_links(hosting.repository())
    assert links in readme, f"README 里应有这一行：{links}"
    assert bool(links) == ("colab.research.google.com" in readme or "在云端打开　" in readme)


# ---- 仓库周围的文件 ----

def test_the_files_around_the_repository_are_valid():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["authors"] == [{"name": "逐行读懂 DDPM 的作者们"}]
    version = re.search(r'__version__ = "(.+)"', (ROOT / "ddpm_edu" / "__init__.py").read_text(encoding="utf-8"))[1]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["version"] == version and f"## [{version}]" in changes and "## [未发布]" in changes
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert "python course.py" in container["postCreateCommand"]
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [form.stem for form in forms] == ["1-erratum", "2-bug", "config"]
    for form in forms[:2]:
        told = yaml.safe_load(form.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(told) and all(part["type"] == "markdown" or part["id"] for part in told["body"])


def test_the_workflow_uses_the_commands_of_the_reader():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert any(command.startswith("python course.py export") for command in commands)
    for command in commands:
        for name in re.findall(r"course\.py (\w+)", command):
            assert f"python course.py {name} " in (ROOT / "course.py").read_text(encoding="utf-8"), name


def test_every_chapter_has_an_english_abstract():
    text = (ROOT / "docs" / "abstracts.md").read_text(encoding="utf-8")
    told = re.findall(r"^## (\d\d) · \[(.+?)\]\(\.\./notebooks/(\w+)\.ipynb\)\n\n(.+?)\n", text, re.M)
    books = sorted(path.stem for path in (ROOT / "notebooks" / "src").glob("[0-9][0-9]_*.py"))
    assert [stem for _, _, stem, _ in told] == books
    for number, title, stem, abstract in told:
        assert stem.startswith(number) and title
        assert 2 <= len(re.findall(r"[.?!](?: |$)", abstract)) <= 3 and not re.search(r"[\u4e00-\u9fff]", abstract), number
