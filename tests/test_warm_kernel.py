"""已经导入好的内核与从零起的一样：在自己的目录里，能打断，关得掉，起它的进程没了它也不留"""
import os
import sys
import time

import pytest
from jupyter_client.manager import start_new_kernel

from .warm_kernel import warm_kernels

LIGHT = ("json", "ipykernel.kernelapp")


def run(client, code):
    """运行一格，返回印出的字"""
    message, text = client.execute(code), ""
    while True:
        answer = client.get_iopub_msg(timeout=60)
        if answer["parent_header"].get("msg_id") != message:
            continue
        content = answer["content"]
        text += content.get("text", "")
        if content.get("execution_state") == "idle":
            return text.strip()


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="别的系统上不用它")
def test_a_warm_kernel_behaves_like_a_cold_one_and_never_outlives_its_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv("MARK", "本子自己的")
    with warm_kernels(LIGHT) as folder:
        monkeypatch.setenv("JUPYTER_PATH", folder)
        kernels = [start_new_kernel(kernel_name="python3", cwd=str(tmp_path)) for _ in range(2)]
        pids = []
        for _, client in kernels:
            folder, mark, pid, first = run(client, "import os, sys; print(os.getcwd(), os.environ['MARK'], os.getpid(), sys.path[0] == '')").split()
            assert (folder, mark, first) == (str(tmp_path), "本子自己的", "True")
            pids.append(int(pid))
        # 第一个打断之后接着用，再好好地关；第二个的启动进程被杀
        manager, client = kernels[0]
        # 出错的一格会让内核丢掉紧跟着送来的；stop_on_error=False 不丢
        busy = client.execute("import time\nprint('开始', flush=True)\ntime.sleep(60)", stop_on_error=False)
        while client.get_iopub_msg(timeout=60)["content"].get("text") != "开始\n":
            pass
        manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != busy:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert run(client, "print(1 + 1)") == "2"
        manager.shutdown_kernel()
        kernels[1][0].provisioner.process.kill()
        deadline = time.monotonic() + 20
        while not all(map(gone, pids)):
            assert time.monotonic() < deadline, pids
            time.sleep(0.05)
        for _, client in kernels:
            client.stop_channels()
