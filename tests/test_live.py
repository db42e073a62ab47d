"""不开内核的两页：权重原样写进去，连页面不过 4 MB；没有外部的地址，链接与节号指得到。动起来是什么样，tests/browser/test_live.py 里看"""
import base64
import json
import re
import shutil

import pytest
from bs4 import BeautifulSoup

from ddpm_edu.authoring.build import sources
from ddpm_edu.authoring.site.frame import ASSETS, frame
from ddpm_edu.authoring.site.live import MODEL, PAGES, WEIGHTS, write_live
from ddpm_edu.pretrained import HERE

SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sources()}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("网页 书")
    shutil.copytree(ASSETS, folder / "assets")
    write_live(folder, frame)
    return folder, {f"{name}.html": BeautifulSoup((folder / f"{name}.html").read_text(encoding="utf-8"), "html.parser") for name in PAGES}


def test_the_weights_are_the_shipped_file_and_everything_fits_in_four_megabytes(site):
    folder, _ = site
    content = json.loads((folder / "assets" / WEIGHTS).read_text(encoding="utf-8").removeprefix("const MODEL = ").rstrip(";\n"))
    assert base64.b64decode(content["file"]) == (HERE / f"{MODEL}.safetensors").read_bytes()
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 4e6


def test_nothing_comes_from_outside_and_every_asset_is_there(site):
    folder, pages = site
    for name, page in pages.items():
        assert not re.search("https?://", str(page)), name
        assets = [tag["src"] for tag in page.find_all("script", src=True)] + [tag["href"] for tag in page.find_all("link")]
        assert assets and all((folder / asset).exists() for asset in assets), assets


def test_links_lead_to_pages_and_the_sections_named_beside_them_exist(site):
    _, pages = site
    for name, page in pages.items():
        for a in page.article.find_all("a", href=True):
            assert a["href"] in pages or a["href"].removesuffix(".html") in SOURCES, (name, a["href"])
    named = re.findall(r'href="(\w+)\.html">第 (\d+) 章</a>第 (\d+) 节', "".join(map(str, pages.values())))
    for stem, chapter, section in named:
        assert int(stem[:2]) == int(chapter) and re.search(rf"^# ## {section}　", SOURCES[stem], re.M), (stem, section)
    assert len(named) >= 7


def test_every_control_and_picture_has_a_name(site):
    for name, page in site[1].items():
        # 输入都在 <label> 里，按钮自己有字
        assert all(control.find_parent("label") for control in page.find_all(["input", "select"])), name
        assert all(button.get_text(strip=True) for button in page.find_all("button")), name
        assert all(canvas.get("aria-label") for canvas in page.find_all(["canvas", "svg", "progress"])), name
