"""我们给出的对象守它那一类的规矩：state_dict、读取、复制与 pickle 的通行写法都走得通"""
import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ddpm_edu import DDPM, DigitsDataModule, GaussianDiffusion, LitEma, count_params
from ddpm_edu.files.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

from .conftest import randomize, tiny_ddpm
from .test_checkpoint import equal, saved

# ---- 读取 ----


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.ckpt"


class PathLike:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.mark.parametrize("form", [str, PathLike, lambda path: io.BytesIO(path.read_bytes())])
def test_a_checkpoint_is_named_in_every_form_torch_load_takes(form, path):
    model = saved(path)
    assert equal(DDPM.load_from_checkpoint(form(path)), model)
    assert equal(tiny_ddpm(ckpt_path=form(path)), model)
    other = tiny_ddpm()
    other.init_from_ckpt(form(path))
    assert equal(other, model)


def test_a_damaged_file_object_is_refused(path):
    saved(path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(CheckpointError, match="已损坏"):
        load_checkpoint(io.BytesIO(damaged))
    with open(path, encoding="latin-1") as text, pytest.raises(TypeError, match="以二进制打开"):
        load_checkpoint(text)


@pytest.mark.parametrize("place", ["cpu", torch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, location: storage, None])
def test_map_location_is_read_as_torch_load_reads_it(place, path):
    model = saved(path)
    assert equal(DDPM.load_from_checkpoint(path, place), model)


def test_the_device_of_the_loaded_tensors_is_the_device_of_the_model(path):
    saved(path)
    assert DDPM.load_from_checkpoint(path, "meta").device.type == "meta"


def test_not_strict_says_what_was_left_and_loads_the_rest(path):
    model = saved(path)
    content = load_checkpoint(path)
    name = next(iter(dict(model.model.named_parameters(prefix="model"))))
    content["state_dict"] |= {"extra": torch.zeros(1)}
    del content["state_dict"][name]
    save_checkpoint(content, path)
    with pytest.raises(CheckpointError, match="缺少 1 个.*多出 1 个"):
        DDPM.load_from_checkpoint(path)
    with pytest.warns(UserWarning, match="缺少 1 个.*多出 1 个.*strict=False"):
        loaded = DDPM.load_from_checkpoint(path, strict=False)
    same = [torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items()]
    assert same.count(False) == 1
    content["state_dict"][name] = torch.zeros(1)
    save_checkpoint(content, path)
    with pytest.raises(CheckpointError, match="形状不符"):
        DDPM.load_from_checkpoint(path, strict=False)


@pytest.mark.parametrize("suffix", ["yaml", "csv"])
def test_hyper_parameters_come_from_the_file_the_logger_wrote(suffix, path, tmp_path):
    from pytorch_lightning.core.saving import save_hparams_to_tags_csv, save_hparams_to_yaml

    model = saved(path, learning_rate=0.25, adam_betas=(0.5, 0.75))
    save_checkpoint({"state_dict": model.state_dict()}, path)
    write = save_hparams_to_yaml if suffix == "yaml" else save_hparams_to_tags_csv
    write(str(tmp_path / f"hparams.{suffix}"), model.hparams)
    loaded = DDPM.load_from_checkpoint(path, hparams_file=tmp_path / f"hparams.{suffix}", seed=7)
    assert equal(loaded, model) and (loaded.learning_rate, loaded.adam_betas, loaded.seed) == (0.25, (0.5, 0.75), 7)


def test_an_object_in_the_file_of_hyper_parameters_is_refused(path, tmp_path):
    saved(path)
    (tmp_path / "h.yaml").write_text("unet_config: !!python/name:os.system ''")
    with pytest.raises(ValueError, match="hparams_file"):
        DDPM.load_from_checkpoint(path, hparams_file=tmp_path / "h.yaml")


def test_weights_only_changes_nothing_and_says_so(path):
    model = saved(path)
    with pytest.warns(UserWarning, match="weights_only=False 没有用"):
        assert equal(DDPM.load_from_checkpoint(path, weights_only=False), model)
    assert equal(DDPM.load_from_checkpoint(path, weights_only=None), model)


class WithHead(DDPM):
    def __init__(self, *args, width=1, **kwargs):
        super().__init__(*args, **kwargs)
        self.save_hyperparameters("width")
        self.head = nn.Linear(1, width)


def test_a_subclass_with_layers_of_its_own_loads_its_own_file(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = WithHead(**{**tiny_ddpm().hparams, "width": 3})
    save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    assert equal(WithHead.load_from_checkpoint(path), model)


def test_a_loader_that_returns_a_new_object_is_refused_on_an_old_one(path):
    saved(path)
    for one in (tiny_ddpm(), DigitsDataModule()):
        with pytest.raises(TypeError, match="在类上调用.*不改手里这个"):
            one.load_from_checkpoint(path)


def test_a_data_module_is_loaded_with_the_arguments_lightning_documents(path):
    save_checkpoint({"DigitsDataModule": {"position": 3}}, path)
    loaded = DigitsDataModule.load_from_checkpoint(path, map_location="cpu", hparams_file=None, weights_only=None, batch_size=5)
    assert loaded.state_dict() == {"position": 3} and loaded.batch_size == 5


# ---- 舍入过的文件 ----


def rounded(states, dtype, back=False):
    return {key: (value.to(dtype).float() if back else value.to(dtype)) if value.is_floating_point() else value for key, value in states.items()}


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_file_rounded_as_a_whole_is_recognised_and_its_tables_computed_anew(dtype, back, path):
    model = saved(path)
    save_checkpoint({"state_dict": rounded(model.state_dict(), dtype, back)}, path)
    loaded = tiny_ddpm()
    with pytest.warns(UserWarning, match=f"按 {dtype} 舍入过"):
        loaded.init_from_ckpt(path)
    assert torch.equal(loaded.betas, model.betas) and torch.equal(loaded.alphas_cumprod, model.alphas_cumprod)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    with pytest.raises(CheckpointError, match="噪声表不一致"):
        tiny_ddpm(ckpt_path=path, linear_end=0.0201)


def test_a_shadow_stays_in_full_precision_when_a_half_one_is_assigned():
    model = tiny_ddpm()
    model.load_state_dict(rounded({key: value for key, value in model.state_dict().items() if key.startswith("model_ema")}, torch.float16),
                          strict=False, assign=True)
    assert {p.dtype for p in model.model_ema.parameters()} == {torch.float32}


def test_saving_never_sounds_as_if_reading_were_unsafe(tmp_path, caplog):
    from .test_training import fit, model_for_training

    with caplog.at_level("INFO"):
        fit(model_for_training(), 1, tmp_path, limit_val_batches=0).save_checkpoint(tmp_path / "a.ckpt")
    assert not [record for record in caplog.records if "weights_only" in record.getMessage()]


# ---- state_dict ----


def test_a_state_dict_goes_into_every_common_format(tmp_path):
    model = randomize(tiny_ddpm())
    states = model.state_dict()
    save_file(states, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **{key: value.numpy() for key, value in states.items()})
    torch.save(states, tmp_path / "a.pt")
    arrays = np.load(tmp_path / "a.npz")
    read = {
        "safetensors": load_file(tmp_path / "a.safetensors"), "npz": {key: torch.from_numpy(arrays[key]) for key in arrays.files},
        "torch": torch.load(tmp_path / "a.pt", weights_only=True),
    }
    for kind, found in read.items():
        for assign in (False, True):
            other = tiny_ddpm()
            other.load_state_dict(found, assign=assign)
            assert equal(other, model), kind
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(vector + 1, model.parameters())
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), vector + 1)


