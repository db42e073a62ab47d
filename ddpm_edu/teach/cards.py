"""DDPM 构造参数的卡片：含义、公式、在哪里用到、会出什么错。“在哪里用到”每次显示都对着源码核实"""
import inspect
from dataclasses import dataclass

from ..checks import check_choice
from .books import chapter_number
from .explained import section_link
from .source import find_line, resolve, source_lines


@dataclass(frozen=True)
class Card:
    """used 是 (包内的对象, 其源码里恰好一行含有的文字)"""

    chapter: int
    meaning: str
    formula: str
    used: tuple
    wrong: str


SCHEDULE = "schedules.make_beta_schedule"
WORD_JOINER = "\u2060"
INIT = "ddpm.DDPM.__init__"
LOSSES = "ddpm.DDPM.p_losses"

CARDS = {
    "unet_config": Card(
        93, "去噪网络的配方：`target` 是类的全名，`params` 是它的参数。网络的输出记作 $\\hat y_\\theta$。",
        r"$\hat y_\theta(x_t, t)$", (("conditioning.DiffusionWrapper.__init__", "self.diffusion_model = instantiate_from_config("),),
        "类名写错、参数名写错、通道数与 `channels` 不合，都在构造时报错；参考实现（Stable Diffusion 2）会改动你传入的字典。"),
    "timesteps": Card(
        93, "扩散链的步数 $T$。代码里 $t$ 从 0 数到 $T-1$。", r"$t = 0, 1, \dots, T-1$",
        ((SCHEDULE, "T = check_int(\"timesteps\", n_timestep, 1)"),),
        "$\\beta$ 不随 $T$ 缩放：$T$ 太短时 $\\sqrt{\\bar\\alpha_{T-1}}$ 还很大，采样的起点就错了。构造时会提醒。"),
    "beta_schedule": Card(
        93, "噪声表的形状：`linear`（对 $\\sqrt\\beta$ 线性）、`sqrt_linear`（论文的线性）、`sqrt`、`cosine`。",
        r"$\beta_0, \dots, \beta_{T-1}$", ((SCHEDULE, "check_choice(\"beta_schedule\", schedule, SCHEDULES)"),),
        "名字骗人：这里的 `linear` 不是论文的 linear。训练与采样必须用同一张表。"),
    "loss_type": Card(
        93, "逐元素的误差怎样算：`l2` 是平方，`l1` 是绝对值。", r"$\ell(y, \hat y) = (y-\hat y)^2$ 或 $\lvert y-\hat y\rvert$",
        (("ddpm.DDPM.get_loss", "loss = F.l1_loss if self.loss_type"),),
        "变分下界讲的是平方误差；参考实现用 `l1` 时，把 VLB 权重也乘到了绝对值上。"),
    "ckpt_path": Card(
        93, "从这份检查点取权重，作为训练的起点。要接着训练，应当用 `Trainer.fit(ckpt_path=...)`。",
        r"$\theta \leftarrow \theta_{\text{file}}$", ((INIT, "self.init_from_ckpt(ckpt_path, ignore_keys"),),
        "文件损坏、是网址、噪声表不同，都会报错；参考实现在噪声表建好之前就载入，$T=100$ 的文件装进 $T=50$ 的模型也不报错。"),
    "ignore_keys": Card(
        93, "键前缀的列表，以它们开头的权重不取。", r"$\theta_i \leftarrow \theta_{i,\text{file}},\ i \notin$ ignore",
        (("files.persistence.Persistence.init_from_ckpt", "states = matching_states(self, states, path, ignore_keys"),),
        "前缀谁也对不上时报错，免得你以为跳过了；参考实现遇到两个重叠的前缀就 KeyError。"),
    "load_only_unet": Card(
        93, "只取 `model.` 开头的键，也就是 U-Net。", r"$\theta_{\text{unet}} \leftarrow \theta_{\text{file}}$",
        ((INIT, "only_model=load_only_unet"),),
        "参考实现的键前缀对不上，又是 `strict=False`，结果什么也没有载入，只印出缺了哪些键。"),
    "monitor": Card(
        10, "挑选“最好的检查点”时看哪个指标。", r"$k^* = \arg\min_k \mathcal L_{\text{val}}^{(k)}$",
        (("ddpm.DDPM.configure_callbacks", "with_monitor(self.trainer, self.monitor)"),),
        "默认值 `val/loss` 沿用参考实现。采样用的是 EMA 权重，开着 EMA 时请自己改成 `val/loss_ema`；没有验证集时它不起作用。"),
    "use_ema": Card(
        11, "是否给权重留一份指数滑动平均。", r"$s \leftarrow s + (1-d)(\theta - s)$", ((INIT, "self.model_ema = LitEma("),),
        "关掉之后没有影子，`ema_scope` 里用的也是原来的权重；`monitor` 也不能再用带 `_ema` 的指标。"),
    "first_stage_key": Card(
        93, "图像在 batch 字典里的键。名字来自 latent-diffusion：那里的图像先经过“第一阶段”的自编码器。",
        r"$x_0 = \mathrm{batch}[k]$", (("ddpm.DDPM.shared_step", "self.get_input(batch, self.first_stage_key)"),),
        "键不对时，错误会列出 batch 里有哪些键。"),
    "image_size": Card(
        93, "图像的边长（像素）：一个整数，或 (高, 宽)。训练时用来核对 batch，采样时决定样本的大小。", r"$x_0 \in \mathbb R^{C\times H\times W}$",
        (("sampling.Sampling.sample", "shape = (batch_size, self.channels"), ("ddpm.DDPM.get_input", "self.image_size")),
        "参考实现只在 `sample()` 里用它：用 28×28 训练，默认却采 256×256，也不提醒。"),
    "channels": Card(
        93, "图像的通道数：灰度 1，彩色 3。", r"$x_0 \in \mathbb R^{C\times H\times W}$",
        (("sampling.Sampling.sample", "shape = (batch_size, self.channels"), ("ddpm.DDPM.apply_model", "if model_out.shape != (x.shape[0], self.channels")),
        "与 U-Net 的 `in_channels`、`out_channels` 不合时，构造就报错。"),
    "log_every_t": Card(
        93, "采样途中每隔多少扩散步留一张中间结果，起点 $x_T$ 与走完的第一步总要留。", r"$t \in \{T-1\} \cup \{0, k, 2k, \dots\}$",
        (("sampling.Sampling.p_sample_loop", "keep_every = max(1, self.log_every_t"),),
        "参考实现里 0 会引起除以零；这里在构造时就拒绝。"),
    "clip_denoised": Card(
        93, "采样时把 $\\hat x_0$ 截到 $[-1,1]$。", r"$\hat x_0 \leftarrow \min(\max(\hat x_0, -1), 1)$",
        (("sampling.Sampling.p_sample_loop", "clip_denoised=self.clip_denoised"),),
        "数据不在 $[-1,1]$ 时（例如自编码器的潜变量）必须关掉；参考实现还会就地改掉网络的输出。"),
    "linear_start": Card(
        93, "噪声表的起点；`linear` 与 `sqrt_linear` 的 $\\beta_0$ 就是它，`sqrt` 的 $\\beta_0$ 是它的平方根。", r"$\beta_0$",
        ((SCHEDULE, "math.sqrt(linear_start)"),),
        "太大，第一步就毁掉细节；`cosine` 不用它。"),
    "linear_end": Card(
        93, "噪声表的终点；`linear` 与 `sqrt_linear` 的 $\\beta_{T-1}$ 就是它，`sqrt` 的是它的平方根。", r"$\beta_{T-1}$",
        ((SCHEDULE, "check_float(\"linear_end\""),),
        "太小，走到头还留着原图；须小于 1。`cosine` 不用它。"),
    "cosine_s": Card(
        93, "`cosine` 噪声表的偏移，使最初几步的 $\\beta$ 不至于太小。",
        r"$f(u) = \cos^2\!\left(\frac{u+s}{1+s}\cdot\frac{\pi}{2}\right)$", ((SCHEDULE, "f = np.cos((u + cosine_s"),),
        "取 0，$\\beta_0$ 只有约 $2.5\\times10^{-6}$（$T=1000$），噪声小得网络难以猜准；调大，开头的 $\\beta$ 也跟着变大，低噪声的步就少。其他噪声表不用它。"),
    "given_betas": Card(
        93, "直接给出整张噪声表，代替 `beta_schedule`。", r"$(\beta_0, \dots, \beta_{T-1})$",
        (("gaussian.GaussianDiffusion.register_schedule", "betas = check_betas(given_betas"),),
        "参考实现只认 NumPy 数组，YAML 给出的列表会 TypeError，并且悄悄忽略 `timesteps`。"),
    "original_elbo_weight": Card(
        6, "按 VLB 权重加权的均方误差，在总损失里的系数。",
        r"$\mathcal L = w_s\mathcal L_{\text{simple}} + w_e\,\mathbb E_t[w_t\,\overline{(y-\hat y)^2}]$",
        ((LOSSES, "self.original_elbo_weight * loss_vlb"),),
        "它加上去的不是完整的 ELBO，只是依赖网络的那部分；它对 $t$ 求平均，论文的下界求和，差 $T$ 倍。"),
    "v_posterior": Card(
        4, "采样方差在两个极端之间的位置，混合的是方差。", r"$\sigma_t^2 = (1-v)\,\tilde\beta_t + v\,\beta_t$",
        (("gaussian.diffusion_tables", "\"posterior_variance\": (1 - v_posterior) * beta_tilde"),),
        "须在 $[0,1]$ 内；参考实现不检查，$-1$ 会给出负的方差。"),
    "l_simple_weight": Card(
        6, "简化损失在总损失里的系数。", r"$w_s$", ((LOSSES, "self.l_simple_weight * weighted"),),
        "与 `original_elbo_weight` 不能同时为 0，否则损失恒为 0。"),
    "conditioning_key": Card(
        93, "条件怎样进网络：拼通道（concat）、交叉注意力（crossattn）、类别嵌入（adm），或它们的组合。",
        r"$\hat y_\theta(x_t, t, c)$", (("conditioning.DiffusionWrapper.forward", "wanted, extra = CONDITIONS[self.conditioning_key]"),),
        "参考实现的基类 `DDPM` 收下了这个参数，却从不把条件传下去，第一次前向就出错；传条件的是它的子类 `LatentDiffusion`。"),
    "parameterization": Card(
        5, "网络预测什么：噪声 `eps`、原图 `x0` 或速度 `v`。", r"$y \in \{\varepsilon,\ x_0,\ v\}$",
        (("gaussian.GaussianDiffusion.__init__", "self.objective = make_objective(parameterization)"),),
        "参考实现的 `v` 能训练，用 `p_sample` 采样就出错：变量没有赋值；Stable Diffusion 2 用的是另外的 `DDIMSampler`。"),
    "scheduler_config": Card(
        12, "学习率调度器的配方，写法同 `unet_config`。", r"$\eta_n = \eta\cdot f(n)$",
        (("ddpm.DDPM.configure_optimizers", "make_scheduler(self.scheduler_config, optimizer)"),),
        "参考实现的基类存下它却从不使用。`lr_*`、`f_*` 是乘数，不是学习率本身；`warm_up_steps` 与周期的长度是步数。"),
    "use_positional_encodings": Card(
        93, "给网络的输入另拼两个坐标通道。", r"$[x_t;\ x;\ y] \in \mathbb R^{(C+2)\times H\times W}$",
        (("ddpm.DDPM.apply_model", "x = torch.cat([x, coordinate_channels(x)]"),),
        "U-Net 的 `in_channels` 要等于 `channels + 2`；参考实现的基类里这个开关什么也不做。"),
    "learn_logvar": Card(
        93, "让每个 $t$ 的对数方差 $s_t$ 也参加训练。", r"$\mathcal L_t = \mathrm{mse}_t\,e^{-s_t} + s_t$",
        ((INIT, "self.logvar = nn.Parameter(logvar)"),),
        "参考实现的基类 `DDPM` 把它交给优化器，却没有放进损失，梯度永远是 None（`LatentDiffusion` 里才用）。"),
    "logvar_init": Card(
        93, "$s_t$ 的初值，对所有 $t$ 相同。", r"$s_t = s$", ((INIT, "torch.full((self.num_timesteps,)"),),
        "不为 0 时，损失的数值会变，不要与别人的曲线直接比。"),
    "learning_rate": Card(
        10, "AdamW 的基础学习率。", r"$\eta$", (("optim.make_optimizer", "lr=model.learning_rate"),),
        "太大，损失来回跳，甚至变成 NaN；太小，走完同样的步数，损失还很高。"),
    "adam_betas": Card(
        10, "AdamW 的一阶、二阶矩的衰减系数。与噪声表的 $\\beta$ 无关，只是同名。", r"$(b_1, b_2)$",
        (("optim.make_optimizer", "betas=model.adam_betas"),), "都须在 $[0,1)$ 内。"),
    "weight_decay": Card(
        10, "权重衰减，只作用于矩阵和卷积核。", r"$\theta \leftarrow \theta - \eta\lambda\theta$",
        (("optim.make_optimizer", "\"weight_decay\": model.weight_decay"),),
        "也给一维的参数，归一化的缩放与 logvar 就被拉向 0。"),
    "ema_decay": Card(
        11, "EMA 的衰减上限。", r"$d_n = \min\!\left(d,\ \frac{1+n}{10+n}\right)$", ((INIT, "LitEma(self.model, ema_decay)"),),
        "默认的 0.9999 要 89 990 步才完全起作用，短训练里真正管用的是热身公式。"),
    "seed": Card(
        10, "训练、验证、看图用的随机数种子：$t$、噪声和 dropout 的随机数 $z$，由它、用途、批号 $n$ 与进程的编号决定。",
        r"$z \leftarrow (\text{seed}, \text{train}, n, \text{rank})$",
        (("ddpm.DDPM.training_step", "isolated_rng(self.seed, \"train\""),),
        "它不管网络的初值；初值由构造之前的 `torch.manual_seed` 决定。"),
    "t_sampling": Card(
        10, "一批里的 $t$ 怎样抽：`uniform` 各抽各的，`stratified` 是分层抽样，每段各抽一个。", r"$t \sim \mathcal U\{0,\dots,T-1\}$",
        (("ddpm.DDPM.draw_t", "if self.t_sampling == \"stratified\":"),),
        "两种抽法的期望相同，分层抽样的方差更小；比较两条损失曲线的抖动时，抽法要相同。"),
    "cond_key": Card(
        93, "条件在 batch 字典里的键。", r"$c = \mathrm{batch}[k]$", ((INIT, "condition_keys(conditioning_key, cond_key)"),),
        "有几种条件时要给字典，写明哪一种在哪个键。"),
    "cond_drop_prob": Card(
        93, "训练时以这个概率把条件换成“无条件”，采样时才能做无分类器引导。", r"$c \leftarrow \varnothing$，概率 $p$",
        (("ddpm.DDPM.shared_step", "drop_condition(cond, self.cond_drop_prob"),),
        "为 0 时，网络没见过“无条件”，引导会得到乱图；没有条件时不能设它。"),
    "rescale_betas_zero_snr": Card(
        18, "把噪声表改到走到头 $\\bar\\alpha_{T-1}=0$，终点就是纯噪声。", r"$\sqrt{\bar\alpha_t} \leftarrow a\,(\sqrt{\bar\alpha_t}-\sqrt{\bar\alpha_{T-1}})$",
        (("gaussian.GaussianDiffusion.register_schedule", "betas = rescale_zero_terminal_snr("),),
        "预测 `eps` 时拒绝：终点的 $x_T$ 里没有原图，由 $\\varepsilon$ 换不回 $x_0$。与 `snr_gamma` 也不能同时用。"),
    "snr_gamma": Card(
        18, "min-SNR 权重的 $\\gamma$：$x_0$ 的平方误差乘上信噪比，但至多乘 $\\gamma$；不给就不加权。", r"$\min(\mathrm{SNR}_t, \gamma)$",
        (("objectives.simple_weights", "return np.minimum("), (LOSSES, "weighted = (self.simple_weights[t]")),
        "损失的数值变了，不能与不加权的曲线比；不是人人都得益，见这一章量到的数。"),
}


