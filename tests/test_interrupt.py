"""停止键，在真的进程里：命令行的 Ctrl-C；Jupyter 内核的 ■ 在 test_kernel.py"""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddpm_edu.checkpoint import load_checkpoint
from ddpm_edu.cli import main

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
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
    command = [sys.executable, "-m", "ddpm_edu", "fit", "--config", "digits", "--trainer.accelerator=cpu", "--data.batch_size=16",
               "--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1", f"--trainer.logger={json.dumps(logger)}"]
    process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(tmp_path.glob("runs/digits/version_0/metrics.csv")))
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=100)[1]
    assert process.returncode == 130 and "Traceback" not in error, error
    (line,) = re.findall("已在第.*个优化步之后停下.*", error)
    (path,) = tmp_path.rglob("interrupted.ckpt")
    step = load_checkpoint(path)["global_step"]
    shown = path.relative_to(tmp_path).as_posix()
    assert f"第 {step} 个" in line and f'ckpt_path="{shown}"' in line and 0 < step < 1000
    command += [f"--ckpt_path={path}", f"--trainer.max_steps={step + 2}"]
    monkeypatch.chdir(tmp_path)
    assert not main(command[3:])
    assert max(load_checkpoint(path)["global_step"] for path in tmp_path.rglob("last.ckpt")) == step + 2
