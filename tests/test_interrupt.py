"""停止键，在真的进程里：命令行的 Ctrl-C；Jupyter 内核的 ■ 在 test_kernel.py"""
import json
import os
import re
import signal
import sys
import time

import pytest

from ddpm_edu.cli.main import main
from ddpm_edu.exchange.diffusers_folder import to_folder
from ddpm_edu.files.checkpoint import atomic_folder, load_checkpoint, save_checkpoint
from ddpm_edu.files.leaving import leave, leaving_cleanly
from ddpm_edu.original.__main__ import main as original

from .conftest import tiny_ddpm, tiny_unet
from .program import Program, run

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


@windows
def test_sigterm_unwinds_what_is_being_written_and_the_old_handler_comes_back(tmp_path):
    with pytest.raises(SystemExit) as gone, leaving_cleanly(), atomic_folder(tmp_path / "out") as folder:
        (folder / "half").touch()
        assert signal.getsignal(signal.SIGTERM) is leave
        os.kill(os.getpid(), signal.SIGTERM)
    assert gone.value.code == 143 and not list(tmp_path.iterdir()) and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def stopped_before_renaming(command, arguments, number):
    """在子进程里：要写的都写在旁边了，正要换名时收到信号"""
    here = os.getcwd()

    def listen(event, args):
        if event == "os.rename" and os.path.abspath(args[1]).startswith(here):
            os.kill(os.getpid(), number)

    sys.addaudithook(listen)
    sys.exit(command(arguments))


@windows
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("command", "arguments"), [
    (main, ["convert", "ours.ckpt", "--out", "out"]), (main, ["convert", "theirs", "--out", "out.ckpt"]),
    (main, ["sample", "--ckpt", "ours.ckpt", "-n", "1", "--steps", "1", "--quiet", "--out", "out.png"]), (original, ["ddpm.py", "--out", "."]),
], ids=["folder", "checkpoint", "png", "original"])
def test_a_command_told_to_stop_leaves_no_temporary_file_or_folder(command, arguments, number, tmp_path):
    model = tiny_ddpm(tiny_unet(norm_groups=4))
    save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, tmp_path / "ours.ckpt")
    to_folder(model, tmp_path / "theirs")
    (tmp_path / "ddpm.py").write_text("class DDPM:\n    def forward(self, x):\n        return x\n")
    before = {path.name for path in tmp_path.iterdir()}
    done = run(stopped_before_renaming, command, arguments, number, cwd=tmp_path)
    assert done.returncode == 128 + number and "Traceback" not in done.stderr, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == before
