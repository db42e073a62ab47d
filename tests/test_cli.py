"""命令行：训练、续训、验证、采样的每条路；哪些错误只说一句，哪些留着文件与行号"""
import errno
import io
import os
import sys
import traceback
import warnings
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from ddpm_edu import DDPM, DigitsDataModule
from ddpm_edu.cli.main import main, resolve_config
from ddpm_edu.configs.recipes import conditional_digits_config
from ddpm_edu.files.checkpoint import CheckpointError, save_checkpoint

from .conftest import tiny_ddpm
from .test_training import QUIET, fit, model_for_training

SMALL = """
trainer:
  limit_train_batches: 2
  limit_val_batches: 2
  limit_test_batches: 1
  callbacks:
    - class_path: pytorch_lightning.callbacks.ModelCheckpoint
      init_args: {monitor: val/loss_ema, save_last: true}
    - class_path: ddpm_edu.training.callbacks.SampleGrid
      init_args: {every_n_steps: 250, num_samples: 2, steps: 2}
"""


def test_fit_resume_validate_test_and_sample(tmp_path, monkeypatch, capsys, caplog):
    """在本进程里；真的进程在 test_interrupt.py 与 test_bad_input.py"""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL, encoding="utf-8")
    common = ["--config", "digits", "--config", "small.yaml", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
              "--data.batch_size=64"]
    assert not main(["fit", *common, "--trainer.max_steps=2", "--trainer.check_val_every_n_epoch=1"])
    assert "训练大约要 0." in capsys.readouterr().out
    (run,) = (tmp_path / "runs" / "digits").glob("version_*")
    ckpt = run / "checkpoints" / "last.ckpt"
    assert ckpt.exists() and list((run / "samples").glob("*.png")) and (run / "metrics.csv").exists()
    assert not main(["fit", *common, "--trainer.max_steps=4", f"--ckpt_path={ckpt}", "--model.learning_rate=0.5"])
    assert "以检查点里的为准：learning_rate 0.5 → 0.004" in caplog.text
    caplog.clear()
    for stage in ("validate", "test"):
        capsys.readouterr()
        assert not main([stage, *common, f"--ckpt_path={ckpt}"]) and "loss_ema" in capsys.readouterr().out and "以检查点里的为准" not in caplog.text
    assert not main(["sample", "--ckpt", str(ckpt), "--out", "中文 目录/grid.png", "-n", "4", "--steps", "3"])
    assert Image.open(tmp_path / "中文 目录" / "grid.png").size[0] > 100


def test_sample_from_the_shipped_model_is_seeded(tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = ["--ckpt", "digits", "--out", str(tmp_path / f"{name}.png"), "-n", "4", "--steps", "5", "--seed", seed]
        assert main(["sample", *arguments, "--device", "cpu"]) == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_sample_takes_classes_guidance_and_writes_a_gif(tmp_path):
    def draw(name, *more):
        out = tmp_path / f"{name}.png"
        arguments = ["--ckpt", "digits_class", "--out", str(out), "-n", "10", "--nrow", "10", "--steps", "3", "--device", "cpu", "--quiet"]
        assert main(["sample", *arguments, *more]) == 0
        return out.read_bytes()

    plain = draw("plain", "--labels", "0-9")
    assert plain == draw("batched", "--labels", "0,1,2,3-9", "--batch-size", "10")
    assert len({plain, draw("sevens", "--labels", "7"), draw("guided", "--labels", "0-9", "--guidance", "3")}) == 3
    assert len({plain, draw("noisy", "--labels", "0-9", "--eta", "1"), draw("data", "--data", "digits")}) == 3
    ancestral = [draw(f"v{v}", "--labels", "0-9", "--sampler", "ancestral", "--v-posterior", v) for v in ("0", "1")]
    assert ancestral[0] != ancestral[1]
    draw("film", "--labels", "0-9", "--gif", str(tmp_path / "walk.gif"))
    with Image.open(tmp_path / "walk.gif") as gif:
        assert gif.n_frames == 4


def test_sample_reads_conditions_from_the_test_images(tmp_path):
    torch.manual_seed(0)
    model = DDPM(**{**conditional_digits_config(["masked", "prompt"], max_steps=2, width=8), "timesteps": 10})
    fit(model, 2, tmp_path, data=DigitsDataModule(conditions=["masked", "prompt"]), limit_val_batches=0).save_checkpoint(tmp_path / "a.ckpt")
    common = ["sample", "--ckpt", str(tmp_path / "a.ckpt"), "--out", str(tmp_path / "a.png"), "-n", "4", "--steps", "2", "--device", "cpu"]
    assert main([*common, "--data", "digits"]) == 0
    assert main(common) == 2
    assert main([*common, "--data", "digits", "-n", "251"]) == 2


def test_torchrun_without_a_strategy_is_an_error(tmp_path, monkeypatch, capsys):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "digits", "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.max_steps=1",
                 "--trainer.logger=false", "--trainer.callbacks=null"]) == 2
    assert "--nproc-per-node" in capsys.readouterr().err


def test_a_local_file_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_config(["fit", "--config", "digits"])[2].endswith("digits.yaml")
    assert resolve_config(["fit", "--config=digits"])[2].endswith("digits.yaml")
    both = resolve_config(["fit", "-c", "mnist-gpu", "--trainer.devices=2"])
    assert [Path(both[i]).name for i in (2, 4)] == ["mnist.yaml", "mnist-gpu.yaml"] and both[5:] == ["--trainer.devices=2"]
    Path("digits").write_text("{}")
    assert resolve_config(["fit", "--config", "digits"])[2] == "digits"


