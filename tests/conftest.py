"""测试共用的小模型，与注入故障的次数"""
import gc
import signal
import warnings

import pytest

from .faulty_server import FaultyServer

# 在后台运行时，shell 会让 SIGINT 被忽略，停止键的测试就按不下去；子进程也会继承
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """小网络用一个线程就够；与别的进程抢核时，多线程反而慢上百倍"""
    # torch 与 Lightning 用到时才导入：pytest-xdist 的主进程不跑测试，不必等它们
    import torch

    torch.set_num_threads(1)


def pytest_collection_finish():
    # 导入的几百万个对象一直在，垃圾回收不必一遍遍看它们：快一成
    gc.freeze()


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="故障注入用完整的次数")


@pytest.fixture
def amount(request):
    """amount(平时的次数, --full 的次数)"""
    return lambda quick, full: full if request.config.getoption("full") else quick


@pytest.fixture
def tally(record_property):
    """tally(通过, 试过)：一个测试里试了很多次，有一次不过就失败；次数写进 --junit-xml 的报告"""
    def count(passed, tried):
        record_property("试过", tried)
        assert passed == tried > 0, f"试了 {tried} 次，通过 {passed} 次"

    return count


def tiny_unet(**params):
    defaults = {"in_channels": 1, "out_channels": 1, "model_channels": 8, "num_res_blocks": 1, "channel_mult": [1, 2],
                "attention_resolutions": [2]}
    return {"target": "ddpm_edu.UNet", "params": {**defaults, **params}}


def one_level_unet(**params):
    """只有一级、没有注意力：不看网络本身时用它，快一倍"""
    return tiny_unet(**{"channel_mult": [1], "attention_resolutions": [], **params})


def tiny_ddpm(unet=None, **kwargs):
    """T=50 的小 DDPM，初值固定；噪声表太短的提醒在这里不看"""
    import torch

    from ddpm_edu import DDPM

    torch.manual_seed(0)
    defaults = {"timesteps": 50, "image_size": 8, "channels": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DDPM(unet or tiny_unet(), **{**defaults, **kwargs})


def randomize(model, seed=0):
    """U-Net 的末层初值是 0，输出恒为 0；测网络有没有起作用之前先打乱"""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model


@pytest.fixture
def images():
    import torch

    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def server():
    """本机的文件服务器，见 faulty_server.py"""
    server = FaultyServer()
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()
