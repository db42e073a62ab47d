"""导出的网页书：公式留给 MathJax（排得对不对，tests/browser 里看），链接指得到，图有替代文字，搜得全，没有一个外部的地址"""
import base64
import gzip
import json
import re

import nbformat
import pytest
from bs4 import BeautifulSoup

from ddpm_edu.authoring import slides
from ddpm_edu.authoring.build import NOTEBOOKS, sources
from ddpm_edu.authoring.hosting import without_first_cell
from ddpm_edu.authoring.site import __main__ as command
from ddpm_edu.authoring.site import book, cover, navigation, printing, words
from ddpm_edu.authoring.site.frame import ASSETS
from ddpm_edu.authoring.site.live import PAGES
from ddpm_edu.authoring.site.pages import Page, mark_blocks, name_sections, parse, read_page
from ddpm_edu.authoring.site.search import entries, squeezed
from ddpm_edu.teach.terms import TERMS

FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$]+?)\$", re.S)
NAMES = [path.stem for path in sources()]
REPOSITORY = "https://github.com/someone/course"


@pytest.fixture(scope="module")
def names(pytestconfig):
    """平时只导出三本：公式多的、面板多的、全是表的；--full 时全部"""
    return [name for name in NAMES if pytestconfig.getoption("full") or name[:2] in ("04", "06", "90")]


@pytest.fixture(scope="module")
def written(tmp_path_factory, names):
    """(文件夹, 各页)；在 GitHub Actions 里，仓库的地址不写也有"""
    folder = tmp_path_factory.mktemp("html")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_SERVER_URL", "https://github.com")
        patch.setenv("GITHUB_REPOSITORY", "someone/course")
        home, pages = book.export(folder, [NOTEBOOKS / f"{name}.ipynb" for name in names])
    assert home == folder / "index.html" and b"MathJax" in (folder / "assets" / "mathjax.js").read_bytes()
    return folder, pages


@pytest.fixture(scope="module")
def pages(written):
    return {path.stem: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in written[0].glob("*.html")}


def stored(name):
    return without_first_cell(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)).cells


def test_every_notebook_becomes_a_page_and_every_asset_is_copied(written, pages, names, tmp_path, monkeypatch):
    assert set(pages) == {*names, "index", *PAGES}
    assert {path.name for path in ASSETS.iterdir()} <= {path.name for path in (written[0] / "assets").iterdir()}
    # 不写是哪几本，就是全部
    asked = []
    for name in ("write_panels", "write_live"):
        monkeypatch.setattr(book, name, lambda *given: None)
    monkeypatch.setattr(book, "read_page", lambda path: asked.append(path.stem) or Page(path.stem, parse("<h1 id='甲'>甲</h1>")))
    book.export(tmp_path)
    assert asked == NAMES


def test_every_formula_reaches_the_page_and_nothing_comes_from_outside(pages, names):
    for name in names:
        page = pages[name]
        prose = re.sub(r"```.*?```|`[^`]*`", "", "\n\n".join(c.source for c in stored(name)[1:-1] if c.cell_type == "markdown"), flags=re.S)
        texts = [text for text in page.main.find_all(string=True) if not text.find_parent(["pre", "code"])]
        assert len(FORMULA.findall("".join(texts))) >= len(FORMULA.findall(prose)), name
        # 公式之外没有落单的 TeX
        assert not re.search(r"\$|\\[a-z]", FORMULA.sub("", "".join(texts))), name
        loaded = [tag.get("src") or tag.get("href") for tag in page.find_all(["script", "img", "iframe", "link"])]
        assert all(address.startswith(("assets/", "pictures/")) for address in loaded) and {"assets/book.css", "assets/mathjax.js"} <= set(loaded), name
        # 除了先定主题的那一个，脚本都等页面读完
        assert [tag["src"] for tag in page.find_all("script") if not tag.has_attr("defer")] == ["assets/early.js"]


