"""随包的训练配置：NAME.yaml 是一套完整的配置，NAME-FLAVOUR.yaml 是叠在它上面的改动；写明 model_class 的练另一类模型，自成一套"""
from importlib.resources import files
from pathlib import Path

from ..checks import check_choice

HERE = files("ddpm_edu") / "configs"
# 这几样是一整份配方，上层写了就整个换掉，与 LightningCLI 的规矩相同
WHOLE = ("unet_config", "scheduler_config", "first_stage_config", "cond_stage_config")


def names():
    return sorted(Path(p.name).stem for p in HERE.iterdir() if p.name.endswith(".yaml"))


def layers(name):
    """mnist-gpu → [mnist.yaml, mnist-gpu.yaml] 的路径，后面的盖过前面的"""
    check_choice("config", name, names())
    own = HERE / f"{name}.yaml"
    alone = own.read_text(encoding="utf-8").partition("model_class: ")[1]
    return [str(own)] if alone else [str(HERE / f"{part}.yaml") for part in dict.fromkeys((name.partition("-")[0], name))]


def load(name):
    """合成一份配置（字典），与命令行 --config NAME 得到的相同"""
    import yaml

    merged = {}
    for path in layers(name):
        merged = overlay(merged, yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    name_runs(merged["trainer"]["logger"], name)
    return merged


def name_runs(loggers, name):
    """叠出来的配置各有各的文件夹 runs/NAME：找最近的检查点时，不会接上另一个网络"""
    for logger in loggers:
        if logger["init_args"].get("name") == name.partition("-")[0]:
            logger["init_args"]["name"] = name


def overlay(base, top):
    """top 盖在 base 上，逐层合并字典；都不改动"""
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict) and key not in WHOLE
        merged[key] = overlay(base[key], value) if both else value
    return merged
