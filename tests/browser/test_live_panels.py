"""网页里活的面板：算出的数与包里的相同，键盘能走遍每个控件，深浅两色、宽窄两种页面都读得清"""
import itertools
import json
import math
import shutil
import statistics

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ddpm_edu.authoring.site import panels
from ddpm_edu.authoring.site.frame import ASSETS
from ddpm_edu.schedules import alphas_cumprod, make_beta_schedule

from ..test_panels import positions
from .desk import go_to, leave

COSINE = alphas_cumprod(make_beta_schedule("cosine", 1000))[0]
PAGE = """<!DOCTYPE html><html lang="zh-CN"><head><meta charset="utf-8"><title>面板</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root {{ --ink: #222; --paper: #fff; --line: #ddd; }}
:root.night {{ --ink: #ddd; --paper: #181a1b; --line: #444; color-scheme: dark; }}
body {{ max-width: 54rem; margin: auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper); font-family: sans-serif; }} img {{ max-width: 100%; }}</style>
<script defer src="assets/panels.js"></script></head><body>{}</body></html>"""
FIGURE = '<figure class="panel" data-panel="{0}" data-chapter="02"><img alt="{0}" src="still.png"></figure>'


@pytest.fixture(scope="module")
def live():
    return panels.live_panels()


@pytest.fixture(scope="module")
def page(tmp_path_factory, live):
    folder = tmp_path_factory.mktemp("网页 书")
    shutil.copytree(ASSETS, folder / "assets")
    panels.write_panels(folder, live)
    Image.new("L", (990, 400), 200).save(folder / "still.png")
    target = folder / "page.html"
    target.write_text(PAGE.format("\n".join(map(FIGURE.format, [*live, *panels.STILL]))), encoding="utf-8")
    return target


@pytest.fixture
def opened(driver, page, live):
    leave(driver)
    go_to(driver, page.as_uri())
    dead = driver.execute_async_script("""const [names, done] = arguments, until = performance.now() + 20000;
        const dead = () => names.filter(name => !document.querySelector(`.panel.alive[data-panel=${name}]`));
        const look = () => dead().length && performance.now() < until ? setTimeout(look, 20)
            : requestAnimationFrame(() => requestAnimationFrame(() => done(dead()))); look();""", list(live))
    assert not dead, f"没有活起来的面板：{dead}"
    yield driver
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def narrow(driver, width):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 1500, "deviceScaleFactor": 1, "mobile": width < 500})
    driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 100)))")


# ---- 数 ----

COMPUTE = """const [name, grid] = arguments, flat = values => Array.from(values);
    const extra = Object.fromEntries(Object.entries(ddpm.panels[name].extra).map(([key, value]) => [key, ddpm.unpack(value)]));
    return JSON.stringify(grid.map(values => { const {data, note} = ddpm.compute[name](values, extra);
        return {note, data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, value.length == 2 && value[0].length !== undefined
            ? value.map(flat) : flat(value)]))}; }))"""


def grid_of(panel, limit):
    """控件停的各处：每个控件的两端与此刻的值都停到，各控件错开；再从全部组合里均匀地取 limit 组，总含头尾"""
    ends = [list(dict.fromkeys([*positions(control), control.value])) for control in panel.controls.values()]
    each = [tuple(stops[(row + k) % len(stops)] for k, stops in enumerate(ends)) for row in range(max(map(len, ends)))]
    every = list(itertools.product(*ends))
    spread = [every[round(i)] for i in np.linspace(0, len(every) - 1, min(len(every), limit))]
    return [dict(zip(panel.controls, values)) for values in dict.fromkeys(each + spread)]


def slack(name, key, values, data):
    """相对误差 1e-12 之外还许差多少，以及为什么"""
    if name == "beta_panel" and values["schedule"] == "cosine":
        # β = 1 - f(t+1)/f(t)，余弦差一个末位，β 就差几个 1 的末位；ᾱ、信噪比不受影响
        return 1e-15
    if name == "forward_panel":
        # 单精度的噪声差一个末位；落在格边上的几个像素可能归到邻格，一个是 1/(78400·0.1)
        return {"image": 5e-6, "histogram": 1e-3}.get(key, 0)
    if name == "parameterization_panel" and "_from_" in key:
        # 包里是单精度，网页里是双精度；由 ε 换来的再放大
        return 1e-6 * (1 + ((1 - COSINE[values["t"]]) / COSINE[values["t"]]) ** 0.5)
    return 0