def test_links_between_pages_lead_somewhere(written, pages, names):
    followed = 0
    for here, page in pages.items():
        for a in page.find_all("a", href=True):
            name, _, where = a["href"].partition("#")
            if a["href"].startswith("https://"):
                # 引用的出处，点了才去
                continue
            if name.startswith("pictures/"):
                assert (written[0] / name).exists()
                continue
            name = name.removesuffix(".html") or here
            assert name in [*NAMES, "index", *PAGES] and (not where or name not in pages or pages[name].find(id=where)), a["href"]
            followed += bool(where) and name in pages
    assert followed > 10 * len(names)


def test_every_picture_is_told_by_its_own_caption(pages, names):
    for name in names:
        cells, images = stored(name), pages[name].main.find_all("img")
        drawn = [i for i, cell in enumerate(cells) if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))]
        assert len(images) == len(drawn)
        for i, image in zip(drawn, images):
            caption = words.readable(cells[i + 1].source.split("\n\n")[0].replace("`", "").replace("**", "")).partition("：")[2]
            assert len(image["alt"]) > 8 and caption.startswith(image["alt"]), image["alt"]
            assert re.search("[\u4e00-\u9fff]", image["alt"]) and not re.search(r"\$|\\|description", image["alt"])
            assert image["width"] and image["height"]


def test_a_picture_without_a_caption_is_refused(tmp_path):
    picture = nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(b"x").decode()})
    cells = [nbformat.v4.new_markdown_cell("# 甲"), nbformat.v4.new_code_cell("1", outputs=[picture]), nbformat.v4.new_markdown_cell("没有说明")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "03_a.ipynb")
    with pytest.raises(ValueError, match="图：.*没有说明"):
        read_page(tmp_path / "03_a.ipynb")


@pytest.mark.parametrize("tex, said", [(r"\bar\alpha_t", "ᾱₜ"), (r"\sqrt{1-\bar\alpha_{t-1}}", "√(1-ᾱₜ₋₁)"), (r"\hat x_0\approx\frac{a+b}{2}", "x̂₀ ≈ (a+b)/2"),
                                       (r"\mathcal N(0,\sigma_x^2)", "N(0,σₓ²)"), (r"\ln\mathrm{SNR}_{\max}", "ln SNR_max")])
def test_formulas_are_told_in_letters(tex, said):
    assert words.readable(f"甲 ${tex}$ 乙") == f"甲 {said} 乙"


def test_the_address_of_a_section_does_not_depend_on_its_place():
    def names(body):
        soup = parse(body)
        name_sections(soup)
        return [heading["id"] for heading in soup.find_all("h2")]

    assert names("<h2>1　先缩小，再放大</h2><h2>2　甲 $x_t$</h2>") == ["先缩小-再放大", "甲-x_t"]
    after = names("<h2>1　新的</h2><h2>2　先缩小，再放大</h2><h2>3　甲 $x_t$</h2><h2>4　新的</h2>")
    assert after == ["新的", "先缩小-再放大", "甲-x_t", "新的-2"]


def test_each_section_can_be_linked_and_reported(written, pages):
    for page in written[1]:
        heads = page.headings()
        boxes = pages[page.name].find_all(class_="heading")
        assert len(boxes) == len(heads) > 3
        for (tag, _, title), box in zip(heads, boxes):
            link, report = box.find(class_="tools").find_all("a")
            assert link["href"] == f"#{tag['id']}" and report["href"].startswith(f"{REPOSITORY}/issues/new?")
            assert not box.find(re.compile("^h")).find(class_="tools"), title
        [notebook] = [a["href"] for a in pages[page.name].select(".cloud a") if "colab" in a["href"]]
        assert notebook.endswith(f"someone/course/blob/main/notebooks/{page.name}.ipynb")
    # 仓库没有地址，就没有这些链接
    assert navigation.cloud_links("", "03_a") == ""
    bare = Page("03_a", parse("<h1 id='甲'>甲</h1>"))
    navigation.section_tools(bare, "")
    assert [a["href"] for a in bare.soup.find_all("a")] == ["#甲"]


