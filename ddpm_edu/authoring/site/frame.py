"""每一页的外框：顶上的一行、左边的全书、右边的本页。没有脚本也能读：两个目录用浏览器自带的弹出框"""
import html
from pathlib import Path

from .navigation import contents, side_bar

ASSETS = Path(__file__).parent / "assets"
BOOK = "逐行读懂 DDPM"
HEAD = """<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{styles}
<script src="assets/early.js"></script>
{scripts}</head>
"""
PAGE = """<body>
<a class="skip" href="#main">跳到正文</a>
<header class="bar">
<button class="narrow" popovertarget="book">目录</button>
<a class="name" href="index.html">{book}</a>
<button data-search hidden>搜索 <kbd>/</kbd></button>
<button data-theme-button hidden>深色</button>
{here_button}
</header>
<div class="layout">
<nav id="book" popover aria-label="全书">{side}</nav>
<main id="main" tabindex="-1">
{main}
</main>
{here}
</div>
</body></html>
"""


def head(title, styles, scripts):
    """开头直到 </head>；styles 与 scripts 是 assets/ 里的文件名，脚本都等页面读完再跑"""
    links = [f'<link rel="stylesheet" href="assets/{name}"{" media=print" if name == "print.css" else ""}>' for name in styles]
    tags = [f'<script defer src="assets/{name}"></script>\n' for name in scripts]
    return HEAD.format(title=html.escape(title), styles="\n".join(links), scripts="".join(tags))


def frame(title, main, address, page=None):
    """一页完整的 HTML

    main    : 正文的 HTML
    address : 这一页的文件名，边栏里标出它
    page    : 有章节的页，右边列出各节，并排公式；有面板时带上 panels.js
    """
    scripts = ["book.js", "search.js"]
    if page is not None:
        scripts.append("mathjax.js")
        if page.body.select_one("figure.panel"):
            scripts.append("panels.js")
    listed = contents(page) if page is not None else ""
    here = f'<nav id="here" popover aria-label="本页"><h2>本页</h2>{listed}</nav>' if listed else ""
    button = '<button class="narrow" popovertarget="here">本页</button>' if listed else ""
    return head(title, ["type.css", "book.css", "print.css"], scripts) + PAGE.format(
        book=BOOK, side=side_bar(address), main=main, here=here, here_button=button)


def style():
    """排字的样式，给自成一个文件的网页用"""
    return (ASSETS / "type.css").read_text(encoding="utf-8")
