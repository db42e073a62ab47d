"""命令行：真的起一个进程来用"""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ddpm_edu.cli import main, resolve_config
from ddpm_edu.recipes import digits_model_config

ROOT = Path(__file__).resolve().parents[1]


def ddpm(*arguments, cwd):
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "ddpm_edu", *arguments], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, **environment})


def test_shipped_config_is_the_recipe():
    config = yaml.safe_load((ROOT / "ddpm_edu" / "configs" / "digits.yaml").read_text(encoding="utf-8"))
    recipe = digits_model_config()
    recipe["adam_betas"] = list(recipe["adam_betas"])
    assert config["model"] == recipe
    assert config["trainer"]["max_steps"] == recipe["scheduler_config"]["params"]["max_decay_steps"]


def test_fit_resume_validate_test_and_sample(tmp_path):
    common = ["--config", "digits", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.batch_size=256"]
    done = ddpm("fit", *common, "--trainer.max_steps=6", "--trainer.check_val_every_n_epoch=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs" / "digits").glob("version_*")
    ckpt = run / "checkpoints" / "last.ckpt"
    assert ckpt.exists() and list((run / "samples").glob("*.png")) and (run / "metrics.csv").exists()
    done = ddpm("fit", *common, "--trainer.max_steps=8", f"--ckpt_path={ckpt}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for stage in ("validate", "test"):
        done = ddpm(stage, *common, f"--ckpt_path={ckpt}", cwd=tmp_path)
        assert done.returncode == 0 and "loss_ema" in done.stdout, done.stderr
    done = ddpm("sample", "--ckpt", str(ckpt), "--out", "中文 目录/grid.png", "-n", "4", "--steps", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "中文 目录" / "grid.png").size[0] > 100


def test_sample_from_the_shipped_model_is_seeded(tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = ["--ckpt", "digits", "--out", str(tmp_path / f"{name}.png"), "-n", "4", "--steps", "5", "--seed", seed]
        assert main(["sample", *arguments, "--device", "cpu"]) == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "--ckpt", "no.ckpt", "--out", "a.png"], "no.ckpt"),
        (["sample", "--ckpt", "digits", "--out", "a.txt"], "--out"),
        (["sample", "--ckpt", "digits", "--out", "a.png", "--seed", "-1"], "--seed"),
        (["sample", "--ckpt", "digits", "--out", "a.png", "--steps", "0"], "steps"),
        (["fit", "--config", "no.yaml"], "--config"),
    ],
)
def test_mistakes_exit_2_with_one_line_and_write_nothing(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert words in message and "Traceback" not in message and "应为" in message
    assert not list(tmp_path.iterdir())


def test_unknown_keys_exit_2(tmp_path):
    done = ddpm("fit", "--config", "digits", "--model.timestep=3", cwd=tmp_path)
    assert done.returncode == 2 and "timestep" in done.stderr and not list(tmp_path.iterdir())
    done = ddpm("fit", "--config", "digits", "--model.v_posterior=3", cwd=tmp_path)
    assert done.returncode == 2 and "v_posterior" in done.stderr and "Traceback" not in done.stderr


def test_a_local_file_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_config(["fit", "--config", "digits"])[2].endswith("digits.yaml")
    assert resolve_config(["fit", "--config=digits"])[1].endswith("digits.yaml")
    Path("digits").write_text("{}")
    assert resolve_config(["fit", "--config", "digits"])[2] == "digits"
