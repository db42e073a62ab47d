"""第 17 章的图：先练自编码器再冻结，潜变量在两条界线之间；信噪比降到 1 的步号"""
import torch
from matplotlib.colors import to_hex

from ddpm_edu.teach.latent_figures import FROZEN, PALE, latent_figure, snr_figure


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


def test_the_ratios_cross_one_at_a_marked_step():
    marked = snr_figure({"乘对了": [2.0, 1.5, 0.5]}, [2]).axes[0]
    assert "$t=2$" in [text.get_text() for text in marked.texts] and len(marked.lines) == 3
