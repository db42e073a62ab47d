"""两个进程一起训练（gloo，CPU）：权重与 EMA 逐位相同，噪声各不相同，一个出错全体结束"""
import json
import socket

import pytest

from .ddp_worker import main
from .program import Program
from .test_interrupt import wait_for, windows

pytestmark = windows


def launch(folder):
    """像 torchrun 一样，把两个进程都起好"""
    for name in ("straight", "joined", "failing"):
        (folder / name).mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [Program(main, folder, cwd=folder, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", NODE_RANK="0", LOCAL_RANK=rank,
                    PL_TORCH_DISTRIBUTED_BACKEND="gloo") for rank in "01"]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """走到底、停下、续完，最后一次训练里 1 号进程故意出错；返回目录与两个进程的下场"""
    folder = tmp_path_factory.mktemp("ddp")
    processes = launch(folder)
    try:
        wait_for(lambda: (folder / "failing" / "failed").exists() or not all(program.process.is_alive() for program in processes), seconds=170)
        done = [program.end(30) for program in processes]
    finally:
        for program in processes:
            program.process.kill()
    return folder, done


@pytest.fixture(scope="module")
def ranks(ended):
    folder, done = ended
    written = [folder / f"rank-{rank}.json" for rank in (0, 1)]
    assert all(path.exists() for path in written), done
    return [json.loads(path.read_text()) for path in written]


def test_ranks_have_the_same_weights_and_ema(ranks):
    first, second = (rank["straight"] for rank in ranks)
    assert first["steps"] == 7 and first["hash"] == second["hash"]


def test_ema_ticks_once_per_optimizer_step_on_every_rank(ranks):
    for rank in ranks:
        # 一轮 5 批，两批一步，最后一批自成一步
        assert rank["straight"]["ticks"] == [[s, s] for s in (0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7)]


def test_every_rank_draws_its_own_t_and_noise(ranks):
    draws = [rank["straight"]["draws"] for rank in ranks]
    assert len(draws[0]) == len(draws[1]) == 12
    for position in (slice(0, 5), 5):
        seen = [str(draw[position]) for rank in draws for draw in rank]
        assert len(set(seen)) == len(seen)


def test_ranks_see_disjoint_shards(ranks):
    epochs = [[i for batch in rank["straight"]["images"][:5] for i in batch] for rank in ranks]
    assert len(set(epochs[0] + epochs[1])) == 50


def test_validation_with_a_last_short_batch_finishes(ranks):
    assert [rank["straight"]["validated"] for rank in ranks] == [[5, 2] * 2] * 2


def test_a_stop_seen_by_one_rank_stops_all_at_the_same_step_and_resumes_to_the_same_bits(ranks):
    assert [rank["stopped"]["stopped_at"] for rank in ranks] == [2, 2]
    assert {rank["joined"]["hash"] for rank in ranks} == {ranks[0]["straight"]["hash"]}
    assert ranks[0]["stopped"]["draws"] + ranks[0]["joined"]["draws"] == ranks[0]["straight"]["draws"]


def test_a_failing_rank_ends_all_within_thirty_seconds(ended):
    folder, done = ended
    assert all(one.returncode for one in done) and "故意" in done[1].stderr
    assert not list((folder / "failing").rglob("*.ckpt"))
