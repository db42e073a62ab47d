"""打印成 PDF：一章一份，全书一份，带书签与页码；用机器上的 Chromium（Chrome、Edge 也行），不开窗口"""
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from bs4 import BeautifulSoup

from .cover import cover_body
from .frame import BOOK, head
from .words import formulas

WHOLE = "ddpm.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge", "microsoft-edge")
PLACES = ("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
          "C:/Program Files/Google/Chrome/Application/chrome.exe", "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe")
# 排公式的时间，毫秒：浏览器自己的钟，排完就往下走，不必真等
PATIENCE = 600_000


def find_browser():
    """机器上的 Chromium；没有时 FileNotFoundError"""
    found = next(filter(None, map(shutil.which, BROWSERS)), None) or next((place for place in PLACES if Path(place).exists()), None)
    if found is None:
        raise FileNotFoundError("打印成 PDF 要用 Chromium、Chrome 或 Edge，这台机器上没有找到；装一个（Debian 与 Ubuntu：apt-get install chromium），"
                                "或者在浏览器里打开网页，用打印里的“另存为 PDF”")
    return found


def article(page, whole):
    """一页的正文，折叠的都展开。whole 为真时与别的章合成一份：id 添上文件名，章之间的链接指到份内；单独一份时，指向别的章的链接只留下字"""
    body = BeautifulSoup(str(page.body), "html.parser").article
    for tag in body.find_all("details"):
        tag["open"] = ""
    # 书签里只有字，没有公式
    for text in [text for tag in body.find_all(["h1", "h2", "h3"]) for text in tag.find_all(string=re.compile(r"\$"))]:
        text.replace_with(formulas(text))
    for tag in body.find_all(id=True) if whole else ():
        tag["id"] = f"{page.name}:{tag['id']}"
    for a in body.find_all("a", href=True):
        name, _, where = a["href"].partition("#")
        name = name.removesuffix(".html") or page.name
        if "/" in name:
            # 图的大图，或外面的出处
            if not a["href"].startswith("https:"):
                a.unwrap()
        elif whole:
            a["href"] = f"#{name}:{where}" if where else f"#{name}"
        elif name == page.name:
            a["href"] = f"#{where}"
        else:
            a.unwrap()
    body["id"] = page.name
    return str(body)


def document(title, articles):
    """要打印的一页：只有正文"""
    return head(title, ["type.css", "print.css"], ["mathjax.js"]) + f"<body>{''.join(articles)}</body></html>"


def front(pages):
    """全书的封面与目录"""
    soup = BeautifulSoup(cover_body(), "html.parser")
    for a in soup.find_all("a", href=True):
        name, _, where = a["href"].partition(".html")
        a["href"] = f"#{name}:{where[1:]}" if where else f"#{name}"
    return f"<article>{soup}</article>"


def print_page(browser, source, target):
    """一个网页文件 → PDF，带书签；浏览器没有写出文件时 RuntimeError"""
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        done = subprocess.run([browser, "--headless", *as_root, "--disable-gpu", f"--user-data-dir={profile}",
                               f"--virtual-time-budget={PATIENCE}", "--no-pdf-header-footer", "--generate-pdf-document-outline",
                               f"--print-to-pdf={target}", source.as_uri()], capture_output=True, text=True, errors="replace")
    if not target.exists():
        raise RuntimeError(f"{browser} 没有写出 {target.name}：\n{done.stderr[-800:]}")


def write_pdf(browser, folder, pages):
    """各章与全书的 PDF → folder/pdf；网页已经写在 folder 里。返回全书的那一份"""
    target = (folder / "pdf").resolve()
    target.mkdir(exist_ok=True)
    documents = {f"{page.name}.pdf": document(page.title, [article(page, False)]) for page in pages}
    documents[WHOLE] = document(BOOK, [front(pages), *(article(page, True) for page in pages)])
    source = folder.resolve() / "print.html"
    for name, text in documents.items():
        (target / name).unlink(missing_ok=True)
        source.write_text(text, encoding="utf-8")
        print_page(browser, source, target / name)
    source.unlink()
    return target / WHOLE
