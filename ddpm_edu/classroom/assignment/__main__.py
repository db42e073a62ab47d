"""把一章的习题变成 nbgrader 或 otter-grader 的作业，以及变回来：

python course.py assignment 04 --format nbgrader    写出 build/nbgrader/source/04_posterior/04_posterior.ipynb
python course.py assignment 04 --format otter       写出 build/otter/04_posterior/04_posterior.ipynb
python course.py assignment --back 文件             作业（.ipynb）变回课程的源文件、学生版、答案版；
                                                    分数（.csv，或放着 results.json 的文件夹）变成一张表 progress.csv
"""
import argparse
import sys
from pathlib import Path

import nbformat

from ...cli.errors import courteously
from ...cli.options import Parser
from ...files.checkpoint import atomic_file
from ...teach.books import NOTEBOOKS, sources
from ..tables import csv_table
from . import back, grades, nbgrader, otter
from .questions import questions

BUILD = NOTEBOOKS.parent / "build"
FORMATS = {"nbgrader": nbgrader, "otter": otter}


def make_parser():
    parser = Parser("python course.py assignment", description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False)
    parser.add_argument("chapters", nargs="*", metavar="章", help="章号，如 04，可以写几个")
    parser.add_argument("--format", choices=FORMATS, help="变成哪一种作业")
    parser.add_argument("--back", type=Path, metavar="文件", help="变回来：作业的 notebook，或它们给出的分数")
    parser.add_argument("--out", type=Path, metavar="目录", help="写到哪里，默认 build/nbgrader、build/otter 或 build/back")
    return parser


def export(path, kind, out):
    """写出一章的作业，返回写下的 notebook；已经有了的不动

    异常 : 已经有这一份时 ValueError
    """
    target = FORMATS[kind].place(out, path.stem)
    if target.exists():
        raise ValueError(f"已经有 {target}，教师改过的话会丢，所以不写；先把它移走，或者换一个 --out")
    for file, text in {**FORMATS[kind].settings(out), target: nbformat.writes(FORMATS[kind].notebook(path)) + "\n"}.items():
        write(file, text.encode("utf-8"))
    return target


def write(file, data):
    with atomic_file(file) as opened:
        opened.write(data)


def bring_back(path, out):
    """作业变回 notebook，或分数变成表；返回要告诉教师的几行"""
    if not path.exists():
        raise ValueError(f"没有 {path}")
    if path.suffix.lower() == ".ipynb":
        folder, notes = back.write_back(back.read_notebook(path), out)
        return [*notes, f"写好了：{folder}，里面是源文件（src/）、学生版与答案版（solutions/），都还没有执行"]
    rows = grades.to_rows(grades.read_scores(path))
    write(out / "progress.csv", csv_table(rows))
    return [f"{out / 'progress.csv'}：{len(rows)} 人"]


def chosen(numbers):
    """章号 → 源文件；没有这一章、这一章没有自动批改的题时 ValueError"""
    found = {path.stem[:2]: path for path in sources() if questions(path)}
    if unknown := [number for number in numbers if number not in found]:
        raise ValueError(f"第 {'、'.join(unknown)} 章没有可以变成作业的习题；有的是 {'、'.join(found)}")
    return [found[number] for number in numbers]


def run(arguments):
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.back and (options.chapters or options.format):
        parser.error("--back 是变回来，不要同时写章号或 --format")
    if not options.back and not (options.chapters and options.format):
        parser.error("要写章号与 --format，例如 04 --format nbgrader；变回来用 --back 文件")
    if options.back:
        print(*bring_back(options.back, options.out or BUILD / "back"), sep="\n")
    else:
        for path in chosen(options.chapters):
            print(f"写好了：{export(path, options.format, options.out or BUILD / options.format)}")


def main(arguments=None):
    return courteously(run, arguments, ValueError)


if __name__ == "__main__":
    sys.exit(main())
