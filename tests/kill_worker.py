"""test_killed.py 起的子进程：训练或保存到选定的一刻，对自己 kill -9"""
import collections
import functools
import hashlib
import io
import json
import os
import signal
import tempfile

import pytorch_lightning as pl
import torch

from ddpm_edu import checkpoint

from .test_stopping import run
from .test_training import fingerprint, fit, model_for_training

BATCH = ("on_train_batch_start", "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad", "on_train_batch_end")
VALIDATION = ("on_validation_start", "on_validation_batch_start", "on_validation_batch_end", "on_validation_end")


class Clock(pl.Callback):
    """数着三类时刻：batch、validation、save；第 kind 类的第 n 个一到就 kill -9 自己"""

    def __init__(self, kind=None, n=0):
        self.kind, self.n, self.counts = kind, n, collections.Counter()
        for name, hooks in (("batch", BATCH), ("validation", VALIDATION)):
            for hook in hooks:
                setattr(self, hook, lambda *args, name=name: self.tick(name))

    def tick(self, kind):
        self.counts[kind] += 1
        if (kind, self.counts[kind]) == (self.kind, self.n):
            os.kill(os.getpid(), signal.SIGKILL)


class HalfWriter(io.BufferedRandom):
    """每次写到一半、已经落到文件里时，算一个时刻"""

    def __init__(self, handle, clock):
        super().__init__(io.FileIO(handle, "r+"))
        self.clock = clock

    def write(self, data):
        data = memoryview(data).cast("B")
        half = len(data) // 2
        super().write(data[:half])
        self.flush()
        self.clock.tick("save")
        return half + super().write(data[half:])


class WatchedOs:
    """代替 checkpoint 模块里的 os：写到一半、fsync 的前后、换名的前后各是一个时刻"""

    def __init__(self, clock):
        self.clock = clock

    def __getattr__(self, name):
        return getattr(os, name)

    def fdopen(self, handle, mode):
        return HalfWriter(handle, self.clock)

    def fsync(self, handle):
        self._between(os.fsync, handle)

    def replace(self, source, target):
        self._between(os.replace, source, target)

    def _between(self, call, *args):
        self.clock.tick("save")
        call(*args)
        self.clock.tick("save")


def train(folder, kind=None, n=0):
    """有检查点就续训，没有就从头；走完 10 步时把最后的状态写进 result.json"""
    clock, newest = Clock(kind, n), folder / "newest.ckpt"
    checkpoint.os = WatchedOs(clock)
    # 每两步换掉同一个文件；梯度每两批累积一次
    saver = pl.callbacks.ModelCheckpoint(folder, "newest", every_n_train_steps=2, enable_version_counter=False)
    trainer, model = run(folder, 10, str(newest) if newest.exists() else None, [clock, saver])
    optimizer = trainer.optimizers[0].state_dict()
    moments = [m for state in optimizer["state"].values() for m in state.values()]
    state = {"weights and EMA": fingerprint(model), "LR": [group["lr"] for group in optimizer["param_groups"]],
             "optimizer": hashlib.sha256(b"".join(m.numpy().tobytes() for m in moments)).hexdigest(),
             "scheduler": trainer.lr_scheduler_configs[0].scheduler.last_epoch,
             "steps": [trainer.global_step, model.batches_seen, int(model.model_ema.num_updates)]}
    (folder / "result.json").write_text(json.dumps({"state": state, "moments": clock.counts}))


@functools.cache
def trained(step, folder):
    """停在第 step 步的 Trainer；fork 出来的进程用的是父进程里已经训练好的一个"""
    return fit(model_for_training(), step, folder, limit_val_batches=0)


def save(path, by_trainer, step, n=None, tmpdir=None):
    """存一份 global_step 为 step 的检查点，到第 n 个时刻被杀；没有被杀时把时刻的总数写进 path.json"""
    if tmpdir is not None:
        os.environ["TMPDIR"], tempfile.tempdir = str(tmpdir), None
    clock = Clock("save", n)
    content = {"global_step": step, "x": torch.full((3000,), float(step)), "more": [torch.full((5,), float(step)) for _ in range(20)]}
    trainer = trained(step, path.parent) if by_trainer else None
    checkpoint.os = WatchedOs(clock)
    if by_trainer:
        trainer.save_checkpoint(path)
    else:
        checkpoint.save_checkpoint(content, path)
    path.with_suffix(".json").write_text(json.dumps(clock.counts["save"]))
