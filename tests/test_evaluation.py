"""评估：在知道答案的数据上对上闭式，不碰模型；命令行的表与 JSON"""
import json
import math
from pathlib import Path

import pytest
import torch

from ddpm_edu import DigitsDataModule, make_beta_schedule
from ddpm_edu.cli.evaluate import make_data, make_parser, pad
from ddpm_edu.cli.main import main
from ddpm_edu.cli.options import DATA
from ddpm_edu.data.base import ImageDataModule, ImageDataset, random_images
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import DigitsFrechet, FrechetDistance
from ddpm_edu.evaluation.report import bits_report, draw_samples, evaluate
from ddpm_edu.files.checkpoint import save_checkpoint
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.likelihood import kl_constants
from ddpm_edu.teach.laboratory import gaussian_ddpm

from .conftest import randomize, tiny_ddpm, tiny_unet
from .program import run
from .test_training import fingerprint

ROOT = Path(__file__).resolve().parents[1]
QUICK = dict(max_images=10, num_samples=0, progress=False)


def digits_model(**kwargs):
    """T=6 的小模型，EMA 权重与原权重不同"""
    model = tiny_ddpm(**{"timesteps": 6, "beta_schedule": "cosine", **kwargs})
    randomize(model.model)
    return model


class Rounded(ImageDataModule):
    """N(0, 0.2²) 舍入到 256 级的 1×1 图"""

    image_size = channels = 1

    def setup(self, stage=None):
        x = 0.2 * torch.randn(20_000, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x = ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
        data = ImageDataset(x, torch.zeros(len(x), dtype=torch.int64))
        self.splits = {"train": data, "val": data, "test": data}


def test_unit_gaussian_data_costs_half_log2_two_pi_e():
    """N(0, I)、v=1：整条下界正好是 2.047 bits/dim"""
    model = gaussian_ddpm(make_beta_schedule("linear", 50, 1e-3, 0.25), mean=0.0, std=1.0, v=1.0)
    x = torch.randn(100_000, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    report = bits_report(model, [(part, None) for part in x.split(40_000)], decoder="gaussian",
                         generator=torch.Generator().manual_seed(1), progress=False)
    # 五个标准误
    assert report["bits_per_dim"] == pytest.approx(2.047095585180641, abs=5 * report["bits_per_dim_se"])
    assert report["bits_per_dim_se"] < 0.01 and report["images"] == 100_000
    assert report["L_T"] + report["L_kl"] + report["L_0"] == pytest.approx(report["bits_per_dim"], abs=1e-12)


def test_the_report_matches_the_closed_form_part_by_part():
    betas = make_beta_schedule("linear", 20, 0.01, 0.5)
    model = gaussian_ddpm(betas, mean=0.0, std=0.2)
    report = evaluate(model, Rounded(), max_images=20_000, num_samples=0, batch_size=20_000, progress=False)
    tables = diffusion_tables(betas, 0.0, "x0")
    a, log_variance = tables["alphas_cumprod"], tables["posterior_log_variance_clipped"]
    error = 0.04 * (1 - a) / (a * 0.04 + 1 - a)
    # 格子比 σ 窄得多，概率等于密度乘格宽 2/255
    L_0 = 0.5 * (math.log(2 * math.pi) + log_variance[0] + error[0] * math.exp(-log_variance[0])) - math.log(2 / 255)
    L_kl = (kl_constants(betas) + tables["lvlb_weights"] * error)[1:].sum()
    L_T = 0.5 * (a[-1] * 0.04 - a[-1] - math.log1p(-a[-1]))
    for name, want in (("L_0", L_0), ("L_kl", L_kl), ("L_T", L_T)):
        # 两万张图：标准误以整条下界的为上限，取 5 倍
        assert report[name] == pytest.approx(want / math.log(2), abs=5 * report["bits_per_dim_se"])
    assert report["bits_per_dim"] == pytest.approx((L_0 + L_kl + L_T) / math.log(2), abs=5 * report["bits_per_dim_se"])
    assert report["bits_per_dim_se"] < 0.02 and report["levels"] == 256


def test_the_mean_and_its_standard_error_are_over_images():
    from ddpm_edu.likelihood import bits_per_dim

    model, x = digits_model(), torch.rand(12, 1, 8, 8).mul(16).round() / 8 - 1
    report = bits_report(model, [(x[:8], None), (x[8:], None)], levels=17, generator=torch.Generator().manual_seed(3), progress=False)
    generator = torch.Generator().manual_seed(3)
    bits = torch.cat([bits_per_dim(model, part, levels=17, generator=generator) for part in (x[:8], x[8:])])
    assert report["bits_per_dim"] == pytest.approx(float(bits.mean()), rel=1e-9)
    assert report["bits_per_dim_se"] == pytest.approx(float(bits.std(unbiased=True)) / 12**0.5, rel=1e-9)
    with pytest.raises(ValueError, match="2"):
        bits_report(model, [(x[:1], None)], progress=False)


def test_levels_come_from_the_data():
    assert evaluate(digits_model(), DigitsDataModule(), **QUICK)["levels"] == 17
    assert ImageDataModule.levels == 256

    # 257 级：17 级的像素也都在上面
    class Fine(DigitsDataModule):
        levels = 257

    class Wrong(DigitsDataModule):
        levels = 256

    # L_0 里每格窄 16 倍；L_1 之后与级数无关
    seventeen, many = (evaluate(digits_model(), kind(), **QUICK) for kind in (DigitsDataModule, Fine))
    assert many["L_0"] > seventeen["L_0"] and many["L_kl"] == seventeen["L_kl"]
    with pytest.raises(ValueError, match="Wrong.levels.*256"):
        evaluate(digits_model(), Wrong(), **QUICK)


def test_ema_weights_are_the_default():
    model = digits_model()
    raw, ema = (evaluate(model, DigitsDataModule(), use_ema=use, **QUICK) for use in (False, True))
    assert raw["bits_per_dim"] != ema["bits_per_dim"] == evaluate(model, DigitsDataModule(), **QUICK)["bits_per_dim"]
    with model.ema_scope():
        assert evaluate(model, DigitsDataModule(), use_ema=False, **QUICK) == ema


def test_evaluating_is_seeded_and_leaves_no_trace():
    model = digits_model()
    model.train()
    before, state = fingerprint(model), torch.random.get_rng_state()
    settings = dict(max_images=10, num_samples=20, steps=3, progress=False)
    first = evaluate(model, DigitsDataModule(), **settings)
    assert fingerprint(model) == before and torch.equal(torch.random.get_rng_state(), state) and model.training
    assert not model.model._forward_hooks
    assert evaluate(model, DigitsDataModule(), **settings) == first
    assert evaluate(model, DigitsDataModule(), **settings, seed=1)["bits_per_dim"] != first["bits_per_dim"]
    # bits/dim 用几张图，不影响样本
    more = evaluate(model, DigitsDataModule(), **{**settings, "max_images": 12})
    assert more["frechet"] == first["frechet"] and more["images"] == 12 and more["bits_per_dim"] != first["bits_per_dim"]
    # 参照线用同样多的训练图：20 张的比 1297 张的远得多
    score = DigitsFrechet()
    assert first["frechet_floor"] == pytest.approx(score.floor(random_images(DigitsDataModule().dataset("train"), 20)["image"]), rel=1e-4)
    assert first["frechet_floor"] > 5 * score.floor() and first["samples"] == 20 and first["steps"] == 3
    assert all(isinstance(value, (int, float)) for value in first.values())


def test_a_given_distance_is_used_and_the_test_split_is_the_limit():
    class Fixed(FrechetDistance):
        def __init__(self):
            self.seen = []

        def __call__(self, images):
            self.seen.append(images)
            return 7.0

        def floor(self, train):
            self.seen.append(train)
            return 1.0

        def ceiling(self):
            return 9.0

    score = Fixed()
    report = evaluate(digits_model(), DigitsDataModule(), max_images=10**6, num_samples=5, frechet=score, progress=False, batch_size=250)
    assert (report["frechet"], report["frechet_floor"], report["frechet_ceiling"]) == (7.0, 1.0, 9.0)
    assert report["images"] == 250 and [images.shape for images in score.seen] == [(5, 1, 8, 8)] * 2 and report["steps"] == 6


def test_conditional_models_get_the_conditions_of_the_test_split(monkeypatch):
    model = digits_model(unet=tiny_unet(num_classes=10), conditioning_key="adm")
    module, seen = DigitsDataModule(), []
    original = model.sample
    monkeypatch.setattr(model, "sample", lambda *args, **kwargs: seen.append(kwargs["cond"]["c_adm"]) or original(*args, **kwargs))
    samples = draw_samples(model, module, 260, steps=2, batch_size=200, progress=False)
    labels = module.splits["test"].labels
    assert samples.shape == (260, 1, 8, 8) and torch.equal(torch.cat(seen), torch.cat([labels, labels[:10]]))
    first = evaluate(model, module, use_ema=False, **QUICK)
    module.splits["test"].labels = (labels + 1) % 10
    assert evaluate(model, module, use_ema=False, **QUICK)["bits_per_dim"] != first["bits_per_dim"]
    # 把要的类别改成分类器看到的，就全认得出；错开一类，就一张也认不出
    settings = {**QUICK, "num_samples": 20, "steps": 2, "use_ema": False}
    seen = load_classifier()(samples[:20].clamp(-1, 1)).argmax(1)
    monkeypatch.setattr("ddpm_edu.evaluation.report.draw_samples", lambda *args, **kwargs: samples[:20])
    for shift, share in ((0, 1.0), (1, 0.0)):
        module.splits["test"].labels[:20] = (seen + shift) % 10
        report = evaluate(model, module, **settings)
        assert report["recognised"] == share and 0 <= report["sure"] <= share


class Untouchable(DigitsDataModule):
    def setup(self, stage=None):
        raise AssertionError("还没核对就读了数据")


class Bigger(Untouchable):
    image_size = 28


class Coloured(Untouchable):
    channels = 3


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        (Bigger, {}, r"\(1, 8, 8\).*\(1, 28, 28\).*Bigger"),
        (Coloured, {}, r"\(1, 8, 8\).*\(3, 8, 8\).*Coloured"),
        (dict, {}, "data_module.*dict"),
        (Untouchable, {"max_images": 1}, "max_images"),
        (Untouchable, {"num_samples": -1}, "num_samples"),
        (Untouchable, {"num_samples": 1}, "num_samples"),
        (Untouchable, {"steps": 0}, "steps"),
        (Untouchable, {"batch_size": 0}, "batch_size"),
        (Untouchable, {"seed": -1}, "seed"),
        (Untouchable, {"use_ema": "no"}, "use_ema"),
    ],
)
def test_mistakes_are_named_before_anything_is_read(module, arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        evaluate(digits_model(), module(), **arguments)


def test_the_bar_counts_network_calls_and_can_be_silent(capsys):
    evaluate(digits_model(), DigitsDataModule(), max_images=10, num_samples=0, batch_size=4, progress=True)
    # 三批，每批 6 步
    assert "/18" in capsys.readouterr().err
    evaluate(digits_model(), DigitsDataModule(), **QUICK)
    assert capsys.readouterr().err == ""


# ---- 命令行 ----

@pytest.fixture
def ckpt(tmp_path):
    model = digits_model()
    folder = tmp_path / "ckpt"
    save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, folder / "a.ckpt")
    return folder / "a.ckpt", model


