"""python -m ddpm_edu… 与命令 ddpm-edu 的进程：文件名与印出的字不受系统的编码限制"""
import os
import sys


def use_utf8():
    """印不出的字写成转义；文件名按 ASCII 解码的系统上，换 UTF-8 模式从头再来

    那样的系统上，路径里的一个汉字会变成几个落单的代理码位，torch 与 jsonargparse 写不出它们，导入时就出错；
    这个模式只能在启动时选定，印出的字仍照原来的编码
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.environ.update(PYTHONUTF8="1", PYTHONIOENCODING=f"{sys.stdout.encoding}:backslashreplace")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def main():
    """命令 ddpm-edu：与 python -m ddpm_edu 相同"""
    use_utf8()
    from .main import main

    return main()
