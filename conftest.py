"""pytest 的设置：核对 notebook 时，慢机器上冒出来的进度条不算输出；最久的几本先跑"""
import os

import pytest

from tests.warm_kernel import SHARED, keep_warm

# 最费 CPU 的几本，从多到少；放在最后的话，别的进程早已闲着，还要等它
LONGEST = ["00_quickstart", "13_mnist", "15_evaluation", "07_sampling", "06_loss", "11_ema", "10_training"]


def notebooks_only(config):
    return config.getoption("nbval", False) or config.getoption("nbval_lax", False)


def pytest_configure(config):
    if notebooks_only(config):
        os.environ["TQDM_DISABLE"] = "1"
        keep_warm(config)
        if os.environ[SHARED]:
            os.environ["JUPYTER_PATH"], config.option.nbval_current_env = os.environ[SHARED], False


def pytest_collection_modifyitems(config, items):
    if notebooks_only(config):
        rank = {name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """nbval 把超时的那一格与后面的都记成 xfail，退出码仍是 0；没有核对过的不能算通过"""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if notebooks_only(session.config) and reporter is not None and reporter.stats.get("xfailed"):
        reporter.write_line("有一格超时，后面的都没有核对", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
