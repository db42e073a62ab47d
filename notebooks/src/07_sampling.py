# %% [markdown]
# # 07 · 采样
#
# **学习目标**
#
# - 读懂统一入口 `sample` 与 DDIM 的三个数，推出 DDIM 的公式，知道它为什么不用重新训练。
# - 说清每个旋钮管什么：采样器、步数、`eta`、`guidance_scale`、起点。
# - 用有条件的模型生成：按类别并加引导、超分辨率、按“提示”画；用同一个模型补全残缺的图。
#
# **预计用时** 60 分钟。运行全部单元一到三分钟。

# %%
import torch
from sklearn.datasets import make_moons

from ddpm_edu import DDPM, DigitsDataModule, load_pretrained
from ddpm_edu.conditioning import null_condition
from ddpm_edu.editing import inpaint
from ddpm_edu.generate import generate
from ddpm_edu.evaluation.classifier import load_classifier
from ddpm_edu.evaluation.metrics import recognised
from ddpm_edu.pretrained import pretrained_card
from ddpm_edu.configs.recipes import conditional_digits_config
from ddpm_edu.sampling import SAMPLERS, Sampler, Sampling, ancestral_step, check_knobs, ddim_step, spaced_timesteps
from ddpm_edu.teach import check, check_order, check_raises, grid_figure, show_source
from ddpm_edu.teach.datasets import handwriting
from ddpm_edu.teach.laboratory import ddim_chain_variance, ideal_start
from ddpm_edu.teach.panels import eta_panel, guidance_panel, interpolation_panel
from ddpm_edu.teach.panels.sampler import eta_grids, guidance_grids, interpolation_frames, rotate
from ddpm_edu.teach.points import points_figure
from ddpm_edu.teach.training import quiet_trainer

# %%
model = load_pretrained("mnist")
digits, nobody = torch.arange(10), torch.full((10,), -1)  # 点名要 0 到 9；-1 是不点名
betas = model.exact_table("betas").numpy()
print("准备好了")

# %% [markdown]
# ## 1　统一的入口：`sample`
#
# 第 4 章读过 `p_sample_loop`：每一步都是 $x_s = a\,\hat x_0 + b\,x_t + \sigma z$，采样器只给出三个数。`sample` 定好形状就交给它。

# %%
show_source(Sampling.sample,
            "def sample", "check_int(\"batch_size\"")

# %% [markdown]
# - ① 星号之前是参考实现的两个参数，之后的只能按名字给。
# - ② 形状由构造时的 `channels` 与 `image_size` 定，其余原样交给第 4 章的循环。
#
# 换采样器，就是换一个算三个数的函数。它们登记在一张表里：

# %%
show_source(Sampler,
            "class Sampler")

# %% [markdown]
# - ① 算三个数的函数、管随机性的旋钮叫什么、没有说走几步时至多走几步。

# %%
for name, (step, knob, steps) in SAMPLERS.items():
    print(f"{name:10}{step.__name__:16}旋钮 {knob:12}默认走 {steps or 'T'} 步")

# %%
show_source(check_knobs,
            "def check_knobs", "own = SAMPLERS", "# eta=0 是 sample 的默认值", "return knobs.get")

# %% [markdown]
# - ① 采样器的名字与引导的强度，在碰网络之前查完。
# - ② 这个采样器自己的旋钮叫什么。
# - ③ 没有给的不看；给了的，先查范围。给了不起作用的旋钮也是错误：`eta` 只对 DDIM (denoising diffusion implicit models) 有意义，`v_posterior` 只对祖先采样有意义。悄悄忽略会让人误以为它起了作用。
# - ④ 交出自己的那一个。

# %%
check_raises("祖先采样没有 eta", lambda: model.sample(1, eta=0.5), "eta")
check_raises("DDIM 没有 v_posterior", lambda: model.sample(1, sampler="ddim", v_posterior=0.5), "v_posterior")
check_raises("无条件的模型没有引导", lambda: load_pretrained("digits").sample(1, guidance_scale=2.0), "guidance_scale")

# %%
show_source(Sampling.starting_noise,
            "def starting_noise", "if x_T is None:", "check_sample(\"x_T\"")

# %% [markdown]
# - ① 形状须是四个正整数，通道数与模型相同。
# - ② 没有给起点就抽 $\mathcal N(0, I)$。给了 `generator` 就从它抽，同一个种子在 CPU 与 GPU 上给出同样的起点。
# - ③ 给了起点就核对形状、搬到模型所在的设备。同一个起点配上确定的采样，得到同一张图。

