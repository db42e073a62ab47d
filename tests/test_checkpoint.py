"""检查点：完整、可查错、安全、不悄悄少载"""
import enum
import os
import random
import shutil
import time
import warnings
from argparse import Namespace
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ddpm_edu import DDPM, count_params, pretrained
from ddpm_edu.files.checkpoint import CheckpointError, atomic_file, atomic_folder, load_checkpoint, save_checkpoint

from .conftest import randomize, tiny_ddpm, tiny_unet


def saved(path, **kwargs):
    model = tiny_ddpm(**kwargs)
    randomize(model.model)
    if model.use_ema:
        model.model_ema(model.model)
    save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    return model


def equal(a, b):
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_round_trip(tmp_path):
    model = saved(tmp_path / "a.ckpt", learn_logvar=True, logvar_init=0.3)
    assert equal(tiny_ddpm(ckpt_path=str(tmp_path / "a.ckpt"), learn_logvar=True), model)
    assert equal(DDPM.load_from_checkpoint(tmp_path / "a.ckpt"), model)


@pytest.mark.parametrize("change", [{"timesteps": 30}, {"beta_schedule": "sqrt"}])
def test_taking_only_the_network_says_when_the_table_differs(tmp_path, change):
    saved(tmp_path / "a.ckpt")
    with pytest.warns(UserWarning, match=f"{next(iter(change))}：文件"):
        tiny_ddpm(**change).init_from_ckpt(tmp_path / "a.ckpt", only_model=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_ddpm().init_from_ckpt(tmp_path / "a.ckpt", only_model=True)


def test_load_only_unet_really_loads_and_restarts_ema(tmp_path):
    model = saved(tmp_path / "a.ckpt", timesteps=20)
    # 只取网络时，别的 T 也可以
    other = tiny_ddpm(ckpt_path=str(tmp_path / "a.ckpt"), load_only_unet=True)
    assert equal(other.model, model.model)
    with other.ema_scope():
        assert equal(other.model, model.model)


def test_file_without_ema_starts_ema_from_the_loaded_weights(tmp_path):
    model = saved(tmp_path / "a.ckpt", use_ema=False)
    other = tiny_ddpm(ckpt_path=str(tmp_path / "a.ckpt"))
    with other.ema_scope():
        assert equal(other.model, model.model)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [(dict(timesteps=40), "timesteps"), (dict(beta_schedule="cosine"), "beta_schedule"),
     (dict(parameterization="v"), "parameterization"), (dict(linear_end=0.03), "噪声表"),
     (dict(unet=tiny_unet(model_channels=16)), "形状不符"), (dict(unet=tiny_unet(num_res_blocks=2)), "缺少"),
     (dict(use_ema=False), "多出.*model_ema"), (dict(ignore_keys="model"), "ignore_keys"),
     (dict(ignore_keys=["no.such"]), "no.such")],
)
def test_no_silent_partial_load(kwargs, match, tmp_path):
    saved(tmp_path / "a.ckpt")
    with pytest.raises((CheckpointError, ValueError, TypeError), match=match):
        tiny_ddpm(ckpt_path=str(tmp_path / "a.ckpt"), **kwargs)


def test_overlapping_ignore_keys_are_fine(tmp_path):
    model = saved(tmp_path / "a.ckpt")
    other = tiny_ddpm(ckpt_path=str(tmp_path / "a.ckpt"), ignore_keys=["model.diffusion_model.out", "model.diffusion", "model_ema"])
    name = "model.diffusion_model.out.2.weight"
    assert not torch.equal(other.state_dict()[name], model.state_dict()[name])


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
def test_wrapper_prefixes_are_accepted(prefix, tmp_path):
    model = tiny_ddpm()
    randomize(model.model)
    save_checkpoint({"state_dict": {prefix + k: v for k, v in model.state_dict().items()}}, tmp_path / "a.ckpt")
    assert equal(tiny_ddpm(ckpt_path=str(tmp_path / "a.ckpt")).model, model.model)


def test_nan_weights_are_refused(tmp_path):
    model = tiny_ddpm()
    model.model.diffusion_model.out[2].bias.data.fill_(float("nan"))
    save_checkpoint({"state_dict": model.state_dict()}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="NaN.*out.2.bias"):
        tiny_ddpm(ckpt_path=str(tmp_path / "a.ckpt"))


@pytest.mark.parametrize("content", [{"state_dict": 5}, {"state_dict": {"a": 1}}, {"epoch": 3}])
def test_a_checkpoint_without_weights_is_explained(content, tmp_path):
    save_checkpoint(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="state_dict"):
        tiny_ddpm(ckpt_path=str(tmp_path / "a.ckpt"))


def refused(path, contents, load):
    """contents 里的每一份写进 path 之后，有几份 load 拒绝打开"""
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in contents:
            path.write_bytes(content)
            try:
                load(path)
            except CheckpointError:
                count += 1
    return count


