"""第 10 章的图：记下的调用次序是真的，每段里的点数得清"""
import torch

from ddpm_edu import DDPM, DigitsDataModule
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach.training_figures import HOOKS, OURS, process_figure, spread_figure, step_calls, step_figure


def test_the_calls_of_one_training_step_are_recorded_in_order():
    data = DigitsDataModule(batch_size=16)
    calls = step_calls(DDPM, toy_model_config(), data)
    depths = {name: depth for depth, name in calls}
    names = [name for _, name in calls]
    assert sorted(names) == sorted([*HOOKS, *OURS, "AdamW.step"])
    order = [names.index(name) for name in ("optimizer_step", "AdamW.step", "training_step", "optimizer_zero_grad", "backward", "_tick_ema")]
    assert order == sorted(order) and depths["optimizer_step"] == 0 and depths["AdamW.step"] == 1
    # 算损失与更新 EMA 都在优化器的 step 里面
    assert depths["training_step"] == depths["_tick_ema"] == 2 and not any(depth < 2 for depth, _ in calls[order[1] + 1:])
    words = [text.get_text() for text in step_figure(DDPM, toy_model_config(), data).axes[0].texts]
    assert words.index("更新权重") < words.index("_tick_ema")


def test_each_way_of_drawing_t_has_its_row():
    ax = spread_figure({"甲": torch.tensor([1, 6]), "乙": torch.tensor([2, 3])}, 10).axes[0]
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 6], [2, 3]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["甲", "乙"]


def test_each_column_of_a_process_has_its_name_above_its_middle():
    axes = process_figure({"甲": (torch.zeros(1, 5, 9), ["a", "b"]), "乙": (torch.zeros(1, 5, 9), ["b", "c"])}).axes
    assert [[label.get_text() for label in ax.get_xticklabels()] for ax in axes] == [["a", "b"], ["b", "c"]]
    assert [ax.get_ylabel() for ax in axes] == ["甲", "乙"] and axes[0].get_xticks().tolist() == [1.75, 6.25]
