"""DDPM：把闭式公式、网络、EMA、采样装进一个 LightningModule

公开的名字与 latent-diffusion 那个著名的 DDPM 类相同；它的错误在这里都不再出现
"""
import contextlib
import logging
import warnings

import torch
import torch.nn.functional as F
from torch import nn

from .checks import check_betas, check_bool, check_choice, check_float, check_int, check_size, check_str, fail, suggest_keywords
from .conditioning import DiffusionWrapper, as_condition, check_labels, check_network, condition_keys, drop_condition, read_tensor
from .ema import LitEma
from .files.checkpoint import check_ignore_keys, install_safe_io
from .files.persistence import Persistence
from .files.plain import plain_arguments
from .gaussian import check_sample, sides
from .images import log_images
from .objectives import simple_weights
from .optim import make_optimizer, make_scheduler
from .randomness import isolated_rng, rand, randn_like
from .sampling import Sampling
from .schedules import warn_unsuitable_schedule
from .training.defaults import with_monitor
from .unet import coordinate_channels

log = logging.getLogger("ddpm_edu")
# Lightning 的两句话，用户没有什么可改的：类别在搬上设备之前核对是有意的；它自己用着 torch 的旧写法
warnings.filterwarnings("ignore", "You have overridden `on_before_batch_transfer` in `LightningModule`")
warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")


