"""数参数"""



class ParamCount(int):
    """参数总数，就是一个整数；另带 trainable（可训练数）与 by_module（{子模块名: 参数数}）"""

    def __new__(cls, total, trainable, by_module):
        self = super().__new__(cls, total)
        self.total, self.trainable, self.by_module = int(total), int(trainable), dict(by_module)
        return self

    def __getnewargs__(self):
        # 复制与 pickle 用它重建
        return self.total, self.trainable, self.by_module

    def table(self):
        """一行一个直接子模块的文字表"""
        rows = [f"{name:<28}{count:>14,}" for name, count in self.by_module.items()]
        return "\n".join([*rows, f"{'total':<28}{self.total:>14,}", f"{'trainable':<28}{self.trainable:>14,}"])


def count_params(model, verbose=False):
    """数一数 nn.Module 的参数

    verbose : 为真时打印逐个子模块的表
    返回    : ParamCount，可当整数用；共享的参数只数一次。DDPM 里 EMA 的影子也算，见 by_module
    """
    seen, by_module = set(), {}
    for name, parameter in model.named_parameters():
        top = name.partition(".")[0]
        by_module[top] = by_module.get(top, 0) + parameter.numel()
        seen.add(parameter)
    trainable = sum(p.numel() for p in seen if p.requires_grad)
    count = ParamCount(sum(p.numel() for p in seen), trainable, by_module)
    if verbose:
        print(f"{type(model).__name__}\n{count.table()}")
    return count
