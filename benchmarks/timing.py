"""量时间：几家轮流来，取中位数；同一进程、同样的线程数，只比倍数"""
import platform
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(works, rounds, warmup=2, device=None, bar=None):
    """{名字: 不带参数的函数} → {名字: 中位秒数}；一轮里各跑一次，机器忙闲对谁都一样"""
    device = device or torch.device("cpu")
    times = {name: [] for name in works}
    for number in range(warmup + rounds):
        for name, work in works.items():
            synchronize(device)
            started = time.perf_counter()
            work()
            synchronize(device)
            if number >= warmup:
                times[name].append(time.perf_counter() - started)
            if bar is not None:
                bar.set_postfix_str(str(name), refresh=False)
    return {name: statistics.median(taken) for name, taken in times.items()}


def mean_and_error(values):
    """→ (平均, 平均的标准误)；只有一个数时标准误是 nan"""
    return statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def train_flops(predict, x):
    """一个训练步的浮点运算数：前向的三倍"""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        predict(x, torch.zeros(len(x), dtype=torch.long, device=x.device))
    return 3 * counter.get_total_flops()


def matmul_peak(device, dtype=torch.float32):
    """大方阵乘法每秒的浮点运算数：这台机器算得最快能有多快"""
    size = 8192 if device.type == "cuda" else 2048
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / interleaved({"": lambda: a @ a}, 7, device=device)[""]


def convolution_peak(batch, channels, size):
    """一层 3×3 卷积（前向加反向）每秒的浮点运算数：网络里最大的那层单独能跑多快"""
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(batch, channels, size, size, requires_grad=True)
    work = {"": lambda: layer(x).sum().backward()}
    return 3 * 2 * batch * size**2 * channels**2 * 9 / interleaved(work, 7)[""]


def fresh_process(code):
    """在新进程里运行，返回它最后一行的数"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak_memory_mib():
    """本进程到此刻为止的最大常驻内存

    Linux 的 ru_maxrss 会从父进程继承，父进程若用过很多内存，它就没有意义，所以读内核按地址空间记的那个数
    """
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return int(next(line.split()[1] for line in file if line.startswith("VmHWM"))) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine(device):
    """机器与软件，记在结果旁边"""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"cpu": model, "gpu": card, "threads": torch.get_num_threads(), "torch": torch.__version__, "python": platform.python_version(),
            "date": time.strftime("%Y-%m-%d")}
