"""命令行：fit / validate / test 交给 LightningCLI，sample 从检查点生成图像"""
import argparse
import sys
from importlib.resources import files
from pathlib import Path

from .checks import check_int, fail
from .pretrained import NAMES as PRETRAINED

CONFIGS = files("ddpm_edu") / "configs"


def shipped_configs():
    return sorted(Path(p.name).stem for p in CONFIGS.iterdir() if p.name.endswith(".yaml"))


def resolve_config(arguments):
    """--config digits 换成随包的文件；写的若是现成的文件则原样"""
    resolved, names = [], shipped_configs()
    for i, argument in enumerate(arguments):
        is_value = i > 0 and arguments[i - 1] in ("--config", "-c")
        value = argument.removeprefix("--config=") if argument.startswith("--config=") else argument if is_value else None
        if value in names and not Path(value).exists():
            argument = argument.removesuffix(value) + str(CONFIGS / f"{value}.yaml")
        elif value is not None and not Path(value).is_file():
            fail("--config", f"存在的 YAML 文件，或 {' / '.join(names)} 之一", value)
        resolved.append(argument)
    return resolved


def train_main(arguments):
    """LightningCLI：Trainer 的每个选项都能在命令行或 YAML 里给；返回退出码，Ctrl-C 停下的是 130"""
    import pytorch_lightning as pl
    from pytorch_lightning.cli import LightningCLI

    from .ddpm import DDPM
    from .stopping import StopSafely

    sys.argv[1:] = arguments
    # 不许缩写：--model.timestep 应当报错，而不是悄悄当成 timesteps
    trainer = LightningCLI(DDPM, pl.LightningDataModule, subclass_mode_data=True, parser_kwargs={"allow_abbrev": False},
                           save_config_kwargs={"overwrite": True}).trainer
    stopped = any(isinstance(c, StopSafely) and c.stopped_at is not None for c in trainer.callbacks)
    # 由 Trainer 起的子进程仍返回 0：有一个不是 0，主进程会以为出了错，把别的都杀掉
    return 130 if stopped and trainer.local_rank == 0 else 0


def sample_main(arguments):
    parser = argparse.ArgumentParser("python -m ddpm_edu sample", description="从检查点生成一格图像", allow_abbrev=False)
    parser.add_argument("--ckpt", required=True, help=f"检查点文件，或随包模型的名字（{' / '.join(PRETRAINED)}）")
    parser.add_argument("--out", required=True, help="输出的 PNG 文件")
    parser.add_argument("-n", "--num", type=int, default=64, help="几张（默认 64）")
    parser.add_argument("--nrow", type=int, default=8, help="每行几张（默认 8）")
    parser.add_argument("--sampler", choices=("ancestral", "ddim"), default="ddim")
    parser.add_argument("--steps", type=int, help="采样步数；ancestral 默认走满 T 步，ddim 默认 50 步")
    parser.add_argument("--eta", type=float, default=0.0, help="ddim 的随机性，0 到 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", action="store_true", help="用原权重而不是 EMA 权重")
    parser.add_argument("--scale", type=int, default=4, help="放大的整数倍数（默认 4）")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options = parser.parse_args(arguments)
    check_int("--seed", options.seed, 0, 2**63 - 1)
    check_int("--num", options.num, 1)
    check_int("--scale", options.scale, 1)
    out = Path(options.out)
    if out.suffix.lower() != ".png":
        fail("--out", "以 .png 结尾的文件名", options.out)

    import torch

    from .images import save_grid

    model = _load_model(options.ckpt).to(_device(options.device))
    generator = torch.Generator().manual_seed(options.seed)
    with model.ema_scope() if not options.raw else torch.no_grad():
        images = model.sample(options.num, sampler=options.sampler, steps=options.steps, eta=options.eta,
                              generator=generator)
    save_grid(images, out, options.nrow, options.scale)
    print(f"已写入 {out}：{options.num} 张，{tuple(images.shape[1:])}")


def _load_model(name):
    if name in PRETRAINED and not Path(name).exists():
        from .pretrained import load_pretrained

        return load_pretrained(name)
    from .ddpm import DDPM

    return DDPM.load_from_checkpoint(name)


def _device(name):
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def main(arguments=None):
    """入口；用户能改正的错误只印一行，退出码 2"""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if arguments[:1] == ["sample"]:
            sample_main(arguments[1:])
        else:
            return train_main(resolve_config(arguments))
    except (ValueError, TypeError, OSError, RuntimeError, ArithmeticError) as error:
        print(f"错误：{error}", file=sys.stderr)
        return 2
    return 0
