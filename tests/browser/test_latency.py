"""拖动跟手：按键到新图要多久（只量不判），连按时不积压旧图，停下来看到的是最后的值"""
import json

import pytest
from selenium.webdriver.common.keys import Keys

from benchmarks.panel_latency import BOOK, PANELS, WATCH, as_markdown, measure, write_notebook

from .desk import handle_of


@pytest.fixture
def folder(lab):
    return lab.folder / "notebooks"


def test_every_panel_is_timed_beside_interact(desk, folder, shots, capsys, amount):
    names = amount(["beta", "forward"], list(PANELS))
    write_notebook(folder, names)
    table = measure(desk, names, rounds=amount(3, 8))
    (shots / "latency.json").write_text(json.dumps(table, indent=2), encoding="utf-8")
    with capsys.disabled():
        print("\n" + as_markdown(table))
    assert set(table) == set(names) and all(value > 0 for row in table.values() for value in row.values())


def test_the_last_value_wins_and_no_stale_frames_queue_up(desk, folder):
    write_notebook(folder, ["parameterization"])
    desk.open(BOOK)
    desk.run_all()
    desk.script(WATCH)
    panel = desk.show(1)
    handle = handle_of(panel)
    handle.send_keys(Keys.HOME)
    desk.settle(panel)
    desk.script("frames = 0")
    # 一口气按一百下，中间一帧也来不及画
    desk.script("""for (let i = 0; i < 100; i++)
        arguments[0].dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true, cancelable: true}))""", handle)
    desk.until("arguments[0].querySelector('.widget-html-content').textContent.includes('t = 100：')", "最后的值画出来", 30, panel)
    rushed = desk.settle(panel)
    drawn = desk.script("return frames")
    assert handle.get_attribute("aria-valuetext") == "100"
    # 来不及画的中间值丢掉了，停下之后也不再冒出旧图
    desk.wait_for("await new Promise(r => setTimeout(r, 500)); return 'ok'")
    assert 0 < drawn < 10 and desk.script("return frames") == drawn
    handle.send_keys(Keys.ARROW_LEFT)
    assert desk.settle(panel) != rushed
    handle.send_keys(Keys.ARROW_RIGHT)
    assert desk.settle(panel) == rushed
