"""找 bug 一章：每段坏代码确实有它的症状，正确的写法没有；修好的答案合乎独立的标准；黑箱各有各的病；坏代码不许流出去"""
import ast
import contextlib
import inspect
import io
import math
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ddpm_edu import LitEma, load_pretrained, make_beta_schedule
from ddpm_edu.authoring.build import sources
from ddpm_edu.authoring.coverage import read_cells
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.teach.bugs import formulas, hunts, loading, symptoms, training, trials
from ddpm_edu.teach.bugs.folded import folded_hints, folded_result, folded_source
from ddpm_edu.teach.datasets import drawn_by
from ddpm_edu.teach.exercises import Choice, bug_hunts, chapters, find
from ddpm_edu.teach.explained import calls
from ddpm_edu.teach.laboratory import ancestral, chain_gains, chain_moments

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
    # 题面里写着 0.70
    assert math.sqrt(np.prod(1 - bad)) == pytest.approx(0.696, abs=1e-3) and math.sqrt(np.prod(1 - good)) < 0.03
    assert abs(chain_moments(bad, 0.3, 0.5, 0.5)[0] - 0.3) > 0.05 > 0.002 > abs(chain_moments(good, 0.3, 0.5, 0.5)[0] - 0.3)
    # 修好之后走 50 步，均值 0.300、方差 0.238
    assert np.allclose(chain_moments(answer("16.1b")(50), 0.3, 0.5, 0.5), (0.3, 0.238), atol=5e-4)
    np.testing.assert_allclose(formulas.make_betas(1000), BETAS, rtol=1e-12)


def test_the_short_chain_is_right_when_it_starts_from_its_true_end():
    """题目的解释里写着这几个数，三位小数"""
    assert np.allclose(chain_moments(formulas.make_betas(50), 0.3, 0.5, 0.5), (0.191, 0.344), atol=5e-4)
    bar = np.cumprod(1 - formulas.make_betas(50))
    mean, variance = bar[-1] ** 0.5 * 0.3, bar[-1] * 0.25 + 1 - bar[-1]
    for g, h, noise in list(zip(*chain_gains(bar, ancestral(0.5), 0.3, 0.5)))[::-1]:
        mean, variance = g * mean + h, g**2 * variance + noise
    assert mean == pytest.approx(0.3, abs=5e-4) and variance == pytest.approx(0.245, abs=5e-4)


def test_v_is_taken_for_eps_until_repaired():
    x_start, noise = torch.tensor([0.5, -0.5]), torch.tensor([1.0, 2.0])
    x_t = 0.6 * x_start + 0.8 * noise
    for name, right in (("eps", True), ("x0", True), ("v", False)):
        target = formulas.training_target(name, x_start, noise, 0.36)
        assert torch.allclose(formulas.predict_start(name, target, x_t, 0.36), x_start, atol=1e-6) == right
        torch.testing.assert_close(answer("16.2b")(name, target, x_t, 0.36), x_start)
    # 解释里写着 0.2 与 1.57
    target = formulas.training_target("v", 0.5, 1.0, 0.36)
    assert target == pytest.approx(0.2) and formulas.predict_start("v", target, 1.1, 0.36) == pytest.approx(1.57, abs=0.005)


def test_subtracting_from_a_rounded_table_leaves_nothing_and_rounding_once_does_not():
    assert (formulas.noise_variances(BETAS, torch.float16)[:2] == 0).all() and abs(formulas.noise_variances(BETAS)[0] / 1e-4 - 1) > 1e-4
    once = answer("16.3b")(BETAS)
    # float16 一次舍入至多 2⁻¹¹
    np.testing.assert_allclose(once.double().numpy(), 1 - BAR, rtol=2**-11)
    assert once.dtype == torch.float16


