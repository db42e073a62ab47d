"""让网络跑得更快的开关：结果只差舍入（有 dropout 时，掩码的次序也会变）；值不值得开，看硬件和网络的大小"""
import warnings

import pytorch_lightning as pl
import torch

from ..checks import check_bool


class SpeedUp(pl.Callback):
    """compile : 用 torch.compile 把网络编译成融合的核；开头要等几分钟

    GPU 上需要 Triton，CPU 上需要 C++ 编译器；编译不成时提醒一句，不编译，照常训练

    只编译训练的前向与反向。验证与采样的批大小不同，为每一种再编译一次得不偿失，它们照原样走
    """

    def __init__(self, compile: bool = False):
        self.compile = check_bool("compile", compile)
        self._network = None  # 被换掉 forward 的网络

    def setup(self, trainer, pl_module, stage):
        # 自编码器没有 U-Net，照原样走；用户自己换过的 forward 不动
        network = getattr(pl_module.model, "diffusion_model", None)
        if self.compile and network is not None and "forward" not in vars(network):
            # 就地换掉 forward：参数的名字不变，检查点与没有编译时一样
            network.forward = compiled_in_training(network)
            self._network = network

    def teardown(self, trainer, pl_module, stage):
        if self._network is not None:
            del self._network.forward
            self._network = None


def compiled_in_training(network):
    """训练模式下走编译过的 forward，其余时候、以及编译不成时，走原来的"""
    plain, fast = network.forward, torch.compile(network.forward)

    def forward(*args, **kwargs):
        nonlocal fast
        if not network.training:
            return plain(*args, **kwargs)
        try:
            return fast(*args, **kwargs)
        # 真正的编译要到第一次调用才发生，缺东西也到这时才知道
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).partition("\n\n")[0].split())
            warnings.warn(f"torch.compile 在这里用不了，改用没有编译的网络继续训练。原因：{reason}；"
                          "GPU 上要装 Triton（Windows 上叫 triton-windows），CPU 上要有 C++ 编译器；不需要编译，就去掉 speed.compile", stacklevel=2)
            fast = plain
            return plain(*args, **kwargs)

    return forward
