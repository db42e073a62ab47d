"""给定的训练循环：学生的 loss，AdamW，学习率热身再沿余弦降，EMA；到时限就停，随时可以停下再接着练"""
import math
import time
from pathlib import Path

import torch

from ...checks import fail
from ...ema import LitEma
from ...files.checkpoint import atomic_file, load_checkpoint, save_checkpoint
from ...randomness import isolated_rng

WEIGHTS, STATE = "weights.safetensors", "training.ckpt"
WARM_UP, LOWEST, DECAY = 50, 0.02, 0.998  # 热身的单位：步
SAVE_EVERY = 30  # 单位：秒


def rate(step, done):
    """学习率是峰值的几倍；done 是练了几成，[0, 1]"""
    return min(1, (step + 1) / WARM_UP) * (LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * min(done, 1.0))) / 2)


class Trainer:
    """一次训练；loss(network, x_start, generator) → 标量

    images : (N, 1, H, W) 训练图；limit：至多几秒，已经练过的算在内；seed：初值与随机数的种子
    """

    def __init__(self, task, loss, images, seed, limit=None):
        self.task, self.loss, self.images, self.seed = task, loss, images, seed
        self.limit = task.limit if limit is None else limit
        with isolated_rng(seed):
            self.network = task.network().train()
        self.ema = LitEma(self.network, DECAY)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=task.learning_rate, betas=(0.9, 0.99))
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.elapsed, self.recent = 0, 0.0, None

    @property
    def done(self):
        """练了几成：步数与时间，看哪个走得远"""
        return max(self.step / self.task.steps, self.elapsed / self.limit)

    def advance(self):
        """一步；返回损失"""
        began = time.monotonic()
        x_start = self.images[torch.randint(len(self.images), (self.task.batch,), generator=self.generator)]
        value = self.loss(self.network, x_start, self.generator)
        if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
            fail("loss 的返回值", "由网络的输出算出的一个数（标量张量）", getattr(value, "shape", type(value).__name__))
        if not value.isfinite():
            fail("loss 的返回值", "有限的数", float(value), f"第 {self.step} 步")
        for group in self.optimizer.param_groups:
            group["lr"] = self.task.learning_rate * rate(self.step, self.done)
        self.optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.ema(self.network)
        self.step += 1
        self.elapsed += time.monotonic() - began
        value = float(value.detach())
        self.recent = value if self.recent is None else 0.98 * self.recent + 0.02 * value
        return value

    def weights(self):
        """EMA 的权重 {名字: 张量}，交上来的就是它"""
        averaged = self.task.network()
        self.ema.copy_to(averaged)
        return averaged.state_dict()

    def save(self, folder, code):
        """权重与进度写进 folder；code：训练用的代码的摘要"""
        from safetensors.torch import save

        about = {"task": self.task.name, "seed": str(self.seed), "steps": str(self.step), "seconds": str(round(self.elapsed))}
        with atomic_file(Path(folder) / WEIGHTS) as file:
            file.write(save(self.weights(), about))
        save_checkpoint({
            "code": code, "task": self.task.name, "seed": self.seed, "step": self.step, "elapsed": self.elapsed, "recent": self.recent,
            "network": self.network.state_dict(), "ema": self.ema.state_dict(), "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }, Path(folder) / STATE)

    def resume(self, folder, code):
        """接着 folder 里上一次的练；没有上一次的就不动"""
        if not (path := Path(folder) / STATE).exists():
            return
        state = load_checkpoint(path)
        if (state["code"], state["task"]) != (code, self.task.name):
            fail(str(path), "用现在的 betas 与 loss 练的", "改过了", "从头练写 --restart；只改 sample 不用重练")
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.seed, self.step, self.elapsed, self.recent = (state[name] for name in ("seed", "step", "elapsed", "recent"))

    def run(self, save=lambda: None, say=lambda text: None):
        """练到头；每隔一阵存一次、说一句，停下时也存"""
        last = time.monotonic()
        try:
            while self.done < 1:
                self.advance()
                if time.monotonic() - last > SAVE_EVERY:
                    save()
                    say(f"第 {self.step} 步，{self.done:.0%}，{self.elapsed / 60:.1f} 分钟，损失 {self.recent:.4f}")
                    last = time.monotonic()
        finally:
            save()
