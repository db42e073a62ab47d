"""指数滑动平均 (EMA)：给权重留一份平滑的影子

    s ← s + (1 - d)·(θ - s)，  d = min(decay, (1+n)/(10+n))，n 从 1 数起
"""
import torch
from torch import nn

from .checks import check_bool, check_float, fail


class LitEma(nn.Module):
    """model 全部浮点参数与缓冲区的指数滑动平均

    model           : 任何 nn.Module，此刻的权重就是影子的初值
    decay           : [0, 1]，Python 浮点数，不进检查点
    use_num_updates : 为真时用热身公式，否则始终用 decay
    异常            : decay 越界时 ValueError
    """

    def __init__(self, model, decay=0.9999, use_num_updates=True):
        super().__init__()
        # 放进张量会舍入：float32 的 0.9999 使 1-decay 偏大万分之 1.7，半精度下干脆等于 1
        self.decay = check_float("decay", decay, 0, 1)
        self.use_num_updates = check_bool("use_num_updates", use_num_updates)
        self.register_buffer("num_updates", torch.tensor(0, dtype=torch.int64))
        self._count = 0
        self._backups = []
        # 不求梯度的 Parameter 而不是缓冲区：DDP 不会每一步都广播它
        self.shadow = nn.ParameterDict({
            key: nn.Parameter(_full_precision(value).clone(), requires_grad=False)
            for key, value in averaged_tensors(model).items()
        })

    def effective_decay(self, n):
        """第 n 次更新（n ≥ 1）真正用到的衰减"""
        return min(self.decay, (1 + n) / (10 + n)) if self.use_num_updates else self.decay

    @torch.no_grad()
    def forward(self, model):
        """更新一次影子：优化器每更新一次权重，调用一次"""
        self._count += 1
        self.num_updates += 1
        live, shadow = self._pairs(model)
        # dtype 与设备不同也要跟上，不能悄悄停住
        live = [p if p.dtype == s.dtype and p.device == s.device else p.to(s) for p, s in zip(live, shadow)]
        torch._foreach_lerp_(shadow, live, 1 - self.effective_decay(self._count))

    @torch.no_grad()
    def copy_to(self, model):
        """把影子抄进 model"""
        live, shadow = self._pairs(model)
        torch._foreach_copy_(live, shadow)

    @torch.no_grad()
    def reset_to(self, model):
        """影子重新等于 model 的当前权重，计数归零"""
        live, shadow = self._pairs(model)
        torch._foreach_copy_(shadow, live)
        self.num_updates.zero_()
        self._count = 0

    @torch.no_grad()
    def store(self, parameters):
        """记下一份当前的权重，之后用 restore 取回；可以嵌套，后存先取

        parameters : nn.Module（连同缓冲区），或参数的可迭代对象
        """
        self._backups.append([p.detach().clone() for p in _as_tensors(parameters)])

    @torch.no_grad()
    def restore(self, parameters):
        """取回最近一次 store 的权重，用完即释放"""
        if not self._backups:
            fail("restore", "与 store 成对", "没有存过的权重", "先调用 store", RuntimeError)
        live, backups = _as_tensors(parameters), self._backups[-1]
        if [p.shape for p in live] != [b.shape for b in backups]:
            fail("parameters", f"store 时的 {len(backups)} 个张量，形状与次序相同", f"{len(live)} 个",
                 "存下的那一份还在")
        for parameter, backup in zip(live, self._backups.pop()):
            parameter.data.copy_(backup)

    @property
    def depth(self):
        """还没有取回的 store 有几层"""
        return len(self._backups)

    def raw_tensors(self, model, prefix=""):
        """最外层 store 存下的权重 {prefix + 名字: 张量}；保存检查点时用它代替 EMA 权重"""
        names = [key.replace("/", ".") for key in averaged_tensors(model)]
        return {prefix + name: tensor for name, tensor in zip(names, self._backups[0], strict=True)}

    def _pairs(self, model):
        live = averaged_tensors(model)
        if live.keys() != set(self.shadow.keys()):
            odd = sorted(live.keys() ^ set(self.shadow.keys()))
            fail("model", "与建 EMA 时同样结构的网络", f"{len(odd)} 个名字对不上，如 {odd[:3]}", "改了结构就重建 LitEma")
        return list(live.values()), [self.shadow[key].data for key in live]

    def _apply(self, fn, recurse=True):
        return super()._apply(lambda tensor: _keep_precision(fn, tensor), recurse)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        # assign=True 时影子就是字典里的张量，半精度的先升上来
        for key in [key for key in state_dict if key.startswith(f"{prefix}shadow.")]:
            state_dict[key] = _full_precision(state_dict[key])
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._count = int(self.num_updates)


def averaged_tensors(model):
    """要平均的张量 {名字: 张量}：全部浮点参数与缓冲区，冻结的也在内

    名字里的 "." 换成 "/"：属性名里通常没有 "/"，所以 a.b 与 ab 不会相撞
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    return {
        name.replace("_orig_mod.", "").replace(".", "/"): tensor.detach()
        for name, tensor in named if tensor.is_floating_point()
    }


def _as_tensors(parameters):
    if isinstance(parameters, nn.Module):
        return list(averaged_tensors(parameters).values())
    return list(parameters)


def _full_precision(tensor):
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _keep_precision(fn, tensor):
    """照 fn 搬动张量，但影子不降到半精度：(1-d)·(θ-s) 在半精度下会变成 0"""
    moved = fn(tensor)
    if tensor.is_floating_point() and moved.dtype in (torch.float16, torch.bfloat16):
        return tensor.to(moved.device)
    return moved
