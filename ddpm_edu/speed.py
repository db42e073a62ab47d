"""让网络跑得更快的开关：结果只差舍入（有 dropout 时，掩码的次序也会变）；值不值得开，看硬件和网络的大小"""
import pytorch_lightning as pl
import torch

from .checks import check_bool


class SpeedUp(pl.Callback):
    """compile : 用 torch.compile 把网络编译成融合的核；开头要等一两分钟，CPU 上需要 C++ 编译器

    只编译训练的前向与反向。验证与采样的批大小不同，为每一种再编译一次得不偿失，它们照原样走
    """

    def __init__(self, compile: bool = False):
        self.compile = check_bool("compile", compile)

    def setup(self, trainer, pl_module, stage):
        network = pl_module.model.diffusion_model
        if self.compile and "forward" not in vars(network):
            # 就地换掉 forward：参数的名字不变，检查点与没有编译时一样
            network.forward = compiled_in_training(network)

    def teardown(self, trainer, pl_module, stage):
        vars(pl_module.model.diffusion_model).pop("forward", None)


def compiled_in_training(network):
    """训练模式下走编译过的 forward，其余时候走原来的"""
    plain, fast = network.forward, torch.compile(network.forward)

    def forward(*args, **kwargs):
        return (fast if network.training else plain)(*args, **kwargs)

    return forward
