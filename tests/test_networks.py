"""U-Net、DiffusionWrapper、条件、instantiate_from_config、count_params"""
import copy

import pytest
import torch
from torch import nn

from ddpm_edu import DiffusionWrapper, UNet, count_params, instantiate_from_config
from ddpm_edu.conditioning import CONDITIONS, Condition, as_condition, condition_keys, drop_condition, null_condition
from ddpm_edu.unet import timestep_embedding

from .conftest import randomize, tiny_unet

CIFAR = dict(in_channels=3, out_channels=3, model_channels=128, num_res_blocks=2, channel_mult=(1, 2, 2, 2),
             attention_resolutions=(2,), dropout=0.1)


def test_the_cifar_network_of_ho_et_al_is_one_configuration():
    assert count_params(UNet(**CIFAR)) == 35_746_307


def test_fresh_unet_outputs_zero_and_keeps_the_shape():
    out = UNet(**tiny_unet()["params"])(torch.randn(2, 1, 8, 8), torch.tensor([0, 7]))
    assert out.shape == (2, 1, 8, 8) and not out.any()


def test_patches_are_folded_before_the_network_and_unfolded_after_it():
    """patch_size=p 的网络，就是在叠好的图上跑、再摊开；边长须再除得尽 p"""
    params = tiny_unet()["params"]
    net = randomize(UNet(**{**params, "patch_size": 2}))
    assert net.downsample_factor == 2 * UNet(**params).downsample_factor
    inner = UNet(**{**params, "in_channels": 4, "out_channels": 4})
    inner.load_state_dict(net.state_dict())
    x, t = torch.randn(3, 1, 16, 8), torch.tensor([1, 5, 7])
    # 逐个像素自己叠：第 (i, j) 个通道是行号余 i、列号余 j 的像素
    folded = torch.stack([x[:, 0, i::2, j::2] for i in range(2) for j in range(2)], 1)
    out, wanted = net(x, t), inner(folded, t)
    assert out.shape == x.shape
    for k, (i, j) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        torch.testing.assert_close(out[:, 0, i::2, j::2], wanted[:, k])
    with pytest.raises(ValueError, match="能被 4 整除"):
        net(x[..., :6], t)


@pytest.mark.parametrize("part", ["time", "attention", "label", "context"])
def test_every_input_of_the_unet_reaches_its_output(part):
    net = randomize(UNet(**tiny_unet(num_classes=3, context_dim=5, num_heads=2)["params"]))
    g = torch.Generator().manual_seed(0)
    inputs = dict(x=torch.randn(2, 1, 8, 8, generator=g), timesteps=torch.tensor([3, 3]),
                  context=torch.randn(2, 4, 5, generator=g), y=torch.tensor([0, 1]))
    changed = dict(inputs)
    if part == "time":
        changed["timesteps"] = torch.tensor([3, 40])
    elif part == "label":
        changed["y"] = torch.tensor([0, 2])
    elif part == "context":
        changed["context"] = torch.cat([inputs["context"][:1], -inputs["context"][1:]])
    else:
        # 远处一个像素的改动要传到对角：卷积看不到那么远
        changed["x"] = inputs["x"].clone()
        changed["x"][1, 0, 0, 0] += 1
    a, b = net(**inputs), net(**changed)
    assert torch.equal(a[0], b[0])
    assert (a[1, 0, 7, 7] - b[1, 0, 7, 7]).abs() > 1e-6


def test_unconditional_label_adds_nothing():
    net = randomize(UNet(**tiny_unet(num_classes=3)["params"]))
    assert not net.embed_labels(torch.tensor([-1, -1])).any()
    assert net.embed_labels(torch.tensor([-1, 2]))[1].any()