def test_panels_and_marked_lines_can_be_recognised(pages):
    found = [(f["data-panel"], f["data-chapter"], f.img["src"]) for f in pages["04_posterior"].select("figure.panel")]
    assert [name for name, *_ in found] == ["posterior_panel", "chain_panel"] and all(where == "04" and src for _, where, src in found)
    code = BeautifulSoup('<pre>a\n  <span class="c1"># ── ①</span>\n    <span class="w">  </span>b\n\n<span class="c1"># ── ②</span>\nc\n</pre>', "html.parser")
    text = code.get_text()
    mark_blocks(code.pre)
    assert code.get_text() == text and [(b["data-mark"], b.get_text()) for b in code.select(".block")] == [
        ("①", "  # ── ①\n      b\n\n"), ("②", "# ── ②\nc\n")]
    # 说明里的每个标号都找得到它的那几行
    marks = [a for a in pages["06_loss"].select("li > a[href^='#cell-id=']") if re.fullmatch("[①-⑫]", a.get_text())]
    assert len(marks) >= 6
    for a in marks:
        assert pages["06_loss"].find(id=a["href"][1:]).find(class_="block", attrs={"data-mark": a.get_text()}), a


def test_the_cover_asks_each_chapters_question(pages):
    listed = [a["href"] for a in pages["index"].select(".cover section a")]
    assert listed == [f"{name}.html" for name in NAMES] and set(cover.QUESTIONS) == {int(name[:2]) for name in NAMES}
    assert [h2.get_text() for h2 in pages["index"].select("#book h2")] == [*(part for part, _ in navigation.parts() if part), "动手"]
    assert pages["04_posterior"].select_one("#book [aria-current=page]")["href"] == "04_posterior.html"
    assert [a["href"] for a in pages["04_posterior"].select(".turn a")] == ["03_forward.html", "05_parameterization.html"]


def test_search_finds_every_term_wherever_it_is_written(written):
    packed = re.search('"(.+)"', (written[0] / "assets" / "search-index.js").read_text(encoding="utf-8"))[1]
    index = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert [file for file, *_ in index] == [f"{page.name}.html" for page in written[1]] and len(packed) < 700_000
    hits = 0
    for (file, _, sections), page in zip(index, written[1]):
        prose = squeezed("".join(cell.source + "\n" for cell in stored(page.name)[1:-1] if cell.cell_type == "markdown"))
        # 停在上面才看到的不算
        prose = re.sub(r'(?<=\S) "[^"]*"(?=\))', "", prose)
        whole = "".join(title + text for title, _, text, _ in sections).casefold()
        for term in TERMS:
            for word in (term.chinese, term.english):
                wanted = prose.casefold().count(word.casefold())
                assert whole.count(word.casefold()) >= wanted, (file, word)
                hits += wanted
        assert all(address and page.body.find(id=address) for _, address, *_ in sections)
    assert hits > 60


def test_code_and_outputs_are_kept_apart_from_the_prose():
    soup = parse("<h1 id='甲'>甲</h1><p>一 $\\beta_t$</p><pre>print(1)\n</pre><h2 id='乙'>乙</h2><p>二<code>x</code></p>")
    assert entries(Page("03_a", soup)) == [["甲", "甲", "一 $\\beta_t$", "print(1)"], ["乙", "乙", "二x", ""]]


# ---- 颜色 ----

def luminance(colour):
    colour = colour if len(colour) == 7 else "#" + "".join(2 * letter for letter in colour[1:])
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(w * (c / 12.92 if c <= .03928 else ((c + .055) / 1.055) ** 2.4) for w, c in zip((.2126, .7152, .0722), parts))


@pytest.mark.parametrize("theme", [0, 1])
def test_every_text_colour_is_legible_on_every_ground(theme):
    pairs = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\)", (ASSETS / "type.css").read_text(encoding="utf-8"))
    colours = {name: luminance(both[theme]) for name, *both in pairs}
    grounds = {"ink": ("paper", "code", "soft", "lit"), "quiet": ("paper", "soft"), "link": ("paper", "soft"),
               **dict.fromkeys(("keyword", "text", "number", "called", "remark"), ("code", "lit"))}
    assert set(colours) == {*grounds, "paper", "code", "line", "soft", "lit"}
    for text, behind in grounds.items():
        for ground in behind:
            dark, light = sorted((colours[text], colours[ground]))
            assert (light + .05) / (dark + .05) >= 4.5, (text, ground)


