"""测量的脚本跑得起来；快慢不在这里判断"""
import json
import sys

import pytest
import torch

from benchmarks import gpu, step_time


def test_step_time_prints_a_row_and_writes_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["step_time", "digits", "--batch", "2", "--rounds", "1", "--out", str(tmp_path / "a.json")])
    step_time.main()
    (row,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert row["config"] == "digits" and row["batch"] == 64 and row["measured_batch"] == 2 and row["seconds_per_step"] > 0
    assert "| `digits` | 0.40 M | 64 |" in capsys.readouterr().out


def test_gpu_script_runs_its_whole_path_on_the_cpu(tmp_path, monkeypatch, capsys):
    arguments = ["gpu", "--device", "cpu", "--network", "digits", "--batch", "2", "--rounds", "1", "--samples", "1", "--out", str(tmp_path / "a.json"),
                 "--settings", "fp32", "bf16 + channels_last"]
    monkeypatch.setattr(sys, "argv", arguments)
    gpu.main()
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert set(report["rows"]) == {"fp32", "bf16 + channels_last"} and all(row["images_per_second"] > 0 for row in report["rows"].values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="有 GPU 时它会真的去量")
def test_gpu_script_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit) as stop:
        gpu.main()
    assert stop.value.code == 2 and "GPU" in capsys.readouterr().err


def test_counted_flops_match_the_convolutions():
    model = gpu.make_model("digits", torch.device("cpu"))
    x, found = torch.zeros(1, 1, 8, 8), []
    hooks = [m.register_forward_hook(lambda m, i, y: found.append(2 * y[0].numel() * m.weight[0].numel()))
             for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    total = gpu.forward_flops(model, x)
    assert hooks and sum(found) <= total < 1.3 * sum(found)
