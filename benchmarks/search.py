"""找更好的配方：从 digits 配方出发，一次只改一处，步数相同：python -m benchmarks.search [改动 ...] [--steps 600] [--seeds 2]

差几分是噪声；留下的是几个种子都明显更好、又不更慢的
"""
import argparse
import statistics
import warnings

import torch
from tqdm import tqdm

from ddpm_edu.configs.recipes import digits_model_config

from .quality import score_ours


def unet(**kwargs):
    """改网络：kwargs 交给 digits_model_config"""
    return {"unet_config": digits_model_config(**kwargs)["unet_config"]}


CHANGES = {
    "基准": {},
    "预测 x0": {"parameterization": "x0"},
    "预测 eps": {"parameterization": "eps"},
    "Ho 的线性噪声表": {"beta_schedule": "sqrt_linear"},
    "学习率 2e-3": {"learning_rate": 2e-3},
    "学习率 6e-3": {"learning_rate": 6e-3},
    "学习率 8e-3": {"learning_rate": 8e-3},
    "学习率不变": {"scheduler_config": None},
    "EMA 0.98": {"ema_decay": 0.98},
    "EMA 0.995": {"ema_decay": 0.995},
    "t 均匀抽": {"t_sampling": "uniform"},
    "β₂ 0.999": {"adam_betas": (0.9, 0.999)},
    "β₁ 0.95": {"adam_betas": (0.95, 0.99)},
    "权重衰减 0.1": {"weight_decay": 0.1},
    "L1 损失": {"loss_type": "l1"},
    "宽 32": unet(width=32),
    "只在下层用注意力": unet(attention=(2,)),
    "两个残差块": unet(num_res_blocks=2),
}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.search", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("changes", nargs="*", metavar="改动", help="只试这几样；默认全部：" + "、".join(CHANGES))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args(arguments)
    if unknown := set(options.changes) - set(CHANGES):
        parser.error(f"没有 {'、'.join(sorted(unknown))} 这几样")
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}，{torch.get_num_threads()} 线程，{options.steps} 步")
    print("| 改动 | Fréchet 距离（中位） | 各个种子 |\n|:--|--:|:--|", flush=True)
    for name in tqdm(options.changes or CHANGES, desc="训练", leave=False):
        distances = [score_ours(options.steps, seed, **CHANGES[name]) for seed in range(options.seeds)]
        tqdm.write(f"| {name} | {statistics.median(distances):.1f} | {'、'.join(f'{d:.1f}' for d in distances)} |")


if __name__ == "__main__":
    main()
