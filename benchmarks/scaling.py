"""代价怎样随图像大小、批、参数、T 增长：python -m benchmarks.scaling [--out scaling.png] [--rounds 8]

四条线都从 MNIST 的小网络（宽 32、28×28、批 32）出发，一次只变一样；训练一步的毫秒数，T 的一条是采样的秒数
双对数图上斜率就是指数：批与像素数是 1，参数略小于 1，T 是 1
"""
import argparse
import functools
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

from .peers import Ours, Task
from .timing import interleaved, mean_and_error

# 图里只写英文与数字：哪台机器上都不会变成方框
LABELS = {"边长（像素）": "image side (px)", "批大小": "batch", "参数（百万）": "parameters (M)", "采样步数": "sampling steps"}
BASE = Task.from_config("mnist-laptop", 32)


def parameters(one):
    return sum(p.numel() for p in one.network.parameters())


def training_line(tasks, x_of, rounds):
    """[(横坐标, [每一轮的秒数])]：每个 task 走一步；一轮里各走一次，机器忙闲对谁都一样"""
    ones = [Ours(task) for task in tasks]
    works = {x_of(task, one): functools.partial(one.step, task.images()) for task, one in zip(tasks, ones)}
    return line(works, rounds, warmup=1)


def sampling_line(lengths, rounds):
    one = Ours(replace(BASE, batch=4))
    return line({steps: lambda steps=steps: one.sample(4, "ancestral", steps) for steps in lengths}, rounds, warmup=0)


def line(works, rounds, warmup):
    for _ in range(warmup):
        interleaved(works, 1, 0)
    taken = [interleaved(works, 1, 0) for _ in range(rounds)]
    return [(x, [seconds[x] for seconds in taken]) for x in works]


def measure(rounds, quick=False):
    """{名字: [(x, [每一轮的秒数])]}"""
    few = slice(2) if quick else slice(None)
    return {
        "边长（像素）": training_line([replace(BASE, image_size=s) for s in (8, 16, 32, 64)[few]], lambda task, one: task.image_size, rounds),
        "批大小": training_line([replace(BASE, batch=b) for b in (4, 8, 16, 32, 64)[few]], lambda task, one: task.batch, rounds),
        "参数（百万）": training_line([replace(BASE, width=w) for w in (16, 32, 64, 96)[few]], lambda task, one: parameters(one) / 1e6, rounds),
        "采样步数": sampling_line((10, 30, 100, 300)[few], rounds),
    }


def slopes(points):
    """双对数最后一段的斜率，每一轮一个：大到看不见固定开销时的指数"""
    (x0, first), (x1, last) = points[-2:]
    return [math.log(y1 / y0) / math.log(x1 / x0) for y0, y1 in zip(first, last)]


def said(points):
    mean, error = mean_and_error(slopes(points))
    return f"{mean:.2f} ± {error:.2f}"


def draw(lines, path):
    from ddpm_edu.teach.figures import empty_figure, plain_axes

    figure = empty_figure(10, 2.9)
    for place, (name, points) in enumerate(lines.items()):
        ax = plain_axes(figure.add_subplot(1, len(lines), place + 1))
        ax.loglog([x for x, _ in points], [statistics.median(taken) for _, taken in points], "o-", color="#0072B2")
        ax.set_xticks([x for x, _ in points], labels=[f"{x:.3g}" for x, _ in points])
        ax.minorticks_off()
        ax.set(xlabel=LABELS[name], ylabel="seconds" if place == 0 else "")
        ax.set_title(f"slope {said(points)}", fontsize=10)
    figure.savefig(path, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", default="scaling.png", help="图的文件名；旁边另存一份同名的 JSON")
    parser.add_argument("--rounds", type=int, default=8, help="几轮；斜率是各轮的平均 ± 标准误")
    parser.add_argument("--quick", action="store_true", help="每条线只量两点，看跑不跑得通")
    options = parser.parse_args(arguments)
    lines = measure(options.rounds, options.quick)
    for name, points in lines.items():
        print(f"{name}：" + "，".join(f"{x:.3g} → {1e3 * statistics.median(taken):.0f} ms" for x, taken in points) + f"；末段斜率 {said(points)}")
    draw(lines, options.out)
    Path(options.out).with_suffix(".json").write_text(json.dumps(lines, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
