"""打开文件绝不执行代码：恶意文件 × 每个入口 × 有无 TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD；配置里只造该造的类"""
import gzip
import hashlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import pytorch_lightning as pl
import yaml
from torch import nn

import ddpm_edu.pretrained as pretrained
from ddpm_edu import DDPM, CIFAR10DataModule, DigitsDataModule, MNISTDataModule, instantiate_from_config
from ddpm_edu.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from ddpm_edu.classifier import cached_classifier
from ddpm_edu.cli import main
from ddpm_edu.recipes import toy_model_config

from .conftest import tiny_ddpm
from .hostile_files import FILES, open_carelessly
from .test_training import QUIET, fit, model_for_training

ROOT = Path(__file__).resolve().parents[1]
FORCE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
CLI = ["--config", "digits", "--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.callbacks=null"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """真的训练出来的检查点，什么都有"""
    folder = tmp_path_factory.mktemp("good")
    fit(model_for_training(), 1, folder).save_checkpoint(folder / "a.ckpt")
    return load_checkpoint(folder / "a.ckpt")


def command(*arguments):
    """命令行的一个入口；退出码不是 2 就当作没有拒绝"""
    def enter(path):
        if main([str(path) if a == "FILE" else a for a in arguments]) == 2:
            raise CheckpointError("退出码 2")

    return enter


def trainer(method):
    def enter(path):
        getattr(pl.Trainer(**QUIET, max_steps=2, enable_checkpointing=False), method)(
            model_for_training(), datamodule=DigitsDataModule(), ckpt_path=str(path))

    return enter


def as_data(cls):
    """放进数据目录，当作已经下载好的文件"""
    def enter(path):
        module = cls(path.parent / "root", progress=False)
        for file in cls.files:
            target = path.parent / "root" / cls.folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes() if cls is CIFAR10DataModule else gzip.compress(path.read_bytes()))
        module.setup()

    return enter


