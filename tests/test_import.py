"""到处都能导入：没有 Lightning、matplotlib 时数学照用；环境里有不配的 torchvision 时说怎么办"""
import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from ddpm_edu.moved import MOVED

from . import program

ROOT = Path(__file__).resolve().parents[1]
# 与 torch 版本不配的 torchvision，导入时就是这样出错的
BROKEN = "from torch import library\nlibrary.register_fake('torchvision::nms')(lambda *args: None)\n"


def run(folder, *arguments):
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, encoding="utf-8",
                          env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


MATHEMATICS = ("GaussianDiffusion", "LitEma", "UNet", "DiffusionWrapper", "make_beta_schedule", "count_params", "instantiate_from_config",
               "LambdaWarmUpCosineScheduler", "LambdaWarmUpCosineScheduler2", "LambdaLinearScheduler")


def calculate(*refused):
    program.forget("ddpm_edu", *refused)
    import ddpm_edu

    for name in MATHEMATICS:
        getattr(ddpm_edu, name)
    print(float(ddpm_edu.GaussianDiffusion(5, "cosine").betas[0]) > 0)


def test_the_mathematics_needs_neither_lightning_nor_matplotlib(tmp_path):
    refused = ("pytorch_lightning", "lightning", "matplotlib", "torchvision")
    for name in refused:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('没有装 {name}')", encoding="utf-8")
    done = program.run(calculate, *refused, cwd=tmp_path)
    assert done.stdout == "True\n", done.stderr


def test_a_missing_package_says_which_python_and_what_to_do(tmp_path):
    (tmp_path / "pytorch_lightning.py").write_text("import no_such_package")
    done = run(tmp_path, "-c", "from ddpm_edu import DDPM")
    last = done.stderr.strip().splitlines()[-1]
    assert all(part in last for part in ("no_such_package", sys.executable, "换成课程的内核", "python course.py lab"))


def train_afresh():
    program.forget("ddpm_edu", "pytorch_lightning", "torchvision")
    sys.argv = ["ddpm_edu", "fit", "--config", "digits"]
    runpy.run_module("ddpm_edu", run_name="__main__")


def test_a_torchvision_that_does_not_match_is_explained(tmp_path, amount, tally):
    """--full 时让真的 Lightning 去导入它"""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(BROKEN, encoding="utf-8")
    info = tmp_path / "torchvision-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1\n")
    commands = amount([], [["-m", "ddpm_edu", "fit", "--config", "digits"], ["-m", "ddpm_edu", "sample", "--ckpt", "digits", "--out", "a.png"],
                           ["-c", "from ddpm_edu import DDPM"]])
    tried = [(run(tmp_path, *arguments), arguments[0] == "-c") for arguments in commands]
    (tmp_path / "pytorch_lightning.py").write_text("import torchvision")
    tried.append((program.run(train_afresh, cwd=tmp_path), False))
    for done, in_code in tried:
        last = done.stderr.strip().splitlines()[-1]
        assert "torchvision::nms does not exist" in last and "pip uninstall -y torchvision" in last and done.returncode == (1 if in_code else 2)
        assert in_code or "Traceback" not in done.stderr
    tally(len(tried), len(tried))


def test_modules_that_moved_are_still_found_by_their_old_names():
    """别人的程序、YAML 与检查点里写的是旧的名字；得到的是同一个模块，不是又一份"""
    for old, new in MOVED.items():
        spec = import_module(f"ddpm_edu.{new}").__spec__
        assert import_module(f"ddpm_edu.{old}") is import_module(f"ddpm_edu.{new}")
        assert import_module(f"ddpm_edu.{new}").__spec__ is spec
    from ddpm_edu.callbacks import SampleGrid

    from ddpm_edu.evaluation import evaluate

    assert SampleGrid.__module__ == "ddpm_edu.training.callbacks" and evaluate.__module__ == "ddpm_edu.evaluation.report"
