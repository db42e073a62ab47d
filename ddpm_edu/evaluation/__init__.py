"""评估：样本有多好，密度有多准"""
from importlib import import_module


def __getattr__(name):
    if name == "evaluate":
        return import_module(".report", __name__).evaluate
    raise AttributeError(name)
