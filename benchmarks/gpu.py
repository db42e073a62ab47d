"""GPU 上的训练与采样：python -m benchmarks.gpu [--network cifar10|mnist|digits] [--batch 128] [--out gpu.json]

每一行是一种组合：fp32、bf16，加上 channels_last，再加上 torch.compile
数的是完整的一步：前向、反向、AdamW、EMA；数据是随机数，已在显卡上
"""
import argparse
import contextlib
import json
import platform
import statistics
import time
import warnings
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ddpm_edu import DDPM, configs

SETTINGS = {
    "fp32": {},
    "bf16": {"bf16": True},
    "bf16 + channels_last": {"bf16": True, "channels_last": True},
    "bf16 + channels_last + compile": {"bf16": True, "channels_last": True, "compile": True},
}


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work, device, warmup, rounds):
    """一次 work() 的中位秒数"""
    for _ in range(warmup):
        work()
    times = []
    for _ in range(rounds):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def matmul_peak(device, dtype, size):
    """方阵乘法每秒的浮点运算数，作为这张卡的实测上限"""
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / seconds(lambda: a @ a, device, 3, 10)


def make_model(network, device, channels_last=False, compile=False, **_):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = DDPM(**configs.load(network)["model"]).to(device)
    if channels_last:
        for module in (model.model, model.model_ema):
            module.to(memory_format=torch.channels_last)
    if compile:
        model.model.diffusion_model.compile()
    return model


def forward_flops(model, x):
    """一次前向的浮点运算数；反向按两倍算"""
    t = torch.zeros(len(x), dtype=torch.long, device=x.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.apply_model(x, t)
    return counter.get_total_flops()


def measure(network, device, batch, rounds, sample_count, bf16=False, **setting):
    model = make_model(network, device, **setting)
    x = torch.rand(batch, model.channels, model.image_size, model.image_size, device=device) * 2 - 1
    flops = 3 * forward_flops(make_model(network, device), x)
    optimizer = torch.optim.AdamW(model.model.parameters(), lr=1e-4, fused=device.type == "cuda")

    def autocast():
        return torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss, _ = model(x)
        loss.backward()
        optimizer.step()
        model.model_ema(model.model)

    def sample():
        with autocast():
            model.sample(sample_count, sampler="ddim", steps=50, progress=False)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step_seconds = seconds(step, device, 5, rounds)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return {"images_per_second": batch / step_seconds, "tflops": flops / step_seconds / 1e12, "peak_gib": peak,
            "ddim50_seconds": seconds(sample, device, 1, 3)}


def main():
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", default="cifar10", choices=configs.names())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--samples", type=int, default=64, help="DDIM-50 一次采几张")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--device", default="cuda", help="没有 GPU 时可用 cpu 试跑")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "这里没有可用的 CUDA GPU；想试跑流程，可加 --device cpu --network digits --batch 8 --rounds 2\n")
    device = torch.device(options.device)
    size = 8192 if device.type == "cuda" else 1024
    peaks = {str(dtype).removeprefix("torch."): matmul_peak(device, dtype, size) / 1e12 for dtype in (torch.float32, torch.bfloat16)}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{name}，torch {torch.__version__}，{options.network}，批 {options.batch}；矩阵乘法实测 "
          + "，".join(f"{dtype} {peak:.1f} TFLOP/s" for dtype, peak in peaks.items()))
    rows = {}
    print("| 组合 | 图/秒 | 对 fp32 | 峰值显存 GiB | TFLOP/s | 占矩阵乘法 | DDIM-50 秒 |\n|:--|--:|--:|--:|--:|--:|--:|")
    for label in options.settings:
        row = rows[label] = measure(options.network, device, options.batch, options.rounds, options.samples, **SETTINGS[label])
        base = rows[options.settings[0]]["images_per_second"]
        share = row["tflops"] / peaks["bfloat16" if SETTINGS[label].get("bf16") else "float32"]
        peak = "—" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}"
        print(f"| {label} | {row['images_per_second']:.0f} | {row['images_per_second'] / base:.2f}× | {peak} "
              f"| {row['tflops']:.1f} | {share:.0%} | {row['ddim50_seconds']:.2f} |", flush=True)
    if options.out:
        report = {"device": name, "torch": torch.__version__, "matmul_tflops": peaks, "rows": rows, **vars(options)}
        Path(options.out).write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
