"""与 diffusers 交换权重：两个方向，网络的输出与整条采样链都相等；装不下的写明名字拒绝"""
import json
import os
import re

import pytest
import torch

from ddpm_edu import DDPM, load_pretrained
from ddpm_edu.cli.main import main
from ddpm_edu.exchange.diffusers_folder import from_folder, scheduler_params, to_folder, unet_params
from ddpm_edu.files.checkpoint import CheckpointError

from .conftest import randomize, tiny_ddpm, tiny_unet

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")

# google 公布的几个网络的形状（配置里的事实）：32×32 的四级，256×256 的六级；这里的图小一些，各级的宽度除以四，键照旧
OLD = {"in_channels": 3, "out_channels": 3, "layers_per_block": 2, "attention_head_dim": None, "norm_num_groups": 32, "flip_sin_to_cos": False,
       "freq_shift": 1, "downsample_padding": 0, "norm_eps": 1e-6}
CIFAR = {**OLD, "sample_size": 32, "block_out_channels": (32, 64, 64, 64),
         "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
         "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D")}
CELEBA = {**OLD, "sample_size": 32, "block_out_channels": (32, 32, 64, 64, 128, 128),
          "down_block_types": ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
          "up_block_types": ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4}
SMALL = {**OLD, "sample_size": 16, "block_out_channels": (32, 64, 64), "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
         "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D")}
NEW = {**SMALL, "flip_sin_to_cos": True, "freq_shift": 0, "downsample_padding": 1, "norm_eps": 1e-5, "attention_head_dim": 16, "norm_num_groups": 8}


