"""第 12 章的三个问题：python -m benchmarks.learning_rate {warm,early,decay} [--seeds 8] [--steps 步数] [--out lr.json]

8×8 的数字，第 12 章的小网络，每批 32 张；每个种子各练一遍，只差学习率怎样变，量 250 张验证图上的损失
warm  : 学习率 0.004、0.012、0.03，热身 0 步或 20 步，之后不变，默认走 200 步；另量头 40 步权重离初值多远、一步走多远，步数从 0 数起
early : 学习率 0.03，热身换成两级：前 5 步停在 0.02 倍，前 5 步停在 0.2 倍，前 20 步停在 0.2 倍，之后一步升到一倍，默认走 200 步
decay : 学习率 0.012，热身 20 步，之后不变或沿余弦降到 0，默认走 3000 步；隔十二分之一量一次训练的权重与 EMA（0.99）的权重
        另跟一份长些的 EMA：衰减取 1 - 9 / 步数，热身公式恰好走到头；练完时用它量一次
写进 --out 的每练完一遍就存一次；文件已经在了，就接着练没有练过的
"""
import argparse
import warnings

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, DigitsDataModule, LitEma
from ddpm_edu.authoring.quality import averaged
from ddpm_edu.configs.recipes import toy_model_config
from ddpm_edu.teach.training import quiet_trainer

from .runs import by_name, train_all

# {问题: (默认走几步, 量几次验证损失, {名字: (学习率, 热身几步, 末尾的乘数)})}；热身写成 (几步, 几倍)，就是停在那一级，之后一步升到一倍
QUESTIONS = {
    "warm": (200, 1, {f"学习率 {lr}，热身 {warm_up} 步": (lr, warm_up, 1.0) for lr in (0.004, 0.012, 0.03) for warm_up in (0, 20)}),
    "early": (200, 1, {f"前 {first} 步停在 {low} 倍": (0.03, (first, low), 1.0) for first, low in ((5, 0.02), (5, 0.2), (20, 0.2))}),
    "decay": (3000, 12, {"不变": (0.012, 20, 1.0), "余弦降到 0": (0.012, 20, 0.0)}),
}


def flat(model):
    return torch.cat([weight.detach().flatten() for weight in model.model.parameters()])


class Watch(pl.Callback):
    """记下每次验证的损失，开头 40 步权重走了多远；另跟一份 EMA"""

    def __init__(self, model, decay):
        self.shadow, self.first = LitEma(model.model, decay), flat(model)
        self.last, self.losses, self.path = self.first, {"训练的权重": [], "EMA 0.99": []}, {"离初值": [], "这一步": []}

    def on_train_batch_end(self, trainer, model, *_):
        self.shadow(model.model)
        if trainer.global_step <= 40:
            now = flat(model)
            self.path["离初值"].append(float((now - self.first).norm() / self.first.norm()))
            self.path["这一步"].append(float((now - self.last).abs().mean()) / model.learning_rate)
            self.last = now

    def on_validation_end(self, trainer, model):
        for found, key in zip(self.losses.values(), ("val/loss", "val/loss_ema")):
            found.append(float(trainer.callback_metrics[key]))


def recipe(warm_up, floor, steps):
    """scheduler_config；warm_up 是步数，或 (几步, 几倍)"""
    if isinstance(warm_up, tuple):
        first, low = warm_up
        levels = [low, floor]
        return {"target": "ddpm_edu.LambdaLinearScheduler", "params": {
            "warm_up_steps": [0, 0], "f_start": levels, "f_min": levels, "f_max": [low, 1.0], "cycle_lengths": [first, max(1, steps - first)]}}
    return {"target": "ddpm_edu.LambdaWarmUpCosineScheduler", "params": {
        "warm_up_steps": min(warm_up, steps), "lr_start": 0.02, "lr_max": 1.0, "lr_min": floor, "max_decay_steps": steps}}


def once(lr, warm_up, floor, seed, steps, times):
    """→ {"loss": {哪份权重: 各次的验证损失}, "path": {离初值多远，初值的长度为 1；这一步平均走多远，学习率为 1}}"""
    torch.manual_seed(seed)
    model = DDPM(**toy_model_config(
        scheduler_config=recipe(warm_up, floor, steps), learning_rate=lr, seed=seed, parameterization="v", beta_schedule="cosine",
        adam_betas=(0.9, 0.99), ema_decay=0.99))
    data, watch = DigitsDataModule(batch_size=32, seed=seed), Watch(model, max(0.0, 1 - 9 / steps))
    trainer = quiet_trainer(max_steps=steps, callbacks=[watch], limit_val_batches=1.0, num_sanity_val_steps=0,
                            val_check_interval=max(1, steps // times), check_val_every_n_epoch=None)
    trainer.fit(model, data)
    losses = {name: list(values) for name, values in watch.losses.items()}
    with model.ema_scope():
        watch.shadow.copy_to(model.model)
        trainer.validate(model, data, verbose=False)
    return {"loss": {**losses, "长些的 EMA": [float(trainer.callback_metrics["val/loss"])]}, "path": watch.path}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.learning_rate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, help="走几步")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    steps, times, plans = QUESTIONS[options.question]
    steps = options.steps or steps
    report(by_name(train_all(parser, options.out, {"question": options.question, "steps": steps}, plans, options.seeds,
                             lambda plan, seed: once(*plans[plan], seed, steps, times))), list(plans))


def report(runs, plans):
    """runs : {练法: [各个种子]}；印出各种练法的平均与标准误，差是相邻的两种逐个种子相减"""
    def gather(plan, kind, name):
        return torch.tensor([run[kind][name] for run in runs[plan]])

    def line(values):
        return "，".join("{mean:.4f} ± {se:.4f}".format(**averaged(column.tolist())) for column in values.T)

    for plan in plans:
        for name in ("训练的权重", "EMA 0.99", "长些的 EMA"):
            print(f"{plan}，{name}：{line(gather(plan, 'loss', name))}")
        for name in ("离初值", "这一步"):
            path = gather(plan, "path", name)
            print(f"{plan}，{name}：" + "，".join(f"第 {n} 步 {path[:, n].mean():.3f}" for n in range(path.shape[1])))
        print(f"{plan}，最大的一步：{line(path.amax(1, keepdim=True))}")
    for a, b in zip(plans[::2], plans[1::2]):
        for name in ("训练的权重", "EMA 0.99", "长些的 EMA"):
            print(f"末尾，{b} 减 {a}，{name}：{line(gather(b, 'loss', name)[:, -1:] - gather(a, 'loss', name)[:, -1:])}")


if __name__ == "__main__":
    main()
