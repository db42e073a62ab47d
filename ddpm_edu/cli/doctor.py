"""python course.py doctor：这个环境哪里对、哪里错、怎么办；只用标准库，环境坏了、没有建也能运行

每项检查是一个函数：交给它实情（facts.py），它逐条给出 Line；有一条是 ✗，退出状态就是 1
"""
import argparse
import re
import sys
from typing import NamedTuple

from .facts import GIB, collect, proxies
from .requirements import COURSE_FILE, fits, plain_name, read_requirements, release

REBUILD = "删掉文件夹 {}，再运行 python course.py lab，会重新建好"


class Line(NamedTuple):
    """一条结论：✓ 对，✗ 错，– 不算错、只是告诉你；cure 是怎么办"""

    mark: str
    text: str
    cure: str = ""


def quoted(path):
    return f'"{path}"' if re.search(r"[^\w./:\\~-]", str(path), re.A) else str(path)


def installed(facts):
    """被查的环境里已经装了东西，不是一个光的 Python"""
    return facts.state in ("没有装全", "好") or "torch" in facts.found.get("packages", {})


def error_of(facts, item):
    """probe.py 查那一项时出的错，没有出错时空字符串"""
    result = facts.found.get(item)
    return result.get("error", "") if isinstance(result, dict) else ""


def check_python(facts):
    found = facts.found["python"]
    if "error" in found:
        yield Line("✗", f"{facts.python} 起不来", REBUILD.format(facts.venv))
        return
    good = (3, 10) <= release(found["version"])[:2] <= (3, 13)
    yield Line("✓" if good else "✗", f"Python {found['version']}（{found['path']}）", "" if good else "换 3.10 到 3.13 中的一个，课程锁定的包只有它们的")
    if found["bits"] != 64:
        yield Line("✗", "这是 32 位的 Python，torch 没有它的版本", "从 python.org 装 64 位的")
    if facts.system == "darwin" and facts.machine == "x86_64":
        yield Line("✗", "Intel 的 Mac 装不上课程用的 torch", "用 Apple 芯片的 Mac 或别的机器，或者在云端打开；芯片是 Apple 的，那就是 Python 装成了 Intel 版")


def check_environment(facts):
    known = {
        "没有建": Line("–", "课程的环境还没有建", "python course.py lab 会建好它，并打开第一课"),
        "不是虚拟环境": Line("✗", f"{facts.venv} 里是别的东西，不是虚拟环境", "把环境变量 DDPM_EDU_VENV 改成一个空的或还没有的文件夹"),
        "起不来": Line("✗", f"{facts.venv} 里的 Python 起不来，多半是搬过文件夹，或者建它的那个 Python 卸掉了", REBUILD.format(facts.venv)),
        "没有装全": Line("✗", "课程的环境没有装全，或者是用另一个 Python、旧的锁建的", "再运行一次 python course.py lab，它会补装；已经下完的包不会再下"),
        "好": Line("✓", f"课程的环境在 {facts.venv}，照今天的锁装全了"),
    }
    yield known[facts.state]
    if facts.state in ("没有建", "起不来") and not facts.can_make_venv:
        yield Line("✗", "这个 Python 没有 venv 或 ensurepip，建不了虚拟环境",
                   "Debian 与 Ubuntu 上运行 sudo apt install python3-venv；或者换 python.org、conda 的 Python")


def check_packages(facts):
    have = facts.found.get("packages", {})
    if not installed(facts) or "error" in have:
        return
    wanted = read_requirements(COURSE_FILE)
    bad = [f"{line}（{'装的是 ' + have[name] if name in have else '没有装'}）"
           for name, line in wanted.items() if name not in have or not fits(have[name], line)]
    again = {"好": f"删掉文件 {facts.venv / '.installed'}，再运行 python course.py lab，它会照锁重装", "没有装全": "python course.py lab，它会补装"}.get(
        facts.state, f"{quoted(facts.python)} -m pip install -r {quoted(COURSE_FILE)}")
    if bad:
        yield Line("✗", f"不合要求的包：{'、'.join(bad)}", again)
    else:
        shown = "，".join(f"{name} {have[name]}" for name in ("torch", "pytorch-lightning", "jupyterlab", "numpy"))
        yield Line("✓", f"{len(wanted)} 个包的版本都合要求：{shown}")
    pin = facts.torch_pin.partition("==")[2]
    if "torch" in have and release(have["torch"]) != release(pin):
        yield Line("–", f"torch 是 {have['torch']}，课程测的是 {pin}；输出的末位可能不同")
    known = {*wanted, "torchmetrics", "ipykernel", "jupyter-client"}
    for line in [line for line in facts.conflicts if plain_name(line.split(" ")[0]) in known][:5]:
        yield Line("✗", f"包之间不配，pip 的原话：{line}", again)


