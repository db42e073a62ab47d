"""同一份工作，几家来做：ddpm_edu、diffusers、MONAI；网络同形，参数个数逐一相等（不等就报错）

每一家都按它自己的教程的写法：diffusers 照它的无条件训练脚本，MONAI 照它的扩散教程（它不带 EMA，用 ema-pytorch）
"""
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ddpm_edu import DDPM, configs
from ddpm_edu.optim import make_optimizer


@dataclass(frozen=True)
class Task:
    """一份工作：网络的形状与批大小；T=1000、Ho 的线性噪声表、预测噪声、不用 dropout"""

    name: str
    channels: int
    image_size: int
    width: int
    mult: tuple
    blocks: int
    attention: tuple
    batch: int

    @classmethod
    def from_config(cls, name, batch):
        model = configs.load(name)["model"]
        params = model["unet_config"]["params"]
        return cls(name, model["channels"], model["image_size"], params["model_channels"], tuple(params["channel_mult"]),
                   params["num_res_blocks"], tuple(params["attention_resolutions"]), batch)

    @property
    def widths(self):
        return tuple(self.width * m for m in self.mult)

    @property
    def attends(self):
        return tuple(2**level in self.attention for level in range(len(self.mult)))

    def images(self):
        shape = (self.batch, self.channels, self.image_size, self.image_size)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Ours:
    name, samplers = "ddpm_edu", ("ancestral", "ddim", "dpmpp")

    def __init__(self, task, device="cpu"):
        params = {"in_channels": task.channels, "out_channels": task.channels, "model_channels": task.width, "num_res_blocks": task.blocks,
                  "channel_mult": list(task.mult), "attention_resolutions": list(task.attention)}
        self.model = DDPM({"target": "ddpm_edu.UNet", "params": params}, image_size=task.image_size, channels=task.channels).to(device)
        self.network = self.model.model.diffusion_model
        self.optimizer = make_optimizer(self.model)

    def predict(self, x, t):
        return self.network(x, t)

    def step(self, x):
        self.optimizer.zero_grad(set_to_none=True)
        loss, _ = self.model(x)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.ema()

    def ema(self):
        self.model.model_ema(self.model.model)

    def p_sample(self, x, t):
        return self.model.p_sample(x, torch.full((len(x),), t, device=x.device))

    def sample(self, count, sampler, steps):
        return self.model.sample(count, sampler=sampler, steps=steps, progress=False)


class Peer:
    """别家共有的：训练的一步，从噪声走回来的循环；网络、优化器、EMA 各是各的"""

    def prepare(self, schedulers, task, device):
        self.schedules = {name: kind(num_train_timesteps=1000) for name, kind in zip(self.samplers, schedulers)}
        self.shape, self.device = (task.channels, task.image_size, task.image_size), device

    def step(self, x):
        noise = torch.randn_like(x)
        t = torch.randint(0, 1000, (len(x),), device=x.device)
        noisy = self.schedules["ancestral"].add_noise(x, noise, t)
        loss = F.mse_loss(self.predict(noisy, t), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema()

    @torch.no_grad()
    def p_sample(self, x, t, sampler="ancestral"):
        # 两家的 step 都返回以 x_{t-1} 打头的一组
        return self.schedules[sampler].step(self.predict(x, torch.full((len(x),), int(t), device=x.device)), t, x)[0]

    def sample(self, count, sampler, steps):
        self.schedules[sampler].set_timesteps(steps)
        x = torch.randn(count, *self.shape, device=self.device)
        for t in self.schedules[sampler].timesteps:
            x = self.p_sample(x, t, sampler)
        return x


class Diffusers(Peer):
    name, samplers = "diffusers", ("ancestral", "ddim", "dpmpp")

    def __init__(self, task, device="cpu"):
        from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
        from diffusers.training_utils import EMAModel

        self.network = UNet2DModel(
            sample_size=task.image_size, in_channels=task.channels, out_channels=task.channels, layers_per_block=task.blocks,
            block_out_channels=task.widths, norm_num_groups=min(32, task.width // 4), attention_head_dim=None,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in task.attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(task.attends))).to(device)
        self.prepare((DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler), task, device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
        self.average = EMAModel(self.network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=3 / 4)

    def predict(self, x, t):
        return self.network(x, t).sample

    def ema(self):
        self.average.step(self.network.parameters())


class Monai(Peer):
    name, samplers = "monai", ("ancestral", "ddim")

    def __init__(self, task, device="cpu"):
        from ema_pytorch import EMA
        from monai.networks.nets import DiffusionModelUNet
        from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

        self.network = DiffusionModelUNet(
            spatial_dims=2, in_channels=task.channels, out_channels=task.channels, num_res_blocks=task.blocks, channels=task.widths,
            attention_levels=task.attends, norm_num_groups=min(32, task.width // 4), num_head_channels=list(task.widths)).to(device)
        self.prepare((DDPMScheduler, DDIMScheduler), task, device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=2.5e-5)
        self.average = EMA(self.network, beta=0.9999, update_every=1, update_after_step=0)
        # 前几次它只是照抄，这里量的是平均
        for _ in range(3):
            self.average.update()

    def predict(self, x, t):
        return self.network(x, timesteps=t)

    def ema(self):
        self.average.update()


def contenders(task):
    """装了的几家，各造一个；没装的跳过并说明。参数个数不等时 AssertionError"""
    made, missing = [], []
    for kind in (Ours, Diffusers, Monai):
        torch.manual_seed(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made.append(kind(task))
        except ImportError:
            missing.append(kind.name)
    counts = {c.name: sum(p.numel() for p in c.network.parameters()) for c in made}
    if len(set(counts.values())) != 1:
        raise AssertionError(f"{task.name} 的参数个数不等：{counts}")
    return made, missing