def test_attention_equals_explicit_softmax():
    from ddpm_edu.unet import attend

    q, k, v = torch.randn(3, 2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    heads = [torch.softmax(q[..., s] @ k[..., s].mT / 4**0.5, -1) @ v[..., s] for s in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(attend(q, k, v, 2), torch.cat(heads, -1))


def test_time_embedding_separates_neighbouring_steps_and_pads_odd_widths():
    e = timestep_embedding(torch.arange(1000), 33)
    assert e.shape == (1000, 33) and not e[:, -1].any()
    assert (e[1:] - e[:-1]).norm(dim=1).min() > 0.1


def test_bad_unet_inputs_are_named():
    net, t = UNet(**tiny_unet(num_classes=3, context_dim=5)["params"]), torch.tensor([0])
    x, y, context = torch.zeros(1, 1, 8, 8), torch.tensor([0]), torch.zeros(1, 2, 5)
    for bad, match in [
        (dict(x=torch.zeros(1, 1, 7, 8)), "整除"), (dict(x=torch.zeros(1, 2, 8, 8)), "U-Net 的输入"),
        (dict(y=None), "y "), (dict(y=torch.tensor([3])), "y "), (dict(context=None), "context"),
        (dict(context=torch.zeros(1, 2, 4)), "context"),
    ]:
        with pytest.raises(ValueError, match=match):
            net(**{**dict(x=x, timesteps=t, y=y, context=context), **bad})


KEYS = {
    None: {}, "concat": {"in_channels": 3}, "crossattn": {"context_dim": 5}, "adm": {"num_classes": 4},
    "hybrid": {"in_channels": 3, "context_dim": 5}, "hybrid-adm": {"in_channels": 3, "context_dim": 5, "num_classes": 4},
    "crossattn-adm": {"context_dim": 5, "num_classes": 4},
}
PARTS = {"c_concat": torch.ones(2, 2, 8, 8), "c_crossattn": torch.ones(2, 3, 5), "c_adm": torch.tensor([0, 1])}


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_wrapper_passes_each_condition_to_the_network(key):
    config = tiny_unet(**KEYS[key])
    before = copy.deepcopy(config)
    wrapper = randomize(DiffusionWrapper(config, key))
    assert config == before
    x, t = torch.zeros(2, 1, 8, 8), torch.tensor([1, 2])
    full = as_condition({name: PARTS[name] for name in CONDITIONS[key]}, key, 2)
    out = wrapper(x, t, **full)
    for name in full:
        other = dict(full)
        other[name] = torch.tensor([2, 3]) if name == "c_adm" else -full[name]
        assert not torch.allclose(wrapper(x, t, **other), out)
        with pytest.raises(ValueError, match="conditioning_key"):
            wrapper(x, t, **{k: v for k, v in full.items() if k != name})
    if key is None:
        with pytest.raises(ValueError, match="conditioning_key"):
            wrapper(x, t, c_adm=PARTS["c_adm"])


def test_conditions_are_dropped_one_sample_at_a_time():
    cond = Condition(c_adm=torch.arange(1000) % 5, c_concat=torch.ones(1000, 1, 2, 2))
    dropped = drop_condition(cond, 0.3, torch.Generator().manual_seed(0))
    gone = dropped["c_adm"] == -1
    assert 0.25 < gone.float().mean() < 0.35
    assert torch.equal(dropped["c_concat"].flatten(1).sum(1) == 0, gone)
    assert torch.equal(dropped["c_adm"][~gone], cond["c_adm"][~gone])
    assert (null_condition(cond)["c_adm"] == -1).all()
    assert drop_condition(cond, 0) is cond


def test_bad_conditions_are_named():
    with pytest.raises(ValueError, match="cond"):
        as_condition(None, "adm", 2)
    with pytest.raises(ValueError, match="第一维为 3"):
        as_condition(torch.tensor([0, 1]), "adm", 3)
    with pytest.raises(ValueError, match="cond"):
        as_condition(torch.tensor([0, 1]), None, 2)
    for labels in (torch.tensor([0.0, 1.0]), torch.tensor([[0], [1]])):
        with pytest.raises(ValueError, match="整数张量"):
            as_condition(labels, "adm", 2)
    with pytest.raises(ValueError, match="cond_key"):
        condition_keys("hybrid", "label")
    assert condition_keys("adm", "digit") == {"c_adm": "digit"}


def test_wrong_params_name_the_class():
    with pytest.raises(ValueError, match="params.*Linear.*in_feature.*可用的有 in_features, out_features"):
        instantiate_from_config({"target": "torch.nn.Linear", "params": {"in_feature": 1}})
    with pytest.raises(ValueError, match="out_features"):
        instantiate_from_config({"target": "torch.nn.Linear", "params": {"in_features": 1}})


def test_count_params_is_an_integer_with_a_breakdown(capsys):
    net = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(3, 1)})
    net["a"].bias.requires_grad_(False)
    count = count_params(net)
    assert count == 13 and count.trainable == 10 and count.by_module == {"a": 9, "b": 4}
    assert capsys.readouterr().out == ""
    count_params(net, verbose=True)
    assert "a" in (out := capsys.readouterr().out) and "13" in out and "10" in out
    net["c"] = net["b"]
    assert count_params(net) == 13
