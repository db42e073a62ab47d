"""course.py doctor：每种毛病一个假的环境，说得出是什么、怎么办；收集实情的一半在假的虚拟环境里真的运行"""
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from ddpm_edu.cli import doctor, facts, requirements

from .fake_env import FakeEnv, torch_module

ROOT = Path(__file__).resolve().parents[1]
GIB = 2**30
WANTED = requirements.read_requirements(ROOT / "requirements.txt")


def first_fitting(line):
    """合要求的一个版本：下限本身"""
    return line.partition(">=")[2].partition(",")[0]


HAVE = {name: first_fitting(line) for name, line in WANTED.items()} | {"torch": "2.13.0+cpu"}
PYTHON = {"version": "3.11.7", "path": "/课程/.venv/bin/python", "bits": 64}
TORCH = {"version": "2.13.0", "path": "…", "cuda_build": None, "cuda": False, "mps": False, "computes": None, "gpu": None}
KERNEL = {"python": PYTHON["path"], "folder": "/课程/.venv/share/jupyter/kernels/python3", "has_ipykernel": True}
WELL = facts.Facts(ROOT, Path("/课程/.venv"), Path(PYTHON["path"]), "好", torch_pin="torch==2.13.0", system="linux", machine="x86_64", environ={},
                   found={"python": PYTHON, "packages": HAVE, "font": True, "kernel": KERNEL, "torch": TORCH, "torchvision": None, "lightning": "2.6.6"})


def ill(**changes):
    return replace(WELL, **changes)


def ill_found(**changes):
    return replace(WELL, found={**WELL.found, **changes})


def without(name):
    return {other: version for other, version in HAVE.items() if other != name}


