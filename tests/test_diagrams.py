"""示意图与散点图：画的是真的"""
import math

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet

from ddpm_edu.teach.diagrams import chain_figure, conditions_figure, nested_figure, rotation_figure, unet_figure
from ddpm_edu.teach.figures import BLUE
from ddpm_edu.teach.init_figures import course_order, init_map, original_order, same_step_figure
from ddpm_edu.teach.points import fields_figure, losses_figure, points_figure
from ddpm_edu.teach.unet_figures import clocks_figure, cuts_figure, residual_figure
from ddpm_edu.unet import ResBlock, UNet, timestep_embedding


def test_points_arrows_and_paths_are_drawn_where_they_are():
    cloud, walk = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[[0.0, 0.0]], [[1.0, 2.0]]])
    plain, busy = points_figure({"甲": cloud, "乙": cloud}, [0, 1], arrows={"乙": (cloud, cloud)}, paths={"乙": walk}).axes
    assert plain.get_title() == "甲" and plain.collections[0].get_offsets().tolist() == cloud.tolist()
    assert len({tuple(color) for color in plain.collections[0].get_facecolors()}) == 2
    assert busy.lines[0].get_xydata().tolist() == [[0, 0], [1, 2]] and busy.collections[1].N == 2
    assert [marks.get_offsets().tolist() for marks in busy.collections[2:]] == [[[0, 0]], [[1, 2]]]


def test_each_cloud_may_have_its_own_labels():
    cloud = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    left, right = points_figure({"甲": cloud, "乙": cloud}, {"甲": [False, True]}).axes
    assert [len(np.unique(ax.collections[0].get_facecolors(), axis=0)) for ax in (left, right)] == [2, 1]


def test_clouds_may_be_laid_out_in_rows():
    figure = points_figure(dict.fromkeys("甲乙丙丁", torch.zeros(1, 2)), columns=2)
    figure.draw_without_rendering()
    places = [ax.get_position().p0 for ax in figure.axes]
    assert places[0][1] == pytest.approx(places[1][1]) and places[2][1] < places[0][1] and places[2][0] == pytest.approx(places[0][0])


def test_the_chain_points_both_ways_between_every_pair():
    ax = chain_figure(torch.zeros(4, 1, 5, 5), ["甲", "乙", "丙", "丁"]).axes[0]
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["甲", "乙", "丙", "丁", "加噪：公式现成　→", "←　去噪：网络来学"]
    moves = [(note.xyann[0], note.xy[0]) for note in ax.texts if note.get_text() == ""]
    assert sum(a < b for a, b in moves) == sum(a > b for a, b in moves) == 3 and len(ax.images) == 4
    gapped = chain_figure(torch.zeros(3, 1, 5, 5), "甲乙丙", below={0.5: ("箭头下", "red"), 2: ("图下", "gray")}, gaps=(1,)).axes[0]
    places = {text.get_text(): text.get_position() for text in gapped.texts}
    assert places["…"] == (1.5, 0) and places["箭头下"][0] == 0.5 and places["图下"][0] == 2 and places["图下"][1] < places["甲"][1]


def test_the_drawn_unet_is_the_real_one():
    unet = UNet(in_channels=1, model_channels=16, out_channels=1, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(2,))
    ax = unet_figure(unet, 8).axes[0]
    words = [text.get_text() for text in ax.texts]
    boxes = [(patch.get_x() + patch.get_width() / 2, patch.get_y() + patch.get_height() / 2) for patch in ax.patches]
    assert [round(y) for _, y in boxes] == [0, 0, -1, -1, -1, -1, -1, 0, 0, 0, 0] and "残差块\n注意力\n残差块\n32×4×4" in words
    assert words.count("放大\n32×8×8") == words.count("输出层\n1×8×8") == 1
    # 中间块的名字写在有两个残差块的那一格上面
    named, block = (next(text.get_position()[0] for text in ax.texts if text.get_text() == name) for name in ("中间块", "残差块\n注意力\n残差块\n32×4×4"))
    assert named == block
    # 先存的后取，从方框的中间出发，到接它的方框前面的“拼”；拼接的两边一样大；通道数是真的
    skips = [line.get_xydata() for line in ax.lines if line.get_linestyle() == "--"]
    assert [(round(line[0, 0]), math.ceil(line[-1, 0])) for line in skips] == [(0, 9), (1, 8), (2, 6), (3, 5)]
    assert all(line[-1, 1] == round(line[0, 1]) for line in skips)
    joined = {math.ceil(text.get_position()[0]): text.get_text() for text in ax.texts if text.get_text()[:1].isdigit()}
    assert [sum(map(int, joined[i].split(" | "))) for i in sorted(joined)] == [stage[0].in_layers[0].num_channels for stage in unet.output_blocks]
    # 时间嵌入进每一个残差块
    blue = [note for note in ax.texts if getattr(note, "arrow_patch", None) and to_hex(note.arrow_patch.get_edgecolor()) == BLUE.lower()]
    assert len(blue) == sum(isinstance(layer, ResBlock) for layer in unet.modules())


