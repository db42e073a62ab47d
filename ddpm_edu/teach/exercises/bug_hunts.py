"""第 16 章的猎场：错在哪一个环节，拿得出什么证据。还没有做完的话，不要往下看"""
import functools

import torch

from . import Choice, Code, Mistake

LABELS = torch.arange(10)
BOXES = {1: "一号", 2: "二号", 3: "三号"}


class Patient:
    """用到时才造的模型：批改要造几十个，多半碰也不碰；每个都是新的，随便改"""

    def __init__(self, name, make):
        self.__dict__.update(_name=name, _make=make, _model=None)

    def _built(self):
        if self._model is None:
            self.__dict__["_model"] = self._make()
        return self._model

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._built(), name)

    def __setattr__(self, name, value):
        setattr(self._built(), name, value)

    def __call__(self, *args, **kwargs):
        return self._built()(*args, **kwargs)

    def __repr__(self):
        return self._name


def patients(box, *decoys):
    """[健康的, 这个黑箱, 症状相近而病根不同的, 另外两个黑箱]，每个是一组参数"""
    def make(name):
        from ..bugs import hunts  # 要导入 Lightning，用到时再说

        return hunts.hunt(name) if name in BOXES else {
            "没有练过的": hunts.untrained, "权重乱了的": hunts.shaken, "健康的": lambda: hunts.load_pretrained("mnist"),
            "影子造得太早的": lambda: hunts.with_old_shadow(hunts.LitEma)}[name]()

    names = ["健康的", box, *decoys, *(other for other in BOXES if other != box)]
    return [(Patient(f"{BOXES[name]}猎场的模型" if name in BOXES else f"{name}模型", functools.partial(make, name)),) for name in names]


def at(model, t):
    """步号都是 t 的一批"""
    return torch.full((10,), t, device=model.betas.device)


@torch.no_grad()
def leaves_the_range(model):
    x_t = 3 * torch.randn(10, 1, 28, 28)
    return bool(model.predict_start(x_t, at(model, 500), True, cond=LABELS).abs().max() > 1)


@torch.no_grad()
def shadow_stays(model):
    before = [tensor.clone() for tensor in model.model_ema.shadow.values()]
    for parameter in model.model.parameters():
        parameter.add_(1.0)
    for _ in range(10):
        model.model_ema(model.model)
    return all(torch.equal(a, b) for a, b in zip(before, model.model_ema.shadow.values()))


@torch.no_grad()
def unmoved(model):
    """只把 t 加 1，输出是不是不变：前一半、后一半各试一个 t"""
    x_t = torch.randn(10, 1, 28, 28)
    return [torch.equal(model.apply_model(x_t, at(model, t), LABELS), model.apply_model(x_t, at(model, t + 1), LABELS)) for t in (50, 600)]


def deaf_to_time(model):
    same = unmoved(model)
    return any(same) and not all(same)


@torch.no_grad()
def noisy_samples(model):
    """样本的平均绝对值太小：背景不是 -1"""
    x = model.sample(10, sampler="ddim", steps=3, cond=LABELS, progress=False)
    return bool(x.abs().mean() < 0.75)


@torch.no_grad()
def far_shadow(model):
    from ...ema import averaged_tensors

    shadow = model.model_ema.shadow
    return any(bool((shadow[name] - tensor).abs().max() > 0.1) for name, tensor in averaged_tensors(model.model).items())


@torch.no_grad()
def high_loss(model):
    from ..datasets import drawn_by

    noise = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    # 健康的 0.091，权重乱了的 0.103，三号猎场 0.111
    return bool(model.p_losses(drawn_by("mnist")[:10], at(model, 590), noise, cond=LABELS)[0] > 0.097)


# 猎场的三级提示：先查哪里；对哪一条公式；试验怎样写
HINTS = {
    "16.13": ("先查损失与采样都要用的表（A），再查只有采样才用的换算与截断（D）、采样的一步（E）。损失正常，B、C、F 多半没有错。",
              "D 有两条可对：不截断时，$\\hat x_0$ 合不合示范里的公式；截断时，$\\hat x_0$ 在不在 [-1, 1] 里。输入取大一点，截断才用得上。",
              "取 `x_t = 3 * torch.randn(10, 1, 28, 28)`，$t$ 取 500，调用 `model.predict_start(x_t, t, True, cond=labels)`，看它最大的绝对值。"),
    "16.14": ("A–F 错了，原权重的样本也会坏，可它是好的。剩下的是影子没有跟上（G），或者换上换下出了错（H）。",
              "由定义 $s\\leftarrow d\\,s+(1-d)\\,\\theta$：权重变了，再更新几次，影子就该动。",
              "先把 `model.model_ema.shadow` 里的张量各 `clone` 一份；再给 `model.model` 的每个权重加 1，调用几次 `model.model_ema(model.model)`；"
              "最后用 `torch.equal` 比较前后的影子。"),
    "16.15": ("只算损失，不采样，数就偏高，样本也走样，所以先查两边都用的 A 与网络的两个输入 B、C；再按 $t$ 画出损失，看高在哪里。",
              "$x_t$ 与类别都不变，只把 $t$ 加 1，训练过的网络输出总该变一点。前一半与后一半的步号都要试。"
              "没有训练过的输出恒为 0，哪里都不变，所以要有的变、有的不变，才算证据。",
              "取一份 `x_t`，调用两次 `model.apply_model(x_t, torch.full((10,), t), labels)`，步号一次是 `t`，一次是 `t + 1`，"
              "用 `torch.equal` 比较；`t` 取 50 与 600。想看损失高在哪里，画 `loss_at(hunt(3), t)`，`t` 从 20 到 980，每 20 步一个。"),
}