class DDPM(Sampling, Persistence):
    """去噪扩散概率模型（Ho 2020），可用 Trainer.fit 训练

    前 27 个参数的名字、次序与默认值同参考实现，逐个讲解见源码精读（93）；之后的只能按关键字给：
    learning_rate    : AdamW 的基础学习率，> 0；adam_betas 是它一阶、二阶矩的衰减系数
    weight_decay     : 只作用于矩阵和卷积核，不作用于偏置、归一化与 logvar
    ema_decay        : [0, 1]；seed：随机数种子，0 以上
    t_sampling       : uniform（逐个独立）或 stratified（一批之内均匀铺开，方差更小）
    cond_key         : 条件在 batch 里的键；cond_drop_prob：训练时换成“无条件”的概率
    rescale_betas_zero_snr : 把噪声表改到末步的 ᾱ 恰是 0；snr_gamma：min-SNR 权重的 γ，≥ 0.001
    异常             : 任何参数越界时 ValueError / TypeError，写明名字、规则、实得
    """

    @suggest_keywords
    @plain_arguments
    def __init__(
        self,
        unet_config: dict,
        timesteps: int = 1000,
        beta_schedule: str = "linear",
        loss_type: str = "l2",
        ckpt_path: str | None = None,
        ignore_keys: tuple | list = (),
        load_only_unet: bool = False,
        monitor: str = "val/loss",
        use_ema: bool = True,
        first_stage_key: str = "image",
        image_size: int | tuple[int, int] = 256,
        channels: int = 3,
        log_every_t: int = 100,
        clip_denoised: bool = True,
        linear_start: float = 1e-4,
        linear_end: float = 2e-2,
        cosine_s: float = 8e-3,
        given_betas: list | None = None,
        original_elbo_weight: float = 0.0,
        v_posterior: float = 0.0,
        l_simple_weight: float = 1.0,
        conditioning_key: str | None = None,
        parameterization: str = "eps",
        scheduler_config: dict | None = None,
        use_positional_encodings: bool = False,
        learn_logvar: bool = False,
        logvar_init: float = 0.0,
        *,
        learning_rate: float = 2e-4,
        adam_betas: tuple | list = (0.9, 0.999),
        weight_decay: float = 0.01,
        ema_decay: float = 0.9999,
        seed: int = 0,
        t_sampling: str = "uniform",
        cond_key: str | dict | None = None,
        cond_drop_prob: float = 0.0,
        rescale_betas_zero_snr: bool = False,
        snr_gamma: float | None = None,
    ):
        # 存进检查点的超参数用普通类型；除了张量，plain_arguments 已经换好
        given_betas = given_betas.tolist() if isinstance(given_betas, torch.Tensor) else given_betas
        super().__init__(timesteps, beta_schedule, linear_start, linear_end, cosine_s, given_betas, v_posterior,
                         parameterization, rescale_betas_zero_snr)
        # save_hyperparameters 记的是这里的局部变量：给了 given_betas 时，以它的长度为 T
        timesteps = self.num_timesteps
        self.save_hyperparameters(ignore=["ckpt_path", "ignore_keys", "load_only_unet"])

        self.loss_type = check_choice("loss_type", loss_type, ("l1", "l2"))
        self.monitor = None if monitor is None else check_str("monitor", monitor)
        self.use_ema = check_bool("use_ema", use_ema)
        if self.monitor and self.monitor.endswith("_ema") and not use_ema:
            fail("monitor", "不带 _ema 的指标（use_ema=False）", monitor)
        self.first_stage_key = check_str("first_stage_key", first_stage_key)
        self.image_size = check_size("image_size", image_size)
        self.channels = check_int("channels", channels, 1)
        self.log_every_t = check_int("log_every_t", log_every_t, 1)  # 单位：扩散步
        self.clip_denoised = check_bool("clip_denoised", clip_denoised)
        self.original_elbo_weight = check_float("original_elbo_weight", original_elbo_weight, 0)
        self.l_simple_weight = check_float("l_simple_weight", l_simple_weight, 0)
        if self.original_elbo_weight == self.l_simple_weight == 0:
            fail("l_simple_weight 与 original_elbo_weight", "至少一个大于 0", (0.0, 0.0), "否则损失恒为 0")
        weights = simple_weights(self.objective, self.exact_table("alphas_cumprod").numpy(), snr_gamma)
        self.register_table("simple_weights", weights, persistent=False)
        self.use_positional_encodings = check_bool("use_positional_encodings", use_positional_encodings)
        self.learning_rate = check_float("learning_rate", learning_rate, 0, open_low=True)
        self.adam_betas = check_betas("adam_betas", adam_betas)
        self.weight_decay = check_float("weight_decay", weight_decay, 0)
        self.seed = check_int("seed", seed, 0, 2**63 - 1)
        self.batches_seen = 0  # 单位：批；随机数由它决定，随检查点保存
        self.t_sampling = check_choice("t_sampling", t_sampling, ("uniform", "stratified"))
        self.cond_drop_prob = check_float("cond_drop_prob", cond_drop_prob, 0, 1)

        self.learn_logvar = check_bool("learn_logvar", learn_logvar)
        logvar = torch.full((self.num_timesteps,), check_float("logvar_init", logvar_init))
        if learn_logvar:
            self.logvar = nn.Parameter(logvar)
        else:
            self.register_buffer("logvar", logvar)

        self.scheduler_config = scheduler_config
        if scheduler_config is not None:
            make_scheduler(scheduler_config, optimizer=None)
        self.model = DiffusionWrapper(unet_config, conditioning_key)
        self.conditioning_key = conditioning_key
        self.cond_keys = condition_keys(conditioning_key, cond_key)
        if self.cond_drop_prob and conditioning_key is None:
            fail("cond_drop_prob", " 0（没有 conditioning_key，没有条件可丢）", cond_drop_prob)
        check_network(self)
        warn_unsuitable_schedule(self)
        check_float("ema_decay", ema_decay, 0, 1)
        if self.use_ema:
            self.model_ema = LitEma(self.model, ema_decay)
        check_bool("load_only_unet", load_only_unet)
        check_ignore_keys(ignore_keys)
        if ckpt_path is not None:
            self.init_from_ckpt(ckpt_path, ignore_keys, only_model=load_only_unet)
        elif load_only_unet or ignore_keys:
            fail("ckpt_path", "检查点路径（给了 load_only_unet 或 ignore_keys）", ckpt_path)

    def register_schedule(self, *args, **kwargs):
        """算好系数表，参数同 GaussianDiffusion；只在构造时用：网络、logvar、记下的超参数都照那张表"""
        if hasattr(self, "num_timesteps"):
            fail("register_schedule", "只在构造时调用一次的", f"T={self.num_timesteps} 之后的又一次",
                 "换噪声表请另建 DDPM(..., timesteps=…)，只想少走几步用 sample(steps=…)", RuntimeError)
        super().register_schedule(*args, **kwargs)

    # ---- 网络与损失 ----

    @property
    def network_dtype(self):
        parameter = next(self.model.parameters(), None)
        return torch.float32 if parameter is None else parameter.dtype

    def apply_model(self, x, t, cond=None):
        """把 x_t、坐标通道和条件送进网络；cond 没有整理过的，先整理"""
        if self.use_positional_encodings:
            x = torch.cat([x, coordinate_channels(x)], dim=1)
        cond = {} if cond is None else as_condition(cond, self.conditioning_key, len(x))
        model_out = self.model(x.to(self.network_dtype), t, **cond)
        if model_out.shape != (x.shape[0], self.channels, *x.shape[2:]):
            fail("网络输出的形状", f" {(x.shape[0], self.channels, *x.shape[2:])}", tuple(model_out.shape),
                 "检查 unet_config 的 out_channels")
        # 混合精度下网络给出半精度，后面的公式一律用单精度以上
        return model_out.to(torch.promote_types(x.dtype, torch.float32))

    def get_loss(self, pred, target, mean=True):
        """按 loss_type 算 l1 或 l2；mean=False 时不求平均，形状同 pred"""
        if pred.shape != target.shape:
            fail("target 的形状", f" {tuple(pred.shape)}，与 pred 相同", tuple(target.shape))
        loss = F.l1_loss if self.loss_type == "l1" else F.mse_loss
        return loss(pred, target, reduction="mean" if mean else "none")

    def p_losses(self, x_start, t, noise=None, *, cond=None, generator=None):
        """训练损失：加噪、预测、比较（Ho 2020 式 (14)）

        x_start : (B, C, H, W)，[-1, 1]；t : (B,) int64
        返回    : (loss, 字典)，键为 {train|val}/loss_simple、loss_vlb、loss
        """
        check_sample("x_start", x_start, self.channels, self.image_size)
        noise = randn_like(x_start, generator) if noise is None else noise
        x_t = self.q_sample(x_start, t, noise)
        model_out = self.apply_model(x_t, t, cond)
        target = self.objective.target(self, x_start, noise, t).to(model_out.dtype)

        per_sample = self.get_loss(model_out, target, mean=False).flatten(1).mean(1)
        # 变分下界讲的是平方误差，loss_type 是 l1 时也一样
        squared = per_sample if self.loss_type == "l2" else ((model_out - target) ** 2).flatten(1).mean(1)
        logvar = self.logvar[t]
        weighted = (self.simple_weights[t] * per_sample * torch.exp(-logvar) + logvar).mean()
        loss_vlb = (self.lvlb_weights[t] * squared).mean()
        loss = self.l_simple_weight * weighted + self.original_elbo_weight * loss_vlb

        prefix = "train" if self.training else "val"
        return loss, {
            f"{prefix}/loss_simple": per_sample.mean().detach(),
            f"{prefix}/loss_vlb": loss_vlb.detach(),
            f"{prefix}/loss": loss.detach(),
        }

    def forward(self, x, *, cond=None, generator=None):
        """抽 t，返回 p_losses 的结果；注意这里的 forward 就是训练损失"""
        return self.p_losses(x, self.draw_t(x, generator), cond=cond, generator=generator)

    def draw_t(self, x, generator=None):
        """一批步号 (B,) int64，每个都在 0..T-1 上均匀；stratified 时一批之内铺得更匀"""
        u = rand(x.shape[0], x.device, generator)
        if self.t_sampling == "stratified":
            # 打乱次序，免得某个位置的样本总分到同一段 t
            order = rand(x.shape[0], x.device, generator).argsort()
            u = (order + u) / x.shape[0]
        return (u * self.num_timesteps).long().clamp_(max=self.num_timesteps - 1)

    # ---- 数据入口 ----

    def get_input(self, batch, k):
        """从 batch[k] 取图像：(B, C, H, W) 或 (B, H, W, C)，浮点，[-1, 1] → (B, C, H, W)"""
        x, size = read_tensor(batch, k), sides(self.image_size)
        name, chw, hwc = f"batch[{k!r}]", (self.channels, *size), (*size, self.channels)
        rule = f"形状 {('B', *chw)} 或 {('B', *hwc)} 的浮点张量，值在 [-1, 1]".replace("'", "")
        if not x.is_floating_point():
            fail(name, rule, x.dtype, "整数像素请先换算：x / 127.5 - 1", TypeError)
        if x.ndim != 4 or x.shape[1:] not in (chw, hwc):
            fail(name, rule, tuple(x.shape), "尺寸由 channels 与 image_size 决定")
        if chw == hwc != (1, 1, 1):
            fail(name, "能分辨 CHW 与 HWC 的形状", tuple(x.shape),
                 "channels 恰好等于 image_size，请换一个 image_size")
        # 在 GPU 上看一眼要等设备；用 Trainer 时，搬上去之前看过了
        # NaN 与任何数比较都为假，写成“不在范围内”才拦得住
        if x.device.type == "cpu" and not -1.001 <= float(x.min()) <= float(x.max()) <= 1.001:
            fail(name, rule, (float(x.min()), float(x.max())),
                 "这是最小值与最大值；0..255 的像素请用 x / 127.5 - 1，[0, 1] 的请用 2 * x - 1")
        x = x if x.shape[1:] == chw else x.permute(0, 3, 1, 2).contiguous()
        return x.to(self.network_dtype)

    def get_condition(self, batch):
        """按 cond_key 从 batch 取条件；没有 conditioning_key 时返回 None"""
        return {name: read_tensor(batch, key) for name, key in self.cond_keys.items()} or None

    def shared_step(self, batch):
        """一批数据 → (loss, 字典)；训练时按 cond_drop_prob 丢条件"""
        x = self.get_input(batch, self.first_stage_key)
        if self.conditioning_key is None:
            return self(x)
        cond = as_condition(self.get_condition(batch), self.conditioning_key, len(x))
        return self(x, cond=drop_condition(cond, self.cond_drop_prob if self.training else 0))

    # ---- Lightning 的钩子 ----

    def setup(self, stage):
        install_safe_io(self.trainer)

    def configure_callbacks(self):
        return with_monitor(self.trainer, self.monitor)

    def on_before_batch_transfer(self, batch, dataloader_idx):
        # 值的范围在这里看：到了 GPU 上，看一眼就要等它
        if self.device.type != "cpu" and not self.trainer.predicting:
            self.pixel_stage.get_input(batch, self.first_stage_key)
        if (key := self.cond_keys.get("c_adm")) is not None and (labels := read_tensor(batch, key)).device.type == "cpu":
            check_labels(f"batch[{key!r}]", labels, self.model.diffusion_model)
        return batch

    def training_step(self, batch, batch_idx):
        # 刚读进来、刚采过样的模型停在 eval 模式，Lightning 不替人换；只换整个模型，单独冻住的几层不动
        if not self.training:
            self.train()
        with isolated_rng(self.seed, "train", self.batches_seen, self.global_rank, device=self.device):
            loss, losses = self.shared_step(batch)
        self.batches_seen += 1
        self.log_dict(losses, batch_size=len(batch[self.first_stage_key]))
        self.log("loss", losses["train/loss_simple"], prog_bar=True, logger=False)
        return loss

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        # 权重真的更新了，影子才更新：梯度累积到一半、GradScaler 跳过溢出的步，都不更新
        hook = optimizer.optimizer.register_step_post_hook(self._tick_ema)
        try:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        finally:
            hook.remove()

    def _tick_ema(self, *_):
        if self.use_ema:
            self.model_ema(self.model)

    def validation_step(self, batch, batch_idx):
        self._evaluate(batch, batch_idx, "val")

    def test_step(self, batch, batch_idx):
        self._evaluate(batch, batch_idx, "test")

    def predict_step(self, batch, batch_idx):
        """Trainer.predict：照这一批的张数与条件采样，用 EMA 权重与 DDIM，(B, C, H, W)；图像本身不看"""
        count = len(read_tensor(batch, next(iter(self.cond_keys.values()), self.first_stage_key)))
        with self.ema_scope(), isolated_rng(self.seed, "predict", batch_idx, self.global_rank, device=self.device):
            return self.sample(count, sampler="ddim", cond=self.get_condition(batch), progress=False)

    def _evaluate(self, batch, batch_idx, stage):
        """原权重与 EMA 权重用同一份 t 与噪声，两条曲线才可比"""
        key = (self.seed, stage, batch_idx, self.global_rank)
        with isolated_rng(*key, device=self.device):
            _, losses = self.shared_step(batch)
        if self.use_ema:
            with self.ema_scope(), isolated_rng(*key, device=self.device):
                _, ema_losses = self.shared_step(batch)
            losses |= {f"{name}_ema": value for name, value in ema_losses.items()}
        losses = {name.replace("val/", f"{stage}/"): value for name, value in losses.items()}
        self.log_dict(losses, batch_size=len(batch[self.first_stage_key]), sync_dist=True)

    @contextlib.contextmanager
    def ema_scope(self, context=None):
        """范围内 self.model 用 EMA 权重，离开时恢复；可嵌套，use_ema=False 时什么也不做"""
        if not self.use_ema:
            yield
            return
        depth = self.model_ema.depth
        try:
            self.model_ema.store(self.model)
            self.model_ema.copy_to(self.model)
            if context is not None:
                log.info("%s：换成 EMA 权重", context)
            yield
        finally:
            if self.model_ema.depth > depth:
                self.model_ema.restore(self.model)

    def configure_optimizers(self):
        optimizer = make_optimizer(self)
        if self.scheduler_config is None:
            return optimizer
        scheduler = make_scheduler(self.scheduler_config, optimizer)
        per_epoch = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "epoch" if per_epoch else "step",
                             "frequency": 1, "monitor": self.monitor},
        }

    @torch.no_grad()
    def log_images(self, batch, N=8, n_row=2, sample=True, return_keys=None, **kwargs):
        """一组供观看的图：inputs、diffusion_row、samples、denoise_row，值都在 [-1, 1]

        N           : 样本数；n_row：两个“过程”各画几行
        return_keys : 只要其中几个；名字不对时 ValueError
        kwargs      : 交给 sample，如 steps、sampler；默认走 min(50, T) 步
        """
        return log_images(self, batch, N, n_row, sample, return_keys, **kwargs)
