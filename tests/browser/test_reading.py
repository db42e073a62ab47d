"""只读不运行：JupyterLab 里的链接点得开、落在那一节，文字看得清"""
import re

import nbformat
from selenium.webdriver.common.by import By

from ddpm_edu.authoring.build import KERNEL, read_source
from ddpm_edu.teach.books import navigation, sources
from ddpm_edu.teach.cards import CardView

from .needed import needed
from .test_books import PANEL

# 公式和图晚一点才排好，会把落点推开一些，所以只要求在一屏之内
HERE = """book.context.path.endsWith(arguments[0]) && (() => {
    const cell = book.content.widgets.find(c => c.model.sharedModel.getSource().includes(arguments[1]));
    const box = cell.node.getBoundingClientRect(); return box.height > 0 && Math.abs(box.top) < innerHeight / 2; })()"""


def test_links_in_jupyterlab_open_the_book_at_the_cell(desk, lab):
    # 存着的 notebook 可能比源文件旧，单元编号对不上；这里用刚生成的：00 与附录
    for path in (sources()[0], *sources()[-4:]):
        nbformat.write(read_source(path), lab.folder / "notebooks" / f"{path.stem}.ipynb")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"{navigation(sources()[2])[0]}\n\n{CardView('v_posterior').markdown()}")])
    book.metadata.kernelspec = KERNEL
    nbformat.write(book, lab.folder / "notebooks" / "links.ipynb")
    for label, target, text in (("课程地图", "00_quickstart.ipynb", "## 6　课程地图"), ("术语表", "90_symbols_and_terms.ipynb", "## 术语表"),
                                ("gaussian.diffusion_tables", "93_source_reading.ipynb", "show_source(diffusion_tables")):
        desk.open("links")
        desk.driver.find_element(By.PARTIAL_LINK_TEXT, label).click()
        desk.until(HERE, f"{label} 打开 {target} 的 {text}", 30, target, text)


def test_a_mark_in_the_prose_shows_its_line_and_leads_back_to_the_source(desk, lab):
    nbformat.write(read_source(sources()[5]), lab.folder / "notebooks" / "marks.ipynb")
    desk.open("marks")
    explained = next(i for i in desk.cells_with("- [①](#cell-id=") if i > 10)
    desk.scroll_to(explained)
    mark = desk.script("return book.content.widgets[arguments[0]].node.querySelector('li a')", explained)
    source = desk.script("return book.content.widgets[arguments[0] - 1].model.sharedModel.source", explained)
    first = mark.get_attribute("title").splitlines()[0]
    assert mark.text == "①" and any(anchor in first for anchor in re.findall('"([^"]+)"', source)), (first, source)
    # 源码那一格离 notebook 的上沿多远：先让它被挡住，点了就露出来
    below = "book.content.widgets[arguments[0] - 1].node.getBoundingClientRect().top - book.content.node.getBoundingClientRect().top"
    desk.script("arguments[0].scrollIntoView({block: 'start'})", mark)
    assert desk.script(f"return {below}", explained) < -20
    mark.click()
    desk.until(f"Math.abs({below}) < 20", "回到那段源码", 30, explained)


# 文字与它身后最近的不透明的底色，亮度之比（WCAG）；图是不透明的白底，代码的配色是 JupyterLab 自己的，都不必算
CONTRAST = """
    const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b; };
    const ground = e => { const c = getComputedStyle(e).backgroundColor; return /, 0\\)$/.test(c) && e.parentElement ? ground(e.parentElement) : c; };
    return arguments[0].flatMap(s => { const found = Array.from(book.node.querySelectorAll(s)).filter(e => e.textContent.trim()).map(e => {
        const [a, b] = [light(getComputedStyle(e).color), light(ground(e))]; return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); });
        return [[s, found.length ? Math.min(...found) : 0]]; })"""
TEXTS = [".jp-RenderedMarkdown p", ".jp-RenderedMarkdown li a", ".jp-RenderedMarkdown td", ".jp-OutputArea-output pre",
         ".widget-label", ".widget-html-content", ".widget-readout"]


def test_every_text_is_legible_in_the_dark_and_the_light_theme(desk, shots):
    desk.open("12_lr_scheduler")
    desk.run(needed(desk.code(), PANEL.search))
    # 亮色放在最后：后面的测试看到的还是它
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        desk.wait_for("await app.commands.execute('apputils:change-theme', {theme: arguments[0]}); return 'ok'", theme)
        # 样式表换好之后，页面才记下新的名字；颜色还有一小段过渡
        desk.until("document.body.dataset.jpThemeName == arguments[0] && !document.getAnimations().some(a => a instanceof CSSTransition)",
                   f"换成 {theme}", 30, theme)
        desk.show(desk.panels()[0])
        desk.driver.save_screenshot(str(shots / f"{theme.split()[1].lower()}.png"))
        faint = [(where, round(ratio, 1)) for where, ratio in desk.script(CONTRAST, TEXTS) if ratio < 3]
        assert faint == [], theme
