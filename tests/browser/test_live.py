"""网页里的模型与 PyTorch 的一个数一个数地比；两页的控件用鼠标、键盘都动得起来，手机的宽度也放得下"""
import base64
import functools
import io
import json
import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from ddpm_edu.authoring.site.frame import ASSETS, frame
from ddpm_edu.authoring.site.live import write_live
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import recognised
from ddpm_edu.pretrained import load_pretrained
from ddpm_edu.sampling import SAMPLERS, spaced_timesteps
from ddpm_edu.schedules import alphas_cumprod, make_beta_schedule
from ddpm_edu.teach.exercises.ch01 import ideal_start
from ddpm_edu.teach.moons import MoonDenoiser, moons

from .desk import go_to, leave

STATE = "return document.getElementById('form').dataset.state"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("网页 书")
    shutil.copytree(ASSETS, folder / "assets")
    write_live(folder, frame)
    return folder


@pytest.fixture
def visit(driver, site):
    """visit(页名)：打开一页；测试完了，没有一条出错的消息，也没有请求过文件夹以外的东西"""
    leave(driver)

    def visit(name, width=1400):
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 1100, "deviceScaleFactor": 1, "mobile": False})
        go_to(driver, (site / f"{name}.html").as_uri())
        return driver

    yield visit
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    asked = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [message["params"]["request"]["url"] for message in asked if message["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith((site.as_uri(), "blob:", "data:", "chrome")) for url in urls), urls
    # 浏览器自己去要的小图标不算
    assert [e["message"] for e in driver.get_log("browser") if e["level"] == "SEVERE" and "favicon" not in e["message"]] == []


def until(driver, script, what, seconds=240):
    deadline = time.monotonic() + seconds
    while not driver.execute_script(script):
        assert time.monotonic() < deadline, f"等了 {seconds} 秒：{what}"
        time.sleep(0.05)


def text(driver, name):
    return driver.find_element(By.ID, name).text


def pixels(driver, name):
    """画布上的像素，(高, 宽) 的 0..255"""
    url = driver.execute_script("return document.getElementById(arguments[0]).toDataURL()", name)
    return torch.tensor(list(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L").tobytes()))


def set_controls(driver, **values):
    driver.execute_script("""const form = document.getElementById('form');
        for (const [name, value] of Object.entries(arguments[0])) {
            form.elements[name].value = value;
            form.elements[name].dispatchEvent(new Event('input', {bubbles: true}));
        }""", values)


def draw(driver, **values):
    set_controls(driver, **values)
    driver.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    until(driver, f"{STATE} == 'done'", "画完")
    return pixels(driver, "noisy")


# ---- 数 ----


def test_the_network_in_the_page_equals_torch_on_random_inputs(visit, amount):
    model, generator = load_pretrained("mnist"), torch.Generator().manual_seed(0)
    count = amount(3, 20)
    x, t = torch.randn(count, 1, 28, 28, generator=generator), torch.randint(1000, (count,), generator=generator)
    label = torch.arange(count) * 5 % 11 - 1
    with torch.no_grad():
        expected = model.model.diffusion_model(x, t, y=label)
    found = visit("live").execute_script("""const net = new UNet(MODEL.file, MODEL.config);
        return arguments[0].map((x, i) => Array.from(net.predict(Float32Array.from(x), arguments[1][i], arguments[2][i])))""",
                                         x.flatten(1).tolist(), t.tolist(), label.tolist())
    gap = (torch.tensor(found) - expected.flatten(1)).abs().max()
    assert gap <= 1e-5, gap


def test_tables_and_steps_equal_the_packages(visit, amount):
    driver = visit("live")
    for schedule in ("cosine", "sqrt_linear", "linear", "sqrt"):
        betas = make_beta_schedule(schedule, 1000, 1e-4, 0.02)
        table = driver.execute_script("return Array.from(ddpm.alphasCumprod(ddpm.makeBetaSchedule(arguments[0], 1000)))", schedule)
        assert max(abs(table - alphas_cumprod(betas)[0])) <= 1e-12, schedule
    counts = list(range(1, 1001, amount(37, 1)))
    found = driver.execute_script("return arguments[0].map(steps => Array.from(ddpm.spacedTimesteps(1000, steps)))", counts)
    assert found == [spaced_timesteps(1000, steps).tolist() for steps in counts]
    # 一步一步走，从各处走到第 10 步，以及走到底
    cases = [*zip(table[1:], table), *((t, table[10]) for t in table[11:]), *((t, 1.0) for t in table)][::amount(7, 1)]
    for name in ("ancestral", "ddim"):
        for knob in (0.0, 0.3, 1.0):
            found = driver.execute_script("return arguments[0].map(pair => ddpm.SAMPLERS[arguments[1]].step(...pair, arguments[2]))", cases, name, knob)
            wanted = [SAMPLERS[name].step(*case, knob) for case in cases]
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12, err_msg=f"{name} {knob}")
    assert driver.execute_script("return Object.entries(ddpm.SAMPLERS).map(([name, {knob}]) => [name, knob])") == [
        [name, SAMPLERS[name].knob] for name in ("ancestral", "ddim")]


def test_random_numbers_are_the_ones_torch_draws(visit):
    driver = visit("live")
    for seed in (0, 20260101):
        uniform, normal = driver.execute_script("""return ['uniform', 'normal'].map(name =>
            Array.from({length: 1600}, ddpm.randomNumbers(arguments[0])[name]))""", seed)
        generator = torch.Generator().manual_seed(seed)
        np.testing.assert_allclose(normal, torch.cat([torch.randn(784, generator=generator), torch.randn(816, generator=generator)]).numpy(), atol=5e-6)
        assert uniform == torch.rand(1600, generator=generator.manual_seed(seed)).tolist()


@pytest.mark.parametrize("sampler, knob", [("ddim", {"eta": 0.0}), ("ancestral", {"v_posterior": 0.5})])
def test_a_seed_draws_the_picture_the_package_draws(visit, sampler, knob):
    model, steps, seed, label, guidance = load_pretrained("mnist"), 3, 3, 5, 2.0
    expected = model.p_sample_loop((1, 1, 28, 28), sampler=sampler, steps=steps, **knob, cond=torch.tensor([label]), guidance_scale=guidance,
                                   generator=torch.Generator().manual_seed(seed), progress=False)
    found = visit("live").execute_script("""const [seed, sampler, knob, steps, label, guidance] = arguments;
        const last = [...JOBS.draw({model: MODEL, seed, sampler, knob, steps, label, guidance})].at(-1);
        return [Array.from(last.x), last.calls]""", seed, sampler, *knob.values(), steps, label, guidance)
    # 各次网络的舍入，由引导放大两倍，一路带着走；噪声差在单精度的末位
    assert (torch.tensor(found[0]) - expected.flatten()).abs().max() <= 1e-4 and found[1] == 2 * steps


def test_the_ideal_denoiser_equals_the_exercise(visit):
    data, x = moons(40, seed=0)[0].double(), moons(30, seed=1)[0].float()
    driver = visit("plane")
    for now in (0.9999, 0.8, 0.2, 1e-4):
        found = driver.execute_script("return Array.from(idealStart(arguments[0], Float32Array.from(arguments[1]), arguments[2]))",
                                      data.flatten().tolist(), x.flatten().tolist(), now)
        torch.testing.assert_close(torch.tensor(found).view(-1, 2), ideal_start(x.double(), data, now).float(), rtol=1e-6, atol=1e-6)


def test_the_small_network_and_its_gradient_equal_chapter_ones(visit):
    torch.manual_seed(0)
    net, T = MoonDenoiser(width=64), 1000
    x, t, noise = torch.randn(30, 2), torch.randint(T, (30,)), torch.randn(30, 2)
    out = net(x[:, :, None, None], t).flatten(1)
    loss = (out - noise).square().mean()
    loss.backward()
    flat = [torch.cat([part.flatten() for part in parts]) for parts in (net.parameters(), (p.grad for p in net.parameters()))]
    found = visit("plane").execute_script("""const [p, x, t, noise] = Array.from(arguments, a => Float32Array.from(a)), net = new Mlp(p, 1000);
        const {loss, gradient} = net.loss(x, t, noise);
        return [loss, Array.from(gradient), Array.from(net.forward(x, t).out)]""", flat[0].tolist(), x.flatten().tolist(), t.tolist(), noise.flatten().tolist())
    torch.testing.assert_close(torch.tensor(found[2]), out.detach().flatten(), rtol=1e-5, atol=1e-5)
    assert abs(found[0] - loss.item()) <= 1e-6
    torch.testing.assert_close(torch.tensor(found[1]), flat[1], rtol=1e-4, atol=1e-6)


def test_adam_equals_torchs(visit):
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(50, generator=generator), torch.randn(20, 50, generator=generator)
    parameter = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([parameter], lr=0.01)
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()
    found = visit("plane").execute_script("""const p = Float32Array.from(arguments[0]), update = adam(p);
        for (const gradient of arguments[1]) update(gradient, 0.01);
        return Array.from(p)""", start.tolist(), gradients.tolist())
    torch.testing.assert_close(torch.tensor(found), parameter.detach(), rtol=1e-5, atol=1e-6)


# ---- 数字的一页 ----


def test_the_page_draws_digits_that_are_recognised(visit, shots, amount):
    driver, classifier, labels = visit("live"), load_classifier("mnist"), amount([3], range(10))
    images = []
    for label in labels:
        images.append(draw(driver, label=label, steps=8, guidance=2, seed=1).float().view(1, 28, 28) / 127.5 - 1)
        assert "走了 8 / 8 步，调用网络 16 次" in text(driver, "said")
    driver.save_screenshot(str(shots / "live.png"))
    assert recognised(classifier, torch.stack(images), torch.tensor(labels))["recognised"] == 1
    # 最后一步走到的就是那一步的猜测；回看第 0 步，是起点
    assert torch.equal(pixels(driver, "noisy"), pixels(driver, "start"))
    driver.find_element(By.ID, "look").send_keys(Keys.HOME)
    assert "起点" in text(driver, "where") and pixels(driver, "noisy").float().std() > 50


def test_each_control_changes_the_drawing_and_a_seed_repeats_it(visit):
    driver = visit("live")
    plain = {"steps": 2, "guidance": 1, "label": 3, "seed": 5, "sampler": "ancestral", "knob": 0}
    first = draw(driver, **plain)
    for change in ({"seed": 6}, {"label": 4}, {"guidance": 2}, {"sampler": "ddim"}, {"knob": 1}, {"steps": 1}):
        assert not torch.equal(draw(driver, **plain | change), first), change
    # 不指定类别，与 w = 1，一步只问一次
    draw(driver, label=-1, guidance=2, steps=2)
    assert "调用网络 2 次" in text(driver, "said") and not driver.find_element(By.NAME, "guidance").is_enabled()
    assert torch.equal(draw(driver, **plain), first)


def test_stop_stops_and_the_page_works_without_a_worker(visit):
    driver = visit("live")
    with_worker = draw(driver, steps=2, guidance=1)
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.Worker"})
    driver = visit("live")
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert driver.execute_script("return typeof Worker") == "undefined"
    assert torch.equal(draw(driver, steps=2, guidance=1), with_worker)
    # 停下之后，不只是不显示：网络也不再算；这里的网络什么也不做，只花时间
    driver.execute_script("""window.calls = 0;
        UNet.prototype.predict = x => { calls++; for (const end = performance.now() + 50; performance.now() < end;); return x; }""")
    set_controls(driver, steps=100)
    driver.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    until(driver, "return document.getElementById('progress').value > 1", "走了一步")
    driver.execute_script("document.getElementById('form').elements.stop.click()")
    stopped, calls = text(driver, "said"), driver.execute_script("return calls")
    assert "停下了" in stopped and "100" in stopped and 1 < calls < 100
    time.sleep(0.5)
    assert text(driver, "said") == stopped and driver.execute_script("return calls") == calls


def test_everything_on_the_digit_page_works_by_keyboard(visit):
    driver = visit("live")
    driver.find_element(By.NAME, "label").send_keys("7")
    steps = driver.find_element(By.NAME, "steps")
    steps.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    assert Select(driver.find_element(By.NAME, "label")).first_selected_option.text == "7"
    assert driver.execute_script("return document.getElementById('form').elements.stepsShown.value") == "2"
    driver.find_element(By.NAME, "seed").send_keys(Keys.ENTER)
    until(driver, f"{STATE} == 'done'", "画完")
    assert "走了 2 / 2 步" in text(driver, "said")
    # 从第一个控件起按 Tab，走得到每一个能用的控件
    driver.find_element(By.NAME, "label").send_keys(Keys.NULL)
    reached = set()
    for _ in range(9):
        reached.add(driver.switch_to.active_element.get_attribute("name") or driver.switch_to.active_element.get_attribute("id") or "submit")
        driver.switch_to.active_element.send_keys(Keys.TAB)
    assert {"label", "guidance", "sampler", "steps", "knob", "seed", "submit", "another", "look"} <= reached, reached


# ---- 平面的一页 ----


def sampled(driver, **values):
    set_controls(driver, **values)
    driver.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    until(driver, f"{STATE} == 'done'", "采样完")
    return text(driver, "madeSaid")


def test_the_ideal_denoiser_returns_the_points_drawn_and_the_network_does_not(visit, shots):
    driver = visit("plane")
    board = driver.find_element(By.ID, "given")
    driver.find_element(By.NAME, "clear").click()
    assert "还没有点" in click_sample(driver)
    # 键盘点三个点，鼠标拖出一条线
    board.send_keys(Keys.SPACE, *[Keys.ARROW_RIGHT] * 5, Keys.SPACE, *[Keys.ARROW_UP] * 5, Keys.SPACE)
    side = board.size["width"]
    ActionChains(driver).move_to_element_with_offset(board, -side // 3, -side // 4).click_and_hold().move_by_offset(0, side // 2).release().perform()
    # 拖出来的点挨得近，走到正中间的少数几个定不下是哪一个
    assert same(sampled(driver, who="ideal", steps=20)) > 180
    assert "还没有练" in click_sample(driver, who="network")
    set_controls(driver, effort=500)
    driver.find_element(By.NAME, "learn").click()
    until(driver, "return document.getElementById('form').dataset.learning == 'false'", "练完")
    assert "练了 500 / 500 步" in text(driver, "learnSaid")
    first, *_, last = [float(point.split(",")[1]) for point in driver.find_element(By.ID, "curve").get_attribute("points").split()]
    # 图里往下是损失小；虚线在最下面
    assert first < last < float(driver.find_element(By.ID, "floor").get_attribute("y1")) < 100
    said = sampled(driver, who="network")
    driver.save_screenshot(str(shots / "plane.png"))
    assert same(said) < 150, said


def same(said):
    """那句话里说的，几个与给的点重合"""
    return int(said.partition("个点：")[2].partition(" 个")[0])


def click_sample(driver, **values):
    set_controls(driver, **values)
    driver.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    return text(driver, "madeSaid")


def test_every_control_of_the_plane_redraws(visit):
    driver = visit("plane")
    seen = functools.partial(pixels, driver, "given")
    for change in ({"t": 600}, {"shape": "ring"}, {"shape": "blobs"}, {"shape": "spiral"}):
        before = seen()
        set_controls(driver, **change)
        assert not torch.equal(seen(), before), change
    before = seen()
    driver.find_element(By.NAME, "arrows").click()
    assert not torch.equal(seen(), before)
    sampled(driver, steps=8)
    before = made = pixels(driver, "made")
    for change in ({"sampler": "ancestral"}, {"knob": 1}, {"seed": 2}, {"steps": 6}):
        sampled(driver, **change)
        assert not torch.equal(pixels(driver, "made"), before), change
        before = pixels(driver, "made")
    driver.find_element(By.NAME, "paths").click()
    assert not torch.equal(pixels(driver, "made"), before)
    assert "200 个点" in sampled(driver, sampler="ddim", knob=0, seed=1, steps=8)
    driver.find_element(By.NAME, "paths").click()
    assert torch.equal(pixels(driver, "made"), made)


@pytest.mark.parametrize("name", ["live", "plane"])
def test_the_pages_fit_a_phone_and_both_themes(visit, shots, name):
    for width in (390, 1400):
        for theme in ("dark", "light"):
            driver = visit(name, width)
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
            assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), (width, theme)
            driver.save_screenshot(str(shots / f"{name}-{width}-{theme}.png"))
