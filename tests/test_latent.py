"""潜空间里的扩散：自编码器的分布、损失与补边；冻结、系数、事先算好的潜变量、续训、自带第一阶段的检查点、采样之后解码"""
import inspect
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import Namespace
from PIL import Image

from ddpm_edu import AutoencoderKL, DigitsDataModule, ImageFolderDataModule, LatentDiffusion, WordEmbedder, configs, load_pretrained
from ddpm_edu.cli.config import follow_model
from ddpm_edu.cli.main import main, train_cli
from ddpm_edu.data.conditions import STROKE_THRESHOLDS, stroke_level, words
from ddpm_edu.evaluation.report import evaluate
from ddpm_edu.files.checkpoint import load_checkpoint
from ddpm_edu.generate import generate
from ddpm_edu.latent.autoencoder import DiagonalGaussianDistribution
from ddpm_edu.latent.cache import CacheLatents, LatentDataset
from ddpm_edu.latent.first_stage import picture_size
from ddpm_edu.pretrained import HERE, pretrained_card
from ddpm_edu.training.timestep_loss import TimestepLoss

from .conftest import randomize
from .test_training import FewDigits, fingerprint, fit

WORDS = [*"0123456789", "细", "中", "粗"]
UNET = {"target": "ddpm_edu.UNet", "params": {"in_channels": 2, "out_channels": 2, "model_channels": 8, "num_res_blocks": 1, "channel_mult": [1, 2],
                                              "attention_resolutions": [2], "context_dim": 8}}
SPEAKER = {"target": "ddpm_edu.WordEmbedder", "params": {"words": WORDS, "embed_dim": 8}}


def tiny_autoencoder(**kwargs):
    torch.manual_seed(0)
    return AutoencoderKL(**{"image_size": 8, "channels": 1, "embed_dim": 2, "ch": 8, "patch_size": 1, "learning_rate": 1e-2, **kwargs})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """练过几步的自编码器的检查点"""
    path = tmp_path_factory.mktemp("first") / "last.ckpt"
    fit(tiny_autoencoder(), 6, path.parent, limit_val_batches=1).save_checkpoint(path)
    return path


def tiny_latent(ckpt, **kwargs):
    first = {"target": "ddpm_edu.AutoencoderKL", "params": {"ckpt_path": str(ckpt)}}
    defaults = {"unet_config": UNET, "image_size": 4, "channels": 2, "timesteps": 50, "conditioning_key": "crossattn", "cond_key": "words",
                "cond_drop_prob": 0.2, "scale_by_std": True, "ema_decay": 0.9, "parameterization": "v", "beta_schedule": "cosine", "learning_rate": 1e-3}
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LatentDiffusion(**{"first_stage_config": first, "cond_stage_config": SPEAKER, **defaults, **kwargs})


def spoken_digits(**kwargs):
    return FewDigits(conditions=["words"], **kwargs)


def batch(count=8):
    return spoken_digits().dataset("train")[:count]


# ---- 自编码器 ----


def test_the_posterior_is_the_gaussian_that_torch_knows():
    moments = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    ours = DiagonalGaussianDistribution(moments)
    theirs = torch.distributions.Normal(moments[:, :2], (0.5 * moments[:, 2:]).exp())
    kl = torch.distributions.kl_divergence(theirs, torch.distributions.Normal(0, 1)).flatten(1).sum(1)
    torch.testing.assert_close(ours.kl(), kl)
    assert torch.equal(ours.mode(), theirs.mean)
    torch.testing.assert_close(ours.std, theirs.stddev)
    drawn = DiagonalGaussianDistribution(moments[:1].repeat(20_000, 1, 1, 1)).sample(torch.Generator().manual_seed(1))
    assert (drawn.mean(0) - theirs.mean[0]).abs().max() < 0.06 and (drawn.std(0) / theirs.stddev[0] - 1).abs().max() < 0.03
    assert DiagonalGaussianDistribution(torch.full((1, 2, 1, 1), 1e9)).std.isfinite().all()


def test_the_loss_is_reconstruction_plus_beta_kl():
    model, x = randomize(tiny_autoencoder(kl_weight=0.3)), batch()["image"]
    torch.manual_seed(3)
    loss, terms = model.shared_step({"image": x})
    torch.manual_seed(3)
    restored, posterior = model(x)
    kl = posterior.kl().mean()
    torch.testing.assert_close(loss, (restored - x).square().mean() + 0.3 * kl / 64)
    assert terms["train/kl"] == kl and kl > 1 and set(terms) == {f"train/{name}" for name in ("loss", "rec_loss", "kl", "std")}
    torch.testing.assert_close(model(x, sample_posterior=False)[0], model.decode(posterior.mean))