SAY_YES = Mistake("健康的模型也被说成有病；先想好健康的模型应当给出什么数。", lambda model: True)
SAY_NO = Mistake("这个黑箱没有被测出来；它与健康的模型，差别要从你量的那个数里看得出。", lambda model: False)

HUNTS = (
    Choice("16.13", 2, "一号猎场：样本上全是噪点", "D", {
        "A": "q_sample 合乎闭式，各张表也与由 betas 重算的相同。",
        "B": "相邻的步号给出不同的输出，t 进了网络。",
        "C": "换类别，网络的输出会变。",
        "E": "每一步都按 a·x̂₀ + b·x_t 走：用 callback 记下 x̂₀ 与 x_t，下一步对得上。",
        "F": "损失与正常的一样低：训练这一半没有错。",
        "G": "影子与原权重逐位相同，手动更新时也跟得上。",
        "H": "权重装上了：不截断时，换算出来的 x̂₀ 是清楚的数字。",
    }, "clip_denoised 为真时，x̂₀ 还会超出 [-1, 1]：截断做在了换算之前，截的是网络的输出。"),
    Code("16.13b", 2, "一号猎场：证据", leaves_the_range, lambda: patients(1, "没有练过的"), (
        SAY_YES, SAY_NO,
        Mistake("没有练过的模型也会采出噪点，你的试验却分不开它：“样本不好”只是症状。", noisy_samples),
    ), "证据只看截断这一个环节：没有练过的网络也通得过。完全不截断的模型会一样地超出，要分清还得再试。", "别看样本，看截断之后的 x̂₀ 在不在 [-1, 1] 里。"),
    Choice("16.14", 2, "二号猎场：换上 EMA 就坏", "G", {
        "A": "表与 q_sample 都与闭式相同；用原权重采样，一切正常。",
        "B": "用原权重采样一切正常，t 进了网络。",
        "C": "用原权重采样，类别都对。",
        "D": "用原权重采样是好的，走的是同一段换算。",
        "E": "用原权重采样是好的，走的是同一个采样器。",
        "F": "原权重的损失正常，训练没有错。",
        "H": "换上换下之后，原权重逐位回来了；影子过时有两种可能，手动更新几次，看它动不动。",
    }, "权重改了，更新了很多次，计数也涨了，影子却逐位不变：更新没有写进影子。"),
    Code("16.14b", 2, "二号猎场：证据", shadow_stays, lambda: patients(2, "影子造得太早的"), (
        SAY_YES, SAY_NO,
        Mistake("“影子离权重很远”也可能是影子造得太早（病例 4），更新却是好的；要看更新之后影子动不动。", far_shadow),
    ), "影子造得太早的模型，更新之后会动；这一个不会。", "先改权重，再更新几次，比较更新前后的影子。"),
    Choice("16.15", 3, "三号猎场：损失偏高，有的字走了样", "B", {
        "A": "q_sample 合乎闭式，各张表也与由 betas 重算的相同。",
        "C": "换类别，网络的输出会变。",
        "D": "截断之后的 x̂₀ 都在 [-1, 1] 里，换算也与公式相同。",
        "E": "只算损失，不采样，也看得出错，所以不在采样器里。",
        "F": "损失等于 (输出 - 目标)² 的平均，按公式自己算一遍，得到同一个数。",
        "G": "影子与原权重相同，手动更新时也跟得上。",
        "H": "t < 500 时损失与正常的一样低，权重装上了。",
    }, "x_t 不变，只把 t 从 600 改成 601，输出逐位相同：后一半的 t 被取整了。按 t 画出损失，是锯齿。"),
    Code("16.15b", 3, "三号猎场：证据", deaf_to_time, lambda: patients(3, "权重乱了的", "没有练过的"), (
        SAY_YES, SAY_NO,
        Mistake("没有练过的模型输出恒为 0，t 怎样变都相同，也被你说成有病；要有的步号变、有的不变，才算证据。", lambda model: any(unmoved(model))),
        Mistake("损失高，权重乱了的模型也一样；要固定 x_t，只改 t，看输出变不变。", high_loss),
    ), "固定 x_t，只改 t：健康的网络总会变一点。", "固定 x_t，比较相邻两个步号的输出；前一半与后一半的步号都要试。"),
)
