"""命令行：训练、续训、验证、采样的每条路"""
from pathlib import Path

import torch
from PIL import Image

from ddpm_edu import DDPM, DigitsDataModule
from ddpm_edu.cli import main, resolve_config
from ddpm_edu.recipes import conditional_digits_config

from .test_training import fit


def test_fit_resume_validate_test_and_sample(tmp_path, monkeypatch, capsys, caplog):
    """在本进程里；真的进程在 test_interrupt.py 与 test_bad_input.py"""
    monkeypatch.chdir(tmp_path)
    common = ["--config", "digits", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.batch_size=256",
              "--trainer.limit_train_batches=2"]
    assert not main(["fit", *common, "--trainer.max_steps=2", "--trainer.check_val_every_n_epoch=1"])
    (run,) = (tmp_path / "runs" / "digits").glob("version_*")
    ckpt = run / "checkpoints" / "last.ckpt"
    assert ckpt.exists() and list((run / "samples").glob("*.png")) and (run / "metrics.csv").exists()
    assert not main(["fit", *common, "--trainer.max_steps=4", f"--ckpt_path={ckpt}", "--model.learning_rate=0.5"])
    assert "以检查点里的为准：learning_rate 0.5 → 0.004" in caplog.text
    caplog.clear()
    for stage in ("validate", "test"):
        capsys.readouterr()
        assert not main([stage, *common, f"--ckpt_path={ckpt}"]) and "loss_ema" in capsys.readouterr().out and "以检查点里的为准" not in caplog.text
    assert not main(["sample", "--ckpt", str(ckpt), "--out", "中文 目录/grid.png", "-n", "4", "--steps", "3"])
    assert Image.open(tmp_path / "中文 目录" / "grid.png").size[0] > 100


def test_sample_from_the_shipped_model_is_seeded(tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = ["--ckpt", "digits", "--out", str(tmp_path / f"{name}.png"), "-n", "4", "--steps", "5", "--seed", seed]
        assert main(["sample", *arguments, "--device", "cpu"]) == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_sample_takes_classes_guidance_and_writes_a_gif(tmp_path):
    def draw(name, *more):
        out = tmp_path / f"{name}.png"
        arguments = ["--ckpt", "digits_class", "--out", str(out), "-n", "10", "--nrow", "10", "--steps", "3", "--device", "cpu", "--quiet"]
        assert main(["sample", *arguments, *more]) == 0
        return out.read_bytes()

    plain = draw("plain", "--labels", "0-9")
    assert plain == draw("batched", "--labels", "0,1,2,3-9", "--batch-size", "10")
    assert len({plain, draw("sevens", "--labels", "7"), draw("guided", "--labels", "0-9", "--guidance", "3")}) == 3
    assert len({plain, draw("noisy", "--labels", "0-9", "--eta", "1"), draw("data", "--data", "digits")}) == 3
    ancestral = [draw(f"v{v}", "--labels", "0-9", "--sampler", "ancestral", "--v-posterior", v) for v in ("0", "1")]
    assert ancestral[0] != ancestral[1]
    draw("film", "--labels", "0-9", "--gif", str(tmp_path / "walk.gif"))
    with Image.open(tmp_path / "walk.gif") as gif:
        assert gif.n_frames == 4


def test_sample_reads_conditions_from_the_test_images(tmp_path):
    torch.manual_seed(0)
    model = DDPM(**{**conditional_digits_config(["masked", "prompt"], max_steps=2, width=8), "timesteps": 10})
    fit(model, 2, tmp_path, data=DigitsDataModule(conditions=["masked", "prompt"]), limit_val_batches=0).save_checkpoint(tmp_path / "a.ckpt")
    common = ["sample", "--ckpt", str(tmp_path / "a.ckpt"), "--out", str(tmp_path / "a.png"), "-n", "4", "--steps", "2", "--device", "cpu"]
    assert main([*common, "--data", "digits"]) == 0
    assert main(common) == 2
    assert main([*common, "--data", "digits", "-n", "251"]) == 2


def test_torchrun_without_a_strategy_is_an_error(tmp_path, monkeypatch, capsys):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "digits", "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.max_steps=1",
                 "--trainer.logger=false", "--trainer.callbacks=null"]) == 2
    assert "--nproc-per-node" in capsys.readouterr().err


def test_a_local_file_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_config(["fit", "--config", "digits"])[2].endswith("digits.yaml")
    assert resolve_config(["fit", "--config=digits"])[2].endswith("digits.yaml")
    both = resolve_config(["fit", "-c", "mnist-gpu", "--trainer.devices=2"])
    assert [Path(both[i]).name for i in (2, 4)] == ["mnist.yaml", "mnist-gpu.yaml"] and both[5:] == ["--trainer.devices=2"]
    Path("digits").write_text("{}")
    assert resolve_config(["fit", "--config", "digits"])[2] == "digits"


def test_predict_points_to_sample(capsys):
    assert main(["predict", "--config", "digits"]) == 2 and "python -m ddpm_edu sample" in capsys.readouterr().err
