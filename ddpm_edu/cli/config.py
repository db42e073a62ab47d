"""命令行的配置：找到文件，先按 UTF-8 与安全的 YAML 读一遍，解析之后再核对一遍"""
import inspect
import logging
import os
from pathlib import Path
from pydoc import locate

import yaml

from .. import configs
from ..checks import check_int, fail
from .errors import check_writable

log = logging.getLogger("ddpm_edu")
# 不是文件名的 ckpt_path → 文件名的开头
NAMED_CHECKPOINTS = {"last": "", "best": "best", "hpc": "hpc_ckpt_"}
OUTPUTS = ("save_dir", "dirpath", "default_root_dir")


def resolve_config(arguments):
    """--config mnist-gpu 换成随包的文件；写的若是现成的文件则原样"""
    resolved, names, rest = [], configs.names(), iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        check_whole(flag)
        if flag not in ("--config", "-c"):
            resolved.append(argument)
            continue
        value = value if equals else next(rest, "")
        if not Path(value).is_file() and value not in names:
            fail("--config", f"存在的 YAML 文件，或 {' / '.join(names)} 之一", value)
        for file in [value] if Path(value).is_file() else configs.layers(value):
            resolved += ["--config", file]
    return resolved


def shipped_name(arguments):
    """命令行里最后一个随包的配置的名字；没有时 None"""
    names = configs.names()
    values = [value for flag, value in zip(arguments, arguments[1:]) if flag in ("--config", "-c")]
    values += [argument.partition("=")[2] for argument in arguments if argument.startswith("--config=")]
    return next((value for value in reversed(values) if value in names and not Path(value).is_file()), None)


def model_class(arguments):
    """--model_class，或写着它的 YAML 里的那个类；都没有时 DDPM"""
    from .. import DDPM
    from ..config import get_class
    from ..files.persistence import Persistence

    given = ["ddpm_edu.DDPM"]
    for flag, value in zip(arguments, [*arguments[1:], ""]):
        if flag == "--config":
            given.append(yaml.safe_load(read_config(value)).get("model_class", given[-1]))
        elif flag.partition("=")[0] == "--model_class":
            given.append(flag.partition("=")[2] or value)
    return DDPM if given[-1] == "ddpm_edu.DDPM" else get_class(given[-1], (Persistence,), "model_class")


def check_whole(flag):
    """jsonargparse 遇到 --model.unet_config.params.X 会丢掉其余的 params，又把值当成字符串"""
    for key in configs.WHOLE:
        if flag.startswith(f"--model.{key}."):
            fail(f"--model.{key}", "一整份配方", flag, f"把它写进 YAML，再加一个 --config；或写 --model.{key}='{{\"target\": …, \"params\": …}}'")


def inline_configs(arguments):
    """--config 后面的文件名换成文件的内容：系统的编码不是 UTF-8 时，jsonargparse 读不了有中文的文件"""
    arguments = list(arguments)
    for i, argument in enumerate(arguments[:-1]):
        if argument == "--config":
            arguments[i + 1] = read_config(arguments[i + 1])
    return arguments


def read_config(path):
    """读一个 YAML 文件并核对：UTF-8，语法对，是非空的字典，没有 Python 对象；返回只有 ASCII 的同一份 YAML"""
    name = f"--config {path}"
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        content = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        fail(name, " UTF-8 编码的 YAML", error.object[error.start:error.end], "在编辑器里另存为 UTF-8")
    except yaml.constructor.ConstructorError as error:
        fail(name, "普通的 YAML", text.splitlines()[error.problem_mark.line].strip(), "为了安全，不认 Python 对象")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        fail(name, "语法正确的 YAML", text.splitlines()[mark.line - (mark.column == 0)].strip() if mark else text[:40],
             f"看第 {mark.line + 1} 行附近的缩进、冒号和括号" if mark else "")
    if not isinstance(content, dict) or not content:
        fail(name, "非空的 YAML 字典，如 trainer: {max_steps: 1000}", content)
    # 照节点写回去，1e-4 这样的数由 jsonargparse 自己认；注释不要，别的字写成转义
    return yaml.serialize(yaml.compose(text, yaml.SafeLoader), Dumper=yaml.SafeDumper)


