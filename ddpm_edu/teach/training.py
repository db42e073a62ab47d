"""课堂用的 Trainer"""
import logging
import warnings


def quiet_trainer(**kwargs):
    """安静的 pl.Trainer：CPU，不写日志，不存文件，没有进度条；kwargs 覆盖这些默认值"""
    import pytorch_lightning as pl

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    defaults = {"max_epochs": -1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
                "enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 0}
    return pl.Trainer(**{**defaults, **kwargs})
