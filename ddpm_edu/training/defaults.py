"""训练时自动加的回调"""
from pytorch_lightning.callbacks import ModelCheckpoint

from .stopping import StopOnBadGradient, StopSafely


def with_monitor(trainer, monitor):
    """训练时自动加的回调：停止键与坏梯度的保险；Trainer 自带的 ModelCheckpoint 换成按 monitor 选最好的一份

    用户自己给的 StopSafely、ModelCheckpoint 不动；没有验证集、monitor 为 None 时不换
    """
    added = [kind() for kind in (StopSafely, StopOnBadGradient) if not any(isinstance(c, kind) for c in trainer.callbacks)]
    current = trainer.checkpoint_callbacks
    untouched = len(current) == 1 and vars(current[0]).keys() == vars(ModelCheckpoint()).keys() and all(
        getattr(current[0], name) == getattr(ModelCheckpoint(), name)
        for name in ("dirpath", "filename", "monitor", "save_top_k", "save_last", "_every_n_train_steps")
    )
    # 自带的那份不看任何指标；这里另存最后一份
    if monitor is not None and untouched and trainer.enable_validation:
        added.append(ModelCheckpoint(monitor=monitor, save_last=True, filename="best-{step}"))
    return added
