"""教师：把收来的 notebook 逐题重判，汇成一张表：python -m ddpm_edu.classroom.regrade 文件夹 [--seconds 秒]

文件夹里一人一份 .ipynb，文件名就是学生；文件还是课程里的名字时，一人一个文件夹。写出 regrade.csv 与 regrade.html，别的一概不动。
学生的程序在隔离的进程里运行（见 isolation.py）；存着的输出、学生自己的进度记录都不看
"""
import argparse
import contextlib
import os
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from ..cli.errors import courteously
from ..cli.options import Parser
from ..files.checkpoint import atomic_file
from ..teach.exercises import find
from . import isolation, submission
from .judging import Judged, judge_attempts
from .questions import sources
from .tables import csv_table, page

TARGET, HUNTING = "ddpm_edu.classroom.answers:answer", "ddpm_edu.classroom.hunting:answer"
SECONDS, MEMORY_MB = 15, 2048
# 一份作业合计的时限，是一道题的几倍；写进说明的被拒绝的操作至多几条
WHOLE, MOST_REFUSED = 4, 3
# 核对答案要摆弄全局的随机数，一次只能一个线程
judging, stopping = threading.Lock(), threading.Event()


@dataclass
class Row:
    """一名学生：各题的 Judged，用的时间（秒），以及要告诉教师的话"""

    student: str
    judged: dict = field(default_factory=dict)
    seconds: float = 0.0
    notes: list = field(default_factory=list)

    def take(self, number, judged):
        """同一题交了几次，取好的：✓ 优先，其次动了手的"""
        old = self.judged.get(number)
        if old is None or "☐✗✓".index(judged.mark) > "☐✗✓".index(old.mark):
            self.judged[number] = judged


def judge_submission(given, seconds):
    """判一份 notebook，返回 ({题号: Judged}, 用的秒数, [话])；一题一个进程，一题卡住或崩溃，别的照判"""
    started, found, refused, rest = time.monotonic(), {}, [], []
    # 没有 fork 的系统上，起一个进程要几秒：先一起判，出了事再一题一题来
    numbers = given.numbers + given.said
    groups = [[number] for number in numbers] if isolation.CHEAP else [list(numbers)]
    while groups and not stopping.is_set():
        group = groups.pop(0)
        if time.monotonic() - started > WHOLE * seconds:
            rest += group
            continue
        questions = {number: sources().get(number) for number in group}
        target = HUNTING if group[0].startswith("16") else TARGET
        outcome = isolation.run(target, {"cells": list(given.cells), "questions": questions}, seconds=seconds, memory_mb=MEMORY_MB)
        refused += outcome.refused
        if outcome.error and len(group) > 1:
            groups = [[number] for number in group]
        else:
            # 只是提到题号，没有批改的，不算
            found |= {number: judge_one(number, outcome) for number in group if number in given.numbers or outcome.error or outcome.value.get(number)}
    if rest:
        found |= dict.fromkeys(rest, Judged("✗", f"没有判：这份作业已经用了 {WHOLE * seconds} 秒"))
    notes = [f"被拒绝的操作：{'；'.join(list(dict.fromkeys(refused))[:MOST_REFUSED])}"] if refused else []
    return found, time.monotonic() - started, notes


def judge_one(number, outcome):
    """隔离的进程交回的 → 这道题的 Judged"""
    if outcome.error:
        return Judged("✗", outcome.error)
    try:
        with judging:
            judged = judge_attempts(find(number), outcome.value[number])
    # 交回的东西可以是任何样子
    except Exception:
        return Judged("✗", "交回的结果不合规矩，不算")
    if judged is None:
        return Judged("✗", f'没有找到 grade("{number}", …) 这一句：它在注释里，或者题号是算出来的')
    if outcome.refused and judged.mark == "✗" and not judged.mistake:
        return Judged("✗", f"{judged.text}（{outcome.refused[0]}）")
    return judged


