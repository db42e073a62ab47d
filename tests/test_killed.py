"""kill -9：在训练或保存的任何一刻被杀，文件不是旧的就是新的，续训与从未停下逐位相同"""
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import pytest

from ddpm_edu.files.checkpoint import load_checkpoint, save_checkpoint

from .kill_worker import save, train, trained
from .program import exit_code, start
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
    began = time.monotonic()
    state = finish(folder)
    return state, json.loads((folder / "result.json").read_text())["moments"], time.monotonic() - began


def test_a_run_killed_at_random_moments_of_every_kind_resumes_to_the_same_bits(straight, tmp_path, amount, tally):
    """一次运行被杀三回：保存到一半、训练的一步里、验证里各一回"""
    state, moments, _ = straight
    rng, same, tried = random.Random(0), 0, amount(1, 20)
    for i in range(tried):
        folder = tmp_path / str(i)
        folder.mkdir()
        # 前两回各走不到全程的四分之一，第三回就至少还有一半，所以每回都走得到
        for kind, parts in zip(rng.sample(sorted(moments), 3), (4, 4, 2)):
            assert exit_code(train, folder, kind, rng.randint(1, moments[kind] // parts)) == KILLED
        same += finish(folder) == state
    tally(same, tried)


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


@pytest.fixture
def other_disk(tmp_path):
    """另一个文件系统上的临时目录"""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("没有另一个文件系统可放 TMPDIR")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.mark.parametrize("by_trainer", [False, True])
def test_a_save_killed_anywhere_leaves_the_old_file_or_the_new(by_trainer, other_disk, tmp_path, amount, tally):
    path, whole, tried, seen = tmp_path / "a.ckpt", 0, amount(4, 50), set()
    for step in (1, 2) if by_trainer else ():
        trained(step, tmp_path)
    assert exit_code(save, path, by_trainer, 2) == 0
    new, last = path.read_bytes(), int(path.with_suffix(".json").read_text())
    assert exit_code(save, path, by_trainer, 1) == 0
    old = path.read_bytes()
    # 末尾四个时刻是 fsync 前后、换名前后，都要试；其余的均匀铺开
    for n in [*(1 + i * (last - 5) // (tried - 5) for i in range(tried - 4)), *range(last - 3, last + 1)]:
        path.write_bytes(old)
        assert exit_code(save, path, by_trainer, 2, n, other_disk) == KILLED
        seen.add(load_checkpoint(path)["global_step"])
        whole += path.read_bytes() in (old, new)
    assert seen == {1, 2}
    tally(whole, tried)


def test_what_a_killed_save_leaves_is_no_checkpoint_and_is_swept_later(tmp_path):
    path = tmp_path / "a[1].ckpt"
    assert exit_code(save, path, False, 1, 5) == exit_code(save, path, False, 1, 9) == KILLED
    old, young = tmp_path.iterdir()
    assert not list(tmp_path.glob("*.ckpt")) and {old.suffix, young.suffix} == {".part"}
    os.utime(old, (time.time() - 3700,) * 2)
    # 别的文件的临时文件，多旧也不归它管
    other = tmp_path / ".a1.ckpt.x.part"
    other.touch()
    os.utime(other, (0, 0))
    save_checkpoint({"x": 1}, path)
    assert set(tmp_path.iterdir()) == {path, young, other}
