"""一章变成一页页的幻灯片：python -m ddpm_edu.authoring.slides [章 ...] [--out 目录]

一段文字与它后面的代码、输出是一页；用空格、PageDown 或滚轮翻，打印成 PDF 时也是一页一张。不联网
"""
import argparse
from pathlib import Path

from ..teach.books import NOTEBOOKS, sources
from .export import render, write_assets

STYLE = """
html { scroll-snap-type: y proximity; }
body { max-width: none; margin: 0; padding: 0; font-size: 1.35rem; }
section { min-height: 100vh; box-sizing: border-box; padding: 3vh max(6vw, calc(50vw - 34rem)); scroll-snap-align: start;
          display: flex; flex-direction: column; justify-content: center; border-bottom: 1px solid var(--line); }
.output_png img { max-height: 70vh; }
@media print { section { break-after: page; min-height: auto; border: 0; } }
"""


def to_slides(page):
    """export.render 的一页 → 分成 <section> 的一页；首尾的导航与习题不要"""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(page, "html.parser")
    cells = soup.body.find_all("div", class_="cell", recursive=False)[1:-1]
    soup.body.clear()
    for cell in cells:
        # 源码的注解、图的说明与它前面的那一格在同一页
        follows = cell.get_text().strip().startswith(("①", "图：", "面板："))
        if "text_cell" in cell["class"] and not follows or not soup.body.contents:
            soup.body.append(soup.new_tag("section"))
        soup.body.contents[-1].append(cell)
        if exercises := next((h2 for h2 in cell.find_all("h2") if h2.get_text().startswith("练习")), None):
            for tag in [exercises, *exercises.find_next_siblings()]:
                tag.decompose()
            break
    soup.head.append(soup.new_tag("link", rel="stylesheet", href="slides.css"))
    return str(soup)


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
        (folder / f"{path.stem}.html").write_text(to_slides(render(NOTEBOOKS / f"{path.stem}.ipynb")), encoding="utf-8")
    (folder / "slides.css").write_text(STYLE, encoding="utf-8")
    print(f"写好了，用浏览器打开：{folder.resolve() / f'{chosen[0].stem}.html'}")


if __name__ == "__main__":
    main()