BROKEN = {"error": "RuntimeError: operator torchvision::nms does not exist"}
# 毛病 → (实情, 说出的, 办法里有的)
FAULTS = {
    "Python 太旧": (ill_found(python={**PYTHON, "version": "3.9.2"}), "Python 3.9.2", "3.10 到 3.13"),
    "Python 太新": (ill_found(python={**PYTHON, "version": "3.14.0"}), "Python 3.14.0", "3.10 到 3.13"),
    "32 位": (ill_found(python={**PYTHON, "bits": 32}), "32 位", "64 位"),
    "Intel 的 Mac": (ill(system="darwin"), "Intel", "Apple 芯片"),
    "放环境的地方有别的东西": (ill(state="不是虚拟环境"), "不是虚拟环境", "DDPM_EDU_VENV"),
    "环境搬过家": (ill(state="起不来"), "起不来", "删掉文件夹"),
    "没有装全": (ill(state="没有装全"), "没有装全", "course.py lab"),
    "没有 venv": (ill(state="没有建", can_make_venv=False), "venv 或 ensurepip", "python3-venv"),
    "缺一个包": (ill_found(packages=without("zhplot")), "zhplot>=1.0,<2（没有装）", ".installed"),
    "自己的环境里缺一个包": (ill(state="没有建", found={**WELL.found, "packages": without("zhplot")}), "zhplot", "-m pip install -r"),
    "Lightning 是有毒的版本": (ill_found(packages={**HAVE, "pytorch-lightning": "2.6.3"}), "装的是 2.6.3", ".installed"),
    "包之间不配": (ill(conflicts=["torchmetrics 1.9.0 requires numpy>9, but you have numpy 2.4.6."]), "torchmetrics 1.9.0 requires", ".installed"),
    "torch 坏了": (ill_found(torch={"error": "OSError: libgomp.so.1"}), "torch 导入不了：OSError", "--force-reinstall"),
    "Windows 上 torch 坏了": (ill(system="win32", found={**WELL.found, "torch": {"error": "OSError: [WinError 126]"}}), "WinError 126", "Visual C++"),
    "torchvision 不配": (ill_found(packages={**HAVE, "torchvision": "0.19.0"}, torchvision=BROKEN, lightning=BROKEN),
                         "torchvision 0.19.0 与 torch 2.13.0+cpu 不配", "pip uninstall -y torchvision"),
    "Lightning 坏了": (ill_found(lightning={"error": "ImportError: lightning_utilities"}), "lightning_utilities", "包名"),
    "显卡的驱动旧": (ill(nvidia=True, found={**WELL.found, "torch": {**TORCH, "cuda_build": "13.0"}}), "CUDA 13.0）却用不上", "驱动"),
    "显卡算不动": (ill_found(torch={**TORCH, "cuda": True, "computes": False, "gpu": "旧卡", "reason": "no kernel image"}), "no kernel image", "驱动"),
    "没有汉字的字体": (ill_found(font=False), "没有图里汉字的字体", "zhplot"),
    "没有内核": (ill_found(kernel=None), "没有内核", "ipykernel"),
    "没有 ipykernel": (ill_found(kernel={**KERNEL, "has_ipykernel": False}), "没有内核", "ipykernel"),
    "内核是别的 Python": (ill_found(kernel={**KERNEL, "python": "/别处/python", "folder": "/家/kernels/python3"}), "/别处/python", "/家/kernels/python3"),
    "磁盘满": (ill(free=0.3 * GIB), "0.3 GiB", "腾出至少 1 GiB"),
    "磁盘装不下环境": (ill(state="没有建", free=3 * GIB), "3.0 GiB", "腾出至少 4 GiB"),
    "内存小": (ill(memory=GIB), "内存共 1.0 GiB", "容器"),
    "文件夹只读": (ill(unwritable=["/课程/notebooks"]), "写不进去：/课程/notebooks", "拷到能写的地方"),
    "路径里有冒号": (ill(root=Path("/课:程")), "冒号", "改个名字"),
    "Windows 上路径太长": (ill(root=Path("C:/" + "长" * 90), system="win32"), "太长", "C:\\ddpm"),
    "不许去索引": (ill(state="没有建", pip={"no-index": "true"}), "no-index", "PIP_NO_INDEX"),
    "装到环境外面": (ill(state="没有建", pip={"user": "yes"}), "设了 user", "pip config unset"),
    "PYTHONHOME": (ill(environ={"PYTHONHOME": "/别处"}), "PYTHONHOME=/别处", "去掉"),
    "代理写错": (ill(environ={"https_proxy": "127.0.0.1:7890"}), "HTTPS_PROXY=127.0.0.1:7890 写法不对", "http://"),
    "代理没开": (ill(environ={"HTTP_PROXY": "http://127.0.0.1:7890"}, dead_proxies=["http://127.0.0.1:7890"]), "没有开着", "打开代理"),
    "SOCKS 代理": (ill(environ={"ALL_PROXY": "socks5://127.0.0.1:7890"}), "SOCKS", "http 端口"),
    "连不上索引": (ill(network="ERROR: No matching distribution"), "No matching distribution", "PIP_INDEX_URL"),
    "线程数不是数": (ill(environ={"OMP_NUM_THREADS": "全部"}), "'全部' 不是正整数", "核数"),
    "线程比核多": (ill(environ={"OMP_NUM_THREADS": "16"}), "会开 16 个线程，只许用 4 个核", "OMP_NUM_THREADS=4"),
    "容器只给两个核": (ill(cores=64, quota=2.0), "会开 64 个线程，只许用 2 个核", "OMP_NUM_THREADS=2"),
}


def test_nothing_is_wrong_with_a_healthy_environment(capsys):
    lines = doctor.diagnose(WELL)
    assert doctor.report(lines) == 0 and not [line for line in lines if line.mark == "✗"]
    said = capsys.readouterr().out
    assert "没有发现问题" in said and all(f"{name} {HAVE[name]}" in said for name in ("torch", "pytorch-lightning", "jupyterlab"))
    # 还没有建环境的新机器也没有错，只是告诉你下一步
    new = ill(state="没有建", found={"python": PYTHON})
    assert doctor.report(doctor.diagnose(new)) == 0 and "course.py lab" in capsys.readouterr().out


