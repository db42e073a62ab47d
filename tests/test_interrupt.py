"""停止键，在真的进程里：命令行的 Ctrl-C；Jupyter 内核的 ■ 在 test_kernel.py"""
import json
import os
import re
import signal
import sys
import time

import pytest

from ddpm_edu.cli.main import main
from ddpm_edu.files.checkpoint import load_checkpoint

from .program import Program

windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows 没有 SIGINT 可发给单个进程")


def wait_for(condition, seconds=100):
    """等到 condition() 为真；等不到就是失败"""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "等不到"
        time.sleep(0.05)
    return found


@windows
def test_ctrl_c_on_the_command_line_exits_130_with_one_line_and_resumes(tmp_path, monkeypatch):
    # 每步都写 CSV，好知道训练已经开始
    logger = {"class_path": "pytorch_lightning.loggers.CSVLogger",
              "init_args": {"save_dir": "runs", "name": "digits", "flush_logs_every_n_steps": 1}}
    saver = {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": {"monitor": "val/loss_ema", "save_last": True}}
    command = ["fit", "--config", "digits", "--trainer.accelerator=cpu", "--data.batch_size=16", f"--trainer.callbacks={json.dumps(saver)}",
               "--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1", f"--trainer.logger={json.dumps(logger)}"]
    program = Program("ddpm_edu", *command, cwd=tmp_path)
    wait_for(lambda: not program.process.is_alive() or list(tmp_path.glob("runs/digits/version_0/metrics.csv")))
    os.kill(program.process.pid, signal.SIGINT)
    code, _, error = program.end()
    assert code == 130 and "Traceback" not in error, error
    (line,) = re.findall("已在第.*个优化步之后停下.*", error)
    (path,) = tmp_path.rglob("interrupted.ckpt")
    step = load_checkpoint(path)["global_step"]
    shown = path.relative_to(tmp_path).as_posix()
    assert f"第 {step} 个" in line and f'ckpt_path="{shown}"' in line and 0 < step < 1000
    command += [f"--ckpt_path={path}", f"--trainer.max_steps={step + 2}"]
    monkeypatch.chdir(tmp_path)
    assert not main(command)
    assert max(load_checkpoint(path)["global_step"] for path in tmp_path.rglob("last.ckpt")) == step + 2
