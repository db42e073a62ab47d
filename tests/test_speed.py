"""加速的开关只改快慢，不改结果"""
import functools
import warnings

import pytest
import torch

from ddpm_edu.training.callbacks import SampleGrid
from ddpm_edu.training.speed import SpeedUp

from .conftest import one_level_unet, randomize, tiny_ddpm
from .test_training import FewDigits, fit


def model_for_training(unet=None):
    # 没有 dropout：掩码按内存的次序抽，换了排布就不是同一份
    return tiny_ddpm(unet, learning_rate=1e-3, ema_decay=0.9)


class OneConvolution(torch.nn.Conv2d):
    """捕捉得快的网络：只问编没编译时，用它代替 U-Net"""

    def __init__(self):
        super().__init__(1, 1, 3, padding=1)

    def forward(self, x, t):
        return super().forward(x)


@pytest.fixture
def graphs(monkeypatch):
    """每编译一次记一张计算图；只捕捉、不生成代码：后者在 CPU 上要几分钟，改变的只是舍入"""
    captured = []

    def capture(graph, inputs):
        captured.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=capture))
    yield captured
    torch._dynamo.reset()


def test_compiling_gives_the_same_weights_and_the_same_keys(tmp_path, graphs):
    plain, fast = (model_for_training(one_level_unet()) for _ in range(2))
    fit(plain, 3, tmp_path, data=FewDigits(8))
    trainer = fit(fast, 3, tmp_path, data=FewDigits(8), callbacks=[SpeedUp(compile=True)])
    assert graphs and not torch.equal(plain.state_dict()["model_ema.num_updates"], torch.tensor(0))
    for (name, p), (other, q) in zip(plain.state_dict().items(), fast.state_dict().items(), strict=True):
        # 编译会换加法的次序；AdamW 除以梯度的大小，舍入因此放大一些
        assert name == other and torch.allclose(p, q, atol=1e-4), name
    trainer.save_checkpoint(tmp_path / "fast.ckpt")
    again = model_for_training(one_level_unet())
    again.init_from_ckpt(tmp_path / "fast.ckpt")
    assert all(torch.equal(p, q) for p, q in zip(again.parameters(), fast.parameters()))


def test_only_the_training_step_is_compiled_and_only_once(tmp_path, graphs):
    """验证、采样的批大小与模式都不同，跟着编译的话每一种都要再等一两分钟；在 H100 上三分钟还没有走完第一步"""
    model = model_for_training()
    callbacks = [SpeedUp(compile=True), SampleGrid(every_n_steps=2, num_samples=4, steps=2, dirpath=tmp_path)]
    fit(model, 4, tmp_path, data=FewDigits(8), callbacks=callbacks, limit_val_batches=2, val_check_interval=2, num_sanity_val_steps=2)
    assert len(list(tmp_path.glob("*.png"))) >= 2 and len(graphs) == 1
    assert "forward" not in vars(model.model.diffusion_model)


def test_training_goes_on_where_nothing_can_be_compiled(tmp_path, images, monkeypatch):
    """Windows 上的 PyTorch 不带 Triton，太旧的显卡用不了它；到第一步才知道，不该因此停下"""
    tried = []

    def no_compiler(graph, inputs):
        tried.append(graph)
        raise RuntimeError("Cannot find a working triton installation")

    plain, fast = (model_for_training(one_level_unet()) for _ in range(2))
    fit(plain, 3, tmp_path, data=FewDigits(8))
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=no_compiler))
    fit(fast, 3, tmp_path, data=FewDigits(8), callbacks=[SpeedUp(compile=True)])
    assert len(tried) == 1 and all(torch.equal(p, q) for p, q in zip(plain.parameters(), fast.parameters()))
    fast.model.diffusion_model = OneConvolution()
    SpeedUp(compile=True).setup(None, fast, "fit")
    with pytest.warns(UserWarning, match="triton installation；.*speed.compile"):
        fast.model(images, torch.tensor([0, 3, 20, 49]))
    torch._dynamo.reset()


def test_an_error_of_the_network_itself_is_not_taken_for_a_failed_compilation(graphs):
    model = model_for_training()
    SpeedUp(compile=True).setup(None, model, "fit")
    with warnings.catch_warnings(), pytest.raises(ValueError, match="U-Net 的输入"):
        warnings.simplefilter("error")
        model.model(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))


def test_feature_maps_are_channels_last_though_the_weights_lie_as_usual(images):
    model, seen = model_for_training(), []
    for stage in [*model.model.diffusion_model.input_blocks, model.model.diffusion_model.middle_block]:
        stage.register_forward_pre_hook(lambda module, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last)))
    model.p_losses(images, torch.tensor([0, 3, 20, 49]))[0].backward()
    assert len(seen) > 3 and all(seen)
    assert all(p.is_contiguous() and (p.grad is None or p.grad.is_contiguous()) for p in model.parameters())


def test_the_layout_changes_nothing_but_rounding(images):
    usual, model = randomize(model_for_training()), randomize(model_for_training())
    model.model.to(memory_format=torch.channels_last)
    t = torch.tensor([0, 3, 20, 49])
    for one in (model, usual):
        one.p_losses(images, t, torch.ones_like(images))[0].backward()
    assert torch.allclose(model.model(images, t), usual.model(images, t), atol=1e-5)
    for p, q in zip(model.model.parameters(), usual.model.parameters()):
        # 梯度里正负相消，误差同最大的一项成比例
        assert torch.allclose(p.grad, q.grad, atol=1e-4 * float(q.grad.abs().max()) + 1e-6)


def test_compile_reaches_the_network_only_when_asked(graphs, images):
    for flag in (False, True):
        model = model_for_training(one_level_unet())
        model.model.diffusion_model = OneConvolution()
        SpeedUp(compile=flag).setup(None, model, "fit")
        model.p_losses(images, torch.tensor([0, 3, 20, 49]))
        assert bool(graphs) is flag


def test_the_flag_is_true_or_false():
    with pytest.raises(TypeError, match="compile"):
        SpeedUp(compile="true")


@pytest.mark.parametrize("flag", [False, True])
def test_a_forward_of_the_user_is_left_alone(flag, graphs):
    model = model_for_training()
    network = model.model.diffusion_model
    own = network.forward = functools.partial(type(network).forward, network)
    speed = SpeedUp(compile=flag)
    speed.setup(None, model, "fit")
    speed.teardown(None, model, "fit")
    assert network.forward is own and not graphs