class Holder(nn.Module):
    """DDPM 装在别的模块里，旁边还有编译过的"""

    def __init__(self, compiled):
        super().__init__()
        self.other, self.ddpm = torch.compile(nn.Linear(1, 1)), tiny_ddpm()
        if compiled:
            self.ddpm.model = torch.compile(self.ddpm.model)


def test_a_model_inside_another_module_keeps_its_keys_and_leaves_those_of_others():
    plain, compiled = Holder(compiled=False), Holder(compiled=True)
    randomize(compiled)
    assert plain.state_dict().keys() == compiled.state_dict().keys() and "other._orig_mod.weight" in plain.state_dict()
    plain.load_state_dict(compiled.state_dict())
    assert equal(plain, compiled)
    randomize(plain, seed=1)
    compiled.load_state_dict(plain.state_dict())
    assert equal(plain, compiled)


def test_weights_loaded_inside_the_ema_scope_would_be_lost_and_are_refused():
    model = tiny_ddpm()
    with model.ema_scope(), pytest.raises(RuntimeError, match="ema_scope 之外"):
        model.load_state_dict(model.state_dict())


def test_a_prefix_given_by_position_reaches_the_raw_weights():
    model = randomize(tiny_ddpm())
    outside = {key: value.clone() for key, value in model.state_dict(prefix="p.").items()}
    with model.ema_scope(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 说按位置给的写法过时了，但仍然认
        inside = model.state_dict(None, "p.")
    assert inside.keys() == outside.keys() and all(torch.equal(inside[key], outside[key]) for key in outside)


def test_restoring_the_wrong_parameters_changes_nothing_and_loses_nothing():
    net = nn.Linear(2, 2)
    ema, weight = LitEma(net), net.weight.detach().clone()
    ema.store(net)
    with torch.no_grad():
        net.weight.zero_()
    for wrong in (list(net.parameters())[:1], [nn.Parameter(torch.zeros(1, 2)), net.bias]):
        with pytest.raises(ValueError, match="还在"):
            ema.restore(wrong)
    assert not net.weight.any()
    ema.restore(net)
    assert torch.equal(net.weight, weight)


# ---- 复制与 pickle ----


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_values_can_be_copied_and_pickled(again):
    count = count_params(nn.Linear(2, 1))
    other = again(count)
    assert other == 3 and type(other) is type(count) and (other.trainable, other.by_module) == (3, count.by_module)
    model = tiny_ddpm()
    assert equal(again(model), model) and torch.equal(again(GaussianDiffusion(10)).betas, GaussianDiffusion(10).betas)
    assert isinstance(again(DigitsDataModule(batch_size=3)), pl.LightningDataModule)
