"""示意图与散点图：画的是真的"""
import math

import torch

from ddpm_edu.teach.diagrams import chain_figure, conditions_figure, latent_figure, nested_figure, order_figure, rotation_figure, unet_figure
from ddpm_edu.teach.points import points_figure
from ddpm_edu.unet import ResBlock, UNet


def test_points_arrows_and_paths_are_drawn_where_they_are():
    cloud, walk = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[[0.0, 0.0]], [[1.0, 2.0]]])
    plain, busy = points_figure({"甲": cloud, "乙": cloud}, [0, 1], arrows={"乙": (cloud, cloud)}, paths={"乙": walk}).axes
    assert plain.get_title() == "甲" and plain.collections[0].get_offsets().tolist() == cloud.tolist()
    assert len({tuple(color) for color in plain.collections[0].get_facecolors()}) == 2
    assert busy.lines[0].get_xydata().tolist() == [[0, 0], [1, 2]] and busy.collections[1].N == 2
    assert [marks.get_offsets().tolist() for marks in busy.collections[2:]] == [[[0, 0]], [[1, 2]]]


def test_the_chain_points_both_ways_between_every_pair():
    ax = chain_figure(torch.zeros(4, 1, 5, 5), ["甲", "乙", "丙", "丁"]).axes[0]
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["甲", "乙", "丙", "丁", "加噪：公式现成　→", "←　去噪：网络来学"]
    moves = [(note.xyann[0], note.xy[0]) for note in ax.texts if note.get_text() == ""]
    assert sum(a < b for a, b in moves) == sum(a > b for a, b in moves) == 3 and len(ax.images) == 4


def test_the_drawn_unet_is_the_real_one():
    unet = UNet(in_channels=1, model_channels=16, out_channels=1, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(2,))
    ax = unet_figure(unet, 8).axes[0]
    words = [text.get_text() for text in ax.texts]
    assert len(ax.patches) == 10 and words.count("32×4×4") == 3 and "残差块\n注意力\n放大" in words and words.count("1×8×8") == 1
    # 先存的后取；时间嵌入进每一个残差块所在的段
    skips = [note for note in ax.texts if getattr(note, "arrow_patch", None) is not None and note.arrow_patch.get_linestyle() == "--"]
    assert [(note.xyann[0], note.xy[0]) for note in skips] == [(0, 7.5), (1, 6.5), (2, 5.5), (3, 4.5)]
    # 拼接的两边一样大：取的那张与前一段的输出在同一层
    assert all(note.xyann[1] == note.xy[1] for note in skips)
    assert len(ax.lines) == sum(isinstance(layer, ResBlock) for layer in unet.modules())


def test_the_latent_pipeline_goes_through_the_frozen_encoder_and_decoder_once():
    ax = latent_figure("1×8×8", "2×4×4").axes[0]
    words = [text.get_text() for text in ax.texts]
    order = ["训练", "图 $x$\n1×8×8", "编码器\n（冻结）", "$z$\n2×4×4", "$z_0=az$\n乘系数", "加噪\n$z_t$", "U-Net\n（训练）",
             "猜噪声 $\\hat\\varepsilon$\n损失 $|\\hat\\varepsilon-\\varepsilon|^2$", "采样", "噪声 $z_T$\n2×4×4", "U-Net\n（同一个）",
             "退一步\n$z_{t-1}$", "$z_0$\n2×4×4", "$z=z_0/a$\n除系数", "解码器\n（冻结）", "图\n1×8×8"]
    assert [word for word in words if word in order] == order
    faces = {word: patch.get_facecolor() for word, patch in zip([word for word in order if word not in ("训练", "采样")], ax.patches)}
    assert len(ax.patches) == 14 and faces["编码器\n（冻结）"] == faces["解码器\n（冻结）"] != faces["U-Net\n（训练）"]


def test_a_nested_call_is_drawn_inside_the_box_of_its_caller():
    ax = nested_figure([(0, "甲"), (1, "乙"), (2, "丙"), (1, "丁"), (0, "戊")], {"乙": "说明"}, ("甲",)).axes[0]
    first, second, third, fourth, last = (patch.get_bbox() for patch in ax.patches)
    for outer, inner in ((first, second), (second, third), (first, fourth)):
        assert outer.x0 < inner.x0 and inner.x1 < outer.x1 and outer.y0 < inner.y0 and inner.y1 < outer.y1
    assert second.y0 > fourth.y1 and first.y0 > last.y1 and [text.get_text() for text in ax.texts if text.get_text()].count("说明") == 1
    assert ax.patches[0].get_edgecolor() != ax.patches[1].get_edgecolor()


def test_the_rotation_has_one_picture_per_angle_and_its_arrows_are_orthogonal():
    figure = rotation_figure({"甲": 0.4, "乙": 1.2})
    for ax, name, angle in zip(figure.axes, ("甲", "乙"), (0.4, 1.2), strict=True):
        tips = [note.xy for note in ax.texts if getattr(note, "arrow_patch", None)]
        assert tips == [(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))]
        assert ax.get_title().startswith(name) and f"{math.degrees(angle):.0f}" in ax.get_title()


def test_what_is_needed_before_it_is_made_is_drawn_dashed():
    rows, names = {"错": ["乙", "甲"], "对": ["甲", "乙"]}, {"甲": "", "乙": ""}
    ax = order_figure(rows, [("甲", "乙")], names, {"错": (), "对": ("乙",)}).axes[0]
    arrows = [note.arrow_patch for note in ax.texts if getattr(note, "arrow_patch", None)]
    assert [patch.get_linestyle() for patch in arrows] == ["--", "-"]
    white, *others, blue = (box.get_facecolor() for box in ax.patches)
    assert white == others[0] == others[1] != blue


def test_each_kind_of_condition_has_its_own_picture():
    left, middle, right = conditions_figure(torch.zeros(1, 8, 8), torch.ones(1, 8, 8)).axes
    assert [len(ax.images) for ax in (left, middle, right)] == [1, 2, 1]
    assert [sum(text.get_text() == "词" for text in ax.texts) for ax in (left, middle, right)] == [0, 0, 3]
