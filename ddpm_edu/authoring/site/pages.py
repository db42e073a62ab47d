"""一本执行过的 notebook → 网页的正文。nbconvert 画出来，这里改成书里的样子：链接指向网页，图另存成文件，每张图有替代文字，
每一节有不随位置变的地址，面板与源码的各段认得出来
"""
import base64
import re
from dataclasses import dataclass, field

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter

from ...teach.source import MARKS
from ..hosting import without_first_cell
from .words import opening, readable, slug

PICTURES = "pictures"
PANEL = re.compile(r"\b(\w+_panel)\(")


@dataclass
class Page:
    """一页：name 是文件名（不含后缀），soup 里只有一个 <article>，pictures 是 {文件名: PNG 的字节}"""

    name: str
    soup: BeautifulSoup
    pictures: dict = field(default_factory=dict)

    @property
    def body(self):
        return self.soup.article

    @property
    def title(self):
        return self.body.find("h1").get_text()

    def headings(self):
        """一页里的各节：(标签, 层数, 读得出的标题)，第一个是整章"""
        return [(tag, int(tag.name[1]), readable(tag.get_text())) for tag in self.body.find_all(["h1", "h2", "h3"])]


def read_page(path):
    """路径 → Page"""
    notebook = without_first_cell(nbformat.read(path, as_version=4))
    for cell in notebook.cells:
        # 展示源码的那一格只看输出，与 JupyterLab 里折叠起来的一样
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["transient"] = {"remove_source": True}
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    page = Page(path.stem, parse(exporter.from_notebook_node(notebook)[0]))
    link_to_pages(page.body)
    name_sections(page.body)
    describe_pictures(page)
    mark_panels(page, {f"cell-id={cell.id}": cell.source for cell in notebook.cells if cell.cell_type == "code"})
    save_pictures(page)
    for code in page.body.find_all("pre"):
        code["translate"] = "no"
        mark_blocks(code)
    return page


def parse(body):
    soup = BeautifulSoup(f"<article>{body}</article>", "html.parser")
    for mark in soup.select(".anchor-link"):
        mark.decompose()
    # 前后章在外框里；结尾的那一格还有本章的术语，只去掉第一段
    for end in soup.find_all(id=re.compile("^cell-id=nav-")):
        end.find("p").decompose()
        if not end.get_text(strip=True):
            end.decompose()
    # 批改的框直接写了颜色；换成跟着主题走的
    for tag in soup.find_all(style=re.compile("#9e9e9e")):
        tag["style"] = tag["style"].replace("#9e9e9e", "var(--quiet)")
    return soup


def link_to_pages(body):
    for a in body.find_all("a", href=True):
        a["href"] = re.sub(r"^(\w+)\.ipynb(?=#|$)", r"\1.html", a["href"])


def name_sections(body):
    """标题的 id 换成由文字决定的；重名的后面添 -2"""
    taken = set()
    for heading in body.find_all(re.compile("^h[1-6]$")):
        name = base = slug(heading.get_text())
        for number in range(2, 100):
            if name not in taken:
                break
            name = f"{base}-{number}"
        taken.add(name)
        heading["id"] = name


def describe_pictures(page):
    """每张图的替代文字是它的说明的头一两句；说明在后面那一格的第一段，标成 class="caption"；没有说明时 ValueError"""
    for image in page.body.find_all("img"):
        cell = image.find_parent(class_="cell")
        caption = cell.find_next_sibling(class_="cell").find("p")
        if not caption.get_text().startswith(("图：", "面板：")):
            raise ValueError(f"每张图后面的那一格要以“图：”或“面板：”开头；{page.name} 里是“{caption.get_text()[:30]}”，在 notebooks/src 里补上")
        caption["class"] = "caption"
        cell["class"] = [*cell["class"], "figure"]
        image["alt"] = opening(caption.get_text())


def save_pictures(page):
    for image in page.body.find_all("img"):
        name = f"{page.name}-{len(page.pictures):02d}.png"
        page.pictures[name] = base64.b64decode(image["src"].partition(",")[2])
        image["src"], image["decoding"] = f"{PICTURES}/{name}", "async"
        # 点开看大图：窄的屏幕上，坐标轴的字要放大才看得清
        if not image.find_parent("figure"):
            image.wrap(page.soup.new_tag("a", attrs={"href": image["src"], "class": "zoom"}))


def mark_panels(page, code):
    """面板的静态图包进 <figure class="panel" data-panel="函数名" data-chapter="章号">，脚本由此认出它；code 是 {单元的 id: 源码}"""
    for cell in page.body.find_all(class_="code_cell"):
        called, image = PANEL.search(code.get(cell["id"], "")), cell.find("img")
        if called and image:
            figure = page.soup.new_tag("figure", attrs={"class": "panel", "data-panel": called[1], "data-chapter": page.name[:2]})
            image.wrap(figure)


def mark_blocks(code):
    """带标号的源码按标号分段，每段包进 <span class="block" data-mark="①">；pygments 的标签不跨行，可以按行分"""
    start = re.compile(rf"^(?=.*># ── ([{MARKS}])</span>$)", re.M)
    before, *pieces = start.split(code.decode_contents())
    if pieces:
        blocks = [f'<span class="block" data-mark="{mark}">{text}</span>' for mark, text in zip(pieces[::2], pieces[1::2])]
        # 在 <pre> 之外，缩进的空白会被并成一个
        code.replace_with(BeautifulSoup(f'<pre translate="no">{before}{"".join(blocks)}</pre>', "html.parser"))
