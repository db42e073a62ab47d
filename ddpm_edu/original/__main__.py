"""python course.py original 文件 …：讲解你手里的那一份原文件（.py）或配置（.yaml），写成网页与 notebook"""
import argparse
import os
import sys
from pathlib import Path

from ..cli.errors import courteously
from ..cli.options import Parser
from ..data.download import DataUnavailableError
from ..files.checkpoint import atomic_file
from ..teach.books import NOTEBOOKS
from . import book, configuration_page, page
from .configuration import read_configuration
from .fetch import SOURCES, download
from .page import percent
from .reading import Unusable, read_original

FOLDER = NOTEBOOKS.parent / "build" / "original"


def make_parser():
    parser = Parser("python course.py original", description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False)
    parser.add_argument("files", nargs="*", metavar="文件", help="ddpm.py、ddim.py、ema.py、lr_scheduler.py，或 YAML 配置；只读，不执行")
    names = "；".join(f"{name} 是 {source.title}" for name, source in SOURCES.items())
    parser.add_argument("--download", choices=tuple(SOURCES), metavar="仓库", help=f"先从公开的仓库取一份（联网）：{names}")
    parser.add_argument("--out", default=FOLDER, type=Path, metavar="目录", help="写到哪里，默认 build/original")
    return parser


def explain(path, folder):
    """讲解一个文件，写下网页与 notebook；返回 (网页, notebook, 一句总结)"""
    if Path(path).suffix.lower() in (".yaml", ".yml"):
        read = read_configuration(path)
        web, cells = configuration_page.as_page(read, folder), configuration_page.as_notebook(read, folder)
        told = f"{len(read.keys)} 个键"
    else:
        read = read_original(path)
        web, cells = page.render(read, folder), book.render(read, folder)
        told = "，".join(f"{name} 认得 {percent(counts)}" for name, counts in read.counts.items())
    # 同名的文件（各个仓库都叫 ddpm.py）各写各的；名字太长、编码认不出的，换成写得下的
    name = os.fsencode(Path(path).stem).decode("utf-8", "replace")[:60]
    stem = f"{name}-{read.digest[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in ((".html", web), (".ipynb", cells)):
            with atomic_file(folder / f"{stem}{suffix}") as file:
                file.write(text.encode("utf-8", "replace"))
    except OSError as error:
        raise Unusable(f"写不进 {folder}：{error.strerror}；换一个目录：--out 目录") from error
    return folder / f"{stem}.html", folder / f"{stem}.ipynb", told


def run(arguments):
    parser = make_parser()
    options = parser.parse_args(arguments)
    files = [*options.files, *(download(options.download) if options.download else ())]
    if not files:
        parser.error("还缺文件：写上你的 ddpm.py 或配置的路径，或用 --download ldm 取一份")
    for path in files:
        web, cells, told = explain(path, options.out.absolute())
        print(f"{path}：{told}\n  用浏览器打开：{web}\n  或在 JupyterLab 里打开：{cells}")


def main(arguments=None):
    return courteously(run, arguments, Unusable, DataUnavailableError)


if __name__ == "__main__":
    sys.exit(main())
