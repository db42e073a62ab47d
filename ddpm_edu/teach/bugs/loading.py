"""装载与条件里的病例"""
from torch import nn

from ...ema import LitEma


def load_unet(network, state):
    """只取检查点里的 U-Net；它的键以 model.diffusion_model. 开头"""
    network.load_state_dict(state, strict=False)
    return network


def build(make_network, state):
    """造网络与它的 EMA，再装检查点里的权重"""
    network = make_network()
    ema = LitEma(network)
    network.load_state_dict(state)
    return network, ema


class Chain(nn.Module):
    """网络与噪声表；给了检查点 state，网络与表都以它为准"""

    def __init__(self, betas, state=None):
        super().__init__()
        self.net = nn.Linear(2, 2)
        if state is not None:
            self.load_state_dict(state, strict=False)
        self.register_buffer("betas", betas)


class ConditionalDenoiser(nn.Module):
    """按类别生成：c 是类别，0 到 9；嵌入从 0 练起"""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        nn.init.zeros_(self.embed.weight)
        self.net = nn.Linear(4, 4)

    def forward(self, x, c=None):
        return self.net(x if c is None else x + self.embed(c))

    def loss(self, x_start, noise, c):
        """损失：网络看着带噪的 x 与类别 c 猜噪声"""
        noisy = 0.6 * x_start + 0.8 * noise
        return nn.functional.mse_loss(self(noisy), noise)
