"""命令行的错误：别的库的英文信息换成一句中文；写之前先看输出的地方能不能写"""
import argparse
import ast
import difflib
import errno
import inspect
import os
import re
import stat
import sys
import sysconfig
import tempfile
import traceback
from pathlib import Path
from pydoc import locate

from ..checks import fail
from ..files.checkpoint import FULL, causes, disk_full
from ..files.leaving import leaving_cleanly

PACKAGE, STANDARD = (os.path.join(folder, "") for folder in (Path(__file__).parents[1], sysconfig.get_path("stdlib")))
KINDS = {"int": "整数", "float": "数", "bool": "true / false", "str": "字符串", "dict": "字典", "list": "列表", "NoneType": "null"}
# 英文信息的样子 → 中文；第一组是名字
MESSAGES = (
    (r"the following arguments are required: (.+)", "还缺 {0}"),
    (r'expected "(\w+)" to be one of \{(.+)\}, but it was not provided\.', "{0} 应为 {1} 之一，什么都没有给"),
    (r"argument (\S+): invalid choice: (.+?) \(choose from (.+)\)", "{0} 应为 {2} 之一，得到 {1}"),
    (r"argument (\S+): invalid int value: (.+)", "{0} 应为整数，得到 {1}"),
    (r"argument (\S+): invalid float value: (.+)", "{0} 应为数，得到 {1}"),
    (r"argument (\S+): expected (?:one|at least one) argument", "{0} 后面应为一个值，什么都没有给"),
    (r"argument (\S+): ignored explicit argument (.+)", "{0} 后面应为空（它是开关），得到 {1}"),
)
UNKNOWN = (r"unrecognized arguments: (.+)", r"Subcommand '\w+' does not accept option '(.+)'", r"Option '(.+)' is not accepted")
REASONS = {
    errno.ENOENT: "不存在", errno.EACCES: "没有权限", errno.EPERM: "没有权限", errno.ENOTDIR: "路径中间有一段不是目录",
    errno.EISDIR: "是目录，不是文件", errno.EROFS: "文件系统是只读的", **FULL,
}


class UsageError(Exception):
    """命令行或配置写错了；由 main 印出，退出码 2"""


def courteously(run, arguments, *expected, stopped="已中断"):
    """运行一条命令，返回退出码：写错了、读不了、expected 里的错误各印一句话，是 2；Ctrl-C 是 130，印 stopped"""
    try:
        with leaving_cleanly():
            return run(arguments) or 0
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except (UsageError, *expected) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename} 读不了或写不了：{REASONS.get(error.errno, error.strerror)}", file=sys.stderr)
    return 2


class ChineseErrors:
    """混进 ArgumentParser：出错时抛 UsageError，不印用法"""

    def error(self, message, ex=None):
        if not self.exit_on_error:
            # jsonargparse 的内层解析器，它的信息会并进外层的
            super().error(message, ex)
        if any(place(cause) == "用户的代码" for cause in causes(ex)):
            raise ex
        raise UsageError(f"{chinese(message.strip(), option_names(self))}；全部选项见 --help")


def option_names(parser):
    """解析器和各个子命令认得的选项，不带前面的 --"""
    names = set()
    for action in parser._actions:
        names |= {option.lstrip("-") for option in action.option_strings}
        if isinstance(action, argparse._SubParsersAction):
            names |= set().union(*map(option_names, action.choices.values()))
    return names


def chinese(message, names=()):
    """argparse 与 jsonargparse 的一条信息 → 一句中文；没见过的附上原话"""
    for pattern, text in MESSAGES:
        if found := re.fullmatch(pattern, message, re.S):
            return text.format(*found.groups())
    for pattern in UNKNOWN:
        if found := re.fullmatch(pattern, message, re.S):
            # 不带 -- 的不是选项，是没处放的值
            stray = pattern is UNKNOWN[0] and not found[1].startswith("-")
            return f"每一项应为“--名字 值”，多出来 {found[1]!r}；路径里有空格要加引号" if stray else unknown(found[1], names)
    if found := re.match(r'(?s)Parser key "(.+?)":(.+)', message):
        return wrong_value(found[1], found[2])
    return f"命令行或配置有误：{' '.join(message.split())}"


