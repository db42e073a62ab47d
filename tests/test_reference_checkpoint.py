"""原版 DDPM 的检查点：键的写法、EMA 的名字、注意力的次序，都照它的约定另写一份，装进来的须是同一个网络"""
import math
import warnings

import pytest
import torch
import yaml

from ddpm_edu import DDPM
from ddpm_edu.cli.main import main
from ddpm_edu.exchange.reference import from_reference, params_from_yaml
from ddpm_edu.files.checkpoint import CheckpointError

from .conftest import randomize, tiny_ddpm, tiny_unet

UNET = tiny_unet(model_channels=32, norm_groups=32, num_heads=2)
TABLES = ("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod",
          "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1",
          "posterior_mean_coef2")


def their_key(key):
    """上下采样的卷积多一层：input_blocks.2.0.op.weight、output_blocks.1.2.conv.weight"""
    place, _, part = key.rpartition(".")
    if place == "input_blocks.2.0":
        return f"{place}.op.{part}"
    return f"{place}.conv.{part}" if place == "output_blocks.1.2" else key


def their_value(key, value):
    """注意力里是一维卷积；qkv 的次序是 头0 的 q、k、v，头1 的 q、k、v"""
    if ".qkv." in key:
        q, k, v = (part.chunk(2) for part in value.chunk(3))
        value = torch.cat([q[0], k[0], v[0], q[1], k[1], v[1]])
    return value[..., 0] if (".qkv." in key or ".proj_out." in key) and value.ndim == 4 else value


def their_states(model, half=False):
    """我们的模型写成原版的 state_dict"""
    states = {name: getattr(model, name) for name in TABLES} | {"logvar": model.logvar, "lvlb_weights": model.lvlb_weights}
    shadow = dict(model.model_ema.shadow.items())
    for key, value in model.model.diffusion_model.state_dict().items():
        theirs = their_key(key)
        states[f"model.diffusion_model.{theirs}"] = their_value(key, value)
        squeezed = f"diffusion_model.{theirs}".replace(".", "")
        states[f"model_ema.{squeezed}"] = their_value(key, shadow[f"diffusion_model.{key}".replace(".", "/")].data)
    states |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7, dtype=torch.int32)}
    return {key: value.half() if half and value.is_floating_point() else value for key, value in states.items()}


def trained():
    """权重与 EMA 不同的模型"""
    model = randomize(tiny_ddpm(UNET))
    for shadow in model.model_ema.shadow.values():
        shadow.data += 0.01
    return model


@pytest.mark.parametrize("half", [False, True])
def test_network_and_ema_come_in(half, tmp_path):
    model, path = trained(), tmp_path / "theirs.ckpt"
    torch.save({"state_dict": their_states(model, half), "optimizer_states": [{"state": {}}], "global_step": 7}, path)
    with pytest.warns(UserWarning, match="优化器的状态没有取"):
        found = from_reference(path, **model.hparams)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 40])
    for scope in (False, True):
        with torch.no_grad(), (found.ema_scope() if scope else warnings.catch_warnings()), (model.ema_scope() if scope else warnings.catch_warnings()):
            got, want = found.apply_model(x, t), model.apply_model(x, t)
        # 半精度存过的，权重各差万分之五
        torch.testing.assert_close(got, want, rtol=0, atol=(0.02 if half else 1e-5) * float(want.abs().max()))
    assert int(found.model_ema.num_updates) == 7


def test_the_attention_is_theirs():
    """照原版的次序另算一遍：先分头，再分 q、k、v；结果须与我们的注意力块相同"""
    block = randomize(tiny_ddpm(UNET)).model.diffusion_model.middle_block[1]
    weight, bias = (their_value(f"middle_block.1.qkv.{part}", getattr(block.qkv, part).data) for part in ("weight", "bias"))
    x = torch.randn(2, 64, 4, 4)
    with torch.no_grad():
        qkv = torch.einsum("oc,bcn->bon", weight[..., 0], block.norm(x).flatten(2)) + bias[:, None]
        q, k, v = qkv.reshape(2 * 2, 3 * 32, 16).chunk(3, dim=1)
        mixed = torch.einsum("bts,bcs->bct", torch.softmax(torch.einsum("bct,bcs->bts", q, k) / math.sqrt(32), -1), v).reshape(2, 64, 4, 4)
        torch.testing.assert_close(x + block.proj_out(mixed), block(x), rtol=1e-5, atol=1e-4)


def test_without_ema_there_is_none(tmp_path):
    model = trained()
    torch.save({"state_dict": {key: value for key, value in their_states(model).items() if not key.startswith("model_ema.")}}, tmp_path / "a.ckpt")
    params = {name: value for name, value in model.hparams.items() if name != "use_ema"}
    assert from_reference(tmp_path / "a.ckpt", **params).use_ema is False