def test_the_cuts_are_marked_on_the_lines_they_cut():
    unet = UNet(1, 32, 1, 2, (2,), channel_mult=(1, 2), patch_size=2, num_classes=10)
    ax = cuts_figure(unet, 28).axes[0]
    words = [text.get_text() for text in ax.texts]
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert words.count("放大\n64") == 1 and {"边长\n14", "边长\n7", "步号 $t$", "类别"} <= set(words)
    # 每条跳跃连接上一把剪刀，一半在大图上
    skips = [line.get_xydata()[1, 1] for line in ax.lines if line.get_linestyle() == "--"]
    cuts = [text.get_position()[1] for text in ax.texts if text.get_text() == "✂"]
    assert cuts[:6] == skips and len(cuts) == 8 and places["剪大图连线"][1] > 0 > places["剪小图连线"][1]
    # 拼接的两边，通道数是真的
    joined = sorted((text.get_position()[0], sum(map(int, text.get_text().split(" | ")))) for text in ax.texts if " | " in text.get_text())
    assert [channels for _, channels in joined] == [stage[0].in_layers[0].num_channels for stage in unet.output_blocks]
    # 不走小图，剪在“放大”与接它的“拼”之间；抹掉 t，剪在步号之后、类别加进来之前
    climb, wiped = [text.get_position() for text in ax.texts if text.get_text() == "✂"][6:]
    boxes = [patch.get_x() + patch.get_width() for patch in ax.patches]
    x = next(text.get_position()[0] for text in ax.texts if text.get_text() == "放大\n64")
    assert x < climb[0] < min(line.get_xydata()[-1, 0] for line in ax.lines if line.get_linestyle() == "--" and line.get_xydata()[-1, 0] > x) and climb[1] == 0
    assert wiped[1] == places["步号 $t$"][1] == places["+"][1] and places["步号 $t$"][0] < wiped[0] < places["+"][0] < boxes[1]


def test_the_residual_block_adds_twice():
    words = [text.get_text() for text in residual_figure().axes[0].texts]
    assert words.count("⊕") == 2 and sum("卷积" in word for word in words) == 2 and r"$\mathrm{emb}$" in words


def test_each_hand_of_the_clocks_points_at_its_cosine_and_sine():
    embedding = timestep_embedding(torch.tensor([0, 7]), 64)
    ax = clocks_figure((0, 7), embedding).axes[0]
    tips = [line.get_xydata()[0].tolist() for line in ax.lines if line.get_marker() == "o"]
    assert len(tips) == 8 and tips[3] == pytest.approx([1 + 0.4 * embedding[1, 8].item(), -1 + 0.4 * embedding[1, 40].item()])
    assert "$i=16$\n628 步一圈" in [text.get_text() for text in ax.texts]


def test_a_nested_call_is_drawn_inside_the_box_of_its_caller():
    calls = [(0, "甲"), (1, "乙"), (2, "丙"), (1, "丁"), (0, "戊")]
    ax = nested_figure(calls, {"乙": "说明"}, ("甲",), ("丁",)).axes[0]
    first, second, third, fourth, last = (patch.get_bbox() for patch in ax.patches)
    for outer, inner in ((first, second), (second, third), (first, fourth)):
        assert outer.x0 < inner.x0 and inner.x1 < outer.x1 and inner.y1 < outer.y1
        # 几层的下边错得开：至少差一个名字的五分之一那么高
        assert inner.y0 - outer.y0 > (third.y1 - third.y0) / 5
    assert second.y0 > fourth.y1 and first.y0 > last.y1 and [text.get_text() for text in ax.texts if text.get_text()].count("说明") == 1
    assert ax.patches[0].get_edgecolor() != ax.patches[1].get_edgecolor()
    assert [patch.get_linestyle() for patch in ax.patches] == ["-", "-", "-", "--", "-"]


def test_the_rotation_has_one_picture_per_angle_and_its_arrows_are_orthogonal():
    figure = rotation_figure({"甲": 0.4, "乙": 1.2})
    for ax, name, angle in zip(figure.axes, ("甲", "乙"), (0.4, 1.2), strict=True):
        tips = [note.xy for note in ax.texts if getattr(note, "arrow_patch", None)]
        assert tips == [(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))]
        assert ax.get_title().startswith(name) and f"{math.degrees(angle):.0f}" in ax.get_title()


