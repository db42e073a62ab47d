"""全文检索的索引：一节一条，压缩后写成 .js 文件，从硬盘上打开也读得到（file:// 下不许 fetch）"""
import base64
import gzip
import json
import re

FILE = "search-index.js"


def entries(page):
    """一页的各节：[标题, 地址, 文字, 代码与输出]；公式是它的 TeX"""
    found, heads = [], {id(tag): (tag, title) for tag, _, title in page.headings()}
    for node in page.body.descendants:
        if id(node) in heads:
            tag, title = heads[id(node)]
            found.append([title, tag["id"], [], []])
        elif node.name is None and found and not any(parent.get("class") == ["tools"] or id(parent) in heads for parent in node.parents):
            found[-1][2 if node.find_parent("pre") is None else 3].append(node)
    return [[title, address, squeezed(prose), squeezed(code)] for title, address, prose, code in found]


def squeezed(strings):
    return re.sub(r"\s+", " ", "".join(strings)).strip()


def index(pages):
    """全部页 → 索引文件的内容：[[文件名, 章名, 各节], ...] 的 JSON，gzip 之后写成 base64，浏览器自己会解开"""
    data = json.dumps([[f"{page.name}.html", page.title, entries(page)] for page in pages], ensure_ascii=False)
    return f'window.bookIndex = "{base64.b64encode(gzip.compress(data.encode(), mtime=0)).decode()}";\n'
