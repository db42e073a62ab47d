"""真的浏览器里的 JupyterLab：打开 notebook、全部运行、按键、拖动、看图。测试与 benchmarks/panel_latency.py 共用"""
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from ..warm_kernel import SHARED

ROOT = Path(__file__).resolve().parents[2]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
# 页面里用得到的几样东西：当前的 notebook，以及出过的乱子
PRELUDE = "const app = window.jupyterapp, book = app?.shell?.currentWidget, kernel = book?.sessionContext?.session?.kernel;"

# 下一本接着用这个内核：名字与控件清掉，导入过的模块留着
CLEAR = """import sys
if 'ipywidgets' in sys.modules:
    sys.modules['ipywidgets'].Widget.close_all()
get_ipython().reset()"""


def what_is_missing():
    """不能开浏览器的原因；都齐了就返回空串"""
    if not BROWSER or not DRIVER:
        return "没有 chromium 或 chromedriver；Debian 与 Ubuntu 上：apt-get install chromium chromium-driver fonts-wqy-microhei"
    if not list(Path(sys.prefix).glob(".installed*")):
        return "这个环境不是 course.py 建的，JupyterLab 没有配好中文界面；用 python course.py test tests/browser"
    return ""


class Lab:
    """README 的 python course.py lab，换了一个放 notebook 的文件夹：自动保存不会改到仓库里的"""

    def __init__(self, folder):
        self.folder, self.token, self.kernel = Path(folder), secrets.token_hex(8), None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        homes = {f"JUPYTER_{kind}_DIR": str(self.folder / ".jupyter" / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
        environment = {**os.environ, **homes, "JUPYTER_TOKEN": self.token, "DDPM_EDU_VENV": sys.prefix,
                       "JUPYTER_PATH": os.environ.get(SHARED, "")}
        arguments = ["lab", "--no-browser", "--port", str(self.port), "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.folder}",
                     "--LabApp.expose_app_in_browser=True"]
        self.log = self.folder / "lab.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, str(ROOT / "course.py"), *arguments], env=environment, stdout=log, stderr=log)
        self.url = f"http://127.0.0.1:{self.port}"

    def wait(self, seconds=180):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                return urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=5)
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"JupyterLab 没有起来：\n{self.log.read_text(encoding='utf-8', errors='replace')[-2000:]}")

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=60)


def open_browser(profile):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-component-update",
                 "disable-sync", "window-size=1400,1100", "force-device-scale-factor=1", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # 离开没有保存的页面时不要停下来问
    options.unhandled_prompt_behavior = "accept"
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(280)
    # 没有窗口管理器时，新的 chromium 不认为页面有焦点，JupyterLab 就不知道当前的 notebook 是哪一本
    driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    return driver


def go_to(driver, address):
    """打开一页，等到真的在那一页上：上一页要问「离开吗」时，driver.get 会在换页之前就返回"""
    driver.get(address)
    deadline = time.monotonic() + 30
    while not driver.execute_script("return location.href == arguments[0] && document.readyState == 'complete'", address):
        assert time.monotonic() < deadline, f"打不开 {address}：还在 {driver.current_url}"
        time.sleep(.02)


def leave(driver):
    """离开上一页，把它的话都读掉：它出的错、它请求的地址，不算在下一页头上"""
    go_to(driver, "about:blank")
    read_logs(driver)


def read_logs(driver):
    for kind in ("browser", "performance"):
        driver.get_log(kind)


