"""进度条：两秒以内的短活不打扰，走完就收起"""
import os
import sys

from tqdm import tqdm


def progress_bar(steps, progress=None, title="", **kwargs):
    """tqdm 的进度条，可以遍历，也可以 update()

    steps    : 要走的每一步（有长度的可迭代对象）
    progress : None 时超过两秒才显示；True 立刻显示；False 始终安静
    kwargs   : 交给 tqdm；环境变量 TQDM_DISABLE=1 时一律不显示
    """
    quiet = progress is False or os.environ.get("TQDM_DISABLE") == "1"
    # 用文字而不用控件：控件收起之后，JupyterLab 滚回来会说找不到它；标准错误在那里是红底，所以写到标准输出
    in_jupyter = type(sys.stderr).__module__.startswith("ipykernel")
    # 套在里面的一条也写在同一行：notebook 不认“光标上移”，各占一行会越刷越长
    options = {"desc": title, "disable": quiet, "delay": 0 if progress else 2, "leave": False, "position": 0,
               "file": sys.stdout if in_jupyter else sys.stderr}
    return tqdm(steps, **{**options, **kwargs})
