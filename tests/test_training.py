"""真的用 Trainer 训练：EMA 的节拍、续训逐位相同、看一眼不改变训练、NaN 即停"""
import functools
import hashlib
import itertools
import logging
import warnings

import pytest
import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, DigitsDataModule, load_pretrained
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.files.checkpoint import CheckpointError, load_checkpoint
from ddpm_edu.randomness import derive_seed, isolated_rng
from ddpm_edu.teach.step_progress import StepProgress, Watch
from ddpm_edu.training.callbacks import SampleGrid

from .conftest import one_level_unet, randomize, tiny_ddpm, tiny_unet

QUIET = dict(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=-1,
             num_sanity_val_steps=0)
COSINE = {"target": "ddpm_edu.LambdaWarmUpCosineScheduler",
          "params": {"warm_up_steps": 2, "lr_min": 0.1, "lr_max": 1.0, "lr_start": 0.1, "max_decay_steps": 20}}


all_digits = functools.cache(load_digits_split)


class FewDigits(DigitsDataModule):
    """只取开头几张的数字，各测试共用读好的一份；一轮 5 批，最后剩下 5 张不足一批"""

    def __init__(self, batch_size=32, **kwargs):
        super().__init__(batch_size, **kwargs)

    def setup(self, stage=None):
        few = {name: (x[:165 if name == "train" else 48].clone(), y) for name, (x, y) in all_digits().items()}
        self.splits = {name: self.make_dataset(x, y[:len(x)]) for name, (x, y) in few.items()}


def model_for_training(**kwargs):
    """只有一级、没有注意力的网络：这里看的是 Trainer，不是网络"""
    return tiny_ddpm(one_level_unet(dropout=0.2), **{"learning_rate": 1e-3, "scheduler_config": COSINE, "ema_decay": 0.9, **kwargs})


def fit(model, steps, path, ckpt=None, data=None, **kwargs):
    # 一轮 5 批，第 6 步起跨到下一轮
    data = data or FewDigits()
    trainer = pl.Trainer(**{**QUIET, "max_steps": steps, "default_root_dir": path, "enable_checkpointing": False, **kwargs})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(model, data, ckpt_path=ckpt)
    return trainer


def fingerprint(model):
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """一口气训练 13 步的结果"""
    model = model_for_training()
    trainer = fit(model, 13, tmp_path_factory.mktemp("straight"))
    return fingerprint(model), trainer.optimizers[0].state_dict(), model


def resumed(path, stops):
    """走到每个 stop 都停下存盘、换一个新模型接着走，最后到 13 步；停下之后随机数的状态也弄乱"""
    ckpt = None
    for stop in (*stops, 13):
        model = model_for_training()
        trainer = fit(model, stop, path, ckpt=ckpt)
        ckpt = str(path / f"{stop}.ckpt")
        trainer.save_checkpoint(ckpt)
        torch.manual_seed(1234)
    return trainer, model


def test_resuming_at_any_step_gives_the_same_bits(straight, tmp_path, amount):
    # 轮首、轮中、轮末：平时在一次训练里接连停，--full 再各停一次
    stops = (1, 3, 5, 7, 10, 12)
    for chosen in amount([stops], [stops, *((stop,) for stop in stops)]):
        trainer, model = resumed(tmp_path, chosen)
        assert fingerprint(model) == straight[0], chosen
        assert int(model.model_ema.num_updates) == 13
        for a, b in zip(trainer.optimizers[0].state_dict()["state"].values(), straight[1]["state"].values()):
            assert all(torch.equal(a[k], b[k]) for k in a), chosen
        assert trainer.optimizers[0].param_groups[0]["lr"] == straight[1]["param_groups"][0]["lr"]


def test_resuming_from_a_checkpoint_written_during_the_epoch(straight, tmp_path):
    saver = pl.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4, save_top_k=-1)
    fit(model_for_training(), 9, tmp_path, enable_checkpointing=True, callbacks=[saver])
    model = model_for_training()
    fit(model, 13, tmp_path, ckpt=str(tmp_path / "step=8.ckpt"))
    assert fingerprint(model) == straight[0]


def test_worker_processes_change_neither_the_batches_nor_resuming(straight, tmp_path):
    def go(model, steps, ckpt=None):
        return fit(model, steps, tmp_path, ckpt, FewDigits(num_workers=2), limit_val_batches=0)

    go(model_for_training(), 7).save_checkpoint(tmp_path / "stop.ckpt")
    model = model_for_training()
    go(model, 13, str(tmp_path / "stop.ckpt"))
    assert fingerprint(model) == straight[0]