def pipeline(config, **scheduler):
    """随机权重的 DDPMPipeline；每一项都不是 0，缺了哪一项都看得出"""
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(**config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return diffusers.DDPMPipeline(network, diffusers.DDPMScheduler(1000, **scheduler))


def assert_same_outputs(model, network, size=16):
    x, t = torch.randn(2, 3, size, size), torch.tensor([3, 900])
    with torch.no_grad():
        want = network(x, t).sample
        assert float((model.apply_model(x, t) - want).abs().max()) <= 1e-5 * float(want.abs().max())


def ddim_chain(network, scheduler, x, steps=10):
    """diffusers 自己的 DDIM，从 x 出发"""
    ddim = diffusers.DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing", clip_sample=False)
    ddim.set_timesteps(steps)
    with torch.no_grad():
        for t in ddim.timesteps:
            x = ddim.step(network(x, t).sample, t, x).prev_sample
    return x


@pytest.mark.parametrize(("config", "size"), [(SMALL, 16), (NEW, 16), (CIFAR, 32), (CELEBA, 32)], ids=["small", "new", "cifar10", "celebahq"])
def test_a_folder_comes_in_and_goes_out_unchanged(config, size, tmp_path):
    pipe = pipeline(config, variance_type="fixed_large", beta_schedule="linear")
    pipe.save_pretrained(tmp_path / "theirs")
    model = from_folder(tmp_path / "theirs")
    assert_same_outputs(model, pipe.unet, size)
    assert (model.v_posterior, model.hparams.beta_schedule, model.parameterization, model.image_size) == (1.0, "sqrt_linear", "eps", config["sample_size"])
    torch.testing.assert_close(model.betas, pipe.scheduler.betas, rtol=1e-6, atol=0)
    to_folder(model, tmp_path / "back")
    back = diffusers.DDPMPipeline.from_pretrained(tmp_path / "back")
    assert_same_outputs(model, back.unet, size)
    assert set(back.unet.state_dict()) == set(pipe.unet.state_dict())


@pytest.mark.parametrize("parameterization", ["eps", "v"])
def test_whole_ddim_chains_are_equal_in_both_directions(parameterization, tmp_path):
    pipe = pipeline(SMALL, prediction_type={"eps": "epsilon", "v": "v_prediction"}[parameterization], beta_schedule="scaled_linear", clip_sample=False)
    pipe.save_pretrained(tmp_path / "theirs")
    model, x = from_folder(tmp_path / "theirs"), torch.randn(2, 3, 16, 16)
    mine = model.sample(2, sampler="ddim", steps=10, spacing="trailing", x_T=x, progress=False)
    theirs = ddim_chain(pipe.unet, pipe.scheduler, x)
    assert float((mine - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())
    to_folder(model, tmp_path / "back")
    back = diffusers.DDPMPipeline.from_pretrained(tmp_path / "back")
    theirs = ddim_chain(back.unet, back.scheduler, x)
    assert float((mine - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


@pytest.mark.parametrize("given", [
    {"beta_schedule": "linear"}, {"beta_schedule": "cosine"}, {"beta_schedule": "sqrt"}, {"beta_schedule": "cosine", "cosine_s": 0.02},
    {"given_betas": [0.01, 0.1, 0.2], "timesteps": 3}, {"beta_schedule": "cosine", "rescale_betas_zero_snr": True, "parameterization": "v"},
])
def test_the_noise_table_and_the_rest_go_out_and_come_back(given, tmp_path):
    model = randomize(tiny_ddpm(tiny_unet(norm_groups=4), **given, v_posterior=1.0, clip_denoised=False))
    to_folder(model, tmp_path / "out")
    scheduler = diffusers.DDPMScheduler.from_pretrained(tmp_path / "out", subfolder="scheduler")
    torch.testing.assert_close(scheduler.betas.double(), model.exact_table("betas"), rtol=2e-5, atol=1e-7)
    back = from_folder(tmp_path / "out")
    torch.testing.assert_close(back.exact_table("betas"), model.exact_table("betas"), rtol=1e-6, atol=1e-9)
    assert (back.v_posterior, back.clip_denoised, back.parameterization) == (1.0, False, model.parameterization)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0, 2])
    assert torch.equal(back.apply_model(x, t), model.apply_model(x, t))


def test_the_pipeline_of_diffusers_draws_with_our_weights(tmp_path):
    to_folder(randomize(tiny_ddpm(tiny_unet(norm_groups=4))), tmp_path / "out")
    images = diffusers.DDPMPipeline.from_pretrained(tmp_path / "out")(batch_size=2, num_inference_steps=3, output_type="np").images
    assert images.shape == (2, 8, 8, 1)


def test_old_files_are_read_too(tmp_path):
    """2022 年的文件：注意力层叫 query / key / value / proj_attn，权重是 .bin"""
    pipe = pipeline(SMALL)
    pipe.save_pretrained(tmp_path / "theirs")
    weights = tmp_path / "theirs" / "unet"
    (weights / "diffusion_pytorch_model.safetensors").unlink()
    states = {key.replace("to_q", "query").replace("to_k", "key").replace("to_v", "value").replace("to_out.0", "proj_attn"): value
              for key, value in pipe.unet.state_dict().items()}
    torch.save(states, weights / "diffusion_pytorch_model.bin")
    assert_same_outputs(from_folder(tmp_path / "theirs"), pipe.unet)


@pytest.mark.parametrize(("changes", "name"), [
    ({"num_class_embeds": 10}, "num_class_embeds"), ({"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift"),
    ({"act_fn": "gelu"}, "act_fn"), ({"block_out_channels": [64, 96, 96]}, "block_out_channels"), ({"center_input_sample": True}, "center_input_sample"),
    ({"down_block_types": ["DownBlock2D", "SkipDownBlock2D", "DownBlock2D"]}, "down_block_types"), ({"up_block_types": ["UpBlock2D"] * 3}, "up_block_types"),
])
def test_networks_we_do_not_have_are_refused_by_name(changes, name):
    with pytest.raises(ValueError, match=name):
        unet_params({**{key: list(value) if isinstance(value, tuple) else value for key, value in SMALL.items()}, **changes})


@pytest.mark.parametrize(("changes", "name"), [({"beta_schedule": "sigmoid"}, "beta_schedule"), ({"variance_type": "learned_range"}, "variance_type"),
                                               ({"prediction_type": "flow"}, "prediction_type"), ({"thresholding": True}, "thresholding")])
def test_schedulers_we_do_not_have_are_refused_by_name(changes, name):
    with pytest.raises(ValueError, match=name):
        scheduler_params({"num_train_timesteps": 1000, **changes})


@pytest.mark.parametrize(("unet", "given", "name"), [
    ({"patch_size": 2}, {}, "patch_size"), ({"norm_groups": None}, {}, "norm_groups"), ({}, {"v_posterior": 0.5}, "v_posterior"),
    ({"num_classes": 3}, {"conditioning_key": "adm"}, "conditioning_key"), ({"in_channels": 3}, {"use_positional_encodings": True}, "use_positional_encodings"),
])
def test_models_they_do_not_have_are_refused_by_name_and_nothing_is_written(unet, given, name, tmp_path):
    with pytest.raises(ValueError, match=name):
        to_folder(tiny_ddpm(tiny_unet(**{"norm_groups": 4, **unet}), **given), tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_not_whole_is_one_sentence(tmp_path, capsys):
    pipeline(SMALL).save_pretrained(tmp_path / "theirs")
    unet = tmp_path / "theirs" / "unet"
    config = json.loads((unet / "config.json").read_text())
    out = str(tmp_path / "x.ckpt")

    def said(change):
        change()
        assert main(["convert", str(tmp_path / "theirs"), "--out", out]) == 2 and not (tmp_path / "x.ckpt").exists()
        return capsys.readouterr().err

    def config_with(**changes):
        (unet / "config.json").write_text(json.dumps({**config, **changes}))

    assert "对不上" in said(lambda: config_with(layers_per_block=1)) and "in_channels" in said(lambda: config_with(in_channels=4))
    assert "应为 JSON" in said(lambda: (unet / "config.json").write_text("{")) and "应为 JSON 字典" in said(lambda: (unet / "config.json").write_text("[]"))
    assert "缺 'layers_per_block'" in said(lambda: (unet / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "layers_per_block"})))
    config_with()
    assert "safetensors" in said(lambda: (unet / "diffusion_pytorch_model.safetensors").write_bytes(b"half"))
    assert "没有找到" in said((unet / "diffusion_pytorch_model.safetensors").unlink)


@pytest.mark.parametrize(("file", "changes", "words"), [
    ("model_index.json", {"vqvae": ["diffusers", "VQModel"]}, "只有 unet 与 scheduler"),
    ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "_class_name"), ("unet/config.json", {"norm_num_groups": None}, "norm_num_groups"),
    ("scheduler/scheduler_config.json", {"_class_name": "KarrasVeScheduler"}, "_class_name"),
    ("unet/config.json", {"attention_head_dim": [8, 8]}, "读不懂"), ("unet/config.json", {"attention_head_dim": 0}, "读不懂"),
    ("unet/config.json", {"attention_head_dim": 48}, "整数"), ("unet/config.json", {"block_out_channels": None}, "读不懂"),
    ("unet/config.json", {"down_block_types": [["x"]]}, "读不懂|down_block_types"), ("scheduler/scheduler_config.json", {"trained_betas": 0.1}, "读不懂"),
    ("scheduler/scheduler_config.json", {"prediction_type": ["epsilon"]}, "读不懂|prediction_type"),
])
def test_settings_that_make_no_sense_are_one_sentence(file, changes, words, tmp_path, capsys):
    pipeline(SMALL).save_pretrained(tmp_path / "theirs")
    path = tmp_path / "theirs" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert main(["convert", str(tmp_path / "theirs"), "--out", str(tmp_path / "x.ckpt")]) == 2
    assert re.search(words, capsys.readouterr().err) and not (tmp_path / "x.ckpt").exists()


def test_weights_that_are_not_numbers_are_not_written(tmp_path):
    pipe = pipeline(SMALL)
    pipe.unet.conv_in.weight.data[0] = float("nan")
    pipe.save_pretrained(tmp_path / "theirs")
    with pytest.raises(CheckpointError, match="NaN.*input_blocks.0.0"):
        from_folder(tmp_path / "theirs")


def test_what_is_written_can_be_read_by_others(tmp_path):
    to_folder(tiny_ddpm(tiny_unet(norm_groups=4)), tmp_path / "out")
    umask = os.umask(0)
    os.umask(umask)
    for path in (tmp_path / "out", *(tmp_path / "out").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask


@pytest.mark.parametrize(("arguments", "words"), [
    (["{empty}", "--out", "{new}"], "来源.*model_index.json"), (["{theirs}", "--out", "{new}.ckpt", "--raw"], "--raw"),
    (["digits", "--out", "{new}.ckpt"], "--out.*文件夹"), (["digits", "--out", "{new}"], "norm_groups.*随包的几个"),
])
def test_bad_requests_are_one_sentence(arguments, words, tmp_path, capsys):
    pipeline(SMALL).save_pretrained(tmp_path / "theirs")
    (tmp_path / "empty").mkdir()
    places = {name: str(tmp_path / name) for name in ("empty", "theirs", "new")}
    assert main(["convert", *(argument.format(**places) for argument in arguments)]) == 2
    assert re.search(words, capsys.readouterr().err) and not (tmp_path / "new").exists()


def test_the_command_goes_both_ways(tmp_path, capsys):
    pipe = pipeline(SMALL)
    pipe.save_pretrained(tmp_path / "theirs")
    assert main(["convert", str(tmp_path / "theirs"), "--out", str(tmp_path / "ours.ckpt")]) == 0
    model = DDPM.load_from_checkpoint(tmp_path / "ours.ckpt")
    assert_same_outputs(model, pipe.unet)
    with model.ema_scope():
        assert_same_outputs(model, pipe.unet)
    assert main(["convert", str(tmp_path / "ours.ckpt"), "--out", str(tmp_path / "back")]) == 0
    assert_same_outputs(model, diffusers.UNet2DModel.from_pretrained(tmp_path / "back", subfolder="unet"))
    assert main(["convert", str(tmp_path / "ours.ckpt"), "--out", str(tmp_path / "back")]) == 2
    assert "不存在或是空的" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "theirs"), "--out", str(tmp_path / "ours.pt")]) == 2


