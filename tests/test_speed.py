"""加速的开关只改快慢，不改结果"""
import functools
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch.utils._python_dispatch import TorchDispatchMode

import ddpm_edu
from ddpm_edu.training.callbacks import SampleGrid
from ddpm_edu.training.speed import SpeedUp
from ddpm_edu.unet import Upsample

from .conftest import one_level_unet, randomize, tiny_ddpm, tiny_unet
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


def test_importing_the_package_loads_only_the_package():
    """pathlib、re、tempfile 都不必跟着来：光是它们就要三十毫秒"""
    code = (f"import sys; sys.path.insert(0, {str(Path(ddpm_edu.__file__).parents[1])!r}); before = set(sys.modules)\n"
            "import ddpm_edu; print(*sorted(name for name in set(sys.modules) - before if not name.startswith(('ddpm_edu', 'importlib'))))\n"
            "print('importlib.abc' in sys.modules)")
    # -S：装在环境里的包可能一启动就导入许多模块，那就看不出来了
    said = subprocess.run([sys.executable, "-I", "-S", "-X", "utf8", "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    extra, abc = said.stdout.splitlines()
    assert set(extra.split()) <= {"_warnings", "warnings"} and abc == "False"


def test_a_training_step_reads_nothing_back_from_the_device():
    """meta 设备上的张量没有数：哪里要读一个数、把数搬回 CPU，都当场出错；在 GPU 上，每读一次都要等它把手上的活做完"""
    model = tiny_ddpm(tiny_unet(num_classes=4), conditioning_key="adm", cond_drop_prob=0.1, t_sampling="stratified").to("meta").train()
    batch = {"image": torch.zeros(4, 1, 8, 8, device="meta"), "label": torch.zeros(4, dtype=torch.int64, device="meta")}
    loss, losses = model.shared_step(batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    model.model_ema(model.model)
    assert {value.device.type for value in (loss, *losses.values())} == {"meta"}
    with pytest.raises(RuntimeError, match="meta"):
        float(loss)


def test_one_step_of_the_average_is_one_call_for_all_tensors():
    """GPU 上每发一个核都要几微秒：几百个张量合成一次 foreach，计数一次，别的只是换个看法，不发核"""
    calls = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            calls.append(str(function))
            return function(*args, **(kwargs or {}))

    model = tiny_ddpm(tiny_unet())
    with Record():
        model.model_ema(model.model)
    assert sorted(name for name in calls if name != "aten.detach.default") == ["aten._foreach_lerp_.Scalar", "aten.add_.Tensor"]


def test_the_compiled_step_is_one_graph_without_needless_copies():
    """图断了 fullgraph 就报错；特征图只在入口排成 channels_last 一次，每次放大再一次"""
    captured = []

    def capture(graph, inputs):
        captured.append(graph)
        return graph

    model = randomize(tiny_ddpm(tiny_unet(num_classes=4), conditioning_key="adm"))
    network = model.model.diffusion_model.train()
    network.compile(backend=aot_autograd(fw_compiler=capture, bw_compiler=capture), fullgraph=True)
    loss, _ = model.p_losses(torch.zeros(4, 1, 8, 8), torch.tensor([0, 3, 20, 49]), cond={"c_adm": torch.tensor([0, 1, 2, -1])})
    loss.backward()
    torch._dynamo.reset()
    nodes = [node for graph in captured for node in graph.graph.nodes]
    # p=0 的 dropout 记成一次不换排布的 clone，生成代码时就融掉了，不数
    moved = [node for node in nodes if str(node.target) == "aten.clone.default" and node.kwargs.get("memory_format") is not None]
    assert len(captured) == 2 and len(moved) == 1 + sum(isinstance(layer, Upsample) for layer in network.modules())
    # 换类型的只有步号与放大的下标，没有特征图
    cast = [node.meta["val"].ndim for node in nodes if str(node.target) == "aten._to_copy.default"]
    assert cast and max(cast) == 1
