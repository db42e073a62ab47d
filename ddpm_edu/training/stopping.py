"""训练怎样停下：停止键（Ctrl-C、Jupyter 的 ■）与 SIGTERM 存好再停，坏梯度在更新之前停"""
import logging
import signal
import threading
from pathlib import Path

import pytorch_lightning as pl
import torch

from ..files.leaving import leave

log = logging.getLogger("ddpm_edu")
FILENAME = "interrupted.ckpt"


class StopSafely(pl.Callback):
    """停止键、SIGTERM、SIGUSR1 只是请求：走完手上的优化步（正在验证就验证完），存下 interrupted.ckpt；从它续训与从未停下逐位相同

    停止键之后 fit 正常返回，再按一次立刻打断；别的信号之后 fit 抛 SystemExit(128 + 信号)，例如 143
    训练之外（下载数据、画图）收到信号，照原来的方式；程序自己装了 SIGTERM 的处理函数、SLURM 要用 SIGUSR1 重新排队时，那个信号不接管
    stopped_at : 停在第几个优化步之后；没有停过是 None
    """

    def __init__(self):
        self.stopped_at = None
        self._asked = self._agreed = 0  # 收到的信号；几个进程商量好的信号
        self._wanted, self._interrupt = (), None
        self._message = ""

    def setup(self, trainer, pl_module, stage):
        self.stopped_at, self._asked, self._agreed = None, 0, 0
        # Trainer 随后会在 SIGTERM 外面包一层，那时就看不出程序自己有没有装过
        self._wanted = (signal.SIGTERM,) if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, leave) else ()

    # ---- 信号 ----

    def on_sanity_check_start(self, trainer, pl_module):
        self._listen(trainer)

    def on_train_start(self, trainer, pl_module):
        self._listen(trainer)

    def _listen(self, trainer):
        """不能更早：Trainer 刚刚记下各信号原来的处理函数，无论怎样结束，都由它按那份记录恢复"""
        if trainer.received_sigterm:
            # 还没有走新的一步，没有什么可存
            raise SystemExit(128 + signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread():
            return
        # Windows 没有 SIGUSR1
        wanted = [*self._wanted, *(s for s in (getattr(signal, "SIGUSR1", None),) if s and signal.getsignal(s) == signal.SIG_DFL)]
        # 后台任务里 SIGINT 本来就被忽略，那就不接管
        current = signal.getsignal(signal.SIGINT)
        if callable(current) and current != self._on_signal:
            self._interrupt = current
            wanted.append(signal.SIGINT)
        for number in wanted:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number, frame):
        # SIGTERM 常常接连来两次（timeout、torchrun 各发一次给整个进程组），所以只有人按的停止键可以立刻打断
        if self._asked and number == signal.SIGINT:
            self._interrupt(number, frame)
        self._asked = max(self._asked, number)

    # ---- 在哪里停 ----

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        loop = trainer.fit_loop
        # 累积到一半的梯度不进检查点，只能停在优化步之后；这一步之后该验证的，验证完再停
        if not loop._should_accumulate() and self._agree(trainer) and not loop.epoch_loop._should_check_val_fx(loop._data_fetcher):
            self._save(trainer)
            raise StopIteration

    def on_validation_end(self, trainer, pl_module):
        if trainer.sanity_checking or trainer.fit_loop._should_accumulate() or not self._agree(trainer):
            return
        # ModelCheckpoint 排在后面，先让它按这一遍的指标挑过；同一步它不会再存一次
        for callback in trainer.checkpoint_callbacks:
            callback.on_validation_end(trainer, pl_module)
        self._save(trainer)
        trainer.should_stop = True

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
        if self.stopped_at is None:
            save_last(trainer)
        # 到这里进度条已经收起，这一行不会和它混在一起
        if self.stopped_at is not None and trainer.is_global_zero:
            log.warning(self._message)

    def teardown(self, trainer, pl_module, stage):
        if self.stopped_at is not None and self._agreed != signal.SIGINT:
            # 由 Trainer 起的子进程以 0 结束：有一个不是 0，主进程会以为出了错，把别的都杀掉
            raise SystemExit(0 if trainer.local_rank else 128 + self._agreed)

    def _agree(self, trainer):
        """各进程停在同一步：有一个收到信号，就都算收到"""
        # 只读 _asked 而不写：商量的当口到来的请求不会被盖掉
        self._agreed = self._asked
        if trainer.world_size > 1:
            asked = torch.tensor(int(self._asked), device=trainer.strategy.root_device)
            self._agreed = int(trainer.strategy.reduce(asked, reduce_op="max"))
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


def save_last(trainer):
    """训练走完时的 last.ckpt：ModelCheckpoint 按轮验证时只存到最近一次验证，max_steps 停在半轮，后面几百步就丢了

    一次也没有存过的，它自己随后会存；名字由它定，目录里原来的 last.ckpt 不会盖掉
    """
    for callback in trainer.checkpoint_callbacks:
        if getattr(callback, "save_last", False) and callback.last_model_path:
            trainer.save_checkpoint(callback.last_model_path)


class StopOnBadGradient(pl.Callback):
    """损失或梯度里有 NaN、无穷时，在更新之前停下：权重、优化器状态、EMA 都不受影响

    precision="16-mixed" 时只看损失：梯度溢出的步，GradScaler 会跳过
    异常 : FloatingPointError，写明第几步、哪些参数、怎么办
    """

    loss = 0

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        self.loss = 0

    def on_before_backward(self, trainer, pl_module, loss):
        # 梯度累积时，几批的加在一起：哪一批坏了都留得下来
        self.loss = self.loss + loss.detach()
        if trainer.precision == "16-mixed" and not self.loss.isfinite():
            self._stop(trainer)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.precision == "16-mixed":
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        # 损失溢出时，梯度可能还有限。损失有限，0 乘它就是 0，坏了就是 NaN：合成一个数，每一步只等一次设备
        norm = norm + 0 * self.loss
        if not norm.isfinite():
            named = [(name, p.grad) for name, p in pl_module.named_parameters() if p.grad is not None]
            bad = [name for name, gradient in named if not gradient.isfinite().all()]
            where = f"{len(bad)} 个参数含 NaN 或无穷，如 {bad[:3]}" if bad else "每个数都有限，平方和溢出"
            self._stop(trainer, f"梯度范数是 {norm.item()}（{where}）")

    def _stop(self, trainer, gradient=""):
        what = gradient if self.loss.isfinite() else f"损失是 {self.loss.item()}"
        raise FloatingPointError(
            f"第 {trainer.global_step} 个优化步的{what}，训练已停下，权重、优化器与 EMA 没有被这一步改动；"
            "检查数据里有没有 NaN。从上一个检查点原样续训，会停在同一步：先调小 learning_rate（还要设 model.retune = True，"
            "命令行加 --retune true）、加上 gradient_clip_val=1.0，或改用 precision=32"
        )
