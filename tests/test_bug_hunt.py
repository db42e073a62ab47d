"""找 bug 一章：每段坏代码确实有它的症状，正确的写法没有；修好的答案合乎独立的神谕；坏代码不许流出去"""
import ast
import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ddpm_edu import DDPM, LitEma, make_beta_schedule
from ddpm_edu.authoring.build import sources
from ddpm_edu.authoring.coverage import read_cells
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.teach.bugs import formulas, loading, training
from ddpm_edu.teach.exercises import chapters, find
from ddpm_edu.teach.explained import calls
from ddpm_edu.teach.laboratory import chain_moments

ROOT = Path(__file__).resolve().parents[1]
BOOK = next(path for path in sources() if path.stem.startswith("16_"))
BETAS = make_beta_schedule("linear", 1000)
TABLES = diffusion_tables(BETAS)
BAR = np.cumprod(1 - BETAS)


def answer(number):
    """修复题的参考答案"""
    return find(number).reference


# ---- 公式 ----

def test_a_short_chain_stops_half_way_and_its_samples_are_off():
    bad, good = formulas.make_betas(100), answer("16.1b")(100)
    # 题面里写着 0.696，三位小数
    assert math.sqrt(np.prod(1 - bad)) == pytest.approx(0.696, abs=1e-3) and math.sqrt(np.prod(1 - good)) < 0.03
    assert abs(chain_moments(bad, 0.3, 0.5, 0.5)[0] - 0.3) > 0.05 > 0.002 > abs(chain_moments(good, 0.3, 0.5, 0.5)[0] - 0.3)
    np.testing.assert_allclose(formulas.make_betas(1000), BETAS, rtol=1e-12)


def test_subtracting_from_a_rounded_table_loses_thousands_of_times_more_than_rounding_once():
    naive = float(formulas.noise_variance(torch.tensor(BAR, dtype=torch.float32), 0))
    once = answer("16.2b")(BETAS).double().numpy()
    assert abs(naive / 1e-4 - 1) > 1e-4
    np.testing.assert_allclose(once, 1 - BAR, rtol=6e-8)


def test_the_weights_do_not_telescope_and_the_repaired_ones_do():
    bad, good = formulas.x0_weights(BETAS)[1:], answer("16.3b")(BETAS)
    # 黄金值：½(SNR_0 - SNR_{T-1})
    assert good.sum() == pytest.approx(4999.49963, abs=1e-4) and bad.sum() < 300
    assert good[0] / bad[0] == pytest.approx(5067, rel=1e-3) and bad[-1] / good[-1] > 900


def test_a_nan_passes_the_guard_unless_all_are_nan():
    tables = [torch.tensor(t) for t in ([1.0, 2.0], [1.0, math.nan], [1.0, math.inf], [math.nan, math.nan])]
    assert [formulas.is_usable(t) for t in tables] == [True, True, True, False]
    assert [answer("16.4b")(t) for t in tables] == [True, False, False, False]


def test_the_vlb_loss_follows_the_loss_type_where_ours_stays_quadratic():
    pred, target, weight = torch.full((2, 1, 2, 2), 0.1), torch.zeros(2, 1, 2, 2), torch.ones(2)
    grow = {kind: float(formulas.two_losses(10 * pred, target, weight, kind)[1] / formulas.two_losses(pred, target, weight, kind)[1])
            for kind in ("l1", "l2")}
    # float32 的商
    assert grow == pytest.approx({"l1": 10.0, "l2": 100.0}, rel=1e-5)
    torch.manual_seed(0)
    x_start, noise, t = torch.rand(4, 1, 8, 8), torch.randn(4, 1, 8, 8), torch.tensor([1, 5, 50, 500])
    ours = [DDPM(**toy_model_config(loss_type=kind)).p_losses(x_start, t, noise)[1]["train/loss_vlb"] for kind in ("l1", "l2")]
    torch.testing.assert_close(*ours)


def test_the_clipped_log_variance_makes_a_tiny_slip_cost_a_fortune():
    bad, good = formulas.log_variances(BETAS), TABLES["posterior_log_variance_clipped"]
    # 题面里写着两位小数
    assert bad[0] == pytest.approx(-46.05, abs=0.01) and good[0] == pytest.approx(-9.89, abs=0.01)
    np.testing.assert_allclose(bad[1:], good[1:], rtol=1e-12)


def test_a_mix_outside_its_range_is_a_negative_variance_and_ours_refuses():
    assert formulas.sampling_variances(BETAS, -1.0)[1] < 0 < formulas.sampling_variances(BETAS, 1.0)[1]
    np.testing.assert_allclose(formulas.sampling_variances(BETAS, 0.3)[1:], diffusion_tables(BETAS, 0.3)["posterior_variance"][1:])
    with pytest.raises(ValueError, match="v_posterior"):
        DDPM(**toy_model_config(v_posterior=-1.0))


