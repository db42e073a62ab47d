"""随包的配置：每一份都造得出模型，命令行与 configs.load 读到的相同"""
import inspect
import warnings

import pytest

from ddpm_edu import DDPM, configs, count_params
from ddpm_edu.cli import train_cli
from ddpm_edu.recipes import conditional_digits_config, digits_model_config

DEFAULTS = {name: p.default for name, p in inspect.signature(DDPM.__init__).parameters.items() if name != "self"}


def test_every_data_set_has_a_laptop_and_a_gpu_flavour():
    assert set(configs.names()) >= {f"{data}{flavour}" for data in ("digits", "mnist", "cifar10") for flavour in ("", "-laptop", "-gpu")}
    assert configs.layers("mnist-gpu")[0].endswith("mnist.yaml") and configs.layers("mnist-gpu")[1].endswith("mnist-gpu.yaml")
    assert len(configs.layers("mnist")) == 1
    with pytest.raises(ValueError, match="mnist-gpu"):
        configs.layers("mnist-gpus")


@pytest.mark.parametrize("name", configs.names())
def test_the_command_line_and_load_read_the_same_config(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cli = train_cli(["--config", name, "--trainer.accelerator=cpu", "--trainer.precision=32-true", "--trainer.logger=false"], run=False)
    loaded = configs.load(name)
    expected = {**DEFAULTS, **loaded["model"]}
    for key, value in expected.items():
        got = getattr(cli.config["model"], key)
        assert (list(got) if isinstance(got, tuple) else got) == (list(value) if isinstance(value, tuple) else value), key
    assert cli.config["trainer"].max_steps == loaded["trainer"]["max_steps"]
    assert vars(cli.config["speed"]) == {"compile": False, **loaded.get("speed", {})}
    assert vars(cli.config["data"].init_args).items() >= loaded["data"]["init_args"].items()
    # 学习率的计划与总步数一致，图像大小与数据一致
    assert cli.model.scheduler_config["params"]["max_decay_steps"] == cli.trainer.max_steps
    assert (cli.model.image_size, cli.model.channels) == (cli.datamodule.image_size, cli.datamodule.channels)


def test_digits_configs_are_the_recipes():
    plain = {**digits_model_config(), "adam_betas": [0.9, 0.99]}
    assert configs.load("digits")["model"] == plain
    assert configs.load("digits-class")["model"] == {**conditional_digits_config(["label"]), "adam_betas": [0.9, 0.99]}


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
    assert rate(0) < 1e-3 and rate(2500) == pytest.approx(0.5, abs=1e-3) and rate(5000) == rate(700_000) == 1.0


def test_an_overlay_replaces_recipes_whole_and_merges_the_rest():
    base = {"trainer": {"max_steps": 5, "devices": 1}, "model": {"unet_config": {"target": "a", "params": {"x": 1}}}}
    top = {"trainer": {"max_steps": 9}, "model": {"unet_config": {"target": "a", "params": {"y": 2}}}}
    merged = configs.overlay(base, top)
    assert merged == {"trainer": {"max_steps": 9, "devices": 1}, "model": {"unet_config": {"target": "a", "params": {"y": 2}}}}
    assert base["trainer"]["max_steps"] == 5