# %% [markdown]
# ## 2　DDIM：换一种走法，不换网络
#
# 祖先采样的一步来自后验，后验来自“一步步加噪”的过程。但训练用的简化损失（第 6 章）里只出现过 $q(x_t\mid x_0)$：给定 $x_0$，每个 $x_t$ 单独的分布。
# 相邻的 $x_t$ 之间怎样相关，训练从来没有用到。所以可以另造一个过程，只要每个 $q(x_t\mid x_0)$ 不变，训练好的网络就照样能用。
#
# 记下一个要到的步为 $i<t$（就是第 1 节的 $x_s$ 的下标；这里写 $i$，因为后面 $s$ 要作标准差）。DDIM 规定
#
# $$x_i = \sqrt{\bar\alpha_i}\,x_0 + \sqrt{1-\bar\alpha_i-\sigma^2}\;\frac{x_t-\sqrt{\bar\alpha_t}\,x_0}{\sqrt{1-\bar\alpha_t}} + \sigma z,\qquad z\sim\mathcal N(0, I).$$
#
# 它保住了边缘分布吗？设 $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\varepsilon$，那么中间那个分式恰好就是 $\varepsilon$。于是 $x_i$ 是 $\sqrt{\bar\alpha_i}\,x_0$ 加上两份独立的高斯，方差之和为 $(1-\bar\alpha_i-\sigma^2)+\sigma^2 = 1-\bar\alpha_i$。
# 这正是 $q(x_i\mid x_0)$，而且对任何 $0\le\sigma^2\le1-\bar\alpha_i$ 都成立。
#
# 采样时不知道 $x_0$，换成猜测 $\hat x_0$。右边只有 $\hat x_0$、$x_t$、$z$ 三样，把 $x_t$ 的系数收在一起，就是三个数：
#
# $$b = \sqrt{\frac{1-\bar\alpha_i-\sigma^2}{1-\bar\alpha_t}},\qquad a = \sqrt{\bar\alpha_i} - b\sqrt{\bar\alpha_t}.$$

# %%
show_source(ddim_step,
            "def ddim_step", "sigma = eta", "b = (max(")

# %% [markdown]
# - ① `cumprod_t`、`cumprod_s` 是 $\bar\alpha_t$ 与 $\bar\alpha_i$。
# - ② $\sigma = \eta\,\sqrt{\dfrac{1-\bar\alpha_i}{1-\bar\alpha_t}}\,\sqrt{1-\dfrac{\bar\alpha_t}{\bar\alpha_i}}$，$\eta$ 就是旋钮 `eta`。$\eta=0$ 时不掺噪声；$\eta=1$ 时是什么，第 3 节讲。
# - ③ 上面的 $b$ 与 $a$。根号里的舍入误差可能给出 $-10^{-17}$，所以截到 0。`clip_denoised` 截断了 $\hat x_0$ 也不要紧：$\hat\varepsilon$ 已经写成 $x_t$ 与 $\hat x_0$，两者总对应同一个 $x_t$。

# %% [markdown]
# 边缘分布不变，写成三个数就是两个等式：$x_t$ 的均值 $\sqrt{\bar\alpha_t}\,x_0$ 送到 $\sqrt{\bar\alpha_i}\,x_0$，方差 $1-\bar\alpha_t$ 送到 $1-\bar\alpha_i$。

# %%
bar = model.exact_table("alphas_cumprod")
for eta in (0.0, 0.5, 1.0):
    a, b, sigma = ddim_step(float(bar[600]), float(bar[300]), eta)
    check(f"η={eta}：a + b√ᾱ_t = √ᾱ_i", a + b * bar[600] ** 0.5, bar[300] ** 0.5, atol=1e-12)
    check(f"η={eta}：b²(1-ᾱ_t) + σ² = 1-ᾱ_i", b**2 * (1 - bar[600]) + sigma**2, 1 - bar[300], atol=1e-12)

# %% [markdown]
# ## 3　`eta` 的两端
#
# **$\eta=1$ 就是 $v=0$ 的祖先采样。** 记 $\alpha'=\bar\alpha_t/\bar\alpha_i$、$\beta'=1-\alpha'$，它们是短链（第 4 章第 7 节）的一步。
#
# 方差：$\sigma^2 = \dfrac{1-\bar\alpha_i}{1-\bar\alpha_t}\,\beta' = \tilde\beta'$，正是短链的后验方差。
#
# 均值里 $x_t$ 的系数：先算根号里的量，
#
# $$1-\bar\alpha_i-\sigma^2 = (1-\bar\alpha_i)\,\frac{1-\bar\alpha_t-\beta'}{1-\bar\alpha_t} = \frac{\alpha'(1-\bar\alpha_i)^2}{1-\bar\alpha_t},$$
#
# 后一步用了 $1-\bar\alpha_t-\beta' = \alpha'-\bar\alpha_t = \alpha'(1-\bar\alpha_i)$。开方，再除以 $\sqrt{1-\bar\alpha_t}$，得 $\dfrac{\sqrt{\alpha'}\,(1-\bar\alpha_i)}{1-\bar\alpha_t} = c_2$。
# $x_0$ 的系数就不必另算了：两种写法的均值都是 $x_0$ 与 $x_t$ 的线性组合，都把 $x_t=\sqrt{\bar\alpha_t}\,x_0$ 变成 $\sqrt{\bar\alpha_i}\,x_0$，$x_t$ 的系数相同，$x_0$ 的系数也就相同。
#
# 两种采样用同一份噪声，就应当给出同样的图。

