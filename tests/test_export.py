"""导出的网页：公式留给同目录的 MathJax（排得对不对，tests/browser 里看），链接指得到，没有一个外部的地址"""
import re

import nbformat
import pytest
from bs4 import BeautifulSoup

from ddpm_edu.authoring import export, slides
from ddpm_edu.authoring.build import NOTEBOOKS, sources
from ddpm_edu.authoring.hosting import without_first_cell

FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$]+?)\$", re.S)
NAMES = [path.stem for path in sources()]


@pytest.fixture(scope="module")
def names(pytestconfig):
    """平时只导出三本：公式多的、面板多的、全是表的；--full 时全部"""
    return [name for name in NAMES if pytestconfig.getoption("full") or name[:2] in ("04", "06", "90")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("html")
    home = export.export(folder, [NOTEBOOKS / f"{name}.ipynb" for name in names])
    assert home.exists() and (folder / "style.css").exists() and b"MathJax" in (folder / "mathjax.js").read_bytes()
    return {path.stem: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in folder.glob("*.html")}


def test_every_notebook_becomes_a_page(pages, names, tmp_path, monkeypatch):
    assert set(pages) == {*names, "index"} and f"url={names[0]}.html" in str(pages["index"])
    # 不写是哪几本，就是全部
    monkeypatch.setattr(export, "render", lambda path: "")
    export.export(tmp_path)
    assert {path.stem for path in tmp_path.glob("*.html")} == {*NAMES, "index"}


def test_every_formula_reaches_the_page_and_nothing_comes_from_outside(pages, names):
    for name in names:
        page = pages[name]
        stored = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        prose = re.sub(r"```.*?```|`[^`]*`", "", "\n\n".join(c.source for c in stored.cells if c.cell_type == "markdown"), flags=re.S)
        texts = [text for text in page.body.find_all(string=True) if not text.find_parent(["pre", "code"])]
        assert len(FORMULA.findall("".join(texts))) >= len(FORMULA.findall(prose)), name
        # 公式之外没有落单的 TeX
        assert not re.search(r"\$|\\[a-z]", FORMULA.sub("", "".join(texts))), name
        assert not page.body.find_all(["script", "iframe"]) and not [t for t in page.body.find_all(src=True) if not t["src"].startswith("data:")], name
        assert [script.get("src") for script in page.head.find_all("script")] == [None, "mathjax.js"], name
        assert [tag["href"] for tag in page.find_all("link")] == ["style.css"], name


def test_links_between_pages_lead_somewhere(pages, names):
    followed = 0
    for here, page in pages.items():
        for a in page.find_all("a", href=True):
            name, _, where = a["href"].partition("#")
            name = name or here
            if a["href"].startswith("https://"):
                # 引用的出处，点了才去
                continue
            name = name.removesuffix(".html")
            assert name in NAMES and (not where or name not in pages or pages[name].find(id=where)), a["href"]
            followed += bool(where) and name in pages
    assert followed > 2 * len(names)


def test_a_formula_keeps_its_special_characters_and_links_lead_to_pages():
    title, body = export.finish("<h1>甲 乙</h1><p>$a&lt;b$ 与 <code>$x$</code></p><p>$$c\n+d$$</p><a href='09_init.ipynb#x'>丙</a>")
    soup = BeautifulSoup(body, "html.parser")
    assert title == "甲 乙" and soup.p.text == "$a<b$ 与 $x$" and soup.a["href"] == "09_init.html#x"


def test_slides_hold_every_cell_but_navigation_and_exercises(tmp_path, capsys):
    slides.main(["03", "--out", str(tmp_path / "讲 稿")])
    (page,) = (tmp_path / "讲 稿").glob("*.html")
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    stored = without_first_cell(nbformat.read(NOTEBOOKS / f"{page.stem}.ipynb", as_version=4)).cells
    # 练习与小结在同一个单元里；开头的导航不算
    wanted = next(i for i, cell in enumerate(stored) if "\n## 练习" in cell.source)
    assert "小结" in soup.get_text() and "练习" not in [h2.get_text() for h2 in soup.find_all("h2")] and "☐" not in soup.get_text()
    assert len(soup.select("section > div.cell")) == wanted and all(section.select(".text_cell") for section in soup.find_all("section"))
    assert not [s for s in soup.find_all("section") if s.get_text().strip().startswith(("①", "图：", "面板："))]
    assert [tag["href"] for tag in soup.find_all("link")] == ["style.css", "slides.css"]
    assert all((tmp_path / "讲 稿" / name).exists() for name in ("slides.css", "style.css", "mathjax.js")) and page.name in capsys.readouterr().out


def test_without_mathjax_nothing_is_written_but_what_to_do_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="course.py export"):
        export.export(tmp_path / "html")
    assert not list((tmp_path / "html").iterdir())


def test_slides_of_no_such_chapter_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        slides.main(["77"])
    assert stop.value.code == 2 and "没有第 77 章" in capsys.readouterr().err


def test_asking_for_help_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, code in ((["--help"], 0), (["--out", "页"], 2), (["甲", "乙"], 2)):
        with pytest.raises(SystemExit) as stopped:
            export.main(arguments)
        assert stopped.value.code == code and not list(tmp_path.iterdir())
    assert "build/html" in capsys.readouterr().out