def test_more_beta_pulls_the_latents_to_the_standard_normal(tmp_path):
    spread = {}
    for beta in (0.0, 3.0):
        model = tiny_autoencoder(kl_weight=beta)
        fit(model, 25, tmp_path, limit_val_batches=0)
        with torch.no_grad():
            posterior = model.encode(FewDigits().dataset("val")[:]["image"])
        spread[beta] = float(posterior.kl().mean()), float(posterior.std.mean())
    assert spread[3.0][0] < 0.1 * spread[0.0][0] and abs(spread[3.0][1] - 1) < 0.3


def test_28_pixels_are_padded_to_32_and_cropped_back_where_they_were():
    model, x = AutoencoderKL(28, 1, ch=4), torch.rand(2, 1, 28, 28) * 2 - 1
    assert model.latent_size == (8, 8) and model.encode(x).mean.shape == (2, 4, 8, 8) and model(x)[0].shape == x.shape
    model.encoder = torch.nn.PixelUnshuffle(4)
    padded = torch.nn.functional.pixel_shuffle(model.encode(x).parameters, 4)
    assert padded.shape == (2, 1, 32, 32) and torch.equal(padded[:, :, 2:30, 2:30], x) and torch.equal(padded[:, :, 0, 2:30], x[:, :, 0])
    model.decoder = torch.nn.Sequential(torch.nn.Conv2d(4, 16, 1), torch.nn.PixelShuffle(4))
    model.decoder[0].forward = lambda z: model.encode(x).parameters
    assert torch.equal(model.decode(torch.zeros(2, 4, 8, 8)), x)
    assert AutoencoderKL((24, 40), 3, ch=4).latent_size == (6, 10)


# ---- 第一阶段：冻结、系数、事先算好 ----


def test_the_first_stage_stays_frozen(trained, tmp_path):
    model = tiny_latent(trained)
    before = {key: value.clone() for key, value in model.first_stage_model.state_dict().items()}
    fit(model, 3, tmp_path, data=spoken_digits(), limit_val_batches=1)
    model.train()
    assert model.model.training and not any(module.training for module in model.first_stage_model.modules())
    assert not any(p.requires_grad for p in model.first_stage_model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.first_stage_model.state_dict().items())
    owned = {id(p) for group in model.configure_optimizers().param_groups for p in group["params"]}
    assert not owned & {id(p) for p in model.first_stage_model.parameters()}


def test_latents_have_unit_deviation_within_five_percent(trained, tmp_path):
    model = tiny_latent(trained)
    assert model.scale_factor == 1 and model.clip_denoised is False
    fit(model, 1, tmp_path, data=spoken_digits(), limit_val_batches=1)
    assert model.scale_factor != 1 and abs(float(model.get_input(spoken_digits().dataset("train")[:], "image").std()) - 1) < 0.05
    measured = float(model.scale_factor)
    fit(model, 1, tmp_path, data=spoken_digits(), limit_val_batches=1)
    assert float(model.scale_factor) == measured
    fixed = tiny_latent(trained, scale_by_std=False, scale_factor=0.25)
    fit(fixed, 1, tmp_path, data=spoken_digits(), limit_val_batches=1)
    assert fixed.scale_factor == 0.25


def test_the_factor_is_measured_before_the_first_validation(trained, tmp_path):
    """开头试跑的一次验证，TimestepLoss 留下的样本也是乘过系数的"""
    model, watcher = tiny_latent(trained), TimestepLoss(8)
    fit(model, 1, tmp_path, data=spoken_digits(), limit_val_batches=1, num_sanity_val_steps=1, callbacks=[watcher])
    held = watcher._held[0]
    assert 0.5 < float(held.std()) < 2 and abs(float(model.first_stage_model.encode(batch()["image"]).sample().std()) * float(model.scale_factor) - 1) < 0.3