class Callback:
    """存进文件的回调；读它的时候不许造出来"""

    made = 0

    def __setstate__(self, state):
        Callback.made += 1


def test_what_else_the_file_names_is_never_made(tmp_path):
    model = trained()
    torch.save({"state_dict": their_states(model), "callbacks": {Callback: {"best": 1}, "one": Callback()}}, tmp_path / "a.ckpt")
    Callback.made = 0
    found = from_reference(tmp_path / "a.ckpt", **model.hparams)
    assert Callback.made == 0 and int(found.model_ema.num_updates) == 7


def test_a_latent_diffusion_or_another_network_is_refused(tmp_path):
    model = trained()
    states = their_states(model)
    torch.save({"state_dict": {**states, "first_stage_model.x": torch.zeros(1)}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="LatentDiffusion"):
        from_reference(tmp_path / "a.ckpt", **model.hparams)
    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "b.ckpt")
    with pytest.raises(CheckpointError, match="model.diffusion_model"):
        from_reference(tmp_path / "b.ckpt", **model.hparams)
    torch.save({"state_dict": states}, tmp_path / "c.ckpt")
    with pytest.raises(CheckpointError, match="对不上"):
        from_reference(tmp_path / "c.ckpt", **{**model.hparams, "unet_config": tiny_unet(model_channels=32, num_res_blocks=2)})
    with pytest.raises(CheckpointError, match="噪声表不一致"):
        from_reference(tmp_path / "c.ckpt", **{**model.hparams, "linear_end": 0.03})


LDM = {"model": {"target": "ldm.models.diffusion.ddpm.DDPM", "params": {
    "timesteps": 50, "image_size": 8, "channels": 1, "monitor": "val/loss_simple_ema", "linear_start": 0.0015,
    "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": {
        "image_size": 8, "in_channels": 1, "out_channels": 1, "model_channels": 32, "num_res_blocks": 1, "channel_mult": [1, 2],
        "attention_resolutions": [2], "num_head_channels": 32, "use_checkpoint": True}}}}}


def test_their_yaml_gives_our_parameters(tmp_path, capsys):
    path = tmp_path / "ldm.yaml"
    path.write_text(yaml.safe_dump(LDM))
    params = params_from_yaml(path)
    assert params["unet_config"] == UNET | {"params": {**UNET["params"], "num_heads": 2}} and params["linear_start"] == 0.0015
    model = randomize(DDPM(**params))
    torch.save({"state_dict": their_states(model)}, tmp_path / "theirs.ckpt")
    assert main(["convert", str(tmp_path / "theirs.ckpt"), "--yaml", str(path), "--out", str(tmp_path / "ours.ckpt")]) == 0
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 40])
    torch.testing.assert_close(DDPM.load_from_checkpoint(tmp_path / "ours.ckpt").apply_model(x, t), model.apply_model(x, t))


@pytest.mark.parametrize(("change", "said"), [({"use_spatial_transformer": True}, "use_spatial_transformer"), ({"resblock_updown": True}, "resblock_updown"),
                                              ({"context_dim": 768}, "context_dim")])
def test_networks_we_do_not_have_are_refused_by_name(change, said, tmp_path):
    config = yaml.safe_load(yaml.safe_dump(LDM))
    config["model"]["params"]["unet_config"]["params"] |= change
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=said):
        params_from_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("change", [{"model_channels": None}, {"channel_mult": 3}, {"attention_resolutions": None},
                                    {"num_head_channels": 0}, {"num_head_channels": "32"}, {"num_head_channels": 48}])
def test_settings_that_make_no_sense_are_one_sentence(change, tmp_path):
    config = yaml.safe_load(yaml.safe_dump(LDM))
    config["model"]["params"]["unet_config"]["params"] |= change
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises((ValueError, CheckpointError), match="a.yaml"):
        params_from_yaml(tmp_path / "a.yaml")


def test_numbers_without_a_point_and_other_classes(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(LDM).replace("0.0015", "15e-4"))
    assert params_from_yaml(tmp_path / "a.yaml")["linear_start"] == 0.0015
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(LDM).replace("ddpm.DDPM", "ddpm.LatentDiffusion"))
    with pytest.raises(ValueError, match="model.target.*LatentDiffusion"):
        params_from_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("text", [
    "a: 2020-13-45", "[" * 3000, "", "[1]", "model: 3", "model: {params: {unet_config: {target: x.Y}}}", "a: [", "!!python/object/apply:os.system [ls]",
])
def test_other_yaml_is_one_sentence(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises((ValueError, CheckpointError), match="a.yaml"):
        params_from_yaml(tmp_path / "a.yaml")
