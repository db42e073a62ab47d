"""大作业：python course.py project start|train|grade|leaderboard

start digits|mnist [目录]   备好学生的文件夹：solution.py 与说明，默认 project-digits 或 project-mnist
train 目录                  练 solution.py，写出 weights.safetensors；停下了，再运行一次接着练
grade 目录                  判一份：1、2、4、8 次网络调用的 Fréchet 距离、KID 与档位，或者不收的原因
leaderboard 目录            判一个文件夹里的全部作业，写成一张网页与一份 CSV，默认在 build/leaderboard
"""
import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from ...cli.errors import courteously
from ...cli.options import Parser
from ...data.download import DataUnavailableError
from ...files.checkpoint import CheckpointError
from ...teach.books import NOTEBOOKS
from .rules import Refused
from .tasks import TASKS, task_named

COURSE = NOTEBOOKS.parent


def make_parser():
    parser = Parser("python course.py project", description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True, metavar="start|train|grade|leaderboard")
    start = actions.add_parser("start", help="备好学生的文件夹")
    start.add_argument("task", choices=tuple(TASKS))
    start.add_argument("folder", nargs="?", type=Path, metavar="目录")
    for name, told in (("train", "训练"), ("grade", "判一份"), ("leaderboard", "判一个文件夹里的全部作业")):
        action = actions.add_parser(name, help=told)
        action.add_argument("folder", type=Path, metavar="目录")
        action.add_argument("--task", choices=tuple(TASKS), help="哪一种大作业；不写就看文件夹里的 task.txt 与权重文件")
        action.add_argument("--data", default=str(COURSE / "data"), metavar="目录", help="MNIST 放在哪里（默认课程的 data）")
        if name == "train":
            action.add_argument("--restart", action="store_true", help="从头练")
            action.add_argument("--minutes", type=float, help="至多练几分钟（默认 digits 10，mnist 60）")
        else:
            action.add_argument("--seeds", type=int, default=4, metavar="个数", help="抽几个种子，2 到 50（默认 4）")
            action.add_argument("--seed", type=int, nargs="+", metavar="种子", help="照上一次结果里写的种子重判")
            action.add_argument("--retrain", action="store_true", help="不用交来的权重，在隔离的进程里照学生的 loss 从头练一遍")
        if name == "leaderboard":
            action.add_argument("--out", default=COURSE / "build" / "leaderboard", type=Path, metavar="目录", help="写到哪里")
        if name == "grade":
            action.add_argument("--json", type=Path, metavar="文件", help="结果另存为 JSON")
    return parser


def chosen_seeds(options, parser):
    from .grading import fresh_seeds

    seeds = options.seed or (fresh_seeds(options.seeds) if 2 <= options.seeds <= 50 else [])
    if not 2 <= len(seeds) <= 50 or len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**31 for seed in seeds):
        parser.error("种子要 2 到 50 个，互不相同，在 0..2147483647 里")
    return seeds


def chosen_task(options, parser, folders):
    from .desk import task_of

    found = Counter(filter(None, map(task_of, folders)))
    if not options.task and not found:
        parser.error(f"看不出 {options.folder} 是哪一种大作业，加 --task digits 或 --task mnist")
    return task_named(options.task or found.most_common(1)[0][0])


def begin(options):
    from .desk import start

    folder = options.folder or Path(f"project-{options.task}").absolute()
    task = start(options.task, folder)
    print(f"{task.title}：写 {folder / 'solution.py'}，先看同一个文件夹里的 README.md")


def learn(options, parser):
    from .desk import train

    task = chosen_task(options, parser, [options.folder])
    if options.minutes is not None and not 0 < options.minutes <= 1000:
        parser.error(f"--minutes 应在 0 与 1000 之间，得到 {options.minutes:g}")
    train(options.folder, task.name, options.data, options.minutes and options.minutes * 60, options.restart, lambda text: print(text, flush=True))


def grade_one(options, parser):
    from .grading import grade
    from .page import as_record, as_text

    seeds, task = chosen_seeds(options, parser), chosen_task(options, parser, [options.folder])
    result = grade(options.folder, task, seeds, options.data, options.retrain, lambda text: print(f"  {text}……", flush=True))
    print(as_text(result))
    if options.json:
        options.json.write_text(json.dumps(as_record(result), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return 1 if result.refused else 0


def rank(options, parser):
    from .grading import grade, judge_for
    from .page import write_board

    folders = sorted(path for path in options.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        parser.error(f"{options.folder} 里没有文件夹；一份作业一个文件夹，里面是 solution.py 与 weights.safetensors")
    seeds, task, results = chosen_seeds(options, parser), chosen_task(options, parser, folders), []
    judge_for(task.name, options.data)
    for number, folder in enumerate(folders, 1):
        print(f"{number}/{len(folders)}　{folder.name}", flush=True)
        results.append(grade(folder, task, seeds, options.data, options.retrain))
        if results[-1].refused:
            print(f"  不收：{results[-1].refused[0]}", flush=True)
    web, table = write_board(results, task, seeds, options.out)
    print(f"用浏览器打开：{web}\n表格：{table}")


def run(arguments):
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.action == "start":
        return begin(options)
    if not options.folder.is_dir():
        parser.error(f"没有文件夹 {options.folder}")
    return {"train": learn, "grade": grade_one, "leaderboard": rank}[options.action](options, parser)


def main(arguments=None):
    return courteously(run, arguments, Refused, DataUnavailableError, CheckpointError, NotImplementedError, ValueError,
                       stopped="已中断；练了的存着，再运行一次接着来")


if __name__ == "__main__":
    sys.exit(main())
