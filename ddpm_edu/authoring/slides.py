"""一章变成一页页的幻灯片：python -m ddpm_edu.authoring.slides [章 ...] [--out 目录]

一段文字与它后面的代码、输出是一页；用空格、PageDown 或滚轮翻，打印成 PDF 时也是一页一张。不联网
"""
import argparse
from pathlib import Path

from ..teach.books import NOTEBOOKS, sources
from .site.book import write_assets, write_pictures
from .site.frame import head
from .site.pages import read_page


def to_slides(page):
    """site.pages.read_page 的一页 → 分成 <section> 的一页；结尾的术语与习题不要"""
    cells = page.body.find_all("div", class_="cell", recursive=False)
    page.body.clear()
    for cell in cells:
        # 源码的注解、图的说明与它前面的那一格在同一页
        follows = cell.get_text().strip().startswith(("①", "图：", "面板："))
        if "text_cell" in cell["class"] and not follows or not page.body.contents:
            section = page.soup.new_tag("section")
            section.append(page.soup.new_tag("div"))
            page.body.append(section)
        page.body.contents[-1].div.append(cell)
        if exercises := next((h2 for h2 in cell.find_all("h2") if h2.get_text().startswith("练习")), None):
            for tag in [exercises, *exercises.find_next_siblings()]:
                tag.decompose()
            break
    return f'{head(page.title, ["type.css", "slides.css"], ["mathjax.js", "slides.js"])}<body>{page.body}</body></html>'


def main(arguments=None):
    parser = argparse.ArgumentParser("python course.py slides", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("chapters", nargs="*", metavar="章", help="章号，如 03；默认全部")
    parser.add_argument("--out", default="build/slides", help="写到哪个目录，默认 build/slides")
    options = parser.parse_args(arguments)
    chosen = [path for path in sources() if not options.chapters or path.stem[:2] in options.chapters]
    if unknown := set(options.chapters) - {path.stem[:2] for path in chosen}:
        parser.error(f"没有第 {'、'.join(sorted(unknown))} 章；有的是 {'、'.join(path.stem[:2] for path in sources())}")
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    write_assets(folder)
    for path in chosen:
        page = read_page(NOTEBOOKS / f"{path.stem}.ipynb")
        write_pictures(folder, page.pictures)
        (folder / f"{path.stem}.html").write_text(to_slides(page), encoding="utf-8")
    print(f"写好了，用浏览器打开：{folder.resolve() / f'{chosen[0].stem}.html'}")


if __name__ == "__main__":
    main()