def as_pretrained(path):
    """换掉随包的模型，连同记着的摘要"""
    card = {"model": toy_model_config(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (path.parent / "digits.json").write_text(json.dumps(card), encoding="utf-8")
    path.rename(path.parent / "digits.safetensors")
    pretrained.load_pretrained("digits")


def as_safetensors(use):
    return lambda path: use(path.rename(path.with_suffix(".safetensors")))


WAYS = {
    "DDPM(ckpt_path=)": lambda path: tiny_ddpm(ckpt_path=str(path)),
    "DDPM(ckpt_path=) 改名成 .safetensors": as_safetensors(lambda path: tiny_ddpm(ckpt_path=str(path))),
    "init_from_ckpt": lambda path: tiny_ddpm().init_from_ckpt(path),
    "load_from_checkpoint": DDPM.load_from_checkpoint,
    "数据模块的 load_from_checkpoint": DigitsDataModule.load_from_checkpoint,
    "Trainer.fit": trainer("fit"),
    "Trainer.validate": trainer("validate"),
    "sample": command("sample", "--ckpt", "FILE", "--out", "a.png", "-n", "1", "--steps", "1", "--device", "cpu"),
    "evaluate": command("evaluate", "--ckpt", "FILE", "--data", "digits", "--device", "cpu"),
    "fit --ckpt_path": lambda path: command("fit", *CLI, f"--ckpt_path={path}")(path),
    "validate --ckpt_path": lambda path: command("validate", *CLI, f"--ckpt_path={path}")(path),
    "fit --model.ckpt_path": lambda path: command("fit", *CLI, f"--model.ckpt_path={path}")(path),
    "fit --config": command("fit", "--config", "FILE"),
    "小分类器的缓存": as_safetensors(lambda path: cached_classifier(DigitsDataModule(), path)),
    "随包模型": as_pretrained,
    "MNIST 的文件": as_data(MNISTDataModule),
    "CIFAR-10 的文件": as_data(CIFAR10DataModule),
}


def refused(enter, make, good, folder):
    """这个入口拒绝了这个文件，金丝雀没有叫，目录之外也没有多出东西"""
    folder.mkdir(parents=True)
    canary, path = folder / "canary", folder / "a.ckpt"
    path.write_bytes(make(good, str(canary)))
    outside = set(folder.parent.iterdir())
    try:
        enter(path)
    except (RuntimeError, ValueError, OSError):
        return not canary.exists() and set(folder.parent.iterdir()) == outside
    return False


@pytest.mark.parametrize("way", WAYS)
def test_hostile_pickles_never_run(way, good, tmp_path, monkeypatch, amount, tally):
    monkeypatch.chdir(tmp_path)
    for cls in (MNISTDataModule, CIFAR10DataModule):
        monkeypatch.setattr(cls, "mirrors", ())
    monkeypatch.setattr(pretrained, "HERE", tmp_path)
    warnings.simplefilter("ignore")
    # 平时每个入口试两种，轮着来，合起来每种都试到
    first, step, passed, tried = list(WAYS).index(way), amount(9, 1), 0, 0
    for force in ("0", "1"):
        monkeypatch.setenv(FORCE, force)
        for i, (name, make) in enumerate(FILES.items()):
            if (i + first) % step:
                continue
            folder = tmp_path / force / str(i)
            monkeypatch.setattr(pretrained, "HERE", folder)
            tried += 1
            if refused(WAYS[way], make, good, folder):
                passed += 1
            else:
                print(f"没有拒绝：{name}，{FORCE}={force}")
    tally(passed, tried)


@pytest.mark.parametrize("name", FILES)
def test_every_hostile_file_is_alive(name, good, tmp_path):
    (tmp_path / "a.ckpt").write_bytes(FILES[name](good, str(tmp_path / "canary")))
    open_carelessly(tmp_path / "a.ckpt")
    assert (tmp_path / "canary").exists()


def test_every_way_in_opens_a_good_file(good, tmp_path, monkeypatch):
    """拒绝是因为文件有毒，不是因为入口用错了"""
    monkeypatch.chdir(tmp_path)
    save_checkpoint(good, tmp_path / "a.ckpt")
    for name in ("DDPM(ckpt_path=)", "init_from_ckpt", "load_from_checkpoint", "数据模块的 load_from_checkpoint", "Trainer.fit", "Trainer.validate"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            WAYS[name](tmp_path / "a.ckpt")


PROCESSES = [["fit", *CLI, "--ckpt_path"], ["sample", "--out", "a.png", "--ckpt"], ["evaluate", "--data", "digits", "--ckpt"]]


def test_a_real_process_refuses_it_too(good, tmp_path, amount, tally):
    (tmp_path / "a.ckpt").write_bytes(FILES["callbacks"](good, str(tmp_path / "canary")))
    chosen, passed = PROCESSES[:amount(1, 3)], 0
    for arguments in chosen:
        done = subprocess.run([sys.executable, "-m", "ddpm_edu", *arguments, "a.ckpt"], cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT), FORCE: "1", "OMP_NUM_THREADS": "1"})
        passed += done.returncode == 2 and "不能安全读取" in done.stderr and "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]
    tally(passed, len(chosen))


# ---- 配置里的 target 与 class_path ----

CALLED = []


def record(*args, **kwargs):
    CALLED.append((args, kwargs))


def network(*args, **kwargs) -> nn.Module:
    record()
    return nn.Identity()


def data(*args, **kwargs) -> pl.LightningDataModule:
    record()
    return DigitsDataModule()


def callback(*args, **kwargs) -> pl.Callback:
    record()
    return pl.Callback()


class NotANetwork:
    def __init__(self, *args, **kwargs):
        record()


class Instance(nn.Module):
    def forward(self, *args, **kwargs):
        record()


instance = Instance()
HERE = "tests.test_hostile"
TARGETS = [*(f"{HERE}.{name}" for name in ("record", "network", "data", "callback", "NotANetwork", "instance", "CALLED.append")),
           "os.system", "os.mkdir", "subprocess.Popen", "builtins.eval", "builtins.exec", "torch.hub.load", "torch.load", "torch.jit.load",
           "torch.utils.collect_env.run", "functools.partial", "importlib.import_module"]


def in_file(key):
    """检查点的 hyper_parameters 里的一项"""
    def enter(config, good, path):
        save_checkpoint({**good, "hyper_parameters": {**good["hyper_parameters"], key: config}}, path)
        DDPM.load_from_checkpoint(path)

    return enter


def in_yaml(place):
    """YAML 里的一项；place(config) 给出要叠在 digits 上的内容"""
    def enter(config, good, path):
        path.write_text(yaml.safe_dump(place(config)), encoding="utf-8")
        command("fit", *CLI, "--config", "FILE")(path)

    return enter


def as_class_path(config):
    return {"class_path": config["target"], "init_args": config["params"]}


PLACES = {
    "instantiate_from_config": lambda config, good, path: instantiate_from_config(config),
    "DDPM(unet_config=)": lambda config, good, path: DDPM(config),
    "DDPM(scheduler_config=)": lambda config, good, path: tiny_ddpm(scheduler_config=config),
    "检查点的 unet_config": in_file("unet_config"),
    "检查点的 scheduler_config": in_file("scheduler_config"),
    "YAML 的 unet_config": in_yaml(lambda config: {"model": {"unet_config": config}}),
    "YAML 的 scheduler_config": in_yaml(lambda config: {"model": {"scheduler_config": config}}),
    "YAML 的 data": in_yaml(lambda config: {"data": as_class_path(config)}),
    "YAML 的 callbacks": in_yaml(lambda config: {"trainer": {"callbacks": [as_class_path(config)]}}),
    "YAML 的 logger": in_yaml(lambda config: {"trainer": {"logger": as_class_path(config)}}),
    "YAML 的 strategy": in_yaml(lambda config: {"trainer": {"strategy": as_class_path(config)}}),
    "命令行的 --data": lambda config, good, path: command("fit", *CLI, f"--data={config['target']}")(path),
}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_but_a_class_of_the_right_kind_is_called(place, good, tmp_path, monkeypatch, amount, tally):
    monkeypatch.chdir(tmp_path)
    warnings.simplefilter("ignore")
    first, passed, tried = list(PLACES).index(place), 0, 0
    for i, target in enumerate(TARGETS):
        if (i + first) % amount(8, 1):
            continue
        CALLED.clear()
        params = {"command": "touch canary"} if target == "os.system" else {"path": "canary"} if target == "os.mkdir" else {}
        tried += 1
        try:
            PLACES[place]({"target": target, "params": params}, good, tmp_path / f"{i}.file")
        except (ValueError, RuntimeError):
            passed += not CALLED and not (tmp_path / "canary").exists()
    tally(passed, tried)


def test_a_class_of_your_own_is_still_welcome(tmp_path, monkeypatch):
    """网络可以是任何能导入的 nn.Module 子类，不必先导入"""
    (tmp_path / "my_network.py").write_text("from torch import nn\nclass Net(nn.Module):\n    def forward(self, x, t):\n        return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert type(tiny_ddpm({"target": "my_network.Net"}).model.diffusion_model).__name__ == "Net"