def test_sample_grids_come_early_and_reach_tensorboard(tmp_path):
    grid = SampleGrid(every_n_steps=16, num_samples=4, steps=2, dirpath=tmp_path / "grids")
    assert [step for step in range(40) if grid.is_due(step)] == [1, 2, 4, 8, 16, 32]
    logger = pl.loggers.TensorBoardLogger(tmp_path / "board")
    fit(model_for_training(), 2, tmp_path, callbacks=[grid], logger=logger, limit_val_batches=0)
    logger.finalize("success")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert [event.step for event in events.Images("samples")] == [1, 2]


def looks(tmp_path):
    """看的方式：几批验证一次 × 训练前先验证几批 × 画图与日志"""
    grid = dict(every_n_steps=4, num_samples=4, steps=3)
    for val, sanity, log in itertools.product((0, 2, 5), (0, 2), ("none", "csv", "board")):
        folder = tmp_path / f"{val}-{sanity}-{log}"
        logger = {"csv": pl.loggers.CSVLogger, "board": pl.loggers.TensorBoardLogger}.get(log)
        yield dict(path=folder, num_sanity_val_steps=sanity, log_every_n_steps=1, logger=logger(folder) if logger else False,
                   callbacks=[] if log == "none" else [SampleGrid(**grid, dirpath=folder / "grids")],
                   **(dict(val_check_interval=val) if val else dict(limit_val_batches=0)))


def test_looking_does_not_change_training(straight, tmp_path, amount, tally):
    ways = list(looks(tmp_path))
    chosen = amount([ways[7], ways[-1]], ways)
    same = 0
    for way in chosen:
        model = model_for_training()
        fit(model, 13, **way)
        same += fingerprint(model) == straight[0]
        drawn = sorted(p.name for p in (way["path"] / "grids").glob("*"))
        assert not way["callbacks"] or drawn == [f"step-{n:06d}.png" for n in (1, 2, 4, 8, 12, 13)]
    tally(same, len(chosen))


def test_training_really_learns(straight):
    fresh, batch = model_for_training().eval(), next(iter(DigitsDataModule(batch_size=256).val_dataloader()))
    # 同一份 t 与噪声；末层初值为 0，没学就一点也不变
    losses = []
    for model in (fresh, straight[2].eval()):
        torch.manual_seed(0)
        losses.append(model.shared_step(batch)[0].item())
    assert losses[1] < 0.97 * losses[0]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_ema_ticks_once_per_optimizer_step(accumulate, tmp_path):
    model = model_for_training()
    counts = []

    class Count(pl.Callback):
        def on_train_batch_end(self, trainer, module, *args):
            counts.append((int(module.model_ema.num_updates), trainer.global_step))

    fit(model, 4, tmp_path, accumulate_grad_batches=accumulate, callbacks=[Count()])
    assert int(model.model_ema.num_updates) == 4
    assert all(ticks == step for ticks, step in counts)


def test_accumulation_and_clipping_equal_a_loop_written_by_hand(tmp_path):
    options = dict(learning_rate=1e-2, scheduler_config=None, ema_decay=0.7, weight_decay=0.1)
    model, by_hand = model_for_training(**options), model_for_training(**options)
    fit(model, 5, tmp_path, accumulate_grad_batches=4, gradient_clip_val=0.05, data=FewDigits(8))

    parameters = dict(by_hand.model.named_parameters())
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p), p.detach().clone()) for name, p in parameters.items()}
    batches = iter(FewDigits(8).train_dataloader())
    for step in range(1, 6):
        for micro in range(4):
            with isolated_rng(0, "train", 4 * (step - 1) + micro, 0):
                loss, _ = by_hand.shared_step(next(batches))
            (loss / 4).backward()
        norm = torch.stack([p.grad.square().sum() for p in parameters.values()]).sum().sqrt()
        assert norm > 0.05
        with torch.no_grad():
            for name, p in parameters.items():
                first, second, shadow = moments[name]
                grad = p.grad * 0.05 / norm
                first.mul_(0.9).add_(0.1 * grad)
                second.mul_(0.999).add_(0.001 * grad**2)
                p.mul_(1 - 1e-2 * (0.1 if p.ndim > 1 else 0))
                p.sub_(1e-2 * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8))
                shadow.add_((1 - min(0.7, (1 + step) / (10 + step))) * (p - shadow))
                p.grad = None
    assert int(model.model_ema.num_updates) == 5 and model.batches_seen == 20
    for name, p in parameters.items():
        # Adam 的更新与梯度的大小无关，梯度近于 0 处会放大舍入误差，所以容差取一步的百分之一
        torch.testing.assert_close(dict(model.model.named_parameters())[name], p, rtol=0, atol=1e-4)
        torch.testing.assert_close(model.model_ema.shadow[name.replace(".", "/")].data, moments[name][2], rtol=0, atol=1e-4)


