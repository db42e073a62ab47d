"""学生看到的那一页：notebook 在真的浏览器里打开、从头跑到尾，面板的每个控件走到两端和中间"""
import json
import re

import pytest

from ddpm_edu.authoring.build import sources

from .desk import controls, moves
from .needed import needed

BOOKS = {path.stem: path.read_text(encoding="utf-8") for path in sources()}
PANEL = re.compile(r"^\w+_panel\(", re.M)
# 平时面板动起来的：有面板、又不必训练或采样几分钟的；其中一本从头运行
EVERYDAY = [name for name, text in BOOKS.items() if PANEL.search(text) and name not in ("00_quickstart", "07_sampling")]
WHOLE = ["03_forward"]
MENUS = ["文件", "编辑", "查看", "运行", "内核", "标签页", "设置", "帮助"]
FONTS = ("--jp-ui-font-family", "--jp-content-font-family", "--jp-code-font-family")
# 字体里没有的字，画出来都与“未指定的码位”一个样
BOXES = """
    const canvas = document.createElement('canvas'), pen = canvas.getContext('2d', {willReadFrequently: true});
    canvas.width = canvas.height = 48;
    const draw = text => { pen.clearRect(0, 0, 48, 48); pen.fillText(text, 8, 34);
        return new Uint32Array(pen.getImageData(0, 0, 48, 48).data.buffer); };
    const bad = [];
    for (const name of arguments[1]) {
        pen.font = '24px ' + getComputedStyle(document.body).getPropertyValue(name);
        const missing = draw('\\u{10FFFF}');
        for (const c of new Set(arguments[0])) if (draw(c).every((pixel, i) => pixel == missing[i])) bad.push(c);
    }
    return bad"""


def page_text(desk):
    return desk.script("return document.body.innerText + book.content.widgets.map(c => c.node.textContent).join('')")


def boxes(desk, text):
    """text 里在三种字体下会变成方框的字"""
    return desk.script(BOXES, "".join(sorted({c for c in text if ord(c) > 127 and not c.isspace()})), FONTS)


def walk(desk, panel, name, label, kind, element):
    """一个控件走到两端与中间，图要跟着变"""
    frames = set()
    for move in moves(desk.driver, kind, element):
        move()
        frames.add(desk.settle(panel))
    # 开始时噪声表不是 cosine，它的偏移不起作用，那句话里写明了
    assert len(frames) > 1 or "cosine_s 不起作用" in next(iter(frames))[1], f"{name}：动了 {label}，图没有变"


@pytest.mark.parametrize("name", BOOKS)
def test_a_notebook_runs_and_every_control_redraws(desk, shots, name, amount):
    """平时，一本从头运行，有面板的只运行面板用到的几格，其余的打开来看：每一格另由 nbval 在真的内核里运行；--full 时全都从头运行"""
    whole, running = name in amount(WHOLE, BOOKS), name in amount(EVERYDAY, BOOKS)
    desk.open(name, fresh=whole)
    # 存着的 stderr 是课程要给人看的；Lightning 说机器情形的话也走 stderr，不存
    expected = {i for i, output in desk.outputs() if output.get("name") == "stderr"} | set(desk.cells_with("NBVAL_IGNORE_OUTPUT"))
    if whole:
        desk.run_all()
    elif running:
        desk.run(needed(desk.code(), PANEL.search))
    wrong = [(i, o) for i, o in desk.outputs() if o["output_type"] == "error" or o.get("name") == "stderr" and i not in expected]
    assert not wrong, json.dumps(wrong, ensure_ascii=False)[:1000]
    assert not boxes(desk, page_text(desk))
    assert len(desk.panels()) == (len(PANEL.findall(BOOKS[name])) if running else 0)
    for index in desk.panels():
        panel = desk.show(index)
        before = desk.settle(panel)
        desk.driver.save_screenshot(str(shots / f"{name}-{index:02d}-0.png"))
        assert controls(panel) and re.search("[\u4e00-\u9fff]", before[1]), f"{name} 第 {index} 格"
        for label, kind, element in controls(panel):
            walk(desk, panel, name, label, kind, element)
        desk.driver.save_screenshot(str(shots / f"{name}-{index:02d}-1.png"))
    assert desk.script("return trouble") == []
    errors = desk.console_errors()
    assert not errors, "\n".join(errors)
    if whole:
        desk.close()


def test_the_interface_speaks_chinese(desk):
    desk.open("90_symbols_and_terms")
    assert desk.script("return Array.from(document.querySelectorAll('.lm-MenuBar-itemLabel'), e => e.textContent)") == MENUS
    assert desk.script("return document.documentElement.lang").startswith("zh")


def test_the_search_for_boxes_sees_a_box(desk):
    desk.open("90_symbols_and_terms")
    assert boxes(desk, "汉①ᾱ₀") == [] and set(boxes(desk, "汉\ue123")) == {"\ue123"}
