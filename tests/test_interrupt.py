"""停止键，在真的进程里：命令行的 Ctrl-C，Jupyter 内核的 ■"""
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ddpm_edu.checkpoint import load_checkpoint

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


@pytest.mark.promise("stop", "命令行的 Ctrl-C，真的 Jupyter 内核里的 ■")
@windows
def test_ctrl_c_on_the_command_line_exits_130_with_one_line_and_resumes(tmp_path):
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
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0 and f"max_steps={step + 2}` reached" in done.stderr, done.stderr


SETUP = """
import logging, pathlib, warnings
from tests.conftest import tiny_ddpm
from ddpm_edu import DigitsDataModule
from ddpm_edu.teach.training import quiet_trainer
import pytorch_lightning as pl

class Mark(pl.Callback):
    def on_train_batch_end(self, trainer, *args):
        pathlib.Path("step").write_text(str(trainer.global_step))

def make():
    return tiny_ddpm(learning_rate=1e-3), DigitsDataModule(batch_size=16)

def trainer(steps):
    return quiet_trainer(max_steps=steps, enable_checkpointing=True, default_root_dir=".", callbacks=[Mark()])
"""
TRAIN = "model, data = make(); t = trainer(100000); t.fit(model, data); print('stopped', t.global_step)"
RESUME = """
from tests.test_training import fingerprint
path = "checkpoints/interrupted.ckpt"
joined, data = make()
trainer(t.global_step + 3).fit(joined, data, ckpt_path=path)
straight, data = make()
trainer(t.global_step + 3).fit(straight, data)
print('same', fingerprint(joined) == fingerprint(straight))
"""


@pytest.mark.promise("stop", "命令行的 Ctrl-C，真的 Jupyter 内核里的 ■")
@windows
def test_the_stop_button_of_jupyter_leaves_a_kernel_that_continues(tmp_path):
    from jupyter_client.manager import start_new_kernel

    def interrupt():
        moment = random.randrange(1, 20)
        wait_for(lambda: (tmp_path / "step").exists() and int((tmp_path / "step").read_text() or 0) >= moment)
        time.sleep(random.random() / 10)
        manager.interrupt_kernel()

    outputs, status = [], []
    manager, client = start_new_kernel(cwd=str(tmp_path), env=ENVIRONMENT)
    try:
        for code in (SETUP, TRAIN, RESUME):
            if code is TRAIN:
                threading.Thread(target=interrupt).start()
            reply = client.execute_interactive(code, output_hook=outputs.append, timeout=100)
            status.append(reply["content"]["status"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    text = "".join(m["content"].get("text", "") for m in outputs)
    assert status == ["ok"] * 3 and not [m for m in outputs if m["msg_type"] == "error"], text
    assert text.count("个优化步之后停下") == 1 and "stopped" in text and "same True" in text, text