class Desk:
    """浏览器里打开的一本 notebook"""

    def __init__(self, driver, lab):
        self.driver, self.lab = driver, lab

    def script(self, body, *arguments):
        return self.driver.execute_script(PRELUDE + body, *arguments)

    def wait_for(self, body, *arguments):
        """在页面里等一段异步代码走完，返回它的值"""
        wrapped = f"{PRELUDE} const done = arguments[arguments.length - 1]; (async () => {{ {body} }})().then(done, e => done('失败：' + e))"
        result = self.driver.execute_async_script(wrapped, *arguments)
        assert not str(result).startswith("失败："), (result, arguments)
        return result

    def until(self, body, what, seconds=90, *arguments):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.script(f"try {{ return {body} }} catch (e) {{ return false }}", *arguments):
                return
            time.sleep(0.05)
        raise AssertionError(f"等了 {seconds} 秒：{what}")

    def open(self, name, fresh=False):
        """页面已经是 JupyterLab 时，只换一本 notebook：整页重新载入要八九秒

        各本轮流用同一个内核：导入 Lightning 要六七秒；fresh 时另起一个，与学生打开时一样
        """
        if self.driver.current_url.startswith(self.lab.url):
            read_logs(self.driver)
            self.wait_for("""const shared = arguments[1], kernels = app.serviceManager.kernels;
                if (shared && kernel?.id == shared) {
                    if (kernel.status == 'busy') await kernel.interrupt();
                    await kernel.requestExecute({code: arguments[2], silent: true}).done;
                }
                [...app.shell.widgets('main')].forEach(w => w.dispose());
                await kernels.refreshRunning();
                const use = [...kernels.running()].find(k => k.id == shared && !arguments[3]);
                await app.commands.execute('docmanager:open', {path: arguments[0], factory: 'Notebook', kernel: use}); return 'ok'""",
                          f"notebooks/{name}.ipynb", self.lab.kernel, CLEAR, fresh)
        else:
            leave(self.driver)
            self.driver.get(f"{self.lab.url}/lab/tree/notebooks/{name}.ipynb?reset&token={self.lab.token}")
        self.until("!!app.restored && book.context.isReady && book.content.widgets.length > 0 && kernel.status == 'idle'", f"{name} 打开，内核就绪")
        if not fresh:
            self.lab.kernel = self.script("return kernel.id")
        # 控件的回调里的报错不在单元的输出里，要在消息里找；还没有导入 ipywidgets 的内核，被 JupyterLab 问起控件时会说 No such comm，不算
        self.script("""window.trouble = [];
            kernel.iopubMessage.connect((_, m) => { const c = m.content;
                if (m.parent_header.msg_type == 'execute_request') return;
                if (m.header.msg_type == 'error') trouble.push(c.ename + ': ' + c.evalue);
                if (m.header.msg_type == 'stream' && c.name == 'stderr' && !/^No such comm/.test(c.text)) trouble.push('stderr ' + c.text.slice(0, 500)); })""")

    def run_all(self):
        """菜单里的“运行所有单元格”；回来时全部跑完"""
        self.command("notebook:run-all-cells")

    def run(self, cells):
        """选中这几格，运行；回来时跑完"""
        self.script("""const all = book.content; all.activeCellIndex = arguments[0][0]; all.deselectAll();
            arguments[0].forEach(i => all.select(all.widgets[i]))""", cells)
        self.command("notebook:run-cell")

    def command(self, name):
        self.script("window.finished = false; app.commands.execute(arguments[0]).finally(() => { window.finished = true; })", name)
        self.until("window.finished && kernel.status == 'idle'", f"{name} 跑完", 600)
        # 控件比输出晚一点画出来
        self.until("""book.content.widgets.every(c => c.model.type != 'code' || c.node.querySelector('.jupyter-widgets') ||
            !Array.from({length: c.model.outputs.length}, (_, k) => c.model.outputs.get(k)).some(o => arguments[0] in o.data))""",
                   "控件画出来", 30, "application/vnd.jupyter.widget-view+json")

    def close(self):
        """保存并关掉内核，内存还给后面的"""
        self.wait_for("await book.context.save(); await book.sessionContext.shutdown(); return 'ok'")

    def code(self):
        """{代码单元的下标: 源码}"""
        found = self.script("return book.content.widgets.map(c => c.model.type == 'code' ? c.model.sharedModel.getSource() : null)")
        return {i: text for i, text in enumerate(found) if text is not None}

    def outputs(self):
        """[(单元下标, 输出的 JSON), ...]"""
        return self.script("""return book.content.widgets.flatMap((c, i) => c.model.type != 'code' ? [] :
            Array.from({length: c.model.outputs.length}, (_, k) => [i, c.model.outputs.get(k).toJSON()]))""")

    def cells_with(self, text):
        return self.script("return book.content.widgets.flatMap((c, i) => c.model.sharedModel.getSource().includes(arguments[0]) ? [i] : [])", text)

    def panels(self):
        """有面板的单元的下标"""
        return self.script("return book.content.widgets.flatMap((c, i) => c.node.querySelector('.widget-image') ? [i] : [])")

    def scroll_to(self, index):
        """滚到这一格；附近的单元这时才画出来，会把它推开，等它接连十帧不再动"""
        self.wait_for("""await book.content.scrollToItem(arguments[0], 'start'); const cell = book.content.widgets[arguments[0]].node;
            for (let calm = 0, seen = NaN; calm < 10;) {
                await new Promise(requestAnimationFrame);
                const now = cell.getBoundingClientRect().top;
                calm = now == seen ? calm + 1 : 0; seen = now;
            }
            return 'ok'""", index)

    def show(self, index):
        """滚到这一格的面板，返回它的元素"""
        self.scroll_to(index)
        panel = self.script("return book.content.widgets[arguments[0]].node.querySelector('.widget-image').closest('.widget-vbox')", index)
        self.script("arguments[0].scrollIntoView({block: 'start'})", panel)
        return panel

    def settle(self, panel):
        """等到控件的消息全部处理完、换上了清晰的图；返回 (图的摘要, 那句话)

        上一条消息处理完，攒着的下一条才发出去，所以问到接连三轮都没有变为止；清晰的图一点两个像素
        """
        return tuple(self.wait_for("""
            const image = arguments[0].querySelector('.widget-image'), note = arguments[0].querySelector('.widget-html-content');
            const sharp = () => image.naturalWidth == 2 * parseFloat(image.style.width);
            for (let i = 0, calm = 0, seen = ''; i < 60 && !(calm >= 3 && sharp()); i++) {
                await kernel.requestCommInfo({}); await new Promise(r => setTimeout(r, 30));
                const now = image.src + note.textContent;
                calm = now == seen ? calm + 1 : 0; seen = now;
            }
            await image.decode();
            if (!sharp()) throw '图没有变清晰';
            const bytes = await (await fetch(image.src)).arrayBuffer();
            const digest = new Uint8Array(await crypto.subtle.digest('SHA-1', bytes));
            return [Array.from(digest, b => b.toString(16)).join(''), note.textContent]""", panel))

    def console_errors(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def controls(panel):
    """面板里的控件：[(标签, 种类, 元素), ...]"""
    found = []
    for kind, selector in (("slider", ".widget-slider"), ("choice", ".widget-dropdown"), ("toggle", ".widget-checkbox")):
        for element in panel.find_elements(By.CSS_SELECTOR, selector):
            label = element.text if kind == "toggle" else element.find_element(By.CSS_SELECTOR, ".widget-label").text
            found.append((label, kind, element))
    return found


def handle_of(slider):
    return slider.find_element(By.CSS_SELECTOR, ".noUi-handle")


def drag_to_middle(driver, slider):
    """真的用鼠标拖"""
    track, handle = slider.find_element(By.CSS_SELECTOR, ".noUi-base"), handle_of(slider)
    ActionChains(driver, duration=60).click_and_hold(handle).move_to_element_with_offset(track, 3, 0).move_to_element(track).release().perform()


def moves(driver, kind, element):
    """把一个控件走到两端与中间：逐个给出动作"""
    if kind == "slider":
        return [lambda: handle_of(element).send_keys(Keys.HOME), lambda: handle_of(element).send_keys(Keys.END),
                lambda: drag_to_middle(driver, element)]
    if kind == "choice":
        select = Select(element.find_element(By.TAG_NAME, "select"))
        return [lambda index=index: select.select_by_index(index) for index in range(len(select.options))]
    box = element.find_element(By.CSS_SELECTOR, "input")
    return [lambda: box.send_keys(Keys.SPACE), lambda: box.send_keys(Keys.SPACE)]
