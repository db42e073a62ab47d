"""第 17 章的小自编码器与在潜变量上工作的 DDPM；测量也用它们"""
import sys

import torch
import torch.nn.functional as F
from torch import nn

from ..ddpm import DDPM
from ..progress import progress_bar


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
    """在潜变量上工作的 DDPM；自编码器冻结，不参加训练"""

    def attach(self, autoencoder, scale_factor):
        self.first_stage_model, self.scale_factor = autoencoder, scale_factor
        return self

    def encode_first_stage(self, x):
        return self.first_stage_model.encoder(x)

    def get_input(self, batch, k):
        return self.scale_factor * self.encode_first_stage(batch[k])

    def decode_first_stage(self, z):
        return self.first_stage_model.decoder(z / self.scale_factor)


def entered(run, modules=("ddpm", "gaussian", "sampling", "conditioning", "objectives", "teach.latents")):
    """按先后记下 run() 里进入过的函数，只看这几个模块，相邻的重复不记"""
    wanted, seen = {f"ddpm_edu.{name}" for name in modules}, []

    def look(frame, event, argument):
        name = frame.f_code.co_name
        if event == "call" and frame.f_globals.get("__name__") in wanted and name[0] not in "<_" and seen[-1:] != [name]:
            seen.append(name)

    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
    return seen