def test_every_step_draws_a_new_latent_of_the_same_picture(trained):
    model = tiny_latent(trained)
    stored = {"image": batch()["image"], "moments": model.first_stage_model.encode(batch()["image"]).parameters}
    for each in (batch(), stored):
        first, second = model.get_input(each, "image"), model.get_input(each, "image")
        assert first.shape == (8, 2, 4, 4) and not torch.equal(first, second)
    assert not torch.equal(stored["moments"][0], stored["moments"][1])


def test_training_gives_the_same_numbers_with_and_without_the_cache(trained, tmp_path, monkeypatch):
    plain, cached, data = tiny_latent(trained), tiny_latent(trained), spoken_digits()
    fit(plain, 4, tmp_path, data=spoken_digits(), limit_val_batches=1)
    encoded, encode = [], AutoencoderKL.encode
    monkeypatch.setattr(AutoencoderKL, "encode", lambda self, x: encoded.append(len(x)) or encode(self, x))
    fit(cached, 4, tmp_path, data=data, limit_val_batches=1, callbacks=[CacheLatents()])
    # 一批 256 张与一批 32 张，卷积的舍入差最后几位
    for (name, ours), theirs in zip(cached.state_dict().items(), plain.state_dict().values()):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4, msg=name)
    assert sum(encoded) == 165 + 48 and not any(isinstance(split, LatentDataset) for split in data.splits.values())


def test_resuming_in_the_middle_of_an_epoch_is_exact(trained, tmp_path):
    whole = tiny_latent(trained)
    fit(whole, 7, tmp_path, data=spoken_digits(), limit_val_batches=1, callbacks=[CacheLatents()])
    first = tiny_latent(trained)
    fit(first, 3, tmp_path, data=spoken_digits(), limit_val_batches=1, callbacks=[CacheLatents()]).save_checkpoint(tmp_path / "a.ckpt")
    # 自编码器的权重随检查点来：这里给的是没有练过的
    again = tiny_latent(trained, first_stage_config={"target": "ddpm_edu.AutoencoderKL", "params": dict(randomize(tiny_autoencoder()).hparams)})
    fit(again, 7, tmp_path, ckpt=tmp_path / "a.ckpt", data=spoken_digits(), limit_val_batches=1, callbacks=[CacheLatents()])
    assert fingerprint(again) == fingerprint(whole) != fingerprint(first)


def test_the_autoencoder_too_resumes_exactly(tmp_path):
    whole, first, again = (tiny_autoencoder() for _ in range(3))
    fit(whole, 7, tmp_path, limit_val_batches=1)
    fit(first, 3, tmp_path, limit_val_batches=1).save_checkpoint(tmp_path / "a.ckpt")
    fit(again, 7, tmp_path, ckpt=tmp_path / "a.ckpt", limit_val_batches=1)
    assert fingerprint(again) == fingerprint(whole) != fingerprint(first)


def test_a_checkpoint_holds_its_first_stage(trained, tmp_path):
    shutil.copy(trained, tmp_path / "first.ckpt")
    model = tiny_latent(tmp_path / "first.ckpt")
    fit(model, 2, tmp_path, data=spoken_digits(), limit_val_batches=1).save_checkpoint(tmp_path / "a.ckpt")
    (tmp_path / "first.ckpt").unlink()
    loaded = LatentDiffusion.load_from_checkpoint(tmp_path / "a.ckpt")
    assert fingerprint(loaded) == fingerprint(model) and "ckpt_path" not in loaded.hparams["first_stage_config"]["params"]


# ---- 条件 ----


def test_words_say_the_class_and_the_stroke_and_every_fourth_picture_only_the_class():
    bars = torch.full((5, 1, 8, 8), -1.0)
    for i, wide in enumerate((1, 2, 4, 1, 1)):
        bars[i, :, :, :wide] = 1  # 靠边的一条：轮廓只有一边，宽 w 的笔画量出来是 2w
    assert stroke_level(bars).tolist() == [1, 2, 2, 1, 1] and STROKE_THRESHOLDS[0] < 2 < STROKE_THRESHOLDS[1]
    label = torch.tensor([0, 3, 9, 9, 9])
    assert words(bars, label, torch.arange(5), 10).tolist() == [[1, 0], [4, 13], [10, 13], [10, 12], [10, 0]]
    assert batch()["words"].dtype == torch.int64


