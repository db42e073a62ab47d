"""网页里活的面板：描述取自 notebook 里的那一块面板，写成的文件完整；算得对不对，tests/browser 里看"""
import json
import re
import sys

import nbformat
import pytest

from ddpm_edu.authoring.site import panels
from ddpm_edu.teach import panels as teach
from ddpm_edu.teach.books import NOTEBOOKS, sources
from ddpm_edu.teach.figures import size_in_points


@pytest.fixture(scope="module")
def live():
    return panels.live_panels()


@pytest.fixture(scope="module")
def descriptions(tmp_path_factory, live):
    target = panels.write_panels(tmp_path_factory.mktemp("site"), live)
    text = target.read_text(encoding="utf-8")
    return json.loads(text[text.index("= {", text.index(".panels")) + 2:].rstrip(";\n"))


def test_every_panel_of_the_course_is_live_or_known_to_stay_still(live):
    called = {name for path in sources() for name in re.findall(r"^(\w+_panel)\(", path.read_text(encoding="utf-8"), re.M)}
    assert set(live) | set(panels.STILL) == set(teach.__all__) and not set(live) & set(panels.STILL)
    assert called == set(teach.__all__)


def stored_panels():
    """notebook 里存着的面板：{函数名: (文字, 图的大小)}"""
    found = {}
    for path in sources():
        for cell in nbformat.read(NOTEBOOKS / f"{path.stem}.ipynb", as_version=4).cells:
            for name in re.findall(r"^(\w+_panel)\(", cell.source, re.M) if cell.cell_type == "code" else ():
                output = next(o for o in cell.outputs if "image/png" in o.get("data", {}))
                found[name] = output.data["text/plain"], output.metadata["image/png"]
    return found


def test_the_live_panels_are_the_ones_the_notebooks_made(live, descriptions):
    stored = stored_panels()
    for name, (panel, _) in live.items():
        words, size = stored[name]
        assert re.sub("<[^>]+>", "", descriptions[name]["note"]) in words, name
        across = len(panel.sheet) if panel.across is True else int(panel.across) or 1
        assert size["width"] == across * size_in_points(panel.plot.figure)["width"], name


def test_a_description_names_every_control_and_every_curve(live, descriptions):
    for name, (panel, _) in live.items():
        said = descriptions[name]
        assert [control["name"] for control in said["controls"]] == list(panel.controls)
        for control in said["controls"]:
            kept = panel.controls[control["name"]]
            assert (control["label"], control["value"]) == (kept.description, kept.value), (name, control)
            if control["kind"] == "choice":
                assert [value for _, value in control["options"]] == list(kept.options)
            elif control["kind"] != "checkbox":
                assert (control["min"], control["max"], control["step"]) == (kept.min, kept.max, kept.step), (name, control)
        data, _ = panel.compute(**{key: control.value for key, control in panel.controls.items()})
        axes = [axis for row in said["plot"]["rows"] for axis in row]
        drawn = {axis["image"] for axis in axes if "image" in axis} | {line["name"] for axis in axes for line in axis.get("lines", ())}
        assert drawn == set(data) | set(said["fixed"]) == set(panel.plot.artists), name
        assert not set(data) & set(said["fixed"]), name


def test_ticks_and_looks_are_the_ones_matplotlib_draws(live, descriptions):
    axis = descriptions["beta_panel"]["plot"]["rows"][0][0]
    assert axis["y"] == {"label": r"$\beta_t$", "log": True, "range": [1e-5, 1.5], "ticks": [
        [pytest.approx(10.0**k), rf"$\mathdefault{{10^{{{k}}}}}$"] for k in range(-5, 1)]}
    assert [text for _, text in axis["x"]["ticks"]] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    reference, table = axis["lines"]
    # 先写的画在上面，所以排在后面
    assert (table["name"], table["color"], table["style"], table["width"]) == ("beta", "blue", "-", 2.0)
    assert (reference["name"], reference["color"], reference["style"]) == ("beta_reference", "gray", "--")
    assert axis["legend"] == ["beta", "beta_reference"] and len(descriptions["beta_panel"]["fixed"]["snr_reference"][0]) == 100
    # 负的刻度也在，直方图是台阶
    pixels = descriptions["forward_panel"]["plot"]["rows"][0][1]
    assert [place for place, _ in pixels["x"]["ticks"]] == [-4, -2, 0, 2, 4]
    assert {line["name"]: line["steps"] for line in pixels["lines"]} == {"histogram": True, "normal": False}


def test_describing_a_panel_moves_nothing(live):
    panel, _ = live["chain_panel"]
    before = panel.frame()
    panel.describe()
    assert panel.frame() == before


def test_a_description_needs_no_widgets(monkeypatch, descriptions):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    again = teach.ema_panel().describe()
    assert json.loads(json.dumps(again)) == {key: value for key, value in descriptions["ema_panel"].items() if key != "extra"}
