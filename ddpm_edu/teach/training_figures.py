"""第 10 章的图：训练的一步，谁在谁里面；一批 t 怎样铺；log_images 的两个过程"""
import torch

from .diagrams import nested_figure
from .figures import INK, empty_figure, plain_axes
from .training import quiet_trainer

HOOKS = {"setup": "整个训练一次", "configure_optimizers": "整个训练一次：造优化器", "optimizer_step": "每步一次",
         "training_step": "算损失", "optimizer_zero_grad": "梯度清零", "backward": "求梯度", "on_before_optimizer_step": "回调在这里检查 NaN"}
OURS = {"shared_step": "训练与验证共用", "get_input": "从字典里取图", "forward": "返回损失，不是图像", "draw_t": "抽一批 t",
        "p_losses": "加噪、预测、比较", "apply_model": "网络的前向", "_tick_ema": "更新 EMA"}


def step_calls(model_class, config, data):
    """训练一步，记下优化器的 step 与 HOOKS、OURS 里的方法 → [(深度, 名字), ...]，按开始的先后"""
    calls, running = [], []

    def recorded(name, method):
        def wrapper(*args, **kwargs):
            calls.append((len(running), name))
            running.append(name)
            result = method(*args, **kwargs)
            running.pop()
            return result

        return wrapper

    def on_train_start(self):
        model_class.on_train_start(self)
        optimizer = self.trainer.optimizers[0]
        optimizer.step = recorded(f"{type(optimizer).__name__}.step", optimizer.step)

    torch.manual_seed(0)
    methods = {name: recorded(name, getattr(model_class, name)) for name in (*HOOKS, *OURS)}
    model = type("Recorded", (model_class,), {**methods, "on_train_start": on_train_start})(**config)
    quiet_trainer(max_steps=1).fit(model, data)
    return calls


def step_figure(model_class, config, data):
    """训练的一步套成的框；更新权重不是一个方法，记不下来，补画在 EMA 之前"""
    calls = step_calls(model_class, config, data)
    update = [name for _, name in calls].index("_tick_ema")
    calls.insert(update, (calls[update][0], "更新权重"))
    return nested_figure(calls, {**HOOKS, **OURS, "AdamW.step": "PyTorch 的优化器"}, HOOKS, added=("更新权重",), width=7.6)


def spread_figure(drawn, timesteps):
    """每一种抽法一排：drawn = {名字: 一批 t}，浅灰的线把步号等分成一批那么多段"""
    figure = empty_figure(9.0, 1.6)
    ax = plain_axes(figure.subplots())
    ax.grid(False)
    size = len(next(iter(drawn.values())))
    ax.vlines(torch.arange(size + 1) * timesteps / size, -0.6, len(drawn) - 0.4, color="#cccccc", linewidth=0.8)
    for row, batch in enumerate(drawn.values()):
        ax.plot(batch, [row] * size, "|", color=INK, markersize=20, markeredgewidth=2)
    ax.set(xlabel="步号 $t$", yticks=range(len(drawn)), yticklabels=list(drawn), ylim=(-0.6, len(drawn) - 0.4), xlim=(-2, timesteps + 2))
    return figure


def process_figure(rows, width=9.0):
    """每个过程一块：rows = {名字: (log_images 排好的一张 (1, H, W)，[-1, 1], 各列的名字)}"""
    high, wide = next(iter(rows.values()))[0].shape[1:]
    figure = empty_figure(width, len(rows) * (0.97 * width * high / wide + 0.3))
    for ax, (name, (grid, columns)) in zip(figure.subplots(len(rows), 1), rows.items()):
        ax.imshow(grid[0].numpy(), cmap="gray", vmin=-1, vmax=1)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=9)
        ax.set_xticks([(i + 0.5) * wide / len(columns) - 0.5 for i in range(len(columns))], labels=columns)
        ax.set(ylabel=name, yticks=[])
    return figure