def test_the_weights_do_not_telescope_and_the_repaired_ones_do():
    bad, good = formulas.x0_weights(BETAS)[1:], answer("16.11b")(BETAS)
    # 黄金值：½(SNR_0 - SNR_{T-1})
    assert good.sum() == pytest.approx(4999.49963, abs=1e-4) and bad.sum() < 300
    assert good[0] / bad[0] == pytest.approx(5067, rel=1e-3) and bad[-1] / good[-1] > 900
    # 题面与解释里写着：前一百步几乎是平的；补上括号，在 t=1 处是一半，在 t=100 处是 27 倍，尾部与它重合
    bracketed = (0.5 * np.sqrt(BAR) / (2 * (1 - BAR)))[1:]
    assert bad[99] / bad[0] > 0.95 and bracketed[-1] / bad[-1] == pytest.approx(1, abs=0.01)
    assert bracketed[0] / good[0] == pytest.approx(0.49, abs=0.01) and bracketed[99] / good[99] == pytest.approx(27, abs=0.5)


def test_clipping_in_place_changes_the_output_of_the_network():
    out = torch.tensor([-3.0, 0.5, 2.0])
    answer("16.12b")(out)
    assert out.tolist() == [-3.0, 0.5, 2.0]
    formulas.clip_start(out)
    assert out.tolist() == [-1.0, 0.5, 1.0]


# ---- 训练 ----

def test_two_validations_of_the_same_weights_disagree_unless_they_share_the_seed():
    model, images = nn.Conv2d(1, 1, 3, padding=1), torch.zeros(8, 1, 8, 8)
    assert training.validate(model, images) != training.validate(model, images)
    before = torch.get_rng_state()
    fair = answer("16.6b")
    assert fair(model, images, 3) == fair(model, images, 3) != fair(model, images, 4) and torch.equal(before, torch.get_rng_state())


def test_sharing_the_noise_is_worth_two_hundred_validations():
    """题目里写着：起伏 0.14 与 0.010，差 0.0276；方差之比在两百上下"""
    torch.manual_seed(0)
    model = nn.Conv2d(1, 1, 3, padding=1)
    worse, images = nn.Conv2d(1, 1, 3, padding=1), torch.rand(8, 1, 8, 8) * 2 - 1
    worse.load_state_dict(model.state_dict())
    nn.init.constant_(worse.bias, model.bias.item() + 0.1)
    free = np.array([training.validate(worse, images) - training.validate(model, images) for _ in range(1000)])
    shared = np.array([answer("16.6b")(worse, images, seed) - answer("16.6b")(model, images, seed) for seed in range(1000)])
    # 一千次估出的标准差，相对的标准误是 2%
    assert free.std() == pytest.approx(0.139, rel=0.1) and shared.std() == pytest.approx(0.0095, rel=0.1)
    exact = symptoms.expected_gap(model, images, 0.1)
    assert exact == pytest.approx(0.0276, abs=5e-5) and shared.mean() == pytest.approx(exact, abs=0.0015)


def test_ema_ticks_once_a_batch_instead_of_once_an_update():
    for function, ticks in ((training.train, 8), (answer("16.7b"), 2)):
        model = nn.Linear(2, 1)
        ema = LitEma(model)
        function(model, ema, [(torch.ones(3, 2), torch.ones(3, 1))] * 8, 4)
        assert int(ema.num_updates) == ticks


def test_a_shadow_of_another_dtype_never_moves_however_large_the_step_and_ours_does():
    for dtype, decay, moved in ((torch.float32, 0.9, True), (torch.bfloat16, 0.9, False), (torch.bfloat16, 0.0, False)):
        model = nn.Linear(1, 1, bias=False).to(dtype)
        nn.init.zeros_(model.weight)
        bad, ours = training.CastingEma(model, decay), LitEma(model, decay, use_num_updates=False)
        nn.init.ones_(model.weight)
        bad(model)
        ours(model)
        assert (bad.shadow["weight"].item() > 0.05) == moved and next(iter(ours.shadow.values())).item() > 0.05
        assert answer("16.8b")(torch.zeros(1), model.weight[0], decay).item() == pytest.approx(1 - decay)
    # 题目里的一跳：衰减 0.999 时半精度的加法舍得掉，衰减取 0 时舍不掉
    one, next_one = torch.ones(1, dtype=torch.bfloat16), torch.full((1,), 1 + 2**-7, dtype=torch.bfloat16)
    assert torch.equal(one.lerp(next_one, 0.001), one) and torch.equal(one.lerp(next_one, 1.0), next_one) and next_one > 1


