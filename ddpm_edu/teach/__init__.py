"""只给 notebook 用的课堂工具：源码展示、参数卡片、证明一句话、画图、面板、习题。训练代码不依赖这里"""
from .cards import card, card_index
from .check import check, check_order, check_raises
from .diary import progress
from .figures import curve_figure, curves_figure, grid_figure, show_figures_in_notebook
from .grading import grade
from .source import show_source

__all__ = ["card", "card_index", "check", "check_order", "check_raises", "curve_figure", "curves_figure", "grade", "grid_figure",
           "progress", "show_source"]

show_figures_in_notebook()