def test_raw_and_ema_losses_use_the_same_t_and_noise(tmp_path):
    model = model_for_training(ema_decay=0.9)
    trainer = pl.Trainer(**QUIET, enable_checkpointing=False)
    # 影子就是原权重，所以两个损失必须逐位相等
    first = trainer.validate(model, FewDigits(), verbose=False)[0]
    assert set(first) == {f"val/{n}{s}" for n in ("loss_simple", "loss_vlb", "loss") for s in ("", "_ema")}
    assert all(first[f"val/{n}"] == first[f"val/{n}_ema"] for n in ("loss_simple", "loss_vlb", "loss"))
    assert trainer.validate(model, FewDigits(), verbose=False)[0] == first
    assert "test/loss_ema" in trainer.test(model, FewDigits(), verbose=False)[0]


class NanDigits(FewDigits):
    def setup(self, stage=None):
        super().setup(stage)
        self.splits["train"].images[:] = float("nan")


@pytest.mark.parametrize("where", ["batch", "weight"])
def test_nan_stops_before_the_update(where, tmp_path):
    model = model_for_training()
    if where == "weight":
        with torch.no_grad():
            next(model.model.parameters()).fill_(float("nan"))
    data = NanDigits() if where == "batch" else FewDigits()
    before = fingerprint(model)
    with pytest.raises((FloatingPointError, ValueError), match="nan"):
        fit(model, 3, tmp_path, data=data)
    assert fingerprint(model) == before


def test_optimizer_does_not_decay_biases_norms_or_logvar():
    model = model_for_training(learn_logvar=True, scheduler_config=None, weight_decay=0.1)
    decayed, kept = model.configure_optimizers().param_groups
    assert decayed["weight_decay"] == 0.1 and kept["weight_decay"] == 0
    assert all(p.ndim >= 2 for p in decayed["params"]) and all(p.ndim < 2 for p in kept["params"])
    assert any(p is model.logvar for p in kept["params"])
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.model.parameters())) + 1
    assert decayed["lr"] == 1e-3 and decayed["betas"] == (0.9, 0.999)


def test_scheduler_config_becomes_a_per_step_lambda_lr():
    config = model_for_training().configure_optimizers()["lr_scheduler"]
    assert config["interval"] == "step" and isinstance(config["scheduler"], torch.optim.lr_scheduler.LambdaLR)
    assert config["scheduler"].get_last_lr()[0] == pytest.approx(1e-4)
    plateau = {"target": "torch.optim.lr_scheduler.ReduceLROnPlateau", "params": {"patience": 1}}
    config = model_for_training(scheduler_config=plateau, monitor="val/loss_ema").configure_optimizers()["lr_scheduler"]
    assert config["interval"] == "epoch" and config["monitor"] == "val/loss_ema"


def test_the_default_checkpoint_follows_monitor(tmp_path):
    model = model_for_training(monitor="val/loss_ema")
    trainer = fit(model, 10, tmp_path, enable_checkpointing=True)
    best, last = trainer.checkpoint_callback.best_model_path, trainer.checkpoint_callback.last_model_path
    assert trainer.checkpoint_callback.monitor == "val/loss_ema" and best and last
    again = DDPM.load_from_checkpoint(last)
    assert fingerprint(again) == fingerprint(model) and again.learning_rate == 1e-3


def test_a_checkpoint_callback_of_the_user_is_left_alone(tmp_path):
    own = pl.callbacks.ModelCheckpoint(tmp_path, "mine", monitor="train/loss")
    trainer = fit(model_for_training(), 5, tmp_path, enable_checkpointing=True, callbacks=[own])
    assert trainer.checkpoint_callbacks == [own] and (tmp_path / "mine.ckpt").exists()


def test_every_checkpoint_of_the_trainer_is_safe_hashed_and_plain(tmp_path):
    trainer = fit(model_for_training(given_betas=torch.linspace(0.01, 0.3, 50)), 2, tmp_path)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_checkpoint(tmp_path / "a.ckpt")
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_checkpoint_saved_inside_the_ema_scope_holds_raw_weights(tmp_path):
    model = model_for_training()
    trainer = fit(model, 3, tmp_path)
    raw = fingerprint(model)
    with model.ema_scope():
        trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert fingerprint(DDPM.load_from_checkpoint(tmp_path / "a.ckpt")) == raw