def regrade(folder, seconds=SECONDS, say=print):
    """重判 folder 里的全部作业，返回 (各行 [Row, ...]，按学生排好；没有看的文件 [一句话, ...])

    seconds : 一道题的时限；say(一句话) 报告进度
    异常    : 没有可判的文件时 ValueError
    """
    stopping.clear()
    rows = defaultdict(lambda: None)
    readable, strays, others = sort_out(folder, rows)
    if not rows and not readable:
        raise ValueError(f"{folder} 里没有 notebook；把学生交来的 .ipynb 放进去，改名为学号，或一人一个文件夹")
    mark_repeats(readable, rows, folder)
    # 先算好：Python 3.11 的几个线程同时 ast.parse，会报“recursion depth mismatch”
    sources()
    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
        pending = {pool.submit(judge_submission, given, seconds): given for given in readable}
        try:
            for i, done in enumerate(as_completed(pending)):
                given, (found, used, notes) = pending[done], done.result()
                row = row_of(rows, given.student)
                for number, judged in found.items():
                    row.take(number, judged)
                row.seconds += used
                row.notes += [*given.notes, *notes]
                say(f"{i + 1}/{len(readable)} {submission.shown(given.path.name)}：{sum(j.mark == '✓' for j in found.values())}/{len(found)}，{used:.1f} 秒")
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            isolation.close()
            raise
    for student, note in strays:
        row_of(rows, student).notes.append(note)
    return sorted(rows.values(), key=lambda row: row.student), others


def row_of(rows, student):
    rows[student] = rows[student] or Row(student)
    return rows[student]


def sort_out(folder, rows):
    """读 folder 里的文件：读得懂的 Submission；像作业却没法判的 [(学生, 一句话)]，先占一行；不像作业的 [一句话]"""
    readable, unusable, others = [], [], []
    for path, reason in submission.candidates(folder):
        try:
            if reason:
                raise submission.Unusable(reason)
            readable.append(submission.read(path, folder))
        except submission.Unusable as error:
            if str(error).startswith("不是 notebook") and ".ipynb" not in path.name:
                others.append(f"{submission.shown(str(path.relative_to(folder)))}：{error}")
            else:
                unusable.append((path, f"{submission.shown(path.name)}：{error}"))
    students, strays = {given.student for given in readable}, []
    for path, note in unusable:
        beside = path.parent.relative_to(folder).as_posix()
        student = submission.student_of(path, folder)
        strays.append((beside if beside in students and student not in students else student, note))
        row_of(rows, strays[-1][0])
    return readable, strays, others


def mark_repeats(readable, rows, folder):
    """同一人同一章交了几份、两人的代码一字不差，都说一句"""
    by_chapter, by_code = defaultdict(list), defaultdict(list)
    for given in readable:
        by_code[given.cells].append(given)
        for chapter in given.chapters:
            by_chapter[given.student, chapter].append(submission.shown(given.path.name))
    for (student, chapter), names in by_chapter.items():
        if len(names) > 1:
            row_of(rows, student).notes.append(f"第 {chapter} 章交了 {len(names)} 份（{'、'.join(names)}），逐题取好的")
    for same in by_code.values():
        for given in same:
            if others := sorted({other.student for other in same} - {given.student}):
                row_of(rows, given.student).notes.append(f"代码与 {'、'.join(others[:3])} 的一字不差")


def make_parser():
    parser = Parser("python course.py regrade", description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False)
    parser.add_argument("folder", metavar="文件夹", type=Path, help="收来的 notebook 都在里面，可以有子文件夹")
    parser.add_argument("--seconds", type=int, default=SECONDS, metavar="秒", help=f"一道题的时限，默认 {SECONDS}；一份作业合计是它的 {WHOLE} 倍")
    return parser


def run(arguments):
    parser, started = make_parser(), time.monotonic()
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"{options.folder} 不是文件夹")
    if options.seconds < 1:
        parser.error(f"--seconds 应当至少是 1，得到 {options.seconds}")
    try:
        rows, others = regrade(options.folder, options.seconds)
        kernel = isolation.kernel_in_force()
    finally:
        isolation.close()
    used, failed = time.monotonic() - started, False
    for name, content in (("regrade.csv", csv_table(rows)), ("regrade.html", page(rows, others, used, options.seconds, kernel))):
        try:
            with atomic_file(options.folder / name) as file:
                file.write(content)
            print(f"写好了：{options.folder / name}")
        except OSError as error:
            failed = True
            print(f"写不了 {options.folder / name}：{error}；若是用 Excel 开着，关掉再来一次")
    print(f"{len(rows)} 名学生，{used:.0f} 秒" + (f"；{len(others)} 个文件不像作业，列在网页里" if others else ""))
    return int(failed)


def main(arguments=None):
    return courteously(run, arguments, ValueError)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
