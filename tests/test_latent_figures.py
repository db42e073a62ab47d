"""第 17 章的图：先练自编码器再冻结，潜变量在两条界线之间；σ 的图与像素对得上"""
import numpy as np
import torch
from matplotlib.colors import to_hex

from ddpm_edu.teach.latent_figures import FROZEN, PALE, cost_figure, latent_figure, sigma_figure
from ddpm_edu.teach.latents import entered

from .conftest import tiny_ddpm


def test_the_latent_pipeline_trains_the_autoencoder_first_and_freezes_it():
    sizes = dict.fromkeys(("x", "restored", "new"), (1, 8, 8)) | dict.fromkeys(("z", "az", "z_t", "noise", "z_0", "divided"), (2, 4, 4))
    ax = latent_figure({name: torch.rand(size) for name, size in sizes.items()}).axes[0]
    words = [text.get_text() for text in ax.texts]
    order = ["第一阶段", "图 $x$", "编码器\n（训练）", "解码器\n（训练）", "第二阶段", "编码器\n（冻结）", "U-Net\n（训练）",
             "采样", "U-Net\n（冻结）", "新的图"]
    assert [words.index(word) for word in order] == sorted(words.index(word) for word in order)
    # 颜色说的是谁在学：练的都是一种，冻结的都是另一种；词的向量也在学，步号与词进每一个 U-Net
    centres = {(patch.get_x() + patch.get_width() / 2, patch.get_y() + patch.get_height() / 2): patch for patch in ax.patches}
    for text in ax.texts:
        if "（训练）" in text.get_text() or "（冻结）" in text.get_text():
            box = next(patch for (x, y), patch in centres.items() if abs(x - text.get_position()[0]) + abs(y - text.get_position()[1]) < 1e-6)
            assert to_hex(box.get_facecolor()) == (PALE if "训练" in text.get_text() else FROZEN)
    assert words.count("步号 $t$") == words.count("词向量") == 2
    boxes = [to_hex(centres[key].get_facecolor()) for y in (1.81, 0.56) for key in centres if key[0] in (5.35, 3.35) and abs(key[1] - y) < 1e-6]
    assert boxes == [PALE, FROZEN]
    # 图在界线之外，潜变量在界线之内；两个通道各画一块
    pixels = [image for image in ax.images if image.get_array().shape == (8, 8)]
    assert len(pixels) == 4 and len(ax.images) == 4 + 2 * 7
    for image in ax.images:
        left, right, *_ = image.get_extent()
        assert (1 < left and right < 7) == (image not in pixels)


def test_the_latent_picture_shows_the_channels_it_was_given():
    pictures = {name: torch.zeros(1, 8, 8) for name in ("x", "restored", "new")}
    pictures |= {name: torch.zeros(2, 4, 4) for name in ("az", "z_t", "noise", "z_0", "divided")}
    pictures["z"] = torch.stack([torch.full((4, 4), 1.0), torch.full((4, 4), -1.0)])
    shown = [float(image.get_array().mean()) for image in latent_figure(pictures).axes[0].images]
    assert [value for value in shown if value] == [1.0, -1.0, 1.0, -1.0]


def test_the_map_of_sigma_lies_under_the_pixels_it_came_from():
    spread, sigma = torch.zeros(28, 28), torch.linspace(0, 1, 64).view(8, 8)
    left, right = sigma_figure(spread, sigma).axes
    # 28 补到 32，两边各 2；一格潜变量管 4 个像素
    assert left.get_xlim() == (-2, 30) and left.get_ylim() == (30, -2)
    assert [text.get_text() for text in right.texts][::63] == ["0.0", "1.0"] and right.images[0].get_array().shape == (8, 8)


def test_the_cost_figure_joins_only_the_two_ways_of_counting():
    ax = cost_figure({"少": (1.2, 380, 11), "多": (2.4, 160, 7)}, {"别的": (11, 92, 5)}, {"只算": (1.7, 123, 8), "全算": (3.3, 123, 8)}, (72, 6)).axes[0]
    assert {text.get_text() for text in ax.texts} == {"真图", "少", "多", "别的", "只算", "全算"}
    joined = [container[0] for container in ax.containers]
    assert [line.get_linestyle() for line in joined] == ["None", "None", "-"] and list(joined[2].get_xdata()) == [1.7, 3.3]
    # 虚线过像素的两点，延长到全算那么多
    (x, y), = (line.get_data() for line in ax.lines if line.get_linestyle() == "--")
    assert np.allclose(x, [1.2, 3.3]) and np.allclose(y, [380, 160 * (160 / 380) ** np.log2(3.3 / 2.4)])


def test_the_trace_names_the_class_and_indents_the_callee(images):
    model = tiny_ddpm()
    lines = entered(lambda: model.forward(images), ("forward", "p_losses", "q_sample"))
    assert lines[:3] == ["DDPM.forward", "    DDPM.p_losses", "        GaussianDiffusion.q_sample"]
