"""导出的网页书，从硬盘上打开：公式排好，搜得到，键盘走得到，窄屏不横滚，印出来不裁切，不向外面请求任何东西"""
import json
import re
import time

import pytest
from bs4 import BeautifulSoup
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ddpm_edu.authoring import slides
from ddpm_edu.authoring.site import printing
from ddpm_edu.authoring.site.search import entries
from ddpm_edu.teach.books import sources
from ddpm_edu.teach.terms import TERMS

from .desk import ROOT, go_to, leave

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
NAMES = [path.stem for path in sources()]
# 公式都排好了，没有一个排错，没有露着的 TeX
TYPESET = """
    const done = arguments[0], ready = () => window.MathJax?.startup?.promise ? MathJax.startup.promise.then(() => {
        const drawn = [...document.querySelectorAll('mjx-container')];
        const left = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT, n =>
            n.parentElement.closest('pre, code, script, style, mjx-container') ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT), texts = [];
        while (left.nextNode()) if (/\\$|\\\\[a-z]/.test(left.currentNode.data)) texts.push(left.currentNode.data);
        done([drawn.length > 0 && drawn.every(m => m.getBoundingClientRect().height > 3), texts, document.querySelectorAll('[data-mml-node=merror]').length]);
    }) : setTimeout(ready, 50);
    ready();"""
# 纸的宽：A4 去掉左右的边，96 dpi
PAPER = 673
# 比自己的框宽、或伸出纸外的
CLIPPED = """return [...document.querySelectorAll("mjx-container, pre, table, img, section > div")].filter(e => {
    const box = e.getBoundingClientRect(), drawn = (e.querySelector(':scope > svg') ?? e).getBoundingClientRect();
    return e.scrollWidth > e.clientWidth + 1 && e.clientWidth || box.right > innerWidth + 1 || drawn.right > box.right + 1;
    }).map(e => e.outerHTML.slice(0, 80))"""


class Reader:
    """从硬盘上打开的书"""

    def __init__(self, driver, home):
        self.driver, self.folder = driver, home.parent

    def open(self, name, **look):
        self.look(**look)
        go_to(self.driver, (self.folder / f"{name}.html").as_uri())

    def look(self, width=1280, height=900, media="", theme="light"):
        """换窗口的大小、屏幕或纸、主题，页面不重新载入"""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.command("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": theme}])

    def command(self, name, **options):
        return self.driver.execute_cdp_cmd(name, options)

    def script(self, body, *arguments):
        return self.driver.execute_script(body, *arguments)

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def until(self, body, *arguments):
        deadline = time.monotonic() + 30
        while not (value := self.script(f"return {body}", *arguments)):
            assert time.monotonic() < deadline, body
            time.sleep(.02)
        return value

    def search(self, words):
        """打开检索，输入，等结果；→ 状态的一行"""
        if not self.find("#search[open]"):
            self.press("/")
        (box,) = self.find("#search input")
        box.clear()
        box.send_keys(words)
        return self.until("/节里有|没有找到/.test(document.querySelector('#search [role=status]').textContent)"
                          " && document.querySelector('#search [role=status]').textContent")


@pytest.fixture
def reader(driver, built):
    leave(driver)
    reader = Reader(driver, built[0])
    yield reader
    reader.command("Emulation.clearDeviceMetricsOverride")
    reader.command("Emulation.setEmulatedMedia", media="", features=[])


