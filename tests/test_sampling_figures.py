"""第 7 章的图：画的是给进去的数；欧拉法走的路"""
import numpy as np
import torch

from ddpm_edu.teach.laboratory import euler_roads
from ddpm_edu.teach.sampling_figures import steps_figure, straight_steps_figure, variance_bars_figure


def test_each_panel_shows_the_true_roads_and_its_own_steps_from_left_to_right():
    true, short = ([2.0, 1.0, 0.0], np.array([[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]])), ([2.0, 0.0], np.array([[1.0, -1.0], [4.0, -4.0]]))
    left, right = straight_steps_figure(true, {"甲": short, "乙": true}, [0.5, 0.5, 2.0]).axes
    assert [ax.get_title() for ax in (left, right)] == ["甲", "乙"] and left.get_xlim()[0] > left.get_xlim()[1]
    assert [line.get_ydata().tolist() for line in left.lines] == [[1, 2, 3], [-1, -2, -3], [1, 4], [-1, -4]]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["真的路", "一步一步走"]
    edge = left.patches[0].get_data()
    assert edge.values.min() == -0.2 and edge.baseline == -0.05 and np.isclose(edge.edges[[0, -1]], [0.5, 2]).all()


def test_the_bars_are_end_to_end_and_only_the_short_one_has_a_gap():
    ax = variance_bars_figure({"缺": (0.5, 0.1, 0.0), "满": (0.5, 0.2, 0.3)}).axes[0]
    bars = [(round(bar.get_x(), 9), round(bar.get_width(), 9)) for bar in ax.patches]
    assert bars == [(0, 0.5), (0, 0.5), (0.5, 0.1), (0.5, 0.2), (0.6, 0), (0.7, 0.3), (0.6, 0.4), (1, 0)]
    assert [bar.get_linewidth() for bar in ax.patches[-2:]] == [1, 0] and ax.yaxis_inverted()


def test_each_view_of_the_steps_has_its_curves_its_errors_and_its_floor():
    views = {"甲": ("距离", {"一": ((5, 10), (60.0, 30.0), (3.0, 1.0)), "二": ((5, 10), (70.0, 30.0), (1.0, 1.0))}, (11.0, 0.5)),
             "乙": ("FID", {"一": ((10, 1000), (13.0, 4.0), None)}, None)}
    left, right = steps_figure(views).axes
    assert [ax.get_title() for ax in (left, right)] == ["甲", "乙"] and [ax.get_ylabel() for ax in (left, right)] == ["距离", "FID"]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["一", "二"]
    first, second = left.containers
    assert first.lines[0].get_xydata().tolist() == [[5, 60], [10, 30]] and second.lines[0].get_xydata().tolist() == [[5, 70], [10, 30]]
    np.testing.assert_allclose(first.lines[2][0].get_segments()[0], [[5, 57], [5, 63]])
    low, high = left.patches[0].get_extents().transformed(left.transData.inverted()).intervaly
    assert abs(low - 10.5) < 1e-9 and abs(high - 11.5) < 1e-9 and not right.patches


def test_with_one_data_point_the_road_is_straight_and_one_step_is_enough():
    begin, stops = torch.tensor([[3.0], [-1.0]]), torch.tensor([2.0, 1.5, 0.5, 0.0])
    road = euler_roads(begin, torch.tensor([[1.0]]), stops)
    assert torch.allclose(road, 1 + (begin.T - 1) * stops[:, None] / 2, atol=1e-6)


def test_a_bent_road_needs_small_steps():
    data, begin = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.5]])
    few, many = (float(euler_roads(begin, data, torch.linspace(2, 0, count))[-1]) for count in (3, 200))
    assert few < 0.9 and abs(many - 1) < 1e-3
