"""把整套课程导出成网页，不开内核、不联网也能读：python -m ddpm_edu.authoring.site [目录] [--pdf]"""
import argparse

from .book import export
from .printing import find_browser, write_pdf


def main(arguments=None):
    parser = argparse.ArgumentParser("python course.py export", description=__doc__.partition("：")[0])
    parser.add_argument("folder", nargs="?", default="build/html", metavar="目录", help="写到哪里，默认 build/html")
    parser.add_argument("--pdf", action="store_true", help="再打印成 PDF，各章一份，全书一份，放在 目录/pdf；要用机器上的 Chromium，约几分钟")
    options = parser.parse_args(arguments)
    try:
        browser = find_browser() if options.pdf else None
        home, pages = export(options.folder)
        print(f"写好了，用浏览器打开：{home}", flush=True)
        if browser:
            print(f"全书的 PDF：{write_pdf(browser, home.parent, pages)}，各章的在同一个目录")
    except FileNotFoundError as missing:
        parser.error(str(missing))


if __name__ == "__main__":
    main()
