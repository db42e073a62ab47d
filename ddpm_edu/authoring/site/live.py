"""两页不开内核也能动的网页：live.html 里随包的模型画数字，plane.html 里在平面上加噪、训练、采样

全部由浏览器算，脚本是 assets/ 里的几个小文件；Worker 也要用的几个直接写进页面，Worker 由那一段文字造出来，所以双击打开也能用
"""
import base64
import json
import re
from pathlib import Path

from ...pretrained import checked_file, pretrained_card

ASSETS = Path(__file__).parent / "assets"
MODEL = "mnist"
WEIGHTS = "live_weights.js"
# 页面 → (标题, 页面与 Worker 都用的脚本, 只有页面用的脚本)
PAGES = {
    "live": ("不开内核，也能画", ("product", "tensor", "unet", "diffusion", "drawing", "background"), (WEIGHTS, "digit.js")),
    "plane": ("平面上的扩散", ("product", "diffusion", "mlp", "points", "learning", "background"), ("plane_view.js", "plane.js")),
}


def weights_script():
    """随包模型写成一行 const MODEL = {…}：file 是 base64 的权重文件，原样，半精度；其余取自卡片"""
    card = pretrained_card(MODEL)
    model, weights = card["model"], Path(checked_file(f"{MODEL}.safetensors", card["sha256"]))
    content = {"config": model["unet_config"]["params"], "schedule": model["beta_schedule"], "timesteps": model.get("timesteps", 1000),
               "side": model["image_size"], "file": base64.b64encode(weights.read_bytes()).decode()}
    return f"const MODEL = {json.dumps(content)};\n"


def main_part(name):
    """一页的正文：<article>、样式与脚本"""
    _, engine, scripts = PAGES[name]
    # 源文件里一句一行；汉字之间的换行到了网页上会变成空格
    article = re.sub(r"(?<=[。；：，])\n", "", (ASSETS / f"{name}.html").read_text(encoding="utf-8"))
    source = "\n".join((ASSETS / f"{part}.js").read_text(encoding="utf-8") for part in engine)
    tags = "\n".join(f'<script src="assets/{script}"></script>' for script in scripts)
    return f'<link rel="stylesheet" href="assets/live.css">\n{article}<script id="engine">\n{source}</script>\n{tags}'


def write_live(folder, frame):
    """把两页写进 folder，权重写进 folder/assets；脚本与样式由 book.write_assets 一起拷过去

    frame : frame(标题, 正文, 文件名) → 一整页的 HTML
    """
    folder = Path(folder)
    (folder / "assets").mkdir(parents=True, exist_ok=True)
    (folder / "assets" / WEIGHTS).write_text(weights_script(), encoding="utf-8")
    for name, (title, _, _) in PAGES.items():
        (folder / f"{name}.html").write_text(frame(title, main_part(name), f"{name}.html"), encoding="utf-8")
