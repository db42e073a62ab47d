"""不泄漏：反复存取、采样、训练之后，内存、张量、文件描述符、临时文件、信号处理函数都不增加"""
import gc
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from ddpm_edu import DDPM
from ddpm_edu.files.checkpoint import load_checkpoint, save_checkpoint

from .conftest import one_level_unet, tiny_ddpm
from .test_stopping import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="内存与文件描述符从 /proc 里数")


def resident():
    """占用的物理内存，单位：字节"""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counts(folder):
    """此刻活着的张量、打开的文件、folder 里的文件、日志的处理器"""
    gc.collect()
    loggers = [logging.getLogger(name) for name in (None, "ddpm_edu", "pytorch_lightning", "lightning.pytorch")]
    return {"tensors": sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()), "files open": len(os.listdir("/proc/self/fd")),
            "files": len(list(folder.rglob("*"))), "log handlers": sum(len(logger.handlers) for logger in loggers)}


def no_more(now, before):
    # 别的测试留下的东西可能恰好这时才回收，变少不算错
    return all(now[name] <= before[name] for name in before)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """临时文件也放在这里，好数"""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_saving_loading_and_sampling_again_and_again_leaves_nothing_behind(folder, amount, tally):
    model, path = tiny_ddpm(one_level_unet(model_channels=32)), folder / "a.ckpt"

    def cycle():
        save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
        again = DDPM.load_from_checkpoint(path)
        again.sample(2, steps=2, progress=False)
        again.init_from_ckpt(path)
        load_checkpoint(path)

    for _ in range(8):
        cycle()
    before, memory, tried = counts(folder), resident(), amount(12, 500)
    for _ in range(tried):
        cycle()
    # 每次漏一份权重就是 tried 份；内存分配器自己的起伏只有几份
    growth, size = resident() - memory, path.stat().st_size
    assert growth < tried * size / 4, f"内存多了 {growth / 2**20:.1f} MiB，检查点一份 {size / 2**20:.2f} MiB"
    # 漏掉的越积越多，最后数一次就够
    tally(tried * no_more(counts(folder), before), tried)


def test_training_again_and_again_leaves_nothing_behind(folder, amount, tally):
    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)]

    def cycle():
        run(folder, 2)
        for old in folder.rglob("*.ckpt"):
            old.unlink()

    cycle()
    cycle()
    before, installed, tried, kept = counts(folder), handlers(), amount(3, 10), 0
    for _ in range(tried):
        cycle()
        kept += no_more(counts(folder), before) and handlers() == installed
    tally(kept, tried)
