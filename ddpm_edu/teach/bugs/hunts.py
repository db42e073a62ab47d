"""猎场的三个黑箱模型。还没有做完 16.13–16.15 的话，不要往下看"""
import torch

from ...ddpm import DDPM
from ...ema import LitEma
from ...pretrained import load_pretrained, pretrained_card
from ...schedules import make_beta_schedule
from .loading import Chain, build, load_unet


class Box1(DDPM):
    def predict_start(self, x, t, clip_denoised=True, *, cond=None, guidance_scale=1.0):
        model_out = self.guided_output(x, t, cond, guidance_scale)
        return self.objective.to_x_start(self, x, t, model_out.clamp(-1, 1) if clip_denoised else model_out)


class Box2(LitEma):
    @torch.no_grad()
    def forward(self, model):
        self._count += 1
        self.num_updates += 1
        live, shadow = self._pairs(model)
        torch._foreach_lerp_([tensor.clone() for tensor in shadow], live, 1 - self.effective_decay(self._count))


class Box3(DDPM):
    def apply_model(self, x, t, cond=None):
        return super().apply_model(x, torch.where(t >= 500, t // 100 * 100, t), cond)


def untrained():
    """结构同 mnist 模型，权重是随机的初值"""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return DDPM(**pretrained_card("mnist")["model"]).eval()


def with_old_shadow(ema_class):
    """mnist 模型，影子还是训练之前的随机初值，更新的计数是 2577"""
    model = load_pretrained("mnist")
    model.model_ema.__class__ = ema_class
    model.model_ema.load_state_dict({**LitEma(untrained().model).state_dict(), "num_updates": torch.tensor(2577)})
    return model


def shaken():
    """mnist 模型，每个权重乘上 1 ± 0.1 的随机数"""
    model = load_pretrained("mnist")
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.mul_(1 + 0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def of_class(box):
    model = load_pretrained("mnist")
    model.__class__ = box
    return model


def case_two():
    """病例 2 的模型：训练的损失与 mnist 模型逐位相同"""
    model = load_pretrained("mnist")
    model.predict_start_from_z_and_v = model.predict_start_from_noise
    return model


def case_four():
    """病例 4 的三个模型：同一份 mnist 检查点，三段装载各装出一个；没有换过网络的，影子就是网络此刻的权重"""
    checkpoint = load_pretrained("mnist")
    first, second = untrained(), untrained()
    load_unet(first.model.diffusion_model, checkpoint.state_dict())
    second.model, second.model_ema = build(lambda: untrained().model, checkpoint.model.state_dict())
    chain = Chain(torch.tensor(make_beta_schedule("linear", 1000)), Chain(checkpoint.betas).state_dict())
    return first, second, load_pretrained("mnist", given_betas=chain.betas)


def hunt(number):
    """第 1、2 或 3 号黑箱：随包的 mnist 模型（v 目标，cosine 噪声表，1000 步，按类别），其中一个环节是错的"""
    return {1: lambda: of_class(Box1), 2: lambda: with_old_shadow(Box2), 3: lambda: of_class(Box3)}[number]()
