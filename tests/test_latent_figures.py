"""第 17 章的图：先练自编码器再冻结，潜变量在两条界线之间；自编码器的乘法算得进去；颜色与线型各说一件事"""
import torch
from matplotlib.colors import to_hex

from ddpm_edu.teach.figures import BLUE, INK, ORANGE, curves_figure
from ddpm_edu.teach.latent_figures import FROZEN, PALE, amplitude_figure, budget_figure, latent_figure, one_legend, snr_figure


def test_the_latent_pipeline_trains_the_autoencoder_first_and_freezes_it():
    sizes = {"x": (1, 8, 8), "restored": (1, 8, 8)} | dict.fromkeys(("z", "az", "z_t", "noise"), (2, 4, 4))
    ax = latent_figure({name: torch.rand(size) for name, size in sizes.items()}).axes[0]
    words = [text.get_text() for text in ax.texts]
    order = ["第一阶段", "图 $x$", "编码器\n（训练）", "解码器\n（训练）", "第二阶段", "编码器\n（冻结）", "U-Net\n（训练）",
             "采样", "U-Net\n（冻结）", "新的图"]
    assert [words.index(word) for word in order] == sorted(words.index(word) for word in order)
    # 颜色说的是谁在学：练的都是一种，冻结的都是另一种；步号与类别进每一个 U-Net
    centres = {(patch.get_x() + patch.get_width() / 2, patch.get_y() + patch.get_height() / 2): patch for patch in ax.patches}
    for text in ax.texts:
        if "（训练）" in text.get_text() or "（冻结）" in text.get_text():
            box = next(patch for (x, y), patch in centres.items() if abs(x - text.get_position()[0]) + abs(y - text.get_position()[1]) < 1e-6)
            assert to_hex(box.get_facecolor()) == (PALE if "训练" in text.get_text() else FROZEN)
    assert words.count("步号 $t$、类别") == 2
    # 图在界线之外，潜变量在界线之内；两个通道各画一块
    pixels = [image for image in ax.images if image.get_array().shape == (8, 8)]
    assert len(pixels) == 3 and len(ax.images) == 3 + 2 * 5
    for image in ax.images:
        left, right, *_ = image.get_extent()
        assert (1 < left and right < 7) == (image not in pixels)


def test_the_latent_picture_shows_the_channels_it_was_given():
    pictures = {name: torch.zeros(1, 8, 8) for name in ("x", "restored")} | {name: torch.zeros(2, 4, 4) for name in ("az", "z_t", "noise")}
    pictures["z"] = torch.stack([torch.full((4, 4), 1.0), torch.full((4, 4), -1.0)])
    shown = [float(image.get_array().mean()) for image in latent_figure(pictures).axes[0].images]
    assert [value for value in shown if value] == [1.0, -1.0, 1.0, -1.0]


def test_the_budget_has_points_per_way_and_a_rule_per_floor():
    ways = {"潜变量": [(1, 70, 1, 300), (5, 35, 1, 1500)], "潜变量，算上自编码器": [(4, 70, 1, 300), (8, 35, 1, 1500)], "像素": [(1, 200, 9, 75)]}
    ax = budget_figure(ways, {"底线": 17}).axes[0]
    found = {name: handle[0] for handle, name in zip(*ax.get_legend_handles_labels())}
    assert list(found) == list(ways) and list(found["潜变量"].get_xdata()) == [1, 5]
    assert found["潜变量"].get_color() == found["潜变量，算上自编码器"].get_color() == BLUE != found["像素"].get_color()
    # 空心是算上自编码器的；点与点不连，旁边写着步数
    assert [line.get_markerfacecolor() for line in found.values()] == [BLUE, "white", found["像素"].get_color()]
    assert {line.get_linestyle() for line in found.values()} == {"None"} and 17 in [line.get_ydata()[0] for line in ax.lines]
    assert [text.get_text() for text in ax.texts][:5] == ["300 步", "1500 步", "300 步", "1500 步", "75 步"]


def test_the_colours_say_which_mistake_and_the_dashes_which_change():
    lines = amplitude_figure({"都不改": [1, 1], "忘了乘：都改": [5, 1], "忘了乘：只改幅度": [4, 1], "多乘了：都改": [0.2, 1]}).axes[0].lines
    assert [(line.get_color(), line.get_linestyle()) for line in lines] == [(BLUE, "-"), (ORANGE, "-"), (ORANGE, "--"), (INK, "-")]
    marked = snr_figure({"乘对了": [2.0, 1.5, 0.5]}, [2]).axes[0]
    assert "$t=2$" in [text.get_text() for text in marked.texts] and len(marked.lines) == 3


def test_two_panels_share_one_legend():
    figure = one_legend(curves_figure(([0, 1], {"甲": [0, 1], "乙": [1, 0]}, "x", "y"), ([0, 1], {"甲": [0, 1]}, "x", "y")))
    assert not any(ax.get_legend() for ax in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["甲", "乙"]
