"""云端的 notebook：仓库的地址从 pyproject.toml 读来，第一格与“在云端打开”的链接由它拼成"""
import os
import re
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
TAG = "hosted"
# Colab 照 @title 折起来，JupyterLab 照 source_hidden
METADATA = {"jupyter": {"source_hidden": True}, "cellView": "form", "tags": [TAG]}
CELL = '''# @title 只在云端（Colab 等）用得着：装上课程与缺的包，已有的不换；在自己的电脑上什么也不做
try:
    import ddpm_edu
except ModuleNotFoundError:
    import os, subprocess, sys
    if not os.path.isdir("../ddpm_edu"):  # 只打开了这一本
        {fetch}
    sys.path.append(os.path.abspath(".."))
    from ddpm_edu.cli.hosted import install_missing
    install_missing()'''
FETCH = 'subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "git+{}"], check=True)'
NO_ADDRESS = 'raise RuntimeError("旁边没有课程的程序包；把整个仓库取来，打开其中 notebooks 文件夹里的这一本")'


def repository(file=PYPROJECT):
    """仓库的地址，末尾没有斜线；还没有写时空字符串"""
    found = re.search(r'^Repository = "(https://.+?)/?"$', file.read_text(encoding="utf-8"), re.M) if file.exists() else None
    return found[1] if found else ""


def published_address():
    """网页书里用的地址：还没有写进 pyproject.toml 时，用 GitHub Actions 给的那一个，复刻的仓库发布的书就指向它自己"""
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    return repository() or (f"{server}/{name}" if server and name else "")


def first_cell(address):
    """第一格的代码：import ddpm_edu 成功时什么也不做、什么也不印"""
    return CELL.format(fetch=FETCH.format(address) if address else NO_ADDRESS)


def without_first_cell(notebook):
    """网页与幻灯片里不要那一格"""
    notebook.cells = [cell for cell in notebook.cells if TAG not in cell.metadata.get("tags", ())]
    return notebook


def cloud_pages(address, notebook):
    """{平台: 打开这一本的地址}；这几家认得 GitHub 的地址，别处托管的是空的"""
    if not (found := re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?", address)):
        return {}
    page = f"{found[1]}/blob/main/notebooks/{notebook}.ipynb"
    return {"Colab": f"https://colab.research.google.com/github/{page}", "Kaggle": f"https://kaggle.com/kernels/welcome?src=https://github.com/{page}",
            "Codespaces": f"https://codespaces.new/{found[1]}"}


def open_links(address, notebook="00_quickstart"):
    """“在云端打开”的一行 Markdown；没有地址时空字符串

    魔搭、AI Studio、AutoDL 没有打开一本 notebook 的链接，要在它们的终端里取下仓库
    """
    if not address:
        return ""
    links = " · ".join(f"[{name}]({link})" for name, link in cloud_pages(address, notebook).items())
    return "　".join(filter(None, ["在云端打开", links, f"魔搭、AI Studio、AutoDL：在终端里 `git clone {address}`，再打开 `notebooks/{notebook}.ipynb`"]))