def test_resuming_into_another_model_says_what_differs(tmp_path):
    fit(model_for_training(), 1, tmp_path).save_checkpoint(tmp_path / "a.ckpt")
    for other, words in ((dict(use_ema=False), "多出.*model_ema"), (dict(timesteps=40), "timesteps"), (dict(parameterization="v"), "parameterization")):
        with pytest.raises(CheckpointError, match=words):
            fit(model_for_training(**other), 2, tmp_path, ckpt=str(tmp_path / "a.ckpt"))


def test_every_batch_gets_its_own_t_noise_and_dropout(tmp_path, monkeypatch):
    model, drawn = model_for_training(), []
    original = model.p_losses

    def spy(x, t, *args, **kwargs):
        drawn.append((tuple(t.tolist()), torch.rand(()).item()))
        return original(x, t, *args, **kwargs)

    monkeypatch.setattr(model, "p_losses", spy)
    fit(model, 7, tmp_path, limit_val_batches=0)
    assert len(set(drawn)) == 7 and len({t for t, _ in drawn}) == 7 and model.batches_seen == 7


def test_step_progress_counts_optimizer_steps(tmp_path, capsys):
    fit(model_for_training(), 6, tmp_path, callbacks=[StepProgress()], enable_progress_bar=True, accumulate_grad_batches=2)
    assert "6/6" in capsys.readouterr().err
    quiet = StepProgress()
    quiet.disable()
    fit(model_for_training(), 2, tmp_path, callbacks=[quiet], enable_progress_bar=True)
    assert capsys.readouterr().err == ""


def test_watch_draws_at_the_steps_it_was_told(tmp_path):
    model = model_for_training()
    watch = Watch((2, 3), lambda network: (network, network.global_step))
    fit(model, 5, tmp_path, callbacks=[watch])
    assert watch.frames == [(model, 2), (model, 3)]


def test_bf16_training_keeps_a_float32_ema(tmp_path):
    model = model_for_training()
    fit(model, 2, tmp_path, precision="bf16-mixed")
    assert all(s.dtype == torch.float32 and s.isfinite().all() for s in model.model_ema.shadow.values())


def test_bf16_keeps_the_fused_optimizer_and_clips_gradients(tmp_path):
    # Lightning 在混合精度下见到融合版优化器就拒绝裁剪，不分有没有梯度缩放
    model = model_for_training()
    trainer = fit(model, 3, tmp_path, precision="bf16-mixed", gradient_clip_val=1e-9)
    assert trainer.optimizers[0].defaults["fused"] and int(model.model_ema.num_updates) == 3
    # 裁到几乎为 0 之后，Adam 的一阶矩也几乎为 0
    assert all(state["exp_avg"].norm() < 1e-8 for state in trainer.optimizers[0].state.values())
    assert all(shadow.dtype == torch.float32 for shadow in model.model_ema.shadow.values())


# ---- 接着练，不论模型与数据从哪里来 ----

def test_a_model_left_in_eval_mode_trains_as_if_it_were_not(tmp_path):
    fresh, left = model_for_training(), model_for_training().eval()
    for model in (fresh, left):
        fit(model, 2, tmp_path, limit_val_batches=0)
    # 网络里有 dropout：停在 eval 模式里练，权重就不同
    assert fingerprint(left) == fingerprint(fresh) and left.training
    left.eval()
    fit(left, 1, tmp_path, limit_val_batches=0)
    frozen = left.model.diffusion_model.middle_block.eval()
    fit(left, 1, tmp_path, limit_val_batches=0)
    assert left.training and not frozen.training


def test_a_shipped_model_is_trained_saved_and_read_back(tmp_path):
    model = load_pretrained("digits", learning_rate=1e-4)
    before = fingerprint(model)
    trainer = fit(model, 2, tmp_path, data=FewDigits(), limit_val_batches=1)
    assert "val/loss_ema" in trainer.validate(model, FewDigits(), verbose=False)[0]
    trainer.save_checkpoint(tmp_path / "tuned.ckpt")
    again = DDPM.load_from_checkpoint(tmp_path / "tuned.ckpt")
    assert fingerprint(again) == fingerprint(model) != before
    # EMA 从取到的权重重新数起
    assert again.learning_rate == 1e-4 and int(again.model_ema.num_updates) == 2


class Seen(pl.Callback):
    def __init__(self):
        self.labels = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.labels.append(tuple(batch["label"].tolist()))


