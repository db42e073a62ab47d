"""随包的配置：每一份都造得出模型，命令行与 configs.load 读到的相同"""
import inspect
import warnings
from argparse import Namespace
from collections import deque
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest

from ddpm_edu import DDPM, UNet, configs, count_params, instantiate_from_config
from ddpm_edu.cli.main import train_cli
from ddpm_edu.configs.recipes import conditional_digits_config, digits_model_config
from ddpm_edu.files.checkpoint import load_checkpoint, save_checkpoint

from .conftest import tiny_ddpm, tiny_unet

DEFAULTS = {name: p.default for name, p in inspect.signature(DDPM.__init__).parameters.items() if name != "self"}


def test_every_data_set_has_a_laptop_and_a_gpu_flavour():
    assert set(configs.names()) >= {f"{data}{flavour}" for data in ("digits", "mnist", "cifar10") for flavour in ("", "-laptop", "-gpu")}
    assert configs.layers("mnist-gpu")[0].endswith("mnist.yaml") and configs.layers("mnist-gpu")[1].endswith("mnist-gpu.yaml")
    assert len(configs.layers("mnist")) == 1
    with pytest.raises(ValueError, match="mnist-gpu"):
        configs.layers("mnist-gpus")


def test_the_command_line_and_load_read_the_same_config(amount):
    """平时每份数据试一种，叠法各不相同"""
    for name in amount(("digits-class", "mnist-laptop", "cifar10-gpu"), [name for name in configs.names() if "model_class" not in configs.load(name)]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cli = train_cli(["--config", name, "--trainer.accelerator=cpu", "--trainer.precision=32-true", "--trainer.logger=false"], run=False)
        loaded = configs.load(name)
        expected = {**DEFAULTS, **loaded["model"]}
        for key, value in expected.items():
            got = getattr(cli.config["model"], key)
            assert (list(got) if isinstance(got, tuple) else got) == (list(value) if isinstance(value, tuple) else value), (name, key)
        assert cli.config["trainer"].max_steps == loaded["trainer"]["max_steps"], name
        assert vars(cli.config["speed"]) == {"compile": False, **loaded.get("speed", {})}, name
        assert vars(cli.config["data"].init_args).items() >= loaded["data"]["init_args"].items(), name
        # 学习率的计划与总步数一致，图像大小与数据一致
        assert cli.model.scheduler_config["params"]["max_decay_steps"] == cli.trainer.max_steps, name
        assert (cli.model.image_size, cli.model.channels) == (cli.datamodule.image_size, cli.datamodule.channels), name


def test_every_flavour_writes_into_a_folder_of_its_own():
    """--ckpt_path last 找的是同一份配置的检查点，不是别的网络的"""
    for name in ("digits", "digits-class"):
        assert [logger["init_args"]["name"] for logger in configs.load(name)["trainer"]["logger"]] == [name] * 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cli = train_cli([f"--config={name}", "--trainer.accelerator=cpu", "--trainer.precision=32-true"], run=False)
        assert [logger.name for logger in cli.trainer.loggers] == [name] * 2


def test_digits_configs_are_the_recipes():
    assert configs.load("digits")["model"] == digits_model_config()
    assert configs.load("digits-class")["model"] == conditional_digits_config(["label"])
    longer = digits_model_config(4000, width=32, ema_decay=0.999)
    assert (longer["scheduler_config"]["params"]["max_decay_steps"], longer["ema_decay"]) == (4000, 0.999)
    assert longer["unet_config"]["params"]["model_channels"] == 32


def test_cifar10_is_the_network_and_the_recipe_of_the_paper():
    config = configs.load("cifar10")
    model = DDPM(**config["model"])
    # Ho 2020：35.7 M 参数，附录 B 的超参数
    assert count_params(model.model) == 35_746_307
    dropouts = {m.p for m in model.model.modules() if type(m).__name__ == "Dropout"}
    assert dropouts == {0.1}
    assert (model.learning_rate, model.weight_decay, model.model_ema.decay, config["data"]["init_args"]["batch_size"]) == (2e-4, 0.0, 0.9999, 128)
    assert config["trainer"]["gradient_clip_val"] == 1.0 and config["trainer"]["max_steps"] == 800_000
    scheduler = model.configure_optimizers()["lr_scheduler"]["scheduler"]
    rate = scheduler.lr_lambdas[0]
    # 热身从 2e-4 而不是 0 起，中点比一半多出万分之一
    assert rate(0) < 1e-3 and rate(2500) == pytest.approx(0.5, abs=1e-3) and rate(5000) == rate(700_000) == 1.0


def test_an_overlay_replaces_recipes_whole_and_merges_the_rest():
    base = {"trainer": {"max_steps": 5, "devices": 1}, "model": {"unet_config": {"target": "a", "params": {"x": 1}}}}
    top = {"trainer": {"max_steps": 9}, "model": {"unet_config": {"target": "a", "params": {"y": 2}}}}
    merged = configs.overlay(base, top)
    assert merged == {"trainer": {"max_steps": 9, "devices": 1}, "model": {"unet_config": {"target": "a", "params": {"y": 2}}}}
    assert base["trainer"]["max_steps"] == 5


class Node(Mapping):
    """配置库的字典：不是 dict，取值时才算出来，如 OmegaConf 的插值"""

    def __init__(self, items):
        self.items_ = items

    def __getitem__(self, key):
        return held_by(Node, self.items_[key])

    def __iter__(self):
        return iter(self.items_)

    def __len__(self):
        return len(self.items_)


def held_by(kind, value):
    if isinstance(value, dict):
        return kind(value) if kind is Node else kind(**{key: held_by(kind, item) for key, item in value.items()})
    return deque(value) if kind is Node and isinstance(value, list) else value


@pytest.mark.parametrize("kind", [Node, Namespace, SimpleNamespace])
def test_configurations_come_in_whatever_library_the_user_holds_them(kind, tmp_path):
    recipe = tiny_unet()
    model = tiny_ddpm(held_by(kind, recipe), adam_betas=deque([0.9, 0.99]), timesteps=np.int64(50), use_ema=np.bool_(True))
    assert model.hparams.unet_config == recipe and type(model.hparams.unet_config["params"]["channel_mult"]) is list
    assert isinstance(instantiate_from_config(held_by(kind, recipe)), UNet)
    save_checkpoint({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, tmp_path / "a.ckpt")
    assert load_checkpoint(tmp_path / "a.ckpt")["hyper_parameters"] == dict(model.hparams)


def test_omegaconf_is_taken_as_it_is():
    OmegaConf = pytest.importorskip("omegaconf").OmegaConf
    config = OmegaConf.create({"width": 8, "unet": tiny_unet(model_channels="${width}")})
    assert tiny_ddpm(config.unet).hparams.unet_config["params"]["model_channels"] == 8 and isinstance(UNet(**config.unet.params), UNet)