def test_the_embedder_speaks_its_words():
    speaker = WordEmbedder(WORDS, 8)
    assert speaker.encode(["粗 3", "3 粗", "7", ""]).tolist() == [[4, 13], [4, 13], [8, 0], [0, 0]]
    assert torch.equal(speaker(torch.tensor([4, 0])), speaker(torch.tensor([[4, 0], [0, 0]])))
    assert speaker(torch.tensor([1, 2])).shape == (2, 2, 8) and speaker.embedding.num_embeddings == 14


def test_the_words_are_learned_with_the_network_and_averaged_with_it(trained, tmp_path):
    model = tiny_latent(trained)
    before = model.model.cond_stage_model.embedding.weight.clone()
    fit(model, 3, tmp_path, data=spoken_digits(), limit_val_batches=1)
    now = model.model.cond_stage_model.embedding.weight.clone()
    assert (now - before).abs().max() > 1e-4 and any("cond_stage_model" in key for key in model.state_dict() if key.startswith("model_ema"))
    with model.ema_scope():
        assert not torch.equal(model.model.cond_stage_model.embedding.weight, now)


def test_guidance_goes_from_no_words_to_the_words(trained):
    model = randomize(tiny_latent(trained))
    x, t = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([20, 40])
    said, silent = torch.tensor([[4, 13], [8, 0]]), torch.zeros(2, 2, dtype=torch.int64)
    with torch.no_grad():
        yes, no = model.apply_model(x, t, said), model.apply_model(x, t, silent)
        torch.testing.assert_close(model.guided_output(x, t, said, 3.0), no + 3 * (yes - no))
        assert (yes - no).abs().max() > 1e-3
        torch.testing.assert_close(model.apply_model(x, t, model.get_learned_conditioning(said)), yes)


# ---- 采样之后解码 ----


def test_samples_are_decoded_pictures(trained):
    model, cond = randomize(tiny_latent(trained, scale_factor=0.5, scale_by_std=False)).eval(), torch.tensor([[4, 13], [8, 0]])
    start = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    options = {"sampler": "ddim", "steps": 4, "cond": cond, "x_T": start}
    z = model.p_sample_loop((2, 2, 4, 4), **options)
    images, kept = model.sample(2, return_intermediates=True, **options)
    torch.testing.assert_close(images, model.first_stage_model.decode(z / model.scale_factor).clamp(-1, 1))
    assert torch.equal(model.sample(2, **options), images) and {tuple(x.shape) for x in kept} == {(2, 1, 8, 8)}
    drawn, frames = generate(model, 3, cond=torch.tensor([[4], [5], [6]]), steps=4, num_frames=2, use_ema=False, progress=False)
    assert drawn.shape == (3, 1, 8, 8) and {tuple(x.shape) for x in frames} == {(3, 1, 8, 8)}
    logged = model.log_images(batch(4), N=2, steps=2, progress=False)
    assert logged["inputs"].shape == logged["samples"].shape == (2, 1, 8, 8) and logged["diffusion_row"].shape[0] == 1
    assert (logged["inputs"] - model.decode_first_stage(model.get_input(batch(2), "image"))).abs().mean() < 0.5


def test_evaluation_is_of_pictures(trained):
    report = evaluate(tiny_latent(trained).eval(), DigitsDataModule(conditions=["words"]), num_samples=40, steps=2, progress=False)
    assert {"frechet", "recognised"} <= report.keys() and "bits_per_dim" not in report


# ---- 命令行 ----