def stream(tmp_path, **kwargs):
    """七步里见到的批次，与数据模块记下的进度"""
    seen, data = Seen(), FewDigits(16)
    fit(model_for_training(), 7, tmp_path, data=data, callbacks=[seen], **{"limit_val_batches": 0, **kwargs})
    return seen.labels, data.state_dict()["position"]


def test_the_stream_survives_whatever_the_trainer_does_to_the_loader(tmp_path):
    straight = stream(tmp_path)
    assert len(set(straight[0])) == 7 == straight[1]
    for way in (dict(reload_dataloaders_every_n_epochs=1), dict(limit_train_batches=2, reload_dataloaders_every_n_epochs=1)):
        assert stream(tmp_path, **way) == straight, way
    for batches, count in ((2, 2), (0.5, 5)):  # 一轮 10 批
        labels, _ = stream(tmp_path, overfit_batches=batches)
        assert len(set(labels)) == count and labels == [labels[i % count] for i in range(7)], batches


def test_predict_draws_one_sample_for_each_item_under_its_condition(tmp_path):
    trainer = pl.Trainer(**QUIET, enable_checkpointing=False, limit_predict_batches=1)
    plain = trainer.predict(model_for_training(timesteps=4), FewDigits(6))
    assert [x.shape for x in plain] == [(6, 1, 8, 8)]
    model = randomize(tiny_ddpm(tiny_unet(num_classes=10), conditioning_key="adm", timesteps=4))
    model.model_ema.reset_to(model.model)

    def drawn(label):
        return trainer.predict(model, torch.utils.data.DataLoader([{"label": label}] * 3, batch_size=3))[0]

    assert torch.equal(drawn(3), drawn(3)) and not torch.allclose(drawn(3), drawn(4), atol=1e-4)
    # 用的是 EMA 权重
    kept = drawn(3)
    torch.nn.init.zeros_(next(model.model.parameters()))
    assert torch.equal(drawn(3), kept)


@pytest.mark.parametrize("broken", ["folder", "sampler"])
def test_a_sample_grid_that_fails_is_one_warning_and_training_goes_on(broken, tmp_path, caplog, monkeypatch):
    model, folder = model_for_training(), tmp_path / "grids"
    if broken == "folder":
        folder.write_text("同名的文件")
    else:
        monkeypatch.setattr(model, "sample", lambda *args, **kwargs: 1 / 0)
    caplog.set_level(logging.DEBUG, "ddpm_edu")
    trainer = fit(model, 2, tmp_path, callbacks=[SampleGrid(every_n_steps=2, num_samples=4, steps=2, dirpath=folder)], limit_val_batches=0)
    assert trainer.global_step == 2 and model.training and model.model_ema.depth == 0
    told = [r for r in caplog.records if r.levelno == logging.WARNING and "样本图" in r.getMessage()]
    assert [r.getMessage().count("\n") for r in told] == [0, 0] and "Error" in told[0].getMessage() and not told[0].exc_info
    assert any(r.levelno == logging.DEBUG and r.exc_info for r in caplog.records)


def test_ema_stands_still_when_the_scaler_skips_an_overflowing_step(tmp_path):
    from pytorch_lightning.plugins.precision import MixedPrecision

    # 第一步放大到溢出，跳过两步之后缩回 1
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, backoff_factor=2.0**-60)
    model = model_for_training()
    trainer = fit(model, 4, tmp_path, data=FewDigits(4), plugins=[MixedPrecision("16-mixed", "cpu", scaler)], limit_val_batches=0)
    assert {int(state["step"]) for state in trainer.optimizers[0].state.values()} == {2}
    assert trainer.global_step == 4 and int(model.model_ema.num_updates) == 2 and scaler.get_scale() == 1


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_isolated_rng_touches_the_cpu_and_its_own_device_only(device, monkeypatch):
    # 用 CPU 的生成器代替三块显卡与 MPS 的
    cards, mps = tuple(torch.Generator().manual_seed(n) for n in range(3)), torch.Generator().manual_seed(9)
    monkeypatch.setattr(torch.cuda, "default_generators", cards)
    monkeypatch.setattr(torch.mps, "_get_default_mps_generator", lambda: mps)
    every = [torch.default_generator, *cards, mps]
    own = [torch.default_generator, cards[1] if device == "cuda:1" else mps]
    before = [generator.get_state() for generator in every]
    with isolated_rng("钥匙", 7, device=device):
        for generator, state in zip(every, before):
            assert (generator in own) != torch.equal(generator.get_state(), state)
        assert all(generator.initial_seed() == derive_seed("钥匙", 7) for generator in own)
        torch.rand(3, generator=own[1])
    assert all(torch.equal(generator.get_state(), state) for generator, state in zip(every, before))
