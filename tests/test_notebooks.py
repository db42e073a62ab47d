"""notebook：与源文件一致、按序执行过、没有不该有的东西；面板的回调整个范围都能用"""
import json
import re
from pathlib import Path

import nbformat
import pytest

from ddpm_edu.teach import Panel, check, slider
from ddpm_edu.teach.build import NOTEBOOKS, read_source, sources

BUILT = [(path, NOTEBOOKS / f"{path.stem}.ipynb") for path in sources()]


@pytest.mark.parametrize(("source", "built"), BUILT, ids=[path.stem for path, _ in BUILT])
def test_built_notebook_is_its_source_executed_in_order(source, built):
    fresh, stored = read_source(source), nbformat.read(built, as_version=4)
    assert [(c.cell_type, c.source, c.id) for c in fresh.cells] == [(c.cell_type, c.source, c.id) for c in stored.cells], (
        "源文件改过而 notebook 没有重建：运行 python course.py build")
    code = [c for c in stored.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    text = built.read_text(encoding="utf-8")
    assert "widget-view" not in text and '"widgets"' not in text and str(Path.home()) not in text and "/tmp/" not in text
    assert not any(o.get("output_type") == "error" for c in code for o in c.outputs)
    ignored = sum("NBVAL_IGNORE_OUTPUT" in c.source for c in code)
    assert ignored <= max(2, len(code) // 10)


@pytest.mark.parametrize("source", [path for path, _ in BUILT], ids=[path.stem for path, _ in BUILT])
def test_prose_follows_the_house_style(source):
    text = source.read_text(encoding="utf-8")
    prose = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for word in ("模特", "亏损", "转发进程", "您", "请注意", "显然", "众所周知", "可以证明"):
        assert word not in prose, word
    for heading in ("学习目标", "预计用时", "## 小结", "## 练习"):
        assert heading in prose
    # 汉字后面不跟半角的逗号、分号、问号
    assert not re.findall(r"[\u4e00-\u9fff][,;?!]", prose)


def test_every_figure_is_followed_by_a_caption():
    for _, built in BUILT:
        cells = json.loads(built.read_text(encoding="utf-8"))["cells"]
        for cell, following in zip(cells, cells[1:]):
            if any("image/png" in o.get("data", {}) for o in cell.get("outputs", [])):
                assert "".join(following["source"]).startswith(("图：", "面板：")), "".join(cell["source"])


def test_check_prints_the_tolerance_and_fails_on_a_wrong_or_nan_value(capsys):
    check("一加一等于二", 1 + 1, 2, atol=0)
    assert capsys.readouterr().out == "✓ 一加一等于二（误差 ≤ 0）\n"
    for wrong in (2.1, float("nan")):
        with pytest.raises(AssertionError, match="一加一"):
            check("一加一", wrong, 2, atol=0.05)


def test_panel_redraws_over_the_whole_range_and_carries_a_static_picture():
    from ddpm_edu.teach.figures import curve_figure

    drawn = []

    def draw(v):
        drawn.append(v)
        return curve_figure([0, 1], {"$y$": [0, v]}, "x", "y")

    panel = Panel(draw, v=slider(0.0, 0.0, 1.0, 0.25, "v"))
    pictures = []
    for value in (0.25, 0.5, 0.75, 1.0, 0.0):
        panel.controls["v"].value = value
        pictures.append(bytes(panel.image.value))
    assert drawn == [0.0, 0.25, 0.5, 0.75, 1.0, 0.0] and len(set(pictures)) == 5
    bundle = panel._repr_mimebundle_()
    assert "image/png" in bundle and "application/vnd.jupyter.widget-view+json" in bundle


@pytest.mark.parametrize("v", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_posterior_figure_draws_the_variance_it_claims(v):
    import torch

    from ddpm_edu.teach.figures import posterior_figure

    low, high = torch.tensor([0.0, 0.1, 0.2]), torch.tensor([0.1, 0.3, 0.4])
    figure = posterior_figure(low, high, v, torch.zeros(6, 1, 8, 8))
    drawn = figure.axes[0].lines[-1].get_ydata()
    torch.testing.assert_close(torch.as_tensor(drawn), ((1 - v) * low + v * high)[1:], rtol=1e-6, atol=0)