# %%
a = [1.0, *bar[spaced_timesteps(1000, 20)].tolist()]
pairs = [(a[i + 1], a[i]) for i in range(20)]
check("三个数都相同", torch.tensor([ddim_step(*pair, 1.0) for pair in pairs]), torch.tensor([ancestral_step(*pair, 0.0) for pair in pairs]), atol=1e-6)
same = [model.sample(10, steps=20, cond=digits, generator=torch.Generator().manual_seed(0), **kwargs)
        for kwargs in ({"sampler": "ddim", "eta": 1.0}, {"sampler": "ancestral", "v_posterior": 0.0})]
check("同一份噪声，同样的十张图", same[0], same[1], atol=1e-3)

# %% [markdown]
# **$\eta=0$ 是在解微分方程。** 这时 $x_i=\sqrt{\bar\alpha_i}\,\hat x_0+\sqrt{1-\bar\alpha_i}\,\hat\varepsilon$，而 $x_t=\sqrt{\bar\alpha_t}\,\hat x_0+\sqrt{1-\bar\alpha_t}\,\hat\varepsilon$。
# 各自除以图的份额，记 $u_t=\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$，再相减：
#
# $$\frac{x_i}{\sqrt{\bar\alpha_i}} = \frac{x_t}{\sqrt{\bar\alpha_t}} + (u_i-u_t)\,\hat\varepsilon.$$
#
# 这是微分方程 $\dfrac{\mathrm d}{\mathrm du}\dfrac{x}{\sqrt{\bar\alpha}}=\hat\varepsilon$ 的欧拉法 (Euler method)：沿着 $\hat\varepsilon$ 走一段直线。欧拉法的误差与步长成正比，步数加倍，误差减半。
#
# 高斯数据上网络的最优猜测已知（第 5 章），整条链的方差算得出来，可以核对。

# %%
gaps = {steps: 1 - ddim_chain_variance(betas, 0.5, steps, 0.0) for steps in (100, 200, 400)}
check("100 → 200 步，误差减半", gaps[200] / gaps[100], 0.5, atol=0.02)
check("200 → 400 步，误差又减半", gaps[400] / gaps[200], 0.5, atol=0.03)
slow, fast = (1 - ddim_chain_variance(betas, 0.5, 20, eta) for eta in (1.0, 0.0))
check_order("同样 20 步，η=1 的误差比 η=0 大", 1.5 * fast, slow, digits=2)

# %% [markdown]
# 在平面上看得最清楚。还是第 1 章的两弯月牙；数据是有限个点时，最好的猜测写得出来（习题 01.3），不必训练网络。同一个起点，各走四次：

# %%
moons, moon = make_moons(2000, noise=0.08, random_state=0)
moons = (torch.from_numpy(moons).float() - torch.tensor([0.5, 0.25])) / torch.tensor([0.87, 0.5])
chain = [*bar[spaced_timesteps(1000, 40)].tolist()[::-1], 1.0]


def travel(x, eta, recon, seed=0):
    """用 DDIM 从 x 走到底，返回途中的每一站；recon(x, ᾱ) 给出猜测"""
    generator, stops = torch.Generator().manual_seed(seed), [x]
    for now, after in zip(chain, chain[1:]):
        a, b, sigma = ddim_step(now, after, eta)
        x = a * recon(x, now) + b * x + sigma * torch.randn(x.shape, generator=generator)
        stops.append(x)
    return torch.stack(stops)


begin = torch.tensor([[0.9, 1.2]])
roads = {"$\\eta=1$：一个起点走四次": travel(begin.repeat(4, 1), 1.0, lambda x, a: ideal_start(x, moons, a)),
         "$\\eta=0$：一个起点走四次": travel(begin.repeat(4, 1), 0.0, lambda x, a: ideal_start(x, moons, a)),
         "$\\eta=0$：四个起点": travel(torch.randn(4, 2, generator=torch.Generator().manual_seed(1)), 0.0, lambda x, a: ideal_start(x, moons, a))}
check("η=0：走四次，终点相同", roads["$\\eta=0$：一个起点走四次"][-1].std(0), torch.zeros(2), atol=1e-5)
points_figure(dict.fromkeys(roads, moons), paths=roads, limit=3.4)

# %% [markdown]
# 图：空心的是起点，实心的是终点，灰色的底是数据，都走 40 步。左：$\eta=1$ 途中撒噪声，同一个起点的四条路各走各的，终点各不相同（有两个碰巧很近）。中：$\eta=0$ 走四次，四条路重合成一条曲线。右：换四个起点，才有四个终点。
# 这就是“解微分方程”的样子：每一时刻、每一处的方向都是定的，顺着走就是。路越直，步子就可以迈得越大。

# %%
eta_panel(eta_grids(model, steps=(2, 5, 10, 20), cond=nobody))

