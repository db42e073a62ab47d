"""文件里写的类名：只许是手边就有的，绝不为文件导入任何东西"""
import sys
from collections.abc import Mapping

from .. import _HOME
from ..checks import fail
from ..config import default_kinds

# 这几个键后面是类的路径：参考实现、LightningCLI、hydra 各自的写法
NAMING = ("target", "class_path", "_target_")
# 依赖带来的模块，用户并没有导入：其中有的类一构造就联网，或者再导入别的包
BROUGHT = ("torch", "pytorch_lightning", "lightning_fabric", "torchmetrics")
IMPORT_IT = ("不会替文件导入模块；确实是你自己写的，先 import 那个模块（sample 与 evaluate 加 --import 模块名，"
             "fit、validate 与 test 用写着它的 --config），或者自己给 unet_config、scheduler_config")


def check_names(config, source, typed=()):
    """文件里写的类名，只许是手边就有的网络与调度器：只看，绝不为文件导入任何东西

    config : 从文件 source 里读来的；typed：用户自己写下的配置，其中的名字可以用
    异常   : 有别的名字时 ValueError
    """
    for target in sorted(set(names_in(config)) - set(names_in(typed))):
        if not at_hand(target):
            rule = "本包、torch.nn、torch.optim 或已导入的模块里的网络与调度器"
            fail(f"{source} 里写的类", rule, target, IMPORT_IT)


def names_in(value):
    """逐个给出配置里写的类名，不论藏得多深；没有点的不是路径，不算"""
    if isinstance(value, Mapping):
        yield from (value[key] for key in NAMING if isinstance(value.get(key), str) and "." in value[key])
        value = value.values()
    elif not isinstance(value, (list, tuple, set)):
        return
    for item in value:
        yield from names_in(item)


def at_hand(target):
    """target 是不是手边就有的：本包公开的，或者已经导入的模块里的网络与调度器"""
    module, _, name = target.rpartition(".")
    root = module.partition(".")[0]
    if root == "ddpm_edu" and name in _HOME:
        return _HOME[name] in ("unet", "lr_scheduler", "latent.autoencoder", "latent.words") and module in (root, f"{root}.{_HOME[name]}")
    if root in BROUGHT and not f"{module}.".startswith(("torch.nn.", "torch.optim.")):
        return False
    # 不用 getattr：有的模块取一个名字就会导入别的
    found = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    return isinstance(found, type) and issubclass(found, default_kinds())
