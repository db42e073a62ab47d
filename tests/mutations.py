"""变异检查：把实现故意写错，看测试抓不抓得住

python -m tests.mutations                   全部，先确认原样的代码通过
python -m tests.mutations -j 2 ema checkpoint   两个一起跑；只跑文件名或说明里有这些字的
在临时目录的副本里改，工作区不动；有漏网的，退出码 1
"""
import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

from .mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[1]
PASSED, FAILED = 0, 1  # pytest 的退出码；其余是没能跑起来


def mutated(mutant, root=ROOT):
    """改过之后的源文件；原文不是恰好出现一次时 ValueError"""
    text = (root / "ddpm_edu" / mutant.file).read_text(encoding="utf-8")
    if (found := text.count(mutant.old)) != 1:
        raise ValueError(f"{mutant.file} 里应恰好有一处 {mutant.old!r}，现在有 {found} 处；代码改过，tests/mutants.py 也要跟着改（{mutant.why}）")
    return text.replace(mutant.old, mutant.new)


def run_tests(tests, mutant=None):
    """在副本里跑几个测试文件，第一个失败就停；返回 pytest 的退出码"""
    import pytest

    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("ddpm_edu", "tests", "notebooks/src"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        if mutant is not None:
            (tree / "ddpm_edu" / mutant.file).write_text(mutated(mutant), encoding="utf-8")
        os.chdir(tree)
        # 测试要用副本里的包，父进程已经导入的不算
        for name in [name for name in sys.modules if name.partition(".")[0] in ("ddpm_edu", "tests")]:
            del sys.modules[name]
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = folder
        with open(os.devnull, "w") as nowhere:
            for stream in (1, 2):
                os.dup2(nowhere.fileno(), stream)
            options = ["-x", "-q", "-p", "no:nbval", "-p", "no:cacheprovider", "-p", "no:xdist"]
            code = pytest.main([*options, *(f"tests/{name}" for name in tests.split())])
        os.chdir(ROOT)
        return int(code)


def check_all(mutants, jobs):
    """逐个打印，返回抓住了几个；每次都在一个新的子进程里，互不沾染"""
    import hypothesis  # noqa: F401
    import pytest  # noqa: F401
    import pytorch_lightning  # noqa: F401

    # 导入最费时间；Linux 上先导入好再分出子进程，每个变体就只剩下测试本身的时间
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(jobs, maxtasksperchild=1) as pool:
        files = sorted({mutant.tests for mutant in mutants})
        for name, code in zip(files, pool.starmap(run_tests, [(name,) for name in files], chunksize=1)):
            if code != PASSED:
                sys.exit(f"代码还没有改，{name} 就不通过（pytest 的退出码 {code}）；先修好它")
        results = [pool.apply_async(run_tests, (mutant.tests, mutant)) for mutant in mutants]
        caught = 0
        for mutant, result in zip(mutants, results):
            code = result.get(timeout=1800)
            caught += code == FAILED
            verdict = {FAILED: "抓住", PASSED: "漏网"}.get(code, f"没有跑起来（pytest 的退出码 {code}）")
            print(f"{verdict}  {mutant.file}：{mutant.why}", flush=True)
    return caught


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description="把实现故意写错，看测试抓不抓得住")
    parser.add_argument("words", nargs="*", help="只跑文件名或说明里有这些字的")
    parser.add_argument("-j", type=int, default=1, metavar="N", help="同时跑几个")
    options = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if not options.words or any(word in m.file + m.why for word in options.words)]
    if not chosen:
        parser.error(f"没有变体的文件名或说明里有 {options.words}")
    os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    caught = check_all(chosen, options.j)
    print(f"抓住 {caught}/{len(chosen)}")
    return int(caught < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
