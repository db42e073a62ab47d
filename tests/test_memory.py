"""训练之前说的内存：每一样都数到，看一眼不留痕迹"""
import torch
from torch import nn

from ddpm_edu.training.memory import activation_bytes, model_bytes

from .conftest import tiny_ddpm


class Known(nn.Module):
    """留下什么算得出来：x 与 exp(w·x) 各 N 个数；w 是权重，不算"""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def shared_step(self, batch):
        return torch.exp(self.w * batch["image"]).sum(), {}


def test_activations_are_counted_once_and_weights_are_not():
    assert activation_bytes(Known(), {"image": torch.zeros(5, 1, 8, 8)}) == 2 * 4 * 5 * 64


def test_the_estimate_grows_with_the_batch_and_leaves_no_trace(images):
    model = tiny_ddpm().train()
    before, state = {key: value.clone() for key, value in model.state_dict().items()}, torch.get_rng_state()
    one, four = (activation_bytes(model, {"image": images[:n]}) for n in (1, 4))
    # 步号与噪声表的几个数不随图的大小变，不到百分之五
    assert 0.95 * 4 * one < four <= 4 * one
    assert model.training and torch.equal(state, torch.get_rng_state()) and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_the_model_is_weights_gradients_two_moments_and_the_shadow():
    model = tiny_ddpm()
    weights = sum(p.nbytes for p in model.model.parameters())
    tables = sum(b.nbytes for b in model.buffers())
    assert model_bytes(model) == 5 * weights + tables