# %% [markdown]
# 面板：左图是同一批起点的十个样本（不点名，所以有的四不像），右图是标准差 0.5 的高斯数据上，样本方差与真值之比，1 是完美；$\eta$ 拖到 0 时，它的线与 $\eta=0$ 的线重合。
# 固定步数拖 `eta`：途中的噪声换掉了数字本身，起点不再决定样本；步数少时还弄脏背景。固定 `eta=0` 换步数：2 步是一团灰，5 步有了笔画的雏形，10 步以后只在细节上变。
#
# 上面的高斯例子里 $\eta=0$ 更准。训练好的网络有误差，途中掺的噪声会冲淡积累的偏差，次序就未必如此。
# 随课程发布的 `digits` 上量过一遍，记在卡片里：每个数是八个种子、各 1 000 张样本的 Fréchet 距离（第 13 章；越小越像真图）的平均，± 后面是标准误。

# %%
quality = pretrained_card("digits")["quality"]
for steps in (5, 10, 20, 50):
    still, noisy = (quality[f"{name}_{steps}"]["frechet"] for name in ("ddim", "ancestral"))
    gap = torch.tensor(noisy["each"]) - torch.tensor(still["each"])  # 种子相同，起点就相同，所以逐个种子相减
    print(f"{steps:3} 步　η=0：{still['mean']:5.1f} ± {still['se']:.1f}　η=1：{noisy['mean']:5.1f} ± {noisy['se']:.1f}　相差 {gap.mean():+.1f} ± {gap.std() / 8**0.5:.1f}")

# %% [markdown]
# 走 5 步时 $\eta=0$ 明显近些，差值是标准误的四倍多。从 10 步起，差值都不到标准误的两倍：在这个模型上分不出高下。

# %% [markdown]
# ## 4　起点：样本的“坐标”
#
# $\eta=0$ 时，起点唯一地决定样本，起点就成了样本的坐标。能在两个样本之间走一走吗？
#
# 把两个起点 $z_1$、$z_2$ 直接平均不行：两个独立的标准高斯，各取一半相加，方差是 $\frac14+\frac14=\frac12$，已经不像起点了。
# 换成转动：$\cos\varphi\,z_1+\sin\varphi\,z_2$，方差是 $\cos^2\varphi+\sin^2\varphi=1$，途中每一点都仍是标准高斯。第 5 章的 $x_t$ 也是这样转的。

# %%
a, b = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0))
check("平均：方差只剩一半", (0.5 * a + 0.5 * b).var(), 0.5, atol=0.01)
check("转到一半：方差", rotate(a, b, 0.5).var(), 1.0, atol=0.02)

# %% [markdown]
# 六十对起点，各从一端、转到一半处、平均处出发，看样本的笔画多深（一张图里像素的标准差），分类器有把握（概率大于 0.9）的占多少：

# %%
z1, z2 = torch.randn(2, 60, 1, 28, 28, generator=torch.Generator().manual_seed(1))
classifier, contrast = load_classifier("mnist"), {}
for name, start in {"一端": z1, "转到一半": rotate(z1, z2, 0.5), "平均": 0.5 * (z1 + z2)}.items():
    images = model.sample(60, sampler="ddim", steps=10, cond=torch.full((60,), -1), x_T=start, progress=False).clamp(-1, 1)
    contrast[name] = images.flatten(1).std(1)
    print(f"{name}　笔画的深浅 {contrast[name].mean():.3f}　有把握的 {(classifier(images).softmax(1).amax(1) > 0.9).double().mean():.0%}")
lighter = contrast["转到一半"] - contrast["平均"]
print(f"平均处比转到一半处淡 {lighter.mean():.3f} ± {lighter.std() / 60**0.5:.3f}")
check_order("由平均得到的起点，样本的笔画淡一些", 2 * lighter.std() / 60**0.5, lighter.mean(), digits=2)

# %%
interpolation_panel(interpolation_frames(model, num_pairs=8, count=13, steps=10, cond=nobody[:8]))

# %% [markdown]
# 面板：八对起点，从一个转到另一个。数字先慢慢变形，在某处换成另一个数字。
# 途中的图与两端一样像数字（不点名，所以两端也有一小半不像）：网络没有见过“转动”，但每个起点都是它认得的起点。

