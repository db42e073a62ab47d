"""停止键：在哪里按都停得干净，从 interrupted.ckpt 续训与从未停下逐位相同"""
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest
import pytorch_lightning as pl

from ddpm_edu.files.checkpoint import load_checkpoint
from ddpm_edu.training.stopping import StopSafely
from ddpm_edu.training.timestep_loss import TimestepLoss

from .test_training import COSINE, FewDigits, fingerprint, fit, model_for_training

PLATEAU = {"target": "torch.optim.lr_scheduler.ReduceLROnPlateau", "params": {"patience": 0, "factor": 0.5, "mode": "max"}}


def press(number=signal.SIGINT):
    os.kill(os.getpid(), number)


class Press(pl.Callback):
    """在某个钩子第 n 次被调用时按下停止键"""

    def __init__(self, hook, n=1, times=1, number=signal.SIGINT):
        def count(*args):
            self.calls += 1
            if self.calls == n:
                for _ in range(times):
                    press(number)

        self.calls = 0
        setattr(self, hook, count)


def run(path, steps=8, ckpt=None, callbacks=(), scheduler=COSINE, **kwargs):
    model = model_for_training(scheduler_config=scheduler)
    options = dict(enable_checkpointing=True, limit_train_batches=5, limit_val_batches=3, accumulate_grad_batches=2,
                   gradient_clip_val=1.0, data=FewDigits(16))
    trainer = fit(model, steps, path, ckpt=ckpt, callbacks=list(callbacks), **{**options, **kwargs})
    return trainer, model


def state(trainer, model):
    moments = [m for s in trainer.optimizers[0].state_dict()["state"].values() for m in s.values()]
    return (fingerprint(model), trainer.optimizers[0].param_groups[0]["lr"], trainer.global_step, model.batches_seen,
            [m.double().sum().item() for m in moments])


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """8 个优化步：一轮 5 批，每轮在第 2、4、5 批之后更新；各种调度器、验证间隔下不停地走完"""
    done = {}

    def get(**kwargs):
        key = repr(kwargs)
        if key not in done:
            done[key] = state(*run(tmp_path_factory.mktemp("straight"), **kwargs))
        return done[key]

    return get


# 每个时刻：(钩子, 从头走时的第几次, 应停在第几个优化步之后)
MOMENTS = [
    ("on_train_epoch_start", 1, 1), ("on_before_optimizer_step", 1, 1), ("on_train_batch_end", 3, 2), ("on_train_batch_end", 4, 2),
    ("on_before_zero_grad", 3, 3), ("on_after_backward", 6, 4), ("on_train_epoch_start", 2, 4), ("on_validation_start", 1, 3),
    ("on_validation_batch_end", 1, 3), ("on_validation_end", 1, 3), ("on_train_batch_end", 13, 8), ("on_train_epoch_end", 3, 8),
]
# 同样的时刻，一次训练里接连停几回；第几次从上一回停下之后数起
CHAINS = [
    [("on_train_epoch_start", 1, 1), ("on_train_batch_end", 1, 2), ("on_validation_start", 1, 3), ("on_after_backward", 1, 4),
     ("on_validation_batch_end", 1, 6), ("on_train_batch_end", 3, 8)],
    [("on_before_optimizer_step", 1, 1), ("on_train_batch_end", 2, 2), ("on_validation_end", 1, 3), ("on_train_epoch_start", 1, 4),
     ("on_before_zero_grad", 2, 6), ("on_train_epoch_end", 2, 8)],
]


