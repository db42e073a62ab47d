"""别家的循环套在我们的网络上：网络相同，量的只是它们自己写的那几行

BORROWERS : {名字: network → (训练一步，没有的是 None；DDIM 50 步画一批)}；没有装的一家 ImportError
"""
import torch

BATCH, SHAPE, STEPS = 64, (1, 8, 8), 50


def azula(network):
    from azula.denoise import SimpleDenoiser
    from azula.noise import VPSchedule
    from azula.sample import DDIMSampler

    # 它给整批一个时刻，网络要每张一个
    network.register_forward_pre_hook(lambda module, args: (args[0], args[1].expand(len(args[0]))))
    sampler = DDIMSampler(SimpleDenoiser(network, VPSchedule()), steps=STEPS, silent=True)
    return None, lambda: sampler(torch.randn(BATCH, *SHAPE))


def denoising_diffusion_pytorch(network):
    from denoising_diffusion_pytorch import GaussianDiffusion, denoising_diffusion_pytorch
    from ema_pytorch import EMA

    denoising_diffusion_pytorch.tqdm = lambda steps, **rest: steps  # 它的进度条没有别的开关
    model = Renamed(network)
    diffusion = GaussianDiffusion(model, image_size=SHAPE[-1], objective="pred_noise", beta_schedule="linear", sampling_timesteps=STEPS)
    # 它的 Trainer 的默认值：Adam，每十步平均一次
    optimizer, average = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99)), EMA(diffusion, beta=0.995, update_every=10)

    def step(x):
        diffusion(x).backward()
        torch.nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()

    return step, lambda: diffusion.sample(BATCH)


def smalldiffusion(network):
    import smalldiffusion

    smalldiffusion.diffusion.tqdm = lambda epochs: epochs
    schedule = smalldiffusion.ScheduleDDPM()

    class Scaled(torch.nn.Module, smalldiffusion.ModelMixin):
        input_dims = SHAPE

        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x, sigma, cond=None):
            # 它的 x 没有缩小过，噪声的大小代替步号
            t = torch.searchsorted(schedule.sigmas, sigma.flatten()).expand(len(x))
            return self.network(x / (1 + sigma**2).sqrt(), t)

    model = Scaled()
    loop = smalldiffusion.training_loop(torch.utils.data.DataLoader(torch.rand(BATCH, *SHAPE), BATCH), model, schedule, lr=1e-4)
    return lambda x: next(loop), lambda: list(smalldiffusion.samples(model, schedule.sample_sigmas(STEPS), batchsize=BATCH))[-1]


class Renamed(torch.nn.Module):
    """换成 denoising-diffusion-pytorch 要的样子：它另送一个自条件，还要两个属性"""

    self_condition = False

    def __init__(self, network):
        super().__init__()
        self.network, self.channels, self.out_dim = network, SHAPE[0], SHAPE[0]

    def forward(self, x, t, x_self_cond=None):
        return self.network(x, t)


BORROWERS = {"azula": azula, "denoising-diffusion-pytorch": denoising_diffusion_pytorch, "smalldiffusion": smalldiffusion}
