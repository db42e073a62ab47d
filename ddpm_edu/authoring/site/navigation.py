"""边栏（各部分、各章）、本页的目录、前后两章。章名从源文件里读，单独写一页时也齐全"""
import html
from functools import cache
from urllib.parse import urlencode

from ...teach.books import PARTS, headings, read_cells, sources
from ..hosting import cloud_pages
from .live import PAGES

# 「动手」一栏：(标题, 文件名)
HANDS_ON = [(title, f"{name}.html") for name, (title, *_) in PAGES.items()]


@cache
def chapters():
    """[(文件名, 标题)]，不含后缀与反引号"""
    return [(path.stem, headings(read_cells(path)[0].text)[0].replace("`", "")) for path in sources()]


def parts():
    """[(部分的名字, 这一部分的章)]；开场没有名字"""
    shelves = {"": [], **{title: [] for title in PARTS.values()}}
    for name, title in chapters():
        shelf = next((part for start, part in reversed(PARTS.items()) if int(name[:2]) >= start), "")
        shelves[shelf].append((name, title))
    return list(shelves.items())


def entry(address, title, current):
    here = ' aria-current="page"' if address == current else ""
    return f'<li><a href="{address}"{here}>{html.escape(title)}</a></li>'


def side_bar(current):
    """current 是这一页的文件名"""
    shelves = [(part, [(f"{name}.html", title) for name, title in books]) for part, books in parts()]
    shelves.append(("动手", [(file, title) for title, file in HANDS_ON]))
    lists = [(f"<h2>{html.escape(part)}</h2>" if part else "") + f"<ol>{''.join(entry(*each, current) for each in books)}</ol>" for part, books in shelves]
    return "".join(lists)


def contents(page):
    """一页里的各节，两层；整章的标题不在内"""
    lines = [f'<li class="level{level}"><a href="#{tag["id"]}">{html.escape(title)}</a></li>' for tag, level, title in page.headings()[1:]]
    return f"<ol>{''.join(lines)}</ol>" if lines else ""


def turn(name):
    """一页末尾：上一章、下一章"""
    books = chapters()
    place = [stem for stem, _ in books].index(name)
    around = [("上一章", "prev", place - 1), ("下一章", "next", place + 1)]
    links = [f'<a rel="{rel}" href="{books[i][0]}.html"><small>{label}</small>{html.escape(books[i][1])}</a>'
             for label, rel, i in around if 0 <= i < len(books)]
    return f'<nav class="turn" aria-label="前后章">{"".join(links)}</nav>'


def cloud_links(address, name):
    """一页的开头：在云端打开这一本；打不开的平台没有链接"""
    links = [f'<a href="{page}">{platform}</a>' for platform, page in cloud_pages(address, name).items()]
    return f'<p class="cloud">在云端打开　{" · ".join(links)}</p>' if links else ""


def section_tools(page, repository):
    """每个标题旁边：这一节的地址，与报告错误的链接（没有仓库的地址就没有）"""
    for tag, level, title in page.headings():
        box, tools = page.soup.new_tag("div", attrs={"class": f"heading h{level}"}), page.soup.new_tag("span", attrs={"class": "tools"})
        link = page.soup.new_tag("a", attrs={"href": f"#{tag['id']}", "aria-label": f"“{title}”的地址", "title": "这一节的地址"})
        link.string = "#"
        tools.append(link)
        if repository:
            report = page.soup.new_tag("a", attrs={"href": issue(repository, page, tag["id"], title), "class": "report"})
            report.string = "报告错误"
            tools.append(report)
        tag.wrap(box).append(tools)


def issue(repository, page, anchor, title):
    """仓库里新建问题的页面，标题与位置已经填好"""
    body = f"位置：{page.name}.html#{anchor}\n\n哪一句、哪一格不对：\n\n应该是：\n"
    return f"{repository}/issues/new?" + urlencode({"title": f"{page.name[:2]}　{title}：", "body": body})