@pytest.mark.parametrize("checked", [1, 10])
def test_last_is_the_state_at_the_end_even_in_the_middle_of_an_epoch(checked, tmp_path):
    """max_steps 停在半轮，或者一次验证也没有做过：last.ckpt 还是走完的那一刻"""
    keeper = pl.callbacks.ModelCheckpoint(monitor="val/loss_ema" if checked == 1 else None, save_last=True)
    trainer, model = run(tmp_path, steps=4, callbacks=[keeper], accumulate_grad_batches=1, limit_train_batches=3, check_val_every_n_epoch=checked)
    kept = tmp_path / "checkpoints" / "last.ckpt"
    saved = load_checkpoint(kept)
    assert trainer.global_step == saved["global_step"] == 4
    # 只有一份；同一个目录里再练一次，原来的那份还在
    assert keeper.last_model_path == str(kept) and [path.name for path in kept.parent.glob("last*")] == ["last.ckpt"]
    again = pl.callbacks.ModelCheckpoint(monitor=keeper.monitor, save_last=True, enable_version_counter=True)
    run(tmp_path, steps=5, callbacks=[again], accumulate_grad_batches=1, limit_train_batches=3, check_val_every_n_epoch=checked)
    assert load_checkpoint(kept)["global_step"] == 4 and load_checkpoint(again.last_model_path)["global_step"] == 5
    assert all(saved["state_dict"][name].equal(value) for name, value in model.state_dict().items())
    # 接着走两步，与一口气走六步相同
    options = dict(steps=6, accumulate_grad_batches=1, limit_train_batches=3, check_val_every_n_epoch=checked)
    assert fingerprint(run(tmp_path / "续", ckpt=kept, **options)[1]) == fingerprint(run(tmp_path / "一口气", **options)[1])


def stop_and_resume(path, moments, caplog):
    """在每个时刻停一次，各从 interrupted.ckpt 接着走；给出最后那次走完的结果"""
    ckpt, before = None, signal.getsignal(signal.SIGINT)
    for hook, n, stop in moments:
        caplog.clear()
        trainer, _ = run(path, ckpt=ckpt, callbacks=[Press(hook, n)])
        (safely,) = [c for c in trainer.callbacks if isinstance(c, StopSafely)]
        assert (safely.stopped_at, trainer.global_step) == (stop, stop) and signal.getsignal(signal.SIGINT) is before, (hook, n)
        ckpt = path / "checkpoints" / "interrupted.ckpt"
        said = [r.getMessage() for r in caplog.records if r.name == "ddpm_edu"]
        assert len(said) == 1 and f"第 {stop} 个优化步" in said[0] and f'ckpt_path="{ckpt.as_posix()}"' in said[0]
        assert load_checkpoint(ckpt)["global_step"] == stop
    return run(path, ckpt=ckpt)


def test_a_stop_anywhere_resumes_to_the_same_bits(straight, tmp_path, caplog, amount):
    for k, moments in enumerate(amount(CHAINS, CHAINS + [[moment] for moment in MOMENTS])):
        assert state(*stop_and_resume(tmp_path / str(k), moments, caplog)) == straight(), moments


@pytest.mark.parametrize(("hook", "n", "interval"), [("on_train_batch_end", 4, 5), ("on_train_batch_end", 5, 5), ("on_validation_batch_start", 8, 1)])
def test_a_stop_does_not_lose_a_tick_of_a_scheduler_that_watches_validation(hook, n, interval, straight, tmp_path):
    options = dict(steps=6, scheduler=PLATEAU, val_check_interval=interval)
    run(tmp_path, callbacks=[Press(hook, n)], **options)
    assert state(*run(tmp_path, ckpt=str(tmp_path / "checkpoints" / "interrupted.ckpt"), **options)) == straight(**options)
    assert straight(**options)[1] < 1e-3


def test_no_validation_and_no_further_step_because_of_the_stop(tmp_path):
    seen, hooks = [], ("on_train_batch_start", "on_validation_start", "on_validation_end")
    watch = pl.Callback()
    for hook in hooks:
        setattr(watch, hook, lambda *args, hook=hook: seen.append(hook))
    run(tmp_path, callbacks=[watch, Press("on_train_batch_end", 2)], min_steps=6, min_epochs=3)
    assert seen == ["on_train_batch_start"] * 2


