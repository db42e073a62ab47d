"""画图的纯函数：张量进，Figure 出。图里只有数学符号，中文说明写在图的旁边，哪台机器上都不会变成方框"""
import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..images import make_grid

# 色盲可辨、灰度下深浅也不同（Okabe & Ito）
INK, BLUE, ORANGE, GRAY = "#222222", "#0072B2", "#D55E00", "#999999"


def new_figure(columns=1, width=7.0, height=3.0, ratios=None):
    """不经过 pyplot 的图：不占全局状态，也不会自己弹出来"""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, width_ratios=ratios)
    for ax in axes.flat if columns > 1 else [axes]:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#dddddd", linewidth=0.5)
    return figure, axes


def to_png(figure):
    """Figure → PNG 的字节"""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def show_grid(ax, images, nrow=8, title=""):
    """在 ax 上画一格图像：(N, C, H, W)，[-1, 1]"""
    grid = (make_grid(images, nrow) + 1) / 2
    gray = grid.shape[0] == 1
    ax.imshow(grid[0] if gray else grid.permute(1, 2, 0), cmap="gray" if gray else None, vmin=0, vmax=1)
    ax.set_axis_off()
    ax.set_title(title, fontsize=10)


def grid_figure(images, nrow=8, width=7.0, title=""):
    """一格图像"""
    rows = -(-len(images) // nrow)
    figure, ax = new_figure(width=width, height=width * rows / min(nrow, len(images)) + (0.25 if title else 0))
    show_grid(ax, images, nrow, title)
    return figure


def curve_figure(x, curves, xlabel, ylabel):
    """几条曲线，名字直接标在线旁：curves = {名字: 数列}"""
    figure, ax = new_figure()
    styles = [(BLUE, "-"), (ORANGE, "--"), (INK, ":"), (GRAY, "-.")]
    for (name, y), (color, style) in zip(curves.items(), styles):
        ax.plot(x, y, color=color, linestyle=style, label=name)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.legend(frameon=False, fontsize=9)
    return figure


def posterior_figure(beta_tilde, beta, v, images):
    """左：σ²_t 落在 β̃_t 与 β_t 之间的哪里；右：这个 v 采出来的样本

    beta_tilde, beta : (S,)；第 0 步的 β̃ 为 0，不画
    """
    figure, (left, right) = new_figure(2, width=7.6, height=3.4, ratios=(1.1, 1))
    steps = range(1, len(beta))
    sigma2 = (1 - v) * beta_tilde + v * beta
    left.plot(steps, beta[1:], color=GRAY, linestyle="--", label=r"$\beta_t$")
    left.plot(steps, beta_tilde[1:], color=GRAY, linestyle=":", label=r"$\tilde\beta_t$")
    left.plot(steps, sigma2[1:], color=ORANGE, linewidth=2, label=r"$\sigma_t^2$")
    left.set_yscale("log")
    left.set_xlabel("$t$ (short chain)")
    left.set_title(f"v_posterior = {v:.2f}", fontsize=10)
    left.legend(frameon=False, fontsize=9, loc="lower right")
    show_grid(right, images, nrow=6)
    return figure


def show_figures_in_notebook():
    """让 notebook 直接显示 Figure，不必经过 pyplot；不在 IPython 里时什么也不做"""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.display_formatter.formatters["image/png"].for_type(Figure, to_png)