def test_predict_points_to_sample(capsys):
    assert main(["predict", "--config", "digits"]) == 2 and "python -m ddpm_edu sample" in capsys.readouterr().err


# ---- 错误：自己的话只说一句，别人的留着文件与行号 ----

FIT = ["fit", "--config", "digits", "--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.callbacks=null", "--trainer.max_steps=1",
       "--trainer.enable_progress_bar=false"]
MINE = """
import torch
from torch import nn

class Constructor(nn.Module):
    def __init__(self):
        super().__init__()
        self.width = 3 + "a"

class Chinese(nn.Module):
    def __init__(self):
        raise ValueError("宽度应为偶数，得到 3")

class Missing(nn.Module):
    def __init__(self):
        open("no such file")

class Forward(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 1, 1)

    def forward(self, x, t):
        return x + torch.zeros(3, 5, 7, 9)
"""


@pytest.mark.parametrize("target", ["mine.Constructor", "mine.Chinese", "mine.Missing", "mine.Forward", "mine_broken.Net", "mine_broken.Callback"])
def test_an_error_in_your_own_code_keeps_its_file_and_line(target, tmp_path, monkeypatch):
    """构造、前向、导入时出的错，不论是哪一类、说的是不是中文"""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    (tmp_path / "mine_broken.py").write_text("from torch import nn\nnn.no_such_layer\n", encoding="utf-8")
    place = f"trainer: {{callbacks: [{{class_path: {target}}}]}}" if target.endswith("Callback") else f"model: {{unet_config: {{target: {target}}}}}"
    (tmp_path / "own.yaml").write_text(place, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Exception) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main([*FIT, "--config", "own.yaml"])
    for module in ("mine", "mine_broken"):
        sys.modules.pop(module, None)
    shown = "".join(traceback.format_exception(caught.value))
    assert f'{target.partition(".")[0]}.py", line ' in shown


def test_weights_alone_given_to_ckpt_path_name_the_right_option(tmp_path, monkeypatch, capsys):
    """只存了 state_dict 的，和没有存优化器的；命令行与 Python 都说一句，什么也不写"""
    warnings.simplefilter("ignore")
    monkeypatch.chdir(tmp_path)
    model = model_for_training()
    save_checkpoint({"state_dict": model.state_dict()}, "a.ckpt")
    fit(model, 1, tmp_path).save_checkpoint("b.ckpt", weights_only=True)
    for stage in ("fit", "validate"):
        assert main([stage, *FIT[1:], "--ckpt_path=a.ckpt"]) == 2 and not Path("config.yaml").exists()
        assert "a.ckpt 应为 Trainer 存的完整检查点" in (said := capsys.readouterr().err) and "--model.ckpt_path" in said
    for name, method in (("a.ckpt", "fit"), ("a.ckpt", "validate"), ("b.ckpt", "fit")):
        with pytest.raises(CheckpointError, match=r"Trainer 存的完整检查点.*DDPM\(..., ckpt_path"):
            getattr(pl.Trainer(**QUIET, max_steps=2, enable_checkpointing=False), method)(model_for_training(), DigitsDataModule(), ckpt_path=name)
    pl.Trainer(**QUIET, enable_checkpointing=False).validate(model_for_training(), DigitsDataModule(), ckpt_path="b.ckpt")


class SmallDisk(io.BytesIO):
    """装不下的磁盘"""

    def write(self, data):
        if self.tell() + len(data) > 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_named_wherever_it_comes_out(tmp_path, monkeypatch, capsys):
    """训练中的检查点、样本图、动图；torch.save 自己只说一句看不懂的 RuntimeError"""
    warnings.simplefilter("ignore")
    monkeypatch.chdir(tmp_path)
    save_checkpoint({"a": 1}, "a.ckpt")
    before = Path("a.ckpt").read_bytes()

    def full(handle, *arguments, **kwargs):
        os.close(handle)
        return SmallDisk()

    monkeypatch.setattr("ddpm_edu.files.checkpoint.os.fdopen", full)
    with pytest.raises(OSError, match="磁盘满了.*a.ckpt"):
        save_checkpoint({"state_dict": tiny_ddpm().state_dict()}, "a.ckpt")
    keep = "--trainer.callbacks={class_path: pytorch_lightning.callbacks.ModelCheckpoint, init_args: {dirpath: runs, every_n_train_steps: 1}}"
    sample = ["sample", "--ckpt", "digits", "-n", "1", "--steps", "2", "--device", "cpu", "--out", "a.png"]
    for arguments, file in (([*FIT, keep], ".ckpt"), (sample, "a.png")):
        assert main(arguments) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("错误：")]
        assert len(said) == 1 and "磁盘满了" in said[0] and file in said[0]
    assert Path("a.ckpt").read_bytes() == before and not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("*.png"))


def test_a_read_only_file_is_refused_before_the_work(tmp_path, capsys):
    out = tmp_path / "a.png"
    out.write_bytes(b"mine")
    out.chmod(0o444)
    assert main(["sample", "--ckpt", "digits", "--out", str(out), "-n", "1", "--steps", "1", "--device", "cpu"]) == 2
    assert "--out 应为能写的文件" in capsys.readouterr().err and out.read_bytes() == b"mine"


def test_stopping_an_evaluation_says_one_word(monkeypatch, capsys):
    def pressed(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("ddpm_edu.cli.evaluate.evaluate_main", pressed)
    assert main(["evaluate", "--ckpt", "digits"]) == 130 and capsys.readouterr().err == "已中断\n"
