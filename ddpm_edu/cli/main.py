"""命令行的入口：fit / validate / test 交给 LightningCLI，sample、evaluate、convert 见同名的文件"""
import logging
import os
import sys
import warnings
from pathlib import Path

from ..checks import fail
from ..configs import name_runs
from ..files.leaving import leaving_cleanly
from ..files.names import check_names
from .config import (
    NAMED_CHECKPOINTS,
    check_parsed,
    follow_model,
    inline_configs,
    model_class,
    newest_checkpoint,
    read_hyper_parameters,
    resolve_config,
    shipped_name,
)
from .errors import ChineseErrors, UsageError, readable

log = logging.getLogger("ddpm_edu")
OTHERS = "另有 sample（生成）、evaluate（评估）、convert（与别家交换权重）；各自加 --help 看用法"


def train_cli(arguments, run=True):
    """LightningCLI：Trainer 的每个选项都能在命令行或 YAML 里给；run=False 时只造好各个对象"""
    # 从包里取，环境里有不配的 torchvision 时才有那句说明，所以要在 Lightning 之前
    from .. import DDPM  # noqa: F401

    import pytorch_lightning as pl  # isort: skip
    from pytorch_lightning.cli import LightningArgumentParser, LightningCLI  # isort: skip

    from ..training.memory import SayMemory
    from ..training.resuming import SETTINGS
    from ..training.speed import SpeedUp

    class CourseParser(ChineseErrors, LightningArgumentParser):
        pass

    class CourseCLI(LightningCLI):
        @staticmethod
        def subcommands():
            # Lightning 的 predict 算完就扔；要图用 sample
            known = {name: skipped for name, skipped in LightningCLI.subcommands().items() if name != "predict"}
            # 每个子命令都要把 Trainer 与模型的参数查一遍，只查用得着的，启动快一半
            return {name: skipped for name, skipped in known.items() if arguments[:1] == [name]} or known

        def parse_arguments(self, parser, args):
            super().parse_arguments(parser, args)
            chosen = self.config.get(self.config.get("subcommand"), self.config)
            if (name := shipped_name(arguments)) and isinstance(chosen.trainer.logger, list):
                name_runs(chosen.trainer.logger, name)
            check_parsed(chosen.as_dict())

        def _parse_ckpt_path(self):
            """续训以检查点里的超参数为准；Lightning 自己的写法不核对摘要，换了参数也不说，找 last 只看新的空目录"""
            chosen = self.config.get(self.config.get("subcommand"), self.config)
            if (path := chosen.get("ckpt_path")) in NAMED_CHECKPOINTS:
                path = chosen.ckpt_path = newest_checkpoint(chosen.trainer.as_dict(), path)
            if path is None:
                return
            before = chosen.model.as_dict()
            saved = read_hyper_parameters(path, typed=before)
            if chosen.retune:
                saved = {name: value for name, value in saved.items() if name not in SETTINGS}
            self.config = self.parser.parse_object({self.config.subcommand: {"model": saved}}, self.config)
            after = self.config[self.config.subcommand].model.as_dict()
            # 文件里的字符串在这里会被当成 YAML 解析，里面也可以藏着类名
            check_names(after, path, typed=before)
            if odd := [f"{name} {before[name]!r} → {value!r}" for name, value in after.items() if value != before.get(name)]:
                log.warning("有 ckpt_path 时，模型的参数以检查点里的为准：%s；学习率、权重衰减、动量系数、调度器要用新的，加 --retune true", "；".join(odd))

        def before_instantiate_classes(self):
            # 这时检查点里的超参数也已经取来
            follow_model(self.config.get(self.config.get("subcommand"), self.config))

        def instantiate_trainer(self, **kwargs):
            try:
                return super().instantiate_trainer(**kwargs)
            except (ValueError, TypeError, RuntimeError) as error:
                raise UsageError(f"Trainer 的设置有误，原话是 {error}") from error

        def add_arguments_to_parser(self, parser):
            parser.add_lightning_class_args(SpeedUp, "speed")
            parser.add_argument("--model_class", default="ddpm_edu.DDPM", help="练哪一类：ddpm_edu 的 DDPM、AutoencoderKL、LatentDiffusion，或自己的子类")
            parser.add_argument("--retune", type=bool, default=False, help="续训时改用这里给的学习率、权重衰减、动量系数、调度器，步数与累积的动量照旧")

        def before_fit(self):
            self.model.retune = self.config[self.config.subcommand].retune
            check_launcher(self.trainer)

    # 展开过的 --config 只能由 args 交进去，原来的命令行要留给 DDP 起子进程用
    warnings.filterwarnings("ignore", message=".*LightningCLI's args parameter.*")
    # (高, 宽) 存进配置里是列表，读回来一样
    warnings.filterwarnings("ignore", message="(?s).*does not round-trip.*tuple")
    # 不许缩写：--model.timestep 应当报错，而不是悄悄当成 timesteps
    resolved = resolve_config(arguments)
    return CourseCLI(model_class(resolved), pl.LightningDataModule, subclass_mode_data=True, auto_configure_optimizers=False,
                     parser_kwargs={"allow_abbrev": False, "epilog": OTHERS}, save_config_kwargs={"overwrite": True},
                     trainer_defaults={"callbacks": [SayMemory()]},
                     parser_class=CourseParser, args=inline_configs(resolved), run=run)


