"""第 1 章的程序：短，完整，而且真的是一个扩散模型"""
import torch

from ddpm_edu.teach import books
from ddpm_edu.teach.diagrams import chain_figure
from ddpm_edu.teach.points import points_figure

PROGRAM = ("T = 1000", "class Denoiser", "torch.manual_seed(0)\nnetwork", "@torch.no_grad()\ndef denoise")


def program():
    cells = [cell.text for cell in books.read_cells(books.book(1)) if cell.code]
    return [next(text for text in cells if text.startswith(start)) for start in PROGRAM]


def test_the_whole_program_fits_on_a_page():
    assert sum(bool(line.strip()) for text in program() for line in text.splitlines()) <= 60


def test_points_arrows_and_paths_are_drawn_where_they_are():
    cloud, walk = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[[0.0, 0.0]], [[1.0, 2.0]]])
    plain, busy = points_figure({"甲": cloud, "乙": cloud}, [0, 1], arrows={"乙": (cloud, cloud)}, paths={"乙": walk}).axes
    assert plain.get_title() == "甲" and plain.collections[0].get_offsets().tolist() == cloud.tolist()
    assert len({tuple(color) for color in plain.collections[0].get_facecolors()}) == 2
    assert busy.lines[0].get_xydata().tolist() == [[0, 0], [1, 2]] and busy.collections[1].N == 2


def test_the_chain_points_both_ways_between_every_pair():
    ax = chain_figure(torch.zeros(4, 1, 5, 5), ["甲", "乙", "丙", "丁"]).axes[0]
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["甲", "乙", "丙", "丁", "加噪：公式现成　→", "←　去噪：网络来学"]
    moves = [(note.xyann[0], note.xy[0]) for note in ax.texts if note.get_text() == ""]
    assert sum(a < b for a, b in moves) == sum(a > b for a, b in moves) == 3 and len(ax.images) == 4
