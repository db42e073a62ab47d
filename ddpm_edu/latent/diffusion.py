"""LatentDiffusion：先由冻结的自编码器压缩，在潜变量上跑 DDPM，采样之后解码；名字同参考实现"""
import warnings

import torch

from ..checks import check_bool, check_float
from ..conditioning import Condition, as_condition
from ..ddpm import DDPM
from ..ema import LitEma
from ..files.plain import plain_arguments
from .autoencoder import DiagonalGaussianDistribution
from .first_stage import make_cond_stage, make_first_stage, measured_std, remember

# 自编码器停在 eval 模式是有意的
warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode at the start of training")


class LatentDiffusion(DDPM):
    """潜空间里的 DDPM：sample 给出解码的图，p_sample_loop 给出潜变量；image_size、channels 是潜变量的

    first_stage_config : 自编码器，params 里写 ckpt_path 就取练好的；cond_stage_config：条件编码器
    scale_factor       : 潜变量乘的系数；scale_by_std 为真时，训练之前量出 1/标准差；其余见 DDPM
    """

    @plain_arguments
    def __init__(self, first_stage_config: dict, cond_stage_config: dict | None = None,
                 scale_factor: float = 1.0, scale_by_std: bool = False, *, ckpt_path: str | None = None,
                 ignore_keys: tuple | list = (), load_only_unet: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.clip_denoised = False  # 潜变量没有 [-1, 1] 的界
        self.scale_by_std = check_bool("scale_by_std", scale_by_std)
        scale_factor = check_float("scale_factor", scale_factor, 0, open_low=True)
        self.register_buffer("scale_factor", torch.tensor(scale_factor))
        self.first_stage_model = make_first_stage(first_stage_config, self).eval().requires_grad_(False)
        if cond_stage_config is not None:  # 放在 U-Net 旁边，优化器、EMA、检查点都管到它
            self.model.cond_stage_model = make_cond_stage(cond_stage_config)
            self.model_ema = LitEma(self.model, self.hparams.ema_decay) if self.use_ema else None
        remember(self, first_stage_config, cond_stage_config)
        if ckpt_path is not None:
            self.init_from_ckpt(ckpt_path, ignore_keys, only_model=load_only_unet)

    def train(self, mode=True):
        super().train(mode).first_stage_model.eval()  # 冻结的那一半，不跟着进训练模式
        return self

    def on_fit_start(self):
        if self.scale_by_std and self.scale_factor == 1:  # 续训时已经量过，不再是 1
            self.scale_factor.fill_(1 / measured_std(self))

    def get_input(self, batch, k):
        if "moments" in batch:  # CacheLatents 事先算好的
            return self.get_first_stage_encoding(DiagonalGaussianDistribution(batch["moments"]))
        x = self.first_stage_model.get_input(batch, k)
        return self.get_first_stage_encoding(self.encode_first_stage(x))

    def encode_first_stage(self, x):
        return self.first_stage_model.encode(x)

    def get_first_stage_encoding(self, encoder_posterior):
        return self.scale_factor * encoder_posterior.sample()  # 每次都重新抽样

    def decode_first_stage(self, z):
        return self.first_stage_model.decode(z / self.scale_factor).clamp(-1, 1)

    def get_learned_conditioning(self, c):
        return c if c.is_floating_point() else self.model.cond_stage_model(c)

    def apply_model(self, x, t, cond=None):  # 词号到这里才换成向量：丢条件与引导只管把它换成 0
        cond = Condition({} if cond is None else as_condition(cond, self.conditioning_key, len(x)))
        if "c_crossattn" in cond:
            cond["c_crossattn"] = self.get_learned_conditioning(cond["c_crossattn"])
        return super().apply_model(x, t, cond)

    def sample(self, batch_size=16, return_intermediates=False, **kwargs):
        z, states = super().sample(batch_size, True, **kwargs)
        pictures = [self.decode_first_stage(x) for x in (states if return_intermediates else [z])]
        return (pictures[-1], pictures) if return_intermediates else pictures[0]
