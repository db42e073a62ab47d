"""面板：控件的整个范围都走一遍，画的数对得上公式，图里没有会变成方框的字"""
import asyncio
import base64
import io
import itertools
import math
import re
import warnings

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.font_manager import fontManager, get_font
from matplotlib.text import Text
from PIL import Image

from ddpm_edu import GaussianDiffusion, load_pretrained, make_beta_schedule
from ddpm_edu.data.digits import load_digits_split
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.gaussian import diffusion_tables
from ddpm_edu.sampling import spaced_timesteps
from ddpm_edu.teach import laboratory, panels
from ddpm_edu.teach.figures import curves_figure, grid_figure, to_png
from ddpm_edu.teach.panel import Panel, slider
from ddpm_edu.teach.panels import beta, ema, forward, lr, parameterization, posterior, sampler, weights
from ddpm_edu.teach.plot import Axis, Plot

BETAS = make_beta_schedule("sqrt_linear", 1000)


@pytest.fixture(scope="module")
def digits():
    images = load_digits_split()["val"][0][:10]
    return images, torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    return load_pretrained("digits")


@pytest.fixture(scope="module")
def every_panel(digits, model):
    images, noise = digits
    chain = GaussianDiffusion()
    guided = sampler.guidance_grids(load_pretrained("digits_class"), scales=(0.0, 1.0, 3.0), per_class=1, steps=3)
    return {
        "beta": panels.beta_panel(), "forward": panels.forward_panel(chain, images, noise),
        "parameterization": panels.parameterization_panel(chain, images[:1], noise[:1]),
        "posterior": panels.posterior_panel(BETAS), "chain": panels.chain_panel(),
        "samples": panels.samples_panel(posterior.posterior_grids(model, steps=(2, 3), num_samples=8)),
        "ema": panels.ema_panel(),
        "lr": panels.lr_panel(), "weights": panels.weights_panel(),
        "guidance": panels.guidance_panel(guided, load_classifier(), dict.fromkeys(guided, 1.0)),
    }


def positions(control, at_most=2):
    """控件能停的位置，太多就均匀取一些，总含两端"""
    if hasattr(control, "options"):
        return [value for value in control.options if not isinstance(value, tuple)]
    if isinstance(control.value, bool):
        return [True, False]
    count = round((control.max - control.min) / control.step)
    picked = np.unique(np.linspace(0, count, min(count + 1, at_most)).round().astype(int))
    values = [control.min + k * control.step for k in picked]
    return [control.base**value for value in values] if hasattr(control, "base") else [type(control.value)(v) for v in values]


def test_every_control_redraws_over_its_whole_range_without_a_warning(every_panel, amount):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, panel in every_panel.items():
            for control in panel.controls.values():
                start, frames = control.value, set()
                for value in positions(control, amount(3, 40)):
                    control.value = value
                    frames.add((bytes(panel.image.value), panel.note.value))
                control.value = start
                # cosine_s 只对 cosine 起作用
                assert len(frames) > 1 or (name, control.description) == ("beta", "cosine_s"), (name, control.description)


def test_every_corner_of_the_controls_gives_finite_data(every_panel):
    for name, panel in every_panel.items():
        ends = [sorted({positions(c)[0], positions(c)[-1]}, key=str) for c in panel.controls.values()]
        for values in itertools.product(*ends):
            data, note = panel.compute(**dict(zip(panel.controls, values)))
            assert note and "nan" not in note and "inf" not in note, (name, note)
            # 字是行名，不是数据
            for key, value in ((key, value) for key, value in data.items() if not isinstance(value, str)):
                x, y = value if isinstance(value, tuple) else ((), value)
                assert np.isfinite(np.asarray(y, dtype=float)).all() and np.isfinite(np.asarray(x, dtype=float)).all(), (name, values, key)


def missing_glyphs(text):
    """公式以外的字里，装好的字体没有的"""
    font = get_font(fontManager.findfont(matplotlib.rcParams["font.family"][0], fallback_to_default=False))
    return {c for c in re.sub(r"\$[^$]*\$", "", text) if c != "\n" and not font.get_char_index(ord(c))}


def test_no_text_inside_a_figure_can_become_a_box(every_panel):
    """不靠系统里的字体：用的就是依赖里带的那一份"""
    assert matplotlib.rcParams["font.family"][0] == "Noto Sans SC" and missing_glyphs("汉字 ①−$x_t$\ue123") == {"\ue123"}
    for text in [text.get_text() for panel in every_panel.values() for text in panel.plot.figure.findobj(Text)]:
        assert not missing_glyphs(text), text