@pytest.mark.parametrize(("how", "left"), [("return", 1.0), ("error", 1.0), ("nested", 5.0)])
def test_leaving_a_nest_of_scopes_keeps_the_shadow(how, left):
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
    run = answer("16.10b")
    weights, shadow = {"w": torch.tensor([0.1, 0.2])}, {"w": torch.tensor([5.0, 6.0])}
    before = weights["w"].clone()
    assert run(weights, shadow, lambda: run(weights, shadow, lambda: weights["w"].sum().item())) == 11.0
    with pytest.raises(KeyError):
        run(weights, shadow, lambda: {}["x"])
    assert torch.equal(weights["w"], before)


def test_the_multiplier_jumps_after_the_warm_up_and_goes_negative():
    bad, good = training.linear_multiplier, answer("16.9b")
    assert bad(100, 100, 1000, 0.0, 0.0, 1.0) == pytest.approx(0.9) and bad(1100, 100, 1000, 0.0, 0.0, 1.0) < 0
    line = [good(n, 100, 1000, 0.0, 0.0, 1.0) for n in range(1300)]
    assert max(abs(a - b) for a, b in zip(line, line[1:])) < 0.0101 and min(line) == line[-1] == 0.0 and max(line) == line[100] == 1.0


# ---- 装载与条件 ----

def test_prefixed_keys_load_nothing_without_a_word():
    trained, fresh = nn.Linear(4, 4), nn.Linear(4, 4)
    state, before = {f"model.diffusion_model.{k}": v for k, v in trained.state_dict().items()}, fresh.weight.clone()
    assert torch.equal(loading.load_unet(fresh, state).weight, before)
    fresh.load_state_dict(answer("16.4b")(state))
    assert torch.equal(fresh.weight, trained.weight)


def test_an_ema_built_before_loading_keeps_the_random_weights():
    trained = nn.Linear(4, 4)
    network, ema = loading.build(lambda: nn.Linear(4, 4), trained.state_dict())
    assert torch.equal(network.weight, trained.weight)
    ema.copy_to(network)
    assert not torch.equal(network.weight, trained.weight)


def test_a_checkpoint_of_another_table_loads_without_a_word():
    tables = [torch.tensor(make_beta_schedule(name, 100)) for name in ("linear", "cosine")]
    trained = loading.Chain(tables[0])
    loaded = loading.Chain(tables[1], trained.state_dict())
    assert torch.equal(loaded.net.weight, trained.net.weight) and torch.equal(loaded.betas, tables[1])
    # 次序改对了，步数不同就当场报错，题面里这样写
    with pytest.raises(RuntimeError, match="size mismatch"):
        loaded.load_state_dict(loading.Chain(tables[0][:50]).state_dict(), strict=False)


def test_the_condition_never_reaches_the_network():
    model, x, noise = loading.ConditionalDenoiser(), torch.randn(6, 4), torch.randn(6, 4)
    assert not model.embed.weight.any()
    nn.init.normal_(model.embed.weight)
    losses = [model.loss(x, noise, torch.full((6,), c)) for c in (0, 1)]
    losses[0].backward()
    assert torch.equal(*losses) and model.embed.weight.grad is None
    assert not torch.equal(model(x, torch.zeros(6, dtype=torch.long)), model(x, torch.ones(6, dtype=torch.long)))
    repaired = [answer("16.5b")(model, x, noise, torch.full((6,), c)) for c in (0, 1)]
    repaired[0].backward()
    assert not torch.equal(*repaired) and model.embed.weight.grad is not None


