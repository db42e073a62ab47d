"""打开文件绝不执行代码：恶意文件 × 每个入口 × 有无 TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD；配置里只造该造的类"""
import gzip
import hashlib
import json
import sys
import warnings

import pytest
import pytorch_lightning as pl
import yaml
from torch import nn

import ddpm_edu.pretrained as pretrained
from ddpm_edu import DDPM, CIFAR10DataModule, DigitsDataModule, MNISTDataModule, instantiate_from_config
from ddpm_edu.cli.main import main
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.evaluation.classifier import cached_classifier
from ddpm_edu.files.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from ddpm_edu.files.names import check_names

from .conftest import tiny_ddpm, tiny_unet
from .hostile_files import FILES, open_carelessly
from .program import run
from .test_training import COSINE, QUIET, fit

FORCE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
CLI = ["--config", "digits", "--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.callbacks=null"]


def small(**kwargs):
    """最小的 U-Net：这里看的是文件怎样打开，不是网络"""
    unet = tiny_unet(channel_mult=[1], attention_resolutions=[])
    return tiny_ddpm(unet, **{"scheduler_config": COSINE, "learning_rate": 1e-3, "ema_decay": 0.9, **kwargs})


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """真的训练出来的检查点，什么都有"""
    folder = tmp_path_factory.mktemp("good")
    fit(small(), 1, folder, data=DigitsDataModule()).save_checkpoint(folder / "a.ckpt")
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
            small(), datamodule=DigitsDataModule(), ckpt_path=str(path))

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
    "DDPM(ckpt_path=)": lambda path: small(ckpt_path=str(path)),
    "DDPM(ckpt_path=) 改名成 .safetensors": as_safetensors(lambda path: small(ckpt_path=str(path))),
    "init_from_ckpt": lambda path: small().init_from_ckpt(path),
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
    "小分类器的缓存": lambda path: cached_classifier(DigitsDataModule(), path),
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
    # 平时每个入口试一种，轮着来，合起来每种都试到
    first, step, passed, tried = list(WAYS).index(way), amount(len(FILES), 1), 0, 0
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
        done = run("ddpm_edu", *arguments, "a.ckpt", cwd=tmp_path, **{FORCE: "1"})
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
        if (i + first) % amount(len(PLACES), 1):
            continue
        CALLED.clear()
        params = {"command": "touch canary"} if target == "os.system" else {"path": "canary"} if target == "os.mkdir" else {}
        tried += 1
        try:
            PLACES[place]({"target": target, "params": params}, good, tmp_path / f"{i}.file")
        except (ValueError, RuntimeError):
            passed += not CALLED and not (tmp_path / "canary").exists()
    tally(passed, tried)


NETWORK = """from torch import nn
class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 1, 1)

    def forward(self, x, t):
        return super().forward(x)
"""


