"""随包配置训练一步要多久、全程要多久：python -m benchmarks.step_time [配置名 ...] [--batch 16] [--rounds 5]

数的是完整的一步：前向、反向、裁剪、AdamW、EMA；数据是随机数。每份配置量两遍，channels_last 关与开，轮流进行
"""
import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import torch

from ddpm_edu import DDPM, configs, count_params
from ddpm_edu.optim import make_optimizer
from ddpm_edu.speed import SpeedUp


class Stepper:
    """一个模型和它的优化器；step() 走完整的一步，返回秒数"""

    def __init__(self, config, batch, channels_last):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model = DDPM(**config["model"])
        SpeedUp(channels_last=channels_last).setup(None, self.model, "fit")
        self.optimizer = make_optimizer(self.model)
        self.x = torch.rand(batch, self.model.channels, self.model.image_size, self.model.image_size) * 2 - 1

    def step(self):
        started = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        loss, _ = self.model(self.x)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.model.parameters(), 1.0)
        self.optimizer.step()
        self.model.model_ema(self.model.model)
        return time.perf_counter() - started


def measure(name, batch, rounds):
    config = configs.load(name)
    wanted = config["data"]["init_args"]["batch_size"]
    batch = min(batch or wanted, wanted)
    steppers = {flag: Stepper(config, batch, flag) for flag in (False, True)}
    times = {flag: [] for flag in steppers}
    for number in range(rounds + 1):
        for flag, stepper in steppers.items():
            seconds = stepper.step()
            # 第一步要分配内存，不算
            times[flag] += [seconds] if number else []
    plain, last = (statistics.median(times[flag]) * wanted / batch for flag in (False, True))
    steps = config["trainer"]["max_steps"]
    return {"config": name, "parameters": int(count_params(steppers[True].model.model)), "batch": wanted, "measured_batch": batch,
            "seconds_per_step": plain, "seconds_channels_last": last, "steps": steps, "hours": min(plain, last) * steps / 3600}


def main():
    parser = argparse.ArgumentParser("python -m benchmarks.step_time", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=["digits", "mnist-laptop", "mnist", "cifar10-laptop"], help="默认四份，都能在几分钟内量完")
    parser.add_argument("--batch", type=int, help="实际用的批大小，结果按比例换算到配置里的批大小；默认就用配置里的")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args()
    print(f"torch {torch.__version__}，{torch.get_num_threads()} 线程")
    print("| 配置 | 参数 | 批 | 秒/步 | 开 channels_last | 步数 | 全程 |\n|:--|--:|--:|--:|--:|--:|--:|")
    rows = []
    for name in options.names:
        row = measure(name, options.batch, options.rounds)
        rows.append(row)
        whole = f"{row['hours']:.1f} 小时" if row["hours"] >= 1 else f"{row['hours'] * 60:.0f} 分钟"
        print(f"| `{name}` | {row['parameters'] / 1e6:.2f} M | {row['batch']} | {row['seconds_per_step']:.3f} | {row['seconds_channels_last']:.3f} "
              f"| {row['steps']} | {whole} |", flush=True)
    if options.out:
        Path(options.out).write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