def check_torch(facts):
    have = facts.found.get("packages", {})
    if not installed(facts) or "torch" not in have:
        return
    if reason := error_of(facts, "torch"):
        cure = "装 Microsoft Visual C++ 运行库（微软官网的 vc_redist.x64），再试" if facts.system == "win32" else ""
        cure = cure or f"重装它：{quoted(facts.python)} -m pip install --force-reinstall --no-deps {facts.torch_pin}"
        yield Line("✗", f"torch 导入不了：{reason}", cure)
    elif reason := error_of(facts, "torchvision"):
        yield Line("✗", f"torchvision {have.get('torchvision', '')} 与 torch {have['torch']} 不配，Lightning 会跟着无法导入：{reason}",
                   f"课程不用它：{quoted(facts.python)} -m pip uninstall -y torchvision；要留着，就照 PyTorch 官网把两个一起装")
    elif reason := error_of(facts, "lightning"):
        yield Line("✗", f"pytorch_lightning 导入不了：{reason}", "先改好上面别的 ✗；都没有，就按这句话里的包名重装那个包")
    elif "torchvision" in have:
        yield Line("✓", f"torch 与 Lightning 导入得了；torchvision {have['torchvision']} 与 torch 配得上")
    else:
        yield Line("✓", "torch 与 Lightning 导入得了；没有 torchvision，课程不用它")


def check_gpu(facts):
    torch = facts.found.get("torch", {})
    if not torch or "error" in torch:
        return
    if torch["cuda"] or torch["mps"]:
        if torch["computes"]:
            yield Line("✓", f"GPU 用得上：{torch['gpu']}")
        else:
            yield Line("✗", f"看得见 GPU（{torch['gpu']}），算不动：{torch.get('reason', '')}", "升级驱动；还不行，照 PyTorch 官网装配另一个 CUDA 版本的 torch")
    elif facts.nvidia and torch["cuda_build"] is None:
        yield Line("–", "有 NVIDIA 的卡，装的却是 CPU 版的 torch", f"要用它，照 PyTorch 官网装 CUDA 版的 {facts.torch_pin}；不用也行")
    elif facts.nvidia and facts.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        yield Line("–", f"环境变量 CUDA_VISIBLE_DEVICES={facts.environ['CUDA_VISIBLE_DEVICES']!r} 把卡藏起来了", "要用它，就去掉这个变量")
    elif facts.nvidia:
        yield Line("✗", f"有 NVIDIA 的卡，torch（CUDA {torch['cuda_build']}）却用不上", "多半是驱动比它要的旧：升级驱动，或者装更旧的 CUDA 版的 torch")
    else:
        yield Line("–", "没有能用的 GPU，在 CPU 上运行；课程就是照 CPU 写的")


def check_font(facts):
    if not installed(facts) or "font" not in facts.found:
        return
    good = facts.found["font"] is True
    yield Line("✓" if good else "✗", "图里的汉字有字体" if good else "没有图里汉字的字体，课程的图画不出来",
               "" if good else f"{quoted(facts.python)} -m pip install --force-reinstall --no-deps zhplot")


def check_kernel(facts):
    if not installed(facts) or "kernel" not in facts.found:
        return
    kernel = facts.found["kernel"]
    if kernel is None or "error" in kernel or not kernel["has_ipykernel"]:
        yield Line("✗", "notebook 没有内核可用", f"{quoted(facts.python)} -m pip install ipykernel")
    elif kernel["python"] not in ("python", "python3", facts.found["python"]["path"], str(facts.python)):
        yield Line("✗", f"notebook 的内核用的是另一个 Python（{kernel['python']}），第一格会报 No module named", f"删掉登记它的文件夹 {kernel['folder']}")
    else:
        yield Line("✓", "notebook 的内核就是这个 Python")


def check_room(facts):
    needed = 1 if facts.state == "好" else 4
    good = facts.free >= needed * GIB
    yield Line("✓" if good else "✗", f"磁盘还有 {facts.free / GIB:.1f} GiB", "" if good else
               f"腾出至少 {needed} GiB：环境占 1.7 GB，下载另要一些；或者用环境变量 DDPM_EDU_VENV 把环境放到别的盘")
    good = facts.memory >= 2 * GIB
    yield Line("✓" if good else "✗", f"内存共 {facts.memory / GIB:.1f} GiB", "" if good else "不到 2 GiB，内核会被系统杀掉：关掉别的程序，或者给容器多分一些")


def check_folders(facts):
    if facts.unwritable:
        yield Line("✗", f"写不进去：{'、'.join(facts.unwritable)}",
                   "把整个课程的文件夹拷到能写的地方；磁盘满了就腾出空间；临时目录由环境变量 TMPDIR（Windows 是 TEMP）定")
    else:
        yield Line("✓", "要写的文件夹都写得进去")
    path = str(facts.root)
    if facts.system != "win32" and ":" in path:
        yield Line("✗", f"文件夹的路径里有冒号：{path}", "冒号是搜索路径的分隔号，建不了虚拟环境；把文件夹改个名字")
    elif facts.system == "win32" and len(path) > 80:
        yield Line("✗", f"文件夹的路径太长（{len(path)} 个字）：{path}", "Windows 的路径默认至多 260 个字，环境里的文件很深；挪到 C:\\ddpm 这样短的地方")
    elif re.search(r"[^!-~]", path):
        yield Line("–", f"文件夹的路径里有空格或汉字：{path}", "课程在这样的路径里测过；别的工具若不认，再挪到只有英文的地方")
    else:
        yield Line("✓", f"文件夹的路径是 {path}")