@pytest.mark.parametrize("interval", [5, 1.0])
def test_validation_is_finished_first_and_its_choice_of_the_best_is_kept(interval, tmp_path):
    seen, watch = [], pl.Callback()
    watch.on_validation_batch_end = lambda *args: seen.append(1)
    trainer, model = run(tmp_path, callbacks=[watch, TimestepLoss(), Press("on_validation_batch_start", 2)], val_check_interval=interval)
    assert len(seen) == 3 and all(m.training for m in model.modules())
    path = tmp_path / "checkpoints" / "interrupted.ckpt"
    best = load_checkpoint(path)["callbacks"][trainer.checkpoint_callback.state_key]["best_model_path"]
    if interval == 1.0:
        # 这时 ModelCheckpoint 在轮末才挑，那要等到续训
        best = run(tmp_path, steps=4, ckpt=str(path))[0].checkpoint_callback.best_model_path
    assert best.endswith("best-step=3.ckpt")


def test_a_stop_before_the_first_validation_of_a_resumed_run_is_clean(tmp_path, caplog):
    run(tmp_path, callbacks=[Press("on_train_batch_end", 4)])
    again = [TimestepLoss(), Press("on_train_batch_end", 1)]
    trainer, _ = run(tmp_path, ckpt=str(tmp_path / "checkpoints" / "interrupted.ckpt"), callbacks=again)
    assert trainer.global_step == 3 and "第 3 个优化步" in caplog.text
    # 从验证末尾存下的检查点续训，一批也没有剩下
    assert TimestepLoss().on_validation_epoch_end(trainer, None) is None


def test_a_stop_during_the_sanity_check_takes_one_step_and_saves(straight, tmp_path):
    batches = []
    watch = pl.Callback()
    watch.on_validation_batch_end = lambda *args: batches.append(1)
    trainer, _ = run(tmp_path, callbacks=[watch, Press("on_validation_batch_start")], num_sanity_val_steps=3)
    assert trainer.global_step == 1 and len(batches) == 3
    assert state(*run(tmp_path, ckpt=str(tmp_path / "checkpoints" / "interrupted.ckpt"))) == straight()


def test_a_checkpoint_saved_after_the_stop_is_as_good(straight, tmp_path, caplog):
    trainer, _ = run(tmp_path, callbacks=[Press("on_train_batch_end", 2)], enable_checkpointing=False)
    assert not list(tmp_path.iterdir()) and "enable_checkpointing=False" in caplog.text and "ckpt_path" not in caplog.text
    trainer.save_checkpoint(tmp_path / "later.ckpt")
    assert state(*run(tmp_path, ckpt=str(tmp_path / "later.ckpt"))) == straight()
    run(tmp_path, callbacks=[Press("on_train_batch_end", 2)])
    saved = [load_checkpoint(tmp_path / name) for name in ("later.ckpt", "checkpoints/interrupted.ckpt")]
    assert saved[0]["loops"] == saved[1]["loops"] and saved[0]["epoch"] == saved[1]["epoch"] == 0


def test_a_checkpoint_of_a_validation_in_the_middle_of_accumulation_resumes_to_the_same_bits(straight, tmp_path):
    # 第 3 批之后验证并存盘，那时第 2 步的梯度才累积了一半
    lost = pl.Callback()
    lost.on_train_batch_start = lambda trainer, module, *args: 1 / (module.batches_seen != 3)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, callbacks=[lost], val_check_interval=3)
    path = tmp_path / "checkpoints" / "last.ckpt"
    assert load_checkpoint(path)["global_step"] == 1
    options = dict(steps=4, val_check_interval=3)
    assert state(*run(tmp_path, ckpt=str(path), **options)) == straight(**options)


def test_a_save_that_fails_is_reported_in_the_line(tmp_path, caplog):
    (tmp_path / "checkpoints" / "interrupted.ckpt").mkdir(parents=True)
    trainer, _ = run(tmp_path, callbacks=[Press("on_train_batch_end", 2)])
    assert trainer.global_step == 1 and "没有存成" in caplog.text