def test_what_the_original_makes_after_loading_is_dashed_on_the_map():
    assert course_order()[-1] == "载入" and original_order()[2:] == ["载入", "噪声表", "logvar"]
    ax = init_map().axes[0]
    boxes = [box for box in ax.patches if box.get_linestyle() == "--"]
    dashed = {text.get_text() for text in ax.texts for box in boxes if box.get_extents().contains(*text.get_transform().transform(text.get_position()))}
    assert len(boxes) == 2 and dashed == {"噪声表", "logvar"} and len(ax.patches) == 5 * 3
    # 放反的那一条打了叉，只有原文件的那一行有
    assert sum(line.get_marker() == "x" for line in ax.lines) == 1
    # 灰框两个：上面圈住四样，下面圈住放晚了的两样
    frames = [line.get_xydata() for line in ax.lines if len(line.get_xydata()) == 5]
    assert len(frames) == 2 and all(frames[1][0, 0] < box.get_x() and box.get_x() + box.get_width() < frames[1][1, 0] for box in boxes)
    assert len({box.get_facecolor() for box in ax.patches}) == 3


def test_the_same_step_of_two_tables_is_two_amounts_of_noise():
    figure = same_step_figure({"甲": torch.linspace(1, 0, 10), "乙": torch.linspace(1, 0, 5)}, 4, torch.ones(1, 8, 8))
    left, clean, first, second = figure.axes
    assert (clean.images[0].get_array() == 1).all()
    marks = [line.get_ydata()[0] for line in left.lines if line.get_marker() == "o"]
    assert marks == pytest.approx([5 / 9, 0]) and "0.56" in first.get_xlabel() and "0.00" in second.get_xlabel()
    assert first.images[0].get_array().mean() > second.images[0].get_array().mean()


def test_each_kind_of_condition_has_its_own_picture():
    left, middle, right = conditions_figure(torch.zeros(1, 8, 8), torch.ones(1, 8, 8)).axes
    assert [len(ax.images) for ax in (left, middle, right)] == [1, 2, 1]
    assert [sum(text.get_text() == "词" for text in ax.texts) for ax in (left, middle, right)] == [0, 0, 3]


def test_the_arrows_go_against_the_noise_and_are_cut_at_the_longest():
    def outward(x, t):
        assert (t == 7).all()
        return 3 * x

    figure = fields_figure({"甲": (torch.zeros(1, 2), 7, 2.0, [outward, lambda x, t: -x])}, count=5)
    against, along = (part for part in figure.axes[0].collections if hasattr(part, "U"))
    places, moves = against.get_offsets(), np.stack([against.U, against.V], 1)
    lengths = np.linalg.norm(moves, axis=1)
    far = np.linalg.norm(places, axis=1) > 0.5
    assert far.sum() == 24 and np.allclose(lengths[far], 0.26)
    assert np.allclose(moves[far], -0.26 * places[far] / np.linalg.norm(places[far], axis=1, keepdims=True))
    assert np.allclose(np.stack([along.U, along.V], 1)[far] @ [1, 0] > 0, places[far][:, 0] > 0.01)


def test_the_watershed_is_drawn_where_two_models_are_compared():
    def still(x, t):
        return 0 * x

    views = {"一个": (torch.zeros(1, 2), 7, 2.0, [still]), "两个": (torch.zeros(1, 2), 7, 2.0, [still, still])}
    alone, both = fields_figure(views, lambda x, t: x[:, 0] - 0.5).axes
    (line,) = (part for part in both.collections if isinstance(part, ContourSet))
    assert not any(isinstance(part, ContourSet) for part in alone.collections)
    assert np.allclose(np.concatenate([path.vertices for path in line.get_paths()])[:, 0], 0.5)


def test_near_the_watershed_opposite_arrows_are_circled():
    views = {"两个": (torch.zeros(1, 2), 7, 2.0, [lambda x, t: x, lambda x, t: x * torch.tensor([1.0, -1.0])])}
    (ax,) = fields_figure(views, lambda x, t: x[:, 0], count=5, near=1.0).axes
    (circled,) = (part.get_offsets() for part in ax.collections[1:] if type(part) is PathCollection)
    arrows = [part.get_offsets() for part in ax.collections if hasattr(part, "U")]
    assert all(len(places) == 15 and abs(places[:, 0]).max() < 1 for places in arrows)
    # 竖的分量相反，比横的大，才算指反
    assert len(circled) == 8 and (abs(circled[:, 1]) > abs(circled[:, 0])).all()
    # 太短的不算
    (ax,) = fields_figure(views, lambda x, t: x[:, 0], count=5, near=1.0, least=1.0).axes
    (circled,) = (part.get_offsets() for part in ax.collections[1:] if type(part) is PathCollection)
    assert len(circled) == 6 and (abs(circled[:, 1]) > 1).all()


def test_losses_are_averaged_over_the_floor():
    (ax,) = losses_figure([0.4, 0.2, 0.25, 0.23], 0.22, every=2).axes
    assert np.allclose(ax.lines[0].get_xydata(), [[2, 0.3], [4, 0.24]]) and np.allclose(ax.lines[1].get_ydata(), 0.22)
    assert len(ax.lines) == 2 and ax.get_ylim() == (0.2, 0.45)
