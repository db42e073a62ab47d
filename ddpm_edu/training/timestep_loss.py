"""回调：把验证损失按 t 分成四段来记，看出模型在哪一段还差"""
import pytorch_lightning as pl
import torch

from ..checks import check_int
from ..randomness import isolated_rng


def quarters(num_timesteps):
    """0..T-1 的四等份：[(起, 止), ...]，含起不含止；T 不到 4 时有的是空的"""
    bounds = [num_timesteps * k // 4 for k in range(5)]
    return list(zip(bounds, bounds[1:]))


def spread(start, stop, count, device=None):
    """count 个步号，均匀铺在 start..stop-1 上：(count,) int64"""
    return start + (2 * torch.arange(count, device=device) + 1) * (stop - start) // (2 * count)


class TimestepLoss(pl.Callback):
    """每次验证结束时，记下四段 t 上的损失 val/loss_q1 … val/loss_q4（EMA 权重的另加 _ema）

    num_samples : 1..64，取见到的第一个验证批次的前几个样本；以后一直用这几张
    损失就是 loss_simple，不乘任何权重；t 与噪声固定，各次、各段、两套权重之间才可比
    T < 4 时空的那几段不记
    """

    def __init__(self, num_samples=64):
        self.num_samples = check_int("num_samples", num_samples, 1, 64)
        self._held = None

    def setup(self, trainer, pl_module, stage):
        # 同一个回调换了模型或数据，要重新取样本
        self._held = None

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if self._held is None:
            x = pl_module.get_input(batch, pl_module.first_stage_key)[:self.num_samples].clone()
            cond = pl_module.get_condition(batch)
            self._held = x, cond and {name: value[:self.num_samples].clone() for name, value in cond.items()}

    def on_validation_epoch_end(self, trainer, pl_module):
        # 从验证中途存下的检查点续训，剩下的批可以一个也没有
        if self._held is None:
            return
        x, cond = self._held
        losses = quarter_losses(pl_module, x, cond)
        if pl_module.use_ema:
            with pl_module.ema_scope():
                losses |= {f"{name}_ema": value for name, value in quarter_losses(pl_module, x, cond).items()}
        pl_module.log_dict(losses, batch_size=len(x), sync_dist=True)


def quarter_losses(model, x_start, cond=None):
    """{"val/loss_q1": 标量张量, ...}；每次调用同一份噪声，model 须是 eval 模式"""
    losses = {}
    with isolated_rng("timestep_loss", device=x_start.device):
        noise = torch.randn(x_start.shape, dtype=x_start.dtype).to(x_start.device)
        for number, (start, stop) in enumerate(quarters(model.num_timesteps), 1):
            if start < stop:
                t = spread(start, stop, len(x_start), x_start.device)
                _, terms = model.p_losses(x_start, t, noise, cond=cond)
                losses[f"val/loss_q{number}"] = terms["val/loss_simple"]
    return losses