class CardView:
    """一张卡片；默认值取自真实的签名"""

    def __init__(self, name):
        check_choice("name", name, tuple(CARDS))
        self.name, self.card = name, CARDS[name]

    def places(self):
        """[(对象名, 那一行的下标, 那一行代码)]；源码里找不到时 ValueError"""
        found = []
        for path, anchor in self.card.used:
            lines = source_lines(resolve(path))
            line = find_line(lines, anchor, path)
            found.append((path, line, lines[line].strip()))
        return found

    def markdown(self):
        # 一句代码分几行写的，只引第一行，用省略号说明没有完
        quoted = [(path, line, code + (" …" if code.endswith((",", "(")) else "")) for path, line, code in self.places()]
        places = "；".join(f"{section_link(path, f'`{path}`', line)} 里的 `{code}`" for path, line, code in quoted)
        rows = [("默认值", default_of(self.name)), ("含义", self.card.meaning), ("公式", self.card.formula), ("在哪里用到", places),
                ("会出什么错", self.card.wrong)]
        # 标签的字之间放上不可断行的记号，窄的时候也不折成两行
        table = "\n".join(f"| {WORD_JOINER.join(key)} | {value} |" for key, value in rows)
        return f"| 参数 | **`{self.name}`** |\n|:--|:--|\n{table}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/markdown": self.markdown(), "text/plain": f"参数 {self.name}：{self.card.meaning}"}


def default_of(name):
    """真实签名里的默认值"""
    from ..ddpm import DDPM

    default = inspect.signature(DDPM.__init__).parameters[name].default
    return "必填" if default is inspect.Parameter.empty else f"`{default!r}`"


def card(name):
    """显示一个构造参数的卡片；写在演示代码的第一行"""
    from IPython.display import display

    display(CardView(name))


class CardIndex:
    """全部构造参数：默认值与讲解它的那一章"""

    def _repr_mimebundle_(self, include=None, exclude=None):
        rows = [f"| `{name}` | {default_of(name)} | {chapter_number(c.chapter)} |" for name, c in CARDS.items()]
        table = "\n".join(["| 参数 | 默认值 | 讲解 |", "|:--|:--|:--|", *rows])
        return {"text/markdown": f"<details><summary>{len(CARDS)} 个构造参数的默认值与讲解的章</summary>\n\n{table}\n\n</details>",
                "text/plain": f"{len(CARDS)} 个参数"}


def card_index():
    """显示参数的索引"""
    return CardIndex()