def test_the_command_prints_a_table_and_writes_the_same_numbers(ckpt, tmp_path, capsys):
    path, model = ckpt
    out = tmp_path / "新 目录" / "report.json"
    quick = ["--ckpt", str(path), "--data", "digits", "--num", "10", "--samples", "20", "--steps", "3", "--device", "cpu"]
    assert main(["evaluate", *quick, "--out", str(out)]) == 0
    report, text = json.loads(out.read_text(encoding="utf-8")), capsys.readouterr().out
    want = evaluate(model, DigitsDataModule(), max_images=10, num_samples=20, steps=3, progress=False)
    assert report == {"ckpt": str(path), "data": "digits", "weights": "ema", **want}
    for words in (f"{want['bits_per_dim']:.4f} ± {want['bits_per_dim_se']:.4f}", f"{want['frechet']:.2f}", "4.0875", "EMA 权重", str(out)):
        assert words in text
    assert [p.name for p in out.parent.iterdir()] == ["report.json"]
    assert main(["evaluate", *quick, "--raw", "--samples", "0"]) == 0
    raw = evaluate(model, DigitsDataModule(), max_images=10, num_samples=0, use_ema=False, progress=False)
    text = capsys.readouterr().out
    assert f"{raw['bits_per_dim']:.4f}" in text and "原权重" in text and "Fréchet" not in text


