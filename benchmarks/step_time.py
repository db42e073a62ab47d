"""随包配置训练一步要多久、全程要多久：python -m benchmarks.step_time [配置名 ...] [--batch 16] [--rounds 5]

数的是完整的一步：前向、反向、裁剪、AdamW、EMA；数据与类别是随机数
"""
import argparse
import json
import warnings
from pathlib import Path

import torch

from ddpm_edu import DDPM, configs, count_params
from ddpm_edu.optim import make_optimizer

from .timing import interleaved


def stepper(config, batch):
    """一个模型与它的优化器；返回 (模型, 走完整一步的函数)"""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = DDPM(**config["model"])
    optimizer = make_optimizer(model)
    x = torch.rand(batch, model.channels, model.image_size, model.image_size) * 2 - 1
    classes = getattr(model.model.diffusion_model, "num_classes", None) or 1
    images = {model.first_stage_key: x, "label": torch.randint(classes, (batch,))}

    def step():
        optimizer.zero_grad(set_to_none=True)
        model.shared_step(images)[0].backward()
        torch.nn.utils.clip_grad_norm_(model.model.parameters(), 1.0)
        optimizer.step()
        model.model_ema(model.model)

    return model, step


def measure(name, batch, rounds):
    config = configs.load(name)
    wanted = config["data"]["init_args"]["batch_size"]
    batch = min(batch or wanted, wanted)
    model, step = stepper(config, batch)
    seconds = interleaved({name: step}, rounds, warmup=1)[name] * wanted / batch
    steps = config["trainer"]["max_steps"]
    return {"config": name, "parameters": int(count_params(model.model)), "batch": wanted, "measured_batch": batch,
            "seconds_per_step": seconds, "steps": steps, "hours": seconds * steps / 3600}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.step_time", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=["digits", "mnist-class", "mnist-laptop", "mnist", "cifar10-laptop"], help="默认五份，都能在几分钟内量完")
    parser.add_argument("--batch", type=int, help="实际用的批大小，结果按比例换算到配置里的批大小；默认就用配置里的")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    print(f"torch {torch.__version__}，{torch.get_num_threads()} 线程")
    print("| 配置 | 参数 | 批 | 秒/步 | 图/秒 | 步数 | 全程 |\n|:--|--:|--:|--:|--:|--:|--:|")
    rows = []
    for name in options.names:
        row = measure(name, options.batch, options.rounds)
        rows.append(row)
        whole = f"{row['hours']:.1f} 小时" if row["hours"] >= 1 else f"{row['hours'] * 60:.1f} 分钟"
        print(f"| `{name}` | {row['parameters'] / 1e6:.2f} M | {row['batch']} | {row['seconds_per_step']:.3f} | {row['batch'] / row['seconds_per_step']:.0f} "
              f"| {row['steps']} | {whole} |", flush=True)
    if options.out:
        Path(options.out).write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
