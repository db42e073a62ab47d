"""收到 SIGTERM 时怎样走：像 sys.exit 那样一层层退出来，写到一半的临时文件与文件夹由写它的那一层清掉"""
import contextlib
import signal
import threading


def leave(number, frame):
    """信号的处理函数：退出码 128 + 信号，例如 143"""
    raise SystemExit(128 + number)


@contextlib.contextmanager
def leaving_cleanly():
    """里面收到 SIGTERM 就清理了再走；不另作处理的话，Python 当场消失，什么也来不及清

    程序自己装了处理函数的、不在主线程的，不接管；出来之后恢复原样
    """
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if mine:
        signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