def test_three_ways_of_loading_leave_three_different_things_behind():
    """题目里写着：第一段网络与影子都不对，第二段只有影子，第三段只有表"""
    right = load_pretrained("mnist")
    for model, wrong in zip(hunts.case_four(), ((True, True, False), (False, True, False), (False, False, True))):
        pairs = ((model.model.parameters(), right.model.parameters()), (model.model_ema.shadow.values(), right.model_ema.shadow.values()),
                 ([model.betas], [right.betas]))
        assert tuple(any(not torch.equal(a, b) for a, b in zip(*pair)) for pair in pairs) == wrong


# ---- 猎场 ----

EVIDENCE = {1: bug_hunts.leaves_the_range, 2: bug_hunts.shadow_stays, 3: bug_hunts.deaf_to_time}


def test_each_reference_experiment_finds_its_own_black_box_and_no_other_model():
    makers = {"健康的": lambda: load_pretrained("mnist"), "没有练过的": hunts.untrained, "权重乱了的": hunts.shaken,
              "影子造得太早的": lambda: hunts.with_old_shadow(LitEma), **{name: lambda name=name: hunts.hunt(name) for name in EVIDENCE}}
    for box, evidence in EVIDENCE.items():
        ill = {name for name, make in makers.items() if evidence(make())}
        assert ill == {box}, box


def test_a_black_box_trains_like_the_healthy_model_except_the_one_deaf_to_time():
    images, noise, t = torch.zeros(2, 1, 28, 28), torch.ones(2, 1, 28, 28), torch.tensor([100, 650])
    losses = {name: float(model.p_losses(images, t, noise, cond=torch.tensor([0, 1]))[0])
              for name, model in {"健康的": load_pretrained("mnist"), **{name: hunts.hunt(name) for name in EVIDENCE}}.items()}
    assert losses[1] == losses[2] == losses["健康的"] < losses[3]


def test_the_loss_of_the_third_box_is_a_little_higher():
    """题面里写着：八个种子，逐个相减，高 0.0048 ± 0.0005，只有 4%"""
    images, labels, (right, ill) = drawn_by("mnist"), torch.arange(10).repeat(10), (load_pretrained("mnist"), hunts.hunt(3))
    gaps, normal = [], []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        t, noise = torch.randint(1000, (100,), generator=generator), torch.randn(images.shape, generator=generator)
        with torch.no_grad():
            losses = [model.p_losses(images, t, noise, cond=labels)[0].item() for model in (right, ill)]
        gaps.append(losses[1] - losses[0])
        normal.append(losses[0])
    assert np.mean(gaps) == pytest.approx(0.0048, abs=1e-4) and np.std(gaps, ddof=1) / 8**0.5 == pytest.approx(0.0005, abs=1e-4)
    assert np.mean(gaps) / np.mean(normal) == pytest.approx(0.04, abs=0.005)


def test_a_patient_is_built_when_touched_and_behaves_like_its_model():
    built = []
    patient = bug_hunts.Patient("某个模型", lambda: built.append(1) or nn.Linear(2, 3))
    assert repr(patient) == "某个模型" and not built
    assert patient.in_features == 2 and patient(torch.zeros(1, 2)).shape == (1, 3) and built == [1]
    patient.in_features = 5
    assert patient.in_features == 5 and not hasattr(patient, "nothing")


# ---- 整章 ----

def cases():
    """每个病例的单元，从小标题到下一个小标题"""
    found, current = {}, None
    for cell in read_cells(BOOK):
        if heading := re.match(r"### (16\.\d+b?)　", cell.text):
            current = found.setdefault(heading[1], [])
        if current is not None:
            current.append(cell)
    return found