def test_the_shipped_digits_say_why_they_do_not_fit():
    with pytest.raises(ValueError, match="norm_groups"):
        to_folder(load_pretrained("digits"), "never")


@pytest.mark.parametrize(("target", "params", "given"), [
    ("UNet2DModel", {"sample_size": 16, "in_channels": 1, "out_channels": 1, "block_out_channels": [32, 32], "norm_num_groups": 8, "layers_per_block": 1,
                     "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}, {}),
    ("DiTTransformer2DModel", {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 1, "out_channels": 1, "num_layers": 1, "patch_size": 4,
                               "sample_size": 16, "num_embeds_ada_norm": 10, "norm_num_groups": 1}, {"conditioning_key": "adm"}),
])
def test_a_network_of_diffusers_trains_and_samples(target, params, given):
    model = DDPM({"target": f"diffusers.{target}", "params": params}, image_size=16, channels=1, timesteps=20, parameterization="v", **given)
    cond = {"c_adm": torch.tensor([3, 1])} if given else None
    loss, _ = model.p_losses(torch.zeros(2, 1, 16, 16), torch.tensor([3, 19]), cond=cond)
    loss.backward()
    # DiT 的调制层从 0 起步，有的参数第一步还没有梯度
    assert sum(float(p.grad.abs().sum()) > 0 for p in model.model.parameters() if p.grad is not None) > 5
    assert model.sample(2, sampler="dpmpp", steps=4, cond=cond, progress=False).isfinite().all()
