"""test_ddp.py 起的两个进程：一起训练，各自把看到的写成 JSON"""
import json
import os
import signal
import warnings

import pytorch_lightning as pl
import torch

from ddpm_edu.data.base import ImageDataModule, ImageDataset
from ddpm_edu.training.stopping import StopSafely

from .test_training import QUIET, fingerprint, model_for_training


class Marked(ImageDataModule):
    """53 张训练图、13 张验证图，第一个像素就是编号；53 与 13 都不能被 2 个进程、每批 5 张整除"""

    def setup(self, stage):
        for split, n in (("train", 53), ("val", 13)):
            images = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(n)) * 2 - 1
            images[:, 0, 0, 0] = torch.arange(n) / 100
            self.splits[split] = ImageDataset(images, torch.zeros(n, dtype=torch.int64))


class Watch(pl.Callback):
    """记下每个进程的图、步号、噪声与每步之后的 EMA 计数；press_at：第几批之后给自己发 SIGINT；fail_at：第几步抛错"""

    def __init__(self, folder, press_at=None, fail_at=None):
        self.folder, self.press_at, self.fail_at = folder, press_at, fail_at
        self.images, self.draws, self.ticks, self.validated = [], [], [], []

    def on_train_start(self, trainer, module):
        q_sample = module.q_sample

        def spy(x_start, t, noise):
            if module.training:
                self.draws.append([*t.tolist(), noise.sum().item()])
            return q_sample(x_start, t, noise)

        module.q_sample = spy

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.images.append([round(100 * v) for v in batch["image"][:, 0, 0, 0].tolist()])

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.ticks.append([int(module.model_ema.num_updates), trainer.global_step])
        if trainer.global_rank == 1 and len(self.ticks) == self.press_at:
            os.kill(os.getpid(), signal.SIGINT)
        if trainer.global_rank == 1 and trainer.global_step == self.fail_at:
            (self.folder / "failed").touch()
            raise LookupError("故意")

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self.validated.append(len(batch["image"]))


def fit(folder, watch, ckpt_path=None):
    model = model_for_training(learn_logvar=True)
    trainer = pl.Trainer(**QUIET, strategy="ddp", devices=2, max_steps=7, default_root_dir=folder, accumulate_grad_batches=2,
                         gradient_clip_val=0.5, callbacks=[watch])
    trainer.fit(model, Marked(batch_size=5), ckpt_path=ckpt_path)
    (safely,) = [c for c in trainer.callbacks if isinstance(c, StopSafely)]
    return {"hash": fingerprint(model), "stopped_at": safely.stopped_at, "steps": trainer.global_step, "rank": trainer.global_rank,
            "images": watch.images, "draws": watch.draws, "ticks": watch.ticks, "validated": watch.validated}


def main(folder):
    warnings.simplefilter("ignore")
    # 停在第 3 个优化步（第 4、5 批之后才更新），再续完
    results = {"straight": fit(folder / "straight", Watch(folder / "straight")),
               "stopped": fit(folder / "joined", Watch(folder, press_at=3))}
    results["joined"] = fit(folder / "joined", Watch(folder), str(folder / "joined" / "checkpoints" / "interrupted.ckpt"))
    (folder / f"rank-{results['straight']['rank']}.json").write_text(json.dumps(results))
    fit(folder / "failing", Watch(folder / "failing", fail_at=3))
