"""GPU 上的训练与采样，与 diffusers 并排：python -m benchmarks.gpu [--network cifar10|mnist|digits] [--batch 128] [--out gpu.json]

每一行是一种组合：fp32、bf16（autocast），加上 torch.compile，再加上 CUDA 图（reduce-overhead）
数的是完整的一步：前向、反向、裁剪、AdamW、EMA；数据是随机数，已在显卡上。我们的网络一直是 channels_last
fp32 的矩阵乘法不用 TF32，卷积默认用，所以占比可以超过 100%。第一步含编译，可能要几分钟
"""
import argparse
import contextlib
import json
from pathlib import Path

import torch

from ddpm_edu import configs

from .peers import Diffusers, Ours, Task
from .timing import interleaved, machine, matmul_peak, train_flops

# 名字: (哪一家, 用不用 bf16, torch.compile 的选项)
SETTINGS = {
    "diffusers fp32": (Diffusers, False, None),
    "diffusers bf16": (Diffusers, True, None),
    "diffusers bf16 + compile": (Diffusers, True, {}),
    "fp32": (Ours, False, None),
    "bf16": (Ours, True, None),
    "bf16 + compile": (Ours, True, {}),
    "bf16 + compile + CUDA 图": (Ours, True, {"mode": "reduce-overhead"}),
}


def measure(task, device, rounds, samples, kind, bf16, compiling):
    torch.manual_seed(0)
    one = kind(task, device)
    x = task.images().to(device)
    flops = train_flops(one.predict, x)
    if compiling is not None:
        one.network.compile(**compiling)
    autocast = torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()

    def sample():
        with autocast:
            one.sample(samples, "ddim", 50)

    def seconds(work, rounds, warmup):
        return interleaved({"": work}, rounds, warmup, device)[""]

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with autocast:
        first = seconds(lambda: one.step(x), 1, 0)
        step = seconds(lambda: one.step(x), rounds, 4)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else float("nan")
    one.network.eval()
    return {"first_step_seconds": first, "images_per_second": task.batch / step, "tflops": flops / step / 1e12, "peak_gib": peak,
            "ema_ms": 1e3 * seconds(one.ema, rounds, 2), "ddim50_seconds": seconds(sample, 3, 1)}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", default="cifar10", choices=configs.names())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--samples", type=int, default=64, help="DDIM-50 一次采几张")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--device", default="cuda", help="没有 GPU 时可用 cpu 试跑")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "这里没有可用的 CUDA GPU；想试跑流程，可加 --device cpu --network digits --batch 8 --rounds 2 --settings fp32 bf16\n")
    device, task = torch.device(options.device), Task.from_config(options.network, options.batch)
    peaks = {bf16: matmul_peak(device, torch.bfloat16 if bf16 else torch.float32) / 1e12 for bf16 in (False, True)}
    about = machine(device)
    print(f"{about['gpu'] or about['cpu']}，torch {about['torch']}，{options.network}，批 {options.batch}；"
          f"矩阵乘法实测 fp32 {peaks[False]:.3g}、bf16 {peaks[True]:.3g} TFLOP/s")
    content = {"machine": about, "matmul_tflops": {"float32": peaks[False], "bfloat16": peaks[True]}, "rows": {}, **vars(options)}
    rows = content["rows"]
    print("| 组合 | 第一步 秒 | 图/秒 | 对第一行 | 峰值显存 GiB | TFLOP/s | 占矩阵乘法 | EMA ms | DDIM-50 秒 |\n|:--|--:|--:|--:|--:|--:|--:|--:|--:|")
    for label in options.settings:
        bf16 = SETTINGS[label][1]
        row = rows[label] = measure(task, device, options.rounds, options.samples, *SETTINGS[label])
        base = rows[options.settings[0]]["images_per_second"]
        print(f"| {label} | {row['first_step_seconds']:.1f} | {row['images_per_second']:.0f} | {row['images_per_second'] / base:.2f}× "
              f"| {row['peak_gib']:.1f} | {row['tflops']:.2f} | {row['tflops'] / peaks[bf16]:.0%} | {row['ema_ms']:.2f} "
              f"| {row['ddim50_seconds']:.2f} |", flush=True)
        # 编译可能要几分钟：量完一行先存一行，中途停了也不白量
        if options.out:
            Path(options.out).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
