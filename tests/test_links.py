"""链接：上一章、下一章、课程地图、术语、卡片指向的小节，没有一个是死的"""
import functools
import html
import re

import nbformat

from ddpm_edu.authoring import coverage
from ddpm_edu.authoring.build import COURSE_MAP, NOTEBOOKS, read_source, sources
from ddpm_edu.authoring.hosting import TAG
from ddpm_edu.teach import books
from ddpm_edu.teach.cards import CARDS, CardIndex, CardView
from ddpm_edu.teach.tables import term_table
from ddpm_edu.teach.terms import TERMS

PATHS = sources()
# 读一本要一两百毫秒，好几项都要读
fresh = functools.cache(read_source)
LINK = re.compile(r"\]\(([^()\s]+)(?: \"[^\"]*\")?\)")
TITLED = re.compile(r'\[([^\]]+)\]\([^()\s]+ "([^"]+)"\)')
TIED = re.compile(r'^- \[(.)\]\(#cell-id=(\S+) "(.*?)"\) ', re.M)


def anchors(path):
    return {f"cell-id={name}" for name in books.cell_ids(path)}


def dead(text, here=""):
    """text 里指不到东西的链接；网址不算，只写 # 的指向 here 这一本"""
    found, titles = [], {f"{path.stem}.ipynb": path for path in PATHS}
    for target in LINK.findall(re.sub(r"`[^`]*`", "", text)):
        name, _, where = target.partition("#")
        name = name or here
        if "://" in target or name in titles and (not where or where in anchors(titles[name])):
            continue
        if where or not (NOTEBOOKS / name).exists():
            found.append(target)
    return found


def test_no_link_in_a_notebook_is_dead():
    for path in PATHS:
        stored = nbformat.read(NOTEBOOKS / f"{path.stem}.ipynb", as_version=4)
        outputs = [o.data["text/markdown"] for c in stored.cells for o in c.get("outputs", []) if "text/markdown" in o.get("data", {})]
        texts = [c.source for c in fresh(path).cells if c.cell_type == "markdown"] + outputs
        assert dead("\n\n".join(texts), f"{path.stem}.ipynb") == [], path.stem


def test_no_link_in_a_generated_table_or_card_is_dead():
    tables = [item._repr_mimebundle_()["text/markdown"] for item in (CardIndex(), term_table(), *map(CardView, CARDS))]
    tables.append(coverage.CoverageTable().markdown())
    assert dead("\n".join(tables)) == [] and all(LINK.search(table) for table in tables)


def test_a_dead_link_would_be_seen():
    alive = books.link(PATHS[1], "丙", 3)
    assert dead(f"[甲](99_none.ipynb) [乙](09_init.ipynb#cell-id=0) {alive} `[丁](假的)`") == ["99_none.ipynb", "09_init.ipynb#cell-id=0"]
    assert dead('[①](#cell-id=0 "def f(x):")', "09_init.ipynb") == ["#cell-id=0"]


def test_every_mark_in_the_prose_leads_to_its_lines_of_source():
    tied = 0
    for path in PATHS:
        cells = {cell.id: cell for cell in nbformat.read(NOTEBOOKS / f"{path.stem}.ipynb", as_version=4).cells}
        prose = "\n".join(cell.source for cell in fresh(path).cells if cell.cell_type == "markdown")
        assert not re.findall("^- [①-⑫] ", prose, re.M)
        for mark, cell_id, hover in TIED.findall(prose):
            code = next(output.data["text/plain"] for output in cells[cell_id].outputs if "data" in output)
            block = re.split("# ── .\n", code.split(f"# ── {mark}\n")[1])[0]
            told = [line.strip() for line in html.unescape(hover).replace("\\\\", "\\").splitlines()]
            told = told[:-1] if told[-1] == "…" else told
            assert told == [line.strip() for line in block.splitlines()][:len(told)] and len(told) >= min(12, block.count("\n") - 1), (path, mark)
            tied += 1
    assert tied > 300


def test_a_mark_belongs_to_the_source_shown_last_before_it():
    """展示源码的那一格，不论 show_source 前面有没有别的语句"""
    for path in PATHS:
        shown = ""
        for cell in nbformat.read(NOTEBOOKS / f"{path.stem}.ipynb", as_version=4).cells:
            if cell.cell_type == "code" and any("# ── ①\n" in output.get("data", {}).get("text/plain", "") for output in cell.outputs):
                shown = cell.id
            elif cell.cell_type == "markdown":
                assert {cell_id for _, cell_id, _ in TIED.findall(cell.source)} <= {shown}, (path, cell.id)


def test_the_names_of_the_cells_are_unique_and_the_built_ones():
    for path in PATHS:
        names = books.cell_ids(path)
        assert len(set(names)) == len(names) and [cell.id for cell in fresh(path).cells if cell.id != TAG] == ["nav-top", *names, "nav-bottom"]
        assert next(cell.id for cell in fresh(path).cells if cell.cell_type == "code") == TAG, path


def test_every_notebook_leads_to_its_neighbours_the_map_and_the_terms():
    for before, path, after in zip([None, *PATHS], PATHS, [*PATHS[1:], None]):
        first, *_, last = fresh(path).cells
        for cell in (first, last):
            targets = {target.partition("#")[0] for target in LINK.findall(cell.source)}
            wanted = {f"{p.stem}.ipynb" for p in (before, after, PATHS[0], books.book(90), books.book(91)) if p}
            assert targets == wanted, path
        # 停在术语上就看得到英文与意思，不必跳走
        links = dict(TITLED.findall(last.source))
        assert all(html.unescape(links[term.chinese]) == f"{term.english}：{term.note}" for term in TERMS if path.stem.startswith(f"{term.chapter:02d}"))


def test_the_map_is_text_and_survives_a_stopped_run():
    here = next(cell for cell in fresh(PATHS[0]).cells if "## 6　课程地图" in cell.source)
    assert here.cell_type == "markdown" and coverage.CoverageTable().markdown() in here.source
    assert not any(COURSE_MAP in cell.source for path in PATHS for cell in fresh(path).cells)


def test_a_card_leads_to_the_cell_that_shows_the_line():
    for name, shown in {"monitor": "DDPM.configure_callbacks", "use_ema": "self.model = DiffusionWrapper", "learn_logvar": "logvar",
                        "v_posterior": "diffusion_tables"}.items():
        ((book, where),) = [target.split("#") for target in LINK.findall(CardView(name).markdown()) if ".ipynb#" in target]
        path = next(path for path in PATHS if f"{path.stem}.ipynb" == book)
        cell = books.read_cells(path)[books.cell_ids(path).index(where.removeprefix("cell-id="))]
        assert cell.text.startswith("show_source(") and shown in cell.text, name
