"""续训怎样接上：优化器的设置、调度器的步数、从前最好的一份"""
import logging
import os
import warnings
from collections.abc import Mapping

from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from ..files.checkpoint import CheckpointError

log = logging.getLogger("ddpm_edu")
SETTINGS = ("learning_rate", "weight_decay", "adam_betas", "scheduler_config")


def settle_optimizer(model, checkpoint):
    """续训：model 的设置与检查点里的不同，就以检查点里的为准；model.retune 为真时反过来，步数与累积的动量照旧。哪一种都说一句

    异常 : 要用检查点里的调度器，而 model 的不是这一类时 CheckpointError（文件里写的名字不拿来导入）
    """
    saved, own = checkpoint.get("hyper_parameters", {}), {name: getattr(model, name) for name in SETTINGS}
    saved = {name: saved.get(name, value) for name, value in own.items()}
    used, other = (own, saved) if model.retune else (saved, own)
    odd = [f"{name} {other[name]!r} → {used[name]!r}" for name in SETTINGS if listed(other[name]) != listed(used[name])]
    if not odd:
        return
    if model.retune:
        restart_schedule(model, checkpoint)
        log.warning("续训改用新的设置，步数与累积的动量照旧：%s", "；".join(odd))
    else:
        if (kind := class_name(saved["scheduler_config"])) not in (None, class_name(own["scheduler_config"])):
            raise CheckpointError(f"scheduler_config 应为检查点里的那一类（{kind}），得到 {own['scheduler_config']!r}；"
                                  "改成与从前相同，或者先设 model.retune = True，命令行加 --retune true，改用新的")
        log.warning("续训时优化器的设置以检查点里的为准：%s；要改用新的（步数与累积的动量照旧），先设 model.retune = True，命令行加 --retune true",
                    "；".join(odd))
    for name, value in used.items():
        setattr(model, name, value)
    model.hparams.update(used)


def listed(value):
    """元组都换成列表：命令行与 YAML 给的是列表，Python 里常写元组"""
    if isinstance(value, Mapping):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def class_name(config):
    return config and config["target"].rpartition(".")[2]


def restart_schedule(model, checkpoint):
    """检查点里的学习率、动量系数、权重衰减、调度器换成 model 的，停在同一步上"""
    made = model.configure_optimizers()
    optimizer, schedulers = (made["optimizer"], [made["lr_scheduler"]["scheduler"]]) if isinstance(made, dict) else (made, [])
    for scheduler in schedulers:
        advance(scheduler, checkpoint["global_step"])
    checkpoint["optimizer_states"][0]["param_groups"] = optimizer.state_dict()["param_groups"]
    checkpoint["lr_schedulers"] = [scheduler.state_dict() for scheduler in schedulers]


def advance(scheduler, steps):
    """调度器空走 steps 步；看指标的那一种从头看起"""
    if isinstance(scheduler, ReduceLROnPlateau):
        return
    if isinstance(scheduler, LambdaLR):
        # 只看走到第几步，不必一步步走
        scheduler.last_epoch, steps = steps - 1, 1
    with warnings.catch_warnings():
        # torch 提醒优化器还没有走
        warnings.simplefilter("ignore")
        for _ in range(steps):
            scheduler.step()


def keep_best(trainer, checkpoint):
    """续训接着与从前最好的一份比：ModelCheckpoint 换了目录就忘掉它，所以把检查点里记的目录换成现在的；文件已不在的照忘"""
    for callback in trainer.checkpoint_callbacks:
        state = checkpoint.get("callbacks", {}).get(callback.state_key, {})
        if all(os.path.exists(path) for path in state.get("best_k_models", ())):
            state["dirpath"] = getattr(callback, "dirpath", None)
