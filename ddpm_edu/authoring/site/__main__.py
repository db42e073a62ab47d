"""把整套课程导出成网页，不开内核、不联网也能读：python -m ddpm_edu.authoring.site [目录] [--pdf]"""
import argparse

from .book import export


def main(arguments=None):
    parser = argparse.ArgumentParser("python course.py export", description=__doc__.partition("：")[0])
    parser.add_argument("folder", nargs="?", default="build/html", metavar="目录", help="写到哪里，默认 build/html")
    print(f"写好了，用浏览器打开：{export(parser.parse_args(arguments).folder)}")


if __name__ == "__main__":
    main()
