"""训练怎样停下：停止键（Ctrl-C、Jupyter 的 ■）存好再停，坏梯度在更新之前停"""
import logging
import signal
import threading
from pathlib import Path

import pytorch_lightning as pl
import torch

log = logging.getLogger("ddpm_edu")
FILENAME = "interrupted.ckpt"


class StopSafely(pl.Callback):
    """停止键只是一个请求：走完手上的优化步，存下 interrupted.ckpt，fit 正常返回；从它续训与从未停下逐位相同

    再按一次就照原来的方式立刻打断；训练之外（下载数据、画图）按下也照原来的方式
    stopped_at : 停在第几个优化步之后；没有停过是 None
    """

    def __init__(self):
        self.stopped_at = None
        self._asked = self._agreed = False
        self._previous = None
        self._message = ""

    def setup(self, trainer, pl_module, stage):
        self.stopped_at, self._asked, self._agreed = None, False, False

    # ---- 信号 ----

    def on_sanity_check_start(self, trainer, pl_module):
        self._install()

    def on_train_start(self, trainer, pl_module):
        self._install()

    def on_exception(self, trainer, pl_module, exception):
        self._restore()

    def teardown(self, trainer, pl_module, stage):
        self._restore()

    def _install(self):
        # 不能更早：Trainer 在此之前记下各信号的处理函数，出错时按那份记录恢复
        current = signal.getsignal(signal.SIGINT)
        # 后台任务里 SIGINT 本来就被忽略，那就不接管
        if self._previous is None and callable(current) and threading.current_thread() is threading.main_thread():
            self._previous = current
            signal.signal(signal.SIGINT, self._on_signal)

    def _restore(self):
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _on_signal(self, number, frame):
        if self._asked:
            self._previous(number, frame)
        self._asked = True

    # ---- 在哪里停 ----

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        loop = trainer.fit_loop
        # 累积到一半的梯度不进检查点，只能停在优化步之后
        if loop._should_accumulate() or not self._agree(trainer):
            return
        # 这一步之后该验证的，留到验证开头再停：续训时才会补上整遍验证
        if not loop.epoch_loop._should_check_val_fx(loop._data_fetcher):
            self._save(trainer)
            raise StopIteration

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        # 各进程的验证批数可能不等，中途商量会互相等死；多进程时只认训练步上商量好的
        asked = self._agreed or (self._asked and trainer.world_size == 1)
        if not asked or trainer.fit_loop._should_accumulate():
            return
        if not trainer.sanity_checking:
            # 记成“验证刚开始”，续训时从头验证一遍
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            progress.reset()
            progress.increment_ready()
            progress.increment_started()
            self._save(trainer)
        raise StopIteration

    def on_validation_epoch_end(self, trainer, pl_module):
        if self.stopped_at is not None:
            # 抢在 ModelCheckpoint 之前离开：半遍验证的指标不能拿去评最好的一份
            trainer.fit_loop.epoch_loop.val_loop._on_evaluation_model_train()
            trainer.training = True
            raise StopIteration

    def on_validation_end(self, trainer, pl_module):
        # 续训后的第一轮，Trainer 以为没有指标而不更新 ReduceLROnPlateau；验证既已走完，指标是有的
        if not trainer.sanity_checking:
            trainer.fit_loop._restarting = False

    def on_train_epoch_end(self, trainer, pl_module):
        if self.stopped_at is not None:
            # 这一轮没有走完，把刚加上的一退回去：fit 之后再存的检查点才与 interrupted.ckpt 相同
            progress = trainer.fit_loop.epoch_progress
            progress.total.processed -= 1
            progress.current.processed -= 1
            # 用 StopIteration 离开内外两层循环，不受 min_steps、min_epochs 限制，也不触发收尾的验证
            raise StopIteration

    def on_train_end(self, trainer, pl_module):
        if self.stopped_at is None and self._agree(trainer):
            self._save(trainer)
        # 到这里进度条已经收起，这一行不会和它混在一起
        if self.stopped_at is not None and trainer.is_global_zero:
            log.warning(self._message)

    def _agree(self, trainer):
        """各进程停在同一步：有一个收到请求，就都算收到"""
        # 只读 _asked 而不写：商量的当口到来的请求不会被盖掉
        alone = trainer.world_size == 1
        self._agreed = self._asked if alone else trainer.strategy.reduce_boolean_decision(self._asked, all=False)
        return self._agreed

    def _save(self, trainer):
        self.stopped_at = trainer.global_step
        self._message = f"已在第 {trainer.global_step} 个优化步之后停下，"
        if not trainer.checkpoint_callbacks:
            self._message += "没有存检查点（enable_checkpointing=False）；模型还在内存里"
            return
        folder = getattr(trainer.checkpoint_callback, "dirpath", None) or trainer.log_dir or trainer.default_root_dir
        path = (Path(folder) / FILENAME).as_posix()
        try:
            trainer.save_checkpoint(path)
            self._message += f'存到 {path}；继续：trainer.fit(model, data, ckpt_path="{path}")，命令行用 --ckpt_path'
        except (OSError, RuntimeError) as error:
            # 别的进程在 save_checkpoint 的末尾等着
            trainer.strategy.barrier("StopSafely")
            self._message += f"但 {path} 没有存成（{error}）；模型还在内存里，换个目录用 trainer.save_checkpoint 再存"


class StopOnBadGradient(pl.Callback):
    """梯度里有 NaN 或无穷时，在更新之前停下：权重、优化器状态、EMA 都不受影响

    precision="16-mixed" 时不查：那里 GradScaler 会跳过溢出的步
    异常 : FloatingPointError，写明第几步、哪些参数、怎么办
    """

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.precision == "16-mixed":
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # 平方和有限，Adam 的二阶矩也就有限
        norm = torch.nn.utils.get_total_norm(gradients)
        if not norm.isfinite():
            bad = [name for name, p in pl_module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
            where = f"{len(bad)} 个参数含 NaN 或无穷，如 {bad[:3]}" if bad else "每个数都有限，平方和溢出"
            raise FloatingPointError(
                f"第 {trainer.global_step} 个优化步的梯度范数是 {norm.item()}（{where}），训练已停下，权重、优化器与 EMA 没有被这一步改动；"
                "从上一个检查点续训，调小 learning_rate，或改用 precision=32"
            )
