"""NaN 与无穷：在更新之前停下，信息里有第几步和怎么办，写下的文件里没有坏数"""
import pytest
import pytorch_lightning as pl
import torch

from ddpm_edu.files.checkpoint import load_checkpoint

from .test_training import FewDigits, fingerprint, fit, model_for_training

NAN, INF = float("nan"), float("inf")


class Spoil(pl.Callback):
    """第 n 批上弄坏一样东西：输入、权重、损失，或者（损失有限时的）梯度；并记下此刻的状态"""

    def __init__(self, what, value, n=5):
        self.what, self.value, self.n, self.calls = what, value, n, 0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.calls += 1
        if self.calls != self.n:
            return
        weight = next(module.model.parameters())
        if self.what == "batch":
            batch["image"][0, 0, 0, 0] = self.value
        elif self.what == "weight":
            weight.data.view(-1)[0] = self.value
        elif self.what == "loss":
            module.get_loss = lambda pred, target, mean: (1 + pred.abs()) * self.value
        elif self.what == "output":
            hook = module.model.register_forward_hook(lambda network, inputs, out: hook.remove() or out.index_fill(0, torch.tensor(0), self.value))
        self.before = snapshot(trainer, module)

    def on_after_backward(self, trainer, module):
        if self.what == "gradient" and self.calls == self.n:
            next(module.model.parameters()).grad.view(-1)[0] = self.value


def snapshot(trainer, module):
    moments = [m.clone() for s in trainer.optimizers[0].state_dict()["state"].values() for m in s.values()]
    return fingerprint(module), int(module.model_ema.num_updates), torch.cat([m.flatten() for m in moments])


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


def fit_spoiled(spoil, path, **kwargs):
    saver = pl.callbacks.ModelCheckpoint(path, "{step}", every_n_train_steps=1, save_top_k=-1, save_on_exception=True)
    options = dict(data=FewDigits(16), limit_train_batches=5, limit_val_batches=0, enable_checkpointing=True,
                   accumulate_grad_batches=2, callbacks=[spoil, saver])
    # 权重不能是 0：0 乘无穷得 NaN，就看不出无穷有没有被拦住
    return fit(model_for_training(original_elbo_weight=1e-3), 8, path, **{**options, **kwargs})


@pytest.mark.parametrize(
    ("what", "value"),
    [("batch", INF), ("weight", NAN), ("loss", NAN), ("loss", INF), ("gradient", NAN), ("gradient", -INF), ("gradient", 1e30)],
)
def test_training_stops_before_the_update(what, value, tmp_path, amount):
    # 裁剪只碰得到梯度；无穷在裁剪时会变成 NaN，1e30 会变成有限的数，都要在那之前拦住
    for clip in amount((None, 1.0) if what == "gradient" and value != -INF else (None,), (None, 1.0)):
        stops_before_the_update(what, value, clip, tmp_path / str(clip))


def stops_before_the_update(what, value, clip, path):
    spoil, caught = Spoil(what, value), {}
    spoil.on_exception = lambda trainer, module, error: caught.update(after=snapshot(trainer, module))
    # 一轮 5 批，在第 2、4、5 批之后更新，所以第 5 批属于第 2 步（从 0 数起）
    kind = "梯度范数" if what == "gradient" else "损失"
    message = "inf" if what == "batch" else f"第 2 个优化步的{kind}是.*权重.*没有被这一步改动.*停在同一步.*learning_rate.*retune"
    with pytest.raises((FloatingPointError, ValueError), match=message):
        fit_spoiled(spoil, path, gradient_clip_val=clip)
    for before, after in zip(spoil.before, caught["after"]):
        assert torch.equal(before, after) if isinstance(before, torch.Tensor) else before == after
    assert spoil.before[1] == 2
    files = sorted(path.glob("*.ckpt"))
    assert len(files) == 2
    for file in files:
        content = load_checkpoint(file)
        assert all(t.isfinite().all() for t in tensors([content["state_dict"], content["optimizer_states"]]))


def test_the_message_names_the_parameters(tmp_path):
    with pytest.raises(FloatingPointError, match=r"1 个参数含 NaN 或无穷，如 \['model.diffusion_model"):
        fit_spoiled(Spoil("gradient", NAN), tmp_path)


def test_a_bad_loss_is_caught_with_l1_too(tmp_path):
    # |x| 在 NaN 处的导数是 0；靠损失里权重为 0 的 loss_vlb 把 NaN 带进梯度
    model = model_for_training(loss_type="l1", original_elbo_weight=0.0)
    with torch.no_grad():
        model.model.diffusion_model.out[-1].bias.fill_(NAN)
    with pytest.raises(FloatingPointError, match="第 0 个优化步的损失是 nan"):
        fit(model, 2, tmp_path, data=FewDigits(16), limit_val_batches=0)


@pytest.mark.parametrize("n", [3, 4])
def test_a_bad_loss_is_caught_though_the_gradient_is_finite(n, tmp_path):
    # 3e19 的平方溢出，导数却有限；累积的两批（第 3、4 批）里，哪一批坏了都要停
    norms, spoil = [], Spoil("output", 3e19, n)
    spoil.on_before_optimizer_step = lambda trainer, module, optimizer: norms.append(
        torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None]).item())
    with pytest.raises(FloatingPointError, match="第 1 个优化步的损失是 (inf|nan)"):
        fit_spoiled(spoil, tmp_path)
    assert len(norms) == 2 and norms[1] < INF


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="需要 GPU")
def test_fp16_scaling_may_skip_steps_by_itself(tmp_path):
    trainer = fit_spoiled(Spoil("gradient", INF), tmp_path, accelerator="gpu", devices=1, precision="16-mixed")
    assert trainer.global_step == 8


def test_weights_that_went_bad_are_never_written(tmp_path):
    trainer = fit(model_for_training(), 2, tmp_path)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    good = (tmp_path / "a.ckpt").read_bytes()
    next(trainer.model.model.parameters()).data.view(-1)[0] = NAN
    with pytest.raises(FloatingPointError, match="没有写检查点.*learning_rate.*retune"):
        trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert (tmp_path / "a.ckpt").read_bytes() == good and len(list(tmp_path.iterdir())) == 1
