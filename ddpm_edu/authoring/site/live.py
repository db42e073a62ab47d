"""两页不开内核也能动的网页：live.html 里随包的模型画数字，plane.html 里在平面上加噪、训练、采样

全部由浏览器算；脚本是 assets/ 里的几个小文件。后台要用的几个直接写进页面，Worker 由那一段文字造出来，所以双击打开也能用
"""
import base64
import json
import shutil
from html import escape
from pathlib import Path

from ...pretrained import HERE, checked_file, pretrained_card

ASSETS = Path(__file__).parent / "assets"
MODEL = "mnist"
FOLDER = "live"
# 单独打开时的外框；网页书另给一个
PAGE = """<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title></head><body>
{body}
</body></html>
"""
# 页面 → (标题, 写进页面的脚本：页面与 Worker 都用, 只有页面用的脚本)
PAGES = {
    "live": ("不开内核，也能画", ("product", "tensor", "unet", "diffusion", "drawing", "background"), ("weights", "digit")),
    "plane": ("平面上的扩散", ("product", "diffusion", "mlp", "points", "learning", "background"), ("plane_view", "plane")),
}


def weights_script():
    """随包模型的一段脚本 const MODEL = {…}：file 是 base64 的权重文件，原样是半精度；其余取自卡片"""
    card = pretrained_card(MODEL)
    model = card["model"]
    content = {"config": model["unet_config"]["params"], "schedule": model["beta_schedule"], "timesteps": model.get("timesteps", 1000),
               "side": model["image_size"], "file": base64.b64encode((HERE / Path(checked_file(f"{MODEL}.safetensors", card["sha256"])).name).read_bytes()).decode()}
    return f"const MODEL = {json.dumps(content)};\n"


def body(name):
    """一页的正文：<main>、样式与脚本"""
    _, engine, scripts = PAGES[name]
    source = "\n".join((ASSETS / f"{part}.js").read_text(encoding="utf-8") for part in engine)
    main = (ASSETS / f"{name}.html").read_text(encoding="utf-8")
    tags = "\n".join(f'<script src="{FOLDER}/{script}.js"></script>' for script in scripts)
    return f'<link rel="stylesheet" href="{FOLDER}/live.css">\n{main}<script id="engine">\n{source}</script>\n{tags}'


def write_live(folder, page=PAGE.format):
    """把两页与它们的脚本、权重写进 folder

    page : page(title=, body=) → 一整页的 HTML，由网页书给出它的外框
    返回 : [(标题, 文件名), …]
    """
    folder = Path(folder)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / FOLDER / "weights.js").write_text(weights_script(), encoding="utf-8")
    for name in ("live.css", *(f"{script}.js" for _, _, scripts in PAGES.values() for script in scripts if script != "weights")):
        shutil.copyfile(ASSETS / name, folder / FOLDER / name)
    for name, (title, _, _) in PAGES.items():
        (folder / f"{name}.html").write_text(page(title=escape(title), body=body(name)), encoding="utf-8")
    return [(title, f"{name}.html") for name, (title, _, _) in PAGES.items()]