@pytest.fixture(scope="module")
def shown(every_panel):
    """每个面板显示一次：{名字: (显示前的一帧, 内容, 大小)}"""
    done = {}
    for name, panel in every_panel.items():
        panel.redraw()
        done[name] = (bytes(panel.image.value), *panel._repr_mimebundle_())
    return done


def test_a_panel_leaves_a_static_picture_and_plain_words(every_panel, shown):
    for name, (frame, bundle, metadata) in shown.items():
        assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(bundle), name
        assert "<b>" not in bundle["text/plain"] and len(bundle["text/plain"]) > 25, name
        # 一点两像素；静态图是几处的图与它们的标题叠成的，与拖动时的图一样宽；也可以一行排几处
        size, panel = metadata["image/png"], every_panel[name]
        still, one = (Image.open(io.BytesIO(png)) for png in (base64.b64decode(bundle["image/png"]), frame))
        assert still.size == (2 * size["width"], 2 * size["height"]) and panel.image.layout.width == f"{one.width // 2}px", name
        across = len(panel.sheet) if panel.across is True else int(panel.across) or 1
        assert still.size == (across * one.width, len(panel.sheet) // across * (one.height + 40)), name
        # 图里看得出控件动了会怎样：画了几处，或者另有一个坐标轴画它
        assert len(panel.sheet) >= 2 or len(panel.plot.axes) >= 2, name
        # 标题下面就是控件停在那里时的一帧
        for order, moved in enumerate(panel.sheet):
            left, top = order % across * one.width, order // across * (one.height + 40)
            data, _ = panel.compute(**{control: widget.value for control, widget in panel.controls.items()} | moved)
            wanted = np.asarray(panel.plot.update(**data).picture().convert("RGB"))
            there = np.asarray(still.convert("RGB").crop((left, top, left + one.width, top + 40 + one.height)))
            assert (there[40:] == wanted).all() and there[:40].min() < 100, (name, moved)
        panel.redraw()
        assert bytes(panel.image.value) == frame, name


# ---- 画图的底子 ----

def example_plot():
    return Plot([Axis("$x$", "$y$", (0, 1), (0, 1), curves={"line": "$f$", "dot": ""}, dots=("dot",)), Axis(image="picture")], width=5.0)


def test_showing_the_panel_does_not_move_its_axes(every_panel, shown):
    """显示时另存一张静态图；那一遍若重新排版，之后的曲线就与背景里的坐标轴错开"""
    for name, panel in every_panel.items():
        panel.redraw()
        assert bytes(panel.image.value) == shown[name][0], name


def test_a_frame_is_the_same_picture_as_drawing_everything_afresh():
    first, second = example_plot(), example_plot()
    first.update(line=([0, 1], [1, 0]), dot=([0.5], [0.5]), picture=np.zeros((4, 4))).picture()
    data = {"line": ([0, 1], [0, 1]), "dot": ([0.2], [0.8]), "picture": np.linspace(-1, 1, 16).reshape(4, 4)}
    # 换过数据的旧图，与只画这一次的新图，逐个像素相同
    assert first.update(**data).picture() == second.update(**data).picture()
    pictures = first.picture(), Image.open(io.BytesIO(to_png(first.figure)[0]))
    frame, still = (np.asarray(picture.convert("RGB"), dtype=int) for picture in pictures)
    # 图像自己放大，格子的边线可以差一个像素；线的边缘少几级过渡；白必须还是白
    assert (np.abs(frame - still) > 8).mean() < 0.01 and frame.max() == 255 and (frame == still)[still == 255].mean() > 0.99


def test_a_coarse_frame_is_the_sharp_one_at_half_the_size():
    plot = example_plot().update(line=([0, 1], [0, 1]), dot=([0.2], [0.8]), picture=np.linspace(-1, 1, 16).reshape(4, 4))
    sharp, coarse = plot.picture(), plot.picture(sharp=1)
    assert sharp.size == (2 * coarse.width, 2 * coarse.height) and plot.picture() == sharp
    half, coarse = (np.asarray(picture.convert("L"), dtype=int) for picture in (sharp.convert("L").reduce(2), coarse))
    # 只在线与格子的边缘差一些；线、点、图像都在原来的地方
    assert np.abs(half - coarse).mean() < 1.0 and (np.abs(half - coarse) > 64).mean() < 0.005


def test_while_a_control_moves_the_frames_are_coarse_and_at_rest_sharp(every_panel, monkeypatch):
    panel, control = every_panel["lr"], next(iter(every_panel["lr"].controls.values()))
    monkeypatch.setattr("ddpm_edu.teach.panel.REST", 0.05)
    here, elsewhere = control.value, next(value for value in positions(control) if value != control.value)
    panel.redraw()
    widths, sharp = [], bytes(panel.image.value)

    async def drag():
        for value in (elsewhere, here):
            control.value = value
            widths.append(Image.open(io.BytesIO(panel.image.value)).width)
        await asyncio.sleep(0.3)

    asyncio.run(drag())
    assert widths == [Image.open(io.BytesIO(sharp)).width // 2] * 2 and bytes(panel.image.value) == sharp


def test_moving_a_control_neither_lays_out_again_nor_touches_an_axis(every_panel, monkeypatch):
    """一帧只重画会变的线与图：整张重画、重排版、挪坐标轴的界限，每一样都要几毫秒到几百毫秒"""
    for name in ("beta", "forward", "parameterization", "chain", "ema", "weights"):
        panel, asked = every_panel[name], []
        panel.redraw()
        with monkeypatch.context() as patch:
            for owner, method in ((type(panel.plot.figure.canvas), "draw"), (Axes, "set_xlim"), (Axes, "set_ylim")):
                patch.setattr(owner, method, lambda *args, asked=asked, method=method, **kwargs: asked.append(method))
            control = next(control for control in panel.controls.values() if hasattr(control, "min"))
            here = control.value
            control.value = next(value for value in positions(control) if value != here)
        assert not asked, (name, asked)


def test_a_pasted_image_shows_each_value_in_its_place():
    values = np.linspace(-1, 1, 16).reshape(4, 4)
    plot = example_plot().update(picture=values)
    drawn = np.asarray(plot.picture().convert("RGB"))
    box = plot.artists["picture"].get_window_extent()
    for i, j in itertools.product(range(4), range(4)):
        x, y = box.x0 + (j + 0.5) * box.width / 4, len(drawn) - box.y1 + (i + 0.5) * box.height / 4
        # 画图时的插值与 8 位的舍入，几级灰度
        assert drawn[int(y), int(x)].tolist() == [pytest.approx(127.5 * (values[i, j] + 1), abs=4)] * 3


def test_plot_refuses_data_it_has_no_place_for():
    with pytest.raises(ValueError, match="line.*curve"):
        example_plot().update(curve=([0], [0]))


def test_a_panel_redraws_when_a_control_moves():
    drawn = []

    def compute(v):
        drawn.append(v)
        return {"line": ([0, 1], [0, v])}, f"v = {v:.2f}"

    panel = Panel(example_plot(), compute, sheet=[{"v": 0.5}], v=slider(0.0, 0.0, 1.0, 0.25, "v"))
    pictures = set()
    for value in (0.25, 0.5, 1.0):
        panel.controls["v"].value = value
        pictures.add(bytes(panel.image.value))
    assert drawn == [0.0, 0.25, 0.5, 1.0] and len(pictures) == 3 and panel.note.value == "v = 1.00"
    with pytest.raises(ValueError, match="value"):
        slider(2.0, 0.0, 1.0, 0.1, "越界")


def test_the_picture_keeps_its_size_and_never_overflows(every_panel):
    for panel in every_panel.values():
        layout = panel.image.layout
        # 默认会被拉到整栏宽；默认的边距又会在窄的时候挤出滚动条
        assert (layout.align_self, layout.max_width, layout.margin) == ("flex-start", "100%", "0")


def test_figures_draw_the_arrays_they_are_given():
    figure = curves_figure(([1, 2, 3], {"$a$": [1, 4, 9], "$b$": [3, 2, 1]}, "x", "y", "linear", "log"), ([0, 1], {"": [0, 1]}, "x", "y"))
    left, right = figure.axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[1, 4, 9], [3, 2, 1]] and left.get_yscale() == "log"
    assert left.get_legend() is not None and right.get_legend() is None
    plain, thin = curves_figure(([1, 2], {"b": [3, 4], "a": [1, 2]}, "x", "y"), faint=("b",)).axes[0].lines
    assert (plain.get_label(), thin.get_label()) == ("a", "b") and thin.get_linewidth() < plain.get_linewidth()
    # 对数轴上写 2、5，不写 2×10⁰；只有几个整数时只标这几个
    assert left.yaxis.get_major_formatter()(2) == "2" and left.get_xticks().tolist() == [1, 2, 3]
    grid = grid_figure(torch.full((2, 1, 4, 4), 1.0), nrow=2).axes[0].images[0].get_array()
    assert grid.shape == (6, 11) and float(grid.max()) == 1.0


# ---- 画的数 ----

def test_beta_panel_draws_the_schedule_and_warns_when_the_chain_is_too_short():
    data, note = beta.beta_data("cosine", 200, 1e-4, 2e-2, 0.01)
    np.testing.assert_allclose(data["beta"][1], make_beta_schedule("cosine", 200, cosine_s=0.01))
    bar = np.cumprod(1 - data["beta"][1])
    np.testing.assert_allclose(data["alpha_bar"][1], bar)
    np.testing.assert_allclose(data["snr"][1], bar / (1 - bar))
    assert "T 太短" not in note and "squaredcos_cap_v2" in note
    assert data["beta"][1][0] != beta.beta_data("cosine", 200, 1e-4, 2e-2, 0.02)[0]["beta"][1][0]
    short, weak = (beta.beta_data("linear", T, 1e-4, end, 0.008)[1] for T, end in ((100, 1e-2), (1000, 1e-3)))
    assert "T 太短" in short and "0.001 与 0.1" in short and "噪声太少" in weak and "linear_end 调大" in weak
    # 两端写反也不出错
    np.testing.assert_array_equal(*(beta.beta_data("linear", 50, *ends, 0.0)[0]["beta"][1] for ends in ((1e-2, 1e-3), (1e-3, 1e-2))))


def test_forward_panel_draws_the_noisy_image_and_its_histogram(digits):
    images, noise = digits
    chain = GaussianDiffusion()
    data, _ = forward.forward_data(chain, images, noise, 300, 2)
    x_t = chain.q_sample(images, torch.full((10,), 300), noise)
    np.testing.assert_array_equal(data["image"], x_t[2, 0].numpy())
    x, density = data["histogram"]
    assert density.sum() * (x[1] - x[0]) == pytest.approx(1)
    # 直方图把每个数挪到格子的中间
    assert np.average(x, weights=density) == pytest.approx(float(x_t.mean()), abs=0.05)
    np.testing.assert_allclose(data["normal"][1], np.exp(-data["normal"][0] ** 2 / 2) / math.sqrt(2 * math.pi))


def test_parameterization_panel_draws_the_errors_of_the_guess_and_of_the_step(digits):
    images, noise = digits
    chain = GaussianDiffusion()
    data, _ = parameterization.parameterization_data(chain, images[:1], noise[:1], 400)
    for name in ("eps", "x0", "v"):
        np.testing.assert_allclose(data[f"x0_from_{name}"], images[0, 0].numpy(), atol=1e-5)
        np.testing.assert_allclose(data[f"step_from_{name}"], 0, atol=1e-5)
    # 三种输出错得一样多，换成 x̂0 之后按各自的倍数放大
    wrong, note = parameterization.parameterization_data(chain, images[:1], noise[:1], 400, 0.2)
    for name in ("eps", "x0", "v"):
        rms = np.sqrt(np.mean((wrong[f"x0_from_{name}"] - images[0, 0].numpy()) ** 2))
        size = 0.2 * float(noise[0].pow(2).mean().sqrt())
        assert rms == pytest.approx(size * parameterization.amplification(float(chain.alphas_cumprod[400]))[name], rel=1e-4)
        # 再走一步：从 ᾱ_400 走到 ᾱ_380，真的走两遍，相减
        bars, x_t = chain.alphas_cumprod, chain.q_sample(images[:1], torch.tensor([400]), noise[:1])
        walked = [bars[380].sqrt() * guess + (1 - bars[380]).sqrt() * (x_t - bars[400].sqrt() * guess) / (1 - bars[400]).sqrt()
                  for guess in (torch.from_numpy(wrong[f"x0_from_{name}"]), images[:1])]
        np.testing.assert_allclose(wrong[f"step_from_{name}"] / parameterization.SHOWN, (walked[0] - walked[1])[0, 0].numpy(), atol=1e-5)
        assert np.sqrt(np.mean(wrong[f"step_from_{name}"] ** 2)) == pytest.approx(parameterization.SHOWN * size * data[f"gain_{name}"][1][400], rel=1e-3)
    # 最后一步走到底，x̂0 的误差原样留下
    assert data["gain_x0"][1][0] == 1 and "各加 0.20 的误差，走到 s = 380，" in note
    for name, function in (("eps", chain.predict_start_from_noise), ("v", chain.predict_start_from_z_and_v)):
        z = torch.zeros(1, 1)
        moved = (function(z, torch.tensor([400]), z + 1) - function(z, torch.tensor([400]), z)).abs().item()
        assert parameterization.amplification(float(chain.alphas_cumprod[400]))[name] == pytest.approx(moved, rel=1e-5)


@pytest.mark.parametrize("v", posterior.V_CHOICES)
def test_posterior_panel_draws_the_variance_it_claims(v):
    data, _ = posterior.posterior_data(BETAS, v)
    bar = np.cumprod(1 - BETAS)
    tilde = (BETAS[1:] * (1 - bar[:-1])) / (1 - bar[1:])
    np.testing.assert_allclose(data["ratio"][1], tilde / BETAS[1:], rtol=1e-12)
    np.testing.assert_allclose(data["ratio_v"][1], (1 - v) * tilde / BETAS[1:] + v, rtol=1e-12)


def test_chain_panel_agrees_with_the_moments_of_the_chain():
    data, _ = posterior.chain_data(0.3, 0.5, 10, "cosine")
    kept = spaced_timesteps(1000, 10)
    cumprod = np.cumprod(1 - make_beta_schedule("cosine", 1000))[kept]
    betas = 1 - cumprod / np.append(1.0, cumprod[:-1])
    # 左端是 x_{t=0}；最后一步不加噪声，方差乘 k² 就是最终样本的
    D = cumprod[0] * 0.25 + 1 - cumprod[0]
    assert data["v"][1][0] * D * (cumprod[0] ** 0.5 * 0.25 / D) ** 2 == pytest.approx(laboratory.chain_moments(betas, 0.0, 0.5, 0.3)[1])
    # 两个极端各在自己的数据上处处正确
    point = posterior.chain_data(0.0, 1e-6, 50, "cosine")[0]
    normal = posterior.chain_data(1.0, 1.0, 50, "cosine")[0]
    # 数据的标准差取 1e-6，不是 0
    np.testing.assert_allclose(point["zero"][1], 1, atol=1e-4)
    np.testing.assert_allclose(normal["one"][1], 1, atol=1e-4)
    assert point["one"][1].max() > 1.2 and normal["zero"][1][0] < 0.97
    # 每步用 v*，任何一个标准差都处处正确
    np.testing.assert_allclose(data["best"][1], 1, atol=1e-4)


def test_sample_grids_use_the_same_noise_and_the_given_v(model):
    grids = posterior.posterior_grids(model, steps=(3,), num_samples=4)
    assert set(grids) == {(3, v) for v in posterior.V_CHOICES}
    expected = model.sample(4, steps=3, v_posterior=0.5, generator=torch.Generator().manual_seed(4), progress=False)
    data, _ = panels.samples_panel({**grids, **posterior.posterior_grids(model, (4,), 4)}).compute(v=0.5, steps=3)
    half = len(data["grid"]) // 2
    np.testing.assert_allclose(data["grid"][half + 1:half + 9, 1:9], expected[0, 0].clamp(-1, 1).numpy())
    np.testing.assert_array_equal(data["grid"][:half], grids[3, 0.0])
    assert (data["upper"], data["lower"]) == ("$v=0$", "$v=0.5$")


def test_guidance_panel_shows_the_share_of_right_classes():
    samples = {scale: torch.zeros(20, 1, 8, 8) + scale for scale in (0.0, 1.0)}

    def classifier(images):
        # w=1 的样本全对，w=0 的全认成 0
        right = torch.eye(10)[torch.arange(20) % 10]
        return right if images.mean() > 0.5 else torch.eye(10)[torch.zeros(20, dtype=torch.long)]

    panel = panels.guidance_panel(samples, classifier, {0.0: 0.6, 1.0: 0.4})
    assert "10%" in panel.compute(scale=0.0)[1] and "1.50 倍" in panel.compute(scale=0.0)[1]
    assert "100%" in panel.compute(scale=1.0)[1] and "1.00 倍" in panel.compute(scale=1.0)[1]


@pytest.mark.parametrize(("decay", "warm_up"), [(0.99, True), (0.999, False)])
def test_ema_panel_follows_litema(decay, warm_up):
    from ddpm_edu import LitEma

    weight = torch.nn.Linear(1, 1, bias=False).double()
    torch.nn.init.ones_(weight.weight)
    shadow = LitEma(weight, decay, use_num_updates=warm_up)
    data, note = ema.ema_data(decay, warm_up, 0.1)
    drawn = []
    for value in np.exp(-ema.STEPS / 300)[:50] + 0.1 * ema.NOISE[:50]:
        torch.nn.init.constant_(weight.weight, value)
        shadow(weight)
        drawn.append(shadow.shadow["weight"].item())
    np.testing.assert_allclose(data["shadow"][1][:50], drawn, rtol=1e-9)
    assert data["step"][1][9] == 1 - shadow.effective_decay(10)
    assert f"半衰期 {math.log(0.5) / math.log(decay):.0f} 步" in note


def test_lr_panel_marks_the_breakpoints():
    data, _ = lr.lr_data("LambdaLinearScheduler", 100, 0.0, 1.0, 0.1, 1)
    assert data["breaks"][0] == [0, 100, 1000] and data["breaks"][1] == pytest.approx([0.0, 1.0, 0.1])
    assert data["multiplier"][1][99:101] == pytest.approx([0.99, 1.0])
    cosine, _ = lr.lr_data("LambdaWarmUpCosineScheduler2", 50, 0.2, 1.0, 0.1, 4)
    assert cosine["breaks"][0] == [0, 50, 250, 300, 500, 550, 750, 800, 1000]
    single, note = lr.lr_data("LambdaWarmUpCosineScheduler", 50, 0.2, 1.0, 0.1, 4)
    assert single["breaks"][0] == [0, 50, 1000] and "一个周期" in note


@pytest.mark.parametrize("v", [0.0, 0.5, 1.0])
def test_weight_panel_draws_the_derived_weights_and_the_mixture(v):
    betas = make_beta_schedule("linear", 1000)
    data, note = weights.weights_data(v, "linear", 0.5, 0.25)
    for order, name in enumerate(("eps", "x0", "v")):
        np.testing.assert_array_equal(data[name][1], diffusion_tables(betas, v, name)["lvlb_weights"])
        # 混合之后从头累计；点在最重的一步上
        mixed = 0.5 + 0.25 * data[name][1]
        np.testing.assert_allclose(np.diff(data[f"mixed_{name}"][1], prepend=0), mixed / mixed.sum(), atol=1e-14)
        step = mixed.argmax()
        assert data["peaks"][0][order] == step + 1 and data["peaks"][1][order] == data[f"mixed_{name}"][1][step]
        assert f"{name} 是 t={step}，占 {mixed.max() / mixed.sum():.0%}" in note


def test_effective_samples_are_all_of_them_when_equal_and_one_when_one_step_has_all_the_weight():
    assert weights.effective_share(np.ones(1000)) == 1 and weights.effective_share(np.eye(1000)[0]) == pytest.approx(1e-3)
    assert weights.effective_share(np.repeat([2.0, 0.0], 500)) == pytest.approx(0.5) and weights.effective_share(np.zeros(4)) == 0
    assert "拒绝" in weights.weights_data(0.0, "linear", 0.0, 0.0)[1]


def test_a_grid_has_frames_and_its_rows_and_columns_have_names():
    figure = grid_figure(torch.full((6, 1, 28, 28), -1.0), nrow=3, rows=["甲", "乙"], columns="123")
    ax = figure.axes[0]
    pixels = ax.images[0].get_array()
    # 黑的图四周是灰的缝；名字对着各行各列的正中
    assert pixels[0].min() == 0.75 and pixels[2:30, 2:30].max() == 0 and pixels[:, 30].min() == 0.75
    assert [label.get_text() for label in ax.get_xticklabels()] == list("123") and ax.get_xticks()[1] == 2 + 14 - 0.5 + 30
    assert [label.get_text() for label in ax.get_yticklabels()] == ["甲", "乙"]
