"""notebook：与源文件一致、按序执行过、没有不该有的东西；证明用的工具自己也会失败"""
import base64
import io
import json
import re
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from PIL import Image

from ddpm_edu.authoring import build
from ddpm_edu.authoring.build import NOTEBOOKS, join_sentences, read_source, sources
from ddpm_edu.authoring.coverage import read_cells
from ddpm_edu.authoring.hosting import TAG
from ddpm_edu.authoring.syllabus import discussion, syllabus
from ddpm_edu.teach.cards import CARDS, CardView

ROOT = Path(__file__).resolve().parents[1]
BUILT = [(path, NOTEBOOKS / f"{path.stem}.ipynb") for path in sources()]


def contents(notebook):
    return [(c.cell_type, c.source, c.id, c.metadata) for c in notebook.cells]


def test_a_built_notebook_is_its_source_executed_in_order():
    stored = {source: nbformat.read(built, as_version=4) for source, built in BUILT}
    stale = [source.stem for source, notebook in stored.items() if contents(notebook) != contents(read_source(source))]
    assert not stale, f"源文件改过而 notebook 没有重建：运行 python course.py build {' '.join(stale)}"
    for source, notebook in stored.items():
        code = [c for c in notebook.cells if c.cell_type == "code"]
        assert [c.execution_count for c in code] == list(range(1, len(code) + 1)), source.stem
        assert not any(o.get("output_type") == "error" for c in code for o in c.outputs), source.stem
        assert sum("NBVAL_IGNORE_OUTPUT" in c.source for c in code) <= max(2, len(code) // 10), source.stem


def test_rewriting_the_text_keeps_the_outputs_and_refuses_changed_code(tmp_path, monkeypatch):
    source, built = next(pair for pair in BUILT if pair[0].stem.startswith("90"))
    monkeypatch.setattr(build, "NOTEBOOKS", tmp_path)
    shutil.copy(built, tmp_path)
    notebook = json.loads((tmp_path / built.name).read_text(encoding="utf-8"))
    notebook["cells"][1]["source"] = "旧的文字"
    (tmp_path / built.name).write_text(json.dumps(notebook), encoding="utf-8")
    build.rewrite(source)
    assert (tmp_path / built.name).read_bytes() == built.read_bytes()
    # 代码不同，就不写
    cell = next(cell for cell in reversed(notebook["cells"]) if cell["cell_type"] == "code")
    cell["source"] = "旧的代码"
    (tmp_path / built.name).write_text(json.dumps(notebook), encoding="utf-8")
    before = (tmp_path / built.name).read_bytes()
    with pytest.raises(SystemExit, match="代码改过"):
        build.rewrite(source)
    assert (tmp_path / built.name).read_bytes() == before


def test_a_built_notebook_holds_nothing_of_the_machine_that_built_it():
    for _, built in BUILT:
        text = built.read_text(encoding="utf-8")
        assert not [word for word in ("widget-view", '"widgets"', str(Path.home()), str(ROOT), "/tmp/") if word in text], built.stem


def test_prose_follows_the_house_style():
    for source, _ in BUILT:
        text = source.read_text(encoding="utf-8")
        prose = "\n".join(line for line in text.splitlines() if line.startswith("#"))
        for word in ("模特", "亏损", "转发进程", "您", "请注意", "显然", "众所周知", "可以证明"):
            assert word not in prose, (source.stem, word)
        for heading in ("学习目标", "预计用时", "## 小结", "## 练习"):
            assert heading in prose, (source.stem, heading)
        # 汉字后面不跟半角的逗号、分号、问号
        assert not re.findall(r"[\u4e00-\u9fff][,;?!]", prose), source.stem


def test_every_figure_is_followed_by_a_caption():
    for _, built in BUILT:
        cells = json.loads(built.read_text(encoding="utf-8"))["cells"]
        for cell, following in zip(cells, cells[1:]):
            pictures = [o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
            for output in pictures:
                # 一点两像素，高分屏上不糊
                stored, size = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))), output["metadata"]["image/png"]
                assert abs(stored.width - 2 * size["width"]) <= 1 and abs(stored.height - 2 * size["height"]) <= 1
            if pictures:
                assert "".join(following["source"]).startswith(("图：", "面板：")), "".join(cell["source"])


def test_code_cells_are_short_and_prose_names_no_line_numbers():
    for cell in (cell for source, _ in BUILT for cell in read_cells(source)):
        lines = [line for line in cell.text.splitlines() if line.strip()]
        assert not cell.code or len(lines) <= 20, cell.text
        if not cell.code:
            assert not re.search(r"第 ?\d+ ?行", cell.text), "行号会过时"


def test_sentences_of_a_paragraph_are_joined_but_lists_tables_and_formulas_are_not():
    text = "第一句。\n第二句，\n$x$ 也连上：\n\n$$y$$\n\n- 甲；\n- 乙。\n1. 丙。\n2. 丁：\n$$z$$\n| 表。\n| 行 |\nEnglish\n下一行"
    assert join_sentences(text) == (
        "第一句。第二句，$x$ 也连上：\n\n$$y$$\n\n- 甲；\n- 乙。\n1. 丙。\n2. 丁：\n$$z$$\n| 表。\n| 行 |\nEnglish\n下一行")


def test_the_input_of_a_source_display_is_folded_and_nothing_else():
    for _, built in BUILT:
        for cell in nbformat.read(built, as_version=4).cells:
            folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
            assert folded == (cell.cell_type == "code" and (cell.source.startswith("show_source(") or cell.id == TAG))


@pytest.mark.parametrize(("stats", "code"), [({"xfailed": ["那一格"], "passed": ["别的"]}, 1), ({"passed": ["都核对了"]}, 0)])
def test_a_cell_that_times_out_is_a_failure_not_a_pass(stats, code):
    """nbval 把超时的那一格记成 xfail，之后的照样算过；真的超时试过一次，这里只问判断"""
    reporter = SimpleNamespace(stats=stats, write_line=lambda *args, **kwargs: None)
    config = SimpleNamespace(getoption=lambda name, default: name == "nbval",
                             pluginmanager=SimpleNamespace(get_plugin=lambda name: reporter))
    session = SimpleNamespace(config=config, exitstatus=0)
    runpy.run_path(str(ROOT / "conftest.py"))["pytest_sessionfinish"](session)
    assert session.exitstatus == code


def test_the_stored_cards_and_tables_say_what_the_texts_say_now():
    """卡片与给教师的表由别处的文字算出来；那里改了，展示它们的书要重建"""
    tables, checked = {f"{table.__name__}()": table for table in (syllabus, discussion)}, 0
    for path, built in BUILT:
        for cell in nbformat.read(built, as_version=4).cells:
            for line in cell.source.splitlines() if cell.cell_type == "code" else ():
                name = re.fullmatch(r'card\("(\w+)"\)', line)
                if not name and line not in tables:
                    continue
                view = CardView(name[1]) if name else tables[line]()
                stored = [output.data.get("text/markdown") for output in cell.outputs if "data" in output]
                assert view._repr_mimebundle_()["text/markdown"] in stored, f"{path.stem} 里 {line} 的输出过时了：运行 python course.py build {path.stem}"
                checked += 1
    assert checked == len(CARDS) + len(tables)