def flipped(good, bits):
    for bit in bits:
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        yield bad


@pytest.fixture
def trained_file(tmp_path):
    """Trainer 存的检查点：权重、EMA、优化器、回调都在里面"""
    from .test_training import fit, model_for_training

    fit(model_for_training(), 1, tmp_path, limit_val_batches=0).save_checkpoint(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_every_bit_flip_is_refused(trained_file, amount, tally):
    good, rng, tried = trained_file.read_bytes(), random.Random(0), amount(50, 400)
    tally(refused(trained_file, flipped(good, (rng.randrange(len(good) * 8) for _ in range(tried))), load_checkpoint), tried)


def test_every_bit_flip_in_the_digest_itself_is_refused(tmp_path, tally):
    save_checkpoint({"x": torch.randn(50), "y": {"z": 1}}, tmp_path / "a.ckpt")
    good = (tmp_path / "a.ckpt").read_bytes()
    bits = range((len(good) - 110) * 8, len(good) * 8, 7)
    tally(refused(tmp_path / "a.ckpt", flipped(good, bits), load_checkpoint), len(bits))


def test_every_truncation_is_refused(trained_file, amount, tally):
    good, rng, tried = trained_file.read_bytes(), random.Random(0), amount(20, 100)
    sizes = [0, len(good) - 1, *(rng.randrange(len(good)) for _ in range(tried - 2))]
    tally(refused(trained_file, (good[:size] for size in sizes), load_checkpoint), tried)


def test_files_without_a_digest_load_with_a_note(tmp_path):
    torch.save({"x": torch.ones(2)}, tmp_path / "a.ckpt")
    with pytest.warns(UserWarning, match="SHA-256"):
        assert load_checkpoint(tmp_path / "a.ckpt")["x"].sum() == 2


def test_a_save_reaches_the_disk_beside_the_target_before_it_takes_the_name(tmp_path, monkeypatch):
    done, replace, fsync = [], os.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: done.append("fsync") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda source, target: done.append((os.path.dirname(source), target)) or replace(source, target))
    save_checkpoint({"x": 1}, tmp_path / "a.ckpt")
    assert done == ["fsync", (str(tmp_path), tmp_path / "a.ckpt")]


@pytest.mark.skipif(os.name == "nt", reason="Windows 没有这样的权限位")
def test_others_can_read_the_file_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        save_checkpoint({"x": 1}, tmp_path / "a.ckpt")
    finally:
        os.umask(before)
    assert (tmp_path / "a.ckpt").stat().st_mode & 0o777 == 0o640


def test_a_url_is_refused_before_anything_is_opened():
    with pytest.raises(ValueError, match="网址"):
        load_checkpoint("https://example.com/a.ckpt")


def test_half_an_average_is_an_error(tmp_path):
    model = tiny_ddpm()
    states = model.state_dict()
    states.pop("model_ema.num_updates")
    save_checkpoint({"state_dict": states}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="缺少 1 个.*model_ema.num_updates"):
        tiny_ddpm(ckpt_path=str(tmp_path / "a.ckpt"))