def read_hyper_parameters(path, typed):
    """Trainer 存的检查点里的超参数 {名字: 值}；typed 是用户写下的配置，其中的类名可以用"""
    from ..files.checkpoint import check_resumable, load_checkpoint
    from ..files.persistence import saved_hyper_parameters

    checkpoint = load_checkpoint(path)
    check_resumable(checkpoint, path)
    saved = saved_hyper_parameters({"hyper_parameters": {}, **checkpoint}, path, typed=typed)
    if odd := sorted(set(saved) - set(typed)):
        fail("--ckpt_path", "这份配置自己存的检查点", str(path), f"存它的是另一类模型，它有 {'、'.join(odd[:3])}，这里没有")
    return saved


def newest_checkpoint(trainer, name):
    """last / best / hpc → 这份配置的各次训练里，最近存下的那个文件；一个也没有时 ValueError"""
    root = Path(trainer.get("default_root_dir") or ".")
    loggers, callbacks = (value if isinstance(value, list) else [value] for value in (trainer.get("logger"), trainer.get("callbacks")))
    arguments = [item.get("init_args", {}) for item in (*loggers, *callbacks) if isinstance(item, dict)]
    folders = [Path(given["dirpath"]) for given in arguments if given.get("dirpath")]
    folders += [Path(given["save_dir"], given.get("name") or "") for given in arguments if given.get("save_dir")]
    folders = folders or [root / "lightning_logs", root / "checkpoints"]
    found = {path for folder in folders for path in folder.rglob(f"{NAMED_CHECKPOINTS[name]}*.ckpt")} | {*root.glob("hpc_ckpt_*.ckpt")}
    found = [path for path in found if path.name.startswith(NAMED_CHECKPOINTS[name])]
    if not found:
        fail("--ckpt_path", "存在的检查点", name, f"{'、'.join(map(str, folders))} 里还没有；第一次训练不要写 --ckpt_path")
    newest = max(found, key=lambda path: path.stat().st_mtime_ns).as_posix()
    log.warning("--ckpt_path %s：最近存下的是 %s", name, newest)
    return newest


def follow_model(options):
    """自己的图读成模型要的大小与通道数；另给了不同的数时 ValueError。反过来，网络的类别数照数到的子文件夹"""
    from ..data import ImageFolderDataModule

    module = locate(options.get("data.class_path") or "")
    if not (isinstance(module, type) and issubclass(module, ImageFolderDataModule)):
        return
    size = options.get("model.image_size"), options.get("model.channels")
    if (first := options.get("model.first_stage_config")) is not None:
        from ..latent.first_stage import picture_size

        size = picture_size(first)  # 潜空间的模型，image_size 与 channels 是潜变量的
    for name, wanted in zip(("image_size", "channels"), size):
        given = options.get(f"data.init_args.{name}")
        if given not in (inspect.signature(module).parameters[name].default, wanted):
            fail(f"--data.{name}", f"不给，或与模型的图一样的 {wanted}", given, "图读成多大、几个通道，由模型定")
        options[f"data.init_args.{name}"] = wanted
    params = (options.get("model.unet_config") or {}).get("params", {})
    if options.get("data.init_args.classes") is True and "num_classes" in params and (root := options.get("data.init_args.root")):
        classes = ImageFolderDataModule(root, classes=True).class_names
        params["num_classes"] = len(classes)
        if int(os.environ.get("LOCAL_RANK", 0)) == 0:
            few = "，".join(f"{number} 是 {name}" for number, name in enumerate(classes[:20]))
            print(f"{len(classes)} 个类别，采样时 --labels 用的号码：{few}{'，……' if len(classes) > 20 else ''}", flush=True)


def check_parsed(options):
    """解析好的配置，在造任何对象之前核对：种子、要调用的类、要写的地方"""
    if (seed := options.get("seed_everything")) is not None and not isinstance(seed, bool):
        check_int("--seed_everything", seed, 0, 2**32 - 1)
    for name, value in leaves(options):
        last = name.rpartition(".")[2]
        # jsonargparse 也肯调用返回这种类的函数；写在文件里的名字，只有类才可以调用
        if last == "class_path" and not isinstance(locate(value), type):
            fail(name, "类的路径", value, "为了安全，配置里写的其他东西都不会被调用")
        if last in OUTPUTS and isinstance(value, str):
            check_writable(name, value, directory=True)


def leaves(value, name=""):
    """逐个给出嵌套的字典、列表里的 (带点的名字, 值)"""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