def test_data_of_another_shape_are_refused(ckpt, tmp_path, monkeypatch, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert main(["evaluate", "--ckpt", str(ckpt[0]), "--data", "mnist"]) == 2
    assert "(1, 28, 28)" in capsys.readouterr().err and not list(empty.iterdir())


def test_every_option_has_chinese_help_and_the_command_runs_as_a_process():
    for action in make_parser()._actions[1:]:
        assert any("\u4e00" <= c <= "\u9fff" for c in action.help), action.dest
    done = run("ddpm_edu", "evaluate", "--help", cwd=ROOT)
    assert done.returncode == 0 and "bits/dim" in done.stdout and "--out" in done.stdout
    assert run("ddpm_edu", "evaluate", "--data", "digit", "--ckpt", "a", cwd=ROOT).returncode == 2


def test_data_are_made_by_name_with_the_given_root():
    assert set(DATA) == {"digits", "mnist", "fashion_mnist", "cifar10", "photos"}
    assert isinstance(make_data("digits", "x", tiny_ddpm()), DigitsDataModule)
    assert make_data("mnist", "那里", tiny_ddpm()).root == make_data("cifar10", "那里", tiny_ddpm()).root == "那里"


def test_padding_counts_a_chinese_character_as_two():
    assert pad("真图", 6) == "真图  " and pad("L_0", 4) == "L_0 " and pad("Fréchet 距离", 14) == "Fréchet 距离  "
