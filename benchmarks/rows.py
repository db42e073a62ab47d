"""比什么：每个函数量几行，返回 [Row]"""
import copy
from dataclasses import dataclass, field

import torch

from .peers import Ours, Task, contenders
from .timing import convolution_peak, fresh_process, interleaved, matmul_peak, train_flops

CPU = torch.device("cpu")


@dataclass
class Row:
    """一份工作：values 是 {名字: 数}，第一个是 ddpm_edu；fewer 为真时数越小越好"""

    work: str
    unit: str
    values: dict
    note: str = ""
    ratio: float = field(init=False)

    def __post_init__(self):
        others = [value for name, value in self.values.items() if name != "ddpm_edu"]
        # 对最快的一家；没有别家可比时为 nan
        self.ratio = min(others) / self.values["ddpm_edu"] if others else float("nan")


def training_step(name, batch, rounds, bar=None):
    """前向、反向、裁剪、优化器、EMA 的完整一步，旁边是离机器的极限多近"""
    task = Task.from_config(name, batch)
    made, _ = contenders(task)
    x = task.images()
    seconds = interleaved({c.name: lambda c=c: c.step(x) for c in made}, rounds, bar=bar)
    speed = train_flops(made[0].predict, x) / seconds["ddpm_edu"] / 1e9
    widest = max(zip(task.widths, (task.image_size // 2**level for level in range(len(task.mult)))), key=lambda wide: wide[0] * wide[1])
    limit = convolution_peak(batch, *widest) / 1e9
    parameters = sum(p.numel() for p in made[0].network.parameters())
    return [Row(f"训练一步：{name}，批 {batch}，{parameters / 1e6:.2f} M", "ms", {k: 1e3 * v for k, v in seconds.items()},
                f"{speed:.0f} GFLOP/s；单独一层最大的卷积 {limit:.0f}")]


def ema_update(name, rounds, bar=None):
    """只走一格 EMA；一起量的还有逐个张量的循环（原版 LitEma 的算法），与同样大小的一整块内存做 lerp，那是极限"""
    made, _ = contenders(Task.from_config(name, 1))
    network = made[0].network
    shadow = {name: p.detach().clone() for name, p in network.named_parameters()}
    flat = [torch.randn(sum(s.numel() for s in shadow.values())) for _ in range(2)]

    @torch.no_grad()
    def loop():
        for name, p in network.named_parameters():
            shadow[name].sub_(1e-4 * (shadow[name] - p))

    works = {**{c.name: c.ema for c in made}, "loop": loop, "flat": lambda: flat[0].lerp_(flat[1], 1e-4)}
    seconds = interleaved(works, rounds, bar=bar)
    looped, limit = seconds.pop("loop"), seconds.pop("flat")
    return [Row(f"EMA 走一格：{len(flat[0]) / 1e6:.2f} M", "ms", {k: 1e3 * v for k, v in seconds.items()},
                f"逐个张量的循环 {1e3 * looped:.2f} ms；一整块内存的 lerp {1e3 * limit:.2f} ms")]


def sampling_step(name, batch, rounds, bar=None):
    """p_sample 一步比只调用网络多花的比例"""
    task = Task.from_config(name, batch)
    made, _ = contenders(task)
    x, t = task.images(), torch.full((batch,), 500)

    def bare(c):
        with torch.no_grad():
            c.network.eval()
            c.predict(x, t)

    works = {(c.name, what): (lambda c=c: bare(c)) if what == "bare" else (lambda c=c: c.p_sample(x, 500)) for c in made for what in ("bare", "step")}
    seconds = interleaved(works, rounds, bar=bar)
    return [Row(f"p_sample 一步：{name}，批 {batch}", "ms", {c.name: 1e3 * seconds[c.name, "step"] for c in made},
                "；".join(f"{c.name} 比只调用网络多 {seconds[c.name, 'step'] / seconds[c.name, 'bare'] - 1:.1%}" for c in made))]


def whole_sampling(rounds, bar=None):
    """64 张数字：DDIM 50 步与祖先采样 1000 步"""
    made, _ = contenders(Task.from_config("digits", 64))
    for c in made:
        c.network.eval()

    def row(label, sampler, steps, rounds):
        return Row(f"采 64 张数字：{label}", "s", interleaved({c.name: lambda c=c: c.sample(64, sampler, steps) for c in made}, rounds, 1, bar=bar))

    return [row("DDIM 50 步", "ddim", 50, rounds), row("祖先采样 1000 步", "ancestral", 1000, max(1, rounds // 3))]


def mnist_sampling(rounds, bar=None):
    """64 张 28×28 的数字，网络的形状同随包的 mnist：2×2 个像素先叠成 4 个通道，14×14；DPM-Solver++ 调用 10 次，画得与 DDIM 50 次一样好"""
    made, _ = contenders(Task("mnist", channels=4, image_size=14, width=32, mult=(1, 2), blocks=2, attention=(2,), batch=64))
    made = [c for c in made if "dpmpp" in c.samplers]
    for c in made:
        c.network.eval()
    return [Row("采 64 张 mnist：DPM-Solver++ 10 次", "s", interleaved({c.name: lambda c=c: c.sample(64, "dpmpp", 10) for c in made}, rounds, 1, bar=bar))]


def loops(rounds, bar=None):
    """同一个网络，训练一步与 DDIM 50 步：别家没有同样的网络，就借它们的循环，各套在一份副本上"""
    from .borrowed import BATCH, BORROWERS, STEPS

    ours = Ours(Task.from_config("digits", BATCH))
    x, t = ours.model.betas.new_zeros(BATCH, 1, 8, 8), torch.full((BATCH,), 500)
    bare = copy.deepcopy(ours.network).eval()

    @torch.no_grad()
    def calls():
        for _ in range(STEPS):
            bare(x, t)

    train, draw = {"ddpm_edu": ours.step}, {"ddpm_edu": lambda: ours.sample(BATCH, "ddim", STEPS), "bare": calls}
    for name, borrow in BORROWERS.items():
        try:
            train[name], draw[name] = borrow(copy.deepcopy(ours.network))
        except ImportError:
            continue
    steps = interleaved({name: lambda step=step: step(x) for name, step in train.items() if step}, 3 * rounds, bar=bar)
    seconds = interleaved(draw, rounds, 1, bar=bar)
    limit = seconds.pop("bare")
    return [Row("训练的循环：digits，批 64，同一个网络", "ms", {name: 1e3 * value for name, value in steps.items()}),
            Row("采样的循环：digits，DDIM 50 步，同一个网络", "s", seconds, f"只调用 50 次网络 {limit:.3g} s")]


def schedule_construction(rounds, bar=None):
    """造好噪声表与采样要用的全部系数，T=1000"""
    from ddpm_edu.gaussian import GaussianDiffusion

    works = {"ddpm_edu": lambda: GaussianDiffusion(timesteps=1000)}
    try:
        from diffusers import DDPMScheduler
        works["diffusers"] = lambda: DDPMScheduler(num_train_timesteps=1000)
    except ImportError:
        pass
    return [Row("造噪声表，T=1000", "ms", {k: 1e3 * v for k, v in interleaved(works, rounds, bar=bar).items()},
                "ddpm_edu 多算了后验、VLB 权重等 13 张表，float64")]


IMPORTS = {
    "只导入包": {"ddpm_edu": "import ddpm_edu", "diffusers": "import diffusers", "monai": "import monai"},
    "导入训练要用的类": {"ddpm_edu": "from ddpm_edu import DDPM, DigitsDataModule", "diffusers": "from diffusers import UNet2DModel, DDPMScheduler",
                 "monai": "from monai.networks.nets import DiffusionModelUNet"},
    "只导入数学部分（含 torch）": {"ddpm_edu": "from ddpm_edu.gaussian import GaussianDiffusion"},
}


def import_time(rounds, bar=None):
    """新进程里导入要几秒（不含解释器自己的启动）"""
    rows = []
    for label, codes in IMPORTS.items():
        seconds = {}
        for name, code in codes.items():
            timed = f"import time; s = time.perf_counter()\n{code}\nprint(time.perf_counter() - s)"
            try:
                seconds[name] = sorted(fresh_process(timed) for _ in range(rounds))[rounds // 2]
            except Exception:  # 没有装的一家
                continue
        rows.append(Row(label, "s", seconds))
    return rows


def peak_memory(name, batch, bar=None):
    """新进程里走三个训练步的最大常驻内存，减去只导入各自要用的类之后的"""
    made, _ = contenders(Task.from_config("digits", 1))
    values = {}
    for kind in (type(c).__name__ for c in made):
        code = (f"from benchmarks.peers import {kind}, Task; from benchmarks.timing import peak_memory_mib\n"
                f"task = Task.from_config('digits', 1); small = {kind}(task); small.step(task.images()); base = peak_memory_mib()\n"
                f"task = Task.from_config({name!r}, {batch}); one = {kind}(task); x = task.images()\n"
                "for _ in range(3): one.step(x)\nprint(peak_memory_mib() - base)")
        values[{"Ours": "ddpm_edu"}.get(kind, kind.lower())] = fresh_process(code)
    return [Row(f"训练的峰值内存：{name}，批 {batch}", "MiB", values)]


def panel_frame(rounds, bar=None):
    """β 面板的一帧（计算、画、编码成 PNG），旁边是每次重画整张图的写法（interact 就是这样）"""
    import io

    from ddpm_edu.teach.figures import empty_figure, plain_axes
    from ddpm_edu.teach.panels.beta import beta_data, beta_panel

    panel = beta_panel()
    slider = panel.controls["cosine_s"]

    def ours():
        slider.value = 0.02 if slider.value < 0.02 else 0.008

    def redraw_all():
        data, _ = beta_data("linear", 1000, 1e-4, 2e-2, 8e-3)
        figure = empty_figure(9, 3.2)
        for place, (x, y) in enumerate(data.values()):
            plain_axes(figure.add_subplot(1, 3, place + 1)).plot(x, y)
        figure.savefig(io.BytesIO(), format="png", dpi=figure.dpi)

    seconds = interleaved({"ddpm_edu": ours, "每次重画": redraw_all}, rounds, bar=bar)
    return [Row("面板的一帧：β", "ms", {k: 1e3 * v for k, v in seconds.items()})]


def machine_limits():
    """矩阵乘法的实测上限"""
    return {"matmul_gflops": matmul_peak(CPU) / 1e9}


# 名字: (函数, 认真量时的参数, --quick 时的参数)
ROWS = {
    "step-digits": (training_step, dict(name="digits", batch=64, rounds=30), dict(name="digits", batch=4, rounds=1)),
    "step-digits128": (training_step, dict(name="digits", batch=128, rounds=30), dict(name="digits", batch=4, rounds=1)),
    "step-mnist": (training_step, dict(name="mnist", batch=32, rounds=7), dict(name="mnist-laptop", batch=2, rounds=1)),
    "step-cifar10": (training_step, dict(name="cifar10", batch=16, rounds=3), dict(name="cifar10-laptop", batch=1, rounds=1)),
    "ema-small": (ema_update, dict(name="digits", rounds=200), dict(name="digits", rounds=2)),
    "ema-large": (ema_update, dict(name="cifar10", rounds=20), dict(name="mnist-laptop", rounds=1)),
    "p-sample-digits": (sampling_step, dict(name="digits", batch=64, rounds=100), dict(name="digits", batch=2, rounds=1)),
    "p-sample-cifar10": (sampling_step, dict(name="cifar10", batch=4, rounds=7), dict(name="mnist-laptop", batch=1, rounds=1)),
    "sampling": (whole_sampling, dict(rounds=5), None),
    "sampling-mnist": (mnist_sampling, dict(rounds=9), None),
    "loops": (loops, dict(rounds=9), None),
    "schedule": (schedule_construction, dict(rounds=30), dict(rounds=1)),
    "import": (import_time, dict(rounds=5), None),
    "memory-digits": (peak_memory, dict(name="digits", batch=64), None),
    "memory": (peak_memory, dict(name="mnist", batch=32), None),
    "memory-cifar10": (peak_memory, dict(name="cifar10", batch=4), None),
    "panel": (panel_frame, dict(rounds=40), dict(rounds=1)),
}
