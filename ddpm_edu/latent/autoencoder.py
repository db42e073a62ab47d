"""KL 型的自编码器：图 ↔ 潜变量的分布，损失 = 还原 + β·KL；名字同参考实现的 AutoencoderKL"""
import math

import torch
import torch.nn.functional as F
from torch import nn

from ..checks import check_betas, check_float, check_int, check_size, check_str, fail, suggest_keywords
from ..ddpm import DDPM
from ..files.checkpoint import install_safe_io
from ..files.persistence import Persistence
from ..files.plain import plain_arguments
from ..gaussian import check_sample, sides
from ..optim import make_scheduler
from ..randomness import isolated_rng, randn_like
from ..unet import Downsample, Upsample, normalization, zero_module


class DiagonalGaussianDistribution:
    """编码器给出的分布 N(μ, σ²)，各个数互相独立

    parameters : (B, 2C, h, w)，前一半通道是均值 μ，后一半是对数方差 ln σ²，截到 [-30, 20]
    来源       : Kingma & Welling 2014；名字同参考实现
    """

    def __init__(self, parameters):
        self.parameters = parameters
        self.mean, logvar = parameters.chunk(2, dim=1)
        self.logvar = logvar.clamp(-30.0, 20.0)

    @property
    def std(self):
        return (0.5 * self.logvar).exp()

    def sample(self, generator=None):
        """z = μ + σ·ε，(B, C, h, w)"""
        return self.mean + self.std * randn_like(self.mean, generator)

    def mode(self):
        """最可能的 z，就是 μ"""
        return self.mean

    def kl(self):
        """对 N(0, I) 的 KL 散度，(B,)，单位 nats：½ Σ (μ² + σ² - 1 - ln σ²)"""
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar).flatten(1).sum(1)


class Block(nn.Module):
    """残差块：两次 归一化-激活-卷积；与 U-Net 的 ResBlock 相比，没有步号"""

    def __init__(self, channels, out_channels):
        super().__init__()
        self.layers = nn.Sequential(
            normalization(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1),
            normalization(out_channels), nn.SiLU(), zero_module(nn.Conv2d(out_channels, out_channels, 3, padding=1)))
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x):
        return self.skip_connection(x) + self.layers(x)


def chain(widths, num_res_blocks, between):
    """一层层的残差块，层与层之间是 between(宽)：widths 从入口到出口，第一层的入口就是 widths[0] 那么宽"""
    layers, channels = [], widths[0]
    for i, width in enumerate(widths):
        for _ in range(num_res_blocks):
            layers.append(Block(channels, width))
            channels = width
        if i < len(widths) - 1:
            layers.append(between(channels))
    return layers


