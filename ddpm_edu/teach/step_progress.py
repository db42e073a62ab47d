"""课堂用的训练进度条，与途中的样本"""
import pytorch_lightning as pl

from ..checks import check_bool
from ..progress import progress_bar


class StepProgress(pl.callbacks.ProgressBar):
    """一根按总优化步数走的进度条，显示损失与剩余时间；代替 Trainer 每轮一根的那种

    需要 Trainer(max_steps=...)；续训时从已走的步数接着数
    brief : 两秒以内的训练不显示，走完就收起
    """

    is_enabled = True

    def __init__(self, brief=False):
        super().__init__()
        self.brief = check_bool("brief", brief)

    def on_train_start(self, trainer, pl_module):
        wanted = (None if self.brief else True) if self.is_enabled else False
        self._bar = progress_bar(range(trainer.max_steps), wanted, "训练", unit="步", initial=trainer.global_step, leave=not self.brief,
                                 mininterval=0.5, miniters=1)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        # update 真的刷新了才读损失，免得每一步都等显卡
        if self._bar.update(trainer.global_step - self._bar.n):
            self._bar.set_postfix(loss=f"{outputs['loss'].item():.3f}")

    def on_train_end(self, trainer, pl_module):
        self._bar.update(trainer.global_step - self._bar.n)
        self._bar.close()

    def on_exception(self, trainer, pl_module, exception):
        if hasattr(self, "_bar"):
            self._bar.close()

    def enable(self):
        self.is_enabled = True

    def disable(self):
        self.is_enabled = False


class Watch(pl.Callback):
    """训练走到 steps 里的各步时，把 draw(模型) 的结果依次记进 frames"""

    def __init__(self, steps, draw):
        self.steps, self.draw, self.frames = steps, draw, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step in self.steps:
            self.frames.append(self.draw(pl_module))