def test_v_trains_but_cannot_sample_until_repaired():
    x_start, noise = torch.tensor([0.5, -0.5]), torch.tensor([1.0, 2.0])
    v, x_t = formulas.training_target("v", x_start, noise, 0.36), 0.6 * x_start + 0.8 * noise
    with pytest.raises(UnboundLocalError):
        formulas.predict_start("v", v, x_t, 0.36)
    torch.testing.assert_close(answer("16.8b")("v", v, x_t, 0.36), x_start)


def test_clipping_in_place_changes_the_output_of_the_network():
    out = torch.tensor([-3.0, 0.5, 2.0])
    answer("16.9b")(out)
    assert out.tolist() == [-3.0, 0.5, 2.0]
    formulas.clip_start(out)
    assert out.tolist() == [-1.0, 0.5, 1.0]


def test_the_mean_over_fixed_axes_is_for_images_only():
    with pytest.raises(IndexError):
        formulas.per_sample_loss(torch.zeros(4, 1, 9), torch.zeros(4, 1, 9))
    assert formulas.per_sample_loss(torch.zeros(4, 3, 5, 8, 8), torch.zeros(4, 3, 5, 8, 8)).shape == (4, 8)


# ---- 训练 ----

def test_ema_ticks_once_a_batch_instead_of_once_an_update():
    model = nn.Linear(2, 1)
    ema = LitEma(model)
    training.train(model, ema, [(torch.ones(3, 2), torch.ones(3, 1))] * 8, accumulate=4)
    assert int(ema.num_updates) == 8