class AutoencoderKL(Persistence):
    """图 (B, channels, H, W) ↔ 潜变量 (B, embed_dim, h, w)，可用 Trainer.fit 训练

    image_size, channels : 图的边长（整数或 (高, 宽)）与通道数
    embed_dim            : 潜变量的通道数
    ch, ch_mult, num_res_blocks : 第一层的宽、各层的倍数（每层边长减半）、每层的残差块数
    patch_size           : 先把 p×p 个像素叠成一个位置；边长一共缩到 1/f，f = p·2^(层数-1)
    kl_weight            : β ≥ 0；两项都除以图的像素数，所以 β 就是论文里“平方误差之和 + β·KL”的那个
    边长不是 2f 的倍数时，先照边上的像素补齐，解码之后裁掉：28 补到 32，潜变量是 8×8，U-Net 还能再减半
    异常                 : 任何参数越界时 ValueError / TypeError
    来源                 : Kingma & Welling 2014；Rombach 2022 第 3.1 节。没有对抗损失与感知损失
    """

    use_ema, learn_logvar = False, False
    model = property(lambda self: self)  # 优化器要更新的就是自己

    @suggest_keywords
    @plain_arguments
    def __init__(self, image_size: int | tuple[int, int] = 32, channels: int = 3, embed_dim: int = 4, ch: int = 32,
                 ch_mult: tuple | list = (1, 2), num_res_blocks: int = 1, patch_size: int = 2, kl_weight: float = 1e-2,
                 first_stage_key: str = "image", monitor: str | None = "val/rec_loss", *, learning_rate: float = 1e-3,
                 adam_betas: tuple | list = (0.9, 0.99), weight_decay: float = 0.0, scheduler_config: dict | None = None,
                 seed: int = 0):
        super().__init__()
        self.save_hyperparameters()
        self.image_size, self.channels = check_size("image_size", image_size), check_int("channels", channels, 1)
        self.embed_dim = check_int("embed_dim", embed_dim, 1)
        self.kl_weight = check_float("kl_weight", kl_weight, 0)
        self.first_stage_key = check_str("first_stage_key", first_stage_key)
        self.monitor = None if monitor is None else check_str("monitor", monitor)
        self.learning_rate = check_float("learning_rate", learning_rate, 0, open_low=True)
        self.adam_betas = check_betas("adam_betas", adam_betas)
        self.weight_decay = check_float("weight_decay", weight_decay, 0)
        self.seed, self.batches_seen = check_int("seed", seed, 0, 2**63 - 1), 0
        self.scheduler_config = scheduler_config
        if scheduler_config is not None:
            make_scheduler(scheduler_config, optimizer=None)
        if not isinstance(ch_mult, (list, tuple)) or not ch_mult:
            fail("ch_mult", "非空的整数列表", ch_mult, error=TypeError)
        p, blocks = check_int("patch_size", patch_size, 1), check_int("num_res_blocks", num_res_blocks, 1)
        widths = [check_int("ch", ch, 1) * check_int("ch_mult", m, 1) for m in ch_mult]
        self.downsample_factor = p * 2 ** (len(widths) - 1)
        inside = channels * p * p
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(p), nn.Conv2d(inside, widths[0], 3, padding=1), *chain(widths, blocks, Downsample),
            normalization(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], 2 * embed_dim, 3, padding=1))
        self.decoder = nn.Sequential(
            nn.Conv2d(embed_dim, widths[-1], 3, padding=1), *chain(widths[::-1], blocks, Upsample),
            normalization(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], inside, 3, padding=1), nn.PixelShuffle(p))

    # 取图、优化器与调度器，都与 DDPM 的一样
    get_input, configure_optimizers = DDPM.get_input, DDPM.configure_optimizers

    @property
    def network_dtype(self):
        return next(self.parameters()).dtype

    @property
    def latent_size(self):
        """潜变量的 (高, 宽)"""
        return tuple(2 * math.ceil(side / (2 * self.downsample_factor)) for side in sides(self.image_size))

    def exact_table_names(self):
        return ()

    # ---- 编码、解码、损失 ----

    def encode(self, x):
        """(B, channels, H, W)，[-1, 1] → DiagonalGaussianDistribution"""
        check_sample("x", x, self.channels, self.image_size)
        down, right = (self.downsample_factor * latent - side for latent, side in zip(self.latent_size, x.shape[2:]))
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2), mode="replicate")
        return DiagonalGaussianDistribution(self.encoder(x.contiguous(memory_format=torch.channels_last)).contiguous())

    def decode(self, z):
        """(B, embed_dim, h, w) → (B, channels, H, W)，没有截到 [-1, 1]"""
        check_sample("z", z, self.embed_dim, self.latent_size, finite=False)
        x, (height, width) = self.decoder(z.contiguous(memory_format=torch.channels_last)), sides(self.image_size)
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        return x[:, :, top:top + height, left:left + width].contiguous()

    def forward(self, x, sample_posterior=True):
        """(还原的图, 分布)；sample_posterior 为假时解码 μ，不抽样"""
        posterior = self.encode(x)
        return self.decode(posterior.sample() if sample_posterior else posterior.mode()), posterior

    def shared_step(self, batch):
        """一批数据 → (loss, 字典)：rec_loss 每个像素的平方误差，kl 一张图的 nats，std 潜变量的标准差"""
        x = self.get_input(batch, self.first_stage_key)
        restored, posterior = self(x)
        rec_loss, kl = F.mse_loss(restored, x), posterior.kl().mean()
        loss, prefix = rec_loss + self.kl_weight * kl / x[0].numel(), "train" if self.training else "val"
        std = (posterior.mean.var() + posterior.std.square().mean()).sqrt()
        found = {"loss": loss, "rec_loss": rec_loss, "kl": kl, "std": std}
        return loss, {f"{prefix}/{name}": value.detach() for name, value in found.items()}

    # ---- Lightning 的钩子 ----

    def setup(self, stage):
        install_safe_io(self.trainer)

    configure_callbacks = DDPM.configure_callbacks

    def training_step(self, batch, batch_idx):
        with isolated_rng(self.seed, "train", self.batches_seen, self.global_rank, device=self.device):
            loss, losses = self.shared_step(batch)
        self.batches_seen += 1
        self.log_dict(losses, batch_size=len(batch[self.first_stage_key]))
        self.log("loss", loss.detach(), prog_bar=True, logger=False)
        return loss

    # 没有 EMA，验证与测试只算一遍
    validation_step, test_step, _evaluate = DDPM.validation_step, DDPM.test_step, DDPM._evaluate