def test_every_panel_computes_the_numbers_and_the_sentence_of_the_package(opened, live, amount):
    for name, (panel, _) in live.items():
        grid = grid_of(panel, amount(3, 120))
        answers = json.loads(opened.execute_script(COMPUTE, name, grid))
        for values, answer in zip(grid, answers, strict=True):
            data, note = panel.compute(**values)
            assert answer["note"] == note, name
            assert set(answer["data"]) == set(data), name
            for key, wanted in data.items():
                pairs = zip(wanted, answer["data"][key], strict=True) if isinstance(wanted, tuple) else [(np.ravel(wanted), answer["data"][key])]
                for expected, got in pairs:
                    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=slack(name, key, values, data), err_msg=f"{name} {key} {values}")


def test_a_slider_stops_where_the_widget_stops(opened, live):
    for name, (panel, _) in live.items():
        for said in panel.describe()["controls"]:
            if said["kind"] in ("choice", "checkbox"):
                continue
            count = round((said["max"] - said["min"]) / said["step"])
            stops = [said["min"] + k * said["step"] for k in range(count + 1)]
            wanted = [10**stop for stop in stops] if said["kind"] == "log" else stops
            got = opened.execute_script("return Array.from({length: arguments[1] + 1}, (_, k) => ddpm.valueAt(arguments[0], k))", said, count)
            np.testing.assert_allclose(got, wanted, rtol=1e-14, atol=1e-16, err_msg=f"{name} {said['name']}")


NUMBERS = {
    ".2f": [0, 0.126, 12.3456], ".1%": [0.0834, 1, 0.4999], ".0%": [0.819], ".1e": [1e-4, 0.02, 0.1995], "d": [7],
    ".2g": [0.7, 0.021, 183.4, 1e-7, 5e8, 99.9, 0.00012345], ".3g": [0.398, 0.2, 1234.5, 22360.7], "g": [0, 1, 0.05, 1.5],
}


def test_numbers_are_written_as_python_writes_them(opened):
    written = opened.execute_script("return arguments[0].map(([spec, values]) => values.map(value => ddpm.format(value, spec)))", list(NUMBERS.items()))
    assert written == [[format(v, spec) for v in values] for spec, values in NUMBERS.items()]


# ---- 看与按 ----

SETTLED = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
# 画好之后的那一句话，与画的东西的摘要
STATE = """const [name, done] = arguments, figure = document.querySelector(`[data-panel=${name}]`);
    requestAnimationFrame(() => requestAnimationFrame(() => {
        const drawn = [...figure.querySelectorAll('path[data-curve]')].map(p => p.getAttribute('d')).join() +
            [...figure.querySelectorAll('canvas')].map(c => c.toDataURL()).join();
        let digest = 0;
        for (let i = 0; i < drawn.length; i++) digest = Math.imul(digest, 31) + drawn.charCodeAt(i) | 0;
        done([figure.querySelector('.note').innerHTML, digest]);
    }))"""


def keys_for(control):
    """(按哪个键, 控件应走到的值)；下拉框按一下到下一项，已在末项就回到头"""
    if control.kind == "Checkbox":
        return [(Keys.SPACE, not control.value), (Keys.SPACE, control.value)]
    if control.kind == "Dropdown":
        return [(Keys.END, control.options[-1]), (Keys.HOME, control.options[0])]
    value = (lambda place: 10**place) if control.kind == "FloatLogSlider" else lambda place: place
    return [(Keys.END, value(control.max)), (Keys.ARROW_LEFT, value(control.max - control.step))]


def test_every_control_moves_by_keyboard_and_the_panel_follows(opened, live):
    for name, (panel, _) in live.items():
        values = {key: control.value for key, control in panel.controls.items()}
        inputs = opened.find_elements(By.CSS_SELECTOR, f"[data-panel={name}] :is(input, select)")
        labels = opened.execute_script("return arguments[0].map(input => [...input.labels].map(l => l.textContent).join())", inputs)
        assert labels == [control.description for control in panel.controls.values()], name
        for (key, control), element in zip(panel.controls.items(), inputs):
            seen = set()
            for pressed, value in keys_for(control):
                element.send_keys(pressed)
                note, drawn = opened.execute_async_script(STATE, name)
                expected = panel.compute(**values | {key: value})[1]
                assert note == expected, (name, key)
                seen.add((note, drawn))
            # cosine_s 只对 cosine 起作用
            assert len(seen) > 1 or key == "cosine_s", (name, key)
            opened.execute_script("arguments[0].blur()", element)
            values[key] = value
        assert opened.execute_script("return document.querySelector(`[data-panel=${arguments[0]}] .note`).ariaLive", name) == "polite"


def test_panels_without_a_twin_paper_and_pages_without_script_keep_the_still_picture(opened, page, live):
    shown = "return [...document.querySelectorAll('.panel > img')].filter(i => i.checkVisibility()).map(i => i.alt)"
    assert opened.execute_script(shown) == list(panels.STILL)
    # 印的时候也用静态的图
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert opened.execute_script(shown) == [*live, *panels.STILL]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened.get(page.as_uri())
        seen = opened.find_elements(By.CSS_SELECTOR, ".panel > img")
        assert len(seen) == len(live) + len(panels.STILL) and all(image.is_displayed() for image in seen)
    finally:
        opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


