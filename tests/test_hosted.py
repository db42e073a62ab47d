"""云端的第一格：在两个假的镜像里真的运行 pip，不联网；镜像里原有的文件一个字节也不变"""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddpm_edu.authoring import build, hosting
from ddpm_edu.cli.requirements import read_requirements

from .fake_env import FakeEnv, make_wheel, torch_module

ROOT = Path(__file__).resolve().parents[1]
# 这几样镜像里有；numpy 是旧的，比它新的会让别的包坏掉
PREINSTALLED = {"numpy": "1.26.4", "pillow": "11.0", "tqdm": "4.67", "requests": "2.32", "urllib3": "2.3", "filelock": "3.20", "matplotlib": "3.10"}
PAIRS = {"合范围的 torch": ("2.11.0+cu126", "0.26.0"), "比要求旧的 torch": ("2.6.0+cu124", "0.21.0")}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """本地的“索引”：缺的包都有，更新的 torch、numpy 也摆着"""
    folder = tmp_path_factory.mktemp("索引")
    for line in read_requirements().values():
        name, version = line.partition(">=")[0].partition("[")[0], line.partition(">=")[2].partition(",")[0]
        if name not in PREINSTALLED and name not in ("torch", "pytorch-lightning"):
            make_wheel(folder, name, version)
    for name, version in (("torch", "2.13.0"), ("torchvision", "0.28.0"), ("numpy", "2.4.0")):
        make_wheel(folder, name, version, code="raise RuntimeError('换掉了')")
    make_wheel(folder, "pytorch-lightning", "2.6.6", ["torch>=2.1", "numpy"])
    # 新的一版要新的 numpy：没有约束，pip 会选它，并且换掉 numpy
    make_wheel(folder, "pytorch-lightning", "2.6.8", ["torch>=2.1", "numpy>=2.2"])
    return folder


@pytest.fixture(params=PAIRS.values(), ids=PAIRS)
def image(request, tmp_path):
    """云端的镜像：torch 与 torchvision 是一对，没有课程的包"""
    torch, torchvision = request.param
    env = FakeEnv(tmp_path / "镜 像").lend_pip().add("torch", torch, torch_module(torch))
    env.add("torchvision", torchvision, f"import torch\nassert torch.__version__ == {torch!r}\n", [f"torch=={torch.partition('+')[0]}"])
    for name, version in PREINSTALLED.items():
        env.add(name, version, "")
    env.torch = torch
    return env


def run_cell(env, folder, shelf, address=""):
    """在 folder 里运行第一格，再导入 torchvision 与课程的包"""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    settings |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": shelf.as_uri(), "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    code = hosting.first_cell(address) + "\nimport torchvision, ddpm_edu, pytorch_lightning, zhplot"
    return subprocess.run([env.python, "-c", code], cwd=folder, env=settings, capture_output=True, encoding="utf-8")


def test_what_was_there_is_untouched_and_what_was_missing_is_there(image, shelf):
    before = image.installed()
    done = run_cell(image, ROOT / "notebooks", shelf)
    assert done.returncode == 0, done.stdout + done.stderr
    after = image.installed()
    assert {path: after.get(path) for path in before} == before
    names = {path.parts[0].partition("-")[0] for path in after} - {path.parts[0].partition("-")[0] for path in before}
    assert {"pytorch_lightning", "zhplot", "jsonargparse", "safetensors"} <= names
    # 旧的 torch 说一句，不换
    assert ("torch>=2.10,<3（这里是 2.6.0+cu124）" in done.stdout) == image.torch.startswith("2.6")
    # 再运行一次什么也不做，别处的 notebook 也找得到课程的包
    again = run_cell(image, image.folder, shelf)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "") and image.installed() == after


def test_where_it_imports_nothing_happens(tmp_path):
    code = "import sys; before = set(sys.modules)\n" + hosting.first_cell("https://git.example/x") + "\nassert 'subprocess' not in set(sys.modules) - before"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr, list(tmp_path.iterdir())) == (0, "", "", [])


def test_a_lone_notebook_fetches_the_package_from_the_address(tmp_path, monkeypatch):
    """假的 pip 记下被要求装什么"""
    env, shelf = FakeEnv(tmp_path / "镜像"), tmp_path
    (env.site / "pip.py").write_text("import json, sys; open('asked.json', 'w').write(json.dumps(sys.argv[1:])); sys.exit(1)")
    done = run_cell(env, tmp_path, shelf, "https://git.example/x")
    assert done.returncode != 0
    assert json.loads((tmp_path / "asked.json").read_text()) == ["install", "-q", "--no-deps", "git+https://git.example/x"]
    # 地址还没有写
    done = run_cell(env, tmp_path, shelf)
    assert "把整个仓库取来" in done.stderr


@pytest.mark.parametrize("image", [PAIRS["合范围的 torch"]], indirect=True)
def test_no_network_is_said_in_one_sentence(image, tmp_path):
    before = image.installed()
    done = run_cell(image, ROOT / "notebooks", tmp_path)
    last = done.stderr[done.stderr.index("RuntimeError: "):]
    assert done.returncode == 1 and "已有的没有动" in last and "PIP_INDEX_URL" in last and "ERROR: No matching distribution" in last
    assert {path: image.installed().get(path) for path in before} == before


def test_the_cell_is_folded_before_the_first_code_and_pages_leave_it_out(monkeypatch):
    """每一本都有，由 test_links.py 与 test_notebooks.py 核对；00 另有“在云端打开”的一行"""
    monkeypatch.setattr(build, "repository", lambda: "https://github.com/someone/ddpm")
    notebook = build.read_source(build.sources()[0])
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.id == hosting.TAG and first.metadata["jupyter"]["source_hidden"] and first.metadata["tags"] == [hosting.TAG]
    assert "git+https://github.com/someone/ddpm" in first.source and len(first.source.splitlines()) <= 12
    assert notebook.cells[0].source.endswith(hosting.open_links("https://github.com/someone/ddpm"))
    before = [cell.id for cell in notebook.cells]
    assert [cell.id for cell in hosting.without_first_cell(notebook).cells] == [name for name in before if name != hosting.TAG]