def hide_password(url):
    return re.sub(r"(?<=//)[^/@]*@", "…@", url)


def check_downloads(facts):
    index, more = facts.pip.get("index-url"), facts.pip.get("extra-index-url")
    places = f"包从 {index or 'pip 默认的索引'} 取" + (f"，另有 {more}" if more else "")
    yield Line("–", hide_password(places), "" if index else "下载慢的话，设环境变量 PIP_INDEX_URL 指向离你近的 PyPI 镜像")
    ready = facts.state == "好"
    traps = {"no-index": "设了 no-index，pip 不去索引里找包", "user": "设了 user，pip 会装到虚拟环境外面去，在虚拟环境里直接报错",
             "target": "设了 target，pip 会把包装到别处", "prefix": "设了 prefix，pip 会把包装到别处"}
    for name, text in traps.items():
        if facts.pip.get(name, "").lower() not in ("", "0", "false", "no", "off"):
            cure = f"去掉它：环境变量 PIP_{name.replace('-', '_').upper()}，或者 pip config unset global.{name}（也可能是 user.、site.）"
            yield Line("–" if ready else "✗", f"pip {text}", cure)
    for name in ("PYTHONHOME", "PYTHONPATH"):
        if facts.environ.get(name):
            yield Line("✗" if name == "PYTHONHOME" else "–", f"环境变量 {name}={facts.environ[name]}，会让这个 Python 用上别处的包", "不是有意设的，就去掉它")
    for name, url in proxies(facts.environ).items():
        yield proxy_line(facts, name, url)
    if facts.network is not None:
        yield (Line("✓", "包的索引连得上") if not facts.network else
               Line("✗", f"包的索引连不上，pip 的原话：{facts.network}", "看网络与代理；国内设环境变量 PIP_INDEX_URL 指向镜像；公司的证书用 PIP_CERT 指明"))


def proxy_line(facts, name, url):
    if not re.fullmatch(r"\w+://[^\s/]+/?", url):
        return Line("✗", f"代理 {name}={hide_password(url)} 写法不对", "应像 http://127.0.0.1:7890，前面要有 http://；不用代理就去掉这个变量")
    if url in facts.dead_proxies:
        return Line("✗", f"代理 {name}={hide_password(url)} 没有开着", "打开代理的程序，或者去掉这个变量")
    if url.startswith("socks") and "pysocks" not in facts.found.get("packages", {}):
        return Line("✗", f"代理 {name}={hide_password(url)} 是 SOCKS，pip 要另装 PySocks 才认得", "换成代理程序的 http 端口，写成 http://127.0.0.1:端口")
    return Line("–", f"经代理 {hide_password(url)}（{name}）")


def check_threads(facts):
    asked = facts.environ.get("OMP_NUM_THREADS", "")
    if asked and not (asked.isdigit() and 1 <= int(asked)):
        yield Line("✗", f"环境变量 OMP_NUM_THREADS={asked!r} 不是正整数", "改成核数，或者去掉它")
    elif int(asked or facts.cores) > max(1, round(facts.quota)):
        most = max(1, round(facts.quota))
        yield Line("✗", f"会开 {asked or facts.cores} 个线程，只许用 {most} 个核；线程互相等待，会慢许多倍", f"设环境变量 OMP_NUM_THREADS={most}")
    else:
        yield Line("✓", f"{facts.cores} 个核，{'OMP_NUM_THREADS=' + asked if asked else '线程数照默认'}")


CHECKS = (check_python, check_environment, check_packages, check_torch, check_gpu, check_font, check_kernel, check_room, check_folders,
          check_downloads, check_threads)


def diagnose(facts):
    """全部结论，照检查的先后"""
    return [line for check in CHECKS for line in check(facts)]


def report(lines):
    """印出结论；返回退出状态：有 ✗ 时 1"""
    for line in lines:
        print(f"{line.mark} {line.text}" + (f"\n    办法：{line.cure}" if line.cure else ""))
    wrong = sum(line.mark == "✗" for line in lines)
    print(f"\n有 {wrong} 处要改，从上往下改；还不行，看 notebooks/91_troubleshooting.ipynb" if wrong else "\n没有发现问题")
    return int(wrong > 0)


def main(arguments, root, venv, torch_pin, complete):
    """参数的意思同 facts.collect"""
    parser = argparse.ArgumentParser("python course.py doctor", description="看这个环境哪里对、哪里错、怎么办；有错时退出状态是 1")
    parser.add_argument("--network", action="store_true", help="另外真的连一次包的索引，至多三十秒")
    options = parser.parse_args(arguments)
    print("正在查；环境里有 torch 与 Lightning，就真的导入一次，要十秒上下……\n", file=sys.stderr, flush=True)
    return report(diagnose(collect(root, venv, torch_pin, complete, options.network)))