def test_every_fault_is_named_with_its_cure_and_alone(capsys):
    for name, (case, text, cure) in FAULTS.items():
        wrong = [line for line in doctor.diagnose(case) if line.mark == "✗"]
        assert len(wrong) == 1 and text in wrong[0].text and cure in wrong[0].cure, (name, wrong)
        assert doctor.report(wrong) == 1, name
        assert "办法：" in capsys.readouterr().out


def test_what_is_only_worth_knowing_is_no_fault():
    notes = {
        "有卡，装的是 CPU 版": (ill(nvidia=True), "CPU 版"),
        "卡被藏起来": (ill(nvidia=True, environ={"CUDA_VISIBLE_DEVICES": ""}, found={**WELL.found, "torch": {**TORCH, "cuda_build": "13.0"}}),
                   "CUDA_VISIBLE_DEVICES=''"),
        "别的 torch": (ill_found(packages={**HAVE, "torch": "2.11.0"}), "课程测的是 2.13.0"),
        "路径里有汉字": (ill(root=Path("/课 程")), "空格或汉字"),
        "镜像": (ill(pip={"index-url": "https://甲:密码@镜像.example/simple"}), "https://…@镜像.example/simple"),
        "代理": (ill(environ={"https_proxy": "http://甲:密码@proxy.example:8080"}), "经代理 http://…@proxy.example:8080"),
        "PYTHONPATH": (ill(environ={"PYTHONPATH": "/别处"}), "PYTHONPATH=/别处"),
    }
    for name, (case, text) in notes.items():
        lines = doctor.diagnose(case)
        assert not [line for line in lines if line.mark == "✗"], name
        assert any(line.mark == "–" and text in line.text for line in lines) and "密码" not in str(lines), name


def test_a_gpu_that_computes_is_good_news():
    for torch in ({"cuda": True, "gpu": "好卡"}, {"mps": True, "gpu": "mps"}):
        (line,) = doctor.check_gpu(ill_found(torch={**TORCH, "computes": True, **torch}))
        assert line.mark == "✓" and torch["gpu"] in line.text


@pytest.fixture
def env(tmp_path):
    return FakeEnv(tmp_path / "环 境").add("torch", "2.13.0", torch_module())


def collected(env, complete=True):
    return facts.collect(ROOT, env.folder, "torch==2.13.0", complete)


