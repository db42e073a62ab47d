"""pytest 的设置：核对 notebook 时，慢机器上冒出来的进度条不算输出；最久的几本先跑"""
import os

# 真的训练的几本，从久到快；放在最后的话，别的进程早已闲着，还要等它
LONGEST = ["11_sampling", "12_mnist", "00_quickstart", "13_cifar10", "14_evaluation", "16_latent_diffusion", "09_loss"]


def notebooks_only(config):
    return config.getoption("nbval", False) or config.getoption("nbval_lax", False)


def pytest_configure(config):
    if notebooks_only(config):
        os.environ["TQDM_DISABLE"] = "1"


def pytest_collection_modifyitems(config, items):
    if notebooks_only(config):
        rank = {name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))