def test_a_failed_save_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.ckpt"
    save_checkpoint({"x": 1}, path)
    with pytest.raises(CheckpointError, match="Python 自带的类型"):
        save_checkpoint({"x": lambda: 1}, path)
    assert load_checkpoint(path) == {"x": 1} and [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


class Shape(enum.Enum):
    LINEAR = "linear"


class Name(str):
    def __str__(self):
        return "另一个字"


class Steps(int):
    pass


ODD = {
    "str 的子类": (Name("linear"), "linear"), "int 的子类": (Steps(3), 3), "ParamCount": (count_params(torch.nn.Linear(2, 1)), 3),
    "枚举": (Shape.LINEAR, "linear"), "分数": (Fraction(1, 4), 0.25), "NumPy 标量": (np.float64(1.5), 1.5), "NumPy 布尔": (np.bool_(True), True),
    "数组": (np.array([1, 2]), [1, 2]), "范围": (range(2), [0, 1]), "元组": ((np.int64(2), [Name("a")]), (2, ["a"])), "集合": ({np.int64(1)}, {1}),
    "路径": (PurePosixPath("a/b"), "a/b"), "字典": (MappingProxyType({Name("k"): Steps(1)}), {"k": 1}),
    "名字空间": (Namespace(a=SimpleNamespace(b=1)), {"a": {"b": 1}}),
    "bytearray": (bytearray(b"x"), b"x"), "dtype": (torch.float16, torch.float16),
}


def types_in(value):
    if isinstance(value, dict):
        return {dict}.union(*(types_in(item) for pair in value.items() for item in pair))
    return {type(value)}.union(*map(types_in, value)) if isinstance(value, (list, tuple, set)) else {type(value)}


def test_what_we_save_we_can_read(tmp_path):
    for kind, (value, expected) in ODD.items():
        save_checkpoint({"x": value}, tmp_path / "a.ckpt")
        got = load_checkpoint(tmp_path / "a.ckpt")["x"]
        assert got == expected and types_in(got) == types_in(expected), kind


@pytest.mark.parametrize("value", [torch.Generator(), np.array([object()]), np.datetime64("2020-01-01"), torch.channels_last, int])
def test_what_we_could_not_read_back_is_not_saved(value, tmp_path):
    with pytest.raises(CheckpointError, match="检查点的内容 应为张量和 Python 自带的类型"):
        save_checkpoint({"x": [value]}, tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())


def test_compiled_network_adds_nothing_to_the_keys_and_loads_its_own_file(tmp_path):
    plain_model, model = tiny_ddpm(), tiny_ddpm()
    randomize(model.model)
    model.model = torch.compile(model.model)
    assert any("_orig_mod" in name for name, _ in model.named_parameters())
    assert set(model.state_dict()) == set(plain_model.state_dict())
    with model.ema_scope():
        assert set(model.state_dict()) == set(plain_model.state_dict())
    save_checkpoint({"state_dict": model.state_dict()}, tmp_path / "a.ckpt")
    plain_model.init_from_ckpt(tmp_path / "a.ckpt")
    assert equal(plain_model, model)
    other = tiny_ddpm()
    other.model = torch.compile(other.model)
    other.init_from_ckpt(tmp_path / "a.ckpt")
    assert equal(other, model)


def test_a_network_trained_for_another_target_is_refused_even_alone(tmp_path):
    saved(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="parameterization"):
        tiny_ddpm(ckpt_path=str(tmp_path / "a.ckpt"), load_only_unet=True, parameterization="v")


def test_a_damaged_shipped_model_is_refused(tmp_path, monkeypatch, amount, tally):
    for name in ("digits.json", "digits.safetensors"):
        shutil.copy(pretrained.HERE / name, tmp_path / name)
    path = tmp_path / "digits.safetensors"
    good, rng, tried = path.read_bytes(), random.Random(0), amount(10, 100)
    monkeypatch.setattr(pretrained, "HERE", tmp_path)
    pretrained.load_pretrained()
    damaged = [*flipped(good, (rng.randrange(len(good) * 8) for _ in range(tried))),
               *(good[:rng.randrange(len(good))] for _ in range(tried))]
    tally(refused(path, damaged, lambda path: pretrained.load_pretrained()), 2 * tried)


def test_safetensors_without_a_digest_load_with_a_note(tmp_path):
    # 格式本身不带摘要：翻转的比特落在权重里就看不出来，只能提醒
    model = tiny_ddpm()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "a.safetensors")
    with pytest.warns(UserWarning, match="a.safetensors.*SHA-256"):
        load_checkpoint(tmp_path / "a.safetensors")
    assert equal(tiny_ddpm(ckpt_path=tmp_path / "a.safetensors"), model)
    with warnings.catch_warnings():
        # 随包模型自己核对过，不必提醒
        warnings.simplefilter("error")
        pretrained.load_pretrained()


def test_every_truncation_of_safetensors_is_refused(tmp_path, amount, tally):
    path, rng, tried = tmp_path / "a.safetensors", random.Random(0), amount(20, 100)
    save_file({"x": torch.randn(300), "y": torch.randn(20)}, path)
    good = path.read_bytes()
    tally(refused(path, [good[:rng.randrange(len(good))] for _ in range(tried)], load_checkpoint), tried)


def test_the_content_is_on_disk_before_the_file_gets_its_name(tmp_path, monkeypatch):
    done, path = [], tmp_path / "a.ckpt"
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, original=original: done.append((name, path.exists())) or original(*args))
    save_checkpoint({"x": 1}, path)
    assert done == [("fsync", False), ("replace", False)] and path.exists()


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "a") as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_a_folder_that_fails_half_way_leaves_nothing_and_an_abandoned_one_is_swept(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "a") as folder:
        (folder / "inside").mkdir()
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    for name, age in ((".a.old.part", 3700), (".a.young.part", 60), (".b.old.part", 3700)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with atomic_folder(tmp_path / "a") as folder:
        (folder / "x").write_bytes(b"1")
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".a.young.part", ".b.old.part"} and (tmp_path / "a" / "x").read_bytes() == b"1"


def test_files_torch_did_not_save_or_did_not_finish_are_one_sentence_without_a_warning(tmp_path):
    torch.save({"x": torch.zeros(9000)}, tmp_path / "whole.ckpt")
    whole = (tmp_path / "whole.ckpt").read_bytes()
    for content, words in ((b"\x08\xb8DU" * 9000, "不是 torch 存的文件"), (whole[:20_000], "没有写完")):
        (tmp_path / "a.ckpt").write_bytes(content)
        with warnings.catch_warnings(), pytest.raises(CheckpointError, match=words) as found:
            warnings.simplefilter("error")
            load_checkpoint(tmp_path / "a.ckpt")
        assert "a.ckpt" in str(found.value) and "\n" not in str(found.value)
