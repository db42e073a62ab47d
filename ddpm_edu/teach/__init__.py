"""只给 notebook 用的课堂工具：证明一句话、画图、面板。训练代码不依赖这里"""
from .check import check
from .figures import show_figures_in_notebook
from .panels import Panel, slider

__all__ = ["Panel", "check", "slider"]

show_figures_in_notebook()
