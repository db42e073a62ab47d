"""进度条：两秒以内的短活不打扰，走完就收起"""
import os
import warnings

with warnings.catch_warnings():
    # 没有 ipywidgets 时，tqdm.auto 用文字的进度条，不必每次导入都抱怨
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm


def progress_bar(steps, progress=None, title="", **kwargs):
    """tqdm 的进度条，可以遍历，也可以 update()

    steps    : 要走的每一步（有长度的可迭代对象）
    progress : None 时超过两秒才显示；True 立刻显示；False 始终安静
    kwargs   : 交给 tqdm；环境变量 TQDM_DISABLE=1 时一律不显示（Jupyter 里的 tqdm 自己不看它）
    """
    quiet = progress is False or os.environ.get("TQDM_DISABLE") == "1"
    return tqdm(steps, **{"desc": title, "disable": quiet, "delay": 0 if progress else 2, "leave": False, **kwargs})
