"""教师：把收来的习题记录汇成一张表 progress.csv：python -m ddpm_edu.authoring.collect 文件夹"""
import csv
import sys
from pathlib import Path

from ..teach.diary import NAME, read_record
from ..teach.exercises import chapters


def student_name(path, folder):
    """文件名就是学生；文件没有改过名时，用它所在的文件夹"""
    path = path.relative_to(folder)
    name = str(path.parent if path.name == NAME and path.parent.name else path.with_suffix(""))
    return safe(name)


def safe(name):
    """写进表格的名字：Excel 会把这几个符号开头的格子当作公式"""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@") else name


def collect(folder):
    """folder 里的全部记录 → 表格的各行，第一行是表头

    异常 : 不是文件夹，或者里面没有 .json 时 ValueError
    """
    folder = Path(folder)
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        raise ValueError(f"{folder} 里没有 .json 文件；把学生交来的 {NAME} 放进去，改名为学号，或一人一个文件夹")
    return table([(student_name(path, folder), read_record(path)) for path in paths])


def table(records):
    """[(学生, 记录), ...] → 表格的各行，第一行是表头；记录同 diary.read_record"""
    numbers = [e.id for exercises in chapters().values() for e in exercises]
    rows = [["学生", "做对", "尝试", "最后一次", *numbers]]
    for student, record in records:
        saved = {number: entry for number, entry in record.items() if number in numbers}
        marks = [saved[number]["mark"] if number in saved else "" for number in numbers]
        last = max((entry["time"] for entry in saved.values()), default="没有记录，或文件读不懂")
        rows.append([student, marks.count("✓"), sum(entry["tries"] for entry in saved.values()), last, *marks])
    return rows


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    try:
        rows = collect(arguments[0])
    except ValueError as error:
        sys.exit(str(error))
    target = Path(arguments[0]) / "progress.csv"
    # 带 BOM，Excel 才认得出是 UTF-8
    with target.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(rows)
    print(f"{target}：{len(rows) - 1} 份记录")


if __name__ == "__main__":
    main(sys.argv[1:])
