"""训练时的回调：定期把样本画成 PNG"""
import logging
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from ..checks import check_int
from ..images import make_grid, save_grid, to_pil

log = logging.getLogger("ddpm_edu")


class SampleGrid(pl.Callback):
    """每隔若干优化步，用 EMA 权重生成一格样本存成 PNG，有 TensorBoard 时也记一份；不影响训练的随机数

    every_n_steps : ≥ 1，单位：优化步；它的 1/2、1/4、1/8、1/16 处也各存一张，免得开头久等；训练结束时另存一张
    num_samples   : 每张几个样本；steps：采样步数，超过 T 时走 T 步
    dirpath       : 存到哪里，默认是 Trainer 的日志目录下的 samples/
    画不成、存不下时只提醒一行，训练照常；来龙去脉在 DEBUG 级的日志里
    """

    def __init__(self, every_n_steps=200, num_samples=64, steps=50, dirpath=None, scale=4):
        self.every_n_steps = check_int("every_n_steps", every_n_steps, 1)
        self.num_samples = check_int("num_samples", num_samples, 1)
        self.steps = check_int("steps", steps, 1)
        self.scale = check_int("scale", scale, 1)
        self.dirpath = dirpath
        self._last_step = 0

    def setup(self, trainer, pl_module, stage):
        folder = self.dirpath or Path(trainer.log_dir or trainer.default_root_dir) / "samples"
        self._folder = Path(trainer.strategy.broadcast(str(folder)))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        # 梯度累积时同一个 global_step 会来好几次，只画一次
        if self.is_due(trainer.global_step) and trainer.global_step != self._last_step:
            self._draw(trainer, pl_module, batch)

    def is_due(self, step):
        early = {self.every_n_steps // 2**k for k in range(1, 5)}
        return step > 0 and (step % self.every_n_steps == 0 or step in early)

    def on_train_end(self, trainer, pl_module):
        if trainer.global_step != self._last_step and pl_module.conditioning_key is None:
            self._draw(trainer, pl_module, None)

    def _draw(self, trainer, pl_module, batch):
        self._last_step = trainer.global_step
        if not trainer.is_global_zero:
            return
        try:
            self._save(trainer, pl_module, batch, f"step-{trainer.global_step:06d}")
        except Exception as error:
            log.warning("第 %d 步的样本图没有存成，训练照常：%s: %s", trainer.global_step, type(error).__name__, " ".join(str(error).split()))
            log.debug("样本图没有存成的来龙去脉", exc_info=True)

    def _save(self, trainer, pl_module, batch, name):
        steps = min(self.steps, pl_module.num_timesteps)
        if batch is None or pl_module.conditioning_key is None:
            images = fixed_noise_samples(pl_module, self.num_samples, steps)
        else:
            logged = pl_module.log_images(batch, N=self.num_samples, steps=steps, progress=False)
            images = logged["samples"]
            to_pil(logged["denoise_row"]).save(self._folder_ready() / f"{name}-denoise.png")
        save_grid(images, self._folder_ready() / f"{name}.png", scale=self.scale)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", (make_grid(images) + 1) / 2, trainer.global_step)

    def _folder_ready(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder


def fixed_noise_samples(model, num_samples, steps, seed=0):
    """用 EMA 权重、固定的起始噪声采样：前后几张图可以直接比"""
    generator = torch.Generator().manual_seed(seed)
    with model.ema_scope():
        return model.sample(num_samples, steps=steps, generator=generator, progress=False)
