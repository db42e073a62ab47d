"""一次运行只起一个 JupyterLab、开一个浏览器；缺东西时整个目录跳过"""
import os
import shutil
from pathlib import Path

import pytest

from tests.warm_kernel import keep_warm

try:
    from .desk import ROOT, Desk, Lab, open_browser, what_is_missing
except ModuleNotFoundError as missing:
    REASON = f"没有装 {missing.name}；pip install -r tests/requirements.txt"
else:
    REASON = what_is_missing()


def pytest_configure(config):
    if not REASON:
        keep_warm(config)


def pytest_collection_modifyitems(items):
    for item in items:
        if REASON and "browser" in item.path.parts:
            item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="session")
def shots(tmp_path_factory):
    """截图与 JSON 放在哪里：环境变量 DDPM_EDU_SHOTS，没有就放临时目录"""
    folder = Path(os.environ.get("DDPM_EDU_SHOTS") or tmp_path_factory.mktemp("shots")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    print(f"\n截图与测量在 {folder}")


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("课程 副本")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("src", "data", ".ipynb_checkpoints"))
    lab = Lab(folder)
    try:
        lab.wait()
        yield lab
    finally:
        lab.stop()


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    driver = open_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def desk(driver, lab):
    return Desk(driver, lab)


@pytest.fixture(scope="session")
def built(tmp_path_factory, pytestconfig):
    """导出的书：(封面的路径, 各页)；一次运行只写一次。平时六本：最短的与最长的、面板多的、全是表的；--full 时全部"""
    from ddpm_edu.authoring.site.book import export
    from ddpm_edu.teach.books import NOTEBOOKS

    books = [path for path in NOTEBOOKS.glob("*.ipynb") if pytestconfig.getoption("full") or path.stem[:2] in ("02", "03", "04", "07", "08", "90")]
    return export(tmp_path_factory.mktemp("网页 书"), books)