def check_launcher(trainer):
    """torchrun 起了几个进程而 Trainer 不知道时，每个进程会各训练各的，一声不响"""
    started = int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if started not in (1, trainer.world_size):
        fail("Trainer 的进程数", f" torchrun 起的 {started} 个", trainer.world_size,
             "加上 --trainer.strategy ddp，--trainer.devices 等于 --nproc-per-node，--trainer.num_nodes 等于 --nnodes")


def train_main(arguments):
    """训练、验证或测试；返回退出码，Ctrl-C 停下的是 130"""
    try:
        cli = train_cli(arguments)
    except Exception as error:
        # Lightning 的这种异常不属于任何一类标准的异常
        if type(error).__name__ != "MisconfigurationException":
            raise
        raise UsageError(f"Trainer 的设置有误，原话是 {error}") from None
    from ..training.stopping import StopSafely

    trainer = cli.trainer
    stopped = any(isinstance(c, StopSafely) and c.stopped_at is not None for c in trainer.callbacks)
    if cli.subcommand == "fit" and not stopped and trainer.is_global_zero and (path := getattr(trainer.checkpoint_callback, "last_model_path", "")):
        path = Path(os.path.relpath(path)).as_posix()
        drawing = hasattr(cli.model, "sample")
        following = (f"画几张：python -m ddpm_edu sample --ckpt {path} --out grid.png" if drawing
                     else "用它练潜空间的模型：python -m ddpm_edu fit --config mnist-latent")
        print(f"练完 {trainer.global_step} 步，存在 {path}；{following}")
    # 由 Trainer 起的子进程仍返回 0：有一个不是 0，主进程会以为出了错，把别的都杀掉
    return 130 if stopped and trainer.local_rank == 0 else 0


def run(arguments):
    """照第一个词交给各个子命令；返回退出码"""
    if arguments[:1] == ["predict"]:
        known = " fit / validate / test / sample / evaluate / convert 之一"
        fail("子命令", known, "predict", "生成图像用 python -m ddpm_edu sample --ckpt 检查点 --out grid.png")
    if arguments[:1] == ["sample"]:
        from .sample import sample_main

        return sample_main(arguments[1:])
    if arguments[:1] == ["evaluate"]:
        from .evaluate import evaluate_main

        return evaluate_main(arguments[1:])
    if arguments[:1] == ["convert"]:
        from .convert import convert_main

        return convert_main(arguments[1:])
    return train_main(arguments)


def main(arguments=None):
    """入口；我们自己说得清的错误只印一行，退出码 2，别的带着文件与行号抛出；被停下时清掉写到一半的，退出码 130 或 143"""
    try:
        with leaving_cleanly():
            return run(sys.argv[1:] if arguments is None else list(arguments)) or 0
    except KeyboardInterrupt:
        print("已中断", file=sys.stderr)
        return 130
    except Exception as error:
        if (sentence := readable(error)) is None:
            raise
        print(f"错误：{sentence}", file=sys.stderr)
        return 2