# 命令行把整数读成小数：limit_val_batches 写 1 是全部，2 才是两批
QUICK = ["--data", "ddpm_edu.DigitsDataModule", "--data.image_size=28", "--data.conditions=[words]", "--data.batch_size=4", "--trainer.accelerator=cpu",
         "--trainer.limit_val_batches=2", "--trainer.max_steps=2", "--trainer.val_check_interval=1", "--trainer.limit_train_batches=2",
         "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def test_the_same_command_line_trains_both_stages_resumes_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = "model:\n  unet_config: {target: ddpm_edu.UNet, params: {in_channels: 4, out_channels: 4, model_channels: 8, num_res_blocks: 1, context_dim: 32}}\n"
    Path("small.yaml").write_text(small + "trainer: {callbacks: [{class_path: ddpm_edu.latent.cache.CacheLatents}]}\n", encoding="utf-8")
    monkeypatch.setattr("ddpm_edu.latent.cache.all_moments", lambda model, dataset, title: torch.zeros(len(dataset), 8, 8, 8))
    assert not main(["fit", "--config", "mnist-autoencoder", "--model.ch=4", *QUICK])
    assert "fit --config mnist-latent" in capsys.readouterr().out
    latent = ["fit", "--config", "mnist-latent", "--config", "small.yaml", *QUICK]
    assert not main(latent)
    assert not main([*latent, "--trainer.max_steps=3", "--ckpt_path=last"])
    assert "ch_mult" in load_checkpoint(next(Path("runs/mnist-latent").rglob("last*.ckpt")))["hyper_parameters"]["first_stage_config"]["params"]
    ckpt = str(max(Path("runs/mnist-latent").rglob("last*.ckpt"), key=lambda path: path.stat().st_mtime_ns))
    assert load_checkpoint(ckpt)["global_step"] == 3
    for spoken in (["--words", "粗 3,细 7"], ["--labels", "0-9"]):
        assert not main(["sample", "--ckpt", ckpt, "--out", "a.png", "--gif", "a.gif", "-n", "2", "--steps", "2", "--scale", "1", "--quiet", *spoken])
    assert Image.open("a.png").size == (2 * 29 + 1, 30)
    assert main(["sample", "--ckpt", ckpt, "--out", "a.png", "--words", "粗 三"]) == 2 and "三" in capsys.readouterr().err
    assert main(["sample", "--ckpt", "runs/mnist-autoencoder", "--out", "a.png"]) == 2 and "这是自编码器" in capsys.readouterr().err
    other = next(Path("runs/mnist-autoencoder").rglob("last*.ckpt"))
    assert main([*latent, f"--ckpt_path={other}"]) == 2 and "存它的是另一类模型" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "cls"), [("mnist-autoencoder", AutoencoderKL), ("mnist-latent", LatentDiffusion)])
def test_the_configs_stand_alone_and_fit_the_data(name, cls, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(configs.layers(name)) == 1 and configs.load(name)["model_class"] == f"ddpm_edu.{cls.__name__}"
    fit(AutoencoderKL(**{**configs.load("mnist-autoencoder")["model"], "ch": 4}), 1, tmp_path, data=DigitsDataModule(8, image_size=28),
        limit_val_batches=0).save_checkpoint(tmp_path / "runs/mnist-autoencoder/last.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cli = train_cli(["--config", name, "--trainer.accelerator=cpu", "--trainer.logger=false"], run=False)
    pixels = cli.model if cls is AutoencoderKL else cli.model.pixel_stage
    # 自编码器记的是自己的超参数，不是命令行给整个模型的
    assert cls is AutoencoderKL or "unet_config" not in cli.model.hparams["first_stage_config"]["params"]
    assert type(cli.model) is cls and (pixels.image_size, pixels.channels) == (cli.datamodule.image_size, cli.datamodule.channels)
    assert cli.model.scheduler_config["params"]["max_decay_steps"] == cli.trainer.max_steps


def test_a_folder_is_read_as_large_as_the_first_stage_reads(tmp_path):
    for k in range(2):
        (tmp_path / "图" / str(k)).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((24, 24, 3), 40 * i, np.uint8)).save(tmp_path / "图" / str(k) / f"{i}.png")
    ckpt = tmp_path / "last.ckpt"
    fit(AutoencoderKL(16, 3, embed_dim=2, ch=8, patch_size=2), 1, tmp_path, data=ImageFolderDataModule(tmp_path / "图", 16, 3, batch_size=2),
        limit_val_batches=0).save_checkpoint(ckpt)
    first = {"target": "ddpm_edu.AutoencoderKL", "params": {"ckpt_path": str(ckpt)}}
    assert picture_size(first) == (16, 3)
    options = Namespace(data=Namespace(class_path="ddpm_edu.ImageFolderDataModule",
                                       init_args=Namespace(root=str(tmp_path / "图"), image_size=64, channels=3, classes=False)),
                        model=Namespace(image_size=4, channels=2, first_stage_config=first, unet_config=None))
    follow_model(options)
    assert (options.data.init_args.image_size, options.data.init_args.channels) == (16, 3)
    data = ImageFolderDataModule(tmp_path / "图", 16, 3, batch_size=2, classes=True, conditions=["words"])
    model = tiny_latent(ckpt)
    fit(model, 2, tmp_path, data=data, limit_val_batches=1, callbacks=[CacheLatents()])
    assert model.sample(2, steps=2, cond=torch.tensor([1, 2]), progress=False).shape == (2, 3, 16, 16)


# ---- 说错了 ----


@pytest.mark.parametrize(("change", "sentence"), [
    ({"image_size": 8}, r"channels 与 image_size 应为潜变量的 2 与 \[4, 4\].*8"),
    ({"first_stage_config": {"target": "ddpm_edu.UNet", "params": {}}}, "first_stage_config 的 target 应为能编码.*AutoencoderKL"),
    ({"first_stage_config": {"target": "ddpm_edu.AutoencoderKL", "params": {"ckpt_path": "没有这个"}}},
     "ckpt_path 应为自编码器的检查点.*fit --config mnist-autoencoder"),
    ({"scale_factor": 0.0}, "scale_factor"), ({"scale_by_std": "yes"}, "scale_by_std"),
    ({"cond_stage_config": {"target": "ddpm_edu.WordEmbedder", "params": {"words": ["a", "a"], "embed_dim": 8}}}, "words 应为非空、不重复"),
])
def test_a_wrong_setting_is_one_sentence(change, sentence, trained):
    with pytest.raises((ValueError, TypeError), match=sentence):
        tiny_latent(trained, **change)


def test_wrong_words_and_wrong_pictures_are_one_sentence(trained):
    model = tiny_latent(trained)
    with pytest.raises(ValueError, match="词 应为.*之一，得到 '三'"):
        model.model.cond_stage_model.encode(["粗 三"])
    with pytest.raises(ValueError, match="至多 2 个词"):
        model.model.cond_stage_model.encode(["粗 3 7"])
    with pytest.raises(ValueError, match=r"词号 应为 0\.\.13"):
        model.sample(1, cond=torch.tensor([14]), steps=1, progress=False)
    with pytest.raises(ValueError, match="形状 .*8, 8"):
        model.get_input({"image": torch.zeros(1, 1, 28, 28)}, "image")
    for wrong in ({"kl_weight": -1.0}, {"ch_mult": []}, {"embed_dim": 0}, {"image_size": "28"}):
        with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
            tiny_autoencoder(**wrong)


def test_a_checkpoint_of_another_kind_is_not_an_autoencoder(trained, tmp_path):
    fit(tiny_latent(trained), 1, tmp_path, data=spoken_digits(), limit_val_batches=1).save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="自编码器的检查点"):
        tiny_latent(tmp_path)


