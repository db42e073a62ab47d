"""DDPM 的存与取：权重字典、从检查点取权重、续训时的核对。文件格式见 checkpoint.py"""
import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
import torch
import yaml
from torch import nn

from ..checks import class_only, fail
from ..ema import LitEma
from ..training.resuming import keep_best, settle_optimizer
from .checkpoint import (
    CheckpointError,
    check_compatible,
    check_ignore_keys,
    check_resumable,
    clean_state_dict,
    load_checkpoint,
    matching_states,
)
from .names import check_names

# 这几个说的是从哪里取权重，由这一次调用决定，不由文件决定
LOADING = ("ckpt_path", "ignore_keys", "load_only_unet")


def saved_hyper_parameters(checkpoint, source, given=(), typed=()):
    """检查点里可以用来重建模型的超参数 {名字: 值}；其中的类名核对过了，见 check_names

    given : 调用者另外给了的那几个，不从文件里取；typed：用户自己写下的配置
    异常  : 没有记超参数、里面有不认得的类名时 ValueError
    """
    saved = checkpoint.get("hyper_parameters", {} if given else None)
    if not isinstance(saved, dict):
        fail("检查点", "含 hyper_parameters（由 Trainer 保存）", str(source),
             "只有权重的文件请用 DDPM(..., ckpt_path=...)，或给出 hparams_file")
    saved = {name: value for name, value in saved.items() if not str(name).startswith("_") and name not in (*LOADING, *given)}
    check_names(saved, source, typed)
    return saved


