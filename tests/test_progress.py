"""进度条：短活不打扰，长活看得见，要安静时真的安静"""
import pytest

from ddpm_edu import DigitsDataModule
from ddpm_edu.progress import progress_bar
from ddpm_edu.teach.step_progress import StepProgress
from ddpm_edu.teach.training import quiet_trainer

from .conftest import tiny_ddpm


def walk(bar, earlier):
    """走一步，就当 earlier 秒之前已经开始"""
    bar.start_t -= earlier
    bar.last_print_t -= earlier
    bar.update()


@pytest.mark.parametrize("progress, earlier, shown", [(None, 0, False), (None, 3, True), (True, 0, True), (False, 3, False)])
def test_a_bar_appears_after_two_seconds_unless_told_otherwise(progress, earlier, shown, capsys):
    bar = progress_bar(range(5), progress, "采样")
    if not bar.disable:
        walk(bar, earlier)
    assert ("采样" in capsys.readouterr().err) is shown
    bar.close()


def test_a_bar_inside_a_bar_stays_on_the_same_line(capsys):
    for _ in progress_bar(range(2), True, "种子"):
        for _ in progress_bar(range(3), True, "采样"):
            pass
    said = capsys.readouterr().err
    assert "种子" in said and "采样" in said and "\n" not in said and "\x1b" not in said


def test_the_environment_silences_every_bar(capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert list(progress_bar(range(3), True, "采样")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_classroom_training_shows_its_bar_only_when_it_is_slow(capsys):
    class Slow(StepProgress):
        def on_train_start(self, trainer, pl_module):
            super().on_train_start(trainer, pl_module)
            self._bar.start_t -= 3
            self._bar.last_print_t -= 3

    for bar, shown in ((None, False), (Slow(brief=True), True), (StepProgress(), True)):
        quiet_trainer(max_steps=2, bar=bar).fit(tiny_ddpm(), DigitsDataModule(batch_size=8))
        assert ("训练" in capsys.readouterr().err) is shown
