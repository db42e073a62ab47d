"""按配置造对象

配置的写法沿用参考实现：{"target": "包.模块.类", "params": {...}}
"""
import importlib
import inspect
from collections.abc import Mapping

from .checks import fail
from .files.plain import as_mapping


def get_class(target, kinds, name="target"):
    """把 "包.模块.类" 变成类；只认 kinds 的子类，别的一律不返回

    会导入它所在的模块：从文件里读来的名字，要先过 check_names
    异常 : 写法不对、找不到、或者不是 kinds 的子类时 ValueError；模块自己运行时出的错原样抛出
    """
    if not isinstance(target, str) or "." not in target:
        fail(name, '"包.模块.类" 形式的字符串', target, '例如 "ddpm_edu.UNet"')
    module_name, _, class_name = target.rpartition(".")
    found = getattr(import_named(module_name, name, target), class_name, None)
    if found is None:
        fail(name, f" {module_name} 里有的类", target, "检查拼写")
    if not isinstance(found, type) or not issubclass(found, tuple(kinds)):
        allowed = " / ".join(f"{k.__module__}.{k.__qualname__}" for k in kinds)
        fail(name, f" {allowed} 的子类", target, "为了安全，配置里写的其他东西都不会被调用")
    return found


def target_class(config, kinds, name):
    """{"target", "params"} 里写的那个类；缺 target、多出别的键时 ValueError"""
    config = as_mapping(config)
    if not isinstance(config, Mapping):
        fail(name, ' {"target": ..., "params": {...}} 形式的字典', config, error=TypeError)
    if "target" not in config:
        example = "LambdaLinearScheduler" if name == "scheduler_config" else "UNet"
        fail(name, "含 target 键的字典", dict(config),
             f'例如 {{"target": "ddpm_edu.{example}", "params": {{...}}}}')
    if extra := sorted(set(config) - {"target", "params"}):
        fail(name, "只有 target 与 params 两个键的字典", extra, "类的参数要放进 params")
    return get_class(config["target"], kinds, f"{name}.target")


def import_named(module, name, written):
    """导入用户写的模块；name 与 written 是写在哪里、怎样写的，报错时用"""
    if not all(module.split(".")):
        fail(name, "完整的名字，两点之间不空", written)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        fail(name, "能导入的名字", written, f"导入时的错误是 {error}；检查拼写和当前环境")


def instantiate_from_config(config, *args, kinds=None, name="config"):
    """按 {"target", "params"} 造一个对象，不改动传入的 config

    kinds : 允许的基类；默认是 nn.Module 与学习率调度器
    args  : 放在 params 之前的位置参数
    异常  : 缺 target、多出别的键、类型不对、params 与签名不合时 ValueError；类自己抛的错原样抛出
    """
    config, cls = as_mapping(config), target_class(config, kinds or default_kinds(), name)
    params = {} if config.get("params") is None else as_mapping(config["params"])
    if not isinstance(params, Mapping):
        fail(f"{name}.params", "字典", params, error=TypeError)
    known = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    if not takes_any and (unknown := sorted(set(params) - set(known))):
        fail(f"{name}.params", f" {cls.__name__} 认得的参数", unknown, f"可用的有 {', '.join(known)}")
    try:
        inspect.signature(cls).bind(*args, **params)
    except TypeError as error:
        fail(f"{name}.params", f"与 {cls.__name__} 的参数相符的字典", dict(params), str(error))
    return cls(*args, **params)


def default_kinds():
    from torch import nn
    from torch.optim.lr_scheduler import LRScheduler

    from .lr_scheduler import LRLambda

    return nn.Module, LRLambda, LRScheduler
