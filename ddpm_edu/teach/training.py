"""课堂用的 Trainer 与最短的训练循环，与读曲线"""
import csv
import logging
import warnings
from pathlib import Path


def quiet_trainer(*, bar=None, callbacks=(), **kwargs):
    """安静的 pl.Trainer：CPU，不写日志，不存文件，训练超过两秒才有进度条；kwargs 覆盖这些默认值

    bar : 换一根进度条，如一开始就显示的 StepProgress()
    """
    import pytorch_lightning as pl

    from .step_progress import StepProgress

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    defaults = {"max_epochs": -1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
                "enable_model_summary": False, "limit_val_batches": 0}
    return pl.Trainer(callbacks=[*callbacks, bar or StepProgress(brief=True)], **{**defaults, **kwargs})


def descend(network, loss_of, steps=1000, lr=4e-3):
    """最短的训练循环：Adam，学习率照余弦降到 0；loss_of() 抽一批、给出损失。返回 eval 模式的网络"""
    import torch

    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return network.eval()


def read_curves(log_dir):
    """CSVLogger 写的 metrics.csv → {名字: (步, 值)}，空格跳过；步从 1 数起"""
    with open(Path(log_dir) / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    curves = {}
    for name in rows[0].keys() - {"step", "epoch"}:
        points = [(int(row["step"]) + 1, float(row[name])) for row in rows if row[name]]
        curves[name] = tuple(zip(*points))
    return curves
