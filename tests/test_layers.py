"""箭头只朝一个方向：数学不加载 Lightning，训练不加载 matplotlib"""
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from .program import forget, run

ROOT = Path(__file__).resolve().parents[1]


# 由低到高：一层一层地导入，每上一层，更高的层都还没有进来
FLOORS = [
    ("import ddpm_edu", ["torch", "numpy", "pytorch_lightning", "matplotlib"]),
    ("from ddpm_edu import make_beta_schedule", ["torch", "pytorch_lightning"]),
    ("from ddpm_edu.gaussian import GaussianDiffusion", ["pytorch_lightning", "matplotlib"]),
    ("from ddpm_edu import UNet, LitEma, DiffusionWrapper, count_params, LambdaLinearScheduler", ["pytorch_lightning", "matplotlib"]),
]


def test_import_loads_nothing_from_a_higher_floor():
    code = "; ".join(f"{statement}; print([m for m in {absent!r} if m in sys.modules])" for statement, absent in FLOORS)
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["[]"] * len(FLOORS), done.stdout + done.stderr


def climb():
    forget("ddpm_edu", "ipywidgets", "sklearn")
    import_module("ddpm_edu.cli.main")
    from ddpm_edu import DDPM, DigitsDataModule  # noqa: F401

    print([m for m in ("ipywidgets", "ddpm_edu.teach", "sklearn") if m in sys.modules])


def test_training_loads_no_panel_no_teaching_and_no_sklearn():
    done = run(climb, cwd=ROOT)
    assert done.stdout == "[]\n", done


def test_unknown_name_lists_what_exists():
    import ddpm_edu

    with pytest.raises(AttributeError, match="DDPM"):
        ddpm_edu.DDMP  # noqa: B018


def test_ruff_finds_nothing():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
