"""自己写的文件：整个配置矩阵写下的每个检查点都能安全读取，也都能续训"""
import itertools
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM
from ddpm_edu.configs.recipes import conditional_digits_config
from ddpm_edu.files.checkpoint import load_checkpoint

from .conftest import tiny_unet
from .test_conditional_training import data_for
from .test_stopping import PLATEAU
from .test_training import COSINE, fingerprint, fit

NUMPY_COSINE = {**COSINE, "params": {name: np.array(value)[()] for name, value in COSINE["params"].items()}}
SCHEDULERS = {"none": None, "lambda": NUMPY_COSINE, "plateau": PLATEAU}
MATRIX = list(itertools.product((False, True), (False, True), SCHEDULERS, ((), ("label",), ("masked", "prompt")), ("32-true", "bf16-mixed")))
PLAIN = (dict, list, tuple, str, bytes, bool, int, float, complex, type(None), torch.Tensor)


def leaves(value):
    """一层层拆开，给出每一样东西的类型"""
    yield type(value)
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)


def train(path, parameterization, learn_logvar, use_ema, scheduler, names, precision):
    """走两步；能给 NumPy 标量的地方都给 NumPy 标量"""
    config = conditional_digits_config(names, max_steps=2, width=8) if names else {
        "unet_config": tiny_unet(), "image_size": np.int64(8), "channels": 1}
    model = DDPM(**{**config, "timesteps": np.int64(20), "parameterization": parameterization, "learn_logvar": learn_logvar,
                    "use_ema": use_ema, "scheduler_config": SCHEDULERS[scheduler], "learning_rate": np.float64(1e-3),
                    "adam_betas": (np.float32(0.5), 0.9), "given_betas": np.linspace(0.01, 0.4, 20), "monitor": "val/loss"})
    saver = pl.callbacks.ModelCheckpoint(path, "best", monitor="val/loss", save_last=True)
    return fit(model, 2, path, data=data_for(names), precision=precision, enable_checkpointing=True, callbacks=[saver],
               limit_val_batches=1, val_check_interval=2)


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_every_file_of_the_configuration_matrix_is_safe_and_plain(parameterization, tmp_path, amount, tally):
    # 平时三种参数化各试一格：三格合起来，每一样设置的每种取值都在
    chosen = amount([MATRIX[{"eps": 9, "x0": 18, "v": 71}[parameterization]]], MATRIX)
    good = 0
    for i, cell in enumerate(chosen):
        trainer = train(tmp_path / str(i), parameterization, *cell)
        files = sorted((tmp_path / str(i)).glob("*.ckpt"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            contents = [load_checkpoint(path) for path in files]
        odd = {kind for content in contents for kind in leaves(content)} - {*PLAIN}
        again = DDPM.load_from_checkpoint(files[-1])
        good += [path.name for path in files] == ["best.ckpt", "last.ckpt"] and not odd and fingerprint(again) == fingerprint(trainer.model)
        assert not odd, f"{cell} 的文件里有 {odd}"
    tally(good, len(chosen))
