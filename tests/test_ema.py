import math

import pytest
import torch
from torch import nn

from ddpm_edu import LitEma
from ddpm_edu.files.checkpoint import load_checkpoint, save_checkpoint

from .conftest import randomize, tiny_ddpm


def test_constant_weights_follow_the_closed_form():
    net = nn.Linear(3, 2).double()
    ema = LitEma(net, decay=1.0)
    start = ema.shadow["weight"].clone()
    with torch.no_grad():
        net.weight.fill_(0.7)
    for k in range(1, 60):
        ema(net)
        factor = math.factorial(10) * math.factorial(k + 1) / math.factorial(k + 10)
        torch.testing.assert_close(ema.shadow["weight"] - 0.7, (start - 0.7) * factor, rtol=0, atol=1e-12)
    assert int(ema.num_updates) == 59


@pytest.mark.parametrize(("decay", "updates"), [(0.9, 80), (0.99, 890), (0.999, 8990), (0.9999, 89990)])
def test_warm_up_lasts_as_long_as_the_course_says(decay, updates):
    ema = LitEma(nn.Linear(1, 1), decay)
    assert ema.effective_decay(updates - 1) < decay
    assert ema.effective_decay(updates) == pytest.approx(decay) and ema.effective_decay(updates + 1) == decay
    assert LitEma(nn.Linear(1, 1), decay, use_num_updates=False).effective_decay(1) == decay


def test_names_cannot_collide():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.b = nn.Parameter(torch.zeros(1))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.ab = Inner(), nn.Parameter(torch.ones(2))
            self.decay, self.num_updates = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(4))

    net = Net()
    ema = LitEma(net, decay=0.5, use_num_updates=False)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1)
    ema(net)
    target = Net()
    ema.copy_to(target)
    for p, q in zip(target.parameters(), net.parameters()):
        torch.testing.assert_close(p, q - 0.5)
    assert ema.decay == 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models_keep_a_float32_shadow_that_moves(dtype):
    net = nn.Linear(2, 2)
    ema = LitEma(net, decay=0.999, use_num_updates=False)
    start = ema.shadow["weight"].clone()
    net.to(dtype)
    ema.to(dtype)
    assert ema.shadow["weight"].dtype == torch.float32 and torch.equal(ema.shadow["weight"], start)
    with torch.no_grad():
        net.weight.fill_(2.0)
    ema(net)
    # 影子走了 1e-3，float32 在 1 附近一格是 6e-8，差就只准到 1e-4
    torch.testing.assert_close(ema.shadow["weight"] - start, 0.001 * (2 - start), rtol=1e-4, atol=1e-7)


def test_frozen_and_unfrozen_layers_and_batch_norm_are_all_averaged():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[0].weight.requires_grad_(False)
    ema = LitEma(net, decay=0.5, use_num_updates=False)
    net[0].weight.requires_grad_(True)
    with torch.no_grad():
        net[0].weight.add_(1)
        net[1].running_mean.add_(4)
    ema(net)
    torch.testing.assert_close(ema.shadow["1/running_mean"], torch.full((2,), 2.0))
    torch.testing.assert_close(ema.shadow["0/weight"], net[0].weight - 0.5)


def test_the_checkpoint_never_overwrites_the_configured_decay():
    saved = LitEma(nn.Linear(1, 1), decay=0.5)
    saved(nn.Linear(1, 1))
    ema = LitEma(nn.Linear(1, 1), decay=0.9)
    ema.load_state_dict(saved.state_dict())
    assert ema.decay == 0.9 and int(ema.num_updates) == 1
    ema(nn.Linear(1, 1))
    assert int(ema.num_updates) == 2 and ema.effective_decay(ema._count) == 3 / 12


