"""把整本书写进一个文件夹"""
import shutil
from importlib.util import find_spec
from pathlib import Path

from ...teach.books import NOTEBOOKS
from ..hosting import published_address
from .cover import PICTURE, cover
from .frame import ASSETS, frame
from .live import write_live
from .navigation import cloud_links, section_tools, turn
from .pages import PICTURES, read_page
from .panels import write_panels
from .search import FILE, index

PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"


def write_assets(folder):
    """各页共用的样式、脚本与 MathJax → folder/assets"""
    mathjax = find_spec("sphinx-mathjax-offline")
    if mathjax is None:
        raise ModuleNotFoundError("排公式要用 sphinx-mathjax-offline；用 python course.py export，或先 pip install -r tests/requirements.txt")
    shutil.copytree(ASSETS, folder / "assets", dirs_exist_ok=True)
    shutil.copyfile(Path(mathjax.submodule_search_locations[0]) / "static" / "mathjax" / "tex-svg.js", folder / "assets" / "mathjax.js")


def write_pictures(folder, pictures):
    (folder / PICTURES).mkdir(exist_ok=True)
    for name, data in pictures.items():
        (folder / PICTURES / name).write_bytes(data)


def write_page(folder, page, address):
    section_tools(page, address)
    main = cloud_links(address, page.name) + str(page.body) + turn(page.name)
    (folder / f"{page.name}.html").write_text(frame(page.title, main, f"{page.name}.html", page), encoding="utf-8")


def export(folder, books=None):
    """写出全部网页；books 是几本 notebook 的路径，默认全部。返回 (封面的路径, 各页)"""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_assets(folder)
    write_panels(folder)
    write_live(folder, frame)
    pages = [read_page(path) for path in sorted(books or NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]
    (folder / "assets" / FILE).write_text(index(pages), encoding="utf-8")
    write_pictures(folder, {PICTURE: (PRETRAINED / PICTURE).read_bytes()})
    address = published_address()
    for page in pages:
        write_pictures(folder, page.pictures)
        write_page(folder, page, address)
    home = folder / "index.html"
    home.write_text(cover(), encoding="utf-8")
    return home, pages