# ---- PDF ----

def test_what_is_printed_is_one_document_with_its_links_inside(written):
    pages = written[1][:2]
    whole = BeautifulSoup(printing.document("书", [printing.front(pages), *(printing.article(page, True) for page in pages)]), "html.parser")
    ids = [tag["id"] for tag in whole.find_all(id=True)]
    assert len(ids) == len(set(ids)) and not whole.find_all("details", open=False)
    inside = [a["href"] for a in whole.find_all("a", href=True) if not a["href"].startswith("https:")]
    kept = [href[1:] for href in inside if href[1:].partition(":")[0] in {page.name for page in pages}]
    assert all(href.startswith("#") for href in inside) and len(kept) > 50 and set(kept) <= set(ids)
    # 单独一章：指向别的章的链接只留下字，免得带上你的路径
    alone = BeautifulSoup(printing.article(pages[0], False), "html.parser")
    assert {a["href"][0] for a in alone.find_all("a", href=True)} <= {"#", "h"} and len(alone.get_text()) > 5000
    # 书签里没有公式，标题就不留公式
    assert not [h for h in whole.find_all(["h1", "h2", "h3"]) if "$" in h.get_text()]


def test_without_a_browser_it_is_said_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(printing, "BROWSERS", ())
    monkeypatch.setattr(printing, "PLACES", ())
    with pytest.raises(SystemExit) as stopped:
        command.main([str(tmp_path / "html"), "--pdf"])
    assert stopped.value.code == 2 and "Chromium" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_browser_that_writes_nothing_is_reported(tmp_path):
    (tmp_path / "a.html").write_text("", encoding="utf-8")
    with pytest.raises(RuntimeError, match="没有写出 a.pdf"):
        printing.print_page("false", tmp_path / "a.html", tmp_path / "a.pdf")


# ---- 幻灯片与命令 ----

def test_a_formula_keeps_its_special_characters_and_links_lead_to_pages(tmp_path):
    cell = nbformat.v4.new_markdown_cell("# 甲 乙\n\n$a<b$ 与 `$x$`\n\n$$c\n+d$$\n\n[丙](09_init.ipynb#x)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "03_a.ipynb")
    page = read_page(tmp_path / "03_a.ipynb")
    assert page.title == "甲 乙" and page.body.p.text == "$a<b$ 与 $x$" and page.body.a["href"] == "09_init.html#x"


def test_slides_hold_every_cell_but_navigation_and_exercises(tmp_path, capsys):
    slides.main(["03", "--out", str(tmp_path / "讲 稿")])
    (page,) = (tmp_path / "讲 稿").glob("*.html")
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    # 练习与小结在同一个单元里；开头的导航不算
    wanted = next(i for i, cell in enumerate(stored(page.stem)) if "\n## 练习" in cell.source)
    assert "小结" in soup.get_text() and "练习" not in [h2.get_text() for h2 in soup.find_all("h2")] and "☐" not in soup.get_text()
    assert len(soup.select("section > div > div.cell")) == wanted and all(section.select(".text_cell") for section in soup.find_all("section"))
    assert not [s for s in soup.find_all("section") if s.get_text().strip().startswith(("①", "图：", "面板："))]
    linked = [tag.get("src") or tag.get("href") for tag in soup.find_all(["link", "script", "img"])]
    assert "assets/slides.css" in linked and all((page.parent / name).exists() for name in linked) and page.name in capsys.readouterr().out


def test_without_mathjax_nothing_is_written_but_what_to_do_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="course.py export"):
        book.export(tmp_path / "html")
    assert not list((tmp_path / "html").iterdir())


def test_slides_of_no_such_chapter_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        slides.main(["77"])
    assert stop.value.code == 2 and "没有第 77 章" in capsys.readouterr().err


def test_asking_for_help_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, code in ((["--help"], 0), (["--out", "页"], 2), (["甲", "乙"], 2)):
        with pytest.raises(SystemExit) as stopped:
            command.main(arguments)
        assert stopped.value.code == code and not list(tmp_path.iterdir())
    assert "build/html" in capsys.readouterr().out