class Persistence(pl.LightningModule):
    """能安全存取的 LightningModule；网络、EMA 与系数表由子类给出"""

    model: nn.Module
    model_ema: LitEma
    use_ema: bool
    learn_logvar: bool
    batches_seen: int
    monitor: str | None
    exact_table_names: Callable

    _gradients, _metrics = {}, {}  # 检查点里累积到一半的梯度、最近一次验证的指标，训练开始时放回去
    retune = False  # 续训时优化器的设置：假，以检查点里的为准；真，改用这里的，步数与累积的动量照旧

    def state_dict(self, *args, **kwargs):
        """权重字典；在 ema_scope 里取也是原权重，torch.compile 加的 _orig_mod. 不写进去"""
        states = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix") or "".join(args[1:2])
        # 装在别的模块里时，states 里还有它的键，那些不动
        for key in [key for key in states if key.startswith(prefix) and "_orig_mod." in key]:
            states[prefix + key.removeprefix(prefix).replace("_orig_mod.", "")] = states.pop(key)
        if self.use_ema and self.model_ema.depth:
            states.update(self.model_ema.raw_tensors(self.model, prefix + "model."))
        return states

    def _load_from_state_dict(self, state_dict, prefix, *args):
        """键里有没有 _orig_mod. 都认"""
        if depth := self.model_ema.depth if self.use_ema else 0:
            fail("load_state_dict", "在 ema_scope 之外调用", f"{depth} 层 ema_scope 之内的调用", "离开时恢复原来的权重，装进来的就丢了", RuntimeError)
        own = {key.replace("_orig_mod.", ""): key for key in super().state_dict()}
        for key in [key for key in state_dict if key.startswith(prefix)]:
            name = key.removeprefix(prefix).replace("_orig_mod.", "")
            state_dict[prefix + own.get(name, name)] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def init_from_ckpt(self, path, ignore_keys=(), only_model=False, *, strict=True, checkpoint=None):
        """从检查点取权重；对不上的键都是错误，除非写进 ignore_keys

        path        : 路径，或以二进制打开的文件对象
        ignore_keys : 键前缀的列表；only_model 为真时只取 U-Net（model. 开头的键）
        EMA         : 文件里没有（或被忽略）时，从取到的权重重新开始
        strict      : False 时缺的与多的只提醒一句；checkpoint：已经读进来的内容，不再读一遍
        """
        check_ignore_keys(ignore_keys)
        checkpoint = load_checkpoint(path) if checkpoint is None else checkpoint
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
        states = matching_states(self, states, path, ignore_keys, optional, strict)
        try:
            self.load_state_dict(states, strict=False)
        except RuntimeError as error:
            raise CheckpointError(f"{path} 与模型对不上：{error}") from None
        if self.use_ema and not has_ema:
            self.model_ema.reset_to(self.model)

    def on_save_checkpoint(self, checkpoint):
        gradients = self._half_accumulated()
        tensors = {**checkpoint["state_dict"], **gradients}
        # 系数表由构造参数定；终点 ᾱ = 0 的表里本来就有无穷
        bad = [k for k, v in tensors.items() if v.is_floating_point() and k not in self.exact_table_names() and not v.isfinite().all()]
        if bad:
            raise FloatingPointError(
                f"权重或梯度里有 NaN 或无穷（{len(bad)} 个，如 {bad[:3]}），没有写检查点；"
                "从上一个检查点续训，调小 learning_rate（还要设 model.retune = True，命令行加 --retune true）"
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
        fitting = self._trainer is not None and self._trainer.state.fn == "fit"
        if fitting:
            check_resumable(checkpoint, "检查点", "optimizer_states")
        self.batches_seen = checkpoint.get("batches_seen", 0)
        self._gradients, self._metrics = checkpoint.get("gradients", {}), checkpoint.get("metrics", {})
        checkpoint["state_dict"] = matching_states(self, clean_state_dict(checkpoint["state_dict"]), "检查点")
        if self._trainer is not None:
            keep_best(self.trainer, checkpoint)
        if fitting:
            settle_optimizer(self, checkpoint)

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

    @class_only
    def load_from_checkpoint(cls, checkpoint_path, map_location=None, hparams_file=None, strict=True, weights_only=True,
                             **overrides):
        """按检查点里的超参数重建模型并取回全部权重；overrides 覆盖个别超参数

        checkpoint_path : 路径，或以二进制打开的文件对象；map_location：同 torch.load
        hparams_file    : 超参数另取自 YAML 或 CSV，如日志目录里的 hparams.yaml
        strict          : False 时缺的与多的键只提醒一句；ignore_keys、load_only_unet 的意思同构造时
        weights_only    : Lightning 有这个参数；这里写什么都一样，读取总是安全的
        """
        # 设备的名字最后才用；字典与函数只有 torch.load 读得懂
        device = map_location if isinstance(map_location, (str, torch.device)) else None
        checkpoint = load_checkpoint(checkpoint_path, "cpu" if map_location is None or device else map_location)
        holder = checkpoint if hparams_file is None else {"hyper_parameters": read_hparams(hparams_file)}
        known = saved_hyper_parameters(holder, hparams_file or checkpoint_path, given=overrides)
        if not weights_only and weights_only is not None:
            warnings.warn("weights_only=False 没有用：检查点总是按安全方式读取", stacklevel=2)
        ignore_keys, only_model = overrides.pop("ignore_keys", ()), overrides.pop("load_only_unet", False)
        # 先造完再取权重：子类在 super().__init__() 之后添的层，这时才都在
        model = cls(**{**known, **overrides})
        model.init_from_ckpt(checkpoint_path, ignore_keys, only_model, strict=strict is not False, checkpoint=checkpoint)
        return model.to(device or where(checkpoint))


def read_hparams(path):
    """日志目录里的 hparams.yaml 或 .csv → {名字: 值}；不认 Python 对象"""
    path, found = Path(path), None
    if path.suffix.lower() == ".csv":
        from pytorch_lightning.core.saving import load_hparams_from_tags_csv

        # CSV 里的 None 记作空
        return {name: None if value == "" else value for name, value in load_hparams_from_tags_csv(str(path)).items()}
    with contextlib.suppress(yaml.YAMLError):
        found = yaml.load(path.read_text(encoding="utf-8"), PlainLoader)
    if not isinstance(found, dict):
        fail("hparams_file", "普通的 YAML 字典，或 .csv", str(path), "为了安全，不认 Python 对象")
    return found


class PlainLoader(yaml.SafeLoader):
    """Lightning 写的 hparams.yaml 里，元组记作 !!python/tuple"""


PlainLoader.add_constructor("tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node)))


def where(checkpoint):
    """读进来的权重在哪个设备上"""
    states = checkpoint.get("state_dict", checkpoint)
    return next((value.device for value in states.values() if isinstance(value, torch.Tensor)), torch.device("cpu"))
