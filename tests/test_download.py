"""下载：走真正的代码，对着本机会出故障的服务器；每次之后，最终的名字下要么没有文件，要么是对的"""
import functools
import hashlib
import logging
import threading
import time

import numpy as np
import pytest

from ddpm_edu.data.download import MIRROR_VARIABLE, DataUnavailableError, fetch
from ddpm_edu.data.transfer import RemoteFile

from .program import start

CONTENT = np.random.RandomState(0).bytes(400_000)
FILE = RemoteFile("thing.gz", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
HALF = len(CONTENT) // 2


@pytest.fixture(autouse=True)
def served(server, monkeypatch):
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    server.files[FILE.name] = CONTENT


def get(server, folder, *faults, **kwargs):
    return fetch(folder, FILE, [server.url(fault) for fault in faults], progress=False, **kwargs)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "等了一分钟"
        time.sleep(0.01)


FAULTS = {
    "404": "服务器答复 404", "503": "服务器答复 503", "truncated": "中途断开", "wrong": "SHA-256 不对", "short": "应有 400000 个字节",
    "html": "网页", "loop": "重定向", "endless": "SHA-256 不对", "drip": "太慢", "silent": "等不到答复",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_nothing_under_the_final_name_and_the_next_mirror_mends_it(server, tmp_path, fault):
    with pytest.raises(DataUnavailableError, match=f"{fault}/{FILE.name}：.*{FAULTS[fault]}") as caught:
        get(server, tmp_path, fault, patience=0.5 if fault in ("drip", "silent") else 30)
    for advice in (FILE.sha256, str(tmp_path / FILE.name), MIRROR_VARIABLE, "DigitsDataModule"):
        assert advice in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} <= {f"{FILE.name}.part", f"{FILE.name}.lock"}
    followers = (fault, "ok") if fault not in ("drip", "silent") else ("ok",)
    assert get(server, tmp_path, *followers) == tmp_path / FILE.name
    assert (tmp_path / FILE.name).read_bytes() == CONTENT
    assert {p.name for p in tmp_path.iterdir()} <= {FILE.name, f"{FILE.name}.lock"}


def test_a_dripping_server_is_left_long_before_it_ends(server, tmp_path):
    with pytest.raises(DataUnavailableError, match="太慢"):
        get(server, tmp_path, "drip", patience=0.2)
    # 服务器一共会给 1500 个字节；等凑满一块才看时间的写法会把它们全收下
    assert 0 < (tmp_path / f"{FILE.name}.part").stat().st_size < 1500


def test_the_error_lists_every_address_with_its_reason(server, tmp_path):
    closed = "http://127.0.0.1:9/gone"
    with pytest.raises(DataUnavailableError) as caught:
        fetch(tmp_path, FILE, [server.url("404"), closed, server.url("wrong")], progress=False)
    lines = str(caught.value).splitlines()
    assert [line.split("：")[0].strip() for line in lines[1:4]] == [
        f"{base}/{FILE.name}" for base in (server.url("404"), closed, server.url("wrong"))]
    assert "连不上：" in lines[2] and len(lines[2]) < 200


def test_a_broken_transfer_continues_where_it_stopped_even_on_another_mirror(server, tmp_path):
    assert get(server, tmp_path, "truncated", "ok").read_bytes() == CONTENT
    assert server.seen == [(f"/truncated/{FILE.name}", None), (f"/ok/{FILE.name}", f"bytes={HALF}-")]
    assert server.sent == [HALF, len(CONTENT) - HALF]


@pytest.mark.parametrize("fault, requests", [("norange", 1), ("norange416", 2), ("misplaced", 2)])
def test_a_server_that_cannot_continue_starts_over(server, tmp_path, fault, requests):
    (tmp_path / f"{FILE.name}.part").write_bytes(CONTENT[:1000])
    assert get(server, tmp_path, fault).read_bytes() == CONTENT
    assert [offset for _, offset in server.seen] == ["bytes=1000-", None][:requests]


@pytest.mark.parametrize("part, ranges", [
    (b"\0" * 1000, ["bytes=1000-", None]), (b"\0" * len(CONTENT), [None]), (CONTENT + b"more", [None]),
])
def test_a_corrupt_part_never_poisons_the_next_try(server, tmp_path, part, ranges):
    (tmp_path / f"{FILE.name}.part").write_bytes(part)
    assert get(server, tmp_path, "ok").read_bytes() == CONTENT
    assert [offset for _, offset in server.seen] == ranges


def test_a_file_already_there_costs_no_request_and_no_write(server, tmp_path):
    folder = tmp_path / "offline"
    folder.mkdir()
    (folder / FILE.name).write_bytes(CONTENT)
    folder.chmod(0o555)
    before = folder.stat().st_mtime_ns
    assert get(server, folder, "ok").read_bytes() == CONTENT
    # 以 root 运行时只读位不起作用；建过又删掉的文件会改动目录的修改时间
    assert folder.stat().st_mtime_ns == before and [p.name for p in folder.iterdir()] == [FILE.name]
    folder.chmod(0o755)
    assert server.seen == []


def test_a_wrong_file_stays_until_a_verified_one_replaces_it(server, tmp_path, caplog):
    (tmp_path / FILE.name).write_bytes(b"old")
    with pytest.raises(DataUnavailableError):
        get(server, tmp_path, "wrong", "truncated")
    assert (tmp_path / FILE.name).read_bytes() == b"old" and "与摘要不符" in caplog.text
    assert get(server, tmp_path, "ok").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_an_error_before_any_request(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataUnavailableError, match="(?s)不能写.*放到.*DigitsDataModule"):
        get(server, tmp_path / "file" / "mnist", "ok")
    assert server.seen == []


def test_own_mirror_comes_first_with_and_without_the_folder_name(server, tmp_path, monkeypatch):
    get(server, tmp_path / "mnist", "ok", mirror=server.url("404"))
    monkeypatch.setenv(MIRROR_VARIABLE, server.url("503") + "/")
    get(server, tmp_path / "cifar", "ok")
    assert [path for path, _ in server.seen] == [f"/{base}/{FILE.name}" for base in ("404/mnist", "404", "ok", "503/cifar", "503", "ok")]
    for value in ("ftp://host/x", "D:/data"):
        monkeypatch.setenv(MIRROR_VARIABLE, value)
        with pytest.raises(ValueError, match=f"{MIRROR_VARIABLE}.*{value}"):
            get(server, tmp_path / "new", "ok")


def test_two_fetches_at_once_download_once(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, "ddpm_edu")
    results = []
    threads = [threading.Thread(target=lambda: results.append(get(server, tmp_path, "gated"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: "等它下完" in caplog.text and server.seen)
    server.gate.set()
    for thread in threads:
        thread.join(60)
    assert [path.read_bytes() for path in results] == [CONTENT] * 2 and len(server.seen) == 1
    assert "不符" not in caplog.text


def test_a_killed_process_leaves_neither_a_stuck_lock_nor_lost_bytes(server, tmp_path, caplog):
    child = start(functools.partial(fetch, progress=False), tmp_path, FILE, [server.url("gated")])
    try:
        part = tmp_path / f"{FILE.name}.part"
        wait_for(lambda: not child.is_alive() or (part.exists() and part.stat().st_size > HALF - 20_000))
        results = []
        waiting = threading.Thread(target=lambda: results.append(get(server, tmp_path, "gated")))
        waiting.start()
        wait_for(lambda: "等它下完" in caplog.text)
        assert len(server.seen) == 1 and not results
    finally:
        child.kill()
        child.join()
    waiting.join(60)
    assert results[0].read_bytes() == CONTENT
    assert int(server.seen[1][1].removeprefix("bytes=").removesuffix("-")) > HALF - 20_000


def test_the_bar_is_quiet_when_asked(server, tmp_path, capfd):
    get(server, tmp_path / "quiet", "ok")
    assert capfd.readouterr() == ("", "")
    fetch(tmp_path / "loud", FILE, [server.url("ok")])
    assert "thing.gz: 100%" in capfd.readouterr().err
