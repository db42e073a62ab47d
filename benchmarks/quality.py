"""同样的网络、同样的数据，谁先画得好：python -m benchmarks.quality [digits|mnist] [--data data] [--seeds 8] [--out quality.json]

三种练法：ddpm_edu 的配方；diffusers 无条件训练脚本的默认值；同一个脚本，批大小、学习率与热身换成合适的
先轮流量每步的秒数（我们的含 Trainer 的开销），由它算出各家在同样的时间里走几步；--seeds 0 只量这个
质量是一批 DDIM-50 样本（各用自己的 EMA 权重）对留出的真图的 Fréchet 距离，只与步数有关，几时量、用几个线程都一样
写进 --out 的每练完一遍就存一次；文件已经在了，就接着练没有练过的
"""
import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytorch_lightning as pl
import torch

from ddpm_edu import DDPM, DigitsDataModule, MNISTDataModule, configs
from ddpm_edu.authoring.quality import averaged
from ddpm_edu.configs.recipes import digits_model_config
from ddpm_edu.evaluation.metrics import frechet_for
from ddpm_edu.generate import generate
from ddpm_edu.teach.training import quiet_trainer

from .peers import Diffusers, Task
from .runs import by_name, recorded, train_all
from .timing import interleaved

OURS, PLAIN, TUNED = "ddpm_edu 的配方", "diffusers 的默认值", "diffusers，批 64、学习率 1e-3"
# diffusers 脚本的默认值，与好心替它调过的；warmup(总步数) 是热身的步数
PEERS = {PLAIN: {"batch": 16, "learning_rate": 1e-4, "warmup": lambda steps: 500},
         TUNED: {"batch": 64, "learning_rate": 1e-3, "warmup": lambda steps: min(500, steps // 10)}}


@dataclass(frozen=True)
class Race:
    """一场比赛：network 是网络的形状（配置的名字），data(目录, 批大小, 种子)，recipe(步数) 是我们的 DDPM 参数

    各家练多久，以我们走 base 步的时间为 1：我们走 base 步用 10 秒，别家的 3 就是 30 秒里走得完的步数
    """

    network: str
    data: Callable
    recipe: Callable
    count: int  # 每个种子画几张
    base: int
    times: dict  # {练法: 各练多久}

    def runs(self, speed):
        """speed : {练法: 每步的秒数} → [(练法, 步数)]"""
        return [(name, round(time * self.base * speed[OURS] / speed[name])) for name, several in self.times.items() for time in several]


def mnist_recipe(steps):
    """mnist-laptop，学习率在 steps 步里降完"""
    model = configs.load("mnist-laptop")["model"]
    plan = model["scheduler_config"]["params"]
    plan["max_decay_steps"] = max(steps, plan["warm_up_steps"])
    return model


RACES = {
    "digits": Race("digits", lambda root, batch, seed: DigitsDataModule(batch_size=batch, seed=seed), digits_model_config, 1024,
                   250, {OURS: (1, 2, 4, 8), PLAIN: (7, 21), TUNED: (6, 18)}),
    "mnist": Race("mnist-laptop", lambda root, batch, seed: MNISTDataModule(root, batch_size=batch, seed=seed), mnist_recipe, 400,
                  250, {OURS: (1,), PLAIN: (3,), TUNED: (1.5,)}),
}


def fit_ours(race, root, steps, seed):
    """用 Trainer 练 steps 步"""
    pl.seed_everything(seed, verbose=False)
    model = DDPM(**race.recipe(steps), seed=seed)
    quiet_trainer(max_steps=steps, gradient_clip_val=1.0).fit(model, race.data(root, 64, seed))
    return model.eval()


def draw_ours(race, model, seed):
    return generate(model, race.count, batch_size=100, steps=50, seed=seed, progress=False)[0]


def batches(race, root, size, seed):
    """没完没了的随机批"""
    train, generator = race.data(root, size, seed).dataset("train"), torch.Generator().manual_seed(seed)
    while True:
        for index in torch.randperm(len(train), generator=generator).split(size)[:-1]:
            yield train[index]["image"]


def fit_diffusers(race, root, steps, seed, batch, learning_rate, warmup):
    """diffusers 的脚本：预测噪声、线性噪声表，学习率热身之后按余弦下降"""
    from diffusers.optimization import get_cosine_schedule_with_warmup

    torch.manual_seed(seed)
    peer, stream = Diffusers(Task.from_config(race.network, batch)), batches(race, root, batch, seed)
    for group in peer.optimizer.param_groups:
        group["lr"] = learning_rate
    plan = get_cosine_schedule_with_warmup(peer.optimizer, warmup(steps), max(steps, warmup(steps) + 1))
    for _ in range(steps):
        peer.step(next(stream))
        plan.step()
    return peer


def draw_diffusers(race, peer, seed):
    peer.average.copy_to(peer.network.parameters())
    peer.network.eval()
    torch.manual_seed(seed)
    return torch.cat([peer.sample(100, "ddim", 50) for _ in range(-(-race.count // 100))])[:race.count]


def once(race, root, name, steps, seed):
    """照一种练法练一遍，画一批样本"""
    if name == OURS:
        return draw_ours(race, fit_ours(race, root, steps, seed), seed)
    return draw_diffusers(race, fit_diffusers(race, root, steps, seed, **PEERS[name]), seed)


def seconds_per_step(race, root, rounds=5, steps=40):
    """{练法: 每步的秒数}"""
    works = {OURS: lambda: fit_ours(race, root, steps, 0),
             **{name: lambda o=options: fit_diffusers(race, root, steps, 0, **o) for name, options in PEERS.items()}}
    return {name: seconds / steps for name, seconds in interleaved(works, rounds, warmup=1).items()}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("race", nargs="?", choices=RACES, default="digits")
    parser.add_argument("--data", default="data", help="数据目录")
    parser.add_argument("--seeds", type=int, default=8, help="每种跑几个种子")
    parser.add_argument("--out", help="另存为 JSON")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    race, root = RACES[options.race], options.data
    # 接着练的，各家的步数照第一次量的快慢
    speed = (recorded(options.out) or {}).get("seconds_per_step") or seconds_per_step(race, root)
    print("每步毫秒：" + "，".join(f"{name} {1e3 * s:.1f}" for name, s in speed.items()), flush=True)
    runs = {f"{name}，{steps} 步": (name, steps) for name, steps in race.runs(speed)}
    score = frechet_for(race.data(root, 64, 0)) if options.seeds else None
    record = train_all(parser, options.out, {"race": options.race, "seconds_per_step": speed}, runs, options.seeds,
                       lambda run, seed: {"frechet": score(once(race, root, *runs[run], seed))})
    report(by_name(record), runs, speed)


def report(rows, runs, speed):
    """印出每种练法：步数、秒数、距离的平均与标准误、各个种子"""
    print("\n| 练法 | 步数 | 训练秒数 | Fréchet 距离 | 各个种子 |\n|:--|--:|--:|--:|:--|")
    for run, each in rows.items():
        (name, steps), found = runs[run], averaged([row["frechet"] for row in each])
        distances = "、".join(f"{distance:.1f}" for distance in found["each"])
        print(f"| {name} | {steps} | {steps * speed[name]:.0f} | {found['mean']:.1f} ± {found['se']:.1f} | {distances} |")


if __name__ == "__main__":
    main()