def test_a_restarted_average_warms_up_again():
    net = nn.Linear(1, 1)
    ema = LitEma(net)
    for _ in range(5):
        ema(net)
    ema.reset_to(net)
    with torch.no_grad():
        net.weight.add_(1)
    ema(net)
    assert int(ema.num_updates) == 1
    torch.testing.assert_close(ema.shadow["weight"], net.weight - 2 / 11)


def test_changed_structure_is_an_error_that_names_the_parameter():
    with pytest.raises(ValueError, match="bias"):
        LitEma(nn.Linear(1, 1))(nn.Linear(1, 1, bias=False))


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan"), "0.9", True])
def test_bad_decay_is_named(decay):
    with pytest.raises((ValueError, TypeError), match="decay"):
        LitEma(nn.Linear(1, 1), decay)


def test_restore_without_store_is_an_error():
    with pytest.raises(RuntimeError, match="store"):
        LitEma(nn.Linear(1, 1)).restore(nn.Linear(1, 1))


def test_store_and_restore_accept_plain_parameters():
    net = nn.Linear(2, 2)
    ema, before = LitEma(net), net.weight.detach().clone()
    ema.store(net.parameters())
    with torch.no_grad():
        net.weight.zero_()
    ema.restore(net.parameters())
    assert torch.equal(net.weight, before) and ema.depth == 0


def inside(model):
    with model.ema_scope():
        yield


def leave_by(how, model, save):
    if how == "break":
        # 循环提前离开，生成器收到 GeneratorExit
        for _ in inside(model):
            save()
            break
        return
    with model.ema_scope():
        if how == "nested":
            with model.ema_scope():
                save()
        save()
        if how == "exception":
            raise RuntimeError
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "return":
            return


@pytest.mark.parametrize("how", ["normal", "return", "break", "exception", "interrupt", "nested"])
def test_leaving_the_scope_restores_raw_weights_bit_for_bit(how, tmp_path):
    model = tiny_ddpm()
    randomize(model.model)
    raw = {k: v.clone() for k, v in model.state_dict().items()}
    changed = []

    def save():
        name, weight = next(iter(model.named_parameters()))
        changed.append(not torch.equal(weight, raw[name]))
        save_checkpoint({"state_dict": model.state_dict()}, tmp_path / "a.ckpt")

    try:
        leave_by(how, model, save)
    except (RuntimeError, KeyboardInterrupt):
        pass
    saved = load_checkpoint(tmp_path / "a.ckpt")["state_dict"]
    for states in (model.state_dict(), saved):
        assert states.keys() == raw.keys() and all(torch.equal(v, raw[k]) for k, v in states.items())
    assert model.model_ema.depth == 0 and all(changed)


def test_inside_the_scope_the_network_is_ema_but_state_dict_is_raw():
    model = tiny_ddpm()
    randomize(model.model)
    raw = {k: v.clone() for k, v in model.state_dict().items()}
    with model.ema_scope("test"), model.ema_scope():
        name, p = next(iter(model.model.named_parameters()))
        assert torch.equal(p, model.model_ema.shadow[name.replace(".", "/")])
        assert not torch.equal(p, raw[f"model.{name}"])
        # 张量是引用，离开作用域就变回原权重；要比的是此刻的值
        inside = {k: v.clone() for k, v in model.state_dict().items()}
    assert inside.keys() == raw.keys()
    assert all(torch.equal(inside[k], raw[k]) for k in raw)


def test_scope_without_ema_does_nothing():
    model = tiny_ddpm(use_ema=False)
    assert not hasattr(model, "model_ema")
    with model.ema_scope():
        pass


def test_ema_update_is_one_fused_call_without_reading_the_device(monkeypatch):
    net = randomize(nn.Sequential(*(nn.Linear(4, 4) for _ in range(20))))
    ema, calls = LitEma(net), []
    original = torch._foreach_lerp_
    monkeypatch.setattr(torch, "_foreach_lerp_", lambda *args: calls.append(len(args[0])) or original(*args))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("读了设备上的数"))
    ema(net)
    assert calls == [40]
