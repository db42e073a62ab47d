"""第 19 章的八条结论，各用随包的模型在很小的预算上再验一遍；每条都有一个变体该被它抓住（mutants.py）"""
import math

import pytest
import torch

from ddpm_edu import load_pretrained, make_beta_schedule
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import DigitsFrechet, recognised
from ddpm_edu.generate import generate
from ddpm_edu.likelihood import vlb_terms
from ddpm_edu.schedules import alphas_cumprod
from ddpm_edu.teach.paper_figures import verdicts_figure
from ddpm_edu.teach.papers import completions, gap, guesses, rate_distortion, round_trip, skipped, spread_within, stops, turn, unsettled, verdict


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_differences_are_taken_seed_by_seed():
    """两组数的起伏相同，相减就没有了；种子少，区间就宽"""
    assert gap([11.0, 22.0, 33.0], [10.0, 20.0, 30.0]) == {"mean": 2.0, "se": pytest.approx(3**-0.5), "margin": pytest.approx(4.30 * 3**-0.5)}
    assert [verdict({"mean": mean, "margin": 1.0}) for mean in (1.5, -1.5, 0.5, -0.5)] == ["成立", "不成立", "看不出", "看不出"]


def test_most_bits_pay_for_details_nobody_sees():
    """DDPM 图 5"""
    image = load_digits_split()["test"][0][:1]
    model = load_pretrained("digits")
    paid, error, total = rate_distortion(model, image, levels=17, generator=seeded())
    bits = vlb_terms(model, image, levels=17, generator=seeded(), progress=False)[0] / math.log(2)
    near = int((error[1:] > 8).int().argmax())
    assert total - float(paid[near]) > total / 2
    assert (paid.diff() <= 0).all() and error.shape == paid.shape == (1000,) and error[0].isnan()
    assert float(paid[-1]) == pytest.approx(float(bits[-1])) and total - float(paid[0]) == pytest.approx(float(bits[0]), abs=1e-9)


def test_coarse_parts_settle_before_fine_ones():
    """DDPM 图 6"""
    images, seen = guesses(load_pretrained("mnist"), 10, 12, torch.arange(10), seeded())
    assert [t for t, _ in seen][0] == 999 and len(seen) == 12
    coarse, fine = unsettled(seen[6][1], images, 7)
    assert coarse < fine / 2 and unsettled(images, images, 7) == (0, 0)


def test_samples_share_more_the_later_they_part():
    """DDPM 图 7"""
    model, images = load_pretrained("mnist"), guesses(load_pretrained("mnist"), 2, 6, torch.tensor([3, 8]), seeded())[0].clamp(-1, 1)
    nothing = {"c_adm": torch.full((6,), -1)}
    spreads = [spread_within(completions(model, images, t, 3, nothing, seeded(1), steps=10)) for t in (250, 500, 750, 999)]
    assert spreads == sorted(spreads) and spreads[0] < spreads[-1] / 3


def test_the_end_of_the_linear_schedule_is_walked_for_nothing():
    """Improved DDPM 图 4"""
    model, score, noise = load_pretrained("digits"), DigitsFrechet(), torch.randn(200, 1, 8, 8, generator=seeded())
    gaps = []
    for name in ("sqrt_linear", "cosine"):
        table = alphas_cumprod(make_beta_schedule(name, 1000))[0]
        gaps.append(score(skipped(model, noise, table, 8, 0.5)) - score(skipped(model, noise, table, 8, 0)))
    assert gaps[0] < gaps[1] / 2


def test_few_steps_want_no_noise():
    """DDIM 表 1"""
    model, score = load_pretrained("digits"), DigitsFrechet()
    knobs = ({"sampler": "ddim"}, {"sampler": "ancestral"}, {"sampler": "ancestral", "v_posterior": 1.0})
    found = [score(generate(model, 200, batch_size=200, seed=0, steps=5, use_ema=False, progress=False, **knob)[0]) for knob in knobs]
    assert found[0] < found[1] < found[2]


def test_one_start_gives_one_picture_whatever_the_steps():
    """DDIM 图 5"""
    model, start, labels = load_pretrained("mnist"), torch.randn(5, 1, 28, 28, generator=seeded(3)), torch.arange(5)

    def draw(steps, eta=0.0):
        return model.sample(5, sampler="ddim", steps=steps, eta=eta, x_T=start, cond=labels, progress=False, generator=seeded(steps)).clamp(-1, 1)

    def apart(a, b):
        return float((a - b).square().mean().sqrt())

    assert apart(draw(10), draw(20)) < apart(draw(5), draw(20)) < apart(draw(10, 1.0), draw(20, 1.0)) / 2


def test_the_way_there_and_back_loses_less_with_more_steps():
    """DDIM 表 2"""
    model, images = load_pretrained("digits"), load_digits_split()["test"][0][:10]
    errors = [float(round_trip(model, images, steps).mean()) for steps in (5, 20, 40)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.005
    # 去了再回来，系数互相抵消
    (a, b, _), (c, d, _) = turn(0.9, 0.4), turn(0.4, 0.9)
    assert b * d == pytest.approx(1) and a * d + c == pytest.approx(0, abs=1e-12)
    levels = stops(model.exact_table("alphas_cumprod").numpy(), 5, 500)
    assert len(levels) == 5 and levels == sorted(levels) and levels[0] == float(model.exact_table("alphas_cumprod")[500])


def test_guidance_buys_certainty_with_distance():
    """引导的表 1、表 2"""
    model, labels, score = load_pretrained("digits_class"), torch.arange(100) % 10, DigitsFrechet()
    weak, strong = (generate(model, 100, batch_size=100, seed=0, cond=labels, use_ema=False, progress=False, sampler="dpmpp", steps=8,
                             guidance_scale=w)[0] for w in (1.0, 5.0))
    sure = [recognised(load_classifier("digits"), one, labels)["sure"] for one in (weak, strong)]
    assert sure[0] < sure[1] and score(weak) < score(strong)


def test_the_last_figure_puts_each_claim_on_its_own_side_of_the_band():
    ones = {"成立": {"mean": 2.0, "margin": 1.0}, "看不出": {"mean": -0.5, "margin": 1.0}, "不成立": {"mean": -3.0, "margin": 1.5}}
    ax = verdicts_figure([("甲", "图", "一", ones["成立"]), ("乙", "图", "三", ones["不成立"]), ("甲", "表", "二", ones["看不出"])]).axes[0]
    labels = ["甲：成立 1，看不出 1，不成立 0", "图：一", "表：二", "乙：成立 0，看不出 0，不成立 1", "图：三"]
    assert [label.get_text() for label in ax.get_yticklabels()] == labels
    dots = [(float(line.get_xdata()[0]), line.get_ydata()[0], line.get_color()) for line in ax.lines]
    assert [(x, y) for x, y, _ in dots] == [(2, 1), (-0.5, 2), (-2, 4)] and len({color for *_, color in dots}) == 3
