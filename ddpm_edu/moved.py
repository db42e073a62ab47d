"""搬了家的模块：旧的名字照样导入，用户的程序、YAML 与检查点里写的仍然有效"""
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec

MOVED = {
    "callbacks": "training.callbacks", "stopping": "training.stopping", "timestep_loss": "training.timestep_loss",
    "speed": "training.speed", "memory": "training.memory", "checkpoint": "files.checkpoint", "persistence": "files.persistence",
    "metrics": "evaluation.metrics", "fid": "evaluation.fid", "classifier": "evaluation.classifier", "recipes": "configs.recipes",
    "wrapper": "conditioning", "ddim": "sampling",
}


class OldNames:
    """import ddpm_edu.callbacks 得到的就是 ddpm_edu.training.callbacks，同一个模块

    找模块与装模块的协议只看有没有下面三个方法；继承 importlib.abc 里的类，要多导入几十个模块，三十毫秒
    """

    def find_spec(self, name, path=None, target=None):
        package, _, module = name.partition(".")
        return ModuleSpec(name, self) if package == "ddpm_edu" and module in MOVED else None

    def create_module(self, spec):
        module = import_module(f"ddpm_edu.{MOVED[spec.name.partition('.')[2]]}")
        self.own = module.__spec__
        return module

    def exec_module(self, module):
        # 导入机制刚把旧名字的 spec 写了上去
        module.__spec__ = self.own


sys.meta_path.append(OldNames())
