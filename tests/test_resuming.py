"""续训：优化器的设置、最好的一份、数据流，与检查点里的不同时不会一声不响"""
import logging
import os
import warnings

import pytest
import pytorch_lightning as pl

from ddpm_edu import DigitsDataModule
from ddpm_edu.cli.config import newest_checkpoint
from ddpm_edu.files.checkpoint import CheckpointError, load_checkpoint

from .test_training import COSINE, QUIET, FewDigits, fit, model_for_training

LONGER = {**COSINE, "params": {**COSINE["params"], "max_decay_steps": 40}}


@pytest.fixture
def saved(tmp_path):
    """走了 3 步的检查点"""
    fit(model_for_training(), 3, tmp_path, limit_val_batches=0).save_checkpoint(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def resume(saved, retune=False, data=None, **kwargs):
    model = model_for_training(**kwargs)
    model.retune = retune
    trainer = fit(model, 4, saved.parent, ckpt=str(saved), data=data, limit_val_batches=0)
    trainer.save_checkpoint(saved.parent / "b.ckpt")
    return trainer.optimizers[0].param_groups[0], load_checkpoint(saved.parent / "b.ckpt")["hyper_parameters"], model


def test_other_settings_on_resume_are_named_and_what_is_used_is_recorded(saved, caplog):
    group, recorded, model = resume(saved, learning_rate=0.5, weight_decay=0.3, adam_betas=[0.5, 0.6], scheduler_config=LONGER)
    (said,) = [r.getMessage() for r in caplog.records if "以检查点里的为准" in r.getMessage()]
    assert "learning_rate 0.5 → 0.001" in said and "retune" in said and "max_decay_steps" in said
    assert (group["initial_lr"], group["weight_decay"], tuple(group["betas"])) == (1e-3, 0.01, (0.9, 0.999))
    assert (recorded["learning_rate"], recorded["weight_decay"], recorded["scheduler_config"]) == (1e-3, 0.01, COSINE)
    caplog.clear()
    resume(saved, adam_betas=[0.9, 0.999])
    assert "以检查点里的为准" not in caplog.text


def test_retune_takes_the_new_settings_and_keeps_the_step(saved, caplog):
    group, recorded, model = resume(saved, True, learning_rate=0.5, weight_decay=0.3, scheduler_config=LONGER)
    schedule = model.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert group["lr"] == 0.5 * schedule(4) and group["weight_decay"] == 0.3
    assert recorded["learning_rate"] == 0.5 and recorded["scheduler_config"] == LONGER and "learning_rate 0.001 → 0.5" in caplog.text
    # 动量照旧：Adam 数到第 4 步
    assert {int(state["step"]) for state in model.trainer.optimizers[0].state.values()} == {4}


def test_a_scheduler_of_another_class_is_never_taken_from_the_file(saved):
    with pytest.raises(CheckpointError, match="retune"):
        resume(saved, scheduler_config=None)


def test_a_resumed_run_compares_with_the_best_of_the_first(tmp_path):
    def go(steps, ckpt=None):
        model = model_for_training()
        return fit(model, steps, tmp_path, ckpt=ckpt, enable_checkpointing=True, val_check_interval=2, limit_val_batches=1,
                   logger=pl.loggers.CSVLogger(tmp_path, "run")).checkpoint_callback

    first = go(4)
    again = go(4, first.last_model_path)
    assert again.dirpath != first.dirpath and again.best_model_score == first.best_model_score is not None
    assert again.best_k_models == first.best_k_models


def test_another_batch_size_continues_at_the_same_image_and_says_so(saved, caplog):
    # 走了 3 批 32 张：这一轮的第 96 张起，正是 16 张一批的第 6 批
    data = FewDigits(16)
    data.load_state_dict(load_checkpoint(saved)["FewDigits"])
    whole = FewDigits(16)
    batches = iter(whole.train_dataloader())
    want = [next(batches) for _ in range(7)][6]
    assert next(iter(data.train_dataloader()))["image"].equal(want["image"])
    assert "batch_size 32 → 16" in caplog.text and "第 96 张" in caplog.text


def test_other_pictures_are_noticed_on_resuming(caplog):
    class OtherDigits(DigitsDataModule):
        """别的图，张数相同"""

    first = DigitsDataModule(batch_size=64)
    next(iter(first.train_dataloader()))
    for kind, noticed in ((DigitsDataModule, False), (OtherDigits, True)):
        caplog.clear()
        second = kind(batch_size=64)
        second.load_state_dict(first.state_dict())
        next(iter(second.train_dataloader()))
        assert ("图换过了" in caplog.text) == noticed


def test_last_is_the_newest_file_of_the_runs_of_this_configuration(tmp_path, caplog):
    trainer = {"logger": [{"init_args": {"save_dir": str(tmp_path), "name": "digits"}}], "callbacks": None}
    with pytest.raises(ValueError, match="第一次训练不要写"):
        newest_checkpoint(trainer, "last")
    for version, name in enumerate(("interrupted", "last", "best-step=1")):
        folder = tmp_path / "digits" / f"version_{version}" / "checkpoints"
        folder.mkdir(parents=True)
        (folder / f"{name}.ckpt").touch()
        os.utime(folder / f"{name}.ckpt", (0, 9 - version))
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(trainer, "last").endswith("version_0/checkpoints/interrupted.ckpt")
    assert "interrupted.ckpt" in caplog.text and newest_checkpoint(trainer, "best").endswith("best-step=1.ckpt")


def test_our_data_resume_in_the_middle_of_an_epoch_and_nothing_says_they_do_not(saved):
    trainer = pl.Trainer(**{**QUIET, "max_steps": 4, "default_root_dir": saved.parent, "enable_checkpointing": False, "limit_val_batches": 0})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.fit(model_for_training(), FewDigits(), ckpt_path=str(saved))
    assert not [str(w.message) for w in said if "dataloader is not resumable" in str(w.message)]