# %% [markdown]
# ## 5　引导：让条件更管用
#
# 有条件的模型学的是 $p(x_t\mid c)$。想让样本更“像” $c$，可以把分类器的意见放大 $w$ 倍：
#
# $$\tilde p(x_t\mid c)\;\propto\; p(x_t)\,p(c\mid x_t)^{w}.$$
#
# $w=1$ 就是贝叶斯公式。取对数，对 $x_t$ 求梯度，用 $p(c\mid x_t)\propto p(x_t\mid c)/p(x_t)$ 消去分类器：
#
# $$\nabla\ln\tilde p(x_t\mid c) = \nabla\ln p(x_t) + w\,\bigl(\nabla\ln p(x_t\mid c)-\nabla\ln p(x_t)\bigr).$$
#
# 网络并不输出 $\nabla\ln p$，但输出 $\hat\varepsilon$，两者只差一个倍数。推导：$p(x_t)=\int q(x_t\mid x_0)\,p(x_0)\,\mathrm dx_0$，求梯度，用 $\nabla q=q\,\nabla\ln q$：
#
# $$\nabla\ln p(x_t) = \mathbb E\bigl[\nabla\ln q(x_t\mid x_0)\,\big|\,x_t\bigr] = -\,\mathbb E\Bigl[\frac{x_t-\sqrt{\bar\alpha_t}\,x_0}{1-\bar\alpha_t}\,\Big|\,x_t\Bigr] = -\frac{\mathbb E[\varepsilon\mid x_t]}{\sqrt{1-\bar\alpha_t}}.$$
#
# 第一个等号里，除以 $p(x_t)$ 之后的权重 $q(x_t\mid x_0)\,p(x_0)/p(x_t)$ 正是 $x_0$ 在给定 $x_t$ 时的分布。网络学的就是 $\mathbb E[\varepsilon\mid x_t]$，所以
#
# $$\tilde\varepsilon = \hat\varepsilon_\varnothing + w\,(\hat\varepsilon_c-\hat\varepsilon_\varnothing).$$
#
# 这里 $\hat\varepsilon_\varnothing$ 是“无条件”时的输出。它叫无分类器引导，第 8 章读它的源码 `guided_output`。
# 预测 $v$ 或 $x_0$ 时公式照写：$x_t$ 固定时三种目标之间的换算是一次函数，而 $w$ 与 $1-w$ 之和是 1，一次函数保持这样的组合。
#
# 要当心：各个 $t$ 的 $\tilde p$ 并不是同一个分布加噪的结果，所以 $w\ne1$ 时，样本不严格服从 $p(x_0)\,p(c\mid x_0)^w$。引导是个好用的近似。

# %%
x_t = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
a_bar, m, s = 0.6, 0.3, 0.5
D = a_bar * s**2 + 1 - a_bar
log_p = -((x_t - a_bar**0.5 * m) ** 2) / (2 * D)
(slope,) = torch.autograd.grad(log_p.sum(), x_t)
eps_hat = (1 - a_bar) ** 0.5 * (x_t - a_bar**0.5 * m) / D  # 高斯数据的最优猜测，第 5 章
check("∇ ln p = -ε_hat / √(1-ᾱ)", slope, -eps_hat.detach() / (1 - a_bar) ** 0.5, atol=1e-12)

# %% [markdown]
# 公式里的三个方向画得出来。把上面的一弯当作要的类别 $c$：$\hat\varepsilon_c$ 只照那一弯的点算，$\hat\varepsilon_\varnothing$ 照全部的点算，仍用最好的猜测。

# %%
upper = moons[torch.from_numpy(moon) == 0]


def guided(w):
    """引导强度 w 的猜测：先换成噪声，再外推，再换回来；三样都是 x_t 固定时的一次函数，所以直接外推猜测"""
    return lambda x, a: ideal_start(x, moons, a) + w * (ideal_start(x, upper, a) - ideal_start(x, moons, a))


axis = torch.linspace(-2.0, 2.0, 13)
at, level = torch.cartesian_prod(axis, axis), 0.85
spread = level**0.5 * moons + (1 - level) ** 0.5 * torch.randn(moons.shape, generator=torch.Generator().manual_seed(0))
fields = {name: (at, 0.25 * (level**0.5 * guided(w)(at, level) - at)) for name, w in {"不点名：$w=0$": 0.0, "点名：$w=1$": 1.0, "引导：$w=3$": 3.0}.items()}
points_figure(dict.fromkeys(fields, spread), arrows=fields)

# %% [markdown]
# 图：$\bar\alpha=0.85$ 处，箭头朝着 $-\tilde\varepsilon$，灰色的底是加噪到这一步的全部数据。左：不点名，箭头朝着两弯。中：点名要上面的一弯。右：$w=3$，在点名之上再加两份“点名减不点名”，箭头不只朝着上面的一弯，还用力躲开下面的一弯。
#
# 躲开的代价，看走到底的样子：

# %%
start = torch.randn(1000, 2, generator=torch.Generator().manual_seed(2))
clouds = {"要的：上面的一弯": upper} | {f"$w={w}$": travel(start, 0.0, guided(float(w)))[-1] for w in (1, 2, 4)}
points_figure(clouds)

# %% [markdown]
# 图：左起第一张是真的那一弯，后三张各从一千个起点走到底。$w=1$ 铺满整弯（终点都落回数据点上，有重叠，所以稀些）；$w$ 一大，伸进另一弯里的右腿越来越空，点多半挤到离它最远的一段上去。
# 加了噪以后，右腿上的点与另一弯混在一起，分类器拿不准，引导便在途中把它们推开。每一张都“更像”，合起来却少了一块。
# 干净的两弯本来分得清，$p(x_0)\,p(c\mid x_0)^w$ 里并不少这一块：少掉的，正是上面说的“不严格服从”。

# %%
show_source(null_condition,
            "def null_condition")

# %% [markdown]
# - ① “无条件”怎样告诉网络：类别换成 $-1$（嵌入为 0），图像与上下文换成全 0。训练时以 `cond_drop_prob` 的概率这样替换，网络才学会 $\hat\varepsilon_\varnothing$。
#
# 随课程发布的 `mnist` 就是这样训练的：十个类别，一成的标签被换掉。