def test_every_case_asks_shows_a_symptom_with_a_number_and_the_code_only_after_the_question():
    """16.10、16.11 问的就是代码里的哪一行，代码在问题之前"""
    causes = [e.id for e in chapters()["16"] if isinstance(e, Choice)][:12]
    assert [f"16.{i}" for i in range(1, 13)] == causes and list(cases()) == [e.id for e in chapters()["16"]]
    for number in causes:
        cells = cases()[number]
        assert re.search(r"\[#(\d+)\]\(https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\1\)", cells[0].text), number
        symptom = next(i for i, cell in enumerate(cells) if cell.code and ("print(" in cell.text or "_figure(" in cell.text))
        question = next(i for i, cell in enumerate(cells) if f'grade("{number}", None)' in cell.text)
        early = [i for i, cell in enumerate(cells) if calls(cell, "folded_source")]
        assert 0 < symptom < question and bool(early) == (number in ("16.10", "16.11")) and all(symptom < i < question for i in early), number


def test_every_piece_of_broken_code_is_shown_folded_and_fits_the_screen():
    shown = {argument.id for cell in read_cells(BOOK) for name in ("folded_source", "folded_result") for call in calls(cell, name)
             for argument in call.args if isinstance(argument, ast.Name)}
    written = {name: value for module in (formulas, training, loading) for name, value in vars(module).items()
               if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module.__name__}
    assert shown == set(written) and len(written) >= 12
    view = folded_source(*written.values())
    wide = [sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line) for line in view.text.splitlines()]
    assert max(wide) <= 104
    assert "<details>" in view._repr_mimebundle_()["text/markdown"] and view.text in view._repr_mimebundle_()["text/markdown"]


def test_every_case_ends_in_its_folded_answer():
    for exercise in [e for e in chapters()["16"] if isinstance(e, Choice)][:12]:
        last = next(cell for cell in cases()[exercise.id] if f'grade("{exercise.id}", None)' in cell.text)
        assert f'\nfolded_result("{exercise.id}"' in last.text and last.text.count("\n") == 1
        page = folded_result(exercise.id)._repr_mimebundle_()["text/markdown"]
        assert page.startswith("<details>") and f"答案是 {exercise.answer}。{exercise.why}" in page


def test_the_trial_of_every_case_runs_as_shown_and_gives_the_numbers_of_the_answer():
    """折起来的试验抄到第 16 章的一格里就能跑，印出的与折起来的相同；答案里的数由它而来"""
    first = next(cell.text for cell in read_cells(BOOK) if cell.code)
    numbers = {"16.1": ("0.191", "0.300", "0.344"), "16.2": ("0.20", "1.57"), "16.3": ("0.05%",), "16.5": ("None", "(10, 4)"),
               "16.6": ("0.0271 ± 0.0003", "0.010", "0.14"), "16.7": ("更新了 30 次", "更新了 300 次"), "16.8": ("影子 1.0000",), "16.9": ("-0.100",),
               "16.10": ("备份 5",), "16.11": ("0.49", "27", "9e+02"), "16.12": ("True",)}
    for number in (f"16.{i}" for i in range(1, 13)):
        code, printed = trials.trial(number)
        names, shown = {}, io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(first, names)
            shown.truncate(0)
            shown.seek(0)
            torch.manual_seed(0)
            exec(code, names)
        assert shown.getvalue().strip() == printed and all(text in printed for text in numbers.get(number, ())), number


def test_broken_code_is_used_by_the_book_and_its_exercises_only():
    for path in (ROOT / "ddpm_edu").rglob("*.py"):
        imports = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
        if any("bugs" in (node.module or "") or any(a.name == "bugs" for a in node.names) for node in imports):
            assert path.name in ("bug_repairs.py", "bug_loading_repairs.py", "bug_hunts.py", "hunting.py"), path


def test_the_names_of_the_black_boxes_give_nothing_away():
    assert {type(hunts.hunt(1)).__name__, type(hunts.hunt(2).model_ema).__name__, type(hunts.hunt(3)).__name__} == {"Box1", "Box2", "Box3"}


def test_every_hunt_has_three_folded_hints():
    for number in ("16.13", "16.14", "16.15"):
        page = folded_hints(number)._repr_mimebundle_()["text/markdown"]
        assert page.count("<details>") == 3 and all(page.count(hint) == 1 for hint in bug_hunts.HINTS[number])