@pytest.fixture
def my_network(tmp_path, monkeypatch):
    """用户自己写的模块 my_network，能导入，还没有导入；给出它的路径"""
    (tmp_path / "my_network.py").write_text(NETWORK, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_network", raising=False)
    yield tmp_path / "my_network.py"
    sys.modules.pop("my_network", None)


def test_a_class_of_your_own_is_still_welcome(my_network):
    """网络可以是任何能导入的 nn.Module 子类，不必先导入"""
    assert type(tiny_ddpm({"target": "my_network.Net"}).model.diffusion_model).__name__ == "Net"


# ---- 文件里的名字：不为它导入任何东西 ----

class MyDDPM(DDPM):
    """用户的子类"""


# 旁边放着同名模块的，一导入就留下 canary
BESIDE = ("payload", "ddpm_edu_evil", "torchx", "torch_evil")
TARGET_NAMES = [
    *(f"{module}.Net" for module in BESIDE), "package.inside.Net", "payload", "antigravity", "antigravity.Fly", "this.Zen", "idlelib.idle.Net",
    "ddpm_edu.__main__.Net", "ddpm_edu.authoring.pretrained.Net", "ddpm_edu.authoring.slides.Path", "ddpm_edu.evil.UNet", "ddpm_edu.data.payload.Net",
    "torch.testing._internal.common_utils.TestCase", "torch.utils.tensorboard.SummaryWriter", "torch.utils.bundled_inputs.Net", "torch.nn.os.system",
    "torch.nn.Module.register_module", "ddpm_edu.DDPM.load_from_checkpoint", "ddpm_edu.load_pretrained", "torchmetrics.text.bert.BERTScore",
    "torch.fx.GraphModule", "subprocess.Popen", ".payload.Net", "..payload.Net", "payload..Net", " payload.Net", "payload\0.Net", "pаyload.Net",
]
SHAPES = {
    "unet_config": lambda name, good: {"unet_config": {"target": name, "params": {}}},
    "scheduler_config": lambda name, good: {"scheduler_config": {"target": name}},
    "藏在 params 里": lambda name, good: {"unet_config": {**good["unet_config"], "params": {**good["unet_config"]["params"], "more": [{"target": name}]}}},
    "class_path": lambda name, good: {"scheduler_config": {"class_path": name, "init_args": {}}},
    "YAML 的字符串": lambda name, good: {"unet_config": json.dumps({"target": name, "params": {}})},
    "另一个参数里": lambda name, good: {"cond_key": {"c_adm": {"class_path": name}}},
    "Lightning 的键": lambda name, good: {"_class_path": name, "_instantiator": name, "unet_config": {"_target_": name}},
}


def card_names(path):
    """随包模型旁边的配方"""
    config = {**toy_model_config(), **{key: value for key, value in load_checkpoint(path)["hyper_parameters"].items() if key in SHAPES}}
    (path.parent / "digits.safetensors").write_bytes(b"")
    (path.parent / "digits.json").write_text(json.dumps({"model": config, "sha256": hashlib.sha256(b"").hexdigest()}), encoding="utf-8")
    pretrained.load_pretrained("digits")


# 值为真的入口按文件里的超参数造模型，所以要拒绝；其余的用不着这些名字，只要不导入
REBUILDS = {
    **{way: True for way in ("load_from_checkpoint", "sample", "evaluate", "fit --ckpt_path", "validate --ckpt_path")},
    **{way: False for way in ("DDPM(ckpt_path=)", "init_from_ckpt", "数据模块的 load_from_checkpoint", "Trainer.fit", "Trainer.validate",
                              "fit --model.ckpt_path")},
    "子类的 load_from_checkpoint": True, "随包模型的配方": True,
}
WAYS_FOR_NAMES = {**WAYS, "子类的 load_from_checkpoint": MyDDPM.load_from_checkpoint, "随包模型的配方": card_names}


class Spy:
    """记下每一次真的去找模块"""

    def __init__(self):
        self.sought = set()

    def find_spec(self, name, path=None, target=None):
        self.sought.add(name)


@pytest.mark.parametrize("way", REBUILDS)
def test_a_name_in_a_file_never_imports_anything(way, good, tmp_path, monkeypatch, amount, tally):
    for module in (*BESIDE, "package/__init__", "package/inside"):
        (tmp_path / f"{module}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()\n{NETWORK}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pretrained, "HERE", tmp_path)
    monkeypatch.setattr("webbrowser.open", lambda url: (tmp_path / "canary").touch())
    warnings.simplefilter("ignore")
    spy, first, passed, tried = Spy(), list(REBUILDS).index(way), 0, 0
    monkeypatch.setattr(sys, "meta_path", [spy, *sys.meta_path])
    for i, name in enumerate(TARGET_NAMES):
        # 平时每个入口试两三个，轮着来，合起来每个名字、每种写法都试到
        if (i + first) % amount(13, 1):
            continue
        shape = list(SHAPES)[(i + 2 * first) % len(SHAPES)]
        hostile = {**good["hyper_parameters"], **SHAPES[shape](name, good["hyper_parameters"])}
        save_checkpoint({**good, "hyper_parameters": hostile}, tmp_path / "a.ckpt")
        spy.sought.clear()
        try:
            WAYS_FOR_NAMES[way](tmp_path / "a.ckpt")
            refused = False
        except (ValueError, TypeError, RuntimeError, OSError):
            refused = True
        parts = name.split(".")
        named = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
        tried += 1
        if (refused or not REBUILDS[way]) and not (tmp_path / "canary").exists() and not spy.sought & named:
            passed += 1
        else:
            print(f"{name!r} 写成 {shape}：拒绝了 {refused}，去找过 {spy.sought & named}")
    tally(passed, tried)


def test_every_hostile_module_is_alive(tmp_path, monkeypatch):
    """照着文件里的名字去导入，就会中招"""
    (tmp_path / "payload.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()\n{NETWORK}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    tiny_ddpm({"target": "payload.Net"})
    del sys.modules["payload"]
    assert (tmp_path / "canary").exists()


def test_a_file_does_not_say_which_other_file_to_open(good, tmp_path, monkeypatch):
    """路径可以是网络上的，打开它就把登录的凭据送了出去"""
    monkeypatch.chdir(tmp_path)
    warnings.simplefilter("ignore")
    save_checkpoint({**good, "hyper_parameters": {**good["hyper_parameters"], "ckpt_path": "//far.away/share/b.ckpt", "load_only_unet": True}},
                    tmp_path / "a.ckpt")
    DDPM.load_from_checkpoint(tmp_path / "a.ckpt")
    assert command("validate", *CLI, "--trainer.limit_val_batches=2", f"--ckpt_path={tmp_path / 'a.ckpt'}")(tmp_path) is None


def own_checkpoint(path):
    """网络与调度器都是用户自己的；存好之后就像没有导入过"""
    model = DDPM(**{**toy_model_config(), "unet_config": {"target": "my_network.Net"}})
    fit(model, 1, path.parent, limit_val_batches=0).save_checkpoint(path)
    del sys.modules["my_network"]
    return path


def test_a_network_of_your_own_comes_back_once_you_name_it(my_network, tmp_path, monkeypatch, capsys):
    """import 过，或者自己写 unet_config；命令行上是 --import，或者写着它的 --config"""
    monkeypatch.chdir(tmp_path)
    warnings.simplefilter("ignore")
    ckpt = own_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt 里写的类.*'my_network\.Net'.*先 import 那个模块.*--import 模块名"):
        MyDDPM.load_from_checkpoint(ckpt)
    sample = ["sample", "--ckpt", "a.ckpt", "--out", "a.png", "-n", "1", "--steps", "1", "--device", "cpu", "--quiet"]
    validate = ["validate", *CLI, "--trainer.limit_val_batches=2", "--ckpt_path=a.ckpt"]
    assert main(sample) == main(validate) == 2 and "my_network" not in sys.modules
    assert type(MyDDPM.load_from_checkpoint(ckpt, unet_config={"target": "my_network.Net"}).model.diffusion_model).__name__ == "Net"
    assert type(MyDDPM.load_from_checkpoint(ckpt)) is MyDDPM
    del sys.modules["my_network"]
    assert main([*sample, "--import", "my_network"]) == 0
    del sys.modules["my_network"]
    (tmp_path / "own.yaml").write_text("model: {unet_config: {target: my_network.Net}}", encoding="utf-8")
    assert main([*validate[:1], *CLI, "--config", "own.yaml", *validate[-2:]]) == 0
    capsys.readouterr()
    assert main([*sample, "--import", "no_such"]) == 2 and "--import 应为能导入的名字，得到 'no_such'" in capsys.readouterr().err


def test_a_name_hidden_in_a_string_is_seen(my_network, good, tmp_path, monkeypatch):
    """命令行把检查点里的字符串当成 YAML 解析，解析出来的名字也要核对"""
    monkeypatch.chdir(tmp_path)
    warnings.simplefilter("ignore")
    hidden = {**good["hyper_parameters"], "unet_config": json.dumps({"target": "my_network.Net"})}
    save_checkpoint({**good, "hyper_parameters": hidden}, "a.ckpt")
    assert main(["validate", *CLI, "--ckpt_path=a.ckpt"]) == 2 and "my_network" not in sys.modules


def test_public_names_of_the_package_need_no_import(monkeypatch):
    """旧检查点里的两种写法，模块还没有导入时也认得；别的要导入过"""
    import ddpm_edu.teach.laboratory  # noqa: F401

    for module in ("unet", "lr_scheduler"):
        monkeypatch.delitem(sys.modules, f"ddpm_edu.{module}", raising=False)
    for target in ("ddpm_edu.UNet", "ddpm_edu.unet.UNet", "ddpm_edu.LambdaLinearScheduler", "ddpm_edu.lr_scheduler.LambdaWarmUpCosineScheduler",
                   "torch.nn.Identity", "torch.nn.modules.linear.Identity", "ddpm_edu.teach.laboratory.GaussianDenoiser",
                   "torch.optim.lr_scheduler.CosineAnnealingLR"):
        check_names({"unet_config": {"target": target}}, "a.ckpt")


@pytest.mark.parametrize("target", ["torchmetrics.text.bert.BERTScore", "torch.fx.GraphModule", "torchmetrics.Metric", "subprocess.Popen", f"{HERE}.record",
                                    "ddpm_edu.DDPM", "ddpm_edu.ddpm.DDPM"])
def test_names_that_only_our_dependencies_brought_are_refused(target):
    """在 sys.modules 里不等于用户导入过：有的类一构造就联网，DDPM 会去打开 ckpt_path；藏得再深也看得见"""
    assert check_names({"unet_config": {"target": f"{HERE}.Instance"}, "text": "a.b"}, "a.ckpt") is None
    with pytest.raises(ValueError, match="a.ckpt 里写的类"):
        check_names({"unet_config": {"target": "ddpm_edu.UNet", "params": {"more": [{"class_path": target}]}}}, "a.ckpt")
