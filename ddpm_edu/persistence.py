"""DDPM 的存与取：权重字典、从检查点取权重、续训时的核对。文件格式见 checkpoint.py"""
import warnings

from .checkpoint import (
    CheckpointError,
    check_compatible,
    check_ignore_keys,
    clean_state_dict,
    load_checkpoint,
    matching_states,
)
from .checks import fail
from .optim import keep_best, settle_optimizer

# trainer.fit(ckpt_path="last") 找不到检查点时，Trainer 只提醒一句就从头训练；在这里那句提醒是错误
warnings.filterwarnings("error", message=r'.*ckpt_path="last"\) is set, but there is no last checkpoint')


class Persistence:
    """DDPM 的存取方法；需要 model、model_ema、hparams 与 GaussianDiffusion 的系数表"""

    _gradients, _metrics = {}, {}  # 检查点里累积到一半的梯度、最近一次验证的指标，训练开始时放回去
    retune = False  # 续训时优化器的设置：假，以检查点里的为准；真，改用这里的，步数与动量照旧

    def state_dict(self, *args, **kwargs):
        """权重字典；在 ema_scope 里取也是原权重，torch.compile 加的 _orig_mod. 不写进去"""
        states = super().state_dict(*args, **kwargs)
        for key in [key for key in states if "_orig_mod." in key]:
            states[key.replace("_orig_mod.", "")] = states.pop(key)
        if self.use_ema and self.model_ema.depth:
            states.update(self.model_ema.raw_tensors(self.model, kwargs.get("prefix", "") + "model."))
        return states

    def load_state_dict(self, state_dict, *args, **kwargs):
        """键里有没有 _orig_mod. 都认"""
        own = {key.replace("_orig_mod.", ""): key for key in super().state_dict()}
        renamed = {own.get(key.replace("_orig_mod.", ""), key): value for key, value in state_dict.items()}
        return super().load_state_dict(renamed, *args, **kwargs)

    def init_from_ckpt(self, path, ignore_keys=(), only_model=False):
        """从检查点取权重；对不上的键都是错误，除非写进 ignore_keys

        ignore_keys : 键前缀的列表；only_model 为真时只取 U-Net（model. 开头的键）
        EMA         : 文件里没有（或被忽略）时，从取到的权重重新开始
        """
        check_ignore_keys(ignore_keys)
        checkpoint = load_checkpoint(path)
        states = clean_state_dict(checkpoint.get("state_dict", checkpoint))
        check_compatible(self, checkpoint, path, only_model)
        if only_model:
            states = {key: value for key, value in states.items() if key.startswith("model.")}
        has_ema = any(key.startswith("model_ema.") and not key.startswith(tuple(ignore_keys))
                      for key in states)
        # 可以缺的：能从构造参数算出的表，以及可以重新开始的 EMA；EMA 要么整个没有，要么齐全
        optional = [*self.exact_table_names(), *([] if has_ema else ["model_ema."])]
        if only_model or not self.learn_logvar:
            optional.append("logvar")
        states = matching_states(self, states, path, ignore_keys, optional)
        try:
            self.load_state_dict(states, strict=False)
        except RuntimeError as error:
            raise CheckpointError(f"{path} 与模型对不上：{error}") from None
        if self.use_ema and not has_ema:
            self.model_ema.reset_to(self.model)

    def on_save_checkpoint(self, checkpoint):
        gradients = self._half_accumulated()
        tensors = {**checkpoint["state_dict"], **gradients}
        bad = [k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
        if bad:
            raise FloatingPointError(
                f"权重或梯度里有 NaN 或无穷（{len(bad)} 个，如 {bad[:3]}），没有写检查点；从上一个检查点续训，调小 learning_rate"
            )
        checkpoint["batches_seen"], checkpoint["gradients"] = self.batches_seen, gradients
        checkpoint["metrics"] = {name: value for name, value in self.trainer.callback_metrics.items() if name == self.monitor}

    def _half_accumulated(self):
        """验证可以落在梯度累积到一半的时候；少存这一半，续训就走样。precision="16-mixed" 时不存：那里的梯度放大过"""
        trainer = self._trainer
        if trainer is None or trainer.precision == "16-mixed" or not trainer.fit_loop._should_accumulate():
            return {}
        return {f"{name}.grad": p.grad for name, p in self.named_parameters() if p.grad is not None}

    def on_load_checkpoint(self, checkpoint):
        check_compatible(self, checkpoint, "检查点")
        self.batches_seen = checkpoint.get("batches_seen", 0)
        self._gradients, self._metrics = checkpoint.get("gradients", {}), checkpoint.get("metrics", {})
        checkpoint["state_dict"] = matching_states(self, clean_state_dict(checkpoint["state_dict"]), "检查点")

        if self.trainer.state.fn == "fit":
            settle_optimizer(self, checkpoint)
            keep_best(self.trainer, checkpoint)

    def on_train_start(self):
        # 不能更早：Trainer 在此之前把梯度与指标清零
        for name, p in self.named_parameters():
            if f"{name}.grad" in self._gradients:
                p.grad = self._gradients[f"{name}.grad"].to(p)
        self.trainer.callback_metrics.update(self._metrics)
        self._gradients, self._metrics = {}, {}

    def on_train_epoch_end(self):
        # 接着走完存盘时的那一轮，Trainer 以为没有指标而不更新 ReduceLROnPlateau；指标已经取回
        loop = self.trainer.fit_loop
        if loop.restarted_mid_epoch and self.monitor in self.trainer.callback_metrics:
            loop._restarting = False

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path, map_location=None, hparams_file=None, strict=True, weights_only=True,
                             **overrides):
        """按检查点里的超参数重建模型并取回全部权重；overrides 覆盖个别超参数

        hparams_file, strict, weights_only : Lightning 有这几个参数；这里只接受默认值，读取总是安全、逐键核对的
        """
        if (hparams_file, strict, weights_only) != (None, True, True):
            fail("hparams_file、strict、weights_only", "默认值 (None, True, True)", (hparams_file, strict, weights_only),
                 "要略过部分键，请用 DDPM(..., ckpt_path=..., ignore_keys=...)")
        checkpoint = load_checkpoint(checkpoint_path)
        if not isinstance(checkpoint.get("hyper_parameters"), dict):
            fail("检查点", "含 hyper_parameters（由 Trainer 保存）", str(checkpoint_path),
                 "只有权重的文件请用 DDPM(..., ckpt_path=...)")
        known = {k: v for k, v in checkpoint["hyper_parameters"].items() if not k.startswith("_")}
        model = cls(**{**known, **overrides}, ckpt_path=str(checkpoint_path))
        return model if map_location is None else model.to(map_location)
