"""把整套课程导出成静态网页，不开内核、不联网也能读：python -m ddpm_edu.authoring.export [目录]

用的是存好的输出；图在页面里，链接指向同一目录的网页；公式由同一目录里的 MathJax 排版，与 JupyterLab 里一样
"""
import argparse
import html
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from ..teach.books import NOTEBOOKS
from .hosting import without_first_cell

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --quiet: #666; --code: #f5f5f5; --line: #ddd; --link: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --paper: #181a1b; --quiet: #999; --code: #242728; --line: #444; --link: #6cb8e6; }
  .output_png img { background: #fff; }
}
body { max-width: 54rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink); background: var(--paper); line-height: 1.75;
       font-family: system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "WenQuanYi Micro Hei", sans-serif; }
pre, code { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .9em; background: var(--code); }
pre { padding: .6rem .8rem; overflow-x: auto; line-height: 1.45; white-space: pre-wrap; border-radius: 4px; }
.output_area pre { background: none; border-left: 3px solid var(--line); border-radius: 0; }
.output_markdown pre { background: var(--code); border: 0; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
img { max-width: 100%; height: auto; } mjx-container[display=true] { overflow-x: auto; overflow-y: hidden; }
h1, h2, h3 { line-height: 1.3; margin-top: 2.2rem; } .anchor-link { display: none; }
"""
PAGE = """<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><link rel="stylesheet" href="style.css">
<script>window.MathJax = {{tex: {{inlineMath: [["$", "$"]]}}, svg: {{mtextInheritFont: true}}, options: {{enableMenu: false}}}};</script>
<script defer src="mathjax.js"></script></head><body>
{body}
</body></html>
"""
HOME = '<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={0}"><a href="{0}">{1}</a>\n'


def finish(body):
    """nbconvert 的正文 → (标题, 正文)：链接指向网页"""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(body, "html.parser")
    for mark in soup.select(".anchor-link"):
        mark.decompose()
    for a in soup.find_all("a", href=True):
        a["href"] = re.sub(r"^(\w+)\.ipynb(?=#|$)", r"\1.html", a["href"])
    return soup.find("h1").get_text(), str(soup)


def render(path):
    """一本执行过的 notebook → 一页完整的 HTML"""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = without_first_cell(nbformat.read(path, as_version=4))
    for cell in notebook.cells:
        # 展示源码的那一格只看输出，与 JupyterLab 里折叠起来的一样
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["transient"] = {"remove_source": True}
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    title, body = finish(exporter.from_notebook_node(notebook)[0])
    return PAGE.format(title=html.escape(title), body=body)


def style():
    from pygments.formatters import HtmlFormatter

    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{STYLE}.highlight, .highlight pre {{ background: var(--code); }}\n"


def write_assets(folder):
    """各页共用的样式与 MathJax"""
    mathjax = find_spec("sphinx-mathjax-offline")
    if mathjax is None:
        raise ModuleNotFoundError("排公式要用 sphinx-mathjax-offline；用 python course.py export，或先 pip install -r tests/requirements.txt")
    shutil.copyfile(Path(mathjax.submodule_search_locations[0]) / "static" / "mathjax" / "tex-svg.js", folder / "mathjax.js")
    (folder / "style.css").write_text(style(), encoding="utf-8")


def export(folder, books=None):
    """写出全部网页与样式；返回首页的路径"""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_assets(folder)
    pages = sorted(books or NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    for path in pages:
        (folder / f"{path.stem}.html").write_text(render(path), encoding="utf-8")
    home = folder / "index.html"
    home.write_text(HOME.format(f"{pages[0].stem}.html", "逐行读懂 DDPM"), encoding="utf-8")
    return home


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m ddpm_edu.authoring.export", description=__doc__.partition("：")[0])
    parser.add_argument("folder", nargs="?", default="build/html", metavar="目录", help="写到哪里，默认 build/html")
    print(f"写好了，用浏览器打开：{export(parser.parse_args(arguments).folder)}")


if __name__ == "__main__":
    main()
