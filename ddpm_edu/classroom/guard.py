"""隔离的进程里的门卫：读答案、写文件、上网、另起进程，一概拒绝，并说出理由

用的是 Python 的审计钩子，装上就拆不掉，三种系统都有。它只看得见经过 Python 的操作：存心利用解释器的漏洞、从机器码里写文件，
它拦不住，那时靠内核，见 kernel.py
"""
import functools
import os
import sys
import sysconfig
import types
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# 答案在这几处：习题的数据、notebook 的源文件与答案版
ANSWERS = (PACKAGE / "teach" / "exercises", PACKAGE.parent / "notebooks")
HIDDEN = {"exercises": {}, "grading": {"grade": lambda *args, **kwargs: None}, "diary": {"progress": lambda: None}}
ANSWER_MODULES = ("ddpm_edu.teach.exercises", "ddpm_edu.teach.grading", "ddpm_edu.teach.diary", "ddpm_edu.classroom.regrade")
REASONS = {
    "答案": ("ddpm_edu.answers",),
    "改动文件": ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime",
             "os.setxattr", "os.removexattr", "os.chflags", "os.chdir", "shutil.", "sqlite3.connect", "winreg."),
    "联网": ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "imaplib.", "poplib.", "telnetlib.", "nntplib.", "webbrowser."),
    "另起进程": ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "pty.", "_winapi."),
    "给别的进程发信号": ("os.kill", "signal.pthread_kill"),
    "绕到 Python 之外": ("ctypes.", "code.__new__", "gc.", "sys.remote", "cpython.remote", "resource."),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MOST_WORDS = 20


class Refused(PermissionError):
    """门卫不许"""


class Hidden(types.ModuleType):
    """答案所在模块的替身：学生的程序能 import，取里面的东西就被拒绝"""

    def __getattr__(self, name):
        if not name.startswith("__"):
            sys.audit("ddpm_edu.answers", f"{self.__name__}.{name}")
        raise AttributeError(name)


def hide_answers():
    """让 ddpm_edu.teach 能导入，却不带进答案；要在导入它之前调用"""
    for name, own in HIDDEN.items():
        module = Hidden(f"ddpm_edu.teach.{name}")
        module.__path__ = []
        module.__dict__.update(own)
        sys.modules[module.__name__] = module


def readable_folders():
    """隔离的进程要读的文件夹：Python、各个包、系统的库，以及本课程除答案之外的部分"""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    system = ["/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev/urandom", "/dev/zero"]
    own = [path for path in PACKAGE.iterdir() if path.name != "teach"] + [path for path in (PACKAGE / "teach").iterdir() if path not in ANSWERS]
    return [*system, *paths, sys.prefix, sys.base_prefix, *map(str, own), str(PACKAGE.parent / "data")]


def without(folders, hidden):
    """folders 里除 hidden 之外的部分：里面有 hidden 的文件夹拆成一项一项；链接都换成它指的地方"""
    hidden, waiting, seen, kept = {os.path.realpath(path) for path in hidden}, list(folders), set(), []
    while waiting:
        folder = os.path.realpath(waiting.pop())
        if folder in seen or folder in hidden or any(folder.startswith(path + os.sep) for path in hidden):
            continue
        seen.add(folder)
        if any(path.startswith(folder.rstrip(os.sep) + os.sep) for path in hidden):
            waiting += [entry.path for entry in os.scandir(folder)]
        else:
            kept.append(folder)
    return kept


def install(tell, room=None):
    """装上门卫；之后 tell(一句话) 在每次拒绝时调用，至多 20 次

    room : 许可读写的文件夹；None 表示哪里也不许写
    """
    reasons = tuple((prefix, reason) for reason, prefixes in REASONS.items() for prefix in prefixes)
    answers, modules = tuple(map(str, ANSWERS)), ANSWER_MODULES
    realpath, fsdecode, separator, null, told = os.path.realpath, os.fsdecode, os.sep, os.devnull, []
    room = room and realpath(room)

    def inside(path, folder):
        return path == folder or path.startswith(folder + separator)

    def refuse(reason, what):
        text = f"不许{reason}：{what}"[:200]
        if len(told) < MOST_WORDS:
            told.append(text)
            tell(text)
        raise Refused(text)

    def opening(path, mode, flags):
        if isinstance(path, int) or path is None:
            return
        real = realpath(fsdecode(path))
        if any(inside(real, folder) for folder in answers):
            refuse("读答案", real.rpartition(separator)[2])
        writing = any(letter in mode for letter in "wax+") if isinstance(mode, str) else (flags or 0) & WRITING
        if writing and real != null and not (room and inside(real, room)):
            refuse("写文件", fsdecode(path))

    def hook(event, args):
        if event == "open":
            opening(*args)
        elif event == "import":
            if any(args[0] == name or args[0].startswith(name + ".") for name in modules):
                refuse("读答案", args[0])
        elif event == "object.__setattr__" and args[1] == "__code__":
            refuse("绕到 Python 之外", "__code__")
        else:
            for prefix, reason in reasons:
                if event.startswith(prefix):
                    mine = room and reason == "改动文件" and all(
                        inside(realpath(fsdecode(part)), room) for part in args if isinstance(part, (str, bytes, os.PathLike)))
                    if not mine:
                        refuse("读答案" if reason == "答案" else reason, f"{event}{_shown(args)}")

    _close_torch_doors()
    sys.addaudithook(hook)


def _shown(args):
    return " " + " ".join(part for part in args if isinstance(part, str)) if any(isinstance(part, str) for part in args) else ""


def _close_torch_doors():
    """torch 有几处直接从 C++ 里打开文件，审计钩子看不见；替它们报一声，读的照读、写的照写来审"""
    import torch

    def announced(function, mode):
        @functools.wraps(function)
        def wrapped(filename, *args, **kwargs):
            if isinstance(filename, (str, bytes, os.PathLike)):
                sys.audit("open", filename, mode(*args, **kwargs), 0)
            return function(filename, *args, **kwargs)

        return wrapped

    def mapped(shared=False, *args, **kwargs):
        return "w" if shared else "r"

    torch._C.PyTorchFileWriter = announced(torch._C.PyTorchFileWriter, lambda *args, **kwargs: "w")
    torch._C.PyTorchFileReader = announced(torch._C.PyTorchFileReader, lambda *args, **kwargs: "r")
    torch.from_file = announced(torch.from_file, mapped)
    torch.ops.aten.from_file = announced(torch.ops.aten.from_file, mapped)
    torch.UntypedStorage.from_file = staticmethod(announced(torch.UntypedStorage.from_file, mapped))