# 各段文字的大小与颜色、各条曲线的颜色，对着页面的底色
COLORS = """const light = text => { const [r, g, b] = text.match(/[0-9.]+/g).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b; };
    const ground = light(getComputedStyle(document.body).backgroundColor), contrast = c => { const l = light(c);
        return (Math.max(l, ground) + .05) / (Math.min(l, ground) + .05); };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), texts = [];
    while (walker.nextNode()) { const text = walker.currentNode.data, e = walker.currentNode.parentElement, s = getComputedStyle(e);
        if (text.trim() && e.closest('.live')) texts.push([text, parseFloat(s.fontSize), contrast(e.closest('svg') ? s.fill : s.color)]); }
    return [texts, [...document.querySelectorAll('.stroke, .fill')].map(e => { const s = getComputedStyle(e);
        return [e.getAttribute('class'), contrast(e.matches('.stroke') ? s.stroke : s.fill)]; })]"""
# 画到坐标轴外面去的曲线由 clip-path 剪掉，不算
OUTSIDE = """return [...document.querySelectorAll('.live *')].filter(e => !e.closest('[clip-path], defs')).map(e => [e, e.getBoundingClientRect()])
    .filter(([, b]) => b.width && (b.left < -0.5 || b.right > innerWidth + 0.5)).map(([e]) => e.outerHTML.slice(0, 100))"""


@pytest.mark.parametrize("width", [390, 1000])
def test_everything_is_legible_and_nothing_overflows(opened, shots, live, width):
    narrow(opened, width)
    for theme in ("", "night"):
        check_looks(opened, width, theme)
        for name in live:
            figure = opened.find_element(By.CSS_SELECTOR, f"[data-panel={name}]")
            # 窗口外面的部分截不到
            opened.execute_script("arguments[0].scrollIntoView()", figure)
            (shots / f"panel-{name}-{width}{theme}.png").write_bytes(figure.screenshot_as_png)


def check_looks(opened, width, theme):
    opened.execute_script("document.documentElement.className = arguments[0]", theme)
    opened.execute_async_script(SETTLED)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    assert opened.execute_script(OUTSIDE) == []
    texts, marks = opened.execute_script(COLORS)
    assert len(texts) > 200 and [t for t in texts if t[1] < 11 or t[2] < 4.5] == []
    # 图形的对比度要 3；画成一个色系的只有这五种
    assert {name.split()[1] for name, _ in marks} <= {"ink", "blue", "orange", "gray", "green"} and [m for m in marks if m[1] < 3] == []
    # 没有露着的 TeX，没有会变成方框的私用字符
    assert [text for text, *_ in texts if any(c in text for c in "$\\{}^_") and "_" not in text] == []


def test_the_page_asks_for_nothing_outside_and_says_no_error(opened):
    errors = [entry["message"] for entry in opened.get_log("browser") if entry["level"] == "SEVERE"]
    asked = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert errors == [] and urls and all(url.startswith(("file:", "data:", "chrome")) for url in urls)


# 从动一下滑块到曲线换好、排好版，毫秒；不等下一帧
LATENCY = """const [name, count, done] = arguments, figure = document.querySelector(`[data-panel=${name}]`), input = figure.querySelector('input[type=range]');
    const spent = [], later = window.requestAnimationFrame;
    for (let k = 0; k < count; k++) {
        const queue = []; window.requestAnimationFrame = f => queue.push(f);
        input.value = Math.round((k % 15) / 14 * input.max);
        const start = performance.now();
        input.dispatchEvent(new Event('input')); queue.forEach(f => f()); figure.getBoundingClientRect();
        spent.push(performance.now() - start);
    }
    window.requestAnimationFrame = later; done(spent);"""


def test_how_long_a_slider_takes(opened, live, shots, capsys, amount):
    """只量不判"""
    table = {}
    for name in live:
        if opened.find_elements(By.CSS_SELECTOR, f"[data-panel={name}] input[type=range]"):
            spent = opened.execute_async_script(LATENCY, name, amount(8, 30))
            table[name] = statistics.median(spent), max(spent)
    (shots / "live_latency.json").write_text(json.dumps(table, indent=2), encoding="utf-8")
    with capsys.disabled():
        print("\n" + "\n".join(f"{name}：中位数 {middle:.1f} ms，最长 {most:.1f} ms" for name, (middle, most) in table.items()))
    assert len(table) == len(live) and all(math.isfinite(most) for _, most in table.values())