def test_the_facts_come_from_the_environment_itself(env):
    env.add("pytorch-lightning", "2.6.6", "__version__ = '2.6.6'")
    found = collected(env)
    assert found.state == "好" and found.python == env.python and found.found["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert found.found["packages"] == {"torch": "2.13.0", "pytorch-lightning": "2.6.6"} and found.found["torch"]["version"] == "2.13.0"
    assert found.found["torchvision"] is None and found.found["lightning"] == "2.6.6" and found.found["font"] is False
    # 假的环境里没有 jupyter_client，也没有 pip
    assert "jupyter_client" in found.found["kernel"]["error"] and found.conflicts == []
    assert collected(env, complete=False).state == "没有装全"
    assert found.free > 0 and found.memory > GIB / 2 and found.cores >= 1 and found.unwritable == []


def test_a_torchvision_for_another_torch_is_found_out(env):
    env.add("torchvision", "0.19.0", "raise RuntimeError('operator torchvision::nms does not exist')")
    env.add("pytorch-lightning", "2.6.6", "import torchvision")
    (line,) = doctor.check_torch(collected(env))
    assert line.mark == "✗" and "torchvision 0.19.0" in line.text and "nms" in line.text and "uninstall -y torchvision" in line.cure
    assert f'"{env.python}"' in line.cure


def test_a_package_that_kills_the_process_is_named(env):
    (env.site / "torch" / "__init__.py").write_text("import os; os._exit(11)")
    (line,) = doctor.check_torch(collected(env))
    assert line.mark == "✗" and "整个进程停下了（11）" in line.text


def test_a_gpu_that_only_looks_usable_is_found_out(env):
    (env.site / "torch" / "__init__.py").write_text(torch_module(cuda_build="13.0", cuda=True, computes="raise RuntimeError('no kernel image')"), "utf-8")
    (line,) = doctor.check_gpu(collected(env))
    assert line.mark == "✗" and "假的卡" in line.text and "no kernel image" in line.text


def test_places_that_are_no_environment(tmp_path, monkeypatch):
    # 没有环境时查的是正在运行的 Python；这里的导入一次 torch、核对一遍全部的包，要好几秒
    monkeypatch.setattr(facts, "probe", lambda python, root: {})
    monkeypatch.setattr(facts, "pip_lines", lambda python, *command: [])
    other = tmp_path / "照片"
    (other / "里面").mkdir(parents=True)
    moved = FakeEnv(tmp_path / "搬过家")
    moved.python.unlink()
    moved.python.symlink_to(tmp_path / "卸掉了")
    states = [facts.collect(ROOT, folder, "torch==2.13.0", False).state for folder in (other, moved.folder, tmp_path / "没有")]
    assert states == ["不是虚拟环境", "起不来", "没有建"]


def test_pip_settings_are_read_by_pip_itself(env, monkeypatch):
    env.lend_pip()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    found = collected(env)
    assert found.pip["index-url"] == "http://127.0.0.1:9/simple" and found.pip["no-index"] == "1"
    monkeypatch.delenv("PIP_NO_INDEX")
    # 没有人听的端口：一次就知道，不重试
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert facts.reach(env.python)


def test_a_proxy_on_this_machine_is_tried_and_others_are_not():
    assert not facts.listening("http://127.0.0.1:9") and not facts.listening("socks5://甲:乙@localhost:9")
    assert facts.listening("http://proxy.example:8080")


def test_a_folder_that_cannot_be_written_is_noticed(tmp_path):
    (tmp_path / "文件").touch()
    assert facts.writable(tmp_path) and not facts.writable(tmp_path / "文件") and not facts.writable(tmp_path / "没有")


def test_versions_are_compared_as_pip_compares_them():
    versions = "0.9 1.0 1.10 2.6.6 2.7 2.9.1+cu126 2.10 2.10.0 2.13.0+cpu 3.0 3.0.0 4.24.1 4.25.0 10 12.3".split()
    for line in (*WANTED.values(), "甲>=2.10.0,<3.0", "甲==2.13"):
        specifier = SpecifierSet(re.search("[>=].*", line)[0])
        assert [requirements.fits(v, line) for v in versions] == [specifier.contains(v) for v in versions], line


@pytest.mark.skipif(os.name == "nt", reason="Windows 的 Python 不看 LC_ALL")
def test_it_needs_no_package_and_no_environment(tmp_path):
    """用一个什么也没有装、连 pip 也没有的 Python 运行；系统的编码是 ASCII，路径里有汉字与空格"""
    bare = FakeEnv(tmp_path / "光 的")
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONUTF8", "PYTHONIOENCODING")}
    done = subprocess.run([bare.python, ROOT / "course.py", "doctor"], cwd=tmp_path, capture_output=True,
                          env={**plain, "DDPM_EDU_VENV": str(tmp_path / "没 有"), "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"})
    said = done.stdout.decode("utf-8")
    assert "– 课程的环境还没有建" in said and "Traceback" not in done.stderr.decode("utf-8"), done.stderr


def test_a_python_without_venv_is_told_what_to_do(tmp_path):
    """Debian 把 ensurepip 拆成了另一个包"""
    (tmp_path / "venv.py").write_text("raise ModuleNotFoundError('No module named venv')")
    done = subprocess.run([sys.executable, ROOT / "course.py", "lab"], capture_output=True, encoding="utf-8",
                          env={**os.environ, "DDPM_EDU_VENV": str(tmp_path / "环境"), "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1 and "course.py doctor" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "环境").exists()