# %%
samples = guidance_grids(model, scales=(0.0, 1.0, 3.0, 6.0), per_class=4, steps=10)
right = {scale: recognised(classifier, images, digits.repeat(4))["recognised"] for scale, images in samples.items()}
# 同一类的四张，在分类器的特征里有多散
spread = {scale: classifier.features(images.clamp(-1, 1)).view(4, 10, -1).std(0).mean() for scale, images in samples.items()}
check("w=0：不看类别，碰对的不到四分之一", right[0.0] < 0.25, True)
check("w=1：九成以上", right[1.0] > 0.9, True)
check("w=3：全对", right[3.0], 1.0)
check_order("代价：同一类里，w=3 的样本彼此更像", spread[3.0], 0.9 * spread[1.0], digits=2)

# %%
guidance_panel(samples, classifier)

# %% [markdown]
# 面板：一列一个类别，从 0 到 9，每列四张；起点都是同一批。$w=0$ 时类别不起作用；$w=1$ 时已经各就各位；再往上，笔画越来越粗，同一列越来越像。
# 引导用多样换准确。换来多少，卡片里量过（八个种子，各 400 张，DDIM 50 步）。这里的 Fréchet 距离用 MNIST 的分类器量，与第 3 节 8×8 数字的不是同一把尺子，只能与最后一行的真图比：

# %%
guided = pretrained_card("mnist")["quality"]
for name, row in {"w=1": guided["guidance_1"], "w=2": guided["guidance_2"]}.items():
    print(f"{name}　认得出 {row['recognised']['mean']:.2%} ± {row['recognised']['se']:.2%}　Fréchet 距离 {row['frechet']['mean']:.1f} ± {row['frechet']['se']:.1f}")
print(f"真图　认得出 {guided['real_recognised']['recognised']:.2%}　　　　　Fréchet 距离 {guided['frechet_floor']['mean']:.1f} ± {guided['frechet_floor']['se']:.1f}")
gap = guided["guidance_2"]["frechet"]["mean"] - guided["guidance_1"]["frechet"]["mean"]
check("认得更准，离真图的分布却更远", [guided["guidance_2"]["recognised"]["mean"] > guided["guidance_1"]["recognised"]["mean"], gap > 0], [True, True])

# %% [markdown]
# ## 6　另外两种条件：拼通道与交叉注意力
#
# `concat` 把一张图拼在 $x_t$ 旁边，适合“图到图”的任务。这里用它做超分辨率：条件是缩到 4×4 再放大的图，要生成的是 8×8 的原图。
# 条件已经说了大半，所以只训练一百步。

# %%
def train(conditions, steps, seed=0):
    """训练一个小的有条件模型；条件由数据模块按名字算好，放进 batch"""
    torch.manual_seed(seed)
    names = [name for name in conditions if name != "label"]
    config = conditional_digits_config(conditions, max_steps=steps, width=16, learning_rate=8e-3)
    small = DDPM(**config)
    quiet_trainer(max_steps=steps, gradient_clip_val=1.0).fit(small, DigitsDataModule(conditions=names))
    return small.eval()


# %%
data = DigitsDataModule(conditions=["low_resolution", "prompt"])
data.setup()
held = data.splits["test"][:16]
upscaler = train(["low_resolution"], 100)
sharp, _ = generate(upscaler, 16, cond=held["low_resolution"], steps=10)
error = {name: (image - held["image"]).pow(2).mean().sqrt() for name, image in (("条件", held["low_resolution"]), ("样本", sharp))}
check("样本比条件更接近原图", error["样本"] < 0.9 * error["条件"], True)
grid_figure(torch.cat([row[:8] for row in (held["low_resolution"], sharp, held["image"])]), nrow=8, rows=["条件", "样本", "原图"])

# %% [markdown]
# 图：上排是条件（只有 4×4 的信息），中排是生成的样本，下排是原图。样本补出了笔画的边缘，背景还有些脏点：只练了一百步。补得不一定与原图相同，但与条件相合：把样本缩小，差不多就是条件。

# %%
shrink = torch.nn.functional.avg_pool2d
gap = {name: (shrink(image, 2) - shrink(held["low_resolution"], 2)).abs().mean() for name, image in (("自己", sharp), ("别人", sharp.roll(1, 0)))}
check("样本缩小之后，与自己的条件平均只差 0.1 以内", gap["自己"] < 0.1, True)
check("与别人的条件差得多", gap["别人"] > 3 * gap["自己"], True)

# %% [markdown]
# `crossattn` 接受一串长度不定的“词”。这里的提示是两个词：几，以及墨多墨少（三档）。像素用交叉注意力去查这两个词（第 8 章）。
# 训练得不久，所以采样时加上第 5 节的引导，$w=3$。

