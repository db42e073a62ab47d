"""测量的脚本跑得起来，比的确实是同一份工作；快慢不在这里判断"""
import json

import pytest
import torch

from benchmarks import __main__ as side_by_side
from benchmarks import gpu, quality, rows, scaling, search, step_time
from benchmarks.peers import Ours, Task, contenders
from benchmarks.timing import convolution_peak, interleaved, matmul_peak, train_flops

needs_diffusers = pytest.mark.skipif("diffusers" in contenders(Task.from_config("digits", 1))[1], reason="没有装 benchmarks/requirements.txt")


def test_step_time_prints_a_row_and_writes_json(tmp_path, capsys):
    step_time.main(["digits", "--batch", "2", "--rounds", "1", "--out", str(tmp_path / "a.json")])
    (row,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert row["config"] == "digits" and row["batch"] == 64 and row["measured_batch"] == 2 and row["seconds_per_step"] > 0
    assert "| `digits` | 0.40 M | 64 |" in capsys.readouterr().out


def test_gpu_script_runs_its_whole_path_on_the_cpu(tmp_path):
    gpu.main(["--device", "cpu", "--network", "digits", "--batch", "2", "--rounds", "1", "--samples", "1", "--out", str(tmp_path / "a.json"),
              "--settings", "fp32", "bf16"])
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert set(report["rows"]) == {"fp32", "bf16"} and all(row["images_per_second"] > 0 for row in report["rows"].values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="有 GPU 时它会真的去量")
def test_gpu_script_says_what_is_missing(capsys):
    with pytest.raises(SystemExit) as stop:
        gpu.main([])
    assert stop.value.code == 2 and "GPU" in capsys.readouterr().err


def test_counted_flops_match_the_convolutions():
    task = Task.from_config("digits", 1)
    one, found = Ours(task), []
    hooks = [m.register_forward_hook(lambda m, i, y: found.append(2 * y[0].numel() * m.weight[0].numel()))
             for m in one.network.modules() if isinstance(m, torch.nn.Conv2d)]
    total = train_flops(one.predict, task.images()) / 3
    assert hooks and sum(found) <= total < 1.3 * sum(found)


@pytest.mark.parametrize("name", ["step-digits", "ema-small", "p-sample-digits", "schedule"])
def test_every_quick_row_runs_and_the_table_shows_it(name, tmp_path, capsys):
    side_by_side.main([name, "--quick", "--out", str(tmp_path / "a.json")])
    (row,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["rows"]
    assert row["values"]["ddpm_edu"] > 0 and f"| {row['work']} |" in capsys.readouterr().out


def test_an_unknown_row_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        side_by_side.main(["step"])
    assert stop.value.code == 2 and "step-digits" in capsys.readouterr().err


def test_the_ratio_is_the_fastest_peer_over_ours():
    assert rows.Row("", "s", {"ddpm_edu": 2.0, "a": 6.0, "b": 3.0}).ratio == 1.5
    assert rows.Row("", "s", {"ddpm_edu": 2.0}).ratio != rows.Row("", "s", {"ddpm_edu": 2.0}).ratio


def test_rounds_are_interleaved_and_warm_up_is_not_counted():
    calls = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, warmup=1)
    assert calls == ["a", "b"] * 3 and set(times) == {"a", "b"}


def test_peaks_are_positive():
    assert convolution_peak(1, 4, 4) > 0 and matmul_peak(torch.device("cpu")) > 0


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10"])
def test_the_task_has_the_shape_of_the_configured_network(name):
    from ddpm_edu import configs, count_params, instantiate_from_config

    one = Ours(Task.from_config(name, 1))
    assert count_params(one.network) == count_params(instantiate_from_config(configs.load(name)["model"]["unet_config"]))


@needs_diffusers
def test_peers_have_the_same_number_of_parameters_and_take_a_step():
    task = Task.from_config("digits", 2)
    made, missing = contenders(task)
    assert not missing and len({sum(p.numel() for p in c.network.parameters()) for c in made}) == 1
    for c in made:
        before = next(c.network.parameters()).clone()
        for _ in range(2):
            c.step(task.images())
        assert not torch.equal(before, next(c.network.parameters())) and c.sample(2, "ddim", 3).shape == (2, 1, 8, 8)


def test_scaling_measures_four_lines_and_knows_a_slope(tmp_path):
    assert scaling.slope([(1, 5.0), (2, 4.0), (4, 16.0)]) == pytest.approx(2)
    scaling.draw({name: [(1, 1.0), (2, 2.0)] for name in scaling.LABELS}, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000
    ((x, seconds),) = scaling.training_line([scaling.replace(scaling.BASE, batch=1, image_size=8)], lambda task, one: task.batch, 1)
    assert x == 1 and seconds > 0


def test_every_change_of_the_search_trains(monkeypatch):
    """改动的键都是 DDPM 的参数，造得出模型"""
    from ddpm_edu import DDPM
    from ddpm_edu.recipes import digits_model_config

    for change in search.CHANGES.values():
        DDPM(**{**digits_model_config(20), **change})


def test_quality_trains_ours_and_scores_it(monkeypatch):
    monkeypatch.setattr(quality, "COUNT", 100)
    assert quality.score_ours(2, 0) > 100
