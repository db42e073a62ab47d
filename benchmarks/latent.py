"""先压缩再扩散，代价多少；scale_factor 取错，坏多少：python -m benchmarks.latent [设定 ...] [--seeds 8] [--out latent.json]

8×8 的数字，一个不抽样的小自编码器，每个种子画 500 张（20 步 DDIM，不用引导），都用 EMA 权重；换种子时自编码器不变
--out 里已有的不再练，中断了接着来
"""
import argparse
import warnings
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_edu import DDPM, DigitsDataModule, make_beta_schedule
from ddpm_edu.configs.recipes import conditional_digits_config
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.metrics import DigitsFrechet, recognised
from ddpm_edu.progress import progress_bar
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach.training import quiet_trainer

from .runs import by_name, seeds_table, train_all

CLASSES = torch.arange(10).repeat(50)
MEASURES = {"std": "样本标准差/σ_z", "overflow": "有 |z| > 4σ_z 的样本", "frechet": "Fréchet 距离", "recognised": "认得出"}


class TinyAutoencoder(nn.Module):
    """8×8 的图 ↔ (2, 4, 4) 的潜变量"""

    def __init__(self, width=32, latent_channels=2):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(width, latent_channels, 3, padding=1))
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, width, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))


def train_autoencoder(images, steps=600):
    """还原 (N, 1, 8, 8) 的图，损失是均方误差；练完就冻结"""
    torch.manual_seed(0)
    autoencoder, index = TinyAutoencoder(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=3e-3)
    for _ in progress_bar(range(steps), title="训练自编码器"):
        x = images[torch.randint(len(images), (64,), generator=index)]
        optimizer.zero_grad()
        F.mse_loss(autoencoder.decoder(autoencoder.encoder(x)), x).backward()
        optimizer.step()
    return autoencoder.eval().requires_grad_(False)


class LatentDDPM(DDPM):
    """同 LatentDiffusion 的几个方法，而自编码器不抽样，也不进检查点"""

    def attach(self, autoencoder, scale_factor):
        self.first_stage_model, self.scale_factor = autoencoder, scale_factor
        return self

    def encode_first_stage(self, x):
        return self.first_stage_model.encoder(x)

    def get_input(self, batch, k):
        return self.scale_factor * self.encode_first_stage(batch[k])

    def decode_first_stage(self, z):
        return self.first_stage_model.decoder(z / self.scale_factor)


@dataclass(frozen=True)
class Setting:
    """std：潜变量乘完系数的标准差，None 是直接在像素上；snr：换噪声表，每一步的信噪比乘它的平方；steps：练几步；width：U-Net 的宽"""

    std: float | None = 1.0
    snr: float = 1.0
    steps: int = 300
    width: int = 16


SETTINGS = {
    "1": Setting(), "1.6": Setting(1.6), "5.5": Setting(5.5), "0.29": Setting(0.29), "0.18": Setting(0.18),
    "snr5.5": Setting(snr=5.5), "snr0.18": Setting(snr=0.18),  # 只改信噪比
    "size5.5": Setting(5.5, 1 / 5.5), "size0.18": Setting(0.18, 1 / 0.18),  # 只改幅度：信噪比换回 σ_z = 1 的
    "wide": Setting(width=32), "pixel": Setting(None), "pixel-narrow": Setting(None, width=8), "pixel-short": Setting(None, steps=75),
    "pixel-600": Setting(None, steps=600), "long": Setting(steps=1500), "pixel-long": Setting(None, steps=1500),
    "5.5-long": Setting(5.5, steps=1500), "0.18-long": Setting(0.18, steps=1500),
}


def betas(snr):
    """linear 噪声表，信噪比乘 snr²：ᾱ' = ᾱ s² / (ᾱ s² + 1 - ᾱ)"""
    kept, before = alphas_cumprod(make_beta_schedule("linear", 1000))
    kept, before = (a * snr**2 / (a * snr**2 + 1 - a) for a in (kept, before))
    return (1 - kept / before).tolist()


def draw(setting, seed, autoencoder, data_std):
    """练一遍，画 500 张；返回 (采到的, 图)"""
    pl.seed_everything(seed, verbose=False)
    config = conditional_digits_config(["label"], setting.steps, cond_drop_prob=0.1, width=setting.width, learning_rate=8e-3)
    config |= {"parameterization": "eps", "beta_schedule": "linear", "seed": seed}
    if setting.snr != 1:
        config["given_betas"] = betas(setting.snr)
    if setting.std is None:
        model = DDPM(**config)
    else:
        config |= {"image_size": 4, "channels": 2, "clip_denoised": False}
        config["unet_config"]["params"] |= {"in_channels": 2, "out_channels": 2}
        model = LatentDDPM(**config).attach(autoencoder, setting.std / data_std)
    quiet_trainer(max_steps=setting.steps, gradient_clip_val=1.0).fit(model, DigitsDataModule(batch_size=32, seed=seed))
    with model.eval().ema_scope():
        found = model.sample(len(CLASSES), sampler="ddim", steps=20, cond=CLASSES, generator=torch.Generator().manual_seed(seed), progress=False)
    return found, found if setting.std is None else model.decode_first_stage(found)


def measure(setting, found, images, score):
    row = {"frechet": score(images), "recognised": recognised(score.classifier, images, CLASSES)["recognised"]}
    if setting.std is None:
        return row
    return {"std": float(found.std()) / setting.std, "overflow": share_beyond(found, setting.std), **row}


def share_beyond(z, std):
    """至少有一个数超出 ±4σ 的样本，占几成"""
    return float((z.abs().flatten(1).amax(1) > 4 * std).double().mean())


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.latent", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="设定", help=f"只练这几个：{'、'.join(SETTINGS)}")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", help="另存为 JSON，接着练也靠它")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    (train, labels), score = load_digits_split()["train"], DigitsFrechet()
    autoencoder = train_autoencoder(train)
    z = autoencoder.encoder(train)
    data_std, decoded = float(z.std()), autoencoder.decoder(z[:500])
    print(f"潜变量的标准差 {data_std:.3f}，有 |z| > 4σ 的训练图 {share_beyond(z, data_std):.1%}；500 张训练图 Fréchet {score(train[:500]):.1f}，"
          f"解码之后 {score(decoded):.1f}，认得出 {recognised(score.classifier, decoded, labels[:500])['recognised']:.1%}", flush=True)

    def once(name, seed):
        return measure(SETTINGS[name], *draw(SETTINGS[name], seed, autoencoder, data_std), score)

    print(seeds_table(by_name(train_all(parser, options.out, {"measure": "latent"}, options.settings or SETTINGS, options.seeds, once)), MEASURES))


if __name__ == "__main__":
    main()
