"""学生等几秒：python -m benchmarks.panel_latency [面板名 ...] [--rounds 15] [--out 表.json]

python course.py lab 到页面打得开，几秒；运行面板的那一格到第一张图，几毫秒；按一下键到新图，几毫秒。
按键一项从按键事件的时间戳数到新图解码完成，取中位数。对照是同样的控件、同样的图，用 ipywidgets 的 interact，每次整张重画
（不重建坐标轴，已经是 interact 里快的写法）。两种写法在同一个内核里轮流量；要用 chromium 与 chromedriver
"""
import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import nbformat

from ddpm_edu.authoring.build import KERNEL

SETUP = """
import torch
from IPython.display import display
from ipywidgets import interact
from ddpm_edu import GaussianDiffusion, make_beta_schedule
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.teach import panels

images = load_digits_split()["val"][0][:10]
noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))

def beside(panel):
    def draw(**values):
        data, note = panel.compute(**values)
        print(note)
        display(panel.plot.update(**data).figure)
    for control in panel.controls.values():
        control.unobserve(panel.redraw, names="value")
    interact(draw, **panel.controls)
"""
# 画曲线的面板；样本图的面板要先采样，拖动时只换图，不比它们慢
PANELS = {
    "beta": "panels.beta_panel()", "forward": "panels.forward_panel(GaussianDiffusion(), images, noise)",
    "parameterization": "panels.parameterization_panel(GaussianDiffusion(), images[:1], noise[:1])",
    "posterior": "panels.posterior_panel(make_beta_schedule('sqrt_linear', 1000))", "chain": "panels.chain_panel()",
    "ema": "panels.ema_panel()", "lr": "panels.lr_panel()", "weights": "panels.weights_panel()",
}
WATCH = """
    window.frames = 0;
    document.addEventListener('keydown', e => { window.pressed = e.timeStamp; }, true);
    document.addEventListener('load', e => { if (e.target.tagName == 'IMG') frames += 1; }, true);"""
# 新图可能还是原来的元素换了 src，也可能是整个换了一个元素，所以只认 src；换得太快时 decode 会失败，接着等下一张
ONE_FRAME = """
    for (const end = performance.now() + 20000; performance.now() < end; await new Promise(r => setTimeout(r))) {
        const shown = book.content.widgets[arguments[0]].node.querySelector('.jp-OutputArea img');
        if (shown && shown.src != window.before && shown.complete && await shown.decode().then(() => true, () => false)) return performance.now() - pressed;
    }
    throw '按键之后 20 秒没有新图'"""
# 运行一格，等它的图；内核里 import 已经做完
FIRST_FRAME = """
    const cell = book.content.widgets[arguments[0]].node, started = performance.now();
    book.content.deselectAll(); book.content.activeCellIndex = arguments[0];
    app.commands.execute('notebook:run-cell');
    for (; performance.now() < started + 20000; await new Promise(r => setTimeout(r))) {
        const shown = cell.querySelector('.jp-OutputArea img');
        if (shown && shown.naturalWidth && await shown.decode().then(() => true, () => false)) return performance.now() - started;
    }
    throw '运行之后 20 秒没有图'"""
BOOK = "panel_latency"


def write_notebook(folder, names):
    """每块面板两格：面板自己，与 interact 的写法"""
    cells = [SETUP] + [code for name in names for code in (PANELS[name], f"beside({PANELS[name]})")]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code.strip()) for code in cells])
    book.metadata.kernelspec = KERNEL
    nbformat.write(book, folder / f"{BOOK}.ipynb")


def press(desk, index, handle, keys):
    """在第 index 格按一串键，每按一下等新图；返回各用了几毫秒"""
    taken = []
    for key in keys:
        desk.script("window.before = book.content.widgets[arguments[0]].node.querySelector('.jp-OutputArea img').src", index)
        handle.send_keys(key)
        taken.append(desk.wait_for(ONE_FRAME, index))
    return taken


def measure(desk, names, rounds):
    """→ {面板名: {"first": 毫秒, "panel": 毫秒, "interact": 毫秒}}"""
    from selenium.webdriver.common.keys import Keys

    desk.open(BOOK)
    desk.run([0])
    first = {}
    for order, name in enumerate(names):
        desk.scroll_to(1 + 2 * order)
        first[name] = desk.wait_for(FIRST_FRAME, 1 + 2 * order)
        desk.run([2 + 2 * order])
    desk.script(WATCH)
    table = {}
    for order, name in enumerate(names):
        handles = {}
        for kind, index in (("panel", 1 + 2 * order), ("interact", 2 + 2 * order)):
            desk.scroll_to(index)
            handles[kind] = desk.script("return book.content.widgets[arguments[0]].node.querySelector('.noUi-handle')", index)
            handles[kind].send_keys(Keys.HOME)
            # 内核处理完按键才答这一问；再留一会儿画图
            desk.wait_for("await kernel.requestCommInfo({}); await new Promise(r => setTimeout(r, 300)); return 'ok'")
        # 在两端之间来回，图一定不同：相邻的两格可能画出一模一样的图，那就等不到新的；头一下不算
        keys = [Keys.END, Keys.HOME, Keys.END, Keys.HOME]
        times = {kind: [] for kind in handles}
        for _ in range(-(-rounds // 3)):
            for kind, index in (("panel", 1 + 2 * order), ("interact", 2 + 2 * order)):
                desk.scroll_to(index)
                times[kind] += press(desk, index, handles[kind], keys)[1:]
        table[name] = {"first": first[name]} | {kind: statistics.median(values) for kind, values in times.items()}
    return table


def as_markdown(table):
    lines = ["| 面板 | 运行到第一张图 (ms) | 按键到新图 (ms) | interact (ms) | 快几倍 |", "|:--|--:|--:|--:|--:|"]
    return "\n".join(lines + [f"| {name} | {row['first']:.0f} | {row['panel']:.0f} | {row['interact']:.0f} | {row['interact'] / row['panel']:.1f} |"
                              for name, row in table.items()])


def main():
    parser = argparse.ArgumentParser("python -m benchmarks.panel_latency", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(PANELS), help=f"默认全部：{' '.join(PANELS)}")
    parser.add_argument("--rounds", type=int, default=16, help="每块面板按几下")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args()
    if unknown := set(options.names) - set(PANELS):
        parser.error(f"没有面板 {sorted(unknown)}")
    from tests.browser.desk import Desk, Lab, open_browser, what_is_missing

    if reason := what_is_missing():
        parser.error(reason)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "notebooks").mkdir()
        write_notebook(folder / "notebooks", options.names)
        started = time.monotonic()
        lab = Lab(folder)
        try:
            lab.wait()
            print(f"JupyterLab 起来：{time.monotonic() - started:.1f} 秒", flush=True)
            driver = open_browser(folder / "profile")
            try:
                table = measure(Desk(driver, lab), options.names, options.rounds)
            finally:
                driver.quit()
        finally:
            lab.stop()
    print(as_markdown(table))
    if options.out:
        Path(options.out).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
