"""承诺的清单，以及把计数写成表的地方：每个测试用 promise 标记说明它守着哪一条、怎样注入故障

@pytest.mark.promise("safe_open", "恶意文件 × 入口")   一个测试算一次
tally(passed, tried)                                   一个测试里试了很多次，由它记下
python course.py test --full tests                           用完整的次数跑全部，更新 tests/README.md 里的表
"""
import time
from collections import Counter
from pathlib import Path

import pytest

README = Path(__file__).with_name("README.md")
START, END = "<!-- 承诺：由 --full 写入 -->\n", "<!-- 承诺：到此 -->\n"

PROMISES = {
    "safe_open": "打开文件绝不执行代码",
    "own_files": "自己写的文件都能安全读取",
    "atomic": "保存要么成要么不动",
    "damage": "损坏必被发现",
    "resume": "续训 = 从未停下",
    "looking": "看一眼不改变训练",
    "ema": "EMA 准确，且不外漏",
    "partial": "不悄悄少载",
    "nonfinite": "NaN 与无穷即停",
    "stop": "停止键是安全的",
    "precision": "换精度、编译不伤数值",
    "processes": "多进程一致",
    "data": "数据完整",
    "import": "到处都能导入",
    "input": "坏输入当场说清",
    "notebook": "notebook 在课堂上不出错",
    "leaks": "不漏内存、文件与句柄",
    "mutation": "写错了测试抓得住",
}


def table(counts, seconds):
    """counts : {(承诺, 注入方式): Counter(passed=…, tried=…)}；返回 Markdown 表"""
    order = list(PROMISES)
    rows = sorted(counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    lines = [f"| {PROMISES[key]} | {how} | {n['passed']}/{n['tried']} |" for (key, how), n in rows]
    return "\n".join(["| 承诺 | 怎样试 | 通过/试过 |", "|---|---|---|", *lines, "", f"整个测试用时 {seconds / 60:.0f} 分钟。"]) + "\n"


def rows_in_readme():
    """README 的表里有哪些（承诺, 怎样试）"""
    text = README.read_text(encoding="utf-8").split(START)[1].split(END)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    return {tuple(row[:2]) for row in cells[1:]}


def write_readme(counts, seconds):
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(START)
    README.write_text(before + START + table(counts, seconds) + END + rest.split(END)[1], encoding="utf-8")


class Ledger:
    """pytest 插件：按标记累计；没有用 tally 的测试，通过一个算一次"""

    def __init__(self, started):
        self.started, self.counts, self.own = started, {}, set()

    def count(self, item, passed, tried):
        for mark in item.iter_markers("promise"):
            key, how = mark.args
            if key not in PROMISES:
                raise KeyError(f"promise 标记的第一项应为 {'、'.join(PROMISES)} 之一，得到 {key!r}")
            self.counts.setdefault((key, how), Counter()).update(passed=passed, tried=tried)

    def pytest_runtest_makereport(self, item, call):
        if call.when == "call" and item.nodeid not in self.own:
            skipped = call.excinfo is not None and call.excinfo.typename == "Skipped"
            self.count(item, int(call.excinfo is None), int(not skipped))

    def pytest_sessionfinish(self, session, exitstatus):
        config = session.config
        if hasattr(config, "workeroutput"):
            config.workeroutput["ledger"] = [(*row, counts["passed"], counts["tried"]) for row, counts in self.counts.items()]
            return
        whole = [Path(arg).name for arg in config.args] == ["tests"]
        selected = config.getoption("keyword") or config.getoption("markexpr")
        if config.getoption("full") and whole and not selected:
            write_readme(self.counts, time.time() - self.started)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error):
        """几个进程一起跑时，各记各的，结束时交上来"""
        for key, how, passed, tried in getattr(node, "workeroutput", {}).get("ledger", ()):
            self.counts.setdefault((key, how), Counter()).update(passed=passed, tried=tried)
