"""符号表与术语表：测试用它们约束全部 notebook 的文字

term_table()、symbol_table() 把两张表显示在 90_symbols_and_terms.ipynb
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """chapter 是先讲它的那一章，那里第一次出现时要带英文；avoid 是不许用的别的译法"""

    chinese: str
    english: str
    chapter: int
    note: str
    avoid: tuple = ()


@dataclass(frozen=True)
class Symbol:
    """latex 是公式里的写法；code 是代码里的名字，没有就空着"""

    latex: str
    code: str
    note: str


TERMS = (
    Term("加噪过程", "forward process", 2, "一步步掺噪声，从图走到噪声", ("前向过程", "正向过程", "扩散过程")),
    Term("去噪过程", "reverse process", 4, "一步步去噪声，从噪声走回图", ("反向过程", "逆向过程", "逆过程")),
    Term("噪声表", "beta schedule", 2, "每一步的 β", ("噪声调度", "噪声计划", "噪音")),
    Term("信噪比", "signal-to-noise ratio", 2, "原图与噪声的系数的平方之比"),
    Term("缓冲区", "buffer", 9, "随模型换设备、存进检查点，但优化器不更新的张量", ("缓存区",)),
    Term("参数化", "parameterization", 5, "网络预测什么：eps、x0 或 v", ("参量化",)),
    Term("条件期望", "conditional expectation", 5, "已知带噪图时原图的平均，均方误差最小的猜测"),
    Term("KL 散度", "Kullback–Leibler divergence", 3, "两个分布差多远：对数密度之差，按前一个分布求平均"),
    Term("速度", "velocity", 5, "带噪图对角度的导数，记作 v"),
    Term("后验", "posterior", 4, "已知这一步的带噪图与原图，前一步的分布"),
    Term("祖先采样", "ancestral sampling", 4, "按去噪过程一步步抽样", ("祖传采样",)),
    Term("跳跃连接", "skip connection", 8, "把下行时存好的图拼到上行", ("跳过连接",)),
    Term("交叉注意力", "cross-attention", 8, "像素作查询，上下文作键和值", ("交叉关注",)),
    Term("无分类器引导", "classifier-free guidance", 7, "沿有条件与无条件之差外推", ("免分类器",)),
    Term("指数滑动平均", "exponential moving average", 11, "权重的平滑的影子", ("指数移动平均", "指数平滑平均")),
    Term("衰减", "decay", 11, "影子每一步保留几成；学习率的衰减指它逐步变小"),
    Term("权重衰减", "weight decay", 10, "每一步把权重往 0 拉一点"),
    Term("残差块", "residual block", 8, "输出等于输入加上一条支路"),
    Term("检查点", "checkpoint", 9, "存下的权重与训练状态"),
    Term("半衰期", "half-life", 11, "占比减到一半的步数"),
    Term("梯度累积", "gradient accumulation", 11, "几批数据才更新一次权重", ("梯度累加", "梯度积累")),
    Term("热身", "warm-up", 11, "训练开头用较小的学习率或衰减", ("预热",)),
    Term("调度器", "scheduler", 12, "只指学习率调度器", ("排程器",)),
    Term("重启", "restart", 12, "学习率降下来之后再升回去"),
    Term("变分下界", "variational lower bound", 6, "也叫 ELBO；对数似然的可算的下界，添上负号是负对数似然的上界", ("变分下限",)),
    Term("bits/dim", "bits per dimension", 6, "平均每一维要几个比特才能记下一张图，越小越好"),
    Term("DDIM", "denoising diffusion implicit models", 7, "途中可以不掺噪声的采样，步子可以更大"),
    Term("Fréchet 距离", "Fréchet distance", 13, "两批图的特征各当成一个高斯，两个高斯的距离，越小越好"),
    Term("欧拉法", "Euler method", 7, "沿着此刻的方向走一段直线，解微分方程最简单的办法"),
    Term("标准误", "standard error", 15, "平均数的标准差，样本标准差除以 √N", ("标准误差",)),
    Term("自编码器", "autoencoder", 17, "先压缩、再还原的一对网络", ("自动编码器",)),
    Term("潜变量", "latent", 17, "自编码器压缩之后的表示", ("隐变量", "潜在变量")),
    Term("概率流", "probability flow", 18, "不掺噪声、每一刻的分布却与随机的走法相同的常微分方程"),
    Term("预条件", "preconditioning", 18, "网络的输入、输出各乘一个随噪声大小变的系数，再加上一份输入", ("预处理系数",)),
    Term("零终端信噪比", "zero terminal SNR", 18, "噪声表走到头，信噪比恰好是 0"),
    Term("流匹配", "flow matching", 18, "让网络预测路上每一点的速度，路常取直线"),
    Term("钩子", "hook", 10, "Trainer 在某个时刻来调用的方法", ("挂钩", "勾子")),
)

SYMBOLS = (
    Symbol(r"T", "num_timesteps", "扩散链的步数"),
    Symbol(r"t", "t", "步号，0 到 T-1，等于论文的步号减 1"),
    Symbol(r"\beta_t", "betas", "第 t 步掺入的噪声的方差"),
    Symbol(r"\alpha_t", "", r"$1-\beta_t$"),
    Symbol(r"\bar\alpha_t", "alphas_cumprod", r"$\alpha_0\cdots\alpha_t$，原图的方差还剩几成"),
    Symbol(r"\bar\alpha_{t-1}", "alphas_cumprod_prev", r"平移一格，$\bar\alpha_{-1}=1$"),
    Symbol(r"\sqrt{\bar\alpha_t}", "sqrt_alphas_cumprod", "原图的系数"),
    Symbol(r"\sqrt{1-\bar\alpha_t}", "sqrt_one_minus_alphas_cumprod", "噪声的系数"),
    Symbol(r"\ln(1-\bar\alpha_t)", "log_one_minus_alphas_cumprod", r"$q(x_t\mid x_0)$ 的对数方差"),
    Symbol(r"1/\sqrt{\bar\alpha_t}", "sqrt_recip_alphas_cumprod", r"由 $\varepsilon$ 换回 $x_0$ 的系数"),
    Symbol(r"\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}", "sqrt_recipm1_alphas_cumprod", r"由 $\varepsilon$ 换回 $x_0$ 的系数"),
    Symbol(r"\mathrm{SNR}_t", "", r"信噪比 $\bar\alpha_t/(1-\bar\alpha_t)$"),
    Symbol(r"x_0", "x_start", "原图"),
    Symbol(r"x_t", "x_t", "第 t 步的带噪图"),
    Symbol(r"\varepsilon", "noise", "标准高斯噪声"),
    Symbol(r"v", "v", r"速度 $\sqrt{\bar\alpha_t}\varepsilon-\sqrt{1-\bar\alpha_t}x_0$；第 4、6 章里也指 `v_posterior`"),
    Symbol(r"y", "target", "网络的目标：ε、x₀ 或 v；推导里也作积分变量，U-Net 一章里也作坐标"),
    Symbol(r"\hat x_0", "x_recon", "由网络输出换算的原图"),
    Symbol(r"\tilde\beta_t", "", "后验的方差"),
    Symbol(r"\tilde\mu_t", "", "后验的均值"),
    Symbol(r"c_1", "posterior_mean_coef1", r"后验均值里 $x_0$ 的系数"),
    Symbol(r"c_2", "posterior_mean_coef2", r"后验均值里 $x_t$ 的系数"),
    Symbol(r"\sigma_t^2", "posterior_variance", r"采样方差 $(1-v)\tilde\beta_t+v\beta_t$"),
    Symbol(r"\ln\sigma_t^2", "posterior_log_variance_clipped", "采样方差的对数，第 0 步用截断过的值"),
    Symbol(r"w_t", "lvlb_weights", "变分下界里平方误差的权重"),
    Symbol(r"s_t", "logvar", "每个 t 的对数方差"),
    Symbol(r"q", "q_sample", "加噪过程的分布"),
    Symbol(r"p_\theta", "p_sample", "去噪过程的分布；单写的 $p$ 也作概率"),
    Symbol(r"\theta", "model", "网络的权重"),
    Symbol(r"\min(\mathrm{SNR}_t,\gamma)", "simple_weights", r"min-SNR 的权重，乘在 $x_0$ 的平方误差上；存的是换算到网络目标上的"),
    Symbol(r"F", "", "EDM 里网络的输出"),
    Symbol(r"r", "", r"直路上的 $x_u$ 的长度，$\sqrt{(1-u)^2+u^2}$"),
    Symbol(r"s", "model_ema", "权重的影子；高斯数据的例子里是数据的标准差；`cosine` 里是偏移"),
    Symbol(r"d", "ema_decay", "衰减；推导里也作维数"),
    Symbol(r"n", "num_updates", "更新的次数；学习率一章里是优化步，seed 的卡片里是批号"),
    Symbol(r"\eta", "learning_rate", "学习率；采样一章里是 DDIM 的随机性 `eta`"),
    Symbol(r"f", "scheduler_config", "学习率的乘数；`cosine` 里是 ᾱ 的形状"),
    Symbol(r"\varphi_t", "", r"转角，$\cos\varphi_t=\sqrt{\bar\alpha_t}$"),
    Symbol(r"L", "", r"变分下界与它的各项 $L_T, L_t, L_0$；调度器里是总长"),
    Symbol(r"m", "", "高斯数据的均值"),
    Symbol(r"D", "", r"$\bar\alpha_t s^2+1-\bar\alpha_t$，高斯数据加噪之后的方差"),
    Symbol(r"k", "", r"$\sqrt{\bar\alpha_t}\,s^2/D$；也作计数、间隔与字典的键"),
    Symbol(r"g", "", r"高斯数据上一步的增益 $c_1k+c_2$；seed 的卡片里是随机数发生器"),
    Symbol(r"V", "", "采样链的方差"),
    Symbol(r"\Sigma", "", "特征的协方差"),
    Symbol(r"\mu", "", "采样链的均值"),
    Symbol(r"B", "", "一批的样本数"),
    Symbol(r"C", "channels", "通道数"),
    Symbol(r"H", "image_size", "高"),
    Symbol(r"W", "image_size", "宽；调度器里是热身的步数"),
    Symbol(r"u", "", r"$t/T$；采样一章里是 $\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$；第 18 章里是直路上的时间"),
    Symbol(r"N", "", "样本数"),
    Symbol(r"w", "guidance_scale", "引导的强度"),
    Symbol(r"c", "cond", "条件"),
    Symbol(r"I", "", "单位矩阵"),
    Symbol(r"\omega_i", "", "时间嵌入的频率"),
    Symbol(r"e_i", "", "时间嵌入的分量"),
    Symbol(r"i", "", "下标；也指短链里相邻的、更早的那一步"),
    Symbol(r"\lambda", "weight_decay", r"权重衰减的强度；第 18 章里是信噪比的对数的一半"),
    Symbol(r"b_1, b_2", "adam_betas", "Adam 的动量系数；$b$ 也作一般的数"),
    Symbol(r"a", "", "一般的数"),
    Symbol(r"\ell", "loss_type", "逐元素的误差"),
    Symbol(r"z", "seed", "训练用的随机数"),
    Symbol(r"w_s, w_e", "l_simple_weight, original_elbo_weight", "总损失的两个权重"),
    Symbol(r"\delta", "", "一点误差"),
    Symbol(r"\mathcal L", "loss", "损失"),
    Symbol(r"x", "", "坐标；一般的变量"),
)