def test_pressing_twice_interrupts_at_once(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        run(tmp_path, callbacks=[Press("on_after_backward", 1, times=2)])
    assert signal.getsignal(signal.SIGINT) is before and not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_start", "on_train_end"])
def test_the_handler_is_restored_after_an_exception(hook, tmp_path):
    before, watch = signal.getsignal(signal.SIGINT), pl.Callback()
    inside = []

    def fail(*args):
        inside.append(signal.getsignal(signal.SIGINT))
        raise LookupError("故意")

    setattr(watch, hook, fail)
    own = StopSafely()
    with pytest.raises(LookupError):
        run(tmp_path, steps=2 if hook == "on_train_end" else 8, callbacks=[own, watch])
    assert signal.getsignal(signal.SIGINT) is before and inside[0] is not before
    # 同一个回调还能再用
    trainer, _ = run(tmp_path, callbacks=[own, Press("on_before_optimizer_step")])
    assert own.stopped_at == 1


def test_a_trainer_that_was_stopped_can_be_used_again(tmp_path):
    own = StopSafely()
    again = Press("on_before_optimizer_step", 4)
    trainer, model = run(tmp_path, callbacks=[own, Press("on_before_optimizer_step", 1), again])
    path = str(tmp_path / "checkpoints" / "interrupted.ckpt")
    for stop, last in ((4, 4), (None, 8)):
        trainer.fit(model, FewDigits(16), ckpt_path=path)
        assert own.stopped_at == stop and trainer.global_step == last
    assert [c for c in trainer.callbacks if isinstance(c, StopSafely)] == [own]


def test_training_in_another_thread_leaves_the_handler_alone(tmp_path):
    seen, watch = [], pl.Callback()
    watch.on_train_batch_end = lambda *args: seen.append(signal.getsignal(signal.SIGINT))
    thread = threading.Thread(target=run, args=(tmp_path, 2), kwargs=dict(callbacks=[watch]))
    thread.start()
    thread.join()
    assert seen and set(seen) == {signal.getsignal(signal.SIGINT)}


def test_data_workers_leave_the_stop_button_to_the_main_process(tmp_path):
    def press_workers(*args):
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGINT)
            pressed.append(worker.pid)

    pressed, watch = [], pl.Callback()
    watch.on_train_batch_start = press_workers
    trainer, _ = run(tmp_path, steps=4, callbacks=[watch], data=FewDigits(16, num_workers=1))
    assert pressed and trainer.global_step == 4


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_saves_as_the_stop_button_does_and_exits_with_its_number(name, straight, tmp_path):
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip("Windows 没有这个信号")
    before = signal.getsignal(number)
    # timeout、torchrun 会接连发两次
    with pytest.raises(SystemExit) as left:
        run(tmp_path, callbacks=[Press("on_train_batch_end", 4, times=2, number=number)])
    assert left.value.code == 128 + number and signal.getsignal(number) is before
    assert state(*run(tmp_path, ckpt=str(tmp_path / "checkpoints" / "interrupted.ckpt"))) == straight()


def test_a_program_with_its_own_sigterm_handler_keeps_it(tmp_path):
    heard, before = [], signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *args: heard.append(1))
    try:
        with pytest.raises(SystemExit):
            run(tmp_path, callbacks=[Press("on_train_batch_end", 1, number=signal.SIGTERM)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1] and not (tmp_path / "checkpoints" / "interrupted.ckpt").exists()


def test_data_workers_leave_sigterm_to_the_main_process(tmp_path):
    if not hasattr(signal, "sigwaitinfo"):
        pytest.skip("只有 Linux 能问出信号是谁发的")
    # 由别的进程发，就像 timeout、systemd 那样
    tell, watch, told = "import os, sys; [os.kill(int(pid), 15) for pid in sys.argv[1:]]", pl.Callback(), []

    def terminate(*args):
        told[:] = [str(worker.pid) for worker in multiprocessing.active_children()]
        subprocess.run([sys.executable, "-S", "-c", tell, *told], check=True)

    watch.on_train_batch_start = terminate
    trainer, _ = run(tmp_path, steps=3, callbacks=[watch], data=FewDigits(16, num_workers=1))
    assert told and trainer.global_step == 3