# %%
# NBVAL_IGNORE_OUTPUT
painter = train(["prompt"], 150)
prompts = torch.zeros(30, 2, 13)
prompts[torch.arange(30), 0, torch.arange(30) % 10] = 1
prompts[torch.arange(30), 1, 10 + torch.arange(30) // 10] = 1
painted, _ = generate(painter, 30, cond=prompts, steps=10, seed=3, guidance_scale=3.0)
right_digit = (load_classifier()(painted.clamp(-1, 1)).argmax(1) == torch.arange(30) % 10).double().mean()
ink = painted.clamp(-1, 1).view(3, -1).mean(1)
print(f"30 张里，分类器认作所要的数字的有 {right_digit * 30:.0f} 张")
check("第一个词管用：多数画对了数字", right_digit > 0.5, True)
check("第二个词管用：三档的墨一档比一档多", bool(ink[0] < ink[1] < ink[2]), True)
grid_figure(painted, nrow=10, rows=["墨少", "墨中", "墨多"], columns="0123456789")

# %% [markdown]
# 图：一列一个数字，三行是三档墨：少、中、多。同一个模型，换一个词就换一样东西。只练了 150 步，有几个人眼看着并不像，上面数的是分类器的判断。
# 文生图的大模型也是这样接受文字的，只是那里的“词”来自语言模型。

# %% [markdown]
# ## 7　补全：不必另外训练
#
# 图缺了一半，想补上。不必另外训练，手里的模型就能做到：去噪的每一步，把已知的部分换成“原图加噪到这一步”，未知的部分照常去噪。
# 未知的部分看着已知的部分长出来。

# %%
show_source(inpaint,
            "@torch.no_grad()", "check_int(\"repeats\", repeats, 1)", "def noised", "def paste", "for _ in range(repeats - 1",
            "return model.p_sample_loop(known.shape")

# %% [markdown]
# - ① `mask` 为 1 处已知，为 0 处要补。
# - ② 检查输入。未知的像素先换成 0：那里写着什么都不看，有 NaN 也不要紧。
# - ③ 加噪：给已知的图，就是加到某一步；给 $x_s$，就是退回更早的一步。
# - ④ 循环照常走一步，交来 $x_s$；把已知的部分贴回去。走到头时 $\bar\alpha_s=1$，贴的就是原图，所以结果里已知的像素分毫不差。
# - ⑤ 贴的时候，未知的部分还来不及与新贴的部分协调。所以退回一步（重新加噪）再走，重复 `repeats` 遍，接缝才自然。`advance` 就是再走一次这一步。
# - ⑥ 循环还是那个循环，只多了一个 `edit`。

# %%
known = handwriting("../data")[0][:50]
mask = torch.ones(1, 1, 28, 28)
mask[..., 14:] = 0
once, often = (inpaint(model, known, mask, steps=10, repeats=r, cond=torch.full((50,), -1), generator=torch.Generator().manual_seed(0))
               for r in (1, 4))
check("已知的像素分毫不差", often[..., :14], known[..., :14])
grid_figure(torch.cat([images[:10] for images in (known, known * mask + mask - 1, once, often)]), nrow=10,
            rows=["原图", "遮住", "1 遍", "4 遍"])

# %% [markdown]
# 图：从上到下是原图、遮住右半的图、重复 1 遍的补全、重复 4 遍的补全。不告诉模型是几。
# 补出来的不一定是原来的数字。只走 1 遍时，有几张的笔画在正中断开；重复 4 遍的接得顺些。把“顺”量出来：接缝两边的两列像素平均差多少，五十张图逐张相减，再看标准误。

# %%
# NBVAL_IGNORE_OUTPUT
seams = {name: (images[..., 14] - images[..., 13]).abs().flatten(1).mean(1) for name, images in (("原图", known), ("1 遍", once), ("4 遍", often))}
smoother = seams["1 遍"] - seams["4 遍"]
print("　".join(f"{name} {seam.mean():.2f}" for name, seam in seams.items()), f"　4 遍比 1 遍小 {smoother.mean():.2f} ± {smoother.std() / 50**0.5:.2f}")
check("重复几遍，接缝更顺", smoother.mean() > 2 * smoother.std() / 50**0.5, True)

# %% [markdown]
# ## 8　成批地生成
#
# 要几千张样本时，一次放不进内存。`generate` 分批采样，用一根进度条走到底，还能顺手留下途中的几帧。

# %%
show_source(generate,
            "def generate", "check_int(\"num\"", "generator = torch.Generator()", "steps = default_steps",
            "def film(part):", "x = model.sample(part.stop", "with bar, model.ema_scope()")

# %% [markdown]
# - ① 比 `sample` 多了批的大小、种子、要不要 EMA、留几帧。默认的采样器也不同：`sample` 是祖先采样，这里是 DDIM。
# - ② 先核对每个参数的范围。
# - ③ 一个种子定下全部起点，一次抽完；条件整理好。
# - ④ 走几步、留哪几步、怎样分批、进度条的总长，都在循环之前算好。
# - ⑤ 采一批；回调拨动进度条，留下该留的 $x_t$。
# - ⑥ 起点与条件各取这一批的那一段。
# - ⑦ 用 EMA 权重（第 11 章），逐批采完再拼起来，末帧就是样本。

# %%
whole, _ = generate(model, 10, batch_size=10, seed=7, steps=10, cond=digits)
parts, frames = generate(model, 10, batch_size=4, seed=7, steps=10, cond=digits, num_frames=5)
check("怎样分批，不影响确定的采样", whole, parts, atol=1e-3)
check("五帧，加上样本自己", len(frames), 6)
check("末帧就是样本", frames[-1], parts)

# %% [markdown]
# 命令行里的 `python -m ddpm_edu sample` 就是它：
#
# ```bash
# python -m ddpm_edu sample --ckpt digits --out grid.png --gif walk.gif --steps 50
# python -m ddpm_edu sample --ckpt mnist --out classes.png --labels 0-9 --nrow 10 --guidance 2
# ```

# %% [markdown]
# ## 小结
#
# - 训练只用到 $q(x_t\mid x_0)$，所以同一个网络可以配不同的走法。
# - DDIM 的 $\eta=1$ 是 $v=0$ 的祖先采样，$\eta=0$ 是欧拉法解微分方程：确定，步数可以少。
# - 高斯数据、完美的去噪器，少走几步时 $\eta=0$ 误差小；练出来的网络掺不掺噪声好，要量了才知道。
# - 引导把有条件与无条件之差放大 $w$ 倍：更准，更单调。
# - 条件可以拼通道、交叉注意力、加类别嵌入；无条件的模型也能补全。
#
# ## 练习
#
# 每题写完就运行那一格，当场批改：☐ 还没做，✗ 附一句提示，✓ 做对了。做不出来可以先跳过，不影响后面的单元。
# 编程题要自己写，不要直接调用程序包里现成的函数。

# %%
from ddpm_edu.teach import grade

# %% [markdown]
# ### 07.1　引导 ★
#
# `network(x, t, label)` 给出 $\hat\varepsilon$，`label` 是 $(B,)$ 的整数张量，$-1$ 表示无条件。返回引导强度为 `w` 时的输出。

# %%
def guide(network, x, t, label, w):
    # 答案
    conditional = network(x, t, label)
    unconditional = network(x, t, torch.full_like(label, -1))
    return unconditional + w * (conditional - unconditional)
    # 答案完


grade("07.1", guide)

# %% [markdown]
# ### 07.2　DDIM 的一步 ★★
#
# 由 `x_t` 与网络的猜测 `eps` 走一步，返回 $x_i$。`a_t`、`a_i` 是两个数 $\bar\alpha_t$ 与 $\bar\alpha_i$（$\bar\alpha_i>\bar\alpha_t$），`z` 是一份标准高斯的噪声。$\hat x_0$ 不截断。

# %%
def ddim(x_t, eps, a_t, a_i, eta, z):
    # 答案
    x_recon = (x_t - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    sigma = eta * ((1 - a_i) / (1 - a_t) * (1 - a_t / a_i)) ** 0.5
    return a_i**0.5 * x_recon + (1 - a_i - sigma**2) ** 0.5 * eps + sigma * z
    # 答案完


grade("07.2", ddim)

# %% [markdown]
# ### 07.3　多看一眼再走 ★★★
#
# 第 3 节说 $\eta=0$ 是欧拉法：只看脚下的 $\hat\varepsilon$，沿直线走到底。Heun 法先这样试走一步，在走到的点上再看一次 $\hat\varepsilon$，两次取平均，回到原处重走。
# 写出 Heun 法的一步：`eps_of(x, a)` 给出 $\bar\alpha=a$ 时的 $\hat\varepsilon$；`a_t`、`a_i` 是两个数，$\bar\alpha_t<\bar\alpha_i<1$。返回 $x_i$。

# %%
def heun(eps_of, x_t, a_t, a_i):
    # 答案
    def walk(eps):
        u_t, u_i = ((1 - a_t) / a_t) ** 0.5, ((1 - a_i) / a_i) ** 0.5
        return a_i**0.5 * (x_t / a_t**0.5 + (u_i - u_t) * eps)

    first = eps_of(x_t, a_t)
    second = eps_of(walk(first), a_i)
    return walk((first + second) / 2)
    # 答案完


grade("07.3", heun)

# %% [markdown]
# ### 07.4　五步里的噪声 ★
#
# 在第 3 节的面板里，固定走 5 步，把 `eta` 从 0 拖到 1：背景变脏了。为什么？
#
# - A：$\eta=1$ 时，最后一步也掺噪声，留在了图上。
# - B：步子大，一步就掺进许多新噪声，剩下的步数太少，去不干净。
# - C：$\eta=1$ 时，途中的 $x_i$ 不再服从 $q(x_i\mid x_0)$，网络没见过。
# - D：步子大，每步掺的噪声反而少，起点里的噪声没有换掉。

# %%
grade("07.4", None)  # 把 None 换成 "A"、"B"、"C" 或 "D"

# %% [markdown]
# ### 07.5　引导三倍 ★★
#
# 一维的例子：全体数据 $p(x)=\mathcal N(0,1)$，其中某一类 $p(x\mid c)=\mathcal N(1,\,0.25)$，0.25 是方差。把分类器的意见放大 $w=3$ 倍，$\tilde p(x\mid c)\propto p(x)\,p(c\mid x)^3$ 还是高斯。它的方差是多少？

# %%
grade("07.5", None)  # 把 None 换成一个数
