"""pytest 的设置：核对 notebook 时，慢机器上冒出来的进度条不算输出"""
import os


def pytest_configure(config):
    if config.getoption("nbval", False) or config.getoption("nbval_lax", False):
        os.environ["TQDM_DISABLE"] = "1"
