"""让网络跑得更快的两个开关：结果只差舍入（有 dropout 时，掩码的次序也会变）；值不值得开，看硬件和网络的大小"""
import pytorch_lightning as pl
import torch

from .checks import check_bool


class SpeedUp(pl.Callback):
    """channels_last 换一种内存排布，compile 把网络编译成融合的核

    channels_last : 对大的卷积网络有利，GPU 上配合半精度最明显
    compile       : torch.compile，开头要等几十秒；CPU 上需要 C++ 编译器
    """

    def __init__(self, channels_last: bool = False, compile: bool = False):
        self.channels_last = check_bool("channels_last", channels_last)
        self.compile = check_bool("compile", compile)

    def setup(self, trainer, pl_module, stage):
        if self.channels_last:
            # 影子要与权重同一种排布，否则 EMA 的融合更新会退回逐个张量
            for module in (pl_module.model, *([pl_module.model_ema] if pl_module.use_ema else [])):
                module.to(memory_format=torch.channels_last)
        if self.compile:
            # 就地编译：参数的名字不变，检查点与没有编译时一样
            pl_module.model.diffusion_model.compile()