# ---- 随包的 ----


def test_the_class_takes_at_most_sixty_lines():
    assert len(inspect.getsource(LatentDiffusion).splitlines()) <= 60


def test_the_card_tells_what_was_measured_and_the_docs_quote_it():
    quality, text = pretrained_card("mnist_latent")["quality"], (Path(__file__).parents[1] / "docs" / "quality.md").read_text(encoding="utf-8")
    rows = [quality["guidance_1"]["frechet"], quality["guidance_2"]["frechet"], quality["frechet_decoded"]]
    assert all(len(row["each"]) == 8 and f"{row['mean']:.1f} ± {row['se']:.1f}" in text for row in rows)
    assert all(f"{100 * row['mean']:.1f} ± {100 * row['se']:.1f} %" in text for row in (quality[way]["recognised"] for way in ("guidance_1", "guidance_2")))
    assert abs(quality["latent_std"] - 1) < 0.05 and quality["rmse"] < 0.08 and quality["frechet_decoded"]["mean"] < 60
    assert (HERE / "mnist_latent.safetensors").stat().st_size < 5 * 2**20


def test_the_shipped_model_draws_what_it_is_told():
    from ddpm_edu.evaluation.classifier import load_classifier
    from ddpm_edu.evaluation.metrics import recognised

    model, labels = load_pretrained("mnist_latent"), torch.arange(20) % 10
    images, _ = generate(model, 20, cond=labels[:, None] + 1, guidance_scale=2.0, steps=10, progress=False)
    assert images.shape == (20, 1, 28, 28) and recognised(load_classifier("mnist"), images, labels)["recognised"] >= 0.75
    thin, bold = (model.sample(20, sampler="ddim", steps=10, cond=model.model.cond_stage_model.encode([f"{word} {d}" for d in labels.tolist()]),
                               guidance_scale=2.0, generator=torch.Generator().manual_seed(0)) for word in ("细", "粗"))
    assert np.mean((stroke_level(bold) > stroke_level(thin)).numpy()) > 0.6
