"""pytest 的设置：核对 notebook 时，慢机器上冒出来的进度条不算输出；最久的几本先跑"""
import os

import pytest

from tests.warm_kernel import SHARED, keep_warm

# 真的训练的几本，从久到快；放在最后的话，别的进程早已闲着，还要等它
LONGEST = ["07_sampling", "13_mnist", "00_quickstart", "14_cifar10", "15_evaluation", "17_latent_diffusion", "06_loss"]


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