def unknown(given, names):
    """没有这个名字：指出最接近的"""
    name, _, value = given.split()[0].lstrip("-").partition("=")
    near = difflib.get_close_matches(name, names, n=1)
    return f"{name} 应为认得的名字，得到 {given!r}" + (f"；你是想写 {near[0]} 吗？" if near else "")


def wrong_value(key, details):
    """一个键的值不合规则：要什么，得到什么"""
    if found := re.search(r"class_path '(\S+)':\s+Option '(.+?)' is not accepted", details):
        return unknown(found[2], inspect.signature(locate(found[1])).parameters)
    kinds = re.findall(r"Expected an? <class '([\w.]+)'>", details)
    literals = [word for words in re.findall(r"Expected an? typing\.Literal\[(.+?)\]", details) for word in words.split(", ")]
    rule = " / ".join(dict.fromkeys([*literals, *(KINDS.get(kind, kind) for kind in kinds)]))
    if found := re.search(r"Import path (\S+) does not correspond to a subclass of (\S+)", details):
        rule = f"{found[2]} 的子类（为了安全，配置里写的其他东西都不会被调用）"
    elif "Expected a dot import path string" in details:
        rule = '"包.模块.类"形式的字符串'
    value = re.findall(r"(?:Given value|Got value): (.+)", details)
    return f"{key} 应为 {rule or '合规则的值（原话：' + ' '.join(details.split()) + '）'}" + (f"，得到 {quoted(value[-1])}" if value else "")


def quoted(text):
    """像字面量的照写，别的加引号"""
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return repr(text)
    return text


def readable(error):
    """异常 → 一句中文；说不清的（别人的代码里出的错）是 None，文件与行号要留给用户看"""
    text = str(error)
    if (full := disk_full(error)) is not None:
        where = f"写不下 {full.filename}：" if full.filename else ""
        return f"{where}{FULL[full.errno]}；清出地方再试，已经存好的文件没有动"
    if own := re.search(r"^ *- (.* 应为.*)$", text, re.M):
        # jsonargparse 造对象时包上的几行里，有用的只有我们自己的这一句
        return own[1]
    if isinstance(error, UsageError):
        return text
    if place(error) != "本包":
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return f"不能读写 {error.filename}：{REASONS.get(error.errno, error.strerror)}"
    return text if re.search(r"[\u4e00-\u9fff]", text) else None


def place(error):
    """错误是在哪里抛出的：本包、别的库、用户的代码；标准库里的算在叫它的人身上"""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    files = [file for file in files if not file.startswith("<") and (not file.startswith(STANDARD) or "-packages" in file)]
    if files and files[-1].startswith(PACKAGE):
        return "本包"
    return "别的库" if not files or "-packages" in files[-1] else "用户的代码"


def check_writable(name, path, directory=False):
    """path 是将要写的文件（directory 为真时是目录）；在干活之前就试一试，什么也不留下"""
    path = Path(path).absolute()
    if path.exists() and path.is_dir() != directory:
        fail(name, "目录" if directory else "文件", str(path), "那里已有同名的" + ("文件" if directory else "目录"))
    if path.is_file() and not (os.access(path, os.W_OK) and path.stat().st_mode & stat.S_IWRITE):
        fail(name, "能写的文件", str(path), "那里已有的文件是只读的；换个名字，或者去掉只读")
    folder = next(parent for parent in (path, *path.parents) if parent.exists() and parent != path or parent.is_dir())
    try:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fail(name, "能写的地方", str(path), f"{folder}：{REASONS.get(error.errno, error.strerror)}")
