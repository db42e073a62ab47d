"""让网络跑得更快的开关：结果只差舍入（有 dropout 时，掩码的次序也会变）；值不值得开，看硬件和网络的大小"""
import pytorch_lightning as pl

from .checks import check_bool


class SpeedUp(pl.Callback):
    """compile : 用 torch.compile 把网络编译成融合的核；开头要等几十秒，CPU 上需要 C++ 编译器"""

    def __init__(self, compile: bool = False):
        self.compile = check_bool("compile", compile)

    def setup(self, trainer, pl_module, stage):
        if self.compile:
            # 就地编译：参数的名字不变，检查点与没有编译时一样
            pl_module.model.diffusion_model.compile()
