"""kill -9：在训练或保存的任何一刻被杀，文件不是旧的就是新的，续训与从未停下逐位相同"""
import json
import random
import signal
import tempfile
import time
from pathlib import Path

import pytest

from ddpm_edu.checkpoint import load_checkpoint

from .kill_worker import exit_code, save, start, train
from .test_interrupt import windows

pytestmark = windows
KILLED = -getattr(signal, "SIGKILL", 9)


def finish(folder):
    """续训到底，返回最后的状态"""
    assert exit_code(train, folder) == 0
    return json.loads((folder / "result.json").read_text())["state"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """不停地走完：最后的状态，各类时刻的个数，用了几秒"""
    folder = tmp_path_factory.mktemp("straight")
    # 第一个子进程要等 torch 导入，不算在内
    assert exit_code(int) == 0
    began = time.monotonic()
    state = finish(folder)
    return state, json.loads((folder / "result.json").read_text())["moments"], time.monotonic() - began


@pytest.mark.promise("resume", "训练在一轮中间、验证中间、保存中间的随机时刻被 kill -9，从磁盘上的检查点续完")
def test_a_run_killed_at_a_random_moment_resumes_to_the_same_bits(straight, tmp_path, amount, tally):
    state, moments, _ = straight
    rng, same, tried = random.Random(0), 0, amount(3, 20)
    for i in range(tried):
        folder, kind = tmp_path / str(i), ("save", "batch", "validation")[i % 3]
        folder.mkdir()
        assert exit_code(train, folder, kind, rng.randint(1, moments[kind])) == KILLED
        same += finish(folder) == state
    tally(same, tried)


@pytest.mark.promise("resume", "训练被别的进程按钟点 kill -9 三次，每次都从磁盘上的检查点接着走")
def test_a_run_killed_by_the_clock_again_and_again_resumes_to_the_same_bits(straight, tmp_path, amount, tally):
    state, _, seconds = straight
    rng, same, tried = random.Random(0), 0, amount(1, 5)
    for i in range(tried):
        folder, kills = tmp_path / str(i), 0
        folder.mkdir()
        while kills < 3:
            process = start(train, folder)
            time.sleep(rng.uniform(0.2, 0.6) * seconds)
            process.kill()
            process.join()
            # 机器忽快忽慢，来不及杀就已走完的不算
            if process.exitcode != KILLED:
                break
            kills += 1
        same += finish(folder) == state
    tally(same, tried)