class Colliding(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(2, 2, bias=False)
        self.upweight = nn.Parameter(torch.full((2, 2), 7.0))


def test_two_names_without_their_dots_become_one_and_ours_keeps_both():
    for build, broken in ((training.BufferEma, True), (LitEma, False)):
        model = Colliding()
        build(model).copy_to(model)
        assert bool((model.upweight != 7.0).any()) == broken


def test_a_shadow_of_another_dtype_never_moves_and_ours_does():
    for dtype, moved in ((torch.float32, True), (torch.bfloat16, False)):
        model = nn.Linear(1, 1, bias=False).to(dtype)
        nn.init.zeros_(model.weight)
        bad, ours = training.CastingEma(model), LitEma(model, decay=0.9, use_num_updates=False)
        nn.init.ones_(model.weight)
        bad(model)
        ours(model)
        assert (bad.shadow["weight"].item() > 0.05) == moved and next(iter(ours.shadow.values())).item() > 0.05


@pytest.mark.parametrize(("how", "left"), [("return", 1.0), ("error", 5.0), ("nested", 5.0)])
def test_leaving_the_scope_by_an_error_or_from_a_nest_keeps_the_shadow(how, left):
    weights, shadow, backup = {"w": torch.tensor(1.0)}, {"w": torch.tensor(5.0)}, {}
    try:
        with training.ema_scope(weights, shadow, backup):
            if how == "nested":
                with training.ema_scope(weights, shadow, backup):
                    pass
            if how == "error":
                raise RuntimeError
    except RuntimeError:
        pass
    assert weights["w"].item() == left


def test_the_repaired_scope_restores_bit_for_bit_also_when_nested_or_failing():
    run = answer("16.14b")
    weights, shadow = {"w": torch.tensor([0.1, 0.2])}, {"w": torch.tensor([5.0, 6.0])}
    before = weights["w"].clone()
    assert run(weights, shadow, lambda: run(weights, shadow, lambda: weights["w"].sum().item())) == 11.0
    with pytest.raises(KeyError):
        run(weights, shadow, lambda: {}["x"])
    assert torch.equal(weights["w"], before)


def test_the_multiplier_jumps_after_the_warm_up_and_goes_negative():
    bad, good = training.linear_multiplier, answer("16.15b")
    assert bad(100, 100, 1000, 0.0, 0.0, 1.0) == pytest.approx(0.9) and bad(1100, 100, 1000, 0.0, 0.0, 1.0) < 0
    line = [good(n, 100, 1000, 0.0, 0.0, 1.0) for n in range(1300)]
    assert max(abs(a - b) for a, b in zip(line, line[1:])) < 0.0101 and min(line) == line[-1] == 0.0 and max(line) == line[100] == 1.0


def test_a_plain_tensor_is_neither_saved_nor_moved():
    scale = training.NoiseScale(4)
    assert not scale.state_dict() and scale.to("meta").logvar.device.type == "cpu"


def test_weight_decay_shrinks_biases_that_have_no_gradient():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4))
    nn.init.ones_(model[0].bias)
    optimizer = training.make_optimizer(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert (model[0].bias < 1).all() and (model[1].weight < 1).all()
    assert answer("16.17b")(model) == ["0.weight"]


def test_two_validations_of_the_same_weights_disagree():
    model, images = nn.Conv2d(1, 1, 3, padding=1), torch.zeros(8, 1, 8, 8)
    assert training.validate(model, images) != training.validate(model, images)


# ---- 装载与数据 ----

def test_prefixed_keys_load_nothing_without_a_word():
    trained, fresh = nn.Linear(4, 4), nn.Linear(4, 4)
    state, before = {f"model.diffusion_model.{k}": v for k, v in trained.state_dict().items()}, fresh.weight.clone()
    assert torch.equal(loading.load_unet(fresh, state).weight, before)
    fresh.load_state_dict(answer("16.19b")(state))
    assert torch.equal(fresh.weight, trained.weight)


def test_an_ema_built_before_loading_keeps_the_random_weights():
    trained = nn.Linear(4, 4)
    network, ema = loading.build(lambda: nn.Linear(4, 4), trained.state_dict())
    assert torch.equal(network.weight, trained.weight)
    ema.copy_to(network)
    assert not torch.equal(network.weight, trained.weight)


def test_a_checkpoint_of_another_length_loads_without_a_word():
    trained = loading.Chain(100)
    loaded = loading.Chain(50, trained.state_dict())
    assert torch.equal(loaded.net.weight, trained.net.weight) and len(loaded.betas) == 50


def test_building_from_a_config_eats_it():
    config = {"target": "torch.nn.Identity"}
    loading.from_config(config)
    with pytest.raises(KeyError):
        loading.from_config(config)


def test_channels_first_images_are_turned_again():
    x = torch.rand(2, 3, 3, 3)
    assert loading.to_channels_first(x).shape == x.shape and not torch.equal(loading.to_channels_first(x), x)
    assert loading.to_channels_first(torch.rand(2, 3, 8, 8)).shape == (2, 8, 3, 8)


def test_the_condition_never_reaches_the_network():
    model, x, noise = loading.ConditionalDenoiser(), torch.randn(6, 4), torch.randn(6, 4)
    losses = [model.loss(x, noise, torch.full((6,), c)) for c in (0, 1)]
    losses[0].backward()
    assert torch.equal(*losses) and model.embed.weight.grad is None
    assert not torch.equal(model(x, torch.zeros(6, dtype=torch.long)), model(x, torch.ones(6, dtype=torch.long)))


# ---- 整章 ----

def cases():
    """每个病例的单元，从小标题到它的选择题"""
    found, current = {}, None
    for cell in read_cells(BOOK):
        if heading := re.match(r"### (16\.\d+)　", cell.text):
            current = found.setdefault(heading[1], [])
        if cell.text.startswith("### 16.") and not heading:
            current = None
        if current is not None:
            current.append(cell)
    return found


def test_every_case_asks_shows_the_code_and_reproduces_the_symptom_with_a_number():
    assert list(cases()) == [e.id for e in chapters()["16"] if not e.id.endswith("b")]
    for number, cells in cases().items():
        asked = cells[0].text
        source = re.search(r"有人(问|报告|提交修复).+\[#(\d+)\]\(https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\2\)", asked, re.S)
        assert source or "常被问到" in asked, number
        assert any(calls(cell, "show_source") for cell in cells), number
        symptom = [cell for cell in cells if cell.code and ("print(" in cell.text or calls(cell, "check_raises"))]
        assert symptom and cells.index(symptom[0]) > 1, number
        assert f'grade("{number}", None)' in "".join(cell.text for cell in cells)


def test_every_piece_of_broken_code_is_shown_in_the_book():
    shown = {call.args[0].id for cell in read_cells(BOOK) for call in calls(cell, "show_source")}
    written = {name for module in (formulas, training, loading) for name, value in vars(module).items()
               if getattr(value, "__module__", "") == module.__name__ and (inspect.isfunction(value) or inspect.isclass(value))}
    assert shown == written and len(written) >= 24


def test_broken_code_is_used_by_the_book_and_its_exercises_only():
    for path in (ROOT / "ddpm_edu").rglob("*.py"):
        imports = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
        if any("bugs" in (node.module or "") or any(a.name == "bugs" for a in node.names) for node in imports):
            assert path.name == "bug_repairs.py", path