def test_the_whole_book_reads_offline_on_a_desk_a_phone_and_paper_and_asks_for_nothing_outside(reader, built, shots):
    names = [page.name for page in built[1]]
    for name in [*names, "index"]:
        reader.open(name)
        assert reader.script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)"), name
        if name != "index":
            assert reader.driver.execute_async_script(TYPESET) == [True, [], 0], name
        reader.look(width=390)
        assert reader.script("return document.documentElement.scrollWidth <= innerWidth"), name
        if name != "index":
            reader.look(width=PAPER, media="print")
            assert reader.script("document.querySelectorAll('details').forEach(d => d.open = true);" + CLIPPED) == [], name
            assert not [e for e in reader.find("#book, .bar, .tools, .turn") if e.is_displayed()], name
    reader.driver.save_screenshot(str(shots / "cover-390.png"))
    asked = [json.loads(entry["message"])["message"] for entry in reader.driver.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    # 浏览器自己的更新检查之类不是页面发的
    pages = [url for url in urls if not url.startswith(("chrome", "data:"))]
    assert len(pages) > len(names) and all(url.startswith("file:") for url in pages)
    assert [entry["message"] for entry in reader.driver.get_log("browser")] == []


def test_every_link_and_anchor_of_the_whole_book_resolves(built):
    folder = built[0].parent
    ids, links = {}, []
    for path in folder.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        ids[path.name] = set(re.findall(r'\bid="([^"]+)"', text))
        links += [(path.name, href) for href in re.findall(r'\bhref="([^"]+)"', text) if not href.startswith("https:")]
    dead, missing = [], {*NAMES} - {page.name for page in built[1]}
    for here, href in links:
        name, _, where = href.partition("#")
        # 平时没有导出的几章，只看有没有这一章
        if name.removesuffix(".html") in missing:
            continue
        if not (folder / name).exists() or where and where not in ids[name or here]:
            dead.append((here, href))
    assert dead == [] and len(links) > 40 * len(ids)


# ---- 检索 ----

def test_search_finds_every_term_in_every_section_that_has_it(reader, built, amount):
    sections = [[text.casefold() for text in section[:1] + section[2:]] for page in built[1] for section in entries(page)]
    reader.open("index")
    for words in [term.chinese for term in TERMS[::amount(8, 1)]] + ["Signal-to-Noise  ratio", r"\bar\alpha_t", "噪声表 cosine", "q_sample"]:
        wanted = sum(all(any(word in text for text in section) for word in words.casefold().split() if words != "Signal-to-Noise  ratio")
                     for section in sections) if words != "Signal-to-Noise  ratio" else None
        said = reader.search(words)
        shown = len(reader.find("#search li"))
        if wanted is not None:
            assert said.startswith(f"{wanted} 节里有") and shown == min(wanted, 40) > 0, (words, said, wanted)
        first = words.split()[0].casefold()
        assert first in reader.find("#search li")[0].text.casefold() and reader.find("#search li mark"), words
    assert "没有找到" in reader.search("这句话书里没有")
    # 讲它的那一节排在最前
    reader.search("残差块")
    assert "残差块" in reader.find("#search li a")[0].text.split("\n")[0]


def test_search_goes_by_keyboard_from_the_slash_to_the_section(reader):
    reader.open("index")
    assert reader.search("网络 训练").startswith(("1", "2", "3", "4", "5", "6", "7", "8", "9"))
    reader.press(Keys.ARROW_DOWN)
    first = reader.script("return document.activeElement.href")
    reader.press(Keys.ARROW_DOWN)
    assert reader.script("return document.activeElement.href") != first
    reader.press(Keys.ARROW_UP)
    reader.press(Keys.ARROW_UP)
    assert reader.script("return document.activeElement.type") == "search"
    reader.press(Keys.ENTER)
    reader.until("location.href == arguments[0]", first)
    assert reader.script("return !!document.getElementById(decodeURIComponent(location.hash.slice(1)))")
    reader.search("噪声")
    reader.press(Keys.ESCAPE)
    assert not reader.find("#search[open]")


# ---- 读法 ----

def test_the_theme_follows_the_system_until_the_button_is_pressed(reader):
    ground = "return getComputedStyle(document.body).backgroundColor"
    reader.open("03_forward", theme="light")
    reader.script("localStorage.clear()")
    light = reader.script(ground)
    reader.open("03_forward", theme="dark")
    dark = reader.script(ground)
    assert light != dark
    (button,) = reader.find("[data-theme-button]")
    assert button.text == "浅色"
    button.send_keys(Keys.ENTER)
    assert reader.script(ground) == light and button.text == "深色"
    # 换一页还记得
    reader.open("04_posterior", theme="dark")
    assert reader.script(ground) == light
    reader.script("localStorage.clear()")


def test_the_keyboard_reaches_the_text_the_terms_and_the_marks(reader):
    reader.open("04_posterior")
    reader.press(Keys.TAB)
    assert reader.script("return document.activeElement.textContent") == "跳到正文"
    reader.press(Keys.ENTER)
    assert reader.script("return document.activeElement.id") == "main"
    # 标号点亮源码里的那几行；那几行不在眼前时，写在提示里
    focus = """document.documentElement.style.scrollBehavior = 'auto';
        const a = [...document.querySelectorAll('li > a')].find(a => a.textContent == '②'), cell = document.getElementById(a.hash.slice(1));
        (arguments[0] ? cell.querySelector('[data-mark="②"]') : document.body).scrollIntoView({block: arguments[0] ? 'center' : 'start'});
        a.focus({preventScroll: true}); return a"""
    reader.script(focus, True)
    (lit,) = reader.find(".block.lit")
    assert lit.get_attribute("data-mark") == "②" and not reader.find(".tip")[0].is_displayed()
    reader.script("document.activeElement.blur()")
    mark = reader.script(focus, False)
    assert reader.find(".tip.code")[0].is_displayed() and mark.get_attribute("aria-describedby") == "tip"
    reader.press(Keys.ESCAPE)
    assert not reader.find(".tip")[0].is_displayed()
    reader.script("document.querySelector('[id=\"cell-id=nav-bottom\"] a').focus()")
    assert not reader.find(".block.lit") and re.search("^[a-zA-Z].*：", reader.find(".tip")[0].text)


def test_the_contents_mark_where_you_are(reader):
    reader.open("04_posterior")
    reader.driver.execute_async_script(TYPESET)
    for number in (2, 5):
        link = reader.find("#here .level2 a")[number]
        reader.script("document.documentElement.style.scrollBehavior = 'auto'; arguments[0].click()", link)
        reader.until("document.querySelector('#here [aria-current]') == arguments[0]", link)


def test_on_a_phone_the_two_contents_open_and_close(reader, shots):
    reader.open("07_sampling", width=390, height=844)
    for target in ("book", "here"):
        (button,) = reader.find(f"[popovertarget={target}]")
        assert button.is_displayed() and not reader.find(f"#{target}")[0].is_displayed()
        button.send_keys(Keys.ENTER)
        assert reader.find(f"#{target} a")[0].is_displayed()
        reader.driver.save_screenshot(str(shots / f"phone-{target}.png"))
        reader.press(Keys.ESCAPE)
        assert not reader.find(f"#{target}")[0].is_displayed()


def test_without_scripts_the_pages_still_read_and_link(reader):
    reader.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        reader.open("07_sampling")
        assert not [b for b in reader.find(".bar button") if b.is_displayed()] and "两种走法" in reader.find("main")[0].text
        reader.find("#book a[href='08_unet.html']")[0].click()
        assert reader.find("h1")[0].text.startswith("08")
        reader.open("08_unet", width=390)
        reader.find("[popovertarget=book]")[0].click()
        assert reader.find("#book a")[0].is_displayed()
    finally:
        reader.command("Emulation.setScriptExecutionDisabled", value=False)


def test_nothing_serious_by_axe(reader, amount):
    if not AXE.exists():
        pytest.skip("没有装 axe-core；在仓库目录里 npm install --no-save axe-core")
    for name in ("index", "02_schedule", "90_symbols_and_terms", *amount((), ("00_quickstart", "09_init"))):
        for theme in ("light", "dark"):
            reader.open(name, theme=theme)
            if name != "index":
                reader.driver.execute_async_script(TYPESET)
            reader.script(AXE.read_text(encoding="utf-8"))
            found = reader.driver.execute_async_script("""axe.run(document, {preload: false}).then(r =>
                arguments[0](r.violations.filter(v => /serious|critical/.test(v.impact)).map(v => [v.id, v.nodes[0].html])))""")
            assert found == [], (name, theme)


# ---- 打印 ----

def pages_of(pdf):
    return len(re.findall(rb"/Type */Page\b", pdf.read_bytes()))


def outline(pdf):
    return [bytes.fromhex(text.decode()).decode("utf-16") for text in re.findall(rb"/Title <([0-9A-F]+)>", pdf.read_bytes())]


def test_chapters_and_the_whole_book_are_printed_with_an_outline(built, amount):
    home, pages = built
    chosen = amount([page for page in pages if page.name[:2] == "03"], pages)
    whole = printing.write_pdf(printing.find_browser(), home.parent, chosen)
    each = [whole.with_name(f"{page.name}.pdf") for page in chosen]
    assert {path.name for path in whole.parent.iterdir()} == {whole.name, *(path.name for path in each)} and not (home.parent / "print.html").exists()
    for path, page in zip(each, chosen):
        said = outline(path)
        # 文件自己的标题也在里面；先后不一定
        wanted = [page.title, *(title for _, _, title in page.headings())]
        assert pages_of(path) > 2 and sorted(re.sub(r"\s", "", words) for words in said) == sorted(re.sub(r"\s", "", title) for title in wanted)
    assert pages_of(whole) >= sum(map(pages_of, each)) and len(outline(whole)) > sum(len(outline(path)) for path in each)


def test_slides_are_printed_one_to_a_page(reader, tmp_path):
    slides.main(["09", "--out", str(tmp_path)])
    (page,) = tmp_path.glob("*.html")
    printing.print_page(printing.find_browser(), page, tmp_path / "09.pdf")
    count = len(BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find_all("section"))
    assert pages_of(tmp_path / "09.pdf") == count > 10
    # 每一节都缩到了一页之内：裁掉的部分看不见
    reader.folder = tmp_path
    reader.open(page.stem, width=1280, height=720)
    reader.driver.execute_async_script(TYPESET)
    reader.until("!document.body.matches('.measure') && document.querySelector('section').style.getPropertyValue('--fit')")
    reader.look(width=1280, height=720, media="print")
    assert reader.script("return [...document.querySelectorAll('section')].filter(s => s.scrollHeight > 721).length") == 0
